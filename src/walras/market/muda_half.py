"""One half of a MUDA market at the posted price: who trades how much, and who pays what.

Two engines give the same clearing. `trade_single` is for halves in which every participant has one order, in linear time but
for sorting the longer side. `trade_curves` is for any: a participant's orders, dearest first, are its uses of the units that
its own asks bring (`clarke.py`); its net position x is worth the most when the first N + x uses are served, N being what its
asks add up to. At the posted price it wants every use worth more than p (a bid also at p, keeping an ask only above p).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.market.clarke import Uses, clarke_payments, spread_refunds, sum_by
from walras.market.orders import BUY, SELL, Orders, Side
from walras.units import Int64


@dataclass(frozen=True, slots=True)
class Half:
    """One half: its rows of the book; their sides, quantities in whole lots, and limits net of the grid fee; the whole book
    and the key that draws each of its rows' participants."""

    rows: Int64
    side: Side
    quantity: Int64
    price: Int64
    orders: Orders
    key: NDArray[np.uint64]


def trade_single(half: Half, posted: int, *, by_lottery: bool) -> tuple[Int64, Int64]:
    """(filled, paid) by row of the half where no participant has two orders."""
    filled, pay = np.empty(half.side.size, np.int64), np.empty(half.side.size, np.int64)
    demand, supply = _willing(half.side, half.quantity, half.price, posted, filled, pay)
    if demand == supply:
        return filled, pay
    side, short = (BUY, supply) if demand > supply else (SELL, demand)
    if by_lottery:
        _draw_lots(half.side, half.rows, half.key, side, short, posted, filled, pay)
        return filled, pay
    rows = np.flatnonzero((half.side == side) & (filled > 0))
    value, key = half.price[rows] * side, half.key[half.rows[rows]]
    uses = _ranked_uses(rows, np.arange(rows.size), value, filled[rows], key, rows.size, short, posted * side)
    filled[rows] = uses.net_wh()[: rows.size]
    pay[rows] = clarke_payments(uses)[: rows.size]
    return filled, pay


def trade_curves(half: Half, posted: int, *, by_lottery: bool) -> tuple[Int64, Int64]:
    """(filled, paid) by row for participants with any orders on either side."""
    names, owner = np.unique(half.orders.participant[half.rows], return_inverse=True)
    name, key = half.orders.id[half.rows], half.key[half.rows]
    live = np.flatnonzero(half.quantity > 0)
    keep = half.side[live] == SELL
    sequence = np.lexsort((name[live], keep, -half.price[live], owner[live]))
    row = live[sequence]
    curve = _Curve(row, half.side[row] == BUY, owner[row], half.price[row], half.quantity[row], names.size)
    own = sum_by(curve.owner, np.where(curve.bid, 0, curve.quantity), names.size)
    wants = np.where(curve.bid, curve.value >= posted, curve.value > posted)
    wanted = sum_by(curve.owner, np.where(wants, curve.quantity, 0), names.size) - own
    demand, supply = int(np.maximum(wanted, 0).sum()), int(np.maximum(-wanted, 0).sum())
    net, payments = wanted.copy(), wanted * posted
    price = np.full(names.size, posted, np.int64)
    if demand != supply:
        side, short = (BUY, supply) if demand > supply else (SELL, demand)
        who = np.flatnonzero(wanted * side > 0)
        if by_lottery:
            drawn = np.zeros(names.size, np.uint64)
            drawn[owner] = key
            served = who[np.argsort(drawn[who])]
            amount = wanted[served] * side
            net[served] = np.clip(short - (np.cumsum(amount) - amount), 0, amount) * side
            payments[who] = net[who] * posted
        else:
            price[who] = _sell_to_the_keenest(key, curve, own, wanted, side, short, posted, net, payments)
    return _settle_curves(name, curve, own, net, payments, price)


@dataclass(frozen=True, slots=True)
class _Curve:
    """Uses of every participant, grouped by owner, dearest first."""

    row: NDArray[np.intp]
    bid: NDArray[np.bool_]
    owner: Int64
    value: Int64
    quantity: Int64
    owners: int


def _sell_to_the_keenest(
    key: NDArray[np.uint64],
    curve: _Curve,
    own: Int64,
    wanted: Int64,
    side: int,
    short: int,
    posted: int,
    net: Int64,
    payments: Int64,
) -> int:
    """Share `short` Wh among the long side by value; writes its net positions and payments, returns a price that supports
    them. A seller's units are uses of the demand, worth minus what they cost it."""
    start = np.minimum(own, own + wanted)
    end = np.maximum(own, own + wanted)
    amount = _part_within(curve.owner, curve.quantity, start, end)
    entry = np.flatnonzero((amount > 0) & (wanted[curve.owner] * side > 0))
    value, owner = curve.value[entry] * side, curve.owner[entry]
    uses = _ranked_uses(curve.row[entry], owner, value, amount[entry], key[curve.row[entry]], curve.owners, short, posted * side)
    long = wanted * side > 0
    net[long] = (uses.net_wh()[:-1] * side)[long]
    payments[long] = clarke_payments(uses)[:-1][long]
    dearest_left_out = uses.cut()[0]
    assert dearest_left_out is not None  # the holder's own use at the reserve is never served
    return dearest_left_out * side


def _ranked_uses(
    row: NDArray[np.intp],
    owner: Int64,
    value: Int64,
    amount: Int64,
    key: NDArray[np.uint64],
    owners: int,
    short: int,
    reserve: int,
) -> Uses:
    """The long side's uses of `short` Wh, which their holder (owner number `owners`) would else keep at the reserve price.

    Equal values go by the participant's key, and within a participant in the sequence given."""
    sequence = np.lexsort((key, -value))
    amount = amount[sequence]
    taken = np.clip(short - (np.cumsum(amount) - amount), 0, amount)
    return Uses(
        np.append(row[sequence], -1),
        np.append(np.ones(amount.size, np.bool_), False),
        np.append(owner[sequence], owners),
        np.append(value[sequence], reserve),
        np.append(amount, short),
        np.append(taken, 0),
        owners + 1,
    )


def _settle_curves(name: Int64, curve: _Curve, own: Int64, net: Int64, payments: Int64, price: Int64) -> tuple[Int64, Int64]:
    """Fill each participant's first uses up to its net position; pay at a price its curve supports, near the one given, and
    refund the rest."""
    zero = np.zeros(curve.owners, np.int64)
    taken = _part_within(curve.owner, curve.quantity, zero, own + net)
    got = np.where(curve.bid, taken, curve.quantity - taken)
    _move_to_support(curve.owner, curve.value, curve.quantity, taken, price)
    at = price[curve.owner]
    due = np.where(curve.bid, got * at, -got * at)
    spread_refunds(curve.owner, name[curve.row], got, due, net * price - payments)
    filled, pay = np.zeros(name.size, np.int64), np.zeros(name.size, np.int64)
    filled[curve.row], pay[curve.row] = got, due
    return filled, pay


@njit(cache=True)
def gather(rows, side, quantity, price):  # type: ignore[no-untyped-def]
    """The three columns at `rows`."""
    n = rows.size
    out = np.empty(n, np.int8), np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        row = rows[i]
        out[0][i] = side[row]
        out[1][i] = quantity[row]
        out[2][i] = price[row]
    return out


@njit(cache=True)
def scatter(rows, part_filled, part_pay, filled, pay):  # type: ignore[no-untyped-def]
    """Write fills and payments of one half into the columns of the book."""
    for i in range(rows.size):
        filled[rows[i]] = part_filled[i]
        pay[rows[i]] = part_pay[i]


@njit(cache=True)
def _willing(side, quantity, price, posted, filled, pay):  # type: ignore[no-untyped-def]
    """Fill everyone who accepts the posted price, at it; (demand, supply)."""
    demand = supply = np.int64(0)
    for i in range(side.size):
        s = np.int64(side[i])
        energy = quantity[i] if s * (price[i] - posted) >= 0 else 0
        filled[i] = energy
        pay[i] = energy * s * posted
        demand += energy * np.int64(s == 1)
        supply += energy * np.int64(s == -1)
    return demand, supply


@njit(cache=True)
def _draw_lots(side, rows, key, long, short, posted, filled, pay):  # type: ignore[no-untyped-def]
    """Serve the long side `short` Wh in the sequence of its keys, in place: sums by the key's first bits find the few rows
    among which the stock ends, only those are sorted."""
    drop, mask = np.uint64(51), np.uint64(4095)  # the first bit is the same for all of a half
    stock = np.zeros(4096, np.int64)
    for i in range(side.size):
        stock[(key[rows[i]] >> drop) & mask] += filled[i] * np.int64(side[i] == long)
    left = short
    bucket = np.uint64(0)
    while left >= stock[bucket]:  # ends: the long side wants more than `short`
        left -= stock[bucket]
        bucket += np.uint64(1)
    last = np.empty(side.size, np.int64)
    count = 0
    for i in range(side.size):
        at = (key[rows[i]] >> drop) & mask
        if (side[i] == long) & (at >= bucket):
            if at == bucket:
                last[count] = i
                count += 1
            else:
                filled[i] = 0
                pay[i] = 0
    last = last[:count]
    for g in np.argsort(key[rows[last]]):
        i = last[g]
        filled[i] = min(filled[i], left)
        left -= filled[i]
        pay[i] = filled[i] * long * posted


@njit(cache=True)
def _part_within(owner, quantity, start, end):  # type: ignore[no-untyped-def]
    """How much of each use lies between its owner's `start` and `end`, counted along the owner's uses."""
    part = np.zeros(owner.size, np.int64)
    position = np.int64(0)
    for i in range(owner.size):
        o = owner[i]
        if i == 0 or owner[i - 1] != o:
            position = np.int64(0)
        low = max(position, start[o])
        position += quantity[i]
        part[i] = max(min(position, end[o]) - low, 0)
    return part


@njit(cache=True)
def _move_to_support(owner, value, quantity, taken, price):  # type: ignore[no-untyped-def]
    """Bring each owner's price, in place, to the nearest at which its division is its own best."""
    for i in range(owner.size):
        o = owner[i]
        if taken[i] > 0:  # served, so worth at least the price
            price[o] = min(price[o], value[i])
    for i in range(owner.size):
        o = owner[i]
        if taken[i] < quantity[i]:  # not served, or in part, so worth at most the price
            price[o] = max(price[o], value[i])
