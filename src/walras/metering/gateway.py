"""What a gateway takes from meters, and how it hands it on: batches in a fixed order, numbered, under a signed Merkle root.

    [ 18([ << {1: -7, 4: kid} >>, {}, null, signature ]), number, [reading, reading, ...] ]

The signature is over {1: number, 2: count, 3: root}, which the receiver computes (as in `parcel`). It says that this
gateway sent these bytes under this number, no more: whether the readings are true is each oracle's own judgement. So a
gateway that changes or invents a reading is found by the meter's signature, one that sends a number twice with
different content has signed the proof against itself, and one that drops readings leaves gaps in the meters' counters
(`validation`).

A gateway takes a reading once, in any order, also one that comes after its siblings were handed on: whether it is too late is the
oracles' judgement. A batch holds readings by device and counter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import cbor2

from walras.errors import Fault, InputError
from walras.metering.identity import Key, PublicKey, key_id, sign, verify
from walras.metering.merkle import root_of
from walras.metering.parcel_reading import MAX_ITEM_BYTES, diagnose_item, item_holds, split_item
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import Tagged, loads_strict

CONTEXT = b"walras batch 1"
MAX_BATCH = 10_000
MAX_BATCH_BYTES = 150 + (3 + MAX_ITEM_BYTES) * MAX_BATCH


class BatchRefusal(Enum):
    """Why a batch was not opened."""

    MALFORMED = "not the canonical encoding of a batch"
    BAD_SIGNATURE = "not signed by this gateway, or changed since"


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings (encoded) that a gateway handed on together under a number that it uses once."""

    gateway: bytes
    number: int
    root: bytes
    readings: tuple[bytes, ...]
    signature: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """A reading that a gateway takes: its place in the order of the batch, its slot and its bytes."""

    key_id: bytes
    counter: int
    slot: int
    encoded: bytes


def look_at(encoded: bytes, keys: Mapping[bytes, PublicKey]) -> Taken | Refusal:
    """Whether a gateway takes a reading: canonical, of a known device, truly signed, alone or in a parcel (`parcel_reading`).

    That it is not taken twice is the store's part; the judgement on time, plausibility and credentials is the oracles'.
    """
    fields = split_item(encoded)
    if fields is None:
        return diagnose_item(encoded)
    kid, slot, _, _, counter, _ = fields
    if kid not in keys:
        return Refusal.UNKNOWN_DEVICE
    if not item_holds(keys[kid], encoded):
        return Refusal.BAD_SIGNATURE
    return Taken(kid, counter, slot, encoded)


def seal_batch(key: Key, number: int, readings: Sequence[bytes]) -> bytes:
    """The signed batch; the same readings under the same number give the same bytes. InputError for none or too many."""
    if not 1 <= len(readings) <= MAX_BATCH or number < 0:
        expected = f"1 to {MAX_BATCH} readings under a number >= 0"
        raise InputError("batch", [Fault("batch", "readings", (number, len(readings)), expected)])
    kid = key_id(key.public_key())
    signature = sign(key, _signed_part(kid, number, len(readings), root_of(readings)))
    protected = cbor2.dumps({1: -7, 4: kid})
    return cbor2.dumps([cbor2.CBORTag(18, [protected, {}, None, signature]), number, list(readings)])


def open_batch(encoded: bytes, key: PublicKey) -> Batch | BatchRefusal:
    """The batch that the gateway with `key` signed. Its readings are bytes still to be admitted."""
    value = loads_strict(encoded) if len(encoded) <= MAX_BATCH_BYTES else Refusal.TOO_LONG
    kid = key_id(key)
    match value:
        case [Tagged(18, [bytes() as protected, {} as unprotected, None, bytes() as signature]), int() as number, [*items]]:
            readings = tuple(item for item in items if isinstance(item, bytes))
            shaped = protected == cbor2.dumps({1: -7, 4: kid}) and unprotected == {} and number >= 0
            if not shaped or not 1 <= len(readings) <= MAX_BATCH or len(readings) != len(items):
                return BatchRefusal.MALFORMED
            root = root_of(readings)
            if not verify(key, signature, _signed_part(kid, number, len(readings), root)):
                return BatchRefusal.BAD_SIGNATURE
            return Batch(kid, number, root, readings, signature)
    return BatchRefusal.MALFORMED


def proves_two_contents(one: bytes, other: bytes, key: PublicKey) -> bool:
    """True when the gateway signed two different batches under one number: proof enough against it."""
    first, second = open_batch(one, key), open_batch(other, key)
    if isinstance(first, BatchRefusal) or isinstance(second, BatchRefusal):
        return False
    return first.number == second.number and first.root != second.root


def _signed_part(kid: bytes, number: int, count: int, root: bytes) -> bytes:
    protected = cbor2.dumps({1: -7, 4: kid})
    statement = cbor2.dumps({1: number, 2: count, 3: root})
    return cbor2.dumps(["Signature1", protected, CONTEXT, statement])
