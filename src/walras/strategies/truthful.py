"""The truthful strategy: every order's limit is the member's own outside option; the battery's is the worth of what it stores.

For each member, from the forecast net load and what its battery would do without a market (`battery_control.alone`):

- forecast import: a bid for it at the limit at which a neighbour's kWh costs as much as the own contract's;
- forecast export: an offer of it at the own feed-in price;
- a battery whose owner does not import offers what it would otherwise keep: first by charging less, then by discharging more,
  each kWh at the value of the stored energy that it takes (rounded up), never below the feed-in price;
- a battery whose owner does not export bids for what it would otherwise not store: first by discharging less, then by charging
  more, each kWh at the value that it adds less the local charges (rounded down), never above the owner's own limit.

The two "never"s matter because a position knows no origin: at delivery the base may be what fills it.

A value function has several slopes, so battery orders come in up to `pieces` steps a side, in the sequence in which the energy
moves; what lies beyond is kept. A Wh that straddles two slopes is priced by the one that protects its owner, and where values
are not concave a later step is never better for the market than an earlier one. All of it is exact in whole numbers.
Orders of one slot have ids 0, 1, ... by row, ascending by member, and one time: nobody is earlier.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.devices.battery import PPM, BatteryFleet, FleetColumns, most_charge, most_discharge
from walras.devices.battery_control import BatteryRow, alone
from walras.devices.battery_plan import ValueTable
from walras.errors import Fault, InputError
from walras.market.orders import BUY, SELL, Orders
from walras.strategies.signals import Signals
from walras.tariffs.records import BASIS_POINTS
from walras.units import Int64

PIECES = 4

ANY_WORTH = 2**62


def truthful_orders(
    signals: Signals, fleet: BatteryFleet, soc_uwh: Int64, values: ValueTable, row: int, node: Int64, pieces: int = PIECES
) -> Orders:
    """The book of one slot: `soc_uwh` [n] is stored at its start, `row` the slot's row in `values`, `node` [members] the buses.

    Raises InputError where the slot is not in the value table or the columns do not fit the fleet.
    """
    members = signals.net_wh.size
    faults = []
    if not 0 <= row < values.slots:
        faults.append(Fault("truthful orders", "row", row, f"a slot of the value table: 0..{values.slots - 1}"))
    if soc_uwh.shape != fleet.member.shape:
        faults.append(Fault("truthful orders", "soc_uwh", soc_uwh.shape, f"{fleet.member.shape}: one a battery"))
    if node.shape != signals.net_wh.shape or (fleet.count and int(fleet.member[-1]) >= members):
        faults.append(Fault("truthful orders", "members", members, "as many as nodes, and every battery's owner"))
    if faults:
        raise InputError("truthful orders", faults)
    most = members + 2 * pieces * fleet.count
    participant, quantity, price = np.empty((3, most), np.int64)
    side = np.empty(most, np.int8)
    n = _truthful_rows(
        (signals.net_wh, signals.import_micro, signals.limit_micro, signals.feed_in_micro),
        signals.charges_micro,
        signals.trade_vat_basis_points,
        soc_uwh,
        fleet.columns,
        values.slope,
        values.edge,
        values.start[row],
        values.count[row],
        pieces,
        participant,
        side,
        quantity,
        price,
    )
    who = participant[:n]
    columns = (np.arange(n), who, side[:n], quantity[:n], price[:n], np.zeros(n, np.int64), node[who])
    for column in columns:
        column.flags.writeable = False
    return Orders(*columns)


@njit(cache=True)
def _truthful_rows(
    signal: tuple[Int64, Int64, Int64, Int64],
    charges: int,
    trade_vat: int,
    soc: Int64,
    fleet: FleetColumns,
    slope: Int64,
    edge: Int64,
    start: Int64,
    count: Int64,
    pieces: int,
    participant: Int64,
    side: np.ndarray[tuple[int], np.dtype[np.int8]],
    quantity: Int64,
    price: Int64,
) -> int:
    net, own, limit, feed_in = signal
    member, capacity, climit, dlimit, gain, drain = fleet
    wh, worth = np.empty(pieces, np.int64), np.empty(pieces, np.int64)
    n, j = 0, 0
    for i in range(net.size):
        has_battery = j < member.size and member[j] == i
        base = 0
        if has_battery:
            battery = (capacity[j], climit[j], dlimit[j], gain[j], drain[j])
            base = alone(net[i], own[i], feed_in[i], soc[j], battery, slope, edge, start[j], count[j])
        grid = net[i] + base
        if grid != 0:
            participant[n], side[n] = i, BUY if grid > 0 else SELL
            quantity[n], price[n] = abs(grid), limit[i] if grid > 0 else feed_in[i]
            n += 1
        if not has_battery:
            continue
        if grid <= 0:
            for k in range(offer_pieces(base, soc[j], battery, slope, edge, start[j], count[j], wh, worth)):
                participant[n], side[n], quantity[n], price[n] = i, SELL, wh[k], max(feed_in[i], worth[k])
                n += 1
        if grid >= 0:
            for k in range(bid_pieces(base, soc[j], battery, slope, edge, start[j], count[j], wh, worth)):
                participant[n], side[n], quantity[n] = i, BUY, wh[k]
                price[n] = min(limit[i], (worth[k] - charges) * BASIS_POINTS // (BASIS_POINTS + trade_vat))
                n += 1
        j += 1
    return n


@njit(cache=True)
def _append(wh: Int64, worth: Int64, k: int, amount: int, value: int) -> int:
    """Add a step to the list of `k`, joined to the last where the worth is the same; k + 1 = len + 1 means it is full."""
    if amount <= 0:
        return k
    if k > 0 and worth[k - 1] == value:
        wh[k - 1] += amount
        return k
    if k < wh.size:
        wh[k], worth[k] = amount, value
    return k + 1


@njit(cache=True)
def offer_pieces(
    base: int, soc: int, battery: BatteryRow, slope: Int64, edge: Int64, a: int, c: int, wh: Int64, worth: Int64
) -> int:
    """What the battery could give beyond the action `base`: steps of rising worth, micro/kWh there, rounded up."""
    _, _, dlimit, gain, drain = battery
    k = 0
    worst = -ANY_WORTH
    for phase in range(2):
        if phase == 0:
            coefficient, stored, bottom, most = gain, soc + gain * max(base, 0), soc, max(base, 0)
        else:
            given = max(-base, 0)
            coefficient, stored, bottom = drain, soc - drain * given, 0
            most = most_discharge(soc, dlimit, drain) - given
        done = 0
        for i in range(a + c - 1, a - 1, -1):
            low = max(bottom, edge[i - 1] if i > a else 0)
            if low >= stored or edge[i] <= bottom or done == most:
                continue
            worst = max(worst, -((-slope[i] * coefficient) // PPM))
            upto = min(most, (stored - low) // coefficient)
            k = _append(wh, worth, k, upto - done, worst)
            if k > wh.size:
                return wh.size
            done = upto
    return k


@njit(cache=True)
def bid_pieces(base: int, soc: int, battery: BatteryRow, slope: Int64, edge: Int64, a: int, c: int, wh: Int64, worth: Int64) -> int:
    """What the battery could take beyond the action `base`: steps of falling worth, micro/kWh there, rounded down."""
    capacity, climit, _, gain, drain = battery
    k = 0
    worst = ANY_WORTH
    for phase in range(2):
        if phase == 0:
            coefficient, stored, top, most = drain, soc - drain * max(-base, 0), soc, max(-base, 0)
        else:
            taken = max(base, 0)
            coefficient, stored, top = gain, soc + gain * taken, capacity
            most = most_charge(soc, capacity, climit, gain) - taken
        done = 0
        for i in range(a, a + c):
            high = min(top, edge[i])
            if high <= stored or (edge[i - 1] if i > a else 0) >= top or done == most:
                continue
            worst = min(worst, (slope[i] * coefficient) // PPM)
            upto = min(most, (high - stored) // coefficient)
            k = _append(wh, worth, k, upto - done, worst)
            if k > wh.size:
                return wh.size
            done = upto
    return k
