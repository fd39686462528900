"""Laws of parcels: admitted exactly as the same readings one by one would be, changed nowhere, each reading provable alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_world import GRID, KEYS, MAX_EXPORT_WH, MAX_IMPORT_WH, STRANGER, after, registry
from walras.errors import InputError
from walras.metering.admission import Rules, admit, initial_state, registry_of, revoke
from walras.metering.identity import ORDER, key_id, sign, verify
from walras.metering.merkle import Proof, root_of
from walras.metering.parcel import (
    MAX_PARCEL_BYTES,
    admit_parcels,
    diagnose_parcel,
    evidence_holds,
    evidence_of,
    sign_parcel,
)
from walras.metering.parcel_reading import CONTEXT, MAX_READINGS, parcel_statement
from walras.metering.reading import encode_payload, sign_readings, unsigned_leaf
from walras.metering.refusals import Refusal
from walras.units import INT64_MAX

REGISTRY = registry()
RULES = Rules(GRID, deadline=timedelta(hours=30))
FIRST = 500
NOW = after(FIRST + 8)
Row = tuple[int, int, int, int, int]

rows_of_a_parcel = st.lists(
    st.tuples(
        st.integers(FIRST - 2, FIRST + 10),
        st.sampled_from([0, 1, 300, MAX_IMPORT_WH // 2, MAX_IMPORT_WH, MAX_IMPORT_WH + 1, INT64_MAX]),
        st.sampled_from([0, 0, 0, 1, MAX_EXPORT_WH // 2, MAX_EXPORT_WH, MAX_EXPORT_WH + 1]),
        st.integers(0, 12),
        st.sampled_from([0, 0, 0, 0, 15, 16]),
    ),
    min_size=1,
    max_size=6,
)
parcels = st.lists(st.tuples(st.integers(0, 3), st.one_of(rows_of_a_parcel, rows_of_a_parcel.map(sorted))), max_size=5)


def parcel(device: int, rows: list[Row]) -> bytes:
    return sign_parcel(KEYS[device], *zip(*rows, strict=True))


def flawless(device: int = 0, count: int = 8) -> bytes:
    return parcel(device, [(FIRST + at, 100 + at, 0, at + 1, 0) for at in range(count)])


@settings(max_examples=80, deadline=None)
@given(parcels)
def test_parcels_are_admitted_as_their_readings_one_by_one(batch: list[tuple[int, list[Row]]]) -> None:
    flat = [(device, row) for device, rows in batch for row in rows]
    singles = [sign_readings(KEYS, [device], *([value] for value in row))[0] for device, row in flat]
    state, admitted, refused = admit(initial_state(5), REGISTRY, RULES, singles, NOW)
    encoded = [parcel(device, rows) for device, rows in batch]
    state_p, admitted_p, refused_p = admit_parcels(initial_state(5), REGISTRY, RULES, encoded, NOW)
    assert state_p.last_counter.tolist() == state.last_counter.tolist()
    assert state_p.last_slot.tolist() == state.last_slot.tolist()
    for name in ("device", "slot", "import_wh", "export_wh", "counter", "quality"):
        assert getattr(admitted_p, name).tolist() == getattr(admitted, name).tolist(), name
    assert refused_p.reason.tolist() == refused.reason.tolist()
    assert refused_p.device.tolist() == refused.device.tolist()
    number = [at for at, (_, rows) in enumerate(batch) for _ in rows]
    assert admitted_p.row.tolist() == [number[row] for row in admitted.row]
    assert admitted_p.encoded == tuple(
        unsigned_leaf(key_id(KEYS[flat[row][0]].public_key()), encode_payload(*flat[row][1])) for row in admitted.row
    )


def test_limits_too_large_for_int64_products_are_still_exact() -> None:
    huge = registry_of([KEYS[0].public_key()], [0], [0], [2**40], [2**62], [2**62])
    rows = [(FIRST, 2**61, 2**61, 1, 0), (FIRST + 1, 2**61, 2**61 + 2, 2, 0)]
    _, admitted, refused = admit_parcels(initial_state(1), huge, RULES, [parcel(0, rows)], NOW)
    assert admitted.slot.tolist() == [FIRST]
    assert refused.counts() == {Refusal.BOTH_ABOVE_CAPACITY: 1}


def test_a_flawless_day_is_admitted_whole_and_a_replay_of_it_not_at_all() -> None:
    state, admitted, refused = admit_parcels(initial_state(5), REGISTRY, RULES, [flawless(), flawless(1)], NOW)
    assert (admitted.slot.size, refused.row.size) == (16, 0)
    _, admitted, refused = admit_parcels(state, REGISTRY, RULES, [flawless()], NOW)
    assert (admitted.slot.size, refused.counts()) == (0, {Refusal.REPLAYED: 8})


def test_the_signature_is_over_a_detached_statement_of_count_and_root() -> None:
    encoded = flawless()
    payloads = [encode_payload(FIRST + at, 100 + at, 0, at + 1, 0) for at in range(8)]
    protected = cbor2.dumps({1: -7, 4: key_id(KEYS[0].public_key())}, canonical=True)
    statement = cbor2.dumps({1: 8, 2: root_of(payloads)}, canonical=True)
    structure = cbor2.dumps(["Signature1", protected, CONTEXT, statement], canonical=True)
    signature = encoded[29:93]
    assert verify(KEYS[0].public_key(), signature, structure)
    assert encoded == cbor2.dumps([cbor2.CBORTag(18, [protected, {}, None, signature]), b"".join(payloads)])


def verdict(encoded: bytes) -> set[Refusal]:
    _, admitted, refused = admit_parcels(initial_state(5), REGISTRY, RULES, [encoded], NOW)
    assert (admitted.row.size == 0) == bool(refused.row.size)
    return set(refused.counts())


def test_flipping_any_bit_of_a_parcel_refuses_the_whole_of_it_by_name() -> None:
    encoded = flawless(count=3)
    assert verdict(encoded) == set()
    for at in range(len(encoded)):
        for bit in range(8):
            changed = bytearray(encoded)
            changed[at] ^= 1 << bit
            assert len(verdict(bytes(changed))) == 1, (at, bit)


def test_every_truncation_of_a_parcel_is_named() -> None:
    encoded = flawless(count=3)
    assert {reason for size in range(len(encoded)) for reason in verdict(encoded[:size])} == {Refusal.TRUNCATED}
    assert verdict(encoded + b"\x00") == {Refusal.TRAILING_BYTES}


def test_leaving_out_adding_or_swapping_readings_breaks_the_signature() -> None:
    encoded = flawless(count=3)
    signed = encoded[:93]
    payloads = [encode_payload(FIRST + at, 100 + at, 0, at + 1, 0) for at in range(4)]
    for chosen in ([0, 1], [0, 1, 2, 3], [1, 0, 2], [0, 1, 1]):
        body = b"".join(payloads[at] for at in chosen)
        assert verdict(signed + cbor2.dumps(body)) == {Refusal.BAD_SIGNATURE}
    assert verdict(signed + cbor2.dumps(b"".join(payloads[:3]))) == set()


def test_forger_stranger_revoked_and_the_other_s() -> None:
    rows = [(FIRST, 1, 0, 1, 0)]
    forged = sign_parcel(STRANGER, *zip(*rows, strict=True))
    assert verdict(forged) == {Refusal.UNKNOWN_DEVICE}
    assert verdict(flawless()[:25] + forged[25:]) == {Refusal.BAD_SIGNATURE}
    _, admitted, refused = admit_parcels(revoke(initial_state(5), [0]), REGISTRY, RULES, [flawless()], NOW)
    assert (admitted.row.size, refused.counts()) == (0, {Refusal.REVOKED: 1})
    encoded = flawless()
    high = (ORDER - int.from_bytes(encoded[61:93], "big")).to_bytes(32, "big")
    assert verdict(encoded[:61] + high + encoded[93:]) == {Refusal.NOT_CANONICAL}


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"", Refusal.WRONG_SHAPE),
        (cbor2.dumps({1: 1, 2: 2, 3: 3, 4: 4}), Refusal.WRONG_SHAPE),
        (cbor2.dumps({1: 1, 2: 2, 3: 3, 4: 4, 5: -1}), Refusal.OUT_OF_RANGE),
        (cbor2.dumps({1: 1, 2: 2, 3: 3, 4: 4, 5: 2**63}), Refusal.OUT_OF_RANGE),
        (cbor2.dumps({1: 1, 2: 2, 3: 3, 4: 4, 5: None}), Refusal.WRONG_SHAPE),
        (cbor2.dumps({1: 1, 2: 2, 3: 3, 5: 4, 4: 0}), Refusal.NOT_CANONICAL),
        (bytes.fromhex("a501180102020303040405" + "00"), Refusal.NOT_CANONICAL),
        (encode_payload(1, 1, 1, 1, 1)[:-1], Refusal.TRUNCATED),
        (encode_payload(1, 1, 1, 1, 1) * (MAX_READINGS + 1), Refusal.WRONG_SHAPE),
        (bytes(MAX_PARCEL_BYTES), Refusal.TOO_LONG),
    ],
)
def test_bodies_that_are_no_readings_have_their_names(body: bytes, refusal: Refusal) -> None:
    assert verdict(flawless()[:93] + cbor2.dumps(body)) == {refusal}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3), st.integers(-40, 5))
def test_no_bytes_whatever_raise(changes: list[tuple[int, int]], length_change: int) -> None:
    data = bytearray(flawless(count=3))
    for at, value in changes:
        data[at % len(data)] = value
    raw = bytes(data[:length_change]) if length_change < 0 else bytes(data) + bytes(length_change)
    assert (raw == flawless(count=3)) == (verdict(raw) == set())


@given(st.binary(max_size=60), st.integers(0, 93))
def test_nor_do_bytes_that_begin_like_a_parcel(tail: bytes, kept: int) -> None:
    assert len(verdict(flawless()[:kept] + tail)) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.data())
def test_each_reading_of_a_parcel_can_be_proven_alone(count: int, data: st.DataObject) -> None:
    encoded = flawless(count=count)
    at = data.draw(st.integers(0, count - 1))
    evidence = evidence_of(encoded, at)
    public = KEYS[0].public_key()
    assert evidence.payload == encode_payload(FIRST + at, 100 + at, 0, at + 1, 0)
    assert evidence_holds(evidence, public)
    assert not evidence_holds(evidence, KEYS[1].public_key())
    assert not evidence_holds(replace(evidence, payload=encode_payload(FIRST + at, 0, 0, at + 1, 0)), public)
    assert not evidence_holds(replace(evidence, proof=Proof(at, count + 1, evidence.proof.siblings)), public)
    assert not evidence_holds(replace(evidence, signature=bytes(64)), public)


def test_evidence_is_refused_where_there_is_none() -> None:
    with pytest.raises(InputError, match="TRUNCATED"):
        evidence_of(flawless()[:-1], 0)
    with pytest.raises(InputError, match="index"):
        evidence_of(flawless(), 8)


def test_threads_change_nothing_in_parcels() -> None:
    batch = [flawless(device, count) for device in range(5) for count in (3, 6)] + [b"", flawless()[:-1]]
    with ThreadPoolExecutor(2) as pool:
        threaded = admit_parcels(initial_state(5), REGISTRY, RULES, batch, NOW, pool)
    alone = admit_parcels(initial_state(5), REGISTRY, RULES, batch, NOW)
    assert threaded[1].encoded == alone[1].encoded
    assert np.array_equal(threaded[2].reason, alone[2].reason)


def test_the_longest_parcel_fits_and_one_reading_more_is_refused() -> None:
    big = [(INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX)]
    longest = parcel(0, big * MAX_READINGS)
    assert len(longest) <= MAX_PARCEL_BYTES
    assert verdict(longest) == {Refusal.EARLY}
    with pytest.raises(InputError, match="from 1 to 300"):
        parcel(0, big * (MAX_READINGS + 1))
    with pytest.raises(InputError, match="row 0: slot"):
        parcel(0, [(-1, 0, 0, 0, 0)])
    assert diagnose_parcel(b"") is Refusal.TRUNCATED


def test_a_parcel_that_begins_at_the_last_counter_loses_its_first_reading() -> None:
    state, _, _ = admit_parcels(initial_state(5), REGISTRY, RULES, [flawless(count=3)], NOW)
    later = parcel(0, [(FIRST + 4, 1, 0, 3, 0), (FIRST + 5, 1, 0, 4, 0)])
    _, admitted, refused = admit_parcels(state, REGISTRY, RULES, [later], NOW)
    assert (admitted.slot.tolist(), refused.counts()) == ([FIRST + 5], {Refusal.REPLAYED: 1})


def test_the_smallest_connection_is_exact_too() -> None:
    tiny = registry_of([KEYS[0].public_key()], [0], [0], [2**40], [1], [1])
    _, admitted, refused = admit_parcels(
        initial_state(1), tiny, RULES, [parcel(0, [(FIRST, 1, 0, 1, 0), (FIRST + 1, 1, 1, 2, 0)])], NOW
    )
    assert (admitted.slot.tolist(), refused.counts()) == ([FIRST], {Refusal.BOTH_ABOVE_CAPACITY: 1})


def test_evidence_under_a_borrowed_name_does_not_hold() -> None:
    evidence = evidence_of(flawless(count=1), 0)
    borrowed = key_id(KEYS[1].public_key())
    signature = sign(KEYS[0], parcel_statement(borrowed, 1, root_of([evidence.payload])))
    assert not evidence_holds(replace(evidence, key_id=borrowed, signature=signature), KEYS[0].public_key())
