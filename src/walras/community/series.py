"""What each member uses and generates in each slot, from the profiles, in whole watt-hours.

The rule: one meter, one rounding. The parts behind a meter are added as exact integers and rounded to a watt-hour once, half
up. A load's shift moves it within the year: at the year's ends it wraps around. Slots outside the data are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from walras.community.datafile import ACTIVE_SCALE, REACTIVE_SCALE
from walras.community.model import Community
from walras.errors import Fault, InputError
from walras.grid import Network
from walras.units import Float64, Int64

MINUTES_PER_HOUR = 60
Whole = TypeVar("Whole", np.uint16, np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Columns by slot and member, in the order of `community.members`.

    `load_wh`, `pv_wh` int64 [T, n] >= 0: energy used and generated in the slot (before any battery);
    `reactive_kvar` float64 [T, n]: mean reactive power taken (positive: inductive). `slots` are the rows.
    """

    slots: range
    load_wh: Int64
    pv_wh: Int64
    reactive_kvar: Float64


def member_series(community: Community, slots: range) -> Series:
    """The series of all members over `slots`; InputError, with the range there is, for slots outside the data.

    Slots longer than the data's add up its slots; in shorter ones the data's mean power holds. Shifts count the data's slots.
    """
    check_slots(community, slots)
    data, minutes = community.data, community.grid.minutes
    longer, shorter = max(minutes // data.grid.minutes, 1), max(data.grid.minutes // minutes, 1)
    source = _source(slots, longer, shorter)
    n = len(community.members)
    load = np.zeros((n, len(source)), dtype=np.int64)
    pv = np.zeros((n, len(source)), dtype=np.int64)
    reactive = np.zeros((n, len(source)), dtype=np.float64)
    rows = {name: k for k, name in enumerate(data.profiles)}
    for k, member in enumerate(community.members):
        for part in member.loads:
            row = rows[part.profile]
            load[k] += part.peak_w * _shifted(data.active[row], source, part.shift_slots).astype(np.int64)
            if part.peak_var:
                reactive[k] += (part.peak_var / 1e3 / REACTIVE_SCALE) * _shifted(data.reactive[row], source, part.shift_slots)
        for plant in member.pv:
            pv[k] += plant.peak_w * _shifted(data.active[rows[plant.profile]], source, 0).astype(np.int64)
    if longer > 1:
        load, pv = (column.reshape(n, len(slots), longer).sum(axis=2) for column in (load, pv))
        reactive = reactive.reshape(n, len(slots), longer).mean(axis=2)
    held = min(minutes, data.grid.minutes)
    return Series(slots, _to_wh(load, held), _to_wh(pv, held), np.ascontiguousarray(reactive.T))


def wholesale_micro_per_kwh(community: Community, slots: range) -> Int64:
    """The wholesale price of each slot, int64 [T], net of everything added; InputError without prices or outside them."""
    prices = community.prices
    if prices is None:
        raise InputError("wholesale prices", [Fault("[data]", "prices", "absent", "a price file")])
    check_slots(community, slots)
    grid = community.grid
    offset = (grid.origin - prices.origin).total_seconds() / 60
    hours = (np.arange(slots.start, slots.stop, slots.step, dtype=np.int64) * grid.minutes + int(offset)) // MINUTES_PER_HOUR
    if hours.size and (hours.min() < 0 or hours.max() >= prices.micro_per_kwh.size):
        last = prices.micro_per_kwh.size - 1
        fault = Fault("prices", "hours", f"{hours.min()}..{hours.max()}", f"hours 0..{last} of the file")
        raise InputError("wholesale prices", [fault])
    return np.asarray(prices.micro_per_kwh[hours], dtype=np.int64)


def network(community: Community) -> Network:
    """The network of the community's feeder."""
    return Network.from_arrays(community.data.network)


def member_bus(community: Community) -> Int64:
    """The index of each member's bus in the network, int64 [n]."""
    index = {str(name): k for k, name in enumerate(community.data.network["bus_names"])}
    return np.array([index[member.node] for member in community.members], dtype=np.int64)


def check_slots(community: Community, slots: range) -> None:
    """InputError unless every slot is inside the data."""
    available = community.slot_count
    if len(slots) and not (min(slots) >= 0 and max(slots) < available):
        first, last = community.grid.local(0), community.grid.local(available - 1)
        expected = f"slots 0 to {available - 1} ({first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} {community.grid.timezone})"
        raise InputError("series", [Fault("series", "slots", f"{min(slots)}..{max(slots)}", expected)])


def _source(slots: range, longer: int, shorter: int) -> range | Int64:
    """The data's slots that `slots` are made of: `longer` for each of them, or one for every `shorter` of them."""
    if slots.step == 1 and shorter == 1:
        return range(slots.start * longer, slots.stop * longer) if len(slots) else range(0)
    each = np.arange(slots.start, slots.stop, slots.step, dtype=np.int64) // shorter
    return np.asarray((each[:, None] * longer + np.arange(longer)).ravel(), dtype=np.int64)


def _shifted(profile: NDArray[Whole], source: range | Int64, shift: int) -> NDArray[Whole]:
    """A profile at `source` + `shift`, wrapped around the ends of the data; a view where it is one stretch."""
    if isinstance(source, range):
        first = (source.start + shift) % profile.size
        if first + len(source) <= profile.size:
            return profile[first : first + len(source)]
        source = np.arange(source.start, source.stop, dtype=np.int64)
    wrapped: NDArray[Whole] = profile[(source + shift) % profile.size]
    return wrapped


def _to_wh(shares: Int64, minutes: int) -> Int64:
    """Power in W * ACTIVE_SCALE held for `minutes`, [n, T], to Wh [T, n], rounded half up."""
    divisor = MINUTES_PER_HOUR * ACTIVE_SCALE
    shares *= minutes
    shares += divisor // 2
    shares //= divisor
    return np.ascontiguousarray(shares.T)
