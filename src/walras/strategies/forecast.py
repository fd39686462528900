"""Forecasts with a stated error, so that positions and metered energy differ as they do in life.

The error model: the forecast of a quantity is actual * (1 + std * x), never below 0, rounded to whole Wh, where x is close to a
standard normal variable that keeps part of itself from slot to slot (first-order autoregressive):

    x_t = rho * x_{t-1} + sqrt(1 - rho^2) * z_t,     z from `noise.normal_q16`, x = z in the first slot of each block

Blocks of `block` slots (a day) start afresh, so the forecast of a slot depends on (seed, stream, member, slot) and the actual
value of that slot, and on nothing else: a day alone gives the same numbers as the year. `std` and rho are in whole percent.
The relative error is unbiased but for the cut at 0, which matters above about 40 %.

It is a model of how wrong forecasts are, not a forecaster: it sees the actual value. What a member decides depends on its
forecast only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np
from numba import njit

from walras.errors import Fault, InputError
from walras.strategies.noise import Q16, key, normal_q16, seed_word
from walras.units import Int64

LOAD = 1
PV = 2
DAY_AHEAD = 16
"""Added to a stream: forecasts of the day ahead draw other numbers than forecasts at gate closure."""

MAX_ENERGY_OF_SLOT_WH = 10**9


@dataclass(frozen=True, slots=True)
class ErrorModel:
    """How wrong a forecast is: relative standard deviation and what is kept from slot to slot, both in percent."""

    std_percent: int
    keep_percent: int = 80
    block: int = 96

    def __post_init__(self) -> None:
        faults = []
        if not 0 <= self.std_percent <= 200:
            faults.append(Fault("forecast error", "std_percent", self.std_percent, "a whole number from 0 to 200"))
        if not 0 <= self.keep_percent <= 99:
            faults.append(Fault("forecast error", "keep_percent", self.keep_percent, "a whole number from 0 to 99"))
        if self.block < 1:
            faults.append(Fault("forecast error", "block", self.block, "at least 1"))
        if faults:
            raise InputError("forecast error", faults)


def forecast(actual_wh: Int64, first_slot: int, model: ErrorModel, seed: int, stream: int) -> Int64:
    """Forecasts [T, members] in Wh, >= 0, of actual energies [T, members] (>= 0) in slots from `first_slot` on.

    The actual values themselves where the standard deviation is 0. Raises InputError for negative or too large energies.

    >>> forecast(np.full((2, 2), 1_000), 0, ErrorModel(10), seed=1, stream=LOAD).tolist()
    [[972, 794], [984, 862]]
    """
    outside = actual_wh.size and not 0 <= int(actual_wh.min()) <= int(actual_wh.max()) <= MAX_ENERGY_OF_SLOT_WH
    if actual_wh.ndim != 2 or outside:
        raise InputError("forecast", [Fault("actual_wh", "shape", actual_wh.shape, "[slots, members] of 0..1e9 Wh")])
    if model.std_percent == 0:
        return actual_wh.astype(np.int64)
    keep = model.keep_percent * Q16 // 100
    fresh = isqrt(Q16 * Q16 - keep * keep)
    actual = np.ascontiguousarray(actual_wh, dtype=np.int64)
    word = seed_word(seed)
    return np.asarray(_forecast(actual, first_slot, model.std_percent, keep, fresh, model.block, word, stream), dtype=np.int64)


@njit(cache=True)
def _forecast(actual: Int64, first: int, std_percent: int, keep: int, fresh: int, block: int, seed: int, stream: int) -> Int64:
    slots, members = actual.shape
    out = np.empty((slots, members), np.int64)
    keys = np.empty(members, np.uint64)
    for i in range(members):
        keys[i] = key(seed, stream, i)
    x = np.zeros(members, np.int64)
    for slot in range(first // block * block, first + slots):
        for i in range(members):
            z = normal_q16(keys[i], slot)
            x[i] = z if slot % block == 0 else (keep * x[i] + fresh * z) >> 16
            if slot >= first:
                value = actual[slot - first, i]
                error = (value * std_percent * x[i] + 50 * Q16) // (100 * Q16)
                out[slot - first, i] = max(0, value + error)
    return out
