"""`walras meter`: what a device does. Each line becomes a reading, signed where the key is, alone or with those of its hour or day.

With registers in place of energies, a reading is the difference to the line before; where a register ran backwards nothing is sent:
the slot gets a substitute, marked as one, and somebody looks at the meter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from time import sleep
from typing import Literal

import numpy as np

from walras.commands.nodes import parse_address
from walras.commands.options import read_text
from walras.commands.secrets import read_passphrase
from walras.community import Community, load_community
from walras.errors import Fault, InputError, MeteringError
from walras.metering import Check, Refusal, did_of, readings_of_parcel, sign_parcel, sign_reading
from walras.metering.identity import KeyStore
from walras.metering.meter_exchange import MAX_DIGITS
from walras.metering.parcel_reading import MAX_READINGS
from walras.metering.validation import deltas_of_registers
from walras.service.gateway_node import RATE_LIMITED, TAKEN, send_readings
from walras.service.keys import open_key
from walras.slots import SlotGrid

TRIES = 20
PAUSE_S = 0.25

Line = tuple[int, int, int]
"""Slot, import and export in Wh."""

Span = Literal["each", "hour", "day"]


@dataclass(frozen=True, slots=True)
class Signing:
    """Whether a signature is for `each` reading, or for those of an hour or a day by the clocks of the `community` (its file)."""

    span: Span = "each"
    community: Path | None = None


EACH = Signing()


def meter_command(
    readings: Path, place: str, gateway: str, passphrase: Path | None, digits: int | None = None, signing: Signing = EACH
) -> None:
    """Sign and send; MeteringError, after all lines, where the gateway refused one, or cannot be reached, or a register ran back.

    `digits` of the registers that the lines show; None: the lines show energies.
    """
    text = read_text(readings, "walras meter", "READINGS", "lines of SLOT IMPORT_WH EXPORT_WH, or - for standard input")
    rows = _rows(str(readings), text)
    back: list[int] = []
    if digits is not None:
        rows, back = of_registers(str(readings), rows, digits)
    community = _clocks(signing)
    key = open_key(place, read_passphrase(passphrase, "walras meter"))
    host, port = parse_address(gateway, "--gateway")
    print(f"{did_of(key.public_key())} to {gateway}")
    if community is not None and (said := comes_late(community, signing.span)):
        print(said)
    refused = 0
    for parcel in [[row] for row in rows] if community is None else spans(community.grid, signing.span, rows):
        counters = [key.next_counter() for _ in parcel]
        codes = _handed_on(host, port, _signed(key, parcel, counters, alone=community is None))
        refused += sum(code != TAKEN for code in codes)
        for (slot, _, _), counter, code in zip(parcel, counters, codes, strict=True):
            print(f"slot {slot}, counter {counter}: {'taken' if code == TAKEN else Refusal(code).name}", flush=True)
    for slot in back:
        print(f"slot {slot}: {Check.NEGATIVE.value}: nothing is sent", flush=True)
    if refused or back:
        what = f"the gateway refused {refused} of {len(rows)} readings" if refused else f"{Check.NEGATIVE.value} in slots {back}"
        raise MeteringError(what, thing=gateway)


def _clocks(signing: Signing) -> Community | None:
    """The community whose hours or days are signed; None for each reading by itself."""
    if signing.span == "each":
        return None
    if signing.community is None:
        fault = Fault("command line", "--community", None, f"the community file, whose clocks say when {_a(signing.span)} is over")
        raise InputError("walras meter", [fault])
    return load_community(signing.community)


def _a(span: Span) -> str:
    return "an hour" if span == "hour" else f"a {span}"


def comes_late(community: Community, span: Span) -> str | None:
    """What is to be said where the first reading of an hour or a day is signed after its slot's metering deadline."""
    grid, gates = community.grid, community.gates
    waits = (60 if span == "hour" else 24 * 60) - grid.minutes
    if waits <= gates.metering_deadline_minutes:
        return None
    last = gates.metering_deadline_minutes + gates.dispute_window_minutes
    then = "comes as a correction" if community.metering.corrected else "does not count: this community has no corrections"
    return (
        f"{_a(span)} is signed when it is over, {waits} minutes after its first slot; this community settles a slot "
        f"{gates.metering_deadline_minutes} minutes after its end. What is later {then}; after {last} minutes it is refused"
    )


def spans(grid: SlotGrid, span: Span, rows: Sequence[Line]) -> Iterator[list[Line]]:
    """Lines that follow each other within one local hour or day, together. The hour that the clocks repeat in autumn is two.

    >>> from datetime import UTC, datetime
    >>> grid = SlotGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), 15, "Europe/Berlin")
    >>> [[slot for slot, _, _ in part] for part in spans(grid, "hour", [(slot, 250, 0) for slot in range(2, 7)])]
    [[2, 3], [4, 5, 6]]
    """

    def of(row: Line) -> object:
        local = grid.local(row[0])
        return local.date() if span == "day" else (local.date(), local.hour, local.fold)

    for _, together in groupby(rows, of):
        lines = list(together)
        for at in range(0, len(lines), MAX_READINGS):
            yield lines[at : at + MAX_READINGS]


def _signed(key: KeyStore, parcel: Sequence[Line], counters: Sequence[int], alone: bool) -> list[bytes]:
    """The readings as they are sent; alone, or each with its place under the one signature."""
    if alone:
        return [sign_reading(key, *row, counter) for row, counter in zip(parcel, counters, strict=True)]
    slots, imports, exports = zip(*parcel, strict=True)
    return readings_of_parcel(sign_parcel(key, slots, imports, exports, counters, [0] * len(parcel)))


def of_registers(name: str, rows: list[tuple[int, int, int]], digits: int) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Slot, import, export (Wh) of each line but the first, from the registers shown; and the slots in which one ran back.

    A register of `digits` digits that falls has turned where it went on by at most a tenth of its range. InputError for slots that
    do not follow each other: what lies between is in no single one.

    >>> of_registers("-", [(6, 999_990, 50), (7, 15, 50), (8, 3, 60)], 6)
    ([(7, 25, 0)], [8])
    """
    faults = [] if 1 <= digits <= MAX_DIGITS else [Fault("command line", "--registers", digits, f"1 to {MAX_DIGITS} digits")]
    faults += [
        Fault(f"{name}, line {number}", "slot", after[0], f"{before[0] + 1}: registers are read at the end of every slot")
        for number, (before, after) in enumerate(pairwise(rows), 2)
        if after[0] != before[0] + 1
    ]
    if faults:
        raise InputError("walras meter", faults)
    shown = np.array(rows, dtype=np.int64)
    most = 10 ** (digits - 1)
    (imports, fell), (exports, fell_too) = (deltas_of_registers(shown[:, column], digits, most) for column in (1, 2))
    back = sorted({*fell, *fell_too})
    slots = shown[1:, 0].tolist()
    energies = list(zip(slots, imports.tolist(), exports.tolist(), strict=True))
    return [row for at, row in enumerate(energies) if at not in back], [slots[at] for at in back]


def _handed_on(host: str, port: int, readings: Sequence[bytes]) -> list[int]:
    """The gateway's codes, once each reading is on disk there or refused for good: the same bytes sent again count once."""
    codes = [RATE_LIMITED] * len(readings)
    tries = 0
    while tries < TRIES:
        open_rows = [row for row, code in enumerate(codes) if code == RATE_LIMITED]
        try:
            answer = asyncio.run(send_readings(host, port, [readings[row] for row in open_rows]))
        except (OSError, TimeoutError):
            answer = b""
        for row, code in zip(open_rows, answer, strict=False):
            codes[row] = code
        if RATE_LIMITED not in codes:
            return codes
        tries = 0 if any(codes[row] != RATE_LIMITED for row in open_rows) else tries + 1
        sleep(PAUSE_S)
    raise MeteringError(
        f"the gateway at {host}:{port} does not take readings", thing=(host, port), way_out="start it, then send again"
    )


def _rows(name: str, text: str) -> list[tuple[int, int, int]]:
    """Lines of SLOT IMPORT_WH EXPORT_WH; InputError with every line that is none."""
    rows, faults = [], []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
            faults.append(Fault(f"{name}, line {number}", "reading", line, "three whole numbers: SLOT IMPORT_WH EXPORT_WH"))
            continue
        rows.append((int(parts[0]), int(parts[1]), int(parts[2])))
    if faults or not rows:
        faults = faults or [Fault(name, "readings", 0, "at least one line of SLOT IMPORT_WH EXPORT_WH")]
        raise InputError("walras meter", faults)
    return rows
