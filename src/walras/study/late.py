"""When readings come in a run: by true clocks, by clocks that are off, and held up on their way until after the deadline.

A meter sends when its own clock says that the slot has ended, so one that is behind by `meter_clock_s` is heard so much later than
the others, and one that is ahead before the slot is over. Which readings are held up is drawn from the run's seed, slot and device,
and from nothing else: a run that goes on after a kill draws the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from walras.community.model import Community
from walras.exchange.batching import BatchSlot
from walras.metering import Registry, SlotReadings
from walras.metering.parcel_reading import split_item
from walras.study.oracles import usual_delay_s


@dataclass(frozen=True, slots=True)
class Waiting:
    """A slot whose disputes are heard: what came late, what it was settled on and to, and when it can be corrected."""

    late: tuple[bytes, ...]
    readings: SlotReadings
    settled: BatchSlot
    at: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A reading on its way: heard `after_s` seconds after the end of its slot; `held_up` until after the metering deadline."""

    encoded: bytes
    after_s: int
    held_up: bool


def sent_in(community: Community, registry: Registry, batch: Sequence[bytes], held_up: Collection[int]) -> list[Sent]:
    """What the meters sent of a slot with when it is heard; `held_up` are places in `batch`."""
    usual, deadline = usual_delay_s(community), 60 * community.gates.metering_deadline_minutes
    sent = []
    for place, encoded in enumerate(batch):
        fields = split_item(encoded)
        device = None if fields is None else registry.index.get(fields[0])
        off = 0 if device is None else community.members[device].meter_clock_s
        late = place in held_up
        sent.append(Sent(encoded, max(usual + off, deadline) if late else usual + off, late))
    return sent


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
