"""Dutch clock, one lot or many: the price moves until someone stops it, and whoever stops it trades at that price.

descending   sellers' lots are on offer; the clock falls from the start (default: the highest bid of the book); a bidder
stops it at
             the first price not above its limit and takes what it wants from the cheapest lots whose ask that price covers.
ascending    for curtailment in an emergency: buyers require energy; the clock rises from the start (default: the lowest ask); a
             provider stops it at the first price not below its ask and serves the dearest bids that cover that price.

Who stops at the same price is served by (time, id). The clock ends at the reserve, or when nobody is left whom the other side
covers. The stopping limits are those of the orders: the clock does not know values. Bids count net of the grid fee.

Source: Vickrey, "Counterspeculation, auctions, and competitive sealed tenders", Journal of Finance 16 (1961): strategically the
same as a first-price sealed bid; many lots as at the flower auctions (van den Berg, van Ours and Pradhan, "The declining price
anomaly in Dutch Dutch rose auctions", American Economic Review 91, 2001).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from walras.market.clearing import Clearing, Trades
from walras.market.clock import CLOCK_EXTRA, Clock, read_clock
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, SELL, Orders
from walras.market.queue import cheapest_first, take_in_sequence
from walras.market.settle import settle_trades
from walras.market.terms import terms
from walras.units import Int64


def clear(
    orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object] | None = None
) -> Clearing:
    """Run the clock. Raises InputError for a bad clock, RangeError where the money does not fit in int64.

    From 300 in steps of 40: the bid of 290 stops at 260, the bid of 210 at 180, both from the one lot of 1,000 Wh:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([-1, 1, 1], [1000, 400, 900], [100, 210, 290])
    >>> clock = {"start_price_micro_per_kwh": 300, "tick_micro_per_kwh": 40}
    >>> done = clear(book, Conventions(), extra={"clock": clock})
    >>> done.trades.price_micro_per_kwh.tolist(), done.filled_wh.tolist()
    ([260, 180], [1000, 100, 900])
    """
    clock = read_clock("dutch", extra, ("descending", "ascending"))
    book = terms(orders, conventions)
    stopper, sign = (BUY, 1) if clock.direction == "descending" else (SELL, -1)
    # Mirrored: with prices negated a rising clock is a falling one.
    worth = book.price_micro_per_kwh * sign
    live = book.quantity_wh > 0
    stops = _stops(worth, clock, sign, worth[live & (orders.side == stopper)])
    in_time = np.ones(orders.count, dtype=np.bool_) if clock.reserve is None else stops >= clock.reserve * sign
    takers = cheapest_first(orders, np.flatnonzero(live & (orders.side == stopper) & in_time), -stops)
    lots = cheapest_first(orders, np.flatnonzero(live & (orders.side != stopper)), worth)
    taker, lot, energy = take_in_sequence(stops[takers], book.quantity_wh[takers], worth[lots], book.quantity_wh[lots])
    buy, sell = (takers[taker], lots[lot]) if sign == 1 else (lots[lot], takers[taker])
    trades = Trades(buy.astype(np.int64), sell.astype(np.int64), energy, stops[takers[taker]] * sign)
    certificate = {"netted_wh": book.netted_wh}
    return settle_trades("dutch", orders, trades, conventions.grid_fee_micro_per_kwh, certificate=certificate)


def _stops(worth: Int64, clock: Clock, sign: int, stoppers: Int64) -> Int64:
    """The clock's price at which each worth stops it: the start, or the highest step not above the worth."""
    if clock.start is None:
        start = int(stoppers.max()) if stoppers.size else 0
    else:
        start = clock.start * sign
    steps = np.maximum(0, -((worth - start) // clock.tick))
    return np.asarray(start - steps * clock.tick, dtype=np.int64)


DUTCH = Mechanism(
    name="dutch",
    title="Dutch clock (many lots)",
    reference="Vickrey, Counterspeculation, auctions, and competitive sealed tenders, 1961",
    clear=clear,
    claims=frozenset({Claim.WEAK_BUDGET_BALANCE, Claim.STRONG_BUDGET_BALANCE, Claim.INDIVIDUALLY_RATIONAL, Claim.ORDER_FREE}),
    conventions=("self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
    extra=CLOCK_EXTRA,
)
