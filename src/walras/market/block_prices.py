"""Prices that suit the accepted blocks, or a proof in whole numbers that there are none.

Once the blocks are fixed, each slot has an interval of prices that support its divisible orders (`block_slots.py`). Prices are
chosen inside the intervals such that no accepted block loses: the conventions' position k if it suits, otherwise the nearest
prices that a linear program finds, rounded to whole micro-units and checked again exactly.

Where no prices suit, weights on the accepted blocks show it (Farkas): even the best prices of the intervals leave the weighted
sum of their gains below 0. The weights come from a linear program, the inequality is checked in whole numbers. They name what
could help: a slot's price rises only if its injection falls, so where the weights want a higher price an accepted sell block must
go or a further buy block come, where they want a lower one the reverse; or one of the weighted blocks itself must go. That is a
`Conflict`, and every set of blocks that prices suit resolves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walras.market.block_slots import ANY, SlotClearing, Slots
from walras.market.conventions import Conventions
from walras.market.milp import LinearModel
from walras.market.orders import BUY, SELL
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Priced:
    """Fixed blocks with prices that suit them: k steps of each option, prices by slot, exact welfare of orders and blocks."""

    k: Int64
    price: Int64
    welfare: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Of the options `inside` (all accepted) one must go, or of those `outside` (none accepted) one must come.

    `proved`: exactly so. Not where rounding alone is to blame, or where another ratio of a block could also help."""

    inside: tuple[int, ...]
    outside: tuple[int, ...]
    proved: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Fixed blocks that cannot be, and why."""

    conflicts: tuple[Conflict, ...]


def price_blocks(slots: Slots, k: Int64) -> Priced | Refused:
    """Prices that suit the blocks as fixed by `k` steps of each option, or why there are none."""
    injection = slots.injection(k).tolist()
    cleared = [slots.at(t, wh) for t, wh in enumerate(injection)]
    unplaced = np.array([not c.placed for c in cleared], dtype=bool)
    if unplaced.any():
        one = [np.arange(slots.slots) == t for t in np.flatnonzero(unplaced)]
        too_much = np.array(injection) > 0
        return Refused(tuple(_conflict(slots, k, t & too_much, t & ~too_much, np.zeros_like(k, dtype=bool), True) for t in one))
    low = np.array([max(c.low, -MAX_PRICE_MICRO_PER_KWH) for c in cleared], dtype=np.int64)
    high = np.array([min(c.high, MAX_PRICE_MICRO_PER_KWH) for c in cleared], dtype=np.int64)
    price = np.array([_position(c, slots.conventions) for c in cleared], dtype=np.int64)
    options = slots.options
    value = options.side * options.price * options.energy_at(k).sum(axis=1)
    welfare = sum(c.welfare for c in cleared) + int(value.sum())
    if _suits(slots, k, price):
        return Priced(k, price, welfare)
    losers = _lone_losers(slots, k, low, high)
    if losers:
        return Refused(losers)
    near = _nearest_prices(slots, k, low, high, price)
    if near is None:
        return Refused((_joint_losers(slots, k, low, high, price),))
    if _suits(slots, k, near):
        return Priced(k, near, welfare)
    whole = _round_prices(slots, k, low, high, near)
    if whole is not None and _suits(slots, k, whole):
        return Priced(k, whole, welfare)
    return Refused((Conflict(_indices(k > 0), _indices(k == 0), False),))


def _suits(slots: Slots, k: Int64, price: Int64) -> bool:
    return bool((slots.surplus_nano(k, price) >= 0).all())


def _position(cleared: SlotClearing, conventions: Conventions) -> int:
    """The price at position k of the supporting interval; at its one end where only one bounds it; else 0."""
    if cleared.low > -ANY and cleared.high < ANY:
        return cleared.low + (cleared.high - cleared.low) * conventions.k.numerator // conventions.k.denominator
    if cleared.low > -ANY or cleared.high < ANY:
        return cleared.low if cleared.low > -ANY else cleared.high
    return 0


def _indices(mask: Bools) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(mask))


def _conflict(slots: Slots, k: Int64, raised: Bools, lowered: Bools, weighted: Bools, proved: bool) -> Conflict:
    """What could raise the prices of the `raised` slots or lower those of the `lowered`, beside the `weighted` leaving."""
    options = slots.options
    up, down = (options.energy[:, raised] > 0).any(axis=1), (options.energy[:, lowered] > 0).any(axis=1)
    sells, buys = options.side == SELL, options.side == BUY
    less, more = (up & sells) | (down & buys), (up & buys) | (down & sells)
    accepted = k > 0
    other_ratio = (less & accepted & (k > options.least)) | (more & accepted & (k < options.steps))
    return Conflict(_indices((less | weighted) & accepted), _indices(more & ~accepted), proved and not other_ratio.any())


def _lone_losers(slots: Slots, k: Int64, low: Int64, high: Int64) -> tuple[Conflict, ...]:
    """Accepted options that lose even at the best prices their slots support."""
    options = slots.options
    best = np.where(options.side == SELL, slots.surplus_nano(k, high), slots.surplus_nano(k, low))
    conflicts = []
    for i in np.flatnonzero(best < 0):
        mine, none = options.energy[i] > 0, np.zeros(slots.slots, dtype=bool)
        raised, lowered = (mine, none) if options.side[i] == SELL else (none, mine)
        conflicts.append(_conflict(slots, k, raised, lowered, np.arange(options.count) == i, True))
    return tuple(conflicts)


@dataclass(frozen=True, slots=True)
class _Gains:
    """Gain per kWh of accepted blocks as rows of a linear program: start - slope @ u, in units, at prices middle + unit * u."""

    rows: Int64
    slope: NDArray[np.float64]
    start: NDArray[np.float64]
    unit: float


def _gains(slots: Slots, k: Int64, middle: Int64) -> _Gains:
    options = slots.options
    rows = np.flatnonzero(k > 0)
    unit = slots.price_scale
    energy = options.energy[rows].astype(np.float64)
    share = energy / energy.sum(axis=1)[:, None]
    total = options.energy_at(k)[rows].sum(axis=1)
    start = slots.surplus_nano(k, middle)[rows].astype(np.float64) / (total * unit)
    return _Gains(rows, options.side[rows, None] * share, start, unit)


def _nearest_prices(slots: Slots, k: Int64, low: Int64, high: Int64, middle: Int64) -> Int64 | None:
    """Prices with the least sum of |price - middle| at which no accepted block loses, rounded; None if there are none."""
    gains, n = _gains(slots, k, middle), slots.slots
    model = LinearModel(2 * n)
    model.cost[n:] = 1.0
    model.lower[:n], model.upper[:n] = (low - middle) / gains.unit, (high - middle) / gains.unit
    for t in range(n):
        model.add_row([t, n + t], [1.0, 1.0], 0.0, np.inf)
        model.add_row([t, n + t], [-1.0, 1.0], 0.0, np.inf)
    for slope, start in zip(gains.slope, gains.start.tolist(), strict=True):
        where = np.flatnonzero(slope)
        model.add_row(where, slope[where], -np.inf, start)
    solution = model.solve()
    if solution is None or solution.x is None:
        return None
    return np.clip(middle + np.rint(solution.x[:n] * gains.unit).astype(np.int64), low, high)


REACH = 3
"""How far from the rounded prices whole prices are looked for, in micro-units."""


def _round_prices(slots: Slots, k: Int64, low: Int64, high: Int64, near: Int64) -> Int64 | None:
    """Whole prices within REACH of `near` at which no accepted block loses; None if a small integer program finds none."""
    options, n = slots.options, slots.slots
    model = LinearModel(2 * n)
    model.cost[n:] = 1.0
    model.lower[:n], model.upper[:n] = np.maximum(low - near, -REACH), np.minimum(high - near, REACH)
    model.whole[:n] = 1
    for t in range(n):
        model.add_row([t, n + t], [1.0, 1.0], 0.0, np.inf)
        model.add_row([t, n + t], [-1.0, 1.0], 0.0, np.inf)
    energy = options.energy_at(k)
    surplus = slots.surplus_nano(k, near)
    for i in np.flatnonzero(k > 0).tolist():
        where = np.flatnonzero(energy[i])
        scale = float(energy[i].max())
        model.add_row(where, options.side[i] * energy[i, where] / scale, -np.inf, float(surplus[i]) / scale)
    solution = model.solve(nodes=200)
    if solution is None or solution.x is None:
        return None
    return np.clip(near + np.rint(solution.x[:n]).astype(np.int64), low, high)


def _joint_losers(slots: Slots, k: Int64, low: Int64, high: Int64, middle: Int64) -> Conflict:
    """Accepted options that cannot all gain at once: weights from the least total loss, their proof in whole numbers."""
    gains, n, options = _gains(slots, k, middle), slots.slots, slots.options
    model = LinearModel(n + gains.rows.size)
    model.cost[n:] = 1.0
    model.lower[:n], model.upper[:n] = (low - middle) / gains.unit, (high - middle) / gains.unit
    for row, (slope, start) in enumerate(zip(gains.slope, gains.start.tolist(), strict=True)):
        where = np.flatnonzero(slope)
        model.add_row([*where, n + row], [*slope[where], -1.0], -np.inf, start)
    solution = model.solve()
    if solution is None:  # any loss may be made up: the numbers are beyond the solver
        return Conflict(_indices(k > 0), _indices(k == 0), False)
    energy = options.energy_at(k)[gains.rows].astype(object)
    total = energy.sum(axis=1)
    weight = np.array([int(abs(dual) * 2**40) for dual in solution.row_dual.tolist()], dtype=object) * int(max(total)) // total
    side = options.side[gains.rows].astype(object)
    pull = -(weight * side) @ energy  # what a micro-unit more in each slot adds to the weighted gains
    best = int((weight * side * options.price[gains.rows] * total).sum())
    best += sum(int(c) * int(h if c > 0 else w) for c, h, w in zip(pull, high, low, strict=True))
    weighted = np.zeros(options.count, dtype=bool)
    weighted[gains.rows[weight > 0]] = True
    if best >= 0 or not weighted.any():
        return Conflict(_indices(k > 0), _indices(k == 0), False)
    return _conflict(slots, k, np.array(pull > 0, dtype=bool), np.array(pull < 0, dtype=bool), weighted, True)
