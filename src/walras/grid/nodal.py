"""Nodal clearing: the largest welfare the wires can carry, exactly in AC, and a price at each node that says why.

Volume    fills maximise sum(bids) - sum(asks) subject to the AC power flow, the voltage band, the rating of each line and
          transformer, and the import and export limits (`optimum.py`). Equal orders at a node share by the tie convention.
Price     lambda_b = energy + losses + voltage + congestion + emissions + reserve, micro per kWh, whole numbers that add up exactly:
          energy      what the grid above is paid for one more kWh at the root (no import limit binding)
          emissions   what the cap on carbon adds to that import
          reserve     what import headroom is worth as reserve, inside the feeder (0 at the root)
          losses      (energy + emissions + reserve) * (dP_root/dp_b - 1): the marginal losses of taking at b
          voltage     sum over binding voltage limits of multiplier * dv/dp_b
          congestion  the same over lines, transformers, import and export
Not unique: where a step is used up exactly, the energy price is low + floor(k * (high - low)) of the interval that supports the
          fills with the multipliers of the limits held; where only one end is bounded, it is that end.
Payments  every order trades at its node's price; an ask pays for its carbon, reserve is paid (`nodal_payments.py`). The operator
          keeps the difference, `surplus_nano`, published by what it is for. No buyer pays above its bid, no seller gets below
          its ask.
Impossible cases still clear: every limit has a slack at a penalty far beyond the book, and the certificate says what stays
          broken and by how much.

Engine    the optimum is found by successive linear programs; with the convention `engine = "conic"` a cone program (`conic.py`)
          looks for it as well: its welfare bounds what any dispatch could reach (`welfare_gap_nano`), and what it does not confirm
          is refused.

Sources: Schweppe, Caramanis, Tabors and Bohn, "Spot Pricing of Electricity", 1988; Papavasiliou, "Analysis of distribution
locational marginal prices", IEEE Trans. Smart Grid 9(5), 2018. The certificate is what `nodal_check.py` verifies.
"""

from __future__ import annotations

import numpy as np

from walras.errors import ClearingError
from walras.grid.conic import confirm
from walras.grid.feeder import FeederSlot, Groups, group_orders
from walras.grid.network import Float, Network
from walras.grid.nodal_payments import OrderTerms, Scarcity, emitted_mg, order_terms, payments, split_rents
from walras.grid.optimum import Dispatch, dispatch
from walras.grid.requirements import total_rows
from walras.grid.rounding import WholeFlow, round_fills
from walras.grid.rows import (
    EMISSIONS_CAP,
    HIGH_VOLTAGE,
    IMPORT_LIMIT,
    LOW_VOLTAGE,
    RESERVE_DOWN,
    RESERVE_UP,
    LimitRows,
    limit_unit,
)
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, Orders
from walras.market.terms import Terms, ration, terms
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64

PPM = 1_000_000
_ATTEMPTS = 6


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book on the wires. `network` is the `FeederSlot`; `orders.node` are its buses.

    Raises ClearingError without a FeederSlot, for lots other than 1 Wh, and where the feeder has no AC flow at all; InputError for
    an order at a node that does not exist.

    One seller at the end of a resistive line, one buyer at its root: the seller gets 1 / sqrt(1.04) of the price.
    >>> from walras.grid import Line, build_network
    >>> from walras.market.orders import make_orders
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.1)], root="a")
    >>> book = make_orders([1, -1], [5000, 2500], [200_000, 80_000], node=[0, 1])
    >>> done = clear(book, Conventions(), FeederSlot(net, 0.25))
    >>> done.filled_wh.tolist(), done.losses_wh, done.node_price_micro_per_kwh.tolist()
    ([2475, 2500], 25, [200000, 196116])
    """
    if not isinstance(network, FeederSlot):
        kind = "a bare network" if isinstance(network, Network) else type(network).__name__
        raise ClearingError(
            f"nodal clearing needs the wires and the length of the slot, and was given {kind}",
            thing=network,
            way_out="hand it walras.grid.FeederSlot(network, hours=0.25)",
        )
    if conventions.lot_wh != 1:
        raise ClearingError(
            f"nodal clearing balances losses to the Wh and cannot keep lots of {conventions.lot_wh} Wh",
            thing=conventions,
            way_out="set lot_wh = 1",
        )
    book = terms(orders, conventions)
    matched = _as_matched(orders, book)
    groups = group_orders(matched, network)
    proven = {} if conventions.engine is None else {"welfare_gap_nano": confirm(network, groups, dispatch(network, groups))}
    optimum, filled, losses = _settle(network, groups)
    energy = _energy_price(optimum, conventions)
    fills = _divide(orders, book, groups, filled, conventions)
    scarcity = _scarcity(optimum)
    own = order_terms(orders, network, scarcity)
    price = _whole_prices(optimum, energy, matched, fills, own)
    pay, held = payments(orders, book, fills, price, own, conventions)
    evidence = _evidence(optimum, energy, price, network, conventions, book)
    evidence |= _split(evidence, price, scarcity, network) | proven
    if network.requirements.caps_emissions:
        evidence["emitted_mg"] = emitted_mg(orders, fills, network)
        evidence["carbon_price_micro_per_kg"] = scarcity.carbon_micro_per_kg
    if network.requirements.wants_reserve:
        evidence["reserve_up_price_micro_per_kwh"] = scarcity.up_micro_per_kwh
        evidence["reserve_down_price_micro_per_kwh"] = scarcity.down_micro_per_kwh
        evidence["reserve_pay_nano"] = held
    rents = split_rents(orders, fills, pay, held, own, evidence, scarcity, network, conventions)
    evidence |= {f"{name}_rent_nano": rent for name, rent in rents.items()}
    return Clearing("nodal", fills, pay, None, price, losses, certificate=evidence)


def _as_matched(orders: Orders, book: Terms) -> Orders:
    return Orders(orders.id, orders.participant, orders.side, book.quantity_wh, book.price_micro_per_kwh, orders.time, orders.node)


def _settle(slot: FeederSlot, groups: Groups) -> tuple[Dispatch, Int64, int]:
    """Optimum and whole fills. Where rounding breaks a limit, the optimum is taken again with that much more distance to it."""
    optimum = dispatch(slot, groups)
    flow = WholeFlow(slot, groups, optimum.base_losses_kw)
    for _ in range(_ATTEMPTS):
        filled, losses = round_fills(flow, optimum)
        lost = optimum.short > 0
        kinds, places, excess = flow.broken((optimum.limit_kind[lost], optimum.limit_place[lost]))
        kinds, places, excess = _with_totals(slot, groups, optimum, filled, kinds, places, excess)
        if not kinds.size:
            break
        margins = LimitRows(optimum.limit_kind.tolist(), optimum.limit_place.tolist(), optimum.margin.tolist())
        margins.enter(kinds, places)
        for kind, place, amount in zip(kinds, places, excess, strict=True):
            margins.keep(int(kind), int(place), 1.5 * amount)
        optimum = dispatch(slot, groups, margins, near=optimum)
    return optimum, filled, losses


def _with_totals(
    slot: FeederSlot, groups: Groups, optimum: Dispatch, filled: Int64, kinds: Int64, places: Int64, excess: Float
) -> tuple[Int64, Int64, Float]:
    """What whole fills break, with emissions and reserve among it: those are kept to the Wh (exchange to a few)."""
    if not (slot.requirements.caps_emissions or slot.requirements.wants_reserve):
        return kinds, places, excess
    totals = total_rows(slot, groups, optimum.base_kw)
    over = totals.excess(np.asarray(filled * slot.kw_per_wh, dtype=np.float64))
    lost = optimum.limit_kind[optimum.short > 0]
    rows = np.flatnonzero((over > 1e-9) & (totals.kind >= EMISSIONS_CAP) & ~np.isin(totals.kind, lost))
    more = np.zeros(rows.size, dtype=np.int64)
    return np.append(kinds, totals.kind[rows]), np.append(places, more), np.append(excess, over[rows])


def _scarcity(optimum: Dispatch) -> Scarcity:
    """Whole prices of carbon and reserve, rounded down: what is published never makes an order pay more than the optimum asks."""

    def price(kind: int) -> int:
        return int(min(float(optimum.multiplier[optimum.limit_kind == kind].sum()), float(MAX_PRICE_MICRO_PER_KWH)))

    return Scarcity(price(EMISSIONS_CAP), price(RESERVE_UP), price(RESERVE_DOWN))


def _energy_price(optimum: Dispatch, conventions: Conventions) -> float:
    low, high = optimum.energy_low, optimum.energy_high
    if not (np.isfinite(low) and np.isfinite(high)):
        return optimum.energy
    return low + float(conventions.k) * (high - low)


def _divide(orders: Orders, book: Terms, groups: Groups, filled: Int64, conventions: Conventions) -> Int64:
    """Fills by order: a group filled in full or not at all needs no division; the rest is rationed by the tie convention."""
    fills = np.where(filled[groups.of_order] == groups.quantity_wh[groups.of_order], book.quantity_wh, 0)
    partial = (filled > 0) & (filled < groups.quantity_wh)
    rationed = np.flatnonzero(partial[groups.of_order])
    rationed = rationed[np.argsort(groups.of_order[rationed], kind="stable")]
    starts = np.flatnonzero(np.diff(groups.of_order[rationed], prepend=-1))
    for rows in np.split(rationed, starts[1:]) if rationed.size else []:
        group = int(groups.of_order[rows[0]])
        served, energy = ration(orders, rows, book.quantity_wh, int(filled[group]), conventions)
        fills[served] = energy
    return np.asarray(fills, dtype=np.int64)


def _whole_prices(optimum: Dispatch, energy: float, matched: Orders, fills: Int64, own: OrderTerms) -> Int64:
    """[buses] whole prices: rounded, then moved by what rounding took so that no order filled at the node is worse off."""
    limit = float(MAX_PRICE_MICRO_PER_KWH)
    price = np.rint(np.clip(optimum.node_price(energy), -limit, limit))
    lowest, highest = np.full(price.size, -np.inf), np.full(price.size, np.inf)
    sells, buys = (matched.side != BUY) & (fills > 0), (matched.side == BUY) & (fills > 0)
    np.maximum.at(lowest, matched.node[sells], (matched.price_micro_per_kwh + own.add)[sells])
    np.minimum.at(highest, matched.node[buys], (matched.price_micro_per_kwh - own.add)[buys])
    possible = lowest <= highest
    return np.where(possible, np.clip(price, lowest, highest), price).astype(np.int64)


def _split(evidence: dict[str, int | Int64], price: Int64, scarcity: Scarcity, slot: FeederSlot) -> dict[str, int | Int64]:
    """Energy, emissions and reserve out of what a kWh is worth inside the feeder; rounding is in the losses."""
    inside = int(np.asarray(evidence["energy_micro_per_kwh"]))
    carbon = int(scarcity.carbon_of(slot.requirements.import_g_per_kwh))
    headroom = scarcity.up_micro_per_kwh - scarcity.down_micro_per_kwh if slot.requirements.headroom_counts else 0
    inside_only = np.arange(price.size) != slot.network.root
    reserve = np.where(inside_only, headroom, 0)
    emissions = np.where(inside_only, carbon, 0) if slot.requirements.counts_fixed else np.full(price.size, carbon)
    energy = inside - carbon - headroom
    others = np.asarray(evidence["voltage_micro_per_kwh"]) + np.asarray(evidence["congestion_micro_per_kwh"])
    return {
        "energy_micro_per_kwh": energy,
        "emissions_micro_per_kwh": emissions if slot.requirements.counts_fixed and carbon else carbon,
        "reserve_micro_per_kwh": reserve if headroom else 0,
        "losses_micro_per_kwh": price - energy - emissions - reserve - others,
    }


def _evidence(
    optimum: Dispatch, energy: float, price: Int64, slot: FeederSlot, conventions: Conventions, book: Terms
) -> dict[str, int | Int64]:
    """Parts of every node's price (`energy`: inside the feeder), and each limit in play with its price. Whole numbers.

    limit_price  micro per hour for one published unit more of the limit: 1 kVA of a rating, 0.01 pu of voltage, 1 kW of exchange
                 or reserve, 1 kg/h of carbon
    limit_short  how far it stays broken in millionths: of the rating, of nominal voltage, of a kW, of a kg/h
    """
    network = slot.network
    limit = float(MAX_PRICE_MICRO_PER_KWH)
    voltage_rows = (optimum.limit_kind == LOW_VOLTAGE) | (optimum.limit_kind == HIGH_VOLTAGE)
    voltage = _whole(optimum.multiplier[voltage_rows] @ optimum.gradient[voltage_rows], limit)
    congested = ~voltage_rows & (optimum.limit_kind < EMISSIONS_CAP)
    congestion = _whole(optimum.multiplier[congested] @ optimum.gradient[congested], limit)
    energy_whole = round(min(max(energy, -limit), limit))
    place = optimum.limit_place
    units = np.array([limit_unit(network, int(k), int(p)) for k, p in zip(optimum.limit_kind, place, strict=True)])
    buses = np.where(voltage_rows, network.wires.order[place], place - 1) if place.size else place
    evidence: dict[str, int | Int64] = {
        "energy_micro_per_kwh": energy_whole,
        "voltage_micro_per_kwh": voltage,
        "congestion_micro_per_kwh": congestion,
        "limit_kind": optimum.limit_kind,
        "limit_index": np.where(optimum.limit_kind >= IMPORT_LIMIT, 0, buses).astype(np.int64),
        "limit_price_micro_per_hour": _whole(optimum.multiplier * units, 1e18),
        "limit_short_ppm": _whole(np.ceil(optimum.short * PPM), 1e18),
        "rounds": optimum.rounds,
        "netted_wh": book.netted_wh,
    }
    if conventions.tie == "lot":
        evidence["tie_seed"] = conventions.seed
    return evidence


def _whole(values: Float, limit: float) -> Int64:
    return np.rint(np.clip(values, -limit, limit)).astype(np.int64)


NODAL = Mechanism(
    name="nodal",
    title="nodal clearing on the distribution grid (AC optimal power flow, DLMP)",
    reference="Papavasiliou, Analysis of distribution locational marginal prices, IEEE Trans. Smart Grid 9(5), 2018",
    clear=clear,
    claims=frozenset({Claim.INDIVIDUALLY_RATIONAL, Claim.ORDER_FREE}),
    conventions=("k", "tie", "seed", "self_trade", "grid_fee_micro_per_kwh", "engine"),
)
