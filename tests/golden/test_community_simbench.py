"""The shipped communities against SimBench's own package and pandapower: energies, single slots and bus voltages.

Sources stand at the head of the two tables beside this file.
"""

from __future__ import annotations

import csv
import importlib.util
import os
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from walras.community import (
    Community,
    import_simbench,
    load_community,
    member_bus,
    member_series,
    network,
    wholesale_micro_per_kwh,
)
from walras.community.datafile import ACTIVE_SCALE
from walras.grid import power_flow
from walras.tariffs.records import feed_in_rate

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
GRIDS = ("rural3", "rural1", "urban6")


@cache
def community(name: str) -> Community:
    return load_community(EXAMPLES / f"{name}.toml")


def table(name: str) -> list[list[str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.reader(lines, delimiter="\t") if not row[0].startswith("#")]


@pytest.mark.parametrize(("name", "slot"), sorted({(row[0], int(row[1])) for row in table("community_voltages.tsv")}))
def test_bus_voltages_equal_pandapower_with_taps_applied(name: str, slot: int) -> None:
    here = community(name)
    net, bus = network(here), member_bus(here)
    series = member_series(here, range(slot, slot + 1))
    p, q = np.zeros(net.buses), np.zeros(net.buses)
    np.add.at(p, bus, (series.load_wh[0] - series.pv_wh[0]) * 4 / 1e3)
    np.add.at(q, bus, series.reactive_kvar[0])
    flow = power_flow(net, p, q)
    rows = [row for row in table("community_voltages.tsv") if (row[0], int(row[1])) == (name, slot)]
    assert len(rows) > 14
    for _, _, what, value in rows:
        if what == "slack_kw":
            assert flow.slack_p_kw[0] == pytest.approx(float(value), abs=1e-7)
        else:
            assert flow.v_pu[0, net.bus_index[what]] == pytest.approx(float(value), abs=1e-10)


@pytest.mark.parametrize("name", GRIDS)
def test_the_energy_of_every_load_is_simbenchs(name: str) -> None:
    """Sorted by size, since a member's loads do not keep SimBench's names. Profiles are rounded to 1/60,000 of the peak."""
    here = community(name)
    loads = [load for member in here.members for load in member.loads]
    shapes = [here.data.active[here.data.row(load.profile)].astype(np.int64) for load in loads]
    peaks = np.array([load.peak_w for load in loads])
    rows = [row for row in table("community_loads.tsv") if row[0] == name]
    assert len(rows) == len(loads)
    year = sorted(int(peak) * int(shape.sum()) / 4 / ACTIVE_SCALE / 1e3 for peak, shape in zip(peaks, shapes, strict=True))
    assert year == pytest.approx(sorted(float(row[2]) for row in rows), rel=2e-5, abs=0.01)
    for column, slot in ((3, 1_000), (4, 20_000)):
        power = sorted(int(peak) * int(shape[slot]) / ACTIVE_SCALE for peak, shape in zip(peaks, shapes, strict=True))
        assert power == pytest.approx(sorted(float(row[column]) for row in rows), abs=peaks.max() / ACTIVE_SCALE)


@pytest.mark.parametrize(
    ("name", "ids", "pv_kwp", "battery_kwh"),
    [
        ("rural3", {"home": 113, "shop": 5}, 252.3 + 93.0, 185.9),
        ("rural1", {"home": 3, "farm": 10}, 468.2 + 206.0, 412.0),
        ("urban6", {"home": 102, "shop": 9, "station": 1}, 171.2 + 50.8, 101.7),
    ],
)
def test_who_is_there_is_simbenchs(name: str, ids: dict[str, int], pv_kwp: float, battery_kwh: float) -> None:
    """Sums of SimBench's tables, as its medium-voltage equivalents give them; a storage is a plant of its rated power too."""
    members = community(name).members
    assert Counter(member.id.split("-")[0] for member in members) == ids
    assert sum(plant.peak_w for member in members for plant in member.pv) / 1e3 == pytest.approx(pv_kwp, rel=2e-3)
    assert sum(m.battery.capacity_wh for m in members if m.battery) / 1e3 == pytest.approx(battery_kwh, rel=2e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_no_two_homes_of_one_shape_and_size_move_as_one(name: str) -> None:
    """Diversity: of the households that share a shape, hardly any share the shift as well (45 shifts for up to 31 homes)."""
    homes = [load for member in community(name).members for load in member.loads if load.kind == "household"]
    same = Counter((load.profile, load.shift_slots) for load in homes)
    assert max(same.values()) <= 4
    assert len({load.shift_slots for load in homes}) >= min(len(homes), 30)


def test_an_average_household_pays_what_bdew_found_for_2016() -> None:
    """28.69 ct/kWh, BDEW Strompreisanalyse January 2016; its parts as published round to within 0.01 ct."""
    flat = next(contract for contract in community("rural3").contracts if contract.id == "flat")
    net = flat.energy_micro_per_kwh + flat.network_micro_per_kwh + sum(item.micro_per_kwh for item in flat.levies)
    assert net * (10_000 + flat.vat_basis_points) / 10_000 / 1e4 == pytest.approx(28.69, abs=0.01)


def test_feed_in_rates_of_home_17() -> None:
    here = community("rural3")
    home = here.member("home-17")
    plant = home.pv[0]
    assert feed_in_rate(here.feed_in, plant.commissioned, plant.peak_w) == 287_400


def test_wholesale_prices_are_smards_on_the_calendar_of_2016() -> None:
    """Local 2016-01-04 00:00 has 2015-01-05's price; on 2016-03-27 the hours around the missing one have 2015-03-29's."""
    here = community("rural3")
    day = wholesale_micro_per_kwh(here, here.grid.local_day(here.start.replace(month=3, day=27)))
    assert day[::4].tolist()[:8] == [9_900, 8_930, 5_080, 6_980, 5_990, -80, -10, 10_690]
    autumn = wholesale_micro_per_kwh(here, here.grid.local_day(here.start.replace(month=10, day=30)))
    assert autumn[8:12].tolist() == autumn[12:16].tolist()
    year = wholesale_micro_per_kwh(here, range(here.data.slots))
    assert (year.min(), year.max()) == (-79_940, 99_770)


@pytest.mark.parametrize("name", GRIDS)
def test_the_shipped_files_are_what_the_importer_writes(name: str, tmp_path: Path) -> None:
    root = os.environ.get("WALRAS_SIMBENCH_TABLES")
    if root is None and importlib.util.find_spec("simbench") is None:
        reason = "SimBench's tables are absent: make simbench, and set WALRAS_SIMBENCH_TABLES=.tools/simbench/simbench/networks"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    tables = Path(root) if root else None
    written = import_simbench(f"1-LV-{name}--2-sw", tmp_path, tables=tables, data_reference=f"package:{name}")
    assert written.community_file.read_bytes() == (EXAMPLES / f"{name}.toml").read_bytes()
    shipped = HERE.parents[1] / "src" / "walras" / "community" / "data" / f"{name}.npz"
    again, before = load_community(written.community_file), community(name)
    assert (written.data.active == before.data.active).all()
    assert (written.data.reactive == before.data.reactive).all()
    assert again.members == written.members == before.members
    assert shipped.stat().st_size < 2_000_000
