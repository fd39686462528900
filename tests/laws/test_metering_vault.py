"""Laws of the vault: a record opens at its own place under its own key, never again once the key is forgotten; digests
tell nothing."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_world import KEYS, RULES, after, registry, slot_batch
from walras.errors import InputError, MeteringError
from walras.metering.identity import key_id
from walras.metering.merkle import SHA256_RFC6962, verify_inclusion
from walras.metering.oracle import close, initial_oracle, receive
from walras.metering.reading import Quality, encode_payload, unsigned_leaf
from walras.metering.slot_readings import SlotReadings
from walras.metering.vault import (
    EMPTY_RING,
    KEY_BYTES,
    Place,
    add_member,
    forget,
    leaf_salt,
    member_key,
    salt_secret,
    seal,
    unseal,
)

MASTER = bytes(range(32))
KEY = sha256(b"member 3").digest()
RING = add_member(EMPTY_RING, MASTER, 3, KEY)
NONCE = b"\x07" * 12
HERE = Place(3, "reading", 40)
places = st.builds(Place, st.integers(0, 5), st.sampled_from(["reading", "readings", ""]), st.integers(0, 5))


@given(st.binary(max_size=200), places, st.binary(min_size=12, max_size=12))
def test_a_record_round_trips_at_its_place(data: bytes, place: Place, nonce: bytes) -> None:
    record = seal(KEY, nonce, place, data)
    assert unseal(KEY, place, record) == data
    assert len(record) == len(data) // 32 * 32 + 32 + 29


@given(st.lists(st.binary(max_size=200), min_size=2, max_size=5), places)
def test_what_is_sealed_to_the_length_of_the_longest_is_all_of_one_length(parts: list[bytes], place: Place) -> None:
    longest = max(map(len, parts)) + 1
    records = [seal(KEY, NONCE, place, part, longest) for part in parts]
    assert [unseal(KEY, place, record) for record in records] == parts
    assert len({len(record) for record in records}) == 1


def test_a_record_of_an_earlier_version_opens_and_is_not_mistaken_for_one_of_now() -> None:
    early = b"\x01" + NONCE + ChaCha20Poly1305(KEY).encrypt(NONCE, b"data\x80\0", HERE.encode())
    assert unseal(KEY, HERE, early) == b"data\x80\0"
    with pytest.raises(MeteringError, match="does not open"):
        unseal(KEY, HERE, b"\x02" + early[1:])
    with pytest.raises(MeteringError, match="does not open"):
        unseal(KEY, HERE, b"\x01" + seal(KEY, NONCE, HERE, b"data")[1:])


@given(places, places)
def test_a_record_moved_to_another_place_does_not_open(one: Place, other: Place) -> None:
    record = seal(KEY, NONCE, one, b"data")
    if one == other:
        assert unseal(KEY, other, record) == b"data"
    else:
        with pytest.raises(MeteringError, match="does not open"):
            unseal(KEY, other, record)


def test_changing_any_bit_or_cutting_a_record_anywhere_is_found() -> None:
    record = seal(KEY, NONCE, HERE, b"twelve bytes")
    for at in range(len(record)):
        changed = bytearray(record)
        changed[at] ^= 1
        with pytest.raises(MeteringError):
            unseal(KEY, HERE, bytes(changed))
        with pytest.raises(MeteringError):
            unseal(KEY, HERE, record[:at])


def test_a_record_hides_what_is_in_it() -> None:
    data = slot_batch(40, 1)[0]
    record = seal(KEY, NONCE, HERE, data)
    assert all(data[at : at + 4] not in record for at in range(len(data) - 4))


def test_the_ring_opens_under_its_master_key_alone() -> None:
    assert member_key(RING, MASTER, 3) == KEY
    assert KEY not in RING.wrapped[3]
    with pytest.raises(MeteringError, match="does not open"):
        member_key(RING, b"\x00" * 32, 3)


def test_a_forgotten_member_is_gone_even_for_the_master_key_and_the_others_are_not() -> None:
    ring = add_member(RING, MASTER, 4, sha256(b"member 4").digest())
    after_erasure = forget(ring, 3)
    with pytest.raises(MeteringError, match="forgotten"):
        member_key(after_erasure, MASTER, 3)
    assert member_key(after_erasure, MASTER, 4) == sha256(b"member 4").digest()
    with pytest.raises(InputError, match="member with a key"):
        forget(after_erasure, 3)


def test_a_second_key_or_a_short_one_is_refused_with_all_faults() -> None:
    with pytest.raises(InputError) as caught:
        add_member(RING, b"short", 3, b"short")
    assert [fault.field for fault in caught.value.faults] == ["key", "member"]
    with pytest.raises(InputError, match="nonce"):
        seal(KEY, b"short", HERE, b"")


def slot_readings() -> SlotReadings:
    from numpy import full

    from metering_world import GRID
    from walras.metering.substitute import NO_FORECAST, SubstituteRule, substitutes

    oracle, _ = receive(initial_oracle(registry()), registry(), RULES, slot_batch(40, 1)[:3], after(40))
    none = full(5, NO_FORECAST)
    return close(oracle, registry(), 40, substitutes(GRID, 40, {}, none, none, SubstituteRule()))[1]


SECRETS = [salt_secret(sha256(bytes([member])).digest()) for member in range(5)]


def test_a_neighbours_unsigned_leaf_can_be_guessed_bare_and_not_salted() -> None:
    readings = slot_readings()
    guesses = [
        unsigned_leaf(key_id(KEYS[4].public_key()), encode_payload(40, wh, 0, 0, Quality.SUBSTITUTE_ZERO)) for wh in range(5_001)
    ]
    digests = {SHA256_RFC6962.leaf(guess) for guess in guesses}
    assert digests & set(readings.tree().levels[0])
    salted = readings.salted_tree(SECRETS)
    assert not digests & {digest for level in salted.levels for digest in level}


@settings(max_examples=5)
@given(st.integers(0, 4))
def test_a_member_shows_their_own_salted_leaf_and_its_salt_opens_no_other(device: int) -> None:
    readings = slot_readings()
    tree = readings.salted_tree(SECRETS)
    leaf = readings.salted_leaf(SECRETS[device], device)
    assert leaf[16:] == readings.leaves[device]
    assert verify_inclusion(leaf, tree.proof(device), tree.root)
    other = (device + 1) % 5
    assert not verify_inclusion(leaf[:16] + readings.leaves[other], tree.proof(other), tree.root)


def test_salts_differ_by_member_device_and_slot() -> None:
    salts = {leaf_salt(secret, device, slot) for secret in SECRETS for device in range(3) for slot in range(3)}
    assert len(salts) == 45
    assert len(KEY) == KEY_BYTES


def test_one_secret_a_device_is_asked_for() -> None:
    with pytest.raises(InputError, match="one a device"):
        slot_readings().salted_tree(SECRETS[:4])
