"""`walras validate`: what a run's readings show when a day of them is looked at together; it changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from walras.commands.rights import opened_run
from walras.commands.terminal import say, screen
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.phases import EventKind
from walras.exchange.statement import opened_terms
from walras.exchange.windows import findings_of, kept_by_slot
from walras.metering.purposes import PURPOSES
from walras.metering.reading import Quality
from walras.metering.slot_readings import quality_of_leaf
from walras.metering.validation import Check, Finding, ValidationRule
from walras.service.data_protection import named_for


def validate_command(run: Path, secret: Path | None) -> list[Finding]:
    """Print findings by check, meter and slot, and the refusals at admission by reason; the findings.

    A gap is one line with the number of its slots. What was erased is no gap: it is counted by itself.
    """
    console = screen()
    with opened_run(run, secret, "walras validate") as opened:
        journal = opened.journal
        named_for(journal, run, PURPOSES["operation"], datetime.now(UTC), opened.by, page="validation")
        entries = list(journal.entries())
    terms, ids = opened_terms(entries)
    names = {account: name for name, account in ids.items()}
    kept = kept_by_slot(terms, entries)
    erased = {(slot, account) for slot, held in kept.items() for account, one in enumerate(held) if one.leaf is None}
    found = findings_of(terms, kept, ValidationRule())
    refused: Counter[str] = Counter()
    for entry in entries:
        if entry.kind in (EventKind.READINGS_ADMITTED.value, SLOT_CORRECTED):
            refused.update(entry.public["refused"])
    table = Table(box=None, pad_edge=False)
    for name in ("check", "meter of", "from", "value", "against"):
        table.add_column(name, justify="right" if name in ("value", "against") else "left")
    for one, slots in in_runs(found):
        meter = names.get(one.device, f"account {one.device}")
        numbers = (f"{slots:,}", "") if one.check is Check.MISSING else (f"{one.value:,}", f"{one.against:,}")
        table.add_row(one.check.value, meter, terms.grid.shown(one.slot), *numbers)
    if found:
        console.print(table)
    say(console, f"{len(kept)} slots of {terms.members} meters: {in_short(found) or 'no findings'}")
    marks = Counter(quality_of_leaf(one.leaf) or 0 for held in kept.values() for one in held if one.leaf is not None)
    marked = [f"{count:,} {Quality(mark).name.lower().replace('_', ' ')}" for mark, count in sorted(marks.items()) if mark]
    if marked:
        say(console, f"marked: {', '.join(marked)}; all others are measured")
    for account in sorted({account for _, account in erased}):
        count = sum(one == account for _, one in erased)
        say(console, f"{names.get(account, f'account {account}')}: {count:,} readings erased, not looked at")
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(refused.items()))
    say(console, f"refused at admission: {reasons or 'nothing'}")
    return found


def in_short(found: Sequence[Finding]) -> str:
    """How often each check found something, in their order; empty where none did.

    >>> in_short([Finding(Check.SPIKE, 1, 7, 9_000, 100), Finding(Check.MISSING, 1, 7, 0, 1)])
    '1 missing, 1 spike'
    """
    counts = Counter(one.check for one in found)
    return ", ".join(f"{counts[check]} {check.name.lower().replace('_', ' ')}" for check in Check if counts[check])


def in_runs(found: Sequence[Finding]) -> list[tuple[Finding, int]]:
    """Each finding once, the missing slots of a meter that follow each other as the first of them and how many they are.

    >>> gap = [Finding(Check.MISSING, 3, slot, 0, 1) for slot in (7, 8, 11)]
    >>> [(first.slot, slots) for first, slots in in_runs(gap)]
    [(7, 2), (11, 1)]
    """
    runs: list[tuple[Finding, int]] = []
    for one in found:
        before, slots = runs[-1] if runs else (one, 0)
        follows = (one.check, one.device, one.slot) == (before.check, before.device, before.slot + slots)
        if slots and one.check is Check.MISSING and follows:
            runs[-1] = (before, slots + 1)
        else:
            runs.append((one, 1))
    return runs
