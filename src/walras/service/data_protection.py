"""A member's rights over their data in a run's folder: who sees what for which purpose, and to have it gone (forget).

All that is held is gathered in `member_export`. Forget (GDPR Article 17) is recorded as an act first; then the member goes from
every file of the folder, the sealed journal last, so that a command that is cut off can be given again. What stays are salted
digests without their salts, and figures by account number that the contract holds for ever and every audit needs; which account
was whose is nowhere any more.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from walras.errors import JournalError
from walras.exchange.acts import Act, ActKind, consents, record_act
from walras.exchange.fold import ACT, RUN_CLOSED, ExchangeState, apply
from walras.exchange.folder import ACCESS, COMMUNITY, PUBLIC, beside, dismiss_account, seal_text, sealed_text
from walras.exchange.journal import Entry, Journal, write_public_record
from walras.exchange.parts import member_ids, unknown_member
from walras.exchange.sealed import Private
from walras.exchange.statement import make_statement, opened_terms
from walras.metering.purposes import NAMES_FOR, NotAllowed, Purpose, allowed, kept_days, reduced
from walras.service.message_store import MessageStore
from walras.service.reading_store import ReadingStore
from walras.study.runner import OpenRun

REPORT = "report.html"
MESSAGES = "balance*.sqlite"
STORES = ("gateway*.sqlite", "oracle-*.sqlite")
"""Stores of readings that gateway and oracles keep, in a run's folder or in one of the nodes' own; that of a balance oracle's
messages is in `MESSAGES`."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What went: sealed parts of the journal, readings by store, files removed or rewritten. `elsewhere`: nodes that took part in
    the run and whose stores were not found. `held_nano` is what the contract holds for the account: money is not erased."""

    account: int
    parts: int
    readings: Mapping[str, int]
    files: tuple[str, ...]
    elsewhere: int
    held_nano: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What was past its retention and went: journal entries with private parts, readings by store, of members forgotten before
    too; `elsewhere` as in `Forgotten`."""

    parts: int
    readings: Mapping[str, int]
    elsewhere: int


def export_for(journal: Journal, run: Path, member: str, purpose: Purpose, at: datetime, by: str) -> dict[str, Any] | NotAllowed:
    """What a purpose may see of a member: energy at the purpose's resolution, if the member's consent or the contract allows it.

    The disclosure is recorded, and so is a refusal. Nobody is named, not by account either: the public record has every slot of it.
    """
    entries = list(journal.entries())
    refused = read_for(journal, run, member, purpose, at, by, ActKind.EXPORTED)
    if refused:
        return refused
    statement = make_statement(entries, member)
    slot, taken, given = np.array([(row[0], row[2], row[3]) for row in statement.slots], dtype=np.int64).reshape(-1, 3).T
    rows = reduced(opened_terms(entries)[0].grid, slot, taken, given, purpose.resolution)
    return {"purpose": purpose.name, "resolution": purpose.resolution.name.lower(), "energy_wh": rows}


def read_for(
    journal: Journal, run: Path, member: str, purpose: Purpose, at: datetime, by: str, kind: ActKind = ActKind.READ
) -> NotAllowed | None:
    """Record that `by` reads `member`'s data for `purpose`, before it is read; NotAllowed, a refusal on record, where it may not.

    Every command that shows or uses one member's readings goes through here. InputError where there is no such member.
    """
    entries = list(journal.entries())
    account = account_of(entries, member)
    refused = allowed(purpose, account, consents(entries, account))
    record(journal, run, Act(ActKind.DENIED if refused else kind, at, by, account, {"purpose": purpose.name}))
    return refused


def named_for(journal: Journal, run: Path, purpose: Purpose, at: datetime, by: str, page: str = "report") -> frozenset[int]:
    """The accounts that a page made for `purpose` may show by name; that it is made, and whom it names, is recorded."""
    entries = list(journal.entries())
    known = member_ids(entries[0]) if entries else {}
    named = sorted(account for account in known.values() if allowed(purpose, account, consents(entries, account)) is None)
    record(journal, run, Act(ActKind.READ, at, by, None, {"purpose": purpose.name, "page": page, "named": named}))
    return frozenset(named)


def forget_member(opened: OpenRun, run: Path, member: str, at: datetime, nodes: Path | None = None) -> Forgotten:
    """Erase `member` from every store of the run, in its folder and in `nodes`, where gateway and oracles have theirs.

    No store's key is needed for it. JournalError while the run goes on: it would need what is to be erased.
    """
    journal = opened.journal
    entries = list(journal.entries())
    account = account_of(entries, member)
    if not any(entry.kind == RUN_CLOSED for entry in entries):
        raise JournalError(
            f"{run}: the run is not finished", thing=run, way_out="let `walras run` finish it, then forget the member"
        )
    record(journal, run, Act(ActKind.FORGOTTEN, at, opened.by, account))
    files = _redact(run, opened.master, member, account)
    accounts = forgotten_accounts(entries) | {account}
    readings = {str(path): _of_readings(path, accounts) for path in stores_of(run, nodes)}
    readings |= {str(path): _of_messages(path, accounts) for path in stores_of(run, nodes, (MESSAGES,))}
    held = held_nano(entries, account)
    return Forgotten(account, journal.forget(account), readings, files, _elsewhere(entries, len(readings)), held)


def erase_before(
    journal: Journal, run: Path, moment: datetime, at: datetime, by: str, nodes: Path | None = None
) -> tuple[Erased, int]:
    """Erase the private parts of all slots that began before `moment` (aware), and their readings in the stores of the nodes.

    What went, and the first slot that stays.
    """
    entries = list(journal.entries())
    if not any(entry.kind == RUN_CLOSED for entry in entries):
        raise JournalError(f"{run}: the run is not finished", thing=run, way_out="let `walras run` finish it first")
    slot = opened_terms(entries)[0].grid.slot_at(moment)
    record(journal, run, Act(ActKind.ERASED, at, by, None, {"before_slot": slot}))
    readings = {str(path): _of_readings(path, forgotten_accounts(entries), slot) for path in stores_of(run, nodes)}
    readings |= {str(path): _of_messages(path, forgotten_accounts(entries), slot) for path in stores_of(run, nodes, (MESSAGES,))}
    return Erased(journal.erase_before(slot), readings, _elsewhere(entries, len(readings))), slot


def names_due(journal: Journal, now: datetime) -> list[str]:
    """Members whose name is needed no more: since the run's last slot every period is over that needs it, by contract, by law or by
    the member's consent."""
    entries = list(journal.entries())
    terms, known = opened_terms(entries)
    over = now - terms.grid.end(terms.last)
    return [name for name, account in known.items() if over > timedelta(days=kept_days({*NAMES_FOR, *consents(entries, account)}))]


def set_consent(journal: Journal, run: Path, member: str, purpose: Purpose, given: bool, at: datetime, by: str) -> set[str]:
    """Record that a member gives or withdraws consent; returns what the member consents to afterwards."""
    entries = list(journal.entries())
    account = account_of(entries, member)
    kind = ActKind.CONSENT_GIVEN if given else ActKind.CONSENT_WITHDRAWN
    record(journal, run, Act(kind, at, by, account, {"purpose": purpose.name}))
    return consents(journal.entries(), account)


def held_nano(entries: Sequence[Entry], account: int) -> int:
    """What the contract holds for an account at the end of the record."""
    return int(reduce(apply, entries, ExchangeState()).escrow_nano[account])


def account_of(entries: list[Entry], member: str) -> int:
    """The account of a member; InputError names those that are known."""
    if not entries:
        raise JournalError("the journal is empty", way_out="`walras run` makes one")
    members = member_ids(entries[0])
    if member not in members:
        raise unknown_member(entries[0], member)
    return members[member]


def record(journal: Journal, run: Path, act: Act, private: Private | None = None) -> None:
    """The act in the journal and in the public record."""
    record_act(journal, act, private)
    write_public_record(journal, run / PUBLIC)


def stores_of(run: Path, nodes: Path | None = None, patterns: Sequence[str] = STORES) -> list[Path]:
    """The stores of nodes in a run's folder and in that of the nodes."""
    folders = {run.resolve(): run} | ({} if nodes is None else {nodes.resolve(): nodes})
    return sorted(path for folder in folders.values() for pattern in patterns for path in folder.glob(pattern))


def _elsewhere(entries: list[Entry], found: int) -> int:
    """How many nodes took part in the run beyond the `found` stores: each has an act about its log."""
    asked = {e.public["by"] for e in entries if e.kind == ACT and e.public["act"] == ActKind.ASKED.name.lower()}
    return max(0, len(asked) - found)


def forgotten_accounts(entries: list[Entry]) -> set[int]:
    """Accounts of members forgotten before, whom a store that was not at hand then may still know."""
    return {int(e.public["account"]) for e in entries if e.kind == ACT and e.public["act"] == ActKind.FORGOTTEN.name.lower()}


def _of_readings(path: Path, accounts: set[int], slot: int = 0) -> int:
    """Erase `accounts`, and what is before `slot`, in a store of readings. Without its master key: it need not be read for that."""
    store = ReadingStore(path, b"", {})
    try:
        return sum(store.forget_member(account) for account in sorted(accounts)) + (store.erase_before(slot) if slot else 0)
    finally:
        store.close()


def _of_messages(path: Path, accounts: set[int], slot: int = 0) -> int:
    store = MessageStore(path)
    try:
        return sum(store.forget(account) for account in sorted(accounts)) + (store.erase_before(slot) if slot else 0)
    finally:
        store.close()


def page_place(run: Path) -> Path:
    """Where the page of a run is written: beside its folder, in which nothing personal lies open."""
    return beside(run, ".html")


def _redact(run: Path, master: bytes | None, member: str, account: int) -> tuple[str, ...]:
    """Take the member out of the community file and of who may open the folder; remove the page, which shows members by name."""
    changed = []
    for page in (run / REPORT, page_place(run)):
        if page.exists():
            page.unlink()
            changed.append(page.name)
    assert master is not None
    before, origin = sealed_text(run, master)
    after = without_member(before, member, account)
    if section_of(after, member):
        raise JournalError(
            f"{run / COMMUNITY}: {member} is written in a way in which they cannot be taken out of it", thing=member,
            way_out="`[[member]]` and `id = ...` each on a line of their own, without escapes; nothing else was erased yet",
        )  # fmt: skip
    if after != before:
        seal_text(run, master, after, origin)
        changed.append(COMMUNITY)
    if dismiss_account(run, master, account):
        changed.append(ACCESS)
    return tuple(changed)


_SECTION = re.compile(r"(?m)^(?=\[(?!\[?[ \t]*member[ \t]*\.))")
_HEAD = re.compile(r"\[\[[ \t]*member[ \t]*\]\]")
_ID = re.compile(r"(?m)^\s*[\"']?id[\"']?\s*=\s*([\"'])(.*?)\1")
_KEPT = re.compile(r"(?m)^\s*(?:node|contract)\s*=.*$")


def section_of(text: str, member: str) -> dict[str, Any]:
    """What a community file says of the member of that id, however it is spaced; nothing where it names no such member any more."""
    return next((dict(said) for said in tomllib.loads(text).get("member", ()) if said.get("id") == member), {})


def without_member(text: str, member: str, account: int) -> str:
    """A community file in which the `[[member]]` of that id is only an account at its node, without what stands behind the meter.

    >>> print(without_member('[[member]]\\nid = "home-1"\\nnode = "b1"\\ncontract = "c"\\npv = [ 5 ]\\n', "home-1", 7).rstrip())
    [[member]]
    id = "account-7"
    node = "b1"
    contract = "c"
    loads = []
    """
    sections = _SECTION.split(text)
    for at, section in enumerate(sections):
        found = _ID.search(section)
        if _HEAD.match(section) and found and found.group(2) == member:
            kept = [line.strip() for line in _KEPT.findall(section)]
            sections[at] = "\n".join(["[[member]]", f'id = "account-{account}"', *kept, "loads = []", "", ""])
    return "".join(sections)
