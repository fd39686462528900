"""Who pays what in a nodal clearing, and what the operator's surplus consists of: whole numbers from the published prices alone.

The rule: with x filled of u, an order of side s at bus b pays

    s * price_b * x  +  add * x  -  hold * (u - x)

add    an ask pays the price of carbon times its intensity; a flexible bid (up) or ask (down) is paid for the reserve its fill is
hold   a flexible ask (up) or bid (down) is paid for the reserve its unfilled part is

and never more than its bid, never less than its ask, for what is filled. The sum of all payments is the surplus, split into

losses      what sold and bought energy is worth at energy + emissions + reserve + losses (with what rounding leaves)
voltage, congestion   the same over those parts of the prices
emissions   the price of carbon on every ask; where the cap counts the whole import, on what trade adds to it
reserve     import and export headroom used, less what is paid for reserve
grid fee    on what is bought
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from walras.grid.feeder import FeederSlot
from walras.grid.flow import power_flow
from walras.grid.requirements import G_PER_KG, MG_PER_KG
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.orders import BUY, Orders
from walras.market.terms import Terms
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64, checked_product, checked_sum

RENT_NAMES = ("losses", "voltage", "congestion", "emissions", "reserve", "grid_fee")


@dataclass(frozen=True, slots=True)
class Scarcity:
    """Whole prices of what the community requires: carbon in micro per kg, reserve in micro per kWh (a kW held for an hour)."""

    carbon_micro_per_kg: int = 0
    up_micro_per_kwh: int = 0
    down_micro_per_kwh: int = 0

    def carbon_of(self, g_per_kwh: Int64 | int) -> Int64:
        """Micro per kWh that carbon adds at an intensity."""
        most = MAX_PRICE_MICRO_PER_KWH
        return np.minimum(self.carbon_micro_per_kg * np.asarray(g_per_kwh, dtype=np.int64) // G_PER_KG, most)


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """By order, micro per kWh: `add` on what is filled (`carbon` of it for carbon), `hold` on what is not."""

    add: Int64
    hold: Int64
    carbon: Int64


def order_terms(orders: Orders, slot: FeederSlot, scarcity: Scarcity) -> OrderTerms:
    """The terms of every order at these prices."""
    zeros = np.zeros(orders.count, dtype=np.int64)
    required, root = slot.requirements, slot.network.root
    carbon = scarcity.carbon_of(required.intensity(orders, root)) if scarcity.carbon_micro_per_kg else zeros
    if not (scarcity.up_micro_per_kwh or scarcity.down_micro_per_kwh):
        return OrderTerms(carbon, zeros, carbon)
    called, buys = required.can_be_called(orders, root), orders.side == BUY
    up, down = scarcity.up_micro_per_kwh, scarcity.down_micro_per_kwh
    filled_holds = np.where(called, np.where(buys, up, down), 0)
    idle_holds = np.where(called, np.where(buys, down, up), 0)
    return OrderTerms(carbon - filled_holds, idle_holds, carbon)


def payments(
    orders: Orders, book: Terms, fills: Int64, price: Int64, own: OrderTerms, conventions: Conventions
) -> tuple[Int64, Int64]:
    """(what each order pays in nano, what of it is for reserve held by its unfilled part: zero or less)."""
    at_node = price[orders.node]
    buys = orders.side == BUY
    rate = np.where(
        buys,
        np.minimum(at_node + own.add, book.price_micro_per_kwh) + conventions.grid_fee_micro_per_kwh,
        np.maximum(at_node - own.add, book.price_micro_per_kwh),
    )
    held = -checked_product(np.where(own.hold > 0, book.quantity_wh - fills, 0), own.hold, "reserve_pay_nano")
    return checked_product(fills * orders.side, rate, "pay_nano") + held, held


def published_scarcity(clearing: Clearing) -> Scarcity:
    """The prices of carbon and reserve that a clearing publishes; 0 where it has none."""
    names = ("carbon_price_micro_per_kg", "reserve_up_price_micro_per_kwh", "reserve_down_price_micro_per_kwh")
    return Scarcity(*(int(np.asarray(clearing.certificate.get(name, 0))) for name in names))


def reserve_received(
    orders: Orders, clearing: Clearing, slot: FeederSlot, most_micro_per_kwh: int = MAX_PRICE_MICRO_PER_KWH
) -> Int64:
    """[orders] nano that each order receives for the reserve it holds, by its filled and its unfilled part, at the published
    prices of reserve or at `most_micro_per_kwh` where they are higher (reserve that is short has a penalty for a price).
    """
    said = published_scarcity(clearing)
    up, down = (min(price, most_micro_per_kwh) for price in (said.up_micro_per_kwh, said.down_micro_per_kwh))
    own = order_terms(orders, slot, Scarcity(said.carbon_micro_per_kg, up, down))
    idle = orders.quantity_wh - clearing.filled_wh
    return checked_product(clearing.filled_wh, own.carbon - own.add, "reserve") + checked_product(idle, own.hold, "reserve")


def split_rents(
    orders: Orders, fills: Int64, pay: Int64, held: Int64, own: OrderTerms, parts: Mapping[str, int | Int64],
    scarcity: Scarcity, slot: FeederSlot, conventions: Conventions,
) -> dict[str, int]:  # fmt: skip
    """The surplus by name, adding up to the sum of payments exactly. `parts` are the published parts of the prices."""
    net = fills * orders.side

    def over(name: str) -> int:
        column = np.broadcast_to(np.asarray(parts[f"{name}_micro_per_kwh"], dtype=np.int64), (slot.network.buses,))
        return checked_sum(checked_product(net, column[orders.node], name), name)

    at_root = checked_sum(np.where(orders.node == slot.network.root, net, 0), "net purchase at the root")
    emissions = checked_sum(checked_product(fills, own.carbon, "emissions"), "emissions")
    if slot.requirements.counts_fixed:
        emissions -= at_root * int(scarcity.carbon_of(slot.requirements.import_g_per_kwh))
    filled_holds = checked_sum(checked_product(fills, own.add - own.carbon, "reserve"), "reserve")
    headroom = 0
    if slot.requirements.headroom_counts:
        headroom = -at_root * (scarcity.up_micro_per_kwh - scarcity.down_micro_per_kwh)
    rents = {
        "voltage": over("voltage"),
        "congestion": over("congestion"),
        "emissions": emissions,
        "reserve": headroom + filled_holds + checked_sum(held, "reserve"),
        "grid_fee": conventions.grid_fee_micro_per_kwh * checked_sum(fills[orders.side == BUY], "bought"),
    }
    rents["losses"] = checked_sum(pay, "surplus_nano") - sum(rents.values())
    return {name: rents[name] for name in RENT_NAMES}


def emitted_mg(orders: Orders, fills: Int64, slot: FeederSlot) -> int:
    """What the filled asks emit: Wh times g/kWh is mg, exact. Where the cap counts the whole import: what comes in at the root,
    that for the takes outside the market to the whole Wh.
    """
    required = slot.requirements
    if required.counts_fixed:
        net = checked_sum(np.where(orders.node == slot.network.root, fills * orders.side, 0), "net purchase at the root")
        return max(fixed_import_wh(slot) - net, 0) * required.import_g_per_kwh
    return checked_sum(checked_product(fills, slot.requirements.intensity(orders, slot.network.root), "emitted_mg"), "emitted_mg")


def fixed_import_wh(slot: FeederSlot) -> int:
    """What the root delivers without any trade, to the whole Wh."""
    assert slot.fixed_p_kw is not None
    flow = power_flow(slot.network, slot.fixed_p_kw, slot.fixed_q_kvar)
    return round(float(flow.slack_p_kw[0]) / slot.kw_per_wh)


def cap_mg(slot: FeederSlot) -> int:
    """The cap of the slot in whole mg, rounded down."""
    return int(slot.requirements.emission_cap_g * (MG_PER_KG // G_PER_KG))
