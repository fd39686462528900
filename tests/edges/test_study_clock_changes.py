"""Days of 92 and 100 quarter hours trade like any other."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from walras.community import load_community, with_period
from walras.ledger import LedgerKeys
from walras.study.replay import replay
from walras.study.runner import make_terms
from walras.study.trading import Trading

RURAL1 = Path(__file__).parents[2] / "examples" / "rural1.toml"


@pytest.mark.parametrize(("day", "slots"), [(dt.date(2016, 3, 27), 92), (dt.date(2016, 10, 30), 100), (dt.date(2016, 3, 28), 96)])
def test_a_local_day_has_the_slots_that_its_clock_gives_it(day: dt.date, slots: int) -> None:
    community = with_period(load_community(RURAL1), start=day, days=1)
    trading = Trading(community)
    terms = make_terms(community, trading, LedgerKeys(bytes(32)))
    (done,) = replay(trading, terms, community.slots)
    assert len(done.slots) == slots == terms.last - terms.first + 1
    assert done.bills.total_nano.sum() == done.bills.received_nano.sum()


def test_days_replayed_one_by_one_are_the_days_replayed_together() -> None:
    community = with_period(load_community(RURAL1), start=dt.date(2016, 3, 26), days=3)
    trading = Trading(community)
    terms = make_terms(community, trading, LedgerKeys(bytes(32)))
    together = list(replay(trading, terms, community.slots))
    assert [len(day.slots) for day in together] == [96, 92, 96]
    fresh = Trading(community)
    assert (fresh.day(together[1].slots.start).forecast_net_wh == trading.day(together[1].slots.start).forecast_net_wh).all()
