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
from walras.grid.merit import CONVERGED, STILL_KW, clear_by_merit, merit_order, slack_power
from walras.grid.network import BASE_KVA, Float, Int
from walras.grid.point import LIMIT_TOLERANCE, SUM_TOLERANCE, PlaceRows, Work
from walras.grid.rows import IMPORT_LIMIT, LimitRows
from walras.grid.simplex import OPTIMAL, Matrix, cold_start, solve_rows
from walras.grid.split import branch_curvature, curvature_of, solve_split
from walras.grid.sweep import branch_losses

ROUNDS = 40
LEAST_DAMPING = 1 / 2
QP_STILL_KW = 1e-5
"""A quadratic step is an interior-point step: its last digits are noise, and 1e-5 kW is far below one Wh in any slot."""

ROOM_KW = 1e-3
"""A limit with more room than this (kW at the order that moves it most), and without a price, is left out of a quadratic step."""

PRICE_STILL = 0.5
MISSING_WH = 0.25
"""The point also stands still when no nodal price moves by half a micro and less than a quarter Wh is missing in the balance:
then every order is right by its price, and what moves is below the whole numbers."""

WINDOW_FROM = 1000
WINDOW_PART = 0.02
"""With more columns than this, a step looks at those within this part of the price."""

NO_BASIS = np.zeros(0, dtype=np.int64)


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
    basis        [1 + limits] of the last linear program (`simplex.py`), where a search nearby may start (empty: none was solved)
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
    basis: Int

    def node_price(self, energy: float | None = None) -> Float:
        """[buses] price in micro per kWh at the given energy price (default: the interval's own)."""
        return np.asarray((self.energy if energy is None else energy) * self.weight + self.multiplier @ self.gradient)


def penalty_of(groups: Groups) -> float:
    """Micro per kWh, beyond any price that a limit can have: ten thousand times the spread of the book (at least 0.1 /kWh)."""
    spread = float(np.ptp(groups.price)) if groups.price.size else 0.0
    return 1e4 * max(spread, 1e5)


def dispatch(
    slot: FeederSlot,
    groups: Groups,
    margins: LimitRows | None = None,
    taken_kw: Float | None = None,
    near: Dispatch | None = None,
) -> Dispatch:
    """The welfare-maximal fills within the limits. `margins` (from an earlier clearing) are limits with a distance to keep;
    `taken_kw` [buses] is taken beside the orders (stores, blocks) and must be supplied by them, losses included. `near` is an
    optimum of the same groups whose limits are the first of `margins`: the search starts there.

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
        if status == CONVERGED and not (required and (work.totals.excess(work.x) > SUM_TOLERANCE).any()):
            return _result(work, limits, work.rows(limits), np.zeros(1), (low, high), rounds, 0.0, NO_BASIS)
        limits.enter(*work.broken(limits))
    if near is not None:
        work.step(near.fill_kw.copy())
    return _with_rows(work, limits, NO_BASIS if near is None else near.basis)


def _with_rows(work: Work, limits: LimitRows, basis: Int) -> Dispatch:
    """Linear, then quadratic programs until the point stands still and breaks no limit that is not in play.

    Linear programs that jump between vertices are first halved a few times, which brings the point near the optimum between
    them; the quadratic programs finish it.
    """
    g = work.groups
    penalty = penalty_of(g)
    multipliers, still, damping, bend, calm = np.zeros(1), np.inf, 1.0, 1.0, 0
    rows = work.rows(limits)
    price = np.zeros(work.p.size)
    for rounds in range(1, ROUNDS + 1):
        linear, before, last = damping >= LEAST_DAMPING, work.x, still
        if linear:
            new, multipliers, basis = _linear(work, rows, penalty, basis)
            new = before + damping * (new - before)
        else:
            new, multipliers, expected = _quadratic(work, rows, multipliers, price, bend, penalty)
        part, still = work.step(new)
        fresh = limits.enter(*work.broken(limits))
        held = rows.price(multipliers)
        rows = work.rows(limits, rows.scale)
        price = rows.price(multipliers)
        if part == 1.0 and not fresh:
            if still <= (STILL_KW * damping if linear else QP_STILL_KW):
                break
            if damping == 1.0 or not linear:
                missing = abs(work.base_kw - slack_power(work.vr, work.vi, work.state)) / work.slot.kw_per_wh
                if np.abs(price - held).max() <= PRICE_STILL and missing <= MISSING_WH:
                    break
        calm = 0 if fresh or part < 1.0 else calm + 1
        if linear and calm and (damping < 1 or (calm > 1 and rounds > 3 and still > last / 2)):
            damping /= 2
        if not linear and expected > 0:
            seen = float((price - held)[g.place] @ (g.side * (work.x - before)))
            bend *= min(max(seen / expected, 0.5), 4.0)
        multipliers = np.append(multipliers, np.zeros(1 + len(limits.kind) - multipliers.size))
    multipliers = np.append(multipliers, np.zeros(1 + len(limits.kind) - multipliers.size))
    return _result(work, limits, rows, multipliers, _support(work, rows, multipliers), rounds, still, basis)


def _quadratic(work: Work, rows: PlaceRows, guess: Float, price: Float, bend: float, penalty: float) -> tuple[Float, Float, float]:
    """A quadratic step from the point: new fills, multipliers, and the model's curvature along the step.

    Columns far from their guessed nodal price stay at the bound it gives them, and limits that have room and no price are left
    out; what turns out wrong comes in.
    """
    g, w = work.groups, work.w
    cost = -g.side * g.price
    reduced = rows.reduced(cost, g, guess)
    curvature = branch_curvature(w.data, work.vr, work.vi, price * bend)
    some = work.upper > 0
    window = some
    if cost.size > WINDOW_FROM:
        window = some & (np.abs(reduced) <= WINDOW_PART * np.abs(price).max() + 1.0)
    kept = (np.abs(guess) > PRICE_STILL) | (rows.times(g, work.x) > rows.right - ROOM_KW)
    kept[0] = True
    multipliers = np.zeros(guess.size)
    while True:
        new = np.where(reduced > 0, 0.0, work.upper)
        new[window] = 0.0
        columns = np.flatnonzero(window)
        _, inside, priced = solve_split(
            w.parent, curvature, g.place[columns], g.side[columns], cost[columns], rows.of(g, columns)[kept],
            (rows.right - rows.times(g, new))[kept], work.upper[columns], work.x[columns], penalty,
        )  # fmt: skip
        new[columns] = inside
        if not np.isfinite(new).all():
            raise ClearingError("the quadratic program of the clearing did not finish", thing=work.slot, way_out="report the book")
        multipliers[kept] = priced
        after = rows.reduced(cost, g, multipliers)
        wrong = some & ~window & (np.where(new > 0, after, -after) > PRICE_STILL)
        broken = ~kept & (rows.times(g, new) > rows.right + QP_STILL_KW)
        if not wrong.any() and not broken.any():
            return new, multipliers, curvature_of(w.parent, curvature, g.place, g.side, new - work.x)
        if wrong.any():
            window = window | (some & (np.abs(reduced) <= 4 * np.abs(reduced[window]).max(initial=1.0))) | wrong
        kept = kept | broken


def _linear(work: Work, rows: PlaceRows, penalty: float, basis: Int) -> tuple[Float, Float, Int]:
    """A linear step: new fills, multipliers and basis. It starts from the basis of the step before, limits that came in since
    slack in it; the first one, or where that serves no more, from the merit order's marginal order (where weights are positive).
    """
    g, size = work.groups, rows.right.size
    cost, matrix = -g.side * g.price, Matrix(g.side, g.place, rows.by_place, rows.own_row, rows.own)
    found = None
    for warm in (True, False):
        if warm and not basis.size:
            continue
        start = cold_start(size, -1)
        if warm:
            start[: basis.size] = basis
        else:
            weight = work.weight[g.place]
            if weight.size and weight.min() > 0.05:
                start[0], _, _ = merit_order(g.price, g.side, work.upper, weight, rows.right[0], np.empty(weight.size))
        found = solve_rows(cost, matrix, rows.right, work.upper, penalty, start, 2000)
        if found[0] == OPTIMAL:
            return found[1], found[2], found[3]
    raise ClearingError("the linear program of the clearing did not finish", thing=found, way_out="report the book")


def _support(work: Work, rows: PlaceRows, multipliers: Float) -> tuple[float, float]:
    """The interval of the energy price that, with the multipliers of the limits held, supports the fills."""
    g = work.groups
    energy, held = -float(multipliers[0]), np.minimum(multipliers, 0.0)
    held[0] = 0.0
    rank = (g.price - g.side * rows.reduced(np.zeros(g.price.size), g, held)) / work.weight[g.place]
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
    work: Work, limits: LimitRows, rows: PlaceRows, multipliers: Float, energy_band: tuple[float, float], rounds: int, still: float,
    basis: Int,
) -> Dispatch:  # fmt: skip
    w = work.w
    kind, place = limits.columns()
    low, high = energy_band
    finite = [value for value in energy_band if np.isfinite(value)]
    energy = sum(finite) / len(finite) if finite else 0.0
    short = np.maximum(-rows.slackness, 0.0)
    short[short <= np.where(kind >= IMPORT_LIMIT, 2 * QP_STILL_KW, 10 * LIMIT_TOLERANCE)] = 0.0
    mu = np.maximum(-multipliers[1:], 0.0) / rows.scale
    gradient = rows.by_place[1:, w.place] * rows.scale[:, None]
    losses = branch_losses(w.parent, w.data, work.vr, work.vi, work.state) - work.base_losses
    return Dispatch(
        work.x.copy(), energy, low, high, work.weight[w.place], kind, place, mu, gradient, work.own(kind), short,
        np.array(limits.margin), work.base_kw, work.base_losses * BASE_KVA, losses * BASE_KVA, rounds, still, basis,
    )  # fmt: skip
