"""Reads a feeder from CGMES files (EQ with SSH, and TP where the model is bus-branch), with nothing but the standard library.

Taken: topological nodes, or connectivity nodes joined by closed switches; AC line segments with their lowest permanent
current limit; two-winding transformers with ratio taps (by step or by table); loads, generators, equivalent injections and battery
units with the power of the SSH file. The root is what has the first reference priority, else the external network injection, else
the machine at the angle reference of the SV file, else the only machine that holds a voltage. Powers are MW and Mvar, impedances
ohm, voltages kV, as CGMES has them. The transformer's r and x are referred to one side and become short-circuit percentages of its
rated power.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from walras.community.cgmes_xml import CimObject, Model, read_model
from walras.community.foreign import Draft, ForeignGrid, ForeignLoad, ForeignPlant, ForeignStorage, assemble
from walras.errors import Fault, InputError
from walras.grid import Line, Transformer

SWITCHES = (
    "Switch",
    "Breaker",
    "Disconnector",
    "LoadBreakSwitch",
    "Fuse",
    "GroundDisconnector",
    "Jumper",
    "DisconnectingCircuitBreaker",
    "Cut",
)
LOADS = ("EnergyConsumer", "ConformLoad", "NonConformLoad", "StationSupply")
MACHINES = ("SynchronousMachine", "AsynchronousMachine", "EnergySource", "EquivalentInjection", "PowerElectronicsConnection")
FOREIGN = (
    "LinearShuntCompensator", "NonlinearShuntCompensator", "StaticVarCompensator", "SeriesCompensator", "EquivalentBranch",
    "EquivalentShunt", "CsConverter", "VsConverter", "DCLineSegment", "PhaseTapChangerLinear", "PhaseTapChangerSymmetrical",
    "PhaseTapChangerAsymmetrical", "PhaseTapChangerTabular",
)  # fmt: skip
CLOCK_DEGREES = 30.0
BIG_S_MVA = 1.0
MOST_MVA = 1e6


class _Ends:
    """Which bus each terminal of each piece of equipment is at."""

    def __init__(self, model: Model, draft: Draft) -> None:
        self.model, self.draft = model, draft
        self.of: dict[str, list[CimObject]] = {}
        for terminal in model.of("Terminal"):
            self.of.setdefault(terminal.links.get("ConductingEquipment", ""), []).append(terminal)
        for terminals in self.of.values():
            terminals.sort(key=lambda t: (t.number("sequenceNumber", 1.0), t.id))
        self.topological = any(True for _ in model.of("TopologicalNode"))
        self.names: dict[str, str] = {}

    def bus(self, terminal: CimObject) -> str | None:
        """The bus's name, None where the terminal is open or hangs in the air."""
        if not terminal.flag("connected", True):
            return None
        names = ("TopologicalNode", "ConnectivityNode") if self.topological else ("ConnectivityNode",)
        node = self.model.linked(terminal, *names)
        if node is None:
            return None
        if self.topological and node.kind == "ConnectivityNode":
            node = self.model.linked(node, "TopologicalNode") or node
        return self.names.get(node.id)

    def buses(self, thing: CimObject, count: int) -> list[str] | None:
        """The buses of its terminals; None (noted) where one is missing or it is out of service."""
        ends = [self.bus(terminal) for terminal in self.of.get(thing.id, [])]
        found = [bus for bus in ends if bus is not None]
        if len(found) < count or not thing.flag("inService", True):
            self.draft.note("dropped", thing.label, "out of service or with an open terminal")
            return None
        return found


def read_cgmes(paths: Iterable[str | Path]) -> ForeignGrid:
    """The grid of these CGMES files or archives. InputError for files that are none, or without a feeding bus."""
    listed = [Path(path) for path in paths]
    if not listed:
        raise InputError("CGMES", [Fault("CGMES", "files", "none", "EQ and SSH files, and TP for a bus-branch model")])
    model = read_model(listed)
    draft = Draft(listed[0].stem.removesuffix("_EQ"), ", ".join(path.name for path in listed))
    ends = _Ends(model, draft)
    _nodes(model, draft, ends)
    if not draft.buses:
        fault = Fault(draft.source, "nodes", "none", "TopologicalNode or ConnectivityNode objects with a base voltage")
        raise InputError("CGMES", [fault], way_out="give the EQ file, and the TP file of a bus-branch model")
    for switch in model.of(*SWITCHES):
        buses = ends.buses(switch, 2) if not switch.flag("open", switch.flag("normalOpen", False)) else None
        if buses and not ends.topological:
            draft.couplers.append((buses[0], buses[1]))
    limits = _limits(model)
    for segment in model.of("ACLineSegment"):
        _line(draft, ends, segment, limits)
    for unit in model.of("PowerTransformer"):
        _transformer(model, draft, ends, unit)
    sources = _sources(model, draft, ends)
    _power(model, draft, ends, {source.id for source in sources})
    for thing in model.of(*FOREIGN):
        draft.note("dropped", thing.label, f"a {thing.kind} has no counterpart in a balanced radial network")
    _roots(model, draft, ends, sources)
    return assemble(draft)


def _nodes(model: Model, draft: Draft, ends: _Ends) -> None:
    for node in model.of("TopologicalNode" if ends.topological else "ConnectivityNode"):
        level = model.linked(node, "ConnectivityNodeContainer")
        base = model.linked(node, "BaseVoltage") or (model.linked(level, "BaseVoltage") if level else None)
        if base is None:
            draft.note("dropped", node.label, "a node without a base voltage")
            continue
        name = node.label if node.label not in draft.buses else f"{node.label} {node.id}"
        ends.names[node.id] = name
        kv = base.number("nominalVoltage")
        draft.buses[name] = kv
        low, high = (level.number("lowVoltageLimit"), level.number("highVoltageLimit")) if level else (0.0, 0.0)
        if not 0 < low < high:
            draft.note("assumed", "voltage bands", "0.9 to 1.1 pu where the files give none")
        else:
            draft.v_min_pu[name], draft.v_max_pu[name] = low / kv, high / kv


def _limits(model: Model) -> dict[str, float]:
    """Lowest permanent current limit in kA by equipment."""
    found: dict[str, float] = {}
    for limit in model.of("CurrentLimit"):
        group, kind = model.linked(limit, "OperationalLimitSet"), model.linked(limit, "OperationalLimitType")
        if group is None:
            continue
        permanent = kind is None or kind.links.get("limitType", kind.links.get("kind", "patl")).lower().endswith("patl")
        terminal = model.linked(group, "Terminal")
        equipment = terminal.links.get("ConductingEquipment", "") if terminal else group.links.get("Equipment", "")
        value = limit.number("value", limit.number("normalValue", math.inf)) / 1e3
        if permanent and value > 0:
            found[equipment] = min(found.get(equipment, math.inf), value)
    return found


def _line(draft: Draft, ends: _Ends, segment: CimObject, limits: dict[str, float]) -> None:
    buses = ends.buses(segment, 2)
    if buses is None:
        return
    if segment.id not in limits:
        draft.note("assumed", segment.label, "no permanent current limit: no rating")
    km = segment.number("length") or 1.0
    draft.lines.append(
        Line(
            name=_free(draft, segment),
            from_bus=buses[0],
            to_bus=buses[1],
            length_km=km,
            r_ohm_per_km=segment.number("r") / km,
            x_ohm_per_km=segment.number("x") / km,
            c_nf_per_km=segment.number("bch") / (2 * math.pi * draft.frequency_hz) * 1e9 / km,
            g_us_per_km=segment.number("gch") * 1e6 / km,
            max_i_ka=limits.get(segment.id, math.inf),
        )
    )


def _transformer(model: Model, draft: Draft, ends: _Ends, unit: CimObject) -> None:
    windings = [end for end in model.of("PowerTransformerEnd") if end.links.get("PowerTransformer") == unit.id]
    if len(windings) != 2:
        draft.note("dropped", unit.label, f"{len(windings)} windings: only two fit")
        return
    if ends.buses(unit, 2) is None:
        return
    high, low = sorted(windings, key=lambda end: (-end.number("ratedU"), end.number("endNumber")))
    terminals = [model.linked(end, "Terminal") for end in (high, low)]
    buses = [ends.bus(terminal) if terminal else None for terminal in terminals]
    if None in buses:
        draft.note("dropped", unit.label, "an end without a terminal")
        return
    kv = [end.number("ratedU") for end in (high, low)]
    mva = max(_rated_mva(high), _rated_mva(low))
    if mva <= 0:
        draft.note("assumed", unit.label, f"no rated power: {BIG_S_MVA} MVA")
        mva = BIG_S_MVA
    square = (kv[0] / kv[1]) ** 2
    r = high.number("r") + low.number("r") * square
    x = high.number("x") + low.number("x") * square
    g = high.number("g") + low.number("g") / square
    b = high.number("b") + low.number("b") / square
    base = kv[0] ** 2 / mva
    step, neutral, size, side = _tap(model, draft, unit, high, low)
    draft.transformers.append(
        Transformer(
            name=_free(draft, unit),
            hv_bus=str(buses[0]),
            lv_bus=str(buses[1]),
            sn_kva=mva * 1e3,
            hv_kv=kv[0],
            lv_kv=kv[1],
            vk_percent=math.hypot(r, x) / base * 100,
            vkr_percent=r / base * 100,
            pfe_kw=g * kv[0] ** 2 * 1e3,
            i0_percent=math.hypot(g, b) * base * 100,
            tap_pos=step,
            tap_neutral=neutral,
            tap_step_percent=size,
            tap_side="lv" if side else "hv",
            shift_degree=CLOCK_DEGREES * (low.number("phaseAngleClock") - high.number("phaseAngleClock")),
        )
    )


def _tap(model: Model, draft: Draft, unit: CimObject, high: CimObject, low: CimObject) -> tuple[float, float, float, int]:
    """(position, neutral, percent a step, 0 for the high or 1 for the low side) of its ratio tap changer; a second one is noted."""
    found = []
    for changer in model.of("RatioTapChanger"):
        side = {high.id: 0, low.id: 1}.get(changer.links.get("TransformerEnd", ""))
        if side is None:
            continue
        neutral = changer.number("neutralStep")
        step = changer.number("step", changer.number("normalStep", neutral))
        points = [x for x in model.of("RatioTapChangerTablePoint") if x.links.get("RatioTapChangerTable") == _table(changer)]
        point = next((x for x in points if x.number("step") == step), None) if _table(changer) else None
        if point is not None:
            if any(point.number(name) for name in ("r", "x", "g", "b")):
                draft.note("dropped", changer.label, "what its step does to the impedance")
            found.append((1.0, 0.0, (point.number("ratio", 1.0) - 1) * 100, side))
        else:
            found.append((step, neutral, changer.number("stepVoltageIncrement"), side))
        if changer.flag("controlEnabled", False):
            draft.note("dropped", changer.label, "its control: the tap stands at its step")
    if len(found) > 1:
        draft.note("dropped", unit.label, "a second tap changer")
    return found[0] if found else (0.0, 0.0, 0.0, 0)


def _table(changer: CimObject) -> str:
    return changer.links.get("RatioTapChangerTable", "")


def _power(model: Model, draft: Draft, ends: _Ends, sources: set[str]) -> None:
    for load in model.of(*LOADS):
        buses = ends.buses(load, 1)
        if buses:
            if "p" not in load.values:
                draft.note("assumed", load.label, "no power in an SSH file: 0 kW")
            draft.loads.append(ForeignLoad(load.label, buses[0], 1e3 * load.number("p"), 1e3 * load.number("q")))
    for machine in model.of(*MACHINES):
        buses = ends.buses(machine, 1)
        if not buses or machine.id in sources:
            continue
        p = 1e3 * machine.number("p", machine.number("activePower"))
        q = 1e3 * machine.number("q", machine.number("reactivePower"))
        batteries = [u for u in model.of("BatteryUnit") if u.links.get("PowerElectronicsConnection") == machine.id]
        if batteries:
            capacity = 1e3 * sum(unit.number("ratedE") for unit in batteries)
            power = 1e3 * (max(unit.number("maxP") for unit in batteries) or _rated_mva(machine)) or abs(p)
            draft.note("assumed", machine.label, "an efficiency of 95 % each way")
            draft.storages.append(ForeignStorage(machine.label, buses[0], capacity, power, 0.95, p))
        else:
            if "RegulatingControl" in machine.links and machine.flag("controlEnabled", False):
                draft.note("dropped", machine.label, "it holds no voltage here: a plant of its power")
            size = 1e3 * _rated_mva(machine) or abs(p)
            draft.plants.append(ForeignPlant(machine.label, buses[0], -p, -q, size))


def _rated_mva(thing: CimObject) -> float:
    """ratedS, or 0 where it is absent or beyond any machine (writers put the largest float for "none")."""
    mva = thing.number("ratedS")
    return mva if 0 < mva < MOST_MVA else 0.0


def _holds_voltage(model: Model, machine: CimObject) -> bool:
    control = model.linked(machine, "RegulatingControl")
    mode = control.links.get("mode", "") if control else ""
    return control is not None and control.flag("enabled", False) and mode.endswith("voltage")


def _sources(model: Model, draft: Draft, ends: _Ends) -> list[CimObject]:
    """What feeds the model from above; how it was chosen is noted where the files do not say it outright."""
    able = list(model.of("ExternalNetworkInjection", *MACHINES))
    found = [x for x in able if x.number("referencePriority") == 1] or list(model.of("ExternalNetworkInjection"))
    if found:
        return found
    nodes = {island.links.get("AngleRefTopologicalNode", "") for island in model.of("TopologicalIsland")}
    names = {ends.names[node] for node in nodes if node in ends.names}
    found = [x for x in able if x.kind != "EquivalentInjection" and {ends.bus(t) for t in ends.of.get(x.id, [])} & names]
    if not found:
        found = [x for x in able if _holds_voltage(model, x)]
        found = found if len(found) == 1 else []
    for source in found:
        draft.note(
            "assumed", source.label, "it is the grid above: no external injection and no first reference priority in the files"
        )
    return found


def _roots(model: Model, draft: Draft, ends: _Ends, sources: list[CimObject]) -> None:
    """The feeding buses and the voltages that they hold: the regulating control's target, else 1 pu (noted)."""
    for source in sources:
        buses = ends.buses(source, 1)
        if not buses:
            continue
        control = model.linked(source, "RegulatingControl")
        kv = draft.buses[buses[0]]
        if control is not None and control.number("targetValue") > 0:
            scale = {"UnitMultiplier.none": 1e-3}.get(control.links.get("targetValueUnitMultiplier", ""), 1.0)
            draft.roots.append((buses[0], control.number("targetValue") * scale / kv))
        else:
            draft.note("assumed", source.label, "it holds 1 pu: no target voltage in the files")
            draft.roots.append((buses[0], 1.0))


def _free(draft: Draft, thing: CimObject) -> str:
    return thing.label if thing.label not in draft.branch_names() else f"{thing.label} {thing.id}"
