"""Signed transactions as bytes (EIP-1559, type 2), built by pure code before anything is sent.

A caller journals the raw bytes first and sends them afterwards: whatever happens between the two, the same bytes can be sent
again, and a chain that already has them recognises them by their hash. Nothing here asks a node.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
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


DEFAULT_FEES = Fees()


@dataclass(frozen=True, slots=True)
class Sender:
    """Who signs next: a key, the nonce of its next transaction, and the fees it offers."""

    key: SigningKey
    nonce: int
    fees: Fees = DEFAULT_FEES


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is signed. `to` is None where a contract is created; `value` is in wei."""

    chain_id: int
    nonce: int
    to: str | None
    data: bytes
    gas_limit: int
    fees: Fees = DEFAULT_FEES
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
        fault = Fault("raw", "bytes", raw[:8].hex() + "...", "a signed EIP-1559 transaction")
        raise InputError("raw transaction", [fault]) from cause
    fees = Fees(fields["maxFeePerGas"], fields["maxPriorityFeePerGas"])
    to = to_checksum_address(fields["to"]) if fields["to"] else None
    content = Transaction(fields["chainId"], fields["nonce"], to, bytes(fields["data"]), fields["gas"], fees, fields["value"])
    return SentTransaction(transaction_hash(raw), sender, content)


def contract_address(creator: str, nonce: int) -> str:
    """Where the contract that `creator` makes with `nonce` will stand: known before it is sent.

    >>> contract_address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", 0)
    '0xcd234A471b72ba2F1Ccf0A70FCABA648a5eeCD8d'
    """
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    item = number if len(number) == 1 and number[0] < 0x80 else bytes([0x80 + len(number)]) + number  # RLP of a number
    body = bytes([0x80 + 20]) + bytes.fromhex(creator.removeprefix("0x")) + item
    return to_checksum_address(keccak256(bytes([0xC0 + len(body)]) + body)[12:])
