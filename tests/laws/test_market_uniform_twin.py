"""The uniform auction equals a slow, obvious twin to the last watt-hour and nano, and reaches the welfare of an LP solver.

The twin works from the definitions: it tries every price for the volume and for the interval, hands out energy lot by lot,
and shares pro rata in fractions. It shares no code with the mechanism.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import all_crossing, books, conventions, one_on_both_sides, ties_everywhere
from walras.market.conventions import Conventions
from walras.market.highs import make_solver
from walras.market.laws import best_welfare_nano
from walras.market.orders import Orders
from walras.market.terms import lot_keys
from walras.market.uniform import clear

BOOKS = st.one_of(books(), books(max_orders=30), all_crossing(), ties_everywhere(), one_on_both_sides())


def twin_terms(orders: Orders, c: Conventions) -> tuple[list[int], list[int]]:
    """(quantity, net price) of each order: whole lots, own crossings taken out lot by lot."""
    n = orders.count
    net = [
        int(p) - (c.grid_fee_micro_per_kwh if s == 1 else 0) for p, s in zip(orders.price_micro_per_kwh, orders.side, strict=True)
    ]
    left = [int(q) // c.lot_wh * c.lot_wh for q in orders.quantity_wh]
    while c.self_trade == "prevent":
        pairs = [
            ((-net[b], orders.time[b], orders.id[b]), (net[a], orders.time[a], orders.id[a]), b, a)
            for b in range(n)
            for a in range(n)
            if orders.side[b] == 1 and orders.side[a] == -1 and orders.participant[a] == orders.participant[b]
            if left[a] and left[b] and net[b] >= net[a]
        ]
        if not pairs:
            break
        _, _, b, a = min(pairs)
        left[b] -= c.lot_wh
        left[a] -= c.lot_wh
    return left, net


def twin_clear(orders: Orders, c: Conventions) -> tuple[int | None, list[int], list[int]]:
    """(price, fills, payments)."""
    n = orders.count
    quantity, net = twin_terms(orders, c)
    buys = [i for i in range(n) if orders.side[i] == 1 and quantity[i]]
    sells = [i for i in range(n) if orders.side[i] == -1 and quantity[i]]

    def bid_at(p: int) -> int:
        return sum(quantity[i] for i in buys if net[i] >= p)

    def asked_at(p: int) -> int:
        return sum(quantity[i] for i in sells if net[i] <= p)

    levels = sorted({net[i] for i in buys + sells})
    volume = max((min(bid_at(p), asked_at(p)) for p in levels), default=0)
    filled = [0] * n
    if volume == 0:
        return None, filled, [0] * n
    balanced = [p for p in levels if bid_at(p + 1) <= volume <= bid_at(p) and asked_at(p - 1) <= volume <= asked_at(p)]
    low, high = min(balanced), max(balanced)
    for own, best_first in ((buys, sorted({net[i] for i in buys}, reverse=True)), (sells, sorted({net[i] for i in sells}))):
        remaining = volume
        for p in best_first:
            level = [i for i in own if net[i] == p]
            take = min(remaining, sum(quantity[i] for i in level))
            for i, energy in zip(level, twin_share(orders, quantity, level, take, c), strict=True):
                filled[i] = energy
            remaining -= take
    last_bid = min(net[i] for i in buys if filled[i])
    last_ask = max(net[i] for i in sells if filled[i])
    between = (low, high) if c.price_between == "supporting" else (last_ask, last_bid)
    price = between[0] + int((between[1] - between[0]) * c.k)
    if c.scarcity_price_micro_per_kwh is not None:
        short_bids = [i for i in buys if filled[i] < quantity[i] and net[i] >= last_ask]
        short_asks = [i for i in sells if filled[i] < quantity[i] and net[i] <= last_bid]
        sold_out = all(filled[i] == quantity[i] for i in sells)
        bought_out = all(filled[i] == quantity[i] for i in buys)
        if (sold_out and short_bids) or (bought_out and short_asks):
            price = sorted((low, c.scarcity_price_micro_per_kwh, high))[1]
    fee = c.grid_fee_micro_per_kwh
    pay = [filled[i] * (price + fee) if orders.side[i] == 1 else -filled[i] * price for i in range(n)]
    return price, filled, pay


def twin_share(orders: Orders, quantity: list[int], level: list[int], take: int, c: Conventions) -> list[int]:
    """Energy of each order of one level."""
    if c.tie == "lot":
        keys = lot_keys(orders.id, c.seed)
        line = sorted(level, key=lambda i: int(keys[i]))
    else:
        line = sorted(level, key=lambda i: (int(orders.time[i]), int(orders.id[i])))
    got = dict.fromkeys(level, 0)
    if c.tie == "pro_rata":
        whole = sum(quantity[i] for i in level)
        lots = {i: Fraction(quantity[i] * take, whole * c.lot_wh) if whole else Fraction(0) for i in level}
        for i in level:
            got[i] = int(lots[i]) * c.lot_wh
        by_remainder = sorted(line, key=lambda i: int(lots[i]) - lots[i])
        for i in by_remainder[: (take - sum(got.values())) // c.lot_wh]:
            got[i] += c.lot_wh
    else:
        for i in line:
            while got[i] < quantity[i] and sum(got.values()) < take:
                got[i] += c.lot_wh
    return [got[i] for i in level]


@settings(max_examples=400, deadline=None)
@given(BOOKS, conventions())
def test_uniform_equals_its_slow_twin(orders: Orders, chosen: Conventions) -> None:
    done = clear(orders, chosen)
    price, filled, pay = twin_clear(orders, chosen)
    assert done.price_micro_per_kwh == price
    assert done.filled_wh.tolist() == filled
    assert done.pay_nano.tolist() == pay


def highs_welfare(orders: Orders) -> float:
    """Largest welfare by linear programming: maximise sum side * price * x, bought = sold, 0 <= x <= quantity."""
    solver = make_solver()
    n = orders.count
    for quantity in orders.quantity_wh.tolist():
        solver.addVar(0.0, float(quantity))
    for row, (side, price) in enumerate(zip(orders.side.tolist(), orders.price_micro_per_kwh.tolist(), strict=True)):
        solver.changeColCost(row, -float(side * price))
    solver.addRow(0.0, 0.0, n, np.arange(n, dtype=np.int32), orders.side.astype(np.float64))
    solver.run()
    return -float(solver.getInfo().objective_function_value)


@settings(max_examples=60, deadline=None)
@given(BOOKS)
def test_welfare_is_that_of_a_linear_program(orders: Orders) -> None:
    if orders.count == 0:
        return
    done = clear(orders, Conventions())
    reached = int((done.filled_wh * orders.price_micro_per_kwh * orders.side).sum())
    best = best_welfare_nano(orders.side.tolist(), orders.price_micro_per_kwh.tolist(), orders.quantity_wh.tolist())
    assert reached == best == round(highs_welfare(orders))
