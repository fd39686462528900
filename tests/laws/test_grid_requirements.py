"""Emissions cap, reserve, import and export in nodal clearing: prices are derivatives of welfare, payments and rents are exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid_cases import HOUR, Tables, feeder, random_book, random_tables, tight
from walras.errors import InputError
from walras.grid.conic import dispatch_conic
from walras.grid.feeder import FeederSlot, add_supplier, group_orders
from walras.grid.flow import power_flow
from walras.grid.nodal import NODAL, clear
from walras.grid.nodal_check import PARTS, check_nodal
from walras.grid.nodal_payments import RENT_NAMES
from walras.grid.optimum import dispatch
from walras.grid.requirements import Requirements
from walras.grid.rows import EMISSIONS_CAP, EXPORT_LIMIT, IMPORT_LIMIT, RESERVE_DOWN, RESERVE_UP
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws
from walras.market.orders import BUY, Orders, make_orders
from walras.units import MAX_PRICE_MICRO_PER_KWH

PLAIN = Conventions()
EVEN = frozenset(range(0, 60, 2))
DIRTY = dict.fromkeys(range(0, 60, 3), 700)


def _slot(tables: Tables, required: Requirements, **limits: float) -> FeederSlot:
    return FeederSlot(tight(tables, 0.6, 0.06), HOUR, requirements=required, **limits)


@settings(max_examples=40, deadline=None)
@given(
    random_tables(max_buses=9),
    st.integers(0, 2**32),
    st.sampled_from([np.inf, 3000.0, 300.0, 0.0]),
    st.sampled_from([0.0, 20.0, 60.0]),
    st.sampled_from([0.0, 20.0]),
    st.booleans(),
    st.booleans(),
)
def test_certificate_payments_and_rents_hold_on_random_trees(
    tables: Tables, seed: int, cap: float, up: float, down: float, counts: bool, ties: bool
) -> None:
    required = Requirements(cap, 400, DIRTY, up, down, EVEN, counts)
    slot = _slot(tables, required, import_limit_kw=40.0, export_limit_kw=40.0)
    book = random_book(slot.network, seed, 30, 15.0, ties=ties)
    clearing = clear(book, PLAIN, slot)
    assert check_nodal(book, clearing, slot, PLAIN) == []
    evidence = clearing.certificate
    assert sum(int(np.asarray(evidence[f"{name}_rent_nano"])) for name in RENT_NAMES) == clearing.surplus_nano
    total = sum(np.asarray(evidence[f"{name}_micro_per_kwh"]) for name in PARTS)
    assert (total == clearing.node_price_micro_per_kwh).all()


@settings(max_examples=30, deadline=None)
@given(random_tables(max_buses=9), st.integers(0, 2**32), st.integers(0, 20_000), st.sampled_from([0.0, 20.0]))
def test_a_cap_on_the_whole_import_counts_what_is_taken_outside_the_market_and_is_priced_like_an_import_limit(
    tables: Tables, seed: int, cap: int, up: float
) -> None:
    network = tight(tables, 0.6, 0.06)
    fixed = np.random.default_rng(seed).uniform(0, 8, network.buses)
    fixed[network.root] = 0.0
    required = Requirements(float(cap), 400, reserve_up_kw=up, flexible=EVEN, counts_fixed=True)
    slot = FeederSlot(network, HOUR, fixed, import_limit_kw=80.0, requirements=required)
    book = add_supplier(random_book(network, seed, 30, 8.0), network, 150_001, 150_000, participant=99)
    clearing = clear(book, PLAIN, slot)
    assert check_nodal(book, clearing, slot, PLAIN) == []
    evidence = clearing.certificate
    total = sum(np.asarray(evidence[f"{name}_micro_per_kwh"]) for name in PARTS)
    assert (total == clearing.node_price_micro_per_kwh).all()
    assert sum(int(np.asarray(evidence[f"{name}_rent_nano"])) for name in RENT_NAMES) == clearing.surplus_nano
    p = slot.power_of(book, np.where(book.node == network.root, 0, clearing.filled_wh))
    imported = max(float(power_flow(network, p).slack_p_kw[0]), 0.0)
    assert int(np.asarray(evidence["emitted_mg"])) == pytest.approx(400e3 * imported * HOUR, abs=2 * 400)
    if not np.asarray(evidence["limit_short_ppm"]).any():
        assert 400 * imported * HOUR <= cap + 2 * 0.4
    halved = dataclasses.replace(required, emission_cap_g=float(cap) / 2)
    if int(np.asarray(evidence["emitted_mg"])) > 1_000 * cap / 2 + 2_000:
        assert check_nodal(book, clearing, dataclasses.replace(slot, requirements=halved), PLAIN)


def test_where_the_whole_import_counts_no_order_has_an_intensity_of_its_own() -> None:
    with pytest.raises(InputError, match="order_g_per_kwh"):
        Requirements(1.0, 400, DIRTY, counts_fixed=True)


@settings(max_examples=6, deadline=None)
@given(random_tables(max_buses=5), st.integers(0, 2**32), st.sampled_from(["pro_rata", "time", "lot"]))
def test_the_laws_of_every_mechanism_hold_with_requirements(tables: Tables, seed: int, tie: str) -> None:
    required = Requirements(400.0, 400, DIRTY, 25.0, 5.0, EVEN)
    slot = _slot(tables, required, import_limit_kw=30.0, export_limit_kw=30.0)
    book = random_book(slot.network, seed, 14, 10.0, ties=True)
    assert_laws(NODAL, book, Conventions(tie=tie, seed=3), slot)  # type: ignore[arg-type]


def _welfare(slot: FeederSlot, book: Orders, extra_kw: float, node: int) -> float:
    """Micro per hour of everyone else when `extra_kw` is taken at `node` whatever it costs."""
    price = MAX_PRICE_MICRO_PER_KWH if extra_kw > 0 else -MAX_PRICE_MICRO_PER_KWH
    wh = round(abs(extra_kw) / slot.kw_per_wh)
    more = make_orders(
        np.append(book.side, BUY if extra_kw > 0 else -BUY), np.append(book.quantity_wh, wh),
        np.append(book.price_micro_per_kwh, price), node=np.append(book.node, node), id=np.append(book.id, 10**6),
    )  # fmt: skip
    groups = group_orders(more, slot)
    value = groups.side * groups.price * dispatch(slot, groups).fill_kw
    return float(value[np.abs(groups.price) < MAX_PRICE_MICRO_PER_KWH].sum())


CASES = {  # the kind of limit, what is required, import and export limit, share of sellers, the supplier's two prices
    "import": (IMPORT_LIMIT, Requirements(), (20.0, np.inf), 0.3, (150_000, 70_000)),
    "export": (EXPORT_LIMIT, Requirements(), (np.inf, 5.0), 0.9, (310_000, 200_000)),
    "emissions": (EMISSIONS_CAP, Requirements(1500.0, 400, DIRTY), (np.inf, np.inf), 0.4, (150_000, 70_000)),
    "emissions of the whole import": (
        EMISSIONS_CAP,
        Requirements(6_000.0, 400, counts_fixed=True),
        (np.inf, np.inf),
        0.4,
        (150_000, 70_000),
    ),
    "reserve up": (RESERVE_UP, Requirements(reserve_up_kw=80.0, flexible=EVEN), (60.0, 60.0), 0.4, (150_000, 70_000)),
    "reserve up, members alone": (
        RESERVE_UP,
        Requirements(reserve_up_kw=70.0, flexible=frozenset(range(40)), headroom_counts=False),
        (np.inf, np.inf),
        0.4,
        (310_000, 70_000),
    ),
    "reserve down": (RESERVE_DOWN, Requirements(reserve_down_kw=30.0, flexible=EVEN), (60.0, 30.0), 0.9, (310_000, 150_000)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_price_of_a_node_is_the_finite_difference_of_welfare(case: str) -> None:
    """To 0.001 ct/kWh; where an order is used up just there, the price lies between the two one-sided slopes."""
    kind, required, (most_in, most_out), sellers, (import_price, export_price) = CASES[case]
    network = feeder(slack_v_pu=1.02).network()
    fixed = np.append(0.0, np.full(network.buses - 1, 2.0)) if required.counts_fixed else None
    slot = FeederSlot(network, HOUR, fixed, import_limit_kw=most_in, export_limit_kw=most_out, requirements=required)
    step, smooth, bound = 20 * slot.kw_per_wh, 0, 0
    for seed in range(1, 5):
        rng = np.random.default_rng(seed)
        side = np.where(rng.random(40) < sellers, -1, 1)
        price, node = rng.integers(80_000, 300_000, 40), rng.integers(2, 7, 40)
        book = make_orders(side, rng.integers(100, 2500, 40), price, node=node, id=np.arange(40))
        book = add_supplier(book, network, import_price, export_price, participant=9)
        optimum, now = dispatch(slot, group_orders(book, slot)), _welfare(slot, book, 0.0, 2)
        bound += bool(optimum.multiplier[optimum.limit_kind == kind].max(initial=0) > 100)
        for bus in range(7):
            given_back, taken = (_welfare(slot, book, sign * step, bus) for sign in (-1.0, 1.0))
            slopes = sorted([(given_back - now) / step, (now - taken) / step])
            assert slopes[0] - 10 <= optimum.node_price()[bus] <= slopes[1] + 10, (seed, bus)  # 10 micro = 0.001 ct/kWh
            central = (given_back - taken) / (2 * step)
            if slopes[1] - slopes[0] < 15:
                assert abs(central - optimum.node_price()[bus]) <= 10, (seed, bus)
                smooth += 1
    assert bound >= 2
    assert smooth >= 5


def test_carbon_and_reserve_change_who_is_paid_what() -> None:
    """A clean seller keeps the whole price, a dirty one pays for its carbon; whoever holds reserve is paid for holding it."""
    network = feeder().network()
    book = make_orders([1, -1, -1], [4000, 3000, 3000], [300_000, 100_000, 90_000], node=[2, 2, 2], id=[0, 1, 2])
    slot = FeederSlot(network, HOUR, requirements=Requirements(1500.0, order_g_per_kwh={2: 500}))
    done = clear(book, PLAIN, slot)
    assert done.filled_wh.tolist() == [4000, 1000 + done.losses_wh, 3000]
    carbon = int(np.asarray(done.certificate["carbon_price_micro_per_kg"]))
    assert carbon == 0  # 3 kWh of 500 g are just the cap
    slot = FeederSlot(network, HOUR, requirements=Requirements(250.0, order_g_per_kwh={2: 500}))
    done = clear(book, PLAIN, slot)
    assert done.filled_wh[2] == 500
    carbon = int(np.asarray(done.certificate["carbon_price_micro_per_kg"]))
    assert carbon == pytest.approx(2 * (300_000 - 90_000), rel=0.02)  # the bid sets the price, carbon takes the rest
    price = int(done.node_price_micro_per_kwh[2])
    assert -done.pay_nano[1] == 3000 * price
    assert -done.pay_nano[2] == 500 * max(price - carbon * 500 // 1000, 90_000)
    slot = FeederSlot(network, HOUR, requirements=Requirements(reserve_up_kw=10.0, flexible=frozenset({2}), headroom_counts=False))
    done = clear(book, PLAIN, slot)
    assert done.filled_wh[2] == 500  # 12 kW of offer, 10 kW of them kept
    reserve = int(np.asarray(done.certificate["reserve_up_price_micro_per_kwh"]))
    held = int(np.asarray(done.certificate["reserve_pay_nano"])[2])
    assert held == -2500 * reserve
    assert reserve > 0
    assert done.pay_nano[2] == held - 500 * int(done.node_price_micro_per_kwh[2])


def test_a_cap_that_nothing_can_keep_is_reported_and_the_book_clears() -> None:
    network = feeder().network()
    required = Requirements(reserve_up_kw=500.0, flexible=frozenset({1}))
    slot = FeederSlot(network, HOUR, import_limit_kw=50.0, requirements=required)
    book = add_supplier(make_orders([1, -1], [3000, 2000], [300_000, 90_000], node=[2, 3]), network, 250_000, 80_000, participant=9)
    done = clear(book, PLAIN, slot)
    kinds, short = np.asarray(done.certificate["limit_kind"]), np.asarray(done.certificate["limit_short_ppm"])
    assert short[kinds == RESERVE_UP].max() == pytest.approx(1e6 * (500 - 50 + 0.46 - 8), rel=1e-3)  # a kW is a million
    assert check_nodal(book, done, slot, PLAIN) == []


def test_the_check_notices_lies_about_carbon_reserve_and_money() -> None:
    network = feeder(slack_v_pu=1.02).network()
    required = Requirements(1000.0, 400, DIRTY, 130.0, 0.0, EVEN)
    slot = FeederSlot(network, HOUR, import_limit_kw=60.0, requirements=required)
    book = random_book(network, 3, 40, 10.0)
    good = clear(book, PLAIN, slot)
    assert check_nodal(book, good, slot, PLAIN) == []
    assert good.certificate["carbon_price_micro_per_kg"] > 0
    assert good.certificate["reserve_up_price_micro_per_kwh"] > 0

    def found(lie: dict[str, object], **columns: object) -> set[str]:
        told = dataclasses.replace(good, certificate=dict(good.certificate) | lie, **columns)  # type: ignore[arg-type]
        return {finding.law for finding in check_nodal(book, told, slot, PLAIN)}

    assert "payments" in found({"carbon_price_micro_per_kg": good.certificate["carbon_price_micro_per_kg"] + 5000})
    assert "payments" in found({"reserve_up_price_micro_per_kwh": 0})
    assert "limits" in found({"emitted_mg": good.certificate["emitted_mg"] - 1})
    assert "payments" in found({"losses_rent_nano": good.certificate["losses_rent_nano"] + 1})
    assert "payments" in found({}, pay_nano=good.pay_nano + (np.arange(book.count) == 3))
    assert "split" in found({"emissions_micro_per_kwh": good.certificate["emissions_micro_per_kwh"] + 1})
    held = np.asarray(good.certificate["reserve_pay_nano"]).copy()
    held[np.argmin(held)] += 1
    assert "payments" in found({"reserve_pay_nano": held})
    tighter = dataclasses.replace(slot, requirements=dataclasses.replace(required, emission_cap_g=900.0))
    assert "limits" in {finding.law for finding in check_nodal(book, good, tighter, PLAIN)}
    tighter = dataclasses.replace(slot, requirements=dataclasses.replace(required, reserve_up_kw=131.0))
    assert "limits" in {finding.law for finding in check_nodal(book, good, tighter, PLAIN)}


def test_the_cone_program_agrees_with_requirements_binding() -> None:
    network = feeder(slack_v_pu=1.02).network()
    slot = FeederSlot(network, HOUR, import_limit_kw=60.0, requirements=Requirements(1000.0, 400, DIRTY, 130.0, 0.0, EVEN))
    for seed in range(3):
        groups = group_orders(random_book(network, seed, 40, 10.0), slot)
        ours, cone = dispatch(slot, groups), dispatch_conic(slot, groups)
        assert cone.exact
        assert float(np.sum(groups.side * groups.price * ours.fill_kw)) == pytest.approx(cone.welfare, rel=1e-6)
        assert ours.multiplier[ours.limit_kind >= EMISSIONS_CAP].max() > 0


def test_requirements_that_make_no_sense_are_refused_all_at_once() -> None:
    with pytest.raises(InputError, match="emission_cap_g") as caught:
        Requirements(-1.0, -5, {3: -1}, float("nan"), float("inf"))
    assert len(caught.value.faults) == 5
