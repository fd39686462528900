"""What oracles say of batches of slots, and which two words of one oracle cost it its stake: the twin of `contracts/BatchWord.sol`.

An oracle puts every slot into one word for ever: what was metered and traded no longer changes when it may sign, and where a
conviction takes a batch back, the word holds for the right one too. So two words over a common slot contradict each other where
slots or facts differ, whoever shows them and in whichever order. On top of another state the same facts may make another batch; on
top of one they make one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode

from walras.ledger._keccak import keccak256
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, Receipt
from walras.ledger.encoding import typed_data_digest
from walras.ledger.keys import SigningKey

_DATA_TYPE = keccak256(b"Data(uint64 firstSlot,uint32 slots,bytes32 before,bytes32 stepsRoot,bytes32 stateRoot,bytes32 factsRoot)")
_FACTS_TYPE = keccak256(b"Facts(uint64 firstSlot,uint32 slots,bytes32 factsRoot)")
_NO_DATA = bytes(32)


@dataclass(frozen=True, slots=True)
class DataRoots:
    """Of an oracle that holds a batch's data: the state's root before it, the steps' root on that, the state's after them."""

    before: bytes
    steps: bytes
    state: bytes


@dataclass(frozen=True, slots=True)
class BatchWord:
    """`slots` slots from `first_slot` on have the facts under `facts_root`; with `data`, they make that of them."""

    first_slot: int
    slots: int
    facts_root: bytes
    data: DataRoots | None = None

    def digest(self, chain_id: int, contract: str) -> bytes:
        """The 32 bytes that an oracle signs (EIP-712): good for one contract on one chain only."""
        if self.data is None:
            values = [_FACTS_TYPE, self.first_slot, self.slots, self.facts_root]
        else:
            roots = [self.data.before, self.data.steps, self.data.state]
            values = [_DATA_TYPE, self.first_slot, self.slots, *roots, self.facts_root]
        content = keccak256(encode(["bytes32", "uint64", "uint32", *["bytes32"] * (len(values) - 3)], values))
        return typed_data_digest("Walras Batch Settlement", chain_id, contract, content)

    def as_arguments(self) -> tuple[Any, ...]:
        """As the contract takes it."""
        data = self.data or DataRoots(_NO_DATA, _NO_DATA, _NO_DATA)
        return (self.first_slot, self.slots, self.facts_root, self.data is not None, data.before, data.steps, data.state)


@dataclass(frozen=True, slots=True)
class SignedWord:
    """One oracle's signature (65 bytes) under a word; what an equivocation is proved with, two at a time."""

    word: BatchWord
    signature: bytes


def common_slot(one: BatchWord, other: BatchWord) -> int | None:
    """The first slot that both words are about.

    >>> a, b, c = (BatchWord(first, slots, bytes(32)) for first, slots in ((0, 96), (95, 96), (96, 96)))
    >>> common_slot(a, b), common_slot(a, c)
    (95, None)
    """
    slot = max(one.first_slot, other.first_slot)
    return slot if slot < min(one.first_slot + one.slots, other.first_slot + other.slots) else None


def contradict(one: BatchWord, other: BatchWord) -> bool:
    """Whether no honest oracle gives both.

    >>> day = BatchWord(0, 96, bytes(32))
    >>> contradict(day, BatchWord(0, 96, b"x" * 32)), contradict(day, BatchWord(0, 95, bytes(32))), contradict(day, day)
    (True, True, False)
    """
    if common_slot(one, other) is None:
        return False
    if (one.first_slot, one.slots, one.facts_root) != (other.first_slot, other.slots, other.facts_root):
        return True
    return one.data is not None and other.data is not None and one.data.before == other.data.before and one.data != other.data


def slash_batch(
    chain: Chain, contract: Contract, reporter: SigningKey, batches: str, first: SignedWord, second: SignedWord, *, timestamp: int
) -> Receipt:
    """Convict, at the `OracleBond` `contract`, the oracle that gave both words to the batch settlement at `batches`. LedgerError
    with the contract's reason where the two prove nothing."""
    shown = (first.word.as_arguments(), first.signature, second.word.as_arguments(), second.signature)
    return contract.act(chain, reporter, "slashBatch", batches, *shown, timestamp=timestamp)
