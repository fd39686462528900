"""Substitutes: the like day first, then the forecast, then zero; marked; never from another substitute; right on odd days."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np

from metering_world import GRID
from walras.metering.reading import Quality
from walras.metering.slot_readings import SlotReadings
from walras.metering.substitute import NO_FORECAST, DayType, SubstituteRule, day_type, like_slots, substitutes

RULE = SubstituteRule()
NO = np.array([NO_FORECAST, NO_FORECAST])


def local_slot(year: int, month: int, day: int, hour: int, minute: int = 0, fold: int = 0) -> int:
    found = [
        slot
        for slot in GRID.local_day(date(year, month, day))
        if (GRID.local(slot).hour, GRID.local(slot).minute, GRID.local(slot).fold) == (hour, minute, fold)
    ]
    return found[0]


def closed(slot: int, import_wh: list[int], quality: list[int]) -> SlotReadings:
    columns = [np.array(values, dtype=np.int64) for values in (import_wh, [0] * len(import_wh), quality)]
    return SlotReadings(slot, columns[0], columns[1], columns[2], tuple(b"" for _ in import_wh))


def test_a_tuesday_looks_to_monday_then_over_the_weekend_to_friday() -> None:
    tuesday = local_slot(2016, 6, 14, 12)
    days = [GRID.local(slot).date().day for slot in like_slots(GRID, tuesday, RULE)]
    assert days[:3] == [13, 10, 9]


def test_a_saturday_looks_to_saturdays_and_a_holiday_to_sundays() -> None:
    saturday = local_slot(2016, 6, 18, 12)
    assert [GRID.local(slot).date().day for slot in like_slots(GRID, saturday, RULE)] == [11, 4]
    unity_day = SubstituteRule(holidays=frozenset({date(2016, 10, 3)}))
    monday = local_slot(2016, 10, 3, 12)
    assert [GRID.local(slot).date() for slot in like_slots(GRID, monday, unity_day)] == [date(2016, 10, 2), date(2016, 9, 25)]


def test_the_same_local_time_is_found_across_the_clock_change() -> None:
    monday = local_slot(2016, 3, 28, 12)  # the clocks went forward on Sunday the 27th
    friday = like_slots(GRID, monday, RULE)[0]
    assert GRID.local(friday) == datetime(2016, 3, 25, 12).replace(tzinfo=GRID.local(friday).tzinfo)
    assert monday - friday == 3 * 96 - 4


def test_the_repeated_hour_finds_the_single_one_and_the_skipped_hour_is_left_out() -> None:
    for fold in (0, 1):
        repeated = local_slot(2016, 10, 30, 2, 15, fold)
        assert [GRID.local(slot).strftime("%d %H:%M") for slot in like_slots(GRID, repeated, RULE)] == ["23 02:15", "16 02:15"]
    after_the_gap = local_slot(2016, 4, 3, 2, 15)
    assert [GRID.local(slot).strftime("%d %H:%M") for slot in like_slots(GRID, after_the_gap, RULE)] == ["20 02:15"]
    after_the_double = local_slot(2016, 11, 6, 2, 15)
    first = like_slots(GRID, after_the_double, RULE)[0]
    assert GRID.local(first).astimezone(UTC).hour == 0  # the first of the two


def test_the_order_is_like_day_then_forecast_then_zero() -> None:
    slot = local_slot(2016, 6, 14, 12)
    monday, friday = like_slots(GRID, slot, RULE)[:2]
    history = {
        monday: closed(monday, [111, 999, 999, 999], [Quality.MEASURED, 16, 17, 18]),
        friday: closed(friday, [222, 333, 999, 999], [Quality.MEASURED, Quality.CLOCK_UNCERTAIN, 18, 18]),
    }
    forecast_import, forecast_export = np.array([7, 7, 70, NO_FORECAST]), np.array([8, 8, 80, 9])
    import_wh, export_wh, quality = substitutes(GRID, slot, history, forecast_import, forecast_export, RULE)
    assert import_wh.tolist() == [111, 333, 70, 0]
    assert export_wh.tolist() == [0, 0, 80, 0]
    assert quality.tolist() == [16, 16, 17, 18]


def test_a_measured_zero_is_a_value_and_not_a_gap() -> None:
    slot = local_slot(2016, 6, 14, 12)
    monday = like_slots(GRID, slot, RULE)[0]
    history = {monday: closed(monday, [0, 0], [0, 0])}
    import_wh, _, quality = substitutes(GRID, slot, history, np.array([5, 5]), np.array([5, 5]), RULE)
    assert (import_wh.tolist(), quality.tolist()) == ([0, 0], [16, 16])


def test_nothing_known_is_zero_and_says_so() -> None:
    import_wh, export_wh, quality = substitutes(GRID, 0, {}, NO, NO, RULE)
    assert (import_wh.tolist(), export_wh.tolist(), quality.tolist()) == ([0, 0], [0, 0], [18, 18])


def test_day_types() -> None:
    assert [day_type(date(2016, 6, day)) for day in (17, 18, 19)] == [DayType.WORKDAY, DayType.SATURDAY, DayType.SUNDAY]
