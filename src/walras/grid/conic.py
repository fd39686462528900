"""The second engine: branch flow as a second-order cone program, to check the first one against another method.

The rule: it says whether its relaxation is exact, and does not pretend. Relaxing l = (P^2 + Q^2) / W to >= makes the problem
convex; the result is the AC optimum where every cone is tight. Where losses are welcome (negative prices with must-run power)
cones go slack, currents are invented, and `exact` is False.

    W_k = W'_k - 2 (r P + x Q) + |z|^2 l        W'_k = W_parent / tap^2, P + jQ enters the series impedance
    P - r l - g/2 W_k = p_k + sum over children (P_c + g_c/2 W'_c),   and likewise for Q
    P^2 + Q^2 <= l W'                           ratings: |S|^2 <= limit^2 W (line), |S| <= limit (transformer), both ends

Source: Farivar and Low, "Branch flow model: relaxations and convexification", IEEE Trans. Power Systems 28(3), 2013.
Solved by Clarabel, called with its own matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import clarabel
import numpy as np
from scipy import sparse

from walras.errors import ClearingError
from walras.grid.feeder import FeederSlot, Groups
from walras.grid.network import BASE_KVA, Float
from walras.grid.optimum import Dispatch
from walras.grid.point import Work

TIGHT = 1e-5
"""A cone counts as tight when what it invents of losses is below this part of 1 kW in sum."""


AGREE = 1e-5
"""The engines agree when their welfare differs by less than this part of it (and of 0.1 per hour)."""


@dataclass(frozen=True, eq=False)
class ConicOptimum:
    """`fill_kw` [groups], `node_price` [buses] micro per kWh, `welfare` micro per hour as the relaxation sees it.

    `invented_kw` is the loss that no current causes (slack of the cones); `exact` says that it is nothing.
    """

    fill_kw: Float
    node_price: Float
    welfare: float
    invented_kw: float
    exact: bool


class _Matrix:
    """Rows of A x + s = b, s in a cone, put together entry by entry."""

    def __init__(self) -> None:
        self.row: list[int] = []
        self.column: list[int] = []
        self.value: list[float] = []
        self.right: list[float] = []

    def add(self, terms: list[tuple[int, float]], right: float) -> int:
        """One row; its number."""
        number = len(self.right)
        self.row += [number] * len(terms)
        self.column += [column for column, _ in terms]
        self.value += [value for _, value in terms]
        self.right.append(right)
        return number


def dispatch_conic(slot: FeederSlot, groups: Groups) -> ConicOptimum:
    """The welfare-maximal fills by the cone relaxation. Raises ClearingError where Clarabel finds no solution: an infeasible
    slot has no penalty here, the first engine says what is short.
    """
    w, work = slot.network.wires, Work(slot, groups)
    n, orders = slot.network.buses, groups.price.size
    turn = w.data[:, 4] ** 2 + w.data[:, 5] ** 2

    def at(kind: int, k: int) -> int:  # P, Q, l, W of place k
        return orders + kind * n + k

    matrix, cones = _Matrix(), []
    p_rows = _flow_rows(matrix, work, at, turn)
    cones.append(clarabel.ZeroConeT(len(matrix.right)))
    before = len(matrix.right)
    upper = work.upper / BASE_KVA
    for i in range(orders):
        matrix.add([(i, 1.0)], upper[i])
        matrix.add([(i, -1.0)], 0.0)
    for k in range(1, n):
        matrix.add([(at(3, k), 1.0)], work.v_max[k] ** 2)
        matrix.add([(at(3, k), -1.0)], -(work.v_min[k] ** 2))
    for at_root, own, bound in zip(work.totals.at_root, work.totals.own, work.totals.bound, strict=True):
        weight = at_root * work.totals.root_side + own
        matrix.add([(int(i), float(weight[i])) for i in np.flatnonzero(weight)], bound / BASE_KVA)
    cones.append(clarabel.NonnegativeConeT(len(matrix.right) - before))
    for k in range(1, n):
        cones += _branch_cones(matrix, work, at, turn, k)
    unit = max(float(np.abs(groups.price).max(initial=0.0)), 1.0)
    cost = np.zeros(orders + 4 * n)
    cost[:orders] = -groups.side * groups.price / unit
    shape = (len(matrix.right), cost.size)
    a = sparse.csc_matrix((matrix.value, (matrix.row, matrix.column)), shape=shape)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    empty = sparse.csc_matrix((cost.size, cost.size))
    solution = clarabel.DefaultSolver(empty, cost, a, np.array(matrix.right), cones, settings).solve()
    if str(solution.status) not in ("Solved", "AlmostSolved"):
        raise ClearingError(
            f"the cone program ended as {solution.status}",
            thing=str(solution.status),
            way_out="clear with the first engine: it reports which limit cannot be kept and by how much",
        )
    x = np.array(solution.x)
    invented = 0.0
    for k in range(1, n):
        inner = turn[k] * (w.slack_v_pu**2 if w.parent[k] == 0 else x[at(3, int(w.parent[k]))])
        needed = (x[at(0, k)] ** 2 + x[at(1, k)] ** 2) / inner
        invented += max(float(x[at(2, k)]) - needed, 0.0) * float(w.data[k, 0]) * BASE_KVA
    price = np.array(solution.z)[p_rows] * unit
    fill = np.clip(x[:orders], 0.0, upper) * BASE_KVA
    welfare = float(np.sum(groups.side * groups.price * fill))
    return ConicOptimum(fill, price[w.place], welfare, invented, invented <= TIGHT)


def confirm(slot: FeederSlot, groups: Groups, found: Dispatch) -> int:
    """How much more welfare the cone program sees than `found` [nano in the slot]: a bound on what any dispatch could add.

    Raises ClearingError where the cone program proves nothing: limits that cannot be kept, cones that are not tight (negative
    prices with must-run power), or another welfare.
    """
    if found.short.any():
        raise ClearingError(
            "the cone program has no penalties, and this slot has limits that nothing in the book can keep",
            thing=slot,
            way_out="clear with the first engine alone (no convention `engine`): it says what stays broken and by how much",
        )
    cone = dispatch_conic(slot, groups)
    if not cone.exact:
        raise ClearingError(
            f"the cone relaxation is not exact here: it invents {cone.invented_kw:.3f} kW of losses",
            thing=slot,
            way_out="clear with the first engine alone (no convention `engine`): it is exact in AC at any prices",
        )
    welfare = float(np.sum(groups.side * groups.price * found.fill_kw))
    gap = cone.welfare - welfare
    if abs(gap) > AGREE * max(abs(welfare), 1e5):
        raise ClearingError(
            f"the engines disagree: the cone program finds {cone.welfare:.0f} micro per hour, the first {welfare:.0f}",
            thing=slot,
            way_out="keep the book and the feeder: one of the two is wrong",
        )
    return round(gap * slot.hours * 1_000)


def _flow_rows(matrix: _Matrix, work: Work, at: object, turn: Float) -> list[int]:
    """Voltage drops and balances as equalities; the rows of the active balance by place."""
    w, g = work.w, work.groups
    n = w.parent.size
    place = at
    assert callable(place)
    square = w.slack_v_pu**2
    p_terms: list[list[tuple[int, float]]] = [[] for _ in range(n)]
    q_terms: list[list[tuple[int, float]]] = [[] for _ in range(n)]
    p_right, q_right = -work.fixed.copy(), -work.q.copy()
    matrix.add([(place(kind, 0), 1.0) for kind in (0,)], 0.0)
    matrix.add([(place(1, 0), 1.0)], 0.0)
    matrix.add([(place(2, 0), 1.0)], 0.0)
    matrix.add([(place(3, 0), 1.0)], square)
    for k in range(1, n):
        r, x, g2, b2 = w.data[k, :4]
        up = int(w.parent[k])
        drop = [(place(3, k), 1.0), (place(0, k), 2 * r), (place(1, k), 2 * x), (place(2, k), -(r * r + x * x))]
        matrix.add([*drop, (place(3, up), -turn[k])], 0.0)
        # what the bus takes + what goes on = what comes in, written as taken + on - in = -fixed
        p_terms[k] += [(place(0, k), -1.0), (place(2, k), r), (place(3, k), g2)]
        q_terms[k] += [(place(1, k), -1.0), (place(2, k), x), (place(3, k), -b2)]
        p_terms[up] += [(place(0, k), 1.0), (place(3, up), g2 * turn[k])]
        q_terms[up] += [(place(1, k), 1.0), (place(3, up), -b2 * turn[k])]
    for i in range(g.price.size):
        p_terms[int(g.place[i])].append((i, float(g.side[i])))
    p_right[0] += work.base_kw / BASE_KVA  # the root delivers what it delivered without trade
    rows = [matrix.add(p_terms[k], p_right[k]) for k in range(n)]
    for k in range(1, n):
        matrix.add(q_terms[k], q_right[k])
    return rows


def _branch_cones(matrix: _Matrix, work: Work, at: object, turn: Float, k: int) -> list[object]:
    """P^2 + Q^2 <= l W', and the rating at both ends."""
    w = work.w
    place = at
    assert callable(place)
    r, x, g2, b2 = w.data[k, :4]
    up = int(w.parent[k])
    p, q, current, here, there = place(0, k), place(1, k), place(2, k), place(3, k), place(3, up)
    matrix.add([(current, -1.0), (there, -turn[k])], 0.0)
    matrix.add([(current, -1.0), (there, turn[k])], 0.0)
    matrix.add([(p, -2.0)], 0.0)
    matrix.add([(q, -2.0)], 0.0)
    cones: list[object] = [clarabel.SecondOrderConeT(4)]
    inverse = float(w.data[k, 6])
    if inverse == 0.0:
        return cones
    near = ([(p, 1.0), (there, g2 * turn[k])], [(q, 1.0), (there, -b2 * turn[k])], (there, float(turn[k])))
    far = ([(p, 1.0), (current, -r), (here, -g2)], [(q, 1.0), (current, -x), (here, b2)], (here, 1.0))
    for active, reactive, (voltage, factor) in (near, far):
        if w.data[k, 7] != 0.0:  # |S|^2 <= limit^2 W: |(2 S / limit, W - 1)| <= W + 1
            matrix.add([(voltage, -factor)], 1.0)
            matrix.add([(voltage, -factor)], -1.0)
            matrix.add([(column, -2 * inverse * value) for column, value in active], 0.0)
            matrix.add([(column, -2 * inverse * value) for column, value in reactive], 0.0)
            cones.append(clarabel.SecondOrderConeT(4))
        else:
            matrix.add([], 1.0)
            matrix.add([(column, -inverse * value) for column, value in active], 0.0)
            matrix.add([(column, -inverse * value) for column, value in reactive], 0.0)
            cones.append(clarabel.SecondOrderConeT(3))
    return cones
