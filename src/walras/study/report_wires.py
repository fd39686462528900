"""The part of a report on the prices of the wires: the feeder by price and loading hour by hour, what a price is made of, what
each limit was worth, and who had to take back how much.

All of it from the clearings on the wires that the journal holds; the loading is that of the metered energy. Where a run is long,
the map shows the day on which most was taken back, or else on which prices differed most.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from html import escape
from typing import Any

import numpy as np

from walras.grid import LIMIT_NAMES, limit_worths
from walras.grid.rows import EMISSIONS_CAP, EXPORT_LIMIT, IMPORT_LIMIT
from walras.grid.shadow import LimitWorth
from walras.study.feeder_map import LOADING_BANDS, fit_positions, known_positions, map_layout, radial_layout
from walras.study.report_data import ReportData
from walras.study.report_figures import Axis, Figure, time_layout, time_line
from walras.study.report_html import figure, money, table
from walras.study.required import required_lines
from walras.tariffs.bill import CURTAILMENT, LOCATIONAL, RENT_RETURNED, RESERVE
from walras.units import Float64, Int64, format_energy

MICRO_PER_CT = 10_000
NODE_COLOURS = [[0.0, "#2166ac"], [0.5, "#f7f7f7"], [1.0, "#b2182b"]]
"""From the lowest node price of the day over the middle to the highest."""

PARTS = (
    ("energy", "energy", "$load"),
    ("losses", "losses", "$limit"),
    ("voltage", "voltage", "$battery"),
    ("congestion", "congestion", "$warm"),
    ("emissions", "emissions", "$solar"),
    ("reserve", "reserve", "$traded"),
)


def priced(data: ReportData) -> bool:
    """Whether the limits held by prices, and not by an order of curtailment."""
    return data.terms.wires is not None and data.terms.wires.priced


def node_prices(data: ReportData) -> Int64:
    """[slots, buses] micro/kWh, as billed: no further from the price at the root than the scarcity price of the terms."""
    assert data.terms.wires is not None
    most, prices = data.terms.wires.scarcity_micro, _cleared_prices(data)
    root = prices[:, [data.network.root]]
    return np.asarray(root + np.clip(prices - root, -most, most), dtype=np.int64)


def _cleared_prices(data: ReportData) -> Int64:
    return np.array([slot.clearing.node_price_micro_per_kwh for slot in data.wires], dtype=np.int64)


def root_prices(data: ReportData) -> Int64:
    """[slots] micro/kWh: what a kWh is worth at the root, which is in everybody's trades and contracts."""
    return np.asarray(node_prices(data)[:, data.network.root], dtype=np.int64)


def parts_at(data: ReportData, bus: int) -> dict[str, Float64]:
    """Each part of the price at `bus` that is anywhere not zero, [slots] ct/kWh; they add up to the price.

    `energy` is the worth at the root; what limits of import and export make of it is congestion, as those of the wires are, and
    what a cap does that nothing keeps is emissions. Where the scarcity price stands in for a penalty, the other parts shrink alike.
    """
    root, cleared = root_prices(data), _cleared_prices(data)[:, bus]
    beyond = cleared - root
    billed = np.divide(node_prices(data)[:, bus] - root, beyond, out=np.ones(root.size), where=beyond != 0)
    found = {}
    energy = np.array([slot.clearing.certificate["energy_micro_per_kwh"] for slot in data.wires], dtype=np.int64)
    at_root = energy - root_prices(data)
    by_cap = np.array([_by_the_cap(slot.clearing.certificate) for slot in data.wires])
    moved = {"energy": -at_root, "congestion": np.where(by_cap, 0, at_root), "emissions": np.where(by_cap, at_root, 0)}
    for name, _, _ in PARTS:
        columns = [slot.clearing.certificate.get(f"{name}_micro_per_kwh", 0) for slot in data.wires]
        whole = np.array([c if isinstance(c, int) else c[bus] for c in columns], dtype=np.int64)
        whole = whole + moved.get(name, 0)
        values = whole * (1.0 if name == "energy" else billed) / MICRO_PER_CT
        if values.any() or name == "energy":
            found[name] = values
    return found


def _by_the_cap(certificate: Mapping[str, Any]) -> bool:
    """Whether a cap on emissions, and no limit of import or export, makes energy dearer than at the root."""
    kind, price = (np.asarray(certificate[f"limit_{name}"]) for name in ("kind", "price_micro_per_hour"))
    priced = set(kind[price != 0].tolist())
    return EMISSIONS_CAP in priced and not priced & {IMPORT_LIMIT, EXPORT_LIMIT}


def dearest_bus(data: ReportData) -> int:
    """The bus with a member at which the wires move the price most over the run."""
    price = node_prices(data)
    moved = np.abs(price - root_prices(data)[:, None]).sum(axis=0)
    buses = np.unique(data.bus)
    return int(buses[np.argmax(moved[buses])])


def split_figure(data: ReportData, axis: Axis) -> Figure:
    """What the price at one bus is made of over time, ct/kWh."""
    bus = dearest_bus(data)
    form = {"hovertemplate": "%{y:.2f} ct/kWh"}
    parts = parts_at(data, bus)
    lines = [time_line(axis, axis.mean(parts[n]), name, colour, width=1.8, **form) for n, name, colour in PARTS if n in parts]
    price = node_prices(data)[:, bus] / MICRO_PER_CT
    lines.append(time_line(axis, axis.mean(price), "price at the node", "$text", width=2.6, dash="dot", **form))
    return {"data": lines, "layout": time_layout("ct/kWh")}


def day_shown(data: ReportData) -> tuple[date, list[int]]:
    """The local day of the map and its rows among the slots."""
    taken = np.array([int(slot.curtailed_wh.sum()) for slot in data.wires], dtype=np.int64)
    spread = np.array([int(np.ptp(prices)) for prices in node_prices(data)], dtype=np.int64)
    days = [data.terms.grid.local(int(slot)).date() for slot in data.slots]
    best = max(sorted(set(days)), key=lambda d: tuple(int(c[[x == d for x in days]].sum()) for c in (taken, spread)))
    return best, [row for row, d in enumerate(days) if d == best]


def price_map(data: ReportData) -> Figure:
    """The feeder hour by hour: buses by the mean price of the hour, branches by their highest loading; a slider moves the hour."""
    network = data.network
    _, rows = day_shown(data)
    hours: dict[str, list[int]] = {}
    for row in rows:
        hours.setdefault(f"{data.terms.grid.local(int(data.slots[row])):%H:00 %z}", []).append(row)
    price = node_prices(data) / MICRO_PER_CT
    means = [price[part].mean(axis=0) for part in hours.values()]
    loads = [data.with_market.flow.loading[part].max(axis=0) for part in hours.values()]
    places = known_positions(network)
    xy = fit_positions(radial_layout(network) if places is None else places)
    start = int(np.argmax([np.ptp(m) for m in means]))
    legend = [
        {"type": "scatter", "mode": "lines", "x": [None], "y": [None], "name": name, "line": {"color": colour, "width": 4}}
        for _, colour, name in LOADING_BANDS
    ]
    slider = {
        "x": 0.03,
        "len": 0.94,
        "active": start,
        "steps": _hour_steps(data, list(hours), means, loads),
        "currentvalue": {"prefix": "hour from "},
        "pad": {"t": 10},
        "tickcolor": "$muted",
        "bgcolor": "$line",
        "bordercolor": "$muted",
    }
    return {
        "data": [*_branch_traces(data, xy, loads[start]), _bus_trace(data, xy, means, loads[start], start), *legend],
        "layout": map_layout(xy, top=60, bottom=10) | {"sliders": [slider]},
    }


def _branch_traces(data: ReportData, xy: Float64, loading: Float64) -> list[dict[str, Any]]:
    """A line for each branch, coloured by its loading."""
    ends = zip(data.network.branch_from.tolist(), data.network.branch_to.tolist(), strict=True)
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": np.round(xy[[a, b], 0], 4).tolist(),
            "y": np.round(xy[[a, b], 1], 4).tolist(),
            "hoverinfo": "skip",
            "showlegend": False,
            "line": {"color": _band(loading[k]), "width": 4},
        }
        for k, (a, b) in enumerate(ends)
    ]


def _bus_trace(data: ReportData, xy: Float64, means: list[Float64], loading: Float64, start: int) -> dict[str, Any]:
    """Buses coloured by price, and a place without a mark in the middle of each branch, to hover over."""
    network = data.network
    low, high = float(min(m.min() for m in means)), float(max(m.max() for m in means))
    points = np.vstack([xy, (xy[network.branch_from] + xy[network.branch_to]) / 2])
    return {
        "type": "scatter",
        "mode": "markers",
        "x": np.round(points[:, 0], 4).tolist(),
        "y": np.round(points[:, 1], 4).tolist(),
        "text": _labels(data, means[start], loading),
        "hoverinfo": "text",
        "showlegend": False,
        "marker": {
            "size": [11] * network.buses + [12] * network.branches,
            "opacity": [1] * network.buses + [0] * network.branches,
            "color": _colours(means[start], network.branches),
            "cmin": low,
            "cmax": high if high > low else low + 1,
            "colorscale": NODE_COLOURS,
            "line": {"width": 1, "color": "$muted"},
            "colorbar": {
                "orientation": "h",
                "y": 1.02,
                "yanchor": "bottom",
                "thickness": 10,
                "len": 0.85,
                "outlinewidth": 0,
                "title": {"text": "price at the node, ct/kWh", "side": "top"},
            },
        },
    }


def _hour_steps(data: ReportData, labels: list[str], means: list[Float64], loads: list[Float64]) -> list[dict[str, Any]]:
    """What the slider changes for each hour: colours of branches and buses, and the texts."""
    branches = data.network.branches
    return [
        {
            "label": label[:5],
            "method": "restyle",
            "args": [
                {
                    "line.color": [*(_band(x) for x in load), "$muted"],
                    "marker.color": [*([None] * branches), _colours(mean, branches)],
                    "text": [*([None] * branches), _labels(data, mean, load)],
                },
                list(range(branches + 1)),
            ],
        }
        for label, mean, load in zip(labels, means, loads, strict=True)
    ]


def _band(loading: float) -> str:
    return next(colour for upper, colour, _ in LOADING_BANDS if loading <= upper)


def _colours(mean: Float64, hidden: int) -> list[float]:
    return [*np.round(mean, 3).tolist(), *([float(mean[0])] * hidden)]


def _labels(data: ReportData, mean: Float64, load: Float64) -> list[str]:
    network = data.network
    buses = [f"<b>{escape(n)}</b><br>{p:.2f} ct/kWh" for n, p in zip(network.bus_names, mean.tolist(), strict=True)]
    return buses + [f"<b>{escape(n)}</b><br>{100 * x:.0f} %" for n, x in zip(network.branch_names, load.tolist(), strict=True)]


def section(data: ReportData) -> str:
    """Prices at the nodes, in pictures and tables."""
    taken = np.array([slot.curtailed_wh for slot in data.wires], dtype=np.int64)
    if not priced(data):
        return _by_order(data, taken)
    worths = limit_worths(data.network, (slot.clearing for slot in data.wires), data.hours)
    assert data.terms.wires is not None
    said = required_lines(data.terms.wires, data.wires, worths, data.terms.currency)
    day, _ = day_shown(data)
    total = int(taken.sum())
    title = (
        f"The wires took back {format_energy(total, 1)} in {int((taken.sum(axis=1) > 0).sum())} slots"
        if total
        else "The wires carried everything"
    )
    words = (
        "At delivery the feeder's controller clears what everybody is about to feed in on the wires: what cannot be carried is "
        "taken back where its owner loses least by it, and every node gets a price: the trade price, plus marginal losses, plus "
        "what the limits that bind are worth there. Bills carry the difference to the trade price as a locational charge, "
        f"{_where_it_went(data)}."
    )
    map_title = f"The feeder on {day.day} {day:%B %Y}, hour by hour"
    map_words = "Dots: buses by the mean price of the hour. Lines: branches by their highest loading in it. Hover for names."
    split_title = f"What the price is made of at {escape(data.network.bus_names[dearest_bus(data)])}"
    split_words = "The bus at which the wires move the price most. The parts add up to the price."
    return f"""<section id="nodal"><p class="eyebrow">Prices at the nodes</p><h2>{title}</h2><p>{words}</p>
{"".join(f'<p class="note">{escape(line[0].upper() + line[1:])}.</p>' for line in said)}
{figure("nodes", map_title, map_words, "tall")}
{figure("split", split_title, split_words)}
{_limits(worths, data)}{_takers(data, taken.sum(axis=0))}</section>"""


def _where_it_went(data: ReportData) -> str:
    """The sum of the locational charges, and who got it."""
    sums = dict(zip(data.items, data.with_market.items_nano.sum(axis=0).tolist(), strict=True))
    located, back, held = sums[LOCATIONAL], -sums[RENT_RETURNED], -sums.get(RESERVE, 0)
    returned = f"{money(back, data)} of it went back to the members in proportion to what their meters turned"
    words = [f"{money(located, data)} in all", returned]
    if held:
        words.append(f"{money(held, data)} to those who held reserve")
    if located != back + held:
        words.append(f"{money(located - back - held, data)} stays with the grid operator")
    return "; ".join(words)


def _by_order(data: ReportData, taken: Int64) -> str:
    """Where an order and no prices say who takes back: how much, from whom, and what was paid for it."""
    wires = data.terms.wires
    assert wires is not None
    paid = -int(data.with_market.items_nano[:, data.items.index(CURTAILMENT)].sum())
    total = format_energy(int(taken.sum()), 1)
    words = (
        f"What the wires cannot carry is taken back {escape(wires.order.replace('_', ' '))}; the grid operator paid "
        f"{money(paid, data)} for it, {wires.paid_percent} % of what its owners lost. By an order, limits have no prices."
    )
    return f"""<section id="nodal"><p class="eyebrow">Curtailment</p>
<h2>The wires took back {total} in {int((taken.sum(axis=1) > 0).sum())} slots</h2><p>{words}</p>
{_takers(data, taken.sum(axis=0))}</section>"""


def _limits(worths: list[LimitWorth], data: ReportData) -> str:
    if not worths:
        return '<p class="note">No limit had a price.</p>'
    rows = [
        [
            escape(w.kind if w.kind in LIMIT_NAMES[IMPORT_LIMIT:] else f"{w.kind} {w.name}"),
            f"{w.bound_hours:g}",
            f"{w.broken_hours:g}",
            f"{money(1000 * w.worth_micro, data)} per {escape(w.unit)}",
            f"{w.peak_micro_per_hour / MICRO_PER_CT:.2f} ct",
        ]
        for w in worths[:12]
    ]
    return "<h3>What one more unit of each limit was worth</h3>" + table(
        ["limit", "hours bound", "hours broken", "worth in the run", "most in an hour"], rows, words=True
    )


def _takers(data: ReportData, taken: Int64) -> str:
    order = [m for m in np.argsort(-taken, kind="stable").tolist() if taken[m] > 0]
    if not order:
        return ""
    rows = [[escape(data.community.members[m].id), format_energy(int(taken[m]), 1)] for m in order[:12]]
    more = f'<p class="note">and {len(order) - 12} more</p>' if len(order) > 12 else ""
    return "<h3>Who had to take back</h3>" + table(["member", "taken back"], rows, words=True) + more
