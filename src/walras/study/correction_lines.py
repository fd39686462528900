"""What corrected slots were corrected by, late readings or people's edits; and how many edits the feeder's meter speaks against.

All of it from the public record: a correcting entry names its edits, and has the balance that the oracles struck of the corrected
slot. An edit is never refused for the balance, since the transformer's meter or another home may be the one that is wrong; but one
that leaves the slot further off than meters' errors explain is counted, and shown wherever corrections are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from walras.exchange.acts import ActKind
from walras.exchange.fold import ACT
from walras.exchange.journal import Entry
from walras.exchange.phases import EventKind
from walras.exchange.statement import SettledSlot
from walras.metering.feeder import FeederCheck


@dataclass
class Corrections:
    """Slots corrected after late readings, by edits, by both (counted in the two before as well); by edits against the balance.

    `overtaken`: edits that do not stand, for when their slot was corrected something else had come there.
    """

    late: int = 0
    edited: int = 0
    both: int = 0
    against: int = 0
    overtaken: int = 0

    def add(self, s: SettledSlot, acts: Iterable[Entry]) -> None:
        """A slot as it stands; `acts` of the record, the edits of the slot among them."""
        if s.first is None or s.correction is None:
            return
        public, seqs = s.correction.public, set(s.correction.public.get("edits", []))
        orders = [entry for entry in acts if _is_edit(entry) and entry.public["detail"]["slot"] == s.slot]
        edited = [entry.public["account"] for entry in orders if entry.seq in seqs]
        self.overtaken += len(orders) - len(edited)
        others = (s.import_wh != s.first.import_wh) | (s.export_wh != s.first.export_wh)
        others[edited] = False
        admitted = s.first.events[EventKind.READINGS_ADMITTED].public
        late = not seqs or bool(np.any(others)) or public["admitted"] > admitted["admitted"]
        self.late += late
        self.edited += bool(seqs)
        self.both += late and bool(seqs)
        after, before = _check(public.get("balance_wh")), _check(admitted.get("balance_wh"))
        self.against += bool(seqs) and after is not None and is_against(None if late else before, after)

    def rows(self) -> list[tuple[str, str]]:
        """One row for each kind there is."""
        rows = [("corrected after late readings", f"{self.late:,} slots")] if self.late else []
        if self.edited:
            text = f"{self.edited:,} slots" + (f", {self.both:,} of them after late readings too" if self.both else "")
            off = f"; {self.against:,} now further off the feeder's own meter than meters' errors explain"
            rows.append(("edited by people", text + (off if self.against else "")))
        if self.overtaken:
            text = f"{self.overtaken:,}: a late reading or another edit had come there; see the bill"
            rows.append(("edits that did not count", text))
        return rows


def is_against(before: FeederCheck | None, after: FeederCheck) -> bool:
    """Whether an edit leaves a slot off the feeder's meter, and further than it was (None: not known, or without what came late).

    >>> is_against(FeederCheck(5, 40), FeederCheck(-41, 40)), is_against(FeederCheck(300, 40), FeederCheck(200, 40))
    (True, False)
    """
    return not after.holds and (before is None or abs(after.residual_wh) > abs(before.residual_wh))


def _check(struck: list[int] | None) -> FeederCheck | None:
    return None if struck is None else FeederCheck(*struck)


def _is_edit(entry: Entry) -> bool:
    return entry.kind == ACT and entry.public["act"] == ActKind.EDITED.name.lower()
