"""`walras prove --run`: a statement about one day of one member of a run, from what the run's folder holds.

The claim is a line such as `below_limit slot=18:30 import_limit_wh=500`; places in the day are local times or numbers from 0. The
member must have consented to the purpose `proof`. The day is opened from the member's own readings and salt, so it needs the
operator's journal; its commitment is the one that a quorum of oracles signed and the public record holds, and the proof file says
where.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from walras.commands.prove import CLAIMS, check_engine, read_claim, read_json, statement_of, write_proof
from walras.commands.published import published_record
from walras.commands.rights import opened_run, refusal
from walras.commands.terminal import screen
from walras.errors import Fault, InputError
from walras.exchange.days import OpenedDay, opened_day, pieces_of_day
from walras.exchange.statement import opened_terms
from walras.exchange.terms import Terms
from walras.metering.proofs import Day, baseline_context, make_day
from walras.metering.purposes import PURPOSES
from walras.service.data_protection import account_of, read_for

_TIME = re.compile(r"(\d\d):(\d\d)")
_PLACES = ("slot", "first", "until")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose day: the run's folder, the member's id, the local day; the file with the agreed baseline, for a reduction."""

    run: Path
    member: str
    day: date
    baseline: Path | None = None
    secret: Path | None = None


def prove_of_run(claim: str, subject: Subject, out: Path, keys: Path, engine: str | None) -> None:
    """Write the proof of `claim` about the subject's day."""
    check_engine(engine)
    kind, given = parse_claim(claim)
    with opened_run(subject.run, subject.secret, "walras prove") as folder:
        journal = folder.journal
        refused = read_for(journal, subject.run, subject.member, PURPOSES["proof"], datetime.now(UTC), folder.by)
        if refused:
            raise refusal(subject.run, subject.member, refused)
        entries = list(journal.entries())
        account = account_of(entries, subject.member)
        terms, _ids = opened_terms(entries)
        slots, terms_of_claim = _placed(terms, pieces_of_day(terms, subject.day), given)
        opened = opened_day(terms, entries, account, slots.start)
    kind, whole = read_claim({kind: terms_of_claim}, "claim")
    days = [opened.day, *_baselines(kind, subject.baseline, opened)]
    console = screen()
    write_proof(console, statement_of(kind, whole, days), days, out, keys, engine, published_record(opened))


def parse_claim(text: str) -> tuple[str, dict[str, str]]:
    """Kind and terms, the terms still as text; InputError for what is no claim.

    >>> parse_claim("day_sum capacity_wh=4000")
    ('day_sum', {'capacity_wh': '4000'})
    """
    kind, *rest = text.split() or [""]
    terms = dict(part.split("=", 1) for part in rest if "=" in part)
    if kind not in CLAIMS or len(terms) != len(rest) or not set(CLAIMS[kind]) <= set(terms):
        named = "; ".join(" ".join([name, *(f"{term}=…" for term in terms)]) for name, terms in CLAIMS.items())
        raise InputError("claim", [Fault("command line", "CLAIM", text, f"one of: {named}")])
    return kind, terms


def _placed(terms: Terms, pieces: Sequence[range], given: Mapping[str, str]) -> tuple[range, dict[str, int]]:
    """The committed piece of the day that the claim is about, and the claim's terms as numbers, places counted in that piece."""
    day = range(pieces[0].start, pieces[-1].stop)
    numbers, faults = {}, []
    for name, text in given.items():
        time = _TIME.fullmatch(text)
        if name in _PLACES and time:
            at = [s for s in [*day, day.stop] if f"{terms.grid.local(s):%H:%M}" == text and (s in day or name == "until")]
            if at:
                numbers[name] = (at[-1] if name == "until" and text == "00:00" else at[0]) - day.start
                continue
        if re.fullmatch(r"-?\d+", text):
            numbers[name] = int(text)
            continue
        expected = f"a whole number, or a local time at which a slot of {terms.grid.minutes} minutes begins"
        faults.append(Fault("claim", name, text, expected if name in _PLACES else "a whole number"))
    if faults:
        raise InputError("claim", faults)
    places = [numbers[name] for name in ("slot", "first") if name in numbers]
    start = day.start + (places[0] if places else 0)
    piece = next((p for p in pieces if start in p), pieces[0])
    moved = piece.start - day.start
    return piece, {name: number - moved if name in _PLACES else number for name, number in numbers.items()}


def _baselines(kind: str, path: Path | None, opened: OpenedDay) -> list[Day]:
    """The agreed baseline of a reduction, from a file with import_wh, export_wh and salt; none for other claims."""
    if kind != "reduction":
        return []
    expected = "a JSON file with import_wh and export_wh (96 each) and salt (31 bytes, hex)"
    if path is None:
        raise InputError("walras prove", [Fault("command line", "--baseline", path, expected)])
    record = read_json(path)
    try:
        salt = bytes.fromhex(record["salt"])
        return [make_day(record["import_wh"], record["export_wh"], baseline_context(opened.day.context), salt)]
    except (KeyError, TypeError, ValueError) as cause:
        raise InputError(str(path), [Fault(str(path), "fields", sorted(record), expected)]) from cause
