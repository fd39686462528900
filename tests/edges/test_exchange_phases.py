"""The phase table: what each phase accepts, and that everything else is refused by name."""

from __future__ import annotations

import itertools

import pytest

from walras.errors import PhaseError
from walras.exchange.phases import ACCEPTED, EventKind, Phase, next_phase

LIFE = [
    EventKind.SLOT_OPENED,
    EventKind.ORDERS_COMMITTED,
    EventKind.GATE_CLOSED,
    EventKind.ORDERS_REVEALED,
    EventKind.CLEARED,
    EventKind.DELIVERED,
    EventKind.READINGS_ADMITTED,
    EventKind.ATTESTED,
    EventKind.SETTLEMENT_SUBMITTED,
    EventKind.SETTLED,
]


def test_an_ordinary_life_goes_from_nothing_to_settled() -> None:
    phase = None
    for kind in LIFE:
        phase = next_phase(3, phase, kind)
    assert phase is Phase.SETTLED


@pytest.mark.parametrize(("phase", "kind"), list(itertools.product([None, *Phase], EventKind)))
def test_an_event_in_the_wrong_phase_is_refused_naming_slot_phase_and_event(phase: Phase | None, kind: EventKind) -> None:
    if kind in ACCEPTED[phase]:
        assert isinstance(next_phase(42, phase, kind), Phase)
        return
    with pytest.raises(PhaseError) as refused:
        next_phase(42, phase, kind)
    message = str(refused.value)
    assert "slot 42" in message
    assert kind.value in message
    assert (phase.value if phase else "not opened") in message


def test_every_phase_and_every_event_is_in_the_table() -> None:
    assert set(ACCEPTED) == {None, *Phase}
    assert {kind for accepted in ACCEPTED.values() for kind in accepted} == set(EventKind)
    reachable = {None} | {after for accepted in ACCEPTED.values() for after in accepted.values()}
    assert reachable == set(ACCEPTED)
