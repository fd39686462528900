"""What is erased is gone from memory, from files that others are reading, and not from under a batch on its way; or it is said."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from metering_nodes import GATEWAY_KEY, OPEN, ClockFile, gateway, oracle, reading_store
from metering_world import RULES, after, slot_batch
from walras.errors import JournalError, MeteringError
from walras.exchange.journal import Journal
from walras.exchange.overwrite import overwritten
from walras.exchange.sealed import KeySource, Private
from walras.metering.gateway import seal_batch
from walras.service.gateway_node import Peer
from walras.service.message_store import MessageStore
from walras.service.oracle_node import OracleNode
from walras.service.reading_store import ReadingStore

SLOT = 40
SECRET = b"said by a meter at home"


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def reader_of(path: Path, table: str) -> sqlite3.Connection:
    """Somebody else in the middle of reading the file."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("begin")
    reader.execute(f"select * from {table}").fetchone()
    return reader


def stored(path: Path, what: str) -> bytes:
    db = sqlite3.connect(path)
    (found,) = db.execute(what).fetchone()
    db.close()
    return bytes(found)


def impatient(db: sqlite3.Connection) -> None:
    db.execute("pragma busy_timeout=1")


def left(path: Path) -> bytes:
    return b"".join(one.read_bytes() for one in path.parent.glob(f"{path.name}*"))


def oracle_with_votes_due(folder: Path) -> OracleNode:
    clock = ClockFile(folder / "clock")
    clock.set(after(SLOT))
    node = oracle(folder / "oracle.db", clock)
    node.receive(seal_batch(GATEWAY_KEY, 0, slot_batch(SLOT, 1)))
    clock.set(after(SLOT, RULES.deadline.total_seconds() + 1))
    return node


def test_an_oracle_that_forgot_does_not_tell_of_the_member_from_memory(tmp_path: Path) -> None:
    forgotten, others = slot_batch(SLOT, 1)[2], slot_batch(SLOT, 1)[3]
    node = oracle_with_votes_due(tmp_path)
    assert forgotten in node.report(SLOT)
    assert node.forget(2) == 1
    assert forgotten not in node.report(SLOT)
    assert others in node.report(SLOT)
    assert node.erase_before(SLOT + 1) == 4
    assert others not in node.report(SLOT)


def test_a_gateway_keeps_what_is_past_its_retention_until_every_oracle_has_it(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "gateway.db", [Peer("one", "nowhere", 1), Peer("other", "nowhere", 1)])
    gate.take_readings(slot_batch(SLOT, 1))
    number = gate.seal_waiting()
    assert number is not None
    sent = gate.batch(number)
    store = OPEN[-1]
    for peer in ("one", "other"):
        with pytest.raises(MeteringError, match="on their way"):
            gate.erase_before(SLOT + 1)
        assert gate.batch(number) == sent
        with store.transaction():
            store.acknowledge(number, peer)
    assert gate.erase_before(SLOT) == 0
    assert gate.erase_before(SLOT + 1) == 5


def test_what_somebody_still_reads_is_not_called_gone(tmp_path: Path) -> None:
    messages = MessageStore(tmp_path / "balance.sqlite")
    messages.add(SLOT, 2, 1, SECRET)
    impatient(messages._db)
    reader = reader_of(tmp_path / "balance.sqlite", "message")
    with pytest.raises(MeteringError, match="old bytes are still in it"):
        messages.forget(1)
    assert SECRET in left(tmp_path / "balance.sqlite")
    reader.close()
    assert messages.forget(1) == 0
    assert SECRET not in left(tmp_path / "balance.sqlite")
    messages.close()


def test_nor_in_a_store_of_readings(tmp_path: Path) -> None:
    gate, path = gateway(tmp_path / "gateway.db", []), tmp_path / "gateway.db"
    gate.take_readings(slot_batch(SLOT, 1))
    sealed = stored(path, "select record from reading where member = 2")
    impatient(OPEN[-1]._db)
    reader = reader_of(path, "reading")
    with pytest.raises(MeteringError, match="old bytes are still in it"):
        gate.forget(2)
    assert sealed in left(path)
    reader.close()
    assert gate.forget(2) == 0
    assert sealed not in left(path)


def test_what_was_past_its_retention_is_overwritten_when_the_reader_has_ended_and_a_clean_file_is_left_alone(
    tmp_path: Path,
) -> None:
    gate, path = gateway(tmp_path / "gateway.db", []), tmp_path / "gateway.db"
    messages = MessageStore(tmp_path / "balance.sqlite")
    gate.take_readings(slot_batch(SLOT, 1))
    messages.add(SLOT, 2, 1, SECRET)
    sealed = stored(path, "select record from reading where member = 2")
    impatient(OPEN[-1]._db)
    impatient(messages._db)
    for held, file, table, bytes_of in (
        (OPEN[-1], path, "reading", sealed),
        (messages, tmp_path / "balance.sqlite", "message", SECRET),
    ):
        reader = reader_of(file, table)
        assert held.erase_before(SLOT) == 0
        with pytest.raises(MeteringError, match="old bytes are still in it"):
            held.erase_before(SLOT + 1)
        with pytest.raises(MeteringError, match="old bytes are still in it"):
            held.erase_before(SLOT + 1)
        assert bytes_of in left(file)
        reader.close()
        assert held.erase_before(SLOT + 1) == 0
        assert bytes_of not in left(file)
    messages.close()


def test_nor_in_a_journal_and_closing_it_when_the_other_has_ended_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, KeySource(bytes(32), lambda account: bytes([account]) * 32))
    journal.make_keys(2)
    journal.append("thing", 1, {}, Private(b"", (b"of one", b"of the other")))
    sealed = stored(path, "select private from entries")[-40:]
    impatient(journal._db)
    reader = reader_of(path, "entries")
    with pytest.raises(JournalError, match="old bytes are still in it"):
        journal.forget(1)
    assert sealed in left(path)
    reader.close()
    journal.close()
    Journal(path, KeySource(bytes(32), lambda account: bytes([account]) * 32)).close()
    assert sealed not in left(path)


def test_a_writer_holds_it_back_as_well_and_anything_else_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store: ReadingStore = reading_store(path)
    impatient(store._db)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("begin immediate")
    assert not overwritten(store._db)
    writer.execute("rollback")
    assert overwritten(store._db)
    writer.execute("begin")
    with pytest.raises(sqlite3.OperationalError, match="VACUUM"):
        overwritten(writer)
    writer.close()
