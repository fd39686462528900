"""Reads a network that pandapower wrote with `to_json`, with nothing but the standard library.

Taken: buses, lines, two-winding transformers with their taps, switches, external grid, loads, static and voltage-controlled
generators, storage units. All of it in service, at the moment of the file. The transformer is the pi model of the file's
short-circuit data (pandapower's `trafo_model="pi"`; its default "t" differs by some 1e-8 pu). A tap is applied as its
position says; pandapower 3 leaves it out of its own flow where `tap_changer_type` is not set, which is then a finding.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from walras.community.foreign import Draft, ForeignGrid, ForeignLoad, ForeignPlant, ForeignStorage, assemble
from walras.errors import Fault, InputError, reason_of
from walras.grid import Line, Transformer

Row = dict[str, Any]
READ = {"bus", "line", "trafo", "switch", "ext_grid", "load", "sgen", "gen", "storage", "bus_geodata", "line_geodata"}
ELEMENTS = (
    "trafo3w", "shunt", "ward", "xward", "impedance", "dcline", "motor", "asymmetric_load", "asymmetric_sgen", "svc",
    "ssc", "tcsc", "vsc", "b2b_vsc", "line_dc", "bus_dc",
)  # fmt: skip
LEAST_STORAGE_KWH = 0.001


def read_pandapower(path: str | Path) -> ForeignGrid:
    """The grid in a pandapower JSON file. InputError for what is no such file, or has no (or several) external grids."""
    path = Path(path)
    tables, frequency = _tables(path)
    draft = Draft(path.stem, path.name, frequency)
    name_of = _buses(draft, tables)
    out = _switches(draft, tables, name_of)
    _lines(draft, tables, name_of, out)
    _transformers(draft, tables, name_of, out)
    for k, row in tables.get("ext_grid", {}).items():
        if _on(row) and row["bus"] in name_of:
            draft.roots.append((name_of[row["bus"]], float(row["vm_pu"])))
        elif row["bus"] in name_of:
            draft.note("dropped", _name(row, "ext_grid", k), "out of service")
    _power(draft, tables, name_of)
    for element in ELEMENTS:
        for k, row in tables.get(element, {}).items():
            why = f"a {element} has no counterpart in a balanced radial network" if _on(row) else "out of service"
            draft.note("dropped", _name(row, element, k), why)
    return assemble(draft)


def _tables(path: Path) -> tuple[dict[str, dict[int, Row]], float]:
    """Every table as {index: row}, and the frequency."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        net = values["_object"]
        frequency = float(net.get("f_hz", 50.0))
        tables = {}
        for name, entry in net.items():
            if isinstance(entry, dict) and entry.get("_class") == "DataFrame" and (name in READ or name in ELEMENTS):
                frame = json.loads(entry["_object"]) if isinstance(entry["_object"], str) else entry["_object"]
                rows = zip(frame["index"], frame["data"], strict=True)
                tables[name] = {int(k): dict(zip(frame["columns"], row, strict=True)) for k, row in rows}
        if "bus" not in tables:
            raise KeyError("bus")
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as cause:
        fault = Fault(str(path), "file", reason_of(cause), "a network written by pandapower's to_json")
        raise InputError("pandapower file", [fault]) from cause
    return tables, frequency


def _on(row: Row) -> bool:
    return bool(row.get("in_service", True))


def _name(row: Row, table: str, k: int) -> str:
    return str(row.get("name") or f"{table} {k}")


def _number(row: Row, field: str, default: float) -> float:
    value = row.get(field)
    return default if value is None or (isinstance(value, float) and math.isnan(value)) else float(value)


def _buses(draft: Draft, tables: dict[str, dict[int, Row]]) -> dict[int, str]:
    """Bus names by index: the file's where they are there and unique, else with the index."""
    counts: dict[str, int] = {}
    for k, row in tables["bus"].items():
        name = _name(row, "bus", k)
        counts[name] = counts.get(name, 0) + 1
    name_of = {}
    for k, row in tables["bus"].items():
        name = _name(row, "bus", k)
        name = name if counts[name] == 1 else f"{name} #{k}"
        if not _on(row):
            draft.note("dropped", name, "out of service")
            continue
        name_of[k] = name
        draft.buses[name] = float(row["vn_kv"])
        low, high = _number(row, "min_vm_pu", 0.0), _number(row, "max_vm_pu", 2.0)
        if low <= 0 or high >= 2:  # pandapower writes 0 and 2 where nobody gave a band
            draft.note("assumed", "voltage bands", "0.9 to 1.1 pu where the file gives none")
        draft.v_min_pu[name], draft.v_max_pu[name] = low if low > 0 else 0.9, high if high < 2 else 1.1
        geo = row.get("geo")
        if isinstance(geo, str) and geo:
            x, y = json.loads(geo)["coordinates"][:2]
            draft.positions[name] = (float(x), float(y))
    for k, row in tables.get("bus_geodata", {}).items():
        if k in name_of and row.get("x") is not None:
            draft.positions[name_of[k]] = (float(row["x"]), float(row["y"]))
    return name_of


def _switches(draft: Draft, tables: dict[str, dict[int, Row]], name_of: dict[int, str]) -> set[tuple[str, int]]:
    """Closed bus couplers are noted; (table, index) of the branches that an open switch cuts."""
    out: set[tuple[str, int]] = set()
    for k, row in tables.get("switch", {}).items():
        if row["et"] == "b":
            if row["closed"] and row["bus"] in name_of and row["element"] in name_of:
                if _number(row, "z_ohm", 0.0) > 0:
                    draft.note("assumed", _name(row, "switch", k), f"its {row['z_ohm']} ohm are left out")
                draft.couplers.append((name_of[row["bus"]], name_of[row["element"]]))
        elif not row["closed"]:
            out.add(({"l": "line", "t": "trafo"}.get(str(row["et"]), str(row["et"])), int(row["element"])))
    return out


def _usable(
    draft: Draft, table: str, k: int, row: Row, ends: tuple[str, str], name_of: dict[int, str], out: set[tuple[str, int]]
) -> bool:
    why = ""
    if not _on(row):
        why = "out of service"
    elif (table, k) in out:
        why = "an open switch"
    elif any(row[end] not in name_of for end in ends):
        why = "at a bus that is out of service"
    if why:
        draft.note("dropped", _name(row, table, k), why)
    return not why


def _lines(draft: Draft, tables: dict[str, dict[int, Row]], name_of: dict[int, str], out: set[tuple[str, int]]) -> None:
    for k, row in tables.get("line", {}).items():
        if not _usable(draft, "line", k, row, ("from_bus", "to_bus"), name_of, out):
            continue
        part = _number(row, "df", 1.0) * _number(row, "max_loading_percent", 100.0) / 100
        draft.lines.append(
            Line(
                name=_unique(draft, _name(row, "line", k), k),
                from_bus=name_of[row["from_bus"]],
                to_bus=name_of[row["to_bus"]],
                length_km=float(row["length_km"]),
                r_ohm_per_km=float(row["r_ohm_per_km"]),
                x_ohm_per_km=float(row["x_ohm_per_km"]),
                c_nf_per_km=_number(row, "c_nf_per_km", 0.0),
                g_us_per_km=_number(row, "g_us_per_km", 0.0),
                max_i_ka=_number(row, "max_i_ka", math.inf) * part,
                parallel=int(_number(row, "parallel", 1)),
            )
        )


def _transformers(draft: Draft, tables: dict[str, dict[int, Row]], name_of: dict[int, str], out: set[tuple[str, int]]) -> None:
    for k, row in tables.get("trafo", {}).items():
        if not _usable(draft, "trafo", k, row, ("hv_bus", "lv_bus"), name_of, out):
            continue
        name = _unique(draft, _name(row, "trafo", k), k)
        neutral = _number(row, "tap_neutral", 0.0)
        position = _number(row, "tap_pos", neutral)
        if position != neutral and "tap_changer_type" in row and row["tap_changer_type"] is None:
            draft.note("assumed", name, "its tap is applied as a ratio; pandapower 3 leaves it out without a tap_changer_type")
        if position != neutral and _number(row, "tap_step_degree", 0.0):
            draft.note("dropped", name, "the angle of its tap")
        if _number(row, "df", 1.0) != 1.0 or _number(row, "max_loading_percent", 100.0) != 100.0:
            draft.note("dropped", name, "a rating other than its rated power")
        draft.transformers.append(
            Transformer(
                name=name,
                hv_bus=name_of[row["hv_bus"]],
                lv_bus=name_of[row["lv_bus"]],
                sn_kva=float(row["sn_mva"]) * 1e3,
                hv_kv=float(row["vn_hv_kv"]),
                lv_kv=float(row["vn_lv_kv"]),
                vk_percent=float(row["vk_percent"]),
                vkr_percent=float(row["vkr_percent"]),
                pfe_kw=_number(row, "pfe_kw", 0.0),
                i0_percent=_number(row, "i0_percent", 0.0),
                tap_pos=position,
                tap_neutral=neutral,
                tap_step_percent=_number(row, "tap_step_percent", 0.0),
                tap_side="lv" if row.get("tap_side") == "lv" else "hv",
                shift_degree=_number(row, "shift_degree", 0.0),
                parallel=int(_number(row, "parallel", 1)),
            )
        )


def _unique(draft: Draft, name: str, k: int) -> str:
    return name if name not in draft.branch_names() else f"{name} #{k}"


def _power(draft: Draft, tables: dict[str, dict[int, Row]], name_of: dict[int, str]) -> None:
    for table in ("load", "sgen", "gen", "storage"):
        for k, row in tables.get(table, {}).items():
            name, bus = _name(row, table, k), name_of.get(row["bus"], "")
            if not _on(row) or not bus:
                draft.note("dropped", name, "out of service")
                continue
            scaling = _number(row, "scaling", 1.0)
            p, q = 1e3 * _number(row, "p_mw", 0.0) * scaling, 1e3 * _number(row, "q_mvar", 0.0) * scaling
            if table == "load":
                if any(_number(row, field, 0.0) for field in row if field.startswith("const_")):
                    draft.note("assumed", name, "its constant-impedance or -current part is taken as constant power")
                draft.loads.append(ForeignLoad(name, bus, p, q))
            elif table == "storage":
                capacity = max(1e3 * _number(row, "max_e_mwh", 0.0), LEAST_STORAGE_KWH)
                power = 1e3 * max(_number(row, "max_p_mw", 0.0), _number(row, "sn_mva", 0.0)) or abs(p) or capacity
                draft.note("assumed", name, "an efficiency of 95 % each way")
                draft.storages.append(ForeignStorage(name, bus, capacity, power, 0.95, p))
            else:
                if table == "gen":
                    draft.note("dropped", name, "it holds no voltage here: a plant of its active power")
                size = 1e3 * _number(row, "sn_mva", 0.0) or abs(p)
                draft.plants.append(ForeignPlant(name, bus, p, q, size))
