"""Trade reduction for many units: the marginal bid and the marginal ask are left out and set the prices.

Buyers pay the limit of the marginal bid K, sellers get the limit of the marginal ask L, neither of which trades; the operator
keeps the difference. The longer side bears equal losses (`reduction.py`). Nothing trades where one side is left empty.

A participant with one order cannot gain by its price: it trades at every limit beyond the marginal one, with the same energy
and at the same price, and not at all at any other (quantities being known, as the meter knows them). It *can* gain by
understating its quantity, which may move the margin; and with several orders one of them may set the price of the others.
So the claim is on prices and single orders; for many units held privately there is `muda`.

Source: Huang, Scheller-Wolf and Sycara, "Design of a multi-unit double auction e-market", Computational Intelligence 18
(2002); for one unit a trader it is the reduction step of McAfee, Journal of Economic Theory 56 (1992).
"""

from __future__ import annotations

from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import Orders
from walras.market.reduction import REDUCTION_CONVENTIONS, Outcome, Ranked, rank, settle


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book by trade reduction. `network` is not used: one bus.

    Raises RangeError where a side's quantity, or volume times price, leaves int64.

    The bid at 0.20 and the ask at 0.15 are marginal: 900 Wh trade, bought at 0.20 and sold at 0.10 of the other two:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, -1, -1], [1000, 500, 900, 600], [300_000, 200_000, 100_000, 150_000])
    >>> done = clear(book, Conventions())
    >>> done.filled_wh.tolist(), done.pay_nano.tolist(), done.surplus_nano
    ([900, 0, 900, 0], [180000000, 0, -135000000, 0], 45000000)
    """
    ranked = rank(orders, conventions)
    if ranked is None:
        return empty_clearing("trade_reduction", orders)
    return settle("trade_reduction", orders, conventions, ranked, both_left_out(ranked))


def both_left_out(ranked: Ranked) -> Outcome:
    """Neither marginal order trades; their limits are the prices."""
    return Outcome(False, False, ranked.margin.bid, ranked.margin.ask)


TRADE_REDUCTION = Mechanism(
    name="trade_reduction",
    title="Multi-unit trade reduction",
    reference="Huang, Scheller-Wolf and Sycara, Computational Intelligence 18 (2002)",
    clear=clear,
    claims=frozenset({Claim.WEAK_BUDGET_BALANCE, Claim.INDIVIDUALLY_RATIONAL, Claim.PRICE_TRUTHFUL, Claim.ORDER_FREE}),
    conventions=REDUCTION_CONVENTIONS,
)
