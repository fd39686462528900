"""Signed transactions as bytes (EIP-1559, type 2), built by pure code before anything is sent.

A caller journals the raw bytes first and sends them afterwards: whatever happens between the two, the same bytes can be sent
again, and a chain that already has them recognises them by their hash. Nothing here asks a node.
"""

from __future__ import annotations

from dataclasses import dataclass

import rlp
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes

from walras.errors import Fault, InputError
from walras.ledger._keccak import keccak256
from walras.ledger.keys import SigningKey

GWEI = 10**9
MAX_TRANSACTION_GAS = 2**24
"""Cap on one transaction's gas since Osaka (EIP-7825)."""


@dataclass(frozen=True, slots=True)
class Fees:
    """Wei per gas. The embedded chain and a permissioned one burn nothing that matters; elsewhere set them from the node."""

    max_fee_per_gas: int = 10 * GWEI
    max_priority_fee_per_gas: int = 0


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is signed. `to` is None where a contract is created; `value` is in wei."""

    chain_id: int
    nonce: int
    to: str | None
    data: bytes
    gas_limit: int
    fees: Fees = Fees()
    value: int = 0


@dataclass(frozen=True, slots=True)
class SentTransaction:
    """A raw transaction read back."""

    hash: bytes
    sender: str
    transaction: Transaction


def sign_transaction(key: SigningKey, transaction: Transaction) -> bytes:
    """The raw bytes that a node takes. Deterministic: the same key and transaction give the same bytes."""
    fields = {
        "type": 2,
        "chainId": transaction.chain_id,
        "nonce": transaction.nonce,
        "gas": transaction.gas_limit,
        "maxFeePerGas": transaction.fees.max_fee_per_gas,
        "maxPriorityFeePerGas": transaction.fees.max_priority_fee_per_gas,
        "value": transaction.value,
        "data": transaction.data,
    }
    if transaction.to is not None:
        fields["to"] = transaction.to
    return bytes(Account.sign_transaction(fields, key.secret).raw_transaction)


def transaction_hash(raw: bytes) -> bytes:
    """The 32-byte hash by which every node knows `raw`."""
    return keccak256(raw)


def read_transaction(raw: bytes) -> SentTransaction:
    """The sender and content of raw bytes; InputError if they are not a signed EIP-1559 transaction."""
    try:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        sender = Account.recover_transaction(raw)
    except Exception as cause:  # eth_account and rlp raise many kinds here, all of them mean: not such a transaction
        raise InputError("raw transaction", [Fault("raw", "bytes", raw[:8].hex() + "...", "a signed EIP-1559 transaction")]) from cause
    fees = Fees(fields["maxFeePerGas"], fields["maxPriorityFeePerGas"])
    to = to_checksum_address(fields["to"]) if fields["to"] else None
    content = Transaction(fields["chainId"], fields["nonce"], to, bytes(fields["data"]), fields["gas"], fees, fields["value"])
    return SentTransaction(transaction_hash(raw), sender, content)


def contract_address(creator: str, nonce: int) -> str:
    """Where the contract that `creator` makes with `nonce` will stand: known before it is sent.

    >>> contract_address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", 0)
    '0xcd234A471b72ba2F1Ccf0A70FCABA648a5eeCD8d'
    """
    return to_checksum_address(keccak256(rlp.encode([bytes.fromhex(creator.removeprefix("0x")), nonce]))[12:])
