"""A parcel: an hour's or a day's readings of one meter under one signature over their Merkle root.

    [ 18([ << {1: -7, 4: kid} >>, {}, null, signature ]), << payload 1, payload 2, ... >> ]

The signature (COSE_Sign1 with detached content, RFC 9052 section 4.1) is over the statement {1: count, 2: root}, which
nobody sends: whoever checks the parcel computes it from the payloads, a CBOR sequence (RFC 8742) of the same canonical
payloads that single readings carry. Any change therefore ends in BAD_SIGNATURE. A single reading is shown to a third
party with its inclusion proof (`Evidence`).

Admission is that of single readings, check for check: what concerns the parcel as a whole (encoding, device,
credential, signature) refuses the parcel, what concerns a reading refuses that reading. One verification serves the
whole parcel, so the rest is done on columns; where a parcel is not flawless its readings go one by one through the same
checks as single ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from walras.errors import Fault, InputError
from walras.metering.admission import (
    AdmissionState,
    Admitted,
    Refused,
    Registry,
    Rules,
    admitted_of,
    columns_of,
    frozen,
    refuse_by_time,
    refuse_by_value,
    standing_at,
)
from walras.metering.identity import HALF_ORDER_BYTES, KEY_ID_BYTES, Key, PublicKey, key_id, sign, verify, verify_unchecked
from walras.metering.merkle import Proof, root_from_proof, root_of, tree_over
from walras.metering.parcel_reading import MAX_READINGS, bstr_head, encode_item, parcel_statement
from walras.metering.reading import MAX_DEVICE_QUALITY, encode_payload, read_payload, unsigned_leaf
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import Tagged, loads_strict, sequence_strict
from walras.units import INT64_MAX, Int64

MAX_PARCEL_BYTES = 96 + 51 * MAX_READINGS

_SHORTEST_PAYLOAD = 11
_HEAD = b"\x82\xd2\x84\x55\xa2\x01\x26\x04\x50"
_KID = slice(len(_HEAD), len(_HEAD) + KEY_ID_BYTES)
_MIDDLE = b"\xa0\xf6\x58\x40"
_SIGNATURE = slice(_KID.stop + len(_MIDDLE), _KID.stop + len(_MIDDLE) + 64)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reading of a parcel, checkable by anyone who has the meter's public key."""

    key_id: bytes
    payload: bytes
    proof: Proof
    signature: bytes


def sign_parcel(
    key: Key,
    slot: Iterable[int],
    import_wh: Iterable[int],
    export_wh: Iterable[int],
    counter: Iterable[int],
    quality: Iterable[int],
) -> bytes:
    """The signed parcel of one meter's readings, columns of equal length 1 to MAX_READINGS; InputError for bad numbers."""
    columns = [[int(value) for value in column] for column in (slot, import_wh, export_wh, counter, quality)]
    sizes = {len(column) for column in columns}
    if len(sizes) != 1 or not 1 <= len(columns[0]) <= MAX_READINGS:
        expected = f"one length for all columns, from 1 to {MAX_READINGS}"
        raise InputError("parcel", [Fault("columns", "length", sorted(sizes), expected)])
    names = ("slot", "import_wh", "export_wh", "counter", "quality")
    faults = [
        Fault(f"row {row}", name, value, f"a whole number from 0 to {INT64_MAX}")
        for name, column in zip(names, columns, strict=True)
        for row, value in enumerate(column)
        if not 0 <= value <= INT64_MAX
    ]
    if faults:
        raise InputError("parcel", faults)
    payloads = [encode_payload(*row) for row in zip(*columns, strict=True)]
    kid = key_id(key.public_key())
    signature = sign(key, parcel_statement(kid, len(payloads), root_of(payloads)))
    body = b"".join(payloads)
    return _HEAD + kid + _MIDDLE + signature + bstr_head(len(body)) + body


def readings_of_parcel(parcel: bytes) -> list[bytes]:
    """A parcel's readings, each by itself with its proof and the signature (`parcel_reading`), in their order.

    InputError for bytes that are no parcel. Signature not checked.
    """
    payloads = _payloads(parcel)
    tree = tree_over(payloads)
    kid, signature = parcel[_KID], parcel[_SIGNATURE]
    return [encode_item(kid, payload, tree.proof(at), signature) for at, payload in enumerate(payloads)]


def evidence_of(parcel: bytes, position: int) -> Evidence:
    """The proof of reading `position` of a parcel; InputError for bytes that are no parcel, or a position it has not."""
    payloads = _payloads(parcel)
    proof = tree_over(payloads).proof(position)
    return Evidence(parcel[_KID], payloads[position], proof, parcel[_SIGNATURE])


def _payloads(parcel: bytes) -> list[bytes]:
    payloads = _open([parcel]).payloads
    if not payloads:
        raise InputError("parcel", [Fault("parcel", "bytes", diagnose_parcel(parcel).name, "a parcel of readings")])
    return payloads


def evidence_holds(evidence: Evidence, key: PublicKey) -> bool:
    """True when the meter with `key` signed a parcel in which `evidence.payload` stands at `evidence.proof.index`."""
    root = root_from_proof(evidence.payload, evidence.proof)
    if root is None or key_id(key) != evidence.key_id:
        return False
    return verify(key, evidence.signature, parcel_statement(evidence.key_id, evidence.proof.count, root))


def admit_parcels(
    state: AdmissionState,
    registry: Registry,
    rules: Rules,
    batch: Sequence[bytes],
    now: datetime,
    pool: Executor | None = None,
) -> tuple[AdmissionState, Admitted, Refused]:
    """Fold a batch of parcels into the state, as `admission.admit` does single readings.

    `row` of the results is the parcel's position in the batch, once a reading (once a parcel where all of it is refused).
    Leaves are `unsigned_leaf`s. `pool` (threads) verifies in parallel; the result is the same.
    """
    window = rules.window(now)
    standing = standing_at(registry, state, int(now.timestamp()))
    opened = _open(batch)
    check = _Check(registry, standing, opened)
    reasons = list(map(check, range(len(batch)), batch)) if pool is None else list(pool.map(check, range(len(batch)), batch))
    possible = _possible_rows(registry, opened, window)
    last_counter, last_slot = state.last_counter.tolist(), state.last_slot.tolist()
    taken: list[tuple[int, int]] = []  # rows of the table, half-open
    refused: list[tuple[int, int, int]] = []
    for number, reason in enumerate(reasons):
        device, start, end = opened.device[number], opened.starts[number], opened.starts[number + 1]
        if reason:
            refused.append((number, device, diagnose_parcel(batch[number]) if reason < 0 else reason))
            continue
        first_slot, first_counter = int(opened.table[start, 0]), int(opened.table[start, 3])
        if first_counter > last_counter[device] and first_slot > last_slot[device] and possible[start:end].all():
            taken.append((start, end))
            last_slot[device], last_counter[device] = int(opened.table[end - 1, 0]), int(opened.table[end - 1, 3])
            continue
        for row in range(start, end):
            slot, import_wh, export_wh, counter, quality = (int(value) for value in opened.table[row])
            why = refuse_by_time(slot, counter, last_slot[device], last_counter[device], window) or refuse_by_value(
                import_wh, export_wh, quality, int(registry.max_import_wh[device]), int(registry.max_export_wh[device])
            )
            if why:
                refused.append((number, device, why))
                continue
            taken.append((row, row + 1))
            last_slot[device], last_counter[device] = slot, counter
    counters, slots = np.array(last_counter, dtype=np.int64), np.array(last_slot, dtype=np.int64)
    r = columns_of(refused, 3)
    new_state = AdmissionState(frozen(counters), frozen(slots), state.revoked)
    return new_state, _admitted_rows(batch, opened, taken), Refused(r[0], r[1], r[2])


@dataclass(frozen=True, slots=True)
class _Opened:
    """A batch opened: per parcel its device (-1), and rows starts[i]:starts[i+1] of the table (none where not canonical)."""

    device: list[int]
    starts: list[int]
    table: Int64
    payloads: list[bytes]


class _Check:
    """Per parcel: 0, a Refusal, or -1 for bytes to be diagnosed. Pure; a class only to be mapped over threads."""

    __slots__ = ("opened", "registry", "standing")

    def __init__(self, registry: Registry, standing: list[int], opened: _Opened) -> None:
        self.registry, self.standing, self.opened = registry, standing, opened

    def __call__(self, number: int, parcel: bytes) -> int:
        start, end = self.opened.starts[number], self.opened.starts[number + 1]
        if start == end:
            return -1
        device = self.registry.index.get(parcel[_KID], -1)
        self.opened.device[number] = device
        if device < 0:
            return Refusal.UNKNOWN_DEVICE
        if self.standing[device]:
            return self.standing[device]
        statement = parcel_statement(parcel[_KID], end - start, root_of(self.opened.payloads[start:end]))
        holds = verify_unchecked(self.registry.keys[device], parcel[_SIGNATURE], statement)
        return 0 if holds else Refusal.BAD_SIGNATURE


def _admitted_rows(batch: Sequence[bytes], opened: _Opened, taken: list[tuple[int, int]]) -> Admitted:
    if not taken:
        return admitted_of(columns_of([], 7), ())
    rows = np.concatenate([np.arange(start, end) for start, end in taken])
    number = np.searchsorted(np.array(opened.starts), rows, side="right") - 1
    table = opened.table[rows]
    columns = [number, np.array(opened.device)[number], table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4]]
    prefix = [unsigned_leaf(parcel[_KID], b"") for parcel in batch]
    leaves = tuple(prefix[at] + opened.payloads[row] for at, row in zip(number.tolist(), rows.tolist(), strict=True))
    return admitted_of([frozen(np.ascontiguousarray(column, dtype=np.int64)) for column in columns], leaves)


def _possible_rows(registry: Registry, opened: _Opened, window: tuple[int, int]) -> NDArray[np.bool_]:
    """Rows that no check on values and time can refuse, given that the row before in the parcel is admitted.

    Conservative: where a product could leave int64, all rows are False and go the exact way one by one.
    """
    table = opened.table
    device = np.repeat(np.array(opened.device, dtype=np.int64), np.diff(opened.starts))
    largest = [int(limit.max(initial=0)) for limit in (registry.max_import_wh, registry.max_export_wh)]
    if largest[0] * largest[1] >= 2**61 or not len(registry.keys):
        return np.zeros(device.size, dtype=np.bool_)
    max_import, max_export = registry.max_import_wh[device], registry.max_export_wh[device]
    slot, import_wh, export_wh, counter, quality = table.T
    fits = (import_wh <= max_import) & (export_wh <= max_export) & (quality <= MAX_DEVICE_QUALITY)
    fits &= (slot >= window[0]) & (slot <= window[1])
    one_way = (import_wh == 0) | (export_wh == 0)
    share = np.where(fits, import_wh, 0) * max_export + np.where(fits, export_wh, 0) * max_import
    fits &= one_way | (share <= max_import * max_export)
    rising = np.ones(device.size, dtype=np.bool_)
    rising[1:] = (np.diff(slot) > 0) & (np.diff(counter) > 0)
    first = np.array(opened.starts[:-1], dtype=np.int64)
    rising[first[first < device.size]] = True  # against the state, which is looked at parcel by parcel
    return np.asarray(fits & rising)


def _open(batch: Sequence[bytes]) -> _Opened:
    starts = [0]
    rows: list[tuple[int, int, int, int, int, int]] = []
    payloads: list[bytes] = []
    for parcel in batch:
        body = _body(parcel)
        split = None if body is None else _split(body)
        if split is not None:
            rows += split[0]
            payloads += split[1]
        starts.append(len(rows))
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)[:, :5]
    return _Opened([-1] * len(batch), starts, table, payloads)


def _split(body: bytes) -> tuple[list[tuple[int, int, int, int, int, int]], list[bytes]] | None:
    """Numbers and bytes of one to MAX_READINGS canonical payloads that fill the body, or None."""
    rows: list[tuple[int, int, int, int, int, int]] = []
    payloads = []
    at = 0
    while at < len(body) and len(rows) < MAX_READINGS:
        numbers = read_payload(body, at)
        if numbers is None:
            return None
        rows.append(numbers)
        payloads.append(body[at : numbers[5]])
        at = numbers[5]
    return (rows, payloads) if at == len(body) else None


def _body(parcel: bytes) -> bytes | None:
    """The payloads' bytes of what is laid out as a parcel, or None. Low s is checked, the payloads are not."""
    at = _SIGNATURE.stop
    if not at + 1 + _SHORTEST_PAYLOAD <= len(parcel) <= MAX_PARCEL_BYTES:
        return None
    if parcel[: len(_HEAD)] != _HEAD or parcel[_KID.stop : _SIGNATURE.start] != _MIDDLE:
        return None
    if parcel[at - 32 : at] > HALF_ORDER_BYTES:
        return None
    for width in (1, 2, 3):
        body = parcel[at + width :]
        if bstr_head(len(body)) == parcel[at : at + width]:
            return body
    return None


def diagnose_parcel(parcel: bytes) -> Refusal:
    """Why bytes are not a canonical parcel of readings."""
    if len(parcel) > MAX_PARCEL_BYTES:
        return Refusal.TOO_LONG
    outer = loads_strict(parcel)
    if isinstance(outer, Refusal):
        return outer
    if not (isinstance(outer, list) and len(outer) == 2 and isinstance(outer[0], Tagged) and outer[0].tag == 18):
        return Refusal.WRONG_SHAPE
    signed, body = outer[0].value, outer[1]
    if not (isinstance(signed, list) and len(signed) == 4 and isinstance(body, bytes) and signed[1:3] == [{}, None]):
        return Refusal.WRONG_SHAPE
    protected, signature = signed[0], signed[3]
    if not isinstance(protected, bytes) or not isinstance(signature, bytes) or len(signature) != 64:
        return Refusal.WRONG_SHAPE
    header, payloads = loads_strict(protected), sequence_strict(body)
    for part in (header, payloads):
        if isinstance(part, Refusal):
            return part
    if not isinstance(header, dict) or set(header) != {1, 4} or not isinstance(payloads, list):
        return Refusal.WRONG_SHAPE
    if header[1] != -7:
        return Refusal.WRONG_ALGORITHM
    if not isinstance(header[4], bytes) or len(header[4]) != KEY_ID_BYTES or not 1 <= len(payloads) <= MAX_READINGS:
        return Refusal.WRONG_SHAPE
    for payload in payloads:
        if not isinstance(payload, dict) or set(payload) != {1, 2, 3, 4, 5}:
            return Refusal.WRONG_SHAPE
        if not all(isinstance(value, int) for value in payload.values()):
            return Refusal.WRONG_SHAPE
        if not all(0 <= value <= INT64_MAX for value in payload.values()):
            return Refusal.OUT_OF_RANGE
    if signature[32:] > HALF_ORDER_BYTES:
        return Refusal.NOT_CANONICAL
    raise AssertionError(f"a canonical parcel was not opened: {parcel.hex()}")  # pragma: no cover - held by a law
