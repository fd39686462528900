"""A program that makes one proof: `python -m walras.service.prover_program`, a request on standard input, the proof on standard
output. The prover in plain Python; any other program with the same two lines can stand in its place (`prover.ENGINES`).

    {"circuit": name, "zkey": path, "witness": base64 of a .wtns file}   ->   {"proof": 512 hex digits}

The witness holds the readings, so it comes by a pipe, and is gone with the process.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
from pathlib import Path

from walras.metering.proofs.circuits import circuit, proving_key
from walras.metering.proofs.groth16 import prove
from walras.metering.proofs.poseidon import SCALAR_FIELD
from walras.metering.proofs.r1cs import read_witness


def main() -> None:
    """One proof."""
    request = json.load(sys.stdin)
    name = request["circuit"]
    witness = read_witness(base64.b64decode(request["witness"]))
    key = proving_key(name, Path(request["zkey"]).read_bytes())
    blinding = secrets.randbelow(SCALAR_FIELD), secrets.randbelow(SCALAR_FIELD)
    json.dump({"proof": prove(circuit(name), key, witness, blinding).encode().hex()}, sys.stdout)


if __name__ == "__main__":
    main()
