"""Batches over a gateway and oracles of their own: each oracle settles again on its own readings, and signs only that."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from e2e.node_loop import Loop, gateway_in, oracle_in
from e2e.nodes import Village
from e2e.runs import with_late_readings
from walras.community import load_community
from walras.errors import MeteringError, PhaseError
from walras.exchange.audit import Audit
from walras.exchange.batching import BatchSlot, MadeBatch, batch_digest
from walras.exchange.journal import canonical, read_public_record
from walras.ledger import recover_address
from walras.ledger.calls import Contract
from walras.ledger.keys import SIGNATURE_BYTES
from walras.metering.access import Right, sign_request
from walras.service.appointment import Appointment, appointment
from walras.service.clocks import FileClock
from walras.service.frames import REQUEST, ask
from walras.service.gateway_node import Peer
from walras.service.oracle_batches import batch_body
from walras.service.oracle_node import OracleNode
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.runner import PUBLIC, Options, Run, open_journal

BATCH = 7


@cache
def community(publish: str) -> Path:
    """A day of rural1 by the hour in batches of seven, a fifth of the readings late."""
    path = with_late_readings(Path(mkdtemp(prefix="walras-test-")), 20)
    text = path.read_text().replace("slot_minutes = 15", "slot_minutes = 60")
    path.write_text(text + f'\n[ledger]\nsettle = "batches"\nbatch_slots = {BATCH}\npublish = "{publish}"\n')
    return path


@cache
def in_one_process(publish: str) -> Path:
    """That day without nodes. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-")) / "run"
    for _ in Run(community(publish), folder, Options()):
        pass
    return folder


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


class Watching(RemoteMetering):
    """Remembers what was asked of the oracles."""

    asked: list[tuple[list[BatchSlot], MadeBatch, Contract]]

    def sign_batch(self, slots: Any, made: MadeBatch, contract: Contract) -> list[tuple[str, bytes]]:
        self.asked.append((list(slots), made, contract))
        return super().sign_batch(slots, made, contract)


class Nodes7:
    """Four oracles and a gateway in a loop, and a run of the day over them."""

    def __init__(self, loop: Loop, folder: Path, publish: str = "calldata", away: int = 0) -> None:
        self.loop, self.folder, self.publish = loop, folder, publish
        self.a: Appointment = appointment(load_community(community(publish)))
        self.made: list[OracleNode] = []
        self.oracles = [oracle_in(loop, self.a, n, folder, self.made) for n in range(4 - away)]
        self.oracles += [Peer(f"oracle-{n}", "127.0.0.1", 1) for n in range(4 - away, 4)]
        gateway = gateway_in(loop, self.a, self.oracles, folder)
        self.nodes = Nodes(gateway, tuple(self.oracles), 0.3 if away else 120.0)
        self.paths: list[Watching] = []

    def run(self, slots: int | None = None) -> Path:
        out = self.folder / "run"
        going = iter(Run(community(self.publish), out, Options(), self.path))
        for done, _ in enumerate(going, 1):
            if done == slots:
                break
        return out

    def path(self, _: object, secrets: Any) -> Watching:
        self.paths.append(Watching(self.a, self.nodes, secrets, FileClock(self.folder / "clock")))
        self.paths[-1].asked = []
        return self.paths[-1]

    def ask(self, oracle: int, body: bytes, right: Right = Right.BATCH) -> bytes:
        now = FileClock(self.folder / "clock")()
        request = sign_request(self.a.exchange_key, self.a.exchange_credential, right, self.a.terms.oracles[oracle], body, now)
        peer = self.oracles[oracle]
        return asyncio.run(ask(peer.host, peer.port, REQUEST, request, 1_000, 30.0))


@pytest.mark.parametrize("publish", ["calldata", "committee"])
def test_batches_over_nodes_of_their_own_leave_the_record_of_one_process_byte_for_byte(
    publish: str, loop: Loop, tmp_path: Path
) -> None:
    out = Nodes7(loop, tmp_path, publish).run()
    inside = (in_one_process(publish) / PUBLIC).read_bytes().splitlines()
    lines = (out / PUBLIC).read_bytes().splitlines()
    assert lines[: len(inside)] == inside
    assert sum(b'"batch_included"' in line for line in inside) == 4
    assert any(b'"slot_corrected"' in line for line in inside)
    assert Audit(out / PUBLIC).run().checked["batches made again, and on the chain"] == 4


def test_the_contract_that_oracles_sign_for_is_the_one_that_the_run_deploys() -> None:
    deployed = next(e.public for e in read_public_record(in_one_process("calldata") / PUBLIC) if e.kind == "ledger_deployed")
    at = appointment(load_community(community("calldata"))).batches
    assert (at.address, at.chain_id) == (deployed["batches"], deployed["chain_id"])


def test_three_of_four_oracles_are_enough_for_a_batch(loop: Loop, tmp_path: Path) -> None:
    out = Nodes7(loop, tmp_path, away=1).run(9)
    posted = [e.public for e in read_public_record_of(out) if e.kind == "batch_posted"]
    assert [len(bytes.fromhex(p["signatures"])) // SIGNATURE_BYTES for p in posted] == [3]


def read_public_record_of(out: Path) -> list[Any]:
    journal = open_journal(out)
    try:
        return list(journal.entries())
    finally:
        journal.close()


def fee(public: dict[str, Any]) -> None:
    public["slots"][2]["item_micro"][0][0] += 1


def payment(public: dict[str, Any]) -> None:
    paid = public["slots"][0]["clearing"]["pay_nano"]
    paid[0], paid[1] = paid[0] + 1, paid[1] - 1


def fill(public: dict[str, Any]) -> None:
    public["slots"][0]["clearing"]["filled_wh"][0] += 1


def mechanism(public: dict[str, Any]) -> None:
    public["slots"][0]["clearing"]["mechanism"] = "vcg"


def shorter(public: dict[str, Any]) -> None:
    public["slots"].pop()


def other_state(public: dict[str, Any]) -> None:
    public["before"][0] = f"{int(public['before'][0], 16) + 1:x}"


def no_slot(public: dict[str, Any]) -> None:
    del public["slots"][1]["orders"]


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a price of its own": (fee, "prices are not those"),
    "a payment shifted": (payment, "breaks its rule"),
    "another fill": (fill, "breaks its rule"),
    "another mechanism": (mechanism, "the terms say"),
    "a slot left out": (shorter, "is not of slots"),
    "another state before": (other_state, "on top of"),
    "no orders": (no_slot, "cannot be settled again"),
}


def test_an_oracle_signs_its_own_batch_once_and_nothing_that_the_exchange_makes_up(loop: Loop, tmp_path: Path) -> None:
    nodes = Nodes7(loop, tmp_path)
    nodes.run(16)
    first, second = nodes.paths[0].asked[:2]
    again = batch_body(*second[:2])
    digest = batch_digest(nodes.a.terms, second[1], second[2])
    word = nodes.ask(1, again)
    assert (word[:32], recover_address(digest, word[32:])) == (digest, nodes.a.terms.oracles[1])
    changed = _changed(again, fee)
    assert nodes.ask(1, changed) == word  # the first word stands, whatever comes later
    with pytest.raises(MeteringError, match="signed already"):
        nodes.ask(1, (second[0][0].slot).to_bytes(8, "big") + (BATCH - 1).to_bytes(2, "big") + again[10:])
    with pytest.raises(MeteringError, match="signed already"):
        nodes.ask(1, (second[0][0].slot + 1).to_bytes(8, "big") + (BATCH - 1).to_bytes(2, "big") + again[10:])
    with pytest.raises(MeteringError, match="takes readings until"):
        nodes.ask(1, (second[0][-1].slot + 1).to_bytes(8, "big") + BATCH.to_bytes(2, "big") + again[10:])
    node = nodes.made[1]
    loop.do(lambda: node._store._db.execute("delete from batch where first = ?", (second[0][0].slot,)))
    for name, (change, said) in WRONG.items():
        with pytest.raises(MeteringError, match=said):
            nodes.ask(1, _changed(again, change))
        assert loop.do(lambda: node._store.last_batch()[0]) == first[0][-1].slot, name
    for junk in (b"", again[:10], again[:10] + b"junk", again[:10] + zlib.compress(b"[]")):
        with pytest.raises(MeteringError):
            nodes.ask(1, junk)
    assert nodes.ask(1, again) == word  # and the honest one is signed as before
    assert loop.do(lambda: _raises(node, second[0][0].slot + 1_000))


def _raises(node: OracleNode, slot: int) -> bool:
    with pytest.raises(PhaseError):
        node.batch(range(slot, slot + 1), b"")
    return True


def _changed(body: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    public = json.loads(zlib.decompress(body[10:]))
    change(public)
    return body[:10] + zlib.compress(canonical(public))


STORE, REMOTE = "walras.service.reading_store.ReadingStore", "walras.service.remote_metering.RemoteMetering"


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("node", "where"),
    [
        ("oracle-1", f"{STORE}.note_batch|before|1"),
        ("oracle-1", f"{STORE}.note_batch|after|2"),
        ("exchange", f"{REMOTE}.sign_batch|before|1"),
        ("exchange", f"{REMOTE}.sign_batch|after|2"),
    ],
)
def test_over_processes_that_are_killed_around_a_batch_it_is_signed_and_posted_once(node: str, where: str, tmp_path: Path) -> None:
    village = Village(tmp_path, {node: where}, community=community("calldata"))
    try:
        village.run(0)
        deaths = village.exchange_deaths if node == "exchange" else village.nodes[node].deaths
    finally:
        village.stop()
    assert deaths == 1
    inside = (in_one_process("calldata") / PUBLIC).read_bytes().splitlines()
    assert (village.out / PUBLIC).read_bytes().splitlines()[: len(inside)] == inside
