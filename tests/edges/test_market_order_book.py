"""The order book on its knife edges: the limit passes, one more fails."""

from __future__ import annotations

import numpy as np
import pytest

from walras.errors import InputError
from walras.market.order_book import (
    KINDS,
    ORDER_TYPES,
    REASONS,
    STATUS,
    Book,
    BookRules,
    StepResult,
    make_events,
    open_book,
    step,
)
from walras.market.order_depth import depth, resting_orders, top_of_book

RULES = BookRules(0, 10, 100, (1_000, 2_000), 0)


def send(book: Book, id: int, side: int = 1, wh: int = 10, price: int = 100, **more: int | str) -> tuple[Book, str, StepResult]:
    kind, order_type = KINDS[str(more.pop("kind", "new"))], ORDER_TYPES[str(more.pop("type", "limit"))]
    events = make_events([id], kind=kind, order_type=order_type, side=side, quantity_wh=wh, price_micro_per_kwh=price, **more)  # type: ignore[arg-type]
    book, done = step(book, events)
    return book, STATUS[int(done.status[0])], done


def test_fill_or_kill_takes_exactly_what_is_there_and_nothing_of_one_more() -> None:
    book, _, _ = send(open_book(RULES), 1, -1, 10)
    book, _, _ = send(book, 2, -1, 5, 110)
    _, said, done = send(book, 3, 1, 15, 110, type="fill_or_kill")
    assert (said, done.fills.energy_wh.tolist()) == ("filled", [10, 5])
    after, said, done = send(book, 3, 1, 16, 110, type="fill_or_kill")
    assert (said, done.fills.count, after.live_orders) == ("lapsed", 0, 2)


def test_an_order_is_accepted_the_moment_before_the_gate_and_refused_at_it() -> None:
    book, said, _ = send(open_book(RULES), 1, time=999)
    assert said == "resting"
    book, said, done = send(book, 2, time=1_000)
    assert said == "refused: the gate of the slot has closed"
    assert [REASONS[r] for r in done.removals.reason] == ["expired"]
    _, said, _ = send(book, 3, slot=1, time=1_999)
    assert said == "resting"


def test_the_clock_event_expires_a_slot_without_any_order() -> None:
    book, _, _ = send(open_book(RULES), 1, time=5)
    book, said, done = send(book, 0, kind="clock", time=1_000)
    assert said == "clock advanced"
    assert (done.removals.id.tolist(), book.live_orders) == ([1], 0)


def test_an_amendment_keeps_its_place_only_when_it_takes_less_at_the_same_price() -> None:
    for new_wh, new_price, first in ((9, 100, 1), (10, 100, 1), (11, 100, 2), (10, 110, 2)):
        book, _, _ = send(open_book(RULES), 1, -1, 10)
        book, _, _ = send(book, 2, -1, 10)
        book, _, _ = send(book, 1, -1, new_wh, new_price, kind="amend")
        _, _, done = send(book, 3, 1, 1, 110)
        assert done.fills.sell_id.tolist() == [first], (new_wh, new_price)


def test_an_amendment_across_the_spread_trades_at_once() -> None:
    book, _, _ = send(open_book(RULES), 1, -1, 10, 200)
    book, _, _ = send(book, 2, 1, 10, 100)
    _, said, done = send(book, 2, 1, 10, 200, kind="amend")
    assert (said, done.fills.price_micro_per_kwh.tolist()) == ("filled", [200])


def test_post_only_rests_one_tick_below_the_ask_and_is_refused_at_it() -> None:
    book, _, _ = send(open_book(RULES), 1, -1, 10, 200)
    assert send(book, 2, 1, 10, 190, type="post_only")[1] == "resting"
    assert send(book, 2, 1, 10, 200, type="post_only")[1] == "refused: post-only order would trade"


def test_prices_off_the_grid_are_refused_and_its_ends_are_not() -> None:
    for price, ok in ((0, True), (990, True), (1_000, False), (-10, False), (105, False)):
        assert (send(open_book(RULES), 1, price=price)[1] == "resting") is ok


def test_only_the_owner_cancels_and_only_once() -> None:
    book, _, _ = send(open_book(RULES), 1, participant=7)
    assert send(book, 1, kind="cancel", participant=8)[1] == "refused: the order is another participant's"
    book, said, _ = send(book, 1, kind="cancel", participant=7)
    assert said == "cancelled"
    assert send(book, 1, kind="cancel", participant=7)[1] == "refused: no such order in the book"


@pytest.mark.parametrize(
    ("policy", "said", "resting", "traded"),
    [("allow", "filled", [], 20), ("cancel_newest", "stopped by self-trade prevention", [1, 2], 0),
     ("cancel_oldest", "resting", [3], 10), ("cancel_both", "stopped by self-trade prevention", [2], 0)],
)  # fmt: skip
def test_self_trade_prevention_cancels_whom_it_says(policy: str, said: str, resting: list[int], traded: int) -> None:
    book = open_book(BookRules(0, 10, 100, self_trade=policy))  # type: ignore[arg-type]
    book, _, _ = send(book, 1, -1, 10, participant=5)
    book, _, _ = send(book, 2, -1, 10, participant=6)
    book, status, done = send(book, 3, 1, 20, participant=5)
    assert status == said
    assert int(done.fills.energy_wh.sum()) == traded

    assert resting_orders(book)[0].id.tolist() == resting


def test_snapshots_show_the_best_price_first_and_slots_apart() -> None:
    book = open_book(RULES)
    for id, side, wh, price, slot in (
        (1, 1, 5, 90, 0),
        (2, 1, 7, 90, 0),
        (3, 1, 1, 80, 0),
        (4, -1, 4, 120, 0),
        (5, -1, 9, 10, 1),
    ):
        book, _, _ = send(book, id, side, wh, price, slot=slot)
    top = top_of_book(book, 0)
    assert (top.bid_price_micro_per_kwh, top.bid_quantity_wh, top.ask_price_micro_per_kwh, top.ask_quantity_wh) == (
        90,
        12,
        120,
        4,
    )
    view = depth(book, 0)
    assert (view.bid_price_micro_per_kwh.tolist(), view.bid_orders.tolist()) == ([90, 80], [2, 1])
    assert top_of_book(book, 1).bid_price_micro_per_kwh is None


def test_a_book_grows_past_its_capacity_and_keeps_every_order() -> None:
    n = 5_000
    ids = np.arange(n) * 7_919 - 10**15
    book, done = step(open_book(RULES, 4), make_events(ids, side=1, quantity_wh=1, price_micro_per_kwh=np.arange(n) % 100 * 10))
    assert book.live_orders == n
    book, done = step(book, make_events(ids[::-1], kind=KINDS["cancel"]))
    assert (book.live_orders, done.removals.count) == (0, n)


def test_every_fault_of_the_rules_and_of_the_columns_is_named_at_once() -> None:
    with pytest.raises(InputError) as rules:
        BookRules(-(10**9) - 1, 0, 0, (), 0, "never")  # type: ignore[arg-type]
    assert {f.field for f in rules.value.faults} >= {
        "tick_micro_per_kwh",
        "levels",
        "lowest_price_micro_per_kwh",
        "gate_closures",
        "self_trade",
    }
    with pytest.raises(InputError) as columns:
        make_events([1, 2], side=[1], quantity_wh=[1, 2, 3], price_micro_per_kwh=[0, 10**9 + 1])
    assert {f.field for f in columns.value.faults} == {"quantity_wh", "price_micro_per_kwh"}


@pytest.mark.parametrize(
    ("policy", "said"),
    [("allow", "filled"), ("cancel_newest", "lapsed"), ("cancel_oldest", "filled"), ("cancel_both", "lapsed")],
)
def test_fill_or_kill_counts_own_orders_as_the_policy_will_treat_them(policy: str, said: str) -> None:
    book = open_book(BookRules(0, 10, 100, self_trade=policy))  # type: ignore[arg-type]
    book, _, _ = send(book, 1, -1, 10, participant=5)
    book, _, _ = send(book, 2, -1, 10, participant=6)
    after, status, _ = send(book, 3, 1, 10, participant=5, type="fill_or_kill")
    assert status == said
    assert said == "filled" or after.live_orders == 2


def test_orders_are_found_whatever_left_the_table_before_them() -> None:
    rng = np.random.default_rng(5)
    ids = rng.choice(10**9, 1_024, replace=False)
    book, _ = step(open_book(RULES, 1_024), make_events(ids, side=1, quantity_wh=1, price_micro_per_kwh=100))
    for part in np.array_split(rng.permutation(ids), 16):
        book, done = step(book, make_events(part, kind=KINDS["cancel"]))
        assert done.removals.count == part.size
    assert book.live_orders == 0
