"""The store of readings as it grows: what a node looks up every moment takes no longer for all that was acknowledged before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from metering_nodes import MASTER, MEMBERS, OPEN, ClockFile, gateway, oracle, reading_store
from metering_world import RULES, after, slot_batch
from walras.metering.gateway import Taken
from walras.metering.reading import split_reading
from walras.service.gateway_node import Peer
from walras.service.oracle_words import late_apart
from walras.service.reading_store import ReadingStore

SLOT = 40
PEERS = [Peer("one", "nowhere", 1), Peer("other", "nowhere", 1)]


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def taken(encoded: bytes) -> Taken:
    fields = split_reading(encoded)
    assert fields is not None
    return Taken(fields[0], fields[4], fields[1], encoded)


class Boom(Exception):
    """What interrupts a transaction."""


def add_in_vain(store: ReadingStore, one: Taken) -> None:
    with store.transaction():
        store.add(one)
        raise Boom


def test_each_peer_is_owed_exactly_the_batches_after_the_last_it_acknowledged(tmp_path: Path) -> None:
    node = gateway(tmp_path / "g.db", PEERS)
    store = node._store
    for number in range(4):
        assert node.take_readings(slot_batch(SLOT + number, number + 1)) == bytes(5)
        assert node.waiting() == (number + 1).to_bytes(2, "big") * 2
        assert node.seal_waiting() == number
        assert node.waiting() == (number + 1).to_bytes(2, "big") * 2
    assert node.seal_waiting() is None
    for number in range(3):
        with store.transaction():
            store.acknowledge(number, "one")
    with store.transaction():
        store.acknowledge(0, "other")
    assert (store.unacknowledged("one"), store.unacknowledged("other")) == ([3], [1, 2, 3])
    with store.transaction():
        store.acknowledge(1, "one")  # once more, late: nothing is owed again
    assert store.unacknowledged("one") == [3]
    assert store.unacknowledged("one who came later") == [0, 1, 2, 3]
    assert store.next_batch_number() == 4


def test_no_number_is_used_again_for_a_batch_whose_readings_were_all_erased(tmp_path: Path) -> None:
    node = gateway(tmp_path / "g.db", PEERS[:1])
    node.take_readings(slot_batch(SLOT, 1))
    assert node.seal_waiting() == 0
    with node._store.transaction():
        node._store.acknowledge(0, "one")
    assert node._store.erase_before(SLOT + 1) == 5
    node.take_readings(slot_batch(SLOT + 1, 2))
    assert node.seal_waiting() == 1


def test_a_batch_takes_no_more_than_it_may_and_the_rest_comes_next(tmp_path: Path) -> None:
    store = reading_store(tmp_path / "g.db")
    batch = [*slot_batch(SLOT, 1), *slot_batch(SLOT + 1, 2)]
    with store.transaction():
        assert all(store.add(taken(one)) for one in batch)
        assert [store.put_in_batch(number, 6) for number in range(3)] == [6, 4, 0]
    assert not store.anything_unsealed()
    order = sorted(batch, key=lambda one: (taken(one).key_id, taken(one).counter))
    assert [*store.batch_readings(0), *store.batch_readings(1)] == order


def test_the_last_readings_are_those_of_a_look_at_every_row(tmp_path: Path) -> None:
    store = reading_store(tmp_path / "o.db")
    assert store.last_readings() == []
    batch = [*slot_batch(SLOT, 3, devices=4), *slot_batch(SLOT + 2, 9, devices=2)]
    with store.transaction():
        for one in batch:
            store.add(taken(one))
    by_device: dict[bytes, tuple[int, int]] = {}
    for one in map(taken, batch):
        by_device[one.key_id] = max(by_device.get(one.key_id, (-1, -1)), (one.counter, one.slot))
    assert {kid: (counter, slot) for kid, counter, slot in store.last_readings()} == by_device


def test_a_key_made_in_a_transaction_that_failed_seals_nothing_afterwards(tmp_path: Path) -> None:
    store = reading_store(tmp_path / "g.db")
    one, other = map(taken, slot_batch(SLOT, 1, devices=2))
    with pytest.raises(Boom):
        add_in_vain(store, one)
    with store.transaction():
        store.add(one)
        store.add(other)
    reopened = ReadingStore(tmp_path / "g.db", MASTER, MEMBERS)
    OPEN.append(reopened)
    assert {kept.encoded for kept in reopened.readings("true")} == {one.encoded, other.encoded}


def test_a_store_of_before_goes_on_and_keeps_no_table_that_nobody_erases_from(tmp_path: Path) -> None:
    node = gateway(tmp_path / "g.db", PEERS)
    for number in range(3):
        node.take_readings(slot_batch(SLOT + number, number + 1))
        node.seal_waiting()
    node._store.close()
    kid = slot_batch(SLOT, 1)[0][8:24]
    with sqlite3.connect(tmp_path / "g.db") as db:
        db.execute("create table acknowledged (batch integer not null, peer text not null, primary key (batch, peer))")
        db.executemany("insert into acknowledged values (?, ?)", [(0, "one"), (1, "one"), (0, "other")])
        db.execute("create table arrival (key_id blob, slot integer, member integer, at integer, primary key (key_id, slot))")
        db.execute("insert into arrival values (?, ?, 0, 1234)", (kid, SLOT))
    db.close()
    store = reading_store(tmp_path / "g.db")
    assert (store.unacknowledged("one"), store.unacknowledged("other")) == ([2], [1, 2])
    assert store.arrivals(SLOT) == {kid: 1234}
    assert {"acknowledged", "arrival"}.isdisjoint({name for (name,) in store._db.execute("select name from sqlite_master")})


def test_what_a_node_asks_of_its_store_every_moment_searches_and_never_scans(tmp_path: Path) -> None:
    asked: list[str] = []
    node = gateway(tmp_path / "g.db", PEERS)
    clock = ClockFile(tmp_path / "clock")
    clock.set(after(SLOT))
    receiver = oracle(tmp_path / "o.db", clock)
    node.take_readings(slot_batch(SLOT, 1))
    for store in (node._store, receiver._store):
        store._db.set_trace_callback(asked.append)
    node.waiting()
    number = node.seal_waiting()
    assert number is not None
    receiver.receive(node.batch(number))
    with node._store.transaction():
        node._store.acknowledge(number, "one")
    clock.set(after(SLOT, RULES.deadline.total_seconds() + 1))
    receiver.vote(SLOT)
    receiver.report(SLOT)
    with sqlite3.connect(tmp_path / "o.db") as db:
        plans = {
            (query, str(row[3]))
            for query in asked
            if query.startswith(("select", "update", "with"))
            for row in db.execute(f"explain query plan {query}").fetchall()
        }
    db.close()
    assert len({query for query, _ in plans}) > 8
    bulk = ("reading", "heard", "late", "received", "vote")
    assert [step for step in plans if step[1].split()[:1] == ["SCAN"] and step[1].split()[1] in bulk] == []


def test_late_is_what_the_deadline_has_passed_and_the_disputes_have_not(tmp_path: Path) -> None:
    dispute = timedelta(minutes=30)
    batch = [one for slot in range(SLOT, SLOT + 8) for one in slot_batch(slot, slot, devices=1)]
    batch.append(b"no reading")
    due = RULES.deadline.total_seconds()
    for seconds in (0, 1, 15 * 60 - 1, 15 * 60, 15 * 60 + 1):
        now = after(SLOT + 3, due + seconds)
        expected = []
        for one in batch[:-1]:
            ends = RULES.grid.end(taken(one).slot) + RULES.deadline
            if ends < now <= ends + dispute:
                expected.append(one)
        rest, late = late_apart(RULES, dispute, batch, now)
        assert (late, rest) == (expected, [one for one in batch if one not in expected])
