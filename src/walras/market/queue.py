"""Takers served one after another from offers sorted by price: the loop that clocks and posted offers share.

Each taker in the given sequence takes the cheapest offer that is left while it costs no more than the taker's limit, and
goes on to the next while something is missing. An offer that is too dear for one taker stays for the next. Linear in
takers plus offers. To serve from the dearest bid instead, hand in both sides' prices negated.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.market.orders import Orders
from walras.units import Int64


def cheapest_first(orders: Orders, rows: NDArray[np.intp], cost: Int64) -> NDArray[np.intp]:
    """`rows` by `cost` [n of the book], then time, then id."""
    return rows[np.lexsort((orders.id[rows], orders.time[rows], cost[rows]))]


def take_in_sequence(limit: Int64, wanted_wh: Int64, cost: Int64, offered_wh: Int64) -> tuple[Int64, Int64, Int64]:
    """(taker, offer, Wh) of each trade; `cost` ascends.

    >>> out = take_in_sequence(np.array([5, 9]), np.array([4, 4]), np.array([5, 7]), np.array([3, 9]))
    >>> [column.tolist() for column in out]
    [[0, 1], [0, 1], [3, 4]]
    """
    taker, offer, energy = _take(limit, wanted_wh, cost, offered_wh)
    return taker, offer, energy


@njit(cache=True)
def _take(limit, wanted, cost, offered):  # type: ignore[no-untyped-def]
    most = limit.size + cost.size
    taker, offer, energy = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    count = j = 0
    left = offered[0] if offered.size else 0
    for i in range(limit.size):
        missing = wanted[i]
        while missing > 0 and j < cost.size and cost[j] <= limit[i]:
            if left == 0:
                j += 1
                if j < cost.size:
                    left = offered[j]
                continue
            part = min(missing, left)
            taker[count], offer[count], energy[count] = i, j, part
            count += 1
            missing -= part
            left -= part
    return taker[:count].copy(), offer[:count].copy(), energy[:count].copy()
