"""The simulated neighbourhood: what members know and order, and what their devices then really do.

Everything here is a function of the community and the slot (and the stored energy at its start), so a run that goes on after a
kill, and a replay, see the same world. Days are planned one at a time: at local midnight each battery gets its value function
from the day-ahead forecast of the day and the day after; orders use the forecast at gate closure; delivery uses what is real.
Prices are known without any of that: who only needs them, as the nodes of the metering path do, plans no battery's day.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from walras.community.model import Community
from walras.community.series import Series, check_slots, member_bus, member_series, network, wholesale_micro_per_kwh
from walras.devices.battery import BatteryFleet, fleet_from_records
from walras.devices.battery_plan import ValueTable, plan_values
from walras.exchange.curtailment import Intended, WiresSlot, clear_wires, make_intended
from walras.exchange.network_charges import reactive_at
from walras.exchange.settlement import Positions, positions_of
from walras.exchange.terms import FIRM, Terms
from walras.grid import Flow
from walras.market.clearing import Clearing
from walras.market.orders import Orders
from walras.strategies.commanded import Bounds, dispatch_within, obey, orders_within
from walras.strategies.curtailment import curtail
from walras.strategies.dispatch import Dispatch, alone_dispatch, dispatch, firm_dispatch
from walras.strategies.forecast import DAY_AHEAD, LOAD, PV, ErrorModel, forecast
from walras.strategies.relief import NO_RELIEF, Relief, move, relief_offers
from walras.strategies.signals import Signals, make_signals
from walras.strategies.truthful import truthful_orders
from walras.strategies.zero_intelligence import zero_intelligence
from walras.study.physics import Felt, bus_flow, held_and_reactive, solar_inverters
from walras.tariffs.bill import NETWORK_LOSSES
from walras.tariffs.prices import PriceTable, price_table
from walras.tariffs.records import feed_in_rate
from walras.units import Int64


@dataclass(frozen=True, slots=True)
class Day:
    """One local day: its slots, what really happens, what is forecast at gate closure, prices, and the worth of stored energy."""

    slots: range
    series: Series
    forecast_net_wh: Int64
    prices: PriceTable
    values: ValueTable


@dataclass(frozen=True, slots=True)
class Priced:
    """The slots of one local day, the same with the day after as far as there are data, and the prices of these, row by row."""

    slots: range
    horizon: range
    prices: PriceTable


class Trading:
    """The neighbourhood of one community. Keeps the day it is asked about; otherwise without memory."""

    def __init__(self, community: Community) -> None:
        self.community = community
        self.network = network(community)
        self.bus = member_bus(community)
        self._nowhere = np.zeros_like(self.bus)
        contracts = [contract.id for contract in community.contracts]
        self.contract_of = np.array([contracts.index(m.contract) for m in community.members], dtype=np.int64)
        self.feed_in_micro = np.array([_feed_in(community, index) for index in range(len(community.members))], dtype=np.int64)
        owners = [(m.battery, i) for i, m in enumerate(community.members) if m.battery is not None]
        self.inverters = solar_inverters(community.members, community.wires.droop)
        self.fleet = fleet_from_records([b for b, _ in owners], [i for _, i in owners], community.grid.minutes)
        self._random = np.array([m.strategy == "zero_intelligence" for m in community.members])
        self._day: Day | None = None
        self._priced: Priced | None = None

    @property
    def initial_soc(self) -> Int64:
        """Stored energy at the start of the run, uWh by battery."""
        return self.fleet.initial_uwh

    def day(self, slot: int) -> Day:
        """The day that holds `slot`."""
        if self._day is None or slot not in self._day.slots:
            self._day = self._plan_day(self.priced(slot))
        return self._day

    def priced(self, slot: int) -> Priced:
        """The prices of the day that holds `slot`, and of the day after."""
        if self._priced is None or slot not in self._priced.slots:
            self._priced = self._price_day(self.community.grid.local(slot).date())
        return self._priced

    def item_micro(self, slot: int) -> Int64:
        """Price items of the contracts in `slot`: [contracts, items]."""
        priced = self.priced(slot)
        return np.asarray(priced.prices.item_micro[slot - priced.slots.start])

    def orders(self, slot: int, soc_uwh: Int64, bounds: Bounds | None = None) -> Orders:
        """The book of `slot`: every member by its own strategy, within its bounds.

        At no bus: it is public, and where an account hangs says whose it is. What needs the place has it from the public terms.
        """
        day = self.day(slot)
        row = slot - day.slots.start
        signals = self._signals(day, slot, day.forecast_net_wh[row])
        orders = truthful_orders(signals, self.fleet, soc_uwh, day.values, row, self._nowhere)
        if bounds is not None and bounds.any:
            planned = alone_dispatch(signals, self.fleet, soc_uwh, day.values, row)
            prices = signals.limit_micro, signals.feed_in_micro
            orders = orders_within(orders, planned, bounds, self.fleet, soc_uwh, prices, self._nowhere)
        if not self._random.any():
            return orders
        low, high = int(self.feed_in_micro.min()), int(signals.import_micro.max())
        drawn = zero_intelligence(orders, self.community.seed, slot, min(low, high), high)
        price = np.where(self._random[orders.participant], drawn.price_micro_per_kwh, orders.price_micro_per_kwh)
        price.flags.writeable = False
        return replace(orders, price_micro_per_kwh=price)

    def dispatched(self, slot: int, soc_uwh: Int64, positions: Positions, bounds: Bounds | None = None) -> Felt:
        """What the batteries do once actual loads are known, by the settlement rule of the community; then the inverters."""
        day = self.day(slot)
        row = slot - day.slots.start
        signals = self._signals(day, slot, self.actual_net_wh(slot))
        rules = self.community.settlement

        def run(signals: Signals, fleet: BatteryFleet, soc_uwh: Int64, values: ValueTable) -> Dispatch:
            if rules.rule == FIRM:
                prices = rules.imbalance_short_micro_per_kwh, rules.imbalance_long_micro_per_kwh
                return firm_dispatch(signals, positions, *prices, fleet, soc_uwh, values, row)
            return dispatch(signals, positions, fleet, soc_uwh, values, row)

        def alone(signals: Signals, fleet: BatteryFleet, soc_uwh: Int64, values: ValueTable) -> Dispatch:
            return alone_dispatch(signals, fleet, soc_uwh, values, row)

        if bounds is None or not bounds.any:
            return self._felt(slot, soc_uwh, run(signals, self.fleet, soc_uwh, day.values))
        return self._felt(slot, soc_uwh, dispatch_within(run, alone, signals, bounds, self.fleet, soc_uwh, day.values))

    def _felt(self, slot: int, soc_uwh: Int64, done: Dispatch) -> Felt:
        """The inverters' answer to the voltage: what it holds back stays in the owner's battery where it fits."""
        day = self.day(slot)
        row = slot - day.slots.start
        reactive = np.asarray(day.series.reactive_kvar[row])
        if self.inverters.answers and day.series.pv_wh[row].any():
            solar = day.series.pv_wh[row]
            held, reactive = held_and_reactive(
                self.network, self.bus, self.inverters, done.metered_wh, solar, reactive, self.community.grid.hours
            )
            # the curves hold at the point of connection: the owner's own load is served first
            done = curtail(done, np.minimum(held, np.maximum(-done.metered_wh, 0)), self.fleet, soc_uwh)
        return Felt(done.metered_wh, done.soc_uwh, done.action_wh, done.alone_wh, reactive)

    def on_wires(
        self,
        terms: Terms,
        slot: int,
        soc_uwh: Int64,
        done: Felt,
        orders: Orders,
        clearing: Clearing,
        bounds: Bounds | None = None,
    ) -> WiresSlot:
        """What members are about to do in `slot`, cleared on the wires. Reactive power stays as the inverters set it.

        Who is bound offers no relief: its battery is where it was ordered to be.
        """
        at_bus = self.reactive_var(done)
        sold = positions_of(orders, clearing, terms.members).sold_wh
        intended = make_intended(terms, done.metered_wh, sold, at_bus, clearing, orders, self.item_micro(slot))
        relief = self._relief(terms, slot, soc_uwh, done, intended, orders, clearing)
        if bounds is not None and bounds.any:
            relief = relief.only(~bounds.of[relief.member])
        return clear_wires(terms, replace(intended, relief=relief))

    def reactive_var(self, done: Felt) -> Int64:
        """[buses] var taken, whole."""
        return reactive_at(self.bus, self.network.buses, done.reactive_kvar)

    def losses_to_public(self, terms: Terms, done: Felt) -> dict[str, list[int]]:
        """What a share of the losses rests on beside the readings, where the terms charge losses."""
        if terms.charges is None or NETWORK_LOSSES not in terms.charges.items:
            return {}
        return {"reactive_var": self.reactive_var(done).tolist()}

    def _relief(
        self, terms: Terms, slot: int, soc_uwh: Int64, done: Felt, intended: Intended, orders: Orders, clearing: Clearing
    ) -> Relief:
        """What batteries offer the wires, where the community wants it."""
        if terms.wires is None or terms.wires.relief == "none":
            return NO_RELIEF
        day = self.day(slot)
        row = slot - day.slots.start
        own = np.asarray(day.prices.import_micro[row][self.contract_of])
        held = positions_of(orders, clearing, terms.members)
        return relief_offers(done, held, own, self.feed_in_micro, intended.root_micro, self.fleet, soc_uwh, day.values, row)

    def after_wires(self, soc_uwh: Int64, done: Felt, wires: WiresSlot) -> Felt:
        """The same slot once the wires have had their say: batteries moved where called, then less fed in where taken back."""
        left = curtail(move(done, wires.moved_wh, self.fleet, soc_uwh), wires.curtailed_wh, self.fleet, soc_uwh)
        return replace(done, metered_wh=left.metered_wh, soc_uwh=left.soc_uwh, action_wh=left.action_wh)

    def alone(self, slot: int, soc_uwh: Int64, bounds: Bounds | None = None) -> Felt:
        """The same slot without a market."""
        day = self.day(slot)
        signals = self._signals(day, slot, self.actual_net_wh(slot))
        done = alone_dispatch(signals, self.fleet, soc_uwh, day.values, slot - day.slots.start)
        if bounds is not None:
            done = obey(done, bounds, self.fleet, soc_uwh)
        return self._felt(slot, soc_uwh, done)

    def actual_net_wh(self, slot: int) -> Int64:
        """Load less solar, without batteries: [members] Wh."""
        day = self.day(slot)
        row = slot - day.slots.start
        return np.asarray(day.series.load_wh[row] - day.series.pv_wh[row])

    def flow(self, done: Felt) -> Flow:
        """The AC power flow of what was metered."""
        return bus_flow(self.network, self.bus, done.metered_wh[None], done.reactive_kvar[None], self.community.grid.hours)

    def _signals(self, day: Day, slot: int, net_wh: Int64) -> Signals:
        row = slot - day.slots.start
        prices = day.prices
        return make_signals(
            net_wh,
            prices.import_micro[row][self.contract_of],
            prices.limit_micro[row][self.contract_of],
            self.feed_in_micro,
            self.community.local,
        )

    def _price_day(self, today: date) -> Priced:
        c = self.community
        day = c.grid.local_day(today)
        check_slots(c, day)
        after = c.grid.local_day(today + timedelta(days=1))
        horizon = range(day.start, min(after.stop, c.slot_count))
        return Priced(day, horizon, price_table(c.contracts, c.local, c.grid, horizon, wholesale_micro_per_kwh(c, horizon)))

    def _plan_day(self, priced: Priced) -> Day:
        day, horizon, prices = priced.slots, priced.horizon, priced.prices
        series = member_series(self.community, horizon)
        ahead = self._forecast_net(series, horizon.start, DAY_AHEAD)
        owners = self.fleet.member
        buy = prices.import_micro[:, self.contract_of[owners]]
        sell = np.broadcast_to(self.feed_in_micro[owners], buy.shape)
        values = plan_values(self.fleet, ahead[:, owners], buy, sell, keep=len(day))
        return Day(day, series, self._forecast_net(series, horizon.start, 0), prices, values)

    def _forecast_net(self, series: Series, first: int, stream: int) -> Int64:
        c = self.community
        load = ErrorModel(c.forecast.load_error_percent)
        sun = ErrorModel(c.forecast.pv_error_percent)
        return forecast(series.load_wh, first, load, c.seed, LOAD + stream) - forecast(
            series.pv_wh, first, sun, c.seed, PV + stream
        )


def _feed_in(community: Community, index: int) -> int:
    """The feed-in rate of a member: of its plants by power, 0 without one (stored grid energy earns no feed-in)."""
    plants = community.members[index].pv
    peak = sum(plant.peak_w for plant in plants)
    if not peak:
        return 0
    return sum(feed_in_rate(community.feed_in, p.commissioned, p.peak_w) * p.peak_w for p in plants) // peak
