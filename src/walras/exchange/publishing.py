"""What a community has published of itself under differential privacy: the terms, the budget of each period, the check.

The budget stands in the public terms before anything is measured; each statistic published is an act with its answer, so the budget
left is not a number that somebody keeps but what the record adds up to. Whoever has the record can check that nothing was
published beyond it, nothing twice, nothing before its period was over, and that every answer lies about where the noise that it
states would put it (`check_published`).

What it protects against: who sees the statistics and not the record. The record has every account's energy, by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np

from walras.errors import AuditError, InputError, JournalError
from walras.exchange.acts import Act, ActKind, act_from_public
from walras.exchange.correction import corrected_at, settled_at
from walras.exchange.fold import ACT, RUN_CLOSED, SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.phases import EventKind
from walras.exchange.publishing_terms import Span
from walras.exchange.terms import Terms
from walras.metering.privacy import Budget, Release
from walras.metering.statistics import Measured, Statistic, exact_values, sensitivity, statistic_named

FARTHEST_SCALES = 50
"""Noise of more than so many scales has a chance of e**-50 a value: an answer farther off was made up."""


def span_of(terms: Terms) -> Span:
    """The periods of a run under its terms; JournalError where they have no budget: it is set before anything is measured."""
    if terms.publishing is None:
        raise JournalError(
            f"{terms.name}: the run has no privacy budget, so nothing is published of it",
            thing=terms.name,
            way_out="[privacy] with epsilon and cap_kwh_per_day in the community file, before the run begins",
        )
    return Span(terms.publishing, terms.grid, terms.first, terms.last)


def release_name(statistic: Statistic, by: str) -> str:
    """What a release is called within its period: the same name is the same question.

    >>> release_name(statistic_named("shared"), "hour")
    'shared by hour'
    """
    return f"{statistic.name} by {by}"


def measured_in(terms: Terms, entries: Iterable[Entry], period: str, by: str) -> Measured:
    """What the meters of all members measured in a period, as it stands for good; JournalError while it can still change."""
    span = span_of(terms)
    slots = span.slots(period)
    rows: dict[int, Mapping[str, Any]] = {}
    now, closed = 0, False
    for entry in entries:
        if entry.kind == EventKind.SETTLEMENT_SUBMITTED.value and entry.slot is not None:
            rows[entry.slot] = entry.public
            now = settled_at(terms, entry.slot - 1)  # what was corrected by then stands before this entry
        elif entry.kind == SLOT_CORRECTED:
            rows[entry.public["slot"]] = entry.public
        closed = closed or entry.kind == RUN_CLOSED
    over = slots[-1] in rows and (closed or terms.dispute_window_s == 0 or now >= corrected_at(terms, slots[-1]))
    if not over:
        raise JournalError(
            f"{period}: the period is not over: readings of it may still come",
            thing=period,
            way_out="let `walras run` go on until its slots are settled and their disputes over",
        )
    taken, given = (np.array([rows[slot][name] for slot in slots], dtype=np.int64) for name in ("import_wh", "export_wh"))
    return Measured(taken, given, *span.cells(period, by))


def budgets(terms: Terms, entries: Iterable[Entry]) -> dict[str, Budget]:
    """The budget of each period of the run, with all that was published from it; JournalError for an act that is none."""
    span = span_of(terms)
    found = {period: Budget(period, span.terms.epsilon) for period in span.periods()}
    for entry in entries:
        if entry.kind == ACT and (act := act_from_public(entry)).kind is ActKind.PUBLISHED:
            period, release = released(act)
            before = found[period]
            found[period] = Budget(period, before.epsilon, (*before.released, release))
    return found


def published_act(
    at: datetime, by_whom: str, period: str, by: str, statistic: Statistic, cells: Sequence[str], done: Release
) -> Act:
    """The act by which a statistic is published: the question, its cost, and the answer."""
    detail = {
        "purpose": "operation",
        "period": period,
        "statistic": statistic.name,
        "by": by,
        "unit": statistic.unit,
        "epsilon": str(done.epsilon),
        "sensitivity": done.sensitivity,
        "margin_95": done.margin_95,
        "cells": list(cells),
        "values": list(done.values),
    }
    return Act(ActKind.PUBLISHED, at, by_whom, None, detail)


def released(act: Act) -> tuple[str, Release]:
    """The period and the release of an act of publishing; JournalError where it is none."""
    detail = act.detail or {}
    try:
        name = release_name(statistic_named(detail["statistic"]), detail["by"])
        release = Release(name, tuple(map(int, detail["values"])), Fraction(detail["epsilon"]), int(detail["sensitivity"]))
        return str(detail["period"]), release
    except (KeyError, ValueError, TypeError, ZeroDivisionError, InputError) as cause:
        raise JournalError(f"an act of publishing that says nothing: {cause}", thing=act) from cause


def released_details(entries: Iterable[Entry]) -> Iterable[Mapping[str, Any]]:
    """What each act of publishing says, in their order."""
    acts = (act_from_public(entry) for entry in entries if entry.kind == ACT)
    return [act.detail or {} for act in acts if act.kind is ActKind.PUBLISHED]


def check_published(terms: Terms, entries: Sequence[Entry]) -> int:
    """Check every published statistic of a record against its terms; how many there are. AuditError names what does not hold."""
    spent: dict[str, Budget] = {}
    count = 0
    for at, entry in enumerate(entries):
        if entry.kind != ACT or (act := act_from_public(entry)).kind is not ActKind.PUBLISHED:
            continue
        span = span_of(terms)
        period, release = released(act)
        detail = act.detail or {}
        statistic, by = statistic_named(detail["statistic"]), str(detail["by"])
        where = f"entry {entry.seq} ({release.name}, {period})"
        measured = measured_in(terms, entries[:at], period, by)
        cap = span.cap_wh(period)
        if tuple(detail["cells"]) != measured.cells or len(release.values) != len(measured.cells):
            raise AuditError(f"{where}: its values are not one for each of the period's cells", thing=entry.seq)
        if release.sensitivity != sensitivity(statistic, len(measured.cells), cap):
            raise AuditError(f"{where}: a sensitivity of {release.sensitivity} is not that of the statistic", thing=entry.seq)
        before = spent.get(period, Budget(period, span.terms.epsilon))
        if any(earlier.name == release.name for earlier in before.released):
            raise AuditError(f"{where}: published a second time: noise could be averaged away", thing=entry.seq)
        spent[period] = Budget(period, before.epsilon, (*before.released, release))
        if release.epsilon <= 0 or spent[period].left < 0:
            raise AuditError(f"{where}: {spent[period].spent} spent of a budget of {before.epsilon}", thing=entry.seq)
        exact = exact_values(statistic, measured, cap)
        off = max(abs(value - truth) for value, truth in zip(release.values, exact, strict=True))
        if off > FARTHEST_SCALES * release.sensitivity / release.epsilon:
            raise AuditError(f"{where}: no such noise: an answer is {off} {statistic.unit} off", thing=entry.seq)
        count += 1
    return count
