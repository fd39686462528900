"""Days of 92 and 100 quarter hours through the commands: run, validated, billed and audited like any other."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from e2e.runs import EXAMPLES, copy_of
from walras.commands.bill import bill_command
from walras.commands.edit import slot_named
from walras.commands.run import run_command
from walras.commands.validate import validate_command
from walras.errors import InputError
from walras.exchange.audit import Audit
from walras.exchange.statement import opened_terms
from walras.study.runner import PUBLIC, Options, open_journal

SPRING, AUTUMN = date(2016, 3, 27), date(2016, 10, 30)


@cache
def run_of(day: date) -> Path:
    folder = Path(mkdtemp(prefix="walras-test-")) / "run"
    run_command(EXAMPLES / "rural1.toml", folder, Options(start=day), None)
    return folder


@pytest.mark.parametrize(("day", "slots"), [(SPRING, 92), (AUTUMN, 100)], ids=["spring", "autumn"])
def test_a_day_on_which_the_clocks_change_is_run_validated_and_billed(
    day: date, slots: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(run_of(day), tmp_path / "run")
    capsys.readouterr()
    assert validate_command(run, None) == []
    assert f"{slots} slots of 13 meters: no findings" in capsys.readouterr().out
    bill_command(run, "home-1", None)
    assert f"{day} 00:00 to {day.replace(day=day.day + 1)} 00:00" in capsys.readouterr().out


def test_the_audit_holds_over_the_hour_that_comes_twice() -> None:
    report = Audit(run_of(AUTUMN) / PUBLIC).run()
    assert (report.slots, report.checked["settlements on the chain"]) == (100, 100)


def test_a_time_that_comes_twice_needs_its_offset_and_one_that_is_skipped_is_no_slot() -> None:
    terms = {}
    for day in (SPRING, AUTUMN):
        journal = open_journal(run_of(day))
        terms[day] = opened_terms(journal.entries())[0]
        journal.close()
    autumn = terms[AUTUMN]
    twice = [slot for slot in range(autumn.first, autumn.last + 1) if autumn.grid.local(slot).strftime("%H:%M") == "02:15"]
    assert [slot - autumn.first for slot in twice] == [9, 13]
    with pytest.raises(InputError, match=r"2016-10-30T02:15\+02:00 or 2016-10-30T02:15\+01:00: .* twice"):
        slot_named(autumn, "2016-10-30T02:15", "walras edit")
    for slot, offset in zip(twice, ("+02:00", "+01:00"), strict=True):
        assert slot_named(autumn, f"2016-10-30T02:15{offset}", "walras edit") == slot
        assert slot_named(autumn, str(slot), "walras edit") == slot
    with pytest.raises(InputError, match=r"2016-03-27T01:15\+01:00 or 2016-03-27T03:15\+02:00: .* leave this time out"):
        slot_named(terms[SPRING], "2016-03-27T02:15", "walras edit")
    after = [slot_named(terms[SPRING], time, "walras edit") for time in ("2016-03-27T03:15", "2016-03-27T01:15Z")]
    assert after[0] == after[1]
