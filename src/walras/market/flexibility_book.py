"""What a book of flexibility says: requirements by slot and offers with technical limits, every fault at once.

A requirement (buy) has a `slot` (0 where not given). An offer (sell) has, beside its quantity, which is all the energy it can give:

power_wh             most Wh in any one slot (its quantity where not given)
from_slot, to_slot   the first and the last slot in which it can be called (any where not given)
notice_slots         slots that must lie between the call and delivery: with the book's `called_at`, an offer can be called in
                     slot t only if t - called_at >= notice_slots. A notice without `called_at` is a fault: nothing is guessed
rebound_percent      share of the energy it delivers in slot t that it takes back in slot t + rebound_after_slots (1)

Quantities and powers count in whole lots, rounded down; bids count net of the grid fee (`terms.py`). Only slots with a
requirement enter: elsewhere nobody buys, and what an offer takes back there is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np

from walras.errors import Fault, InputError
from walras.market.conventions import Conventions
from walras.market.mechanism import ORDER_EXTRA
from walras.market.orders import BUY, Orders
from walras.market.ranking import rank_rows
from walras.market.terms import terms
from walras.units import MAX_ENERGY_WH, Int64

CALLED_AT = "called_at"
MAX_SLOT = 366 * 100
"""A leap year of local quarter hours."""

MAX_LOTS = 10**9
"""Most lots of one order in a book of several slots: so far the solver's floating point is exact."""

OFFER_FIELDS = {
    "power_wh": (0, MAX_ENERGY_WH),
    "from_slot": (0, MAX_SLOT),
    "to_slot": (0, MAX_SLOT),
    "notice_slots": (0, MAX_SLOT),
    "rebound_percent": (0, 100),
    "rebound_after_slots": (1, MAX_SLOT),
}


@dataclass(frozen=True, slots=True)
class Requirements:
    """The book in whole lots, both sides in the written order (price, time, id): the sequence of its rows is gone.

    slot         [t] the slots with a requirement, ascending
    bid_row      [b] dearest first; bid_at the index of its slot, bid_lots, bid_price net of the grid fee
    offer_row    [k] cheapest first; offer_lots its energy, offer_price
    power_lots   [k, t] most in each slot; 0 where it cannot be called
    percent      [k] what it takes back, and
    back_at      [k, t] the index of the slot in which it takes back what it gave in slot t, -1 outside the requirement
    """

    slot: Int64
    bid_row: Int64
    bid_at: Int64
    bid_lots: Int64
    bid_price: Int64
    offer_row: Int64
    offer_lots: Int64
    offer_price: Int64
    power_lots: Int64
    percent: Int64
    back_at: Int64

    def without(self, bid: int) -> Requirements:
        """The same book, nothing required by bid number `bid`."""
        lots = self.bid_lots.copy()
        lots[bid] = 0
        return replace(self, bid_lots=lots)


def read_requirements(orders: Orders, conventions: Conventions, extra: Mapping[str, object]) -> Requirements:
    """The book, checked. Raises InputError with every fault.

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, -1], [900, 900, 2000], [400_000, 400_000, 100_000])
    >>> fields = {"slot": [7, 9, None], "notice_slots": [None, None, 3]}
    >>> read_requirements(book, Conventions(), {"called_at": 5, ORDER_EXTRA: fields}).power_lots.tolist()
    [[0, 2000]]
    """
    given = extra.get(ORDER_EXTRA)
    table = given if isinstance(given, Mapping) else {}
    columns = {name: list(table.get(name) or [None] * orders.count) for name in ("slot", *OFFER_FIELDS)}
    called = extra.get(CALLED_AT)
    faults = _faults(orders, columns, called)
    if faults:
        raise InputError("flexibility", faults)
    # one participant's orders may lie in different slots: nothing is netted
    book = terms(orders, replace(conventions, self_trade="allow"))
    lots = book.quantity_wh // conventions.lot_wh
    live = lots > 0
    bids = rank_rows(orders, np.flatnonzero(live & (orders.side == BUY)), dearest_first=True)
    offers = rank_rows(orders, np.flatnonzero(live & (orders.side != BUY)), dearest_first=False)
    wanted_in = _column(columns["slot"], bids, 0)
    slot, bid_at = np.unique(wanted_in, return_inverse=True)
    power = np.minimum(_column(columns["power_wh"], offers, MAX_ENERGY_WH) // conventions.lot_wh, lots[offers])
    first = _column(columns["from_slot"], offers, 0)
    if _is_whole(called):
        first = np.maximum(first, called + _column(columns["notice_slots"], offers, 0))
    last = _column(columns["to_slot"], offers, MAX_SLOT)
    callable_in = (first[:, None] <= slot) & (slot <= last[:, None])
    percent = _column(columns["rebound_percent"], offers, 0)
    when = slot + _column(columns["rebound_after_slots"], offers, 1)[:, None]
    at = np.searchsorted(slot, when)
    inside = (percent[:, None] > 0) & np.isin(when, slot)
    read = Requirements(
        slot,
        bids.astype(np.int64),
        bid_at.astype(np.int64),
        lots[bids],
        book.price_micro_per_kwh[bids],
        offers.astype(np.int64),
        lots[offers],
        orders.price_micro_per_kwh[offers],
        np.where(callable_in, power[:, None], 0),
        percent,
        np.where(inside, at, -1).astype(np.int64),
    )
    _refuse_inexact(orders, read)
    return read


def _refuse_inexact(orders: Orders, read: Requirements) -> None:
    if read.slot.size <= 1:
        return
    lots = {int(row): int(n) for row, n in zip(read.bid_row, read.bid_lots, strict=True)}
    lots |= {int(row): int(n) for row, n in zip(read.offer_row, read.offer_lots, strict=True)}
    faults = [
        Fault(f"order row {row}", "quantity_wh", int(orders.quantity_wh[row]), f"at most {MAX_LOTS} lots over several slots")
        for row, n in sorted(lots.items())
        if n > MAX_LOTS
    ]
    if faults:
        raise InputError("flexibility", faults, way_out="take a larger lot_wh")


def _column(values: Sequence[object], rows: np.ndarray, default: int) -> Int64:
    return np.array([value if _is_whole(value := values[row]) else default for row in rows.tolist()], dtype=np.int64)


def _faults(orders: Orders, columns: Mapping[str, Sequence[object]], called: object) -> list[Fault]:
    faults = []
    if called is not None and not (_is_whole(called) and 0 <= called <= MAX_SLOT):
        faults.append(Fault("book", CALLED_AT, called, f"a slot from 0 to {MAX_SLOT}"))
    for row, side in enumerate(orders.side.tolist()):
        where = f"order row {row}"
        for name, values in columns.items():
            value = values[row]
            if value is None:
                continue
            low, high = OFFER_FIELDS.get(name, (0, MAX_SLOT))
            if (name == "slot") != (side == BUY):
                wanted = "only on a requirement (buy)" if name == "slot" else "only on an offer (sell)"
                faults.append(Fault(where, name, value, wanted))
            elif not _is_whole(value) or not low <= value <= high:
                faults.append(Fault(where, name, value, f"a whole number from {low} to {high}"))
        first, last, notice = columns["from_slot"][row], columns["to_slot"][row], columns["notice_slots"][row]
        if _is_whole(first) and _is_whole(last) and last < first:
            faults.append(Fault(where, "to_slot", last, f"at least from_slot, {first}"))
        if _is_whole(notice) and notice > 0 and called is None:
            faults.append(Fault(where, "notice_slots", notice, f"the book to say when the call is made: {CALLED_AT!r}"))
    return faults


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
