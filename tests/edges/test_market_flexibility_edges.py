"""Procurement of flexibility on the knife edge: who pays for a rebound, notice, lots, reserve prices, bad fields; by hand."""

from __future__ import annotations

from typing import Any

import pytest

from walras.errors import InputError
from walras.market.book import clear_book
from walras.market.conventions import Conventions
from walras.market.flexibility import clear
from walras.market.mechanism import ORDER_EXTRA
from walras.market.orders import Orders, make_orders
from walras.study.comparison import chosen

PLAIN = Conventions()


def rebound(cap: int, second: int = 1, second_wh: int = 10) -> tuple[Orders, dict[str, Any]]:
    """100 Wh wanted in slot 0 at `cap`, `second_wh` in slot 1 at `second`; offer at 100 takes half back, slot 1 has one at 200."""
    orders = make_orders([1, 1, -1, -1], [100, second_wh, 500, 500], [cap, second, 100, 200])
    fields = {"slot": [0, 1, None, None], "from_slot": [None, None, 0, 1], "to_slot": [None, None, 0, 1]}
    return orders, {ORDER_EXTRA: fields | {"rebound_percent": [None, None, 50, None]}}


def test_a_rebound_where_nobody_is_served_is_paid_by_who_causes_it() -> None:
    orders, extra = rebound(900)
    done = clear(orders, PLAIN, extra=extra)
    assert done.filled_wh.tolist() == [100, 0, 100, 50]
    assert done.pay_nano.tolist() == [100 * 100 + 50 * 200, 0, -10_000, -10_000]
    assert (done.losses_wh, done.surplus_nano) == (50, 0)


def test_a_rebound_that_costs_just_the_bid_is_procured_and_one_micro_less_is_not() -> None:
    for cap, wh in ((200, 100), (199, 0)):
        orders, extra = rebound(cap)
        assert clear(orders, PLAIN, extra=extra).filled_wh.tolist()[:2] == [wh, 0]


def test_a_bid_beside_a_rebound_pays_for_itself_alone() -> None:
    orders, extra = rebound(900, second=250)
    done = clear(orders, PLAIN, extra=extra)
    assert done.filled_wh.tolist() == [100, 10, 100, 60]
    assert done.pay_nano.tolist() == [20_000, 2_000, -10_000, -12_000]


def test_a_rebound_of_a_rebound_goes_back_to_the_first_cause() -> None:
    """100 Wh in slot 0; 50 come back in slot 1, procured from an offer of which 20 % (10 Wh) come back in slot 2."""
    orders = make_orders([1, 1, 1, -1, -1, -1], [100, 10, 10, 500, 500, 500], [900, 1, 1, 100, 200, 300])
    fields = {
        "slot": [0, 1, 2, None, None, None],
        "from_slot": [None, None, None, 0, 1, 2],
        "to_slot": [None, None, None, 0, 1, 2],
        "rebound_percent": [None, None, None, 50, 20, None],
    }
    done = clear(orders, PLAIN, extra={ORDER_EXTRA: fields})
    assert done.filled_wh.tolist() == [100, 0, 0, 100, 50, 10]
    assert done.pay_nano.tolist() == [10_000 + 10_000 + 3_000, 0, 0, -10_000, -10_000, -3_000]


def test_a_rebound_outside_the_requirement_is_not_the_buyers() -> None:
    orders = make_orders([1, -1], [100, 500], [900, 100])
    done = clear(orders, PLAIN, extra={ORDER_EXTRA: {"rebound_percent": [None, 100]}})
    assert (done.pay_nano.tolist(), done.losses_wh) == ([10_000, -10_000], 0)


def test_a_bid_that_the_last_lot_of_a_rebound_would_make_a_loser_is_left_out() -> None:
    """1 % of 10 Wh comes back, in whole Wh at 5000: a bid that would pay for a tenth of one Wh does not for a whole one."""
    for cap, wh in ((599, 0), (600, 10)):
        orders = make_orders([1, 1, -1, -1], [10, 5, 50, 50], [cap, 0, 100, 5000])
        fields = {"slot": [0, 1, None, None], "from_slot": [None, None, 0, 1], "to_slot": [None, None, 0, 1]}
        done = clear(orders, PLAIN, extra={ORDER_EXTRA: fields | {"rebound_percent": [None, None, 1, None]}})
        assert done.filled_wh.tolist() == [wh, 0, wh, wh // 10]
        assert done.pay_nano[0] == 600 * wh
        assert done.certificate["left_out"] == (wh == 0)


@pytest.mark.parametrize(("notice", "wh"), [(0, 500), (3, 500), (4, 0)])
def test_an_offer_is_called_only_if_its_notice_is_no_longer_than_the_time_left(notice: int, wh: int) -> None:
    orders = make_orders([1, -1], [500, 900], [300, 100])
    fields = {"slot": [40, None], "notice_slots": [None, notice]}
    done = clear(orders, PLAIN, extra={ORDER_EXTRA: fields, "called_at": 37})
    assert done.filled_wh.tolist() == [wh, wh]


def test_nothing_is_called_for_a_slot_before_the_call() -> None:
    orders = make_orders([1, 1, -1], [500, 500, 900], [300, 300, 100])
    done = clear(orders, PLAIN, extra={ORDER_EXTRA: {"slot": [4, 5, None]}, "called_at": 5})
    assert done.filled_wh.tolist() == [0, 500, 500]


def test_energy_goes_to_the_slot_where_it_is_worth_most_and_power_limits_each_slot() -> None:
    orders = make_orders([1, 1, -1], [500, 500, 600], [300, 700, 100])
    fields: dict[str, list[int | None]] = {"slot": [0, 1, None]}
    assert clear(orders, PLAIN, extra={ORDER_EXTRA: fields}).filled_wh.tolist() == [100, 500, 600]
    fields["power_wh"] = [None, None, 350]
    assert clear(orders, PLAIN, extra={ORDER_EXTRA: fields}).filled_wh.tolist() == [250, 350, 600]


def test_fills_are_whole_lots_and_a_rebound_is_covered_in_whole_lots() -> None:
    orders, extra = rebound(900, second_wh=30)
    done = clear(orders, Conventions(lot_wh=30), extra=extra)
    assert done.filled_wh.tolist() == [90, 0, 90, 60]  # 45 Wh come back: two lots
    assert done.losses_wh == 60
    assert done.surplus_nano == 0


def test_equal_offers_are_called_by_time_then_id_in_one_slot_and_in_several() -> None:
    for slots in ([0, 0, None, None], [0, 1, None, None]):
        orders = make_orders([1, 1, -1, -1], [50, 50, 100, 100], [300, 300, 100, 100], time=[0, 0, 9, 8])
        assert clear(orders, PLAIN, extra={ORDER_EXTRA: {"slot": slots}}).filled_wh.tolist() == [50, 50, 0, 100]


def test_buyers_in_one_slot_share_its_cost_by_energy_and_pay_the_grid_fee_on_top() -> None:
    orders = make_orders([1, 1, -1, -1], [10, 20, 15, 15], [900, 500, 100, 201])
    done = clear(orders, Conventions(grid_fee_micro_per_kwh=7))
    assert done.pay_nano.tolist() == [1_505 + 70, 3_010 + 140, -1_500, -3_015]
    assert done.surplus_nano == 30 * 7


BAD: dict[str, dict[str, list[object]]] = {
    "a slot on an offer": {"slot": [0, 0]},
    "power on a requirement": {"power_wh": [5, None]},
    "a negative power": {"power_wh": [None, -1]},
    "a share beyond the whole": {"rebound_percent": [None, 101]},
    "a rebound in the same slot": {"rebound_after_slots": [None, 0]},
    "a window that ends before it begins": {"from_slot": [None, 3], "to_slot": [None, 2]},
    "a slot that is no number": {"slot": ["noon", None]},
    "a truth value": {"slot": [True, None]},
    "a slot beyond reach": {"slot": [10**9, None]},
    "a notice without the time of the call": {"notice_slots": [None, 2]},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_technical_field_is_named(name: str) -> None:
    orders = make_orders([1, -1], [10, 10], [5, 1])
    with pytest.raises(InputError, match="order row") as caught:
        clear(orders, PLAIN, extra={ORDER_EXTRA: BAD[name]})
    assert len(caught.value.faults) == 1


def test_a_bad_time_of_the_call_is_named_with_the_other_faults() -> None:
    orders = make_orders([1, -1], [10, 10], [5, 1])
    with pytest.raises(InputError) as caught:
        clear(orders, PLAIN, extra={"called_at": -1, ORDER_EXTRA: {"slot": [None, 3]}})
    assert [fault.field for fault in caught.value.faults] == ["called_at", "slot"]


def test_more_lots_than_floating_point_is_exact_for_are_refused_over_several_slots_only() -> None:
    orders = make_orders([1, 1, -1], [10**9 + 1, 5, 10**10], [5, 5, 1])
    assert clear(orders, PLAIN).filled_wh.tolist() == [10**9 + 1, 5, 10**9 + 6]
    with pytest.raises(InputError, match="lot_wh") as caught:
        clear(orders, PLAIN, extra={ORDER_EXTRA: {"slot": [0, 1, None]}})
    assert [fault.where for fault in caught.value.faults] == ["order row 0", "order row 2"]
    assert clear(orders, Conventions(lot_wh=1_000), extra={ORDER_EXTRA: {"slot": [0, 1, None]}}).filled_wh[0] == 10**9


def test_the_book_as_json_says_who_delivers_what_and_when() -> None:
    need = {"participant": "dso", "side": "buy", "price_micro_per_kwh": 600_000}
    store = {"participant": "shop-1", "side": "sell", "price_micro_per_kwh": 90_000, "power_wh": 2500, "rebound_percent": 20}
    late = {"participant": "x", "side": "sell", "quantity_wh": 6000, "price_micro_per_kwh": 10_000, "notice_slots": 9}
    battery = {"participant": "home-1", "side": "sell", "quantity_wh": 3000, "price_micro_per_kwh": 150_000}
    said: dict[str, Any] = clear_book(
        {
            "called_at": 36,
            "orders": [
                need | {"id": "evening", "quantity_wh": 2000, "slot": 40},
                need | {"id": "later", "quantity_wh": 1000, "slot": 41},
                store | {"id": "cold store", "quantity_wh": 2000, "notice_slots": 2, "to_slot": 40},
                late | {"id": "late"},
                battery | {"id": "battery"},
            ],
        },
        "flexibility",
    )
    assert said["deliveries"] == [
        {"id": "cold store", "slot": 40, "wh": 2000},
        {"id": "battery", "slot": 41, "wh": 1400},
    ]
    assert said["taken_back_wh"] == 400
    # the cold store's 400 Wh come back at the battery's price: 180 + 60 for the evening, 150 for what is wanted later
    assert [slot["cost_nano"] for slot in said["slots"]] == [240_000_000, 210_000_000]
    assert [fill["pay_nano"] for fill in said["fills"]] == [240_000_000, 150_000_000, -180_000_000, 0, -210_000_000]


def test_it_stands_in_the_comparison_of_all() -> None:
    assert "flexibility" in [mechanism.name for mechanism in chosen("all")]
