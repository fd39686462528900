"""What members pay for the wires beside their contracts, slot by slot: by the capacity they ask for, and by the losses they cause.

    capacity          subscribed kW * price per kW and day, in the slot's part of a day (whole nano; the parts of 1,440 minutes add
                      up to a day's price exactly)
    capacity_excess   energy taken beyond the subscription * price (`grid.excess_charges`)
    network_losses    the cost of what the members' flows lose in the slot, shared by marginal loss factors (`grid.loss_charges`):
                      who takes where power is fed in is credited; the shares add up to the cost to the nano

All of it is a pure function of the terms, the metered energy and the published reactive power, so anybody can repeat it. The
money goes to the grid operator, who has bought the losses and built the capacity; taxes are in the prices. The same is due for the
same metered energy without the market, so trading neither saves nor costs any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from walras.errors import ClearingError, Fault, InputError
from walras.exchange.wires import network_from_public, network_to_public
from walras.grid import FeederSlot, Network, excess_charges, loss_charges
from walras.slots import SlotGrid
from walras.tariffs.bill import CAPACITY, CAPACITY_EXCESS, NETWORK_LOSSES
from walras.units import Int64, as_int64, checked_product

Shared = Literal["scaled", "shifted"]
SHARED: tuple[Shared, ...] = ("scaled", "shifted")
MINUTES_PER_DAY = 1_440


@dataclass(frozen=True, eq=False)
class NetworkCharges:
    """The prices (0: not charged), and what they rest on.

    capacity_micro_per_kw_day, excess_micro_per_kwh   by capacity; `subscribed_w` [members]
    losses_micro_per_kwh   what a kWh lost costs; `losses_shared` how marginal losses, about twice the actual ones, are reconciled
    network, bus           the feeder and the bus of each member where losses are charged, else None
    """

    capacity_micro_per_kw_day: int
    excess_micro_per_kwh: int
    subscribed_w: Int64
    losses_micro_per_kwh: int = 0
    losses_shared: Shared = "scaled"
    network: Network | None = None
    bus: Int64 | None = None

    @property
    def items(self) -> tuple[str, ...]:
        """The items that they add to a bill."""
        named = (
            (CAPACITY, self.capacity_micro_per_kw_day),
            (CAPACITY_EXCESS, self.excess_micro_per_kwh),
            (NETWORK_LOSSES, self.losses_micro_per_kwh),
        )
        return tuple(name for name, price in named if price)


def network_items(
    charged: NetworkCharges, grid: SlotGrid, slot: int, net_wh: Int64, reactive_var: Int64 | None
) -> dict[str, Int64]:
    """Item to a column [members] of nano of a slot: `net_wh` [members] as metered, `reactive_var` [buses] for the losses.

    Raises ClearingError where losses are charged and the reactive power is not known.
    """
    columns: dict[str, Int64] = {}
    if CAPACITY in charged.items:
        day = checked_product(charged.subscribed_w, charged.capacity_micro_per_kw_day, "capacity_nano")
        before = slot * grid.minutes % MINUTES_PER_DAY
        after = before + grid.minutes
        parts = [price * after // MINUTES_PER_DAY - price * before // MINUTES_PER_DAY for price in day.tolist()]
        columns[CAPACITY] = as_int64(parts, "capacity_nano")
    if CAPACITY_EXCESS in charged.items:
        columns[CAPACITY_EXCESS] = excess_charges(net_wh[None], charged.subscribed_w, grid.hours, charged.excess_micro_per_kwh)
    if NETWORK_LOSSES in charged.items:
        if reactive_var is None or charged.network is None or charged.bus is None:
            raise ClearingError(f"slot {slot}: losses are charged, and the reactive power is not known", thing=slot)
        feeder = FeederSlot(charged.network, grid.hours, fixed_q_kvar=reactive_var / 1e3)
        columns[NETWORK_LOSSES] = loss_charges(
            feeder, charged.bus, net_wh, charged.losses_micro_per_kwh, charged.losses_shared
        ).charge_nano
    return columns


def network_charges_to_public(charged: NetworkCharges) -> dict[str, Any]:
    """Plain values, the feeder only where losses are charged."""
    feeder = (
        {}
        if charged.network is None or charged.bus is None
        else {"network": network_to_public(charged.network), "bus": charged.bus.tolist()}
    )
    return feeder | {
        "capacity": charged.capacity_micro_per_kw_day,
        "excess": charged.excess_micro_per_kwh,
        "subscribed_w": charged.subscribed_w.tolist(),
        "losses": charged.losses_micro_per_kwh,
        "losses_shared": charged.losses_shared,
    }


def network_charges_from_public(public: Mapping[str, Any]) -> NetworkCharges:
    """The inverse of `network_charges_to_public`; InputError where a bus is not there or losses have no feeder."""
    network = network_from_public(public["network"]) if "network" in public else None
    bus = as_int64(public["bus"], "bus") if "bus" in public else None
    faults = []
    if network is not None and bus is not None and bus.size and not (int(bus.min()) >= 0 and int(bus.max()) < network.buses):
        faults.append(Fault("network charges", "bus", int(bus.max()), f"buses below {network.buses}"))
    if public["losses_shared"] not in SHARED:
        faults.append(Fault("network charges", "losses_shared", public["losses_shared"], "one of " + ", ".join(SHARED)))
    if public["losses"] and (network is None or bus is None):
        faults.append(Fault("network charges", "losses", public["losses"], "a network and buses beside it"))
    if faults:
        raise InputError("terms", faults)
    prices = public["capacity"], public["excess"]
    subscribed = as_int64(public["subscribed_w"], "subscribed_w")
    return NetworkCharges(*prices, subscribed, public["losses"], public["losses_shared"], network, bus)


def slot_reactive(charged: NetworkCharges | None, delivered: Mapping[str, Any]) -> Int64 | None:
    """The reactive power [buses] that the public part of a slot's delivery publishes, where losses are charged."""
    if charged is None or NETWORK_LOSSES not in charged.items:
        return None
    return as_int64(delivered["reactive_var"], "reactive_var")


def reactive_at(bus: Int64, buses: int, reactive_kvar: np.ndarray[Any, np.dtype[np.float64]]) -> Int64:
    """[buses] var, whole, of what members at `bus` [members] take: `reactive_kvar` [members]."""
    return np.rint(np.bincount(bus, weights=1e3 * reactive_kvar, minlength=buses)).astype(np.int64)
