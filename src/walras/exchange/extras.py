"""What a book of the neighbourhood carries beside its orders, for mechanisms that need more: an opening pool in each slot.

A pool opens every slot with a tenth of the energy on offer as its stock, priced half way between the cheapest ask and the
dearest bid. Its stock is an accounting one: what it gives and takes counts only as far as members really deliver.
"""

from __future__ import annotations

from collections.abc import Mapping

from walras.market.mechanism import Mechanism
from walras.market.opening import POOL_NAMES, opening_pool
from walras.market.orders import BUY, SELL, Orders

LEAST_STOCK_WH = 1_000
STOCK_SHARE = 10


def extra_for(mechanism: Mechanism, orders: Orders) -> Mapping[str, object] | None:
    """The extra parts of the book, or None where the mechanism needs none."""
    if mechanism.name not in POOL_NAMES:
        return None
    asks, bids = orders.price_micro_per_kwh[orders.side == SELL], orders.price_micro_per_kwh[orders.side == BUY]
    low = max(int(asks.min(initial=10**9)) if asks.size else 0, 1)
    high = max(int(bids.max(initial=0)) if bids.size else 0, low + 2)
    stock = max(int(orders.quantity_wh[orders.side == SELL].sum()) // STOCK_SHARE, LEAST_STOCK_WH)
    return {"pool": opening_pool(mechanism.name, stock, low, high)}
