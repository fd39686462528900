"""`walras validate`: what a run's readings show when a day of them is looked at together; it changes nothing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from walras.commands.rights import OPERATOR, opened_run
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.phases import EventKind
from walras.exchange.statement import opened_terms
from walras.exchange.windows import leaves_by_slot, window_of
from walras.metering.purposes import PURPOSES
from walras.metering.validation import Check, Finding, ValidationRule, validate
from walras.service.data_protection import named_for


def validate_command(run: Path, secret: Path | None) -> list[Finding]:
    """Print findings by check, meter and slot, and the refusals at admission by reason; the findings."""
    console = Console(soft_wrap=True, highlight=False)
    with opened_run(run, secret, "walras validate") as (journal, _):
        named_for(journal, run, PURPOSES["operation"], datetime.now(UTC), OPERATOR, page="validation")
        entries = list(journal.entries())
    terms, ids = opened_terms(entries)
    names = {account: name for name, account in ids.items()}
    leaves = leaves_by_slot(terms, entries)
    found: list[Finding] = []
    slot = terms.first
    while slot <= terms.last:
        day = terms.grid.local_day(terms.grid.local(slot).date())
        settled = range(slot, min(day.stop, terms.last + 1, max(leaves, default=slot - 1) + 1))
        if len(settled):
            found += validate(window_of(terms, leaves, settled), ValidationRule())
        slot = day.stop
    refused: Counter[str] = Counter()
    for entry in entries:
        if entry.kind in (EventKind.READINGS_ADMITTED.value, SLOT_CORRECTED):
            refused.update(entry.public["refused"])
    table = Table(box=None, pad_edge=False)
    for name in ("check", "meter of", "from", "value", "against"):
        table.add_column(name, justify="right" if name in ("value", "against") else "left")
    for one in found:
        meter = names.get(one.device, f"account {one.device}")
        table.add_row(one.check.value, meter, f"{terms.grid.local(one.slot):%Y-%m-%d %H:%M}", f"{one.value:,}", f"{one.against:,}")
    if found:
        console.print(table)
    counts = Counter(one.check for one in found)
    said = ", ".join(f"{counts[check]} {check.name.lower().replace('_', ' ')}" for check in Check if counts[check])
    console.print(f"{len(leaves)} slots of {terms.members} meters: {said or 'no findings'}")
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(refused.items()))
    console.print(f"refused at admission: {reasons or 'nothing'}")
    return found
