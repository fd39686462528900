"""Metering points: where a meter hangs, and the exchange of one meter for another.

A member is billed by metering point; devices come and go. Each point has one device in every slot, two in the slot of an
exchange (the old one's last reading and the new one's first are both of that slot, and add up), and never none in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from walras.errors import Fault, InputError
from walras.metering.slot_readings import SlotReadings
from walras.units import Int64

OPEN_END = 2**62


@dataclass(frozen=True, slots=True)
class Mounting:
    """Device `device` hangs at `point` from `first_slot` through `last_slot` (both included; OPEN_END: still there)."""

    point: int
    device: int
    first_slot: int
    last_slot: int = OPEN_END


def check_mountings(mountings: Sequence[Mounting], points: int) -> None:
    """InputError naming every fault: a point never mounted, a gap, an overlap of more than the exchange slot, a device
    at two points."""
    faults = [
        Fault(f"mounting of device {m.device}", "slots", (m.first_slot, m.last_slot), "a first slot not after the last")
        for m in mountings
        if m.first_slot > m.last_slot
    ]
    for point in range(points):
        line = sorted((m for m in mountings if m.point == point), key=lambda m: m.first_slot)
        if not line:
            faults.append(Fault(f"point {point}", "mountings", 0, "at least one device"))
        for old, new in pairwise(line):
            if new.first_slot != old.last_slot:
                expected = f"{old.last_slot}, the last slot of device {old.device} (its exchange slot)"
                faults.append(Fault(f"point {point}", f"first slot of device {new.device}", new.first_slot, expected))
    by_device: dict[int, list[Mounting]] = {}
    for m in mountings:
        by_device.setdefault(m.device, []).append(m)
    for device, line in by_device.items():
        line.sort(key=lambda m: m.first_slot)
        for old, new in pairwise(line):
            if new.first_slot <= old.last_slot:
                faults.append(Fault(f"device {device}", "points", (old.point, new.point), "one point at a time"))
    unknown = [m for m in mountings if not 0 <= m.point < points]
    faults += [Fault(f"mounting of device {m.device}", "point", m.point, f"from 0 to {points - 1}") for m in unknown]
    if faults:
        raise InputError("metering points", faults)


def energy_by_point(mountings: Sequence[Mounting], readings: SlotReadings, points: int) -> tuple[Int64, Int64, Int64]:
    """Import, export (Wh) and quality by point [points] of one slot. The worse quality counts where two meters share a slot."""
    columns = np.zeros((3, points), dtype=np.int64)
    for m in mountings:
        if m.first_slot <= readings.slot <= m.last_slot:
            columns[0, m.point] += readings.import_wh[m.device]
            columns[1, m.point] += readings.export_wh[m.device]
            columns[2, m.point] = max(columns[2, m.point], readings.quality[m.device])
    return columns[0], columns[1], columns[2]
