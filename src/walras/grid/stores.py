"""What couples the slots of a day on the wires: batteries, cars and loads that may wait, all as stores with a level.

The rule: level[t] = level[t-1] + in_efficiency * charge * h - discharge * h / out_efficiency - used[t], and after every slot
low[t] <= level[t] <= high[t]. A battery has one band; a car or a waiting load cannot give, and its level must reach the energy it
needs by the slot in which it leaves. Powers are at the terminals (kW), levels are inside (kWh).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from walras.errors import Fault, InputError
from walras.grid.network import Float, Int


@dataclass(frozen=True, eq=False)
class Stores:
    """n stores over T slots.

    bus [n]; charge_kw, discharge_kw [T, n] most at the terminals; in_efficiency, out_efficiency [n] in (0, 1];
    initial_kwh [n]; low_kwh, high_kwh [T, n] band of the level after each slot; used_kwh [T, n] taken out inside (driving)
    """

    bus: Int
    charge_kw: Float
    discharge_kw: Float
    in_efficiency: Float
    out_efficiency: Float
    initial_kwh: Float
    low_kwh: Float
    high_kwh: Float
    used_kwh: Float

    def __post_init__(self) -> None:
        n = np.asarray(self.bus).size
        slots = np.asarray(self.charge_kw).shape[0] if np.ndim(self.charge_kw) == 2 else 0
        faults = []
        for field in fields(self):
            dtype = np.int64 if field.name == "bus" else np.float64
            column = np.array(getattr(self, field.name), dtype=dtype)
            by_slot = field.name.endswith("_kw") or field.name in ("low_kwh", "high_kwh", "used_kwh")
            shape = (slots, n) if by_slot else (n,)
            if column.shape != shape:
                faults.append(Fault("stores", field.name, column.shape, f"{shape}"))
            elif dtype is np.float64 and not (np.isfinite(column).all() and (column >= 0).all()):
                faults.append(Fault("stores", field.name, "negative, NaN or infinite", "finite numbers of zero or more"))
            column.flags.writeable = False
            object.__setattr__(self, field.name, column)
        if not faults:
            for name in ("in_efficiency", "out_efficiency"):
                column = getattr(self, name)
                faults += [
                    Fault(f"store {i}", name, float(column[i]), "in (0, 1]") for i in np.flatnonzero((column <= 0) | (column > 1))
                ]
            crossed = np.argwhere(self.low_kwh > self.high_kwh)
            faults += [Fault(f"store {i}", f"slot {t}", "low_kwh above high_kwh", "a band") for t, i in crossed[:20]]
        if faults:
            raise InputError("stores", faults)

    @property
    def count(self) -> int:
        """Number of stores."""
        return int(self.bus.size)

    @property
    def slots(self) -> int:
        """Number of slots."""
        return int(self.charge_kw.shape[0])

    def level(self, charge: Float, discharge: Float, hours: Float) -> Float:
        """[T, n] level after each slot of a plan; `hours` [T]."""
        change = (charge * self.in_efficiency - discharge / self.out_efficiency) * hours[:, None] - self.used_kwh
        return np.asarray(self.initial_kwh + np.cumsum(change, axis=0))


def battery_stores(
    slots: int, bus: ArrayLike, capacity_kwh: ArrayLike, power_kw: ArrayLike, *, in_efficiency: ArrayLike = 0.95,
    out_efficiency: ArrayLike = 0.95, initial_kwh: ArrayLike = 0.0, final_kwh: ArrayLike = 0.0,
) -> Stores:  # fmt: skip
    """Batteries that end with at least `final_kwh`. Columns or single numbers.

    >>> battery_stores(96, [3, 4], 10.0, 5.0).high_kwh.shape
    (96, 2)
    """
    place = np.atleast_1d(np.asarray(bus, dtype=np.int64))
    n = place.size

    def wide(value: ArrayLike) -> Float:
        return np.broadcast_to(np.asarray(value, dtype=np.float64), (n,)).copy()

    capacity, power = wide(capacity_kwh), wide(power_kw)
    low = np.zeros((slots, n))
    if slots:
        low[-1] = wide(final_kwh)
    every = np.ones((slots, 1))
    return Stores(
        place, every * power, every * power, wide(in_efficiency), wide(out_efficiency), wide(initial_kwh), low, every * capacity,
        np.zeros((slots, n)),
    )  # fmt: skip


def session_stores(
    slots: int, bus: ArrayLike, arrival: ArrayLike, departure: ArrayLike, energy_kwh: ArrayLike, limit_kw: ArrayLike
) -> Stores:
    """Cars and waiting loads: each needs `energy_kwh` between the slots `arrival` and `departure` (not itself a slot), at up to
    `limit_kw`, and gives nothing back. Raises InputError for a session outside the day.
    """
    place = np.atleast_1d(np.asarray(bus, dtype=np.int64))
    first, last = np.atleast_1d(arrival).astype(np.int64), np.atleast_1d(departure).astype(np.int64)
    bad = np.flatnonzero((first < 0) | (last <= first) | (last > slots))
    if bad.size:
        wanted = f"0 <= arrival < departure <= {slots}"
        raise InputError("sessions", [Fault(f"session {i}", "slots", (int(first[i]), int(last[i])), wanted) for i in bad])
    n = place.size
    energy = np.broadcast_to(np.asarray(energy_kwh, dtype=np.float64), (n,))
    limit = np.broadcast_to(np.asarray(limit_kw, dtype=np.float64), (n,))
    t = np.arange(slots)[:, None]
    here, gone = (t >= first) & (t < last), t >= last - 1
    none, one = np.zeros((slots, n)), np.ones(n)
    high = np.broadcast_to(energy, (slots, n)).copy()
    return Stores(place, here * limit, none, one, one, np.zeros(n), gone * energy, high, none)


def join_stores(parts: Sequence[Stores]) -> Stores:
    """Several kinds as one, in the sequence given."""
    columns = {}
    for field in fields(Stores):
        columns[field.name] = np.concatenate([getattr(part, field.name) for part in parts], axis=-1)
    return Stores(**columns)
