"""What a member does, and what it orders, while somebody who may has set bounds to what passes its meter.

A bound is on net energy at the meter in the slot, at least `low_wh` and at most `high_wh`, positive taken: a limit on feeding in is
a low bound, a limit on taking a high one, a set-point both. The battery goes there first, as far as power, room and content
allow. Then solar power is held back (as `curtailment`), but only where more would be fed in than the bound allows: none is thrown
away to take more. Load is nobody's to switch: what a battery cannot bring under a limit on taking stays, and the meter shows it.

Where a bound changes what a member would do alone, its battery has no will of its own left in the slot: the member orders what it
will do under the bound, at its own outside options, and at delivery that is its base, which others' batteries are shared out
against (`dispatch`). Where it changes nothing, the member trades as ever. Either way nobody orders beyond its bound: what is taken
beyond it all the same comes from the own contract.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from walras.devices.battery import BatteryFleet, FleetColumns, most_charge, most_discharge, stored_change
from walras.devices.battery_plan import ValueTable
from walras.market.orders import BUY, SELL, Orders, make_orders
from walras.strategies.curtailment import curtail
from walras.strategies.dispatch import Dispatch
from walras.strategies.signals import Signals
from walras.units import Int64

UNBOUND = 2**62
"""A bound that nothing reaches; -UNBOUND as a low one."""

Run = Callable[[Signals, BatteryFleet, Int64, ValueTable], Dispatch]
"""What batteries do with signals, a fleet, what is stored [n] and the values of it."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """[members] Wh of the slot: least and most net energy at each meter, positive taken; +-UNBOUND where there is none."""

    low_wh: Int64
    high_wh: Int64

    @property
    def any(self) -> bool:
        """Whether anybody is bound."""
        return bool((self.low_wh > -UNBOUND).any() or (self.high_wh < UNBOUND).any())

    @property
    def of(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """[members] who has a bound."""
        return (self.low_wh > -UNBOUND) | (self.high_wh < UNBOUND)


def unbound(members: int) -> Bounds:
    """Nobody is bound.

    >>> unbound(2).any
    False
    """
    return Bounds(np.full(members, -UNBOUND, dtype=np.int64), np.full(members, UNBOUND, dtype=np.int64))


def beyond_wh(bounds: Bounds, net_wh: Int64) -> Int64:
    """[members] Wh by which what was metered is outside the bound: positive taken too much, negative too little.

    >>> beyond_wh(Bounds(np.array([-500, -500]), np.array([UNBOUND, -500])), np.array([-700, -200])).tolist()
    [-200, 300]
    """
    return np.asarray(np.maximum(net_wh - bounds.high_wh, 0) - np.maximum(bounds.low_wh - net_wh, 0))


def obey(done: Dispatch, bounds: Bounds, fleet: BatteryFleet, soc_uwh: Int64) -> Dispatch:
    """`done` as near to its bounds as devices can bring it: batteries first, then less solar power where too much is fed in.

    `soc_uwh` [n] was stored at the start of the slot.
    """
    metered, action, after = _steer(
        done.metered_wh, done.action_wh, done.soc_uwh, bounds.low_wh, bounds.high_wh, fleet.columns, soc_uwh
    )
    steered = replace(done, metered_wh=metered, action_wh=action, soc_uwh=after)
    return curtail(steered, np.maximum(np.minimum(bounds.low_wh, 0) - metered, 0), fleet, soc_uwh)


def dispatch_within(
    run: Run, alone: Run, signals: Signals, bounds: Bounds, fleet: BatteryFleet, soc_uwh: Int64, values: ValueTable
) -> Dispatch:
    """`run` where bounds hold: who is moved by its bound does as told, and all others are run beside that.

    `alone` is what batteries do without a market: the plan that a bound may change.
    """
    planned = alone(signals, fleet, soc_uwh, values)
    told = obey(planned, bounds, fleet, soc_uwh)
    moved = told.metered_wh != planned.metered_wh
    if not moved.any():
        return run(signals, fleet, soc_uwh, values)
    free = ~moved[fleet.member]
    rest = _some(fleet, free)
    table = replace(values, start=values.start[:, free], count=values.count[:, free], concave=values.concave[free])
    done = run(replace(signals, net_wh=np.where(moved, told.metered_wh, signals.net_wh)), rest, soc_uwh[free], table)
    action, after = told.action_wh.copy(), told.soc_uwh.copy()
    action[free], after[free] = done.action_wh, done.soc_uwh
    return Dispatch(done.metered_wh, after, action, planned.alone_wh)


def orders_within(
    orders: Orders,
    planned: Dispatch,
    bounds: Bounds,
    fleet: BatteryFleet,
    soc_uwh: Int64,
    prices: tuple[Int64, Int64],
    node: Int64,
) -> Orders:
    """The book where bounds hold: `orders` as they would be without, `planned` what each would do alone by the same forecast.

    `prices` are what a member would buy and sell at if it had no battery, `node` the buses [members]. Ids are 0, 1, ... by row.
    """
    if not bounds.any:
        return orders
    told = obey(planned, bounds, fleet, soc_uwh).metered_wh
    moved = told != planned.metered_wh
    room = {BUY: np.maximum(bounds.high_wh, 0), SELL: np.maximum(-bounds.low_wh, 0)}
    rows: list[tuple[int, int, int, int]] = []
    for who, side, quantity, price in zip(
        orders.participant.tolist(), orders.side.tolist(), orders.quantity_wh.tolist(), orders.price_micro_per_kwh.tolist(),
        strict=True,
    ):  # fmt: skip
        if moved[who]:
            continue
        kept = min(quantity, int(room[side][who]))
        room[side][who] -= kept
        if kept:
            rows.append((who, side, kept, price))
    for who in np.flatnonzero(moved).tolist():
        side, price = (BUY, prices[0]) if told[who] > 0 else (SELL, prices[1])
        kept = min(abs(int(told[who])), int(room[side][who]))
        rows += [(who, side, kept, int(price[who]))] if kept else []
    rows.sort(key=lambda row: row[0])
    who_, side_, quantity_, price_ = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return make_orders(side_, quantity_, price_, participant=who_, time=np.zeros(who_.size), node=node[who_])


def _some(fleet: BatteryFleet, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> BatteryFleet:
    return BatteryFleet(*(column[rows] for column in (*fleet.columns, fleet.initial_uwh)))


@njit(cache=True)
def _steer(
    metered: Int64, action: Int64, stored: Int64, low: Int64, high: Int64, fleet: FleetColumns, soc: Int64
) -> tuple[Int64, Int64, Int64]:
    member, capacity, climit, dlimit, gain, drain = fleet
    net, done, after = metered.copy(), action.copy(), stored.copy()
    for j in range(member.size):
        i = member[j]
        if net[i] < low[i]:
            done[j] += max(0, min(low[i] - net[i], most_charge(soc[j], capacity[j], climit[j], gain[j]) - done[j]))
        elif net[i] > high[i]:
            done[j] -= max(0, min(net[i] - high[i], done[j] + most_discharge(soc[j], dlimit[j], drain[j])))
        else:
            continue
        net[i] += done[j] - action[j]
        after[j] = soc[j] + stored_change(done[j], gain[j], drain[j])
    return net, done, after
