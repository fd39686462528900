"""A balance oracle that lies to anybody: the run goes on, its word counts as none, and what it said is kept and shown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from e2e.runs import forge, rural1_private, with_privacy
from e2e.test_masked_run import settlements, some_slots, words
from walras.commands.summary import summary_table
from walras.errors import AuditError
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record, write_public_record
from walras.ledger import LedgerAddresses
from walras.ledger.keys import LedgerKeys
from walras.metering import derive_key
from walras.metering.masked import MaskedWord, contribution_message, join_message
from walras.study.masked import InProcessBalance, Spoken
from walras.study.runner import PUBLIC, Options, Run

LIES_IN = 1
"""The slot of the run, counted from 0, in which the oracle lies; it has a sum."""

STRANGER = derive_key(bytes(32), "stranger")


class Lying:
    """A balance path that lies in one slot; elsewhere it is the honest one."""

    def __init__(self, honest: InProcessBalance, first: int, lie: str) -> None:
        self._honest, self._slot, self._lie = honest, first + LIES_IN, lie

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    def _lies(self, slot: int, *kinds: str) -> bool:
        return slot == self._slot and self._lie in kinds

    def open(self, slot: int, messages: list[bytes], transformer: bytes) -> list[bytes]:
        given = self._honest.open(slot, messages, transformer)
        if self._lies(slot, "invents an opening"):
            return [*given, contribution_message(STRANGER, slot, 5), b"noise"]
        return given

    def contribute(self, slot: int, messages: list[bytes]) -> tuple[int, ...]:
        told = self._honest.contribute(slot, messages)
        lies: dict[str, Callable[[], tuple[int, ...]]] = {
            "tells of strangers": lambda: (*told, 99),
            "tells of one twice": lambda: (told[0], *told),
            "tells another list": lambda: told[1:],
        }
        return lies[self._lie]() if self._lies(slot, *lies) else told

    def contributions(self, slot: int) -> list[bytes]:
        return [] if self._lies(slot, "shows nothing") else self._honest.contributions(slot)

    def word(self, slot: int, addresses: LedgerAddresses) -> Spoken:
        word, signature = self._honest.word(slot, addresses)
        if self._lies(slot, "signs with another key"):
            return word, LedgerKeys(bytes(32)).balance_oracle().sign_digest(word.digest(addresses.chain_id, addresses.settlement))
        if self._lies(slot, "signs nothing"):
            return word, b""
        imported = (word.import_wh or 0) + 400
        changes: dict[str, dict[str, Any]] = {
            "says another sum": {"import_wh": imported},
            "shows nothing": {"import_wh": imported},
            "accuses a member": {"liars": (3,)},
            "says that it does not balance": {"balance": (9_000, 1)},
            "says another transformer": {"transformer_wh": 12_345},
            "leaves one out": {"contributors": word.contributors[1:]},
        }
        return self._said(replace(word, **changes[self._lie]), addresses) if self._lies(slot, *changes) else (word, signature)

    def _said(self, word: MaskedWord, addresses: LedgerAddresses) -> Spoken:
        return word, self._honest._key.sign_digest(word.digest(addresses.chain_id, addresses.settlement))


@pytest.mark.parametrize(
    ("lie", "refused"),
    [
        ("signs with another key", "signature"),
        pytest.param("signs nothing", "signature", marks=pytest.mark.nightly),
        pytest.param("tells of strangers", "contributors", marks=pytest.mark.nightly),
        pytest.param("tells of one twice", "contributors", marks=pytest.mark.nightly),
        ("leaves one out", "contributors"),
        pytest.param("accuses a member", "liars", marks=pytest.mark.nightly),
        pytest.param("says another transformer", "transformer", marks=pytest.mark.nightly),
        pytest.param("says that it does not balance", "balance", marks=pytest.mark.nightly),
        ("says another sum", "sum"),
        ("shows nothing", "contributions"),
    ],
)
def test_a_balance_oracle_that_lies_is_refused_its_word_kept_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lie: str, refused: str
) -> None:
    run = Run(with_privacy(tmp_path), tmp_path / "run", Options())
    masked = run._session._p.masked
    assert masked is not None
    masked._path = Lying(masked._path, run.terms.first, lie)  # type: ignore[arg-type, assignment]
    journal, address = run._journal, run.terms.balance_oracle
    going = iter(run)
    for _ in range(4):
        next(going)
    going.close()  # type: ignore[attr-defined]
    write_public_record(journal, tmp_path / "run" / PUBLIC)
    entries = list(journal.entries())
    journal.close()
    honest = settlements(read_public_record(rural1_private() / PUBLIC))
    assert settlements(entries) == honest[: len(settlements(entries))]
    found = words(entries)
    assert [word and word.get("refused") for word in found] == [None, refused, None, None]
    said = found[LIES_IN]
    assert said is not None
    assert (said["gap_wh"], said["named"]) == (None, [])  # no member is accused of what the oracle did
    assert address is not None
    checked = Audit(tmp_path / "run" / PUBLIC).run().checked
    assert checked["balance oracle's words refused"] == 1
    assert checked["masked sums that are what settled"] == 3
    summary_table(Console(width=200), tmp_path / "run")
    assert f"words of the balance oracle 1 refused ({refused})" in " ".join(capsys.readouterr().out.split())


def test_what_no_meter_said_is_left_out_counted_and_kept_by_its_digest(tmp_path: Path) -> None:
    run = Run(with_privacy(tmp_path), tmp_path / "run", Options())
    masked, first = run._session._p.masked, run.terms.first
    assert masked is not None
    masked._path = Lying(masked._path, first, "invents an opening")  # type: ignore[arg-type, assignment]
    found = words(some_slots(run))
    assert all(word is not None and word["gap_wh"] == [0, 0] for word in found)  # the sum is of what meters said
    assert [word is not None and "invented" in word for word in found] == [False, True, False, False]
    said = found[LIES_IN]
    assert said is not None
    assert len(said["invented"]) == 2
    assert said["invented"][1] == hashlib.sha256(b"noise").hexdigest()


def test_an_oracle_that_names_other_contributors_to_the_meters_than_it_heard_gets_no_second_answer(tmp_path: Path) -> None:
    run = Run(with_privacy(tmp_path, late_percent=0), tmp_path / "run", Options())
    masked = run._session._p.masked
    assert masked is not None
    masked._path = Lying(masked._path, run.terms.first, "tells another list")  # type: ignore[arg-type, assignment]
    found = words(some_slots(run))
    assert [word and word.get("refused") for word in found] == [None, "contributors", None, None]


def test_an_oracle_that_hides_a_members_key_or_passes_on_a_useless_one_loses_that_member_alone(tmp_path: Path) -> None:
    for number, change in enumerate(
        (lambda given, keys: given[1:], lambda given, keys: [join_message(keys[0], bytes(32)), *given[1:]])
    ):
        folder = tmp_path / str(number)
        run = Run(with_privacy(folder, late_percent=0), folder / "run", Options())
        masked = run._session._p.masked
        assert masked is not None
        honest, keys = masked._path.join, masked._keys
        masked._path.join = lambda m, honest=honest, keys=keys, change=change: change(honest(m), keys)  # type: ignore[method-assign, misc]
        for word in words(some_slots(run)):
            assert word is not None
            assert word["contributors"] == list(range(1, 13))
            assert (word["gap_wh"], word["named"]) == ([0, 0], [])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda word: word.update(refused="signature"), "which holds"),
        (lambda word: word.update(refused="transformer"), "which holds"),
        (lambda word: word.update(refused="taste"), "no reason"),
        (lambda word: (word.clear(), word.update(refused="sum")), "no reason"),
        (lambda word: word.update(refused="sum", import_wh=1), "which holds"),
    ],
)
def test_the_audit_finds_a_refusal_that_was_made_up(tmp_path: Path, change: Callable[[dict[str, Any]], object], why: str) -> None:
    record = forge(rural1_private(), tmp_path / "f", "readings_admitted", lambda public: change(public["masked"]), nth=2)
    with pytest.raises(AuditError, match=why):
        Audit(record).run()
