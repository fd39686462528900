"""Every contract's transactions, recorded on the embedded EVM, do the same on four real nodes: outcome by outcome, root by root.

A story is a sequence of one of the state machines (or a short one here), so its transactions are accepted and refused ones. Each
goes to four nodes that make no blocks of their own, in a block of its time. After each block all four have one state root and one
block hash; and every outcome, event, refusal and gas figure is the embedded EVM's.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from ledger_machines import forget_prepared, hunting, run_machine
from ledger_world import SEED, START, AnvilChain, anvil, rpc
from proofs_world import golden
from walras.ledger import EmbeddedChain, Genesis, LedgerKeys, Receipt, TimedTransaction, artifact, next_sender, read_transaction
from walras.ledger.abi import CONTRACTS
from walras.ledger.proof_verifier import deploy_verifier, record_proofs
from walras.ledger.transactions import contract_address, transaction_hash
from walras.metering.proofs import verifying_key

NODES = 4


class RecordingChain(EmbeddedChain):
    """The embedded chain, with what was sent to it; every copy is known to `made`."""

    made: list[RecordingChain] = []  # noqa: RUF012 - the one list of all of them

    def __init__(self, genesis: Genesis) -> None:
        super().__init__(genesis)
        self.genesis, self.sent = genesis, list[tuple[TimedTransaction, Receipt]]()
        self.made.append(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> RecordingChain:
        twin = RecordingChain.__new__(RecordingChain)
        memo[id(self)] = twin
        for name, value in vars(self).items():
            setattr(twin, name, list(value) if name == "sent" else copy.deepcopy(value, memo))
        self.made.append(twin)
        return twin

    def send(self, raw: bytes, *, timestamp: int) -> Receipt:
        known = self.receipt(transaction_hash(raw)) is not None
        receipt = super().send(raw, timestamp=timestamp)
        if not known:
            self.sent.append((TimedTransaction(raw, receipt.timestamp), receipt))
        return receipt

    @property
    def outcomes(self) -> set[int]:
        return {receipt.status for _, receipt in self.sent}


@dataclass(frozen=True, slots=True)
class Story:
    """Where it is told: a state machine of a test module, and the contracts that must have taken part in it."""

    module: str
    machine: str
    contracts: tuple[str, ...]
    sequences: int = 25


_LEDGER = ("TestCurrency", "Registry", "Settlement")
STORIES = {
    "settlement": Story("test_ledger_settlement_machine", "SettlementMachine", _LEDGER, 6),
    "members": Story("test_ledger_members_machine", "MembersMachine", ("Registry", "ListGate", "MeterRegister", "Timelock")),
    "powers": Story("test_ledger_powers_machine", "PowersMachine", ("Council", "DeviceRegistry", "ListGate")),
    "identifiers": Story("test_ledger_identifiers_machine", "IdentifierMachine", ("DidRegistry",)),
    "auction": Story("test_ledger_auction_machine", "AuctionMachine", ("SealedAuction",)),
    "oracles": Story("test_ledger_bond_machine", "BondMachine", ("OracleBond", "MeterRegister")),
    "issuance": Story("test_ledger_issuance_machine", "IssuanceMachine", ("EnergyClaims", "EnergyCertificates", "Issuance")),
    "lots": Story("test_ledger_lots_machine", "LotsMachine", ("DeliveryLots", "RightsMarket")),
    "quotes": Story("test_ledger_quotes_machine", "QuoteMachine", ("SignedQuotes",)),
    "flexibility": Story("test_ledger_flexibility_machine", "FlexibilityMachine", ("FlexibilityBond",)),
    "pool": Story("test_ledger_pool", "PoolMachine", ("EnergyPool",)),
    "channels": Story("test_ledger_channels", "ChannelMachine", ("PaymentChannels",), 6),
    "batches": Story("test_ledger_batches_machine", "BatchMachine", ("BatchSettlement",)),
    "disputes": Story("test_ledger_disputes_machine", "DisputesMachine", ("Disputes", "DeviceRegistry")),
    "proofs": Story("", "", ("ProofVerifier",)),
}
EVERY_TIME = ("channels", "settlement")
CALLED_BY_OTHERS = ("Issuance", "MeterRegister")  # transactions reach these by way of another contract


def told(story: Story) -> RecordingChain:
    """Of a few sequences the one in which most of the contracts accepted something, by the chain that it was told to."""
    RecordingChain.made.clear()
    if not story.module:
        proofs_on(
            RecordingChain(Genesis((LedgerKeys(SEED).admin.address, LedgerKeys(SEED).operator.address), timestamp=START - 900))
        )
    else:
        module = importlib.import_module(f"stateful.{story.module}")
        forget_prepared()
        with mock.patch.object(module, "machine_chain", RecordingChain):
            run_machine(getattr(module, story.machine), hunting(story.sequences, 30), signed=True)
        forget_prepared()
    return max(RecordingChain.made, key=lambda one: (len(accepting(story, one)), len(one.outcomes), len(one.sent)))


def accepting(story: Story, chain: RecordingChain) -> set[str]:
    """The story's contracts that accepted a transaction here, or stand and are reached by way of another contract."""
    found = taking_part(chain)
    return {name for name in story.contracts if name in found and (found[name] > 0 or name in CALLED_BY_OTHERS)}


def proofs_on(chain: RecordingChain) -> None:
    """A verifier, a proof that holds, and one for another statement, which is refused."""
    keys, key = LedgerKeys(SEED), verifying_key("below_limit")
    contract = deploy_verifier(chain, keys.admin, key, timestamp=START)
    statement, proof = golden("below_limit at 50")
    record_proofs(chain, contract, keys.operator, key, [(statement, proof)], timestamp=START)
    false = [*statement.public[:-1], statement.public[-1] - 1]
    raw = contract.transaction(next_sender(chain, keys.operator), "prove", proof.encode(), false, gas_limit=2_000_000)
    assert chain.send(raw, timestamp=START).status == 0


def taking_part(chain: RecordingChain) -> dict[str, int]:
    """Contracts of ours that were created, with how many transactions each accepted."""
    codes = {name: artifact(name).bytecode for name in CONTRACTS}
    names: dict[str, str] = {}
    accepted: dict[str, int] = {}
    for one, receipt in chain.sent:
        sent = read_transaction(one.raw)
        if sent.transaction.to is None:
            name = next((name for name, code in codes.items() if sent.transaction.data.startswith(code)), "")
            names[contract_address(sent.sender, sent.transaction.nonce)] = name
            accepted.setdefault(name, 0)
        elif receipt.status and sent.transaction.to in names:
            accepted[names[sent.transaction.to]] += 1
    return accepted


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[str]]:
    """Four nodes that make a block when they are told to, of one chain."""
    quiet = ("--no-mining", "--timestamp", str(START - 900))
    with ExitStack() as stack:
        yield [stack.enter_context(anvil(hardfork="prague", options=quiet)) for _ in range(NODES)]


def block(url: str, one: TimedTransaction) -> tuple[str, str, str]:
    """Make a block of one transaction at its time: its hash, its state root, and the transaction's hash."""
    sent = rpc(url, "eth_sendRawTransaction", "0x" + one.raw.hex())
    rpc(url, "evm_mine", one.timestamp)
    made = rpc(url, "eth_getBlockByNumber", "latest", False)
    assert made["transactions"] == [sent]
    return made["hash"], made["stateRoot"], sent


def same_everywhere(urls: Sequence[str], chain: RecordingChain) -> None:
    """Feed all nodes, block by block; then compare what the first says of each transaction with what the embedded EVM said."""
    kept = [rpc(url, "evm_snapshot") for url in urls]
    for url in urls:
        for address in chain.genesis.funded:
            rpc(url, "anvil_setBalance", address, hex(10**24))
    for one, _ in chain.sent:
        assert len({block(url, one) for url in urls}) == 1
    seen = AnvilChain(urls[0], ())
    for one, own in chain.sent:
        found = seen.receipt(transaction_hash(one.raw))
        assert found is not None
        for field in ("status", "gas_used", "timestamp", "logs", "refusal"):
            assert getattr(found, field) == getattr(own, field), (field, found, own)
    assert all(rpc(url, "evm_revert", number) for url, number in zip(urls, kept, strict=True))


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in EVERY_TIME else pytest.mark.nightly) for n in STORIES])
def test_four_nodes_fed_the_same_blocks_have_one_state_and_the_embedded_evms_outcomes(nodes: list[str], name: str) -> None:
    chain = told(STORIES[name])
    assert accepting(STORIES[name], chain) == set(STORIES[name].contracts)
    assert chain.outcomes == {0, 1}
    same_everywhere(nodes, chain)


def test_every_contract_is_in_a_story() -> None:
    assert {contract for story in STORIES.values() for contract in story.contracts} == set(CONTRACTS)


def test_a_node_that_got_another_transaction_has_another_root(nodes: list[str]) -> None:
    """So the comparison can fail."""
    chain = told(STORIES["proofs"])
    roots = set()
    kept = [rpc(url, "evm_snapshot") for url in nodes[:2]]
    for url, history in zip(nodes[:2], (chain.sent[:-1], chain.sent), strict=True):
        for address in chain.genesis.funded:
            rpc(url, "anvil_setBalance", address, hex(10**24))
        roots.add([block(url, sent)[1] for sent, _ in history][-1])
    assert len(roots) == 2
    assert all(rpc(url, "evm_revert", number) for url, number in zip(nodes[:2], kept, strict=True))
