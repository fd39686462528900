"""Meters that lie, repeat, drift and stand still in a real run: refused by name or found in validation, and every slot settles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import mkdtemp

import pytest

from e2e.runs import EXAMPLES
from walras.commands.bill import bill_command
from walras.commands.validate import validate_command
from walras.community import load_community
from walras.exchange.journal import Entry
from walras.exchange.parts import closed_readings
from walras.exchange.phases import EventKind
from walras.exchange.statement import opened_terms
from walras.metering import derive_key, sign_reading
from walras.metering.reading import Quality
from walras.metering.validation import Check, Finding
from walras.study.meters import Meters, make_meters, run_seed
from walras.study.runner import Options, Run
from walras.units import Int64

HONEST = Meters.sign
THIEF = 0
EXCHANGED = derive_key(bytes(32), "the meter that was hung in place of account 0's")
STRANGER = derive_key(bytes(32), "a stranger")
Send = Callable[[Meters, int, int, list[bytes]], list[bytes]]
"""(meters, slot, counter, what honest meters send) -> what is sent in its place."""


def one(meters: Meters, slot: int, import_wh: int, counter: int, device: int = THIEF) -> bytes:
    return sign_reading(meters.keys[device], slot, import_wh, 0, counter)


def with_own(change: Callable[[Meters, int, int], list[bytes]]) -> Send:
    """Everybody is honest but the meter of account 0."""
    return lambda meters, slot, counter, sent: [*change(meters, slot, counter), *sent[1:]]


SCENARIOS: dict[str, tuple[Send, dict[str, int], int]] = {
    "honest": (lambda m, s, c, sent: sent, {}, 13),
    "reordered": (lambda m, s, c, sent: sent[::-1], {}, 13),
    "forged": (with_own(lambda m, s, c: [sign_reading(STRANGER, s, 9, 0, c)]), {"unknown_device": 1}, 12),
    "signed by another": (
        with_own(lambda m, s, c: [one(m, s, 9, c)[:-64] + sign_reading(m.keys[1], s, 9, 0, c)[-64:]]),
        {"bad_signature": 1},
        12,
    ),
    "changed on the way": (
        with_own(lambda m, s, c: [one(m, s, 9, c).replace(b"\x02\x09", b"\x02\x08", 1)]),
        {"bad_signature": 1},
        12,
    ),
    "replayed": (with_own(lambda m, s, c: [one(m, s - 4, 9, c - 4)]), {"replayed": 1}, 12),
    "duplicate": (with_own(lambda m, s, c: [one(m, s, 9, c), one(m, s, 8, c + 1)]), {"duplicate": 1}, 13),
    "backdated": (with_own(lambda m, s, c: [one(m, s - 1, 9, c + 2)]), {}, 12),
    "clock fast": (with_own(lambda m, s, c: [one(m, s + 2, 9, c + 3)]), {"early": 1}, 12),
    "clock slow by hours": (with_own(lambda m, s, c: [one(m, s - 8, 9, c + 4)]), {}, 12),
    "clock on summer time": (with_own(lambda m, s, c: [one(m, s + 8, 9, c + 5)]), {"early": 1}, 12),
    "exchanged, and its new key not enrolled": (
        with_own(lambda m, s, c: [sign_reading(EXCHANGED, s, 9, 0, 1)]),
        {"unknown_device": 1},
        12,
    ),
    "exchanged, and its counter begun anew": (with_own(lambda m, s, c: [one(m, s, 9, 0)]), {"replayed": 1}, 12),
    "spiking above the connection": (with_own(lambda m, s, c: [one(m, s, 200_000, c + 5)]), {}, 12),
    "negative": (with_own(lambda m, s, c: [one(m, s, 9, c + 6).replace(b"\x02\x09", b"\x02\x28", 1)]), {}, 12),
    "withheld": (with_own(lambda m, s, c: []), {}, 12),
}
"""What is sent, the refusals by reason that the record must show (empty: looked at below), how many readings are admitted."""


@cache
def disturbed() -> tuple[Path, tuple[Entry, ...]]:
    """A run whose nth slot sees the nth scenario; then eight slots in which one meter stands still, and one spike."""
    folder = Path(mkdtemp(prefix="walras-test-")) / "run"
    script: Iterator[Send] = iter([send for send, _, _ in SCENARIOS.values()])

    def sign(self: Meters, slot: int, counter: int, net_wh: Int64) -> list[bytes]:
        send = next(script, None)
        if send is not None:
            return send(self, slot, counter, HONEST(self, slot, counter, net_wh))
        still = net_wh.copy()
        still[1] = 123
        still[2] = 5_000 if counter == len(SCENARIOS) + 5 else 10
        return [one(self, slot, 9, counter + 100), *HONEST(self, slot, counter, still)[1:]]

    Meters.sign = sign  # type: ignore[method-assign]
    try:
        run = Run(EXAMPLES / "rural1.toml", folder, Options())
        slots = iter(run)
        for _ in range(len(SCENARIOS) + 10):
            next(slots)
        slots.close()  # type: ignore[attr-defined]
        entries = tuple(run._journal.entries())
        run._journal.close()
    finally:
        Meters.sign = HONEST  # type: ignore[method-assign]
    return folder, entries


def admitted(scenario: str) -> Entry:
    rows = [entry for entry in disturbed()[1] if entry.kind == EventKind.READINGS_ADMITTED.value]
    return rows[list(SCENARIOS).index(scenario)]


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_a_slot_with_an_adversary_settles_and_says_what_was_refused(scenario: str) -> None:
    _, refused, count = SCENARIOS[scenario]
    entry = admitted(scenario)
    assert entry.public["admitted"] == count
    if refused:
        assert entry.public["refused"] == refused
    elif scenario not in ("honest", "reordered", "withheld"):
        assert sum(entry.public["refused"].values()) == 1, entry.public["refused"]
    assert any(e.kind == "settled" and e.slot == entry.slot for e in disturbed()[1])
    quality = closed_readings(entry.slot or 0, entry).quality.tolist()
    assert quality == [Quality.MEASURED if count == 13 else Quality.SUBSTITUTE_ZERO] + [Quality.MEASURED] * 12


def test_readings_that_come_in_another_order_are_the_same_slot() -> None:
    entry = admitted("reordered")
    assert entry.slot is not None
    readings = closed_readings(entry.slot, entry)
    community = load_community(EXAMPLES / "rural1.toml")
    registry = make_meters(community, run_seed(community)).registry
    assert [registry.index[leaf[8:24]] for leaf in readings.leaves] == list(range(13))
    assert entry.public["refused"] == {}
    assert readings.quality.tolist() == [0] * 13


def test_a_negative_energy_has_no_encoding_and_is_refused_as_none() -> None:
    assert set(admitted("negative").public["refused"]) == {"out_of_range"}


def test_what_a_clock_that_is_slow_sends_is_late_and_never_another_slots_reading() -> None:
    assert set(admitted("clock slow by hours").public["refused"]) <= {"late", "backdated"}
    assert set(admitted("spiking above the connection").public["refused"]) == {"import_above_capacity"}


@cache
def findings() -> tuple[Finding, ...]:
    return tuple(validate_command(disturbed()[0], None))


@pytest.mark.parametrize(
    ("check", "device"), [(Check.STUCK, 1), (Check.SPIKE, 2), (Check.MISSING, 0), (Check.COUNTER_GAP, 0)], ids=lambda v: str(v)
)
def test_the_days_validation_finds_what_no_single_reading_shows(check: Check, device: int) -> None:
    assert (check, device) in {(one.check, one.device) for one in findings()}


def test_who_validated_is_on_record_and_an_honest_meter_is_not_accused_of_a_gap(capsys: pytest.CaptureFixture[str]) -> None:
    run = disturbed()[0]
    validate_command(run, None)
    printed = capsys.readouterr().out
    assert "registers do not move as they should" in printed
    assert "refused at admission:" in printed
    accused = {found.device for found in findings() if found.check in (Check.MISSING, Check.COUNTER_GAP)}
    assert accused == {THIEF}


def test_the_bill_says_which_slots_stand_on_substitutes_and_what_was_billed_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    entries = disturbed()[1]
    _, ids = opened_terms(entries)
    thief, honest = (next(name for name, account in ids.items() if account == wanted) for wanted in (THIEF, 3))
    bill_command(disturbed()[0], thief, None)
    said = " ".join(capsys.readouterr().out.split())
    rows = [entry for entry in entries if entry.kind == EventKind.READINGS_ADMITTED.value]
    marks = [int(closed_readings(entry.slot or 0, entry).quality[THIEF]) for entry in rows]
    runs = [len(list(run)) for mark, run in groupby(marks) if mark == Quality.SUBSTITUTE_ZERO]
    assert sum(runs) > 10
    assert said.count("no reading came: a substitute, zero") == len(runs)
    assert [int(count) for count in re.findall(r"a substitute, zero: (\d+) slots? from 2016-", said)] == runs
    bill_command(disturbed()[0], honest, None)
    assert "substitute" not in capsys.readouterr().out
