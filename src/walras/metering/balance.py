"""The feeder's balance: what its transformer gave must be what the homes took, plus the losses.

    residual = transformer - (sum of the homes' net + losses)          Wh per slot, transformer positive into the feeder

A signature proves who spoke, not that the meter told the truth; the wire cannot be talked into anything. A positive residual is
energy nobody owns up to (consumption under-reported, generation over-reported for certificates); a negative one is generation
under-reported or consumption over-reported.

The tolerance is what honest meters may be off: each register is read in whole Wh (uniform error of one Wh a slot) and
within the error limits of its accuracy class (EN 50470-3: A 2 %, B 1 %, C 0.5 %, taken as uniform between the limits),
independent between meters; `sigmas` standard deviations of the sum, plus what the computed losses may be off. Over a
window registers do not round twice and a lie adds up, so `over_window` finds in a day what a slot hides.

`suspects` says which meter's readings, scaled, would explain the residual best. It accuses nobody: neighbours' solar generation
has one shape, and then several meters explain the residual almost equally well, which their shares show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walras.errors import Fault, InputError
from walras.units import Float64, Int64

MID_CLASS_LIMIT = {"A": 0.02, "B": 0.01, "C": 0.005}
"""Relative error limits of active-energy meters at reference load (EN 50470-3)."""


@dataclass(frozen=True, slots=True)
class BalanceRule:
    """Relative error limits of the homes' and the transformer's meters and of the computed losses; width in sigmas."""

    home_limit: float = MID_CLASS_LIMIT["B"]
    transformer_limit: float = MID_CLASS_LIMIT["C"]
    loss_limit: float = 0.1
    sigmas: float = 4.0

    def __post_init__(self) -> None:
        faults = [
            Fault("balance rule", name, getattr(self, name), "a finite number >= 0")
            for name in ("home_limit", "transformer_limit", "loss_limit", "sigmas")
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0)
        ]
        if faults:
            raise InputError("balance rule", faults)


@dataclass(frozen=True, slots=True)
class Balance:
    """Per slot [slots]: residual and tolerance in Wh, and whether the balance holds."""

    residual_wh: Float64
    tolerance_wh: Float64

    @property
    def holds(self) -> NDArray[np.bool_]:
        """True where the residual is within the tolerance."""
        return np.asarray(np.abs(self.residual_wh) <= self.tolerance_wh)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A meter whose register, scaled, explains a share of the residual.

    `missing_share` is by how much of what it reported the register falls short of (positive) or exceeds (negative) the truth.
    """

    device: int
    register: str
    missing_share: float
    explained: float


def feeder_balance(import_wh: Int64, export_wh: Int64, transformer_net_wh: Int64, losses_wh: Float64, rule: BalanceRule) -> Balance:
    """The balance of one feeder, slot by slot. Homes' registers [slots, homes]; transformer and losses [slots]; all Wh.

    InputError for columns that do not fit together or losses that are negative or not finite.

    >>> two = np.array([[600, 500]]), np.array([[0, 0]])
    >>> feeder_balance(*two, np.array([1130]), np.array([25.0]), BalanceRule()).residual_wh.tolist()
    [5.0]
    """
    _check_shapes(import_wh, export_wh, transformer_net_wh, losses_wh)
    net = import_wh.sum(axis=1) - export_wh.sum(axis=1)
    residual = transformer_net_wh - net - losses_wh
    return Balance(residual, _tolerance(import_wh, export_wh, transformer_net_wh, losses_wh, rule))


def over_window(import_wh: Int64, export_wh: Int64, transformer_net_wh: Int64, losses_wh: Float64, rule: BalanceRule) -> Balance:
    """The balance of the whole window as one: arrays of one element. Arguments as `feeder_balance`."""
    _check_shapes(import_wh, export_wh, transformer_net_wh, losses_wh)
    imported, exported = import_wh.sum(axis=0, keepdims=True), export_wh.sum(axis=0, keepdims=True)
    losses, through = losses_wh.sum(keepdims=True), np.abs(transformer_net_wh).sum(keepdims=True)
    residual = transformer_net_wh.sum(keepdims=True) - imported.sum(axis=1) + exported.sum(axis=1) - losses
    return Balance(residual, _tolerance(imported, exported, through, losses, rule))


def suspects(import_wh: Int64, export_wh: Int64, residual_wh: Float64, most: int = 5) -> tuple[Suspect, ...]:
    """The meters that explain the residual best by a constant factor on one register, best first, ties by device.

    `explained` is the share of the residual's square that goes away (0 to 1). Residual [slots], registers [slots, homes].
    """
    whole = float(residual_wh @ residual_wh)
    if whole == 0.0:
        return ()
    found = []
    for register, columns, sign in (("import", import_wh, 1.0), ("export", export_wh, -1.0)):
        reported = columns.astype(np.float64)
        square = np.einsum("ij,ij->j", reported, reported)
        along = residual_wh @ reported
        for device in np.flatnonzero(square > 0):
            slope = float(along[device] / square[device])
            explained = float(along[device] ** 2 / (square[device] * whole))
            found.append(Suspect(int(device), register, sign * slope, explained))
    return tuple(sorted(found, key=lambda s: (-s.explained, s.device, s.register))[:most])


def _tolerance(import_wh: Int64, export_wh: Int64, transformer_wh: Int64, losses_wh: Float64, rule: BalanceRule) -> Float64:
    """`sigmas` standard deviations of independent uniform errors, and the losses' own limit."""
    throughput = import_wh.astype(np.float64) + export_wh
    squares = (rule.home_limit**2 * throughput**2).sum(axis=1)
    squares += rule.transformer_limit**2 * transformer_wh.astype(np.float64) ** 2
    registers = 2 * (import_wh.shape[1] + 1)
    variance = squares / 3 + registers / 6  # a register delta is the difference of two readings rounded down
    return np.asarray(rule.sigmas * np.sqrt(variance) + rule.loss_limit * losses_wh)


def _check_shapes(import_wh: Int64, export_wh: Int64, transformer_wh: Int64, losses_wh: Float64) -> None:
    faults = []
    if import_wh.ndim != 2 or import_wh.shape != export_wh.shape:
        faults.append(Fault("balance", "registers", (import_wh.shape, export_wh.shape), "two tables [slots, homes]"))
    for name, column in (("transformer_net_wh", transformer_wh), ("losses_wh", losses_wh)):
        if column.shape != import_wh.shape[:1]:
            faults.append(Fault("balance", name, column.shape, f"one value for each of {import_wh.shape[0]} slots"))
    if not (np.isfinite(losses_wh).all() and (losses_wh >= 0).all()):
        faults.append(Fault("balance", "losses_wh", "negative or not finite", "finite energies >= 0"))
    if faults:
        raise InputError("balance", faults)
