"""Ways to break a community file: each gives one fault, on its line, naming its field and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from community_base import BASE, small_data, write_small
from walras.community import load_community
from walras.community.datafile import write_data
from walras.errors import Fault, InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small")
    write_small(path)
    return path


def faults_of(folder: Path, text: str) -> InputError:
    path = folder / "broken.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_community(path)
    return caught.value


# what it is, text to replace (its first occurrence), by what, the field named, a part of what was expected
CASES = [
    ("no name", 'name = "Three houses"\n', "", "name", "a name"),
    ("an empty name", '"Three houses"', '"  "', "name", "a name"),
    ("a name that is a number", '"Three houses"', "3", "name", "a name"),
    ("currency in small letters", '"EUR"', '"eur"', "currency", "currency code"),
    ("currency of two letters", '"EUR"', '"EU"', "currency", "currency code"),
    ("an unknown time zone", '"Europe/Berlin"', '"Europe/Atlantis"', "timezone", "IANA"),
    ("a time zone that climbs out of its folder", '"Europe/Berlin"', '"../etc/passwd"', "timezone", "IANA"),
    ("no time zone", 'timezone = "Europe/Berlin"\n', "", "timezone", "IANA"),
    ("slots of 10 minutes", "slot_minutes = 15", "slot_minutes = 10", "slot_minutes", "one of 5, 15, 30, 60"),
    ("slots of zero minutes", "slot_minutes = 15", "slot_minutes = 0", "slot_minutes", "whole number"),
    ("slots of a fraction of minutes", "slot_minutes = 15", "slot_minutes = 15.5", "slot_minutes", "whole number"),
    ("a start in quotes", "start = 2016-06-10", 'start = "2016-06-10"', "start", "without quotes"),
    ("a start with a time", "start = 2016-06-10", "start = 2016-06-10T00:00:00", "start", "without a time"),
    ("a start before the data", "start = 2016-06-10", "start = 2015-12-31", "start", "2016-01-01 to 2016-12-31"),
    ("a start after the data", "start = 2016-06-10", "start = 2017-01-01", "start", "2016-01-01 to 2016-12-31"),
    ("more days than the data have", "days = 1", "days = 206", "days", "at most 205"),
    ("no days", "days = 1", "days = 0", "days", "from 1"),
    ("days as true", "days = 1", "days = true", "days", "whole number"),
    ("a negative seed", "seed = 7", "seed = -7", "seed", "from 0"),
    ("a seed beyond int64", "seed = 7", "seed = 9223372036854775808", "seed", "from 0"),
    ("an unknown field", "seed = 7", "seed = 7\nsead = 7", "sead", "a known field"),
    ("a missing data file", '"small.npz"', '"missing.npz"', "file", "a readable data file"),
    ("an unknown packaged data file", '"small.npz"', '"package:atlantis"', "file", "a readable data file"),
    ("a packaged data file outside the package", '"small.npz"', '"package:../file"', "file", "package:rural3"),
    ("a data file that is none", '"small.npz"', '"small.toml"', "file", "a readable data file"),
    ("a price file as the data file", '"small.npz"', '"prices.npz"', "file", "a readable data file"),
    ("a missing price file", '"prices.npz"', '"missing.npz"', "prices", "a readable price file"),
    ("a data file as the price file", '"prices.npz"', '"small.npz"', "prices", "a readable price file"),
    ("a dynamic contract without prices", 'prices = "prices.npz"\n', "", "kind", "prices file"),
    ("an unknown mechanism", '"uniform"', '"guesswork"', "mechanism", "one of"),
    ("no mechanism", 'mechanism = "uniform"\n', "", "mechanism", "one of"),
    ("an unknown strategy", '"truthful"', '"clever"', "strategy", "one of truthful, zero_intelligence"),
    ("k above one", "k = 0.5", "k = 1.5", "k", "between 0 and 1"),
    ("k not a number", "k = 0.5", "k = nan", "k", "between 0 and 1"),
    ("an unknown tie rule", '"pro_rata"', '"coin"', "tie", "one of"),
    ("an unknown convention", 'tie = "pro_rata"', 'tie = "pro_rata"\nhabit = 1', "habit", "one of"),
    ("an unknown settlement rule", '"as_delivered"', '"as_promised"', "rule", "one of as_delivered, firm"),
    (
        "a long price above the short price",
        "imbalance_long_ct_per_kwh = 2.0",
        "imbalance_long_ct_per_kwh = 35.1",
        "imbalance_long_ct_per_kwh",
        "at most the price of the short side",
    ),
    (
        "one imbalance price beside two",
        "imbalance_short_ct_per_kwh = 35.0",
        "imbalance_short_ct_per_kwh = 35.0\nimbalance_ct_per_kwh = 9",
        "imbalance_ct_per_kwh",
        "alone",
    ),
    ("half of the two imbalance prices", "imbalance_short_ct_per_kwh = 35.0\n", "", "imbalance_short_ct_per_kwh", "a number"),
    (
        "a reveal before the gate closes",
        "reveal_deadline_minutes = 5",
        "reveal_deadline_minutes = 16",
        "reveal_deadline_minutes",
        "gates close first",
    ),
    (
        "a reveal when the gate closes",
        "reveal_deadline_minutes = 5",
        "reveal_deadline_minutes = 15",
        "reveal_deadline_minutes",
        "gates close first",
    ),
    (
        "a metering deadline before delivery ends",
        "metering_deadline_minutes = 15",
        "metering_deadline_minutes = -1",
        "metering_deadline_minutes",
        "from 1",
    ),
    ("no dispute window", "dispute_window_minutes = 60", "dispute_window_minutes = 0", "dispute_window_minutes", "from 1"),
    (
        "a gate of a fraction of minutes",
        "gate_closure_minutes = 15",
        "gate_closure_minutes = 15.25",
        "gate_closure_minutes",
        "whole",
    ),
    ("a negative forecast error", "load_error_percent = 20", "load_error_percent = -1", "load_error_percent", "from 0"),
    ("a forecast error that is infinite", "pv_error_percent = 15", "pv_error_percent = inf", "pv_error_percent", "whole"),
    ("a quorum above the oracles", "quorum = 3", "quorum = 5", "quorum", "at most oracles = 4"),
    ("a quorum of half the oracles", "quorum = 3", "quorum = 2", "quorum", "more than half"),
    ("no oracles", "oracles = 4", "oracles = 0", "oracles", "from 1"),
    ("a contract id with a space", 'id = "flat"', 'id = "fl at"', "id", "lower-case"),
    ("a contract id twice", 'id = "dynamic"', 'id = "day-night"', "id", "no other contract"),
    ("an unknown contract kind", 'kind = "flat"', 'kind = "tiered"', "kind", "one of flat, time_of_use, dynamic"),
    (
        "an energy price that is no number",
        "energy_ct_per_kwh = 6.12",
        "energy_ct_per_kwh = nan",
        "energy_ct_per_kwh",
        "a number",
    ),
    ("an energy price in quotes", "energy_ct_per_kwh = 6.12", 'energy_ct_per_kwh = "6.12"', "energy_ct_per_kwh", "a number"),
    (
        "a price finer than a micro-unit",
        "energy_ct_per_kwh = 6.12",
        "energy_ct_per_kwh = 6.12345",
        "energy_ct_per_kwh",
        "at most 4 decimals",
    ),
    ("a negative network fee", "network_ct_per_kwh = 7.06", "network_ct_per_kwh = -7.06", "network_ct_per_kwh", "from 0"),
    ("VAT above the whole", "vat_percent = 19", "vat_percent = 101", "vat_percent", "from 0 to 100"),
    ("a levy without a name", 'name = "EEG levy", ', "", "name", "the name of a levy"),
    ("a levy twice", '"electricity tax"', '"EEG levy"', "levies", "without repetition"),
    ("a levy with an unknown field", "ct_per_kwh = 2.05 }", "ct_per_kwh = 2.05, share = 1 }", "share", "a known field"),
    (
        "levies that are no list",
        'levies = [\n  { name = "EEG levy", ct_per_kwh = 6.354 },\n  { name = "electricity tax", ct_per_kwh = 2.05 },\n]',
        "levies = 8",
        "levies",
        "a list of tables",
    ),
    ("windows on a flat contract", 'kind = "time_of_use"', 'kind = "flat"', "windows", "none for a flat contract"),
    ("time of use without windows", 'kind = "flat"', 'kind = "time_of_use"', "windows", "at least one"),
    ("a window that ends before it starts", 'to = "12:00"', 'to = "05:00"', "to", "a time after"),
    ("a window of a time that is none", 'from = "06:00"', 'from = "6 am"', "from", "a local time"),
    ("a window past midnight", 'to = "24:00"', 'to = "24:15"', "to", "a local time"),
    ("a window on no day", 'days = ["mon", "tue"]', "days = []", "days", "weekdays"),
    ("a window on an unknown day", '"tue"]', '"teu"]', "days", "weekdays"),
    ("windows that overlap", 'from = "17:00"', 'from = "11:45"', "windows", "do not overlap"),
    (
        "a negative operator fee",
        "operator_fee_ct_per_kwh = 0.5",
        "operator_fee_ct_per_kwh = -0.5",
        "operator_fee_ct_per_kwh",
        "from 0",
    ),
    ("VAT on trades as a word", "vat_on_trade = false", 'vat_on_trade = "no"', "vat_on_trade", "true or false"),
    ("a feed-in rate twice", "year = 2016\n", "year = 2012\nup_to_kwp = 10\n", "year", "one rate"),
    ("a feed-in rate below zero", "ct_per_kwh = 24.43", "ct_per_kwh = -24.43", "ct_per_kwh", "from 0"),
    ("a feed-in size of zero", "up_to_kwp = 10", "up_to_kwp = 0", "up_to_kwp", "from 0.001"),
    ("a member id in capitals", 'id = "home-1"', 'id = "Home-1"', "id", "lower-case"),
    ("a member id twice", 'id = "home-2"', 'id = "home-1"', "id", "no other member"),
    ("a member without an id", 'id = "home-2"\n', "", "id", "lower-case"),
    ("an unknown bus", 'node = "barn"', 'node = "tower"', "node", "a bus of the network"),
    ("an unknown contract", 'contract = "day-night"', 'contract = "night"', "contract", "day-night, dynamic, flat"),
    ("a member's unknown strategy", '"zero_intelligence"', '"zero"', "strategy", "one of"),
    (
        "a member with nothing behind the meter",
        'loads = [ { kind = "household", profile = "H0-B", peak_kw = 2.5 } ]\n',
        "",
        "loads",
        "at least one of loads, pv, battery",
    ),
    ("a load of an unknown kind", 'kind = "ev"', 'kind = "car"', "kind", "one of household"),
    ("a load with an unknown profile", '"EV-1"', '"EV-9"', "profile", "a profile of the data file"),
    ("a negative load", "peak_kw = 3.7", "peak_kw = -3.7", "peak_kw", "from 0"),
    ("a load that is not a number", "peak_kw = 3.7", "peak_kw = nan", "peak_kw", "a number"),
    ("a load finer than a watt", "peak_kw = 3.7", "peak_kw = 3.7001", "peak_kw", "at most 3 decimals"),
    ("a load in watts by mistake", "peak_kw = 3.7", "peak_kw = 3700000", "peak_kw", "to 100000"),
    ("an infinite reactive load", "peak_kvar = 1.2", "peak_kvar = -inf", "peak_kvar", "a number"),
    ("a shift by half a slot", "shift_slots = 671", "shift_slots = 0.5", "shift_slots", "whole number"),
    ("a shift beyond the data", "shift_slots = 671", "shift_slots = 100001", "shift_slots", "whole number"),
    ("a plant with an unknown profile", '"PV2"', '"WIND"', "profile", "a profile of the data file"),
    ("a plant without size", "kwp = 8.7", "kwp = 0", "kwp", "from 0.001"),
    ("a plant of a year without a rate", "commissioned = 2016", "commissioned = 2014", "commissioned", "a feed-in rate"),
    ("a plant larger than its year's rates", "kwp = 8.7", "kwp = 10.001", "commissioned", "a feed-in rate for 10001 W"),
    ("a plant without a year", ", commissioned = 2016", "", "commissioned", "whole number"),
    ("a battery without capacity", "capacity_kwh = 13", "capacity_kwh = 0", "capacity_kwh", "from 0.001"),
    ("a battery of negative power", "power_kw = 6.5", "power_kw = -6.5", "power_kw", "from 0.001"),
    ("a battery that makes energy", "charge_efficiency = 0.95", "charge_efficiency = 1.01", "charge_efficiency", "at most 1"),
    (
        "a battery that loses all",
        " discharge_efficiency = 0.95",
        " discharge_efficiency = 0",
        "discharge_efficiency",
        "above 0",
    ),
    (
        "a battery fuller than full",
        "capacity_kwh = 13,",
        "capacity_kwh = 13, initial_kwh = 13.001,",
        "initial_kwh",
        "at most capacity",
    ),
    (
        "a battery that is no table",
        "battery = { capacity_kwh = 13, power_kw = 6.5, charge_efficiency = 0.95, discharge_efficiency = 0.95 }",
        "battery = 13",
        "battery",
        "a table",
    ),
    ("a member with an unknown field", 'node = "barn"', 'node = "barn"\nphase = 1', "phase", "a known field"),
    ("no forecast", "[forecast]\nload_error_percent = 20\npv_error_percent = 15\n", "", "forecast", "a table"),
    ("an unknown section", "[metering]", "[weather]\nsun = 1\n\n[metering]", "weather", "a known field"),
]


@pytest.mark.parametrize(("old", "new", "field", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_break_gives_its_fault_on_its_line(folder: Path, old: str, new: str, field: str, expected: str) -> None:
    assert old in BASE
    text = BASE.replace(old, new, 1)
    error = faults_of(folder, text)
    named = [fault for fault in error.faults if fault.field == field and expected in fault.expected]
    assert len(named) == 1, [str(fault) for fault in error.faults]
    where = named[0].where
    line = int(where.split(",")[0].removeprefix("line ")) if where.startswith("line ") else None
    if "absent" in str(named[0]) and line is None:
        assert where == "file"
    elif new and field in new:
        changed = BASE[: BASE.index(old)].count("\n") + 1
        assert line is not None
        assert changed <= line <= changed + new.count("\n"), where


def outcome(path: Path) -> tuple[Fault, ...] | None:
    """The faults of a file, or nothing where it loads."""
    try:
        load_community(path)
    except InputError as error:
        return error.faults
    return None


LINES = BASE.splitlines()
WORDS = st.sampled_from(
    [
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "1e99",
        "true",
        '""',
        '"x"',
        "[]",
        "[1]",
        "{}",
        "[{}]",
        "2016-06-10",
        "99999999999999999999",
    ]
)


@settings(max_examples=200, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.none() | WORDS), min_size=1, max_size=3))
def test_whatever_is_edited_the_file_loads_or_its_faults_are_listed(folder: Path, edits: list[tuple[int, str | None]]) -> None:
    """A line is dropped, or its value replaced. Nothing but InputError comes out, and each fault names a field."""
    lines: list[str | None] = list(LINES)
    for place, word in edits:
        key = LINES[place].split("=")[0]
        lines[place] = None if word is None else f"{key}= {word}"
    path = folder / "edited.toml"
    path.write_text("\n".join(line for line in lines if line is not None), encoding="utf-8")
    faults = outcome(path)
    assert faults is None or faults
    assert all(fault.field and fault.expected for fault in faults or ())


def test_the_cases_are_distinct_and_many() -> None:
    assert len({case[0] for case in CASES}) == len(CASES) >= 100
    assert len({(case[1], case[2]) for case in CASES}) == len(CASES)


def test_all_faults_of_a_file_come_at_once_in_the_order_of_the_file(folder: Path) -> None:
    text = BASE
    broken = [("days = 1", "days = 0"), ("quorum = 3", "quorum = 9"), ("kwp = 8.7", "kwp = -1"), ('"barn"', '"tower"')]
    for old, new in broken:
        text = text.replace(old, new, 1)
    error = faults_of(folder, text)
    assert [fault.field for fault in error.faults] == ["days", "quorum", "kwp", "node"]
    assert str(error).count("\n") == 4


def test_no_break_is_followed_by_faults_it_did_not_cause(folder: Path) -> None:
    for name, old, new, *_ in CASES:
        error = faults_of(folder, BASE.replace(old, new, 1))
        assert len(error.faults) == 1, (name, [str(fault) for fault in error.faults])


@pytest.mark.parametrize("text", ["[community", "a = 1\na = 2\n", "x = 1e", '[community]\nname = "a\n'], ids=range(4))
def test_text_that_is_no_toml_is_one_fault(folder: Path, text: str) -> None:
    assert [fault.field for fault in faults_of(folder, text).faults] == ["TOML"]


def test_a_file_that_is_not_there_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_community(tmp_path / "absent.toml")


def test_bytes_that_are_no_text_are_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes('[community]\nname = "Köln"\n'.encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        load_community(path)


def test_an_empty_file_lacks_every_section(folder: Path) -> None:
    fields = {fault.field for fault in faults_of(folder, "").faults if fault.where == "file"}
    sections = {"community", "data", "market", "settlement", "gates", "forecast", "metering", "tariffs", "member"}
    assert sections <= fields


def test_one_imbalance_price_serves_both_sides(folder: Path) -> None:
    two = "imbalance_short_ct_per_kwh = 35.0\nimbalance_long_ct_per_kwh = 2.0"
    path = folder / "one.toml"
    path.write_text(BASE.replace(two, "imbalance_ct_per_kwh = 9.5"), encoding="utf-8")
    rules = load_community(path).settlement
    assert rules.imbalance_short_micro_per_kwh == rules.imbalance_long_micro_per_kwh == 95_000


def test_firm_needs_an_imbalance_price(folder: Path) -> None:
    two = "imbalance_short_ct_per_kwh = 35.0\nimbalance_long_ct_per_kwh = 2.0\n"
    error = faults_of(folder, BASE.replace(two, "").replace("as_delivered", "firm"))
    assert [fault.field for fault in error.faults] == ["imbalance_short_ct_per_kwh", "imbalance_long_ct_per_kwh"]


def test_a_damaged_data_file_is_named(folder: Path, tmp_path: Path) -> None:
    path = write_small(tmp_path)
    whole = (tmp_path / "small.npz").read_bytes()
    for damaged in (b"", whole[:1000], whole[: len(whole) // 2], whole[:-30]):
        (tmp_path / "small.npz").write_bytes(damaged)
        with pytest.raises(InputError, match="a readable data file"):
            load_community(path)


def test_a_data_file_is_the_same_bytes_for_the_same_data(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_data(tmp_path / name, small_data())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
