"""Committed days on a real run: proven from its folder, tied to its public record, audited, and gone with a forgotten member."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache, reduce
from pathlib import Path
from typing import Any

import pytest

from e2e.runs import copy_of, file_of, rechain, rural1_committed, rural1_late
from proofs_world import keys_folder
from walras.cli import app
from walras.commands.rights import consent_command, export_command, forget_command
from walras.errors import AuditError, InputError, JournalError, MeteringError
from walras.exchange.audit import Audit
from walras.exchange.days import check_days, opened_day
from walras.exchange.fold import DAYS_COMMITTED, LEDGER_DEPLOYED, SLOT_CORRECTED, ExchangeState, apply
from walras.exchange.journal import Entry, canonical, read_public_record
from walras.exchange.statement import make_statement, opened_terms
from walras.exchange.terms import Terms
from walras.ledger import LedgerAddresses
from walras.study.runner import PUBLIC, Options, Run, open_journal

MEMBER, DAY = "home-1", "2016-06-21"


def walras(*arguments: object) -> None:
    app([str(argument) for argument in arguments], result_action="return_value")


def copied(folder: Path, consents: bool = True) -> Path:
    """A copy of the run, in which the member has consented to proofs."""
    run = copy_of(rural1_committed(), folder / "run")
    if consents:
        consent_command(run, MEMBER, "proof", False, None)
    return run


def prove(run: Path, claim: str, out: Path, circuit: str, *more: object) -> None:
    walras("prove", claim, "--run", run, "--member", MEMBER, "--day", DAY, "--out", out, "--keys", keys_folder(circuit), *more)


def test_a_member_proves_from_the_folder_and_anybody_checks_against_the_public_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, proof = copied(tmp_path), tmp_path / "proof.json"
    prove(run, "below_limit slot=18:30 import_limit_wh=5000", proof, "below_limit")
    content = json.loads(proof.read_text())
    assert set(content) == {"statement", "proof", "ceremony", "published"}
    assert content["statement"]["slot"] == "74"
    bare = tmp_path / "public"
    bare.mkdir()
    for name in (PUBLIC, "HEAD"):
        (bare / name).write_bytes((run / name).read_bytes())
    walras("check-proof", proof, "--run", bare)
    printed = capsys.readouterr().out
    assert "holds: BelowLimit" in printed
    assert "a day of a member from 2016-06-21 00:00 to 2016-06-22 00:00, under a quorum's word" in printed
    assert MEMBER not in proof.read_text()
    with pytest.raises(SystemExit, match="1"):
        walras("check-proof", proof, "--run", rural1_late())
    assert "no such commitment was published" in capsys.readouterr().out


def test_what_is_proven_is_what_was_settled_and_corrected() -> None:
    """The opened day is the statement's slots with their corrections, to the watt-hour."""
    journal = open_journal(rural1_committed())
    entries = list(journal.entries())
    journal.close()
    statement, (terms, members) = make_statement(entries, MEMBER), opened_terms(entries)
    opened = opened_day(terms, entries, members[MEMBER], terms.first)
    energies = {row[0]: (row[2], row[3]) for row in statement.slots}
    for slot, taken, given, *_ in statement.corrections:
        energies[slot] = energies[slot][0] + taken, energies[slot][1] + given
    assert statement.corrections
    assert list(zip(opened.day.import_wh.tolist(), opened.day.export_wh.tolist(), strict=True)) == list(energies.values())


def test_the_audit_checks_the_committed_days() -> None:
    report = Audit(rural1_committed() / PUBLIC).run()
    assert report.checked["oracle signatures on committed days"] == 4


def set_to(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(public: dict[str, Any]) -> None:
        public[name] = value

    return change


@cache
def before_the_days() -> tuple[Terms, LedgerAddresses, ExchangeState, Entry]:
    """What the audit knows when it comes to the committed days, and their entry."""
    entries = read_public_record(rural1_committed() / PUBLIC)
    at = next(row for row, entry in enumerate(entries) if entry.kind == DAYS_COMMITTED)
    deployed = next(entry.public for entry in entries if entry.kind == LEDGER_DEPLOYED)
    addresses = LedgerAddresses(**{k: deployed[k] for k in ("chain_id", "currency", "registry", "settlement")})
    return opened_terms(entries)[0], addresses, reduce(apply, entries[:at], ExchangeState()), entries[at]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (set_to("root", "00" * 32), "oracles signed the root of the commitments"),
        (lambda p: p.update(signatures=p["signatures"][: 2 * 130]), "2 oracles signed"),
        (lambda p: p.update(first_slot=p["first_slot"] + 1), "the next committed days of this run are others"),
        (lambda p: p.update(at=p["at"] + 1), "it should be"),
        (set_to("commitments", 14), "14 commitments of 13 members"),
    ],
    ids=["root", "quorum", "slots", "moment", "count"],
)
def test_forged_committed_days_are_found(change: Callable[[dict[str, Any]], None], found: str) -> None:
    terms, addresses, state, entry = before_the_days()
    assert check_days(terms, addresses, state, entry) == 4
    public = dict(entry.public)
    change(public)
    with pytest.raises(AuditError, match=found):
        check_days(terms, addresses, state, replace(entry, public=public))
    with pytest.raises(AuditError, match="are others"):
        check_days(replace(terms, commits_days=False), addresses, state, entry)


def test_slots_that_are_not_settled_or_committed_to_already_are_not_committed_to() -> None:
    terms, _, state, entry = before_the_days()
    after = apply(state, entry)
    assert after.committed == terms.last
    for wrong in (state.last_settled, None):
        with pytest.raises(JournalError, match="belong"):
            apply(replace(state, last_settled=None if wrong is None else wrong - 1), entry)
    with pytest.raises(JournalError, match="do not belong here"):
        apply(after, entry)


def test_days_left_out_are_found(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (rural1_committed() / PUBLIC).read_bytes().splitlines()]
    lines = [line for line in lines if line["kind"] != DAYS_COMMITTED]
    for row, line in enumerate(lines):
        line["seq"] = row
    data, head = rechain([canonical(line) for line in lines])
    (tmp_path / PUBLIC).write_bytes(data)
    (tmp_path / "HEAD").write_text(head + "\n")
    with pytest.raises(AuditError, match=r"days are committed to up to slot None"):
        Audit(tmp_path / PUBLIC).run()


def test_an_interrupted_run_goes_on_to_the_same_record(tmp_path: Path) -> None:
    community = file_of(rural1_committed())
    going = Run(community, tmp_path, Options())
    slots = iter(going)
    for _ in range(95):
        next(slots)
    slots.close()  # type: ignore[attr-defined]
    going._journal.close()
    for _ in Run(community, tmp_path, Options()):
        pass
    assert (tmp_path / PUBLIC).read_bytes() == (rural1_committed() / PUBLIC).read_bytes()


def test_a_forgotten_member_proves_nothing_any_more_and_no_salt_is_left(tmp_path: Path) -> None:
    run = copied(tmp_path)
    export_command(run, MEMBER, tmp_path / "mine.json", None, False, None)
    kept = json.loads((tmp_path / "mine.json").read_text())["kept"]
    (salt,) = (part["data"]["day_salt"] for part in kept if part["kind"] == DAYS_COMMITTED)
    forget_command(run, MEMBER, None, None)
    with pytest.raises(InputError, match="one of farm-1"):
        prove(run, "below_limit slot=18:30 import_limit_wh=5000", tmp_path / "p.json", "below_limit")
    left = b"".join(path.read_bytes() for path in run.iterdir() if path.is_file())
    assert bytes.fromhex(salt) not in left
    assert salt.encode() not in left
    assert Audit(run / PUBLIC).run().slots == 96
    journal = open_journal(run)
    entries = list(journal.entries())
    journal.close()
    terms, members = opened_terms(entries)
    assert opened_day(terms, entries, members["home-2"], terms.first).slots == range(terms.first, terms.last + 1)


def test_past_their_retention_salts_and_late_readings_go_too(tmp_path: Path) -> None:
    run = copied(tmp_path)
    forget_command(run, None, 0, None)
    journal = open_journal(run)
    entries = list(journal.entries())
    journal.close()
    parts = [e.private for e in entries if e.kind in (DAYS_COMMITTED, SLOT_CORRECTED)]
    assert len(parts) > 50
    assert all(part is not None and set(part.members) == {None} for part in parts)
    with pytest.raises(JournalError, match="readings or salt of account 1 were erased"):
        prove(run, "below_limit slot=18:30 import_limit_wh=5000", tmp_path / "p.json", "below_limit")


@pytest.mark.parametrize(
    ("claim", "named"),
    [
        ("", "one of: day_sum"),
        ("nothing slot=1", "one of: day_sum"),
        ("below_limit 18:30", "one of: day_sum"),
        ("below_limit slot=18:31 import_limit_wh=1", "a local time at which a slot"),
        ("below_limit slot=18:30 import_limit_wh=x", "a whole number"),
        ("reduction first=18:00 until=19:00 reduction_wh=1", "--baseline"),
    ],
)
def test_every_fault_of_a_claim_about_a_run_is_named(tmp_path: Path, claim: str, named: str) -> None:
    run = copied(tmp_path)
    with pytest.raises(InputError, match=named):
        prove(run, claim, tmp_path / "p.json", "below_limit")


def test_a_reduction_from_a_baseline_that_nobody_agreed_to_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The prover makes up a baseline that is high enough; the proof is sound, and proves nothing to anybody."""
    run, proof, made_up = copied(tmp_path), tmp_path / "proof.json", tmp_path / "baseline.json"
    made_up.write_text(json.dumps({"import_wh": [50_000] * 96, "export_wh": [0] * 96, "salt": "07" * 31}))
    claim = "reduction first=18:00 until=19:00 reduction_wh=100000"
    prove(run, claim, proof, "reduction", "--baseline", made_up)
    own = json.loads(proof.read_text())["statement"]["baseline"]
    walras("check-proof", proof, "--run", run, "--baseline", own)
    assert "the baseline is the agreed one" in capsys.readouterr().out
    walras("check-proof", proof)
    assert "whatever the prover chose" in " ".join(capsys.readouterr().out.split())
    for more, why in (((), "not shown"), (("--baseline", int(own) + 1), "another baseline than the agreed")):
        with pytest.raises(SystemExit):
            walras("check-proof", proof, "--run", run, *more)
        assert why in " ".join(capsys.readouterr().out.split())
    with pytest.raises(InputError, match="decimal digits"):
        walras("check-proof", proof, "--baseline", "-5")


def test_what_is_not_true_of_the_day_or_of_no_committed_day_is_not_proven(tmp_path: Path) -> None:
    run = copied(tmp_path)
    with pytest.raises(MeteringError, match="not true of these readings"):
        prove(run, "below_limit slot=18:30 import_limit_wh=0", tmp_path / "p.json", "below_limit")
    late = copy_of(rural1_late(), tmp_path / "late")
    consent_command(late, MEMBER, "proof", False, None)
    with pytest.raises(JournalError, match="committed to no day"):
        prove(late, "below_limit slot=18:30 import_limit_wh=1", tmp_path / "p.json", "below_limit")
    with pytest.raises(InputError, match="together, or none"):
        walras("prove", "below_limit", "--run", run, "--out", tmp_path / "p.json")
