"""`walras report`: one HTML file that holds everything it shows.

The rule: the page asks for nothing from outside. Plotly comes from its wheel, once, inline; style, script and data are inline, and
the page's own content security policy forbids any other source, so it reads the same from a mail, a stick or a server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs

from walras import __version__
from walras.community.model import Community
from walras.exchange.owners_file import write_owners_file
from walras.ledger.costs import ASSUMED, CostTerms
from walras.study import report_figures as figures
from walras.study import report_people as people
from walras.study import report_sections as sections
from walras.study import report_wires as nodal
from walras.study.feeder_map import feeder_map, known_positions
from walras.study.report_books import books_json, chosen_books
from walras.study.report_costs import chain_costs
from walras.study.report_data import ReportData, read_report
from walras.study.report_headlines import headlines, kind_of
from walras.study.report_html import when
from walras.study.runner import OpenRun

PARTS = Path(__file__).parent / "report_page"
SECTIONS = (
    ("summary", "Summary"),
    ("day", "Energy and price"),
    ("book", "Supply and demand"),
    ("trades", "Who supplied whom"),
    ("wires", "Wires"),
    ("nodal", "Node prices"),
    ("members", "Members"),
    ("money", "Money"),
    ("trust", "Trust"),
    ("chain", "Chain cost"),
    ("method", "Method"),
)


def write_report(
    run: Path,
    page: Path,
    costs: CostTerms = ASSUMED,
    named: Collection[int] | None = None,
    opened: OpenRun | None = None,
) -> None:
    """Write the page of the run in folder `run` to `page`; JournalError where there is no run, or nothing settled yet.

    `named` are the accounts that it may call by their member's id (None: all); the others are called by their number.
    """
    data = read_report(run, opened)
    if named is not None:
        data = replace(data, community=without_names(data.community, named))
    write_owners_file(page, make_page(data, costs))


def without_names(community: Community, named: Collection[int]) -> Community:
    """The community with account numbers in place of the ids of all members but `named`."""
    members = tuple(m if row in named else replace(m, id=f"account-{row}") for row, m in enumerate(community.members))
    return replace(community, members=members)


def make_page(data: ReportData, costs: CostTerms = ASSUMED) -> str:
    """The page as text: a pure function of the data and of what gas is taken to cost."""
    template = (PARTS / "page.html").read_text(encoding="utf-8")
    books, which = chosen_books(data.books, data.terms.grid)
    values = {
        "title": escape(f"{data.terms.name}, {when(data)}"),
        "version": __version__,
        "style": (PARTS / "style.css").read_text(encoding="utf-8"),
        "script": (PARTS / "page.js").read_text(encoding="utf-8"),
        "plotly": get_plotlyjs(),
        "figures": as_json(_figures(data)),
        "books": as_json(books_json(books, data.terms.grid)),
        "body": _body(data, costs, which, [book.volume_wh for book in books]),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def as_json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _figures(data: ReportData) -> dict[str, Any]:
    axis = figures.make_axis(data)
    kinds = [kind_of(member) for member in data.community.members]
    made = {
        "energy": figures.energy_figure(data, axis),
        "price": figures.price_figure(data, axis),
        "loading": figures.loading_figure(data, axis),
        "voltage": figures.voltage_figure(data, axis),
        "gains": figures.gains_figure(data, kinds),
        "map": _map(data),
    }
    if data.wires and nodal.priced(data):
        made |= {"nodes": nodal.price_map(data), "split": nodal.split_figure(data, axis)}
    if data.traded_wh.any():
        made["matrix"] = figures.matrix_figure(data)
    return made


def _map(data: ReportData) -> dict[str, Any]:
    flow = data.with_market.flow
    slot = np.argmax(np.abs(flow.v_pu - 1), axis=0)
    extreme = flow.v_pu[slot, np.arange(data.network.buses)]
    at: list[list[str]] = [[] for _ in range(data.network.buses)]
    for member, bus in zip(data.community.members, data.bus.tolist(), strict=True):
        at[bus].append(escape(member.id))
    notes = [", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "") for names in at]
    return feeder_map(data.network, flow.loading.max(axis=0, initial=0.0), extreme, notes, known_positions(data.network))


def _body(data: ReportData, costs: CostTerms, which: str, volumes: list[int]) -> str:
    h = headlines(data)
    shown = [pair for pair in SECTIONS if pair[0] != "nodal" or data.wires]
    by_order = {} if not data.wires or nodal.priced(data) else {"nodal": "Curtailment"}
    links = "".join(f'<li><a href="#{name}">{by_order.get(name, title)}</a></li>' for name, title in shown)
    parts = [
        sections.head(data, h),
        f'<nav aria-label="sections"><ul>{links}</ul></nav><main>',
        sections.day(data, h, figures.make_axis(data).minutes),
        sections.book(data, which, len(volumes), int(np.argmax(volumes))),
        sections.trades(data),
        sections.wires(data, h),
        *([nodal.section(data)] if data.wires else []),
        people.members(data, h),
        people.money_section(data, h),
        people.trust(data),
        chain_costs(data, costs),
        people.method(data),
        f"</main><footer>Made by walras {__version__} from the run's journal.</footer>",
    ]
    return "\n".join(parts)
