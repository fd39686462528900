"""The record of processing activities (GDPR Article 30), drawn up from what a run's folder really holds.

Every file, and every column of every database, in the folder, in that of the nodes' stores and beside the folder under its name, is
looked up in the catalogue below; one that the catalogue does not describe is a fault, so nothing can be stored without the record
saying so. Counts, slots, what is past its retention and who was shown what are read from the stores.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from walras.errors import Fault, InputError
from walras.exchange.acts import acts_of
from walras.exchange.folder import beside
from walras.exchange.journal import Journal
from walras.exchange.parts import member_ids
from walras.exchange.statement import opened_terms
from walras.exchange.terms import Terms
from walras.metering.purposes import NAMES_FOR, PURPOSES, READINGS_FOR, kept_days
from walras.service.data_protection import names_due


@dataclass(frozen=True, slots=True)
class Held:
    """One kind of data at rest: whose, what for, who can read it, how it is protected, how it goes."""

    data: str
    subjects: str
    purposes: tuple[str, ...]
    readable_by: str
    protection: str
    erased_by: str


_TECHNICAL = Held("numbers, hashes and counts of the software itself", "nobody", (), "operator", "none needed", "with the file")
_SEALED_KEY = Held(
    "a member's key", "members", ("settlement", "billing"), "who may open the folder", "AES key wrap", "`walras forget`"
)
_BY_ITSELF = "the node itself, after its --keep-days; `walras forget`"
_READING = Held(
    "signed readings",
    "members",
    ("settlement", "billing"),
    "who holds the master key",
    "ChaCha20-Poly1305 by member",
    _BY_ITSELF,
)
_PUBLIC = Held(
    "orders, fills, energy and payments by account number; roots, signatures, transactions, acts; published statistics",
    "members, as account numbers",
    ("settlement", "billing"),
    "everybody",
    "no names; commitments salted",
    "not: the contract and every audit need it; `walras forget` erases whose account it was",
)
_PAGE = Held(
    "energy, payments and gains by member",
    "members",
    ("billing",),
    "operator",
    "in clear, readable by its owner alone",
    "`walras forget`, or delete the file",
)
CATALOGUE: dict[str, dict[str, Held] | Held] = {
    "journal.sqlite": {
        "entries.seq": _TECHNICAL,
        "entries.line": _PUBLIC,
        "entries.private": Held(
            "member's id and credential; net energy and stored energy by slot; signed readings, late ones too, when they were "
            "heard, and their salts; salts of committed days; what the registers showed when a meter was exchanged; orders to the "
            "member's devices as their sender signed them; the DID of a key that opens the member's own",
            "members",
            ("settlement", "billing", "operation", "supply", "balance", "forecast", "proof", "research"),
            "who may open the folder, a member their own",
            "ChaCha20-Poly1305, a key a member; salted digests",
            "`walras forget RUN MEMBER`, `walras forget RUN --older-than DAYS`, `walras forget RUN --due`",
        ),
        "member_key.account": _TECHNICAL,
        "member_key.wrapped": _SEALED_KEY,
        "member_key.sealing": _SEALED_KEY,
    },
    "public.jsonl": _PUBLIC,
    "HEAD": _TECHNICAL,
    "report.html": _PAGE,
    "community.sealed": Held(
        "member's id, node, contract, loads, solar plants, battery",
        "members",
        ("settlement",),
        "who may open the folder",
        "ChaCha20-Poly1305",
        "`walras forget`",
    ),
    "access.json": Held(
        "who may open the folder, their rights and until when; the folder's key, or a member's own, in an envelope for each",
        "members with a key of their own; who was admitted",
        ("settlement", "operation"),
        "an envelope: its holder; who they are: who may open the folder",
        "ECDH on P-256 and ChaCha20-Poly1305; in clear: how many, and the operator's DID",
        "`walras forget`, `walras admit RUN DID --end`",
    ),
}
_OPERATORS_KEY = Held(
    "the operator's key, which opens the folder", "nobody", (), "operator", "readable by its owner alone", "by hand"
)
BESIDE = {".pem": _OPERATORS_KEY, ".html": _PAGE}
"""Beside the folder, with its name before the suffix."""

_ACCESS = Held("who asked an oracle for what, and when", "who may ask: the exchange", (), "operator", "none", "with the file")
_READING_STORE: dict[str, Held] = {
    "member_key.member": _TECHNICAL,
    "member_key.wrapped": _SEALED_KEY,
    "reading.key_id": Held("name of the meter's key", "members", ("settlement",), "operator of the store", "none", _BY_ITSELF),
    "reading.counter": _TECHNICAL,
    "reading.slot": _TECHNICAL,
    "reading.member": _TECHNICAL,
    "reading.record": _READING,
    "reading.batch": _TECHNICAL,
    "acknowledged_until.batch": _TECHNICAL,
    "acknowledged_until.peer": _TECHNICAL,
    "set_aside.peer": _TECHNICAL,
    "set_aside.batch": _TECHNICAL,
    "set_aside.reason": _TECHNICAL,
    "set_aside.again": _TECHNICAL,
    "received.sender": _TECHNICAL,
    "received.number": _TECHNICAL,
    "received.root": _TECHNICAL,
    "vote.slot": _TECHNICAL,
    "vote.root": _TECHNICAL,
    "vote.signature": _TECHNICAL,
    **{f"word.{name}": _TECHNICAL for name in ("kind", "first", "second", "root", "signature")},
    **{f"batch.{name}": _TECHNICAL for name in ("first", "last", "digest", "signature")},
    "batch.words": _PUBLIC,
    **{f"late.{name}": _TECHNICAL for name in ("counter", "slot", "member")},
    "late.key_id": Held("name of the meter's key", "members", ("settlement",), "operator of the store", "none", _BY_ITSELF),
    "late.record": _READING,
    **{f"heard.{name}": _TECHNICAL for name in ("slot", "member")},
    "heard.key_id": Held("name of the meter's key", "members", ("settlement",), "operator of the store", "none", _BY_ITSELF),
    "heard.at": Held("when a meter was heard", "members", ("operation",), "operator of the store", "none", _BY_ITSELF),
    **{f"edit.{name}": _TECHNICAL for name in ("number", "slot", "member")},
    "edit.encoded": Held(
        "signed orders to edit a value, as in the public record",
        "members, as account numbers; who edits",
        ("settlement", "billing"),
        "operator of the store",
        "none: public",
        _BY_ITSELF,
    ),
    **{f"exchange.{name}": _TECHNICAL for name in ("number", "member")},
    "exchange.record": Held(
        "what the registers showed when a meter was exchanged, and the new one's credential",
        "members",
        ("settlement", "billing"),
        "who holds the master key",
        "ChaCha20-Poly1305 by member",
        "`walras forget`",
    ),
    "refused.slot": _TECHNICAL,
    "refused.reason": _TECHNICAL,
    "refused.count": _TECHNICAL,
    **{f"access.{name}": _ACCESS for name in ("number", "at", "holder", "right", "slot", "allowed")},
}
_MASKED = Held(
    "a meter's key for pairwise masks, its masked readings and shares, under its signature: a sum comes of all of them together",
    "members",
    ("settlement", "balance"),
    "balance oracle",
    "masked: a contribution is a uniformly random number; shares sealed for one neighbour each",
    _BY_ITSELF,
)
_MESSAGE_STORE: dict[str, Held] = {
    **{f"message.{name}": _TECHNICAL for name in ("slot", "kind", "device")},
    "message.encoded": _MASKED,
    **{f"access.{name}": _ACCESS for name in ("number", "at", "holder", "right", "slot", "allowed")},
}
_PATTERNS = {"gateway*.sqlite": _READING_STORE, "oracle-*.sqlite": _READING_STORE, "balance*.sqlite": _MESSAGE_STORE}
_PASSING = ("*-wal", "*-shm", "*.partial")
"""Files of a database that is open, or of a write that was cut off: same content as what they belong to."""


def processing_record(journal: Journal, run: Path, at: datetime, nodes: Path | None = None) -> dict[str, Any]:
    """The record as plain JSON values. InputError naming everything in the folder, and in that of the nodes' stores, that the
    catalogue does not describe."""
    faults: list[Fault] = []
    stores = [row for folder in ([run] if nodes is None else [run, nodes]) for row in _stores(folder, faults)]
    if faults:
        raise InputError("processing record", faults)
    for suffix, held in BESIDE.items():
        if beside(run, suffix).exists():
            stores.append({"store": f"beside the folder: {beside(run, suffix).name}", **asdict(held)})
    entries = list(journal.entries())
    terms, _ = opened_terms(entries)
    acts = acts_of(entries)
    return {
        "record": "processing activities, Regulation (EU) 2016/679, Article 30",
        "made_at": at.isoformat(timespec="seconds"),
        "controller": terms.name,
        "members": terms.members,
        "members_known_by_name": len(member_ids(entries[0])),
        "slots": [terms.grid.start(terms.first).isoformat(), terms.grid.end(terms.last).isoformat()],
        "purposes": [{**asdict(p), "ground": p.ground.value, "resolution": p.resolution.name.lower()} for p in PURPOSES.values()],
        "past_retention": _past_retention(journal, terms, at),
        "stores": stores,
        "transfers": "none by this software; a public chain shows net energy and payments by account",
        "acts": len(acts),
        "acts_by_kind": {
            kind.name.lower(): n for kind, n in sorted(Counter(act.kind for act in acts).items(), key=lambda one: one[0].name)
        },
    }


def _past_retention(journal: Journal, terms: Terms, at: datetime) -> dict[str, Any]:
    """What `walras forget --due` would erase of the folder now."""
    days = kept_days(READINGS_FOR)
    first = terms.grid.slot_at(at - timedelta(days=days))
    return {
        "entries": journal.held_before(first),
        "days": days,
        "names": len(names_due(journal, at)),
        "names_days": kept_days(NAMES_FOR),
    }


def _stores(folder: Path, faults: list[Fault]) -> list[dict[str, Any]]:
    stores: list[dict[str, Any]] = []
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, passing) for passing in _PASSING):
            continue
        held = CATALOGUE.get(path.name) or next((v for k, v in _PATTERNS.items() if fnmatch(path.name, k)), None)
        if held is None:
            faults.append(Fault(str(folder), "file", path.name, "one that this record describes; move it elsewhere"))
        elif isinstance(held, Held):
            stores.append({"store": path.name, "bytes": path.stat().st_size, **asdict(held)})
        else:
            stores += _columns(path, held, faults)
    return stores


def _columns(path: Path, known: dict[str, Held], faults: list[Fault]) -> list[dict[str, Any]]:
    """One row a column of a database, with how many rows its table has."""
    found = []
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        tables = [str(name) for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        for table in tables:
            (rows,) = db.execute(f'SELECT count(*) FROM "{table}"').fetchone()
            for column in db.execute(f'PRAGMA table_info("{table}")'):
                name = f"{table}.{column[1]}"
                if name in known:
                    found.append({"store": f"{path.name} {name}", "rows": rows, **asdict(known[name])})
                else:
                    faults.append(Fault(path.name, "column", name, "one that this record describes"))
    finally:
        db.close()
    return found
