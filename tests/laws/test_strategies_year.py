"""Over a real year, slot by slot: no truthful member is worse off than without the market, and the market is of use.

Utility in whole units of 1e-6 nano: minus what the member pays in all, plus the value of what its battery stores after the slot.
Without the market means: the same slot from the same stored energy, everything on the own contract.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from walras.community.file import load_community
from walras.devices import value_between
from walras.devices.battery_plan import ValueTable
from walras.exchange.settlement import positions_of, settle_as_delivered
from walras.market.registry import mechanism_named
from walras.study.trading import Trading
from walras.tariffs import local_cost_nano
from walras.units import Int64

EXAMPLES = Path(__file__).parents[2] / "examples"
PICO = 10**6


@dataclass(frozen=True)
class Outcome:
    """Totals over the slots looked at: members and slots where one was worse off, and what the market moved and gained."""

    worse: int
    gained_nano: int
    flexible_wh: int
    traded_wh: int


def stored_value(values: ValueTable, row: int, owners: Int64, soc: Int64, members: int) -> Int64:
    worth = np.zeros(members, dtype=np.int64)
    for j, member in enumerate(owners.tolist()):
        view = (values.slope, values.edge, values.start[row, j], values.count[row, j])
        worth[member] = value_between(*view, 0, soc[j])
    return worth


def look_at(name: str, first: dt.date, days: int, mechanism: str = "uniform") -> Outcome:
    community = load_community(EXAMPLES / f"{name}.toml")
    community = replace(community, members=tuple(replace(m, strategy="truthful") for m in community.members))
    trading, rule = Trading(community), mechanism_named(mechanism)
    members, soc = len(community.members), trading.initial_soc
    worse = gained = flexible = traded = 0
    for slot in community.grid.local_days(first, days):
        day = trading.day(slot)
        row = slot - day.slots.start
        orders = trading.orders(slot, soc)
        positions = positions_of(orders, rule.clear(orders, community.market.conventions), members)
        done, alone = trading.dispatched(slot, soc, positions), trading.alone(slot, soc)
        settled = settle_as_delivered(positions, np.maximum(done.metered_wh, 0), np.maximum(-done.metered_wh, 0))
        own = day.prices.import_micro[row][trading.contract_of]
        paid = np.maximum(settled.local_nano, 0)
        charges = local_cost_nano(paid, settled.bought_wh, community.local) - paid
        pays = settled.supplied_wh * own - settled.exported_wh * trading.feed_in_micro + settled.local_nano + charges
        pays_alone = np.where(alone.metered_wh > 0, own, trading.feed_in_micro) * alone.metered_wh
        worth = stored_value(day.values, row, trading.fleet.member, done.soc_uwh, members)
        worth_alone = stored_value(day.values, row, trading.fleet.member, alone.soc_uwh, members)
        gain = (pays_alone - pays) * PICO + worth - worth_alone
        worse += int((gain < 0).sum())
        gained += int(gain.sum()) // PICO
        flexible += int(np.abs(done.action_wh - done.alone_wh).sum())
        traded += int(settled.bought_wh.sum())
        soc = done.soc_uwh
    return Outcome(worse, gained, flexible, traded)


def test_nobody_is_worse_off_where_every_order_has_its_own_price() -> None:
    outcome = look_at("rural1", dt.date(2016, 6, 18), 1, "pay_as_bid")
    assert outcome.worse == 0
    assert outcome.traded_wh > 10_000


def test_nobody_is_worse_off_in_any_slot_of_the_year_and_batteries_trade_for_their_neighbours() -> None:
    outcome = look_at("rural3", dt.date(2016, 1, 1), 366)
    assert outcome.worse == 0
    assert outcome.gained_nano > 0
    assert outcome.flexible_wh > 1_000_000
    assert outcome.traded_wh > 10_000_000


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["rural1", "urban6"])
def test_nobody_is_worse_off_in_any_slot_of_the_year_elsewhere(name: str) -> None:
    assert look_at(name, dt.date(2016, 1, 1), 366).worse == 0
