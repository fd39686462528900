"""Violations: exactly the entries of a flow beyond a limit, and none on the limit itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from grid_cases import feeder
from walras.grid import KIND_NAMES, find_violations, power_flow


def test_violations_are_what_a_plain_loop_finds() -> None:
    network = feeder().network(v_min_pu=0.99, v_max_pu={"home4": 1.03, "home3": 1.04})
    network = dataclasses.replace(network, branch_rating=network.branch_rating / 2)
    rng = np.random.default_rng(3)
    flow = power_flow(network, rng.uniform(-60, 60, (40, 7)) + rng.uniform(-10, 10, (40, 1)))
    found = find_violations(network, flow)
    expected = []
    for slot in range(40):
        for k in range(network.branches):
            if flow.loading[slot, k] > 1.0001:
                expected.append((slot, 0 if network.branch_kind[k] == 0 else 1, k))
        for bus in range(network.buses):
            if bus != network.root:
                if flow.v_pu[slot, bus] < network.v_min_pu[bus] - 1e-6:
                    expected.append((slot, 2, bus))
                if flow.v_pu[slot, bus] > network.v_max_pu[bus] + 1e-6:
                    expected.append((slot, 3, bus))
    rows = list(zip(found.slot.tolist(), found.kind.tolist(), found.index.tolist(), strict=True))
    assert rows == sorted(expected)
    assert {kind for _, kind, _ in rows} == {0, 1, 2, 3}
    assert (found.excess > 0).all()
    assert all(KIND_NAMES[int(found.kind[row])] in found.describe(network, row) for row in range(len(found)))


@pytest.mark.parametrize(("factor", "count"), [(1.0, 0), (1 - 0.5e-4, 0), (1 - 2e-4, 1)])
def test_the_limit_itself_is_kept_and_a_little_beyond_is_broken(factor: float, count: int) -> None:
    network = feeder().network()
    p = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 40.0])
    loading = power_flow(network, p).loading[0]
    ratings = network.branch_rating.copy()
    ratings[1] *= loading[1] * factor
    tight = dataclasses.replace(network, branch_rating=ratings)
    found = find_violations(tight, power_flow(tight, p))
    assert [network.branch_names[k] for k in found.index] == ["cable0"] * count


def test_the_root_is_not_judged() -> None:
    network = feeder(slack_v_pu=1.09).network(v_max_pu={"mv": 1.05})
    assert len(find_violations(network, power_flow(network, np.zeros(7)))) == 0
