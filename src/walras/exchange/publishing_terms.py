"""The public terms of published statistics: the budget of each period, the periods and cells of a run, what counts of a member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from walras.errors import Fault, InputError
from walras.slots import SlotGrid
from walras.units import Int64

PERIODS = {"day": "%Y-%m-%d", "month": "%Y-%m"}
CELLS = {"period": "", "day": "%Y-%m-%d", "hour": "%H:00"}
"""How finely a statistic is published: one value, one a local day, or one an hour of the day over all days of the period."""


@dataclass(frozen=True, slots=True)
class PublishingTerms:
    """The budget of each period (thousandths of epsilon), how long a period is, and most Wh a day that count of one member."""

    epsilon_milli: int
    period: str
    cap_wh_per_day: int

    @property
    def epsilon(self) -> Fraction:
        """The budget of a period."""
        return Fraction(self.epsilon_milli, 1_000)

    def to_public(self) -> dict[str, Any]:
        """Plain values, for the journal."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def publishing_terms_from_public(public: Mapping[str, Any]) -> PublishingTerms:
    """The inverse of `PublishingTerms.to_public`; InputError where a field is unknown, of another kind or out of range."""
    kinds = {"epsilon_milli": int, "period": str, "cap_wh_per_day": int}
    known = set(public) == set(kinds) and all(type(public[name]) is kind for name, kind in kinds.items())
    if not known or public["epsilon_milli"] < 1 or public["cap_wh_per_day"] < 1 or public["period"] not in PERIODS:
        raise InputError("terms", [Fault("terms", "privacy", dict(public), "the terms of published statistics")])
    return PublishingTerms(**public)


@dataclass(frozen=True, slots=True)
class Span:
    """A run as its periods see it: the terms of publishing, the grid and the slots of the run, and when slots are final."""

    terms: PublishingTerms
    grid: SlotGrid
    first: int
    last: int

    def periods(self) -> dict[str, range]:
        """The slots of each period that the run has any of, by the period's name."""
        found: dict[str, list[int]] = {}
        for slot in range(self.first, self.last + 1):
            found.setdefault(self.grid.local(slot).strftime(PERIODS[self.terms.period]), []).append(slot)
        return {name: range(slots[0], slots[-1] + 1) for name, slots in found.items()}

    def slots(self, period: str) -> range:
        """The slots of a period; InputError names those that the run has."""
        periods = self.periods()
        if period not in periods:
            known = ", ".join(list(periods)[:8]) + (f" … ({len(periods)} in all)" if len(periods) > 8 else "")
            raise InputError("period", [Fault("statistics", "period", period, f"one of {known}")])
        return periods[period]

    def cells(self, period: str, by: str) -> tuple[Int64, tuple[str, ...]]:
        """Which cell each slot of a period counts in, and the cells' names; InputError for a `by` that is none."""
        if by not in CELLS:
            raise InputError("statistic", [Fault("statistics", "by", by, "one of " + ", ".join(CELLS))])
        labels = [self.grid.local(slot).strftime(CELLS[by]) or period for slot in self.slots(period)]
        names = tuple(sorted(set(labels)))
        return np.array([names.index(label) for label in labels], dtype=np.int64), names

    def cap_wh(self, period: str) -> int:
        """Most energy that counts of one member over a period: the day's cap times the local days of it that the run has."""
        return self.terms.cap_wh_per_day * len({self.grid.local(slot).date() for slot in self.slots(period)})
