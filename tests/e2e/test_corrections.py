"""Late readings, end to end: slots settled on substitutes are corrected, and everybody ends with the timely bill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from e2e.runs import add, copy_of, file_of, forge, rechain, rural1_day, rural1_late, with_late_readings
from walras.commands.bill import bill_command
from walras.commands.summary import summary_table
from walras.community import load_community
from walras.errors import AuditError
from walras.exchange.audit import Audit
from walras.exchange.correction import Standing, check_correction, corrected_at, difference_positions, settled_at, standing_of
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.journal import Entry, canonical, read_public_record
from walras.exchange.parts import leaves_tree, part_as_json
from walras.exchange.phases import EventKind
from walras.exchange.statement import check_statement, make_statement, opened_terms, settled_slots
from walras.exchange.terms import Terms
from walras.ledger import Header, LedgerAddresses, Sender, SlotSettlement, correction_transaction, read_transaction
from walras.metering.feeder import FeederCheck
from walras.metering.slot_readings import energy_of_leaf
from walras.metering.vault import SALT_BYTES
from walras.study.meters import run_seed
from walras.study.runner import PUBLIC, Options, Run, ledger_keys, open_journal

KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from walras.exchange.journal import Journal
from walras.ledger import EmbeddedChain
from walras.study.runner import Options, Run

append, send, due = Journal.append, EmbeddedChain.send, []

def noted(self, kind, *rest):
    entry = append(self, kind, *rest)
    if kind == "slot_corrected":
        due.append(entry)
    return entry

def deadly(self, raw, *, timestamp):
    if len(due) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return send(self, raw, timestamp=timestamp)

Journal.append, EmbeddedChain.send = noted, deadly
for _ in Run(Path(sys.argv[1]), Path(sys.argv[2]), Options()):
    pass
"""


@cache
def _record(run: Path) -> list[Entry]:
    return read_public_record(run / PUBLIC)


def _sum_by_account(entries: list[Entry], name: str) -> list[int]:
    """What settlements and corrections of a record add up to."""
    kinds = (EventKind.SETTLEMENT_SUBMITTED.value, SLOT_CORRECTED)
    return np.sum([entry.public[name] for entry in entries if entry.kind in kinds], axis=0).tolist()  # type: ignore[no-any-return]


def _some_slots(community: Path, out: Path, count: int) -> list[Entry]:
    """The journal after the first `count` slots."""
    run = Run(community, out, Options())
    slots = iter(run)
    for _ in range(count):
        next(slots)
    slots.close()  # type: ignore[attr-defined]
    run._journal.close()
    journal = open_journal(out)
    entries = list(journal.entries())
    journal.close()
    return entries


@pytest.mark.parametrize("name", ["cash_nano", "energy_wh"])
def test_settlements_and_corrections_add_up_to_what_timely_readings_give(name: str) -> None:
    late, timely = _record(rural1_late()), _record(rural1_day())
    assert _sum_by_account(late, name) == _sum_by_account(timely, name)
    first = [entry.public[name] for entry in late if entry.kind == EventKind.SETTLEMENT_SUBMITTED.value]
    assert np.sum(first, axis=0).tolist() != _sum_by_account(timely, name)  # the corrections did it


def test_every_slot_of_every_member_ends_with_the_timely_bill() -> None:
    late, timely = (_record(run()) for run in (rural1_late, rural1_day))
    corrected = 0
    for seen, wanted in zip(*(settled_slots(opened_terms(e)[0], e) for e in (late, timely)), strict=True):
        assert np.array_equal(seen.accounts.bills.nano, wanted.accounts.bills.nano)
        assert np.array_equal(seen.alone.nano, wanted.alone.nano)
        assert np.array_equal(seen.import_wh, wanted.import_wh)
        corrected += seen.correction is not None
    assert corrected == sum(entry.kind == SLOT_CORRECTED for entry in late) > 48


def test_each_correction_is_once_for_its_slot_when_its_dispute_window_closes() -> None:
    entries = _record(rural1_late())
    terms, _ = opened_terms(entries)
    corrections = [entry.public for entry in entries if entry.kind == SLOT_CORRECTED]
    assert [p["at"] for p in corrections] == [settled_at(terms, p["slot"]) + 3_600 for p in corrections]
    assert len({p["slot"] for p in corrections}) == len(corrections)
    for p in corrections:
        assert sum(p["cash_nano"]) == sum(p["energy_wh"]) == 0
        assert (p["revision"], p["admitted"], p["refused"]) == (1, terms.members, {})


def test_the_audit_computes_every_correction_again() -> None:
    report = Audit(rural1_late() / PUBLIC).run()
    corrections = sum(entry.kind == SLOT_CORRECTED for entry in _record(rural1_late()))
    assert report.checked["corrections computed again, and on the chain"] == corrections
    assert report.checked["accounts on the chain"] == 18
    assert "slots that stand on substitutes" not in report.checked


def test_a_statement_has_each_correction_as_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = open_journal(rural1_late())
    entries = list(journal.entries())
    journal.close()
    statement = make_statement(entries, "farm-1")
    assert statement.total_nano == sum(row[6] for row in statement.slots) + sum(row[5] for row in statement.corrections)
    assert statement.energy_wh["import_wh"] == sum(row[2] for row in statement.slots) + sum(r[1] for r in statement.corrections)
    assert len(statement.corrections) >= 3
    assert check_statement(statement, _record(rural1_late())) > 96
    silent = replace(statement, leaves=tuple(leaf for leaf in statement.leaves if not leaf.kind.startswith("corrected")))
    with pytest.raises(AuditError, match="does not say so"):
        check_statement(silent, _record(rural1_late()))
    taken = statement.corrections[0]
    bent = replace(statement, corrections=((taken[0], taken[1] + 1, *taken[2:]), *statement.corrections[1:]))
    with pytest.raises(AuditError, match="billed energy"):
        check_statement(bent, _record(rural1_late()))
    substitutes = [leaf for leaf in statement.leaves if leaf.kind == "reading" and leaf.data[SALT_BYTES] == 0x82]
    assert {energy_of_leaf(leaf.data[SALT_BYTES:]) for leaf in substitutes} == {(0, 0)}  # on the first day there is no like day
    bill_command(copy_of(rural1_late(), tmp_path / "run"), "farm-1", None)
    assert "corrected after late readings" in capsys.readouterr().out


def test_late_readings_are_held_against_the_feeders_own_meter_as_those_in_time_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody escapes the balance by sending late: the oracles strike it again when the slot is corrected."""
    entries = _record(rural1_late())
    admitted = {entry.slot: entry.public for entry in entries if entry.kind == "readings_admitted"}
    corrected = [entry.public for entry in entries if entry.kind == SLOT_CORRECTED]
    checks = [(FeederCheck(*admitted[public["slot"]]["balance_wh"]), FeederCheck(*public["balance_wh"])) for public in corrected]
    assert all(after.holds for _, after in checks)
    assert sum(not before.holds for before, _ in checks) > 10  # on substitutes of nothing
    summary_table(Console(width=200), rural1_late())
    shown = " ".join(capsys.readouterr().out.split())
    assert f"corrected after late readings {len(corrected)} slots" in shown
    assert "edited" not in shown
    assert "feeder's own meter" not in shown


def test_a_run_killed_between_a_correction_and_its_transaction_goes_on_in_the_same_bytes(tmp_path: Path) -> None:
    community, out = with_late_readings(tmp_path, 20), tmp_path / "killed"
    arguments = [sys.executable, "-c", KILLED_RUN, str(community), str(out)]
    done = subprocess.run(arguments, check=False, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    entries = _some_slots(community, out, 9)
    assert sum(entry.kind == SLOT_CORRECTED for entry in entries) > 2
    assert [entry.hash for entry in entries] == [entry.hash for entry in _record(rural1_late())[: len(entries)]]


def test_where_every_reading_is_late_all_is_substituted_and_all_corrected(tmp_path: Path) -> None:
    entries = _some_slots(with_late_readings(tmp_path, 100), tmp_path / "run", 6)
    admitted = [entry.public for entry in entries if entry.kind == EventKind.READINGS_ADMITTED.value]
    assert [(p["admitted"], p["devices"]) for p in admitted] == [(0, 13)] * 6
    corrections = [entry.public for entry in entries if entry.kind == SLOT_CORRECTED]
    assert len(corrections) == 2  # the window is four slots long
    timely = {e.slot: e.public for e in _record(rural1_day()) if e.kind == EventKind.SETTLEMENT_SUBMITTED.value}
    late = {e.slot: e.public for e in entries if e.kind == EventKind.SETTLEMENT_SUBMITTED.value}
    for p in corrections:
        for name in ("cash_nano", "energy_wh"):
            assert np.add(late[p["slot"]][name], p[name]).tolist() == timely[p["slot"]][name]


def test_a_member_is_shown_the_late_reading_and_the_leaf_that_it_corrected() -> None:
    journal = open_journal(rural1_late())
    kept = [entry for entry in journal.entries() if entry.kind == SLOT_CORRECTED]
    journal.close()
    late = 0
    for entry in kept:
        assert entry.private is not None
        assert leaves_tree(entry).root.hex() == entry.public["root"]
        for account, part in enumerate(entry.private.members):
            assert part is not None
            shown = part_as_json(entry.kind, part)
            energies = entry.public["import_wh"][account], entry.public["export_wh"][account]
            assert energy_of_leaf(bytes.fromhex(shown["leaf"])) == energies
            if shown["sent"]:
                late += 1
                assert shown["sent"] == [shown["leaf"]]
    assert 200 < late < 300  # a fifth of 13 meters in 96 slots


def test_without_late_readings_nothing_is_said_of_corrections() -> None:
    entries = _record(rural1_day())
    assert "dispute_s" not in entries[0].public["gates"]
    assert all(entry.kind != SLOT_CORRECTED for entry in entries)


# --- forgeries ---------------------------------------------------------------------------------------------------------


@cache
def _first_correction() -> tuple[Terms, LedgerAddresses, Standing, Entry]:
    """The first correction of the day that moves somebody's energy, with what it follows on."""
    entries = _record(rural1_late())
    terms, _ = opened_terms(entries)
    deployed = next(entry.public for entry in entries if entry.kind == "ledger_deployed")
    addresses = LedgerAddresses(**{name: deployed[name] for name in ("chain_id", "currency", "registry", "settlement")})
    correction = next(e for e in entries if e.kind == SLOT_CORRECTED and any(e.public["energy_wh"]))
    events = {EventKind(e.kind): e for e in entries if e.slot == correction.public["slot"]}
    return terms, addresses, standing_of(events), correction


def _checked(**changes: Any) -> Standing:
    terms, addresses, before, entry = _first_correction()
    return check_correction(terms, terms.layout(), addresses, before, replace(entry, public={**entry.public, **changes}))


def _moved(name: str, amount: int) -> list[int]:
    """The column with something moved from one account to another: the sum stays."""
    column = list(_first_correction()[3].public[name])
    return [column[0] + amount, column[1] - amount, *column[2:]]


def test_a_true_correction_holds() -> None:
    before = _first_correction()[2]
    after = _checked()
    assert (before.revision, after.revision) == (0, 1)
    assert after.admitted > before.admitted
    assert int(after.cash_nano.sum()) == 0


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"cash_nano": lambda: _moved("cash_nano", 1)}, "cash_nano of account 0"),
        ({"energy_wh": lambda: _moved("energy_wh", 1)}, "energy_wh of account 0"),
        ({"import_wh": lambda: [wh + 1 for wh in _first_correction()[3].public["import_wh"]]}, "members changed"),
        ({"admitted": lambda: _first_correction()[2].admitted}, "members changed"),
        ({"admitted": lambda: 14}, "members changed"),
        ({"root": lambda: "00" * 32}, "oracles signed"),
        ({"signatures": lambda: _first_correction()[2].events[EventKind.ATTESTED].public["signatures"]}, "oracles signed"),
        ({"signatures": lambda: _first_correction()[3].public["signatures"][: 2 * 130]}, "2 oracles signed"),
        ({"revision": lambda: 2}, "follows on revision 0"),
        ({"trades_root": lambda: "00" * 32}, "Merkle root"),
        ({"journal_head": lambda: "00" * 32}, "anchors another"),
        ({"transactions": list}, "one transaction"),
    ],
)
def test_a_forged_correction_is_found(change: dict[str, Any], found: str) -> None:
    with pytest.raises(AuditError, match=found):
        _checked(**{name: make() for name, make in change.items()})


@pytest.mark.parametrize(("seconds", "holds"), [(0, False), (1, True), (3_600, True), (3_601, False)])
def test_a_correction_is_made_after_the_settlement_and_until_the_window_closes(seconds: int, holds: bool) -> None:
    terms, _, _, entry = _first_correction()
    at = settled_at(terms, entry.public["slot"]) + seconds
    assert corrected_at(terms, entry.public["slot"]) == settled_at(terms, entry.public["slot"]) + 3_600
    changes = {"at": at, "transactions": [{**entry.public["transactions"][0], "time": at}]}
    if holds:
        assert _checked(**changes).revision == 1
    else:
        with pytest.raises(AuditError, match="outside the dispute window"):
            _checked(**changes)


def _other_difference(public: dict[str, Any]) -> None:
    """A transaction that the contract takes, signed by the operator under the oracles' quorum: one nano more than was recorded."""
    addresses = _first_correction()[1]
    keys = ledger_keys(run_seed(load_community(file_of(rural1_late()))))
    header = Header(*(bytes.fromhex(public[name]) for name in ("root", "trades_root", "journal_head")))
    cash = np.array(public["cash_nano"]) + np.array([1, -1] + [0] * (len(public["cash_nano"]) - 2))
    positions = difference_positions(cash, np.array(public["energy_wh"]))
    sender = Sender(keys.operator, read_transaction(bytes.fromhex(public["transactions"][0]["raw"])).transaction.nonce)
    other = SlotSettlement(public["slot"], header, positions, bytes.fromhex(public["signatures"]))
    public["transactions"][0]["raw"] = correction_transaction(addresses, sender, other).hex()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda p: (add("cash_nano", 0, 5)(p), add("cash_nano", 1, -5)(p)), "cash_nano of account 0"),
        (_other_difference, "corrected something else than the record says"),
        (lambda p: p.update(slot=p["slot"] + 1), "oracles signed"),
        (lambda p: p.update(slot=p["slot"] + 50), "no settled substitute"),
    ],
    ids=["cash", "transaction", "slot", "slot to come"],
)
def test_the_audit_finds_a_record_with_a_forged_correction(tmp_path: Path, change: Any, found: str) -> None:
    with pytest.raises(AuditError, match=found):
        Audit(forge(rural1_late(), tmp_path / "forged", SLOT_CORRECTED, change, nth=0)).run()


def test_the_audit_finds_that_a_correction_was_left_out(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (rural1_late() / PUBLIC).read_bytes().splitlines()]
    gone = next(row for row, line in enumerate(lines) if line["kind"] == SLOT_CORRECTED)
    del lines[gone]
    for row, line in enumerate(lines):
        line["seq"] = row + lines[0]["seq"]
    data, head = rechain([canonical(line) for line in lines])
    (tmp_path / PUBLIC).write_bytes(data)
    (tmp_path / "HEAD").write_text(head + "\n")
    with pytest.raises(AuditError, match="anchors another journal"):
        Audit(tmp_path / PUBLIC).run()
