"""Continuous double auction: orders meet the book one by one as they come, and trade at the price of the order that waited.

Rule: the orders enter an empty limit order book in the sequence (time, id). Each takes the best resting price that its limit
allows, at that price, the longest waiting first among equals; what is left rests (`order_book`, price-time priority). There is
no common price, and the sequence of arrival decides who trades: the outcome need not have the largest welfare, but no bid
is left above an ask. Bids count net of the grid fee, which the buyer pays on top; with `self_trade="prevent"` a
participant's own crossing orders are netted before they enter. For a live book with cancels, amendments and other order
types use `order_book.step`.

Source: Friedman and Rust (eds), "The Double Auction Market: Institutions, Theories, and Evidence", 1993; Smith, "An
experimental study of competitive market behavior", Journal of Political Economy 70 (1962).
"""

from __future__ import annotations

import numpy as np

from walras.market.clearing import Clearing, Trades
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.order_book import BookRules, make_events, open_book, step
from walras.market.orders import Orders
from walras.market.settle import settle_trades
from walras.market.terms import terms


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Feed the orders to an empty book by (time, id). Raises RangeError where the money does not fit in int64.

    The ask of 100 waits; the bid of 300 takes it at 100; the ask of 150 then meets the waiting bid of 200, at 200:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([-1, 1, 1, -1], [500, 500, 500, 500], [100, 300, 200, 150])
    >>> done = clear(book, Conventions())
    >>> done.trades.price_micro_per_kwh.tolist(), done.pay_nano.tolist()
    ([100, 200], [-50000, 50000, 100000, -100000])
    """
    book = terms(orders, conventions)
    rows = np.flatnonzero(book.quantity_wh > 0)
    rows = rows[np.lexsort((orders.id[rows], orders.time[rows]))]
    # The book's grid is the ranks of the prices that occur: matching asks only which is better.
    prices, level = np.unique(book.price_micro_per_kwh[rows], return_inverse=True)
    rules = BookRules(0, 1, max(1, prices.size))
    events = make_events(rows, side=orders.side[rows], quantity_wh=book.quantity_wh[rows], price_micro_per_kwh=level)
    _, done = step(open_book(rules, max(1, rows.size)), events)
    fills = done.fills
    price = prices[fills.price_micro_per_kwh] if prices.size else fills.price_micro_per_kwh
    trades = Trades(fills.buy_id, fills.sell_id, fills.energy_wh, np.asarray(price, dtype=np.int64))
    return settle_trades("cda", orders, trades, conventions.grid_fee_micro_per_kwh, certificate={"netted_wh": book.netted_wh})


CDA = Mechanism(
    name="cda",
    title="Continuous double auction (price-time priority)",
    reference="Friedman and Rust (eds), The Double Auction Market, 1993",
    clear=clear,
    claims=frozenset(
        {
            Claim.WEAK_BUDGET_BALANCE,
            Claim.STRONG_BUDGET_BALANCE,
            Claim.INDIVIDUALLY_RATIONAL,
            Claim.NO_CROSSING_LEFT,
            Claim.ORDER_FREE,
        }
    ),
    conventions=("self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
)
