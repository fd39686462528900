"""The knife edges of admission, and the attacks on a single reading, each with its named refusal."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from metering_world import (
    GRID,
    KEYS,
    MAX_EXPORT_WH,
    MAX_IMPORT_WH,
    RULES,
    STRANGER,
    VALID_FROM,
    VALID_UNTIL,
    after,
    registry,
    slot_batch,
)
from walras.errors import InputError
from walras.metering.admission import AdmissionState, Rules, admit, initial_state, registry_of, revoke
from walras.metering.reading import sign_reading, sign_readings
from walras.metering.refusals import Refusal

REGISTRY = registry()
SLOT = 40


def verdict(encoded: bytes, state: AdmissionState | None = None, now: datetime | None = None) -> Refusal | None:
    before = initial_state(5) if state is None else state
    known, admitted, refused = admit(before, REGISTRY, RULES, [encoded], after(SLOT) if now is None else now)
    if admitted.row.size:
        return None
    assert np.array_equal(known.last_counter, before.last_counter)
    assert np.array_equal(known.last_slot, before.last_slot)
    return Refusal(int(refused.reason[0]))


def reading(slot: int = SLOT, import_wh: int = 300, export_wh: int = 0, counter: int = 1, quality: int = 0) -> bytes:
    return sign_reading(KEYS[0], slot, import_wh, export_wh, counter, quality)


def state_after(*encoded: bytes) -> AdmissionState:
    state, admitted, _ = admit(initial_state(5), REGISTRY, RULES, encoded, after(SLOT))
    assert admitted.row.size == len(encoded)
    return state


def test_flipping_any_bit_of_a_reading_is_refused_by_name() -> None:
    encoded = reading()
    assert verdict(encoded) is None
    for at in range(len(encoded)):
        for bit in range(8):
            changed = bytearray(encoded)
            changed[at] ^= 1 << bit
            assert verdict(bytes(changed)) is not None, (at, bit)


def test_truncating_a_reading_anywhere_or_adding_a_byte_is_refused() -> None:
    encoded = reading()
    assert {verdict(encoded[:size]) for size in range(len(encoded))} == {Refusal.TRUNCATED}
    assert verdict(encoded + b"\x00") is Refusal.TRAILING_BYTES


def test_the_other_signature_of_the_same_reading_is_refused() -> None:
    encoded = reading()
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    high_s = order - int.from_bytes(encoded[-32:], "big")
    assert verdict(encoded[:-32] + high_s.to_bytes(32, "big")) is Refusal.NOT_CANONICAL


def test_a_forger_cannot_speak_for_a_device() -> None:
    forged = sign_reading(STRANGER, SLOT, 300, 0, 1)
    assert verdict(forged) is Refusal.UNKNOWN_DEVICE
    kid_of_another = reading()[:24] + forged[24:]
    assert verdict(kid_of_another) is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize("tail", [bytes(64), bytes(32) + b"\x01".rjust(32, b"\x00"), b"\xff" * 32 + bytes(31) + b"\x01"])
def test_signatures_at_the_edge_of_the_group_are_bad_not_exceptions(tail: bytes) -> None:
    assert verdict(reading()[:-64] + tail) is Refusal.BAD_SIGNATURE


def test_a_replay_is_refused_and_a_gap_in_the_counter_is_not() -> None:
    state = state_after(reading(slot=SLOT - 1, counter=5))
    assert verdict(reading(slot=SLOT - 1, counter=5), state) is Refusal.REPLAYED
    assert verdict(reading(counter=4), state) is Refusal.REPLAYED
    assert verdict(reading(counter=6), state) is None
    assert verdict(reading(counter=600), state) is None


def test_the_first_counter_may_be_zero() -> None:
    assert verdict(reading(counter=0)) is None


def test_a_reordered_pair_loses_the_older_one_by_name() -> None:
    first, second = reading(slot=SLOT - 1, counter=1), reading(slot=SLOT, counter=2)
    _, admitted, refused = admit(initial_state(5), REGISTRY, RULES, [second, first], after(SLOT))
    assert admitted.encoded == (second,)
    assert refused.counts() == {Refusal.REPLAYED: 1}


def test_a_second_reading_for_a_slot_is_a_duplicate_and_an_earlier_slot_is_backdated() -> None:
    state = state_after(reading(counter=1))
    assert verdict(reading(import_wh=1, counter=2), state) is Refusal.DUPLICATE
    assert verdict(reading(slot=SLOT - 1, counter=2), state) is Refusal.BACKDATED


def test_a_reading_is_early_until_its_slot_ends_but_for_the_clock_tolerance() -> None:
    edge = GRID.end(SLOT) - RULES.clock_tolerance
    assert verdict(reading(), now=edge) is None
    assert verdict(reading(), now=edge - timedelta(microseconds=1)) is Refusal.EARLY


def test_a_reading_is_late_after_the_deadline() -> None:
    edge = GRID.end(SLOT) + RULES.deadline
    assert verdict(reading(), now=edge) is None
    assert verdict(reading(), now=edge + timedelta(microseconds=1)) is Refusal.LATE


def test_the_connection_limits_each_direction_and_their_mix() -> None:
    half_import, half_export = MAX_IMPORT_WH // 2, MAX_EXPORT_WH // 2
    assert verdict(reading(import_wh=MAX_IMPORT_WH)) is None
    assert verdict(reading(import_wh=MAX_IMPORT_WH + 1)) is Refusal.IMPORT_ABOVE_CAPACITY
    assert verdict(reading(import_wh=0, export_wh=MAX_EXPORT_WH)) is None
    assert verdict(reading(import_wh=0, export_wh=MAX_EXPORT_WH + 1)) is Refusal.EXPORT_ABOVE_CAPACITY
    assert verdict(reading(import_wh=half_import, export_wh=half_export)) is None
    assert verdict(reading(import_wh=half_import + 1, export_wh=half_export)) is Refusal.BOTH_ABOVE_CAPACITY


def test_a_device_cannot_mark_its_own_value_as_a_substitute() -> None:
    assert verdict(reading(quality=15)) is None
    assert verdict(reading(quality=16)) is Refusal.QUALITY_NOT_ALLOWED


def test_a_revoked_device_is_refused_from_then_on_and_the_others_are_not() -> None:
    state = revoke(initial_state(5), [0])
    batch = slot_batch(SLOT, 1)
    _, admitted, refused = admit(state, REGISTRY, RULES, batch, after(SLOT))
    assert admitted.device.tolist() == [1, 2, 3, 4]
    assert refused.counts() == {Refusal.REVOKED: 1}


@pytest.mark.parametrize(
    ("moment", "refusal"),
    [
        (VALID_FROM - timedelta(seconds=1), Refusal.CREDENTIAL_NOT_YET_VALID),
        (VALID_FROM, None),
        (VALID_UNTIL - timedelta(seconds=1), None),
        (VALID_UNTIL, Refusal.CREDENTIAL_EXPIRED),
    ],
)
def test_a_credential_holds_from_its_first_second_to_before_its_last(moment: datetime, refusal: Refusal | None) -> None:
    shifted = replace(REGISTRY, valid_from_s=REGISTRY.valid_from_s + 0)
    rules = Rules(replace(GRID, origin=VALID_FROM - timedelta(days=2)), deadline=timedelta(hours=1))
    slot = rules.grid.slot_at(moment) - 1
    _, admitted, refused = admit(initial_state(5), shifted, rules, [reading(slot=slot)], moment)
    assert refused.counts() == ({} if refusal is None else {refusal: 1})
    assert admitted.row.size == (refusal is None)


def test_a_naive_clock_is_an_error_not_a_guess() -> None:
    with pytest.raises(InputError, match="aware datetime"):
        admit(initial_state(5), REGISTRY, RULES, [], datetime(2016, 1, 1))


def test_an_empty_batch_is_nothing() -> None:
    state, admitted, refused = admit(initial_state(5), REGISTRY, RULES, [], after(SLOT))
    assert (admitted.row.size, refused.row.size, refused.counts()) == (0, 0, {})
    assert state.last_slot.tolist() == [-1] * 5


def test_signing_names_every_bad_row_at_once() -> None:
    with pytest.raises(InputError) as caught:
        sign_readings(KEYS, [0, 1], [1, -1], [0, 2**63], [0, 0], [1, 1], [0, 0])
    assert [(fault.where, fault.field) for fault in caught.value.faults] == [("row 1", "slot"), ("row 1", "import_wh")]
    with pytest.raises(InputError, match="below 5"):
        sign_readings(KEYS, [5], [1], [0], [0], [1], [0])
    with pytest.raises(InputError, match="one length"):
        sign_readings(KEYS, [0], [1, 2], [0], [0], [1], [0])


def test_a_registry_names_all_its_faults_at_once() -> None:
    public = [KEYS[0].public_key(), KEYS[0].public_key()]
    with pytest.raises(InputError) as caught:
        registry_of(public, [0, 1], [0, 0], [1, 1], [-1, 5], [5])
    assert {fault.field for fault in caught.value.faults} == {"max_import_wh", "max_export_wh", "key"}


def test_rules_with_negative_times_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        Rules(GRID, timedelta(seconds=-1), timedelta(seconds=-1))
    assert len(caught.value.faults) == 2
