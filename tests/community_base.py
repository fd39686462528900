"""A small community to test with: three buses, six profiles, three members, every section once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from walras.community.datafile import CommunityData, write_data
from walras.community.prices import PriceData, write_prices
from walras.grid import Line, Transformer, build_network
from walras.slots import SlotGrid

SLOTS = 35_136
GRID = SlotGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), 15, "Europe/Berlin")
PROFILES = ("H0-A", "H0-B", "L1-A", "EV-1", "PV1", "PV2")

BASE = """\
[community]
name = "Three houses"
currency = "EUR"
timezone = "Europe/Berlin"
slot_minutes = 15
start = 2016-06-10
days = 1
seed = 7

[data]
file = "small.npz"
prices = "prices.npz"

[market]
mechanism = "uniform"
strategy = "truthful"

[market.conventions]
k = 0.5
tie = "pro_rata"

[settlement]
rule = "as_delivered"
imbalance_short_ct_per_kwh = 35.0
imbalance_long_ct_per_kwh = 2.0

[gates]
gate_closure_minutes = 15
reveal_deadline_minutes = 5
metering_deadline_minutes = 15
dispute_window_minutes = 60

[forecast]
load_error_percent = 20
pv_error_percent = 15

[metering]
oracles = 4
quorum = 3

[[tariffs.contract]]
id = "flat"
kind = "flat"
energy_ct_per_kwh = 6.12
network_ct_per_kwh = 7.06
vat_percent = 19
levies = [
  { name = "EEG levy", ct_per_kwh = 6.354 },
  { name = "electricity tax", ct_per_kwh = 2.05 },
]

[[tariffs.contract]]
id = "day-night"
kind = "time_of_use"
energy_ct_per_kwh = 5.1
network_ct_per_kwh = 7.06
vat_percent = 19
windows = [
  { name = "morning", from = "06:00", to = "12:00", days = ["mon", "tue"], energy_ct_per_kwh = 7.1 },
  { name = "evening", from = "17:00", to = "24:00", energy_ct_per_kwh = 6.9, network_ct_per_kwh = 8.0 },
]

[[tariffs.contract]]
id = "dynamic"
kind = "dynamic"
energy_ct_per_kwh = 2.95
network_ct_per_kwh = 7.06
vat_percent = 19

[tariffs.local]
network_ct_per_kwh = 2.0
operator_fee_ct_per_kwh = 0.5
vat_percent = 19
vat_on_trade = false

[[tariffs.feed_in]]
year = 2012
up_to_kwp = 10
ct_per_kwh = 24.43

[[tariffs.feed_in]]
year = 2016
ct_per_kwh = 12.31

[[member]]
id = "home-1"
node = "house"
contract = "flat"
loads = [
  { kind = "household", profile = "H0-A", peak_kw = 3, peak_kvar = 1.2, shift_slots = 671 },
  { kind = "ev", profile = "EV-1", peak_kw = 3.7 },
]
pv = [
  { profile = "PV1", kwp = 8.7, commissioned = 2012 },
]
battery = { capacity_kwh = 13, power_kw = 6.5, charge_efficiency = 0.95, discharge_efficiency = 0.95 }

[[member]]
id = "home-2"
node = "house"
contract = "day-night"
strategy = "zero_intelligence"
loads = [ { kind = "household", profile = "H0-B", peak_kw = 2.5 } ]

[[member]]
id = "farm-1"
node = "barn"
contract = "dynamic"
loads = [ { kind = "farm", profile = "L1-A", peak_kw = 11.9, peak_kvar = 4.6, shift_slots = -3 } ]
pv = [ { profile = "PV2", kwp = 73.4, commissioned = 2016 } ]
"""


def small_data() -> CommunityData:
    """Six seeded profiles over the whole year, the last two dark at night."""
    draw = np.random.default_rng(2016)
    active = draw.integers(0, 60_001, size=(len(PROFILES), SLOTS)).astype(np.uint16)
    night = np.arange(SLOTS) % 96 < 24
    active[4:, night] = 0
    reactive = draw.integers(-15_000, 15_001, size=active.shape).astype(np.int16)
    reactive[4:] = 0
    network = build_network(
        {"street": 20.0, "house": 0.4, "barn": 0.4},
        [Line("cable", "house", "barn", 0.1, 0.2067, 0.0804, max_i_ka=0.27)],
        [Transformer("trafo", "street", "house", 160.0, 20.0, 0.4, 4.0, 1.46)],
        root="street",
    )
    return CommunityData("small", GRID, PROFILES, active, reactive, network.as_arrays(), "drawn", "none")


def small_prices() -> PriceData:
    """8,784 hourly prices, -20 to 100 EUR/MWh."""
    values = np.random.default_rng(2015).integers(-20_000, 100_001, size=8_784).astype(np.int64)
    return PriceData(GRID.origin, values, "drawn", "none")


def write_small(folder: Path, text: str = BASE) -> Path:
    """The small community with its two data files in `folder`."""
    write_data(folder / "small.npz", small_data())
    write_prices(folder / "prices.npz", small_prices())
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path
