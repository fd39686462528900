"""Reads a circuit that an OpenDSS script describes: the engine itself reads the script, we read the elements out of it.

Needs the extra (`pip install 'walras[opendss]'`, dss-python, BSD). The script is run as far as it goes; nothing is solved
here, taps stand as written. OpenDSS is unbalanced and three-phase, our network is its balanced equivalent: a line is its
positive sequence, (mean of the diagonal) - (mean off the diagonal) of its matrices; a one- or two-phase element is taken
as balanced, which is a finding. A source holds its voltage; its short-circuit impedance is left out. Loads are constant
power, capacitors constant reactive power.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from walras.community.foreign import Draft, ForeignGrid, ForeignLoad, ForeignPlant, ForeignStorage, assemble
from walras.errors import Fault, InputError
from walras.grid import Line, Transformer

KM_PER_UNIT = {1: 1.609344, 2: 0.3048, 3: 1.0, 4: 1e-3, 5: 3.048e-4, 6: 2.54e-5, 7: 1e-5, 8: 1e-6}
"""Length units by OpenDSS's code: mile, 1000 ft, km, m, ft, inch, cm, mm."""

MAPPED = {"vsource", "line", "transformer", "load", "generator", "pvsystem", "storage", "capacitor"}
SILENT = {"energymeter", "monitor", "sensor", "fuse", "relay", "recloser", "swtcontrol"}


def read_opendss(path: str | Path) -> ForeignGrid:
    """The grid of an OpenDSS script. InputError where the engine is absent or refuses the script."""
    path = Path(path)
    circuit = _compiled(path)
    sources = list(circuit.Vsources)
    draft = Draft(path.stem, path.name)
    root_kv = 1.0
    for source in sources:
        if _enabled(circuit):
            draft.frequency_hz, root_kv = float(source.Frequency), float(source.BasekV)
            draft.roots.append((_bus(circuit, 0), float(source.pu)))
            draft.note("dropped", f"Vsource.{source.Name}", "its short-circuit impedance: the voltage is held at its bus")
    _lines(draft, circuit)
    _transformers(draft, circuit)
    _base_voltages(draft, circuit, root_kv)
    _power(draft, circuit)
    for name in circuit.AllElementNames:
        kind = name.split(".")[0].lower()
        circuit.SetActiveElement(name)
        if not _enabled(circuit):
            draft.note("dropped", name, "disabled")
        elif kind == "regcontrol":
            draft.note("dropped", name, "the control: the tap stands as in the script")
        elif kind not in MAPPED | SILENT:
            draft.note("dropped", name, f"a {kind} has no counterpart in a balanced radial network")
    return assemble(draft)


def _compiled(path: Path) -> Any:
    """The engine's circuit, in an engine of its own."""
    try:
        module = importlib.import_module("dss")
    except ImportError as cause:
        fault = Fault("OpenDSS", "engine", "absent", "the package dss-python")
        raise InputError("OpenDSS", [fault], way_out="pip install 'walras[opendss]'") from cause
    if not path.is_file():
        raise InputError("OpenDSS script", [Fault(str(path), "path", str(path), "a readable file")])
    engine = module.DSS.NewContext()
    engine.AllowForms, engine.AllowEditor, engine.AllowChangeDir = False, False, False
    try:
        engine.Text.Command = f'compile "{path.resolve()}"'
        if engine.NumCircuits:
            engine.Text.Command = "MakeBusList"
    except module.DSSException as cause:
        fault = Fault(path.name, "script", " ".join(str(cause).split())[:300], "a script that OpenDSS compiles")
        raise InputError("OpenDSS script", [fault]) from cause
    if not engine.NumCircuits:
        raise InputError("OpenDSS script", [Fault(path.name, "circuit", "absent", "New Circuit.NAME ...")])
    return engine.ActiveCircuit


def _enabled(circuit: Any) -> bool:
    return bool(circuit.ActiveCktElement.Enabled)


def _bus(circuit: Any, terminal: int) -> str:
    return str(circuit.ActiveCktElement.BusNames[terminal]).split(".")[0]


def _property(circuit: Any, name: str) -> float:
    return float(circuit.ActiveCktElement.Properties(name).Val)


def _open(draft: Draft, circuit: Any, name: str) -> bool:
    """True for what is disabled or has an open terminal (noted)."""
    element = circuit.ActiveCktElement
    if not element.Enabled:
        draft.note("dropped", name, "disabled")
        return True
    if any(element.IsOpen(terminal + 1, 0) for terminal in range(element.NumTerminals)):
        draft.note("dropped", name, "an open terminal")
        return True
    return False


def _balanced(draft: Draft, circuit: Any, name: str) -> None:
    phases = int(circuit.ActiveCktElement.NumPhases)
    if phases != 3:
        draft.note("assumed", name, f"{phases}-phase, taken as balanced three-phase of the same power or impedance")


def _sequence(values: Any) -> float:
    """Positive sequence of a symmetric matrix: mean of the diagonal less mean off it."""
    matrix = np.asarray(values, dtype=np.float64)
    n = math.isqrt(matrix.size)
    matrix = matrix.reshape(n, n)
    diagonal = float(np.trace(matrix)) / n
    return diagonal - (float(matrix.sum()) - n * diagonal) / (n * (n - 1)) if n > 1 else diagonal


def _lines(draft: Draft, circuit: Any) -> None:
    for line in circuit.Lines:
        name = f"Line.{line.Name}"
        if _open(draft, circuit, name):
            continue
        _balanced(draft, circuit, name)
        km = KM_PER_UNIT.get(int(line.Units), 0.0)
        if not km:
            draft.note("assumed", name, "no unit of length is given: its length is read as km")
            km = 1.0
        draft.lines.append(
            Line(
                name=name,
                from_bus=_bus(circuit, 0),
                to_bus=_bus(circuit, 1),
                length_km=float(line.Length) * km,
                r_ohm_per_km=max(_sequence(line.Rmatrix), 0.0) / km,
                x_ohm_per_km=max(_sequence(line.Xmatrix), 0.0) / km,
                c_nf_per_km=max(_sequence(line.Cmatrix), 0.0) / km,
                max_i_ka=float(line.NormAmps) / 1e3 if line.NormAmps > 0 else math.inf,
            )
        )


def _transformers(draft: Draft, circuit: Any) -> None:
    for unit in circuit.Transformers:
        name = f"Transformer.{unit.Name}"
        if _open(draft, circuit, name):
            continue
        if unit.NumWindings != 2:
            draft.note("dropped", name, f"{unit.NumWindings} windings: only two fit")
            continue
        _balanced(draft, circuit, name)
        windings = []
        for number in (1, 2):
            unit.Wdg = number
            windings.append((float(unit.kV), float(unit.Tap), float(unit.R), bool(unit.IsDelta), _bus(circuit, number - 1)))
        if _property(circuit, "%noloadloss") or _property(circuit, "%imag"):
            draft.note("assumed", name, "half of its no-load current flows at each end; OpenDSS has all of it at the last winding")
        high, low = sorted(windings, key=lambda winding: -winding[0])
        kva = float(unit.kVA)
        draft.transformers.append(
            Transformer(
                name=name,
                hv_bus=high[4],
                lv_bus=low[4],
                sn_kva=kva,
                hv_kv=high[0],
                lv_kv=low[0] * low[1],
                vk_percent=math.hypot(float(unit.Xhl), high[2] + low[2]),
                vkr_percent=high[2] + low[2],
                pfe_kw=_property(circuit, "%noloadloss") / 100 * kva,
                i0_percent=math.hypot(_property(circuit, "%imag"), _property(circuit, "%noloadloss")),
                tap_pos=1.0 if high[1] != 1 else 0.0,
                tap_step_percent=(high[1] - 1) * 100,
                shift_degree=30.0 if high[3] != low[3] else 0.0,
            )
        )


def _base_voltages(draft: Draft, circuit: Any, root_kv: float) -> None:
    """Nominal line-to-line kV: the circuit's voltage bases, else what the source and the windings say."""
    for name in circuit.AllBusNames:
        base = float(circuit.Buses(name).kVBase) * math.sqrt(3)
        draft.buses[name] = round(base, 6)
    known = {bus: root_kv for bus, _ in draft.roots} | {bus: kv for bus, kv in draft.buses.items() if kv > 0}
    pending = True
    while pending:
        pending = False
        ends = [(x.from_bus, x.to_bus, 1.0, 1.0) for x in draft.lines]
        ends += [(x.hv_bus, x.lv_bus, x.hv_kv, x.lv_kv) for x in draft.transformers]
        for a, b, kv_a, kv_b in ends:
            for one, other, ratio in ((a, b, kv_b / kv_a), (b, a, kv_a / kv_b)):
                if one in known and other not in known:
                    known[other] = round(known[one] * ratio, 6)
                    pending = True
    for bus in draft.buses:
        if draft.buses[bus] <= 0:
            draft.buses[bus] = known.get(bus, root_kv)
            draft.note("assumed", bus, f"no voltage base in the script: {draft.buses[bus]:g} kV by its neighbours")
        location = circuit.Buses(bus)
        if location.Coorddefined:
            draft.positions[bus] = (float(location.x), float(location.y))


def _power(draft: Draft, circuit: Any) -> None:
    for load in circuit.Loads:
        name = f"Load.{load.Name}"
        if _open(draft, circuit, name):
            continue
        _balanced(draft, circuit, name)
        if load.Model != 1:
            draft.note("assumed", name, f"voltage model {load.Model}, taken as constant power")
        if load.daily or load.Yearly:
            draft.note("dropped", name, f"its load shape {load.Yearly or load.daily}: power at the script's moment")
        draft.loads.append(ForeignLoad(name, _bus(circuit, 0), float(load.kW), float(load.kvar)))
    for plant in circuit.Generators:
        name = f"Generator.{plant.Name}"
        if not _open(draft, circuit, name):
            _balanced(draft, circuit, name)
            size = _property(circuit, "kVA") or float(plant.kW)
            draft.plants.append(ForeignPlant(name, _bus(circuit, 0), float(plant.kW), float(plant.kvar), size))
    for plant in circuit.PVSystems:
        name = f"PVSystem.{plant.Name}"
        if not _open(draft, circuit, name):
            _balanced(draft, circuit, name)
            draft.note("assumed", name, "power = Pmpp * irradiance; its inverter and temperature curves are left out")
            p = float(plant.Pmpp) * float(plant.Irradiance)
            draft.plants.append(ForeignPlant(name, _bus(circuit, 0), p, 0.0, float(plant.Pmpp)))
    for unit in circuit.Storages:
        name = f"Storage.{unit.Name}"
        if not _open(draft, circuit, name):
            _balanced(draft, circuit, name)
            each_way = math.sqrt(_property(circuit, "%EffCharge") * _property(circuit, "%EffDischarge")) / 100
            draft.note("assumed", name, "idle at the script's moment")
            draft.storages.append(
                ForeignStorage(name, _bus(circuit, 0), _property(circuit, "kWhrated"), _property(circuit, "kWrated"), each_way)
            )
    for bank in circuit.Capacitors:
        name = f"Capacitor.{bank.Name}"
        if not _open(draft, circuit, name):
            draft.note("assumed", name, f"{float(bank.kvar):g} kvar at any voltage")
            draft.loads.append(ForeignLoad(name, _bus(circuit, 0), 0.0, -float(bank.kvar)))
