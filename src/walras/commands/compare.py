"""`walras compare`: the same days under many mechanisms, as a table, JSON and a picture."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from rich.console import Console
from rich.table import Table

from walras.commands.terminal import say, screen
from walras.community import load_community, with_period
from walras.errors import ClearingError, Fault, InputError
from walras.exchange.terms import Terms
from walras.market.mechanism import Mechanism
from walras.study.comparison import Outcome, chosen, compare_days
from walras.study.meters import run_seed
from walras.study.runner import ledger_keys, make_terms
from walras.units import format_energy, format_money, format_price


def compare_command(community: Path, mechanisms: str, *, days: int | None, start: date | None, lies: int, out: Path | None) -> None:
    """Compare, print, and write the page where asked."""
    console = screen()
    wanted = _wanted(mechanisms, lies)
    given = with_period(load_community(community), start=start, days=days)
    given = replace(given, market=replace(given.market, strategy="truthful"))

    def terms_of(c: object, trading: object) -> Terms:
        return make_terms(c, trading, ledger_keys(run_seed(given)))  # type: ignore[arg-type]

    status = Console(stderr=True)
    with status.status("comparing") as spinner:
        outcomes = compare_days(given, terms_of, wanted, lies_in=lies, progress=lambda what: spinner.update(f"comparing: {what}"))
    say(
        console,
        f"{given.name}, {given.slots.stop - given.slots.start} slots: the same truthful books under {len(outcomes)} mechanisms",
    )
    for table in _tables(outcomes, given.currency, console.width):
        console.print(table)
        console.print()
    for line in NOTES:
        say(console, line)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        _figure(outcomes).write_html(out, include_plotlyjs=True, full_html=True)
        out.with_suffix(".json").write_text(json.dumps([_row(o) for o in outcomes], indent=1) + "\n", encoding="utf-8")
        say(console, f"picture: {out}; figures: {out.with_suffix('.json')}")


def _wanted(mechanisms: str, lies: int) -> list[Mechanism]:
    """The mechanisms named; InputError with every fault of the two options."""
    faults = []
    try:
        wanted = chosen(mechanisms)
    except ClearingError as error:
        wanted, expected = [], error.way_out
    else:
        expected = "names of mechanisms with commas between, or all"
    if not wanted:
        faults.append(Fault("command line", "--mechanisms", mechanisms, expected))
    if lies < 0:
        faults.append(Fault("command line", "--lies", lies, "0 or more"))
    if faults:
        raise InputError("walras compare", faults)
    return wanted


def _row(outcome: Outcome) -> dict[str, object]:
    return {**outcome.score.as_row(), **{k: v for k, v in asdict(outcome).items() if k != "score"}}


NOTES = (
    "largest lie: the most that anybody gains by the best misreport found (price, quantity, withholding)",
    "false names: the same by splitting an order over several identities; credentials are the answer to that",
)
WIDE = 190
"""So many columns take the whole table side by side; below, it is printed in parts, each beginning with the mechanism."""
PARTS = (
    ("welfare", "volume", "mean price", "spread", "operator"),
    ("buyers gain", "sellers gain", "Gini", "largest lie", "false names"),
    ("ms/book", "members pay", "over limits", "taken back"),
)


def _tables(outcomes: list[Outcome], currency: str, width: int) -> list[Table]:
    """One table, or as many as it takes to stay within `width`."""
    columns = _columns(outcomes, currency)
    parts = [tuple(name for part in PARTS for name in part)] if width >= WIDE else PARTS
    tables = []
    for part in parts:
        table = Table(box=None, pad_edge=False)
        for head in ("mechanism", *part):
            table.add_column(head, justify="left" if head == "mechanism" else "right", no_wrap=True)
        for row in zip(*(columns[head] for head in ("mechanism", *part)), strict=True):
            table.add_row(*row)
        tables.append(table)
    return tables


def _columns(outcomes: list[Outcome], currency: str) -> dict[str, list[str]]:
    """Head to cells, the largest welfare first."""
    columns: dict[str, list[str]] = {}
    for o in sorted(outcomes, key=lambda o: -o.score.efficiency):
        s = o.score
        row = {
            "mechanism": s.mechanism,
            "welfare": f"{100 * s.efficiency:.1f} %",
            "volume": format_energy(s.volume_wh, 1),
            "mean price": "" if s.price_mean is None else format_price(round(s.price_mean)),
            "spread": "" if s.price_deviation is None else format_price(round(s.price_deviation)),
            "operator": format_money(s.surplus_nano, currency),
            "buyers gain": format_money(s.buyer_gain_nano, currency),
            "sellers gain": format_money(s.seller_gain_nano, currency),
            "Gini": f"{s.gini:.2f}",
            "largest lie": "" if s.largest_lie_nano is None else format_money(s.largest_lie_nano, currency, 4),
            "false names": "" if s.largest_false_name_nano is None else format_money(s.largest_false_name_nano, currency, 4),
            "ms/book": f"{1e3 * s.seconds / max(s.books, 1):.2f}",
            "members pay": format_money(o.members_pay_nano, currency),
            "over limits": str(o.broken),
            "taken back": format_energy(o.curtailed_wh, 1) if o.curtailed_wh else "",
        }
        for head, cell in row.items():
            columns.setdefault(head, []).append(cell)
    return columns


def _figure(outcomes: list[Outcome]) -> go.Figure:
    ranked = sorted(outcomes, key=lambda o: o.score.efficiency)
    names = [o.score.mechanism for o in ranked]
    titles = ("Welfare, % of the optimum", "Volume, kWh", "Gains: buyers, sellers, operator", "Largest gain from a lie")
    figure = make_subplots(rows=2, cols=2, subplot_titles=titles, horizontal_spacing=0.16, vertical_spacing=0.12)
    colour = "#2f6f8f"
    figure.add_bar(y=names, x=[100 * o.score.efficiency for o in ranked], orientation="h", marker_color=colour, row=1, col=1)
    figure.add_bar(y=names, x=[o.score.volume_wh / 1e3 for o in ranked], orientation="h", marker_color=colour, row=1, col=2)
    for label, shade, values in (
        ("buyers", "#2f6f8f", [o.score.buyer_gain_nano / 1e9 for o in ranked]),
        ("sellers", "#d98032", [o.score.seller_gain_nano / 1e9 for o in ranked]),
        ("operator", "#8a8f98", [o.score.surplus_nano / 1e9 for o in ranked]),
    ):
        figure.add_bar(y=names, x=values, orientation="h", name=label, marker_color=shade, row=2, col=1, showlegend=True)
    lies = [(o.score.largest_lie_nano or 0) / 1e9 for o in ranked]
    figure.add_bar(y=names, x=lies, orientation="h", marker_color="#b3413f", row=2, col=2)
    figure.update_traces(showlegend=False, selector={"name": None})
    figure.update_layout(
        title="The same neighbourhood under many market rules",
        barmode="relative",
        height=max(700, 60 + 40 * len(names)),
        template="plotly_white",
        legend={"orientation": "h", "y": -0.05},
    )
    return figure
