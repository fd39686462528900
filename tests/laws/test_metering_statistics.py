"""Laws of published statistics: no member moves one by more than its sensitivity, whatever they did, at any fineness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from walras.errors import InputError
from walras.metering.statistics import STATISTICS, Measured, Statistic, clipped, exact_values, sensitivity, statistic_named

SLOTS, MEMBERS = 6, 4
energies = arrays(np.int64, (SLOTS, MEMBERS), elements=st.integers(0, 3_000))
rows = arrays(np.int64, (SLOTS,), elements=st.integers(0, 3_000))
caps = st.integers(1, 5_000)
CELLS = {1: np.zeros(SLOTS, dtype=np.int64), 3: np.arange(SLOTS) % 3, 6: np.arange(SLOTS)}


def of(import_wh: np.ndarray, export_wh: np.ndarray, cells: int) -> Measured:
    return Measured(import_wh, export_wh, CELLS[cells], tuple(map(str, range(cells))))


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=str)
@settings(max_examples=80, deadline=None)
@given(energies, energies, rows, rows, caps, st.sampled_from(sorted(CELLS)))
def test_no_member_moves_a_statistic_by_more_than_its_sensitivity(
    statistic: Statistic, taken: np.ndarray, given_: np.ndarray, other: np.ndarray, another: np.ndarray, cap: int, cells: int
) -> None:
    one = exact_values(statistic, of(taken, given_, cells), cap)
    changed, given_too = taken.copy(), given_.copy()
    changed[:, 0], given_too[:, 0] = other, another
    two = exact_values(statistic, of(changed, given_too, cells), cap)
    assert sum(abs(a - b) for a, b in zip(one, two, strict=True)) <= sensitivity(statistic, cells, cap)


@pytest.mark.parametrize(
    ("name", "cells", "before", "after"),
    [
        ("consumption", 1, ([9, 0, 0, 0, 0, 0], [0] * 6), ([0] * 6, [0] * 6)),
        ("consumption", 6, ([9, 0, 0, 0, 0, 0], [0] * 6), ([0, 9, 0, 0, 0, 0], [0] * 6)),
        ("feeding_in", 1, ([0] * 6, [1, 0, 0, 0, 0, 0]), ([0] * 6, [0] * 6)),
        ("feeding_in", 6, ([0] * 6, [1] * 6), ([0] * 6, [0] * 6)),
        ("shared", 1, ([9, 0, 0, 0, 0, 0], [0, 0, 9, 0, 0, 0]), ([0] * 6, [0] * 6)),
        ("shared", 6, ([9, 0, 0, 0, 0, 0], [0, 0, 9, 0, 0, 0]), ([0, 9, 0, 0, 0, 0], [0, 0, 0, 9, 0, 0])),
    ],
)
def test_the_sensitivity_is_reached_so_none_smaller_would_do(
    name: str, cells: int, before: tuple[list[int], list[int]], after: tuple[list[int], list[int]]
) -> None:
    """Two neighbours give 9 in slots 0 and 1, two take 9 in slots 2 and 3, so that `shared` moves by whatever the member does."""
    gives, takes = np.zeros((SLOTS, 4), dtype=np.int64), np.zeros((SLOTS, 4), dtype=np.int64)
    gives[0, 0] = gives[1, 1] = takes[2, 2] = takes[3, 3] = 9
    found = []
    for import_wh, export_wh in (before, after):
        taken = np.column_stack([import_wh, takes])
        given_ = np.column_stack([export_wh, gives])
        found.append(exact_values(STATISTICS[name], of(taken, given_, cells), 9))
    moved = sum(abs(a - b) for a, b in zip(*found, strict=True))
    assert moved == sensitivity(STATISTICS[name], cells, 9)


@given(energies, caps)
def test_what_counts_of_a_member_is_at_most_the_cap_and_less_only_above_it(energy: np.ndarray, cap: int) -> None:
    counted = clipped(energy, cap)
    assert (counted.sum(axis=0) <= cap).all()
    within = energy.sum(axis=0) <= cap
    assert (counted[:, within] == energy[:, within]).all()
    assert (counted <= energy).all()
    assert (counted.sum(axis=0)[~within] > cap - SLOTS).all()


@given(energies, energies)
def test_with_a_cap_that_nobody_reaches_they_are_the_plain_sums(taken: np.ndarray, given_: np.ndarray) -> None:
    measured, cap = of(taken, given_, 3), 10**6
    cell = CELLS[3]
    for at in range(3):
        here = [(sum(taken[s]), sum(given_[s])) for s in range(SLOTS) if cell[s] == at]
        assert exact_values(STATISTICS["consumption"], measured, cap)[at] == sum(t for t, _ in here)
        assert exact_values(STATISTICS["feed_in"], measured, cap)[at] == sum(g for _, g in here)
        assert exact_values(STATISTICS["shared"], measured, cap)[at] == sum(min(t, g) for t, g in here)
        both = [(taken[cell == at, m].sum(), given_[cell == at, m].sum()) for m in range(MEMBERS)]
        assert exact_values(STATISTICS["feeding_in"], measured, cap)[at] == sum(g > 0 for _, g in both)
        assert exact_values(STATISTICS["net_producers"], measured, cap)[at] == sum(g > t for t, g in both)


def test_a_statistic_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(InputError, match="one of consumption, feed_in, shared"):
        statistic_named("traded")
