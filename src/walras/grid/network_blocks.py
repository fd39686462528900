"""Block orders on the wires: all-or-nothing over several slots, at a bus, beside the ordinary orders of every slot.

The rule: a mixed-integer program of the day with linear network rows (`day_program.py`) proposes which blocks to accept; the
proposal is measured by the exact AC clearing of every slot, linearised there and proposed again until the choice repeats, and the
choice worth most *as measured* stands. With the blocks fixed each slot is cleared by itself, the blocks as orders that must be
filled, and every accepted block is then held against the prices of its bus:

no block loses    a block that would pay above its limit (a buyer) or get below it (a seller) over all its slots is rejected,
                  the one that loses most first, and the day is done again: accepted blocks never lose, a rejected one may have
                  gained (as on the coupled European market).
kept whole        a block that some limit does not let through in full, to the Wh, is rejected too.

Sources: Madani and Van Vyve, "Computationally efficient MIP formulation and algorithms for European day-ahead electricity market
auctions", EJOR 242 (2015), on paradoxically rejected blocks; the records of blocks are those of `market/block_book.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from walras.errors import Fault, InputError
from walras.grid.coupled import Day, firm_price
from walras.grid.day_program import DayProgram
from walras.grid.feeder import FeederSlot
from walras.grid.network import Float, Int
from walras.grid.nodal import clear
from walras.grid.stores import Stores, battery_stores
from walras.market.block_book import Options
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.orders import BUY, Orders, make_orders
from walras.units import Int64

ROUNDS = 12

_HAIR = 10
"""Micro per kWh: what whole prices are exact to."""


@dataclass(frozen=True, eq=False)
class BlockDay:
    """The cleared day.

    steps [m]           accepted ratio of each option in its steps (0: rejected), energy exact by `Options.energy_at`
    books, clearings    of every slot; the accepted blocks' orders are the last rows of the book, `rows[t]` names their options
    pay_nano [m]        what each option pays over all slots; gain_nano [m] its limit times its energy less that, never negative
    worth, bound        micro: of orders and blocks as measured before any rejection for loss, and the program's upper bound on it
    final_worth         micro: of the day as it stands
    lost, not_whole     options rejected because they would have lost, or because the wires did not carry them whole
    """

    steps: Int64
    books: tuple[Orders, ...]
    clearings: tuple[Clearing, ...]
    rows: tuple[Int, ...]
    pay_nano: Int64
    gain_nano: Int64
    worth: float
    bound: float
    final_worth: float
    lost: tuple[int, ...]
    not_whole: tuple[int, ...]


def clear_blocks(
    slots: Sequence[FeederSlot], books: Sequence[Orders], blocks: Options, bus: Int, participant: Int, conventions: Conventions
) -> BlockDay:
    """Clear a day with blocks. `bus`, `participant` by block (as in `blocks.names`); `books` hold the supplier (`add_supplier`).

    Raises InputError for blocks that do not fit the day, or that stand at the root.
    """
    _check(slots, blocks, bus)
    day, at_bus = Day(slots, books), np.asarray(bus, dtype=np.int64)[blocks.block]
    allowed = np.ones(blocks.count)
    lost: list[int] = []
    not_whole: list[int] = []
    first: tuple[float, float] | None = None
    while True:
        steps, worth, bound = _choose(day, blocks, at_bus, allowed)
        first = first or (worth, bound)
        cleared = _clear_slots(slots, books, blocks, steps, at_bus, np.asarray(participant)[blocks.block], conventions)
        filled_short, gain, pay = _judge(blocks, *cleared, conventions.grid_fee_micro_per_kwh)
        if filled_short.any():
            out, reason = int(np.argmax(filled_short)), not_whole
        elif (gain < 0).any():
            out, reason = int(np.argmin(gain)), lost
        else:
            return BlockDay(steps, *cleared, pay, gain, *first, worth, tuple(lost), tuple(not_whole))
        allowed[out] = 0.0
        reason.append(out)


def _check(slots: Sequence[FeederSlot], blocks: Options, bus: Int) -> None:
    faults = []
    if blocks.energy.shape[1] != len(slots):
        faults.append(Fault("blocks", "quantity_wh", f"{blocks.energy.shape[1]} slots", f"{len(slots)} slots, as the day has"))
    if len(bus) != len(blocks.names):
        faults.append(Fault("blocks", "bus", len(bus), f"one bus for each of {len(blocks.names)} blocks"))
    elif slots:
        network = slots[0].network
        faults += [
            Fault(f"block {name!r}", "bus", int(b), f"a bus below {network.buses} that is not the root")
            for name, b in zip(blocks.names, bus, strict=True)
            if not 0 <= b < network.buses or b == network.root
        ]
    if faults:
        raise InputError("blocks on the network", faults)


def _powers(day: Day, blocks: Options, steps: Int64, at_bus: Int) -> Float:
    """[T, buses] kW that the accepted blocks take."""
    kw = blocks.side[:, None] * blocks.energy_at(steps) / 1000.0 / day.hours
    taken = np.zeros((len(day.slots), day.slots[0].network.buses))
    np.add.at(taken.T, at_bus, kw)
    return taken


def _choose(day: Day, blocks: Options, at_bus: Int, allowed: Float) -> tuple[Int64, float, float]:
    """(steps, worth as measured, the program's bound) of the best choice among the allowed."""
    nothing: Stores = battery_stores(len(day.slots), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))
    none = np.zeros((len(day.slots), 0))
    unit = blocks.side * blocks.price * (blocks.energy // blocks.steps[:, None]).sum(axis=1) / 1000.0
    steps = np.zeros(blocks.count, dtype=np.int64)
    at = day.measure(_powers(day, blocks, steps, at_bus))
    best, best_steps, bound = at.total, steps, np.inf
    seen = {steps.tobytes()}
    for _ in range(ROUNDS):
        program = DayProgram(day.rows(at), nothing, day.hours, day.penalty)
        proposal = program.solve((none, none), (none, none), blocks, at_bus, allowed)
        bound = min(bound, proposal.value)
        steps = np.floor(proposal.ratio * blocks.steps + 1e-6).astype(np.int64)
        steps = np.where(steps < blocks.least, 0, steps)
        at = day.measure(_powers(day, blocks, steps, at_bus), at)
        worth = at.total + float(np.sum(unit * steps))
        if worth > best:
            best, best_steps = worth, steps
        if steps.tobytes() in seen:
            break
        seen.add(steps.tobytes())
    return best_steps, best, bound


def _clear_slots(
    slots: Sequence[FeederSlot], books: Sequence[Orders], blocks: Options, steps: Int64, at_bus: Int, participant: Int,
    conventions: Conventions,
) -> tuple[tuple[Orders, ...], tuple[Clearing, ...], tuple[Int, ...]]:  # fmt: skip
    """Every slot by itself, the accepted blocks' energy at prices beyond every other of the book."""
    energy = blocks.energy_at(steps)
    with_blocks, clearings, named = [], [], []
    for t, (slot, book) in enumerate(zip(slots, books, strict=True)):
        rows = np.flatnonzero(energy[:, t] > 0)
        side = blocks.side[rows]
        price = firm_price(book, side)
        first, late = int(book.id.max(initial=-1)) + 1, int(book.time.max(initial=-1)) + 1
        joined = make_orders(
            np.concatenate([book.side, side]),
            np.concatenate([book.quantity_wh, energy[rows, t]]),
            np.concatenate([book.price_micro_per_kwh, price]),
            participant=np.concatenate([book.participant, participant[rows]]),
            id=np.concatenate([book.id, first + np.arange(rows.size)]),
            time=np.concatenate([book.time, np.full(rows.size, late)]),
            node=np.concatenate([book.node, at_bus[rows]]),
        )
        with_blocks.append(joined)
        clearings.append(clear(joined, conventions, slot))
        named.append(rows)
    return tuple(with_blocks), tuple(clearings), tuple(named)


def _judge(
    blocks: Options, books: tuple[Orders, ...], clearings: tuple[Clearing, ...], rows: tuple[Int, ...], fee: int
) -> tuple[Int64, Int64, Int64]:
    """By option: Wh not filled, gain and payment in nano. A loss below `_HAIR` a kWh is rounding: the operator bears it."""
    missing, pay, traded = np.zeros((3, blocks.count), dtype=np.int64)
    for book, done, named in zip(books, clearings, rows, strict=True):
        mine = slice(book.count - named.size, book.count)
        missing[named] += book.quantity_wh[mine] - done.filled_wh[mine]
        pay[named] += done.pay_nano[mine]
        traded[named] += done.filled_wh[mine]
    limit = blocks.side * (blocks.price + np.where(blocks.side == BUY, fee, 0)) * traded
    pay = np.where((pay > limit) & (pay <= limit + _HAIR * traded), limit, pay)
    return missing, limit - pay, pay
