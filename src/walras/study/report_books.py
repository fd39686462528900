"""The books of a report: the supply and demand curves of slots, small enough to put every slot of two days into a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from walras.exchange.phases import EventKind
from walras.exchange.public import clearing_from_public, orders_from_public
from walras.exchange.statement import SettledSlot
from walras.market.orders import BUY, SELL, Orders
from walras.slots import SlotGrid

MICRO_PER_CT = 10_000


@dataclass(frozen=True, slots=True)
class Book:
    """The orders of a slot as two lists of (price micro/kWh, Wh), equal prices joined, best first; and what cleared."""

    slot: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    price_micro: int | None
    volume_wh: int


def book_of(s: SettledSlot, fee_micro: int = 0) -> Book:
    """The book of a settled slot, bids net of the fee that stands inside the merit order."""
    orders = orders_from_public(s.events[EventKind.ORDERS_REVEALED].public["orders"])
    clearing = clearing_from_public(s.events[EventKind.CLEARED].public)
    volume = int(clearing.filled_wh[orders.side == BUY].sum())
    return Book(s.slot, steps(orders, BUY, fee_micro), steps(orders, SELL, 0), s.price_micro_per_kwh if volume else None, volume)


def steps(orders: Orders, side: int, fee_micro: int = 0) -> list[tuple[int, int]]:
    """One side of a book as (price less `fee_micro`, Wh), equal prices joined, the best price first.

    >>> from walras.market.orders import make_orders
    >>> steps(make_orders([1, 1, 1, -1], [5, 7, 1, 3], [200, 300, 200, 100]), BUY)
    [(300, 7), (200, 6)]
    """
    rows = (orders.side == side) & (orders.quantity_wh > 0)
    prices, where = np.unique(orders.price_micro_per_kwh[rows] - fee_micro, return_inverse=True)
    total = np.zeros(prices.size, dtype=np.int64)
    np.add.at(total, where, orders.quantity_wh[rows])
    listed = list(zip(prices.tolist(), total.tolist(), strict=True))
    return listed[::-1] if side == BUY else listed


def chosen_books(books: list[Book], grid: SlotGrid, most: int = 200) -> tuple[list[Book], str]:
    """The books that the page embeds, and in words which they are: all, or the busiest day and the busiest slot of each other."""
    if len(books) <= most:
        return books, "every slot of the run"
    days: dict[str, list[Book]] = {}
    for book in books:
        days.setdefault(f"{grid.local(book.slot):%Y-%m-%d}", []).append(book)
    busiest = max(days, key=lambda day: sum(book.volume_wh for book in days[day]))
    room = most - len(days[busiest])
    others = sorted(
        (max(b, key=lambda book: book.volume_wh) for d, b in days.items() if d != busiest), key=lambda book: -book.volume_wh
    )
    kept = sorted([*days[busiest], *others[:room]], key=lambda book: book.slot)
    return kept, f"all slots of the busiest day, {busiest}, and the busiest slot of {len(others[:room])} other days"


def books_json(books: Sequence[Book], grid: SlotGrid) -> list[dict[str, Any]]:
    """Compact: t local time, b and a the steps as [ct/kWh, kWh, ...] flat, p the price, v the volume in kWh."""

    def flat(steps: list[tuple[int, int]]) -> list[float]:
        return [number for price, wh in steps for number in (price / MICRO_PER_CT, wh / 1e3)]

    return [
        {
            "t": f"{grid.local(book.slot):%d %b %Y, %H:%M}",
            "b": flat(book.bids),
            "a": flat(book.asks),
            "p": None if book.price_micro is None else book.price_micro / MICRO_PER_CT,
            "v": book.volume_wh / 1e3,
        }
        for book in books
    ]
