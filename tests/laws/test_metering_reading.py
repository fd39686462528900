"""Laws of the canonical reading: one byte string a reading, the same as cbor2's, and nothing else is ever accepted."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metering_world import KEYS, slot_batch
from walras.metering import identity
from walras.metering.reading import (
    CONTEXT,
    MAX_BYTES,
    Reading,
    decode_reading,
    encode_payload,
    sign_reading,
    signed_part,
    split_reading,
)
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import loads_strict
from walras.units import INT64_MAX

KEY_ID = identity.key_id(KEYS[0].public_key())
numbers = st.one_of(st.sampled_from([0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, INT64_MAX]), st.integers(0, INT64_MAX))
five = st.tuples(numbers, numbers, numbers, numbers, numbers)


def payload_by_cbor2(values: tuple[int, ...]) -> bytes:
    return cbor2.dumps(dict(zip(range(1, 6), values, strict=True)), canonical=True)


def reading_by_cbor2(values: tuple[int, ...], signature: bytes) -> bytes:
    protected = cbor2.dumps({1: -7, 4: KEY_ID}, canonical=True)
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload_by_cbor2(values), signature]), canonical=True)


@given(five)
def test_the_fast_payload_is_cbor2s(values: tuple[int, int, int, int, int]) -> None:
    assert encode_payload(*values) == payload_by_cbor2(values)


@settings(max_examples=60)
@given(five)
def test_a_reading_round_trips_and_equals_the_one_built_by_cbor2(values: tuple[int, int, int, int, int]) -> None:
    encoded = sign_reading(KEYS[0], *values)
    assert decode_reading(encoded) == Reading(KEY_ID, *values)
    assert encoded == reading_by_cbor2(values, encoded[-64:])
    assert len(encoded) <= MAX_BYTES


@settings(max_examples=30)
@given(five)
def test_the_signature_is_over_the_sig_structure_of_rfc_9052(values: tuple[int, int, int, int, int]) -> None:
    encoded = sign_reading(KEYS[0], *values)
    protected = cbor2.dumps({1: -7, 4: KEY_ID}, canonical=True)
    structure = cbor2.dumps(["Signature1", protected, CONTEXT, payload_by_cbor2(values)], canonical=True)
    assert signed_part(encoded) == structure
    assert identity.verify(KEYS[0].public_key(), encoded[-64:], structure)


def accepted_slowly(data: bytes) -> bool:
    """The slow, obvious twin: strict CBOR of exactly the right shape with low s."""
    outer = loads_strict(data)
    if not (isinstance(getattr(outer, "value", None), list) and outer.tag == 18 and len(outer.value) == 4):  # type: ignore[union-attr]
        return False
    protected, unprotected, payload, signature = outer.value  # type: ignore[union-attr]
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)) or unprotected != {}:
        return False
    header, body = loads_strict(protected), loads_strict(payload)
    return (
        isinstance(header, dict)
        and isinstance(body, dict)
        and sorted(header) == [1, 4]
        and header[1] == -7
        and isinstance(header[4], bytes)
        and len(header[4]) == 16
        and list(body) == [1, 2, 3, 4, 5]
        and all(type(v) is int and 0 <= v <= INT64_MAX for v in body.values())
        and len(signature) == 64
        and int.from_bytes(signature[32:], "big") <= identity.HALF_ORDER
    )


@settings(max_examples=300)
@given(five, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3), st.integers(-40, 10))
def test_the_fast_reader_accepts_what_the_slow_one_does_and_names_the_rest(
    values: tuple[int, int, int, int, int], changes: list[tuple[int, int]], length_change: int
) -> None:
    data = bytearray(reading_by_cbor2(values, bytes(range(32)) + bytes(range(32))))
    for at, value in changes:
        data[at % len(data)] = value
    raw = bytes(data[:length_change]) if length_change < 0 else bytes(data) + bytes(length_change)
    assert (split_reading(raw) is not None) == accepted_slowly(raw)
    assert isinstance(decode_reading(raw), Reading | Refusal)


@given(st.binary(max_size=MAX_BYTES + 5))
@example(b"")
@example(b"\xd8" * MAX_BYTES)
@example(b"\x9b" + b"\xff" * 8)
@example(b"\xc5\x82\x1b" + b"\xff" * 8 + b"\x01")
def test_no_bytes_whatever_raise(data: bytes) -> None:
    assert isinstance(decode_reading(data), Reading | Refusal)


plain = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=4) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(-300, 300) | st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def in_order(value: object) -> object:
    """Maps sorted by the bytes of their keys, as RFC 8949 section 4.2.1 asks."""
    if isinstance(value, list):
        return [in_order(item) for item in value]
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value, key=cbor2.dumps)}
    return value


@given(plain)
def test_strict_cbor_reads_what_cbor2_writes(value: object) -> None:
    assert loads_strict(cbor2.dumps(in_order(value))) == value


@given(st.binary(max_size=24))
def test_whatever_strict_cbor_accepts_is_spelt_as_cbor2_spells_it(data: bytes) -> None:
    value = loads_strict(data)
    if not isinstance(value, Refusal) and b"Tagged" not in repr(value).encode():
        assert cbor2.dumps(value) == data


@pytest.mark.parametrize(
    ("hexed", "refusal"),
    [
        ("", Refusal.TRUNCATED),
        ("18", Refusal.TRUNCATED),
        ("4401", Refusal.TRUNCATED),
        ("1c", Refusal.NOT_WELL_FORMED),
        ("ff", Refusal.NOT_WELL_FORMED),
        ("f800", Refusal.NOT_WELL_FORMED),
        ("62c328", Refusal.NOT_WELL_FORMED),
        ("bf01ff", Refusal.NOT_WELL_FORMED),
        ("5f6161ff", Refusal.NOT_WELL_FORMED),
        ("0000", Refusal.TRAILING_BYTES),
        ("1817", Refusal.NOT_CANONICAL),
        ("190017", Refusal.NOT_CANONICAL),
        ("1a0000ffff", Refusal.NOT_CANONICAL),
        ("1b00000000ffffffff", Refusal.NOT_CANONICAL),
        ("9f01ff", Refusal.NOT_CANONICAL),
        ("5f4101ff", Refusal.NOT_CANONICAL),
        ("a203000100", Refusal.NOT_CANONICAL),
        ("a201000100", Refusal.NOT_CANONICAL),
        ("f4", Refusal.WRONG_SHAPE),
        ("f97e00", Refusal.WRONG_SHAPE),
    ],
)
def test_strict_cbor_names_what_is_wrong(hexed: str, refusal: Refusal) -> None:
    assert loads_strict(bytes.fromhex(hexed)) == refusal


def test_every_truncation_of_a_reading_is_named() -> None:
    encoded = slot_batch(3, 1)[0]
    for size in range(len(encoded)):
        assert decode_reading(encoded[:size]) is Refusal.TRUNCATED, size


def variant(**changed: object) -> bytes:
    parts = {
        "header": {1: -7, 4: KEY_ID},
        "unprotected": {},
        "body": {1: 3, 2: 300, 3: 0, 4: 1, 5: 0},
        "signature": bytes(64),
        "tag": 18,
    } | changed
    wrapped = [
        cbor2.dumps(parts["header"], canonical=True),
        parts["unprotected"],
        cbor2.dumps(parts["body"], canonical=True),
        parts["signature"],
    ]
    return cbor2.dumps(cbor2.CBORTag(parts["tag"], wrapped), canonical=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"tag": 17}, Refusal.WRONG_SHAPE),
        ({"unprotected": {1: 1}}, Refusal.WRONG_SHAPE),
        ({"header": {1: -7}}, Refusal.WRONG_SHAPE),
        ({"header": {1: -8, 4: KEY_ID}}, Refusal.WRONG_ALGORITHM),
        ({"header": {1: -7, 4: KEY_ID + b"0"}}, Refusal.WRONG_SHAPE),
        ({"header": {1: -7, 4: "home-1"}}, Refusal.WRONG_SHAPE),
        ({"body": {1: 3, 2: 300, 3: 0, 4: 1}}, Refusal.WRONG_SHAPE),
        ({"body": {1: 3, 2: 300, 3: 0, 4: 1, 5: 0, 6: 0}}, Refusal.WRONG_SHAPE),
        ({"body": {1: 3, 2: 0.5, 3: 0, 4: 1, 5: 0}}, Refusal.WRONG_SHAPE),
        ({"body": {1: 3, 2: True, 3: 0, 4: 1, 5: 0}}, Refusal.WRONG_SHAPE),
        ({"body": {1: 3, 2: "300", 3: 0, 4: 1, 5: 0}}, Refusal.WRONG_SHAPE),
        ({"body": {1: 3, 2: -1, 3: 0, 4: 1, 5: 0}}, Refusal.OUT_OF_RANGE),
        ({"body": {1: 3, 2: 2**63, 3: 0, 4: 1, 5: 0}}, Refusal.OUT_OF_RANGE),
        ({"signature": bytes(63)}, Refusal.WRONG_SHAPE),
        ({"signature": b"\xff" * 64}, Refusal.NOT_CANONICAL),
        ({"signature": bytes(32) + (identity.HALF_ORDER + 1).to_bytes(32, "big")}, Refusal.NOT_CANONICAL),
        ({"signature": b"\xff" * 110}, Refusal.TOO_LONG),
    ],
)
def test_every_other_shape_has_its_name(changed: dict[str, object], refusal: Refusal) -> None:
    assert decode_reading(variant(**changed)) is refusal


def test_half_the_order_itself_is_still_canonical() -> None:
    assert isinstance(decode_reading(variant(signature=bytes(32) + identity.HALF_ORDER_BYTES)), Reading)


def test_the_longest_reading_is_read_and_one_byte_more_is_not_looked_into() -> None:
    encoded = sign_reading(KEYS[0], *[INT64_MAX] * 5)
    assert len(encoded) == MAX_BYTES
    assert isinstance(decode_reading(encoded), Reading)
    assert decode_reading(encoded + b"\x00") is Refusal.TOO_LONG


@pytest.mark.parametrize(
    ("payload", "refusal"),
    [
        ("a5010302190103030004010500", None),
        ("a501180302190103030004010500", Refusal.NOT_CANONICAL),
        ("a501190017021901030300" + "04010500", Refusal.NOT_CANONICAL),
        ("a50103021a00000103030004010500", Refusal.NOT_CANONICAL),
        ("a50103021b0000000000000103030004010500", Refusal.NOT_CANONICAL),
        ("a50219010301030300" + "04010500", Refusal.NOT_CANONICAL),
        ("a501030219010303000401050000", Refusal.TRAILING_BYTES),
        ("a501030219010303000401", Refusal.TRUNCATED),
        ("bf010302190103030004010500ff", Refusal.NOT_CANONICAL),
        ("a50103021c0103030004010500", Refusal.NOT_WELL_FORMED),
    ],
)
def test_the_payload_has_one_spelling(payload: str, refusal: Refusal | None) -> None:
    raw = bytes.fromhex(payload)
    head = sign_reading(KEYS[0], 3, 259, 0, 1)[:25]
    decoded = decode_reading(head + bytes([0x40 + len(raw)]) + raw + b"\x58\x40" + bytes(64))
    assert decoded == (Reading(KEY_ID, 3, 259, 0, 1) if refusal is None else refusal)


def test_the_length_of_the_payload_has_one_spelling() -> None:
    raw = encode_payload(3, 259, 0, 1, 0)
    head = sign_reading(KEYS[0], 3, 259, 0, 1)[:25]
    long_form = head + bytes([0x58, len(raw)]) + raw + b"\x58\x40" + bytes(64)
    assert decode_reading(long_form) is Refusal.NOT_CANONICAL
