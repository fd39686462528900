"""Paying in again: mint in the test currency, allow, deposit. On a real currency the first step is the payer's bank transfer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from walras.ledger.abi import artifact
from walras.ledger.deployment import LedgerAddresses
from walras.ledger.settlement import deposit_transactions
from walras.ledger.transactions import Sender, Transaction, sign_transaction


def top_up_transactions(
    addresses: LedgerAddresses, operator: Sender, accounts: Sequence[int], token_units: Sequence[int]
) -> tuple[bytes, ...]:
    """Signed bytes with the operator's next three nonces: `token_units[i]` of freshly minted test currency into `accounts[i]`."""
    data = artifact("TestCurrency").call("mint", operator.key.address, sum(token_units))
    transaction = Transaction(addresses.chain_id, operator.nonce, addresses.currency, data, 150_000, operator.fees)
    following = replace(operator, nonce=operator.nonce + 1)
    return (sign_transaction(operator.key, transaction), *deposit_transactions(addresses, following, accounts, token_units))
