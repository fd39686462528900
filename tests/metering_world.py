"""A small metering world for tests: registered meters with known keys, a grid of slots, batches that are right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from walras.metering.admission import Registry, Rules, registry_of
from walras.metering.identity import derive_key
from walras.metering.reading import sign_readings
from walras.slots import SlotGrid

GRID = SlotGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), 15, "Europe/Berlin")
RULES = Rules(GRID, clock_tolerance=timedelta(seconds=10), deadline=timedelta(hours=1))
SEED = b"the seed of the test meters"
KEYS = [derive_key(SEED, f"meter-{row}") for row in range(5)]
STRANGER = derive_key(SEED, "stranger")
MAX_IMPORT_WH, MAX_EXPORT_WH = 5_000, 2_000
VALID_FROM = datetime(2015, 1, 1, tzinfo=UTC)
VALID_UNTIL = datetime(2020, 1, 1, tzinfo=UTC)


def registry(devices: int = 5) -> Registry:
    """Devices 0..n-1, one a member, all with the same connection."""
    return registry_of(
        [key.public_key() for key in KEYS[:devices]],
        range(devices),
        [int(VALID_FROM.timestamp())] * devices,
        [int(VALID_UNTIL.timestamp())] * devices,
        [MAX_IMPORT_WH] * devices,
        [MAX_EXPORT_WH] * devices,
    )


def after(slot: int, seconds: float = 60) -> datetime:
    """A moment `seconds` after the end of `slot`."""
    return GRID.end(slot) + timedelta(seconds=seconds)


def slot_batch(slot: int, counter: int, devices: int = 5, import_wh: int = 300, export_wh: int = 0) -> list[bytes]:
    """One right reading of every device."""
    count = range(devices)
    return sign_readings(
        KEYS, count, [slot] * devices, [import_wh] * devices, [export_wh] * devices, [counter] * devices, [0] * devices
    )
