"""Block books: every accepted block gains at one price a slot, and no set of blocks is better than the bound says."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, conventions
from walras.errors import RangeError
from walras.market.block_book import read_blocks
from walras.market.block_model import build_model
from walras.market.block_prices import Priced, price_blocks
from walras.market.block_search import Method
from walras.market.block_slots import make_slots
from walras.market.blocks import BLOCKS, BlockClearing, clear, clear_blocks
from walras.market.conventions import Conventions
from walras.market.laws import assert_laws, best_welfare_nano
from walras.market.mechanism import ORDER_EXTRA, run
from walras.market.orders import BUY, Orders, make_orders
from walras.market.registry import mechanism_named
from walras.market.terms import terms

Extra = dict[str, object]


@st.composite
def block_books(
    draw: st.DrawFn, curtailable: bool = True, most: int = 5, slots: int = 3, top: int = 20, unit: int = 1
) -> tuple[Orders, Extra]:
    """Small books with links, groups, flexible starts and minimum ratios; `unit` multiplies energy and prices."""
    n = draw(st.integers(0, 10))
    side = draw(st.lists(st.sampled_from([1, -1]), min_size=n, max_size=n))
    quantity = draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))
    price = draw(st.lists(st.integers(0, top), min_size=n, max_size=n))
    slot = draw(st.lists(st.sampled_from([None, *range(slots)]), min_size=n, max_size=n))
    blocks: list[dict[str, object]] = []
    for b in range(draw(st.integers(0, most))):
        flexible = draw(st.sampled_from([False, False, False, True]))
        length = draw(st.integers(1, slots - 1)) if flexible else slots
        profile = draw(st.lists(st.integers(0, 10), min_size=length, max_size=length).filter(any))
        block: dict[str, object] = {
            "id": b,
            "side": draw(st.sampled_from(["buy", "sell"])),
            "price_micro_per_kwh": unit * draw(st.integers(0, top)),
            "quantity_wh": [unit * wh for wh in profile],
            "flexible": flexible,
            "minimum_acceptance": draw(st.sampled_from([1, 0.5, 0, "1/3"])) if curtailable else 1,
            "exclusive_group": draw(st.sampled_from([None, None, "g"])),
        }
        if b and draw(st.booleans()):
            block["linked_to"] = draw(st.integers(0, b - 1))
        blocks.append(block)
    if not any(not block["flexible"] for block in blocks):  # so that every book has as many slots
        blocks.append(
            {"id": "last", "side": "buy", "price_micro_per_kwh": 0, "quantity_wh": [unit] * slots, "minimum_acceptance": 1}
        )
    orders = make_orders(side, [unit * wh for wh in quantity], [unit * p for p in price])
    return orders, {"blocks": blocks, ORDER_EXTRA: {"slot": slot}}


def _check(orders: Orders, extra: Extra, done: BlockClearing, fee: int = 0) -> None:
    """All that a clearing of blocks keeps, recomputed in whole numbers from the book as written."""
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
    for i in np.flatnonzero(k).tolist():
        name = options.names[int(options.block[i])]
        block = next(block for block in blocks if block["id"] == name)
        assert name not in accepted, "one start of a flexible block"
        accepted[name] = Fraction(int(k[i]), int(options.steps[i]))
        sign, limit = (1, int(block["price_micro_per_kwh"]) - fee) if block["side"] == "buy" else (-1, block["price_micro_per_kwh"])  # type: ignore[call-overload]
        gain = sign * sum(int(energy[i, t]) * (int(limit) - int(price[t])) for t in range(slots))  # type: ignore[call-overload]
        assert gain >= 0, "no block is paradoxically accepted"
        given_wh = [wh for wh in block["quantity_wh"] if wh]  # type: ignore[attr-defined]
        assert [wh for wh in energy[i].tolist() if wh] == [wh * accepted[name] for wh in given_wh], "one ratio in all slots"
    groups = [block["exclusive_group"] for block in blocks if block["id"] in accepted and block.get("exclusive_group")]
    assert len(groups) == len(set(groups))
    for block in blocks:
        ratio = accepted.get(block["id"], Fraction(0))
        assert ratio == 0 or Fraction(str(block["minimum_acceptance"])) <= ratio <= 1
        if block.get("linked_to") is not None:
            assert ratio <= accepted.get(block["linked_to"], Fraction(0))
    bought = int(done.filled_wh[orders.side == BUY].sum()) + int(energy[options.side == BUY].sum())
    assert int(done.pay_nano.sum()) + int(done.block_pay_nano.sum()) == fee * bought
    assert done.found.bound >= done.found.priced.welfare


def exhaustive_welfare(orders: Orders, extra: Extra, reach: int) -> int:
    """The slow twin for two slots: every ratio of every block against every pair of prices from -reach to reach. Shares nothing
    with the search but the reading of the book."""
    options, slot, slots = read_blocks(orders, extra, Conventions())
    assert slots == 2
    level = np.arange(-reach, reach + 1)
    curves = []
    for t in range(2):
        rows = [
            (int(orders.side[r]), int(orders.price_micro_per_kwh[r]), int(orders.quantity_wh[r])) for r in np.flatnonzero(slot == t)
        ]
        most = sum(s * q * ((p >= level) if s == BUY else (p < level)) for s, p, q in rows) + 0 * level
        least = sum(s * q * ((p > level) if s == BUY else (p <= level)) for s, p, q in rows) + 0 * level
        gain = sum(q * np.maximum(s * (p - level), 0) for s, p, q in rows) + 0 * level
        curves.append((most, least, gain))
    ways = [[0, *range(int(a), int(b) + 1)] for a, b in zip(options.least, options.steps, strict=True)]
    best = 0
    for k in itertools.product(*ways):
        if any(sum(k[i] > 0 for i in group) > 1 for group in options.groups):
            continue
        if any(
            k[i] and not any(k[p] * options.steps[i] >= k[i] * options.steps[p] > 0 for p in above)
            for i, above in enumerate(options.parents)
            if above
        ):
            continue
        energy = options.energy // options.steps[:, None] * np.array(k)[:, None]
        brought = -(options.side[:, None] * energy).sum(axis=0)
        fits = [(least <= wh) & (wh <= most) for (most, least, _), wh in zip(curves, brought.tolist(), strict=True)]
        both = fits[0][:, None] & fits[1][None, :]
        for i in np.flatnonzero(k):
            value = int(options.price[i]) * int(energy[i].sum())
            both &= int(options.side[i]) * (value - int(energy[i, 0]) * level[:, None] - int(energy[i, 1]) * level[None, :]) >= 0
        if both.any():
            first, second = (int(x) for x in np.argwhere(both)[0])
            worth = int((options.side * options.price * energy.sum(axis=1)).sum())
            orders_gain = sum(
                int(gain[x]) + int(level[x]) * wh
                for (_, _, gain), x, wh in zip(curves, (first, second), brought.tolist(), strict=True)
            )
            best = max(best, worth + orders_gain)
    return best


@pytest.mark.parametrize("method", ["milp", "heuristic"])
@settings(max_examples=60, deadline=None)
@given(book=block_books(), fee=st.sampled_from([0, 0, 2]))
def test_every_clearing_of_blocks_keeps_the_rules(method: Method, book: tuple[Orders, Extra], fee: int) -> None:
    orders, extra = book
    done = clear_blocks(orders, Conventions(grid_fee_micro_per_kwh=fee), extra, method)
    _check(orders, extra, done, fee)


@settings(max_examples=40, deadline=None)
@given(block_books(unit=1_000_003))
def test_large_numbers_change_nothing_but_the_scale(book: tuple[Orders, Extra]) -> None:
    orders, extra = book
    try:
        done = clear_blocks(orders, Conventions(), extra)
    except RangeError:
        return
    _check(orders, extra, done)


@settings(max_examples=60, deadline=None)
@given(block_books(curtailable=False, most=4, slots=2, top=8))
def test_the_search_finds_the_best_of_all_sets_of_blocks(book: tuple[Orders, Extra]) -> None:
    orders, extra = book
    done = clear_blocks(orders, Conventions(), extra)
    best = exhaustive_welfare(orders, extra, 60)
    assert best <= done.found.bound
    if done.found.proved:
        assert done.found.priced.welfare >= best


@settings(max_examples=40, deadline=None)
@given(block_books(curtailable=True, most=2, slots=2, top=8))
def test_no_ratios_of_curtailable_blocks_are_beyond_the_bound(book: tuple[Orders, Extra]) -> None:
    orders, extra = book
    done = clear_blocks(orders, Conventions(), extra)
    _check(orders, extra, done)
    best = exhaustive_welfare(orders, extra, 60)
    assert best <= done.found.bound
    if done.found.proved:
        assert done.found.priced.welfare >= best


def proposals_bound(orders: Orders, extra: Extra) -> int:
    """The least bound of the program alone, conflicts cut one after the other, without the local search that could hide it."""
    options, slot, count = read_blocks(orders, extra, Conventions())
    model = build_model(make_slots(orders, terms(orders, Conventions()), slot, count, options, Conventions()))
    least = model.relax().bound
    for _ in range(20):
        proposal = model.propose(1_000)
        if proposal is None:
            return -1  # the cuts left nothing, not even no block at all
        least = min(least, proposal.bound)
        assert proposal.x is not None
        verdict = price_blocks(model.slots, model.steps(proposal.x))
        if isinstance(verdict, Priced):
            break
        cuts = sum(model.cut(conflict) for conflict in verdict.conflicts if conflict.proved)
        if not cuts:
            break
    return least


@settings(max_examples=60, deadline=None)
@given(block_books(curtailable=False, most=5, slots=2, top=8))
def test_no_line_and_no_cut_excludes_the_best_set_of_blocks(book: tuple[Orders, Extra]) -> None:
    orders, extra = book
    assert proposals_bound(orders, extra) >= exhaustive_welfare(orders, extra, 60)


@pytest.mark.nightly
@settings(max_examples=1_500, deadline=None)
@given(block_books(curtailable=False, most=5, slots=2, top=8))
def test_the_search_finds_the_best_of_all_sets_of_blocks_in_many_books(book: tuple[Orders, Extra]) -> None:
    orders, extra = book
    done = clear_blocks(orders, Conventions(), extra)
    _check(orders, extra, done)
    best = exhaustive_welfare(orders, extra, 60)
    assert best <= done.found.bound
    if done.found.proved:
        assert done.found.priced.welfare >= best


@pytest.mark.nightly
@pytest.mark.parametrize("unit", [1, 1_000_003])
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_larger_books_keep_the_rules(unit: int, data: st.DataObject) -> None:
    orders, extra = data.draw(block_books(most=14, slots=5, unit=unit))
    try:
        done = clear_blocks(orders, Conventions(), extra)
    except RangeError:
        return
    _check(orders, extra, done)
    assert done.found.priced.welfare >= clear_blocks(orders, Conventions(), extra, "heuristic").found.priced.welfare


@settings(max_examples=25, deadline=None)
@given(block_books(), st.randoms(use_true_random=False))
def test_rows_and_blocks_may_come_in_any_sequence(book: tuple[Orders, Extra], random) -> None:  # type: ignore[no-untyped-def]
    orders, extra = book
    blocks, slot = list(extra["blocks"]), extra[ORDER_EXTRA]["slot"]  # type: ignore[call-overload, index]
    random.shuffle(blocks)
    rows = np.array(random.sample(range(orders.count), orders.count), dtype=np.intp)
    moved = {"blocks": blocks, ORDER_EXTRA: {"slot": [slot[r] for r in rows]}}
    one, two = clear_blocks(orders, Conventions(), extra), clear_blocks(orders.take(rows), Conventions(), moved)
    assert one.filled_wh[rows].tolist() == two.filled_wh.tolist()
    assert one.block_slot_wh.sum(axis=1).tolist() == two.block_slot_wh.sum(axis=1).tolist()
    assert one.found.priced.price.tolist() == two.found.priced.price.tolist()


@settings(max_examples=40, deadline=None)
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


@settings(max_examples=40, deadline=None)
@given(books())
def test_the_book_of_one_slot_without_blocks_clears_as_uniform_does(orders: Orders) -> None:
    one, uniform = run(BLOCKS, orders, Conventions()), run(mechanism_named("uniform"), orders, Conventions())
    assert one.filled_wh.tolist() == uniform.filled_wh.tolist()
    assert one.pay_nano.tolist() == uniform.pay_nano.tolist()
    assert one.price_micro_per_kwh == uniform.price_micro_per_kwh
