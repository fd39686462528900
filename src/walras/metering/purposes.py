"""What readings are used for, by whom, how finely, on what ground and for how long: the table that every disclosure goes through.

The table is the rule. Its grounds are those of Regulation (EU) 2016/679 (GDPR), Article 6(1): a contract with the member (b), a
legal duty (c), or the member's consent (a), which is given for one purpose and can be withdrawn at any time (Article 7(3)). Who
reads for a purpose gets the resolution of that purpose and no finer (data minimisation, Article 5(1)(c)).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

import numpy as np

from walras.errors import Fault, InputError
from walras.slots import SlotGrid
from walras.units import Int64


class Resolution(Enum):
    """How finely, in local time; the value is how a local time is cut."""

    SLOT = "%Y-%m-%dT%H:%M%z"
    HOUR = "%Y-%m-%dT%H%z"
    DAY = "%Y-%m-%d"
    MONTH = "%Y-%m"


class Ground(Enum):
    """Why it is lawful: letters of GDPR Article 6(1)."""

    CONSENT = "a: consent"
    CONTRACT = "b: contract"
    LEGAL_DUTY = "c: legal duty"


@dataclass(frozen=True, slots=True)
class Purpose:
    """One use of members' readings."""

    name: str
    ground: Ground
    resolution: Resolution
    recipients: tuple[str, ...]
    retention_days: int
    what: str


PURPOSES = {
    purpose.name: purpose
    for purpose in (
        Purpose("settlement", Ground.CONTRACT, Resolution.SLOT, ("exchange", "oracles"), 90, "what each trade delivered, attested"),
        Purpose("billing", Ground.CONTRACT, Resolution.SLOT, ("exchange", "the member"), 1_096, "the member's itemised bill"),
        Purpose("operation", Ground.CONTRACT, Resolution.SLOT, ("exchange",), 90, "running the market: report, faults, disputes"),
        Purpose("supply", Ground.CONTRACT, Resolution.MONTH, ("the member's supplier",), 1_096, "the rest from the supplier"),
        Purpose("balance", Ground.LEGAL_DUTY, Resolution.DAY, ("grid operator",), 366, "the feeder's energy balance"),
        Purpose("forecast", Ground.CONSENT, Resolution.HOUR, ("exchange",), 366, "better forecasts of the member's own load"),
        Purpose("proof", Ground.CONSENT, Resolution.SLOT, ("whom the member shows it",), 90, "zero-knowledge proofs about a day"),
        Purpose("dispatch", Ground.CONSENT, Resolution.SLOT, ("aggregator",), 90, "orders to the member's devices by others"),
        Purpose("research", Ground.CONSENT, Resolution.DAY, ("research partner",), 1_826, "studies of the neighbourhood"),
    )
}
"""Retention: until disputes of a slot are long over; the limitation period of three years for bills and its year."""


READINGS_FOR = ("settlement", "operation", "proof", "dispatch")
"""What a slot's sealed parts are needed for; bills, and what is coarser than a slot, are computed from what is settled."""

NAMES_FOR = ("settlement", "billing", "operation", "supply", "balance")
"""What needs no consent and needs to know whose an account is."""


def kept_days(purposes: Collection[str]) -> int:
    """How long what serves these purposes is kept: until the longest of their periods is over.

    >>> kept_days(READINGS_FOR), kept_days(NAMES_FOR)
    (90, 1096)
    """
    return max(PURPOSES[name].retention_days for name in purposes)


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """Not disclosed: the member has not consented to this purpose."""

    purpose: str
    account: int


def purpose_named(name: str) -> Purpose:
    """The purpose of that name; InputError names those there are."""
    if name not in PURPOSES:
        raise InputError("purpose", [Fault("purpose", "name", name, "one of " + ", ".join(PURPOSES))])
    return PURPOSES[name]


def allowed(purpose: Purpose, account: int, consented: Collection[str]) -> NotAllowed | None:
    """None where data of `account` may be used for `purpose`: it needs no consent, or has it."""
    needs = purpose.ground is Ground.CONSENT
    return NotAllowed(purpose.name, account) if needs and purpose.name not in consented else None


def reduced(grid: SlotGrid, slots: Int64, import_wh: Int64, export_wh: Int64, resolution: Resolution) -> list[tuple[str, int, int]]:
    """Import and export (Wh) added up over the resolution: (local time, import, export), ascending; sums are kept exactly.

    >>> from datetime import UTC, datetime
    >>> grid = SlotGrid(datetime(2016, 1, 1, tzinfo=UTC), 15, "UTC")
    >>> reduced(grid, np.arange(5), np.array([1, 2, 3, 4, 5]), np.zeros(5, dtype=np.int64), Resolution.HOUR)
    [('2016-01-01T00+0000', 10, 0), ('2016-01-01T01+0000', 5, 0)]
    """
    rows: dict[str, tuple[int, int]] = {}
    for at in np.argsort(slots, kind="stable").tolist():
        name = grid.local(int(slots[at])).strftime(resolution.value)
        before = rows.get(name, (0, 0))
        rows[name] = before[0] + int(import_wh[at]), before[1] + int(export_wh[at])
    return [(name, taken, given) for name, (taken, given) in rows.items()]
