"""Readings on disk: an SQLite file in which a gateway or an oracle keeps what it has taken, encrypted under the members' keys.

Whatever is acknowledged has been committed before (WAL, synchronous=FULL), and a reading is stored once whatever is
repeated: the key is (device, counter). So a process that is killed at any instruction, and a sender that repeats what
was not acknowledged, together lose nothing and count nothing twice. `forget_member` drops the key and the rows,
overwrites them (secure_delete) and compacts the file; copies of the file elsewhere lose the data with the key, if the
master key is renewed with it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from walras.errors import MeteringError
from walras.exchange.overwrite import STILL_THERE, WAY_OUT, overwritten
from walras.metering.gateway import Taken
from walras.metering.parcel_reading import split_item
from walras.metering.vault import EMPTY_RING, KeyRing, Place, add_member, forget, member_key, seal_by, unseal_by

_SCHEMA = """
create table if not exists member_key (member integer primary key, wrapped blob not null);
create table if not exists reading (
    key_id blob not null, counter integer not null, slot integer not null, member integer not null,
    record blob not null, batch integer, primary key (key_id, counter)) without rowid;
create index if not exists reading_by_batch on reading (batch);
create index if not exists reading_by_slot on reading (slot);
create table if not exists acknowledged_until (peer text primary key, batch integer not null) without rowid;
create table if not exists set_aside (peer text not null, batch integer not null, reason text not null, again integer,
    primary key (peer, batch)) without rowid;
create table if not exists received (sender blob not null, number integer not null, root blob not null,
    primary key (sender, number)) without rowid;
create table if not exists vote (slot integer primary key, root blob not null, signature blob not null);
create table if not exists late (
    key_id blob not null, counter integer not null, slot integer not null, member integer not null,
    record blob not null, primary key (key_id, counter)) without rowid;
create table if not exists word (kind text not null, first integer not null, second integer not null, root blob not null,
    signature blob not null, primary key (kind, first, second)) without rowid;
create table if not exists heard (slot integer not null, key_id blob not null, member integer not null, at integer not null,
    primary key (slot, key_id)) without rowid;
create table if not exists edit (number integer primary key, slot integer not null, member integer not null,
    encoded blob not null unique);
create table if not exists exchange (number integer primary key, member integer not null, record blob not null);
create table if not exists batch (first integer primary key, last integer not null, digest blob not null,
    signature blob not null, words text not null);
create table if not exists refused (slot integer not null, reason integer not null, count integer not null,
    primary key (slot, reason)) without rowid;
create table if not exists access (number integer primary key, at text not null, holder text not null, right text not null,
    slot integer not null, allowed integer not null);
"""

_TAKEN_OVER = {
    "acknowledged": "insert or ignore into acknowledged_until select peer, max(batch) from acknowledged group by peer",
    "arrival": "insert or ignore into heard select slot, key_id, member, at from arrival",
}
"""Tables that stores had before, and how what is in them goes on."""


UNKNOWN_SLOT = -1
"""In the counts of refusals: the refused bytes name no slot."""


class ReadingStore:
    """One file, one process. `members` says whose data a device's readings are; `random` makes keys and nonces."""

    def __init__(
        self, path: Path, master: bytes, members: Mapping[bytes, int], random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._path, self._members, self._master, self._random = path, dict(members), master, random
        self._ciphers: dict[bytes, ChaCha20Poly1305] = {}
        self._ring, self._old_bytes = EMPTY_RING, False
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=full")
            self._db.execute("pragma secure_delete=on")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as cause:
            raise MeteringError(f"{path} is no store of readings: {cause}", thing=path) from cause
        self._take_over()
        self._ring = self._stored_ring()

    def _take_over(self) -> None:
        tables = {str(name) for (name,) in self._db.execute("select name from sqlite_master where type = 'table'").fetchall()}
        for table in sorted(tables & _TAKEN_OVER.keys()):
            with self.transaction():
                self._db.execute(_TAKEN_OVER[table])
                self._db.execute(f"drop table {table}")

    def _stored_ring(self) -> KeyRing:
        rows = self._db.execute("select member, wrapped from member_key").fetchall()
        return KeyRing(MappingProxyType(dict(rows)))

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; committed to disk when the block ends."""
        kept = self._ring
        try:
            with self._db:
                self._db.execute("begin immediate")
                yield
            kept = self._ring
        finally:
            self._ring = kept

    def add(self, taken: Taken, batch: int | None = None) -> bool:
        """Store a reading, encrypted; False if it is there already. Within a transaction."""
        row = (*self._sealed(taken), batch)
        return self._db.execute("insert or ignore into reading values (?, ?, ?, ?, ?, ?)", row).rowcount == 1

    def add_late(self, taken: Taken) -> bool:
        """Store a reading that came after its slot's deadline, apart from the others. Within a transaction."""
        return self._db.execute("insert or ignore into late values (?, ?, ?, ?, ?)", self._sealed(taken)).rowcount == 1

    def note_arrivals(self, heard: Sequence[tuple[bytes, int]], at: int) -> None:
        """When (Unix seconds) devices were first heard of slots: device and slot of each. Within a transaction."""
        rows = [(slot, kid, self._members[kid], at) for kid, slot in heard]
        self._db.executemany("insert or ignore into heard values (?, ?, ?, ?)", rows)

    def arrivals(self, slot: int) -> dict[bytes, int]:
        """When (Unix seconds) each device was first heard of a slot."""
        return {bytes(kid): int(at) for kid, at in self._db.execute("select key_id, at from heard where slot = ?", (slot,))}

    def add_device(self, key_id: bytes, member: int) -> None:
        """From now on, readings of this device are the member's."""
        self._members[key_id] = member

    def add_exchange(self, member: int, statement: str) -> None:
        """Keep what was stated of a meter's exchange, encrypted. Within a transaction."""
        number = int(self._db.execute("select coalesce(max(number), 0) + 1 from exchange").fetchone()[0])
        record = seal_by(self._cipher(member), self._random(12), Place(member, "exchange", number), statement.encode())
        self._db.execute("insert into exchange values (?, ?, ?)", (number, member, record))

    def exchanges(self) -> list[str]:
        """What was stated of meters' exchanges, as it came."""
        rows = self._db.execute("select number, member, record from exchange order by number").fetchall()
        return [
            unseal_by(self._cipher(member), Place(member, "exchange", number), record).decode() for number, member, record in rows
        ]

    def add_edit(self, slot: int, member: int, encoded: bytes) -> None:
        """Keep an edit order, once. Within a transaction."""
        self._db.execute("insert or ignore into edit (slot, member, encoded) values (?, ?, ?)", (slot, member, encoded))

    def edits(self, slot: int) -> list[bytes]:
        """The edit orders of a slot as they came."""
        return [bytes(row[0]) for row in self._db.execute("select encoded from edit where slot = ? order by number", (slot,))]

    def late(self, slot: int) -> list[Taken]:
        """What came of a slot after its deadline, decrypted, by device and counter."""
        rows = self._db.execute(
            "select key_id, counter, slot, member, record from late where slot = ? order by key_id, counter", (slot,)
        )
        return [self._opened(row) for row in rows.fetchall()]

    def of_member(self, member: int) -> list[bytes]:
        """Everything kept of one member: readings on time and late, by device and counter."""
        rows = [
            row
            for table in ("reading", "late")
            for row in self._db.execute(
                f"select key_id, counter, slot, member, record from {table} where member = ? order by key_id, counter", (member,)
            )
        ]
        return [self._opened(row).encoded for row in rows]

    def heard_of(self, member: int) -> list[tuple[int, int]]:
        """Slot, and when (Unix seconds) a meter of the member was heard of it."""
        rows = self._db.execute("select slot, at from heard where member = ? order by slot, key_id", (member,))
        return [(int(slot), int(at)) for slot, at in rows]

    def edits_of(self, member: int) -> list[bytes]:
        """The edit orders of a member's readings as they came."""
        return [bytes(row[0]) for row in self._db.execute("select encoded from edit where member = ? order by number", (member,))]

    def exchanges_of(self, member: int) -> list[str]:
        """What was stated of exchanges of a member's meter."""
        rows = self._db.execute("select number, record from exchange where member = ? order by number", (member,)).fetchall()
        return [unseal_by(self._cipher(member), Place(member, "exchange", number), record).decode() for number, record in rows]

    def _sealed(self, taken: Taken) -> tuple[bytes, int, int, int, bytes]:
        member = self._members[taken.key_id]
        place = Place(member, "reading " + taken.key_id.hex(), taken.counter)
        return (
            taken.key_id,
            taken.counter,
            taken.slot,
            member,
            seal_by(self._cipher(member), self._random(12), place, taken.encoded),
        )

    def _opened(self, row: tuple[bytes, int, int, int, bytes]) -> Taken:
        kid, counter, slot, member, record = row
        return Taken(kid, counter, slot, unseal_by(self._cipher(member), Place(member, "reading " + kid.hex(), counter), record))

    def _cipher(self, member: int) -> ChaCha20Poly1305:
        """Of the member's key, made once for each key: what a transaction that failed has made opens nothing later."""
        if member not in self._ring.wrapped:
            ring = add_member(self._ring, self._master, member, self._random(32))
            self._db.execute("insert into member_key values (?, ?)", (member, ring.wrapped[member]))
            self._ring = ring
        wrapped = self._ring.wrapped[member]
        made = self._ciphers.get(wrapped)
        if made is None:
            made = self._ciphers[wrapped] = ChaCha20Poly1305(member_key(self._ring, self._master, member))
        return made

    def readings(self, where: str, values: Sequence[object] = ()) -> list[Taken]:
        """Decrypted readings by device and counter. `where` is one of this file's own conditions."""
        rows = self._db.execute(
            f"select key_id, counter, slot, member, record from reading where {where} order by key_id, counter",
            values,
        )
        return [self._opened(row) for row in rows]

    def holds(self, encoded: bytes) -> bool:
        """True when exactly these bytes are stored."""
        fields = split_item(encoded)
        return fields is not None and any(
            taken.encoded == encoded for taken in self.readings("key_id = ? and counter = ?", (fields[0], fields[4]))
        )

    def anything_unsealed(self) -> bool:
        """Whether a reading is in no batch yet."""
        return self._db.execute("select 1 from reading where batch is null limit 1").fetchone() is not None

    def put_in_batch(self, number: int, most: int) -> int:
        """Mark at most so many readings that are in no batch as sealed under a number, by device and counter; how many.

        Within a transaction.
        """
        return self._db.execute(
            "update reading set batch = ? where (key_id, counter) in "
            "(select key_id, counter from reading where batch is null order by key_id, counter limit ?)",
            (number, most),
        ).rowcount

    def batch_readings(self, number: int) -> list[bytes]:
        """The bytes of a sealed batch, in its order; also under the number by which it is offered again."""
        return [taken.encoded for taken in self.readings("batch = ?", (self._first_number(number),))]

    def _first_number(self, number: int) -> int:
        row = self._db.execute("select batch from set_aside where again = ?", (number,)).fetchone()
        return number if row is None else int(row[0])

    def next_batch_number(self) -> int:
        """One above the highest number ever sealed here."""
        columns = ("batch", "reading"), ("batch", "acknowledged_until"), ("batch", "set_aside"), ("again", "set_aside")
        highest = ", ".join(f"(select coalesce(max({column}), -1) from {table})" for column, table in columns)
        query = f"select max({highest})"
        return int(self._db.execute(query).fetchone()[0]) + 1

    def last_readings(self) -> list[tuple[bytes, int, int]]:
        """Device, counter and slot of each device's last reading; reads no more rows than there are devices."""
        rows = self._db.execute(
            "with recursive device(kid) as (select min(key_id) from reading union all "
            "select (select min(key_id) from reading where key_id > kid) from device where kid is not null) "
            "select key_id, counter, slot from device join reading on key_id = kid "
            "and counter = (select max(counter) from reading where key_id = kid)"
        )
        return [(bytes(kid), int(counter), int(slot)) for kid, counter, slot in rows]

    def unacknowledged(self, peer: str) -> list[int]:
        """Numbers of sealed batches that `peer` has neither acknowledged nor refused for good, ascending."""
        rows = self._db.execute(
            "select distinct batch from reading where batch > "
            "coalesce((select batch from acknowledged_until where peer = :peer), -1) "
            "and batch not in (select batch from set_aside where peer = :peer) "
            "union select again from set_aside s where peer = :peer and again is not null "
            "and exists (select 1 from reading where batch = s.batch) order by 1",
            {"peer": peer},
        )
        return [int(number) for (number,) in rows]

    def acknowledge(self, number: int, peer: str) -> None:
        """Note that `peer` has the batch, and all before it but those set aside, on its disk. Within a transaction."""
        upsert = "insert into acknowledged_until values (?, ?) on conflict (peer) do update set batch = max(batch, excluded.batch)"
        self._db.execute(upsert, (peer, number))
        self._db.execute("delete from set_aside where peer = ? and again = ?", (peer, number))

    def set_aside(self, number: int, peer: str, reason: str) -> None:
        """Note that `peer` refuses the batch for good; its readings stay. Within a transaction."""
        upsert = (
            "insert into set_aside values (?, ?, ?, null) "
            "on conflict (peer, batch) do update set reason = excluded.reason, again = null"
        )
        self._db.execute(upsert, (peer, self._first_number(number), reason))

    def aside(self) -> list[tuple[str, int, int, str]]:
        """What was set aside and is not offered again: peer, number, how many readings are still kept of the batch, reason."""
        rows = self._db.execute(
            "select peer, batch, (select count(*) from reading r where r.batch = s.batch), reason from set_aside s "
            "where again is null order by peer, batch"
        )
        return [(str(peer), int(number), int(count), str(reason)) for peer, number, count, reason in rows]

    def offer_again(self) -> int:
        """Give every batch that is set aside a new number, for the peer that refused it alone; how many. Within a transaction.

        A number of its own, since the peer may know the old one with another content, and erasure may have made it another.
        """
        for peer, number, _, _ in (waiting := [one for one in self.aside() if one[2]]):
            new = self.next_batch_number()
            self._db.execute("update set_aside set again = ? where peer = ? and batch = ?", (new, peer, number))
        return len(waiting)

    def received_root(self, sender: bytes, number: int) -> bytes | None:
        """The root under which a batch was received before, or None."""
        row = self._db.execute("select root from received where sender = ? and number = ?", (sender, number)).fetchone()
        return None if row is None else bytes(row[0])

    def note_received(self, sender: bytes, number: int, root: bytes) -> None:
        """Within the transaction that stores the batch's readings."""
        self._db.execute("insert into received values (?, ?, ?)", (sender, number, root))

    def vote(self, slot: int) -> tuple[bytes, bytes] | None:
        """Root and signature of the vote given for a slot, or None."""
        row = self._db.execute("select root, signature from vote where slot = ?", (slot,)).fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]))

    def note_vote(self, slot: int, root: bytes, signature: bytes) -> None:
        """Once a slot, for ever: a second vote for a slot raises, so a restart cannot equivocate."""
        self._db.execute("insert into vote values (?, ?, ?)", (slot, root, signature))

    def word(self, kind: str, first: int, second: int) -> tuple[bytes, bytes] | None:
        """Root and signature of what was said of a settled slot or of days (`oracle_words`), or None."""
        query = "select root, signature from word where kind = ? and first = ? and second = ?"
        row = self._db.execute(query, (kind, first, second)).fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]))

    def note_word(self, kind: str, first: int, second: int, root: bytes, signature: bytes) -> None:
        """Once, for ever, as a vote. Within a transaction."""
        self._db.execute("insert into word values (?, ?, ?, ?, ?)", (kind, first, second, root, signature))

    def batch(self, first: int) -> tuple[int, bytes, bytes] | None:
        """Last slot, digest and signature of the batch of settled slots that begins with `first`, or None."""
        row = self._db.execute("select last, digest, signature from batch where first = ?", (first,)).fetchone()
        return None if row is None else (int(row[0]), bytes(row[1]), bytes(row[2]))

    def last_batch(self) -> tuple[int | None, tuple[int, ...]]:
        """The last slot in a batch that was signed, and the state after it [words by account]; None where there was none."""
        row = self._db.execute("select last, words from batch order by last desc limit 1").fetchone()
        return (None, ()) if row is None else (int(row[0]), tuple(int(word, 16) for word in str(row[1]).split()))

    def note_batch(self, first: int, last: int, digest: bytes, signature: bytes, words: Sequence[int]) -> None:
        """Once, for ever, as a vote. Within a transaction."""
        row = first, last, digest, signature, " ".join(f"{word:x}" for word in words)
        self._db.execute("insert into batch values (?, ?, ?, ?, ?)", row)

    def count_refused(self, reasons: Mapping[int, int], slot: int = UNKNOWN_SLOT) -> None:
        """Add to the counts of refusals by reason, for a slot where the refused bytes name one."""
        self._db.executemany(
            "insert into refused values (?, ?, ?) on conflict (slot, reason) do update set count = count + excluded.count",
            [(slot, reason, count) for reason, count in reasons.items()],
        )

    def knows(self, member: int) -> bool:
        """True where the member has a key here: has readings, and was not forgotten."""
        return member in self._ring.wrapped

    def refused_counts(self) -> dict[int, int]:
        """Refusals by reason, ever."""
        rows = self._db.execute("select reason, sum(count) from refused group by reason order by reason")
        return {int(reason): int(count) for reason, count in rows}

    def refused_in(self, slot: int) -> dict[int, int]:
        """Refusals by reason of bytes that named `slot`."""
        rows = self._db.execute("select reason, count from refused where slot = ? order by reason", (slot,))
        return {int(reason): int(count) for reason, count in rows}

    def note_access(self, at: str, holder: str, right: str, slot: int, allowed: bool) -> None:
        """Log who asked for what, and whether it was answered. Within a transaction."""
        row = (at, holder, right, slot, int(allowed))
        self._db.execute("insert into access (at, holder, right, slot, allowed) values (?, ?, ?, ?, ?)", row)

    def accesses(self) -> list[tuple[str, str, str, int, bool]]:
        """The log: when, who, which right, slot, answered or not."""
        rows = self._db.execute("select at, holder, right, slot, allowed from access order by number")
        return [(at, holder, right, int(slot), bool(allowed)) for at, holder, right, slot, allowed in rows]

    def forget_member(self, member: int, peers: Sequence[str] = ()) -> int:
        """Erase the member's key and readings; returns how many readings went.

        MeteringError while a batch with such a reading is not acknowledged by all `peers`: sent again without it, it would be
        another batch under the same number.
        """
        self._check_not_on_the_way(f"member {member} has readings", "member = ?", member, peers)
        with self.transaction():
            self._ring = forget(self._ring, member) if self.knows(member) else self._ring
            self._ciphers.clear()
            self._db.execute("delete from member_key where member = ?", (member,))
            for table in ("heard", "edit", "exchange"):
                self._db.execute(f"delete from {table} where member = ?", (member,))
            gone = sum(
                self._db.execute(f"delete from {table} where member = ?", (member,)).rowcount for table in ("reading", "late")
            )
        self._overwrite()
        return gone

    def _check_not_on_the_way(self, what: str, where: str, value: int, peers: Sequence[str]) -> None:
        going = {number for (number,) in self._db.execute(f"select distinct batch from reading where {where}", (value,))}
        open_batches = {number for peer in peers for number in self.unacknowledged(peer) if self._first_number(number) in going}
        if open_batches:
            raise MeteringError(
                f"{what} in batches on their way: {sorted(open_batches)}",
                thing=value,
                way_out="wait until every oracle has acknowledged them",
            )

    def erase_before(self, slot: int, peers: Sequence[str] = ()) -> int:
        """Erase everybody's readings of slots before `slot`, and what was noted about them; returns how many readings went.

        MeteringError while one of them is in a batch that is not acknowledged by all `peers`, as with `forget_member`.
        """
        self._check_not_on_the_way(f"there are readings before slot {slot}", "slot < ?", slot, peers)
        with self.transaction():
            gone, noted = (
                sum(self._db.execute(f"delete from {table} where slot < ?", (slot,)).rowcount for table in tables)
                for tables in (("reading", "late"), ("heard", "edit"))
            )
        if gone or noted or self._old_bytes:
            self._overwrite()
        return gone

    def _overwrite(self) -> None:
        """What was deleted leaves the files, too; MeteringError while others keep it there; ask again."""
        self._old_bytes = not overwritten(self._db)
        if self._old_bytes:
            raise MeteringError(f"{self._path}: {STILL_THERE}", thing=self._path, way_out=WAY_OUT)
