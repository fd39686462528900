"""Gateway and oracle as processes killed with SIGKILL in the middle of a slot: nothing lost, nothing counted twice, the
same vote."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest

from metering_nodes import GATEWAY_KEY, OPEN, ClockFile, gateway, oracle, reading_store
from metering_world import RULES, after, slot_batch
from walras.metering.gateway import seal_batch
from walras.service.frames import BATCH, READINGS, VOTE, ask
from walras.service.gateway_node import send_readings

SLOT = 40
SLOTS = range(SLOT, SLOT + 4)


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


class Child:
    """A node in a process of its own."""

    def __init__(self, kind: str, folder: Path) -> None:
        here = Path(__file__).resolve().parents[1]
        paths = [str(here), *(path for path in sys.path if path)]
        command = [sys.executable, str(here / "metering_nodes.py"), kind, str(folder / f"{kind}.db"), str(folder / "clock"), "0"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def send_and_kill(self, kind: bytes, body: bytes) -> None:
        """Send a frame and kill the process without waiting for the answer."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(len(body).to_bytes(4, "big") + kind + body)
            self.kill()


def all_readings() -> dict[int, list[bytes]]:
    return {slot: slot_batch(slot, slot - SLOT + 1, import_wh=100 + slot) for slot in SLOTS}


def test_a_gateway_killed_while_taking_readings_keeps_every_one_it_acknowledged(tmp_path: Path) -> None:
    readings = all_readings()
    acknowledged: list[bytes] = []
    for kill, slot in enumerate(SLOTS):
        if kill % 3 == 0:
            child = Child("gateway", tmp_path)
        assert asyncio.run(send_readings("127.0.0.1", child.port, readings[slot])) == bytes(5)
        acknowledged += readings[slot]
        if kill % 3 == 2:
            child.send_and_kill(READINGS, cbor2.dumps(readings[slot + 1]))
    child.kill()
    stored = [taken.encoded for taken in reading_store(tmp_path / "gateway.db").readings("true")]
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored)) == len(acknowledged)
    survivor = gateway(tmp_path / "gateway.db", [])
    for slot in SLOTS:
        assert survivor.take_readings(readings[slot]) == bytes(5)
    survivor.seal_waiting()
    sealed = reading_store(tmp_path / "gateway.db")
    in_batches = [encoded for number in range(sealed.next_batch_number()) for encoded in sealed.batch_readings(number)]
    assert sorted(in_batches) == sorted(encoded for batch in readings.values() for encoded in batch)


def test_an_oracle_killed_while_receiving_ends_with_the_vote_of_an_undisturbed_one(tmp_path: Path) -> None:
    readings = all_readings()
    batches = [seal_batch(GATEWAY_KEY, number, readings[slot]) for number, slot in enumerate(SLOTS)]
    clock = ClockFile(tmp_path / "clock")
    clock.set(after(SLOTS[-1], 1))  # within the deadline of all four slots
    undisturbed = oracle(tmp_path / "undisturbed.db", clock)
    child = Child("oracle", tmp_path)
    for number, batch in enumerate(batches):
        if number == 2:
            child.send_and_kill(BATCH, batch)
            child = Child("oracle", tmp_path)
        for _ in range(2):  # what was not acknowledged is sent again, and once more for good measure
            answer = asyncio.run(ask("127.0.0.1", child.port, BATCH, batch, 64, 30))
            assert answer == number.to_bytes(8, "big")
        assert undisturbed.receive(batch) == number
    clock.set(after(SLOTS[-1], RULES.deadline.total_seconds() + 1))
    child.send_and_kill(VOTE, SLOT.to_bytes(8, "big"))
    child = Child("oracle", tmp_path)
    for slot in SLOTS:
        answer = asyncio.run(ask("127.0.0.1", child.port, VOTE, slot.to_bytes(8, "big"), 200, 30))
        expected = undisturbed.vote(slot)
        assert answer == expected.root + expected.signature
        assert undisturbed.readings_of(slot).leaves == tuple(readings[slot])
    child.kill()
    assert reading_store(tmp_path / "oracle.db").refused_counts() == {}
