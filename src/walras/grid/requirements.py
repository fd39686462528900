"""What a community requires of a slot besides the wires: carbon at most, reserve at least. One row of the clearing each.

The rule: a requirement is a sum over orders, so it is exact in the linear programs and needs no linearisation.

emissions   sum over filled asks of energy * intensity <= cap. An ask at the root is an import and has the import's intensity; any
            other has its own (0 where none is named: PV). Export earns no credit. With `counts_fixed` the cap holds for all that
            comes in at the root, that for takes outside the market included, and the import's intensity is all there is.
reserve up  what could be delivered beyond the plan: the unfilled part of flexible asks + the filled part of flexible bids (they can
            be shed) + import headroom (import limit - planned import) >= requirement
reserve down  the mirror: the filled part of flexible asks + the unfilled part of flexible bids + export headroom >= requirement

Reserve has no price of its own in the book: the co-optimised reserve r_i <= upper_i - x_i of an offer at zero is all of its
headroom, so the columns r_i fall away and the price of reserve is what holding it costs in energy (opportunity cost).
Whether the wires could carry the activation at each bus is not part of the requirement (one zone, as in the textbook form).

Sources: Stoft, "Power System Economics", 2002, part 3; Galiana, Bouffard, Arroyo and Restrepo, "Scheduling and pricing of coupled
energy and primary, secondary, and tertiary reserves", Proceedings of the IEEE 93(11), 2005.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from walras.errors import Fault, InputError
from walras.grid.network import Float, Int
from walras.grid.rows import EMISSIONS_CAP, EXPORT_LIMIT, IMPORT_LIMIT, RESERVE_DOWN, RESERVE_UP
from walras.market.orders import BUY, Orders
from walras.units import Int64

if TYPE_CHECKING:
    from walras.grid.feeder import FeederSlot, Groups

MG_PER_KG = 1_000_000
G_PER_KG = 1000

_MAX_INTENSITY = 100_000


@dataclass(frozen=True, slots=True)
class Requirements:
    """The requirements of one slot; the defaults require nothing.

    emission_cap_g     most that the trade of the slot may emit (grams of CO2 equivalent)
    import_g_per_kwh   intensity of what the grid above sells, whole grams
    order_g_per_kwh    intensity of other asks by order id, whole grams (0 where an order is not named)
    reserve_up_kw, reserve_down_kw   reserve that must be left
    flexible           ids of the orders that can be called for reserve (orders at the root are not: headroom stands for them)
    headroom_counts    whether headroom to the import and export limits counts as reserve
    counts_fixed       whether import for takes outside the market counts against the cap; then no order has an intensity of its own
    """

    emission_cap_g: float = math.inf
    import_g_per_kwh: int = 0
    order_g_per_kwh: Mapping[int, int] = field(default_factory=dict)
    reserve_up_kw: float = 0.0
    reserve_down_kw: float = 0.0
    flexible: frozenset[int] = frozenset()
    headroom_counts: bool = True
    counts_fixed: bool = False

    def __post_init__(self) -> None:
        where = "requirements"
        faults = [
            Fault(where, name, getattr(self, name), "zero or more")
            for name in ("emission_cap_g", "reserve_up_kw", "reserve_down_kw")
            if not getattr(self, name) >= 0
        ]
        named = [("import_g_per_kwh", self.import_g_per_kwh)]
        named += [(f"order_g_per_kwh of order {order}", value) for order, value in self.order_g_per_kwh.items()]
        faults += [
            Fault(where, name, value, f"whole grams per kWh from 0 to {_MAX_INTENSITY}")
            for name, value in named
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value <= _MAX_INTENSITY
        ]
        faults += [
            Fault(where, name, getattr(self, name), "a finite number of kW")
            for name in ("reserve_up_kw", "reserve_down_kw")
            if math.isinf(getattr(self, name))
        ]
        if self.counts_fixed and self.order_g_per_kwh:
            faults.append(Fault(where, "order_g_per_kwh", len(self.order_g_per_kwh), "none where the whole import counts"))
        if faults:
            raise InputError(where, faults)

    @property
    def caps_emissions(self) -> bool:
        """Whether there is a cap."""
        return math.isfinite(self.emission_cap_g)

    @property
    def wants_reserve(self) -> bool:
        """Whether reserve is required."""
        return self.reserve_up_kw > 0 or self.reserve_down_kw > 0

    def intensity(self, orders: Orders, root: int) -> Int64:
        """[orders] grams per kWh sold: 0 for bids, the import's for asks at the root, else the order's own."""
        own = np.zeros(orders.count, dtype=np.int64)
        if self.order_g_per_kwh:
            named = np.array(sorted(self.order_g_per_kwh), dtype=np.int64)
            value = np.array([self.order_g_per_kwh[order] for order in named.tolist()], dtype=np.int64)
            at = np.minimum(np.searchsorted(named, orders.id), named.size - 1)
            own = np.where(named[at] == orders.id, value[at], 0)
        own = np.where(orders.node == root, 0 if self.counts_fixed else self.import_g_per_kwh, own)
        return np.asarray(np.where(orders.side == BUY, 0, own), dtype=np.int64)

    def can_be_called(self, orders: Orders, root: int) -> NDArray[np.bool_]:
        """[orders] whether the order counts as reserve."""
        if not self.flexible:
            return np.zeros(orders.count, dtype=np.bool_)
        named = np.isin(orders.id, np.array(sorted(self.flexible), dtype=np.int64))
        return np.asarray(named & (orders.node != root), dtype=np.bool_)


NOTHING_REQUIRED = Requirements()


@dataclass(frozen=True, eq=False)
class Totals:
    """The limits that are sums over orders: `at_root` * (net purchase at the root) + `own` . fills <= `bound`, in kW or kg/h.

    `kind` [t], `at_root` [t], `own` [t, groups], `bound` [t]; `root_side` [groups] is the side of orders at the root, else 0.
    """

    kind: Int
    at_root: Float
    own: Float
    bound: Float
    root_side: Float

    def values(self, fill_kw: Float) -> Float:
        """[t] the left-hand sides."""
        net = float(np.sum(self.root_side * fill_kw))
        return np.asarray(self.at_root * net + np.sum(self.own * fill_kw, axis=1))

    def excess(self, fill_kw: Float) -> Float:
        """[t] by how much each is exceeded (negative: to spare)."""
        return np.asarray(self.values(fill_kw) - self.bound)

    def row_of(self, kind: int) -> int:
        """Where the row of a kind is, -1 where the slot has none."""
        found = np.flatnonzero(self.kind == kind)
        return int(found[0]) if found.size else -1


def total_rows(slot: FeederSlot, groups: Groups, base_kw: float) -> Totals:
    """The sums that bind this slot: import, export, emissions, reserve (only those that have a bound).

    `base_kw` is what the root delivers without any trade. Groups made without the slot carry no intensity and no flexibility:
    then only import and export are rows.
    """
    upper = groups.quantity_wh * slot.kw_per_wh
    sells, none = groups.side < 0, np.zeros(groups.price.size)
    into, out = slot.import_limit_kw - base_kw, slot.export_limit_kw + base_kw
    rows: list[tuple[int, float, Float, float]] = [(IMPORT_LIMIT, -1.0, none, into), (EXPORT_LIMIT, 1.0, none, out)]
    required = slot.requirements
    if groups.g_per_kwh is not None and required.caps_emissions:
        whole = required.import_g_per_kwh / G_PER_KG if required.counts_fixed else 0.0
        cap = required.emission_cap_g / G_PER_KG / slot.hours
        rows.append((EMISSIONS_CAP, -whole, groups.g_per_kwh / G_PER_KG, cap - whole * base_kw))
    if groups.flexible is not None and required.wants_reserve:
        called = groups.flexible.astype(np.float64)
        counts = 1.0 if required.headroom_counts else 0.0
        for kind, wanted, sign, headroom in (
            (RESERVE_UP, required.reserve_up_kw, 1.0, into),
            (RESERVE_DOWN, required.reserve_down_kw, -1.0, out),
        ):
            if wanted > 0:
                idle = float(np.sum((called * upper)[sells if sign > 0 else ~sells]))
                room = headroom if counts else 0.0
                rows.append((kind, -sign * counts, sign * np.where(sells, called, -called), idle + room - wanted))
    kept = [row for row in rows if math.isfinite(row[3])]
    return Totals(
        np.array([row[0] for row in kept], dtype=np.int64),
        np.array([row[1] for row in kept], dtype=np.float64),
        np.array([row[2] for row in kept], dtype=np.float64).reshape(len(kept), groups.price.size),
        np.array([row[3] for row in kept], dtype=np.float64),
        np.where(groups.place == 0, groups.side, 0.0),
    )
