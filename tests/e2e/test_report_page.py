"""`walras report`: one file that needs nothing else, says what the record says, and reads on a desk and on a phone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from chromium import chromium_tab
from e2e.runs import rural1_day
from walras.errors import InputError
from walras.exchange.journal import read_public_record
from walras.exchange.phases import EventKind
from walras.exchange.statement import make_statement, opened_terms, settled_slots
from walras.ledger.costs import CostTerms, settlement_costs
from walras.study.report import SECTIONS, make_page, write_report
from walras.study.report_costs import chain_costs
from walras.study.report_data import ReportData, read_report
from walras.study.report_headlines import headlines
from walras.study.runner import PUBLIC, open_journal
from walras.units import format_energy, format_money

FETCHING = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("use", "href")}


@cache
def page() -> Path:
    """The page of a day of rural1."""
    out = Path(mkdtemp(prefix="walras-test-")) / "report.html"
    write_report(rural1_day(), out)
    return out


@cache
def data() -> ReportData:
    return read_report(rural1_day())


class Seen(HTMLParser):
    """What a page refers to, its ids, its text, and what its scripts and styles hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.styles = ""
        self.words = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        for name, value in attrs:
            if (tag, name) in FETCHING and value is not None and not value.startswith("data:"):
                self.fetched.append(f"{tag} {name}={value}")
            if name == "id" and value:
                self.ids.append(value)
            if tag == "a" and name == "href" and value:
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.styles += data
        elif self._inside != "script":
            self.words += data


@cache
def seen() -> Seen:
    return Seen(page().read_text(encoding="utf-8"))


def test_the_page_asks_for_nothing_from_outside() -> None:
    assert seen().fetched == []
    assert "url(" not in seen().styles
    assert "@import" not in seen().styles
    assert "default-src 'none'" in page().read_text(encoding="utf-8")[:2_000]


def test_every_section_is_there_and_every_link_inside_leads_somewhere() -> None:
    shown = [name for name, _ in SECTIONS if name != "nodal"]  # the limits of this run are only watched
    assert set(shown) <= set(seen().ids)
    assert len(seen().ids) == len(set(seen().ids))
    inside = [link[1:] for link in seen().links if link.startswith("#")]
    assert inside == shown


def test_the_page_is_small_enough_to_mail() -> None:
    text = page().read_text(encoding="utf-8")
    assert len(text.encode()) < 8_000_000
    assert text.count("plotly.js v") <= 1 or len(re.findall(r"\* plotly\.js v", text)) == 1


def test_the_headlines_are_those_of_the_public_record() -> None:
    entries = read_public_record(rural1_day() / PUBLIC)
    terms, _ = opened_terms(entries)
    traded = imported = exported = broken = gas = pays = same = 0
    for s in settled_slots(terms, entries):
        traded += int(s.accounts.settled.bought_wh.sum())
        imported += int(s.import_wh.sum())
        exported += int(s.export_wh.sum())
        broken += len(s.events[EventKind.DELIVERED].public["violations"])
        gas += s.events[EventKind.SETTLED].public["gas"]
        pays += int(s.accounts.bills.total_nano.sum())
        same += int(s.alone.total_nano.sum())
    h = headlines(data())
    assert (h.traded_wh, h.import_wh, h.export_wh, h.broken) == (traded, imported, exported, broken)
    assert h.same_gain_nano == same - pays
    assert int(data().with_market.pays_nano.sum()) == pays
    assert sum(data().trust.gas) == gas
    assert data().trust.head == entries[-1].hash
    for shown in (format_energy(traded, 1), entries[-1].hash, f"{gas:,}", format_money(same - pays)):
        assert shown in seen().words


def test_a_members_line_is_its_bill() -> None:
    entries = list(open_journal(rural1_day()).entries())
    for row in (0, 9):
        statement = make_statement(entries, data().community.members[row].id)
        assert int(data().with_market.pays_nano[row]) == statement.total_nano
        assert int(data().same_nano[row]) == statement.alone_nano
        assert int(data().bought_wh[:, row].sum()) == statement.energy_wh["bought_wh"]
        assert int(data().traded_wh[row].sum()) == statement.energy_wh["sold_wh"]


def test_both_worlds_sum_to_exactly_zero() -> None:
    h = headlines(data())
    assert (h.balance_nano, h.balance_without_nano) == (0, 0)
    assert "All balances sum to zero" in seen().words


def test_the_wires_are_solved_as_in_the_run() -> None:
    entries = [e for e in read_public_record(rural1_day() / PUBLIC) if e.kind == EventKind.DELIVERED.value]
    loading = np.array([e.public["loading_ppm"][1] for e in entries]) / 1e6
    lowest = np.array([e.public["v_min_ppm"][1] for e in entries]) / 1e6
    flow = data().with_market.flow
    np.testing.assert_allclose(flow.loading.max(axis=1), loading, atol=1e-6)
    np.testing.assert_allclose(flow.v_pu.min(axis=1), lowest, atol=1e-6)


def test_without_the_market_a_member_without_battery_uses_the_same_energy() -> None:
    plain = np.array([member.battery is None for member in data().community.members])
    assert plain.any()
    assert not plain.all()
    assert (data().with_market.net_wh[:, plain] == data().without.net_wh[:, plain]).all()
    assert (data().gain_nano[plain] == data().same_nano[plain] - data().with_market.pays_nano[plain]).all()


def test_every_figure_has_a_unit_and_no_colour_of_its_own() -> None:
    text = page().read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    figures: dict[str, Any] = json.loads(found[1])
    for name, figure in figures.items():
        if name != "map":
            assert figure["layout"]["yaxis"]["title"]["text"], name
        for trace in figure["data"]:
            if "line" in trace:
                assert trace["line"]["color"].startswith("$"), name


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run here[\s\S]*community.sealed[\s\S]*journal.sqlite"):
        write_report(tmp_path, tmp_path / "report.html")


def test_names_are_escaped() -> None:
    named = replace(data(), terms=replace(data().terms, name="<img src=x onerror=alert(1)>"))
    written = make_page(named)
    assert "<img src=x" not in written
    assert "&lt;img src=x" in written


LAYOUT = """(() => {
  const wide = document.documentElement.clientWidth;
  const drawn = [...document.querySelectorAll(".plot")];
  const cut = drawn.filter(p => { const s = p.querySelector("svg.main-svg");
    return !s || s.getBoundingClientRect().right > wide + 1; });
  const cards = [...document.querySelectorAll(".card, figure")].filter(c => c.scrollWidth > c.clientWidth + 1);
  return { wide, scroll: document.documentElement.scrollWidth, plots: drawn.length, cut: cut.map(p => p.id), cards: cards.length };
})()"""


@pytest.mark.parametrize(("width", "height", "dark"), [(1280, 900, False), (390, 844, True)])
def test_a_browser_draws_the_page_without_error_and_nothing_sticks_out(width: int, height: int, dark: bool) -> None:
    with chromium_tab() as tab:
        tab.open(page(), width, height, dark=dark)
        layout = tab.evaluate(LAYOUT)
        before = tab.evaluate("document.getElementById('book-time').textContent")
        tab.evaluate("document.getElementById('book-before').click()")
        after = tab.evaluate("document.getElementById('book-time').textContent")
        tab.evaluate(
            "(s => { s.value = 'home-1'; s.dispatchEvent(new Event('input')); })(document.getElementById('member-search'))"
        )
        rows = tab.evaluate("[...document.querySelectorAll('#member-table tbody tr')].filter(r => !r.hidden).length")
        assert tab.log == []
        assert [url for url in tab.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert layout["wide"] == width
    assert layout["scroll"] == width
    assert (layout["plots"], layout["cut"], layout["cards"]) == (8, [], 0)
    assert before != after
    assert rows == 1


def test_what_the_chain_costs_is_the_receipts_at_the_price_given_and_batches_beside_it() -> None:
    terms = CostTerms(wei_per_gas=2 * 10**9, coin_nano=1_000 * 10**9, batch_slots=48)
    section = chain_costs(data(), terms)
    gas = data().trust.gas
    direct, batched = settlement_costs(data().trust.positions.slots(len(gas)), terms, gas)
    for cost in (direct, batched):
        assert f"{cost.gas:,}" in section
        assert format_money(cost.nano, data().terms.currency, 2) in section
    assert direct.gas == sum(gas)
    assert batched.transactions == 2
    assert "2 gwei" in section
    assert direct.gas > 5 * batched.gas
