"""Which blocks to accept: the largest welfare at which uniform prices make no accepted block lose.

Two parts take turns, as in EUPHEMIA, the algorithm of the European day-ahead coupling (public description by the NEMO Committee):

1. a mixed-integer program proposes the blocks of the largest welfare, prices left aside (`block_model.py`): an upper bound;
2. if prices suit them (`block_prices.py`), that is the answer. Otherwise each proved conflict becomes a cut, and back to 1.

After each round a descent from the proposal (drop losers, then add what gains) keeps the best feasible answer. The search ends
with a proof, or with the best answer and its gap to the bound once the effort is spent: so many nodes of search trees, one for
each proposal at least, so that the result is the same on every machine. Where a conflict is not proved (whole micro-units, or
another ratio of a block with a minimum below 1 might help), the cut may go too far: from then on the bound stays where it was,
and the gap says what is open.

The heuristic is the descent alone, from roundings of the linear relaxation, which is also the bound of its gap; the exact search
starts from its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from walras.market.block_book import Options
from walras.market.block_model import BlockModel, Proposal, build_model, respect_links
from walras.market.block_prices import Priced, Refused, price_blocks
from walras.market.block_slots import ANY, Slots
from walras.units import Float64, Int64

Method = Literal["milp", "heuristic"]

EFFORT = 300
"""Nodes of search trees, all proposals together."""

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
    """The best blocks with prices that suit them, within `effort` nodes."""
    none = np.zeros(slots.options.count, np.int64)
    empty = price_blocks(slots, none)
    assert isinstance(empty, Priced)  # without blocks every slot clears by itself
    if slots.options.count == 0:
        return Found(empty, empty.welfare, 0, True)
    model = build_model(slots)
    relaxed = model.relax()
    best = _round(model, relaxed, empty)
    bound = max(relaxed.bound, best.welfare)
    if method == "heuristic" or model.is_optimal(best.welfare, bound):
        return Found(best, bound, 0, model.is_optimal(best.welfare, bound))
    return _improve(model, best, bound, effort)


def _improve(model: BlockModel, best: Priced, bound: int, effort: int) -> Found:
    rounds, idle, proving = 0, 0, True
    while effort > 0 and idle < PATIENCE:
        proposal = model.propose(effort, best if proving else None)
        if proposal is None:  # the cuts leave nothing
            bound = best.welfare if proving else bound
            break
        rounds += 1
        effort -= 1 + proposal.nodes
        if proving:
            bound = max(min(bound, proposal.bound), best.welfare)
        if proposal.x is None or model.is_optimal(best.welfare, min(bound, proposal.bound)):
            break
        k = model.steps(proposal.x)
        new = model.learn(model.slots.injection(k)) | model.learn(model.injection(proposal.x))
        verdict = price_blocks(model.slots, k)
        if isinstance(verdict, Refused):
            proved = [conflict for conflict in verdict.conflicts if conflict.proved]
            proving &= bool(proved)
            new |= any([model.cut(conflict) for conflict in proved or verdict.conflicts])
        better = max(best, _descend(model.slots, k), key=lambda p: p.welfare)
        idle = 0 if proving or better.welfare > best.welfare else idle + 1
        best = better
        bound = max(bound, best.welfare)
        if not new:  # the same again: what is left of the gap is the rounding of ratios to whole Wh
            break
    return Found(best, bound, rounds, model.is_optimal(best.welfare, bound))


def _round(model: BlockModel, relaxed: Proposal, empty: Priced) -> Priced:
    """The best descent from the relaxation rounded at several thresholds, and from nothing."""
    assert relaxed.x is not None
    starts = [empty.k]
    for threshold in (0.01, 0.5, 0.99):
        x = relaxed.x.copy()
        x[model.chosen] = x[model.chosen] >= threshold
        x[model.ratio] = np.where(x[model.chosen] > 0, np.maximum(x[model.ratio], x[model.chosen] * (threshold < 0.99)), 0.0)
        starts.append(model.steps(x))
    unique = {k.tobytes(): k for k in starts}
    return max((_descend(model.slots, k) for k in unique.values()), key=lambda p: p.welfare)


def _descend(slots: Slots, k: Int64) -> Priced:
    """From proposed blocks to feasible ones: while something conflicts drop the worst of it, then add what gains."""
    options = slots.options
    k = k.copy()
    priced = price_blocks(slots, k)
    while isinstance(priced, Refused):
        worth = _worth(slots, k)
        for conflict in priced.conflicts:
            present = [i for i in conflict.inside if k[i] > 0]
            if present:
                k[min(present, key=lambda i: (float(worth[i]), i))] = 0
        k = respect_links(options, k)
        priced = price_blocks(slots, k)
    tried: set[int] = set()
    while True:
        gain = slots.surplus_nano(options.steps, priced.price)
        hopeful = [i for i in np.argsort(-gain, kind="stable").tolist() if gain[i] > 0 and priced.k[i] == 0 and i not in tried]
        for i in hopeful:
            tried.add(i)
            k = priced.k.copy()
            k[i] = options.steps[i]
            more = price_blocks(slots, k) if _allowed(options, k, i) else None
            if isinstance(more, Priced) and more.welfare > priced.welfare:
                priced = more
                break
        else:
            return priced


def _worth(slots: Slots, k: Int64) -> Float64:
    """A guess of what each accepted option gains per Wh at the proposal's prices, to choose whom to drop."""
    cleared = [slots.at(t, wh) for t, wh in enumerate(slots.injection(k).tolist())]
    price = np.array([(max(c.low, -ANY) + min(c.high, ANY)) / 2 for c in cleared])
    energy = slots.options.energy_at(k).astype(np.float64)
    total = energy.sum(axis=1)
    gain = slots.options.side * (slots.options.price * total - energy @ price)
    return np.where(total > 0, gain / np.maximum(total, 1.0), 0.0)


def _allowed(options: Options, k: Int64, i: int) -> bool:
    """Whether option i, just added in full, keeps its link and its groups."""
    above = options.parents[i]
    if above and not any(k[p] * options.steps[i] >= k[i] * options.steps[p] for p in above if k[p] > 0):
        return False
    return all(sum(1 for g in group if k[g] > 0) <= 1 for group in options.groups if i in group)
