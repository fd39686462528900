"""Nodal mechanisms for a book in JSON: the feeder, the slot and its requirements as parts of the book, prices by node as answer.

Beyond orders (whose `node` is the place of the bus in `network.buses`, counted from 0) a book carries

    "network":      {"root": "mv", "buses": {"mv": 20.0, "lv": 0.4}, "lines": [{...}], "transformers": [{...}],
                     "slack_v_pu", "v_min_pu", "v_max_pu"}; a line's and a transformer's fields are those of `walras.grid.Line` and
                     `Transformer` (name, from_bus, to_bus, length_km, r_ohm_per_km, x_ohm_per_km, max_i_ka, ...)
    "hours":        length of the slot (0.25 when left out)
    "limits":       {"import_kw", "export_kw"}
    "fixed":        {bus: {"kw", "kvar"}}: what is taken outside the market
    "requirements": {"emission_cap_g", "import_g_per_kwh", "reserve_up_kw", "reserve_down_kw"}

and each order may say "g_per_kwh" (what it emits) and "flexible" (it can be called for reserve). All faults are reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, replace
from typing import Any

import numpy as np

from walras.errors import Fault, InputError
from walras.grid.feeder import FeederSlot
from walras.grid.network import Network
from walras.grid.nodal import NODAL
from walras.grid.physical import Line, Transformer, build_network
from walras.grid.requirements import Requirements
from walras.grid.rows import HIGH_VOLTAGE, LIMIT_NAMES, TRANSFORMER_LIMIT
from walras.grid.vcg import NODAL_VCG
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import ORDER_EXTRA, Mechanism
from walras.market.orders import Orders
from walras.market.registry import MECHANISMS

EXTRA = (
    ("network", "the feeder: root, buses (name to kV), lines, transformers; orders' nodes count the buses from 0"),
    ("hours", "length of the slot in hours, 0.25 when left out"),
    ("limits", "import_kw, export_kw at the root"),
    ("fixed", "bus to kw and kvar taken outside the market"),
    ("requirements", "emission_cap_g, import_g_per_kwh, reserve_up_kw, reserve_down_kw"),
)
ORDER = (("g_per_kwh", "what an ask emits, whole grams"), ("flexible", "whether the order can be called for reserve"))

LARGEST = 1e12
"""No quantity of a feeder is larger in its unit, nor smaller than its negative; beyond that the arithmetic has no digits left."""

RANGES = {
    "hours": (1 / 3600, 24.0),
    "slack_v_pu": (0.5, 1.5),
    "v_min_pu": (0.01, 1.5),
    "v_max_pu": (0.5, 2.0),
    "kv": (0.05, 1_000.0),
    "import_kw": (0.0, 1e9),
    "export_kw": (0.0, 1e9),
    "emission_cap_g": (0.0, LARGEST),
    "import_g_per_kwh": (0.0, 100_000.0),
    "reserve_up_kw": (0.0, 1e9),
    "reserve_down_kw": (0.0, 1e9),
}
"""What makes sense of numbers that have a name: a slot of a second to a day, voltages a feeder can have, no less than nothing."""

PARTS = ("energy", "losses", "voltage", "congestion", "emissions", "reserve")


def feeder_slot(extra: Mapping[str, object], orders: Orders) -> FeederSlot:
    """The conditions of the slot from the parts of a book; InputError with every fault."""
    faults: list[Fault] = []
    network = read_network(extra.get("network"), faults)
    hours = read_number("book", "hours", extra.get("hours", 0.25), faults)
    limits = _table("limits", extra.get("limits", {}), ("import_kw", "export_kw"), faults)
    wanted = ("emission_cap_g", "import_g_per_kwh", "reserve_up_kw", "reserve_down_kw")
    requirements = _table("requirements", extra.get("requirements", {}), wanted, faults)
    if not requirements.get("import_g_per_kwh", 0.0).is_integer():
        faults.append(Fault("requirements", "import_g_per_kwh", requirements["import_g_per_kwh"], "whole grams per kWh"))
    emits, flexible = _order_terms(extra, orders, faults)
    fixed = extra.get("fixed", {})
    p, q = ([0.0] * (0 if network is None else network.buses) for _ in range(2))
    if not isinstance(fixed, Mapping):
        faults.append(Fault("book", "fixed", fixed, "an object: bus to kw and kvar"))
        fixed = {}
    for bus, row in fixed.items():
        if network is not None and bus not in network.bus_index:
            faults.append(Fault("fixed", str(bus), "unknown", "one of " + ", ".join(network.bus_names[:8])))
            continue
        values = _table(f"fixed {bus}", row, ("kw", "kvar"), faults)
        if network is not None:
            p[network.bus_index[bus]], q[network.bus_index[bus]] = values.get("kw", 0.0), values.get("kvar", 0.0)
    if faults or network is None:
        raise InputError("book", faults)
    whole = {name: int(value) if name == "import_g_per_kwh" else value for name, value in requirements.items()}
    return FeederSlot(
        network,
        hours,
        np.array(p),
        np.array(q),
        limits.get("import_kw", np.inf),
        limits.get("export_kw", np.inf),
        Requirements(**whole, order_g_per_kwh=emits, flexible=frozenset(flexible)),  # type: ignore[arg-type]
    )


def read_network(given: object, faults: list[Fault]) -> Network | None:
    if not isinstance(given, Mapping):
        faults.append(
            Fault("book", "network", "missing" if given is None else given, "the feeder: root, buses, lines, transformers")
        )
        return None
    known = {"root", "buses", "lines", "transformers", "slack_v_pu", "v_min_pu", "v_max_pu"}
    before = len(faults)
    faults += [
        Fault("network", str(name), given[name], "one of " + ", ".join(sorted(known))) for name in given if name not in known
    ]
    buses, root = given.get("buses"), given.get("root")
    if not isinstance(buses, Mapping) or not buses:
        faults.append(Fault("network", "buses", buses, "an object: name to nominal kV"))
    else:
        buses = {name: read_number(f"bus {name}", "kv", kv, faults) for name, kv in buses.items()}
    if not isinstance(root, str):
        faults.append(Fault("network", "root", root, "the name of a bus"))
    lines = _records("lines", given.get("lines", []), Line, faults)
    transformers = _records("transformers", given.get("transformers", []), Transformer, faults)
    options = {n: read_number("network", n, given[n], faults) for n in ("slack_v_pu", "v_min_pu", "v_max_pu") if n in given}
    if len(faults) > before:
        return None
    try:
        return build_network(buses, lines, transformers, root=root, **options)  # type: ignore[arg-type]
    except InputError as error:
        faults += error.faults
        return None


def _records(part: str, given: object, kind: type[Any], faults: list[Fault]) -> list[Any]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        faults.append(Fault("network", part, given, "a list"))
        return []
    names = {field.name: field.default is MISSING for field in fields(kind)}
    made = []
    for number, row in enumerate(given):
        where = f"network {part}[{number}]"
        if not isinstance(row, Mapping):
            faults.append(Fault(where, "row", row, "an object"))
            continue
        wrong = [Fault(where, name, "missing", "needed") for name, needed in names.items() if needed and name not in row]
        wrong += [Fault(where, str(name), row[name], "one of " + ", ".join(names)) for name in row if name not in names]
        wrong += [Fault(where, field.name, row[field.name], "a text") for field in fields(kind) if _is_wrong_text(field, row)]
        for name in (field.name for field in fields(kind) if field.name in row and not _is_text(field)):
            read_number(where, name, row[name], wrong)
        faults += wrong
        if not wrong:
            made.append(kind(**row))
    return made


def _is_text(field: Field[Any]) -> bool:
    """A name, a bus or the side of a tap; every other field of a line or a transformer is a number."""
    return not str(field.type).startswith(("float", "int"))


def _is_wrong_text(field: Field[Any], row: Mapping[str, object]) -> bool:
    return _is_text(field) and field.name in row and not isinstance(row[field.name], str)


def _order_terms(extra: Mapping[str, object], orders: Orders, faults: list[Fault]) -> tuple[dict[int, int], list[int]]:
    columns = extra.get(ORDER_EXTRA, {})
    assert isinstance(columns, Mapping)
    emits, flexible = {}, []
    for row, (order, grams) in enumerate(zip(orders.id.tolist(), columns.get("g_per_kwh", [None] * orders.count), strict=True)):
        if grams is not None:
            if isinstance(grams, bool) or not isinstance(grams, int):
                faults.append(Fault(f"order row {row}", "g_per_kwh", grams, "whole grams per kWh"))
            else:
                emits[order] = grams
    for row, (order, said) in enumerate(zip(orders.id.tolist(), columns.get("flexible", [None] * orders.count), strict=True)):
        if said is not None and not isinstance(said, bool):
            faults.append(Fault(f"order row {row}", "flexible", said, "true or false"))
        elif said:
            flexible.append(order)
    return emits, flexible


def _table(where: str, given: object, names: Sequence[str], faults: list[Fault]) -> dict[str, float]:
    if not isinstance(given, Mapping):
        faults.append(Fault("book", where, given, "an object with " + ", ".join(names)))
        return {}
    faults += [Fault(where, str(name), given[name], "one of " + ", ".join(names)) for name in given if name not in names]
    return {name: read_number(where, name, given[name], faults) for name in names if name in given}


def read_number(where: str, name: str, value: object, faults: list[Fault]) -> float:
    low, high = RANGES.get(name, (-LARGEST, LARGEST))
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        faults.append(Fault(where, name, value, f"a number from {low:g} to {high:g}"))
        return low if low > 0 else 0.0
    return float(value)


def _from_book(mechanism: Mechanism) -> Mechanism:
    """`mechanism`, fed from the parts of a book."""

    def clear(orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object]) -> Clearing:
        slot = network if isinstance(network, FeederSlot) else feeder_slot(extra, orders)
        return mechanism.clear(orders, conventions, slot)

    return replace(mechanism, clear=clear, extra=EXTRA, order_extra=ORDER, report=describe_nodal)


def describe_nodal(clearing: Clearing, extra: Mapping[str, object]) -> Mapping[str, object]:
    """Prices by node with their parts, losses, and every limit in play with what it is worth."""
    network = read_network(extra.get("network"), [])
    prices, evidence = clearing.node_price_micro_per_kwh, clearing.certificate
    if network is None:
        return {}
    parts = {name: evidence[f"{name}_micro_per_kwh"] for name in PARTS if f"{name}_micro_per_kwh" in evidence}
    nodes = [
        {"bus": name, "price_micro_per_kwh": int(prices[bus])}
        | {f"{part}_micro_per_kwh": int(value if isinstance(value, int) else value[bus]) for part, value in parts.items()}
        for bus, name in enumerate(network.bus_names if prices is not None else ())
        if prices is not None
    ]
    columns = [
        np.asarray(evidence[n]).tolist() for n in ("limit_kind", "limit_index", "limit_price_micro_per_hour", "limit_short_ppm")
    ]
    limits = [
        {"limit": f"{LIMIT_NAMES[kind]} {_place(network, kind, index)}", "price_micro_per_hour": price, "short_ppm": short}
        for kind, index, price, short in zip(*columns, strict=True)
    ]
    return {"losses_wh": clearing.losses_wh, "nodes": nodes, "limits": limits}


def _place(network: Network, kind: int, index: int) -> str:
    if kind <= TRANSFORMER_LIMIT:
        return network.branch_names[index]
    return network.bus_names[index] if kind <= HIGH_VOLTAGE else network.bus_names[network.root]


SHELF: dict[str, Mechanism] = {**MECHANISMS, **{m.name: _from_book(m) for m in (NODAL, NODAL_VCG)}}
"""Every mechanism that a book can be cleared by, those on the wires among them."""
