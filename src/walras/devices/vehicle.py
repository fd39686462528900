"""Electric vehicles as stores that must be full when they leave: sessions from charging profiles, and the worth of charging early.

Profiles of charging power hold no sessions, so the rule that makes them is stated here: a run of slots with energy is one session;
it arrives with the run, needs the run's energy, and may stay until `stay_slots` after its arrival (or the end of the run, if that
is later), but leaves before the next run begins. The charger's limit is the most that the vehicle ever takes in one slot.

A vehicle is then a battery of the fleet that cannot give: what it stores is energy at the terminals (no losses), "full" means ready
to leave. Away, it is full and does nothing; arriving, it is short of exactly its session's energy (`plug_in`). A Wh missing at
departure costs `penalty`, more than any price: so the value of stored energy, by the same exact dynamic programming as for
batteries, charges in the cheapest slots and never leaves anyone standing. Orders and dispatch need nothing new.

One store a member trades: where a member has a battery too, the vehicle follows its own plan alone and is part of the net load
that the battery sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.devices.battery import PPM, UWH_PER_WH, BatteryFleet
from walras.devices.battery_merge import new_work
from walras.devices.battery_plan import FULL_ROWS, FULL_WORK, MAX_VALUE, PIECES, ValueTable, lengthen, plan_one
from walras.errors import Fault, InputError, RangeError
from walras.units import Int64, as_int64

DAY_SLOTS = 96


@dataclass(frozen=True, slots=True)
class Sessions:
    """Charging sessions as columns, sorted by member, then arrival; of one member they do not overlap.

    member [n] row among the members; arrival, departure [n] slots (the departure is not a slot of the session);
    energy_wh [n] needed by departure; limit_wh [n] most that the member's charger gives in one slot
    """

    member: Int64
    arrival: Int64
    departure: Int64
    energy_wh: Int64
    limit_wh: Int64

    @property
    def count(self) -> int:
        """Number of sessions."""
        return int(self.member.size)


def sessions_from_series(charging_wh: Int64, first_slot: int, stay_slots: int = DAY_SLOTS // 2) -> Sessions:
    """Sessions from what vehicles of each member take: `charging_wh` [T, members] >= 0, slots from `first_slot` on.

    >>> s = sessions_from_series(np.array([[0], [500], [500], [0], [0], [0], [200], [0]]), 100, stay_slots=4)
    >>> s.arrival.tolist(), s.departure.tolist(), s.energy_wh.tolist(), s.limit_wh.tolist()
    ([101, 106], [105, 108], [1000, 200], [500, 500])
    """
    faults = []
    if charging_wh.ndim != 2 or (charging_wh.size and int(charging_wh.min()) < 0):
        faults.append(Fault("sessions", "charging_wh", charging_wh.shape, "[slots, members] of energies >= 0"))
    if stay_slots < 1:
        faults.append(Fault("sessions", "stay_slots", stay_slots, "at least 1"))
    if faults:
        raise InputError("vehicle sessions", faults)
    slots = charging_wh.shape[0]
    on = np.zeros((slots + 2, charging_wh.shape[1]), dtype=np.int8)
    on[1:-1] = charging_wh > 0
    edge = np.diff(on, axis=0).T
    member, begin = np.nonzero(edge == 1)
    _, end = np.nonzero(edge == -1)
    after = np.append(begin[1:], slots)
    after[np.append(member[1:] != member[:-1], True)[: member.size]] = slots
    after = after[: member.size]
    total = np.zeros((slots + 1, charging_wh.shape[1]), dtype=np.int64)
    np.cumsum(charging_wh, axis=0, out=total[1:])
    most = charging_wh.max(axis=0) if slots else np.zeros(charging_wh.shape[1], dtype=np.int64)
    return Sessions(
        as_int64(member, "member"),
        as_int64(begin + first_slot, "arrival"),
        as_int64(np.minimum(after, np.maximum(end, begin + stay_slots)) + first_slot, "departure"),
        as_int64(total[end, member] - total[begin, member], "energy_wh"),
        as_int64(most[member], "limit_wh"),
    )


def vehicle_fleet(sessions: Sessions) -> BatteryFleet:
    """One store for each member with a session, as large as its largest session, full and away at the start."""
    member, first = np.unique(sessions.member, return_index=True)
    capacity = np.maximum.reduceat(sessions.energy_wh, first) if member.size else np.zeros(0, dtype=np.int64)
    none, whole = np.zeros_like(member), np.full_like(member, PPM)
    return BatteryFleet(
        member=as_int64(member, "member"),
        capacity_uwh=as_int64(capacity * UWH_PER_WH, "capacity_uwh"),
        charge_limit_wh=as_int64(sessions.limit_wh[first], "charge_limit_wh"),
        discharge_limit_wh=as_int64(none, "discharge_limit_wh"),
        gain_ppm=as_int64(whole, "gain_ppm"),
        drain_ppm=as_int64(whole, "drain_ppm"),
        initial_uwh=as_int64(capacity * UWH_PER_WH, "initial_uwh"),
    )


def plug_in(fleet: BatteryFleet, sessions: Sessions, slot: int, soc_uwh: Int64) -> tuple[Int64, Int64]:
    """Departures and arrivals at the start of `slot`: (stored energy [n] uWh, Wh [n] that a leaving vehicle still lacked)."""
    soc, missing = soc_uwh.copy(), np.zeros_like(soc_uwh)
    leaving = np.searchsorted(fleet.member, sessions.member[sessions.departure == slot])
    missing[leaving] = -(-(fleet.capacity_uwh[leaving] - soc[leaving]) // UWH_PER_WH)
    soc[leaving] = fleet.capacity_uwh[leaving]
    here = sessions.arrival == slot
    coming = np.searchsorted(fleet.member, sessions.member[here])
    soc[coming] = fleet.capacity_uwh[coming] - sessions.energy_wh[here] * UWH_PER_WH
    return soc, missing


def default_penalty(buy_micro: Int64, sell_micro: Int64) -> int:
    """Cost of a kWh missing at departure, micro/kWh: ten times the dearest price of the horizon, and 1.00 at least."""
    return 10 * int(max(np.abs(buy_micro).max(initial=0), np.abs(sell_micro).max(initial=0), 100_000))


def plan_sessions(
    fleet: BatteryFleet,
    sessions: Sessions,
    first_slot: int,
    net_wh: Int64,
    buy_micro: Int64,
    sell_micro: Int64,
    *,
    keep: int,
    penalty_micro: int | None = None,
) -> ValueTable:
    """The value of stored energy after each of the first `keep` slots; nothing (no segments) while a vehicle is away.

    `net_wh`, `buy_micro`, `sell_micro` [horizon, n] as for batteries, slots from `first_slot`. The horizon must reach the
    departure of every session that overlaps the kept slots; InputError where it does not.
    """
    horizon = net_wh.shape[0]
    open_now = (sessions.departure > first_slot) & (sessions.arrival < first_slot + keep)
    rows = np.flatnonzero(open_now)
    faults = [
        Fault(f"session {r}", "departure", int(sessions.departure[r]), f"at most {first_slot + horizon}, the end of the horizon")
        for r in rows[sessions.departure[rows] > first_slot + horizon]
    ]
    if net_wh.shape != (horizon, fleet.count) or buy_micro.shape != net_wh.shape or sell_micro.shape != net_wh.shape:
        faults.append(Fault("plan", "shape", (net_wh.shape, buy_micro.shape, sell_micro.shape), f"[horizon, {fleet.count}] each"))
    if faults:
        raise InputError("vehicle plan", faults)
    penalty = default_penalty(buy_micro, sell_micro) if penalty_micro is None else penalty_micro
    if fleet.count and int(fleet.capacity_uwh.max()) * max(penalty, 1) > MAX_VALUE:
        raise RangeError(f"vehicle plan: a penalty of {penalty} micro/kWh leaves int64", thing="penalty_micro")
    slope, edge = np.empty((2, PIECES), np.int64)
    start, count = np.zeros((2, fleet.count, keep), np.int64)
    convex = np.ones(fleet.count, np.bool_)
    work, cursor = new_work(PIECES), 0
    for r in rows.tolist():
        j = int(np.searchsorted(fleet.member, sessions.member[r]))
        a = max(int(sessions.arrival[r]) - first_slot, 0)
        b = int(sessions.departure[r]) - first_slot
        net = np.ascontiguousarray(net_wh[a:b, j])
        buy, sell = (np.ascontiguousarray(price[a:b, j], dtype=np.float64) for price in (buy_micro, sell_micro))
        battery = (int(fleet.capacity_uwh[j]), int(fleet.charge_limit_wh[j]), 0, PPM, PPM)
        inside, used = min(b, keep) - a, FULL_ROWS
        while used < 0:
            used, _, kept = plan_one(
                net, buy, sell, battery, float(penalty), inside, start[j, a:], count[j, a:], slope, edge, cursor, work
            )
            if used == FULL_WORK:
                work = new_work(2 * work.shape[1])
            elif used == FULL_ROWS:
                slope, edge = lengthen(slope), lengthen(edge)
        cursor = used
        convex[j] &= kept
    return ValueTable(start.T.copy(), count.T.copy(), slope[:cursor].copy(), edge[:cursor].copy(), convex)


def join_fleets(one: BatteryFleet, other: BatteryFleet) -> BatteryFleet:
    """Both fleets as one, ascending by member; InputError where a member would have two stores."""
    both = np.intersect1d(one.member, other.member)
    if both.size:
        faults = [Fault("fleet", "member", int(m), "one store a member; let the second follow its plan alone") for m in both]
        raise InputError("fleet", faults)
    order = np.argsort(np.concatenate([one.member, other.member]), kind="stable")
    names = BatteryFleet.__slots__
    columns = [np.concatenate([getattr(one, name), getattr(other, name)])[order] for name in names]
    return BatteryFleet(*(as_int64(column, name) for column, name in zip(columns, names, strict=True)))


def join_values(one: BatteryFleet, one_values: ValueTable, other: BatteryFleet, other_values: ValueTable) -> ValueTable:
    """The value table of `join_fleets(one, other)` from those of its parts, over the same slots."""
    if one_values.slots != other_values.slots:
        raise InputError("values", [Fault("values", "slots", (one_values.slots, other_values.slots), "the same slots")])
    order = np.argsort(np.concatenate([one.member, other.member]), kind="stable")
    shifted = other_values.start + one_values.slope.size
    return ValueTable(
        np.ascontiguousarray(np.concatenate([one_values.start, shifted], axis=1)[:, order]),
        np.ascontiguousarray(np.concatenate([one_values.count, other_values.count], axis=1)[:, order]),
        np.concatenate([one_values.slope, other_values.slope]),
        np.concatenate([one_values.edge, other_values.edge]),
        np.concatenate([one_values.concave, other_values.concave])[order],
    )
