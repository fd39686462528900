"""MUDA for books in which every participant has one order: linear passes over the columns, both halves in one.

Posting a price needs no sorting. On the longer side of a half the lottery serves participants by rising key, so those with the
largest keys go without: only keys in the last share of their range, guessed from the excess and checked, are ever sorted.
The general engine is `muda_half.py`; both give the same clearing.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.market.draw import mix64
from walras.market.orders import BUY, SELL, Orders
from walras.market.pivot import charge, first_reach, next_uses, rows_near
from walras.market.terms import Terms
from walras.units import Int64

_ALL = 2**63
"""Keys within a half: the first bit is the half's, 63 remain."""


def trade_single(
    orders: Orders,
    book: Terms,
    half: NDArray[np.int8],
    posted: tuple[int | None, int | None],
    start: np.uint64,
    space: Int64,
    *,
    by_lottery: bool,
) -> tuple[Int64, Int64]:
    """(filled, paid) by row, written to the two rows of `space`. No participant has two orders with quantity."""
    filled, pay = space
    at = np.array([price or 0 for price in posted], dtype=np.int64)
    opened = np.array([price is not None for price in posted], dtype=np.int64)
    demand, supply = _post(half, orders.side, book.quantity_wh, book.price_micro_per_kwh, at, opened, filled, pay)
    long = np.where(demand > supply, BUY, SELL).astype(np.int8)
    if by_lottery:
        excess = np.abs(demand - supply)
        _draw_lots(orders, half, start, long, excess, np.maximum(demand, supply), at, filled, pay)
        return filled, pay
    for number in np.flatnonzero(demand != supply).tolist():
        excess = int(abs(demand[number] - supply[number]))
        _sell_by_value(orders, book, half, number, int(long[number]), excess, int(at[number]), start, filled, pay)
    return filled, pay


def _sell_by_value(
    orders: Orders,
    book: Terms,
    half: NDArray[np.int8],
    number: int,
    long: int,
    excess: int,
    posted: int,
    start: np.uint64,
    filled: Int64,
    pay: Int64,
) -> None:
    """Take `excess` from the long side of a half, least value first, equals by largest key, in place; the others pay what
    the units would have been worth to those, and beyond them to their holder, at the posted price."""
    limit = book.price_micro_per_kwh
    reach = first_reach(limit, posted)
    while True:
        near = rows_near(limit, posted, reach)
        rows = near[(half[near] == number) & (orders.side[near] == long) & (filled[near] > 0)]
        if near.size == limit.size or int(filled[rows].sum()) >= excess:
            break
        reach *= 8
    value = limit[rows] * long
    sequence = np.lexsort((keys_of(orders.participant[rows], start), -value))
    rows, value, amount = rows[sequence], value[sequence], filled[rows[sequence]]
    served = np.clip(int(amount.sum()) - excess - (np.cumsum(amount) - amount), 0, amount)
    filled[rows] = served
    lose = np.flatnonzero(served < amount)
    holder = posted * long  # takes whatever is left
    uses = next_uses(np.append(value[lose], holder), np.append((amount - served)[lose], excess))
    charge((half == number) & (orders.side == long), 1, uses, filled, pay)
    if lose.size and served[lose[0]] > 0:  # filled in part: its own units do not count
        row = rows[lose[0]]
        pay[row] = uses.worth_without(0, int(filled[row]))


def _draw_lots(
    orders: Orders,
    half: NDArray[np.int8],
    start: np.uint64,
    long: NDArray[np.int8],
    excess: Int64,
    wanted: Int64,
    posted: Int64,
    filled: Int64,
    pay: Int64,
) -> None:
    """Take `excess` [2] from the long side of each half, largest keys first, in place."""
    share = excess / np.maximum(wanted, 1)
    few = max(orders.count // 8, 1)
    share = np.where(excess > 0, np.minimum(share + 8 * np.sqrt(share / few) + 64 / few, 1.0), 0.0)
    room = min(int(share.sum() * orders.count) + 1024, orders.count)
    least = np.array([min(int((1.0 - part) * _ALL), _ALL) for part in share], dtype=np.uint64)
    columns = (orders.participant, half, orders.side, filled, start, long)
    rows, keys = _last_drawn(*columns, least, room)
    while any(int(filled[rows[half[rows] == h]].sum()) < int(excess[h]) for h in (0, 1)):  # bad luck: look at everyone
        rows, keys = _last_drawn(*columns, np.where(excess > 0, 0, _ALL).astype(np.uint64), orders.count)
    for h in (0, 1):
        mine = rows[half[rows] == h]
        mine = mine[np.argsort(keys[half[rows] == h])[::-1]]
        gets = filled[mine]
        gets -= np.clip(excess[h] - (np.cumsum(gets) - gets), 0, gets)
        filled[mine] = gets
        pay[mine] = gets * (posted[h] * long[h])


def keys_of(participant: Int64, start: np.uint64) -> NDArray[np.uint64]:
    """The key that draws each participant: the first bit is its half, the rest its place in the lottery."""
    keys = np.empty(participant.size, np.uint64)
    _keys(participant, start, keys)
    return keys


@njit(cache=True)
def _keys(participant, start, keys):  # type: ignore[no-untyped-def]
    for i in range(participant.size):
        keys[i] = mix64(np.uint64(participant[i]) ^ start)


@njit(cache=True)
def draw_halves(participant, start, half):  # type: ignore[no-untyped-def]
    """Write 0 (left) or 1 (right) for each row: the first bit of its participant's key."""
    for i in range(participant.size):
        half[i] = np.int8(mix64(np.uint64(participant[i]) ^ start) >> np.uint64(63))


@njit(cache=True)
def split_halves(half, side, quantity, price, part_side, part_quantity, part_price):  # type: ignore[no-untyped-def]
    """Write the columns of the left half from the front and of the right from the back; how many are left."""
    a, b = np.int64(0), np.int64(side.size)
    for i in range(side.size):
        right = np.int64(half[i])
        at = b - 1 if right else a
        part_side[at] = side[i]
        part_quantity[at] = quantity[i]
        part_price[at] = price[i]
        a += 1 - right
        b -= right
    return a


@njit(cache=True)
def _post(half, side, quantity, price, posted, opened, filled, pay):  # type: ignore[no-untyped-def]
    """Fill everyone who accepts the price posted in its half, at it; (demand, supply) by half."""
    left, right = posted[0], posted[1]
    open_left, open_right = opened[0], opened[1]
    demand = demand_right = supply = supply_right = np.int64(0)
    for i in range(side.size):
        h = np.int64(half[i])
        s = np.int64(side[i])
        at = right if h else left
        takes = open_right if h else open_left
        energy = quantity[i] * takes if s * (price[i] - at) >= 0 else 0
        filled[i] = energy
        pay[i] = energy * s * at
        bought = energy if s == 1 else 0
        demand += bought
        supply += energy - bought
        demand_right += bought * h
        supply_right += (energy - bought) * h
    return (
        np.array([demand - demand_right, demand_right]),
        np.array([supply - supply_right, supply_right]),
    )


@njit(cache=True)
def _last_drawn(participant, half, side, filled, start, long, least, room):  # type: ignore[no-untyped-def]
    """(rows, keys without the half's bit) of the long sides whose key is at least `least` of their half; at most `room`."""
    rows = np.empty(room, np.int64)
    keys = np.empty(room, np.uint64)
    chunk = np.empty(1024, np.uint64)
    low = np.uint64(0x7FFFFFFFFFFFFFFF)
    lower = min(least[0], least[1])
    k = 0
    for first in range(0, side.size, 1024):
        size = min(1024, side.size - first)
        for j in range(size):
            chunk[j] = mix64(np.uint64(participant[first + j]) ^ start) & low
        for j in range(size):
            if chunk[j] >= lower:
                i = first + j
                h = half[i]
                if chunk[j] >= least[h] and side[i] == long[h] and filled[i] > 0 and k < room:
                    rows[k] = i
                    keys[k] = chunk[j]
                    k += 1
    return rows[:k], keys[:k]
