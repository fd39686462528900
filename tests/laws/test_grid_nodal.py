"""Nodal clearing: optimal in AC on random trees, prices are derivatives of welfare, the certificate catches what is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid_cases import HOUR, Tables, feeder, random_book, random_tables, tight
from walras.grid import optimum
from walras.grid.feeder import FeederSlot, add_supplier, group_orders
from walras.grid.nodal import NODAL, clear
from walras.grid.nodal_check import check_nodal
from walras.grid.optimum import dispatch
from walras.grid.point import PlaceRows, Work
from walras.grid.rows import HIGH_VOLTAGE, LINE_LIMIT, LOW_VOLTAGE, TRANSFORMER_LIMIT, LimitRows
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws
from walras.market.orders import BUY, Orders, make_orders
from walras.units import MAX_PRICE_MICRO_PER_KWH


@settings(max_examples=60, deadline=None)
@given(random_tables(), st.integers(0, 2**32), st.sampled_from([1.0, 0.3]), st.sampled_from([0.1, 0.03]), st.booleans())
def test_the_certificate_of_every_clearing_holds(tables: Tables, seed: int, rating: float, band: float, ties: bool) -> None:
    slot = FeederSlot(tight(tables, rating, band), HOUR)
    book = random_book(slot.network, seed, 30, 15.0, ties=ties)
    clearing = clear(book, Conventions(), slot)
    assert check_nodal(book, clearing, slot, Conventions()) == []
    if not np.asarray(clearing.certificate["limit_short_ppm"]).any():
        assert clearing.surplus_nano >= 0


@settings(max_examples=15, deadline=None)
@given(random_tables(max_buses=6), st.integers(0, 2**32), st.booleans(), st.sampled_from(["pro_rata", "time", "lot"]))
def test_the_laws_of_every_mechanism_hold(tables: Tables, seed: int, ties: bool, tie: str) -> None:
    slot = FeederSlot(tight(tables, 0.5, 0.05), HOUR)
    book = random_book(slot.network, seed, 15, 10.0, ties=ties)
    assert_laws(NODAL, book, Conventions(tie=tie, seed=7), slot)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(random_tables(max_buses=8), st.integers(0, 2**32))
def test_negative_prices_and_must_run_keep_every_point_of_the_certificate(tables: Tables, seed: int) -> None:
    slot = FeederSlot(tight(tables, 0.5, 0.05), HOUR)
    book = random_book(slot.network, seed, 20, 20.0, low=-100_000)
    assert check_nodal(book, clear(book, Conventions(), slot), slot, Conventions()) == []


def welfare(slot: FeederSlot, book: Orders, extra_kw: float, node: int) -> float:
    """Micro per hour of everyone else when `extra_kw` is taken at `node` whatever it costs."""
    price = MAX_PRICE_MICRO_PER_KWH if extra_kw > 0 else -MAX_PRICE_MICRO_PER_KWH
    wh = round(abs(extra_kw) / slot.kw_per_wh)
    more = make_orders(
        np.append(book.side, BUY if extra_kw > 0 else -BUY), np.append(book.quantity_wh, wh),
        np.append(book.price_micro_per_kwh, price), node=np.append(book.node, node),
    )  # fmt: skip
    groups = group_orders(more, slot.network)
    value = groups.side * groups.price * dispatch(slot, groups).fill_kw
    return float(value[np.abs(groups.price) < MAX_PRICE_MICRO_PER_KWH].sum())


CASES = {  # the limit, voltage band, factors on ratings of lines and transformer, share of sellers, the supplier's two prices
    "nothing binds": (None, {}, 1.0, 1.0, 0.5, (180_000, 120_000)),
    "high voltage": (HIGH_VOLTAGE, {"v_max_pu": 1.035}, 10.0, 10.0, 1.0, (310_000, 290_000)),
    "low voltage": (LOW_VOLTAGE, {"v_min_pu": 1.0}, 10.0, 10.0, 0.0, (75_000, 70_000)),
    "line": (LINE_LIMIT, {}, 0.12, 10.0, 0.2, (75_000, 70_000)),
    "transformer": (TRANSFORMER_LIMIT, {}, 10.0, 0.12, 0.2, (75_000, 70_000)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_price_of_a_node_is_the_finite_difference_of_welfare(case: str) -> None:
    """Where a limit gives way to another just there, the two one-sided slopes differ and the price lies between them."""
    kind, band, line, transformer, sellers, (import_price, export_price) = CASES[case]
    network = feeder(slack_v_pu=1.02).network(**band)
    rating = network.branch_rating * np.where(network.branch_kind == 0, line, transformer)
    slot = FeederSlot(dataclasses.replace(network, branch_rating=rating), HOUR)
    step, smooth = 20 * slot.kw_per_wh, 0
    for seed in range(1, 5):
        rng = np.random.default_rng(seed)
        side = np.where(rng.random(40) < sellers, -1, 1)
        price, node = rng.integers(80_000, 300_000, 40), rng.integers(2, 7, 40)
        book = make_orders(side, rng.integers(100, 2500, 40), price, node=node)
        book = add_supplier(book, network, import_price, export_price, participant=9)
        found, now = dispatch(slot, group_orders(book, network)), welfare(slot, book, 0.0, 2)
        assert kind is None or found.multiplier[found.limit_kind == kind].max(initial=0) > 0
        for bus in range(2, 7):
            given, taken = (welfare(slot, book, sign * step, bus) for sign in (-1.0, 1.0))
            slopes = sorted([(given - now) / step, (now - taken) / step])
            assert slopes[0] - 10 <= found.node_price()[bus] <= slopes[1] + 10, (seed, bus)  # 10 micro = 0.001 ct/kWh
            if slopes[1] - slopes[0] < 20:
                assert abs((given - taken) / (2 * step) - found.node_price()[bus]) <= 10, (seed, bus)
                smooth += 1
    assert smooth >= 5


def test_without_impedance_worth_speaking_of_it_trades_what_the_uniform_auction_trades() -> None:
    from walras.market.clearing import welfare_nano
    from walras.market.uniform import clear as clear_uniform

    tables = feeder()
    short = [dataclasses.replace(line, length_km=1e-7, max_i_ka=100.0) for line in tables.lines]
    big = dataclasses.replace(tables.transformers[0], sn_kva=1e7, pfe_kw=0.0, i0_percent=0.0)
    slot = FeederSlot(Tables(tables.buses, short, [big], "mv").network(), HOUR)
    for seed in range(5):
        book = random_book(slot.network, seed, 60, 5.0)
        ours, copper = clear(book, Conventions(), slot), clear_uniform(book, Conventions())
        assert abs(welfare_nano(book, ours) - welfare_nano(book, copper)) < 3 * 300_000
        assert np.ptp(ours.node_price_micro_per_kwh) <= 2
        assert abs(ours.node_price_micro_per_kwh[0] - copper.price_micro_per_kwh) <= 2


@pytest.mark.parametrize("part", [0.02, 1e-5])
def test_a_quadratic_step_over_some_columns_and_limits_is_that_over_all(part: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the first window is far too narrow and every limit is left out at first: what turns out wrong comes in."""
    network = feeder(slack_v_pu=1.02).network(v_max_pu=1.03)
    slot = FeederSlot(network, HOUR)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        side = np.where(rng.random(300) < 0.8, -1, 1)
        price = rng.integers(8, 30, 300) * 10_000
        book = make_orders(side, rng.integers(10, 400, 300), price, node=rng.integers(2, 7, 300))
        groups = group_orders(add_supplier(book, network, 310_000, 290_000, participant=9), network)
        work = optimum.Work(slot, groups)
        rows = work.rows(LimitRows([HIGH_VOLTAGE] * 5, [2, 3, 4, 5, 6], [0.0] * 5))
        guess = np.append(-250_000.0, np.zeros(5))

        def step(work: Work = work, rows: PlaceRows = rows, guess: np.ndarray = guess) -> tuple[np.ndarray, np.ndarray]:
            return optimum._quadratic(work, rows, guess, rows.price(guess), 1.0, optimum.penalty_of(work.groups))[:2]

        with monkeypatch.context() as patch:
            patch.setattr(optimum, "ROOM_KW", np.inf)
            whole, priced = step()
        with monkeypatch.context() as patch:
            patch.setattr(optimum, "WINDOW_FROM", 50)
            patch.setattr(optimum, "WINDOW_PART", part)
            patch.setattr(optimum, "ROOM_KW", 0.0)
            some, found = step()
        assert priced[1:].min() < -100  # a limit binds in the step, and it was left out at first
        assert some == pytest.approx(whole, abs=1e-4)
        assert found == pytest.approx(priced, abs=1.0)


def test_the_check_notices_every_kind_of_lie() -> None:
    network = feeder(slack_v_pu=1.02).network(v_max_pu=1.03)
    slot = FeederSlot(network, HOUR)
    rng = np.random.default_rng(4)
    book = make_orders(np.full(20, -1), np.full(20, 2000), rng.integers(80_000, 200_000, 20), node=rng.integers(2, 7, 20))
    book = add_supplier(book, network, 310_000, 250_000, participant=9)
    good = clear(book, Conventions(), slot)
    assert check_nodal(book, good, slot, Conventions()) == []
    assert np.asarray(good.certificate["limit_price_micro_per_hour"]).max() > 0

    def found(**changes: object) -> set[str]:
        lie = dataclasses.replace(good, **changes)  # type: ignore[arg-type]
        return {finding.law for finding in check_nodal(book, lie, slot, Conventions())}

    more = good.filled_wh.copy()
    row = int(np.flatnonzero((book.node == 6) & (more < book.quantity_wh))[0])
    more[row] += 400
    assert {"balance", "limits"} <= found(filled_wh=more)
    price = good.node_price_micro_per_kwh + 50
    assert "split" in found(node_price_micro_per_kwh=price)
    evidence = dict(good.certificate)
    losses = np.asarray(evidence["losses_micro_per_kwh"]) + 50
    assert "prices" in found(node_price_micro_per_kwh=price, certificate=evidence | {"losses_micro_per_kwh": losses})
    limits = np.asarray(evidence["limit_price_micro_per_hour"])
    assert "prices" in found(certificate=evidence | {"limit_price_micro_per_hour": limits * 2})
    assert "multipliers" in found(certificate=evidence | {"limit_price_micro_per_hour": -limits})
    cheap = int(np.argmin(np.where(good.filled_wh > 1000, book.price_micro_per_kwh, 10**9)))
    less = good.filled_wh.copy()
    less[cheap] -= 900
    less[book.side == BUY] -= 900
    assert "orders" in found(filled_wh=less)
