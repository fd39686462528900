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
    """Clear one book pair by pair.

    Raises RangeError where quantities, or the volume at the dearest limit price, leave int64.

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
    if bid_keys.size:
        _refuse_overflow(volume, bid_keys, ask_keys, bits, fee)
    columns = np.empty((4, bid_keys.size + ask_keys.size), dtype=np.int64)
    pay = volume.pay_nano  # the uniform payments are not wanted: every filled order's is written over, the others are 0
    pairs = _pair(bid_keys, ask_keys, bits, filled, fee, (numerator, denominator), columns, pay)
    buy, sell, energy, price = columns[:, :pairs]
    certificate: dict[str, int | Int64] = {
        name: value for name, value in volume.certificate.items() if name in ("volume_wh", "netted_wh", "tie_seed")
    }
    return Clearing("pay_as_bid", filled, pay, None, trades=Trades(buy, sell, energy, price), certificate=certificate)


def _pair(
    bid_keys: Int64, ask_keys: Int64, bits: int, filled: Int64, fee: int, k: tuple[int, int], columns: Int64, pay: Int64
) -> int:
    """Pair the two queues into `columns` (buy, sell, energy, price) and charge both sides in `pay`; the number of pairs."""
    mask, bids = (1 << bits) - 1, bid_keys.size
    sums = np.empty((2, bids + ask_keys.size), dtype=np.int64)  # one block: small ones cost more than what is done with them
    ends, money = (sums[0, :bids], sums[0, bids:]), (sums[1, :bids], sums[1, bids:])
    _running_sum(bid_keys, mask, filled, ends[0])
    _running_sum(ask_keys, mask, filled, ends[1])
    pairs = int(_merge((bid_keys, ask_keys), bits, ends, fee, k, columns, money))
    _charge(bid_keys, mask, money[0], 1, pay)
    _charge(ask_keys, mask, money[1], -1, pay)
    if fee:
        rows = bid_keys & mask
        pay[rows] += fee * filled[rows]
    return pairs


@njit(cache=True)
def _merge(keys, bits, ends, fee, k, columns, money):  # type: ignore[no-untyped-def]
    """Write the pairs to `columns` and, for each order, the sum of money until it is used up; the number of pairs.

    A pair ends where the running sum of either queue does. Which one is a coin toss that no processor predicts, so the loop
    has no branch on it: the sign bit of the difference moves the queues on.
    """
    (bid_keys, ask_keys), (bid_end, ask_end), (bid_money, ask_money) = keys, ends, money
    buy, sell, energy, price = columns[0], columns[1], columns[2], columns[3]
    mask = (np.int64(1) << bits) - 1
    numerator, denominator = k
    halves = numerator == 1 and denominator == 2  # the usual k: a shift instead of a division
    pairs = i = j = ended = total = np.int64(0)
    while (i < bid_keys.size) & (j < ask_keys.size):
        ahead = bid_end[i] - ask_end[j]
        bid_first, ask_first = ahead >> 63, -ahead >> 63  # -1 if it alone ends here, else 0
        end = ask_end[j] + (ahead & bid_first)
        ask = (ask_keys[j] >> bits) - _TOP
        gap = _TOP - (bid_keys[i] >> bits) - fee - ask
        at = ask + (gap >> 1 if halves else gap * numerator // denominator)
        buy[pairs], sell[pairs], energy[pairs], price[pairs] = bid_keys[i] & mask, ask_keys[j] & mask, end - ended, at
        total += (end - ended) * at
        bid_money[i], ask_money[j] = total, total  # written over until the order is used up
        pairs += 1
        ended = end
        i += 1 + ask_first
        j += 1 + bid_first
    return pairs


@njit(cache=True)
def _running_sum(keys, mask, filled, end):  # type: ignore[no-untyped-def]
    """Write the energy of the queue through each of its orders to `end`."""
    total = np.int64(0)
    for place in range(keys.size):
        total += filled[keys[place] & mask]
        end[place] = total


@njit(cache=True)
def _charge(keys, mask, money, sign, pay):  # type: ignore[no-untyped-def]
    """Each order's money is what the sum grew by until it was used up."""
    before = np.int64(0)
    for place in range(keys.size):
        pay[keys[place] & mask] = sign * (money[place] - before)
        before = money[place]


def _refuse_overflow(volume: Clearing, bid_keys: Int64, ask_keys: Int64, bits: int, fee: int) -> None:
    """The money of each side must fit: no pair's price is beyond the dearest bid or the cheapest ask."""
    dearest, cheapest = _TOP - (int(bid_keys[0]) >> bits), (int(ask_keys[0]) >> bits) - _TOP
    energy = volume.certificate["volume_wh"]
    assert isinstance(energy, int)
    if energy * max(abs(dearest), abs(cheapest), abs(cheapest + fee)) > INT64_MAX:
        raise RangeError(f"pay_as_bid: {energy} Wh at up to {dearest} micro/kWh may not fit in int64", thing="pay_nano")


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
