"""One oracle process refuses one batch for good: its later batches go, every slot settles, the gateway tells it after a kill too.

The oracle knows that batch's number with another content, as when a gateway's store was put back from a copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from e2e.nodes import ORACLES, Village, child
from e2e.runs import EXAMPLES
from walras.commands.nodes import parse_peers
from walras.commands.summary import summary_table
from walras.community import load_community
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.metering.gateway import seal_batch
from walras.metering.reading import sign_reading
from walras.service.appointment import appointment
from walras.service.clocks import FileClock
from walras.service.frames import BATCH, ask
from walras.service.gateway_node import Peer
from walras.service.reading_store import ReadingStore
from walras.study.runner import PUBLIC, store_master

REFUSED = 1
WHY = f"batch {REFUSED} was received with another content"


def walras(*command: str) -> str:
    process = child("", 0, list(command))
    said = process.communicate(timeout=400)[0]
    assert process.returncode == 0, said
    return said


async def give(peer: Peer, batch: bytes) -> None:
    for _ in range(1_200):
        try:
            assert await ask(peer.host, peer.port, BATCH, batch, 1_000, 10) == REFUSED.to_bytes(8, "big")
            return
        except OSError:
            await asyncio.sleep(0.05)
    raise AssertionError("the oracle did not start")


SET_ASIDE = "walras.service.gateway_node.GatewayNode._set_aside"


DEATHS = ("", f"{SET_ASIDE}|before|1", f"{SET_ASIDE}|after|1")


@pytest.fixture(params=DEATHS)
def village(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Village]:
    hourly = tmp_path / "hourly.toml"
    hourly.write_text((EXAMPLES / "rural1.toml").read_text().replace("slot_minutes = 15", "slot_minutes = 60"))
    made = Village(tmp_path, {"gateway": request.param}, hourly)
    yield made
    made.stop()


@pytest.mark.nightly
def test_a_batch_that_one_oracle_process_refuses_for_good_stops_nothing_and_is_not_forgotten(
    village: Village, capsys: pytest.CaptureFixture[str]
) -> None:
    a = appointment(load_community(village.community))
    last = parse_peers(village.oracles)[-1]
    FileClock(village.clock).move(a.community.grid.origin)
    foreign = seal_batch(a.gateway_key, REFUSED, [sign_reading(a.gateway_key, 0, 1, 0, 1)])
    asyncio.run(give(last, foreign))
    village.run(0)
    killed = village.nodes["gateway"].deaths
    assert killed == bool(village.nodes["gateway"].deadly)
    entries = read_public_record(village.out / PUBLIC)
    attested = [e.public["oracles"] for e in entries if e.kind == "attested"]
    assert attested == [list(range(ORACLES)) if n != REFUSED else [0, 1, 2] for n in range(24)]
    assert all(e.public["admitted"] == e.public["devices"] for e in entries if e.kind == "readings_admitted")
    (gateway,) = [e.public["detail"] for e in entries if e.kind == "act" and e.public["by"] == "gateway"]
    assert [(peer, number, why) for peer, number, _, why in gateway["batches_set_aside"]] == [("oracle-3", REFUSED, WHY)]
    assert Audit(village.out / PUBLIC).run().slots == 24
    summary_table(Console(width=300), village.out)
    assert f"1 by oracle-3: {WHY}" in capsys.readouterr().out
    store = str(village.folder / "gateway.sqlite")
    status = walras("gateway", str(village.community), "--oracles", village.oracles, "--store", store, "--status")
    assert "oracle-3 at" in status
    assert [line for line in status.splitlines() if "batches wait" in line and " 0 batches wait" not in line] == []
    assert f"oracle-3 refused batch {REFUSED} for good: {WHY}; 14 readings kept" in status
    kept = ReadingStore(village.folder / "gateway.sqlite", store_master(village.community, None), a.members())
    assert len(kept.batch_readings(REFUSED)) == 14
    kept.close()
