"""Any function of any contract of ours as a signed transaction: the one way by which the adapters beside this file act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from walras.ledger.abi import Artifact, artifact
from walras.ledger.chain import Chain, Receipt, events_of, next_sender, read, require_accepted
from walras.ledger.keys import SigningKey
from walras.ledger.transactions import (
    MAX_TRANSACTION_GAS,
    Fees,
    Sender,
    Transaction,
    contract_address,
    sign_transaction,
)

GAS_PER_CODE_BYTE = 350
"""Creation: 200 for storing a byte, 16 for sending it, the rest for running the constructor."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract of ours that stands at `address` of one chain."""

    name: str
    chain_id: int
    address: str

    def transaction(self, sender: Sender, function: str, *arguments: Any, gas_limit: int = 500_000) -> bytes:
        """Signed bytes that call `function`. Pure."""
        data = artifact(self.name).call(function, *arguments)
        limit = min(gas_limit, MAX_TRANSACTION_GAS)
        return sign_transaction(sender.key, Transaction(self.chain_id, sender.nonce, self.address, data, limit, sender.fees))

    def act(self, chain: Chain, key: SigningKey, function: str, *arguments: Any, timestamp: int, gas_limit: int = 500_000,
            fees: Fees | None = None) -> Receipt:  # fmt: skip
        """Call `function` now; LedgerError with the contract's named refusal."""
        raw = self.transaction(next_sender(chain, key, fees), function, *arguments, gas_limit=gas_limit)
        return require_accepted(chain.send(raw, timestamp=timestamp), f"{self.name}.{function}")

    def view(self, chain: Chain, function: str, *arguments: Any) -> tuple[Any, ...]:
        """What a read-only function returns."""
        return read(chain, artifact(self.name), self.address, function, *arguments)

    def events(self, receipt: Receipt) -> list[tuple[str, dict[str, Any]]]:
        """(name, arguments) of what this contract recorded in a transaction."""
        return events_of(receipt, self.name, self.address)


def creation_transaction(chain_id: int, sender: Sender, code: Artifact, *arguments: Any) -> tuple[Contract, bytes]:
    """The contract that will be, and the signed bytes that make it. Pure."""
    return creation_transaction_of(chain_id, sender, code.name, code.creation(*arguments))


def creation_transaction_of(chain_id: int, sender: Sender, name: str, data: bytes) -> tuple[Contract, bytes]:
    """The same from the whole data of the creation: code and arguments."""
    contract = Contract(name, chain_id, contract_address(sender.key.address, sender.nonce))
    limit = min(500_000 + GAS_PER_CODE_BYTE * len(data), MAX_TRANSACTION_GAS)
    return contract, sign_transaction(sender.key, Transaction(chain_id, sender.nonce, None, data, limit, sender.fees))


def create(chain: Chain, key: SigningKey, name: str, *arguments: Any, timestamp: int, fees: Fees | None = None) -> Contract:
    """Create contract `name` now; LedgerError with the constructor's named refusal."""
    contract, raw = creation_transaction(chain.chain_id, next_sender(chain, key, fees), artifact(name), *arguments)
    require_accepted(chain.send(raw, timestamp=timestamp), f"creation of {name}")
    return contract
