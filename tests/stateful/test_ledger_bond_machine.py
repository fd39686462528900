"""Staked oracles against a twin of dictionaries: stakes, seats, rotations, departures and every kind of evidence, true or not.

Only an oracle's own two words, or its word for a provably false root, cost it anything; then they cost all of it, for good; who is
on the way out is answerable till the delay is over; no token is lost; and each bug planted into the contract is found.
"""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_rights import issuing, meter, reading
from ledger_world import SEED, START, World, funded, stranger
from walras.ledger import Genesis, LedgerKeys, SigningKey, attestation_digest, correction_digest, next_sender
from walras.ledger.batch_words import BatchWord, DataRoots
from walras.ledger.calls import Contract, create
from walras.ledger.leaf_proofs import meter_key, shown_leaf
from walras.metering import tree_over

MEMBERS, ORACLES, STAKE, DELAY, SHARE_BP = 2, 5, 1_001, 600, 1_000
FUNDS = 100 * STAKE
oracles = st.integers(0, ORACLES - 1)
few = st.integers(0, 1)
BATCHES = ["0x" + byte * 20 for byte in ("77", "78")]
"""Two contracts of batches; nobody asks them anything."""


@st.composite
def batch_words(draw: st.DrawFn) -> tuple[BatchWord, BatchWord]:
    """Two words that differ in few things or in none: slots, facts, what is said of the data."""
    roots = [bytes([root]) * 32 for root in (1, 2)]
    data = st.sampled_from([None, *(DataRoots(before, roots[0], state) for before in roots for state in roots)])
    one = BatchWord(draw(st.integers(0, 3)), draw(st.integers(1, 3)), draw(st.sampled_from(roots)), draw(data))
    part = draw(st.sampled_from(["nothing", "first_slot", "slots", "facts_root", "data", "data"]))
    drawn = {"first_slot": st.integers(0, 6), "slots": st.integers(0, 3), "facts_root": st.sampled_from(roots), "data": data}
    return one, one if part == "nothing" else replace(one, **{part: draw(drawn[part])})


def staking() -> tuple[World, Contract, Contract]:
    """A ledger with a bond that its registry asks; gas money for the oracles."""
    gas = tuple(LedgerKeys(SEED).oracle(index).address for index in range(ORACLES))
    world = World(machine_chain(Genesis(funded(MEMBERS) + gas, timestamp=START - 900)), members=MEMBERS)
    body, now, operator = issuing(world), world.now, world.keys.operator
    terms = (world.addresses.settlement, body.meters.address, stranger().address, STAKE, DELAY, SHARE_BP)
    bond = create(world.chain, world.keys.admin, "OracleBond", *terms, timestamp=now)
    assert world.send(operator, "TestCurrency", "mint", operator.address, FUNDS).status == 1
    assert world.send(operator, "TestCurrency", "approve", bond.address, FUNDS).status == 1
    registry = Contract("Registry", world.chain.chain_id, world.addresses.registry)
    registry.act(world.chain, world.keys.admin, "setOracleBond", bond.address, timestamp=now)
    return world, bond, registry


class BondMachine(RuleBasedStateMachine):
    """Five oracles, of whom some are appointed; the twin holds stakes, departures, convictions and the present set."""

    @initialize()
    def begin(self) -> None:
        self.world, self.bond, self.registry = prepared(staking)
        keys = self.world.keys
        self.keys = [keys.oracle(index) for index in range(ORACLES)]
        self.reporter = keys.member(1)
        self.stake, self.leaves_at = [0] * ORACLES, [0] * ORACLES
        self.convicted: set[int] = set()
        self.appointed = set(range(4))  # appointed before stakes were asked for
        self.outside, self.rewards, self.slashed, self.returned = FUNDS, 0, 0, [0] * ORACLES
        self.paid_on = 0  # of what was slashed, to the treasury
        for oracle in (0, 1, 4):  # the last is not appointed: it may leave at once
            self.put_in(oracle, STAKE)

    def attempt(self, contract: Contract, key: SigningKey, function: str, *arguments: object) -> bool:
        raw = contract.transaction(next_sender(self.world.chain, key), function, *arguments, gas_limit=1_500_000)
        receipt = self.world.chain.send(raw, timestamp=self.world.now)
        self.world.now = receipt.timestamp
        return receipt.status == 1

    @rule(oracle=oracles, amount=st.sampled_from([0, 1, STAKE - 1, STAKE, STAKE]))
    def put_in(self, oracle: int, amount: int) -> None:
        done = self.attempt(self.bond, self.world.keys.operator, "bond", self.keys[oracle].address, amount)
        assert done == (oracle not in self.convicted and not self.leaves_at[oracle] and amount <= self.outside)
        if done:
            self.stake[oracle] += amount
            self.outside -= amount

    def is_bonded(self, oracle: int) -> bool:
        return self.stake[oracle] >= STAKE and not self.leaves_at[oracle] and oracle not in self.convicted

    @rule(chosen=st.sets(oracles, min_size=1, max_size=4))
    def rotate(self, chosen: set[int]) -> None:
        addresses = [self.keys[oracle].address for oracle in sorted(chosen)]
        done = self.attempt(self.registry, self.world.keys.admin, "setOracles", addresses, len(chosen) // 2 + 1)
        assert done == all(self.is_bonded(oracle) for oracle in chosen)
        self.appointed = set(chosen) if done else self.appointed

    @rule(oracle=oracles)
    def ask_to_leave(self, oracle: int) -> None:
        done = self.attempt(self.bond, self.keys[oracle], "requestLeave")
        assert done == (oracle not in self.appointed and self.stake[oracle] > 0 and not self.leaves_at[oracle])
        if done:
            self.leaves_at[oracle] = self.world.now + DELAY

    @rule(oracle=oracles, wait=st.sampled_from([0, DELAY // 2, DELAY - 5, DELAY]))
    def fetch(self, oracle: int, wait: int) -> None:
        self.world.now += wait
        leaving = [one for one in range(ORACLES) if self.leaves_at[one]]
        self.take_out(leaving[oracle % len(leaving)] if leaving else oracle)

    @rule(oracle=oracles, waits=st.lists(st.sampled_from([DELAY // 2, DELAY // 2 - 1, DELAY - 5]), min_size=1, max_size=3))
    def leave_and_come_for_it(self, oracle: int, waits: list[int]) -> None:
        """Somebody who is not appointed asks to leave and tries until it has its stake or tires."""
        free = [one for one in range(ORACLES) if one not in self.appointed and one not in self.convicted]
        if not free:
            return
        oracle = free[oracle % len(free)]
        if not self.stake[oracle]:
            self.put_in(oracle, STAKE)
        self.ask_to_leave(oracle)
        for wait in waits:
            self.world.now += wait
            self.take_out(oracle)

    def take_out(self, oracle: int) -> None:
        done = self.attempt(self.bond, self.keys[oracle], "withdrawStake")
        leaves = self.leaves_at[oracle]
        assert done == (self.stake[oracle] > 0 and leaves > 0 and self.world.now >= leaves)
        if done:
            self.returned[oracle] += self.stake[oracle]
            self.stake[oracle] = self.leaves_at[oracle] = 0

    def word(self, oracle: int, slot: int, root: bytes) -> bytes:
        digest = attestation_digest(self.world.chain.chain_id, self.world.addresses.settlement, slot, root)
        return self.keys[oracle].sign_digest(digest)

    def convict(self, done: bool, oracle: int, *, proved: bool) -> None:
        assert done == (proved and (self.stake[oracle] > 0 or oracle in self.appointed))
        if done:
            reward = self.stake[oracle] * SHARE_BP // 10_000
            self.rewards += reward
            self.slashed += self.stake[oracle] - reward
            self.stake[oracle] = self.leaves_at[oracle] = 0
            self.convicted.add(oracle)
            self.appointed.discard(oracle)

    @rule(one=oracles, same=st.integers(0, 3), slots=st.tuples(few, few), roots=st.tuples(few, few))
    def show_two_words(self, one: int, same: int, slots: tuple[int, int], roots: tuple[int, int]) -> None:
        """Two signatures that may be of two oracles, of two slots, or under one root: all three make them worthless."""
        other = one if same else (one + 1) % ORACLES
        (slot, second_slot), shown = slots, [bytes([root]) * 32 for root in roots]
        words = self.word(one, slot, shown[0]), self.word(other, second_slot, shown[1])
        done = self.attempt(self.bond, self.reporter, "slash", slot, shown[0], words[0], shown[1], words[1])
        self.convict(done, one, proved=one == other and slot == second_slot and shown[0] != shown[1])

    @rule(oracle=oracles, revisions=st.tuples(few, few), roots=st.tuples(few, few))
    def show_two_corrections(self, oracle: int, revisions: tuple[int, int], roots: tuple[int, int]) -> None:
        shown = [bytes([root]) * 32 for root in roots]
        settlement = self.world.addresses.settlement
        words = [
            self.keys[oracle].sign_digest(correction_digest(self.world.chain.chain_id, settlement, 5, revision, root))
            for revision, root in zip(revisions, shown, strict=True)
        ]
        arguments = (5, revisions[0], shown[0], words[0], shown[1], words[1])
        done = self.attempt(self.bond, self.reporter, "slashCorrection", *arguments)
        self.convict(done, oracle, proved=revisions[0] == revisions[1] and shown[0] != shown[1])

    @rule(one=oracles, same=st.integers(0, 3), at=st.sampled_from([(0, 0), (0, 0), (1, 1), (0, 1)]), words=batch_words(), junk=few)
    def show_two_batches(self, one: int, same: int, at: tuple[int, int], words: tuple[BatchWord, BatchWord], junk: int) -> None:
        """Two words on batches, which may be of two oracles, for two contracts, or agree: all three make them worthless. Where no
        data were signed for, `junk` in their place changes nothing."""
        signers = one, one if same else (one + 1) % ORACLES
        chain_id = self.world.chain.chain_id
        shown: list[object] = []
        for number, (signer, contract, word) in enumerate(zip(signers, at, words, strict=True)):
            unsigned = (bytes(32), *[bytes([junk * number]) * 32] * 2) if word.data is None else word.as_arguments()[4:]
            signature = self.keys[signer].sign_digest(word.digest(chain_id, BATCHES[contract]))
            shown += [(*word.as_arguments()[:4], *unsigned), signature]
        done = self.attempt(self.bond, self.reporter, "slashBatch", BATCHES[at[0]], *shown)
        self.convict(done, one, proved=bool(same) and at[0] == at[1] and self.cannot_both_be_honest(*words))

    @staticmethod
    def cannot_both_be_honest(one: BatchWord, other: BatchWord) -> bool:
        """Slot by slot: what is said of each that both are about, and of the whole where they are about the same slots."""
        said = [
            dict.fromkeys(range(w.first_slot, w.first_slot + w.slots), (w.first_slot, w.slots, w.facts_root)) for w in (one, other)
        ]
        common = said[0].keys() & said[1].keys()
        if any(said[0][slot] != said[1][slot] for slot in common):
            return True
        made = [{w.data.before: (w.data.steps, w.data.state)} if w.data else {} for w in (one, other)]
        return bool(common) and any(made[0][before] != made[1][before] for before in made[0].keys() & made[1].keys())

    def word_on(self, oracle: int, revision: int, root: bytes) -> bytes:
        """For slot 1, settled or corrected."""
        where = (self.world.chain.chain_id, self.world.addresses.settlement, 1)
        return self.keys[oracle].sign_digest(
            correction_digest(*where, revision, root) if revision else attestation_digest(*where, root)
        )

    @rule()
    def pay_the_treasury(self) -> None:
        due = self.slashed - self.paid_on
        assert self.attempt(self.bond, self.reporter, "payTreasury") == (due > 0)
        self.paid_on += due

    @rule(
        oracle=oracles,
        read=few,
        forged=st.booleans(),
        kind=st.sampled_from(["slashWrongSlot", "slashForged"]),
        revisions=st.sampled_from([(0, 0), (0, 0), (1, 1), (0, 1), (1, 0)]),
    )
    def show_a_leaf(self, oracle: int, read: int, forged: bool, kind: str, revisions: tuple[int, int]) -> None:
        """A leaf of slot `read` under a root that the oracle attested for slot 1 or its correction, shown as either."""
        leaf = reading(0, read, 50)
        leaf = leaf[:-1] + bytes([leaf[-1] ^ 1]) if forged else leaf
        tree = tree_over((leaf, b"another leaf"))
        said, shown_as = revisions
        head = (1, shown_as, tree.root, self.word_on(oracle, said, tree.root), shown_leaf(leaf, tree.proof(0)).as_arguments())
        key = meter_key(meter(0).public_key())
        more = (key.x, key.y) if kind == "slashForged" else ()
        done = self.attempt(self.bond, self.reporter, kind, *head, *more)
        self.convict(done, oracle, proved=said == shown_as and (forged if kind == "slashForged" else read != 1))

    @rule(oracle=oracles, meters=st.tuples(few, few), read=st.tuples(few, few))
    def show_two_readings(self, oracle: int, meters: tuple[int, int], read: tuple[int, int]) -> None:
        """Two leaves under a root that the oracle attested: of one meter or two, alike or not."""
        leaves = [reading(one, 1, 50 + wh) for one, wh in zip(meters, read, strict=True)]
        tree = tree_over(leaves)
        shown = [shown_leaf(leaf, tree.proof(index)).as_arguments() for index, leaf in enumerate(leaves)]
        done = self.attempt(self.bond, self.reporter, "slashMeterTwice", 1, 0, tree.root, self.word(oracle, 1, tree.root), *shown)
        self.convict(done, oracle, proved=meters[0] == meters[1] and read[0] != read[1])

    @rule(oracle=oracles, by=st.sampled_from(["reporter", "operator", "admin"]))
    def take_an_oracle_out_without_the_bond(self, oracle: int, by: str) -> None:
        key = {"reporter": self.reporter, "operator": self.world.keys.operator, "admin": self.world.keys.admin}[by]
        assert not self.attempt(self.registry, key, "ejectOracle", self.keys[oracle].address)

    @invariant()
    def every_stake_is_where_it_should_be(self) -> None:
        world, chain = self.world, self.world.chain
        for index, key in enumerate(self.keys):
            assert self.bond.view(chain, "bondOf", key.address) == (
                self.stake[index],
                self.leaves_at[index],
                index in self.convicted,
            )
            assert self.bond.view(chain, "isBonded", key.address)[0] == self.is_bonded(index)
            assert self.registry.view(chain, "isOracle", key.address)[0] == (index in self.appointed)
            assert world.tokens(key.address) == self.returned[index]
        assert world.tokens(self.bond.address) == sum(self.stake) + self.slashed - self.paid_on
        assert world.tokens(self.reporter.address) == self.rewards
        assert world.tokens(stranger().address) == self.paid_on
        assert self.outside + sum(self.stake) + sum(self.returned) + self.rewards + self.slashed == FUNDS


def test_only_proof_costs_an_oracle_its_stake_and_then_all_of_it() -> None:
    run_machine(BondMachine, machine_settings(5, 20))


_NOT_YET = "if (leavesAt == 0 || block.timestamp"
PLANTED = {
    "one word twice": (
        "OracleBond",
        "if (firstRoot == secondRoot) revert SameRoot(firstRoot);\n        address first = ECDSA.recoverCalldata(settlement.att",
        "address first = ECDSA.recoverCalldata(settlement.att",
    ),
    "two oracles' words": ("OracleBond", "if (first != second) revert DifferentSigners(first, second);", ""),
    "convicted and back": ("OracleBond", "        stake.convicted = true;\n", ""),
    "slashed and kept": (
        "OracleBond",
        "        stake.amount = 0;\n        stake.leavesAt = 0;\n        stake.convicted",
        "stake.convicted",
    ),
    "out before the delay": ("OracleBond", f"{_NOT_YET} <", f"{_NOT_YET} + 300 <"),
    "out while appointed": ("OracleBond", "if (registry.isOracle(msg.sender)) revert StillAppointed(msg.sender);", ""),
    "bonded while leaving": ("OracleBond", "stake.amount >= minimumStake && stake.leavesAt == 0", "stake.amount >= minimumStake"),
    "an honest leaf convicts": (
        "FalseRoot",
        "if (_reading(root, shown).slot == slot) revert",
        "if (_reading(root, shown).slot > 9) revert",
    ),
    "a false correction is no lie": ("OracleBond", "bytes32 digest = revision == 0", "bytes32 digest = revision < 9"),
    "the treasury paid twice": ("OracleBond", "        treasuryDue = 0;\n", ""),
    "two meters convict": ("FalseRoot", "if (one != other) revert DifferentMeters(one, other);", ""),
    "one leaf twice convicts": ("FalseRoot", "if (keccak256(first.leaf) == keccak256(second.leaf)) revert SameLeaf();", ""),
    "batches side by side convict": ("BatchWord", "if (slot >= until)", "if (slot > until)"),
    "batches that agree convict": (
        "BatchWord",
        "if (alike && (first.withData != second.withData || !first.withData))",
        "if (false)",
    ),
    "the same facts on another state convict": ("BatchWord", "first.before != second.before || ", ""),
    "other data of a batch are no lie": ("BatchWord", "first.before != second.before || _same", "true || _same"),
    "batches cut in two ways are no lie": ("BatchWord", "first.slots == second.slots && ", ""),
    "the contract is not in the word": ("BatchWord", "block.chainid, batches)", "block.chainid, address(0))"),
    "anybody ejects": ("Registry", "if (msg.sender != address(oracleBond)) revert NotOracleBond(msg.sender);", ""),
    "a true signature convicts": ("FalseRoot", "if (P256.verify(", "if (false && P256.verify("),
}


@pytest.mark.nightly
@pytest.mark.parametrize(("source", "correct", "wrong"), PLANTED.values(), ids=PLANTED)
def test_a_planted_bug_is_found(source: str, correct: str, wrong: str) -> None:
    contract = "Registry" if source == "Registry" else "OracleBond"
    with planted(contract, correct, wrong, source=source), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(BondMachine, hunting(200, 25))
