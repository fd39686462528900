"""A run whose community caps carbon and requires reserve, with batteries that offer relief: billed, audited, forged in vain."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from e2e.runs import add, forge, rural1_required, with_wires
from walras.commands.limits import limits_command
from walras.commands.summary import summary_table
from walras.community import load_community
from walras.errors import AuditError, InputError, JournalError
from walras.exchange.audit import Audit
from walras.exchange.curtailment import WiresSlot, recorded_wires, reserve_nano
from walras.exchange.journal import read_public_record
from walras.exchange.statement import SettledSlot, opened_terms, settled_slots
from walras.exchange.terms import Terms
from walras.grid import LIMIT_NAMES
from walras.grid.nodal_check import PARTS
from walras.grid.rows import EMISSIONS_CAP, RESERVE_DOWN, RESERVE_UP
from walras.grid.shadow import LimitWorth
from walras.study.report import make_page
from walras.study.report_data import read_report
from walras.study.required import required_lines
from walras.study.runner import PUBLIC
from walras.units import format_money


def slots() -> list[tuple[Terms, SettledSlot, WiresSlot]]:
    entries = read_public_record(rural1_required() / PUBLIC)
    terms, _ = opened_terms(entries)
    found = [(terms, s, recorded_wires(terms, s.slot, s.events)) for s in settled_slots(terms, entries)]
    return [(terms, s, wires) for terms, s, wires in found if wires is not None]


def test_the_audit_holds_and_counts_every_clearing() -> None:
    report = Audit(rural1_required() / PUBLIC).run()
    assert report.checked["clearings on the wires"] == report.checked["slots within the limits of the wires"] == 24


def test_the_cap_is_kept_where_batteries_can_and_said_to_be_broken_where_nobody_can() -> None:
    kept, broken = 0, 0
    for terms, s, wires in slots():
        evidence = wires.clearing.certificate
        kinds, short = np.asarray(evidence["limit_kind"]), np.asarray(evidence["limit_short_ppm"])
        emitted_g = int(np.asarray(evidence["emitted_mg"])) / 1e3
        missing = int(short[kinds == EMISSIONS_CAP].sum())
        cap_g = 500 * terms.grid.hours
        assert emitted_g <= cap_g + 1e-3 * missing * terms.grid.hours + 1
        if missing:
            broken += 1
        elif int(np.asarray(evidence["carbon_price_micro_per_kg"])) > 0:
            assert emitted_g > cap_g - 5, "carbon has a price only where the cap binds"
            kept += int(wires.moved_wh.sum()) < 0  # batteries give so that less is imported
        bought = int((s.import_wh - s.export_wh).sum())
        assert emitted_g >= 0.5 * bought - 1, "half a gram a Wh, losses on top"
    assert kept >= 3
    assert broken >= 3


def test_prices_are_split_into_all_six_parts_and_add_up() -> None:
    seen = dict.fromkeys(PARTS, 0)
    for _, _, wires in slots():
        evidence = wires.clearing.certificate
        total = sum(np.asarray(evidence[f"{part}_micro_per_kwh"]) for part in PARTS)
        assert (total == wires.clearing.node_price_micro_per_kwh).all()
        for part in PARTS:
            seen[part] += bool(np.asarray(evidence[f"{part}_micro_per_kwh"]).any())
    assert all(seen[part] for part in ("energy", "losses", "congestion", "emissions"))


def test_who_holds_reserve_is_paid_for_it_and_the_wires_keep_nothing() -> None:
    paid = 0
    for terms, s, wires in slots():
        bills = s.accounts.bills
        reserve, located, returned = (bills.nano[:, bills.items.index(n)] for n in ("reserve", "locational", "rent_returned"))
        assert reserve.tolist() == (-reserve_nano(terms, wires)).tolist()
        assert (reserve <= 0).all()
        assert int((reserve + located + returned).sum()) == 0
        kinds, price = (np.asarray(wires.clearing.certificate[n]) for n in ("limit_kind", "limit_price_micro_per_hour"))
        short = np.asarray(wires.clearing.certificate["limit_short_ppm"])
        up, down = (int(price[kinds == kind].sum()) for kind in (RESERVE_UP, RESERVE_DOWN))
        if up + down and not short[kinds >= RESERVE_UP].any():
            assert -int(reserve.sum()) == pytest.approx((5_000 * up + 15_000 * down) * terms.grid.hours, rel=0.01)
            paid += 1
    assert paid >= 2


def test_nobody_is_billed_more_for_a_place_than_the_scarcity_price() -> None:
    reached = 0
    for _, s, _ in slots():
        bills, net = s.accounts.bills, s.import_wh - s.export_wh
        located = bills.nano[:, bills.items.index("locational")]
        assert (np.abs(located) <= 1_000_000 * np.abs(net)).all()
        reached += bool(((np.abs(located) == 1_000_000 * np.abs(net)) & (net != 0)).any())
    assert reached, "a cap that cannot be kept is billed at the scarcity price"


FORGERIES = {
    "a battery called for more": ("curtailed", lambda p: add("filled_wh", -3, 400)(p["clearing"])),
    "an offer of a battery": ("curtailed", lambda p: add("wh", 0, -900)(p["relief"])),
    "the price of an offer": ("curtailed", lambda p: add("price_micro", 0, -90_000)(p["relief"])),
    "the price of carbon": ("curtailed", lambda p: p["clearing"]["certificate"].update(carbon_price_micro_per_kg=7)),
    "what was emitted": ("curtailed", lambda p: p["clearing"]["certificate"].update(emitted_mg=1_000)),
    "the price of reserve": ("curtailed", lambda p: p["clearing"]["certificate"].update(reserve_up_price_micro_per_kwh=9_000_000)),
    "the cap": ("run_opened", lambda p: p["wires"]["required"].update(cap_g_per_hour=700)),
    "the intensity of the grid": ("run_opened", lambda p: p["wires"]["required"].update(grid_g_per_kwh=400)),
    "the reserve required": ("run_opened", lambda p: p["wires"]["required"].update(reserve_up_w=30_000)),
    "no relief": ("run_opened", lambda p: p["wires"].pop("relief")),
    "the scarcity price": ("run_opened", lambda p: p["wires"].update(scarcity_micro=2_000_000)),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_requirement_is_found_out(name: str, tmp_path: Path) -> None:
    kind, change = FORGERIES[name]
    with pytest.raises((AuditError, JournalError)):
        Audit(forge(rural1_required(), tmp_path / "forged", kind, change, nth=1)).run()


def test_limits_says_what_a_tonne_was_worth_within_80_columns(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    limits_command(rural1_required(), tmp_path / "limits.json")
    printed = capsys.readouterr().out
    assert "one more tonne of CO2: was worth" in printed
    found = json.loads((tmp_path / "limits.json").read_text())
    kinds = {row["kind"] for row in found}
    assert {"emissions", "reserve up", "transformer"} <= kinds
    assert max(len(line.rstrip()) for line in printed.splitlines() if str(tmp_path) not in line) <= 80


def test_the_summary_says_who_pays_for_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    summary_table(Console(soft_wrap=True, highlight=False), rural1_required())
    printed = capsys.readouterr().out
    for words in ("bad places pay more", "good places get", "most taken back", "one more tonne of CO2"):
        assert words in printed


def test_the_report_says_what_was_required() -> None:
    page = make_page(read_report(rural1_required()))
    assert "t of CO2 with the import, under a cap of 0.5 kg of CO2 an hour" in page
    assert "5 kW up and 15 kW down" in page


def test_summary_and_report_say_that_what_does_not_go_back_is_paid_for_reserve(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    sums = dict.fromkeys(("locational", "rent_returned", "reserve"), 0)
    for _, s, _ in slots():
        for name in sums:
            sums[name] += int(s.accounts.bills.nano[:, s.accounts.bills.items.index(name)].sum())
    held = format_money(-sums["reserve"], "EUR")
    assert sum(sums.values()) == 0
    summary_table(Console(soft_wrap=True, highlight=False), rural1_required())
    assert f"{held} to them for reserve" in capsys.readouterr().out
    page = make_page(read_report(rural1_required()))
    assert f"; {held} to those who held reserve." in page
    assert "stays with the grid operator" not in page


def test_hours_without_reserve_are_said_for_each_direction_and_are_not_added_up() -> None:
    def short(kind: int, hours: float) -> LimitWorth:
        return LimitWorth(LIMIT_NAMES[kind], "", "kW", 0.0, hours, 0, 0)

    wires = slots()[0][0].wires
    assert wires is not None
    worths = [short(RESERVE_UP, 4.0), short(RESERVE_DOWN, 3.5)]
    found = required_lines(wires, [slot for _, _, slot in slots()], worths, "EUR")
    assert found[-1].endswith("out of what members offer; up not held in 4 hours; down not held in 3.5 hours")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ("grid_g_per_kwh = 500", "grid_g_per_kwh"),
        ("emission_cap_kg_per_hour = 1", "grid_g_per_kwh"),
        ("emission_cap_kg_per_hour = -1\ngrid_g_per_kwh = 500", "emission_cap_kg_per_hour"),
        ("emission_cap_kg_per_hour = 1\ngrid_g_per_kwh = 500.5", "grid_g_per_kwh"),
        ("reserve_up_kw = -2", "reserve_up_kw"),
        ('relief = "all"', "relief"),
        ("scarcity_ct_per_kwh = -1", "scarcity_ct_per_kwh"),
    ],
)
def test_a_requirement_that_makes_no_sense_is_named_with_its_line(fields: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"line 3\d, wires: {named}|line \d+, wires: {named}|wires: {named}"):
        load_community(with_wires(tmp_path, fields))
