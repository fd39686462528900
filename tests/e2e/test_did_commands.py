"""Identifiers on a node by command: made, resolved, rotated, revoked, handed on, recovered; and an oracle that asks the chain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.node_loop import PLENTY
from e2e.runs import EXAMPLES
from keys_world import make_keyring
from ledger_world import anvil, rpc
from walras import cli
from walras.commands.deploy import deploy_command
from walras.commands.secrets import read_secret
from walras.community import load_community
from walras.errors import InputError, LedgerError, MeteringError
from walras.ledger import EmbeddedChain, Genesis
from walras.ledger.identifiers import create_identifier, deploy_registry, identifier_of, point_of
from walras.ledger.keys import key_of
from walras.metering import Refusal, did_of, sign_reading
from walras.service.appointment import appointment, make_gateway, make_oracle
from walras.service.clocks import FileClock
from walras.service.key_file import make_key, read_key
from walras.service.keys import open_key
from walras.study.chain_identifiers import ChainIdentifiers
from walras.study.meters import run_seed
from walras.study.runner import ledger_keys

COMMUNITY = EXAMPLES / "rural1.toml"


class World:
    """A node with a ledger and its DidRegistry, three accounts with money, two device keys."""

    def __init__(self, url: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.url, self.folder, self.capsys = url, folder, capsys
        self.manifest = folder / "ledger.json"
        keys = ledger_keys(run_seed(load_community(COMMUNITY)))
        for address in (keys.admin.address, keys.operator.address):
            rpc(url, "anvil_setBalance", address, hex(10**21))
        deploy_command(COMMUNITY, url, self.manifest, "permissioned", None, contracts=("DidRegistry",))
        self.address = {}
        for n, name in enumerate(("owner", "heir", "guardian"), 1):
            (folder / name).write_text(f"{n:064x}\n")
            self.address[name] = key_of(read_secret(folder / name, "test")).address
            rpc(url, "anvil_setBalance", self.address[name], hex(10**20))
        for name in ("first", "second"):
            make_key(folder / f"{name}.pem")
        capsys.readouterr()

    def did(self, *words: str) -> str:
        cli.app(["did", *words, "--chain", self.url], exit_on_error=False, print_error=False, result_action="return_value")
        return self.capsys.readouterr().out.strip()

    def key(self, name: str) -> str:
        return did_of(read_key(self.folder / f"{name}.pem").public_key())

    def at(self, name: str) -> str:
        return str(self.folder / name)

    def shown(self, did: str) -> dict[str, Any]:
        return dict(json.loads(self.did("show", did)))


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    with anvil() as url:
        yield World(url, tmp_path, capsys)


def test_an_identifier_lives_its_whole_life_by_command(world: World) -> None:
    own = ["--controller", world.at("owner")]
    new = ["new", "--manifest", str(world.manifest), *own, "--recovery", world.address["guardian"]]
    did = world.did(*new, "--key", world.at("first.pem"))
    shown = world.shown(did)
    assert (shown["controller"], shown["recovery"]) == (world.address["owner"], world.address["guardian"])
    assert [key["key"] for key in shown["keys"]] == [world.key("first")]
    assert shown["document"]["id"] == did
    world.did("rotate", did, *own, "--key", world.at("second.pem"))
    shown = world.shown(did)
    assert [(key["key"], key["until"] is None) for key in shown["keys"]] == [
        (world.key("first"), False),
        (world.key("second"), True),
    ]
    world.did("revoke", did, *own)
    assert world.shown(did)["document"]["verificationMethod"] == []
    world.did("offer", did, world.address["heir"], *own)
    world.did("accept", did, "--controller", world.at("heir"))
    assert (world.shown(did)["controller"], world.shown(did)["recovery"]) == (world.address["heir"], None)
    with pytest.raises(LedgerError, match="NotController"):
        world.did("rotate", did, *own, "--key", world.at("first.pem"))
    guardian = ["recover", did, "--guardian"]
    with pytest.raises(LedgerError, match="NotRecovery"):
        world.did(*guardian, world.at("guardian"), "--to", world.address["owner"])  # of the controller before
    world.did("guard", did, world.address["guardian"], "--controller", world.at("heir"))
    with pytest.raises(LedgerError, match="NotRecovery"):
        world.did(*guardian, world.at("owner"), "--to", world.address["owner"])
    world.did(*guardian, world.at("guardian"), "--to", world.address["owner"])  # the heir's key is lost
    with pytest.raises(LedgerError, match="TooEarly"):
        world.did(*guardian, world.at("guardian"), "--finish")
    rpc(world.url, "evm_increaseTime", 30 * 86_400)
    world.did(*guardian, world.at("guardian"), "--finish")
    assert world.shown(did)["controller"] == world.address["owner"]
    world.did("rotate", did, *own, "--key", world.at("first.pem"))
    world.did("end", did, *own)
    assert world.shown(did)["deactivated"] is True
    with pytest.raises(InputError, match="did:walras"):
        world.did("show", world.key("first"))
    with pytest.raises(LedgerError):
        world.did("show", did.replace(did.split(":")[2], "999", 1))


def test_an_oracle_refuses_a_device_whose_identifier_has_another_key(tmp_path: Path) -> None:
    ring = make_keyring(tmp_path, COMMUNITY)
    owner = key_of(b"\x01" * 32)
    chain = EmbeddedChain(Genesis((owner.address,), timestamp=1_000_000))
    registry = deploy_registry(chain, owner, 86_400, timestamp=1_000_100)
    members = [member.id for member in ring.community.members]
    keys = [open_key(str(tmp_path / f"{name}.pem")) for name in members[:2]]
    dids = [create_identifier(chain, registry, owner, key.public_key(), None, timestamp=1_000_200) for key in keys]
    table = "".join(f'{name} = "{did}"\n' for name, did in zip(members, dids, strict=False))
    ring.roll.write_text(ring.roll.read_text() + f"[identifiers]\n{table}")
    a = appointment(ring.community, ring.roll)
    clock = FileClock(tmp_path / "clock")
    signing = key_of(read_secret(ring.oracle_key(0), "test"))
    with pytest.raises(InputError, match="identifiers of devices"):
        make_oracle(a, 0, signing, None, tmp_path / "none.sqlite", bytes(32), clock)
    node = make_oracle(a, 0, signing, None, tmp_path / "o.sqlite", bytes(32), clock, None, chain)
    gateway_key = open_key(str(tmp_path / "gateway.pem"))
    gateway = make_gateway(a, gateway_key, tmp_path / "g.sqlite", bytes(32), [], PLENTY, lambda: 0, clock)

    def send(slot: int) -> dict[int, int]:
        clock.move(ring.community.grid.end(slot))
        readings = [sign_reading(key, slot, 100, 0, slot + 1) for key in keys]
        assert gateway.take_readings(readings) == b"\x00\x00"
        number = gateway.seal_waiting()
        assert number is not None
        node.receive(gateway.batch(number))
        return node._store.refused_in(slot)

    assert send(0) == {}
    registry.act(chain, owner, "rotate", identifier_of(registry, dids[0]), *point_of(keys[1].public_key()), timestamp=1_000_300)
    assert send(1) == {Refusal.REVOKED: 1}
    registry.act(chain, owner, "revokeKey", identifier_of(registry, dids[1]), timestamp=1_000_400)
    assert send(2) == {Refusal.REVOKED: 2}
    with pytest.raises(InputError, match="on chain"):
        ChainIdentifiers(chain, {0: dids[0].replace(str(chain.chain_id), "5", 1)})
    gone = ChainIdentifiers(chain, {0: dids[0][:-4] + "0000"})
    with pytest.raises(MeteringError, match="no such identifier"):
        gone.silent([a.meters.registry])
