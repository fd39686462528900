"""Oracles that answer with whatever they like: as good as no answer, so a quorum of the others goes on, and the log says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import cbor2
import pytest

from e2e.node_loop import Loop, gateway_in, oracle_in
from e2e.runs import file_of, rural1_committed
from walras.community import load_community
from walras.exchange.fold import SLOT_CORRECTED
from walras.metering import Refusal
from walras.metering.feeder import FeederCheck
from walras.service.appointment import appointment
from walras.service.clocks import FileClock
from walras.service.gateway_node import Peer
from walras.service.oracle_reports import encode_report, read_report
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.service.serving import serve
from walras.study.runner import Options, Run

BABBLE = (
    b"\xff\xff",
    b"",
    cbor2.dumps([1, 2, 3]),
    encode_report([b"x"] * 13, {}, None, [None] * 13),
    encode_report([b"x"] * 13, {}, None, [None] * 13, bytes(32), bytes(65)),
    cbor2.dumps([[b"x"] * 13, {}, ["a", "b"], [None] * 13], canonical=True),
    cbor2.dumps({"leaves": None}),
)


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


def babbler_in(loop: Loop) -> Peer:
    """A node that says one thing after the other, whatever it is asked."""
    says = cycle(BABBLE)

    def reply(kind: bytes, body: bytes) -> bytes:
        return next(says)

    async def run(ready: Callable[[int], None]) -> None:
        server = await asyncio.start_server(lambda reader, writer: serve(reader, writer, reply, 10_000_000), "127.0.0.1", 0)
        ready(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()

    return Peer("oracle-3", "127.0.0.1", loop.serve(run))


def test_what_one_oracle_babbles_stops_nothing_and_counts_for_nothing(loop: Loop, tmp_path: Path) -> None:
    community = file_of(rural1_committed())
    a = appointment(load_community(community))
    honest = [oracle_in(loop, a, number, tmp_path) for number in range(3)]
    all_four = (*honest, babbler_in(loop))
    nodes, clock = Nodes(gateway_in(loop, a, honest, tmp_path), all_four, patience_s=2.0), FileClock(tmp_path / "clock")
    paths: list[RemoteMetering] = []

    def way(_: object, secrets: tuple[bytes, ...]) -> RemoteMetering:
        paths.append(RemoteMetering(a, nodes, secrets, clock))
        return paths[0]

    run = Run(community, tmp_path / "run", Options(), way)
    going = iter(run)
    for _ in range(len(BABBLE)):
        next(going)
    going.close()  # type: ignore[attr-defined]
    entries = [json.loads(entry.line) for entry in run._journal.entries()]
    run._journal.close()
    said = [entry["public"] for entry in entries if entry["kind"] in ("attested", SLOT_CORRECTED)]
    assert len(said) > len(BABBLE)
    assert all(public["oracles"] == [0, 1, 2] for public in said)
    logs = {act.by: act.detail for act in paths[0].acts()}
    assert logs["oracle 3"] == {"log": "not a log"}
    assert all("requests" in (logs[f"oracle {n}"] or {}) for n in range(3))


def test_a_report_is_read_whole_or_not_at_all() -> None:
    leaves, heard = [b"a", b"b"], [3, None]
    whole = encode_report(leaves, {int(Refusal.REPLAYED): 2}, FeederCheck(-5, 9), heard)
    report = read_report(whole, 2)
    assert report is not None
    assert (report.leaves, report.refused, report.balance, report.delays) == ((b"a", b"b"), {Refusal.REPLAYED: 2}, (-5, 9), heard)
    assert read_report(whole, 3) is None
    assert read_report(whole, 2, parts=6) is None
    for wrong in (
        [leaves, {999: 1}, None, heard],
        [leaves, {int(Refusal.REPLAYED): "many"}, None, heard],
        [leaves, {}, [1, 2, 3], heard],
        [leaves, {}, [True, 9], heard],
        ["ab", {}, None, heard],
    ):
        assert read_report(cbor2.dumps(wrong, canonical=True), 2) is None
    odd = read_report(cbor2.dumps([leaves, {}, None, "never"], canonical=True), 2)
    assert odd is not None
    assert odd.delays is None  # the readings count all the same
