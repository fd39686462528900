"""The slots of a block book once the blocks are fixed: each clears by itself, exactly.

With the accepted blocks given, a slot sees their net injection (sold less bought, Wh) as energy that must be placed at any
price; the divisible orders clear around it in merit order. That gives the welfare, whether the injection can be placed at
all, and the interval of prices that support the orders' fills. The welfare is a concave, piecewise-linear function of the
injection with kinks at whole Wh, whose slopes are those prices: what `block_model.py` builds on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.errors import RangeError
from walras.market.block_book import Options
from walras.market.conventions import Conventions
from walras.market.orders import BUY, SELL, Orders
from walras.market.terms import Terms, ration
from walras.units import INT64_MAX, MAX_PRICE_MICRO_PER_KWH, Int64

ANY = 4 * MAX_PRICE_MICRO_PER_KWH
"""Beyond every limit and its grid fee: the price at which an injection must be placed."""


@dataclass(frozen=True, slots=True)
class SlotClearing:
    """One slot around a given injection: `bid`/`ask` are the last levels filled, `*_take_wh` what is filled at them, `low` and
    `high` the supporting prices (beyond +-ANY: unbounded), `welfare` of the divisible orders."""

    placed: bool
    welfare: int
    low: int
    high: int
    bid: int
    bid_take_wh: int
    ask: int
    ask_take_wh: int


@dataclass(frozen=True)
class Slots:
    """The divisible orders of each slot, sorted once; clearings of a slot are remembered by injection.

    bids, asks   by slot: (price, Wh) in merit order
    """

    orders: Orders
    book: Terms
    slot: Int64
    slots: int
    options: Options
    conventions: Conventions
    bids: tuple[tuple[Int64, Int64], ...]
    asks: tuple[tuple[Int64, Int64], ...]
    remembered: dict[tuple[int, int], SlotClearing] = field(default_factory=dict)

    def reach(self, slot: int) -> tuple[int, int]:
        """The least and the most Wh that blocks could inject and the slot can place."""
        energy = self.options.side * self.options.energy[:, slot]
        low = max(-int(energy[self.options.side == BUY].sum()), -int(self.asks[slot][1].sum()))
        return low, min(-int(energy[self.options.side == SELL].sum()), int(self.bids[slot][1].sum()))

    @cached_property
    def price_scale(self) -> float:
        """A power of two about as large as the prices that matter: the blocks' limits, and of slots those within reach."""
        ends = []
        for t in range(self.slots):
            low, high = self.reach(t)
            ends += [abs(p) for p in (self.at(t, low).high, self.at(t, high).low) if abs(p) < ANY]
        largest = max(float(np.abs(self.options.price).max(initial=0)), float(np.median(ends)) if ends else 0.0, 1.0)
        return float(2.0 ** np.ceil(np.log2(largest)))

    def at(self, slot: int, injection_wh: int) -> SlotClearing:
        """The slot around `injection_wh` (positive: blocks sell more than they buy)."""
        key = (slot, injection_wh)
        if key not in self.remembered:
            found = _clear_slot(*self.bids[slot], *self.asks[slot], injection_wh, ANY)
            self.remembered[key] = SlotClearing(bool(found[0]), *(int(x) for x in found[1:]))
        return self.remembered[key]

    def injection(self, k: Int64) -> Int64:
        """[slots] Wh that the blocks bring on balance when option i is accepted in k[i] steps."""
        return np.asarray(-(self.options.side[:, None] * self.options.energy_at(k)).sum(axis=0), dtype=np.int64)

    def surplus_nano(self, k: Int64, price: Int64) -> NDArray[np.int64]:
        """[m] what each option gains at the prices: exact, negative for a loser (Python numbers where int64 is too small)."""
        energy = self.options.energy_at(k)
        if float(energy.sum(axis=1, dtype=np.float64).max(initial=0.0)) * (ANY + MAX_PRICE_MICRO_PER_KWH) > INT64_MAX:
            energy = energy.astype(object)
        gain: NDArray[np.int64] = self.options.side * ((self.options.price[:, None] - price[None, :]) * energy).sum(axis=1)
        return gain

    def fills(self, k: Int64) -> Int64:
        """[n] Wh of each divisible order; equals at the last level by the tie convention."""
        filled = np.zeros(self.orders.count, np.int64)
        for t, wh in enumerate(self.injection(k).tolist()):
            rows = np.flatnonzero(self.slot == t)
            done = self.at(t, wh)
            side, price = self.orders.side[rows], self.book.price_micro_per_kwh[rows]
            inside = np.where(side == BUY, price > done.bid, price < done.ask)
            filled[rows[inside]] = self.book.quantity_wh[rows[inside]]
            for s, level, take in ((BUY, done.bid, done.bid_take_wh), (SELL, done.ask, done.ask_take_wh)):
                if take and abs(level) < ANY:
                    level_rows = rows[(side == s) & (price == level)]
                    served, energy = ration(self.orders, level_rows, self.book.quantity_wh, take, self.conventions)
                    filled[served] = energy
        return filled


def make_slots(orders: Orders, book: Terms, slot: Int64, slots: int, options: Options, conventions: Conventions) -> Slots:
    """Sort the orders of each slot. Raises RangeError where the value of everything together leaves int64."""
    largest = max(int(np.abs(book.price_micro_per_kwh).max(initial=0)), int(np.abs(options.price).max(initial=0)), 1)
    if (sum(book.quantity_wh.tolist()) + sum(options.energy.ravel().tolist())) * 2 * largest > INT64_MAX:
        raise RangeError("blocks: the value of all quantities together does not fit in int64", thing="welfare_nano")
    columns = []
    for side in (BUY, SELL):
        rows = np.flatnonzero((orders.side == side) & (book.quantity_wh > 0))
        rows = rows[np.lexsort((-side * book.price_micro_per_kwh[rows], slot[rows]))]
        bounds = np.searchsorted(slot[rows], np.arange(slots + 1))
        price, quantity = book.price_micro_per_kwh[rows], book.quantity_wh[rows]
        columns.append(tuple((price[a:b], quantity[a:b]) for a, b in pairwise(bounds.tolist())))
    return Slots(orders, book, slot, slots, options, conventions, columns[0], columns[1])


@njit(cache=True)
def _clear_slot(bid_price, bid_quantity, ask_price, ask_quantity, injection, anything):  # type: ignore[no-untyped-def]
    """Merit order with an injection first in line: (placed, welfare, low, high, bid level, taken at it, ask level, taken)."""
    extra_bid, extra_ask = max(-injection, 0), max(injection, 0)
    i = j = -1
    bid, bid_left = np.int64(anything), np.int64(extra_bid)
    ask, ask_left = np.int64(-anything), np.int64(extra_ask)
    last_bid, last_ask = np.int64(2 * anything), np.int64(-2 * anything)
    bid_take = ask_take = np.int64(0)
    welfare = np.int64(0)
    while True:
        while bid_left == 0 and i + 1 < bid_price.size:
            i += 1
            bid, bid_left = bid_price[i], bid_quantity[i]
        while ask_left == 0 and j + 1 < ask_price.size:
            j += 1
            ask, ask_left = ask_price[j], ask_quantity[j]
        if bid_left == 0 or ask_left == 0 or bid < ask:
            break
        energy = min(bid_left, ask_left)
        if i >= 0:
            welfare += energy * bid
        if j >= 0:
            welfare -= energy * ask
        bid_take = energy if bid != last_bid else bid_take + energy
        ask_take = energy if ask != last_ask else ask_take + energy
        last_bid, last_ask = bid, ask
        bid_left -= energy
        ask_left -= energy
    placed = not ((i < 0 and bid_left > 0) or (j < 0 and ask_left > 0))
    low, high = np.int64(-2 * anything), np.int64(2 * anything)
    if last_ask > -2 * anything:
        low = max(low, last_ask)
    if last_bid < 2 * anything:
        high = min(high, last_bid)
    if bid_left > 0:
        low = max(low, bid)
    if ask_left > 0:
        high = min(high, ask)
    return placed, welfare, low, high, last_bid, bid_take, last_ask, ask_take
