"""No member with the truthful strategy is worse off than without the market in any slot, whatever the forecast error.

The settlement here is a twin in Python whole numbers of the rule `as_delivered`; a member's utility is minus what it pays, plus the
value of what is stored after the slot. The clearing is drawn at random within everybody's limits, which includes every
individually rational mechanism: the law must not rest on how the market clears.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from walras.devices import Battery, fleet_from_records, plan_values, value_between
from walras.devices.battery import BatteryFleet
from walras.devices.battery_plan import ValueTable
from walras.errors import InputError
from walras.strategies import Signals, alone_dispatch, dispatch, firm_dispatch, make_signals, truthful_orders, zero_intelligence
from walras.strategies.dispatch import Dispatch, share_whole
from walras.strategies.relief import move, relief_offers
from walras.tariffs import LocalTariff, PriceItem, limit_price, local_cost_nano
from walras.units import Int64, share_pro_rata

LOCAL = LocalTariff(30_000, (PriceItem("levy", 20_500),), 1_900, 5_000)
LOCAL_WITH_VAT = LocalTariff(30_000, (PriceItem("levy", 20_500),), 1_900, 5_000, vat_on_trade=True)


@dataclass(frozen=True)
class Positions:
    bought_wh: Int64
    sold_wh: Int64
    buy_nano: Int64
    sell_nano: Int64


@dataclass(frozen=True)
class Scene:
    """One slot of a small community: what was forecast, what came, what was cleared."""

    local: LocalTariff
    forecast: Signals
    actual: Signals
    fleet: BatteryFleet
    soc: Int64
    values: ValueTable
    positions: Positions


def random_clearing(rng: np.random.Generator, orders, members: int, spread: bool) -> Positions:
    """Bought = sold, everyone within their limit: at one price, or at a price for each order."""
    limits = orders.price_micro_per_kwh
    price = int(rng.choice(limits)) + int(rng.choice([-1, 0, 1, 20_000, -20_000])) if limits.size else 0
    bids = np.flatnonzero((orders.side > 0) & (orders.price_micro_per_kwh >= price))
    asks = np.flatnonzero((orders.side < 0) & (orders.price_micro_per_kwh <= price))
    fill = np.zeros(orders.count, np.int64)
    for rows in (bids, asks):
        fill[rows] = rng.integers(0, orders.quantity_wh[rows] + 1) if rng.random() < 0.5 else orders.quantity_wh[rows]
    volume = min(fill[bids].sum(), fill[asks].sum())
    for rows in (bids, asks):
        fill[rows] = share_pro_rata(fill[rows], int(volume))
    columns = [np.zeros(members, np.int64) for _ in range(4)]
    for row in np.flatnonzero(fill):
        limit = int(orders.price_micro_per_kwh[row])
        own = int(rng.integers(min(limit, price), max(limit, price) + 1)) if spread else price
        buys = orders.side[row] > 0
        columns[0 if buys else 1][orders.participant[row]] += fill[row]
        columns[2 if buys else 3][orders.participant[row]] += fill[row] * own * (1 if buys else -1)
    return Positions(*columns)


def make_scene(seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    members, horizon = int(rng.integers(2, 12)), 12
    owners = np.flatnonzero(rng.random(members) < 0.7)
    batteries = []
    for _ in owners:
        capacity = int(rng.choice([0, 1, 5_000, 12_000, 30_000]))
        power, eta = int(rng.choice([4, 2_000, 11_000])), [float(e) for e in rng.uniform(0.7, 1.0, 2)]
        batteries.append(Battery(capacity, power, eta[0], eta[1], int(rng.integers(0, capacity + 1))))
    fleet = fleet_from_records(batteries, owners.tolist(), 15)
    if seed % 4 == 3:  # stores that cannot give, as vehicles
        fleet = replace(fleet, discharge_limit_wh=fleet.discharge_limit_wh * (np.arange(owners.size) % 2))
    wild = rng.random() < 0.15
    low = -200_000 if wild else 0
    buy = rng.choice([250_000, 300_000, 320_000], (horizon, members)) + rng.integers(-80_000, 80_000, (horizon, 1))
    feed_in = rng.integers(low, 130_000, members)
    if wild:
        buy = buy - 350_000 * (rng.random((horizon, 1)) < 0.5)
    net = rng.integers(-3_000, 2_000, (horizon, members))
    sell = np.repeat(feed_in[None, :], horizon, 0)
    plan = plan_values(fleet, net[:, owners], buy[:, owners], sell[:, owners], keep=2)
    local = LOCAL_WITH_VAT if rng.random() < 0.3 else LOCAL
    limit = np.asarray(limit_price(buy[0], local))
    error = rng.integers(-2_500, 2_500, members) * int(rng.random() < 0.8)
    forecast = make_signals(net[0], buy[0], limit, feed_in, local)
    actual = make_signals(net[0] + error, buy[0], limit, feed_in, local)
    soc = np.array([int(rng.integers(0, c + 1)) for c in fleet.capacity_uwh], dtype=np.int64)
    orders = truthful_orders(forecast, fleet, soc, plan, 0, np.zeros(members, np.int64))
    if rng.random() < 0.3:
        orders = zero_intelligence(orders, seed, 0, -100_000, 400_000)
    late = soc if rng.random() < 0.7 else np.array([int(rng.integers(0, c + 1)) for c in fleet.capacity_uwh], dtype=np.int64)
    return Scene(local, forecast, actual, fleet, late, plan, random_clearing(rng, orders, members, rng.random() < 0.4))


def settle_as_delivered(p: Positions, metered: Int64) -> tuple[list[int], list[int]]:
    """(bought, sold) that count, in Python whole numbers: up to what was metered, the longer side reduced pro rata."""
    buy = [min(int(b), max(int(m), 0)) for b, m in zip(p.bought_wh, metered, strict=True)]
    sell = [min(int(s), max(-int(m), 0)) for s, m in zip(p.sold_wh, metered, strict=True)]
    volume = min(sum(buy), sum(sell))
    sides = []
    for side in (buy, sell):
        whole = sum(side)
        parts = [w * volume // whole if whole else 0 for w in side]
        left = [w * volume % whole if whole else 0 for w in side]
        for i in sorted(range(len(side)), key=lambda i: (-left[i], i))[: volume - sum(parts)]:
            parts[i] += 1
        sides.append(parts)
    return sides[0], sides[1]


def own_contract(scene: Scene, i: int, net: int) -> int:
    price = scene.actual.import_micro[i] if net > 0 else scene.actual.feed_in_micro[i]
    return net * int(price)


def stored_value(scene: Scene, soc: Int64) -> list[int]:
    """By member, in 1e-6 nano."""
    worth = [0] * scene.actual.net_wh.size
    v = scene.values
    for j, member in enumerate(scene.fleet.member):
        worth[member] = int(value_between(v.slope, v.edge, v.start[0, j], v.count[0, j], 0, int(soc[j])))
    return worth


def utilities(scene: Scene, done: Dispatch) -> list[int]:
    """Minus payments plus value stored, by member, in 1e-6 nano, exact."""
    p = scene.positions
    bought, sold = settle_as_delivered(p, done.metered_wh)
    worth = stored_value(scene, done.soc_uwh)
    out = []
    for i, net in enumerate(done.metered_wh.tolist()):
        trade = int(p.buy_nano[i]) * bought[i] // int(p.bought_wh[i]) if bought[i] else 0
        paid = int(local_cost_nano(trade, bought[i], scene.local))
        earned = int(p.sell_nano[i]) * sold[i] // int(p.sold_wh[i]) if sold[i] else 0
        rest = own_contract(scene, i, net - bought[i] + sold[i])
        out.append(-(paid + earned + rest) * 10**6 + worth[i])
    return out


def utilities_alone(scene: Scene) -> list[int]:
    done = alone_dispatch(scene.actual, scene.fleet, scene.soc, scene.values, 0)
    worth = stored_value(scene, done.soc_uwh)
    return [-own_contract(scene, i, net) * 10**6 + worth[i] for i, net in enumerate(done.metered_wh.tolist())]


def run(scene: Scene) -> Dispatch:
    return dispatch(scene.actual, scene.positions, scene.fleet, scene.soc, scene.values, 0)


@settings(max_examples=400, deadline=None)
@example(114)  # a negative feed-in price above what stored energy is worth: the base fills a battery's offer
@given(st.integers(0, 2**32 - 1))
def test_no_truthful_member_is_worse_off_than_without_the_market_in_any_slot(seed: int) -> None:
    scene = make_scene(seed)
    with_market, without = utilities(scene, run(scene)), utilities_alone(scene)
    assert all(a >= b for a, b in zip(with_market, without, strict=True)), (seed, with_market, without)


@pytest.mark.nightly
def test_no_truthful_member_is_worse_off_in_twenty_thousand_slots() -> None:
    for seed in range(20_000):
        scene = make_scene(seed)
        assert all(a >= b for a, b in zip(utilities(scene, run(scene)), utilities_alone(scene), strict=True)), seed


def test_the_scenes_really_use_flexible_energy_on_both_sides_and_someone_gains() -> None:
    gave = took = gained = reduced = 0
    for seed in range(600):
        scene = make_scene(seed)
        done = run(scene)
        gave += bool((done.action_wh < done.alone_wh).any())
        took += bool((done.action_wh > done.alone_wh).any())
        gained += any(a > b for a, b in zip(utilities(scene, done), utilities_alone(scene), strict=True))
        bought, sold = settle_as_delivered(scene.positions, done.metered_wh)
        reduced += bought != np.minimum(scene.positions.bought_wh, np.maximum(done.metered_wh, 0)).tolist()
        reduced += sold != np.minimum(scene.positions.sold_wh, np.maximum(-done.metered_wh, 0)).tolist()
    assert min(gave, took, gained, reduced) > 30, (gave, took, gained, reduced)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_flexible_energy_is_ever_reduced_by_the_settlement(seed: int) -> None:
    scene = make_scene(seed)
    done = run(scene)
    bought, sold = settle_as_delivered(scene.positions, done.metered_wh)
    for j, i in enumerate(scene.fleet.member.tolist()):
        base = int(scene.actual.net_wh[i] + done.alone_wh[j])
        if done.action_wh[j] < done.alone_wh[j]:
            assert sold[i] == -int(done.metered_wh[i])
            assert sold[i] <= scene.positions.sold_wh[i]
            assert base <= 0
        if done.action_wh[j] > done.alone_wh[j]:
            assert bought[i] == int(done.metered_wh[i])
            assert bought[i] <= scene.positions.bought_wh[i]
            assert base >= 0


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_batteries_keep_their_limits_and_the_meter_adds_up(seed: int) -> None:
    scene = make_scene(seed)
    firm = firm_dispatch(scene.actual, scene.positions, 400_000, 20_000, scene.fleet, scene.soc, scene.values, 0)
    for done in (run(scene), firm):
        fleet = scene.fleet
        expected = scene.actual.net_wh.copy()
        np.add.at(expected, fleet.member, done.action_wh)
        assert np.array_equal(done.metered_wh, expected)
        assert (done.action_wh <= fleet.charge_limit_wh).all()
        assert (-done.action_wh <= fleet.discharge_limit_wh).all()
        assert (done.soc_uwh >= 0).all()
        assert (done.soc_uwh <= fleet.capacity_uwh).all()
        stored = np.where(done.action_wh > 0, done.action_wh * fleet.gain_ppm, done.action_wh * fleet.drain_ppm)
        assert np.array_equal(done.soc_uwh - scene.soc, stored)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20), st.data())
def test_shares_in_compiled_loops_equal_the_exact_shares(weights: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(weights)))
    column = np.array(weights, dtype=np.int64)
    assert np.array_equal(share_whole(column, total), share_pro_rata(column, total))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_relief_that_the_wires_call_never_costs_its_owner_and_touches_no_trade(seed: int) -> None:
    """Whatever a node's price, every offer that it fills pays by itself, and the battery can do what it offered."""
    scene, root = make_scene(seed), 100_000
    done, rng = run(scene), np.random.default_rng(seed)
    now = scene.actual
    prices = now.import_micro, now.feed_in_micro, root
    offers = relief_offers(done, scene.positions, *prices, scene.fleet, scene.soc, scene.values, 0)
    place = rng.integers(-400_000, 400_000, now.net_wh.size)
    moved = np.zeros_like(now.net_wh)
    for member, side, wh, price in zip(offers.member, offers.side, offers.wh, offers.price_micro, strict=True):
        gain = side * (price - root - place[member])
        assert side * (price - root) <= 0, "nothing moves until the wires are worth it"
        if gain >= 0:
            moved[member] += side * (wh if gain > 0 else rng.integers(0, wh + 1))
    after = move(done, moved, scene.fleet, scene.soc)
    assert (after.metered_wh - done.metered_wh == moved).all()
    assert settle_as_delivered(scene.positions, after.metered_wh) == settle_as_delivered(scene.positions, done.metered_wh)
    for i, (late, early) in enumerate(zip(utilities(scene, after), utilities(scene, done), strict=True)):
        assert late - int(moved[i]) * int(place[i]) * 10**6 >= early, (seed, i)


def test_a_battery_is_not_moved_beyond_what_it_can() -> None:
    scene = make_scene(1)
    done, first = run(scene), int(scene.fleet.member[0])
    moved = np.zeros_like(scene.actual.net_wh)
    moved[first] = 10**6
    with pytest.raises(InputError, match="battery 0"):
        move(done, moved, scene.fleet, scene.soc)
    nobody = next(i for i in range(moved.size) if i not in scene.fleet.member)
    with pytest.raises(InputError, match="has no battery"):
        move(done, np.eye(moved.size, dtype=np.int64)[nobody], scene.fleet, scene.soc)
