"""A slot under way with gateway, oracles and exchange as processes, any of them killed at any instruction: it settles the same."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from e2e.nodes import COMMUNITY, ORACLES, Village
from e2e.runs import rural1_day
from walras.community import load_community
from walras.service.appointment import appointment
from walras.service.reading_store import ReadingStore
from walras.study.runner import PUBLIC, store_master

METERS = 13
STORE, JOURNAL, REMOTE = (
    "walras.service.reading_store.ReadingStore",
    "walras.exchange.journal.Journal",
    "walras.service.remote_metering.RemoteMetering",
)

EACH_ONCE = {
    "gateway": f"{STORE}.put_in_batch|after|2",
    "oracle-0": f"{STORE}.note_received|before|2",
    "oracle-2": f"{STORE}.note_vote|after|1",
    "exchange": f"{REMOTE}._wait_for_oracles|before|2",
}


def check_as_undisturbed(village: Village, slots: int) -> None:
    """Byte for byte the record of a run in one process; every reading in every store once; one vote a slot."""
    with sqlite3.connect(village.journal) as db:
        lines = [bytes(line) for (line,) in db.execute("select line from entries order by seq")]
    db.close()
    assert sum(json.loads(line)["kind"] == "settled" for line in lines) == slots
    undisturbed = (rural1_day() / PUBLIC).read_bytes().splitlines()
    assert lines == undisturbed[: len(lines)]
    community = load_community(COMMUNITY)
    members = appointment(community).members()
    for name in ("gateway", *(f"oracle-{n}" for n in range(ORACLES))):
        store = ReadingStore(village.folder / f"{name}.sqlite", store_master(COMMUNITY, None), members)
        kept = [taken.encoded for taken in store.readings("true")]
        assert len(kept) == len(set(kept)) == slots * (METERS + 1)
        assert store.refused_counts() == {}
        if name != "gateway":
            assert {store.vote(community.slots.start + n) is not None for n in range(slots)} == {True}
            assert {right for _, _, right, _, allowed in store.accesses() if allowed} == {"READ", "VOTE"}
        store.close()


@pytest.mark.nightly
def test_gateway_oracles_and_exchange_killed_in_running_slots_end_as_if_nothing_had_been(tmp_path: Path) -> None:
    village = Village(tmp_path, EACH_ONCE)
    try:
        village.run(3)
        deaths = {name: node.deaths for name, node in village.nodes.items()} | {"exchange": village.exchange_deaths}
    finally:
        village.stop()
    assert deaths == {"gateway": 1, "oracle-0": 1, "oracle-1": 0, "oracle-2": 1, "oracle-3": 0, "exchange": 1}
    check_as_undisturbed(village, 3)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("node", "where"),
    [
        ("gateway", f"{STORE}.add|before|3"),
        ("gateway", f"{STORE}.add|after|20"),
        ("gateway", f"{STORE}.acknowledge|before|2"),
        ("gateway", f"{STORE}.acknowledge|after|6"),
        ("oracle-1", f"{STORE}.add|after|5"),
        ("oracle-1", f"{STORE}.note_received|after|1"),
        ("oracle-1", f"{STORE}.note_vote|before|2"),
        ("oracle-1", f"{STORE}.note_access|after|1"),
        ("exchange", f"{JOURNAL}.append|before|14"),
        ("exchange", f"{JOURNAL}.append|after|15"),
        ("exchange", f"{REMOTE}._send|after|1"),
        ("exchange", f"{REMOTE}.take|after|1"),
        ("exchange", f"{REMOTE}.votes|after|2"),
    ],
)
def test_one_node_killed_at_one_instruction_of_a_running_slot(tmp_path: Path, node: str, where: str) -> None:
    village = Village(tmp_path, {node: where})
    try:
        village.run(2)
        deaths = village.exchange_deaths if node == "exchange" else village.nodes[node].deaths
    finally:
        village.stop()
    assert deaths == 1
    check_as_undisturbed(village, 2)
