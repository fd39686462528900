"""A grid from another tool, in our words: what was found, and a list of what was dropped, assumed or merged on the way.

The rule: an importer maps foreign shapes at the border and hands its tables here; nothing foreign goes further. What does not
fit our model (one radial network, balanced, two-winding transformers, constant powers) is either mapped by a stated assumption or
left out, and each such step is a finding that the user reads. `assemble` does what every format needs: buses joined by closed
switches or by branches without impedance become one, parallel branches are named, what has no path to the root is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from walras.errors import Fault, InputError
from walras.grid import Line, Network, Transformer, build_network

FindingKind = Literal["dropped", "assumed", "merged"]


@dataclass(frozen=True, slots=True)
class ImportFinding:
    """One thing that is not as in the file: `kind`, the `thing` by its name there, and what was done."""

    kind: FindingKind
    thing: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.thing}: {self.detail}"


@dataclass(frozen=True, slots=True)
class ForeignLoad:
    """A load as of the file's moment: kW and kvar taken (inductive positive)."""

    name: str
    bus: str
    p_kw: float
    q_kvar: float


@dataclass(frozen=True, slots=True)
class ForeignPlant:
    """A generator as of the file's moment: kW and kvar fed in, and its size in kW."""

    name: str
    bus: str
    p_kw: float
    q_kvar: float
    size_kw: float


@dataclass(frozen=True, slots=True)
class ForeignStorage:
    """A battery: kWh, kW, one-way efficiency, and the power it takes (positive) at the file's moment."""

    name: str
    bus: str
    capacity_kwh: float
    power_kw: float
    efficiency: float
    p_kw: float = 0.0


Hung = TypeVar("Hung", ForeignLoad, ForeignPlant, ForeignStorage)


@dataclass(slots=True)
class Draft:
    """The tables in the making. `couplers` join two buses without impedance; `v_min_pu`, `v_max_pu` by bus where the file knows."""

    name: str
    source: str
    frequency_hz: float = 50.0
    buses: dict[str, float] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    transformers: list[Transformer] = field(default_factory=list)
    couplers: list[tuple[str, str]] = field(default_factory=list)
    roots: list[tuple[str, float]] = field(default_factory=list)
    v_min_pu: dict[str, float] = field(default_factory=dict)
    v_max_pu: dict[str, float] = field(default_factory=dict)
    positions: dict[str, tuple[float, float]] = field(default_factory=dict)
    loads: list[ForeignLoad] = field(default_factory=list)
    plants: list[ForeignPlant] = field(default_factory=list)
    storages: list[ForeignStorage] = field(default_factory=list)
    findings: list[ImportFinding] = field(default_factory=list)

    def branch_names(self) -> set[str]:
        """The names that branches have so far."""
        return {line.name for line in self.lines} | {unit.name for unit in self.transformers}

    def note(self, kind: FindingKind, thing: str, detail: str) -> None:
        """Add a finding, once."""
        found = ImportFinding(kind, thing, detail)
        if found not in self.findings:
            self.findings.append(found)


@dataclass(frozen=True, slots=True)
class ForeignGrid:
    """What an importer found, ready for a community: the network and what hangs at its buses (by their names in `network`)."""

    name: str
    source: str
    network: Network
    loads: tuple[ForeignLoad, ...]
    plants: tuple[ForeignPlant, ...]
    storages: tuple[ForeignStorage, ...]
    findings: tuple[ImportFinding, ...]


def assemble(draft: Draft) -> ForeignGrid:
    """One radial network out of the tables. Raises InputError without a root (or with several), GridError where a loop is left."""
    bus_of = _fuse(draft)
    roots = {bus_of[bus] for bus, _ in draft.roots if bus in bus_of}
    if len(roots) != 1:
        found = sorted(roots) or "none"
        fault = Fault(draft.source, "feeding buses", found, "one bus that the grid above holds")
        raise InputError(draft.name, [fault], way_out="leave one source in the file; a radial feeder has one")
    root = roots.pop()
    volts = {v for bus, v in draft.roots if bus_of.get(bus) == root}
    if len(volts) > 1:
        draft.note("assumed", root, f"several voltages are set ({sorted(volts)} pu): {min(volts)} is taken")
    moved_lines = [replace(x, from_bus=bus_of[x.from_bus], to_bus=bus_of[x.to_bus]) for x in draft.lines]
    lines = [x for x in moved_lines if x.from_bus != x.to_bus]
    moved = [replace(x, hv_bus=bus_of[x.hv_bus], lv_bus=bus_of[x.lv_bus]) for x in draft.transformers]
    transformers = [x for x in moved if x.hv_bus != x.lv_bus]
    for name in sorted(
        {x.name for x in moved_lines} - {x.name for x in lines} | {x.name for x in moved} - {x.name for x in transformers}
    ):
        draft.note("dropped", name, "both its ends are the same bus once closed switches are fused")
    live = _reachable(root, [(x.from_bus, x.to_bus) for x in lines] + [(x.hv_bus, x.lv_bus) for x in transformers])
    buses = {bus: draft.buses[bus] for bus in draft.buses if bus_of[bus] == bus and bus in live}
    for bus in draft.buses:
        if bus_of[bus] == bus and bus not in live:
            draft.note("dropped", bus, "no closed path from the feeding bus")
    lines = [x for x in lines if x.from_bus in live]
    transformers = [x for x in transformers if x.hv_bus in live]
    _name_parallel(draft, [(x.name, x.from_bus, x.to_bus) for x in lines] + [(x.name, x.hv_bus, x.lv_bus) for x in transformers])
    network = build_network(
        buses, lines, transformers, root=root, slack_v_pu=min(volts), v_min_pu=draft.v_min_pu, v_max_pu=draft.v_max_pu,
        positions=draft.positions, frequency_hz=draft.frequency_hz,
    )  # fmt: skip
    fed = {bus: name for bus, name in bus_of.items() if name in buses}
    loads, plants, storages = _hung(draft, draft.loads, fed), _hung(draft, draft.plants, fed), _hung(draft, draft.storages, fed)
    return ForeignGrid(draft.name, draft.source, network, loads, plants, storages, tuple(draft.findings))


def bus_power(grid: ForeignGrid) -> tuple[list[float], list[float]]:
    """(kW, kvar) taken at each bus of the network at the file's moment: what the source tool's own flow is run with."""
    index = grid.network.bus_index
    p, q = [0.0] * grid.network.buses, [0.0] * grid.network.buses
    for load in grid.loads:
        p[index[load.bus]] += load.p_kw
        q[index[load.bus]] += load.q_kvar
    for plant in grid.plants:
        p[index[plant.bus]] -= plant.p_kw
        q[index[plant.bus]] -= plant.q_kvar
    for storage in grid.storages:
        p[index[storage.bus]] += storage.p_kw
    return p, q


def _hung(draft: Draft, items: Sequence[Hung], fed: Mapping[str, str]) -> tuple[Hung, ...]:
    """What hangs at a bus that is fed, by that bus's name in the network; the rest is noted."""
    for item in items:
        if item.bus not in fed:
            draft.note("dropped", item.name, f"it hangs at bus {item.bus}, which is not fed")
    return tuple(replace(item, bus=fed[item.bus]) for item in items if item.bus in fed)


def _fuse(draft: Draft) -> Mapping[str, str]:
    """Each bus's name after couplers and branches without impedance are closed: that of the first of them in the file."""
    order = {bus: k for k, bus in enumerate(draft.buses)}
    parent = {bus: bus for bus in draft.buses}

    def top(bus: str) -> str:
        while parent[bus] != bus:
            parent[bus] = parent[parent[bus]]
            bus = parent[bus]
        return bus

    zero = [x for x in draft.lines if x.length_km == 0 or (x.r_ohm_per_km == 0 and x.x_ohm_per_km == 0)]
    for line in zero:
        draft.note("merged", line.name, f"no impedance: {line.from_bus} and {line.to_bus} are one bus")
    draft.lines[:] = [x for x in draft.lines if x not in zero]
    for a, b in [*draft.couplers, *((x.from_bus, x.to_bus) for x in zero)]:
        if a in parent and b in parent:
            first, second = sorted((top(a), top(b)), key=order.__getitem__)
            parent[second] = first
    for name, table in (("lines", [(x.name, x.from_bus, x.to_bus) for x in draft.lines]),
                        ("transformers", [(x.name, x.hv_bus, x.lv_bus) for x in draft.transformers])):  # fmt: skip
        lost = [
            Fault(f"{name} {thing}", "bus", end, "a bus of the file") for thing, *ends in table for end in ends if end not in parent
        ]
        if lost:
            raise InputError(draft.name, lost)
    return {bus: top(bus) for bus in draft.buses}


def _reachable(root: str, ends: Iterable[tuple[str, str]]) -> set[str]:
    beside: dict[str, list[str]] = {}
    for a, b in ends:
        beside.setdefault(a, []).append(b)
        beside.setdefault(b, []).append(a)
    seen, stack = {root}, [root]
    while stack:
        for bus in beside.get(stack.pop(), []):
            if bus not in seen:
                seen.add(bus)
                stack.append(bus)
    return seen


def _name_parallel(draft: Draft, branches: Sequence[tuple[str, str, str]]) -> None:
    groups: dict[frozenset[str], list[str]] = {}
    for name, a, b in branches:
        groups.setdefault(frozenset((a, b)), []).append(name)
    for names in groups.values():
        if len(names) > 1:
            draft.note("merged", " + ".join(names), "parallel branches between the same two buses are one")
