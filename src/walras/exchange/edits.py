"""Edits in the journal: an order to edit is an act, and it counts where it was recorded before its slot became final.

A slot becomes final with the settlement of the first slot that is due when its dispute window has closed (of the last slot of the
run, at its end). What stands before that entry in the journal is in time and nothing else is, so a run that goes on after a kill,
and everybody's audit, come to the same edits. Which of them counted is in the correcting entry: its `edits` are their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from walras.errors import AuditError
from walras.exchange.acts import Act, ActKind, act_from_public
from walras.exchange.fold import ACT, SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.terms import Terms
from walras.metering.access import issuer_named
from walras.metering.correction import Correction, Reason, encode_correction
from walras.metering.editing import Ordered, judge_edit
from walras.metering.slot_readings import SlotReadings

SeenAct = tuple[int | None, Entry]
"""The last slot that was settled before an act, and the act's entry."""


def final_with(terms: Terms, slot: int) -> int:
    """The slot with whose settlement `slot` becomes final."""
    length = 60 * terms.grid.minutes
    return min(terms.last, slot + -(-terms.dispute_window_s // length))


def in_time(terms: Terms, slot: int, last_settled: int | None) -> bool:
    """Whether an edit of `slot` counts that is recorded when `last_settled` is the last slot settled."""
    return last_settled is not None and slot <= last_settled < final_with(terms, slot)


def edits_in_time(terms: Terms, acts: Iterable[SeenAct], slot: int) -> dict[int, Act]:
    """The edits of a slot that count, by the number of their entry."""
    found = {}
    for last_settled, entry in acts:
        named = (entry.public["act"], entry.public["detail"].get("slot"))
        if named == (ActKind.EDITED.name.lower(), slot) and in_time(terms, slot, last_settled):
            found[entry.seq] = act_from_public(entry)
    return found


def overtaken(entries: Iterable[Entry]) -> list[Act]:
    """Edits that were ordered in time and do not stand: when their slot was corrected something else had come there."""
    entries = list(entries)
    corrected = {e.public["slot"]: e.public.get("edits", []) for e in entries if e.kind == SLOT_CORRECTED}
    return [
        act_from_public(e)
        for e in entries
        if e.kind == ACT
        and e.public["act"] == ActKind.EDITED.name.lower()
        and e.seq not in corrected.get(e.public["detail"]["slot"], [e.seq])
    ]


def order_of(act: Act) -> bytes:
    """The signed order of an edit's act."""
    return bytes.fromhex(str((act.detail or {})["order"]))


def edit_act(ordered: Ordered, at: Any) -> Act:
    """The act of an edit that was judged to hold, recorded at `at` (aware)."""
    edit = ordered.edit
    detail = {
        "slot": edit.slot,
        "was": list(edit.was),
        "now": list(edit.now),
        "reason": edit.reason.name.lower(),
        "order": ordered.encoded.hex(),
    }
    return Act(ActKind.EDITED, at, ordered.holder, edit.account, detail)


def standing_edits(readings: SlotReadings, key_ids: list[bytes], edits: Mapping[int, Act]) -> list[int]:
    """The numbers of those edits whose leaf stands in `readings`; `key_ids` by device."""
    return [seq for seq, act in edits.items() if readings.leaves[act.account or 0] == _leaf(readings.slot, key_ids, act)]


def _leaf(slot: int, key_ids: list[bytes], act: Act) -> bytes:
    detail, account = act.detail or {}, act.account or 0
    was, now = tuple(detail["was"]), tuple(detail["now"])
    change = Correction(account, was, now, Reason[detail["reason"].upper()], act.by)
    return encode_correction(key_ids[account], slot, change)


def check_edit_act(entry: Entry, contract: str, accounts: int) -> None:
    """The act says what its signed order says, by who signed it, under a credential with that right; AuditError where not."""
    act = act_from_public(entry)
    encoded = order_of(act)
    issuer = issuer_named(encoded)
    judged = None if issuer is None else judge_edit(encoded, issuer, contract, accounts)
    if not isinstance(judged, Ordered):
        why = "no credential" if judged is None else judged.value
        raise AuditError(f"entry {entry.seq}: the order of an edit does not hold: {why}", thing=entry.seq)
    if edit_act(judged, act.at) != act:
        raise AuditError(f"entry {entry.seq}: the edit says something else than its signed order", thing=entry.seq)


def edited_to(public: Mapping[str, Any], edits: Mapping[int, Act]) -> dict[int, tuple[int, int]]:
    """By account, what the edits that a correcting entry names make of it (Wh); AuditError for one that it may not name."""
    slot, found = public["slot"], {}
    for seq in public.get("edits", []):
        if seq not in edits:
            raise AuditError(f"slot {slot}: the correction names an edit that was not ordered in time: entry {seq}", thing=slot)
        act = edits[seq]
        taken, given = (act.detail or {})["now"]
        found[act.account or 0] = (int(taken), int(given))
    return found
