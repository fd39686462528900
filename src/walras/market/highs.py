"""The one way to a HiGHS solver: silent, and in one thread, so that the same model ends in the same bytes on every machine.

HiGHS keeps one pool of threads for a process, sized by its first run, and refuses a run that asks for another size. Whoever ran it
before us in the process may have taken more than one, so that pool is dropped first; what needs it later makes a new one.
"""

from __future__ import annotations

from typing import Any

from walras.errors import ClearingError

Option = bool | int | float | str


def make_solver(**options: Option) -> Any:
    """A `highspy.Highs` with these options besides.

    >>> make_solver(mip_rel_gap=1e-7).getOptionValue("threads")[1]
    1
    """
    import highspy  # here: a tenth of a second that only those pay who solve something

    highspy.Highs.resetGlobalScheduler(True)
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in {"output_flag": False, "threads": 1, **options}.items():
        if solver.setOptionValue(name, value) != highspy.HighsStatus.kOk:
            raise ClearingError(f"HiGHS takes no option {name} = {value!r}", thing=name)
    return solver
