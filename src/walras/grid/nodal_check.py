"""Does a nodal clearing hold? Checked from its certificate with an AC power flow of its own, without solving it again.

The rule: nothing is believed. Fills go through `power_flow`, prices are rebuilt from the published multipliers and the adjoint at
those fills, and every order is held against the price of its node. That is the first-order optimality of the clearing:

1. balance        sold less bought is what the AC flow loses beyond the losses without trade, to the Wh
2. limits         no line, transformer, voltage, import, export, emissions cap or reserve beyond its limit, except what the
                  certificate reports as short
3. split          energy + losses + voltage + congestion + emissions + reserve = price, at every node, exactly
4. multipliers    none negative; a limit with a price is reached
5. prices         energy * dP_root/dp_b + sum of multipliers * dlimit/dp_b, to 0.001 ct/kWh (10 micro) of the published price
6. payments       every payment from the published prices, the surplus from the rents, to the nano
7. orders         dearer bids and cheaper asks than the node's price are filled, the others are not: what is lost by the exceptions
                  is worth no more than a few Wh (whole numbers), at the spread of the book
"""

from __future__ import annotations

import math

import numpy as np

from walras.grid.feeder import FeederSlot
from walras.grid.flow import Flow, power_flow
from walras.grid.limits import LOADING_TOLERANCE, VOLTAGE_TOLERANCE_PU, find_violations
from walras.grid.network import Float
from walras.grid.nodal_payments import RENT_NAMES, cap_mg, emitted_mg, order_terms, payments, published_scarcity, split_rents
from walras.grid.rows import (
    EMISSIONS_CAP,
    EXPORT_LIMIT,
    HIGH_VOLTAGE,
    IMPORT_LIMIT,
    LIMIT_NAMES,
    LOW_VOLTAGE,
    RESERVE_DOWN,
    RESERVE_UP,
    TRANSFORMER_LIMIT,
    limit_unit,
)
from walras.grid.sensitivity import sensitivities
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.laws import Finding
from walras.market.orders import BUY, Orders
from walras.market.terms import terms
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64

PARTS = ("energy", "losses", "voltage", "congestion", "emissions", "reserve")
PRICE_TOLERANCE_MICRO = 10.0
_REACHED = 2e-4
_SPARE_WH = 12


def check_nodal(orders: Orders, clearing: Clearing, slot: FeederSlot, conventions: Conventions) -> list[Finding]:
    """Every point that does not hold; empty for a good clearing."""
    network = slot.network
    evidence = clearing.certificate
    price = clearing.node_price_micro_per_kwh
    if price is None or price.shape != (network.buses,):
        return [Finding("prices", "there is no price for each bus")]
    p = slot.power_of(orders, clearing.filled_wh)
    assert slot.fixed_p_kw is not None
    assert slot.fixed_q_kvar is not None
    flow = power_flow(network, np.stack([p, slot.fixed_p_kw]), np.stack([slot.fixed_q_kvar, slot.fixed_q_kvar]))
    kinds, index, limit_price, short = (
        np.asarray(evidence[name]) for name in ("limit_kind", "limit_index", "limit_price_micro_per_hour", "limit_short_ppm")
    )
    findings = _check_balance(orders, clearing, slot, flow)
    book = terms(orders, conventions)
    matched = replace_quantity(orders, book.quantity_wh)
    findings += _check_limits(matched, clearing, slot, flow, kinds, index, short)
    findings += _check_split(clearing, price)
    findings += _check_payments(orders, clearing, slot, conventions, price, kinds, limit_price)
    value = _limit_values(matched, clearing, slot, flow, kinds, index)
    for row in range(kinds.size):
        name = f"{LIMIT_NAMES[kinds[row]]} {index[row]}"
        if limit_price[row] < 0:
            findings.append(Finding("multipliers", f"{name} has the negative price {limit_price[row]}"))
        hair = 3 * slot.kw_per_wh  # rounding to whole Wh leaves a few of them
        if kinds[row] <= TRANSFORMER_LIMIT:
            hair = max(_REACHED, hair * limit_unit(network, int(kinds[row]), int(index[row]) + 1))
        elif kinds[row] <= HIGH_VOLTAGE:
            hair = _REACHED
        if limit_price[row] > 0 and value[row] < -hair:
            findings.append(Finding("multipliers", f"{name} has a price but {-value[row]:.2g} to spare"))
    if not short.any():
        findings += _check_prices(clearing, slot, p, price, kinds, index, limit_price)
        findings += _check_orders(orders, clearing, slot, conventions, price)
    return findings


def _check_balance(orders: Orders, clearing: Clearing, slot: FeederSlot, flow: Flow) -> list[Finding]:
    bought = int(clearing.filled_wh[orders.side == BUY].sum())
    sold = int(clearing.filled_wh[orders.side != BUY].sum())
    lost = float(flow.losses_kw[0] - flow.losses_kw[1]) / slot.kw_per_wh
    findings = []
    if sold - bought != clearing.losses_wh:
        findings.append(Finding("balance", f"sold {sold} less bought {bought} is not the published loss {clearing.losses_wh} Wh"))
    if abs(clearing.losses_wh - lost) > 1.0 + 1e-6:
        findings.append(Finding("balance", f"published loss {clearing.losses_wh} Wh, the AC flow loses {lost:.2f} Wh"))
    return findings


def _flow_in(orders: Orders, clearing: Clearing, slot: FeederSlot, flow: Flow) -> float:
    """What comes in at the root from the grid above, kW."""
    at_root = orders.node == slot.network.root
    taken = float((clearing.filled_wh * orders.side)[at_root].sum()) * slot.kw_per_wh
    return float(flow.slack_p_kw[0]) - taken


def _check_limits(
    orders: Orders, clearing: Clearing, slot: FeederSlot, flow: Flow, kinds: Int64, index: Int64, short: Int64
) -> list[Finding]:
    network = slot.network
    allowed = {(int(k), int(i)): int(s) / 1e6 for k, i, s in zip(kinds, index, short, strict=True)}
    broken = find_violations(network, Flow(*(getattr(flow, name)[:1] for name in _FLOW_COLUMNS)))
    findings = []
    for row in range(len(broken)):
        tolerance = LOADING_TOLERANCE if broken.kind[row] <= TRANSFORMER_LIMIT else VOLTAGE_TOLERANCE_PU
        reported = allowed.get((int(broken.kind[row]), int(broken.index[row])), 0.0)
        if broken.excess[row] > reported * 1.01 + tolerance:
            findings.append(Finding("limits", broken.describe(network, row)))
    flow_in = _flow_in(orders, clearing, slot, flow)
    hair = 2 * slot.kw_per_wh
    for kind, excess in ((IMPORT_LIMIT, flow_in - slot.import_limit_kw), (EXPORT_LIMIT, -flow_in - slot.export_limit_kw)):
        if excess > hair + allowed.get((kind, 0), 0.0):
            findings.append(Finding("limits", f"{LIMIT_NAMES[kind]} limit exceeded by {excess:.4f} kW"))
    for kind, missing in _reserve_missing(orders, clearing, slot, flow_in).items():
        short_by = allowed.get((kind, 0), 0.0)  # what is not kept anyway is not kept to the Wh either
        if missing > short_by + 1e-9 + (2 * hair if slot.requirements.headroom_counts or short_by else 0.0):
            findings.append(Finding("limits", f"{LIMIT_NAMES[kind]}: {missing:.4f} kW are missing"))
    if slot.requirements.caps_emissions:
        emitted, spare = emitted_mg(orders, clearing.filled_wh, slot), allowed.get((EMISSIONS_CAP, 0), 0.0)
        some = 2 * slot.requirements.import_g_per_kwh if slot.requirements.counts_fixed else 0  # losses are known to a Wh
        if emitted > cap_mg(slot) + some + math.ceil(spare * slot.hours * 1e6 * 1.01):
            findings.append(Finding("limits", f"{emitted} mg are emitted, the cap is {cap_mg(slot)} mg"))
        if emitted != evidence_of(clearing, "emitted_mg"):
            findings.append(Finding("limits", f"{emitted} mg are emitted, published are {evidence_of(clearing, 'emitted_mg')}"))
    return findings


def replace_quantity(orders: Orders, quantity_wh: Int64) -> Orders:
    """The book with what may trade of each order (after netting of own orders)."""
    price = orders.price_micro_per_kwh
    return Orders(orders.id, orders.participant, orders.side, quantity_wh, price, orders.time, orders.node)


def evidence_of(clearing: Clearing, name: str) -> int:
    """A published whole number, 0 where there is none."""
    return int(np.asarray(clearing.certificate.get(name, 0)))


def _reserve_missing(orders: Orders, clearing: Clearing, slot: FeederSlot, flow_in: float) -> dict[int, float]:
    """By how many kW each required reserve is missed (negative: to spare), counted order by order."""
    required = slot.requirements
    if not required.wants_reserve:
        return {}
    called = required.can_be_called(orders, slot.network.root)
    filled = np.where(called, clearing.filled_wh, 0) * slot.kw_per_wh
    idle = np.where(called, orders.quantity_wh - clearing.filled_wh, 0) * slot.kw_per_wh
    buys = orders.side == BUY
    up = float(np.sum(np.where(buys, filled, idle)))
    down = float(np.sum(np.where(buys, idle, filled)))
    if required.headroom_counts:
        up += slot.import_limit_kw - flow_in
        down += slot.export_limit_kw + flow_in
    found = ((RESERVE_UP, required.reserve_up_kw, up), (RESERVE_DOWN, required.reserve_down_kw, down))
    return {kind: wanted - held for kind, wanted, held in found if wanted > 0}


_FLOW_COLUMNS = ("v_pu", "angle_rad", "loading", "slack_p_kw", "slack_q_kvar", "losses_kw", "sweeps")


def _check_payments(
    orders: Orders, clearing: Clearing, slot: FeederSlot, conventions: Conventions, price: Int64, kinds: Int64, limit_price: Int64
) -> list[Finding]:
    """Payments and rents follow from the published prices; the prices of carbon and reserve are those of their limits."""
    scarcity = published_scarcity(clearing)
    findings = []
    for kind, published in (
        (EMISSIONS_CAP, scarcity.carbon_micro_per_kg),
        (RESERVE_UP, scarcity.up_micro_per_kwh),
        (RESERVE_DOWN, scarcity.down_micro_per_kwh),
    ):
        found = min(int(limit_price[kinds == kind].sum()), MAX_PRICE_MICRO_PER_KWH)
        if abs(found - published) > 1:
            findings.append(Finding("payments", f"{LIMIT_NAMES[kind]} is priced {found} as a limit and {published} in payments"))
    headroom = scarcity.up_micro_per_kwh - scarcity.down_micro_per_kwh if slot.requirements.headroom_counts else 0
    inside_only = np.arange(price.size) != slot.network.root
    reserve = np.where(inside_only, headroom, 0)
    carbon = int(scarcity.carbon_of(slot.requirements.import_g_per_kwh))
    emissions = np.where(inside_only, carbon, 0) if slot.requirements.counts_fixed else np.full(price.size, carbon)
    if (np.asarray(clearing.certificate["emissions_micro_per_kwh"]) != emissions).any():
        findings.append(Finding("split", "the emissions part is not the price of carbon times the intensity of import"))
    if (np.asarray(clearing.certificate["reserve_micro_per_kwh"]) != reserve).any():
        findings.append(Finding("split", "the reserve part is not the price of reserve inside the feeder"))
    own, book = order_terms(orders, slot, scarcity), terms(orders, conventions)
    pay, held = payments(orders, book, clearing.filled_wh, price, own, conventions)
    for row in np.flatnonzero(pay != clearing.pay_nano):
        findings.append(Finding("payments", f"order {orders.id[row]} pays {clearing.pay_nano[row]}, by the prices {pay[row]}"))
    if slot.requirements.wants_reserve and (held != clearing.certificate["reserve_pay_nano"]).any():
        findings.append(Finding("payments", "the published payments for reserve are not those of the prices"))
    parts, fills = clearing.certificate, clearing.filled_wh
    rents = split_rents(orders, fills, clearing.pay_nano, held, own, parts, scarcity, slot, conventions)
    for name in RENT_NAMES:
        if (published := evidence_of(clearing, f"{name}_rent_nano")) != rents[name]:
            findings.append(Finding("payments", f"the rent of {name} is {rents[name]} nano, published is {published}"))
    return findings


def _check_split(clearing: Clearing, price: Int64) -> list[Finding]:
    total = sum(np.asarray(clearing.certificate[f"{name}_micro_per_kwh"]) for name in PARTS) + np.zeros_like(price)
    wrong = np.flatnonzero(total != price)
    return [Finding("split", f"node {b}: parts add to {total[b]}, the price is {price[b]}") for b in wrong]


def _limit_values(orders: Orders, clearing: Clearing, slot: FeederSlot, flow: Flow, kinds: Int64, index: Int64) -> Float:
    """How far each limit is exceeded (negative: to spare), in its own unit."""
    network, flow_in = slot.network, _flow_in(orders, clearing, slot, flow)
    missing = _reserve_missing(orders, clearing, slot, flow_in)
    values = np.zeros(kinds.size)
    for row, (kind, i) in enumerate(zip(kinds, index, strict=True)):
        if kind <= TRANSFORMER_LIMIT:
            values[row] = flow.loading[0, i] - 1
        elif kind <= HIGH_VOLTAGE:
            v = flow.v_pu[0, i]
            values[row] = network.v_min_pu[i] - v if kind == LOW_VOLTAGE else v - network.v_max_pu[i]
        elif kind == IMPORT_LIMIT:
            values[row] = flow_in - slot.import_limit_kw
        elif kind == EXPORT_LIMIT:
            values[row] = -flow_in - slot.export_limit_kw
        elif kind == EMISSIONS_CAP:
            values[row] = (emitted_mg(orders, clearing.filled_wh, slot) - cap_mg(slot)) / 1e6 / slot.hours
        else:
            values[row] = missing[int(kind)]
    return values


def _check_prices(
    clearing: Clearing, slot: FeederSlot, p: Float, price: Int64, kinds: Int64, index: Int64, limit_price: Int64
) -> list[Finding]:
    network = slot.network
    assert slot.fixed_q_kvar is not None
    at = sensitivities(network, p, slot.fixed_q_kvar)
    scarcity, counts = published_scarcity(clearing), slot.requirements.headroom_counts
    headroom = scarcity.up_micro_per_kwh - scarcity.down_micro_per_kwh if counts else 0
    carbon = int(scarcity.carbon_of(slot.requirements.import_g_per_kwh))
    inside = evidence_of(clearing, "energy_micro_per_kwh") + carbon + headroom
    rebuilt = float(inside) * at.slack_power()[0]
    for kind, i, amount in zip(kinds, index, limit_price, strict=True):
        if amount == 0:
            continue
        if kind <= TRANSFORMER_LIMIT:
            gradient = at.loading(int(i))[0]
            place = int(i) + 1
        elif kind <= HIGH_VOLTAGE:
            gradient = at.voltage(int(i))[0] * (-1.0 if kind == LOW_VOLTAGE else 1.0)
            place = int(network.wires.place[i])
        else:
            at_root = {IMPORT_LIMIT: -1.0, EXPORT_LIMIT: 1.0, RESERVE_UP: -float(counts), RESERVE_DOWN: float(counts)}
            if slot.requirements.counts_fixed:
                at_root[EMISSIONS_CAP] = -slot.requirements.import_g_per_kwh / 1e3
            gradient = np.where(np.arange(network.buses) == network.root, at_root.get(int(kind), 0.0), 0.0)
            place = 0
        rebuilt += amount / limit_unit(network, int(kind), place) * gradient
    tolerance = PRICE_TOLERANCE_MICRO + 2 * kinds.size + 2e-5 * np.abs(rebuilt)
    outside = np.abs(price) >= MAX_PRICE_MICRO_PER_KWH
    wrong = np.flatnonzero((np.abs(rebuilt - price) > tolerance) & ~outside)
    return [
        Finding("prices", f"node {network.bus_names[b]}: published {price[b]}, the multipliers give {rebuilt[b]:.1f}")
        for b in wrong
    ]


def _check_orders(orders: Orders, clearing: Clearing, slot: FeederSlot, conventions: Conventions, price: Int64) -> list[Finding]:
    book = terms(orders, conventions)
    own = order_terms(orders, slot, published_scarcity(clearing))
    gain = (book.price_micro_per_kwh - price[orders.node]) * orders.side.astype(np.int64) - own.add - own.hold
    left = book.quantity_wh - clearing.filled_wh
    tolerance = PRICE_TOLERANCE_MICRO + 2e-5 * np.abs(price[orders.node])
    lost = np.where(gain > tolerance, gain * left, 0) + np.where(gain < -tolerance, -gain * clearing.filled_wh, 0)
    spread = int(np.ptp(book.price_micro_per_kwh)) if orders.count else 0
    spare = _SPARE_WH + int(np.sum((clearing.filled_wh > 0) & (left > 0)))
    if int(lost.sum()) > spare * max(spread, 1):
        worst = int(np.argmax(lost))
        return [
            Finding(
                "orders",
                f"{lost.sum() / 1e9:.6f} of welfare is lost against the prices; most at order {orders.id[worst]} at "
                f"{orders.price_micro_per_kwh[worst]}, node price {price[orders.node[worst]]}, filled "
                f"{clearing.filled_wh[worst]} of {orders.quantity_wh[worst]} Wh",
            )
        ]
    return []
