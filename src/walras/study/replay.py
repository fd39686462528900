"""A community replayed through the same rules as a run, without journal, signatures and chain: for studies, over days or a year.

Each slot takes the same pure functions in the same order as a session does: orders, clearing, positions, dispatch, settlement,
bills; the wires are solved a day at a time. What comes back are columns by slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from walras.exchange.accounting import settle_positions, wires_items
from walras.exchange.curtailment import WiresSlot
from walras.exchange.extras import extra_for
from walras.exchange.network_charges import network_items
from walras.exchange.settlement import positions_of
from walras.exchange.terms import Terms
from walras.grid import find_violations
from walras.market.clearing import Clearing, welfare_nano
from walras.market.conventions import Conventions
from walras.market.mechanism import Mechanism, run
from walras.market.orders import Orders
from walras.market.registry import mechanism_named
from walras.study.physics import Felt, bus_flow
from walras.study.trading import Day, Trading
from walras.tariffs.bill import Bills, make_bills, with_items
from walras.units import Float64, Int64

NO_PRICE = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class ReplayedDay:
    """One day. Columns [slots] or [slots, members]; `bills` are the day's, itemised.

    price_micro       the one price, NO_PRICE where there is none
    volume_wh         cleared; `counted_wh` what counts after delivery
    welfare_nano      reported welfare of the clearing; `surplus_nano` what the operator keeps of it
    net_wh            metered net energy of each member; `curtailed_wh` what the wires took back
    bought_wh         what counts of its trades, as do `sold_wh`, `local_nano`
    soc_uwh           stored energy at the end of the day, by battery
    loading           highest branch loading (fraction of rating); `v_min`, `v_max` pu; `violations` how many limits are broken
    """

    slots: range
    price_micro: Int64
    volume_wh: Int64
    counted_wh: Int64
    welfare_nano: Int64
    surplus_nano: Int64
    net_wh: Int64
    curtailed_wh: Int64
    bought_wh: Int64
    sold_wh: Int64
    local_nano: Int64
    bills: Bills
    soc_uwh: Int64
    loading: Float64
    v_min: Float64
    v_max: Float64
    violations: Int64


Clear = Callable[[Orders, Conventions], Clearing]
Watch = Callable[[int, Orders, Clearing], None]
WatchWires = Callable[[int, WiresSlot], None]


def replay(
    trading: Trading,
    terms: Terms,
    slots: range,
    watch: Watch | None = None,
    mechanism: Mechanism | None = None,
    watch_wires: WatchWires | None = None,
) -> Iterator[ReplayedDay]:
    """Replay `slots` (whole local days) in order, a day at a time, under `mechanism` (default: that of the terms).

    `watch` sees every clearing, `watch_wires` every clearing on the wires (where the terms have any).
    """
    soc = trading.initial_soc
    mechanism = mechanism or mechanism_named(terms.mechanism)
    slot = slots.start
    while slot < slots.stop:
        day = trading.day(slot)
        part = range(slot, min(day.slots.stop, slots.stop))
        done = _replay_day(trading, terms, mechanism, day, part, soc, (watch, watch_wires))
        soc = done.soc_uwh
        yield done
        slot = part.stop


def _replay_day(
    trading: Trading,
    terms: Terms,
    mechanism: Mechanism,
    day: Day,
    slots: range,
    soc: Int64,
    watches: tuple[Watch | None, WatchWires | None],
) -> ReplayedDay:
    watch, watch_wires = watches
    shape = (len(slots), terms.members)
    by_member = {name: np.zeros(shape, dtype=np.int64) for name in _SETTLED}
    net = np.zeros(shape, dtype=np.int64)
    curtailed = np.zeros(shape, dtype=np.int64)
    reactive = np.zeros(shape)
    added: dict[str, Int64] = {}
    by_slot = np.zeros((5, len(slots)), dtype=np.int64)
    for row, slot in enumerate(slots):
        orders = trading.orders(slot, soc)
        clearing = run(mechanism, orders, terms.conventions, trading.network, extra_for(mechanism, orders))
        if watch is not None:
            watch(slot, orders, clearing)
        done = trading.dispatched(slot, soc, positions_of(orders, clearing, terms.members))
        wires = None
        if terms.wires is not None:
            wires = trading.on_wires(terms, slot, soc, done, orders, clearing)
            done = trading.after_wires(soc, done, wires)
            curtailed[row] = wires.curtailed_wh
            if watch_wires is not None:
                watch_wires(slot, wires)
        for name, column in _charged(trading, terms, slot, wires, done).items():
            added[name] = added.get(name, 0) + column
        soc = done.soc_uwh
        net[row], reactive[row] = done.metered_wh, done.reactive_kvar
        settled = settle_positions(terms, orders, clearing, np.maximum(net[row], 0), np.maximum(-net[row], 0))
        for name, columns in by_member.items():
            columns[row] = getattr(settled, name)
        by_slot[:, row] = (*_figures(orders, clearing), int(settled.bought_wh.sum()))
    layout = terms.layout()
    bills = make_bills(layout, day.prices, slots, terms.contract_of, terms.feed_in_micro, _Columns(**by_member))
    bills = with_items(bills, layout, added)
    flow = bus_flow(trading.network, trading.bus, net, reactive, terms.grid.hours)
    broken = find_violations(trading.network, flow)
    return ReplayedDay(
        slots=slots,
        price_micro=by_slot[0],
        volume_wh=by_slot[1],
        counted_wh=by_slot[4],
        welfare_nano=by_slot[2],
        surplus_nano=by_slot[3],
        net_wh=net,
        curtailed_wh=curtailed,
        bought_wh=by_member["bought_wh"],
        sold_wh=by_member["sold_wh"],
        local_nano=by_member["local_nano"],
        bills=bills,
        soc_uwh=soc,
        loading=flow.loading.max(axis=1) if trading.network.branches else np.zeros(len(slots)),
        v_min=flow.v_pu.min(axis=1),
        v_max=flow.v_pu.max(axis=1),
        violations=np.bincount(broken.slot, minlength=len(slots)).astype(np.int64),
    )


def _figures(orders: Orders, clearing: Clearing) -> tuple[int, int, int, int]:
    """Price, volume, welfare and surplus of a clearing."""
    price = clearing.price_micro_per_kwh
    volume = int(clearing.filled_wh[orders.side > 0].sum())
    return NO_PRICE if price is None else price, volume, welfare_nano(orders, clearing), clearing.surplus_nano


def _charged(trading: Trading, terms: Terms, slot: int, wires: WiresSlot | None, done: Felt) -> dict[str, Int64]:
    """What the slot adds to bills beside prices, by item: the wires' nodal charges, and charges for the network."""
    items: dict[str, Int64] = {} if wires is None else wires_items(terms, wires, done.metered_wh)
    if terms.charges is not None:
        items |= network_items(terms.charges, terms.grid, slot, done.metered_wh, trading.reactive_var(done))
    return items


_SETTLED = ("supplied_wh", "exported_wh", "bought_wh", "sold_wh", "local_nano", "imbalance_nano")


@dataclass(frozen=True, slots=True)
class _Columns:
    supplied_wh: Int64
    exported_wh: Int64
    bought_wh: Int64
    sold_wh: Int64
    local_nano: Int64
    imbalance_nano: Int64
