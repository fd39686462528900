"""Vickrey, Clarke and Groves: the efficient clearing, at which everyone pays what its presence costs the others.

A participant is all its orders together, bids and asks: its value of a net position is what its best internal use of it
gives. The welfare-optimal fills are taken; participant P pays

    T_P = (the best welfare of the others without P) - (the welfare of the others now)

in exact nano-units, found for all participants from one sorted list (`clarke.py`, or `pivot.py` where everyone has a single
order), not by re-solving. Truth is a dominant
strategy for any number of orders, in prices and quantities alike (under several identities it is not). Nobody loses, but
what buyers pay is less than what sellers get: the operator's deficit is the sum of what all trading at one supporting price
would have paid more. It is stated in the certificate (`deficit_nano`) and is exactly -surplus (grid fees apart); no
mechanism can be efficient, truthful, individually rational and balanced at once (Myerson and Satterthwaite, Journal of
Economic Theory 29, 1983).

T_P is divided among P's orders as: every filled order trades at the supporting price `price_micro_per_kwh` of the
certificate, and P gets the rest back, the same per Wh (what does not divide, on its largest fill).

Sources: Vickrey, Journal of Finance 16 (1961); Clarke, Public Choice 11 (1971); Groves, Econometrica 41 (1973).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from walras.market import uniform
from walras.market.clarke import Uses, best_uses, clarke_payments, refuse_overflow, spread_refunds
from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.margin import find_margin
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, Orders
from walras.market.pivot import charge, first_reach, next_uses, one_order_each, rows_near
from walras.market.terms import Terms, terms
from walras.units import Int64


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book by VCG. `network` is not used: one bus. Raises RangeError where the value of all quantities leaves int64.

    One seller of 15, two buyers of 10. Without the first buyer the second would get 5 Wh more, worth 1,000 nano, and 5 Wh
    would stay unsold, which saves 500; so the first pays 1,500. The operator is short of 2,000:
    >>> from walras.market.orders import make_orders
    >>> done = clear(make_orders([1, 1, -1], [10, 10, 15], [300, 200, 100]), Conventions())
    >>> done.filled_wh.tolist(), done.pay_nano.tolist(), done.surplus_nano
    ([10, 5, 15], [1500, 500, -4000], -2000)
    """
    return _clear(orders, conventions)


def _clear(orders: Orders, conventions: Conventions, *, general: bool | None = None) -> Clearing:
    """`general` chooses the engine; by default the general one only where a participant has several orders."""
    book = terms(orders, conventions)
    if general is None:
        general = not one_order_each(orders.participant, book.quantity_wh)
    if not general:
        return _clear_single(orders, book, conventions)
    names, owner = np.unique(orders.participant, return_inverse=True)
    uses = best_uses(orders, orders.side, book.price_micro_per_kwh, book.quantity_wh, owner, names.size, conventions)
    payments = clarke_payments(uses)
    price = supporting_price(uses)
    filled, pay = fills_and_payments(orders, conventions, uses, payments, price)
    low, high = uses.cut()
    traded = bool(filled.any())
    certificate: dict[str, int | Int64] = {
        "volume_wh": int(filled[orders.side == 1].sum()),
        "netted_wh": book.netted_wh,
        "deficit_nano": -int(payments.sum()),
    }
    if traded:
        certificate["price_micro_per_kwh"] = price
    if traded and low is not None:
        certificate["low_micro_per_kwh"] = low
    if traded and high is not None:
        certificate["high_micro_per_kwh"] = high
    return Clearing("vcg", filled, pay, None, certificate=certificate)


def _clear_single(orders: Orders, book: Terms, conventions: Conventions) -> Clearing:
    """The clearing where no participant has two orders with quantity: one welfare problem, and the uses next to its cut."""
    refuse_overflow(book.quantity_wh, book.price_micro_per_kwh[book.quantity_wh > 0])
    filled, scratch = np.empty((2, orders.count), dtype=np.int64)
    margin = find_margin(orders.side, book.quantity_wh, book.price_micro_per_kwh, scratch=scratch)
    if margin.volume_wh == 0:
        return empty_clearing("vcg", orders, {"volume_wh": 0, "netted_wh": book.netted_wh, "deficit_nano": 0})
    in_sequence = conventions if conventions.tie == "lot" else replace(conventions, tie="time")
    levels = uniform.ration_margin(orders, book, in_sequence, margin, scratch)
    uniform.fill_levels(orders, book, levels, 0, 0, filled, scratch)
    low, high = uniform.supporting_interval(margin)
    price = (low + high) // 2
    pay = _pivot_payments(orders, book, filled, price)
    certificate: dict[str, int | Int64] = {
        "volume_wh": margin.volume_wh,
        "netted_wh": book.netted_wh,
        "deficit_nano": -int(pay.sum()),
        "price_micro_per_kwh": price,
        "low_micro_per_kwh": low,
        "high_micro_per_kwh": high,
    }
    if conventions.grid_fee_micro_per_kwh:
        pay += np.where(orders.side == BUY, filled * conventions.grid_fee_micro_per_kwh, 0)
    return Clearing("vcg", filled, pay, None, certificate=certificate)


def _pivot_payments(orders: Orders, book: Terms, filled: Int64, price: int) -> Int64:
    """[n] what each order's fill takes from the others; `price` supports the fills.

    Below the price stand the uses left out: what bids lack and what asks sold. Above it those that are served: what bids got
    and what asks keep. A buyer's units would go to the dearest of the former, a seller's would be missed by the cheapest of
    the latter; its own never count.
    """
    limit, quantity = book.price_micro_per_kwh, book.quantity_wh
    enough = int(filled.max()) + int(quantity.max())
    reach = first_reach(limit, price)
    while True:
        rows = rows_near(limit, price, reach)
        buys, got, rest = orders.side[rows] == BUY, filled[rows], quantity[rows] - filled[rows]
        left_out, served = np.where(buys, rest, got), np.where(buys, got, rest)
        if rows.size == limit.size or min(int(left_out.sum()), int(served.sum())) >= enough:
            break
        reach *= 8
    is_bid = orders.side == BUY
    pay = np.zeros(orders.count, dtype=np.int64)
    for side, amount, mine in ((1, left_out, is_bid), (-1, served, ~is_bid)):
        use = np.flatnonzero(amount)
        use = use[np.argsort(-side * limit[rows[use]])]
        uses = next_uses(limit[rows[use]], amount[use])
        charge(mine, side, uses, filled, pay)
        for place in np.flatnonzero((buys[use] == (side == 1)) & (got[use] > 0)).tolist():  # filled in part: one at most
            row = rows[use[place]]
            pay[row] = side * uses.worth_without(place, int(filled[row]))
    return pay


def supporting_price(uses: Uses) -> int:
    """The middle, rounded down, of the prices that support the division; 0 where there is nothing to divide."""
    low, high = uses.cut()
    if low is None or high is None:
        return (low if high is None else high) or 0
    return (low + high) // 2


def fills_and_payments(orders: Orders, conventions: Conventions, uses: Uses, payments: Int64, price: int) -> tuple[Int64, Int64]:
    """Order by order: every fill at `price` (and the grid fee on a bid), less each owner's refund down to its payment."""
    filled, pay = np.zeros(orders.count, np.int64), np.zeros(orders.count, np.int64)
    got = uses.filled_wh
    due = np.where(uses.bid, got * (price + conventions.grid_fee_micro_per_kwh), -got * price)
    refund = uses.net_wh() * price - payments
    spread_refunds(uses.owner, orders.id[uses.row], got, due, refund)
    filled[uses.row], pay[uses.row] = got, due
    return filled, pay


VCG = Mechanism(
    name="vcg",
    title="Vickrey-Clarke-Groves",
    reference="Vickrey (1961); Clarke, Public Choice 11 (1971); Groves, Econometrica 41 (1973)",
    clear=clear,
    claims=frozenset(
        {
            Claim.INDIVIDUALLY_RATIONAL,
            Claim.EFFICIENT,
            Claim.NO_CROSSING_LEFT,
            Claim.TRUTHFUL,
            Claim.ORDER_FREE,
        }
    ),
    conventions=("tie", "seed", "self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
)
