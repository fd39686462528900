"""Proving in a process of its own: refused before where the statement is false, checked after whoever made the proof.

    prove_apart(statement, days, keys) -> Proof

The witness is made and checked here, which takes a tenth of a second and names what is not true. The proof is made by another
program (`ENGINES`), so a prover may be slow, crash, be under another licence or be wrong: what comes back is verified before
anybody sees it. One process a proof; the openings reach it by a pipe and end with it.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from walras.errors import Fault, InputError, MeteringError
from walras.metering.proofs import (
    CIRCUITS,
    Day,
    Proof,
    Statement,
    circuit,
    decode_proof,
    development_proving_key,
    manifest,
    verify,
    verifying_key,
    witness_of,
)
from walras.metering.proofs.groth16 import require_true
from walras.metering.proofs.keys import write_zkey
from walras.metering.proofs.r1cs import witness_file

ENGINES = {
    "python": ("-m", "walras.service.prover_program"),
    "groth16py": (str(Path(__file__).parent / "groth16py_program.py"),),
}
"""Arguments after the interpreter: programs that answer a request (`prover_program`) with a proof."""


def available_engines() -> tuple[str, ...]:
    """The engines installed here, fastest first; the one in plain Python always is."""
    return ("groth16py", "python") if find_spec("groth16py") else ("python",)


def key_file(keys: Path, name: str) -> Path:
    """Where the proving key of a circuit lies in a folder of keys: its name says so where it is for development only."""
    return keys / (f"{name}.DEVELOPMENT.zkey" if manifest().is_development else f"{name}.zkey")


def make_development_keys(keys: Path, names: Sequence[str] = CIRCUITS) -> None:
    """Write the development proving keys that are not there yet; some seconds and 1 to 6 MB each."""
    keys.mkdir(parents=True, exist_ok=True)
    for name in names:
        if key_file(keys, name).exists():
            continue
        content = write_zkey(development_proving_key(name), circuit(name))
        with tempfile.NamedTemporaryFile(dir=keys, delete=False) as part:
            part.write(content)
        os.replace(part.name, key_file(keys, name))


def prove_apart(
    statement: Statement,
    days: Sequence[Day],
    keys: Path,
    *,
    engine: str = "python",
    program: Sequence[str] | None = None,
    timeout_s: float = 300,
) -> Proof:
    """A proof of `statement`, made by another process and checked here.

    `days` as for `witness_of`; `keys` the folder of proving keys; `program` a command in place of an engine's. MeteringError where
    the statement is false, the key is missing, the program fails or takes longer than `timeout_s`, or its proof does not hold.
    """
    found = circuit(statement.circuit)
    witness = witness_of(found, statement, days)
    require_true(found, witness)
    path = key_file(keys, found.name)
    if not path.is_file():
        raise MeteringError(f"there is no proving key {path}", thing=path, way_out="make_development_keys, or the ceremony's .zkey")
    request = {"circuit": found.name, "zkey": str(path), "witness": base64.b64encode(witness_file(witness)).decode()}
    answer = _run(program or _command(engine), json.dumps(request), timeout_s)
    try:
        proof = decode_proof(bytes.fromhex(json.loads(answer)["proof"]))
    except (ValueError, KeyError, TypeError, InputError) as cause:
        raise MeteringError(f"the prover answered with no proof: {answer[:100]!r}", thing=engine) from cause
    if not verify(verifying_key(found.name), proof, statement.public):
        raise MeteringError(
            f"the prover's proof of {found.name} does not hold, though the statement is true",
            thing=engine,
            way_out="its proving key is of another ceremony or circuit, or the prover is wrong: nothing was handed on",
        )
    return proof


def _command(engine: str) -> list[str]:
    if engine not in ENGINES:
        raise InputError("prover", [Fault("prover", "engine", engine, f"one of {', '.join(ENGINES)}")])
    if engine not in available_engines():
        raise MeteringError(f"{engine} is not installed", thing=engine, way_out="pip install walras[prover], or engine python")
    return [sys.executable, *ENGINES[engine]]


def _run(command: Sequence[str], request: str, timeout_s: float) -> str:
    try:
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as cause:
        raise MeteringError(f"the prover took longer than {timeout_s:g} s", thing=command[-1]) from cause
    except OSError as cause:
        raise MeteringError(f"the prover did not start: {cause}", thing=command[-1]) from cause
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise MeteringError(f"the prover ended with {done.returncode}: {last[0]}", thing=command[-1])
    return done.stdout
