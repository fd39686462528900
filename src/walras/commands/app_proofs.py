"""The command line of zero-knowledge proofs: make one, check one."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from cyclopts import App

from walras.commands.options import AsFile

group = App()


@group.command
def prove(
    claim: str,
    *,
    out: Path,
    run: Path | None = None,
    member: str | None = None,
    day: date | None = None,
    baseline: Path | None = None,
    opener: AsFile = None,
    keys: Path = Path(".walras-proving-keys"),
    engine: str | None = None,
) -> None:
    """Prove a statement about a day of readings, and show none of them.

    Parameters
    ----------
    claim
        With --run a line such as "below_limit slot=18:30 import_limit_wh=500"; else a JSON file: the days with their salts, and
        what is claimed of them.
    out
        Where the proof goes, with the statement's public half.
    run
        Folder of a run that committed to its days; the proof is of a day in it.
    member
        With --run: whose day.
    day
        With --run: which local day, such as 2016-06-21.
    baseline
        With --run and a reduction: JSON file with the agreed baseline (import_wh, export_wh, salt).
    keys
        Folder of proving keys; those of the development ceremony are made there when missing.
    engine
        groth16py or python; without it, the fastest that is installed.
    """
    from walras.commands.prove import prove_command
    from walras.commands.prove_run import Subject, prove_of_run
    from walras.errors import Fault, InputError

    if run is None and (member, day, baseline, opener) == (None, None, None, None):
        prove_command(Path(claim), out, keys, engine)
        return
    if run is None or member is None or day is None:
        expected = "--run RUN --member MEMBER --day DATE together, or none of them"
        raise InputError("walras prove", [Fault("command line", "--run, --member, --day", (run, member, day), expected)])
    prove_of_run(claim, Subject(run, member, day, baseline, opener), out, keys, engine)


@group.command
def check_proof(proof: Path, *, run: Path | None = None, baseline: str | None = None) -> None:
    """Check a proof made by `walras prove`; exit code 1 where it does not hold.

    Parameters
    ----------
    proof
        The proof's JSON file.
    run
        Also check that it is about a day that this run's public record commits to.
    baseline
        Of a reduction: the commitment of the baseline that both sides signed, a number. With --run it must be given.
    """
    from walras.commands.prove import check_proof_command

    if not check_proof_command(proof, run, baseline):
        sys.exit(1)
