"""Acts: what somebody did with the record itself, as an entry of its own kind beside the life of the slots.

Reading a member's data out, forgetting a member, erasing what is past its retention, giving and withdrawing consent, revoking a
credential, ordering a dispatch, publishing a statistic: each is a line of the journal like any other, so it is in the hash chain,
in the public record, and cannot be undone in silence. An act moves no energy and no money; a run that goes on, and the audit, pass
over it in its place. What was ordered of devices binds the slots that open after it (`ordered`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from walras.errors import Fault, InputError, JournalError
from walras.exchange.fold import ACT
from walras.exchange.journal import Entry, Journal
from walras.exchange.sealed import Private


class ActKind(Enum):
    """What can be done."""

    CONSENT_GIVEN = "consent given"
    CONSENT_WITHDRAWN = "consent withdrawn"
    EXPORTED = "a member's data read out"
    FORGOTTEN = "a member forgotten"
    ERASED = "private parts past their retention erased"
    ERASED_AT_NODES = "nodes told to erase what they keep of members"
    READ = "readings of a slot read"
    ASKED = "requests to a node of the metering path"
    DISPATCHED = "a dispatch ordered"
    REVOKED = "a credential revoked"
    ADMITTED = "somebody admitted to the run's folder"
    DISMISSED = "somebody's admission to the run's folder taken back"
    EDITED = "an edit of a settled slot ordered"
    METER_EXCHANGED = "a meter exchanged"
    VALIDATED = "what a day's readings showed together"
    PUBLISHED = "a statistic published under the privacy budget"
    DENIED = "an act that no credential allowed"


@dataclass(frozen=True, slots=True)
class Act:
    """One act: `by` is a role or the DID of who did it, `account` the member concerned, `detail` whole numbers and texts."""

    kind: ActKind
    at: datetime
    by: str
    account: int | None = None
    detail: Mapping[str, Any] | None = None


def act_to_public(act: Act) -> dict[str, Any]:
    """The public part of an act's entry; InputError for a naive time."""
    if act.at.utcoffset() is None:
        raise InputError("act", [Fault(act.kind.value, "at", act.at, "an aware time")])
    return {
        "act": act.kind.name.lower(),
        "at": act.at.isoformat(timespec="seconds"),
        "by": act.by,
        "account": act.account,
        "detail": dict(act.detail or {}),
    }


def act_from_public(entry: Entry) -> Act:
    """The act of an entry; JournalError where it is none."""
    public = entry.public
    try:
        kind = ActKind[str(public["act"]).upper()]
        return Act(kind, datetime.fromisoformat(public["at"]), public["by"], public["account"], public["detail"])
    except (KeyError, ValueError, TypeError) as cause:
        raise JournalError(f"entry {entry.seq} ({entry.kind}): not an act: {cause}", thing=entry.seq) from cause


def record_act(journal: Journal, act: Act, private: Private | None = None) -> Entry:
    """Append the act, behind whatever others have appended meanwhile; JournalError in a journal that was not opened by a run."""
    if not journal.count:
        raise JournalError("an act needs a run that was begun", way_out="`walras run` begins one")
    with journal.alone():
        return journal.append(ACT, None, act_to_public(act), private)


def acts_of(entries: Iterable[Entry], account: int | None = None) -> list[Act]:
    """All acts in their order, or those that concern one account."""
    acts = [act_from_public(entry) for entry in entries if entry.kind == ACT]
    return acts if account is None else [act for act in acts if act.account == account]


def acts_about(entries: Iterable[Entry], account: int) -> list[Act]:
    """The acts that concern an account, also those that concern others too: a page that named it, nodes that erased it, whatever
    was done with everybody's data."""
    return [act for act in acts_of(entries) if act.account == account or _among(act.detail or {}, account)]


def _among(detail: Mapping[str, Any], account: int) -> bool:
    listed = [detail[name] for name in ("named", "accounts") if name in detail]
    return any(account in accounts for accounts in listed) or bool({"before_slot", "statistic"} & set(detail))


def consents(entries: Iterable[Entry], account: int) -> set[str]:
    """The names of the purposes that an account consents to now: given and not withdrawn since."""
    given: set[str] = set()
    for act in acts_of(entries, account):
        purpose = str((act.detail or {}).get("purpose", ""))
        if act.kind is ActKind.CONSENT_GIVEN:
            given.add(purpose)
        elif act.kind is ActKind.CONSENT_WITHDRAWN:
            given.discard(purpose)
    return given
