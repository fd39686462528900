"""Clock auctions keep their laws and equal a clock that really ticks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, conventions, nasty_books
from walras.errors import InputError, RangeError
from walras.market import dutch, english
from walras.market.conventions import Conventions
from walras.market.dutch import DUTCH
from walras.market.english import ENGLISH
from walras.market.laws import assert_laws, check_efficient, check_no_crossing
from walras.market.mechanism import Mechanism
from walras.market.orders import BUY, Orders, make_orders

CLOCKS = st.fixed_dictionaries(
    {},
    optional={
        "start_price_micro_per_kwh": st.integers(-300, 600),
        "tick_micro_per_kwh": st.sampled_from([1, 2, 7, 100]),
        "reserve_price_micro_per_kwh": st.integers(-100, 300),
    },
)


@pytest.mark.parametrize("mechanism", [DUTCH, ENGLISH])
@settings(max_examples=200, deadline=None)
@given(nasty_books(), conventions(), CLOCKS, st.booleans())
def test_clocks_keep_their_laws_on_nasty_books(
    mechanism: Mechanism, orders: Orders, chosen: Conventions, clock: dict[str, object], falling: bool
) -> None:
    if mechanism is DUTCH:
        clock = {**clock, "direction": "descending" if falling else "ascending"}
    try:
        mechanism.clear(orders, chosen, extra={"clock": clock})
    except RangeError:
        return
    assert_laws(mechanism, orders, chosen, None, {"clock": clock})


@settings(max_examples=200, deadline=None)
@given(books(bids=st.integers(-20, 60), asks=st.integers(-20, 60)), CLOCKS, st.booleans())
def test_the_dutch_clock_equals_one_that_ticks(orders: Orders, clock: dict[str, int], falling: bool) -> None:
    done = dutch.clear(orders, Conventions(), extra={"clock": {**clock, "direction": "descending" if falling else "ascending"}})
    sign = 1 if falling else -1
    rows = [r for r in range(orders.count) if orders.quantity_wh[r]]
    stoppers = [r for r in rows if (orders.side[r] == BUY) == falling]
    lots = [r for r in rows if r not in stoppers]
    left = orders.quantity_wh.tolist()
    worth = (orders.price_micro_per_kwh * sign).tolist()
    price = (
        sign * clock["start_price_micro_per_kwh"]
        if "start_price_micro_per_kwh" in clock
        else max((worth[r] for r in stoppers), default=0)
    )
    end = min(worth, default=0) - 200
    if "reserve_price_micro_per_kwh" in clock:
        end = max(end, sign * clock["reserve_price_micro_per_kwh"])
    trades = []
    while price >= end:
        for taker in sorted((r for r in stoppers if worth[r] >= price), key=lambda r: (orders.time[r], orders.id[r])):
            for lot in sorted((r for r in lots if worth[r] <= price), key=lambda r: (worth[r], orders.time[r], orders.id[r])):
                energy = min(left[taker], left[lot])
                if energy:
                    left[taker] -= energy
                    left[lot] -= energy
                    trades.append(((taker, lot) if falling else (lot, taker)) + (energy, price * sign))
        price -= clock.get("tick_micro_per_kwh", 1)
    t = done.trades
    assert t is not None
    ours = list(zip(t.buy.tolist(), t.sell.tolist(), t.energy_wh.tolist(), t.price_micro_per_kwh.tolist(), strict=True))
    assert ours == trades


@settings(max_examples=200, deadline=None)
@given(books(bids=st.integers(-20, 60), asks=st.integers(-20, 60)), CLOCKS)
def test_the_english_clock_equals_one_that_ticks(orders: Orders, clock: dict[str, int]) -> None:
    done = english.clear(orders, Conventions(), extra={"clock": clock})
    rows = [r for r in range(orders.count) if orders.quantity_wh[r]]
    prices, wh = orders.price_micro_per_kwh.tolist(), orders.quantity_wh.tolist()
    asks = [r for r in rows if orders.side[r] != BUY]
    bids = [r for r in rows if orders.side[r] == BUY]
    if not asks or not bids:
        assert not done.filled_wh.any()
        return

    def demand(p: int) -> int:
        return sum(wh[r] for r in bids if prices[r] >= p)

    def supply(p: int) -> int:
        return sum(wh[r] for r in asks if prices[r] <= p)

    price = clock.get("start_price_micro_per_kwh", min(prices[r] for r in asks))
    price = max(price, clock.get("reserve_price_micro_per_kwh", price))
    tick, moved = clock.get("tick_micro_per_kwh", 1), False
    while demand(price) > supply(price):
        price, moved = price + tick, True
    if moved and demand(price) <= supply(price - tick):
        price -= tick
    volume = min(demand(price), supply(price))
    for side in (bids, asks):
        left = volume
        for r in sorted(side, key=lambda r: (-prices[r] if side is bids else prices[r], orders.time[r], orders.id[r])):
            assert done.filled_wh[r] == min(left, wh[r])
            left -= int(done.filled_wh[r])
    assert done.price_micro_per_kwh == (price if volume else None)


@settings(max_examples=150, deadline=None)
@given(nasty_books(), conventions())
def test_a_tick_of_one_loses_no_welfare_in_the_english_clock(orders: Orders, chosen: Conventions) -> None:
    try:
        done = english.clear(orders, chosen)
    except RangeError:
        return
    assert check_efficient(orders, done, chosen) == []
    assert check_no_crossing(orders, done, chosen) == []


def test_the_emergency_clock_rises_until_the_requirement_is_met() -> None:
    """A grid operator needs 900 Wh less and pays at most 500; the clock rises from 100 in steps of 150."""
    book = make_orders([1, -1, -1, -1], [900, 500, 300, 400], [500, 120, 250, 300])
    clock = {"direction": "ascending", "start_price_micro_per_kwh": 100, "tick_micro_per_kwh": 150}
    done = dutch.clear(book, Conventions(), extra={"clock": clock})
    assert done.filled_wh.tolist() == [900, 500, 300, 100]
    assert done.trades is not None
    assert done.trades.price_micro_per_kwh.tolist() == [250, 250, 400]


def test_a_bad_clock_is_refused_with_every_fault() -> None:
    bad = {"direction": "sideways", "tick_micro_per_kwh": 0, "start_price_micro_per_kwh": 0.5, "colour": 1}
    for rule in (dutch.clear, english.clear):
        with pytest.raises(InputError) as refused:
            rule(make_orders([1], [1], [1]), Conventions(), extra={"clock": bad})
        assert {fault.field for fault in refused.value.faults} == set(bad)
