"""The ledger: contracts that check before they act, and the chain they live on.

Solidity contracts (`contracts/`) with committed artifacts; pure builders of signed transactions; two chains under one Protocol:
`EmbeddedChain` (py-evm in the process) and `JsonRpcChain` (any EVM node). Journal the raw bytes, then send them; `replay`
rebuilds the state from the journal alone.

The two chains load on first use: each pulls in a large library that the other does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from walras.ledger._keccak import keccak256
from walras.ledger.abi import Revert, artifact
from walras.ledger.chain import (
    ArchiveChain,
    Chain,
    FoundLog,
    Head,
    Log,
    ReadableChain,
    Receipt,
    Rehearsal,
    TimedTransaction,
    events_of,
    next_sender,
    read,
    replay,
    require_accepted,
)
from walras.ledger.deployment import (
    Deployment,
    DeploymentPlan,
    LedgerAddresses,
    LedgerTerms,
    carry_out,
    deploy_ledger,
    plan_deployment,
)
from walras.ledger.encoding import (
    Header,
    NetPositions,
    attestation_digest,
    correction_digest,
    days_digest,
    join_signatures,
    net_positions,
    pack_positions,
    sign_attestation,
    slot_commitment,
    unpack_positions,
)
from walras.ledger.keys import LedgerKeys, SigningKey, recover_address, signing_key
from walras.ledger.settlement import (
    SlotSettled,
    SlotSettlement,
    account_words,
    balances,
    commitment_of,
    correction_of,
    correction_transaction,
    deposit_transactions,
    next_slot,
    request_withdrawal,
    revision_of,
    settle,
    settled_slot,
    settlement_transaction,
    withdraw,
    withdrawal_request_transaction,
    withdrawal_transaction,
)
from walras.ledger.transactions import Fees, Sender, Transaction, read_transaction, sign_transaction, transaction_hash

if TYPE_CHECKING:
    from walras.ledger.embedded import EmbeddedChain, Genesis
    from walras.ledger.jsonrpc import JsonRpcChain, NodeSettings

__all__ = [
    "ArchiveChain",
    "Chain",
    "Deployment",
    "DeploymentPlan",
    "EmbeddedChain",
    "Fees",
    "FoundLog",
    "Genesis",
    "Head",
    "Header",
    "JsonRpcChain",
    "LedgerAddresses",
    "LedgerKeys",
    "LedgerTerms",
    "Log",
    "NetPositions",
    "NodeSettings",
    "ReadableChain",
    "Receipt",
    "Rehearsal",
    "Revert",
    "Sender",
    "SigningKey",
    "SlotSettled",
    "SlotSettlement",
    "TimedTransaction",
    "Transaction",
    "account_words",
    "artifact",
    "attestation_digest",
    "balances",
    "carry_out",
    "commitment_of",
    "correction_digest",
    "correction_of",
    "correction_transaction",
    "days_digest",
    "deploy_ledger",
    "deposit_transactions",
    "events_of",
    "join_signatures",
    "keccak256",
    "net_positions",
    "next_sender",
    "next_slot",
    "pack_positions",
    "plan_deployment",
    "read",
    "read_transaction",
    "recover_address",
    "replay",
    "request_withdrawal",
    "require_accepted",
    "revision_of",
    "settle",
    "settled_slot",
    "settlement_transaction",
    "sign_attestation",
    "sign_transaction",
    "signing_key",
    "slot_commitment",
    "transaction_hash",
    "unpack_positions",
    "withdraw",
    "withdrawal_request_transaction",
    "withdrawal_transaction",
]

_LAZY = {
    "EmbeddedChain": "walras.ledger.embedded",
    "Genesis": "walras.ledger.embedded",
    "JsonRpcChain": "walras.ledger.jsonrpc",
    "NodeSettings": "walras.ledger.jsonrpc",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
