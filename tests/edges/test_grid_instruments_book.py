"""Rights, relief and redispatch in a book: the figures of the page on short wires, and every fault by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from walras.errors import InputError
from walras.grid.instruments_book import SHELF
from walras.market.book import clear_book, describe_mechanisms, parse_book, play_book

LEARN = Path(__file__).parents[2] / "docs" / "learn"
CT = 10_000_000


def book(name: str = "short-wires-book.json") -> dict[str, Any]:
    return parse_book((LEARN / name).read_text(encoding="utf-8"))


def test_redispatch_moves_the_plant_and_the_buyer_and_costs_what_the_wires_do_not_carry() -> None:
    done: dict[str, Any] = clear_book(book(), "redispatch", SHELF)
    moved = {row["id"]: row for row in done["moved"]}
    assert moved["sun"]["moved_wh"] == pytest.approx(-1_900, abs=3)
    assert moved["sun"]["pay_nano"] / CT == pytest.approx(15.2, abs=0.03), "it gives back the cost that it saves"
    assert moved["stove"]["pay_nano"] / CT == pytest.approx(-40, abs=0.03)
    assert done["redispatch_cost_nano"] / CT == pytest.approx(24.8, abs=0.03)
    assert done["surplus_nano"] == -done["redispatch_cost_nano"] == sum(fill["pay_nano"] for fill in done["fills"])
    assert [limit["limit"] for limit in done["limits"]] == ["high voltage b"]


def test_a_seller_behind_the_limit_gains_by_asking_to_be_moved() -> None:
    """The game of redispatch: an ask below cost is paid to be taken back."""
    played: dict[str, Any] = play_book(book(), "redispatch", tries=200, shelf=SHELF)
    assert played["largest_gain_nano"] > 0


def test_rights_are_paid_the_price_difference_out_of_the_rent() -> None:
    done: dict[str, Any] = clear_book(book("short-wires-rights.json"), "nodal", SHELF)
    rights = done["rights"]
    assert rights["settled"][0]["paid_nano"] / CT == pytest.approx(116.08, abs=0.006)
    assert rights["rent_nano"] / CT == pytest.approx(117.24, abs=0.006)
    assert rights["left_nano"] == rights["rent_nano"] - rights["settled"][0]["paid_nano"]
    assert rights["the_wires_carry_all_at_once"]
    wide = book("short-wires-rights.json")
    wide["rights"][0]["energy_wh"] = 12_000
    short: dict[str, Any] = clear_book(wide, "nodal", SHELF)
    assert not short["rights"]["the_wires_carry_all_at_once"]
    assert short["rights"]["left_nano"] == 0
    assert short["rights"]["short_nano"] > 0


def test_relief_is_rewarded_by_what_the_limit_was_worth_at_the_bus() -> None:
    done: dict[str, Any] = clear_book(book("short-wires-rights.json"), "nodal", SHELF)
    (row,) = done["relief"]
    assert row["delivered_wh"] == -1_000
    assert row["reward_nano"] / CT == pytest.approx(11.61, abs=0.006)


def test_the_orders_clear_the_same_with_instruments_beside_them() -> None:
    plain, more = clear_book(book(), "nodal", SHELF), clear_book(book("short-wires-rights.json"), "nodal", SHELF)
    assert plain == {name: value for name, value in more.items() if name not in ("rights", "relief")}


@pytest.mark.parametrize(
    ("part", "row", "said"),
    [
        ("rights", {"holder": "bob", "source": "b", "sink": "moon", "energy_wh": 1}, r"rights\[0\]: sink = 'moon'"),
        ("rights", {"holder": "bob", "source": "b", "sink": "a", "energy_wh": -1}, "energy_wh = -1"),
        ("rights", {"holder": "bob", "source": "b", "sink": "a", "energy_wh": 0.5}, "energy_wh = 0.5"),
        ("rights", {"holder": "bob", "source": "b", "sink": "a"}, "energy_wh = 'missing'"),
        ("rights", {"holder": [], "source": "b", "sink": "a", "energy_wh": 1}, "holder"),
        ("rights", 7, "an object with"),
        ("relief", {"participant": "c", "bus": "b", "baseline_wh": 1, "metered_wh": "x", "agreed_wh": 2}, "metered_wh"),
        ("relief", {"participant": "c", "bus": "b", "baseline_wh": 1, "metered_wh": 1, "agreed_wh": 2, "colour": 1}, "colour"),
    ],
)
def test_a_fault_of_a_right_or_of_relief_is_named(part: str, row: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        clear_book(book() | {part: [row]}, "nodal", SHELF)
    with pytest.raises(InputError, match="mechanism that takes it: nodal"):
        clear_book(book() | {part: [row]}, "uniform", SHELF)


def test_faults_of_rights_and_of_relief_are_named_together() -> None:
    with pytest.raises(InputError, match="2 faults") as caught:
        clear_book(book() | {"rights": "all", "relief": "all"}, "nodal", SHELF)
    assert [fault.field for fault in caught.value.faults] == ["rights", "relief"]


def test_parts_that_are_no_list_are_named() -> None:
    with pytest.raises(InputError, match="a list of objects"):
        clear_book(book() | {"rights": "all"}, "nodal", SHELF)


def test_the_list_names_them() -> None:
    listed: dict[str, Any] = {row["name"]: row for row in describe_mechanisms(SHELF)}
    assert {"rights", "relief"} <= set(listed["nodal"]["extra"])
    assert "redispatch" in listed
