"""Procurement of flexibility: its laws, a slow twin for the reverse auction, and an exact solver over the slots."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.errors import InputError
from walras.market.book import read_book
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.flexibility import FLEXIBILITY, clear
from walras.market.laws import assert_laws
from walras.market.mechanism import ORDER_EXTRA
from walras.market.orders import Orders, make_orders

Extra = dict[str, object]


@st.composite
def markets(draw: st.DrawFn, rebound: bool = True) -> tuple[Orders, Extra]:
    slots = draw(st.integers(1, 4))
    bids, offers = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    price = st.integers(0, 20).map(lambda v: v * 1_000)
    quantity = st.integers(0, 40)
    side = [1] * bids + [-1] * offers
    columns: dict[str, list[int | None]] = {
        name: [None] * len(side)
        for name in ("slot", "power_wh", "from_slot", "to_slot", "notice", "rebound_percent", "rebound_after")
    }
    for row in range(len(side)):
        if side[row] > 0:
            columns["slot"][row] = draw(st.integers(0, slots - 1))
            continue
        columns["power_wh"][row] = draw(st.none() | st.integers(0, 30))
        first = draw(st.integers(0, slots - 1))
        columns["from_slot"][row], columns["to_slot"][row] = first, draw(st.integers(first, slots - 1))
        columns["notice"][row] = draw(st.none() | st.integers(0, 2))
        if rebound:
            columns["rebound_percent"][row] = draw(st.none() | st.integers(0, 100))
            columns["rebound_after"][row] = draw(st.integers(1, 2))
    orders = make_orders(
        side, [draw(quantity) for _ in side], [draw(price) for _ in side], id=draw(st.permutations(range(len(side))))
    )
    extra: Extra = {ORDER_EXTRA: columns}
    if draw(st.booleans()):
        extra["called_at"] = draw(st.integers(0, 1))
    return orders, extra


@settings(max_examples=150, deadline=None)
@given(markets())
def test_it_keeps_the_laws_it_claims(market: tuple[Orders, Extra]) -> None:
    orders, extra = market
    assert_laws(FLEXIBILITY, orders, Conventions(), extra=extra)


def table(clearing: Clearing) -> dict[int, list[int]]:
    if "slots" not in clearing.certificate:
        return {}
    delivered = np.asarray(clearing.certificate["delivered_wh"]).reshape(-1, int(clearing.certificate["slots"]))  # type: ignore[arg-type]
    return {int(row): delivered[k].tolist() for k, row in enumerate(np.asarray(clearing.certificate["offer_row"]))}


@settings(max_examples=150, deadline=None)
@given(markets())
def test_every_offer_stays_within_its_technical_limits_and_is_paid_its_price(market: tuple[Orders, Extra]) -> None:
    orders, extra = market
    columns: dict[str, list[int | None]] = extra[ORDER_EXTRA]  # type: ignore[assignment]
    done = clear(orders, Conventions(), extra=extra)
    for row, by_slot in table(done).items():
        assert done.filled_wh[row] == sum(by_slot) <= orders.quantity_wh[row]
        assert done.pay_nano[row] == -sum(by_slot) * orders.price_micro_per_kwh[row]
        power = columns["power_wh"][row]
        assert power is None or max(by_slot, default=0) <= power
        called = extra.get("called_at")
        earliest = max(columns["from_slot"][row] or 0, 0 if called is None else called + (columns["notice"][row] or 0))  # type: ignore[operator]
        for t, wh in enumerate(by_slot):
            assert wh == 0 or earliest <= t <= (columns["to_slot"][row] or 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), max_size=6), st.integers(0, 80), st.integers(0, 25))
def test_with_one_slot_it_is_the_reverse_auction_cheapest_first_each_at_its_price(
    offers: list[tuple[int, int]], wanted: int, cap: int
) -> None:
    orders = make_orders([1] + [-1] * len(offers), [wanted, *(q for q, _ in offers)], [cap, *(p for _, p in offers)])
    done = clear(orders, Conventions())
    left, expected = wanted, [0] * (len(offers) + 1)
    for row in sorted(range(1, len(offers) + 1), key=lambda r: (offers[r - 1][1], r)):
        if offers[row - 1][1] < cap:
            expected[row] = min(left, offers[row - 1][0])
            left -= expected[row]
    equal = sum(q for q, p in offers if p == cap)  # at the cap itself nothing is gained: any part may be called
    assert 0 <= done.filled_wh[0] - (wanted - left) <= min(equal, left)
    if not equal:
        assert done.filled_wh.tolist() == [wanted - left, *expected[1:]]
        assert done.pay_nano[0] == sum(wh * p for wh, (_, p) in zip(expected[1:], offers, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_whole_procurement_is_worth_more(data: st.DataObject) -> None:
    """Against every whole allocation of two small offers over two slots."""
    caps = [data.draw(st.integers(0, 9)) for _ in range(2)]
    wants = [data.draw(st.integers(0, 3)) for _ in range(2)]
    prices = [data.draw(st.integers(0, 9)) for _ in range(2)]
    energy = [data.draw(st.integers(0, 3)) for _ in range(2)]
    power = [data.draw(st.integers(0, 3)) for _ in range(2)]
    orders = make_orders([1, 1, -1, -1], wants + energy, caps + prices)
    extra: Extra = {ORDER_EXTRA: {"slot": [0, 1, None, None], "power_wh": [None, None, *power]}}
    done = clear(orders, Conventions(), extra=extra)
    got = int((orders.side * done.filled_wh * orders.price_micro_per_kwh).sum())
    best = 0
    for a0, a1, b0, b1 in itertools.product(range(4), repeat=4):
        if a0 + a1 <= energy[0] and b0 + b1 <= energy[1] and max(a0, a1) <= power[0] and max(b0, b1) <= power[1]:
            served = (a0 + b0, a1 + b1)
            if served[0] <= wants[0] and served[1] <= wants[1]:
                value = sum(c * s for c, s in zip(caps, served, strict=True))
                best = max(best, value - prices[0] * (a0 + a1) - prices[1] * (b0 + b1))
    assert got == best


def test_a_rebound_in_a_required_slot_is_procured_again() -> None:
    orders = make_orders([1, 1, -1, -1], [100, 100, 500, 500], [900, 900, 10, 50])
    extra: Extra = {
        ORDER_EXTRA: {"slot": [0, 1, None, None], "to_slot": [None, None, 0, None], "rebound_percent": [None, None, 50, None]}
    }
    done = clear(orders, Conventions(), extra=extra)
    assert done.filled_wh.tolist() == [100, 100, 100, 150]
    assert done.losses_wh == 50
    assert done.surplus_nano == 0


BAD = {
    "a slot on an offer": {"slot": [0, 0]},
    "power on a requirement": {"power_wh": [5, None]},
    "a negative power": {"power_wh": [None, -1]},
    "a share beyond the whole": {"rebound_percent": [None, 101]},
    "a window that ends before it begins": {"from_slot": [None, 3], "to_slot": [None, 2]},
    "a slot that is no number": {"slot": ["noon", None]},
    "a slot beyond reach": {"slot": [10**9, None]},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_technical_field_is_named(name: str) -> None:
    orders = make_orders([1, -1], [10, 10], [5, 1])
    with pytest.raises(InputError, match="order row"):
        clear(orders, Conventions(), extra={ORDER_EXTRA: BAD[name]})


def test_the_book_as_json_says_what_each_offer_delivers() -> None:
    book = {
        "called_at": 36,
        "orders": [
            {"id": "need", "participant": "dso", "side": "buy", "quantity_wh": 4000, "price_micro_per_kwh": 600_000, "slot": 40},
            {"id": "cold store", "participant": "shop-1", "side": "sell", "quantity_wh": 6000, "price_micro_per_kwh": 90_000,
             "power_wh": 2500, "notice": 2},
            {"id": "late", "participant": "x", "side": "sell", "quantity_wh": 6000, "price_micro_per_kwh": 10_000, "notice": 9},
        ],
    }  # fmt: skip
    orders, conventions, extra = read_book(book, FLEXIBILITY)
    done = clear(orders, conventions, extra=extra)
    assert done.filled_wh.tolist() == [2500, 2500, 0]
    assert FLEXIBILITY.report is not None
    said = FLEXIBILITY.report(done, extra)
    assert said["shortfall_value_micro_per_kwh"][40] == 600_000  # type: ignore[index]
