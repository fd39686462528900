"""Prices of every slot as whole numbers: what a kWh costs on each contract, item by item, and what a neighbour's kWh costs.

The rule: every item is a whole price in micro/kWh, and the items of a contract add up to its all-in price exactly. VAT is the
last item: floor(sum of the others * rate), put on the price of a kWh and not on the bill, so that a bill is only ever
energy * price and nothing is rounded later.

A kWh bought from a neighbour at the trade price p costs its buyer

    p + charges,    charges = fees + floor(fees * VAT),    fees = network + levies + operator's fee

and, where the tariff puts VAT on the trade itself, p * VAT more (rounded down on the payment). The buyer's limit is the largest
whole p at which this is no dearer than its own contract: `limit_price`. A micro-unit more would be dearer.

Two ways to hold the same limit: net of charges (an order carries p; the fee is not the mechanism's business), or gross with the
charge inside the merit order (`Conventions.grid_fee_micro_per_kwh`: an order carries p + fee, the mechanism takes the fee off).
`gross_limit` and `net_limit` convert.

Local time decides time-of-use windows, so days of 92 and 100 quarter hours need no special case: a slot belongs to the window
in which its local start lies. A dynamic contract adds its margin to the wholesale price of the slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np

from walras.errors import Fault, InputError, RangeError
from walras.slots import SlotGrid
from walras.tariffs.records import BASIS_POINTS, Contract, LocalTariff
from walras.units import MAX_PRICE_MICRO_PER_KWH, Int64

VAT = "vat"
ENERGY = "energy"
NETWORK = "network"


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices of T slots from `first_slot`, for C contracts.

    contracts        C ids
    items            I names: energy, network, each levy (a contract without it has 0), vat
    item_micro       [T, C, I] int64, micro/kWh
    import_micro     [T, C] int64, micro/kWh, all-in: the sum of the items
    limit_micro      [T, C] int64, micro/kWh: the highest trade price at which a neighbour's kWh is no dearer
    """

    first_slot: int
    contracts: tuple[str, ...]
    items: tuple[str, ...]
    item_micro: Int64
    import_micro: Int64
    limit_micro: Int64


def price_table(
    contracts: Sequence[Contract], local: LocalTariff, grid: SlotGrid, slots: range, wholesale_micro: Int64
) -> PriceTable:
    """The prices of `slots` (consecutive); `wholesale_micro` [T] is the wholesale price of each, micro/kWh, without VAT.

    Raises InputError where lengths differ or ids repeat, RangeError where an all-in price passes MAX_PRICE_MICRO_PER_KWH.
    """
    faults = []
    if slots.step != 1:
        faults.append(Fault("price table", "slots", slots, "consecutive slots"))
    if wholesale_micro.shape != (len(slots),):
        faults.append(Fault("price table", "wholesale_micro", wholesale_micro.shape, f"{(len(slots),)}: one a slot"))
    ids = [contract.id for contract in contracts]
    faults += [Fault("price table", "contract", name, "a unique id") for name in sorted({n for n in ids if ids.count(n) > 1})]
    if faults:
        raise InputError("price table", faults)
    levies = list(dict.fromkeys(levy.name for contract in contracts for levy in contract.levies))
    items = (ENERGY, NETWORK, *levies, VAT)
    weekday, minute = _local_clock(grid, slots)
    column = np.zeros((len(slots), len(contracts), len(items)), dtype=np.int64)
    for c, contract in enumerate(contracts):
        column[:, c, 0] = contract.energy_micro_per_kwh
        column[:, c, 1] = contract.network_micro_per_kwh
        if contract.kind == "dynamic":
            column[:, c, 0] += wholesale_micro
        for window in contract.windows:
            inside = (minute >= window.start_minute) & (minute < window.end_minute) & np.isin(weekday, window.weekdays)
            column[inside, c, 0] = window.energy_micro_per_kwh
            if window.network_micro_per_kwh is not None:
                column[inside, c, 1] = window.network_micro_per_kwh
        for levy in contract.levies:
            column[:, c, items.index(levy.name, 2)] += levy.micro_per_kwh
        column[:, c, -1] = column[:, c].sum(axis=1) * contract.vat_basis_points // BASIS_POINTS
    all_in = column.sum(axis=2)
    if all_in.size and int(np.abs(all_in).max()) > MAX_PRICE_MICRO_PER_KWH:
        raise RangeError(f"price table: an all-in price is beyond {MAX_PRICE_MICRO_PER_KWH} micro/kWh", thing="import_micro")
    limit = np.asarray(limit_price(all_in, local), dtype=np.int64)
    for array in (column, all_in, limit):
        array.flags.writeable = False
    return PriceTable(slots.start, tuple(ids), items, column, all_in, limit)


def _local_clock(grid: SlotGrid, slots: range) -> tuple[Int64, Int64]:
    """Weekday (Monday = 0) and minute of the local day at the start of each slot."""
    zone = ZoneInfo(grid.timezone)
    length = timedelta(minutes=grid.minutes)
    local = [(grid.origin + slot * length).astimezone(zone) for slot in slots]
    weekday = np.array([moment.weekday() for moment in local], dtype=np.int64)
    minute = np.array([moment.hour * 60 + moment.minute for moment in local], dtype=np.int64)
    return weekday, minute


def local_fees(local: LocalTariff) -> int:
    """Network fee, levies and operator's fee on a kWh traded locally, before VAT, micro/kWh."""
    return local.network_micro_per_kwh + sum(levy.micro_per_kwh for levy in local.levies) + local.operator_fee_micro_per_kwh


def local_charges(local: LocalTariff) -> int:
    """What a kWh traded locally costs beside the trade price: fees and the VAT on them, micro/kWh.

    >>> local_charges(LocalTariff(30_000, (), 1_900, 10_000))
    47600
    """
    fees = local_fees(local)
    return fees + fees * local.vat_basis_points // BASIS_POINTS


def limit_price(own_micro: Int64 | int, local: LocalTariff) -> Int64 | int:
    """The largest whole trade price p, micro/kWh, at which a local kWh costs at most `own_micro`.

    >>> tariff = LocalTariff(30_000, (), 1_900, 10_000)
    >>> limit_price(300_000, tariff)                                  # 0.3000 - 0.0476
    252400
    >>> limit_price(300_000, LocalTariff(30_000, (), 1_900, 10_000, vat_on_trade=True))     # 252400 / 1.19 = 212100.8...
    212100
    """
    net = own_micro - local_charges(local)
    if local.vat_on_trade:
        return net * BASIS_POINTS // (BASIS_POINTS + local.vat_basis_points)
    return net


def local_cost_nano(trade_nano: Int64 | int, energy_wh: Int64 | int, local: LocalTariff) -> Int64 | int:
    """What a buyer pays in all for `energy_wh` bought locally for `trade_nano`, in nano.

    >>> local_cost_nano(252_400_000, 1_000, LocalTariff(30_000, (), 1_900, 10_000))       # 1 kWh at the limit above: 0.30
    300000000
    """
    cost = trade_nano + energy_wh * local_charges(local)
    if local.vat_on_trade:
        cost = cost + trade_nano * local.vat_basis_points // BASIS_POINTS
    return cost


def gross_limit(net_micro: Int64 | int, fee_micro: int) -> Int64 | int:
    """A limit net of the fee -> the limit an order carries where `grid_fee_micro_per_kwh` = fee is inside the merit order."""
    return net_micro + fee_micro


def net_limit(gross_micro: Int64 | int, fee_micro: int) -> Int64 | int:
    """The inverse of `gross_limit`."""
    return gross_micro - fee_micro
