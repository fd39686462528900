"""A person edits a reading of a settled slot: signed, on record, attested by the oracles, settled as a correction, on the bill."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from rich.console import Console

from e2e.node_loop import Loop, gateway_in, oracle_in
from e2e.runs import EXAMPLES, add, copy_of, file_of, forge
from walras.commands.bill import bill_command
from walras.commands.dispatch import allow_command
from walras.commands.edit import Editor, edit_command
from walras.commands.summary import summary_table
from walras.commands.validate import validate_command
from walras.community import load_community
from walras.errors import AuditError, InputError, JournalError
from walras.exchange.acts import ActKind, acts_of
from walras.exchange.audit import Audit
from walras.exchange.edits import final_with, in_time, overtaken
from walras.exchange.fold import ACT, SLOT_CORRECTED
from walras.exchange.journal import Entry, write_public_record
from walras.exchange.parts import closed_readings, salted_leaf
from walras.exchange.phases import EventKind
from walras.exchange.statement import opened_terms
from walras.metering import derive_key, did_of
from walras.metering.access import AccessRefusal, Right, issue_access
from walras.metering.correction import Reason, reason_of_leaf
from walras.metering.editing import Edit, EditRefusal, Ordered, judge_edit, sign_edit
from walras.metering.reading import Quality
from walras.metering.validation import Check
from walras.metering.vault import SALT_BYTES
from walras.service.appointment import appointment
from walras.service.clocks import FileClock
from walras.service.key_file import make_key
from walras.service.oracle_node import OracleNode
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.meters import access_issuer, run_seed
from walras.study.oracles import MeteringPath
from walras.study.runner import PUBLIC, Options, Run, open_journal

DESK = Editor(None, None, None, None)
MEMBER, ROW = "home-1", 1
EDITED_SLOTS = 8


def community_with_corrections(to: Path, more: str = "") -> Path:
    """A community file like rural1 whose slots can be corrected for an hour after they were settled."""
    to.mkdir(parents=True, exist_ok=True)
    path = to / "corrections.toml"
    text = (EXAMPLES / "rural1.toml").read_text()
    path.write_text(text.replace("[metering]\n", f"[metering]\ncorrections = true\n{more}"))
    return path


def go_on(community: Path, out: Path, count: int, way: Callable[..., MeteringPath] | None = None) -> list[Entry]:
    """The journal after the first `count` slots, its public record written."""
    run = Run(community, out, Options(), way)
    slots = iter(run)
    for _ in range(count):
        next(slots)
    slots.close()  # type: ignore[attr-defined]
    write_public_record(run._journal, out / PUBLIC)
    entries = list(run._journal.entries())
    run._journal.close()
    return entries


@cache
def edited() -> Path:
    """Eight slots; after the third, its value and that of the second were edited. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    community, out = community_with_corrections(folder), folder / "run"
    first = load_community(community).slots.start
    go_on(community, out, 3)
    edit_command(out, MEMBER, str(first + 1), (777, 0), "meter_fault", DESK, None)
    edit_command(out, MEMBER, "2016-06-21T00:30", (555, 11), "clock_fault", DESK, None)
    go_on(community, out, EDITED_SLOTS)
    return out


def entries_of(run: Path) -> list[Entry]:
    journal = open_journal(run)
    entries = list(journal.entries())
    journal.close()
    return entries


def test_an_edit_makes_a_correcting_settlement_when_its_slots_window_closes() -> None:
    entries = entries_of(edited())
    first = load_community(file_of(edited())).slots.start
    corrections = [entry for entry in entries if entry.kind == SLOT_CORRECTED]
    assert [entry.public["slot"] for entry in corrections] == [first + 1, first + 2]
    for entry, energies, reason in zip(corrections, [(777, 0), (555, 11)], [Reason.METER_FAULT, Reason.CLOCK_FAULT], strict=True):
        public = entry.public
        assert (public["import_wh"][ROW], public["export_wh"][ROW]) == energies
        assert sum(public["cash_nano"]) == sum(public["energy_wh"]) == 0
        assert public["cash_nano"][ROW] != 0
        assert public["admitted"] == 12
        (seq,) = public["edits"]
        assert entries[seq].kind == ACT
        readings = closed_readings(public["slot"], entry)
        assert [row for row, quality in enumerate(readings.quality) if quality == Quality.EDITED] == [ROW]
        leaf = salted_leaf(entry, ROW)
        assert leaf is not None
        assert reason_of_leaf(leaf[SALT_BYTES:]) == (reason, entries[seq].public["by"])
        before = next(e for e in entries if e.kind == EventKind.READINGS_ADMITTED.value and e.slot == public["slot"])
        assert closed_readings(public["slot"], before).quality[ROW] == Quality.MEASURED  # the original is kept


def test_the_edit_is_an_act_that_names_who_and_why_under_their_signature() -> None:
    acts = [act for act in acts_of(entries_of(edited())) if act.kind is ActKind.EDITED]
    desk = did_of(derive_key(run_seed(load_community(file_of(edited()))), "metering desk").public_key())
    assert [(act.by, act.account, (act.detail or {})["reason"]) for act in acts] == [
        (desk, ROW, "meter_fault"),
        (desk, ROW, "clock_fault"),
    ]


def test_the_audit_checks_edits_and_finds_a_forged_one(tmp_path: Path) -> None:
    report = Audit(edited() / PUBLIC).run()
    assert report.checked["edits under their signature"] == 2
    assert report.checked["corrections computed again, and on the chain"] == 2

    def other_value(public: dict[str, object]) -> None:
        detail = public["detail"]
        assert isinstance(detail, dict)
        detail["now"] = [1, 0]

    rows = [row for row, entry in enumerate(e for e in entries_of(edited()) if e.kind == ACT) if entry.public["act"] == "edited"]
    with pytest.raises(AuditError, match="something else than its signed order"):
        Audit(forge(edited(), tmp_path / "act", ACT, other_value, nth=rows[0])).run()
    with pytest.raises(AuditError, match="stands otherwise"):
        Audit(forge(edited(), tmp_path / "energy", SLOT_CORRECTED, add("import_wh", ROW, 5), nth=0)).run()
    with pytest.raises(AuditError, match="not ordered in time"):
        Audit(forge(edited(), tmp_path / "named", SLOT_CORRECTED, lambda public: public.update(edits=[3]), nth=0)).run()
    with pytest.raises(AuditError, match="members changed"):
        Audit(forge(edited(), tmp_path / "silent", SLOT_CORRECTED, lambda public: public.pop("edits"), nth=0)).run()


def test_bill_and_validation_show_what_was_edited_by_whom_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bill_command(copy_of(edited(), tmp_path / "run"), MEMBER, None)
    printed = " ".join(capsys.readouterr().out.split())
    assert "corrected after late readings and edits" in printed
    assert "edited: 2016-06-21 00:15, meter fault, by did:key:" in printed
    assert "edited: 2016-06-21 00:30, clock fault, by did:key:" in printed
    found = validate_command(tmp_path / "run", None)
    assert not any(one.check is Check.MISSING for one in found)
    assert "marked: 2 edited" in capsys.readouterr().out


def test_an_edit_off_the_feeders_own_meter_is_said_at_once_struck_by_the_oracles_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(edited(), tmp_path / "run")
    community = load_community(file_of(run))
    first = community.slots.start
    stands = closed_readings(first + 7, _admitted(run, first + 7)).import_wh

    def said(row: int, more: int) -> str:
        capsys.readouterr()
        edit_command(run, community.members[row].id, str(first + 7), (int(stands[row]) + more, 0), "register_total", DESK, None)
        return " ".join(capsys.readouterr().out.split())

    assert "against the feeder's own meter" not in said(ROW, 1)  # as much as a register is read off by
    assert re.search(r"against the feeder's own meter: -(39|40)\d Wh .* explain \d+; it was [+-]\d", said(ROW + 1, 400))
    corrections = [entry.public for entry in go_on(file_of(run), run, 12) if entry.kind == SLOT_CORRECTED]
    first_struck = [_admitted(run, public["slot"]).public["balance_wh"] for public in corrections]
    assert all(abs(residual) <= tolerance for residual, tolerance in first_struck)
    assert all(abs(residual) > tolerance for residual, tolerance in (public["balance_wh"] for public in corrections))
    summary_table(Console(width=300), run)
    shown = " ".join(capsys.readouterr().out.split())
    assert "edited by people 3 slots; 3 now further off the feeder's own meter than meters' errors explain" in shown
    assert "off the feeder's own meter 3 of 3 slots that stand on substitutes or edits: no meter's fault" in shown
    assert "corrected after late readings" not in shown
    assert "not met" not in shown
    assert Audit(run / PUBLIC).run().checked["edits under their signature"] == 4


def test_what_may_not_be_edited_is_refused_and_the_refusal_is_on_record(tmp_path: Path) -> None:
    run = copy_of(edited(), tmp_path / "run")
    first = load_community(file_of(run)).slots.start
    for index, why in ((first, "final"), (first + EDITED_SLOTS, "not settled"), (first + 7, "stands there")):
        now = closed_readings(index, _admitted(run, index)) if index == first + 7 else None
        value = (1, 2) if now is None else (int(now.import_wh[ROW]), int(now.export_wh[ROW]))
        with pytest.raises(JournalError, match=why):
            edit_command(run, MEMBER, str(index), value, "meter_fault", DESK, None)
    acts = acts_of(entries_of(run))
    asked = next(act for act in acts if act.kind is ActKind.EDITED)
    assert [(act.kind, act.by, act.account) for act in acts[-3:]] == [(ActKind.DENIED, asked.by, asked.account)] * 3
    for slot, reason in (("2016-06-21T00:31", "meter_fault"), (str(first + 7), "i like it better"), ("yesterday", "meter_fault")):
        with pytest.raises(InputError):
            edit_command(run, MEMBER, slot, (1, 2), reason, DESK, None)


def _admitted(run: Path, slot: int) -> Entry:
    return next(e for e in entries_of(run) if e.kind == EventKind.READINGS_ADMITTED.value and e.slot == slot)


def test_a_stranger_cannot_edit_and_a_vouched_editor_can(tmp_path: Path) -> None:
    run = copy_of(edited(), tmp_path / "run")
    community = load_community(file_of(run))
    slot = str(community.slots.start + 7)
    did = did_of(make_key(tmp_path / "own.pem", None).public_key())
    make_key(tmp_path / "another.pem", None)
    mine = Editor(str(tmp_path / "own.pem"), tmp_path / "own.jwt", None, None)
    now = datetime.now(UTC)
    allow_command(did, "edit", str(tmp_path / "another.pem"), tmp_path / "own.jwt", 1, now, None)
    with pytest.raises(JournalError, match="not by this issuer"):
        edit_command(run, MEMBER, slot, (1, 2), "meter_fault", mine, None)
    allow_command(did, "edit", f"seed:{file_of(run)}", tmp_path / "own.jwt", 1, now, None)
    assert edit_command(run, MEMBER, slot, (1, 2), "meter_fault", mine, None).holder == did
    operator = access_issuer(run_seed(community))
    reader = issue_access(operator, did_of(derive_key(bytes(32), "r").public_key()), [Right.READ], *_year())
    order = sign_edit(derive_key(bytes(32), "r"), reader, Edit(0, 1, (0, 0), (1, 1), Reason.METER_FAULT), "0x", _year()[0])
    assert judge_edit(order, operator.public_key(), "0x", 13) is AccessRefusal.NO_RIGHT


def test_an_edit_is_in_time_until_the_slot_that_is_due_when_the_window_has_closed_is_settled() -> None:
    terms, _ = opened_terms(entries_of(edited()))
    slot = terms.first + 1
    assert final_with(terms, slot) == slot + 4  # an hour, in quarter hours
    assert [in_time(terms, slot, last) for last in (None, slot - 1, slot, slot + 3, slot + 4)] == [False, False, True, True, False]
    assert final_with(terms, terms.last - 1) == terms.last
    assert not in_time(replace(terms, dispute_window_s=0), slot, slot)
    assert final_with(replace(terms, dispute_window_s=3_601), slot) == slot + 5


def _year() -> tuple[datetime, datetime]:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    return since, since + timedelta(days=366)


def test_an_order_is_for_one_contract_and_one_value_in_whole_numbers() -> None:
    issuer, holder = derive_key(bytes(32), "i"), derive_key(bytes(32), "h")
    credential = issue_access(issuer, did_of(holder.public_key()), [Right.EDIT], *_year())
    edit = Edit(2, 9, (5, 0), (6, 0), Reason.WRONG_SUBSTITUTE)

    def judged(edit: Edit, accounts: int = 13, contract: str = "0xa") -> object:
        return judge_edit(sign_edit(holder, credential, edit, "0xa", _year()[0]), issuer.public_key(), contract, accounts)

    good = judged(edit)
    assert isinstance(good, Ordered)
    assert (good.edit, good.holder, good.made) == (edit, did_of(holder.public_key()), _year()[0])
    assert judged(edit, contract="0xb") is AccessRefusal.NOT_FOR_THIS
    assert judged(edit, accounts=2) is EditRefusal.UNKNOWN_ACCOUNT
    assert judged(Edit(2, 9, (5, 0), (5, 0), Reason.METER_FAULT)) is EditRefusal.NOTHING_CHANGED
    assert judged(Edit(2, 9, (5, 0), (-6, 0), Reason.METER_FAULT)) is EditRefusal.MALFORMED
    assert judge_edit(b"\x00", issuer.public_key(), "0xa", 13) is AccessRefusal.MALFORMED


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


def test_oracles_of_their_own_judge_an_edit_keep_it_and_attest_the_edited_slot(loop: Loop, tmp_path: Path) -> None:
    community = community_with_corrections(tmp_path)
    a, made = appointment(load_community(community)), []  # type: ignore[var-annotated]
    oracles = [oracle_in(loop, a, number, tmp_path, made) for number in range(4)]
    nodes, clock = Nodes(gateway_in(loop, a, oracles, tmp_path), tuple(oracles)), FileClock(tmp_path / "clock")

    def way(_: object, secrets: tuple[bytes, ...]) -> MeteringPath:
        return RemoteMetering(a, nodes, secrets, clock)

    go_on(community, tmp_path / "run", 2, way)
    first = a.community.slots.start
    ordered = edit_command(tmp_path / "run", MEMBER, str(first + 1), (777, 0), "meter_fault", DESK, None)
    entries = go_on(community, tmp_path / "run", 6, way)
    (correction,) = [entry for entry in entries if entry.kind == SLOT_CORRECTED]
    assert (correction.public["slot"], correction.public["import_wh"][ROW]) == (first + 1, 777)
    assert len(correction.public["oracles"]) == 4
    for node in made:
        assert isinstance(node, OracleNode)
        assert loop.do(lambda node=node: node._store.edits(first + 1)) == [ordered.encoded]
    assert Audit(tmp_path / "run" / PUBLIC).run().checked["edits under their signature"] == 1


def test_an_edit_that_a_late_reading_overtakes_is_said_in_bill_and_summary_and_never_dropped_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    community, out = community_with_corrections(tmp_path, "late_percent = 100\n"), tmp_path / "run"
    first = load_community(community).slots.start
    go_on(community, out, 3)
    edit_command(out, MEMBER, str(first + 1), (777, 0), "meter_fault", DESK, None)
    entries = go_on(community, out, EDITED_SLOTS)
    (correction,) = [e for e in entries if e.kind == SLOT_CORRECTED and e.public["slot"] == first + 1]
    assert "edits" not in correction.public
    assert correction.public["import_wh"][ROW] != 777
    (act,) = overtaken(entries)
    assert (act.account, (act.detail or {})["now"]) == (ROW, [777, 0])
    assert overtaken(entries_of(edited())) == []
    capsys.readouterr()
    bill_command(out, MEMBER, None)
    said = " ".join(capsys.readouterr().out.split())
    assert f"an edit that did not count: 2016-06-21 00:15 to 777 Wh taken, 0 Wh given, meter fault, by {act.by}" in said
    summary_table(Console(width=200), out)
    assert re.search(r"edits that did not count +1: a late reading", capsys.readouterr().out)
    bill_command(out, "home-2", None)
    assert "did not count" not in capsys.readouterr().out
