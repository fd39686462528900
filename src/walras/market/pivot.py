"""Clarke payments where every participant has one order: only the uses next to the cut are ever sorted.

What a share of units costs the others is the value of the next uses that would get them: units taken, one after another, from
a short list that begins at the cut. The list is as long as the largest share, so the rest of the book need not be in sequence.
The general engine, for participants with any orders, is `clarke.py`; both give the same payments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.units import Int64

_FEW = 256


def rows_near(price: Int64, at: int, reach: int) -> Int64:
    """Rows whose price is at most `reach` from `at`.

    >>> rows_near(np.array([1, 9, 5, 6]), 6, 1).tolist()
    [2, 3]
    """
    rows = np.empty(price.size + 1, dtype=np.int64)
    return np.asarray(rows[: int(_rows_near(price, at, reach, rows))])


def first_reach(price: Int64, at: int) -> int:
    """A distance from `at` within which a few hundred orders may stand, judged by every so-manieth order of the book."""
    step = max(price.size // 1024, 1)
    distance = np.abs(price[::step] - at)
    place = min(_FEW * distance.size // max(price.size, 1) + 1, distance.size - 1)
    return int(np.partition(distance, place)[place]) + 1


@dataclass(frozen=True, slots=True)
class NextUses:
    """The uses that would get more units, in sequence from the cut: value of a unit, amount, and both summed up."""

    value: Int64
    amount: Int64
    through: Int64
    worth: Int64

    def worth_of(self, need: Int64) -> Int64:
        """For each row the value of the first `need` units; what the list lacks is worth its last value.

        >>> next_uses(np.array([10, 7]), np.array([3, 9])).worth_of(np.array([0, 2, 5])).tolist()
        [0, 20, 44]
        """
        out = np.zeros(need.size, dtype=np.int64)
        _worth_of(need, self.value, self.through, self.worth, out)
        return out

    def worth_without(self, place: int, need: int) -> int:
        """The value of the first `need` units that are not of the use at `place`.

        >>> next_uses(np.array([10, 7, 5]), np.array([3, 4, 9])).worth_without(1, 5)
        40
        """
        own = int(self.amount[place])
        if need <= int(self.through[place]) - own:
            return int(self.worth_of(np.array([need]))[0])
        return int(self.worth_of(np.array([need + own]))[0]) - own * int(self.value[place])


def next_uses(value: Int64, amount: Int64) -> NextUses:
    """The list with its sums; at least one use."""
    return NextUses(value, amount, np.cumsum(amount), np.cumsum(amount * value))


def charge(mine: NDArray[np.bool_], sign: int, uses: NextUses, filled: Int64, pay: Int64) -> None:
    """Write `sign` times the worth of each order's filled units to `pay` where it is `mine`."""
    most = int(filled.max())
    if most < filled.size:
        _charge_by_table(mine, sign * uses.worth_of(np.arange(most + 1)), filled, pay)
    else:
        pay[mine] = sign * uses.worth_of(filled[mine])


def one_order_each(participant: Int64, quantity: Int64) -> bool:
    """Whether no participant has two orders with quantity."""
    if participant.size == 0:
        return True
    low, high = int(participant.min()), int(participant.max())
    if high - low < 4 * participant.size:
        return bool(_all_differ(participant, quantity, low, high - low + 1))
    live = participant[quantity > 0]
    return bool(np.unique(live).size == live.size)


@njit(cache=True)
def _all_differ(participant, quantity, low, span):  # type: ignore[no-untyped-def]
    seen = np.zeros(span, np.uint8)
    for i in range(participant.size):
        if quantity[i] > 0:
            if seen[participant[i] - low]:
                return False
            seen[participant[i] - low] = 1
    return True


@njit(cache=True)
def _rows_near(price, at, reach, rows):  # type: ignore[no-untyped-def]
    count = np.int64(0)
    for row in range(price.size):
        rows[count] = row
        count += np.int64(abs(price[row] - at) <= reach)
    return count


@njit(cache=True)
def _worth_one(wanted, value, through, worth):  # type: ignore[no-untyped-def]
    low, high = 0, 1  # most need little: gallop from the cut
    while high < value.size and through[high - 1] < wanted:
        low = high
        high = min(2 * high, value.size)
    while low < high:
        middle = (low + high) // 2
        if through[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    place = min(low, value.size - 1)
    return worth[place] + (wanted - through[place]) * value[place]


@njit(cache=True)
def _charge_by_table(mine, table, filled, pay):  # type: ignore[no-untyped-def]
    """The worth of each order's units where it is `mine`, from a table by energy: without a branch."""
    for row in range(mine.size):
        energy = filled[row] * np.int64(mine[row])
        pay[row] += (table[energy] - pay[row]) * np.int64(mine[row])


@njit(cache=True)
def _worth_of(need, value, through, worth, out):  # type: ignore[no-untyped-def]
    for row in range(need.size):
        if need[row] > 0:
            out[row] = _worth_one(need[row], value, through, worth)
