"""Batches of slots: honest ones become final, a wrong one is proved by anyone and taken back, and nothing else ever is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from batch_world import BOND, DAY, PRICE, UNIT, WINDOW_S, Batches, batches_on, rows
from ledger_world import CHAINS, row, stranger
from walras.errors import LedgerError
from walras.ledger import Receipt
from walras.ledger.batches import Batch, Fraud, find_fraud, make_batch, prove, read_post, state_after, steps_tree
from walras.ledger.steps import Fact, StepFault, facts_tree, redo, running_word, state_tree


@pytest.fixture(params=CHAINS)
def batches(request: pytest.FixtureRequest) -> Iterator[Batches]:
    with batches_on(request.param) as made:
        yield made


@pytest.fixture
def embedded() -> Iterator[Batches]:
    with batches_on("embedded") as made:
        yield made


def refusal(receipt: Receipt) -> str:
    assert receipt.status == 0
    return str(receipt.refusal)


def forged(batch: Batch, at: int, packed: bytes, words: list[int], members: int) -> Batch:
    """`batch` with other positions in slot `at`, and states that follow from them as far as they can."""
    slots, state = list(batch.slots), list(words)
    for index, (_, honest) in enumerate(batch.slots):
        content = packed if index == at else honest
        fault, after = redo(state, members, content)
        state = after if fault is StepFault.NONE else state
        slots[index] = (state_tree(state).root if state else bytes(32), content)
    return replace(batch, slots=tuple(slots))


def caught(batches: Batches, batch: Batch, facts: list[Fact], function: str) -> Fraud:
    """Post `batch`, find what is wrong with it, prove it as a stranger; all is as before, and the bond is gone."""
    world, index = batches.world, batches.view("batchCount")
    before = (index, batches.view("nextSlot"), batches.view("stateRoot"), batches.view("collateralOf", 0))
    assert batches.post(batch).refusal is None
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    fraud = find_fraud(batch, batches.words, world.members, by_key, facts_tree(facts), batches.collateral(index))
    assert fraud is not None
    assert fraud.function == function
    prove(batches.chain, batches.contract, stranger(), index, fraud, timestamp=world.now)
    after = (batches.view("batchCount"), batches.view("nextSlot"), batches.view("stateRoot"), batches.view("collateralOf", 0))
    assert after[:3] == before[:3]
    assert after[3] == before[3] + BOND // 2 * UNIT
    assert world.tokens(stranger().address) == BOND // 2
    assert batches.view("bondOf", batches.operator.address) == 0
    assert refusal(batches.post(batch)) == f"BondTooSmall(bond=0, minimum={BOND})"
    return fraud


def test_an_honest_batch_becomes_final_and_a_stranger_rebuilds_it_from_the_calldata(batches: Batches) -> None:
    batch, words, facts, tree = batches.honest(DAY)
    assert batches.post(batch).refusal is None
    assert batches.view("stateRoot") == state_tree(words).root
    assert batches.view("batchOf", 0)[0] == steps_tree(batch.steps(state_tree([]).root)).root
    assert batches.view("nextSlot") == 3
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    assert find_fraud(batch, [], 5, by_key, tree, batches.collateral(0)) is None
    assert batches.view("isFinal", 0) is False
    batches.world.now += WINDOW_S
    batches.must(batches.operator, "addBond", 1)  # a block at the new time
    assert batches.view("isFinal", 0) is True
    assert state_after(batch, [], 5) == words
    assert words[1:4] == [running_word(wh * PRICE, wh) for wh in (300, -600, 300)]


def test_what_was_posted_is_read_back_from_the_raw_transaction(embedded: Batches) -> None:
    from walras.ledger import next_sender
    from walras.ledger.batches import attest_facts, post_arguments

    batch, _, _, _ = embedded.honest(DAY)
    signatures = attest_facts(embedded.contract, batch, [embedded.keys.oracle(index) for index in range(3)])
    sender = next_sender(embedded.chain, embedded.operator)
    raw = embedded.contract.transaction(sender, "post", *post_arguments(batch, signatures), gas_limit=2_000_000)
    assert read_post(raw) == batch
    other = embedded.contract.transaction(sender, "addBond", 1)
    with pytest.raises(LedgerError, match="posts no batch"):
        read_post(other)


WRONG = {
    "sum of payments": (row(1, 100, 0) + row(2, -99, 0), "payments not balanced"),
    "sum of energy": (row(1, 0, 5) + row(2, 0, -4), "energy not balanced"),
    "order": (row(2, -9, 0) + row(1, 9, 0), "accounts not sorted"),
    "twice": (row(1, -9, 0) + row(1, 9, 0), "accounts not sorted"),
    "a stranger": (row(1, -9, 0) + row(5, 9, 0), "no such account"),
    "half a row": (row(1, 0, 0)[:-1], "malformed positions"),
}


@pytest.mark.parametrize("name", WRONG)
def test_positions_that_break_a_rule_are_proved_by_doing_the_slot_again(embedded: Batches, name: str) -> None:
    packed, what = WRONG[name]
    batch, _, facts, _ = embedded.honest(DAY)
    fraud = caught(embedded, forged(batch, 2, packed, [], 5), facts, "proveWrongStep")
    assert fraud.what == f"slot 2: {what}"


def test_a_state_that_does_not_follow_is_proved_wherever_it_stands(batches: Batches) -> None:
    batches.post_honest([{1: 10, 2: -10}])
    batch, words, facts, _ = batches.honest(DAY)
    stolen = state_tree([*words[:4], running_word(-(10**9), 0)]).root  # a fortune for account 4, from nothing
    wrong = replace(batch, slots=(*batch.slots[:2], (stolen, batch.slots[2][1])))
    assert caught(batches, wrong, facts, "proveWrongStep").what == "slot 3: wrong state"
    batches.must(batches.operator, "addBond", BOND)
    assert batches.post(batch).refusal is None  # the honest one goes through afterwards


def test_an_operator_who_settles_wrong_prices_is_convicted_by_the_attested_facts(batches: Batches) -> None:
    batch, _, facts, _ = batches.honest(DAY)
    dearer = row(1, 500 * (PRICE + 1), 500) + row(2, -500 * (PRICE + 1), -500)
    fraud = caught(batches, forged(batch, 0, dearer, [], 5), facts, "proveWrongPosition")
    assert "account 1 has (100000500, 500), the facts come to (100000000, 500)" in fraud.what


def test_an_operator_who_skips_a_member_is_convicted(embedded: Batches) -> None:
    batch, _, facts, _ = embedded.honest(DAY)
    without = row(1, -200 * PRICE, -200) + row(3, 200 * PRICE, 200)  # account 2's sale and that much of 3's purchase left out
    fraud = caught(embedded, forged(batch, 2, without, [], 5), facts, "proveWrongPosition")
    assert fraud.what.startswith("slot 2: account 2 has (0, 0)")


def test_an_operator_who_invents_a_position_is_convicted(embedded: Batches) -> None:
    batch, _, facts, _ = embedded.honest(DAY)
    invented = row(0, -7, 0) + row(4, 7, 0)
    caught(embedded, forged(batch, 1, invented, [], 5), facts, "proveWrongPosition")


def test_a_member_is_drawn_to_its_last_nano_and_not_one_beyond(embedded: Batches) -> None:
    everything = 1_000_000 * UNIT // PRICE  # Wh that the collateral pays for, exactly
    embedded.post_honest([{1: everything, 2: -everything}])
    fitting = embedded.honest([{1: -1, 2: 1}, {1: 1, 2: -1}])
    embedded.post(fitting[0])
    index = embedded.view("batchCount") - 1
    by_key = {(fact.slot, fact.account): fact for fact in fitting[2]}
    assert find_fraud(fitting[0], embedded.words, 5, by_key, fitting[3], embedded.collateral(index)) is None
    embedded.words, embedded.slot = fitting[1], embedded.slot + 2
    beyond, _, facts, _ = embedded.honest([{1: 1, 2: -1}])
    caught(embedded, beyond, facts, "proveOverdraft")


def test_against_an_honest_batch_every_proof_is_refused_by_name(embedded: Batches) -> None:
    batch, words, facts, tree = embedded.honest(DAY)
    assert embedded.post(batch).refusal is None
    steps = batch.steps(state_tree([]).root)
    proofs = steps_tree(steps)
    step, proof = steps[2].as_arguments(), list(proofs.proof(2).siblings)
    before = redo([], 5, batch.slots[0][1])[1]
    prover = stranger()

    def attempt(function: str, *arguments: object) -> str:
        return refusal(embedded.send(prover, function, *arguments))

    assert attempt("proveWrongStep", 0, step, proof, before) == "NoFraud()"
    assert attempt("proveWrongStep", 0, step, proof, before[:-1]).startswith("NotTheState(")
    assert attempt("proveWrongStep", 1, step, proof, before) == "NoSuchBatch(index=1)"
    changed = (2, 2, step[2], bytes(32), step[4])
    assert attempt("proveWrongStep", 0, changed, proof, before) == "NotAStep(index=2, slot=2)"
    fact = facts[2 * 5 + 3]
    arguments = tuple(getattr(fact, name) for name in Fact.__dataclass_fields__)
    path = list(tree.proof(13).siblings)
    assert attempt("proveWrongPosition", 0, step, proof, arguments, path) == "NoFraud()"
    lie = (fact.slot, fact.account, 9, *arguments[3:])
    assert attempt("proveWrongPosition", 0, step, proof, lie, path) == "NotAttested(slot=2, account=3)"
    other = facts[3]  # attested, but of another slot
    other_arguments = tuple(getattr(other, name) for name in Fact.__dataclass_fields__)
    other_path = list(tree.proof(3).siblings)
    assert attempt("proveWrongPosition", 0, step, proof, other_arguments, other_path) == "NotAttested(slot=0, account=3)"
    word_proof = list(state_tree(words).proof(3).siblings)
    assert attempt("proveOverdraft", 0, step, proof, 3, words[3], word_proof) == "NoFraud()"
    assert attempt("proveOverdraft", 0, step, proof, 3, words[3] + 1, word_proof).startswith("NotInState(account=3")
    embedded.world.now += WINDOW_S
    assert attempt("proveWrongStep", 0, step, proof, before) == "BatchFinal(index=0)"
    assert embedded.view("bondOf", embedded.operator.address) == BOND


def test_a_proof_takes_back_the_batches_after_it_too_and_none_before(embedded: Batches) -> None:
    embedded.post_honest([{1: 10, 2: -10}])
    start, words_before = embedded.slot, list(embedded.words)
    batch, _, facts, tree = embedded.honest(DAY)
    wrong = forged(batch, 1, row(0, 1, 0) + row(4, -1, 0), embedded.words, 5)
    assert embedded.post(wrong).refusal is None
    embedded.words, embedded.slot = state_after(wrong, embedded.words, 5), embedded.slot + 3
    embedded.post_honest([{1: 3, 4: -3}])
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    fraud = find_fraud(wrong, words_before, 5, by_key, tree, embedded.collateral(1))
    assert fraud is not None
    prove(embedded.chain, embedded.contract, stranger(), 1, fraud, timestamp=embedded.world.now)
    assert (embedded.view("batchCount"), embedded.view("nextSlot")) == (1, start)
    assert embedded.view("stateRoot") == state_tree(words_before).root


def test_a_post_needs_role_bond_quorum_order_and_slots(embedded: Batches) -> None:
    batch, _, _, _ = embedded.honest(DAY)
    assert refusal(embedded.post(batch, key=stranger())).startswith("NotOperator(")
    assert refusal(embedded.post(batch, oracles=(0, 1))) == "QuorumNotReached(given=2, threshold=3)"
    assert refusal(embedded.post(replace(batch, first_slot=1))) == "SlotNotNext(slot=1, nextSlot=0)"
    assert refusal(embedded.post(replace(batch, slots=()))) == "BadSlotCount(slots=0, maximum=672)"
    embedded.must(embedded.operator, "withdrawBond")
    assert refusal(embedded.post(batch)) == f"BondTooSmall(bond=0, minimum={BOND})"
    embedded.must(embedded.operator, "addBond", BOND)
    embedded.must(embedded.operator, "pause")
    assert refusal(embedded.post(batch)) == "EnforcedPause()"
    assert refusal(embedded.send(embedded.operator, "deposit", 1, 1)) == "EnforcedPause()"
    embedded.must(embedded.operator, "unpause")
    assert embedded.post(batch).refusal is None
    assert refusal(embedded.send(embedded.operator, "withdrawBond")).startswith("BondBusy(")
    embedded.world.now += WINDOW_S
    embedded.must(embedded.operator, "withdrawBond")


def test_signatures_hold_for_their_slots_root_contract_and_chain_only(embedded: Batches) -> None:
    from walras.ledger import join_signatures
    from walras.ledger.batches import facts_digest, post_arguments

    batch, _, _, _ = embedded.honest(DAY)
    good = (embedded.chain.chain_id, embedded.contract.address, 0, 3, batch.facts_root)
    assert embedded.view("factsDigest", 0, 3, batch.facts_root) == facts_digest(*good)
    foreign = [
        (good[0] + 1, *good[1:]),
        (good[0], embedded.world.addresses.settlement, *good[2:]),
        (*good[:2], 1, 3, good[4]),
        (*good[:3], 2, good[4]),
        (*good[:4], bytes(32)),
    ]
    for terms in foreign:
        keys = [embedded.keys.oracle(index) for index in range(3)]
        signatures = join_signatures([(key.address, key.sign_digest(facts_digest(*terms))) for key in keys])
        receipt = embedded.send(embedded.operator, "post", *post_arguments(batch, signatures))
        assert refusal(receipt).startswith(("NotOracle", "SignersNotSorted"))


def test_our_own_operator_cannot_batch_what_the_rules_refuse(embedded: Batches) -> None:
    with pytest.raises(LedgerError, match="slot 0 cannot be batched: no_such_account"):
        make_batch([], 2, 0, [rows({1: 5, 2: -5})], bytes(32), bytes(32))
