"""Which blocks to accept: the largest welfare at which uniform prices make no accepted block lose.

The welfare of given blocks is exact and separable by slot (`block_slots.py`); which blocks to take is a mixed-integer
program, and prices are checked afterwards. As in EUPHEMIA, the algorithm of the European day-ahead coupling (public
description by the NEMO Committee), the two alternate:

1. the MILP proposes the blocks of the largest welfare, prices left aside: an upper bound;
2. if prices suit them, that is the answer. Otherwise each conflict found becomes a cut that forbids what cannot be (for a
   losing block: it, and the accepted rivals that share its slots, cannot all stay unless a counterpart comes), and back to 1.

After each round a descent from the proposal (drop losers, then add what gains) keeps the best feasible answer, the incumbent.
The loop ends with a proof, or after a set effort with the incumbent and the gap to the bound. Of a block with a minimum ratio
below 1 only the welfare-maximal ratio of a proposal is tried, so a cut through such a block may go too far: from then on the
bound stays where it was, and the gap says what is not proved.

The heuristic is the descent alone, from the rounded linear relaxation, which also gives the bound of its gap; the exact search
starts from its answer.

The MILP has no columns for the divisible orders (Benders' decomposition): what a slot's orders gain from an injection B is a
concave, piecewise-linear function of B whose slopes are the slot's prices. It enters as one column a slot under tangents,
some at the start, more wherever a proposal lands. So the model grows with the blocks, not with the orders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from walras.market.block_book import Options
from walras.market.block_slots import ANY, Priced, Refused, Slots
from walras.market.milp import LinearModel
from walras.market.orders import BUY, SELL
from walras.units import Float64, Int64

Method = Literal["milp", "heuristic"]


@dataclass(frozen=True, slots=True)
class Found:
    """The answer, an upper bound on the welfare of any answer, and how many rounds it took; `proved`: nothing is better."""

    priced: Priced
    bound: int
    rounds: int
    proved: bool


FIRST_TANGENTS = 12
"""Injections a slot, between its extremes, at which the model knows the orders' gain before the first proposal."""


@dataclass
class _Model:
    """The mixed-integer program and where things are in it. Columns: the gain of each slot's orders over no injection
    (0..slots-1), each option's ratio, and the 0/1 choices (the ratio itself where it is all or nothing)."""

    slots: Slots
    linear: LinearModel
    ratio: Int64
    chosen: Int64
    base: tuple[int, ...]
    worked: int = 0

    def propose(self, *, relaxed: bool = False, known: Priced | None = None) -> tuple[Float64, float] | None:
        """(values of the columns, upper bound of the welfare in nano); None where the cuts leave nothing. The search starts
        from the `known` answer, which prunes what is worse."""
        solution = self.linear.solve(relaxed=relaxed, start=None if known is None else self._columns(known))
        self.worked += 0 if solution is None else solution.iterations
        return None if solution is None else (solution.x, sum(self.base) - solution.bound * SCALE)

    def _columns(self, known: Priced) -> Float64:
        """The columns at an answer."""
        injection = self.slots.injection(known.k).tolist()
        x = np.zeros(self.linear.columns)
        x[: len(injection)] = [(self.slots.at(t, wh).welfare - self.base[t]) / SCALE for t, wh in enumerate(injection)]
        x[self.chosen] = known.k > 0
        x[self.ratio] = known.k / self.slots.options.steps
        return x

    def cut(self, inside: tuple[int, ...], outside: tuple[int, ...]) -> None:
        """At least one of `inside` goes or one of `outside` comes."""
        places = [int(self.chosen[i]) for i in (*inside, *outside)]
        self.linear.add_row(places, [-1.0] * len(inside) + [1.0] * len(outside), 1.0 - len(inside), math.inf)

    def learn(self, injection: Int64) -> None:
        """Tangents at these injections, in slots that can place them."""
        for t, wh in enumerate(injection.tolist()):
            self.tangent(t, wh)

    def tangent(self, t: int, wh: int) -> None:
        """The gain is at most what it is here plus a supporting price for each Wh more."""
        here = self.slots.at(t, wh)
        if not here.placed:
            return
        blocks = np.flatnonzero(self.slots.options.energy[:, t] > 0)
        share = -self.slots.options.side[blocks] * self.slots.options.energy[blocks, t] / 1_000.0
        gain = (here.welfare - self.base[t]) / SCALE
        for price in {max(here.low, -ANY), min(here.high, ANY)}:
            slope = price * 1_000.0 / SCALE
            places = [t, *(int(self.ratio[i]) for i in blocks)]
            self.linear.add_row(places, [1.0, *(-slope * share).tolist()], -math.inf, gain - slope * wh / 1_000.0)


SCALE = 1_000_000_000.0
"""Nano-units to one unit of the objective: whole currency units."""


EFFORT = 20_000
"""Simplex iterations after which the exact search stops: some 5 seconds at a hundred blocks over 96 slots."""


def search(slots: Slots, method: Method = "milp", effort: int = EFFORT) -> Found:
    """The best blocks with prices that suit them, at most `effort` simplex iterations (and one proposal more)."""
    options = slots.options
    none = np.zeros(options.count, np.int64)
    empty = slots.price(none)
    assert isinstance(empty, Priced)  # without blocks every slot clears by itself
    if options.count == 0:
        return Found(empty, empty.welfare, 0, True)
    model = _build(slots)
    if method == "heuristic":
        return _heuristic(model)
    best, bound, done = _heuristic(model).priced, math.inf, 0
    binding, idle = True, 0
    while model.worked < effort:
        done += 1
        proposal = model.propose(known=best if binding else None)
        if proposal is None:
            bound = best.welfare if binding else bound
            break
        x, upper = proposal
        if binding:  # once a cut went beyond what is proved, what the model says bounds nothing
            bound = min(bound, max(upper, best.welfare))
        if best.welfare >= min(bound, upper) - _slack(upper) or idle == PATIENCE:
            break
        k = _steps(model, x)
        model.learn(slots.injection(k))
        priced = slots.price(k)
        if isinstance(priced, Refused):
            binding &= priced.binding
            for inside, outside in priced.conflicts:
                model.cut(inside, outside)
        better = max(best, _descend(slots, k), key=lambda p: p.welfare)
        idle = 0 if binding or better.welfare > best.welfare else idle + 1
        best = better
    ceiling = max(math.ceil(bound), best.welfare)
    return Found(best, ceiling, done, best.welfare >= bound - _slack(bound))


PATIENCE = 5
"""Rounds without a better answer after which a search that can no longer prove anything stops."""


def _slack(bound: float) -> float:
    """What float64 and the solver's relative gap can hide: two parts in a million."""
    return 2e-6 * abs(bound) + 1.0


def _heuristic(model: _Model) -> Found:
    upper = math.inf
    for _ in range(RELAXED_ROUNDS):
        proposal = model.propose(relaxed=True)
        assert proposal is not None  # accepting nothing is a solution
        x, upper = proposal
        model.learn(_injection(model, x))
    x[model.chosen] = np.where(x[model.chosen] >= 0.5, 1.0, 0.0)
    starts = (_steps(model, x), np.zeros(model.slots.options.count, np.int64))
    best = max((_descend(model.slots, k) for k in starts), key=lambda p: p.welfare)
    bound = max(math.ceil(upper), best.welfare)
    return Found(best, bound, 0, best.welfare >= bound - _slack(bound))


RELAXED_ROUNDS = 4
"""How often the heuristic's linear relaxation is refined by tangents before it is rounded."""


def _injection(model: _Model, x: Float64) -> Int64:
    """[slots] Wh that fractional ratios bring, to the nearest."""
    options = model.slots.options
    return np.rint(-(options.side * x[model.ratio]) @ options.energy).astype(np.int64)


def _build(slots: Slots) -> _Model:
    """Columns in whole currency units and ratios; rows in kWh."""
    options = slots.options
    most = np.where(options.side[:, None] == SELL, options.energy, 0).sum(axis=0)
    least = -np.where(options.side[:, None] == BUY, options.energy, 0).sum(axis=0)
    n, m = slots.slots, options.count
    partial = np.flatnonzero(options.least < options.steps)
    ratio = n + np.arange(m)
    chosen = ratio.copy()
    chosen[partial] = n + m + np.arange(partial.size)
    linear = LinearModel(n + m + partial.size)
    linear.cost[:n], linear.lower[:n] = -1.0, -math.inf
    linear.cost[ratio] = -(options.side * options.price * options.energy.sum(axis=1)) / SCALE
    linear.upper[n:] = 1.0
    linear.whole[chosen] = 1
    model = _Model(slots, linear, ratio, chosen, tuple(slots.at(t, 0).welfare for t in range(n)))
    for t in range(n):
        blocks = np.flatnonzero(options.energy[:, t] > 0)
        absorbs, yields = int(slots.bids[t][1].sum()), int(slots.asks[t][1].sum())
        low, high = max(int(least[t]), -yields), min(int(most[t]), absorbs)
        share = -options.side[blocks] * options.energy[blocks, t] / 1_000.0
        linear.add_row(ratio[blocks], share, low / 1_000.0, high / 1_000.0)
        for wh in sorted({low + (high - low) * s // FIRST_TANGENTS for s in range(FIRST_TANGENTS + 1)} | {0}):
            model.tangent(t, wh)
    for i in partial.tolist():
        floor = float(options.least[i]) / float(options.steps[i])
        linear.add_row([ratio[i], chosen[i]], [1.0, -1.0], -math.inf, 0.0)
        linear.add_row([ratio[i], chosen[i]], [1.0, -floor], 0.0, math.inf)
    for i, above in enumerate(options.parents):
        if above:
            places = [int(ratio[i]), *(int(ratio[p]) for p in above)]
            linear.add_row(places, [1.0] + [-1.0] * len(above), -math.inf, 0.0)
    for group in options.groups:
        linear.add_row([int(chosen[i]) for i in group], [1.0] * len(group), -math.inf, 1.0)
    return model


def _steps(model: _Model, x: Float64) -> Int64:
    """Whole steps from ratios: rounded down, never below an accepted block's minimum, a child never above its parent."""
    options = model.slots.options
    taken = x[model.chosen] > 0.5
    k = np.floor(x[model.ratio] * options.steps + 1e-6).astype(np.int64)
    k = np.where(taken, np.clip(k, options.least, options.steps), 0)
    return _respect_links(options, k)


def _respect_links(options: Options, k: Int64) -> Int64:
    """Lower children to their parents' ratios until nothing changes; below their minimum they go. One option a group."""
    k = k.copy()
    for group in options.groups:
        taken = [i for i in group if k[i] > 0]
        for i in taken[1:]:
            k[i] = 0
    changed = True
    while changed:
        changed = False
        for i, above in enumerate(options.parents):
            if not above or k[i] == 0:
                continue
            parent = max(above, key=lambda p: k[p])  # at most one option of the parent is in
            most = int(k[parent]) * int(options.steps[i]) // int(options.steps[parent])
            if k[i] > most:
                k[i] = most if most >= options.least[i] else 0
                changed = True
    return k


def _descend(slots: Slots, k: Int64) -> Priced:
    """From proposed blocks to feasible ones: while something conflicts drop the worst of it, then add what gains."""
    options = slots.options
    k = k.copy()
    priced = slots.price(k)
    while isinstance(priced, Refused):
        loss = _worth(slots, k)
        for inside, _ in priced.conflicts:
            present = [i for i in inside if k[i] > 0]
            if present:
                k[min(present, key=lambda i: (loss[i], i))] = 0
        k = _respect_links(options, k)
        priced = slots.price(k)
    tried: set[int] = set()
    while True:
        gain = slots.surplus_nano(options.steps, priced.price)
        hopeful = [i for i in np.argsort(-gain, kind="stable").tolist() if gain[i] > 0 and priced.k[i] == 0 and i not in tried]
        improved = False
        for i in hopeful[:200]:
            tried.add(i)
            k = priced.k.copy()
            k[i] = options.steps[i]
            if not _allowed(options, k, i):
                continue
            more = slots.price(k)
            if isinstance(more, Priced) and more.welfare > priced.welfare:
                priced, improved = more, True
                break
        if not improved:
            return priced


def _worth(slots: Slots, k: Int64) -> Float64:
    """A guess of what each accepted option gains per Wh at the proposal's prices, to choose whom to drop."""
    cleared = [slots.at(t, int(wh)) for t, wh in enumerate(slots.injection(k))]
    price = np.array([(max(c.low, -ANY) + min(c.high, ANY)) / 2 for c in cleared])
    energy = slots.options.energy_at(k).astype(np.float64)
    gain = slots.options.side * (slots.options.price * energy.sum(axis=1) - energy @ price)
    return np.where(energy.sum(axis=1) > 0, gain / np.maximum(energy.sum(axis=1), 1.0), 0.0)


def _allowed(options: Options, k: Int64, i: int) -> bool:
    """Whether option i, just added in full, keeps its link and its groups."""
    above = options.parents[i]
    if above and not any(k[p] * options.steps[i] >= k[i] * options.steps[p] for p in above if k[p] > 0):
        return False
    return all(sum(1 for g in group if k[g] > 0) <= 1 for group in options.groups if i in group)
