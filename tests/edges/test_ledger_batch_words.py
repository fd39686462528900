"""What an oracle says of batches: two words over one slot that contradict each other cost stake and seat, honest words nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from batch_world import BOND, DAY, Batches, rows
from edges.test_ledger_oracle_bond import STAKE, Bonds
from ledger_world import CHAINS, World, chain_of, stranger
from walras.errors import LedgerError
from walras.exchange.watch_batch_words import SwornWord, contradicting_words, words_on_chain
from walras.ledger import join_signatures, next_sender, recover_address
from walras.ledger.batch_words import BatchWord, DataRoots, SignedWord, common_slot, contradict, slash_batch
from walras.ledger.batches import (
    attest_facts,
    data_word,
    find_fraud,
    make_batch,
    post_arguments,
    post_roots_arguments,
    prove,
    root_of_state,
)
from walras.ledger.oracle_bond import stake_of

ROOT_A, ROOT_B, ROOT_C = (bytes([n]) * 32 for n in (1, 2, 3))
DATA = DataRoots(ROOT_A, ROOT_B, ROOT_C)
HERE = "0x" + "77" * 20
END = 2**64 - 1


@dataclass(frozen=True)
class Staked:
    """A ledger with stakes and with batches."""

    bonds: Bonds
    batches: Batches

    def signed(self, oracle: int, word: BatchWord, at: str = HERE) -> SignedWord:
        return SignedWord(word, self.bonds.keys.oracle(oracle).sign_digest(word.digest(self.bonds.chain.chain_id, at)))

    def show(self, first: SignedWord, second: SignedWord, at: str = HERE) -> None:
        bonds = self.bonds
        slash_batch(bonds.chain, bonds.contract, bonds.keys.member(1), at, first, second, timestamp=bonds.world.now)


@pytest.fixture(params=CHAINS)
def staked(request: pytest.FixtureRequest) -> Iterator[Staked]:
    with chain_of(request.param) as chain:
        world = World(chain, members=5)
        yield Staked(Bonds(world), Batches(world))


@pytest.fixture(scope="module")
def embedded() -> Iterator[Staked]:
    """Shared by tests that leave nothing behind."""
    with chain_of("embedded") as chain:
        world = World(chain, members=5)
        yield Staked(Bonds(world), Batches(world))


def test_one_of_four_that_signs_two_batches_loses_stake_and_seat_and_the_batch_goes_on_without_it(staked: Staked) -> None:
    bonds, batches = staked.bonds, staked.batches
    honest, _, _, _ = batches.honest(DAY)
    other = replace(honest, facts_root=ROOT_B)  # of prices that suit somebody
    at, liar = batches.contract.address, bonds.keys.oracle(0)
    words = [SignedWord(BatchWord(0, 3, one.facts_root), attest_facts(batches.contract, one, [liar])) for one in (honest, other)]
    staked.show(words[1], words[0], at)
    assert stake_of(bonds.chain, bonds.contract, liar.address) == 0
    assert bonds.world.tokens(bonds.keys.member(1).address) == STAKE // 10
    assert bonds.contract.view(bonds.chain, "treasuryDue")[0] == STAKE - STAKE // 10
    assert not bonds.registry.view(bonds.chain, "isOracle", liar.address)[0]
    with_liar = batches.post(honest, (0, 1, 2))
    assert str(with_liar.refusal) == f"NotOracle(signer={liar.address.lower()})"
    assert batches.post(honest, (1, 2, 3)).refusal is None
    with bonds.refused("NothingToSlash"):
        staked.show(words[0], words[1], at)


def test_an_honest_word_holds_for_the_batch_that_is_posted_again_after_a_conviction(staked: Staked) -> None:
    """So nobody has to sign twice; and whoever hears the words of the batch that was taken back as well convicts nobody."""
    batches = staked.batches
    honest, words, facts, tree = batches.honest(DAY)
    signatures = attest_facts(batches.contract, honest, [batches.keys.oracle(index) for index in range(3)])
    stolen, _ = make_batch([], 5, 0, [rows({1: 501, 2: -501}), rows(DAY[1]), rows(DAY[2])], tree.root, bytes(32))
    assert batches.send(batches.operator, "post", *post_arguments(stolen, signatures)).refusal is None
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    fraud = find_fraud(stolen, [], 5, by_key, tree, batches.collateral(0))  # type: ignore[arg-type]
    assert fraud is not None
    prove(batches.chain, batches.contract, stranger(), 0, fraud, timestamp=batches.world.now)
    batches.must(batches.operator, "addBond", BOND)
    assert batches.send(batches.operator, "post", *post_arguments(honest, signatures)).refusal is None
    batches.words, batches.slot = words, 3
    later, _, _, _ = batches.honest([{0: 5, 4: -5}])
    before = root_of_state(words)
    word = data_word(later, before)
    signed = [staked.signed(oracle, word, batches.contract.address) for oracle in range(3)]
    joined = join_signatures([(batches.keys.oracle(n).address, one.signature) for n, one in enumerate(signed)])
    assert batches.send(batches.operator, "postRoots", *post_roots_arguments(later, before, joined)).refusal is None
    heard = words_on_chain(batches.chain, batches.contract.address)  # type: ignore[arg-type]
    assert [one.signed.word for one in heard[::3]] == [BatchWord(0, 3, tree.root)] * 2 + [word]
    assert {one.oracle for one in heard} == {batches.keys.oracle(index).address for index in range(3)}
    assert contradicting_words(heard) == []


def test_on_top_of_another_state_an_honest_oracle_may_answer_for_the_same_facts_again(embedded: Staked) -> None:
    first = embedded.signed(2, BatchWord(96, 96, ROOT_A, DATA))
    again = embedded.signed(2, BatchWord(96, 96, ROOT_A, DataRoots(ROOT_B, ROOT_C, ROOT_A)))
    with embedded.bonds.refused("WordsAgree"):
        embedded.show(first, again)


def test_a_word_is_what_the_contract_of_batches_asks_for(embedded: Staked) -> None:
    batches = embedded.batches
    at = (batches.chain.chain_id, batches.contract.address)
    assert BatchWord(7, 96, ROOT_A).digest(*at) == batches.view("factsDigest", 7, 96, ROOT_A)
    data = batches.view("dataDigest", 7, 96, DATA.before, (DATA.steps, DATA.state, ROOT_A))
    assert BatchWord(7, 96, ROOT_A, DATA).digest(*at) == data


HONEST, WITH_DATA = BatchWord(96, 96, ROOT_A), BatchWord(96, 96, ROOT_A, DATA)
PAIRS: dict[str, tuple[BatchWord, BatchWord, str | None]] = {
    "other facts": (HONEST, replace(HONEST, facts_root=ROOT_B), None),
    "one slot in common": (HONEST, BatchWord(191, 96, ROOT_A), None),
    "one slot in common, at the beginning": (HONEST, BatchWord(0, 97, ROOT_A), None),
    "one inside the other": (HONEST, BatchWord(100, 1, ROOT_B), None),
    "a slot less": (HONEST, replace(HONEST, slots=95), None),
    "other data on top of one state": (WITH_DATA, replace(WITH_DATA, data=DataRoots(ROOT_A, ROOT_A, ROOT_C)), None),
    "another state after the same steps": (WITH_DATA, replace(WITH_DATA, data=DataRoots(ROOT_A, ROOT_B, ROOT_B)), None),
    "other facts, with data and without": (HONEST, replace(WITH_DATA, facts_root=ROOT_B), None),
    "other facts on top of another state": (WITH_DATA, replace(WITH_DATA, facts_root=ROOT_B, data=DataRoots(*[ROOT_B] * 3)), None),
    "the last slots there are": (BatchWord(END, 1, ROOT_A), BatchWord(END - 3, 2**32 - 1, ROOT_A), None),
    "one word twice": (HONEST, HONEST, "WordsAgree"),
    "one word with data twice": (WITH_DATA, WITH_DATA, "WordsAgree"),
    "with data and without": (HONEST, WITH_DATA, "WordsAgree"),
    "on top of another state": (WITH_DATA, replace(WITH_DATA, data=DataRoots(*[ROOT_B] * 3)), "WordsAgree"),
    "one after the other": (HONEST, BatchWord(192, 96, ROOT_B), "NoCommonSlot"),
    "far apart": (HONEST, BatchWord(500, 96, ROOT_B), "NoCommonSlot"),
    "of no slot": (HONEST, BatchWord(100, 0, ROOT_B), "NoCommonSlot"),
}


@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_convicts_in_either_order_or_in_none(embedded: Staked, name: str, turned: bool) -> None:
    one, other, refusal = PAIRS[name]
    first, second = (other, one) if turned else (one, other)
    assert contradict(first, second) == (refusal is None)
    bonds = embedded.bonds
    shown = (HERE, *(part for word in (first, second) for part in _as_shown(embedded.signed(3, word))))
    sender = bonds.keys.member(1)
    raw = bonds.contract.transaction(next_sender(bonds.chain, sender), "slashBatch", *shown)
    outcome = bonds.chain.rehearse(raw)
    assert (None if outcome.refusal is None else outcome.refusal.name) == refusal


def test_roots_that_nobody_signed_make_no_two_words_of_one(embedded: Staked) -> None:
    """A word without data has three roots beside it that its digest does not hold: whoever shows it could fill them in."""
    bonds, signature = embedded.bonds, embedded.signed(0, HONEST).signature
    filled = [(*HONEST.as_arguments()[:4], bytes(32), bytes([n]) * 32, bytes(32)) for n in (1, 2)]
    shown = (HERE, filled[0], signature, filled[1], signature)
    with bonds.refused("WordsAgree"):
        bonds.contract.act(bonds.chain, bonds.keys.member(1), "slashBatch", *shown, timestamp=bonds.world.now)


def _as_shown(signed: SignedWord) -> tuple[object, bytes]:
    return signed.word.as_arguments(), signed.signature


def test_words_of_two_oracles_or_for_another_contract_or_chain_convict_nobody(embedded: Staked) -> None:
    bonds, other = embedded.bonds, replace(HONEST, facts_root=ROOT_B)
    own = embedded.signed(0, HONEST)
    elsewhere = other.digest(bonds.chain.chain_id + 1, HERE)
    wrong = [
        embedded.signed(1, other),
        embedded.signed(0, other, batches_at := embedded.batches.contract.address),
        SignedWord(other, bonds.keys.oracle(0).sign_digest(elsewhere)),
        SignedWord(other, own.signature),
    ]
    for second in wrong:
        with bonds.refused("DifferentSigners"):
            embedded.show(own, second)
    with bonds.refused("DifferentSigners"):  # neither was given to that contract
        embedded.show(own, embedded.signed(0, other), batches_at)
    with bonds.refused("ECDSAInvalidSignatureLength"):
        embedded.show(own, SignedWord(other, b""))
    high_s = _mirrored(own.signature)
    assert recover_address(HONEST.digest(bonds.chain.chain_id, HERE), own.signature) == bonds.keys.oracle(0).address
    with bonds.refused("ECDSAInvalidSignatureS"):
        embedded.show(SignedWord(HONEST, high_s), embedded.signed(0, other))
    assert all(stake_of(bonds.chain, bonds.contract, bonds.keys.oracle(index).address) == STAKE for index in range(4))


def _mirrored(signature: bytes) -> bytes:
    """The other signature that plain ECDSA accepts for the same word."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s = order - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def test_turning_the_registry_to_another_bond_saves_nobody_who_signed_two_batches(staked: Staked) -> None:
    bonds = staked.bonds
    nobody = "0x" + "00" * 20
    bonds.registry.act(bonds.chain, bonds.keys.admin, "setOracleBond", nobody, timestamp=bonds.world.now)
    staked.show(staked.signed(1, HONEST), staked.signed(1, replace(HONEST, facts_root=ROOT_B)))
    assert stake_of(bonds.chain, bonds.contract, bonds.keys.oracle(1).address) == 0
    with pytest.raises(LedgerError, match=r"Convicted\("):
        bonds.bond(1, STAKE)


roots = st.sampled_from([ROOT_A, ROOT_B])
data = st.none() | st.builds(DataRoots, roots, roots, st.just(ROOT_A))
words = st.builds(BatchWord, st.integers(0, 12), st.integers(0, 4), roots, data)


@settings(max_examples=400, deadline=None)
@given(st.lists(words, max_size=6))
def test_whoever_hears_many_words_finds_a_pair_exactly_where_there_is_one(heard: list[BatchWord]) -> None:
    sworn = [SwornWord("oracle", HERE, SignedWord(word, bytes(65))) for word in heard]
    pairs = contradicting_words(sworn)
    assert bool(pairs) == any(contradict(one, other) for one in heard for other in heard)
    assert all(contradict(one.signed.word, other.signed.word) for one, other in pairs)


@settings(max_examples=200, deadline=None)
@given(words, words)
def test_contradiction_knows_no_order_and_needs_a_common_slot(one: BatchWord, other: BatchWord) -> None:
    assert contradict(one, other) == contradict(other, one)
    assert not contradict(one, one)
    assert not contradict(one, other) or common_slot(one, other) is not None
    covered = set(range(one.first_slot, one.first_slot + one.slots)) & set(range(other.first_slot, other.first_slot + other.slots))
    assert common_slot(one, other) == min(covered, default=None)


def test_words_to_two_contracts_are_not_compared() -> None:
    other = replace(HONEST, facts_root=ROOT_B)
    sworn = [SwornWord("oracle", at, SignedWord(word, bytes(65))) for at, word in ((HERE, HONEST), ("0x" + "78" * 20, other))]
    assert contradicting_words(sworn) == []
