"""Which days of a run are committed to for zero-knowledge proofs, and the one root under which all members' days stand.

Every local day is cut into pieces of at most 96 slots, in order, each piece one committed day (`proofs.day`): a day of quarter
hours is one piece of 96, or of 92 when the clocks go forward, or two of 96 and 4 when they go back. A piece commits to the readings
that its slots stand at, after corrections.

    leaf of a member = sha256(0 || commitment, 32 bytes)        root = RFC 6962 tree over the leaves, ascending

Leaves stand in the order of their digests, so a proof that a commitment is under the root does not say whose account it is: by
account, energy is public. A commitment hides by its own salt, 31 bytes that follow from the member's secret and are erased with it.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from walras.errors import Fault, InputError
from walras.metering.merkle import SHA256_RFC6962, MerkleTree, tree_over_digests
from walras.metering.proofs.day import DAY_SLOTS, MAX_WH, SALT_BYTES, Day, context_of, make_day
from walras.metering.slot_readings import SlotReadings
from walras.slots import SlotGrid
from walras.units import Int64

_DOMAIN = b"walras day salt 1"


@dataclass(frozen=True, slots=True)
class CommittedDays:
    """All members' days over `slots`, ascending and at most 96: `leaves` [members], None where a reading exceeds 18 bits."""

    slots: range
    leaves: tuple[bytes | None, ...]

    @property
    def tree(self) -> MerkleTree:
        """Over the digests in their own order."""
        return tree_over_digests(self.digests)

    @property
    def digests(self) -> tuple[bytes, ...]:
        """Of the leaves that there are, ascending."""
        return tuple(sorted(SHA256_RFC6962.leaf(leaf) for leaf in self.leaves if leaf is not None))


def pieces(grid: SlotGrid, first: int, last: int) -> list[range]:
    """The local days of the slots `first` to `last`, each cut into pieces of at most 96 slots.

    >>> from datetime import UTC, date, datetime
    >>> grid = SlotGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), 15, "Europe/Berlin")
    >>> days = grid.local_days(date(2016, 10, 29), 2)
    >>> [len(piece) for piece in pieces(grid, days.start, days.stop - 1)]
    [96, 96, 4]
    """
    found, slot = [], first
    while slot <= last:
        day = grid.local_day(grid.local(slot).date())
        until = min(day.stop, last + 1)
        found += [range(at, min(at + DAY_SLOTS, until)) for at in range(slot, until, DAY_SLOTS)]
        slot = until
    return found


def day_salt(secret: bytes, first_slot: int) -> bytes:
    """The 31 bytes of salt of a member's day; `secret` is the member's `vault.salt_secret`."""
    return hmac.digest(secret, _DOMAIN + first_slot.to_bytes(8, "big"), "sha256")[:SALT_BYTES]


def day_of(meter: bytes, slots: range, import_wh: Int64, export_wh: Int64, salt: bytes) -> Day:
    """The committed day of the meter with key id `meter`; energies [slots], padded to 96 with zeros. InputError as `make_day`."""
    if not 1 <= len(slots) <= DAY_SLOTS or slots.step != 1 or len(import_wh) != len(slots):
        raise InputError("committed day", [Fault("day", "slots", (slots, len(import_wh)), f"1 to {DAY_SLOTS}, a reading each")])
    places = np.zeros((2, DAY_SLOTS), dtype=np.int64)
    places[0, : len(slots)], places[1, : len(slots)] = import_wh, export_wh
    return make_day(places[0], places[1], context_of(meter, slots.start, len(slots)), salt)


def leaf_of(day: Day) -> bytes:
    """What stands in the tree: the commitment, 32 bytes, big endian."""
    return day.commitment.to_bytes(32, "big")


def commit_days(meters: Sequence[bytes], readings: Sequence[SlotReadings], salts: Sequence[bytes]) -> CommittedDays:
    """All members' days from the readings of consecutive slots; `meters` the key ids [members], `salts` [members]."""
    first = readings[0].slot
    slots = range(first, first + len(readings))
    if [reading.slot for reading in readings] != list(slots):
        raise InputError("committed days", [Fault("days", "slots", [r.slot for r in readings], "consecutive slots")])
    imports = np.stack([reading.import_wh for reading in readings])
    exports = np.stack([reading.export_wh for reading in readings])
    fits = np.all(np.maximum(imports, exports) <= MAX_WH, axis=0)
    leaves = [
        leaf_of(day_of(meter, slots, imports[:, row], exports[:, row], salts[row])) if bool(fits[row]) else None
        for row, meter in enumerate(meters)
    ]
    return CommittedDays(slots, tuple(leaves))
