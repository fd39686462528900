"""Readings of parcels on the wire: one byte string each, admitted as single ones are, one verification a parcel; what is forged."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cbor2
import pytest

from metering_nodes import GATEWAY_KEY, KIDS, OPEN, ORACLE_KEY, ClockFile, gateway, oracle, reading_store, vote_message
from metering_world import KEYS, RULES, STRANGER, after, registry, slot_batch
from walras.errors import InputError
from walras.metering import parcel_reading
from walras.metering.admission import admit, initial_state, revoke
from walras.metering.gateway import seal_batch
from walras.metering.identity import ORDER, PrivateKey, verify
from walras.metering.merkle import tree_over
from walras.metering.parcel import admit_parcels, readings_of_parcel, sign_parcel
from walras.metering.parcel_reading import MAX_ITEM_BYTES, MAX_READINGS, diagnose_item, encode_item, leaf_of, split_item
from walras.metering.reading import encode_payload, sign_reading, unsigned_leaf
from walras.metering.refusals import Refusal
from walras.service.gateway_node import TAKEN
from walras.units import INT64_MAX

SLOT = 40  # 10:00 local: the first quarter of an hour
HOUR = range(SLOT, SLOT + 4)


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def parcel(key: PrivateKey, slots: range = HOUR, import_wh: int = 300, counter: int = 1) -> bytes:
    count = len(slots)
    return sign_parcel(key, slots, [import_wh] * count, [0] * count, range(counter, counter + count), [0] * count)


def hour(key: PrivateKey, import_wh: int = 300, counter: int = 1) -> list[bytes]:
    return readings_of_parcel(parcel(key, HOUR, import_wh, counter))


def forged(item: bytes, source: bytes) -> bytes:
    """The first reading in the place that another has: its path and signature."""
    head = len(KIDS[0]) + 8 + 7
    return source[:head] + item[head : head + 14] + source[head + 14 :]


def test_a_parcels_reading_is_canonical_cbor_with_its_place_and_the_parcels_signature() -> None:
    whole = parcel(KEYS[0])
    items = readings_of_parcel(whole)
    payloads = [encode_payload(slot, 300, 0, counter, 0) for counter, slot in enumerate(HOUR, 1)]
    for at, item in enumerate(items):
        value = cbor2.loads(item)
        protected, unprotected, content, signature = value.value
        assert (value.tag, content, cbor2.loads(protected)) == (18, None, {1: -7, 4: KIDS[0]})
        siblings = tree_over(payloads).proof(at).siblings
        assert list(unprotected) == [-65537]
        assert list(unprotected[-65537]) == [cbor2.loads(payloads[at]), at, 4, b"".join(siblings)]
        assert cbor2.dumps(value, canonical=True) == item
        assert signature == cbor2.loads(whole)[0].value[3]
        assert split_item(item) == (KIDS[0], SLOT + at, 300, 0, at + 1, 0)
        assert leaf_of(item) == unsigned_leaf(KIDS[0], payloads[at])
    alone = sign_reading(KEYS[0], SLOT, 1, 0, 1)
    assert leaf_of(alone) == alone
    with pytest.raises(InputError):
        readings_of_parcel(alone)


@pytest.mark.parametrize("count", [1, 2, 3, 24, 96, 257, MAX_READINGS])
def test_readings_of_parcels_of_any_size_are_admitted_as_the_parcel_is(count: int) -> None:
    slots = range(SLOT, SLOT + min(count, 4))
    big = [encode_payload(slot, 300, 0, counter, 0) for counter, slot in enumerate(range(SLOT, SLOT + count), 1)]
    whole = parcel(KEYS[1], range(SLOT, SLOT + count))
    items = readings_of_parcel(whole)
    assert len(items) == len(big) == count
    now = after(slots[-1])
    state, admitted, refused = admit(initial_state(5), registry(), RULES, items, now)
    state_p, admitted_p, refused_p = admit_parcels(initial_state(5), registry(), RULES, [whole], now)
    assert tuple(map(leaf_of, admitted.encoded)) == admitted_p.encoded
    assert (state.last_counter.tolist(), refused.counts()) == (state_p.last_counter.tolist(), refused_p.counts())
    with ThreadPoolExecutor(3) as pool:
        assert admit(initial_state(5), registry(), RULES, items, now, pool)[1].encoded == admitted.encoded


def test_the_longest_fits_its_bound() -> None:
    largest = [INT64_MAX] * MAX_READINGS
    items = readings_of_parcel(sign_parcel(KEYS[0], largest, largest, largest, largest, largest))
    assert max(map(len, items)) == MAX_ITEM_BYTES
    assert all(split_item(item) is not None for item in items)


def test_one_verification_serves_a_parcel_and_a_forger_displaces_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    bare = parcel_reading.verify_unchecked

    def counted(key: object, signature: bytes, message: bytes) -> bool:
        asked.append(signature)
        return bare(key, signature, message)  # type: ignore[arg-type]

    monkeypatch.setattr(parcel_reading, "verify_unchecked", counted)
    monkeypatch.setattr(parcel_reading, "_MEMORY", parcel_reading._Memory(2))
    now = after(HOUR[-1])
    _, admitted, _ = admit(initial_state(5), registry(), RULES, hour(KEYS[0]) + hour(KEYS[1]), now)
    assert (admitted.row.size, len(asked)) == (8, 2)
    wrong = [forged(one, other) for one, other in zip(hour(KEYS[0], 301), hour(KEYS[0]), strict=True)]
    _, admitted, refused = admit(initial_state(5), registry(), RULES, wrong + hour(KEYS[0]), now)
    assert (admitted.row.size, refused.counts()) == (4, {Refusal.BAD_SIGNATURE: 4})
    assert len(asked) == 2 + 4  # each forgery is verified, none is kept
    admit(initial_state(5), registry(), RULES, hour(KEYS[0]), now)
    assert len(asked) == 2 + 4
    for number in range(2, 5):  # twice as many as are remembered, and one: the first is forgotten
        admit(initial_state(5), registry(), RULES, hour(KEYS[number]), now)
    admit(initial_state(5), registry(), RULES, hour(KEYS[0]), now)
    assert len(asked) == 2 + 4 + 3 + 1


def test_what_is_remembered_of_a_signature_holds_under_its_key_alone_and_outlives_no_revocation() -> None:
    items, now = hour(KEYS[0]), after(HOUR[-1])
    assert admit(initial_state(5), registry(), RULES, items, now)[1].row.size == 4
    _, admitted, refused = admit(revoke(initial_state(5), [0]), registry(), RULES, items, now)
    assert (admitted.row.size, refused.counts()) == (0, {Refusal.REVOKED: 4})
    assert parcel_reading.item_holds(KEYS[0].public_key(), items[0])
    assert not parcel_reading.item_holds(KEYS[1].public_key(), items[0])


def test_changing_any_bit_or_cutting_anywhere_is_refused() -> None:
    item, now = hour(KEYS[0])[1], after(HOUR[-1])
    changed = [bytes([*item[:at], item[at] ^ 1 << bit, *item[at + 1 :]]) for at in range(len(item)) for bit in range(8)]
    _, admitted, refused = admit(initial_state(5), registry(), RULES, changed, now)
    assert (admitted.row.size, refused.row.size) == (0, len(changed))
    cut = [item[:at] for at in range(len(item))]
    assert {diagnose_item(one) for one in cut} == {Refusal.TRUNCATED}
    assert not admit(initial_state(5), registry(), RULES, cut, now)[1].row.size


def test_each_malformed_spelling_has_its_name() -> None:
    proof = tree_over([encode_payload(SLOT, 1, 0, 1, 0)]).proof(0)
    high_s = bytes(31) + b"\x01" + (ORDER - 1).to_bytes(32, "big")
    good = readings_of_parcel(parcel(KEYS[0], range(SLOT, SLOT + 1)))[0]
    beyond = b"\xa5\x01" + b"\x1b" + (INT64_MAX + 1).to_bytes(8, "big") + b"\x02\x01\x03\x00\x04\x01\x05\x00"
    named = {
        good + b"\x00": Refusal.TRAILING_BYTES,
        encode_item(KIDS[0], encode_payload(SLOT, 1, 0, 1, 0), proof, high_s): Refusal.NOT_CANONICAL,
        encode_item(KIDS[0], beyond, proof, bytes(64)): Refusal.OUT_OF_RANGE,
        good.replace(b"\x00\x01\x40\xf6", b"\x01\x01\x40\xf6"): Refusal.WRONG_SHAPE,  # place 1 of 1
        good.replace(b"\x00\x01\x40\xf6", b"\x18\x00\x01\x40\xf6"): Refusal.NOT_CANONICAL,
        good.replace(b"\x00\x01\x40\xf6", b"\x00\x02\x40\xf6"): Refusal.WRONG_SHAPE,  # the sibling is missing
        good + bytes(MAX_ITEM_BYTES): Refusal.TOO_LONG,
    }
    assert len(named) == 7
    for encoded, why in named.items():
        assert (split_item(encoded), diagnose_item(encoded)) == (None, why)


def test_a_gateway_names_what_is_forged_in_parcels_and_takes_a_counter_once(tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [])
    mine, other = hour(KEYS[0]), hour(KEYS[0], import_wh=400)
    swapped = forged(mine[0], mine[2])
    assert list(gate.take_readings([forged(other[0], mine[0]), swapped, hour(STRANGER)[0]])) == [
        Refusal.BAD_SIGNATURE,  # under another parcel's root
        Refusal.BAD_SIGNATURE,  # by another reading's path
        Refusal.UNKNOWN_DEVICE,
    ]
    assert list(gate.take_readings([mine[1], mine[0], mine[1], *mine[2:]])) == [TAKEN] * 5
    assert list(gateway(tmp_path / "g.db", []).take_readings([*mine, *other])) == [TAKEN] * 4 + [Refusal.REPLAYED] * 4
    alone = sign_reading(KEYS[0], SLOT, 300, 0, 1)
    assert list(gate.take_readings([alone])) == [Refusal.REPLAYED]


def test_hourly_parcels_reach_the_vote_through_restarts_and_the_oracle_judges_for_itself(tmp_path: Path) -> None:
    clock = ClockFile(tmp_path / "clock")
    clock.set(after(HOUR[-1]))
    gate = gateway(tmp_path / "g.db", [])
    parcels = [parcel(key) for key in KEYS]
    items = [item for one in parcels for item in readings_of_parcel(one)]
    assert list(gate.take_readings(items[:10])) == [TAKEN] * 10
    gate = gateway(tmp_path / "g.db", [])  # the first was never closed, as after a kill
    assert list(gate.take_readings(items)) == [TAKEN] * 20
    assert gate.seal_waiting() == 0
    batch = gate.batch(0)
    node = oracle(tmp_path / "o.db", clock)
    assert node.receive(batch) == node.receive(batch) == 0
    later = hour(KEYS[3], 999, counter=3)  # another parcel with counters that were there, and slots that were
    node = oracle(tmp_path / "o.db", clock)
    node.receive(seal_batch(GATEWAY_KEY, 7, [*later, *slot_batch(SLOT, 1)]))
    clock.set(after(HOUR[-1], RULES.deadline.total_seconds() + 1))
    _, library, _ = admit_parcels(initial_state(5), registry(), RULES, parcels, after(HOUR[-1]))
    for slot in HOUR:
        node = oracle(tmp_path / "o.db", clock)
        vote, readings = node.vote(slot), node.readings_of(slot)
        assert readings.import_wh.tolist() == [300] * 5
        assert not readings.quality.any()
        assert readings.leaves == library.where(library.slot == slot).encoded
        assert vote.root == readings.tree().root
        assert verify(ORACLE_KEY.public_key(), vote.signature, vote_message(slot, vote.root))
    refused = reading_store(tmp_path / "o.db").refused_counts()
    assert refused == {Refusal.REPLAYED: 2 + 5, Refusal.DUPLICATE: 1, Refusal.BACKDATED: 1}


def test_an_oracle_refuses_what_a_gateway_lets_through(tmp_path: Path) -> None:
    clock = ClockFile(tmp_path / "clock")
    clock.set(after(HOUR[-1]))
    node = oracle(tmp_path / "o.db", clock, revoked=lambda _: [KIDS[1]])
    mine, other = hour(KEYS[0]), hour(KEYS[0], import_wh=400)
    sent = [forged(other[0], mine[0]), forged(mine[1], mine[2]), hour(STRANGER)[0], *hour(KEYS[1]), *mine[2:], mine[3]]
    node.receive(seal_batch(GATEWAY_KEY, 0, sent))
    assert reading_store(tmp_path / "o.db").refused_counts() == {
        Refusal.UNKNOWN_DEVICE: 1,
        Refusal.REVOKED: 4,
        Refusal.BAD_SIGNATURE: 2,
        Refusal.REPLAYED: 1,
    }
    clock.set(after(HOUR[-1], RULES.deadline.total_seconds() + 1))
    assert [int(node.readings_of(slot).quality[0] == 0) for slot in HOUR] == [0, 0, 1, 1]
