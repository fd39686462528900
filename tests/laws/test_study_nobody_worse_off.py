"""Under `as_delivered` no member with a truthful strategy is worse off than without the market, in any slot, on real data.

Worse off is measured in full: payment with the market against payment without it from the same stored energy, what a battery
holds afterwards counted at its own value function. Exact integers throughout: units of 1e-6 nano.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from walras.community import load_community
from walras.devices.battery_control import value_between
from walras.exchange.accounting import bills_without_market, settle_slot
from walras.exchange.settlement import positions_of
from walras.ledger import LedgerKeys
from walras.market.mechanism import run
from walras.market.registry import mechanism_named
from walras.study.runner import make_terms
from walras.study.trading import Trading
from walras.units import Int64

EXAMPLES = Path(__file__).parents[2] / "examples"
UWH = 1_000_000


def worst_gain(example: str, slots_of: list[dt.date], load_error: int, pv_error: int) -> tuple[int, int, int]:
    """(least gain of any member in any slot in 1e-6 nano, largest, slots in which somebody's battery was moved by the market)."""
    community = load_community(EXAMPLES / f"{example}.toml")
    forecast = replace(community.forecast, load_error_percent=load_error, pv_error_percent=pv_error)
    community = replace(community, forecast=forecast)
    trading = Trading(community)
    terms = make_terms(community, trading, LedgerKeys(bytes(32)))
    layout, mechanism = terms.layout(), mechanism_named(terms.mechanism)
    soc = trading.initial_soc
    least, most, moved = 0, 0, 0
    for day in slots_of:
        for slot in community.grid.local_day(day):
            orders = trading.orders(slot, soc)
            clearing = run(mechanism, orders, terms.conventions)
            done = trading.dispatched(slot, soc, positions_of(orders, clearing, terms.members))
            alone = trading.alone(slot, soc)
            items = trading.item_micro(slot)
            with_market = settle_slot(
                terms, layout, slot, items, orders, clearing, np.maximum(done.metered_wh, 0), np.maximum(-done.metered_wh, 0)
            ).bills.total_nano
            without = bills_without_market(
                terms, layout, slot, items, np.maximum(alone.metered_wh, 0), np.maximum(-alone.metered_wh, 0)
            ).total_nano
            gain = (without - with_market) * UWH + stored_gain(trading, slot, done.soc_uwh, alone.soc_uwh)
            least, most = min(least, int(gain.min())), max(most, int(gain.max()))
            moved += bool((done.soc_uwh != alone.soc_uwh).any())
            soc = done.soc_uwh
    return least, most, moved


def stored_gain(trading: Trading, slot: int, soc: Int64, alone: Int64) -> Int64:
    """By member: what is stored with the market less what would be without, by the value of stored energy after the slot."""
    day = trading.day(slot)
    row = slot - day.slots.start
    values = day.values
    gain = np.zeros(len(trading.community.members), dtype=np.int64)
    for j, member in enumerate(trading.fleet.member.tolist()):
        low, high = sorted((int(soc[j]), int(alone[j])))
        worth = value_between(values.slope, values.edge, values.start[row, j], values.count[row, j], low, high)
        gain[member] += worth if soc[j] > alone[j] else -worth
    return gain


def spread(days: int) -> list[dt.date]:
    """Days over the whole year, both clock changes among them."""
    every = [dt.date(2016, 1, 1) + dt.timedelta(days=int(k * 365 / days)) for k in range(days)]
    return sorted({*every, dt.date(2016, 3, 27), dt.date(2016, 10, 30)})


@pytest.mark.parametrize(("example", "load_error", "pv_error"), [("rural3", 20, 15), ("rural3", 150, 150), ("rural1", 60, 40)])
def test_nobody_is_worse_off_in_any_slot_of_days_spread_over_the_year(example: str, load_error: int, pv_error: int) -> None:
    least, most, moved = worst_gain(example, spread(16), load_error, pv_error)
    assert least == 0
    assert most > 0
    assert moved > 0


@pytest.mark.nightly
@pytest.mark.parametrize("example", ["rural3", "urban6"])
def test_nobody_is_worse_off_in_any_slot_of_the_year(example: str) -> None:
    least, most, _ = worst_gain(example, [dt.date(2016, 1, 1) + dt.timedelta(days=k) for k in range(366)], 20, 15)
    assert least == 0
    assert most > 0
