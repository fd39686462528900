"""The sections of a community file, each read into its record. What one field can tell alone is checked here.

Prices are written in hundredths of the currency unit per kWh (`_ct_per_kwh`, up to four decimals, so whole micro-units),
sizes in kW, kWh and kvar (up to three decimals, so whole watts), shares in percent, times in minutes.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import get_args

from walras.community.fields import Table
from walras.community.model import (
    AggregationName,
    CurtailmentRule,
    DroopName,
    ForecastModel,
    GateRule,
    Gates,
    GridCharges,
    LedgerRules,
    LimitsRule,
    Load,
    LoadKind,
    LossesShared,
    MarketRules,
    Member,
    MeteringRules,
    PrivacyPeriod,
    PrivacyRules,
    PublishRule,
    Pv,
    ReliefRule,
    RentRule,
    SettlementRule,
    SettlementRules,
    SettleRule,
    StrategyName,
    WiresRules,
)
from walras.devices.records import Battery
from walras.errors import InputError
from walras.market.conventions import Conventions, read_conventions
from walras.market.registry import MECHANISMS
from walras.tariffs.records import (
    CONTRACT_KINDS,
    MINUTES_PER_DAY,
    Contract,
    FeedIn,
    LocalTariff,
    PriceItem,
    TimeWindow,
)

STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
SETTLEMENTS: tuple[SettlementRule, ...] = get_args(SettlementRule)
SETTLES: tuple[SettleRule, ...] = get_args(SettleRule)
PUBLISHES: tuple[PublishRule, ...] = get_args(PublishRule)
LIMITS: tuple[LimitsRule, ...] = get_args(LimitsRule)
AGGREGATIONS: tuple[AggregationName, ...] = get_args(AggregationName)
PRIVACY_PERIODS: tuple[PrivacyPeriod, ...] = get_args(PrivacyPeriod)
LOSSES_SHARED: tuple[LossesShared, ...] = get_args(LossesShared)
CURTAILMENTS: tuple[CurtailmentRule, ...] = get_args(CurtailmentRule)
WITH_PRICES = (
    "rent",
    "relief",
    "emission_cap_kg_per_hour",
    "grid_g_per_kwh",
    "reserve_up_kw",
    "reserve_down_kw",
    "scarcity_ct_per_kwh",
)
RELIEFS: tuple[ReliefRule, ...] = get_args(ReliefRule)
RENTS: tuple[RentRule, ...] = get_args(RentRule)
DROOPS: tuple[DroopName, ...] = get_args(DroopName)
LOAD_KINDS: tuple[LoadKind, ...] = get_args(LoadKind)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_CT = 10_000
MAX_KW = 100_000
MAX_G_PER_KWH = 5_000
MAX_EPSILON = 20
MAX_SHIFT = 100_000
MAX_GATE_MINUTES = 7 * MINUTES_PER_DAY
MAX_BATCH_SLOTS = 672
MAX_WINDOW_MINUTES = 30 * MINUTES_PER_DAY
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
MEMBER_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")


def read_market(table: Table) -> MarketRules:
    """`[market]`: mechanism, strategy and `[market.conventions]`."""
    conventions = table.table("conventions", required=False)
    rules = MarketRules(
        mechanism=table.choice("mechanism", sorted(MECHANISMS)),
        conventions=_conventions(conventions),
        strategy=table.choice("strategy", STRATEGIES, "truthful"),
    )
    table.close()
    return rules


def _conventions(table: Table) -> Conventions:
    plain = {name: str(value) if isinstance(value, Decimal) else value for name, value in table.values.items()}
    try:
        return read_conventions(plain)
    except InputError as error:
        for fault in error.faults:
            table.fault(fault.field, fault.value, fault.expected)
        return Conventions()


def read_wires(table: Table) -> WiresRules:
    """`[wires]`, which may be absent: whether the limits of the feeder hold, who gets the rent, limits of import and export, and
    what the community requires besides: a cap on the emissions of import, and reserve.
    """
    cap, intensity = "emission_cap_kg_per_hour", "grid_g_per_kwh"
    rules = WiresRules(
        limits=table.choice("limits", LIMITS, "watched"),
        rent=table.choice("rent", RENTS, "members"),
        droop=table.choice("droop", DROOPS, "none"),
        import_limit_w=_limit(table, "import_limit_kw"),
        export_limit_w=_limit(table, "export_limit_kw"),
        relief=table.choice("relief", RELIEFS, "none"),
        emission_cap_g_per_hour=_limit(table, cap),
        grid_g_per_kwh=table.whole(intensity, 1, MAX_G_PER_KWH) if table.has(intensity) or table.has(cap) else 0,
        reserve_up_w=table.scaled("reserve_up_kw", 3, 0, MAX_KW, 0),
        reserve_down_w=table.scaled("reserve_down_kw", 3, 0, MAX_KW, 0),
        scarcity_micro_per_kwh=table.scaled("scarcity_ct_per_kwh", 4, 0, MAX_CT, 100),
        curtailment=table.choice("curtailment", CURTAILMENTS, "pro_rata"),
        curtailment_paid_percent=table.whole("curtailment_paid_percent", 0, 100, 100),
    )
    for name in WITH_PRICES if rules.limits == "curtailed" else ():
        if table.has(name):
            table.fault(name, table.values[name], 'limits = "nodal": by an order, limits have no prices')
    for name in () if rules.limits == "curtailed" else ("curtailment", "curtailment_paid_percent"):
        if table.has(name):
            table.fault(name, table.values[name], 'limits = "curtailed" beside it: nothing else takes back by an order')
    if table.has(intensity) and not table.has(cap):
        table.fault(intensity, table.values[intensity], f"{cap} beside it: an intensity alone limits nothing")
    table.close()
    return rules


def _limit(table: Table, name: str) -> int | None:
    return table.scaled(name, 3, 0, MAX_KW) if table.has(name) else None


def read_settlement(table: Table) -> SettlementRules:
    """`[settlement]`: the rule, and the imbalance price on one side (`imbalance_ct_per_kwh`) or two (`_short_`, `_long_`)."""
    rule = table.choice("rule", SETTLEMENTS)
    one, two = "imbalance_ct_per_kwh", ("imbalance_short_ct_per_kwh", "imbalance_long_ct_per_kwh")
    short = long = 0
    if table.has(one):
        short = long = read_price(table, one)
        if any(table.has(name) for name in two):
            table.fault(one, table.values[one], f"either {one} alone, or {' and '.join(two)}")
    if (rule == "firm" and not table.has(one)) or any(table.has(name) for name in two):
        short, long = (read_price(table, name) for name in two)
    if long > short and table.sound(*two):
        table.fault(two[1], table.values.get(two[1]), "at most the price of the short side")
    table.close()
    return SettlementRules(rule, short, long)


def read_gates(table: Table) -> Gates:
    """`[gates]`: minutes, in the order gate closure, reveal deadline, delivery, metering deadline, end of disputes."""
    gates = Gates(
        gate_closure_minutes=table.whole("gate_closure_minutes", 1, MAX_GATE_MINUTES),
        reveal_deadline_minutes=table.whole("reveal_deadline_minutes", 0, MAX_GATE_MINUTES),
        metering_deadline_minutes=table.whole("metering_deadline_minutes", 1, MAX_GATE_MINUTES),
        dispute_window_minutes=table.whole("dispute_window_minutes", 1, MAX_GATE_MINUTES),
    )
    first_two = ("gate_closure_minutes", "reveal_deadline_minutes")
    if gates.reveal_deadline_minutes >= gates.gate_closure_minutes and table.sound(*first_two):
        expected = f"fewer minutes before delivery than gate_closure_minutes = {gates.gate_closure_minutes}: gates close first"
        table.fault("reveal_deadline_minutes", gates.reveal_deadline_minutes, expected)
    table.close()
    return gates


def read_ledger(table: Table) -> LedgerRules:
    """`[ledger]`, which may be absent: how slots are settled on the chain, and which contracts stand beside the settlement.

    That a contract of such a name exists is checked where it is deployed.
    """
    usual = LedgerRules()
    minutes = {
        name: table.whole(f"{name}_minutes", 1, MAX_WINDOW_MINUTES, getattr(usual, f"{name}_s") // 60)
        for name in ("fraud_window", "exit_timeout")
    }
    rules = LedgerRules(
        settle=table.choice("settle", SETTLES, usual.settle),
        publish=table.choice("publish", PUBLISHES, usual.publish),
        batch_slots=table.whole("batch_slots", 1, MAX_BATCH_SLOTS, usual.batch_slots),
        fraud_window_s=60 * minutes["fraud_window"],
        exit_timeout_s=60 * minutes["exit_timeout"],
        operator_bond=table.whole("operator_bond", 1, 10**9, usual.operator_bond),
        contracts=tuple(table.texts("contracts", 'a list of contracts\' names, or ["all"]', [])),
        gate=tuple(_gate_list(one) for one in table.tables("gate")),
        meter_operators=tuple(table.texts("meter_operators", "a list of addresses", [])),
        correction_window_slots=table.whole("correction_window_slots", 1, 1_000_000, usual.correction_window_slots),
        manifest=table.text("manifest", "a file of `walras deploy`") if table.has("manifest") else None,
    )
    if minutes["exit_timeout"] <= minutes["fraud_window"] and table.sound("fraud_window_minutes", "exit_timeout_minutes"):
        expected = f"more than fraud_window_minutes = {minutes['fraud_window']}: at an exit every batch is final"
        table.fault("exit_timeout_minutes", minutes["exit_timeout"], expected)
    for address in rules.meter_operators:
        if not ADDRESS.fullmatch(address):
            table.fault("meter_operators", address, "an address: 0x and 40 hex digits")
    table.close()
    return rules


def _gate_list(table: Table) -> GateRule:
    rule = GateRule(table.text("name", "a short name"), table.text("keeper", "an address"), table.flag("denies", False))
    if table.sound("name") and len(rule.name.encode()) > 32:
        table.fault("name", rule.name, "at most 32 bytes")
    if table.sound("keeper") and not ADDRESS.fullmatch(rule.keeper):
        table.fault("keeper", rule.keeper, "an address: 0x and 40 hex digits")
    table.close()
    return rule


def read_forecast(table: Table) -> ForecastModel:
    """`[forecast]`: relative standard deviations in whole percent."""
    model = ForecastModel(table.whole("load_error_percent", 0, 200), table.whole("pv_error_percent", 0, 200))
    table.close()
    return model


def read_metering(table: Table) -> MeteringRules:
    """`[metering]`: oracles, and how many of them make a quorum: more than half, so that two roots cannot both have one."""
    late = table.whole("late_percent", 0, 100) if table.has("late_percent") else 0
    counts = table.whole("oracles", 1, 64), table.whole("quorum", 1, 64)
    rules = MeteringRules(*counts, late, table.flag("day_commitments", False), table.choice("aggregation", AGGREGATIONS, "none"))
    sound = table.sound("oracles", "quorum")
    if sound and rules.quorum > rules.oracles:
        table.fault("quorum", rules.quorum, f"at most oracles = {rules.oracles}")
    elif sound and 2 * rules.quorum <= rules.oracles:
        table.fault("quorum", rules.quorum, f"more than half of oracles = {rules.oracles}")
    table.close()
    return rules


def read_privacy(table: Table) -> PrivacyRules:
    """`[privacy]`, which may be absent: the budget that statistics are published under, and what counts of a member in a day."""
    rules = PrivacyRules(
        epsilon_milli=table.scaled("epsilon", 3, Decimal("0.001"), MAX_EPSILON),
        cap_wh_per_day=table.scaled("cap_kwh_per_day", 3, Decimal("0.001"), MAX_KW),
        period=table.choice("period", PRIVACY_PERIODS, "month"),
    )
    table.close()
    return rules


def read_contract(table: Table) -> Contract:
    """One `[[tariffs.contract]]`."""
    kind = table.choice("kind", CONTRACT_KINDS)
    windows = tuple(_window(row) for row in table.tables("windows", required=kind == "time_of_use"))
    if kind != "time_of_use" and windows:
        table.fault("windows", f"{len(windows)} windows", f"none for a {kind} contract")
    _check_overlap(table, windows)
    contract = Contract(
        id=read_id(table),
        kind=kind,
        energy_micro_per_kwh=read_price(table, "energy_ct_per_kwh"),
        network_micro_per_kwh=read_price(table, "network_ct_per_kwh", low=0),
        levies=_levies(table),
        vat_basis_points=table.scaled("vat_percent", 2, 0, 100),
        windows=windows,
    )
    table.close()
    return contract


def read_local(table: Table) -> LocalTariff:
    """`[tariffs.local]`: what comes on top of the price of a trade between neighbours."""
    local = LocalTariff(
        network_micro_per_kwh=read_price(table, "network_ct_per_kwh", low=0),
        levies=_levies(table),
        vat_basis_points=table.scaled("vat_percent", 2, 0, 100),
        operator_fee_micro_per_kwh=read_price(table, "operator_fee_ct_per_kwh", low=0),
        vat_on_trade=table.flag("vat_on_trade", False),
    )
    table.close()
    return local


def read_grid_charges(table: Table) -> GridCharges:
    """`[tariffs.grid]`, which may be absent: what is paid for capacity and for losses, taxes included."""
    charges = GridCharges(
        capacity_micro_per_kw_day=table.scaled("capacity_ct_per_kw_day", 4, 0, MAX_CT, 0),
        excess_micro_per_kwh=table.scaled("excess_ct_per_kwh", 4, 0, MAX_CT, 0),
        losses_micro_per_kwh=table.scaled("losses_ct_per_kwh", 4, 0, MAX_CT, 0),
        losses_shared=table.choice("losses_shared", LOSSES_SHARED, "scaled"),
    )
    table.close()
    return charges


def read_feed_in(table: Table) -> FeedIn:
    """One `[[tariffs.feed_in]]`: the rate of a commissioning year up to a size."""
    row = FeedIn(
        year=table.whole("year", 1990, 2100),
        up_to_w=table.scaled("up_to_kwp", 3, Decimal("0.001"), MAX_KW) if table.has("up_to_kwp") else None,
        micro_per_kwh=read_price(table, "ct_per_kwh", low=0),
    )
    table.close()
    return row


def read_member(table: Table, strategy: StrategyName) -> Member:
    """One `[[member]]`; `strategy` is what it follows unless it says otherwise."""
    member = Member(
        id=read_id(table),
        node=table.text("node", "the name of a bus"),
        contract=table.text("contract", "the id of a contract"),
        strategy=table.choice("strategy", STRATEGIES, strategy),
        loads=tuple(_load(row) for row in table.tables("loads")),
        pv=tuple(_pv(row) for row in table.tables("pv")),
        battery=_battery(table.table("battery")) if table.has("battery") else None,
        subscribed_w=table.scaled("subscribed_kw", 3, 0, MAX_KW, 0),
    )
    if not any(table.has(name) for name in ("loads", "pv", "battery")):
        table.fault("loads", "absent", "at least one of loads, pv, battery")
    table.close()
    return member


def read_id(table: Table) -> str:
    """An id: lower-case letters, digits and single hyphens."""
    expected = "lower-case letters, digits and hyphens, such as home-17"
    text = table.text("id", expected)
    if text and not MEMBER_ID.fullmatch(text):
        table.fault("id", text, expected)
    return text


def read_price(table: Table, name: str, low: int = -MAX_CT) -> int:
    """Hundredths of the currency unit per kWh as whole micro-units per kWh."""
    return table.scaled(name, 4, low, MAX_CT)


def _levies(table: Table) -> tuple[PriceItem, ...]:
    items = []
    for row in table.tables("levies"):
        items.append(PriceItem(row.text("name", "the name of a levy"), read_price(row, "ct_per_kwh")))
        row.close()
    names = [item.name for item in items]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        table.fault("levies", name, "names without repetition")
    return tuple(items)


def _window(table: Table) -> TimeWindow:
    start, end = _minute(table, "from"), _minute(table, "to")
    if start >= end and table.sound("from", "to"):
        table.fault("to", table.values.get("to"), "a time after `from` (split a window at midnight)")
    window = TimeWindow(
        name=table.text("name", "the name of the window"),
        start_minute=start,
        end_minute=end,
        weekdays=_weekdays(table),
        energy_micro_per_kwh=read_price(table, "energy_ct_per_kwh"),
        network_micro_per_kwh=read_price(table, "network_ct_per_kwh", low=0) if table.has("network_ct_per_kwh") else None,
    )
    table.close()
    return window


def _minute(table: Table, name: str) -> int:
    expected = "a local time such as '06:00', at most '24:00'"
    text = table.text(name, expected)
    if not CLOCK.fullmatch(text):
        if text:
            table.fault(name, text, expected)
        return 0 if name == "from" else MINUTES_PER_DAY
    return int(text[:2]) * 60 + int(text[3:])


def _weekdays(table: Table) -> tuple[int, ...]:
    expected = "a list of weekdays out of " + ", ".join(WEEKDAYS)
    value = table.texts("days", expected, list(WEEKDAYS))
    if not value or not all(day in WEEKDAYS for day in value) or len(set(value)) != len(value):
        table.fault("days", value, expected)
        return ()
    return tuple(sorted(WEEKDAYS.index(day) for day in value))


def _check_overlap(table: Table, windows: tuple[TimeWindow, ...]) -> None:
    for k, first in enumerate(windows):
        for second in windows[k + 1 :]:
            same_day = set(first.weekdays) & set(second.weekdays)
            if same_day and first.start_minute < second.end_minute and second.start_minute < first.end_minute:
                table.fault("windows", f"{first.name} and {second.name}", "windows that do not overlap")


def _load(table: Table) -> Load:
    load = Load(
        kind=table.choice("kind", LOAD_KINDS),
        profile=table.text("profile", "the name of a profile"),
        peak_w=table.scaled("peak_kw", 3, 0, MAX_KW),
        peak_var=table.scaled("peak_kvar", 3, -MAX_KW, MAX_KW, 0),
        shift_slots=table.whole("shift_slots", -MAX_SHIFT, MAX_SHIFT, 0),
    )
    table.close()
    return load


def _pv(table: Table) -> Pv:
    plant = Pv(
        profile=table.text("profile", "the name of a profile"),
        peak_w=table.scaled("kwp", 3, Decimal("0.001"), MAX_KW),
        commissioned=table.whole("commissioned", 1990, 2100),
    )
    table.close()
    return plant


def _battery(table: Table) -> Battery:
    capacity = table.scaled("capacity_kwh", 3, Decimal("0.001"), MAX_KW)
    battery = Battery(
        capacity_wh=capacity,
        power_w=table.scaled("power_kw", 3, Decimal("0.001"), MAX_KW),
        charge_efficiency=table.fraction("charge_efficiency"),
        discharge_efficiency=table.fraction("discharge_efficiency"),
        initial_wh=table.scaled("initial_kwh", 3, 0, MAX_KW, 0),
    )
    if battery.initial_wh > capacity and table.sound("capacity_kwh", "initial_kwh"):
        table.fault("initial_kwh", table.values.get("initial_kwh"), "at most capacity_kwh")
    table.close()
    return battery
