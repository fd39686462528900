"""Messages of masked sums on disk: an SQLite file in which the balance oracle keeps what the meters said, each once.

What is acknowledged is committed (WAL, synchronous=FULL), so an oracle that is killed at any instruction comes back with it and
tells everybody the same. It is not encrypted: a contribution is a uniformly random number, shares are sealed for one neighbour
each, and all of it together gives the sum that the oracle's word says. What it does tell is which meter spoke when; `forget` takes
a meter's messages out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from walras.errors import MeteringError
from walras.exchange.overwrite import STILL_THERE, WAY_OUT, overwritten
from walras.metering.balance_oracle import HUNG, TRANSFORMER

_SCHEMA = """
create table if not exists message (slot integer not null, kind integer not null, device integer not null, encoded blob not null,
    primary key (slot, kind, device)) without rowid;
create table if not exists access (number integer primary key, at text not null, holder text not null, right text not null,
    slot integer not null, allowed integer not null);
"""


class MessageStore:
    """`balance_oracle.Messages` in one file, and the log of requests. One process."""

    def __init__(self, path: Path) -> None:
        self._path, self._old_bytes = path, False
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            for pragma in ("journal_mode=wal", "synchronous=full", "secure_delete=on"):
                self._db.execute(f"pragma {pragma}")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as cause:
            raise MeteringError(f"{path} is no store of messages: {cause}", thing=path) from cause

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; committed to disk when the block ends."""
        with self._db:
            self._db.execute("begin immediate")
            yield

    def add(self, slot: int, kind: int, device: int, encoded: bytes) -> bytes:
        """As `Messages.add`."""
        self._db.execute("insert or ignore into message values (?, ?, ?, ?)", (slot, kind, device, encoded))
        return self.of(slot, kind)[device]

    def of(self, slot: int, kind: int) -> dict[int, bytes]:
        """As `Messages.of`."""
        rows = self._db.execute("select device, encoded from message where slot = ? and kind = ? order by device", (slot, kind))
        return {int(device): bytes(encoded) for device, encoded in rows}

    def hung(self) -> list[bytes]:
        """As `Messages.hung`."""
        rows = self._db.execute("select encoded from message where kind = ? order by slot, device", (HUNG,))
        return [bytes(row[0]) for row in rows]

    def of_device(self, device: int) -> list[tuple[int, int, bytes]]:
        """What a member's meter said: slot, kind, message."""
        query = "select slot, kind, encoded from message where device = ? and kind <> ? order by slot, kind"
        return [(int(slot), int(kind), bytes(said)) for slot, kind, said in self._db.execute(query, (device, TRANSFORMER))]

    def forget(self, device: int) -> int:
        """Erase what a member's meter said, and overwrite it; returns how many messages went."""
        return self._erase("delete from message where device = ? and kind <> ?", (device, TRANSFORMER))

    def erase_before(self, slot: int) -> int:
        """Erase, and overwrite, what meters said in slots before `slot`; returns how many messages went."""
        due = self._db.execute("select 1 from message where slot < ? and kind < ? limit 1", (slot, TRANSFORMER)).fetchone()
        if due is None and not self._old_bytes:
            return 0
        return self._erase("delete from message where slot < ? and kind < ?", (slot, TRANSFORMER))

    def _erase(self, statement: str, given: tuple[int, int]) -> int:
        gone = self._db.execute(statement, given).rowcount
        self._old_bytes = not overwritten(self._db)
        if self._old_bytes:
            raise MeteringError(f"{self._path}: {STILL_THERE}", thing=self._path, way_out=WAY_OUT)
        return gone

    def note_access(self, at: str, holder: str, right: str, slot: int, allowed: bool) -> None:
        """Log who asked for what, and whether it was answered. Within a transaction."""
        row = (at, holder, right, slot, int(allowed))
        self._db.execute("insert into access (at, holder, right, slot, allowed) values (?, ?, ?, ?, ?)", row)

    def accesses(self) -> list[tuple[str, str, str, int, bool]]:
        """The log: when, who, which right, slot, answered or not."""
        rows = self._db.execute("select at, holder, right, slot, allowed from access order by number")
        return [(at, holder, right, int(slot), bool(allowed)) for at, holder, right, slot, allowed in rows]

    def refused_counts(self) -> dict[int, int]:
        """It holds no readings to refuse."""
        return {}
