"""The value of stored energy on evenly spaced levels, for prices that break convexity.

With a negative price it would pay to waste energy by charging and discharging at once; a linear program does so, a battery
cannot. Here every slot either charges or discharges, so the answer is true for any prices, but only up to the spacing of the
levels: from each level the battery moves to another level within its power limits, and what lies between is not seen. The
value found is that of a feasible plan: never more than the true optimum.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.units import Float64, Int64


@njit(cache=True)
def levels_values(
    net: Int64, buy: Float64, sell: Float64, battery: tuple[int, int, int, int, int], terminal: float, keep: int, levels: int
) -> Float64:
    """Values after each of the first `keep` slots at `levels` stored energies from empty to full: [keep, levels], nano.

    `battery` is (capacity uWh, charge limit Wh, discharge limit Wh, gain ppm, drain ppm); prices in micro/kWh, `net` in Wh,
    `terminal` in micro per kWh stored. A capacity of 0 has value 0 everywhere.
    """
    capacity, climit, dlimit, gain, drain = battery
    spacing = capacity / (levels - 1)
    up = 0 if spacing == 0 else min(levels - 1, int(climit * gain / spacing))
    down = 0 if spacing == 0 else min(levels - 1, int(dlimit * drain / spacing))
    value = np.empty(levels)
    for i in range(levels):
        value[i] = terminal * i * spacing * 1e-6
    out = np.empty((keep, levels))
    cost = np.empty(up + down + 1)
    before = np.empty(levels)
    for t in range(net.size - 1, -1, -1):
        if t < keep:
            out[t] = value
        for move in range(-down, up + 1):
            taken = move * spacing / gain if move >= 0 else move * spacing / drain
            grid = net[t] + taken
            cost[move + down] = grid * (buy[t] if grid > 0 else sell[t])
        for i in range(levels):
            best = -np.inf
            for move in range(max(-down, -i), min(up, levels - 1 - i) + 1):
                gained = value[i + move] - cost[move + down]
                if gained > best:
                    best = gained
            before[i] = best
        value[:] = before
    return out


def levels_cost(
    net: Int64, buy: Float64, sell: Float64, battery: tuple[int, int, int, int, int], terminal: float, levels: int
) -> Float64:
    """Least cost in nano of the whole horizon from each level, less the terminal value: [levels]."""
    longer = np.concatenate((np.zeros(1, np.int64), net))
    prices = np.concatenate((np.zeros(1), buy)), np.concatenate((np.zeros(1), sell))
    return np.asarray(-levels_values(longer, *prices, battery, terminal, 1, levels)[0])
