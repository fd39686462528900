"""Redispatch, curtailment, envelopes and the worth of limits: within the limits in AC, and no further than needed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid_cases import HOUR, Tables, feeder, random_tables, tight
from walras.errors import GridError, InputError
from walras.grid import Line, Transformer, build_network
from walras.grid.congestion import curtail, is_safe, pay_curtailment, redispatch
from walras.grid.envelopes import Envelopes, operating_envelopes
from walras.grid.feeder import FeederSlot, add_supplier
from walras.grid.nodal import clear
from walras.grid.shadow import limit_worths
from walras.market.clearing import welfare_nano
from walras.market.conventions import Conventions
from walras.market.orders import Orders, make_orders
from walras.market.uniform import clear as clear_uniform

BUS = np.array([2, 3, 4, 5, 6, 6])
TIGHT = {"v_max_pu": 1.035, "v_min_pu": 1.0}


def tight_slot(**more: float) -> FeederSlot:
    return FeederSlot(feeder(slack_v_pu=1.02).network(**TIGHT), HOUR, **more)  # type: ignore[arg-type]


def sunny_book(slot: FeederSlot) -> Orders:
    rng = np.random.default_rng(2)
    book = make_orders(np.full(30, -1), rng.integers(500, 2500, 30), rng.integers(20_000, 69_000, 30), node=rng.integers(2, 7, 30))
    return add_supplier(book, slot.network, 300_000, 70_000, participant=9)


def test_redispatch_costs_the_welfare_that_the_wires_do_not_carry() -> None:
    slot = tight_slot()
    book = sunny_book(slot)
    copper = clear_uniform(book, Conventions())
    done = redispatch(book, copper, slot, Conventions())
    assert done.cost_nano == welfare_nano(book, copper) - welfare_nano(book, done.clearing) > 0
    assert np.array_equal(copper.filled_wh + done.moved_wh, done.filled_wh)
    assert done.moved_wh[:-2].min() < 0
    assert done.pay_nano.sum() == -done.cost_nano
    assert (done.pay_nano == done.moved_wh * book.side * book.price_micro_per_kwh).all()


@pytest.mark.parametrize("rule", ["pro_rata", "last_in_first_out"])
@pytest.mark.parametrize("side", [-1, 1])
def test_curtailment_takes_what_is_needed_and_no_more(rule: str, side: int) -> None:
    slot = tight_slot()
    wanted = np.array([10.0, 10.0, 20.0, 20.0, 25.0, 5.0])
    done = curtail(slot, BUS, wanted, rule, side=side, connected=np.array([2010, 2012, 2015, 2001, 2020, 2020]))  # type: ignore[arg-type]
    assert done.kept_kw + done.taken_kw == pytest.approx(wanted)
    assert is_safe(slot, BUS, side * done.kept_kw)
    more = done.kept_kw + 1e-3 * wanted
    if rule == "pro_rata":
        assert np.ptp(done.kept_kw / wanted) < 1e-12
        assert not is_safe(slot, BUS, side * more)
    else:
        order = [5, 4, 2, 1, 0, 3]  # latest connection first, of equal ones the later row
        part = done.taken_kw[order] / wanted[order]
        assert (np.diff(part) <= 1e-12).all()
        assert np.sum((part > 1e-9) & (part < 1 - 1e-9)) <= 1
        more[:] = done.kept_kw
        more[order[int(np.sum(part > 1e-9)) - 1]] += 0.01
        assert not is_safe(slot, BUS, side * more)


def test_curtailment_leaves_alone_what_fits_and_refuses_what_it_cannot_mend() -> None:
    slot = tight_slot()
    assert curtail(slot, BUS, np.full(6, 0.5), "pro_rata").taken_kw.tolist() == [0.0] * 6
    fixed = np.zeros(7)
    fixed[6] = -80.0
    with pytest.raises(GridError, match="even with all"):
        curtail(FeederSlot(slot.network, HOUR, fixed_p_kw=fixed), BUS, np.full(6, 1.0), "pro_rata")
    with pytest.raises(InputError, match="rank of each connection"):
        curtail(slot, BUS, np.full(6, 1.0), "last_in_first_out")
    with pytest.raises(InputError, match="wanted_kw"):
        curtail(slot, BUS, np.full(6, -1.0), "pro_rata")


def test_the_cheapest_curtailment_costs_less_than_any_other_and_the_dearest_is_left_alone() -> None:
    slot, wanted = tight_slot(), np.array([10.0, 10.0, 20.0, 20.0, 25.0, 5.0])
    price = np.array([90_000, 80_000, 120_000, 60_000, 10_000, 250_000])
    done = curtail(slot, BUS, wanted, "cheapest", price_micro_per_kwh=price)
    assert is_safe(slot, BUS, -done.kept_kw)
    cost = float(done.taken_kw @ price)
    for rule in ("pro_rata", "last_in_first_out"):
        other = curtail(slot, BUS, wanted, rule, connected=np.arange(6))  # type: ignore[arg-type]
        assert cost < float(other.taken_kw @ price)
    rng = np.random.default_rng(5)
    for _ in range(300):  # no random use that is safe costs less: the slow twin
        kept = wanted * rng.random(6) ** 0.3
        if is_safe(slot, BUS, -kept):
            assert float((wanted - kept) @ price) >= cost - 1e-3 * cost
    assert done.taken_kw[5] == pytest.approx(0.0, abs=1e-6)
    assert done.taken_kw[4] == pytest.approx(25.0, rel=1e-6)
    with pytest.raises(InputError, match="a price of zero or more"):
        curtail(slot, BUS, wanted, "cheapest")


def test_curtailed_energy_is_paid_in_whole_numbers_that_add_up() -> None:
    slot, wanted = tight_slot(), np.array([10.0, 10.0, 20.0, 20.0, 25.0, 5.0])
    done = curtail(slot, BUS, wanted, "pro_rata")
    for percent in (100, 95, 0):
        paid = pay_curtailment(done, HOUR, 80_000, paid_percent=percent)
        assert (paid.kept_wh + paid.taken_wh == np.rint(250 * wanted)).all()
        assert (paid.pay_nano == -(paid.taken_wh * 80_000 // 100 * percent)).all()
        assert paid.cost_nano == -paid.pay_nano.sum()
        assert is_safe(slot, BUS, -paid.kept_wh * slot.kw_per_wh)
    with pytest.raises(InputError, match="0 to 100"):
        pay_curtailment(done, HOUR, -1, paid_percent=101)


def corners(box: Envelopes) -> np.ndarray:
    """Every corner of the box, [2^members, members]."""
    side = np.array(list(itertools.product((False, True), repeat=box.import_kw.size)))
    return np.where(side, box.import_kw, -box.export_kw)


def two_streets() -> FeederSlot:
    """A long street of consumers and a short one of plants behind a weak transformer: the plants' thin cable carries more amperes
    when the consumers pull the voltage down.
    """
    buses = {"mv": 20.0, "lv": 0.4, "plants": 0.4, "homes": 0.4}
    lines = [
        Line("thin", "lv", "plants", 0.05, 0.9, 0.08, max_i_ka=0.05),
        Line("street", "lv", "homes", 0.1, 0.2067, 0.08, max_i_ka=0.27),
    ]
    trafo = Transformer("t", "mv", "lv", 100.0, 20.0, 0.4, 10.0, 3.0)
    return FeederSlot(build_network(buses, lines, [trafo], root="mv", v_min_pu=0.8, v_max_pu=1.2), HOUR)


@pytest.mark.parametrize("fairness", ["equal", "proportional", "welfare"])
def test_a_plant_is_safe_beside_consumers_who_pull_the_voltage_down(fairness: str) -> None:
    """All feed in, all take: both are safe with more than this, but plants that feed in while homes take are not."""
    slot, bus = two_streets(), np.array([2, 2, 3, 3])
    imports, exports = np.array([1.0, 1.0, 60.0, 60.0]), np.array([30.0, 30.0, 1.0, 1.0])
    box = operating_envelopes(slot, bus, imports, exports, fairness)  # type: ignore[arg-type]
    for use in corners(box):
        assert is_safe(slot, bus, use)
    more = 1.001
    assert is_safe(slot, bus, more * box.import_kw)
    assert is_safe(slot, bus, -more * box.export_kw)
    assert not is_safe(slot, bus, more * np.where(bus == 2, -box.export_kw, box.import_kw))


@given(random_tables(7), st.integers(0, 10**6), st.sampled_from(["equal", "proportional", "welfare"]))
@settings(max_examples=25, deadline=None)
def test_any_use_of_any_box_on_any_tree_is_safe(tables: Tables, seed: int, fairness: str) -> None:
    network, rng = tight(tables, 0.5, 0.02), np.random.default_rng(seed)
    slot = FeederSlot(network, HOUR, fixed_p_kw=rng.uniform(-0.5, 0.5, network.buses))
    bus = rng.integers(0, network.buses, 5)
    try:
        box = operating_envelopes(slot, bus, rng.uniform(0, 60, 5), rng.uniform(0, 60, 5), fairness)  # type: ignore[arg-type]
    except GridError:
        return
    within = corners(box)
    inside = np.where(rng.random((60, 5)) < 0.5, box.import_kw, -box.export_kw) * rng.random((60, 5))
    for use in np.vstack([within, inside]):
        assert is_safe(slot, bus, 0.999999 * use)


@pytest.mark.parametrize("fairness", ["equal", "proportional", "welfare"])
def test_any_use_within_the_envelopes_is_safe(fairness: str) -> None:
    fixed = np.array([0.0, 0.0, 1.0, -2.0, 1.0, 0.5, 0.0])
    slot = FeederSlot(tight_slot().network, HOUR, fixed_p_kw=fixed)
    caps = np.array([30.0, 10.0, 30.0, 30.0, 20.0, 30.0])
    box = operating_envelopes(slot, BUS, caps, 1.5 * caps, fairness)  # type: ignore[arg-type]
    assert (box.import_kw <= caps).all()
    assert (box.export_kw <= 1.5 * caps).all()
    assert box.import_kw.sum() < caps.sum()  # it does bind
    rng = np.random.default_rng(0)
    for use in corners(box):
        assert is_safe(slot, BUS, use)
    for _ in range(200):
        edge = rng.random(6) < 0.5
        use = np.where(rng.random(6) < 0.5, box.import_kw, -box.export_kw) * np.where(edge, 1.0, rng.random(6))
        assert is_safe(slot, BUS, use)


def test_each_fairness_is_what_it_says() -> None:
    slot, caps = tight_slot(), np.array([30.0, 10.0, 30.0, 30.0, 20.0, 30.0])
    equal, proportional, welfare = (
        operating_envelopes(slot, BUS, caps, caps, fairness) for fairness in ("equal", "proportional", "welfare")
    )
    open_cap = equal.import_kw < caps - 1e-9
    assert np.ptp(equal.import_kw[open_cap]) < 1e-9
    assert np.ptp(proportional.import_kw / caps) < 1e-9
    sums = [box.import_kw.sum() for box in (welfare, equal, proportional)]
    assert sums[0] >= max(sums) - 1e-3
    with pytest.raises(InputError, match="equal, proportional or welfare"):
        operating_envelopes(slot, BUS, caps, caps, "fair")  # type: ignore[arg-type]


def test_the_worth_of_a_limit_is_its_price_times_the_hours() -> None:
    slot = tight_slot()
    book = sunny_book(slot)
    done = clear(book, Conventions(), slot)
    worths = limit_worths(slot.network, [done, done, done], HOUR)
    assert worths[0].kind == "high voltage"
    assert worths[0].bound_hours == 0.75
    prices = np.asarray(done.certificate["limit_price_micro_per_hour"])
    assert worths[0].worth_micro == round(3 * HOUR * prices.max())
    assert worths[0].peak_micro_per_hour == prices.max()
    looser = FeederSlot(feeder(slack_v_pu=1.02).network(v_max_pu=1.0355, v_min_pu=1.0), HOUR)
    gained = (welfare_nano(book, clear(book, Conventions(), looser)) - welfare_nano(book, done)) / 1e9
    total = sum(worth.worth_micro for worth in worths) / 3 / 1e6
    assert gained == pytest.approx(total * 0.05, rel=0.1)  # 0.0005 pu more is a twentieth of the unit
