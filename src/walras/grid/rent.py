"""What the operator of a nodal clearing is left with, what each part of it is for, and what becomes of the congestion rent.

The rule: the surplus of a clearing splits, in whole nano and without a rest, into

congestion   sum over nodes of (voltage + congestion part of the price) * net purchase: what scarce wires earned
losses       sum over nodes of (loss part) * net purchase, less the lost energy at the price of the root: marginal losses are about
             twice the average ones, so this is what losses were charged beyond their cost
fees         the grid fee on what was bought
emissions    the price of carbon on every ask; reserve: headroom used less reserve paid for (both as published by the clearing)
rounding     what is left by clipping prices at the orders' own limits (0 in almost every clearing)

and the congestion rent either stays with the grid operator ("kept") or goes back to the members by a stated key. Keys that do not
depend on where or when a member trades in the slot ("equal", "capacity") leave the incentives of the prices alone; a key by energy
weakens them. (Hogan, "Contract networks for electric power transmission", J. Regulatory Economics 4, 1992.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from walras.errors import ClearingError, Fault, InputError
from walras.grid.dividing import divide_exactly
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.orders import BUY, Orders
from walras.units import Int64, as_int64

RentRule = Literal["kept", "equal", "capacity", "energy"]
RENT_RULES: tuple[RentRule, ...] = ("kept", "equal", "capacity", "energy")


@dataclass(frozen=True, slots=True)
class Surplus:
    """The parts of `clearing.surplus_nano`; they add up to it."""

    congestion_nano: int
    losses_nano: int
    fees_nano: int
    rounding_nano: int
    emissions_nano: int = 0
    reserve_nano: int = 0

    @property
    def total_nano(self) -> int:
        """All parts together: the clearing's surplus."""
        parts = (self.congestion_nano, self.losses_nano, self.fees_nano, self.emissions_nano, self.reserve_nano)
        return sum(parts) + self.rounding_nano


@dataclass(frozen=True, eq=False)
class RentDisposal:
    """`pay_nano` [members] <= 0 for a rent > 0 (members receive), `kept_nano` what stays with the operator:
    -sum(pay_nano) + kept_nano is the rent.
    """

    pay_nano: Int64
    kept_nano: int


def scarcity_price(clearing: Clearing) -> Int64:
    """[buses] the part of each node's price that limits made: voltage + congestion, micro per kWh.

    Raises ClearingError for a clearing without nodal evidence.
    """
    try:
        parts = [np.asarray(clearing.certificate[f"{name}_micro_per_kwh"]) for name in ("voltage", "congestion")]
    except KeyError as cause:
        raise ClearingError(
            f"the clearing by {clearing.mechanism!r} does not say what limits are worth",
            thing=clearing.mechanism,
            way_out="clear with nodal prices (walras.grid.NODAL), or redispatch and take its clearing",
        ) from cause
    return np.asarray(parts[0] + parts[1], dtype=np.int64)


def net_purchase(orders: Orders, clearing: Clearing, buses: int) -> Int64:
    """[buses] Wh bought less sold at each bus, exact."""
    net = np.zeros(buses, dtype=np.int64)
    np.add.at(net, orders.node, clearing.filled_wh * orders.side)
    return net


def split_surplus(orders: Orders, clearing: Clearing, conventions: Conventions) -> Surplus:
    """The parts of the surplus of a nodal clearing of `orders`. Raises ClearingError for any other clearing.

    One seller behind 0.16 ohm sells 2,500 Wh at 19.6116 ct, the buyer at the root gets 2,475 at 20 ct: the surplus is
    2475 * 200000 - 2500 * 196116 = 4,710,000 nano, about what the 25 Wh lost cost (5,000,000): marginal losses are charged, at the
    price of the seller's node.
    >>> from walras.grid import FeederSlot, Line, build_network
    >>> from walras.grid.nodal import clear
    >>> from walras.market.orders import make_orders
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.1)], root="a")
    >>> book = make_orders([1, -1], [5000, 2500], [200_000, 80_000], node=[0, 1])
    >>> split_surplus(book, clear(book, Conventions(), FeederSlot(net, 0.25)), Conventions())
    Surplus(congestion_nano=0, losses_nano=4710000, fees_nano=0, rounding_nano=0, emissions_nano=0, reserve_nano=0)
    """
    scarce = scarcity_price(clearing)
    net = net_purchase(orders, clearing, scarce.size)
    energy = int(np.asarray(clearing.certificate["energy_micro_per_kwh"]))
    losses_part = np.asarray(clearing.certificate["losses_micro_per_kwh"])
    congestion = _dot(scarce, net)
    inside = energy + int(np.asarray(clearing.certificate["emissions_micro_per_kwh"]))
    reserve_part = np.asarray(clearing.certificate["reserve_micro_per_kwh"])
    inside += int(reserve_part[np.argmax(np.abs(reserve_part))]) if reserve_part.ndim else 0  # the same everywhere but at the root
    losses = _dot(losses_part, net) + inside * int(net.sum())
    emissions, reserve = (int(np.asarray(clearing.certificate[f"{name}_rent_nano"])) for name in ("emissions", "reserve"))
    bought = int(clearing.filled_wh[orders.side == BUY].sum())
    fees = conventions.grid_fee_micro_per_kwh * bought
    rounding = clearing.surplus_nano - congestion - losses - fees - emissions - reserve
    return Surplus(congestion, losses, fees, rounding, emissions, reserve)


def dispose_of_rent(
    rent_nano: int,
    rule: RentRule,
    members: int,
    *,
    capacity_w: ArrayLike | None = None,
    energy_wh: ArrayLike | None = None,
) -> RentDisposal:
    """Who gets the congestion rent of a slot or a period.

    "kept": nobody. "equal": the same for every member. "capacity": by subscribed capacity `capacity_w` [members].
    "energy": by `energy_wh` [members] >= 0, the energy each took (or traded). A negative rent is a bill by the same key. Exact by
    largest remainder. Raises InputError for an unknown rule, and a key that is absent, negative or zero for everyone.

    >>> dispose_of_rent(1_000, "capacity", 3, capacity_w=[11_000, 4_600, 4_600]).pay_nano.tolist()
    [-544, -228, -228]
    """
    keys: dict[str, ArrayLike | None] = {"equal": np.ones(members, dtype=np.int64), "capacity": capacity_w, "energy": energy_wh}
    if rule not in RENT_RULES:
        raise InputError("rent", [Fault("rent", "rule", rule, "one of " + ", ".join(RENT_RULES))])
    if rule == "kept":
        return RentDisposal(np.zeros(members, dtype=np.int64), rent_nano)
    given = keys[rule]
    if given is None:
        raise InputError("rent", [Fault("rent", f"{rule} key", None, f"{members} whole numbers of zero or more")])
    key = as_int64(given, f"{rule} key")
    if key.size != members or (key < 0).any():
        raise InputError("rent", [Fault("rent", f"{rule} key", key.tolist(), f"{members} whole numbers of zero or more")])
    return RentDisposal(-divide_exactly(rent_nano, key, f"{rule} key"), 0)


def _dot(price: Int64, energy: Int64) -> int:
    """Exact sum of products as a Python int."""
    return sum(int(p) * int(e) for p, e in zip(price.tolist(), energy.tolist(), strict=True))
