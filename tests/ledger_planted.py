"""Contracts with a bug planted on purpose: a test of the tests.

`planted` changes a contract's source text in one place, compiles it with the pinned compiler, and has deployments use it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from unittest import mock

import pytest

from ledger_machines import forget_prepared
from ledger_world import ROOT
from walras.ledger import abi

CONTRACTS = ROOT / "src" / "walras" / "ledger" / "contracts"
KEPT = ROOT / ".tools" / "variants"  # compiling one takes longer than finding its bug


def compile_variant(contract: str, correct: str, wrong: str, source: str) -> bytes:
    """Creation bytecode of `contract` with `correct` in `source` replaced by `wrong`; it must occur exactly once."""
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / "solc").is_dir():
        reason = "the compiler is not installed; way out: npm ci"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    text = (CONTRACTS / f"{source}.sol").read_text()
    assert text.count(correct) == 1, f"{correct!r} occurs {text.count(correct)} times"
    order = json.dumps({"sources": {f"{source}.sol": text.replace(correct, wrong)}, "contracts": [contract]})
    kept = KEPT / f"{compiled_from(order)}.hex"
    if not kept.exists():
        command = [str(node), str(ROOT / "tools" / "compile_variant.mjs")]
        done = subprocess.run(command, input=order, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        KEPT.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.loads(done.stdout)[contract].removeprefix("0x"))
        unfinished.replace(kept)
    return bytes.fromhex(kept.read_text())


def compiled_from(order: str) -> str:
    """A name for what comes out: the hash of all that goes in, the pinned packages included."""
    tools = [ROOT / "tools" / "compile_variant.mjs", ROOT / "package-lock.json"]
    parts = [path.read_bytes() for path in (*tools, *sorted(CONTRACTS.glob("*.sol")))]
    return sha256(b"\0".join([order.encode(), *parts])).hexdigest()


@contextmanager
def planted(contract: str, correct: str, wrong: str, *, source: str | None = None) -> Iterator[None]:
    """Within it, every module that asks for the artifact of `contract` gets the wrong one; `source` is the file changed."""
    variant = replace(abi.artifact(contract), bytecode=compile_variant(contract, correct, wrong, source or contract))
    original = abi.artifact

    def substitute(name: str) -> abi.Artifact:
        return variant if name == contract else original(name)

    forget_prepared()
    try:
        with mock.patch("walras.ledger.deployment.artifact", substitute), mock.patch("walras.ledger.calls.artifact", substitute):
            yield
    finally:
        forget_prepared()
