"""Pay-as-bid and the pairing of fills keep their laws on any book."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import conventions, nasty_books
from walras.errors import RangeError
from walras.market import uniform
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws, check_trades
from walras.market.orders import BUY, Orders
from walras.market.pairing import pair_fills
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
