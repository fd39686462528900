"""The loop inside the order book: price-time priority over arrays, compiled, with nothing of Python in it.

It decides which events are accepted, who trades with whom, and who leaves the book; records, names and refusal texts live in
`order_book`. The arrays it works on:

nodes   [capacity, 8] int64, one resting order a row (64 bytes, one cache line): id, participant, cell, quantity, time, previous
        and next in its queue (-1: none), side. Free rows are chained through "next".
levels  [lanes << bits, 2] int32, width <= 2**bits: first and last node of the queue at one price of one lane (a lane is a delivery
        slot); a cell is (lane << bits) + level. A book is never crossed: a price holds one side only, both sides share the array.
words   [lanes, ceil(width / 64)] uint64: a bit for each price that holds orders, so that the next best price is a scan of words.
lanes   [lanes, 3] int64: best bid level (-1: none), best ask level (width: none), gate closure.
table   [2**bits] int32: open addressing from order id to node (linear probing, deletion by shifting back: no tombstones).
marks   [5] int64: live orders, first free row, rows ever used, next gate closure, clock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

ID, PARTICIPANT, CELL, QUANTITY, TIME, PREVIOUS, NEXT, SIDE = range(8)
BEST_BID, BEST_ASK, GATE = range(3)
LIVE, FREE, TOP, NEXT_GATE, CLOCK = range(5)

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


@intrinsic
def _lowest_bit(typing_context: Any, word: Any) -> Any:
    """Index of the lowest set bit of a word that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def _leading_zeros(typing_context: Any, word: Any) -> Any:
    """Zero bits above the highest set bit of a word that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@njit(cache=True, error_model="numpy", _nrt=False)
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


@njit(cache=True, error_model="numpy", _nrt=False)
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


@njit(cache=True, error_model="numpy", _nrt=False)
def _home(id, shift):  # type: ignore[no-untyped-def]
    return np.int64((np.uint64(id) * _GOLDEN) >> shift)


@njit(cache=True, error_model="numpy", _nrt=False)
def _find(nodes, table, id, shift):  # type: ignore[no-untyped-def]
    """Place of `id` in the table; the entry there is -1 if the id is not in the book."""
    mask = table.size - 1
    place = _home(id, shift)
    while table[place] >= 0 and nodes[table[place], ID] != id:
        place = (place + 1) & mask
    return place


@njit(cache=True, error_model="numpy", _nrt=False)
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


@njit(cache=True, error_model="numpy", _nrt=False)
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


@njit(cache=True, error_model="numpy", _nrt=False)
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


@njit(cache=True, error_model="numpy", _nrt=False)
def _available(nodes, levels, words, lanes, lane, side, limit, width, bits, wanted, participant, policy):  # type: ignore[no-untyped-def]
    """True when `wanted` can be had at once within the limit, own orders treated as `policy` will treat them."""
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


@njit(cache=True, error_model="numpy", _nrt=False)
def _note(removed, count, event, id, participant, slot, quantity, reason):  # type: ignore[no-untyped-def]
    removed[0, count] = event
    removed[1, count] = id
    removed[2, count] = participant
    removed[3, count] = slot
    removed[4, count] = quantity
    removed[5, count] = reason
    return count + 1


@njit(cache=True, error_model="numpy", _nrt=False)
def _expire(nodes, levels, words, lanes, table, marks, width, bits, shift, first_slot, now, event, removed, count):  # type: ignore[no-untyped-def]
    """Empty every lane whose gate has closed; earlier slots first, then best to worst bid, best to worst ask, then time."""
    following = NEVER
    for lane in range(lanes.shape[0]):
        if lanes[lane, GATE] > now:
            following = min(following, lanes[lane, GATE])
            continue
        for best in (BEST_BID, BEST_ASK):
            while 0 <= lanes[lane, best] < width:
                node = np.int64(levels[(lane << bits) + lanes[lane, best], 0])
                count = _note(removed, count, event, nodes[node, ID], nodes[node, PARTICIPANT], first_slot + lane, nodes[node, QUANTITY], BY_EXPIRY)
                _erase(nodes, table, _find(nodes, table, nodes[node, ID], shift), shift)
                _unlink(nodes, levels, words, lanes, marks, node, width, bits)
    marks[NEXT_GATE] = following
    return count


@njit(cache=True, error_model="numpy", _nrt=False)
def run_events(nodes, levels, words, lanes, table, marks, grid, policy, columns, fills, removed, status, filled):  # type: ignore[no-untyped-def]
    """Apply the events in their sequence; returns (number of fills, number of removals).

    grid = (lowest price, tick, width, bits, first slot); columns = (kind, type, side, id, participant, slot, quantity, price, time).
    """
    kind, order_type, sides, ids, participants, slots, quantities, prices, times = columns
    lowest, tick, width, bits, first_slot = grid
    shift = np.uint64(64 - _lowest_bit(np.uint64(table.size)))
    n_fills = 0
    n_removed = 0
    for e in range(ids.size):
        now = times[e]
        if now < marks[CLOCK]:
            status[e] = BACK_IN_TIME
            continue
        marks[CLOCK] = now
        if now >= marks[NEXT_GATE]:
            n_removed = _expire(
                nodes, levels, words, lanes, table, marks, width, bits, shift, first_slot, now, e, removed, n_removed
            )
        what = kind[e]
        if what == CLOCK_TICK:
            status[e] = ADVANCED
            continue
        id = ids[e]
        place = _find(nodes, table, id, shift)
        node = np.int64(table[place])
        participant = participants[e]
        quantity = quantities[e]
        flavour = order_type[e]
        side = np.int64(sides[e])
        lane = slots[e] - first_slot

        if what != NEW:
            if node < 0:
                status[e] = UNKNOWN_ORDER
                continue
            if nodes[node, PARTICIPANT] != participant:
                status[e] = NOT_OWNER
                continue
            cell = nodes[node, CELL]
            lane = cell >> bits
            if what == CANCEL:
                n_removed = _note(removed, n_removed, e, id, participant, first_slot + lane, nodes[node, QUANTITY], BY_CANCEL)
                _erase(nodes, table, place, shift)
                _unlink(nodes, levels, words, lanes, marks, node, width, bits)
                status[e] = CANCELLED
                continue
            side = nodes[node, SIDE]
            if what != AMEND or (flavour != LIMIT and flavour != POST_ONLY):
                status[e] = BAD_KIND
                continue
        elif node >= 0:
            status[e] = DUPLICATE_ID
            continue
        elif lane < 0 or lane >= lanes.shape[0]:
            status[e] = UNKNOWN_SLOT
            continue
        elif lanes[lane, GATE] <= now:
            status[e] = GATE_CLOSED
            continue
        elif flavour < LIMIT or flavour > POST_ONLY or (side != 1 and side != -1):
            status[e] = BAD_KIND
            continue

        if quantity <= 0:
            status[e] = BAD_QUANTITY
            continue
        if flavour == MARKET:
            limit = width - 1 if side > 0 else 0
        else:
            above = prices[e] - lowest
            limit = above // tick
            if above < 0 or limit >= width or limit * tick != above:
                status[e] = BAD_PRICE
                continue
        crosses = limit >= lanes[lane, BEST_ASK] if side > 0 else limit <= lanes[lane, BEST_BID]
        if what == AMEND and nodes[node, CELL] == (lane << bits) + limit and quantity <= nodes[node, QUANTITY]:
            less = nodes[node, QUANTITY] - quantity
            if less > 0:
                n_removed = _note(removed, n_removed, e, id, participant, first_slot + lane, less, BY_REDUCTION)
                nodes[node, QUANTITY] = quantity
            status[e] = REDUCED
            continue
        if flavour == POST_ONLY and crosses:
            status[e] = WOULD_CROSS
            continue
        if what == AMEND:
            n_removed = _note(removed, n_removed, e, id, participant, first_slot + lane, nodes[node, QUANTITY], BY_REPLACEMENT)
            _erase(nodes, table, place, shift)
            _unlink(nodes, levels, words, lanes, marks, node, width, bits)

        stopped = False
        if flavour == FILL_OR_KILL and not _available(
            nodes, levels, words, lanes, lane, side, limit, width, bits, quantity, participant, policy
        ):
            crosses = False
        best = BEST_ASK if side > 0 else BEST_BID
        left = quantity
        while crosses and left > 0 and not stopped:
            level = lanes[lane, best]
            if level < 0 or level >= width or (limit - level) * side < 0:
                break
            price = lowest + level * tick
            maker = np.int64(levels[(lane << bits) + level, 0])
            own = policy != ALLOW and nodes[maker, PARTICIPANT] == participant
            if own:
                stopped = policy != CANCEL_OLDEST
                if policy == CANCEL_NEWEST:
                    break
                n_removed = _note(removed, n_removed, e, nodes[maker, ID], participant, first_slot + lane, nodes[maker, QUANTITY], BY_SELF_TRADE)
            else:
                energy = min(left, nodes[maker, QUANTITY])
                left -= energy
                nodes[maker, QUANTITY] -= energy
                fills[0, n_fills] = e
                fills[1, n_fills] = first_slot + lane
                if side > 0:
                    fills[2, n_fills] = id
                    fills[3, n_fills] = nodes[maker, ID]
                    fills[4, n_fills] = participant
                    fills[5, n_fills] = nodes[maker, PARTICIPANT]
                else:
                    fills[2, n_fills] = nodes[maker, ID]
                    fills[3, n_fills] = id
                    fills[4, n_fills] = nodes[maker, PARTICIPANT]
                    fills[5, n_fills] = participant
                fills[6, n_fills] = energy
                fills[7, n_fills] = price
                n_fills += 1
            if own or nodes[maker, QUANTITY] == 0:
                _erase(nodes, table, _find(nodes, table, nodes[maker, ID], shift), shift)
                _unlink(nodes, levels, words, lanes, marks, maker, width, bits)
        filled[e] = quantity - left
        if left == 0:
            status[e] = FILLED
        elif stopped:
            n_removed = _note(removed, n_removed, e, id, participant, first_slot + lane, left, BY_SELF_TRADE)
            status[e] = STOPPED
        elif flavour == LIMIT or flavour == POST_ONLY:
            rest = _link(nodes, levels, words, lanes, marks, lane, limit, bits, side, id, participant, left, now)
            table[_find(nodes, table, id, shift)] = rest
            status[e] = RESTING
        else:
            n_removed = _note(removed, n_removed, e, id, participant, first_slot + lane, left, BY_LAPSE)
            status[e] = LAPSED
    return n_fills, n_removed


@njit(cache=True, error_model="numpy", _nrt=False)
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
