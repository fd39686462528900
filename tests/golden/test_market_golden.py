"""Golden cases of the uniform auction, worked by hand, on the knife edge of each convention."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from walras.market.conventions import Conventions
from walras.market.orders import make_orders
from walras.market.uniform import clear

Row = tuple[int, int, int]

# (what it shows, (side, Wh, price) rows, conventions, price, fills)
CASES: list[tuple[str, list[Row], dict[str, Any], int | None, list[int]]] = [
    (
        "a losing bid bounds the price from below",
        [(1, 10, 300), (1, 10, 250), (-1, 10, 100)],
        {"k": Fraction(0)},
        250,
        [10, 0, 10],
    ),
    (
        "unless only marginal orders bound it",
        [(1, 10, 300), (1, 10, 250), (-1, 10, 100)],
        {"k": Fraction(0), "price_between": "marginal_orders"},
        100,
        [10, 0, 10],
    ),
    ("a losing ask bounds it from above", [(1, 10, 300), (-1, 10, 100), (-1, 10, 150)], {"k": Fraction(1)}, 150, [10, 10, 0]),
    ("a bid filled in part sets the price", [(1, 10, 300), (-1, 4, 100)], {}, 300, [4, 4]),
    ("an ask filled in part sets the price", [(1, 4, 300), (-1, 10, 100)], {}, 100, [4, 4]),
    ("half of an odd interval rounds down", [(1, 5, 10), (-1, 5, 5)], {}, 7, [5, 5]),
    ("and down below zero too", [(1, 5, -2), (-1, 5, -5)], {}, -4, [5, 5]),
    ("equal bid and ask trade", [(1, 5, 8), (-1, 5, 8)], {}, 8, [5, 5]),
    ("one micro-unit apart they do not", [(1, 5, 7), (-1, 5, 8)], {}, None, [0, 0]),
    ("nothing offered is no order", [(1, 0, 300), (1, 5, 100), (-1, 0, 1), (-1, 5, 90)], {"k": Fraction(1)}, 100, [0, 5, 0, 5]),
    ("dust goes to the earlier", [(1, 10, 9), (1, 10, 9), (1, 10, 9), (-1, 10, 1)], {}, 9, [4, 3, 3, 10]),
    ("the largest remainder comes before the earlier", [(1, 1, 9), (1, 2, 9), (-1, 2, 1)], {}, 9, [1, 1, 2]),
    ("by time the first takes all", [(1, 10, 9), (1, 10, 9), (-1, 12, 1)], {"tie": "time"}, 9, [10, 2, 12]),
    ("lots leave the remainder", [(1, 25, 9), (-1, 19, 1)], {"lot_wh": 10}, 9, [10, 10]),
    ("the fee parts what nearly crossed", [(1, 5, 10), (-1, 5, 6)], {"grid_fee_micro_per_kwh": 5}, None, [0, 0]),
    ("a fee of the whole gap still trades", [(1, 5, 10), (-1, 5, 6)], {"grid_fee_micro_per_kwh": 4}, 6, [5, 5]),
    (
        "short supply goes to the scarcity price",
        [(1, 5, 300), (1, 5, 200), (-1, 5, 100)],
        {"scarcity_price_micro_per_kwh": 290},
        290,
        [5, 0, 5],
    ),
    (
        "as far as the interval allows",
        [(1, 5, 300), (1, 5, 200), (-1, 5, 100)],
        {"scarcity_price_micro_per_kwh": 999},
        300,
        [5, 0, 5],
    ),
    (
        "a bid at the last ask goes short",
        [(1, 5, 300), (1, 5, 100), (-1, 5, 100)],
        {"scarcity_price_micro_per_kwh": 280},
        280,
        [5, 0, 5],
    ),
    ("a bid below it does not", [(1, 5, 300), (1, 5, 99), (-1, 5, 100)], {"scarcity_price_micro_per_kwh": 280}, 200, [5, 0, 5]),
    (
        "short demand goes to it as well",
        [(1, 5, 300), (-1, 5, 100), (-1, 5, 200)],
        {"scarcity_price_micro_per_kwh": 0},
        100,
        [5, 5, 0],
    ),
    (
        "an ask at the last bid goes short",
        [(1, 5, 300), (-1, 5, 100), (-1, 5, 300)],
        {"scarcity_price_micro_per_kwh": 120},
        120,
        [5, 5, 0],
    ),
    ("in balance there is no scarcity", [(1, 5, 300), (-1, 5, 100)], {"scarcity_price_micro_per_kwh": 999}, 200, [5, 5]),
]


@pytest.mark.parametrize(("shows", "rows", "chosen", "price", "fills"), CASES, ids=[case[0] for case in CASES])
def test_worked_case(shows: str, rows: list[Row], chosen: dict[str, Any], price: int | None, fills: list[int]) -> None:
    done = clear(make_orders(*zip(*rows, strict=True)), Conventions(**chosen))
    assert done.price_micro_per_kwh == price
    assert done.filled_wh.tolist() == fills


def test_a_participant_nets_its_own_crossing_first() -> None:
    """Ann's bid of 300 and her ask of 100 cancel 10 Wh; what is left of her bid buys from Bob."""
    book = make_orders([1, -1, -1], [15, 10, 20], [300, 100, 200], participant=[1, 1, 2])
    open_book = clear(book, Conventions())
    netted = clear(book, Conventions(self_trade="prevent"))
    assert open_book.filled_wh.tolist() == [15, 10, 5]
    assert netted.filled_wh.tolist() == [5, 0, 5]
    assert netted.certificate["netted_wh"] == 10


def test_the_lot_is_the_same_for_the_same_seed_and_differs_between_seeds() -> None:
    book = make_orders([1] * 20 + [-1], [1] * 20 + [7], [5] * 21)
    drawn = [clear(book, Conventions(tie="lot", seed=seed)).filled_wh.tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sum(drawn[0]) == 14
