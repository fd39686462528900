"""Dynamic operating envelopes: how much each member may take and feed in, so that any use within is safe.

The rule: on a radial feeder more import lowers every voltage and more export raises it, and a branch is loaded most when all behind
it do the same, so a box of limits is safe when its two corners are: everyone at the import limit, everyone at the export limit.
Each corner is judged by a full AC power flow. Fairness is a named choice:

equal         the same kW for everyone (no more than the connection), as much as is safe
proportional  the same part of everyone's connection, as much as is safe
welfare       the largest sum that the feeder carries, whoever it is: near the transformer gets all, the far end what is left
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from walras.errors import Fault, GridError, InputError
from walras.grid.congestion import is_safe
from walras.grid.feeder import FeederSlot, group_orders
from walras.grid.network import Float, Int
from walras.grid.optimum import dispatch
from walras.market.orders import BUY, SELL, make_orders
from walras.units import MAX_ENERGY_WH

Fairness = Literal["equal", "proportional", "welfare"]

_STEPS = 40
_VALUE = 1_000_000


@dataclass(frozen=True, eq=False)
class Envelopes:
    """`import_kw`, `export_kw` [members] >= 0: the most each may take, and feed in, in the slot."""

    import_kw: Float
    export_kw: Float


def operating_envelopes(slot: FeederSlot, bus: Int, import_cap_kw: Float, export_cap_kw: Float, fairness: Fairness) -> Envelopes:
    """Limits for members at `bus` [members] with connections of `import_cap_kw` and `export_cap_kw` >= 0.

    What is not a member's is `slot.fixed_p_kw`. Raises GridError where that alone breaks a limit, InputError for unusable columns.
    """
    place = np.asarray(bus, dtype=np.int64)
    caps = [np.asarray(cap, dtype=np.float64) for cap in (import_cap_kw, export_cap_kw)]
    faults = [
        Fault("envelopes", name, cap.shape, f"{place.size} finite numbers of zero or more")
        for name, cap in zip(("import_cap_kw", "export_cap_kw"), caps, strict=True)
        if cap.shape != place.shape or not np.isfinite(cap).all() or (cap < 0).any()
    ]
    if fairness not in ("equal", "proportional", "welfare"):
        faults.append(Fault("envelopes", "fairness", fairness, "equal, proportional or welfare"))
    if faults:
        raise InputError("envelopes", faults)
    if not is_safe(slot, place, np.zeros(place.size)):
        raise GridError(
            "a limit is broken before any member takes or feeds in",
            thing=slot,
            way_out="relieve the feeder first: no envelope can make it safe",
        )
    taken, fed = (_corner(slot, place, cap, side, fairness) for cap, side in zip(caps, (BUY, SELL), strict=True))
    return Envelopes(taken, fed)


def _corner(slot: FeederSlot, bus: Int, cap: Float, side: int, fairness: Fairness) -> Float:
    if is_safe(slot, bus, side * cap):
        return cap.copy()
    if fairness == "welfare":
        return _largest_sum(slot, bus, cap, side)
    most = float(cap.max())

    def box(part: float) -> Float:
        return np.minimum(cap, part * most) if fairness == "equal" else part * cap

    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if is_safe(slot, bus, side * box(middle)):
            low = middle
        else:
            high = middle
    return box(low)


def _largest_sum(slot: FeederSlot, bus: Int, cap: Float, side: int) -> Float:
    """Everyone wants all of its connection at one price; the root gives or takes anything for nothing."""
    wh = np.floor(cap / slot.kw_per_wh).astype(np.int64)
    members = bus.size
    book = make_orders(
        np.append(np.full(members, side), -side),
        np.append(wh, MAX_ENERGY_WH),
        np.append(np.full(members, _VALUE if side == BUY else -_VALUE), 0),
        node=np.append(bus, slot.network.root),
    )
    groups = group_orders(book, slot.network)
    optimum = dispatch(slot, groups)
    by_group = optimum.fill_kw[groups.of_order[:members]]
    room = np.bincount(groups.of_order[:members], weights=cap, minlength=groups.price.size)[groups.of_order[:members]]
    limits = np.minimum(np.divide(by_group * cap, room, out=np.zeros(members), where=room > 0), cap)
    # the optimum sits on a limit to the last digit: step back until it is within
    for _ in range(_STEPS):
        if is_safe(slot, bus, side * limits):
            break
        limits = limits * (1 - 1e-7)
    return limits
