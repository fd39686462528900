"""Batteries keep every micro-watt-hour and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.devices import Battery, fleet_from_records, plan_values, step
from walras.devices.battery_control import alone
from walras.errors import InputError


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_physics_cuts_a_wish_to_what_is_possible_and_keeps_every_micro_watt_hour(seed: int) -> None:
    rng = np.random.default_rng(seed)
    records = [Battery(int(rng.integers(0, 9_000)), int(rng.integers(0, 9_000)), 0.93, 0.91, 0) for _ in range(4)]
    fleet = fleet_from_records(records, [0, 1, 2, 3], 15)
    soc = rng.integers(0, fleet.capacity_uwh + 1)
    for _ in range(20):
        wish = rng.integers(-3_000, 3_000, 4)
        action, after = step(fleet, soc, wish)
        assert (np.abs(action) <= np.abs(wish)).all()
        assert ((action == 0) | (np.sign(action) == np.sign(wish))).all()
        assert ((after >= 0) & (after <= fleet.capacity_uwh)).all()
        assert np.array_equal(after - soc, np.where(action > 0, action * fleet.gain_ppm, action * fleet.drain_ppm))
        short = action != wish
        at_limit = (action == fleet.charge_limit_wh) | (-action == fleet.discharge_limit_wh)
        at_edge = np.where(wish > 0, fleet.capacity_uwh - after < fleet.gain_ppm, after < fleet.drain_ppm)
        assert (at_limit | at_edge)[short].all()
        soc = after


def test_faults_of_batteries_come_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        fleet_from_records([Battery(-1, 1, 0.9, 0.9), Battery(1, -5, 0.0, 1.1, 2)], [3, 3], 15)
    assert [f.field for f in caught.value.faults] == [
        "capacity_wh",
        "initial_wh",
        "power_w",
        "initial_wh",
        "charge_efficiency",
        "discharge_efficiency",
        "member",
    ]
    fleet = fleet_from_records([Battery(1_000, 1_000, 0.9, 0.9)], [0], 15)
    with pytest.raises(InputError, match="soc_uwh"):
        step(fleet, np.array([-1]), np.array([0]))


def test_a_battery_without_capacity_never_moves() -> None:
    fleet = fleet_from_records([Battery(0, 4_000, 0.9, 0.9)], [0], 15)
    net, buy, sell = np.full((4, 1), -500), np.full((4, 1), 300_000), np.full((4, 1), 80_000)
    for prices in (sell, -sell):
        values = plan_values(fleet, net, buy, prices, keep=4)
        view = (values.slope, values.edge, values.start[0, 0], values.count[0, 0])
        assert alone(-500, 300_000, int(prices[0, 0]), 0, (0, 1_000, 1_000, 900_000, 1_111_112), *view) == 0
