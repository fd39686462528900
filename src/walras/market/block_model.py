"""The mixed-integer program of a block book: which blocks, at which ratio, for the largest welfare, prices as far as lines go.

Columns: what each slot's orders gain over no injection; each slot's injection; its price; each option's ratio; and a 0/1 choice
where the ratio is not that already. Rows: the injection's balance, links (a child's ratio at most its parent's), groups (at most
one), minimum ratios; and two kinds that stand for the orders, so that the model grows with the blocks and not with the orders:

gain     its tangents (Benders' decomposition): a slot's gain is concave and piecewise linear in its injection, its slopes are the
         slot's prices (`block_slots.py`). Tangents are added where proposals land.
price    the lines around the supply curve (`block_envelope.py`), and for each option that it does not lose at the prices if it is
         chosen (with the smallest constant that frees it if it is not).

Both leave room, neither forbids what can be: the optimum is a bound. What remains is for `block_prices.py` to find.

Scaled by powers of two, which lose nothing: energy by a middling block, money such that the largest block is worth about 1,000.
The solver's tolerances then mean the same for a book of 10 Wh and one of 10 GWh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from walras.market.block_book import Options
from walras.market.block_envelope import Envelope, envelope
from walras.market.block_prices import Conflict, Priced
from walras.market.block_slots import ANY, Slots
from walras.market.milp import LinearModel
from walras.market.orders import BUY
from walras.units import INT64_MAX, Float64, Int64

TOLERANCE = 1e-3
"""Units of money that float64 and the solver may be wrong by; in a small book a unit is one nano, and bounds are exact."""

FIRST_TANGENTS = 8
"""Injections a slot, between its extremes, at which the model knows the orders' gain before the first proposal."""

ROOM = 1e-6
"""Left on the price rows for float64: far below a micro-unit a kWh, so that no exact answer is cut off."""

RELAXED_ROUNDS = 40
"""How often, at most, tangents are added to the linear relaxation."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """`x` [columns], None where the node limit came first; an upper bound of the welfare in nano; simplex iterations."""

    x: Float64 | None
    bound: int
    iterations: int


@dataclass
class BlockModel:
    """The program and where things are in it; `welfare` of the slots' orders without any block, `money` nano and `energy` Wh to a
    unit."""

    slots: Slots
    linear: LinearModel
    ratio: Int64
    chosen: Int64
    welfare: tuple[int, ...]
    money: float
    energy: float
    known: set[tuple[int, int]] = field(default_factory=set)
    cuts: set[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=set)
    checks: int = 0

    def propose(self, nodes: int, known: Priced | None = None) -> Proposal | None:
        """The best blocks as far as the model knows, after at most `nodes` nodes; None where the cuts leave nothing. The search
        starts from the `known` answer, which prunes what is worse."""
        solution = self.linear.solve(nodes=nodes, start=None if known is None else self._columns(known))
        return None if solution is None else Proposal(solution.x, self._bound(solution.bound), solution.iterations)

    def relax(self) -> Proposal:
        """The linear relaxation, refined by tangents until it stops moving (Kelley's cutting planes). Accepting nothing is a
        solution: a solver that finds none is lost in the numbers, and bounds nothing."""
        last = Proposal(None, INT64_MAX, 0)
        for _ in range(RELAXED_ROUNDS):
            solution = self.linear.solve(relaxed=True)
            if solution is None or solution.x is None:
                return Proposal(None, INT64_MAX, 0)
            last = Proposal(solution.x, self._bound(solution.bound), solution.iterations)
            if not self.learn(self.injection(solution.x)):
                break
        return last

    def _bound(self, least_cost: float) -> int:
        return math.floor(sum(self.welfare) + self.slack(-least_cost) - least_cost * self.money)

    def slack(self, gain: float) -> float:
        """Nano that a bound on a gain (in units of money) may be wrong by."""
        return (TOLERANCE + 2e-7 * abs(gain)) * self.money

    def is_optimal(self, welfare: int, bound: int) -> bool:
        """Whether nothing better than `welfare` is left, to the tolerance of the solver."""
        return bound - welfare <= 2 * self.slack((bound - sum(self.welfare)) / self.money)

    def _columns(self, known: Priced) -> Float64:
        """The columns at an answer."""
        injection, n = self.slots.injection(known.k).tolist(), self.slots.slots
        x = np.zeros(self.linear.columns)
        x[:n] = [(self.slots.at(t, wh).welfare - self.welfare[t]) / self.money for t, wh in enumerate(injection)]
        x[n : 2 * n] = np.array(injection) / self.energy
        x[2 * n : 3 * n] = known.price * (self.energy / self.money)
        x[self.chosen] = known.k > 0
        x[self.ratio] = known.k / self.slots.options.steps
        return x

    def injection(self, x: Float64) -> Int64:
        """[slots] Wh that the ratios bring, to the nearest."""
        n = self.slots.slots
        return np.rint(x[n : 2 * n] * self.energy).astype(np.int64)

    def steps(self, x: Float64) -> Int64:
        """Whole steps from ratios: rounded down, never below an accepted block's minimum, a child never above its parent."""
        options = self.slots.options
        k = np.floor(x[self.ratio] * options.steps + 1e-6).astype(np.int64)
        return respect_links(options, np.where(x[self.chosen] > 0.5, np.clip(k, options.least, options.steps), 0))

    def cut(self, conflict: Conflict) -> bool:
        """At least one of the inside goes or one of the outside comes. Whether that is new."""
        key = (conflict.inside, conflict.outside)
        if key in self.cuts:
            return False
        self.cuts.add(key)
        places = [int(self.chosen[i]) for i in (*conflict.inside, *conflict.outside)]
        values = [-1.0] * len(conflict.inside) + [1.0] * len(conflict.outside)
        self.linear.add_row(places, values, 1.0 - len(conflict.inside), math.inf)
        return True

    def learn(self, injection: Int64) -> bool:
        """Tangents at these injections, in slots that can place them: the gain is at most what it is there plus a supporting price
        for each Wh more. Whether any is new."""
        before = len(self.known)
        n = self.slots.slots
        for t, wh in enumerate(injection.tolist()):
            here = self.slots.at(t, wh)
            if (t, wh) in self.known or not here.placed:
                continue
            self.known.add((t, wh))
            gain = (here.welfare - self.welfare[t]) / self.money
            for price in {p for p in (here.low, here.high) if abs(p) < ANY}:
                slope = price * (self.energy / self.money)
                self.linear.add_row([t, n + t], [1.0, -slope], -math.inf, gain - slope * (wh / self.energy))
        return len(self.known) > before


def build_model(slots: Slots) -> BlockModel:
    """The program with its first tangents."""
    options, n, m = slots.options, slots.slots, slots.options.count
    partial = np.flatnonzero(options.least < options.steps)
    ratio = 3 * n + np.arange(m)
    chosen = ratio.copy()
    chosen[partial] = 3 * n + m + np.arange(partial.size)
    value = options.side * options.price.astype(np.float64) * options.energy.sum(axis=1)
    largest = slots.price_scale * float(options.energy.sum(axis=1).max())
    money = max(2.0 ** (math.ceil(math.log2(largest)) - 10), 1.0)
    energy = 2.0 ** round(math.log2(float(np.median(options.energy[options.energy > 0]))))
    linear = LinearModel(3 * n + m + partial.size)
    linear.cost[:n], linear.lower[: 3 * n] = -1.0, -math.inf
    linear.cost[ratio] = -value / money
    linear.upper[3 * n :] = 1.0
    linear.whole[chosen] = 1
    model = BlockModel(slots, linear, ratio, chosen, tuple(slots.at(t, 0).welfare for t in range(n)), money, energy)
    _add_slots(model)
    for i in partial.tolist():
        floor = float(options.least[i]) / float(options.steps[i])
        linear.add_row([ratio[i], chosen[i]], [1.0, -1.0], -math.inf, 0.0)
        linear.add_row([ratio[i], chosen[i]], [1.0, -floor], 0.0, math.inf)
    for i, above in enumerate(options.parents):
        if above:
            for column in {int(ratio[i]): ratio, int(chosen[i]): chosen}.values():
                linear.add_row([int(column[i]), *(int(column[p]) for p in above)], [1.0] + [-1.0] * len(above), -math.inf, 0.0)
    for group in options.groups:
        linear.add_row([int(chosen[i]) for i in group], [1.0] * len(group), -math.inf, 1.0)
    return model


def _add_slots(model: BlockModel) -> None:
    """Balance, reach, price lines and first tangents of each slot's injection. A slot that can take none has no gain to make."""
    slots, options, linear, n = model.slots, model.slots.options, model.linear, model.slots.slots
    low, high = np.zeros(n, np.int64), np.zeros(n, np.int64)
    prices = []
    for t in range(n):
        blocks = np.flatnonzero(options.energy[:, t] > 0)
        share = options.side[blocks] * options.energy[blocks, t] / model.energy
        linear.add_row([n + t, *model.ratio[blocks]], [1.0, *share], 0.0, 0.0)
        low[t], high[t] = slots.reach(t)
        linear.lower[n + t], linear.upper[n + t] = low[t] / model.energy, high[t] / model.energy
        if low[t] == high[t]:
            linear.upper[t] = 0.0
        prices.append(envelope(slots, t, int(low[t]), int(high[t])))
        _add_lines(model, t, prices[t])
    for i in range(options.count):
        _add_no_loss(model, i, prices)
    model.learn(np.zeros(n, np.int64))
    for part in range(FIRST_TANGENTS + 1):
        model.learn(low + (high - low) * part // FIRST_TANGENTS)


def _add_lines(model: BlockModel, t: int, around: Envelope) -> None:
    """The price column of slot t within the lines."""
    n, unit = model.slots.slots, model.energy / model.money
    model.linear.lower[2 * n + t], model.linear.upper[2 * n + t] = around.lowest * unit, around.highest * unit
    for lines, sign in ((around.below, 1.0), (around.above, -1.0)):
        for wh, price, slope in lines:
            size = max(1.0, abs(slope) * unit * model.energy)
            at_zero = (price - slope * wh) * unit
            values = [sign / size, -sign * slope * unit * model.energy / size]
            model.linear.add_row([2 * n + t, n + t], values, -math.inf, (sign * at_zero) / size + ROOM)


def _add_no_loss(model: BlockModel, i: int, prices: list[Envelope]) -> None:
    """Option i gains at the price columns if it is chosen; no row where a price may be anything."""
    options, n, unit = model.slots.options, model.slots.slots, model.energy / model.money
    where = np.flatnonzero(options.energy[i])
    side, share = int(options.side[i]), options.energy[i, where] / float(options.energy[i].sum())
    worst = np.array([prices[t].highest if side == BUY else prices[t].lowest for t in where.tolist()])
    loss = side * (float(options.price[i]) - float(share @ worst)) * unit if np.isfinite(worst).all() else -math.inf
    if -math.inf < loss < 0.0:
        columns = [*(2 * n + where), model.chosen[i]]
        model.linear.add_row(columns, [*(-side * share), loss], loss - side * float(options.price[i]) * unit - ROOM, math.inf)


def respect_links(options: Options, k: Int64) -> Int64:
    """Lower children to their parents' ratios until nothing changes; below their minimum they go. One option a group."""
    k = k.copy()
    for group in options.groups:
        for i in [i for i in group if k[i] > 0][1:]:
            k[i] = 0
    changed = True
    while changed:
        changed = False
        for i, above in enumerate(options.parents):
            if not above or k[i] == 0:
                continue
            parent = max(above, key=lambda p: int(k[p]))  # at most one option of the parent is in
            most = int(k[parent]) * int(options.steps[i]) // int(options.steps[parent])
            if k[i] > most:
                k[i] = most if most >= options.least[i] else 0
                changed = True
    return k
