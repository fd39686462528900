"""The watchtower hears oracles where they speak in public: settlements and corrections, in the record's order and on the chain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger_rights import meter, salted
from ledger_world import CHAINS, THRESHOLD, World, chain_of, pair
from walras.exchange.watch_oracles import Sworn, contradictions, convict, convict_foreign, sworn_on_chain
from walras.ledger import correction_digest, net_positions, pack_positions, settle
from walras.ledger.calls import create
from walras.ledger.oracle_bond import SignedRoot, stake_of
from walras.metering import sign_reading, tree_over

STAKE, ROOT = 1_000, bytes([9]) * 32


@pytest.mark.parametrize("kind", CHAINS)
def test_two_roots_for_one_correction_and_a_false_one_are_heard_on_the_chain_and_convict(kind: str) -> None:
    with chain_of(kind) as chain:
        world = World(chain, members=3)
        keys, now, addresses = world.keys, world.now, world.addresses
        bond = create(
            chain, keys.admin, "OracleBond", addresses.settlement, "0x" + "00" * 20, keys.admin.address, 1, 60, 1_000, timestamp=now
        )
        assert world.send(keys.operator, "TestCurrency", "mint", keys.operator.address, 9 * STAKE).status == 1
        assert world.send(keys.operator, "TestCurrency", "approve", bond.address, 9 * STAKE).status == 1
        for index in range(3):
            bond.act(chain, keys.operator, "bond", keys.oracle(index).address, STAKE, timestamp=now)
        settle(chain, addresses, keys.operator, world.settlement(0, pair(1, 2, 5, 5)), timestamp=now)
        leaf = salted(sign_reading(meter(1), 7, 0, 5, 1))  # a reading of slot 7
        tree = tree_over((leaf, b"another leaf"))
        joined = world.correction_signatures(0, 1, tree.root)
        header = (tree.root, bytes(32), bytes(32))
        rows = pack_positions(net_positions([1, 2], [1, -1], [0, 0]))
        assert world.send(keys.operator, "Settlement", "correctSlot", 0, header, rows, joined).status == 1

        heard = sworn_on_chain(chain, addresses.settlement)
        assert sorted((one.signed.slot, one.signed.revision) for one in heard) == [(0, 0)] * THRESHOLD + [(0, 1)] * THRESHOLD
        assert contradictions(heard) == []  # a correction has another root, as it should
        digest = correction_digest(chain.chain_id, addresses.settlement, 0, 1, ROOT)
        liar = keys.oracle(0)
        elsewhere = Sworn(liar.address, SignedRoot(0, ROOT, liar.sign_digest(digest), 1))
        assert contradictions([*heard, replace(elsewhere, signed=replace(elsewhere.signed, revision=2))]) == []
        (pair_found,) = contradictions([*heard, elsewhere])
        (done,) = convict(chain, bond, keys.member(1), [pair_found], now)
        assert (done.oracle, stake_of(chain, bond, liar.address)) == (liar.address, 0)

        proof = tree.proof(0)
        shown = {
            "kind": "reading",
            "slot": 0,
            "leaf": leaf.hex(),
            "root": tree.root.hex(),
            "index": proof.index,
            "count": proof.count,
            "path": [step.hex() for step in proof.siblings],
        }
        others = convict_foreign(chain, bond, keys.member(1), {"proofs": [shown]}, heard, now)
        assert {one.oracle for one in others} == {keys.oracle(index).address for index in (1, 2)}
        assert [stake_of(chain, bond, keys.oracle(index).address) for index in range(3)] == [0, 0, 0]
