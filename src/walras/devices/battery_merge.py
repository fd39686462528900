"""A slot's cost and the value of stored energy joined by merging slopes: one step of the recursion where both are concave.

All are rows of one array `w`, float64. A piecewise-linear value of k pieces is three rows from f on: w[f, : k + 1] the edges of its
pieces in uWh of stored energy, rising; w[f + 1, :k] its value at each piece's left edge in nano; w[f + 2, :k] each piece's slope
in micro-units per kWh stored (= nano per Wh). Edges that are whole uWh stay exact: no capacity is beyond 1e15, and 2^53 is 9e15.
(One array, and numbers of rows: to hand nine columns to a function would cost as much as to merge them.)

The slot is the first two rows, a list of at most four pieces by energy *released* from the store, from full charge to full
discharge: w[RATE] what a kWh released saves or earns, and w[WIDTH] how many uWh. Where the rates fall, minus the cost of the slot
is concave in the energy stored. For two concave functions, the best of the one at s + x plus the other at x, over x, has the
slopes of both in falling order (sup-convolution: Rockafellar, Convex Analysis, 1970, section 16).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.devices.battery import PPM
from walras.units import Float64

UWH = 1e-6
"""Wh in a uWh: slope (nano/Wh) * width (uWh) * UWH is nano."""

RATE, WIDTH = 0, 1
"""Rows of the slot."""

ONE, TWO, THREE, FOUR, FIVE = 2, 5, 8, 11, 14
"""First rows of five values: one kept, the others for what is being made of it."""


def new_work(length: int) -> Float64:
    """Rows for a slot and five values of fewer than `length` pieces."""
    return np.empty((FIVE + 3, length))


@njit(cache=True)
def slot_pieces(net: int, buy: float, sell: float, battery: tuple[int, int, int, int, int], w: Float64) -> int:
    """The pieces of one slot by energy released, from full charge to full discharge; returns how many.

    `battery` is (capacity uWh, charge limit Wh, discharge limit Wh, gain ppm, drain ppm). What is released beyond a full charge
    and the whole capacity can never be: widths are cut there, so that they stay exact in float64.
    """
    capacity, climit, dlimit, gain, drain = battery
    surplus = min(max(-net, 0), climit)
    demand = min(max(net, 0), dlimit)
    widest = capacity + climit * gain
    k = 0
    if climit > surplus:
        w[RATE, k], w[WIDTH, k] = buy * PPM / gain, (climit - surplus) * gain
        k += 1
    if surplus > 0:
        w[RATE, k], w[WIDTH, k] = sell * PPM / gain, surplus * gain
        k += 1
    if demand > 0:
        w[RATE, k], w[WIDTH, k] = buy * PPM / drain, min(demand * drain, widest)
        k += 1
    if dlimit > demand:
        w[RATE, k], w[WIDTH, k] = sell * PPM / drain, min((dlimit - demand) * drain, widest)
        k += 1
    return k


@njit(cache=True)
def falling_end(w: Float64, row: int, a: int, c: int) -> int:
    """Where the stretch of a row that does not rise, which begins at a, ends: at c at the latest."""
    a += 1
    while a < c and w[row, a] <= w[row, a - 1]:
        a += 1
    return min(a, c)


@njit(cache=True)
def merge_slopes(w: Float64, f: int, a: int, c: int, b: int, d: int, at: float, value: float, capacity: float, out: int) -> int:
    """Pieces a..c of the value at f with pieces b..d of the slot, both falling, cut to 0..capacity: the value at `out`.

    `at` and `value`: stored energy and value where the first of the merged pieces begins. Equal slopes become one piece.
    Returns how many pieces.
    """
    n = 0
    last = 0.0
    while at < capacity and (a < c or b < d):
        if b >= d or (a < c and w[f + 2, a] >= w[RATE, b]):
            slope, width = w[f + 2, a], w[f, a + 1] - w[f, a]
            a += 1
        else:
            slope, width = w[RATE, b], w[WIDTH, b]
            b += 1
        end = at + width
        if end > 0.0:
            if at < 0.0:
                value -= slope * at * UWH
                at = 0.0
            if n == 0 or slope != last:
                w[out, n], w[out + 1, n], w[out + 2, n] = at, value, slope
                last = slope
                n += 1
            value += slope * (end - at) * UWH
        else:
            value += slope * width * UWH
        at = end
    w[out, n] = min(at, capacity)
    return n
