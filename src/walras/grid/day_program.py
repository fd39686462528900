"""The linear program of a whole day on the wires: every slot's orders and limits, the stores that couple the slots, and blocks.

    maximise   sum over slots of h * sum(side * price * fill)  +  sum(side * price * energy * ratio) of blocks  -  penalties
    slot       balance and limits as linear rows at that slot's AC point (`optimum.Work.rows`), limits elastic at a penalty
    store      level[t] = level[t-1] + in * h * charge - h * discharge / out - used
    block      least * accepted <= ratio <= accepted (0 or 1); ratio <= its parent's; one of an exclusive group

The rule: it is a model, never the answer: what it proposes is judged by the exact clearing of each slot. Losses enter as tangents,
which lie below the true losses, so where prices are positive the optimum of the model is an upper bound on the day.
Solved by HiGHS from raw arrays, presolve off (thousands of singleton columns in a row are what presolve is slow at).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
from scipy import sparse

from walras.errors import ClearingError
from walras.grid.feeder import Groups
from walras.grid.network import Float, Int
from walras.grid.stores import Stores
from walras.market.block_book import Options
from walras.market.highs import make_solver

UNIT = 1e-3
"""Costs are handed over in thousandths: micro per kWh are large numbers beside the tolerances of the solver."""


Cut = tuple[Float, Float, float]


@dataclass(frozen=True, eq=False)
class SlotRows:
    """One slot's rows at its point: `coefficients` [1 + limits, groups], `to_bus` [1 + limits, buses] for power taken beside the
    orders, `right` [1 + limits]; row 0 is the balance. `upper` [groups] kW.

    `cuts` are balance rows (coefficients, to_bus, right) of earlier points, all tangents of the same convex losses. While energy is
    worth something the balance may be an inequality (nobody throws it away), and every tangent holds at once: that is what
    keeps a program from jumping between schedules of equal price.
    """

    groups: Groups
    upper: Float
    coefficients: Float
    to_bus: Float
    right: Float
    cuts: tuple[Cut, ...] = ()


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the program proposes: charge, discharge [T, n] kW, ratio [m] of blocks, `value` of its objective in micro (penalties
    taken off), `stored_value` [T, n] micro per kWh inside after each slot.
    """

    charge: Float
    discharge: Float
    ratio: Float
    value: float
    stored_value: Float


class _Rows:
    """Rows collected entry by entry."""

    def __init__(self) -> None:
        self.row: list[Int] = []
        self.column: list[Int] = []
        self.value: list[Float] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def add(self, columns: Int, values: Float, low: float, high: float) -> None:
        keep = values != 0
        self.row.append(np.full(int(keep.sum()), len(self.low), dtype=np.int64))
        self.column.append(np.asarray(columns, dtype=np.int64)[keep])
        self.value.append(np.asarray(values, dtype=np.float64)[keep])
        self.low.append(low)
        self.high.append(high)

    def matrix(self, columns: int) -> sparse.csr_array:
        entries = np.concatenate(self.value), (np.concatenate(self.row), np.concatenate(self.column))
        return sparse.csr_array(entries, shape=(len(self.low), columns))


class DayProgram:
    """Columns: fills slot by slot, elastic columns slot by slot, then charge, discharge, level [T * n each], then ratio, accepted,
    and for each (slot, store) in `never_both` whether it charges.
    """

    def __init__(self, rows: Sequence[SlotRows], stores: Stores, hours: Float, penalty: float) -> None:
        self.rows, self.stores, self.hours, self.penalty = rows, stores, hours, penalty

    def solve(
        self, least: tuple[Float, Float], most: tuple[Float, Float], blocks: Options | None, block_bus: Int, allowed: Float,
        never_both: Sequence[tuple[int, int]] = (),
    ) -> Proposal:  # fmt: skip
        """The optimum with charge and discharge within `least` and `most` and only the blocks `allowed` [m] (1.0 or 0.0)."""
        s, slots = self.stores, len(self.rows)
        n, m = s.count, 0 if blocks is None else blocks.count
        sizes = np.array([row.upper.size for row in self.rows])
        elastic = np.array([row.right.size - 1 for row in self.rows])
        starts = np.concatenate([[0], np.cumsum(sizes + elastic)]).astype(np.int64)
        charge0 = int(starts[-1])
        discharge0, level0, ratio0 = charge0 + slots * n, charge0 + 2 * slots * n, charge0 + 3 * slots * n
        accept0, both0 = ratio0 + m, ratio0 + 2 * m
        total = both0 + len(never_both)
        cost, low, high = np.zeros(total), np.zeros(total), np.full(total, highspy.kHighsInf)
        rows = _Rows()
        none = np.zeros((0, slots), dtype=np.float64)
        energy_kw = none if blocks is None else blocks.side[:, None] * blocks.energy / 1000.0 / self.hours
        for t, slot in enumerate(self.rows):
            x = np.arange(starts[t], starts[t] + sizes[t])
            g = slot.groups
            cost[x] = -g.side * g.price * self.hours[t] * UNIT
            high[x] = slot.upper
            cost[starts[t] + sizes[t] : starts[t + 1]] = self.penalty * self.hours[t] * UNIT
            beside = [x, charge0 + t * n + np.arange(n), discharge0 + t * n + np.arange(n), ratio0 + np.arange(m)]
            numbers = range(slot.right.size)
            lines = [(slot.coefficients[i], slot.to_bus[i], float(slot.right[i]), i) for i in numbers]
            for coefficients, to_bus, right, i in [*lines, *((*cut, 0) for cut in slot.cuts)]:
                at_store, at_block = to_bus[s.bus], to_bus[block_bus] * energy_kw[:, t]
                soft = np.array([starts[t] + sizes[t] + i - 1] if i else [], dtype=np.int64)
                values = [coefficients, at_store, -at_store, at_block, -np.ones(soft.size)]
                equal = i == 0 and not slot.cuts
                rows.add(np.concatenate([*beside, soft]), np.concatenate(values), right if equal else -highspy.kHighsInf, right)
        c, d, e = (np.arange(first, first + slots * n).reshape(slots, n) for first in (charge0, discharge0, level0))
        low[c], high[c], low[d], high[d] = least[0], most[0], least[1], most[1]
        low[e], high[e] = s.low_kwh, s.high_kwh
        first_level = len(rows.low)
        for t in range(slots):
            for i in range(n):
                columns = [e[t, i], c[t, i], d[t, i]]
                values = [1.0, -s.in_efficiency[i] * self.hours[t], self.hours[t] / s.out_efficiency[i]]
                right = -float(s.used_kwh[t, i]) + (float(s.initial_kwh[i]) if t == 0 else 0.0)
                if t:
                    columns, values = [*columns, e[t - 1, i]], [*values, -1.0]
                rows.add(np.array(columns), np.array(values), right, right)
        whole = np.zeros(total, dtype=np.int64)
        if blocks is not None:
            worth = blocks.side * blocks.price * blocks.energy.sum(axis=1) / 1000.0
            cost[ratio0:accept0] = -worth * UNIT
            high[ratio0:accept0] = high[accept0:both0] = allowed
            whole[accept0:both0] = 1
            _block_rows(rows, blocks, ratio0, accept0)
        for number, (t, i) in enumerate(never_both):
            high[both0 + number], whole[both0 + number] = 1.0, 1
            z, most = both0 + number, (s.charge_kw[t, i], s.discharge_kw[t, i])
            rows.add(np.array([c[t, i], z]), np.array([1.0, -most[0]]), -highspy.kHighsInf, 0.0)
            rows.add(np.array([d[t, i], z]), np.array([1.0, most[1]]), -highspy.kHighsInf, float(most[1]))
        x, duals, value = _highs(cost, low, high, rows, whole)
        stored = duals[first_level : first_level + slots * n].reshape(slots, n) / UNIT
        return Proposal(x[c], x[d], x[ratio0:accept0], -value / UNIT, -stored)


def _block_rows(rows: _Rows, blocks: Options, ratio0: int, accept0: int) -> None:
    for i in range(blocks.count):
        pair = np.array([ratio0 + i, accept0 + i])
        rows.add(pair, np.array([1.0, -1.0]), -highspy.kHighsInf, 0.0)
        rows.add(pair, np.array([1.0, -float(blocks.least[i] / blocks.steps[i])]), 0.0, highspy.kHighsInf)
        if blocks.parents[i]:
            parents = np.array([ratio0 + i, *(ratio0 + p for p in blocks.parents[i])])
            rows.add(parents, np.array([1.0, *(-1.0 for _ in blocks.parents[i])]), -highspy.kHighsInf, 0.0)
    for group in blocks.groups:
        rows.add(np.array([accept0 + i for i in group]), np.ones(len(group)), -highspy.kHighsInf, 1.0)


def _highs(cost: Float, low: Float, high: Float, rows: _Rows, whole: Int) -> tuple[Float, Float, float]:
    """Solution, row duals and objective; with whole columns the duals are those with the whole columns held."""
    matrix = rows.matrix(cost.size)
    row_low, row_high = np.array(rows.low), np.array(rows.high)
    solution = _run(cost, low, high, row_low, row_high, matrix, whole)
    if whole.any():
        held = np.flatnonzero(whole)
        low, high = low.copy(), high.copy()
        low[held] = high[held] = np.rint(solution[0][held])
        solution = _run(cost, low, high, row_low, row_high, matrix, np.zeros_like(whole))
    return solution


def _run(
    cost: Float, low: Float, high: Float, row_low: Float, row_high: Float, matrix: sparse.csr_array, whole: Int
) -> tuple[Float, Float, float]:
    solver = make_solver(mip_rel_gap=1e-6, presolve="choose" if whole.any() else "off")
    solver.passModel(
        cost.size, row_low.size, matrix.nnz, 2, 1, 0.0, cost, low, high, row_low, row_high,
        matrix.indptr[:-1].astype(np.int32), matrix.indices.astype(np.int32), matrix.data, whole.astype(np.int32),
    )  # fmt: skip
    solver.run()
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise ClearingError(
            f"the program of the day ended as {solver.modelStatusToString(status)}",
            thing=str(status),
            way_out="check that every store can keep its band: needed energy within power and time, initial level within the band",
        )
    found = solver.getSolution()
    return np.array(found.col_value), np.array(found.row_dual), float(solver.getInfo().objective_function_value)
