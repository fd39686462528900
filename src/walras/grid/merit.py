"""The merit order with marginal losses, and the loop that makes it exact in AC while no limit binds.

The rule: without a binding limit the price at node b is lambda * g_b, where g_b = dP_root/dp_b is one plus the marginal losses.
So orders are ranked by price / g_b, crossed at the lambda where the balance holds, the AC flow at that point gives new g_b, and
the loop ends when the fills stand still: fills and lambda then satisfy the first-order conditions of the AC problem.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.grid.network import BASE_KVA, Float, Int
from walras.grid.sensitivity import Complex, adjoint, factorise, slack_gradient
from walras.grid.sweep import MAX_SWEEPS, TOLERANCE_PU, branch_loading, solve

CONVERGED = 0
VIOLATED = 1
RESTLESS = 2

STILL_KW = 1e-7
"""Fills stand still when no bus moves by more than this."""

_MOST = 8
_LONG = 512


@njit(cache=True)
def _net_above(rank: Float, size: Float, side: Float, level: float) -> float:
    """Net purchase when every order ranked above `level` gets its way as a bid, and every other as an ask."""
    total = 0.0
    for i in range(rank.size):
        if rank[i] > level:
            if side[i] > 0:
                total += size[i]
        elif side[i] < 0:
            total -= size[i]
    return total


@njit(cache=True)
def merit_order(price: Float, side: Float, upper: Float, weight: Float, target: float, x: Float) -> tuple[int, float, float]:
    """Fill `x` [n] (kW) so that sum(side * weight * x) = target with the highest value: (marginal row or -1, low, high).

    `weight` > 0. [low, high] is the interval of lambda that supports the fill (a point where a row is filled in part;
    infinite at an end where no order bounds it). Where the target cannot be reached, all that helps is filled.
    A long book is first narrowed by bisection, so that only orders near the crossing are sorted.
    """
    n = price.size
    rank, size = price / weight, upper * weight
    above, below = np.inf, -np.inf
    if n > _LONG:
        above, below = rank.max(), rank.min() - 1.0
        while above - below > 1e-6 * (abs(above) + 1.0):
            middle = (above + below) / 2
            if _net_above(rank, size, side, middle) <= target:
                above = middle
            else:
                below = middle
            if np.sum((rank > below) & (rank <= above)) <= _LONG:
                break
    total = _net_above(rank, size, side, above)
    high = np.inf
    for i in range(n):
        before = rank[i] > above
        x[i] = upper[i] if (side[i] > 0) == before else 0.0
        if before and size[i] > 0:
            high = min(high, rank[i])
    near = np.flatnonzero((rank <= above) & (rank > below))
    hair = 1e-12 * max(1.0, abs(target))
    for i in near[np.argsort(-rank[near], kind="mergesort")]:
        if size[i] == 0.0:
            continue
        missing = target - total
        if missing <= hair:
            return -1, rank[i], high
        if size[i] > missing + hair:
            part = missing / weight[i]
            x[i] = part if side[i] > 0 else upper[i] - part
            return i, rank[i], rank[i]
        total += size[i]
        x[i] = upper[i] if side[i] > 0 else 0.0
        high = rank[i]
    low = -np.inf
    for i in range(n):
        if rank[i] <= below and size[i] > 0:
            low = max(low, rank[i])
    return -1, low, high


@njit(cache=True)
def inject(fixed: Float, place: Int, side: Float, x: Float, p: Float) -> None:
    """Power by place in pu: what is fixed and what the fills `x` (kW) add."""
    for k in range(p.size):
        p[k] = fixed[k]
    for i in range(x.size):
        p[place[i]] += side[i] * x[i] / BASE_KVA


@njit(cache=True)
def slack_power(vr: Float, vi: Float, state: Float) -> float:
    """Active power at the root in kW at solved voltages, orders at the root included."""
    return float((vr[0] * state[0, 0] + vi[0] * state[0, 1]) * BASE_KVA)


@njit(cache=True)
def move(
    parent: Int, data: Float, fixed: Float, q: Float, place: Int, side: Float,
    old: Float, new: Float, p: Float, vr: Float, vi: Float, state: Float,
) -> float:  # fmt: skip
    """Bring the flow from fills `old` to `new`; where that has no flow, half the way, a quarter ...: the part gone, 0 if none.

    On return `new` holds the fills reached and `p`, `vr`, `vi`, `state` their flow.
    """
    kept_r, kept_i = vr.copy(), vi.copy()
    part = 1.0
    for _ in range(30):
        inject(fixed, place, side, new, p)
        if solve(parent, data, p, q, vr, vi, state, TOLERANCE_PU, MAX_SWEEPS) >= 0:
            return part
        part /= 2
        for i in range(new.size):
            new[i] = old[i] + (new[i] - old[i]) / 2
        for k in range(vr.size):
            vr[k], vi[k] = kept_r[k], kept_i[k]
    return 0.0


@njit(cache=True)
def slack_weights(
    parent: Int, data: Float, p: Float, q: Float, vr: Float, vi: Float, factor: Complex, c: Complex, dp: Float, dq: Float
) -> None:
    """`dp`, `dq` by place: what the root delivers for one more unit taken there. Factorises at the point."""
    factorise(parent, data, p, q, vr, vi, factor)
    slack_gradient(parent, data, vr, vi, c)
    adjoint(parent, factor, vr, vi, c, dp, dq)
    dp[0] = 1.0


@njit(cache=True)
def any_violation(parent: Int, data: Float, vr: Float, vi: Float, state: Float, v_min: Float, v_max: Float) -> bool:
    """True when a voltage or a loading is beyond its limit (by place; the root is not judged)."""
    for k in range(1, parent.size):
        v = np.hypot(vr[k], vi[k])
        if v < v_min[k] or v > v_max[k] or branch_loading(parent, data, vr, vi, state, k) > 1.0:
            return True
    return False


@njit(cache=True)
def clear_by_merit(
    parent: Int, data: Float, fixed: Float, q: Float, v_min: Float, v_max: Float, place: Int, side: Float, price: Float,
    upper: Float, base_kw: float, import_kw: float, export_kw: float, x: Float, p: Float, vr: Float, vi: Float, state: Float,
    factor: Complex, dp: Float,
) -> tuple[int, float, float, int]:  # fmt: skip
    """Fills `x` (kW) that balance in AC: (status, low, high of lambda, steps). Starts from the flow of the fills in `x`.

    VIOLATED when a limit is broken on the way, RESTLESS when the fills do not stand still (equal prices at several nodes).
    """
    n, rows = parent.size, price.size
    c, dq = np.zeros(n, dtype=np.complex128), np.empty(n)
    weight, new, before = np.empty(rows), np.empty(rows), np.empty(n)
    for step in range(_MOST):
        slack_weights(parent, data, p, q, vr, vi, factor, c, dp, dq)
        target = base_kw - slack_power(vr, vi, state)
        for i in range(rows):
            weight[i] = dp[place[i]]
            if weight[i] < 0.05:
                return VIOLATED, 0.0, 0.0, step
            target += side[i] * weight[i] * x[i]
        _, low, high = merit_order(price, side, upper, weight, target, new)
        for k in range(n):
            before[k] = p[k]
        part = move(parent, data, fixed, q, place, side, x, new, p, vr, vi, state)
        largest, taken_at_root = 0.0, 0.0
        for k in range(n):
            largest = max(largest, abs(p[k] - before[k]))
        for i in range(rows):
            x[i] = new[i]
            if place[i] == 0:
                taken_at_root += side[i] * new[i]
        broken = any_violation(parent, data, vr, vi, state, v_min, v_max)
        broken = broken or base_kw - taken_at_root > import_kw or taken_at_root - base_kw > export_kw
        if part < 1.0 or (broken and step > 0):
            return VIOLATED, low, high, step + 1
        if largest * BASE_KVA <= STILL_KW:
            return (VIOLATED if broken else CONVERGED), low, high, step + 1
    return RESTLESS, 0.0, 0.0, _MOST
