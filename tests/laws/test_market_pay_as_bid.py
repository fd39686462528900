"""Pay-as-bid and the pairing of fills keep their laws on any book."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, conventions, nasty_books
from walras.errors import RangeError
from walras.market import uniform
from walras.market.clearing import Clearing, Trades
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws, check_trades
from walras.market.orders import BUY, Orders, make_orders
from walras.market.pairing import pair_fills, pair_pro_rata
from walras.market.pay_as_bid import PAY_AS_BID, clear
from walras.units import MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH


@settings(max_examples=250, deadline=None)
@given(nasty_books(), conventions())
def test_pay_as_bid_keeps_its_laws_on_nasty_books(orders: Orders, chosen: Conventions) -> None:
    try:
        done = clear(orders, chosen)
    except RangeError:
        return
    assert_laws(PAY_AS_BID, orders, chosen)
    trades = done.trades
    assert trades is not None
    fee = chosen.grid_fee_micro_per_kwh
    for buy, sell, price in zip(trades.buy, trades.sell, trades.price_micro_per_kwh, strict=True):
        assert orders.price_micro_per_kwh[sell] <= price <= orders.price_micro_per_kwh[buy] - fee


@settings(max_examples=150, deadline=None)
@given(books(st.just(1), st.integers(4, 7), st.integers(0, 3), max_orders=12), st.integers(0, 9))
def test_who_meets_whom_does_not_depend_on_the_sequence_of_rows(orders: Orders, seed: int) -> None:
    sequence = np.random.default_rng(seed).permutation(orders.count)
    first, second = clear(orders, Conventions()), clear(orders.take(sequence), Conventions())
    moved = orders.take(sequence)
    assert first.trades is not None
    assert second.trades is not None
    pairs = list(zip(orders.id[first.trades.buy], orders.id[first.trades.sell], first.trades.energy_wh, strict=True))
    assert pairs == list(zip(moved.id[second.trades.buy], moved.id[second.trades.sell], second.trades.energy_wh, strict=True))


@pytest.mark.parametrize(
    "rows", ["in order", "shuffled", "one of a terawatt-hour", "one at the highest price", "all of a hundred gigawatt-hours"]
)
def test_a_large_book_is_paired_and_charged_as_the_plain_queue_says(rows: str) -> None:
    """However the queue's keys are packed: the plain pairing of the same fills, and each pair's money added up."""
    rng = np.random.default_rng(3)
    n = 5_000
    side, quantity, price = rng.choice([1, -1], n), rng.integers(0, 2_001, n), rng.integers(50, 401, n)
    if rows == "one of a terawatt-hour":
        side[7], quantity[7], price[7] = -1, MAX_ENERGY_WH, 0
    if rows == "one at the highest price":
        side[7], quantity[7], price[7] = 1, 500, MAX_PRICE_MICRO_PER_KWH
    if rows == "all of a hundred gigawatt-hours":
        quantity *= 10**8
    book = make_orders(side, quantity, price, time=rng.permutation(n) if rows == "shuffled" else np.arange(n) // 3)
    chosen = Conventions(grid_fee_micro_per_kwh=5)
    done, plain = clear(book, chosen), uniform.clear(book, chosen)
    assert done.filled_wh.tolist() == plain.filled_wh.tolist()
    pairs = pair_fills(book, plain)
    assert done.trades is not None
    for name in ("buy", "sell", "energy_wh"):
        assert getattr(done.trades, name).tolist() == getattr(pairs, name).tolist()
    ask, bid = book.price_micro_per_kwh[pairs.sell], book.price_micro_per_kwh[pairs.buy] - 5
    assert done.trades.price_micro_per_kwh.tolist() == ((ask + bid) // 2).tolist()
    pay = [0] * n
    for buy, sell, energy, at in zip(*(getattr(done.trades, name).tolist() for name in Trades.__slots__), strict=True):
        pay[buy] += energy * (at + 5)
        pay[sell] -= energy * at
    assert done.pay_nano.tolist() == pay


def test_proportional_pairs_are_never_negative() -> None:
    """Rounding down the cumulative shares alone gives the middle pair -1 Wh here."""
    rows = np.arange(3)
    buy, sell, energy = pair_pro_rata(rows, np.array([2, 1, 3]), rows, np.array([2, 1, 3]))
    assert (energy > 0).all()
    for wanted, side in (([2, 1, 3], buy), ([2, 1, 3], sell)):
        assert np.bincount(side, weights=energy, minlength=3).tolist() == wanted


@settings(max_examples=150, deadline=None)
@given(nasty_books(), conventions(), st.sampled_from(["queue", "pro_rata"]))
def test_pairs_add_up_to_the_fills(orders: Orders, chosen: Conventions, pairing: str) -> None:
    try:
        done = uniform.clear(orders, chosen)
    except RangeError:
        return
    trades = pair_fills(orders, done, pairing)  # type: ignore[arg-type]
    paired = Clearing("uniform", done.filled_wh, done.pay_nano, done.price_micro_per_kwh, trades=trades)
    assert check_trades(orders, paired) == []
    if pairing == "pro_rata" and trades.buy.size:
        volume = int(done.filled_wh[orders.side == BUY].sum())
        exact = [int(done.filled_wh[b]) * int(done.filled_wh[s]) / volume for b, s in zip(trades.buy, trades.sell, strict=True)]
        assert np.abs(trades.energy_wh - np.array(exact)).max() < 3 + 1e-6 * max(exact)
