"""The wires as terms of a run, and what their prices add to a bill.

The price of a node is energy + losses + voltage + congestion (+ emissions and reserve where the community limits them). What a kWh
is worth at the root is in everybody's trades and contracts already, so the bill adds only the rest, the *locational charge*: net
metered energy times (price - price at the root), positive for taking where taking strains the wires, negative where it relieves
them. Its sum is the merchandising surplus: what the limits are worth, and the marginal losses beyond the average ones. A
cap on emissions makes every kWh inside dearer than at the root by the carbon of import: who takes pays it, who feeds in earns it.
Reserve that members hold is paid to them on a line of its own. The sum of both lines, by the community's choice, stays with
the grid operator or goes back to the members, in proportion to what their meters turned (a sum below zero is borne likewise).

Where nothing that members offer keeps a limit, it stays broken and its price in the clearing is a penalty: "at any price".
Nobody is billed that: neither what the wires add to a kWh nor what reserve earns is ever more than the scarcity price of the terms.

Source: Kirschen and Strbac, "Fundamentals of Power System Economics", 2018, chapter 5 (merchandising surplus).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from walras.errors import Fault, InputError
from walras.grid import Network
from walras.market.clearing import Clearing
from walras.tariffs.bill import CURTAILMENT, LOCATED, RESERVE
from walras.units import Int64, as_int64, checked_product, share_pro_rata

Rent = Literal["members", "grid_operator"]
RENTS: tuple[Rent, ...] = ("members", "grid_operator")
Relieving = Literal["none", "batteries"]
TakingBack = Literal["nodal", "pro_rata", "last_in_first_out", "cheapest"]
ORDERS: tuple[TakingBack, ...] = ("nodal", "pro_rata", "last_in_first_out", "cheapest")
SCARCITY_MICRO = 1_000_000
"""One currency unit a kWh, unless the community says otherwise."""
RELIEVING: tuple[Relieving, ...] = ("none", "batteries")


@dataclass(frozen=True, slots=True)
class Required:
    """What the community requires of every slot besides the wires: whole grams and watts.

    cap_g_per_hour   most that the import of the feeder may emit in an hour; None: no cap
    grid_g_per_kwh   what a kWh of import emits
    reserve_up_w, reserve_down_w   power that must be left, to take less (give more) and to take more (give less)
    """

    cap_g_per_hour: int | None = None
    grid_g_per_kwh: int = 0
    reserve_up_w: int = 0
    reserve_down_w: int = 0


@dataclass(frozen=True, eq=False)
class Wires:
    """What everybody may know of the wires of a run.

    network     the feeder; `bus` [members] the bus of each member
    rent        who gets the locational charges
    import_limit_w, export_limit_w   most that the feeder may take from and give to the grid above; None: no limit
    relief      whether members' batteries offer the wires what they could give or take more
    required    emissions cap and reserve; None: neither
    scarcity_micro   most that the wires add to the price of a kWh, and that reserve earns, micro/kWh
    order       `nodal`: least value first, with prices; else the written order by which feed-in is taken back (`taking_back`),
                `paid_percent` of what its owner loses being paid; `connected` [members] is the year of each member's newest plant
    """

    network: Network
    bus: Int64
    rent: Rent = "members"
    import_limit_w: int | None = None
    export_limit_w: int | None = None
    relief: Relieving = "none"
    required: Required | None = None
    scarcity_micro: int = SCARCITY_MICRO
    order: TakingBack = "nodal"
    paid_percent: int = 100
    connected: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def priced(self) -> bool:
        """Whether limits have prices."""
        return self.order == "nodal"

    @property
    def items(self) -> tuple[str, ...]:
        """The items that the wires add to a bill."""
        if not self.priced:
            return (CURTAILMENT,)
        return (*((RESERVE,) if self.holds_reserve else ()), *LOCATED)

    @property
    def holds_reserve(self) -> bool:
        """Whether reserve is required, so that bills have a line for it."""
        return self.required is not None and (self.required.reserve_up_w > 0 or self.required.reserve_down_w > 0)


def location_micro(network: Network, clearing: Clearing) -> Int64:
    """[buses]: the price less that at the root, micro/kWh: what losses, every limit, carbon and reserve make of it."""
    price = clearing.node_price_micro_per_kwh
    assert price is not None
    return np.asarray(price - price[network.root], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Charges:
    """[members]: `locational_nano` is paid for where energy was taken or fed in, `returned_nano` (mostly <= 0) given back."""

    locational_nano: Int64
    returned_nano: Int64


def charges(wires: Wires, clearing: Clearing, net_wh: Int64, reserve_nano: int = 0) -> Charges:
    """The locational charge of what was metered [members], and what of its sum goes back to the members, less `reserve_nano`
    that they receive for reserve.
    """
    price = np.clip(location_micro(wires.network, clearing)[wires.bus], -wires.scarcity_micro, wires.scarcity_micro)
    located = checked_product(price, net_wh, "locational_nano")
    surplus = int(located.sum()) - reserve_nano
    key = np.abs(net_wh)
    if wires.rent != "members" or not key.any():
        return Charges(located, np.zeros_like(located))
    return Charges(located, -_share(key, surplus))


def _share(key: Int64, total: int) -> Int64:
    """`total` nano in proportion to `key`: whole units, largest remainder. Exact in integers of any size."""
    whole = int(key.sum())
    if abs(total) <= whole:
        shares = share_pro_rata(key, abs(total))
    else:
        each, rest = divmod(abs(total), whole)
        shares = key * each + share_pro_rata(key, rest)
    return shares if total >= 0 else -shares


def wires_to_public(wires: Wires) -> dict[str, Any]:
    """Whole numbers and strings; numbers that are not whole as hexadecimal floats, exact to the last bit."""
    said: dict[str, Any] = {} if wires.relief == "none" else {"relief": wires.relief}
    if not wires.priced:
        said |= {"order": wires.order, "paid_percent": wires.paid_percent, "connected": wires.connected.tolist()}
    if wires.required is not None:
        said["required"] = asdict(wires.required)
    return said | {
        "network": network_to_public(wires.network),
        "bus": wires.bus.tolist(),
        "rent": wires.rent,
        "import_limit_w": wires.import_limit_w,
        "export_limit_w": wires.export_limit_w,
        "scarcity_micro": wires.scarcity_micro,
    }


def wires_from_public(public: Mapping[str, Any]) -> Wires:
    """The inverse of `wires_to_public`."""
    network = network_from_public(public["network"])
    bus = as_int64(public["bus"], "bus")
    faults = []
    if bus.size and not (int(bus.min()) >= 0 and int(bus.max()) < network.buses):
        faults.append(Fault("wires", "bus", [int(bus.min()), int(bus.max())], f"buses below {network.buses}"))
    if public["rent"] not in RENTS:
        faults.append(Fault("wires", "rent", public["rent"], "one of " + ", ".join(RENTS)))
    relief, order = public.get("relief", "none"), public.get("order", "nodal")
    by_order = () if order == "nodal" else (order, public["paid_percent"], as_int64(public["connected"], "connected"))
    if order not in ORDERS or (by_order and by_order[2].shape != bus.shape):
        faults.append(Fault("wires", "order", order, "one of " + ", ".join(ORDERS) + ", with a year for each member"))
    if relief not in RELIEVING:
        faults.append(Fault("wires", "relief", relief, "one of " + ", ".join(RELIEVING)))
    if faults:
        raise InputError("terms", faults)
    required = Required(**public["required"]) if "required" in public else None
    limits = public["import_limit_w"], public["export_limit_w"]
    return Wires(network, bus, public["rent"], *limits, relief, required, public["scarcity_micro"], *by_order)


def network_to_public(network: Network) -> dict[str, Any]:
    """Columns of the network: whole numbers, texts, and hexadecimal floats."""
    return {
        name: column.tolist() if column.dtype.kind in "iU" else [float(x).hex() for x in column.ravel()]
        for name, column in network.as_arrays().items()
    }


def network_from_public(public: Mapping[str, Any]) -> Network:
    """The inverse of `network_to_public`."""
    arrays = {
        name: np.array(value) if name in _AS_IS else np.array([float.fromhex(x) for x in value]) for name, value in public.items()
    }
    arrays["bus_xy"] = arrays["bus_xy"].reshape(-1, 2)
    arrays |= {name: arrays[name][0] for name in ("slack_v_pu", "base_kva")}
    return Network.from_arrays(arrays)


_AS_IS = ("bus_names", "branch_names", "branch_from", "branch_to", "branch_kind", "root", "format")
