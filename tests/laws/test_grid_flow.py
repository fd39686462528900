"""Power flow: equal to power-grid-model on random trees, energy balances, a batch is its slots one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from grid_cases import Tables, angle_gap, feeder, pgm_solve, random_tables
from walras.errors import GridError
from walras.grid import power_flow


def powers(tables: Tables, seed: int, kw: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = len(tables.buses)
    return rng.uniform(-kw, kw, n), rng.uniform(-kw / 3, kw / 3, n)


@settings(max_examples=60, deadline=None)
@given(random_tables(), st.integers(0, 2**32), st.sampled_from([0.0, 3.0, 30.0]))
def test_flow_equals_power_grid_model_on_random_trees(tables: Tables, seed: int, kw: float) -> None:
    p, q = powers(tables, seed, kw)
    try:
        flow = power_flow(tables.network(), p, q)
    except GridError:
        assume(False)
    twin = pgm_solve(tables, p, q)
    network = tables.network()
    assert np.abs(flow.v_pu[0] - twin["v_pu"]).max() < 1e-9
    assert angle_gap(flow.angle_rad[0], twin["angle_rad"]) < 1e-9
    assert abs(flow.slack_p_kw[0] - twin["slack_p_kw"]) < 1e-6
    assert abs(flow.slack_q_kvar[0] - twin["slack_q_kvar"]) < 1e-6
    for name, loading in twin["loading"].items():
        assert abs(flow.loading[0, network.branch_index[name]] - loading) < 1e-8


@settings(max_examples=40, deadline=None)
@given(random_tables(), st.integers(0, 2**32))
def test_what_the_root_delivers_is_what_the_buses_take_plus_losses(tables: Tables, seed: int) -> None:
    p, q = powers(tables, seed, 10.0)
    flow = power_flow(tables.network(), p, q)
    assert abs(flow.slack_p_kw[0] - p.sum() - flow.losses_kw[0]) < 1e-6
    assert flow.losses_kw[0] >= -1e-12


def test_a_batch_is_exactly_its_slots_one_by_one() -> None:
    tables = feeder()
    rng = np.random.default_rng(1)
    p, q = rng.uniform(-20, 20, (50, 7)), rng.uniform(-5, 5, (50, 7))
    network = tables.network()
    batch = power_flow(network, p, q)
    for slot in (0, 17, 49):
        one = power_flow(network, p[slot], q[slot])
        assert np.array_equal(one.v_pu[0], batch.v_pu[slot])
        assert np.array_equal(one.loading[0], batch.loading[slot])
        assert one.slack_p_kw[0] == batch.slack_p_kw[slot]


@settings(max_examples=20, deadline=None)
@given(random_tables(), st.randoms(use_true_random=False), st.integers(0, 2**32))
def test_the_order_of_the_tables_does_not_matter(tables: Tables, shuffle: object, seed: int) -> None:
    p, q = powers(tables, seed, 5.0)
    lines, trafos, names = list(tables.lines), list(tables.transformers), list(tables.buses)
    for rows in (lines, trafos, names):
        shuffle.shuffle(rows)  # type: ignore[attr-defined]
    other = Tables({name: tables.buses[name] for name in names}, lines, trafos, tables.root, tables.slack_v_pu)
    place = [list(tables.buses).index(name) for name in names]
    first = power_flow(tables.network(), p, q)
    second = power_flow(other.network(), p[place], q[place])
    assert np.abs(first.v_pu[0][place] - second.v_pu[0]).max() < 1e-10
