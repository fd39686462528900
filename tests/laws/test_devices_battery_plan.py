"""The value of stored energy: equal to a linear program, reached by the controller, true on levels where prices are negative."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from walras.devices import Battery, fleet_from_records, plan_cost, plan_values, value_between
from walras.devices.battery import BatteryFleet, stored_change
from walras.devices.battery_control import alone, flexible_give, flexible_take
from walras.devices.battery_levels import levels_cost, levels_values
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
    whole_wh_a_slot = 2 * int(buy.max()) * horizon
    ties = 4 * int(np.abs(net).sum() + battery[0] // 10**6 * horizon)
    assert cost <= least + whole_wh_a_slot + ties


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_value_tables_fall_and_end_at_the_capacity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet = random_battery(rng)
    net, buy, sell = random_days(rng, 24)
    if rng.random() < 0.5:
        sell = sell - 250_000
    table = plan_values(fleet, net[:, None], buy[:, None], sell[:, None], keep=24, levels=31)
    for t in range(24):
        a, c = table.start[t, 0], table.count[t, 0]
        assert c > 0
        assert table.edge[a + c - 1] == fleet.capacity_uwh[0]
        assert (np.diff(table.slope[a : a + c]) < 0).all()
        assert (np.diff(table.edge[a : a + c]) > 0).all()


def plain_search(
    t: int, level: int, levels: int, battery: tuple[int, ...], days: tuple[Int64, Int64, Int64], terminal: float
) -> float:
    """The best value from a level by trying every plan."""
    net, buy, sell = days
    spacing = battery[0] / (levels - 1)
    if t == net.size:
        return terminal * level * spacing * 1e-6
    found = []
    for to in range(levels):
        move = (to - level) * spacing
        taken = move / battery[3] if move >= 0 else move / battery[4]
        if -battery[2] <= taken <= battery[1]:
            grid = net[t] + taken
            later = plain_search(t + 1, to, levels, battery, days, terminal)
            found.append(later - grid * (buy[t] if grid > 0 else sell[t]))
    return max(found)


def test_levels_equal_a_plain_search_over_every_plan() -> None:
    rng = np.random.default_rng(5)
    for _ in range(10):
        battery = row(random_battery(rng, 3_000))
        days = rng.integers(-400, 400, 4), rng.integers(-300, 300, 4), rng.integers(-300, 300, 4)
        cost = levels_cost(days[0], days[1].astype(float), days[2].astype(float), battery, 50.0, 7)
        assert np.allclose(cost, [-plain_search(0, i, 7, battery, days, 50.0) for i in range(7)], rtol=0, atol=1e-9)


def test_levels_come_near_the_exact_cost_as_they_get_finer_and_never_below() -> None:
    rng = np.random.default_rng(11)
    fleet = fleet_from_records([Battery(8_000, 4_000, 0.95, 0.95, 0)], [0], 15)
    net, buy, sell = random_days(rng, 96)
    exact = plan_cost(fleet, 0, net, buy, sell, 0.0)
    errors = [levels_cost(net, buy.astype(float), sell.astype(float), row(fleet), 0.0, n)[0] - exact for n in (41, 161, 641)]
    assert errors[0] > errors[1] > errors[2] >= -1e-6 * abs(exact)
    assert errors[2] < 0.005 * abs(exact)


def test_a_full_battery_cannot_earn_at_a_negative_price_by_wasting_energy() -> None:
    """By hand: half of what is taken is stored, nothing is worth anything at the end, each slot pays 100 for a Wh taken."""
    fleet = fleet_from_records([Battery(1_000, 4_000, 0.5, 1.0, 1_000)], [0], 15)
    net, price = np.zeros(2, np.int64), np.array([-100, -100])
    table = plan_values(fleet, net[:, None], price[:, None], price[:, None], keep=1, levels=11, terminal=np.zeros(1))
    assert not table.exact[0]
    values = levels_values(net, price.astype(float), price.astype(float), row(fleet), 0.0, 1, 11)
    # after slot 0 with s Wh inside: taking 2 * (1000 - s) Wh earns 100 each, at most 1000 Wh a slot
    assert np.allclose(values[0], [100.0 * min(1_000, 2 * (1_000 - 100 * i)) for i in range(11)])
    cost = levels_cost(net, price.astype(float), price.astype(float), row(fleet), 0.0, 11)
    # from full: giving 500 Wh costs 50,000, then taking 1000 Wh (500 fit) earns 100,000
    assert np.isclose(cost[10], -50_000.0)
    # a linear program burns energy by giving and taking at once: 100,000 and more
    assert linear_program(fleet, net, price, price, 0.0) <= -100_000 + 1e-6


def random_table(rng: np.random.Generator, capacity: int, lowest: int) -> tuple[Int64, Int64]:
    k = int(rng.integers(1, 6))
    slope = np.sort(rng.choice(np.arange(lowest, 400_000, 1_000), k, replace=False))[::-1].astype(np.int64)
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
    table = random_table(rng, battery[0], -100_000)
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
def test_every_flexible_wh_pays_and_the_next_would_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    battery = (400_000_000, int(rng.integers(1, 300)), int(rng.integers(1, 300)), 912_345, 1_082_345)
    slope, edge = random_table(rng, battery[0], 0)
    view = (slope, edge, 0, slope.size)
    soc, price, room = int(rng.integers(0, battery[0] + 1)), int(rng.integers(0, 400_000)), int(rng.integers(0, 500))
    low, high = -min(battery[2], soc // battery[4]), min(battery[1], (battery[0] - soc) // battery[3])
    base = int(rng.integers(low, high + 1))

    def worth(b: int) -> int:
        return int(value_between(*view, 0, soc + stored_change(b, battery[3], battery[4])))

    give = flexible_give(base, price, room, soc, battery, *view)
    for k in range(give):
        assert worth(base - k) - worth(base - k - 1) <= price * 10**6
    if give < min(room, base - low):  # the far end of the next Wh is worth more than the price
        end = soc + stored_change(base - give - 1, battery[3], battery[4])
        coefficient = battery[3] if base - give > 0 else battery[4]
        assert int(value_between(*view, end, end + 1)) * coefficient > price * 10**6
    take = flexible_take(base, price, room, soc, battery, *view)
    for k in range(take):
        assert worth(base + k + 1) - worth(base + k) >= price * 10**6
    if take < min(room, high - base):  # the far end of the next Wh is worth less than the price
        end = soc + stored_change(base + take + 1, battery[3], battery[4])
        coefficient = battery[4] if base + take < 0 else battery[3]
        assert int(value_between(*view, end - 1, end)) * coefficient < price * 10**6


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_order_steps_offer_exactly_what_would_be_given_or_taken_at_each_price(seed: int) -> None:
    rng = np.random.default_rng(seed)
    battery = (400_000_000, int(rng.integers(1, 300)), int(rng.integers(1, 300)), 912_345, 1_082_345)
    slope, edge = random_table(rng, battery[0], 0)
    view = (slope, edge, 0, slope.size)
    soc = int(rng.integers(0, battery[0] + 1))
    low, high = -min(battery[2], soc // battery[4]), min(battery[1], (battery[0] - soc) // battery[3])
    base = int(rng.integers(low, high + 1))
    wh, worth = np.empty(32, np.int64), np.empty(32, np.int64)
    for price in rng.integers(0, 450_000, 8).tolist():
        n = offer_pieces(base, soc, battery, *view, wh, worth)
        assert int(wh[:n][worth[:n] <= price].sum()) == flexible_give(base, price, 10**6, soc, battery, *view)
        assert (np.diff(worth[:n]) > 0).all()
        n = bid_pieces(base, soc, battery, *view, wh, worth)
        assert int(wh[:n][worth[:n] >= price].sum()) == flexible_take(base, price, 10**6, soc, battery, *view)
        assert (np.diff(worth[:n]) < 0).all()
