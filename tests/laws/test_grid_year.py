"""A whole year of nodal clearing on two real feeders: judged by power-grid-model, no limit is ever exceeded unless reported.

Every quarter hour of 2016: rural1 as it is, rural3 with five times its PV. Loads bid, plants ask, the supplier stands at the root.
The cleared powers of all slots go through another program's AC power flow, built from the network's columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from power_grid_model import ComponentType, LoadGenType, PowerGridModel, WindingType, initialize_array

from walras.community.file import load_community
from walras.community.series import Series, member_bus, member_series, network
from walras.grid import LINE, NODAL, FeederSlot, Network, add_supplier
from walras.grid.nodal_check import check_nodal
from walras.market.conventions import Conventions
from walras.market.orders import Orders, make_orders

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PLAIN = Conventions()
BASE_KVA = 10.0
CHUNK = 4000


def _book(net: Network, bus: np.ndarray, series: Series, t: int, pv: int) -> tuple[Orders, FeederSlot]:
    plants = np.flatnonzero(series.pv_wh.sum(axis=0) > 0)
    rng = np.random.default_rng(t)
    side = np.concatenate([np.ones(bus.size), -np.ones(plants.size), np.ones(bus.size)])
    half = series.load_wh[t] // 2
    wh = np.concatenate([half, pv * series.pv_wh[t, plants], series.load_wh[t] - half])
    price = np.concatenate([rng.integers(150_000, 300_000, bus.size), rng.integers(20_000, 69_000, plants.size)])
    price = np.concatenate([price, rng.integers(150_000, 300_000, bus.size)])
    book = make_orders(side, wh, price, node=np.concatenate([bus, bus[plants], bus]))
    q = np.bincount(bus, weights=series.reactive_kvar[t], minlength=net.buses)
    return add_supplier(book, net, 310_000, 70_000, participant=10**6), FeederSlot(net, 0.25, fixed_q_kvar=q)


def _other_program(net: Network) -> PowerGridModel:
    """The network in power-grid-model, from its columns turned back into ohms, farads and data sheets."""
    node = initialize_array("input", ComponentType.node, net.buses)
    node["id"], node["u_rated"] = np.arange(net.buses), net.bus_kv * 1e3
    lines, trafos = np.flatnonzero(net.branch_kind == LINE), np.flatnonzero(net.branch_kind != LINE)
    line = initialize_array("input", ComponentType.line, lines.size)
    ohm = net.bus_kv[net.branch_to[lines]] ** 2 / (BASE_KVA / 1e3)
    line["id"], line["from_status"], line["to_status"], line["tan1"] = 1000 + lines, 1, 1, 0.0
    line["from_node"], line["to_node"] = net.branch_from[lines], net.branch_to[lines]
    line["r1"], line["x1"] = net.branch_r[lines] * ohm, net.branch_x[lines] * ohm
    line["c1"], line["i_n"] = net.branch_b[lines] / ohm / (2 * np.pi * 50), net.branch_rating[lines]
    assert (net.branch_g[lines] == 0).all()
    trafo = initialize_array("input", ComponentType.transformer, trafos.size)
    for row, k in zip(trafo, trafos, strict=True):
        sn, up, down = net.branch_rating[k], net.branch_from[k], net.branch_to[k]
        values = {
            "id": 1000 + k, "from_node": up, "to_node": down, "from_status": 1, "to_status": 1, "sn": sn * 1e3,
            "u1": net.bus_kv[up] * net.branch_tap[k] * 1e3, "u2": net.bus_kv[down] * 1e3,
            "uk": np.hypot(net.branch_r[k], net.branch_x[k]) * sn / BASE_KVA, "pk": net.branch_r[k] * sn / BASE_KVA * sn * 1e3,
            "i0": np.hypot(net.branch_g[k], net.branch_b[k]) * BASE_KVA / sn, "p0": net.branch_g[k] * BASE_KVA * 1e3,
            "winding_from": WindingType.wye, "winding_to": WindingType.wye, "clock": 0, "tap_side": 0, "tap_pos": 0, "tap_min": 0,
            "tap_max": 0, "tap_nom": 0, "tap_size": 0.0,
        }  # fmt: skip
        for name, value in values.items():
            row[name] = value
    load = initialize_array("input", ComponentType.sym_load, net.buses)
    load["id"], load["node"], load["status"], load["type"] = (
        9000 + np.arange(net.buses),
        np.arange(net.buses),
        1,
        LoadGenType.const_power,
    )
    load["p_specified"] = load["q_specified"] = 0.0
    source = initialize_array("input", ComponentType.source, 1)
    source["id"], source["node"], source["status"], source["u_ref"], source["sk"] = 99_999, net.root, 1, net.slack_v_pu, 1e20
    parts = {ComponentType.node: node, ComponentType.line: line, ComponentType.transformer: trafo}
    return PowerGridModel(parts | {ComponentType.sym_load: load, ComponentType.source: source}, system_frequency=50.0)


def _excess(net: Network, p_kw: np.ndarray, q_kvar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[slots] worst voltage excess in pu and worst loading over 1, by the other program."""
    model, judged = _other_program(net), np.arange(net.buses) != net.root
    volts, loads = [], []
    for first in range(0, len(p_kw), CHUNK):
        p, q = p_kw[first : first + CHUNK], q_kvar[first : first + CHUNK]
        update = initialize_array("update", ComponentType.sym_load, p.shape)
        update["id"] = 9000 + np.arange(net.buses)
        update["p_specified"], update["q_specified"] = p * 1e3, q * 1e3
        found = model.calculate_power_flow(update_data={ComponentType.sym_load: update}, error_tolerance=1e-12)
        v = found[ComponentType.node]["u_pu"]
        volts.append(np.maximum(net.v_min_pu - v, v - net.v_max_pu)[:, judged].max(axis=1))
        branch = [found[kind]["loading"] for kind in (ComponentType.line, ComponentType.transformer)]
        loads.append(np.concatenate(branch, axis=1).max(axis=1) - 1)
    return np.concatenate(volts), np.concatenate(loads)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "pv", "at_a_limit"), [("rural1", 1, 500), ("rural3", 5, 1000)])
def test_no_limit_is_exceeded_in_any_slot_of_the_year_unless_reported(name: str, pv: int, at_a_limit: int) -> None:
    community = load_community(EXAMPLES / f"{name}.toml")
    net, bus, series = network(community), member_bus(community), member_series(community, range(community.slot_count))
    slots = community.slot_count
    p, q, short, bound = np.empty((slots, net.buses)), np.empty((slots, net.buses)), np.zeros(slots, bool), 0
    for t in range(slots):
        book, slot = _book(net, bus, series, t, pv)
        done = NODAL.clear(book, PLAIN, slot)
        p[t], q[t] = slot.power_of(book, done.filled_wh), slot.fixed_q_kvar
        short[t] = np.asarray(done.certificate["limit_short_ppm"]).any()
        bound += bool(np.asarray(done.certificate["limit_price_micro_per_hour"]).any())
        if t % 97 == 0 or short[t]:
            assert check_nodal(book, done, slot, PLAIN) == [], t
    volts, loads = _excess(net, p, q)
    print(f"{name}: {slots} slots, {bound} with a binding limit, {short.sum()} reported short, worst voltage excess "
          f"{volts[~short].max():.2e} pu, worst loading excess {loads[~short].max():.2e}")  # fmt: skip
    assert volts[~short].max() <= 1e-6
    assert loads[~short].max() <= 1e-4
    assert bound >= at_a_limit
    assert short.mean() < 0.01
