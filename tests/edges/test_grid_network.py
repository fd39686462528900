"""What is not a radial network is refused with all its faults; what survives a file comes back as it was."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings

from grid_cases import TRAFO_160, Tables, feeder, random_tables
from walras.errors import GridError, InputError
from walras.grid import Line, Network, Transformer, build_network, power_flow

FLAT = {"r_ohm_per_km": 0.2, "x_ohm_per_km": 0.1}


def line(name: str, a: str, b: str, **more: float) -> Line:
    return Line(name, a, b, 0.1, **(FLAT | more))  # type: ignore[arg-type]


def four(*lines: Line) -> Network:
    return build_network({"a": 0.4, "b": 0.4, "c": 0.4, "d": 0.4}, list(lines), root="a")


def test_islands_and_loops_are_all_named_at_once() -> None:
    with pytest.raises(GridError) as caught:
        four(line("ab", "a", "b"), line("bc", "b", "c"), line("ca", "c", "a"))
    assert "loop: closed by ca" in str(caught.value)
    assert "island: no closed path from a to d" in str(caught.value)


def test_every_field_fault_is_listed_at_once() -> None:
    with pytest.raises(InputError) as caught:
        build_network(
            {"a": 0.4, "b": -1.0, "mv": 20.0},
            [
                line("x", "a", "nowhere"),
                line("x", "a", "b", max_i_ka=-0.1),
                line("loop", "a", "a"),
                line("n", "a", "b", c_nf_per_km=math.nan),
            ],
            [Transformer("t", "mv", "a", **(TRAFO_160 | {"vkr_percent": 5.0}))],  # type: ignore[arg-type]
            root="q",
        )
    fields = {(fault.where, fault.field) for fault in caught.value.faults}
    assert fields >= {
        ("bus b", "kv"),
        ("network", "root"),
        ("line x", "to_bus"),
        ("line x", "name"),
        ("line x", "max_i_ka"),
        ("line loop", "to_bus"),
        ("line n", "c_nf_per_km"),
        ("transformer t", "vkr_percent"),
    }


def test_a_line_between_two_voltage_levels_is_refused() -> None:
    with pytest.raises(InputError, match="the same at both ends"):
        build_network({"a": 20.0, "b": 0.4}, [line("ab", "a", "b")], root="a")


@pytest.mark.parametrize("more", [{"r_ohm_per_km": 0.0, "x_ohm_per_km": 0.0}])
def test_zero_impedance_is_refused_by_name(more: dict[str, float]) -> None:
    with pytest.raises(GridError, match="zero impedance: ab"):
        four(line("ab", "a", "b", **more), line("bc", "b", "c"), line("cd", "c", "d"))


def test_parallel_transformers_with_unequal_taps_are_refused() -> None:
    trafos = [Transformer(f"t{i}", "mv", "lv", tap_pos=i, **TRAFO_160) for i in (0, 1)]  # type: ignore[arg-type]
    with pytest.raises(GridError, match="circulate"):
        build_network({"mv": 20.0, "lv": 0.4}, [], trafos, root="mv")


def test_a_single_bus_is_a_network() -> None:
    one = build_network({"a": 0.4}, root="a", slack_v_pu=1.02)
    flow = power_flow(one, [[5.0], [-3.0]])
    assert flow.v_pu.tolist() == [[1.02], [1.02]]
    assert flow.slack_p_kw == pytest.approx([5.0, -3.0])
    assert flow.losses_kw.tolist() == [0.0, 0.0]
    assert flow.loading.shape == (2, 0)


def test_an_unrated_line_has_loading_zero() -> None:
    network = build_network({"a": 0.4, "b": 0.4}, [line("ab", "a", "b")], root="a")
    assert power_flow(network, [0.0, 5.0]).loading.tolist() == [[0.0]]


def test_too_much_load_names_the_slot_and_the_bus_where_voltage_breaks_down() -> None:
    tables = feeder()
    p = np.zeros((3, 7))
    p[1, 6] = 50_000.0
    with pytest.raises(GridError, match=r"slot 1.*bus home4") as caught:
        power_flow(tables.network(), p)
    assert caught.value.thing == (1, "home4")


def test_power_beyond_the_nose_of_one_line_fails_and_just_below_it_does_not() -> None:
    """v^2 - v + r p = 0 has a solution up to r p = 1/4: 250 kW here."""
    network = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0)], root="a")
    assert power_flow(network, [0.0, 249.0]).v_pu[0, 1] == pytest.approx((1 + math.sqrt(1 - 4 * 0.249)) / 2, abs=1e-8)
    with pytest.raises(GridError):
        power_flow(network, [0.0, 250.1])


def test_wrong_shapes_and_nan_are_refused() -> None:
    network = feeder().network()
    with pytest.raises(InputError, match="buses"):
        power_flow(network, np.zeros(3))
    with pytest.raises(InputError, match="shape of p_kw"):
        power_flow(network, np.zeros((2, 7)), np.zeros((3, 7)))
    bad = np.zeros((2, 7))
    bad[1, 3] = math.nan
    with pytest.raises(InputError, match="slot 1, bus home1"):
        power_flow(network, bad)


@settings(max_examples=25, deadline=None)
@given(random_tables())
def test_a_network_comes_back_from_a_file_as_it_was(tables: Tables) -> None:
    network = tables.network(positions={"b0": (8.5, 47.1)})
    buffer = io.BytesIO()
    np.savez(buffer, **network.as_arrays())  # type: ignore[arg-type]
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as arrays:
        again = Network.from_arrays(arrays)
    first, second = network.as_arrays(), again.as_arrays()
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f"), name


def test_arrays_of_another_base_or_with_holes_are_refused() -> None:
    arrays = feeder().network().as_arrays()
    with pytest.raises(InputError, match="base_kva"):
        Network.from_arrays(arrays | {"base_kva": np.array(1000.0)})
    with pytest.raises(InputError, match="branch_r"):
        Network.from_arrays({name: column for name, column in arrays.items() if name != "branch_r"})
    with pytest.raises(GridError, match="root-outward"):
        Network.from_arrays(arrays | {"branch_to": arrays["branch_to"][::-1]})


def test_columns_are_read_only() -> None:
    network = feeder().network()
    with pytest.raises(ValueError, match="read-only"):
        network.branch_r[0] = 1.0
