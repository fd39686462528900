"""Masked sums in a real run: it settles as without them, dropouts and all; who lies to anybody leaves a gap, and is named."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cbor2
import numpy as np
import pytest
from rich.console import Console

from e2e.node_loop import PLENTY, Loop, balance_in, gateway_in, oracle_in
from e2e.nodes import ORACLES, Village
from e2e.runs import copy_of, file_of, forge, rural1_private, with_privacy
from keys_world import make_keyring
from walras.commands.rights import export_command, forget_command
from walras.commands.secrets import read_secret
from walras.commands.summary import summary_table
from walras.community import load_community
from walras.errors import AuditError, InputError, MeteringError
from walras.exchange.audit import Audit
from walras.exchange.journal import Entry, read_public_record
from walras.ledger.keys import key_of
from walras.metering import SlotReadings, derive_key, did_of, key_id
from walras.metering.access import Right, issue_access, sign_request
from walras.metering.aggregation import MODULUS
from walras.metering.flow_control import RateRule
from walras.metering.masked import pack
from walras.metering.slot_readings import encode_substitute
from walras.service.appointment import Appointment, appointed_exchange, appointment, make_balance, make_gateway, make_oracle
from walras.service.balance_node import JOINS
from walras.service.clocks import FileClock
from walras.service.frames import MASKED, REQUEST, TOLD, ask
from walras.service.gateway_node import Peer
from walras.service.keys import open_key
from walras.service.message_store import MessageStore
from walras.service.rate_limits import HostLimits
from walras.service.remote_balance import RemoteBalance
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.masked_lines import MaskedSums
from walras.study.meters import make_meters, run_seed
from walras.study.oracles import Closed, InProcess
from walras.study.runner import PUBLIC, Appointed, Options, Run

LIAR, SLOTS = 3, 4
SETTLED = ("import_wh", "export_wh", "cash_nano", "energy_wh", "trades", "trades_root")


@cache
def unmasked() -> list[Entry]:
    """The record of the first slots of the same community without masked sums."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    return some_slots(Run(with_privacy(folder, "none"), folder / "run", Options()))


def settlements(entries: list[Entry]) -> list[dict[str, Any]]:
    kinds = ("settlement_submitted", "slot_corrected")
    return [{name: entry.public[name] for name in SETTLED} for entry in entries if entry.kind in kinds]


def words(entries: list[Entry]) -> list[dict[str, Any] | None]:
    return [entry.public["masked"] for entry in entries if entry.kind == "readings_admitted"]


def some_slots(run: Run) -> list[Entry]:
    """The record of the first slots."""
    going = iter(run)
    for _ in range(SLOTS):
        next(going)
    going.close()  # type: ignore[attr-defined]
    entries = list(run._journal.entries())
    run._journal.close()
    return entries


def test_a_run_with_masked_sums_settles_as_one_without_them_and_the_audit_holds_each_sum_against_it() -> None:
    masked, bare = settlements(read_public_record(rural1_private() / PUBLIC)), settlements(unmasked())
    assert masked[: len(bare)] == bare
    assert len(bare) >= SLOTS
    assert "masked" not in json.dumps([entry.public for entry in unmasked()])
    checked = Audit(rural1_private() / PUBLIC).run().checked
    assert (checked["masked sums that are what settled"], checked["slots without a masked sum"]) == (23, 1)


@pytest.mark.nightly
def test_a_whole_day_and_its_corrections_settle_as_without_masked_sums(tmp_path: Path) -> None:
    for _ in Run(with_privacy(tmp_path, "none"), tmp_path / "run", Options()):
        pass
    masked, bare = (settlements(read_public_record(run / PUBLIC)) for run in (rural1_private(), tmp_path / "run"))
    assert masked == bare
    assert len(bare) > 40


def test_who_is_late_drops_out_and_the_sum_is_that_of_the_others() -> None:
    found = words(read_public_record(rural1_private() / PUBLIC))
    members = len(load_community(file_of(rural1_private())).members)
    dropouts = [members - len(word["contributors"]) for word in found if word is not None and word["gap_wh"] == [0, 0]]
    assert (len(dropouts), max(dropouts)) == (23, 4)
    assert sum(n > 0 for n in dropouts) > 10
    balances = [word["balance"] for word in found if word is not None and word["balance"] is not None]
    assert len(balances) == dropouts.count(0)
    assert all(abs(residual) <= tolerance for residual, tolerance in balances)
    (lost,) = [word for word in found if word is not None and word["gap_wh"] is None]
    assert lost["lost"] == lost["contributors"]
    assert lost["import_wh"] is None


def test_the_summary_says_of_how_many_slots_there_is_a_sum_and_whether_it_is_what_settled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary_table(Console(width=200), rural1_private())
    shown = " ".join(capsys.readouterr().out.split())
    assert "masked sums of the feeder 23 of 24 slots, each what its contributors' readings come to" in shown
    sums = MaskedSums()
    for gap, named in (([0, 0], []), ([500, 0], [LIAR]), (None, [])):
        sums.add({"masked": {"gap_wh": gap, "balance": [9, 8], "named": named}})
    ((_, text),) = sums.rows(lambda account: f"account {account}")
    assert text.startswith("2 of 3 slots, 1 of them not what settled; 3 off the feeder's own meter; did not open ")
    assert text.endswith("to what the meter signed: account 3 in 1")
    silent = MaskedSums()
    silent.add({"masked": None})
    assert silent.rows(str) == [("masked sums of the feeder", "none of 1 slots")]


def test_a_member_that_masks_another_number_than_its_meter_signs_is_named_and_moves_no_money(tmp_path: Path) -> None:
    run = Run(with_privacy(tmp_path), tmp_path / "run", Options())
    masked = run._session._p.masked
    assert masked is not None
    masked._measured = lambda slot, device, import_wh, export_wh: pack(import_wh + 500 * (device == LIAR), export_wh)
    entries = some_slots(run)
    for word in words(entries):
        assert word is not None
        heard = LIAR in word["contributors"]
        assert (word["gap_wh"], word["named"]) == (([500, 0], [LIAR]) if heard else ([0, 0], []))
    honest = settlements(read_public_record(rural1_private() / PUBLIC))
    assert settlements(entries) == honest[: len(settlements(entries))]


def test_oracles_that_all_settle_on_less_than_a_home_measured_leave_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every oracle and the exchange together: the meters told the balance oracle what they measured themselves."""
    take = InProcess.take

    def colluding(self: InProcess, slot: int, batch: list[bytes], delays: list[int]) -> Closed:
        readings, *rest = take(self, slot, batch, delays)
        kid = key_id(self._generations.at(slot).keys[LIAR])
        less = np.array(readings.import_wh)
        less[LIAR] -= 30
        leaves = list(readings.leaves)
        leaves[LIAR] = encode_substitute(kid, slot, int(less[LIAR]), 0, 16)
        quality = np.array(readings.quality)
        quality[LIAR] = 16
        false = SlotReadings(slot, less, readings.export_wh, quality, tuple(leaves))
        self._history[slot] = false
        return (false, *rest)  # type: ignore[return-value]

    monkeypatch.setattr(InProcess, "take", colluding)
    entries = some_slots(Run(with_privacy(tmp_path, late_percent=0), tmp_path / "run", Options()))
    assert [word and word["gap_wh"] for word in words(entries)] == [[30, 0]] * SLOTS


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda word: word.update(gap_wh=[0, 1]), "off what settled"),
        (lambda word: word.update(import_wh=word["import_wh"] + 1), "not the balance oracle"),
        (lambda word: word.update(contributors=word["contributors"][1:]), "not the balance oracle"),
        (lambda word: word.update(named=[99]), "meters that are not there"),
        (lambda word: word.update(balance=["x"]), "not a word"),
    ],
)
def test_the_audit_finds_a_word_that_was_changed(tmp_path: Path, change: Callable[[dict[str, Any]], object], why: str) -> None:
    record = forge(rural1_private(), tmp_path / "f", "readings_admitted", lambda public: change(public["masked"]), nth=2)
    with pytest.raises(AuditError, match=why):
        Audit(record).run()


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


def over_nodes(loop: Loop, a: Appointment, community: Path, folder: Path, balance: Peer, patience_s: float = 60.0) -> list[Entry]:
    clock = FileClock(folder / "clock")
    oracles = [oracle_in(loop, a, number, folder) for number in range(ORACLES)]
    nodes = Nodes(gateway_in(loop, a, oracles, folder), tuple(oracles))
    path = RemoteBalance(a, balance, FileClock(folder / "clock.balance"), patience_s)
    run = Run(community, folder / "run", Options(), lambda c, secrets: RemoteMetering(a, nodes, secrets, clock), path)
    return some_slots(run)


def test_over_nodes_of_their_own_the_record_is_that_of_one_process(loop: Loop, tmp_path: Path) -> None:
    community = with_privacy(tmp_path)
    a = appointment(load_community(community))
    entries = over_nodes(loop, a, community, tmp_path, balance_in(loop, a, tmp_path))
    lines = (rural1_private() / PUBLIC).read_bytes().splitlines()
    assert [entry.line for entry in entries] == lines[: len(entries)]
    assert None not in words(entries)


def test_with_keys_of_their_own_the_meters_sum_under_secrets_that_no_seed_gives(loop: Loop, tmp_path: Path) -> None:
    community = with_privacy(tmp_path, late_percent=0)
    ring = make_keyring(tmp_path, community)
    secret = read_secret(ring.secret, "test")
    exchange = appointed_exchange(ring.community, ring.roll, ring.keys, secret, None)
    clock = FileClock(tmp_path / "clock")
    a, gateway_key = appointment(ring.community, ring.roll), open_key(str(tmp_path / "gateway.pem"))
    owns = [key_of(read_secret(place, "test")) for place in [*map(ring.oracle_key, range(ORACLES)), ring.balance_key]]
    peers: list[Peer] = []

    def served(name: str, make: Callable[[], Any], *more: float) -> Peer:
        async def run(ready: Callable[[int], None]) -> None:
            await make().run("127.0.0.1", 0, *more, ready)

        return Peer(name, "127.0.0.1", loop.serve(run))

    for number, own in enumerate(owns[:-1]):
        store = tmp_path / f"oracle-{number}.sqlite"
        peers.append(served(f"oracle-{number}", partial(make_oracle, a, number, own, None, store, bytes(32), clock)))
    stored = tmp_path / "gateway.sqlite", bytes(32)
    gateway = served("gateway", partial(make_gateway, a, gateway_key, *stored, peers, PLENTY, lambda: 0, clock), 0.01)
    nodes = Nodes(gateway, tuple(peers))
    where = served(
        "balance", partial(make_balance, a, owns[-1], tmp_path / "balance.sqlite", FileClock(tmp_path / "clock.balance"))
    )
    options = Options(secret=secret, appointed=Appointed(exchange.meters, exchange.keys))
    path = RemoteBalance(exchange, where, FileClock(tmp_path / "clock.balance"))
    entries = some_slots(Run(community, tmp_path / "run", options, lambda c, s: RemoteMetering(exchange, nodes, s, clock), path))
    assert [word and word["gap_wh"] for word in words(entries)] == [[0, 0]] * SLOTS
    from_seed = appointment(load_community(community)).terms.balance_oracle
    assert entries[0].public["oracles"]["balance"] == owns[-1].address != from_seed


def test_a_balance_oracle_that_is_away_holds_up_no_settlement_and_the_record_says_so(loop: Loop, tmp_path: Path) -> None:
    community = with_privacy(tmp_path)
    a = appointment(load_community(community))
    entries = over_nodes(loop, a, community, tmp_path, Peer("away", "127.0.0.1", 1), patience_s=0.1)
    assert words(entries) == [None] * SLOTS
    assert settlements(entries) == settlements(unmasked())


def test_its_store_holds_no_home_s_reading_in_any_spelling(loop: Loop, tmp_path: Path) -> None:
    """All that the balance oracle was ever told, against every home's true reading: signed bytes, packed numbers, differences."""
    community = with_privacy(tmp_path)
    a = appointment(load_community(community))
    entries = over_nodes(loop, a, community, tmp_path, balance_in(loop, a, tmp_path))
    store = MessageStore(tmp_path / "balance.sqlite")
    raw = (tmp_path / "balance.sqlite").read_bytes()
    checked = 0
    for entry in [entry for entry in entries if entry.kind == "readings_admitted"]:
        assert entry.slot is not None
        assert entry.private is not None
        numbers = {d: cbor2.loads(cbor2.loads(e)[2])[1] for d, e in store.of(entry.slot, 2).items()}
        for device, number in numbers.items():
            _, sent, _ = cbor2.loads(entry.private.part(device) or b"")
            assert sent
            assert all(reading not in raw for reading in sent)
            settled = next(e for e in entries if e.kind == "settlement_submitted" and e.slot == entry.slot).public
            reading = pack(settled["import_wh"][device], settled["export_wh"][device])
            apart = {(number - other) % MODULUS for other in numbers.values()} | {number}
            assert reading not in apart - {0}
            checked += 1
    store.close()
    assert checked > 40


def test_the_balance_oracle_answers_who_may_ask_and_logs_everyone(loop: Loop, tmp_path: Path) -> None:
    community = load_community(with_privacy(tmp_path))
    a, slot = appointment(community), community.slots.start
    assert a.terms.balance_oracle is not None
    clock = FileClock(tmp_path / "clock.balance")
    now = community.grid.end(slot) + timedelta(hours=1)
    clock.move(now)
    peer = balance_in(loop, a, tmp_path)

    def asked(right: Right, key: str = "exchange", credential: str | None = None, audience: str = a.terms.balance_oracle) -> bytes:
        held = credential or a.exchange_credential
        request = sign_request(derive_key(a.seed, key), held, right, audience, slot.to_bytes(8, "big"), now)
        return asyncio.run(ask(peer.host, peer.port, REQUEST, request, 100_000, 10))

    word, _ = cbor2.loads(asked(Right.VOTE))
    assert (word["contributors"], word["import_wh"]) == ([], None)
    assert cbor2.loads(asked(Right.READ)) == []
    reader = did_of(derive_key(a.seed, "reader").public_key())
    only_log = issue_access(a.operator_key, reader, [Right.LOG], community.grid.origin, now + timedelta(days=1))
    for why, wrong in (
        ("does not give this right", {"right": Right.VOTE, "key": "reader", "credential": only_log}),
        ("another node", {"right": Right.VOTE, "audience": a.terms.oracles[0]}),
        ("no answer to COMMIT", {"right": Right.COMMIT}),
    ):
        with pytest.raises(MeteringError, match=why):
            asked(**wrong)  # type: ignore[arg-type]
    rows, _ = cbor2.loads(asked(Right.LOG, key="reader", credential=only_log))
    assert [(row[2], row[4]) for row in rows] == [
        ("VOTE", True), ("READ", True), ("NO_RIGHT", False), ("NOT_FOR_THIS", False), ("COMMIT", False)
    ]  # fmt: skip
    for kind, body in ((MASKED, b"\xff"), (TOLD, cbor2.dumps([7, slot])), (MASKED, cbor2.dumps([1])), (TOLD, cbor2.dumps({}))):
        with pytest.raises(MeteringError):
            asyncio.run(ask(peer.host, peer.port, kind, body, 100_000, 10))


def test_a_host_that_floods_the_balance_oracle_is_told_to_come_back(loop: Loop, tmp_path: Path) -> None:
    a = appointment(load_community(with_privacy(tmp_path)))
    limits = HostLimits(RateRule(per_second=1, burst=2), lambda: 0)

    async def run(ready: Callable[[int], None]) -> None:
        clock = FileClock(tmp_path / "clock.balance")
        await make_balance(a, a.keys.balance_oracle(), tmp_path / "balance.sqlite", clock, limits).run("127.0.0.1", 0, ready)

    port = loop.serve(run)
    joins = cbor2.dumps([JOINS, 0])
    assert [cbor2.loads(asyncio.run(ask("127.0.0.1", port, TOLD, joins, 1_000, 10))) for _ in range(2)] == [[], []]
    with pytest.raises(MeteringError, match="come back later"):
        asyncio.run(ask("127.0.0.1", port, TOLD, joins, 1_000, 10))


def test_what_it_keeps_is_in_the_record_of_processing_and_goes_with_the_member(tmp_path: Path) -> None:
    run = copy_of(rural1_private(), tmp_path / "run")
    store = MessageStore(run / "balance.sqlite")
    for device in (1, 2):
        store.add(7, 2, device, b"said by %d" % device)
    store.close()
    export_command(run, None, tmp_path / "record.json", None, True, None)
    held = json.loads((tmp_path / "record.json").read_text())["stores"]
    assert [row["rows"] for row in held if row["store"] == "balance.sqlite message.encoded"] == [2]
    forget_command(run, "home-1", None, None)
    store = MessageStore(run / "balance.sqlite")
    assert store.of(7, 2) == {2: b"said by 2"}
    store.close()
    assert b"said by 1" not in b"".join(path.read_bytes() for path in run.glob("balance*"))


def test_another_key_a_community_without_masked_sums_or_too_few_members_are_refused(tmp_path: Path) -> None:
    a = appointment(load_community(with_privacy(tmp_path)))
    clock = FileClock(tmp_path / "clock")
    with pytest.raises(InputError, match="the appointed"):
        make_balance(a, a.keys.oracle(0), tmp_path / "b.sqlite", clock)
    bare = appointment(load_community(with_privacy(tmp_path, "none")))
    with pytest.raises(InputError, match="aggregation"):
        make_balance(bare, a.keys.balance_oracle(), tmp_path / "b.sqlite", clock)
    with pytest.raises(InputError, match="--balance"):
        Run(with_privacy(tmp_path), tmp_path / "run", Options(), lambda c, s: None)  # type: ignore[arg-type, return-value]
    few = with_privacy(tmp_path / "few")
    head, *members = few.read_text().split("[[member]]\n")
    few.write_text("[[member]]\n".join([head, *members[:4]]))
    with pytest.raises(InputError, match="at least 5 members"):
        load_community(few)
    assert len(replace(a.community, members=a.community.members[:5]).members) == 5
    assert make_meters(a.community, run_seed(a.community)).registry.keys


REMOTE = "walras.service.remote_balance.RemoteBalance"


@pytest.mark.nightly
@pytest.mark.parametrize(
    "deadly",
    [
        {"balance": "walras.service.message_store.MessageStore.add|after|50"},
        {"balance": "walras.service.balance_node.BalanceNode.reply|before|9"},
        {"exchange": "walras.study.masked.MaskedMeters.round|after|2"},
        {"exchange": f"{REMOTE}.contribute|after|2"},
        {"exchange": f"{REMOTE}.word|before|2", "gateway": "walras.service.gateway_node.GatewayNode.take_readings|after|3"},
    ],
    ids=lambda deadly: "+".join(where.rsplit(".", 1)[-1] for where in deadly.values()),
)
def test_killed_anywhere_the_record_is_that_of_a_run_left_alone(tmp_path: Path, deadly: dict[str, str]) -> None:
    village = Village(tmp_path, deadly, with_privacy(tmp_path), masked=True)
    try:
        village.run(SLOTS)
    finally:
        village.stop()
    assert village.exchange_deaths == ("exchange" in deadly)
    assert all(node.deaths == (name in deadly) for name, node in village.nodes.items())
    db = sqlite3.connect(village.journal)
    lines = [bytes(line) for (line,) in db.execute("select line from entries order by seq")]
    db.close()
    assert lines == (rural1_private() / PUBLIC).read_bytes().splitlines()[: len(lines)]
    assert sum(b'"readings_admitted"' in line for line in lines) == SLOTS
