"""Gateway and oracles on loopback ports in one event loop of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from walras.metering.flow_control import RateRule
from walras.service.appointment import Appointment, make_balance, make_gateway, make_oracle
from walras.service.clocks import FileClock
from walras.service.gateway_node import Peer
from walras.service.oracle_node import OracleNode

MASTER = bytes(32)
PLENTY = RateRule(per_second=100_000, burst=100_000)


class Loop:
    """An event loop in a thread that nodes live in."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.tasks: list[asyncio.Task[None]] = []

    def serve(self, run: Callable[[Callable[[int], None]], Coroutine[None, None, None]]) -> int:
        bound = threading.Event()
        ports: list[int] = []

        def ready(port: int) -> None:
            ports.append(port)
            bound.set()

        async def start() -> None:
            self.tasks.append(asyncio.ensure_future(run(ready)))

        asyncio.run_coroutine_threadsafe(start(), self.loop).result(10)
        assert bound.wait(10)
        return ports[0]

    def do(self, what: Callable[[], object]) -> object:
        async def call() -> object:
            return what()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(60)

    def stop(self) -> None:
        async def cancel() -> None:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def _milliseconds() -> int:
    """A clock that goes: under one that stands still a gateway never tries an oracle again that failed three times."""
    return time.monotonic_ns() // 1_000_000


def oracle_in(loop: Loop, a: Appointment, number: int, folder: Path, made: list[OracleNode] | None = None) -> Peer:
    def run(ready: Callable[[int], None]) -> Coroutine[None, None, None]:
        clock = FileClock(folder / "clock")
        node = make_oracle(a, number, a.keys.oracle(number), None, folder / f"oracle-{number}.sqlite", MASTER, clock)
        if made is not None:
            made.append(node)
        return node.run("127.0.0.1", 0, ready)

    return Peer(f"oracle-{number}", "127.0.0.1", loop.serve(lambda ready: _within(run, ready)))


async def _within(run: Callable[[Callable[[int], None]], Coroutine[None, None, None]], ready: Callable[[int], None]) -> None:
    await run(ready)


def gateway_in(loop: Loop, a: Appointment, peers: list[Peer], folder: Path) -> Peer:
    def run(ready: Callable[[int], None]) -> Coroutine[None, None, None]:
        clock = FileClock(folder / "clock")
        node = make_gateway(a, a.gateway_key, folder / "gateway.sqlite", MASTER, peers, PLENTY, _milliseconds, clock)
        return node.run("127.0.0.1", 0, 0.01, ready)

    return Peer("gateway", "127.0.0.1", loop.serve(lambda ready: _within(run, ready)))


def balance_in(loop: Loop, a: Appointment, folder: Path) -> Peer:
    def run(ready: Callable[[int], None]) -> Coroutine[None, None, None]:
        clock = FileClock(folder / "clock.balance")
        return make_balance(a, a.keys.balance_oracle(), folder / "balance.sqlite", clock).run("127.0.0.1", 0, ready)

    return Peer("balance", "127.0.0.1", loop.serve(lambda ready: _within(run, ready)))
