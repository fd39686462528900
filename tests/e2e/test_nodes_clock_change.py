"""Days on which the clocks change, over processes of their own, with a meter exchanged at the change and another's reading edited.

Hourly slots: the day has 23 or 25. The record of readings, settlements and corrections is that of a run in one process.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.nodes import Village, child
from e2e.runs import EXAMPLES
from walras.exchange.audit import Audit
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.journal import Entry, read_public_record
from walras.study.runner import PUBLIC

CHANGES = {
    "metering_deadline_minutes = 15": "metering_deadline_minutes = 60",
    "dispute_window_minutes = 60": "dispute_window_minutes = 240",
    "slot_minutes = 15": "slot_minutes = 60",
    "[metering]\n": "[metering]\nlate_percent = 12\n",
}
ROW = 1
OLD_WH = 73
"""What the old meter had counted of the hour when it was taken down."""

SAME = {"readings_admitted", "attested", "settlement_submitted", "settled", SLOT_CORRECTED}
TRANSACTIONS = {"transactions", "journal_head", "transaction", "block", "gas"}


def walras(*command: str, slots: int = 0) -> str:
    process = child("", slots, list(command))
    said = process.communicate(timeout=400)[0]
    assert process.returncode == 0, said
    return said


def disturb(out: Path, exchanged: str, edited: str) -> None:
    registers = "--old-import", f"4205117:{4_205_117 + OLD_WH}", "--old-export", "88210:88210"
    walras("exchange-meter", str(out), "home-1", exchanged, *registers)
    walras("edit", str(out), "home-2", edited, "--import-wh", "250", "--export-wh", "0", "--reason", "meter_fault")


def told(entries: list[Entry]) -> list[tuple[str, int | None, str]]:
    """What was metered, attested and settled; hashes of the journal, in which other nodes' acts stand, left out."""
    rows = []
    for entry in entries:
        if entry.kind in SAME:
            public = {name: value for name, value in entry.public.items() if name not in TRANSACTIONS | {"signatures", "edits"}}
            rows.append((entry.kind, entry.slot, json.dumps(public, sort_keys=True)))
    return rows


def stands(entries: list[Entry]) -> dict[int, int]:
    """What the exchanged meter's member took in each slot, as it stands."""
    settled = {e.slot or 0: e.public["import_wh"][ROW] for e in entries if e.kind == "settlement_submitted"}
    return settled | {e.public["slot"]: e.public["import_wh"][ROW] for e in entries if e.kind == SLOT_CORRECTED}


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("day", "slots", "exchanged", "edited", "shown"),
    [
        ("2016-10-30", 25, "2016-10-30T02:00+01:00", "2016-10-30T01:00", "2016-10-30 02:00+01:00"),
        ("2016-03-27", 23, "2016-03-27T03:00", "2016-03-27T01:00", "2016-03-27 03:00"),
    ],
    ids=["autumn", "spring"],
)
def test_a_meter_is_exchanged_in_the_hour_of_the_clock_change_over_processes(
    tmp_path: Path, day: str, slots: int, exchanged: str, edited: str, shown: str
) -> None:
    text = (EXAMPLES / "rural1.toml").read_text().replace("start = 2016-06-21 ", f"start = {day} ")
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "hourly.toml"
    file.write_text(text)
    village, alone = Village(tmp_path, {}, file), tmp_path / "alone"
    before = 3 if slots == 25 else 2
    try:
        village.run(before)
        disturb(village.out, exchanged, edited)
        village.run(0)
    finally:
        village.stop()
    walras("run", str(file), "--out", str(alone), slots=before)
    disturb(alone, exchanged, edited)
    walras("run", str(file), "--out", str(alone))
    here, there = (read_public_record(out / PUBLIC) for out in (village.out, alone))
    assert told(here) == told(there)
    report = Audit(village.out / PUBLIC).run()
    assert (report.slots, report.checked["edits under their signature"]) == (slots, 1)
    corrections = [entry.public for entry in here if entry.kind == SLOT_CORRECTED]
    assert len(corrections) > slots // 2
    assert all(sum(public["cash_nano"]) == sum(public["energy_wh"]) == 0 for public in corrections)
    bill = " ".join(walras("bill", str(village.out), "home-1").split())
    assert f"edited: {shown}, meter exchange, by did:key:" in bill
    assert f"{slots} slots of 13 meters" in walras("validate", str(village.out))
    untouched = tmp_path / "untouched"
    walras("run", str(file), "--out", str(untouched))
    one_meter, two_meters = (stands(read_public_record(out / PUBLIC)) for out in (untouched, village.out))
    assert two_meters == one_meter  # what the old meter had counted, and the rest by the new one
    assert len(one_meter) == slots
