"""Reads one low-voltage grid out of SimBench's csv tables, with nothing but the standard library.

The tables hold every SimBench grid of a scenario; a low-voltage grid is the rows of its subnet plus the medium-voltage bus that
feeds it. What needs care, and is done here:
* closed switches join buses, and each end of a line has an auxiliary bus of its own: buses joined by closed switches are fused;
* tap positions stand in the transformer table and are applied (pandapower from 3.0 leaves them out unless told);
* profiles carry local text times with clock changes: rows are taken by position, row i is 15 min * i after 2015-12-31 23:00
  UTC;
* a storage row is a solar home with a battery, not a battery alone: its profile (named after a PV and a load profile) is never
  negative, and its yearly sum is 95 % of the PV profile's at the storage's rated power. So it stands for a solar plant of that
  power behind a battery of that power and `eStore`.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from walras.errors import Fault, InputError
from walras.grid import Line, Network, Transformer, build_network
from walras.units import Float64

SUBNETS = {
    "rural1": "LV1.101",
    "rural2": "LV2.101",
    "rural3": "LV3.101",
    "semiurb4": "LV4.101",
    "semiurb5": "LV5.201",
    "urban6": "LV6.201",
}
FREQUENCY_HZ = 50.0
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class SimbenchCode:
    """A code such as `1-LV-rural3--2-sw`: version, level, grid, scenario (0 today, 1 near, 2 far future)."""

    code: str
    grid: str
    scenario: int

    @property
    def subnet(self) -> str:
        """SimBench's own name of the grid in its tables."""
        return SUBNETS[self.grid]


@dataclass(frozen=True, slots=True)
class SimbenchGrid:
    """One grid: its network, the bus (fused name) of every node, and the rows of what hangs there, in table order."""

    code: SimbenchCode
    network: Network
    bus_of: dict[str, str]
    loads: tuple[Row, ...]
    plants: tuple[Row, ...]
    storages: tuple[Row, ...]


def parse_code(code: str) -> SimbenchCode:
    """The parts of a code of a single low-voltage grid; InputError for any other."""
    grids = ", ".join(f"1-LV-{name}--S-sw" for name in SUBNETS)
    parts = code.split("-")
    known = len(parts) == 6 and parts[:2] == ["1", "LV"] and parts[2] in SUBNETS and parts[3] == ""
    if not known or parts[4] not in ("0", "1", "2") or parts[5] != "sw":
        raise InputError("SimBench code", [Fault("SimBench", "code", code, f"one of {grids} with scenario S 0, 1 or 2")])
    return SimbenchCode(code, parts[2], int(parts[4]))


def tables_folder(code: SimbenchCode, root: Path | None = None) -> Path:
    """Where the tables of the code's scenario are: under `root`, or in the installed `simbench` package.

    The package is located, not imported: nothing of it is run.
    """
    name = f"1-complete_data-mixed-all-{code.scenario}-sw"
    if root is None:
        spec = importlib.util.find_spec("simbench")
        if spec is None or spec.origin is None:
            fault = Fault("SimBench", "package", "absent", "the tables that ship with it")
            raise InputError("SimBench", [fault], way_out="pip install 'walras[simbench]'")
        root = Path(spec.origin).parent / "networks"
    folder = root / name
    if not folder.is_dir():
        raise InputError("SimBench", [Fault("SimBench", "folder", str(folder), "a folder of SimBench tables")])
    return folder


def read_grid(code: SimbenchCode, folder: Path) -> SimbenchGrid:
    """The network of the code and all that hangs at it."""
    subnet = code.subnet
    rows = {name: [row for row in read_table(folder, name) if _belongs(row, subnet)] for name in ("Node", "Switch")}
    bus_of = _fuse(rows["Node"], rows["Switch"])
    return SimbenchGrid(
        code=code,
        network=_network(subnet, folder, rows["Node"], bus_of),
        bus_of=bus_of,
        loads=tuple(_own(folder, "Load", subnet)),
        plants=tuple(_own(folder, "RES", subnet)),
        storages=tuple(_own(folder, "Storage", subnet)) if (folder / "Storage.csv").is_file() else (),
    )


def read_profiles(folder: Path, table: str, columns: Iterable[str]) -> dict[str, Float64]:
    """Columns of a profile table by name, float64 [slots], in the order of the rows (positions, not the local text times)."""
    wanted = list(columns)
    with (folder / f"{table}.csv").open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=";")
        head = next(reader)
        faults = [Fault(table, "column", name, "a column of the table") for name in wanted if name not in head]
        if faults:
            raise InputError("SimBench profiles", faults)
        places = [head.index(name) for name in wanted]
        values = np.array([[float(row[place]) for place in places] for row in reader], dtype=np.float64)
    return {name: values[:, k] for k, name in enumerate(wanted)}


def read_table(folder: Path, name: str) -> Iterator[Row]:
    """The rows of a table as mappings from column to text."""
    with (folder / f"{name}.csv").open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines, delimiter=";")


def _own(folder: Path, name: str, subnet: str) -> list[Row]:
    return [row for row in read_table(folder, name) if row["subnet"] == subnet]


def _belongs(row: Row, subnet: str) -> bool:
    """The subnet's own rows, and the buses and switches of the level above that border on it."""
    return subnet in row["subnet"].split("_")


def _fuse(nodes: Iterable[Row], switches: Iterable[Row]) -> dict[str, str]:
    """Each node's bus: nodes joined by closed switches share the name of the first busbar among them."""
    parent = {row["id"]: row["id"] for row in nodes}
    order = {row["id"]: (row["type"] == "auxiliary", k) for k, row in enumerate(nodes)}

    def top(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for row in switches:
        if row["cond"] == "1" and row["nodeA"] in parent and row["nodeB"] in parent:
            first, second = sorted((top(row["nodeA"]), top(row["nodeB"])), key=order.__getitem__)
            parent[second] = first
    return {node: top(node) for node in parent}


def _network(subnet: str, folder: Path, nodes: list[Row], bus_of: dict[str, str]) -> Network:
    lines = _own(folder, "Line", subnet)
    trafos = _own(folder, "Transformer", subnet)
    line_types = {row["id"]: row for row in read_table(folder, "LineType")}
    trafo_types = {row["id"]: row for row in read_table(folder, "TransformerType")}
    roots = {bus_of[row["nodeHV"]] for row in trafos}
    if len(roots) != 1:
        raise InputError("SimBench", [Fault(subnet, "transformers", sorted(roots), "one bus above the transformers")])
    root = roots.pop()
    used = {bus_of[row[end]] for row in lines for end in ("nodeA", "nodeB")}
    used |= {bus_of[row["nodeLV"]] for row in trafos} | {root}
    own = {row["id"]: row for row in nodes if bus_of[row["id"]] == row["id"] and row["id"] in used}
    places = {row["id"]: (float(row["x"]), float(row["y"])) for row in read_table(folder, "Coordinates")}
    return build_network(
        {name: float(row["vmR"]) for name, row in own.items()},
        [_line(row, line_types[row["type"]], bus_of) for row in lines],
        [_transformer(row, trafo_types[row["type"]], bus_of) for row in trafos],
        root=root,
        slack_v_pu=float(own[root]["vmSetp"]),
        v_min_pu={name: float(row["vmMin"]) for name, row in own.items()},
        v_max_pu={name: float(row["vmMax"]) for name, row in own.items()},
        positions={name: places[row["coordID"]] for name, row in own.items()},
        frequency_hz=FREQUENCY_HZ,
    )


def _line(row: Row, kind: Row, bus_of: dict[str, str]) -> Line:
    return Line(
        name=row["id"],
        from_bus=bus_of[row["nodeA"]],
        to_bus=bus_of[row["nodeB"]],
        length_km=float(row["length"]),
        r_ohm_per_km=float(kind["r"]),
        x_ohm_per_km=float(kind["x"]),
        c_nf_per_km=float(kind["b"]) * 1e3 / (2 * np.pi * FREQUENCY_HZ),
        max_i_ka=float(kind["iMax"]) / 1e3 * float(row["loadingMax"]) / 100,
    )


def _transformer(row: Row, kind: Row, bus_of: dict[str, str]) -> Transformer:
    return Transformer(
        name=row["id"],
        hv_bus=bus_of[row["nodeHV"]],
        lv_bus=bus_of[row["nodeLV"]],
        sn_kva=float(kind["sR"]) * 1e3,
        hv_kv=float(kind["vmHV"]),
        lv_kv=float(kind["vmLV"]),
        vk_percent=float(kind["vmImp"]),
        vkr_percent=float(kind["pCu"]) / (float(kind["sR"]) * 1e3) * 100,
        pfe_kw=float(kind["pFe"]),
        i0_percent=float(kind["iNoLoad"]),
        tap_pos=float(row["tappos"]),
        tap_neutral=float(kind["tapNeutr"]),
        tap_step_percent=float(kind["dVm"]),
        tap_side="hv" if kind["tapside"] == "HV" else "lv",
        shift_degree=float(kind["va0"]),
    )
