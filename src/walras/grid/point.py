"""One operating point of a clearing: fills, their AC flow, and every limit in play as a linear row there.

The rule: the network enters a linear program by place only. A row's coefficient at an order is the row's AC gradient at the
order's place, turned by its side (and, for emissions and reserve, what the order itself counts), so rows are kept as [rows,
places] and never as [rows, orders]: a book of 50,000 orders costs hardly more than its feeder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from walras.errors import ClearingError
from walras.grid.feeder import FeederSlot, Groups
from walras.grid.merit import move, slack_power, slack_weights
from walras.grid.network import BASE_KVA, Float, Int
from walras.grid.requirements import total_rows
from walras.grid.rows import IMPORT_LIMIT, LimitRows, limit_bounds, linearise, worst_limits
from walras.grid.sensitivity import Complex
from walras.grid.split import rows_times, times_rows
from walras.grid.sweep import MAX_SWEEPS, TOLERANCE_PU, branch_losses, solve, start_flat

LIMIT_TOLERANCE = 1e-8
"""Beyond this (fraction of the rating, pu of voltage) a limit counts as broken within the loop."""

SUM_TOLERANCE = 1e-7
"""The same for sums of orders, in kW or kg/h."""


@dataclass(frozen=True, slots=True, eq=False)
class PlaceRows:
    """Rows at a point, row 0 the balance: side * by_place[:, place] . fills (+ own . fills in the rows `own_row`) <= right.

    `by_place` [1 + limits, places], `own` [k, groups] and `right` [1 + limits] are divided by `scale` [limits] (the balance is
    not); `slackness` [limits] is what is to spare of each limit at the point, in its own unit.
    """

    by_place: Float
    own_row: Int
    own: Float
    right: Float
    scale: Float
    slackness: Float

    def price(self, multipliers: Float) -> Float:
        """[places] nodal prices from the multipliers of the first rows (rows that came in later: none)."""
        return -times_rows(multipliers, self.by_place[: multipliers.size])

    def reduced(self, cost: Float, g: Groups, multipliers: Float) -> Float:
        """[groups] reduced costs."""
        out = cost + g.side * self.price(multipliers)[g.place]
        for r, row in enumerate(self.own_row):
            if row < multipliers.size and multipliers[row] != 0.0:
                out -= multipliers[row] * self.own[r]
        return out

    def of(self, g: Groups, columns: Int) -> Float:
        """[1 + limits, columns] the coefficients of some groups, written out."""
        dense = np.take(self.by_place, g.place[columns], axis=1) * g.side[columns]
        dense[self.own_row] += self.own[:, columns]
        return np.ascontiguousarray(dense)

    def times(self, g: Groups, fills: Float) -> Float:
        """[1 + limits] the left-hand sides at some fills."""
        net = np.bincount(g.place, weights=g.side * fills, minlength=self.by_place.shape[1])
        out: Float = rows_times(self.by_place, np.asarray(net, dtype=np.float64))
        out[self.own_row] += rows_times(self.own, fills)
        return out


class Work:
    """The moving parts of one clearing: the point, its flow and its linearisation (not shared, not kept).

    `taken_kw` [buses] is traded beside the orders: fixed as to power, but delivered and paid for by the market.
    """

    def __init__(self, slot: FeederSlot, groups: Groups, taken_kw: Float | None = None) -> None:
        w = slot.network.wires
        n = slot.network.buses
        self.slot, self.groups, self.w = slot, groups, w
        self.fixed, self.q = slot.fixed_pu()
        self.upper: Float = np.asarray(groups.quantity_wh * slot.kw_per_wh, dtype=np.float64)
        self.p = self.fixed.copy()
        self.vr, self.vi, self.state = np.empty(n), np.empty(n), np.zeros((n, 4))
        self.factor = np.zeros((n, 4), dtype=np.complex128)
        self.weight = np.zeros(n)
        self.v_min, self.v_max = limit_bounds(slot.network)
        self.x = np.zeros(groups.price.size)
        self._start("the feeder has no AC power flow even without trade: what is fixed is more than the wires carry")
        self.base_kw = slack_power(self.vr, self.vi, self.state)
        self.base_losses = branch_losses(w.parent, w.data, self.vr, self.vi, self.state)
        self.totals = total_rows(slot, groups, self.base_kw)
        if taken_kw is not None:
            self.fixed = self.fixed + taken_kw[w.order] / BASE_KVA
            self.p = self.fixed.copy()
            self._start("the feeder has no AC power flow with what is taken beside the orders")

    def _start(self, complaint: str) -> None:
        w = self.w
        start_flat(w.parent, w.data, w.slack_v_pu, self.vr, self.vi)
        if solve(w.parent, w.data, self.p, self.q, self.vr, self.vi, self.state, TOLERANCE_PU, MAX_SWEEPS) < 0:
            way_out = "check fixed_p_kw and fixed_q_kvar (kW and kvar taken at each bus)"
            raise ClearingError(complaint, thing=self.slot, way_out=way_out)

    def step(self, new: Float) -> tuple[float, float]:
        """Move to the fills `new`: the part of the way that has a flow, and the largest movement of a bus in kW."""
        g = self.groups
        before = self.p.copy()
        part = move(
            self.w.parent, self.w.data, self.fixed, self.q, g.place, g.side, self.x, new, self.p, self.vr, self.vi, self.state
        )
        if part == 0.0:
            raise ClearingError(
                "no AC power flow near the last point of the clearing",
                thing=self.slot,
                way_out="give the network ratings or a voltage band, so that the clearing stays away from voltage collapse",
            )
        self.x = new
        return part, float(np.abs(self.p - before).max()) * BASE_KVA

    def linearise_slack(self) -> None:
        """Factorise at the point; `weight` by place."""
        n = self.p.size
        slack_weights(
            self.w.parent, self.w.data, self.p, self.q, self.vr, self.vi, self.factor, np.zeros(n, dtype=np.complex128),
            self.weight, np.empty(n),
        )  # fmt: skip

    def rows(self, limits: LimitRows, scale: Float | None = None) -> PlaceRows:
        """The balance and the limits in play, linearised here. `scale` of rows seen before is kept, so that multipliers compare."""
        g, w = self.groups, self.w
        kind, place = limits.columns()
        by_place, slackness = np.zeros((1 + kind.size, self.p.size)), np.zeros(kind.size)
        _linearise_all(
            w.parent, w.data, self.p, self.q, self.vr, self.vi, self.state, self.factor, self.v_min, self.v_max, kind, place,
            by_place, slackness, self.weight,
        )  # fmt: skip
        sums = np.flatnonzero(kind >= IMPORT_LIMIT)
        own_row, own = np.zeros(0, dtype=np.int64), np.zeros((0, g.price.size))
        if sums.size:
            total = np.array([self.totals.row_of(int(kind[row])) for row in sums])
            by_place[1 + sums, 0] = self.totals.at_root[total]
            slackness[sums] = -self.totals.excess(self.x)[total]
            counts = self.totals.own[total].any(axis=1)
            own_row, own = 1 + sums[counts], self.totals.own[total[counts]]
        known = np.zeros(0) if scale is None else scale
        scale = np.append(known, np.zeros(kind.size - known.size))
        _scale_rows(by_place, own_row, own, g.side, g.place, scale)
        right = np.empty(1 + kind.size)
        right[0] = self.base_kw - slack_power(self.vr, self.vi, self.state)
        right[1:] = (slackness - np.array(limits.margin)) / scale
        found = PlaceRows(by_place, own_row, own, right, scale, slackness)
        right += found.times(g, self.x)
        return found

    def broken(self, limits: LimitRows) -> tuple[Int, Int]:
        """The worst broken limits at the point that are not in play yet: kinds and places."""
        w = self.w
        kinds, places, _ = worst_limits(
            w.parent, w.data, self.vr, self.vi, self.state, self.v_min, self.v_max, *limits.columns(), LIMIT_TOLERANCE
        )
        if not self.totals.kind.size:
            return kinds, places
        over = self.totals.kind[self.totals.excess(self.x) > SUM_TOLERANCE]
        return np.concatenate([kinds, over]), np.concatenate([places, np.zeros(over.size, dtype=np.int64)])

    def own(self, kind: Int) -> Float:
        """[limits, groups] the part of each limit's coefficients that belongs to the order, not to its place."""
        own = np.zeros((kind.size, self.groups.price.size))
        for row in np.flatnonzero(kind >= IMPORT_LIMIT):
            own[row] = self.totals.own[self.totals.row_of(int(kind[row]))]
        return own


@njit(cache=True)
def _linearise_all(
    parent: Int, data: Float, p: Float, q: Float, vr: Float, vi: Float, state: Float, factor: Complex, v_min: Float, v_max: Float,
    kind: Int, place: Int, by_place: Float, slackness: Float, weight: Float,
) -> None:  # fmt: skip
    """Factorise at the point; `weight` and row 0 what the root delivers, the other rows the limits (not yet scaled)."""
    n = parent.size
    slack_weights(parent, data, p, q, vr, vi, factor, np.zeros(n, dtype=np.complex128), weight, np.empty(n))
    by_place[0] = weight
    linearise(parent, data, p, vr, vi, state, factor, v_min, v_max, kind, place, by_place[1:], slackness)


@njit(cache=True)
def _scale_rows(by_place: Float, own_row: Int, own: Float, side: Float, place: Int, scale: Float) -> None:
    """Divide each limit's row by its scale; one that is zero becomes the largest coefficient of an order."""
    used = np.zeros(by_place.shape[1], dtype=np.bool_)
    used[place] = True
    counted = np.zeros(by_place.shape[0], dtype=np.bool_)
    for r in range(own_row.size):
        row, counted[own_row[r]] = own_row[r], True
        if scale[row - 1] == 0.0:
            for j in range(side.size):
                scale[row - 1] = max(scale[row - 1], abs(side[j] * by_place[row, place[j]] + own[r, j]))
    for i in range(scale.size):
        if scale[i] == 0.0 and not counted[i + 1]:
            for k in range(used.size):
                if used[k]:
                    scale[i] = max(scale[i], abs(by_place[i + 1, k]))
        if scale[i] == 0.0:
            scale[i] = 1.0
        for k in range(used.size):
            by_place[i + 1, k] /= scale[i]
    for r in range(own_row.size):
        for j in range(side.size):
            own[r, j] /= scale[own_row[r] - 1]
