"""Bilateral rules keep their laws and equal their slow twins."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, conventions, nasty_books
from walras.errors import InputError, RangeError
from walras.market import posted, random_pairs, rfq
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.draws import draw
from walras.market.laws import assert_laws, check_no_crossing
from walras.market.mechanism import Mechanism, run
from walras.market.orders import BUY, Orders, make_orders
from walras.market.posted import POSTED
from walras.market.random_pairs import RANDOM_PAIRS
from walras.market.rfq import RFQ, sample
from walras.market.terms import lot_keys, terms

CASES: list[tuple[Mechanism, dict[str, object]]] = [
    (POSTED, {}),
    (POSTED, {"posted": {"by": "buy"}}),
    (RFQ, {}),
    (RFQ, {"rfq": {"quotes": 1}}),
    (RFQ, {"rfq": {"quotes": 99}}),
    (RANDOM_PAIRS, {}),
]


@pytest.mark.parametrize(("mechanism", "extra"), CASES)
@settings(max_examples=120, deadline=None)
@given(nasty_books(), conventions())
def test_bilateral_rules_keep_their_laws_on_nasty_books(
    mechanism: Mechanism, extra: dict[str, object], orders: Orders, chosen: Conventions
) -> None:
    try:
        run(mechanism, orders, chosen, None, extra)
    except RangeError:
        return
    assert_laws(mechanism, orders, chosen, None, extra)


def trades_of(clearing: Clearing) -> list[tuple[int, ...]]:
    t = clearing.trades
    assert t is not None
    return list(zip(t.buy.tolist(), t.sell.tolist(), t.energy_wh.tolist(), t.price_micro_per_kwh.tolist(), strict=True))


@settings(max_examples=150, deadline=None)
@given(books(max_orders=25), st.integers(0, 5), st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1)]))
def test_random_pairs_equal_a_list_of_willing_sellers(orders: Orders, seed: int, k: Fraction) -> None:
    chosen = Conventions(seed=seed, k=k)
    left = orders.quantity_wh.tolist()
    price = orders.price_micro_per_kwh.tolist()
    buyers = sorted((r for r in range(orders.count) if orders.side[r] == BUY and left[r]), key=lambda r: key_of(orders, r, seed))
    expected = []
    for bid in buyers:
        tries = 0
        while left[bid]:
            sellers = [r for r in range(orders.count) if orders.side[r] != BUY and left[r] and price[r] <= price[bid]]
            if not sellers:
                break
            sellers.sort(key=lambda r: (price[r], orders.id[r]))
            ask = sellers[int(draw(np.uint64(key_of(orders, bid, seed)), tries, len(sellers)))]
            tries += 1
            energy = min(left[bid], left[ask])
            left[bid] -= energy
            left[ask] -= energy
            expected.append((bid, ask, energy, price[ask] + int(k * (price[bid] - price[ask]))))
    assert trades_of(random_pairs.clear(orders, chosen)) == expected


def key_of(orders: Orders, row: int, seed: int) -> int:
    return int(lot_keys(orders.id[row : row + 1], seed)[0])


@settings(max_examples=150, deadline=None)
@given(books(max_orders=25), conventions(), st.booleans())
def test_posted_offers_equal_a_walk_past_every_shop(orders: Orders, chosen: Conventions, sellers_post: bool) -> None:
    book = terms(orders, chosen)
    left, price = book.quantity_wh.tolist(), book.price_micro_per_kwh.tolist()
    posting = -1 if sellers_post else 1
    keys = {
        r: key_of(orders, r, chosen.seed) if chosen.tie == "lot" else (orders.time[r], orders.id[r]) for r in range(orders.count)
    }
    expected = []
    for taker in sorted((r for r in range(orders.count) if orders.side[r] == -posting), key=lambda r: keys[r]):
        shops = [r for r in range(orders.count) if orders.side[r] == posting]
        for shop in sorted(shops, key=lambda r: (-posting * price[r], orders.time[r], orders.id[r])):
            energy = min(left[taker], left[shop])
            if energy and (price[taker] - price[shop]) * -posting >= 0:
                left[taker] -= energy
                left[shop] -= energy
                expected.append(((taker, shop) if sellers_post else (shop, taker)) + (energy, price[shop]))
    done = posted.clear(orders, chosen, extra={"posted": {"by": "sell" if sellers_post else "buy"}})
    assert trades_of(done) == expected


@settings(max_examples=150, deadline=None)
@given(books(max_orders=25), conventions())
def test_asking_everyone_for_a_quote_is_a_posted_offer_market(orders: Orders, chosen: Conventions) -> None:
    everyone = rfq.clear(orders, chosen, extra={"rfq": {"quotes": 10**6}})
    assert trades_of(everyone) == trades_of(posted.clear(orders, chosen))
    assert check_no_crossing(orders, everyone, chosen) == []


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 40), st.integers(1, 50))
def test_a_sample_is_of_different_sellers(key: int, size: int, wanted: int) -> None:
    cards = sample(np.uint64(key), size, wanted)
    assert len(cards) == len(set(cards)) == min(size, wanted)
    assert all(0 <= card < size for card in cards)


def test_draws_are_even_and_the_same_everywhere() -> None:
    numbers = [int(draw(np.uint64(42), k, 6)) for k in range(6_000)]
    assert numbers[:8] == [_plain_draw(42, k, 6) for k in range(8)]
    counts = np.bincount(numbers, minlength=6)
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 20.5  # chi-square, 5 degrees of freedom, 0.1 %


def _plain_draw(key: int, count: int, bound: int) -> int:
    z = (key + 0x9E3779B97F4A7C15 * (count + 1)) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return (z ^ (z >> 31)) % bound


def test_every_willing_pair_is_equally_likely_for_one_buyer() -> None:
    met = [0, 0, 0, 0]
    for seed in range(2_000):
        orders = make_orders([1, -1, -1, -1, -1], [1, 1, 1, 1, 1], [30, 10, 20, 30, 40])
        done = random_pairs.clear(orders, Conventions(seed=seed))
        for row in range(4):
            met[row] += int(done.filled_wh[row + 1])
    assert met[3] == 0
    assert sum(met) == 2_000
    assert all(abs(count - 2_000 / 3) < 100 for count in met[:3])


def test_a_bad_part_of_the_book_is_named() -> None:
    orders = make_orders([1], [1], [1])
    for mechanism, extra, fields in (
        (POSTED, {"posted": {"by": "both", "at": 1}}, {"by", "at"}),
        (POSTED, {"posted": 3}, {"posted"}),
        (RFQ, {"rfq": {"quotes": 0, "x": 1}}, {"quotes", "x"}),
        (RFQ, {"rfq": [1]}, {"rfq"}),
    ):
        with pytest.raises(InputError) as refused:
            run(mechanism, orders, Conventions(), None, extra)
        assert {fault.field for fault in refused.value.faults} == fields
