"""What settlement costs: the constants are real receipts, money is rounded up, and batches say what they save."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from batch_world import Batches
from ledger_world import World, chain_of
from walras.errors import InputError
from walras.ledger import NetPositions, net_positions, next_sender, settlement_transaction
from walras.ledger.batches import make_batch
from walras.ledger.costs import CostTerms, batched_gas, direct_gas, price_of_gas, settlement_costs

MEMBERS = 60


def flows(members: int, slot: int) -> NetPositions:
    """Household flows between all members that sum to zero."""
    draw = np.random.default_rng(slot)
    energy, payment = draw.integers(-1_000, 1_000, members), draw.integers(-(3 * 10**8), 3 * 10**8, members)
    energy[-1] -= energy.sum()
    payment[-1] -= payment.sum()
    return net_positions(np.arange(members), payment, energy)


def test_the_constants_of_direct_settlement_are_receipts() -> None:
    with chain_of("embedded", MEMBERS) as chain:
        world = World(chain, members=MEMBERS)
        used = []
        for slot in range(2):  # the second finds every word written
            sender = next_sender(chain, world.keys.operator)
            raw = settlement_transaction(world.addresses, sender, world.settlement(slot, flows(MEMBERS, slot)))
            used.append(chain.send(raw, timestamp=world.now).gas_used)
    assert direct_gas([MEMBERS]) == pytest.approx(used[1], rel=0.03)


@pytest.mark.parametrize("slots", [2, 16])
def test_the_constants_of_batches_are_receipts(slots: int) -> None:
    with chain_of("embedded", MEMBERS) as chain:
        batches = Batches(World(chain, members=MEMBERS))
        batches.post_honest([{}])
        content = [flows(MEMBERS, slot) for slot in range(slots)]
        batch, _ = make_batch(batches.words, MEMBERS, batches.slot, content, bytes(range(32)), bytes(range(1, 33)))
        used = batches.post(batch).gas_used
    assert batched_gas([MEMBERS] * slots, slots) == pytest.approx(used, rel=0.03)


@given(gas=st.integers(0, 10**12), wei=st.integers(0, 10**13), coin=st.integers(0, 10**15))
def test_gas_is_never_priced_below_its_price_nor_a_nano_above(gas: int, wei: int, coin: int) -> None:
    nano = price_of_gas(gas, CostTerms(wei, coin))
    assert (nano - 1) * 10**18 < gas * wei * coin <= nano * 10**18


@given(participants=st.lists(st.integers(0, 500), max_size=200), size=st.integers(1, 672))
def test_batches_cover_every_slot_once(participants: list[int], size: int) -> None:
    direct, batched = settlement_costs(participants, CostTerms(batch_slots=size))
    parts = [participants[at : at + size] for at in range(0, len(participants), size)]
    assert batched.transactions == len(parts)
    assert batched.gas == sum(batched_gas(part, len(part)) for part in parts)
    assert direct.transactions == len(participants)


def test_receipts_count_where_there_are_receipts() -> None:
    direct, _ = settlement_costs([120, 120], CostTerms(), [700_000, 1])
    assert direct.gas == 700_001
    with pytest.raises(InputError, match="2 like participants"):
        settlement_costs([120, 120], CostTerms(), [700_000])


def test_cost_terms_tell_all_their_faults() -> None:
    with pytest.raises(InputError) as caught:
        CostTerms(-1, -1, 0)
    assert [fault.field for fault in caught.value.faults] == ["wei_per_gas", "coin_nano", "batch_slots"]
