"""The circuits and their keys as they are shipped: compiled constraints, verifying keys, and which ceremony they come from.

`artifacts/` is made by `tools/compile_circuits.py` from `circuits/*.circom`; nobody who only proves or verifies needs the
compiler. `circuits.json` there names the compiler, its options, the SHA-256 of every source and of the compiled constraints,
and the ceremony. Proving keys are too large to ship: those of the development ceremony are made on the spot
(`development_setup`), those of a real one come as `.zkey` files.
"""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from walras.errors import MeteringError
from walras.metering.proofs.development_setup import development_keys
from walras.metering.proofs.keys import ProvingKey, VerifyingKey, key_from_json, read_zkey
from walras.metering.proofs.r1cs import Circuit, read_circuit

CIRCUITS = ("day_sum", "below_limit", "net_position", "reduction")
DEVELOPMENT = "DEVELOPMENT"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `circuits.json` says. `ceremony` is DEVELOPMENT where everybody can make false proofs, else where it is written up."""

    compiler: str
    options: tuple[str, ...]
    ceremony: str
    sources: dict[str, str]
    constraints: dict[str, str]

    @property
    def is_development(self) -> bool:
        """Whether proofs under the shipped keys convince nobody."""
        return self.ceremony == DEVELOPMENT


@cache
def manifest() -> Manifest:
    """The record of how the artifacts were made."""
    content = json.loads(_read("circuits.json"))
    return Manifest(
        content["compiler"],
        tuple(content["options"]),
        content["ceremony"],
        content["sources"],
        content["constraints"],
    )


@cache
def circuit(name: str) -> Circuit:
    """A compiled circuit; MeteringError for a name that is none, or constraints that are not those of the manifest."""
    if name not in CIRCUITS:
        raise MeteringError(f"there is no circuit {name!r}", thing=name, way_out=f"one of {', '.join(CIRCUITS)}")
    constraints = r1cs_of(name)
    if sha256(constraints).hexdigest() != manifest().constraints[name]:
        raise MeteringError(f"the constraints of {name} are not those of the manifest", thing=name)
    return read_circuit(name, constraints, lzma.decompress(_read(f"{name}.sym.xz")).decode())


def r1cs_of(name: str) -> bytes:
    """The compiled constraints as the compiler wrote them: what a ceremony is held over."""
    return lzma.decompress(_read(f"{name}.r1cs.xz"))


@cache
def verifying_key(name: str) -> VerifyingKey:
    """The key that proofs of a circuit are checked with."""
    if name not in CIRCUITS:
        raise MeteringError(f"there is no circuit {name!r}", thing=name, way_out=f"one of {', '.join(CIRCUITS)}")
    return key_from_json(_read(f"{name}.verifying.json").decode())


@cache
def development_proving_key(name: str) -> ProvingKey:
    """The proving key to the shipped development key, made from the public seed; seconds. MeteringError after a real ceremony."""
    if not manifest().is_development:
        raise MeteringError(f"the keys of {name} are of a ceremony: {manifest().ceremony}", thing=name, way_out="give its .zkey")
    return _matching(name, development_keys(circuit(name)))


def proving_key(name: str, zkey: bytes) -> ProvingKey:
    """The proving key in a `.zkey`; MeteringError where it is not the one to the shipped verifying key."""
    return _matching(name, read_zkey(zkey))


def _matching(name: str, key: ProvingKey) -> ProvingKey:
    if key.verifying != verifying_key(name):
        raise MeteringError(f"the proving key is not the one to the verifying key of {name}", thing=name)
    return key


def _read(name: str) -> bytes:
    path = files("walras.metering.proofs") / "artifacts" / name
    if not path.is_file():
        raise MeteringError(f"there is no artifact {name}", thing=name, way_out="python tools/compile_circuits.py")
    return path.read_bytes()
