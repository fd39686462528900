"""The edges of the data: its first and last slot pass, the next one is refused with the range there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from community_base import GRID, SLOTS, small_data, small_prices, write_small
from walras.community import (
    Community,
    data_days,
    load_community,
    member_bus,
    member_series,
    network,
    wholesale_micro_per_kwh,
    with_period,
)
from walras.community.datafile import read_arrays, read_data, write_arrays, write_data
from walras.community.prices import import_smard, read_prices, write_prices
from walras.errors import InputError
from walras.slots import SlotGrid


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Community:
    return load_community(write_small(tmp_path_factory.mktemp("small")))


@pytest.mark.parametrize("slots", [range(1), range(SLOTS - 1, SLOTS), range(5, 5), range(0, SLOTS, SLOTS - 1)])
def test_slots_inside_the_data_pass(community: Community, slots: range) -> None:
    assert member_series(community, slots).load_wh.shape == (len(slots), 3)


@pytest.mark.parametrize("slots", [range(-1, 1), range(SLOTS, SLOTS + 1), range(SLOTS - 1, SLOTS + 1), range(3, -2, -1)])
def test_slots_outside_the_data_are_refused_with_the_range(community: Community, slots: range) -> None:
    for read in (member_series, wholesale_micro_per_kwh):
        with pytest.raises(InputError, match=r"slots 0 to 35135 \(2016-01-01 00:00 to 2016-12-31 23:45 Europe/Berlin\)"):
            read(community, slots)


def test_prices_that_are_absent_are_refused(community: Community) -> None:
    with pytest.raises(InputError, match="a price file"):
        wholesale_micro_per_kwh(replace(community, prices=None), range(4))


def test_prices_that_end_too_early_are_refused(community: Community) -> None:
    short = replace(small_prices(), micro_per_kwh=small_prices().micro_per_kwh[:10])
    early = replace(community, prices=short)
    assert wholesale_micro_per_kwh(early, range(40)).shape == (40,)
    with pytest.raises(InputError, match=r"hours 0\.\.9 of the file"):
        wholesale_micro_per_kwh(early, range(41))


def test_prices_may_begin_at_another_hour_than_the_profiles(community: Community) -> None:
    prices = small_prices()
    later = replace(prices, origin=prices.origin - timedelta(hours=3))
    expected = prices.micro_per_kwh[3:5].repeat(4)
    assert (wholesale_micro_per_kwh(replace(community, prices=later), range(8)) == expected).all()


def test_members_hang_at_their_buses(community: Community) -> None:
    names = network(community).bus_names
    assert [names[bus] for bus in member_bus(community)] == ["house", "house", "barn"]


def test_the_days_of_the_data_are_whole_local_days(community: Community) -> None:
    assert data_days(community) == (date(2016, 1, 1), date(2016, 12, 31))
    abroad = replace(community, grid=SlotGrid(GRID.origin, 15, "America/New_York"))
    assert data_days(abroad) == (date(2016, 1, 1), date(2016, 12, 30))


@pytest.mark.parametrize(("start", "days"), [(date(2016, 1, 1), 366), (date(2016, 12, 31), 1), (date(2016, 3, 27), 2)])
def test_another_period_inside_the_data_passes(community: Community, start: date, days: int) -> None:
    moved = with_period(community, start=start, days=days)
    assert member_series(moved, moved.slots).slots == community.grid.local_days(start, days)
    assert with_period(community) == community


@pytest.mark.parametrize(
    ("start", "days", "field"),
    [
        (date(2015, 12, 31), 1, "start"),
        (date(2017, 1, 1), 1, "start"),
        (date(2016, 12, 31), 2, "days"),
        (date(2016, 1, 1), 367, "days"),
        (date(2016, 6, 1), 0, "days"),
    ],
)
def test_another_period_outside_the_data_is_refused(community: Community, start: date, days: int, field: str) -> None:
    with pytest.raises(InputError) as caught:
        with_period(community, start=start, days=days)
    assert [fault.field for fault in caught.value.faults] == [field]


def test_a_data_file_reads_back_as_written(tmp_path: Path) -> None:
    data = small_data()
    write_data(tmp_path / "a.npz", data)
    again = read_data(tmp_path / "a.npz")
    assert (again.active == data.active).all()
    assert (again.reactive == data.reactive).all()
    assert again.profiles == data.profiles
    assert again.grid == data.grid
    assert {name: array.tolist() for name, array in again.network.items() if name != "bus_xy"} == {
        name: array.tolist() for name, array in data.network.items() if name != "bus_xy"
    }
    with pytest.raises(ValueError, match="read-only"):
        again.active[0, 0] = 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda meta, arrays: meta.pop("slots"), "meta.slots"),
        (lambda meta, arrays: meta.pop("licence"), "meta.licence"),
        (lambda meta, arrays: meta.update(format="other"), "meta.format"),
        (lambda meta, arrays: meta.update(slots=35_135), "active"),
        (lambda meta, arrays: meta.update(profiles=["H0-A"] * 6), "meta.profiles"),
        (lambda meta, arrays: arrays.pop("reactive"), "reactive"),
        (lambda meta, arrays: arrays.update(active=arrays["active"].astype(np.int16)), "active"),
        (lambda meta, arrays: arrays.update(reactive=arrays["reactive"][:5]), "reactive"),
    ],
)
def test_a_data_file_that_does_not_fit_names_what(tmp_path: Path, change: object, field: str) -> None:
    write_data(tmp_path / "a.npz", small_data())
    meta, arrays = read_arrays(tmp_path / "a.npz")
    assert callable(change)
    change(meta, arrays)
    write_arrays(tmp_path / "a.npz", meta, arrays)
    with pytest.raises(InputError) as caught:
        read_data(tmp_path / "a.npz")
    assert field in [fault.field for fault in caught.value.faults]


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "pickled.npz"
    np.savez(path, meta=np.array([object()], dtype=object))
    with pytest.raises(InputError, match=r"a readable \.npz"):
        read_arrays(path)


def smard(tmp_path: Path, rows: list[tuple[date, int, str]]) -> Path:
    head = "Date;Time of day;Germany/Luxembourg[€/MWh];Germany/Austria/Luxembourg[€/MWh]\n"
    clock = [f"{12 if h % 12 == 0 else h % 12}:00 {'AM' if h < 12 else 'PM'}" for h in range(24)]
    lines = [f"{day:%b} {day.day}, {day.year};{clock[hour]};-;{price}\n" for day, hour, price in rows]
    path = tmp_path / "smard.csv"
    path.write_text(head + "".join(lines), encoding="utf-8-sig")
    return path


def test_prices_keep_weekday_and_local_clock_and_fall_back_a_week_at_the_ends(tmp_path: Path) -> None:
    days = [date(2015, 1, 5) + timedelta(days=k) for k in range(361)]
    rows = [(day, hour, f"{day.timetuple().tm_yday}.{hour:02d}") for day in days for hour in range(24)]
    prices = import_smard(smard(tmp_path, rows), SlotGrid(GRID.origin, 60, "Europe/Berlin"), 8_784)
    hourly = SlotGrid(GRID.origin, 60, "Europe/Berlin")
    for hour in range(8_784):
        local = hourly.local(hour)
        day_of_2015, clock = divmod(int(prices.micro_per_kwh[hour]) // 10, 100)
        source = date(2014, 12, 31) + timedelta(days=day_of_2015)
        assert clock == local.hour
        assert source.weekday() == local.weekday()
        away = (local.date() - source).days
        assert (
            away == 364 or (away == 357 and local.date() < date(2016, 1, 4)) or (away == 371 and local.date() > date(2016, 12, 29))
        )


def test_of_an_hour_shown_twice_the_first_price_counts(tmp_path: Path) -> None:
    rows = [(date(2015, 10, 25), 2, "25.07"), (date(2015, 10, 25), 2, "25.02")]
    grid = SlotGrid(GRID.origin.replace(year=2016, month=10, day=23, hour=0), 60, "Europe/Berlin")
    assert import_smard(smard(tmp_path, rows), grid, 1).micro_per_kwh.tolist() == [25_070]


def test_an_hour_without_a_price_is_a_fault(tmp_path: Path) -> None:
    rows = [(date(2015, 1, 9), 0, "-"), (date(2015, 1, 9), 1, "1,015.50")]
    with pytest.raises(InputError, match="2016-01-01 00:00:00") as caught:
        import_smard(smard(tmp_path, rows), SlotGrid(GRID.origin, 60, "Europe/Berlin"), 2)
    assert len(caught.value.faults) == 1


def test_a_table_without_the_german_zone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("Date;Time of day;France[€/MWh]\n", encoding="utf-8")
    with pytest.raises(InputError, match="Germany/Austria/Luxembourg"):
        import_smard(path, SlotGrid(GRID.origin, 60, "Europe/Berlin"), 1)


def test_prices_read_back_as_written(tmp_path: Path) -> None:
    write_prices(tmp_path / "p.npz", small_prices())
    again = read_prices(tmp_path / "p.npz")
    assert again.origin == small_prices().origin
    assert (again.micro_per_kwh == small_prices().micro_per_kwh).all()
