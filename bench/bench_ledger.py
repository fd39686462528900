"""What a settlement costs: gas of a participant on a real node, and time on the embedded EVM.

The node comes with `npm ci`. Gas does not depend on the machine.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from bench.harness import Result, at_most

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from ledger_world import START, World, chain_of
from walras.ledger import Chain, NetPositions, net_positions, next_sender, settlement_transaction

GAS_GOAL = 6_200
"""Floor: a cold read of a word (2,100) and a write to it (2,900); the rest is calldata, checks and the loop."""

SECONDS_GOAL = 0.15


def positions(members: int, slot: int) -> NetPositions:
    """Flows between all members that sum to zero, of household size: up to 1 kWh and 0.30 a slot."""
    draw = np.random.default_rng(slot)
    energy = draw.integers(-1_000, 1_000, members)
    energy[-1] -= energy.sum()
    payment = energy * 300_000
    return net_positions(np.arange(members), payment, energy)


def settled_gas(world: World, slot: int, participants: int) -> int:
    """Gas of a whole settlement of the first `participants` members, whose words are not zero."""
    raw = settlement_transaction(
        world.addresses,
        next_sender(world.chain, world.keys.operator),
        world.settlement(slot, positions(participants, slot)),
    )
    receipt = world.chain.send(raw, timestamp=START + 900 * (slot + 1))
    assert receipt.refusal is None, receipt.refusal
    return receipt.gas_used


def gas_on_a_node() -> list[Result]:
    """Marginal gas between 50 and 100 participants, and the whole slot at 100."""
    with chain_of("anvil", 100) as chain:
        world = World(chain, members=100)
        settled_gas(world, 0, 100)  # every word written once: what a running community has
        fifty, hundred = settled_gas(world, 1, 50), settled_gas(world, 2, 100)
    marginal = (hundred - fifty) / 50
    detail = f"{marginal:.0f} gas against {GAS_GOAL}; whole slot of 100: {hundred} gas"
    return [at_most("ledger: gas of one more participant in a slot", marginal / GAS_GOAL, 1, detail)]


def time_embedded() -> list[Result]:
    """CPU seconds to settle 120 accounts on the embedded EVM, best of five: this machine, other loads left out."""
    with chain_of("embedded", 120) as chain:
        world = World(chain, members=120)
        seconds = [_settle_seconds(world, chain, slot) for slot in range(5)]
    best = min(seconds)
    detail = f"{best * 1000:.0f} ms against {SECONDS_GOAL * 1000:.0f} ms"
    return [at_most("ledger: embedded settlement of 120 accounts", best / SECONDS_GOAL, 1, detail)]


def _settle_seconds(world: World, chain: Chain, slot: int) -> float:
    operator = next_sender(chain, world.keys.operator)
    raw = settlement_transaction(world.addresses, operator, world.settlement(slot, positions(120, slot)))
    start = time.process_time()
    receipt = chain.send(raw, timestamp=START + 900 * (slot + 1))
    assert receipt.refusal is None, receipt.refusal
    return time.process_time() - start


def results() -> list[Result]:
    """Every claim of the ledger. The node is needed: `npm ci`."""
    return [*gas_on_a_node(), *time_embedded()]
