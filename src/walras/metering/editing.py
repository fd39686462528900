"""Edits: a person with the operator's credential says that a value of a settled slot is wrong, what it should be, and why.

An edit order is a signed request (`access`) under a credential with the right to edit, made for the settlement contract of one run,
and names account, slot, what stands there, what should, and a reason. So it cannot be turned on another run, and says nothing once
something else stands there. Its time is the one it was made at: who receives it later judges the credential as of then.

    judge_edit(bytes) -> Edit or why not        edited_slot(readings, edits) -> readings'

An edit changes nothing by itself: like a late reading it makes a corrected successor of the slot (`correction`), marked EDITED,
with the reason and the editor's DID in its leaf; the oracles attest that, and the difference is settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import cbor2

from walras.errors import InputError
from walras.metering.access import AccessRefusal, Right, open_kept, sign_request
from walras.metering.admission import Registry
from walras.metering.correction import Correction, Reason, corrected
from walras.metering.identity import Key, PublicKey
from walras.metering.refusals import Refusal
from walras.metering.slot_readings import SlotReadings
from walras.metering.strict_cbor import loads_strict
from walras.units import INT64_MAX

BY_PEOPLE = (Reason.METER_FAULT, Reason.METER_EXCHANGE, Reason.WRONG_SUBSTITUTE, Reason.CLOCK_FAULT, Reason.REGISTER_TOTAL)
"""The reasons that an edit may give."""


class EditRefusal(Enum):
    """Why an edit does not count, beside what is wrong with its request (`AccessRefusal`)."""

    MALFORMED = "not an edit"
    UNKNOWN_ACCOUNT = "for no meter of this community"
    NOTHING_CHANGED = "what should stand there stands there"
    NOT_SETTLED = "the slot is not settled yet: there is nothing to edit"
    STANDS_OTHERWISE = "something else stands there than the edit says"
    TOO_LATE = "the slot is final: its dispute window has closed"


@dataclass(frozen=True, slots=True)
class Edit:
    """One value of one slot: account (row of the meter), from `was` to `now` (import, export in Wh), why."""

    account: int
    slot: int
    was: tuple[int, int]
    now: tuple[int, int]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Ordered:
    """An edit that holds: by whom (did:key), made when, and the signed bytes."""

    edit: Edit
    holder: str
    made: datetime
    encoded: bytes


def edits_of(contract: str) -> str:
    """The name that edits of a run are made for: the address of its settlement contract."""
    return f"readings settled by {contract}"


def sign_edit(holder: Key, credential: str, edit: Edit, contract: str, now: datetime) -> bytes:
    """The order for the wire, signed by the credential's holder at `now` (aware)."""
    body = cbor2.dumps([edit.account, edit.slot, *edit.was, *edit.now, int(edit.reason)])
    return sign_request(holder, credential, Right.EDIT, edits_of(contract), body, now)


def judge_edit(encoded: bytes, issuer: PublicKey, contract: str, accounts: int) -> Ordered | EditRefusal | AccessRefusal:
    """The edit, if credential and signature held when it was made; whether it still fits is `edited_slot`'s."""
    opened = open_kept(encoded, issuer, edits_of(contract))
    if isinstance(opened, AccessRefusal):
        return opened
    asked, made = opened
    if asked.right is not Right.EDIT:
        return AccessRefusal.NO_RIGHT
    edit = _edit(asked.body)
    if edit is None:
        return EditRefusal.MALFORMED
    if edit.account >= accounts:
        return EditRefusal.UNKNOWN_ACCOUNT
    return EditRefusal.NOTHING_CHANGED if edit.was == edit.now else Ordered(edit, asked.holder, made, encoded)


def edited_slot(registry: Registry, readings: SlotReadings, edits: Sequence[Ordered]) -> SlotReadings:
    """The slot after its edits in their order; those that say what does not stand there do not count."""
    for ordered in edits:
        edit = ordered.edit
        change = Correction(edit.account, edit.was, edit.now, edit.reason, ordered.holder)
        try:
            readings = corrected(registry, readings, [change])
        except InputError:
            continue  # an expected outcome: meanwhile a late reading, or an earlier edit, took the place
    return readings


def _edit(body: bytes) -> Edit | None:
    value = loads_strict(body)
    if isinstance(value, Refusal) or not isinstance(value, list) or len(value) != 7:
        return None
    if not all(type(number) is int and 0 <= number <= INT64_MAX for number in value) or value[6] not in {int(r) for r in BY_PEOPLE}:
        return None
    account, slot, was_import, was_export, import_wh, export_wh, reason = value
    return Edit(account, slot, (was_import, was_export), (import_wh, export_wh), Reason(reason))
