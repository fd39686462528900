"""Books drawn to be nasty, for the laws: ties everywhere, one participant on both sides, nothing and far too much.

`nasty_books()` mixes every family; each family is also there by itself. Prices cluster on few levels and quantities on few
sizes, because margins and ties are where rules break.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from walras.market.conventions import Conventions
from walras.market.orders import Orders, make_orders
from walras.units import MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH

Row = tuple[int, int, int, int, int]
"""side, quantity, price, participant, time"""


def book_of(rows: list[Row], ids: list[int] | None = None) -> Orders:
    """Orders from rows of (side, quantity, price, participant, time)."""
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), (), ()]
    side, quantity, price, participant, time = (np.array(c, dtype=np.int64) for c in columns)
    return make_orders(side, quantity, price, participant=participant, time=time, id=ids)


SIDES = st.sampled_from([1, -1])
SMALL_QUANTITIES = st.one_of(st.integers(0, 3), st.sampled_from([0, 1, 7, 10, 100, 1_000]), st.integers(0, 20))
TICKS = st.one_of(st.integers(-2, 6), st.sampled_from([0, 3]), st.integers(-300, 600))
LIMIT_PRICES = st.sampled_from([-MAX_PRICE_MICRO_PER_KWH, MAX_PRICE_MICRO_PER_KWH, 0, 1, -1])
HUGE_QUANTITIES = st.sampled_from([0, 1, MAX_ENERGY_WH - 1, MAX_ENERGY_WH, 999_999_999_989])


@st.composite
def books(
    draw: st.DrawFn,
    quantities: st.SearchStrategy[int] = SMALL_QUANTITIES,
    bids: st.SearchStrategy[int] = TICKS,
    asks: st.SearchStrategy[int] = TICKS,
    sides: st.SearchStrategy[int] = SIDES,
    participants: int | None = 4,
    max_orders: int = 14,
) -> Orders:
    """A book; `participants` is how many share the orders (None: each order has its own)."""
    n = draw(st.integers(0, max_orders))
    rows: list[Row] = []
    for row in range(n):
        side = draw(sides)
        price = draw(bids if side == 1 else asks)
        who = row if participants is None else draw(st.integers(0, participants - 1))
        rows.append((side, draw(quantities), price, who, draw(st.integers(0, 3))))
    ids = draw(st.permutations([7 * k - 3 for k in range(n)]))
    return book_of(rows, list(ids))


def unit_books(max_orders: int = 10) -> st.SearchStrategy[Orders]:
    """Every order one unit and one participant of its own: the textbook double auction."""
    return books(st.just(1), participants=None, max_orders=max_orders)


def no_crossing() -> st.SearchStrategy[Orders]:
    """Every bid below every ask."""
    return books(bids=st.integers(-50, 0), asks=st.integers(1, 50))


def all_crossing() -> st.SearchStrategy[Orders]:
    """Every bid above every ask."""
    return books(bids=st.integers(10, 50), asks=st.integers(-20, 9))


def ties_everywhere() -> st.SearchStrategy[Orders]:
    """One or two prices for all."""
    return books(bids=st.sampled_from([3, 3, 3, 4]), asks=st.sampled_from([3, 3, 3, 2]))


def one_on_both_sides() -> st.SearchStrategy[Orders]:
    """A single participant owns the book."""
    return books(participants=1)


def huge_quantities() -> st.SearchStrategy[Orders]:
    """Quantities at the limit, prices small enough for the money to fit."""
    return books(HUGE_QUANTITIES, bids=st.integers(-3, 9), asks=st.integers(-3, 9), max_orders=8)


def prices_at_limits() -> st.SearchStrategy[Orders]:
    """Prices at the ends of their range."""
    return books(bids=LIMIT_PRICES, asks=LIMIT_PRICES)


def one_side_only() -> st.SearchStrategy[Orders]:
    """Only bids, or only asks."""
    return st.one_of(books(sides=st.just(1)), books(sides=st.just(-1)))


def nasty_books() -> st.SearchStrategy[Orders]:
    """Every family."""
    return st.one_of(
        books(),
        books(max_orders=1),
        books(max_orders=40),
        no_crossing(),
        all_crossing(),
        ties_everywhere(),
        one_on_both_sides(),
        huge_quantities(),
        prices_at_limits(),
        one_side_only(),
    )


def conventions(lots: bool = True) -> st.SearchStrategy[Conventions]:
    """Every choice of conventions."""
    return st.builds(
        Conventions,
        k=st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(1, 3), Fraction(1)]),
        price_between=st.sampled_from(["supporting", "marginal_orders"]),
        tie=st.sampled_from(["pro_rata", "time", "lot"]),
        seed=st.integers(0, 3),
        self_trade=st.sampled_from(["allow", "prevent"]),
        lot_wh=st.sampled_from([1, 1, 3, 10]) if lots else st.just(1),
        scarcity_price_micro_per_kwh=st.sampled_from([None, None, 0, 500, -500]),
        grid_fee_micro_per_kwh=st.sampled_from([0, 0, 1, 50]),
    )


def one_price_a_book(orders: Orders) -> Orders:
    """The same book with every price equal: ties beyond what drawing gives."""
    return make_orders(
        orders.side,
        orders.quantity_wh,
        np.full(orders.count, 5),
        id=orders.id,
        participant=orders.participant,
        time=orders.time,
    )
