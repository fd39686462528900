"""The clearing in real numbers: successive linear programs on the condensed problem, exact in AC.

The rule: maximise sum(side * price * fill) subject to the AC balance at the root and every limit. The columns are the orders
alone; the network enters as one balance row and one row for each limit that was broken so far, all with exact AC gradients
(`sensitivity.py`). Solve the linear program, run the AC flow at its fills, linearise there, repeat until no bus moves.
At that point the multipliers of the linear program are those of the AC problem.

Three stages, each entered only when the one before does not settle: the merit order (no limit binds), the linear programs
(`simplex.py`), and quadratic programs with the curvature of the losses (equal prices at several nodes: the best split is not a
vertex, a linear program jumps back and forth).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.errors import ClearingError
from walras.grid.feeder import FeederSlot, Groups
from walras.grid.merit import (
    CONVERGED,
    STILL_KW,
    clear_by_merit,
    merit_order,
    move,
    slack_power,
    slack_weights,
)
from walras.grid.network import BASE_KVA, Float, Int
from walras.grid.requirements import total_rows
from walras.grid.rows import IMPORT_LIMIT, LimitRows, limit_bounds, linearise, worst_limits
from walras.grid.simplex import OPTIMAL, solve_rows
from walras.grid.split import branch_curvature, curvature_of, rows_times, solve_split, times_rows
from walras.grid.sweep import MAX_SWEEPS, TOLERANCE_PU, branch_losses, solve, start_flat

ROUNDS = 40
LEAST_DAMPING = 1 / 2
QP_STILL_KW = 1e-5
"""A quadratic step is an interior-point step: its last digits are noise, and 1e-5 kW is far below one Wh in any slot."""

PRICE_STILL = 0.5
MISSING_WH = 0.25
"""The point also stands still when no nodal price moves by half a micro and less than a quarter Wh is missing in the balance:
then every order is right by its price, and what moves is below the whole numbers."""

WINDOW_FROM = 1000
WINDOW_PART = 0.02
"""With more columns than this, a step looks at those within this part of the price."""

LIMIT_TOLERANCE = 1e-8
"""Beyond this (fraction of the rating, pu of voltage) a limit counts as broken within the loop."""


@dataclass(frozen=True, eq=False)
class Dispatch:
    """The optimum in real numbers.

    fill_kw      [groups]
    energy       lambda at the root, micro per kWh; `energy_low`, `energy_high` the interval that supports the same fills
    weight       [buses] what the root delivers for one more kW taken at the bus (network order)
    limit_kind, limit_place, multiplier   the limits in play; multiplier >= 0 in micro per kWh per unit of the limit
    gradient     [limits, buses] of each limit to the power taken (network order), turned so that the limit is an upper bound
    own          [limits, groups] what a kW of the order itself adds to the limit, wherever it is (emissions, reserve; else 0)
    short        [limits] by how much the limit stays broken because nothing in the book can mend it (else 0)
    margin       [limits] the distance that was to be kept
    base_kw      what the root delivers without any trade, base_losses_kw of it lost; losses_kw that trade adds
    rounds       linear and quadratic programs solved; `still_kw` the last movement
    """

    fill_kw: Float
    energy: float
    energy_low: float
    energy_high: float
    weight: Float
    limit_kind: Int
    limit_place: Int
    multiplier: Float
    gradient: Float
    own: Float
    short: Float
    margin: Float
    base_kw: float
    base_losses_kw: float
    losses_kw: float
    rounds: int
    still_kw: float

    def node_price(self, energy: float | None = None) -> Float:
        """[buses] price in micro per kWh at the given energy price (default: the interval's own)."""
        return np.asarray((self.energy if energy is None else energy) * self.weight + self.multiplier @ self.gradient)


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

    def prices(self, multipliers: Float, gradient: Float, scale: Float) -> Float:
        """Nodal prices by place at the linearised point, from the multipliers of the scaled rows (new limits: 0)."""
        mu = -multipliers[1:] / scale[: multipliers.size - 1]
        return np.asarray(-multipliers[0] * self.weight + mu @ gradient[: mu.size])

    def rows(self, limits: LimitRows) -> tuple[Float, Float, Float, Float]:
        """(gradient [limits, places], coefficients [1 + limits, groups], right-hand sides, scale of each limit row)."""
        g, w = self.groups, self.w
        kind, place = limits.columns()
        gradient, slackness = np.zeros((kind.size, self.p.size)), np.zeros(kind.size)
        linearise(
            w.parent, w.data, self.p, self.vr, self.vi, self.state, self.factor, self.v_min, self.v_max, kind, place,
            gradient, slackness,
        )  # fmt: skip
        own = self.own(kind)
        for row in np.flatnonzero(kind >= IMPORT_LIMIT):
            total = self.totals.row_of(int(kind[row]))
            gradient[row, 0] = self.totals.at_root[total]
            slackness[row] = -self.totals.excess(self.x)[total]
        slackness -= np.array(limits.margin)
        coefficients = np.empty((1 + kind.size, g.price.size))
        coefficients[0] = g.side * self.weight[g.place]
        coefficients[1:] = gradient[:, g.place] * g.side + own
        right = np.empty(1 + kind.size)
        right[0] = self.base_kw - slack_power(self.vr, self.vi, self.state)
        right[1:] = slackness
        scale = np.abs(coefficients[1:]).max(axis=1, initial=0.0)
        scale[scale == 0] = 1.0
        right += rows_times(coefficients, self.x)
        coefficients[1:] /= scale[:, None]
        right[1:] /= scale
        return gradient, coefficients, right, scale

    def broken(self, limits: LimitRows) -> tuple[Int, Int]:
        """The worst broken limits at the point that are not in play yet: kinds and places."""
        w = self.w
        kinds, places, _ = worst_limits(
            w.parent, w.data, self.vr, self.vi, self.state, self.v_min, self.v_max, *limits.columns(), LIMIT_TOLERANCE
        )
        if not self.totals.kind.size:
            return kinds, places
        over = self.totals.kind[self.totals.excess(self.x) > 1e-7]
        return np.concatenate([kinds, over]), np.concatenate([places, np.zeros(over.size, dtype=np.int64)])

    def own(self, kind: Int) -> Float:
        """[limits, groups] the part of each limit's coefficients that belongs to the order, not to its place."""
        own = np.zeros((kind.size, self.groups.price.size))
        for row in np.flatnonzero(kind >= IMPORT_LIMIT):
            own[row] = self.totals.own[self.totals.row_of(int(kind[row]))]
        return own


def penalty_of(groups: Groups) -> float:
    """Micro per kWh, beyond any price that a limit can have: ten thousand times the spread of the book (at least 0.1 /kWh)."""
    spread = float(np.ptp(groups.price)) if groups.price.size else 0.0
    return 1e4 * max(spread, 1e5)


def dispatch(slot: FeederSlot, groups: Groups, margins: LimitRows | None = None, taken_kw: Float | None = None) -> Dispatch:
    """The welfare-maximal fills within the limits. `margins` (from an earlier clearing) are limits with a distance to keep;
    `taken_kw` [buses] is taken beside the orders (stores, blocks) and must be supplied by them, losses included.

    Raises ClearingError where no AC flow exists, even without trade.
    """
    work = Work(slot, groups, taken_kw)
    g, w = groups, work.w
    limits = LimitRows() if margins is None else LimitRows(list(margins.kind), list(margins.place), list(margins.margin))
    if not limits.kind:
        status, low, high, rounds = clear_by_merit(
            w.parent, w.data, work.fixed, work.q, work.v_min, work.v_max, g.place, g.side, g.price, work.upper, work.base_kw,
            slot.import_limit_kw, slot.export_limit_kw, work.x, work.p, work.vr, work.vi, work.state, work.factor, work.weight,
        )  # fmt: skip
        required = groups.g_per_kwh is not None or groups.flexible is not None
        if status == CONVERGED and not (required and (work.totals.excess(work.x) > 1e-7).any()):
            work.linearise_slack()
            return _result(work, limits, np.zeros(0), np.zeros((0, w.parent.size)), low, high, rounds, 0.0)
        limits.enter(*work.broken(limits))
    return _with_rows(work, limits)


def _with_rows(work: Work, limits: LimitRows) -> Dispatch:
    """Linear, then quadratic programs until the point stands still and breaks no limit that is not in play.

    Linear programs that jump between vertices are first halved a few times, which brings the point near the optimum between
    them; the quadratic programs finish it.
    """
    g = work.groups
    penalty = penalty_of(g)
    multipliers, still, damping, bend = np.zeros(1), np.inf, 1.0, 1.0
    work.linearise_slack()
    gradient, coefficients, right, scale = work.rows(limits)
    price = np.zeros(work.p.size)
    for rounds in range(1, ROUNDS + 1):
        linear, before, last = damping >= LEAST_DAMPING, work.x, still
        if linear:
            new, multipliers = _linear(g, coefficients, right, work.upper, penalty, multipliers)
            new = before + damping * (new - before)
        else:
            new, multipliers, expected = _quadratic(work, coefficients, right, multipliers, price, bend, penalty)
        part, still = work.step(new)
        fresh = limits.enter(*work.broken(limits))
        held, old_scale = work.prices(multipliers, gradient, scale), scale
        work.linearise_slack()
        gradient, coefficients, right, scale = work.rows(limits)
        price = work.prices(multipliers, gradient, old_scale)
        if part == 1.0 and not fresh:
            if still <= (STILL_KW * damping if linear else QP_STILL_KW):
                break
            if damping == 1.0 or not linear:
                missing = abs(work.base_kw - slack_power(work.vr, work.vi, work.state)) / work.slot.kw_per_wh
                if np.abs(price - held).max() <= PRICE_STILL and missing <= MISSING_WH:
                    break
        if linear and not fresh and part == 1.0 and rounds > 3 and (still > last / 2 or damping < 1):
            damping /= 2
        if not linear and expected > 0:
            seen = float((price - held)[g.place] @ (g.side * (work.x - before)))
            bend *= min(max(seen / expected, 0.5), 4.0)
        guess = np.zeros(1 + len(limits.kind))
        guess[0], guess[1 : multipliers.size] = multipliers[0], multipliers[1:] / old_scale * scale[: old_scale.size]
        multipliers = guess
    mu = np.maximum(-multipliers[1:], 0.0) / (old_scale if multipliers.size == 1 + old_scale.size else scale)
    mu = np.concatenate([mu, np.zeros(len(limits.kind) - mu.size)])
    low, high = _support(work, -float(multipliers[0]), mu, gradient, limits.columns()[0])
    return _result(work, limits, mu, gradient, low, high, rounds, still)


def _quadratic(
    work: Work, rows: Float, right: Float, guess: Float, price: Float, bend: float, penalty: float
) -> tuple[Float, Float, float]:
    """A quadratic step from the point: new fills, multipliers, and the model's curvature along the step.

    Columns far from their guessed nodal price stay at the bound it gives them; what turns out wrong comes in.
    """
    g, w = work.groups, work.w
    cost = -g.side * g.price
    reduced = cost - times_rows(guess, rows)
    curvature = branch_curvature(w.data, work.vr, work.vi, price * bend)
    some = work.upper > 0
    window = some
    if cost.size > WINDOW_FROM:
        window = some & (np.abs(reduced) <= WINDOW_PART * np.abs(price).max() + 1.0)
    while True:
        new = np.where(reduced > 0, 0.0, work.upper)
        new[window] = 0.0
        _, inside, multipliers = solve_split(
            w.parent, curvature, g.place[window], g.side[window], cost[window], np.ascontiguousarray(rows[:, window]),
            right - rows_times(rows, new), work.upper[window], work.x[window], penalty,
        )  # fmt: skip
        new[window] = inside
        if not np.isfinite(new).all():
            raise ClearingError("the quadratic program of the clearing did not finish", thing=work.slot, way_out="report the book")
        after = cost - times_rows(multipliers, rows)
        wrong = some & ~window & (np.where(new > 0, after, -after) > PRICE_STILL)
        if not wrong.any():
            return new, multipliers, curvature_of(w.parent, curvature, g.place, g.side, new - work.x)
        window = window | (some & (np.abs(reduced) <= 4 * np.abs(reduced[window]).max(initial=1.0))) | wrong


def _linear(g: Groups, rows: Float, right: Float, upper: Float, penalty: float, guess: Float) -> tuple[Float, Float]:
    """A linear step: new fills and multipliers. Of a long book only columns near their guessed nodal price enter the program; the
    others stay at the bound it gives them, and the multipliers found certify it: what turns out wrong comes in.
    """
    cost = -g.side * g.price
    if cost.size <= WINDOW_FROM or guess[0] == 0.0:
        return _program(g, np.arange(cost.size), rows, right, upper, penalty)
    reduced = cost - times_rows(guess, rows)
    width = WINDOW_PART * float(np.abs(g.price).max())
    window = np.abs(reduced) <= width
    while True:
        new = np.where(reduced > 0, 0.0, upper)
        new[window] = 0.0
        inside, multipliers = _program(g, np.flatnonzero(window), rows, right - rows_times(rows, new), upper, penalty)
        new[window] = inside
        after = cost - times_rows(multipliers, rows)
        wrong = (upper > 0) & ~window & (np.where(new > 0, after, -after) > PRICE_STILL)
        if not wrong.any():
            return new, multipliers
        width *= 4
        window = window | wrong | (np.abs(reduced) <= width)


def _program(g: Groups, columns: Int, rows: Float, right: Float, upper: Float, penalty: float) -> tuple[Float, Float]:
    """The linear program over some of the columns, from the merit order's marginal order where every weight is positive."""
    side, price, most = g.side[columns], g.price[columns], upper[columns]
    some = np.ascontiguousarray(rows[:, columns])
    weight, start, marginal = some[0] * side, np.empty(columns.size), -1
    if weight.size and weight.min() > 0.05:
        marginal, _, _ = merit_order(price, side, most, weight, right[0], start)
    status, x, multipliers, _ = solve_rows(-side * price, some, right, most, penalty, marginal, 2000)
    if status != OPTIMAL:
        raise ClearingError("the linear program of the clearing did not finish", thing=status, way_out="report the book")
    return x, multipliers


def _support(work: Work, energy: float, mu: Float, gradient: Float, kind: Int) -> tuple[float, float]:
    """The interval of the energy price that, with the multipliers of the limits held, supports the fills."""
    g = work.groups
    weight = work.weight[g.place]
    rank = (g.price - (mu @ gradient)[g.place] - g.side * (mu @ work.own(kind))) / weight
    hair = np.maximum(1e-9, 1e-9 * work.upper)
    full, empty, some = work.x >= work.upper - hair, work.x <= hair, work.upper > 0
    buys = g.side > 0
    below = rank[some & ((full & ~buys) | (empty & buys))]
    above = rank[some & ((full & buys) | (empty & ~buys))]
    low, high = float(below.max(initial=-np.inf)), float(above.min(initial=np.inf))
    partial = bool(np.any(some & ~full & ~empty))
    if partial or not low <= energy <= high:
        return energy, energy
    return low, high


def _result(
    work: Work, limits: LimitRows, mu: Float, gradient: Float, low: float, high: float, rounds: int, still: float
) -> Dispatch:
    w = work.w
    kind, place = limits.columns()
    finite = [value for value in (low, high) if np.isfinite(value)]
    energy = sum(finite) / len(finite) if finite else 0.0
    short, own = np.zeros(kind.size), work.own(kind)
    if kind.size:
        _, _, right, scale = work.rows(limits)
        coefficients = gradient[:, work.groups.place] * work.groups.side + own
        short = np.maximum(coefficients @ work.x - right[1:] * scale - np.array(limits.margin), 0.0)
        short[short <= np.where(kind >= IMPORT_LIMIT, 2 * QP_STILL_KW, 10 * LIMIT_TOLERANCE)] = 0.0
    losses = branch_losses(w.parent, w.data, work.vr, work.vi, work.state) - work.base_losses
    return Dispatch(
        work.x.copy(), energy, low, high, work.weight[w.place], kind, place, mu, gradient[:, w.place], own, short,
        np.array(limits.margin), work.base_kw, work.base_losses * BASE_KVA, losses * BASE_KVA, rounds, still,
    )  # fmt: skip
