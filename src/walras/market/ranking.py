"""Rows in the written total order: price, then time, then id. Exact, and as fast as one sort of whole numbers.

Price and row share one int64 key, so the library's vectorised sort does the work; equal prices then stand in the sequence
of the rows, and only runs of them that are out of (time, id) order are put right. A price is below 2**31 in size and is
kept in the key's high bits, so books of up to 2**31 rows fit.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.market.orders import Orders
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64

Rows = NDArray[np.intp]

_TOP = MAX_PRICE_MICRO_PER_KWH


def rank_rows(orders: Orders, rows: Rows, *, dearest_first: bool) -> Rows:
    """`rows` by limit price (dearest or cheapest first), equals by time, then id.

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, 1], [5, 5, 5], [7, 9, 7], time=[2, 0, 1])
    >>> rank_rows(book, np.array([0, 1, 2]), dearest_first=True).tolist()
    [1, 2, 0]
    """
    price = orders.price_micro_per_kwh[rows]
    bits = row_bits(orders.count)
    keys = (((_TOP - price) if dearest_first else (price + _TOP)) << bits) | rows
    sort_keys(keys, bits, orders, False)
    return np.asarray(keys & ((1 << bits) - 1), dtype=np.intp)


def merit_order(orders: Orders, filled_wh: Int64) -> tuple[Rows, Rows]:
    """Rows of the filled bids (dearest first) and of the filled asks (cheapest first); equals by time, then id."""
    mask = (1 << row_bits(orders.count)) - 1
    bid_keys, ask_keys = merit_keys(orders, filled_wh)
    return np.asarray(bid_keys & mask, dtype=np.intp), np.asarray(ask_keys & mask, dtype=np.intp)


def merit_keys(orders: Orders, filled_wh: Int64) -> tuple[Int64, Int64]:
    """Sorted keys of the filled bids and of the filled asks: the row in the low `row_bits`, above it MAX_PRICE - bid or
    MAX_PRICE + ask."""
    bits = row_bits(orders.count)
    keys = np.empty((2, orders.count), dtype=np.int64)
    bids, asks = _keys_of_filled(orders.side, orders.price_micro_per_kwh, filled_wh, bits, keys[0], keys[1])
    bid_keys, ask_keys = keys[0, :bids], keys[1, :asks]
    in_order = bool(rows_in_order(orders.time, orders.id))
    sort_keys(bid_keys, bits, orders, in_order)
    sort_keys(ask_keys, bits, orders, in_order)
    return bid_keys, ask_keys


def row_bits(count: int) -> int:
    """Bits that hold a row number of a book of `count` orders."""
    return max(count, 1).bit_length()


def sort_keys(keys: Int64, bits: int, orders: Orders, in_order: bool) -> None:
    """Sort keys of (price, row) in place, equal prices by (time, id); `in_order`: the rows of the book already are."""
    keys.sort()
    if not in_order:
        _order_equals(keys, bits, orders.time, orders.id)


@njit(cache=True)
def _keys_of_filled(side, price, filled, bits, bid_keys, ask_keys):  # type: ignore[no-untyped-def]
    bids = asks = np.int64(0)
    for row in range(side.size):
        is_filled = filled[row] > 0
        is_bid = side[row] == 1
        bid_keys[bids] = ((_TOP - price[row]) << bits) | row  # written always, kept when counted: no branches
        ask_keys[asks] = ((price[row] + _TOP) << bits) | row
        bids += np.int64(is_filled & is_bid)
        asks += np.int64(is_filled & (not is_bid))
    return bids, asks


@njit(cache=True)
def rows_in_order(time, ids):  # type: ignore[no-untyped-def]
    """Whether the rows stand by (time, id) as they are."""
    wrong = np.int64(0)
    for row in range(1, time.size):
        earlier = time[row] < time[row - 1]
        equal = (time[row] == time[row - 1]) & (ids[row] < ids[row - 1])
        wrong += np.int64(earlier | equal)
    return wrong == 0


@njit(cache=True)
def _order_equals(keys, bits, time, ids):  # type: ignore[no-untyped-def]
    """Put every run of equal prices in (time, id) order, in place."""
    n = keys.size
    mask = (np.int64(1) << bits) - 1
    start = 0
    while start < n:
        end = start + 1
        in_order = True
        while end < n and keys[end] >> bits == keys[start] >> bits:
            before, after = keys[end - 1] & mask, keys[end] & mask
            if time[after] < time[before] or (time[after] == time[before] and ids[after] < ids[before]):
                in_order = False
            end += 1
        if not in_order:
            run = keys[start:end].copy()
            run = run[np.argsort(ids[run & mask], kind="mergesort")]
            keys[start:end] = run[np.argsort(time[run & mask], kind="mergesort")]
        start = end
