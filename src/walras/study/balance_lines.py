"""Whether the homes met the feeder's own meter, slot by slot and over the run, and whose register would explain it if not.

All of it from the public record: the transformer's signed reading and the balance that the oracles struck with losses of their own
power flow are in it, and the energy of every account as it was settled. A lie of a few percent hides in the tolerance of a slot;
over a day it does not, for errors of honest meters cancel. A suspicion is a place to look, and no proof.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from walras.exchange.phases import EventKind
from walras.exchange.statement import SettledSlot
from walras.metering.balance import BalanceRule, over_window, suspects
from walras.metering.reading import split_reading
from walras.units import Int64, format_energy

LIKELY = 0.5
"""A suspect is named where its register, scaled, explains at least this share of the residual's square."""


class FeederBalance:
    """What the public record says of the balance: add each settled slot, then ask for the rows."""

    def __init__(self) -> None:
        self._said: list[tuple[int, int, int]] = []
        self._imports: list[Int64] = []
        self._exports: list[Int64] = []

    def add(self, s: SettledSlot) -> None:
        """A slot as it was settled first: what came late changes no balance that was struck before."""
        public = s.events[EventKind.READINGS_ADMITTED].public
        fields = split_reading(bytes.fromhex(public.get("feeder") or ""))
        if public.get("balance_wh") is not None and fields is not None:
            first = s.first or s
            self._said.append((*public["balance_wh"], fields[2] - fields[3]))
            self._imports.append(first.import_wh)
            self._exports.append(first.export_wh)

    def rows(self, name: Callable[[int], str]) -> list[tuple[str, str]]:
        """One row where the balance does not hold, in a slot or over all; none where it holds, or no feeder meter was heard."""
        if not self._said:
            return []
        residual, tolerance, through = np.array(self._said, dtype=np.int64).T
        imports, exports = np.array(self._imports), np.array(self._exports)
        losses = np.maximum(through - imports.sum(axis=1) + exports.sum(axis=1) - residual, 0).astype(np.float64)
        whole = over_window(imports, exports, through, losses, BalanceRule())
        broken = int((np.abs(residual) > tolerance).sum())
        if not broken and bool(whole.holds[0]):
            return []
        off = int(residual.sum())
        amount = f"{format_energy(abs(off), 2)} {'more' if off > 0 else 'less'}"
        text = f"not met in {broken} of {residual.size} slots; {amount} came through than homes and losses took"
        for one in suspects(imports, exports, residual.astype(np.float64), 1):
            if one.explained >= LIKELY:
                word = "little" if one.missing_share > 0 else "much"
                text += f"; {one.explained:.0%} of it explained if {name(one.device)} shows too {word} {one.register}"
        return [("the feeder's own meter", text)]
