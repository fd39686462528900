"""A node's retention: what is past it goes, what cannot go yet is said and tried again, a clock that is not set erases nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from metering_nodes import OPEN, ClockFile, gateway
from metering_world import RULES, after, slot_batch
from walras.metering.purposes import PURPOSES
from walras.service.clocks import FileClock
from walras.service.gateway_node import Peer
from walras.service.retention import AGAIN_S, EVERY_S, KEEP_DAYS, Retention, erase_due

SLOT = 40


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def test_readings_go_when_their_slot_began_longer_ago_than_the_purpose_allows(tmp_path: Path) -> None:
    gate, clock = gateway(tmp_path / "gateway.db", []), ClockFile(tmp_path / "clock")
    gate.take_readings([*slot_batch(SLOT, 1), *slot_batch(SLOT + 1, 2)])
    rule = Retention(RULES.grid, KEEP_DAYS, clock)
    assert PURPOSES["settlement"].retention_days == KEEP_DAYS == 90
    begin = RULES.grid.start(SLOT)
    for late, gone in ((timedelta(0), 0), (timedelta(minutes=RULES.grid.minutes), 5), (timedelta(days=1), 5)):
        clock.set(begin + timedelta(days=90) + late)
        assert erase_due(gate, rule) == (f"erased: {gone} readings or messages older than 90 days" if gone else "", EVERY_S)
    assert [member for member in range(5) if OPEN[-1].of_member(member)] == []


def test_what_is_on_its_way_is_named_and_tried_again_soon(tmp_path: Path) -> None:
    gate, clock = gateway(tmp_path / "gateway.db", [Peer("away", "nowhere", 1)]), ClockFile(tmp_path / "clock")
    gate.take_readings(slot_batch(SLOT, 1))
    number = gate.seal_waiting()
    assert number is not None
    clock.set(after(SLOT) + timedelta(days=91))
    said, wait_s = erase_due(gate, Retention(RULES.grid, 90, clock))
    assert "on their way" in said
    assert wait_s == AGAIN_S
    with OPEN[-1].transaction():
        OPEN[-1].acknowledge(number, "away")
    assert erase_due(gate, Retention(RULES.grid, 90, clock))[0].startswith("erased: 5 ")


def test_before_a_replay_has_set_the_clock_nothing_is_due(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "gateway.db", [])
    gate.take_readings(slot_batch(SLOT, 1))
    assert erase_due(gate, Retention(RULES.grid, 90, FileClock(tmp_path / "clock"))) == ("", AGAIN_S)
    assert len(OPEN[-1].of_member(0)) == 1
