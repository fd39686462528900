"""The loop inside the order book: price-time priority over arrays, compiled, with nothing of Python in it.

It decides which events are accepted, who trades with whom, and who leaves the book; records, names and refusal texts live in
`order_book`. The arrays it works on:

nodes   [capacity, 8] int64, one resting order a row (64 bytes, one cache line): id, participant, cell, quantity, time,
        previous and next in its queue (-1: none), side. Free rows are chained through "next".
levels  [lanes << bits, 2] int32, width <= 2**bits: first and last node of the queue at one price of one lane (a lane is a
        delivery slot); a cell is (lane << bits) + level. A book is never crossed: a price holds one side only, and both
        sides share the array.
words   [lanes, ceil(width / 64)] uint64: a bit for each price that holds orders: the next best price is a scan of words.
lanes   [lanes, 3] int64: best bid level (-1: none), best ask level (width: none), gate closure.
table   [2**bits] int32: open addressing from order id to node (linear probing, deletion by shifting back: no tombstones).
marks   [7] int64: live orders, first free row, rows ever used, next gate closure, clock; of the last batch: fills, removals.

`_nrt=False` keeps numba from counting references to these arrays inside the loop, which costs half the speed; nothing
here allocates.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

ID, PARTICIPANT, CELL, QUANTITY, TIME, PREVIOUS, NEXT, SIDE = range(8)
BEST_BID, BEST_ASK, GATE = range(3)
LIVE, FREE, TOP, NEXT_GATE, CLOCK, N_FILLS, N_REMOVED = range(7)

NEW, CANCEL, AMEND, CLOCK_TICK = range(4)
LIMIT, MARKET, IMMEDIATE_OR_CANCEL, FILL_OR_KILL, POST_ONLY = range(5)
ALLOW, CANCEL_NEWEST, CANCEL_OLDEST, CANCEL_BOTH = range(4)

RESTING, FILLED, LAPSED, CANCELLED, REDUCED, STOPPED, ADVANCED = 1, 2, 3, 4, 5, 6, 7
UNKNOWN_ORDER, NOT_OWNER, DUPLICATE_ID, BAD_PRICE, BAD_QUANTITY = -1, -2, -3, -4, -5
GATE_CLOSED, WOULD_CROSS, UNKNOWN_SLOT, BAD_KIND, BACK_IN_TIME = -6, -7, -8, -9, -10

BY_CANCEL, BY_EXPIRY, BY_SELF_TRADE, BY_LAPSE, BY_REDUCTION, BY_REPLACEMENT = range(6)

NEVER = np.int64(2**63 - 1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_ALL = np.uint64(2**64 - 1)

_loop: Any = partial(njit, cache=True, error_model="numpy", _nrt=False)
_inner: Any = partial(_loop, forceinline=True)
_instruction: Any = intrinsic


@_instruction
def _lowest_bit(typing_context, word):  # type: ignore[no-untyped-def]
    """Index of the lowest set bit of a word that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@_instruction
def _leading_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    """Zero bits above the highest set bit of a word that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@_inner
def _next_up(words, lane, level, width):  # type: ignore[no-untyped-def]
    """The first occupied level above `level`, or `width`."""
    level += 1
    if level >= width:
        return width
    index = level >> 6
    word = words[lane, index] & (_ALL << np.uint64(level & 63))
    while word == 0:
        index += 1
        if index >= words.shape[1]:
            return width
        word = words[lane, index]
    return (index << 6) + _lowest_bit(word)


@_inner
def _next_down(words, lane, level):  # type: ignore[no-untyped-def]
    """The first occupied level below `level`, or -1."""
    level -= 1
    if level < 0:
        return level
    index = level >> 6
    word = words[lane, index] & (_ALL >> np.uint64(63 - (level & 63)))
    while word == 0:
        index -= 1
        if index < 0:
            return index
        word = words[lane, index]
    return (index << 6) + 63 - _leading_zeros(word)


@_inner
def _home(id, shift):  # type: ignore[no-untyped-def]
    return np.int64((np.uint64(id) * _GOLDEN) >> shift)


@_inner
def _find(nodes, table, id, shift):  # type: ignore[no-untyped-def]
    """Place of `id` in the table; the entry there is -1 if the id is not in the book."""
    mask = table.size - 1
    place = _home(id, shift)
    while table[place] >= 0 and nodes[table[place], ID] != id:
        place = (place + 1) & mask
    return place


@_inner
def _erase(nodes, table, place, shift):  # type: ignore[no-untyped-def]
    """Empty one place and shift back what had to probe past it."""
    mask = table.size - 1
    hole = place
    while True:
        place = (place + 1) & mask
        node = table[place]
        if node < 0:
            break
        home = _home(nodes[node, ID], shift)
        if ((place - home) & mask) >= ((place - hole) & mask):
            table[hole] = node
            hole = place
    table[hole] = -1


@_inner
def _link(nodes, levels, words, lanes, marks, lane, level, bits, side, id, participant, quantity, time):  # type: ignore[no-untyped-def]
    """Put an order (id, participant) at the end of the queue of its price; returns its node."""
    node = marks[FREE]
    if node >= 0:
        marks[FREE] = nodes[node, NEXT]
    else:
        node = marks[TOP]
        marks[TOP] = node + 1
    marks[LIVE] += 1
    cell = (lane << bits) + level
    last = levels[cell, 1]
    nodes[node, ID] = id
    nodes[node, PARTICIPANT] = participant
    nodes[node, CELL] = cell
    nodes[node, QUANTITY] = quantity
    nodes[node, TIME] = time
    nodes[node, PREVIOUS] = last
    nodes[node, NEXT] = -1
    nodes[node, SIDE] = side
    levels[cell, 1] = node
    if last >= 0:
        nodes[last, NEXT] = node
    else:
        levels[cell, 0] = node
        words[lane, level >> 6] |= _ONE << np.uint64(level & 63)
        if side > 0:
            lanes[lane, BEST_BID] = max(lanes[lane, BEST_BID], level)
        else:
            lanes[lane, BEST_ASK] = min(lanes[lane, BEST_ASK], level)
    return node


@_inner
def _unlink(nodes, levels, words, lanes, marks, node, width, bits):  # type: ignore[no-untyped-def]
    """Take an order out of its queue and free its row; the best prices follow. The table is the caller's."""
    cell = nodes[node, CELL]
    before = nodes[node, PREVIOUS]
    after = nodes[node, NEXT]
    if before >= 0:
        nodes[before, NEXT] = after
    else:
        levels[cell, 0] = after
    if after >= 0:
        nodes[after, PREVIOUS] = before
    else:
        levels[cell, 1] = before
    if before < 0 and after < 0:
        lane = cell >> bits
        level = cell - (lane << bits)
        words[lane, level >> 6] &= ~(_ONE << np.uint64(level & 63))
        if level == lanes[lane, BEST_BID]:
            lanes[lane, BEST_BID] = _next_down(words, lane, level)
        elif level == lanes[lane, BEST_ASK]:
            lanes[lane, BEST_ASK] = _next_up(words, lane, level, width)
    nodes[node, NEXT] = marks[FREE]
    marks[FREE] = node
    marks[LIVE] -= 1


@_loop
def _available(nodes, levels, words, lanes, order, shape, policy):  # type: ignore[no-untyped-def]
    """True when the whole order can trade at once within its limit, own orders treated as `policy` will treat them."""
    _, lane, side, limit, wanted, _, participant = order
    width, bits, _, _ = shape
    level = lanes[lane, BEST_ASK] if side > 0 else lanes[lane, BEST_BID]
    while 0 <= level < width and (limit - level) * side >= 0:
        node = np.int64(levels[(lane << bits) + level, 0])
        while node >= 0:
            if policy == ALLOW or nodes[node, PARTICIPANT] != participant:
                wanted -= nodes[node, QUANTITY]
                if wanted <= 0:
                    return True
            elif policy != CANCEL_OLDEST:
                return False
            node = nodes[node, NEXT]
        level = _next_up(words, lane, level, width) if side > 0 else _next_down(words, lane, level)
    return False


@_inner
def _note(removed, marks, event, id, participant, slot, quantity, reason):  # type: ignore[no-untyped-def]
    n = marks[N_REMOVED]
    marks[N_REMOVED] = n + 1
    removed[0, n] = event
    removed[1, n] = id
    removed[2, n] = participant
    removed[3, n] = slot
    removed[4, n] = quantity
    removed[5, n] = reason


@_loop
def _expire(nodes, levels, words, lanes, table, marks, shape, now, event, removed):  # type: ignore[no-untyped-def]
    """Empty every lane whose gate has closed; earlier slots first, then best to worst bid, best to worst ask, then time."""
    width, bits, shift, first_slot = shape
    following = NEVER
    for lane in range(lanes.shape[0]):
        if lanes[lane, GATE] > now:
            following = min(following, lanes[lane, GATE])
            continue
        for best in (BEST_BID, BEST_ASK):
            while 0 <= lanes[lane, best] < width:
                node = np.int64(levels[(lane << bits) + lanes[lane, best], 0])
                slot, quantity = first_slot + lane, nodes[node, QUANTITY]
                _note(removed, marks, event, nodes[node, ID], nodes[node, PARTICIPANT], slot, quantity, BY_EXPIRY)
                _erase(nodes, table, _find(nodes, table, nodes[node, ID], shift), shift)
                _unlink(nodes, levels, words, lanes, marks, node, width, bits)
    marks[NEXT_GATE] = following


@_inner
def _refusal(nodes, lanes, node, lane, what, flavour, side, now, participant):  # type: ignore[no-untyped-def]
    """Why an event cannot even be looked at, or 0: the order it names, its owner, its slot, gate, type and side."""
    if what == NEW:
        if node >= 0:
            return DUPLICATE_ID
        if lane < 0 or lane >= lanes.shape[0]:
            return UNKNOWN_SLOT
        if lanes[lane, GATE] <= now:
            return GATE_CLOSED
        return 0 if LIMIT <= flavour <= POST_ONLY and (side == 1 or side == -1) else BAD_KIND
    if node < 0:
        return UNKNOWN_ORDER
    if nodes[node, PARTICIPANT] != participant:
        return NOT_OWNER
    if what == CANCEL or (what == AMEND and flavour in (LIMIT, POST_ONLY)):
        return 0
    return BAD_KIND


@_inner
def _take_out(nodes, levels, words, lanes, table, marks, place, node, shape, removed, event, quantity, reason):  # type: ignore[no-untyped-def]
    """Record that an order leaves without a trade, and remove it from the table and its queue."""
    width, bits, shift, first_slot = shape
    slot = first_slot + (nodes[node, CELL] >> bits)
    _note(removed, marks, event, nodes[node, ID], nodes[node, PARTICIPANT], slot, quantity, reason)
    _erase(nodes, table, place, shift)
    _unlink(nodes, levels, words, lanes, marks, node, width, bits)


@_inner
def _trade(nodes, levels, words, lanes, table, marks, grid, shape, policy, order, fills, removed):  # type: ignore[no-untyped-def]
    """Take from the best prices while the limit allows; returns (quantity left, stopped by self-trade prevention)."""
    event, lane, side, limit, left, id, participant = order
    lowest, tick = grid
    width, bits, shift, first_slot = shape
    best = BEST_ASK if side > 0 else BEST_BID
    while left > 0:
        level = lanes[lane, best]
        if level < 0 or level >= width or (limit - level) * side < 0:
            break
        maker = np.int64(levels[(lane << bits) + level, 0])
        if policy != ALLOW and nodes[maker, PARTICIPANT] == participant:
            if policy != CANCEL_NEWEST:
                place = _find(nodes, table, nodes[maker, ID], shift)
                quantity = nodes[maker, QUANTITY]
                _take_out(nodes, levels, words, lanes, table, marks, place, maker, shape, removed, event, quantity, BY_SELF_TRADE)
            if policy != CANCEL_OLDEST:
                return left, True
            continue
        energy = min(left, nodes[maker, QUANTITY])
        left -= energy
        nodes[maker, QUANTITY] -= energy
        n = marks[N_FILLS]
        marks[N_FILLS] = n + 1
        fills[0, n] = event
        fills[1, n] = first_slot + lane
        fills[2 if side > 0 else 3, n] = id
        fills[3 if side > 0 else 2, n] = nodes[maker, ID]
        fills[4 if side > 0 else 5, n] = participant
        fills[5 if side > 0 else 4, n] = nodes[maker, PARTICIPANT]
        fills[6, n] = energy
        fills[7, n] = lowest + level * tick
        if nodes[maker, QUANTITY] == 0:
            _erase(nodes, table, _find(nodes, table, nodes[maker, ID], shift), shift)
            _unlink(nodes, levels, words, lanes, marks, maker, width, bits)
    return left, False


@_inner
def _level_of(price, flavour, side, lowest, tick, width):  # type: ignore[no-untyped-def]
    """The level of a limit, or -1 where the price is not on the grid; a market order goes to the end of the grid."""
    if flavour == MARKET:
        return width - 1 if side > 0 else np.int64(0)
    above = price - lowest
    level = above // tick
    return level if above >= 0 and level < width and level * tick == above else np.int64(-1)


@_loop
def run_events(nodes, levels, words, lanes, table, marks, rules, columns, fills, removed, status, filled):  # type: ignore[no-untyped-def]
    """Apply the events in their sequence; the numbers of fills and removals are left in `marks`.

    rules = (lowest price, tick, width, bits, first slot, self-trade policy); columns = (kind, type, side, id, participant,
    slot, quantity, price, time); fills [8, .] and removed [6, .] have room for live orders + 2 * events.
    """
    kinds, flavours, sides, ids, participants, slots, quantities, prices, times = columns
    lowest, tick, width, bits, first_slot, policy = rules
    shift = np.uint64(64 - _lowest_bit(np.uint64(table.size)))
    shape = (width, bits, shift, first_slot)
    marks[N_FILLS] = 0
    marks[N_REMOVED] = 0
    for e in range(ids.size):
        now = times[e]
        if now < marks[CLOCK]:
            status[e] = BACK_IN_TIME
            continue
        marks[CLOCK] = now
        if now >= marks[NEXT_GATE]:
            _expire(nodes, levels, words, lanes, table, marks, shape, now, e, removed)
        what, flavour, side = kinds[e], flavours[e], np.int64(sides[e])
        if what == CLOCK_TICK:
            status[e] = ADVANCED
            continue
        id, participant, quantity = ids[e], participants[e], quantities[e]
        place = _find(nodes, table, id, shift)
        node = np.int64(table[place])
        lane = slots[e] - first_slot
        code = _refusal(nodes, lanes, node, lane, what, flavour, side, now, participant)
        if code != 0:
            status[e] = code
            continue
        if what == CANCEL:
            _take_out(nodes, levels, words, lanes, table, marks, place, node, shape, removed, e, nodes[node, QUANTITY], BY_CANCEL)
            status[e] = CANCELLED
            continue
        if what == AMEND:
            lane, side = nodes[node, CELL] >> bits, nodes[node, SIDE]
        limit = _level_of(prices[e], flavour, side, lowest, tick, width)
        crosses = limit >= lanes[lane, BEST_ASK] if side > 0 else limit <= lanes[lane, BEST_BID]
        if quantity <= 0 or limit < 0:
            status[e] = BAD_QUANTITY if quantity <= 0 else BAD_PRICE
            continue
        if what == AMEND and nodes[node, CELL] == (lane << bits) + limit and quantity <= nodes[node, QUANTITY]:
            less = nodes[node, QUANTITY] - quantity
            nodes[node, QUANTITY] = quantity
            if less > 0:
                _note(removed, marks, e, id, participant, first_slot + lane, less, BY_REDUCTION)
            status[e] = REDUCED
            continue
        if flavour == POST_ONLY and crosses:
            status[e] = WOULD_CROSS
            continue
        if what == AMEND:
            all_of_it = nodes[node, QUANTITY]
            _take_out(nodes, levels, words, lanes, table, marks, place, node, shape, removed, e, all_of_it, BY_REPLACEMENT)
        order = (e, lane, side, limit, quantity, id, participant)
        left, stopped = quantity, False
        if crosses and (flavour != FILL_OR_KILL or _available(nodes, levels, words, lanes, order, shape, policy)):
            left, stopped = _trade(nodes, levels, words, lanes, table, marks, (lowest, tick), shape, policy, order, fills, removed)
        filled[e] = quantity - left
        if left == 0:
            status[e] = FILLED
        elif not stopped and flavour in (LIMIT, POST_ONLY):
            rest = _link(nodes, levels, words, lanes, marks, lane, limit, bits, side, id, participant, left, now)
            table[_find(nodes, table, id, shift)] = rest
            status[e] = RESTING
        else:
            _note(removed, marks, e, id, participant, first_slot + lane, left, BY_SELF_TRADE if stopped else BY_LAPSE)
            status[e] = STOPPED if stopped else LAPSED


@_loop
def rehash(nodes, table, fresh):  # type: ignore[no-untyped-def]
    """Enter every node of `table` into the larger, empty `fresh`."""
    shift = np.uint64(64 - _lowest_bit(np.uint64(fresh.size)))
    for place in range(table.size):
        node = table[place]
        if node >= 0:
            fresh[_find(nodes, fresh, nodes[node, ID], shift)] = node


@njit(cache=True, error_model="numpy")
def walk(nodes, levels, live):  # type: ignore[no-untyped-def]
    """Rows of the live orders: by lane, then level from low to high, then place in the queue."""
    rows = np.empty(live, dtype=np.int64)
    count = 0
    for cell in range(levels.shape[0]):
        node = np.int64(levels[cell, 0])
        while node >= 0:
            rows[count] = node
            count += 1
            node = nodes[node, NEXT]
    return rows
