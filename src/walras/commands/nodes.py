"""`walras gateway` and `walras oracle`: the nodes of the metering path as processes of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from walras.commands.secrets import read_secret
from walras.community import load_community
from walras.errors import Fault, InputError
from walras.ledger.keys import key_of
from walras.metering import did_of
from walras.metering.flow_control import RateRule
from walras.metering.identity import PrivateKey
from walras.service.appointment import appointment, make_gateway, make_oracle
from walras.service.clocks import FileClock, wall_clock
from walras.service.gateway_node import Peer
from walras.study.runner import store_master

HAND_ON_EVERY_S = 0.05


def gateway_command(
    community: Path,
    store: Path,
    listen: str,
    oracles: str,
    key: Path | None,
    secret: Path | None,
    per_second: int,
    clock: Path | None = None,
) -> None:
    """Serve meters and hand their readings to the oracles until stopped. Prints the address and the gateway's DID."""
    held = None if secret is None else read_secret(secret, "walras gateway")
    a = appointment(load_community(community))
    own = a.gateway_key if key is None else _read_pem(key)
    rate = RateRule(per_second, burst=10 * per_second)
    node = make_gateway(a, own, store, store_master(community, held), parse_peers(oracles), rate, _milliseconds, _clock(clock))
    host, port = parse_address(listen)
    _serve(lambda ready: node.run(host, port, HAND_ON_EVERY_S, ready), f"gateway {did_of(own.public_key())}", host)


def oracle_command(
    community: Path,
    number: int,
    store: Path,
    listen: str,
    gateway: str | None,
    clock: Path | None,
    key: Path | None,
    secret: Path | None,
) -> None:
    """Receive batches, and answer the exchange's signed requests, until stopped. Prints the address and the oracle's account."""
    held = None if secret is None else read_secret(secret, "walras oracle")
    a = appointment(load_community(community))
    own = a.keys.oracle(number) if key is None else key_of(read_secret(key, "walras oracle"))
    now = _clock(clock)
    host, port = parse_address(listen)
    with ThreadPoolExecutor(2) as pool:
        node = make_oracle(a, number, own, gateway, store, store_master(community, held), now, pool)
        _serve(lambda ready: node.run(host, port, ready), f"oracle {number} {own.address}", host)


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT; InputError for anything else."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise InputError("address", [Fault("command line", "address", text, "HOST:PORT, such as 127.0.0.1:7401")])
    return host, int(port)


def parse_peers(text: str) -> list[Peer]:
    """Oracles in the order of their numbers: HOST:PORT,HOST:PORT,..."""
    return [Peer(f"oracle-{n}", *parse_address(part)) for n, part in enumerate(text.split(","))]


def _serve(run: Callable[[Callable[[int], None]], Coroutine[None, None, None]], name: str, host: str) -> None:
    def ready(port: int) -> None:
        print(f"{name} listens on {host}:{port}", flush=True)

    try:
        asyncio.run(run(ready))
    except KeyboardInterrupt:
        return


def _clock(path: Path | None) -> Callable[[], datetime]:
    return wall_clock if path is None else FileClock(path)


def _milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000


def _read_pem(path: Path) -> PrivateKey:
    expected = "a P-256 private key in PEM"
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as cause:
        raise InputError("walras gateway", [Fault(str(path), "--key", type(cause).__name__, expected)]) from cause
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise InputError("walras gateway", [Fault(str(path), "--key", type(key).__name__, expected)])
    return key
