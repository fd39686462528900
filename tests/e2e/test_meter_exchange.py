"""A meter is exchanged while a run goes on: both meters' energy counts in that slot, and never both keys in any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import cbor2
import numpy as np
import pytest

from e2e.node_loop import Loop, gateway_in, oracle_in
from e2e.runs import copy_of, file_of
from e2e.test_edits import MEMBER, ROW, community_with_corrections, entries_of, go_on
from walras.commands.bill import bill_command
from walras.commands.exchange_meter import ExchangeKeys, ReadOff, exchange_meter_command
from walras.commands.validate import validate_command
from walras.community import load_community
from walras.errors import InputError, JournalError, MeteringError
from walras.exchange.acts import ActKind, acts_of
from walras.exchange.audit import Audit
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.parts import closed_readings, exchange_statement, salted_leaf
from walras.exchange.phases import EventKind
from walras.metering import (
    Key,
    MeterCredential,
    Refusal,
    Registry,
    Rules,
    derive_key,
    did_of,
    issue,
    key_id,
    read_credential,
    registry_of_credentials,
    sign_reading,
)
from walras.metering.admission import admitted_of, columns_of
from walras.metering.balance_oracle import BalanceDuty, BalanceOracle
from walras.metering.correction import Reason, reason_of_leaf
from walras.metering.feeder import Feeder
from walras.metering.gateway import seal_batch
from walras.metering.jose import unverified_claims
from walras.metering.masked import contribution_message, join_message
from walras.metering.meter_exchange import (
    Generations,
    MeterExchange,
    Registers,
    one_generation,
    read_exchange,
    sign_exchange,
    with_old_energy,
)
from walras.metering.reading import Quality, split_reading
from walras.metering.slot_readings import close_slot
from walras.metering.vault import SALT_BYTES
from walras.service.appointment import appointment, make_oracle
from walras.service.clocks import FileClock
from walras.service.frames import EXCHANGE
from walras.service.message_store import MessageStore
from walras.service.oracle_node import OracleNode
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.hanging import exchanged_keys
from walras.study.meters import Meters, make_meters, meter_credential, meter_operator, run_seed
from walras.study.oracles import MeteringPath
from walras.study.runner import PUBLIC
from walras.study.trading import Trading

READ = ReadOff("999950:30", "7:7", 0, 0, 6)
"""The old meter counted 80 Wh of the slot, over the turn of its register of six digits."""

SEED = ExchangeKeys(None, None, None, None)
BEFORE, SLOTS = 2, 5


@cache
def undisturbed() -> tuple[Path, list[Entry]]:
    folder = Path(mkdtemp(prefix="walras-test-"))
    community = community_with_corrections(folder)
    return community, go_on(community, folder / "run", SLOTS)


@cache
def exchanged() -> Path:
    """Five slots; in the third, home-1's meter is exchanged. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    community = community_with_corrections(folder)
    go_on(community, folder / "run", BEFORE)
    exchange_meter_command(folder / "run", MEMBER, str(first_slot() + BEFORE), READ, SEED, None)
    go_on(community, folder / "run", SLOTS)
    return folder / "run"


def first_slot() -> int:
    return load_community(undisturbed()[0]).slots.start


def admitted(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.kind == EventKind.READINGS_ADMITTED.value]


def meter_of(entry: Entry) -> bytes:
    leaf = salted_leaf(entry, ROW)
    assert leaf is not None
    fields = split_reading(leaf[SALT_BYTES:])
    return leaf[SALT_BYTES + 2 : SALT_BYTES + 18] if fields is None else fields[0]


def test_the_slot_of_the_exchange_has_what_both_meters_counted_and_everybody_pays_the_same() -> None:
    with_both, with_one = entries_of(exchanged()), undisturbed()[1]
    for kind in (EventKind.SETTLEMENT_SUBMITTED.value,):
        for name in ("import_wh", "export_wh", "cash_nano"):
            rows = [[entry.public[name] for entry in entries if entry.kind == kind] for entries in (with_both, with_one)]
            assert rows[0] == rows[1]
    slots = admitted(with_both)
    assert [entry.public["admitted"] for entry in slots] == [13, 13, 12, 13, 13]
    assert all(entry.public["refused"] == {} for entry in slots)
    mixed = closed_readings(first_slot() + BEFORE, slots[BEFORE])
    assert mixed.quality[ROW] == Quality.EDITED
    leaf = salted_leaf(slots[BEFORE], ROW)
    assert leaf is not None
    operator = make_meters(load_community(file_of(exchanged())), run_seed(load_community(file_of(exchanged())))).operator
    assert reason_of_leaf(leaf[SALT_BYTES:]) == (Reason.METER_EXCHANGE, did_of(operator))


def test_the_old_key_counts_before_and_the_new_one_from_then_on() -> None:
    community = load_community(file_of(exchanged()))
    meters = make_meters(community, run_seed(community))
    old = key_id(meters.registry.keys[ROW])
    new = key_id(exchanged_keys(community, run_seed(community))(ROW, first_slot() + BEFORE).public_key())
    assert [meter_of(entry) for entry in admitted(entries_of(exchanged()))] == [old, old, new, new, new]


def test_the_exchange_is_on_record_for_all_and_its_registers_for_the_member_alone() -> None:
    entries = entries_of(exchanged())
    (act,) = [act for act in acts_of(entries) if act.kind is ActKind.METER_EXCHANGED]
    assert (act.account, (act.detail or {})["slot"]) == (ROW, first_slot() + BEFORE)
    (entry,) = [e for e in entries if e.kind == "act" and e.public["act"] == "meter_exchanged"]
    assert b"999950" not in entry.line
    statement = exchange_statement(entry)
    assert statement is not None
    assert entry.private is not None
    assert [bool(part) for part in entry.private.members] == [False] * ROW + [True]
    assert Audit(exchanged() / PUBLIC).run().checked["acts with the record"] >= 1


def test_bill_and_validation_show_the_exchange_and_find_no_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copy_of(exchanged(), tmp_path / "run")
    assert validate_command(run, None) == []
    bill_command(run, MEMBER, None)
    printed = " ".join(capsys.readouterr().out.split())
    assert "marked: 1 edited" in printed
    assert "edited: 2016-06-21 00:30, meter exchange, by did:key:" in printed


def test_the_old_key_used_after_the_exchange_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = copy_of(exchanged(), tmp_path / "run")
    community = load_community(file_of(run))
    old = make_meters(community, run_seed(community))
    honest = Meters.sign

    def with_a_thief(self: Meters, slot: int, counter: int, net_wh: np.ndarray) -> list[bytes]:  # type: ignore[type-arg]
        mine = honest(replace(self, keys=old.keys), slot, counter, net_wh)[ROW]
        return [*honest(self, slot, counter, net_wh), mine]

    monkeypatch.setattr(Meters, "sign", with_a_thief)
    entries = go_on(file_of(run), run, SLOTS + 1)
    last = admitted(entries)[-1].public
    assert (last["admitted"], last["refused"]) == (13, {"unknown_device": 1})


def test_what_comes_too_late_or_does_not_follow_is_refused_and_on_record(tmp_path: Path) -> None:
    run = copy_of(exchanged(), tmp_path / "run")
    with pytest.raises(JournalError, match="metered already"):
        exchange_meter_command(run, MEMBER, str(first_slot() + SLOTS - 1), READ, SEED, None)
    assert acts_of(entries_of(run))[-1].kind is ActKind.DENIED
    with pytest.raises(InputError, match="old export register"):
        exchange_meter_command(run, MEMBER, str(first_slot() + SLOTS), replace(READ, old_export="9:7"), SEED, None)
    for wrong in (replace(READ, old_import="9"), replace(READ, digits=0)):
        with pytest.raises(InputError):
            exchange_meter_command(run, MEMBER, str(first_slot() + SLOTS), wrong, SEED, None)


def test_where_the_new_meters_reading_comes_late_the_correction_has_what_both_counted(tmp_path: Path) -> None:
    community = community_with_corrections(tmp_path, "late_percent = 100\n")
    go_on(community, tmp_path / "run", BEFORE)
    exchange_meter_command(tmp_path / "run", MEMBER, str(first_slot() + BEFORE), READ, SEED, None)
    entries = go_on(community, tmp_path / "run", 7)
    (correction,) = [e.public for e in entries if e.kind == SLOT_CORRECTED and e.public["slot"] == first_slot() + BEFORE]
    (timely,) = [e.public for e in undisturbed()[1] if (e.kind, e.slot) == ("settlement_submitted", first_slot() + BEFORE)]
    assert correction["admitted"] == 12
    assert (correction["import_wh"], correction["export_wh"]) == (timely["import_wh"], timely["export_wh"])
    assert Audit(tmp_path / "run" / PUBLIC).run().checked["corrections computed again, and on the chain"] == 3


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


def test_gateway_and_oracles_of_their_own_are_told_and_keep_it_over_a_restart(loop: Loop, tmp_path: Path) -> None:
    community = community_with_corrections(tmp_path)
    a, made = appointment(load_community(community)), []  # type: ignore[var-annotated]
    oracles = [oracle_in(loop, a, number, tmp_path, made) for number in range(4)]
    nodes, clock = Nodes(gateway_in(loop, a, oracles, tmp_path), tuple(oracles)), FileClock(tmp_path / "clock")

    def way(_: object, secrets: tuple[bytes, ...]) -> MeteringPath:
        return RemoteMetering(a, nodes, secrets, clock)

    go_on(community, tmp_path / "run", BEFORE, way)
    exchange_meter_command(tmp_path / "run", MEMBER, str(first_slot() + BEFORE), READ, SEED, None)
    go_on(community, tmp_path / "run", BEFORE + 1, way)
    again = [oracle_in(loop, a, number, tmp_path) for number in range(3)]  # started anew on the same stores
    nodes = Nodes(gateway_in(loop, a, [*again, oracles[3]], tmp_path), (*again, oracles[3]))
    entries = go_on(community, tmp_path / "run", SLOTS, way)
    leaves = [[salted_leaf(e, row) for row in range(13)] for e in admitted(entries)]
    assert leaves == [[salted_leaf(e, row) for row in range(13)] for e in admitted(entries_of(exchanged()))]
    assert not [entry for entry in entries if entry.kind == SLOT_CORRECTED]
    for node in made:
        assert isinstance(node, OracleNode)
        (statement,) = loop.do(node._store.exchanges)  # type: ignore[misc]
        assert b"999950" not in (tmp_path / f"oracle-{node._duty.number}.sqlite").read_bytes()
        assert "999950" in str(unverified_claims(statement)["import_wh"])


def test_an_oracle_hears_each_key_in_its_slots_and_nobody_elses_meter_goes_back(tmp_path: Path) -> None:
    a = appointment(load_community(community_with_corrections(tmp_path)))
    grid, first, clock = a.community.grid, first_slot(), FileClock(tmp_path / "clock")
    clock.move(grid.end(first + 1))

    def started() -> OracleNode:
        return make_oracle(a, 0, a.keys.oracle(0), None, tmp_path / "oracle.sqlite", bytes(32), clock)

    node, new, (other, old) = started(), derive_key(bytes(32), "new"), a.meters.keys[:2]
    operator = meter_operator(a.seed)
    credential = issue(operator, meter_credential(a.community, MEMBER, did_of(new.public_key())))
    registers = Registers(0, 5, 0), Registers(0, 0, 0)
    exchange = MeterExchange(ROW, first + 1, did_of(old.public_key()), *registers, 6, credential)
    node._reply(EXCHANGE, sign_exchange(operator, exchange).encode())

    def refused_in(number: int, key: Key, slot: int, counter: int) -> dict[int, int]:
        before = node._store.refused_counts()
        node.receive(seal_batch(a.gateway_key, number, [sign_reading(key, slot, 5, 0, counter)]))
        return {
            reason: count - before.get(reason, 0)
            for reason, count in node._store.refused_counts().items()
            if count != before.get(reason)
        }

    assert refused_in(0, other, first + 1, 5) == {}
    assert refused_in(1, other, first, 6) == {Refusal.BACKDATED: 1}
    assert refused_in(2, old, first + 1, 2) == {Refusal.UNKNOWN_DEVICE: 1}
    assert refused_in(3, new, first, 1) == {Refusal.UNKNOWN_DEVICE: 1}
    assert refused_in(4, old, first, 1) == {}
    assert refused_in(5, new, first + 1, 1) == {}
    node = started()
    assert refused_in(6, other, first, 4) == {Refusal.REPLAYED: 1}
    assert refused_in(7, new, first + 1, 1) == {Refusal.REPLAYED: 1}
    assert refused_in(8, old, first + 1, 3) == {Refusal.UNKNOWN_DEVICE: 1}
    clock.move(grid.end(first + 2))
    mixed = node.readings_of(first + 1)
    assert (mixed.import_wh[ROW], mixed.quality[ROW]) == (10, Quality.EDITED)


# --- the rule alone ----------------------------------------------------------------------------------------------------


def world() -> tuple[Generations, MeterCredential, Registry]:
    community = load_community(undisturbed()[0])
    meters = make_meters(community, bytes(32))
    operator = derive_key(bytes(32), "meter operator")
    credential = meter_credential(community, MEMBER, did_of(derive_key(bytes(32), "new").public_key()))
    registry = registry_of_credentials(meters.credentials, operator.public_key(), community.grid)
    return one_generation(registry, operator.public_key(), community.grid), credential, registry


def stated(hung: Generations, credential: MeterCredential, slot: int = 100, old: str = "", **other: object) -> str:
    operator = derive_key(bytes(32), "meter operator")
    old = old or did_of(hung.registries[-1].keys[ROW])
    plain = MeterExchange(ROW, slot, old, Registers(10, 90, 0), Registers(5, 5, 3), 6, issue(operator, credential))
    return sign_exchange(operator, replace(plain, **other))  # type: ignore[arg-type]


def test_generations_change_at_the_slot_and_a_statement_is_read_as_it_was_signed() -> None:
    hung, credential, registry = world()
    statement = stated(hung, credential)
    after = hung.after(statement)
    assert after.after(statement) is after
    assert after.at(99) is registry
    assert did_of(after.at(100).keys[ROW]) == credential.device
    assert [n for n in range(13) if after.at(100).keys[n] is not registry.keys[n]] == [ROW]
    (exchange,) = after.exchanges
    assert read_exchange(statement, hung.operator) == exchange
    assert exchange.old_energy(registry) == (80, 0)
    held = read_credential(exchange.credential, hung.operator)
    assert held == credential


def test_a_statement_that_does_not_follow_changes_nothing() -> None:
    hung, credential, _ = world()
    with pytest.raises(MeteringError, match="another meter"):
        hung.after(stated(hung, credential, old=credential.device))
    with pytest.raises(MeteringError, match="for another"):
        hung.after(stated(hung, replace(credential, member=ROW + 1)))
    with pytest.raises(MeteringError, match="measured here before"):
        hung.after(stated(hung, replace(credential, device=did_of(hung.registries[0].keys[3]))))
    with pytest.raises(MeteringError, match="stated by the operator"):
        hung.after(stated(hung, credential)[:-4] + "AAAA")
    with pytest.raises(InputError, match="forward by at most"):
        hung.after(stated(hung, credential, import_wh=Registers(0, 99_999, 0)))
    after = hung.after(stated(hung, credential))
    second = replace(credential, device=did_of(derive_key(bytes(32), "newer").public_key()))
    with pytest.raises(MeteringError, match="before the last"):
        after.after(stated(after, second, slot=99))
    with pytest.raises(MeteringError, match="already"):
        after.after(stated(after, second))
    assert after.after(stated(after, second, slot=101)).number(101) == 2


def test_a_substitute_stands_for_the_whole_slot_until_the_new_meters_reading_comes() -> None:
    hung, credential, _ = world()
    after = hung.after(stated(hung, credential))
    values = np.full(13, 40), np.zeros(13, dtype=np.int64), np.full(13, int(Quality.SUBSTITUTE_ZERO))
    nothing = admitted_of(columns_of([], 7), ())
    closed = close_slot(after.at(100), 100, nothing, *values)
    assert with_old_energy(after, closed) is closed
    measured = replace(closed, quality=np.zeros(13, dtype=np.int64))
    assert with_old_energy(after, measured).import_wh.tolist() == [40] * ROW + [120] + [40] * (12 - ROW)


def masked_community(folder: Path) -> Path:
    """The same community with masked sums."""
    community = community_with_corrections(folder)
    text = community.read_text()
    assert text.count("[metering]\n") == 1
    community.write_text(text.replace("[metering]\n", '[metering]\naggregation = "masked"\n'))
    return community


@cache
def exchanged_masked() -> Path:
    """The same exchange, where the meters' readings are summed in secret as well. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    community = masked_community(folder)
    go_on(community, folder / "run", BEFORE)
    exchange_meter_command(folder / "run", MEMBER, str(first_slot() + BEFORE), READ, SEED, None)
    go_on(community, folder / "run", SLOTS - 1)
    go_on(community, folder / "run", SLOTS)
    return folder / "run"


def test_an_exchanged_meter_takes_part_in_masked_sums_from_the_next_slot_on_and_bills_are_those_without() -> None:
    plain, masked = admitted(entries_of(exchanged())), admitted(entries_of(exchanged_masked()))
    words = [entry.public["masked"] for entry in masked]
    everybody = list(range(13))
    others = [account for account in everybody if account != ROW]
    assert [word["contributors"] for word in words] == [everybody, everybody, others, everybody, everybody]
    assert [(word["gap_wh"], word["named"], word["lost"], word["liars"]) for word in words] == [([0, 0], [], [], [])] * SLOTS
    for one, other in zip(plain, masked, strict=True):
        slot = one.slot or 0
        assert closed_readings(slot, one).import_wh.tolist() == closed_readings(slot, other).import_wh.tolist()
    for name in ("import_wh", "export_wh", "cash_nano"):
        of = [
            [entry.public[name] for entry in entries_of(run) if entry.kind == EventKind.SETTLEMENT_SUBMITTED.value]
            for run in (exchanged(), exchanged_masked())
        ]
        assert of[0] == of[1]


def test_a_balance_oracle_hears_an_exchanged_meter_with_its_credential_and_nobody_else_in_its_place(tmp_path: Path) -> None:
    community = load_community(undisturbed()[0])
    seed, first = run_seed(community), first_slot()
    meters, operator = make_meters(community, seed), meter_operator(seed)
    new, other, agreement = exchanged_keys(community, seed)(ROW, first + 2), derive_key(seed, "another"), bytes(range(32))
    vouched = issue(operator, meter_credential(community, MEMBER, did_of(new.public_key())))
    forged = issue(other, meter_credential(community, MEMBER, did_of(other.public_key())))
    trading = Trading(community)
    feeder = Feeder(meters.feeder, trading.network, trading.bus)
    duty = BalanceDuty(meters.registry, Rules(community.grid), feeder, operator.public_key())

    def oracle() -> BalanceOracle:
        return BalanceOracle(duty, MessageStore(tmp_path / "balance.sqlite"), lambda: community.grid.start(first + 2))

    one = oracle()
    for record in (
        [forged, join_message(other, agreement, first + 2)],
        [vouched, join_message(other, agreement, first + 2)],
        [vouched, join_message(new, agreement)],
        [meters.credentials[ROW], join_message(meters.keys[ROW], agreement, first + 2)],
        [vouched],
    ):
        assert not one.take_hung(cbor2.dumps(record))
    told = cbor2.dumps([vouched, join_message(new, agreement, first + 2)])
    assert one.take_hung(told)
    assert one.take_hung(told)
    assert not one.take_hung(cbor2.dumps([vouched, join_message(new, bytes(32), first + 2)]))
    assert not one.take_hung(cbor2.dumps([meters.credentials[ROW], join_message(meters.keys[ROW], agreement, first + 3)]))
    for again in (one, oracle()):
        assert again.hung() == [join_message(new, agreement, first + 2)]
        for slot, key, stands in ((first + 1, new, False), (first + 2, new, True), (first + 2, meters.keys[ROW], False)):
            assert again.take(contribution_message(key, slot, 7)) is stands
        assert again.take(contribution_message(meters.keys[ROW], first + 1, 7))
