"""Which blocks to accept: the largest welfare at which uniform prices make no accepted block lose.

Two parts take turns, as in EUPHEMIA, the algorithm of the European day-ahead coupling (public description by the NEMO Committee):

1. a mixed-integer program proposes the blocks of the largest welfare, prices left aside (`block_model.py`): an upper bound;
2. if prices suit them (`block_prices.py`), that is the answer. Otherwise each proved conflict becomes a cut, and back to 1.

After each round a descent from the proposal (drop losers, then add what gains) keeps the best feasible answer. The search ends
with a proof, or with the best answer and its gap to the bound once the effort is spent. Effort is counted in simplex iterations,
not in seconds, so that the result is the same on every run. Where a conflict is not proved (whole micro-units, or
another ratio of a block with a minimum below 1 might help), the cut may go too far: from then on the bound stays where it was,
and the gap says what is open.

The heuristic is the descent alone, from roundings of the linear relaxation, which is also the bound of its gap; the exact search
starts from its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from walras.market.block_book import Options
from walras.market.block_model import BlockModel, Proposal, build_model, respect_links
from walras.market.block_prices import Priced, Refused, price_blocks
from walras.market.block_slots import ANY, Slots
from walras.units import Float64, Int64

Method = Literal["milp", "heuristic"]

EFFORT = 40_000
"""Simplex iterations, all proposals together (a proposal under way may go beyond): some seconds at 100 blocks over 96 slots. In a
program of more than COLUMNS columns an iteration counts for more, as it takes longer."""

COLUMNS = 400

LEAST_EFFORT, NODE_EFFORT = 200, 200
"""Iterations that a proposal is charged at least, so that the search of a tiny book ends too, and that a node of its tree is
expected to take, for the limit of nodes."""

CHECKS = 1_500
"""Sets of blocks that the heuristic's local search may price."""

PATIENCE = 5
"""Rounds without a better answer after which a search that can no longer prove anything stops."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer, an upper bound on the welfare of any answer, and how many proposals it took; `proved`: nothing is better, to
    the tolerance of the solver (`BlockModel.is_optimal`)."""

    priced: Priced
    bound: int
    rounds: int
    proved: bool


def search(slots: Slots, method: Method = "milp", effort: int = EFFORT) -> Found:
    """The best blocks with prices that suit them, within about `effort` simplex iterations."""
    none = np.zeros(slots.options.count, np.int64)
    empty = price_blocks(slots, none)
    assert isinstance(empty, Priced)  # without blocks every slot clears by itself
    if slots.options.count == 0:
        return Found(empty, empty.welfare, 0, True)
    model = build_model(slots)
    relaxed = model.relax()
    best = _swap(model, _round(model, relaxed, empty), CHECKS)
    bound = max(min(relaxed.bound, _free_bound(slots, empty)), best.welfare)
    if method == "heuristic" or model.is_optimal(best.welfare, bound):
        return Found(best, bound, 0, model.is_optimal(best.welfare, bound))
    return _improve(model, best, bound, effort)


def _improve(model: BlockModel, best: Priced, bound: int, effort: int) -> Found:
    rounds, idle, proving = 0, 0, True
    weight = max(model.linear.columns / COLUMNS, 1.0)
    while effort > 0 and idle < PATIENCE:
        proposal = model.propose(max(int(effort / weight) // NODE_EFFORT, 1), best if proving else None)
        if proposal is None:  # the cuts leave nothing; while they are proved they leave the best answer: the solver is lost
            break
        rounds += 1
        effort -= max(round(proposal.iterations * weight), LEAST_EFFORT)
        if proving:
            bound = max(min(bound, proposal.bound), best.welfare)
        if proposal.x is None or model.is_optimal(best.welfare, min(bound, proposal.bound)):
            break
        k = model.steps(proposal.x)
        new = model.learn(model.slots.injection(k)) | model.learn(model.injection(proposal.x))
        verdict = price_blocks(model.slots, k)
        before = len(model.cuts)
        if isinstance(verdict, Refused) and not any(conflict.proved for conflict in verdict.conflicts):
            proving = False
            for conflict in verdict.conflicts:
                model.cut(conflict)
        better = max(best, _descend(model, k), key=lambda p: p.welfare)
        new |= len(model.cuts) > before
        idle = 0 if proving or better.welfare > best.welfare else idle + 1
        best = better
        bound = max(bound, best.welfare)
        if not new:  # the same again: what is left of the gap is the rounding of ratios to whole Wh
            break
    return Found(best, bound, rounds, model.is_optimal(best.welfare, bound))


def _free_bound(slots: Slots, empty: Priced) -> int:
    """An exact bound without a solver (weak duality): at the prices without blocks, everyone takes what is best for them."""
    gain = slots.surplus_nano(slots.options.steps, empty.price)
    return empty.welfare + sum(max(int(nano), 0) for nano in gain)


def _round(model: BlockModel, relaxed: Proposal, empty: Priced) -> Priced:
    """The best descent from the relaxation rounded at several thresholds, and from nothing."""
    starts = [empty.k]
    for threshold in (0.01, 0.5, 0.99):
        if relaxed.x is None:
            break
        x = relaxed.x.copy()
        x[model.chosen] = x[model.chosen] >= threshold
        x[model.ratio] = np.where(x[model.chosen] > 0, np.maximum(x[model.ratio], x[model.chosen] * (threshold < 0.99)), 0.0)
        starts.append(model.steps(x))
    unique = {k.tobytes(): k for k in starts}
    return max((_descend(model, k) for k in unique.values()), key=lambda p: p.welfare)


def _try(model: BlockModel, k: Int64) -> Priced | Refused:
    """Prices for the blocks; every proved conflict becomes a cut."""
    verdict = price_blocks(model.slots, k)
    model.checks += 1
    if isinstance(verdict, Refused):
        for conflict in verdict.conflicts:
            if conflict.proved:
                model.cut(conflict)
    return verdict


def _descend(model: BlockModel, k: Int64, changed: frozenset[int] = frozenset()) -> Priced:
    """From proposed blocks to feasible ones: while something conflicts drop the worst of it (of what was `changed` last), then
    add what gains (but nothing that was)."""
    slots, options = model.slots, model.slots.options
    k = k.copy()
    priced = _try(model, k)
    while isinstance(priced, Refused):
        worth = _worth(slots, k)
        for conflict in priced.conflicts:
            present = [i for i in conflict.inside if k[i] > 0]
            if present:
                k[min(present, key=lambda i: (i in changed, float(worth[i]), i))] = 0
        k = respect_links(options, k)
        priced = _try(model, k)
    tried = set(changed)
    while True:
        gain = slots.surplus_nano(options.steps, priced.price)
        hopeful = _open(options, priced.k) & (gain > 0)
        for i in [i for i in np.argsort(-gain, kind="stable").tolist() if hopeful[i] and i not in tried]:
            tried.add(i)
            k = priced.k.copy()
            k[i] = options.steps[i]
            more = _try(model, k)
            if isinstance(more, Priced) and more.welfare > priced.welfare:
                priced = more
                break
        else:
            return priced


def _swap(model: BlockModel, best: Priced, checks: int) -> Priced:
    """Local search: put one option in, with its parents, or take one out; settle the rest; keep what is better. At most about
    `checks` sets of blocks are priced."""
    options, last = model.slots.options, model.checks + checks
    improved = True
    while improved and model.checks < last:
        improved = False
        gain = model.slots.surplus_nano(options.steps, best.price)
        for i in np.argsort(np.where(best.k > 0, gain, -gain), kind="stable").tolist():
            if model.checks >= last:
                break
            k, changed = _toggle(options, best.k, i, gain)
            other = _descend(model, k, changed)
            if other.welfare > best.welfare:
                best, improved = other, True
                break
    return best


def _toggle(options: Options, k: Int64, i: int, gain: Int64) -> tuple[Int64, frozenset[int]]:
    """`k` with option i taken out, or put in full with its parents and without its rivals; and what was changed on purpose."""
    k = k.copy()
    if k[i] > 0:
        k[i] = 0
        return respect_links(options, k), frozenset({i})
    chain = [i]
    while options.parents[chain[-1]]:
        chain.append(max(options.parents[chain[-1]], key=lambda p: (int(k[p]), int(gain[p]), -p)))
    for j in chain:
        for group in options.groups:
            if j in group:
                k[list(group)] = 0
    k[chain] = options.steps[chain]
    return respect_links(options, k), frozenset(chain)


def _worth(slots: Slots, k: Int64) -> Float64:
    """A guess of what each accepted option gains per Wh at the proposal's prices, to choose whom to drop."""
    cleared = [slots.at(t, wh) for t, wh in enumerate(slots.injection(k).tolist())]
    price = np.array([(max(c.low, -ANY) + min(c.high, ANY)) / 2 for c in cleared])
    energy = slots.options.energy_at(k).astype(np.float64)
    total = energy.sum(axis=1)
    gain = slots.options.side * (slots.options.price * total - energy @ price)
    return np.where(total > 0, gain / np.maximum(total, 1.0), 0.0)


def _open(options: Options, k: Int64) -> NDArray[np.bool_]:
    """[m] options that are out and could come in full: their groups are free, their parents in full."""
    can = np.asarray(k == 0, dtype=np.bool_)
    for group in options.groups:
        if k[list(group)].any():
            can[list(group)] = False
    full = k == options.steps
    for i, above in enumerate(options.parents):
        if above and can[i]:
            can[i] = any(full[p] for p in above)
    return can
