"""Reads a community file: TOML in, a checked `Community` out, or every fault of the file at once.

Order of checks: the text is TOML; every field of every section is there, of its type and in its range, and no field is unknown;
the data files exist and fit; then what binds sections together (ids without repetition, nodes, profiles and contracts that
exist, feed-in rates for every plant, a start inside the data).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from walras.community.datafile import CommunityData, read_data
from walras.community.fields import Findings, Table
from walras.community.lines import LineIndex
from walras.community.model import Community
from walras.community.prices import PriceData, read_prices
from walras.community.sections import (
    read_contract,
    read_feed_in,
    read_forecast,
    read_gates,
    read_grid_charges,
    read_ledger,
    read_local,
    read_market,
    read_member,
    read_metering,
    read_privacy,
    read_settlement,
    read_wires,
)
from walras.errors import Fault, InputError, reason_of
from walras.slots import ALLOWED_MINUTES, SlotGrid
from walras.tariffs.records import feed_in_rate

MAX_DAYS = 3_660
LEAST_MASKED = 5
PACKAGE = "package:"


def load_community(path: str | Path) -> Community:
    """The community described at `path`. Raises InputError with all faults: line, field, value, what was expected."""
    path = Path(path)
    what = f"community file {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        fault = Fault(str(path), "file", reason_of(cause), "a community described in TOML, text in UTF-8")
        raise InputError(what, [fault]) from cause
    return read_community(text, what, path.parent)


def read_community(text: str, what: str, folder: Path) -> Community:
    """The community described in `text`, called `what` where it has faults; its references to data files count from `folder`."""
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, InvalidOperation) as cause:
        raise InputError(what, [Fault("file", "TOML", str(cause), "TOML 1.0")]) from cause
    findings = Findings(LineIndex(text))
    community = _read(Table(values, (), findings), findings, folder)
    faults = findings.faults()
    if faults or community is None:
        raise InputError(what, faults)
    return community


def data_path(reference: str, folder: Path) -> Path:
    """The file that a reference names: `package:rural3` one that ships with Walras, else a path relative to `folder`."""
    if not reference.startswith(PACKAGE):
        return folder / reference
    shipped = Path(str(resources.files("walras.community").joinpath("data")))
    names = sorted(path.stem for path in shipped.glob("*.npz"))
    name = reference.removeprefix(PACKAGE)
    if name not in names:
        known = ", ".join(PACKAGE + known for known in names)
        raise InputError("data file", [Fault("file", "name", reference, f"one of {known}")])
    return shipped / f"{name}.npz"


def with_period(community: Community, *, start: date | None = None, days: int | None = None) -> Community:
    """The community run from another local day, or for another number of days; InputError where the data do not cover it."""
    moved = replace(community, start=start or community.start, days=community.days if days is None else days)
    first, last = data_days(moved)
    faults = []
    if not first <= moved.start <= last:
        faults.append(Fault("period", "start", moved.start.isoformat(), f"a day the data cover: {first} to {last}"))
    elif not 1 <= moved.days <= (last - moved.start).days + 1:
        faults.append(Fault("period", "days", moved.days, f"1 to {(last - moved.start).days + 1}: the data end with {last}"))
    if faults:
        raise InputError("period", faults)
    return moved


def _read(root: Table, findings: Findings, folder: Path) -> Community | None:
    head = root.table("community")
    name = head.text("name", "a name")
    currency, timezone, minutes = _currency(head), _timezone(head), _minutes(head)
    start = head.day("start")
    days = head.whole("days", 1, MAX_DAYS)
    seed = head.whole("seed", 0, 2**63 - 1)
    head.close()
    data, prices = _read_files(root.table("data"), folder)
    market = read_market(root.table("market"))
    wires = read_wires(root.table("wires", required=False))
    settlement = read_settlement(root.table("settlement"))
    gates = read_gates(root.table("gates"))
    forecast = read_forecast(root.table("forecast"))
    metering = read_metering(root.table("metering"))
    ledger = read_ledger(root.table("ledger", required=False))
    privacy = read_privacy(root.table("privacy")) if root.has("privacy") else None
    tariffs = root.table("tariffs")
    contract_tables, feed_in_tables = tariffs.tables("contract", required=True), tariffs.tables("feed_in")
    contracts = tuple(read_contract(table) for table in contract_tables)
    local = read_local(tariffs.table("local"))
    charges = read_grid_charges(tariffs.table("grid", required=False))
    feed_in = tuple(read_feed_in(table) for table in feed_in_tables)
    tariffs.close()
    member_tables = root.tables("member", required=True)
    members = tuple(read_member(table, market.strategy) for table in member_tables)
    root.close()

    _check_repeated(zip((c.id for c in contracts), contract_tables, strict=True), "contract")
    _check_repeated(zip((m.id for m in members), member_tables, strict=True), "member")
    _check_repeated_rates(zip(((f.year, f.up_to_w) for f in feed_in), feed_in_tables, strict=True))
    if data is None:
        return None
    community = Community(
        name=name,
        currency=currency,
        grid=SlotGrid(data.grid.origin, minutes, timezone),
        start=start,
        days=days,
        seed=seed,
        market=market,
        wires=wires,
        settlement=settlement,
        gates=gates,
        forecast=forecast,
        metering=metering,
        contracts=contracts,
        local=local,
        feed_in=feed_in,
        members=members,
        data=data,
        prices=prices,
        ledger=ledger,
        charges=charges,
        privacy=privacy,
    )
    _check_together(root, community, contract_tables, feed_in_tables, member_tables)
    return community


def _currency(head: Table) -> str:
    currency = head.text("currency", "a currency code such as EUR")
    if currency and not (len(currency) == 3 and currency.isalpha() and currency.isupper()):
        head.fault("currency", currency, "a currency code such as EUR")
    return currency


def _minutes(head: Table) -> int:
    """Length of a slot; one that is allowed, so that reading can go on, where the file's is not."""
    minutes = head.whole("slot_minutes", min(ALLOWED_MINUTES), max(ALLOWED_MINUTES))
    if minutes not in ALLOWED_MINUTES:
        head.fault("slot_minutes", minutes, "one of " + ", ".join(map(str, ALLOWED_MINUTES)))
        return ALLOWED_MINUTES[0]
    return minutes


def _check_together(
    root: Table, community: Community, contract_tables: list[Table], feed_in_tables: list[Table], member_tables: list[Table]
) -> None:
    """What binds sections together."""
    if root.table("community").sound("timezone", "start", "days"):
        _check_range(root.table("community"), community)
    if root.table("data").sound("prices"):
        _check_contracts(contract_tables, community)
    contracts_known = all(table.sound("id") for table in contract_tables)
    rates_known = all(table.sound("year", "up_to_kwp") for table in feed_in_tables)
    _check_charges(root.table("tariffs").table("grid", required=False), member_tables, community)
    if community.metering.aggregation == "masked" and len(community.members) < LEAST_MASKED:
        root.table("metering").fault("aggregation", "masked", f"at least {LEAST_MASKED} members: a sum of fewer tells of each")
    _check_members(member_tables, community, contracts_known=contracts_known, rates_known=rates_known)


def _timezone(head: Table) -> str:
    expected = "an IANA time zone such as Europe/Berlin"
    timezone = head.text("timezone", expected)
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if timezone:
            head.fault("timezone", timezone, expected)
        return "UTC"
    return timezone


def _read_files(table: Table, folder: Path) -> tuple[CommunityData | None, PriceData | None]:
    data, prices = None, None
    reference = table.text("file", "a data file such as package:rural3, or a path relative to this file")
    if reference:
        try:
            data = read_data(data_path(reference, folder))
        except InputError as error:
            table.fault("file", reference, f"a readable data file ({error.faults[0]})")
    if table.has("prices"):
        reference = table.text("prices", "a price file such as package:smard-2015, or a path relative to this file")
        if reference:
            try:
                prices = read_prices(data_path(reference, folder))
            except InputError as error:
                table.fault("prices", reference, f"a readable price file ({error.faults[0]})")
    table.close()
    return data, prices


def _check_repeated(entries: Iterable[tuple[str, Table]], what: str) -> None:
    seen: set[str] = set()
    for name, table in entries:
        if name and name in seen:
            table.fault("id", name, f"an id that no other {what} has")
        seen.add(name)


def _check_repeated_rates(entries: Iterable[tuple[tuple[int, int | None], Table]]) -> None:
    seen: set[tuple[int, int | None]] = set()
    for key, table in entries:
        if key in seen:
            table.fault("year", key[0], "one rate for each year and size")
        seen.add(key)


def _check_range(head: Table, community: Community) -> None:
    first, last = data_days(community)
    end = community.start + timedelta(days=community.days - 1)
    if not first <= community.start <= last:
        head.fault("start", community.start, f"a day the data cover: {first} to {last}")
    elif end > last:
        head.fault("days", community.days, f"at most {(last - community.start).days + 1}: the data end with {last}")


def data_days(community: Community) -> tuple[date, date]:
    """The first and the last local day that the data cover from midnight to midnight."""
    grid = community.grid
    first = grid.local(0).date()
    if grid.local_day(first).start < 0:
        first += timedelta(days=1)
    last = grid.local(community.slot_count - 1).date()
    if grid.local_day(last).stop > community.slot_count:
        last -= timedelta(days=1)
    return first, last


def _check_contracts(tables: list[Table], community: Community) -> None:
    for contract, table in zip(community.contracts, tables, strict=True):
        if contract.kind == "dynamic" and community.prices is None:
            table.fault("kind", contract.kind, "a [data] prices file, which a dynamic contract needs")


def _check_charges(grid: Table, tables: list[Table], community: Community) -> None:
    for table in tables:
        if community.charges.by_capacity and not table.has("subscribed_kw"):
            table.fault("subscribed_kw", "absent", "the kW that the member subscribes to, as [tariffs.grid] charges capacity")
        elif table.has("subscribed_kw") and not community.charges.by_capacity:
            table.fault("subscribed_kw", table.values["subscribed_kw"], "a price for it in [tariffs.grid]")
    if community.charges.losses_micro_per_kwh and community.wires.limits == "nodal":
        expected = "0 where limits are nodal: the prices of the nodes charge losses already"
        grid.fault("losses_ct_per_kwh", grid.values.get("losses_ct_per_kwh"), expected)


def _check_members(tables: list[Table], community: Community, *, contracts_known: bool, rates_known: bool) -> None:
    contracts = {contract.id for contract in community.contracts}
    buses = {str(name) for name in community.data.network.get("bus_names", ())}
    profiles = set(community.data.profiles)
    for member, table in zip(community.members, tables, strict=True):
        if contracts_known and member.contract and member.contract not in contracts:
            table.fault("contract", member.contract, "the id of a contract: " + ", ".join(sorted(contracts)))
        if member.node and member.node not in buses:
            table.fault("node", member.node, "the name of a bus of the network")
        for load, row in zip(member.loads, table.tables("loads"), strict=True):
            if load.profile and load.profile not in profiles:
                row.fault("profile", load.profile, "a profile of the data file")
        for plant, row in zip(member.pv, table.tables("pv"), strict=True):
            if plant.profile and plant.profile not in profiles:
                row.fault("profile", plant.profile, "a profile of the data file")
            if rates_known and row.sound("kwp", "commissioned"):
                try:
                    feed_in_rate(community.feed_in, plant.commissioned, plant.peak_w)
                except InputError:
                    expected = f"a year with a feed-in rate for {plant.peak_w} W in [[tariffs.feed_in]]"
                    row.fault("commissioned", plant.commissioned, expected)
