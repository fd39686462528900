"""Foreign files that do not fit: every step away from the file is a finding, and what cannot be a feeder is refused by name."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from walras.cli import app
from walras.community import load_community, member_series, network
from walras.community.cgmes_file import read_cgmes
from walras.community.foreign import Draft, ForeignLoad, ForeignPlant, ForeignStorage, assemble
from walras.community.foreign_community import write_foreign
from walras.community.opendss_file import read_opendss
from walras.community.pandapower_file import read_pandapower
from walras.errors import GridError, InputError
from walras.grid import Line, Transformer

GOLDEN = Path(__file__).parents[1] / "golden"
STREET = GOLDEN / "import_street.json"
VILLAGE = [GOLDEN / f"import_village_{part}.xml" for part in ("EQ", "SSH", "TP")]


def draft(**more: Any) -> Draft:
    made = Draft("toy", "toy.txt")
    made.buses |= {"mv": 20.0, "a": 0.4, "b": 0.4, "c": 0.4}
    made.transformers.append(Transformer("t", "mv", "a", 160.0, 20.0, 0.4, 4.0, 1.5))
    made.lines += [Line("ab", "a", "b", 0.1, 0.2, 0.08), Line("bc", "b", "c", 0.1, 0.2, 0.08)]
    made.roots.append(("mv", 1.02))
    for name, value in more.items():
        getattr(made, name).extend(value)
    return made


def said(grid: Any, kind: str) -> set[str]:
    return {finding.thing for finding in grid.findings if finding.kind == kind}


def test_joined_buses_are_one_and_what_hangs_there_moves_along() -> None:
    grid = assemble(draft(couplers=[("c", "b")], loads=[ForeignLoad("x", "c", 5.0, 1.0)]))
    assert grid.network.bus_names == ("mv", "a", "b")
    assert grid.loads[0].bus == "b"
    assert said(grid, "dropped") == {"bc"}


def test_a_line_without_impedance_joins_its_buses_and_parallel_lines_are_named() -> None:
    grid = assemble(draft(lines=[Line("link", "b", "c", 0.0, 0.2, 0.08), Line("second", "b", "a", 0.2, 0.2, 0.08)]))
    assert grid.network.buses == 3
    assert said(grid, "merged") == {"link", "ab + second"}


def test_islands_and_what_hangs_at_them_are_left_out_by_name() -> None:
    made = draft(loads=[ForeignLoad("x", "far", 5.0, 1.0)], lines=[Line("out", "far", "farther", 0.1, 0.2, 0.08)])
    made.buses |= {"far": 0.4, "farther": 0.4}
    grid = assemble(made)
    assert grid.network.buses == 4
    assert said(grid, "dropped") == {"far", "farther", "x"}


def test_a_loop_is_refused_by_name() -> None:
    with pytest.raises(GridError, match="closed by ac"):
        assemble(draft(lines=[Line("ac", "a", "c", 0.1, 0.2, 0.08)]))


@pytest.mark.parametrize("roots", [[], [("c", 1.0)]])
def test_a_feeder_has_one_source(roots: list[tuple[str, float]]) -> None:
    made = draft(roots=roots)
    if not roots:
        made.roots.clear()
    with pytest.raises(InputError, match="one bus that the grid above holds"):
        assemble(made)


def test_two_sources_at_one_bus_are_one_at_the_lower_voltage() -> None:
    grid = assemble(draft(roots=[("mv", 1.01)]))
    assert grid.network.slack_v_pu == 1.01
    assert said(grid, "assumed") == {"mv"}


def test_a_branch_to_nowhere_is_refused() -> None:
    with pytest.raises(InputError, match="a bus of the file"):
        assemble(draft(lines=[Line("x", "a", "nowhere", 0.1, 0.2, 0.08)]))


def test_an_imported_community_loads_with_the_powers_of_the_file(tmp_path: Path) -> None:
    made = draft(
        loads=[
            ForeignLoad("Home 1", "b", 4.0, 1.0),
            ForeignLoad("home-1", "b", 40.0, -2.0),
            ForeignLoad("bank", "b", 0.0, -9.0),
            ForeignLoad("back", "c", -3.0, 0.0),
        ],
        plants=[ForeignPlant("roof", "b", 2.0, 0.0, 7.5), ForeignPlant("nothing", "b", 0.0, 0.0, 0.0)],
        storages=[ForeignStorage("box", "b", 10.0, 5.0, 0.95), ForeignStorage("lone", "a", 1.0, 0.5, 0.9)],
    )
    written, grid = write_foreign(assemble(made), tmp_path, command="toy toy.txt")
    community = load_community(written.community_file)
    assert community.members == written.members
    by_id = {member.id: member for member in community.members}
    assert list(by_id) == ["home-1", "home-1-2", "back", "lone"]
    assert by_id["home-1"].loads[0].kind == "household"
    assert (by_id["home-1"].loads[0].peak_w, by_id["home-1"].loads[0].peak_var) == (4000, 1000)
    assert by_id["home-1-2"].loads[0].kind == "business"
    assert by_id["home-1"].pv[0].peak_w == 7500
    assert by_id["home-1"].battery is not None
    assert by_id["back"].pv[0].peak_w == 3000
    assert by_id["lone"].battery is not None
    assert network(community).buses == 4
    series = member_series(community, range(96 * 180, 96 * 181))
    assert series.load_wh[:, 0].max() <= 1000
    assert series.pv_wh.sum() > 0
    assert {"bank", "nothing"} <= said(grid, "dropped")
    text = written.community_file.read_text(encoding="utf-8")
    assert all(f"#   {finding}" in text for finding in grid.findings)
    assert "ODbL" in text
    again, _ = write_foreign(assemble(made), tmp_path / "again", command="toy toy.txt")
    assert again.data_file.read_bytes() == written.data_file.read_bytes()


def test_a_grid_with_nobody_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one of more than nothing"):
        write_foreign(assemble(draft()), tmp_path, command="toy")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"_object": {"bus": 3}}', '{"_object": {}}'])
def test_what_is_no_pandapower_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "net.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="to_json"):
        read_pandapower(path)


def street(tmp_path: Path, change: Callable[[dict[str, dict[str, Any]]], None]) -> Path:
    """The street with its tables changed: {table: {columns, index, data}}."""
    values = json.loads(STREET.read_text(encoding="utf-8"))
    tables = {name: json.loads(entry["_object"]) for name, entry in values["_object"].items() if isinstance(entry, dict)}
    change(tables)
    for name, table in tables.items():
        values["_object"][name]["_object"] = json.dumps(table)
    path = tmp_path / "street.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def set_column(table: str, row: int, column: str, value: object) -> Callable[[dict[str, dict[str, Any]]], None]:
    def change(tables: dict[str, dict[str, Any]]) -> None:
        frame = tables[table]
        if column not in frame["columns"]:
            frame["columns"].append(column)
            for line in frame["data"]:
                line.append(None)
        frame["data"][row][frame["columns"].index(column)] = value

    return change


def test_what_pandapower_has_and_we_do_not_is_said(tmp_path: Path) -> None:
    grid = read_pandapower(STREET)
    assert said(grid, "dropped") == {"tie", "capacitor", "island", "lonely"}
    assert said(grid, "merged") == {"trafo A + trafo B"}
    assert [(load.name, load.bus, load.p_kw) for load in grid.loads] == [("home A", "house 1", 12.0), ("home B", "house 2", 10.0)]
    assert grid.plants[0].size_kw == 30.0
    assert grid.network.bus_xy[1].tolist() == [10.0, 50.0]


@pytest.mark.parametrize(
    ("change", "kind", "thing"),
    [
        (set_column("trafo", 0, "tap_changer_type", None), "assumed", "trafo A"),
        (set_column("trafo", 0, "df", 0.9), "dropped", "trafo A"),
        (set_column("trafo", 0, "tap_step_degree", 5.0), "dropped", "trafo A"),
        (set_column("load", 0, "const_z_p_percent", 40.0), "assumed", "home A"),
        (set_column("load", 0, "in_service", False), "dropped", "home A"),
        (set_column("switch", 0, "z_ohm", 0.1), "assumed", "coupler"),
        (set_column("shunt", 0, "in_service", True), "dropped", "capacitor"),
        (set_column("line", 2, "in_service", False), "dropped", "tie"),
    ],
    ids=["tap without type", "derated", "phase shift", "constant impedance", "idle load", "switch with ohms", "shunt", "idle line"],
)
def test_each_step_away_from_a_pandapower_file_is_a_finding(
    tmp_path: Path, change: Callable[[dict[str, dict[str, Any]]], None], kind: str, thing: str
) -> None:
    assert thing in said(read_pandapower(street(tmp_path, change)), kind)


def test_a_closed_tie_makes_a_loop_and_a_bus_out_of_service_takes_its_branches_along(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="loop"):
        read_pandapower(street(tmp_path, set_column("switch", 1, "closed", True)))
    grid = read_pandapower(street(tmp_path, set_column("bus", 3, "in_service", False)))
    assert {"house 2", "cable 2", "home B", "roof"} <= said(grid, "dropped")


def changed_village(tmp_path: Path, *changes: tuple[str, str, str]) -> list[Path]:
    paths = []
    for path in VILLAGE:
        text = path.read_text(encoding="utf-8")
        for part, old, new in changes:
            if part in path.name:
                assert old in text
                text = text.replace(old, new)
        paths.append(tmp_path / path.name)
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def test_cgmes_files_read_in_any_order_and_from_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in VILLAGE:
            archive.write(path, f"inner/{path.name}")
    readings = [read_cgmes(VILLAGE), read_cgmes(VILLAGE[::-1]), read_cgmes([tmp_path / "all.zip"])]
    for grid in readings:
        assert {load.name: (load.bus, load.p_kw, load.q_kvar) for load in grid.loads} == {
            "homes": ("street", 40.0, 10.0),
            "shop": ("LV bus", 20.0, 5.0),
        }
        assert [(plant.name, plant.p_kw) for plant in grid.plants] == [("roofs", 15.0)]
        assert np.isclose(grid.network.branch_r, readings[0].network.branch_r).all()
        assert not grid.findings


@pytest.mark.parametrize(
    ("change", "kind", "thing"),
    [
        (("EQ", "LimitTypeKind.patl", "LimitTypeKind.tatl"), "assumed", "cable"),
        (("EQ", "VoltageLevel.lowVoltageLimit>19.0", "VoltageLevel.lowVoltageLimit>0"), "assumed", "voltage bands"),
        (("SSH", "TapChanger.controlEnabled>false", "TapChanger.controlEnabled>true"), "dropped", "taps"),
        (("SSH", "RegulatingControl.targetValue>20.4", "RegulatingControl.targetValue>0"), "assumed", "grid above"),
        (("SSH", '"#_shop"', '"#_nobody"'), "assumed", "shop"),
        (("EQ", "cim:EnergyConsumer", "cim:LinearShuntCompensator"), "dropped", "shop"),
    ],
    ids=["no permanent limit", "no band", "controlled tap", "no target", "no power", "a capacitor"],
)
def test_each_step_away_from_cgmes_files_is_a_finding(tmp_path: Path, change: tuple[str, str, str], kind: str, thing: str) -> None:
    assert thing in said(read_cgmes(changed_village(tmp_path, change)), kind)


def test_open_terminals_and_switches_part_the_feeder(tmp_path: Path) -> None:
    """The cable's far terminal open: the street is an island, and what hangs there is left out."""
    ssh = VILLAGE[1].read_text(encoding="utf-8")
    at = ssh.index('rdf:about="#_t_l2"')
    parts = (ssh[:at], ssh[at:].replace("connected>true", "connected>false", 1))
    path = tmp_path / "SSH.xml"
    path.write_text("".join(parts), encoding="utf-8")
    grid = read_cgmes([VILLAGE[0], path, VILLAGE[2]])
    assert grid.network.bus_names == ("MV bus", "LV bus")
    assert {"cable", "street", "homes", "roofs"} <= said(grid, "dropped")


def test_a_node_breaker_model_is_fused_by_its_closed_switches(tmp_path: Path) -> None:
    """Without the TP file, by connectivity nodes: the load sits behind a breaker."""
    nodes = {"t_ext": 1, "t_tr1": 1, "t_tr2": 2, "t_l1": 2, "t_l2": 3, "t_h": 4, "t_s": 2, "t_p": 3, "t_b1": 3, "t_b2": 4}
    level = {1: "vl20", 2: "vl04", 3: "vl04b", 4: "vl04b"}
    extra = "".join(
        f'<cim:ConnectivityNode rdf:ID="_c{k}"><cim:IdentifiedObject.name>node {k}</cim:IdentifiedObject.name>'
        f'<cim:ConnectivityNode.ConnectivityNodeContainer rdf:resource="#_{name}"/></cim:ConnectivityNode>'
        for k, name in level.items()
    )
    extra += '<cim:Breaker rdf:ID="_brk"><cim:IdentifiedObject.name>breaker</cim:IdentifiedObject.name></cim:Breaker>'
    for k in (1, 2):
        extra += (
            f'<cim:Terminal rdf:ID="_t_b{k}"><cim:Terminal.ConductingEquipment rdf:resource="#_brk"/>'
            f"<cim:ACDCTerminal.sequenceNumber>{k}</cim:ACDCTerminal.sequenceNumber></cim:Terminal>"
        )
    links = "".join(
        f'<cim:Terminal rdf:about="#_{t}"><cim:Terminal.ConnectivityNode rdf:resource="#_c{n}"/></cim:Terminal>'
        for t, n in nodes.items()
    )
    for is_open in ("false", "true"):
        state = f'<cim:Breaker rdf:about="#_brk"><cim:Switch.open>{is_open}</cim:Switch.open></cim:Breaker>'
        eq = tmp_path / "EQ.xml"
        eq.write_text(
            VILLAGE[0].read_text(encoding="utf-8").replace("</rdf:RDF>", extra + links + state + "</rdf:RDF>"), encoding="utf-8"
        )
        grid = read_cgmes([eq, VILLAGE[1]])
        assert grid.network.bus_names == ("node 1", "node 2", "node 3")
        homes = [load.bus for load in grid.loads if load.name == "homes"]
        assert homes == (["node 3"] if is_open == "false" else [])


@pytest.mark.parametrize(
    "text",
    ["", "<a/>", '<!DOCTYPE x [<!ENTITY a "b">]><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>', "<rdf:RDF>"],
    ids=["empty", "other XML", "entities", "broken"],
)
def test_what_is_no_cgmes_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.xml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="CGMES"):
        read_cgmes([path])


def test_cgmes_without_files_or_nodes_or_with_words_for_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="files"):
        read_cgmes([])
    with pytest.raises(InputError, match="give the EQ file"):
        read_cgmes([VILLAGE[1]])
    with pytest.raises(InputError, match="a number"):
        read_cgmes(changed_village(tmp_path, ("EQ", "ACLineSegment.x>", "ACLineSegment.x>many ")))


def test_opendss_without_the_engine_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dss", None)
    with pytest.raises(InputError, match="walras\\[opendss\\]"):
        read_opendss(GOLDEN / "import_feeder.dss")


@pytest.mark.skipif(importlib.util.find_spec("dss") is None, reason="dss-python is not installed: pip install dss-python")
@pytest.mark.filterwarnings("ignore")
class TestOpenDss:
    """Scripts that leave what we can map."""

    def script(self, tmp_path: Path, more: str, swap: tuple[str, str] = ("", "")) -> Path:
        text = (GOLDEN / "import_feeder.dss").read_text(encoding="utf-8").replace(*swap) if swap[0] else ""
        text = text or (GOLDEN / "import_feeder.dss").read_text(encoding="utf-8")
        path = tmp_path / "case.dss"
        path.write_text(text.replace("Set VoltageBases", more + "\nSet VoltageBases"), encoding="utf-8")
        return path

    @pytest.mark.parametrize(
        ("more", "kind", "thing"),
        [
            ("New Load.single bus1=house.1 phases=1 kv=0.23 kw=2 kvar=0", "assumed", "Load.single"),
            ("New Load.heater bus1=house phases=3 kv=0.4 kw=2 kvar=0 model=2", "assumed", "Load.heater"),
            ("New Load.shaped bus1=house phases=3 kv=0.4 kw=2 kvar=0 daily=day", "dropped", "Load.shaped"),
            ("New Capacitor.bank bus1=house phases=3 kv=0.4 kvar=5", "assumed", "Capacitor.bank"),
            ("New Reactor.coil bus1=house phases=3 kv=0.4 kvar=5", "dropped", "Reactor.coil"),
            ("New Line.bare bus1=house bus2=end phases=3 r1=0.1 x1=0.1 length=0.1", "assumed", "Line.bare"),
            ("New PVSystem.sun bus1=house phases=3 kv=0.4 kva=6 pmpp=5 irradiance=0.8", "assumed", "PVSystem.sun"),
            ("New Storage.box bus1=house phases=3 kv=0.4 kwrated=5 kwhrated=10", "assumed", "Storage.box"),
            ("New RegControl.r transformer=station winding=2 vreg=120 band=2 ptratio=2", "dropped", "RegControl.r"),
            ("New Line.tie bus1=lv bus2=house linecode=main length=0.3 units=km\nOpen Line.tie 1", "dropped", "Line.tie"),
            ("New Line.off bus1=lv bus2=house linecode=main length=0.3 units=km enabled=no", "dropped", "Line.off"),
        ],
    )
    def test_each_step_away_from_a_script_is_a_finding(self, tmp_path: Path, more: str, kind: str, thing: str) -> None:
        grid = read_opendss(self.script(tmp_path, more))
        assert thing.lower() in {name.lower() for name in said(grid, kind)}

    def test_a_mesh_is_refused_and_so_is_a_broken_script(self, tmp_path: Path) -> None:
        with pytest.raises(GridError, match="loop"):
            read_opendss(self.script(tmp_path, "New Line.tie bus1=lv bus2=house linecode=main length=0.3 units=km"))
        with pytest.raises(InputError, match="a script that OpenDSS compiles"):
            read_opendss(self.script(tmp_path, "New Gizmo.x bus1=lv"))
        with pytest.raises(InputError, match="a readable file"):
            read_opendss(tmp_path / "absent.dss")

    def test_voltage_bases_follow_from_the_windings_where_the_script_sets_none(self, tmp_path: Path) -> None:
        path = self.script(tmp_path, "")
        text = path.read_text(encoding="utf-8")
        path.write_text(text[: text.index("Set VoltageBases")], encoding="utf-8")
        grid = read_opendss(path)
        assert grid.network.bus_kv.tolist() == [11.0, 0.4, 0.4, 0.4]
        assert {"lv", "street", "house"} <= said(grid, "assumed")


def test_the_commands_write_what_they_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["import", "pandapower", str(STREET), "--out", str(tmp_path)], result_action="return_value")
    app(["import", "cgmes", *map(str, VILLAGE), "--out", str(tmp_path)], result_action="return_value")
    printed = capsys.readouterr().out
    assert "dropped: tie: an open switch" in printed
    assert len(load_community(tmp_path / "import-street.toml").members) == 2
    assert len(load_community(tmp_path / "import-village.toml").members) == 2
