"""The slots of a block book once the blocks are fixed: each clears by itself, exactly, and prices must suit every block.

With the accepted blocks given, a slot sees their net injection (sold less bought, Wh) as energy that must be placed at any
price; the divisible orders clear around it in merit order. That gives the welfare, whether the injection can be placed at
all, and the interval of prices that support the orders' fills. Prices are then chosen inside the intervals such that no
accepted block loses: the conventions' position k if it suits, otherwise the nearest prices a linear program finds, rounded and
checked again in whole numbers.

When no prices suit, `Slots.price` names why, as sets of blocks that cannot stay as they are (`block_search.py` cuts them off).
A slot's price falls with its injection. So a sell block that loses at the highest price its slots support stays a loser
until it goes, or another accepted sell block that shares a slot goes, or a buy block that shares a slot comes; mirrored for
buy blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.errors import RangeError
from walras.market.block_book import Options
from walras.market.conventions import Conventions
from walras.market.milp import LinearModel
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


@dataclass(frozen=True, slots=True)
class Priced:
    """Fixed blocks with prices that suit them: k steps of each option, prices by slot, exact welfare."""

    k: Int64
    price: Int64
    welfare: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Fixed blocks that cannot be: each conflict is (options that are in, options that are out), one of which must change.

    `binding`: that holds whatever the ratios. It may not where an accepted block could take another ratio than the one tried."""

    conflicts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    binding: bool


@dataclass(frozen=True)
class Slots:
    """The divisible orders of each slot, sorted once; clearings of a slot are remembered by injection."""

    orders: Orders
    book: Terms
    slot: Int64
    slots: int
    options: Options
    conventions: Conventions
    bids: tuple[tuple[Int64, Int64], ...]
    asks: tuple[tuple[Int64, Int64], ...]
    remembered: dict[tuple[int, int], SlotClearing] = field(default_factory=dict)

    def at(self, slot: int, injection_wh: int) -> SlotClearing:
        """The slot around `injection_wh` (positive: blocks sell more than they buy)."""
        key = (slot, injection_wh)
        if key not in self.remembered:
            found = _clear_slot(*self.bids[slot], *self.asks[slot], injection_wh, ANY)
            self.remembered[key] = SlotClearing(bool(found[0]), *(int(x) for x in found[1:]))
        return self.remembered[key]

    def injection(self, k: Int64) -> Int64:
        """[slots] Wh that the blocks bring on balance."""
        return np.asarray(-(self.options.side[:, None] * self.options.energy_at(k)).sum(axis=0), dtype=np.int64)

    def surplus_nano(self, k: Int64, price: Int64) -> Int64:
        """[m] what each option gains at the prices: exact, negative for a loser."""
        gain = (self.options.price[:, None] - price[None, :]) * self.options.energy_at(k)
        return np.asarray(self.options.side * gain.sum(axis=1), dtype=np.int64)

    def price(self, k: Int64) -> Priced | Refused:
        """Prices that suit the blocks as fixed by `k`, or why there are none."""
        chosen = tuple(int(i) for i in np.flatnonzero(k > 0))
        binding = bool((self.options.least[k > 0] == self.options.steps[k > 0]).all())
        absent = tuple(int(i) for i in np.flatnonzero(k == 0))
        cleared = [self.at(t, int(wh)) for t, wh in enumerate(self.injection(k))]
        if not all(c.placed for c in cleared):
            wh = self.injection(k).tolist()
            return Refused(tuple(self._unplaced(t, wh[t], k) for t, c in enumerate(cleared) if not c.placed), binding)
        low = np.array([max(c.low, -MAX_PRICE_MICRO_PER_KWH) for c in cleared], dtype=np.int64)
        high = np.array([min(c.high, MAX_PRICE_MICRO_PER_KWH) for c in cleared], dtype=np.int64)
        block_value = self.options.side * self.options.price * self.options.energy_at(k).sum(axis=1)
        welfare = sum(c.welfare for c in cleared) + int(block_value.sum())
        middle = np.array([_position(c, self.conventions) for c in cleared], dtype=np.int64)
        if (self.surplus_nano(k, middle) >= 0).all():
            return Priced(k, middle, welfare)
        losers = self._hopeless(k, low, high)
        if losers:
            return Refused(losers, binding)
        for margin in (0, 1):
            price = self._nearest_prices(k, low, high, middle, margin)
            if price is not None and (self.surplus_nano(k, price) >= 0).all():
                return Priced(k, price, welfare)
        return Refused(((chosen, absent),), binding)

    def _unplaced(self, slot: int, injection_wh: int, k: Int64) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """A slot cannot place its injection: fewer blocks that bring, or more that take, must be in."""
        side = SELL if injection_wh > 0 else BUY
        here = self.options.energy[:, slot] > 0
        return self._indices(here & (k > 0) & (self.options.side == side)), self._indices(
            here & (k == 0) & (self.options.side != side)
        )

    def _hopeless(self, k: Int64, low: Int64, high: Int64) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """Accepted options that lose even at the best prices their slots support, with what could rescue them."""
        best = np.where(self.options.side == SELL, self.surplus_nano(k, high), self.surplus_nano(k, low))
        conflicts = []
        for i in np.flatnonzero(best < 0):
            shares = (self.options.energy[:, self.options.energy[i] > 0] > 0).any(axis=1)
            rivals = shares & (k > 0) & (self.options.side == self.options.side[i])
            rescuers = shares & (k == 0) & (self.options.side != self.options.side[i])
            conflicts.append((self._indices(rivals), self._indices(rescuers)))
        return tuple(conflicts)

    @staticmethod
    def _indices(mask: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(int(i) for i in np.flatnonzero(mask))

    def _nearest_prices(self, k: Int64, low: Int64, high: Int64, middle: Int64, margin: int) -> Int64 | None:
        """Whole prices near `middle` at which no accepted block loses, by a linear program; None if it has no solution.

        With `margin` 1 every block must gain a micro-unit on each Wh, so that rounding cannot turn it into a loser.
        Minimise the sum of |price - middle|: columns are price and distance by slot.
        """
        energy = self.options.energy_at(k) / 1000.0
        model = LinearModel(2 * self.slots)
        model.cost[self.slots :] = 1.0
        model.lower[: self.slots], model.upper[: self.slots] = low, high
        model.lower[self.slots :] = 0.0
        for t in range(self.slots):
            model.add_row([t, self.slots + t], [1.0, 1.0], float(middle[t]), np.inf)
            model.add_row([t, self.slots + t], [-1.0, 1.0], -float(middle[t]), np.inf)
        for i in np.flatnonzero(k > 0):
            where = np.flatnonzero(energy[i] > 0)
            side = int(self.options.side[i])
            total = float(energy[i].sum())
            model.add_row(where, -side * energy[i, where], -side * float(self.options.price[i]) * total + margin * total, np.inf)
        solution = model.solve()
        if solution is None:
            return None
        return np.clip(np.rint(solution.x[: self.slots]).astype(np.int64), low, high)

    def fills(self, priced: Priced) -> Int64:
        """[n] Wh of each divisible order; equals at the last level by the tie convention."""
        filled = np.zeros(self.orders.count, np.int64)
        for t, wh in enumerate(self.injection(priced.k)):
            rows = np.flatnonzero(self.slot == t)
            done = self.at(t, int(wh))
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


def _position(cleared: SlotClearing, conventions: Conventions) -> int:
    """The price at position k of the supporting interval; at its one end where only one bounds it; else 0."""
    if cleared.low > -ANY and cleared.high < ANY:
        return cleared.low + (cleared.high - cleared.low) * conventions.k.numerator // conventions.k.denominator
    if cleared.low > -ANY or cleared.high < ANY:
        return cleared.low if cleared.low > -ANY else cleared.high
    return 0


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
