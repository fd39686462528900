"""Late readings and committed days over gateway and oracles of their own: the record is that of a run in one process."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import cbor2
import numpy as np
import pytest

from e2e.node_loop import Loop, gateway_in, oracle_in
from e2e.nodes import Village
from e2e.runs import file_of, rural1_committed
from walras.community import load_community
from walras.errors import MeteringError
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.statement import make_statement
from walras.ledger import correction_digest, days_digest, recover_address
from walras.metering import did_of
from walras.metering.access import Right, sign_request
from walras.metering.gateway import Taken, seal_batch
from walras.metering.vault import SALT_BYTES
from walras.service.appointment import appointment
from walras.service.clocks import FileClock
from walras.service.frames import BATCH, REQUEST, ask
from walras.service.gateway_node import Peer
from walras.service.oracle_node import OracleNode
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.runner import PUBLIC, Options, Run, open_journal

SLOTS = 8


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


def lines_over(nodes: Nodes, folder: Path, slots: int) -> list[bytes]:
    """The record of the first slots of a run over `nodes`."""
    community = file_of(rural1_committed())
    a = appointment(load_community(community))
    clock = FileClock(folder / "clock")
    run = Run(community, folder / "run", Options(), lambda c, secrets: RemoteMetering(a, nodes, secrets, clock))
    going = iter(run)
    for _ in range(slots):
        next(going)
    going.close()  # type: ignore[attr-defined]
    lines = [entry.line for entry in run._journal.entries()]
    run._journal.close()
    return lines


def test_late_readings_over_the_network_correct_the_same_slots_to_the_same_bytes(loop: Loop, tmp_path: Path) -> None:
    a = appointment(load_community(file_of(rural1_committed())))
    oracles = [oracle_in(loop, a, number, tmp_path) for number in range(4)]
    nodes = Nodes(gateway_in(loop, a, oracles, tmp_path), tuple(oracles))
    lines = lines_over(nodes, tmp_path, SLOTS)
    assert lines == (rural1_committed() / PUBLIC).read_bytes().splitlines()[: len(lines)]
    assert sum(SLOT_CORRECTED.encode() in line for line in lines) >= 3
    again = lines_over(nodes, tmp_path, SLOTS + 1)  # goes on where it was cut off
    assert again == (rural1_committed() / PUBLIC).read_bytes().splitlines()[: len(again)]


def test_with_one_oracle_away_a_quorum_corrects(loop: Loop, tmp_path: Path) -> None:
    a = appointment(load_community(file_of(rural1_committed())))
    oracles = [oracle_in(loop, a, number, tmp_path) for number in range(3)]
    away = Peer("oracle-3", "127.0.0.1", 1)
    nodes = Nodes(gateway_in(loop, a, [*oracles, away], tmp_path), (*oracles, away), patience_s=1.5)
    lines = lines_over(nodes, tmp_path, 6)
    corrected = [line for line in lines if SLOT_CORRECTED.encode() in line]
    assert corrected
    assert all(b'"oracles":[0,1,2]' in line for line in corrected)


def test_an_oracle_hears_late_readings_in_the_window_only_and_says_each_word_once(loop: Loop, tmp_path: Path) -> None:
    a, made = appointment(load_community(file_of(rural1_committed()))), []  # type: ignore[var-annotated]
    first = a.community.slots.start
    slots = range(first, first + 3)
    due = a.community.grid.end(slots[-1]) + timedelta(seconds=a.terms.metering_deadline_s)
    closed = due + timedelta(seconds=a.terms.dispute_window_s)
    clock = FileClock(tmp_path / "clock")
    clock.move(a.community.grid.end(first))
    peer = oracle_in(loop, a, 0, tmp_path, made)
    readings = {slot: a.meters.sign(slot, slot - first + 1, np.arange(13) + 100) for slot in slots}

    def asked(right: Right, body: bytes) -> bytes:
        request = sign_request(a.exchange_key, a.exchange_credential, right, a.terms.oracles[0], body, clock())
        return asyncio.run(ask(peer.host, peer.port, REQUEST, request, 1_000_000, 10))

    def handed_on(number: int, batch: list[bytes]) -> None:
        sealed = seal_batch(a.gateway_key, number, batch)
        assert asyncio.run(ask(peer.host, peer.port, BATCH, sealed, 64, 10)) == number.to_bytes(8, "big")

    for number, slot in enumerate(slots):
        clock.move(a.community.grid.end(slot))
        handed_on(number, readings[slot][1:])
    last = slots[-1]
    clock.move(due + timedelta(seconds=1))
    before = cbor2.loads(asked(Right.READ, last.to_bytes(8, "big")))[0]
    handed_on(3, [readings[last][0], readings[last][1]])  # one that was missing, one that was there
    forged = readings[slots[0]][0][:-1] + bytes([readings[slots[0]][0][-1] ^ 1])
    handed_on(4, [forged])
    assert cbor2.loads(asked(Right.READ, last.to_bytes(8, "big")))[0] == before  # what was settled stays
    salts = [bytes([device]) * SALT_BYTES for device in range(13)]
    body = last.to_bytes(8, "big") + (1).to_bytes(2, "big")
    day_salts = b"".join(bytes([device]) * 31 for device in range(13))
    days = first.to_bytes(8, "big") + (3).to_bytes(2, "big") + day_salts
    clock.move(closed)
    for right, what in ((Right.CORRECT, body + b"".join(salts)), (Right.COMMIT, days)):
        with pytest.raises(MeteringError, match="takes readings until"):
            asked(right, what)
    clock.move(closed + timedelta(seconds=1))
    handed_on(5, [readings[slots[1]][0]])  # after the window
    leaves, refused, balance, delays, root, signature = cbor2.loads(asked(Right.CORRECT, body + b"".join(salts)))
    assert delays == [901, *[0] * 12]  # the late one was heard a second after its deadline
    assert leaves == readings[last]
    assert balance is None  # the feeder's own meter was not heard
    assert sum(refused.values()) == 1  # the one whose place was taken
    at = a.addresses
    assert recover_address(correction_digest(at.chain_id, at.settlement, last, 1, root), signature) == a.terms.oracles[0]
    again = cbor2.loads(asked(Right.CORRECT, body + b"".join(reversed(salts))))
    assert again[4:] == [root, signature]  # other salts do not make it say another thing
    missed = cbor2.loads(asked(Right.CORRECT, slots[1].to_bytes(8, "big") + body[8:] + b"".join(salts)))[0]
    assert missed[0] != readings[slots[1]][0]
    word = asked(Right.COMMIT, days)
    assert recover_address(days_digest(at.chain_id, at.settlement, first, 3, word[:32]), word[32:]) == a.terms.oracles[0]
    other = first.to_bytes(8, "big") + (3).to_bytes(2, "big") + day_salts[::-1]
    assert asked(Right.COMMIT, other) == word
    for wrong in (days[:-1], first.to_bytes(8, "big") + (97).to_bytes(2, "big") + day_salts):
        with pytest.raises(MeteringError):
            asked(Right.COMMIT, wrong)
    node: OracleNode = made[0]
    assert node_late(loop, node, last)[0].encoded == readings[last][0]
    assert loop.do(lambda: node._store.of_member(0)) == [readings[last][0]]
    assert len(loop.do(lambda: node._store.of_member(1))) == 3 + 1  # type: ignore[arg-type]
    assert loop.do(lambda: node._store.forget_member(0)) == 1
    assert loop.do(lambda: node._store.of_member(0)) == []
    assert readings[last][0] not in {taken.encoded for taken in node_late(loop, node, last)}


def node_late(loop: Loop, node: OracleNode, slot: int) -> list[Taken]:
    kept = loop.do(lambda: node._store.late(slot))
    assert isinstance(kept, list)
    return kept


@pytest.mark.nightly
def test_a_whole_day_over_processes_has_the_journal_and_the_bills_of_one_process(tmp_path: Path) -> None:
    village = Village(tmp_path, {}, community=file_of(rural1_committed()))
    try:
        village.run(0)
    finally:
        village.stop()
    lines = (village.out / PUBLIC).read_bytes().splitlines()
    inside = (rural1_committed() / PUBLIC).read_bytes().splitlines()
    assert lines[: len(inside)] == inside
    acts = [json.loads(line)["public"] for line in lines[len(inside) :]]
    assert [(act["act"], act["by"]) for act in acts] == [("asked", by) for by in (*(f"oracle {n}" for n in range(4)), "gateway")]
    exchange = did_of(appointment(load_community(file_of(rural1_committed()))).exchange_key.public_key())
    for act in acts[:4]:
        asked = {(holder, right, how): count for holder, right, how, count in act["detail"]["requests"]}
        assert asked[exchange, "READ", "answered"] >= 96
        assert asked[exchange, "COMMIT", "answered"] >= 1
    over, within = (open_journal(run) for run in (village.out, rural1_committed()))
    for member in ("home-1", "farm-1"):
        assert make_statement(list(over.entries()), member) == make_statement(list(within.entries()), member)
    over.close()
    within.close()


STORE, REMOTE = "walras.service.reading_store.ReadingStore", "walras.service.remote_metering.RemoteMetering"


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("node", "where"),
    [
        ("gateway", f"{STORE}.put_in_batch|before|4"),
        ("oracle-1", f"{STORE}.add_late|after|2"),
        ("oracle-1", f"{STORE}.note_word|before|1"),
        ("oracle-1", f"{STORE}.note_word|after|1"),
        ("exchange", f"{REMOTE}.late|before|2"),
        ("exchange", f"{REMOTE}.late|after|2"),
        ("exchange", f"{REMOTE}.correct|before|1"),
        ("exchange", f"{REMOTE}.correct|after|2"),
    ],
)
def test_a_node_killed_around_a_late_reading_corrects_nothing_else_and_nothing_twice(tmp_path: Path, node: str, where: str) -> None:
    village = Village(tmp_path, {node: where}, community=file_of(rural1_committed()))
    try:
        village.run(7)
        deaths = village.exchange_deaths if node == "exchange" else village.nodes[node].deaths
    finally:
        village.stop()
    assert deaths == 1
    with sqlite3.connect(village.journal) as db:
        lines = [bytes(line) for (line,) in db.execute("select line from entries order by seq")]
    db.close()
    assert lines == (rural1_committed() / PUBLIC).read_bytes().splitlines()[: len(lines)]
    assert sum(SLOT_CORRECTED.encode() in line for line in lines) >= 2
