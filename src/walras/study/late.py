"""Late readings in a run: which ones come after the deadline, and what waits for them until the dispute window closes.

Which are late is drawn from the run's seed, slot and device, and from nothing else: a run that goes on after a kill draws the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from walras.exchange.batching import BatchSlot


@dataclass(frozen=True, slots=True)
class Waiting:
    """A slot settled on substitutes: the signed readings that came late, what it was settled to, and when it is corrected."""

    late: tuple[bytes, ...]
    settled: BatchSlot
    at: int


def late_devices(seed: bytes, slot: int, devices: int, percent: int) -> frozenset[int]:
    """The devices whose reading of `slot` comes late: each with a chance of `percent` in a hundred, drawn from `seed`.

    >>> [len(late_devices(bytes(32), 7, 16, percent)) for percent in (0, 20, 100)]
    [0, 7, 16]
    """
    return frozenset(device for device in range(devices) if _draw(seed, slot, device) % 100 < percent)


def _draw(seed: bytes, slot: int, device: int) -> int:
    """64 bits: a remainder by 100 is even to one part in 10^17."""
    drawn = hashlib.sha256(b"late reading" + seed + slot.to_bytes(8, "big") + device.to_bytes(8, "big")).digest()
    return int.from_bytes(drawn[:8], "big")
