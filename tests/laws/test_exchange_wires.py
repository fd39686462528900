"""The wires of a run: charges that balance, curtailment that is needed, cheapest and kept, and a record that says it all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.devices.battery import fleet_from_records
from walras.devices.records import Battery
from walras.errors import ClearingError, InputError
from walras.exchange.curtailment import Intended, WiresSlot, check_wires, clear_wires, limits_broken, root_price, wires_of
from walras.exchange.terms import Terms, terms_from_public, terms_to_public
from walras.exchange.wires import SCARCITY_MICRO, Wires, charges, location_micro, wires_from_public, wires_to_public
from walras.grid import Line, Transformer, build_network
from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.orders import make_orders
from walras.slots import SlotGrid
from walras.strategies.curtailment import curtail
from walras.strategies.dispatch import Dispatch
from walras.tariffs.records import LocalTariff

NETWORK = build_network(
    {"mv": 20.0, "lv": 0.4, "a": 0.4, "b": 0.4, "c": 0.4},
    [
        Line("lv-a", "lv", "a", 0.2, 0.2, 0.08, max_i_ka=0.2),
        Line("a-b", "a", "b", 0.2, 0.3, 0.08, max_i_ka=0.08),
        Line("lv-c", "lv", "c", 0.1, 0.2, 0.08, max_i_ka=0.2),
    ],
    [Transformer("t", "mv", "lv", 40.0, 20.0, 0.4, 4.0, 1.0)],
    root="mv",
)
BUS = np.array([NETWORK.bus_index[name] for name in ("a", "a", "b", "b", "c", "c")])
FEED_IN = np.array([120_000, 80_000, 120_000, 310_000, 80_000, 0])


def make_terms(rent: str = "members", **limits: Any) -> Terms:
    return Terms(
        name="six homes",
        currency="EUR",
        grid=SlotGrid(datetime(2024, 1, 1, tzinfo=UTC), 15, "UTC"),
        first=0,
        last=95,
        mechanism="uniform",
        conventions=Conventions(),
        rule="as_delivered",
        short_micro_per_kwh=0,
        long_micro_per_kwh=0,
        contracts=("flat",),
        items=("energy", "network"),
        local=LocalTariff(0, (), 0, 0),
        contract_of=np.zeros(6, dtype=np.int64),
        feed_in_micro=FEED_IN,
        gate_closure_s=900,
        metering_deadline_s=900,
        oracles=(),
        quorum=0,
        wires=Wires(NETWORK, BUS, rent, **limits),  # type: ignore[arg-type]
    )


def intended(net: list[int], sold: list[int] | None = None, price: int = 150_000) -> Intended:
    column = np.array(net, dtype=np.int64)
    holds = np.minimum(np.array([0] * 6 if sold is None else sold), np.maximum(-column, 0))
    return Intended(column, holds, np.zeros(NETWORK.buses, dtype=np.int64), price, price)


NETS = st.lists(st.integers(-9_000, 4_000), min_size=6, max_size=6)
SOLD = st.lists(st.integers(0, 9_000), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(NETS, SOLD, st.integers(-50_000, 400_000), st.booleans())
def test_what_is_left_after_curtailment_breaks_nothing_that_curtailment_could_mend(
    net: list[int], sold: list[int], price: int, kept: bool
) -> None:
    terms, wish = make_terms("grid_operator" if kept else "members"), intended(net, sold, price)
    slot = clear_wires(terms, wish)
    assert check_wires(terms, slot) == []
    fed = np.maximum(-wish.net_wh, 0)
    assert ((slot.curtailed_wh >= 0) & (slot.curtailed_wh <= fed)).all()
    metered = wish.net_wh + slot.curtailed_wh
    if not np.asarray(slot.clearing.certificate["limit_short_ppm"]).any():
        assert limits_broken(terms, metered, wish.reactive_var) == []
    due = charges(wires_of(terms), slot.clearing, metered)
    place = np.clip(location_micro(NETWORK, slot.clearing)[BUS], -SCARCITY_MICRO, SCARCITY_MICRO)  # penalties are not billed
    assert due.locational_nano.tolist() == (place * metered).tolist()
    if kept:
        assert not due.returned_nano.any()
    elif metered.any():
        assert int(due.locational_nano.sum() + due.returned_nano.sum()) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-1_500, 1_500), min_size=6, max_size=6), SOLD, st.integers(100_000, 400_000))
def test_nothing_is_taken_back_of_what_the_wires_carry(net: list[int], sold: list[int], price: int) -> None:
    """Where no limit is near, only energy that is worth less than the losses it causes stays behind: with a rate, none."""
    terms, wish = make_terms(), intended(net, sold, price)
    taken = clear_wires(terms, wish).curtailed_wh
    paid = FEED_IN > 0
    assert not taken[paid].any()


def test_the_cheapest_feed_in_goes_first() -> None:
    """At a both feed in 6 kWh in a quarter hour, 48 kW on a transformer of 40: 8 ct gives way before 12 ct."""
    taken = clear_wires(make_terms(), intended([-6_000, -6_000, 0, 0, 0, 0])).curtailed_wh
    assert taken[0] == 0
    assert 1_500 < taken[1] < 6_000


def test_what_was_sold_gives_way_last() -> None:
    wish = intended([0, 0, 0, 0, -6_000, -6_000], [0, 0, 0, 0, 0, 6_000])
    taken = clear_wires(make_terms(), wish).curtailed_wh
    assert taken[5] == 0
    assert taken[4] > 1_500


def test_an_export_limit_holds_and_has_a_price() -> None:
    slot = clear_wires(make_terms(export_limit_w=10_000), intended([0, -5_000, 0, 0, 0, 0]))
    assert 2_300 < slot.curtailed_wh[1] < 2_600
    worth = np.asarray(slot.clearing.certificate["limit_price_micro_per_hour"])
    # a kW more of export is a kWh an hour at 8 ct, less what it loses on the way
    assert 75_000 < worth.max() <= 80_000
    # and who feeds in pays for it: 10 kW of exchange for a quarter hour at that price, and the losses
    metered = slot.intended.net_wh + slot.curtailed_wh
    due = charges(wires_of(make_terms(export_limit_w=10_000)), slot.clearing, metered)
    assert 2_500 * 75_000 < int(due.locational_nano.sum()) < 2_500 * 90_000


def test_only_what_the_clearing_says_stays_broken_is_excused() -> None:
    terms = make_terms()
    slot = clear_wires(terms, intended([4_000, 4_000, 4_000, 4_000, 4_000, 4_000]))
    net, reactive = slot.intended.net_wh, slot.intended.reactive_var
    assert limits_broken(terms, net, reactive, slot.clearing) == []
    short = np.asarray(slot.clearing.certificate["limit_short_ppm"])
    for row in np.flatnonzero(short):
        less = short.copy()
        less[row] //= 2
        forged = replace(slot.clearing, certificate={**slot.clearing.certificate, "limit_short_ppm": less})
        assert limits_broken(terms, net, reactive, forged)


def test_a_limit_that_taking_breaks_is_said_and_not_hidden() -> None:
    slot = clear_wires(make_terms(), intended([4_000, 4_000, 4_000, 4_000, 4_000, 4_000]))
    assert np.asarray(slot.clearing.certificate["limit_short_ppm"]).max() > 100_000
    assert not slot.curtailed_wh.any()
    assert limits_broken(make_terms(), slot.intended.net_wh, slot.intended.reactive_var)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_changed_clearing_is_refused(data: st.DataObject) -> None:
    terms, wish = make_terms(), intended([-7_000, -3_000, -6_000, -1_000, -5_000, 500])
    slot = clear_wires(terms, wish)
    what = data.draw(st.sampled_from(["fill", "price", "split", "limit", "losses"]))
    clearing, evidence = slot.clearing, dict(slot.clearing.certificate)
    by = data.draw(st.integers(40, 900))
    if what == "fill":
        fills = clearing.filled_wh.copy()
        fills[data.draw(st.integers(0, fills.size - 1))] -= by
        forged = replace(clearing, filled_wh=fills)
    elif what == "price":
        prices = clearing.node_price_micro_per_kwh
        assert prices is not None
        prices = prices.copy()
        prices[data.draw(st.integers(0, prices.size - 1))] += by
        forged = replace(clearing, node_price_micro_per_kwh=prices)
    elif what == "split":
        column = np.asarray(evidence["congestion_micro_per_kwh"]).copy()
        column[data.draw(st.integers(0, column.size - 1))] -= by
        forged = replace(clearing, certificate=evidence | {"congestion_micro_per_kwh": column})
    elif what == "limit":
        column = np.asarray(evidence["limit_price_micro_per_hour"]).copy()
        column[data.draw(st.integers(0, column.size - 1))] += 100 * by
        forged = replace(clearing, certificate=evidence | {"limit_price_micro_per_hour": column})
    else:
        forged = replace(clearing, losses_wh=clearing.losses_wh + by)
    assert check_wires(terms, WiresSlot(wish, forged, slot.curtailed_wh))


def test_wires_survive_the_record_to_the_last_bit() -> None:
    terms = make_terms(import_limit_w=30_500)
    again = terms_from_public(terms_to_public(terms))
    assert terms_to_public(again) == terms_to_public(terms)
    assert again.wires is not None
    for name, column in NETWORK.as_arrays().items():
        assert np.array_equal(again.wires.network.as_arrays()[name], column, equal_nan=column.dtype.kind == "f"), name


def test_terms_of_a_bus_that_is_not_there_are_refused() -> None:
    public = wires_to_public(make_terms().wires)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="bus"):
        wires_from_public(public | {"bus": [0, 99]})
    with pytest.raises(InputError, match="rent"):
        wires_from_public(public | {"rent": "nobody"})


def test_terms_without_wires_clear_nothing() -> None:
    with pytest.raises(ClearingError, match="limits"):
        clear_wires(replace(make_terms(), wires=None), intended([0] * 6))


def test_the_root_is_worth_the_trade_price_the_mean_or_the_cheapest_energy() -> None:
    book, energy = make_orders([1, -1], [1_000, 1_000], [300_000, 100_000]), np.array([180_000, 90_000])
    one = Clearing("uniform", np.array([1_000, 1_000]), np.array([200_000_000, -200_000_000]), 200_000)
    many = Clearing("pay_as_bid", np.array([1_000, 1_000]), np.array([250_000_000, -250_000_000]), None)
    assert root_price(one, book, energy) == 200_000
    assert root_price(many, book, energy) == 250_000
    assert root_price(empty_clearing("uniform", book), book, energy) == 90_000


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(-1_250, 1_250),
    st.integers(0, 6_000),
    st.integers(0, 6_000),
)
def test_a_curtailed_owner_keeps_in_its_battery_what_fits(stored_wh: int, wish: int, pv: int, taken: int) -> None:
    fleet = fleet_from_records([Battery(10_000, 5_000, 0.95, 0.95, stored_wh)], [0], 15)
    soc = fleet.initial_uwh
    action = max(wish, -min(1_250, stored_wh * 10**6 // int(fleet.drain_ppm[0])))
    action = min(action, (int(fleet.capacity_uwh[0]) - stored_wh * 10**6) // int(fleet.gain_ppm[0]))
    change = action * int(fleet.gain_ppm[0] if action >= 0 else fleet.drain_ppm[0])
    done = Dispatch(np.array([action - pv]), soc + change, np.array([action]), np.array([action]))
    taken = min(taken, max(pv - action, 0))
    after = curtail(done, np.array([taken]), fleet, soc)
    assert after.metered_wh[0] == done.metered_wh[0] + taken
    assert 0 <= after.soc_uwh[0] <= fleet.capacity_uwh[0]
    assert after.soc_uwh[0] >= done.soc_uwh[0]
    kept = int(after.action_wh[0]) - action
    assert 0 <= kept <= taken
    # what is not kept did not fit: the battery is at its power or its room
    if kept < taken:
        room = (int(fleet.capacity_uwh[0]) - stored_wh * 10**6) // int(fleet.gain_ppm[0])
        assert int(after.action_wh[0]) == max(action, min(1_250, room))


def test_nobody_takes_back_more_than_it_feeds_in() -> None:
    fleet = fleet_from_records([], [], 15)
    nothing = np.zeros(0, dtype=np.int64)
    done = Dispatch(np.array([500, -300]), nothing, nothing, nothing)
    with pytest.raises(InputError, match="member 0"):
        curtail(done, np.array([1, 0]), fleet, nothing)
    with pytest.raises(InputError, match="member 1"):
        curtail(done, np.array([0, 301]), fleet, nothing)
