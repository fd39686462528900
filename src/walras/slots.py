"""Slots: delivery intervals counted by an integer; UTC inside, local time only at the edges.

A `SlotGrid` has an origin (UTC, whole seconds) and a slot length that divides the hour. Slot `i` runs from
`origin + i * length` for one length. Local days have 92, 96 or 100 quarter hours: `local_day` gives the slots of one from
the time zone's own rules. A naive datetime is refused: nobody guesses a time zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from walras.errors import Fault, InputError

ALLOWED_MINUTES = (5, 15, 30, 60)


@dataclass(frozen=True, slots=True)
class SlotGrid:
    """Slots of `minutes` from `origin` (aware, UTC), shown to people in `timezone` (IANA name).

    >>> grid = SlotGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), 15, "Europe/Berlin")
    >>> len(grid.local_day(date(2016, 3, 27))), len(grid.local_day(date(2016, 10, 30)))
    (92, 100)
    """

    origin: datetime
    minutes: int
    timezone: str

    def __post_init__(self) -> None:
        faults = []
        if self.origin.tzinfo is None:
            faults.append(Fault("slot grid", "origin", self.origin, "an aware datetime (with a time zone)"))
        elif self.origin.utcoffset() != timedelta(0):
            faults.append(Fault("slot grid", "origin", self.origin, "UTC"))
        if self.minutes not in ALLOWED_MINUTES:
            faults.append(Fault("slot grid", "minutes", self.minutes, f"one of {ALLOWED_MINUTES}"))
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            faults.append(Fault("slot grid", "timezone", self.timezone, "an IANA time zone such as 'Europe/Berlin'"))
        if faults:
            raise InputError("slot grid", faults)

    @property
    def hours(self) -> float:
        """Slot length in hours."""
        return self.minutes / 60

    def start(self, slot: int) -> datetime:
        """UTC start of `slot`."""
        return self.origin + timedelta(minutes=self.minutes * int(slot))

    def end(self, slot: int) -> datetime:
        """UTC end of `slot`."""
        return self.start(slot + 1)

    def local(self, slot: int) -> datetime:
        """Start of `slot` in local time."""
        return self.start(slot).astimezone(ZoneInfo(self.timezone))

    def shown(self, slot: int) -> str:
        """Start of `slot` for people: local time, with its offset where the day has that time twice.

        >>> grid = SlotGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), 60, "Europe/Berlin")
        >>> [grid.shown(grid.slot_at(datetime(2016, 10, 30, hour, tzinfo=UTC))) for hour in (0, 1, 2)]
        ['2016-10-30 02:00+02:00', '2016-10-30 02:00+01:00', '2016-10-30 03:00']
        """
        local = self.local(slot)
        twice = local.replace(fold=1 - local.fold).utcoffset() != local.utcoffset()
        return local.isoformat(" ", "minutes") if twice else f"{local:%Y-%m-%d %H:%M}"

    def slot_at(self, moment: datetime) -> int:
        """The slot that contains `moment`; InputError for a naive datetime."""
        if moment.tzinfo is None:
            raise InputError("slot", [Fault("slot", "moment", moment, "an aware datetime (with a time zone)")])
        return int((moment - self.origin) // timedelta(minutes=self.minutes))

    def local_day(self, day: date) -> range:
        """The slots of one local day: 92, 96 or 100 quarter hours."""
        return range(self._midnight(day), self._midnight(day + timedelta(days=1)))

    def local_days(self, first: date, days: int) -> range:
        """The slots of `days` local days from `first`."""
        return range(self._midnight(first), self._midnight(first + timedelta(days=days)))

    def _midnight(self, day: date) -> int:
        midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.timezone))
        return self.slot_at(midnight.astimezone(UTC))
