"""What a battery does in a slot once the actual net load is known, given the value of stored energy after the slot.

Two rules, both exact in whole numbers and pure:

`alone`: the controller without a market. It takes from the bus while a Wh stored is worth at least what it costs (the feed-in
price for its owner's surplus, the import price beyond), and gives while a Wh given earns at least what it is worth inside (the
import price for its owner's demand, the feed-in price beyond). Worths that differ by at most TIE_MICRO count as equal, and then
it serves its owner now: storing surplus and covering demand before waiting. Where prices or values break convexity (negative
prices), it compares every action at which the balance can bend, and takes the best.

`flexible_give`, `flexible_take`: how many Wh more, beyond a given action, it would give or take at a price. Wh by Wh in order,
each counts only if every part of it pays at that price; so any number of Wh up to the answer leaves the owner no worse off.

Prices are micro/kWh, actions Wh at the terminals (positive takes), stored energy uWh. `slope`, `edge`, `a`, `c` are the two
columns of a `ValueTable` and the first row and number of rows of this battery in this slot. A slope in micro per kWh stored,
times a coefficient in ppm, is compared with a price in micro/kWh times 1e6.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.devices.battery import PPM, FleetColumns, most_charge, most_discharge, stored_change
from walras.units import Int64

TIE_MICRO = 2
"""Worths this near (micro/kWh) are equal: the rounding of the value table is at most one."""

BatteryRow = tuple[int, int, int, int, int]
"""(capacity uWh, charge limit Wh, discharge limit Wh, gain ppm, drain ppm)."""


@njit(cache=True)
def level_upward(slope: Int64, edge: Int64, a: int, c: int, stored: int, coefficient: int, price: int) -> int:
    """From `stored` up: the stored energy as far as which a Wh at the terminals is worth at least `price`."""
    level = stored
    for i in range(a, a + c):
        if edge[i] <= stored:
            continue
        if slope[i] * coefficient < price * PPM:
            break
        level = edge[i]
    return level


@njit(cache=True)
def level_downward(slope: Int64, edge: Int64, a: int, c: int, stored: int, coefficient: int, price: int) -> int:
    """From `stored` down: the stored energy as far as which a Wh at the terminals is worth at most `price`."""
    level = stored
    for i in range(a + c - 1, a - 1, -1):
        low = edge[i - 1] if i > a else 0
        if low >= stored:
            continue
        if slope[i] * coefficient > price * PPM:
            break
        level = low
    return level


@njit(cache=True)
def value_between(slope: Int64, edge: Int64, a: int, c: int, low: int, high: int) -> int:
    """Value of the stored energy from `low` to `high` uWh (low <= high), in units of 1e-6 nano, exact."""
    total = 0
    before = 0
    for i in range(a, a + c):
        part = min(high, edge[i]) - max(low, before)
        if part > 0:
            total += slope[i] * part
        before = edge[i]
    return total


@njit(cache=True)
def _gain_nano(
    action: int, net: int, buy: int, sell: int, soc: int, battery: BatteryRow, slope: Int64, edge: Int64, a: int, c: int
) -> float:
    """Value gained less cost of the slot, nano, of an action: used only to choose among candidates."""
    after = soc + stored_change(action, battery[3], battery[4])
    if action >= 0:
        worth = float(value_between(slope, edge, a, c, soc, after))
    else:
        worth = -float(value_between(slope, edge, a, c, after, soc))
    grid = net + action
    return worth * 1e-6 - float(grid) * float(buy if grid > 0 else sell)


@njit(cache=True)
def _falls(slope: Int64, a: int, c: int) -> bool:
    rises = 0
    for i in range(a + 1, a + c):
        rises += slope[i] > slope[i - 1]
    return rises == 0


@njit(cache=True)
def alone(net: int, buy: int, sell: int, soc: int, battery: BatteryRow, slope: Int64, edge: Int64, a: int, c: int) -> int:
    """The action in Wh of a battery without a market: see the head of the file."""
    if not (0 <= sell <= buy and _falls(slope, a, c)):
        return _best_action(net, buy, sell, soc, battery, slope, edge, a, c)
    capacity, climit, dlimit, gain, drain = battery
    take, give = most_charge(soc, capacity, climit, gain), most_discharge(soc, dlimit, drain)
    surplus, demand = max(-net, 0), max(net, 0)
    near = (level_upward(slope, edge, a, c, soc, gain, sell - TIE_MICRO) - soc) // gain
    taken = min(take, surplus, near)
    if taken == surplus:
        taken = max(taken, min(take, (level_upward(slope, edge, a, c, soc, gain, buy) - soc) // gain))
    if taken > 0:
        return taken
    own = (soc - level_downward(slope, edge, a, c, soc, drain, buy + TIE_MICRO)) // drain
    given = min(give, demand, own)
    if given == demand:
        given = max(given, min(give, (soc - level_downward(slope, edge, a, c, soc, drain, sell - TIE_MICRO)) // drain))
    return -given


@njit(cache=True)
def _best_action(net: int, buy: int, sell: int, soc: int, battery: BatteryRow, slope: Int64, edge: Int64, a: int, c: int) -> int:
    """The best of all actions at which the balance can bend: limits, rest, the owner's net load, and every edge in reach."""
    capacity, climit, dlimit, gain, drain = battery
    take, give = most_charge(soc, capacity, climit, gain), most_discharge(soc, dlimit, drain)
    best, best_gain = 0, _gain_nano(0, net, buy, sell, soc, battery, slope, edge, a, c)
    for i in range(-2, c):
        for extra in range(2):
            if i == -2:
                action = take if extra == 0 else -give
            elif i == -1:
                action = min(max(-net, -give), take)
            elif edge[a + i] >= soc:
                action = min(take, (edge[a + i] - soc) // gain + extra)
            else:
                action = -min(give, (soc - edge[a + i]) // drain + extra)
            gained = _gain_nano(action, net, buy, sell, soc, battery, slope, edge, a, c)
            if gained > best_gain:
                best, best_gain = action, gained
    return best


@njit(cache=True)
def flexible_give(
    base: int, price: int, room: int, soc: int, battery: BatteryRow, slope: Int64, edge: Int64, a: int, c: int
) -> int:
    """Most Wh (up to `room`) that the battery gives beyond the action `base` at `price`: charges less, then discharges more."""
    _, _, dlimit, gain, drain = battery
    less = 0
    if base > 0:
        stored = soc + gain * base
        floor = max(soc, level_downward(slope, edge, a, c, stored, gain, price))
        less = min(base, room, (stored - floor) // gain)
        if less < base:
            return less
    start = min(base, 0)
    stored = soc + drain * start
    floor = level_downward(slope, edge, a, c, stored, drain, price)
    return less + min(dlimit + start, room - less, (stored - floor) // drain)


@njit(cache=True)
def flexible_take(
    base: int, price: int, room: int, soc: int, battery: BatteryRow, slope: Int64, edge: Int64, a: int, c: int
) -> int:
    """Most Wh (up to `room`) that the battery takes beyond the action `base` at `price`: discharges less, then charges more."""
    _, climit, _, gain, drain = battery
    less = 0
    if base < 0:
        stored = soc + drain * base
        ceiling = min(soc, level_upward(slope, edge, a, c, stored, drain, price))
        less = min(-base, room, (ceiling - stored) // drain)
        if less < -base:
            return less
    start = max(base, 0)
    stored = soc + gain * start
    ceiling = level_upward(slope, edge, a, c, stored, gain, price)
    return less + min(climit - start, room - less, (ceiling - stored) // gain)


@njit(cache=True)
def fleet_alone(
    net: Int64,
    buy: Int64,
    sell: Int64,
    soc: Int64,
    fleet: FleetColumns,
    slope: Int64,
    edge: Int64,
    start: Int64,
    count: Int64,
) -> Int64:
    """Actions [n] of all batteries without a market; `net`, `buy`, `sell` [members], `start`, `count` one row of the table."""
    member, capacity, climit, dlimit, gain, drain = fleet
    action = np.empty(member.size, np.int64)
    for j in range(member.size):
        i = member[j]
        battery = (capacity[j], climit[j], dlimit[j], gain[j], drain[j])
        action[j] = alone(net[i], buy[i], sell[i], soc[j], battery, slope, edge, start[j], count[j])
    return action
