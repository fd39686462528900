"""What a member knows when it decides, as columns over the members of one slot: net load and its own outside options.

`Signals` is the whole input of a strategy beside its battery: prices come from `tariffs.prices`, net loads from forecasts (when
orders are made) or from the meter (at delivery). Net load is positive when the member takes from the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

from walras.errors import Fault, InputError
from walras.tariffs.prices import local_charges
from walras.tariffs.records import LocalTariff
from walras.units import Int64


@dataclass(frozen=True, slots=True)
class Signals:
    """Columns [members] of one slot.

    net_wh          net load without the battery, Wh
    import_micro    all-in price of the own contract, micro/kWh
    limit_micro     highest trade price at which a neighbour's kWh is no dearer (`tariffs.limit_price`), micro/kWh
    feed_in_micro   own feed-in price, micro/kWh
    charges_micro   what the local tariff adds to a kWh bought locally, micro/kWh
    trade_vat_basis_points   VAT on the trade price itself, 0 where there is none
    """

    net_wh: Int64
    import_micro: Int64
    limit_micro: Int64
    feed_in_micro: Int64
    charges_micro: int
    trade_vat_basis_points: int


def make_signals(net_wh: Int64, import_micro: Int64, limit_micro: Int64, feed_in_micro: Int64, local: LocalTariff) -> Signals:
    """Signals of one slot; InputError unless the columns are of one length."""
    sizes = {column.shape for column in (net_wh, import_micro, limit_micro, feed_in_micro)}
    if len(sizes) != 1 or net_wh.ndim != 1:
        raise InputError("signals", [Fault("signals", "shape", sorted(sizes), "columns of one length")])
    vat = local.vat_basis_points if local.vat_on_trade else 0
    return Signals(net_wh, import_micro, limit_micro, feed_in_micro, local_charges(local), vat)
