"""The dual simplex of the clearing: the optimum of every elastic program, from any start, as HiGHS finds it."""

from __future__ import annotations

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.grid.simplex import BALANCE_FACTOR, NO_START, OPTIMAL, TIE_HAIR, Matrix, cold_start, solve_rows

PENALTY = 1e6


class Program:
    """A random program by place: `own` rows count the order itself, some limits cannot be kept, some prices are negative."""

    def __init__(self, seed: int, orders: int, places: int, limits: int, counted: int) -> None:
        rng = np.random.default_rng(seed)
        self.side = rng.choice([-1.0, 1.0], orders)
        self.place = rng.integers(0, places, orders)
        self.cost = -self.side * rng.integers(-50, 300, orders) * 1000.0
        self.upper = rng.uniform(0, 5, orders) * (rng.random(orders) < 0.9)
        self.by_place = np.concatenate([rng.uniform(0.9, 1.1, (1, places)), rng.uniform(-1, 1, (limits, places))])
        self.own_row = 1 + rng.choice(limits, counted, replace=False)
        self.own = rng.uniform(-1, 1, (counted, orders))
        self.right = np.append(rng.uniform(-2, 2), rng.uniform(-2, 3, limits))

    def rows(self) -> np.ndarray:
        dense = self.by_place[:, self.place] * self.side
        dense[self.own_row] += self.own
        return dense

    def solve(self, start: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, int]:
        matrix = Matrix(self.side, self.place, self.by_place, self.own_row, self.own)
        return solve_rows(self.cost, matrix, self.right, self.upper, PENALTY, start, 5000)  # type: ignore[no-any-return]

    def value(self, x: np.ndarray) -> float:
        """Cost with what is not kept bought at the penalty."""
        gap = self.rows() @ x - self.right
        return float(self.cost @ x + PENALTY * (BALANCE_FACTOR * abs(gap[0]) + np.maximum(gap[1:], 0).sum()))

    def highs(self) -> float:
        """The optimum by HiGHS, the elastic columns written out."""
        m, n = self.by_place.shape[0], self.cost.size
        elastic = np.zeros((m, m + 1))
        elastic[0, :2] = 1.0, -1.0
        elastic[np.arange(1, m), np.arange(2, m + 1)] = -1.0
        rows = np.concatenate([self.rows(), elastic], axis=1)
        cost = np.concatenate([self.cost, [BALANCE_FACTOR * PENALTY] * 2, np.full(m - 1, PENALTY)])
        total, inf = n + m + 1, highspy.kHighsInf
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("threads", 1)
        lower = np.full(m, -inf)
        lower[0] = self.right[0]
        start, index = np.arange(0, m * total, total, dtype=np.int32), np.tile(np.arange(total, dtype=np.int32), m)
        upper, whole = np.append(self.upper, np.full(m + 1, inf)), np.zeros(total, dtype=np.int32)
        solver.passModel(
            total, m, m * total, 2, 1, 0.0, cost, np.zeros(total), upper, lower, self.right, start, index, rows.ravel(), whole
        )
        solver.run()
        assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        return float(solver.getInfo().objective_function_value)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 8), st.integers(0, 6), st.integers(0, 2))
def test_the_optimum_is_that_of_highs_and_the_multipliers_prove_it(
    seed: int, orders: int, places: int, limits: int, counted: int
) -> None:
    program = Program(seed, orders, places, limits, min(counted, limits))
    status, x, multipliers, basis, _ = program.solve(cold_start(1 + limits, -1))
    assert status == OPTIMAL
    assert ((x >= 0) & (x <= program.upper)).all()
    hair = TIE_HAIR * float(program.upper.sum()) + 1e-3
    assert abs(program.value(x) - program.highs()) <= hair
    reduced = program.cost - multipliers @ program.rows()
    bound = float(multipliers @ program.right + np.minimum(reduced, 0.0) @ program.upper)
    assert (multipliers[1:] <= 1e-6).all()
    assert (multipliers[1:] >= -PENALTY * (1 + 1e-9)).all()
    assert abs(program.value(x) - bound) <= hair  # no solution is better than what the multipliers allow
    again = program.solve(basis)
    assert again[0] == OPTIMAL
    assert again[4] == 0  # its own basis is an optimal start
    assert again[1] == pytest.approx(x, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 200), st.integers(1, 5), st.sampled_from([0.02, 0.4]))
def test_a_start_from_a_program_nearby_leads_to_the_same_optimum(seed: int, orders: int, limits: int, far: float) -> None:
    """Gradients, bounds and right-hand sides moved, and a limit more: from the old basis as from scratch, or it says no."""
    program = Program(seed, orders, 6, limits, 0)
    basis = program.solve(cold_start(1 + limits, -1))[3]
    rng = np.random.default_rng(seed + 1)
    program.by_place = np.append(program.by_place + rng.uniform(-far, far, program.by_place.shape), rng.uniform(-1, 1, (1, 6)), 0)
    program.right = np.append(program.right + rng.uniform(-0.5, 0.5, 1 + limits), rng.uniform(-1, 2))
    program.upper = program.upper * rng.uniform(0.8, 1.2, orders)
    start = cold_start(2 + limits, -1)
    start[: basis.size] = basis
    warm, cold = program.solve(start), program.solve(cold_start(2 + limits, -1))
    assert cold[0] == OPTIMAL
    if warm[0] != NO_START:
        assert warm[0] == OPTIMAL
        assert abs(program.value(warm[1]) - program.value(cold[1])) <= TIE_HAIR * float(program.upper.sum()) + 1e-3


def test_most_starts_nearby_serve_and_save_steps() -> None:
    served = warm_steps = cold_steps = 0
    for seed in range(40):
        program = Program(seed, 300, 10, 5, 0)
        basis = program.solve(cold_start(6, -1))[3]
        program.right = program.right + np.random.default_rng(seed).uniform(-0.05, 0.05, 6)
        warm, cold = program.solve(basis), program.solve(cold_start(6, -1))
        served += warm[0] == OPTIMAL
        warm_steps, cold_steps = warm_steps + warm[4], cold_steps + cold[4]
    assert served == 40  # right-hand sides alone leave every start dual feasible
    assert 4 * warm_steps < cold_steps


def test_a_basis_that_is_singular_or_priced_wrongly_is_no_start() -> None:
    one = np.ones(2)
    rows = np.array([[1.0], [1.0]])
    none, own = np.zeros(0, dtype=np.int64), np.zeros((0, 2))
    matrix = Matrix(one, np.zeros(2, dtype=np.int64), rows, none, own)
    args = (np.array([-5.0, -3.0]), matrix, np.array([1.0, 2.0]), one, 100.0)
    assert solve_rows(*args, np.array([0, 1]), 100)[0] == NO_START  # two columns of one place are the same column
    assert solve_rows(*args, np.array([-1, -2]), 100)[0] == NO_START  # slack and excess of one row
    status, x, multipliers, _, _ = solve_rows(*args, cold_start(2, 0), 100)
    assert status == OPTIMAL
    assert x.tolist() == [1.0, 0.0]
    assert multipliers == pytest.approx([-5.0, 0.0], abs=TIE_HAIR)
