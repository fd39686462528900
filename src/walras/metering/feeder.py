"""The feeder's own meter as a witness: what each oracle holds the homes' readings against, beside their signatures.

The transformer's meter signs readings as any meter does, under a key that the grid operator vouches for. An oracle admits them by
the same rules, computes the losses by a power flow of what the homes reported, and strikes the balance (`balance`). Homes report no
reactive power, so the losses are those of active energy alone; the rule allows for the rest.

A balance that does not hold stops no settlement: one false meter could otherwise stop a feeder. It is part of what the oracle says
of the slot, stands in the record, and over a window `balance.suspects` says whose register would explain it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from walras.errors import GridError
from walras.grid import Network, power_flow
from walras.metering.admission import AdmissionState, Registry, Rules, admit, initial_state
from walras.metering.balance import BalanceRule, feeder_balance
from walras.metering.parcel_reading import split_item
from walras.metering.reading import KEY_ID
from walras.metering.slot_readings import SlotReadings
from walras.slots import SlotGrid
from walras.units import Int64

UNEVEN = 0.25
"""How far losses may be from those of an even spread, as a part of those of all energy spread evenly; on a June day of the shipped
feeders it was at most 0.08."""


@dataclass(frozen=True, slots=True)
class Feeder:
    """The transformer's meter (a registry of one device), the network behind it, and the bus of each home [devices]."""

    registry: Registry
    network: Network
    bus: Int64
    rule: BalanceRule = field(default_factory=BalanceRule)


@dataclass(frozen=True, slots=True)
class FeederCheck:
    """The balance of one slot in whole Wh: what the transformer gave beyond homes and losses, and what honest meters may be off."""

    residual_wh: int
    tolerance_wh: int

    @property
    def holds(self) -> bool:
        """True where the residual is within the tolerance."""
        return abs(self.residual_wh) <= self.tolerance_wh


def split_batch(feeder: Feeder, batch: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The homes' readings (and whatever else came), and the transformer's."""
    homes: list[bytes] = []
    transformer: list[bytes] = []
    for encoded in batch:
        named = encoded[KEY_ID] in feeder.registry.index
        (transformer if named and split_item(encoded) is not None else homes).append(encoded)
    return homes, transformer


def transformer_net_wh(feeder: Feeder, rules: Rules, slot: int, readings: Sequence[bytes]) -> int | None:
    """Import minus export of the transformer in `slot` by its admitted reading; None where there is none.

    The signature, the credential and the plausibility are checked; the time window is not, since the slot is closed already.
    """
    state: AdmissionState = initial_state(1)
    of_slot = [encoded for encoded in readings if (fields := split_item(encoded)) is not None and fields[1] == slot]
    _, admitted, _ = admit(state, feeder.registry, rules, of_slot[:1], rules.grid.end(slot))
    return int(admitted.net_wh[0]) if admitted.row.size else None


def check_feeder(feeder: Feeder, grid: SlotGrid, readings: SlotReadings, transformer_wh: int) -> FeederCheck:
    """The balance of a closed slot; `transformer_wh` positive into the feeder."""
    return check_energies(feeder, grid, readings.import_wh, readings.export_wh, transformer_wh)


def check_energies(feeder: Feeder, grid: SlotGrid, import_wh: Int64, export_wh: Int64, transformer_wh: int) -> FeederCheck:
    """The balance of a slot by what each home took and gave [devices]; `transformer_wh` positive into the feeder."""
    p_kw = np.zeros((1, feeder.network.buses))
    np.add.at(p_kw[0], feeder.bus, (import_wh - export_wh) / (1e3 * grid.hours))
    losses_wh = np.maximum(power_flow(feeder.network, p_kw).losses_kw * 1e3 * grid.hours, 0.0)
    column = np.array([transformer_wh], dtype=np.int64)
    balance = feeder_balance(import_wh[None], export_wh[None], column, losses_wh, feeder.rule)
    return FeederCheck(round(float(balance.residual_wh[0])), int(balance.tolerance_wh[0]) + 1)


def check_masked(feeder: Feeder, grid: SlotGrid, import_wh: int, export_wh: int, transformer_wh: int) -> FeederCheck:
    """The balance of a slot of which only the homes' sums are known; `transformer_wh` positive into the feeder.

    Which home took what is not known, so the losses are those of the net sum spread evenly over the homes, give or take `UNEVEN` of
    what they are when all that was taken and all that was given flows the same way; and the meters' errors count as though all
    stood together, the most they can. So the tolerance is wider than that of who sees each home (`check_feeder`).
    """
    homes = feeder.bus.size
    net, gross = (_spread_losses_wh(feeder, grid, energy / homes) for energy in (import_wh - export_wh, import_wh + export_wh))
    rule = feeder.rule
    errors = rule.home_limit * (import_wh + export_wh) + rule.transformer_limit * abs(transformer_wh) + 2 * (homes + 1)
    residual = transformer_wh - (import_wh - export_wh) - net
    return FeederCheck(round(residual), int(errors + UNEVEN * gross) + 1)


def _spread_losses_wh(feeder: Feeder, grid: SlotGrid, each_wh: float) -> float:
    p_kw = np.zeros((1, feeder.network.buses))
    np.add.at(p_kw[0], feeder.bus, each_wh / (1e3 * grid.hours))
    try:
        return max(float(power_flow(feeder.network, p_kw).losses_kw[0]) * 1e3 * grid.hours, 0.0)
    except GridError:
        return 0.0  # more than the wires carry: somebody lied, and no losses are to explain it away
