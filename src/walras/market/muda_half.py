"""One half of a MUDA market at the posted price, for participants with any orders: who trades how much, and who pays what.

A participant's orders, dearest first, are its uses of the units that its own asks bring (`clarke.py`); its net position x is
worth the most when the first N + x uses are served, N being what its asks add up to. At the posted price it wants every use
worth more than p (a bid also at p, keeping an ask only above p). Where nobody has two orders `muda_single.py` is faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.market.clarke import Uses, clarke_payments, spread_refunds, sum_by
from walras.market.orders import BUY, SELL, Side
from walras.units import Int64


@dataclass(frozen=True, slots=True)
class Half:
    """Columns of one half: quantities in whole lots, limits net of the grid fee, the key that draws each participant."""

    id: Int64
    participant: Int64
    side: Side
    quantity: Int64
    price: Int64
    key: NDArray[np.uint64]


def trade_curves(half: Half, posted: int, *, by_lottery: bool) -> tuple[Int64, Int64]:
    """(filled, paid) by row for participants with any orders on either side."""
    names, owner = np.unique(half.participant, return_inverse=True)
    name, key = half.id, half.key
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
