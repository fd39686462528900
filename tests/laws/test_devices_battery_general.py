"""Values of stored energy at prices of any sign and order: equal to two slow twins, whatever room the recursion begins with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battery_twin import general_values
from walras.devices import Battery, BatteryFleet, ValueTable, battery_plan, fleet_from_records, plan_cost, plan_values
from walras.devices.battery_general import keep_wide, narrowest
from walras.devices.battery_merge import ONE, TWO, new_work
from walras.units import Int64

SEEDS = st.integers(0, 2**32 - 1)


def any_battery(rng: np.random.Generator) -> BatteryFleet:
    """Also without power, on one side only, and without losses; no larger than the slow twin's absolute tolerances bear."""
    size = int(rng.choice([1, 700, 6_000, 20_000]))
    charge, discharge = (1.0 if rng.random() < 0.3 else round(float(rng.uniform(0.5, 1.0)), 4) for _ in range(2))
    fleet = fleet_from_records([Battery(size, 4_000, charge, discharge, int(rng.integers(0, size + 1)))], [0], 15)
    limits = rng.choice([0, 1, 100, 900, 50_000], 2)
    return BatteryFleet(fleet.member, fleet.capacity_uwh, limits[:1], limits[1:], *fleet.columns[4:], fleet.initial_uwh)


def any_day(rng: np.random.Generator, horizon: int) -> tuple[Int64, Int64, Int64]:
    """Net load, import and export prices of five kinds: any, of few levels, some negative, export near import, all negative."""
    net = rng.integers(-2_500, 2_000, horizon) * (rng.random(horizon) < 0.9)
    stay, few = int(rng.integers(1, 5)), [-100_000, 0, 100_000, 200_000]
    buy, sell = (np.repeat(rng.integers(-150_000, 250_000, horizon), stay)[:horizon] for _ in range(2))
    kind = int(rng.integers(0, 5))
    if kind == 1:
        buy, sell = rng.choice(few, horizon), rng.choice(few, horizon)
    elif kind == 2:
        buy, sell = rng.integers(100_000, 300_000, horizon), np.where(rng.random(horizon) < 0.2, -60_000, 80_000)
    elif kind == 3:
        sell = buy + rng.integers(-50_000, 50_000, horizon)
    elif kind == 4:
        buy, sell = -np.abs(buy), -np.abs(sell)
    return net.astype(np.int64), buy.astype(np.int64), sell.astype(np.int64)


def row(fleet: BatteryFleet) -> tuple[int, int, int, int, int]:
    capacity, charge, discharge, gain, drain = (int(column[0]) for column in fleet.columns[1:])
    return capacity, charge, discharge, gain, drain


def started_with(fleet: BatteryFleet, uwh: int) -> BatteryFleet:
    return BatteryFleet(*(getattr(fleet, name) for name in BatteryFleet.__slots__[:-1]), np.array([uwh]))


def table_values(table: ValueTable, t: int, at: np.ndarray) -> np.ndarray:
    """Value in nano beyond the empty battery's, at stored energies in uWh."""
    a, c = table.start[t, 0], table.count[t, 0]
    edge = np.append(0, table.edge[a : a + c]).astype(float)
    return np.interp(at, edge, np.append(0.0, np.cumsum(table.slope[a : a + c] * np.diff(edge) * 1e-6)))


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_values_at_any_prices_equal_the_slow_recursion_at_every_bend(seed: int) -> None:
    """To a thousandth of a nano and the rounding of float64, at bends of the slow one and at random between."""
    rng = np.random.default_rng(seed)
    fleet, days = any_battery(rng), any_day(rng, int(rng.integers(1, 97)))
    terminal = float(rng.choice([0.0, 100_000.0, -100_000.0, 170_000.5]))
    x, v = general_values(days[0], days[1].astype(float), days[2].astype(float), row(fleet), terminal, 0)[1]
    largest = float(np.abs(days[0] * np.abs(days[1:]).max(axis=0)).sum() + np.abs(v).max())
    capacity = row(fleet)[0]
    for s in np.unique(np.rint(np.append(x, rng.integers(0, capacity, 8, endpoint=True)))[:40]).astype(np.int64).tolist():
        ours = -plan_cost(started_with(fleet, s), 0, *days, terminal)
        assert abs(ours - float(np.interp(float(s), x, v))) <= 1e-3 + 1e-12 * largest


@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_tables_at_any_prices_are_the_slow_values_in_whole_numbers(seed: int) -> None:
    """A slope rounded down loses less than a nano for each Wh below; an edge moves by half a uWh."""
    rng = np.random.default_rng(seed)
    fleet, horizon = any_battery(rng), int(rng.integers(1, 49))
    net, buy, sell = any_day(rng, horizon)
    keep = int(rng.integers(1, horizon + 1))
    table = plan_values(fleet, net[:, None], buy[:, None], sell[:, None], keep=keep, terminal=np.array([123_456.0]))
    kept, _ = general_values(net, buy.astype(float), sell.astype(float), row(fleet), 123_456.0, keep)
    for t, (x, v) in enumerate(kept):
        gap = v - v[0] - table_values(table, t, x)
        bends = 1e-6 * 500_000 * x.size + 1e-3 + 1e-12 * float(np.abs(v).max())
        assert (gap >= -bends).all()
        assert (gap <= x * 1e-6 + bends).all()
        a, c = table.start[t, 0], table.count[t, 0]
        assert table.edge[a + c - 1] == fleet.capacity_uwh[0]
        assert (np.diff(table.edge[a : a + c]) > 0).all()
        assert (np.diff(table.slope[a : a + c]) != 0).all()


@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_without_losses_whole_watt_hours_are_enough(seed: int) -> None:
    """By complete enumeration in whole numbers: bends that count are at whole Wh then, so the two agree exactly."""
    rng = np.random.default_rng(seed)
    size, charge, discharge = (int(n) for n in rng.integers(0, 13, 3))
    fleet = fleet_from_records([Battery(size, 4_000, 1.0, 1.0, 0)], [0], 15)
    fleet = BatteryFleet(
        fleet.member, fleet.capacity_uwh, np.array([charge]), np.array([discharge]), *fleet.columns[4:], fleet.initial_uwh
    )
    net, buy, sell = any_day(rng, int(rng.integers(1, 25)))
    net //= 200
    terminal = int(rng.choice([-90_000, 0, 110_000]))
    value = [terminal * s for s in range(size + 1)]
    for n, b, e in zip(net[::-1].tolist(), buy[::-1].tolist(), sell[::-1].tolist(), strict=True):
        value = [
            max(
                value[to] - (n + to - s) * (b if n + to - s > 0 else e)
                for to in range(max(0, s - discharge), min(size, s + charge) + 1)
            )
            for s in range(size + 1)
        ]
    for s in range(size + 1):
        assert plan_cost(started_with(fleet, s * 10**6), 0, net, buy, sell, float(terminal)) == pytest.approx(-value[s], abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_a_thousand_times_the_battery_and_the_load_cost_a_thousand_times_as_much(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet, days = any_battery(rng), any_day(rng, int(rng.integers(1, 97)))
    sizes = [1_000 * column for column in fleet.columns[1:4]]
    large = BatteryFleet(fleet.member, *sizes, *fleet.columns[4:], 1_000 * fleet.initial_uwh)
    small, much = plan_cost(fleet, 0, *days, 120_000.0), plan_cost(large, 0, 1_000 * days[0], *days[1:], 120_000.0)
    largest = float(np.abs(days[0] * np.abs(days[1:]).max(axis=0)).sum() + 0.2 * fleet.capacity_uwh[0])
    assert abs(much - 1_000 * small) <= 1e-9 * 1_000 * largest + 1.0


def test_room_that_does_not_suffice_is_lengthened_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    fleet = fleet_from_records([Battery(w, 2_500, 0.95, 0.9, 0) for w in (6_000, 9_000, 0, 20_000)], [0, 1, 2, 3], 15)
    net = rng.integers(-2_500, 2_000, (96, 4))
    buy, sell = rng.integers(-150_000, 250_000, (2, 96, 4))
    wide = plan_values(fleet, net, buy, sell, keep=96)
    monkeypatch.setattr(battery_plan, "PIECES", 8)
    monkeypatch.setattr(battery_plan, "ROWS_A_SLOT", 0)
    narrow = plan_values(fleet, net, buy, sell, keep=96)
    for name in ("start", "count", "slope", "edge", "concave"):
        assert np.array_equal(getattr(wide, name), getattr(narrow, name))
    assert wide.count[:, 2].tolist() == [0] * 96
    assert int(wide.count.max()) > 8
    cost = plan_cost(fleet, 3, *(np.ascontiguousarray(column[:, 3]) for column in (net, buy, sell)), 0.0)
    monkeypatch.setattr(battery_plan, "PIECES", 512)
    assert plan_cost(fleet, 3, *(np.ascontiguousarray(column[:, 3]) for column in (net, buy, sell)), 0.0) == cost


def test_a_fleet_is_planned_as_each_of_its_batteries_alone() -> None:
    rng = np.random.default_rng(6)
    fleet = fleet_from_records([Battery(w, 2_500, 0.95, 0.9, 0) for w in (6_000, 9_000, 20_000)], [0, 1, 2], 15)
    net, buy = rng.integers(-2_500, 2_000, (48, 3)), rng.integers(100_000, 250_000, (48, 3))
    sell = np.where(np.arange(3) == 1, -50_000, 50_000) * np.ones((48, 1), np.int64)  # the second alone breaks convexity
    together = plan_values(fleet, net, buy, sell, keep=48)
    assert together.concave.tolist() == [True, False, True]
    for j in range(3):
        one = BatteryFleet(*(getattr(fleet, name)[j : j + 1] for name in BatteryFleet.__slots__))
        alone = plan_values(one, *(column[:, j : j + 1] for column in (net, buy, sell)), keep=48)
        for t in range(48):
            a, c, b = together.start[t, j], together.count[t, j], alone.start[t, 0]
            assert c == alone.count[t, 0]
            assert np.array_equal(together.slope[a : a + c], alone.slope[b : b + c])
            assert np.array_equal(together.edge[a : a + c], alone.edge[b : b + c])


def test_without_capacity_the_owner_pays_for_its_net_load() -> None:
    fleet = fleet_from_records([Battery(0, 4_000, 0.9, 0.9, 0)], [0], 15)
    net, buy, sell = np.array([100, -50, 30]), np.array([200, 300, -10]), np.array([-70, -80, 90])
    assert plan_cost(fleet, 0, net, buy, sell, 500.0) == 100 * 200 + 50 * 80 - 30 * 10


def test_a_piece_at_the_limit_of_width_is_dropped_and_one_above_it_stays() -> None:
    least = narrowest(1e9)
    assert (least, narrowest(1e11), narrowest(1e15)) == (0.01, 0.01, 100.0)
    for width, pieces in ((least, 2), (least * 1.5, 3)):
        w = new_work(16)
        w[ONE, :4], w[ONE + 1, 0], w[ONE + 2, :3] = [0.0, width, 1.0, 1e9], 7.0, [1.0, 3.0, 2.0]
        assert keep_wide(w, ONE, 3, 1e9, TWO) == pieces
        assert w[TWO, pieces] == 1e9
        assert w[TWO + 1, pieces - 1] == pytest.approx(7.0 + 3e-6, abs=1e-7)
