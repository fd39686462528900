"""The Vickrey auction of many units: one side competes and pays Clarke's payments, the other is the auctioneer and gets them.

With one seller this is Vickrey's auction: the units go to the dearest bids, each buyer pays what its units would have been
worth to the others (losing bids, or the seller who would have kept them at the ask, which is the reserve price), and the
seller gets it all. With one buyer it is the reverse auction. It is the half of `vcg` that needs no subsidy: the competing
side pays exactly its VCG payments, the auctioneer is not paid for telling the truth.

Who competes: the sellers, where a single participant bids and several offer; otherwise the buyers. Where the auctioneer's
side has several participants they act as one seller (buyer) with the joint ask (bid) curve: each gets its own limit for what
it sells, and the rest of the proceeds the same per Wh. Their limits are then reserves, not truthful reports.

Truth is dominant for every participant that competes and has no order on the auctioneer's side. Source: Vickrey,
"Counterspeculation, auctions, and competitive sealed tenders", Journal of Finance 16 (1961).
"""

from __future__ import annotations

import numpy as np

from walras.market.clarke import Uses, best_uses, clarke_payments, spread_refunds
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, SELL, Orders
from walras.market.terms import terms
from walras.market.vcg import supporting_price
from walras.units import Int64


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book by the Vickrey auction. `network` is not used: one bus. RangeError as for `vcg`.

    One seller of 15 with a reserve of 100; the first buyer pays 5 Wh at the losing 200 and 5 at the reserve:
    >>> from walras.market.orders import make_orders
    >>> done = clear(make_orders([1, 1, -1], [10, 10, 15], [300, 200, 100]), Conventions())
    >>> done.filled_wh.tolist(), done.pay_nano.tolist(), done.certificate["competing_side"]
    ([10, 5, 15], [1500, 500, -2000], 1)
    """
    book = terms(orders, conventions)
    side = competing_side(orders, book.quantity_wh)
    competes = orders.side == side
    names, owner = np.unique(orders.participant, return_inverse=True)
    owner = np.where(competes, owner + 1, 0)  # owner 0 is the auctioneer
    # seen from sellers that compete, selling is the use, and its value is minus the ask
    columns = (orders.side * np.int8(side), book.price_micro_per_kwh * side, book.quantity_wh)
    uses = best_uses(orders, *columns, owner, names.size + 1, conventions)
    payments = clarke_payments(uses)
    filled, pay = _settle(orders, conventions, side, uses, payments)
    certificate: dict[str, int | Int64] = {
        "competing_side": side,
        "volume_wh": int(filled[competes].sum()),
        "netted_wh": book.netted_wh,
    }
    if filled.any():
        certificate["price_micro_per_kwh"] = supporting_price(uses) * side
    return Clearing("vickrey", filled, pay, None, certificate=certificate)


def competing_side(orders: Orders, quantity_wh: Int64) -> int:
    """Sellers compete where one participant bids and several offer; buyers otherwise."""
    live = quantity_wh > 0
    bidders = np.unique(orders.participant[live & (orders.side == BUY)]).size
    sellers = np.unique(orders.participant[live & (orders.side == SELL)]).size
    return SELL if bidders == 1 and sellers > 1 else BUY


def _settle(orders: Orders, conventions: Conventions, side: int, uses: Uses, payments: Int64) -> tuple[Int64, Int64]:
    """The competing side pays by owner, spread from the supporting price; the auctioneer's orders share the proceeds."""
    price = supporting_price(uses)
    got = uses.filled_wh
    due = np.where(uses.bid, got * price, -got * uses.value)  # an auctioneer's order starts from its own limit
    refund = uses.net_wh() * price - payments
    refund[0] = payments[1:].sum() - (got * uses.value)[~uses.bid].sum()
    spread_refunds(uses.owner, orders.id[uses.row], got, due, refund)
    filled, pay = np.zeros(orders.count, np.int64), np.zeros(orders.count, np.int64)
    filled[uses.row], pay[uses.row] = got, due
    pay[orders.side == BUY] += filled[orders.side == BUY] * conventions.grid_fee_micro_per_kwh
    return filled, pay


VICKREY = Mechanism(
    name="vickrey",
    title="Multi-unit Vickrey auction",
    reference="Vickrey, Journal of Finance 16 (1961)",
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
    conventions=("tie", "seed", "self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
)
