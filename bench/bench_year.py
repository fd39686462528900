"""Readings of rural3 admitted end to end: a month of the year, or all 35,136 slots of it (`python -m bench --only year --full`).

`walras gateway` and `walras oracle` run as they are, processes of their own on loopback ports, stores and all. Every meter's
reading of every slot, with its own signature, goes to the gateway; it verifies, stores encrypted, acknowledges, and hands
signed batches to the oracle, which verifies for itself and stores again. The exchange asks for the report and the vote on every
slot once its metering deadline has passed. Root and leaves of each are held against what was sent, so a reading lost, changed or
counted twice ends the benchmark.

Not as in a live run: one of the community's four oracles is there, the metering deadline is a day (so that hours of slots may be on
their way at once), and the clock runs as fast as the nodes do. Signing is done before, by `year_meters`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import cbor2

from bench.bench_metering import bare_seconds
from bench.harness import Result, at_least, at_most
from bench.year_meters import frames_of
from walras.community import load_community
from walras.metering.access import Right, sign_request
from walras.metering.merkle import root_of
from walras.metering.oracle import own_digest
from walras.metering.vault import leaf_salt
from walras.service.appointment import Appointment, appointment
from walras.service.clocks import FileClock
from walras.service.frames import READINGS, REQUEST, WAITING, ask
from walras.service.gateway_node import TAKEN
from walras.service.remote_metering import MAX_REPORT, PAST

EXAMPLE = Path(__file__).parent.parent / "examples" / "rural3.toml"
MONTH, YEAR = 31, 366
BLOCK = 16
"""Slots that are sent before the next look at what waits; far fewer than the deadline allows."""

WARM_BLOCKS = 42
"""A week: what a process holds by then it may hold at the end."""

GOAL = 0.3
"""Of the slower node's time: what verifying its readings' signatures alone takes. The rest is disk, encryption, roots, requests."""

PATIENCE_S = 60.0
PLENTY = "10000000"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Node:
    """A child process that listens, and what it used."""

    process: subprocess.Popen[str]
    port: int

    def cpu_s(self) -> float:
        """User and system seconds, all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_mb(self) -> float:
        """The most memory that it ever held (VmHWM)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@dataclass(frozen=True)
class Used:
    """Of one node: CPU seconds while readings came, peak memory after a week and at the end (MB), its store (MB)."""

    cpu_s: float
    week_mb: float
    peak_mb: float
    store_mb: float


@contextmanager
def node(*command: str) -> Iterator[Node]:
    """`walras COMMAND`, once it listens; stopped at the end."""
    line = [sys.executable, "-c", "from walras.cli import main; main()", *command]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if " listens on " not in said:
            raise AssertionError(f"walras {command[0]} did not start: {said!r}")
        yield Node(process, int(said.rpartition(":")[2]))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def community_file(folder: Path, days: int) -> Path:
    """rural3 from New Year on, its readings awaited for a day."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in (
        ("start = 2016-06-10", "start = 2016-01-01"),
        ("days = 1\n", f"days = {days}\n"),
        ("metering_deadline_minutes = 15", "metering_deadline_minutes = 1440"),
    ):
        if text.count(old) != 1:
            raise AssertionError(f"{EXAMPLE}: {old!r} stands there once no more")
        text = text.replace(old, new)
    path = folder / "rural3.toml"
    path.write_text(text, encoding="utf-8")
    return path


class Feeder:
    """The meters and the exchange: sends frames, and asks for every slot whose deadline is over."""

    def __init__(self, a: Appointment, clock: FileClock, gateway: int, oracle: int) -> None:
        self._a, self._clock, self._gateway, self._oracle = a, clock, gateway, oracle
        self._credential = a.exchange_credential
        devices = len(a.meters.registry.keys)
        self._secrets = [sha256(b"benchmark salts" + device.to_bytes(4, "big")).digest() for device in range(devices)]
        self._sent: dict[int, list[bytes]] = {}

    async def send(self, slots: list[int], frames: list[bytes]) -> None:
        """Frames to the gateway, one after the other; every reading must be on its disk."""
        for slot, frame in zip(slots, frames, strict=True):
            codes = await ask("127.0.0.1", self._gateway, READINGS, frame, 10_000, PATIENCE_S)
            self._sent[slot] = cbor2.loads(frame)
            if any(code != TAKEN for code in codes) or len(codes) != len(self._sent[slot]):
                raise AssertionError(f"slot {slot}: the gateway refused readings: {codes!r}")

    async def settle(self) -> None:
        """Report and vote of every sent slot whose deadline is over, against what was sent."""
        now, terms, grid = self._clock(), self._a.terms, self._a.community.grid
        for slot in sorted(self._sent):
            if grid.end(slot) + timedelta(seconds=terms.metering_deadline_s) >= now:
                return
            leaves = self._sent.pop(slot)[:-1]
            salts = [leaf_salt(secret, device, slot) for device, secret in enumerate(self._secrets)]
            report = cbor2.loads(await self._request(Right.READ, slot.to_bytes(8, "big")))
            answer = await self._request(Right.VOTE, slot.to_bytes(8, "big") + b"".join(salts))
            root = root_of([salt + leaf for salt, leaf in zip(salts, leaves, strict=True)])
            whole = report[0] == leaves and not report[1] and answer[:32] == root and answer[-32:] == own_digest(0, slot, leaves)
            residual, tolerance = report[2]
            if not whole or abs(residual) > tolerance:
                raise AssertionError(f"slot {slot}: the oracle holds other readings than were sent")

    async def _request(self, right: Right, body: bytes) -> bytes:
        a = self._a
        request = sign_request(a.exchange_key, self._credential, right, a.terms.oracles[0], body, self._clock())
        return await ask("127.0.0.1", self._oracle, REQUEST, request, MAX_REPORT, PATIENCE_S)

    async def drained(self, most: int) -> None:
        """Until at most so many batches wait at the gateway."""
        while int.from_bytes(await ask("127.0.0.1", self._gateway, WAITING, b"", 100, PATIENCE_S), "big") > most:
            await asyncio.sleep(0.01)

    async def run(self, frames: Iterator[bytes], after_a_week: Callable[[], None]) -> None:
        """All frames, block by block: the clock stands at the end of the block that is sent."""
        slots = iter(self._a.community.slots)
        block, grid = 0, self._a.community.grid
        while taken := list(zip(range(BLOCK), slots, frames, strict=False)):
            numbers = [slot for _, slot, _ in taken]
            self._clock.move(grid.end(numbers[-1]))
            await asyncio.gather(self.send(numbers, [frame for _, _, frame in taken]), self.settle())
            await self.drained(1)
            block += 1
            if block == WARM_BLOCKS:
                after_a_week()
        await self.drained(0)
        self._clock.move(grid.end(max(self._sent)) + timedelta(seconds=self._a.terms.metering_deadline_s) + PAST)
        await self.settle()


@dataclass(frozen=True)
class Admitted:
    """What an admission of so many days came to."""

    readings: int
    signing_s: float
    wall_s: float
    gateway: Used
    oracle: Used


def admitted(days: int, folder: Path) -> Admitted:
    """Sign `days` of readings, then admit them by a gateway and an oracle; all they hold is in `folder`."""
    path, frames = community_file(folder, days), folder / "frames"
    signing = subprocess.run([sys.executable, "-m", "bench.year_meters", str(path), str(frames)], check=True, capture_output=True)
    signed = json.loads(signing.stdout)
    a = appointment(load_community(path))
    clock = FileClock(folder / "clock")
    clock.move(a.community.grid.start(0))
    stores = [folder / "gateway.sqlite", folder / "oracle.sqlite"]
    here = ["--listen", "127.0.0.1:0", "--clock", str(folder / "clock"), "--per-second", PLENTY, "--store"]
    with (
        node("oracle", str(path), "0", *here, str(stores[1])) as oracle,
        node("gateway", str(path), "--oracles", f"127.0.0.1:{oracle.port}", *here, str(stores[0])) as gateway,
    ):
        nodes = (gateway, oracle)
        before = [one.cpu_s() for one in nodes]
        week = [0.0, 0.0]

        def after_a_week() -> None:
            week[:] = [one.peak_mb() for one in nodes]

        started = time.perf_counter()
        asyncio.run(Feeder(a, clock, gateway.port, oracle.port).run(frames_of(frames), after_a_week))
        wall = time.perf_counter() - started
        spent = [one.cpu_s() - was for one, was in zip(nodes, before, strict=True)]
        peaks = [one.peak_mb() for one in nodes]
    sizes = [store.stat().st_size / 1e6 for store in stores]
    used = [Used(*row) for row in zip(spent, week, peaks, sizes, strict=True)]
    return Admitted(signed["readings"], signed["seconds"], wall, *used)


def rows(span: str, done: Admitted, bare_s: float, load: float) -> list[Result]:
    """The figures of an admission, against one bare verification of `bare_s` CPU seconds; `load` is the machine's meanwhile."""
    slower = max(done.gateway.cpu_s, done.oracle.cpu_s)
    grown = max(used.peak_mb / used.week_mb for used in (done.gateway, done.oracle))
    nodes = "; ".join(
        f"{name} {used.cpu_s:.0f} s CPU, peak {used.peak_mb:.0f} MB ({used.week_mb:.0f} in the first week), "
        f"store {used.store_mb:,.0f} MB"
        for name, used in (("gateway", done.gateway), ("oracle", done.oracle))
    )
    speed = (
        f"{done.readings:,} readings in {done.wall_s:.0f} s at load {load:.0f}: {done.readings / done.wall_s:,.0f}/s through both; "
        f"{done.readings / slower:,.0f} a CPU second of the slower, {1 / bare_s:,.0f} bare verifications; "
        f"signed before in {done.signing_s:.0f} s CPU"
    )
    name = f"metering: {span} of rural3 end to end"
    return [
        at_least(f"{name}, its slower node against bare verification", bare_s * done.readings / slower, GOAL, f"{speed}; {nodes}"),
        at_most(f"{name}, peak memory over that of the first week", grown, 1.25, nodes),
    ]


def _measured(days: int, span: str) -> list[Result]:
    bare_s, load = bare_seconds(), os.getloadavg()[1]
    with tempfile.TemporaryDirectory() as folder:
        done = admitted(days, Path(folder))
    return rows(span, done, (bare_s + bare_seconds()) / 2, (load + os.getloadavg()[1]) / 2)


def results() -> list[Result]:
    """A month."""
    return _measured(MONTH, "a month")


def full_results() -> list[Result]:
    """The whole year."""
    return _measured(YEAR, "a year")
