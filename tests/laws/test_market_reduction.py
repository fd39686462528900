"""McAfee, trade reduction and SBBA keep what they claim, equal their slow twins, and cannot be gamed by price."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from laws.books import books, conventions, nasty_books, unit_books
from walras.errors import RangeError
from walras.market.clearing import welfare_nano
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws, best_welfare_nano, check_price_truthful
from walras.market.mcafee import MCAFEE
from walras.market.mechanism import Mechanism
from walras.market.orders import BUY, SELL, Orders, make_orders
from walras.market.reduction import take_equal_losses
from walras.market.sbba import SBBA
from walras.market.terms import lot_keys
from walras.market.trade_reduction import TRADE_REDUCTION
from walras.market.uniform import UNIFORM

FAMILY = pytest.mark.parametrize("mechanism", [MCAFEE, TRADE_REDUCTION, SBBA], ids=lambda m: m.name)


@FAMILY
@settings(max_examples=200, deadline=None)
@given(nasty_books(), conventions())
def test_the_claims_hold_on_nasty_books(mechanism: Mechanism, orders: Orders, chosen: Conventions) -> None:
    try:
        mechanism.clear(orders, chosen)
    except RangeError:
        return  # refused by name: money or energy beyond int64
    assert_laws(mechanism, orders, chosen)


@FAMILY
@settings(max_examples=60, deadline=None)
@given(st.one_of(books(max_orders=8, participants=None), books(max_orders=8, participants=6)), conventions())
def test_no_single_order_gains_by_any_price_around_any_limit(mechanism: Mechanism, orders: Orders, chosen: Conventions) -> None:
    assume(chosen.self_trade == "allow")
    assert_laws(mechanism, orders, chosen, truthful_tries=10_000)


@FAMILY
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([1, -1]), st.integers(1, 3), st.integers(0, 5), st.integers(0, 1)), min_size=2, max_size=6),
    st.sampled_from([1, 2]),
)
def test_no_price_at_all_gains_in_tiny_books(mechanism: Mechanism, rows: list[tuple[int, int, int, int]], lot: int) -> None:
    side, quantity, price, time = (list(column) for column in zip(*rows, strict=True))
    chosen = Conventions(lot_wh=lot, tie="time")
    honest = mechanism.clear(make_orders(side, quantity, price, time=time), chosen)
    for row in range(len(rows)):
        truth = side[row] * price[row] * int(honest.filled_wh[row]) - int(honest.pay_nano[row])
        for lie in range(-1, 7):
            reported = [lie if r == row else p for r, p in enumerate(price)]
            done = mechanism.clear(make_orders(side, quantity, reported, time=time), chosen)
            assert side[row] * price[row] * int(done.filled_wh[row]) - int(done.pay_nano[row]) <= truth


def test_the_search_would_find_a_gain_where_there_is_one() -> None:
    book = make_orders([1, 1, -1, -1], [5, 5, 5, 5], [9, 8, 1, 2])
    assert check_price_truthful(UNIFORM, book, Conventions())


def test_understating_a_quantity_can_pay_so_only_prices_are_claimed() -> None:
    book = make_orders([1, 1, 1, -1, -1], [100, 100, 100, 190, 5], [100, 90, 10, 1, 2])
    shaded = make_orders([1, 1, 1, -1, -1], [94, 100, 100, 190, 5], [100, 90, 10, 1, 2])
    honest, lie = (TRADE_REDUCTION.clear(b, Conventions()) for b in (book, shaded))
    assert 100 * int(lie.filled_wh[0]) - int(lie.pay_nano[0]) > 100 * int(honest.filled_wh[0]) - int(honest.pay_nano[0])


def _unit_twin(name: str, bids: list[int], asks: list[int]) -> tuple[int, int | None, int | None]:
    """(pairs, buyers pay, sellers get) of the textbook's unit-demand rules, straight from their statements."""
    b, s = sorted(bids, reverse=True), sorted(asks)
    k = sum(1 for x, y in zip(b, s, strict=False) if x >= y)
    if k == 0:
        return 0, None, None
    inside = k < len(b) and k < len(s)
    if name == "mcafee" and inside and s[k - 1] <= (b[k] + s[k]) // 2 <= b[k - 1]:
        return k, (b[k] + s[k]) // 2, (b[k] + s[k]) // 2
    if name == "sbba":
        if k < len(s) and s[k] <= b[k - 1]:
            return k, s[k], s[k]
        return k - 1, b[k - 1], b[k - 1]
    return k - 1, b[k - 1], s[k - 1]


@FAMILY
@settings(max_examples=150, deadline=None)
@given(unit_books(max_orders=12))
def test_equal_lots_give_the_textbook_rule(mechanism: Mechanism, orders: Orders) -> None:
    bids = orders.price_micro_per_kwh[orders.side == BUY].tolist()
    asks = orders.price_micro_per_kwh[orders.side == SELL].tolist()
    pairs, buyers_pay, sellers_get = _unit_twin(mechanism.name, bids, asks)
    done = mechanism.clear(orders, Conventions())
    assert int(done.filled_wh[orders.side == BUY].sum()) == pairs
    for side, price in ((BUY, buyers_pay), (SELL, sellers_get)):
        rows = (orders.side == side) & (done.filled_wh > 0)
        assert set((done.pay_nano[rows] * side).tolist()) <= {price}


def _many_unit_twin(name: str, orders: Orders, chosen: Conventions) -> dict[int, tuple[int, int]]:
    """{id: (filled, paid)} by walking the book order by order, with the equal losses found one lot at a time."""
    lot, fee = chosen.lot_wh, chosen.grid_fee_micro_per_kwh
    rows = [
        (
            int(orders.side[r]),
            int(orders.price_micro_per_kwh[r]),
            int(orders.time[r]),
            int(orders.id[r]),
            int(orders.quantity_wh[r]) // lot,
        )
        for r in range(orders.count)
    ]
    bids = sorted((-(p - fee), t, i, q) for s, p, t, i, q in rows if s == BUY and q)
    asks = sorted((p, t, i, q) for s, p, t, i, q in rows if s == SELL and q)
    result = {i: (0, 0) for _, _, _, i, _ in rows}
    demand = [(-p, i) for p, _, i, q in bids for _ in range(q)]
    supply = [(p, i) for p, _, i, q in asks for _ in range(q)]
    volume = sum(1 for b, a in zip(demand, supply, strict=False) if b[0] >= a[0])
    if volume == 0:
        return result
    last_bid, last_ask = demand[volume - 1], supply[volume - 1]
    next_bid = demand[volume] if volume < len(demand) else None
    next_ask = supply[volume] if volume < len(supply) else None
    demand_long = next_bid is not None and next_bid[1] == last_bid[1]
    supply_long = next_ask is not None and next_ask[1] == last_ask[1]
    left_out, pay, get = {last_bid[1], last_ask[1]}, last_bid[0], last_ask[0]
    if name == "mcafee" and not demand_long and not supply_long and next_bid and next_ask:
        middle = (next_bid[0] + next_ask[0]) // 2
        if last_ask[0] <= middle <= last_bid[0]:
            left_out, pay, get = set(), middle, middle
    if name == "sbba":
        if supply_long:
            left_out, pay, get = {last_ask[1]}, last_ask[0], last_ask[0]
        elif not demand_long and next_ask and next_ask[0] <= last_bid[0]:
            left_out, pay, get = set(), next_ask[0], next_ask[0]
        else:
            left_out, pay, get = {last_bid[1]}, last_bid[0], last_bid[0]
    sides = []
    for units, book in ((demand, bids), (supply, asks)):
        reached = {i for _, i in units[:volume]} - left_out
        sides.append({i: q for _, _, i, q in book if i in reached})
    target = min(sum(side.values()) for side in sides)
    for shares, price in zip(sides, (pay + fee, -get), strict=True):
        while (whole := sum(shares.values())) > target:
            alive = [i for i, q in shares.items() if q > 0]
            if whole - target < len(alive):
                keys = lot_keys(np.array(alive, dtype=np.int64), chosen.seed)
                alive = [alive[j] for j in np.argsort(keys)[: whole - target]]
            for i in alive:
                shares[i] -= 1
        for i, q in shares.items():
            result[i] = (q * lot, q * lot * price)
    return result


@FAMILY
@settings(max_examples=200, deadline=None)
@given(books(st.integers(0, 9), max_orders=12), conventions())
def test_fast_equals_the_walk_through_the_book(mechanism: Mechanism, orders: Orders, chosen: Conventions) -> None:
    assume(chosen.self_trade == "allow" and chosen.tie != "lot" and chosen.lot_wh < 10)
    done = mechanism.clear(orders, chosen)
    got = {i: (f, p) for i, f, p in zip(orders.id.tolist(), done.filled_wh.tolist(), done.pay_nano.tolist(), strict=True)}
    assert got == _many_unit_twin(mechanism.name, orders, chosen)


@FAMILY
def test_the_welfare_given_up_vanishes_as_the_market_grows(mechanism: Mechanism) -> None:
    rng = np.random.default_rng(7)
    lost = []
    for n in (40, 400, 4_000):
        book = make_orders(rng.choice([1, -1], n), rng.integers(500, 1_500, n), rng.integers(50_000, 400_000, n))
        best = best_welfare_nano(book.side.tolist(), book.price_micro_per_kwh.tolist(), book.quantity_wh.tolist())
        lost.append(1 - welfare_nano(book, mechanism.clear(book, Conventions())) / best)
    assert lost[2] < lost[0] / 10
    assert lost[2] < 0.002


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.data())
def test_equal_losses_are_equal_up_to_a_lot(quantities: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(quantities)))
    assume(any(quantities))
    book = make_orders([1] * len(quantities), quantities, [0] * len(quantities))
    fills = np.array(quantities, dtype=np.int64)
    loss = take_equal_losses(book, fills, BUY, total, Conventions())
    assert int(fills.sum()) == total
    for before, after in zip(quantities, fills.tolist(), strict=True):
        assert after in {max(before - loss, 0), max(before - loss - 1, 0)}


def test_a_million_equal_lots_reduce_by_one_pair() -> None:
    n = 1_000_000
    side = np.where(np.arange(n) % 2 == 0, 1, -1)
    book = make_orders(side, np.full(n, 10), np.full(n, 100_000))
    done = TRADE_REDUCTION.clear(book, Conventions())
    assert int(done.filled_wh[side == 1].sum()) == 10 * (n // 2 - 1)
    assert done.surplus_nano == 0
