"""Inverters that answer to the voltage, in the run's physics: what they hold back, what stays in the battery, and the record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from walras.community import Community, load_community, with_period
from walras.exchange.settlement import Positions
from walras.grid.droop import IEEE_1547_B
from walras.study.meters import run_seed
from walras.study.physics import SolarInverters, held_and_reactive
from walras.study.replay import replay
from walras.study.runner import ledger_keys, make_terms, with_mechanism
from walras.study.trading import Trading

EXAMPLES = Path(__file__).parents[2] / "examples"


def community(droop: str) -> Community:
    given = load_community(EXAMPLES / "rural1.toml")
    return replace(given, wires=replace(given.wires, droop=droop))  # type: ignore[arg-type]


def noon(droop: str) -> tuple[Trading, int]:
    trading = Trading(community(droop))
    return trading, trading.community.slots.start + 58


def test_without_curves_the_physics_is_what_it_was() -> None:
    trading, slot = noon("none")
    nothing = np.zeros(len(trading.community.members), dtype=np.int64)
    felt = trading.dispatched(slot, trading.initial_soc, Positions(nothing, nothing, nothing, nothing))
    day = trading.day(slot)
    assert felt.reactive_kvar.tolist() == day.series.reactive_kvar[slot - day.slots.start].tolist()


def test_volt_var_lowers_the_highest_voltage_of_a_sunny_noon() -> None:
    highest = {}
    for droop in ("none", "ieee1547-a", "ieee1547-b"):
        trading, slot = noon(droop)
        highest[droop] = float(trading.flow(trading.alone(slot, trading.initial_soc)).v_pu.max())
    assert highest["ieee1547-b"] < highest["none"] - 0.002
    assert highest["ieee1547-a"] < highest["none"] - 0.002


def test_volt_watt_holds_back_where_the_voltage_is_too_high_and_never_more_than_the_sun_gives() -> None:
    trading, slot = noon("ieee1547-b")
    day = trading.day(slot)
    row = slot - day.slots.start
    solar = 4 * day.series.pv_wh[row]
    rating = np.full(trading.inverters.member.size, 1e3)
    inverters = SolarInverters(trading.inverters.member, rating, IEEE_1547_B)
    net = day.series.load_wh[row] - solar
    held, reactive = held_and_reactive(trading.network, trading.bus, inverters, net, solar, day.series.reactive_kvar[row], 0.25)
    assert ((held >= 0) & (held <= solar)).all()
    smaller = replace(inverters, rating_kva=np.maximum(4e-3 * solar[inverters.member], 1e-3))
    kept, _ = held_and_reactive(trading.network, trading.bus, smaller, net, solar, day.series.reactive_kvar[row], 0.25)
    assert kept.sum() > 0, "at its rating and above 1.06 pu an inverter feeds in less"
    assert (reactive[inverters.member] >= day.series.reactive_kvar[row][inverters.member] - 1e-9).all(), "high voltage: it absorbs"


@pytest.mark.parametrize("nodal", [False, True])
def test_a_day_with_curves_replays_and_limits_still_hold(nodal: bool) -> None:
    given = community("ieee1547-b")
    given = with_period(with_mechanism(given, "nodal") if nodal else given, start=None, days=1)
    trading = Trading(given)
    terms = make_terms(given, trading, ledger_keys(run_seed(given)))
    for day in replay(trading, terms, given.slots):
        assert day.v_max.max() < 1.04
        if nodal:
            assert not day.violations.any()
