"""Contracts as Python sees them: an artifact's ABI turned into calldata, results, events and named refusals.

The artifacts are committed (`tools/compile_contracts.mjs` makes them); nothing is compiled or downloaded here. A revert is
read back to the custom error that the contract raised, with its arguments by name; errors of all our contracts are known
together, since one contract's refusal passes through another's call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from walras.errors import LedgerError
from walras.ledger._keccak import keccak256

CONTRACTS = (
    "TestCurrency",
    "Registry",
    "Settlement",
    "OracleBond",
    "SealedAuction",
    "EnergyCertificates",
    "PaymentChannels",
    "MeterRegister",
    "Issuance",
    "EnergyClaims",
    "DeliveryLots",
    "SignedQuotes",
    "RightsMarket",
    "EnergyPool",
    "BatchSettlement",
    "DeviceRegistry",
    "DidRegistry",
    "Disputes",
    "FlexibilityBond",
    "ListGate",
    "Council",
    "Timelock",
    "ProofVerifier",
)

_PANIC = bytes.fromhex("4e487b71")
_ERROR_STRING = bytes.fromhex("08c379a0")


@dataclass(frozen=True, slots=True)
class Signature:
    """A function, event or error: canonical types and names of what goes in and what comes out."""

    name: str
    inputs: tuple[str, ...]
    input_names: tuple[str, ...]
    outputs: tuple[str, ...]
    indexed: tuple[bool, ...]

    @property
    def hash(self) -> bytes:
        """Keccak-256 of the canonical signature: the event topic; its first four bytes are the selector."""
        return keccak256(f"{self.name}({','.join(self.inputs)})".encode())

    def arguments(self, values: Sequence[Any]) -> str:
        """`name=value` pairs as people read them."""
        return ", ".join(f"{name}={_readable(value)}" for name, value in zip(self.input_names, values, strict=True))


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract: creation bytecode, constructor types, and its functions, events and errors by name."""

    name: str
    bytecode: bytes
    constructor: tuple[str, ...]
    functions: Mapping[str, Signature]
    events: Mapping[bytes, Signature]
    errors: Mapping[bytes, Signature]

    def creation(self, *arguments: Any) -> bytes:
        """Data of the transaction that creates the contract."""
        return self.bytecode + encode(self.constructor, arguments)

    def call(self, function: str, *arguments: Any) -> bytes:
        """Calldata of `function`."""
        signature = self.functions[function]
        return signature.hash[:4] + encode(signature.inputs, arguments)

    def result(self, function: str, data: bytes) -> tuple[Any, ...]:
        """What `function` returned."""
        return tuple(decode(self.functions[function].outputs, data))


@dataclass(frozen=True, slots=True)
class Revert:
    """Why a contract refused: the custom error's name and its arguments by name."""

    name: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={_readable(value)}' for name, value in self.arguments.items())})"


@cache
def artifact(name: str) -> Artifact:
    """The committed artifact of contract `name`; LedgerError if there is none."""
    path = files("walras.ledger") / "artifacts" / f"{name}.json"
    if not path.is_file():
        raise LedgerError(f"there is no artifact of a contract {name!r}", thing=name, way_out="node tools/compile_contracts.mjs")
    return read_artifact(json.loads(path.read_text(encoding="utf-8")))


def read_artifact(content: Mapping[str, Any]) -> Artifact:
    """A compiled contract from its `contract` (name), `abi` and `bytecode` (hex), as an artifact's file has them."""
    entries = {kind: [_signature(e) for e in content["abi"] if e["type"] == kind] for kind in ("function", "event", "error")}
    constructor: list[dict[str, Any]] = next((e["inputs"] for e in content["abi"] if e["type"] == "constructor"), [])
    return Artifact(
        name=content["contract"],
        bytecode=bytes.fromhex(content["bytecode"].removeprefix("0x")),
        constructor=tuple(_canonical(entry) for entry in constructor),
        functions={signature.name: signature for signature in entries["function"]},
        events={signature.hash: signature for signature in entries["event"]},
        errors={signature.hash[:4]: signature for signature in entries["error"]},
    )


def read_revert(data: bytes) -> Revert:
    """The refusal in a revert's return data. Unknown data is shown as it is, never guessed at.

    >>> read_revert(bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big"))
    Revert(name='Panic', arguments={'code': 17})
    """
    selector, body = data[:4], data[4:]
    known = _known_errors()
    try:
        if selector == _PANIC:
            return Revert("Panic", {"code": decode(["uint256"], body)[0]})
        if selector == _ERROR_STRING:
            return Revert("Error", {"message": decode(["string"], body)[0]})
        if selector in known:
            signature = known[selector]
            return Revert(signature.name, dict(zip(signature.input_names, decode(signature.inputs, body), strict=True)))
    except DecodingError:
        pass  # falls through: the bytes only look like that error
    return Revert("UnknownRevert", {"data": data})


def read_event(contract: str, topics: Sequence[bytes], data: bytes) -> tuple[str, dict[str, Any]] | None:
    """(event name, arguments by name) of a log of `contract`, or None when the log is none of its events."""
    signature = artifact(contract).events.get(topics[0]) if topics else None
    if signature is None:
        return None
    kinds = list(zip(signature.inputs, signature.indexed, strict=True))
    plain = iter(decode([kind for kind, indexed in kinds if not indexed], data))
    indexed_topics = iter(topics[1:])
    values = [decode([kind], next(indexed_topics))[0] if indexed else next(plain) for kind, indexed in kinds]
    return signature.name, dict(zip(signature.input_names, values, strict=True))


@cache
def _known_errors() -> Mapping[bytes, Signature]:
    """By selector; where two contracts name the arguments of an error differently, as the first of CONTRACTS does."""
    return {selector: error for name in reversed(CONTRACTS) for selector, error in artifact(name).errors.items()}


def _signature(entry: Mapping[str, Any]) -> Signature:
    inputs = entry["inputs"]
    return Signature(
        name=entry["name"],
        inputs=tuple(_canonical(one) for one in inputs),
        input_names=tuple(one["name"] or f"argument{index}" for index, one in enumerate(inputs)),
        outputs=tuple(_canonical(one) for one in entry.get("outputs", [])),
        indexed=tuple(one.get("indexed", False) for one in inputs),
    )


def _canonical(entry: Mapping[str, Any]) -> str:
    kind = str(entry["type"])
    if kind.startswith("tuple"):
        return f"({','.join(_canonical(part) for part in entry['components'])}){kind.removeprefix('tuple')}"
    return kind


def _readable(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
