"""What the wires say at delivery: who takes back how much of what it is about to feed in, and the price at each node.

Positions are agreed at gate closure as if there were no wires. At delivery the feeder's controller knows what everybody is about to
take and feed in, and clears it on the wires (`grid.nodal`), as a real-time market follows a forward one:

    takes     what members take is served: it is outside the market of this step
    feeds in  an ask for every Wh that a member is about to feed in, at what the kWh is worth at the root less what its owner
              loses without it: its own feed-in rate for what it did not sell, the trade price (under `firm` the short price) for
              what it did. So what is curtailed is what loses least, and only where a limit is reached
    root      the supplier gives and takes any amount at the trade price; where nothing traded, at the cheapest contract's energy
              price of the slot
    relief    where the community wants it, what members' batteries could give or take beyond what they are about to, at what
              that costs their owners (`strategies.relief`)

A cap on emissions and a reserve requirement of the community are further limits of the same clearing: import emits, and reserve is
what members could do beyond what they do (up: the rest of their offers to feed in and to give; down: what they feed in, and the
rest of their offers to take).

Curtailed energy stays in the owner's battery where there is room, and is not produced otherwise. What a limit broken by taking
alone needs, nobody here can give: the clearing then says what stays broken and by how much.

Source: Schweppe, Caramanis, Tabors and Bohn, "Spot Pricing of Electricity", 1988, chapter 6; Kirschen and Strbac, "Fundamentals
of Power System Economics", 2018, chapter 5 (two settlements).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from walras.errors import ClearingError
from walras.exchange.journal import Entry
from walras.exchange.phases import EventKind
from walras.exchange.public import clearing_from_public, clearing_to_public, column, orders_from_public
from walras.exchange.settlement import positions_of
from walras.exchange.taking_back import MECHANISM, check_taken_back, take_back
from walras.exchange.terms import FIRM, Terms
from walras.exchange.wires import Wires
from walras.grid import FeederSlot, Requirements, add_supplier, check_nodal, find_violations, power_flow
from walras.grid.limits import LOADING_TOLERANCE, VOLTAGE_TOLERANCE_PU
from walras.grid.nodal import clear as clear_nodal
from walras.grid.nodal_payments import reserve_received
from walras.grid.requirements import NOTHING_REQUIRED
from walras.grid.rows import EMISSIONS_CAP, EXPORT_LIMIT, IMPORT_LIMIT, TRANSFORMER_LIMIT
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.laws import Finding
from walras.market.orders import BUY, SELL, Orders, make_orders
from walras.strategies.relief import NO_RELIEF, Relief
from walras.tariffs.prices import ENERGY
from walras.units import Int64

CONVENTIONS = Conventions()
RELIEF_COLUMNS = ("member", "side", "wh", "price_micro")


@dataclass(frozen=True, eq=False)
class Intended:
    """What members are about to do in a slot, before the wires have their say.

    net_wh         [members] net energy, positive taken; `sold_wh` [members] sold at gate closure
    reactive_var   [buses] reactive power, positive taken
    root_micro     worth of a kWh at the root, `sold_micro` what a seller loses by a kWh sold and not delivered, micro/kWh
    relief         what batteries offer beside it
    """

    net_wh: Int64
    sold_wh: Int64
    reactive_var: Int64
    root_micro: int
    sold_micro: int
    relief: Relief = NO_RELIEF


@dataclass(frozen=True, eq=False)
class WiresSlot:
    """One slot on the wires: what was intended, the nodal clearing, and `curtailed_wh` [members] taken back."""

    intended: Intended
    clearing: Clearing
    curtailed_wh: Int64

    @property
    def moved_wh(self) -> Int64:
        """[members] Wh that their batteries take more (negative: give more) because the wires called."""
        moved, offers = np.zeros(self.intended.net_wh.size, dtype=np.int64), self.intended.relief
        if offers.count:
            np.add.at(moved, offers.member, offers.side * self.clearing.filled_wh[-2 - offers.count : -2])
        return moved


def root_price(trade: Clearing, orders: Orders, energy_micro: Int64) -> int:
    """Worth of a kWh at the root, micro/kWh: the trade price (where there are many, what buyers pay on average, rounded down);
    where nothing traded, the cheapest of `energy_micro` [contracts].
    """
    if trade.price_micro_per_kwh is not None:
        return trade.price_micro_per_kwh
    buys = orders.side == BUY
    bought = int(trade.filled_wh[buys].sum())
    return int(trade.pay_nano[buys].sum()) // bought if bought else int(energy_micro.min())


def make_intended(
    terms: Terms, net_wh: Int64, sold_wh: Int64, reactive_var: Int64, trade: Clearing, orders: Orders, item_micro: Int64,
    relief: Relief = NO_RELIEF,
) -> Intended:  # fmt: skip
    """What members are about to do; `item_micro` [contracts, items] are the slot's prices, `relief` what batteries offer."""
    price = root_price(trade, orders, item_micro[:, terms.items.index(ENERGY)])
    lost = max(price, terms.short_micro_per_kwh) if terms.rule == FIRM else price
    return Intended(net_wh, sold_wh, reactive_var, price, lost, relief)


def clear_wires(terms: Terms, intended: Intended) -> WiresSlot:
    """What members are about to do, cleared on the wires: by prices, or by the order of the terms."""
    book, feeder = wires_book(terms, intended)
    wires = wires_of(terms)
    clearing = clear_nodal(book, CONVENTIONS, feeder) if wires.priced else take_back(book, feeder, wires, intended.root_micro)
    return WiresSlot(intended, clearing, _curtailed(intended, book, clearing))


def wires_book(terms: Terms, intended: Intended) -> tuple[Orders, FeederSlot]:
    """The book of this step, the supplier's two rows last, and the feeder as it is without anybody feeding in.

    An owner of a plant has up to two rows, in the order of the members: what it sold, then the rest. Then the offers of relief.
    """
    wires = wires_of(terms)
    fed = np.maximum(-intended.net_wh, 0)
    sold = np.minimum(fed, intended.sold_wh)
    who = np.repeat(np.arange(fed.size), 2)
    quantity = np.column_stack([sold, fed - sold]).ravel()
    lost = np.column_stack([np.full(fed.size, intended.sold_micro), terms.feed_in_micro]).ravel()
    rows, more = np.flatnonzero(quantity), intended.relief
    owner = np.concatenate([who[rows], more.member])
    offers = make_orders(
        np.concatenate([np.full(rows.size, SELL), more.side]),
        np.concatenate([quantity[rows], more.wh]),
        np.concatenate([intended.root_micro - lost[rows], more.price_micro]),
        participant=owner,
        time=np.zeros(owner.size),
        node=wires.bus[owner],
    )
    price = intended.root_micro
    book = add_supplier(offers, wires.network, price + 1, price, participant=fed.size)
    taken_kw = np.maximum(intended.net_wh, 0) / (1e3 * terms.grid.hours)
    return book, FeederSlot(
        wires.network,
        terms.grid.hours,
        fixed_p_kw=np.asarray(np.bincount(wires.bus, weights=taken_kw, minlength=wires.network.buses), dtype=np.float64),
        fixed_q_kvar=intended.reactive_var / 1e3,
        import_limit_kw=np.inf if wires.import_limit_w is None else wires.import_limit_w / 1e3,
        export_limit_kw=np.inf if wires.export_limit_w is None else wires.export_limit_w / 1e3,
        requirements=_requirements(wires, terms.grid.hours, offers),
    )


def _requirements(wires: Wires, hours: float, offers: Orders) -> Requirements:
    """The cap on the whole import, and reserve out of members' offers alone: with headroom to the limits of exchange counted in,
    what one gives up the other gains, and no dispatch would change the sum.
    """
    required = wires.required
    if required is None:
        return NOTHING_REQUIRED
    cap = required.cap_g_per_hour
    return Requirements(
        emission_cap_g=math.inf if cap is None else cap * hours,
        import_g_per_kwh=required.grid_g_per_kwh,
        reserve_up_kw=required.reserve_up_w / 1e3,
        reserve_down_kw=required.reserve_down_w / 1e3,
        flexible=frozenset(offers.id.tolist()) if wires.holds_reserve else frozenset(),
        headroom_counts=False,
        counts_fixed=cap is not None,
    )


def curtailment_nano(terms: Terms, slot: WiresSlot) -> Int64:
    """[members] nano <= 0: paid for what was taken back by an order."""
    book, _ = wires_book(terms, slot.intended)
    paid = np.zeros(terms.members, dtype=np.int64)
    np.add.at(paid, book.participant[:-2], slot.clearing.pay_nano[:-2])
    return paid


def reserve_nano(terms: Terms, slot: WiresSlot) -> Int64:
    """[members] nano received for reserve: the price of reserve times what each holds of it, filled or not."""
    held = np.zeros(terms.members, dtype=np.int64)
    if wires_of(terms).holds_reserve:
        book, feeder = wires_book(terms, slot.intended)
        received = reserve_received(book, slot.clearing, feeder, wires_of(terms).scarcity_micro)
        np.add.at(held, book.participant[:-2], received[:-2])
    return held


def check_wires(terms: Terms, slot: WiresSlot) -> list[Finding]:
    """Everything that does not hold of a wires clearing, by an AC power flow of its own; empty for a good one."""
    if slot.intended.relief.count and wires_of(terms).relief == "none":
        return [Finding("book", "batteries offer relief, and the terms have none")]
    book, feeder = wires_book(terms, slot.intended)
    filled = slot.clearing.filled_wh
    wires = wires_of(terms)
    if slot.clearing.mechanism != ("nodal" if wires.priced else MECHANISM) or filled.shape != book.quantity_wh.shape:
        return [Finding("book", f"{filled.size} fills by {slot.clearing.mechanism}, {book.count} orders on the wires")]
    outside = np.flatnonzero((filled < 0) | (filled > book.quantity_wh))
    if outside.size:
        row = int(outside[0])
        return [Finding("fills", f"order {row} is filled with {int(filled[row])} of {int(book.quantity_wh[row])} Wh")]
    if not wires.priced:
        return check_taken_back(book, slot.clearing, feeder, wires, slot.intended.root_micro)
    return check_nodal(book, slot.clearing, feeder, CONVENTIONS)


def limits_broken(terms: Terms, net_wh: Int64, reactive_var: Int64, clearing: Clearing | None = None) -> list[str]:
    """What an AC power flow of the metered energy [members] breaks, in words; what crosses the root is held to its limits too.

    With `clearing`, what its certificate says stays broken is left out, as far as it says so.
    """
    wires = wires_of(terms)
    said: dict[tuple[int, int], float] = {}
    if clearing is not None:
        columns = (np.asarray(clearing.certificate[f"limit_{name}"]).tolist() for name in ("kind", "index", "short_ppm"))
        said = {(kind, index): short / 1e6 for kind, index, short in zip(*columns, strict=True) if short > 0}
    p = np.bincount(wires.bus, weights=net_wh / (1e3 * terms.grid.hours), minlength=wires.network.buses)
    flow = power_flow(wires.network, p, reactive_var / 1e3)
    broken = find_violations(wires.network, flow)
    places = zip(broken.kind.tolist(), broken.index.tolist(), broken.excess.tolist(), strict=True)
    found = [
        broken.describe(wires.network, row)
        for row, (kind, index, excess) in enumerate(places)
        if excess > 1.01 * said.get((kind, index), 0.0) + _tolerance(kind, (kind, index) in said)
    ]
    hair = 2 / (1e3 * terms.grid.hours)  # 2 Wh in the slot, as the check of the clearing itself allows
    ends = ((IMPORT_LIMIT, "import", wires.import_limit_w, 1), (EXPORT_LIMIT, "export", wires.export_limit_w, -1))
    for kind, name, limit_w, sign in ends:
        over = 0.0 if limit_w is None else sign * float(flow.slack_p_kw[0]) - limit_w / 1e3
        if over > hair + said.get((kind, 0), 0.0):
            found.append(f"{name} limit exceeded by {over:.4f} kW")
    if wires.required is not None and wires.required.cap_g_per_hour is not None:
        emitted = max(float(flow.slack_p_kw[0]), 0.0) * wires.required.grid_g_per_kwh
        over = (emitted - wires.required.cap_g_per_hour) / 1e3
        if over > hair * wires.required.grid_g_per_kwh / 1e3 + 1.01 * said.get((EMISSIONS_CAP, 0), 0.0):
            found.append(f"emissions cap exceeded by {over:.4f} kg/h")
    return found


def _tolerance(kind: int, said: bool) -> float:
    """What the kind of limit may be off where the clearing states how far it stays broken (else the flow's own tolerance)."""
    if not said:
        return 0.0
    return LOADING_TOLERANCE if kind <= TRANSFORMER_LIMIT else VOLTAGE_TOLERANCE_PU


def wires_slot_to_public(slot: WiresSlot) -> dict[str, Any]:
    """What anybody needs to check it, together with the terms, the orders and the trade."""
    relief = slot.intended.relief
    offered = {name: getattr(relief, name).tolist() for name in RELIEF_COLUMNS}
    return ({"relief": offered} if relief.count else {}) | {
        "net_wh": slot.intended.net_wh.tolist(),
        "reactive_var": slot.intended.reactive_var.tolist(),
        "clearing": clearing_to_public(slot.clearing),
    }


def wires_slot_from_public(
    terms: Terms, public: Mapping[str, Any], sold_wh: Int64, trade: Clearing, orders: Orders, item_micro: Int64
) -> WiresSlot:
    """The inverse, with what follows from the trade taken from the trade."""
    net, reactive = column(public, "net_wh"), column(public, "reactive_var")
    relief = Relief(*(column(public["relief"], name) for name in RELIEF_COLUMNS)) if "relief" in public else NO_RELIEF
    intended = make_intended(terms, net, sold_wh, reactive, trade, orders, item_micro, relief)
    clearing = clearing_from_public(public["clearing"])
    book, _ = wires_book(terms, intended)
    return WiresSlot(intended, clearing, _curtailed(intended, book, clearing))


def recorded_wires(terms: Terms, slot: int, events: Mapping[EventKind, Entry]) -> WiresSlot | None:
    """The slot on the wires from its events as far as recorded; None where the terms have no wires.

    Raises ClearingError where the terms have wires and the slot no such event, or the other way round.
    """
    if terms.wires is None and EventKind.CURTAILED not in events:
        return None
    wires_of(terms)
    if EventKind.CURTAILED not in events:
        raise ClearingError(f"slot {slot}: the wires were not cleared", thing=slot)
    orders = orders_from_public(events[EventKind.ORDERS_REVEALED].public["orders"])
    trade = clearing_from_public(events[EventKind.CLEARED].public)
    prices = np.array(events[EventKind.SLOT_OPENED].public["item_micro"], dtype=np.int64)
    sold = positions_of(orders, trade, terms.members).sold_wh
    return wires_slot_from_public(terms, events[EventKind.CURTAILED].public, sold, trade, orders, prices)


def wires_of(terms: Terms) -> Wires:
    """The wires of terms that have them."""
    if terms.wires is None:
        raise ClearingError("the terms of this run have no wires", thing=terms.name, way_out='set [wires] limits = "nodal"')
    return terms.wires


def _curtailed(intended: Intended, book: Orders, clearing: Clearing) -> Int64:
    if clearing.filled_wh.shape != book.quantity_wh.shape:
        raise ClearingError(f"{clearing.filled_wh.size} fills for {book.count} orders on the wires", thing=clearing)
    taken = np.zeros(intended.net_wh.size, dtype=np.int64)
    asks = book.count - 2 - intended.relief.count
    np.add.at(taken, book.participant[:asks], (book.quantity_wh - clearing.filled_wh)[:asks])
    return taken
