"""Pay-as-bid and the pairing of fills keep their laws on any book."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, conventions, nasty_books
from walras.errors import RangeError
from walras.market import uniform
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws, check_trades
from walras.market.orders import BUY, Orders
from walras.market.pairing import pair_fills, pair_pro_rata
from walras.market.pay_as_bid import PAY_AS_BID, clear


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
