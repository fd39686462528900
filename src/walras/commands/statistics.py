"""`walras statistics`: publish a statistic of a run under its privacy budget, or show the budget and all that was published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from walras.commands.rights import opened_run
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError, JournalError
from walras.exchange.publishing import budgets, released_details, span_of
from walras.exchange.statement import opened_terms
from walras.metering.privacy import Budget, Exhausted
from walras.metering.statistics import STATISTICS, statistic_named
from walras.service.publishing import Published, Question, publish
from walras.units import format_energy


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks: no `name` for the budget. `epsilon` is decimal text, `out` a file for the answer as JSON."""

    name: str | None = None
    period: str | None = None
    by: str = "period"
    epsilon: str | None = None
    out: Path | None = None


def statistics_command(run: Path, asked: Asked, secret: Path | None) -> None:
    """Publish what is asked, or show the budgets. JournalError where the budget is exhausted."""
    console = screen()
    with opened_run(run, secret, "walras statistics") as opened:
        journal = opened.journal
        entries = list(journal.entries())
        terms, _ids = opened_terms(entries)
        if asked.name is None:
            shown = {
                "community": terms.name,
                "budgets": [budget_as_json(budget) for budget in budgets(terms, entries).values()],
                "published": [*released_details(entries)],
                "statistics": {one.name: one.what for one in STATISTICS.values()},
            }
            _print_budgets(console, shown)
            _write(asked.out, shown, console)
            return
        statistic = statistic_named(asked.name)
        question = Question(statistic, asked.period or _only(span_of(terms).periods()), asked.by, epsilon_of(asked.epsilon))
        answer = publish(journal, run, question, datetime.now(UTC), opened.by)
    if isinstance(answer, Exhausted):
        raise JournalError(
            f"{asked.name} by {asked.by} of {question.period} would cost {_shown(answer.wanted)} of the privacy budget, "
            f"{_shown(answer.left)} is left; the refusal is recorded",
            thing=answer,
            way_out=f"a smaller --epsilon (more noise), another period, or what is published already: `walras statistics {run}`",
        )
    _print_answer(console, answer)
    _write(asked.out, answer_as_json(terms.name, answer), console)


def epsilon_of(text: str | None) -> Fraction | None:
    """Decimal text as an exact fraction; InputError where it is no number above 0 with at most three decimals."""
    if text is None:
        return None
    try:
        value = Decimal(text)
        if value.is_finite() and value > 0 and value * 1_000 == (value * 1_000).to_integral_value():
            return Fraction(value)
    except InvalidOperation:
        pass
    expected = "a number above 0 with at most three decimals"
    raise InputError("walras statistics", [Fault("command line", "--epsilon", text, expected)])


def budget_as_json(budget: Budget) -> dict[str, Any]:
    """The budget of a period: what there was, is spent, is left; decimal texts."""
    return {
        "period": budget.period,
        "epsilon": _shown(budget.epsilon),
        "spent": _shown(budget.spent),
        "left": _shown(budget.left),
        "releases": [one.name for one in budget.released],
    }


def answer_as_json(community: str, answer: Published) -> dict[str, Any]:
    """An answer that may be handed to anybody: it says what it is, what noise is in it, and what is left of the budget."""
    release, statistic = answer.release, answer.question.statistic
    return {
        "community": community,
        "statistic": statistic.name,
        "what": statistic.what,
        "unit": statistic.unit,
        "period": answer.question.period,
        "by": answer.question.by,
        "values": dict(zip(answer.cells, release.values, strict=True)),
        "margin_95": release.margin_95,
        "noise": "discrete Laplace",
        "epsilon": _shown(release.epsilon),
        "sensitivity": release.sensitivity,
        "budget": budget_as_json(answer.budget),
    }


def _print_answer(console: Console, answer: Published) -> None:
    release, question = answer.release, answer.question
    unit = question.statistic.unit
    say(console, f"{release.name}, {question.period}: {question.statistic.what}")
    for cell, value in zip(answer.cells, release.values, strict=True):
        say(console, f"  {cell:>10}  {_amount(value, unit)}")
    cost = "published before, at no cost" if answer.again else f"cost {_shown(release.epsilon)}"
    say(console, f"95 values in 100 are within {_amount(release.margin_95, unit)} of the truth (discrete Laplace noise)")
    budget = answer.budget
    say(console, f"{cost}; privacy budget of {budget.period}: {_shown(budget.left)} of {_shown(budget.epsilon)} left")


def _print_budgets(console: Console, shown: dict[str, Any]) -> None:
    table = Table("period", "budget", "spent", "left", "published", box=None, pad_edge=False)
    for row in shown["budgets"]:
        table.add_row(*(row[name] for name in ("period", "epsilon", "spent", "left")), ", ".join(row["releases"]) or "nothing")
    console.print(table)
    say(console, "statistics: " + "; ".join(f"{name}: {what}" for name, what in shown["statistics"].items()))


def _only(periods: dict[str, range]) -> str:
    if len(periods) > 1:
        raise InputError("walras statistics", [Fault("command line", "--period", None, "one of " + ", ".join(periods))])
    return next(iter(periods))


def _amount(value: int, unit: str) -> str:
    return format_energy(value, 1) if unit == "Wh" else f"{value} {unit}"


def _shown(fraction: Fraction) -> str:
    """Exactly, as a decimal: all epsilons here are whole thousandths."""
    return format((Decimal(fraction.numerator) / Decimal(fraction.denominator)).normalize(), "f")


def _write(out: Path | None, value: dict[str, Any], console: Console) -> None:
    if out is not None:
        out.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        say(console, f"written: {out}")
