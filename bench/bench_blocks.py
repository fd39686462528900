"""Block books of a day: 10,000 orders over 96 slots and 100 blocks, exact search and heuristic, each with its gap.

Drawn, not real: prices of orders and blocks lie around a daily curve, blocks close to it, so that many are in doubt. In the
*linked* books every block belongs to a family of five (a parent, two children, two grandchildren) over 4 to 16 slots; the
*mixed* books have families, exclusive groups, flexible and curtailable blocks. Seconds are of the processor, of one run each on
one thread: a machine busy with others does not move them.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from bench.harness import Result, at_most
from walras.market.block_search import Method
from walras.market.blocks import clear_blocks
from walras.market.conventions import Conventions
from walras.market.mechanism import ORDER_EXTRA
from walras.market.orders import Orders, make_orders

ORDERS, SLOTS, BLOCKS, BOOKS = 10_000, 96, 100, 3
LIMIT_S = 10.0


def draw_book(seed: int, mixed: bool = False) -> tuple[Orders, dict[str, object]]:
    """A day's book; deterministic in `seed`."""
    rng = np.random.default_rng(seed)
    curve = 200_000 + 60_000 * np.sin(2 * np.pi * (np.arange(SLOTS) - 30) / SLOTS)
    side, slot = rng.choice([1, -1], ORDERS), rng.integers(0, SLOTS, ORDERS)
    price = (curve[slot] + side * 30_000 + rng.normal(0, 60_000, ORDERS)).astype(np.int64)
    orders = make_orders(side, rng.integers(100, 3_000, ORDERS), price)
    blocks: list[dict[str, object]] = []
    for b in range(BLOCKS):
        length = int(rng.integers(4, 17))
        first = int(rng.integers(0, SLOTS - length + 1))
        profile = np.zeros(SLOTS, np.int64)
        profile[first : first + length] = rng.integers(500, 5_000, length)
        limit = int(curve[first : first + length].mean() + rng.normal(0, 15_000))
        sign = "buy" if rng.choice([1, -1]) == 1 else "sell"
        block: dict[str, object] = {"id": f"b{b:03}", "side": sign, "price_micro_per_kwh": limit, "quantity_wh": profile.tolist()}
        kind = b // 20 if mixed else 0
        if kind == 1:
            block["exclusive_group"] = f"g{b // 4}"
        elif kind == 2:
            block["minimum_acceptance"] = 0.4
        elif kind == 3 and b % 4 == 0:
            block |= {"flexible": True, "quantity_wh": profile[first : first + 4].tolist()}
        elif b % 5:
            block["linked_to"] = f"b{b - b % 5 if b % 5 < 3 else b - 2:03}"
        blocks.append(block)
    return orders, {"blocks": blocks, ORDER_EXTRA: {"slot": slot.tolist()}}


def run(name: str, method: Method, mixed: bool) -> Result:
    """All books by one method: the slowest against the limit, and what is proved of them."""
    times: list[float] = []
    gaps: list[float] = []
    proved = 0
    for seed in range(BOOKS):
        orders, extra = draw_book(seed, mixed)
        started = time.process_time()
        found = clear_blocks(orders, Conventions(), extra, method).found
        times.append(time.process_time() - started)
        proved += found.proved
        gaps.append((found.bound - found.priced.welfare) / found.bound)
    detail = (
        f"CPU s: median {statistics.median(times):.1f}, worst {max(times):.1f}; optimal {proved} of {BOOKS}; "
        f"gap %: median {100 * statistics.median(gaps):.5f}, worst {100 * max(gaps):.3f}"
    )
    return at_most(name, max(times) / LIMIT_S, 1.0, detail)


def results() -> list[Result]:
    """Every figure of this file."""
    orders, extra = draw_book(99)
    clear_blocks(orders, Conventions(), extra, "heuristic")  # compiles
    return [
        run("blocks, 100 linked, exact, of 10 s", "milp", False),
        run("blocks, 100 linked, heuristic, of 10 s", "heuristic", False),
        run("blocks, 100 of every kind, exact, of 10 s", "milp", True),
        run("blocks, 100 of every kind, heuristic, of 10 s", "heuristic", True),
    ]


if __name__ == "__main__":
    for result in results():
        print(result)
