"""What stored energy is worth: exact dynamic programming over concave piecewise-linear value functions.

One battery behind one meter, over a horizon of slots with a forecast net load, an import price and an export price for each
slot. V_t(s) is the least negative cost from slot t to the end when s is stored now:

    V_t(s) = max over actions b of  - cost_t(net_t + b) + V_{t+1}(s + stored_change(b)),
    cost_t(x) = buy_t * x for x > 0 (import), sell_t * x for x < 0 (export)

The cost of a slot is convex piecewise linear in the energy released from the store, so V_t is concave piecewise linear for
every t, and this maximum is a merge: the slopes of V_{t+1} and the (at most three) slopes of the slot, sorted, then cut
back to the capacity at both ends. That is exact, needs no solver and no levels, and takes microseconds a battery-day.
(Sup-convolution of concave functions: Rockafellar, Convex Analysis, 1970, section 16.)

It needs 0 <= sell_t wherever there is surplus, 0 <= buy_t wherever there is demand, and sell_t <= buy_t. Where a price breaks
this (a negative price makes it pay to waste energy, which a real battery cannot do by charging and discharging at once), the
battery's whole horizon is planned by `battery_general` instead: exact too, for values that need not be concave.

The value at the end of the horizon is linear: `terminal` micro-units for each kWh stored. `default_terminal` gives the cheapest
import price of the horizon after discharge losses: never so much that filling up from the grid for the end would pay.

A `ValueTable` holds V_{t+1} for the first slots of the horizon in whole numbers (slopes rounded down to a micro-unit), which is
what controllers, orders and dispatch use: the same whole numbers on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from walras.devices.battery import PPM, BatteryFleet
from walras.devices.battery_general import general_values
from walras.errors import Fault, InputError, RangeError
from walras.units import MAX_PRICE_MICRO_PER_KWH, Float64, Int64

SLOTS_SEGMENTS = 3
"""Most linear pieces that one slot adds."""

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
def slot_pieces(
    net: int, buy: float, sell: float, climit: int, dlimit: int, gain: int, drain: int, slope: Float64, width: Int64
) -> tuple[int, bool]:
    """The pieces of one slot by energy released, from full charge to full discharge: (how many, whether they fall)."""
    surplus = min(max(-net, 0), climit)
    demand = min(max(net, 0), dlimit)
    k = 0
    if climit > surplus:
        slope[k], width[k] = buy * PPM / gain, (climit - surplus) * gain
        k += 1
    if surplus > 0:
        slope[k], width[k] = sell * PPM / gain, surplus * gain
        k += 1
    if demand > 0:
        slope[k], width[k] = buy * PPM / drain, demand * drain
        k += 1
    if dlimit > demand:
        slope[k], width[k] = sell * PPM / drain, (dlimit - demand) * drain
        k += 1
    falling = True
    for i in range(1, k):
        if slope[i] > slope[i - 1]:
            falling = False
    return k, falling


@njit(cache=True)
def merge_pieces(
    slope_a: Float64, width_a: Int64, a: int, slope_b: Float64, width_b: Int64, b: int, slope: Float64, width: Int64
) -> int:
    """Two falling lists of slopes into one, equal slopes joined; returns its length."""
    i, j, k = 0, 0, -1
    while i < a or j < b:
        if j >= b or (i < a and slope_a[i] >= slope_b[j]):
            s, w = slope_a[i], width_a[i]
            i += 1
        else:
            s, w = slope_b[j], width_b[j]
            j += 1
        if k >= 0 and slope[k] == s:
            width[k] += w
        else:
            k += 1
            slope[k], width[k] = s, w
    return k + 1


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
    out_slope: Int64,
    out_edge: Int64,
    cursor: int,
    first_slope: Float64,
    first_width: Int64,
) -> tuple[int, int, float]:
    """Backward over the horizon of one battery: its values after the first `keep` slots into rows from `cursor`.

    `battery` is (capacity uWh, charge limit Wh, discharge limit Wh, gain ppm, drain ppm). Returns (next free row, or -1 where the
    prices break convexity; number of pieces of V_0, left in `first_slope`, `first_width`; V_0 of the empty battery, nano).
    """
    capacity, climit, dlimit, gain, drain = battery
    horizon = net.size
    size = (SLOTS_SEGMENTS + 1) * horizon + 2
    sl, wd = np.empty(size, np.float64), np.empty(size, np.int64)
    sm, wm = np.empty(size, np.float64), np.empty(size, np.int64)
    ps, pw = np.empty(4, np.float64), np.empty(4, np.int64)
    sl[0], wd[0] = terminal, capacity
    k = 1 if capacity > 0 else 0
    base = 0.0
    for t in range(horizon - 1, -1, -1):
        if t < keep:
            start[t], cursor = cursor, _write(sl, wd, k, out_slope, out_edge, cursor)
            count[t] = cursor - start[t]
        pieces, falling = slot_pieces(net[t], buy[t], sell[t], climit, dlimit, gain, drain, ps, pw)
        if not falling:
            return -1, 0, 0.0
        m = merge_pieces(sl, wd, k, ps, pw, pieces, sm, wm)
        full = float(net[t] + climit)
        base -= full * (buy[t] if full > 0 else sell[t])
        cut = climit * gain
        i = 0
        while i < m and cut > 0:
            part = min(cut, wm[i])
            base += sm[i] * part * 1e-6
            cut -= part
            wm[i] -= part
            if wm[i] == 0:
                i += 1
        room = capacity
        k = 0
        while i < m and room > 0:
            part = min(room, wm[i])
            if part > 0:
                sl[k], wd[k] = sm[i], part
                k += 1
            room -= part
            i += 1
    first_slope[:k], first_width[:k] = sl[:k], wd[:k]
    return cursor, k, base


@njit(cache=True)
def _write(slope: Float64, width: Int64, k: int, out_slope: Int64, out_edge: Int64, cursor: int) -> int:
    """Segments in whole numbers at `cursor`; slopes rounded down and joined where equal. Returns the next free row."""
    edge = 0
    first = cursor
    for i in range(k):
        whole = np.int64(np.floor(slope[i]))
        edge += width[i]
        if cursor > first and out_slope[cursor - 1] == whole:
            out_edge[cursor - 1] = edge
        else:
            out_slope[cursor], out_edge[cursor] = whole, edge
            cursor += 1
    return cursor


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
    ends = default_terminal(fleet, buy_micro) if terminal is None else terminal
    width = (SLOTS_SEGMENTS + 1) * shape[0] + 2
    scratch = np.empty(width, np.float64), np.empty(width, np.int64)
    room = np.empty(keep * width, np.int64), np.empty(keep * width, np.int64)
    start, count = np.zeros((2, fleet.count, max(keep, 1)), np.int64)
    concave = np.ones(fleet.count, np.bool_)
    slopes, edges, cursor = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    buy, sell = buy_micro.astype(np.float64), sell_micro.astype(np.float64)
    for j in range(fleet.count):
        battery = _coefficients(fleet, j)
        columns = (np.ascontiguousarray(net_wh[:, j]), np.ascontiguousarray(buy[:, j]), np.ascontiguousarray(sell[:, j]))
        used, _, _ = plan_one(*columns, battery, ends[j], keep, start[j], count[j], *room, 0, *scratch)
        own = room[0][: max(used, 0)].copy(), room[1][: max(used, 0)].copy()
        if used < 0:
            concave[j] = False
            own = _general_rows(*columns, battery, float(ends[j]), keep, start[j], count[j])
        start[j] += cursor
        cursor += own[0].size
        slopes.append(own[0])
        edges.append(own[1])
    return ValueTable(start[:, :keep].T.copy(), count[:, :keep].T.copy(), np.concatenate(slopes), np.concatenate(edges), concave)


def _general_rows(
    net: Int64,
    buy: Float64,
    sell: Float64,
    battery: tuple[int, int, int, int, int],
    terminal: float,
    keep: int,
    start: Int64,
    count: Int64,
) -> tuple[Int64, Int64]:
    """Rows of a table for one battery at any prices; `start` and `count` are filled in, counting from 0."""
    slopes, edges = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    values = general_values(net, buy, sell, battery, terminal, keep)[0] if battery[0] > 0 else []
    cursor = 0
    for t, (x, v) in enumerate(values):
        edge = np.rint(x).astype(np.int64)
        width = np.diff(edge)
        steps = np.diff(v) / (np.diff(x) * 1e-6)
        rows = np.empty(width.size, np.int64), np.empty(width.size, np.int64)
        used = _write(steps[width > 0], width[width > 0], int((width > 0).sum()), *rows, 0)
        start[t], count[t] = cursor, used
        cursor += used
        slopes.append(rows[0][:used])
        edges.append(rows[1][:used])
    return np.concatenate(slopes), np.concatenate(edges)


def plan_cost(fleet: BatteryFleet, j: int, net_wh: Int64, buy_micro: Int64, sell_micro: Int64, terminal: float) -> float:
    """Least cost in nano of battery j's owner over a horizon ([horizon] columns), from its initial energy, less what is left.

    The exact optimum of the continuous problem; raises InputError where the prices break convexity.
    """
    horizon = net_wh.size
    scratch = np.empty((SLOTS_SEGMENTS + 1) * horizon + 2), np.empty((SLOTS_SEGMENTS + 1) * horizon + 2, np.int64)
    none = np.empty(0, np.int64)
    prices = buy_micro.astype(np.float64), sell_micro.astype(np.float64)
    done, k, base = plan_one(net_wh, *prices, _coefficients(fleet, j), terminal, 0, none, none, none, none, 0, *scratch)
    if done < 0:
        raise InputError("battery plan", [Fault(f"battery {j}", "prices", "not convex", "0 <= sell <= buy in every slot")])
    left = int(fleet.initial_uwh[j])
    for slope, width in zip(scratch[0][:k], scratch[1][:k], strict=True):
        part = min(left, int(width))
        base += float(slope) * part * 1e-6
        left -= part
    return -base


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
