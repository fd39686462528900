"""What a record puts, or would put, on the chain: packed positions of each slot, settled by itself and as it stands in a batch.

A slot settled by itself has a row for every account, and each correction a transaction with the rows that it changes. In a batch a
slot stands as corrected, with the rows that are not zero. Kept as packed bytes: gas depends on them to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from walras.exchange.correction import difference_positions
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.phases import EventKind
from walras.exchange.public import column
from walras.ledger import net_positions, pack_positions
from walras.ledger.costs import Slots
from walras.ledger.keys import SIGNATURE_BYTES
from walras.units import Int64


class SettledPositions:
    """Collects entry by entry; `slots` gives the first so many settled slots for `ledger.costs`."""

    def __init__(self) -> None:
        self._settled: dict[int, tuple[Int64, Int64]] = {}
        self._corrections: list[tuple[int, Int64, Int64]] = []
        self._signatures, self._attested = 0, 0

    def add(self, entry: Entry) -> None:
        """Take note of an entry; most are none of these."""
        public = entry.public
        if entry.kind == EventKind.ATTESTED.value:
            self._signatures += len(public["signatures"]) // (2 * SIGNATURE_BYTES)
            self._attested += 1
        elif entry.kind == EventKind.SETTLEMENT_SUBMITTED.value and entry.slot is not None:
            self._settled[entry.slot] = column(public, "cash_nano"), column(public, "energy_wh")
        elif entry.kind == SLOT_CORRECTED:
            self._corrections.append((public["slot"], column(public, "cash_nano"), column(public, "energy_wh")))

    def slots(self, count: int) -> Slots:
        """The first `count` settled slots."""
        chosen = dict(list(self._settled.items())[:count])
        corrections = [(slot, cash, energy) for slot, cash, energy in self._corrections if slot in chosen]
        standing = dict(chosen)
        for slot, cash, energy in corrections:
            standing[slot] = standing[slot][0] + cash, standing[slot][1] + energy
        return Slots(
            tuple(pack_positions(net_positions(np.arange(cash.size), cash, energy)) for cash, energy in chosen.values()),
            tuple(pack_positions(difference_positions(cash, energy)) for _, cash, energy in corrections),
            tuple(pack_positions(difference_positions(cash, energy)) for cash, energy in standing.values()),
            round(self._signatures / max(self._attested, 1)),
        )


def settled_positions(record: Iterable[Entry]) -> SettledPositions:
    """All of a record."""
    found = SettledPositions()
    for entry in record:
        found.add(entry)
    return found
