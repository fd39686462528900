"""The order book, the pools, the clocks and the bilateral rules by their names, from a book as JSON writes it."""

from __future__ import annotations

import json

import pytest

from walras.errors import InputError
from walras.market.book import clear_book
from walras.market.concentrated import open_concentrated
from walras.market.opening import POOL_NAMES, opening_pool
from walras.market.registry import MECHANISMS

ORDERS = [
    {"id": "a", "participant": "ann", "side": "buy", "quantity_wh": 900, "price_micro_per_kwh": 290_000, "time": 2},
    {"id": "b", "participant": "bob", "side": "sell", "quantity_wh": 700, "price_micro_per_kwh": 90_000, "time": 1},
    {"id": "c", "participant": "cem", "side": "buy", "quantity_wh": 400, "price_micro_per_kwh": 120_000, "time": 3},
]
PARTS: dict[str, dict[str, object]] = {
    "cda": {},
    **{name: {"pool": opening_pool(name, 50_000, 80_000, 300_000)} for name in POOL_NAMES},
    "dutch": {"clock": {"start_price_micro_per_kwh": 300_000, "tick_micro_per_kwh": 1_000}},
    "english": {},
    "rfq": {"rfq": {"quotes": 1}},
    "posted": {"posted": {"by": "sell"}},
    "random_pairs": {},
}


@pytest.mark.parametrize("name", sorted(PARTS))
def test_each_mechanism_clears_a_json_book_and_prints_json(name: str) -> None:
    result = clear_book(json.loads(json.dumps({"orders": ORDERS, **PARTS[name]})), name)
    assert result == json.loads(json.dumps(result))
    assert result["mechanism"] == name
    fills = {fill["id"]: fill for fill in result["fills"]}  # type: ignore[attr-defined]
    assert fills["a"]["filled_wh"] > 0
    assert fills["b"]["pay_nano"] < 0
    if name in POOL_NAMES:
        after = result["pool_after"]
        assert after["money_nano"] == _money(name) + result["surplus_nano"]  # type: ignore[index,operator]


def _money(name: str) -> int:
    pool = opening_pool(name, 50_000, 80_000, 300_000)
    return pool["money_nano"] if "money_nano" in pool else open_concentrated(**pool).money_nano


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_part_that_belongs_to_another_mechanism_names_those_that_take_it(name: str) -> None:
    foreign = "clock" if name not in ("dutch", "english") else "pool"
    able = {other for other, mechanism in MECHANISMS.items() if foreign in dict(mechanism.extra)}
    with pytest.raises(InputError) as refused:
        clear_book({"orders": ORDERS, **PARTS[name], foreign: {}}, name)
    fault = next(fault for fault in refused.value.faults if fault.field == foreign)
    assert all(other in fault.expected for other in able)


def test_opening_pools_have_the_same_stock_and_price() -> None:
    for name in POOL_NAMES:
        pool = opening_pool(name, 50_000, 80_000, 300_000)
        if name == "concentrated":
            assert abs(open_concentrated(**pool).energy_wh - 50_000) <= 2
            assert pool["price_micro_per_kwh"] == 190_000
        else:
            assert pool["energy_wh"] == 50_000


def test_an_impossible_opening_pool_names_every_fault() -> None:
    with pytest.raises(InputError) as refused:
        opening_pool("bank", 0, 300_000, 300_001, 10**6)
    assert {fault.field for fault in refused.value.faults} == {"mechanism", "stock_wh", "retail", "fee_ppm"}
