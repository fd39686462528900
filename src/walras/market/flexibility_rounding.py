"""A procurement in fractions of lots becomes one in whole lots that keeps every limit: slot by slot, rebounds covered first.

In each slot from the first on, the rebound of what was already called is known, in whole lots. What the fractional plan
calls, rounded down, stays; what is missing for the rebound and for the requirement served is added, first where a fraction
was cut off, then from the cheapest offer with room (for the requirement only while it costs no more than the bid and takes
nothing back). If a rebound cannot be covered, the slot that causes it serves one lot less and the pass begins again; so it
ends, at worst with nothing. The loss is a few lots; `flexibility.py` states the bound that the fractional plan gives.
"""

from __future__ import annotations

import numpy as np

from walras.market.flexibility_book import Requirements
from walras.units import MAX_PRICE_MICRO_PER_KWH, Float64, Int64

SLACK = 1e-6
"""What the solver calls 0.999999 of a lot is a lot."""


def round_plan(book: Requirements, called: Float64, served: Float64) -> tuple[Int64, Int64]:
    """(called [k, t], served [b]) in whole lots from the same in fractions."""
    goal = np.zeros(book.slot.size, dtype=np.int64)
    for at in range(goal.size):
        goal[at] = int(np.floor(served[book.bid_at == at].sum() + SLACK))
    while True:
        whole, short = _one_pass(book, called, goal)
        if short is None:
            return whole, _serve(book, goal)
        goal[_cause(book, whole, goal, short)] -= 1


def _one_pass(book: Requirements, called: Float64, goal: Int64) -> tuple[Int64, int | None]:
    """The whole plan, and the slot whose rebound cannot be covered if there is one. Lowers `goal` where offers do not reach."""
    floor = np.minimum(np.floor(called + SLACK).astype(np.int64), book.power_lots)
    cut_off = called - floor
    whole = np.zeros_like(floor)
    later = floor.sum(axis=1)
    hundredths = np.zeros(book.slot.size, dtype=np.int64)
    for at in range(book.slot.size):
        later -= floor[:, at]
        back = -(-int(hundredths[at]) // 100)
        take, reached = _fill(book, at, floor[:, at], cut_off[:, at], whole.sum(axis=1) + later, back, int(goal[at]))
        whole[:, at] = take
        if reached < back:
            return whole, at
        goal[at] = reached - back
        falls = book.back_at[:, at]
        inside = falls >= 0
        np.add.at(hundredths, falls[inside], take[inside] * book.percent[inside])
    return whole, None


def _fill(book: Requirements, at: int, floor: Int64, cut_off: Float64, used: Int64, back: int, goal: int) -> tuple[Int64, int]:
    """What each offer gives in one slot, and its sum: at most `back` + `goal`, less where offers or bids do not reach."""
    take, need = floor.copy(), back + goal
    excess = int(take.sum()) - need
    for k in range(take.size - 1, -1, -1):  # the dearest first
        less = min(max(excess, 0), int(take[k]))
        take[k] -= less
        excess -= less
    missing = -excess
    if missing <= 0:
        return take, int(take.sum())
    room = np.minimum(book.power_lots[:, at] - take, book.offer_lots - used - take)
    for k in np.lexsort((np.arange(take.size), -cut_off)).tolist():
        if missing and cut_off[k] > SLACK and room[k] > 0:
            take[k] += 1
            room[k] -= 1
            missing -= 1
    worth = _marginal_bid(book, at, goal)
    for k in np.flatnonzero(room > 0).tolist():
        gains = book.offer_price[k] <= worth and book.back_at[k, at] < 0
        more = min(int(room[k]), missing if gains else max(missing - goal, 0))
        take[k] += more
        missing -= more
    return take, int(take.sum())


def _marginal_bid(book: Requirements, at: int, goal: int) -> int:
    """The price of the last bid served when `goal` lots are; below every price if none is."""
    here = np.flatnonzero(book.bid_at == at)
    last = int(np.searchsorted(np.cumsum(book.bid_lots[here]), goal))
    return int(book.bid_price[here[last]]) if goal else -MAX_PRICE_MICRO_PER_KWH


def _cause(book: Requirements, whole: Int64, goal: Int64, short: int) -> int:
    """The slot whose own requirement first causes the rebound in slot `short`."""
    at = short
    while at == short or goal[at] == 0:
        sources = np.flatnonzero(((book.back_at == at) & (whole > 0) & (book.percent[:, None] > 0)).any(axis=0))
        at = int(sources[-1])
    return at


def _serve(book: Requirements, goal: Int64) -> Int64:
    """Each slot's lots to its bids, the dearest first."""
    served, left = np.zeros_like(book.bid_lots), goal.copy()
    for bid, at in enumerate(book.bid_at.tolist()):
        served[bid] = min(int(left[at]), int(book.bid_lots[bid]))
        left[at] -= served[bid]
    return served
