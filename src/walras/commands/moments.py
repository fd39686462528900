"""Moments on the command line: ISO times that say their offset."""

from __future__ import annotations

from datetime import datetime

from walras.errors import Fault, InputError


def parse_moment(where: str, option: str, text: str) -> datetime:
    """The moment in `text`; InputError where it is none or says no offset.

    >>> parse_moment("walras run", "--until", "2016-06-06T12:00+02:00").isoformat()
    '2016-06-06T12:00:00+02:00'
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        raise InputError(where, [Fault("command line", option, text, "a time with its offset, such as 2016-06-06T12:00+02:00")])
    return moment
