"""The value of stored energy: equal to a linear (at any prices a mixed-integer) program, and reached by the controller."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from battery_twin import general_values
from walras.devices import Battery, fleet_from_records, plan_cost, plan_values, value_between
from walras.devices.battery import BatteryFleet, stored_change
from walras.devices.battery_control import alone, flexible_give, flexible_take
from walras.strategies.truthful import bid_pieces, offer_pieces
from walras.units import Int64

SEEDS = st.integers(0, 2**32 - 1)


def random_battery(rng: np.random.Generator, capacity: int | None = None) -> BatteryFleet:
    size = int(rng.choice([1, 700, 6_000, 20_000])) if capacity is None else capacity
    charge, discharge = (float(e) for e in rng.uniform(0.6, 1.0, 2))
    return fleet_from_records(
        [Battery(size, int(rng.choice([4, 900, 4_600, 50_000])), charge, discharge, int(rng.integers(0, size + 1)))], [0], 15
    )


def random_days(rng: np.random.Generator, horizon: int) -> tuple[Int64, Int64, Int64]:
    """Net load, import and export prices with 0 <= sell <= buy."""
    net = rng.integers(-2_500, 2_000, horizon) * (rng.random(horizon) < 0.9)
    buy = rng.choice([180_000, 300_000, 312_345], horizon) + rng.integers(0, 3, horizon) * 7_001
    sell = np.full(horizon, int(rng.integers(0, 180_000))) if rng.random() < 0.7 else rng.integers(0, buy + 1)
    return net.astype(np.int64), buy.astype(np.int64), sell.astype(np.int64)


def wild_days(rng: np.random.Generator, horizon: int) -> tuple[Int64, Int64, Int64]:
    """Prices of any sign and order, each kept for an hour or so."""
    net = rng.integers(-2_500, 2_000, horizon)
    buy, sell = (np.repeat(rng.integers(-150_000, 250_000, horizon), 3)[:horizon] for _ in range(2))
    return net, buy, sell


def row(fleet: BatteryFleet, j: int = 0) -> tuple[int, int, int, int, int]:
    capacity, charge, discharge, gain, drain = (int(column[j]) for column in fleet.columns[1:])
    return capacity, charge, discharge, gain, drain


def linear_program(fleet: BatteryFleet, net: Int64, buy: Int64, sell: Int64, terminal: float) -> float:
    """The same problem for HiGHS: charge, discharge, import, export and stored energy of every slot."""
    horizon = net.size
    capacity, charge, discharge, gain, drain = row(fleet)
    one, none = sp.eye(horizon), sp.csr_matrix((horizon, horizon))
    meter = sp.hstack([-one, one, one, -one, none])
    stored = sp.hstack([-gain / 1e6 * one, drain / 1e6 * one, none, none, one - sp.eye(horizon, k=-1)])
    start = np.zeros(horizon)
    start[0] = fleet.initial_uwh[0] / 1e6
    cost = np.concatenate([np.zeros(2 * horizon), buy, -sell, np.zeros(horizon)]).astype(float)
    cost[-1] = -terminal
    bounds = [(0, charge)] * horizon + [(0, discharge)] * horizon + [(0, None)] * (2 * horizon) + [(0, capacity / 1e6)] * horizon
    answer = linprog(cost, A_eq=sp.vstack([meter, stored]), b_eq=np.concatenate([net, start]), bounds=bounds, method="highs")
    assert answer.status == 0
    return float(answer.fun)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_least_cost_equals_a_linear_program_to_nine_digits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet, days = random_battery(rng), random_days(rng, int(rng.integers(1, 97)))
    terminal = float(rng.choice([0.0, 100_000.0, 170_000.0]))
    ours, theirs = plan_cost(fleet, 0, *days, terminal), linear_program(fleet, *days, terminal)
    scale = max(abs(theirs), float(np.abs(days[0] * days[1]).sum()), 1.0)
    assert abs(ours - theirs) <= 1e-9 * scale


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_the_controller_reaches_the_least_cost_when_forecasts_are_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet, horizon = random_battery(rng), int(rng.integers(1, 97))
    net, buy, sell = random_days(rng, horizon)
    if rng.random() < 0.5:
        net, buy, sell = wild_days(rng, horizon)
    terminal = 170_000.0
    ends = np.array([terminal])
    table = plan_values(fleet, net[:, None], buy[:, None], sell[:, None], keep=horizon, terminal=ends)
    battery, soc, cost = row(fleet), int(fleet.initial_uwh[0]), 0.0
    for t in range(horizon):
        view = (table.slope, table.edge, table.start[t, 0], table.count[t, 0])
        action = alone(net[t], buy[t], sell[t], soc, battery, *view)
        soc += stored_change(action, battery[3], battery[4])
        assert 0 <= soc <= battery[0]
        grid = int(net[t]) + action
        cost += grid * int(buy[t] if grid > 0 else sell[t])
    cost -= terminal * soc * 1e-6
    least = plan_cost(fleet, 0, net, buy, sell, terminal)
    assert cost >= least - 1e-6 * abs(least) - 1
    whole_wh_a_slot = 4 * int(max(np.abs(buy).max(), np.abs(sell).max())) * horizon
    ties = 4 * int(np.abs(net).sum() + battery[0] // 10**6 * horizon)
    assert cost <= least + whole_wh_a_slot + ties


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_value_tables_fall_and_end_at_the_capacity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet = random_battery(rng)
    net, buy, sell = random_days(rng, 24)
    wild = rng.random() < 0.5
    if wild:
        net, buy, sell = wild_days(rng, 24)
    table = plan_values(fleet, net[:, None], buy[:, None], sell[:, None], keep=24)
    assert wild or table.concave[0]
    for t in range(24):
        a, c = table.start[t, 0], table.count[t, 0]
        assert c > 0
        assert table.edge[a + c - 1] == fleet.capacity_uwh[0]
        assert not table.concave[0] or (np.diff(table.slope[a : a + c]) < 0).all()
        assert (np.diff(table.slope[a : a + c]) != 0).all()
        assert (np.diff(table.edge[a : a + c]) > 0).all()


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_slow_twin_equals_the_merge_where_prices_keep_convexity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet, days = random_battery(rng), random_days(rng, int(rng.integers(1, 97)))
    exact = plan_cost(fleet, 0, *days, 150_000.0)
    _, (x, v) = general_values(days[0], days[1].astype(float), days[2].astype(float), row(fleet), 150_000.0, 0)
    slow = -float(np.interp(float(fleet.initial_uwh[0]), x, v))
    assert abs(slow - exact) <= 1e-9 * max(abs(exact), float(np.abs(days[0] * days[1]).sum()), 1.0)


def mixed_integer_program(fleet: BatteryFleet, net: Int64, buy: Int64, sell: Int64, terminal: float) -> float:
    """HiGHS with a binary for charging or discharging and one for importing or exporting in every slot."""
    horizon = net.size
    capacity, charge, discharge, gain, drain = row(fleet)
    most = float(np.abs(net).max() + max(charge, discharge, 1))
    one, none = sp.eye(horizon), sp.csr_matrix((horizon, horizon))
    start = np.zeros(horizon)
    start[0] = fleet.initial_uwh[0] / 1e6
    blocks = [  # charge, discharge, import, export, stored, charging?, importing?
        ([-one, one, one, -one, none, none, none], net, net),
        ([-gain / 1e6 * one, drain / 1e6 * one, none, none, one - sp.eye(horizon, k=-1), none, none], start, start),
        ([one, none, none, none, none, -charge * one, none], -np.inf, 0),
        ([none, one, none, none, none, discharge * one, none], -np.inf, discharge),
        ([none, none, one, none, none, none, -most * one], -np.inf, 0),
        ([none, none, none, one, none, none, most * one], -np.inf, most),
    ]
    rules = [LinearConstraint(sp.hstack(columns).tocsr(), low, high) for columns, low, high in blocks]
    cost = np.concatenate([np.zeros(2 * horizon), buy, -sell, np.zeros(3 * horizon)]).astype(float)
    cost[5 * horizon - 1] = -terminal
    top = np.repeat([charge, discharge, most, most, capacity / 1e6, 1, 1], horizon)
    whole = np.repeat([0, 0, 0, 0, 0, 1, 1], horizon)
    answer = milp(cost, integrality=whole, bounds=Bounds(0, top), constraints=rules, options={"mip_rel_gap": 1e-9})
    assert answer.status == 0
    return float(answer.fun)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_least_cost_at_any_prices_equals_a_mixed_integer_program(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet, days = random_battery(rng), wild_days(rng, int(rng.integers(1, 13)))
    ours, theirs = plan_cost(fleet, 0, *days, 100_000.0), mixed_integer_program(fleet, *days, 100_000.0)
    assert abs(ours - theirs) <= 2e-6 * max(abs(theirs), float(np.abs(days[0] * days[1]).sum()), 1.0)


def level_costs(fleet: BatteryFleet, net: Int64, buy: Int64, sell: Int64, levels: int) -> list[float]:
    """Least cost from each of evenly spaced stored energies when only these can be reached: never below the truth."""
    capacity, charge, discharge, gain, drain = row(fleet)
    spacing, value = capacity / (levels - 1), np.zeros(levels)
    for t in range(net.size - 1, -1, -1):
        best = np.full(levels, -np.inf)
        for move in range(-int(discharge * drain / spacing), int(charge * gain / spacing) + 1):
            grid = net[t] + (move * spacing / (gain if move >= 0 else drain))
            to = np.arange(levels) + move
            inside = (to >= 0) & (to < levels)
            reached = value[to[inside]] - grid * (buy[t] if grid > 0 else sell[t])
            best[inside] = np.maximum(best[inside], reached)
        value = best
    return [-float(v) for v in value]


def test_levels_come_near_the_exact_cost_from_above_as_they_get_finer() -> None:
    rng = np.random.default_rng(11)
    fleet = fleet_from_records([Battery(8_000, 4_000, 0.95, 0.95, 4_000)], [0], 15)
    for days in (random_days(rng, 48), wild_days(rng, 48), wild_days(rng, 48)):
        exact = plan_cost(fleet, 0, *days, 0.0)
        errors = [level_costs(fleet, *days, n)[n // 2] - exact for n in (41, 161, 641)]
        assert errors[0] > errors[1] > errors[2] >= -1e-9 * abs(exact)
        assert errors[2] < 0.02 * abs(exact)


def test_a_full_battery_cannot_earn_at_a_negative_price_by_wasting_energy() -> None:
    """By hand: half of what is taken is stored, nothing is worth anything at the end, each slot pays 100 for a Wh taken."""
    fleet = fleet_from_records([Battery(1_000, 4_000, 0.5, 1.0, 1_000)], [0], 15)
    net, price = np.zeros(2, np.int64), np.array([-100, -100])
    table = plan_values(fleet, net[:, None], price[:, None], price[:, None], keep=1, terminal=np.zeros(1))
    assert not table.concave[0]
    # after slot 0 with s Wh inside: taking 2 * (1000 - s) Wh earns 100 each, at most 1000 Wh a slot
    assert table.slope.tolist() == [0, -200]
    assert table.edge.tolist() == [500_000_000, 1_000_000_000]
    # from full: giving 500 Wh costs 50,000, then taking 1000 Wh (500 fit) earns 100,000
    assert plan_cost(fleet, 0, net, price, price, 0.0) == pytest.approx(-50_000)
    # a linear program burns energy by giving and taking at once: 100,000 and more
    assert linear_program(fleet, net, price, price, 0.0) <= -100_000 + 1e-6


def random_table(rng: np.random.Generator, capacity: int) -> tuple[Int64, Int64]:
    """Half of the tables are concave with values of any sign, half are any piecewise-linear function."""
    k = int(rng.integers(1, 6))
    slope = rng.choice(np.arange(-100_000, 400_000, 1_000), k, replace=False).astype(np.int64)
    if rng.random() < 0.5:
        slope = np.sort(slope)[::-1].copy()
    edge = np.append(np.unique(rng.integers(1, capacity, k - 1)), capacity).astype(np.int64)
    return slope[: edge.size].copy(), edge


def utility(action: int, net: int, buy: int, sell: int, soc: int, battery: tuple[int, ...], table: tuple[Int64, Int64]) -> int:
    """In 1e-6 nano, exact."""
    after = soc + stored_change(action, battery[3], battery[4])
    grid = net + action
    worth = int(value_between(*table, 0, table[0].size, 0, after))
    return worth - grid * (buy if grid > 0 else sell) * 10**6


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_the_controller_finds_the_best_whole_action_at_any_prices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    battery = (400_000_000, int(rng.integers(0, 300)), int(rng.integers(0, 300)), 912_345, 1_082_345)
    table = random_table(rng, battery[0])
    soc, net = int(rng.integers(0, battery[0] + 1)), int(rng.integers(-300, 300))
    buy, sell = (int(p) for p in rng.integers(-150_000, 400_000, 2))
    if rng.random() < 0.5:
        buy, sell = max(abs(buy), abs(sell)), min(abs(buy), abs(sell))
    action = alone(net, buy, sell, soc, battery, *table, 0, table[0].size)
    low, high = -min(battery[2], soc // battery[4]), min(battery[1], (battery[0] - soc) // battery[3])
    assert low <= action <= high
    best = max(utility(b, net, buy, sell, soc, battery, table) for b in range(low, high + 1))
    one_wh = 10**6 * (max(abs(buy), abs(sell)) + 2 * int(np.abs(table[0]).max()))
    ties = 3 * 10**6 * 600
    assert utility(action, net, buy, sell, soc, battery, table) >= best - one_wh - ties


@settings(max_examples=150, deadline=None)
@given(SEEDS)
@example(13614)  # the next Wh straddles an edge: its near part is the one that does not pay
def test_every_flexible_wh_pays_and_the_next_would_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    battery = (400_000_000, int(rng.integers(1, 300)), int(rng.integers(1, 300)), 912_345, 1_082_345)
    slope, edge = random_table(rng, battery[0])
    view = (slope, edge, 0, slope.size)
    soc, price, room = int(rng.integers(0, battery[0] + 1)), int(rng.integers(-100_000, 400_000)), int(rng.integers(0, 500))
    low, high = -min(battery[2], soc // battery[4]), min(battery[1], (battery[0] - soc) // battery[3])
    base = int(rng.integers(low, high + 1))

    def worth(b: int) -> int:
        return int(value_between(*view, 0, soc + stored_change(b, battery[3], battery[4])))

    give = flexible_give(base, price, room, soc, battery, *view)
    for k in range(give):
        assert worth(base - k) - worth(base - k - 1) <= price * 10**6
    if give < min(room, base - low):  # some part of the next Wh is worth more than the price
        near, far = (soc + stored_change(base - give - k, battery[3], battery[4]) for k in (0, 1))
        coefficient = battery[3] if base - give > 0 else battery[4]
        ends = int(value_between(*view, far, far + 1)), int(value_between(*view, near - 1, near))
        assert max(ends) * coefficient > price * 10**6
    take = flexible_take(base, price, room, soc, battery, *view)
    for k in range(take):
        assert worth(base + k + 1) - worth(base + k) >= price * 10**6
    if take < min(room, high - base):  # some part of the next Wh is worth less than the price
        near, far = (soc + stored_change(base + take + k, battery[3], battery[4]) for k in (0, 1))
        coefficient = battery[4] if base + take < 0 else battery[3]
        ends = int(value_between(*view, near, near + 1)), int(value_between(*view, far - 1, far))
        assert min(ends) * coefficient < price * 10**6


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_order_steps_offer_exactly_what_would_be_given_or_taken_at_each_price(seed: int) -> None:
    rng = np.random.default_rng(seed)
    battery = (400_000_000, int(rng.integers(1, 300)), int(rng.integers(1, 300)), 912_345, 1_082_345)
    slope, edge = random_table(rng, battery[0])
    view = (slope, edge, 0, slope.size)
    soc = int(rng.integers(0, battery[0] + 1))
    low, high = -min(battery[2], soc // battery[4]), min(battery[1], (battery[0] - soc) // battery[3])
    base = int(rng.integers(low, high + 1))
    wh, worth = np.empty(32, np.int64), np.empty(32, np.int64)
    for price in rng.integers(-150_000, 450_000, 8).tolist():
        n = offer_pieces(base, soc, battery, *view, wh, worth)
        assert int(wh[:n][worth[:n] <= price].sum()) == flexible_give(base, price, 10**6, soc, battery, *view)
        assert (np.diff(worth[:n]) > 0).all()
        n = bid_pieces(base, soc, battery, *view, wh, worth)
        assert int(wh[:n][worth[:n] >= price].sum()) == flexible_take(base, price, 10**6, soc, battery, *view)
        assert (np.diff(worth[:n]) < 0).all()
