"""Corrections on the edge: what the fold refuses, which readings are late, what the community file may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from community_base import BASE, write_small
from walras.community import load_community
from walras.errors import InputError, JournalError
from walras.exchange.correction import difference_positions
from walras.exchange.fold import SLOT_CORRECTED, ExchangeState, apply
from walras.exchange.journal import Entry
from walras.ledger import pack_positions
from walras.study.late import late_devices

SETTLED = ExchangeState(
    opened={},
    deployed={},
    escrow_nano=np.array([100, 100, 100]),
    energy_wh=np.array([5, -5, 0]),
    settled=2,
    last_settled=8,
)


def _correction(**changes: Any) -> Entry:
    public = {"slot": 8, "revision": 1, "cash_nano": [100, -60, -40], "energy_wh": [3, 0, -3]} | changes
    return Entry(9, SLOT_CORRECTED, None, "", public, "", b"", "")


def test_a_correction_moves_the_balances_by_its_difference_and_settles_no_slot() -> None:
    state = apply(SETTLED, _correction())
    assert state.escrow_nano.tolist() == [0, 160, 140]
    assert state.energy_wh.tolist() == [8, -5, -3]
    assert (state.settled, state.last_settled, state.revisions) == (2, 8, {8: 1})
    again = apply(state, _correction(revision=2, cash_nano=[-1, 1, 0]))
    assert again.revisions == {8: 2}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"slot": 9}, "slot 9 is not settled yet"),
        ({"revision": 0}, "revision 0 of slot 8 follows on 0"),
        ({"revision": 2}, "revision 2 of slot 8 follows on 0"),
        ({"cash_nano": [100, -60, -39]}, "cash_nano sums to 1"),
        ({"energy_wh": [3, 0, -4]}, "energy_wh sums to -1"),
        ({"cash_nano": [101, -61, -40]}, "account 0 would fall to -1"),
        ({"cash_nano": [0, 0]}, "2 rows"),
    ],
)
def test_the_fold_refuses_a_correction_that_cannot_follow(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(JournalError, match=says):
        apply(SETTLED, _correction(**changes))


@pytest.mark.parametrize("state", [ExchangeState(opened={}, deployed={}), ExchangeState(opened={}, deployed={}, closed=True)])
def test_before_a_slot_is_settled_and_after_the_end_there_is_nothing_to_correct(state: ExchangeState) -> None:
    with pytest.raises(JournalError, match="does not belong here"):
        apply(state, _correction())


def test_a_correction_touches_the_accounts_that_differ_and_may_touch_none() -> None:
    cash, energy = np.array([0, 7, 0, -7]), np.array([0, 0, 0, 0])
    assert len(difference_positions(cash, energy)) == 2
    assert pack_positions(difference_positions(energy, energy)) == b""


@given(st.binary(min_size=32, max_size=32), st.integers(0, 10**6), st.integers(0, 40), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_more_percent_keep_the_late_ones_late_and_none_and_all_are_exact(seed: bytes, slot: int, count: int, percent: int) -> None:
    late = late_devices(seed, slot, count, percent)
    assert late <= frozenset(range(count))
    assert late_devices(seed, slot, count, 0) == frozenset()
    assert late <= late_devices(seed, slot, count, min(percent + 1, 100))
    assert late_devices(seed, slot, count, 100) == frozenset(range(count))


def test_the_share_of_late_readings_is_what_was_asked_for() -> None:
    """20,000 draws at one in five: within four standard deviations (57 each)."""
    late = sum(len(late_devices(b"\x01" * 32, slot, 100, 20)) for slot in range(200))
    assert abs(late - 4_000) < 4 * 57


@pytest.mark.parametrize(("value", "sound"), [(0, True), (100, True), (-1, False), (101, False), ("true", False), (2.5, False)])
def test_late_percent_is_a_whole_number_up_to_a_hundred(tmp_path: Path, value: object, sound: bool) -> None:
    path = write_small(tmp_path, BASE.replace("[metering]\n", f"[metering]\nlate_percent = {value}\n"))
    if sound:
        assert load_community(path).metering.late_percent == value
    else:
        with pytest.raises(InputError) as caught:
            load_community(path)
        assert [fault.field for fault in caught.value.faults] == ["late_percent"]


def test_without_the_field_all_readings_are_on_time(tmp_path: Path) -> None:
    assert load_community(write_small(tmp_path, BASE)).metering.late_percent == 0
