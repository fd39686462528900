"""`walras validate`: what a run's readings show when a day of them is looked at together; it changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from walras.commands.rights import OPERATOR, opened_run
from walras.commands.terminal import say, screen
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.phases import EventKind
from walras.exchange.statement import opened_terms
from walras.exchange.windows import leaves_by_slot, window_of
from walras.metering.purposes import PURPOSES
from walras.metering.validation import Check, Finding, ValidationRule, validate
from walras.service.data_protection import named_for


def validate_command(run: Path, secret: Path | None) -> list[Finding]:
    """Print findings by check, meter and slot, and the refusals at admission by reason; the findings.

    A gap is one line with the number of its slots. What was erased is no gap: it is counted by itself.
    """
    console = screen()
    with opened_run(run, secret, "walras validate") as (journal, _):
        named_for(journal, run, PURPOSES["operation"], datetime.now(UTC), OPERATOR, page="validation")
        entries = list(journal.entries())
    terms, ids = opened_terms(entries)
    names = {account: name for name, account in ids.items()}
    leaves = leaves_by_slot(terms, entries)
    erased = {(slot, account) for slot, held in leaves.items() for account, leaf in enumerate(held) if leaf is None}
    found: list[Finding] = []
    slot = terms.first
    while slot <= terms.last:
        day = terms.grid.local_day(terms.grid.local(slot).date())
        settled = range(slot, min(day.stop, terms.last + 1, max(leaves, default=slot - 1) + 1))
        if len(settled):
            seen = validate(window_of(terms, leaves, settled), ValidationRule())
            found += [one for one in seen if one.check is not Check.MISSING or (one.slot, one.device) not in erased]
        slot = day.stop
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
        table.add_row(one.check.value, meter, f"{terms.grid.local(one.slot):%Y-%m-%d %H:%M}", *numbers)
    if found:
        console.print(table)
    counts = Counter(one.check for one in found)
    said = ", ".join(f"{counts[check]} {check.name.lower().replace('_', ' ')}" for check in Check if counts[check])
    say(console, f"{len(leaves)} slots of {terms.members} meters: {said or 'no findings'}")
    for account in sorted({account for _, account in erased}):
        count = sum(one == account for _, one in erased)
        say(console, f"{names.get(account, f'account {account}')}: {count:,} readings erased, not looked at")
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(refused.items()))
    say(console, f"refused at admission: {reasons or 'nothing'}")
    return found


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
