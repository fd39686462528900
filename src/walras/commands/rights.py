"""`walras export`, `walras forget` and `walras consent`: a member's rights over their data, each use of them recorded.

And the way in (`opened_run`) that every command on a run's folder takes: who may is decided in `exchange.folder`, and a refusal is
on record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from walras.commands.options import check_days
from walras.commands.remote_forget import RemoteNodes, away, tell_nodes
from walras.commands.secrets import read_opener
from walras.commands.terminal import say, screen
from walras.community import Community
from walras.errors import Fault, InputError, JournalError
from walras.exchange.acts import Act, ActKind
from walras.exchange.folder import Refused
from walras.exchange.journal import Journal
from walras.exchange.owners_file import write_owners_file
from walras.exchange.sealed import OwnKeys
from walras.metering.purposes import READINGS_FOR, NotAllowed, kept_days, purpose_named
from walras.service.data_protection import (
    Erased,
    Forgotten,
    erase_before,
    export_for,
    forget_member,
    forgotten_accounts,
    names_due,
    record,
    set_consent,
)
from walras.service.erasure import Told
from walras.service.member_export import export_member
from walras.service.processing import processing_record
from walras.study.runner import JOURNAL, OpenRun, open_run
from walras.units import format_money


@contextmanager
def opened_run(run: Path, opener: Path | None, command: str) -> Iterator[OpenRun]:
    """The run's folder, opened for `command` by the key or secret in a file, or the key beside the folder.

    JournalError where who holds the key may not; that is recorded.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    opened = open_run(run, read_opener(opener, command), command, now)
    if isinstance(opened, Refused):
        journal = Journal(run / JOURNAL, OwnKeys({}))
        record(journal, run, Act(ActKind.DENIED, now, opened.by, None, {"purpose": command, "why": opened.why}))
        journal.close()
        raise JournalError(
            f"{opened.by} may not give `{command}` on {run}: {opened.why}; the refusal is recorded",
            thing=opened,
            way_out=f"the operator's `walras admit {run} {opened.by} RIGHT`",
        )
    try:
        yield opened
    finally:
        opened.journal.close()


def community_of(opened: OpenRun) -> Community:
    """The community, for commands that nobody opens with a member's keys alone."""
    assert opened.community is not None
    return opened.community


def refusal(run: Path, member: str | None, refused: NotAllowed) -> JournalError:
    """What is said where a purpose may not see a member's data."""
    return JournalError(
        f"{member} has not consented to {refused.purpose}; the refusal is recorded",
        thing=refused,
        way_out=f"`walras consent {run} {member} {refused.purpose}` once the member has agreed",
    )


def export_command(
    run: Path,
    member: str | None,
    out: Path | None,
    purpose: str | None,
    record: bool,
    secret: Path | None,
    nodes: Path | None = None,
) -> None:
    """Write a member's data, what a purpose may see of it, or the record of processing; `nodes`: folder of the nodes' stores."""
    now = datetime.now(UTC)
    if record == (member is not None):
        faults = [Fault("command line", "MEMBER", member, "a member, or --processing-record")]
        raise InputError("walras export", faults)
    _check_folder(nodes, "walras export")
    with opened_run(run, secret, "walras export") as opened:
        journal = opened.journal
        if member is None:
            result: dict[str, Any] | NotAllowed = processing_record(journal, run, now, nodes)
        elif purpose is None:
            result = export_member(opened, run, member, now, nodes)
        else:
            result = export_for(journal, run, member, purpose_named(purpose), now, opened.by)
    if isinstance(result, NotAllowed):
        raise refusal(run, member, result)
    text = json.dumps(result, indent=1) + "\n"
    if out is None:
        print(text, end="")
    else:
        write_owners_file(out, text)
        say(screen(), f"written: {out} ({len(text):,} bytes)")
        for gap in result.get("left_out", []):
            say(screen(), f"not in it: {gap}")


@dataclass(frozen=True, slots=True)
class Places:
    """Where else a member is to be forgotten: the folder of the nodes' stores, and nodes over the network."""

    nodes: Path | None = None
    remote: RemoteNodes | None = None


def forget_command(
    run: Path, member: str | None, older_than: int | None, opener: Path | None, places: Places | None = None, *, due: bool = False
) -> None:
    """Erase a member everywhere in the run's folder and at the nodes, or everybody's private parts older than some days, or what
    is `due` by the periods of the purposes.

    With neither, nodes over the network are told of everybody who was forgotten. MeteringError, when all else is done, where a node
    did not erase.
    """
    now, places = datetime.now(UTC), places or Places()
    _check_forget(member, older_than, places, due)
    if due:
        older_than = kept_days(READINGS_FOR)
    told: list[Told] = []
    with opened_run(run, opener, "walras forget") as opened:
        before = _forget_here(opened, run, member, older_than, now, places.nodes)
        for name in names_due(opened.journal, now) if due else ():
            _forget_here(opened, run, name, None, now, places.nodes)
        if places.remote is not None:
            told = tell_nodes(opened, run, places.remote, forgotten_accounts(list(opened.journal.entries())), before)
    for one in told:
        if one.gone is not None:
            say(screen(), f"{one.node.name} at {one.node.host}:{one.node.port}: {one.gone} readings or messages erased")
    if any(one.gone is None for one in told):
        raise away(run, told)


def _check_forget(member: str | None, older_than: int | None, places: Places, due: bool) -> None:
    given = [what for what in (member, older_than, due or None) if what is not None]
    if len(given) > 1 or not (given or places.remote is not None):
        expected = "a member, --older-than DAYS, or --due; none, with --gateway, --oracles or --balance: all who were forgotten"
        raise InputError("walras forget", [Fault("command line", "MEMBER", member, expected)])
    _check_folder(places.nodes, "walras forget")
    check_days("walras forget", "--older-than", older_than, 0)


def _check_folder(nodes: Path | None, command: str) -> None:
    if nodes is not None and not nodes.is_dir():
        raise InputError(command, [Fault("command line", "--nodes", str(nodes), "the folder of the nodes' stores")])


def _forget_here(opened: OpenRun, run: Path, member: str | None, older_than: int | None, now: datetime, nodes: Path | None) -> int:
    """Erase in the folder and the stores beside it, and say so; the slot before which everything goes, 0 for none."""
    console, before = screen(), 0
    done: Erased | Forgotten
    if member is not None:
        done = forget_member(opened, run, member, now, nodes)
        say(console, f"{member}: key and {done.parts} sealed parts of the journal erased")
    elif older_than is not None:
        moment = now - timedelta(days=older_than)
        done, before = erase_before(opened.journal, run, moment, now, opened.by, nodes)
        say(console, f"private parts of {done.parts} entries erased; the bills stay, the proofs of those readings are gone")
    else:
        return before
    for name, count in done.readings.items():
        kind = "messages" if Path(name).name.startswith("balance") else "readings"
        say(console, f"{member or 'everybody'}: {count} {kind} erased from {name}")
    if isinstance(done, Forgotten):
        for name in done.files:
            say(console, f"{name}: {'removed' if name.endswith('.html') else 'the member is only an account in it now'}")
        say(console, f"what stays: account {done.account} in the public record, whose it was nowhere in {run}")
        if done.held_nano:
            held = format_money(done.held_nano, opened.community.currency if opened.community else "")
            say(
                console,
                f"money stays: the contract holds {held} for the account; its owner's key takes it out (`walras exit`)",
            )
    if done.elsewhere:
        way = f"`walras forget {run} --gateway …`, or `--older-than DAYS --nodes DIR`, erases there as well, and who was forgotten"
        say(console, f"not erased: what {done.elsewhere} nodes of this run keep, whose stores were not there; {way}")
    return before


def consent_command(run: Path, member: str, purpose: str, withdraw: bool, secret: Path | None) -> None:
    """Record consent, or its withdrawal."""
    with opened_run(run, secret, "walras consent") as opened:
        given = purpose_named(purpose), not withdraw
        left = set_consent(opened.journal, run, member, *given, datetime.now(UTC), opened.by)
    say(screen(), f"{member} consents to: {', '.join(sorted(left)) or 'nothing'}")
