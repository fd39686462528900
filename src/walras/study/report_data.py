"""What a report says, computed from a run's journal and its community file: columns by slot and member, and totals by member.

The rule: nothing is taken over that can be computed. Settlement and bills come from `settled_slots`, the wires from the same AC
power flow as in the run, and the world without the market from the same devices, forecasts and contracts with nobody trading.

Without a market a battery acts differently, so the two worlds end with different energy stored. A member's gain is therefore

    bill without - bill with + worth of what is stored more at the end (less: negative)

where the worth is the value function by which the member's battery is planned (`devices.battery_plan`). Beside it stands the gain
on the same metered energy, which is what a single bill states: there the battery has acted as it did, only the trades are undone.

Signs: energy positive when taken from the grid, money positive when the member pays, gains positive when the member is better off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from walras.community.model import Community
from walras.errors import JournalError
from walras.exchange.accounting import bills_without_market
from walras.exchange.acts import Act, ActKind, acts_of
from walras.exchange.curtailment import WiresSlot, recorded_wires
from walras.exchange.fold import ACT
from walras.exchange.journal import Entry
from walras.exchange.ordered import bounds_of, ordered_from_public, outcomes
from walras.exchange.parts import delivered_from
from walras.exchange.phases import EventKind
from walras.exchange.public import clearing_from_public, orders_from_public
from walras.exchange.publishing import budgets
from walras.exchange.settlement import positions_of
from walras.exchange.statement import SettledSlot, opened_terms, settled_slots
from walras.exchange.terms import Terms
from walras.exchange.trades import trades_of
from walras.grid import Flow, Network
from walras.study.physics import bus_flow
from walras.study.report_books import Book, book_of
from walras.study.report_trust import Trust, tally
from walras.study.runner import COMMUNITY, OpenRun, opened_by_operator
from walras.study.trading import Trading
from walras.tariffs.bill import BillLayout
from walras.tariffs.prices import local_charges
from walras.units import Float64, Int64

UNITS_OF_VALUE = 1_000_000
"""A value table counts in millionths of a nano-unit."""


@dataclass(frozen=True, slots=True)
class World:
    """One of the two worlds. Columns [slots, members] or as said.

    net_wh [slots, members] metered; `stored_wh` [slots] in all batteries after each slot; `pays_nano` [members];
    `items_nano` [members, items]; `received_nano` [system accounts]; `left_nano` [members] worth of what is stored at the end;
    `flow` the AC power flow of all slots.
    """

    net_wh: Int64
    stored_wh: Float64
    items_nano: Int64
    received_nano: Int64
    left_nano: Int64
    flow: Flow

    @property
    def pays_nano(self) -> Int64:
        """[members]: what each member pays over the run."""
        return np.asarray(self.items_nano.sum(axis=1), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything that the page shows. Columns [slots], [members] or [slots, members] in the order of the terms.

    price_micro is -1 where there is no one price; `retail_micro` [slots, 2] the lowest and highest all-in contract price;
    `traded_wh` [seller, buyer] over the run; `same_nano` [members] is what the same metered energy costs without trades;
    `wires` the clearings on the wires, one a slot, none where their limits are only watched;
    `worse` counts (slot, member) pairs that paid more than that, `worse_nano` [members] by how much in all.
    """

    community: Community
    terms: Terms
    network: Network
    bus: Int64
    slots: Int64
    items: tuple[str, ...]
    load_wh: Int64
    pv_wh: Int64
    price_micro: Int64
    retail_micro: Int64
    bought_wh: Int64
    sold_wh: Int64
    local_wh: Int64
    paid_nano: Int64
    retail_nano: int
    feed_in_nano: int
    traded_wh: Int64
    with_market: World
    without: World
    same_nano: Int64
    worse: int
    worse_nano: Int64
    broken: Int64
    books: list[Book]
    wires: list[WiresSlot]
    trust: Trust

    @property
    def gain_nano(self) -> Int64:
        """[members]: see the head of the file."""
        left = self.with_market.left_nano - self.without.left_nano
        return np.asarray(self.without.pays_nano - self.with_market.pays_nano + left, dtype=np.int64)

    @property
    def hours(self) -> float:
        """Length of a slot."""
        return self.terms.grid.hours

    @property
    def feed_in_rates(self) -> Int64:
        """Feed-in rates of the members that have one, micro/kWh."""
        return np.asarray(self.terms.feed_in_micro[self.terms.feed_in_micro > 0], dtype=np.int64)

    @property
    def mean_price_ct(self) -> Float64:
        """[slots] ct/kWh: what buyers paid for a kWh from neighbours; NaN where nothing was traded."""
        bought = self.bought_wh.sum(axis=1)
        return np.where(bought > 0, self.paid_nano / np.maximum(bought, 1) / 10_000, np.nan)


def read_report(run: Path, opened: OpenRun | None = None) -> ReportData:
    """All of it from the folder of a run (finished or interrupted), which is `opened` already, or by the key beside it.

    JournalError where no slot is settled, or where somebody was forgotten or private parts were erased: the page compares what
    members did with what they would have done alone, and what stood behind their meters is gone.
    """
    held = opened or opened_by_operator(run)
    assert held.community is not None
    try:
        _check_whole(run, acts_of(held.journal.entries()))
        return _collect(held.community, held.journal.entries())
    finally:
        if opened is None:
            held.journal.close()


def _check_whole(run: Path, acts: list[Act]) -> None:
    gone = [act for act in acts if act.kind in (ActKind.FORGOTTEN, ActKind.ERASED)]
    if not gone:
        return
    forgotten = [f"account {act.account} on {act.at:%Y-%m-%d}" for act in gone if act.kind is ActKind.FORGOTTEN]
    erased = [f"private parts on {act.at:%Y-%m-%d}" for act in gone if act.kind is ActKind.ERASED]
    what = "; ".join([f"forgotten: {', '.join(forgotten)}"] * bool(forgotten) + [f"erased: {', '.join(erased)}"] * bool(erased))
    raise JournalError(
        f"{run}: no page can be made any more ({what}): it compares members' days with and without the market, and what stood "
        "behind their meters is gone",
        thing=run,
        way_out="`walras audit` still checks the whole record and `walras bill` the bills of those who stay; "
        "a page made before is the operator's to keep or delete",
    )


@dataclass
class _Sums:
    """What is added up slot by slot."""

    rows: dict[str, list[Int64]]
    items: Int64
    without: Int64
    received: Int64
    received_without: Int64
    same: Int64
    worse_nano: Int64
    traded: Int64
    worse: int = 0
    retail_nano: int = 0
    feed_in_nano: int = 0
    reactive: list[Float64] = field(default_factory=list)
    reactive_without: list[Float64] = field(default_factory=list)


_ROWS = ("slot", "net", "bought", "sold", "alone", "load", "pv", "price", "paid", "retail", "stored", "stored_without", "broken")


def _collect(community: Community, entries: Iterator[Entry]) -> ReportData:
    first = next(entries, None)
    terms, _ = opened_terms([] if first is None else [first])
    trading, trust = Trading(community), Trust()
    if terms.members != len(community.members):
        raise JournalError(f"the run has {terms.members} members, its community file {len(community.members)}", thing=COMMUNITY)
    layout, n = terms.layout(), terms.members
    sums = _Sums(
        rows={name: [] for name in _ROWS},
        items=_zeros(n, len(layout.items)),
        without=_zeros(n, len(layout.items)),
        received=_zeros(terms.accounts - n),
        received_without=_zeros(terms.accounts - n),
        same=_zeros(n),
        worse_nano=_zeros(n),
        traded=_zeros(n, n),
    )
    books: list[Book] = []
    wires: list[WiresSlot] = []
    soc, alone_soc = trading.initial_soc, trading.initial_soc
    acts: list[Entry] = []
    for s in settled_slots(terms, tally(_kept_acts(entries, acts), trust)):
        soc, alone_soc = _add_slot(sums, trading, terms, layout, s, (soc, alone_soc))
        books.append(book_of(s, terms.conventions.grid_fee_micro_per_kwh))
        trust.balance.add(s)
        trust.corrections.add(s, acts)
        trust.ordered += outcomes(s.slot, s.events[EventKind.SLOT_OPENED].public, s.import_wh - s.export_wh)
        on_wires = recorded_wires(terms, s.slot, s.events)
        if on_wires is not None:
            wires.append(on_wires)
    if terms.publishing is not None:
        trust.budgets = tuple(budgets(terms, acts).values())
    if not books:
        raise JournalError("no slot of this run is settled yet", way_out="let `walras run` go on")
    return _finish(community, terms, trading, trust, sums, (books, wires), (soc, alone_soc))


def _zeros(*shape: int) -> Int64:
    return np.zeros(shape, dtype=np.int64)


def _kept_acts(entries: Iterator[Entry], acts: list[Entry]) -> Iterator[Entry]:
    """Pass on `entries`, keeping the acts among them."""
    for entry in entries:
        if entry.kind == ACT:
            acts.append(entry)
        yield entry


def _add_slot(
    sums: _Sums, trading: Trading, terms: Terms, layout: BillLayout, s: SettledSlot, stored: tuple[Int64, Int64]
) -> tuple[Int64, Int64]:
    """Add slot `s` in both worlds; the stored energy after it, with and without the market (`stored`: before it)."""
    done, bills = s.accounts.settled, s.accounts.bills
    sums.items += bills.nano
    sums.received += bills.received_nano
    more = bills.total_nano - s.alone.total_nano
    sums.same += s.alone.total_nano
    sums.worse += int((more > 0).sum())
    sums.worse_nano += np.maximum(more, 0)
    trades = trades_of(s.slot, done.bought_wh, done.sold_wh, s.price_micro_per_kwh)
    np.add.at(sums.traded, (trades.seller, trades.buyer), trades.energy_wh)
    bounds = bounds_of(ordered_from_public(s.events[EventKind.SLOT_OPENED].public), terms.members)
    without = trading.alone(s.slot, stored[1], bounds)
    orders = orders_from_public(s.events[EventKind.ORDERS_REVEALED].public["orders"])
    clearing = clearing_from_public(s.events[EventKind.CLEARED].public)
    felt = trading.dispatched(s.slot, stored[0], positions_of(orders, clearing, terms.members), bounds)
    sums.reactive.append(felt.reactive_kvar)
    sums.reactive_without.append(without.reactive_kvar)
    imports, exports = np.maximum(without.metered_wh, 0), np.maximum(-without.metered_wh, 0)
    bills = bills_without_market(terms, layout, s.slot, s.item_micro, imports, exports, trading.reactive_var(without))
    sums.without += bills.nano
    sums.received_without += bills.received_nano
    all_in = s.item_micro.sum(axis=1)
    used = all_in[np.unique(terms.contract_of)]
    sums.retail_nano += int((done.bought_wh * all_in[terms.contract_of]).sum())
    sums.feed_in_nano += int((done.sold_wh * terms.feed_in_micro).sum())
    delivered = s.events[EventKind.DELIVERED]
    _, soc = delivered_from(delivered, trading.fleet.member)
    day = trading.day(s.slot)
    row = s.slot - day.slots.start
    price = -1 if s.price_micro_per_kwh is None else s.price_micro_per_kwh
    values = {
        "slot": s.slot,
        "net": s.import_wh - s.export_wh,
        "bought": done.bought_wh,
        "sold": done.sold_wh,
        "alone": without.metered_wh,
        "load": day.series.load_wh[row],
        "pv": day.series.pv_wh[row],
        "price": price,
        "paid": np.maximum(done.local_nano, 0).sum(),
        "retail": (used.min(), used.max()),
        "stored": soc.sum(),
        "stored_without": without.soc_uwh.sum(),
        "broken": len(delivered.public["violations"]),
    }
    for name, value in values.items():
        sums.rows[name].append(np.asarray(value, dtype=np.int64))
    return soc, without.soc_uwh


def _finish(
    community: Community,
    terms: Terms,
    trading: Trading,
    trust: Trust,
    sums: _Sums,
    cleared: tuple[list[Book], list[WiresSlot]],
    stored: tuple[Int64, Int64],
) -> ReportData:
    column = {name: np.array(values, dtype=np.int64) for name, values in sums.rows.items()}
    imports, exports = np.maximum(column["net"], 0), np.maximum(-column["net"], 0)
    local = np.minimum(np.minimum(column["bought"], imports).sum(axis=1), np.minimum(column["sold"], exports).sum(axis=1))
    last = int(column["slot"][-1])
    worlds = [
        World(
            column[net],
            column[store] / 1e6,
            items,
            received,
            _worth(trading, last, soc, terms.members),
            bus_flow(trading.network, trading.bus, column[net], np.array(reactive), terms.grid.hours),
        )
        for net, store, items, received, soc, reactive in (
            ("net", "stored", sums.items, sums.received, stored[0], sums.reactive),
            ("alone", "stored_without", sums.without, sums.received_without, stored[1], sums.reactive_without),
        )
    ]
    return ReportData(
        community=community,
        terms=terms,
        network=trading.network,
        bus=trading.bus,
        slots=column["slot"],
        items=terms.layout().items,
        load_wh=column["load"],
        pv_wh=column["pv"],
        price_micro=column["price"],
        retail_micro=column["retail"],
        bought_wh=column["bought"],
        sold_wh=column["sold"],
        local_wh=local,
        paid_nano=column["paid"],
        retail_nano=sums.retail_nano,
        feed_in_nano=sums.feed_in_nano,
        traded_wh=sums.traded,
        with_market=worlds[0],
        without=worlds[1],
        same_nano=sums.same,
        worse=sums.worse,
        worse_nano=sums.worse_nano,
        broken=column["broken"],
        books=cleared[0],
        wires=cleared[1],
        trust=trust,
    )


def _worth(trading: Trading, slot: int, soc_uwh: Int64, members: int) -> Int64:
    """[members] nano: what `soc_uwh` after `slot` is worth to the plans, rounded down; 0 for members without a battery."""
    day = trading.day(slot)
    values, row = day.values, slot - day.slots.start
    worth = np.zeros(members, dtype=np.int64)
    for j, member in enumerate(trading.fleet.member.tolist()):
        start, count = int(values.start[row, j]), int(values.count[row, j])
        edges, slopes = values.edge[start : start + count].tolist(), values.slope[start : start + count].tolist()
        total, before = 0, 0
        for edge, slope in zip(edges, slopes, strict=True):
            total += slope * max(0, min(int(soc_uwh[j]), edge) - before)
            before = edge
        worth[member] = total // UNITS_OF_VALUE
    return worth


def charges_micro(data: ReportData) -> int:
    """What a kWh from a neighbour costs beside its price, VAT on the fees included, micro/kWh."""
    return local_charges(data.terms.local)
