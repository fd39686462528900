"""What a member may ask back from behind batches: its own by the last batch, to the nano; who drops what is more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from batch_world import BOND, PRICE, UNIT, WINDOW_S, Batches, batches_on
from ledger_world import CHAINS, row, stranger
from walras.errors import LedgerError
from walras.ledger.batches import account_proof, ask_back, find_fraud, prove, steps_tree
from walras.ledger.steps import running_payment, running_word, state_tree

PAID_IN = 1_000_000
WHOLE = PAID_IN * UNIT


@pytest.fixture(params=CHAINS)
def batches(request: pytest.FixtureRequest) -> Iterator[Batches]:
    with batches_on(request.param, PAID_IN) as made:
        yield made


@pytest.fixture
def embedded() -> Iterator[Batches]:
    with batches_on("embedded", PAID_IN) as made:
        yield made


def said(batches: Batches, account: int, nano: int) -> str:
    """The refusal of a request."""
    return str(batches.ask(account, nano).refusal)


def test_nobody_asks_for_a_nano_more_than_is_its_own_by_the_last_batch(batches: Batches) -> None:
    """Member 1 has paid for 100 Wh, member 2 has earned it, member 3 did not trade: each is held to its own."""
    batches.post_honest([{1: 100, 2: -100}])
    for account, own in ((1, WHOLE - 100 * PRICE), (2, WHOLE + 100 * PRICE), (3, WHOLE)):
        assert said(batches, account, own + 1) == f"MoreThanOwn(account={account}, amountNano={own + 1}, ownNano={own})"
        batches.must_ask(account, own)
        assert said(batches, account, own + 1).startswith("MoreThanOwn(")  # what was asked before is its own still, once
        batches.must_ask(account, own)
    assert batches.view("collateralOf", 2) == -100 * PRICE


def test_before_any_batch_and_for_who_came_after_the_last_no_proof_is_needed(embedded: Batches) -> None:
    assert said(embedded, 1, WHOLE + 1).startswith("MoreThanOwn(")
    embedded.must_ask(1, WHOLE)
    embedded.post_honest([{}])
    world = embedded.world
    new = stranger()
    assert world.send(world.keys.operator, "Registry", "registerMany", [new.address]).status == 1
    embedded.must(embedded.operator, "deposit", 5, 7)
    over = embedded.send(new, "requestWithdrawal", 7 * UNIT + 1, 0, [])
    assert str(over.refusal) == f"MoreThanOwn(account=5, amountNano={7 * UNIT + 1}, ownNano={7 * UNIT})"
    embedded.must(new, "requestWithdrawal", 7 * UNIT, 0, [])


def test_who_asks_by_an_older_state_or_anothers_word_is_refused_and_asks_again(embedded: Batches) -> None:
    """A batch is posted between reading and asking: by the older state what was paid since would be asked for as well."""
    embedded.post_honest([{1: 1, 2: -1}])
    known = list(embedded.words)
    embedded.post_honest([{1: 500, 2: -500}])
    member = embedded.keys.member(1)
    with pytest.raises(LedgerError, match=r"NotInState\(account=1"):
        ask_back(embedded.chain, embedded.contract, member, WHOLE - PRICE, known, 1, timestamp=embedded.world.now)
    stolen = embedded.send(member, "requestWithdrawal", WHOLE, *account_proof(embedded.words, 2))
    assert str(stolen.refusal).startswith("NotInState(account=1")
    ask_back(embedded.chain, embedded.contract, member, WHOLE - 501 * PRICE, embedded.words, 1, timestamp=embedded.world.now)


def test_what_was_asked_by_a_batch_that_is_taken_back_is_dropped_by_anybody(batches: Batches) -> None:
    """A rogue operator credits its friend with a million currency units and is convicted. The friend's request stood on that batch
    alone: dropped, the next batch can charge the friend what it buys; and nobody can drop what other members asked."""
    batches.post_honest([{1: 100, 2: -100}])
    batches.must_ask(3, WHOLE)
    honest, _, facts, tree = batches.honest([{}])
    credited = [*batches.words[:1], running_word(-(10**15), 0), *batches.words[2:]]
    wrong = replace(honest, slots=((state_tree(credited).root, row(1, -(10**15) - 100 * PRICE, 0)),))
    assert batches.post(wrong).refusal is None
    batches.must(batches.keys.member(1), "requestWithdrawal", 10**15, *account_proof(credited, 1))
    assert str(batches.send(stranger(), "dropUnfounded", 1).refusal) == "RequestFounded(account=1)"
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    fraud = find_fraud(wrong, batches.words, 5, by_key, tree, batches.collateral(1))
    assert fraud is not None
    prove(batches.chain, batches.contract, stranger(), 1, fraud, timestamp=batches.world.now)
    batches.must(batches.operator, "addBond", BOND)
    batches.post_honest([{1: 5, 2: -5}])  # the batch under way; in the place of the wrong one
    assert batches.view("collateralAt", 1, 3) == WHOLE - 10**15
    batches.must(stranger(), "dropUnfounded", 1)
    assert batches.view("collateralAt", 1, 3) == batches.view("collateralOf", 1) == WHOLE
    for account in (1, 3):
        assert str(batches.send(stranger(), "dropUnfounded", account).refusal) == f"RequestFounded(account={account})"
    batch, _, facts, tree = batches.honest([{1: 100, 2: -100}])
    assert batches.post(batch).refusal is None
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    assert find_fraud(batch, batches.words, 5, by_key, tree, batches.collateral(2)) is None


def test_who_asked_for_everything_spent_and_pays_no_more_makes_no_honest_operator_convictable(embedded: Batches) -> None:
    """Its running payment is above its collateral, but did not rise: neither a sale nor doing nothing is an overdraft."""
    embedded.must_ask(1, WHOLE)
    embedded.post_honest([{1: 400, 2: -400}])
    before = list(embedded.words)
    batch, words, facts, tree = embedded.honest([{1: -100, 2: 100}, {2: 1, 3: -1}])
    assert embedded.post(batch).refusal is None
    assert embedded.view("collateralAt", 1, 1) == 0
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    assert find_fraud(batch, before, 5, by_key, tree, embedded.collateral(1)) is None
    steps = batch.steps(state_tree(before).root)
    after = [running_word(300 * PRICE, 300), running_word(-300 * PRICE, -300)]
    states = [[words[0], *after, *words[3:4], words[4]], words]
    states[0][3] = before[3]
    for step, state in zip(steps, states, strict=True):
        assert state_tree(state).root == step.afterwards
        which = (step.as_arguments(), list(steps_tree(steps).proof(step.index).siblings))
        accused = embedded.send(stranger(), "proveOverdraft", 1, *which, 1, *account_proof(state, 1))
        assert str(accused.refusal) == "NoFraud()"


def test_what_is_paid_in_after_a_request_does_not_free_what_was_spent_before(embedded: Batches) -> None:
    """Member 1 asks for all, buys 30 Wh in the batch under way and 40 in the next, for which the operator pays in 70. What it
    fetches is less the 30, which back its next 30 Wh: by then the operator has lost what it served after the first batch."""
    embedded.must_ask(1, WHOLE)
    embedded.post_honest([{1: 30, 2: -30}])
    first = list(embedded.words)
    embedded.must(embedded.operator, "deposit", 1, 70 * PRICE // UNIT)
    embedded.post_honest([{1: 40, 2: -40}])
    embedded.world.now += WINDOW_S
    assert embedded.fetch(1, 0, first) == PAID_IN - 30 * PRICE // UNIT
    assert embedded.view("collateralAt", 1, 2) == embedded.view("collateralOf", 1) == 100 * PRICE
    embedded.post_honest([{1: 30, 2: -30}])  # with no deposit more
    assert running_payment(embedded.words[1]) == 100 * PRICE
    of_its_own = 30 * PRICE  # it left behind; the other 70 are the operator's
    assert embedded.view("collateralOf", 1) - of_its_own == (40 + 30) * PRICE
