"""Committed days of a run: every slot in one piece, a piece that binds its slots and hides whose it is; and the fast hash."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.errors import InputError
from walras.metering import SHA256_RFC6962, verify_inclusion
from walras.metering.committed_days import commit_days, day_of, day_salt, leaf_of, pieces
from walras.metering.proofs.day import DAY_SLOTS, MAX_WH, context_of
from walras.metering.proofs.poseidon import SCALAR_FIELD, permutation
from walras.metering.proofs.sparse_poseidon import hashed
from walras.metering.slot_readings import SlotReadings
from walras.slots import SlotGrid

GRID = SlotGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), 15, "Europe/Berlin")
METERS = [bytes([n]) * 16 for n in range(5)]
SALTS = [day_salt(bytes([n]) * 32, 0) for n in range(5)]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, SCALAR_FIELD - 1), min_size=16, max_size=16))
def test_the_fast_hash_is_the_one_that_goes_round_by_round(inputs: list[int]) -> None:
    assert hashed(inputs) == permutation(inputs)[0]
    assert hashed(inputs[:2]) == permutation(inputs[:2])[0]


@pytest.mark.parametrize("value", [-1, SCALAR_FIELD])
def test_the_fast_hash_refuses_what_is_no_number_of_the_field(value: int) -> None:
    with pytest.raises(InputError):
        hashed([value] * 16)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from((5, 15, 30)), st.integers(0, 360), st.integers(1, 9))
def test_every_slot_of_a_run_is_in_exactly_one_piece_and_none_reaches_over_midnight(minutes: int, day: int, days: int) -> None:
    grid = SlotGrid(GRID.origin, minutes, GRID.timezone)
    run = grid.local_days(date(2016, 1, 1) + timedelta(days=day), days)
    cut = pieces(grid, run.start, run.stop - 1)
    assert [slot for piece in cut for slot in piece] == list(run)
    for piece in cut:
        assert 1 <= len(piece) <= DAY_SLOTS
        assert len({grid.local(slot).date() for slot in piece}) == 1


def readings(first: int, table: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[SlotReadings]:
    none = np.zeros(table.shape[1], dtype=np.int64)
    return [SlotReadings(first + at, row, none, none, (b"",) * row.size) for at, row in enumerate(table)]


def test_a_leaf_is_under_the_root_and_its_place_does_not_say_whose_it_is() -> None:
    table = np.arange(96 * 5, dtype=np.int64).reshape(96, 5)
    days = commit_days(METERS, readings(960, table), SALTS)
    places = []
    for row, leaf in enumerate(days.leaves):
        assert leaf == leaf_of(day_of(METERS[row], range(960, 1056), table[:, row], 0 * table[:, row], SALTS[row]))
        places.append(days.digests.index(SHA256_RFC6962.leaf(leaf)))
        assert verify_inclusion(leaf, days.tree.proof(places[-1]), days.tree.root)
    assert places != sorted(places)
    other = commit_days(METERS[::-1], readings(960, table[:, ::-1].copy()), SALTS[::-1])
    assert other.tree.root == days.tree.root


def test_a_reading_that_no_day_can_hold_leaves_only_its_own_member_out() -> None:
    table = np.ones((96, 5), dtype=np.int64)
    table[50, 2], table[51, 3] = MAX_WH + 1, MAX_WH
    days = commit_days(METERS, readings(0, table), SALTS)
    assert [leaf is None for leaf in days.leaves] == [False, False, True, False, False]
    assert days.tree.count == 4


@pytest.mark.parametrize("slots", [92, 95, 96])
def test_one_reading_one_slot_or_another_count_of_slots_gives_another_commitment(slots: int) -> None:
    """A short day's empty places cannot pass for slots without energy: a whole day that ends in zeros is another one."""
    energy = np.ones(slots, dtype=np.int64)
    day = day_of(METERS[0], range(96, 96 + slots), energy, energy, SALTS[0])
    changed = energy.copy()
    changed[-1] += 1
    others = [
        day_of(METERS[0], range(96, 96 + slots), changed, energy, SALTS[0]),
        day_of(METERS[0], range(97, 97 + slots), energy, energy, SALTS[0]),
        day_of(METERS[1], range(96, 96 + slots), energy, energy, SALTS[0]),
        day_of(METERS[0], range(96, 96 + slots), energy, energy, SALTS[1]),
    ]
    if slots < 96:
        padded = np.concatenate([energy, np.zeros(96 - slots, dtype=np.int64)])
        others.append(day_of(METERS[0], range(96, 192), padded, padded, SALTS[0]))
    assert day.commitment not in {other.commitment for other in others}
    assert (day.context == context_of(METERS[0], 96)) is (slots == 96)


@pytest.mark.parametrize("slots", [range(0), range(97), range(0, 96, 2)])
def test_a_day_of_no_slots_or_too_many_is_refused(slots: range) -> None:
    with pytest.raises(InputError):
        day_of(METERS[0], slots, np.ones(len(slots), dtype=np.int64), np.ones(len(slots), dtype=np.int64), SALTS[0])


def test_slots_that_do_not_follow_one_another_are_no_day() -> None:
    first, second = readings(0, np.ones((2, 5), dtype=np.int64))
    with pytest.raises(InputError):
        commit_days(METERS, [second, first], SALTS)
