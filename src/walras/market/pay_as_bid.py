"""Pay-as-bid (discriminatory) double auction: the efficient volume, each pair of orders at a price of its own.

Which orders trade, and how much of each, is as in the uniform auction (`uniform.py`: largest efficient volume, ties by the
tie convention). They are then paired by the queue rule of `pairing.py`: the dearest bid meets the cheapest ask,
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
from numba import njit

from walras.errors import RangeError
from walras.market import uniform
from walras.market.clearing import Clearing, Trades
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import Orders
from walras.market.ranking import merit_keys, row_bits
from walras.units import INT64_MAX, MAX_PRICE_MICRO_PER_KWH, Int64

_TOP = MAX_PRICE_MICRO_PER_KWH


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
    fee, k = conventions.grid_fee_micro_per_kwh, conventions.k
    numerator, denominator = k.numerator, k.denominator
    if numerator * (2 * MAX_PRICE_MICRO_PER_KWH) > INT64_MAX or denominator > INT64_MAX:
        raise RangeError(f"pay_as_bid: k = {k} has too long a fraction", thing="k", way_out="round it to nine decimals")
    bid_keys, ask_keys = merit_keys(orders, filled)
    bits = row_bits(orders.count)
    bid_row, bid_wh, bid = _queue(bid_keys, bits, filled, -1, _TOP - fee)
    ask_row, ask_wh, ask = _queue(ask_keys, bits, filled, 1, -_TOP)
    buy, sell, energy, price, bid_pays, ask_gets = _pair(
        bid_row, bid_wh, bid, ask_row, ask_wh, ask, fee, numerator, denominator
    )
    pay = np.zeros(orders.count, dtype=np.int64)
    pay[bid_row], pay[ask_row] = bid_pays, -ask_gets
    _refuse_overflow(energy, price, fee)
    certificate: dict[str, int | Int64] = {
        name: value for name, value in volume.certificate.items() if name in ("volume_wh", "netted_wh", "tie_seed")
    }
    return Clearing("pay_as_bid", filled, pay, None, trades=Trades(buy, sell, energy, price), certificate=certificate)


@njit(cache=True)
def _queue(keys, bits, filled, sign, shift):  # type: ignore[no-untyped-def]
    """(rows, energy, limit price) in the sequence of the keys: gathered first, so that pairing does not wait for memory."""
    n = keys.size
    rows, energy, price = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    mask = (np.int64(1) << bits) - 1
    for place in range(n):
        rows[place] = keys[place] & mask
        energy[place] = filled[keys[place] & mask]
        price[place] = sign * (keys[place] >> bits) + shift
    return rows, energy, price


@njit(cache=True)
def _pair(bid_row, bid_wh, bid, ask_row, ask_wh, ask, fee, numerator, denominator):  # type: ignore[no-untyped-def]
    """Pair the queues and price each pair: (buy, sell, energy, price) by pair, and the sums by bid and by ask."""
    most = bid_row.size + ask_row.size
    buy, sell, energy, price = (
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.int64),
    )
    bid_pays, ask_gets = np.empty(bid_row.size, np.int64), np.empty(ask_row.size, np.int64)
    halves = numerator == 1 and denominator == 2  # the usual k: a shift instead of a division
    pairs = i = j = np.int64(0)
    paid = earned = bid_done = ask_done = np.int64(0)
    while i < bid_row.size and j < ask_row.size:
        pair = min(bid_wh[i] - bid_done, ask_wh[j] - ask_done)
        gap = bid[i] - ask[j]
        if halves:
            at = ask[j] + (gap >> 1)
        else:
            at = ask[j] + gap * numerator // denominator
        buy[pairs], sell[pairs], energy[pairs], price[pairs] = bid_row[i], ask_row[j], pair, at
        pairs += 1
        paid += pair * (at + fee)
        earned += pair * at
        bid_done += pair
        ask_done += pair
        bid_pays[i], ask_gets[j] = paid, earned  # overwritten until the order is used up: no branches
        bid_over, ask_over = np.int64(bid_done == bid_wh[i]), np.int64(ask_done == ask_wh[j])
        i += bid_over
        j += ask_over
        paid, bid_done = paid * (1 - bid_over), bid_done * (1 - bid_over)
        earned, ask_done = earned * (1 - ask_over), ask_done * (1 - ask_over)
    return buy[:pairs], sell[:pairs], energy[:pairs], price[:pairs], bid_pays, ask_gets


def _refuse_overflow(energy: Int64, price: Int64, fee: int) -> None:
    """Each side's money, summed in absolute value, must fit; a bound first, the exact sums only where it does not tell."""
    if energy.size == 0:
        return
    dearest = max(abs(int(price.min())), abs(int(price.max()))) + fee
    if int(energy.sum(dtype=np.float64)) * dearest < 2**62:
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
