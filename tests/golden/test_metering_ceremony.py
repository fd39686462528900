"""Keys of a ceremony held with snarkjs work with our prover and verifier, and only proofs under them hold under them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proofs_world import cases, golden
from walras.errors import MeteringError
from walras.metering.proofs import decode_proof, verify, verifying_key
from walras.metering.proofs.keys import key_as_json, key_from_json

FILE = Path(__file__).parent / "proof_ceremony.json"


def test_a_proof_under_a_ceremonys_key_holds_there_and_under_no_other_key() -> None:
    content = json.loads(FILE.read_text(encoding="utf-8"))
    key = key_from_json(json.dumps(content["verifying_key"]))
    statement, proof = cases()[content["case"]][0], decode_proof(bytes.fromhex(content["proof"]))
    assert verify(key, proof, statement.public)
    assert not verify(verifying_key("below_limit"), proof, statement.public)
    assert not verify(key, golden(content["case"])[1], statement.public)


def test_a_verifying_key_survives_its_file_and_another_protocols_is_refused() -> None:
    text = key_as_json(verifying_key("reduction"))
    assert key_from_json(text) == verifying_key("reduction")
    for wrong in (
        text.replace("groth16", "plonk"),
        text.replace("bn128", "bls12381"),
        text.replace('"nPublic": 6', '"nPublic": 5'),
        "{}",
    ):
        with pytest.raises(MeteringError):
            key_from_json(wrong)
