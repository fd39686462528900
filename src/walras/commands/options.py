"""What several commands read off the command line alike: a day, a moment, a file of text, options that only go together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from cyclopts import Parameter

from walras.errors import Fault, InputError, reason_of

_AS = (
    "Whose key opens the run's folder, in a file (PEM), or the secret that the run was begun with; "
    "default: the key that the run made beside it."
)
AsFile = Annotated[Path | None, Parameter(name=("--as", "--secret"), help=_AS)]
"""Whose key opens a run's folder, in a file; `--secret` where that is the secret which the run was begun with."""


def read_day(text: str | None, command: str, option: str) -> date | None:
    """A local day; None without one; InputError, naming `option`, for anything but YYYY-MM-DD.

    >>> read_day("2016-06-21", "walras run", "--start")
    datetime.date(2016, 6, 21)
    """
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError as cause:
        raise InputError(command, [Fault("command line", option, text, "a day as YYYY-MM-DD")]) from cause


def read_moment(text: str, zone: str, command: str, option: str, otherwise: str = "") -> datetime:
    """A moment that says its offset, or one of the clocks of `zone`, the community's; `otherwise`: what else the option takes.

    InputError, naming `option`, for anything else: for a local time that the day does not have, and for one that it has twice.

    >>> read_moment("2016-06-06T12:00+02:00", "Europe/Berlin", "walras run", "--until").isoformat()
    '2016-06-06T12:00:00+02:00'
    >>> read_moment("2016-06-06T12:00", "Europe/Berlin", "walras run", "--until").isoformat()
    '2016-06-06T12:00:00+02:00'
    """
    try:
        moment = datetime.fromisoformat(text) if ":" in text else None
    except ValueError:
        moment = None
    if moment is None:
        expected = f"a time of {zone}, such as 2016-06-06T12:00, or one with its offset, 2016-06-06T12:00+02:00{otherwise}"
        raise InputError(command, [Fault("command line", option, text, expected)])
    if moment.utcoffset() is not None:
        return moment
    first, second = (moment.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first.replace(tzinfo=timezone(first.utcoffset() or timedelta(0)))
    if first.astimezone(UTC) < second.astimezone(UTC):
        why, both = f"clocks of {zone} have this time twice on that day", (first, second)
    else:  # read as before the change and as after it, a time that is left out lies after and before it
        why, both = f"clocks of {zone} leave this time out on that day", (second, first)
    a, b = (one.astimezone(UTC).astimezone(ZoneInfo(zone)).isoformat(timespec="minutes") for one in both)
    way_out = "say the offset, and the time is the one that is meant"
    raise InputError(command, [Fault("command line", option, text, f"{a} or {b}: {why}")], way_out=way_out)


def clock_of(path: Path | None) -> Callable[[], datetime]:
    """The clock in a file, for a replay; without one the machine's."""
    from walras.service.clocks import FileClock, wall_clock

    return wall_clock if path is None else FileClock(path)


def missing_beside(given: Mapping[str, object], needed: Mapping[str, object]) -> list[Fault]:
    """A fault for each option of `needed` that is absent, if any of `given` is there.

    >>> [str(fault) for fault in missing_beside({"--roll": "r.toml"}, {"--keys": None, "--secret": "s"})]
    ['command line: --keys = None: expected a value beside --roll']
    """
    there = [name for name, value in given.items() if value is not None]
    absent = [name for name, value in needed.items() if value is None]
    return [Fault("command line", name, None, f"a value beside {', '.join(there)}") for name in absent] if there else []


def read_text(path: Path, command: str, name: str, expected: str) -> str:
    """The text of a file, of standard input for `-`; InputError, naming the argument, where it cannot be read."""
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError(command, [Fault(str(path), name, reason_of(cause), expected)]) from cause


MOST_DAYS = 36_525
"""A century: no option that counts days goes further."""


def check_days(command: str, option: str, days: int | None, least: int) -> None:
    """InputError, naming `option`, for a number of days that no calendar holds."""
    if days is not None and not least <= days <= MOST_DAYS:
        raise InputError(command, [Fault("command line", option, days, f"{least} to {MOST_DAYS:,} days")])
