"""Nodal clearing: the largest welfare the wires can carry, exactly in AC, and a price at each node that says why.

Volume    fills maximise sum(bids) - sum(asks) subject to the AC power flow, the voltage band, the rating of each line and
          transformer, and the import and export limits (`optimum.py`). Equal orders at a node share by the tie convention.
Price     lambda_b = energy + losses + voltage + congestion, micro per kWh, whole numbers that add up exactly:
          energy      what one more kWh at the root is worth
          losses      energy * (dP_root/dp_b - 1): the marginal losses of taking at b
          voltage     sum over binding voltage limits of multiplier * dv/dp_b
          congestion  the same over lines, transformers, import and export
Not unique: where a step is used up exactly, the energy price is low + floor(k * (high - low)) of the interval that supports the
          fills with the multipliers of the limits held; where only one end is bounded, it is that end.
Payments  every order trades at its node's price: bought + losses = sold, and the operator keeps the difference (losses and
          congestion), `surplus_nano`. No buyer pays above its bid, no seller gets below its ask.
Impossible cases still clear: every limit has a slack at a penalty far beyond the book, and the certificate says what stays
          broken and by how much.

Sources: Schweppe, Caramanis, Tabors and Bohn, "Spot Pricing of Electricity", 1988; Papavasiliou, "Analysis of distribution
locational marginal prices", IEEE Trans. Smart Grid 9(5), 2018. The certificate is what `nodal_check.py` verifies.
"""

from __future__ import annotations

import numpy as np

from walras.errors import ClearingError
from walras.grid.feeder import FeederSlot, Groups, group_orders
from walras.grid.network import Float, Network
from walras.grid.optimum import Dispatch, dispatch
from walras.grid.rounding import WholeFlow, round_fills
from walras.grid.rows import HIGH_VOLTAGE, LOW_VOLTAGE, LimitRows, limit_unit
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, Orders
from walras.market.terms import Terms, ration, terms
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64, checked_product

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
    groups = group_orders(_as_matched(orders, book), network.network)
    optimum, filled, losses = _settle(network, groups)
    energy = _energy_price(optimum, conventions)
    fills = _divide(orders, book, groups, filled, conventions)
    price = _whole_prices(optimum, energy, groups, filled, network.network)
    fee = conventions.grid_fee_micro_per_kwh
    at_node = price[orders.node]
    buys = orders.side == BUY
    pays = np.where(buys, np.minimum(at_node, book.price_micro_per_kwh) + fee, np.maximum(at_node, book.price_micro_per_kwh))
    pay = checked_product(fills * orders.side, pays, "pay_nano")
    return Clearing(
        "nodal", fills, pay, None, price, losses, certificate=_evidence(optimum, energy, price, network, conventions, book)
    )


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
        if not kinds.size:
            break
        margins = LimitRows(optimum.limit_kind.tolist(), optimum.limit_place.tolist(), optimum.margin.tolist())
        margins.enter(kinds, places)
        for kind, place, amount in zip(kinds, places, excess, strict=True):
            margins.keep(int(kind), int(place), 1.5 * amount)
        optimum = dispatch(slot, groups, margins)
    return optimum, filled, losses


def _energy_price(optimum: Dispatch, conventions: Conventions) -> float:
    low, high = optimum.energy_low, optimum.energy_high
    if not (np.isfinite(low) and np.isfinite(high)):
        return optimum.energy
    return low + float(conventions.k) * (high - low)


def _divide(orders: Orders, book: Terms, groups: Groups, filled: Int64, conventions: Conventions) -> Int64:
    """Fills by order: a group filled in full or not at all needs no division; the rest is rationed by the tie convention."""
    fills = np.where(filled[groups.of_order] == groups.quantity_wh[groups.of_order], book.quantity_wh, 0)
    partial = np.flatnonzero((filled > 0) & (filled < groups.quantity_wh))
    if partial.size:
        by_group = np.argsort(groups.of_order, kind="stable")
        starts = np.searchsorted(groups.of_order[by_group], np.arange(groups.price.size + 1))
        for group in partial:
            rows = by_group[starts[group] : starts[group + 1]]
            served, energy = ration(orders, rows, book.quantity_wh, int(filled[group]), conventions)
            fills[served] = energy
    return np.asarray(fills, dtype=np.int64)


def _whole_prices(optimum: Dispatch, energy: float, groups: Groups, filled: Int64, network: Network) -> Int64:
    """[buses] whole prices: rounded, then moved by what rounding took so that no order filled at the node is worse off."""
    limit = float(MAX_PRICE_MICRO_PER_KWH)
    price = np.rint(np.clip(optimum.node_price(energy), -limit, limit))
    node = network.wires.order[groups.place]
    lowest, highest = np.full(price.size, -np.inf), np.full(price.size, np.inf)
    sells, buys = (groups.side < 0) & (filled > 0), (groups.side > 0) & (filled > 0)
    np.maximum.at(lowest, node[sells], groups.price[sells])
    np.minimum.at(highest, node[buys], groups.price[buys])
    possible = lowest <= highest
    return np.where(possible, np.clip(price, lowest, highest), price).astype(np.int64)


def _evidence(
    optimum: Dispatch, energy: float, price: Int64, slot: FeederSlot, conventions: Conventions, book: Terms
) -> dict[str, int | Int64]:
    """The split of every node's price, and each limit in play with its price. Whole numbers.

    limit_price  micro per hour for one published unit more of the limit: 1 kVA of a rating, 0.01 pu of voltage, 1 kW of exchange
    limit_short  how far it stays broken in millionths: of the rating, of nominal voltage, of a kW
    """
    network = slot.network
    limit = float(MAX_PRICE_MICRO_PER_KWH)
    voltage_rows = (optimum.limit_kind == LOW_VOLTAGE) | (optimum.limit_kind == HIGH_VOLTAGE)
    voltage = _whole(optimum.multiplier[voltage_rows] @ optimum.gradient[voltage_rows], limit)
    congestion = _whole(optimum.multiplier[~voltage_rows] @ optimum.gradient[~voltage_rows], limit)
    energy_whole = round(min(max(energy, -limit), limit))
    place = optimum.limit_place
    units = np.array([limit_unit(network, int(k), int(p)) for k, p in zip(optimum.limit_kind, place, strict=True)])
    buses = np.where(voltage_rows, network.wires.order[place], place - 1) if place.size else place
    evidence: dict[str, int | Int64] = {
        "energy_micro_per_kwh": energy_whole,
        "losses_micro_per_kwh": price - energy_whole - voltage - congestion,
        "voltage_micro_per_kwh": voltage,
        "congestion_micro_per_kwh": congestion,
        "limit_kind": optimum.limit_kind,
        "limit_index": np.where(optimum.limit_kind > HIGH_VOLTAGE, 0, buses).astype(np.int64),
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
    conventions=("k", "tie", "seed", "self_trade", "grid_fee_micro_per_kwh"),
)
