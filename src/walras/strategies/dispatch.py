"""What batteries do at delivery, when actual loads are known and the slot is cleared: the last movers, and never to their loss.

Under `as_delivered` a trade counts up to what both sides meter, and the longer side is reduced pro rata. A battery that gave
more because it sold, and then is reduced, would have sold stored energy at the feed-in price. So the rule is:

1. Every member first does what it would do without a market (`battery_control.alone`). That gives its base import or export,
   and of each position the part that the base already delivers.
2. A battery whose owner's base does not import may add to a sale not yet delivered, one whose owner's base does not export may
   add to a purchase: at most the rest of the position, and only Wh that pay at the price of the position, by the value of
   stored energy. That is its flexible energy.
3. Only as much of it is used as finds a counterpart: with S, B the base deliveries of sales and purchases and FS, FB the
   flexible ones, T = min(S + FS, B + FB) is delivered; flexible sales are max(0, T - S), flexible purchases max(0, T - B), each
   shared pro rata (largest remainder).

Where flexible sales are used, sales end at T <= purchases, so the settlement reduces no sale; where flexible purchases are
used, it reduces no purchase. No flexible Wh is ever reduced, and each pays by itself; a base Wh that is reduced falls back to
the owner's own contract, as without the market. Hence no member is worse off than without the market in any slot, whatever
the forecast error, when what is stored counts at the value of stored energy. There is no circularity: step 3 needs sums of
base quantities only, which the community's controller has; a battery needs to hear one number, its share.

Under `firm` positions stand, so nothing needs a counterpart: what a sale lacks is bought at the short price, what a purchase
leaves is sold at the long price, and the battery fills what pays at those prices (`firm_dispatch`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit

from walras.devices.battery import BatteryFleet, FleetColumns, stored_change
from walras.devices.battery_control import alone, flexible_give, flexible_take
from walras.devices.battery_plan import ValueTable
from walras.errors import Fault, InputError
from walras.strategies.signals import Signals
from walras.tariffs.records import BASIS_POINTS
from walras.units import Int64


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What happened behind the meters of one slot.

    metered_wh   [members] net energy at each meter, positive import
    soc_uwh      [n] stored after the slot
    action_wh    [n] energy at the battery's terminals, positive takes
    alone_wh     [n] the action it would have taken from the same state without a market
    """

    metered_wh: Int64
    soc_uwh: Int64
    action_wh: Int64
    alone_wh: Int64


class Held(Protocol):
    """What members hold after the clearing, columns [members]: energies >= 0, and payments (a sale's is negative)."""

    @property
    def bought_wh(self) -> Int64: ...
    @property
    def sold_wh(self) -> Int64: ...
    @property
    def buy_nano(self) -> Int64: ...
    @property
    def sell_nano(self) -> Int64: ...


def dispatch(signals: Signals, held: Held, fleet: BatteryFleet, soc_uwh: Int64, values: ValueTable, row: int) -> Dispatch:
    """Dispatch under `as_delivered`; `signals.net_wh` is the actual net load, `row` the slot's row in `values`."""
    sale, cost = _position_prices(
        held.bought_wh,
        held.sold_wh,
        held.buy_nano,
        held.sell_nano,
        signals.charges_micro,
        signals.trade_vat_basis_points,
    )
    return _run(signals, held.bought_wh, held.sold_wh, sale, cost, True, fleet, soc_uwh, values, row)


def firm_dispatch(
    signals: Signals,
    held: Held,
    short_price_micro_per_kwh: int,
    long_price_micro_per_kwh: int,
    fleet: BatteryFleet,
    soc_uwh: Int64,
    values: ValueTable,
    row: int,
) -> Dispatch:
    """Dispatch under `firm`: each battery fills its owner's position where that pays at the imbalance prices."""
    sale = np.full_like(signals.net_wh, short_price_micro_per_kwh)
    cost = np.full_like(signals.net_wh, long_price_micro_per_kwh)
    return _run(signals, held.bought_wh, held.sold_wh, sale, cost, False, fleet, soc_uwh, values, row)


def alone_dispatch(signals: Signals, fleet: BatteryFleet, soc_uwh: Int64, values: ValueTable, row: int) -> Dispatch:
    """What happens without a market: the counterfactual that bills are compared with."""
    nothing = np.zeros_like(signals.net_wh)
    return _run(signals, nothing, nothing, nothing, nothing, False, fleet, soc_uwh, values, row)


def _run(
    signals: Signals,
    bought: Int64,
    sold: Int64,
    sale: Int64,
    cost: Int64,
    coupled: bool,
    fleet: BatteryFleet,
    soc_uwh: Int64,
    values: ValueTable,
    row: int,
) -> Dispatch:
    members = signals.net_wh.size
    if not 0 <= row < values.slots or soc_uwh.shape != fleet.member.shape or bought.size != members or sold.size != members:
        raise InputError("dispatch", [Fault("dispatch", "row", row, f"0..{values.slots - 1}, and columns that fit the fleet")])
    return Dispatch(
        *_dispatch(
            (signals.net_wh, signals.import_micro, signals.feed_in_micro),
            (bought, sold, sale, cost),
            coupled,
            soc_uwh,
            fleet.columns,
            values.slope,
            values.edge,
            values.start[row],
            values.count[row],
        )
    )


@njit(cache=True)
def _position_prices(
    bought: Int64, sold: Int64, buy_nano: Int64, sell_nano: Int64, charges: int, trade_vat: int
) -> tuple[Int64, Int64]:
    """Price received for a Wh sold (rounded down) and paid all-in for a Wh bought (rounded up), micro/kWh; 0 where none."""
    sale, cost = np.zeros_like(sold), np.zeros_like(bought)
    for i in range(sold.size):
        if sold[i] > 0:
            sale[i] = -sell_nano[i] // sold[i]
        if bought[i] > 0:
            paid = buy_nano[i]
            if trade_vat != 0:
                paid += paid * trade_vat // BASIS_POINTS + 1
            cost[i] = -(-paid // bought[i]) + charges
    return sale, cost


@njit(cache=True)
def _dispatch(
    signal: tuple[Int64, Int64, Int64],
    position: tuple[Int64, Int64, Int64, Int64],
    coupled: bool,
    soc: Int64,
    fleet: FleetColumns,
    slope: Int64,
    edge: Int64,
    start: Int64,
    count: Int64,
) -> tuple[Int64, Int64, Int64, Int64]:
    net, own, feed_in = signal
    bought, sold, sale, cost = position
    member, capacity, climit, dlimit, gain, drain = fleet
    n = member.size
    base, give, take = np.empty(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    metered = net.copy()
    for j in range(n):
        i = member[j]
        battery = (capacity[j], climit[j], dlimit[j], gain[j], drain[j])
        base[j] = alone(net[i], own[i], feed_in[i], soc[j], battery, slope, edge, start[j], count[j])
        grid = net[i] + base[j]
        metered[i] = grid
        if grid <= 0 and sold[i] > -grid:
            give[j] = flexible_give(base[j], sale[i], sold[i] + grid, soc[j], battery, slope, edge, start[j], count[j])
        if grid >= 0 and bought[i] > grid and give[j] == 0:
            take[j] = flexible_take(base[j], cost[i], bought[i] - grid, soc[j], battery, slope, edge, start[j], count[j])
    if coupled:
        sales, purchases = 0, 0
        for i in range(net.size):
            sales += min(sold[i], max(-metered[i], 0))
            purchases += min(bought[i], max(metered[i], 0))
        delivered = min(sales + give.sum(), purchases + take.sum())
        give = share_whole(give, max(0, delivered - sales))
        take = share_whole(take, max(0, delivered - purchases))
    action, after = np.empty(n, np.int64), np.empty(n, np.int64)
    for j in range(n):
        action[j] = base[j] - give[j] + take[j]
        after[j] = soc[j] + stored_change(action[j], gain[j], drain[j])
        metered[member[j]] += take[j] - give[j]
    return metered, after, action, base


@njit(cache=True)
def share_whole(weights: Int64, total: int) -> Int64:
    """`units.share_pro_rata` for compiled loops: whole shares of `total` <= sum(weights), largest remainder, lower row first.

    weight * total must stay inside int64 (both are the energy of batteries in one slot).
    """
    whole = weights.sum()
    if total >= whole:
        return weights.copy()
    share = np.zeros_like(weights)
    if total <= 0:
        return share
    remainder = np.empty_like(weights)
    missing = total
    for j in range(weights.size):
        share[j] = weights[j] * total // whole
        remainder[j] = weights[j] * total - share[j] * whole
        missing -= share[j]
    if missing > 0:
        for j in np.argsort(-remainder, kind="mergesort")[:missing]:
            share[j] += 1
    return share
