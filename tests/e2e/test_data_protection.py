"""A member's rights on a real run: all of it out, all of it gone, and the audit none the worse."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import cbor2
import pytest

from e2e.runs import EXAMPLES, copy_of, file_of, rural1_day
from walras.commands.bill import bill_command
from walras.commands.rights import Places, consent_command, export_command, forget_command
from walras.commands.validate import validate_command
from walras.community import load_community
from walras.errors import InputError, JournalError
from walras.exchange.acts import Act, ActKind
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.exchange.parts import exchange_private, member_ids
from walras.exchange.statement import check_statement, make_statement
from walras.metering import SHA256_RFC6962, did_of, key_id
from walras.metering.gateway import Taken, look_at
from walras.metering.purposes import PURPOSES
from walras.metering.slot_readings import encode_substitute
from walras.service.data_protection import names_due, page_place, record, section_of, set_consent, without_member
from walras.service.message_store import MessageStore
from walras.service.reading_store import ReadingStore
from walras.study.meters import make_meters, run_seed
from walras.study.report import write_report
from walras.study.runner import COMMUNITY, PUBLIC, Options, Run, open_journal, store_master

MEMBER = "home-1"


def every_byte(run: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file())


def traces_of(run: Path, member: str) -> list[bytes]:
    """All by which a member's readings or person could be found in bytes: readings, their parts, key names, credential, id."""
    community = load_community(EXAMPLES / "rural1.toml")
    account = [m.id for m in community.members].index(member)
    meters = make_meters(community, run_seed(community))
    key = meters.keys[account].public_key()
    journal = open_journal(run)
    entries = list(journal.entries())
    journal.close()
    parts = [part for e in entries if e.private is not None and (part := e.private.part(account)) is not None]
    readings = [reading for e in entries if e.kind == "readings_admitted" and e.private is not None
                for reading in cbor2.loads(e.private.part(account) or b"\xf6")[1]]  # fmt: skip
    assert len(readings) == 96
    parts, readings = parts[::5], readings[::5]
    raw = [*parts, *readings, *(r[25:-66] for r in readings), *(r[-64:] for r in readings), key_id(key)]
    spelled = [form for item in raw for form in (item, item.hex().encode(), b64encode(item).rstrip(b"="))]
    return [*spelled, member.encode() + b'"', did_of(key).encode(), meters.credentials[account].encode()]


def test_a_forgotten_member_is_in_no_byte_of_any_store_and_the_audit_still_holds(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    (run / "report.html").write_text(f"a page with {MEMBER}")
    fill_stores(run)
    traces = traces_of(run, MEMBER)
    in_clear = every_byte(run)
    assert sum(trace in in_clear for trace in traces) == 1  # the gateway's key name
    export_command(run, MEMBER, tmp_path / "mine.json", None, False, None)
    exported = (tmp_path / "mine.json").read_bytes()
    assert sum(trace in exported for trace in traces) > 40
    forget_command(run, MEMBER, None, None)
    left = every_byte(run)
    assert [trace for trace in traces if trace in left] == []
    after = Audit(run / PUBLIC).run()
    assert (after.slots, after.checked["acts with the record"]) == (96, 2)
    assert after.checked["settlements on the chain"] == after.checked["clearings against their rule"] == 96
    public = read_public_record(run / PUBLIC)
    journal = open_journal(run)
    entries = list(journal.entries())
    assert MEMBER not in member_ids(entries[0])
    for neighbour in member_ids(entries[0]):
        assert check_statement(make_statement(entries, neighbour), public) >= 96
    with pytest.raises(InputError, match="one of") as caught:
        make_statement(entries, MEMBER)
    assert caught.value.way_out.startswith("1 forgotten")
    journal.close()
    load_community(file_of(run))


def test_validation_counts_what_was_erased_and_accuses_nobody_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    forget_command(run, MEMBER, None, None)
    assert validate_command(run, None) == []
    assert "account 1: 96 readings erased, not looked at" in capsys.readouterr().out


def fill_stores(run: Path) -> None:
    """A gateway's store beside the run, with every reading of the run in it."""
    community = load_community(EXAMPLES / "rural1.toml")
    registry = make_meters(community, run_seed(community)).registry
    keys = dict(zip(registry.index, registry.keys, strict=True))
    store = ReadingStore(run / "gateway.sqlite", store_master(file_of(run), None), registry.index)
    journal = open_journal(run)
    with store.transaction():
        for entry in journal.entries():
            if entry.kind == "readings_admitted" and entry.private is not None:
                for part in entry.private.members:
                    for reading in cbor2.loads(part or b"")[1]:
                        taken = look_at(reading, keys)
                        assert isinstance(taken, Taken)
                        store.add(taken)
    store.close()
    journal.close()


def nodes_of_a_run(folder: Path) -> tuple[Path, Path]:
    """A run whose gateway and balance oracle kept their stores in a folder of their own, as its acts say."""
    run, nodes = copy_of(rural1_day(), folder / "run"), folder / "nodes"
    nodes.mkdir()
    fill_stores(run)
    (run / "gateway.sqlite").rename(nodes / "gateway.sqlite")
    messages = MessageStore(nodes / "balance.sqlite")
    for device in (0, 1):
        messages.add(16_512, 2, device, b"said by %d" % device)
    messages.close()
    journal = open_journal(run)
    for node in ("gateway", "balance oracle"):
        record(journal, run, Act(ActKind.ASKED, datetime(2016, 6, 22, tzinfo=UTC), node, None, {"requests": []}))
    journal.close()
    return run, nodes


def test_what_nodes_keep_elsewhere_goes_with_the_member_too_and_what_is_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, nodes = nodes_of_a_run(tmp_path)
    traces = traces_of(run, MEMBER)
    assert any(trace in every_byte(nodes) for trace in traces)
    alone = copy_of(run, tmp_path / "alone")
    forget_command(alone, MEMBER, None, None)
    assert "not erased: what 2 nodes of this run keep" in " ".join(capsys.readouterr().out.split())
    again = copy_of(nodes, tmp_path / "again", key=False)
    forget_command(alone, None, 36_500, None, Places(again))
    forget_command(run, MEMBER, None, None, Places(nodes))
    assert "not erased" not in capsys.readouterr().out
    assert [trace for trace in traces if trace in every_byte(again)] == []
    left = every_byte(nodes)
    assert [trace for trace in (*traces, b"said by 1") if trace in left] == []
    assert b"said by 0" in left
    store = ReadingStore(nodes / "gateway.sqlite", store_master(file_of(run), None), {})
    assert (len(store.of_member(0)), store.of_member(1), store.knows(1)) == (96, [], False)
    store.close()
    Audit(run / PUBLIC).run()


def test_what_a_member_is_given_is_all_that_any_store_holds_and_what_is_not_in_it_is_named(tmp_path: Path) -> None:
    run, nodes = nodes_of_a_run(tmp_path)
    store = ReadingStore(nodes / "gateway.sqlite", store_master(file_of(run), None), {})
    with store.transaction():
        store.add_device(b"new key of home", 1)
        store.note_arrivals([(b"new key of home", 16_512)], 1_466_461_800)
        store.add_edit(16_513, 1, b"an edit")
        store.add_exchange(1, "what the registers showed")
    store.close()
    validate_command(run, None)
    export_command(run, MEMBER, tmp_path / "here.json", None, False, None)
    export_command(run, MEMBER, tmp_path / "all.json", None, False, None, nodes)
    here, told = (json.loads((tmp_path / name).read_text()) for name in ("here.json", "all.json"))
    assert here["left_out"] == ["2 nodes of the run, whose stores were not there: --nodes DIR"]
    assert (here["other_stores"], told["left_out"]) == ({}, [])
    gateway, balance = (told["other_stores"][str(nodes / name)] for name in ("gateway.sqlite", "balance.sqlite"))
    assert len(gateway["readings"]) == 96
    assert gateway["heard"] == [[16_512, 1_466_461_800]]
    assert (gateway["edits"], gateway["meter_exchanges"]) == ([b"an edit".hex()], ["what the registers showed"])
    assert balance == {"messages": [[16_512, 2, b"said by 1".hex()]]}
    described = load_community(EXAMPLES / "rural1.toml").members[1]
    assert {"id", "node", "contract", "loads", "pv"} <= set(told["community_file"])
    assert (told["community_file"]["node"], len(told["community_file"]["loads"])) == (described.node, len(described.loads))
    assert [act["detail"].get("page") for act in told["acts"] if act["act"] == "read"] == ["validation"]
    assert told["held_nano"] > 0
    with pytest.raises(InputError, match="--nodes"):
        export_command(run, MEMBER, None, None, False, None, tmp_path / "nowhere")


def test_what_is_written_of_members_in_clear_is_its_owners_alone(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    mine, bill = tmp_path / "mine.json", tmp_path / "bill.json"
    export_command(run, MEMBER, mine, None, False, None)
    bill_command(run, MEMBER, bill, None)
    page = page_place(run)
    write_report(run, page)
    assert {one.stat().st_mode & 0o777 for one in (mine, bill, page)} == {0o600}
    mine.chmod(0o640)
    export_command(run, MEMBER, mine, None, False, None)
    assert mine.stat().st_mode & 0o777 == 0o640


def test_forgetting_says_what_money_stays_and_what_an_earlier_hand_did_to_everybody_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    forget_command(run, None, 0, None)
    forget_command(run, "home-2", None, None)
    export_command(run, MEMBER, tmp_path / "mine.json", None, False, None)
    mine = json.loads((tmp_path / "mine.json").read_text())
    assert [act["act"] for act in mine["acts"]] == ["erased"]
    paid = [e.public["nano"][1] for e in read_public_record(run / PUBLIC) if e.kind == "escrow_paid"]
    due = [e.public["cash_nano"][1] for e in read_public_record(run / PUBLIC) if e.kind == "settlement_submitted"]
    assert mine["held_nano"] == sum(paid) - sum(due)
    capsys.readouterr()
    forget_command(run, MEMBER, None, None)
    assert "money stays: the contract holds" in capsys.readouterr().out


def test_what_nodes_keep_past_its_retention_goes_as_well(tmp_path: Path) -> None:
    run, nodes = nodes_of_a_run(tmp_path)
    with pytest.raises(InputError, match="--nodes"):
        forget_command(run, None, 0, None, Places(tmp_path / "nowhere"))
    forget_command(run, None, 0, None, Places(nodes))
    store = ReadingStore(nodes / "gateway.sqlite", store_master(file_of(run), None), {})
    assert [store.of_member(member) for member in range(13)] == [[]] * 13
    store.close()
    assert b"said by" not in every_byte(nodes)


def test_who_forgets_twice_or_a_stranger_is_told_who_is_known(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    forget_command(run, MEMBER, None, None)
    for nobody in (MEMBER, "stranger"):
        with pytest.raises(InputError, match="one of farm-1, farm-2, home-2"):
            forget_command(run, nobody, None, None)
    with pytest.raises(InputError, match="a member, --older-than"):
        forget_command(run, None, None, None)


def test_an_unfinished_run_forgets_nobody_and_a_finished_one_that_forgot_is_not_continued(tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    going = iter(Run(EXAMPLES / "rural1.toml", unfinished, Options()))
    next(going)
    going.close()  # type: ignore[attr-defined]
    with pytest.raises(JournalError, match="not finished"):
        forget_command(unfinished, MEMBER, None, None)
    done = copy_of(rural1_day(), tmp_path / "done")
    forget_command(done, MEMBER, None, None)
    with pytest.raises(JournalError, match="audited and billed, not continued"):
        Run(EXAMPLES / "rural1.toml", done, Options())


def test_what_is_past_its_retention_goes_for_everybody_and_bills_stay(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    forget_command(run, None, 0, None)
    journal = open_journal(run)
    entries = list(journal.entries())
    journal.close()
    assert all(e.private is None or set(e.private.members) == {None} for e in entries if e.slot is not None)
    statement = make_statement(entries, MEMBER)
    assert statement.total_nano == make_statement(list(open_journal(rural1_day()).entries()), MEMBER).total_nano
    assert [leaf for leaf in statement.leaves if leaf.kind == "reading"] == []
    check_statement(statement, read_public_record(run / PUBLIC))
    assert Audit(run / PUBLIC).run().slots == 96


def test_what_is_due_goes_by_the_periods_of_the_purposes_and_names_stay_where_somebody_consented(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    end = datetime(2016, 6, 21, 22, tzinfo=UTC)
    journal = open_journal(run)
    names = set(member_ids(next(iter(journal.entries()))))
    assert names_due(journal, end + timedelta(days=1_096)) == []
    assert set(names_due(journal, end + timedelta(days=1_096, seconds=1))) == names
    set_consent(journal, run, MEMBER, PURPOSES["research"], True, end, "operator")
    assert set(names_due(journal, end + timedelta(days=1_826))) == names - {MEMBER}
    assert set(names_due(journal, end + timedelta(days=1_827))) == names
    journal.close()
    with pytest.raises(InputError, match="--due"):
        forget_command(run, MEMBER, None, None, due=True)
    forget_command(run, None, None, None, due=True)
    journal = open_journal(run)
    entries = list(journal.entries())
    journal.close()
    assert member_ids(entries[0]) == {}
    assert all(e.private is None or set(e.private.members) == {None} for e in entries if e.slot is not None)
    assert Audit(run / PUBLIC).run().slots == 96


def test_orders_to_devices_and_meter_exchanges_past_their_retention_go_too(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    journal = open_journal(run)
    at = datetime(2016, 6, 22, tzinfo=UTC)
    order = {"first_slot": 16_510, "last_slot": 16_520}
    for kind, detail in ((ActKind.METER_EXCHANGED, {"slot": 16_510}), (ActKind.REVOKED, order)):
        record(journal, run, Act(kind, at, "operator", 1, detail), exchange_private(1, "signed, with the member's registers"))
    numbers = [e.seq for e in journal.entries() if e.kind == "act"]
    held = journal.held_before(16_521)
    journal.erase_before(16_520)
    assert held - journal.held_before(16_521) == 2 * (16_520 - 16_508) + 1
    assert [e.private.part(1) is None for e in journal.entries() if e.seq in numbers and e.private] == [True, False]
    journal.erase_before(16_521)
    assert [e.private.part(1) is None for e in journal.entries() if e.seq in numbers and e.private] == [True, True]
    assert journal.held_before(16_521) == 0
    journal.close()


def test_research_sees_days_and_only_with_consent(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    out = tmp_path / "research.json"
    with pytest.raises(JournalError, match="not consented"):
        export_command(run, MEMBER, out, "research", False, None)
    consent_command(run, MEMBER, "research", False, None)
    export_command(run, MEMBER, out, "research", False, None)
    seen = json.loads(out.read_text())
    statement = make_statement(list(open_journal(run).entries()), MEMBER)
    assert [row[1:] for row in seen["energy_wh"]] == [[statement.energy_wh["import_wh"], statement.energy_wh["export_wh"]]]
    assert MEMBER not in out.read_text()
    assert set(seen) == {"purpose", "resolution", "energy_wh"}  # with the account number it would be every quarter hour
    consent_command(run, MEMBER, "research", True, None)
    with pytest.raises(JournalError, match="not consented"):
        export_command(run, MEMBER, out, "research", False, None)
    acts = [e.public["act"] for e in read_public_record(run / PUBLIC) if e.kind == "act"]
    assert acts == ["denied", "consent_given", "exported", "consent_withdrawn", "denied"]
    assert Audit(run / PUBLIC).run().checked["acts with the record"] == 5


def test_the_record_of_processing_describes_every_file_and_column_or_refuses(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    fill_stores(run)
    out = tmp_path / "processing.json"
    export_command(run, None, out, None, True, None)
    record = json.loads(out.read_text())
    assert record["members_known_by_name"] == record["members"] == 13
    assert {row["store"].split()[0] for row in record["stores"]} >= {"journal.sqlite", PUBLIC, COMMUNITY, "gateway.sqlite"}
    assert {purpose["name"] for purpose in record["purposes"]} == set(PURPOSES)
    assert "beside the folder: run.pem" in {row["store"] for row in record["stores"]}
    assert record["past_retention"] == {"entries": 192, "days": 90, "names": 13, "names_days": 1_096}
    page_place(run).write_text("a page")
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    (run / "gateway.sqlite").rename(nodes / "gateway.sqlite")
    forget_command(run, None, 90, None)
    export_command(run, None, out, None, True, None, nodes)
    after = json.loads(out.read_text())
    assert (after["past_retention"]["entries"], after["acts_by_kind"]) == (0, {"erased": 1})
    assert {"beside the folder: run.html", "gateway.sqlite reading.record"} <= {row["store"] for row in after["stores"]}
    with sqlite3.connect(run / "journal.sqlite") as db:
        db.execute("CREATE TABLE diary (entry TEXT)")
    db.close()
    (run / "notes.txt").write_text("who is at home when")
    with pytest.raises(InputError) as found:
        export_command(run, None, out, None, True, None)
    assert {fault.value for fault in found.value.faults} == {"notes.txt", "diary.entry"}


def test_with_an_operators_secret_the_keys_are_random_and_nothing_opens_without_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("5a" * 32)
    heads, salts, books = [], [], []
    for name in ("one", "two"):
        going = iter(Run(EXAMPLES / "rural1.toml", tmp_path / name, Options(secret=bytes.fromhex("5a" * 32))))
        next(going)
        going.close()  # type: ignore[attr-defined]
        journal = open_journal(tmp_path / name, bytes.fromhex("5a" * 32))
        heads.append([e.hash for e in journal.entries() if e.kind == "attested"])
        revealed = next(e.public for e in journal.entries() if e.kind == "orders_revealed")
        salts.append(set(revealed["salts"]))
        books.append(revealed["orders"])
        journal.close()
    assert heads[0][0] != heads[1][0]
    assert books[0] == books[1]
    assert not salts[0] & salts[1]  # who knows the seed, or guesses it, opens no sealed order before the gate closes
    with pytest.raises(InputError, match=r"sealed[\s\S]*the secret that the run was begun with"):
        open_journal(tmp_path / "one")


def test_the_public_record_names_no_member_no_meter_and_no_credential() -> None:
    """What stands there stands under account numbers: nothing in it says whose a number is."""
    public = (rural1_day() / PUBLIC).read_bytes()
    community = load_community(EXAMPLES / "rural1.toml")
    meters = make_meters(community, run_seed(community))
    for row, key in enumerate(meters.registry.keys):
        named = [community.members[row].id, did_of(key), meters.credentials[row], key_id(key).hex()]
        assert all(text.encode() not in public for text in named)
    assert b'"import_wh":[' in public


def test_where_an_account_hangs_is_in_no_order() -> None:
    books = [e.public["orders"] for e in read_public_record(rural1_day() / PUBLIC) if e.kind == "orders_revealed"]
    assert len(books) == 96
    assert {node for book in books for node in book["node"]} == {0}


def test_a_member_cannot_learn_a_neighbours_readings_from_all_that_is_public_and_their_own_proofs(tmp_path: Path) -> None:
    """Brute force over every leaf that could stand for the neighbour, even knowing the true reading and its signature."""
    journal = open_journal(rural1_day())
    entries = list(journal.entries())
    journal.close()
    public = (rural1_day() / PUBLIC).read_bytes()
    community = load_community(EXAMPLES / "rural1.toml")
    registry = make_meters(community, run_seed(community)).registry
    victim, nosy = 1, 0
    own = make_statement(entries, community.members[nosy].id)
    siblings = {leaf.slot: {*leaf.proof.siblings} for leaf in own.leaves if leaf.kind == "reading"}
    tried = 0
    for entry in [e for e in entries if e.kind == "readings_admitted"][::8]:
        assert entry.private is not None
        assert entry.slot is not None
        (truly_signed,) = cbor2.loads(entry.private.part(victim) or b"")[1]
        kid = key_id(registry.keys[victim])
        guesses = [truly_signed, *(encode_substitute(kid, entry.slot, wh, 0, 18) for wh in range(300))]
        for guess in guesses:
            digest = SHA256_RFC6962.leaf(guess)
            assert digest not in siblings[entry.slot]
            assert digest.hex().encode() not in public
            assert sha256(guess).hexdigest().encode() not in public
            tried += 1
    assert tried == 12 * 301
    assert all(len(found) >= 3 for found in siblings.values())


def test_in_a_copy_of_the_folder_sealed_parts_do_not_tell_by_their_length(tmp_path: Path) -> None:
    """A battery's charge is in no public line; 0 Wh and 146,699 Wh have different digits, and sealed parts are all as long."""
    run = copy_of(rural1_day(), tmp_path / "run", key=False)
    db = sqlite3.connect(run / "journal.sqlite")
    found = [cbor2.loads(private)[1] for (private,) in db.execute("SELECT private FROM entries WHERE private IS NOT NULL")]
    db.close()
    assert len(found) == 193
    assert all(len({len(sealed) for _, sealed in rows}) == 1 for rows in found)


def test_a_member_is_found_and_taken_out_however_the_file_is_spaced_and_what_is_not_there_is_said_to_be_nothing() -> None:
    text = '[[ member ]]\nid = "home-1"\nnode = "b1"\nloads = []\n[[member]]\n"id" = "home-2"\nnode = "b2"\nnote = """\n[a\n"""\n'
    assert section_of(text, "home-1") == {"id": "home-1", "node": "b1", "loads": []}
    assert section_of(text, "home-2")["note"] == "[a\n"
    assert section_of(text, "home-3") == {}  # forgotten, and the command was cut off before the journal
    assert section_of(without_member(text, "home-1", 7), "home-1") == {}
    assert '"home-2"' not in without_member(text, "home-2", 8)
