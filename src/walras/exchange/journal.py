"""The append-only journal: every event is recorded before it takes effect, each entry carries the hash of the one before.

An entry is one canonical line of JSON (sorted keys, no spaces, whole numbers and strings only) and, where there is something
that the public may not see, a private part, by member and sealed, of which the line holds a salted commitment (`sealed`):

    line = {"kind", "prev", "private", "public", "seq", "slot"}     hash = sha256(line)

So the lines alone are the public record: they can be published, re-hashed and checked, and a member's private parts can be erased
without breaking the chain. Stored in SQLite in WAL mode with synchronous=FULL: an entry that was appended survives a kill
at any instruction. With secure_delete, so that what was erased is overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from walras.errors import Fault, InputError, JournalError, MeteringError
from walras.exchange.overwrite import STILL_THERE, WAY_OUT, overwritten
from walras.exchange.sealed import KeySource, MemberKeys, OwnKeys, Private, Sealer, unwrapped, without
from walras.metering.vault import KEY_BYTES, KeyRing, add_member, forget

GENESIS = "0" * 64
NO_PRIVATE = ""

Public = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded event. `slot` is None for what belongs to the whole run."""

    seq: int
    kind: str
    slot: int | None
    prev: str
    public: Public
    private_commitment: str
    line: bytes
    hash: str
    private: Private | None = None


def canonical(value: object) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII; floats are refused (a journal holds whole numbers).

    >>> canonical({"b": 1, "a": [2, 3]})
    b'{"a":[2,3],"b":1}'
    """
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise JournalError(f"a journal entry holds whole numbers and strings, not {value!r}", thing=value)
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            if type(item) is not int:
                _refuse_floats(item)


def make_entry(seq: int, prev: str, kind: str, slot: int | None, public: Public, committed: str) -> Entry:
    """The entry that follows `prev`; `committed` is the commitment to its private part, NO_PRIVATE without one."""
    line = canonical({"seq": seq, "kind": kind, "slot": slot, "prev": prev, "private": committed, "public": public})
    return Entry(seq, kind, slot, prev, public, committed, line, hashlib.sha256(line).hexdigest())


def read_line(line: bytes, where: str) -> Entry:
    """An entry from its line; JournalError where it is not canonical or lacks a field."""
    try:
        record = json.loads(line)
    except (UnicodeDecodeError, json.JSONDecodeError) as cause:
        raise JournalError(f"{where}: not JSON: {cause}", thing=where, way_out="restore the record from a copy") from cause
    fields = {"seq": int, "kind": str, "prev": str, "private": str, "public": dict}
    if not isinstance(record, dict) or set(record) != {*fields, "slot"}:
        raise JournalError(f"{where}: not a journal entry: its fields are not {sorted([*fields, 'slot'])}", thing=where)
    for name, kind in fields.items():
        if not isinstance(record[name], kind):
            raise JournalError(f"{where}: {name} = {record[name]!r} is not {kind.__name__}", thing=where)
    if record["slot"] is not None and not isinstance(record["slot"], int):
        raise JournalError(f"{where}: slot = {record['slot']!r} is not a whole number", thing=where)
    if canonical(record) != line:
        raise JournalError(f"{where}: the line is not in canonical form", thing=where)
    return Entry(
        record["seq"],
        record["kind"],
        record["slot"],
        record["prev"],
        record["public"],
        record["private"],
        line,
        hashlib.sha256(line).hexdigest(),
    )


def check_chain(entries: Iterator[Entry], source: str) -> Iterator[Entry]:
    """Pass on `entries`, refusing at the first that does not follow the one before."""
    prev, seq = GENESIS, 0
    for entry in entries:
        where = f"{source}, entry {seq}"
        if entry.seq != seq:
            raise JournalError(f"{where}: it says it is entry {entry.seq}", thing=where)
        if entry.prev != prev:
            raise JournalError(
                f"{where} ({entry.kind}): it follows {entry.prev[:16]}…, but entry {seq - 1} hashes to {prev[:16]}…: "
                f"entry {seq - 1} or this one was changed",
                thing=where,
            )
        yield entry
        prev, seq = entry.hash, seq + 1


_SLOTS = ("slot", "public.slot", "public.last_slot", "public.detail.last_slot", "public.detail.slot")
"""Where a line says of which slot it is; the first that is there counts. Acts, as orders to devices, have it in their detail."""
_BEFORE = f"""coalesce({", ".join(f"json_extract(line, '$.{name}')" for name in _SLOTS)}) < ?"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY, line BLOB NOT NULL, private BLOB) STRICT;
CREATE TABLE IF NOT EXISTS member_key (account INTEGER PRIMARY KEY, wrapped BLOB NOT NULL, sealing BLOB NOT NULL) STRICT;
"""


class Journal:
    """The journal of one run in a SQLite file. One writer."""

    def __init__(self, path: Path, keys: KeySource | OwnKeys) -> None:
        """Open or create. A KeySource wraps the members' keys and, in a new journal, makes them (`make_keys`).

        With `OwnKeys` of some members theirs alone are the private parts that open, and only what has none can be recorded.
        """
        self._path = path
        self._keys = keys
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA secure_delete=ON")
            self._db.executescript(_SCHEMA)
            row = self._db.execute("SELECT seq, line FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        except sqlite3.DatabaseError as cause:
            raise JournalError(
                f"{path}: not a journal: {cause}", thing=path, way_out="choose another --out, or restore the file"
            ) from cause
        self._next = 0 if row is None else int(row[0]) + 1
        self._head = GENESIS if row is None else hashlib.sha256(row[1]).hexdigest()
        try:
            self._sealer = self._opened_sealer()
        except MeteringError as cause:
            self._db.close()
            raise JournalError(
                f"{path}: its members' keys do not open: the run was begun with another --secret, or is of a community with "
                "another name or seed",
                thing=path,
                way_out="give the --secret file that it was begun with (none if none was given), or another --out folder",
            ) from cause

    def _rings(self) -> tuple[KeyRing, KeyRing]:
        """Wrapped: what salts follow from, what seals."""
        rows = self._db.execute("SELECT account, wrapped, sealing FROM member_key").fetchall()
        salts, seals = {row[0]: bytes(row[1]) for row in rows}, {row[0]: bytes(row[2]) for row in rows}
        return KeyRing(MappingProxyType(salts)), KeyRing(MappingProxyType(seals))

    def _all_keys(self) -> dict[int, MemberKeys]:
        return dict(self._keys.keys) if isinstance(self._keys, OwnKeys) else unwrapped(*self._rings(), self._keys.master)

    def _opened_sealer(self) -> Sealer:
        held = self._rings()[0].wrapped
        return Sealer({account: keys for account, keys in self._all_keys().items() if account in held})

    def make_keys(self, accounts: int) -> None:
        """Keys for each account that has none, while the journal is empty; afterwards a key that is gone stays gone."""
        if self._next or isinstance(self._keys, OwnKeys):
            return
        salts, seals = self._rings()
        for account in range(accounts):
            if account not in salts.wrapped:
                salts = add_member(salts, self._keys.master, account, self._keys.fresh(account))
                seals = add_member(seals, self._keys.master, account, os.urandom(KEY_BYTES))
        rows = [(account, wrapped, seals.wrapped[account]) for account, wrapped in salts.wrapped.items()]
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR IGNORE INTO member_key VALUES (?, ?, ?)", rows)
        self._sealer = self._opened_sealer()

    def member_keys(self, account: int) -> MemberKeys:
        """The keys that open one member's parts, to hand to that member; JournalError where they are gone, or not this reader's."""
        held = self._all_keys()
        self._sealer.secret(account)
        return held[account]

    def leaf_secrets(self, accounts: int) -> tuple[bytes, ...]:
        """The secret of each account's leaf salts; JournalError where one was forgotten."""
        return tuple(self._sealer.secret(account) for account in range(accounts))

    @property
    def head(self) -> str:
        """Hash of the last entry; of nothing: 64 zeros."""
        return self._head

    @property
    def count(self) -> int:
        """Number of entries."""
        return self._next

    def append(self, kind: str, slot: int | None, public: Public, private: Private | None = None) -> Entry:
        """Record durably; only then does the event take effect."""
        committed = NO_PRIVATE if private is None else self._sealer.commitment(self._next, private)
        stored = None if private is None else self._sealer.stored(self._next, private, os.urandom)
        entry = make_entry(self._next, self._head, kind, slot, public, committed)
        try:
            self._db.execute("INSERT INTO entries VALUES (?, ?, ?)", (entry.seq, entry.line, stored))
        except sqlite3.Error as cause:
            raise JournalError(
                f"{self._path}: entry {entry.seq} could not be recorded: {cause}",
                thing=self._path,
                way_out="give the command again: what is recorded stays; in a folder that cannot be written to nothing is read",
            ) from cause
        self._next += 1
        self._head = entry.hash
        return replace(entry, private=private)

    @contextmanager
    def alone(self) -> Iterator[list[Entry]]:
        """Nobody else can append meanwhile; gives what others had before. On disk when the block ends, or not at all."""
        kept = self._next, self._head
        try:
            with self._db:
                self._begin()
                caught = self.catch_up()
                kept = self._next, self._head
                yield caught
            kept = self._next, self._head
        finally:
            self._next, self._head = kept

    def _begin(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as cause:
            raise JournalError(
                f"{self._path}: somebody else is writing: {cause}", thing=self._path, way_out="give the command again"
            ) from cause

    def catch_up(self) -> list[Entry]:
        """What another program has appended since this one last wrote, the chain checked; so that the next entry follows on it."""
        rows = self._db.execute("SELECT line, private FROM entries WHERE seq >= ? ORDER BY seq", (self._next,)).fetchall()
        found = []
        for line, stored in rows:
            entry = read_line(bytes(line), f"{self._path}, entry {self._next}")
            if stored is not None:
                opened = self._sealer.opened(entry.seq, stored, entry.private_commitment, f"{self._path}, entry {entry.seq}")
                entry = replace(entry, private=opened)
            if (entry.seq, entry.prev) != (self._next, self._head):
                raise JournalError(f"{self._path}, entry {self._next}: it does not follow on the entry before", thing=self._path)
            self._next, self._head = self._next + 1, entry.hash
            found.append(entry)
        return found

    def entries(self) -> Iterator[Entry]:
        """All entries with the private parts that are still there, the chain and the commitments checked on the way."""
        return check_chain(self._read(), str(self._path))

    def _read(self) -> Iterator[Entry]:
        cursor = self._db.execute("SELECT seq, line, private FROM entries ORDER BY seq")
        for seq, line, stored in cursor:
            where = f"{self._path}, entry {seq}"
            entry = read_line(line, where)
            if stored is None:
                yield entry
                continue
            name = f"{where} ({entry.kind})"
            yield replace(entry, private=self._sealer.opened(entry.seq, stored, entry.private_commitment, name))

    def forget(self, account: int) -> int:
        """Erase the key and every private part of an account, on disk too; returns how many parts went.

        InputError where the account has no key: it was never there, or is forgotten already.
        """
        ring = self._rings()[0]
        if account not in ring.wrapped:
            raise InputError("forget", [Fault("journal", "account", account, "one with a key: never added, or forgotten already")])
        forget(ring, account)
        return self._erase("true", (), [account], f"DELETE FROM member_key WHERE account = {int(account)}")

    def erase_before(self, slot: int) -> int:
        """Erase every member's private parts of the slots before `slot`: corrections, committed days, and acts about them too.

        Returns how many entries had some.
        """
        return self._erase(_BEFORE, (slot,), None, "")

    def held_before(self, slot: int) -> int:
        """How many entries of slots before `slot` still have a member's sealed part: what `erase_before` would erase."""
        rows = self._db.execute(f"SELECT private FROM entries WHERE private IS NOT NULL AND {_BEFORE}", (slot,))
        return sum(without(stored, None) != stored for (stored,) in rows)

    def _erase(self, where: str, values: Sequence[object], accounts: Sequence[int] | None, also: str) -> int:
        """In one transaction, then compacted, so that no page and no write-ahead log keeps what went; JournalError if one does."""
        rows = self._db.execute(f"SELECT seq, private FROM entries WHERE private IS NOT NULL AND {where}", values).fetchall()
        changed = [(after, seq) for seq, stored in rows if (after := without(stored, accounts)) != stored]
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("UPDATE entries SET private = ? WHERE seq = ?", changed)
            if also:
                self._db.execute(also)
        self._sealer = self._opened_sealer()
        if not overwritten(self._db):
            raise JournalError(f"{self._path}: {STILL_THERE}", thing=self._path, way_out=WAY_OUT)
        return len(changed)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def write_public_record(journal: Journal, path: Path) -> None:
    """The public record: the lines, one entry each, and beside it the head they lead to (`HEAD`)."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as out:
        for entry in journal.entries():
            out.write(entry.line + b"\n")
    partial.replace(path)
    path.with_name("HEAD").write_text(journal.head + "\n", encoding="ascii")


def read_public_record(path: Path) -> list[Entry]:
    """The entries of a public record, the chain checked up to the published head.

    InputError where there is none, JournalError names what broke.
    """
    head_path = path.with_name("HEAD")
    missing = [
        Fault(str(path.parent), "file", needed.name, "a file of the public record")
        for needed in (path, head_path)
        if not needed.is_file()
    ]
    if missing:
        raise InputError(
            f"{path.parent}: there is no public record here", missing, way_out="give the folder that `walras run --out` made"
        )
    data = path.read_bytes()
    if not data:
        way_out = "`walras run` writes it when the run is done; or restore it from a copy"
        raise JournalError(f"{path}: it is empty: no entry of a run is in it", thing=path, way_out=way_out)
    if not data.endswith(b"\n"):
        what = "the last line is cut" if data else "it is empty"
        raise JournalError(f"{path}: {what}", thing=path, way_out="restore the record from a copy")
    lines = data[:-1].split(b"\n")
    entries = list(check_chain((read_line(line, f"{path}, entry {i}") for i, line in enumerate(lines)), str(path)))
    published = head_path.read_bytes()
    if published != entries[-1].hash.encode() + b"\n":
        raise JournalError(
            f"{path}: the last entry ({entries[-1].kind}) hashes to {entries[-1].hash[:16]}…, the published head is "
            f"{published[:16].decode('ascii', 'replace')}…: the last entry or HEAD was changed",
            thing=path,
        )
    return entries
