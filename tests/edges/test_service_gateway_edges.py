"""Gateway and oracle over real sockets in one loop: what is dropped, changed, repeated, too fast or out of order, and
restarts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest

from metering_nodes import GATEWAY_KEY, KIDS, OPEN, ORACLE_KEY, PLENTY, ClockFile, gateway, oracle, reading_store, vote_message
from metering_world import KEYS, RULES, STRANGER, after, registry, slot_batch
from walras.errors import InputError, MeteringError, PhaseError
from walras.metering.flow_control import (
    Breaker,
    BreakerRule,
    RateRule,
    failed,
    full_bucket,
    may_try,
    succeeded,
    take,
)
from walras.metering.gateway import BatchRefusal, open_batch, proves_two_contents, seal_batch
from walras.metering.identity import verify
from walras.metering.reading import sign_reading
from walras.metering.refusals import Refusal
from walras.service.frames import ANSWER, BATCH, NEVER, SORRY, VOTE, ask, read_frame
from walras.service.gateway_node import RATE_LIMITED, TAKEN, Peer, send_readings
from walras.service.oracle_node import OracleNode
from walras.service.rate_limits import HostLimits

SLOT = 40
PUBLIC = GATEWAY_KEY.public_key()


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def clock_at(tmp_path: Path, slot: int, seconds: float = 60) -> ClockFile:
    clock = ClockFile(tmp_path / "clock")
    clock.set(after(slot, seconds))
    return clock


def past_deadline(clock: ClockFile, slot: int = SLOT) -> None:
    clock.set(after(slot, RULES.deadline.total_seconds() + 1))


def test_the_whole_way_from_meter_to_vote_over_sockets(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = clock_at(tmp_path, SLOT)
        node = oracle(tmp_path / "oracle.db", clock)
        oracle_server = await asyncio.start_server(node.answer, "127.0.0.1", 0)
        port = oracle_server.sockets[0].getsockname()[1]
        gate = gateway(tmp_path / "gateway.db", [Peer("oracle", "127.0.0.1", port)])
        gate_server = await asyncio.start_server(gate.answer, "127.0.0.1", 0)
        gate_port = gate_server.sockets[0].getsockname()[1]
        assert await send_readings("127.0.0.1", gate_port, slot_batch(SLOT, 1)) == bytes(5)
        await gate.hand_on()
        past_deadline(clock)
        answer = await ask("127.0.0.1", port, VOTE, SLOT.to_bytes(8, "big"), 200, 5)
        assert node.readings_of(SLOT).leaves == tuple(slot_batch(SLOT, 1))
        assert answer[:32] == node.readings_of(SLOT).tree().root
        assert verify(ORACLE_KEY.public_key(), answer[32:], vote_message(SLOT, answer[:32]))
        for server in (gate_server, oracle_server):
            server.close()
            await server.wait_closed()

    asyncio.run(scenario())


def test_a_gateway_takes_each_reading_once_and_in_any_order(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [])
    first, second = sign_reading(KEYS[0], SLOT, 1, 0, 1), sign_reading(KEYS[0], SLOT + 1, 2, 0, 2)
    assert gate.take_readings([second, first, second]) == bytes(3)
    assert gate.seal_waiting() == 0
    batch = open_batch(gate.batch(0), PUBLIC)
    assert not isinstance(batch, BatchRefusal)
    assert batch.readings == (first, second)
    assert gate.take_readings([first]) == bytes([TAKEN])  # the same bytes again: already on disk
    other = sign_reading(KEYS[0], SLOT, 999, 0, 1)
    assert gate.take_readings([other]) == bytes([Refusal.REPLAYED])
    assert gate.seal_waiting() is None


def test_a_second_reading_under_a_counter_is_refused_and_never_said_to_be_taken(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [])
    one, other = sign_reading(KEYS[0], SLOT, 1, 0, 1), sign_reading(KEYS[0], SLOT, 2, 0, 1)
    assert list(gate.take_readings([one, other, one])) == [TAKEN, Refusal.REPLAYED, TAKEN]


def test_a_gateway_names_what_it_does_not_take_and_counts_it(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [])
    good = slot_batch(SLOT, 1)[0]
    sent = [b"", good[:-1], good[:-1] + bytes([good[-1] ^ 1]), sign_reading(STRANGER, SLOT, 1, 0, 1), good]
    assert list(gate.take_readings(sent)) == [
        Refusal.TRUNCATED,
        Refusal.TRUNCATED,
        Refusal.BAD_SIGNATURE,
        Refusal.UNKNOWN_DEVICE,
        TAKEN,
    ]
    assert reading_store(tmp_path / "g.db").refused_counts() == {2: 2, 20: 1, 30: 1}


def test_what_comes_too_fast_is_told_to_come_back(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [], RateRule(per_second=1, burst=3))
    assert list(gate.take_readings(slot_batch(SLOT, 1))) == [0, 0, 0, RATE_LIMITED, RATE_LIMITED]


def test_a_batch_is_rebuilt_to_the_same_bytes_after_a_restart(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [])
    gate.take_readings(slot_batch(SLOT, 1))
    gate.seal_waiting()
    before = gate.batch(0)
    again = gateway(tmp_path / "g.db", [])  # the first was never closed, as after a kill
    assert again.batch(0) == before
    again.take_readings(slot_batch(SLOT + 1, 2))
    assert again.seal_waiting() == 1


def test_an_oracle_counts_a_repeated_batch_once_and_refuses_another_under_its_number(tmp_path: Path) -> None:
    clock = clock_at(tmp_path, SLOT)
    node = oracle(tmp_path / "o.db", clock)
    batch, other = seal_batch(GATEWAY_KEY, 7, slot_batch(SLOT, 1)[:4]), seal_batch(GATEWAY_KEY, 7, slot_batch(SLOT, 1))
    assert node.receive(batch) == node.receive(batch) == 7
    node = oracle(tmp_path / "o.db", clock)
    assert node.receive(batch) == 7
    assert reading_store(tmp_path / "o.db").refused_counts() == {}
    with pytest.raises(MeteringError, match="another content"):
        node.receive(other)
    assert proves_two_contents(batch, other, PUBLIC)
    assert not proves_two_contents(batch, batch, PUBLIC)
    assert not proves_two_contents(batch, seal_batch(STRANGER, 7, slot_batch(SLOT, 1)), PUBLIC)


def test_an_oracle_after_a_restart_still_knows_counters_and_slots(tmp_path: Path) -> None:
    clock = clock_at(tmp_path, SLOT)
    oracle(tmp_path / "o.db", clock).receive(seal_batch(GATEWAY_KEY, 0, slot_batch(SLOT, 5)))
    node = oracle(tmp_path / "o.db", clock)
    replayed = slot_batch(SLOT, 5)[:1] + slot_batch(SLOT, 6)[1:2] + slot_batch(SLOT - 1, 7)[2:3]
    node.receive(seal_batch(GATEWAY_KEY, 1, replayed))
    counts = {Refusal.REPLAYED: 1, Refusal.DUPLICATE: 1, Refusal.BACKDATED: 1}
    assert reading_store(tmp_path / "o.db").refused_counts() == counts


def test_a_vote_is_given_after_the_deadline_once_and_for_ever(tmp_path: Path) -> None:
    clock = clock_at(tmp_path, SLOT)
    node = oracle(tmp_path / "o.db", clock)
    node.receive(seal_batch(GATEWAY_KEY, 0, slot_batch(SLOT, 1)[:3]))
    clock.set(after(SLOT, RULES.deadline.total_seconds()))
    with pytest.raises(PhaseError, match="takes readings until"):
        node.vote(SLOT)
    past_deadline(clock)
    vote = node.vote(SLOT)
    clock.set(after(SLOT))
    again = oracle(tmp_path / "o.db", clock)
    again.receive(seal_batch(GATEWAY_KEY, 1, slot_batch(SLOT, 1)[3:]))  # a clock set back must not make it vote again
    past_deadline(clock)
    assert again.vote(SLOT) == vote
    with pytest.raises(sqlite3.IntegrityError):
        reading_store(tmp_path / "o.db").note_vote(SLOT, b"", b"")


def test_a_missing_reading_gets_the_like_days_value_in_the_oracles_vote(tmp_path: Path) -> None:
    day_later = SLOT + 96  # 2016-01-01 is a Friday and a working day here; the next one is a Saturday, so three days on
    monday = day_later + 2 * 96
    clock = clock_at(tmp_path, SLOT)
    node = oracle(tmp_path / "o.db", clock)
    node.receive(seal_batch(GATEWAY_KEY, 0, slot_batch(SLOT, 1, import_wh=321)))
    clock.set(after(monday))
    node.receive(seal_batch(GATEWAY_KEY, 1, slot_batch(monday, 2)[:4]))
    held = node.readings_of(monday)
    assert (held.import_wh.tolist(), held.quality.tolist()) == ([300, 300, 300, 300, 321], [0, 0, 0, 0, 16])


def test_a_gateway_that_drops_changes_or_invents_readings(tmp_path: Path) -> None:
    honest = slot_batch(SLOT, 1)
    changed = honest[0][:-1] + bytes([honest[0][-1] ^ 1])
    invented = sign_reading(GATEWAY_KEY, SLOT, 9, 0, 1)
    node = oracle(tmp_path / "o.db", clock_at(tmp_path, SLOT))
    node.receive(seal_batch(GATEWAY_KEY, 0, [changed, invented, *honest[2:]]))
    assert reading_store(tmp_path / "o.db").refused_counts() == {Refusal.UNKNOWN_DEVICE: 1, Refusal.BAD_SIGNATURE: 1}
    assert node.readings_of(SLOT).quality.tolist() == [18, 18, 0, 0, 0]  # what was dropped is marked, not hidden
    with pytest.raises(MeteringError, match="not signed by this gateway"):
        node.receive(seal_batch(STRANGER, 1, honest))


def test_a_revoked_device_is_refused_by_the_oracle(tmp_path: Path) -> None:
    node = oracle(tmp_path / "o.db", clock_at(tmp_path, SLOT), revoked=lambda _: [KIDS[2]])
    node.receive(seal_batch(GATEWAY_KEY, 0, slot_batch(SLOT, 1)))
    assert reading_store(tmp_path / "o.db").refused_counts() == {Refusal.REVOKED: 1}


def test_every_bit_of_a_batch_counts() -> None:
    batch = seal_batch(GATEWAY_KEY, 3, slot_batch(SLOT, 1)[:2])
    assert not isinstance(open_batch(batch, PUBLIC), BatchRefusal)
    for at in range(len(batch)):
        changed = bytearray(batch)
        changed[at] ^= 1
        assert isinstance(open_batch(bytes(changed), PUBLIC), BatchRefusal), at
        assert open_batch(batch[:at], PUBLIC) is BatchRefusal.MALFORMED
    for odd in (cbor2.dumps([1, 2, 3]), cbor2.dumps([cbor2.CBORTag(18, [b"", {}, None, b""]), 1, [b"x"]]), b""):
        assert open_batch(odd, PUBLIC) is BatchRefusal.MALFORMED
    with pytest.raises(InputError, match="1 to 10000"):
        seal_batch(GATEWAY_KEY, 0, [])


def test_nothing_on_disk_can_be_read_without_the_key_and_nothing_is_left_after_forgetting(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [])
    gate.take_readings(slot_batch(SLOT, 1))
    store = reading_store(tmp_path / "g.db")
    files = sorted(tmp_path.glob("g.db*"))
    on_disk = b"".join(path.read_bytes() for path in files)
    for reading in slot_batch(SLOT, 1):
        assert reading[-64:] not in on_disk
        assert reading[26:39] not in on_disk
    assert KIDS[2] in on_disk
    assert store.forget_member(2) == 1
    store.close()
    assert KIDS[2] not in (tmp_path / "g.db").read_bytes()
    assert len(reading_store(tmp_path / "g.db").readings("slot = ?", (SLOT,))) == 4


def test_a_member_is_not_forgotten_while_their_readings_are_on_their_way(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [])
    gate.take_readings(slot_batch(SLOT, 1))
    gate.seal_waiting()
    store = reading_store(tmp_path / "g.db")
    with pytest.raises(MeteringError, match="on their way"):
        store.forget_member(2, ["oracle"])
    with store.transaction():
        store.acknowledge(0, "oracle")
    assert store.forget_member(2, ["oracle"]) == 1


def test_a_file_that_is_no_store_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, but long enough to be taken for one" * 9)
    with pytest.raises(MeteringError, match=r"x\.db is no store"):
        reading_store(tmp_path / "x.db")


def test_a_peer_that_is_down_is_left_alone_and_served_when_it_is_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        closed = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = closed.sockets[0].getsockname()[1]
        closed.close()
        await closed.wait_closed()
        gate = gateway(tmp_path / "g.db", [Peer("oracle", "127.0.0.1", port)])
        gate.take_readings(slot_batch(SLOT, 1))
        for _ in range(5):
            await gate.hand_on()
        assert gate._breakers["oracle"].failed == 3  # the clock stands still: tried no more
        node = oracle(tmp_path / "o.db", clock_at(tmp_path, SLOT))
        server = await asyncio.start_server(node.answer, "127.0.0.1", port)
        revived = gateway(tmp_path / "g.db", [Peer("oracle", "127.0.0.1", port)], PLENTY, clock_ms=10**6)
        await revived.hand_on()
        assert reading_store(tmp_path / "g.db").unacknowledged("oracle") == []
        assert node.readings_of(SLOT).quality.tolist() == [0] * 5
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


async def bad_stream(node_answer: object, sent: bytes) -> bytes:
    server = await asyncio.start_server(node_answer, "127.0.0.1", 0)  # type: ignore[arg-type]
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(sent)
    writer.write_eof()
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    writer.close()
    server.close()
    await server.wait_closed()
    return answer


@pytest.mark.parametrize("sent", [b"", b"\x00\x00", b"\x7f\xff\xff\xffB", b"\x00\x00\x00\x05Bhel"])
def test_streams_that_are_cut_or_too_long_end_and_the_node_lives(sent: bytes, tmp_path: Path) -> None:
    node: OracleNode = oracle(tmp_path / "o.db", clock_at(tmp_path, SLOT))
    gate = gateway(tmp_path / "g.db", [])
    assert asyncio.run(bad_stream(node.answer, sent)) == b""
    assert asyncio.run(bad_stream(gate.answer, sent)) == b""
    assert gate.take_readings(slot_batch(SLOT, 1)) == bytes(5)


@pytest.mark.parametrize(("kind", "body"), [(b"?", b""), (VOTE, b"1"), (BATCH, b"junk"), (BATCH, b"")])
def test_frames_that_make_no_sense_get_an_answer_in_words(kind: bytes, body: bytes, tmp_path: Path) -> None:
    node = oracle(tmp_path / "o.db", clock_at(tmp_path, SLOT))
    gate = gateway(tmp_path / "g.db", [])
    frame = len(body).to_bytes(4, "big") + kind + body
    for server, final in ((node.answer, kind == BATCH), (gate.answer, False)):
        assert asyncio.run(bad_stream(server, frame))[4:5] == (NEVER if final else SORRY)


def test_ask_says_when_nobody_answers() -> None:
    async def scenario() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_frame(reader, 100)
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        with pytest.raises(ConnectionResetError):
            await ask(host, port, ANSWER, b"", 10, 5)
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


def test_the_breaker_waits_twice_as_long_each_time_up_to_a_limit() -> None:
    rule = BreakerRule(failures=2, first_ms=100, longest_ms=300)
    breaker, waits = Breaker(), []
    for _ in range(5):
        breaker = failed(breaker, rule, 1_000)
        waits.append(breaker.closed_until_ms)
    assert waits == [0, 1_100, 1_200, 1_300, 1_300]
    assert not may_try(breaker, 1_299)
    assert may_try(breaker, 1_300)
    assert may_try(succeeded(), 0)


def test_the_bucket_gives_its_burst_then_its_rate_and_ignores_a_clock_that_goes_back() -> None:
    rule = RateRule(per_second=10, burst=2)
    bucket, given = full_bucket(rule, 1_000), []
    for now in (1_000, 1_000, 1_000, 1_099, 500, 1_100, 1_100, 60_000, 60_000, 60_000):
        bucket, got = take(bucket, rule, now)
        given.append(got)
    assert given == [True, True, False, False, False, True, False, True, True, False]
    with pytest.raises(InputError) as caught:
        RateRule(0, 0)
    assert len(caught.value.faults) == 2
    assert registry().member.size == 5


def test_a_host_that_floods_an_oracle_is_told_to_come_back_and_others_are_answered(tmp_path: Path) -> None:
    clock = [0]
    limits = HostLimits(RateRule(per_second=1, burst=3), lambda: clock[0])
    assert [limits.admits("flood") for _ in range(5)] == [True, True, True, False, False]
    assert limits.admits("honest")
    clock[0] = 1_000
    assert [limits.admits("flood") for _ in range(2)] == [True, False]

    async def flooded() -> list[str]:
        node = oracle(tmp_path / "oracle.sqlite", clock_at(tmp_path, SLOT))
        node._limits = HostLimits(RateRule(per_second=1, burst=2), lambda: 0)
        server = await asyncio.start_server(node.answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        said = []
        async with server:
            for _ in range(3):
                with pytest.raises(MeteringError) as refused:
                    await ask("127.0.0.1", port, b"?", b"", 1_000, 5)
                said.append(refused.value.message)
        return said

    said = asyncio.run(flooded())
    assert ["come back later" in words for words in said] == [False, False, True]
