"""The same days of a neighbourhood under many mechanisms.

Two views, both from the same rules as a run. *The books*: the truthful books of the days, cleared by each mechanism, with welfare
against the optimum, prices, surplus, gains, their Gini coefficient, the largest gain found from a lie, and time. *The days*: each
mechanism run through delivery and bills on its own, batteries and all, and what members paid in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from walras.community.model import Community
from walras.exchange.extras import extra_for
from walras.exchange.terms import Terms
from walras.market.clearing import Clearing
from walras.market.comparison import Score, compare
from walras.market.mechanism import Mechanism
from walras.market.orders import Orders
from walras.market.registry import MECHANISMS, mechanism_named
from walras.market.uniform import UNIFORM
from walras.study.replay import replay
from walras.study.runner import NODAL, with_mechanism
from walras.study.trading import Trading

ALIASES = {"amm": "constant_product"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One mechanism on the days: its score on the common books, and what came of it after delivery.

    `counted_wh` local energy that counts; `members_pay_nano` all members together, all bills included; `operator_nano` what the
    operator's account received; `broken` slots in which the metered flow breaks a limit, `curtailed_wh` what the wires took back.
    """

    score: Score
    counted_wh: int
    members_pay_nano: int
    operator_nano: int
    broken: int
    curtailed_wh: int


def chosen(names: str) -> list[Mechanism]:
    """Mechanisms from a comma list; `all` is every one there is.

    `nodal` is the uniform auction with the limits of the wires holding at delivery: its books are the same.
    """
    shelf = {**MECHANISMS, NODAL: replace(UNIFORM, name=NODAL)}
    if names == "all":
        return list(shelf.values())
    return [mechanism_named(ALIASES.get(name.strip(), name.strip()), shelf) for name in names.split(",") if name.strip()]


def compare_days(
    community: Community,
    terms_of: Callable[[Community, Trading], Terms],
    mechanisms: Sequence[Mechanism],
    *,
    lies_in: int = 2,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Every mechanism over the community's days."""
    trading = Trading(community)
    terms = terms_of(community, trading)
    books: list[Orders] = []

    def keep(_slot: int, orders: Orders, _clearing: Clearing) -> None:
        books.append(orders)

    progress("books")
    for _ in replay(trading, terms, community.slots, keep):
        pass
    progress("clearing")
    scores = compare(mechanisms, books, terms.conventions, clock=time.perf_counter, extra_of=_extra, lies_in=lies_in)
    outcomes = []
    for mechanism, score in zip(mechanisms, scores, strict=True):
        progress(mechanism.name)
        counted = pays = operator = broken = curtailed = 0
        limited = terms_of(with_mechanism(community, NODAL), trading) if mechanism.name == NODAL else terms
        for day in replay(trading, limited, community.slots, mechanism=mechanism):
            counted += int(day.counted_wh.sum())
            pays += int(day.bills.total_nano.sum())
            operator += int(day.bills.received_nano[3])
            broken += int((day.violations > 0).sum())
            curtailed += int(day.curtailed_wh.sum())
        outcomes.append(Outcome(score, counted, pays, operator, broken, curtailed))
    return outcomes


def _extra(mechanism: Mechanism, orders: Orders) -> dict[str, object]:
    return dict(extra_for(mechanism, orders) or {})
