"""VCG on the wires: the pivot payments of a full re-solve, found by small ones; nobody loses and nobody gains by lying."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid_cases import HOUR, Tables, feeder, random_book, random_tables, tight
from walras.errors import ClearingError
from walras.grid import FeederSlot, add_supplier, vcg
from walras.grid.nodal import clear as clear_nodal
from walras.grid.requirements import Requirements
from walras.grid.vcg import clear, gains_by_full_solves, gains_of_presence
from walras.market.conventions import Conventions
from walras.market.laws import check_energy, check_individually_rational, check_money, check_quantities
from walras.market.orders import Orders, make_orders
from walras.market.uniform import clear as clear_uniform
from walras.market.vcg import clear as clear_copper

RULES = Conventions()


def crowded(seed: int, count: int = 60, band: float = 0.006) -> tuple[FeederSlot, Orders]:
    """A feeder at its voltage limit with seven participants of several orders each, and the supplier."""
    slot = FeederSlot(tight(feeder(), 1.0, band), HOUR)
    book = random_book(slot.network, seed, count, 12.0)
    return slot, replace(book, participant=np.where(book.participant == 99, 99, np.arange(book.count) % 7))


@given(random_tables(8), st.integers(0, 10**6), st.integers(2, 25), st.booleans())
@settings(max_examples=40, deadline=None)
def test_small_solves_find_what_full_solves_find(tables: Tables, seed: int, count: int, ties: bool) -> None:
    network = tight(tables, 0.4, 0.012)
    slot, book = FeederSlot(network, HOUR), random_book(network, seed, count, 6.0, ties=ties)
    try:
        fast = gains_of_presence(book, slot)
        slow = gains_by_full_solves(book, slot)
        short = np.asarray(clear_nodal(book, RULES, slot).certificate["limit_short_ppm"]).any()
    except ClearingError:
        return
    if not short:  # a limit that nobody can mend leaves no welfare to compare
        assert fast.gain_nano == pytest.approx(slow, rel=1e-4, abs=5e4)  # a third of a Wh at the dearest price


@pytest.mark.parametrize("seed", range(4))
def test_a_crowded_feeder_of_many_orders_needs_only_small_windows(seed: int) -> None:
    slot, book = crowded(seed, count=400)
    fast, slow = gains_of_presence(book, slot), gains_by_full_solves(book, slot)
    assert fast.gain_nano == pytest.approx(slow, rel=1e-4, abs=5e4)
    assert fast.solved == 8


def test_a_window_too_small_is_found_out_by_its_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun with next to nothing, the windows grow until the folded orders are right, and the gains are the same."""
    monkeypatch.setattr(vcg, "LEAST_IN_WINDOW", 1)
    slot, book = crowded(2, count=400)
    fast = gains_of_presence(book, slot)
    assert fast.grown > 8
    assert fast.gain_nano == pytest.approx(gains_by_full_solves(book, slot), rel=1e-4, abs=5e4)


def test_who_trades_nothing_is_not_solved_and_pays_nothing() -> None:
    slot, book = crowded(1)
    idle = make_orders(
        np.append(book.side, 1),
        np.append(book.quantity_wh, 500),
        np.append(book.price_micro_per_kwh, 1),
        participant=np.append(book.participant, 1234),
        node=np.append(book.node, 3),
    )
    done = clear(idle, RULES, slot)
    assert done.filled_wh[-1] == done.pay_nano[-1] == 0
    assert done.certificate["removals"] <= 8


@given(random_tables(8), st.integers(0, 10**6), st.integers(0, 20_000))
@settings(max_examples=30, deadline=None)
def test_nobody_loses_and_the_deficit_is_stated(tables: Tables, seed: int, fee: int) -> None:
    network = tight(tables, 0.4, 0.012)
    slot, book = FeederSlot(network, HOUR), random_book(network, seed, 20, 6.0)
    rules = Conventions(grid_fee_micro_per_kwh=fee)
    try:
        done = clear(book, rules, slot)
    except ClearingError:
        return
    broken = check_energy(book, done) + check_quantities(book, done, rules) + check_money(book, done)
    assert not broken + check_individually_rational(book, done, rules)
    fees = fee * int(done.filled_wh[book.side == 1].sum())
    assert done.surplus_nano == fees - int(done.certificate["deficit_nano"])


@pytest.mark.parametrize("seed", range(3))
def test_the_sequence_of_the_rows_does_not_matter(seed: int) -> None:
    slot, book = crowded(seed)
    turn = np.random.default_rng(seed).permutation(book.count)
    columns = ("id", "participant", "side", "quantity_wh", "price_micro_per_kwh", "time", "node")
    turned = replace(book, **{name: getattr(book, name)[turn] for name in columns})
    assert clear(turned, RULES, slot).pay_nano.tolist() == clear(book, RULES, slot).pay_nano[turn].tolist()


def test_without_binding_wires_it_is_the_copper_plates_vcg_but_for_losses() -> None:
    network = feeder().network(v_min_pu=0.5, v_max_pu=1.5)
    network = replace(network, branch_r=network.branch_r / 1e4, branch_x=network.branch_x / 1e4, branch_g=0 * network.branch_g)
    slot, book = FeederSlot(network, HOUR), random_book(network, 5, 30, 8.0)
    ours, copper = clear(book, RULES, slot), clear_copper(book, RULES)
    people = np.unique(book.participant)
    value = book.side * book.price_micro_per_kwh
    gains = [
        [int((value * done.filled_wh - done.pay_nano)[book.participant == p].sum()) for p in people] for done in (ours, copper)
    ]
    assert gains[0] == pytest.approx(gains[1], rel=2e-3, abs=1e6)
    assert clear_uniform(book, RULES).filled_wh.sum() > 0


@pytest.mark.parametrize("seed", range(3))
def test_no_lie_gains(seed: int) -> None:
    """Random lies about prices and quantities of all of a participant's orders, judged by its true values: what is gained stays
    within the rounding of fills (a few Wh at the spread of the book)."""
    slot, book = crowded(seed, count=25)
    rng = np.random.default_rng(seed)
    truth = clear(book, RULES, slot)
    value = book.side * book.price_micro_per_kwh
    spread = int(np.ptp(book.price_micro_per_kwh))
    for liar in (0, 3, 6):
        own = book.participant == liar
        honest = int((value * truth.filled_wh - truth.pay_nano)[own].sum())
        for _ in range(6):
            price, quantity = book.price_micro_per_kwh.copy(), book.quantity_wh.copy()
            price[own] = np.maximum(price[own] * rng.uniform(0.5, 1.5, own.sum()), 0).astype(np.int64)
            quantity[own] = (quantity[own] * rng.uniform(0.0, 1.0, own.sum())).astype(np.int64)
            lie = clear(replace(book, price_micro_per_kwh=price, quantity_wh=quantity), RULES, slot)
            gained = int((value * lie.filled_wh - lie.pay_nano)[own].sum())
            assert gained <= honest + 12 * spread


def test_nodal_prices_can_be_gamed_where_vcg_cannot() -> None:
    """The law above can fail: the same search finds a lie against nodal prices (a lone seller behind a limit holds back)."""
    slot = FeederSlot(feeder().network(), HOUR)
    book = add_supplier(
        make_orders([1, -1, -1], [2000, 1500, 1500], [250_000, 90_000, 100_000], participant=[0, 1, 2], node=[3, 4, 5]),
        slot.network,
        300_000,
        50_000,
        participant=9,
    )
    value = book.side * book.price_micro_per_kwh
    own = book.participant == 1
    less = replace(book, price_micro_per_kwh=np.where(own, 240_000, book.price_micro_per_kwh))

    def gain(rule: object, told: Orders) -> int:
        done = rule(told, RULES, slot)  # type: ignore[operator]
        return int((value * done.filled_wh - done.pay_nano)[own].sum())

    assert gain(clear_nodal, less) > gain(clear_nodal, book) + 10_000_000
    assert gain(clear, less) <= gain(clear, book) + 12 * 250_000


@pytest.mark.parametrize("side", ["import_limit_kw", "export_limit_kw"])
def test_the_exchange_limit_is_in_the_loop_too(side: str) -> None:
    """A limit at the root binds orders at the root, which are never folded: small solves keep it like full ones."""
    network = feeder().network()
    book = random_book(network, 11, 200, 3.0)
    book = replace(book, participant=np.where(book.participant == 99, 99, np.arange(book.count) % 9))
    slot = FeederSlot(network, HOUR, **{side: 1.0})  # type: ignore[arg-type]
    done = clear_nodal(book, RULES, slot)
    fast, slow = gains_of_presence(book, slot), gains_by_full_solves(book, slot)
    assert fast.gain_nano == pytest.approx(slow, rel=1e-4, abs=5e4)
    assert (np.asarray(done.certificate["limit_kind"]) == (4 if side == "import_limit_kw" else 5)).any() == (
        bool(np.asarray(done.certificate["limit_kind"]).size)
    )


def test_requirements_on_all_orders_together_are_refused() -> None:
    slot = FeederSlot(feeder().network(), HOUR, requirements=Requirements(reserve_up_kw=1.0))
    with pytest.raises(ClearingError, match="no emissions cap and no reserve"):
        clear(random_book(slot.network, 1, 10, 3.0), RULES, slot)


def test_an_empty_book_and_a_bare_network_are_handled() -> None:
    slot = FeederSlot(feeder().network(), HOUR)
    empty = make_orders([], [], [])
    assert clear(empty, RULES, slot).pay_nano.size == 0
    with pytest.raises(ClearingError, match="FeederSlot"):
        clear(empty, RULES, slot.network)
