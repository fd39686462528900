"""Random matching of willing pairs: the baseline of the peer-to-peer literature.

Rule: buyers come in an order drawn from `seed`. Each meets a seller drawn, all equally likely, from those that still have
energy and ask no more than it bids (net of the grid fee); they trade what both can, at ask + floor(k * (bid - ask)); it
draws again while it wants more and a willing seller is left. So no bid is left above an ask, but who trades with whom,
and at what price, is chance: a cheap offer may go to a buyer of little value. Both draws come from an integer hash of
seed, id and count (`draws`), so that the same book and seed give the same trades to the bit everywhere.

Source: the zero-intelligence benchmark of Gode and Sunder, "Allocative efficiency of markets with zero-intelligence traders",
Journal of Political Economy 101 (1993); as a peer-to-peer market in Kiedanski, Kofman and Horta, "PyMarket", 2020.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.market.clearing import Clearing, Trades
from walras.market.conventions import Conventions
from walras.market.draws import draw
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, Orders
from walras.market.settle import price_between, settle_trades
from walras.market.terms import lot_keys, terms


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Draw the pairs. Raises RangeError where the money does not fit in int64.

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, -1, -1], [500, 500, 500, 500], [300, 200, 100, 150])
    >>> done = clear(book, Conventions(seed=3))
    >>> sorted(done.trades.price_micro_per_kwh.tolist())        # 300 met 150, 200 met 100: halfway
    [150, 225]
    """
    book = terms(orders, conventions)
    live = np.flatnonzero(book.quantity_wh > 0)
    bids, asks = live[orders.side[live] == BUY], live[orders.side[live] != BUY]
    keys = lot_keys(orders.id[bids], conventions.seed)
    drawn = np.argsort(keys)
    bids, keys = bids[drawn], keys[drawn]
    asks = asks[np.lexsort((orders.id[asks], book.price_micro_per_kwh[asks]))]
    price = book.price_micro_per_kwh
    willing = np.searchsorted(price[asks], price[bids], side="right").astype(np.int64)
    buy, sell, energy = _draw_pairs(keys, book.quantity_wh[bids], willing, book.quantity_wh[asks])
    rows_buy, rows_sell = bids[buy].astype(np.int64), asks[sell].astype(np.int64)
    trades = Trades(rows_buy, rows_sell, energy, price_between(price[rows_sell], price[rows_buy], conventions.k))
    certificate = {"netted_wh": book.netted_wh, "seed": conventions.seed}
    return settle_trades("random_pairs", orders, trades, conventions.grid_fee_micro_per_kwh, certificate=certificate)


@njit(cache=True)
def _draw_pairs(keys, wanted, willing, offered):  # type: ignore[no-untyped-def]
    """Sellers with energy left are counted in a Fenwick tree: the r-th of the first `willing` ones in logarithmic time."""
    m = offered.size
    most = keys.size + m
    buy, sell, energy = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    left = offered.copy()
    tree = np.zeros(m + 1, np.int64)
    for j in range(1, m + 1):
        tree[j] = j & -j
    top = 1
    while top * 2 <= m:
        top *= 2
    count = 0
    for i in range(keys.size):
        missing = wanted[i]
        tries = 0
        while missing > 0:
            here = 0
            j = willing[i]
            while j > 0:
                here += tree[j]
                j -= j & -j
            if here == 0:
                break
            rank = draw(keys[i], tries, here)
            tries += 1
            place, step = 0, top
            while step > 0:
                if place + step <= m and tree[place + step] <= rank:
                    place += step
                    rank -= tree[place]
                step //= 2
            part = min(missing, left[place])
            buy[count], sell[count], energy[count] = i, place, part
            count += 1
            missing -= part
            left[place] -= part
            if left[place] == 0:
                j = place + 1
                while j <= m:
                    tree[j] -= 1
                    j += j & -j
    return buy[:count].copy(), sell[:count].copy(), energy[:count].copy()


RANDOM_PAIRS = Mechanism(
    name="random_pairs",
    title="Random matching of willing pairs",
    reference="Gode and Sunder, Allocative efficiency of markets with zero-intelligence traders, 1993",
    clear=clear,
    claims=frozenset(
        {
            Claim.WEAK_BUDGET_BALANCE,
            Claim.STRONG_BUDGET_BALANCE,
            Claim.INDIVIDUALLY_RATIONAL,
            Claim.NO_CROSSING_LEFT,
            Claim.ORDER_FREE,
        }
    ),
    conventions=("k", "seed", "self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
)
