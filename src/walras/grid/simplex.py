"""A dual simplex for problems with very many boxed columns and very few rows: the linear programs of the nodal clearing.

    minimise cost . x    subject to    rows x <= right (row 0: =),   0 <= x <= upper

Every row is elastic: what it cannot keep is bought at `penalty` (row 0, the balance, at `BALANCE_FACTOR` times it: no limit is
kept by inventing energy), so there is always an optimum and its multipliers say which row was broken. The rule: the start is dual
feasible (the marginal column of row 0 is basic, every other column sits at the bound its reduced cost asks for), each step
repairs the most broken basic variable, and the ratio test walks past breakpoints as long as the dual objective rises (bound
flipping), so that a step moves many orders at once.
Sources: Koberstein, "The dual simplex method, techniques for a fast and stable implementation", PhD thesis, Paderborn 2005,
chapters 3 and 4; Maros, "A generalized dual phase-2 simplex algorithm", EJOR 149 (2003).

With m rows a step costs O(m n); the basis is factorised afresh in each step (m is small), so errors do not pile up.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.grid.network import Float, Int

Bool = NDArray[np.bool_]

OPTIMAL = 0
STOPPED = 1

TIE_HAIR = 1e-2
"""Added to the costs, at most: in micro per kWh a hundredth of the smallest price step."""

BALANCE_FACTOR = 100.0

_PRIMAL_TOLERANCE = 1e-9
_PIVOT = 1e-9
_BIG = 1e12


@njit(cache=True)
def solve_rows(
    cost: Float, rows: Float, right: Float, upper: Float, penalty: float, marginal: int, most: int
) -> tuple[int, Float, Float, int]:
    """Status, x [n], multipliers [m] and the number of steps.

    `rows` [m, n] with row 0 the equality; `marginal` is the column that balances row 0 at the start (-1: none, the elastic
    column does). Multipliers are the derivative of the least cost to `right`: for rows 1.. they are <= 0.
    """
    m, n = rows.shape
    # columns: n structural, then for each row a slack (row 0: a shortfall at the penalty) and an elastic excess at the penalty
    total = n + 2 * m
    a = np.zeros((m, total))
    c = np.zeros(total)
    u = np.full(total, _BIG)
    a[:, :n] = rows
    for j in range(n):  # a different hair on every cost: no two columns tie, so no step is lost on ties
        c[j] = cost[j] + TIE_HAIR * ((j * 0.6180339887498949) % 1.0)
    u[:n] = upper
    for i in range(m):
        a[i, n + 2 * i] = 1.0
        a[i, n + 2 * i + 1] = -1.0
        c[n + 2 * i] = BALANCE_FACTOR * penalty if i == 0 else 0.0
        c[n + 2 * i + 1] = BALANCE_FACTOR * penalty if i == 0 else penalty
    basis = np.empty(m, dtype=np.int64)
    basic = np.zeros(total, dtype=np.bool_)
    for i in range(m):
        basis[i] = n + 2 * i
    if marginal >= 0:
        basis[0] = marginal
    for i in range(m):
        basic[basis[i]] = True
    return _iterate(a, c, u, right, basis, basic, n, most)


@njit(cache=True)
def _iterate(
    a: Float, c: Float, u: Float, right: Float, basis: Int, basic: Bool, n: int, most: int
) -> tuple[int, Float, Float, int]:
    m, total = a.shape
    noise = 1e-12 * np.abs(c[:n]).max() if n else 0.0
    at_upper = np.zeros(total, dtype=np.bool_)
    reduced = np.empty(total)
    multipliers = np.zeros(m)
    ratio = np.empty(total)
    candidate = np.empty(total, dtype=np.int64)
    alpha = np.empty(total)
    for step in range(most):
        inverse = np.linalg.inv(np.ascontiguousarray(a[:, basis]))
        for i in range(m):
            multipliers[i] = 0.0
            for j in range(m):
                multipliers[i] += c[basis[j]] * inverse[j, i]
        rest = right.copy()
        for j in range(total):
            if basic[j]:
                reduced[j] = 0.0
                continue
            d = c[j]
            for i in range(m):
                d -= multipliers[i] * a[i, j]
            reduced[j] = d
            if step == 0 or abs(d) > noise:  # at a reduced cost of nothing it stays where the ratio test put it
                at_upper[j] = d < 0.0
            if at_upper[j]:
                for i in range(m):
                    rest[i] -= a[i, j] * u[j]
        value = np.zeros(m)
        for i in range(m):
            for j in range(m):
                value[i] += inverse[i, j] * rest[j]
        worst, row, above = _PRIMAL_TOLERANCE, -1, False
        for i in range(m):
            if -value[i] > worst:
                worst, row, above = -value[i], i, False
            if value[i] - u[basis[i]] > worst:
                worst, row, above = value[i] - u[basis[i]], i, True
        if row < 0:
            x = np.zeros(n)
            for j in range(n):
                if at_upper[j] and not basic[j]:
                    x[j] = u[j]
            for i in range(m):
                if basis[i] < n:
                    x[basis[i]] = min(max(value[i], 0.0), u[basis[i]])
            return OPTIMAL, x, multipliers, step
        sign = -1.0 if above else 1.0
        count = 0
        for j in range(total):
            if basic[j]:
                continue
            entry = 0.0
            for i in range(m):
                entry += inverse[row, i] * a[i, j]
            alpha[j] = sign * entry
            if (not at_upper[j] and alpha[j] < -_PIVOT) or (at_upper[j] and alpha[j] > _PIVOT):
                candidate[count] = j
                ratio[count] = abs(reduced[j]) / abs(alpha[j])
                count += 1
        entering = _ratio_test(candidate, ratio, alpha, u, worst, count, at_upper)
        if entering < 0:
            return STOPPED, np.zeros(n), multipliers, step
        leaving = basis[row]
        basis[row] = entering
        basic[entering] = True
        basic[leaving] = False
        at_upper[leaving] = above
    return STOPPED, np.zeros(n), multipliers, most


@njit(cache=True)
def _ratio_test(candidate: Int, ratio: Float, alpha: Float, u: Float, slope: float, count: int, at_upper: Bool) -> int:
    """The entering column; columns passed on the way change their bound. Ties: larger pivot, then lower column."""
    if count == 0:
        return -1
    order = np.argsort(ratio[:count])
    i = 0
    while i < count:
        last = i  # all breakpoints within a hair of each other count as one
        best = candidate[order[i]]
        gain = 0.0
        while last < count and ratio[order[last]] <= ratio[order[i]]:
            j = candidate[order[last]]
            gain += abs(alpha[j]) * u[j]
            if abs(alpha[j]) > abs(alpha[best]) or (abs(alpha[j]) == abs(alpha[best]) and j < best):
                best = j
            last += 1
        if slope - gain <= 0.0 or last == count:
            return int(best)
        for k in range(i, last):
            j = candidate[order[k]]
            at_upper[j] = not at_upper[j]
        slope -= gain
        i = last
    return -1
