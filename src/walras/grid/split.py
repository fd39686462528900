"""The quadratic step of the clearing: how equal prices at several nodes share the work, by the curvature of the losses.

    minimise   cost . y + sum over branches w_k (F_k(y) - F_k(x))^2 / 2     F_k: power of all orders behind branch k
    subject to rows y <= right (row 0: =, the others elastic at `penalty`), 0 <= y <= upper

The rule: the curvature of losses lives on the branches of a tree, so a Newton step of a primal-dual interior point needs no
matrix: eliminate orders into nodes, nodes into the branches above them, and come back (O(orders + buses) for each row).
With w = 0 it is an interior point for the linear program. Mehrotra's predictor and corrector ("On the implementation of a
primal-dual interior point method", SIAM J. Optimization 2(4), 1992).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.grid.network import BASE_KVA, Float, Int

_MOST = 80
_GAP = 1e-12


@njit(cache=True)
def branch_curvature(data: Float, vr: Float, vi: Float, price: Float) -> Float:
    """w [n] by place: second derivative of the worth of the losses to the power of the branch that feeds the place, per kW^2.

    `price` [n] is what one more kW is worth at the place: a loss in a branch is a load there, whatever limit it meets above.
    """
    w = np.zeros(vr.size)
    for k in range(1, vr.size):
        w[k] = max(price[k], 0.0) * 2 * data[k, 0] / (vr[k] * vr[k] + vi[k] * vi[k]) / BASE_KVA
    return w


@njit(cache=True)
def curvature_of(parent: Int, w: Float, place: Int, side: Float, d: Float) -> float:
    """d' H d for fills d [orders]: the sum over branches of w_k times the square of the power behind it."""
    n = parent.size
    flow, total = np.zeros(n), 0.0
    for i in range(d.size):
        flow[place[i]] += side[i] * d[i]
    for k in range(n - 1, 0, -1):
        total += w[k] * flow[k] * flow[k]
        flow[parent[k]] += flow[k]
    return total


@njit(cache=True)
def _apply(parent: Int, w: Float, place: Int, side: Float, d: Float) -> Float:
    """H d [orders]."""
    n = parent.size
    flow, price = np.zeros(n), np.zeros(n)
    for i in range(d.size):
        flow[place[i]] += side[i] * d[i]
    for k in range(n - 1, 0, -1):
        flow[parent[k]] += flow[k]
    for k in range(1, n):
        price[k] = price[parent[k]] + w[k] * flow[k]
    out = np.empty(d.size)
    for i in range(d.size):
        out[i] = side[i] * price[place[i]]
    return out


@njit(cache=True)
def _solve_tree(parent: Int, w: Float, place: Int, side: Float, diagonal: Float, right: Float) -> Float:
    """(diagonal + H)^-1 right, by elimination up the tree and back."""
    n = parent.size
    load, give, price = np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(right.size):
        load[place[i]] += side[i] * right[i] / diagonal[i]
        give[place[i]] += 1 / diagonal[i]
    for k in range(n - 1, 0, -1):
        stiff = 1 + give[k] * w[k]
        load[k] /= stiff
        give[k] /= stiff
        load[parent[k]] += load[k]
        give[parent[k]] += give[k]
    for k in range(1, n):
        price[k] = price[parent[k]] + w[k] * (load[k] - give[k] * price[parent[k]])
    out = np.empty(right.size)
    for i in range(right.size):
        out[i] = (right[i] - side[i] * price[place[i]]) / diagonal[i]
    return out


@njit(cache=True)
def _dot(a: Float, b: Float) -> float:
    """Sum of products in the order of the entries: the same bytes on every machine, and no threads of a BLAS."""
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@njit(cache=True)
def rows_times(rows: Float, x: Float) -> Float:
    """rows x [m]."""
    out = np.empty(rows.shape[0])
    for i in range(rows.shape[0]):
        out[i] = _dot(rows[i], x)
    return out


@njit(cache=True)
def times_rows(weights: Float, rows: Float) -> Float:
    """weights rows [n]."""
    out = np.zeros(rows.shape[1])
    for i in range(rows.shape[0]):
        if weights[i] != 0.0:
            for j in range(out.size):
                out[j] += weights[i] * rows[i, j]
    return out


@njit(cache=True)
def _longest(value: Float, change: Float, most: float) -> float:
    """The largest step up to `most` that keeps value + step * change >= 0."""
    for i in range(value.size):
        if change[i] < 0:
            most = min(most, -value[i] / change[i])
    return most


@njit(cache=True)
def solve_split(
    parent: Int,
    w: Float,
    place: Int,
    side: Float,
    cost: Float,
    rows: Float,
    right: Float,
    upper: Float,
    x: Float,
    penalty: float,
) -> tuple[bool, Float, Float]:
    """(settled, fills [orders], multipliers [rows]); the multipliers have the sign of `simplex.solve_rows`. `upper` > 0."""
    m, n = rows.shape
    unit = max(np.abs(cost).max(), 1.0)
    w, linear = w / unit, cost / unit
    linear = linear - _apply(parent, w, place, side, x)
    most = penalty / unit
    y: Float = np.empty(n)
    mu = 0.1
    for i in range(n):
        edge = min(0.3 * upper[i], 1.0)
        y[i] = min(max(x[i], edge), upper[i] - edge)
    room = upper - y
    low, high = mu / y, mu / room
    nu: Float = np.zeros(m)
    slack, excess, gap = np.ones(m), np.ones(m), np.ones(m)
    for i in range(1, m):
        slack[i] = max(right[i] - _dot(rows[i], y), 1.0)
        nu[i] = mu / slack[i]
        gap[i] = most - nu[i]
        excess[i] = mu / gap[i]
    settled = False
    count = 2 * n + 2 * (m - 1)
    for _ in range(_MOST):
        dual = -(linear + _apply(parent, w, place, side, y) + times_rows(nu, rows) - low + high)
        primal = right - rows_times(rows, y)
        for i in range(1, m):
            primal[i] += excess[i] - slack[i]
        mu = (_dot(low, y) + _dot(high, room) + _dot(slack[1:], nu[1:]) + _dot(excess[1:], gap[1:])) / count
        if mu < _GAP and np.abs(dual).max() < 1e-10 and np.abs(primal).max() < 1e-9:
            settled = True
            break
        diagonal = low / y + high / room
        inverse_rows = np.empty((m, n))
        for i in range(m):
            inverse_rows[i] = _solve_tree(parent, w, place, side, diagonal, rows[i])
        schur = np.empty((m, m))
        for i in range(m):
            for j in range(i + 1):
                schur[i, j] = schur[j, i] = _dot(rows[i], inverse_rows[j])
        for i in range(m):  # the equality has no slack of its own, and two limits on the same sum are parallel rows
            schur[i, i] += 1e-13 * (1 + schur[i, i])
        for i in range(1, m):
            schur[i, i] += slack[i] / nu[i] + excess[i] / gap[i]
        c_low, c_high, c_nu, c_gap = -low * y, -high * room, -slack * nu, -excess * gap
        step = 1.0
        d_y, d_nu, d_low, d_high, d_slack, d_excess = y, nu, low, high, slack, excess
        for corrector in range(2):
            if corrector == 1:
                after = _dot(low + step * d_low, y + step * d_y) + _dot(high + step * d_high, room - step * d_y)
                after += _dot((slack + step * d_slack)[1:], (nu + step * d_nu)[1:])
                after += _dot((excess + step * d_excess)[1:], (gap - step * d_nu)[1:])
                target = mu * max((after / count / mu) ** 3, 1e-8)
                c_low = target - low * y - d_low * d_y
                c_high = target - high * room + d_high * d_y
                c_nu = target - slack * nu - d_slack * d_nu
                c_gap = target - excess * gap + d_excess * d_nu
            r_dual = dual + c_low / y - c_high / room
            r_primal = primal.copy()
            for i in range(1, m):
                r_primal[i] += c_gap[i] / gap[i] - c_nu[i] / nu[i]
            half = _solve_tree(parent, w, place, side, diagonal, r_dual)
            d_nu = np.asarray(np.linalg.solve(schur, rows_times(rows, half) - r_primal))
            d_y = half - times_rows(d_nu, inverse_rows)
            d_low = (c_low - low * d_y) / y
            d_high = (c_high + high * d_y) / room
            d_slack, d_excess = np.zeros(m), np.zeros(m)
            for i in range(1, m):
                d_slack[i] = (c_nu[i] - slack[i] * d_nu[i]) / nu[i]
                d_excess[i] = (c_gap[i] + excess[i] * d_nu[i]) / gap[i]
            step = _longest(y, d_y, 1.0 / 0.995)
            step = _longest(room, -d_y, step)
            step = _longest(low, d_low, step)
            step = _longest(high, d_high, step)
            step = _longest(slack[1:], d_slack[1:], step)
            step = _longest(nu[1:], d_nu[1:], step)
            step = _longest(excess[1:], d_excess[1:], step)
            step = min(0.995 * _longest(gap[1:], -d_nu[1:], step), 1.0)
        y, room, nu, gap = y + step * d_y, room - step * d_y, nu + step * d_nu, gap - step * d_nu
        low, high = low + step * d_low, high + step * d_high
        slack, excess = slack + step * d_slack, excess + step * d_excess
    for i in range(n):  # complementarity says which bound: the multiplier outweighs the distance
        if low[i] > 1e-7 and y[i] < 1e-5:
            y[i] = 0.0
        elif high[i] > 1e-7 and room[i] < 1e-5:
            y[i] = upper[i]
    return settled, y, -nu * unit
