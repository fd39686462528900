"""The witness: the value of every wire of a circuit, for a statement and the days it is about.

A transcript of the circuits' own arithmetic by signal name (`circuits/*.circom`), honest in every step and blind to whether the
statement is true: of a false one, the same steps give numbers that break a constraint, and `r1cs.violations` says which. The
tests hold it to the witness that the compiler's own program makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from walras.errors import Fault, InputError, MeteringError
from walras.metering.proofs.day import DAY_SLOTS, EMPTY_DAY, SLOTS_PER_WORD, VALUE_BITS, WORDS, Day
from walras.metering.proofs.poseidon import FULL_ROUNDS, INPUTS, SCALAR_FIELD, parameters, permutation
from walras.metering.proofs.r1cs import Circuit
from walras.metering.proofs.statements import METERS, BelowLimit, DaySum, NetPosition, Reduction, Statement

Values = dict[str, int]

_CAPACITY_BITS = 19
_WINDOW_BITS = 26


def witness_of(circuit: Circuit, statement: Statement, days: Sequence[Day]) -> list[int]:
    """One number a wire. `days` are the openings: one; for a net position one a meter; for a reduction day and baseline.

    InputError for another number of days; MeteringError where the circuit is not the statement's.
    """
    needed = {"day_sum": 1, "below_limit": 1, "reduction": 2}.get(statement.circuit)
    if isinstance(statement, NetPosition):
        needed = len(statement.meters)
    if len(days) != needed:
        raise InputError("witness", [Fault(statement.circuit, "days", len(days), f"{needed} openings")])
    values: Values = {}
    for name, value in zip(circuit.public_names, statement.public, strict=True):
        values[f"main.{name}"] = value
    match statement:
        case DaySum():
            _day_sum(values, statement, days[0])
        case BelowLimit():
            _below_limit(values, statement, days[0])
        case NetPosition():
            _net_position(values, statement, days)
        case Reduction():
            _reduction(values, statement, days[0], days[1])
    return _by_wire(circuit, values)


def _by_wire(circuit: Circuit, values: Mapping[str, int]) -> list[int]:
    witness: list[int | None] = [1, *[None] * (circuit.wires - 1)]
    for name, wire in circuit.names.items():
        if wire and witness[wire] is None and name in values:
            witness[wire] = values[name] % SCALAR_FIELD
    missing = {name for name, wire in circuit.names.items() if witness[wire] is None}
    if missing:
        raise MeteringError(
            f"{len(missing)} signals of {circuit.name} have no value, {min(missing)} among them", thing=circuit.name
        )
    return [value for value in witness if value is not None]


def _day_sum(values: Values, statement: DaySum, day: Day) -> None:
    _openings(values, "main", day)
    _committed(values, "main.day", day)
    _bits(values, "main.capacity.bits", statement.capacity_wh, _CAPACITY_BITS)
    for slot, (taken, given) in enumerate(zip(day.import_wh.tolist(), day.export_wh.tolist(), strict=True)):
        room = statement.capacity_wh - taken - given
        values[f"main.room[{slot}].value"] = room
        _bits(values, f"main.room[{slot}].bits", room, _CAPACITY_BITS)


def _below_limit(values: Values, statement: BelowLimit, day: Day) -> None:
    _place(values, statement.slot)
    values["main.salt"] = day.salt
    for number, word in enumerate(day.words):
        values[f"main.word[{number}]"] = word
    taken, given = _reading(values, "main.reading", day, statement.slot)
    for name, limit, moved in (("import", statement.import_limit_wh, taken), ("export", statement.export_limit_wh, given)):
        room = limit - 1 - moved
        values[f"main.{name}Room.value"] = room
        _bits(values, f"main.{name}Room.bits", room, VALUE_BITS)


def _net_position(values: Values, statement: NetPosition, days: Sequence[Day]) -> None:
    _place(values, statement.slot)
    listed = [*days, *[EMPTY_DAY] * (METERS - len(days))]
    for meter, day in enumerate(listed):
        values[f"main.salt[{meter}]"] = day.salt
        values[f"main.context[{meter}]"] = day.context
        for number, word in enumerate(day.words):
            values[f"main.word[{meter}][{number}]"] = word
        _reading(values, f"main.reading[{meter}]", day, statement.slot)
        values[f"main.list.value[{meter}]"] = day.commitment
    hashed = [*(day.commitment for day in listed), *(day.context for day in listed), *[0] * (INPUTS - 2 * METERS)]
    _poseidon(values, "main.list", hashed)


def _reduction(values: Values, statement: Reduction, day: Day, baseline: Day) -> None:
    _openings(values, "main", day)
    _openings(values, "main", baseline, "baseline_")
    _committed(values, "main.day", day)
    _committed(values, "main.agreed", baseline)
    values["main.agreed.context"] = baseline.context
    _one_hot(values, "main.starts", statement.first, DAY_SLOTS + 1)
    _one_hot(values, "main.ends", statement.until, DAY_SLOTS + 1)
    below = (baseline.import_wh - baseline.export_wh - day.import_wh + day.export_wh).tolist()
    reduced = 0
    for slot in range(DAY_SLOTS):
        inside = int(statement.first <= slot) - int(statement.until <= slot)
        values[f"main.inside[{slot}]"] = inside
        values[f"main.part[{slot}]"] = inside * below[slot]
        reduced += inside * below[slot]
    _bits(values, "main.claimed.bits", statement.reduction_wh, _WINDOW_BITS)
    values["main.beyond.value"] = reduced - statement.reduction_wh
    _bits(values, "main.beyond.bits", reduced - statement.reduction_wh, _WINDOW_BITS)


def _openings(values: Values, at: str, day: Day, prefix: str = "") -> None:
    """The private inputs of a whole day."""
    values[f"{at}.{prefix}salt"] = day.salt
    for name, column in (("import_wh", day.import_wh), ("export_wh", day.export_wh)):
        for slot, value in enumerate(column.tolist()):
            values[f"{at}.{prefix}{name}[{slot}]"] = value


def _committed(values: Values, at: str, day: Day) -> None:
    """Template CommittedDay."""
    for name, column in (("import", day.import_wh), ("export", day.export_wh)):
        for slot, value in enumerate(column.tolist()):
            _bits(values, f"{at}.{name}Bits[{slot}].bits", value, VALUE_BITS)
    _commitment(values, f"{at}.commitment", day)


def _commitment(values: Values, at: str, day: Day) -> None:
    """Template Commitment."""
    for number, word in enumerate(day.words):
        values[f"{at}.word[{number}]"] = word
    _poseidon(values, f"{at}.poseidon", [*day.words, day.context, day.salt])


def _poseidon(values: Values, at: str, inputs: Sequence[int]) -> None:
    """Template Poseidon16: what goes into every S-box, and the powers that come of it."""
    half, partial = FULL_ROUNDS // 2, parameters().partial_rounds
    for box in permutation(inputs)[1]:
        if half <= box.number < half + partial:
            kind, place = "partial", f"[{box.number - half}]"
        else:
            number = box.number if box.number < half else box.number - partial
            kind, place = "full", f"[{number}][{box.lane}]"
        square = box.value * box.value % SCALAR_FIELD
        fourth = square * square % SCALAR_FIELD
        powers = (("", box.value), ("2", square), ("4", fourth), ("5", fourth * box.value % SCALAR_FIELD))
        for name, value in powers:
            values[f"{at}.{kind}{name}{place}"] = value


def _place(values: Values, slot: int) -> None:
    """Template Place."""
    word, seventh = divmod(slot, SLOTS_PER_WORD)
    values["main.place.word"] = word
    values["main.place.seventh"] = seventh
    for name, index, size in (("inWord", word, WORDS), ("inSeventh", seventh, SLOTS_PER_WORD)):
        for at in range(size):
            values[f"main.place.{name}[{at}]"] = int(at == index)


def _reading(values: Values, at: str, day: Day, slot: int) -> tuple[int, int]:
    """Template ReadingAt: import and export of the slot, Wh."""
    _commitment(values, f"{at}.commitment", day)
    word, seventh = divmod(slot, SLOTS_PER_WORD)
    for number in range(WORDS):
        values[f"{at}.part[{number}]"] = day.words[number] if number == word else 0
    values[f"{at}.bits.value"] = day.words[word]
    _bits(values, f"{at}.bits", day.words[word], 2 * VALUE_BITS * SLOTS_PER_WORD)
    taken, given = int(day.import_wh[slot]), int(day.export_wh[slot])
    for number in range(SLOTS_PER_WORD):
        values[f"{at}.importPart[{number}]"] = taken if number == seventh else 0
        values[f"{at}.exportPart[{number}]"] = given if number == seventh else 0
    values[f"{at}.import_wh"] = taken
    values[f"{at}.export_wh"] = given
    return taken, given


def _one_hot(values: Values, at: str, index: int, size: int) -> None:
    """Template OneHot."""
    for number in range(size):
        values[f"{at}.at[{number}]"] = int(number == index)


def _bits(values: Values, at: str, value: int, size: int) -> None:
    """Template Bits: the low bits of the field's number, whether or not they are all of it."""
    number = value % SCALAR_FIELD
    for bit in range(size):
        values[f"{at}.bit[{bit}]"] = number >> bit & 1
