"""The backward/forward sweep: one AC power flow on a tree, in a compiled loop.

The rule: at the fixed point every bus draws exactly its power, I_k = conj(S_k / V_k), every branch obeys its pi section, and
the root holds its voltage. Backward: currents add up from the leaves to the root. Forward: voltage drops add up from the root
to the leaves. (Shirmohammadi et al., "A compensation-based power flow method for weakly meshed distribution and transmission
networks", IEEE Trans. Power Systems 3(2), 1988.)

Buses are counted by place (`walras.grid.network.Wires`): 0 is the root, k + 1 the child of branch k. Complex numbers are pairs
of floats.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.grid.network import Float, Int

TOLERANCE_PU = 1e-11
"""The sweep ends when no voltage moves by more than this. Contraction is linear, so the error left is of the same order."""

MAX_SWEEPS = 200


@njit(cache=True)
def start_flat(parent: Int, data: Float, slack_v_pu: float, vr: Float, vi: Float) -> None:
    """Voltages without any current: the root's voltage through the taps."""
    vr[0], vi[0] = slack_v_pu, 0.0
    for k in range(1, parent.size):
        pr, pi = vr[parent[k]], vi[parent[k]]
        tr, ti = data[k, 4], data[k, 5]
        vr[k] = pr * tr - pi * ti
        vi[k] = pr * ti + pi * tr


@njit(cache=True)
def backward(parent: Int, data: Float, p: Float, q: Float, vr: Float, vi: Float, state: Float) -> None:
    """Currents from the leaves to the root at given voltages.

    `state` [n, 4] receives by place: current that the bus and all below it draw from the branch that feeds it (re, im), and
    the current through that branch's series impedance (re, im). Row 0: what the root delivers.
    """
    n = parent.size
    for k in range(n):
        state[k, 0] = 0.0
        state[k, 1] = 0.0
    for k in range(n - 1, -1, -1):
        ur, ui = vr[k], vi[k]
        square = ur * ur + ui * ui
        state[k, 0] += (p[k] * ur + q[k] * ui) / square
        state[k, 1] += (p[k] * ui - q[k] * ur) / square
        if k == 0:
            break
        g, b, tr, ti = data[k, 2], data[k, 3], data[k, 4], data[k, 5]
        up = parent[k]
        sr = state[k, 0] + g * ur - b * ui
        si = state[k, 1] + g * ui + b * ur
        state[k, 2] = sr
        state[k, 3] = si
        wr = vr[up] * tr - vi[up] * ti
        wi = vr[up] * ti + vi[up] * tr
        fr = sr + g * wr - b * wi
        fi = si + g * wi + b * wr
        state[up, 0] += fr * tr + fi * ti
        state[up, 1] += fi * tr - fr * ti


@njit(cache=True)
def forward(parent: Int, data: Float, vr: Float, vi: Float, state: Float) -> float:
    """Voltages from the root to the leaves at given currents; the largest squared step."""
    largest = 0.0
    for k in range(1, parent.size):
        up = parent[k]
        r, x, tr, ti = data[k, 0], data[k, 1], data[k, 4], data[k, 5]
        sr, si = state[k, 2], state[k, 3]
        nr = vr[up] * tr - vi[up] * ti - (r * sr - x * si)
        ni = vr[up] * ti + vi[up] * tr - (r * si + x * sr)
        dr, di = nr - vr[k], ni - vi[k]
        step = dr * dr + di * di
        if not step <= largest:  # a NaN counts as the largest
            largest = step
        vr[k] = nr
        vi[k] = ni
    return largest


@njit(cache=True)
def solve(parent: Int, data: Float, p: Float, q: Float, vr: Float, vi: Float, state: Float, tolerance: float, most: int) -> int:
    """Sweep from the voltages in `vr`, `vi` until they stand still: the number of sweeps, or -1 without convergence.

    `p`, `q` [n] in pu by place, positive when taken from the grid. On success `state` holds the currents at the solution.
    """
    goal = tolerance * tolerance
    for sweep in range(most):
        backward(parent, data, p, q, vr, vi, state)
        largest = forward(parent, data, vr, vi, state)
        if largest <= goal:
            backward(parent, data, p, q, vr, vi, state)
            return sweep + 1
        if not largest < 1e6:
            return -1
    return -1


@njit(cache=True)
def branch_loading(parent: Int, data: Float, vr: Float, vi: Float, state: Float, k: int) -> float:
    """Loading of the branch that feeds place k as a fraction of its rating: current of a line, apparent power of a transformer,
    the larger of its two ends.
    """
    g, b, tr, ti = data[k, 2], data[k, 3], data[k, 4], data[k, 5]
    up = parent[k]
    wr = vr[up] * tr - vi[up] * ti
    wi = vr[up] * ti + vi[up] * tr
    fr = state[k, 2] + g * wr - b * wi
    fi = state[k, 3] + g * wi + b * wr
    near = fr * fr + fi * fi
    far = state[k, 0] * state[k, 0] + state[k, 1] * state[k, 1]
    if data[k, 7] != 0.0:
        return float(np.sqrt(max(near, far)) * data[k, 6])
    near *= wr * wr + wi * wi
    far *= vr[k] * vr[k] + vi[k] * vi[k]
    return float(np.sqrt(max(near, far)) * data[k, 6])


@njit(cache=True)
def branch_losses(parent: Int, data: Float, vr: Float, vi: Float, state: Float) -> float:
    """Active power lost in all branches in pu, from their currents and voltages."""
    total = 0.0
    for k in range(1, parent.size):
        up = parent[k]
        turn = data[k, 4] * data[k, 4] + data[k, 5] * data[k, 5]
        inner = (vr[up] * vr[up] + vi[up] * vi[up]) * turn
        outer = vr[k] * vr[k] + vi[k] * vi[k]
        series = state[k, 2] * state[k, 2] + state[k, 3] * state[k, 3]
        total += data[k, 0] * series + data[k, 2] * (inner + outer)
    return total
