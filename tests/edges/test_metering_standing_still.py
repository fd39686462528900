"""Registers that stand still are found over midnights, and named again on every day on which they still do."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_world import GRID, KEYS
from walras.exchange.windows import Kept, findings_of, local_days
from walras.metering.reading import sign_readings
from walras.metering.validation import Check, Finding, ValidationRule, Window, validate
from walras.study.watch import DayWatch

RULE = ValidationRule()


def days(first: date, count: int) -> Any:
    """As much of a run's terms as validation looks at."""
    slots = GRID.local_days(first, count)
    times = {"metering_deadline_s": 900, "dispute_window_s": 0}
    return SimpleNamespace(grid=GRID, first=slots.start, last=slots.stop - 1, members=1, **times)


def kept(terms: Any, import_wh: list[int]) -> dict[int, list[Kept]]:
    slots = range(terms.first, terms.last + 1)
    zeros = [0] * len(slots)
    signed = sign_readings(KEYS, zeros, slots, import_wh, zeros, range(len(slots)), zeros)
    return {slot: [Kept(reading, 0)] for slot, reading in zip(slots, signed, strict=True)}


def alive(count: int) -> list[int]:
    return [100 + at % 7 for at in range(count)]


def found(terms: Any, import_wh: list[int]) -> list[tuple[int, int, int]]:
    seen = findings_of(terms, kept(terms, import_wh), RULE)
    assert {one.check for one in seen} <= {Check.STUCK}
    return [(one.slot - terms.first, one.value, one.against) for one in seen]


@pytest.mark.parametrize(("still", "named"), [(7, []), (8, [92]), (4, [])])
def test_the_same_value_over_midnight_is_stuck_from_eight_slots_on(still: int, named: list[int]) -> None:
    terms = days(date(2016, 6, 21), 2)
    values = alive(192)
    values[92 : 92 + still] = [50] * still
    assert found(terms, values) == [(at, 50, 8) for at in named]


def test_a_meter_that_is_dead_is_named_when_288_slots_have_passed_and_on_each_day_after() -> None:
    terms = days(date(2016, 6, 21), 5)
    values = alive(480)
    values[10:] = [0] * 470
    assert found(terms, values) == [(10, 0, 288), (384, 0, 288)]  # reached in slot 297, on the fourth day
    assert found(terms, [*values[: 10 + 287], *alive(480 - 297)]) == []


def test_a_value_that_stands_for_days_is_named_once_a_day() -> None:
    terms = days(date(2016, 3, 26), 3)  # of 96, 92 and 96 slots
    assert found(terms, [77] * 284) == [(0, 77, 8), (96, 77, 8), (188, 77, 8)]


def test_the_exchange_that_looks_day_by_day_finds_what_a_look_at_all_finds() -> None:
    terms = days(date(2016, 6, 21), 5)
    values = alive(480)
    values[10:] = [0] * 470
    acts: list[Any] = []
    watch = DayWatch(terms)
    every = kept(terms, values)
    for day in local_days(terms):
        watch._kept |= {slot: every[slot] for slot in day}
        watch.validate_until(int(GRID.end(day[-1]).timestamp()) + 900, SimpleNamespace(note_act=acts.append))  # type: ignore[arg-type]
    assert len(watch._kept) == 288
    assert [(act.detail["first"] - terms.first, act.detail["findings"]) for act in acts] == [
        (288, [["stuck", 0, 1]]),
        (384, [["stuck", 0, 1]]),
    ]


def slowly(values: list[int], present: list[bool], rule: ValidationRule, since: int) -> list[Finding]:
    """Slot by slot, from the first: how long has this value stood?"""
    named: list[Finding] = []
    for at, value in enumerate(values):
        start = at
        while present[start] and start > 0 and present[start - 1] and values[start - 1] == value:
            start -= 1
        limit = rule.stuck_slots if value else rule.zero_slots
        stands = present[at] and at - start + 1 >= limit
        if stands and at >= since and (at - start + 1 == limit or at == since):
            named.append(Finding(Check.STUCK, 0, start if at - start + 1 == limit else since, value, limit))
    return named


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=40), st.data())
@settings(max_examples=150)
def test_runs_are_those_of_a_slow_look_slot_by_slot(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    values, present = [value for value, _ in rows], [gone > 0 for _, gone in rows]
    since, rule = data.draw(st.integers(0, len(rows) - 1)), ValidationRule(stuck_slots=3, zero_slots=5)
    column = np.array(values, dtype=np.int64)[:, None]
    zero, here = np.zeros_like(column), np.array(present)[:, None]
    window = Window(0, here, column, zero, np.arange(len(rows))[:, None], zero, here)
    seen = [one for one in validate(window, rule, since) if one.check is Check.STUCK]
    assert seen == slowly(values, present, rule, since)
