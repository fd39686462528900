"""Metering against bare cryptography, measured side by side in one run.

Admitted readings per second, all checks included, against bare P-256 verification of the same signatures with the same
key objects. CPU seconds of one thread; the two are measured in turns and the best of each counts, so other load on the
machine falls out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from time import process_time

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from bench.harness import Result
from walras.metering.admission import Registry, Rules, admit, initial_state, registry_of
from walras.metering.aggregation import (
    AggregationRule,
    Meter,
    Total,
    contribute,
    open_round,
    partners_of,
    reveal,
    ring,
    total,
)
from walras.metering.committed_days import commit_days
from walras.metering.identity import derive_key
from walras.metering.parcel import admit_parcels, sign_parcel
from walras.metering.reading import sign_readings, signed_part
from walras.metering.slot_readings import SlotReadings
from walras.slots import SlotGrid

METERS, SLOTS, ROUNDS = 200, 10, 5
_GRID = SlotGrid(datetime(2016, 1, 1, tzinfo=UTC), 15, "UTC")
_FIVE_MINUTES = SlotGrid(datetime(2016, 1, 1, tzinfo=UTC), 5, "UTC")


def _best_of(rounds: int, *jobs: Callable[[], object]) -> list[float]:
    """CPU seconds of each job, the best of `rounds`, taken in turns."""
    best = [float("inf")] * len(jobs)
    for _ in range(rounds):
        for number, job in enumerate(jobs):
            start = process_time()
            job()
            best[number] = min(best[number], process_time() - start)
    return best


def _world() -> tuple[Registry, list[bytes]]:
    keys = [derive_key(b"benchmark meters", f"meter-{row}") for row in range(METERS)]
    ones = [1] * METERS
    batch = [
        encoded
        for slot in range(SLOTS)
        for encoded in sign_readings(keys, range(METERS), [slot] * METERS, range(METERS), ones, [slot + 1] * METERS, [0] * METERS)
    ]
    limits = [10_000] * METERS
    publics = [key.public_key() for key in keys]
    return registry_of(publics, range(METERS), [0] * METERS, [2**40] * METERS, limits, limits), batch


def bare_verification(registry: Registry, batch: list[bytes]) -> Callable[[], None]:
    """A job that verifies every signature of the batch and does nothing else; everything it needs is made beforehand."""
    algorithm = ec.ECDSA(SHA256())
    prepared = [
        (
            registry.keys[row % METERS],
            encode_dss_signature(int.from_bytes(encoded[-64:-32], "big"), int.from_bytes(encoded[-32:], "big")),
            signed_part(encoded),
        )
        for row, encoded in enumerate(batch)
    ]

    def job() -> None:
        for key, signature, message in prepared:
            key.verify(signature, message, algorithm)

    return job


def bare_seconds() -> float:
    """CPU seconds of one bare verification."""
    registry, batch = _world()
    (bare_s,) = _best_of(ROUNDS, bare_verification(registry, batch))
    return bare_s / len(batch)


def bench_admission() -> Result:
    """Admitted readings per second over bare verifications per second."""
    registry, batch = _world()
    now = _GRID.end(SLOTS)

    def admission() -> None:
        _, admitted, _ = admit(initial_state(METERS), registry, Rules(_GRID), batch, now)
        if admitted.row.size != len(batch):
            raise AssertionError("the benchmark's readings are not all admitted")

    bare_s, full_s = _best_of(ROUNDS, bare_verification(registry, batch), admission)
    ratio = bare_s / full_s
    per_s = len(batch) / full_s
    return {
        "name": "metering: readings admitted against bare P-256 verification",
        "ratio": round(ratio, 3),
        "goal": "at least 0.8",
        "holds": ratio >= 0.8,
        "detail": f"{per_s:,.0f} readings/s admitted, {len(batch) / bare_s:,.0f} bare verifications/s, one thread",
    }


def bench_parcels(readings: int, goal: float, grid: SlotGrid = _GRID) -> Result:
    """Readings admitted from parcels of `readings` under one signature, over bare verifications (one a reading) per second.

    By `admit_parcels`, as a library; a gateway's process takes each reading with its proof. A reading is of a slot, so an hour
    holds four in quarter hours, and at most twelve in the shortest slots there are: that many times bare verification is all
    that can be had.
    """
    keys = [derive_key(b"benchmark meters", f"meter-{row}") for row in range(METERS)]
    limits = [10_000] * METERS
    publics = [key.public_key() for key in keys]
    registry = registry_of(publics, range(METERS), [0] * METERS, [2**40] * METERS, limits, limits)
    span = range(readings)
    batch = [sign_parcel(key, span, range(100, 100 + readings), [0] * readings, span, [0] * readings) for key in keys]
    rules = Rules(grid, deadline=timedelta(hours=30))
    now = grid.end(readings)

    def admission() -> None:
        _, admitted, _ = admit_parcels(initial_state(METERS), registry, rules, batch, now)
        if admitted.row.size != readings * METERS:
            raise AssertionError("the benchmark's parcels are not all admitted")

    singles_registry, singles = _world()
    bare_s, full_s = _best_of(ROUNDS, bare_verification(singles_registry, singles), admission)
    bare_per_s, per_s = len(singles) / bare_s, readings * METERS / full_s
    ratio = per_s / bare_per_s
    return {
        "name": f"metering: readings admitted under one signature a {readings} against bare P-256 verification",
        "ratio": round(ratio, 2),
        "goal": f"at least {goal:g}",
        "holds": ratio >= goal,
        "detail": f"{per_s:,.0f} readings/s admitted, {bare_per_s:,.0f} bare verifications/s; no more than {readings} is possible",
    }


def bench_aggregation(meters: int = 10_000) -> Result:
    """The oracle's work on one slot's secure sum of all meters, against bare verification of one signed reading of each.

    One meter in a hundred drops out after opening. The meters' own work is spread over the meters and told in the
    detail, as are the Diffie-Hellman secrets, which are agreed once; here each pair's secret is drawn, the same at both
    ends.
    """
    rule = AggregationRule()
    beside = ring(meters, b"benchmark", rule)

    def secret(one: int, other: int) -> bytes:
        low, high = sorted((one, other))
        return sha256(low.to_bytes(4, "big") + high.to_bytes(4, "big")).digest()

    everyone = [
        Meter(n, sha256(b"own" + n.to_bytes(4, "big")).digest(), {other: secret(n, other) for other in beside[n]})
        for n in range(meters)
    ]
    start = process_time()
    openings = {meter.number: open_round(meter, 1, rule) for meter in everyone}
    opened = process_time()
    partners = partners_of(openings, rule)
    paired = process_time()
    sums = {m.number: contribute(m, 1, m.number, partners[m.number]) for m in everyone if m.number % 100}
    contributed = process_time()
    answers = [reveal(everyone[n], 1, openings, partners, sums, (), rule) for n in sums]
    revealed = process_time()
    result = total(openings, partners, sums, answers, rule)
    done = process_time()
    if not isinstance(result, Total) or result.value != sum(sums):
        raise AssertionError("the secure sum is not the sum")
    registry, batch = _world()
    (bare_s,) = _best_of(ROUNDS, bare_verification(registry, batch))
    oracle_s = paired - opened + done - revealed
    meter_us = (opened - start + contributed - paired + revealed - contributed) / meters * 1e6
    ratio = bare_s / len(batch) * meters / oracle_s
    return {
        "name": f"metering: secure sum of {meters:,} meters against bare verification of their readings",
        "ratio": round(ratio, 2),
        "goal": "at least 0.5",
        "holds": ratio >= 0.5,
        "detail": f"oracle {oracle_s:.2f} s with {meters - len(sums)} dropouts, each meter {meter_us:.0f} us, "
        f"{rule.neighbours} neighbours",
    }


def bench_commitments(homes: int = 118) -> Result:
    """A day of a feeder committed to for zero-knowledge proofs, over bare verification of one signature a reading of that day."""
    slots = 96
    none = np.zeros(homes, dtype=np.int64)
    readings = [SlotReadings(slot, none + 7 * slot, none, none, (b"",) * homes) for slot in range(slots)]
    meters = [sha256(b"meter" + home.to_bytes(4, "big")).digest()[:16] for home in range(homes)]
    salts = [sha256(b"salt" + home.to_bytes(4, "big")).digest()[:31] for home in range(homes)]
    commit_days(meters[:1], readings, salts[:1])  # the hash's constants, once a process
    singles_registry, singles = _world()
    bare_s, day_s = _best_of(3, bare_verification(singles_registry, singles), lambda: commit_days(meters, readings, salts))
    ratio = day_s / (bare_s / len(singles) * homes * slots)
    return {
        "name": "metering: a day's commitments over bare verification of the day's readings",
        "ratio": round(ratio, 3),
        "goal": "at most 0.5",
        "holds": ratio <= 0.5,
        "detail": f"{day_s / homes * 1e3:.2f} ms CPU a member and day, {homes} members",
    }


def results() -> list[Result]:
    """All figures of metering."""
    return [
        bench_admission(),
        bench_parcels(96, goal=10),  # a day of quarter hours
        bench_parcels(4, goal=2.4),  # an hour of quarter hours: the ceiling is 4
        bench_parcels(12, 6, _FIVE_MINUTES),  # an hour of the shortest slots: the ceiling is 12
        bench_aggregation(),
        bench_commitments(),
    ]
