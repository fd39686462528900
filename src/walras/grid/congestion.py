"""Congestion management beside prices: redispatch after a copper-plate clearing, and curtailment by rule.

The rule: what the market agreed is changed no more than the wires need, the change is judged by a full AC power flow, and each
way says in its result what it cost or took from whom.

redispatch   the orders are cleared again within the limits; whoever is moved up is paid (or pays) by its own order, so the cost is
             exactly the welfare that the copper plate promised and the wires do not carry.
curtail      no prices: power is taken back by a written order until the flow is within the limits.
             "pro_rata": the same part of everyone's; "last_in_first_out": the latest connection first, the last of them in part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from walras.errors import Fault, GridError, InputError
from walras.grid.feeder import FeederSlot
from walras.grid.flow import power_flow
from walras.grid.limits import find_violations
from walras.grid.network import Float, Int
from walras.grid.nodal import clear as clear_nodal
from walras.market.clearing import Clearing, welfare_nano
from walras.market.conventions import Conventions
from walras.market.orders import Orders
from walras.units import Int64

CurtailRule = Literal["pro_rata", "last_in_first_out"]

_STEPS = 40


@dataclass(frozen=True, eq=False)
class Redispatch:
    """`filled_wh` [orders] after, `moved_wh` [orders] = after - before, `cost_nano` what the change costs by the orders' prices,
    `clearing` the nodal clearing with its certificate.
    """

    filled_wh: Int64
    moved_wh: Int64
    cost_nano: int
    clearing: Clearing


def redispatch(orders: Orders, before: Clearing, slot: FeederSlot, conventions: Conventions) -> Redispatch:
    """Bring a clearing that knew no wires within the limits at the least cost. `slot` as for nodal clearing."""
    after = clear_nodal(orders, conventions, slot)
    cost = welfare_nano(orders, before) - welfare_nano(orders, after)
    return Redispatch(after.filled_wh, after.filled_wh - before.filled_wh, cost, after)


@dataclass(frozen=True, eq=False)
class Curtailment:
    """`kept_kw`, `taken_kw` [units] >= 0; kept + taken is what was wanted."""

    kept_kw: Float
    taken_kw: Float


def curtail(
    slot: FeederSlot, bus: Int, wanted_kw: Float, rule: CurtailRule, *, side: int = -1, connected: Int | None = None
) -> Curtailment:
    """Take back of units at `bus` [units] that want `wanted_kw` >= 0 until no limit is broken.

    `side` -1: they feed in (PV), +1: they take (cars, heat pumps). `connected` [units] ranks connections for
    "last_in_first_out" (larger: later; equal ranks: the later row first). The rest of the feeder is `slot.fixed_p_kw`.
    Raises GridError where even without these units a limit is broken, InputError for unusable columns.
    """
    wanted, place = np.asarray(wanted_kw, dtype=np.float64), np.asarray(bus, dtype=np.int64)
    faults = []
    if wanted.ndim != 1 or wanted.shape != place.shape:
        faults.append(Fault("curtailment", "wanted_kw", wanted.shape, f"one number for each of {place.size} units"))
    elif wanted.size and not (np.isfinite(wanted).all() and wanted.min() >= 0):
        faults.append(Fault("curtailment", "wanted_kw", float(wanted.min()), "finite numbers of zero or more"))
    if rule not in ("pro_rata", "last_in_first_out"):
        faults.append(Fault("curtailment", "rule", rule, "pro_rata or last_in_first_out"))
    if rule == "last_in_first_out" and connected is None:
        faults.append(Fault("curtailment", "connected", None, "the rank of each connection"))
    if faults:
        raise InputError("curtailment", faults)
    last_first = np.lexsort((-np.arange(wanted.size), -(np.zeros(wanted.size) if connected is None else connected)))
    total = float(wanted.sum())

    def kept(taken: float) -> Float:
        if rule == "pro_rata":
            return wanted * (1 - taken / total) if total else wanted
        queue = wanted[last_first]
        away = np.clip(taken - (np.cumsum(queue) - queue), 0.0, queue)
        out = wanted.copy()
        out[last_first] = queue - away
        return out

    if is_safe(slot, place, side * wanted):
        return Curtailment(wanted.copy(), np.zeros_like(wanted))
    if not is_safe(slot, place, np.zeros_like(wanted)):
        raise GridError(
            "a limit is broken even with all of these units taken back",
            thing=slot,
            way_out="curtail the rest of the feeder too, or clear with prices: nodal clearing reports what stays broken",
        )
    low, high = 0.0, total
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if is_safe(slot, place, side * kept(middle)):
            high = middle
        else:
            low = middle
    return Curtailment(kept(high), wanted - kept(high))


def is_safe(slot: FeederSlot, bus: Int, taken_kw: Float) -> bool:
    """True when the feeder carries `taken_kw` [units] at `bus` on top of what is fixed, without breaking any limit.

    A flow that does not exist is not safe. Limits as they stand, without tolerance.
    """
    assert slot.fixed_p_kw is not None
    p = slot.fixed_p_kw + np.bincount(bus, weights=taken_kw, minlength=slot.network.buses)
    try:
        flow = power_flow(slot.network, p, slot.fixed_q_kvar)
    except GridError:
        return False
    flow_in = float(flow.slack_p_kw[0])
    if not -slot.export_limit_kw <= flow_in <= slot.import_limit_kw:
        return False
    return len(find_violations(slot.network, flow, loading_tolerance=0.0, voltage_tolerance_pu=0.0)) == 0
