"""The pictures of a report as plain Plotly JSON, each a function of the report's data.

The rule: a figure holds data and axes with units, no words of judgement (titles are the page's) and no colour of its own:
a colour that begins with `$` is a name which the page resolves, for light and dark. Quantities of a slot are drawn as steps,
as long as the slot; a run of many slots is drawn by means (or extremes) over equal stretches, `Axis.minutes` says how long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from walras.grid import TRANSFORMER
from walras.study.report_data import ReportData, World, charges_micro
from walras.units import Float64

Figure = dict[str, Any]

MOST_POINTS = 1_500
MOST_NAMED = 40
MICRO_PER_CT = 10_000
NANO = 1e9


@dataclass(frozen=True, slots=True)
class Axis:
    """Time, `group` slots a point; the last group may be shorter."""

    x: list[str]
    group: int
    minutes: int

    def mean(self, column: Any) -> list[float | None]:
        """Means of the groups (NaN left out; None where a whole group is NaN), the last repeated to close the step."""
        return self._reduce(column, np.mean)

    def highest(self, column: Any) -> list[float | None]:
        """Largest of each group."""
        return self._reduce(column, np.max)

    def lowest(self, column: Any) -> list[float | None]:
        """Smallest of each group."""
        return self._reduce(column, np.min)

    def _reduce(self, column: Any, how: Any) -> list[float | None]:
        values = np.asarray(column, dtype=np.float64)
        parts = [values[i : i + self.group] for i in range(0, values.size, self.group)]
        kept = [part[~np.isnan(part)] for part in parts]
        out = [round(float(how(part)), 4) if part.size else None for part in kept]
        return [*out, out[-1]]


def make_axis(data: ReportData) -> Axis:
    """Local time at the start of each point, and the end of the last."""
    grid, slots = data.terms.grid, data.slots.tolist()
    a_day = 24 * 60 // grid.minutes
    choices = [1, 60 // grid.minutes, a_day]
    group = next((g for g in choices if len(slots) / g <= MOST_POINTS), a_day)
    starts = [*slots[::group], slots[-1] + 1]
    return Axis([grid.local(slot).strftime("%Y-%m-%d %H:%M") for slot in starts], group, group * grid.minutes)


def time_line(axis: Axis, y: list[float | None], name: str, colour: str, **more: Any) -> dict[str, Any]:
    """A column over time, drawn as steps."""
    width, dash, shape = more.pop("width", 2), more.pop("dash", "solid"), more.pop("shape", "hv")
    line = {"color": colour, "width": width, "dash": dash, "shape": shape}
    return {"type": "scatter", "mode": "lines", "x": axis.x, "y": y, "name": name, "line": line} | more


def _steps(axis: Axis, y: list[float | None], name: str, colour: str, **more: Any) -> dict[str, Any]:
    """A line whose steps are drawn to their ends also before a gap."""
    ends = [end for pair in zip(axis.x[:-1], axis.x[1:], strict=True) for end in pair]
    return time_line(axis, [v for v in y[:-1] for _ in range(2)], name, colour, shape="linear", **more) | {"x": ends}


def time_layout(title: str, **more: Any) -> dict[str, Any]:
    """The layout of a figure over time with `title` as the unit of its y axis."""
    return {"hovermode": "x unified", "xaxis": {"type": "date"}, "yaxis": {"title": {"text": title}} | more.pop("yaxis", {})} | more


def energy_figure(data: ReportData, axis: Axis) -> Figure:
    """Load, sun, what neighbours traded, what the batteries took or gave, and the transformer: mean power in kW."""
    kw = 1 / (1e3 * data.hours)
    load, pv = data.load_wh.sum(axis=1) * kw, data.pv_wh.sum(axis=1) * kw
    battery = data.with_market.net_wh.sum(axis=1) * kw - (load - pv)
    form = {"hovertemplate": "%{y:.1f} kW"}
    return {
        "data": [
            time_line(axis, axis.mean(pv), "solar", "$solar", fill="tozeroy", fillcolor="$solar_fill", **form),
            time_line(axis, axis.mean(load), "load", "$load", fill="tozeroy", fillcolor="$load_fill", **form),
            time_line(
                axis,
                axis.mean(data.local_wh * kw),
                "traded between neighbours",
                "$traded",
                fill="tozeroy",
                fillcolor="$traded_fill",
                **form,
            ),
            time_line(axis, axis.mean(battery), "batteries (+ charge, − discharge)", "$battery", **form),
            time_line(
                axis,
                axis.mean(data.with_market.flow.slack_p_kw),
                "transformer (+ import, − export)",
                "$text",
                width=1.6,
                dash="dot",
                **form,
            ),
        ],
        "layout": time_layout("kW"),
    }


def price_figure(data: ReportData, axis: Axis) -> Figure:
    """The price of each slot inside the band between the lowest feed-in rate and the highest retail price, ct/kWh."""
    form = {"hovertemplate": "%{y:.2f} ct/kWh"}
    paid = data.feed_in_rates
    low = np.full(data.slots.size, paid.min() if paid.size else 0) / MICRO_PER_CT
    retail = data.retail_micro / MICRO_PER_CT
    worth = (data.retail_micro[:, 1] - charges_micro(data)) / MICRO_PER_CT
    return {
        "data": [
            time_line(axis, axis.lowest(low), "lowest feed-in rate", "$solar", width=1.6, **form),
            time_line(
                axis,
                axis.highest(retail[:, 1]),
                "dearest retail contract",
                "$load",
                width=1.6,
                fill="tonexty",
                fillcolor="$band_fill",
                **form,
            ),
            time_line(axis, axis.lowest(retail[:, 0]), "cheapest retail contract", "$load", width=1, dash="dot", **form),
            time_line(axis, axis.highest(worth), "dearest contract less local fees", "$muted", width=1.2, dash="dash", **form),
            _steps(axis, axis.mean(data.mean_price_ct), "price between neighbours", "$traded", width=2.6, **form),
        ],
        "layout": time_layout("ct/kWh", yaxis={"rangemode": "tozero"}),
    }


def _loading(world: World, data: ReportData) -> tuple[Float64, Float64]:
    """Highest loading of the transformers and of the lines in each slot, percent."""
    is_transformer = data.network.branch_kind == TRANSFORMER
    percent = 100 * world.flow.loading
    return percent[:, is_transformer].max(axis=1, initial=0.0), percent[:, ~is_transformer].max(axis=1, initial=0.0)


def loading_figure(data: ReportData, axis: Axis) -> Figure:
    """Highest loading of transformer and lines over time in percent of the rating, in both worlds, with the limit."""
    form = {"hovertemplate": "%{y:.1f} %"}
    transformer, line = _loading(data.with_market, data)
    transformer0, line0 = _loading(data.without, data)
    top = max(104.0, 1.06 * float(max(c.max() for c in (transformer, line, transformer0, line0))))
    full: list[float | None] = [100.0] * len(axis.x)
    return {
        "data": [
            time_line(axis, axis.highest(transformer), "transformer", "$traded", **form),
            time_line(axis, axis.highest(line), "most loaded line", "$warm", **form),
            time_line(axis, axis.highest(transformer0), "transformer without the market", "$traded", width=1.3, dash="dot", **form),
            time_line(axis, axis.highest(line0), "line without the market", "$warm", width=1.3, dash="dot", **form),
            time_line(axis, full, "limit", "$limit", width=1.6, dash="dash", hoverinfo="skip"),
        ],
        "layout": time_layout("% of rating", yaxis={"range": [0, top]}),
    }


def voltage_figure(data: ReportData, axis: Axis) -> Figure:
    """Lowest and highest bus voltage over time in pu, in both worlds, between the limits; the root is not judged."""
    below = np.arange(data.network.buses) != data.network.root
    form = {"hovertemplate": "%{y:.4f} pu"}
    ends = [
        (world.flow.v_pu[:, below].min(axis=1), world.flow.v_pu[:, below].max(axis=1)) for world in (data.with_market, data.without)
    ]
    (low, high), (low0, high0) = ends
    bottom, top = float(data.network.v_min_pu[below].max()), float(data.network.v_max_pu[below].min())
    least, most = min(bottom, float(low.min()), float(low0.min())), max(top, float(high.max()), float(high0.max()))
    limit = {"width": 1.6, "dash": "dash", "hoverinfo": "skip"}
    return {
        "data": [
            time_line(axis, axis.lowest(low), "lowest bus", "$traded", **form),
            time_line(axis, axis.highest(high), "highest bus", "$warm", fill="tonexty", fillcolor="$band_fill", **form),
            time_line(axis, axis.lowest(low0), "lowest without the market", "$traded", width=1.3, dash="dot", **form),
            time_line(axis, axis.highest(high0), "highest without the market", "$warm", width=1.3, dash="dot", **form),
            time_line(axis, [bottom] * len(axis.x), "limits", "$limit", **limit),
            time_line(axis, [top] * len(axis.x), "limits", "$limit", showlegend=False, **limit),
        ],
        "layout": time_layout("pu", yaxis={"range": [least - 0.008, most + 0.008], "tickformat": ".2f"}),
    }


def gains_figure(data: ReportData, kinds: Sequence[str]) -> Figure:
    """Every member's gain in currency, sorted, coloured by kind."""
    gain = data.gain_nano / NANO
    order = np.argsort(-gain, kind="stable").tolist()
    rank = {member: place for place, member in enumerate(order)}
    traces = []
    names = [member.id for member in data.community.members]
    for index, kind in enumerate(dict.fromkeys(kinds)):
        mine = [m for m in order if kinds[m] == kind]
        texts = [
            f"<b>{names[m]}</b>, {kind.lower()}<br>bill {data.with_market.pays_nano[m] / NANO:,.2f} instead of "
            f"{data.without.pays_nano[m] / NANO:,.2f}<br>gain {gain[m]:,.3f} {data.terms.currency}"
            for m in mine
        ]
        traces.append(
            {
                "type": "bar",
                "x": [rank[m] + 1 for m in mine],
                "y": [round(float(gain[m]), 4) for m in mine],
                "name": kind,
                "text": texts,
                "hoverinfo": "text",
                "textposition": "none",
                "marker": {"color": f"$kind{index % 6}"},
            }
        )
    few = len(order) <= MOST_NAMED
    ticks = {"tickvals": [*range(1, len(order) + 1)], "ticktext": [names[m] for m in order], "tickangle": -60} if few else {}
    return {
        "data": traces,
        "layout": {
            "barmode": "overlay",
            "bargap": 0.15,
            "hovermode": "closest",
            "xaxis": {"title": {"text": "members, by gain"}, "range": [0.3, len(order) + 0.7], "showgrid": False} | ticks,
            "yaxis": {"title": {"text": f"gain, {data.terms.currency}"}},
        },
    }


def matrix_figure(data: ReportData, most: int = 14) -> Figure:
    """Who supplied whom, kWh: the largest sellers and buyers, all others together in the last row and column."""
    traded = data.traded_wh / 1e3
    sellers, seller_names = _largest(traded.sum(axis=1), data, most)
    buyers, buyer_names = _largest(traded.sum(axis=0), data, most)
    by_seller = np.array([traded[rows].sum(axis=0) for rows in sellers]) if sellers else np.zeros((0, traded.shape[1]))
    cells = np.array([[row[columns].sum() for columns in buyers] for row in by_seller])
    return {
        "data": [
            {
                "type": "heatmap",
                "x": buyer_names,
                "y": seller_names,
                "z": [[round(float(v), 2) if v > 0 else None for v in row] for row in cells],
                "colorscale": "$heat",
                "xgap": 1,
                "ygap": 1,
                "hovertemplate": "%{y} to %{x}<br><b>%{z:.2f} kWh</b><extra></extra>",
                "colorbar": {"title": {"text": "kWh"}, "thickness": 10, "outlinewidth": 0},
                "zmin": 0,
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": "buyer"}, "tickangle": -60, "type": "category", "showgrid": False},
            "yaxis": {"title": {"text": "seller"}, "autorange": "reversed", "type": "category", "showgrid": False},
            "hovermode": "closest",
        },
    }


def _largest(totals: Float64, data: ReportData, most: int) -> tuple[list[list[int]], list[str]]:
    """Groups of members: the `most` largest alone (all, where they are few more), the rest together."""
    order = [m for m in np.argsort(-totals, kind="stable").tolist() if totals[m] > 0]
    alone = order if len(order) <= most + 1 else order[:most]
    groups, names = [[m] for m in alone], [data.community.members[m].id for m in alone]
    if len(alone) < len(order):
        groups.append(order[most:])
        names.append(f"{len(order) - most} others")
    return groups, names
