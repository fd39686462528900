"""The wires as terms of a run, and what their prices add to a bill.

The price of a node is energy + losses + voltage + congestion (+ what else the community limits). What a kWh is worth at the root is
in everybody's trades and contracts already, so the bill adds only the rest, the *locational charge*: net metered energy times
(price - price at the root),
positive for taking where taking strains the wires, negative where it relieves them. Its sum is the merchandising surplus: what the
limits are worth, and the marginal losses beyond the average ones. By the community's choice it stays with the grid operator or
goes back to the members, in proportion to what their meters turned.

Source: Kirschen and Strbac, "Fundamentals of Power System Economics", 2018, chapter 5 (merchandising surplus).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from walras.errors import Fault, InputError
from walras.grid import Network
from walras.market.clearing import Clearing
from walras.units import Int64, as_int64, checked_product, share_pro_rata

Rent = Literal["members", "grid_operator"]
RENTS: tuple[Rent, ...] = ("members", "grid_operator")


@dataclass(frozen=True, eq=False)
class Wires:
    """What everybody may know of the wires of a run.

    network     the feeder; `bus` [members] the bus of each member
    rent        who gets the locational charges
    import_limit_w, export_limit_w   most that the feeder may take from and give to the grid above; None: no limit
    """

    network: Network
    bus: Int64
    rent: Rent = "members"
    import_limit_w: int | None = None
    export_limit_w: int | None = None


def location_micro(network: Network, clearing: Clearing) -> Int64:
    """[buses]: the price less that at the root, micro/kWh: what losses and every limit make of it."""
    price = clearing.node_price_micro_per_kwh
    assert price is not None
    return np.asarray(price - price[network.root], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Charges:
    """[members]: `locational_nano` is paid for where energy was taken or fed in, `returned_nano` (mostly <= 0) given back."""

    locational_nano: Int64
    returned_nano: Int64


def charges(wires: Wires, clearing: Clearing, net_wh: Int64) -> Charges:
    """The locational charge of what was metered [members], and what of its sum goes back to the members."""
    located = checked_product(location_micro(wires.network, clearing)[wires.bus], net_wh, "locational_nano")
    surplus = int(located.sum())
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
    network = {
        name: column.tolist() if column.dtype.kind in "iU" else [float(x).hex() for x in column.ravel()]
        for name, column in wires.network.as_arrays().items()
    }
    return {
        "network": network,
        "bus": wires.bus.tolist(),
        "rent": wires.rent,
        "import_limit_w": wires.import_limit_w,
        "export_limit_w": wires.export_limit_w,
    }


def wires_from_public(public: Mapping[str, Any]) -> Wires:
    """The inverse of `wires_to_public`."""
    arrays = {
        name: np.array(value) if name in _AS_IS else np.array([float.fromhex(x) for x in value])
        for name, value in public["network"].items()
    }
    arrays["bus_xy"] = arrays["bus_xy"].reshape(-1, 2)
    arrays |= {name: arrays[name][0] for name in ("slack_v_pu", "base_kva")}
    network = Network.from_arrays(arrays)
    bus = as_int64(public["bus"], "bus")
    faults = []
    if bus.size and not (int(bus.min()) >= 0 and int(bus.max()) < network.buses):
        faults.append(Fault("wires", "bus", [int(bus.min()), int(bus.max())], f"buses below {network.buses}"))
    if public["rent"] not in RENTS:
        faults.append(Fault("wires", "rent", public["rent"], "one of " + ", ".join(RENTS)))
    if faults:
        raise InputError("terms", faults)
    return Wires(network, bus, public["rent"], public["import_limit_w"], public["export_limit_w"])


_AS_IS = ("bus_names", "branch_names", "branch_from", "branch_to", "branch_kind", "root", "format")
