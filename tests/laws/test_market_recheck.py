"""A recorded clearing passes the recheck exactly when it is the one that its rule gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from laws.books import books, conventions
from walras.market.clearing import Clearing
from walras.market.comparison import opening_extras
from walras.market.conventions import Conventions
from walras.market.laws import check_clearing
from walras.market.mechanism import Mechanism, run
from walras.market.orders import Orders, make_orders
from walras.market.recheck import recheck
from walras.market.registry import MECHANISMS, mechanism_named

EVERY = pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=list(MECHANISMS))
EXTRAS = opening_extras(1_000, 10, 300)


@EVERY
@settings(max_examples=15, deadline=None)
@given(books(), conventions())
def test_what_the_rule_gives_passes(mechanism: Mechanism, orders: Orders, chosen: Conventions) -> None:
    extra = EXTRAS(mechanism, orders)
    done = run(mechanism, orders, chosen, None, extra)
    assert recheck(mechanism, orders, chosen, done, None, extra) == []
    assert recheck(mechanism, orders, chosen, replace(done, trades=None), None, extra) == []


@EVERY
@settings(max_examples=15, deadline=None)
@given(books(st.integers(1, 9), st.integers(5, 30), st.integers(0, 12), max_orders=8), st.data())
def test_a_changed_payment_never_passes(mechanism: Mechanism, orders: Orders, data: st.DataObject) -> None:
    assume(orders.count >= 2)
    extra = EXTRAS(mechanism, orders)
    done = run(mechanism, orders, Conventions(), None, extra)
    pay = done.pay_nano.copy()
    giver, taker = data.draw(st.permutations(range(orders.count)))[:2]
    pay[giver] += 1
    pay[taker] -= 1
    assert recheck(mechanism, orders, Conventions(), replace(done, pay_nano=pay), None, extra) != []


def moved_price(done: Clearing, orders: Orders, price: int) -> Clearing:
    return replace(done, price_micro_per_kwh=price, pay_nano=done.filled_wh * np.where(orders.side == 1, price, -price))


def test_a_price_elsewhere_in_the_interval_keeps_every_law_and_is_still_refused() -> None:
    uniform = mechanism_named("uniform")
    orders = make_orders([1, -1], [5, 5], [300, 100])
    shifted = moved_price(run(uniform, orders, Conventions()), orders, 299)
    assert check_clearing(uniform, orders, shifted, Conventions()) == []
    assert [finding.law for finding in recheck(uniform, orders, Conventions(), shifted)] == ["price", "money", "money"]


def test_a_favoured_order_among_equals_keeps_every_law_and_is_still_refused() -> None:
    uniform = mechanism_named("uniform")
    orders = make_orders([1, 1, -1], [10, 10, 10], [300, 300, 100])
    fair = run(uniform, orders, Conventions())
    favoured = moved_price(replace(fair, filled_wh=np.array([10, 0, 10])), orders, 300)
    assert check_clearing(uniform, orders, favoured, Conventions()) == []
    assert [finding.law for finding in recheck(uniform, orders, Conventions(), favoured)] == ["tie"]


def test_the_clearing_of_another_rule_is_refused() -> None:
    orders = make_orders([1, -1], [5, 5], [300, 100])
    other = run(mechanism_named("cda"), orders, Conventions())
    assert "mechanism" in {finding.law for finding in recheck(mechanism_named("posted"), orders, Conventions(), other)}
