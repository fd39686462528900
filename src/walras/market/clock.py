"""The clock of an auction: where it starts, its tick, and the reserve at which it stops; the book carries it as "clock".

    {"direction": "descending" | "ascending", "start_price_micro_per_kwh", "tick_micro_per_kwh", "reserve_price_micro_per_kwh"}

Everything is optional: the tick is 1 micro/kWh, there is no reserve, and each rule states its own start and direction. Prices
of the clock are start, start +- tick, start +- 2 ticks, and so on, up to the reserve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from walras.errors import Fault, InputError
from walras.market.mechanism import read_part
from walras.units import MAX_PRICE_MICRO_PER_KWH

Direction = Literal["descending", "ascending"]

CLOCK_EXTRA = (("clock", "optional: direction, start_price_micro_per_kwh, tick_micro_per_kwh, reserve_price_micro_per_kwh"),)


@dataclass(frozen=True, slots=True)
class Clock:
    """Start and reserve in micro/kWh (None: the rule's own start, no reserve), tick >= 1."""

    direction: Direction
    start: int | None = None
    tick: int = 1
    reserve: int | None = None


def read_clock(name: str, extra: Mapping[str, object] | None, directions: tuple[Direction, ...]) -> Clock:
    """The book's clock; the first of `directions` is the default. InputError with every fault.

    >>> read_clock("dutch", {"clock": {"tick_micro_per_kwh": 500}}, ("descending",)).tick
    500
    """
    limit = MAX_PRICE_MICRO_PER_KWH
    fields = {
        "start_price_micro_per_kwh": (-limit, limit),
        "tick_micro_per_kwh": (1, limit),
        "reserve_price_micro_per_kwh": (-limit, limit),
    }
    given, faults = read_part(name, "clock", extra, ("direction", *fields))
    for field, (low, high) in fields.items():
        value = given.get(field)
        if field in given and (isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high):
            faults.append(Fault("clock", field, value, f"a whole number from {low} to {high}"))
    direction = given.get("direction", directions[0])
    if direction not in directions:
        faults.append(Fault("clock", "direction", direction, "one of " + ", ".join(directions)))
    if faults:
        raise InputError(f"{name} book", faults)
    start, tick, reserve = (given.get(field) for field in fields)
    return Clock(direction, start, 1 if tick is None else tick, reserve)
