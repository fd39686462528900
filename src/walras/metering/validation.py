"""Validation of interval data: what admitted readings show when they are looked at together.

Admission judges one reading; here a window of slots is looked at as metering practice has it (validation, estimation
and editing): gaps, counters that skip, registers that stand still or run backwards, spikes, clocks that drift or follow
local time. A finding changes nothing by itself: it names the check, the device, the slot and both numbers. Editing is
`correction`'s, with a name and a reason.

- STUCK: the same non-zero registers in `stuck_slots` slots running, or nothing at all for `zero_slots`, also over midnights: a
  day is looked at with what came before it, and named again on each day on which the registers still stand;
- SPIKE: the highest value exceeds the third highest of the window by more than `spike_ratio` of the latter (the spike check
  of EEI's Uniform Business Practices for Unbundled Electricity Metering, with its 180 %), from `spike_floor_wh` up;
- CLOCK_DRIFT: the median of (arrival - end of slot) of a device lies outside [-tolerance, usual + tolerance], usual being the
  median of all devices; CLOCK_CHANGE: it does so by a whole hour, within the tolerance: the device follows local time. Both look
  at whatever a device truly signed, also what admission refused: a clock that is fast is heard of only there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from walras.errors import Fault, InputError
from walras.units import Int64


class Check(Enum):
    """What a finding is about."""

    MISSING = "no reading for the slot"
    COUNTER_GAP = "readings were signed that never arrived"
    STUCK = "registers do not move as they should"
    SPIKE = "a value far above all others"
    NEGATIVE = "a register ran backwards"
    CLOCK_DRIFT = "the device's clock is off"
    CLOCK_CHANGE = "the device's clock is off by whole hours: local time"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed: the check, device, slot, the value seen and what it was held against (units by the check)."""

    check: Check
    device: int
    slot: int
    value: int
    against: int


@dataclass(frozen=True, slots=True)
class ValidationRule:
    """The thresholds of the checks; see the head of this file."""

    stuck_slots: int = 8
    zero_slots: int = 288
    spike_ratio: float = 1.8
    spike_floor_wh: int = 1_000
    clock_tolerance_s: int = 10

    def __post_init__(self) -> None:
        faults = [
            Fault("validation rule", name, getattr(self, name), f"at least {least}")
            for name, least in (("stuck_slots", 2), ("zero_slots", 2), ("spike_floor_wh", 0), ("clock_tolerance_s", 0))
            if getattr(self, name) < least
        ]
        if not self.spike_ratio > 0:
            faults.append(Fault("validation rule", "spike_ratio", self.spike_ratio, "above 0"))
        if faults:
            raise InputError("validation rule", faults)


@dataclass(frozen=True, slots=True)
class Window:
    """Admitted readings of consecutive slots from `first_slot`, tables [slots, devices]. Rows not `present` are not read.

    Energies in Wh; `delay_s` is arrival minus end of slot in whole seconds (negative: before the slot had ended) of the rows
    `heard`: those in which the device sent something for the slot, admitted or not.
    """

    first_slot: int
    present: NDArray[np.bool_]
    import_wh: Int64
    export_wh: Int64
    counter: Int64
    delay_s: Int64
    heard: NDArray[np.bool_]

    def __post_init__(self) -> None:
        faults = [
            Fault("window", name, getattr(self, name).shape, f"the shape of present, {self.present.shape}")
            for name in ("import_wh", "export_wh", "counter", "delay_s", "heard")
            if getattr(self, name).shape != self.present.shape
        ]
        if self.present.ndim != 2:
            faults.append(Fault("window", "present", self.present.shape, "two dimensions"))
        if faults:
            raise InputError("window", faults)


def validate(window: Window, rule: ValidationRule, since: int | None = None) -> tuple[Finding, ...]:
    """All findings, by check, then device, then slot.

    `since`: the slots before that one are there to say how long registers have stood still, and are not looked at for themselves.
    """
    since = window.first_slot if since is None else since
    day = _from(window, since)
    found = [*_missing(day), *_counter_gaps(day), *_stuck(window, rule, since), *_spikes(day, rule), *_clocks(day, rule)]
    order = list(Check)
    return tuple(sorted(found, key=lambda f: (order.index(f.check), f.device, f.slot, f.value)))


def _from(window: Window, since: int) -> Window:
    rows = slice(since - window.first_slot, None)
    names = ("present", "import_wh", "export_wh", "counter", "delay_s", "heard")
    return Window(since, *(getattr(window, name)[rows] for name in names))


def deltas_of_registers(registers_wh: Int64, digits: int, max_wh: int) -> tuple[Int64, tuple[int, ...]]:
    """Energy per slot [n] from register readings [n + 1] in Wh, and the slots at which the register ran backwards.

    A fall by a full turn of a register of `digits` digits is a turn if it leaves at most `max_wh` in the slot; any
    other fall is a finding and gives 0.

    >>> deltas_of_registers(np.array([999_990, 5, 3]), 6, 100)[0].tolist()
    [15, 0]
    """
    moved = np.diff(registers_wh)
    turned = moved + 10**digits
    is_turn = (moved < 0) & (turned >= 0) & (turned <= max_wh)
    backwards = (moved < 0) & ~is_turn
    energy = np.where(is_turn, turned, np.where(backwards, 0, moved)).astype(np.int64)
    return energy, tuple(int(slot) for slot in np.flatnonzero(backwards))


def _missing(window: Window) -> list[Finding]:
    rows, devices = np.nonzero(~window.present)
    return [
        Finding(Check.MISSING, int(device), window.first_slot + int(row), 0, 1) for row, device in zip(rows, devices, strict=True)
    ]


def _counter_gaps(window: Window) -> list[Finding]:
    """Between two readings present, the counter should rise by one, and by one more for each that was heard and does not stand."""
    found = []
    for device in range(window.present.shape[1]):
        present = window.present[:, device]
        rows = np.flatnonzero(present)
        heard = np.cumsum(window.heard[:, device] & ~present)[rows]
        unheard = np.diff(window.counter[rows, device]) - 1 - np.diff(heard)
        for at in np.flatnonzero(unheard > 0):
            slot = window.first_slot + int(rows[at + 1])
            found.append(Finding(Check.COUNTER_GAP, device, slot, int(unheard[at]), 0))
    return found


def _stuck(window: Window, rule: ValidationRule, since: int) -> list[Finding]:
    """Runs of equal values that reach their limit at `since` or later; one that did before is named at `since`, if it goes on."""
    found = []
    for device in range(window.present.shape[1]):
        for start, stop in _runs(window, device):
            energy = int(window.import_wh[start, device]) + int(window.export_wh[start, device])
            limit = rule.stuck_slots if energy else rule.zero_slots
            reached = window.first_slot + start + limit - 1
            if stop - start >= limit and window.first_slot + stop > since:
                found.append(Finding(Check.STUCK, device, window.first_slot + start if reached >= since else since, energy, limit))
    return found


def _runs(window: Window, device: int) -> list[tuple[int, int]]:
    """First row and the row behind the last of each run of equal registers."""
    present = window.present[:, device]
    values = np.stack((window.import_wh[:, device], window.export_wh[:, device]))
    joined = present[1:] & present[:-1] & (values[:, 1:] == values[:, :-1]).all(axis=0)
    cuts = [0, *(np.flatnonzero(~joined) + 1).tolist(), present.size]
    return [(start, stop) for start, stop in pairwise(cuts) if stop > start and present[start]]


def _spikes(window: Window, rule: ValidationRule) -> list[Finding]:
    found = []
    for values in (window.import_wh, window.export_wh):
        seen = np.where(window.present, values, -1)
        for device in range(seen.shape[1]):
            ranked = np.sort(seen[:, device])[::-1]
            if ranked.size < 3 or ranked[2] < 0:
                continue
            highest, third = int(ranked[0]), int(ranked[2])
            if highest >= rule.spike_floor_wh and highest - third > rule.spike_ratio * third:
                slot = window.first_slot + int(np.argmax(seen[:, device]))
                found.append(Finding(Check.SPIKE, device, slot, highest, third))
    return found


_HOUR_S = 3_600


def _clocks(window: Window, rule: ValidationRule) -> list[Finding]:
    count = window.present.shape[1]
    medians = {
        device: int(np.median(window.delay_s[window.heard[:, device], device]))
        for device in range(count)
        if window.heard[:, device].any()
    }
    if not medians:
        return []
    usual = int(np.median(list(medians.values())))
    found = []
    for device, delay in medians.items():
        if -rule.clock_tolerance_s <= delay <= usual + rule.clock_tolerance_s:
            continue
        off = delay - usual
        hours = round(off / _HOUR_S)
        whole = hours != 0 and abs(off - hours * _HOUR_S) <= rule.clock_tolerance_s
        found.append(Finding(Check.CLOCK_CHANGE if whole else Check.CLOCK_DRIFT, device, window.first_slot, delay, usual))
    return found
