"""Paying in again: mint in the test currency, allow, deposit. On a real currency the first step is the payer's bank transfer."""

from __future__ import annotations

from collections.abc import Sequence

from walras.ledger.abi import artifact
from walras.ledger.deployment import LedgerAddresses
from walras.ledger.keys import SigningKey
from walras.ledger.settlement import deposit_transactions
from walras.ledger.transactions import Transaction, sign_transaction


def top_up_transactions(
    addresses: LedgerAddresses, operator: SigningKey, nonce: int, accounts: Sequence[int], token_units: Sequence[int]
) -> tuple[bytes, ...]:
    """Signed bytes, nonces from `nonce` on: `token_units[i]` of freshly minted test currency into `accounts[i]`."""
    data = artifact("TestCurrency").call("mint", operator.address, sum(token_units))
    mint = sign_transaction(operator, Transaction(addresses.chain_id, nonce, addresses.currency, data, 150_000))
    return (mint, *deposit_transactions(addresses, operator, nonce + 1, accounts, token_units))
