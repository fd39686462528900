"""A book with a feeder in it: cleared on the wires from JSON, its faults named all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from walras.errors import InputError
from walras.grid.nodal_book import SHELF
from walras.market.book import clear_book, describe_mechanisms, parse_book

BOOK = Path(__file__).parents[2] / "docs" / "learn" / "feeder-book.json"


def book() -> dict[str, Any]:
    return parse_book(BOOK.read_text(encoding="utf-8"))


def test_a_street_with_more_sun_than_its_transformer_carries_gets_a_price_at_every_node() -> None:
    done = clear_book(book(), "nodal", SHELF)
    fills = {fill["id"]: fill["filled_wh"] for fill in done["fills"]}  # type: ignore[attr-defined]
    nodes = {node["bus"]: node for node in done["nodes"]}  # type: ignore[attr-defined]
    # 40 kVA for a quarter hour leave 9.9 kWh to the grid; the stove takes 1 kWh; the rest of the sun is taken back
    assert 9_800 < fills["export"] < 10_000
    assert fills["stove"] == 1_000
    assert fills["sun"] == fills["export"] + fills["stove"] + done["losses_wh"]  # type: ignore[operator]
    assert nodes["mv"]["price_micro_per_kwh"] == 80_000
    assert nodes["home"]["price_micro_per_kwh"] == 0
    for node in nodes.values():
        parts = ("energy", "losses", "voltage", "congestion", "emissions", "reserve")
        assert sum(node[f"{part}_micro_per_kwh"] for part in parts) == node["price_micro_per_kwh"]
    assert [limit["limit"] for limit in done["limits"]] == ["transformer t"]  # type: ignore[attr-defined]
    assert json.loads(json.dumps(done)) == done


def test_an_emissions_cap_and_a_reserve_come_from_the_book() -> None:
    capped = book()
    capped["orders"] = [*capped["orders"], _buyer()]
    capped["requirements"] = {"emission_cap_g": 500, "import_g_per_kwh": 400}
    capped["limits"] = {"import_kw": 100}
    capped["orders"][2]["quantity_wh"] = 0
    done = clear_book(capped, "nodal", SHELF)
    fills = {fill["id"]: fill["filled_wh"] for fill in done["fills"]}  # type: ignore[attr-defined]
    assert 1_200 <= fills["import"] <= 1_250
    assert "emissions mv" in {limit["limit"] for limit in done["limits"]}  # type: ignore[attr-defined]


def _buyer() -> dict[str, Any]:
    return {"id": "pump", "participant": "eve", "side": "buy", "quantity_wh": 3_000, "price_micro_per_kwh": 330_000, "node": 2}


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no feeder": ({"network": None}, "network"),
    "no root": ({"network": {"buses": {"a": 0.4}}}, "root"),
    "a line without a length": (
        {"network": {"root": "a", "buses": {"a": 0.4, "b": 0.4}, "lines": [{"name": "l", "from_bus": "a", "to_bus": "b"}]}},
        "length_km",
    ),
    "an unknown field of a line": (
        {"network": {"root": "a", "buses": {"a": 0.4}, "lines": [{"colour": "red"}]}},
        "colour",
    ),
    "hours that are none": ({"hours": "a quarter"}, "hours"),
    "no hours": ({"hours": 0}, "hours"),
    "a limit below zero": ({"limits": {"import_kw": -1}}, "import_kw = -1: expected a number from 0"),
    "a slot of a year": ({"hours": 8760}, "hours = 8760: expected a number from 0.000277778 to 24"),
    "reserve beyond any feeder": ({"requirements": {"reserve_down_kw": 2e9}}, "reserve_down_kw = .*: expected a number from 0"),
    "a cap below zero": ({"requirements": {"emission_cap_g": -1}}, "emission_cap_g = -1"),
    "a limit of another name": ({"limits": {"kva": 1}}, "kva"),
    "a fixed load nowhere": ({"fixed": {"moon": {"kw": 1}}}, "moon"),
    "a negative reserve": ({"requirements": {"reserve_up_kw": -2}}, "reserve_up_kw"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_feeder_is_named(name: str) -> None:
    change, said = FAULTS[name]
    with pytest.raises(InputError, match=said):
        clear_book(book() | change, "nodal", SHELF)


def test_an_order_at_a_bus_that_is_not_there_is_named() -> None:
    lost = book()
    lost["orders"][3]["node"] = 7
    with pytest.raises(InputError, match="node"):
        clear_book(lost, "nodal", SHELF)


def test_a_feeder_given_to_an_auction_without_wires_names_those_that_have_them() -> None:
    with pytest.raises(InputError, match="nodal, nodal_vcg"):
        clear_book(book(), "uniform", SHELF)


def test_the_list_documents_what_a_book_on_the_wires_carries() -> None:
    listed = {row["name"]: row for row in describe_mechanisms(SHELF)}
    assert "network" in listed["nodal"]["extra"]  # type: ignore[operator]
    assert "flexible" in listed["nodal"]["order_extra"]  # type: ignore[operator]
    assert "network" not in listed["uniform"]["extra"]  # type: ignore[operator]


@pytest.mark.parametrize("wrong", ["x", None, [], True, 10**400, float("nan"), 1e308])
@pytest.mark.parametrize("field", ["length_km", "r_ohm_per_km", "max_i_ka", "parallel"])
def test_a_number_of_a_line_that_is_none_is_a_fault_by_name(field: str, wrong: object) -> None:
    given = book()
    given["network"]["lines"][0][field] = wrong
    with pytest.raises(InputError, match=rf"network lines\[0\]: {field} = "):
        clear_book(given, "nodal", SHELF)


@pytest.mark.parametrize("wrong", [None, [], 5])
def test_a_bus_or_a_name_that_is_no_text_is_a_fault(wrong: object) -> None:
    given = book()
    given["network"]["lines"][0]["from_bus"] = given["network"]["transformers"][0]["name"] = wrong
    with pytest.raises(InputError, match="2 faults"):
        clear_book(given, "nodal", SHELF)


@pytest.mark.parametrize("wrong", ["x", None, 10**400])
def test_a_nominal_voltage_or_the_hours_that_are_no_number_are_faults(wrong: object) -> None:
    given = book()
    given["network"]["buses"]["mv"] = given["hours"] = wrong
    with pytest.raises(InputError, match="2 faults"):
        clear_book(given, "nodal", SHELF)


@pytest.mark.parametrize(("name", "wrong"), [("slack_v_pu", 0.4), ("slack_v_pu", 230), ("v_max_pu", 400), ("v_min_pu", -0.1)])
def test_a_voltage_that_no_feeder_has_is_named_with_its_range(name: str, wrong: float) -> None:
    given = book()
    given["network"][name] = wrong
    with pytest.raises(InputError, match=rf"{name} = {wrong}: expected a number from"):
        clear_book(given, "nodal", SHELF)
    given["network"][name] = {"slack_v_pu": 1.5, "v_max_pu": 1.5, "v_min_pu": 0.01}[name]
    given["network"].setdefault("v_max_pu", 1.5)
    clear_book(given, "nodal", SHELF)
