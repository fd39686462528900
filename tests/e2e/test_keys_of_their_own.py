"""Slots with nobody's key from a seed: a meter and the gateway sign in TPMs, oracles admit and vote, the exchange settles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from e2e.node_loop import PLENTY, Loop
from e2e.runs import EXAMPLES
from keys_world import Keyring, make_keyring
from tpm_world import Emulated, emulated, need_tpm
from walras.commands.enrol import revoke_command
from walras.commands.meter import meter_command
from walras.commands.secrets import read_secret
from walras.community import load_community
from walras.errors import InputError, MeteringError
from walras.exchange.journal import Journal
from walras.ledger.keys import key_of
from walras.metering import KeyAttestation, Refusal, did_of, key_id, read_credential, sign_reading
from walras.metering.identity import KeyStore, PrivateKey
from walras.service.appointment import appointed_exchange, appointment, make_gateway, make_oracle
from walras.service.clocks import FileClock, wall_clock
from walras.service.gateway_node import Peer
from walras.service.keys import open_key
from walras.service.oracle_node import OracleNode
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.meters import make_meters, run_seed
from walras.study.runner import Appointed, Options, Run

COMMUNITY = EXAMPLES / "rural1.toml"
SLOTS = 2
Ready = Callable[[int], None]


@pytest.fixture(scope="module")
def tpms() -> Iterator[tuple[Emulated, Emulated]]:
    need_tpm()
    with emulated() as meter, emulated() as gateway:
        yield meter, gateway


@pytest.fixture(scope="module")
def ring(tpms: tuple[Emulated, Emulated], tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return make_keyring(tmp_path_factory.mktemp("keys"), COMMUNITY, *tpms)


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


def start_nodes(loop: Loop, ring: Keyring, gateway_key: KeyStore, folder: Path, made: list[OracleNode] | None = None) -> Nodes:
    a = appointment(ring.community, ring.roll)
    clock = FileClock(folder / "clock")
    peers = []
    for number in range(ring.community.metering.oracles):

        async def oracle(ready: Ready, number: int = number) -> None:
            own = key_of(read_secret(ring.oracle_key(number), "test"))
            node = make_oracle(a, number, own, None, folder / f"oracle-{number}.sqlite", bytes(32), clock)
            if made is not None:
                made.append(node)
            await node.run("127.0.0.1", 0, ready)

        peers.append(Peer(f"oracle-{number}", "127.0.0.1", loop.serve(oracle)))

    async def gateway(ready: Ready) -> None:
        node = make_gateway(a, gateway_key, folder / "gateway.sqlite", bytes(32), peers, PLENTY, lambda: 0, clock)
        await node.run("127.0.0.1", 0, 0.01, ready)

    where = Peer("gateway", "127.0.0.1", loop.serve(gateway))
    return Nodes(where, tuple(peers))


def test_readings_signed_in_a_tpm_are_admitted_attested_and_settled(
    loop: Loop, ring: Keyring, tpms: tuple[Emulated, Emulated], tmp_path: Path
) -> None:
    meter_tpm, gateway_tpm = tpms
    gateway_key = open_key(gateway_tpm.place)
    nodes = start_nodes(loop, ring, gateway_key, tmp_path)
    secret = read_secret(ring.secret, "test")
    exchange = appointed_exchange(load_community(COMMUNITY), ring.roll, ring.keys, secret, None)
    options = Options(secret=secret, appointed=Appointed(exchange.meters, exchange.keys))
    clock = FileClock(tmp_path / "clock")
    run = Run(COMMUNITY, tmp_path / "run", options, lambda c, secrets: RemoteMetering(exchange, nodes, secrets, clock))
    going = iter(run)
    next(going)
    meter_tpm.kill()  # the meter loses its supply between two slots
    meter_tpm.start()
    for _ in range(SLOTS - 1):
        next(going)
    going.close()  # type: ignore[attr-defined]
    journal: Journal = run._journal
    lines = [entry.line for entry in journal.entries()]
    journal.close()
    assert sum(b'"settled"' in line for line in lines) == SLOTS
    members = len(ring.community.members)
    assert sum(b'"admitted":%d,' % members in line and b'"refused":{}' in line for line in lines) == SLOTS
    assert not isinstance(exchange.meters.keys[0], PrivateKey)
    from_seed = make_meters(ring.community, run_seed(ring.community)).registry.index
    assert not set(exchange.meters.registry.index) & set(from_seed)
    for key in (exchange.meters.keys[0], gateway_key):
        key.close()  # type: ignore[union-attr]


def test_the_credential_of_the_meter_in_the_tpm_says_so_and_that_of_a_file_does_not(ring: Keyring) -> None:
    operator = appointment(ring.community, ring.roll).operator
    first, second = (
        read_credential((ring.folder / "credentials" / f"{member.id}.jwt").read_text().strip(), operator)
        for member in ring.community.members[:2]
    )
    assert isinstance(getattr(first, "attestation", None), KeyAttestation)
    assert first.attestation.firmware == "as started"  # type: ignore[union-attr]
    assert second.attestation is None  # type: ignore[union-attr]


def test_a_revoked_meter_is_refused_from_the_next_batch_on_and_stays_so(
    loop: Loop, ring: Keyring, tpms: tuple[Emulated, Emulated], tmp_path: Path
) -> None:
    community, operator, status = ring.community, str(ring.folder / "operator.pem"), tmp_path / "status.jwt"
    roll = tmp_path / "roll.toml"
    credentials = f'credentials = "{ring.folder / "credentials"}"\nstatus = "{status}"\n'
    roll.write_text(credentials + ring.roll.read_text())
    begin = f"{community.grid.origin:%Y-%m-%dT%H:%M:%SZ}"
    revoke_command(COMMUNITY, "", operator, status, begin, 400, None)
    before = status.read_text()
    a = appointment(community, roll)
    clock = FileClock(tmp_path / "clock")
    node = make_oracle(a, 0, key_of(read_secret(ring.oracle_key(0), "test")), None, tmp_path / "o.sqlite", bytes(32), clock)
    gateway_key, meter = open_key(tpms[1].place), open_key(tpms[0].place)
    gateway = make_gateway(a, gateway_key, tmp_path / "g.sqlite", bytes(32), [], PLENTY, lambda: 0, clock)

    def send(slot: int) -> dict[int, int]:
        clock.move(community.grid.end(slot))
        assert gateway.take_readings([sign_reading(meter, slot, 100, 0, meter.next_counter())]) == b"\x00"
        number = gateway.seal_waiting()
        assert number is not None
        node.receive(gateway.batch(number))
        return node._store.refused_in(slot)

    assert send(0) == {}
    revoke_command(COMMUNITY, community.members[0].id, operator, status, begin, 400, None, ring.folder / "credentials")
    assert send(1) == {Refusal.REVOKED: 1}
    revoked = status.read_text()
    status.write_text(before)  # somebody puts the old list back
    with pytest.raises(MeteringError, match="takes a revocation back"):
        send(2)
    status.write_text(revoked)
    assert send(3) == {Refusal.REVOKED: 1}
    status.unlink()
    with pytest.raises(MeteringError, match="no status list"):
        send(4)
    for key in (gateway_key, meter):
        key.close()  # type: ignore[attr-defined]


def test_a_device_with_a_tpm_sends_by_itself_and_the_oracle_holds_its_reading(
    loop: Loop, ring: Keyring, tpms: tuple[Emulated, Emulated], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway_key = open_key(tpms[1].place)
    made: list[OracleNode] = []
    nodes = start_nodes(loop, ring, gateway_key, tmp_path, made)
    FileClock(tmp_path / "clock").move(ring.community.grid.end(3))
    lines = tmp_path / "readings"
    lines.write_text("2 250 0\n\n3 0 120\n")
    address = f"127.0.0.1:{nodes.gateway.port}"
    meter_command(lines, tpms[0].place, address, None)
    lines.write_text("3 1 0")
    with pytest.raises(MeteringError, match="refused 1 of 1"):
        meter_command(lines, str(ring.folder / "exchange.pem"), address, None)
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines() if line.startswith("slot")] == [
        "taken",
        "taken",
        "UNKNOWN_DEVICE",
    ]
    end = monotonic() + 20
    while monotonic() < end and not all(len(loop.do(lambda n=node: n._store.readings("slot >= ?", (2,)))) == 2 for node in made):
        pass
    for node in made:
        held = loop.do(lambda n=node: n._store.readings("slot >= ?", (2,)))
        assert [taken.slot for taken in held] == [2, 3]  # type: ignore[attr-defined]
    lines.write_text("2 250\nx y z\n")
    with pytest.raises(InputError, match="2 faults"):
        meter_command(lines, tpms[0].place, address, None)
    gateway_key.close()  # type: ignore[attr-defined]


def test_what_the_roll_does_not_appoint_is_refused_by_name(ring: Keyring, tpms: tuple[Emulated, Emulated], tmp_path: Path) -> None:
    a = appointment(ring.community, ring.roll)
    stranger = open_key(str(ring.folder / "exchange.pem"))
    with pytest.raises(InputError, match="the roll appoints"):
        make_gateway(a, stranger, tmp_path / "g.sqlite", bytes(32), [], PLENTY, lambda: 0, wall_clock)
    with pytest.raises(InputError, match=r"that of --secret"):
        appointed_exchange(ring.community, ring.roll, ring.keys, bytes(32), None)
    with pytest.raises(InputError, match="its own"):
        a.keys.oracle(0)
    with pytest.raises(MeteringError, match="the exchange's"):
        a.exchange_key  # noqa: B018 - the reading of it is what is refused
    keys = ring.keys.read_text().replace("home", "hose", 1)
    (ring.folder / "other.toml").write_text(keys)
    with pytest.raises(InputError, match="2 faults"):
        appointed_exchange(ring.community, ring.roll, ring.folder / "other.toml", read_secret(ring.secret, "test"), None)
    assert key_id(stranger.public_key()) not in a.meters.registry.index
    assert did_of(a.gateway) in ring.roll.read_text()
