"""`walras edit`: a person with the right credential says that a value of a settled slot is wrong, and what it should be.

The order is signed, judged, and recorded as an act; the run takes it from there when the slot's dispute window closes, together
with late readings: the oracles judge it each for themselves, and the difference is settled. What is refused is an act, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from walras.commands.options import read_moment
from walras.commands.rights import community_of, opened_run
from walras.commands.secrets import read_passphrase
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError, JournalError
from walras.exchange.acts import Act, ActKind
from walras.exchange.edits import edit_act, final_with, in_time
from walras.exchange.fold import LEDGER_DEPLOYED, RUN_CLOSED
from walras.exchange.journal import Entry
from walras.exchange.phases import EventKind
from walras.exchange.statement import opened_terms
from walras.exchange.terms import Terms
from walras.exchange.windows import kept_by_slot
from walras.metering import derive_key, did_of
from walras.metering.access import AccessRefusal
from walras.metering.correction import Reason
from walras.metering.editing import Edit, EditRefusal, Ordered, judge_edit, sign_edit
from walras.metering.feeder import Feeder, FeederCheck, check_energies
from walras.metering.identity import Key
from walras.metering.parcel_reading import split_item
from walras.metering.slot_readings import energy_of_leaf
from walras.service.appointment import Appointment, appointment, editor_credential
from walras.service.data_protection import account_of, record
from walras.service.keys import open_key
from walras.study.correction_lines import is_against

LOCAL = "%Y-%m-%dT%H:%M"


@dataclass(frozen=True, slots=True)
class Editor:
    """Where the editor's key and credential are; both None where keys follow from the community's seed."""

    key: str | None
    credential: Path | None
    passphrase: Path | None
    roll: Path | None


def edit_command(
    run: Path, member: str, slot: str, now_wh: tuple[int, int], reason: str, editor: Editor, secret: Path | None
) -> Ordered:
    """Sign, judge and record the edit of `member`'s value in `slot` to `now_wh`; JournalError where it is refused."""
    given = {one.name.lower(): one for one in Reason}
    if reason not in given:
        raise InputError("walras edit", [Fault("command line", "--reason", reason, f"one of {', '.join(given)}")])
    at = datetime.now(UTC).replace(microsecond=0)
    with opened_run(run, secret, "walras edit") as opened:
        journal, a = opened.journal, appointment(community_of(opened), editor.roll)
        entries = list(journal.entries())
        terms, _ids = opened_terms(entries)
        account, index = account_of(entries, member), slot_named(terms, slot, "walras edit")
        key, credential = _credentials(a, editor)
        asked = Edit(account, index, _stands(terms, entries, account, index), now_wh, given[reason])
        judged = _judged(a, entries, terms, asked, key, credential, at)
        if not isinstance(judged, Ordered):
            denied = {"purpose": "edit", "why": judged.value}
            record(journal, run, Act(ActKind.DENIED, at, did_of(key.public_key()), account, denied))
            raise JournalError(f"the edit is refused: {judged.value}; the refusal is recorded", thing=judged)
        record(journal, run, edit_act(judged, at))
    edit = judged.edit
    before, after = _balances(a, entries, edit)
    say(
        screen(),
        f"{member}, slot {edit.slot} ({terms.grid.shown(edit.slot)}): {_shown(edit.was)} to {_shown(edit.now)}, "
        f"{reason.replace('_', ' ')}, by {judged.holder}; recorded. It is settled with slot {final_with(terms, edit.slot)}",
    )
    if after is not None and is_against(before, after):
        say(
            screen(),
            f"against the feeder's own meter: {after.residual_wh:+,} Wh came through beyond homes and losses, where meters' errors "
            f"explain {after.tolerance_wh:,}" + ("" if before is None else f"; it was {before.residual_wh:+,}"),
        )
        say(screen(), "  summary and report will say so, once the oracles have struck the balance of the edited slot")
    return judged


def _credentials(a: Appointment, editor: Editor) -> tuple[Key, str]:
    """The editor's key, and the operator's word that its holder may edit."""
    key: Key = derive_key(a.seed, "metering desk")
    credential = None
    if editor.key is not None:
        key = open_key(editor.key, read_passphrase(editor.passphrase, "walras edit"))
        credential = None if editor.credential is None else editor.credential.read_text(encoding="ascii").strip()
    if credential is None:
        if a.roll is not None or editor.key is not None:
            fault = Fault(
                "command line", "--credential", None, "the operator's word that the key's holder may edit (`walras allow DID edit`)"
            )
            raise InputError("walras edit", [fault])
        credential = editor_credential(a.community, a.operator_key, did_of(key.public_key()))
    return key, credential


def _judged(
    a: Appointment, entries: list[Entry], terms: Terms, edit: Edit, key: Key, credential: str, at: datetime
) -> Ordered | EditRefusal | AccessRefusal:
    contract = next(str(e.public["settlement"]) for e in entries if e.kind == LEDGER_DEPLOYED)
    settled = [e.slot for e in entries if e.kind == EventKind.SETTLED.value]
    if edit.slot not in settled:
        return EditRefusal.NOT_SETTLED
    closed = any(e.kind == RUN_CLOSED for e in entries)
    if closed or not in_time(terms, edit.slot, settled[-1]):
        return EditRefusal.TOO_LATE
    return judge_edit(sign_edit(key, credential, edit, contract, at), a.operator, contract, terms.members)


def _balances(a: Appointment, entries: list[Entry], edit: Edit) -> tuple[FeederCheck | None, FeederCheck | None]:
    """The feeder's balance of the slot as it stands, and with the edit; None where the feeder's own meter was not heard."""
    of_slot = [entry.public for entry in entries if edit.slot in (entry.slot, entry.public.get("slot"))]
    feeder = next((split_item(bytes.fromhex(public["feeder"])) for public in of_slot if public.get("feeder")), None)
    energies = [public for public in of_slot if "import_wh" in public]
    if feeder is None or not energies:
        return None, None
    grid, through = a.community.grid, feeder[2] - feeder[3]
    imports, exports = (np.array(energies[-1][name], dtype=np.int64) for name in ("import_wh", "export_wh"))
    behind = Feeder(a.meters.feeder, a.trading.network, a.trading.bus)
    before = check_energies(behind, grid, imports, exports, through)
    imports[edit.account], exports[edit.account] = edit.now
    return before, check_energies(behind, grid, imports, exports, through)


def _stands(terms: Terms, entries: list[Entry], account: int, slot: int) -> tuple[int, int]:
    """Import and export that the slot stands at; (0, 0) where there is none yet: then the slot is not settled, which is said."""
    kept = kept_by_slot(terms, (e for e in entries if slot in (e.slot, e.public.get("slot")))).get(slot)
    leaf = None if kept is None else kept[account].leaf
    return (None if leaf is None else energy_of_leaf(leaf)) or (0, 0)


def slot_named(terms: Terms, text: str, command: str) -> int:
    """A slot by its number, or by when it begins (`read_moment`). InputError for none of the run."""
    begins = f"{terms.grid.local(terms.first).strftime(LOCAL)} and so on"
    if text.isdecimal():
        slot: int | None = int(text)
    else:
        numbers = f", at which a slot begins ({begins}); or a slot's number, {terms.first} to {terms.last}"
        moment = read_moment(text, terms.grid.timezone, command, "SLOT", numbers)
        slot = terms.grid.slot_at(moment)
        slot = slot if terms.grid.start(slot) == moment else None
    if slot is None or not terms.first <= slot <= terms.last:
        run = f"{terms.first} to {terms.last}, or when it begins, {begins}"
        raise InputError(command, [Fault("command line", "SLOT", text, run)])
    return slot


def _shown(energies: tuple[int, int]) -> str:
    return f"{energies[0]:,} Wh taken and {energies[1]:,} Wh given"
