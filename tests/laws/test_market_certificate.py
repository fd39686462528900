"""A submitted clearing is accepted exactly when it is right: the checks see every tampering and pass every honest result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, conventions, nasty_books
from walras.errors import InputError, RangeError
from walras.market.certificate import margin_of_fills, take_best, verify_uniform, verify_welfare
from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.laws import check_energy, check_individually_rational, clearing_bytes
from walras.market.linked import FLOWS, GAP, Links, clear_linked, make_links
from walras.market.orders import Orders, make_orders
from walras.market.terms import terms
from walras.market.uniform import clear, evidence_of, uniform_price


@settings(max_examples=300, deadline=None)
@given(nasty_books(), conventions())
def test_every_uniform_clearing_passes_its_own_check(orders: Orders, chosen: Conventions) -> None:
    try:
        done = clear(orders, chosen)
    except RangeError:
        return
    assert verify_uniform(orders, chosen, done) == []


def mixed_book(rng: np.random.Generator, n: int) -> Orders:
    """A book with ties, so that sharing rules matter."""
    side = rng.choice([1, -1], n)
    price = rng.integers(10, 16, n) * 10_000
    return make_orders(side, rng.integers(1, 500, n) * 10, price, participant=rng.integers(0, n, n), time=rng.integers(0, 4, n))


def recharge(orders: Orders, done: Clearing, filled: np.ndarray, price: int) -> Clearing:
    """Other fills or another price, with payments that fit them."""
    pay = filled * np.where(orders.side == 1, price, -price)
    return replace(done, filled_wh=filled, pay_nano=pay, price_micro_per_kwh=price)


def tampered(rng: np.random.Generator, orders: Orders, done: Clearing, chosen: Conventions) -> Clearing:
    """One of many subtle changes; some keep every sum in balance."""
    filled, pay, n = done.filled_wh.copy(), done.pay_nano.copy(), orders.count
    price = done.price_micro_per_kwh
    assert price is not None
    a, b = rng.choice(n, 2, replace=False)
    step = int(rng.choice([1, 10, 250]))
    match int(rng.integers(0, 10)):
        case 0:  # energy moves between two orders of one side
            same = np.flatnonzero(orders.side == orders.side[a])
            filled[a] += step
            filled[rng.choice(same[same != a])] -= step
            return recharge(orders, done, filled, price)
        case 1:  # both sides trade a little more or less
            bid, ask = rng.choice(np.flatnonzero(orders.side == 1)), rng.choice(np.flatnonzero(orders.side == -1))
            sign = rng.choice([1, -1])
            filled[[bid, ask]] += sign * step
            return recharge(orders, done, filled, price)
        case 2:
            return recharge(orders, done, filled, price + int(rng.choice([-1, 1, -5_000, 5_000])))
        case 3:  # one member's money to another
            pay[a] += step
            pay[b] -= step
            return replace(done, pay_nano=pay)
        case 4:
            filled[[a, b]] = filled[[b, a]]
            return recharge(orders, done, filled, price)
        case 5:
            pay[a] -= step
            return replace(done, pay_nano=pay)
        case 6:
            name = str(rng.choice(sorted(done.certificate)))
            value = done.certificate[name]
            assert isinstance(value, int)
            return replace(done, certificate={**done.certificate, name: value + 1})
        case 7:
            return empty_clearing("uniform", orders, done.certificate)
        case 8:  # a little less trades, and everything is made to agree with it
            for side, best in ((1, np.argmin), (-1, np.argmax)):
                rows = np.flatnonzero((orders.side == side) & (filled >= chosen.lot_wh))
                filled[rows[best(orders.price_micro_per_kwh[rows])]] -= chosen.lot_wh
            margin = margin_of_fills(orders, terms(orders, chosen), filled)
            if margin.volume_wh == 0:
                return empty_clearing("uniform", orders, evidence_of(margin, 0, chosen))
            other = recharge(orders, done, filled, uniform_price(margin, chosen))
            return replace(other, certificate=evidence_of(margin, 0, chosen))
        case _:
            return replace(done, losses_wh=1, filled_wh=filled)


@pytest.mark.parametrize("tie", ["pro_rata", "time", "lot"])
def test_a_thousand_tampered_uniform_clearings_are_all_refused(tie: str) -> None:
    rng = np.random.default_rng(11)
    refused = 0
    while refused < 1_000:
        orders = mixed_book(rng, int(rng.integers(6, 40)))
        chosen = Conventions(tie=tie, seed=3, lot_wh=int(rng.choice([1, 10])))  # type: ignore[arg-type]
        done = clear(orders, chosen)
        if done.price_micro_per_kwh is None:
            continue
        for _ in range(25):
            other = tampered(rng, orders, done, chosen)
            if clearing_bytes(other) == clearing_bytes(done):
                continue
            assert verify_uniform(orders, chosen, other) != []
            refused += 1


@st.composite
def linked_books(draw: st.DrawFn) -> tuple[Orders, Links]:
    """A small book over up to four places and the links between them."""
    orders = draw(books(st.integers(0, 30), max_orders=16))
    places = draw(st.integers(1, 4))
    node = [draw(st.integers(0, places - 1)) for _ in range(orders.count)]
    pairs = draw(st.lists(st.tuples(st.integers(0, places - 1), st.integers(0, places - 1)), max_size=6))
    pairs = [(a, b) for a, b in pairs if a != b]
    capacity = [draw(st.integers(0, 40)) for _ in pairs]
    fee = [draw(st.integers(0, 3)) for _ in pairs]
    book = make_orders(
        orders.side,
        orders.quantity_wh,
        orders.price_micro_per_kwh,
        participant=orders.participant,
        id=orders.id,
        time=orders.time,
        node=np.array(node, dtype=np.int64),
    )
    return book, make_links([a for a, _ in pairs], [b for _, b in pairs], capacity, fee)


@settings(max_examples=200, deadline=None)
@given(linked_books(), st.sampled_from([0, 2]))
def test_the_linear_program_is_proved_optimal_by_its_own_prices(market: tuple[Orders, Links], fee: int) -> None:
    orders, links = market
    chosen = Conventions(grid_fee_micro_per_kwh=fee)
    done = clear_linked(orders, chosen, links)
    verdict = verify_welfare(orders, chosen, done, links)
    assert verdict.accepted, verdict.findings
    assert verdict.gap_nano == 0
    assert check_energy(orders, done) == []
    assert check_individually_rational(orders, done, chosen) == []
    assert done.surplus_nano >= 0


@settings(max_examples=100, deadline=None)
@given(nasty_books())
def test_on_one_place_the_program_and_the_uniform_auction_agree_on_welfare(orders: Orders) -> None:
    if orders.count == 0 or int(orders.quantity_wh.max()) > 10**6:
        return
    by_program = verify_welfare(orders, Conventions(), clear_linked(orders, Conventions()))
    done = clear(orders, Conventions())
    assert by_program.welfare_nano == int((done.filled_wh * orders.price_micro_per_kwh * orders.side).sum())


def tampered_linked(rng: np.random.Generator, orders: Orders, done: Clearing) -> Clearing:
    filled, price = done.filled_wh.copy(), done.node_price_micro_per_kwh
    flow = done.certificate[FLOWS]
    assert price is not None
    assert isinstance(flow, np.ndarray)
    price, flow, pay, certificate = price.copy(), flow.copy(), done.pay_nano.copy(), dict(done.certificate)
    paid_again = True
    match int(rng.integers(0, 7)):
        case 0:
            filled[rng.integers(filled.size)] += int(rng.choice([-1, 1, 17]))
        case 1:  # in balance, at one place, but not optimal
            place = rng.choice(np.unique(orders.node))
            for side in (1, -1):
                rows = np.flatnonzero((orders.node == place) & (orders.side == side))
                if rows.size:
                    filled[rng.choice(rows)] -= 1
        case 2:
            flow[rng.integers(flow.size)] += int(rng.choice([-1, 1]))
        case 3:
            price += int(rng.choice([-60_000, 60_000]))
        case 4:
            price[rng.integers(price.size)] += int(rng.choice([-90_000, 90_000]))
        case 5:
            pay[rng.integers(pay.size)] -= 1
            paid_again = False
        case _:
            filled[:] = 0
            flow[:] = 0
    if paid_again:
        pay = filled * np.where(orders.side == 1, price[orders.node], -price[orders.node])
    certificate[FLOWS] = flow
    return replace(done, filled_wh=filled, pay_nano=pay, node_price_micro_per_kwh=price, certificate=certificate)


def linked_market(rng: np.random.Generator, n: int, places: int) -> tuple[Orders, Links]:
    side = rng.choice([1, -1], n)
    orders = make_orders(
        side,
        rng.integers(1, 2_000, n),
        rng.integers(50_000, 400_000, n),
        node=np.concatenate([np.arange(places), rng.integers(0, places, n - places)]),
    )
    ring = np.arange(places)
    return orders, make_links(
        np.concatenate([ring, (ring + 1) % places]),
        np.concatenate([(ring + 1) % places, ring]),
        rng.integers(0, 3_000, 2 * places),
    )


def test_a_thousand_tampered_linked_clearings_are_all_refused() -> None:
    rng = np.random.default_rng(5)
    refused = 0
    while refused < 1_000:
        orders, links = linked_market(rng, 60, 5)
        done = clear_linked(orders, Conventions(), links)
        assert verify_welfare(orders, Conventions(), done, links).accepted
        for _ in range(50):
            other = tampered_linked(rng, orders, done)
            if clearing_bytes(other) == clearing_bytes(done):
                continue
            verdict = verify_welfare(orders, Conventions(), other, links)
            if verdict.accepted:  # only another optimum of the very same welfare may pass
                assert verdict.welfare_nano == verdict.bound_nano
                continue
            refused += 1


def test_a_worse_clearing_is_accepted_only_with_its_gap_stated() -> None:
    orders = make_orders([1, -1], [100, 100], [300, 100])
    half = Clearing(
        "by hand",
        np.array([60, 60]),
        np.array([60 * 200, -60 * 200]),
        None,
        node_price_micro_per_kwh=np.array([200]),
        certificate={GAP: 8_000},
    )
    verdict = verify_welfare(orders, Conventions(), half)
    assert verdict.accepted
    assert (verdict.welfare_nano, verdict.bound_nano, verdict.gap_nano) == (12_000, 20_000, 8_000)
    overstated = replace(half, certificate={GAP: 7_999})
    assert [f.law for f in verify_welfare(orders, Conventions(), overstated).findings] == ["gap"]


def test_the_best_accepted_submission_wins_and_a_better_claim_that_fails_does_not() -> None:
    orders = make_orders([1, -1], [100, 100], [300, 100])
    full = clear_linked(orders, Conventions())
    half = replace(
        full,
        filled_wh=np.array([50, 50]),
        pay_nano=np.array([50, -50]) * int(full.node_price_micro_per_kwh[0]),
        certificate={GAP: 10**6},  # type: ignore[index]
    )
    beyond = replace(full, filled_wh=np.array([150, 150]), pay_nano=full.pay_nano * 3 // 2)
    best, verdicts = take_best(orders, Conventions(), [half, beyond, full, full])
    assert best == 2
    assert [v.accepted for v in verdicts] == [True, False, True, True]
    assert take_best(orders, Conventions(), [beyond])[0] is None


BROKEN: dict[str, Callable[[Clearing], Clearing]] = {
    "no prices": lambda c: replace(c, node_price_micro_per_kwh=None),
    "float prices": lambda c: replace(c, node_price_micro_per_kwh=np.array([1.5])),  # type: ignore[arg-type]
    "prices out of range": lambda c: replace(c, node_price_micro_per_kwh=np.array([2**62])),
    "too few rows": lambda c: replace(c, filled_wh=c.filled_wh[:1]),
    "float fills": lambda c: replace(c, filled_wh=c.filled_wh.astype(float)),  # type: ignore[arg-type]
    "flows without links": lambda c: replace(c, certificate={FLOWS: np.array([1])}),
    "negative gap": lambda c: replace(c, certificate={GAP: -1}),
    "losses": lambda c: replace(c, losses_wh=5),
    "a common price": lambda c: replace(c, price_micro_per_kwh=200),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_submission_is_a_finding_not_a_crash(name: str) -> None:
    orders = make_orders([1, -1], [100, 100], [300, 100])
    done = clear_linked(orders, Conventions())
    assert not verify_welfare(orders, Conventions(), BROKEN[name](done)).accepted


def test_links_name_all_their_faults() -> None:
    with pytest.raises(InputError) as caught:
        make_links([0, -1, 2], [0, 1, 1], [5, -5, 5], [0, 0, -1])
    assert sorted(fault.field for fault in caught.value.faults) == ["capacity_wh", "fee_micro_per_kwh", "source", "target"]
    with pytest.raises(InputError, match="as source has"):
        make_links([0], [1, 2], [3])
