"""Bills: what each member pays for what counts, item by item, and which account receives each item.

The rule: every nano-unit that a member pays is received by exactly one account, and the other way round, so members' totals and
accounts' receipts sum to exactly zero, sellers included. An item is energy_wh * price_micro_per_kwh, nothing is rounded, except
VAT on the trade itself (where the local tariff puts it): floor of the slot's payment for local energy times the rate.

Signs: positive is paid by the member, negative is paid to it (feed-in, local sales).

    item                 is                                         received by
    energy               supplied_wh * contract                     supplier
    network              supplied_wh * contract                     grid_operator
    each levy, vat       supplied_wh * contract                     state
    local_trade          the clearing's payments, as settled        operator (0 in sum where the market balances)
    local_network        bought_wh * local tariff                   grid_operator
    local_<levy>         bought_wh * local tariff                   state
    local_operator       bought_wh * local tariff                   operator
    local_vat            bought_wh * VAT on the fees (+ on trade)   state
    feed_in              - exported_wh * feed-in rate               supplier
    imbalance            as settled (rule `firm`)                   balancing
    capacity             subscribed kW * price per kW and day       grid_operator  (these three where the community charges them)
    capacity_excess      energy taken beyond the subscription       grid_operator
    network_losses       share of the cost of what flows lose       grid_operator
    curtailment          paid for feed-in taken back (<= 0)         grid_operator  (where an order says who takes back)
    reserve              reserve held for the feeder (<= 0)         grid_operator  (where the community requires reserve)
    locational           net metered energy * place in the network  grid_operator  (these two where the wires' limits hold)
    rent_returned        share of the sum of the two before         grid_operator
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit

from walras.errors import Fault, InputError, RangeError
from walras.tariffs.prices import ENERGY, NETWORK, PriceTable, local_charges, local_fees
from walras.tariffs.records import BASIS_POINTS, LocalTariff
from walras.units import Int64, checked_sum

ACCOUNTS = ("supplier", "grid_operator", "state", "operator", "balancing")


LOCATIONAL, RENT_RETURNED, RESERVE = "locational", "rent_returned", "reserve"
CAPACITY, CAPACITY_EXCESS, NETWORK_LOSSES = "capacity", "capacity_excess", "network_losses"
CURTAILMENT = "curtailment"
LOCATED = (LOCATIONAL, RENT_RETURNED)
"""The last items of a bill where the limits of the wires hold."""
ADDED = (CAPACITY, CAPACITY_EXCESS, NETWORK_LOSSES, CURTAILMENT, RESERVE, *LOCATED)
"""Every item that the wires can add to a bill, all of them between a member and the grid operator."""


class Delivered(Protocol):
    """What counts, columns of one shape, [members] or [slots, members]: as a settlement rule returns it."""

    @property
    def supplied_wh(self) -> Int64: ...
    @property
    def exported_wh(self) -> Int64: ...
    @property
    def bought_wh(self) -> Int64: ...
    @property
    def local_nano(self) -> Int64: ...
    @property
    def imbalance_nano(self) -> Int64: ...


@dataclass(frozen=True, slots=True)
class BillLayout:
    """The items of a bill and, for each, the row in ACCOUNTS of who receives it."""

    items: tuple[str, ...]
    account: Int64
    own: int
    """How many of the items, from the left, are the supply contract's."""
    local_micro: Int64
    """Price of each item after `local_trade` that bought_wh bears (local network, levies, operator's fee, VAT on these)."""
    trade_vat_basis_points: int


@dataclass(frozen=True, slots=True)
class Bills:
    """`nano` [members, items] paid by each member; `received_nano` [accounts] as in ACCOUNTS. All sums to exactly zero."""

    items: tuple[str, ...]
    nano: Int64
    received_nano: Int64

    @property
    def total_nano(self) -> Int64:
        """[members]: what each member pays in all (negative: receives)."""
        return np.asarray(self.nano.sum(axis=1), dtype=np.int64)


def bill_layout(prices: PriceTable, local: LocalTariff, added: Sequence[str] = ()) -> BillLayout:
    """The items that the contracts of `prices` and the local tariff make, then those of the wires: `added`, out of ADDED."""
    levies = [f"local_{levy.name}" for levy in local.levies]
    items = (*prices.items, "local_trade", "local_network", *levies, "local_operator", "local_vat", "feed_in", "imbalance")
    items = (*items, *added)
    receiver = {
        ENERGY: "supplier",
        NETWORK: "grid_operator",
        "local_trade": "operator",
        "local_network": "grid_operator",
        "local_operator": "operator",
        "feed_in": "supplier",
        "imbalance": "balancing",
        **dict.fromkeys(ADDED, "grid_operator"),
    }
    repeated = sorted({name for name in items if items.count(name) > 1})
    if repeated:
        raise InputError("bill", [Fault("local tariff", "levy", name, "a name that no other item has") for name in repeated])
    names = [receiver.get(name, "state") for name in items]
    fees = [local.network_micro_per_kwh, *(levy.micro_per_kwh for levy in local.levies), local.operator_fee_micro_per_kwh]
    return BillLayout(
        items,
        np.array([ACCOUNTS.index(name) for name in names], dtype=np.int64),
        len(prices.items),
        np.array([*fees, local_charges(local) - local_fees(local)], dtype=np.int64),
        local.vat_basis_points if local.vat_on_trade else 0,
    )


def make_bills(
    layout: BillLayout, prices: PriceTable, slots: range, contract_of: Int64, feed_in_micro: Int64, delivered: Delivered
) -> Bills:
    """Bills of all members over `slots` (within the price table), the sum over the slots.

    `contract_of` [members] is the row of each member's contract in `prices`, `feed_in_micro` [members] its feed-in rate;
    the columns of `delivered` are [slots, members], or [members] for a single slot. Raises InputError for shapes,
    RangeError where a sum could leave int64.
    """
    shape = (len(slots), contract_of.size)
    columns = [
        np.ascontiguousarray(np.atleast_2d(getattr(delivered, name)), dtype=np.int64)
        for name in ("supplied_wh", "exported_wh", "bought_wh", "local_nano", "imbalance_nano")
    ]
    if any(column.shape != shape for column in columns):
        raise InputError("bill", [Fault("delivered", "shape", [c.shape for c in columns], f"{shape}: slots x members")])
    row = slots.start - prices.first_slot
    if row < 0 or row + len(slots) > prices.import_micro.shape[0]:
        raise InputError("bill", [Fault("bill", "slots", slots, "slots within the price table")])
    _check_range(columns, layout, prices, feed_in_micro)
    nano = np.zeros((contract_of.size, len(layout.items)), dtype=np.int64)
    last = layout.own + layout.local_micro.size + 2
    _add(
        nano,
        last,
        prices.item_micro[row : row + len(slots)],
        contract_of,
        feed_in_micro,
        layout.own,
        layout.local_micro,
        layout.trade_vat_basis_points,
        *columns,
    )
    return _bills(layout, nano)


def with_items(bills: Bills, layout: BillLayout, added: Mapping[str, Int64]) -> Bills:
    """The bills with what the wires add: name of the item, one of the layout's added ones, to a column [members]."""
    missing = [name for name in added if name not in ADDED or name not in bills.items]
    if missing:
        raise InputError("bill", [Fault("bill", "items", name, "an item that the wires add to this layout") for name in missing])
    nano = bills.nano.copy()
    for name, column in added.items():
        nano[:, bills.items.index(name)] += column
    return _bills(layout, nano)


def _bills(layout: BillLayout, nano: Int64) -> Bills:
    received = np.zeros(len(ACCOUNTS), dtype=np.int64)
    np.add.at(received, layout.account, nano.sum(axis=0))
    return Bills(layout.items, nano, received)


@njit(cache=True)
def _add(
    nano: Int64,
    last: int,
    item_micro: Int64,
    contract_of: Int64,
    feed_in: Int64,
    own: int,
    local_micro: Int64,
    trade_vat: int,
    supplied: Int64,
    exported: Int64,
    bought: Int64,
    local_nano: Int64,
    imbalance: Int64,
) -> None:
    for t in range(supplied.shape[0]):
        for i in range(contract_of.size):
            c = contract_of[i]
            if supplied[t, i] != 0:
                for k in range(own):
                    nano[i, k] += supplied[t, i] * item_micro[t, c, k]
            nano[i, own] += local_nano[t, i]
            if bought[t, i] != 0:
                for k in range(local_micro.size):
                    nano[i, own + 1 + k] += bought[t, i] * local_micro[k]
                nano[i, last - 2] += max(local_nano[t, i], 0) * trade_vat // BASIS_POINTS
            nano[i, last - 1] -= exported[t, i] * feed_in[i]
            nano[i, last] += imbalance[t, i]


def _check_range(columns: list[Int64], layout: BillLayout, prices: PriceTable, feed_in: Int64) -> None:
    """RangeError unless every partial sum stays inside int64: all energy at the dearest price plus payments below 2**62."""
    energy = sum(checked_sum(np.abs(column).ravel(), "energy") for column in columns[:3])
    money = sum(checked_sum(np.abs(column).ravel(), "payments") for column in columns[3:])
    dearest = max((int(np.abs(a).max()) for a in (prices.item_micro, layout.local_micro, feed_in) if a.size), default=0)
    if energy * dearest + money * max(layout.trade_vat_basis_points, 1) >= 2**62:
        message = f"bill: {energy} Wh at {dearest} micro/kWh does not fit in int64"
        raise RangeError(message, thing="bill", way_out="bill fewer slots at once")


def bill_balance(bills: Bills) -> int:
    """Members' payments less accounts' receipts: exactly 0."""
    return checked_sum(bills.total_nano, "members") - checked_sum(bills.received_nano, "accounts")
