"""What can be proven about committed days: four statements, each the public half of one circuit.

A statement is true or false on its own; `public` are the numbers that the verifier sees, in the circuit's order. Energies are Wh,
slots are places in the day (0 to 95), a net position is positive when it takes from the grid. Numbers that a field would
take for something else are refused when the record is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar

from walras.errors import Fault, InputError
from walras.metering.proofs.day import DAY_SLOTS, EMPTY_DAY, MAX_WH, Day, baseline_context
from walras.metering.proofs.poseidon import INPUTS, SCALAR_FIELD, poseidon

METERS = 4
"""Places for meters in a net position."""

MAX_REDUCTION_WH = (1 << 26) - 1


@dataclass(frozen=True, slots=True)
class DaySum:
    """96 readings lie under `commitment`, none moved more than `capacity_wh` in its slot, and they sum to the two totals."""

    commitment: int
    context: int
    capacity_wh: int
    import_total_wh: int
    export_total_wh: int
    circuit: ClassVar[str] = "day_sum"

    def __post_init__(self) -> None:
        total = DAY_SLOTS * MAX_WH
        ranges = (("capacity_wh", 2 * MAX_WH + 1), ("import_total_wh", total), ("export_total_wh", total))
        _require(self, (("commitment", SCALAR_FIELD - 1), ("context", SCALAR_FIELD - 1), *ranges))

    @property
    def public(self) -> tuple[int, ...]:
        """In the circuit's order."""
        return self.commitment, self.context, self.capacity_wh, self.import_total_wh, self.export_total_wh


@dataclass(frozen=True, slots=True)
class BelowLimit:
    """In `slot`, import was below `import_limit_wh` and export below `export_limit_wh`; MAX_WH + 1 limits nothing.

    A power is an energy by the slot's length: under 2 kW in a quarter hour is import below 500 Wh.
    """

    commitment: int
    context: int
    slot: int
    import_limit_wh: int
    export_limit_wh: int = MAX_WH + 1
    circuit: ClassVar[str] = "below_limit"

    def __post_init__(self) -> None:
        ranges = (("slot", DAY_SLOTS - 1), ("import_limit_wh", MAX_WH + 1), ("export_limit_wh", MAX_WH + 1))
        _require(self, (("commitment", SCALAR_FIELD - 1), ("context", SCALAR_FIELD - 1), *ranges))

    @property
    def public(self) -> tuple[int, ...]:
        """In the circuit's order."""
        return self.commitment, self.context, self.slot, self.import_limit_wh, self.export_limit_wh


@dataclass(frozen=True, slots=True)
class NetPosition:
    """In `slot`, the readings of one to four meters net to `net_wh` (import - export, all together).

    `meters` are (commitment, context) pairs. The verifier sees them as one number, their `root`.
    """

    meters: tuple[tuple[int, int], ...]
    slot: int
    net_wh: int
    circuit: ClassVar[str] = "net_position"

    def __post_init__(self) -> None:
        faults = []
        if not 1 <= len(self.meters) <= METERS:
            faults.append(Fault("statement", "meters", len(self.meters), f"1 to {METERS}"))
        if len(set(self.meters)) != len(self.meters):
            faults.append(Fault("statement", "meters", self.meters, "each meter once"))
        if not -METERS * MAX_WH <= self.net_wh <= METERS * MAX_WH:
            faults.append(Fault("statement", "net_wh", self.net_wh, f"at most {METERS * MAX_WH} either way"))
        for number, meter in enumerate(self.meters):
            if not all(0 <= part < SCALAR_FIELD for part in meter):
                faults.append(Fault(f"meter {number}", "commitment, context", meter, "two numbers of the field"))
        if faults:
            raise InputError(self.circuit, faults)
        _require(self, (("slot", DAY_SLOTS - 1),))

    @property
    def root(self) -> int:
        """Poseidon over the commitments, the contexts and eight zeros; absent meters are the empty day."""
        filled = [*self.meters, *[(empty_commitment(), EMPTY_DAY.context)] * (METERS - len(self.meters))]
        return poseidon([*(c for c, _ in filled), *(context for _, context in filled), *[0] * (INPUTS - 2 * METERS)])

    @property
    def public(self) -> tuple[int, ...]:
        """In the circuit's order; a net position below zero stands as field order - |net|."""
        return self.root, self.slot, self.net_wh % SCALAR_FIELD


@dataclass(frozen=True, slots=True)
class Reduction:
    """In slots `first` to `until` (half-open), net import was at least `reduction_wh` below the agreed baseline's.

    `baseline` is the commitment of a day under `baseline_context(context)`: a baseline for these very slots of this meter. Who
    checks a proof compares it with the one that both sides signed; a context of a baseline is none of readings, and is refused.
    """

    commitment: int
    context: int
    baseline: int
    first: int
    until: int
    reduction_wh: int
    circuit: ClassVar[str] = "reduction"

    def __post_init__(self) -> None:
        of_readings = ("context", baseline_context(0) - 1)
        field = (("commitment", SCALAR_FIELD - 1), of_readings, ("baseline", SCALAR_FIELD - 1))
        ranges = (("first", DAY_SLOTS), ("until", DAY_SLOTS), ("reduction_wh", MAX_REDUCTION_WH))
        _require(self, (*field, *ranges))
        if self.until < self.first:
            raise InputError(self.circuit, [Fault("statement", "until", self.until, f"not before first = {self.first}")])

    @property
    def public(self) -> tuple[int, ...]:
        """In the circuit's order."""
        return self.commitment, self.context, self.baseline, self.first, self.until, self.reduction_wh


Statement = DaySum | BelowLimit | NetPosition | Reduction


@cache
def empty_commitment() -> int:
    """The commitment of the empty day: known to everybody, and nobody can open it as anything else."""
    return EMPTY_DAY.commitment


def day_sum(day: Day, capacity_wh: int) -> DaySum:
    """What is true of the totals of `day`."""
    return DaySum(day.commitment, day.context, capacity_wh, int(day.import_wh.sum()), int(day.export_wh.sum()))


def net_position(days: Sequence[Day], slot: int) -> NetPosition:
    """What is true of the net of `days` in `slot`; InputError for a slot that is none of the day."""
    if not 0 <= slot < DAY_SLOTS:
        raise InputError("net_position", [Fault("statement", "slot", slot, f"from 0 to {DAY_SLOTS - 1}")])
    net = sum(int(day.import_wh[slot] - day.export_wh[slot]) for day in days)
    return NetPosition(tuple((day.commitment, day.context) for day in days), slot, net)


def _require(statement: Statement, ranges: Sequence[tuple[str, int]]) -> None:
    faults = [
        Fault("statement", name, getattr(statement, name), f"from 0 to {largest}")
        for name, largest in ranges
        if not 0 <= getattr(statement, name) <= largest
    ]
    if faults:
        raise InputError(statement.circuit, faults)


def statement_record(statement: Statement) -> dict[str, Any]:
    """A statement as plain text for JSON: whole numbers as decimal text, which no reader rounds.

    >>> statement_record(BelowLimit(5, 6, 95, 500))["circuit"]
    'below_limit'
    """
    record: dict[str, Any] = {"circuit": statement.circuit}
    for field in fields(statement):
        value = getattr(statement, field.name)
        record[field.name] = str(value) if isinstance(value, int) else [[str(part) for part in pair] for pair in value]
    return record


def statement_from(record: Mapping[str, Any]) -> Statement:
    """The statement in a record of `statement_record`; InputError for anything else, naming what."""
    kinds: dict[str, type[Statement]] = {kind.circuit: kind for kind in (DaySum, BelowLimit, NetPosition, Reduction)}
    kind = kinds.get(str(record.get("circuit")))
    if kind is None:
        raise InputError("statement", [Fault("statement", "circuit", record.get("circuit"), f"one of {', '.join(kinds)}")])
    names = {field.name for field in fields(kind)}
    if set(record) != names | {"circuit"}:
        raise InputError("statement", [Fault(kind.circuit, "fields", sorted(record), f"circuit, {', '.join(sorted(names))}")])
    try:
        arguments: dict[str, Any] = {name: int(record[name]) for name in names - {"meters"}}
        if "meters" in names:
            arguments["meters"] = tuple((int(commitment), int(context)) for commitment, context in record["meters"])
    except (TypeError, ValueError) as cause:
        raise InputError("statement", [Fault(kind.circuit, "fields", dict(record), "whole numbers as decimal text")]) from cause
    return kind(**arguments)
