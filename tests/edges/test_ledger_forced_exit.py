"""Money out of the batch settlement: asked back with notice, paid against a final state, and taken out when nobody operates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from batch_world import BOND, PRICE, TIMEOUT_S, UNIT, WINDOW_S, Batches, batches_on
from ledger_world import CHAINS, World, chain_of, stranger
from walras.errors import LedgerError
from walras.ledger import Receipt
from walras.ledger.batches import exit_now, find_fraud, prove

PAID_IN = 1_000_000


@pytest.fixture(params=CHAINS)
def batches(request: pytest.FixtureRequest) -> Iterator[Batches]:
    with batches_on(request.param, PAID_IN) as made:
        yield made


@pytest.fixture
def embedded() -> Iterator[Batches]:
    with batches_on("embedded", PAID_IN) as made:
        yield made


def refusal(receipt: Receipt) -> str:
    assert receipt.status == 0
    return str(receipt.refusal)


def leave(batches: Batches, account: int) -> int:
    member = batches.keys.member(account)
    before = batches.world.tokens(member.address)
    exit_now(batches.chain, batches.contract, member, batches.words, account, timestamp=batches.world.now)
    return batches.world.tokens(member.address) - before


def test_an_operator_who_disappears_keeps_nothing_of_anybodys(batches: Batches) -> None:
    """The scenario: two batches, then silence, under a pause. Every member leaves with exactly what is its own."""
    batches.post_honest([{1: 500, 2: -500}, {3: 7, 4: -7}])
    batches.post_honest([{2: 300, 1: -300}])
    batches.must(batches.operator, "pause")
    member = batches.keys.member(1)
    with pytest.raises(LedgerError, match=r"OperatorActive\("):
        batches.contract.act(batches.chain, stranger(), "halt", timestamp=batches.world.now)
    with pytest.raises(LedgerError, match="NotHalted"):
        leave(batches, 1)
    batches.world.now += TIMEOUT_S
    batches.must(stranger(), "halt")
    assert refusal(batches.send(stranger(), "halt")) == "AlreadyHalted()"
    trades = {0: 0, 1: 200, 2: -200, 3: 7, 4: -7}  # Wh taken in all
    for account, wh in trades.items():
        assert leave(batches, account) == (PAID_IN * UNIT - wh * PRICE) // UNIT
        with pytest.raises(LedgerError, match=rf"AlreadyExited\(account={account}\)"):
            leave(batches, account)
        assert refusal(batches.ask(account, 1)) == f"AlreadyExited(account={account})"
    batch, _, _, _ = batches.honest([{1: 1, 2: -1}])
    assert refusal(batches.post(batch)) == "EnforcedPause()"
    batches.must(batches.operator, "unpause")
    assert refusal(batches.post(batch)) == "AlreadyHalted()"
    assert refusal(batches.send(batches.operator, "deposit", 1, 1)) == "AlreadyHalted()"
    batches.must(batches.operator, "withdrawBond")
    assert batches.world.tokens(batches.contract.address) == 0
    assert batches.world.tokens(member.address) == PAID_IN - 200 * PRICE // UNIT


def test_an_operator_who_posts_wrong_batches_for_ever_keeps_nobody_waiting(embedded: Batches) -> None:
    """Each is taken back before it is final, so nothing that was asked back is paid. Outcome: none of them is a sign of life, and
    after the time-out since the last batch that stands everybody leaves."""
    embedded.post_honest([{1: 500, 2: -500}])
    since = embedded.world.now
    embedded.must_ask(1, PAID_IN * UNIT // 2)
    for _ in range(3):
        embedded.world.now += TIMEOUT_S // 4
        batch, _, facts, tree = embedded.honest([{1: 1, 2: -1}])
        wrong = replace(batch, slots=((bytes([7]) * 32, batch.slots[0][1]),))
        assert embedded.post(wrong).refusal is None
        by_key = {(fact.slot, fact.account): fact for fact in facts}
        fraud = find_fraud(wrong, embedded.words, 5, by_key, tree, embedded.collateral(1))
        assert fraud is not None
        prove(embedded.chain, embedded.contract, stranger(), 1, fraud, timestamp=embedded.world.now)
        assert embedded.view("lastAct") == since
        embedded.must(embedded.operator, "addBond", BOND)
        assert refusal(embedded.send(stranger(), "halt")).startswith("OperatorActive(")
    embedded.world.now = since + TIMEOUT_S
    embedded.must(stranger(), "halt")
    assert leave(embedded, 1) == PAID_IN - 500 * PRICE // UNIT


def test_without_any_batch_everybody_takes_back_what_it_paid_in(embedded: Batches) -> None:
    embedded.world.now += TIMEOUT_S
    embedded.must(stranger(), "halt")
    assert [leave(embedded, account) for account in range(5)] == [PAID_IN] * 5


def test_nobody_exits_with_anothers_word_or_an_older_state(embedded: Batches) -> None:
    embedded.post_honest([{1: -500, 2: 500}])
    rich = list(embedded.words)
    embedded.post_honest([{1: 500, 2: -500}])
    embedded.world.now += TIMEOUT_S
    embedded.must(stranger(), "halt")
    member = embedded.keys.member(1)
    with pytest.raises(LedgerError, match=r"NotInState\(account=1"):
        exit_now(embedded.chain, embedded.contract, member, rich, 1, timestamp=embedded.world.now)
    embedded.words[1] += 1
    with pytest.raises(LedgerError, match=r"NotInState\(account=1"):
        leave(embedded, 1)
    assert refusal(embedded.send(stranger(), "exit", 0, [])).startswith("NotMember(")


def test_a_halt_waits_to_the_second(embedded: Batches) -> None:
    embedded.post_honest([{1: 1, 2: -1}])
    last = embedded.world.now
    embedded.world.now = last + TIMEOUT_S - 2
    assert refusal(embedded.send(stranger(), "halt")) == f"OperatorActive(until={last + TIMEOUT_S})"
    embedded.world.now = last + TIMEOUT_S
    embedded.must(stranger(), "halt")


def test_money_asked_back_is_paid_against_the_first_final_batch_that_may_have_used_it(batches: Batches) -> None:
    batches.post_honest([{1: 100, 2: -100}])
    first = list(batches.words)
    batches.must_ask(1, PAID_IN * UNIT - 100 * PRICE)  # all of it that is not spent yet
    with pytest.raises(LedgerError, match=r"NotFinal\(index=0"):
        batches.fetch(1, 0, first)
    batches.world.now += WINDOW_S
    batches.must(batches.operator, "pause")  # no pause stops what follows
    with pytest.raises(LedgerError, match=r"BatchTooOld\(era=0, needed=1\)"):
        batches.fetch(1, 0, first)
    batches.must(batches.operator, "unpause")
    batches.post_honest([{1: 50, 2: -50}])  # the one under way may still spend
    batches.world.now += WINDOW_S
    batches.must(batches.operator, "pause")
    assert batches.fetch(1, 1, batches.words) == (PAID_IN * UNIT - 150 * PRICE) // UNIT
    with pytest.raises(LedgerError, match=r"NothingToWithdraw\(account=1\)"):
        batches.fetch(1, 1, batches.words)


def test_what_was_earned_can_be_taken_out_like_what_was_paid_in(embedded: Batches) -> None:
    embedded.post_honest([{1: 400, 2: -400}])
    earned = 400 * PRICE
    embedded.must_ask(2, PAID_IN * UNIT + earned)
    embedded.post_honest([{}])
    embedded.world.now += WINDOW_S
    assert embedded.fetch(2, 1, embedded.words) == PAID_IN + earned // UNIT
    assert embedded.view("collateralOf", 2) == -earned  # with the running payment of -earned: exactly nothing left


def test_a_withdrawal_in_mid_slot_stops_neither_the_slot_nor_the_next_trade_it_can_still_pay(embedded: Batches) -> None:
    """Asked back while a batch is under way: that batch stands, the one after may not spend the money."""
    embedded.must_ask(1, PAID_IN * UNIT)
    under_way, words, facts, tree = embedded.honest([{1: 1_000, 2: -1_000}])
    assert embedded.post(under_way).refusal is None
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    assert find_fraud(under_way, [], 5, by_key, tree, embedded.collateral(0)) is None
    embedded.words, embedded.slot = words, 1
    after, _, facts, tree = embedded.honest([{1: 1, 2: -1}])
    assert embedded.post(after).refusal is None
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    fraud = find_fraud(after, embedded.words, 5, by_key, tree, embedded.collateral(1))
    assert fraud is not None
    assert fraud.function == "proveOverdraft"


def test_a_deposit_counts_from_the_batch_after_it_and_a_cancelled_request_too(embedded: Batches) -> None:
    embedded.post_honest([{}])
    embedded.must(embedded.operator, "deposit", 1, 7)
    assert embedded.view("collateralAt", 1, 0) == PAID_IN * UNIT
    assert embedded.view("collateralAt", 1, 1) == (PAID_IN + 7) * UNIT
    embedded.must_ask(1, 5_000)
    assert embedded.view("collateralAt", 1, 1) == (PAID_IN + 7) * UNIT
    assert embedded.view("collateralAt", 1, 2) == (PAID_IN + 2) * UNIT
    embedded.must(embedded.keys.member(1), "requestWithdrawal", 0, 0, [])  # with no proof of anything
    assert embedded.view("collateralAt", 1, 2) == (PAID_IN + 7) * UNIT
    assert embedded.view("collateralAt", 1, 1) == (PAID_IN + 7) * UNIT  # and not twice for the batch that was never without it
    embedded.must_ask(1, 5_000)
    embedded.post_honest([{}])
    embedded.must(embedded.keys.member(1), "requestWithdrawal", 0, 0, [])  # for the batch under way, which was without it
    assert embedded.view("collateralAt", 1, 2) == embedded.view("collateralAt", 1, 3) == (PAID_IN + 7) * UNIT


def test_dust_and_bad_amounts_are_refused_by_name(embedded: Batches) -> None:
    member = embedded.keys.member(1)
    assert refusal(embedded.send(member, "deposit", 5, 1)) == "NoSuchAccount(account=5)"
    assert refusal(embedded.send(member, "deposit", 1, 0)) == "NothingToDeposit()"
    assert refusal(embedded.send(member, "deposit", 1, 2**120)).startswith("DepositTooLarge(")
    assert refusal(embedded.send(member, "deposit", 1, 2**250)) == "Panic(code=17)"
    assert refusal(embedded.send(member, "deposit", 1, 1)).startswith("ERC20InsufficientAllowance(")
    assert refusal(embedded.ask(1, 2**120 + 1)).startswith("AmountTooLarge(")
    assert refusal(embedded.send(stranger(), "requestWithdrawal", 1, 0, [])).startswith("NotMember(")
    embedded.must_ask(1, UNIT - 1)
    embedded.post_honest([{}])
    embedded.world.now += WINDOW_S
    with pytest.raises(LedgerError, match=r"NothingToWithdraw\(account=1\)"):
        embedded.fetch(1, 0, embedded.words)
    assert embedded.view("bondOf", embedded.operator.address) == BOND


def test_the_times_of_a_batch_settlement_are_checked() -> None:
    from walras.ledger.calls import create

    with chain_of("embedded") as chain:
        world = World(chain, members=1)
        for times in ((0, 10), (10, 10), (11, 10)):
            terms = (world.addresses.currency, world.addresses.registry, times, 1, 0, 0)
            with pytest.raises(LedgerError, match=r"BadTimes\("):
                create(chain, world.keys.admin, "BatchSettlement", *terms, timestamp=world.now)
