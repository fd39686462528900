"""What of each order enters the merit order under the conventions, and how a scarce amount is divided among equals.

Every mechanism reads a book through `terms`, so that the conventions mean the same everywhere:

quantity   whole lots only (a remainder below one lot cannot trade), less what `self_trade="prevent"` nets away: of each
           participant the dearest own bid is set off against the cheapest own ask while they cross, earlier orders first.
           Energy netted is not traded, not filled and not paid. What remains of one participant no longer crosses itself.
price      a bid counts net of the grid fee; an ask as it stands.

`ration` divides what is left at a marginal price among the orders at that price, by the tie convention. The total order
behind it is (time, id); for `tie="lot"` it is the permutation that `lot_keys` draws over the ids from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.market.conventions import Conventions
from walras.market.orders import BUY, SELL, Orders
from walras.units import Int64, share_pro_rata


@dataclass(frozen=True, slots=True)
class Terms:
    """The book as the merit order sees it, rows as in the orders.

    quantity_wh          [n] what may trade, 0 <= quantity <= the order's own
    price_micro_per_kwh  [n] limit as matched: a bid's is net of the grid fee
    netted_wh            energy set off within participants (on each side)
    """

    quantity_wh: Int64
    price_micro_per_kwh: Int64
    netted_wh: int = 0


def terms(orders: Orders, conventions: Conventions) -> Terms:
    """The terms of `orders`; under the default conventions these are the very columns of the book, not copies.

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, -1], [1050, 500], [300_000, 100_000])
    >>> terms(book, Conventions(lot_wh=100, grid_fee_micro_per_kwh=20_000)).price_micro_per_kwh.tolist()
    [280000, 100000]
    """
    quantity, price, netted = orders.quantity_wh, orders.price_micro_per_kwh, 0
    if conventions.lot_wh > 1:
        quantity = quantity - quantity % conventions.lot_wh
    if conventions.grid_fee_micro_per_kwh:
        price = np.where(orders.side == BUY, price - conventions.grid_fee_micro_per_kwh, price)
    if conventions.self_trade == "prevent" and orders.count:
        sequence = np.lexsort((orders.id, orders.time, -orders.side.astype(np.int64) * price, orders.side, orders.participant))
        quantity = quantity.copy()
        netted = int(_net_own(sequence, orders.participant, orders.side, quantity, price))
    return Terms(quantity, price, netted)


@njit(cache=True)
def _net_own(sequence, participant, side, quantity, price):  # type: ignore[no-untyped-def]
    """Set off each participant's crossing orders in place; `sequence`: by participant, cheap asks first, then dear bids."""
    n = sequence.size
    netted = 0
    start = 0
    while start < n:
        end = start
        while end < n and participant[sequence[end]] == participant[sequence[start]]:
            end += 1
        middle = start
        while middle < end and side[sequence[middle]] == SELL:
            middle += 1
        ask, bid = start, middle
        while ask < middle and bid < end and price[sequence[bid]] >= price[sequence[ask]]:
            energy = min(quantity[sequence[ask]], quantity[sequence[bid]])
            quantity[sequence[ask]] -= energy
            quantity[sequence[bid]] -= energy
            netted += energy
            if quantity[sequence[ask]] == 0:
                ask += 1
            else:
                bid += 1
        start = end
    return netted


def lot_keys(ids: Int64, seed: int) -> NDArray[np.uint64]:
    """A key for each id; sorting by it is the lot. For a given seed the map is one-to-one (splitmix64): there are no ties."""
    start = np.array([seed], dtype=np.uint64)
    return _mix(ids.astype(np.int64).view(np.uint64) ^ _mix(start + np.uint64(0x9E3779B97F4A7C15)))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014: the finalizer, a bijection."""
    z = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def priority(orders: Orders, rows: NDArray[np.intp], conventions: Conventions) -> NDArray[np.intp]:
    """`rows` in the sequence in which equals are served: by lot where the tie is drawn, else by (time, id)."""
    if conventions.tie == "lot":
        return rows[np.argsort(lot_keys(orders.id[rows], conventions.seed))]
    return rows[np.lexsort((orders.id[rows], orders.time[rows]))]


def ration(
    orders: Orders, rows: NDArray[np.intp], quantity_wh: Int64, total_wh: int, conventions: Conventions
) -> tuple[NDArray[np.intp], Int64]:
    """Divide `total_wh` among the equals in `rows`: (rows in the sequence served, their energy).

    `quantity_wh` [n] is what each row of the book may trade, `total_wh` at most their sum over `rows`; both whole lots.
    pro_rata: in proportion to quantity, exact, largest remainder, equal remainders to the earlier. time, lot: in sequence.
    """
    served = priority(orders, rows, conventions)
    weights = quantity_wh[served]
    if conventions.tie == "pro_rata":
        lot = conventions.lot_wh
        return served, share_pro_rata(weights // lot, total_wh // lot) * lot
    before = np.cumsum(weights) - weights
    return served, np.clip(total_wh - before, 0, weights)
