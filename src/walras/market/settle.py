"""Payments of a list of trades: the buyer pays price and grid fee, the seller gets the price; nothing else moves money.

Shared by every rule that pairs orders one by one at a price of their own (order book, clocks, bilateral rules).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from walras.errors import RangeError
from walras.market.clearing import Clearing, Trades
from walras.market.orders import Orders
from walras.units import INT64_MAX, Int64


def settle_trades(
    mechanism: str,
    orders: Orders,
    trades: Trades,
    grid_fee_micro_per_kwh: int = 0,
    *,
    price_micro_per_kwh: int | None = None,
    certificate: Mapping[str, int | Int64] | None = None,
) -> Clearing:
    """The clearing that the trades make, in whole nano-units. Raises RangeError where the money does not fit in int64.

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, -1], [500, 800], [300_000, 100_000])
    >>> one = Trades(np.array([0]), np.array([1]), np.array([500]), np.array([200_000]))
    >>> settle_trades("cda", book, one, 10_000).pay_nano.tolist()
    [105000000, -100000000]
    """
    fee, price, energy = grid_fee_micro_per_kwh, trades.price_micro_per_kwh, trades.energy_wh
    if energy.size:
        dearest = int(np.abs(price).max()) + fee
        if int(energy.max()) * dearest > INT64_MAX // energy.size:
            total = sum(e * (abs(p) + fee) for e, p in zip(energy.tolist(), price.tolist(), strict=True))
            if total > INT64_MAX:
                raise RangeError(f"{mechanism}: the money of the trades, {total}, does not fit in int64", thing="pay_nano")
    filled = np.zeros(orders.count, dtype=np.int64)
    pay = np.zeros(orders.count, dtype=np.int64)
    np.add.at(filled, trades.buy, energy)
    np.add.at(filled, trades.sell, energy)
    np.add.at(pay, trades.buy, energy * (price + fee))
    np.subtract.at(pay, trades.sell, energy * price)
    return Clearing(mechanism, filled, pay, price_micro_per_kwh, trades=trades, certificate=certificate or {})


def as_trades(rows: list[tuple[int, int, int, int]]) -> Trades:
    """Trades from rows of (row of the bid, row of the ask, Wh, micro/kWh)."""
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 4)
    return Trades(*(table[:, c].copy() for c in range(4)))


def price_between(ask: Int64, bid: Int64, k: Fraction) -> Int64:
    """ask + floor(k * (bid - ask)) for each pair, exact also where k has a long fraction.

    >>> price_between(np.array([100]), np.array([201]), Fraction(1, 2)).tolist()
    [150]
    """
    gap = bid - ask
    if gap.size == 0 or (int(gap.max()) * k.numerator <= INT64_MAX and k.denominator <= INT64_MAX):
        return np.asarray(ask + gap * k.numerator // k.denominator, dtype=np.int64)
    pairs = zip(ask.tolist(), gap.tolist(), strict=True)
    return np.array([a + g * k.numerator // k.denominator for a, g in pairs], dtype=np.int64)
