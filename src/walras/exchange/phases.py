"""The life of a slot as a table: what each phase accepts, and what ends it.

An event that arrives in the wrong phase is refused with a PhaseError that names the slot, the phase and the event. The
table is the whole rule; the fold and the audit both read it.
"""

from __future__ import annotations

from enum import Enum

from walras.errors import PhaseError


class Phase(Enum):
    """Where a slot stands."""

    OPEN = "open"
    SEALED = "sealed"
    CLEARED = "cleared"
    DELIVERED = "delivered"
    ATTESTED = "attested"
    SETTLED = "settled"


class EventKind(Enum):
    """What can happen to a slot."""

    SLOT_OPENED = "slot_opened"
    ORDERS_COMMITTED = "orders_committed"
    ORDERS_CANCELLED = "orders_cancelled"
    GATE_CLOSED = "gate_closed"
    ORDERS_REVEALED = "orders_revealed"
    CLEARED = "cleared"
    CURTAILED = "curtailed"
    DELIVERED = "delivered"
    READINGS_ADMITTED = "readings_admitted"
    ATTESTED = "attested"
    DISPUTED = "disputed"
    SETTLEMENT_SUBMITTED = "settlement_submitted"
    SETTLED = "settled"


ACCEPTED: dict[Phase | None, dict[EventKind, Phase]] = {
    None: {EventKind.SLOT_OPENED: Phase.OPEN},
    Phase.OPEN: {
        EventKind.ORDERS_COMMITTED: Phase.OPEN,
        EventKind.ORDERS_CANCELLED: Phase.OPEN,
        EventKind.GATE_CLOSED: Phase.SEALED,
    },
    Phase.SEALED: {
        EventKind.ORDERS_REVEALED: Phase.SEALED,
        EventKind.CLEARED: Phase.CLEARED,
    },
    Phase.CLEARED: {
        EventKind.CURTAILED: Phase.CLEARED,
        EventKind.DELIVERED: Phase.DELIVERED,
    },
    Phase.DELIVERED: {
        EventKind.READINGS_ADMITTED: Phase.DELIVERED,
        EventKind.ATTESTED: Phase.ATTESTED,
    },
    Phase.ATTESTED: {
        EventKind.DISPUTED: Phase.ATTESTED,
        EventKind.SETTLEMENT_SUBMITTED: Phase.ATTESTED,
        EventKind.SETTLED: Phase.SETTLED,
    },
    Phase.SETTLED: {},
}
"""Phase -> accepted event -> phase after it. `None` is a slot nobody has opened."""


def next_phase(slot: int, phase: Phase | None, kind: EventKind) -> Phase:
    """The phase after `kind`; PhaseError if `phase` does not accept it.

    >>> next_phase(7, Phase.OPEN, EventKind.GATE_CLOSED).value
    'sealed'
    """
    accepted = ACCEPTED[phase]
    if kind not in accepted:
        name = "not opened" if phase is None else phase.value
        allowed = ", ".join(event.value for event in accepted) or "nothing: it is final"
        raise PhaseError(
            f"slot {slot} is {name}: it does not accept {kind.value}",
            thing=(slot, phase, kind),
            way_out=f"accepted now: {allowed}",
        )
    return accepted[kind]
