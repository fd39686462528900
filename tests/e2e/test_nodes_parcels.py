"""Hours signed as a whole, one of them by `walras meter` in a process of its own, settle as single signatures would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from e2e.node_loop import Loop, gateway_in, oracle_in
from e2e.runs import EXAMPLES
from walras.community import load_community
from walras.exchange.audit import Audit
from walras.metering import key_id, readings_of_parcel, sign_parcel
from walras.metering.identity import PrivateKey
from walras.metering.parcel_reading import split_item
from walras.metering.reading import Fields
from walras.service.appointment import Appointment, appointment
from walras.service.clocks import FileClock
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.oracles import Closed
from walras.study.runner import PUBLIC, Options, Run

HOUR = 4
OTHER_ROOTS = {
    *(("readings_admitted", name) for name in ("root",)),
    *(("attested", name) for name in ("root", "signatures")),
    *(("settlement_submitted", name) for name in ("journal_head", "transactions")),
    *(("settled", name) for name in ("gas", "transaction")),
}
"""A parcel's leaf has no signature of its own, so slots have other roots; all else of the record is the same."""


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


class Noted(RemoteMetering):
    """Single signatures; what they were over is noted."""

    sent: list[list[bytes]]

    def take(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> Closed:
        self.sent.append(list(batch))
        return super().take(slot, batch, after_s)


class Hourly(RemoteMetering):
    """Nothing is sent before the hour is over; then all of it."""

    send: Callable[[int], list[bytes]]
    clock: FileClock

    def take(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> Closed:
        if slot % HOUR == 0:
            self.clock.move(self._a.community.grid.end(slot + HOUR - 1) + timedelta(seconds=1))
            self._hand_on(slot, self.send(slot))
        return super().take(slot, [], [])


def settled(loop: Loop, a: Appointment, community: Path, folder: Path, kind: type[RemoteMetering], **given: object) -> list[Any]:
    """The record of one hour's slots."""
    folder.mkdir()
    oracles = [oracle_in(loop, a, number, folder) for number in range(4)]
    nodes, clock = Nodes(gateway_in(loop, a, oracles, folder), tuple(oracles)), FileClock(folder / "clock")

    def path(_: object, secrets: Sequence[bytes]) -> RemoteMetering:
        made = kind(a, nodes, secrets, clock)
        for name, value in {**given, "clock": clock, "gateway": nodes.gateway}.items():
            setattr(made, name, value)
        return made

    for _ in Run(community, folder / "run", Options(until=a.community.grid.start(a.community.slots.start + HOUR)), path):
        pass
    return [json.loads(line) for line in (folder / "run" / PUBLIC).read_bytes().splitlines()]


def parcels_of(a: Appointment, sent: list[list[bytes]]) -> dict[bytes, tuple[PrivateKey, list[Fields]]]:
    """By key id: the key and its readings of the hour."""
    keys = [*a.meters.keys, a.meters.feeder_key]
    by_kid: dict[bytes, tuple[PrivateKey, list[Fields]]] = {}
    for key in keys:
        assert isinstance(key, PrivateKey)
        by_kid[key_id(key.public_key())] = key, []
    for batch in sent:
        for fields in map(split_item, batch):
            assert fields is not None
            by_kid[fields[0]][1].append(fields)
    return by_kid


def metered_by_a_process(key: PrivateKey, rows: list[Fields], community: Path, gateway: str) -> str:
    """What `walras meter --sign hour` prints."""
    place, lines = community.with_name("meter.pem"), community.with_name("lines")
    place.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    place.chmod(0o600)
    lines.write_text("".join(f"{slot} {import_wh} {export_wh}\n" for _, slot, import_wh, export_wh, _, _ in rows))
    command = ["meter", str(lines), "--key", str(place), "--gateway", gateway, "--sign", "hour", "--community", str(community)]
    done = subprocess.run(
        [sys.executable, "-c", "from walras.cli import main; main()", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_an_hours_parcels_of_all_meters_settle_as_single_signatures_do(loop: Loop, tmp_path: Path) -> None:
    community = tmp_path / "hourly.toml"
    text = (EXAMPLES / "rural1.toml").read_text()
    assert text.count("metering_deadline_minutes = 15") == 1
    community.write_text(text.replace("metering_deadline_minutes = 15", "metering_deadline_minutes = 60"))
    a = appointment(load_community(community))
    sent: list[list[bytes]] = []
    alone = settled(loop, a, community, tmp_path / "alone", Noted, sent=sent)
    by_kid = parcels_of(a, sent)
    said: list[str] = []
    gateways: list[Hourly] = []

    def send(slot: int) -> list[bytes]:
        first, *others = by_kid.values()
        where = gateways[0]._nodes.gateway
        said.append(metered_by_a_process(*first, community, f"{where.host}:{where.port}"))
        items = []
        for key, rows in others:
            _, slots, imports, exports, counters, quality = zip(*rows, strict=True)
            items += readings_of_parcel(sign_parcel(key, slots, imports, exports, counters, quality))
        return items

    class Watched(Hourly):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            gateways.append(self)

    together = settled(loop, a, community, tmp_path / "together", Watched, send=send)
    assert said[0].count(": taken") == HOUR
    assert [(one["kind"], one.get("slot")) for one in together] == [(one["kind"], one.get("slot")) for one in alone]
    differing = set()
    for one, other in zip(alone, together, strict=True):
        differing |= {(one["kind"], name) for name in one["public"] if one["public"][name] != other["public"][name]}
    assert differing == OTHER_ROOTS
    assert [one["public"]["calldata_root"] for one in together if "calldata_root" in one["public"]] == [
        one["public"]["calldata_root"] for one in alone if "calldata_root" in one["public"]
    ]
    report = Audit(tmp_path / "together" / "run" / PUBLIC, None).run()
    assert report.slots == HOUR
