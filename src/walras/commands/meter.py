"""`walras meter`: what a device does. Each line of its register becomes a reading, signed where the key is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import sleep

from walras.commands.nodes import parse_address
from walras.commands.options import read_text
from walras.commands.secrets import read_passphrase
from walras.errors import Fault, InputError, MeteringError
from walras.metering import Refusal, did_of, sign_reading
from walras.service.gateway_node import RATE_LIMITED, TAKEN, send_readings
from walras.service.keys import open_key

TRIES = 20
PAUSE_S = 0.25


def meter_command(readings: Path, place: str, gateway: str, passphrase: Path | None) -> None:
    """Sign and send; MeteringError, after all lines, where the gateway refused one, or cannot be reached."""
    text = read_text(readings, "walras meter", "READINGS", "lines of SLOT IMPORT_WH EXPORT_WH, or - for standard input")
    rows = _rows(str(readings), text)
    key = open_key(place, read_passphrase(passphrase, "walras meter"))
    host, port = parse_address(gateway, "--gateway")
    print(f"{did_of(key.public_key())} to {gateway}")
    refused = 0
    for slot, import_wh, export_wh in rows:
        counter = key.next_counter()
        code = _handed_on(host, port, sign_reading(key, slot, import_wh, export_wh, counter))
        refused += code != TAKEN
        print(f"slot {slot}, counter {counter}: {'taken' if code == TAKEN else Refusal(code).name}", flush=True)
    if refused:
        raise MeteringError(f"the gateway refused {refused} of {len(rows)} readings", thing=gateway)


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
