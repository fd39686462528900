"""Zero intelligence with a budget constraint (ZI-C): random prices that never lose money.

Gode and Sunder, "Allocative Efficiency of Markets with Zero-Intelligence Traders", Journal of Political Economy 101 (1993): a
buyer bids uniformly between the lowest price and its value, a seller asks uniformly between its cost and the highest price.
Value and cost are the outside options that the truthful strategy would bid, so a book of truthful orders goes in and a random
one comes out; quantities, sides and members stay. The draw is a function of (seed, slot, member, row of the member's orders):
no state.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from walras.errors import Fault, InputError
from walras.market.orders import Orders
from walras.strategies.noise import below, key, seed_word
from walras.units import Int64

STREAM = 64


def zero_intelligence(orders: Orders, seed: int, slot: int, floor_micro: int, ceiling_micro: int) -> Orders:
    """`orders` (truthful, grouped by member) with random limits between `floor_micro`, the outside option and `ceiling_micro`.

    A buyer whose value is below the floor, or a seller whose cost is above the ceiling, keeps it as its limit.

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, -1], [1000, 1000], [300_000, 100_000])
    >>> random = zero_intelligence(book, seed=7, slot=0, floor_micro=0, ceiling_micro=400_000)
    >>> int(random.price_micro_per_kwh[0]) <= 300_000, int(random.price_micro_per_kwh[1]) >= 100_000
    (True, True)
    """
    if floor_micro > ceiling_micro:
        raise InputError("zero intelligence", [Fault("prices", "floor_micro", floor_micro, f"at most {ceiling_micro}")])
    price = _draw(orders.participant, orders.side, orders.price_micro_per_kwh, seed_word(seed), slot, floor_micro, ceiling_micro)
    price.flags.writeable = False
    return replace(orders, price_micro_per_kwh=price)


@njit(cache=True)
def _draw(
    participant: Int64,
    side: np.ndarray[tuple[int], np.dtype[np.int8]],
    limit: Int64,
    seed: int,
    slot: int,
    floor: int,
    ceiling: int,
) -> Int64:
    price = np.empty(limit.size, np.int64)
    nth = 0
    for i in range(limit.size):
        nth = nth + 1 if i > 0 and participant[i] == participant[i - 1] else 0
        stream_key = key(seed, STREAM, participant[i])
        if side[i] > 0:
            price[i] = limit[i] - below(stream_key, slot, nth, max(limit[i] - floor, 0) + 1)
        else:
            price[i] = limit[i] + below(stream_key, slot, nth, max(ceiling - limit[i], 0) + 1)
    return price
