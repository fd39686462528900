"""Whether the homes met the feeder's own meter, slot by slot and over the run, and whose register would explain it if not.

All of it from the public record: the transformer's signed reading and the balance that the oracles struck with losses of their own
power flow are in it, and the energy of every account. A slot that was corrected counts as it stands, with the balance struck then.
A lie of a few percent hides in the tolerance of a slot; over a day it does not, for errors of honest meters cancel. A suspicion is
a place to look, and no proof; and where a value is a substitute or an edit no meter has spoken, so such slots are counted apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from walras.exchange.phases import EventKind
from walras.exchange.statement import SettledSlot
from walras.metering.balance import BalanceRule, over_window, suspects
from walras.metering.parcel_reading import split_item
from walras.units import Int64, format_energy

LIKELY = 0.5
"""A suspect is named where its register, scaled, explains at least this share of the residual's square."""


class FeederBalance:
    """What the public record says of the balance: add each settled slot, then ask for the rows."""

    def __init__(self) -> None:
        self._said: list[tuple[int, int, int]] = []
        self._imports: list[Int64] = []
        self._exports: list[Int64] = []
        self._own: list[bool] = []

    def add(self, s: SettledSlot) -> None:
        """A slot as it stands; as it was settled first, where its correction has no balance of its own."""
        public = s.events[EventKind.READINGS_ADMITTED].public
        fields = split_item(bytes.fromhex(public.get("feeder") or ""))
        corrected = None if s.correction is None else s.correction.public
        struck, admitted, standing = public.get("balance_wh"), public["admitted"], s.first or s
        if corrected is not None and corrected.get("balance_wh") is not None:
            struck, admitted, standing = corrected["balance_wh"], corrected["admitted"], s
        if struck is not None and fields is not None:
            self._said.append((*struck, fields[2] - fields[3]))
            self._imports.append(standing.import_wh)
            self._exports.append(standing.export_wh)
            self._own.append(admitted == public["devices"])

    def rows(self, name: Callable[[int], str]) -> list[tuple[str, str]]:
        """A row where the balance does not hold, in a slot of the meters' own readings or over all of them; another for the other
        slots in which it does not. None where it holds, or no feeder meter was heard."""
        if not self._said:
            return []
        own = np.array(self._own, dtype=np.bool_)
        residual, tolerance, through = np.array(self._said, dtype=np.int64).T
        imports, exports = np.array(self._imports), np.array(self._exports)
        off = np.abs(residual) > tolerance
        rows = _measured_rows(imports[own], exports[own], residual[own], off[own], through[own], name) if own.any() else []
        if off[~own].any():
            text = f"{int(off[~own].sum())} of {int((~own).sum())} slots that stand on substitutes or edits: no meter's fault"
            rows.append(("off the feeder's own meter", text))
        return rows


def _measured_rows(
    imports: Int64, exports: Int64, residual: Int64, off: NDArray[np.bool_], through: Int64, name: Callable[[int], str]
) -> list[tuple[str, str]]:
    """Of slots in which every value is the meter's own: by how much they are off, and whose register would explain it."""
    losses = np.maximum(through - imports.sum(axis=1) + exports.sum(axis=1) - residual, 0).astype(np.float64)
    whole = over_window(imports, exports, through, losses, BalanceRule())
    if not off.any() and bool(whole.holds[0]):
        return []
    sum_off = int(residual.sum())
    amount = f"{format_energy(abs(sum_off), 2)} {'more' if sum_off > 0 else 'less'}"
    text = f"not met in {int(off.sum())} of {off.size} slots of meters' own readings"
    text += f"; {amount} came through than homes and losses took"
    for one in suspects(imports, exports, residual.astype(np.float64), 1):
        if one.explained >= LIKELY:
            word = "little" if one.missing_share > 0 else "much"
            text += f"; {one.explained:.0%} of it explained if {name(one.device)} shows too {word} {one.register}"
    return [("the feeder's own meter", text)]
