"""Writes the community file of an imported grid: a head that says what is real and what is added, then rules, tariffs, members.

The prices are German ones of 2016, so that they fit the profiles' year:
* a household of 3,500 kWh a year paid 28.69 ct/kWh on average: procurement and sales 21.3 % (6.12), network and metering 24.6 %
  (7.06), EEG levy 6.354, concession fee 1.66, KWKG levy 0.445, section 19 StromNEV levy 0.378, offshore liability levy
  0.040, electricity tax 2.05, VAT 19 % (BDEW, Strompreisanalyse, January 2016);
* feed-in rates for plants on buildings by year of commissioning, each year's as of 1 January (Federal Network Agency, from the
  Renewable Energy Sources Act of 2009, 2012 and 2014); a larger plant gets each size class's rate for its part.
The split of energy prices into day and night, the margin of the dynamic contract, the business contract and the local
tariff are examples.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from walras.community.datafile import CommunityData
from walras.community.model import Load, Member, Pv
from walras.devices.records import Battery

PRICE_FILE = "package:smard-2015"

LEVIES = (
    ("EEG levy", "6.354"),
    ("concession fee", "1.66"),
    ("KWKG levy", "0.445"),
    ("StromNEV section 19 levy", "0.378"),
    ("offshore liability levy", "0.04"),
    ("electricity tax", "2.05"),
)
LOCAL_LEVIES = (
    ("EEG levy, reduced to 35 %", "2.2239"),
    ("concession fee", "1.66"),
    ("KWKG levy", "0.445"),
    ("StromNEV section 19 levy", "0.378"),
    ("offshore liability levy", "0.04"),
)
FEED_IN = (
    (2009, ((30, "43.01"), (100, "40.91"), (1000, "39.58"))),
    (2010, ((30, "39.14"), (100, "37.23"), (1000, "35.23"))),
    (2011, ((30, "28.74"), (100, "27.33"), (1000, "25.86"))),
    (2012, ((30, "24.43"), (100, "23.23"), (1000, "21.98"))),
    (2013, ((10, "17.02"), (40, "16.14"), (1000, "14.40"))),
    (2014, ((10, "13.68"), (40, "12.98"), (1000, "11.58"))),
    (2015, ((10, "12.56"), (40, "12.22"), (1000, "10.92"))),
    (2016, ((10, "12.31"), (40, "11.97"), (1000, "10.71"))),
)

HEAD = """\
# Community file of Walras: {name}, written by `walras import simbench {code}`.
#
# Data: {source}.
# The data file is a derivative database under the Open Database License (ODbL) 1.0; see LICENSE-DATA.md beside
# the shipped files.
#
# Real (SimBench): the network with its ratings and tap positions, load and solar profiles of 2016 in quarter hours,
# what hangs at which bus and how large. A SimBench storage is a solar home behind a battery: here a plant of its rated
# power and profile, and a battery of its capacity.
# Added here, by draws from hashes, so that an import repeats to the byte:
#   owners     SimBench places devices at buses; households, businesses and farms own what hangs at their bus
#   diversity  SimBench has five household shapes for all homes. `shift_slots` moves each household and charging point by
#              whole weeks (-2 to 2) and quarter hours (-4 to 4), each heat pump by quarter hours; a profile wraps around
#              at the year's ends
#   contracts  six tenths flat, two tenths time of use, two tenths dynamic; shops and farms on a business contract
#   years      of commissioning 2009 to 2016, dealt out evenly; with a battery 2013 to 2016
#
# Prices: German retail prices of 2016, an average household at 28.69 ct/kWh (BDEW, Strompreisanalyse, January 2016);
# feed-in rates by year of commissioning (EEG; Federal Network Agency, rates of 1 January of each year). Day and night
# prices, the dynamic margin, the business contract and the whole of [tariffs.local] are examples: change them. The
# local tariff supposes what a regulatory trial may grant: a reduced network fee and EEG levy, and no electricity tax
# on power used near its plant. Wholesale: SMARD day-ahead prices of 2015 on the calendar of 2016 by weekday (CC BY 4.0).

"""

RULES = """\
[community]
name = "{name}"
currency = "EUR"
timezone = "Europe/Berlin"
slot_minutes = 15
start = {start}            # the sunniest day of June and July
days = 1
seed = 1

[data]
file = "{file}"
prices = "{prices}"

[market]
mechanism = "uniform"
strategy = "truthful"          # unless a member says otherwise

[market.conventions]
k = 0.5                        # where between the marginal ask (0) and bid (1) the price lies
price_between = "supporting"
tie = "pro_rata"

[settlement]
rule = "as_delivered"          # or "firm": then deviations are bought and sold at the imbalance price
imbalance_short_ct_per_kwh = 35.0
imbalance_long_ct_per_kwh = 2.0

[gates]                        # minutes: the first two before delivery begins, then after it ends, then after that
gate_closure_minutes = 15
reveal_deadline_minutes = 5
metering_deadline_minutes = 15
dispute_window_minutes = 60

[forecast]                     # relative standard deviation of the error
load_error_percent = 20
pv_error_percent = 15

[metering]
oracles = 4
quorum = 3

"""

CONTRACT = """\
[[tariffs.contract]]
id = "{id}"
kind = "{kind}"
energy_ct_per_kwh = {energy}
network_ct_per_kwh = {network}
vat_percent = 19
levies = [
{levies}
]
"""

DAY_WINDOW = """\
windows = [
  { name = "day", from = "06:00", to = "22:00", days = ["mon", "tue", "wed", "thu", "fri"], energy_ct_per_kwh = 6.9 },
]
"""

LOCAL = """\
[tariffs.local]                # on top of the price of a trade between neighbours; the buyer pays it
network_ct_per_kwh = 2.0
operator_fee_ct_per_kwh = 0.5
vat_percent = 19
vat_on_trade = false           # private sellers issue no VAT on their price
levies = [
{levies}
]
"""


def community_text(
    name: str, data: CommunityData, members: tuple[Member, ...], start: date, file: str, *, head: str | None = None
) -> str:
    """The whole file as TOML text; `file` is how it names the data file. `head` is what stands above (default: SimBench's)."""
    title = f"SimBench {name}" if head is None else name
    above = HEAD.format(name=title, code=data.code, source=data.source) if head is None else head
    rules = RULES.format(name=title.replace("\\", "").replace('"', ""), start=start.isoformat(), file=file, prices=PRICE_FILE)
    return above + rules + _tariffs() + "\n".join(_member(member) for member in members)


def _tariffs() -> str:
    contracts = [
        ("flat", "flat", "6.12", "7.06", "", ""),
        ("time-of-use", "time_of_use", "5.1", "7.06", "              # outside the windows", DAY_WINDOW),
        ("dynamic", "dynamic", "2.95", "7.06", "             # margin on the wholesale price", ""),
        ("business", "flat", "5.4", "6.2", "", ""),
    ]
    blocks = [
        CONTRACT.format(id=key, kind=kind, energy=energy + note, network=network, levies=_levies(LEVIES)) + windows
        for key, kind, energy, network, note, windows in contracts
    ]
    blocks.append(LOCAL.format(levies=_levies(LOCAL_LEVIES)))
    for year, classes in FEED_IN:
        for up_to, rate in classes:
            blocks.append(f"[[tariffs.feed_in]]\nyear = {year}\nup_to_kwp = {up_to}\nct_per_kwh = {rate}\n")
    return "\n".join(blocks) + "\n"


def _levies(items: tuple[tuple[str, str], ...]) -> str:
    return "\n".join(f'  {{ name = "{name}", ct_per_kwh = {rate} }},' for name, rate in items)


def _member(member: Member) -> str:
    node = member.node.replace("\\", "\\\\").replace('"', '\\"')
    lines = ["[[member]]", f'id = "{member.id}"', f'node = "{node}"', f'contract = "{member.contract}"']
    if member.loads:
        lines += ["loads = [", *(f"  {_load(load)}," for load in member.loads), "]"]
    if member.pv:
        lines += ["pv = [", *(f"  {_plant(plant)}," for plant in member.pv), "]"]
    if member.battery:
        lines.append(f"battery = {_battery(member.battery)}")
    return "\n".join(lines) + "\n"


def _load(load: Load) -> str:
    shift = f", shift_slots = {load.shift_slots}" if load.shift_slots else ""
    sizes = f"peak_kw = {_kilo(load.peak_w)}, peak_kvar = {_kilo(load.peak_var)}"
    return f'{{ kind = "{load.kind}", profile = "{load.profile}", {sizes}{shift} }}'


def _plant(plant: Pv) -> str:
    return f'{{ profile = "{plant.profile}", kwp = {_kilo(plant.peak_w)}, commissioned = {plant.commissioned} }}'


def _battery(battery: Battery) -> str:
    sizes = f"capacity_kwh = {_kilo(battery.capacity_wh)}, power_kw = {_kilo(battery.power_w)}"
    efficiency = f"charge_efficiency = {battery.charge_efficiency}, discharge_efficiency = {battery.discharge_efficiency}"
    return f"{{ {sizes}, {efficiency} }}"


def _kilo(whole: int) -> str:
    """Whole W, Wh or var as a decimal number of kW, kWh or kvar, without trailing zeros: 27600 is 27.6."""
    return format((Decimal(whole) / 1000).normalize(), "f")
