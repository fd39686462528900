"""Editing after the fact: a closed slot is never changed, it gets a corrected successor, and the difference is settled.

    corrected(readings, corrections) -> readings'          difference(readings, readings') -> columns for a correcting
    settlement

Every correction says which device, from what to what, why, and who answers for it; its leaf carries all of that, so the
corrected slot has its own Merkle root to be attested. A late signed reading corrects a substitute without anybody's
judgement (`corrected_by_late_reading`): the leaf is the reading itself. Nothing measured is ever replaced by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from walras.errors import Fault, InputError
from walras.metering.admission import Registry, frozen, refuse_by_value
from walras.metering.identity import KEY_ID_BYTES, key_id
from walras.metering.parcel_reading import diagnose_item, item_holds, leaf_of, split_item
from walras.metering.reading import MAX_DEVICE_QUALITY, Quality, encode_payload, read_payload
from walras.metering.refusals import Refusal
from walras.metering.slot_readings import SlotReadings
from walras.metering.strict_cbor import sequence_strict
from walras.units import INT64_MAX, Int64


class Reason(IntEnum):
    """Why a value was corrected. The numbers are part of the record."""

    METER_FAULT = 1
    METER_EXCHANGE = 2
    WRONG_SUBSTITUTE = 3
    CLOCK_FAULT = 4
    REGISTER_TOTAL = 5
    """The registers before and after a gap say what went through it."""


@dataclass(frozen=True, slots=True)
class Correction:
    """One device's value in one slot, corrected. `was` and `now` are (import, export) in Wh >= 0; `by` names who answers."""

    device: int
    was: tuple[int, int]
    now: tuple[int, int]
    reason: Reason
    by: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What a correction changes: devices, and the change of import and export in Wh (either sign)."""

    slot: int
    device: Int64
    import_wh: Int64
    export_wh: Int64


def corrected(registry: Registry, readings: SlotReadings, corrections: Sequence[Correction]) -> SlotReadings:
    """The successor of `readings`. InputError naming every correction that does not fit: wrong `was`, negative,
    nameless, twice."""
    faults = []
    seen: set[int] = set()
    for number, change in enumerate(corrections):
        where = f"correction {number} of slot {readings.slot}"
        if not 0 <= change.device < readings.import_wh.size:
            faults.append(Fault(where, "device", change.device, f"from 0 to {readings.import_wh.size - 1}"))
            continue
        stands = (int(readings.import_wh[change.device]), int(readings.export_wh[change.device]))
        if change.was != stands:
            faults.append(Fault(where, "was", change.was, f"what stands there: {stands}"))
        if not all(0 <= value <= INT64_MAX for value in change.now):
            faults.append(Fault(where, "now", change.now, "energies >= 0"))
        if not change.by.strip():
            faults.append(Fault(where, "by", change.by, "the name of who answers for it"))
        if change.device in seen:
            faults.append(Fault(where, "device", change.device, "each device once"))
        seen.add(change.device)
    if faults:
        raise InputError("corrections", faults)
    after = readings
    for change in corrections:
        kid = key_id(registry.keys[change.device])
        leaf = encode_correction(kid, readings.slot, change)
        after = _replaced(after, change.device, change.now, Quality.EDITED, leaf)
    return after


def encode_correction(device_key_id: bytes, slot: int, correction: Correction) -> bytes:
    """The leaf of a corrected value: canonical CBOR [key_id, payload, reason, by]."""
    name = correction.by.encode()
    if len(name) > 255:
        raise InputError("correction", [Fault("correction", "by", correction.by, "at most 255 bytes")])
    head = bytes((0x60 + len(name),)) if len(name) < 24 else bytes((0x78, len(name)))
    payload = encode_payload(slot, correction.now[0], correction.now[1], 0, Quality.EDITED)
    return b"\x84\x50" + device_key_id + payload + bytes((correction.reason,)) + head + name


def reason_of_leaf(leaf: bytes) -> tuple[Reason, str] | None:
    """Why a corrected value stands there, and who answers for it; None for any other leaf.

    >>> leaf = encode_correction(bytes(16), 95, Correction(0, (0, 0), (250, 0), Reason.METER_FAULT, "metering desk"))
    >>> reason_of_leaf(leaf)
    (<Reason.METER_FAULT: 1>, 'metering desk')
    """
    at = 2 + KEY_ID_BYTES
    numbers = read_payload(leaf, at) if leaf[:2] == b"\x84\x50" else None
    tail = [] if numbers is None else sequence_strict(leaf[numbers[5] :])
    match tail:
        case [int() as reason, str() as by] if reason in set(Reason):
            return Reason(reason), by
    return None


def corrected_by_late_reading(registry: Registry, readings: SlotReadings, encoded: bytes) -> SlotReadings | Refusal:
    """The successor in which a signed reading that came after the deadline takes the place of a substitute.

    Refused by name as in admission; EARLY or LATE where it is for a later or an earlier slot, DUPLICATE where a
    measured or edited value stands.
    """
    fields = split_item(encoded)
    if fields is None:
        return diagnose_item(encoded)
    kid, slot, import_wh, export_wh, _, quality = fields
    device = registry.index.get(kid, -1)
    if device < 0:
        return Refusal.UNKNOWN_DEVICE
    if not item_holds(registry.keys[device], encoded):
        return Refusal.BAD_SIGNATURE
    if slot != readings.slot:
        return Refusal.EARLY if slot > readings.slot else Refusal.LATE
    if not MAX_DEVICE_QUALITY < int(readings.quality[device]) < Quality.EDITED:
        return Refusal.DUPLICATE
    limits = int(registry.max_import_wh[device]), int(registry.max_export_wh[device])
    refused = refuse_by_value(import_wh, export_wh, quality, *limits)
    return Refusal(refused) if refused else _replaced(readings, device, (import_wh, export_wh), quality, leaf_of(encoded))


def difference(before: SlotReadings, after: SlotReadings) -> Difference:
    """The devices whose energy changed and by how much. InputError for two different slots or registries."""
    if before.slot != after.slot or before.import_wh.size != after.import_wh.size:
        seen = (before.slot, after.slot, before.import_wh.size, after.import_wh.size)
        raise InputError("difference", [Fault("difference", "readings", seen, "one slot and one set of devices")])
    imported, exported = after.import_wh - before.import_wh, after.export_wh - before.export_wh
    rows = np.flatnonzero((imported != 0) | (exported != 0)).astype(np.int64)
    return Difference(before.slot, rows, imported[rows], exported[rows])


def spread_total(total_wh: int, shape_wh: Int64) -> Int64:
    """A gap's total, known from the registers before and after it, over its slots in the proportions of `shape_wh`, exactly.

    `shape_wh` [slots] >= 0, for instance the like day's values; equal parts where it is all zero. Largest remainder,
    ties to the earlier slot; sums to `total_wh` exactly.

    >>> spread_total(100, np.array([10, 20, 30])).tolist()
    [17, 33, 50]
    """
    if total_wh < 0 or shape_wh.size == 0 or int(shape_wh.min()) < 0:
        raise InputError("spread", [Fault("gap", "total and shape", total_wh, "a total >= 0 over at least one slot, shape >= 0")])
    weights = [int(value) for value in shape_wh] if int(shape_wh.max()) else [1] * shape_wh.size
    whole = sum(weights)
    parts = [divmod(weight * total_wh, whole) for weight in weights]  # Python integers: exact at any size
    shares = np.array([share for share, _ in parts], dtype=np.int64)
    largest = sorted(range(len(parts)), key=lambda at: (-parts[at][1], at))
    shares[largest[: total_wh - int(shares.sum())]] += 1
    return shares


def _replaced(readings: SlotReadings, device: int, now: tuple[int, int], quality: int, leaf: bytes) -> SlotReadings:
    columns = [column.copy() for column in (readings.import_wh, readings.export_wh, readings.quality)]
    for column, value in zip(columns, (*now, quality), strict=True):
        column[device] = value
        frozen(column)
    leaves = (*readings.leaves[:device], leaf, *readings.leaves[device + 1 :])
    return SlotReadings(readings.slot, columns[0], columns[1], columns[2], leaves)
