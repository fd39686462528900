"""Block books: every accepted block gains at one price a slot, the best set is found, and every fault is named."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, conventions
from walras.errors import InputError, RangeError
from walras.market.block_book import read_blocks
from walras.market.block_slots import Priced
from walras.market.blocks import BLOCKS, BlockClearing, clear, clear_blocks
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws, best_welfare_nano
from walras.market.mechanism import ORDER_EXTRA
from walras.market.orders import BUY, SELL, Orders, make_orders

SLOTS = 3
Extra = dict[str, object]

pytestmark = pytest.mark.nightly  # some drawn books keep the solver busy for minutes: not yet on the shelf


@st.composite
def block_books(draw: st.DrawFn, curtailable: bool = True, most: int = 5) -> tuple[Orders, Extra]:
    n = draw(st.integers(0, 10))
    side = draw(st.lists(st.sampled_from([1, -1]), min_size=n, max_size=n))
    quantity = draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))
    price = draw(st.lists(st.integers(0, 20), min_size=n, max_size=n))
    slot = draw(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=n, max_size=n))
    blocks: list[dict[str, object]] = []
    for b in range(draw(st.integers(0, most))):
        flexible = draw(st.sampled_from([False, False, False, True]))
        length = draw(st.integers(1, 2)) if flexible else SLOTS
        profile = draw(st.lists(st.integers(0, 10), min_size=length, max_size=length).filter(any))
        block: dict[str, object] = {
            "id": b,
            "side": draw(st.sampled_from(["buy", "sell"])),
            "price_micro_per_kwh": draw(st.integers(0, 20)),
            "quantity_wh": profile,
            "flexible": flexible,
            "minimum_acceptance": draw(st.sampled_from([1, 0.5, 0, "1/3"])) if curtailable else 1,
            "exclusive_group": draw(st.sampled_from([None, None, "g"])),
        }
        if b and draw(st.booleans()):
            block["linked_to"] = draw(st.integers(0, b - 1))
        blocks.append(block)
    return make_orders(side, quantity, price), {"blocks": blocks, ORDER_EXTRA: {"slot": slot}}


def _check(orders: Orders, extra: Extra, done: BlockClearing, fee: int = 0) -> None:
    """All that a clearing of blocks keeps, recomputed from the book as written."""
    blocks: list[dict[str, object]] = extra["blocks"]  # type: ignore[assignment]
    options, slot, slots = read_blocks(orders, extra, Conventions())
    k, price = done.found.priced.k, done.found.priced.price
    energy = options.energy_at(k)
    for t in range(slots):
        here = slot == t
        net = int((orders.side[here] * done.filled_wh[here]).sum()) + int((options.side * energy[:, t]).sum())
        assert net == 0, "bought = sold in every slot"
        for row in np.flatnonzero(here).tolist():
            limit = int(orders.price_micro_per_kwh[row]) - (fee if orders.side[row] == BUY else 0)
            gain = int(orders.side[row]) * (limit - int(price[t]))
            filled, whole = int(done.filled_wh[row]), int(orders.quantity_wh[row])
            assert 0 <= filled <= whole
            assert gain >= 0 or filled == 0, "nobody trades at a loss"
            assert gain <= 0 or filled == whole, "nobody who would gain is left out"
    accepted: dict[object, Fraction] = {}
    for i in range(options.count):
        if k[i]:
            name = options.names[int(options.block[i])]
            assert name not in accepted, "one start of a flexible block"
            accepted[name] = Fraction(int(k[i]), int(options.steps[i]))
            gain = int(options.side[i]) * sum(
                int(energy[i, t]) * (int(options.price[i]) - fee * 0 - int(price[t])) for t in range(slots)
            )
            assert gain >= 0, "no block is paradoxically accepted"
    groups = [block["exclusive_group"] for block in blocks if block["id"] in accepted and block["exclusive_group"]]
    assert len(groups) == len(set(groups))
    for block in blocks:
        ratio = accepted.get(block["id"], Fraction(0))
        assert ratio == 0 or Fraction(str(block["minimum_acceptance"])) <= ratio <= 1
        if block.get("linked_to") is not None:
            assert ratio <= accepted.get(block["linked_to"], Fraction(0))
    bought = int(done.filled_wh[orders.side == BUY].sum()) + int(energy[options.side == BUY].sum())
    assert int(done.pay_nano.sum()) + int(done.block_pay_nano.sum()) == fee * bought
    assert done.found.bound >= done.found.priced.welfare


@pytest.mark.parametrize("method", ["milp", "heuristic"])
@settings(max_examples=120, deadline=None)
@given(book=block_books(), fee=st.sampled_from([0, 0, 2]))
def test_every_clearing_of_blocks_keeps_the_rules(method: str, book: tuple[Orders, Extra], fee: int) -> None:
    orders, extra = book
    done = clear_blocks(orders, Conventions(grid_fee_micro_per_kwh=fee), extra, method)  # type: ignore[arg-type]
    _check(orders, extra, done, fee)


@settings(max_examples=120, deadline=None)
@given(block_books(curtailable=False, most=4))
def test_the_search_finds_the_best_of_all_sets_of_blocks(book: tuple[Orders, Extra]) -> None:
    orders, extra = book
    done = clear_blocks(orders, Conventions(), extra)
    slots, options = done.slots, done.slots.options
    best = 0
    for chosen in itertools.product((0, 1), repeat=options.count):
        k = np.array(chosen, dtype=np.int64) * options.steps
        if any(sum(chosen[i] for i in group) > 1 for group in options.groups):
            continue
        if any(chosen[i] and above and not any(chosen[p] for p in above) for i, above in enumerate(options.parents)):
            continue
        priced = slots.price(k)
        if isinstance(priced, Priced):
            best = max(best, priced.welfare)
    assert done.found.priced.welfare == best
    assert done.found.proved


@settings(max_examples=60, deadline=None)
@given(block_books(), st.randoms(use_true_random=False))
def test_rows_and_blocks_may_come_in_any_sequence(book: tuple[Orders, Extra], random) -> None:  # type: ignore[no-untyped-def]
    orders, extra = book
    blocks, slot = list(extra["blocks"]), extra[ORDER_EXTRA]["slot"]  # type: ignore[call-overload, index]
    random.shuffle(blocks)
    rows = np.array(random.sample(range(orders.count), orders.count), dtype=np.intp)
    moved = {"blocks": blocks, ORDER_EXTRA: {"slot": [slot[r] for r in rows]}}
    one, two = clear_blocks(orders, Conventions(), extra), clear_blocks(orders.take(rows), Conventions(), moved)
    assert one.filled_wh[rows].tolist() == two.filled_wh.tolist()
    assert one.block_filled_wh.tolist() == two.block_filled_wh.tolist()
    assert one.found.priced.price.tolist() == two.found.priced.price.tolist()


@settings(max_examples=120, deadline=None)
@given(books(), conventions(), st.data())
def test_without_blocks_every_slot_is_a_uniform_auction(orders: Orders, chosen: Conventions, data: st.DataObject) -> None:
    slot = data.draw(st.lists(st.integers(0, 2), min_size=orders.count, max_size=orders.count))
    extra = {"blocks": [], ORDER_EXTRA: {"slot": slot}}
    try:
        done = clear(orders, chosen, extra=extra)
    except RangeError:
        return
    assert_laws(BLOCKS, orders, chosen, extra=extra)
    if chosen.lot_wh == 1 and not chosen.grid_fee_micro_per_kwh:
        parts = [[row for row in range(orders.count) if slot[row] == t] for t in range(3)]
        columns = (orders.side, orders.price_micro_per_kwh, orders.quantity_wh)
        best = sum(best_welfare_nano(*(column[part].tolist() for column in columns)) for part in parts)
        assert done.certificate["welfare_nano"] == best


def test_a_block_that_would_lose_at_the_uniform_price_is_rejected_and_one_that_would_gain_is_listed() -> None:
    # 50 Wh at most are wanted above 10; a block of 100 at 9 would take the price to 1 and lose, its rejection leaves 15
    orders = make_orders([1, 1, -1], [50, 50, 60], [20, 10, 15])
    sell = {"id": "b", "side": "sell", "price_micro_per_kwh": 11, "quantity_wh": [90]}
    done = clear(orders, Conventions(), extra={"blocks": [sell], ORDER_EXTRA: {"slot": [0, 0, 0]}})
    assert done.certificate["block_filled_wh"].tolist() == [0]  # type: ignore[union-attr]
    assert done.certificate["paradoxically_rejected"].tolist() == [0]  # type: ignore[union-attr]
    assert done.price_micro_per_kwh == 15


def test_a_child_comes_only_with_its_parent() -> None:
    orders = make_orders([1, 1], [10, 10], [20, 20])
    parent = {"id": "p", "side": "sell", "price_micro_per_kwh": 30, "quantity_wh": [10, 0]}
    child = {"id": "c", "side": "sell", "price_micro_per_kwh": 5, "quantity_wh": [0, 10], "linked_to": "p"}
    extra = {"blocks": [parent, child], ORDER_EXTRA: {"slot": [0, 1]}}
    assert clear_blocks(orders, Conventions(), extra).block_filled_wh.tolist() == [0, 0]
    parent["price_micro_per_kwh"] = 20
    assert clear_blocks(orders, Conventions(), extra).block_filled_wh.tolist() == [10, 10]


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


def test_every_fault_of_a_block_book_is_named_at_once() -> None:
    good = {"side": "sell", "price_micro_per_kwh": 5, "quantity_wh": [1, 2]}
    blocks: list[object] = [
        {**good, "id": "a", "linked_to": "b"},
        {**good, "id": "b", "linked_to": "c"},
        {**good, "id": "c", "linked_to": "a"},
        {**good, "id": "d", "linked_to": "nobody"},
        {**good, "id": "e", "linked_to": "e"},
        {**good, "id": "e", "quantity_wh": [1, -2]},
        {**good, "id": "f", "side": "both", "price_micro_per_kwh": 1.5, "minimum_acceptance": 2, "colour": "red"},
        {**good, "id": True, "quantity_wh": [0, 0], "flexible": "yes"},
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
    assert {"minimum_acceptance", "flexible", "block", "id"} <= set(fields)
    with pytest.raises(InputError, match="3 slots, one number each"):
        clear(orders, Conventions(), extra={"blocks": [{**good, "id": 1}], ORDER_EXTRA: {"slot": [0, 2]}})
    with pytest.raises(InputError, match="effort"):
        clear(orders, Conventions(), extra={"blocks": [], "search": {"method": "luck", "effort": 0}})


def test_the_reverse_side_is_symmetric() -> None:
    orders = make_orders([-1, -1, 1], [50, 50, 60], [-20, -10, -15])
    buy = {"id": "b", "side": "buy", "price_micro_per_kwh": -11, "quantity_wh": [90]}
    done = clear_blocks(orders, Conventions(), {"blocks": [buy], ORDER_EXTRA: {"slot": [0, 0, 0]}})
    assert done.block_filled_wh.tolist() == [0]
    assert done.paradoxically_rejected.tolist() == [0]
    assert orders.side.tolist() == [SELL, SELL, BUY]
