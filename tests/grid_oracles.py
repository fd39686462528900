"""The clearing of one slot by other people's optimisers: IPOPT (by casadi) and pandapower's `runopp`. For tests and benchmarks.

IPOPT gets the branch-flow equations with equality (exact AC, no relaxation), every order as a variable. `runopp` gets the physical
tables, so that our per-unit model is not checked against itself; its supplier has one price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from grid_cases import Tables
from walras.grid.feeder import FeederSlot, Groups
from walras.grid.network import BASE_KVA, LINE, Network
from walras.grid.point import Work
from walras.market.orders import Orders

SN_MVA = 0.01
"""At its default of 1 MVA the optimiser stops when household powers are still off by a per cent and prices by 1 ct/kWh."""

_TOLERANCES = dict.fromkeys(("PDIPM_FEASTOL", "PDIPM_GRADTOL", "PDIPM_COMPTOL", "PDIPM_COSTTOL"), 1e-08)


@dataclass(frozen=True, eq=False)
class OracleOptimum:
    """`fill_kw` [groups], `node_price` [buses] micro per kWh, `welfare` micro per hour."""

    fill_kw: np.ndarray
    node_price: np.ndarray
    welfare: float


def ipopt_problem(slot: FeederSlot, groups: Groups) -> Any:
    """A function without arguments that solves the slot with IPOPT, built once (so that only the solve is timed)."""
    import casadi as ca

    work = Work(slot, groups)
    w, n, m = work.w, work.p.size, groups.price.size
    x, p, q, loss, v = ca.SX.sym("x", m), ca.SX.sym("p", n), ca.SX.sym("q", n), ca.SX.sym("l", n), ca.SX.sym("v", n)
    turn = w.data[:, 4] ** 2 + w.data[:, 5] ** 2
    taken = [ca.SX(float(work.fixed[k])) for k in range(n)]
    for i in range(m):
        taken[int(groups.place[i])] += float(groups.side[i]) * x[i]
    active, reactive = list(taken), [ca.SX(float(work.q[k])) for k in range(n)]
    rows, low, high = [], [], []

    def add(row: Any, lower: float, upper: float) -> None:
        rows.append(row)
        low.append(lower)
        high.append(upper)

    for k in range(1, n):
        g2, b2, up = w.data[k, 2], w.data[k, 3], int(w.parent[k])
        active[up] += p[k] + g2 * turn[k] * v[up]
        reactive[up] += q[k] - b2 * turn[k] * v[up]
    add(active[0] - work.base_kw / BASE_KVA, 0, 0)
    for k in range(1, n):
        r, z, g2, b2 = w.data[k, :4]
        add(active[k] - (p[k] - r * loss[k] - g2 * v[k]), 0, 0)
    for k in range(1, n):
        r, z, g2, b2 = w.data[k, :4]
        up, inverse = int(w.parent[k]), w.data[k, 6]
        add(reactive[k] - (q[k] - z * loss[k] + b2 * v[k]), 0, 0)
        add(v[k] - (turn[k] * v[up] - 2 * (r * p[k] + z * q[k]) + (r * r + z * z) * loss[k]), 0, 0)
        add(p[k] ** 2 + q[k] ** 2 - loss[k] * turn[k] * v[up], 0, 0)
        if inverse > 0:
            near = (p[k] + g2 * turn[k] * v[up]) ** 2 + (q[k] - b2 * turn[k] * v[up]) ** 2
            far = (p[k] - r * loss[k] - g2 * v[k]) ** 2 + (q[k] - z * loss[k] + b2 * v[k]) ** 2
            line = w.data[k, 7] != 0
            add(near * inverse**2 - (turn[k] * v[up] if line else 1), -np.inf, 0)
            add(far * inverse**2 - (v[k] if line else 1), -np.inf, 0)
    for at_root, own, bound in zip(work.totals.at_root, work.totals.own, work.totals.bound, strict=True):
        weight = at_root * work.totals.root_side + own
        add(ca.dot(ca.DM(weight), x), -np.inf, bound / BASE_KVA)
    unit = max(float(np.abs(groups.price).max()), 1.0)
    cost = ca.dot(ca.DM(-groups.side * groups.price / unit), x)
    problem = {"x": ca.vertcat(x, p, q, loss, v), "f": cost, "g": ca.vertcat(*rows)}
    options = {
        "print_time": False,
        "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-9, "acceptable_tol": 1e-8, "acceptable_iter": 5, "max_iter": 1000},
    }
    solver = ca.nlpsol("slot", "ipopt", problem, options)
    upper, free = work.upper / BASE_KVA, np.full(n, 1e4)
    root = w.slack_v_pu**2
    v_low, v_high = work.v_min**2, work.v_max**2
    v_low[0] = v_high[0] = root
    p_free = free.copy()
    p_free[0] = 0.0
    lbx = np.concatenate([np.zeros(m), -p_free, -p_free, np.zeros(n), v_low])
    ubx = np.concatenate([upper, p_free, p_free, p_free, v_high])
    start = np.concatenate(
        [0.3 * np.minimum(upper, 1.0), np.zeros(2 * n), np.full(n, 1e-3), np.clip(np.full(n, root), v_low, v_high)]
    )

    def solve() -> OracleOptimum:
        found = solver(x0=start, lbx=lbx, ubx=ubx, lbg=low, ubg=high)
        if not solver.stats()["success"]:
            raise RuntimeError(f"IPOPT: {solver.stats()['return_status']}")
        fill = np.clip(np.asarray(found["x"]).ravel()[:m], 0.0, upper) * BASE_KVA
        price = np.asarray(found["lam_g"]).ravel()[:n] * unit
        return OracleOptimum(fill, price[w.place], float(np.sum(groups.side * groups.price * fill)))

    return solve


def pandapower_tables(tables: Tables, network: Network) -> Any:
    """pandapower's network from the physical tables, with the ratings and the band of `network`."""
    import pandapower as pp

    net = pp.create_empty_network(sn_mva=SN_MVA)  # no vector group: its optimiser does not find the way from a flat start
    for b, (name, kv) in enumerate(tables.buses.items()):
        pp.create_bus(net, kv, name=name, min_vm_pu=float(network.v_min_pu[b]), max_vm_pu=float(network.v_max_pu[b]))
    index = {name: i for i, name in enumerate(tables.buses)}
    for row in tables.lines:
        rating_ka = float(network.branch_rating[network.branch_index[row.name]]) / 1e3
        pp.create_line_from_parameters(
            net, index[row.from_bus], index[row.to_bus], row.length_km, row.r_ohm_per_km, row.x_ohm_per_km, row.c_nf_per_km,
            rating_ka, max_loading_percent=100.0,
        )  # fmt: skip
    for t in tables.transformers:
        rating = float(network.branch_rating[network.branch_index[t.name]])
        pp.create_transformer_from_parameters(
            net, index[t.hv_bus], index[t.lv_bus], t.sn_kva / 1e3, t.hv_kv, t.lv_kv, t.vkr_percent, t.vk_percent, t.pfe_kw,
            t.i0_percent, max_loading_percent=100.0 * rating / t.sn_kva,
        )  # fmt: skip
    return net


def pandapower_network(network: Network) -> Any:
    """pandapower's network from per-unit columns (for timing: nothing independent is checked with it)."""
    import pandapower as pp

    net = pp.create_empty_network(sn_mva=SN_MVA)
    for b, name in enumerate(network.bus_names):
        band = {"min_vm_pu": float(network.v_min_pu[b]), "max_vm_pu": float(network.v_max_pu[b])}
        pp.create_bus(net, float(network.bus_kv[b]), name=name, **band)
    for k in range(network.branches):
        a, b, rating = int(network.branch_from[k]), int(network.branch_to[k]), float(network.branch_rating[k])
        r, x, g, y = (float(getattr(network, f"branch_{name}")[k]) for name in "rxgb")
        ohm = float(network.bus_kv[b]) ** 2 / (BASE_KVA / 1e3)
        if network.branch_kind[k] == LINE:
            farad = y / ohm / (2 * np.pi * 50.0)
            pp.create_line_from_parameters(net, a, b, 1.0, r * ohm, x * ohm, farad * 1e9, rating / 1e3, max_loading_percent=100.0)
            continue
        per_cent = 100.0 * rating / BASE_KVA
        pp.create_transformer_from_parameters(
            net, a, b, rating / 1e3, float(network.bus_kv[a] * network.branch_tap[k]), float(network.bus_kv[b]), r * per_cent,
            float(np.hypot(r, x)) * per_cent, g * BASE_KVA, float(np.hypot(g, y)) * BASE_KVA / rating * 100.0,
            max_loading_percent=100.0,
        )  # fmt: skip
    return net


def runopp_problem(net: Any, slot: FeederSlot, orders: Orders, price: int) -> Any:
    """A function without arguments: nodal prices [buses] by `runopp` for the members' orders and a supplier at one `price`."""
    import pandapower as pp

    network = slot.network
    if slot.fixed_q_kvar is not None:
        for b in np.flatnonzero(slot.fixed_q_kvar):
            pp.create_load(net, int(b), 0.0, q_mvar=float(slot.fixed_q_kvar[b]) / 1e3, controllable=False)
    limits = {"min_p_mw": -1, "max_p_mw": 1, "min_q_mvar": -1, "max_q_mvar": 1}
    grid = pp.create_ext_grid(net, network.root, network.slack_v_pu, **limits)
    pp.create_poly_cost(net, grid, "ext_grid", cp1_eur_per_mw=price / 1e3)
    for row in range(orders.count):
        mw = float(orders.quantity_wh[row]) * slot.kw_per_wh / 1e3
        if mw == 0:
            continue
        sells = orders.side[row] < 0
        create, kind = (pp.create_sgen, "sgen") if sells else (pp.create_load, "load")
        bus = int(orders.node[row])
        made = create(net, bus, mw / 2, q_mvar=0, controllable=True, min_p_mw=0, max_p_mw=mw, min_q_mvar=0, max_q_mvar=0)
        cost = float(orders.price_micro_per_kwh[row]) / 1e3
        pp.create_poly_cost(net, made, kind, cp1_eur_per_mw=cost if sells else -cost)

    def solve() -> np.ndarray:
        pp.runopp(net, calculate_voltage_angles=True, trafo_model="pi", numba=False, delta=1e-10, **_TOLERANCES)
        return np.asarray(net.res_bus.lam_p) * 1e3

    return solve
