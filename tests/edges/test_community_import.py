"""The importer on tables as SimBench writes them, small enough to check by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from walras.community import import_simbench, load_community, member_series, network
from walras.community.simbench import build_members, sunniest_day
from walras.community.simbench_tables import parse_code, read_grid, read_profiles, tables_folder
from walras.errors import InputError

SLOTS = 35_136
CODE = "1-LV-rural1--2-sw"

TABLES = {
    "Node": """id;type;vmSetp;vaSetp;vmR;vmMin;vmMax;substation;coordID;subnet;voltLvl
MV1.101 Bus 4_1_1;auxiliary;NULL;NULL;20;0.9;1.1;NULL;c0;LV1.101;5
MV1.101 Bus 4;busbar;1.025;0.0;20;0.965;1.055;NULL;c0;MV1.101_LV1.101;5
MV1.101 Bus 9;busbar;1.025;0.0;20;0.965;1.055;NULL;c0;MV1.101;5
LV1.101 Bus 1;busbar;NULL;NULL;0.4;0.9;1.1;NULL;c1;LV1.101;7
LV1.101 Bus 1_1;auxiliary;NULL;NULL;0.4;0.9;1.1;NULL;c1;LV1.101;7
LV1.101 Bus 2;busbar;NULL;NULL;0.4;0.9;1.1;NULL;c2;LV1.101;7
LV1.101 Bus 2_1;auxiliary;NULL;NULL;0.4;0.9;1.1;NULL;c2;LV1.101;7
LV1.101 Bus 2_2;auxiliary;NULL;NULL;0.4;0.9;1.1;NULL;c2;LV1.101;7
LV1.101 Bus 1_2;auxiliary;NULL;NULL;0.4;0.9;1.1;NULL;c1;LV1.101;7
LV2.101 Bus 1;busbar;NULL;NULL;0.4;0.9;1.1;NULL;c1;LV2.101;7
""",
    "Switch": """id;nodeA;nodeB;type;cond;substation;subnet;voltLvl
s1;MV1.101 Bus 4;MV1.101 Bus 4_1_1;CB;1;NULL;LV1.101;5
s2;LV1.101 Bus 1;LV1.101 Bus 1_1;LS;1;NULL;LV1.101;7
s3;LV1.101 Bus 2;LV1.101 Bus 2_1;LS;1;NULL;LV1.101;7
s4;LV1.101 Bus 2;LV1.101 Bus 2_2;LS;0;NULL;LV1.101;7
s5;LV1.101 Bus 1;LV1.101 Bus 1_2;LS;1;NULL;LV1.101;7
""",
    "Line": """id;nodeA;nodeB;type;length;loadingMax;subnet;voltLvl
LV1.101 Line 1;LV1.101 Bus 1_1;LV1.101 Bus 2_1;thin;0.1;100;LV1.101;7
LV1.101 Line 2;LV1.101 Bus 1_2;LV1.101 Bus 2_2;thin;0.1;100;LV1.101;7
other;LV2.101 Bus 1;LV2.101 Bus 1;thin;0.1;100;LV2.101;7
""",
    "LineType": "id;r;x;b;iMax;type\nthin;0.2067;0.0804248;260.752;270;cable\n",
    "Transformer": """id;nodeHV;nodeLV;type;tappos;autoTap;autoTapSide;loadingMax;substation;subnet;voltLvl
t1;MV1.101 Bus 4_1_1;LV1.101 Bus 1;small;1;0;NULL;100;NULL;LV1.101;6
t2;MV1.101 Bus 4_1_1;LV1.101 Bus 1;small;1;0;NULL;100;NULL;LV1.101;6
""",
    "TransformerType": """id;sR;vmHV;vmLV;va0;vmImp;pCu;pFe;iNoLoad;tapable;tapside;dVm;dVa;tapNeutr;tapMin;tapMax
small;0.16;20;0.4;150;4;2.35;0.46;0.28751;1;HV;2.5;0;0;-2;2
""",
    "Coordinates": "id;x;y;subnet;voltLvl\nc0;11.0;53.0;MV1.101;5\nc1;11.1;53.1;LV1.101;7\nc2;11.2;53.2;LV1.101;7\n",
    "Load": """id;node;profile;pLoad;qLoad;sR;subnet;voltLvl
LV1.101 Load 10;LV1.101 Bus 2;H0-A;0.003;0.0012;0.0032;LV1.101;7
LV1.101 Load 2;LV1.101 Bus 1;L2-A;0.0276;0.0109;0.0297;LV1.101;7
LV1.101 Load 3;LV1.101 Bus 2;H0-B;0.002;0.0008;0.0022;LV1.101;7
LV1.101 Load 4;LV1.101 Bus 2;HLS_A_3.7;0.0037;0.0015;0.004;LV1.101;7
LV1.101 Load 5;LV1.101 Bus 2;Air_Parallel_1;0.0049;0.002;0.0053;LV1.101;7
LV1.101 Load 6;LV1.101 Bus 2;APLS_A_50.0;0.05;0;0.05;LV1.101;7
MV1.101 Load 2;MV1.101 Bus 4;lv_rural1;0.1813;0.0717;0.195;MV1.101_LV1.101_eq;5
""",
    "RES": """id;node;type;profile;calc_type;pRES;qRES;sR;subnet;voltLvl
LV1.101 SGen 1;LV1.101 Bus 1;PV;PV5;pq;0.04;0;0.04;LV1.101;7
MV1.101 SGen 2;MV1.101 Bus 4;lv_RES;lv_rural1;pq;0.4682;0;0.4682;MV1.101_LV1.101_eq;5
""",
    "Storage": """id;node;type;profile;pStor;qStor;chargeLevel;sR;eStore;etaStore;sdStore;pMin;pMax;qMin;qMax;subnet;voltLvl
LV1.101 Storage 1;LV1.101 Bus 2;PV_Storage;Storage_PV8_H0-B;-0.0065;0;0;0.0065;0.013;0.95;0.13;0;0;0;0;LV1.101;7
""",
}


def shape(name: str) -> list[float]:
    """A saw tooth of the name's own period; solar ones are dark at night; a charger has noise below zero."""
    slots = np.arange(SLOTS)
    values = (slots % (7 + len(name))) / (7 + len(name))
    if name.startswith("PV"):
        values = np.where((slots % 96 > 28) & (slots % 96 < 70), values, 0.0)
    if name == "HLS_A_3.7_pload":
        values = np.where(values == 0, -1.2e-5, values)
    return [float(value) for value in np.round(values, 9)]


def write_tables(root: Path, change: Callable[[dict[str, str]], None] = lambda tables: None) -> Path:
    tables = dict(TABLES)
    change(tables)
    folder = root / "1-complete_data-mixed-all-2-sw"
    folder.mkdir(parents=True)
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    loads = ["H0-A", "H0-B", "L2-A", "HLS_A_3.7", "Air_Parallel_1", "APLS_A_50.0"]
    write_profiles(folder / "LoadProfile.csv", [f"{name}_{part}load" for name in loads for part in "qp"])
    write_profiles(folder / "RESProfile.csv", ["PV5", "PV8"])
    return root


def write_profiles(path: Path, names: list[str]) -> None:
    columns = [shape(name) for name in names]
    lines = ["time;" + ";".join(names)]
    lines += ["01.01.2016 00:00;" + ";".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("tables"))


def test_buses_joined_by_closed_switches_are_one_and_open_ones_part(tables: Path) -> None:
    """Line 2 ends at an auxiliary bus behind an open switch: a stub of its own, so the network stays a tree."""
    grid = read_grid(parse_code(CODE), tables_folder(parse_code(CODE), tables))
    assert grid.bus_of["LV1.101 Bus 2_1"] == "LV1.101 Bus 2"
    assert grid.bus_of["LV1.101 Bus 2_2"] == "LV1.101 Bus 2_2"
    assert grid.bus_of["MV1.101 Bus 4_1_1"] == "MV1.101 Bus 4"
    assert set(grid.network.bus_names) == {"MV1.101 Bus 4", "LV1.101 Bus 1", "LV1.101 Bus 2", "LV1.101 Bus 2_2"}


def test_taps_are_applied_and_parallel_transformers_merged(tables: Path) -> None:
    net = read_grid(parse_code(CODE), tables_folder(parse_code(CODE), tables)).network
    assert net.branch_tap[0] == pytest.approx(1.025)
    assert net.branch_rating[0] == pytest.approx(320)
    assert net.slack_v_pu == 1.025
    assert net.bus_xy[net.bus_index["LV1.101 Bus 2"]].tolist() == [11.2, 53.2]


def test_devices_go_to_owners_at_their_bus(tables: Path) -> None:
    """By number: farm at bus 1; at bus 2 the homes of loads 3 and 10, who share charger and heat pump; 50 kW is a station."""
    grid = read_grid(parse_code(CODE), tables_folder(parse_code(CODE), tables))
    members = {member.id: member for member in build_members(grid, 2016)}
    assert list(members) == ["farm-1", "home-1", "home-2", "station-1"]
    assert [load.profile for load in members["home-1"].loads] == ["H0-B", "HLS_A_3.7"]
    assert [load.profile for load in members["home-2"].loads] == ["H0-A", "Air_Parallel_1"]
    assert [load.peak_w for load in members["station-1"].loads] == [50_000]
    assert members["farm-1"].loads[0].peak_w == 27_600
    assert members["farm-1"].loads[0].peak_var == 10_900
    assert members["farm-1"].contract == members["station-1"].contract == "business"


def test_a_storage_is_a_solar_home_with_a_battery(tables: Path) -> None:
    grid = read_grid(parse_code(CODE), tables_folder(parse_code(CODE), tables))
    members = {member.id: member for member in build_members(grid, 2016)}
    home = members["home-1"]
    assert home.battery is not None
    assert (home.battery.capacity_wh, home.battery.power_w, home.battery.charge_efficiency) == (13_000, 6_500, 0.95)
    assert [(plant.profile, plant.peak_w) for plant in home.pv] == [("PV8", 6_500)]
    assert members["home-2"].battery is None
    assert [(plant.profile, plant.peak_w) for plant in members["farm-1"].pv] == [("PV5", 40_000)]


def test_farms_keep_their_time_and_heat_pumps_their_week(tables: Path) -> None:
    grid = read_grid(parse_code(CODE), tables_folder(parse_code(CODE), tables))
    for seed in range(20):
        for member in build_members(grid, seed):
            for load in member.loads:
                weeks = round(load.shift_slots / 672)
                quarters = load.shift_slots - weeks * 672
                assert abs(quarters) <= (0 if load.kind == "farm" else 4)
                assert abs(weeks) <= (2 if load.kind in ("household", "ev") else 0)


def test_another_seed_gives_other_draws_and_the_same_one_the_same(tables: Path) -> None:
    grid = read_grid(parse_code(CODE), tables_folder(parse_code(CODE), tables))
    assert build_members(grid, 1) == build_members(grid, 1) != build_members(grid, 2)


def test_an_import_loads_as_the_members_it_made_and_repeats_to_the_byte(tables: Path, tmp_path: Path) -> None:
    written = import_simbench(CODE, tmp_path / "a", tables=tables)
    again = import_simbench(CODE, tmp_path / "b", tables=tables)
    community = load_community(written.community_file)
    assert community.members == written.members
    assert network(community).buses == 4
    for one, other in ((written.community_file, again.community_file), (written.data_file, again.data_file)):
        assert one.read_bytes() == other.read_bytes()
    series = member_series(community, range(96))
    assert series.load_wh.shape == (96, 4)
    assert series.pv_wh[:29].sum() == 0
    assert series.pv_wh.sum() > 0


def test_the_sunniest_summer_day_is_where_a_community_begins(tables: Path, tmp_path: Path) -> None:
    written = import_simbench(CODE, tmp_path, tables=tables)
    best = sunniest_day(written.data)
    rows = [k for k, name in enumerate(written.data.profiles) if name.startswith("PV")]

    def sun(day: date) -> int:
        slots = written.data.grid.local_day(day)
        return int(written.data.active[rows, slots.start : slots.stop].sum(dtype=np.int64))

    assert date(2016, 6, 1) <= best <= date(2016, 7, 31)
    assert all(sun(best) >= sun(date(2016, month, day)) for month in (6, 7) for day in range(1, 31))
    assert load_community(written.community_file).start == best


@pytest.mark.parametrize(
    "code", ["", "1-LV-rural9--2-sw", "1-MV-rural--2-sw", "1-MVLV-rural-all-2-sw", "1-LV-rural3--3-sw", "2-LV-rural3--2-sw",
             "1-LV-rural3--2-no_sw", "1-LV-rural3--2-sw-x"],
)  # fmt: skip
def test_a_code_that_is_none_is_refused(code: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1-LV-rural3--S-sw"):
        import_simbench(code, tmp_path, tables=tmp_path)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder of SimBench tables"):
        import_simbench(CODE, tmp_path, tables=tmp_path)


def replace(table: str, old: str, new: str) -> Callable[[dict[str, str]], None]:
    def change(tables: dict[str, str]) -> None:
        assert old in tables[table]
        tables[table] = tables[table].replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (replace("Load", "H0-B", "H0-Z"), "a column of the table"),
        (replace("Load", ";H0-B;", ";Zeppelin;"), "a household, business, farm, charger or heat pump"),
        (replace("RES", "LV1.101 Bus 1;PV;", "LV1.101 Bus 2_2;PV;"), "a bus with a load"),
        (replace("Transformer", "t2;MV1.101 Bus 4_1_1", "t2;MV1.101 Bus 9"), "one bus above the transformers"),
    ],
    ids=["an absent profile", "an unknown kind of load", "a plant that belongs to nobody", "two feeding buses"],
)
def test_tables_that_do_not_fit_name_what(tmp_path: Path, change: Callable[[dict[str, str]], None], expected: str) -> None:
    root = write_tables(tmp_path / "tables", change)
    if "Bus 9" in (root / "1-complete_data-mixed-all-2-sw" / "Transformer.csv").read_text():
        node = root / "1-complete_data-mixed-all-2-sw" / "Node.csv"
        node.write_text(node.read_text().replace("NULL;c0;MV1.101;5", "NULL;c0;MV1.101_LV1.101;5"))
    with pytest.raises(InputError, match=expected):
        import_simbench(CODE, tmp_path / "out", tables=root)


def test_profiles_are_read_by_position_not_by_their_local_times(tables: Path) -> None:
    folder = tables_folder(parse_code(CODE), tables)
    read = read_profiles(folder, "LoadProfile", ["H0-A_pload"])["H0-A_pload"]
    assert read.tolist() == shape("H0-A_pload")
