"""Batch settlement, typed: post many slots at once, rebuild the state from what was posted, and prove a wrong one.

The operator posts with `make_batch` and `post`. Everybody else holds the same state by `read_post` of the chain's transactions;
`find_fraud` compares a posted batch with the rules, the attested facts and the members' collateral, and gives the proof that the
contract accepts. Honest batches give none, and the contract refuses the attempt with `NoFraud`.
Money in nano-units, energy in Wh; a payment is positive when the member pays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode

from walras.errors import LedgerError
from walras.ledger.abi import artifact
from walras.ledger.batch_words import BatchWord, DataRoots
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, Receipt
from walras.ledger.encoding import NetPositions, join_signatures, pack_positions
from walras.ledger.keys import SigningKey
from walras.ledger.steps import EMPTY_ROOT, Fact, StepFault, position_of, redo, rows_of, running_payment, state_tree, step_leaf
from walras.ledger.transactions import read_transaction
from walras.metering.merkle import KECCAK_SORTED, MerkleTree, tree_over

NAME = "BatchSettlement"
GAS_PER_POST = 600_000
GAS_PER_SLOT = 12_000
GAS_PER_BYTE = 42
"""Calldata costs at most 40 a byte where it is most of a transaction (EIP-7623), hashing it about one."""

Collateral = Callable[[int], int]
"""Account to nano-units that back its trades in the batch looked at."""


@dataclass(frozen=True, slots=True)
class Step:
    """One slot of a batch as its leaf commits to it: the state roots before and after, and the packed positions."""

    index: int
    slot: int
    before: bytes
    afterwards: bytes
    packed: bytes

    def leaf(self) -> bytes:
        """Data of its leaf."""
        return step_leaf(self.index, self.slot, self.before, self.afterwards, self.packed)

    def as_arguments(self) -> tuple[int, int, bytes, bytes, bytes]:
        """As the contract takes it."""
        return (self.index, self.slot, self.before, self.afterwards, self.packed)


@dataclass(frozen=True, slots=True)
class Batch:
    """What is posted: consecutive slots with the state root after each, and the root of the facts they follow from."""

    first_slot: int
    slots: tuple[tuple[bytes, bytes], ...]
    facts_root: bytes
    journal_head: bytes

    @property
    def data_bytes(self) -> int:
        """Bytes of positions that it publishes."""
        return sum(len(packed) for _, packed in self.slots)

    def steps(self, before: bytes) -> list[Step]:
        """Its steps from the state with root `before`."""
        roots = [before, *(root for root, _ in self.slots)]
        return [Step(index, self.first_slot + index, roots[index], root, packed) for index, (root, packed) in enumerate(self.slots)]


@dataclass(frozen=True, slots=True)
class Fraud:
    """A proof: the contract's function, its arguments after the batch's index, and what is wrong, in words."""

    function: str
    arguments: tuple[Any, ...]
    what: str


def make_batch(
    words: Sequence[int],
    members: int,
    first_slot: int,
    positions: Sequence[NetPositions],
    facts_root: bytes,
    journal_head: bytes,
) -> tuple[Batch, list[int]]:
    """The batch of consecutive slots on top of the state `words`, and the state after it. LedgerError for a position that the
    rules refuse: an honest operator cannot post it by mistake."""
    state, slots = list(words), []
    for offset, rows in enumerate(positions):
        packed = pack_positions(rows)
        fault, state = redo(state, members, packed)
        if fault is not StepFault.NONE:
            raise LedgerError(f"slot {first_slot + offset} cannot be batched: {fault.name.lower()}", thing=rows)
        slots.append((state_tree(state).root, packed))
    return Batch(first_slot, tuple(slots), facts_root, journal_head), state


def steps_tree(steps: Sequence[Step]) -> MerkleTree:
    """The tree that the contract computes from the calldata."""
    return tree_over([step.leaf() for step in steps], KECCAK_SORTED)


def facts_digest(chain_id: int, contract: str, first_slot: int, slots: int, facts_root: bytes) -> bytes:
    """The 32 bytes an oracle signs (EIP-712) for the facts of a batch: good for one contract on one chain only."""
    return BatchWord(first_slot, slots, facts_root).digest(chain_id, contract)


def data_word(batch: Batch, before: bytes) -> BatchWord:
    """What an oracle says that holds the data of `batch` on top of the state with root `before`."""
    steps, state, facts = roots_of(batch, before)
    return BatchWord(batch.first_slot, len(batch.slots), facts, DataRoots(before, steps, state))


def data_digest(chain_id: int, contract: str, batch: Batch, before: bytes) -> bytes:
    """The 32 bytes that it signs (EIP-712)."""
    return data_word(batch, before).digest(chain_id, contract)


def roots_of(batch: Batch, before: bytes) -> tuple[bytes, bytes, bytes]:
    """Root of the steps on top of the state `before`, of the state after them, and of the facts."""
    return steps_tree(batch.steps(before)).root, batch.slots[-1][0], batch.facts_root


def attest_facts(contract: Contract, batch: Batch, oracles: Sequence[SigningKey]) -> bytes:
    """Signatures of `oracles`, joined as the registry wants them; for tests and for oracles on one machine."""
    digest = facts_digest(contract.chain_id, contract.address, batch.first_slot, len(batch.slots), batch.facts_root)
    return join_signatures([(key.address, key.sign_digest(digest)) for key in oracles])


def post_arguments(batch: Batch, signatures: bytes) -> tuple[Any, ...]:
    """The arguments of `post`."""
    return (batch.first_slot, list(batch.slots), batch.facts_root, batch.journal_head, signatures)


def post_roots_arguments(batch: Batch, before: bytes, signatures: bytes) -> tuple[Any, ...]:
    """The arguments of `postRoots`: the same batch, its data with a quorum of the oracles."""
    return (batch.first_slot, len(batch.slots), roots_of(batch, before), batch.journal_head, signatures)


def post_gas(batch: Batch) -> int:
    """A gas limit that suffices, nothing is lost where it is not used."""
    return GAS_PER_POST + GAS_PER_SLOT * len(batch.slots) + GAS_PER_BYTE * batch.data_bytes


def post(chain: Chain, contract: Contract, operator: SigningKey, batch: Batch, signatures: bytes, *, timestamp: int) -> Receipt:
    """Post a batch now; LedgerError with the contract's named refusal."""
    arguments = post_arguments(batch, signatures)
    return contract.act(chain, operator, "post", *arguments, timestamp=timestamp, gas_limit=post_gas(batch))


def read_post(raw: bytes) -> Batch:
    """The batch in a raw transaction: all that a stranger needs to rebuild the state. LedgerError for another call."""
    return read_post_call(read_transaction(raw).transaction.data)


def read_post_call(data: bytes) -> Batch:
    """The batch in the calldata of a post."""
    first, slots, facts_root, journal_head, _ = _arguments_of("post", data)
    return Batch(first, tuple((bytes(root), bytes(packed)) for root, packed in slots), bytes(facts_root), bytes(journal_head))


def word_of_call(data: bytes, before: bytes) -> tuple[BatchWord, bytes]:
    """What the oracles say whose signatures (the second, joined) are in the calldata of a post on top of the state `before`."""
    if data[:4] == artifact(NAME).functions["post"].hash[:4]:
        first, slots, facts_root, _, signatures = _arguments_of("post", data)
        return BatchWord(first, len(slots), bytes(facts_root)), bytes(signatures)
    first, count, (steps, state, facts), _, signatures = _arguments_of("postRoots", data)
    return BatchWord(first, count, bytes(facts), DataRoots(before, bytes(steps), bytes(state))), bytes(signatures)


def _arguments_of(function: str, data: bytes) -> tuple[Any, ...]:
    signature = artifact(NAME).functions[function]
    if data[:4] != signature.hash[:4]:
        raise LedgerError("the transaction posts no batch", thing=data, way_out="give the transaction that emitted BatchPosted")
    return tuple(decode(signature.inputs, data[4:]))


def state_after(batch: Batch, words: Sequence[int], members: int) -> list[int]:
    """The state after a batch without fault; LedgerError where a step is wrong."""
    state = list(words)
    for step in batch.steps(root_of_state(words)):
        fault, state = redo(state, members, step.packed)
        if fault is not StepFault.NONE or state_tree(state).root != step.afterwards:
            raise LedgerError(f"slot {step.slot} of the batch is wrong", thing=step, way_out="`find_fraud` gives the proof")
    return state


def root_of_state(words: Sequence[int]) -> bytes:
    """Root over the state; of no account, keccak of nothing."""
    return state_tree(words).root if words else EMPTY_ROOT


def find_fraud(
    batch: Batch,
    words: Sequence[int],
    members: int,
    facts: Mapping[tuple[int, int], Fact],
    tree: MerkleTree,
    collateral: Collateral,
) -> Fraud | None:
    """The first wrong step of a posted batch with its proof, or None where all is right.

    words: state before the batch; facts: by (slot, account), with their `tree` in the order of the mapping.
    """
    steps = batch.steps(root_of_state(words))
    proofs, order = steps_tree(steps), {key: index for index, key in enumerate(facts)}
    state = list(words)
    for step in steps:
        which = (step.as_arguments(), list(proofs.proof(step.index).siblings))
        fault, after = redo(state, members, step.packed)
        if fault is StepFault.NONE and state_tree(after).root != step.afterwards:
            fault = StepFault.WRONG_STATE
        if fault is not StepFault.NONE:
            return Fraud("proveWrongStep", (*which, state), f"slot {step.slot}: {fault.name.lower().replace('_', ' ')}")
        for account in range(members):
            fact = facts.get((step.slot, account))
            if fact is not None and fact.due() != position_of(step.packed, account):
                proof = list(tree.proof(order[(step.slot, account)]).siblings)
                found = position_of(step.packed, account)
                what = f"slot {step.slot}: account {account} has {found}, the facts come to {fact.due()}"
                return Fraud("proveWrongPosition", (*which, _fact_arguments(fact), proof), what)
        for account, payment, _ in rows_of(step.packed):
            if payment > 0 and running_payment(after[account]) > collateral(account):
                proof = list(state_tree(after).proof(account).siblings)
                what = f"slot {step.slot}: account {account} pays beyond its collateral"
                return Fraud("proveOverdraft", (*which, account, after[account], proof), what)
        state = after
    return None


def prove(chain: Chain, contract: Contract, prover: SigningKey, index: int, fraud: Fraud, *, timestamp: int) -> Receipt:
    """Hand the proof in: the batch and all after it are taken back, the prover receives half the bond."""
    return contract.act(chain, prover, fraud.function, index, *fraud.arguments, timestamp=timestamp, gas_limit=16_000_000)


def ask_back(
    chain: Chain, contract: Contract, member: SigningKey, amount_nano: int, words: Sequence[int], account: int, *, timestamp: int
) -> Receipt:
    """Ask for money back, no more than is the member's own by `words`, the state after the last batch that stands. LedgerError with
    `NotInState` where another batch was posted meanwhile."""
    return contract.act(chain, member, "requestWithdrawal", amount_nano, *account_proof(words, account), timestamp=timestamp)


def withdraw(
    chain: Chain, contract: Contract, member: SigningKey, index: int, words: Sequence[int], account: int, *, timestamp: int
) -> Receipt:
    """Fetch what was asked back against final batch `index`, whose state is `words`."""
    return contract.act(chain, member, "withdraw", index, *account_proof(words, account), timestamp=timestamp)


def exit_now(
    chain: Chain, contract: Contract, member: SigningKey, words: Sequence[int], account: int, *, timestamp: int
) -> Receipt:
    """After a halt: take out everything, by the state after the last batch."""
    return contract.act(chain, member, "exit", *account_proof(words, account), timestamp=timestamp)


def account_proof(words: Sequence[int], account: int) -> tuple[int, list[bytes]]:
    """The word of an account in the state `words`, and its Merkle proof."""
    if account >= len(words):
        return 0, []  # came after the state: nothing to prove
    return words[account], list(state_tree(words).proof(account).siblings)


def _fact_arguments(fact: Fact) -> tuple[int, ...]:
    return tuple(getattr(fact, name) for name in Fact.__dataclass_fields__)
