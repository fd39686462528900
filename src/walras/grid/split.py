"""The quadratic step of the clearing: how equal prices at several nodes share the work, by the curvature of the losses.

    minimise   cost . y + sum over branches w_k (F_k(y) - F_k(x))^2 / 2     F_k: power of all orders behind branch k
    subject to rows y <= right (row 0: =, the others elastic at `penalty`), 0 <= y <= upper

The rule: the curvature of losses lives on the branches of a tree, so a Newton step of a primal-dual interior point needs no
matrix: eliminate orders into nodes, nodes into the branches above them, and come back (O(orders + buses) for each row).
With w = 0 it is an interior point for the linear program. Mehrotra's predictor and corrector ("On the implementation of a
primal-dual interior point method", SIAM J. Optimization 2(4), 1992).
"""

from __future__ import annotations

from typing import NamedTuple

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


class _Program(NamedTuple):
    """What is solved, costs and curvature in units of the largest cost: `linear` is the cost less the curvature's pull to x."""

    parent: Int
    w: Float
    place: Int
    side: Float
    linear: Float
    rows: Float
    right: Float
    upper: Float
    most: float


class _Point(NamedTuple):
    """Fills with their room to the upper bound and the multipliers of both bounds; multipliers of the rows with slack, elastic
    excess and the room of the multiplier to the penalty (entry 0 of the last three is unused). Also a direction of all these.
    """

    y: Float
    room: Float
    low: Float
    high: Float
    nu: Float
    slack: Float
    excess: Float
    gap: Float


@njit(cache=True)
def _first(program: _Program, x: Float) -> _Point:
    """A point inside all bounds near the fills x."""
    m, n = program.rows.shape
    y: Float = np.empty(n)
    mu = 0.1
    for i in range(n):
        edge = min(0.3 * program.upper[i], 1.0)
        y[i] = min(max(x[i], edge), program.upper[i] - edge)
    room = program.upper - y
    nu: Float = np.zeros(m)
    slack, excess, gap = np.ones(m), np.ones(m), np.ones(m)
    for i in range(1, m):
        slack[i] = max(program.right[i] - _dot(program.rows[i], y), 1.0)
        nu[i] = mu / slack[i]
        gap[i] = program.most - nu[i]
        excess[i] = mu / gap[i]
    return _Point(y, room, mu / y, mu / room, nu, slack, excess, gap)


@njit(cache=True)
def _residuals(program: _Program, at: _Point) -> tuple[Float, Float]:
    """What is missing in the first-order conditions [orders] and in the rows [m]."""
    bend = _apply(program.parent, program.w, program.place, program.side, at.y)
    dual = -(program.linear + bend + times_rows(at.nu, program.rows) - at.low + at.high)
    primal = program.right - rows_times(program.rows, at.y)
    for i in range(1, primal.size):
        primal[i] += at.excess[i] - at.slack[i]
    return dual, primal


@njit(cache=True)
def _products(at: _Point) -> float:
    """The sum of all complementarity products."""
    total = _dot(at.low, at.y) + _dot(at.high, at.room)
    return total + _dot(at.slack[1:], at.nu[1:]) + _dot(at.excess[1:], at.gap[1:])


@njit(cache=True)
def _schur(program: _Program, at: _Point, diagonal: Float) -> tuple[Float, Float]:
    """(rows through the inverse of the Hessian [m, orders], the matrix of the multipliers [m, m])."""
    rows = program.rows
    m, n = rows.shape
    inverse_rows, schur = np.empty((m, n)), np.empty((m, m))
    for i in range(m):
        inverse_rows[i] = _solve_tree(program.parent, program.w, program.place, program.side, diagonal, rows[i])
    for i in range(m):
        for j in range(i + 1):
            schur[i, j] = schur[j, i] = _dot(rows[i], inverse_rows[j])
    for i in range(m):  # the equality has no slack of its own, and two limits on the same sum are parallel rows
        schur[i, i] += 1e-13 * (1 + schur[i, i])
    for i in range(1, m):
        schur[i, i] += at.slack[i] / at.nu[i] + at.excess[i] / at.gap[i]
    return inverse_rows, schur


@njit(cache=True)
def _direction(
    program: _Program, at: _Point, residuals: tuple[Float, Float], diagonal: Float, inverse_rows: Float, schur: Float,
    products: tuple[Float, Float, Float, Float],
) -> _Point:  # fmt: skip
    """The Newton step that moves the complementarity products by `products` (low, high, slack, excess)."""
    (dual, primal), (c_low, c_high, c_nu, c_gap) = residuals, products
    m = primal.size
    r_dual = dual + c_low / at.y - c_high / at.room
    r_primal = primal.copy()
    for i in range(1, m):
        r_primal[i] += c_gap[i] / at.gap[i] - c_nu[i] / at.nu[i]
    half = _solve_tree(program.parent, program.w, program.place, program.side, diagonal, r_dual)
    d_nu = np.asarray(np.linalg.solve(schur, rows_times(program.rows, half) - r_primal))
    d_y = half - times_rows(d_nu, inverse_rows)
    d_low = (c_low - at.low * d_y) / at.y
    d_high = (c_high + at.high * d_y) / at.room
    d_slack, d_excess = np.zeros(m), np.zeros(m)
    for i in range(1, m):
        d_slack[i] = (c_nu[i] - at.slack[i] * d_nu[i]) / at.nu[i]
        d_excess[i] = (c_gap[i] + at.excess[i] * d_nu[i]) / at.gap[i]
    return _Point(d_y, -d_y, d_low, d_high, d_nu, d_slack, d_excess, -d_nu)


@njit(cache=True)
def _reach(at: _Point, d: _Point) -> float:
    """The part of the step that stays inside every bound."""
    step = _longest(at.y, d.y, 1.0 / 0.995)
    step = _longest(at.room, d.room, step)
    step = _longest(at.low, d.low, step)
    step = _longest(at.high, d.high, step)
    step = _longest(at.slack[1:], d.slack[1:], step)
    step = _longest(at.nu[1:], d.nu[1:], step)
    step = _longest(at.excess[1:], d.excess[1:], step)
    return min(0.995 * _longest(at.gap[1:], d.gap[1:], step), 1.0)


@njit(cache=True)
def _moved(at: _Point, d: _Point, step: float) -> _Point:
    """The point a part of the step further."""
    return _Point(
        at.y + step * d.y, at.room + step * d.room, at.low + step * d.low, at.high + step * d.high, at.nu + step * d.nu,
        at.slack + step * d.slack, at.excess + step * d.excess, at.gap + step * d.gap,
    )  # fmt: skip


@njit(cache=True)
def solve_split(
    parent: Int, w: Float, place: Int, side: Float, cost: Float, rows: Float, right: Float, upper: Float, x: Float, penalty: float
) -> tuple[bool, Float, Float]:
    """(settled, fills [orders], multipliers [rows]); the multipliers have the sign of `simplex.solve_rows`. `upper` > 0."""
    m, n = rows.shape
    unit = max(np.abs(cost).max(), 1.0)
    curvature = w / unit
    linear = cost / unit - _apply(parent, curvature, place, side, x)
    program = _Program(parent, curvature, place, side, linear, rows, right, upper, penalty / unit)
    at, count, settled = _first(program, x), 2 * n + 2 * (m - 1), False
    for _ in range(_MOST):
        residuals = _residuals(program, at)
        mu = _products(at) / count
        if mu < _GAP and np.abs(residuals[0]).max() < 1e-10 and np.abs(residuals[1]).max() < 1e-9:
            settled = True
            break
        diagonal = at.low / at.y + at.high / at.room
        inverse_rows, schur = _schur(program, at, diagonal)
        predictor = (-at.low * at.y, -at.high * at.room, -at.slack * at.nu, -at.excess * at.gap)
        d = _direction(program, at, residuals, diagonal, inverse_rows, schur, predictor)
        target = mu * max((_products(_moved(at, d, _reach(at, d))) / count / mu) ** 3, 1e-8)
        corrector = (
            target - at.low * at.y - d.low * d.y,
            target - at.high * at.room - d.high * d.room,
            target - at.slack * at.nu - d.slack * d.nu,
            target - at.excess * at.gap - d.excess * d.gap,
        )
        d = _direction(program, at, residuals, diagonal, inverse_rows, schur, corrector)
        at = _moved(at, d, _reach(at, d))
    y = at.y
    for i in range(n):  # complementarity says which bound: the multiplier outweighs the distance
        if at.low[i] > 1e-7 and y[i] < 1e-5:
            y[i] = 0.0
        elif at.high[i] > 1e-7 and at.room[i] < 1e-5:
            y[i] = upper[i]
    return settled, y, -at.nu * unit
