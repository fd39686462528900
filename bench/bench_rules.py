"""Sealed batches of a million orders under the other rules, each against uniform clearing of the same book; VCG at 10,000.

Claimed is at most 3 times uniform for pay-as-bid, McAfee and MUDA with the lottery (every participant has one order); the
others are reported beside them. For VCG the yardstick is one welfare problem on the same book: it answers n + 1, one with
everyone and one without each participant. Rounds are interleaved, medians compared.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.bench_uniform import random_book
from bench.harness import Result, at_most, side_by_side
from walras.market import uniform
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.laws import check_energy, check_money
from walras.market.mcafee import clear as clear_mcafee
from walras.market.muda import clear as clear_muda
from walras.market.muda import clear_vickrey as clear_muda_vickrey
from walras.market.orders import Orders, make_orders
from walras.market.pay_as_bid import clear as clear_pay_as_bid
from walras.market.sbba import clear as clear_sbba
from walras.market.trade_reduction import clear as clear_trade_reduction
from walras.market.vcg import clear as clear_vcg

ORDERS = 1_000_000
CLAIMED = 3.0
RULES: tuple[tuple[str, Callable[[Orders, Conventions], Clearing], bool], ...] = (
    ("pay-as-bid", clear_pay_as_bid, True),
    ("McAfee", clear_mcafee, True),
    ("trade reduction", clear_trade_reduction, False),
    ("SBBA", clear_sbba, False),
    ("MUDA", clear_muda, True),
    ("MUDA with Vickrey", clear_muda_vickrey, True),
)


def equal_lots(n: int, seed: int = 7) -> Orders:
    """A mixed book of orders of one size, on which McAfee's price rule applies."""
    rng = np.random.default_rng(seed)
    return make_orders(rng.choice([1, -1], n), np.full(n, 500), rng.integers(50_000, 400_001, n))


def results(only: str = "") -> list[Result]:
    """One figure a rule."""
    chosen, rows = Conventions(), []
    book = random_book(ORDERS)
    for rule, clear, claimed in RULES:
        name = f"{rule} of 1e6 orders / uniform"
        if only not in name:
            continue
        done = clear(book, chosen)
        assert not check_energy(book, done)
        assert not check_money(book, done)
        took, base = side_by_side(lambda c=clear: c(book, chosen), lambda: uniform.clear(book, chosen), 15)  # type: ignore[misc]
        row = at_most(name, took / base, CLAIMED, f"{took * 1e3:.2f} ms, uniform {base * 1e3:.2f} ms")
        rows.append(row if claimed else {**row, "goal": "none", "holds": True})
    name = "VCG, 10,001 welfare problems of 10,000 participants / one"
    if only in name:
        small = random_book(10_000)
        took, base = side_by_side(lambda: clear_vcg(small, chosen), lambda: uniform.clear(small, chosen), 101)
        rows.append(at_most(name, took / base, CLAIMED, f"{took * 1e3:.3f} ms, one {base * 1e3:.3f} ms"))
    return rows
