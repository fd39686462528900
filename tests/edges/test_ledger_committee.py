"""A committee answers for a batch's data: its word holds for one batch on one state, and fraud under it is proved all the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from batch_world import BOND, DAY, PRICE, UNIT, Batches, batches_on, rows
from ledger_world import CHAINS, stranger
from walras.ledger import join_signatures
from walras.ledger.batches import (
    Batch,
    data_digest,
    find_fraud,
    make_batch,
    post_roots_arguments,
    prove,
    root_of_state,
    roots_of,
)


@pytest.fixture(params=CHAINS)
def batches(request: pytest.FixtureRequest) -> Iterator[Batches]:
    with batches_on(request.param) as made:
        yield made


@pytest.fixture
def embedded() -> Iterator[Batches]:
    with batches_on("embedded") as made:
        yield made


def committee(batches: Batches, batch: Batch, before: bytes, oracles: Sequence[int] = (0, 1, 2)) -> bytes:
    """The word of oracles that hold the data of `batch` on top of `before`."""
    digest = data_digest(batches.chain.chain_id, batches.contract.address, batch, before)
    keys = [batches.keys.oracle(index) for index in oracles]
    return join_signatures([(key.address, key.sign_digest(digest)) for key in keys])


def test_what_a_committee_answered_for_is_on_record_and_a_wrong_batch_of_it_is_proved(batches: Batches) -> None:
    batch, words, _, _ = batches.honest(DAY)
    before = root_of_state(batches.words)
    arguments = post_roots_arguments(batch, before, committee(batches, batch, before))
    assert batches.send(batches.operator, "postRoots", *arguments).refusal is None
    assert tuple(batches.contract.view(batches.chain, "batchOf", 0)[:3]) == roots_of(batch, before)
    batches.words, batches.slot = words, batches.slot + len(DAY)
    members, facts = batches.world.members, batches.facts([{1: 300, 3: -300}])
    _, _, _, tree = batches.honest([{1: 300, 3: -300}])
    stolen = rows({1: 301, 3: -301})
    wrong, _ = make_batch(words, members, batches.slot, [stolen], tree.root, bytes(32))
    before = root_of_state(words)
    arguments = post_roots_arguments(wrong, before, committee(batches, wrong, before))
    assert batches.send(batches.operator, "postRoots", *arguments).refusal is None
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    fraud = find_fraud(wrong, words, members, by_key, tree, batches.collateral(1))  # type: ignore[arg-type]
    assert fraud is not None
    assert fraud.what == f"slot {batches.slot}: account 1 has {(301 * PRICE, 301)}, the facts come to {(300 * PRICE, 300)}"
    prove(batches.chain, batches.contract, stranger(), 1, fraud, timestamp=batches.world.now)
    assert (batches.view("batchCount"), batches.view("stateRoot")) == (1, before)
    assert batches.world.tokens(stranger().address) == BOND // 2


def test_a_committees_word_holds_for_one_state_batch_contract_and_quorum_only(embedded: Batches) -> None:
    batch, _, _, _ = embedded.honest(DAY)
    before = root_of_state(embedded.words)
    good = committee(embedded, batch, before)
    elsewhere = Batches(embedded.world, first_slot=embedded.slot)

    def refused(target: Batches, arguments: tuple[object, ...]) -> str:
        refusal = target.send(target.operator, "postRoots", *arguments).refusal
        assert refusal is not None
        return refusal.name

    first, count, roots, head, _ = post_roots_arguments(batch, before, good)
    assert refused(elsewhere, (first, count, roots, head, good)) == "NotOracle"
    assert refused(embedded, (first, count, (roots[1], *roots[1:]), head, good)) in ("NotOracle", "SignersNotSorted")
    assert refused(embedded, (first, count + 1, roots, head, good)) in ("NotOracle", "SignersNotSorted")
    few = committee(embedded, batch, before, (0, 1))
    assert refused(embedded, (first, count, roots, head, few)) == "QuorumNotReached"
    other = committee(embedded, batch, bytes(32))
    assert refused(embedded, (first, count, roots, head, other)) in ("NotOracle", "SignersNotSorted")
    assert embedded.send(embedded.operator, "postRoots", first, count, roots, head, good).refusal is None
    assert refused(embedded, (first, count, roots, head, good)) == "SlotNotNext"


def test_many_deposits_at_once_are_the_same_deposits(embedded: Batches) -> None:
    before = [embedded.contract.view(embedded.chain, "collateralOf", account)[0] for account in range(3)]
    assert embedded.send(embedded.operator, "depositMany", [0, 2], [3, 5]).refusal is None
    after = [embedded.contract.view(embedded.chain, "collateralOf", account)[0] for account in range(3)]
    assert [b - a for a, b in zip(before, after, strict=True)] == [3 * UNIT, 0, 5 * UNIT]
    nothing = "NothingToDeposit"
    refused = [([0], [1, 2], "LengthMismatch"), ([], [], nothing), ([0, 1], [1, 0], nothing), ([99], [1], "NoSuchAccount")]
    for accounts, units, name in refused:
        refusal = embedded.send(embedded.operator, "depositMany", accounts, units).refusal
        assert refusal is not None
        assert refusal.name == name
