"""Does a nodal clearing hold? Checked from its certificate with an AC power flow of its own, without solving it again.

The rule: nothing is believed. Fills go through `power_flow`, prices are rebuilt from the published multipliers and the adjoint at
those fills, and every order is held against the price of its node. That is the first-order optimality of the clearing:

1. balance        sold less bought is what the AC flow loses beyond the losses without trade, to the Wh
2. limits         no line, transformer, voltage, import or export beyond its limit, except what the certificate reports as short
3. split          energy + losses + voltage + congestion = price, at every node, exactly
4. multipliers    none negative; a limit with a price is reached
5. prices         energy * dP_root/dp_b + sum of multipliers * dlimit/dp_b, to 0.001 ct/kWh (10 micro) of the published price
6. orders         dearer bids and cheaper asks than the node's price are filled, the others are not: what is lost by the exceptions
                  is worth no more than a few Wh (whole numbers), at the spread of the book
"""

from __future__ import annotations

import numpy as np

from walras.grid.feeder import FeederSlot
from walras.grid.flow import Flow, power_flow
from walras.grid.limits import LOADING_TOLERANCE, VOLTAGE_TOLERANCE_PU, find_violations
from walras.grid.network import Float
from walras.grid.rows import EXPORT_LIMIT, HIGH_VOLTAGE, IMPORT_LIMIT, LIMIT_NAMES, LOW_VOLTAGE, TRANSFORMER_LIMIT, limit_unit
from walras.grid.sensitivity import sensitivities
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.laws import Finding
from walras.market.orders import BUY, Orders
from walras.market.terms import terms
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64

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
    findings += _check_limits(orders, clearing, slot, flow, kinds, index, short)
    findings += _check_split(clearing, price)
    value = _limit_values(orders, clearing, slot, flow, kinds, index)
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
        findings += _check_orders(orders, clearing, conventions, price)
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
    return findings


_FLOW_COLUMNS = ("v_pu", "angle_rad", "loading", "slack_p_kw", "slack_q_kvar", "losses_kw", "sweeps")


def _check_split(clearing: Clearing, price: Int64) -> list[Finding]:
    parts = [np.asarray(clearing.certificate[f"{name}_micro_per_kwh"]) for name in ("energy", "losses", "voltage", "congestion")]
    total = parts[0] + parts[1] + parts[2] + parts[3]
    wrong = np.flatnonzero(total != price)
    return [Finding("split", f"node {b}: parts add to {total[b]}, the price is {price[b]}") for b in wrong]


def _limit_values(orders: Orders, clearing: Clearing, slot: FeederSlot, flow: Flow, kinds: Int64, index: Int64) -> Float:
    """How far each limit is exceeded (negative: to spare), in its own unit."""
    network, flow_in = slot.network, _flow_in(orders, clearing, slot, flow)
    values = np.zeros(kinds.size)
    for row, (kind, i) in enumerate(zip(kinds, index, strict=True)):
        if kind <= TRANSFORMER_LIMIT:
            values[row] = flow.loading[0, i] - 1
        elif kind <= HIGH_VOLTAGE:
            v = flow.v_pu[0, i]
            values[row] = network.v_min_pu[i] - v if kind == LOW_VOLTAGE else v - network.v_max_pu[i]
        else:
            values[row] = flow_in - slot.import_limit_kw if kind == IMPORT_LIMIT else -flow_in - slot.export_limit_kw
    return values


def _check_prices(
    clearing: Clearing, slot: FeederSlot, p: Float, price: Int64, kinds: Int64, index: Int64, limit_price: Int64
) -> list[Finding]:
    network = slot.network
    assert slot.fixed_q_kvar is not None
    at = sensitivities(network, p, slot.fixed_q_kvar)
    rebuilt = float(np.asarray(clearing.certificate["energy_micro_per_kwh"])) * at.slack_power()[0]
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
            gradient = np.where(np.arange(network.buses) == network.root, -1.0 if kind == IMPORT_LIMIT else 1.0, 0.0)
            place = 0
        rebuilt += amount / limit_unit(network, int(kind), place) * gradient
    tolerance = PRICE_TOLERANCE_MICRO + 2 * kinds.size + 2e-5 * np.abs(rebuilt)
    outside = np.abs(price) >= MAX_PRICE_MICRO_PER_KWH
    wrong = np.flatnonzero((np.abs(rebuilt - price) > tolerance) & ~outside)
    return [
        Finding("prices", f"node {network.bus_names[b]}: published {price[b]}, the multipliers give {rebuilt[b]:.1f}")
        for b in wrong
    ]


def _check_orders(orders: Orders, clearing: Clearing, conventions: Conventions, price: Int64) -> list[Finding]:
    book = terms(orders, conventions)
    gain = (book.price_micro_per_kwh - price[orders.node]) * orders.side.astype(np.int64)
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
