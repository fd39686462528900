"""What the metering of one slot came to: one row a registered device, one Merkle root.

Leaf i belongs to device i: the signed reading as the device sent it; or the array [key_id, payload] where the signature is
on a parcel's root, or where none was admitted by the deadline and a substitute stands in, marked by its quality. So the root
is the same whoever computes it and in whatever order the readings came, and each member can be shown the leaf that they
were billed by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from walras.errors import Fault, InputError
from walras.metering.admission import Admitted, Registry
from walras.metering.identity import KEY_ID_BYTES, key_id
from walras.metering.merkle import SHA256_RFC6962, HashScheme, MerkleTree, tree_over
from walras.metering.parcel_reading import leaf_of
from walras.metering.reading import encode_payload, read_payload, split_reading, unsigned_leaf
from walras.metering.vault import leaf_salt
from walras.units import Int64


@dataclass(frozen=True, slots=True)
class SlotReadings:
    """All devices' readings of one slot. Columns [devices]: whole Wh >= 0, quality codes of `Quality`; one leaf a device."""

    slot: int
    import_wh: Int64
    export_wh: Int64
    quality: Int64
    leaves: tuple[bytes, ...]

    @property
    def net_wh(self) -> Int64:
        """Import minus export by device: positive when taken from the grid."""
        return np.asarray(self.import_wh - self.export_wh, dtype=np.int64)

    def tree(self, scheme: HashScheme = SHA256_RFC6962) -> MerkleTree:
        """The tree over the bare leaves, for those who see all readings anyway."""
        return tree_over(self.leaves, scheme)

    def salted_tree(self, secrets: Sequence[bytes], scheme: HashScheme = SHA256_RFC6962) -> MerkleTree:
        """The tree over salted leaves, one `vault.salt_secret` a device: its root and proofs tell nothing about a neighbour."""
        if len(secrets) != len(self.leaves):
            raise InputError("salts", [Fault("salts", "secrets", len(secrets), f"{len(self.leaves)}, one a device")])
        return tree_over([self.salted_leaf(secret, device) for device, secret in enumerate(secrets)], scheme)

    def salted_leaf(self, secret: bytes, device: int) -> bytes:
        """What the device's member shows to prove their leaf: 16 bytes of salt, and the leaf."""
        return leaf_salt(secret, device, self.slot) + self.leaves[device]


def encode_substitute(device_key_id: bytes, slot: int, import_wh: int, export_wh: int, quality: int) -> bytes:
    """The leaf of a substituted value: canonical CBOR [key_id, {slot, import, export, counter 0, quality}], unsigned."""
    return unsigned_leaf(device_key_id, encode_payload(slot, import_wh, export_wh, 0, quality))


def energy_of_leaf(leaf: bytes) -> tuple[int, int] | None:
    """Import and export (Wh) that a leaf speaks of; None where it is no leaf of a slot's readings.

    >>> energy_of_leaf(encode_substitute(bytes(16), 95, 250, 0, 18))
    (250, 0)
    """
    numbers = _numbers_of_leaf(leaf)
    return None if numbers is None else (numbers[1], numbers[2])


def quality_of_leaf(leaf: bytes) -> int | None:
    """The quality code of a leaf (`Quality`); None where it is no leaf of a slot's readings.

    >>> quality_of_leaf(encode_substitute(bytes(16), 95, 250, 0, 18))
    18
    """
    numbers = _numbers_of_leaf(leaf)
    return None if numbers is None else numbers[3]


def _numbers_of_leaf(leaf: bytes) -> tuple[int, int, int, int] | None:
    """Slot, import, export and quality of a reading, signed alone or in a parcel, a substitute or a correction; else None."""
    fields = split_reading(leaf)
    if fields is not None:
        return fields[1], fields[2], fields[3], fields[5]
    head = leaf[:1]
    if head not in (b"\x82", b"\x84") or leaf[1:2] != b"\x50":
        return None
    numbers = read_payload(leaf, 2 + KEY_ID_BYTES)
    if numbers is None or (head == b"\x82" and numbers[5] != len(leaf)):
        return None
    return numbers[0], numbers[1], numbers[2], numbers[4]


def readings_of_leaves(slot: int, leaves: Sequence[bytes]) -> SlotReadings:
    """The slot's readings from their leaves alone; InputError naming every leaf that is none of this slot."""
    numbers = [_numbers_of_leaf(leaf) for leaf in leaves]
    faults = [
        Fault(f"leaf {device}", "leaf", leaf.hex(), f"a reading, substitute or correction of slot {slot}")
        for device, (leaf, row) in enumerate(zip(leaves, numbers, strict=True))
        if row is None or row[0] != slot
    ]
    if faults:
        raise InputError("leaves", faults)
    table = np.array([row for row in numbers if row is not None], dtype=np.int64).reshape(-1, 4)
    columns = [np.ascontiguousarray(table[:, at]) for at in (1, 2, 3)]
    for column in columns:
        column.flags.writeable = False
    return SlotReadings(slot, columns[0], columns[1], columns[2], tuple(leaves))


def missing_devices(registry: Registry, slot: int, admitted: Admitted) -> Int64:
    """The devices without an admitted reading for `slot`, ascending."""
    seen = np.zeros(len(registry.keys), dtype=np.bool_)
    seen[admitted.device[admitted.slot == slot]] = True
    return np.flatnonzero(~seen).astype(np.int64)


def close_slot(
    registry: Registry, slot: int, admitted: Admitted, import_wh: Int64, export_wh: Int64, quality: Int64
) -> SlotReadings:
    """The slot's readings, with substitutes [devices] taken where none was admitted (`substitute.substitutes` makes them).

    Rows of `admitted` for other slots are left out. InputError if a substitute is negative or not marked as one.
    """
    columns = [np.array(column, dtype=np.int64) for column in (import_wh, export_wh, quality)]
    rows = np.flatnonzero(admitted.slot == slot)
    devices = admitted.device[rows]
    missing = missing_devices(registry, slot, admitted)
    faults = [
        Fault(f"device {device}", "substitute", (int(columns[0][device]), int(columns[1][device]), int(columns[2][device])),
              "energies >= 0 and a quality code from 16 up")
        for device in missing
        if columns[0][device] < 0 or columns[1][device] < 0 or columns[2][device] < 16
    ]  # fmt: skip
    if faults:
        raise InputError(f"substitutes of slot {slot}", faults)
    leaves = [b""] * len(registry.keys)
    for column, values in zip(columns, (admitted.import_wh, admitted.export_wh, admitted.quality), strict=True):
        column[devices] = values[rows]
    for row, device in zip(rows, devices, strict=True):
        leaves[device] = leaf_of(admitted.encoded[row])
    for device in missing:
        leaves[device] = encode_substitute(key_id(registry.keys[device]), slot, *(int(column[device]) for column in columns))
    for column in columns:
        column.flags.writeable = False
    return SlotReadings(slot, columns[0], columns[1], columns[2], tuple(leaves))
