"""English (Japanese) clock: the price rises, bidders leave as it passes their limit, and stops when no more is wanted
than offered.

At a price p the demand D(p) is what bids of at least p want, the supply S(p) what asks of at most p offer. The clock rises
from the start (default: the lowest ask; never below the reserve) in ticks to the first p with D(p) <= S(p). If the
bidders still in at p could have been served a tick earlier, D(p) <= S(p - tick), the price is p - tick, the last at which
those who left were still in: for one lot the second-highest limit, up to a tick. Otherwise, and at the start, it is p.
Everyone trades at that one price; the longer side is served by merit (best limit, then time, then id).

With a tick of 1 micro/kWh and the default start this is the efficient one-price clearing with the price at the low end of what
balances the book. A coarser tick or a later start may leave trades undone.

Source: Milgrom and Weber, "A theory of auctions and competitive bidding", Econometrica 50 (1982), section 5 (the Japanese
button auction); for one lot and private values staying in up to one's limit is dominant, as in Vickrey (1961).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from walras.market.clearing import Clearing, empty_clearing
from walras.market.clock import CLOCK_EXTRA, read_clock
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, Orders
from walras.market.queue import cheapest_first
from walras.market.terms import terms
from walras.units import Int64, checked_product, checked_sum


def clear(
    orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object] | None = None
) -> Clearing:
    """Run the clock. Raises InputError for a bad clock, RangeError where energy or money does not fit in int64.

    One lot: the bidder of 300 wins it at 220, where the last rival was still in:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([-1, 1, 1, 1], [1000, 1000, 1000, 1000], [100, 300, 220, 150])
    >>> done = clear(book, Conventions())
    >>> done.price_micro_per_kwh, done.filled_wh.tolist()
    (220, [1000, 1000, 0, 0])
    """
    clock = read_clock("english", extra, ("ascending",))
    book = terms(orders, conventions)
    live = book.quantity_wh > 0
    bids = cheapest_first(orders, np.flatnonzero(live & (orders.side == BUY)), -book.price_micro_per_kwh)
    asks = cheapest_first(orders, np.flatnonzero(live & (orders.side != BUY)), book.price_micro_per_kwh)
    if not bids.size or not asks.size:
        return empty_clearing("english", orders, {"netted_wh": book.netted_wh})
    demand = _Curve(-book.price_micro_per_kwh[bids], book.quantity_wh[bids], -1)
    supply = _Curve(book.price_micro_per_kwh[asks], book.quantity_wh[asks], 1)
    start = int(book.price_micro_per_kwh[asks[0]]) if clock.start is None else clock.start
    start = start if clock.reserve is None else max(start, clock.reserve)
    price = _stop(demand, supply, start, clock.tick, int(book.price_micro_per_kwh[bids[0]]))
    volume = min(demand.at(price), supply.at(price))
    if volume == 0:
        return empty_clearing("english", orders, {"netted_wh": book.netted_wh})
    filled = np.zeros(orders.count, dtype=np.int64)
    for rows in (bids, asks):
        quantity = book.quantity_wh[rows]
        filled[rows] = np.clip(volume - (np.cumsum(quantity) - quantity), 0, quantity)
    paid = np.where(orders.side == BUY, price + conventions.grid_fee_micro_per_kwh, -price)
    pay = checked_product(filled, paid, "pay_nano")
    checked_sum(np.abs(pay), "pay_nano")
    return Clearing("english", filled, pay, price, certificate={"netted_wh": book.netted_wh, "volume_wh": volume})


class _Curve:
    """Cumulative quantity of rows sorted by merit; `sign` turns prices into the sorted key."""

    def __init__(self, key: Int64, quantity: Int64, sign: int) -> None:
        checked_sum(quantity, "quantity_wh")
        self.key: NDArray[np.int64] = key
        self.sums = np.concatenate([[0], np.cumsum(quantity)])
        self.sign = sign

    def at(self, price: int) -> int:
        """Wh wanted or offered at `price`."""
        return int(self.sums[np.searchsorted(self.key, self.sign * price, side="right")])


def _stop(demand: _Curve, supply: _Curve, start: int, tick: int, highest_bid: int) -> int:
    """The price at which the clock settles. Ticks are found by bisection: D falls and S rises with the price."""
    low, high = -1, max(0, (highest_bid - start) // tick + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if demand.at(start + middle * tick) <= supply.at(start + middle * tick):
            high = middle
        else:
            low = middle
    price = start + high * tick
    return price - tick if high and demand.at(price) <= supply.at(price - tick) else price


ENGLISH = Mechanism(
    name="english",
    title="English (Japanese) clock",
    reference="Milgrom and Weber, A theory of auctions and competitive bidding, 1982",
    clear=clear,
    claims=frozenset(
        {
            Claim.WEAK_BUDGET_BALANCE,
            Claim.STRONG_BUDGET_BALANCE,
            Claim.INDIVIDUALLY_RATIONAL,
            Claim.ONE_PRICE,
            Claim.ORDER_FREE,
        }
    ),
    conventions=("self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
    extra=CLOCK_EXTRA,
)
