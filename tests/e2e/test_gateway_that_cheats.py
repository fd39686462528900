"""A gateway that cheats under its own good key, in a run over nodes: it drops, changes and invents, for all oracles or for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from e2e.node_loop import Loop, gateway_in, oracle_in
from e2e.runs import EXAMPLES
from walras.commands.summary import summary_table
from walras.commands.validate import validate_command
from walras.community import load_community
from walras.exchange.audit import Audit
from walras.exchange.journal import Entry, write_public_record
from walras.metering import sign_reading
from walras.metering.gateway import Batch, open_batch, proves_two_contents, seal_batch
from walras.metering.reading import split_reading
from walras.metering.validation import Check
from walras.service import gateway_node
from walras.service.appointment import Appointment, appointment
from walras.service.clocks import FileClock
from walras.service.frames import BATCH
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.runner import PUBLIC, Options, Run

COMMUNITY, SLOTS = EXAMPLES / "rural1.toml", 3
KID = slice(8, 24)
"""Where a reading has its meter's key id."""

Cheat = Callable[[list[bytes], int], list[bytes]]
"""(the readings of a batch, the oracle it goes to) -> what is sent in their place."""


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


def run_behind(
    cheat: Cheat, loop: Loop, a: Appointment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Entry], list[bytes]]:
    """The record of some slots behind a gateway that signs what `cheat` makes of each batch; and all batches that it sent."""
    oracles = [oracle_in(loop, a, number, folder) for number in range(4)]
    number_at = {oracle.port: number for number, oracle in enumerate(oracles)}
    honest, sent = gateway_node.ask, []

    async def ask(host: str, port: int, kind: bytes, body: bytes, longest: int, patience_s: float) -> bytes:
        if kind == BATCH:
            batch = open_batch(body, a.gateway_key.public_key())
            assert isinstance(batch, Batch)
            body = seal_batch(a.gateway_key, batch.number, cheat(list(batch.readings), number_at[port]))
            sent.append(body)
        return await honest(host, port, kind, body, longest, patience_s)

    monkeypatch.setattr(gateway_node, "ask", ask)
    nodes, clock = Nodes(gateway_in(loop, a, oracles, folder), tuple(oracles)), FileClock(folder / "clock")
    run = Run(COMMUNITY, folder / "run", Options(), lambda c, secrets: RemoteMetering(a, nodes, secrets, clock))
    going = iter(run)
    for _ in range(SLOTS):
        next(going)
    going.close()  # type: ignore[attr-defined]
    write_public_record(run._journal, folder / "run" / PUBLIC)
    entries = list(run._journal.entries())
    run._journal.close()
    return entries, sent


def by_device(a: Appointment, readings: list[bytes]) -> dict[int, bytes]:
    fields = {one: split_reading(one) for one in readings}
    return {a.meters.registry.index[f[0]]: one for one, f in fields.items() if f is not None and f[0] in a.meters.registry.index}


def test_what_a_gateway_drops_changes_or_invents_for_all_is_named_and_settles_nothing(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a = appointment(load_community(COMMUNITY))

    def cheat(readings: list[bytes], oracle: int) -> list[bytes]:
        of = by_device(a, readings)
        (kid, slot, taken, given, counter, _), (other, *_) = split_reading(of[1]) or (), split_reading(of[2]) or ()
        own = sign_reading(a.gateway_key, slot, taken + 9_000, given, counter)
        changed = own[: KID.start] + kid + own[KID.stop : -64] + of[1][-64:]  # under the meter's true signature
        invented = own[: KID.start] + other + own[KID.stop :]
        return [*(one for one in readings if one not in (of[0], of[1], of[2])), changed, invented, own]

    entries, _ = run_behind(cheat, loop, a, tmp_path, monkeypatch)
    admitted = [entry.public for entry in entries if entry.kind == "readings_admitted"]
    assert [public["admitted"] for public in admitted] == [10] * SLOTS
    assert all(public["refused"] == {"unknown_device": 1, "bad_signature": 2} for public in admitted)
    settled = [entry.public for entry in entries if entry.kind == "settlement_submitted"]
    assert len(settled) == SLOTS
    assert all(
        public["import_wh"][:3] == public["export_wh"][:3] == [0, 0, 0] for public in settled
    )  # substitutes: no like day yet
    assert Audit(tmp_path / "run" / PUBLIC).run().slots == SLOTS
    missing = {(one.device, one.slot) for one in validate_command(tmp_path / "run", None) if one.check is Check.MISSING}
    assert missing == {(device, slot) for device in range(3) for slot in a.community.slots[:SLOTS]}
    summary_table(Console(width=300), tmp_path / "run")
    assert "off the feeder's own meter 3 of 3 slots that stand on substitutes" in " ".join(capsys.readouterr().out.split())


def test_a_gateway_that_drops_for_one_oracle_only_is_outvoted_and_has_signed_the_proof_against_itself(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = appointment(load_community(COMMUNITY))

    def cheat(readings: list[bytes], oracle: int) -> list[bytes]:
        robbed = by_device(a, readings)[0] if oracle == 3 else None
        return [one for one in readings if one != robbed]

    entries, sent = run_behind(cheat, loop, a, tmp_path, monkeypatch)
    assert [entry.public["oracles"] for entry in entries if entry.kind == "attested"] == [[0, 1, 2]] * SLOTS
    assert [entry.public["admitted"] for entry in entries if entry.kind == "readings_admitted"] == [13] * SLOTS
    pairs = [(one, other) for one in sent for other in sent if proves_two_contents(one, other, a.gateway_key.public_key())]
    assert len(pairs) >= 2 * 3 * SLOTS
    assert Audit(tmp_path / "run" / PUBLIC).run().slots == SLOTS
