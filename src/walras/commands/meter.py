"""`walras meter`: what a device does. Each line becomes a reading, signed where the key is.

With registers in place of energies, a reading is the difference to the line before; where a register ran backwards nothing is sent:
the slot gets a substitute, marked as one, and somebody looks at the meter.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from time import sleep

import numpy as np

from walras.commands.nodes import parse_address
from walras.commands.options import read_text
from walras.commands.secrets import read_passphrase
from walras.errors import Fault, InputError, MeteringError
from walras.metering import Check, Refusal, did_of, sign_reading
from walras.metering.meter_exchange import MAX_DIGITS
from walras.metering.validation import deltas_of_registers
from walras.service.gateway_node import RATE_LIMITED, TAKEN, send_readings
from walras.service.keys import open_key

TRIES = 20
PAUSE_S = 0.25


def meter_command(readings: Path, place: str, gateway: str, passphrase: Path | None, digits: int | None = None) -> None:
    """Sign and send; MeteringError, after all lines, where the gateway refused one, or cannot be reached, or a register ran back.

    `digits` of the registers that the lines show; None: the lines show energies.
    """
    text = read_text(readings, "walras meter", "READINGS", "lines of SLOT IMPORT_WH EXPORT_WH, or - for standard input")
    rows = _rows(str(readings), text)
    back: list[int] = []
    if digits is not None:
        rows, back = of_registers(str(readings), rows, digits)
    key = open_key(place, read_passphrase(passphrase, "walras meter"))
    host, port = parse_address(gateway, "--gateway")
    print(f"{did_of(key.public_key())} to {gateway}")
    refused = 0
    for slot, import_wh, export_wh in rows:
        counter = key.next_counter()
        code = _handed_on(host, port, sign_reading(key, slot, import_wh, export_wh, counter))
        refused += code != TAKEN
        print(f"slot {slot}, counter {counter}: {'taken' if code == TAKEN else Refusal(code).name}", flush=True)
    for slot in back:
        print(f"slot {slot}: {Check.NEGATIVE.value}: nothing is sent", flush=True)
    if refused or back:
        what = f"the gateway refused {refused} of {len(rows)} readings" if refused else f"{Check.NEGATIVE.value} in slots {back}"
        raise MeteringError(what, thing=gateway)


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


def _handed_on(host: str, port: int, reading: bytes) -> int:
    """The gateway's code for the reading, once it is on disk there or refused for good: the same bytes sent again count once."""
    for _ in range(TRIES):
        try:
            (code,) = asyncio.run(send_readings(host, port, [reading]))
        except (OSError, TimeoutError):
            code = RATE_LIMITED
        if code != RATE_LIMITED:
            return code
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
