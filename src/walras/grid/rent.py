"""What becomes of the congestion rent: the part of a nodal clearing's surplus that scarce wires earned.

The rule: every nodal clearing publishes its surplus by what it is for (`nodal_payments.py`); the congestion rent is the voltage
part and the congestion part together: sum over nodes of (voltage + congestion part of the price) * net purchase. It either stays
with the grid operator ("kept") or goes back to the members by a stated key, exactly. Keys that do not depend on where or when a
member trades in the slot ("equal", "capacity") leave the incentives of the prices alone; a key by energy weakens them. (Hogan,
"Contract networks for electric power transmission", J. Regulatory Economics 4, 1992.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from walras.errors import ClearingError, Fault, InputError
from walras.grid.dividing import divide_exactly
from walras.market.clearing import Clearing
from walras.units import Int64, as_int64

RentRule = Literal["kept", "equal", "capacity", "energy"]
RENT_RULES: tuple[RentRule, ...] = ("kept", "equal", "capacity", "energy")


@dataclass(frozen=True, eq=False)
class RentDisposal:
    """`pay_nano` [members] <= 0 for a rent > 0 (members receive), `kept_nano` what stays with the operator:
    -sum(pay_nano) + kept_nano is the rent.
    """

    pay_nano: Int64
    kept_nano: int


def scarcity_price(clearing: Clearing) -> Int64:
    """[buses] the part of each node's price that limits of the wires made: voltage + congestion, micro per kWh.

    Raises ClearingError for a clearing without nodal evidence.
    """
    voltage, congestion = _published(clearing, "voltage_micro_per_kwh"), _published(clearing, "congestion_micro_per_kwh")
    return np.asarray(voltage + congestion, dtype=np.int64)


def congestion_rent(clearing: Clearing) -> int:
    """The congestion rent of a nodal clearing in nano: voltage and congestion. Raises ClearingError for any other clearing.

    A plant behind 0.16 ohm offers 12 kWh at 8 ct, 10.1 can flow at 1.01 pu; a buyer at the root takes 10.0 at 20 ct: of the surplus
    of 119.2 ct, 117.24 were earned by the voltage limit.
    >>> from walras.grid import FeederSlot, Line, build_network
    >>> from walras.grid.nodal import clear
    >>> from walras.market.conventions import Conventions
    >>> from walras.market.orders import make_orders
    >>> cable = Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.1)
    >>> net = build_network({"a": 0.4, "b": 0.4}, [cable], root="a", v_max_pu=1.01)
    >>> done = clear(make_orders([1, -1], [20_000, 12_000], [200_000, 80_000], node=[0, 1]), Conventions(), FeederSlot(net, 1.0))
    >>> done.surplus_nano, congestion_rent(done)
    (1192000000, 1172387800)
    """
    return int(_published(clearing, "voltage_rent_nano")) + int(_published(clearing, "congestion_rent_nano"))


def _published(clearing: Clearing, name: str) -> Int64:
    if name not in clearing.certificate:
        raise ClearingError(
            f"the clearing by {clearing.mechanism!r} does not say what limits are worth",
            thing=clearing.mechanism,
            way_out="clear with nodal prices (walras.grid.NODAL), or redispatch and take its clearing",
        )
    return np.asarray(clearing.certificate[name], dtype=np.int64)


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
