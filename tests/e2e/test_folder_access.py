"""Who opens a run's folder: who holds a key for it, and for what it was admitted to; a copy without one is the public record."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cbor2
import pytest

from command_world import walras
from e2e.runs import EXAMPLES, copy_of, rural1_day
from walras.commands.admit import admit_command
from walras.commands.bill import bill_command
from walras.commands.report import public_command
from walras.commands.rights import consent_command, export_command, forget_command
from walras.commands.validate import validate_command
from walras.community import load_community
from walras.errors import InputError, JournalError, MeteringError
from walras.exchange.acts import Act, ActKind, acts_of
from walras.exchange.audit import Audit
from walras.exchange.folder import ACCESS, COMMUNITY, NEEDED, Holder, Opened, admit, admitted, key_place, open_folder
from walras.exchange.journal import read_public_record
from walras.exchange.parts import member_ids
from walras.exchange.pem import read_key, write_new_key
from walras.metering import derive_key, did_of
from walras.metering.access import Right
from walras.metering.envelope import disclose, enclose
from walras.study.meters import make_meters, run_seed
from walras.study.runner import PUBLIC, OpenRun, Options, Run, open_journal, open_run

MEMBER, NEIGHBOUR = "home-1", "home-2"
NOW = datetime.now(UTC).replace(microsecond=0)


def key_of(place: Path) -> str:
    """A new key in a file; its DID."""
    write_new_key(place)
    return did_of(read_key(place).public_key())


def every_byte(run: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file())


def last_act(run: Path) -> Act:
    return acts_of(read_public_record(run / PUBLIC))[-1]


def personal(run: Path) -> list[bytes]:
    """What names somebody or is a reading of theirs, in every form in which bytes are spelled."""
    community = load_community(EXAMPLES / "rural1.toml")
    meters = make_meters(community, run_seed(community))
    journal = open_journal(run)
    kept = [(e.kind, part) for e in journal.entries() if e.private is not None for part in e.private.members if part]
    journal.close()
    raw = [part for _, part in kept]
    readings = [reading for kind, part in kept if kind == "readings_admitted" for reading in cbor2.loads(part)[1]]
    assert len(readings) > 1_000
    spelled = [form for item in raw[::97] for form in (item, item.hex().encode(), b64encode(item).rstrip(b"="))]
    spelled += [form for item in readings[::29] for form in (item, item.hex().encode(), item[25:-66])]
    return [*spelled, *(c.encode() for c in meters.credentials), *(f'"{m.id}"'.encode() for m in community.members)]


COMMANDS = {
    "walras bill": "bill {run} home-1",
    "walras consent": "consent {run} home-1 research",
    "walras dispatch": "dispatch {run} {here}/order",
    "walras edit": "edit {run} home-1 16512 --import-wh 1 --export-wh 1 --reason meter_fault",
    "walras exchange-meter": "exchange-meter {run} home-1 16512 --old-import 1:1 --old-export 1:1",
    "walras export": "export {run} home-1",
    "walras forget": "forget {run} home-1",
    "walras prove": "prove day_sum+capacity_wh=4000 --out {here}/proof --run {run} --member home-1 --day 2016-06-21",
    "walras report": "report {run}",
    "walras statistics": "statistics {run}",
    "walras validate": "validate {run}",
    "walras admit": "admit {run} did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169 export",
}


def test_every_command_that_a_right_opens_is_tried_here() -> None:
    assert set(NEEDED) <= set(COMMANDS)


def test_a_copy_without_the_key_is_the_public_record_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = copy_of(rural1_day(), tmp_path / "taken", key=False)
    (tmp_path / "order").write_bytes(b"an order")
    before = {path.name: path.read_bytes() for path in taken.iterdir()}
    found = b"\n".join(before.values())
    assert [trace for trace in personal(rural1_day()) if trace in found] == []
    for command, words in COMMANDS.items():
        capsys.readouterr()
        assert walras(*(word.replace("+", " ") for word in words.format(run=taken, here=tmp_path).split())) == 2, command
        said = capsys.readouterr()
        assert said.out == ""
        assert str(key_place(taken)) in said.err, command
        assert "walras audit" in said.err
    assert {path.name: path.read_bytes() for path in taken.iterdir()} == before
    assert Audit(taken / PUBLIC).run().slots == 96
    public_command(taken)
    assert "home-" not in capsys.readouterr().out
    with pytest.raises(InputError, match="sealed"):
        Run(EXAMPLES / "rural1.toml", taken, Options())


def test_the_key_is_its_owners_alone_and_no_other_runs(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    assert key_place(rural1_day()).stat().st_mode & 0o777 == 0o600
    key_place(run).chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        validate_command(run, None)
    key_place(run).unlink()
    key_of(key_place(run))
    with pytest.raises(JournalError, match="begun with another key"):
        validate_command(run, None)


def test_a_members_own_key_opens_that_members_data_and_nobody_elses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    own = tmp_path / "home-1.pem"
    did = key_of(own)
    admit_command(run, did, "own", MEMBER, 30, False, None)
    assert (last_act(run).kind, last_act(run).account) == (ActKind.ADMITTED, 1)
    export_command(run, MEMBER, tmp_path / "all.json", None, False, None)
    key_place(run).unlink()
    export_command(run, MEMBER, tmp_path / "own.json", None, False, own)
    by_operator, by_member = (json.loads((tmp_path / name).read_text()) for name in ("all.json", "own.json"))
    for field in ("statement", "orders", "kept", "held_nano"):
        assert by_member[field] == by_operator[field]
    assert (by_operator["left_out"], by_operator["own_keys"]) == ([], [did])
    assert [gap.split(":")[0] for gap in by_member["left_out"]] == [COMMUNITY, ACCESS]
    assert (last_act(run).kind, last_act(run).by) == (ActKind.EXPORTED, "member")
    bill_command(run, MEMBER, None, own)
    assert "proofs hold" in " ".join(capsys.readouterr().out.split())
    consent_command(run, MEMBER, "research", False, own)
    for nobody in (NEIGHBOUR, "farm-1"):
        with pytest.raises(InputError, match=f"'{nobody}': expected one of {MEMBER}"):
            export_command(run, nobody, tmp_path / "other.json", None, False, own)
    opened = open_run(run, read_key(own), "walras export", datetime.now(UTC))
    assert isinstance(opened, OpenRun)
    entries = list(opened.journal.entries())
    assert (opened.master, opened.community, member_ids(entries[0])) == (None, None, {MEMBER: 1})
    assert {at for e in entries if e.private for at, part in enumerate(e.private.members) if part} == {1}
    opened.journal.close()
    for refused in (lambda: validate_command(run, own), lambda: forget_command(run, MEMBER, None, own)):
        with pytest.raises(JournalError, match="does not give this right; the refusal is recorded"):
            refused()
        assert (last_act(run).kind, last_act(run).by) == (ActKind.DENIED, "member")
    found = every_byte(run)
    assert did.encode() not in found
    assert json.loads((tmp_path / "own.json").read_text())["kept"][-1]["data"] == {"holder": did}
    Audit(run / PUBLIC).run()


def test_who_is_admitted_does_what_the_right_says_until_it_ends(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    place = tmp_path / "officer.pem"
    did = key_of(place)
    with pytest.raises(JournalError, match="not admitted"):
        export_command(run, MEMBER, tmp_path / "a.json", None, False, place)
    assert (last_act(run).kind, last_act(run).by) == (ActKind.DENIED, did)
    admit_command(run, did, "export", None, 30, False, None)
    export_command(run, MEMBER, tmp_path / "a.json", None, False, place)
    assert (last_act(run).kind, last_act(run).by) == (ActKind.EXPORTED, did)
    with pytest.raises(JournalError, match="does not give this right"):
        forget_command(run, MEMBER, None, place)
    with pytest.raises(JournalError, match="operator's alone"):
        admit_command(run, did, "erase", None, 30, False, place)
    listed = open_folder(run, None, "walras admit", NOW)
    assert isinstance(listed, Opened)
    assert isinstance(listed.keys, bytes)
    assert admitted(run, listed.keys) == [Holder(did, None)]
    admit_command(run, did, None, None, 30, True, None)
    assert admitted(run, listed.keys) == []
    assert (last_act(run).kind, dict(last_act(run).detail or {})) == (ActKind.DISMISSED, {"holder": did})
    with pytest.raises(JournalError, match="not admitted"):
        export_command(run, MEMBER, tmp_path / "a.json", None, False, place)
    opened = open_folder(run, None, "walras admit", NOW)
    assert isinstance(opened, Opened)
    admit(run, opened, did, Right.EXPORT, (NOW - timedelta(days=2), NOW - timedelta(days=1)), {})
    with pytest.raises(JournalError, match="not valid now"):
        export_command(run, MEMBER, tmp_path / "a.json", None, False, place)
    admit_command(run, did, "erase", None, 30, False, None)
    forget_command(run, MEMBER, None, place)
    assert (last_act(run).kind, last_act(run).by) == (ActKind.FORGOTTEN, did)
    Audit(run / PUBLIC).run()


def test_a_right_that_was_written_into_the_folder_by_somebody_else_opens_nothing(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    officer, thief = tmp_path / "officer.pem", tmp_path / "thief.pem"
    did, other = key_of(officer), key_of(thief)
    admit_command(run, did, "export", None, 30, False, None)
    access = json.loads((run / ACCESS).read_text())
    operator = access["operator"]
    (row,) = access["holders"]
    credential, key = cbor2.loads(disclose(read_key(officer), operator.encode(), bytes.fromhex(row["envelope"])))
    once = derive_key(bytes(16), "once")
    copied = enclose(read_key(thief).public_key(), once, operator.encode(), cbor2.dumps([credential, key]))
    (run / ACCESS).write_text(json.dumps({**access, "holders": [row, {**row, "envelope": copied.hex()}]}))
    with pytest.raises(JournalError, match="not signed by the credential's holder"):
        export_command(run, MEMBER, tmp_path / "a.json", None, False, thief)
    (run / ACCESS).write_text(json.dumps(access))
    opened = open_folder(run, None, "walras admit", NOW)
    assert isinstance(opened, Opened)
    forged = Opened(opened.by, opened.keys, False, read_key(thief))
    admit(run, forged, other, Right.EXPORT, (NOW, NOW + timedelta(days=1)), {})
    with pytest.raises(JournalError, match="not by this issuer"):
        export_command(run, MEMBER, tmp_path / "a.json", None, False, thief)


def test_a_member_who_is_forgotten_is_admitted_no_more_and_a_neighbour_may_still_be(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    own, other = tmp_path / "home-1.pem", tmp_path / "home-2.pem"
    did, neighbours = key_of(own), key_of(other)
    admit_command(run, did, "own", MEMBER, 30, False, None)
    export_command(run, MEMBER, tmp_path / "a.json", None, False, own)
    sealed, access = (run / COMMUNITY).read_bytes(), (run / ACCESS).read_bytes()
    forget_command(run, MEMBER, None, None)
    assert did.encode() not in every_byte(run)
    assert (run / COMMUNITY).read_bytes() != sealed
    assert len((run / ACCESS).read_bytes()) < len(access)
    with pytest.raises(JournalError, match="not admitted"):
        export_command(run, MEMBER, tmp_path / "a.json", None, False, own)
    admit_command(run, neighbours, "own", NEIGHBOUR, 30, False, None)
    export_command(run, NEIGHBOUR, tmp_path / "b.json", None, False, other)
    admit_command(run, neighbours, None, None, 30, True, None)
    admit_command(run, neighbours, None, None, 30, True, None)  # ended already: nothing to do, and nothing to put on record
    assert (last_act(run).kind, last_act(run).account) == (ActKind.DISMISSED, 3)
    assert neighbours.encode() not in every_byte(run)
    with pytest.raises(JournalError, match="not admitted"):
        export_command(run, NEIGHBOUR, tmp_path / "b.json", None, False, other)
    Audit(run / PUBLIC).run()


def test_what_can_be_asked_of_admit_is_said(tmp_path: Path) -> None:
    run, did = rural1_day(), did_of(derive_key(bytes(16), "somebody").public_key())
    for right, member, end in (("everything", None, False), (None, None, False), ("own", None, False), ("export", MEMBER, False)):
        with pytest.raises(InputError, match="walras admit"):
            admit_command(run, did, right, member, 30, end, None)
    assert not (tmp_path / ACCESS).exists()


def test_an_envelope_opens_for_its_holder_and_purpose_alone() -> None:
    holder, other, once = (derive_key(bytes(16), name) for name in ("holder", "other", "once"))
    envelope = enclose(holder.public_key(), once, b"this", b"what is in it")
    assert disclose(holder, b"this", envelope) == b"what is in it"
    assert len(envelope) == len(b"what is in it") + 49
    changed = envelope[:-1] + bytes([envelope[-1] ^ 1])
    for key, purpose, bad in ((other, b"this", envelope), (holder, b"that", envelope), (holder, b"this", changed)):
        with pytest.raises(MeteringError, match="does not open"):
            disclose(key, purpose, bad)
    for short in (b"", envelope[:33], envelope[:48], b"\x05" + envelope[1:]):
        with pytest.raises(MeteringError, match="does not open"):
            disclose(holder, b"this", short)
