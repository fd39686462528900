"""Pay-as-bid (discriminatory) double auction: the efficient volume, each pair of orders at a price of its own.

Which orders trade, and how much of each, is as in the uniform auction (`uniform.py`: largest efficient volume, ties by the
tie convention). They are then paired by the written rule of `pairing.pair_queue`: the dearest bid meets the cheapest ask,
equals by time and id, each used up before the next. A pair's price lies between its own ask and its own bid (net of the
grid fee): ask + floor(k * (bid - ask)). With k = 1 the buyer pays exactly its bid and the seller keeps the gain, as in the
usual pay-as-bid market of offers; k = 0 pays each seller exactly its ask. The buyer pays the grid fee on top.

The pairing by merit gives the first pairs the widest gap; it always exists at the efficient volume, since the i-th unit of
demand is worth at least the i-th unit of supply. There is no one price. `scarcity_price` and `price_between` have no meaning
here, as no price is common.

Source: Krishna, "Auction Theory" (2nd ed. 2010), chapter 12, for the discriminatory auction; the pairing rule is stated above.
"""

from __future__ import annotations

import numpy as np

from walras.errors import RangeError
from walras.market import uniform
from walras.market.clearing import Clearing, Trades
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import Orders
from walras.market.pairing import merit_order, pair_queue
from walras.units import INT64_MAX, Int64


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book pair by pair. Raises RangeError as the uniform auction does.

    The bid of 300 meets the ask of 100, the bid of 200 the ask of 150; halves of the gaps:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, -1, -1], [500, 500, 500, 500], [300, 200, 100, 150])
    >>> done = clear(book, Conventions())
    >>> done.trades.price_micro_per_kwh.tolist(), done.pay_nano.tolist()
    ([200, 175], [100000, 87500, -100000, -87500])
    """
    volume = uniform.clear(orders, conventions, network)
    filled = volume.filled_wh
    bids, asks = merit_order(orders, filled)
    buy, sell, energy = pair_queue(bids, filled[bids], asks, filled[asks])
    fee = conventions.grid_fee_micro_per_kwh
    ask, bid = orders.price_micro_per_kwh[sell], orders.price_micro_per_kwh[buy] - fee
    k = conventions.k
    price = _between(ask, bid, k.numerator, k.denominator)
    _refuse_overflow(energy, price, fee)
    pay = np.zeros(orders.count, dtype=np.int64)
    np.add.at(pay, buy, energy * (price + fee))
    np.subtract.at(pay, sell, energy * price)
    certificate: dict[str, int | Int64] = {
        name: value for name, value in volume.certificate.items() if name in ("volume_wh", "netted_wh", "tie_seed")
    }
    return Clearing("pay_as_bid", filled, pay, None, trades=Trades(buy, sell, energy, price), certificate=certificate)


def _between(ask: Int64, bid: Int64, numerator: int, denominator: int) -> Int64:
    """ask + floor(k * (bid - ask)), exact also where k has a long fraction."""
    gap = bid - ask
    if gap.size == 0 or numerator == 0:
        return ask
    if int(gap.max()) * numerator <= INT64_MAX and denominator <= INT64_MAX:
        return np.asarray(ask + gap * numerator // denominator, dtype=np.int64)
    return np.array([a + g * numerator // denominator for a, g in zip(ask.tolist(), gap.tolist(), strict=True)], dtype=np.int64)


def _refuse_overflow(energy: Int64, price: Int64, fee: int) -> None:
    """Each side's money, summed in absolute value, must fit; a bound first, the exact sums only where it does not tell."""
    if energy.size == 0:
        return
    dearest = max(int(np.abs(price).max()), int(np.abs(price + fee).max()))
    if int(energy.max()) * dearest <= INT64_MAX // energy.size:
        return
    for charged in (price, price + fee):
        if sum(e * abs(p) for e, p in zip(energy.tolist(), charged.tolist(), strict=True)) > INT64_MAX:
            raise RangeError("pay_as_bid: the money of the trades does not fit in int64", thing="pay_nano")


PAY_AS_BID = Mechanism(
    name="pay_as_bid",
    title="Pay-as-bid double auction, paired by merit",
    reference="Krishna, Auction Theory (2010), chapter 12",
    clear=clear,
    claims=frozenset(
        {
            Claim.WEAK_BUDGET_BALANCE,
            Claim.STRONG_BUDGET_BALANCE,
            Claim.INDIVIDUALLY_RATIONAL,
            Claim.EFFICIENT,
            Claim.NO_CROSSING_LEFT,
            Claim.ORDER_FREE,
        }
    ),
    conventions=("k", "tie", "seed", "self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
)
