"""What oracles report of a slot, read and brought together: no report is trusted in its shape, no one's word counts alone.

A report is canonical CBOR of leaves, refusals by reason, the feeder's balance (residual and tolerance, or null) and when each
device was heard; after corrections it ends with root and signature. What is no such report is as good as no answer: an oracle that
sends whatever it likes stops nothing as long as a quorum reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cbor2

from walras.errors import MeteringError
from walras.exchange.parts import Delays
from walras.metering import Refusal, SlotReadings
from walras.metering.feeder import FeederCheck
from walras.metering.merkle import root_of
from walras.metering.slot_readings import readings_of_leaves
from walras.metering.strict_cbor import loads_strict

Closed = tuple[SlotReadings, dict[Refusal, int], FeederCheck | None, Delays]
REASONS = {int(reason) for reason in Refusal}


@dataclass(frozen=True, slots=True)
class Report:
    """One oracle's: leaves [devices]; refusals; the balance; after how many seconds each device was heard, if it says so."""

    leaves: tuple[bytes, ...]
    refused: Mapping[int, int]
    balance: tuple[int, int] | None
    delays: Delays | None
    word: tuple[bytes, bytes] | None = None


def encode_report(
    leaves: Sequence[bytes], refused: Mapping[int, int], balance: FeederCheck | None, delays: Delays, *word: bytes
) -> bytes:
    """For the wire; `word`: root and signature of a corrected slot."""
    struck = None if balance is None else [balance.residual_wh, balance.tolerance_wh]
    return cbor2.dumps([list(leaves), dict(refused), struck, list(delays), *word], canonical=True)


def read_report(encoded: bytes, devices: int, parts: int = 4) -> Report | None:
    """The report of a slot of `devices`, or None where the bytes are none; `parts`: 4, or 6 with root and signature.

    When meters were heard is left out where it is not said in order: the readings are not its business.

    >>> read_report(encode_report([b"leaf"], {2: 1}, FeederCheck(-3, 9), [900]), 1)
    Report(leaves=(b'leaf',), refused={2: 1}, balance=(-3, 9), delays=[900], word=None)
    >>> [read_report(bytes.fromhex(other), 1) for other in ("", "80", "8480a0f680", "ff")]
    [None, None, None, None]
    """
    value = loads_strict(encoded)
    if not isinstance(value, list) or len(value) != parts:
        return None
    leaves, refused, balance, delays, *word = value
    whole = (
        _is_list_of(leaves, bytes, devices)
        and isinstance(refused, dict)
        and set(refused) <= REASONS
        and _is_list_of(list(refused.values()), int)
        and (balance is None or _is_list_of(balance, int, 2))
        and _is_list_of(word, bytes)
    )
    if not whole:
        return None
    heard = [0 if delay is None else delay for delay in delays] if isinstance(delays, list) else delays
    said = delays if _is_list_of(heard, int, devices) else None
    struck = None if balance is None else (balance[0], balance[1])
    return Report(tuple(leaves), refused, struck, said, (word[0], word[1]) if word else None)


def agreed(slot: int, reports: Sequence[Report], quorum: int) -> Closed:
    """The readings that a quorum reports, and of these what most say of refusals and the balance: no one's word alone counts.

    MeteringError where no quorum has the same readings.
    """
    by_root: dict[bytes, list[Report]] = {}
    for report in reports:
        by_root.setdefault(root_of(report.leaves), []).append(report)
    for same in by_root.values():
        if len(same) >= quorum:
            refused = _most([report.refused for report in same])
            balance = _most([report.balance for report in same])
            heard = [report.delays for report in same if report.delays is not None]
            medians = [_median([delays[device] for delays in heard]) for device in range(len(same[0].leaves))]
            counts = {Refusal(reason): count for reason, count in refused.items()}
            return readings_of_leaves(slot, same[0].leaves), counts, None if balance is None else FeederCheck(*balance), medians
    raise MeteringError(f"slot {slot}: no quorum of oracles holds the same readings", thing=slot)


def _is_list_of(value: object, kind: type, length: int | None = None) -> bool:
    """Of exactly this kind: a truth value is no number."""
    return isinstance(value, list) and length in (None, len(value)) and all(type(one) is kind for one in value)


def _median(delays: Sequence[int | None]) -> int | None:
    """The middle one, the lower of two: no oracle alone says when a meter was heard. None where no oracle heard it."""
    heard = sorted(delay for delay in delays if delay is not None)
    return heard[(len(heard) - 1) // 2] if heard else None


def _most(said: Sequence[Any]) -> Any:
    """What most say; the first of them where two are said as often."""
    return max(said, key=said.count)
