"""Chains: the same bytes give the same state, nothing is paid twice, and whatever fails says what to do."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import pytest

from ledger_world import CHAINS, COIN, ORACLES, SEED, START, THRESHOLD, World, anvil, chain_of, funded, pair, rpc, stranger
from walras.errors import InputError, LedgerError
from walras.ledger import (
    Chain,
    EmbeddedChain,
    Fees,
    Genesis,
    JsonRpcChain,
    LedgerKeys,
    LedgerTerms,
    NodeSettings,
    Sender,
    TimedTransaction,
    Transaction,
    account_words,
    carry_out,
    deposit_transactions,
    next_sender,
    next_slot,
    plan_deployment,
    read_transaction,
    replay,
    settle,
    settlement_transaction,
    sign_transaction,
    transaction_hash,
)

KEYS = LedgerKeys(SEED)


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    with chain_of(request.param) as one:
        yield one


def terms(members: int = 5) -> LedgerTerms:
    return LedgerTerms(
        members=tuple(KEYS.member(account).address for account in range(members)),
        oracles=tuple(KEYS.oracle(index).address for index in range(ORACLES)),
        threshold=THRESHOLD,
        deposits_nano=tuple(account * COIN for account in range(members)),
    )


def history(world: World) -> list[TimedTransaction]:
    """Some slots, one of them refused, and the raw transactions of it all."""
    sent = list(world.deployment.transactions)
    for slot, payment in enumerate([COIN, 3, 10**16, -COIN]):
        operator = next_sender(world.chain, world.keys.operator)
        raw = settlement_transaction(world.addresses, operator, world.settlement(slot, pair(1, 2, payment, slot)))
        receipt = world.chain.send(raw, timestamp=START + 900 * (slot + 1))
        assert receipt.status == (0 if payment == 10**16 else 1)
        sent.append(TimedTransaction(raw, receipt.timestamp))
    return sent


def test_replaying_the_journal_gives_the_same_state_root_and_block_hash() -> None:
    genesis = Genesis(funded(), timestamp=START - 900)
    world = World(EmbeddedChain(genesis))
    sent = history(world)
    fresh = EmbeddedChain(genesis)
    replay(fresh, sent)
    assert fresh.head() == world.chain.head()
    other = EmbeddedChain(genesis)
    replay(other, sent[:-1])
    assert other.head().state_root != world.chain.head().state_root


def test_the_same_journal_gives_both_chains_the_same_accounts_and_the_same_gas() -> None:
    world = World(EmbeddedChain(Genesis(funded(), timestamp=START - 900)))
    sent = history(world)
    with chain_of("anvil") as node:
        receipts = replay(node, sent)
        assert account_words(node, world.addresses, range(6)) == account_words(world.chain, world.addresses, range(6))
    own = [world.chain.receipt(transaction_hash(one.raw)) for one in sent]
    assert [r.gas_used for r in receipts] == [r.gas_used for r in own if r is not None]
    assert [r.refusal for r in receipts] == [r.refusal for r in own if r is not None]
    assert [r.logs for r in receipts] == [r.logs for r in own if r is not None]


def test_the_same_bytes_sent_again_change_nothing(chain: Chain) -> None:
    world = World(chain)
    operator = next_sender(chain, world.keys.operator)
    raw = settlement_transaction(world.addresses, operator, world.settlement(0, pair(1, 2, COIN, 1)))
    first = chain.send(raw, timestamp=world.now)
    balances, head = world.balances(), chain.head()
    assert chain.send(raw, timestamp=world.now + 60) == first
    assert chain.receipt(first.transaction_hash) == first
    assert (world.balances(), chain.head()) == (balances, head)


def test_a_deployment_broken_off_anywhere_is_carried_on_to_the_same_ledger() -> None:
    plan = plan_deployment(KEYS, terms(), 31_337)
    with chain_of("embedded") as whole:
        done = carry_out(whole, plan, timestamp=START)
        for broken_after in range(len(plan.transactions)):
            with chain_of("embedded") as chain:
                for step in plan.transactions[:broken_after]:
                    chain.send(step.raw, timestamp=START)
                again = carry_out(chain, plan, timestamp=START)
                assert again.addresses == done.addresses
                assert chain.head().state_root == whole.head().state_root


def test_a_rehearsal_tells_gas_or_refusal_and_keeps_nothing(chain: Chain) -> None:
    world = World(chain)
    head = chain.head()
    operator = next_sender(chain, world.keys.operator)
    good = settlement_transaction(world.addresses, operator, world.settlement(0, pair(1, 2, COIN, 1)))
    bad = settlement_transaction(world.addresses, operator, world.settlement(0, pair(1, 2, 10**16, 1)))
    refused = chain.rehearse(bad)
    assert refused.refusal is not None
    assert refused.refusal.name == "AccountBelowZero"
    rehearsed = chain.rehearse(good)
    assert rehearsed.refusal is None
    assert (chain.head(), next_slot(chain, world.addresses)) == (head, 0)
    used = chain.send(good, timestamp=world.now).gas_used
    assert used <= rehearsed.gas_used <= used * 3 // 2


def test_nonces_chain_and_funds_are_checked_before_a_block(chain: Chain) -> None:
    world = World(chain)
    operator, to = world.keys.operator, world.keys.member(1).address
    nonce = chain.nonce(operator.address)

    def attempt(key: object, **changes: object) -> str:
        transaction = replace(Transaction(chain.chain_id, nonce, to, b"", 21_000, value=1), **changes)
        with pytest.raises(LedgerError) as caught:
            chain.send(sign_transaction(key, transaction), timestamp=world.now)
        assert caught.value.way_out
        return str(caught.value)

    assert "nonce" in attempt(operator, nonce=nonce - 1)
    attempt(operator, chain_id=chain.chain_id + 1)
    attempt(world.keys.oracle(0), nonce=0)
    attempt(operator, fees=Fees(max_fee_per_gas=0))
    assert chain.nonce(operator.address) == nonce


def test_out_of_gas_is_a_refusal_that_says_so(chain: Chain) -> None:
    world = World(chain)
    raw = settlement_transaction(world.addresses, next_sender(chain, world.keys.operator), world.settlement(0, pair(1, 2, COIN, 1)))
    starved = sign_transaction(world.keys.operator, replace(read_transaction(raw).transaction, gas_limit=60_000))
    receipt = chain.send(starved, timestamp=world.now)
    assert receipt.status == 0
    assert receipt.refusal is not None
    assert receipt.refusal.name == "OutOfGas"
    with pytest.raises(LedgerError):  # the slot is still open, the nonce is spent
        chain.send(raw, timestamp=world.now)
    settle(chain, world.addresses, world.keys.operator, world.settlement(0, pair(1, 2, COIN, 1)), timestamp=world.now)


def test_code_and_storage_are_read_from_the_newest_block(chain: Chain) -> None:
    world = World(chain)
    assert len(chain.code(world.addresses.settlement)) > 1_000
    assert chain.code(stranger().address) == b""
    assert chain.storage(world.addresses.currency, 2) == 6 * 1_000 * COIN // 1_000  # ERC-20 total supply


def test_deposits_by_a_member_need_their_two_transactions(chain: Chain) -> None:
    world = World(chain)
    payer = world.keys.member(1)
    assert world.send(world.keys.operator, "TestCurrency", "mint", payer.address, 100).status == 1
    before = world.balances()
    for raw in deposit_transactions(world.addresses, next_sender(chain, payer), [1, 4], [60, 40]):
        assert chain.send(raw, timestamp=world.now).status == 1
    gained = [after - was for after, was in zip(world.balances(), before, strict=True)]
    assert gained == [0, 60_000, 0, 0, 40_000, 0]
    with pytest.raises(InputError, match="2 rows like accounts"):
        deposit_transactions(world.addresses, Sender(payer, 0), [1, 2], [1])


def test_terms_with_faults_tell_all_of_them() -> None:
    good = terms(3)
    with pytest.raises(InputError) as caught:
        replace(good, threshold=2, deposits_nano=(1_500, -1_000), members=good.members[:2] * 2)
    assert [fault.field for fault in caught.value.faults] == [
        "deposits_nano",
        "deposit_nano",
        "deposit_nano",
        "threshold",
        "members",
    ]


def test_a_genesis_without_money_is_refused() -> None:
    with pytest.raises(InputError, match="pays gas"):
        EmbeddedChain(Genesis(()))


def test_a_node_that_is_not_there_is_a_ledger_error_with_the_way_out() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LedgerError, match=r"cannot be reached(.|\n)*start the node"):
        JsonRpcChain(f"http://127.0.0.1:{port}")


def test_a_node_of_another_chain_is_refused() -> None:
    with anvil() as url, pytest.raises(LedgerError, match="is of chain 31337, expected 1"):
        JsonRpcChain(url, expected_chain_id=1)


def test_a_transaction_that_is_not_included_times_out_and_is_taken_up_again_later() -> None:
    """Virtual time: the node mines nothing until told; the client's patience ends; the same bytes then find their receipt."""
    with anvil(options=("--no-mining",)) as url:
        rpc(url, "anvil_setBalance", KEYS.operator.address, hex(10**20))
        ticks = itertools.count()
        settings = NodeSettings(receipt_timeout_s=5)
        client = JsonRpcChain(url, settings=settings, monotonic=lambda: float(next(ticks)), sleep=lambda seconds: None)
        raw = sign_transaction(KEYS.operator, Transaction(client.chain_id, 0, stranger().address, b"", 21_000, value=7))
        with pytest.raises(LedgerError, match="send the same bytes again later"):
            client.send(raw, timestamp=0)
        assert client.nonce(KEYS.operator.address) == 1  # it waits in the node's pool
        with pytest.raises(LedgerError, match="not included"):
            client.send(raw, timestamp=0)  # already known to the node: not an error of its own
        rpc(url, "evm_mine")
        assert client.send(raw, timestamp=0).status == 1
        assert int(rpc(url, "eth_getBalance", stranger().address, "latest"), 16) == 7


def test_a_transaction_in_the_way_of_another_with_its_nonce_is_named() -> None:
    with anvil(options=("--no-mining",)) as url:
        rpc(url, "anvil_setBalance", KEYS.operator.address, hex(10**20))
        client = JsonRpcChain(url, settings=NodeSettings(receipt_timeout_s=0))
        one, two = (Transaction(client.chain_id, 0, stranger().address, b"", 21_000, value=value) for value in (1, 2))
        with pytest.raises(LedgerError, match="not included"):
            client.send(sign_transaction(KEYS.operator, one), timestamp=0)
        with pytest.raises(LedgerError, match=r"replacement transaction underpriced(.|\n)*send that one again"):
            client.send(sign_transaction(KEYS.operator, two), timestamp=0)


def test_confirmations_wait_for_blocks_on_top() -> None:
    with anvil() as url:
        rpc(url, "anvil_setBalance", KEYS.operator.address, hex(10**20))
        mined = itertools.count()

        def wait(_: float) -> None:
            next(mined)
            rpc(url, "evm_mine")

        client = JsonRpcChain(url, settings=NodeSettings(confirmations=3), sleep=wait)
        raw = sign_transaction(KEYS.operator, Transaction(client.chain_id, 0, stranger().address, b"", 21_000))
        assert client.send(raw, timestamp=0).status == 1
        assert next(mined) == 3


def test_a_reorganisation_in_mid_settlement_loses_nothing_and_pays_once() -> None:
    """The block with the settlement is undone; the same bytes settle again, to the same balances."""
    with chain_of("anvil") as chain:
        world = World(chain)
        snapshot = rpc(chain.url, "evm_snapshot")
        before = world.balances()
        operator = next_sender(chain, world.keys.operator)
        raw = settlement_transaction(world.addresses, operator, world.settlement(0, pair(1, 2, COIN, 1)))
        settled = chain.send(raw, timestamp=world.now)
        after = world.balances()
        assert rpc(chain.url, "evm_revert", snapshot)
        assert world.balances() == before
        assert chain.receipt(settled.transaction_hash) is None
        again = chain.send(raw, timestamp=world.now + 30)
        assert again.status == 1
        assert world.balances() == after


def test_a_node_without_tracing_still_gives_the_reason_by_a_call() -> None:
    with chain_of("anvil") as chain, mock.patch("walras.ledger.jsonrpc._TRACE", "debug_unknown"):
        world = World(chain)
        receipt = world.settle_raw(0, b"", b"")
        assert str(receipt.refusal) == "QuorumNotReached(given=0, threshold=3)"
