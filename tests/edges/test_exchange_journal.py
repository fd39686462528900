"""The journal: durable, chained, and any change of it named."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from walras.errors import JournalError
from walras.exchange.journal import GENESIS, Journal, canonical, read_line, read_public_record, write_public_record

KEY = bytes(range(32))


def fill(path: Path, count: int = 5) -> Journal:
    journal = Journal(path / "journal.sqlite", KEY)
    for i in range(count):
        journal.append("thing", i, {"value": [i, -i], "text": "é"}, b"secret %d" % i if i % 2 else None)
    return journal


def test_entries_come_back_as_recorded_with_their_private_parts(tmp_path: Path) -> None:
    journal = fill(tmp_path)
    head = journal.head
    journal.close()
    again = Journal(tmp_path / "journal.sqlite", KEY)
    entries = list(again.entries())
    assert [e.slot for e in entries] == [0, 1, 2, 3, 4]
    assert [e.private for e in entries] == [None, b"secret 1", None, b"secret 3", None]
    assert entries[0].prev == GENESIS
    assert entries[-1].hash == head == again.head
    again.close()


def test_the_same_events_give_the_same_head_and_another_salt_key_gives_another(tmp_path: Path) -> None:
    heads = []
    for name, key in (("a", KEY), ("b", KEY), ("c", bytes(32))):
        (tmp_path / name).mkdir()
        journal = Journal(tmp_path / name / "journal.sqlite", key)
        journal.append("thing", 1, {"x": 1}, b"private")
        heads.append(journal.head)
        journal.close()
    assert heads[0] == heads[1] != heads[2]


def test_a_private_part_that_was_exchanged_is_named(tmp_path: Path) -> None:
    journal = fill(tmp_path)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("UPDATE entries SET private = ? WHERE seq = 3", (b"secret 4",))
    db.close()
    again = Journal(tmp_path / "journal.sqlite", KEY)
    with pytest.raises(JournalError, match="entry 3"):
        list(again.entries())
    again.close()


def test_a_private_part_can_be_erased_and_the_chain_still_holds(tmp_path: Path) -> None:
    journal = fill(tmp_path)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("UPDATE entries SET private = NULL")
    db.close()
    again = Journal(tmp_path / "journal.sqlite", KEY)
    assert len(list(again.entries())) == 5
    again.close()


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"not a database, surely" * 100)
    with pytest.raises(JournalError, match="not a journal"):
        Journal(tmp_path / "journal.sqlite", KEY)


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
