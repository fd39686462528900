"""A limit order book as a value: `step(book, events) -> (book, result)`; the old book stays what it was.

Rule: price, then time. An incoming order trades against the best resting price, at that price, and among equal prices
against the order that rests longest; what is left rests, or lapses, as its type says. One lane a delivery slot: orders of
different slots never meet, and every order of a slot expires when the slot's gate closes. Prices lie on a grid `lowest +
i * tick`.

Order types (Harris, "Trading and Exchanges", 2003, chapter 4):

limit                 trades up to its price, the rest rests until it is filled, cancelled or the gate closes. In a market
                      for delivery "good until gate closure" is what a resting order is, so `good_until_gate_closure`
                      names the same type
market                trades at any price of the grid, the rest lapses
immediate_or_cancel   trades up to its price, the rest lapses
fill_or_kill          all at once within its price, or nothing
post_only             rests, or is refused if it would trade

An amendment that lowers the quantity at the same price keeps its place in the queue; any other loses it: the order leaves
and enters again as a new one. Only the participant who entered an order may amend or cancel it. A refused event changes
nothing; its status says why. Times never go backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from walras.errors import Fault, InputError
from walras.market import _order_kernel as kernel
from walras.units import MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH, Int64, as_int64

SelfTradePolicy = Literal["allow", "cancel_newest", "cancel_oldest", "cancel_both"]
SELF_TRADE_POLICIES: tuple[str, ...] = get_args(SelfTradePolicy)

KINDS = {"new": kernel.NEW, "cancel": kernel.CANCEL, "amend": kernel.AMEND, "clock": kernel.CLOCK_TICK}
ORDER_TYPES = {
    "limit": kernel.LIMIT,
    "good_until_gate_closure": kernel.LIMIT,
    "market": kernel.MARKET,
    "immediate_or_cancel": kernel.IMMEDIATE_OR_CANCEL,
    "fill_or_kill": kernel.FILL_OR_KILL,
    "post_only": kernel.POST_ONLY,
}
STATUS = {
    kernel.RESTING: "resting",
    kernel.FILLED: "filled",
    kernel.LAPSED: "lapsed",
    kernel.CANCELLED: "cancelled",
    kernel.REDUCED: "reduced in place",
    kernel.STOPPED: "stopped by self-trade prevention",
    kernel.ADVANCED: "clock advanced",
    kernel.UNKNOWN_ORDER: "refused: no such order in the book",
    kernel.NOT_OWNER: "refused: the order is another participant's",
    kernel.DUPLICATE_ID: "refused: an order with this id is in the book",
    kernel.BAD_PRICE: "refused: the price is not on the grid",
    kernel.BAD_QUANTITY: "refused: the quantity is not positive",
    kernel.GATE_CLOSED: "refused: the gate of the slot has closed",
    kernel.WOULD_CROSS: "refused: post-only order would trade",
    kernel.UNKNOWN_SLOT: "refused: the book has no such slot",
    kernel.BAD_KIND: "refused: no such kind, type or side",
    kernel.BACK_IN_TIME: "refused: earlier than the book's clock",
}
REASONS = ("cancelled", "expired", "self_trade", "lapsed", "reduced", "replaced")

MAX_LEVELS = 2**24
FIRST_CAPACITY = 1024


@dataclass(frozen=True, slots=True)
class BookRules:
    """What one book trades: the grid of prices, the delivery slots with their gate closures, and self-trade prevention.

    Prices are `lowest_price_micro_per_kwh + i * tick_micro_per_kwh` for 0 <= i < levels. Slot `first_slot + j` closes at
    `gate_closures[j]`, in the unit of the events' times. Raises InputError with every fault.
    """

    lowest_price_micro_per_kwh: int
    tick_micro_per_kwh: int
    levels: int
    gate_closures: tuple[int, ...] = (int(kernel.NEVER),)
    first_slot: int = 0
    self_trade: SelfTradePolicy = "allow"

    def __post_init__(self) -> None:
        highest = self.lowest_price_micro_per_kwh + self.tick_micro_per_kwh * (self.levels - 1)
        limit = MAX_PRICE_MICRO_PER_KWH
        checks = (
            ("tick_micro_per_kwh", self.tick_micro_per_kwh, self.tick_micro_per_kwh >= 1, "1 or more"),
            (
                "levels",
                self.levels,
                1 <= self.levels * len(self.gate_closures) <= MAX_LEVELS,
                f"1 to {MAX_LEVELS} over all slots",
            ),
            (
                "lowest_price_micro_per_kwh",
                self.lowest_price_micro_per_kwh,
                self.lowest_price_micro_per_kwh >= -limit,
                f">= -{limit}",
            ),
            ("highest price", highest, highest <= limit, f"<= {limit}"),
            ("gate_closures", self.gate_closures, len(self.gate_closures) >= 1, "at least one slot"),
            ("self_trade", self.self_trade, self.self_trade in SELF_TRADE_POLICIES, "one of " + ", ".join(SELF_TRADE_POLICIES)),
        )
        faults = [Fault("book rules", name, value, expected) for name, value, good, expected in checks if not good]
        if faults:
            raise InputError("book rules", faults)

    @property
    def level_bits(self) -> int:
        """Bits that number the levels: queues of one slot are `2**level_bits` cells apart."""
        return (self.levels - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Book:
    """An order book: its rules, and the arrays described in `_order_kernel` (read-only)."""

    rules: BookRules
    nodes: Int64
    levels: NDArray[np.int32]
    words: NDArray[np.uint64]
    lanes: Int64
    table: NDArray[np.int32]
    marks: Int64

    @property
    def live_orders(self) -> int:
        """Number of resting orders, all slots."""
        return int(self.marks[kernel.LIVE])

    @property
    def clock(self) -> int:
        """Time of the latest event."""
        return int(self.marks[kernel.CLOCK])


@dataclass(frozen=True, slots=True)
class Events:
    """A batch of events, columns of equal length, applied row after row. Build it with `make_events`.

    For a cancel only id, participant and time count; an amendment's quantity and price are the new ones; a clock event
    only moves the time.
    """

    kind: NDArray[np.int8]
    order_type: NDArray[np.int8]
    side: NDArray[np.int8]
    id: Int64
    participant: Int64
    slot: Int64
    quantity_wh: Int64
    price_micro_per_kwh: Int64
    time: Int64

    @property
    def count(self) -> int:
        """Number of events."""
        return int(self.id.size)

    def between(self, start: int, stop: int) -> Events:
        """The rows from `start` up to `stop`, as views."""
        return Events(*(getattr(self, name)[start:stop] for name in Events.__slots__))


@dataclass(frozen=True, slots=True)
class Fills:
    """Trades, one a row, in the sequence in which they happened; the price is the resting order's. `table` is [8, n] int64."""

    table: Int64

    event = property(lambda self: self.table[0], doc="[n] row of the event that caused the trade")
    slot = property(lambda self: self.table[1], doc="[n] delivery slot")
    buy_id = property(lambda self: self.table[2], doc="[n] id of the buying order")
    sell_id = property(lambda self: self.table[3], doc="[n] id of the selling order")
    buyer = property(lambda self: self.table[4], doc="[n] participant who buys")
    seller = property(lambda self: self.table[5], doc="[n] participant who sells")
    energy_wh = property(lambda self: self.table[6], doc="[n] Wh")
    price_micro_per_kwh = property(lambda self: self.table[7], doc="[n] micro/kWh")

    @property
    def count(self) -> int:
        """Number of trades."""
        return int(self.table.shape[1])


@dataclass(frozen=True, slots=True)
class Removals:
    """Quantity that left the market without a trade, one row each, in sequence. `table` is [6, n] int64; reasons index
    `REASONS`."""

    table: Int64

    event = property(lambda self: self.table[0], doc="[n] row of the event that caused it")
    id = property(lambda self: self.table[1], doc="[n] order")
    participant = property(lambda self: self.table[2], doc="[n] who entered the order")
    slot = property(lambda self: self.table[3], doc="[n] delivery slot")
    quantity_wh = property(lambda self: self.table[4], doc="[n] Wh")
    reason = property(lambda self: self.table[5], doc="[n] index into REASONS")

    @property
    def count(self) -> int:
        """Number of removals."""
        return int(self.table.shape[1])


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a batch did: for each event its status (see `STATUS`) and what it traded at once; all fills; all removals."""

    status: NDArray[np.int8]
    filled_wh: Int64
    fills: Fills
    removals: Removals


def open_book(rules: BookRules, capacity: int = FIRST_CAPACITY) -> Book:
    """An empty book with room for `capacity` orders; `step` makes more room by itself."""
    lanes = np.zeros((len(rules.gate_closures), 3), dtype=np.int64)
    lanes[:, kernel.BEST_BID] = -1
    lanes[:, kernel.BEST_ASK] = rules.levels
    lanes[:, kernel.GATE] = rules.gate_closures
    marks = np.array([0, -1, 0, min(rules.gate_closures), -(2**63), 0, 0], dtype=np.int64)
    return Book(
        rules,
        np.zeros((capacity, 8), dtype=np.int64),
        np.full((lanes.shape[0] << rules.level_bits, 2), -1, dtype=np.int32),
        np.zeros((lanes.shape[0], (rules.levels + 63) // 64), dtype=np.uint64),
        lanes,
        np.full(_table_size(capacity), -1, dtype=np.int32),
        marks,
    )


def make_events(
    id: ArrayLike,
    *,
    kind: ArrayLike = kernel.NEW,
    order_type: ArrayLike = kernel.LIMIT,
    side: ArrayLike = 0,
    participant: ArrayLike = 0,
    slot: ArrayLike = 0,
    quantity_wh: ArrayLike = 0,
    price_micro_per_kwh: ArrayLike = 0,
    time: ArrayLike = 0,
) -> Events:
    """Validated columns; a single value stands for every row. Kinds and types are the codes of `KINDS` and `ORDER_TYPES`.

    Raises InputError for unequal lengths and oversized quantities. What only the book can judge (an unknown order, a
    price off its grid, a closed gate) is refused by `step`, event by event.

    >>> make_events([7, 8], side=[1, -1], quantity_wh=500, price_micro_per_kwh=200_000).count
    2
    """
    ids = as_int64(id, "id")
    given = {
        "kind": kind,
        "order_type": order_type,
        "side": side,
        "participant": participant,
        "slot": slot,
        "quantity_wh": quantity_wh,
        "price_micro_per_kwh": price_micro_per_kwh,
        "time": time,
    }
    columns = {}
    for name, values in given.items():
        column = as_int64(np.atleast_1d(np.asarray(values)), name)
        columns[name] = as_int64(np.repeat(column, ids.size), name) if column.size == 1 != ids.size else column
    faults = [
        Fault("events", name, int(c.size), f"{ids.size} rows, as id has") for name, c in columns.items() if c.size != ids.size
    ]
    for name, most in (("kind", 127), ("order_type", 127), ("side", 127), ("quantity_wh", MAX_ENERGY_WH)):
        faults += [Fault(f"event row {r}", name, int(columns[name][r]), f"at most {most}") for r in _beyond(columns[name], most)]
    limit = MAX_PRICE_MICRO_PER_KWH
    prices = columns["price_micro_per_kwh"]
    faults += [Fault(f"event row {r}", "price_micro_per_kwh", int(prices[r]), f"+-{limit}") for r in _beyond(prices, limit)]
    if faults:
        raise InputError("events", faults)
    small = [columns.pop(name).astype(np.int8) for name in ("kind", "order_type", "side")]
    for code in small:
        code.flags.writeable = False
    return Events(small[0], small[1], small[2], ids, *columns.values())


def _beyond(column: Int64, most: int) -> NDArray[np.intp]:
    return np.flatnonzero((column > most) | (column < -most))


def step(book: Book, events: Events) -> tuple[Book, StepResult]:
    """The book after the events, and what they did. `book` itself is unchanged.

    >>> book = open_book(BookRules(0, 1_000, 500))
    >>> book, _ = step(book, make_events([1, 2], side=-1, quantity_wh=1000, price_micro_per_kwh=[200_000, 180_000]))
    >>> book, done = step(book, make_events([3], side=1, quantity_wh=1500, price_micro_per_kwh=210_000))
    >>> done.fills.energy_wh.tolist(), done.fills.price_micro_per_kwh.tolist()      # the cheaper first, each at its own price
    ([1000, 500], [180000, 200000])
    """
    rules = book.rules
    count = events.count
    live = int(book.marks[kernel.LIVE])
    nodes, table = _with_room(book, max(live + count, int(book.marks[kernel.TOP])))
    levels, words, lanes, marks = book.levels.copy(), book.words.copy(), book.lanes.copy(), book.marks.copy()
    # An event trades with each order that it uses up and at most one more, and an order is used up once: live + 2 * count
    # bounds the fills; the removals likewise.
    fills = np.empty((8, live + 2 * count), dtype=np.int64)
    removed = np.empty((6, live + 2 * count), dtype=np.int64)
    status = np.zeros(count, dtype=np.int8)
    filled = np.zeros(count, dtype=np.int64)
    kernel.run_events(
        nodes,
        levels,
        words,
        lanes,
        table,
        marks,
        (
            rules.lowest_price_micro_per_kwh,
            rules.tick_micro_per_kwh,
            rules.levels,
            rules.level_bits,
            rules.first_slot,
            SELF_TRADE_POLICIES.index(rules.self_trade),
        ),
        (
            events.kind,
            events.order_type,
            events.side,
            events.id,
            events.participant,
            events.slot,
            events.quantity_wh,
            events.price_micro_per_kwh,
            events.time,
        ),
        fills,
        removed,
        status,
        filled,
    )
    made, gone = marks[kernel.N_FILLS], marks[kernel.N_REMOVED]
    result = StepResult(status, filled, Fills(fills[:, :made].copy()), Removals(removed[:, :gone].copy()))
    return Book(rules, nodes[: int(marks[kernel.TOP])], levels, words, lanes, table, marks), result


def _table_size(capacity: int) -> int:
    return 1 << max(4, (2 * capacity - 1).bit_length())


def _with_room(book: Book, orders: int) -> tuple[Int64, NDArray[np.int32]]:
    """Copies of the rows that were ever used and of the table, with room for `orders`; rows beyond are written before read."""
    used = int(book.marks[kernel.TOP])
    nodes = np.empty((orders, 8), dtype=np.int64)
    nodes[:used] = book.nodes[:used]
    if book.table.size >= 2 * orders:
        return nodes, book.table.copy()
    fresh = np.full(_table_size(orders), -1, dtype=np.int32)
    kernel.rehash(nodes, book.table, fresh)
    return nodes, fresh
