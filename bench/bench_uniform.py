"""Uniform clearing of 1e3 to 1e7 orders, fill and payment of every order included, against sorting the same price column.

The yardstick is `numpy.sort` of the int64 prices (AVX-512 where the machine has it), which any clearing by sorting needs
before it can begin. Prices are spread over 350,000 ticks of a micro-unit, quantities from 10 to 2,000 Wh, both sides mixed.
The claim is made from 1e5 orders up; below, the fixed cost of a call dominates and is reported without a claim.
"""

from __future__ import annotations

import numpy as np

from bench.harness import Result, at_most, side_by_side
from walras.market.conventions import Conventions
from walras.market.laws import check_energy, check_money
from walras.market.orders import Orders, make_orders
from walras.market.uniform import clear

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CLAIMED_FROM = 100_000


def random_book(n: int, seed: int = 7) -> Orders:
    """A mixed book of `n` orders."""
    rng = np.random.default_rng(seed)
    side = rng.choice([1, -1], n)
    return make_orders(side, rng.integers(10, 2_001, n), rng.integers(50_000, 400_001, n))


def results(only: str = "") -> list[Result]:
    """One figure a size."""
    rows = []
    chosen = Conventions()
    for n in SIZES:
        name = f"uniform clearing of {n:.0e} orders / numpy.sort"
        if only not in name:
            continue
        orders = random_book(n)
        clearing = clear(orders, chosen)
        assert not check_energy(orders, clearing)
        assert n > CLAIMED_FROM or not check_money(orders, clearing)
        prices = orders.price_micro_per_kwh
        rounds = int(np.clip(3e7 // n, 9, 401))
        took, sort = side_by_side(lambda o=orders: clear(o, chosen), lambda p=prices: np.sort(p), rounds)  # type: ignore[misc]
        detail = f"{took * 1e3:.3f} ms, sort {sort * 1e3:.3f} ms, {n / took / 1e6:.1f} M orders/s"
        row = at_most(name, took / sort, 1.0, detail)
        rows.append(row if n >= CLAIMED_FROM else {**row, "goal": "none below 1e5", "holds": True})
    return rows
