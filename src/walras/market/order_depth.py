"""What a book shows: level 1 (best prices), level 2 (quantity at each price), and the resting orders themselves.

Snapshots are read from the book and change nothing; prices go from the best outward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.market import _order_kernel as kernel
from walras.market.order_book import Book
from walras.market.orders import Orders
from walras.units import Int64


@dataclass(frozen=True, slots=True)
class Depth:
    """Level 2 of one slot: prices from the best outward, with the quantity and the number of orders at each."""

    bid_price_micro_per_kwh: Int64
    bid_quantity_wh: Int64
    bid_orders: Int64
    ask_price_micro_per_kwh: Int64
    ask_quantity_wh: Int64
    ask_orders: Int64


@dataclass(frozen=True, slots=True)
class TopOfBook:
    """Level 1 of one slot: best bid and ask (None where there is none) with the quantity at each."""

    bid_price_micro_per_kwh: int | None
    bid_quantity_wh: int
    ask_price_micro_per_kwh: int | None
    ask_quantity_wh: int


def resting_orders(book: Book, slot: int | None = None) -> tuple[Orders, Int64]:
    """Every resting order with its slot [n]: by slot, then price from low to high, then place in the queue."""
    rows = kernel.walk(book.nodes, book.levels, book.live_orders)
    table = book.nodes[rows]
    lane, level = np.divmod(table[:, kernel.CELL], 1 << book.rules.level_bits)
    price = book.rules.lowest_price_micro_per_kwh + level * book.rules.tick_micro_per_kwh
    slots = np.asarray(lane + book.rules.first_slot, dtype=np.int64)
    orders = Orders(
        table[:, kernel.ID],
        table[:, kernel.PARTICIPANT],
        table[:, kernel.SIDE].astype(np.int8),
        table[:, kernel.QUANTITY],
        price,
        table[:, kernel.TIME],
        np.zeros(rows.size, dtype=np.int64),
    )
    if slot is None:
        return orders, slots
    keep = slots == slot
    return orders.take(keep), slots[keep]


def depth(book: Book, slot: int = 0, levels: int | None = None) -> Depth:
    """Level-2 snapshot of one slot, at most `levels` prices a side."""
    orders, _ = resting_orders(book, slot)
    columns: list[Int64] = []
    for side in (1, -1):
        mine = orders.side == side
        prices, start, count = np.unique(orders.price_micro_per_kwh[mine], return_index=True, return_counts=True)
        quantity = np.add.reduceat(orders.quantity_wh[mine], start) if prices.size else np.zeros(0, dtype=np.int64)
        columns += [np.asarray(c[::-side][:levels], dtype=np.int64) for c in (prices, quantity, count)]
    return Depth(*columns)


def top_of_book(book: Book, slot: int = 0) -> TopOfBook:
    """Level-1 snapshot of one slot."""
    best = depth(book, slot, 1)
    return TopOfBook(
        int(best.bid_price_micro_per_kwh[0]) if best.bid_orders.size else None,
        int(best.bid_quantity_wh[0]) if best.bid_orders.size else 0,
        int(best.ask_price_micro_per_kwh[0]) if best.ask_orders.size else None,
        int(best.ask_quantity_wh[0]) if best.ask_orders.size else 0,
    )
