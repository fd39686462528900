"""Validation, estimation, editing: each check at its edge, every change marked and answered for, nothing ever silent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_world import GRID, KEYS, RULES, STRANGER, after, registry, slot_batch
from walras.errors import InputError
from walras.metering.correction import (
    Correction,
    Reason,
    corrected,
    corrected_by_late_reading,
    difference,
    encode_correction,
    spread_total,
)
from walras.metering.identity import key_id
from walras.metering.oracle import close, initial_oracle, receive
from walras.metering.points import Mounting, check_mountings, energy_by_point
from walras.metering.reading import Quality, sign_reading
from walras.metering.refusals import Refusal
from walras.metering.slot_readings import SlotReadings
from walras.metering.strict_cbor import loads_strict
from walras.metering.substitute import NO_FORECAST, SubstituteRule, substitutes
from walras.metering.validation import Check, Finding, ValidationRule, Window, deltas_of_registers, validate

REGISTRY = registry()
RULE = ValidationRule(stuck_slots=4, zero_slots=6, spike_floor_wh=100)
FIRST = 40
SLOTS = 12


def window(import_wh: object = None, **other: object) -> Window:
    """Two devices, twelve slots, nothing to find unless asked for."""
    values = np.array([[100 + 7 * (row % 5) + 3 * column for column in range(2)] for row in range(SLOTS)])
    columns = {
        "first_slot": FIRST,
        "present": np.ones((SLOTS, 2), dtype=bool),
        "import_wh": values if import_wh is None else import_wh,
        "export_wh": np.zeros((SLOTS, 2), dtype=np.int64),
        "counter": np.arange(SLOTS)[:, None] + np.array([[5, 900]]),
        "delay_s": np.full((SLOTS, 2), 20),
        "heard": np.ones((SLOTS, 2), dtype=bool),
    }
    return Window(**(columns | other))  # type: ignore[arg-type]


def edited(name: str, rows: slice | list[int], device: int, value: object, base: Window | None = None) -> Window:
    start = window() if base is None else base
    table = getattr(start, name).copy()
    table[rows, device] = value
    return replace(start, **{name: table})


def test_an_ordinary_window_has_no_findings() -> None:
    assert validate(window(), RULE) == ()


def test_a_missing_reading_is_named_and_what_its_row_holds_is_not_read() -> None:
    gone = edited("present", [3], 1, False)
    noisy = edited("import_wh", [3], 1, 10**9, gone)
    assert validate(noisy, RULE) == (Finding(Check.MISSING, 1, FIRST + 3, 0, 1),)
    lost = edited("heard", [3], 1, False, noisy)
    assert validate(lost, RULE) == (Finding(Check.MISSING, 1, FIRST + 3, 0, 1), Finding(Check.COUNTER_GAP, 1, FIRST + 4, 1, 0))


def test_a_counter_that_skips_tells_of_readings_that_never_arrived() -> None:
    skipped = edited("counter", slice(6, None), 0, np.arange(6, SLOTS) + 5 + 3)
    assert validate(skipped, RULE) == (Finding(Check.COUNTER_GAP, 0, FIRST + 6, 3, 0),)


@pytest.mark.parametrize(("length", "count"), [(3, 0), (4, 1), (9, 1)])
def test_the_same_value_four_times_is_stuck_and_three_times_is_not(length: int, count: int) -> None:
    found = validate(edited("import_wh", slice(2, 2 + length), 0, 50), RULE)
    assert found == tuple([Finding(Check.STUCK, 0, FIRST + 2, 50, 4)] * count)


@pytest.mark.parametrize(("length", "count"), [(5, 0), (6, 1)])
def test_nothing_at_all_may_last_longer_before_it_is_stuck(length: int, count: int) -> None:
    found = validate(edited("import_wh", slice(0, length), 1, 0), RULE)
    assert [finding.check for finding in found] == [Check.STUCK] * count


def test_a_gap_breaks_a_stuck_run() -> None:
    still = edited("import_wh", slice(2, 8), 0, 50)
    broken = edited("present", [5], 0, False, still)
    assert Check.STUCK not in {finding.check for finding in validate(broken, RULE)}


def test_a_spike_is_measured_against_the_third_highest() -> None:
    flat = np.full((SLOTS, 2), 100) + np.arange(SLOTS)[:, None] % 2
    third = 101
    edge = int(third * 2.8)  # exceeds by 180 per cent of the third highest, rounded down
    assert validate(edited("import_wh", [4], 0, edge, window(flat)), RULE) == ()
    assert validate(edited("import_wh", [4], 0, edge + 1, window(flat)), RULE) == (
        Finding(Check.SPIKE, 0, FIRST + 4, edge + 1, third),
    )
    assert validate(edited("import_wh", [4], 0, edge + 1, window(flat)), replace(RULE, spike_floor_wh=edge + 2)) == ()


def test_a_clock_that_is_fast_or_slow_is_named_with_its_seconds() -> None:
    # the usual delay of two devices is the median of both, so the third makes it
    wide = {"present": np.zeros((4, 3), bool), "heard": np.ones((4, 3), bool), "export_wh": np.zeros((4, 3), int)}
    wide |= {"import_wh": np.arange(12).reshape(4, 3) + 100, "counter": np.arange(12).reshape(4, 3) // 3}

    def clocks(delays: list[int]) -> list[tuple[Check, int, int]]:
        w = Window(FIRST, delay_s=np.tile(delays, (4, 1)), **wide)  # type: ignore[arg-type]
        return [(f.check, f.device, f.value) for f in validate(w, RULE) if f.check is not Check.MISSING]

    assert clocks([20, 20, 30]) == []
    assert clocks([20, 20, 31]) == [(Check.CLOCK_DRIFT, 2, 31)]
    assert clocks([20, 20, -10]) == []
    assert clocks([20, 20, -11]) == [(Check.CLOCK_DRIFT, 2, -11)]
    assert clocks([20, 20, 3_620]) == [(Check.CLOCK_CHANGE, 2, 3_620)]
    assert clocks([20, 20, -7_175]) == [(Check.CLOCK_CHANGE, 2, -7_175)]
    assert clocks([20, 20, 1_800]) == [(Check.CLOCK_DRIFT, 2, 1_800)]


def test_registers_turn_over_at_their_last_digit_and_run_backwards_never() -> None:
    energy, backwards = deltas_of_registers(np.array([999_900, 999_990, 5, 5, 3, 900]), 6, 1_000)
    assert energy.tolist() == [90, 15, 0, 0, 897]
    assert backwards == (3,)
    assert deltas_of_registers(np.array([999_000, 0]), 6, 1_000)[0].tolist() == [1_000]
    assert deltas_of_registers(np.array([998_999, 0]), 6, 1_000)[1] == (0,)


def test_thresholds_and_tables_that_make_no_sense_are_named_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        ValidationRule(stuck_slots=1, zero_slots=0, spike_ratio=0)
    assert len(caught.value.faults) == 3
    with pytest.raises(InputError) as caught:
        window(np.zeros((3, 2), int), counter=np.zeros((3, 2), int))
    assert [fault.field for fault in caught.value.faults] == ["import_wh", "counter"]


def closed(missing: int = 1) -> SlotReadings:
    oracle, _ = receive(initial_oracle(REGISTRY), REGISTRY, RULES, slot_batch(FIRST, 1)[: 5 - missing], after(FIRST))
    none = np.full(5, NO_FORECAST)
    return close(oracle, REGISTRY, FIRST, substitutes(GRID, FIRST, {}, none, none, SubstituteRule()))[1]


def test_a_correction_makes_a_successor_with_its_own_root_and_leaves_the_closed_slot_alone() -> None:
    before = closed()
    root = before.tree().root
    change = Correction(4, (0, 0), (250, 10), Reason.WRONG_SUBSTITUTE, "metering desk")
    edited_slot = corrected(REGISTRY, before, [change])
    assert before.tree().root == root != edited_slot.tree().root
    assert edited_slot.quality.tolist() == [0, 0, 0, 0, Quality.EDITED]
    assert loads_strict(edited_slot.leaves[4]) == [
        key_id(KEYS[4].public_key()),
        {1: FIRST, 2: 250, 3: 10, 4: 0, 5: int(Quality.EDITED)},
        int(Reason.WRONG_SUBSTITUTE),
        "metering desk",
    ]
    gap = difference(before, edited_slot)
    assert (gap.device.tolist(), gap.import_wh.tolist(), gap.export_wh.tolist()) == ([4], [250], [10])
    assert difference(edited_slot, before).import_wh.tolist() == [-250]


def test_corrections_that_do_not_fit_are_named_all_at_once_and_nothing_is_changed() -> None:
    right = Correction(0, (300, 0), (200, 0), Reason.METER_FAULT, "metering desk")
    wrong = [
        right,
        replace(right, was=(299, 0), device=1),
        replace(right, device=2, now=(-1, 0)),
        replace(right, device=3, by="  "),
        replace(right, device=9),
        right,
    ]
    with pytest.raises(InputError) as caught:
        corrected(REGISTRY, closed(), wrong)
    assert [fault.field for fault in caught.value.faults] == ["was", "now", "by", "device", "device"]
    with pytest.raises(InputError, match="255"):
        encode_correction(b"k" * 16, 1, replace(right, by="x" * 256))


def test_a_late_reading_replaces_a_substitute_and_only_that() -> None:
    before = closed()
    late = slot_batch(FIRST, 1)[4]
    fixed = corrected_by_late_reading(REGISTRY, before, late)
    assert isinstance(fixed, SlotReadings)
    assert fixed.tree().root == closed(missing=0).tree().root
    assert corrected_by_late_reading(REGISTRY, fixed, late) is Refusal.DUPLICATE
    by_hand = corrected(REGISTRY, before, [Correction(4, (0, 0), (1, 0), Reason.METER_FAULT, "metering desk")])
    assert corrected_by_late_reading(REGISTRY, by_hand, late) is Refusal.DUPLICATE


@pytest.mark.parametrize(
    ("encoded", "refusal"),
    [
        (slot_batch(FIRST, 1)[0], Refusal.DUPLICATE),
        (slot_batch(FIRST + 1, 1)[4], Refusal.EARLY),
        (slot_batch(FIRST - 1, 1)[4], Refusal.LATE),
        (slot_batch(FIRST, 1)[4][:-1], Refusal.TRUNCATED),
        (slot_batch(FIRST, 1)[4][:-1] + bytes([slot_batch(FIRST, 1)[4][-1] ^ 1]), Refusal.BAD_SIGNATURE),
        (sign_reading(STRANGER, FIRST, 1, 0, 1), Refusal.UNKNOWN_DEVICE),
        (slot_batch(FIRST, 1, import_wh=10**6)[4], Refusal.IMPORT_ABOVE_CAPACITY),
        (sign_reading(KEYS[4], FIRST, 1, 0, 1, 16), Refusal.QUALITY_NOT_ALLOWED),
    ],
)
def test_a_late_reading_is_refused_as_any_other_is(encoded: bytes, refusal: Refusal) -> None:
    assert corrected_by_late_reading(REGISTRY, closed(), encoded) is refusal


def test_differences_of_two_slots_are_refused() -> None:
    with pytest.raises(InputError, match="one slot"):
        difference(closed(), replace(closed(), slot=FIRST + 1))


@given(st.integers(0, 2**62), st.lists(st.integers(0, 2**40), min_size=1, max_size=12))
def test_a_total_spread_over_a_gap_is_kept_to_the_watt_hour(total: int, shape: list[int]) -> None:
    spread = spread_total(total, np.array(shape, dtype=np.int64)).tolist()
    assert sum(spread) == total
    weights = shape if any(shape) else [1] * len(shape)
    for part, weight in zip(spread, weights, strict=True):
        exact = total * weight // sum(weights)
        assert exact <= part <= exact + 1


def test_a_total_over_no_slots_is_refused() -> None:
    for total, shape in ((1, []), (-1, [1]), (1, [-1])):
        with pytest.raises(InputError, match="total"):
            spread_total(total, np.array(shape, dtype=np.int64))


def test_in_the_slot_of_an_exchange_both_meters_count_and_otherwise_one() -> None:
    mountings = [Mounting(0, 0, 0, FIRST), Mounting(0, 1, FIRST), Mounting(1, 2, 0)]
    check_mountings(mountings, 2)
    slot = closed()
    assert energy_by_point(mountings, slot, 2)[0].tolist() == [600, 300]
    assert energy_by_point(mountings, replace(slot, slot=FIRST + 1), 2)[0].tolist() == [300, 300]
    with_substitute = [Mounting(0, 0, 0, FIRST), Mounting(0, 4, FIRST), Mounting(1, 2, 0)]
    assert energy_by_point(with_substitute, slot, 2)[2].tolist() == [Quality.SUBSTITUTE_ZERO, 0]


def test_mountings_with_gaps_overlaps_and_doubles_are_named_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        check_mountings(
            [
                Mounting(0, 0, 0, 5),
                Mounting(0, 1, 7),
                Mounting(1, 2, 0, 9),
                Mounting(1, 3, 8, 7),
                Mounting(5, 2, 3),
            ],
            3,
        )
    text = str(caught.value)
    for named in ("not after the last", "exchange slot", "at least one device", "one point at a time", "from 0 to 2"):
        assert named in text
