"""Days on the command line."""

from __future__ import annotations

from datetime import date, datetime

from walras.errors import Fault, InputError


def day_of(text: str | None) -> date | None:
    """The local day that an option names; InputError for anything but YYYY-MM-DD.

    >>> day_of("2016-06-10"), day_of(None)
    (datetime.date(2016, 6, 10), None)
    """
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError as cause:
        raise InputError("walras run", [Fault("command line", "--start", text, "a day as YYYY-MM-DD")]) from cause
