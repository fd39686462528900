"""From the journal to what validation looks at: a day's admitted readings of all meters as one window.

A reading is present where the leaf that a slot stands at, late readings included, is a meter's own; a substitute or an erased
part is missing. When a reading arrived is not in the journal: a clock that is off shows in the refusals (early, late, backdated)
instead.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.parts import salted_leaf
from walras.exchange.phases import EventKind
from walras.exchange.terms import Terms
from walras.metering.reading import MAX_DEVICE_QUALITY, split_reading
from walras.metering.validation import Window
from walras.metering.vault import SALT_BYTES

Leaves = dict[int, list[bytes | None]]


def leaves_by_slot(terms: Terms, entries: Iterable[Entry]) -> Leaves:
    """The leaf of each account that every slot stands at; None where it was erased."""
    found: Leaves = {}
    for entry in entries:
        if entry.kind in (EventKind.READINGS_ADMITTED.value, SLOT_CORRECTED) and entry.private is not None:
            slot = entry.slot if entry.slot is not None else entry.public["slot"]
            found[slot] = [salted_leaf(entry, account) for account in range(terms.members)]
    return found


def window_of(terms: Terms, leaves: Leaves, slots: range) -> Window:
    """The window of `slots`; rows of slots that were not settled are missing."""
    shape = (len(slots), terms.members)
    present = np.zeros(shape, dtype=np.bool_)
    columns = [np.zeros(shape, dtype=np.int64) for _ in range(3)]
    for row, slot in enumerate(slots):
        for account, leaf in enumerate(leaves.get(slot, [])):
            fields = None if leaf is None else split_reading(leaf[SALT_BYTES:])
            if fields is None or fields[5] > MAX_DEVICE_QUALITY:
                continue
            present[row, account] = True
            for column, value in zip(columns, fields[2:5], strict=True):
                column[row, account] = value
    imports, exports, counters = columns
    return Window(slots.start, present, imports, exports, counters, np.zeros(shape, dtype=np.int64))
