"""The misreport search finds the gains that theory says are there, and none where theory says there are none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, unit_books
from walras.errors import ClearingError, InputError
from walras.market.book import play_book
from walras.market.clearing import Clearing
from walras.market.comparison import compare, gini, opening_extras
from walras.market.conventions import Conventions
from walras.market.game import best_misreport, utility_nano, value_nano
from walras.market.laws import assert_laws, best_welfare_nano, check_truthful
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import Orders, make_orders
from walras.market.pay_as_bid import PAY_AS_BID
from walras.market.registry import MECHANISMS
from walras.market.uniform import UNIFORM, clear


@settings(max_examples=60, deadline=None)
@given(unit_books(8), st.sampled_from([(0, 1), (1, -1)]))
def test_at_the_end_of_the_interval_the_other_side_has_nothing_to_gain(orders: Orders, case: tuple[int, int]) -> None:
    """Satterthwaite and Williams: with k = 1 truth is dominant for a seller of one unit, with k = 0 for a buyer."""
    k, side = case
    for who in orders.participant[orders.side == side].tolist():
        found = best_misreport(UNIFORM, orders, Conventions(k=Fraction(k)), who, ways=("price", "quantity"), tries=10_000)
        assert found.gain_nano == 0, found


def one_unit_gains_by_brute_force(orders: Orders, chosen: Conventions, who: int) -> int:
    """The best gain over every whole price around the book."""
    (row,) = np.flatnonzero(orders.participant == who)
    limit, side = int(orders.price_micro_per_kwh[row]), int(orders.side[row])
    gains = []
    for price in range(int(orders.price_micro_per_kwh.min()) - 2, int(orders.price_micro_per_kwh.max()) + 3):
        lie = orders.price_micro_per_kwh.copy()
        lie[row] = price
        done = clear(
            make_orders(orders.side, orders.quantity_wh, lie, participant=orders.participant, id=orders.id, time=orders.time),
            chosen,
        )
        gains.append(side * limit * int(done.filled_wh[row]) - int(done.pay_nano[row]))
    honest = clear(orders, chosen)
    return max(gains) - (side * limit * int(honest.filled_wh[row]) - int(honest.pay_nano[row]))


@settings(max_examples=40, deadline=None)
@given(
    books(st.integers(1, 9), st.integers(0, 30), st.integers(0, 30), participants=None, max_orders=7),
    st.sampled_from([0, 1, 2]),
)
def test_the_search_over_prices_finds_what_brute_force_finds(orders: Orders, twice_k: int) -> None:
    chosen = Conventions(k=Fraction(twice_k, 2))
    for who in orders.participant.tolist():
        found = best_misreport(UNIFORM, orders, chosen, who, ways=("price",), tries=10_000)
        assert found.gain_nano == max(one_unit_gains_by_brute_force(orders, chosen, who), 0)


def best_use_by_enumeration(side: list[int], price: list[int], quantity: list[int], net: int) -> int | None:
    """Every division of the position among the orders."""
    best: int | None = None
    for fills in np.ndindex(*(q + 1 for q in quantity)):
        if sum(s * f for s, f in zip(side, fills, strict=True)) == net:
            worth = sum(s * p * f for s, p, f in zip(side, price, fills, strict=True))
            best = worth if best is None else max(best, worth)
    return best


ROWS = st.lists(st.tuples(st.sampled_from([1, -1]), st.integers(-4, 9), st.integers(0, 3)), max_size=4)


@settings(max_examples=300, deadline=None)
@given(ROWS, st.integers(-8, 8))
def test_a_position_is_worth_its_best_use(rows: list[tuple[int, int, int]], net: int) -> None:
    side, price, quantity = ([row[c] for row in rows] for c in range(3))
    assert value_nano(side, price, quantity, net) == best_use_by_enumeration(side, price, quantity, net)


def test_holding_back_pays_when_it_moves_the_price() -> None:
    """A seller of two units sells one at 20 instead of two at 10 (k = 1: the price is the last filled bid)."""
    book = make_orders([1, 1, -1], [1000, 1000, 2000], [20, 10, 0])
    found = best_misreport(UNIFORM, book, Conventions(k=Fraction(1)), 2, ways=("quantity",))
    assert (found.honest_nano, found.gain_nano) == (20_000, 0)
    dear = make_orders([1, 1, -1], [1000, 1000, 2000], [30, 10, 0])
    found = best_misreport(UNIFORM, dear, Conventions(k=Fraction(1)), 2, ways=("quantity",))
    assert (found.honest_nano, found.gain_nano, found.how) == (20_000, 10_000, "order 2 for 1000 instead of 2000 Wh")


def test_splitting_pays_where_equals_share_by_head() -> None:
    """A rule that gives every order at the margin the same, whatever its size, is gamed by identities."""

    def by_head(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
        ask = int(orders.quantity_wh[orders.side == -1].sum())
        bids = np.flatnonzero(orders.side == 1)
        filled = np.where(orders.side == 1, np.minimum(orders.quantity_wh, ask // bids.size), 0)
        sold = int(filled.sum())
        filled[np.flatnonzero(orders.side == -1)[0]] = sold
        return Clearing("by_head", filled, filled * orders.side * 10, 10)

    rule = Mechanism("by_head", "", "", by_head, frozenset(), ())
    book = make_orders([1, 1, -1], [600, 600, 600], [30, 30, 0])
    found = best_misreport(rule, book, Conventions(), 0, ways=("split",))
    assert found.gain_nano > 0
    assert "identities" in found.how
    fair = best_misreport(UNIFORM, book, Conventions(), 0, ways=("split",), tries=10_000)
    assert fair.gain_nano == 0


def test_a_false_claim_of_truthfulness_is_found_out() -> None:
    liar = Mechanism("liar", "", "", PAY_AS_BID.clear, PAY_AS_BID.claims | {Claim.TRUTHFUL}, PAY_AS_BID.conventions)
    book = make_orders([1, 1, -1, -1], [500, 500, 500, 500], [300, 200, 100, 150])
    assert check_truthful(liar, book, Conventions())
    with pytest.raises(ClearingError, match="gains"):
        assert_laws(liar, book, Conventions(), truthful_tries=50)


def test_selling_what_is_not_there_is_no_way_to_gain() -> None:
    book = make_orders([1, -1], [1000, 400], [300, 100])
    greedy = make_orders([1, -1], [1000, 1000], [300, 100])
    assert utility_nano(book, 1, greedy, clear(greedy, Conventions()), frozenset({1})) is None


def test_an_unknown_way_to_lie_is_refused() -> None:
    with pytest.raises(InputError, match="bribe"):
        best_misreport(UNIFORM, make_orders([1], [1], [1]), Conventions(), 0, ways=("bribe",))


def test_the_audit_of_a_json_book_names_who_gains_and_how() -> None:
    orders = [
        {"id": "b", "participant": "ann", "side": "buy", "quantity_wh": 1000, "price_micro_per_kwh": 300},
        {"id": "s", "participant": "bob", "side": "sell", "quantity_wh": 1000, "price_micro_per_kwh": 100},
    ]
    result = play_book({"orders": orders}, "uniform")
    assert result["largest_gain_nano"] == 100_000
    assert result["claims_truthful"] is False
    people = result["misreports"]
    assert isinstance(people, list)
    assert [(p["participant"], p["honest_nano"], p["gain_nano"], p["how"]) for p in people] == [
        ("ann", 100_000, 100_000, "order b at 100 instead of 300"),
        ("bob", 100_000, 100_000, "order s at 300 instead of 100"),
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(books(max_orders=12), max_size=4), st.sampled_from([0, 7]))
def test_a_comparison_adds_up(drawn: list[Orders], fee: int) -> None:
    ticks = iter(range(10**6))
    chosen = Conventions(grid_fee_micro_per_kwh=fee)
    scores = compare([UNIFORM, PAY_AS_BID], drawn, chosen, clock=lambda: float(next(ticks)), lies_in=1, tries=10)
    for score in scores:
        assert score.welfare_nano == score.best_welfare_nano
        assert score.efficiency == 1.0
        assert score.surplus_nano == fee * score.volume_wh
        assert score.buyer_gain_nano + score.seller_gain_nano == score.welfare_nano
        assert score.seconds == score.books == len(drawn)
        assert 0 <= score.gini < 1
    traded = [
        best_welfare_nano(b.side.tolist(), (b.price_micro_per_kwh - fee * (b.side == 1)).tolist(), b.quantity_wh.tolist()) > 0
        for b in drawn
    ]
    assert all((score.largest_lie_nano is not None) == any(traded) for score in scores)


def test_the_stock_of_a_pool_counts_at_the_price_it_is_given() -> None:
    pool = MECHANISMS["constant_sum"]
    book = make_orders([1, -1], [200, 500], [250_000, 100_000])
    extras = opening_extras(1_000, 80_000, 300_000)
    expired, kept = (
        compare([pool], [book], Conventions(), clock=lambda: 0.0, extra_of=extras, stock_price_micro_per_kwh=worth)[0]
        for worth in (0, 190_000)
    )
    assert kept.inventory_wh == 300
    assert kept.welfare_nano - expired.welfare_nano == 300 * 190_000
    assert kept.welfare_nano == kept.buyer_gain_nano + kept.seller_gain_nano + kept.surplus_nano + 300 * 190_000


def test_gini_of_known_divisions() -> None:
    assert gini([]) == gini([0, 0]) == gini([5]) == 0.0
    assert gini([1, 3]) == 0.25
    assert gini([-5, 0, 0, 10]) == 0.75
