"""The journal: durable, chained, and any change of it named."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from walras.errors import InputError, JournalError, MeteringError
from walras.exchange.journal import GENESIS, Journal, canonical, read_line, read_public_record, write_public_record
from walras.exchange.sealed import KeySource, Private

MASTER = bytes(range(32))
KEYS = KeySource(MASTER, lambda account: bytes([account + 1]) * 32)
MEMBERS = 3


def parts(i: int) -> Private:
    return Private(b"common %d" % i, tuple(b"secret %d of member %d" % (i, member) for member in range(MEMBERS)))


def opened(path: Path, keys: KeySource = KEYS) -> Journal:
    journal = Journal(path / "journal.sqlite", keys)
    journal.make_keys(MEMBERS)
    return journal


def fill(path: Path, count: int = 5) -> Journal:
    journal = opened(path)
    for i in range(count):
        journal.append("thing", i, {"value": [i, -i], "text": "é"}, parts(i) if i % 2 else None)
    return journal


def test_entries_come_back_as_recorded_with_their_private_parts(tmp_path: Path) -> None:
    journal = fill(tmp_path)
    head = journal.head
    journal.close()
    again = opened(tmp_path)
    entries = list(again.entries())
    assert [e.slot for e in entries] == [0, 1, 2, 3, 4]
    assert [e.private for e in entries] == [None, parts(1), None, parts(3), None]
    assert entries[0].prev == GENESIS
    assert entries[-1].hash == head == again.head
    again.close()


def test_the_same_events_give_the_same_head_and_other_member_keys_another(tmp_path: Path) -> None:
    heads = []
    for name, keys in (
        ("a", KEYS),
        ("same keys, other master", KeySource(bytes(32), KEYS.fresh)),
        ("b", KeySource(MASTER, lambda account: bytes([account + 2]) * 32)),
    ):
        (tmp_path / name).mkdir()
        journal = opened(tmp_path / name, keys)
        journal.append("thing", 1, {"x": 1}, parts(1))
        heads.append(journal.head)
        journal.close()
    assert heads[0] == heads[1] != heads[2]


def test_no_byte_of_a_private_part_is_in_the_files(tmp_path: Path) -> None:
    journal = fill(tmp_path)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"common 1" in stored
    assert b"secret" not in stored
    journal.close()


@pytest.mark.parametrize("change", ["exchanged", "cut", "common"])
def test_a_private_part_that_was_changed_is_named(tmp_path: Path, change: str) -> None:
    journal = fill(tmp_path)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        stored = dict(db.execute("SELECT seq, private FROM entries"))
        damaged = {"exchanged": stored[1], "cut": stored[3][:-1], "common": stored[3].replace(b"common 3", b"common 4")}[change]
        db.execute("UPDATE entries SET private = ? WHERE seq = 3", (damaged,))
    db.close()
    again = opened(tmp_path)
    with pytest.raises(JournalError, match="entry 3"):
        list(again.entries())
    again.close()


def test_a_sealed_part_moved_to_another_member_does_not_open(tmp_path: Path) -> None:
    journal = fill(tmp_path)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        (blob,) = db.execute("SELECT private FROM entries WHERE seq = 1").fetchone()
        common, rows = cbor2.loads(blob)
        rows[0][1] = rows[1][1]
        db.execute("UPDATE entries SET private = ? WHERE seq = 1", (cbor2.dumps([common, rows]),))
    db.close()
    again = opened(tmp_path)
    with pytest.raises(MeteringError, match="does not open"):
        list(again.entries())
    again.close()


def test_a_forgotten_member_is_gone_from_the_files_and_all_else_still_checks(tmp_path: Path) -> None:
    journal = fill(tmp_path)
    head = journal.head
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        (wrapped,) = db.execute("SELECT wrapped FROM member_key WHERE account = 1").fetchone()
        records = [cbor2.loads(blob)[1][1][1] for (blob,) in db.execute("SELECT private FROM entries WHERE private NOT NULL")]
    db.close()
    assert journal.forget(1) == 2
    bytes_left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert len(records) == 2
    assert not any(gone in bytes_left for gone in [wrapped, *records])
    for seen in (journal, opened(tmp_path)):
        entries = list(seen.entries())
        assert entries[-1].hash == head
        assert entries[3].private == Private(b"common 3", (b"secret 3 of member 0", None, b"secret 3 of member 2"))
        with pytest.raises(JournalError, match="forgotten"):
            seen.leaf_secrets(MEMBERS)
        with pytest.raises(JournalError, match="erased"):
            seen.append("thing", 9, {}, entries[3].private)
        with pytest.raises(InputError, match="forgotten already"):
            seen.forget(1)
        seen.close()


def test_a_stolen_copy_of_the_sealed_parts_opens_nothing_once_the_key_is_gone(tmp_path: Path) -> None:
    journal = fill(tmp_path)
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        copy = db.execute("SELECT private FROM entries WHERE seq = 3").fetchone()
    journal.forget(1)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("UPDATE entries SET private = ? WHERE seq = 3", copy)
    db.close()
    again = opened(tmp_path)
    brought_back = list(again.entries())[3].private
    assert brought_back is not None
    assert brought_back.part(1) is None
    assert brought_back.part(2) == b"secret 3 of member 2"
    again.close()


def test_what_is_older_than_kept_is_erased_for_everybody_and_the_rest_stays(tmp_path: Path) -> None:
    journal = fill(tmp_path)
    assert journal.erase_before(3) == 1
    assert journal.erase_before(3) == 0
    entries = list(journal.entries())
    assert entries[1].private == Private(b"common 1", (None,) * MEMBERS)
    assert entries[3].private == parts(3)
    journal.close()


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"not a database, surely" * 100)
    with pytest.raises(JournalError, match="not a journal"):
        Journal(tmp_path / "journal.sqlite", KEYS)


@pytest.mark.parametrize("value", [1.5, {"a": 2.0}, {"a": [1, 2.5]}, [[1], [0.1]], {"a": {"b": [{"c": 1.0}]}}])
def test_a_float_has_no_place_in_the_journal(value: object) -> None:
    with pytest.raises(JournalError, match="whole numbers"):
        canonical(value)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("record")
    journal = fill(folder, 4)
    write_public_record(journal, folder / "public.jsonl")
    journal.close()
    return folder


def test_the_public_record_reads_back_and_holds_nothing_private(record: Path) -> None:
    entries = read_public_record(record / "public.jsonl")
    assert len(entries) == 4
    assert all(e.private is None for e in entries)
    assert b"secret" not in (record / "public.jsonl").read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_one_byte_changed_anywhere_in_the_public_record_is_found(record: Path, tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["public.jsonl", "public.jsonl", "public.jsonl", "HEAD"]))
    for file in ("public.jsonl", "HEAD"):
        (tmp_path / file).write_bytes((record / file).read_bytes())
    content = bytearray((tmp_path / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(JournalError):
        read_public_record(tmp_path / "public.jsonl")


def test_a_cut_a_swapped_and_a_missing_line_are_found(record: Path, tmp_path: Path) -> None:
    lines = (record / "public.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "HEAD").write_bytes((record / "HEAD").read_bytes())
    for broken in (lines[:-1], [lines[1], lines[0], *lines[2:]], [lines[0], *lines[2:]], [*lines[:-1], lines[-1][:-5]]):
        (tmp_path / "public.jsonl").write_bytes(b"".join(broken))
        with pytest.raises(JournalError):
            read_public_record(tmp_path / "public.jsonl")


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"{}", b'{"seq":0}', b"\xff", b'{"kind":"a","prev":"","private":"","public":{},"seq":"0","slot":null}'],
)
def test_a_line_that_is_no_entry_is_refused_by_place(line: bytes) -> None:
    with pytest.raises(JournalError, match="here"):
        read_line(line, "here")
