"""From a SimBench grid to a community: a compact data file and a community file that a person can read and change.

Real in it: the network, the profiles, what hangs at each bus and how large. Added here, and said in the head of the file
that is
written: owners (SimBench has devices at buses, not people), contracts, years of commissioning, and diversity (SimBench has five
household shapes for a hundred homes: each household and charging point is moved by its own whole weeks and quarter hours,
each heat
pump by quarter hours). All draws are hashes of the seed and the device's name: no generator, the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from walras.community.datafile import ACTIVE_SCALE, REACTIVE_SCALE, CommunityData, write_data
from walras.community.model import Load, LoadKind, Member, Pv
from walras.community.simbench_tables import (
    Row,
    SimbenchGrid,
    parse_code,
    read_grid,
    read_profiles,
    tables_folder,
)
from walras.community.writing import community_text
from walras.devices.records import Battery
from walras.errors import Fault, InputError
from walras.slots import SlotGrid
from walras.units import Float64

ORIGIN = datetime(2015, 12, 31, 23, tzinfo=UTC)
MINUTES = 15
TIMEZONE = "Europe/Berlin"
SLOTS = 35_136
WEEK = 7 * 24 * 4
SHIFT_WEEKS = (-2, -1, 0, 1, 2)
SHIFT_QUARTERS = tuple(range(-4, 5))
LARGEST_PRIVATE_CHARGER_W = 22_000
PLANT_YEARS = tuple(range(2009, 2017))
BATTERY_YEARS = (2013, 2014, 2015, 2016)
CONTRACTS = ("flat", "flat", "time-of-use", "flat", "dynamic", "flat", "time-of-use", "flat", "dynamic", "flat")
SUMMER = (date(2016, 6, 1), date(2016, 7, 31))
OWNERS: tuple[LoadKind, ...] = ("household", "business", "farm")
NAMES: dict[LoadKind, str] = {"household": "home", "business": "shop", "farm": "farm", "ev": "station", "heat_pump": "heat"}
SOURCE = "SimBench {code}, tables of the simbench package, https://simbench.de"
LICENCE = (
    "Database: Open Database License (ODbL) 1.0, https://opendatacommons.org/licenses/odbl/1-0/; "
    "contents: Database Contents License (DbCL) 1.0, https://opendatacommons.org/licenses/dbcl/1-0/"
)


@dataclass(frozen=True, slots=True)
class Imported:
    """The two files that were written, and what is in them."""

    community_file: Path
    data_file: Path
    members: tuple[Member, ...]
    data: CommunityData


def import_simbench(
    code: str, out_dir: str | Path, *, tables: Path | None = None, data_reference: str | None = None, seed: int = 2016
) -> Imported:
    """Write `<grid>.npz` and `<grid>.toml` for a low-voltage SimBench grid such as `1-LV-rural3--2-sw` into `out_dir`.

    `tables` is the folder that holds SimBench's table folders (default: the installed `simbench` package's, which is
    located and not
    run); `data_reference` is how the community file names the data file (default: beside it). Raises InputError for a code
    or folder that is none.
    """
    known = parse_code(code)
    folder = tables_folder(known, tables)
    grid = read_grid(known, folder)
    members = build_members(grid, seed)
    data = build_data(grid, folder, members)
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    stem = known.grid if known.scenario == 2 else f"{known.grid}-scenario{known.scenario}"
    data_file, community_file = out / f"{stem}.npz", out / f"{stem}.toml"
    write_data(data_file, data)
    start = sunniest_day(data)
    text = community_text(known.grid, data, members, start, data_reference or data_file.name)
    community_file.write_text(text, encoding="utf-8")
    return Imported(community_file, data_file, members, data)


def build_members(grid: SimbenchGrid, seed: int) -> tuple[Member, ...]:
    """Owners of all that hangs at the grid's buses, in the order of SimBench's loads.

    Each household, business and farm is a member. Chargers and heat pumps go to the members of their bus in turn, those
    with the fewest
    devices first; a charger of more than 22 kW is a member of its own. A solar plant goes to the first member at its bus
    that has none; a storage, to the first whose load profile its name tells.
    """
    drafts = [_Draft(row, grid.bus_of[row["node"]]) for row in sorted(grid.loads, key=_number) if _kind(row) in OWNERS]
    for row in sorted(grid.loads, key=_number):
        if _kind(row) in OWNERS:
            continue
        here = [draft for draft in drafts if draft.bus == grid.bus_of[row["node"]]]
        if not here or (_kind(row) == "ev" and _watts(row["pLoad"]) > LARGEST_PRIVATE_CHARGER_W):
            drafts.append(_Draft(row, grid.bus_of[row["node"]]))
        else:
            min(here, key=lambda draft: len(draft.rows)).rows.append(row)
    for row in sorted(grid.plants, key=_number):
        if row["type"] == "PV":
            _at_bus(drafts, grid, row, "").plants.append(row)
    for row in sorted(grid.storages, key=_number):
        _at_bus(drafts, grid, row, row["profile"].split("_")[-1]).storages.append(row)
    return _named(drafts, seed)


def build_data(grid: SimbenchGrid, folder: Path, members: tuple[Member, ...]) -> CommunityData:
    """The profiles that the members use, quantised, beside the network."""
    loads = sorted({load.profile for member in members for load in member.loads})
    plants = sorted({plant.profile for member in members for plant in member.pv})
    columns = [f"{name}_{part}load" for name in loads for part in "pq"]
    load_shapes = read_profiles(folder, "LoadProfile", columns)
    plant_shapes = read_profiles(folder, "RESProfile", plants)
    active = [load_shapes[f"{name}_pload"] for name in loads] + [plant_shapes[name] for name in plants]
    silent = np.zeros(SLOTS)
    reactive = [load_shapes[f"{name}_qload"] for name in loads] + [silent for _ in plants]
    return CommunityData(
        code=grid.code.code,
        grid=SlotGrid(ORIGIN, MINUTES, TIMEZONE),
        profiles=(*loads, *plants),
        active=np.array([quantise(shape, ACTIVE_SCALE, 0, 65_535) for shape in active], dtype=np.uint16),
        reactive=np.array([quantise(shape, REACTIVE_SCALE, -32_768, 32_767) for shape in reactive], dtype=np.int16),
        network=grid.network.as_arrays(),
        source=SOURCE.format(code=grid.code.code),
        licence=LICENCE,
    )


def quantise(shape: Float64, scale: int, low: int, high: int) -> Float64:
    """Shares in whole parts of 1 / `scale`; InputError for a wrong length, NaN, or what does not fit (-1e-4 is noise)."""
    raw = np.rint(shape * scale)
    raw[(raw < 0) & (raw > -1e-4 * scale) & (low == 0)] = 0
    if shape.shape != (SLOTS,) or not np.isfinite(raw).all() or raw.min() < low or raw.max() > high:
        expected = f"{SLOTS} values in {low}..{high} / {scale}"
        fault = Fault("profile", "values", f"{shape.shape}, {raw.min()}..{raw.max()}", expected)
        raise InputError("SimBench profiles", [fault])
    return raw


def sunniest_day(data: CommunityData) -> date:
    """The day in June or July 2016 with the most sun over all solar profiles of the file: a good day to begin with."""
    rows = [k for k, name in enumerate(data.profiles) if name.startswith("PV")]
    days = [SUMMER[0] + timedelta(days=k) for k in range((SUMMER[1] - SUMMER[0]).days + 1)]
    slots = [data.grid.local_day(day) for day in days]
    sums = [int(data.active[rows, span.start : span.stop].sum(dtype=np.int64)) for span in slots]
    return days[max(range(len(days)), key=lambda k: (sums[k], -k))]


class _Draft:
    """A member in the making."""

    def __init__(self, row: Row, bus: str) -> None:
        self.bus = bus
        self.rows = [row]
        self.plants: list[Row] = []
        self.storages: list[Row] = []


def _at_bus(drafts: list[_Draft], grid: SimbenchGrid, row: Row, profile: str) -> _Draft:
    here = [draft for draft in drafts if draft.bus == grid.bus_of[row["node"]]]
    if not here:
        raise InputError("SimBench", [Fault(row["id"], "node", row["node"], "a bus with a load")])
    return min(here, key=lambda draft: (draft.rows[0]["profile"] != profile, len(draft.plants) + len(draft.storages)))


def _named(drafts: list[_Draft], seed: int) -> tuple[Member, ...]:
    """Ids by kind in the order of the drafts; contracts and years dealt out evenly in an order drawn from the seed."""
    count: Counter[str] = Counter()
    ids = []
    for draft in drafts:
        kind = NAMES[_kind(draft.rows[0])]
        count[kind] += 1
        ids.append(f"{kind}-{count[kind]}")
    ranked = sorted(ids, key=lambda name: _draw(seed, name, "contract"))
    contracts = {name: CONTRACTS[k % len(CONTRACTS)] for k, name in enumerate(ranked)}
    plants = sorted((row["id"] for draft in drafts for row in draft.plants), key=lambda name: _draw(seed, name, "year"))
    years = {name: PLANT_YEARS[k % len(PLANT_YEARS)] for k, name in enumerate(plants)}
    storages = sorted((row["id"] for draft in drafts for row in draft.storages), key=lambda name: _draw(seed, name, "year"))
    years |= {name: BATTERY_YEARS[k % len(BATTERY_YEARS)] for k, name in enumerate(storages)}
    return tuple(
        Member(
            id=name,
            node=draft.bus,
            contract=contracts[name] if name.startswith("home") else "business",
            strategy="truthful",
            loads=tuple(_load(row, seed) for row in draft.rows),
            pv=tuple(_plant(row, years) for row in (*draft.plants, *draft.storages)),
            battery=_battery(draft.storages),
        )
        for name, draft in zip(ids, drafts, strict=True)
    )


def _load(row: Row, seed: int) -> Load:
    kind = _kind(row)
    weeks = SHIFT_WEEKS[_draw(seed, row["id"], "weeks") % len(SHIFT_WEEKS)] if kind in ("household", "ev") else 0
    moved = kind in ("household", "ev", "heat_pump")
    quarters = SHIFT_QUARTERS[_draw(seed, row["id"], "quarters") % len(SHIFT_QUARTERS)] if moved else 0
    return Load(kind, row["profile"], _watts(row["pLoad"]), _watts(row["qLoad"]), weeks * WEEK + quarters)


def _plant(row: Row, years: dict[str, int]) -> Pv:
    profile = row["profile"].split("_")[1] if row["profile"].startswith("Storage_") else row["profile"]
    return Pv(profile, _watts(row["pRES"] if "pRES" in row else row["sR"]), years[row["id"]])


def _battery(storages: list[Row]) -> Battery | None:
    if not storages:
        return None
    capacity = sum(_watts(row["eStore"]) for row in storages)
    power = sum(_watts(row["sR"]) for row in storages)
    efficiency = float(storages[0]["etaStore"])
    return Battery(capacity, power, efficiency, efficiency, initial_wh=0)


def _kind(row: Row) -> LoadKind:
    profile = row["profile"]
    if profile.startswith(("HLS", "APLS")):
        return "ev"
    if profile.startswith(("Air", "Soil")):
        return "heat_pump"
    kinds: dict[str, LoadKind] = {"H": "household", "G": "business", "L": "farm", "B": "business", "W": "business"}
    if profile[:1] not in kinds:
        expected = "a household, business, farm, charger or heat pump"
        raise InputError("SimBench", [Fault(row["id"], "profile", profile, expected)])
    return kinds[profile[0]]


def _watts(mega: str) -> int:
    """Whole watts (or var, or Wh) of a number in mega-units."""
    return int((Decimal(mega) * 1_000_000).to_integral_value())


def _number(row: Row) -> int:
    return int(row["id"].split()[-1])


def _draw(seed: int, name: str, what: str) -> int:
    """A number that looks drawn, from a hash of seed, name and purpose."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}/{what}".encode()).digest()[:8], "big")
