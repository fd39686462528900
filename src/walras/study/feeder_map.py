"""A picture of a feeder: the tree laid out in rings around its root, branches coloured by loading, buses by voltage.

The layout is a pure function of the topology: the root in the middle, a bus on the ring of its depth (how many branches from the
root), and every subtree in a sector as wide as its share of the leaves, so branches never cross. Children are drawn in the
order of their subtree's depth, then of the bus index, so the same network gives the same picture everywhere.
(Wetherell and Shannon, "Tidy drawings of trees", IEEE Trans. Software Eng. 5 (1979), in polar coordinates.)

Figures are plain Plotly JSON. A colour that begins with `$` is a name which the page resolves for light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from walras.grid import Network
from walras.grid.limits import LOADING_TOLERANCE
from walras.units import Float64

Figure = dict[str, Any]

LOADING_BANDS: tuple[tuple[float, str, str], ...] = (
    (0.25, "$load1", "up to 25 %"),
    (0.50, "$load2", "25 to 50 %"),
    (0.75, "$load3", "50 to 75 %"),
    (1.00 + LOADING_TOLERANCE, "$load4", "75 to 100 %"),
    (np.inf, "$load5", "overloaded"),
)
"""Upper end of each band of loading (fraction of the rating), its colour, its name. Overloaded is what breaks a limit."""

VOLTAGE_COLOURS = [[0.0, "#2166ac"], [0.25, "#67a9cf"], [0.5, "#f7f7f7"], [0.75, "#ef8a62"], [1.0, "#b2182b"]]
"""From the lowest allowed voltage over nominal to the highest: diverging, told apart without red and green."""


def radial_layout(network: Network) -> Float64:
    """Positions [buses, 2] in rings around the root; the outermost ring has radius 1.

    >>> from walras.grid import Line, build_network
    >>> lines = [Line("ab", "a", "b", 1.0, 0.1, 0.0, max_i_ka=0.1), Line("ac", "a", "c", 1.0, 0.1, 0.0, max_i_ka=0.1)]
    >>> radial_layout(build_network({"a": 0.4, "b": 0.4, "c": 0.4}, lines, root="a")).round().astype(int).tolist()
    [[0, 0], [1, 0], [-1, 0]]
    """
    n = network.buses
    children: list[list[int]] = [[] for _ in range(n)]
    depth = np.zeros(n, dtype=np.int64)
    leaves, height = np.ones(n), np.zeros(n, dtype=np.int64)
    pairs = list(zip(network.branch_from.tolist(), network.branch_to.tolist(), strict=True))
    for parent, child in pairs:
        children[parent].append(child)
        depth[child] = depth[parent] + 1
    for parent, child in reversed(pairs):
        height[parent] = max(height[parent], height[child] + 1)
    for bus in [child for _, child in reversed(pairs)] + [network.root]:
        if children[bus]:
            leaves[bus] = sum(leaves[child] for child in children[bus])
    sector = np.zeros((n, 2))
    sector[network.root] = (0.0, 2 * np.pi)
    for bus in [network.root] + [child for _, child in pairs]:
        begin, width = sector[bus, 0], sector[bus, 1] - sector[bus, 0]
        for child in sorted(children[bus], key=lambda c: (-height[c], c)):
            share = width * leaves[child] / leaves[bus]
            sector[child] = (begin, begin + share)
            begin += share
    angle, radius = sector.mean(axis=1), depth / max(int(depth.max()), 1)
    return np.column_stack([radius * np.sin(angle), radius * np.cos(angle)])


def known_positions(network: Network) -> Float64 | None:
    """The positions that the data give, [buses, 2], or None where one is unknown or most buses share theirs.

    A root drawn on top of another bus (a substation) is moved out beyond the bus below it, so that its transformer is seen.
    """
    xy = network.bus_xy
    if not np.isfinite(xy).all() or 2 * len(np.unique(xy, axis=0)) < network.buses:
        return None
    below = network.branch_to[network.branch_from == network.root]
    size = float(np.ptp(xy, axis=0).max())
    others = np.delete(xy, network.root, axis=0)
    if not below.size or float(np.hypot(*(others - xy[network.root]).T).min()) > 0.02 * size:
        return xy
    away = xy[below[0]] - others.mean(axis=0)
    length = float(np.hypot(*away))
    moved = xy.copy()
    moved[network.root] = xy[below[0]] + 0.12 * size * (away / length if length > 0 else np.array([0.0, 1.0]))
    return moved


def feeder_map(
    network: Network, loading: Float64, v_pu: Float64, notes: Sequence[str] | None = None, positions: Float64 | None = None
) -> Figure:
    """The picture: `loading` [branches] as fractions of the rating, `v_pu` [buses]; `notes` [buses] what hovering adds.

    `positions` [buses, 2] in any one unit, drawn with equal scales; by default the rings of `radial_layout`.

    The voltage scale spans the narrowest allowed band of the buses below the root, symmetric around 1 pu.
    """
    xy = fit_positions(radial_layout(network) if positions is None else positions)
    below = np.arange(network.buses) != network.root
    span = min(float((network.v_max_pu[below] - 1).min(initial=0.1)), float((1 - network.v_min_pu[below]).min(initial=0.1)))
    added = [""] * network.buses if notes is None else notes
    labels = [
        f"<b>{name}</b><br>{v:.4f} pu" + (f"<br>{note}" if note else "")
        for name, v, note in zip(network.bus_names, v_pu.tolist(), added, strict=True)
    ]
    root = network.root
    data = [*_branches(network, xy, loading), _branch_hover(network, xy, loading)]
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": np.round(xy[below, 0], 4).tolist(),
            "y": np.round(xy[below, 1], 4).tolist(),
            "text": [label for label, keep in zip(labels, below.tolist(), strict=True) if keep],
            "hoverinfo": "text",
            "showlegend": False,
            "marker": {
                "size": 9,
                "color": np.round(v_pu[below], 5).tolist(),
                "cmin": 1 - span,
                "cmax": 1 + span,
                "colorscale": VOLTAGE_COLOURS,
                "line": {"width": 1, "color": "$muted"},
                "colorbar": _colorbar(span),
            },
        }
    )
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": [float(xy[root, 0])],
            "y": [float(xy[root, 1])],
            "text": [labels[root]],
            "hoverinfo": "text",
            "name": "grid above",
            "marker": {"size": 16, "symbol": "square", "color": "$text"},
        }
    )
    return {"data": data, "layout": map_layout(xy, top=4, bottom=60)}


def map_layout(xy: Float64, *, top: int, bottom: int) -> dict[str, Any]:
    """A layout that shows all of `xy` with equal scales and no axes; the margins above and below in pixels."""
    axis: dict[str, Any] = {"visible": False, "fixedrange": True}
    ends = [[float(xy[:, i].min()) - 0.05, float(xy[:, i].max()) + 0.05] for i in (0, 1)]
    return {
        "xaxis": axis | {"range": ends[0]},
        "yaxis": axis | {"range": ends[1], "scaleanchor": "x"},
        "hovermode": "closest",
        "margin": {"l": 4, "r": 4, "t": top, "b": bottom},
    }


def fit_positions(xy: Float64) -> Float64:
    """Centred, the longer side from -1 to 1."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    half = float((high - low).max()) / 2
    return np.asarray((xy - (low + high) / 2) / (half if half > 0 else 1.0))


def _colorbar(span: float) -> dict[str, Any]:
    ticks = [1 - span, 1 - span / 2, 1.0, 1 + span / 2, 1 + span]
    return {
        "orientation": "h",
        "y": -0.02,
        "yanchor": "top",
        "thickness": 10,
        "len": 0.85,
        "outlinewidth": 0,
        "title": {"text": "bus voltage, pu", "side": "top"},
        "tickvals": ticks,
        "ticktext": [f"{tick:.3f}".rstrip("0").rstrip(".") for tick in ticks],
    }


def _branches(network: Network, xy: Float64, loading: Float64) -> list[dict[str, Any]]:
    """One trace for each band of loading that occurs."""
    band = np.searchsorted([upper for upper, _, _ in LOADING_BANDS[:-1]], loading, side="left")
    traces = []
    for index, (_, colour, name) in enumerate(LOADING_BANDS):
        rows = np.flatnonzero(band == index)
        if not rows.size:
            continue
        points: list[list[float | None]] = []
        for k in rows.tolist():
            points += [xy[network.branch_from[k]].round(4).tolist(), xy[network.branch_to[k]].round(4).tolist(), [None, None]]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [x for x, _ in points],
                "y": [y for _, y in points],
                "hoverinfo": "skip",
                "name": name,
                "line": {"color": colour, "width": 2 + 1.2 * index},
            }
        )
    return traces


def _branch_hover(network: Network, xy: Float64, loading: Float64) -> dict[str, Any]:
    """Invisible markers in the middle of each branch, to hover over."""
    middle = (xy[network.branch_from] + xy[network.branch_to]) / 2
    texts = [
        f"<b>{name}</b><br>{100 * part:.1f} % of {rating:.0f} {'A' if kind == 0 else 'kVA'}"
        for name, part, rating, kind in zip(
            network.branch_names,
            loading.tolist(),
            network.branch_rating.tolist(),
            network.branch_kind.tolist(),
            strict=True,
        )
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": np.round(middle[:, 0], 4).tolist(),
        "y": np.round(middle[:, 1], 4).tolist(),
        "text": texts,
        "hoverinfo": "text",
        "showlegend": False,
        "marker": {"size": 12, "opacity": 0},
    }
