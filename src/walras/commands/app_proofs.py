"""The command line of zero-knowledge proofs: make one, check one."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclopts import App


def register(app: App) -> None:
    """Put the commands on `app`."""
    app.command(prove)
    app.command(check_proof, name="check-proof")


def prove(claim: Path, *, out: Path, keys: Path = Path(".walras-proving-keys"), engine: str | None = None) -> None:
    """Prove a statement about a day of readings, and show none of them.

    Parameters
    ----------
    claim
        JSON: the days with their salts, and what is claimed of them.
    out
        Where the proof goes, with the statement's public half.
    keys
        Folder of proving keys; those of the development ceremony are made there when missing.
    engine
        groth16py or python; without it, the fastest that is installed.
    """
    from walras.commands.prove import prove_command

    prove_command(claim, out, keys, engine)


def check_proof(proof: Path) -> None:
    """Check a proof made by `walras prove`; exit code 1 where it does not hold.

    Parameters
    ----------
    proof
        The proof's JSON file.
    """
    from walras.commands.prove import check_proof_command

    if not check_proof_command(proof):
        sys.exit(1)
