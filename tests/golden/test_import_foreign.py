"""Imported grids against the flows of the tools that they come from.

The figures were computed once with the tool named at each and stand here; the nightly tests compute them again where it is
installed. `import_street.json` was written by pandapower 3.5.6 (empty tables and column types taken out by hand), the OpenDSS
script and the CGMES files were written for these tests.
"""

from __future__ import annotations

import importlib
import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest

from walras.community.cgmes_file import read_cgmes
from walras.community.foreign import ForeignGrid, bus_power
from walras.community.opendss_file import read_opendss
from walras.community.pandapower_file import read_pandapower
from walras.grid import Flow, power_flow

HERE = Path(__file__).parent
VILLAGE = [HERE / f"import_village_{part}.xml" for part in ("EQ", "SSH", "TP")]
needs_opendss = pytest.mark.skipif(
    importlib.util.find_spec("dss") is None, reason="dss-python is not installed: pip install dss-python"
)


def flow_of(grid: ForeignGrid) -> Flow:
    p, q = bus_power(grid)
    return power_flow(grid.network, p, q)


def test_a_pandapower_file_flows_as_in_pandapower() -> None:
    """runpp(trafo_model="pi", tolerance_mva=1e-12) of pandapower 3.5.6."""
    grid = read_pandapower(HERE / "import_street.json")
    flow = flow_of(grid)
    assert grid.network.bus_names == ("MV", "LV", "house 1", "house 2")
    expected = [1.02, 1.045906134129824, 1.046412618901596, 1.0482134479592702]
    assert flow.v_pu[0] == pytest.approx(expected, abs=1e-9)
    assert flow.slack_p_kw[0] == pytest.approx(-3.959526451097845, abs=1e-6)
    assert flow.slack_q_kvar[0] == pytest.approx(3.992602973063146, abs=1e-6)
    loading = dict(zip(grid.network.branch_names, flow.loading[0], strict=True))
    assert 100 * loading["cable 1"] == pytest.approx(3.2580434208472018, abs=1e-6)
    assert 100 * loading["cable 2"] == pytest.approx(4.791815929539311, abs=1e-6)


def test_cgmes_files_flow_as_in_powsybl() -> None:
    """run_ac of pypowsybl 1.16.1 (open load flow), convergence 1e-12."""
    grid = read_cgmes(VILLAGE)
    flow = flow_of(grid)
    assert grid.network.bus_names == ("MV bus", "LV bus", "street")
    assert flow.v_pu[0] * grid.network.bus_kv == pytest.approx([20.4, 0.4167449867151368, 0.41458447444057206], abs=1e-9)
    assert flow.slack_p_kw[0] == pytest.approx(45.230859520943564, abs=1e-6)
    assert flow.slack_q_kvar[0] == pytest.approx(15.366066782278203, abs=1e-6)
    assert grid.network.branch_rating.tolist() == pytest.approx([250.0, 250.0])
    assert grid.network.v_max_pu == pytest.approx([1.05, 1.075, 1.075])
    assert grid.network.branch_tap[0] == pytest.approx(0.975)


@needs_opendss
@pytest.mark.filterwarnings("ignore")
def test_an_opendss_script_flows_as_in_opendss() -> None:
    """Solve of the engine 0.14.5 with tolerance 1e-10; 1e-4 pu apart, because it has the no-load current at the last winding."""
    grid = read_opendss(HERE / "import_feeder.dss")
    flow = flow_of(grid)
    assert grid.network.bus_names == ("source", "lv", "street", "house")
    assert flow.v_pu[0] == pytest.approx([1.02, 1.0423585384, 1.0281312588, 1.0264916175], abs=1e-4)
    assert flow.slack_p_kw[0] == pytest.approx(42.0512378, abs=1e-3)
    assert flow.slack_q_kvar[0] == pytest.approx(12.30740698, abs=2e-3)
    assert grid.network.branch_rating.tolist() == [250.0, 270.0, 120.0]
    assert [(load.name, load.p_kw, load.q_kvar) for load in grid.loads] == [("Load.homes", 36, 9), ("Load.house", 11, 3)]


@needs_opendss
@pytest.mark.filterwarnings("ignore")
def test_without_no_load_current_opendss_and_we_agree_to_a_millionth(tmp_path: Path) -> None:
    script = tmp_path / "bare.dss"
    text = (HERE / "import_feeder.dss").read_text(encoding="utf-8")
    script.write_text(text.replace("%noloadloss=0.15 %imag=0.3", "%noloadloss=0 %imag=0"), encoding="utf-8")
    flow = flow_of(read_opendss(script))
    engine = importlib.import_module("dss").DSS.NewContext()
    engine.AllowChangeDir = False
    engine.Text.Command = f'compile "{script}"'
    circuit = engine.ActiveCircuit
    circuit.Solution.Tolerance, circuit.Solution.MaxIterations = 1e-10, 100
    circuit.Solution.Solve()
    theirs = np.array(circuit.AllBusVmagPu).reshape(-1, 3).mean(axis=1)
    assert flow.v_pu[0] == pytest.approx(theirs, abs=1e-6)
    assert flow.slack_p_kw[0] == pytest.approx(-circuit.TotalPower[0], abs=1e-3)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_pandapower_says_the_same_today() -> None:
    pandapower = pytest.importorskip("pandapower", reason="pandapower is not installed: pip install pandapower")
    net = pandapower.from_json(str(HERE / "import_street.json"))
    pandapower.runpp(net, trafo_model="pi", tolerance_mva=1e-12, max_iteration=50, numba=False)
    flow = flow_of(read_pandapower(HERE / "import_street.json"))
    assert flow.v_pu[0] == pytest.approx(net.res_bus.vm_pu.to_numpy()[:4], abs=1e-9)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["create_cigre_network_lv", "create_kerber_landnetz_kabel_1", "create_kerber_dorfnetz"])
def test_pandapowers_own_reference_feeders_flow_the_same(name: str, tmp_path: Path) -> None:
    """CIGRE low voltage (three feeders, switches) and two Kerber rural networks, as pandapower ships them."""
    pandapower = pytest.importorskip("pandapower", reason="pandapower is not installed: pip install pandapower")
    networks = importlib.import_module("pandapower.networks")
    net = getattr(networks, name)()
    pandapower.to_json(net, str(tmp_path / "net.json"))
    pandapower.runpp(net, trafo_model="pi", tolerance_mva=1e-11, max_iteration=50, numba=False)
    grid = read_pandapower(tmp_path / "net.json")
    flow = flow_of(grid)
    names = [str(value) for value in net.bus.name]
    theirs = {bus: v for bus, v in zip(names, net.res_bus.vm_pu, strict=True) if names.count(bus) == 1}
    ours = dict(zip(grid.network.bus_names, flow.v_pu[0], strict=True))
    shared = [bus for bus in ours if bus in theirs]
    assert len(shared) > 10
    assert [ours[bus] for bus in shared] == pytest.approx([theirs[bus] for bus in shared], abs=1e-6)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_powsybl_says_the_same_today(tmp_path: Path) -> None:
    powsybl = pytest.importorskip("pypowsybl", reason="pypowsybl is not installed: pip install pypowsybl")
    loadflow = importlib.import_module("pypowsybl.loadflow")
    with zipfile.ZipFile(tmp_path / "village.zip", "w") as archive:
        for path in VILLAGE:
            archive.write(path, path.name)
    net = powsybl.network.load(str(tmp_path / "village.zip"))
    options = {"slackBusSelectionMode": "NAME", "newtonRaphsonConvEpsPerEq": "1e-12", "slackBusesIds": net.get_buses().index[0]}
    loadflow.run_ac(net, loadflow.Parameters(distributed_slack=False, provider_parameters=options))
    flow = flow_of(read_cgmes([tmp_path / "village.zip"]))
    ours = flow.v_pu[0] * np.array([20.0, 0.4, 0.4])
    assert ours == pytest.approx(net.get_buses().v_mag.to_numpy(), abs=1e-8)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_what_powsybl_writes_as_cgmes_flows_as_it_did_there(tmp_path: Path) -> None:
    """Taps by table, the largest float for "no rated power", the grid above as a machine without priority."""
    powsybl = pytest.importorskip("pypowsybl", reason="pypowsybl is not installed: pip install pypowsybl")
    pandas, loadflow = importlib.import_module("pandas"), importlib.import_module("pypowsybl.loadflow")
    net = powsybl.network.create_empty()
    net.create_substations(id=["S1", "S2"])
    net.create_voltage_levels(
        id=["V1", "V2", "V3"], substation_id=["S1", "S1", "S2"], topology_kind=["BUS_BREAKER"] * 3, nominal_v=[20.0, 0.4, 0.4]
    )
    net.create_buses(id=["B1", "B2", "B3"], voltage_level_id=["V1", "V2", "V3"])
    net.create_2_windings_transformers(
        id="T", voltage_level1_id="V1", bus1_id="B1", voltage_level2_id="V2", bus2_id="B2", rated_u1=20.0, rated_u2=0.4,
        rated_s=0.4, r=0.008, x=0.025, g=0.0, b=0.0,
    )  # fmt: skip
    changer = {"id": "T", "target_deadband": 2.0, "target_v": 0.4, "oltc": False, "low_tap": 0, "tap": 0, "regulating": False}
    steps = [{"id": "T", "b": 0.0, "g": 0.0, "r": 0.0, "x": 0.0, "rho": rho} for rho in (1.025, 1.0, 0.975)]
    net.create_ratio_tap_changers(pandas.DataFrame([changer]).set_index("id"), pandas.DataFrame(steps).set_index("id"))
    net.create_lines(
        id="L", voltage_level1_id="V2", bus1_id="B2", voltage_level2_id="V3", bus2_id="B3", r=0.05, x=0.02, g1=0.0, b1=1e-5, g2=0.0,
        b2=1e-5,
    )  # fmt: skip
    net.create_loads(id="D", voltage_level_id="V3", bus_id="B3", p0=0.06, q0=0.02)
    net.create_loads(id="E", voltage_level_id="V2", bus_id="B2", p0=0.03, q0=0.01)
    net.create_generators(
        id="G", voltage_level_id="V1", bus_id="B1", target_p=0.1, min_p=0, max_p=10, target_v=20.2, voltage_regulator_on=True
    )
    options = {"slackBusSelectionMode": "NAME", "newtonRaphsonConvEpsPerEq": "1e-12", "slackBusesIds": "V1_0"}
    loadflow.run_ac(net, loadflow.Parameters(distributed_slack=False, provider_parameters=options))
    net.save(str(tmp_path / "net.zip"), format="CGMES")
    with zipfile.ZipFile(tmp_path / "net.zip") as archive:
        archive.extractall(tmp_path)
    for paths in ([tmp_path / "net.zip"], [tmp_path / f"net_{part}.xml" for part in ("EQ", "SSH", "TP")]):
        grid = read_cgmes(paths)
        flow = flow_of(grid)
        assert flow.v_pu[0] * grid.network.bus_kv == pytest.approx(net.get_buses().v_mag.to_numpy(), abs=1e-8)
        assert flow.slack_p_kw[0] == pytest.approx(1e3 * net.get_2_windings_transformers().p1.iloc[0], abs=1e-5)
        assert [finding.thing for finding in grid.findings] == ["voltage bands", "L", "G"]
