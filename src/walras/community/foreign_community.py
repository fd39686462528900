"""From a grid of another tool to a community that runs: members for what hangs at its buses, and profiles borrowed for a year.

Real in it: the network, what hangs at which bus and how large (the power of the file's moment, taken as the peak). The file has
no year of profiles, so shapes are borrowed from a data file of ours (by default the SimBench shapes of `package:rural3`): a load of
up to 15 kW follows a household shape, a larger one a shop's, in turn; a plant follows a solar shape. Owners: each load is a
member; a plant or battery belongs to the first member at its bus that has none, else it is a member of its own. Contracts and
prices are those of the shipped examples. All that is assumed is in the findings, and in the head of the written file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from walras.community.datafile import CommunityData, read_data, write_data
from walras.community.file import data_path
from walras.community.foreign import ForeignGrid, ForeignLoad, ForeignPlant, ForeignStorage, ImportFinding
from walras.community.model import Load, Member, Pv
from walras.community.simbench import Imported, sunniest_day
from walras.community.writing import community_text
from walras.devices.records import Battery
from walras.errors import Fault, InputError

LARGEST_HOUSEHOLD_KW = 15.0
COMMISSIONED = 2016
SHAPES = "package:rural3"

HEAD = """\
# Community file of Walras: {name}, written by `walras import {command}`.
#
# Network and sizes: {source}.
# Profiles: {profiles}
# {licence}
# The file has one moment and no year: its powers are taken as peaks of borrowed shapes, and owners, contracts and tariffs are
# examples. What is not as in the file:
{findings}
# Prices: the German retail prices of 2016 of the shipped examples. Change what is yours.

"""


@dataclass(slots=True)
class _Owner:
    """A member in the making: a load, a plant or a battery, and what else stands behind its meter."""

    name: str
    bus: str
    loads: list[ForeignLoad] = field(default_factory=list)
    plants: list[ForeignPlant] = field(default_factory=list)
    storage: ForeignStorage | None = None


def write_foreign(grid: ForeignGrid, out_dir: str | Path, *, command: str, shapes: str = SHAPES) -> tuple[Imported, ForeignGrid]:
    """Write `<name>.npz` and `<name>.toml` into `out_dir`; also the grid with all findings, those of the members included.

    `command` is what follows `walras import` in the head, `shapes` the data file whose profiles are borrowed. Raises InputError for
    a grid without anything to own, or a data file without household and solar profiles.
    """
    borrowed = read_data(data_path(shapes, Path()))
    findings = list(grid.findings)
    owners = _owners(grid, findings)
    members = _members(owners, borrowed, shapes, findings)
    if not members:
        raise InputError(grid.name, [Fault(grid.source, "loads and plants", 0, "at least one of more than nothing")])
    used = sorted({load.profile for m in members for load in m.loads} | {plant.profile for m in members for plant in m.pv})
    rows = [borrowed.row(name) for name in used]
    data = CommunityData(
        code=grid.name,
        grid=borrowed.grid,
        profiles=tuple(used),
        active=np.ascontiguousarray(borrowed.active[rows]),
        reactive=np.ascontiguousarray(borrowed.reactive[rows]),
        network=grid.network.as_arrays(),
        source=f"network: {grid.source}; profiles: {borrowed.source}",
        licence=borrowed.licence,
    )
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    stem = slug(grid.name)
    data_file, community_file = out / f"{stem}.npz", out / f"{stem}.toml"
    write_data(data_file, data)
    head = HEAD.format(
        name=grid.name, command=command, source=grid.source, profiles=borrowed.source, licence=borrowed.licence,
        findings="\n".join(f"#   {' '.join(str(finding).split())}" for finding in findings) or "#   nothing",
    )  # fmt: skip
    text = community_text(grid.name, data, members, sunniest_day(data), data_file.name, head=head)
    community_file.write_text(text, encoding="utf-8")
    return Imported(community_file, data_file, members, data), replace(grid, findings=tuple(findings))


def slug(name: str) -> str:
    """Lower-case letters, digits and single hyphens.

    >>> slug("Load.House 1/2"), slug("ÄÖ")
    ('load-house-1-2', 'grid')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "grid"


def _owners(grid: ForeignGrid, findings: list[ImportFinding]) -> list[_Owner]:
    owners = []
    plants = list(grid.plants)
    for load in grid.loads:
        if load.p_kw > 0:
            owners.append(_Owner(load.name, load.bus, [load]))
        elif load.p_kw < 0:
            findings.append(ImportFinding("assumed", load.name, f"a load of {load.p_kw:g} kW is a plant"))
            plants.append(ForeignPlant(load.name, load.bus, -load.p_kw, -load.q_kvar, -load.p_kw))
        else:
            findings.append(ImportFinding("dropped", load.name, f"no active power ({load.q_kvar:g} kvar)"))
    for plant in plants:
        if plant.size_kw <= 0:
            findings.append(ImportFinding("dropped", plant.name, "a plant without a size"))
            continue
        here = [owner for owner in owners if owner.bus == plant.bus]
        free = [owner for owner in here if not owner.plants] or here
        if free:
            free[0].plants.append(plant)
        else:
            owners.append(_Owner(plant.name, plant.bus, [], [plant]))
    for storage in grid.storages:
        free = [owner for owner in owners if owner.bus == storage.bus and owner.storage is None]
        if free:
            free[0].storage = storage
        else:
            owners.append(_Owner(storage.name, storage.bus, [], [], storage))
    return owners


def _members(owners: list[_Owner], borrowed: CommunityData, shapes: str, findings: list[ImportFinding]) -> tuple[Member, ...]:
    homes, shops, suns = (
        sorted(name for name in borrowed.profiles if name.startswith(prefix)) for prefix in (("H0",), ("G",), ("PV",))
    )
    if not homes or not suns:
        expected = "household (H0...) and solar (PV...) profiles"
        raise InputError("profiles", [Fault(shapes, "profiles", list(borrowed.profiles), expected)])
    if any(owner.loads or owner.plants for owner in owners):
        what = f"the year's shape of every load and plant, from {shapes}; the file's power is its peak"
        findings.append(ImportFinding("assumed", "profiles", what))
    if any(owner.plants for owner in owners):
        findings.append(ImportFinding("assumed", "plants", f"all are solar, in service since {COMMISSIONED}"))
    taken: set[str] = set()
    members = []
    for k, owner in enumerate(owners):
        name = slug(owner.name)
        while name in taken:
            name += "-2"
        taken.add(name)
        small = all(load.p_kw <= LARGEST_HOUSEHOLD_KW for load in owner.loads)
        shelf = homes if small or not shops else shops
        loads = tuple(
            Load("household" if small else "business", shelf[k % len(shelf)], _milli(load.p_kw), _milli(load.q_kvar))
            for load in owner.loads
        )
        pv = tuple(Pv(suns[k % len(suns)], max(_milli(plant.size_kw), 1), COMMISSIONED) for plant in owner.plants)
        members.append(Member(name, owner.bus, "flat" if small else "business", "truthful", loads, pv, _battery(owner.storage)))
    return tuple(members)


def _battery(storage: ForeignStorage | None) -> Battery | None:
    if storage is None:
        return None
    capacity, power = max(_milli(storage.capacity_kwh), 1), max(_milli(storage.power_kw), 1)
    return Battery(capacity, power, storage.efficiency, storage.efficiency, initial_wh=0)


def _milli(kilo: float) -> int:
    """Whole W, var or Wh."""
    return round(kilo * 1e3)
