"""A day ahead on the wires: the schedule of batteries, cars and waiting loads that is worth most with the orders of every slot.

The rule: what a schedule is worth is never modelled but measured: with the powers of the stores given, every slot is cleared
exactly (`optimum.dispatch`, AC, all limits). A linear program of the whole day (`day_program.py`), linearised at that clearing,
proposes a better schedule within a trust region; it is taken only if the measured worth rises, and the region shrinks or grows
with how much of the promise was kept. `bound` is the least that a program without a region promised: where prices are positive
nothing can be worth more, so bound - worth is how far the plan can be from the optimum; the day ends when that is next to nothing.

Then each slot is cleared by itself around the plan (`with_schedule`): the stores bid their scheduled energy, either so that it is
filled unless a limit forbids (firm) or at what stored energy is worth to them (soft).

Requirements of a slot (carbon, reserve) hold for its orders; stores count for neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from walras.errors import Fault, InputError
from walras.grid.day_program import Cut, DayProgram, Proposal, SlotRows
from walras.grid.feeder import FeederSlot, Groups, group_orders
from walras.grid.network import Float, Int
from walras.grid.optimum import Dispatch, dispatch
from walras.grid.point import Work
from walras.grid.rows import LimitRows
from walras.grid.stores import Stores
from walras.market.orders import BUY, SELL, Orders, make_orders
from walras.units import MAX_PRICE_MICRO_PER_KWH

ROUNDS = 40
ENOUGH = 2e-6
"""The plan stands when no more than this part of the day's worth can be missing (bound - worth), or a tenth of it is promised."""

_PENALTY = 30.0
"""A kW beyond a limit, over the spread of the books: dearer than any relief by orders, near enough to keep the program scaled."""

_CUTS = 6
"""Tangents of the balance kept for a slot."""

_BOTH_KW = 1e-6


@dataclass(frozen=True, eq=False)
class DayPlan:
    """The schedule of the stores.

    charge_kw, discharge_kw, level_kwh [T, n]; node_price [T, buses] micro per kWh; stored_value [T, n] micro per kWh inside, after
    each slot; worth of the orders in micro, bound: no plan is worth more; short_kw what no schedule can mend; `rounds` of programs
    """

    charge_kw: Float
    discharge_kw: Float
    level_kwh: Float
    node_price: Float
    stored_value: Float
    worth: float
    bound: float
    short_kw: float
    rounds: int


class Day:
    """The slots of a day with their books: exact worth of a schedule and its linear rows (working memory of one plan)."""

    def __init__(self, slots: Sequence[FeederSlot], books: Sequence[Orders]) -> None:
        if len(slots) != len(books) or not slots or any(slot.network is not slots[0].network for slot in slots):
            expected = "one book a slot, at least one, all on the same network"
            raise InputError("day", [Fault("day", "slots", (len(slots), len(books)), expected)])
        self.slots = slots
        self.groups: list[Groups] = [group_orders(book, slot) for book, slot in zip(books, slots, strict=True)]
        self.hours = np.array([slot.hours for slot in slots])
        prices = np.concatenate([group.price for group in self.groups])
        self.penalty = _PENALTY * max(float(np.ptp(prices)) if prices.size else 0.0, 1e5)
        self.limits = [LimitRows() for _ in slots]
        self.cuts: list[list[Cut]] = [[] for _ in slots]

    def measure(self, taken: Float, before: Measured | None = None) -> Measured:
        """The exact clearing of every slot with `taken` [T, buses] kW beside its orders; slots that did not change are kept."""
        optima, rows, worth, short = [], [], np.zeros(len(self.slots)), np.zeros(len(self.slots))
        for t, (slot, groups) in enumerate(zip(self.slots, self.groups, strict=True)):
            if before is not None and np.abs(taken[t] - before.taken[t]).max() <= 1e-9:
                optima.append(before.optima[t])
                rows.append(before.rows[t])
                worth[t], short[t] = before.worth[t], before.short[t]
                continue
            found = dispatch(slot, groups, taken_kw=taken[t])
            self.limits[t].enter(found.limit_kind, found.limit_place)
            optima.append(found)
            rows.append(None)
            worth[t] = float(np.sum(groups.side * groups.price * found.fill_kw))
            reach = np.abs(found.gradient[:, slot.network.wires.order[groups.place]] * groups.side + found.own).max(
                axis=1, initial=0
            )
            short[t] = float(np.sum(found.short / np.where(reach > 0, reach, 1.0)))
        return Measured(taken, optima, rows, worth, short, float(np.sum(self.hours * (worth - self.penalty * short))))

    def rows(self, at: Measured) -> list[SlotRows]:
        """The linear rows of every slot at a measured schedule, for every limit that was ever in play there, and the tangents of
        the balance at the schedules measured last, where energy is worth something.
        """
        rows = [self._slot_rows(t, at) for t in range(len(self.slots))]
        worth = [float(optimum.node_price().min()) > 0 for optimum in at.optima]
        return [replace(row, cuts=tuple(self.cuts[t][-_CUTS:]) if worth[t] else ()) for t, row in enumerate(rows)]

    def _slot_rows(self, t: int, at: Measured) -> SlotRows:
        kept, limits = at.rows[t], self.limits[t]
        if kept is not None and kept.right.size == 1 + len(limits.kind):
            return kept
        slot, groups = self.slots[t], self.groups[t]
        work = Work(slot, groups, at.taken[t])
        work.step(at.optima[t].fill_kw.copy())
        rows = work.rows(limits)
        to_bus, coefficients = rows.by_place[:, slot.network.wires.place], rows.of(groups, np.arange(groups.price.size))
        found = SlotRows(groups, work.upper, coefficients, to_bus, rows.right + to_bus @ at.taken[t])
        if kept is None:
            self.cuts[t].append((coefficients[0], to_bus[0], float(found.right[0])))
        at.rows[t] = found
        return found


@dataclass(eq=False)
class Measured:
    """A schedule and what it is exactly worth; `rows` are filled in when they are asked for."""

    taken: Float
    optima: list[Dispatch]
    rows: list[SlotRows | None]
    worth: Float
    short: Float
    total: float


def plan_day(slots: Sequence[FeederSlot], books: Sequence[Orders], stores: Stores) -> DayPlan:
    """The schedule of `stores` that is worth most. `books` hold everyone else, the supplier included (`add_supplier`).

    Raises InputError for stores that do not fit the day or stand at the root, ClearingError where no schedule keeps the bands.
    """
    day = Day(slots, books)
    _check(day, stores)
    charge, discharge = np.zeros((2, stores.slots, stores.count))
    most = (stores.charge_kw, stores.discharge_kw)
    at = day.measure(_taken(day, stores, charge, discharge))
    never_both: list[tuple[int, int]] = []
    radius, started, bound, proposal = 1.0, False, np.inf, None
    rounds = 0
    while rounds < ROUNDS:
        rounds += 1
        program = DayProgram(day.rows(at), stores, day.hours, day.penalty)
        proposal = _propose(program, stores, (charge, discharge), radius, never_both)
        promised, enough = proposal.value - at.total, ENOUGH * max(abs(at.total), 1.0)
        if started and radius < 1.0 and promised <= 5 * enough:  # nearly there: how far can it be at most?
            bound = min(bound, _propose(program, stores, (charge, discharge), 1.0, never_both).value)
        bound = min(bound, proposal.value) if radius == 1.0 else bound
        if started and (promised <= enough / 10 or bound - at.total <= enough or radius < 1e-5):
            break
        new = day.measure(_taken(day, stores, proposal.charge, proposal.discharge), at)
        gained = new.total - at.total
        if gained > 0.1 * promised or not started:  # the start, all at rest, need not keep the bands
            at, charge, discharge, started = new, proposal.charge, proposal.discharge, True
            radius = min(1.0, radius * 2) if gained > 0.75 * promised else radius
        else:
            day.rows(new)  # its tangents say what was wrong with it
            radius /= 2
    assert proposal is not None
    price = np.array([optimum.node_price() for optimum in at.optima])
    level = stores.level(charge, discharge, day.hours)
    worth = float(np.sum(day.hours * at.worth))
    return DayPlan(
        np.clip(charge, 0.0, most[0]), np.clip(discharge, 0.0, most[1]), level, price, proposal.stored_value, worth, bound,
        float(at.short.max(initial=0.0)), rounds,
    )  # fmt: skip


def _check(day: Day, stores: Stores) -> None:
    network, faults = day.slots[0].network, []
    if stores.slots != len(day.slots):
        faults.append(Fault("stores", "slots", stores.slots, f"{len(day.slots)}, as the day has"))
    for i in np.flatnonzero((stores.bus < 0) | (stores.bus >= network.buses) | (stores.bus == network.root)):
        expected = f"a bus below {network.buses} that is not the root (the root is the grid above)"
        faults.append(Fault(f"store {i}", "bus", int(stores.bus[i]), expected))
    if faults:
        raise InputError("plan of the day", faults)


def _taken(day: Day, stores: Stores, charge: Float, discharge: Float) -> Float:
    taken = np.zeros((len(day.slots), day.slots[0].network.buses))
    np.add.at(taken.T, stores.bus, (charge - discharge).T)
    return taken


def _propose(
    program: DayProgram, stores: Stores, now: tuple[Float, Float], radius: float, never_both: list[tuple[int, int]]
) -> Proposal:
    """The best schedule within `radius` (part of each store's power) of now. A store that would charge and discharge at once
    (losses are welcome at negative prices) is held to one of the two in that slot from then on.
    """
    most = (stores.charge_kw, stores.discharge_kw)
    least = tuple(
        np.clip(x - radius * m.max(axis=0, initial=0), 0, m) if radius < 1 else 0 * m for x, m in zip(now, most, strict=True)
    )
    high = tuple(np.clip(x + radius * m.max(axis=0, initial=0), 0, m) if radius < 1 else m for x, m in zip(now, most, strict=True))
    nowhere: Int = np.zeros(0, dtype=np.int64)
    while True:
        found = program.solve((least[0], least[1]), (high[0], high[1]), None, nowhere, np.zeros(0), never_both)
        both = np.argwhere((found.charge > _BOTH_KW) & (found.discharge > _BOTH_KW))
        fresh = [(int(t), int(i)) for t, i in both if (int(t), int(i)) not in never_both]
        if not fresh:
            return found
        never_both += fresh


def with_schedule(
    book: Orders, slot: FeederSlot, plan: DayPlan, t: int, stores: Stores, participant: Int, *, firm: bool = True
) -> Orders:
    """The book of slot `t` with the stores' orders at the end: their scheduled energy in whole Wh, rounded down.

    firm: beyond every price of the book, so that only a limit can keep it from being filled. Otherwise at what stored
    energy is worth: a bid at value * in_efficiency, an ask at value / out_efficiency. Ids follow the largest in the book.
    """
    net = plan.charge_kw[t] - plan.discharge_kw[t]
    wh = np.floor(np.abs(net) / slot.kw_per_wh + 1e-6).astype(np.int64)
    rows = np.flatnonzero(wh > 0)
    side = np.where(net[rows] > 0, BUY, SELL)
    if firm:
        price = firm_price(book, side)
    else:
        value = plan.stored_value[t, rows]
        price = np.rint(np.where(side == BUY, value * stores.in_efficiency[rows], value / stores.out_efficiency[rows])).astype(
            np.int64
        )
    first, late = int(book.id.max(initial=-1)) + 1, int(book.time.max(initial=-1)) + 1
    return make_orders(
        np.concatenate([book.side, side]),
        np.concatenate([book.quantity_wh, wh[rows]]),
        np.concatenate([book.price_micro_per_kwh, price]),
        participant=np.concatenate([book.participant, np.asarray(participant)[rows]]),
        id=np.concatenate([book.id, first + np.arange(rows.size)]),
        time=np.concatenate([book.time, np.full(rows.size, late)]),
        node=np.concatenate([book.node, stores.bus[rows]]),
    )


def firm_price(book: Orders, side: Int) -> Int:
    """A limit for each side that no price in the book comes near, losses and congestion included."""
    prices = book.price_micro_per_kwh
    highest, lowest = (int(prices.max()), int(prices.min())) if book.count else (0, 0)
    away = max(highest - lowest, abs(highest), abs(lowest), 100_000)
    most = MAX_PRICE_MICRO_PER_KWH
    return np.where(side == BUY, min(highest + away, most), max(lowest - away, -most))
