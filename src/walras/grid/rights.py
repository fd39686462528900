"""Virtual trades between nodes: positions from a source bus to a sink bus, settled at the difference of their prices.

The rule: a right of E Wh from a to b receives E * (price_b - price_a), where price is the part that limits make (voltage +
congestion; losses are physical and are not hedged), positive or negative: an obligation, not an option. Who delivers at a and takes
at b while holding the right pays, net of it, one price at both ends.

Revenue adequacy. Rights whose powers the wires carry all together (simultaneous feasibility) are paid by the congestion rent: to
first order exactly, in AC up to the curvature of the limits. So it is not taken for granted: the settlement compares the payout
with the rent, and where the rent does not suffice, the positive payouts are scaled down pro rata, to the nano.

Source: Hogan, "Contract networks for electric power transmission", J. Regulatory Economics 4(3), 1992.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from walras.errors import Fault, InputError
from walras.grid.congestion import is_safe
from walras.grid.dividing import divide_exactly
from walras.grid.feeder import FeederSlot
from walras.grid.network import Network
from walras.units import Int64, as_int64, checked_product, checked_sum


@dataclass(frozen=True, eq=False)
class Rights:
    """Positions, columns of equal length: `holder` (a participant), `source` and `sink` bus, `energy_wh` >= 0 in the slot."""

    holder: Int64
    source: Int64
    sink: Int64
    energy_wh: Int64

    @property
    def count(self) -> int:
        """How many."""
        return int(self.energy_wh.size)


@dataclass(frozen=True, eq=False)
class RightsSettlement:
    """`due_nano` [rights] at the price difference; `paid_nano` [rights] what the holder receives (negative: pays);
    `rent_nano` the congestion rent; `left_nano` rent less all that is paid: what the operator keeps, >= 0 unless the rent itself is
    negative; `short_nano` >= 0 what holders do not get of what is due.
    """

    due_nano: Int64
    paid_nano: Int64
    rent_nano: int
    left_nano: int
    short_nano: int


def make_rights(network: Network, holder: ArrayLike, source: ArrayLike, sink: ArrayLike, energy_wh: ArrayLike) -> Rights:
    """Checked columns. InputError with every fault: unknown buses, negative energy, unequal lengths."""
    names = ("holder", "source", "sink", "energy_wh")
    columns = dict(zip(names, map(as_int64, (holder, source, sink, energy_wh), names), strict=True))
    if len({column.size for column in columns.values()}) != 1:
        raise InputError("rights", [Fault("rights", "columns", [c.size for c in columns.values()], "columns of one length")])
    faults = [
        Fault(f"right {row}", name, int(columns[name][row]), f"a bus index below {network.buses}")
        for name in ("source", "sink")
        for row in np.flatnonzero((columns[name] < 0) | (columns[name] >= network.buses))
    ]
    negative = np.flatnonzero(columns["energy_wh"] < 0)
    faults += [Fault(f"right {row}", "energy_wh", int(columns["energy_wh"][row]), "zero or more") for row in negative]
    if faults:
        raise InputError("rights", faults)
    return Rights(**columns)


def simultaneously_feasible(slot: FeederSlot, rights: Rights) -> bool:
    """True when the wires carry all rights used at once, on top of what is fixed, in a full AC power flow."""
    bus = np.concatenate([rights.source, rights.sink])
    taken = np.concatenate([-rights.energy_wh, rights.energy_wh]) * slot.kw_per_wh
    return is_safe(slot, bus, taken)


def settle_rights(rights: Rights, scarcity_micro_per_kwh: Int64, rent_nano: int) -> RightsSettlement:
    """Pay the holders out of the congestion rent. `scarcity_micro_per_kwh` [buses] is `rent.scarcity_price` of the clearing.

    Holders of negative payouts pay in full and their money joins the rent. Where that does not cover the positive payouts they are
    scaled pro rata, exact by largest remainder.

    2 kWh from bus 0 to bus 1 at 5 ct of congestion are due 10 ct; with 8 ct of rent they get 8:
    >>> held = Rights(*(np.array(c) for c in ([7], [0], [1], [2000])))
    >>> done = settle_rights(held, np.array([0, 50_000]), 80_000_000)
    >>> done.due_nano.tolist(), done.paid_nano.tolist(), done.left_nano, done.short_nano
    ([100000000], [80000000], 0, 20000000)
    """
    due = checked_product(rights.energy_wh, scarcity_micro_per_kwh[rights.sink] - scarcity_micro_per_kwh[rights.source], "due_nano")
    positive = np.maximum(due, 0)
    wanted = checked_sum(positive, "due_nano")
    purse = max(rent_nano - checked_sum(np.minimum(due, 0), "due_nano"), 0)
    paid = due.copy()
    if wanted > purse:
        paid = np.where(due > 0, divide_exactly(purse, positive, "due_nano"), due)
    total = checked_sum(paid, "paid_nano")
    return RightsSettlement(due, np.asarray(paid, dtype=np.int64), rent_nano, rent_nano - total, max(wanted - purse, 0))
