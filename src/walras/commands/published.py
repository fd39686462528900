"""What ties a proof to a run: its day's commitment stands, under a quorum's word, in the run's public record.

A proof file of `walras prove --run` says beside statement and proof where the commitment is published: the slots of the day and the
Merkle path of the commitment. Checking needs the public record alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from walras.errors import Fault, InputError
from walras.exchange.days import OpenedDay, published_in
from walras.exchange.journal import read_public_record
from walras.exchange.statement import opened_terms
from walras.metering import Proof
from walras.metering.proofs import BelowLimit, NetPosition, Reduction, Statement
from walras.study.runner import PUBLIC


def published_record(opened: OpenedDay) -> dict[str, Any]:
    """What a proof file says of the day's place in the public record."""
    return {
        "published": {
            "first_slot": opened.slots.start,
            "slots": len(opened.slots),
            "index": opened.proof.index,
            "count": opened.proof.count,
            "path": [step.hex() for step in opened.proof.siblings],
        }
    }


def is_published(statement: Statement, published: object, run: Path, where: str) -> tuple[bool, str]:
    """Whether the day that `statement` is about is the run's, and a sentence about it; InputError where the file does not say."""
    if isinstance(statement, NetPosition) and len(statement.meters) != 1:
        return False, f"not of {run}: a net position of several meters is of several days"
    slots, proof = _read(published, where)
    commitment = statement.meters[0][0] if isinstance(statement, NetPosition) else statement.commitment
    entries = read_public_record(run / PUBLIC)
    terms, _ = opened_terms(entries)
    last = _last_place(statement)
    if last >= len(slots):
        return False, f"not of {run}: the day has {len(slots)} slots, place {last} is empty"
    if not published_in(entries, commitment, slots, proof):
        return False, f"not of {run}: no such commitment was published for slots {slots.start} to {slots.stop - 1}"
    begin, end = terms.grid.local(slots.start), terms.grid.local(slots.stop)
    return True, f"published in {run}: a day of a member from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, under a quorum's word"


def _last_place(statement: Statement) -> int:
    """The last place of the day that the statement is about; 0 where it is about all of it."""
    if isinstance(statement, BelowLimit | NetPosition):
        return statement.slot
    return statement.until - 1 if isinstance(statement, Reduction) else 0


def _read(published: object, where: str) -> tuple[range, Proof]:
    fault = Fault(where, "published", published, "first_slot, slots, index, count, path: what `walras prove --run` writes")
    if not isinstance(published, dict) or set(published) != {"first_slot", "slots", "index", "count", "path"}:
        raise InputError(where, [fault])
    numbers = [published[name] for name in ("first_slot", "slots", "index", "count")]
    if any(type(number) is not int or number < 0 for number in numbers) or not isinstance(published["path"], list):
        raise InputError(where, [fault])
    try:
        path = tuple(bytes.fromhex(step) for step in published["path"])
    except (TypeError, ValueError) as cause:
        raise InputError(where, [fault]) from cause
    first, count = numbers[:2]
    return range(first, first + count), Proof(numbers[2], numbers[3], path)
