"""Rewards for relief: who moves its power where the wires are short is paid what that is worth to everybody.

The rule: reward = sum over limits of (shadow price of the limit) * (what one kW less at the member's bus moves it by) * (relief
delivered). One kWh less taken at bus b frees, of each limit, its sensitivity dlimit/dp_b from the AC flow; the limit's
shadow price says what that is worth. Relief is energy *not* taken (or fed in beyond the baseline); where limits are short
of load instead, the price is negative and taking more is what is paid.

Delivered relief is judged against a baseline and an agreed amount: what was delivered in the agreed direction, never more than
agreed, never less than nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from walras.errors import Fault, InputError
from walras.grid.feeder import FeederSlot
from walras.grid.network import Float, Int
from walras.grid.rows import EXPORT_LIMIT, HIGH_VOLTAGE, IMPORT_LIMIT, LOW_VOLTAGE, TRANSFORMER_LIMIT, limit_unit
from walras.grid.sensitivity import sensitivities
from walras.market.clearing import Clearing
from walras.market.orders import Orders
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64, as_int64, checked_product


def limit_sensitivities(slot: FeederSlot, p_kw: Float, clearing: Clearing) -> Float:
    """[limits, buses]: by how many published units (1 kVA of a branch, 0.01 pu, 1 kW of exchange) each limit in the certificate
    is relieved by one kW less taken at each bus, at the powers `p_kw` [buses]. Caps on emissions and reserve are not limits of the
    wires: their rows are zero.
    """
    network = slot.network
    assert slot.fixed_q_kvar is not None
    at = sensitivities(network, p_kw, slot.fixed_q_kvar)
    kinds, index = (np.asarray(clearing.certificate[name]) for name in ("limit_kind", "limit_index"))
    rows = np.zeros((kinds.size, network.buses))
    for row, (kind, i) in enumerate(zip(kinds.tolist(), index.tolist(), strict=True)):
        if kind <= TRANSFORMER_LIMIT:
            rows[row] = at.loading(i)[0] / limit_unit(network, kind, i + 1)
        elif kind <= HIGH_VOLTAGE:
            rows[row] = at.voltage(i)[0] * (-1.0 if kind == LOW_VOLTAGE else 1.0) / limit_unit(network, kind, 0)
        elif kind in (IMPORT_LIMIT, EXPORT_LIMIT):
            rows[row, network.root] = -1.0 if kind == IMPORT_LIMIT else 1.0
    return rows


def relief_prices(slot: FeederSlot, p_kw: Float, clearing: Clearing) -> Int64:
    """[limits, buses] micro per kWh of relief at each bus, by limit: shadow price times sensitivity, to a whole micro.

    Limits that stay broken in the clearing have no market price and pay nothing here.
    """
    price = np.asarray(clearing.certificate["limit_price_micro_per_hour"], dtype=np.float64)
    broken = np.asarray(clearing.certificate["limit_short_ppm"]) > 0
    worth = np.where(broken, 0.0, price)[:, None] * limit_sensitivities(slot, p_kw, clearing)
    most = float(MAX_PRICE_MICRO_PER_KWH)
    return np.rint(np.clip(worth, -most, most)).astype(np.int64)


def delivered_relief(baseline_wh: ArrayLike, metered_wh: ArrayLike, agreed_wh: ArrayLike) -> Int64:
    """[members] Wh of relief delivered: baseline less metered net take, between nothing and what was agreed.

    Net takes are positive when taken from the grid. `agreed_wh` > 0: take that much less, < 0: take that much more.

    >>> delivered_relief([1000, 1000, 1000, 0], [400, 1200, -500, 900], [500, 500, 500, -800]).tolist()
    [500, 0, 500, -800]
    """
    baseline, metered, agreed = (
        as_int64(column, name)
        for column, name in ((baseline_wh, "baseline_wh"), (metered_wh, "metered_wh"), (agreed_wh, "agreed_wh"))
    )
    if not baseline.shape == metered.shape == agreed.shape:
        shapes = (baseline.shape, metered.shape, agreed.shape)
        raise InputError("relief", [Fault("relief", "columns", shapes, "one number a member in each")])
    moved = baseline - metered
    return np.asarray(np.clip(moved, np.minimum(agreed, 0), np.maximum(agreed, 0)), dtype=np.int64)


def relief_rewards(price_micro_per_kwh: Int64, bus: Int, relief_wh: ArrayLike) -> Int64:
    """[limits, members] nano that each member receives for each limit; sum over axis 0 for the member's reward.

    `price_micro_per_kwh` [limits, buses] from `relief_prices`, `relief_wh` [members] delivered at `bus` [members]. Relief
    that eases one limit and strains another is credited and charged for each.

    >>> relief_rewards(np.array([[0, 40_000], [0, -5_000]]), np.array([1, 0]), [1500, 800]).tolist()    # 6 ct less 0.75 ct
    [[60000000, 0], [-7500000, 0]]
    """
    relief = as_int64(relief_wh, "relief_wh")
    price = np.asarray(price_micro_per_kwh, dtype=np.int64)
    return checked_product(np.broadcast_to(relief, (price.shape[0], relief.size)), price[:, np.asarray(bus)], "reward_nano")


def power_at(orders: Orders, clearing: Clearing, slot: FeederSlot) -> Float:
    """[buses] kW taken under a clearing: the operating point for `relief_prices`."""
    return slot.power_of(orders, clearing.filled_wh)
