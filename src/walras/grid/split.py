"""The quadratic step of the clearing: how equal prices at several nodes share the work, by the curvature of the losses.

The rule: near the optimum only orders whose price is close to their nodal price can still move; they are the window. On it
the step minimises cost + d'Hd / 2 within the rows, where H is how the nodal prices move with the fills at held multipliers: the
exact second derivative of the Lagrangian, by differences of the adjoint. What is not convex in it (a negative price of energy
welcomes losses) is dropped: there the vertex of the linear program is the optimum.
Solved by Clarabel (Goulart and Chen, "Clarabel: an interior-point solver for conic programs with quadratic objectives", 2024).
"""

from __future__ import annotations

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from walras.errors import ClearingError
from walras.grid.network import Float

MOST_COLUMNS = 24


def solve_split(
    cost: Float, curvature: Float, rows: Float, right: Float, upper: Float, x: Float, penalty: float
) -> tuple[Float, Float]:
    """New fills [n] and multipliers [m] of: minimise cost . y + (y - x)' curvature (y - x) / 2, rows elastic, 0 <= y <= upper.

    Row 0 is the equality; the multipliers have the sign of `simplex.solve_rows`. Raises ClearingError where Clarabel gives up.
    """
    m, n = rows.shape
    convex = _convex_part(curvature)
    linear = cost - convex @ x
    unit = max(float(np.abs(linear).max(initial=0.0)), 1.0)
    columns = n + m + 1
    quadratic = sparse.block_diag([sparse.csc_matrix(np.triu(convex) / unit), sparse.csc_matrix((m + 1, m + 1))], format="csc")
    objective = np.concatenate([linear / unit, np.full(m + 1, min(penalty / unit, 1e6))])
    elastic = np.zeros((m, m + 1))
    elastic[:, :m] = -np.identity(m)
    elastic[0, m] = 1.0
    within = sparse.csc_matrix(np.hstack([rows, elastic]))
    positive, below = -sparse.identity(columns, format="csc"), sparse.eye(n, columns, format="csc")
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    solution = clarabel.DefaultSolver(
        quadratic,
        objective,
        sparse.vstack([within, positive, below], format="csc"),
        np.concatenate([right, np.zeros(columns), upper]),
        [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(m - 1 + columns + n)],
        settings,
    ).solve()
    if str(solution.status) not in ("Solved", "AlmostSolved", "InsufficientProgress"):
        raise ClearingError(f"the quadratic program of the clearing ended as {solution.status}", thing=str(solution.status))
    y = np.clip(np.array(solution.x)[:n], 0.0, upper)
    hair = 1e-8 * np.maximum(upper, 1.0)
    y = np.where(y < hair, 0.0, np.where(y > upper - hair, upper, y))
    return y, -np.array(solution.z)[:m] * unit


def window_of(reduced: Float, upper: Float, width: Float) -> NDArray[np.intp]:
    """The columns nearest to zero reduced cost, measured by `width` (how far their price moved, inf for a
    column that jumped): those within twice it, at
    most MOST_COLUMNS. What is left out and matters comes back by its sign.
    """
    distance = np.where(upper > 0, np.abs(reduced) / (width + 1.0), np.inf)
    near = np.flatnonzero(distance <= 2.0)
    if near.size > MOST_COLUMNS:
        near = np.sort(near[np.argsort(distance[near], kind="stable")[:MOST_COLUMNS]])
    return near


def _convex_part(curvature: Float) -> Float:
    symmetric = (curvature + curvature.T) / 2
    values, vectors = np.linalg.eigh(symmetric)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)
