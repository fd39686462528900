"""Vickrey, Clarke and Groves: the efficient clearing, at which everyone pays what its presence costs the others.

A participant is all its orders together, bids and asks: its value of a net position is what its best internal use of it
gives. The welfare-optimal fills are taken; participant P pays

    T_P = (the best welfare of the others without P) - (the welfare of the others now)

in exact nano-units, found for all participants from one sorted list (`clarke.py`), not by re-solving. Truth is a dominant
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

import numpy as np

from walras.market.clarke import Uses, best_uses, clarke_payments, spread_refunds
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import Orders
from walras.market.terms import terms
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
    book = terms(orders, conventions)
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
