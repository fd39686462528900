"""Inverters in the flow: the settled point is the curves' and the wires' at once, equal to a slow damped twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid_cases import Tables, feeder, random_tables
from walras.errors import GridError, InputError
from walras.grid import Line, Network, build_network, power_flow
from walras.grid.droop import (
    IEEE_1547_A,
    IEEE_1547_B,
    PRESET_EN,
    Droop,
    Inverters,
    device_power,
    flow_with_droop,
    narrowed,
)

CURVES = [IEEE_1547_A, IEEE_1547_B, PRESET_EN, Droop(), Droop(volt_watt=((1.02, 1.0), (1.05, 0.0)))]


def twin(network: Network, p: np.ndarray, q: np.ndarray, inverters: Inverters) -> tuple[np.ndarray, np.ndarray]:
    """A hundredth of the way from the voltages seen, again and again, with the public power flow only."""
    droops = list(inverters.droop) * (inverters.bus.size if len(inverters.droop) == 1 else 1)
    u = np.ones(inverters.bus.size)
    for _ in range(3000):
        powers = np.array(
            [
                device_power(d, float(v), float(a), float(r), inverters.priority)
                for d, v, a, r in zip(droops, u, inverters.available_kw, inverters.rating_kva, strict=True)
            ]
        ).reshape(-1, 2)
        taken_p, taken_q = p.copy(), q.copy()
        np.subtract.at(taken_p, inverters.bus, powers[:, 0])
        np.subtract.at(taken_q, inverters.bus, powers[:, 1])
        seen = power_flow(network, taken_p, taken_q).v_pu[0, inverters.bus]
        if np.abs(seen - u).max(initial=0.0) < 1e-8:
            return powers[:, 0], powers[:, 1]
        u += 0.02 * (seen - u)
    raise AssertionError("the twin does not settle")


def check(network: Network, p: np.ndarray, q: np.ndarray, inverters: Inverters) -> None:
    """The powers are the curves' at the voltages of the flow, within what is available and rated."""
    done = flow_with_droop(network, p, q, inverters)
    droops = list(inverters.droop) * (inverters.bus.size if len(inverters.droop) == 1 else 1)
    for i, bus in enumerate(inverters.bus):
        v, available, rating = float(done.flow.v_pu[0, bus]), float(inverters.available_kw[i]), float(inverters.rating_kva[i])
        expected = device_power(droops[i], v, available, rating, inverters.priority)
        assert (done.fed_kw[0, i], done.q_kvar[0, i]) == pytest.approx(expected, abs=1e-5)
        assert done.fed_kw[0, i] <= available + 1e-9
        assert np.hypot(done.fed_kw[0, i], done.q_kvar[0, i]) <= max(rating, available) + 1e-9
    assert done.held_kw[0] == pytest.approx(inverters.available_kw - done.fed_kw[0], abs=1e-9)


@given(random_tables(9), st.integers(0, 10**6), st.sampled_from(["reactive", "active"]))
@settings(max_examples=60, deadline=None)
def test_powers_and_voltages_agree(tables: Tables, seed: int, priority: str) -> None:
    network, rng = tables.network(), np.random.default_rng(seed)
    count = int(rng.integers(0, 7))
    rating = rng.uniform(1, 60, count)
    droop = [CURVES[int(k)] for k in rng.integers(0, len(CURVES), count)]
    inverters = Inverters(rng.integers(0, network.buses, count), rating * rng.random(count), rating, droop or [Droop()], priority)  # type: ignore[arg-type]
    p = rng.uniform(-2, 4, network.buses)
    try:
        power_flow(network, p, 0.2 * p)
    except GridError:
        return
    check(network, p, 0.2 * p, inverters)


@pytest.mark.parametrize("curve", CURVES[:4], ids=["A", "B", "EN", "none"])
def test_the_settled_point_is_the_slow_twins(curve: Droop) -> None:
    network, p = feeder().network(v_max_pu=1.2), np.array([0, 0, 1.0, 2.0, 0.5, 1.0, 0.3])
    bus, rating = np.array([2, 4, 5, 6, 6]), np.array([30.0, 40.0, 25.0, 30.0, 10.0])
    inverters = Inverters(bus, 0.95 * rating, rating, [curve])
    done = flow_with_droop(network, p, 0.1 * p, inverters)
    fed, given_kvar = twin(network, p, 0.1 * p, inverters)
    assert done.fed_kw[0] == pytest.approx(fed, abs=1e-3)
    assert done.q_kvar[0] == pytest.approx(given_kvar, abs=1e-3)
    assert done.steps <= 12
    if curve is IEEE_1547_B:
        assert done.held_kw.max() > 1  # it does bind


def test_without_curves_it_is_the_plain_flow() -> None:
    network, p = feeder().network(), np.full(7, 2.0)
    done = flow_with_droop(network, p, p / 5, Inverters(np.array([3]), np.array([10.0]), np.array([10.0]), [Droop()]))
    plain = p.copy()
    plain[3] -= 10.0
    assert done.flow.v_pu.tolist() == power_flow(network, plain, p / 5).v_pu.tolist()
    assert done.held_kw.tolist() == [[0.0]]


def test_curves_hold_a_voltage_that_would_rise_to_the_sky_without_them() -> None:
    """200 kW over 0.8 ohm: v = (1 + sqrt(5)) / 2 without a curve; with it the plant finds its place below 1.12."""
    network = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.8, 0.0)], root="a")
    zero, bus, size = np.zeros(2), np.array([1]), np.array([200.0])
    free = flow_with_droop(network, zero, zero, Inverters(bus, size, size, [Droop()]))
    assert free.flow.v_pu[0, 1] == pytest.approx((1 + np.sqrt(5)) / 2)
    plant = Inverters(bus, size, size, [PRESET_EN])
    check(network, zero, zero, plant)
    assert flow_with_droop(network, zero, zero, plant).flow.v_pu[0, 1] < 1.12


def test_what_no_curve_can_settle_is_an_error_that_names_the_bus() -> None:
    """Over a pure reactance active power moves no voltage up: 200 kW stay more than V^2 / 2x = 100 kW."""
    network = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.001, 0.8)], root="a")
    plant = Inverters(np.array([1]), np.array([200.0]), np.array([200.0]), [Droop()])
    with pytest.raises(GridError, match=r"do not settle.* worst at b"):
        flow_with_droop(network, np.zeros(2), np.zeros(2), plant)


@pytest.mark.parametrize("v", [0.5, 0.92, 0.95, 0.98, 1.0, 1.02, 1.05, 1.06, 1.08, 1.1, 1.3])
@pytest.mark.parametrize("priority", ["reactive", "active"])
def test_a_device_stays_in_its_rating_and_its_priority_gives_way_last(v: float, priority: str) -> None:
    p, q = device_power(IEEE_1547_B, v, 10.0, 10.0, priority)  # type: ignore[arg-type]
    assert np.hypot(p, q) <= 10.0 + 1e-9
    share = np.interp(v, *np.array(IEEE_1547_B.volt_var).T)
    most = 10 * np.interp(v, *np.array(IEEE_1547_B.volt_watt).T)
    if priority == "reactive":
        assert q == pytest.approx(10 * share)
        assert p == pytest.approx(min(most, np.sqrt(100 - q * q)))
    else:
        assert p == pytest.approx(most)
        assert q == pytest.approx(np.sign(share) * min(abs(10 * share), np.sqrt(max(100 - p * p, 0))), abs=1e-6)


def test_published_points_of_ieee_1547_category_b() -> None:
    """Table 8 and Table 31 of the standard, on the knife edges."""
    for v, share in ((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44)):
        assert device_power(IEEE_1547_B, v, 0.0, 100.0)[1] == pytest.approx(100 * share)
    for v, most in ((1.06, 1.0), (1.10, 0.2), (1.08, 0.6)):
        assert device_power(Droop(IEEE_1547_B.volt_watt), v, 100.0, 100.0)[0] == pytest.approx(100 * most)


curve_points = st.lists(st.tuples(st.integers(95, 115), st.integers(0, 100)), min_size=1, max_size=4)


@given(curve_points)
def test_the_market_may_narrow_a_curve_and_never_widen_it(raw: list[tuple[int, int]]) -> None:
    volts = sorted({v for v, _ in raw})
    shares = sorted((s for _, s in raw), reverse=True)
    wanted = Droop(tuple((v / 100, s / 100) for v, s in zip(volts, shares, strict=False)), IEEE_1547_B.volt_var)
    grid = np.linspace(0.9, 1.2, 3001)
    asked, allowed = (np.interp(grid, *np.array(points).T) for points in (wanted.volt_watt, IEEE_1547_B.volt_watt))
    if (asked <= allowed + 1e-9).all():
        assert narrowed(IEEE_1547_B, wanted) is wanted
    elif (asked > allowed + 1e-6).any():
        with pytest.raises(InputError, match="narrow"):
            narrowed(IEEE_1547_B, wanted)


def test_less_reactive_support_is_refused_and_more_is_taken() -> None:
    less = Droop(IEEE_1547_B.volt_watt, ((0.92, 0.2), (0.98, 0.0), (1.02, 0.0), (1.08, -0.2)))
    more = Droop(IEEE_1547_B.volt_watt, ((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.05, -0.44)))
    assert narrowed(IEEE_1547_B, more) is more
    with pytest.raises(InputError) as caught:
        narrowed(IEEE_1547_B, less)
    assert {fault.field for fault in caught.value.faults} >= {"volt_var at 0.92 pu", "volt_var at 1.08 pu"}
    with pytest.raises(InputError, match="the device has one"):
        narrowed(IEEE_1547_B, Droop())


def test_every_fault_of_a_curve_and_of_columns_is_named() -> None:
    with pytest.raises(InputError) as caught:
        Droop(volt_watt=((1.1, 1.0), (1.0, 0.2)), volt_var=((0.9, -0.1), (1.0, 0.1)))
    assert len(caught.value.faults) == 2
    network, zero = feeder().network(), np.zeros(7)
    with pytest.raises(InputError) as caught:
        flow_with_droop(network, zero, zero, Inverters(np.array([9]), np.array([-1.0]), np.array([0.0]), [Droop()] * 2, "both"))  # type: ignore[arg-type]
    assert len(caught.value.faults) == 5
    with pytest.raises(InputError, match="columns"):
        flow_with_droop(network, zero, zero, Inverters(np.array([1, 2]), np.array([1.0]), np.array([1.0]), [Droop()]))
    plant = Inverters(np.array([1]), np.array([1.0]), np.array([1.0]), [Droop()])
    for bad in (np.zeros(6), np.zeros((2, 7)), np.full(7, np.nan)):
        with pytest.raises(InputError, match="q_kvar"):
            flow_with_droop(network, zero, bad, plant)


def test_many_slots_are_each_slot_by_itself_and_a_bad_one_is_named() -> None:
    network, rng = feeder().network(), np.random.default_rng(4)
    p, available = rng.uniform(0, 3, (4, 7)), rng.uniform(0, 45, (4, 2))
    bus, rating = np.array([3, 6]), np.array([40.0, 45.0])
    done = flow_with_droop(network, p, 0.1 * p, Inverters(bus, available, rating, [IEEE_1547_B]))
    for slot in range(4):
        alone = flow_with_droop(network, p[slot], 0.1 * p[slot], Inverters(bus, available[slot], rating, [IEEE_1547_B]))
        assert done.fed_kw[slot].tolist() == alone.fed_kw[0].tolist()
        assert done.flow.v_pu[slot].tolist() == alone.flow.v_pu[0].tolist()
    p[2, 6] = 500.0
    with pytest.raises(GridError, match="slot 2"):
        flow_with_droop(network, p, 0.1 * p, Inverters(bus, available, rating, [IEEE_1547_B]))


def test_a_load_that_only_its_own_plant_makes_possible_has_a_flow() -> None:
    """200 kW taken and 190 fed in at one bus: without the plant there would be no flow at all."""
    network = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.4, 0.08)], root="a")
    load, plant = np.array([0.0, 200.0]), Inverters(np.array([1]), np.array([190.0]), np.array([200.0]), [Droop()])
    with pytest.raises(GridError):
        power_flow(network, load)
    assert flow_with_droop(network, load, np.zeros(2), plant).flow.v_pu[0, 1] > 0.9
