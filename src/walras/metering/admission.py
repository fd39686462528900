"""Admission: which signed readings count, decided in one fixed order of checks over a frozen state.

    admit(state, registry, rules, batch, now) -> (state', Admitted, Refused)

The order is that of `Refusal`: well-formed and canonical; known device; credential valid and not revoked; signature;
counter (replay); slot in its time window, not seen, not going back; physically possible. The first check that fails
names the refusal. Every row of the batch comes out exactly once, admitted or refused. A refused reading changes
nothing: not the counter, not the last slot. So a forger cannot burn a device's counter, and a batch gives the same
state with its refused rows left out.

Counters and slots of a device both rise: a reading that arrives out of its order is refused as REPLAYED; a gateway
sorts by counter before it sends. Gaps in the counter are allowed: readings may be lost on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from walras.errors import Fault, InputError
from walras.metering.identity import PublicKey, key_id
from walras.metering.parcel_reading import diagnose_item, item_holds, split_item
from walras.metering.reading import MAX_DEVICE_QUALITY, Fields
from walras.metering.refusals import Refusal
from walras.slots import SlotGrid
from walras.units import Int64, as_int64

_Kind = TypeVar("_Kind", bound=np.generic)

NEVER = -1
"""In a state: no reading of this device has been admitted."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The known devices as columns; row i is device i.

    `keys` public keys; `member` index of the owner; `valid_from_s`, `valid_until_s` Unix seconds, half-open; `max_import_wh`,
    `max_export_wh` what the connection can carry in one slot. Build it with `registry_of`.
    """

    keys: tuple[PublicKey, ...]
    index: dict[bytes, int]
    member: Int64
    valid_from_s: Int64
    valid_until_s: Int64
    max_import_wh: Int64
    max_export_wh: Int64


def registry_of(
    keys: Sequence[PublicKey],
    member: Sequence[int] | Int64,
    valid_from_s: Sequence[int] | Int64,
    valid_until_s: Sequence[int] | Int64,
    max_import_wh: Sequence[int] | Int64,
    max_export_wh: Sequence[int] | Int64,
) -> Registry:
    """A registry from columns; InputError for columns of different lengths, negative limits, or two devices with one key id."""
    named = {
        "member": member,
        "valid_from_s": valid_from_s,
        "valid_until_s": valid_until_s,
        "max_import_wh": max_import_wh,
        "max_export_wh": max_export_wh,
    }
    columns = {name: as_int64(values, name) for name, values in named.items()}
    faults = [
        Fault("registry", name, column.size, f"{len(keys)} rows, one a key")
        for name, column in columns.items()
        if column.size != len(keys)
    ]
    for name in ("max_import_wh", "max_export_wh"):
        faults += [Fault(f"device {row}", name, int(columns[name][row]), ">= 0") for row in np.flatnonzero(columns[name] < 0)]
    index: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        first = index.setdefault(key_id(key), row)
        if first != row:
            faults.append(Fault(f"device {row}", "key", key_id(key).hex(), f"another key than that of device {first}"))
    if faults:
        raise InputError("registry", faults)
    return Registry(tuple(keys), index, **columns)


@dataclass(frozen=True, slots=True)
class Rules:
    """When a reading may come: from the end of its slot, less the clock tolerance, to the metering deadline after it."""

    grid: SlotGrid
    clock_tolerance: timedelta = timedelta(seconds=10)
    deadline: timedelta = timedelta(hours=6)

    def __post_init__(self) -> None:
        faults = [
            Fault("admission rules", name, value, "not negative")
            for name, value in (("clock_tolerance", self.clock_tolerance), ("deadline", self.deadline))
            if value < timedelta(0)
        ]
        if faults:
            raise InputError("admission rules", faults)

    def window(self, now: datetime) -> tuple[int, int]:
        """First and last slot admissible at `now`: `end(slot) - clock_tolerance <= now <= end(slot) + deadline`."""
        last = self.grid.slot_at(now + self.clock_tolerance) - 1
        step = timedelta(minutes=self.grid.minutes)
        first = -((self.grid.origin + step - (now - self.deadline)) // step)  # ceil((now - deadline - end(0)) / step)
        return int(first), last


@dataclass(frozen=True, slots=True)
class AdmissionState:
    """What admission remembers, per device [n]: last counter and last slot admitted (NEVER for none), and who is revoked."""

    last_counter: Int64
    last_slot: Int64
    revoked: NDArray[np.bool_]


def initial_state(devices: int) -> AdmissionState:
    """Nothing admitted, nobody revoked."""
    nothing = frozen(np.full(devices, NEVER, dtype=np.int64))
    return AdmissionState(nothing, nothing, frozen(np.zeros(devices, dtype=np.bool_)))


def revoke(state: AdmissionState, devices: Sequence[int]) -> AdmissionState:
    """The state in which the readings of `devices` are refused from now on."""
    revoked = state.revoked.copy()
    revoked[list(devices)] = True
    return AdmissionState(state.last_counter, state.last_slot, frozen(revoked))


def forget_devices(state: AdmissionState, devices: Sequence[int]) -> AdmissionState:
    """The state in which nothing was admitted of `devices` yet: other meters hang there now."""
    counters, slots = state.last_counter.copy(), state.last_slot.copy()
    counters[list(devices)], slots[list(devices)] = NEVER, NEVER
    return AdmissionState(frozen(counters), frozen(slots), state.revoked)


@dataclass(frozen=True, slots=True)
class Admitted:
    """Admitted readings as columns, in the order of the batch. Energy in Wh; `row` is the position in the batch."""

    row: Int64
    device: Int64
    slot: Int64
    import_wh: Int64
    export_wh: Int64
    counter: Int64
    quality: Int64
    encoded: tuple[bytes, ...]

    @property
    def net_wh(self) -> Int64:
        """Import minus export: positive when taken from the grid."""
        return np.asarray(self.import_wh - self.export_wh, dtype=np.int64)

    def where(self, rows: NDArray[np.bool_]) -> Admitted:
        """The rows of a mask [n], in their order."""
        picked = [frozen(getattr(self, name)[rows]) for name in _ADMITTED_COLUMNS]
        return admitted_of(picked, tuple(self.encoded[at] for at in np.flatnonzero(rows)))


_ADMITTED_COLUMNS = ("row", "device", "slot", "import_wh", "export_wh", "counter", "quality")


def joined(parts: Sequence[Admitted]) -> Admitted:
    """The readings of several batches, one after the other; `row` stays the position in its own batch."""
    columns = [
        frozen(np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])) for name in _ADMITTED_COLUMNS
    ]
    return admitted_of(columns, tuple(encoded for part in parts for encoded in part.encoded))


def admitted_of(c: Sequence[Int64], encoded: tuple[bytes, ...]) -> Admitted:
    """The record from its seven columns in their order, and the leaves."""
    return Admitted(c[0], c[1], c[2], c[3], c[4], c[5], c[6], encoded)


@dataclass(frozen=True, slots=True)
class Refused:
    """Refused readings as columns: position in the batch, device (-1 where unknown), the Refusal's number."""

    row: Int64
    device: Int64
    reason: Int64

    def counts(self) -> dict[Refusal, int]:
        """How many by reason, in the order of the checks; only reasons that occurred."""
        counted = Counter(self.reason.tolist())
        return {Refusal(number): counted[number] for number in sorted(counted)}


def truly_signed(rows: int, refused: Refused) -> list[int]:
    """The rows of a batch of `rows` in which a device in good standing spoke: admitted, or refused though its signature held."""
    forged = set(refused.row[refused.reason < Refusal.REPLAYED].tolist())
    return [row for row in range(rows) if row not in forged]


def admit(
    state: AdmissionState,
    registry: Registry,
    rules: Rules,
    batch: Sequence[bytes],
    now: datetime,
    pool: Executor | None = None,
) -> tuple[AdmissionState, Admitted, Refused]:
    """Fold a batch of encoded readings, signed alone or in a parcel (`parcel_reading`), into the state.

    `now` is aware; InputError for a naive one.

    `pool` (threads) verifies signatures in parallel; the result is the same to the byte. Column types are int64.
    """
    window = rules.window(now)
    standing = standing_at(registry, state, int(now.timestamp()))
    parsed = [split_item(encoded) for encoded in batch]
    signature_holds = _verified(registry, standing, batch, parsed, pool)
    last_counter, last_slot = state.last_counter.tolist(), state.last_slot.tolist()
    limits = (registry.max_import_wh.tolist(), registry.max_export_wh.tolist())
    admitted: list[tuple[int, ...]] = []
    refused: list[tuple[int, int, int]] = []
    for row, fields in enumerate(parsed):
        if fields is None:
            refused.append((row, -1, diagnose_item(batch[row])))
            continue
        device = registry.index.get(fields[0], -1)
        _, slot, import_wh, export_wh, counter, quality = fields
        reason: int = standing[device] if device >= 0 else Refusal.UNKNOWN_DEVICE
        if not reason and not signature_holds[row]:
            reason = Refusal.BAD_SIGNATURE
        if not reason:
            reason = refuse_by_time(slot, counter, last_slot[device], last_counter[device], window)
        if not reason:
            reason = refuse_by_value(import_wh, export_wh, quality, limits[0][device], limits[1][device])
        if reason:
            refused.append((row, device, reason))
            continue
        last_counter[device], last_slot[device] = counter, slot
        admitted.append((row, device, slot, import_wh, export_wh, counter, quality))
    counters = frozen(np.array(last_counter, dtype=np.int64))
    slots = frozen(np.array(last_slot, dtype=np.int64))
    taken = tuple(batch[line[0]] for line in admitted)
    a, r = columns_of(admitted, 7), columns_of(refused, 3)
    return (
        AdmissionState(counters, slots, state.revoked),
        admitted_of(a, taken),
        Refused(r[0], r[1], r[2]),
    )


def standing_at(registry: Registry, state: AdmissionState, now_s: int) -> list[int]:
    """Per device: 0, or why its credential does not hold at `now_s` (revocation first)."""
    standing = np.zeros(len(registry.keys), dtype=np.int64)
    standing[registry.valid_until_s <= now_s] = Refusal.CREDENTIAL_EXPIRED
    standing[registry.valid_from_s > now_s] = Refusal.CREDENTIAL_NOT_YET_VALID
    standing[state.revoked] = Refusal.REVOKED
    return [int(code) for code in standing]


def standing_of(registry: Registry, kid: bytes, now_s: int, revoked: Collection[bytes]) -> Refusal | None:
    """Why a key does not count at `now_s`, by `standing_at` for one alone; None where it does, or is not registered."""
    if kid in revoked:
        return Refusal.REVOKED
    row = registry.index.get(kid)
    if row is None:
        return None
    if registry.valid_from_s[row] > now_s:
        return Refusal.CREDENTIAL_NOT_YET_VALID
    return Refusal.CREDENTIAL_EXPIRED if registry.valid_until_s[row] <= now_s else None


_CHUNK = 256


def _verified(
    registry: Registry, standing: list[int], batch: Sequence[bytes], parsed: Sequence[Fields | None], pool: Executor | None
) -> list[bool]:
    """Per row: the device is known, in good standing, and its signature holds. Nothing is verified in vain."""

    def holds(encoded: bytes, fields: Fields | None) -> bool:
        device = -1 if fields is None else registry.index.get(fields[0], -1)
        if device < 0 or standing[device]:
            return False
        return item_holds(registry.keys[device], encoded)

    if pool is None:
        return [holds(encoded, fields) for encoded, fields in zip(batch, parsed, strict=True)]

    def chunk(start: int) -> list[bool]:
        part = slice(start, start + _CHUNK)
        return [holds(encoded, fields) for encoded, fields in zip(batch[part], parsed[part], strict=True)]

    return [held for part in pool.map(chunk, range(0, len(batch), _CHUNK)) for held in part]


def refuse_by_time(slot: int, counter: int, last_slot: int, last_counter: int, window: tuple[int, int]) -> int:
    """0, or why a reading is not new or not in `window` (first and last admissible slot)."""
    if counter <= last_counter:
        return Refusal.REPLAYED
    if slot > window[1]:
        return Refusal.EARLY
    if slot < window[0]:
        return Refusal.LATE
    if slot <= last_slot:
        return Refusal.DUPLICATE if slot == last_slot else Refusal.BACKDATED
    return 0


def refuse_by_value(import_wh: int, export_wh: int, quality: int, max_import_wh: int, max_export_wh: int) -> int:
    """0, or why the values cannot be.

    Import for a share of the slot and export for the rest must fit: import / max_import + export / max_export <= 1.
    """
    if quality > MAX_DEVICE_QUALITY:
        return Refusal.QUALITY_NOT_ALLOWED
    if import_wh > max_import_wh:
        return Refusal.IMPORT_ABOVE_CAPACITY
    if export_wh > max_export_wh:
        return Refusal.EXPORT_ABOVE_CAPACITY
    if import_wh and export_wh and import_wh * max_export_wh + export_wh * max_import_wh > max_import_wh * max_export_wh:
        return Refusal.BOTH_ABOVE_CAPACITY
    return 0


def columns_of(rows: Sequence[tuple[int, ...]], width: int) -> list[Int64]:
    """Read-only int64 columns from rows."""
    table = np.array(rows, dtype=np.int64).reshape(-1, width)
    return [frozen(np.ascontiguousarray(table[:, column])) for column in range(width)]


def frozen(array: NDArray[_Kind]) -> NDArray[_Kind]:
    """The array, made read-only."""
    array.flags.writeable = False
    return array
