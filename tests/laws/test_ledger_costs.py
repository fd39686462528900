"""What settlement costs: the constants are real receipts, money is rounded up, and batches say what they save."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from batch_world import Batches
from ledger_world import World, chain_of
from walras.errors import InputError
from walras.exchange.correction import difference_positions
from walras.ledger import net_positions, next_sender, pack_positions, settlement_transaction
from walras.ledger.batches import make_batch
from walras.ledger.costs import (
    FIRST_BATCH_GAS,
    CostTerms,
    Slots,
    batched_gas,
    direct_gas,
    post_costs,
    price_of_gas,
    settlement_costs,
)
from walras.units import Int64

SIGNATURES = 3
"""What `World` and `Batches` have signed: the quorum."""


def flows(members: int, slot: int, share: float = 1.0) -> tuple[Int64, Int64]:
    """Household flows of about this share of the members that sum to zero: (payment, energy) columns."""
    draw = np.random.default_rng(slot)
    energy, payment = draw.integers(-1_000, 1_000, members), draw.integers(-(3 * 10**6), 3 * 10**6, members)
    idle = draw.random(members) >= share
    energy[idle] = payment[idle] = 0
    energy[-1] -= energy.sum()
    payment[-1] -= payment.sum()
    return payment, energy


@pytest.mark.parametrize("members", [18, 60])
def test_direct_settlement_costs_what_a_node_says(members: int) -> None:
    with chain_of("anvil", members) as chain:
        world = World(chain, members=members)
        for slot, share in enumerate((1, 1, 0.6, 0.2)):
            payment, energy = flows(members, slot, share)
            positions = net_positions(np.arange(members), payment, energy)
            raw = settlement_transaction(
                world.addresses, next_sender(chain, world.keys.operator), world.settlement(slot, positions)
            )
            receipt = chain.send(raw, timestamp=world.now)
            assert receipt.refusal is None
            if slot:  # the first one writes the contract's fresh word
                assert direct_gas([pack_positions(positions)], SIGNATURES) == pytest.approx(receipt.gas_used, rel=0.01)


@pytest.mark.parametrize("members", [18, 60])
def test_batches_cost_what_a_node_says_executed_or_at_their_datas_floor(members: int) -> None:
    with chain_of("anvil", members) as chain:
        batches = Batches(World(chain, members=members))
        for number, (slots, share) in enumerate([(3, 0.5), (1, 1), (5, 0.3), (16, 1), (40, 0.7)]):
            content = [difference_positions(*flows(members, number + slot, share)) for slot in range(slots)]
            made = make_batch(batches.words, members, batches.slot, content, bytes(range(32)), bytes(range(1, 33)))
            receipt = batches.post(made[0])
            assert receipt.refusal is None
            packed = [one for _, one in made[0].slots]
            estimate = post_costs(packed, SIGNATURES, first=number == 0)
            assert estimate == pytest.approx(receipt.gas_used, rel=0.01)
            batches.words, batches.slot = made[1], batches.slot + slots


@given(gas=st.integers(0, 10**12), wei=st.integers(0, 10**13), coin=st.integers(0, 10**15))
def test_gas_is_never_priced_below_its_price_nor_a_nano_above(gas: int, wei: int, coin: int) -> None:
    nano = price_of_gas(gas, CostTerms(wei, coin))
    assert (nano - 1) * 10**18 < gas * wei * coin <= nano * 10**18


@given(sizes=st.lists(st.integers(0, 40), max_size=60), size=st.integers(1, 672))
def test_batches_cover_every_slot_once(sizes: list[int], size: int) -> None:
    row = bytes(range(1, 17))
    packed = tuple(row * count for count in sizes)
    direct, batched = settlement_costs(Slots(packed, (), packed, 3), CostTerms(batch_slots=size))
    parts = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert batched.transactions == len(parts)
    alone = sum(batched_gas(part, len(part), 3) for part in parts)  # as if each were a contract's first
    assert alone - FIRST_BATCH_GAS * max(len(parts) - 1, 0) <= batched.gas <= alone
    assert direct.transactions == len(sizes)


def test_receipts_count_where_there_are_receipts() -> None:
    slots = Slots((b"", b""), (), (b"", b""), 3)
    direct, _ = settlement_costs(slots, CostTerms(), [700_000, 1])
    assert direct.gas == 700_001
    with pytest.raises(InputError, match="2 like the slots"):
        settlement_costs(slots, CostTerms(), [700_000])


def test_cost_terms_tell_all_their_faults() -> None:
    with pytest.raises(InputError) as caught:
        CostTerms(-1, -1, 0)
    assert [fault.field for fault in caught.value.faults] == ["wei_per_gas", "coin_nano", "batch_slots"]
