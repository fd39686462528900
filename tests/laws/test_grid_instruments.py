"""Relief and rights: paid what the limits are worth, by sensitivities that an AC flow confirms, out of the rent there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid_cases import HOUR, Tables, feeder, random_book, random_tables, tight
from walras.errors import ClearingError, InputError
from walras.grid import FeederSlot, power_flow
from walras.grid.feeder import add_supplier
from walras.grid.nodal import clear
from walras.grid.relief import delivered_relief, limit_sensitivities, power_at, relief_prices, relief_rewards
from walras.grid.rent import congestion_rent, scarcity_price
from walras.grid.rights import Rights, make_rights, settle_rights, simultaneously_feasible
from walras.grid.rows import HIGH_VOLTAGE, TRANSFORMER_LIMIT
from walras.market.clearing import Clearing, welfare_nano
from walras.market.conventions import Conventions
from walras.market.orders import Orders, make_orders

RULES = Conventions()


def sunny(v_max: float = 1.035, more_wh: tuple[int, int] | None = None) -> tuple[FeederSlot, Orders, Clearing]:
    """A feeder full of sun at its voltage limit; `more_wh` (bus, Wh) is a bid that takes whatever the price."""
    slot = FeederSlot(feeder(slack_v_pu=1.02).network(v_max_pu=v_max, v_min_pu=1.0), HOUR)
    rng = np.random.default_rng(2)
    side, wh, price, node = np.full(30, -1), rng.integers(500, 2500, 30), rng.integers(20_000, 69_000, 30), rng.integers(2, 7, 30)
    if more_wh:
        side, node = np.append(side, 1), np.append(node, more_wh[0])
        wh, price = np.append(wh, more_wh[1]), np.append(price, 299_000)
    book = add_supplier(make_orders(side, wh, price, node=node), slot.network, 300_000, 70_000, participant=9)
    return slot, book, clear(book, RULES, slot)


def test_relief_prices_are_the_scarcity_part_of_the_node_prices() -> None:
    slot, book, done = sunny()
    price = relief_prices(slot, power_at(book, done, slot), done)
    assert np.abs(scarcity_price(done)).max() > 1000
    assert price.sum(axis=0) == pytest.approx(scarcity_price(done), abs=20)


def test_a_limit_moves_as_its_sensitivity_says() -> None:
    slot, book, done = sunny()
    p = power_at(book, done, slot)
    rows = limit_sensitivities(slot, p, done)
    kinds, index = done.certificate["limit_kind"], done.certificate["limit_index"]
    base = power_flow(slot.network, p)
    for row, (kind, i) in enumerate(zip(np.asarray(kinds).tolist(), np.asarray(index).tolist(), strict=True)):
        for bus in range(1, 7):
            less = p.copy()
            less[bus] -= 0.01
            flow = power_flow(slot.network, less)
            if kind == HIGH_VOLTAGE:
                moved = (base.v_pu[0, i] - flow.v_pu[0, i]) / 0.01
                assert moved == pytest.approx(rows[row, bus] * 0.01, rel=1e-3)
            elif kind <= TRANSFORMER_LIMIT:
                moved = (base.loading[0, i] - flow.loading[0, i]) * slot.network.branch_rating[i]
                assert moved == pytest.approx(rows[row, bus] * 0.01, rel=1e-3)


def test_the_reward_is_what_the_relief_is_worth_to_everybody() -> None:
    """400 Wh more taken far out on a feeder full of sun: the others gain the reward, less the energy itself."""
    slot, book, done = sunny()
    price = relief_prices(slot, power_at(book, done, slot), done)
    amount = 400
    reward = int(relief_rewards(price, np.array([5]), [-amount]).sum())
    _, more_book, more = sunny(more_wh=(5, amount))
    assert more.filled_wh[30] == amount
    gained = welfare_nano(more_book, more) - 299_000 * amount - welfare_nano(book, done)
    assert done.node_price_micro_per_kwh is not None
    node_price = int(done.node_price_micro_per_kwh[5])
    assert reward > 0  # high voltage: taking is relief, and is paid
    energy_and_losses = node_price - int(scarcity_price(done)[5])
    assert reward == pytest.approx(gained + energy_and_losses * amount, rel=0.05, abs=3e5)


@given(st.lists(st.tuples(st.integers(-900, 900), st.integers(-900, 900), st.integers(-900, 900)), min_size=1, max_size=5))
def test_delivered_relief_is_in_the_agreed_direction_and_never_more(rows: list[tuple[int, int, int]]) -> None:
    baseline, metered, agreed = (np.array(column) for column in zip(*rows, strict=True))
    for relief, (b, m, a) in zip(delivered_relief(baseline, metered, agreed).tolist(), rows, strict=True):
        if a >= 0:
            assert relief == min(max(b - m, 0), a)
        else:
            assert relief == max(min(b - m, 0), a)


def test_relief_columns_must_fit() -> None:
    with pytest.raises(InputError, match="one number a member"):
        delivered_relief([1], [1, 2], [1])


def test_a_hedged_trade_pays_one_price_at_both_ends() -> None:
    """Who sells at a, buys at b and holds the right from a to b pays losses only, whatever the congestion."""
    slot, _, done = sunny()
    scarce = scarcity_price(done)
    price = done.node_price_micro_per_kwh
    assert price is not None
    right = make_rights(slot.network, [1], [6], [0], [500])
    paid = settle_rights(right, scarce, 10**15).paid_nano
    trade = 500 * int(price[0] - price[6])
    losses = np.asarray(done.certificate["losses_micro_per_kwh"])
    assert trade - int(paid[0]) == 500 * int(losses[0] - losses[6])


@given(random_tables(8), st.integers(0, 10**6), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_rights_that_are_the_trades_themselves_are_covered_by_the_rent(tables: Tables, seed: int, part: float) -> None:
    """Any part of what the wires carry anyway, as rights from the root: the payout is that part of the rent, never more."""
    network = tight(tables, 0.4, 0.01)
    slot, book = FeederSlot(network, HOUR), random_book(network, seed, 20, 8.0)
    try:
        done = clear(book, RULES, slot)
    except ClearingError:
        return
    scarce, net = scarcity_price(done), np.zeros(network.buses, dtype=np.int64)
    np.add.at(net, book.node, done.filled_wh * book.side)
    rent = congestion_rent(done)
    held = np.floor(np.abs(net) * part).astype(np.int64)
    root = np.full(network.buses, network.root)
    buses = np.arange(network.buses)
    rights = Rights(buses, np.where(net > 0, root, buses), np.where(net > 0, buses, root), held)
    settled = settle_rights(rights, scarce, rent)
    root_part = int(scarce[network.root]) * int(net.sum())  # losses are bought at the root, under its own limit prices
    rounding = int(np.abs(scarce - scarce[network.root]).sum())
    if rent >= 0:
        assert settled.due_nano.sum() <= part * (rent - root_part) + rounding
        assert settled.paid_nano.sum() <= max(rent, 0)
        assert settled.left_nano == rent - settled.paid_nano.sum() >= 0


@given(st.lists(st.integers(0, 2000), min_size=5, max_size=5))
@settings(max_examples=25, deadline=None)
def test_feasible_rights_do_not_outgrow_the_rent(energy: list[int]) -> None:
    """Rights from homes to the root that the AC flow carries: within 2 % of the rent (the curvature of the limits)."""
    slot, _, done = sunny()
    rights = make_rights(slot.network, range(5), [2, 3, 4, 5, 6], [0] * 5, energy)
    if not simultaneously_feasible(slot, rights):
        return
    rent = congestion_rent(done)
    settled = settle_rights(rights, scarcity_price(done), rent)
    assert settled.due_nano.sum() <= 1.02 * rent
    assert settled.left_nano >= 0


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(-90_000, 90_000)), min_size=1, max_size=6), st.integers(-(10**8), 10**8)
)
def test_short_rent_is_shared_pro_rata_and_nothing_is_lost(rows: list[tuple[int, int]], rent: int) -> None:
    count = len(rows)
    energy, price = np.array([row[0] for row in rows]), np.array([0, *(row[1] for row in rows)])
    rights = Rights(np.arange(count), np.zeros(count, dtype=np.int64), np.arange(1, count + 1), energy)
    done = settle_rights(rights, price, rent)
    assert done.paid_nano.sum() + done.left_nano == rent
    assert (done.paid_nano[done.due_nano <= 0] == done.due_nano[done.due_nano <= 0]).all()
    positive = done.due_nano > 0
    assert (done.paid_nano[positive] <= done.due_nano[positive]).all()
    assert (done.paid_nano[positive] >= 0).all()
    assert done.short_nano == (done.due_nano - done.paid_nano).sum()
    if done.short_nano > 0:
        assert done.left_nano <= 0  # nothing is held back while holders are short
    if done.short_nano == 0:
        assert (done.paid_nano == done.due_nano).all()
    if rent >= 0:
        assert done.left_nano >= 0


def test_rights_name_every_fault() -> None:
    network = feeder().network()
    with pytest.raises(InputError) as caught:
        make_rights(network, [1, 2], [0, 7], [-1, 1], [5, -5])
    assert len(caught.value.faults) == 3
    with pytest.raises(InputError, match="one length"):
        make_rights(network, [1], [0, 1], [1], [5])
