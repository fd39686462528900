"""Redispatch, curtailment, envelopes and the worth of limits: within the limits in AC, and no further than needed."""

from __future__ import annotations

import numpy as np
import pytest

from grid_cases import HOUR, feeder
from walras.errors import GridError, InputError
from walras.grid.congestion import curtail, is_safe, redispatch
from walras.grid.envelopes import operating_envelopes
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
