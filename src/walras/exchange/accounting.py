"""From a clearing and the metered energy of a slot to what every account pays: one pure function for engine, replay and audit.

    Positions -> Settled (the settlement rule) -> Bills (itemised) -> cash and energy by account, each summing to exactly zero

Cash is positive when the account pays, energy positive when it takes from the grid. The supplier's account is the other side of
all energy: what members take together, it delivers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.errors import WalrasError
from walras.exchange.curtailment import WiresSlot, curtailment_nano, reserve_nano
from walras.exchange.network_charges import network_items
from walras.exchange.settlement import Settled, positions_of, settle_as_delivered, settle_firm
from walras.exchange.terms import FIRM, SYSTEM_ACCOUNTS, Terms
from walras.exchange.wires import charges
from walras.market.clearing import Clearing
from walras.market.orders import Orders
from walras.tariffs.bill import CURTAILMENT, LOCATIONAL, RENT_RETURNED, RESERVE, BillLayout, Bills, make_bills, with_items
from walras.units import Int64, checked_sum

SUPPLIER = SYSTEM_ACCOUNTS.index("supplier")


@dataclass(frozen=True, slots=True)
class SlotAccounts:
    """One slot, settled: what counts, the bills, and columns by account [members + system accounts]."""

    settled: Settled
    bills: Bills
    cash_nano: Int64
    energy_wh: Int64


def settle_positions(terms: Terms, orders: Orders, clearing: Clearing, import_wh: Int64, export_wh: Int64) -> Settled:
    """What counts, by the rule of the terms; `import_wh`, `export_wh` [members] as metered."""
    positions = positions_of(orders, clearing, terms.members)
    if terms.rule == FIRM:
        return settle_firm(positions, import_wh, export_wh, terms.short_micro_per_kwh, terms.long_micro_per_kwh)
    return settle_as_delivered(positions, import_wh, export_wh)


def settle_slot(
    terms: Terms,
    layout: BillLayout,
    slot: int,
    item_micro: Int64,
    orders: Orders,
    clearing: Clearing,
    import_wh: Int64,
    export_wh: Int64,
    wires: WiresSlot | None = None,
    reactive_var: Int64 | None = None,
) -> SlotAccounts:
    """Settle and bill one slot; `item_micro` [contracts, items] are its prices, `layout` is `terms.layout()`.

    `wires` is the slot on the wires where the terms have any: it adds the locational charges, and what is received for reserve;
    `reactive_var` [buses] where losses are charged.
    """
    settled = settle_positions(terms, orders, clearing, import_wh, export_wh)
    table = terms.price_table(slot, item_micro)
    bills = make_bills(layout, table, range(slot, slot + 1), terms.contract_of, terms.feed_in_micro, settled)
    bills = _with_charges(terms, layout, slot, bills, import_wh - export_wh, reactive_var)
    if terms.wires is not None:
        if wires is None:
            raise WalrasError(f"slot {slot}: the wires were not cleared", thing=slot)
        bills = with_items(bills, layout, wires_items(terms, wires, import_wh - export_wh))
    cash = np.concatenate([bills.total_nano, -bills.received_nano])
    energy = np.zeros(terms.accounts, dtype=np.int64)
    energy[: terms.members] = import_wh - export_wh
    energy[terms.members + SUPPLIER] = -checked_sum(energy[: terms.members])
    for name, column in (("cash", cash), ("energy", energy)):
        if checked_sum(column) != 0:
            raise WalrasError(f"slot {slot}: {name} sums to {checked_sum(column)}, not to zero", thing=slot)
    return SlotAccounts(settled, bills, cash, energy)


def wires_items(terms: Terms, wires: WiresSlot, net_wh: Int64) -> dict[str, Int64]:
    """What the wires add to the bills of a slot: item to a column [members], for what was metered [members]."""
    assert terms.wires is not None
    if not terms.wires.priced:
        return {CURTAILMENT: curtailment_nano(terms, wires)}
    reserve = reserve_nano(terms, wires)
    located = charges(terms.wires, wires.clearing, net_wh, int(reserve.sum()))
    added = {LOCATIONAL: located.locational_nano, RENT_RETURNED: located.returned_nano}
    return added | ({RESERVE: -reserve} if terms.wires.holds_reserve else {})


def bills_without_market(
    terms: Terms, layout: BillLayout, slot: int, item_micro: Int64, import_wh: Int64, export_wh: Int64,
    reactive_var: Int64 | None = None,
) -> Bills:  # fmt: skip
    """The same metered energy on everybody's own contract alone; what is charged for capacity and losses is due all the same."""
    nothing = np.zeros_like(import_wh)
    alone = Settled(nothing, nothing, nothing, import_wh, export_wh, nothing, nothing)
    table = terms.price_table(slot, item_micro)
    bills = make_bills(layout, table, range(slot, slot + 1), terms.contract_of, terms.feed_in_micro, alone)
    return _with_charges(terms, layout, slot, bills, import_wh - export_wh, reactive_var)


def _with_charges(terms: Terms, layout: BillLayout, slot: int, bills: Bills, net_wh: Int64, reactive_var: Int64 | None) -> Bills:
    if terms.charges is None:
        return bills
    return with_items(bills, layout, network_items(terms.charges, terms.grid, slot, net_wh, reactive_var))
