"""The uniform-price auction keeps every law it claims, on any book and under any conventions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, conventions, nasty_books
from walras.errors import RangeError
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws, clearing_bytes
from walras.market.margin import find_margin
from walras.market.orders import Orders, make_orders
from walras.market.terms import terms
from walras.market.uniform import UNIFORM, clear


@settings(max_examples=400, deadline=None)
@given(nasty_books(), conventions())
def test_uniform_keeps_its_laws_on_nasty_books(orders: Orders, chosen: Conventions) -> None:
    try:
        clear(orders, chosen)
    except RangeError:
        return  # refused by name: money or energy beyond int64
    assert_laws(UNIFORM, orders, chosen)


@settings(max_examples=150, deadline=None)
@given(nasty_books(), conventions())
def test_both_engines_find_the_same_margin_on_nasty_books(orders: Orders, chosen: Conventions) -> None:
    book = terms(orders, chosen)
    columns = (orders.side, book.quantity_wh, book.price_micro_per_kwh)
    assert find_margin(*columns, "ticks") == find_margin(*columns, "sort")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2_100, 9_000), st.sampled_from([1, 3, 40, 3_000, 10**6, 10**9]), conventions())
def test_both_engines_give_the_same_bytes_on_large_books(seed: int, n: int, spread: int, chosen: Conventions) -> None:
    rng = np.random.default_rng(seed)
    shift = int(rng.integers(-spread, spread + 1))
    side = rng.choice([1, -1], n, p=(share := rng.uniform(0.05, 0.95), 1 - share))
    price = np.clip(rng.integers(-spread // 2, spread // 2 + 1, n) + np.where(side == 1, shift, 0), -(10**9), 10**9)
    quantity = rng.integers(0, int(rng.choice([2, 2_000, 10**6])), n)
    quantity[rng.integers(0, n, 2)] = rng.choice([0, 10**9])  # a giant that a sample misses
    orders = make_orders(side, quantity, price, participant=rng.integers(0, 50, n), time=rng.integers(0, 5, n))
    ticks = clear(orders, chosen, engine="ticks")
    assert clearing_bytes(ticks) == clearing_bytes(clear(orders, chosen, engine="sort"))


def test_a_million_equal_orders_share_to_the_last_watt_hour() -> None:
    n = 1_000_000
    side = np.where(np.arange(n) % 3 == 0, -1, 1)
    orders = make_orders(side, np.full(n, 10), np.full(n, 100_000))
    done = clear(orders, Conventions())
    bids = done.filled_wh[side == 1]
    asks_wh = int(10 * (side == -1).sum())
    assert int(bids.sum()) == asks_wh == int(done.filled_wh[side == -1].sum())
    assert set(bids.tolist()) == {asks_wh // bids.size, asks_wh // bids.size + 1}
    assert done.surplus_nano == 0


@pytest.mark.parametrize("tie", ["pro_rata", "time", "lot"])
@settings(max_examples=40, deadline=None)
@given(books(max_orders=30))
def test_a_tie_rule_moves_energy_among_equals_only(tie: str, orders: Orders) -> None:
    base = clear(orders, Conventions())
    other = clear(orders, Conventions(tie=tie, seed=9))  # type: ignore[arg-type]
    assert other.price_micro_per_kwh == base.price_micro_per_kwh
    for price in set(orders.price_micro_per_kwh.tolist()):
        for side in (1, -1):
            level = (orders.price_micro_per_kwh == price) & (orders.side == side)
            assert other.filled_wh[level].sum() == base.filled_wh[level].sum()
