"""Contracts with a bug planted on purpose: a test of the tests.

`planted` changes a contract's source text in one place, compiles it with the pinned compiler, and has deployments use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from ledger_compiler import CONTRACTS, compile_order
from ledger_machines import forget_prepared
from walras.ledger import abi


def compile_variant(contract: str, correct: str, wrong: str, source: str) -> bytes:
    """Creation bytecode of `contract` with `correct` in `source` replaced by `wrong`; it must occur exactly once."""
    text = (CONTRACTS / f"{source}.sol").read_text(encoding="utf-8")
    assert text.count(correct) == 1, f"{correct!r} occurs {text.count(correct)} times"
    made = compile_order({f"{source}.sol": text.replace(correct, wrong)}, [contract])
    return bytes.fromhex(made[contract].removeprefix("0x"))


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
