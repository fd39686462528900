"""Small pieces of HTML that the sections of a report are made of: pictures, tables, numbers for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from walras.study.report_data import ReportData
from walras.units import format_money


def figure(name: str, title: str, caption: str = "", shape: str = "") -> str:
    """A figure with its finding as title; the script draws into the element `name`."""
    words = f"<figcaption>{caption}</figcaption>" if caption else ""
    label = f'<div class="plot {shape}" id="{name}" role="img" aria-label="{escape(title, quote=True)}"></div>'
    return f"<figure><h3>{title}</h3>{label}{words}</figure>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, last_is_sum: bool = False, words: bool = False) -> str:
    """A plain table; cells are HTML already. With `words` they wrap."""
    lines = []
    for number, row in enumerate(rows):
        mark = ' class="sum"' if last_is_sum and number == len(rows) - 1 else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>")
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    kind = ' class="facts-table"' if words else ""
    whole = f"<table{kind}><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return scrolled(whole, f"table by {head[0]}")


def scrolled(inside: str, label: str, shape: str = "") -> str:
    """What may be wider than a phone, in a box that scrolls, by keys too."""
    kind = f"scroll {shape}".rstrip()
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{escape(label, quote=True)}">{inside}</div>'


def linked(text: str) -> str:
    """Escaped text with its addresses as links.

    >>> linked("SimBench, https://simbench.de.")
    'SimBench, <a href="https://simbench.de">https://simbench.de</a>.'
    """
    return re.sub(
        r"https?://[^\s,;<>\"]*[^\s,;<>\".]", lambda found: f'<a href="{found[0]}">{found[0]}</a>', escape(text, quote=False)
    )


def percent(share: float | None) -> str:
    """A share for people."""
    return "–" if share is None else f"{100 * share:.1f}\u00a0%"


def when(data: ReportData) -> str:
    """The days of the run in words."""
    grid = data.terms.grid
    first, last = grid.local(int(data.slots[0])), grid.local(int(data.slots[-1]))
    if first.date() == last.date():
        return f"{first.day} {first:%B %Y}"
    return f"{first.day} {first:%B %Y} to {last.day} {last:%B %Y}"


def money(nano: int, data: ReportData, places: int = 2) -> str:
    """Money with a typographic minus."""
    return format_money(nano, data.terms.currency, places).replace("-", "−")


def amount(nano: int, places: int = 3, plus: str = "") -> str:
    """Money without its currency; zero without decimals where all nine are asked for."""
    if nano == 0 and places == 9:
        return "0"
    return (plus if nano > 0 else "") + format_money(nano, "", places).strip().replace("-", "−")
