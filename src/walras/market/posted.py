"""Posted offers: one side posts prices, the other comes by one after another and takes or leaves them.

Rule: sellers post their asks (or, with {"posted": {"by": "buy"}}, buyers their bids) and do not bargain. Those of the
other side come in the sequence (time, id), or drawn by the seed if `tie` is "lot" as in the experiments, and each takes
the best posted price that its limit allows, then the next best, until it has what it wants. Every trade is at the posted
price. What is posted is served by (price, time, id). Bids count net of the grid fee.

Source: Plott and Smith, "An experimental examination of two exchange institutions", Review of Economic Studies 45 (1978);
Ketcham, Smith and Williams, "A comparison of posted-offer and double-auction pricing institutions", same review 51 (1984).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from walras.errors import Fault, InputError
from walras.market.clearing import Clearing, Trades
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism, read_part
from walras.market.orders import BUY, SELL, Orders
from walras.market.queue import cheapest_first, take_in_sequence
from walras.market.settle import settle_trades
from walras.market.terms import priority, terms


def clear(
    orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object] | None = None
) -> Clearing:
    """Serve the queue. Raises InputError for a bad part "posted", RangeError where the money does not fit in int64.

    The first buyer takes the cheap offer although the second would have paid more:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([-1, -1, 1, 1], [500, 500, 500, 500], [100, 250, 150, 300])
    >>> done = clear(book, Conventions())
    >>> done.trades.price_micro_per_kwh.tolist(), done.filled_wh.tolist()
    ([100, 250], [500, 500, 500, 500])
    """
    sign = 1 if _posting_side(extra) == SELL else -1
    book = terms(orders, conventions)
    cost = book.price_micro_per_kwh * sign
    live = book.quantity_wh > 0
    offers = cheapest_first(orders, np.flatnonzero(live & (orders.side == -sign)), cost)
    takers = priority(orders, np.flatnonzero(live & (orders.side == sign)), conventions)
    taker, offer, energy = take_in_sequence(cost[takers], book.quantity_wh[takers], cost[offers], book.quantity_wh[offers])
    buy, sell = (takers[taker], offers[offer]) if sign == 1 else (offers[offer], takers[taker])
    price = book.price_micro_per_kwh[offers[offer]]
    trades = Trades(buy.astype(np.int64), sell.astype(np.int64), energy, price)
    certificate = {"netted_wh": book.netted_wh}
    return settle_trades("posted", orders, trades, conventions.grid_fee_micro_per_kwh, certificate=certificate)


def _posting_side(extra: Mapping[str, object] | None) -> int:
    given, faults = read_part("posted", "posted", extra, ("by",))
    by = given.get("by", "sell")
    if by not in ("sell", "buy"):
        faults.append(Fault("posted", "by", by, '"sell" or "buy"'))
    if faults:
        raise InputError("posted book", faults)
    return SELL if by == "sell" else BUY


POSTED = Mechanism(
    name="posted",
    title="Posted offers",
    reference="Plott and Smith, An experimental examination of two exchange institutions, 1978",
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
    conventions=("tie", "seed", "self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
    extra=(("posted", 'optional: {"by": "sell" or "buy"}, who posts the prices'),),
)
