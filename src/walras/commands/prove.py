"""`walras prove` and `walras check-proof`: a statement about a day of readings as a file that shows none of them.

The claim comes as JSON: the meters' days (readings, salt, meter, first slot; for a reduction the baseline second) and what is
claimed of them. The proof goes out as JSON with the public half alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console

from walras.commands.options import read_text
from walras.commands.published import is_published
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError
from walras.metering.proofs import (
    BelowLimit,
    Day,
    Reduction,
    Statement,
    baseline_context,
    context_of,
    day_sum,
    decode_proof,
    make_day,
    manifest,
    net_position,
    statement_from,
    statement_record,
    verify,
    verifying_key,
)
from walras.metering.proofs.day import MAX_WH, SALT_BYTES
from walras.service.prover import available_engines, make_development_keys, prove_apart

CLAIMS: Mapping[str, tuple[str, ...]] = {
    "day_sum": ("capacity_wh",),
    "below_limit": ("slot", "import_limit_wh"),
    "net_position": ("slot",),
    "reduction": ("first", "until", "reduction_wh"),
}
"""What each claim must say; `below_limit` may say `export_limit_wh` too."""


def prove_command(claim: Path, out: Path, keys: Path, engine: str | None) -> None:
    """Write the proof of what `claim` says; its statement and how long it is good for go to the screen."""
    console = screen()
    check_engine(engine)
    statement, days = _claimed(read_json(claim), claim)
    write_proof(console, statement, days, out, keys, engine, {})


def check_engine(engine: str | None) -> None:
    """InputError for an engine that is not installed here."""
    if engine is not None and engine not in available_engines():
        raise InputError("walras prove", [Fault("command line", "--engine", engine, "one of " + ", ".join(available_engines()))])


def write_proof(
    console: Console,
    statement: Statement,
    days: Sequence[Day],
    out: Path,
    keys: Path,
    engine: str | None,
    beside: Mapping[str, Any],
) -> None:
    """Prove and write the file: statement, proof, ceremony, and what stands `beside` them."""
    if manifest().is_development:
        make_development_keys(keys, [statement.circuit])
    proof = prove_apart(statement, days, keys, engine=engine or available_engines()[0])
    content = {"statement": statement_record(statement), "proof": proof.encode().hex(), "ceremony": manifest().ceremony, **beside}
    out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    say(console, f"proven: {in_words(statement)}")
    say(console, f"proof: {out}")
    _warn(console)


def check_proof_command(path: Path, run: Path | None = None, baseline: str | None = None) -> bool:
    """Whether the proof in a file holds for its statement, and with `run` for a day that the run committed to; says so.

    `baseline`: the commitment of the agreed baseline, decimal. No record has it, so of a run a reduction is not shown without.
    """
    console = screen()
    content = read_json(path)
    if not isinstance(content.get("statement"), dict) or not isinstance(content.get("proof"), str):
        raise InputError(str(path), [Fault(str(path), "statement, proof", sorted(content), "a file of `walras prove`")])
    statement = statement_from(content["statement"])
    try:
        data = bytes.fromhex(content["proof"])
    except ValueError as cause:
        raise InputError(str(path), [Fault(str(path), "proof", content["proof"][:16], "hex digits")]) from cause
    holds = verify(verifying_key(statement.circuit), decode_proof(data), statement.public)
    say(console, f"{'holds' if holds else 'does not hold'}: {in_words(statement)}")
    if run is not None and holds:
        holds, what = is_published(statement, content.get("published"), run, str(path))
        say(console, what)
    if isinstance(statement, Reduction) or baseline is not None:
        agreed, what = _is_agreed(statement, baseline, strict=run is not None)
        holds = holds and agreed
        say(console, what)
    _warn(console)
    return holds


def _is_agreed(statement: Statement, baseline: str | None, *, strict: bool) -> tuple[bool, str]:
    """Whether a reduction is from the baseline that both sides signed, and a sentence about it."""
    if not isinstance(statement, Reduction) or (baseline is not None and not baseline.isdecimal()):
        expected = "the commitment of an agreed baseline in decimal digits, for the proof of a reduction"
        raise InputError("walras check-proof", [Fault("command line", "--baseline", baseline, expected)])
    if baseline is None:
        way_out = "give the commitment that both sides signed: --baseline NUMBER"
        return not strict, f"{'not shown: ' if strict else ''}the baseline is whatever the prover chose; {way_out}"
    if int(baseline) != statement.baseline:
        return False, f"another baseline than the agreed: {statement.baseline}"
    return True, "the baseline is the agreed one"


def in_words(statement: Statement) -> str:
    """Its name and what it claims on one line, then each commitment, context or root on a line of its own.

    >>> print(in_words(BelowLimit(2**250, 2**249, 74, 500)).splitlines()[0])
    BelowLimit slot=74 import_limit_wh=500 export_limit_wh=262144
    """
    said = [(field.name, getattr(statement, field.name)) for field in fields(statement)]
    small = [f"{name}={value}" for name, value in said if isinstance(value, int) and abs(value) < 2**63]
    large = [f"  {name} {value}" for name, value in said if isinstance(value, int) and abs(value) >= 2**63]
    listed = [f"  {name} {number}" for name, value in said if isinstance(value, tuple) for pair in value for number in pair]
    return "\n".join([" ".join([type(statement).__name__, *small]), *large, *listed])


def _warn(console: Console) -> None:
    if manifest().is_development:
        say(console, "keys of the DEVELOPMENT ceremony: anybody can forge this proof; see docs/explain/zero-knowledge.md")


def _claimed(content: Mapping[str, Any], path: Path) -> tuple[Statement, list[Day]]:
    """The statement that a claim file makes of its days."""
    where = str(path)
    kind, terms = read_claim(content.get("claim"), where)
    listed = content.get("days")
    most = {"net_position": 4, "reduction": 2}.get(kind, 1)
    least = 2 if kind == "reduction" else 1
    if not isinstance(listed, list) or not least <= len(listed) <= most or not all(isinstance(day, dict) for day in listed):
        raise InputError(
            where, [Fault(where, "days", listed if not isinstance(listed, list) else len(listed), f"{least} to {most}")]
        )
    days = [_day(day, f"{where}: day {number}", kind == "reduction" and number == 1) for number, day in enumerate(listed)]
    return statement_of(kind, terms, days), days


def read_claim(claim: object, where: str) -> tuple[str, dict[str, int]]:
    """Kind and terms of a claim."""
    if not isinstance(claim, dict) or len(claim) != 1 or next(iter(claim)) not in CLAIMS:
        raise InputError(where, [Fault(where, "claim", claim, f"one of {', '.join(CLAIMS)}, with what it needs")])
    ((kind, terms),) = claim.items()
    needed = set(CLAIMS[kind])
    optional = {"export_limit_wh"} if kind == "below_limit" else set()
    if not isinstance(terms, dict) or not needed <= set(terms) <= needed | optional:
        raise InputError(where, [Fault(where, kind, terms, ", ".join(CLAIMS[kind]))])
    faults = [Fault(where, name, value, "a whole number") for name, value in terms.items() if type(value) is not int]
    if faults:
        raise InputError(where, faults)
    return kind, terms


def statement_of(kind: str, terms: Mapping[str, int], days: Sequence[Day]) -> Statement:
    day = days[0]
    make: dict[str, Callable[[], Statement]] = {
        "day_sum": lambda: day_sum(day, terms["capacity_wh"]),
        "below_limit": lambda: BelowLimit(
            day.commitment, day.context, terms["slot"], terms["import_limit_wh"], terms.get("export_limit_wh", MAX_WH + 1)
        ),
        "net_position": lambda: net_position(days, terms["slot"]),
        "reduction": lambda: Reduction(
            day.commitment, day.context, days[1].commitment, terms["first"], terms["until"], terms["reduction_wh"]
        ),
    }
    return make[kind]()


def _day(record: Mapping[str, Any], where: str, is_baseline: bool) -> Day:
    names = {"meter", "first_slot", "import_wh", "export_wh", "salt"}
    if set(record) != names:
        raise InputError(where, [Fault(where, "fields", sorted(record), ", ".join(sorted(names)))])
    try:
        meter, salt = bytes.fromhex(record["meter"]), bytes.fromhex(record["salt"])
    except (TypeError, ValueError) as cause:
        raise InputError(where, [Fault(where, "meter, salt", record["meter"], f"hex: 16 and {SALT_BYTES} bytes")]) from cause
    if len(meter) != 16 or type(record["first_slot"]) is not int or record["first_slot"] < 0:
        fault = Fault(where, "meter, first_slot", (record["meter"], record["first_slot"]), "a key id of 16 bytes and a slot")
        raise InputError(where, [fault])
    context = context_of(meter, record["first_slot"])
    return make_day(record["import_wh"], record["export_wh"], baseline_context(context) if is_baseline else context, salt)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError where there is none."""
    try:
        content = json.loads(read_text(path, str(path), "file", "a JSON file"))
    except ValueError as cause:
        raise InputError(str(path), [Fault(str(path), "file", str(cause), "JSON")]) from cause
    if not isinstance(content, dict):
        raise InputError(str(path), [Fault(str(path), "file", type(content).__name__, "a JSON object")])
    return content
