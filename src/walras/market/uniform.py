"""The uniform-price k-double auction: one sealed batch, one price, the largest efficient volume.

Volume    the largest volume that any price balances (`margin.py`): every unit traded has bid >= ask, units with bid == ask
          included, and no bid with something left is at or above an ask with something left.
Price     with `price_between="supporting"` the interval of all prices at which the book balances: no lower than the last
          filled ask and the best bid left (even in part), no higher than the last filled bid and the best ask left. With
          "marginal_orders" only the last filled ask and bid bound it. The price is low + floor(k * (high - low)).
Scarcity  if supply is used up while a bid at or above the last filled ask goes short (or demand is used up while an ask at or
          below the last filled bid does), and a scarcity price is given, the price is that one, brought into the supporting
          interval.
Grid fee  bids are matched net of it. The price is what a seller gets; a buyer pays price + fee; the operator keeps
          fee * volume, which is its whole surplus.
Rationing only at the last level, on one side at most, by the tie convention (`terms.ration`).

Source: Satterthwaite and Williams, "Bilateral trade with the sealed bid k-double auction: existence and efficiency",
Journal of Economic Theory 48 (1989); many traders: Rustichini, Satterthwaite and Williams, Econometrica 62 (1994).

The certificate holds volume_wh, low/high_micro_per_kwh (supporting interval), marginal_bid/ask_micro_per_kwh (absent without
trade), netted_wh, and tie_seed where a lot decided: enough to check the clearing in one pass (`certificate.py`).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.errors import RangeError
from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.margin import NO_ASK, NO_BID, Engine, Margin, find_margin
from walras.market.mechanism import Claim, Mechanism
from walras.market.merit_queue import Levels
from walras.market.orders import BUY, SELL, Orders
from walras.market.terms import Terms, ration, terms
from walras.units import INT64_MAX, Int64


def clear(orders: Orders, conventions: Conventions, network: object | None = None, *, engine: Engine = "auto") -> Clearing:
    """Clear one book at one price. Both engines give the same bytes. `network` is not used: one bus.

    Raises RangeError where a side's quantity, or volume times price, leaves int64.

    Three buyers and two sellers; 1,500 Wh trade between 0.15 and 0.20 per kWh, the price is the middle:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, 1, -1, -1], [1000, 500, 800, 900, 600], [300_000, 200_000, 140_000, 100_000, 150_000])
    >>> done = clear(book, Conventions())
    >>> done.price_micro_per_kwh, done.filled_wh.tolist(), done.surplus_nano
    (175000, [1000, 500, 0, 900, 600], 0)
    """
    book = terms(orders, conventions)
    filled, pay = np.empty((2, orders.count), dtype=np.int64)  # `pay` is scratch until it is filled
    margin = find_margin(orders.side, book.quantity_wh, book.price_micro_per_kwh, engine, pay)
    evidence = evidence_of(margin, book.netted_wh, conventions)
    if margin.volume_wh == 0:
        return empty_clearing("uniform", orders, evidence)
    price = uniform_price(margin, conventions)
    buyer_pays = price + conventions.grid_fee_micro_per_kwh
    if margin.volume_wh * max(abs(price), abs(buyer_pays)) > INT64_MAX:
        raise RangeError(f"uniform: {margin.volume_wh} Wh at {buyer_pays} micro/kWh do not fit in int64", thing="pay_nano")
    levels = ration_margin(orders, book, conventions, margin, pay)
    fill_levels(orders, book, levels, buyer_pays, price, filled, pay)
    return Clearing("uniform", filled, pay, price, certificate=evidence)


def supporting_interval(margin: Margin) -> tuple[int, int]:
    """All prices at which the book balances at the margin's volume; NO_BID and NO_ASK where nothing bounds it."""
    return max(margin.ask, margin.unfilled_bid), min(margin.bid, margin.unfilled_ask)


def uniform_price(margin: Margin, conventions: Conventions) -> int:
    """The price by the conventions, for a margin with volume.

    >>> one = Margin(500, 300, 500, 500, 200, 100, 500, 500, NO_ASK)   # supply is used up; a bid of 200 goes short
    >>> uniform_price(one, Conventions()), uniform_price(one, Conventions(scarcity_price_micro_per_kwh=999))
    (250, 300)
    """
    low, high = supporting_interval(margin)
    scarcity = conventions.scarcity_price_micro_per_kwh
    if scarcity is not None:
        short = margin.unfilled_ask == NO_ASK and margin.unfilled_bid >= margin.ask
        long = margin.unfilled_bid == NO_BID and margin.unfilled_ask <= margin.bid
        if short or long:
            return min(max(scarcity, low), high)
    if conventions.price_between == "marginal_orders":
        low, high = margin.ask, margin.bid
    k = conventions.k
    return low + (high - low) * k.numerator // k.denominator


def evidence_of(margin: Margin, netted_wh: int, conventions: Conventions) -> dict[str, int | Int64]:
    """The certificate: what the clearing says about itself."""
    low, high = supporting_interval(margin)
    evidence: dict[str, int | Int64] = {"volume_wh": margin.volume_wh, "netted_wh": netted_wh}
    if low > NO_BID:
        evidence["low_micro_per_kwh"] = low
    if high < NO_ASK:
        evidence["high_micro_per_kwh"] = high
    if margin.volume_wh:
        evidence["marginal_bid_micro_per_kwh"] = margin.bid
        evidence["marginal_ask_micro_per_kwh"] = margin.ask
    if conventions.tie == "lot":
        evidence["tie_seed"] = conventions.seed
    return evidence


def ration_margin(orders: Orders, book: Terms, conventions: Conventions, margin: Margin, scratch: Int64) -> Levels:
    """Which orders a margin with volume fills, the tie rule applied; `scratch` [n] is written over."""
    bid_in_part = margin.bid_take_wh < margin.bid_level_wh
    ask_in_part = margin.ask_take_wh < margin.ask_level_wh
    rationed = None
    if bid_in_part:
        rationed = _ration_level(orders, book, conventions, BUY, margin.bid, margin.bid_take_wh, scratch)
    elif ask_in_part:
        rationed = _ration_level(orders, book, conventions, SELL, margin.ask, margin.ask_take_wh, scratch)
    return Levels(margin.bid + bid_in_part, margin.ask - ask_in_part, rationed)


def fill_levels(orders: Orders, book: Terms, levels: Levels, buyer_pays: int, price: int, filled: Int64, pay: Int64) -> None:
    """Write who is filled, and what that costs at `buyer_pays` for buyers and `price` for sellers."""
    limits = levels.lowest_bid, levels.highest_ask
    _fill(orders.side, book.quantity_wh, book.price_micro_per_kwh, *limits, buyer_pays, price, filled, pay)
    if levels.rationed is not None:
        served, energy = levels.rationed
        filled[served] = energy
        pay[served] = energy * np.where(orders.side[served] == BUY, buyer_pays, -price)


def _ration_level(
    orders: Orders, book: Terms, conventions: Conventions, side: int, level: int, take_wh: int, scratch: Int64
) -> tuple[NDArray[np.intp], Int64]:
    """Who of one side's orders at a price gets how much of `take_wh`. At most one side is rationed: if both were, more
    could trade."""
    rows = scratch[: int(_rows_at(book.price_micro_per_kwh, level, scratch))]
    return ration(orders, rows[orders.side[rows] == side], book.quantity_wh, take_wh, conventions)


@njit(cache=True)
def _fill(side, quantity, price, lowest_bid, highest_ask, buyer_pays, seller_gets, filled, pay):  # type: ignore[no-untyped-def]
    """Fill in full every bid from `lowest_bid` up and every ask up to `highest_ask`, nothing else."""
    for i in range(side.size):
        buys = side[i] == 1
        full = price[i] >= lowest_bid if buys else price[i] <= highest_ask
        energy = quantity[i] if full else 0
        filled[i] = energy
        pay[i] = energy * (buyer_pays if buys else -seller_gets)


@njit(cache=True)
def _rows_at(price, level, rows):  # type: ignore[no-untyped-def]
    """Write the rows of the orders at one price to `rows`; how many."""
    count = np.int64(0)
    for i in range(price.size):
        rows[count] = i
        count += np.int64(price[i] == level)
    return count


UNIFORM = Mechanism(
    name="uniform",
    title="Uniform-price k-double auction",
    reference="Satterthwaite and Williams, Journal of Economic Theory 48 (1989)",
    clear=clear,
    claims=frozenset(
        {
            Claim.WEAK_BUDGET_BALANCE,
            Claim.STRONG_BUDGET_BALANCE,
            Claim.INDIVIDUALLY_RATIONAL,
            Claim.EFFICIENT,
            Claim.NO_CROSSING_LEFT,
            Claim.ONE_PRICE,
            Claim.ORDER_FREE,
        }
    ),
    conventions=(
        "k",
        "price_between",
        "tie",
        "seed",
        "self_trade",
        "lot_wh",
        "scarcity_price_micro_per_kwh",
        "grid_fee_micro_per_kwh",
    ),
)
