"""A block book from JSON: what it prints, every fault by name, and what each kind of block does on small books worked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from walras.errors import InputError, RangeError
from walras.market.block_envelope import envelope, staircase
from walras.market.block_prices import Conflict, Refused, price_blocks
from walras.market.block_slots import make_slots
from walras.market.blocks import clear, clear_blocks, read_blocks
from walras.market.book import clear_book, describe_mechanisms
from walras.market.conventions import Conventions
from walras.market.mechanism import ORDER_EXTRA
from walras.market.orders import BUY, SELL, make_orders
from walras.market.registry import MECHANISMS
from walras.market.terms import terms

GOOD = {"side": "sell", "price_micro_per_kwh": 5, "quantity_wh": [1, 2]}


def order(name: str, side: str, wh: int, price: int, slot: int) -> dict[str, object]:
    return {"id": name, "participant": name, "side": side, "quantity_wh": wh, "price_micro_per_kwh": price, "slot": slot}


DAY = {
    "orders": [
        order("noon", "buy", 1000, 300_000, 0),
        order("evening", "buy", 1000, 300_000, 1),
        order("roof", "sell", 800, 200_000, 0),
    ],
    "blocks": [{"id": "battery", "side": "sell", "price_micro_per_kwh": 100_000, "quantity_wh": [500, 1000]}],
}


def test_a_book_with_blocks_prints_prices_by_slot_blocks_and_whether_it_is_proved() -> None:
    result = clear_book(json.loads(json.dumps(DAY)), "blocks")
    assert json.loads(json.dumps(result)) == result
    assert result["slot_price_micro_per_kwh"] == [200_000, 300_000]
    assert result["blocks"] == [{"id": "battery", "filled_wh": 1500, "slot_wh": [500, 1000], "pay_nano": -400_000_000}]
    assert [fill["filled_wh"] for fill in result["fills"]] == [1000, 1000, 500]  # type: ignore[attr-defined]
    assert (result["status"], result["surplus_nano"]) == ("optimal", 0)
    assert 0 <= result["gap_nano"] < 1_000  # type: ignore[operator]
    assert result["welfare_nano"] == 600_000_000 - 500 * 200_000 - 1500 * 100_000
    heuristic = clear_book({**DAY, "search": {"method": "heuristic"}}, "blocks")
    assert heuristic["fills"] == result["fills"]


def test_the_grid_fee_is_paid_by_those_who_buy_and_is_the_whole_surplus() -> None:
    result = clear_book({**DAY, "conventions": {"grid_fee_micro_per_kwh": 40_000}}, "blocks")
    assert result["surplus_nano"] == 2000 * 40_000
    assert result["welfare_nano"] == 600_000_000 - 500 * 200_000 - 1500 * 100_000


def test_the_list_documents_blocks() -> None:
    listed = next(row for row in describe_mechanisms() if row["name"] == "blocks")
    for field in ("minimum_acceptance", "linked_to", "exclusive_group", "flexible"):
        assert field in listed["extra"]["blocks"]  # type: ignore[index]
    assert "slot" in listed["order_extra"]  # type: ignore[operator]


@pytest.mark.parametrize("name", sorted(set(MECHANISMS) - {"blocks"}))
def test_a_mechanism_that_cannot_do_blocks_names_the_one_that_can(name: str) -> None:
    with pytest.raises(InputError) as refused:
        clear_book(DAY, name)
    expected = {fault.field: fault.expected for fault in refused.value.faults}
    assert expected["blocks"] == "a mechanism that takes it: blocks"
    takes_slots = "slot" in dict(MECHANISMS[name].order_extra)
    assert takes_slots or expected["slot"].startswith("a mechanism that takes it: blocks")


def test_every_fault_of_a_block_book_is_named_at_once() -> None:
    blocks: list[object] = [
        {**GOOD, "id": "a", "linked_to": "b"},
        {**GOOD, "id": "b", "linked_to": "c"},
        {**GOOD, "id": "c", "linked_to": "a"},
        {**GOOD, "id": "d", "linked_to": "nobody"},
        {**GOOD, "id": "e", "linked_to": "e"},
        {**GOOD, "id": "e", "quantity_wh": [1, -2]},
        {**GOOD, "id": "f", "side": "both", "price_micro_per_kwh": 1.5, "minimum_acceptance": 2, "colour": "red"},
        {**GOOD, "id": True, "quantity_wh": [0, 0], "flexible": "yes"},
        {**GOOD, "id": "g", "exclusive_group": 1.5, "minimum_acceptance": "much"},
        "block",
    ]
    orders = make_orders([1, 1], [1, 1], [1, 1])
    with pytest.raises(InputError) as caught:
        clear(orders, Conventions(), extra={"blocks": blocks, ORDER_EXTRA: {"slot": [-1, "x"]}})
    text = str(caught.value)
    for fragment in ("'a' -> 'b' -> 'c' -> 'a'", "nobody", "'e' -> 'e'", "unique id", "[1, -2]", "both", "1.5", "colour", "red"):
        assert fragment in text
    fields = [fault.field for fault in caught.value.faults]
    assert fields.count("slot") == 2
    assert fields.count("linked_to") == 3
    assert fields.count("minimum_acceptance") == 2
    assert {"flexible", "block", "id", "exclusive_group"} <= set(fields)


def test_a_profile_has_one_number_for_each_slot_unless_it_is_flexible() -> None:
    orders = make_orders([1, 1], [1, 1], [1, 1])
    with pytest.raises(InputError, match="3 slots, one number each"):
        clear(orders, Conventions(), extra={"blocks": [{**GOOD, "id": 1}], ORDER_EXTRA: {"slot": [0, 2]}})
    clear(orders, Conventions(), extra={"blocks": [{**GOOD, "id": 1, "flexible": True}], ORDER_EXTRA: {"slot": [0, 2]}})


@pytest.mark.parametrize("blocks", ["b", {"id": 1}, 7])
def test_blocks_are_a_list(blocks: object) -> None:
    with pytest.raises(InputError, match="a list of blocks"):
        clear(make_orders([], [], []), Conventions(), extra={"blocks": blocks})


def test_a_search_that_is_not_known_is_refused_with_every_fault() -> None:
    with pytest.raises(InputError) as caught:
        clear(make_orders([], [], []), Conventions(), extra={"search": {"method": "luck", "effort": 0, "time": 3}})
    assert [fault.field for fault in caught.value.faults] == ["time", "method", "effort"]
    with pytest.raises(InputError, match="an object with method and effort"):
        clear(make_orders([], [], []), Conventions(), extra={"search": "milp"})


def test_what_does_not_fit_is_refused_by_name() -> None:
    huge = {**GOOD, "id": "b", "quantity_wh": [10**12], "price_micro_per_kwh": 10**9}
    with pytest.raises(RangeError):
        clear(make_orders([], [], []), Conventions(), extra={"blocks": [huge]})
    flexible = {**GOOD, "id": "b", "quantity_wh": [1], "flexible": True}
    with pytest.raises(RangeError, match="too many"):
        clear(make_orders([1], [1], [1]), Conventions(), extra={"blocks": [flexible], ORDER_EXTRA: {"slot": [36_599]}})


def test_an_empty_book_clears() -> None:
    done = clear(make_orders([], [], []), Conventions(), extra={})
    assert (done.filled_wh.size, done.price_micro_per_kwh) == (0, None)


def test_a_block_that_would_lose_at_the_uniform_price_is_rejected_and_listed_as_it_gains_at_the_price_without_it() -> None:
    # 50 Wh at most are wanted above 10; a block of 90 at 11 would take the price to 10 and lose, its rejection leaves 15
    orders = make_orders([1, 1, -1], [50, 50, 60], [20, 10, 15])
    sell = {"id": "b", "side": "sell", "price_micro_per_kwh": 11, "quantity_wh": [90]}
    done = clear(orders, Conventions(), extra={"blocks": [sell], ORDER_EXTRA: {"slot": [0, 0, 0]}})
    assert done.certificate["block_slot_wh"].tolist() == [0]  # type: ignore[union-attr]
    assert done.certificate["paradoxically_rejected"].tolist() == [0]  # type: ignore[union-attr]
    assert done.price_micro_per_kwh == 15


def test_the_refusal_of_a_losing_block_is_proved_and_names_who_could_help() -> None:
    orders = make_orders([1, 1, -1], [50, 50, 60], [20, 10, 15])
    blocks = [
        {"id": "a", "side": "sell", "price_micro_per_kwh": 11, "quantity_wh": [90, 0]},
        {"id": "b", "side": "buy", "price_micro_per_kwh": 1, "quantity_wh": [30, 0]},
        {"id": "c", "side": "buy", "price_micro_per_kwh": 1, "quantity_wh": [0, 30]},
    ]
    options, slot, count = read_blocks(orders, {"blocks": blocks, ORDER_EXTRA: {"slot": [0, 0, 0]}}, Conventions())
    slots = make_slots(orders, terms(orders, Conventions()), slot, count, options, Conventions())
    refused = price_blocks(slots, np.array([90, 0, 0]))
    assert refused == Refused((Conflict((0,), (1,), True),))


def test_two_blocks_that_each_could_gain_but_not_both_are_refused_together() -> None:
    # nothing but blocks: the price of the slot is theirs alone, and a buyer at 4 and a seller at 6 never meet
    blocks = [
        {"id": "a", "side": "sell", "price_micro_per_kwh": 6, "quantity_wh": [10]},
        {"id": "b", "side": "buy", "price_micro_per_kwh": 4, "quantity_wh": [10]},
    ]
    orders = make_orders([], [], [])
    options, slot, count = read_blocks(orders, {"blocks": blocks}, Conventions())
    slots = make_slots(orders, terms(orders, Conventions()), slot, count, options, Conventions())
    assert price_blocks(slots, np.array([10, 10])) == Refused((Conflict((0, 1), (), True),))


def test_a_price_between_two_blocks_that_meet_is_found_where_no_order_bounds_it() -> None:
    blocks = [
        {"id": "a", "side": "sell", "price_micro_per_kwh": 4, "quantity_wh": [10]},
        {"id": "b", "side": "buy", "price_micro_per_kwh": 6, "quantity_wh": [10]},
    ]
    done = clear_blocks(make_orders([], [], []), Conventions(), {"blocks": blocks})
    assert done.block_slot_wh.sum(axis=1).tolist() == [10, 10]
    assert 4 <= int(done.found.priced.price[0]) <= 6
    assert done.found.priced.welfare == 20


def test_a_child_comes_only_with_its_parent() -> None:
    orders = make_orders([1, 1], [10, 10], [20, 20])
    parent = {"id": "p", "side": "sell", "price_micro_per_kwh": 30, "quantity_wh": [10, 0]}
    child = {"id": "c", "side": "sell", "price_micro_per_kwh": 5, "quantity_wh": [0, 10], "linked_to": "p"}
    extra = {"blocks": [parent, child], ORDER_EXTRA: {"slot": [0, 1]}}
    assert clear_blocks(orders, Conventions(), extra).block_slot_wh.sum(axis=1).tolist() == [0, 0]
    parent["price_micro_per_kwh"] = 20
    assert clear_blocks(orders, Conventions(), extra).block_slot_wh.sum(axis=1).tolist() == [10, 10]


def test_of_an_exclusive_group_the_better_one_comes() -> None:
    orders = make_orders([1, 1], [10, 10], [20, 30])
    early = {"id": "early", "side": "sell", "price_micro_per_kwh": 5, "quantity_wh": [10, 0], "exclusive_group": "car"}
    late = {"id": "late", "side": "sell", "price_micro_per_kwh": 5, "quantity_wh": [0, 10], "exclusive_group": "car"}
    done = clear_blocks(orders, Conventions(), {"blocks": [early, late], ORDER_EXTRA: {"slot": [0, 1]}})
    assert done.block_slot_wh.tolist() == [[0, 0], [0, 10]]


def test_a_flexible_hour_goes_where_it_is_worth_most() -> None:
    orders = make_orders([-1, -1, -1], [10, 10, 10], [9, 3, 6])
    hour = {"id": "h", "side": "buy", "price_micro_per_kwh": 8, "quantity_wh": [10], "flexible": True}
    done = clear_blocks(orders, Conventions(), {"blocks": [hour], ORDER_EXTRA: {"slot": [0, 1, 2]}})
    assert done.filled_wh.tolist() == [0, 10, 0]


def test_a_curtailable_block_takes_the_ratio_that_fits_and_stays_whole() -> None:
    orders = make_orders([1, 1], [7, 70], [20, 20])
    block = {"id": "b", "side": "sell", "price_micro_per_kwh": 5, "quantity_wh": [10, 90], "minimum_acceptance": 0.25}
    done = clear_blocks(orders, Conventions(), {"blocks": [block], ORDER_EXTRA: {"slot": [0, 1]}})
    assert done.filled_wh.tolist() == [7, 63]  # seven of ten steps: 70 percent in both slots
    whole = {**block, "minimum_acceptance": 0.71}
    assert clear_blocks(orders, Conventions(), {"blocks": [whole], ORDER_EXTRA: {"slot": [0, 1]}}).filled_wh.tolist() == [0, 0]
    edge = {**block, "minimum_acceptance": 0.7}
    assert clear_blocks(orders, Conventions(), {"blocks": [edge], ORDER_EXTRA: {"slot": [0, 1]}}).filled_wh.tolist() == [7, 63]


def test_the_reverse_side_is_symmetric() -> None:
    orders = make_orders([-1, -1, 1], [50, 50, 60], [-20, -10, -15])
    buy = {"id": "b", "side": "buy", "price_micro_per_kwh": -11, "quantity_wh": [90]}
    done = clear_blocks(orders, Conventions(), {"blocks": [buy], ORDER_EXTRA: {"slot": [0, 0, 0]}})
    assert done.block_slot_wh.sum(axis=1).tolist() == [0]
    assert done.paradoxically_rejected.tolist() == [0]
    assert orders.side.tolist() == [SELL, SELL, BUY]


def test_the_lines_around_a_supply_curve_hold_every_price_that_supports_an_injection() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        n = 30
        orders = make_orders(rng.choice([1, -1], n), rng.integers(1, 50, n), rng.integers(0, 100, n))
        blocks = [
            {"id": "s", "side": "sell", "price_micro_per_kwh": 1, "quantity_wh": [int(rng.integers(1, 200))]},
            {"id": "b", "side": "buy", "price_micro_per_kwh": 1, "quantity_wh": [int(rng.integers(1, 200))]},
        ]
        options, slot, count = read_blocks(orders, {"blocks": blocks}, Conventions())
        slots = make_slots(orders, terms(orders, Conventions()), slot, count, options, Conventions())
        low, high = slots.reach(0)
        around = envelope(slots, 0, low, high)
        corners = staircase(slots.bids[0], slots.asks[0])
        assert corners == sorted(corners, key=lambda point: (point[0], -point[1]))
        assert around.below
        for wh in range(low, high + 1):
            here = slots.at(0, wh)
            assert all(here.high <= p + slope * (wh - x) + 1e-9 for x, p, slope in around.below)
            assert all(here.low >= p + slope * (wh - x) - 1e-9 for x, p, slope in around.above)
            assert around.lowest <= here.low <= here.high <= around.highest
        touched = [min(p + s * (wh - x) for x, p, s in around.below) - slots.at(0, wh).high for wh in range(low, high + 1)]
        assert min(touched) < 1e-6, "the hull touches the curve"
