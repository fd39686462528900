"""What stored energy is worth: exact dynamic programming over piecewise-linear value functions.

One battery behind one meter, over a horizon of slots with a forecast net load, an import price and an export price for each
slot. V_t(s) is the least negative cost from slot t to the end when s is stored now:

    V_t(s) = max over actions b of  - cost_t(net_t + b) + V_{t+1}(s + stored_change(b)),
    cost_t(x) = buy_t * x for x > 0 (import), sell_t * x for x < 0 (export)

Where the cost of a slot is convex in the energy released from the store and V_{t+1} concave, V_t is concave, and this maximum is a
merge (`battery_merge`): the slopes of V_{t+1} and the (at most three) slopes of the slot, sorted, then cut back to the capacity
at both ends. That is exact, needs no solver and no levels, and takes microseconds a battery-day.

It needs 0 <= sell_t wherever there is surplus, 0 <= buy_t wherever there is demand, and sell_t <= buy_t. Where a price breaks
this (a negative price makes it pay to waste energy, which a real battery cannot do by charging and discharging at once), the slot
is one step of `battery_general`: exact too, for values that need not be concave. As soon as they are again, slots are merged.

The value at the end of the horizon is linear: `terminal` micro-units for each kWh stored. `default_terminal` gives the cheapest
import price of the horizon after discharge losses: never so much that filling up from the grid for the end would pay.

A `ValueTable` holds V_{t+1} for the first slots of the horizon in whole numbers (slopes rounded down to a micro-unit), which is
what controllers, orders and dispatch use: the same whole numbers on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from walras.devices.battery import PPM, BatteryFleet, FleetColumns
from walras.devices.battery_general import general_step
from walras.devices.battery_merge import ONE, RATE, TWO, UWH, falling_end, merge_slopes, new_work, slot_pieces
from walras.errors import Fault, InputError, RangeError
from walras.units import MAX_PRICE_MICRO_PER_KWH, Float64, Int64

PIECES = 512
"""Pieces of a value function that scratch columns hold at first; doubled where they do not suffice."""

ROWS_A_SLOT = 20
"""Rows of a table that are set aside for each battery and slot at first; doubled where they do not suffice."""

FULL_ROWS, FULL_WORK = -1, -2

MAX_VALUE = 2**62
"""Bound of capacity_uwh * |slope|: a value in units of 1e-6 nano stays inside int64."""


@dataclass(frozen=True, slots=True)
class ValueTable:
    """The value of stored energy after each of `slots` slots, for n batteries: V_{t+1}, as segments from empty to full.

    start[t, j], count[t, j]   rows of battery j after slot t in the two columns below
    slope    [rows] int64, micro-units per kWh stored (= nano per Wh)
    edge     [rows] int64, uWh: stored energy at which the segment ends; the last edge is the capacity
    concave  [n] bool: True where the prices keep convexity, so that slopes fall; False where they need not
    """

    start: Int64
    count: Int64
    slope: Int64
    edge: Int64
    concave: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @property
    def slots(self) -> int:
        """Number of slots covered."""
        return int(self.start.shape[0])


@njit(cache=True)
def plan_one(
    net: Int64,
    buy: Float64,
    sell: Float64,
    battery: tuple[int, int, int, int, int],
    terminal: float,
    keep: int,
    start: Int64,
    count: Int64,
    slope: Int64,
    edge: Int64,
    cursor: int,
    w: Float64,
) -> tuple[int, int, bool]:
    """Backward over the horizon of one battery: its values after the first `keep` slots into rows from `cursor`.

    `battery` is (capacity uWh, charge limit Wh, discharge limit Wh, gain ppm, drain ppm), `w` from `new_work`. Returns (next
    free row, or FULL_ROWS or FULL_WORK; pieces of V_0, left at row ONE of `w`; whether prices kept convexity).
    """
    capacity, climit = battery[0], battery[1]
    charge = float(climit * battery[3])
    f, free = ONE, TWO
    w[f, 0], w[f, 1], w[f + 1, 0], w[f + 2, 0] = 0.0, capacity, 0.0, terminal
    k = 1 if capacity > 0 else 0
    concave, convex_slots = True, True
    for t in range(net.size - 1, -1, -1):
        if t < keep:
            if cursor + k > slope.size:
                return FULL_ROWS, 0, False
            start[t], cursor = cursor, _write(w, f, k, slope, edge, cursor)
            count[t] = cursor - start[t]
        pieces = slot_pieces(net[t], buy[t], sell[t], battery, w)
        full = float(net[t] + climit)
        first = -full * (buy[t] if full > 0 else sell[t])
        straight = falling_end(w, RATE, 0, pieces) == pieces
        convex_slots = convex_slots and straight
        if capacity == 0:
            w[f + 1, 0] -= net[t] * (buy[t] if net[t] > 0 else sell[t])
        elif concave and straight:
            if k + pieces + 1 > w.shape[1]:
                return FULL_WORK, 0, False
            k = merge_slopes(w, f, 0, k, 0, pieces, -charge, w[f + 1, 0] + first, capacity, free)
            f, free = free, f
        else:
            k = general_step(w, f, k, pieces, charge, first, capacity, free)
            if k < 0:
                return FULL_WORK, 0, False
            concave = falling_end(w, f + 2, 0, k) == k
    for row in range(3):
        w[ONE + row, : k + 1] = w[f + row, : k + 1]
    return cursor, k, convex_slots


@njit(cache=True)
def _write(w: Float64, f: int, k: int, out_slope: Int64, out_edge: Int64, cursor: int) -> int:
    """Segments in whole numbers at `cursor`; slopes rounded down and joined where equal. Returns the next free row."""
    first, before = cursor, 0
    for i in range(k):
        whole, end = int(np.floor(w[f + 2, i])), int(np.rint(w[f, i + 1]))
        if end == before:
            continue
        if cursor > first and out_slope[cursor - 1] == whole:
            out_edge[cursor - 1] = end
        else:
            out_slope[cursor], out_edge[cursor] = whole, end
            cursor += 1
        before = end
    return cursor


@njit(cache=True)
def _plan_fleet(
    net: Int64,
    buy: Float64,
    sell: Float64,
    fleet: FleetColumns,
    terminal: Float64,
    keep: int,
    begin: int,
    start: Int64,
    count: Int64,
    convex: np.ndarray[tuple[int], np.dtype[np.bool_]],
    slope: Int64,
    edge: Int64,
    cursor: int,
    w: Float64,
) -> tuple[int, int, int]:
    """Batteries from `begin` on, until the last or until rows or work are full: (battery not done, next row, what is full)."""
    _, capacity, climit, dlimit, gain, drain = fleet
    own_net, own_prices = np.empty(net.shape[0], np.int64), np.empty((2, net.shape[0]))
    for j in range(begin, net.shape[1]):
        own_net[:], own_prices[0], own_prices[1] = net[:, j], buy[:, j], sell[:, j]
        battery = (capacity[j], climit[j], dlimit[j], gain[j], drain[j])
        used, _, convex[j] = plan_one(
            own_net, own_prices[0], own_prices[1], battery, terminal[j], keep, start[j], count[j], slope, edge, cursor, w
        )
        if used < 0:
            return j, cursor, used
        cursor = used
    return net.shape[1], cursor, 0


def lengthen(column: Int64) -> Int64:
    """The same column with as much room again."""
    return np.concatenate([column, np.empty(max(column.size, PIECES), np.int64)])


def default_terminal(fleet: BatteryFleet, buy_micro: Int64) -> Float64:
    """[n] micro per kWh stored: the cheapest import price of each battery's horizon after discharge losses, at least 0."""
    cheapest = np.maximum(buy_micro.min(axis=0), 0) if buy_micro.shape[0] else np.zeros(fleet.count)
    return np.asarray(cheapest * PPM / fleet.drain_ppm, dtype=np.float64)


def plan_values(
    fleet: BatteryFleet,
    net_wh: Int64,
    buy_micro: Int64,
    sell_micro: Int64,
    *,
    keep: int,
    terminal: Float64 | None = None,
) -> ValueTable:
    """The values of stored energy after each of the first `keep` slots of a horizon.

    `net_wh`, `buy_micro`, `sell_micro` are [horizon, n]: forecast net load of the owner without its battery (positive takes),
    all-in import price, feed-in price. `terminal` [n] in micro per kWh stored at the end (default `default_terminal`).
    Raises InputError for shapes, RangeError for prices beyond MAX_PRICE_MICRO_PER_KWH or a capacity times price beyond int64.
    """
    shape = (net_wh.shape[0], fleet.count)
    faults = [
        Fault("plan", name, column.shape, f"{shape}: horizon x batteries")
        for name, column in (("net_wh", net_wh), ("buy_micro", buy_micro), ("sell_micro", sell_micro))
        if column.shape != shape
    ]
    if not 0 <= keep <= shape[0]:
        faults.append(Fault("plan", "keep", keep, f"between 0 and the horizon {shape[0]}"))
    if faults:
        raise InputError("battery plan", faults)
    _check_range(fleet, buy_micro, sell_micro)
    ends = default_terminal(fleet, buy_micro) if terminal is None else np.array(terminal, dtype=np.float64)
    columns = np.ascontiguousarray(net_wh), buy_micro.astype(np.float64, order="C"), sell_micro.astype(np.float64, order="C")
    start, count = np.zeros((2, fleet.count, keep), np.int64)
    convex = np.ones(fleet.count, np.bool_)
    work = new_work(PIECES)
    slope, edge = (np.empty(ROWS_A_SLOT * keep * fleet.count, np.int64) for _ in range(2))
    done, cursor, full = 0, 0, 0
    while done < fleet.count:
        done, cursor, full = _plan_fleet(*columns, fleet.columns, ends, keep, done, start, count, convex, slope, edge, cursor, work)
        if full == FULL_WORK:
            work = new_work(2 * work.shape[1])
        elif full == FULL_ROWS:
            slope, edge = lengthen(slope), lengthen(edge)
    for column in (slope, edge):
        column.resize(cursor, refcheck=False)
    return ValueTable(start.T.copy(), count.T.copy(), slope, edge, convex)


def plan_cost(fleet: BatteryFleet, j: int, net_wh: Int64, buy_micro: Int64, sell_micro: Int64, terminal: float) -> float:
    """Least cost in nano of battery j's owner over a horizon ([horizon] columns), from its initial energy, less what is left.

    The exact optimum of the continuous problem, at any prices.
    """
    none, work, used = np.empty(0, np.int64), new_work(PIECES), FULL_WORK
    prices = buy_micro.astype(np.float64), sell_micro.astype(np.float64)
    row = _coefficients(fleet, j)
    while used == FULL_WORK:
        used, k, _ = plan_one(net_wh, *prices, row, float(terminal), 0, none, none, none, none, 0, work)
        if used == FULL_WORK:
            work = new_work(2 * work.shape[1])
    left = float(fleet.initial_uwh[j])
    value = float(work[ONE + 1, 0])
    for i in range(k):
        value += float(work[ONE + 2, i]) * max(min(left, float(work[ONE, i + 1])) - float(work[ONE, i]), 0.0) * UWH
    return -value


def _coefficients(fleet: BatteryFleet, j: int) -> tuple[int, int, int, int, int]:
    columns = (fleet.capacity_uwh, fleet.charge_limit_wh, fleet.discharge_limit_wh, fleet.gain_ppm, fleet.drain_ppm)
    capacity, charge, discharge, gain, drain = (int(column[j]) for column in columns)
    return capacity, charge, discharge, gain, drain


def _check_range(fleet: BatteryFleet, buy_micro: Int64, sell_micro: Int64) -> None:
    if not buy_micro.size:
        return
    largest = max(int(np.abs(buy_micro).max()), int(np.abs(sell_micro).max()))
    if largest > MAX_PRICE_MICRO_PER_KWH:
        raise RangeError(f"battery plan: price {largest} is beyond {MAX_PRICE_MICRO_PER_KWH} micro/kWh", thing="price")
    steepest = largest * PPM // int(fleet.gain_ppm.min()) + 1
    if int(fleet.capacity_uwh.max()) * steepest > MAX_VALUE:
        worst = f"{int(fleet.capacity_uwh.max())} uWh at {steepest} micro/kWh"
        raise RangeError(f"battery plan: {worst} leaves int64", thing="capacity")
