"""A batch that was recorded is looked at once more before it is sent: sent unbacked it would cost the bond."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batch_world import BOND, PRICE, UNIT, Batches
from ledger_world import World, chain_of, stranger
from walras.errors import LedgerError
from walras.exchange.batching import MadeBatch
from walras.ledger import next_sender
from walras.ledger.batches import attest_facts, find_fraud, post_arguments, post_gas, prove
from walras.study.movements import check_backed, held_nano

PAID_IN = 1_000_000


def test_a_batch_recorded_before_a_wrong_one_came_and_went_is_not_sent_while_money_lacks() -> None:
    """Recorded, then a member asks for everything, then another operator posts a wrong batch, which is taken back: now the next
    batch is under way. The recorded one would charge the member 300 Wh that nothing backs, until somebody pays in for it."""
    with chain_of("embedded") as chain:
        b = Batches(World(chain, members=5), paid_in=PAID_IN)
        batch, words, facts, tree = b.honest([{1: 300, 2: -300}])
        signatures = attest_facts(b.contract, batch, [b.keys.oracle(index) for index in range(3)])
        sender = next_sender(chain, b.keys.admin)  # whose raw bytes wait; nobody sends them here
        raw = b.contract.transaction(sender, "post", *post_arguments(batch, signatures), gas_limit=post_gas(batch))
        made = MadeBatch(batch, (), tuple(words), tuple(facts), tree)
        addresses = b.world.addresses
        b.must_ask(1, PAID_IN * UNIT)
        check_backed(chain, raw, made, held_nano(chain, addresses, b.contract, 5), "batch 0")
        wrong = replace(batch, slots=((bytes([7]) * 32, batch.slots[0][1]),))
        assert b.post(wrong).refusal is None
        by_key = {(fact.slot, fact.account): fact for fact in facts}
        fraud = find_fraud(wrong, [], 5, by_key, tree, b.collateral(0))  # type: ignore[arg-type]
        assert fraud is not None
        prove(chain, b.contract, stranger(), 0, fraud, timestamp=b.world.now)
        b.must(b.operator, "addBond", BOND)
        lacking = 300 * PRICE
        for lacks, pays in ((lacking, lacking - UNIT), (UNIT, UNIT)):
            with pytest.raises(LedgerError, match=rf"account 1 would pay {lacks:,} nano beyond(.|\n)*pay into account 1"):
                check_backed(chain, raw, made, held_nano(chain, addresses, b.contract, 5), "batch 0")
            b.must(b.operator, "deposit", 1, pays // UNIT)
        check_backed(chain, raw, made, held_nano(chain, addresses, b.contract, 5), "batch 0")
        assert b.post(batch).refusal is None
        assert find_fraud(batch, [], 5, by_key, tree, b.collateral(0)) is None  # type: ignore[arg-type]
