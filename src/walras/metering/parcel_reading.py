"""A reading of a parcel that travels by itself: its payload, its place in the parcel, and the meter's one signature over all.

    18([ << {1: -7, 4: kid} >>, {-65537: [payload, index, count, siblings]}, null, signature ])

COSE_Sign1 with detached content (RFC 9052 section 4.1); what is signed is the parcel's statement {1: count, 2: root}, which nobody
sends: the root follows from the payload and its siblings (32 bytes each, from the lowest up; RFC 9162 section 2.1.3.2). The label
is of the range for private use (RFC 9052 section 11.2). Key id and signature stand where a reading signed alone has them.

So whoever takes signed readings takes these, one by one, by the same checks: `split_item`, `item_holds`, `diagnose_item` and
`leaf_of` know both kinds. A parcel's signature is verified once: what held is remembered, for `REMEMBERED` parcels or more, and
each further reading of it costs hashes. Only what held is kept, so a forger displaces nothing; whether a key still counts is
asked apart from it, each time. There is one byte string for a reading under a signature, as for readings signed alone.
"""

from __future__ import annotations

from walras.metering.identity import HALF_ORDER_BYTES, PublicKey, verify_unchecked
from walras.metering.merkle import Proof, root_from_proof
from walras.metering.reading import KEY_ID, Fields, diagnose, read_payload, signed_part, split_reading, unsigned_leaf
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import Tagged, loads_strict
from walras.units import INT64_MAX

CONTEXT = b"walras parcel 1"
"""External data under every parcel's signature: a parcel's root can pass for nothing else."""

MAX_READINGS = 300
"""The most readings of one parcel: a day of 25 hours in slots of five minutes."""

MAX_ITEM_BYTES = 445
"""The longest: 31 bytes of head, 51 of payload, index in 2 and count in 3, 9 siblings in 291, 67 of null and signature."""

REMEMBERED = 4_096
"""Parcels whose signature is remembered to have held, at least."""

_HEAD = b"\xd2\x84\x55\xa2\x01\x26\x04\x50"
_MIDDLE = b"\xa1\x3a\x00\x01\x00\x00\x84"  # a map of one, -65537: array of 4
_PAYLOAD_AT = KEY_ID.stop + len(_MIDDLE)
_SIGNATURE_HEAD = b"\xf6\x58\x40"
_TAIL = len(_SIGNATURE_HEAD) + 64
_SIGN_HEAD = b"\x84\x6aSignature1\x55\xa2\x01\x26\x04\x50"
_CONTEXT_BSTR = bytes([0x40 + len(CONTEXT)]) + CONTEXT


class _Memory:
    """Statements with their signature that held under a key: the last `most` at least, twice as many at the most.

    Threads may share it: what they can lose to each other is a memory, never a verification.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[bytes, PublicKey] = {}
        self._old: dict[bytes, PublicKey] = {}

    def knows(self, spoken: bytes, key: PublicKey) -> bool:
        return (self._young.get(spoken) or self._old.get(spoken)) == key

    def keep(self, spoken: bytes, key: PublicKey) -> None:
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[spoken] = key


_MEMORY = _Memory(REMEMBERED)


def parcel_statement(kid: bytes, count: int, root: bytes) -> bytes:
    """What the signature of a parcel is over: the Sig_structure (RFC 9052 section 4.4) of {1: count, 2: root}."""
    statement = b"\xa2\x01" + _uint(count) + b"\x02\x58\x20" + root
    return _SIGN_HEAD + kid + _CONTEXT_BSTR + bstr_head(len(statement)) + statement


def encode_item(kid: bytes, payload: bytes, proof: Proof, signature: bytes) -> bytes:
    """The bytes of a parcel's reading with its proof and the parcel's signature. Nothing is checked."""
    return b"".join(
        (_HEAD, kid, _MIDDLE, payload, _place(proof.index, proof.count, 32 * len(proof.siblings)), *proof.siblings,
         _SIGNATURE_HEAD, signature)
    )  # fmt: skip


def split_item(encoded: bytes) -> Fields | None:
    """The fields of a canonical reading, signed alone or in a parcel, or None. Signature not checked, but low s is."""
    fields = split_reading(encoded)
    if fields is not None:
        return fields
    opened = _opened(encoded)
    return None if opened is None else (encoded[KEY_ID], *opened[0])


def item_holds(key: PublicKey, encoded: bytes) -> bool:
    """Whether the meter with `key` signed what `split_item` could split: the reading, or a parcel in which it has its place."""
    opened = _opened(encoded)
    if opened is None:
        return verify_unchecked(key, encoded[-64:], signed_part(encoded))
    _, payload, proof = opened
    root = root_from_proof(payload, proof)
    if root is None:
        return False
    statement, signature = parcel_statement(encoded[KEY_ID], proof.count, root), encoded[-64:]
    if _MEMORY.knows(statement + signature, key):
        return True
    holds = verify_unchecked(key, signature, statement)
    if holds:
        _MEMORY.keep(statement + signature, key)
    return holds


def leaf_of(encoded: bytes) -> bytes:
    """The leaf of an admitted reading under its slot's root: the signed reading as it is, [key_id, payload] of a parcel's."""
    opened = _opened(encoded)
    return encoded if opened is None else unsigned_leaf(encoded[KEY_ID], opened[1])


def fields_of_leaf(leaf: bytes) -> Fields | None:
    """The fields of a reading's leaf, signed alone or in a parcel, or of a substitute's; None for any other bytes."""
    fields = split_reading(leaf)
    if fields is not None or leaf[:2] != b"\x82\x50":
        return fields
    numbers = read_payload(leaf, 18)
    return (leaf[2:18], *numbers[:5]) if numbers is not None and numbers[5] == len(leaf) else None


def diagnose_item(encoded: bytes) -> Refusal:
    """Why `split_item` gave None."""
    if encoded[: len(_HEAD)] != _HEAD or encoded[KEY_ID.stop : KEY_ID.stop + 1] != _MIDDLE[:1]:
        return diagnose(encoded)
    if len(encoded) > MAX_ITEM_BYTES:
        return Refusal.TOO_LONG
    match loads_strict(encoded):
        case Refusal() as why:
            return why
        case Tagged(18, [_, {-65537: [dict() as numbers, int(), int(), bytes()]}, None, bytes() as signature]):
            if any(isinstance(value, int) and not 0 <= value <= INT64_MAX for value in numbers.values()):
                return Refusal.OUT_OF_RANGE
            if len(signature) == 64 and signature[32:] > HALF_ORDER_BYTES:
                return Refusal.NOT_CANONICAL
    return Refusal.WRONG_SHAPE


def _opened(encoded: bytes) -> tuple[tuple[int, int, int, int, int], bytes, Proof] | None:
    """The five numbers, the payload and its proof, of the canonical bytes of a parcel's reading; else None."""
    if encoded[KEY_ID.stop : _PAYLOAD_AT] != _MIDDLE or encoded[: len(_HEAD)] != _HEAD or len(encoded) > MAX_ITEM_BYTES:
        return None
    end = len(encoded) - _TAIL
    numbers = read_payload(encoded, _PAYLOAD_AT) if encoded[end : end + 3] == _SIGNATURE_HEAD else None
    if numbers is None or numbers[5] >= end or encoded[end + 35 :] > HALF_ORDER_BYTES:
        return None
    behind = numbers[5]
    index, at = _read_uint(encoded, behind)
    count, at = _read_uint(encoded, at)
    if not 0 <= index < count <= MAX_READINGS:
        return None
    size = 32 * _depth(index, count)
    place = _place(index, count, size)
    at = behind + len(place)
    if encoded[behind:at] != place or at + size != end:
        return None
    siblings = tuple(encoded[start : start + 32] for start in range(at, end, 32))
    return numbers[:5], encoded[_PAYLOAD_AT:behind], Proof(index, count, siblings)


def _depth(index: int, count: int) -> int:
    """How many siblings leaf `index` of `count` has."""
    depth, last = 0, count - 1
    while last:
        depth += index ^ 1 <= last
        index >>= 1
        last >>= 1
    return depth


def _place(index: int, count: int, size: int) -> bytes:
    return _uint(index) + _uint(count) + bstr_head(size)


def _read_uint(data: bytes, at: int) -> tuple[int, int]:
    """A number of at most two bytes and the position behind it, -1 for none. Whether it is the shortest form is seen elsewhere."""
    head = data[at]
    width = {0x18: 1, 0x19: 2}.get(head, 0)
    return (int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else head if head < 24 else -1), at + 1 + width


def _uint(value: int) -> bytes:
    if value < 24:
        return bytes((value,))
    return b"\x18" + bytes((value,)) if value < 256 else b"\x19" + value.to_bytes(2, "big")


def bstr_head(size: int) -> bytes:
    """The head of a byte string of so many bytes, below 65,536."""
    if size < 24:
        return bytes((0x40 + size,))
    return b"\x58" + bytes((size,)) if size < 256 else b"\x59" + size.to_bytes(2, "big")
