"""A meter whose clock is off, in a real run: when it is heard is in the record, and validation names it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import cbor2
import pytest

from e2e.node_loop import Loop, gateway_in, oracle_in
from e2e.runs import EXAMPLES
from walras.commands.run import run_command
from walras.commands.validate import validate_command
from walras.community import load_community
from walras.errors import InputError
from walras.exchange.acts import ActKind, acts_of
from walras.exchange.journal import Entry, read_public_record
from walras.exchange.parts import delay_of, part_as_json
from walras.exchange.phases import EventKind
from walras.metering.validation import Check
from walras.service.appointment import appointment
from walras.service.clocks import FileClock
from walras.service.gateway_node import Peer
from walras.service.oracle_reports import _median, read_report
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.runner import PUBLIC, Options, Run

SLOTS = 6
SLOW, FAST, LOCAL_TIME = 2, 5, 7
OFF = {SLOW: 90, FAST: -40, LOCAL_TIME: 3_600}


def community_with_clocks(to: Path, off: dict[int, int], late_percent: int = 0) -> Path:
    """A community file like rural1 in which some members' meters are behind by so many seconds."""
    to.mkdir(parents=True, exist_ok=True)
    head, *members = (EXAMPLES / "rural1.toml").read_text().split("[[member]]\n")
    head = head.replace("[metering]\n", f"[metering]\nlate_percent = {late_percent}\n")
    marked = [f"meter_clock_s = {off[row]}\n{text}" if row in off else text for row, text in enumerate(members)]
    path = to / "clocks.toml"
    path.write_text("[[member]]\n".join([head, *marked]))
    return path


def some_slots(run: Run, count: int) -> tuple[Entry, ...]:
    slots = iter(run)
    for _ in range(count):
        next(slots)
    slots.close()  # type: ignore[attr-defined]
    entries = tuple(run._journal.entries())
    run._journal.close()
    return entries


@cache
def with_clocks_off() -> tuple[Path, tuple[Entry, ...]]:
    """Six slots with a meter behind, one ahead, one on another time; disputes are heard for an hour."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    run = Run(community_with_clocks(folder, OFF, late_percent=1), folder / "run", Options())
    return folder / "run", some_slots(run, SLOTS)


def admitted_entries(entries: tuple[Entry, ...]) -> list[Entry]:
    return [entry for entry in entries if entry.kind == EventKind.READINGS_ADMITTED.value]


def test_a_meter_whose_clock_is_off_is_named_by_validation() -> None:
    found = {(one.check, one.device): (one.value, one.against) for one in validate_command(with_clocks_off()[0], None)}
    assert found[Check.CLOCK_DRIFT, SLOW] == (90, 0)
    assert found[Check.CLOCK_DRIFT, FAST] == (-40, 0)
    assert found[Check.CLOCK_CHANGE, LOCAL_TIME] == (3_600, 0)
    clocks = {device for check, device in found if check in (Check.CLOCK_DRIFT, Check.CLOCK_CHANGE)}
    assert clocks == set(OFF)


def test_what_a_fast_clock_sends_is_refused_as_early_and_a_slow_ones_counts() -> None:
    entries = admitted_entries(with_clocks_off()[1])
    held_up = [entry for entry in entries if delay_of(entry, FAST) is None]
    assert len(held_up) <= 1
    for entry in entries:
        assert entry.public["refused"] == ({} if entry in held_up else {"early": 1})
        assert delay_of(entry, SLOW) == 90
        assert delay_of(entry, FAST) in (-40, None)
        assert delay_of(entry, 0) == 0
        assert entry.private is not None
        shown = part_as_json(entry.kind, entry.private.members[SLOW] or b"")
        assert shown["heard_after_s"] == 90  # the member is shown what is kept of them


def test_a_run_that_goes_on_has_the_same_moments(tmp_path: Path) -> None:
    _, whole = with_clocks_off()
    community = community_with_clocks(tmp_path, OFF, late_percent=1)
    some_slots(Run(community, tmp_path / "run", Options()), 3)
    again = some_slots(Run(community, tmp_path / "run", Options()), SLOTS)
    assert [entry.hash for entry in again] == [entry.hash for entry in whole]


def test_what_a_day_showed_is_on_record_when_it_ends_once_and_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    community = community_with_clocks(tmp_path, {SLOW: 90})
    text = community.read_text()
    assert text.count("slot_minutes = 15") == 1
    community.write_text(text.replace("slot_minutes = 15", "slot_minutes = 60"))
    run_command(community, tmp_path / "run", Options(), None)
    assert "found in the readings 1 clock drift" in " ".join(capsys.readouterr().out.split())
    first = load_community(community).slots.start
    found = [entry for entry in read_public_record(tmp_path / "run" / PUBLIC) if entry.public.get("act") == "validated"]
    (act,) = acts_of(found)
    assert act.kind is ActKind.VALIDATED
    assert act.detail == {"first": first, "last": first + 23, "findings": [["clock_drift", SLOW, 1]]}
    run_command(community, tmp_path / "run", Options(), None)  # over already: nothing is added
    again = [entry for entry in read_public_record(tmp_path / "run" / PUBLIC) if entry.public.get("act") == "validated"]
    assert again == found


@pytest.fixture
def loop() -> Iterator[Loop]:
    living = Loop()
    yield living
    living.stop()


def test_oracles_of_their_own_say_when_a_meter_was_heard_as_those_in_one_process_do(loop: Loop, tmp_path: Path) -> None:
    path = community_with_clocks(tmp_path, {SLOW: 90}, late_percent=20)
    inside = some_slots(Run(path, tmp_path / "inside", Options()), 6)
    a = appointment(load_community(path))
    oracles = [oracle_in(loop, a, number, tmp_path) for number in range(4)]
    nodes = Nodes(gateway_in(loop, a, oracles, tmp_path), tuple(oracles))
    clock = FileClock(tmp_path / "clock")
    over = some_slots(Run(path, tmp_path / "over", Options(), lambda c, secrets: RemoteMetering(a, nodes, secrets, clock)), 6)
    assert [entry.hash for entry in over] == [entry.hash for entry in inside]
    assert 90 in {delay_of(entry, SLOW) for entry in admitted_entries(over)}


def test_a_clock_that_is_ahead_cannot_be_replayed_over_nodes_whose_clock_goes_forward(tmp_path: Path) -> None:
    path = community_with_clocks(tmp_path, {FAST: -1, SLOW: 901})
    a, away = appointment(load_community(path)), Peer("away", "127.0.0.1", 1)
    with pytest.raises(InputError) as refused:
        Run(path, tmp_path / "run", Options(), lambda c, s: RemoteMetering(a, Nodes(away, ()), s, FileClock(tmp_path / "clock")))
    assert [fault.value for fault in refused.value.faults] == [901, -1]


@pytest.mark.parametrize(
    ("heard", "middle"), [([], None), ([None, None], None), ([None, 7], 7), ([9, 0, 5], 5), ([1, 2], 1), ([0, 0, 0, 10**9], 0)]
)
def test_no_oracle_alone_says_when_a_meter_was_heard(heard: list[int | None], middle: int | None) -> None:
    assert _median(heard) == middle


@pytest.mark.parametrize(("said", "sound"), [([0, None], True), ([0], False), ("ab", False), ([0, True], False), ([0, 0.5], False)])
def test_what_is_no_row_of_seconds_says_nothing_of_when_meters_were_heard(said: object, sound: bool) -> None:
    report = read_report(cbor2.dumps([[b"a", b"b"], {}, None, said], canonical=True), 2)
    assert (report is not None and report.delays is not None) is sound
