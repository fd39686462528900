"""`walras gateway`, `walras oracle` and `walras balance`: the nodes of the metering path as processes of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from walras.commands.options import check_days
from walras.commands.secrets import read_passphrase, read_secret
from walras.community import load_community
from walras.errors import Fault, InputError, MeteringError
from walras.ledger import JsonRpcChain
from walras.ledger.keys import key_of
from walras.metering import did_of, public_key_of
from walras.metering.flow_control import RateRule
from walras.service.appointment import Appointment, appointment, make_balance, make_gateway, make_oracle
from walras.service.clocks import FileClock, wall_clock
from walras.service.gateway_node import Peer
from walras.service.keys import open_key
from walras.service.rate_limits import HostLimits
from walras.service.reading_store import ReadingStore
from walras.service.retention import KEEP_DAYS, LEAST_DAYS, Perishable, Retention, keep_erasing
from walras.study.runner import store_master

HAND_ON_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class GatewayKeys:
    """Place of the gateway's key, passphrase file, secret file, roll: what does not follow from the seed."""

    key: str | None
    passphrase: Path | None
    secret: Path | None
    roll: Path | None


@dataclass(frozen=True, slots=True)
class OracleKeys:
    """The oracle's key file, secret file, roll: what does not follow from the seed; `manifest` of contracts that
    stand; `chain`, a node that is asked whose key still speaks;
    `per_second` requests of a host are answered; readings are kept for `keep_days`."""

    key: Path | None
    secret: Path | None
    roll: Path | None
    manifest: Path | None = None
    chain: str | None = None
    per_second: int = 1_000
    keep_days: int = KEEP_DAYS


def _check_own_keys(where: str, roll: Path | None, key: object, secret: Path | None) -> None:
    """InputError with each that is missing: under a roll nothing of a node follows from the community's seed."""
    given = {"--key": key, "--secret": secret}
    faults = [Fault("command line", name, None, "one of the node's own, with --roll") for name in given if given[name] is None]
    if roll is not None and faults:
        raise InputError(where, faults, way_out="`walras key PLACE --new` makes a key, `walras key secret:FILE --new` a secret")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is done with the gateway's store instead of serving, or before: say its state; offer again what was set aside."""

    status: bool = False
    offer_again: bool = False


def gateway_command(
    community: Path,
    store: Path,
    listen: str,
    oracles: str,
    keys: GatewayKeys,
    per_second: int,
    clock: Path | None = None,
    waiting: Waiting = Waiting(),
    keep_days: int = KEEP_DAYS,
) -> None:
    """Serve meters and hand their readings to the oracles until stopped. Prints the address and the gateway's DID.

    What an oracle refused for good is said at every start, and when it happens.
    """
    check_days("walras gateway", "--keep-days", keep_days, LEAST_DAYS)
    if waiting.status:
        _print_status(store, parse_peers(oracles))
        return
    _check_own_keys("walras gateway", keys.roll, keys.key, keys.secret)
    held = None if keys.secret is None else read_secret(keys.secret, "walras gateway")
    a = appointment(load_community(community), keys.roll)
    own = a.gateway_key if keys.key is None else open_key(keys.key, read_passphrase(keys.passphrase, "walras gateway"))
    rate = RateRule(per_second, burst=10 * per_second)
    now = _clock(clock)
    peers, master = parse_peers(oracles), store_master(community, held)
    node = make_gateway(a, own, store, master, peers, rate, _milliseconds, now, _say)
    _say_aside(store, waiting.offer_again)
    host, port = parse_address(listen, "--listen")
    keep = _keeping(node, Retention(a.community.grid, keep_days, now))
    _serve(lambda ready: node.run(host, port, HAND_ON_EVERY_S, ready), f"gateway {did_of(own.public_key())}", host, keep)


def _say(line: str) -> None:
    print(line, flush=True)


def _aside_lines(store: ReadingStore) -> list[str]:
    return [
        f"{peer} refused batch {number} for good: {reason}; {count} readings kept" for peer, number, count, reason in store.aside()
    ]


def _say_aside(path: Path, offer_again: bool) -> None:
    """What is set aside in the gateway's store, once those that are to be offered again are."""
    store = ReadingStore(path, b"", {})
    try:
        if offer_again:
            with store.transaction():
                _say(f"{store.offer_again()} batches are offered again")
        for line in _aside_lines(store):
            _say(line)
    finally:
        store.close()


def _print_status(path: Path, peers: list[Peer]) -> None:
    """Of each oracle how many batches wait for it, and what it refused for good; InputError where there is no such store."""
    if not path.is_file():
        raise InputError("walras gateway", [Fault("command line", "--store", str(path), "the store of a gateway")])
    store = ReadingStore(path, b"", {})
    try:
        for peer in peers:
            waiting = store.unacknowledged(peer.name)
            which = f": {waiting[0]} to {waiting[-1]}" if waiting else ""
            _say(f"{peer.name} at {peer.host}:{peer.port}: {len(waiting)} batches wait{which}")
        for line in _aside_lines(store):
            _say(line)
    finally:
        store.close()


def oracle_command(
    community: Path, number: int, store: Path, listen: str, gateway: str | None, clock: Path | None, keys: OracleKeys
) -> None:
    """Receive batches, and answer the exchange's signed requests, until stopped. Prints the address and the oracle's account."""
    _check_own_keys("walras oracle", keys.roll, keys.key, keys.secret)
    check_days("walras oracle", "--keep-days", keys.keep_days, LEAST_DAYS)
    held = None if keys.secret is None else read_secret(keys.secret, "walras oracle")
    a = _appointed(community, keys)
    if gateway is not None:
        _check_did(gateway)
    own = a.keys.oracle(number) if keys.key is None else key_of(read_secret(keys.key, "walras oracle", "--key"))
    now = _clock(clock)
    chain = None if keys.chain is None else JsonRpcChain(keys.chain)
    limits = HostLimits(RateRule(keys.per_second, burst=10 * keys.per_second), _milliseconds)
    host, port = parse_address(listen, "--listen")
    with ThreadPoolExecutor(2) as pool:
        node = make_oracle(a, number, own, gateway, store, store_master(community, held), now, pool, chain, limits)
        keep = _keeping(node, Retention(a.community.grid, keys.keep_days, now))
        _serve(lambda ready: node.run(host, port, ready), f"oracle {number} {own.address}", host, keep)


def _check_did(gateway: str) -> None:
    try:
        public_key_of(gateway)
    except MeteringError as cause:
        fault = Fault("command line", "--gateway", gateway, "the did:key that `walras gateway` prints when it starts")
        raise InputError("walras oracle", [fault]) from cause


def balance_command(community: Path, store: Path, listen: str, clock: Path | None, keys: OracleKeys) -> None:
    """Sum the meters' masked readings, and answer the exchange's signed requests, until stopped. Prints address and account."""
    check_days("walras balance", "--keep-days", keys.keep_days, LEAST_DAYS)
    if keys.roll is not None and keys.key is None:
        faults = [Fault("command line", "--key", None, "the node's own, with --roll")]
        raise InputError("walras balance", faults, way_out="`walras key secret:FILE --new` makes a secret")
    a = _appointed(community, keys)
    own = a.keys.balance_oracle() if keys.key is None else key_of(read_secret(keys.key, "walras balance", "--key"))
    host, port = parse_address(listen, "--listen")
    limits = HostLimits(RateRule(keys.per_second, burst=10 * keys.per_second), _milliseconds)
    now = _clock(clock)
    chain = None if keys.chain is None else JsonRpcChain(keys.chain)
    node = make_balance(a, own, store, now, limits, chain)
    keep = _keeping(node, Retention(a.community.grid, keys.keep_days, now))
    _serve(lambda ready: node.run(host, port, ready), f"balance oracle {own.address}", host, keep)


def _appointed(community: Path, keys: OracleKeys) -> Appointment:
    """The community as the oracle sees it, with the contracts that it signs for: of the manifest, if it or the file names one."""
    given = load_community(community)
    named = given.ledger.manifest
    return appointment(given, keys.roll, keys.manifest or (None if named is None else community.parent / named))


def parse_address(text: str, option: str) -> tuple[str, int]:
    """HOST:PORT; InputError, naming `option`, for anything else."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise InputError("address", [Fault("command line", option, text, "HOST:PORT, such as 127.0.0.1:7401")])
    return host, int(port)


def parse_peers(text: str) -> list[Peer]:
    """Oracles in the order of their numbers: HOST:PORT,HOST:PORT,..."""
    return [Peer(f"oracle-{n}", *parse_address(part, "--oracles")) for n, part in enumerate(text.split(","))]


Running = Coroutine[None, None, None]


def _keeping(node: Perishable, rule: Retention) -> Callable[[], Running]:
    return lambda: keep_erasing(node, rule, lambda said: _say(said))


def _serve(run: Callable[[Callable[[int], None]], Running], name: str, host: str, keep: Callable[[], Running]) -> None:
    """Run the node and, once it listens, what erases beside it, until one of them ends."""

    async def both() -> None:
        listening = asyncio.Event()

        def ready(port: int) -> None:
            print(f"{name} listens on {host}:{port}", flush=True)
            listening.set()

        async def keeping() -> None:
            await listening.wait()
            await keep()

        tasks = {asyncio.create_task(run(ready)), asyncio.create_task(keeping())}
        ended, going = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in going:
            task.cancel()
        for task in ended:
            task.result()

    try:
        asyncio.run(both())
    except KeyboardInterrupt:
        return


def _clock(path: Path | None) -> Callable[[], datetime]:
    return wall_clock if path is None else FileClock(path)


def _milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000
