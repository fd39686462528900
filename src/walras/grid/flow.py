"""AC power flow of one slot or of a whole year on a radial network.

The rule: loads are constant power, the root is an infinite bus, and a result is either exact (voltages to 1e-10 pu) or an
error that names the slot and the bus: there is no half-converged flow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from walras.errors import Fault, GridError, InputError
from walras.grid.network import BASE_KVA, Float, Int, Network
from walras.grid.sweep import MAX_SWEEPS, TOLERANCE_PU, branch_loading, branch_losses, solve, start_flat


@dataclass(frozen=True, eq=False)
class Flow:
    """The physical state of `slots` slots.

    `v_pu`, `angle_rad` [slots, buses] in the order of the network's buses. `loading` [slots, branches] is the fraction of the
    rating: for a line the larger current of its ends, for a transformer the larger apparent power of its ends (0 where the
    rating is infinite). `slack_p_kw`, `slack_q_kvar` [slots] is what the root delivers (positive: import). `losses_kw` [slots]
    from the branches. `sweeps` [slots] is how many sweeps it took.
    """

    v_pu: Float
    angle_rad: Float
    loading: Float
    slack_p_kw: Float
    slack_q_kvar: Float
    losses_kw: Float
    sweeps: Int


def power_flow(network: Network, p_kw: ArrayLike, q_kvar: ArrayLike | None = None) -> Flow:
    """Solve the AC power flow of every slot.

    `p_kw` and `q_kvar` ([buses] or [slots, buses]; q defaults to zero) are what each bus takes from the grid, in the order of
    the network's buses; generation is negative. Power at the root bus is allowed and passes straight to the slack.
    Raises InputError for a wrong shape or NaN, GridError where a slot has no solution.

    >>> from walras.grid import Line, build_network
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.1)], root="a")
    >>> flow = power_flow(net, [0.0, 10.0])        # 10 kW over 0.16 ohm: v = (1 + sqrt(1 - 4 * 0.01)) / 2
    >>> round(float(flow.v_pu[0, 1]), 6), round(float(flow.losses_kw[0]), 4)
    (0.989898, 0.1021)
    """
    p = _as_slots(network, p_kw, "p_kw")
    q = np.zeros_like(p) if q_kvar is None else _as_slots(network, q_kvar, "q_kvar")
    if p.shape != q.shape:
        raise InputError("power flow", [Fault("power flow", "q_kvar", q.shape, f"the shape of p_kw, {p.shape}")])
    w = network.wires
    slots, n = p.shape
    v, angle, loading = np.empty((slots, n)), np.empty((slots, n)), np.empty((slots, n - 1))
    totals, sweeps = np.empty((slots, 3)), np.empty(slots, dtype=np.int64)
    failed = _solve_slots(w.order, w.parent, w.data, w.slack_v_pu, p, q, v, angle, loading, totals, sweeps)
    if failed >= 0:
        raise _no_solution(network, failed, p[failed], v[failed])
    for column in (v, angle, loading, totals, sweeps):
        column.flags.writeable = False
    return Flow(v, angle, loading, totals[:, 0], totals[:, 1], totals[:, 2], sweeps)


def _as_slots(network: Network, values: ArrayLike, name: str) -> Float:
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2 or array.shape[1] != network.buses:
        raise InputError("power flow", [Fault("power flow", name, array.shape, f"[buses] or [slots, {network.buses} buses]")])
    if not np.isfinite(array).all():
        slot, bus = np.argwhere(~np.isfinite(array))[0]
        where = f"slot {slot}, bus {network.bus_names[bus]}"
        raise InputError("power flow", [Fault(where, name, float(array[slot, bus]), "a finite number")])
    return array


def _no_solution(network: Network, slot: int, p: Float, v: Float) -> GridError:
    """The error for a slot that did not converge; `v` holds the last steps, largest where it broke down."""
    bus = network.bus_names[int(np.argmax(np.where(np.isnan(v), np.inf, v)))]
    total = float(p.sum())
    return GridError(
        f"slot {slot}: no AC power flow exists or the sweep does not find it; voltage breaks down at bus {bus} "
        f"(all buses together take {total:.1f} kW)",
        thing=(slot, bus),
        way_out="this is more power than the wires can carry: check units (kW, not W) and the bus of each load, or limit it",
    )


@njit(cache=True)
def _solve_slots(
    order: Int, parent: Int, data: Float, slack_v_pu: float, p_kw: Float, q_kvar: Float,
    v: Float, angle: Float, loading: Float, totals: Float, sweeps: Int,
) -> int:  # fmt: skip
    """Every slot from a flat start, so that a slot's result does not depend on its neighbours. -1, or the slot that failed."""
    n = parent.size
    flat_r, flat_i = np.empty(n), np.empty(n)
    start_flat(parent, data, slack_v_pu, flat_r, flat_i)
    vr, vi, p, q, state = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.zeros((n, 4))
    for slot in range(p_kw.shape[0]):
        for k in range(n):
            vr[k], vi[k] = flat_r[k], flat_i[k]
            p[k] = p_kw[slot, order[k]] / BASE_KVA
            q[k] = q_kvar[slot, order[k]] / BASE_KVA
        sweeps[slot] = solve(parent, data, p, q, vr, vi, state, TOLERANCE_PU, MAX_SWEEPS)
        if sweeps[slot] < 0:
            for k in range(n):  # how far each voltage is from the flat start
                v[slot, order[k]] = np.hypot(vr[k] - flat_r[k], vi[k] - flat_i[k])
            return slot
        for k in range(n):
            v[slot, order[k]] = np.hypot(vr[k], vi[k])
            angle[slot, order[k]] = np.arctan2(vi[k], vr[k])
            if k > 0:
                loading[slot, k - 1] = branch_loading(parent, data, vr, vi, state, k)
        totals[slot, 0] = (vr[0] * state[0, 0] + vi[0] * state[0, 1]) * BASE_KVA
        totals[slot, 1] = (vi[0] * state[0, 0] - vr[0] * state[0, 1]) * BASE_KVA
        totals[slot, 2] = branch_losses(parent, data, vr, vi, state) * BASE_KVA
    return -1
