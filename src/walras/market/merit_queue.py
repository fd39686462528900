"""Filling a book and queueing what is filled by merit, in one pass and one sort of whole numbers a side.

A queue is a sorted int64 column: the distance of the price from an end of its range in the high bits, then the row, then, where
everything fits into 63 bits, the energy, so that walking the queue need not fetch it from all over memory. How many bits
price and energy get is guessed from a sample of the book and proved by the pass itself; if the guess fails, or if the rows do
not stand by (time, id), keys without energy are built instead. Either way equal prices stand by (time, id).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.market.orders import Orders
from walras.market.ranking import row_bits, rows_in_order, sort_keys
from walras.market.terms import Terms
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64

_SAMPLE = 512


@dataclass(frozen=True, slots=True)
class Levels:
    """What is filled: every bid from `lowest_bid` up and every ask up to `highest_ask` in full, and `rationed` rows by their
    energies. The margin's own limits are at most one micro-unit beyond."""

    lowest_bid: int
    highest_ask: int
    rationed: tuple[NDArray[np.intp], Int64] | None


@dataclass(frozen=True, slots=True)
class Packing:
    """How a key is read: energy = key & (2**energy_bits - 1), row = key >> energy_bits & (2**row_bits - 1), and above both the
    price: `top` less it for a bid, the price less `bottom` for an ask. Without `energy_bits` the energy is fetched."""

    row_bits: int
    energy_bits: int
    top: int
    bottom: int

    @property
    def price_shift(self) -> int:
        """Bits below the price."""
        return self.row_bits + self.energy_bits


@dataclass(frozen=True, slots=True)
class Queues:
    """Keys of the filled bids, dearest first, and of the filled asks, cheapest first."""

    bids: Int64
    asks: Int64
    packing: Packing

    def rows(self, keys: Int64) -> Int64:
        """Rows of the book behind the keys."""
        return np.asarray(keys >> self.packing.energy_bits & ((1 << self.packing.row_bits) - 1), dtype=np.int64)


def fill_and_queue(orders: Orders, book: Terms, levels: Levels, filled: Int64, pay: Int64) -> Queues:
    """Write what is filled to `filled` and zeros to `pay`; the queues of what is filled."""
    in_order = bool(rows_in_order(orders.time, orders.id))
    bits = row_bits(orders.count)
    plain = Packing(bits, 0, MAX_PRICE_MICRO_PER_KWH, -2 * MAX_PRICE_MICRO_PER_KWH)
    keys = np.empty(orders.count + 1, dtype=np.int64)  # bids from the front, asks from the back, never on the same place
    for packing in (_guess(book, levels, bits), plain) if in_order else (plain,):
        bids, asks, fits = _fill(orders.side, book, levels, packing, keys, filled, pay)
        if fits:
            break
    bid_keys, ask_keys = keys[:bids], keys[keys.size - asks :]
    sort_keys(bid_keys, packing.price_shift, orders, in_order)
    sort_keys(ask_keys, packing.price_shift, orders, in_order)
    return Queues(bid_keys, ask_keys, packing)


def _guess(book: Terms, levels: Levels, bits: int) -> Packing:
    """A packing that a few hundred rows suggest: what is free of 63 bits is shared between price and energy."""
    step = max(book.quantity_wh.size // _SAMPLE, 1)
    quantity, price = book.quantity_wh[::step], book.price_micro_per_kwh[::step]
    reach = max(int(price.max()) - levels.lowest_bid, levels.highest_ask - int(price.min()), 0)
    energy = int(quantity.max()).bit_length()
    free = 63 - bits - energy - (reach + 2).bit_length()
    price_bits = (reach + 2).bit_length() + max(free // 2, 0)
    ends = (1 << price_bits) - 1
    return Packing(bits, max(63 - bits - price_bits, 0), levels.lowest_bid - 1 + ends, levels.highest_ask + 1 - ends)


def _fill(
    side: NDArray[np.int8], book: Terms, levels: Levels, packing: Packing, keys: Int64, filled: Int64, pay: Int64
) -> tuple[int, int, bool]:
    """(bids, asks) filled, and whether every price and energy fits into its bits."""
    limits = levels.lowest_bid, levels.highest_ask
    ends, bits = (packing.top, packing.bottom), (packing.row_bits, packing.energy_bits)
    columns = side, book.quantity_wh, book.price_micro_per_kwh
    bids, asks, ranks, energies = _fill_pass(*columns, limits, ends, bits, keys, filled, pay)
    mask = (1 << packing.energy_bits) - 1
    if levels.rationed is not None:
        rows, energy = levels.rationed
        filled[rows] = energy
        live = energy > 0
        rows, energy = rows[live], energy[live]
        price = book.price_micro_per_kwh[rows]
        buys = bool(rows.size) and side[rows[0]] == 1
        rank = packing.top - price if buys else price - packing.bottom
        ranks |= int(np.bitwise_or.reduce(rank, initial=0))
        energies |= int(np.bitwise_or.reduce(energy, initial=0))
        first = bids if buys else keys.size - asks - rows.size
        keys[first : first + rows.size] = (rank << packing.price_shift) | (rows << packing.energy_bits) | (energy & mask)
        bids, asks = bids + (rows.size if buys else 0), asks + (0 if buys else rows.size)
    fits = 0 <= ranks < 1 << (63 - packing.price_shift) and (not mask or energies <= mask)
    return bids, asks, fits


@njit(cache=True)
def _fill_pass(side, quantity, price, limits, ends, bits, keys, filled, pay):  # type: ignore[no-untyped-def]
    """Write fills, zeros and keys; (bids, asks, bitwise or of the ranks kept, of the energies)."""
    lowest_bid, highest_ask = limits
    top, bottom = ends
    rows, energies = bits
    shift = rows + energies
    mask = (np.int64(1) << energies) - 1
    last = keys.size - 1
    bids = asks = ranks = every = np.int64(0)
    for row in range(side.size):
        limit, buys = price[row], side[row] == 1
        live = quantity[row] > 0
        bid = live & buys & (limit >= lowest_bid)
        ask = live & (not buys) & (limit <= highest_ask)
        energy = quantity[row] * np.int64(bid | ask)
        filled[row] = energy
        pay[row] = 0
        tail = (row << energies) | (energy & mask)
        keys[bids] = ((top - limit) << shift) | tail  # written always, kept when counted: no branches
        keys[last - asks] = ((limit - bottom) << shift) | tail
        bids += np.int64(bid)
        asks += np.int64(ask)
        ranks |= (top - limit) * np.int64(bid) | (limit - bottom) * np.int64(ask)
        every |= energy
    return bids, asks, ranks, every
