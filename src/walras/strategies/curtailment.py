"""What happens behind a meter that may not feed in all it wants: the own battery first, then the inverter.

A member that must take back c Wh first gives less from its battery, then stores what it would have fed in, as far as power and
room allow; only the rest is not produced. Its meter shows c Wh less export either way, and stored energy is never worth less
than energy that nobody gets.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from walras.devices.battery import BatteryFleet, FleetColumns, most_charge, stored_change
from walras.errors import Fault, InputError
from walras.strategies.dispatch import Dispatch
from walras.units import Int64


def curtail(done: Dispatch, taken_wh: Int64, fleet: BatteryFleet, soc_uwh: Int64) -> Dispatch:
    """`done` with `taken_wh` [members] >= 0 less fed in; `soc_uwh` [n] was stored at the start of the slot.

    Raises InputError for a member that would have to take back more than it feeds in.
    """
    fed = np.maximum(-done.metered_wh, 0)
    wrong = np.flatnonzero((taken_wh < 0) | (taken_wh > fed))
    if wrong.size:
        faults = [Fault(f"member {m}", "curtailed", int(taken_wh[m]), f"0 to {int(fed[m])} Wh, what it feeds in") for m in wrong]
        raise InputError("curtailment", faults)
    if not taken_wh.any():
        return done
    action, after = _keep(done.action_wh, taken_wh, fleet.columns, soc_uwh)
    return replace(done, metered_wh=done.metered_wh + taken_wh, soc_uwh=after, action_wh=action)


@njit(cache=True)
def _keep(action: Int64, taken: Int64, fleet: FleetColumns, soc: Int64) -> tuple[Int64, Int64]:
    member, capacity, climit, _, gain, drain = fleet
    kept, after = action.copy(), np.empty_like(action)
    for j in range(member.size):
        most = most_charge(soc[j], capacity[j], climit[j], gain[j])
        kept[j] = max(action[j], min(action[j] + taken[member[j]], most))
        after[j] = soc[j] + stored_change(kept[j], gain[j], drain[j])
    return kept, after
