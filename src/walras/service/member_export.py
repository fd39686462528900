"""All that is held about one member, gathered from every store: GDPR Articles 15 and 20.

From the run's folder: the statement with every proof, orders with their salts, the sealed parts, what the community file says of
the member, keys of theirs that open their own, money at the contract, consents, and each act that concerns them, also those that
concern others too. From gateway, oracles and balance oracle: everything under the member's account. What could not be looked at
is named in `left_out`, so that a gap is never mistaken for nothing.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from walras.exchange.acts import Act, ActKind, act_to_public, acts_about, acts_of, consents
from walras.exchange.folder import ACCESS, COMMUNITY, admitted, sealed_text
from walras.exchange.journal import Entry
from walras.exchange.parts import part_as_json
from walras.exchange.phases import EventKind
from walras.exchange.statement import make_statement, opened_terms, statement_to_json
from walras.metering.purposes import PURPOSES, Purpose
from walras.service.data_protection import MESSAGES, held_nano, record, section_of, stores_of
from walras.service.message_store import MessageStore
from walras.service.reading_store import ReadingStore
from walras.study.runner import OpenRun


def export_member(opened: OpenRun, run: Path, member: str, at: datetime, nodes: Path | None = None) -> dict[str, Any]:
    """Everything about `member` in plain JSON values; the export itself is recorded as an act. InputError names the members."""
    entries = list(opened.journal.entries())
    statement = make_statement(entries, member)
    account = statement.account
    terms, _ = opened_terms(entries)
    kept = [
        {"seq": e.seq, "kind": e.kind, "slot": e.slot, "data": part_as_json(e.kind, part)}
        for e in entries
        if e.private is not None and (part := e.private.part(account))
    ]
    result = {
        "member": member,
        "account": account,
        "made_at": at.isoformat(timespec="seconds"),
        "statement": statement_to_json(statement),
        "held_nano": held_nano(entries, account),
        "orders": _orders_of(entries, account),
        "kept": kept,
        "purposes": [_purpose_as_json(purpose) for purpose in PURPOSES.values()],
        "consents": sorted(consents(entries, account)),
        "acts": [act_to_public(act) for act in acts_about(entries, account)],
        "slot_minutes": terms.grid.minutes,
        "slot_origin": terms.grid.origin.isoformat(),
        **_of_operator(opened, run, member, account),
        **_of_nodes(opened, run, account, nodes),
    }
    result["left_out"] = [*result.pop("closed"), *result.pop("elsewhere")]
    record(opened.journal, run, Act(ActKind.EXPORTED, at, opened.by, account, {"purpose": "the member's own"}))
    return result


def _of_operator(opened: OpenRun, run: Path, member: str, account: int) -> dict[str, Any]:
    """What only the folder's key opens."""
    if opened.master is None:
        return {"closed": [f"{name}: opens with the operator's key" for name in (COMMUNITY, ACCESS)]}
    text, _ = sealed_text(run, opened.master)
    keys = [holder.did for holder in admitted(run, opened.master) if holder.account == account]
    return {"community_file": section_of(text, member), "own_keys": keys, "closed": []}


def _of_nodes(opened: OpenRun, run: Path, account: int, nodes: Path | None) -> dict[str, Any]:
    """What stores of nodes hold, where they were found and open; what was not is said."""
    found: dict[str, Any] = {}
    shut = []
    for path in stores_of(run, nodes):
        if opened.stores is None:
            shut.append(f"{path}: opens with the secret of its node")
        else:
            found[str(path)] = _readings_of(path, opened.stores, account)
    for path in stores_of(run, nodes, (MESSAGES,)):
        store = MessageStore(path)
        found[str(path)] = {"messages": [[slot, kind, said.hex()] for slot, kind, said in store.of_device(account)]}
        store.close()
    asked = {act.by for act in acts_of(opened.journal.entries()) if act.kind is ActKind.ASKED}
    away = len(asked) - len(found) - len(shut)
    missing = [f"{away} nodes of the run, whose stores were not there: --nodes DIR"] if away > 0 else []
    return {"other_stores": found, "elsewhere": [*shut, *missing]}


def _readings_of(path: Path, master: bytes, account: int) -> dict[str, Any]:
    store = ReadingStore(path, master, {})
    try:
        return {
            "readings": [encoded.hex() for encoded in store.of_member(account)],
            "heard": [list(row) for row in store.heard_of(account)],
            "edits": [encoded.hex() for encoded in store.edits_of(account)],
            "meter_exchanges": store.exchanges_of(account),
        }
    finally:
        store.close()


def _orders_of(entries: list[Entry], account: int) -> list[dict[str, Any]]:
    found = []
    for entry in entries:
        if entry.kind == EventKind.ORDERS_REVEALED.value:
            orders = entry.public["orders"]
            for row, participant in enumerate(orders["participant"]):
                if participant == account:
                    mine = {name: column[row] for name, column in orders.items()}
                    found.append({"slot": entry.slot, **mine, "salt": entry.public["salts"][row]})
    return found


def _purpose_as_json(purpose: Purpose) -> dict[str, Any]:
    return {
        "purpose": purpose.name,
        "what": purpose.what,
        "ground": purpose.ground.value,
        "resolution": purpose.resolution.name.lower(),
        "recipients": list(purpose.recipients),
        "retention_days": purpose.retention_days,
    }
