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

from dataclasses import replace

import numpy as np
from numba import njit

from walras.errors import RangeError
from walras.market import uniform
from walras.market.clearing import Clearing, Trades, empty_clearing
from walras.market.conventions import Conventions
from walras.market.margin import find_margin
from walras.market.mechanism import Claim, Mechanism
from walras.market.merit_queue import Queues, fill_and_queue
from walras.market.orders import Orders
from walras.market.terms import terms
from walras.units import INT64_MAX, MAX_PRICE_MICRO_PER_KWH, Int64


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
    fee, k = conventions.grid_fee_micro_per_kwh, conventions.k
    if k.numerator * (2 * MAX_PRICE_MICRO_PER_KWH) > INT64_MAX or k.denominator > INT64_MAX:
        raise RangeError(f"pay_as_bid: k = {k} has too long a fraction", thing="k", way_out="round it to nine decimals")
    book = terms(orders, conventions)
    filled, pay = np.empty((2, orders.count), dtype=np.int64)  # `pay` is scratch until it is filled
    margin = find_margin(orders.side, book.quantity_wh, book.price_micro_per_kwh, scratch=pay)
    evidence = uniform.evidence_of(margin, book.netted_wh, conventions)
    certificate = {name: value for name, value in evidence.items() if name in ("volume_wh", "netted_wh", "tie_seed")}
    if margin.volume_wh == 0:
        none = np.zeros(0, dtype=np.int64)
        return replace(empty_clearing("pay_as_bid", orders, certificate), trades=Trades(none, none, none, none))
    queues = fill_and_queue(orders, book, uniform.ration_margin(orders, book, conventions, margin, pay), filled, pay)
    _refuse_overflow(margin.volume_wh, queues, fee)
    columns = np.empty((4, queues.bids.size + queues.asks.size), dtype=np.int64)
    pairs = _pair(queues, filled, (k.numerator, k.denominator), columns, pay)
    if fee:
        buyers = queues.rows(queues.bids)
        pay[buyers] += fee * filled[buyers]
    return Clearing("pay_as_bid", filled, pay, None, trades=Trades(*columns[:, :pairs]), certificate=certificate)


def _pair(queues: Queues, filled: Int64, k: tuple[int, int], columns: Int64, pay: Int64) -> int:
    """Pair the two queues into `columns` (buy, sell, energy, price) and charge both sides in `pay`; the number of pairs."""
    packing, bids = queues.packing, queues.bids.size
    bits = packing.row_bits, packing.energy_bits
    sums = np.empty(columns.shape[1] + 2, dtype=np.int64)  # one block: small ones cost more than what is done with them
    bid_sums, ask_sums = sums[: bids + 1], sums[bids + 1 :]
    _running_sum(queues.bids, bits, filled, bid_sums)
    _running_sum(queues.asks, bits, filled, ask_sums)
    pairs = _merge((queues.bids, queues.asks), bits, (packing.top, packing.bottom), k, (bid_sums, ask_sums), columns)
    _charge(queues.bids, bits, bid_sums, 1, pay)
    _charge(queues.asks, bits, ask_sums, -1, pay)
    return int(pairs)


@njit(cache=True)
def _merge(keys, bits, price_ends, k, sums, columns):  # type: ignore[no-untyped-def]
    """Write the pairs to `columns`; the number of pairs. `sums` hold at i + 1 the energy of a queue through its order i, and in
    the end the money of all pairs until that order is used up.

    A pair ends where the energy of either queue does. Which one is a coin toss that no processor predicts, so the loop has no
    branch on it: the sign bit of the difference moves the queues on.
    """
    (bid_keys, ask_keys), (bid_sums, ask_sums) = keys, sums
    buy, sell, energy, price = columns[0], columns[1], columns[2], columns[3]
    rows, energies = bits
    shift = rows + energies
    mask = (np.int64(1) << rows) - 1
    top, bottom = price_ends
    numerator, denominator = k
    halves = numerator == 1 and denominator == 2  # the usual k: a shift instead of a division
    pairs = i = j = ended = money = bid_money = ask_money = np.int64(0)
    while (i < bid_keys.size) & (j < ask_keys.size):
        ahead = bid_sums[i + 1] - ask_sums[j + 1]
        bid_alone, ask_alone = ahead >> 63, -ahead >> 63  # -1 if it alone ends here, else 0
        end = ask_sums[j + 1] + (ahead & bid_alone)
        ask = bottom + (ask_keys[j] >> shift)
        gap = top - (bid_keys[i] >> shift) - ask
        at = ask + (gap >> 1 if halves else gap * numerator // denominator)
        buy[pairs], sell[pairs] = bid_keys[i] >> energies & mask, ask_keys[j] >> energies & mask
        energy[pairs], price[pairs] = end - ended, at
        money += (end - ended) * at
        bid_sums[i], ask_sums[j] = bid_money, ask_money  # of the orders before these, whose energy is not needed any more
        bid_money += (money - bid_money) & ~ask_alone
        ask_money += (money - ask_money) & ~bid_alone
        pairs += 1
        ended = end
        i += 1 + ask_alone
        j += 1 + bid_alone
    bid_sums[i], ask_sums[j] = money, money
    return pairs


@njit(cache=True)
def _running_sum(keys, bits, filled, sums):  # type: ignore[no-untyped-def]
    """Write 0 and the energy of the queue through each of its orders to `sums`."""
    rows, energies = bits
    sums[0] = total = np.int64(0)
    if energies:
        mask = (np.int64(1) << energies) - 1
        for place in range(keys.size):
            total += keys[place] & mask
            sums[place + 1] = total
    else:
        mask = (np.int64(1) << rows) - 1
        for place in range(keys.size):
            total += filled[keys[place] & mask]
            sums[place + 1] = total


@njit(cache=True)
def _charge(keys, bits, money, sign, pay):  # type: ignore[no-untyped-def]
    """Each order's money is what the sum grew by until it was used up."""
    rows, energies = bits
    mask = (np.int64(1) << rows) - 1
    for place in range(keys.size):
        pay[keys[place] >> energies & mask] = sign * (money[place + 1] - money[place])


def _refuse_overflow(volume_wh: int, queues: Queues, fee: int) -> None:
    """The money of each side must fit: no pair's price is beyond the dearest bid or the cheapest ask."""
    packing = queues.packing
    dearest = packing.top - (int(queues.bids[0]) >> packing.price_shift) + fee
    cheapest = packing.bottom + (int(queues.asks[0]) >> packing.price_shift)
    if volume_wh * max(abs(dearest), abs(cheapest), abs(cheapest + fee)) > INT64_MAX:
        raise RangeError(f"pay_as_bid: {volume_wh} Wh at up to {dearest} micro/kWh may not fit in int64", thing="pay_nano")


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
