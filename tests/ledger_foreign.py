"""Contracts of tests/contracts: written for tests, compiled by the pinned compiler, driven like any contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ledger_compiler import compile_order
from ledger_world import ROOT
from walras.ledger import Chain, Receipt, SigningKey, Transaction, next_sender, require_accepted, sign_transaction
from walras.ledger.abi import Artifact, read_artifact
from walras.ledger.calls import creation_transaction

SOURCES = ROOT / "tests" / "contracts"


@cache
def compiled() -> dict[str, Artifact]:
    """Every contract of tests/contracts by name."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(SOURCES.glob("*.sol"))}
    made = compile_order(texts, [name.removesuffix(".sol") for name in texts], with_abi=True)
    return {name: read_artifact({"contract": name, **content}) for name, content in made.items()}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A test contract that stands on a chain."""

    code: Artifact
    address: str

    def act(self, chain: Chain, key: SigningKey, function: str, *arguments: Any, timestamp: int) -> Receipt:
        data = self.code.call(function, *arguments)
        sender = next_sender(chain, key)
        raw = sign_transaction(key, Transaction(chain.chain_id, sender.nonce, self.address, data, 3_000_000, sender.fees))
        return require_accepted(chain.send(raw, timestamp=timestamp), f"{self.code.name}.{function}")

    def view(self, chain: Chain, function: str, *arguments: Any) -> tuple[Any, ...]:
        return self.code.result(function, chain.call(self.address, self.code.call(function, *arguments)))


def foreign(chain: Chain, key: SigningKey, name: str, *arguments: Any, timestamp: int) -> Foreign:
    """Create a test contract."""
    code = compiled()[name]
    made, raw = creation_transaction(chain.chain_id, next_sender(chain, key), code, *arguments)
    require_accepted(chain.send(raw, timestamp=timestamp), f"creation of {name}")
    return Foreign(code, made.address)
