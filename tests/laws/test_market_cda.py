"""The continuous double auction keeps its laws on any book, and fills as the plain book does."""

from __future__ import annotations

from hypothesis import given, settings

from laws.books import conventions, nasty_books
from stateful.plain_order_book import PlainBook
from walras.errors import RangeError
from walras.market.cda import CDA, clear
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws
from walras.market.orders import Orders
from walras.market.terms import terms


@settings(max_examples=250, deadline=None)
@given(nasty_books(), conventions())
def test_cda_keeps_its_laws_on_nasty_books(orders: Orders, chosen: Conventions) -> None:
    try:
        done = clear(orders, chosen)
    except RangeError:
        return
    assert_laws(CDA, orders, chosen)
    book = terms(orders, chosen)
    plain = PlainBook(-(10**10), 1, 2 * 10**10, {0: 10**9})
    for time, row in enumerate(sorted(range(orders.count), key=lambda r: (orders.time[r], orders.id[r]))):
        if book.quantity_wh[row]:
            price, wh = int(book.price_micro_per_kwh[row]), int(book.quantity_wh[row])
            plain.apply(row, "new", "limit", int(orders.side[row]), row, 0, 0, wh, price, time)
    assert done.trades is not None
    columns = (done.trades.buy, done.trades.sell, done.trades.energy_wh, done.trades.price_micro_per_kwh)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == [(f[2], f[3], f[6], f[7]) for f in plain.fills]
