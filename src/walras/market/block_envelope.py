"""Where a slot's price can be, given the energy that blocks bring: the convex hull of its supply curve, as lines.

The divisible orders of a slot absorb an injection B at the prices of a falling staircase, with a level at every limit price.
"Accepted blocks do not lose" is a condition on those prices; the staircase is not convex, but a program may know its hull: above
and below it is bounded by straight lines price <= or >= price0 + slope * (B - B0). Where there are many orders the staircase is
nearly straight within the reach of the blocks, so the lines leave little room. Without them a program needs a cut for almost every
set of blocks: 26 proposals and no proof on a book of 10,000 orders and 100 blocks that 2 to 7 now settle.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from walras.market.block_slots import ANY, Slots
from walras.units import Int64

Point = tuple[int, int]
"""Injection in Wh, price in micro/kWh."""

Line = tuple[int, int, float]
"""Injection and price of a point on it, and the slope in micro/kWh a Wh."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Lines that the price is below and above at any injection within reach, and the lowest and highest price there; no lines
    and an infinite bound where supply or demand is used up within reach, and any price may do."""

    below: tuple[Line, ...]
    above: tuple[Line, ...]
    lowest: float
    highest: float


def staircase(bids: tuple[Int64, Int64], asks: tuple[Int64, Int64]) -> list[Point]:
    """The corners of the curve of what orders absorb, from the dearest price: at each limit price p from
    (bids above p - asks up to p) to (bids from p - asks below p).

    >>> staircase((np.array([9]), np.array([5])), (np.array([2]), np.array([3])))
    [(-3, 9), (2, 9), (2, 2), (5, 2)]
    """
    levels: dict[int, int] = {}
    for price, quantity in (bids, asks):
        for p, q in zip(price.tolist(), quantity.tolist(), strict=True):
            levels[p] = levels.get(p, 0) + q
    absorbed = -sum(asks[1].tolist())
    points = []
    for p in sorted(levels, reverse=True):
        points += [(absorbed, p), (absorbed + levels[p], p)]
        absorbed += levels[p]
    return points


def envelope(slots: Slots, slot: int, least_wh: int, most_wh: int) -> Envelope:
    """The lines for injections from `least_wh` to `most_wh`, both of which the slot can place."""
    first, last = slots.at(slot, least_wh), slots.at(slot, most_wh)
    inside = [(wh, p) for wh, p in staircase(slots.bids[slot], slots.asks[slot]) if least_wh < wh < most_wh]
    top, bottom = _end(first.high), _end(last.low)
    upper = [(least_wh, first.high), *inside, (most_wh, last.high)]
    lower = [(least_wh, first.low), *inside, (most_wh, last.low)]
    below = _hull(upper, 1) if np.isfinite(top) and least_wh < most_wh else ()
    above = _hull(lower, -1) if np.isfinite(bottom) and least_wh < most_wh else ()
    return Envelope(below, above, bottom, top)


def _end(price: int) -> float:
    return float(price) if abs(price) < ANY else (np.inf if price > 0 else -np.inf)


def _hull(points: list[Point], sign: int) -> tuple[Line, ...]:
    """The upper (sign 1) or lower (-1) hull of points sorted by injection, as the lines through its sides (Andrew's chain)."""
    corners: list[Point] = []
    for x, y in sorted(points):
        while corners and corners[-1][0] == x and sign * corners[-1][1] <= sign * y:
            corners.pop()
        if corners and corners[-1][0] == x:
            continue
        while len(corners) > 1 and sign * _turn(corners[-2], corners[-1], (x, y)) >= 0:
            corners.pop()
        corners.append((x, y))
    return tuple((x1, y1, (y2 - y1) / (x2 - x1)) for (x1, y1), (x2, y2) in pairwise(corners))


def _turn(a: Point, b: Point, c: Point) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
