"""A run through a gateway and oracles on sockets: the record is that of a run without them; who may ask is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cbor2
import pytest

from e2e.node_loop import MASTER, Loop, gateway_in, oracle_in
from e2e.runs import EXAMPLES, rural1_day
from walras.community import load_community
from walras.errors import InputError, MeteringError
from walras.exchange.journal import Journal
from walras.metering import derive_key, did_of
from walras.metering.access import AccessRefusal, Allowed, Right, issue_access, open_request, sign_request
from walras.metering.vault import SALT_BYTES
from walras.service.appointment import Appointment, appointment, make_oracle
from walras.service.clocks import FileClock
from walras.service.frames import REQUEST, VOTE, ask
from walras.service.gateway_node import Peer
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.runner import PUBLIC, Options, Run

SLOTS = 3


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


@pytest.fixture(scope="module")
def appointed() -> Appointment:
    return appointment(load_community(EXAMPLES / "rural1.toml"))


def settled_lines(folder: Path, path: Callable[..., RemoteMetering]) -> list[bytes]:
    run = Run(EXAMPLES / "rural1.toml", folder / "run", Options(), path)
    going = iter(run)
    for _ in range(SLOTS):
        next(going)
    going.close()  # type: ignore[attr-defined]
    journal: Journal = run._journal
    lines = [entry.line for entry in journal.entries()]
    journal.close()
    return lines


def test_a_run_over_the_network_leaves_the_record_of_one_in_a_single_process(loop: Loop, tmp_path: Path) -> None:
    a = appointment(load_community(EXAMPLES / "rural1.toml"))
    oracles = [oracle_in(loop, a, number, tmp_path) for number in range(4)]
    nodes = Nodes(gateway_in(loop, a, oracles, tmp_path), tuple(oracles))
    lines = settled_lines(tmp_path, lambda c, secrets: RemoteMetering(a, nodes, secrets, FileClock(tmp_path / "clock")))
    assert lines == (rural1_day() / PUBLIC).read_bytes().splitlines()[: len(lines)]
    assert sum(b'"settled"' in line for line in lines) == SLOTS


def test_three_of_four_oracles_are_enough_when_the_patience_for_the_fourth_ends(loop: Loop, tmp_path: Path) -> None:
    a = appointment(load_community(EXAMPLES / "rural1.toml"))
    oracles = [oracle_in(loop, a, number, tmp_path) for number in range(3)]
    away = Peer("oracle-3", "127.0.0.1", 1)
    nodes = Nodes(gateway_in(loop, a, [*oracles, away], tmp_path), (*oracles, away), patience_s=0.3)
    lines = settled_lines(tmp_path, lambda c, secrets: RemoteMetering(a, nodes, secrets, FileClock(tmp_path / "clock")))
    assert sum(b'"settled"' in line for line in lines) == SLOTS
    assert sum(b'"oracles":[0,1,2]' in line for line in lines) == SLOTS


def test_without_a_quorum_nothing_settles_and_the_way_out_is_named(loop: Loop, tmp_path: Path) -> None:
    a = appointment(load_community(EXAMPLES / "rural1.toml"))
    oracles = [oracle_in(loop, a, number, tmp_path) for number in range(2)]
    away = Peer("away", "127.0.0.1", 1)
    nodes = Nodes(gateway_in(loop, a, [*oracles, away, away], tmp_path), (*oracles, away, away), patience_s=0.3)
    with pytest.raises(MeteringError, match="start the nodes that are missing"):
        settled_lines(tmp_path, lambda c, secrets: RemoteMetering(a, nodes, secrets, FileClock(tmp_path / "clock")))


def test_an_oracle_answers_who_may_ask_logs_everyone_and_votes_once(loop: Loop, tmp_path: Path, appointed: Appointment) -> None:
    a, slot = appointed, appointed.community.slots.start
    clock, made = FileClock(tmp_path / "clock"), []  # type: ignore[var-annotated]
    closed = a.community.grid.end(slot) + timedelta(hours=7)
    clock.move(closed)
    peer = oracle_in(loop, a, 0, tmp_path, made)
    name = a.terms.oracles[0]
    body = slot.to_bytes(8, "big")
    salts = [bytes([device]) * SALT_BYTES for device in range(len(a.meters.keys))]

    def asked(
        right: Right, body: bytes, audience: str = name, at: datetime = closed, credential: str = "", key: str = "exchange"
    ) -> bytes:
        held = credential or a.exchange_credential
        request = sign_request(derive_key(a.seed, key), held, right, audience, body, at)
        return asyncio.run(ask(peer.host, peer.port, REQUEST, request, 1_000_000, 10))

    leaves, refused, balance, delays = cbor2.loads(asked(Right.READ, body))
    assert (len(leaves), refused, balance, len(delays)) == (len(a.meters.keys), {}, None, len(a.meters.keys))
    first = asked(Right.VOTE, body + b"".join(salts))
    again = asked(Right.VOTE, body + b"".join(reversed(salts)))
    assert again == first  # other salts do not make it vote again
    reader = did_of(derive_key(a.seed, "reader").public_key())
    only_read = issue_access(a.operator_key, reader, [Right.READ], a.community.grid.origin, closed + timedelta(days=1))
    assert asked(Right.READ, body, credential=only_read, key="reader")
    forged = issue_access(derive_key(a.seed, "reader"), reader, [Right.VOTE], a.community.grid.origin, closed + timedelta(days=1))
    for wrong, why in (
        ({"right": Right.VOTE, "credential": only_read, "key": "reader"}, AccessRefusal.NO_RIGHT),
        ({"right": Right.VOTE, "credential": forged, "key": "reader"}, AccessRefusal.CREDENTIAL),
        ({"right": Right.READ, "key": "thief"}, AccessRefusal.NOT_SIGNED),
        ({"right": Right.READ, "audience": a.terms.oracles[1]}, AccessRefusal.NOT_FOR_THIS),
        ({"right": Right.READ, "at": closed - timedelta(minutes=6)}, AccessRefusal.NOT_FOR_THIS),
    ):
        with pytest.raises(MeteringError, match=why.value[:20]):
            asked(body=body, **wrong)  # type: ignore[arg-type]
    with pytest.raises(MeteringError, match="a signed request was expected"):
        asyncio.run(ask(peer.host, peer.port, VOTE, body, 200, 10))
    log = loop.do(made[0]._store.accesses)
    assert isinstance(log, list)
    assert [allowed for *_, allowed in log].count(True) == 4
    assert [right for _, holder, right, _, allowed in log if not allowed] == [
        "NO_RIGHT",
        "CREDENTIAL",
        "NOT_SIGNED",
        "NOT_FOR_THIS",
        "NOT_FOR_THIS",
    ]


def test_an_access_credential_holds_in_its_time_and_for_what_it_says(appointed: Appointment) -> None:
    a = appointed
    since, until = datetime(2016, 1, 1, tzinfo=UTC), datetime(2016, 1, 2, tzinfo=UTC)
    key = derive_key(a.seed, "reader")
    token = issue_access(a.operator_key, did_of(key.public_key()), [Right.READ], since, until)
    issuer = a.operator_key.public_key()
    for moment, holds in (
        (since - timedelta(seconds=1), False),
        (since, True),
        (until - timedelta(seconds=1), True),
        (until, False),
    ):
        request = sign_request(key, token, Right.READ, "oracle", b"x", moment)
        assert isinstance(open_request(request, issuer, "oracle", moment), Allowed) is holds
    changed = sign_request(key, token, Right.READ, "oracle", b"x", since).replace(b"x", b"y")[:-1] + b"y"
    assert not isinstance(open_request(changed, issuer, "oracle", since), Allowed)
    assert open_request(b"nonsense", issuer, "oracle", since) is AccessRefusal.MALFORMED
    with pytest.raises(InputError):
        issue_access(a.operator_key, did_of(key.public_key()), [Right.READ], until, since)


def test_an_oracle_with_another_key_than_the_appointed_is_refused(tmp_path: Path, appointed: Appointment) -> None:
    for number, key in ((0, appointed.keys.oracle(1)), (9, appointed.keys.oracle(9))):
        with pytest.raises(InputError):
            make_oracle(appointed, number, key, None, tmp_path / "o.sqlite", MASTER, FileClock(tmp_path / "clock"))
