"""The independent second opinion: snarkjs and the compiler's own witness programs against our prover, verifier and witness.

Both are development tools from npm, run as programs of their own; without them these tests skip, in CI they fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger_world import ROOT
from proofs_world import blinding, cases, development_key, golden
from walras.metering.proofs import (
    CIRCUITS,
    Proof,
    circuit,
    decode_proof,
    prove,
    r1cs_of,
    verify,
    verifying_key,
    witness_of,
)
from walras.metering.proofs.keys import key_as_json, write_zkey
from walras.metering.proofs.r1cs import read_witness, witness_file

CASE_OF = {name: "below_limit at 50" if name == "below_limit" else name for name in CIRCUITS}


def tool(name: str) -> Path:
    """A development tool's folder; skips (or fails where CI=true) with the command that brings it."""
    path = ROOT / "node_modules" / name
    if not path.is_dir():
        reason = f"{name} is not installed; way out: npm ci"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def snarkjs(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["node", str(tool("snarkjs") / "build/cli.cjs"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


def as_snarkjs(proof: Proof) -> str:
    assert proof.a is not None
    assert proof.b is not None
    assert proof.c is not None
    b = [[str(part) for part in coordinate] for coordinate in proof.b]
    points = {"pi_a": [*map(str, proof.a), "1"], "pi_b": [*b, ["1", "0"]], "pi_c": [*map(str, proof.c), "1"]}
    return json.dumps({**points, "protocol": "groth16", "curve": "bn128"})


def from_snarkjs(text: str) -> Proof:
    content = {name: value for name, value in json.loads(text).items() if name.startswith("pi")}
    a, c = ((int(content[name][0]), int(content[name][1])) for name in ("pi_a", "pi_c"))
    (x0, x1), (y0, y1) = ((int(low), int(high)) for low, high in content["pi_b"][:2])
    return Proof(a, ((x0, x1), (y0, y1)), c)


def written(folder: Path, name: str) -> None:
    """Constraints, witness, key, statement and golden proof of a circuit, as files in the formats of iden3."""
    statement, openings = cases()[CASE_OF[name]]
    (folder / "c.r1cs").write_bytes(r1cs_of(name))
    (folder / "w.wtns").write_bytes(witness_file(witness_of(circuit(name), statement, openings)))
    (folder / "vk.json").write_text(key_as_json(verifying_key(name)), encoding="utf-8")
    (folder / "public.json").write_text(json.dumps([str(value) for value in statement.public]), encoding="utf-8")
    (folder / "proof.json").write_text(as_snarkjs(golden(CASE_OF[name])[1]), encoding="utf-8")


@pytest.mark.parametrize("name", CIRCUITS)
def test_snarkjs_takes_our_proof_and_not_for_another_statement(name: str, tmp_path: Path) -> None:
    tool("snarkjs")
    written(tmp_path, name)
    accepted = snarkjs(tmp_path, "groth16", "verify", "vk.json", "public.json", "proof.json")
    assert accepted.returncode == 0, accepted.stdout
    assert "OK!" in accepted.stdout
    public = json.loads((tmp_path / "public.json").read_text(encoding="utf-8"))
    public[-1] = str(int(public[-1]) - 1)
    (tmp_path / "public.json").write_text(json.dumps(public), encoding="utf-8")
    refused = snarkjs(tmp_path, "groth16", "verify", "vk.json", "public.json", "proof.json")
    assert refused.returncode == 1
    assert "Invalid proof" in refused.stdout


@pytest.mark.parametrize("name", CIRCUITS)
def test_snarkjs_finds_our_witness_correct(name: str, tmp_path: Path) -> None:
    tool("snarkjs")
    written(tmp_path, name)
    checked = snarkjs(tmp_path, "wtns", "check", "c.r1cs", "w.wtns")
    assert "WITNESS IS CORRECT" in checked.stdout


def test_snarkjs_proves_with_our_key_and_we_take_its_proof(tmp_path: Path) -> None:
    tool("snarkjs")
    written(tmp_path, "below_limit")
    (tmp_path / "c.zkey").write_bytes(write_zkey(development_key("below_limit"), circuit("below_limit")))
    made = snarkjs(tmp_path, "groth16", "prove", "c.zkey", "w.wtns", "theirs.json", "their_public.json")
    assert made.returncode == 0, made.stdout
    proof = from_snarkjs((tmp_path / "theirs.json").read_text(encoding="utf-8"))
    statement = cases()[CASE_OF["below_limit"]][0]
    assert verify(verifying_key("below_limit"), proof, statement.public)
    theirs = json.loads((tmp_path / "their_public.json").read_text(encoding="utf-8"))
    assert theirs == [str(value) for value in statement.public]


@pytest.mark.nightly
def test_the_compilers_own_witness_programs_give_our_witness(tmp_path: Path) -> None:
    """Every wire of every circuit, for a true statement: our transcript is the circuit's arithmetic."""
    tool("circom2")
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from compile_circuits import compiled
    finally:
        sys.path.pop(0)
    compiled(tmp_path)
    for name in CIRCUITS:
        statement, openings = cases()[CASE_OF[name]]
        found = circuit(name)
        ours = witness_of(found, statement, openings)
        kinds: dict[str, list[str]] = {}
        inputs = {
            signal.removeprefix("main."): ours[wire]
            for signal, wire in found.names.items()
            if signal.count(".") == 1 and not signal.startswith(("main.part", "main.inside"))
        }
        for signal in sorted(inputs, key=_in_order):
            kinds.setdefault(signal.split("[")[0], []).append(str(inputs[signal]))
        (tmp_path / "input.json").write_text(json.dumps(kinds), encoding="utf-8")
        program = tmp_path / f"{name}_js"
        command = ["node", str(program / "generate_witness.js"), str(program / f"{name}.wasm"), "input.json", "theirs.wtns"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        assert read_witness((tmp_path / "theirs.wtns").read_bytes()) == ours


def _in_order(signal: str) -> list[str | int]:
    name, *indices = signal.replace("]", "").split("[")
    return [name, *map(int, indices)]


@pytest.mark.nightly
@pytest.mark.parametrize("name", CIRCUITS)
def test_the_golden_proofs_are_made_again_byte_for_byte(name: str) -> None:
    key, found = development_key(name), circuit(name)
    for case, (statement, openings) in cases().items():
        if statement.circuit == name:
            proof = prove(found, key, witness_of(found, statement, openings), blinding(case))
            assert proof == golden(case)[1]
            assert decode_proof(proof.encode()) == proof
