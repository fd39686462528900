"""Networks for the tests of the wires: hand-made ones with a source, random trees, and the same in power-grid-model.

The twin is built from the physical tables, not from our per-unit columns, so that a mistake in the conversion cannot hide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from power_grid_model import ComponentType, LoadGenType, PowerGridModel, WindingType, initialize_array

from walras.grid import Line, Network, Transformer, add_supplier, build_network
from walras.market.orders import Orders, make_orders

HOUR = 0.25


@dataclass(frozen=True)
class Tables:
    """Raw tables of a network, as a caller would hand them in."""

    buses: dict[str, float]
    lines: list[Line]
    transformers: list[Transformer]
    root: str
    slack_v_pu: float = 1.0

    def network(self, **options: object) -> Network:
        return build_network(self.buses, self.lines, self.transformers, root=self.root, slack_v_pu=self.slack_v_pu, **options)  # type: ignore[arg-type]


NAYY_4x150 = {"r_ohm_per_km": 0.2067, "x_ohm_per_km": 0.0804248, "c_nf_per_km": 830.0, "max_i_ka": 0.27}
"""Cable of the SimBench low-voltage grids (NAYY 4x150SE 0.6/1kV)."""

TRAFO_160 = {
    "sn_kva": 160.0,
    "hv_kv": 20.0,
    "lv_kv": 0.4,
    "vk_percent": 4.0,
    "vkr_percent": 1.46875,
    "pfe_kw": 0.46,
    "i0_percent": 0.2875,
    "tap_step_percent": 2.5,
    "shift_degree": 150.0,
}
"""0.16 MVA 20/0.4 kV DETEDYD5, the transformer of the SimBench grid rural1."""


def feeder(tap_pos: float = 0.0, tap_side: str = "hv", homes: int = 5, slack_v_pu: float = 1.025) -> Tables:
    """A medium-voltage bus, a 160 kVA transformer, and `homes` homes 100 m apart on one cable."""
    buses = {"mv": 20.0, "lv": 0.4} | {f"home{i}": 0.4 for i in range(homes)}
    names = ["lv", *(f"home{i}" for i in range(homes))]
    lines = [Line(f"cable{i}", names[i], names[i + 1], 0.1, **NAYY_4x150) for i in range(homes)]
    trafo = Transformer("trafo", "mv", "lv", tap_pos=tap_pos, tap_side=tap_side, **TRAFO_160)  # type: ignore[arg-type]
    return Tables(buses, lines, [trafo], "mv", slack_v_pu)


@st.composite
def random_tables(draw: st.DrawFn, max_buses: int = 12) -> Tables:
    """A random radial network: 20 kV root, low-voltage trees behind transformers, rows in either direction, taps anywhere."""
    n = draw(st.integers(1, max_buses))
    buses, lines, trafos = {"b0": 20.0}, [], []
    for i in range(1, n):
        parent = f"b{draw(st.integers(0, i - 1))}"
        kv = draw(st.sampled_from([20.0, 0.4])) if buses[parent] == 20.0 else 0.4
        buses[f"b{i}"] = kv
        if kv == buses[parent]:
            ends = (parent, f"b{i}") if draw(st.booleans()) else (f"b{i}", parent)
            scale = 1.0 if kv == 0.4 else 10.0
            lines.append(
                Line(
                    f"line{i}",
                    *ends,
                    length_km=draw(st.floats(0.01, 0.2)) * scale,
                    r_ohm_per_km=draw(st.floats(0.05, 0.9)),
                    x_ohm_per_km=draw(st.floats(0.05, 0.4)),
                    c_nf_per_km=draw(st.floats(0, 900)),
                    max_i_ka=draw(st.floats(0.1, 0.4)),
                    parallel=draw(st.integers(1, 2)),
                )
            )
        else:
            trafos.append(
                Transformer(
                    f"trafo{i}",
                    parent,
                    f"b{i}",
                    tap_pos=draw(st.integers(-2, 2)),
                    tap_side=draw(st.sampled_from(["hv", "lv"])),
                    **TRAFO_160,
                )
            )
    return Tables(buses, lines, trafos, "b0", draw(st.floats(0.95, 1.05)))


def random_book(network: Network, seed: int, count: int, kw: float, *, ties: bool = False, low: int = 80_000) -> Orders:
    """Random orders anywhere, and the supplier at the root at the ends of the price range."""
    rng = np.random.default_rng(seed)
    price = rng.integers(low, 300_000, count)
    if ties:
        price = price // 50_000 * 50_000
    book = make_orders(
        rng.choice([1, -1], count),
        rng.integers(0, max(int(kw * 250), 1), count),
        price,
        node=rng.integers(0, network.buses, count),
        participant=rng.integers(0, 5, count),
    )
    return add_supplier(book, network, 310_000, low - 10_000, participant=99)


def tight(tables: Tables, rating: float, band: float) -> Network:
    """The network with its ratings scaled and a narrow voltage band around the slack voltage."""
    v = tables.slack_v_pu
    network = tables.network(v_min_pu=v - band, v_max_pu=v + band)
    return replace(network, branch_rating=network.branch_rating * rating)


def pgm_model(tables: Tables, p_kw: np.ndarray, q_kvar: np.ndarray) -> PowerGridModel:
    """The same network and loads in power-grid-model (parallel systems as a line with their joint constants)."""
    index = {name: i for i, name in enumerate(tables.buses)}
    n = len(index)
    node = initialize_array("input", ComponentType.node, n)
    node["id"], node["u_rated"] = range(n), [kv * 1e3 for kv in tables.buses.values()]
    line = initialize_array("input", ComponentType.line, len(tables.lines))
    for k, row in enumerate(tables.lines):
        line[k]["id"], line[k]["from_node"], line[k]["to_node"] = 1000 + k, index[row.from_bus], index[row.to_bus]
        line[k]["from_status"] = line[k]["to_status"] = 1
        line[k]["r1"] = row.r_ohm_per_km * row.length_km / row.parallel
        line[k]["x1"] = row.x_ohm_per_km * row.length_km / row.parallel
        line[k]["c1"], line[k]["tan1"] = row.c_nf_per_km * row.length_km * row.parallel * 1e-9, 0.0
        line[k]["i_n"] = row.max_i_ka * row.parallel * 1e3
    trafo = initialize_array("input", ComponentType.transformer, len(tables.transformers))
    for k, t in enumerate(tables.transformers):
        row_t = {
            "id": 2000 + k,
            "from_node": index[t.hv_bus],
            "to_node": index[t.lv_bus],
            "from_status": 1,
            "to_status": 1,
            "u1": t.hv_kv * 1e3,
            "u2": t.lv_kv * 1e3,
            "sn": t.sn_kva * t.parallel * 1e3,
            "uk": t.vk_percent / 100,
            "pk": t.vkr_percent / 100 * t.sn_kva * t.parallel * 1e3,
            "i0": t.i0_percent / 100,
            "p0": t.pfe_kw * t.parallel * 1e3,
            "winding_from": WindingType.delta if round(t.shift_degree / 30) % 2 else WindingType.wye,
            "winding_to": WindingType.wye,
            "clock": round(t.shift_degree / 30) % 12,
            "tap_side": 0 if t.tap_side == "hv" else 1,
            "tap_pos": int(t.tap_pos),
            "tap_min": -5,
            "tap_max": 5,
            "tap_nom": int(t.tap_neutral),
            "tap_size": (t.hv_kv if t.tap_side == "hv" else t.lv_kv) * 1e3 * t.tap_step_percent / 100,
        }
        for key, value in row_t.items():
            trafo[k][key] = value
    load = initialize_array("input", ComponentType.sym_load, n)
    load["id"], load["node"], load["status"], load["type"] = range(3000, 3000 + n), range(n), 1, LoadGenType.const_power
    load["p_specified"], load["q_specified"] = p_kw * 1e3, q_kvar * 1e3
    source = initialize_array("input", ComponentType.source, 1)
    source["id"], source["node"], source["status"], source["u_ref"] = 9000, index[tables.root], 1, tables.slack_v_pu
    source["sk"] = 1e20
    components = {ComponentType.node: node, ComponentType.sym_load: load, ComponentType.source: source}
    if len(line):
        components[ComponentType.line] = line
    if len(trafo):
        components[ComponentType.transformer] = trafo
    return PowerGridModel(components, system_frequency=50.0)


def pgm_solve(tables: Tables, p_kw: np.ndarray, q_kvar: np.ndarray) -> dict[str, np.ndarray]:
    """Voltages, loadings by name and source power of the twin."""
    result = pgm_model(tables, p_kw, q_kvar).calculate_power_flow(error_tolerance=1e-13, max_iterations=50)
    loading = {}
    for component, rows in ((ComponentType.line, tables.lines), (ComponentType.transformer, tables.transformers)):
        if rows:
            loading |= {row.name: float(value) for row, value in zip(rows, result[component]["loading"], strict=True)}
    return {
        "v_pu": result[ComponentType.node]["u_pu"],
        "angle_rad": result[ComponentType.node]["u_angle"],
        "loading": loading,
        "slack_p_kw": float(result[ComponentType.source]["p"][0]) / 1e3,
        "slack_q_kvar": float(result[ComponentType.source]["q"][0]) / 1e3,
    }


def angle_gap(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two angles, modulo a full turn."""
    return float(np.abs((np.asarray(a) - np.asarray(b) + math.pi) % (2 * math.pi) - math.pi).max())
