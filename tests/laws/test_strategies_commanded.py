"""Bounds on what passes a meter: devices go as near as they can, nobody orders beyond, and who is not bound sees no difference."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.devices.battery import fleet_from_records, most_charge, most_discharge, stored_change
from walras.devices.records import Battery
from walras.market.orders import BUY, SELL, make_orders
from walras.strategies.commanded import UNBOUND, Bounds, beyond_wh, obey, orders_within, unbound
from walras.strategies.dispatch import Dispatch

OWNERS = [0, 2]
FLEET = fleet_from_records([Battery(10_000, 4_000, 0.95, 0.9, 0), Battery(3_000, 8_000, 0.9, 0.95, 0)], OWNERS, 15)
MEMBERS = 4
energy = st.integers(-3_000, 3_000)
low_bound = st.one_of(st.just(-UNBOUND), energy)
high_bound = st.one_of(st.just(UNBOUND), energy)


@st.composite
def slots(draw: st.DrawFn) -> tuple[Dispatch, Bounds, np.ndarray]:
    soc = np.array([draw(st.integers(0, int(c))) for c in FLEET.capacity_uwh], dtype=np.int64)
    action = []
    for j in range(FLEET.count):
        most = int(most_charge(soc[j], FLEET.capacity_uwh[j], FLEET.charge_limit_wh[j], FLEET.gain_ppm[j]))
        least = -int(most_discharge(soc[j], FLEET.discharge_limit_wh[j], FLEET.drain_ppm[j]))
        action.append(draw(st.integers(least, most)))
    net = np.array([draw(energy) for _ in range(MEMBERS)], dtype=np.int64)
    for j, owner in enumerate(OWNERS):
        net[owner] += action[j]
    pairs = [(draw(low_bound), draw(high_bound)) for _ in range(MEMBERS)]
    bounds = Bounds(np.array([min(p) for p in pairs]), np.array([max(p) for p in pairs]))
    after = np.array([soc[j] + stored_change(action[j], FLEET.gain_ppm[j], FLEET.drain_ppm[j]) for j in range(FLEET.count)])
    acted = np.array(action, dtype=np.int64)
    return Dispatch(net, after, acted, acted), bounds, soc


@settings(max_examples=200, deadline=None)
@given(slots())
def test_devices_keep_the_bound_or_give_all_they_have(slot: tuple[Dispatch, Bounds, np.ndarray]) -> None:
    done, bounds, soc = slot
    told = obey(done, bounds, FLEET, soc)
    for j in range(FLEET.count):
        most = most_charge(soc[j], FLEET.capacity_uwh[j], FLEET.charge_limit_wh[j], FLEET.gain_ppm[j])
        least = -most_discharge(soc[j], FLEET.discharge_limit_wh[j], FLEET.drain_ppm[j])
        assert least <= told.action_wh[j] <= most
        assert told.soc_uwh[j] == soc[j] + stored_change(int(told.action_wh[j]), FLEET.gain_ppm[j], FLEET.drain_ppm[j])
        beyond = int(beyond_wh(bounds, told.metered_wh)[OWNERS[j]])
        if beyond > 0:
            assert told.action_wh[j] == least
        elif beyond < 0:
            assert told.action_wh[j] == most
    beyond = beyond_wh(bounds, told.metered_wh)
    assert (told.metered_wh[beyond < 0] >= 0).all()  # nobody feeds in more than it may: solar power can always be held back
    kept = (done.metered_wh >= bounds.low_wh) & (done.metered_wh <= bounds.high_wh)
    assert (told.metered_wh[kept] == done.metered_wh[kept]).all()
    assert (np.abs(beyond) <= np.abs(beyond_wh(bounds, done.metered_wh))).all()


@settings(max_examples=100, deadline=None)
@given(slots())
def test_without_bounds_nothing_changes_and_twice_told_is_once_told(slot: tuple[Dispatch, Bounds, np.ndarray]) -> None:
    done, bounds, soc = slot
    free = obey(done, unbound(MEMBERS), FLEET, soc)
    assert (free.metered_wh == done.metered_wh).all()
    assert (free.soc_uwh == done.soc_uwh).all()
    once = obey(done, bounds, FLEET, soc)
    assert (obey(once, bounds, FLEET, soc).metered_wh == once.metered_wh).all()


@settings(max_examples=150, deadline=None)
@given(slots(), st.lists(st.tuples(st.integers(0, MEMBERS - 1), st.sampled_from([BUY, SELL]), st.integers(1, 2_000)), max_size=12))
def test_nobody_orders_beyond_its_bound_and_who_has_none_orders_as_ever(
    slot: tuple[Dispatch, Bounds, np.ndarray], rows: list[tuple[int, int, int]]
) -> None:
    done, bounds, soc = slot
    rows = sorted(rows, key=lambda row: row[0])
    who, side, quantity = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    book = make_orders(side, quantity, np.full(who.size, 250_000), participant=who, time=np.zeros(who.size))
    prices = np.full(MEMBERS, 300_000), np.full(MEMBERS, 100_000)
    within = orders_within(book, done, bounds, FLEET, soc, prices, np.zeros(MEMBERS, dtype=np.int64))
    buys = np.bincount(within.participant[within.side == BUY], weights=within.quantity_wh[within.side == BUY], minlength=MEMBERS)
    sells = np.bincount(within.participant[within.side == SELL], weights=within.quantity_wh[within.side == SELL], minlength=MEMBERS)
    assert (buys <= np.maximum(bounds.high_wh, 0)).all()
    assert (sells <= np.maximum(-bounds.low_wh, 0)).all()
    for member in np.flatnonzero(~bounds.of):
        before, after = book.participant == member, within.participant == member
        for name in ("side", "quantity_wh", "price_micro_per_kwh"):
            assert (getattr(book, name)[before] == getattr(within, name)[after]).all()
    told = obey(done, bounds, FLEET, soc).metered_wh
    for member in np.flatnonzero(told != done.metered_wh):
        mine = within.participant == member
        assert mine.sum() <= 1
        assert (within.quantity_wh[mine] <= abs(told[member])).all()
