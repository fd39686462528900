"""What a mechanism returns: for each order the filled energy and the money, and what anyone needs to check it.

A `Clearing` is frozen and complete: rows follow the rows of the `Orders` it clears. Payments are positive when the
participant pays; the operator's surplus is exactly the sum of payments, so nothing is ever lost or made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from walras.market.orders import BUY, Orders
from walras.units import Int64, checked_product, checked_sum


@dataclass(frozen=True, slots=True)
class Trades:
    """Pairs of orders, where the rule pairs them: columns of equal length (rows of the book, Wh, micro/kWh)."""

    buy: Int64
    sell: Int64
    energy_wh: Int64
    price_micro_per_kwh: Int64


@dataclass(frozen=True, slots=True)
class Clearing:
    """The result for one book of n orders.

    mechanism            name of the rule
    filled_wh            [n] int64, 0 <= filled <= quantity
    pay_nano             [n] int64, positive when the participant pays
    price_micro_per_kwh  the one price, or None where prices differ by order or nothing traded
    node_price_micro_per_kwh  [nodes] where the network prices them
    losses_wh            energy lost on the way: bought + losses + inventory = sold
    inventory_wh         what a pool's own stock took in (negative: gave out); 0 for every rule without a stock
    trades               pairs, where the rule pairs orders
    certificate          the rule's own evidence: name to whole number or int64 column (for `uniform`: the interval of
                         supporting prices; for welfare-maximising clearings: the multipliers)
    """

    mechanism: str
    filled_wh: Int64
    pay_nano: Int64
    price_micro_per_kwh: int | None
    node_price_micro_per_kwh: Int64 | None = None
    losses_wh: int = 0
    trades: Trades | None = None
    certificate: Mapping[str, int | Int64] = field(default_factory=dict)
    inventory_wh: int = 0

    @property
    def surplus_nano(self) -> int:
        """What the operator keeps (negative: a deficit): exactly the sum of payments."""
        return checked_sum(self.pay_nano, "surplus_nano")


def volume_wh(orders: Orders, clearing: Clearing) -> int:
    """Energy bought."""
    return checked_sum(clearing.filled_wh[orders.side == BUY], "volume_wh")


def welfare_nano(orders: Orders, clearing: Clearing) -> int:
    """Reported value of what is bought less reported cost of what is sold, exact.

    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, -1], [1000, 1000], [300_000, 100_000])
    >>> done = Clearing("uniform", np.array([1000, 1000]), np.array([200_000_000, -200_000_000]), 200_000)
    >>> welfare_nano(book, done)
    200000000
    """
    value = checked_product(clearing.filled_wh, orders.price_micro_per_kwh, "welfare_nano")
    return checked_sum(value * orders.side, "welfare_nano")


def empty_clearing(mechanism: str, orders: Orders, certificate: Mapping[str, int | Int64] | None = None) -> Clearing:
    """No crossing: nothing filled, nothing paid, no price."""
    zeros = np.zeros(orders.count, dtype=np.int64)
    return Clearing(mechanism, zeros, zeros.copy(), None, certificate=certificate or {})
