"""The best use of scarce units and what each user's share costs the others: Clarke's pivot payments, exact, without re-solving.

A book on one bus is a list of uses for the units that the sellers own: a bid values a unit at its limit, an ask values
*keeping* a unit at its limit. The largest welfare gives the N units that exist to the N dearest uses; a bid is filled by what
it is given, an ask sells what it does not keep. So the list, sorted once, with its prefix sums, answers every "what if P
were not here": P's units go to the next uses below the cut (P a net buyer), or the cheapest uses above it go empty (P a net
seller), in either case those of others only. Each of the n answers is one binary search.

Source: Clarke, "Multipart pricing of public goods", Public Choice 11 (1971); Groves, Econometrica 41 (1973).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.errors import RangeError
from walras.market.conventions import Conventions
from walras.market.orders import BUY, Orders, Side
from walras.market.terms import lot_keys
from walras.units import INT64_MAX, Int64


@dataclass(frozen=True, slots=True)
class Uses:
    """Uses of a common stock of units, dearest first (columns of equal length m).

    row          [m] row of the book behind the use
    bid          [m] True where a unit given is a purchase, False where it is kept from sale
    owner        [m] code of who has the use, 0 <= code < owners
    value        [m] per Wh
    quantity_wh  [m] Wh that the use can take
    taken_wh     [m] Wh that it is given: the stock, in sequence
    """

    row: NDArray[np.intp]
    bid: NDArray[np.bool_]
    owner: Int64
    value: Int64
    quantity_wh: Int64
    taken_wh: Int64
    owners: int

    @property
    def filled_wh(self) -> Int64:
        """[m] what the order behind the use buys or sells."""
        return np.asarray(np.where(self.bid, self.taken_wh, self.quantity_wh - self.taken_wh), dtype=np.int64)

    def net_wh(self) -> Int64:
        """[owners] what each buys less what it sells."""
        kept_for_sale = np.where(self.bid, 0, self.quantity_wh)
        return np.asarray(sum_by(self.owner, self.taken_wh - kept_for_sale, self.owners), dtype=np.int64)

    def cut(self) -> tuple[int | None, int | None]:
        """(dearest use left out, cheapest use given something): every price between them supports the division."""
        out = np.flatnonzero(self.taken_wh < self.quantity_wh)
        served = np.flatnonzero(self.taken_wh > 0)
        return int(self.value[out[0]]) if out.size else None, int(self.value[served[-1]]) if served.size else None


def best_uses(
    orders: Orders, side: Side, price: Int64, quantity: Int64, owner: Int64, owners: int, conventions: Conventions
) -> Uses:
    """Give the units on offer to the dearest uses. `side`, `price` and `quantity` are columns of the book's length.

    Among equal limits bids come before keeping (a trade that gains nothing is made), bids by (time, id), keeping in the
    reverse; under `tie="lot"` the drawn key stands in for (time, id). Raises RangeError where the largest possible welfare
    leaves int64.

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, -1], [10, 10, 15], [300, 200, 100])
    >>> columns = (book.side, book.price_micro_per_kwh, book.quantity_wh, book.participant)
    >>> best_uses(book, *columns, 3, Conventions()).filled_wh.tolist()
    [10, 5, 15]
    """
    rows = np.flatnonzero(quantity > 0)
    refuse_overflow(quantity, price[rows])
    bid = side[rows] == BUY
    if conventions.tie == "lot":
        keys = np.argsort(np.argsort(lot_keys(orders.id[rows], conventions.seed)))
        sequence = np.lexsort((np.where(bid, keys, -keys), ~bid, -price[rows]))
    else:
        sign = np.where(bid, 1, -1)
        # int64's least value is its own negative; ids and times are ranked first so that reversing them is exact
        time, name = (np.unique(column[rows], return_inverse=True)[1] for column in (orders.time, orders.id))
        sequence = np.lexsort((sign * name, sign * time, ~bid, -price[rows]))
    row = rows[sequence]
    bid, amount = bid[sequence], quantity[row]
    stock = int(amount[~bid].sum())
    taken = np.clip(stock - (np.cumsum(amount) - amount), 0, amount)
    return Uses(row, bid, owner[row], price[row], amount, taken, owners)


def refuse_overflow(quantity: Int64, price: Int64) -> None:
    """RangeError where all quantities at the largest of the prices are worth more than int64 holds."""
    if price.size and sum_exact(quantity) * max(int(price.max()), -int(price.min())) > INT64_MAX:
        raise RangeError("the value of all quantities together does not fit in int64", thing="welfare_nano")


def sum_exact(quantity: Int64) -> int:
    """Sum as a Python int, never wrapped."""
    size = max(int(quantity.size), 1)
    if quantity.size and int(quantity.max()) > INT64_MAX // size:
        return sum(quantity.tolist())
    return int(quantity.sum())


def clarke_payments(uses: Uses) -> Int64:
    """[owners] nano: what each owner's net position takes from the value of all others (negative: what it adds).

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, -1], [10, 10, 15], [300, 200, 100])
    >>> columns = (book.side, book.price_micro_per_kwh, book.quantity_wh, book.participant)
    >>> clarke_payments(best_uses(book, *columns, 3, Conventions())).tolist()
    [1500, 500, -4000]
    """
    net = uses.net_wh()
    position, first = _positions(uses.owner, uses.owners)
    left = uses.quantity_wh - uses.taken_wh
    bought = _next_uses(uses.value, left, position, first, np.maximum(net, 0))
    # what others would give up: the uses that are served, cheapest first
    back = uses.value.size - 1 - position[::-1]
    starts = uses.value.size - first[::-1]
    sold = _next_uses(uses.value[::-1], uses.taken_wh[::-1], back, starts, np.maximum(-net[::-1], 0))[::-1]
    return np.asarray(bought - sold, dtype=np.int64)


@njit(cache=True)
def _positions(owner, owners):  # type: ignore[no-untyped-def]
    """(positions in the list grouped by owner, in sequence within each; first index of each owner's group and the end)."""
    first = np.zeros(owners + 1, np.int64)
    for i in range(owner.size):
        first[owner[i] + 1] += 1
    for o in range(owners):
        first[o + 1] += first[o]
    free = first.copy()
    position = np.empty(owner.size, np.int64)
    for i in range(owner.size):
        position[free[owner[i]]] = i
        free[owner[i]] += 1
    return position, first


@njit(cache=True)
def _next_uses(value, left, position, first, need):  # type: ignore[no-untyped-def]
    """For each owner the value of the first `need` units of `left`, in sequence, that are not its own."""
    n = value.size
    before = np.zeros(n + 1, np.int64)
    worth = np.zeros(n + 1, np.int64)
    for i in range(n):
        before[i + 1] = before[i] + left[i]
        worth[i + 1] = worth[i] + left[i] * value[i]
    total = np.zeros(need.size, np.int64)
    for p in range(need.size):
        if need[p] == 0:
            continue
        own = own_worth = np.int64(0)
        for g in range(first[p], first[p + 1]):
            at = position[g]
            if before[at] - own >= need[p]:
                break
            own += left[at]
            own_worth += left[at] * value[at]
        end = np.searchsorted(before, need[p] + own) - 1
        total[p] = worth[end] - own_worth + (need[p] + own - before[end]) * value[end]
    return total


@njit(cache=True)
def sum_by(owner, amount, owners):  # type: ignore[no-untyped-def]
    """Exact sums by owner."""
    total = np.zeros(owners, np.int64)
    for i in range(owner.size):
        total[owner[i]] += amount[i]
    return total


@njit(cache=True)
def spread_refunds(owner, tie, filled, pay, refund):  # type: ignore[no-untyped-def]
    """Lower the payments of each owner's filled orders, in place, by its `refund` >= 0: the same per Wh, what does not divide
    to its largest fill (the least `tie` among equals). A refund lowers what a buyer pays and raises what a seller gets."""
    whole = np.zeros(refund.size, np.int64)
    largest = np.full(refund.size, -1, np.int64)
    for i in range(owner.size):
        o = owner[i]
        whole[o] += filled[i]
        best = largest[o]
        if filled[i] > 0 and (best < 0 or filled[i] > filled[best] or (filled[i] == filled[best] and tie[i] < tie[best])):
            largest[o] = i
    for i in range(owner.size):
        o = owner[i]
        if filled[i] > 0:
            pay[i] -= refund[o] // whole[o] * filled[i]
            if largest[o] == i:
                pay[i] -= refund[o] % whole[o]
