"""A network in words and as a picture: the feeder coloured by price and by loading.

The rule: what is drawn is what the arrays say. Buses stand where `bus_xy` puts them, and where a position is unknown for any bus
the whole tree is laid out instead: depth to the right, leaves one below the other. Branches from green to red are their loading.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from walras.errors import Fault, InputError
from walras.grid.network import LINE, TRANSFORMER, Float, Network
from walras.units import Int64

_BANDS = ((0.5, "#2e8b57", "up to 50 %"), (0.8, "#9aa82a", "to 80 %"), (1.0, "#e0912f", "to 100 %"), (np.inf, "#c0392b", "over"))
_GREY = "#9aa0a6"


def describe_network(network: Network) -> str:
    """A few lines: size, length, transformers with their ratings, depth, voltage band.

    >>> from walras.grid import Line, build_network
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 0.25, 0.2, 0.08, max_i_ka=0.27)], root="a")
    >>> print(describe_network(net))
    2 buses, 1 line of 0.25 km in all, no transformer
    root a at 1.0000 pu, 0.4 kV; the farthest bus is b, 0.25 km and 1 branch away
    voltage band 0.900 to 1.100 pu; every line rated 270 A
    """
    lines = network.branch_kind == LINE
    trafos = np.flatnonzero(network.branch_kind == TRANSFORMER)
    km = float(network.branch_length_km.sum())
    rated = ", ".join(f"{network.branch_names[k]} {network.branch_rating[k]:.0f} kVA" for k in trafos[:5])
    more = f" and {trafos.size - 5} more" if trafos.size > 5 else ""
    count = f"{int(lines.sum())} line{'s' if lines.sum() != 1 else ''}"
    first = f"{network.buses} bus{'es' if network.buses != 1 else ''}, {count} of {km:.2f} km in all, "
    first += f"transformer{'s' if trafos.size > 1 else ''} {rated}{more}" if trafos.size else "no transformer"
    distance, depth = _distances(network)
    far = int(np.argmax(distance + 1e-9 * depth))
    root = network.bus_names[network.root]
    second = f"root {root} at {network.slack_v_pu:.4f} pu, {network.bus_kv[network.root]:g} kV"
    if network.branches:
        steps = f"{depth[far]} branch{'es' if depth[far] != 1 else ''}"
        second += f"; the farthest bus is {network.bus_names[far]}, {distance[far]:.2f} km and {steps} away"
    third = f"voltage band {network.v_min_pu.min():.3f} to {network.v_max_pu.max():.3f} pu"
    ratings = network.branch_rating[lines & np.isfinite(network.branch_rating)]
    if ratings.size:
        low, high = f"{ratings.min():.0f}", f"{ratings.max():.0f}"
        third += f"; every line rated {low} A" if low == high else f"; line ratings {low} to {high} A"
    return "\n".join((first, second, third))


def network_figure(
    network: Network,
    *,
    loading: Float | None = None,
    price_micro_per_kwh: Int64 | None = None,
    v_pu: Float | None = None,
    title: str = "",
) -> go.Figure:
    """The feeder: branches coloured by `loading` [branches] (fraction of the rating), buses by `price_micro_per_kwh` [buses] or,
    without prices, by `v_pu` [buses]; grey where nothing is given. Raises InputError for a column of another length.
    """
    faults = [
        Fault("network figure", name, np.shape(column), f"({size},)")
        for name, column, size in (
            ("loading", loading, network.branches),
            ("price_micro_per_kwh", price_micro_per_kwh, network.buses),
            ("v_pu", v_pu, network.buses),
        )
        if column is not None and np.shape(column) != (size,)
    ]
    if faults:
        raise InputError("network figure", faults)
    xy = _positions(network)
    figure = go.Figure()
    for trace in _branch_traces(network, xy, loading):
        figure.add_trace(trace)
    figure.add_trace(_bus_trace(network, xy, price_micro_per_kwh, v_pu))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x" if np.isfinite(network.bus_xy).all() else None)
    figure.update_layout(title=title or None, template="plotly_white", margin={"l": 10, "r": 10, "t": 40, "b": 10})
    return figure


def _branch_traces(network: Network, xy: Float, loading: Float | None) -> list[go.Scatter]:
    ends = np.stack([network.branch_from, network.branch_to], axis=1)
    if loading is None:
        return [_segments(xy, ends, _GREY, "branches")] if network.branches else []
    traces, low = [], -np.inf
    for high, colour, name in _BANDS:
        rows = np.flatnonzero((loading > low) & (loading <= high))
        low = high
        if rows.size:
            traces.append(_segments(xy, ends[rows], colour, name))
    middle = (xy[ends[:, 0]] + xy[ends[:, 1]]) / 2
    text = [f"{name}: {100 * value:.1f} %" for name, value in zip(network.branch_names, loading, strict=True)]
    marker = {"size": 8, "opacity": 0.0}
    hover = go.Scatter(x=middle[:, 0], y=middle[:, 1], mode="markers", marker=marker, text=text, hoverinfo="text", showlegend=False)
    return [*traces, hover]


def _segments(xy: Float, ends: NDArray[np.int64], colour: str, name: str) -> go.Scatter:
    gap = np.full(ends.shape[0], np.nan)
    x = np.stack([xy[ends[:, 0], 0], xy[ends[:, 1], 0], gap], axis=1).ravel()
    y = np.stack([xy[ends[:, 0], 1], xy[ends[:, 1], 1], gap], axis=1).ravel()
    return go.Scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 3}, name=name, hoverinfo="skip")


def _bus_trace(network: Network, xy: Float, price: Int64 | None, v_pu: Float | None) -> go.Scatter:
    marker: dict[str, Any] = {"size": 9, "color": _GREY, "line": {"width": 1, "color": "#333333"}}
    text = list(network.bus_names)
    if price is not None:
        marker |= {"color": np.asarray(price) / 1e4, "colorscale": "Viridis", "colorbar": {"title": "ct/kWh"}}
        text = [f"{name}: {value / 1e4:.2f} ct/kWh" for name, value in zip(text, price, strict=True)]
    elif v_pu is not None:
        marker |= {"color": v_pu, "colorscale": "RdBu", "reversescale": True, "colorbar": {"title": "pu"}}
    if v_pu is not None:
        text = [f"{label}, {value:.4f} pu" for label, value in zip(text, v_pu, strict=True)]
    symbols = np.where(np.arange(network.buses) == network.root, "square", "circle")
    marker["symbol"] = symbols.tolist()
    return go.Scatter(
        x=xy[:, 0], y=xy[:, 1], mode="markers", marker=marker, text=text, hoverinfo="text", name="buses", showlegend=False
    )


def _distances(network: Network) -> tuple[Float, Int64]:
    distance, depth = np.zeros(network.buses), np.zeros(network.buses, dtype=np.int64)
    for a, b, km in zip(network.branch_from, network.branch_to, network.branch_length_km, strict=True):
        distance[b], depth[b] = distance[a] + km, depth[a] + 1
    return distance, depth


def _positions(network: Network) -> Float:
    """[buses, 2]: as given, or the tree laid out by depth and by leaf."""
    if np.isfinite(network.bus_xy).all():
        return network.bus_xy
    _, depth = _distances(network)
    place = np.full(network.buses, np.nan)
    leaves, children = 0, np.bincount(network.branch_from, minlength=network.buses)
    sums, counts = np.zeros(network.buses), np.zeros(network.buses)
    for bus in [network.root, *network.branch_to.tolist()]:
        if children[bus] == 0:
            place[bus] = -leaves
            leaves += 1
    for a, b in zip(network.branch_from[::-1], network.branch_to[::-1], strict=True):
        if np.isnan(place[b]):
            place[b] = sums[b] / counts[b]
        sums[a] += place[b]
        counts[a] += 1
    if np.isnan(place[network.root]):
        place[network.root] = sums[network.root] / counts[network.root]
    return np.stack([depth.astype(np.float64), place], axis=1)
