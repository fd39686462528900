"""Validation while a run goes on: when the slots of a local day can change no more, they are looked at together.

What is found is an act by the exchange, by check and account, with how often; a day in which nothing is found has none. It changes
nothing by itself: a person edits (`exchange.edits`), or has the meter looked at.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from walras.exchange.acts import Act, ActKind
from walras.exchange.correction import corrected_at
from walras.exchange.journal import Entry
from walras.exchange.recorder import Recorder
from walras.exchange.terms import Terms
from walras.exchange.windows import KeptSlots, findings_in, keep, local_days, looked_back
from walras.metering.validation import Check, ValidationRule

EXCHANGE = "exchange"


class DayWatch:
    """The slots of days that are not validated yet, and those before them that say how long registers have stood still."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._days = local_days(terms)
        self._kept: KeptSlots = {}

    def note(self, slot: int, entry: Entry) -> None:
        """A slot's readings as they were admitted, or corrected."""
        keep(self._terms, self._kept, slot, entry)

    def validate_until(self, time: int | None, recorder: Recorder) -> None:
        """Validate every day that can change no more at the Unix `time`; None: all that are left."""
        while self._days and (time is None or corrected_at(self._terms, self._days[0][-1]) <= time):
            slots = self._days.pop(0)
            rule = ValidationRule()
            found = findings_in(self._terms, self._kept, slots, rule)
            self._kept = {slot: kept for slot, kept in self._kept.items() if slot >= slots.stop - looked_back(rule)}
            if found:
                order = list(Check)
                counts = Counter((order.index(one.check), one.device) for one in found)
                rows = [[order[check].name.lower(), device, count] for (check, device), count in sorted(counts.items())]
                at = datetime.fromtimestamp(corrected_at(self._terms, slots[-1]), UTC)
                detail = {"first": slots[0], "last": slots[-1], "findings": rows}
                recorder.note_act(Act(ActKind.VALIDATED, at, EXCHANGE, None, detail))
