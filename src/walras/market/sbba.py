"""SBBA: one price, no surplus, at most one side sacrificed.

For one unit a trader, with K efficient trades: the price is the lower of the K-th bid and the first ask that does not trade.
If it is that ask, all K pairs trade at it. If it is the bid, its buyer is left out and K - 1 units of the K sellers trade.

Orders of many Wh (demand or supply long, or exact: `reduction.py`):

    exact, and the first ask outside <= the marginal bid     all trade at that ask
    exact otherwise, or demand is long                       at the marginal bid, which is left out; sellers bear equal losses
    supply is long                                           at the marginal ask, which is left out; buyers bear equal losses

A long side's marginal order is the one left out, so its limit separates those who trade from those who would not want to;
everyone who trades pays or gets one price that his own limit cannot move. The original draws one seller by lot to go empty;
energy divides, so the sellers share the loss (in whole lots: drawn by the seed). No participant with one order gains by price.

Source: Segal-Halevi, Hassidim and Aumann, "SBBA: a strongly-budget-balanced double-auction mechanism", SAGT 2016. The
extension to many units is this file's own, tested by exhaustive misreports.
"""

from __future__ import annotations

from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import Orders
from walras.market.reduction import REDUCTION_CONVENTIONS, Outcome, Ranked, rank, settle


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book by SBBA. `network` is not used: one bus.

    Raises RangeError where a side's quantity, or volume times price, leaves int64.

    Two pairs cross and the third ask, 0.28, is above the second bid: its buyer is left out, two sellers share one lot at 0.20:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, -1, -1, -1], [1000] * 5, [300_000, 200_000, 100_000, 150_000, 280_000])
    >>> done = clear(book, Conventions())
    >>> done.price_micro_per_kwh, done.filled_wh.tolist(), done.surplus_nano
    (200000, [1000, 0, 500, 500, 0], 0)
    """
    ranked = rank(orders, conventions)
    if ranked is None:
        return empty_clearing("sbba", orders)
    return settle("sbba", orders, conventions, ranked, one_left_out(ranked))


def one_left_out(ranked: Ranked) -> Outcome:
    """The table above: at most one marginal order is left out, at one price."""
    margin = ranked.margin
    if ranked.supply_is_long:
        return Outcome(True, False, margin.ask, margin.ask)
    if not ranked.demand_is_long and margin.unfilled_ask <= margin.bid:
        return Outcome(True, True, margin.unfilled_ask, margin.unfilled_ask)
    return Outcome(False, True, margin.bid, margin.bid)


SBBA = Mechanism(
    name="sbba",
    title="Strongly budget-balanced double auction",
    reference="Segal-Halevi, Hassidim and Aumann, SAGT 2016",
    clear=clear,
    claims=frozenset(
        {
            Claim.WEAK_BUDGET_BALANCE,
            Claim.STRONG_BUDGET_BALANCE,
            Claim.INDIVIDUALLY_RATIONAL,
            Claim.ONE_PRICE,
            Claim.PRICE_TRUTHFUL,
            Claim.ORDER_FREE,
        }
    ),
    conventions=REDUCTION_CONVENTIONS,
)
