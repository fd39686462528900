"""What a settled slot does to everybody's running account, and what it should have done: the twin of `contracts/SlotSteps.sol`.

The state is one word for each account: running energy [Wh] and running payment [nano, positive: paid more than received]. Its
root is of the Merkle tree that OpenZeppelin's `MerkleProof` verifies (`metering.merkle.KECCAK_SORTED`); a leaf is
`abi.encode(account, word)`. A fact is what a quorum of oracles attests of one account in one slot: metered and traded energies, and
the prices that apply. What it comes to is a sum of products, exact in whole nano-units; the contract computes the same in a proof
of fraud.

Pure functions of whole numbers; both sides are held against each other in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import IntEnum

from eth_abi.abi import encode

from walras.ledger._keccak import keccak256
from walras.ledger.encoding import POSITION_BYTES
from walras.metering.merkle import KECCAK_SORTED, MerkleTree, tree_over

EMPTY_ROOT = keccak256(b"")
"""Root of the state without accounts."""

_SIGNED = frozenset({"buy_micro", "sell_micro", "retail_micro", "feed_in_micro", "other_nano"})


class StepFault(IntEnum):
    """Why positions are wrong by themselves, in the order in which it is looked for."""

    NONE = 0
    MALFORMED_POSITIONS = 1
    ACCOUNTS_NOT_SORTED = 2
    NO_SUCH_ACCOUNT = 3
    PAYMENTS_NOT_BALANCED = 4
    ENERGY_NOT_BALANCED = 5
    WRONG_STATE = 6


@dataclass(frozen=True, slots=True)
class Fact:
    """One account in one slot: energies in Wh, never negative; prices in micro per kWh, all included; `other_nano` is what no
    price explains (what supplier, grid operator and state receive is negative)."""

    slot: int
    account: int
    import_wh: int = 0
    export_wh: int = 0
    bought_wh: int = 0
    sold_wh: int = 0
    buy_micro: int = 0
    sell_micro: int = 0
    retail_micro: int = 0
    feed_in_micro: int = 0
    other_nano: int = 0

    def leaf(self) -> bytes:
        """The data of its leaf, `abi.encode` of the struct; OverflowError where a value is beyond its 64 bits."""
        return b"".join(map(_word, _FACT_FIELDS, astuple(self)))

    def due(self) -> tuple[int, int]:
        """(payment [nano], energy [Wh]) of its account in this slot.

        >>> Fact(7, 1, import_wh=1_000, bought_wh=600, buy_micro=200_000, retail_micro=300_000).due()
        (240000000, 1000)
        """
        traded = self.bought_wh * self.buy_micro - self.sold_wh * self.sell_micro
        rest = (self.import_wh - self.bought_wh) * self.retail_micro - (self.export_wh - self.sold_wh) * self.feed_in_micro
        return traded + rest + self.other_nano, self.import_wh - self.export_wh


_FACT_FIELDS = tuple(Fact.__dataclass_fields__)


def _word(name: str, value: int) -> bytes:
    """A field as a word of 32 bytes, two's complement."""
    low, high = (-(2**63), 2**63) if name in _SIGNED else (0, 2**256 if name == "account" else 2**64)
    if not low <= value < high:
        raise OverflowError(f"{name} = {value} is not from {low} to {high - 1}")
    return (value % 2**256).to_bytes(32, "big")


def facts_tree(facts: Sequence[Fact]) -> MerkleTree:
    """The tree that the oracles attest: one fact for every account of every slot, those without energy too, by slot and account."""
    return tree_over([fact.leaf() for fact in facts], KECCAK_SORTED)


def state_tree(words: Sequence[int]) -> MerkleTree:
    """The tree over the state, account 0 first."""
    return tree_over([account.to_bytes(32, "big") + word.to_bytes(32, "big") for account, word in enumerate(words)], KECCAK_SORTED)


def step_leaf(index: int, slot: int, before: bytes, afterwards: bytes, packed: bytes) -> bytes:
    """Data of the leaf of step `index` of a batch."""
    kinds = ["uint256", "uint64", "bytes32", "bytes32", "bytes32"]
    return encode(kinds, [index, slot, before, afterwards, keccak256(packed)])


def running_payment(word: int) -> int:
    """Nano-units that the account paid more than it received.

    >>> running_payment(running_word(-5, 7)), running_energy(running_word(-5, 7))
    (-5, 7)
    """
    low = word % 2**128
    return low - 2**128 if low >> 127 else low


def running_energy(word: int) -> int:
    """Wh that the account took more than it gave."""
    high = word >> 128
    return high - 2**128 if high >> 127 else high


def running_word(payment_nano: int, energy_wh: int) -> int:
    """The word of an account."""
    return (energy_wh % 2**128) << 128 | payment_nano % 2**128


def rows_of(packed: bytes) -> list[tuple[int, int, int]]:
    """(account, payment [nano], energy [Wh]) of each whole position, whatever is wrong with them together."""
    rows = []
    for at in range(0, len(packed) - POSITION_BYTES + 1, POSITION_BYTES):
        position = packed[at : at + POSITION_BYTES]
        parts = (position[2:10], position[10:16])
        rows.append((int.from_bytes(position[:2], "big"), *(int.from_bytes(part, "big", signed=True) for part in parts)))
    return rows  # type: ignore[return-value]


def position_of(packed: bytes, account: int) -> tuple[int, int]:
    """(payment, energy) that the positions have for `account`; zeros where they have nothing."""
    return next(((payment, energy) for found, payment, energy in rows_of(packed) if found == account), (0, 0))


def redo(words: Sequence[int], members: int, packed: bytes) -> tuple[StepFault, list[int]]:
    """The state after the slot, or the first fault that the positions have (the state then is empty).

    >>> redo([], 1, b"") == (StepFault.NONE, [0])
    True
    """
    if len(packed) % POSITION_BYTES:
        return StepFault.MALFORMED_POSITIONS, []
    state = list(words) + [0] * (members - len(words))
    payments, energies, lowest_free = 0, 0, 0
    for account, payment, energy in rows_of(packed):
        if account < lowest_free:
            return StepFault.ACCOUNTS_NOT_SORTED, []
        if account >= members:
            return StepFault.NO_SUCH_ACCOUNT, []
        lowest_free = account + 1
        payments, energies = payments + payment, energies + energy
        state[account] = running_word(running_payment(state[account]) + payment, running_energy(state[account]) + energy)
    if payments:
        return StepFault.PAYMENTS_NOT_BALANCED, []
    if energies:
        return StepFault.ENERGY_NOT_BALANCED, []
    return StepFault.NONE, state
