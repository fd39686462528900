"""Substitute values for readings that are missing at the metering deadline, always marked as such.

The rule, in this order, per missing device:

1. SUBSTITUTE_SAME_SLOT: the device's value in the slot of the same local time on the latest earlier day of the same type
   (working day, Saturday, Sunday or holiday) within `lookback_days`, if that value was measured;
2. SUBSTITUTE_FORECAST: the forecast, if there is one (NO_FORECAST where not);
3. SUBSTITUTE_ZERO.

The like-day comparison is what metering codes prescribe for profiles with a known day type (VDE-AR-N 4400 and its kin).
A substitute is never a source for another one, so an error does not propagate. Where a late reading proves it wrong,
the difference is settled by a correction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

import numpy as np

from walras.metering.reading import MAX_DEVICE_QUALITY, Quality
from walras.metering.slot_readings import SlotReadings
from walras.slots import SlotGrid
from walras.units import Int64

NO_FORECAST = -1


class DayType(Enum):
    """Days on which people live alike."""

    WORKDAY = "workday"
    SATURDAY = "saturday"
    SUNDAY = "sunday or holiday"


def day_type(day: date, holidays: Collection[date] = ()) -> DayType:
    """The type of a local day.

    >>> day_type(date(2016, 10, 3)), day_type(date(2016, 10, 3), {date(2016, 10, 3)}).value
    (<DayType.WORKDAY: 'workday'>, 'sunday or holiday')
    """
    if day in holidays or day.weekday() == 6:
        return DayType.SUNDAY
    return DayType.SATURDAY if day.weekday() == 5 else DayType.WORKDAY


@dataclass(frozen=True, slots=True)
class SubstituteRule:
    """How far back to look for a day of the same type, and which days are holidays."""

    lookback_days: int = 14
    holidays: frozenset[date] = frozenset()


def like_slots(grid: SlotGrid, slot: int, rule: SubstituteRule) -> list[int]:
    """Slots at the same local time on earlier days of the same type, latest first.

    Where a day has the local time twice (the clocks go back) the first is taken; a day that skips it is left out,
    and so is a time before the grid's origin.
    """
    local = grid.local(slot)
    wanted = day_type(local.date(), rule.holidays)
    found = []
    for back in range(1, rule.lookback_days + 1):
        day = local.date() - timedelta(days=back)
        if day_type(day, rule.holidays) is not wanted:
            continue
        wanted_time = datetime.combine(day, local.time(), tzinfo=ZoneInfo(grid.timezone))  # fold 0: the first of two
        earlier = grid.slot_at(wanted_time.astimezone(UTC))
        if earlier >= 0 and grid.local(earlier).replace(tzinfo=None) == wanted_time.replace(tzinfo=None):
            found.append(earlier)
    return found


def substitutes(
    grid: SlotGrid,
    slot: int,
    history: Mapping[int, SlotReadings],
    forecast_import_wh: Int64,
    forecast_export_wh: Int64,
    rule: SubstituteRule,
) -> tuple[Int64, Int64, Int64]:
    """Import, export (Wh) and quality [devices] as substitutes for `slot`, for every device (the missing ones are used).

    `history` holds closed slots by index (any subset); forecasts are [devices], NO_FORECAST where there is none.
    """
    import_wh = np.where(forecast_import_wh == NO_FORECAST, 0, forecast_import_wh).astype(np.int64)
    export_wh = np.where(forecast_export_wh == NO_FORECAST, 0, forecast_export_wh).astype(np.int64)
    has_forecast = (forecast_import_wh != NO_FORECAST) & (forecast_export_wh != NO_FORECAST)
    import_wh[~has_forecast] = 0
    export_wh[~has_forecast] = 0
    quality = np.where(has_forecast, Quality.SUBSTITUTE_FORECAST, Quality.SUBSTITUTE_ZERO).astype(np.int64)
    open_rows = np.ones(import_wh.size, dtype=np.bool_)
    for earlier in like_slots(grid, slot, rule):
        if earlier not in history:
            continue
        past = history[earlier]
        use = open_rows & (past.quality <= MAX_DEVICE_QUALITY)
        import_wh[use] = past.import_wh[use]
        export_wh[use] = past.export_wh[use]
        quality[use] = Quality.SUBSTITUTE_SAME_SLOT
        open_rows &= ~use
    return import_wh, export_wh, quality
