"""Procurement of flexibility: the common laws over several slots, technical limits, money, and slow twins that try everything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import conventions
from walras.market.clearing import Clearing, welfare_nano
from walras.market.conventions import Conventions
from walras.market.flexibility import FLEXIBILITY, clear
from walras.market.laws import assert_laws
from walras.market.mechanism import ORDER_EXTRA
from walras.market.orders import Orders, make_orders

FEW_LOTS = 10

FIELDS = ("slot", "power_wh", "from_slot", "to_slot", "notice_slots", "rebound_percent", "rebound_after_slots")
Fields = dict[str, list[int | None]]
Market = tuple[Orders, dict[str, Any]]


@st.composite
def markets(draw: st.DrawFn, slots: int = 4, bids: int = 4, offers: int = 4, most: int = 40, rebound: bool = True) -> Market:
    """Requirements and offers over a few slots, slots 2 apart now and then, so that rebounds also miss the requirement."""
    side = [1] * draw(st.integers(1, bids)) + [-1] * draw(st.integers(1, offers))
    fields: Fields = {name: [None] * len(side) for name in FIELDS}
    called = draw(st.none() | st.integers(0, 1))
    for row in range(len(side)):
        if side[row] > 0:
            fields["slot"][row] = draw(st.none() | st.integers(0, slots - 1))
            continue
        fields["power_wh"][row] = draw(st.none() | st.integers(0, most))
        first = draw(st.integers(0, slots - 1))
        fields["from_slot"][row], fields["to_slot"][row] = first, draw(st.none() | st.integers(first, slots - 1))
        fields["notice_slots"][row] = None if called is None else draw(st.none() | st.integers(0, 2))
        if rebound:
            fields["rebound_percent"][row] = draw(st.none() | st.integers(0, 100))
            fields["rebound_after_slots"][row] = draw(st.none() | st.integers(1, 2))
    prices = [draw(st.integers(-3, 20)) if s < 0 else draw(st.integers(0, 40)) for s in side]
    ids = draw(st.permutations(range(len(side))))
    orders = make_orders(
        side, [draw(st.integers(0, most)) for _ in side], prices, id=ids, time=[draw(st.integers(0, 1)) for _ in side]
    )
    return orders, {ORDER_EXTRA: fields} | ({} if called is None else {"called_at": called})


def deliveries(done: Clearing) -> dict[int, dict[int, int]]:
    """Wh by offer row and slot, from the certificate."""
    c = done.certificate
    if "slot" not in c:
        return {}
    slots, rows = np.asarray(c["slot"]).tolist(), np.asarray(c["offer_row"]).tolist()
    table = np.asarray(c["delivered_wh"]).reshape(len(rows), len(slots)).tolist()
    return {row: dict(zip(slots, by_slot, strict=True)) for row, by_slot in zip(rows, table, strict=True)}


@settings(max_examples=200, deadline=None)
@given(markets(), conventions())
def test_it_keeps_the_laws_it_claims_over_several_slots(market: Market, chosen: Conventions) -> None:
    orders, extra = market
    assert_laws(FLEXIBILITY, orders, chosen, None, extra)


@settings(max_examples=150, deadline=None)
@given(markets(), st.sampled_from([1, 1, 3]), st.sampled_from([0, 2]))
def test_every_offer_stays_within_its_limits_and_every_slot_balances(market: Market, lot: int, fee: int) -> None:
    orders, extra = market
    fields: Fields = extra[ORDER_EXTRA]
    called = extra.get("called_at")
    done = clear(orders, Conventions(lot_wh=lot, grid_fee_micro_per_kwh=fee), extra=extra)
    given_out: dict[int, int] = {}
    back: dict[int, Fraction] = {}
    for row, by_slot in deliveries(done).items():
        assert done.filled_wh[row] == sum(by_slot.values()) <= orders.quantity_wh[row]
        assert done.pay_nano[row] == -sum(by_slot.values()) * orders.price_micro_per_kwh[row]
        power, first, last = fields["power_wh"][row], fields["from_slot"][row], fields["to_slot"][row]
        for slot, wh in by_slot.items():
            if not wh:
                continue
            assert power is None or wh <= power
            assert (first or 0) <= slot <= (99 if last is None else last)
            assert called is None or slot - called >= (fields["notice_slots"][row] or 0)
            given_out[slot] = given_out.get(slot, 0) + wh
            later = slot + (fields["rebound_after_slots"][row] or 1)
            back[later] = back.get(later, Fraction(0)) + Fraction(wh * (fields["rebound_percent"][row] or 0), 100)
    lost = 0
    for slot in {fields["slot"][row] or 0 for row in np.flatnonzero(done.filled_wh * (orders.side == 1)).tolist()} | set(given_out):
        bids = [r for r in range(orders.count) if orders.side[r] == 1 and (fields["slot"][r] or 0) == slot]
        covered = -(-back.get(slot, Fraction(0)) // lot) * lot
        assert given_out.get(slot, 0) == sum(int(done.filled_wh[r]) for r in bids) + covered
        lost += covered
    assert done.losses_wh == lost


def reverse_auction(orders: Orders) -> tuple[list[int], int]:
    """Cheapest first for the dearest bids, a unit at a time: fills, and what the buyers owe together."""
    rows = range(orders.count)
    price, left = orders.price_micro_per_kwh.tolist(), orders.quantity_wh.tolist()
    when = list(zip(orders.time.tolist(), orders.id.tolist(), strict=True))
    bids = sorted((r for r in rows if orders.side[r] == 1), key=lambda r: (-price[r], when[r]))
    asks = sorted((r for r in rows if orders.side[r] != 1), key=lambda r: (price[r], when[r]))
    filled, owed = [0] * orders.count, 0
    for bid in bids:
        for ask in asks:
            while left[bid] and left[ask] and price[ask] <= price[bid]:
                for row in (bid, ask):
                    filled[row] += 1
                    left[row] -= 1
                owed += price[ask]
    return filled, owed


@settings(max_examples=150, deadline=None)
@given(markets(slots=1, rebound=False, most=12))
def test_with_one_slot_it_is_the_reverse_auction(market: Market) -> None:
    orders, extra = market
    plain = {ORDER_EXTRA: {"slot": extra[ORDER_EXTRA]["slot"]}}
    done = clear(orders, Conventions(), extra=plain)
    filled, owed = reverse_auction(orders)
    assert done.filled_wh.tolist() == filled
    assert done.pay_nano[orders.side == 1].sum() == owed


def every_plan(orders: Orders, extra: dict[str, Any], lot: int, slots: int) -> Iterator[tuple[int, list[int]]]:
    """(welfare, served by slot) of every procurement in whole lots that keeps every limit."""
    fields: Fields = extra[ORDER_EXTRA]
    offers = [r for r in range(orders.count) if orders.side[r] != 1]
    bids = [r for r in range(orders.count) if orders.side[r] == 1]
    required = {fields["slot"][r] or 0 for r in bids if orders.quantity_wh[r] >= lot}
    quantity = orders.quantity_wh.tolist()

    def ways(row: int) -> list[tuple[int, ...]]:
        power, last, called = fields["power_wh"][row], fields["to_slot"][row], extra.get("called_at")
        most = [0] * slots
        for t in required:
            open_then = (fields["from_slot"][row] or 0) <= t <= (slots if last is None else last)
            noticed = called is None or t - called >= (fields["notice_slots"][row] or 0)
            most[t] = min(quantity[row], quantity[row] if power is None else power) // lot if open_then and noticed else 0
        every = itertools.product(*(range(m + 1) for m in most))
        return [way for way in every if sum(way) <= quantity[row] // lot]

    for plan in itertools.product(*(ways(row) for row in offers)):
        back = [0] * slots
        for row, way in zip(offers, plan, strict=True):
            for t, n in enumerate(way):
                later = t + (fields["rebound_after_slots"][row] or 1)
                if later < slots:
                    back[later] += n * (fields["rebound_percent"][row] or 0)
        net = [sum(way[t] for way in plan) + (-back[t] // 100 if t in required else 0) for t in range(slots)]
        if min(net) < 0:
            continue
        worth = -sum(sum(way) * int(orders.price_micro_per_kwh[row]) for row, way in zip(offers, plan, strict=True))
        left = list(net)
        for row in sorted(bids, key=lambda r: -int(orders.price_micro_per_kwh[r])):
            t = fields["slot"][row] or 0
            took = min(left[t], quantity[row] // lot)
            left[t] -= took
            worth += took * int(orders.price_micro_per_kwh[row])
        if not any(left):
            yield worth * lot, net


@settings(max_examples=120, deadline=None)
@given(markets(slots=3, bids=3, offers=2, most=3))
def test_no_whole_procurement_exceeds_the_bound_and_none_without_rebound_is_worth_more(market: Market) -> None:
    orders, extra = market
    done = clear(orders, Conventions(), extra=extra)
    best = max(worth for worth, _ in every_plan(orders, extra, 1, 3))
    bound = done.certificate["bound_nano"]
    assert isinstance(bound, int)
    assert 0 <= welfare_nano(orders, done) <= best <= bound
    extra[ORDER_EXTRA]["rebound_percent"] = [None] * orders.count
    without = clear(orders, Conventions(), extra=extra)
    assert welfare_nano(orders, without) == max(worth for worth, _ in every_plan(orders, extra, 1, 3))


@settings(max_examples=60, deadline=None)
@given(markets(bids=4, offers=4, most=3))
def test_in_fine_lots_the_bound_is_reached_but_for_a_few_lots(market: Market) -> None:
    """A thousand times the energy in the same lots: what making it whole costs does not grow with it."""
    orders, extra = market
    fields = extra[ORDER_EXTRA]
    fields["power_wh"] = [None if wh is None else wh * 1_000 for wh in fields["power_wh"]]
    large = make_orders(orders.side, orders.quantity_wh * 1_000, orders.price_micro_per_kwh, id=orders.id, time=orders.time)
    done = clear(large, Conventions(), extra=extra)
    bound = done.certificate["bound_nano"]
    assert isinstance(bound, int)
    assert bound - welfare_nano(large, done) <= 40 * FEW_LOTS  # no price is above 40


@settings(max_examples=60, deadline=None)
@given(markets(slots=3, bids=3, offers=2, most=8, rebound=False))
def test_no_whole_procurement_in_lots_is_worth_more(market: Market) -> None:
    orders, extra = market
    done = clear(orders, Conventions(lot_wh=3), extra=extra)
    assert done.certificate["left_out"] == 0
    assert welfare_nano(orders, done) == max(worth for worth, _ in every_plan(orders, extra, 3, 3))


@settings(max_examples=150, deadline=None)
@given(markets())
def test_each_bid_pays_its_part_of_what_its_slot_causes_to_within_a_nano_a_share(market: Market) -> None:
    """The same shares as exact fractions, by slots from the last to the first."""
    orders, extra = market
    fields: Fields = extra[ORDER_EXTRA]
    done = clear(orders, Conventions(), extra=extra)
    table = deliveries(done)
    slots = sorted({slot for by_slot in table.values() for slot in by_slot})
    cost = {t: Fraction(sum(n[t] * int(orders.price_micro_per_kwh[row]) for row, n in table.items())) for t in slots}
    for t in reversed(slots):
        causes: list[tuple[int | None, int, Fraction]] = [
            (row, t, Fraction(int(done.filled_wh[row])))
            for row in range(orders.count)
            if orders.side[row] == 1 and (fields["slot"][row] or 0) == t
        ]
        for row, by_slot in table.items():
            source = t - (fields["rebound_after_slots"][row] or 1)
            causes.append((None, source, Fraction(by_slot.get(source, 0) * (fields["rebound_percent"][row] or 0), 100)))
        whole = sum(energy for _, _, energy in causes)
        for who, source, energy in causes:
            if energy and who is None:
                cost[source] += cost[t] * energy / whole
            elif energy and who is not None:
                assert abs(int(done.pay_nano[who]) - cost[t] * energy / whole) < orders.count * len(slots)


@settings(max_examples=60, deadline=None)
@given(markets(rebound=False), st.integers(0, 10))
def test_a_bid_that_pays_more_is_not_served_less(market: Market, more: int) -> None:
    orders, extra = market
    before = clear(orders, Conventions(), extra=extra)
    price = orders.price_micro_per_kwh.copy()
    price[0] += more
    higher = make_orders(orders.side, orders.quantity_wh, price, id=orders.id, time=orders.time)
    after = clear(higher, Conventions(), extra=extra)
    assert after.filled_wh[0] >= before.filled_wh[0]


@pytest.mark.nightly
@settings(max_examples=1500, deadline=None)
@given(markets(slots=5, bids=6, offers=6, most=200), conventions())
def test_it_keeps_the_laws_it_claims_over_many_slots(market: Market, chosen: Conventions) -> None:
    orders, extra = market
    assert_laws(FLEXIBILITY, orders, chosen, None, extra)
