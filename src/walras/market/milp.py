"""Linear and mixed-integer programs handed to HiGHS as raw arrays, without a modelling layer.

One thread, no time limit, a fixed seed: the same model gives the same answer on the same build. What HiGHS returns is float64;
whoever needs exact numbers rounds and checks again in whole ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import highspy
import numpy as np

from walras.errors import ClearingError
from walras.units import Float64, Int64

Numbers = Sequence[float] | Float64
Places = Iterable[int] | Int64


@dataclass(frozen=True, slots=True)
class Solution:
    """Values of the columns, the objective, a bound that no solution can be beyond (equal to it for an LP), and the simplex
    iterations it took: a measure of work that, unlike time, is the same on every run."""

    x: Float64
    objective: float
    bound: float
    iterations: int


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

    def solve(self, *, relaxed: bool = False, relative_gap: float = 1e-6, start: Float64 | None = None) -> Solution | None:
        """The optimum, or None if there is no solution. `relaxed` ignores integrality. ClearingError if HiGHS gives up."""
        solver = highspy.Highs()  # type: ignore[no-untyped-call]
        for name, value in (
            ("output_flag", False),
            ("threads", 1),
            ("random_seed", 1),
            ("mip_rel_gap", relative_gap),
            ("mip_abs_gap", 0.0),
            ("presolve", "off"),  # costs more than it saves on these small dense models (measured)
        ):
            solver.setOptionValue(name, value)
        whole = np.zeros_like(self.whole) if relaxed else self.whole  # full length: an empty one leaves an empty model
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
            whole,
        )
        if status == highspy.HighsStatus.kError:
            raise ClearingError("HiGHS refused the model", thing=(self.columns, len(self.row_lower)))
        if start is not None and not relaxed:
            guess = highspy.HighsSolution()
            guess.col_value = start.tolist()
            solver.setSolution(guess)
        solver.run()
        outcome = solver.getModelStatus()
        if outcome == highspy.HighsModelStatus.kInfeasible:
            return None
        if outcome != highspy.HighsModelStatus.kOptimal:
            raise ClearingError(f"HiGHS ended with {solver.modelStatusToString(outcome)}", thing=str(outcome))
        info = solver.getInfo()
        objective = float(info.objective_function_value)
        bound = float(info.mip_dual_bound) if whole.any() else objective
        return Solution(np.array(solver.getSolution().col_value), objective, bound, int(info.simplex_iteration_count))
