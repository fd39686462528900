"""The margin of a book: how much trades, and which orders stand on either side of it. Exact, in linear time.

For a price p let D(p) be the quantity bid at p or more and S(p) the quantity asked at p or less. The volume is the largest
that any price admits, max over p of min(D(p), S(p)): the welfare-optimal volume, and among optimal ones the largest, since
a bid and an ask at the same price do trade though nothing is gained by it. Bids are taken from the dearest, asks from the
cheapest; the last level reached on a side may be taken in part.

Two engines give the same numbers, because each computes the same exact sums over price levels:

sort    orders sorted by price, equal prices summed. For small books, and for prices spread too thin for a histogram.
ticks   no order outside a window of prices around the margin is looked at twice: a sample of the book guesses the window,
        one pass sums what lies above and below and keeps the rows inside, and the sums prove whether the margin is in it
        (else the other side of the window is taken). When the window has few enough ticks a histogram over them, one
        counter a tick and side, gives the levels. Quantities are added as int64, never as floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from walras.market.orders import BUY, Side
from walras.units import INT64_MAX, Int64, checked_sum

Engine = Literal["auto", "ticks", "sort"]

NO_BID = -(2**62)
NO_ASK = 2**62
"""Prices that stand for "no such order": below every bid, above every ask."""

_Columns = tuple[Side, Int64, Int64]
_Sums = tuple[int, int, int, int, int]
"""Bid above the window, asked below it, bid inside, asked inside, bitwise or of all quantities."""

_SAMPLE_BITS = 14
_FEW = 2048
"""Books up to this many rows are sorted at once, in one compiled call."""


@dataclass(frozen=True, slots=True)
class Margin:
    """Where demand and supply meet (prices in micro/kWh as in the merit order, energies in Wh).

    volume_wh          traded on each side
    bid, ask           price of the last bid and ask that is filled at least in part (NO_ASK and NO_BID if volume is 0)
    bid_take_wh        what is taken at that level of bids, of the `bid_level_wh` that stand there; the same for asks
    unfilled_bid       the dearest bid with something left (NO_BID if none)
    unfilled_ask       the cheapest ask with something left (NO_ASK if none)
    """

    volume_wh: int
    bid: int
    bid_take_wh: int
    bid_level_wh: int
    unfilled_bid: int
    ask: int
    ask_take_wh: int
    ask_level_wh: int
    unfilled_ask: int


def find_margin(
    side: Side, quantity_wh: Int64, price_micro_per_kwh: Int64, engine: Engine = "auto", scratch: Int64 | None = None
) -> Margin:
    """The margin of the book with these columns; rows without quantity do not count.

    `scratch` [n] is memory to write over, for callers that have it at hand: fresh pages cost more than the search.

    Raises RangeError where the quantity of one side leaves int64.

    >>> find_margin(np.array([1, -1], np.int8), np.array([700, 500]), np.array([300, 100])).volume_wh
    500
    """
    n = side.size
    if n == 0:
        return Margin(0, NO_ASK, 0, 0, NO_BID, NO_BID, 0, 0, NO_ASK)
    if engine == "sort" or (engine == "auto" and n <= _FEW):
        every, found = _margin_by_sort(side, quantity_wh, price_micro_per_kwh, 0, 0)
        _refuse_overflow(side, quantity_wh, every)
        return Margin(*found)
    if scratch is None:
        scratch = np.empty(n, dtype=np.int64)
    return _margin_by_ticks(side, quantity_wh, price_micro_per_kwh, scratch)


def _refuse_overflow(side: Side, quantity_wh: Int64, every: int) -> None:
    """`every` is the bitwise or of all quantities: no quantity is above it, so the exact sums are needed only rarely."""
    if every > INT64_MAX // max(side.size, 1):
        checked_sum(quantity_wh[side == BUY], "quantity bid")
        checked_sum(quantity_wh[side != BUY], "quantity asked")


def _margin_by_ticks(side: Side, quantity: Int64, price: Int64, scratch: Int64) -> Margin:
    book = inside = (side, quantity, price)
    low, high = NO_BID, NO_ASK
    above = below = 0  # bids above the window and asks below it: they trade in full
    checked = False
    while inside[0].size > _FEW and high - low >= inside[0].size:
        guess_low, guess_high = _guess_window(*inside, above, below)
        window = max(guess_low, low), min(guess_high, high)
        if window == (low, high):
            break
        sums, rows = _split(*inside, *window, scratch)
        bid_above, ask_below, bid_in, ask_in, every = sums
        if not checked:
            _refuse_overflow(side, quantity, every)
            checked = True
        if above + bid_above > below + ask_below + ask_in:  # demand is still ahead above the window
            window = window[1] + 1, high
            sums, rows = _split(*inside, *window, scratch)
        elif below + ask_below > above + bid_above + bid_in:  # supply is ahead below it
            window = low, window[0] - 1
            sums, rows = _split(*inside, *window, scratch)
        narrowed = rows[0].size < inside[0].size
        above, below, inside, (low, high) = above + sums[0], below + sums[1], rows, window
        if not narrowed:
            break
    if inside[0].size > _FEW and high - low < inside[0].size:
        margin = Margin(*_margin_by_histogram(*inside, low, high, above, below))
    else:
        every, found = _margin_by_sort(*inside, above, below)
        if not checked:
            _refuse_overflow(side, quantity, every)
        margin = Margin(*found)
    found_all = margin.bid < NO_ASK and margin.ask > NO_BID and margin.unfilled_bid > NO_BID and margin.unfilled_ask < NO_ASK
    return margin if found_all else _look_outside(margin, _nearest_outside(*book, low, high))


def _look_outside(m: Margin, nearest: tuple[int, int, int, int]) -> Margin:
    """Complete a margin found in a window with the nearest orders outside of it, where the window had none."""
    bid_above, bid_below, ask_above, ask_below = nearest
    bid, ask = m.bid, m.ask
    if m.volume_wh and bid == NO_ASK:
        bid = bid_above
    if m.volume_wh and ask == NO_BID:
        ask = ask_below
    unfilled_bid = bid_below if m.unfilled_bid == NO_BID else m.unfilled_bid
    unfilled_ask = ask_above if m.unfilled_ask == NO_ASK else m.unfilled_ask
    return Margin(m.volume_wh, bid, m.bid_take_wh, m.bid_level_wh, unfilled_bid, ask, m.ask_take_wh, m.ask_level_wh, unfilled_ask)


def _guess_window(side: Side, quantity: Int64, price: Int64, above: int, below: int) -> tuple[int, int]:
    """A window of prices that holds the margin very likely: the crossing of a sample, three standard errors either way."""
    n = side.size
    size = 1024 if n < 50_000 else 4096 if n < 2_000_000 else 2**_SAMPLE_BITS
    keys, signed_wh = _sample(side, quantity, price, size)
    keys.sort()
    at = int(_sample_crossing(keys, signed_wh, above * (size / n), below * (size / n)))
    reach = 3 * int(size**0.5)
    low = NO_BID if at < reach else int(keys[at - reach]) >> _SAMPLE_BITS
    high = NO_ASK if at + reach >= size else int(keys[at + reach]) >> _SAMPLE_BITS
    return low, high


@njit(cache=True)
def _sample(side, quantity, price, size):  # type: ignore[no-untyped-def]
    """One row from each of `size` equal stretches, at a scattered offset, so that a periodic book is sampled fairly.

    Its price with its number in the sample in the low bits (sorting these is faster than an argsort), and its quantity,
    negative for an ask.
    """
    keys, signed_wh = np.empty(size, np.int64), np.empty(size, np.int64)
    stretch = side.size // size
    state = np.uint64(0x9E3779B97F4A7C15)
    for k in range(size):
        state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        row = k * stretch + np.int64(((state >> np.uint64(32)) * np.uint64(stretch)) >> np.uint64(32))
        keys[k] = (price[row] << _SAMPLE_BITS) | k
        signed_wh[k] = quantity[row] if side[row] == 1 else -quantity[row]
    return keys, signed_wh


@njit(cache=True)
def _sample_crossing(keys, signed_wh, above, below):  # type: ignore[no-untyped-def]
    """Position in the sorted sample where supply catches up with demand; in floats, as only a guess depends on it."""
    demand, supply = above, below
    for energy in signed_wh:
        demand += max(energy, 0)
    for position in range(keys.size):
        energy = signed_wh[keys[position] & (2**_SAMPLE_BITS - 1)]
        demand -= max(energy, 0)
        supply -= min(energy, 0)
        if supply >= demand:
            return position
    return keys.size - 1


def _split(side: Side, quantity: Int64, price: Int64, low: int, high: int, scratch: Int64) -> tuple[_Sums, _Columns]:
    """Sums about the window [low, high], and the columns of the rows inside it."""
    bid_above, ask_below, every = _sum_outside(side, quantity, price, low, high)
    rows = scratch[: int(_rows_inside(price, low, high, scratch))]
    bid_in, ask_in, inside = _gather(side, quantity, price, rows)
    return (bid_above, ask_below, bid_in, ask_in, every), inside


@njit(cache=True)
def _sum_outside(side, quantity, price, low, high):  # type: ignore[no-untyped-def]
    """(bid above high, asked below low, bitwise or of all quantities): no branches, so it compiles to vector instructions."""
    bid_above = ask_below = every = np.int64(0)
    for i in range(side.size):
        q = quantity[i]
        bid_above += q if (price[i] > high) & (side[i] == 1) else 0
        ask_below += q if (price[i] < low) & (side[i] != 1) else 0
        every |= q
    return bid_above, ask_below, every


@njit(cache=True)
def _rows_inside(price, low, high, rows):  # type: ignore[no-untyped-def]
    """Write the rows with low <= price <= high to `rows`; how many. One unsigned comparison a row, no branches."""
    count = np.int64(0)
    width = np.uint64(high - low)
    for i in range(price.size):
        rows[count] = i
        count += np.int64(np.uint64(price[i] - low) <= width)
    return count


@njit(cache=True)
def _gather(side, quantity, price, rows):  # type: ignore[no-untyped-def]
    """(quantity bid, quantity asked, columns) of the chosen rows."""
    n = rows.size
    sides, quantities, prices = np.empty(n, np.int8), np.empty(n, np.int64), np.empty(n, np.int64)
    bid = total = np.int64(0)
    for k in range(n):
        row = rows[k]
        sides[k], quantities[k], prices[k] = side[row], quantity[row], price[row]
        bid += quantity[row] if side[row] == 1 else 0
        total += quantity[row]
    return bid, total - bid, (sides, quantities, prices)


@njit(cache=True)
def _nearest_outside(side, quantity, price, low, high):  # type: ignore[no-untyped-def]
    """Nearest prices outside [low, high] with quantity: (bid above, bid below, ask above, ask below)."""
    bid_above = ask_above = np.int64(NO_ASK)
    bid_below = ask_below = np.int64(NO_BID)
    for i in range(side.size):
        p = price[i]
        if quantity[i] == 0 or low <= p <= high:
            continue
        if p > high:
            if side[i] == 1:
                bid_above = min(bid_above, p)
            else:
                ask_above = min(ask_above, p)
        elif side[i] == 1:
            bid_below = max(bid_below, p)
        else:
            ask_below = max(ask_below, p)
    return bid_above, bid_below, ask_above, ask_below


@njit(cache=True)
def _margin_by_histogram(side, quantity, price, low, high, above, below):  # type: ignore[no-untyped-def]
    """The margin by one counter a tick and side over the ticks low..high."""
    span = high - low + 1
    demand = np.zeros(span, np.int64)
    supply = np.zeros(span, np.int64)
    for i in range(side.size):
        if side[i] == 1:
            demand[price[i] - low] += quantity[i]
        else:
            supply[price[i] - low] += quantity[i]
    found = _walk(demand, supply, above, below)
    return (
        found[0],
        found[1] + low if found[1] >= 0 else np.int64(NO_ASK),
        found[2],
        found[3],
        found[4] + low if found[4] >= 0 else np.int64(NO_BID),
        found[5] + low if found[5] >= 0 else np.int64(NO_BID),
        found[6],
        found[7],
        found[8] + low if found[8] >= 0 else np.int64(NO_ASK),
    )


@njit(cache=True)
def _margin_by_sort(side, quantity, price, above, below):  # type: ignore[no-untyped-def]
    """The margin by sorting; also the bitwise or of the quantities."""
    n = side.size
    sequence = np.argsort(price)
    level = np.empty(n, np.int64)
    demand = np.zeros(n, np.int64)
    supply = np.zeros(n, np.int64)
    every = np.int64(0)
    last = -1
    for position in range(n):
        row = sequence[position]
        q = quantity[row]
        every |= q
        if last < 0 or level[last] != price[row]:
            last += 1
            level[last] = price[row]
        if side[row] == 1:
            demand[last] += q
        else:
            supply[last] += q
    found = _walk(demand[: last + 1], supply[: last + 1], above, below)
    return every, (
        found[0],
        level[found[1]] if found[1] >= 0 else np.int64(NO_ASK),
        found[2],
        found[3],
        level[found[4]] if found[4] >= 0 else np.int64(NO_BID),
        level[found[5]] if found[5] >= 0 else np.int64(NO_BID),
        found[6],
        found[7],
        level[found[8]] if found[8] >= 0 else np.int64(NO_ASK),
    )


@njit(cache=True)
def _walk(demand, supply, above, below):  # type: ignore[no-untyped-def]
    """The margin over levels of rising price, `above` bid and `below` asked outside them; -1 for a level that is not here.

    (volume, bid level, taken there, standing there, dearest unfilled bid, the same four for asks)
    """
    levels = demand.size
    left = above
    for j in range(levels):
        left += demand[j]
    supplied = below
    volume = max(min(left, below), 0)  # just below the first level
    for j in range(levels):
        supplied += supply[j]
        volume = max(volume, min(left, supplied))
        left -= demand[j]
    volume = max(volume, min(above, supplied))
    bid = bid_take = bid_level = bid_left = ask = ask_take = ask_level = ask_left = np.int64(-1)
    bid_take = bid_level = ask_take = ask_level = np.int64(0)
    bought = above
    for j in range(levels - 1, -1, -1):
        if demand[j] == 0:
            continue
        if bought < volume:
            bid = np.int64(j)
            bid_level = demand[j]
            bid_take = min(volume - bought, bid_level)
            bought += bid_take
            if bid_take < bid_level:
                bid_left = np.int64(j)
                break
        else:
            bid_left = np.int64(j)
            break
    sold = below
    for j in range(levels):
        if supply[j] == 0:
            continue
        if sold < volume:
            ask = np.int64(j)
            ask_level = supply[j]
            ask_take = min(volume - sold, ask_level)
            sold += ask_take
            if ask_take < ask_level:
                ask_left = np.int64(j)
                break
        else:
            ask_left = np.int64(j)
            break
    return volume, bid, bid_take, bid_level, bid_left, ask, ask_take, ask_level, ask_left
