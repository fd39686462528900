"""Checking a submitted clearing against solving for it: the linear programs over linked places, exact check in integers."""

from __future__ import annotations

import numpy as np

from bench.harness import Result, at_most, side_by_side
from walras.market.certificate import verify_uniform, verify_welfare
from walras.market.conventions import Conventions
from walras.market.linked import Links, clear_linked, make_links
from walras.market.orders import Orders, make_orders
from walras.market.uniform import clear


def linked_market(n: int, places: int, seed: int = 3) -> tuple[Orders, Links]:
    """`n` orders over a ring of `places`, both ways, with scarce links."""
    rng = np.random.default_rng(seed)
    orders = make_orders(
        rng.choice([1, -1], n), rng.integers(10, 2_001, n), rng.integers(50_000, 400_001, n), node=rng.integers(0, places, n)
    )
    here = np.arange(places)
    there = (here + 1) % places
    capacity = rng.integers(0, 20 * n // places + 1, 2 * places)
    return orders, make_links(np.concatenate([here, there]), np.concatenate([there, here]), capacity)


def results() -> list[Result]:
    """Linear programs of two sizes, and the uniform auction's own check for comparison."""
    chosen = Conventions()
    rows = []
    for n, places in ((1_000, 10), (20_000, 96)):
        orders, links = linked_market(n, places)
        done = clear_linked(orders, chosen, links)
        assert verify_welfare(orders, chosen, done, links).accepted
        check, solve = side_by_side(
            lambda o=orders, d=done, k=links: verify_welfare(o, chosen, d, k),  # type: ignore[misc]
            lambda o=orders, k=links: clear_linked(o, chosen, k),  # type: ignore[misc]
            7,
        )
        name = f"checking a linked clearing of {n} orders, {places} places / solving it"
        rows.append(at_most(name, check / solve, 0.1, f"{check * 1e3:.2f} ms, solving {solve * 1e3:.1f} ms"))
    rng = np.random.default_rng(1)
    n = 1_000_000
    orders = make_orders(rng.choice([1, -1], n), rng.integers(10, 2_001, n), rng.integers(50_000, 400_001, n))
    done = clear(orders, chosen)
    assert not verify_uniform(orders, chosen, done)
    check, solve = side_by_side(lambda: verify_uniform(orders, chosen, done), lambda: np.sort(orders.price_micro_per_kwh), 7)
    detail = f"{check * 1e3:.1f} ms, sort {solve * 1e3:.1f} ms"
    rows.append({**at_most("checking a uniform clearing of 1e6 orders / numpy.sort", check / solve, 10.0, detail), "goal": "none"})
    return rows
