"""Days, statements and proofs to test with: one meter's day of readings, its agreed baseline, and two meters more.

The proofs are in golden/proofs.json, made from these days with the blinding below: proving is a pure function, so the nightly
test makes them again, byte for byte.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import numpy as np

from walras.metering.identity import derive_key, key_id
from walras.metering.proofs import (
    BelowLimit,
    Day,
    Proof,
    ProvingKey,
    Reduction,
    Statement,
    baseline_context,
    context_of,
    day_sum,
    decode_proof,
    make_day,
    net_position,
    proving_key,
)
from walras.service.prover import key_file, make_development_keys

FIRST_SLOT = 35_040
CAPACITY_WH = 2_500
KEY = derive_key(b"a seed for tests only", "meter-0")
METER = key_id(KEY.public_key())
GOLDEN = Path(__file__).parent / "golden" / "proofs.json"
WINDOW = (68, 80)
LIMIT_SLOTS = (0, 6, 50, 95)


def keys_folder(*names: str) -> Path:
    """A folder with the development proving keys of `names`: made once a checkout and state of the circuits, then kept."""
    state = sha256((files("walras.metering.proofs") / "artifacts" / "circuits.json").read_bytes()).hexdigest()[:16]
    folder = Path(__file__).parents[1] / ".tools" / "proving-keys" / state
    make_development_keys(folder, names)
    return folder


@cache
def development_key(name: str) -> ProvingKey:
    """The development proving key of a circuit, from that folder."""
    return proving_key(name, key_file(keys_folder(name), name).read_bytes())


def salt(number: int) -> bytes:
    return sha256(b"salt for tests" + bytes([number])).digest()[:31]


@cache
def days() -> tuple[Day, ...]:
    """A home with solar, and two meters more, quarter-hourly: up to 1.5 kWh taken and 1 kWh given in a slot."""
    draw = np.random.default_rng(20_260)
    sun = np.clip(np.sin((np.arange(96) - 24) / 48 * np.pi), 0, None)
    made = []
    for number in range(3):
        taken = draw.integers(20, 1_500, 96)
        given = (draw.integers(0, 1_000, 96) * sun).astype(np.int64)
        meter = METER if number == 0 else bytes([number]) * 16
        made.append(make_day(taken, given, context_of(meter, FIRST_SLOT), salt(number)))
    return tuple(made)


@cache
def baseline() -> Day:
    """What the first meter would have taken: 300 Wh more in every slot."""
    day = days()[0]
    return make_day(day.import_wh + 300, day.export_wh, baseline_context(day.context), salt(9))


def below(slot: int) -> BelowLimit:
    """Just below: the limits are one more than the readings."""
    day = days()[0]
    return BelowLimit(day.commitment, day.context, slot, int(day.import_wh[slot]) + 1, int(day.export_wh[slot]) + 1)


@cache
def cases() -> dict[str, tuple[Statement, tuple[Day, ...]]]:
    """Name to statement and openings; every statement is true, and on its edge."""
    day = days()[0]
    reduction = Reduction(day.commitment, day.context, baseline().commitment, *WINDOW, 300 * (WINDOW[1] - WINDOW[0]))
    found: dict[str, tuple[Statement, tuple[Day, ...]]] = {
        "day_sum": (day_sum(day, CAPACITY_WH), (day,)),
        "net_position": (net_position(days(), 50), days()),
        "reduction": (reduction, (day, baseline())),
    }
    for slot in LIMIT_SLOTS:
        found[f"below_limit at {slot}"] = (below(slot), (day,))
    return found


def blinding(name: str) -> tuple[int, int]:
    """Fixed, so that the golden proofs are reproducible: what no prover outside a test may do."""
    r, s = (int.from_bytes(sha256(f"{name} {part}".encode()).digest()[:31], "big") for part in "rs")
    return r, s


@cache
def golden(name: str) -> tuple[Statement, Proof]:
    """The statement of a case with the proof on file."""
    return cases()[name][0], decode_proof(bytes.fromhex(json.loads(GOLDEN.read_text(encoding="utf-8"))[name]))
