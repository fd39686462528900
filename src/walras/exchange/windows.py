"""From the journal to what validation looks at: a day's readings of all meters as one window, with when each was heard.

A reading is present where the leaf that a slot stands at, late readings included, is a meter's own; a substitute or an erased
part is missing. It is heard where a meter sent something for the slot, admitted or refused; the oracles say when.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.parts import delay_of, salted_leaf
from walras.exchange.phases import EventKind
from walras.exchange.terms import Terms
from walras.metering.parcel_reading import fields_of_leaf
from walras.metering.reading import MAX_DEVICE_QUALITY, Quality
from walras.metering.slot_readings import quality_of_leaf
from walras.metering.validation import Check, Finding, ValidationRule, Window, validate
from walras.metering.vault import SALT_BYTES


@dataclass(frozen=True, slots=True)
class Kept:
    """What the journal has of one account in one slot: the bare leaf it stands at (None: erased), and when the meter was heard."""

    leaf: bytes | None
    delay_s: int | None


KeptSlots = dict[int, list[Kept]]


def kept_by_slot(terms: Terms, entries: Iterable[Entry]) -> KeptSlots:
    """What is kept of each account, by slot: the leaf of the last correction, and the last that was heard."""
    found: KeptSlots = {}
    for entry in entries:
        if entry.kind in (EventKind.READINGS_ADMITTED.value, SLOT_CORRECTED) and entry.private is not None:
            keep(terms, found, entry.slot if entry.slot is not None else entry.public["slot"], entry)
    return found


def keep(terms: Terms, kept: KeptSlots, slot: int, entry: Entry) -> None:
    """Put what an entry has of a slot's readings into `kept`, in the place of what was there before."""
    before = kept.get(slot, [Kept(None, None)] * terms.members)
    kept[slot] = [_kept(entry, account, was) for account, was in enumerate(before)]


def _kept(entry: Entry, account: int, was: Kept) -> Kept:
    leaf, delay = salted_leaf(entry, account), delay_of(entry, account)
    return Kept(None if leaf is None else leaf[SALT_BYTES:], was.delay_s if delay is None else delay)


def window_of(terms: Terms, kept: KeptSlots, slots: range) -> Window:
    """The window of `slots`; rows of slots that were not settled are missing."""
    shape = (len(slots), terms.members)
    present, heard = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    columns = [np.zeros(shape, dtype=np.int64) for _ in range(4)]
    for row, slot in enumerate(slots):
        for account, one in enumerate(kept.get(slot, [])):
            if one.delay_s is not None:
                heard[row, account], columns[3][row, account] = True, one.delay_s
            fields = None if one.leaf is None else fields_of_leaf(one.leaf)
            if fields is None or fields[5] > MAX_DEVICE_QUALITY:
                continue
            present[row, account] = True
            for column, value in zip(columns, fields[2:5], strict=False):
                column[row, account] = value
    imports, exports, counters, delays = columns
    return Window(slots.start, present, imports, exports, counters, delays, heard)


def findings_of(terms: Terms, kept: KeptSlots, rule: ValidationRule) -> list[Finding]:
    """What validation finds day by day in the slots up to the last one kept."""
    settled = (range(day.start, min(day.stop, max(kept, default=day.start - 1) + 1)) for day in local_days(terms))
    return [one for slots in settled if len(slots) for one in findings_in(terms, kept, slots, rule)]


def findings_in(terms: Terms, kept: KeptSlots, slots: range, rule: ValidationRule) -> list[Finding]:
    """What validation finds in `slots` together. What was erased is no gap, and neither is what a person edited.

    Of the slots before, `looked_back` of them are in `kept` if registers are to be seen that stand still over midnight.
    """
    seen = validate(window_of(terms, kept, range(max(terms.first, slots.start - looked_back(rule)), slots.stop)), rule, slots.start)
    return [one for one in seen if one.check is not Check.MISSING or _is_gap(kept, one)]


def looked_back(rule: ValidationRule) -> int:
    """How many slots before a day say whether registers have stood still since then."""
    return max(rule.stuck_slots, rule.zero_slots)


def local_days(terms: Terms) -> list[range]:
    """The slots of each local day of a run, or the part of it that belongs to the run."""
    days, slot = [], terms.first
    while slot <= terms.last:
        day = terms.grid.local_day(terms.grid.local(slot).date())
        days.append(range(slot, min(day.stop, terms.last + 1)))
        slot = day.stop
    return days


def _is_gap(kept: KeptSlots, one: Finding) -> bool:
    if one.slot not in kept:
        return True
    leaf = kept[one.slot][one.device].leaf
    return leaf is not None and quality_of_leaf(leaf) != Quality.EDITED
