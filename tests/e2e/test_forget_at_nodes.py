"""A member is forgotten at gateway, oracle and balance oracle, processes elsewhere, by who may erase and by nobody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import cbor2
import pytest

from e2e.node_loop import PLENTY
from e2e.nodes import child, free_port
from e2e.runs import copy_of, file_of, rural1_private
from walras.commands.dispatch import allow_command
from walras.commands.remote_forget import RemoteNodes
from walras.commands.rights import Places, forget_command
from walras.community import load_community
from walras.errors import InputError, MeteringError
from walras.exchange.acts import Act, ActKind, acts_of
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.exchange.pem import read_key, write_new_key
from walras.metering import did_of
from walras.metering.access import Right, issue_access, sign_request
from walras.metering.gateway import Taken, look_at
from walras.service.appointment import GATEWAY, Appointment, appointment, make_gateway
from walras.service.frames import REQUEST
from walras.service.gateway_node import GatewayNode, Peer
from walras.service.message_store import MessageStore
from walras.service.reading_store import ReadingStore
from walras.study.runner import PUBLIC, open_journal, store_master

MEMBER, ACCOUNT = "home-1", 1


class Nodes:
    """Stores of a run's nodes, filled with its readings, and processes over them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.community = folder, file_of(rural1_private())
        self.a: Appointment = appointment(load_community(self.community))
        self.run = copy_of(rural1_private(), folder / "run")
        self.ports = {name: free_port() for name in ("gateway", "oracle-0", "oracle-1", "balance")}
        self.processes = []  # type: ignore[var-annotated]
        for name in ("gateway", "oracle-0", "oracle-1"):
            self._fill(folder / f"{name}.sqlite")
        messages = MessageStore(folder / "balance.sqlite")
        for device in (0, ACCOUNT):
            messages.add(16_512, 2, device, b"said by %d" % device)
        messages.close()

    def _fill(self, path: Path) -> None:
        registry = self.a.meters.registry
        keys = dict(zip(registry.index, registry.keys, strict=True))
        store, journal = ReadingStore(path, store_master(self.community, None), registry.index), open_journal(self.run)
        with store.transaction():
            for entry in journal.entries():
                for part in entry.private.members if entry.kind == "readings_admitted" and entry.private else ():
                    for reading in cbor2.loads(part or b"")[1]:
                        taken = look_at(reading, keys)
                        assert isinstance(taken, Taken)
                        store.add(taken, 0)
            for peer in ("oracle-0", "oracle-1"):
                store.acknowledge(0, peer)
        store.close()
        journal.close()

    def start(self, name: str, *words: str, keep_days: int | None = 36_500) -> None:
        where = ["--listen", f"127.0.0.1:{self.ports[name]}", "--store", str(self.folder / f"{name}.sqlite")]
        where += [] if keep_days is None else ["--keep-days", str(keep_days)]  # the readings are of 2016, the clock is of now
        process = child("", 0, [words[0], str(self.community), *words[1:], *where])
        self.processes.append(process)
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def at(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"

    @property
    def places(self) -> RemoteNodes:
        return RemoteNodes(self.at("gateway"), f"{self.at('oracle-0')},{self.at('oracle-1')}", self.at("balance"))

    def bytes_of(self, name: str) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.glob(f"{name}.sqlite*"))


def last_act(run: Path) -> Act:
    return acts_of(read_public_record(run / PUBLIC))[-1]


@pytest.fixture
def nodes(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Nodes(tmp_path)
    oracles = f"{made.at('oracle-0')},{made.at('oracle-1')}"
    try:
        made.start("gateway", "gateway", "--oracles", oracles)
        made.start("oracle-0", "oracle", "0")
        made.start("balance", "balance")
        yield made
    finally:
        made.stop()


def test_nodes_elsewhere_forget_a_member_and_who_was_away_is_told_later(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    names = [kid for kid, device in nodes.a.meters.registry.index.items() if device == ACCOUNT]
    assert all(name in nodes.bytes_of(node) for name in names for node in ("gateway", "oracle-0", "oracle-1"))
    with pytest.raises(MeteringError, match=f"not erased at oracle-1 at {nodes.at('oracle-1')}: not reached") as caught:
        forget_command(nodes.run, MEMBER, None, None, Places(None, nodes.places))
    assert "tells them again" in caught.value.way_out
    assert f"gateway at {nodes.at('gateway')}: " in capsys.readouterr().out
    act = last_act(nodes.run)
    assert (act.kind, act.by) == (ActKind.ERASED_AT_NODES, did_of(nodes.a.operator_key.public_key()))
    detail = dict(act.detail or {})
    assert (detail["accounts"], detail["nodes"]["oracle-1"], detail["nodes"]["balance"]) == ([ACCOUNT], "no", 1)
    assert detail["nodes"]["gateway"] == detail["nodes"]["oracle-0"] > 20
    assert not any(name in nodes.bytes_of(node) for name in names for node in ("gateway", "oracle-0"))
    assert b"said by 1" not in nodes.bytes_of("balance")
    assert b"said by 0" in nodes.bytes_of("balance")
    nodes.start("oracle-1", "oracle", "1")
    forget_command(nodes.run, None, None, None, Places(None, nodes.places))
    told = dict(last_act(nodes.run).detail or {})["nodes"]
    assert told == {"gateway": 0, "oracle-0": 0, "oracle-1": detail["nodes"]["gateway"], "balance": 0}
    assert not any(name in nodes.bytes_of("oracle-1") for name in names)
    store = ReadingStore(nodes.folder / "oracle-0.sqlite", store_master(nodes.community, None), {})
    assert (len(store.of_member(0)) > 20, store.of_member(ACCOUNT)) == (True, [])
    log = [(holder, right, allowed) for _, holder, right, _, allowed in store.accesses()]
    store.close()
    assert log == [(act.by, "ERASE", True)] * 2
    Audit(nodes.run / PUBLIC).run()


def gateway_of(made: Nodes, peers: list[Peer], now: datetime) -> GatewayNode:
    store = made.folder / "gateway.sqlite"
    return make_gateway(
        made.a, made.a.gateway_key, store, store_master(made.community, None), peers, PLENTY, lambda: 0, lambda: now
    )


def test_only_who_may_erase_is_heard(tmp_path: Path) -> None:
    made, now, place = Nodes(tmp_path), datetime.now(UTC).replace(microsecond=0), tmp_path / "officer.pem"
    gateway = gateway_of(made, [], now)
    write_new_key(place)
    key = read_key(place)
    did = did_of(key.public_key())
    for right in ("erase", "edit"):
        allow_command(did, right, f"seed:{made.community}", tmp_path / f"{right}.jwt", 1, now, None)
    names = [kid for kid, device in made.a.meters.registry.index.items() if device == ACCOUNT]
    body = cbor2.dumps([[ACCOUNT], 0])
    edit, erase = ((tmp_path / f"{name}.jwt").read_text().strip() for name in ("edit", "erase"))
    forged = issue_access(key, did, [Right.ERASE], now, now + timedelta(days=1))
    for credential, audience, asked, why in (
        (edit, GATEWAY, body, "does not give this right"),
        (forged, GATEWAY, body, "not by this issuer"),
        (erase, made.a.terms.oracles[0], body, "made for another node"),
        (erase, GATEWAY, cbor2.dumps([[-1], 0]), "accounts and a slot were expected"),
        (erase, GATEWAY, b"", "accounts and a slot were expected"),
    ):
        with pytest.raises(MeteringError, match=why):
            gateway.reply(REQUEST, sign_request(key, credential, Right.ERASE, audience, asked, now))
    assert all(name in made.bytes_of("gateway") for name in names)
    asked = sign_request(key, erase, Right.ERASE, GATEWAY, body, now)
    assert int.from_bytes(gateway.reply(REQUEST, asked), "big") > 20
    assert int.from_bytes(gateway.reply(REQUEST, asked), "big") == 0
    assert not any(name in made.bytes_of("gateway") for name in names)
    with pytest.raises(InputError, match="--credential"):
        forget_command(made.run, None, None, None, Places(None, RemoteNodes(gateway="127.0.0.1:1", key=str(place))))


def test_what_is_on_its_way_to_an_oracle_is_not_erased_yet(tmp_path: Path) -> None:
    made, now = Nodes(tmp_path), datetime.now(UTC).replace(microsecond=0)
    gateway, key = gateway_of(made, [Peer("oracle-0", "h", 1), Peer("oracle-2", "h", 1)], now), made.a.operator_key
    credential = issue_access(key, did_of(key.public_key()), [Right.ERASE], now, now + timedelta(days=1))
    with pytest.raises(MeteringError, match="in batches on their way"):
        gateway.reply(REQUEST, sign_request(key, credential, Right.ERASE, GATEWAY, cbor2.dumps([[ACCOUNT], 0]), now))


def test_a_node_erases_by_itself_what_is_past_its_retention_and_keeps_the_rest(tmp_path: Path) -> None:
    made, clock = Nodes(tmp_path), tmp_path / "clock"
    names = [kid for kid, device in made.a.meters.registry.index.items() if device == ACCOUNT]
    grid = made.a.community.grid
    begin = grid.start(made.a.community.slots[0])
    for days, node, kept in ((89, "gateway", True), (91, "gateway", False), (89, "oracle-0", True), (91, "oracle-0", False)):
        clock.write_text((begin + timedelta(days=days)).isoformat())
        words = ["gateway", "--oracles", made.at("oracle-0")] if node == "gateway" else ["oracle", "0"]
        made.start(node, *words, "--clock", str(clock), keep_days=None)
        process = made.processes.pop()
        if not kept:
            assert process.stdout is not None
            assert "erased: " in process.stdout.readline()
        process.terminate()
        process.communicate()
        assert all(name in made.bytes_of(node) for name in names) is kept
