"""Every mechanism on the shelf runs through the one suite, the JSON book, the incentive audit and the comparison."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laws.books import books, conventions, nasty_books
from walras.errors import ClearingError, RangeError
from walras.market.book import describe_clearing
from walras.market.comparison import compare, opening_extras
from walras.market.conventions import Conventions
from walras.market.game import best_misreport
from walras.market.laws import assert_laws
from walras.market.mechanism import Claim, Mechanism, run
from walras.market.orders import Orders, make_orders
from walras.market.registry import MECHANISMS

EXTRAS = opening_extras(1_000, 10, 300)
EVERY = pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=list(MECHANISMS))
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EVERY
@SLOW
@given(nasty_books(), conventions())
def test_it_keeps_the_laws_it_claims(mechanism: Mechanism, orders: Orders, chosen: Conventions) -> None:
    extra = EXTRAS(mechanism, orders)
    try:
        run(mechanism, orders, chosen, None, extra)
    except RangeError:
        return  # refused by name: money or energy beyond int64
    assert_laws(mechanism, orders, chosen, None, extra)


@pytest.mark.nightly
@EVERY
@settings(max_examples=400, deadline=None)
@given(nasty_books(), conventions())
def test_it_keeps_the_laws_it_claims_on_many_books(mechanism: Mechanism, orders: Orders, chosen: Conventions) -> None:
    extra = EXTRAS(mechanism, orders)
    try:
        run(mechanism, orders, chosen, None, extra)
    except RangeError:
        return
    assert_laws(mechanism, orders, chosen, None, extra)


@EVERY
@settings(max_examples=10, deadline=None)
@given(books(max_orders=10))
def test_its_result_is_plain_json(mechanism: Mechanism, orders: Orders) -> None:
    done = run(mechanism, orders, Conventions(), None, EXTRAS(mechanism, orders))
    ids = [f"order {number}" for number in orders.id.tolist()]
    told = describe_clearing(orders, done, ids)
    assert json.loads(json.dumps(told)) == told
    assert told["surplus_nano"] == sum(fill["pay_nano"] for fill in told["fills"])  # type: ignore[attr-defined]


@EVERY
def test_its_description_is_complete(mechanism: Mechanism) -> None:
    assert mechanism.title
    assert mechanism.reference
    assert set(mechanism.conventions) <= set(Conventions.__dataclass_fields__)
    assert all(name and words for name, words in (*mechanism.extra, *mechanism.order_extra))


@settings(max_examples=5, deadline=None)
@given(st.lists(books(st.integers(1, 9), st.integers(5, 30), st.integers(0, 25), max_orders=8), min_size=1, max_size=3))
def test_all_stand_in_one_comparison(drawn: list[Orders]) -> None:
    scores = compare(list(MECHANISMS.values()), drawn, Conventions(), clock=lambda: 0.0, extra_of=EXTRAS, lies_in=1, tries=5)
    assert [score.mechanism for score in scores] == list(MECHANISMS)
    for score in scores:
        if Claim.EFFICIENT in MECHANISMS[score.mechanism].claims:
            assert score.welfare_nano == score.best_welfare_nano
        if Claim.WEAK_BUDGET_BALANCE in MECHANISMS[score.mechanism].claims:
            assert score.deficit_nano == 0


def test_a_lie_that_pays_is_found_wherever_truth_is_not_claimed_for_sellers_and_buyers() -> None:
    """On this book someone gains by lying under the common rules; nobody does under those that claim truthfulness."""
    book = make_orders([1, 1, 1, -1, -1, -1], [10] * 6, [30, 25, 12, 5, 8, 20])
    gains = {
        name: max(
            best_misreport(mechanism, book, Conventions(), who, extra=EXTRAS(mechanism, book), ways=("price",)).gain_nano
            for who in range(6)
        )
        for name, mechanism in MECHANISMS.items()
        if not mechanism.extra
    }
    assert gains["uniform"] > 0
    assert gains["pay_as_bid"] > 0
    assert {name: gain for name, gain in gains.items() if gain and Claim.TRUTHFUL in MECHANISMS[name].claims} == {}


def test_a_mechanism_that_breaks_a_law_is_named_with_what_broke() -> None:
    honest = MECHANISMS["uniform"]

    def skims(orders: Orders, conventions: Conventions, network: object | None = None) -> object:
        done = honest.clear(orders, conventions, network)
        pay = done.pay_nano.copy()
        pay[0] += 1
        return replace(done, pay_nano=pay)

    thief = replace(honest, name="thief", clear=skims)  # type: ignore[arg-type]
    with pytest.raises(ClearingError, match="strong budget balance"):
        assert_laws(thief, make_orders([1, -1], [5, 5], [9, 1]), Conventions())
