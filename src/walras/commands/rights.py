"""`walras export`, `walras forget` and `walras consent`: a member's rights over their data, each use of them recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from walras.commands.options import check_days
from walras.commands.secrets import read_secret
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError, JournalError
from walras.exchange.journal import Journal
from walras.metering.purposes import NotAllowed, purpose_named
from walras.service.data_protection import Erased, Forgotten, erase_before, export_for, export_member, forget_member, set_consent
from walras.service.processing import processing_record
from walras.study.runner import COMMUNITY, open_journal, store_master

OPERATOR = "operator"


@contextmanager
def opened_run(run: Path, secret: Path | None, command: str) -> Iterator[tuple[Journal, bytes]]:
    """The run's journal, and the master key of the stores beside it."""
    given = None if secret is None else read_secret(secret, command)
    journal = open_journal(run, given)
    try:
        yield journal, store_master(run / COMMUNITY, given)
    finally:
        journal.close()


def refusal(run: Path, member: str | None, refused: NotAllowed) -> JournalError:
    """What is said where a purpose may not see a member's data."""
    return JournalError(
        f"{member} has not consented to {refused.purpose}; the refusal is recorded",
        thing=refused,
        way_out=f"`walras consent {run} {member} {refused.purpose}` once the member has agreed",
    )


def export_command(run: Path, member: str | None, out: Path | None, purpose: str | None, record: bool, secret: Path | None) -> None:
    """Write a member's data, what a purpose may see of it, or the record of processing."""
    now = datetime.now(UTC)
    if record == (member is not None):
        faults = [Fault("command line", "MEMBER", member, "a member, or --processing-record")]
        raise InputError("walras export", faults)
    with opened_run(run, secret, "walras export") as (journal, master):
        if member is None:
            result: dict[str, Any] | NotAllowed = processing_record(journal, run, now)
        elif purpose is None:
            result = export_member(journal, run, member, master, now, OPERATOR)
        else:
            result = export_for(journal, run, member, purpose_named(purpose), now, OPERATOR)
    if isinstance(result, NotAllowed):
        raise refusal(run, member, result)
    text = json.dumps(result, indent=1) + "\n"
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
        say(screen(), f"written: {out} ({len(text):,} bytes)")


def forget_command(run: Path, member: str | None, older_than: int | None, secret: Path | None, nodes: Path | None = None) -> None:
    """Erase a member everywhere in the run's folder and the nodes', or everybody's private parts older than some days."""
    now = datetime.now(UTC)
    console = screen()
    if (member is None) == (older_than is None):
        raise InputError("walras forget", [Fault("command line", "MEMBER", member, "a member, or --older-than DAYS")])
    if nodes is not None and not nodes.is_dir():
        raise InputError("walras forget", [Fault("command line", "--nodes", str(nodes), "the folder of the nodes' stores")])
    check_days("walras forget", "--older-than", older_than, 0)
    done: Erased | Forgotten
    with opened_run(run, secret, "walras forget") as (journal, _):
        if member is None:
            assert older_than is not None
            done = erase_before(journal, run, now - timedelta(days=older_than), now, OPERATOR, nodes)
            say(console, f"private parts of {done.parts} entries erased; the bills stay, the proofs of those readings are gone")
        else:
            done = forget_member(journal, run, member, now, OPERATOR, nodes)
            say(console, f"{member}: key and {done.parts} sealed parts of the journal erased")
    for name, count in done.readings.items():
        kind = "messages" if Path(name).name.startswith("balance") else "readings"
        say(console, f"{member or 'everybody'}: {count} {kind} erased from {name}")
    if isinstance(done, Forgotten):
        for name in done.files:
            say(console, f"{name}: {'removed' if name.endswith('.html') else 'the member is only an account in it now'}")
        say(console, f"what stays: account {done.account} in the public record, whose it was nowhere in {run}")
    if done.elsewhere:
        way = f"`walras forget {run} --older-than DAYS --nodes DIR` erases there as well, and who was forgotten"
        say(console, f"not erased: what {done.elsewhere} nodes of this run keep, whose stores were not there; {way}")


def consent_command(run: Path, member: str, purpose: str, withdraw: bool, secret: Path | None) -> None:
    """Record consent, or its withdrawal."""
    with opened_run(run, secret, "walras consent") as (journal, _):
        left = set_consent(journal, run, member, purpose_named(purpose), not withdraw, datetime.now(UTC), OPERATOR)
    say(screen(), f"{member} consents to: {', '.join(sorted(left)) or 'nothing'}")
