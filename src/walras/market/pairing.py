"""Who supplied whom: a clearing's fills paired into trades by a written rule, in linear time.

"queue"     the bids in their sequence are served by the asks in theirs, each ask used up before the next: at most
            (bids + asks - 1) trades. The sequence is best price first (dearest bid, cheapest ask), then time, then id.
"pro_rata"  every buyer is supplied by every seller in proportion: the bought energy of each bid is divided over the asks by
            their share of what is sold. Trades: at most bids * asks, so it is for small books and for statements. Whole
            watt-hours: the cumulative shares are rounded down, so a pair differs from its exact share by less than 3 Wh,
            and rows and columns add up exactly.

The pairing decides no money: each pair carries the price given, and sums over pairs equal the fills to the watt-hour.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.errors import ClearingError
from walras.market.clearing import Clearing, Trades
from walras.market.orders import Orders
from walras.market.ranking import merit_order
from walras.units import INT64_MAX, Int64, checked_sum

Pairing = Literal["queue", "pro_rata"]


def pair_fills(orders: Orders, clearing: Clearing, pairing: Pairing = "queue") -> Trades:
    """The fills of a one-price clearing as trades at that price.

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, -1, -1], [300, 200, 400, 100], [9, 8, 1, 2])
    >>> done = Clearing("uniform", np.array([300, 200, 400, 100]), np.zeros(4, np.int64), 5)
    >>> trades = pair_fills(book, done)
    >>> list(zip(trades.buy.tolist(), trades.sell.tolist(), trades.energy_wh.tolist()))
    [(0, 2, 300), (1, 2, 100), (1, 3, 100)]
    """
    bids, asks = merit_order(orders, clearing.filled_wh)
    if bids.size and clearing.price_micro_per_kwh is None:
        raise ClearingError(
            f"{clearing.mechanism}: fills without one price cannot be paired here",
            thing=clearing.mechanism,
            way_out="use the trades that the mechanism itself lists",
        )
    rule = pair_queue if pairing == "queue" else pair_pro_rata
    buy, sell, energy = rule(bids, clearing.filled_wh[bids], asks, clearing.filled_wh[asks])
    return Trades(buy, sell, energy, np.full(energy.size, clearing.price_micro_per_kwh or 0, dtype=np.int64))


def pair_queue(bids: NDArray[np.intp], bid_wh: Int64, asks: NDArray[np.intp], ask_wh: Int64) -> tuple[Int64, Int64, Int64]:
    """(rows of bids, rows of asks, energy) of each pair; the two sides have equal sums and only positive entries."""
    _demand_balance(bid_wh, ask_wh)
    buy, sell, energy = _queue(bid_wh, ask_wh)
    return bids[buy].astype(np.int64), asks[sell].astype(np.int64), energy


def pair_pro_rata(bids: NDArray[np.intp], bid_wh: Int64, asks: NDArray[np.intp], ask_wh: Int64) -> tuple[Int64, Int64, Int64]:
    """(rows of bids, rows of asks, energy) of each pair of the proportional pairing, without empty pairs.

    Cell (i, j) is the step of floor(B_i * S_j / V) over both cumulative sums B and S: rows and columns add up by telescoping.
    """
    total = _demand_balance(bid_wh, ask_wh)
    if total == 0:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing.copy(), nothing.copy()
    bought = np.concatenate([[0], np.cumsum(bid_wh)])
    sold = np.concatenate([[0], np.cumsum(ask_wh)])
    if total <= INT64_MAX // total:
        corner = bought[:, None] * sold[None, :] // total
    else:  # exact beyond int64, slower
        corner = np.array([[b * s // total for s in sold.tolist()] for b in bought.tolist()], dtype=np.int64)
    cell = np.diff(np.diff(corner, axis=0), axis=1)
    return _repair(cell, bids, asks)


def _repair(cell: Int64, bids: NDArray[np.intp], asks: NDArray[np.intp]) -> tuple[Int64, Int64, Int64]:
    """Second differences of a floor can be -1: move such a unit around a square of cells, which keeps every sum."""
    cell = cell.copy()
    for i, j in np.argwhere(cell < 0).tolist():
        while cell[i, j] < 0:
            k = int(np.argmax(cell[:, j]))  # a row with energy from the same ask
            m = int(np.argmax(cell[i, :]))  # an ask with energy for the same bid
            cell[i, j] += 1
            cell[k, j] -= 1
            cell[k, m] += 1
            cell[i, m] -= 1
    row, column = np.nonzero(cell)
    return bids[row].astype(np.int64), asks[column].astype(np.int64), cell[row, column]


def _demand_balance(bid_wh: Int64, ask_wh: Int64) -> int:
    bought, sold = checked_sum(bid_wh, "energy bought"), checked_sum(ask_wh, "energy sold")
    if bought != sold:
        raise ClearingError(f"{bought} Wh bought cannot be paired with {sold} Wh sold", thing="pairing")
    return bought


@njit(cache=True)
def _queue(bid_wh, ask_wh):  # type: ignore[no-untyped-def]
    most = bid_wh.size + ask_wh.size
    buy, sell, energy = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    count = i = j = 0
    bid_left = bid_wh[0] if bid_wh.size else 0
    ask_left = ask_wh[0] if ask_wh.size else 0
    while i < bid_wh.size and j < ask_wh.size:
        pair = min(bid_left, ask_left)
        buy[count], sell[count], energy[count] = i, j, pair
        count += 1
        bid_left -= pair
        ask_left -= pair
        if bid_left == 0:
            i += 1
            if i < bid_wh.size:
                bid_left = bid_wh[i]
        if ask_left == 0:
            j += 1
            if j < ask_wh.size:
                ask_left = ask_wh[j]
    return buy[:count].copy(), sell[:count].copy(), energy[:count].copy()
