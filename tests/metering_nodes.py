"""Gateway and oracle nodes on the small metering world, for tests in one process and as children that can be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path

from metering_world import KEYS, RULES, SEED, registry
from walras.metering.flow_control import RateRule
from walras.metering.identity import derive_key, key_id, sign
from walras.metering.substitute import SubstituteRule
from walras.service.gateway_node import GatewayNode, Peer
from walras.service.oracle_node import Duty, OracleNode
from walras.service.reading_store import ReadingStore

GATEWAY_KEY = derive_key(SEED, "gateway")
ORACLE_KEY = derive_key(SEED, "oracle")
MASTER = bytes(range(32))
KIDS = [key_id(key.public_key()) for key in KEYS]
MEMBERS = {kid: member for member, kid in enumerate(KIDS)}
PLENTY = RateRule(per_second=1_000_000, burst=1_000_000)


def vote_message(slot: int, root: bytes) -> bytes:
    return b"vote" + slot.to_bytes(8, "big") + root


OPEN: list[ReadingStore] = []
"""Stores that a test has opened; a fixture closes them, also those that a test abandons as a kill would."""


def reading_store(path: Path) -> ReadingStore:
    OPEN.append(ReadingStore(path, MASTER, MEMBERS))
    return OPEN[-1]


def gateway(path: Path, peers: list[Peer], rate: RateRule = PLENTY, clock_ms: int = 0) -> GatewayNode:
    devices = {kid: key.public_key() for kid, key in zip(KIDS, KEYS, strict=True)}
    return GatewayNode(GATEWAY_KEY, devices, reading_store(path), peers, rate, lambda: clock_ms)


class ClockFile:
    """A virtual clock that another process sets."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> datetime:
        return datetime.fromisoformat(self.path.read_text())

    def set(self, moment: datetime) -> None:
        self.path.write_text(moment.isoformat())


def oracle(path: Path, clock: ClockFile, revoked: Callable[[datetime], Collection[bytes]] | None = None) -> OracleNode:
    """An oracle's node; `revoked` gives the ids of keys that do not count."""
    gateways = {key_id(GATEWAY_KEY.public_key()): GATEWAY_KEY.public_key()}
    duty = Duty(0, registry(), RULES, SubstituteRule(), gateways, revoked=revoked)
    return OracleNode(duty, reading_store(path), lambda slot, root: sign(ORACLE_KEY, vote_message(slot, root)), clock)


def main(kind: str, store: str, clock: str, port: str) -> None:
    """Child process: serve until killed; the port goes to standard output."""

    def ready(bound: int) -> None:
        print(bound, flush=True)

    if kind == "gateway":
        asyncio.run(gateway(Path(store), []).run("127.0.0.1", int(port), 3600, ready))
    else:
        asyncio.run(oracle(Path(store), ClockFile(Path(clock))).run("127.0.0.1", int(port), ready))


if __name__ == "__main__":
    main(*sys.argv[1:])
