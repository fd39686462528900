"""Blocks on the wires: the best of all choices, whole or not at all, links kept, nobody loses, every slot holds in an AC flow."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from grid_cases import feeder
from walras.errors import InputError
from walras.grid import Network
from walras.grid.coupled import Day
from walras.grid.feeder import FeederSlot, add_supplier
from walras.grid.network_blocks import clear_blocks
from walras.grid.nodal_check import check_nodal
from walras.market.block_book import Options, read_blocks
from walras.market.conventions import Conventions
from walras.market.orders import Orders, make_orders

SLOTS = 6
PLAIN = Conventions()


def _day(network: Network, seed: int) -> tuple[list[FeederSlot], list[Orders]]:
    rng = np.random.default_rng(seed)
    slots, books = [], []
    for t in range(SLOTS):
        side = np.where(rng.random(16) < 0.5, -1, 1)
        price = np.where(side < 0, rng.integers(60_000, 200_000, 16), rng.integers(120_000, 350_000, 16))
        book = make_orders(side, rng.integers(100, 2500, 16), price, node=rng.integers(2, network.buses, 16))
        middle = 150_000 + 40_000 * (t % 3)
        books.append(add_supplier(book, network, middle + 60_000, middle - 60_000, participant=10**6))
        slots.append(FeederSlot(network, 0.5))
    return slots, books


def _blocks(seed: int, count: int = 6, **more: object) -> Options:
    rng = np.random.default_rng(100 + seed)
    records = []
    for i in range(count):
        first, last = sorted(rng.integers(0, SLOTS + 1, 2))
        profile = [int(rng.integers(500, 4000)) if first <= t < max(last, first + 1) else 0 for t in range(SLOTS)]
        if not any(profile):
            profile[0] = 1000
        records.append({
            "id": i, "side": "buy" if rng.random() < 0.5 else "sell", "price_micro_per_kwh": int(rng.integers(110_000, 260_000)),
            "quantity_wh": profile,
        } | ({"linked_to": 0} if i == 1 else {}) | ({"exclusive_group": "x"} if i in (2, 3) else {}) | more)  # fmt: skip
    empty = make_orders([], [], [])
    return read_blocks(empty, {"blocks": records}, PLAIN)[0]


def _bus(blocks: Options) -> np.ndarray:
    return np.array([2, 3, 4, 5, 6, 2, 3, 4])[: len(blocks.names)]


def _worth_of(day: Day, blocks: Options, steps: np.ndarray) -> float:
    """The exact worth of a choice, counted apart: blocks' powers beside the orders, each slot cleared in AC."""
    energy = blocks.energy_at(steps) * blocks.side[:, None]
    taken = np.zeros((SLOTS, day.slots[0].network.buses))
    for i in range(blocks.count):
        taken[:, _bus(blocks)[blocks.block[i]]] += energy[i] / 1000 / day.hours
    return day.measure(taken).total + float(np.sum(blocks.price * energy.sum(axis=1))) / 1000


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_the_best_of_all_subsets(seed: int) -> None:
    network = feeder(slack_v_pu=1.02).network(v_max_pu=1.03)
    slots, books = _day(network, seed)
    blocks = _blocks(seed)
    found = clear_blocks(slots, books, blocks, _bus(blocks), np.arange(6), PLAIN)
    day, best = Day(slots, books), -np.inf
    for choice in product([0, 1], repeat=6):
        if choice[1] > choice[0] or choice[2] + choice[3] > 1:
            continue
        best = max(best, _worth_of(day, blocks, np.array(choice) * blocks.steps))
    assert found.worth == pytest.approx(best, rel=1e-9)
    assert found.final_worth <= found.worth <= found.bound * (1 + 1e-7)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("minimum", [1, 0.3])
def test_blocks_are_whole_linked_and_lose_nothing_and_the_wires_hold(seed: int, minimum: float) -> None:
    network = feeder(slack_v_pu=1.02).network(v_max_pu=1.03)
    slots, books = _day(network, seed)
    blocks = _blocks(seed, 8, minimum_acceptance=minimum)
    found = clear_blocks(slots, books, blocks, _bus(blocks), np.arange(8), PLAIN)
    ratio = found.steps / blocks.steps
    assert ((ratio == 0) | (ratio >= minimum)).all()
    assert (ratio <= 1).all()
    assert ratio[1] <= ratio[0]
    assert (ratio[[2, 3]] > 0).sum() <= 1
    assert (found.gain_nano >= 0).all()
    assert ratio.any()
    energy = blocks.energy_at(found.steps)
    for t in range(SLOTS):
        book, done, rows = found.books[t], found.clearings[t], found.rows[t]
        assert check_nodal(book, done, slots[t], PLAIN) == []
        assert done.filled_wh[book.count - rows.size :].tolist() == energy[rows, t].tolist()
    limit = blocks.side * blocks.price * energy.sum(axis=1)
    assert (found.gain_nano == limit - found.pay_nano).all()


def test_a_block_that_would_lose_at_the_prices_is_rejected_and_named() -> None:
    """Two blocks share a slot that needs one and a bit: the second helps welfare by its first Wh alone and would sell below."""
    network = feeder().network()
    base = make_orders([1, 1], [4000, 1500], [300_000, 100_000], node=[3, 3])
    books = [add_supplier(base, network, 310_000, 20_000, participant=9)]
    slots = [FeederSlot(network, 1.0)]
    record = {"id": "b", "side": "sell", "price_micro_per_kwh": 180_000, "quantity_wh": [5000]}
    blocks = read_blocks(make_orders([], [], []), {"blocks": [record]}, PLAIN)[0]
    found = clear_blocks(slots, books, blocks, np.array([3]), np.array([1]), PLAIN)
    # 4 kWh at 0.30 and 1 kWh at 0.10 are worth 1.30 against 0.90: worth taking, but then the price is 0.10
    assert found.lost == (0,)
    assert found.steps.tolist() == [0]
    assert found.worth - found.final_worth == pytest.approx(1000 * (4 * 0.3 + 0.1 - 0.9) * 1e3, rel=0.02)


def test_a_block_behind_a_limit_that_it_would_break_is_not_taken() -> None:
    network = feeder(slack_v_pu=1.02).network(v_max_pu=1.03)
    books = [add_supplier(make_orders([1], [1000], [300_000], node=[2]), network, 250_000, 200_000, participant=9)]
    slots = [FeederSlot(network, 0.25)]
    record = {"id": "sun", "side": "sell", "price_micro_per_kwh": 50_000, "quantity_wh": [60_000]}
    blocks = read_blocks(make_orders([], [], []), {"blocks": [record]}, PLAIN)[0]
    found = clear_blocks(slots, books, blocks, np.array([6]), np.array([1]), PLAIN)
    assert found.steps.tolist() == [0]
    small = read_blocks(make_orders([], [], []), {"blocks": [record | {"quantity_wh": [2000]}]}, PLAIN)[0]
    assert clear_blocks(slots, books, small, np.array([6]), np.array([1]), PLAIN).steps.tolist() == [2000]


def test_blocks_that_do_not_fit_the_day_are_refused() -> None:
    network = feeder().network()
    slots, books = _day(network, 0)
    blocks = _blocks(0)
    with pytest.raises(InputError, match="6 slots"):
        clear_blocks(slots[:3], books[:3], blocks, _bus(blocks), np.arange(6), PLAIN)
    with pytest.raises(InputError, match="not the root"):
        clear_blocks(slots, books, blocks, np.zeros(6, dtype=np.int64), np.arange(6), PLAIN)
