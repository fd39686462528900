"""A slot's cost and the value of stored energy joined by merging slopes: one step of the recursion where both are concave.

A piecewise-linear value is three columns: x [k + 1] the edges of its pieces in uWh of stored energy, rising; v [k] its value at
each piece's left edge in nano; g [k] each piece's slope in micro-units per kWh stored (= nano per Wh). float64 throughout: edges
that are whole uWh stay exact, for no capacity is beyond 1e15 uWh and 2^53 is 9e15.

The slot is a list of at most four pieces by energy *released* from the store, from full charge to full discharge: ps, what a kWh
released saves or earns, and pw, how many uWh. Where ps falls, minus the cost of the slot is concave in the energy stored. For two
concave functions, the best of the one at s + x plus the other at x, over x, has the slopes of both in falling order
(sup-convolution: Rockafellar, Convex Analysis, 1970, section 16).
"""

from __future__ import annotations

from numba import njit

from walras.devices.battery import PPM
from walras.units import Float64

UWH = 1e-6
"""Wh in a uWh: slope (nano/Wh) * width (uWh) * UWH is nano."""


@njit(cache=True)
def slot_pieces(net: int, buy: float, sell: float, battery: tuple[int, int, int, int, int], ps: Float64, pw: Float64) -> int:
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
        ps[k], pw[k] = buy * PPM / gain, (climit - surplus) * gain
        k += 1
    if surplus > 0:
        ps[k], pw[k] = sell * PPM / gain, surplus * gain
        k += 1
    if demand > 0:
        ps[k], pw[k] = buy * PPM / drain, min(demand * drain, widest)
        k += 1
    if dlimit > demand:
        ps[k], pw[k] = sell * PPM / drain, min((dlimit - demand) * drain, widest)
        k += 1
    return k


@njit(cache=True)
def merge_slopes(
    x: Float64,
    g: Float64,
    a: int,
    c: int,
    ps: Float64,
    pw: Float64,
    b: int,
    d: int,
    at: float,
    value: float,
    capacity: float,
    ox: Float64,
    ov: Float64,
    og: Float64,
) -> int:
    """Pieces a..c of a value with pieces b..d of a slot, both falling, cut to 0..capacity: ox, ov, og; returns how many.

    `at` and `value`: stored energy and value where the first of the merged pieces begins; equal slopes become one piece.
    """
    n = 0
    last = 0.0
    while at < capacity and (a < c or b < d):
        if b >= d or (a < c and g[a] >= ps[b]):
            slope, width = g[a], x[a + 1] - x[a]
            a += 1
        else:
            slope, width = ps[b], pw[b]
            b += 1
        end = at + width
        if end > 0.0:
            if at < 0.0:
                value -= slope * at * UWH
                at = 0.0
            if n == 0 or slope != last:
                ox[n], ov[n], og[n] = at, value, slope
                last = slope
                n += 1
            value += slope * (end - at) * UWH
        else:
            value += slope * width * UWH
        at = end
    if n > 0:
        ox[n] = min(at, capacity)
    return n
