"""Vehicles leave full, charge in the cheapest slots, and trade under the law that binds batteries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from walras.devices import Battery, BatteryFleet, fleet_alone, fleet_from_records, plan_values
from walras.devices.battery import UWH_PER_WH, step
from walras.devices.battery_plan import ValueTable
from walras.devices.vehicle import (
    Sessions,
    join_fleets,
    join_values,
    plan_sessions,
    plug_in,
    sessions_from_series,
    vehicle_fleet,
)
from walras.errors import InputError
from walras.strategies import dispatch, make_signals, truthful_orders
from walras.tariffs import LocalTariff, limit_price
from walras.units import Int64

SEEDS = st.integers(0, 2**32 - 1)
LOCAL = LocalTariff(30_000, (), 1_900, 10_000)


def random_series(rng: np.random.Generator, slots: int, members: int) -> Int64:
    """Charging as in profiles: runs of power with pauses."""
    on = np.repeat(rng.random((slots // 4 + 1, members)) < 0.3, 4, axis=0)[:slots]
    return rng.integers(1, 2_750, (slots, members)) * on * (rng.random(members) < 0.8)


def plain_sessions(series: Int64, first: int, stay: int) -> list[tuple[int, int, int, int, int]]:
    found = []
    for i in range(series.shape[1]):
        column = series[:, i].tolist()
        t = 0
        while t < len(column):
            if column[t] == 0:
                t += 1
                continue
            end = t
            while end < len(column) and column[end] > 0:
                end += 1
            after = next((u for u in range(end, len(column)) if column[u] > 0), len(column))
            found.append((i, first + t, first + min(after, max(end, t + stay)), sum(column[t:end]), max(column)))
            t = end
    return found


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_sessions_equal_a_plain_reading_of_the_runs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    series, first, stay = random_series(rng, int(rng.integers(0, 60)), 3), int(rng.integers(0, 99)), int(rng.integers(1, 30))
    s = sessions_from_series(series, first, stay)
    columns = (s.member, s.arrival, s.departure, s.energy_wh, s.limit_wh)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == plain_sessions(series, first, stay)
    assert int(s.energy_wh.sum()) == int(series.sum())
    assert (s.energy_wh <= (s.departure - s.arrival) * s.limit_wh).all()


@dataclass(frozen=True)
class World:
    fleet: BatteryFleet
    sessions: Sessions
    values: ValueTable
    net: Int64
    buy: Int64
    sell: Int64
    series: Int64


def make_world(seed: int, slots: int = 40, wild: bool = False) -> World:
    rng = np.random.default_rng(seed)
    series = random_series(rng, slots, 4)
    sessions = sessions_from_series(series, 0, 16)
    fleet = vehicle_fleet(sessions)
    net = rng.integers(-2_000, 1_500, (slots, 4))
    low = -200_000 if wild else 150_000
    buy = np.repeat(rng.integers(low, 350_000, (slots, 1)), 4, axis=1)
    sell = np.repeat(rng.integers(-50_000 if wild else 0, 150_000, (1, 4)), slots, axis=0)
    owners = fleet.member
    values = plan_sessions(fleet, sessions, 0, net[:, owners], buy[:, owners], sell[:, owners], keep=slots)
    return World(fleet, sessions, values, net, buy, sell, series)


def drive(world: World, actual: Int64) -> tuple[int, Int64]:
    """(Wh missing at all departures, actions [slots, n]) when every vehicle follows its plan alone."""
    soc, missing, actions = world.fleet.initial_uwh, 0, []
    for t in range(actual.shape[0] + 1):
        soc, short = plug_in(world.fleet, world.sessions, t, soc)
        missing += int(short.sum())
        if t < actual.shape[0]:
            v = world.values
            action = fleet_alone(
                actual[t], world.buy[t], world.sell[t], soc, world.fleet.columns, v.slope, v.edge, v.start[t], v.count[t]
            )
            done, soc = step(world.fleet, soc, action)
            assert np.array_equal(done, action)
            actions.append(action)
    return missing, np.array(actions).reshape(actual.shape[0], world.fleet.count)


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.booleans())
def test_every_vehicle_leaves_full_whatever_the_forecast_error_and_the_prices(seed: int, wild: bool) -> None:
    world = make_world(seed, wild=wild)
    error = np.random.default_rng(seed + 1).integers(-3_000, 3_000, world.net.shape)
    missing, actions = drive(world, world.net + error)
    assert missing == 0
    assert (actions >= 0).all()
    for j, member in enumerate(world.fleet.member.tolist()):
        assert int(actions[:, j].sum()) == int(world.series[:, member].sum())
        for k in np.flatnonzero(world.sessions.member == member):
            inside = actions[world.sessions.arrival[k] : world.sessions.departure[k], j]
            assert int(inside.sum()) == int(world.sessions.energy_wh[k])


def least_cost(world: World, k: int) -> float:
    """A session's least cost by a linear program: charge, import, export."""
    s = world.sessions
    span, i = slice(int(s.arrival[k]), int(s.departure[k])), int(s.member[k])
    n = span.stop - span.start
    one = np.eye(n)
    equal = np.block([[-one, one, -one], [np.ones((1, n)), np.zeros((1, 2 * n))]])
    cost = np.concatenate([np.zeros(n), world.buy[span, i], -world.sell[span, i]])
    bounds = [(0, int(s.limit_wh[k]))] * n + [(0, None)] * (2 * n)
    answer = linprog(cost, A_eq=equal, b_eq=np.append(world.net[span, i], s.energy_wh[k]), bounds=bounds, method="highs")
    assert answer.status == 0
    return float(answer.fun)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_a_vehicle_charges_at_the_least_cost_and_never_above_the_profiles_cost(seed: int) -> None:
    world = make_world(seed)
    _, actions = drive(world, world.net)

    def cost(grid: Int64, buy: Int64, sell: Int64) -> int:
        return int((grid * np.where(grid > 0, buy, sell)).sum())

    s = world.sessions
    for k in range(s.count):
        span, i = slice(int(s.arrival[k]), int(s.departure[k])), int(s.member[k])
        j = int(np.searchsorted(world.fleet.member, i))
        ours = cost(world.net[span, i] + actions[span, j], world.buy[span, i], world.sell[span, i])
        ties = 2 * int(s.energy_wh[k])  # worths within two micro-units are equal
        assert ours <= least_cost(world, k) + ties + 1
        assert ours <= cost(world.net[span, i] + world.series[span, i], world.buy[span, i], world.sell[span, i]) + ties


@dataclass(frozen=True)
class Filled:
    """Purchases, and sales of members with surplus as their counterpart, at one price."""

    bought_wh: Int64
    sold_wh: Int64
    price: int

    @property
    def buy_nano(self) -> Int64:
        return self.bought_wh * self.price

    @property
    def sell_nano(self) -> Int64:
        return -self.sold_wh * self.price


def trade(seed: int) -> tuple[int, int]:
    """(Wh missing at departures, Wh that vehicles took because they had bought it) over a day of orders and dispatch."""
    rng = np.random.default_rng(seed)
    world = make_world(seed)
    slots, others = world.net.shape[0], np.setdiff1d(np.arange(4), world.fleet.member)
    batteries = fleet_from_records([Battery(5_000, 3_000, 0.95, 0.95, 2_000) for _ in others], others.tolist(), 15)
    table = plan_values(batteries, world.net[:, others], world.buy[:, others], world.sell[:, others], keep=slots)
    fleet = join_fleets(batteries, world.fleet)
    values = join_values(batteries, table, world.fleet, world.values)
    own = np.searchsorted(fleet.member, world.fleet.member)
    soc, moved, missing = fleet.initial_uwh.copy(), 0, 0
    for t in range(slots + 1):
        soc = soc.copy()
        soc[own], short = plug_in(world.fleet, world.sessions, t, soc[own])
        missing += int(short.sum())
        if t == slots:
            break
        limit = np.asarray(limit_price(world.buy[t], LOCAL))
        planned = make_signals(world.net[t] + rng.integers(-500, 500, 4), world.buy[t], limit, world.sell[t], LOCAL)
        orders = truthful_orders(planned, fleet, soc, values, t, np.zeros(4, np.int64))
        price = int(rng.integers(50_000, 300_000))
        filled = orders.quantity_wh * ((orders.side > 0) & (orders.price_micro_per_kwh >= price))
        bought = np.bincount(orders.participant, filled, 4).astype(np.int64)
        positions = Filled(bought, np.maximum(-world.net[t], 0) * (bought == 0), price)
        actual = make_signals(world.net[t], world.buy[t], limit, world.sell[t], LOCAL)
        done = dispatch(actual, positions, fleet, soc, values, t)
        soc = done.soc_uwh
        moved += int(np.maximum(done.action_wh - done.alone_wh, 0)[own].sum())
    return missing, moved


def test_vehicles_that_trade_leave_full_too() -> None:
    outcomes = [trade(seed) for seed in range(60)]
    assert sum(missing for missing, _ in outcomes) == 0
    assert sum(moved > 0 for _, moved in outcomes) > 10


def test_two_stores_of_one_member_cannot_be_joined() -> None:
    fleet = fleet_from_records([Battery(1_000, 1_000, 0.9, 0.9)], [2], 15)
    with pytest.raises(InputError, match="one store a member"):
        join_fleets(fleet, fleet)


def test_a_horizon_that_ends_before_a_departure_is_refused() -> None:
    series = np.zeros((20, 1), np.int64)
    series[8:12] = 500
    sessions = sessions_from_series(series, 0, 10)
    fleet = vehicle_fleet(sessions)
    short = np.zeros((12, 1), np.int64)
    with pytest.raises(InputError, match="departure"):
        plan_sessions(fleet, sessions, 0, short, short + 300_000, short, keep=10)


def test_by_hand_a_vehicle_waits_for_the_cheap_half_of_its_stay() -> None:
    """2,000 Wh at most 1,000 a slot, here for four slots at 0.40, 0.30, 0.20, 0.40: 1,000 in each of the middle ones."""
    series = np.array([[1_000], [1_000], [0], [0]])
    sessions = sessions_from_series(series, 0, 4)
    fleet = vehicle_fleet(sessions)
    net, buy = np.zeros((4, 1), np.int64), np.array([[400_000], [300_000], [200_000], [400_000]])
    values = plan_sessions(fleet, sessions, 0, net, buy, np.zeros_like(buy), keep=4)
    _, actions = drive(World(fleet, sessions, values, net, buy, np.zeros_like(buy), series), net)
    assert actions[:, 0].tolist() == [0, 1_000, 1_000, 0]
    assert fleet.capacity_uwh.tolist() == [2_000 * UWH_PER_WH]
