"""What the trade-reduction mechanisms share: who is marginal, who is left out, how the longer side bears the difference.

Bids stand in one total order: dearest first, equals by (time, id), or by the drawn lot where the tie convention says so;
asks cheapest first. An efficient clearing of Q Wh reaches down to one marginal bid K and one marginal ask L. With X the sum
of the quantities from the dearest bid through K and Y that from the cheapest ask through L:

    Q = min(X, Y)          X > Q: K is served in part, "demand is long";      Y > Q: "supply is long";      else "exact"

Leaving a marginal order out and pricing at its limit makes the price independent of everyone who trades. What the two sides
then hold differs, and the longer side gives the difference up in *equal losses*: every order of it loses the same energy,
orders smaller than that lose all of theirs. The losses do not depend on prices, so nobody can bid his share up (the rule of
Huang, Scheller-Wolf and Sycara, "Design of a multi-unit double auction e-market", Computational Intelligence 18, 2002).
What does not divide into whole lots falls on orders drawn by the seed.

`mcafee`, `trade_reduction` and `sbba` differ only in whom they leave out and at which price the others trade.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.errors import RangeError
from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.draw import mix64, seed_start
from walras.market.margin import Margin, find_margin
from walras.market.orders import BUY, SELL, Orders
from walras.market.terms import Terms, priority, terms
from walras.units import INT64_MAX, Int64

REDUCTION_CONVENTIONS = ("tie", "seed", "self_trade", "lot_wh", "grid_fee_micro_per_kwh")
"""What all three heed. Of the ties only "lot" differs from (time, id): one whole order is left out, so nothing is pro rata."""


@dataclass(frozen=True, slots=True)
class Edge:
    """The last order of one side that an efficient clearing reaches.

    ahead      rows at the marginal price that stand before it
    row        the marginal order's row
    before_wh  what stands before it, all prices: the sum through it is `through_wh`
    """

    ahead: NDArray[np.intp]
    row: int
    before_wh: int
    through_wh: int


@dataclass(frozen=True, slots=True)
class Ranked:
    """A book with trade: its terms, its margin and the marginal order of either side."""

    book: Terms
    margin: Margin
    bid: Edge
    ask: Edge

    @property
    def demand_is_long(self) -> bool:
        """The marginal bid is served in part."""
        return self.bid.through_wh > self.margin.volume_wh

    @property
    def supply_is_long(self) -> bool:
        """The marginal ask is served in part."""
        return self.ask.through_wh > self.margin.volume_wh


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule decides: whether the marginal bid and ask trade, what buyers pay (before the grid fee), what sellers get."""

    bid_trades: bool
    ask_trades: bool
    buyer_price: int
    seller_price: int


def rank(orders: Orders, conventions: Conventions) -> Ranked | None:
    """The margin and the marginal orders; None where nothing crosses. RangeError where a side's quantity leaves int64."""
    book = terms(orders, conventions)
    margin = find_margin(orders.side, book.quantity_wh, book.price_micro_per_kwh)
    if margin.volume_wh == 0:
        return None
    bid = _edge(orders, book, conventions, BUY, margin.bid, margin.bid_take_wh, margin.volume_wh)
    ask = _edge(orders, book, conventions, SELL, margin.ask, margin.ask_take_wh, margin.volume_wh)
    return Ranked(book, margin, bid, ask)


def _edge(orders: Orders, book: Terms, conventions: Conventions, side: int, level: int, take_wh: int, volume_wh: int) -> Edge:
    rows = _rows_at(orders.side, book.quantity_wh, book.price_micro_per_kwh, side, level)
    served = priority(orders, rows, conventions)
    through = np.cumsum(book.quantity_wh[served])
    last = int(np.searchsorted(through, take_wh))
    until = volume_wh - take_wh + int(through[last])
    row = int(served[last])
    return Edge(served[:last], row, until - int(book.quantity_wh[row]), until)


def settle(name: str, orders: Orders, conventions: Conventions, ranked: Ranked, outcome: Outcome) -> Clearing:
    """The clearing in which `outcome` is carried out and the longer side bears equal losses.

    Raises RangeError where volume times price leaves int64. The certificate names the orders left out, the marginal limits,
    the efficient volume and the equal loss (`burden_wh`, borne by `rationed_side`), enough to check every fill.
    """
    margin, book = ranked.margin, ranked.book
    demand = ranked.bid.through_wh if outcome.bid_trades else ranked.bid.before_wh
    supply = ranked.ask.through_wh if outcome.ask_trades else ranked.ask.before_wh
    volume = min(demand, supply)
    evidence: dict[str, int | Int64] = {
        "volume_wh": volume,
        "efficient_volume_wh": margin.volume_wh,
        "marginal_bid_micro_per_kwh": margin.bid,
        "marginal_ask_micro_per_kwh": margin.ask,
        "netted_wh": book.netted_wh,
    }
    if not outcome.bid_trades:
        evidence["excluded_bid_id"] = int(orders.id[ranked.bid.row])
    if not outcome.ask_trades:
        evidence["excluded_ask_id"] = int(orders.id[ranked.ask.row])
    if volume == 0:
        return empty_clearing(name, orders, evidence)
    buyer_pays = outcome.buyer_price + conventions.grid_fee_micro_per_kwh
    if volume * max(abs(buyer_pays), abs(outcome.seller_price)) > INT64_MAX:
        raise RangeError(f"{name}: {volume} Wh at {buyer_pays} micro/kWh do not fit in int64", thing="pay_nano")
    filled, pay = np.empty(orders.count, np.int64), np.empty(orders.count, np.int64)
    _fill_inside(orders.side, book.quantity_wh, book.price_micro_per_kwh, margin.bid, margin.ask, filled)
    for edge, trades in ((ranked.bid, outcome.bid_trades), (ranked.ask, outcome.ask_trades)):
        filled[edge.ahead] = book.quantity_wh[edge.ahead]
        if trades:
            filled[edge.row] = book.quantity_wh[edge.row]
    if demand != supply:
        long = BUY if demand > supply else SELL
        evidence["rationed_side"] = long
        evidence["burden_wh"] = take_equal_losses(orders, filled, long, volume, conventions)
    _pay_at(orders.side, filled, buyer_pays, outcome.seller_price, pay)
    price = outcome.buyer_price if outcome.buyer_price == outcome.seller_price else None
    return Clearing(name, filled, pay, price, certificate=evidence)


def take_equal_losses(orders: Orders, filled: Int64, side: int, total_wh: int, conventions: Conventions) -> int:
    """Lower the fills of one side, in place, until they sum to `total_wh`: each loses the same, none below zero.

    Returns the equal loss in Wh; orders drawn by the seed lose one lot more where whole lots do not divide.

    >>> from walras.market.orders import make_orders
    >>> book, fills = make_orders([1, 1, 1], [9, 5, 1], [3, 3, 3]), np.array([9, 5, 1])
    >>> take_equal_losses(book, fills, BUY, 8, Conventions()), fills.tolist()
    (3, [6, 2, 0])
    """
    lot = conventions.lot_wh
    burden, count, missing = _equal_loss(orders.side, filled, side, total_wh, lot)
    share = np.uint64(min(int((missing + 8 * missing**0.5 + 64) * 2.0**64 / count), 2**64 - 1))
    start = seed_start(conventions.seed)
    rows, keys = _take_loss(orders.side, filled, orders.id, side, burden * lot, start, share)
    if rows.size < missing:
        rows, keys = _take_loss(orders.side, filled, orders.id, side, 0, start, np.uint64(2**64 - 1))
    if missing:
        last = np.partition(keys, missing - 1)[missing - 1]
        filled[rows[keys <= last]] -= lot
    return int(burden * lot)


@njit(cache=True)
def _equal_loss(sides, filled, side, total, lot):  # type: ignore[no-untyped-def]
    """(loss in lots, orders above it, lots still to take from them): Newton on a convex falling sum, from the left."""
    loss = np.int64(0)
    while True:
        whole = np.int64(0)
        count = np.int64(0)
        for i in range(filled.size):
            energy = filled[i] * np.int64(sides[i] == side)  # no branches: compiles to vector instructions
            energy = energy if energy > loss * lot else 0
            whole += energy
            count += 1 if energy else 0
        if count == 0:
            return loss, np.int64(1), np.int64(0)
        step = (whole - total) // (count * lot)
        if step == loss:
            return loss, count, (whole - total) // lot - loss * count
        loss = step


@njit(cache=True)
def _take_loss(sides, filled, ids, side, loss, start, share):  # type: ignore[no-untyped-def]
    """Lower one side by `loss`; (rows with something left whose key is at most `share`, their keys)."""
    rows = np.empty(filled.size, np.int64)
    keys = np.empty(filled.size, np.uint64)
    k = np.int64(0)
    for i in range(filled.size):
        own = sides[i] == side
        energy = filled[i]
        energy = max(energy - loss, 0) if own else energy
        filled[i] = energy
        key = mix64(np.uint64(ids[i]) ^ start)
        rows[k] = i
        keys[k] = key
        k += np.int64(own) & np.int64(energy > 0) & np.int64(key <= share)
    return rows[:k], keys[:k]


@njit(cache=True)
def _rows_at(sides, quantity, price, side, level):  # type: ignore[no-untyped-def]
    """Rows of one side at one price, with quantity."""
    count = 0
    for i in range(sides.size):
        if price[i] == level and sides[i] == side and quantity[i] > 0:
            count += 1
    rows = np.empty(count, np.int64)
    k = 0
    for i in range(sides.size):
        if price[i] == level and sides[i] == side and quantity[i] > 0:
            rows[k] = i
            k += 1
    return rows


@njit(cache=True)
def _fill_inside(side, quantity, price, bid, ask, filled):  # type: ignore[no-untyped-def]
    """Fill what is strictly better than the marginal limits."""
    for i in range(side.size):
        inside = price[i] > bid if side[i] == 1 else price[i] < ask
        filled[i] = quantity[i] if inside else 0


@njit(cache=True)
def _pay_at(side, filled, buyer_pays, seller_gets, pay):  # type: ignore[no-untyped-def]
    for i in range(side.size):
        pay[i] = filled[i] * (buyer_pays if side[i] == 1 else -seller_gets)
