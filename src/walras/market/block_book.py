"""What a block book says: blocks over several slots, read from the book's extra parts with every fault at once.

A block has a side, one limit price for all of its energy, and a profile: whole Wh in each slot. It is accepted in one ratio
for all slots, either 0 or between `minimum_acceptance` and 1 (1, the default: all or nothing). The ratio moves in steps that
keep every slot's energy whole: k of `steps`, where `steps` is the greatest common divisor of the profile (in lots).

linked_to        the id of a parent: the block's ratio is at most the parent's
exclusive_group  a name: at most one block of the group is accepted
flexible         true: the profile may start in any slot in which it fits; it becomes one *option* for each start, of which at
                 most one is accepted. A flexible-hour order is a flexible block of one number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from walras.errors import Fault, InputError, RangeError
from walras.market.conventions import Conventions
from walras.market.mechanism import ORDER_EXTRA
from walras.market.orders import BUY, SELL, Orders
from walras.units import INT64_MAX, MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH, Int64

MAX_SLOTS = 366 * 100
"""A leap year of local quarter hours."""

MAX_CELLS = 20_000_000
"""Ways to accept blocks (a flexible block has one for each start) times slots: a memory of some hundred megabytes."""

BLOCK_FIELDS = (
    "id",
    "participant",
    "side",
    "price_micro_per_kwh",
    "quantity_wh",
    "minimum_acceptance",
    "linked_to",
    "exclusive_group",
    "flexible",
)


@dataclass(frozen=True, slots=True)
class Options:
    """Ways to accept blocks: one a block, or one a start of a flexible block (m options, in a fixed sequence).

    names      of the blocks, as written, by block
    block      [m] which block it is a way of
    side       [m] +1 buy, -1 sell
    price      [m] limit in micro/kWh, a buyer's net of the grid fee
    energy     [m, slots] Wh at ratio 1
    steps      [m] the ratio is k / steps
    least      [m] smallest k but 0
    parents    by option: the options of its parent, () where it has none
    groups     sets of options of which at most one is accepted
    """

    names: tuple[object, ...]
    block: Int64
    side: Int64
    price: Int64
    energy: NDArray[np.int64]
    steps: Int64
    least: Int64
    parents: tuple[tuple[int, ...], ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def count(self) -> int:
        """Number of options."""
        return int(self.block.size)

    def energy_at(self, k: Int64) -> NDArray[np.int64]:
        """[m, slots] Wh when option i is accepted in k[i] steps: exact."""
        energy = np.zeros_like(self.energy)
        rows = np.flatnonzero(k)
        energy[rows] = self.energy[rows] // self.steps[rows, None] * k[rows, None]
        return energy


def read_slots(orders: Orders, extra: Mapping[str, object]) -> tuple[Int64, list[Fault]]:
    """[n] slot of each order (0 where none is given), and the faults."""
    fields = extra.get(ORDER_EXTRA)
    given = fields.get("slot") if isinstance(fields, Mapping) else None
    values = list(given) if isinstance(given, Sequence) else [None] * orders.count
    faults = [
        Fault(f"order row {row}", "slot", value, f"a whole number from 0 to {MAX_SLOTS - 1}")
        for row, value in enumerate(values)
        if value is not None and not (_whole(value) and 0 <= value < MAX_SLOTS)
    ]
    if faults:
        return np.zeros(orders.count, np.int64), faults
    return np.array([value or 0 for value in values], dtype=np.int64), []


def read_blocks(orders: Orders, extra: Mapping[str, object], conventions: Conventions) -> tuple[Options, Int64, int]:
    """(options, slot of each order, number of slots). Raises InputError with every fault: fields, unknown parents, circles.

    >>> from walras.market.orders import make_orders
    >>> blocks = [{"id": "b", "side": "sell", "price_micro_per_kwh": 90_000, "quantity_wh": [500, 250]}]
    >>> options, slot, slots = read_blocks(make_orders([], [], []), {"blocks": blocks}, Conventions())
    >>> slots, options.steps.tolist(), options.least.tolist()
    (2, [250], [250])
    """
    slot, faults = read_slots(orders, extra)
    blocks = extra.get("blocks", [])
    if not isinstance(blocks, Sequence) or isinstance(blocks, str):
        raise InputError("blocks", [*faults, Fault("book", "blocks", blocks, "a list of blocks")])
    faults += [fault for number, block in enumerate(blocks) for fault in _block_faults(number, block, conventions.lot_wh)]
    named = [block for block in blocks if isinstance(block, Mapping)]
    faults += _link_faults(named)
    slots = int(slot.max(initial=-1)) + 1
    if not faults:
        slots = max([slots, *(len(block["quantity_wh"]) for block in named)])
        faults += [
            Fault(_where(number, block), "quantity_wh", f"{len(block['quantity_wh'])} slots", f"{slots} slots, one number each")
            for number, block in enumerate(named)
            if not block.get("flexible") and len(block["quantity_wh"]) != slots
        ]
    if faults:
        raise InputError("blocks", faults)
    return _options(sorted(named, key=lambda block: _rank(block["id"])), slots, conventions), slot, slots


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return (isinstance(value, str) and value != "") or (_whole(value) and abs(value) <= INT64_MAX)  # type: ignore[arg-type]


def _rank(name: object) -> tuple[int, int, str]:
    return (1, 0, name) if isinstance(name, str) else (0, int(name), "")  # type: ignore[call-overload]


def _where(number: int, block: Mapping[str, object]) -> str:
    return f"block {block['id']!r}" if _is_name(block.get("id")) else f"block row {number}"


def _ratio(value: object) -> Fraction | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        return None
    try:
        ratio = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        return None
    return ratio if 0 <= ratio <= 1 else None


def _block_faults(number: int, block: object, lot: int) -> list[Fault]:
    if not isinstance(block, Mapping):
        return [Fault(f"block row {number}", "block", block, "an object")]
    where = _where(number, block)
    faults = [Fault(where, str(f), block[f], "one of " + ", ".join(BLOCK_FIELDS)) for f in block if f not in BLOCK_FIELDS]
    if not _is_name(block.get("id")):
        faults.append(Fault(where, "id", block.get("id"), "a text or a whole number"))
    if block.get("side") not in ("buy", "sell"):
        faults.append(Fault(where, "side", block.get("side"), '"buy" or "sell"'))
    price = block.get("price_micro_per_kwh")
    if not _whole(price) or abs(price) > MAX_PRICE_MICRO_PER_KWH:  # type: ignore[arg-type]
        limits = f"a whole number from -{MAX_PRICE_MICRO_PER_KWH} to {MAX_PRICE_MICRO_PER_KWH}"
        faults.append(Fault(where, "price_micro_per_kwh", price, limits))
    profile = block.get("quantity_wh")
    wanted = f"whole numbers from 0 to {MAX_ENERGY_WH}, one a slot, not all 0" + (f", multiples of {lot}" if lot > 1 else "")
    if not isinstance(profile, Sequence) or isinstance(profile, str) or not 0 < len(profile) <= MAX_SLOTS:
        faults.append(Fault(where, "quantity_wh", profile, wanted))
    elif not all(_whole(q) and 0 <= q <= MAX_ENERGY_WH and q % lot == 0 for q in profile) or not any(profile):
        faults.append(Fault(where, "quantity_wh", list(profile), wanted))
    if _ratio(block.get("minimum_acceptance", 1)) is None:
        faults.append(Fault(where, "minimum_acceptance", block["minimum_acceptance"], "a number from 0 to 1"))
    for field in ("linked_to", "exclusive_group", "participant"):
        if block.get(field) is not None and not _is_name(block[field]):
            faults.append(Fault(where, field, block[field], "a text, a whole number, or nothing"))
    if not isinstance(block.get("flexible", False), bool):
        faults.append(Fault(where, "flexible", block["flexible"], "true or false"))
    return faults


def _link_faults(blocks: Sequence[Mapping[str, object]]) -> list[Fault]:
    """Ids given twice, parents that do not exist, and circles of links."""
    faults = []
    names = [block.get("id") for block in blocks if _is_name(block.get("id"))]
    faults += [
        Fault("blocks", "id", name, "a unique id") for name in sorted({name for name in names if names.count(name) > 1}, key=_rank)
    ]
    parent: dict[object, object] = {}
    for block in blocks:
        if _is_name(block.get("id")):
            parent.setdefault(block["id"], block.get("linked_to"))
    for name, above in parent.items():
        if above is not None and _is_name(above) and above not in parent:
            faults.append(Fault(f"block {name!r}", "linked_to", above, "the id of a block of this book"))
    settled: set[object] = {None}
    for name in parent:
        path: list[object] = []
        step: object = name
        while step not in settled and step in parent and step not in path:
            path.append(step)
            step = parent[step]
        if step in path:
            circle = path[path.index(step) :]
            way = " -> ".join(repr(x) for x in [*circle, step])
            faults.append(Fault(f"block {step!r}", "linked_to", way, "links that do not go in a circle"))
        settled.update(path)
    return faults


def _options(blocks: Sequence[Mapping[str, object]], slots: int, conventions: Conventions) -> Options:
    rows: list[tuple[int, int, int, list[int], int, int]] = []
    ways: dict[object, tuple[int, ...]] = {}
    groups: dict[object, list[int]] = {}
    fee, lot = conventions.grid_fee_micro_per_kwh, conventions.lot_wh
    for number, block in enumerate(blocks):
        profile: list[int] = list(block["quantity_wh"])  # type: ignore[call-overload]
        starts = range(slots - len(profile) + 1) if block.get("flexible") else range(1)
        side = BUY if block["side"] == "buy" else SELL
        price = int(block["price_micro_per_kwh"]) - (fee if side == BUY else 0)  # type: ignore[call-overload]
        steps = math.gcd(*profile) // lot
        ratio = _ratio(block.get("minimum_acceptance", 1))
        assert ratio is not None  # checked with the faults
        first = len(rows)
        if (first + len(starts)) * slots > MAX_CELLS:
            raise RangeError(f"blocks: {first + len(starts)} ways to accept blocks over {slots} slots are too many", thing="blocks")
        for start in starts:
            energy = [0] * start + profile + [0] * (slots - start - len(profile))
            rows.append((number, side, price, energy, steps, max(math.ceil(ratio * steps), 1)))
        ways[block["id"]] = tuple(range(first, len(rows)))
        if block.get("flexible"):
            groups[("flexible", number)] = list(ways[block["id"]])
        if block.get("exclusive_group") is not None:
            groups.setdefault(("group", block["exclusive_group"]), []).extend(ways[block["id"]])
    parents = tuple(ways[above] if (above := blocks[row[0]].get("linked_to")) is not None else () for row in rows)
    columns = [np.array([row[c] for row in rows], dtype=np.int64) for c in (0, 1, 2, 4, 5)]
    energy_by_slot = np.array([row[3] for row in rows], dtype=np.int64).reshape(len(rows), slots)
    return Options(
        tuple(block["id"] for block in blocks),
        columns[0],
        columns[1],
        columns[2],
        energy_by_slot,
        columns[3],
        columns[4],
        parents,
        tuple(tuple(group) for group in groups.values() if len(group) > 1),
    )
