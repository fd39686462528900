"""What a node of the metering path works out when it starts: the terms and the prices, and no battery's day."""

from __future__ import annotations

from pathlib import Path
from typing import Never

import pytest

from walras.community import load_community
from walras.service.appointment import appointment
from walras.study import trading

COMMUNITY = Path(__file__).parents[2] / "examples" / "rural1.toml"


class Planned(Exception):
    """A battery's day was planned."""


def test_a_node_knows_terms_and_prices_without_planning_a_batterys_day(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*_: object, **__: object) -> Never:
        raise Planned

    with monkeypatch.context() as patched:
        patched.setattr(trading, "plan_values", plan)
        a = appointment(load_community(COMMUNITY))
        slots = a.community.slots
        prices = [a.trading.item_micro(slot).tolist() for slot in (slots.start, slots.stop - 1)]
        with pytest.raises(Planned):
            a.trading.day(slots.start)
    day = a.trading.day(slots.start)
    assert prices == [day.prices.item_micro[row].tolist() for row in (0, len(slots) - 1)]
    assert (day.slots, a.trading.priced(slots.start).prices) == (slots, day.prices)
