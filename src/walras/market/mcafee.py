"""McAfee's double auction: everyone trades at a price that only the best excluded orders set, or else the trade is reduced.

For one unit a trader: with K efficient trades let p be the middle of the first bid and the first ask that do not trade. If
p lies between the K-th ask and the K-th bid, all K pairs trade at p; otherwise the K-th pair is left out, K - 1 buyers pay
the K-th bid and K - 1 sellers get the K-th ask.

Orders of many Wh: the price rule applies where the efficient volume ends exactly at the end of the marginal bid and of the
marginal ask (always so for equal lots); where one of them is served in part the reduction step applies, in the form of
Huang, Scheller-Wolf and Sycara (`trade_reduction.py`). The restriction is what keeps the promise: with a marginal order
served in part at p, a buyer could fall behind a smaller rival, stay marginal and trade at a lower p. Behind a rival the
volume never ends exactly, so he is left out, and no participant with one order gains by its price.

p is rounded down to a whole micro-unit. Source: McAfee, "A dominant strategy double auction", Journal of Economic Theory 56
(1992), section 2.
"""

from __future__ import annotations

from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.margin import NO_ASK, NO_BID
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import Orders
from walras.market.reduction import REDUCTION_CONVENTIONS, Outcome, Ranked, rank, settle
from walras.market.trade_reduction import both_left_out


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book by McAfee's rule. `network` is not used: one bus.

    Raises RangeError where a side's quantity, or volume times price, leaves int64.

    Three pairs of equal lots cross; the first bid and ask outside, 0.14 and 0.18, set 0.16, which all three accept:
    >>> from walras.market.orders import make_orders
    >>> bids, asks = [300_000, 250_000, 200_000, 140_000], [50_000, 100_000, 150_000, 180_000]
    >>> book = make_orders([1] * 4 + [-1] * 4, [1000] * 8, bids + asks)
    >>> done = clear(book, Conventions())
    >>> done.price_micro_per_kwh, done.filled_wh.tolist(), done.surplus_nano
    (160000, [1000, 1000, 1000, 0, 1000, 1000, 1000, 0], 0)
    """
    ranked = rank(orders, conventions)
    if ranked is None:
        return empty_clearing("mcafee", orders)
    price = outside_price(ranked)
    outcome = both_left_out(ranked) if price is None else Outcome(True, True, price, price)
    return settle("mcafee", orders, conventions, ranked, outcome)


def outside_price(ranked: Ranked) -> int | None:
    """The middle of the first bid and ask that do not trade, if the volume ends exactly and the marginal pair accepts it."""
    margin = ranked.margin
    if ranked.demand_is_long or ranked.supply_is_long or margin.unfilled_bid == NO_BID or margin.unfilled_ask == NO_ASK:
        return None
    price = (margin.unfilled_bid + margin.unfilled_ask) // 2
    return price if margin.ask <= price <= margin.bid else None


MCAFEE = Mechanism(
    name="mcafee",
    title="McAfee's double auction",
    reference="McAfee, Journal of Economic Theory 56 (1992)",
    clear=clear,
    claims=frozenset({Claim.WEAK_BUDGET_BALANCE, Claim.INDIVIDUALLY_RATIONAL, Claim.PRICE_TRUTHFUL, Claim.ORDER_FREE}),
    conventions=REDUCTION_CONVENTIONS,
)
