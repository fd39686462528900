"""Network charges: what a member pays for the wires, by the losses it causes or by the capacity it asks for.

The rule: a charge is a pure function of positions and network, in whole nano, and the charges of all members add up to the
cost that is charged, exactly (largest remainder).

By losses    `loss_charges`: each member's marginal loss factor, dP_root/dp_b - 1 from the sensitivities of the AC flow,
             published in millionths, times its net take. Losses are quadratic, so marginal losses add up to about twice
             the actual ones: they are reconciled to the actual cost either "scaled" (all by one factor) or "shifted" (the
             excess returned by energy moved). Who takes where power is fed in, or feeds in where it is taken, saves losses
             and is credited.
By capacity  `peak_charges`: by the share of the coincident peak: the slots in which all members together take most.
             `subscribed_charges`: by subscribed capacity, and `excess_charges` for what is taken beyond it.

Sources: Galiana, Conejo and Kockar, "Incremental transmission loss allocation under pool dispatch", IEEE Trans. Power Systems
17(1), 2002 (losses); the coincident peak is how transmission is charged in Great Britain (Triad) and in Texas (4CP).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from walras.errors import Fault, InputError
from walras.grid.dividing import divide_exactly
from walras.grid.feeder import FeederSlot
from walras.grid.flow import power_flow
from walras.grid.network import Float, Int
from walras.grid.sensitivity import sensitivities
from walras.units import Int64, as_int64, checked_product

PPM = 1_000_000
Reconcile = Literal["scaled", "shifted"]
Direction = Literal["taken", "fed_in"]


@dataclass(frozen=True, eq=False)
class LossCharges:
    """`charge_nano` [members] (positive: pays) adds up to `losses_wh` * the price; `factor_ppm` [buses] the marginal loss factor in
    millionths of the energy taken; `marginal_wh` what the factors alone would have charged, in Wh.
    """

    charge_nano: Int64
    losses_wh: int
    factor_ppm: Int64
    marginal_wh: float


def marginal_loss_factors(slot: FeederSlot, p_kw: Float) -> Float:
    """[buses] kW lost more for one kW more taken at each bus, at the powers `p_kw` [buses] (fixed power included). Root: 0.

    >>> from walras.grid import Line, build_network
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.1)], root="a")
    >>> [round(float(f), 4) for f in marginal_loss_factors(FeederSlot(net, 0.25), np.array([0.0, 10.0]))]
    [0.0, 0.0206]
    """
    assert slot.fixed_q_kvar is not None
    return sensitivities(slot.network, p_kw, slot.fixed_q_kvar).slack_power()[0] - 1


def loss_charges(
    slot: FeederSlot, bus: Int, net_wh: ArrayLike, loss_price_micro_per_kwh: int, reconcile: Reconcile = "scaled"
) -> LossCharges:
    """Charge members at `bus` [members] with net takes `net_wh` (negative: fed in) for the losses they add to the slot.

    What is lost without them (`slot.fixed_p_kw` alone) is not theirs; a member mix that *saves* losses is paid. With
    "scaled", where the marginal losses add up to less than nothing or to less than a hundredth of the actual (no factor is
    then meaningful), the actual cost is divided by energy moved. Raises InputError for columns that do not fit, GridError
    without an AC flow.

    10 kWh in an hour over 0.16 ohm lose 102 Wh; 0.0206 * 10 kWh = 206 Wh at the margin, of which 102 are charged:
    >>> from walras.grid import Line, build_network
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.1)], root="a")
    >>> done = loss_charges(FeederSlot(net, 1.0), np.array([1, 1]), [6_000, 4_000], 250_000)
    >>> done.losses_wh, round(done.marginal_wh), done.charge_nano.tolist()
    (102, 206, [15300000, 10200000])
    """
    place, net = np.asarray(bus, dtype=np.int64), as_int64(net_wh, "net_wh")
    faults = []
    if place.shape != net.shape:
        faults.append(Fault("loss charges", "net_wh", net.shape, f"one number for each of {place.size} members"))
    if reconcile not in ("scaled", "shifted"):
        faults.append(Fault("loss charges", "reconcile", reconcile, "scaled or shifted"))
    if place.size and not (int(place.min()) >= 0 and int(place.max()) < slot.network.buses):
        faults.append(Fault("loss charges", "bus", place.tolist(), f"bus indices below {slot.network.buses}"))
    if faults:
        raise InputError("loss charges", faults)
    assert slot.fixed_p_kw is not None
    assert slot.fixed_q_kvar is not None
    p = slot.fixed_p_kw + np.bincount(place, weights=net * slot.kw_per_wh, minlength=slot.network.buses)
    flow = power_flow(slot.network, np.stack([p, slot.fixed_p_kw]), np.stack([slot.fixed_q_kvar] * 2))
    losses = round(float(flow.losses_kw[0] - flow.losses_kw[1]) / slot.kw_per_wh)
    factor = np.rint(marginal_loss_factors(slot, p) * PPM).astype(np.int64)
    weight = checked_product(factor[place], net, "marginal losses")
    marginal = int(weight.sum())
    cost = losses * loss_price_micro_per_kwh
    if reconcile == "scaled" and 100 * abs(marginal) > abs(losses) * PPM and (marginal > 0) == (losses > 0):
        charge = divide_exactly(cost, weight, "marginal losses")
    elif reconcile == "scaled":
        charge = divide_exactly(cost, np.abs(net), "energy moved")
    else:
        at_margin = as_int64([int(w) * loss_price_micro_per_kwh // PPM for w in weight], "marginal losses")
        charge = at_margin + divide_exactly(cost - int(at_margin.sum()), np.abs(net), "energy moved")
    return LossCharges(np.asarray(charge, dtype=np.int64), losses, factor, marginal / PPM)


def coincident_peak(net_wh: Int64, peaks: int = 1, direction: Direction = "taken") -> Int64:
    """The `peaks` slots in which all members together take (feed in) most, the highest first, of equal ones the earlier.

    `net_wh` [slots, members], positive when taken.
    """
    total = np.asarray(net_wh, dtype=np.int64).sum(axis=1) * (1 if direction == "taken" else -1)
    if not 1 <= peaks <= total.size:
        raise InputError("peak", [Fault("peak", "peaks", peaks, f"between 1 and {total.size}")])
    return np.asarray(np.argsort(-total, kind="stable")[:peaks], dtype=np.int64)


def peak_charges(cost_nano: int, net_wh: ArrayLike, *, peaks: int = 1, direction: Direction = "taken") -> Int64:
    """[members] nano: `cost_nano` divided by what each takes (feeds in) in the coincident peak's slots.

    `net_wh` [slots, members] whole Wh, positive when taken. Who goes the other way in the peak pays nothing (and gets nothing).
    Raises InputError where nobody goes that way in those slots.

    Three members, two slots; the peak is the second, where they take 1, 3 and -2 kWh:
    >>> peak_charges(100, [[1500, 200, 0], [1000, 3000, -2000]]).tolist()
    [25, 75, 0]
    """
    net = _profile(net_wh)
    if direction not in ("taken", "fed_in"):
        raise InputError("peak", [Fault("peak", "direction", direction, "taken or fed_in")])
    here = net[coincident_peak(net, peaks, direction)] * (1 if direction == "taken" else -1)
    return divide_exactly(cost_nano, np.maximum(here, 0).sum(axis=0), "energy in the peak")


def subscribed_charges(cost_nano: int, subscribed_w: ArrayLike) -> Int64:
    """[members] nano: `cost_nano` divided by subscribed capacity, whole watts >= 0.

    >>> subscribed_charges(90, [4_000, 11_000]).tolist()
    [24, 66]
    """
    capacity = as_int64(subscribed_w, "subscribed_w")
    if (capacity < 0).any():
        raise InputError("subscription", [Fault("subscription", "subscribed_w", int(capacity.min()), "zero or more")])
    return divide_exactly(cost_nano, capacity, "subscribed_w")


def excess_charges(net_wh: ArrayLike, subscribed_w: ArrayLike, hours: float, price_micro_per_kwh: int) -> Int64:
    """[members] nano for energy taken beyond the subscription: per slot max(net - subscribed * hours, 0), at the price.

    The free energy of a slot is rounded up to a whole Wh, so that who keeps its subscription never pays.

    >>> excess_charges([[1000, 1200], [1001, 500]], [4_000, 4_000], 0.25, 100_000).tolist()
    [100000, 20000000]
    """
    net, capacity = _profile(net_wh), as_int64(subscribed_w, "subscribed_w")
    if capacity.size != net.shape[1]:
        raise InputError("subscription", [Fault("subscription", "subscribed_w", capacity.size, f"{net.shape[1]} members")])
    free = np.ceil(capacity * hours - 1e-9).astype(np.int64)
    return checked_product(np.maximum(net - free, 0).sum(axis=0), price_micro_per_kwh, "excess_nano")


def _profile(net_wh: ArrayLike) -> Int64:
    array = np.asarray(net_wh)
    if array.ndim != 2:
        raise InputError("profile", [Fault("profile", "net_wh", array.shape, "[slots, members]")])
    return as_int64(array.ravel(), "net_wh").reshape(array.shape)
