"""A fleet of batteries as columns, and the exact arithmetic of what is inside them.

The rule: nothing is rounded when energy goes in or out. Stored energy is counted in whole micro-watt-hours (uWh), the energy at
the AC terminals in whole Wh; each battery has two whole coefficients, fixed once:

    taking e Wh from the bus adds      gain_ppm  * e  uWh        gain_ppm  = floor(charge efficiency * 1e6)
    giving e Wh to the bus removes     drain_ppm * e  uWh        drain_ppm = ceil(1e6 / discharge efficiency)

so a day's actions, added up in any order, give the same stored energy to the last digit on every machine. Both roundings are
against the battery by less than one part in a million.

Signs: an *action* is energy at the terminals in one slot, positive when it takes (charges), negative when it gives.
A battery never takes and gives in the same slot. There is no self-discharge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numba import njit

from walras.devices.records import Battery
from walras.errors import Fault, InputError
from walras.units import Int64, as_int64

FleetColumns = tuple[Int64, Int64, Int64, Int64, Int64, Int64]

PPM = 1_000_000
UWH_PER_WH = 1_000_000
MAX_CAPACITY_WH = 10**9
"""Largest battery: 1 GWh, so that a stored energy (uWh) stays well inside int64."""


@dataclass(frozen=True, slots=True)
class BatteryFleet:
    """n batteries; columns of equal length, read-only.

    member               [n] int64, row of the owner among the members; at most one battery a member, ascending
    capacity_uwh         [n] int64, usable stored energy; the empty battery is 0
    charge_limit_wh      [n] int64, most that it takes from the bus in one slot
    discharge_limit_wh   [n] int64, most that it gives in one slot
    gain_ppm             [n] int64, stored uWh for each Wh taken, 1..1e6
    drain_ppm            [n] int64, stored uWh for each Wh given, >= 1e6
    initial_uwh          [n] int64, stored at the start
    """

    member: Int64
    capacity_uwh: Int64
    charge_limit_wh: Int64
    discharge_limit_wh: Int64
    gain_ppm: Int64
    drain_ppm: Int64
    initial_uwh: Int64

    @property
    def count(self) -> int:
        """Number of batteries."""
        return int(self.member.size)

    @property
    def columns(self) -> FleetColumns:
        """What compiled loops take: (member, capacity, charge limit, discharge limit, gain, drain)."""
        return (
            self.member,
            self.capacity_uwh,
            self.charge_limit_wh,
            self.discharge_limit_wh,
            self.gain_ppm,
            self.drain_ppm,
        )


def fleet_from_records(batteries: Sequence[Battery], members: Sequence[int], minutes: int) -> BatteryFleet:
    """Columns from records; `members[i]` owns `batteries[i]`; power limits become whole Wh
    of a slot of `minutes`, rounded down.

    Raises InputError with every fault: sizes out of range, efficiencies outside (0, 1], members not ascending.

    >>> fleet = fleet_from_records([Battery(10_000, 5_000, 0.95, 0.95, 2_000)], [7], 15)
    >>> fleet.charge_limit_wh.tolist(), fleet.gain_ppm.tolist(), fleet.drain_ppm.tolist()
    ([1250], [950000], [1052632])
    """
    faults = []
    for row, (battery, member) in enumerate(zip(batteries, members, strict=True)):
        where = f"battery {row} of member {member}"
        faults += _find_faults(where, battery)
        if row and member <= members[row - 1]:
            faults.append(Fault(where, "member", member, f"more than {members[row - 1]}: ascending, one battery a member"))
    if faults:
        raise InputError("batteries", faults)
    limit = [battery.power_w * minutes // 60 for battery in batteries]
    return BatteryFleet(
        member=as_int64(list(members), "member"),
        capacity_uwh=as_int64([b.capacity_wh * UWH_PER_WH for b in batteries], "capacity_uwh"),
        charge_limit_wh=as_int64(limit, "charge_limit_wh"),
        discharge_limit_wh=as_int64(limit, "discharge_limit_wh"),
        gain_ppm=as_int64([_floor_ppm(b.charge_efficiency) for b in batteries], "gain_ppm"),
        drain_ppm=as_int64([_inverse_ceil_ppm(b.discharge_efficiency) for b in batteries], "drain_ppm"),
        initial_uwh=as_int64([b.initial_wh * UWH_PER_WH for b in batteries], "initial_uwh"),
    )


def _find_faults(where: str, battery: Battery) -> list[Fault]:
    faults = []
    if not 0 <= battery.capacity_wh <= MAX_CAPACITY_WH:
        faults.append(Fault(where, "capacity_wh", battery.capacity_wh, f"between 0 and {MAX_CAPACITY_WH}"))
    if not 0 <= battery.power_w <= MAX_CAPACITY_WH:
        faults.append(Fault(where, "power_w", battery.power_w, f"between 0 and {MAX_CAPACITY_WH}"))
    if not 0 <= battery.initial_wh <= battery.capacity_wh:
        faults.append(Fault(where, "initial_wh", battery.initial_wh, f"between 0 and the capacity {battery.capacity_wh}"))
    for name in ("charge_efficiency", "discharge_efficiency"):
        value = getattr(battery, name)
        if not 0.01 <= value <= 1.0:
            faults.append(Fault(where, name, value, "between 0.01 and 1"))
    return faults


def _floor_ppm(efficiency: float) -> int:
    """Floor of efficiency * 1e6; the decimal that a person wrote counts, not its binary neighbour."""
    return int(Fraction(repr(float(efficiency))) * PPM)


def _inverse_ceil_ppm(efficiency: float) -> int:
    return -int(-PPM / Fraction(repr(float(efficiency))) // 1)


@njit(cache=True)
def stored_change(action_wh: int, gain_ppm: int, drain_ppm: int) -> int:
    """Change of stored energy in uWh by an action in Wh (positive takes): exact.

    >>> stored_change(1000, 950_000, 1_052_632), stored_change(-1000, 950_000, 1_052_632)
    (950000000, -1052632000)
    """
    if action_wh >= 0:
        return action_wh * gain_ppm
    return action_wh * drain_ppm


@njit(cache=True)
def most_charge(soc_uwh: int, capacity_uwh: int, limit_wh: int, gain_ppm: int) -> int:
    """Most Wh that can be taken from the bus now: the power limit, or what still fits in."""
    return max(0, min(limit_wh, (capacity_uwh - soc_uwh) // gain_ppm))


@njit(cache=True)
def most_discharge(soc_uwh: int, limit_wh: int, drain_ppm: int) -> int:
    """Most Wh that can be given to the bus now: the power limit, or what is inside."""
    return max(0, min(limit_wh, soc_uwh // drain_ppm))


@njit(cache=True)
def _step(
    soc: Int64, wish: Int64, capacity: Int64, charge: Int64, discharge: Int64, gain: Int64, drain: Int64
) -> tuple[Int64, Int64]:
    action = np.empty_like(soc)
    after = np.empty_like(soc)
    for j in range(soc.size):
        if wish[j] >= 0:
            done = min(wish[j], most_charge(soc[j], capacity[j], charge[j], gain[j]))
        else:
            done = -min(-wish[j], most_discharge(soc[j], discharge[j], drain[j]))
        action[j] = done
        after[j] = soc[j] + stored_change(done, gain[j], drain[j])
    return action, after


def step(fleet: BatteryFleet, soc_uwh: Int64, wish_wh: Int64) -> tuple[Int64, Int64]:
    """One slot of physics: wished actions [n] in Wh -> (actions really done [n] in Wh, stored energy after [n] in uWh).

    A wish beyond the power limit, the room left or the energy inside is cut to what is possible: always towards less.

    >>> fleet = fleet_from_records([Battery(1_000, 4_000, 0.9, 0.9, 950)], [0], 15)
    >>> [column.tolist() for column in step(fleet, fleet.initial_uwh, np.array([500]))]    # only 50 Wh fit: 55 Wh * 0.9 = 49.5
    [[55], [999500000]]
    """
    if soc_uwh.shape != fleet.member.shape or wish_wh.shape != fleet.member.shape:
        raise InputError("battery step", [Fault("step", "shape", (soc_uwh.shape, wish_wh.shape), f"{fleet.member.shape} each")])
    outside = (soc_uwh < 0) | (soc_uwh > fleet.capacity_uwh)
    if outside.any():
        rows = np.flatnonzero(outside)
        faults = [Fault(f"battery {j}", "soc_uwh", int(soc_uwh[j]), f"0..{int(fleet.capacity_uwh[j])}") for j in rows]
        raise InputError("battery step", faults)
    action, after = _step(
        soc_uwh,
        wish_wh,
        fleet.capacity_uwh,
        fleet.charge_limit_wh,
        fleet.discharge_limit_wh,
        fleet.gain_ppm,
        fleet.drain_ppm,
    )
    return action, after
