"""A dual simplex for problems with very many boxed columns and very few rows: the linear programs of the nodal clearing.

    minimise cost . x    subject to    rows x <= right (row 0: =),   0 <= x <= upper

Every row is elastic: what it cannot keep is bought at `penalty` (row 0, the balance, at `BALANCE_FACTOR` times it: no limit is
kept by inventing energy), so there is always an optimum and its multipliers say which row was broken. The rule: a start is dual
feasible (every column sits at the bound its reduced cost asks for), each step repairs the most broken basic variable, and the
ratio test walks past breakpoints as long as the dual objective rises (bound flipping), so that a step moves many orders at once.

Columns of one place are alike but for their side, so the matrix is never written down:

    rows[i, j] = side[j] * by_place[i, place[j]]   (+ own[r, j] in the few rows i = own_row[r] that count the order itself)

and a step costs O(columns + rows * places), not O(columns * rows). The inverse of the basis is updated from step to step and made
afresh before an optimum is believed. Where the program before was almost the same (the clearing linearises again and again), its
basis is the start: a few steps do.

Sources: Koberstein, "The dual simplex method, techniques for a fast and stable implementation", PhD thesis, Paderborn 2005,
chapters 3 and 4; Maros, "A generalized dual phase-2 simplex algorithm", EJOR 149 (2003).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.grid.network import Float, Int

Bool = NDArray[np.bool_]

OPTIMAL = 0
STOPPED = 1
NO_START = 2
"""The basis given does not serve as a start: it is singular, or prices a row on the wrong side."""

TIE_HAIR = 1e-2
"""Added to the costs, at most: in micro per kWh a hundredth of the smallest price step."""

BALANCE_FACTOR = 100.0

_PRIMAL_TOLERANCE = 1e-9
_PIVOT = 1e-9
_NOISE, _LEAST_NOISE = 1e-12, 1e-6
"""Of the largest cost, and in micro per kWh: a reduced cost within this is nothing."""
_FRESH_AFTER = 64
_FEW = 24


def cold_start(rows: int, marginal: int) -> Int:
    """The basis in which every row has its slack, and row 0 the column `marginal` (-1: none, it is bought at the penalty)."""
    basis = -1 - 2 * np.arange(rows, dtype=np.int64)
    if marginal >= 0:
        basis[0] = marginal
    return basis


class Matrix(NamedTuple):
    """The rows: `side` [n], `place` [n], `by_place` [m, places], and `own` [k, n] of the rows `own_row` [k]."""

    side: Float
    place: Int
    by_place: Float
    own_row: Int
    own: Float


@njit(cache=True)
def solve_rows(
    cost: Float, matrix: Matrix, right: Float, upper: Float, penalty: float, start: Int, most: int
) -> tuple[int, Float, Float, Int, int]:
    """Status, x [n], multipliers [m], basis [m] and the number of steps.

    `start` and the basis returned name a column j >= 0, or -1 - 2 i for the slack of row i, -2 - 2 i for its excess (row 0: what
    is short, what is too much). Multipliers are the derivative of the least cost to `right`: for rows 1.. they are <= 0.
    """
    m, n = right.size, cost.size
    c, u = np.empty(n + 2 * m), np.empty(n + 2 * m)
    for j in range(n):  # a different hair on every cost: no two columns tie, so no step is lost on ties
        c[j] = cost[j] + TIE_HAIR * ((j * 0.6180339887498949) % 1.0)
        u[j] = upper[j]
    for i in range(m):
        c[n + 2 * i] = BALANCE_FACTOR * penalty if i == 0 else 0.0
        c[n + 2 * i + 1] = BALANCE_FACTOR * penalty if i == 0 else penalty
        u[n + 2 * i] = u[n + 2 * i + 1] = np.inf
    basis, inverse = np.empty(m, dtype=np.int64), np.zeros((m, m))
    for i in range(m):
        basis[i] = start[i] if start[i] >= 0 else n - 1 - start[i]
    status, x, y, steps = NO_START, np.zeros(n), np.zeros(m), 0
    noise = max(_LEAST_NOISE, _NOISE * np.abs(cost).max()) if n else _LEAST_NOISE
    if _factorise(basis, inverse, matrix):
        _multipliers(basis, inverse, c, y)
        if _prices_rows(y, c, noise):
            status, steps = _iterate(matrix, c, u, right, basis, inverse, x, y, noise, most)
    for i in range(m):
        if basis[i] >= n:
            basis[i] = n - 1 - basis[i]
    return status, x, y, basis, steps


@njit(cache=True)
def _prices_rows(y: Float, c: Float, noise: float) -> bool:
    """Whether no row is priced on the wrong side: no slack and no excess is worth taking (beyond `noise`)."""
    n, good = c.size - 2 * y.size, True
    for i in range(y.size):
        good = good and y[i] <= c[n + 2 * i] + noise and -y[i] <= c[n + 2 * i + 1] + noise
    return good


@njit(cache=True)
def _entries(j: int, matrix: Matrix, a: Float) -> None:
    """Column j into `a` [m]."""
    side, place, by_place, own_row, own = matrix
    if j >= side.size:
        a[:] = 0.0
        a[(j - side.size) // 2] = 1.0 if (j - side.size) % 2 == 0 else -1.0
        return
    for i in range(a.size):
        a[i] = side[j] * by_place[i, place[j]]
    for r in range(own_row.size):
        a[own_row[r]] += own[r, j]


@njit(cache=True)
def _weigh(weights: Float, matrix: Matrix, at_place: Float, out: Float) -> None:
    """`out` [n + 2 m] = weights . every column, the elastic ones last; `at_place` [places] is written over."""
    side, place, by_place, own_row, own = matrix
    n = side.size
    at_place[:] = 0.0
    for i in range(weights.size):
        out[n + 2 * i], out[n + 2 * i + 1] = weights[i], -weights[i]
        if weights[i] != 0.0:
            for k in range(at_place.size):
                at_place[k] += weights[i] * by_place[i, k]
    for j in range(n):
        out[j] = side[j] * at_place[place[j]]
    for r in range(own_row.size):
        if weights[own_row[r]] != 0.0:
            for j in range(n):
                out[j] += weights[own_row[r]] * own[r, j]


@njit(cache=True)
def _pivot(inverse: Float, column: Float, row: int) -> None:
    """The inverse after the basic variable of `row` gives way to the one whose column is `column` = inverse . a."""
    m = column.size
    for j in range(m):
        inverse[row, j] /= column[row]
    for i in range(m):
        if i != row and column[i] != 0.0:
            for j in range(m):
                inverse[i, j] -= column[i] * inverse[row, j]


@njit(cache=True)
def _times(inverse: Float, a: Float, out: Float) -> None:
    """`out` = inverse . a"""
    for i in range(a.size):
        total = 0.0
        for j in range(a.size):
            total += inverse[i, j] * a[j]
        out[i] = total


@njit(cache=True)
def _factorise(basis: Int, inverse: Float, matrix: Matrix) -> bool:
    """`inverse` of the basis, whose entries are put in the rows they pivot on; False where it is singular."""
    m, n = basis.size, matrix.side.size
    inverse[:] = 0.0
    by_row, left, count = np.full(m, -1, dtype=np.int64), np.empty(m, dtype=np.int64), 0
    for i in range(m):
        if basis[i] < n:
            left[count] = basis[i]
            count += 1
            continue
        row = (basis[i] - n) // 2
        if by_row[row] >= 0:
            return False
        by_row[row] = basis[i]
    for i in range(m):
        inverse[i, i] = -1.0 if by_row[i] >= 0 and (by_row[i] - n) % 2 == 1 else 1.0
    a, column = np.empty(m), np.empty(m)
    for k in range(count):
        _entries(left[k], matrix, a)
        _times(inverse, a, column)
        row, largest = -1, _PIVOT
        for i in range(m):
            if by_row[i] < 0 and abs(column[i]) > largest:
                row, largest = i, abs(column[i])
        if row < 0:
            return False
        _pivot(inverse, column, row)
        by_row[row] = left[k]
    for i in range(m):
        basis[i] = by_row[i]
    return True


@njit(cache=True)
def _iterate(
    matrix: Matrix, c: Float, u: Float, right: Float, basis: Int, inverse: Float, x: Float, y: Float, noise: float, most: int
) -> tuple[int, int]:
    """Steps until every basic variable is within its bounds: status and number of steps; `basis`, `x` and `y` are left behind."""
    n, m, places = matrix.side.size, right.size, matrix.by_place.shape[1]
    basic, at_upper = np.zeros(c.size, dtype=np.bool_), np.zeros(c.size, dtype=np.bool_)
    reduced, ratio, alpha = np.empty(c.size), np.empty(c.size), np.empty(c.size)
    candidate, at_place = np.empty(c.size, dtype=np.int64), np.empty(places)
    rest, value, a, column = np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    for i in range(m):
        basic[basis[i]] = True
    age, steps = 0, 0
    while steps < most:
        if age >= _FRESH_AFTER:
            if not _factorise(basis, inverse, matrix):
                return STOPPED, steps
            age = 0
        _multipliers(basis, inverse, c, y)
        _weigh(y, matrix, at_place, reduced)
        _bounds(c, basic, n, noise, steps == 0, reduced, at_upper)
        _left_over(matrix, u, right, at_upper, at_place, rest)
        _times(inverse, rest, value)
        row, worst, above = _most_broken(value, u, basis)
        if row < 0 and age == 0:
            if not _prices_rows(y, c, 1e3 * noise):
                return STOPPED, steps
            for j in range(n):
                x[j] = u[j] if at_upper[j] else 0.0
            for i in range(m):
                if basis[i] < n:
                    x[basis[i]] = min(max(value[i], 0.0), u[basis[i]])
            return OPTIMAL, steps
        if row < 0:
            age = _FRESH_AFTER
            continue
        _weigh(inverse[row], matrix, at_place, alpha)
        count = _candidates(reduced, basic, at_upper, -1.0 if above else 1.0, alpha, candidate, ratio)
        entering = _ratio_test(candidate, ratio, alpha, u, worst, count, at_upper)
        if entering < 0:
            return STOPPED, steps
        _entries(entering, matrix, a)
        _times(inverse, a, column)
        _pivot(inverse, column, row)
        leaving = basis[row]
        basis[row] = entering
        basic[entering], at_upper[entering] = True, False
        basic[leaving], at_upper[leaving] = False, above
        age += 1
        steps += 1
    return STOPPED, steps


@njit(cache=True)
def _multipliers(basis: Int, inverse: Float, c: Float, y: Float) -> None:
    """`y` = costs of the basis . inverse"""
    y[:] = 0.0
    for j in range(basis.size):
        if c[basis[j]] != 0.0:
            for i in range(basis.size):
                y[i] += c[basis[j]] * inverse[j, i]


@njit(cache=True)
def _bounds(c: Float, basic: Bool, n: int, noise: float, first: bool, reduced: Float, at_upper: Bool) -> None:
    """Reduced costs from the prices of the columns in `reduced`, and the bound they ask of every column; at a reduced cost of
    nothing it stays where the ratio test put it.
    """
    for j in range(c.size):
        reduced[j] = 0.0 if basic[j] else c[j] - reduced[j]
        if j < n and not basic[j] and (first or abs(reduced[j]) > noise):
            at_upper[j] = reduced[j] < 0.0


@njit(cache=True)
def _left_over(matrix: Matrix, u: Float, right: Float, at_upper: Bool, net: Float, rest: Float) -> None:
    """`rest` [m]: right-hand sides less what the columns at their upper bound take; `net` [places] is written over."""
    side, place, by_place, own_row, own = matrix
    net[:] = 0.0
    rest[:] = right
    for j in range(side.size):
        if at_upper[j]:
            net[place[j]] += side[j] * u[j]
            for r in range(own_row.size):
                rest[own_row[r]] -= own[r, j] * u[j]
    for i in range(rest.size):
        total = 0.0
        for k in range(net.size):
            total += by_place[i, k] * net[k]
        rest[i] -= total


@njit(cache=True)
def _most_broken(value: Float, u: Float, basis: Int) -> tuple[int, float, bool]:
    """The row of the basic variable that is most outside its bounds (-1: none), by how much, and whether above."""
    worst, row, above = _PRIMAL_TOLERANCE, -1, False
    for i in range(value.size):
        if -value[i] > worst:
            worst, row, above = -value[i], i, False
        if value[i] - u[basis[i]] > worst:
            worst, row, above = value[i] - u[basis[i]], i, True
    return row, worst, above


@njit(cache=True)
def _candidates(reduced: Float, basic: Bool, at_upper: Bool, sign: float, alpha: Float, candidate: Int, ratio: Float) -> int:
    """Columns that can enter for the row, with their ratios; how many. `alpha` is turned by `sign`."""
    count = 0
    for j in range(reduced.size):
        alpha[j] *= sign
        if not basic[j] and ((not at_upper[j] and alpha[j] < -_PIVOT) or (at_upper[j] and alpha[j] > _PIVOT)):
            candidate[count] = j
            ratio[count] = abs(reduced[j]) / abs(alpha[j])
            count += 1
    return count


@njit(cache=True)
def _ratio_test(candidate: Int, ratio: Float, alpha: Float, u: Float, slope: float, count: int, at_upper: Bool) -> int:
    """The entering column; columns passed on the way change their bound. Ties: larger pivot, then lower column.

    Only the breakpoints near the one sought are sorted: halves that lie before it are passed at once. Both arrays are reordered.
    """
    low, high = 0, count
    while high - low > _FEW:
        middle = _partition(candidate, ratio, low, high)
        if middle == high:
            break
        gain = 0.0
        for i in range(low, middle):
            gain += abs(alpha[candidate[i]]) * u[candidate[i]]
        if slope - gain <= 0.0:
            high = middle
            continue
        for i in range(low, middle):
            at_upper[candidate[i]] = not at_upper[candidate[i]]
        slope -= gain
        low = middle
    order = np.argsort(ratio[low:high])
    i, count = 0, high - low
    while i < count:
        last = i  # breakpoints at the same ratio count as one
        best = candidate[low + order[i]]
        gain = 0.0
        while last < count and ratio[low + order[last]] <= ratio[low + order[i]]:
            j = candidate[low + order[last]]
            gain += abs(alpha[j]) * u[j]
            if abs(alpha[j]) > abs(alpha[best]) or (abs(alpha[j]) == abs(alpha[best]) and j < best):
                best = j
            last += 1
        if slope - gain <= 0.0 or last == count:
            return int(best)
        for k in range(i, last):
            j = candidate[low + order[k]]
            at_upper[j] = not at_upper[j]
        slope -= gain
        i = last
    return -1


@njit(cache=True)
def _partition(candidate: Int, ratio: Float, low: int, high: int) -> int:
    """Reorder [low, high) so that ratios before the place returned are below all after it; `high` where no such place is found."""
    a, b, c = ratio[low], ratio[(low + high) // 2], ratio[high - 1]
    pivot = max(min(a, b), min(max(a, b), c))
    for strict in (False, True):
        middle = low
        for i in range(low, high):
            if ratio[i] < pivot or (ratio[i] == pivot and not strict):
                ratio[i], ratio[middle] = ratio[middle], ratio[i]
                candidate[i], candidate[middle] = candidate[middle], candidate[i]
                middle += 1
        if low < middle < high:
            return middle
    return high
