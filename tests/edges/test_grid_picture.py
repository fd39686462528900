"""The picture shows every bus and every branch once, in the colour of its loading; words say the size."""

from __future__ import annotations

import numpy as np
import pytest

from grid_cases import feeder
from walras.errors import InputError
from walras.grid import build_network, power_flow
from walras.grid.picture import describe_network, network_figure


def test_every_bus_and_branch_is_drawn_once() -> None:
    network = feeder().network()
    flow = power_flow(network, np.array([0.0, 0.0, 30.0, 30.0, 30.0, 30.0, 30.0]))
    price = np.arange(7) * 10_000 + 200_000
    figure = network_figure(network, loading=flow.loading[0], price_micro_per_kwh=price, v_pu=flow.v_pu[0], title="evening")
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert sum(np.isnan(np.array(trace.x, dtype=float)).sum() for trace in lines) == network.branches
    assert {trace.name for trace in lines} >= {"up to 50 %", "to 100 %"}
    buses = figure.data[-1]
    assert len(buses.x) == network.buses
    assert buses.text[3].startswith("home1: 23.00 ct/kWh, ")
    assert buses.marker.symbol[network.root] == "square"
    assert len(set(zip(buses.x, buses.y, strict=True))) == network.buses


def test_known_positions_are_kept() -> None:
    xy = {name: (float(i), float(i * i)) for i, name in enumerate(feeder().buses)}
    figure = network_figure(feeder().network(positions=xy))
    assert list(figure.data[-1].y) == [float(i * i) for i in range(7)]


def test_a_single_bus_can_be_drawn_and_a_wrong_column_not() -> None:
    one = build_network({"a": 0.4}, root="a")
    assert len(network_figure(one).data) == 1
    assert describe_network(one).startswith("1 bus, 0 lines")
    with pytest.raises(InputError, match="loading"):
        network_figure(feeder().network(), loading=np.zeros(3))


def test_the_description_names_transformer_and_farthest_bus() -> None:
    text = describe_network(feeder().network())
    assert "7 buses, 5 lines of 0.50 km in all, transformer trafo 160 kVA" in text
    assert "the farthest bus is home4, 0.50 km and 6 branches away" in text
