"""A chain as the exchange needs it: send raw bytes, call, look at state. Everything else is the business of its adapter.

The rules every adapter keeps:
- `send` puts a transaction into exactly one block and returns its receipt, also when the contract refused it (`refusal` says
  why); the same bytes sent again return the same receipt and change nothing;
- what can be learned without spending is learned by `rehearse`;
- whatever goes wrong on the way is a LedgerError with the way out; no library's error passes the border.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from walras.errors import LedgerError
from walras.ledger.abi import Artifact, Revert, read_event
from walras.ledger.keys import SigningKey
from walras.ledger.transactions import DEFAULT_FEES, Fees, Sender


@dataclass(frozen=True, slots=True)
class Log:
    """One event as the chain holds it."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction. `refusal` is None where it took effect (status 1)."""

    transaction_hash: bytes
    status: int
    gas_used: int
    block_number: int
    timestamp: int
    logs: tuple[Log, ...]
    refusal: Revert | None


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block: its number, Unix time, hash, and the root over all accounts and storage after it."""

    number: int
    timestamp: int
    block_hash: bytes
    state_root: bytes


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would become of a transaction now: gas it needs, or the refusal."""

    gas_used: int
    refusal: Revert | None


@dataclass(frozen=True, slots=True)
class TimedTransaction:
    """A raw transaction with the Unix time of its block: what the journal keeps, and all that `replay` needs."""

    raw: bytes
    timestamp: int


class Chain(Protocol):
    """An EVM chain. Addresses are checksummed hex text, hashes 32 bytes, amounts whole numbers."""

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id."""

    def send(self, raw: bytes, *, timestamp: int) -> Receipt:
        """Include `raw` and wait for its receipt. `timestamp` [Unix s] is the block's time where the adapter makes the
        blocks; a node that keeps its own time ignores it."""

    def rehearse(self, raw: bytes) -> Rehearsal:
        """What `raw` would do on top of the newest block; nothing is kept."""

    def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        """The result of a read-only call; LedgerError with the contract's refusal where it reverts."""

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """The receipt of a known transaction, or None."""

    def nonce(self, address: str) -> int:
        """The nonce of the next transaction of `address`."""

    def storage(self, address: str, slot: int) -> int:
        """One storage word of a contract."""

    def code(self, address: str) -> bytes:
        """The code at `address`; empty where there is no contract."""

    def head(self) -> Head:
        """The newest block."""


@dataclass(frozen=True, slots=True)
class FoundLog:
    """An event with the transaction that emitted it and its block."""

    log: Log
    transaction_hash: bytes
    block_number: int


class ReadableChain(Chain, Protocol):
    """A chain whose past can be looked through: what a stranger needs who was not there."""

    def logs(self, address: str, topic: bytes, first_block: int = 0) -> list[FoundLog]:
        """The events of `address` with this first topic, from `first_block` on, in their order."""

    def calldata(self, transaction_hash: bytes) -> bytes:
        """What a transaction of the chain called with; LedgerError where there is none."""


class ArchiveChain(ReadableChain, Protocol):
    """A chain whose past states can be asked."""

    def as_of(self, block: int) -> Chain:
        """The same chain, whose calls, storage and code are those after `block`; LedgerError at the call where the node no longer
        has that state."""


def require_accepted(receipt: Receipt, what: str) -> Receipt:
    """`receipt` itself where the transaction took effect; else LedgerError with the contract's own reason."""
    if receipt.refusal is not None:
        raise LedgerError(
            f"{what}: the contract refused: {receipt.refusal}",
            thing=receipt.refusal,
            way_out="nothing was changed; correct what the error names and send a new transaction",
        )
    return receipt


@runtime_checkable
class PricedChain(Protocol):
    """A chain that says what gas costs."""

    def suggested_fees(self) -> Fees:
        """What to offer now so that a transaction is included soon; zeros where gas is free."""


def next_sender(chain: Chain, key: SigningKey, fees: Fees | None = None) -> Sender:
    """`key` with the nonce that the chain expects of it next, and the fees it suggests where none are given."""
    if fees is None:
        fees = chain.suggested_fees() if isinstance(chain, PricedChain) else DEFAULT_FEES
    return Sender(key, chain.nonce(key.address), fees)


def read(chain: Chain, contract: Artifact, address: str, function: str, *arguments: Any) -> tuple[Any, ...]:
    """Call a view function and decode what it returns."""
    return contract.result(function, chain.call(address, contract.call(function, *arguments)))


def events_of(receipt: Receipt, contract: str, address: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, arguments) of the events that `contract` at `address` emitted in this transaction, in order."""
    found = [read_event(contract, log.topics, log.data) for log in receipt.logs if log.address == address]
    return [event for event in found if event is not None]


def replay(chain: Chain, transactions: Iterable[TimedTransaction]) -> list[Receipt]:
    """Send journalled transactions in order onto a fresh chain: the state comes back, on the embedded chain to the byte.

    Refused ones are part of the history (they spent their nonce) and are sent like the others.
    """
    return [chain.send(one.raw, timestamp=one.timestamp) for one in transactions]
