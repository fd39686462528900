"""One slot of a feeder as the clearing sees it: the network, how long the slot is, and what happens outside the market.

The rule: power is constant over a slot, so an energy of E Wh in a slot of h hours is a power of E / 1000 / h kW, and the AC
power flow at those powers is the physics of the slot.

Who is outside the market (`fixed_p_kw`) is supplied under a contract of its own at the root, and pays for the losses that the
wires have without any trade. The market balances what trade adds: sold = bought + (losses with trade - losses without).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walras.errors import Fault, InputError
from walras.grid.network import BASE_KVA, Float, Network
from walras.grid.requirements import NOTHING_REQUIRED, Requirements
from walras.market.orders import BUY, SELL, Orders, make_orders
from walras.units import MAX_ENERGY_WH, WH_PER_KWH, Int64


@dataclass(frozen=True, eq=False)
class FeederSlot:
    """The conditions of one slot.

    network          the wires
    hours            slot length
    fixed_p_kw       [buses] taken by those outside the market, positive when taken (default none)
    fixed_q_kvar     [buses] reactive power of everything, positive when taken (default none)
    import_limit_kw  most that may flow in at the root, export_limit_kw most that may flow out (default no limit)
    requirements     emissions cap and reserve (default none)
    """

    network: Network
    hours: float
    fixed_p_kw: Float | None = None
    fixed_q_kvar: Float | None = None
    import_limit_kw: float = math.inf
    export_limit_kw: float = math.inf
    requirements: Requirements = NOTHING_REQUIRED

    def __post_init__(self) -> None:
        faults = []
        if not (math.isfinite(self.hours) and self.hours > 0):
            faults.append(Fault("feeder slot", "hours", self.hours, "a positive number of hours"))
        for name in ("import_limit_kw", "export_limit_kw"):
            if not getattr(self, name) >= 0:
                faults.append(Fault("feeder slot", name, getattr(self, name), "zero or more"))
        for name in ("fixed_p_kw", "fixed_q_kvar"):
            given = getattr(self, name)
            column = np.zeros(self.network.buses) if given is None else np.array(given, dtype=np.float64)
            if column.shape != (self.network.buses,):
                faults.append(Fault("feeder slot", name, column.shape, f"[{self.network.buses} buses]"))
            elif not np.isfinite(column).all():
                faults.append(Fault("feeder slot", name, "NaN or infinite", "finite numbers"))
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        if faults:
            raise InputError("feeder slot", faults)

    @property
    def kw_per_wh(self) -> float:
        """Power of one Wh in this slot."""
        return 1 / (WH_PER_KWH * self.hours)

    def fixed_pu(self) -> tuple[Float, Float]:
        """Fixed active and reactive power by place in the sweep, pu."""
        assert self.fixed_p_kw is not None
        assert self.fixed_q_kvar is not None
        order = self.network.wires.order
        return self.fixed_p_kw[order] / BASE_KVA, self.fixed_q_kvar[order] / BASE_KVA

    def power_of(self, orders: Orders, filled_wh: Int64) -> Float:
        """[buses] kW taken when `orders` are filled so, with what is fixed."""
        assert self.fixed_p_kw is not None
        check_nodes(orders, self.network)
        traded = np.bincount(orders.node, weights=filled_wh * orders.side * self.kw_per_wh, minlength=self.network.buses)
        return np.asarray(self.fixed_p_kw + traded)


def check_nodes(orders: Orders, network: Network) -> None:
    """Raises InputError with every order whose node is not a bus of the network."""
    bad = np.flatnonzero(orders.node >= network.buses)
    if bad.size:
        expected = f"a bus index below {network.buses}"
        raise InputError("orders", [Fault(f"order row {row}", "node", int(orders.node[row]), expected) for row in bad])


def add_supplier(
    orders: Orders, network: Network, import_price: int, export_price: int, participant: int, quantity_wh: int = MAX_ENERGY_WH
) -> Orders:
    """The book with the supplier in it: at the root it sells any amount at `import_price` and buys at `export_price`.

    Prices in micro per kWh, import above export. The two rows come last, with the two ids after the largest in the book; their
    time is after everyone's. With the supplier in the book the fills are the whole physics of the feeder: an ask left unfilled
    is curtailed, a bid left unfilled is not served.
    """
    if not export_price < import_price:
        raise InputError("supplier", [Fault("supplier", "export_price", export_price, f"below the import price {import_price}")])
    last = int(orders.id.max(initial=-1))
    late = int(orders.time.max(initial=-1)) + 1
    return make_orders(
        np.concatenate([orders.side, [SELL, BUY]]),
        np.concatenate([orders.quantity_wh, [quantity_wh, quantity_wh]]),
        np.concatenate([orders.price_micro_per_kwh, [import_price, export_price]]),
        participant=np.concatenate([orders.participant, [participant, participant]]),
        id=np.concatenate([orders.id, [last + 1, last + 2]]),
        time=np.concatenate([orders.time, [late, late]]),
        node=np.concatenate([orders.node, [network.root, network.root]]),
    )


@dataclass(frozen=True, eq=False)
class Groups:
    """Orders of the same node, side and price as one: they are alike for the network, the tie rule divides among them.

    Sorted by node, side, price, so the groups do not depend on the sequence of the orders. Columns [groups]: `place` in the
    sweep, `side` +1.0 buy, -1.0 sell, `price` micro per kWh, `quantity_wh`; `of_order` [orders] is the group of each order.
    `g_per_kwh` (0 for bids) and `flexible` are there when the groups were made for a slot with requirements; orders that differ
    in them are not alike.
    """

    place: Int64
    side: Float
    price: Float
    quantity_wh: Int64
    of_order: Int64
    g_per_kwh: Float | None = None
    flexible: NDArray[np.bool_] | None = None


def group_orders(orders: Orders, where: Network | FeederSlot) -> Groups:
    """The groups of a book; InputError for a node outside the network. Only a slot brings its requirements into the groups."""
    network = where if isinstance(where, Network) else where.network
    check_nodes(orders, network)
    required = NOTHING_REQUIRED if isinstance(where, Network) else where.requirements
    keys: list[NDArray[Any]] = [orders.node, orders.side, orders.price_micro_per_kwh]
    if required.caps_emissions:
        keys.append(required.intensity(orders, network.root))
    if required.wants_reserve:
        keys.append(required.can_be_called(orders, network.root))
    order = np.lexsort(keys[::-1])
    sorted_keys = [key[order] for key in keys]
    first = np.ones(order.size, dtype=np.bool_)
    if order.size:
        first[1:] = False
        for key in sorted_keys:
            first[1:] |= key[1:] != key[:-1]
    of_order = np.empty(order.size, dtype=np.int64)
    of_order[order] = np.cumsum(first) - 1
    quantity = np.add.reduceat(orders.quantity_wh[order], np.flatnonzero(first)) if order.size else np.zeros(0, dtype=np.int64)
    node, side, price = (key[first] for key in sorted_keys[:3])
    return Groups(
        network.wires.place[node],
        side.astype(np.float64),
        price.astype(np.float64),
        quantity.astype(np.int64),
        of_order,
        sorted_keys[3][first].astype(np.float64) if required.caps_emissions else None,
        sorted_keys[-1][first].astype(np.bool_) if required.wants_reserve else None,
    )
