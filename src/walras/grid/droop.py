"""The limits at the device: inverters that answer to the voltage they see, inside the AC power flow.

The rule: an inverter feeds in p = min(what it has and may, p_max(v)) and q = share(v) * its rating, with v at its own
terminals, and the flow is the point where powers and voltages agree. p_max(v) (volt-watt, P(U)) and share(v) (volt-var,
Q(U)) are piecewise linear and never rise with the voltage; together they stay inside the rating, reactive power first
("reactive": what is left of the rating is for active power, as IEEE 1547-2018 section 5.3 asks) or active first. The
market may narrow a curve and never widen it (`narrowed`).

Curves (voltage in pu of nominal; share of the rating, positive: fed in):

IEEE_1547_A   IEEE Std 1547-2018 Table 8 category A and Table 31: volt-var 25 % between 0.9 and 1.1 around 1.0, no dead band
IEEE_1547_B   the same, category B: 44 % at 0.92, nothing from 0.98 to 1.02, -44 % at 1.08
              both: volt-watt from 100 % at 1.06 to 20 % at 1.10 (for plants that can go that low)
PRESET_EN     EN 50549-1:2019 sections 4.7.2.3 (Q(U)) and 4.7.3 (P(U)) demand adjustable curves and leave the figures to
              the grid operator; these are an example inside its ranges: 43.6 % (power factor 0.9) at 0.92, nothing from
              0.96 to 1.05, -43.6 % at 1.08; active power from 100 % at 1.10 to nothing at 1.12

Solved by a semismooth Newton method on the inverters' voltages: the slopes of the curves times the exact sensitivities of
the flow; a step that does not bring the voltages closer is halved. A plain exchange of voltages and powers swings to and
fro where curves are steep: it is the slow twin of the tests, heavily damped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from walras.errors import Fault, GridError, InputError
from walras.grid.flow import Flow, power_flow
from walras.grid.network import BASE_KVA, Float, Int, Network
from walras.grid.sensitivity import adjoint, factorise, voltage_gradient
from walras.grid.sweep import MAX_SWEEPS, TOLERANCE_PU, solve, start_flat

Priority = Literal["reactive", "active"]
Points = tuple[tuple[float, float], ...]

VOLTAGE_STILL_PU = 1e-9
MOST_STEPS = 100


@dataclass(frozen=True, slots=True)
class Droop:
    """`volt_watt` and `volt_var`: points (voltage pu, share of the rating), constant beyond their ends; empty: no such curve.

    Raises InputError with every fault: voltages that do not rise, shares that rise or are out of [0, 1] and [-1, 1].
    """

    volt_watt: Points = ()
    volt_var: Points = ()

    def __post_init__(self) -> None:
        faults = []
        for name, points, low in (("volt_watt", self.volt_watt, 0.0), ("volt_var", self.volt_var, -1.0)):
            volts, shares = np.array(points, dtype=np.float64).reshape(-1, 2).T
            if not np.isfinite(volts).all() or (np.diff(volts) <= 0).any():
                faults.append(Fault("droop", name, points, "voltages that rise from point to point"))
            if not np.isfinite(shares).all() or (np.diff(shares) > 0).any():
                faults.append(Fault("droop", name, points, "shares that do not rise with the voltage"))
            elif shares.size and not (low <= shares.min() and shares.max() <= 1.0):
                faults.append(Fault("droop", name, points, f"shares between {low:g} and 1"))
        if faults:
            raise InputError("droop", faults)


IEEE_1547_A = Droop(volt_watt=((1.06, 1.0), (1.10, 0.2)), volt_var=((0.90, 0.25), (1.0, 0.0), (1.10, -0.25)))
IEEE_1547_B = Droop(volt_watt=((1.06, 1.0), (1.10, 0.2)), volt_var=((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44)))
PRESET_EN = Droop(volt_watt=((1.10, 1.0), (1.12, 0.0)), volt_var=((0.92, 0.436), (0.96, 0.0), (1.05, 0.0), (1.08, -0.436)))


@dataclass(frozen=True, eq=False)
class Inverters:
    """Columns [n]: `bus`, `available_kw` >= 0 (also [slots, n]: what sun, battery and market let it feed in), `rating_kva` > 0, and
    `droop`, one curve set an inverter (or one for all). `priority` says which power gives way last where both do not fit in
    the rating.
    """

    bus: Int
    available_kw: Float
    rating_kva: Float
    droop: Sequence[Droop]
    priority: Priority = "reactive"


@dataclass(frozen=True, eq=False)
class DroopFlow:
    """`flow` of the slots; `fed_kw` and `q_kvar` [slots, n] (positive: fed in) of each inverter at the voltages of the flow;
    `held_kw` [slots, n] >= 0 what the voltage took from the available power; `steps` [slots] of the method.
    """

    flow: Flow
    fed_kw: Float
    q_kvar: Float
    held_kw: Float
    steps: Int


def narrowed(default: Droop, wanted: Droop) -> Droop:
    """`wanted`, where it is within `default` at every voltage; InputError with the voltages at which it is not.

    Within: it never lets more active power through, and never gives less reactive support: at high voltage (share < 0) it
    absorbs at least as much, at low voltage (share > 0) it supplies at least as much. A curve that the default has cannot
    be left out.

    >>> narrowed(IEEE_1547_B, Droop(((1.05, 1.0), (1.08, 0.2)), IEEE_1547_B.volt_var)).volt_watt
    ((1.05, 1.0), (1.08, 0.2))
    """
    faults = []
    for name in ("volt_watt", "volt_var"):
        ours, theirs = getattr(default, name), getattr(wanted, name)
        if not ours:
            continue
        if not theirs:
            faults.append(Fault("droop", name, theirs, "a curve: the device has one"))
            continue
        volts = np.unique([v for v, _ in (*ours, *theirs)])
        allowed, asked = (np.interp(volts, *np.array(points).T) for points in (ours, theirs))
        wide = asked > allowed + 1e-12
        if name == "volt_var":
            wide = np.where(allowed > 0, asked < allowed - 1e-12, np.where(allowed < 0, wide, False))
        faults += [
            Fault("droop", f"{name} at {v:g} pu", float(a), f"within the device's {limit:g}")
            for v, a, limit in zip(volts[wide], asked[wide], allowed[wide], strict=True)
        ]
    if faults:
        raise InputError("droop", faults, way_out="the market may narrow a device's curve, not widen it")
    return wanted


def flow_with_droop(network: Network, p_kw: Float, q_kvar: Float, inverters: Inverters) -> DroopFlow:
    """The AC power flow of every slot with the inverters' own answer to the voltage.

    `p_kw`, `q_kvar` ([buses] or [slots, buses]) are what everything else takes (positive: taken); `inverters.available_kw` is
    [n] or [slots, n]. Raises InputError for columns that do not fit, GridError where a slot has no flow or does not settle.

    20 kW behind a long cable: without curves the voltage is above 1.1 pu; those of IEEE 1547 take power until it is 1.08.
    >>> from walras.grid import Line, build_network
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.8, 0.08)], root="a", slack_v_pu=1.03)
    >>> plant = Inverters(np.array([1]), np.array([20.0]), np.array([20.0]), [IEEE_1547_B])
    >>> done = flow_with_droop(net, np.zeros(2), np.zeros(2), plant)
    >>> [round(float(x), 3) for x in (done.flow.v_pu[0, 1], done.fed_kw[0, 0], done.q_kvar[0, 0])]
    [1.08, 11.939, -8.8]
    """
    bus, rating = np.asarray(inverters.bus, dtype=np.int64), np.asarray(inverters.rating_kva, dtype=np.float64)
    p, q = (np.array(np.atleast_2d(x), dtype=np.float64) for x in (p_kw, q_kvar))
    available = np.atleast_2d(np.asarray(inverters.available_kw, dtype=np.float64))
    _check(network, inverters, bus, available, rating, p, q)
    available = np.ascontiguousarray(np.broadcast_to(available, (p.shape[0], bus.size)))
    droops = list(inverters.droop) * (bus.size if len(inverters.droop) == 1 else 1)
    watt, var = _packed([d.volt_watt for d in droops], 1.0), _packed([d.volt_var for d in droops], 0.0)
    w = network.wires
    fed, given = np.zeros(available.shape), np.zeros(available.shape)
    counts = np.zeros(p.shape[0], dtype=np.int64)
    for slot in range(p.shape[0]):
        steps, miss, where = _settle(
            w.parent, w.data, w.slack_v_pu, p[slot, w.order] / BASE_KVA, q[slot, w.order] / BASE_KVA, w.place[bus],
            available[slot], rating, watt, var, inverters.priority == "reactive", fed[slot], given[slot],
        )  # fmt: skip
        if steps < 0:
            name = network.bus_names[int(bus[where])] if bus.size else network.bus_names[network.root]
            raise GridError(
                f"slot {slot}: the inverters' voltages do not settle ({miss:.2g} pu apart in {MOST_STEPS} steps), worst at {name}",
                thing=(slot, name),
                way_out="check the rating and the curve at that bus; a slot without any flow is 'inf' apart: check its powers",
            )
        counts[slot] = steps
    np.subtract.at(p.T, bus, fed.T)
    np.subtract.at(q.T, bus, given.T)
    return DroopFlow(power_flow(network, p, q), fed, given, np.maximum(available - fed, 0.0), counts)


def device_power(
    droop: Droop, v_pu: float, available_kw: float, rating_kva: float, priority: Priority = "reactive"
) -> tuple[float, float]:
    """(kW, kvar) that one inverter feeds in at a voltage: the curves by themselves.

    >>> [round(x, 3) for x in device_power(IEEE_1547_B, 1.05, 10.0, 10.0)]       # half of 44 % reactive, the rest active
    [9.755, -2.2]
    """
    watt, var = _packed([droop.volt_watt], 1.0), _packed([droop.volt_var], 0.0)
    p, q, _, _ = _device(v_pu, available_kw, rating_kva, watt[0], var[0], priority == "reactive")
    return p, q


def _check(network: Network, inverters: Inverters, bus: Int, available: Float, rating: Float, p: Float, q: Float) -> None:
    faults = []
    slots = p.shape[0]
    if bus.ndim != 1 or available.shape[1:] != bus.shape or rating.shape != bus.shape or available.shape[0] not in (1, slots):
        shapes = (bus.shape, available.shape, rating.shape)
        faults.append(Fault("inverters", "columns", shapes, f"bus [n], available_kw [n] or [{slots}, n], rating_kva [n]"))
        raise InputError("inverters", faults)
    for name, column in (("p_kw", p), ("q_kvar", q)):
        if column.shape != (slots, network.buses) or not np.isfinite(column).all():
            faults.append(Fault("power", name, column.shape, f"finite numbers, [{network.buses}] or [slots, {network.buses}]"))
    if bus.size and not (bus.min() >= 0 and bus.max() < network.buses):
        faults.append(Fault("inverters", "bus", bus.tolist(), f"bus indices below {network.buses}"))
    if not (np.isfinite(available).all() and (available >= 0).all()):
        faults.append(Fault("inverters", "available_kw", available.tolist(), "finite numbers of zero or more"))
    if not (np.isfinite(rating).all() and (rating > 0).all()):
        faults.append(Fault("inverters", "rating_kva", rating.tolist(), "positive numbers"))
    if len(inverters.droop) not in (1, bus.size):
        faults.append(Fault("inverters", "droop", len(inverters.droop), f"one curve set, or {bus.size}"))
    if inverters.priority not in ("reactive", "active"):
        faults.append(Fault("inverters", "priority", inverters.priority, "reactive or active"))
    if faults:
        raise InputError("inverters", faults)


def _packed(curves: Sequence[Points], flat: float) -> Float:
    """[n, points, 2]; shorter curves repeat their last share at rising voltages, empty ones are `flat`."""
    most = max([2, *(len(points) for points in curves)])
    packed = np.empty((len(curves), most, 2))
    for row, points in enumerate(curves):
        known = list(points) or [(0.0, flat)]
        known += [(known[-1][0] + 1.0 + k, known[-1][1]) for k in range(most - len(known))]
        packed[row] = known
    return packed


@njit(cache=True)
def _share(v: float, points: Float) -> tuple[float, float]:
    """Value and slope (per pu) of a piecewise linear curve; constant beyond its ends."""
    last = points.shape[0] - 1
    if v <= points[0, 0]:
        return points[0, 1], 0.0
    for k in range(last):
        if v <= points[k + 1, 0]:
            slope = (points[k + 1, 1] - points[k, 1]) / (points[k + 1, 0] - points[k, 0])
            return points[k, 1] + slope * (v - points[k, 0]), slope
    return points[last, 1], 0.0


@njit(cache=True)
def _device(
    v: float, available: float, rating: float, watt: Float, var: Float, reactive_first: bool
) -> tuple[float, float, float, float]:
    """Active and reactive power fed in (kW, kvar) and their slopes per pu of voltage."""
    share, slope = _share(v, watt)
    most, most_slope = share * rating, slope * rating
    p, p_slope = (available, 0.0) if available <= most else (most, most_slope)
    share, slope = _share(v, var)
    q, q_slope = share * rating, slope * rating
    if p * p + q * q > rating * rating:
        if reactive_first:
            p = np.sqrt(max(rating * rating - q * q, 0.0))
            p_slope = -q * q_slope / p if p > 1e-9 * rating else 0.0
        else:
            p = min(p, rating)
            left = np.sqrt(max(rating * rating - p * p, 0.0))
            q_slope = (-p * p_slope / left if left > 1e-9 * rating else 0.0) * (1.0 if q > 0 else -1.0)
            q = left if q > 0 else -left
    return p, q, p_slope, q_slope


@njit(cache=True)
def _voltages(
    parent: Int, data: Float, p0: Float, q0: Float, place: Int, u: Float, available: Float, rating: Float, watt: Float,
    var: Float, reactive_first: bool, vr: Float, vi: Float, state: Float, p: Float, q: Float, fed: Float, given: Float,
    slopes: Float, seen: Float,
) -> float:  # fmt: skip
    """Run the flow with the powers that the inverters feed in at the assumed voltages `u`; `seen` receives the voltages they then
    see. Returns the largest |seen - u|, infinite without a flow."""
    for k in range(p.size):
        p[k], q[k] = p0[k], q0[k]
    for i in range(place.size):
        fed[i], given[i], slopes[i, 0], slopes[i, 1] = _device(u[i], available[i], rating[i], watt[i], var[i], reactive_first)
        p[place[i]] -= fed[i] / BASE_KVA
        q[place[i]] -= given[i] / BASE_KVA
    if solve(parent, data, p, q, vr, vi, state, TOLERANCE_PU, MAX_SWEEPS) < 0:
        return np.inf
    worst = 0.0
    for i in range(place.size):
        seen[i] = np.hypot(vr[place[i]], vi[place[i]])
        worst = max(worst, abs(seen[i] - u[i]))
    return worst


@njit(cache=True)
def _settle(
    parent: Int, data: Float, slack_v_pu: float, p0: Float, q0: Float, place: Int, available: Float, rating: Float, watt: Float,
    var: Float, reactive_first: bool, fed: Float, given: Float,
) -> tuple[int, float, int]:  # fmt: skip
    """Newton on F(u) = seen(u) - u. Steps taken (-1: did not settle), what is left in pu, and the inverter where it is worst."""
    n, m = parent.size, place.size
    vr, vi, state, p, q = np.empty(n), np.empty(n), np.zeros((n, 4)), np.empty(n), np.empty(n)
    start_flat(parent, data, slack_v_pu, vr, vi)
    flat_r, flat_i = vr.copy(), vi.copy()
    u, seen, slopes = np.empty(m), np.empty(m), np.empty((m, 2))
    for i in range(m):
        u[i] = np.hypot(vr[place[i]], vi[place[i]])
    trial, trial_seen = u.copy(), u.copy()
    factor, c, dp, dq = np.zeros((n, 4), dtype=np.complex128), np.zeros(n, dtype=np.complex128), np.empty(n), np.empty(n)
    miss = _voltages(
        parent, data, p0, q0, place, u, available, rating, watt, var, reactive_first, vr, vi, state, p, q, fed, given, slopes, seen
    )
    for step in range(MOST_STEPS):
        if miss <= VOLTAGE_STILL_PU:
            return step, miss, 0
        move = np.empty(m)
        if miss < np.inf:
            factorise(parent, data, p, q, vr, vi, factor)
            jacobian = np.zeros((m, m))
            for i in range(m):
                voltage_gradient(vr, vi, place[i], c)
                adjoint(parent, factor, vr, vi, c, dp, dq)
                for j in range(m):
                    rise = dp[place[j]] * slopes[j, 0] + dq[place[j]] * slopes[j, 1]
                    jacobian[i, j] = (1.0 if i == j else 0.0) + rise / BASE_KVA
            move[:] = np.linalg.solve(jacobian, seen - u)
        else:  # no flow at the assumed voltages: assume higher ones, where everything feeds in less
            for i in range(m):
                move[i] = 0.05
                vr[:], vi[:] = flat_r, flat_i
        part, best = 1.0, np.inf
        for _ in range(12):
            for i in range(m):
                trial[i] = u[i] + part * move[i]
            found = _voltages(
                parent, data, p0, q0, place, trial, available, rating, watt, var, reactive_first, vr, vi, state, p, q, fed,
                given, slopes, trial_seen,
            )  # fmt: skip
            best = found
            if found < miss or miss == np.inf:
                break
            if found == np.inf:
                vr[:], vi[:] = flat_r, flat_i
            part /= 2
        for i in range(m):
            u[i], seen[i] = trial[i], trial_seen[i]
        miss = best
    return -1, miss, int(np.argmax(np.abs(seen - u)))
