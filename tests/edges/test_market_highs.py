"""A solve of ours does not depend on who ran HiGHS before it in the process."""

from __future__ import annotations

import highspy
import pytest

from walras.errors import ClearingError
from walras.market.highs import make_solver


def solved(solver: highspy.Highs) -> tuple[highspy.HighsStatus, list[float]]:
    """Maximise x <= 3."""
    solver.addVar(0.0, 3.0)
    solver.changeColCost(0, -1.0)
    return solver.run(), list(solver.getSolution().col_value)


def test_one_thread_is_had_after_a_run_with_more() -> None:
    highspy.Highs.resetGlobalScheduler(True)
    theirs = highspy.Highs()
    theirs.setOptionValue("output_flag", False)
    theirs.setOptionValue("threads", 2)
    assert solved(theirs) == (highspy.HighsStatus.kOk, [3.0])
    assert solved(make_solver()) == (highspy.HighsStatus.kOk, [3.0])


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(ClearingError, match="no option"):
        make_solver(colour="blue")
