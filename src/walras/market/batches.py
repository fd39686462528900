"""Frequent batch auctions: orders collected for a short interval and cleared together, again and again.

Within a batch time gives no advantage beyond the tie convention; what is left of an order goes into the next batch until
it is used up or its life is over. Any mechanism that clears a book clears the batches. Source: Budish, Cramton and Shim,
"The high-frequency trading arms race: frequent batch auctions as a market design response", Quarterly Journal of Economics
130 (2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.errors import Fault, InputError
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Mechanism, run
from walras.market.orders import Orders
from walras.units import Int64, checked_sum


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: when it cleared, the rows of the whole book that stood in it, their remaining book, and the clearing."""

    moment: int
    rows: Int64
    orders: Orders
    clearing: Clearing


@dataclass(frozen=True, slots=True)
class Batches:
    """All batches of a book, and by order of the book what was filled and paid over all of them."""

    batches: tuple[Batch, ...]
    filled_wh: Int64
    pay_nano: Int64

    @property
    def surplus_nano(self) -> int:
        """What the operator keeps over all batches."""
        return checked_sum(self.pay_nano, "surplus_nano")


def clear_in_batches(
    mechanism: Mechanism,
    orders: Orders,
    conventions: Conventions,
    *,
    first: int,
    length: int,
    count: int,
    lives: int = 0,
    network: object | None = None,
) -> Batches:
    """Clear `orders` in `count` batches. Batch b closes at first + (b + 1) * length and takes the orders with an earlier time
    that no earlier batch took; an order stands in at most `lives` batches (0: until the last).

    >>> from walras.market.orders import make_orders
    >>> from walras.market.registry import mechanism_named
    >>> book = make_orders([1, -1, -1], [900, 500, 500], [300, 100, 200], time=[0, 5, 15])
    >>> done = clear_in_batches(mechanism_named("uniform"), book, Conventions(), first=0, length=10, count=2)
    >>> [batch.clearing.price_micro_per_kwh for batch in done.batches], done.filled_wh.tolist()
    ([300, 200], [900, 500, 400])
    """
    faults = [
        Fault("batches", name, value, f"{low} or more")
        for name, value, low in (("length", length, 1), ("count", count, 1), ("lives", lives, 0))
        if value < low
    ]
    early = orders.time < first
    faults += [Fault(f"order {orders.id[r]}", "time", int(orders.time[r]), f"{first} or later") for r in np.flatnonzero(early)]
    if faults:
        raise InputError("batches", faults)
    filled, pay = np.zeros(orders.count, dtype=np.int64), np.zeros(orders.count, dtype=np.int64)
    arrival = (orders.time - first) // length
    done = []
    for number in range(count):
        standing = (arrival <= number) & (filled < orders.quantity_wh)
        if lives:
            standing &= number < arrival + lives
        rows = np.flatnonzero(standing)
        book = _remaining(orders, rows, filled)
        clearing = run(mechanism, book, conventions, network)
        filled[rows] += clearing.filled_wh
        pay[rows] += clearing.pay_nano
        done.append(Batch(first + (number + 1) * length, rows, book, clearing))
    return Batches(tuple(done), filled, pay)


def _remaining(orders: Orders, rows: Int64, filled: Int64) -> Orders:
    """The chosen orders, each with what is left of it."""
    columns = orders.take(rows).as_columns()
    return Orders(**{**columns, "quantity_wh": orders.quantity_wh[rows] - filled[rows]})  # type: ignore[arg-type]
