"""Laws of admission: a fold that loses nothing, refuses by the first failing check, and learns nothing from what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_world import GRID, KEYS, MAX_IMPORT_WH, RULES, STRANGER, VALID_FROM, after, registry, slot_batch
from walras.metering.admission import AdmissionState, Admitted, Refused, admit, initial_state, revoke
from walras.metering.reading import sign_reading
from walras.metering.refusals import Refusal

REGISTRY = registry()
SLOT = 40
# a pool of encoded readings, right and wrong in many ways, from which the laws draw batches
POOL = [
    *slot_batch(SLOT, 5),
    *slot_batch(SLOT + 1, 6),
    *slot_batch(SLOT, 6, devices=2),
    *slot_batch(SLOT - 1, 7, devices=2),
    *slot_batch(SLOT + 9, 8, devices=2),
    *slot_batch(SLOT - 30, 9, devices=2),
    *slot_batch(SLOT + 2, 9, devices=3, import_wh=MAX_IMPORT_WH + 1),
    *slot_batch(SLOT + 2, 10, devices=5),
    *(encoded[:-1] + bytes([encoded[-1] ^ 1]) for encoded in slot_batch(SLOT + 1, 11)),
    sign_reading(STRANGER, SLOT, 1, 1, 1),
    b"",
    b"\x00\x01",
]
NOW = after(SLOT + 2)
batches = st.lists(st.sampled_from(POOL), max_size=25)


def same_state(left: AdmissionState, right: AdmissionState) -> bool:
    return all(
        np.array_equal(a, b)
        for a, b in [
            (left.last_counter, right.last_counter),
            (left.last_slot, right.last_slot),
            (left.revoked, right.revoked),
        ]
    )


def run(batch: list[bytes], state: AdmissionState | None = None) -> tuple[AdmissionState, Admitted, Refused]:
    return admit(initial_state(5) if state is None else state, REGISTRY, RULES, batch, NOW)


@settings(max_examples=60, deadline=None)
@given(batches)
def test_every_reading_comes_out_exactly_once(batch: list[bytes]) -> None:
    _, admitted, refused = run(batch)
    assert sorted([*admitted.row.tolist(), *refused.row.tolist()]) == list(range(len(batch)))
    assert admitted.encoded == tuple(batch[row] for row in admitted.row)
    assert sum(refused.counts().values()) == refused.row.size


@settings(max_examples=60, deadline=None)
@given(batches)
def test_refused_readings_leave_no_trace_in_the_state(batch: list[bytes]) -> None:
    state, admitted, _ = run(batch)
    again, admitted_again, refused_again = run([batch[row] for row in admitted.row])
    assert same_state(state, again)
    assert admitted_again.encoded == admitted.encoded
    assert refused_again.row.size == 0


@settings(max_examples=60, deadline=None)
@given(batches, batches)
def test_two_batches_are_one_batch(first: list[bytes], second: list[bytes]) -> None:
    state, admitted, refused = run(first)
    state, admitted_then, refused_then = run(second, state)
    whole_state, whole, whole_refused = run(first + second)
    assert same_state(state, whole_state)
    assert admitted.encoded + admitted_then.encoded == whole.encoded
    assert [*refused.reason, *refused_then.reason] == [*whole_refused.reason]


@settings(max_examples=30, deadline=None)
@given(batches)
def test_what_was_admitted_once_never_is_again(batch: list[bytes]) -> None:
    state, admitted, _ = run(batch)
    _, none, refused = run(list(admitted.encoded), state)
    assert none.row.size == 0
    assert set(refused.reason.tolist()) <= {Refusal.REPLAYED}


@settings(max_examples=20, deadline=None)
@given(batches)
def test_threads_change_nothing(batch: list[bytes]) -> None:
    with ThreadPoolExecutor(2) as pool:
        threaded = admit(initial_state(5), REGISTRY, RULES, batch * 15, NOW, pool)
    alone = run(batch * 15)
    assert same_state(threaded[0], alone[0])
    assert threaded[1].encoded == alone[1].encoded
    assert threaded[2].reason.tolist() == alone[2].reason.tolist()


@settings(max_examples=60, deadline=None)
@given(batches)
def test_counters_and_slots_of_a_device_only_rise(batch: list[bytes]) -> None:
    _, admitted, _ = run(batch)
    for device in range(5):
        mine = admitted.device == device
        assert (np.diff(admitted.counter[mine]) > 0).all()
        assert (np.diff(admitted.slot[mine]) > 0).all()


FAULTS = [
    Refusal.TRUNCATED,
    Refusal.UNKNOWN_DEVICE,
    Refusal.REVOKED,
    Refusal.CREDENTIAL_NOT_YET_VALID,
    Refusal.BAD_SIGNATURE,
    Refusal.REPLAYED,
    Refusal.EARLY,
    Refusal.QUALITY_NOT_ALLOWED,
    Refusal.IMPORT_ABOVE_CAPACITY,
]


def verdict(faults: set[Refusal]) -> int:
    """The refusal of one reading that has all these faults at once."""
    early, bad = Refusal.EARLY in faults, Refusal.IMPORT_ABOVE_CAPACITY in faults
    quality = 16 if Refusal.QUALITY_NOT_ALLOWED in faults else 0
    signer = STRANGER if Refusal.UNKNOWN_DEVICE in faults else KEYS[0]
    counter = 3 if Refusal.REPLAYED in faults else 9
    encoded = sign_reading(signer, SLOT + 7 * early, MAX_IMPORT_WH + bad, 0, counter, quality)
    if Refusal.BAD_SIGNATURE in faults:
        encoded = encoded[:-1] + bytes([encoded[-1] ^ 1])
    if Refusal.TRUNCATED in faults:
        encoded = encoded[:-1]
    state, _, _ = run([sign_reading(KEYS[0], SLOT - 1, 0, 0, 3)])
    if Refusal.REVOKED in faults:
        state = revoke(state, [0])
    known = REGISTRY
    if Refusal.CREDENTIAL_NOT_YET_VALID in faults:
        known = replace(known, valid_from_s=known.valid_from_s + 10**9)
    assert after(SLOT) > VALID_FROM
    _, admitted, refused = admit(state, known, RULES, [encoded], GRID.end(SLOT) + timedelta(minutes=1))
    assert admitted.row.size + refused.row.size == 1
    return int(refused.reason[0]) if refused.row.size else 0


def test_a_reading_without_fault_is_admitted() -> None:
    assert verdict(set()) == 0


@pytest.mark.parametrize("count", [1, 2, 3, len(FAULTS)])
def test_the_first_check_that_fails_names_the_refusal(count: int) -> None:
    for faults in combinations(FAULTS, count):
        assert verdict(set(faults)) == faults[0], faults
