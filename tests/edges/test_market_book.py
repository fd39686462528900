"""The JSON book: its fixed format, and every way to get it wrong by name."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest

from walras.errors import ClearingError, InputError, RangeError
from walras.market.book import clear_book, describe_mechanisms, parse_book
from walras.market.conventions import Conventions
from walras.market.orders import make_orders
from walras.market.registry import MECHANISMS, mechanism_named
from walras.market.uniform import clear

Json = dict[str, Any]

BOOK: Json = {
    "conventions": {"k": 0.5},
    "orders": [
        {"id": "b1", "participant": "ann", "side": "buy", "quantity_wh": 1000, "price_micro_per_kwh": 300_000},
        {"id": "b2", "participant": "bob", "side": "buy", "quantity_wh": 500, "price_micro_per_kwh": 200_000, "time": 4},
        {"id": "s1", "participant": "cem", "side": "sell", "quantity_wh": 900, "price_micro_per_kwh": 100_000, "node": 0},
        {"id": "s2", "participant": "dia", "side": "sell", "quantity_wh": 800, "price_micro_per_kwh": 150_000},
    ],
}


def test_a_book_clears_to_the_fixed_format() -> None:
    assert clear_book(BOOK, "uniform") == {
        "mechanism": "uniform",
        "price_micro_per_kwh": 150_000,
        "volume_wh": 1500,
        "welfare_nano": 1000 * 300_000 + 500 * 200_000 - 900 * 100_000 - 600 * 150_000,
        "surplus_nano": 0,
        "fills": [
            {"id": "b1", "filled_wh": 1000, "pay_nano": 150_000_000},
            {"id": "b2", "filled_wh": 500, "pay_nano": 75_000_000},
            {"id": "s1", "filled_wh": 900, "pay_nano": -135_000_000},
            {"id": "s2", "filled_wh": 600, "pay_nano": -90_000_000},
        ],
    }


def test_where_prices_differ_each_fill_carries_its_own_and_pairs_are_listed() -> None:
    result = clear_book(BOOK, "pay_as_bid")
    assert result["price_micro_per_kwh"] is None
    assert result["trades"] == [
        {"buy": "b1", "sell": "s1", "wh": 900, "price_micro_per_kwh": 200_000},
        {"buy": "b1", "sell": "s2", "wh": 100, "price_micro_per_kwh": 225_000},
        {"buy": "b2", "sell": "s2", "wh": 500, "price_micro_per_kwh": 175_000},
    ]
    fills = result["fills"]
    assert isinstance(fills, list)
    assert [fill["price_micro_per_kwh"] for fill in fills] == [202_500, 175_000, 200_000, pytest.approx(550_000 / 3, abs=1)]


def test_a_result_is_plain_json() -> None:
    for name in MECHANISMS:
        if not mechanism_named(name).extra and not mechanism_named(name).order_extra:
            assert json.loads(json.dumps(clear_book(BOOK, name)))["mechanism"] == name


@pytest.mark.parametrize("orders", [[], BOOK["orders"][:2], BOOK["orders"][2:]], ids=["empty", "bids only", "asks only"])
def test_no_crossing_is_an_empty_clearing_not_an_error(orders: list[Json]) -> None:
    result = clear_book({"orders": orders}, "uniform")
    assert result["price_micro_per_kwh"] is None
    assert result["volume_wh"] == 0
    fills = result["fills"]
    assert isinstance(fills, list)
    assert [f["filled_wh"] for f in fills] == [0] * len(orders)


def test_the_sequence_of_the_file_does_not_matter() -> None:
    turned = {**BOOK, "orders": BOOK["orders"][::-1]}
    first, second = clear_book(BOOK, "uniform"), clear_book(turned, "uniform")
    assert first["fills"] == second["fills"][::-1]  # type: ignore[index]


def test_whole_numbers_serve_as_ids_and_come_back_as_they_were() -> None:
    book = copy.deepcopy(BOOK)
    for number, order in enumerate(book["orders"]):
        order["id"] = 10**30 + number
    fills = clear_book(book, "uniform")["fills"]
    assert isinstance(fills, list)
    assert fills[3]["id"] == 10**30 + 3


BAD_VALUES: list[tuple[str, object]] = [
    ("quantity_wh", -1),
    ("quantity_wh", 10**12 + 1),
    ("quantity_wh", 2**63),
    ("quantity_wh", 1.5),
    ("quantity_wh", math.nan),
    ("quantity_wh", math.inf),
    ("quantity_wh", True),
    ("quantity_wh", "1000"),
    ("quantity_wh", None),
    ("quantity_wh", [1]),
    ("price_micro_per_kwh", 10**9 + 1),
    ("price_micro_per_kwh", -(10**9) - 1),
    ("price_micro_per_kwh", 0.5),
    ("price_micro_per_kwh", math.nan),
    ("price_micro_per_kwh", False),
    ("price_micro_per_kwh", "0.30"),
    ("price_micro_per_kwh", None),
    ("side", "BUY"),
    ("side", 1),
    ("side", None),
    ("id", None),
    ("id", ""),
    ("id", True),
    ("id", 1.0),
    ("participant", None),
    ("participant", {}),
    ("time", 2**63),
    ("time", 0.1),
    ("time", None),
    ("time", "now"),
    ("node", -1),
    ("node", "bus 1"),
    ("node", None),
]


@pytest.mark.parametrize(("field", "value"), BAD_VALUES, ids=[f"{f}={v!r}" for f, v in BAD_VALUES])
def test_a_bad_value_is_named_with_order_and_field(field: str, value: object) -> None:
    book = copy.deepcopy(BOOK)
    book["orders"][1][field] = value
    with pytest.raises(InputError) as caught:
        clear_book(book, "uniform")
    (fault,) = caught.value.faults
    assert fault.field == field
    assert fault.where == ("order row 1" if field == "id" else "order 'b2'")


@pytest.mark.parametrize("field", ["id", "participant", "side", "quantity_wh", "price_micro_per_kwh"])
def test_a_missing_field_is_named(field: str) -> None:
    book = copy.deepcopy(BOOK)
    del book["orders"][1][field]
    with pytest.raises(InputError) as caught:
        clear_book(book, "uniform")
    assert [fault.field for fault in caught.value.faults] == [field]


BAD_CONVENTIONS: list[tuple[str, object]] = [
    ("k", -0.01),
    ("k", 1.01),
    ("k", math.nan),
    ("k", "half"),
    ("k", None),
    ("k", True),
    ("price_between", "middle"),
    ("tie", "random"),
    ("tie", ["time"]),
    ("seed", -1),
    ("seed", 2**64),
    ("seed", 0.5),
    ("self_trade", True),
    ("lot_wh", 0),
    ("lot_wh", 1.5),
    ("lot_wh", 10**13),
    ("scarcity_price_micro_per_kwh", 10**10),
    ("scarcity_price_micro_per_kwh", "high"),
    ("grid_fee_micro_per_kwh", -1),
    ("grid_fee_micro_per_kwh", True),
    ("midpoint", True),
]


@pytest.mark.parametrize(("field", "value"), BAD_CONVENTIONS, ids=[f"{f}={v!r}" for f, v in BAD_CONVENTIONS])
def test_an_impossible_convention_is_named(field: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        clear_book({**BOOK, "conventions": {field: value}}, "uniform")
    assert [fault.field for fault in caught.value.faults] == [field]


def test_every_fault_is_reported_at_once() -> None:
    book = copy.deepcopy(BOOK)
    book["orders"][0]["quantity_wh"] = -5
    book["orders"][1] |= {"id": "b1", "side": "give", "colour": "green"}
    book["orders"][2] = "an order"
    book["conventions"] = {"k": 7, "tie": "coin"}
    book["comment"] = "hello"
    with pytest.raises(InputError) as caught:
        clear_book(book, "uniform")
    assert [(fault.where, fault.field) for fault in caught.value.faults] == [
        ("book", "comment"),
        ("conventions", "k"),
        ("conventions", "tie"),
        ("order 'b1'", "quantity_wh"),
        ("order row 1", "id"),
        ("order 'b1'", "side"),
        ("order 'b1'", "colour"),
        ("order row 2", "order"),
    ]


@pytest.mark.parametrize("orders", [None, {}, "orders", 3])
def test_orders_must_be_a_list(orders: object) -> None:
    with pytest.raises(InputError, match="a list of orders"):
        clear_book({"orders": orders}, "uniform")


def test_conventions_must_be_an_object() -> None:
    with pytest.raises(InputError, match="an object"):
        clear_book({**BOOK, "conventions": [1]}, "uniform")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "12", '{"orders": [], "orders": []}', '{"orders": [{"id": 1, "id": 2}]}'])
def test_a_text_that_is_no_book_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_book(text)


def test_an_unknown_mechanism_lists_those_there_are() -> None:
    with pytest.raises(ClearingError, match="uniform"):
        clear_book(BOOK, "vickery")


def test_the_list_describes_every_mechanism() -> None:
    listed = describe_mechanisms()
    assert [row["name"] for row in listed] == list(MECHANISMS)
    assert all(row["title"] and row["reference"] and row["claims"] is not None for row in listed)


def test_energy_beyond_int64_is_refused_by_name() -> None:
    n = 10_000_000
    with pytest.raises(RangeError, match="quantity bid"):
        clear(make_orders(np.ones(n, np.int64), np.full(n, 10**12), np.full(n, 1)), Conventions())
    with pytest.raises(RangeError, match="do not fit"):
        clear(make_orders([1, -1], [10**12, 10**12], [10**9, 10**8]), Conventions())
    exact = clear(make_orders([1, -1], [9 * 10**9, 9 * 10**9], [10**9, 10**9]), Conventions())
    assert exact.pay_nano.tolist() == [9 * 10**18, -9 * 10**18]
