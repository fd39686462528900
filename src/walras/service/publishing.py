"""Publishing a statistic of a run: the one place where noise is drawn, and the record is written before anybody sees the answer.

The order is the rule. The budget is what the record adds up to while nobody else can write to it; the answer, noise and all, goes
into the record as an act, durably; only then is it returned. So a program killed at any instruction has spent what it may have
shown, two that publish at once cannot both spend the last of the budget, and a question asked again is answered from the record.
The noise comes from the operating system's generator: drawn from a seed it could be taken off again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path

from walras.errors import Fault, InputError
from walras.exchange.acts import Act, ActKind, act_to_public
from walras.exchange.fold import ACT
from walras.exchange.journal import Journal, write_public_record
from walras.exchange.publishing import budgets, measured_in, published_act, release_name, span_of
from walras.exchange.statement import opened_terms
from walras.metering.privacy import Budget, Chance, Exhausted, Release, release_values
from walras.metering.statistics import Statistic, exact_values, sensitivity
from walras.study.runner import PUBLIC


@dataclass(frozen=True, slots=True)
class Question:
    """A statistic of a period, how finely (`by`), and what may be spent on it; None where it is published already."""

    statistic: Statistic
    period: str
    by: str = "period"
    epsilon: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """The answer as it stands in the record, the cells it is of, and the period's budget after it; `again`: it cost nothing."""

    question: Question
    release: Release
    cells: tuple[str, ...]
    budget: Budget
    again: bool


def publish(
    journal: Journal, run: Path, question: Question, at: datetime, by_whom: str, chance: Chance = secrets.randbelow
) -> Published | Exhausted:
    """Answer `question` within the budget; Exhausted where too little is left, and that refusal is on record.

    InputError for a period that the run has not, or without an epsilon for what was never published; JournalError for a run
    without a budget, or a period that is not over.
    """
    known = journal.count
    entries = [entry for entry in journal.entries() if entry.seq < known]
    terms, _ = opened_terms(entries)
    statistic, period, by = question.statistic, question.period, question.by
    span = span_of(terms)
    cells, cap = span.cells(period, by)[1], span.cap_wh(period)
    exact = exact_values(statistic, measured_in(terms, entries, period, by), cap)
    moved = sensitivity(statistic, len(cells), cap)
    with journal.alone() as meanwhile:
        budget = budgets(terms, [*entries, *meanwhile])[period]
        earlier = next((one for one in budget.released if one.name == release_name(statistic, by)), None)
        epsilon = question.epsilon or (None if earlier is None else earlier.epsilon)
        if epsilon is None:
            expected = f"what to spend of the {budget.left} left for {period}: {statistic.name} by {by} was not published yet"
            raise InputError("statistic", [Fault("statistics", "epsilon", None, expected)])
        after, release = release_values(budget, release_name(statistic, by), exact, moved, epsilon, chance)
        if isinstance(release, Exhausted):
            detail = {"purpose": "operation", "period": period, "statistic": statistic.name, "by": by}
            spoken = {"epsilon": str(release.wanted), "left": str(release.left)}
            journal.append(ACT, None, act_to_public(Act(ActKind.DENIED, at, by_whom, None, {**detail, **spoken})))
        elif earlier is None:
            act = published_act(at, by_whom, period, by, statistic, cells, release)
            journal.append(ACT, None, act_to_public(act))
    write_public_record(journal, run / PUBLIC)
    return release if isinstance(release, Exhausted) else Published(question, release, cells, after, earlier is not None)
