"""Adversaries by name, and what becomes of each: a hostile currency, a reorganisation, dust and griefing on every entry point.

Operators who settle wrong prices, skip a member or disappear have their scenarios in `test_ledger_batches` and
`test_ledger_forced_exit`; nodes that go away, nonce clashes and stuck transactions in `test_ledger_chains`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from batch_world import BOND, TIMEOUT_S, UNIT, WINDOW_S, Batches
from ledger_compiler import compile_order
from ledger_world import DELAY_S, ROOT, START, THRESHOLD, World, chain_of, pair, rpc, stranger
from walras.errors import LedgerError
from walras.ledger import (
    Chain,
    LedgerKeys,
    Transaction,
    artifact,
    next_sender,
    require_accepted,
    settlement_transaction,
    sign_transaction,
)
from walras.ledger.abi import Artifact, Signature
from walras.ledger.batches import attest_facts, exit_now, post_arguments, post_gas
from walras.ledger.calls import Contract, create
from walras.ledger.keys import SigningKey
from walras.ledger.steps import state_tree
from walras.ledger.transactions import contract_address


@cache
def hostile_code() -> Artifact:
    """The hostile currency, compiled from tests/contracts."""
    source = (ROOT / "tests" / "contracts" / "HostileToken.sol").read_text(encoding="utf-8")
    made = compile_order({"HostileToken.sol": source}, ["HostileToken"])
    bytecode = bytes.fromhex(made["HostileToken"].removeprefix("0x"))
    functions = {
        name: Signature(name, inputs, tuple(f"a{i}" for i in range(len(inputs))), outputs, (False,) * len(inputs))
        for name, inputs, outputs in (
            ("mint", ("address", "uint256"), ()),
            ("arm", ("address", "bytes", "uint256"), ()),
            ("doCall", ("address", "bytes"), ()),
            ("refuse", ("address", "bool"), ()),
            ("approve", ("address", "uint256"), ("bool",)),
            ("tried", (), ("bool",)),
            ("gotThrough", (), ("bool",)),
            ("answer", (), ("bytes",)),
            ("balanceOf", ("address",), ("uint256",)),
        )
    }
    return Artifact("HostileToken", bytecode, (), functions, {}, {})


class Siege:
    """A registry whose account 0 is the hostile currency itself, and every contract that pays, on that currency."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.keys, self.now = chain, LedgerKeys(bytes(range(32))), START
        admin = self.keys.admin
        sender = next_sender(chain, admin)
        code = hostile_code()
        raw = sign_transaction(admin, Transaction(chain.chain_id, sender.nonce, None, code.creation(), 5_000_000))
        require_accepted(chain.send(raw, timestamp=self.now), "hostile currency")
        self.token = contract_address(admin.address, sender.nonce)
        self.registry = create(chain, admin, "Registry", admin.address, 0, admin.address, timestamp=self.now)
        oracles = [self.keys.oracle(index).address for index in range(4)]
        self.do(self.registry, admin, "setOracles", oracles, THRESHOLD)
        self.do(self.registry, admin, "registerMany", [self.token, self.keys.member(1).address])

    def do(self, contract: Contract, key: SigningKey, function: str, *arguments: object) -> None:
        contract.act(self.chain, key, function, *arguments, timestamp=self.now, gas_limit=8_000_000)

    def hostile(self, function: str, *arguments: object) -> None:
        """A call of the currency by the admin."""
        data = hostile_code().call(function, *arguments)
        nonce = self.chain.nonce(self.keys.admin.address)
        raw = sign_transaction(self.keys.admin, Transaction(self.chain.chain_id, nonce, self.token, data, 8_000_000))
        require_accepted(self.chain.send(raw, timestamp=self.now), function)

    def look(self, function: str, *arguments: object) -> object:
        code = hostile_code()
        return code.result(function, self.chain.call(self.token, code.call(function, *arguments)))[0]

    def as_token(self, contract: Contract, function: str, *arguments: object) -> None:
        """The currency acts, as a member can."""
        self.hostile("doCall", contract.address, artifact(contract.name).call(function, *arguments))

    def armed(self, contract: Contract, function: str, *arguments: object) -> None:
        self.hostile("arm", contract.address, artifact(contract.name).call(function, *arguments), 0)

    def repelled(self) -> bool:
        """The currency called back and was refused by the guard."""
        guard = artifact("Settlement")
        selector = next(key for key, error in guard.errors.items() if error.name == "ReentrancyGuardReentrantCall")
        return bool(self.look("tried")) and not self.look("gotThrough") and bytes(self.look("answer"))[:4] == selector  # type: ignore[arg-type, call-overload]


@pytest.fixture
def siege() -> Iterator[Siege]:
    with chain_of("embedded") as chain:
        yield Siege(chain)


def test_a_hostile_currency_enters_no_settlement_twice(siege: Siege) -> None:
    terms = (siege.token, siege.registry.address, 0, 4)
    settlement = create(siege.chain, siege.keys.admin, "Settlement", *terms, timestamp=siege.now)
    siege.hostile("mint", siege.token, 1_000)
    siege.hostile("doCall", siege.token, hostile_code().call("approve", settlement.address, 10**9))
    siege.armed(settlement, "depositMany", [0], [100])
    siege.as_token(settlement, "depositMany", [0], [400])
    assert siege.repelled()
    siege.as_token(settlement, "requestWithdrawal", 300 * UNIT)
    siege.armed(settlement, "withdraw")
    siege.as_token(settlement, "withdraw")
    assert siege.repelled()
    assert siege.look("balanceOf", settlement.address) == 100
    assert settlement.view(siege.chain, "accountAt", 0)[0] == 100 * UNIT


def test_a_hostile_currency_enters_no_batch_settlement_twice(siege: Siege) -> None:
    admin = siege.keys.admin
    terms = (siege.token, siege.registry.address, (WINDOW_S, TIMEOUT_S), 10, 0, 0)
    batches = create(siege.chain, admin, "BatchSettlement", *terms, timestamp=siege.now)
    siege.hostile("mint", siege.token, 1_000)
    siege.hostile("mint", admin.address, 1_000)
    siege.hostile("doCall", siege.token, hostile_code().call("approve", batches.address, 10**9))
    nonce = siege.chain.nonce(admin.address)
    approve = hostile_code().call("approve", batches.address, 10**9)
    raw = sign_transaction(admin, Transaction(siege.chain.chain_id, nonce, siege.token, approve, 100_000))
    require_accepted(siege.chain.send(raw, timestamp=siege.now), "approve")
    siege.armed(batches, "deposit", 0, 100)
    siege.as_token(batches, "deposit", 0, 500)
    assert siege.repelled()
    siege.armed(batches, "addBond", 1)
    siege.do(batches, admin, "addBond", 50)
    assert siege.repelled()
    siege.armed(batches, "withdrawBond")
    siege.do(batches, admin, "withdrawBond")
    assert siege.repelled()
    siege.now += TIMEOUT_S + 60
    siege.do(batches, admin, "halt")
    siege.armed(batches, "exit", 0, [])
    siege.as_token(batches, "exit", 0, [])
    assert siege.repelled()
    assert siege.look("balanceOf", batches.address) == 0
    assert siege.look("balanceOf", siege.token) == 1_000


def test_a_hostile_currency_enters_no_flexibility_bond_twice(siege: Siege) -> None:
    admin = siege.keys.admin
    settlement = create(siege.chain, admin, "Settlement", siege.token, siege.registry.address, 0, 4, timestamp=siege.now)
    bonds = create(siege.chain, admin, "FlexibilityBond", settlement.address, timestamp=siege.now)
    siege.hostile("mint", siege.token, 1_000)
    siege.hostile("doCall", siege.token, hostile_code().call("approve", bonds.address, 10**9))
    terms = (siege.token, 5, 1, 1_000, 100, 50, siege.now + 5_000, siege.now + 10_000, bytes(32))  # 100,000 nano: 100 token units
    siege.armed(bonds, "offer", terms)
    siege.as_token(bonds, "offer", terms)
    assert siege.repelled()
    siege.armed(bonds, "accept", 1)
    siege.as_token(bonds, "accept", 1)
    assert siege.repelled()
    siege.now += 10_060
    siege.do(bonds, admin, "expire", 1)
    siege.armed(bonds, "collect")
    siege.as_token(bonds, "collect")
    assert siege.repelled()
    assert siege.look("balanceOf", bonds.address) == 0


def test_a_currency_that_keeps_a_fee_is_refused_wherever_money_comes_in(siege: Siege) -> None:
    admin, token = siege.keys.admin, siege.token
    settlement = create(siege.chain, admin, "Settlement", token, siege.registry.address, 0, 4, timestamp=siege.now)
    terms = (token, siege.registry.address, (WINDOW_S, TIMEOUT_S), 10, 0, 0)
    batches = create(siege.chain, admin, "BatchSettlement", *terms, timestamp=siege.now)
    bonds = create(siege.chain, admin, "FlexibilityBond", settlement.address, timestamp=siege.now)
    siege.hostile("mint", token, 1_000)
    agreement = (token, 5, 1, 1_000, 100, 50, siege.now + 5_000, siege.now + 10_000, bytes(32))
    for contract, call in (
        (settlement, ("depositMany", [0], [10])),
        (batches, ("deposit", 0, 10)),
        (batches, ("addBond", 10)),
        (bonds, ("offer", agreement)),
    ):
        siege.hostile("doCall", token, hostile_code().call("approve", contract.address, 10**9))
        siege.hostile("arm", "0x" + "00" * 20, b"", 1)
        with pytest.raises(LedgerError, match=r"ShortTransfer\("):
            siege.as_token(contract, *call)  # type: ignore[arg-type]
        assert siege.look("balanceOf", contract.address) == 0


def test_a_reorganisation_takes_a_batch_away_and_the_same_bytes_bring_it_back_once() -> None:
    with chain_of("anvil") as chain:
        batches = Batches(World(chain, members=3))
        batches.post_honest([{1: 5, 2: -5}])
        first = list(batches.words)
        batch, words, _, _ = batches.honest([{1: 10, 2: -10}, {}])
        snapshot = rpc(chain.url, "evm_snapshot")
        signatures = attest_facts(batches.contract, batch, [batches.keys.oracle(index) for index in range(3)])
        sender = next_sender(chain, batches.operator)
        arguments = post_arguments(batch, signatures)
        raw = batches.contract.transaction(sender, "post", *arguments, gas_limit=post_gas(batch))
        posted = chain.send(raw, timestamp=batches.world.now)
        assert rpc(chain.url, "evm_revert", snapshot)
        assert chain.receipt(posted.transaction_hash) is None
        assert batches.view("stateRoot") == state_tree(first).root
        assert chain.send(raw, timestamp=batches.world.now + 30).status == 1
        assert chain.send(raw, timestamp=batches.world.now + 60).status == 1  # recognised, not done again
        assert (batches.view("batchCount"), batches.view("nextSlot")) == (2, 3)
        assert batches.view("stateRoot") == state_tree(words).root


def test_a_batch_interrupted_before_its_receipt_is_posted_once() -> None:
    """The node goes away after it took the transaction: the bytes are sent again, the batch stands once."""
    with chain_of("anvil") as chain:
        batches = Batches(World(chain, members=3))
        batch, _, _, _ = batches.honest([{1: 5, 2: -5}])
        signatures = attest_facts(batches.contract, batch, [batches.keys.oracle(index) for index in range(3)])
        sender = next_sender(chain, batches.operator)
        raw = batches.contract.transaction(sender, "post", *post_arguments(batch, signatures), gas_limit=post_gas(batch))
        rpc(chain.url, "eth_sendRawTransaction", "0x" + raw.hex())  # the answer never came
        assert chain.send(raw, timestamp=batches.world.now).status == 1
        assert batches.view("batchCount") == 1
        # Another transaction under the same nonce is refused by name, and nothing is posted twice.
        clash = batches.contract.transaction(replace(sender), "addBond", 1)
        with pytest.raises(LedgerError, match="nonce"):
            chain.send(clash, timestamp=batches.world.now)
        fresh = batches.contract.transaction(
            next_sender(chain, batches.operator), "post", *post_arguments(batch, signatures), gas_limit=post_gas(batch)
        )
        assert chain.send(fresh, timestamp=batches.world.now).refusal.name == "SlotNotNext"  # type: ignore[union-attr]


def test_dust_paid_into_anothers_account_in_every_batch_blocks_neither_proof_nor_exit() -> None:
    with chain_of("embedded") as chain:
        batches = Batches(World(chain, members=3), paid_in=1_000)
        gas = []
        for _ in range(12):  # a checkpoint for the victim in every era
            batches.must(batches.operator, "deposit", 1, 1)
            batches.must_ask(1, UNIT)
            batches.post_honest([{}])
            gas.append(batches.must(batches.operator, "deposit", 1, 1).gas_used)
        assert gas[-1] < gas[1] + 30_000  # grows with the logarithm of the history, not with it
        batches.world.now += TIMEOUT_S
        batches.must(stranger(), "halt")
        member = batches.keys.member(1)
        before = batches.world.tokens(member.address)
        exit_now(chain, batches.contract, member, batches.words, 1, timestamp=batches.world.now)
        assert batches.world.tokens(member.address) - before == 1_000 + 24


def test_tokens_sent_unasked_change_no_account_and_no_bond() -> None:
    with chain_of("embedded") as chain:
        batches = Batches(World(chain, members=3), paid_in=1_000)
        assert batches.world.send(batches.operator, "TestCurrency", "transfer", batches.contract.address, 77).status == 1
        assert batches.view("collateralOf", 1) == 1_000 * UNIT
        assert batches.view("bondOf", batches.operator.address) == BOND


def test_an_interrupted_settlement_goes_on_where_it_was_and_pays_once() -> None:
    """A settlement sent into a node that dies before the receipt, then the whole history again: the same accounts."""
    with chain_of("anvil") as chain:
        world = World(chain, members=3)
        operator = next_sender(chain, world.keys.operator)
        raws = []
        for slot in range(3):
            sender = replace(operator, nonce=operator.nonce + slot)
            raws.append(settlement_transaction(world.addresses, sender, world.settlement(slot, pair(1, 2, 1_000, slot))))
        chain.send(raws[0], timestamp=world.now)
        rpc(chain.url, "eth_sendRawTransaction", "0x" + raws[1].hex())
        for raw in raws:
            assert chain.send(raw, timestamp=world.now + DELAY_S).status == 1
        assert world.balances()[1:] == [1_000 * 10**9 - 3_000, 1_000 * 10**9 + 3_000]
