"""Linear and mixed-integer programs handed to HiGHS as raw arrays, without a modelling layer.

One thread, a fixed seed, and work bounded by nodes of the search tree, never by time: the same model gives the same answer on
the same build. What HiGHS returns is float64 within absolute tolerances of 1e-6 to 1e-9, so **the caller scales**: coefficients and
values within some powers of ten of 1. Below that a model is noise to the solver, which then proposes the same thing for ever.
Whoever needs exact numbers rounds and checks again in whole ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from walras.errors import ClearingError
from walras.market.highs import Option, make_solver
from walras.units import Float64, Int64

Numbers = Sequence[float] | Float64
Places = Iterable[int] | Int64


@dataclass(frozen=True, slots=True)
class Solution:
    """`x` [columns] (None where the node limit came before any solution), the objective's bound that no solution is below (equal
    to the objective for an LP), the simplex iterations it took (a measure of work that, unlike time, is the same on every run),
    and for an LP the duals of the rows (empty for a MILP)."""

    x: Float64 | None
    bound: float
    iterations: int
    row_dual: Float64


@dataclass
class LinearModel:
    """Minimise cost @ x with row_lower <= A x <= row_upper and lower <= x <= upper; `whole` columns are integers.

    >>> model = LinearModel(2)
    >>> model.cost[:] = [-1.0, -2.0]
    >>> model.upper[:] = 3.0
    >>> model.add_row([0, 1], [1.0, 1.0], 0.0, 4.0)
    >>> model.solve().x.tolist()
    [1.0, 3.0]
    """

    columns: int
    cost: Float64 = field(init=False)
    lower: Float64 = field(init=False)
    upper: Float64 = field(init=False)
    whole: np.ndarray[tuple[int], np.dtype[np.int32]] = field(init=False)
    starts: list[int] = field(default_factory=lambda: [0])
    places: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cost = np.zeros(self.columns)
        self.lower = np.zeros(self.columns)
        self.upper = np.full(self.columns, np.inf)
        self.whole = np.zeros(self.columns, dtype=np.int32)

    def add_row(self, places: Places, values: Numbers, lower: float, upper: float) -> None:
        """One row: `values` at the columns `places`, between the bounds."""
        self.places.extend(int(place) for place in places)
        self.values.extend(float(value) for value in values)
        self.starts.append(len(self.places))
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def solve(self, *, relaxed: bool = False, nodes: int | None = None, start: Float64 | None = None) -> Solution | None:
        """The optimum, or None if there is no solution or the numbers are beyond float64: None proves nothing. `relaxed` ignores
        integrality; `nodes` bounds the search tree; `start` is a known solution. ClearingError if HiGHS refuses the model."""
        import highspy  # here, as in `make_solver`

        integral = bool(self.whole.any()) and not relaxed
        bounded: dict[str, Option] = {"mip_max_nodes": nodes} if integral and nodes is not None else {}
        solver = make_solver(
            random_seed=1,
            mip_rel_gap=1e-7,
            presolve="off",  # costs more than it saves on these models (measured)
            primal_feasibility_tolerance=1e-9,
            dual_feasibility_tolerance=1e-9,
            **bounded,
        )
        status = solver.passModel(
            self.columns,
            len(self.row_lower),
            len(self.values),
            2,  # rowwise
            1,  # minimise
            0.0,
            self.cost,
            self.lower,
            self.upper,
            np.array(self.row_lower),
            np.array(self.row_upper),
            np.array(self.starts[:-1] if self.row_lower else [0], dtype=np.int32),
            np.array(self.places, dtype=np.int32),
            np.array(self.values),
            self.whole if integral else np.zeros_like(self.whole),  # full length: an empty one leaves an empty model
        )
        if status == highspy.HighsStatus.kError:
            raise ClearingError("HiGHS refused the model", thing=(self.columns, len(self.row_lower)))
        if start is not None and integral:
            guess = highspy.HighsSolution()
            guess.col_value = start.tolist()
            solver.setSolution(guess)
        solver.run()
        outcome = solver.getModelStatus()
        stopped = integral and outcome == highspy.HighsModelStatus.kSolutionLimit
        if outcome != highspy.HighsModelStatus.kOptimal and not stopped:
            return None
        info, found = solver.getInfo(), solver.getSolution()
        bound = float(info.mip_dual_bound if integral else info.objective_function_value)
        known = not integral or info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        x = np.array(found.col_value) if known else None
        return Solution(x, bound, int(info.simplex_iteration_count), np.zeros(0) if integral else np.array(found.row_dual))
