"""Contracts of tests/contracts: written for tests, compiled by the pinned compiler, driven like any contract."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from ledger_world import ROOT
from walras.ledger import Chain, Receipt, SigningKey, Transaction, next_sender, require_accepted, sign_transaction
from walras.ledger.abi import Artifact, read_artifact
from walras.ledger.calls import creation_transaction

SOURCES = ROOT / "tests" / "contracts"


@cache
def compiled() -> dict[str, Artifact]:
    """Every contract of tests/contracts by name."""
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / "solc").is_dir():
        reason = "the compiler is not installed; way out: npm ci"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    paths = sorted(SOURCES.glob("*.sol"))
    order = {
        "sources": {path.name: path.read_text() for path in paths},
        "contracts": [path.stem for path in paths],
        "abi": True,
    }
    command = [str(node), str(ROOT / "tools" / "compile_variant.mjs")]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return {name: read_artifact({"contract": name, **content}) for name, content in json.loads(done.stdout).items()}


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
