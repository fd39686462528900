"""What a benchmark returns, and how two things are timed side by side.

A result is a ratio: candidate over yardstick, both measured in the same run, their rounds interleaved, medians compared. So a
noisy or slow machine moves both. `goal` is the bound of the claim, `holds` whether the ratio keeps it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import TypedDict


class Result(TypedDict):
    """One figure: `ratio` is candidate over yardstick; `goal` says the bound in words; `detail` the absolute figures."""

    name: str
    ratio: float
    goal: str
    holds: bool
    detail: str


def seconds(function: Callable[[], object]) -> float:
    """One timed call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def side_by_side(candidate: Callable[[], object], yardstick: Callable[[], object], rounds: int = 7) -> tuple[float, float]:
    """Median seconds of each, rounds interleaved, the garbage collector off, after one warm-up of both."""
    candidate()
    yardstick()
    times: tuple[list[float], list[float]] = ([], [])
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            times[0].append(seconds(candidate))
            times[1].append(seconds(yardstick))
    finally:
        gc.enable()
    return statistics.median(times[0]), statistics.median(times[1])


def at_most(name: str, ratio: float, bound: float, detail: str) -> Result:
    """A claim that a ratio does not exceed `bound`."""
    return {"name": name, "ratio": round(ratio, 4), "goal": f"at most {bound:g}", "holds": ratio <= bound, "detail": detail}


def at_least(name: str, ratio: float, bound: float, detail: str) -> Result:
    """A claim that a ratio reaches `bound`."""
    return {"name": name, "ratio": round(ratio, 4), "goal": f"at least {bound:g}", "holds": ratio >= bound, "detail": detail}
