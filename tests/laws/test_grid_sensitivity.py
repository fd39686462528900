"""Sensitivities: equal to central finite differences of the AC power flow, for every bus and every quantity."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from grid_cases import Tables, feeder, random_tables
from walras.errors import GridError
from walras.grid import Flow, power_flow
from walras.grid.sensitivity import sensitivities

STEP_KW = 0.01


def differences(tables: Tables, p: np.ndarray, q: np.ndarray) -> tuple[Flow, Flow]:
    """Flows at a step up (first rows) and down (last rows) of each bus, of p and of q."""
    network = tables.network()
    steps = np.eye(network.buses) * STEP_KW
    both = np.concatenate([steps, -steps])
    by_p = power_flow(network, p + both, np.broadcast_to(q, both.shape))
    by_q = power_flow(network, np.broadcast_to(p, both.shape), q + both)
    return by_p, by_q


@settings(max_examples=40, deadline=None)
@given(random_tables(max_buses=9), st.integers(0, 2**32), st.sampled_from([1.0, 10.0]))
def test_every_sensitivity_equals_a_central_difference(tables: Tables, seed: int, kw: float) -> None:
    network = tables.network()
    n = network.buses
    rng = np.random.default_rng(seed)
    p, q = rng.uniform(-kw, kw, n), rng.uniform(-kw / 3, kw / 3, n)
    try:
        flows = differences(tables, p, q)
    except GridError:
        assume(False)
    at = sensitivities(network, p, q)
    centre = power_flow(network, p, q)
    for by, flow in enumerate(flows):
        slack = (flow.slack_p_kw[:n] - flow.slack_p_kw[n:]) / (2 * STEP_KW)
        assert np.abs(at.slack_power()[by] - slack).max() < 2e-6
        for bus in range(n):
            v = (flow.v_pu[:n, bus] - flow.v_pu[n:, bus]) / (2 * STEP_KW)
            assert np.abs(at.voltage(bus)[by] - v).max() < 1e-7
        for branch in range(network.branches):
            if centre.loading[0, branch] > 0.02:  # the magnitude has a kink at zero
                loading = (flow.loading[:n, branch] - flow.loading[n:, branch]) / (2 * STEP_KW)
                assert np.abs(at.loading(branch)[by] - loading).max() < 2e-5


def test_power_at_the_root_costs_no_losses_and_moves_no_voltage() -> None:
    network = feeder().network()
    at = sensitivities(network, np.full(7, 5.0), np.zeros(7))
    assert at.slack_power()[0][network.root] == 1.0
    assert at.voltage(3)[0][network.root] == 0.0
    assert at.voltage(network.root)[0].tolist() == [0.0] * 7
