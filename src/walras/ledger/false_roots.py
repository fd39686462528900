"""Roots that no honest oracle attests, found among the leaves and proved on the chain: the twin of `contracts/FalseRoot.sol`.

Three things cannot stand under the root of one slot: a reading of another slot, a reading that its meter never signed, two
readings of one meter. Whoever has the leaves (operator, oracles, an auditor with the members' consent) finds them with
`find_falsehood`, and with the oracle's signature over the root anybody convicts it. That a reading is missing, or that a meter
measures wrong, no leaf can show: there the quorum stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, Receipt
from walras.ledger.keys import SigningKey
from walras.ledger.leaf_proofs import MeterKey, ShownLeaf, meter_key, read_leaf, reading_of, shown_leaf
from walras.ledger.oracle_bond import SignedRoot
from walras.metering.identity import PublicKey, verify
from walras.metering.merkle import tree_over
from walras.metering.reading import signed_part

SLASH_GAS = 1_500_000
"""The P-256 check without a precompile takes most of it."""


@dataclass(frozen=True, slots=True)
class WrongSlot:
    """A reading of another slot."""

    shown: ShownLeaf


@dataclass(frozen=True, slots=True)
class Forged:
    """A reading with a signature that is not by the meter it names; `key` is that meter's, from the register."""

    shown: ShownLeaf
    key: MeterKey


@dataclass(frozen=True, slots=True)
class MeterTwice:
    """Two different readings of one meter."""

    first: ShownLeaf
    second: ShownLeaf


Falsehood = WrongSlot | Forged | MeterTwice


def find_falsehood(slot: int, leaves: Sequence[bytes], keys: Mapping[bytes, PublicKey]) -> Falsehood | None:
    """The first thing among the salted `leaves` that makes their root false for `slot`, or None.

    `keys` are the registered meters by key id; of a meter that is not there a forgery cannot be shown.
    """
    tree = tree_over(leaves)
    seen: dict[bytes, int] = {}
    for index, leaf in enumerate(leaves):
        reading = read_leaf(leaf)
        if reading is None:
            continue
        shown = shown_leaf(leaf, tree.proof(index))
        if reading.slot != slot:
            return WrongSlot(shown)
        key = keys.get(reading.key_id)
        if reading.is_signed and key is not None and not verify(key, leaf[-64:], signed_part(reading_of(leaf))):
            return Forged(shown, meter_key(key))
        before = seen.setdefault(reading.key_id, index)
        if leaves[before] != leaf:
            return MeterTwice(shown_leaf(leaves[before], tree.proof(before)), shown)
    return None


def prove_false(
    chain: Chain, contract: Contract, reporter: SigningKey, signed: SignedRoot, falsehood: Falsehood, *, timestamp: int
) -> Receipt:
    """Convict the oracle that signed the root. LedgerError with the contract's reason where nothing is proved."""
    head = (signed.slot, signed.revision, signed.root, signed.signature)
    call: tuple[Any, ...]
    match falsehood:
        case WrongSlot(shown):
            call = ("slashWrongSlot", *head, shown.as_arguments())
        case Forged(shown, key):
            call = ("slashForged", *head, shown.as_arguments(), key.x, key.y)
        case MeterTwice(first, second):
            call = ("slashMeterTwice", *head, first.as_arguments(), second.as_arguments())
    function, *arguments = call
    return contract.act(chain, reporter, function, *arguments, timestamp=timestamp, gas_limit=SLASH_GAS)
