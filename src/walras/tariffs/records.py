"""What a retailer, the grid and the state charge, as records: contracts, the local tariff, feed-in rates.

Every price is whole micro-units of currency per kWh, *net of VAT*; VAT is in basis points (1,900 = 19 %) and is put on once, by
whoever makes a bill from these items. Network fee, levies and VAT are kept as separate items so that a bill can be read.
A feed-in rate carries no VAT (the private producer is no taxable person in the German rule that the examples use).

Whole prices of a slot are not made here: that is the rest of this room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from walras.errors import Fault, InputError

ContractKind = Literal["flat", "time_of_use", "dynamic"]

CONTRACT_KINDS: tuple[ContractKind, ...] = ("flat", "time_of_use", "dynamic")
MINUTES_PER_DAY = 1_440
BASIS_POINTS = 10_000
"""Basis points in the whole: 10,000 = 100 %."""


@dataclass(frozen=True, slots=True)
class PriceItem:
    """One named item of a price, net of VAT: a levy, a tax."""

    name: str
    micro_per_kwh: int


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A part of the local day with its own energy price (and network fee, where `network_micro_per_kwh` is not None).

    From `start_minute` (inclusive) to `end_minute` (exclusive) of local wall-clock time, 0..1440, on `weekdays` (Monday = 0).
    On days of 92 or 100 quarter hours the wall clock decides. Windows of one contract do not overlap.
    """

    name: str
    start_minute: int
    end_minute: int
    weekdays: tuple[int, ...]
    energy_micro_per_kwh: int
    network_micro_per_kwh: int | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """A supply contract. Price of a kWh taken = (energy + network + levies) * (1 + VAT).

    `energy_micro_per_kwh` means, by kind: `flat` the price; `time_of_use` the price outside all `windows`;
    `dynamic` the margin added to the wholesale price of the slot. `windows` is empty but for `time_of_use`.
    """

    id: str
    kind: ContractKind
    energy_micro_per_kwh: int
    network_micro_per_kwh: int
    levies: tuple[PriceItem, ...]
    vat_basis_points: int
    windows: tuple[TimeWindow, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalTariff:
    """What is charged on a kWh traded between neighbours, on top of the price of the trade; the buyer pays it.

    Price of a kWh bought locally = (trade price + network + levies + operator fee) * (1 + VAT). With `vat_on_trade` False the
    trade price itself bears no VAT (a private seller issues none) and only the other items do.
    """

    network_micro_per_kwh: int
    levies: tuple[PriceItem, ...]
    vat_basis_points: int
    operator_fee_micro_per_kwh: int
    vat_on_trade: bool = False


@dataclass(frozen=True, slots=True)
class FeedIn:
    """The feed-in rate of one commissioning year for the part of a plant's peak power up to `up_to_w` (None: any size)."""

    year: int
    up_to_w: int | None
    micro_per_kwh: int


def feed_in_rate(table: Iterable[FeedIn], year: int, peak_w: int) -> int:
    """The rate in micro/kWh of a plant of `peak_w` commissioned in `year`; InputError where the table does not cover it.

    A plant larger than the first size class gets each class's rate for the part of its power within that class (rounded down to
    a micro-unit): the rule of the German Renewable Energy Sources Act for solar power.

    >>> table = [FeedIn(2016, 10_000, 123_100), FeedIn(2016, 40_000, 119_700)]
    >>> feed_in_rate(table, 2016, 8_000), feed_in_rate(table, 2016, 20_000)     # (10 * 12.31 + 10 * 11.97) / 20
    (123100, 121400)
    """
    classes = sorted((row for row in table if row.year == year), key=lambda row: (row.up_to_w is None, row.up_to_w or 0))
    covered = 0
    money = 0
    for row in classes:
        upper = peak_w if row.up_to_w is None else min(row.up_to_w, peak_w)
        if upper > covered:
            money += (upper - covered) * row.micro_per_kwh
            covered = upper
    if peak_w <= 0 or covered < peak_w:
        raise InputError("feed-in", [Fault(f"year {year}", "peak_w", peak_w, f"a size that the table covers (1..{covered} W)")])
    return money // peak_w
