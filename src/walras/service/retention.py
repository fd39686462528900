"""A node erases by itself what is past its retention: the rule that nobody has to remember.

By the node's own clock, when it starts and every day: readings of slots that began longer ago than the purpose they were taken for
allows. What cannot go yet, because an oracle has yet to acknowledge it or somebody reads the file, is said and tried again in a
minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from walras.errors import MeteringError
from walras.metering.purposes import PURPOSES
from walras.slots import SlotGrid

EVERY_S, AGAIN_S = 86_400.0, 60.0
KEEP_DAYS = PURPOSES["settlement"].retention_days
LEAST_DAYS = 35
"""Substitutes are made from like slots of up to two weeks before, batches hold up to fifteen days; disputes come on top."""


class Perishable(Protocol):
    """A store, or a node over one, that can erase what is of slots before one; how much went."""

    def erase_before(self, slot: int) -> int:
        """MeteringError while something cannot go yet."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a node keeps readings, by which slots and clock."""

    grid: SlotGrid
    days: int
    clock: Callable[[], datetime]

    def due(self) -> int:
        """The first slot that stays.

        >>> from datetime import UTC
        >>> grid = SlotGrid(datetime(2016, 1, 1, tzinfo=UTC), 15, "UTC")
        >>> Retention(grid, 90, lambda: datetime(2016, 4, 1, tzinfo=UTC)).due()  # 91 days of 96 quarter hours later
        96
        """
        return self.grid.slot_at(self.clock() - timedelta(days=self.days))


def erase_due(held: Perishable, rule: Retention) -> tuple[str, float]:
    """Erase what is past its retention; what there is to say of it, empty where nothing is, and seconds until the next time."""
    try:
        slot = rule.due()
    except MeteringError:
        return "", AGAIN_S  # a replay's clock that nobody has set yet: nothing is due
    try:
        gone = held.erase_before(slot) if slot > 0 else 0
    except MeteringError as cause:
        return f"not erased yet, what is older than {rule.days} days: {cause.message}", AGAIN_S
    return f"erased: {gone} readings or messages older than {rule.days} days" if gone else "", EVERY_S


async def keep_erasing(held: Perishable, rule: Retention, say: Callable[[str], None]) -> None:
    """Erase what is due now and then; until cancelled."""
    while True:
        said, wait_s = erase_due(held, rule)
        if said:
            say(said)
        await asyncio.sleep(wait_s)
