"""Dynamic operating envelopes: how much each member may take and feed in, so that any use within is safe.

The rule: a box of limits is safe when its worst corners are, and which those are follows from a radial feeder's physics.
* Every voltage falls with what anyone takes and rises with what anyone feeds in: the two corners where all do the same.
* What flows through a branch is largest when all behind it do the same. When they take, the current (power over voltage) is
  largest when the others take as well: a corner already. When they *feed in*, it is largest when the others take, because that
  lowers the voltage at which the power leaves: one corner more for each branch with a rating.
Every one of these corners is judged by a full AC power flow. Fairness is a named choice:

equal         the same kW for everyone (no more than the connection), as much as is safe
proportional  the same part of everyone's connection, as much as is safe
welfare       the largest sum that the feeder carries, whoever it is: near the transformer gets all, the far end what is left

Import and export are found each for itself; where both together break a corner of a branch, both shrink by one part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from walras.errors import Fault, GridError, InputError
from walras.grid.congestion import is_safe, largest_part, most_valuable
from walras.grid.feeder import FeederSlot
from walras.grid.network import Float, Int, Network
from walras.market.orders import BUY, SELL

Fairness = Literal["equal", "proportional", "welfare"]

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
    taken, fed = (_shape(slot, place, cap, side, fairness) for cap, side in zip(caps, (BUY, SELL), strict=True))
    most_taken = largest_part(lambda part: is_safe(slot, place, taken(part)))
    most_fed = largest_part(lambda part: is_safe(slot, place, -fed(part)))
    behind = members_behind(slot.network, place)
    both = largest_part(lambda part: is_safe(slot, place, worst_uses(taken(part * most_taken), fed(part * most_fed), behind)))
    return Envelopes(taken(both * most_taken), fed(both * most_fed))


def members_behind(network: Network, bus: Int) -> np.ndarray:
    """[branches, members] True where the branch feeds the member; only branches with a rating, and members on both its sides."""
    feeds = np.zeros((network.branches, network.buses), dtype=np.bool_)
    for k in range(network.branches - 1, -1, -1):
        below = network.branch_from == network.branch_to[k]
        feeds[k] = feeds[below].any(axis=0)
        feeds[k, network.branch_to[k]] = True
    of_member = feeds[:, bus]
    both_sides = of_member.any(axis=1) & ~of_member.all(axis=1)
    return np.asarray(np.unique(of_member[both_sides & np.isfinite(network.branch_rating)], axis=0))


def worst_uses(taken_kw: Float, fed_kw: Float, behind: np.ndarray) -> Float:
    """[uses, members] kW taken: all take, all feed in, and for each row of `behind` those feed in while the others take."""
    return np.vstack([taken_kw, -fed_kw, np.where(behind, -fed_kw, taken_kw)])


def _shape(slot: FeederSlot, bus: Int, cap: Float, side: int, fairness: Fairness) -> Callable[[float], Float]:
    """The limits [members] as a function of one number in [0, 1]; at 1 as large as this fairness could give."""
    if fairness == "equal":
        most = float(cap.max(initial=0.0))
        return lambda part: np.minimum(cap, part * most)
    full = cap
    if fairness == "welfare" and not is_safe(slot, bus, side * cap):
        full = most_valuable(slot, bus, cap, side, np.full(bus.size, _VALUE))
    return lambda part: part * full
