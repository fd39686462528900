"""Laws of the series: exact against a slow twin, independent of how the year is cut, shifts that wrap, days of any length."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from community_base import SLOTS, write_small
from walras.community import Community, Load, Member, Pv, load_community, member_series, wholesale_micro_per_kwh
from walras.slots import SlotGrid


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Community:
    return load_community(write_small(tmp_path_factory.mktemp("small")))


@pytest.fixture(scope="module")
def rural() -> Community:
    return load_community(Path(__file__).parents[2] / "examples" / "rural3.toml")


def half_up(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


def exact_wh(community: Community, member: Member, slot: int) -> tuple[Fraction, Fraction, Fraction]:
    """Wh used, Wh generated, kvar of one member in one slot of the data: rational arithmetic from the words of the format."""
    data, quarter = community.data, Fraction(community.data.grid.minutes, 60)
    load = pv = reactive = Fraction(0)
    for part in member.loads:
        place = (data.row(part.profile), (slot + part.shift_slots) % data.slots)
        load += part.peak_w * Fraction(int(data.active[place]), 60_000) * quarter
        reactive += Fraction(part.peak_var, 1000) * Fraction(int(data.reactive[place]), 15_000)
    for plant in member.pv:
        pv += plant.peak_w * Fraction(int(data.active[data.row(plant.profile), slot]), 60_000) * quarter
    return load, pv, reactive


def twin_wh(community: Community, member: Member, slot: int) -> tuple[int, int, Fraction]:
    load, pv, reactive = exact_wh(community, member, slot)
    return half_up(load), half_up(pv), reactive


@settings(max_examples=40, deadline=None)
@given(slot=st.integers(0, SLOTS - 1))
def test_every_figure_equals_the_slow_twin(community: Community, slot: int) -> None:
    series = member_series(community, range(slot, slot + 1))
    for k, member in enumerate(community.members):
        load, pv, reactive = twin_wh(community, member, slot)
        assert (int(series.load_wh[0, k]), int(series.pv_wh[0, k])) == (load, pv)
        assert abs(series.reactive_kvar[0, k] - float(reactive)) < 1e-12


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, SLOTS - 1), length=st.integers(0, 500), step=st.integers(1, 7))
def test_a_part_of_the_year_is_that_part_of_the_whole(rural: Community, start: int, length: int, step: int) -> None:
    slots = range(start, min(start + length, SLOTS), step)
    part = member_series(rural, slots)
    one_by_one = [member_series(rural, range(slot, slot + 1)) for slot in list(slots)[:5]]
    for k, single in enumerate(one_by_one):
        assert (part.load_wh[k] == single.load_wh[0]).all()
        assert (part.pv_wh[k] == single.pv_wh[0]).all()
        assert (part.reactive_kvar[k] == single.reactive_kvar[0]).all()
    assert part.load_wh.shape == (len(slots), len(rural.members))


@settings(max_examples=30, deadline=None)
@given(shift=st.integers(-100_000, 100_000), slot=st.integers(0, SLOTS - 1))
def test_a_shifted_load_is_the_load_of_a_later_slot_and_wraps_around_the_year(community: Community, shift: int, slot: int) -> None:
    still = Member("home-9", "house", "flat", "truthful", (Load("household", "H0-A", 7_777, 100),))
    moved = replace(still, loads=(replace(still.loads[0], shift_slots=shift),))
    pair = replace(community, members=(still, moved))
    there = (slot + shift) % SLOTS
    a, b = member_series(pair, range(slot, slot + 1)), member_series(pair, range(there, there + 1))
    assert a.load_wh[0, 1] == b.load_wh[0, 0]
    assert a.reactive_kvar[0, 1] == b.reactive_kvar[0, 0]


def test_a_shift_moves_energy_and_makes_none(community: Community) -> None:
    still = Member("home-9", "house", "flat", "truthful", (Load("household", "H0-A", 7_777, 0),))
    moved = replace(still, loads=(replace(still.loads[0], shift_slots=-1_341),))
    year = member_series(replace(community, members=(still, moved)), range(SLOTS))
    assert year.load_wh[:, 0].sum() == year.load_wh[:, 1].sum()
    assert (np.roll(year.load_wh[:, 0], 1_341) == year.load_wh[:, 1]).all()


def test_parts_behind_one_meter_are_rounded_together(community: Community) -> None:
    """Three loads of 1 W: a quarter of a Wh each, which alone rounds to nothing; three quarters together round to one."""
    row = community.data.row("H0-A")
    slot = int(np.flatnonzero(community.data.active[row] >= 59_990)[0])
    assert community.data.active[row, slot] <= 60_000
    one = Member("home-9", "house", "flat", "truthful", (Load("household", "H0-A", 1, 0),))
    three = replace(one, loads=one.loads * 3)
    series = member_series(replace(community, members=(one, three)), range(slot, slot + 1))
    assert series.load_wh[0].tolist() == [0, 1]


def test_generation_and_use_are_never_negative_and_dark_nights_are_zero(rural: Community) -> None:
    year = member_series(rural, range(rural.data.slots))
    assert year.load_wh.dtype == year.pv_wh.dtype == np.int64
    assert year.load_wh.min() >= 0
    assert year.pv_wh.min() == 0
    midnights = [rural.grid.local_day(date(2016, 1, 1) + timedelta(days=k)).start for k in range(366)]
    assert year.pv_wh[midnights].sum() == 0
    assert (year.load_wh.sum(axis=0) > 0).all()


@pytest.mark.parametrize(
    ("day", "length"), [(date(2016, 3, 27), 92), (date(2016, 10, 30), 100), (date(2016, 3, 26), 96), (date(2016, 12, 31), 96)]
)
def test_local_days_have_92_96_or_100_quarter_hours(rural: Community, day: date, length: int) -> None:
    series = member_series(rural, rural.grid.local_day(day))
    assert series.load_wh.shape == (length, len(rural.members))
    assert wholesale_micro_per_kwh(rural, rural.grid.local_day(day)).shape == (length,)


def test_the_local_days_of_the_year_are_all_slots_of_the_data(rural: Community) -> None:
    assert rural.grid.local_days(date(2016, 1, 1), 366) == range(SLOTS)


@settings(max_examples=25, deadline=None)
@given(minutes=st.sampled_from([5, 30, 60]), start=st.integers(0, 8_783), length=st.integers(0, 30), step=st.integers(1, 3))
def test_longer_slots_add_up_and_shorter_ones_hold_the_power(
    community: Community, minutes: int, start: int, length: int, step: int
) -> None:
    """To the watt-hour of each slot's one rounding, and for reactive power in the mean."""
    other = replace(community, grid=SlotGrid(community.grid.origin, minutes, community.grid.timezone))
    slots = range(start, min(start + length, other.slot_count), step)
    series = member_series(other, slots)
    quarters = Fraction(minutes, 15)
    for k, slot in enumerate(slots):
        first = slot * minutes // 15
        for n, member in enumerate(community.members):
            parts = [exact_wh(community, member, first + q) for q in range(max(1, int(quarters)))]
            share = min(quarters, Fraction(1))
            assert series.load_wh[k, n] == half_up(sum((part[0] for part in parts), Fraction(0)) * share)
            assert series.pv_wh[k, n] == half_up(sum((part[1] for part in parts), Fraction(0)) * share)
            mean = sum((part[2] for part in parts), Fraction(0)) / len(parts)
            assert abs(series.reactive_kvar[k, n] - float(mean)) < 1e-12


@pytest.mark.parametrize("minutes", [5, 15, 30, 60])
def test_every_slot_length_covers_the_same_year(rural: Community, minutes: int) -> None:
    other = replace(rural, grid=SlotGrid(rural.grid.origin, minutes, rural.grid.timezone))
    assert other.slot_count == 366 * 24 * 60 // minutes
    year = member_series(other, range(other.slot_count))
    quarters = member_series(rural, range(SLOTS))
    assert abs(int(year.load_wh.sum()) - int(quarters.load_wh.sum())) < 0.001 * int(quarters.load_wh.sum())
    assert wholesale_micro_per_kwh(other, range(other.slot_count)).size == other.slot_count


def test_an_hour_has_one_wholesale_price(rural: Community) -> None:
    prices = wholesale_micro_per_kwh(rural, range(SLOTS)).reshape(-1, 4)
    assert (prices == prices[:, :1]).all()


@settings(max_examples=25, deadline=None)
@given(peak=st.integers(1, 10**8))
def test_the_largest_sizes_stay_exact(community: Community, peak: int) -> None:
    huge = Member("home-9", "house", "flat", "truthful", (Load("household", "H0-A", peak, 0),) * 9, (Pv("PV1", peak, 2016),))
    alone = replace(community, members=(huge,))
    series = member_series(alone, range(40, 44))
    for k in range(4):
        load, pv, _ = twin_wh(alone, huge, 40 + k)
        assert (int(series.load_wh[k, 0]), int(series.pv_wh[k, 0])) == (load, pv)
