"""A hand-made feeder with a SimBench transformer: power-grid-model's voltages, taps that really move them, merged parallels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grid_cases import TRAFO_160, NAYY_4x150, Tables, angle_gap, feeder, pgm_solve
from walras.grid import Line, Transformer, build_network, power_flow

P_KW = np.array([0.0, 5.0, 10.0, -8.0, 12.0, 20.0, 6.0])
Q_KVAR = np.array([0.0, 1.0, 2.0, 0.0, -3.0, 4.0, 1.0])


@pytest.mark.parametrize("side", ["hv", "lv"])
@pytest.mark.parametrize("position", [-2, -1, 0, 1, 2])
def test_every_tap_position_equals_power_grid_model(side: str, position: int) -> None:
    tables = feeder(tap_pos=position, tap_side=side)
    flow, twin = power_flow(tables.network(), P_KW, Q_KVAR), pgm_solve(tables, P_KW, Q_KVAR)
    assert np.abs(flow.v_pu[0] - twin["v_pu"]).max() < 1e-10
    assert angle_gap(flow.angle_rad[0], twin["angle_rad"]) < 1e-10
    assert abs(flow.slack_p_kw[0] - twin["slack_p_kw"]) < 1e-7


def test_a_tap_step_on_the_high_voltage_side_lowers_the_low_voltage() -> None:
    v = [power_flow(feeder(tap_pos=tap).network(), np.zeros(7)).v_pu[0, 1] for tap in (-1, 0, 1)]
    assert v[0] == pytest.approx(1.025 / 0.975, abs=1e-3)
    assert v[1] == pytest.approx(1.025, abs=1e-3)
    assert v[2] == pytest.approx(1.025 / 1.025, abs=1e-3)
    raised = power_flow(feeder(tap_pos=1, tap_side="lv").network(), np.zeros(7)).v_pu[0, 1]
    assert raised == pytest.approx(1.025 * 1.025, abs=1e-3)


def test_one_resistive_line_has_its_closed_form() -> None:
    """10 kW over 0.16 ohm at 0.4 kV: v^2 - v + r p = 0 with r p = 0.01 pu."""
    net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.02)], root="a")
    flow = power_flow(net, [0.0, 10.0])
    v = (1 + math.sqrt(1 - 4 * 0.01)) / 2
    assert flow.v_pu[0, 1] == pytest.approx(v, abs=1e-11)
    amps = 10e3 / (math.sqrt(3) * 400 * v)
    assert flow.loading[0, 0] == pytest.approx(amps / 20.0, abs=1e-9)
    assert flow.losses_kw[0] == pytest.approx(3 * amps**2 * 0.16 / 1e3, abs=1e-9)


def test_a_transformer_fed_from_its_low_voltage_side_is_the_same_machine() -> None:
    """A step-up transformer: parent on the low-voltage side; the twin does not care which side is the root."""
    buses = {"lv": 0.4, "mv": 20.0, "far": 20.0}
    trafo = Transformer("up", "mv", "lv", tap_pos=2, **TRAFO_160)  # type: ignore[arg-type]
    tables = Tables(buses, [Line("mvline", "mv", "far", 2.0, 0.3, 0.12, 200.0, 0.3)], [trafo], "lv", 1.01)
    p, q = np.array([0.0, 15.0, 60.0]), np.array([0.0, 5.0, -10.0])
    flow, twin = power_flow(tables.network(), p, q), pgm_solve(tables, p, q)
    assert np.abs(flow.v_pu[0] - twin["v_pu"]).max() < 1e-10
    assert angle_gap(flow.angle_rad[0], twin["angle_rad"]) < 1e-10
    assert flow.loading[0, 0] == pytest.approx(twin["loading"]["up"], abs=1e-9)


def test_parallel_branches_merge_into_what_they_are_together() -> None:
    """Two cables of unequal impedance and two equal transformers against power-grid-model, which keeps them apart."""
    buses = {"mv": 20.0, "lv": 0.4, "home": 0.4}
    cables = [
        Line("thick", "lv", "home", 0.2, **NAYY_4x150),
        Line("thin", "home", "lv", 0.25, 0.6, 0.09, 500.0, 0.1),
    ]
    trafos = [Transformer(f"t{i}", "mv", "lv", tap_pos=1, **TRAFO_160) for i in (1, 2)]  # type: ignore[arg-type]
    tables = Tables(buses, cables, trafos, "mv", 1.02)
    network = tables.network()
    assert network.branch_names == ("t1+t2", "thick+thin")
    p, q = np.array([0.0, 30.0, 60.0]), np.array([0.0, 3.0, 12.0])
    flow, twin = power_flow(network, p, q), pgm_solve(tables, p, q)
    assert np.abs(flow.v_pu[0] - twin["v_pu"]).max() < 1e-10
    assert flow.loading[0, 0] == pytest.approx(twin["loading"]["t1"], abs=1e-9)
    # charging current splits a little differently from the series current, hence not exactly equal
    assert flow.loading[0, 1] == pytest.approx(max(twin["loading"]["thick"], twin["loading"]["thin"]), abs=1e-4)
