"""Congestion management beside prices: redispatch after a copper-plate clearing, and curtailment by rule.

The rule: what the market agreed is changed no more than the wires need, the change is judged by a full AC power flow, and each
way says in its result what it cost or took from whom.

redispatch   the orders are cleared again within the limits; whoever is moved pays or is paid for the move by its own order, so
             the cost is exactly the welfare that the copper plate promised and the wires do not carry.
curtail      power is taken back by a written order until the flow is within the limits. "pro_rata": the same part of
             everyone's; "last_in_first_out": the latest connection first, the last of them in part; "cheapest": the least
             payment by what each asks for a kWh taken back, its effect on the limits considered.
pay_curtailment   whole Wh kept and taken, and what each is paid for what was taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from walras.errors import Fault, GridError, InputError
from walras.grid.feeder import FeederSlot, group_orders
from walras.grid.flow import power_flow
from walras.grid.limits import find_violations
from walras.grid.network import Float, Int
from walras.grid.nodal import clear as clear_nodal
from walras.grid.optimum import dispatch
from walras.grid.requirements import NOTHING_REQUIRED
from walras.market.clearing import Clearing, welfare_nano
from walras.market.conventions import Conventions
from walras.market.orders import BUY, Orders, make_orders
from walras.units import MAX_ENERGY_WH, WH_PER_KWH, Int64, checked_product, checked_sum

CurtailRule = Literal["pro_rata", "last_in_first_out", "cheapest"]
CURTAIL_RULES: tuple[CurtailRule, ...] = ("pro_rata", "last_in_first_out", "cheapest")

_STEPS = 40


@dataclass(frozen=True, eq=False)
class Redispatch:
    """`filled_wh` [orders] after, `moved_wh` [orders] = after - before, `pay_nano` [orders] what each pays for its move at its
    own price (a seller moved down gives back the cost it saves, a buyer moved down gets its bid back), `cost_nano` what is left
    for the operator to bear: exactly -sum(pay_nano). `clearing` is the nodal clearing with its certificate.
    """

    filled_wh: Int64
    moved_wh: Int64
    pay_nano: Int64
    cost_nano: int
    clearing: Clearing


def redispatch(orders: Orders, before: Clearing, slot: FeederSlot, conventions: Conventions) -> Redispatch:
    """Bring a clearing that knew no wires within the limits at the least cost. `slot` as for nodal clearing.

    What members pay for the trades of `before` stands; `pay_nano` comes on top. Losses, which a copper plate does not know, are
    in the cost.
    """
    after = clear_nodal(orders, conventions, slot)
    moved = after.filled_wh - before.filled_wh
    pay = checked_product(moved * orders.side, orders.price_micro_per_kwh, "pay_nano")
    cost = welfare_nano(orders, before) - welfare_nano(orders, after)
    return Redispatch(after.filled_wh, moved, pay, cost, after)


@dataclass(frozen=True, eq=False)
class Curtailment:
    """`kept_kw`, `taken_kw` [units] >= 0; kept + taken is what was wanted."""

    kept_kw: Float
    taken_kw: Float


def curtail(
    slot: FeederSlot,
    bus: Int,
    wanted_kw: Float,
    rule: CurtailRule,
    *,
    side: int = -1,
    connected: Int | None = None,
    price_micro_per_kwh: Int64 | None = None,
) -> Curtailment:
    """Take back of units at `bus` [units] that want `wanted_kw` >= 0 until no limit is broken.

    `side` -1: they feed in (PV), +1: they take (cars, heat pumps). `connected` [units] ranks connections for
    "last_in_first_out" (larger: later; equal ranks: the later row first). `price_micro_per_kwh` [units] >= 0 is what each asks
    for a kWh taken back, for "cheapest". The rest of the feeder is `slot.fixed_p_kw`.
    Raises GridError where even without these units a limit is broken, InputError for unusable columns.
    """
    wanted, place = np.asarray(wanted_kw, dtype=np.float64), np.asarray(bus, dtype=np.int64)
    faults = _faults(wanted, place, rule, connected, price_micro_per_kwh)
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
    if price_micro_per_kwh is not None and rule == "cheapest":
        left = most_valuable(slot, place, wanted, side, price_micro_per_kwh + 1)
        part = largest_part(lambda part: is_safe(slot, place, side * part * left))
        return Curtailment(part * left, wanted - part * left)
    low, high = 0.0, total
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if is_safe(slot, place, side * kept(middle)):
            high = middle
        else:
            low = middle
    return Curtailment(kept(high), wanted - kept(high))


def _faults(wanted: Float, place: Int, rule: CurtailRule, connected: Int | None, price_micro_per_kwh: Int64 | None) -> list[Fault]:
    faults = []
    if wanted.ndim != 1 or wanted.shape != place.shape:
        faults.append(Fault("curtailment", "wanted_kw", wanted.shape, f"one number for each of {place.size} units"))
    elif wanted.size and not (np.isfinite(wanted).all() and wanted.min() >= 0):
        faults.append(Fault("curtailment", "wanted_kw", float(wanted.min()), "finite numbers of zero or more"))
    if rule not in CURTAIL_RULES:
        faults.append(Fault("curtailment", "rule", rule, "one of " + ", ".join(CURTAIL_RULES)))
    if rule == "last_in_first_out" and connected is None:
        faults.append(Fault("curtailment", "connected", None, "the rank of each connection"))
    price = price_micro_per_kwh
    if rule == "cheapest" and (price is None or price.shape != wanted.shape or (price.size > 0 and price.min() < 0)):
        faults.append(Fault("curtailment", "price_micro_per_kwh", price, f"a price of zero or more for each of {place.size} units"))
    return faults


@dataclass(frozen=True, eq=False)
class CurtailedEnergy:
    """Columns [units]: `kept_wh` + `taken_wh` is the wanted energy in whole Wh; `pay_nano` <= 0, what the unit is paid for
    `taken_wh`; `cost_nano` their sum, which the operator bears.
    """

    kept_wh: Int64
    taken_wh: Int64
    pay_nano: Int64
    cost_nano: int


def pay_curtailment(
    curtailment: Curtailment, hours: float, price_micro_per_kwh: Int64 | int, *, paid_percent: int = 100
) -> CurtailedEnergy:
    """What each unit is paid for energy taken back: `paid_percent` of its price (one for all, or [units] >= 0), whole nano.

    What is kept is rounded down to a whole Wh, what is paid rounded down to a nano. 0 percent: taken without payment, as in a
    connection agreement that allows it.

    2.5 kW of a plant's 10 kW taken for a quarter of an hour at 8 ct/kWh:
    >>> done = pay_curtailment(Curtailment(np.array([7.5]), np.array([2.5])), 0.25, 80_000)
    >>> done.kept_wh.tolist(), done.taken_wh.tolist(), done.pay_nano.tolist(), done.cost_nano
    ([1875], [625], [-50000000], 50000000)
    """
    price = np.broadcast_to(np.asarray(price_micro_per_kwh, dtype=np.int64), curtailment.kept_kw.shape)
    faults = []
    if not 0 <= paid_percent <= 100:
        faults.append(Fault("curtailment", "paid_percent", paid_percent, "0 to 100"))
    if (price < 0).any():
        faults.append(Fault("curtailment", "price_micro_per_kwh", int(price.min()), "zero or more"))
    if faults:
        raise InputError("curtailment", faults)
    wh = WH_PER_KWH * hours
    wanted = np.floor((curtailment.kept_kw + curtailment.taken_kw) * wh + 1e-6).astype(np.int64)
    kept = np.minimum(np.floor(curtailment.kept_kw * wh + 1e-6).astype(np.int64), wanted)
    pay = -(checked_product(wanted - kept, price, "pay_nano") // 100 * paid_percent)
    return CurtailedEnergy(kept, wanted - kept, pay, -checked_sum(pay, "cost_nano"))


def most_valuable(slot: FeederSlot, bus: Int, cap_kw: Float, side: int, value_micro: Int64) -> Float:
    """[units] kW, at most `cap_kw`: the use of the feeder with the largest sum of `value_micro` > 0 per kWh.

    Each wants all of its cap; the root gives or takes anything for nothing. The optimum sits on its limits to the last digit.
    """
    units = bus.size
    book = make_orders(
        np.append(np.full(units, side), -side),
        np.append(np.floor(cap_kw / slot.kw_per_wh).astype(np.int64), MAX_ENERGY_WH),
        np.append(value_micro * (1 if side == BUY else -1), 0),
        node=np.append(bus, slot.network.root),
    )
    groups = group_orders(book, slot.network)
    of_unit = groups.of_order[:units]
    filled = dispatch(replace(slot, requirements=NOTHING_REQUIRED), groups).fill_kw[of_unit]
    room = np.bincount(of_unit, weights=cap_kw, minlength=groups.price.size)[of_unit]
    return np.minimum(np.divide(filled * cap_kw, room, out=np.zeros(units), where=room > 0), cap_kw)


def largest_part(safe: Callable[[float], bool]) -> float:
    """The largest part in [0, 1] that is `safe`, by bisection; where 0 is safe and safety ends once."""
    if safe(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if safe(middle):
            low = middle
        else:
            high = middle
    return low


def is_safe(slot: FeederSlot, bus: Int, taken_kw: Float) -> bool:
    """True when the feeder carries `taken_kw` [units] (or every row of [uses, units]) at `bus` on top of what is fixed, without
    breaking any limit.

    A flow that does not exist is not safe. Limits as they stand, without tolerance.
    """
    assert slot.fixed_p_kw is not None
    assert slot.fixed_q_kvar is not None
    uses = np.atleast_2d(taken_kw)
    p = np.tile(slot.fixed_p_kw, (uses.shape[0], 1))
    np.add.at(p.T, bus, uses.T)
    try:
        flow = power_flow(slot.network, p, np.broadcast_to(slot.fixed_q_kvar, p.shape))
    except GridError:
        return False
    if not ((-slot.export_limit_kw <= flow.slack_p_kw) & (flow.slack_p_kw <= slot.import_limit_kw)).all():
        return False
    return len(find_violations(slot.network, flow, loading_tolerance=0.0, voltage_tolerance_pu=0.0)) == 0
