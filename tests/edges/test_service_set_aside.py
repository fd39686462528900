"""A batch that an oracle refuses for good is set aside with its reason: the next ones go, nothing is lost or forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metering_nodes import GATEWAY_KEY, OPEN, ClockFile, gateway, oracle
from metering_world import RULES, after, slot_batch
from walras.errors import MeteringError, RefusedForGood
from walras.metering.gateway import seal_batch
from walras.service.access_log import act_of, log_of
from walras.service.frames import NEVER, SORRY, ask, write_frame
from walras.service.gateway_node import MAX_REASON, GatewayNode, Peer
from walras.service.oracle_node import OracleNode

SLOT = 40
FOREIGN = seal_batch(GATEWAY_KEY, 0, slot_batch(SLOT - 1, 1)[:2])
"""Batch 0 with a content that no gateway of these tests has: as from one whose store was put back from a copy."""


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def clock_in(folder: Path, slot: int) -> ClockFile:
    clock = ClockFile(folder / "clock")
    clock.set(after(slot))
    return clock


async def with_oracles(nodes: list[OracleNode], then: Callable[[list[Peer]], Awaitable[None]]) -> None:
    servers = [await asyncio.start_server(node.answer, "127.0.0.1", 0) for node in nodes]
    peers = [Peer(f"oracle-{n}", "127.0.0.1", s.sockets[0].getsockname()[1]) for n, s in enumerate(servers)]
    try:
        await then(peers)
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


async def slots_through(gate: GatewayNode, clock: ClockFile, slots: int) -> None:
    for n in range(slots):
        clock.set(after(SLOT + n))
        assert gate.take_readings(slot_batch(SLOT + n, 2 + n)) == bytes(5)
        await gate.hand_on()


def test_later_batches_go_on_behind_one_that_an_oracle_refuses_for_good(tmp_path: Path) -> None:
    clock = clock_in(tmp_path, SLOT - 1)
    nodes = [oracle(tmp_path / f"o{n}.db", clock) for n in range(2)]
    nodes[1].receive(FOREIGN)

    async def scenario(peers: list[Peer]) -> None:
        said: list[str] = []
        gate = gateway(tmp_path / "g.db", peers)
        gate._say = said.append
        await slots_through(gate, clock, 3)
        assert gate.waiting() == bytes(4)
        (line,) = said
        assert line.startswith("oracle-1 refuses batch 0 for good: batch 0 was received with another content")
        again = gateway(tmp_path / "g.db", peers)  # the first was never closed, as after a kill
        assert again.waiting() == bytes(4)
        assert again._store.aside() == [("oracle-1", 0, 5, "batch 0 was received with another content")]
        assert sorted(again._store.batch_readings(0)) == sorted(slot_batch(SLOT, 2))

    asyncio.run(with_oracles(nodes, scenario))
    clock.set(after(SLOT + 2, RULES.deadline.total_seconds() + 1))
    assert [nodes[0].readings_of(SLOT + n).quality.tolist() for n in range(3)] == [[0] * 5] * 3
    assert [nodes[1].readings_of(SLOT + n).quality.tolist() for n in range(3)] == [[18] * 5, [0] * 5, [0] * 5]


def test_what_was_set_aside_is_offered_again_under_a_number_of_its_own_to_that_oracle_only(tmp_path: Path) -> None:
    clock = clock_in(tmp_path, SLOT - 1)
    nodes = [oracle(tmp_path / f"o{n}.db", clock) for n in range(2)]
    nodes[1].receive(FOREIGN)

    async def scenario(peers: list[Peer]) -> None:
        gate = gateway(tmp_path / "g.db", peers)
        await slots_through(gate, clock, 1)
        with gate._store.transaction():
            assert gate._store.offer_again() == 1
        assert (gate._store.unacknowledged("oracle-0"), gate._store.unacknowledged("oracle-1")) == ([], [1])
        gate = gateway(tmp_path / "g.db", peers)
        with pytest.raises(MeteringError, match=r"on their way: \[1\]"):
            gate.forget(2)
        assert gate.take_readings(slot_batch(SLOT + 1, 3)) == bytes(5)
        clock.set(after(SLOT + 1))
        await gate.hand_on()
        assert gate.waiting() == bytes(4)
        assert gate._store.aside() == []
        assert gate.forget(2) == 2

    asyncio.run(with_oracles(nodes, scenario))
    clock.set(after(SLOT + 1, RULES.deadline.total_seconds() + 1))
    for node in nodes:
        assert [node.readings_of(SLOT + n).quality.tolist() for n in range(2)] == [[0] * 5] * 2
        assert node._store.refused_counts() == {}


def test_an_offer_that_is_refused_again_is_set_aside_again_and_keeps_no_one_waiting(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [Peer("a", "", 0)])
    store = gate._store
    for n in range(3):
        gate.take_readings(slot_batch(SLOT + n, 1 + n))
        gate.seal_waiting()
    with store.transaction():
        store.set_aside(1, "a", "first")
        assert (store.unacknowledged("a"), store.unacknowledged("b")) == ([0, 2], [0, 1, 2])
        store.acknowledge(2, "a")
        assert store.offer_again() == 1
    assert (store.unacknowledged("a"), store.batch_readings(3)) == ([3], store.batch_readings(1))
    assert store.next_batch_number() == 4
    with store.transaction():
        store.set_aside(3, "a", "second")
    assert (store.unacknowledged("a"), store.aside()) == ([], [("a", 1, 5, "second")])
    with store.transaction():
        for number in range(3):
            store.acknowledge(number, "b")
    assert store.erase_before(SLOT + 2, ["a", "b"]) == 10
    assert store.offer_again() == 0  # nothing is left to offer
    assert store.aside() == [("a", 1, 0, "second")]


@pytest.mark.parametrize(("kind", "waits"), [(SORRY, True), (NEVER, False)])
def test_only_a_refusal_for_good_is_final_and_its_words_are_cut_and_cleaned(kind: bytes, waits: bool, tmp_path: Path) -> None:
    async def scenario() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await write_frame(writer, kind, b"\x1b[31mno\n" + b"!" * 500)
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        gate = gateway(tmp_path / "g.db", [Peer("oracle", "127.0.0.1", server.sockets[0].getsockname()[1])])
        gate.take_readings(slot_batch(SLOT, 1))
        await gate.hand_on()
        assert gate._store.unacknowledged("oracle") == ([0] if waits else [])
        reasons = [reason for _, _, _, reason in gate._store.aside()]
        assert reasons == ([] if waits else [("?[31mno?" + "!" * 500)[:MAX_REASON]])
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


def test_a_list_of_revocations_that_is_missing_is_an_outage_and_a_strange_batch_is_not(tmp_path: Path) -> None:
    def missing(_: datetime) -> list[bytes]:
        raise MeteringError("no status list that holds", thing="status")

    node = oracle(tmp_path / "o.db", clock_in(tmp_path, SLOT), missing)

    async def scenario(peers: list[Peer]) -> None:
        good = seal_batch(GATEWAY_KEY, 0, slot_batch(SLOT, 1))
        with pytest.raises(MeteringError) as outage:
            await ask(peers[0].host, peers[0].port, b"B", good, 1_000, 5)
        assert not isinstance(outage.value, RefusedForGood)
        with pytest.raises(RefusedForGood, match="not signed by this gateway"):
            await ask(peers[0].host, peers[0].port, b"B", good[:-1], 1_000, 5)

    asyncio.run(with_oracles([node], scenario))


def test_the_gateways_act_in_the_journal_says_what_was_set_aside(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [])
    at = datetime(2016, 6, 22, tzinfo=UTC)
    assert "batches_set_aside" not in (act_of("gateway", log_of(gate._store), at).detail or {})
    detail = act_of("gateway", log_of(gate._store, [("oracle-3", 7, 14, "no")]), at).detail or {}
    assert detail["batches_set_aside"] == [["oracle-3", 7, 14, "no"]]


def test_readings_on_their_way_are_not_erased_under_their_batches_number(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [Peer("oracle-0", "127.0.0.1", 1)])
    for slot, counter in ((SLOT, 1), (SLOT + 1, 2)):
        gate.take_readings(slot_batch(slot, counter))
    gate.seal_waiting()
    sealed = gate.batch(0)
    with pytest.raises(MeteringError, match=r"before slot 41 in batches on their way: \[0\]"):
        gate.erase_before(SLOT + 1)
    assert gate.batch(0) == sealed
    with gate._store.transaction():
        gate._store.acknowledge(0, "oracle-0")
    assert gate.erase_before(SLOT + 1) == 5


def test_the_number_of_a_batch_that_was_set_aside_and_then_erased_is_not_given_again(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [Peer("a", "", 0)])
    gate.take_readings(slot_batch(SLOT, 1))
    gate.seal_waiting()
    with gate._store.transaction():
        gate._store.set_aside(0, "a", "no")
    assert gate.erase_before(SLOT + 1) == 5
    gate.take_readings(slot_batch(SLOT + 1, 2))
    gate.seal_waiting()
    assert gate._store.unacknowledged("a") == [1]  # under number 0 it would never be sent: that was refused for good
