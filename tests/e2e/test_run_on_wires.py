"""A run in which the limits of the wires hold: no overload, whole accounts, an audit that finds every forgery of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from e2e.runs import EXAMPLES, add, forge, rural1_day, rural1_on_wires
from walras.commands.limits import limits_command
from walras.commands.summary import summary_table
from walras.errors import AuditError, InputError, JournalError
from walras.exchange.audit import Audit
from walras.exchange.curtailment import limits_broken, recorded_wires
from walras.exchange.journal import read_public_record
from walras.exchange.phases import EventKind
from walras.exchange.statement import check_statement, make_statement, opened_terms, settled_slots
from walras.exchange.wires import location_micro
from walras.study.report import make_page
from walras.study.report_data import read_report
from walras.study.report_headlines import headlines
from walras.study.runner import PUBLIC, Options, Run, open_journal
from walras.units import format_money


def overloads(run: Path) -> int:
    """Slots in which the metered flow breaks a limit."""
    return sum(bool(e.public["violations"]) for e in read_public_record(run / PUBLIC) if e.kind == EventKind.DELIVERED.value)


def test_the_overloads_of_the_day_are_gone_and_the_record_holds() -> None:
    assert overloads(rural1_day()) == 23
    assert overloads(rural1_on_wires()) == 0
    report = Audit(rural1_on_wires() / PUBLIC).run()
    assert report.checked["clearings on the wires"] == report.checked["slots within the limits of the wires"] == 96


def test_only_what_the_wires_cannot_carry_is_taken_back_and_from_those_who_lose_least_by_it() -> None:
    entries = read_public_record(rural1_on_wires() / PUBLIC)
    terms, _ = opened_terms(entries)
    for s in settled_slots(terms, entries):
        wires = recorded_wires(terms, s.slot, s.events)
        assert wires is not None
        loading = s.events[EventKind.DELIVERED].public["loading_ppm"][1]
        assert loading <= 1_000_000
        if not wires.curtailed_wh.any():
            continue
        assert loading > 999_000, "more was taken back than the transformer needed"
        fed, sold = np.maximum(-wires.intended.net_wh, 0), wires.intended.sold_wh
        rest = np.maximum(fed - sold, 0)
        hit = np.flatnonzero(wires.curtailed_wh)
        untouched = np.flatnonzero((rest > 0) & (wires.curtailed_wh == 0))
        # losses and voltage move what a kWh relieves by a few percent from bus to bus
        if untouched.size:
            assert terms.feed_in_micro[hit].max() <= 1.05 * terms.feed_in_micro[untouched].min()


def test_the_locational_charges_are_the_merchandising_surplus_and_go_back_to_the_last_nano() -> None:
    entries = read_public_record(rural1_on_wires() / PUBLIC)
    terms, _ = opened_terms(entries)
    assert terms.wires is not None
    for s in settled_slots(terms, entries):
        wires = recorded_wires(terms, s.slot, s.events)
        assert wires is not None
        nano = s.accounts.bills.nano
        located = location_micro(terms.wires.network, wires.clearing)[terms.wires.bus] * (s.import_wh - s.export_wh)
        assert nano[:, -2].tolist() == located.tolist()
        assert int(nano[:, -2:].sum()) == 0
        assert int(located.sum()) >= 0, "limits and losses cost, they do not earn"
        assert int(s.accounts.cash_nano.sum()) == 0


def test_statements_on_the_wires_check_against_the_public_record() -> None:
    entries = list(open_journal(rural1_on_wires()).entries())
    members = opened_terms(entries)[1]
    statement = make_statement(entries, next(iter(members)))
    assert check_statement(statement, read_public_record(rural1_on_wires() / PUBLIC)) >= 96


FORGERIES = {
    "a curtailment": ("curtailed", lambda p: add("filled_wh", 0, -5)(p["clearing"])),
    "a node's price": ("curtailed", lambda p: add("node_prices", 3, 500)(p["clearing"])),
    "a node's price and its split": (
        "curtailed",
        lambda p: (add("node_prices", 3, 500)(p["clearing"]), add("losses_micro_per_kwh", 3, 500)(p["clearing"]["certificate"])),
    ),
    "what a limit is worth": ("curtailed", lambda p: add("limit_price_micro_per_hour", 0, 9_000)(p["clearing"]["certificate"])),
    "losses": ("curtailed", lambda p: p["clearing"].update(losses_wh=p["clearing"]["losses_wh"] + 3)),
    "more intended than metered": ("curtailed", add("net_wh", 0, -4_000)),
    "a limit said to be broken": ("curtailed", lambda p: add("limit_short_ppm", 0, 400_000)(p["clearing"]["certificate"])),
    "a rating": ("run_opened", lambda p: p["wires"]["network"]["branch_rating"].__setitem__(0, (100.0).hex())),
    "a member's bus": ("run_opened", lambda p: add("bus", 0, 1)(p["wires"])),
    "no wires": ("run_opened", lambda p: p.pop("wires")),
    "who gets the rent": ("run_opened", lambda p: p["wires"].update(rent="grid_operator")),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_clearing_on_the_wires_is_found_out(name: str, tmp_path: Path) -> None:
    kind, change = FORGERIES[name]
    with pytest.raises((AuditError, JournalError)):
        Audit(forge(rural1_on_wires(), tmp_path / "forged", kind, change, nth=48)).run()


def test_a_slot_whose_wires_were_not_cleared_is_found_out(tmp_path: Path) -> None:
    from e2e.runs import rechain

    lines = (rural1_on_wires() / PUBLIC).read_bytes().splitlines()
    gone = next(i for i, line in enumerate(lines) if json.loads(line)["kind"] == "curtailed")
    kept = [json.loads(line) for line in lines[:gone] + lines[gone + 1 :]]
    for seq, record in enumerate(kept):
        record["seq"] = seq
    data, head = rechain([json.dumps(record).encode() for record in kept])
    (tmp_path / PUBLIC).write_bytes(data)
    (tmp_path / "HEAD").write_text(head + "\n")
    with pytest.raises(AuditError, match="the wires were not cleared"):
        Audit(tmp_path / PUBLIC).run()


KILLED = """
import os, signal, sys
from pathlib import Path
from walras.exchange.journal import Journal
from walras.study.runner import Options, Run

append = Journal.append
def deadly(self, kind, slot, public, private=None):
    entry = append(self, kind, slot, public, private)
    if kind == "curtailed" and public["clearing"]["certificate"]["limit_kind"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return entry
Journal.append = deadly
for _ in Run(Path(sys.argv[1]), Path(sys.argv[2]), Options(mechanism="nodal")):
    pass
"""


def test_a_run_killed_between_curtailment_and_delivery_ends_in_the_same_bytes(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", KILLED, str(EXAMPLES / "rural1.toml"), str(tmp_path / "out")]
    done = subprocess.run(arguments, check=False, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    for _ in Run(EXAMPLES / "rural1.toml", tmp_path / "out", Options(mechanism="nodal")):
        pass
    assert (tmp_path / "out" / "HEAD").read_bytes() == (rural1_on_wires() / "HEAD").read_bytes()


def test_limits_names_the_transformer_and_what_one_more_kva_was_worth(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    limits_command(rural1_on_wires(), tmp_path / "limits.json")
    printed = capsys.readouterr().out
    assert "transformer" in printed
    found = json.loads((tmp_path / "limits.json").read_text())
    assert found[0]["kind"] == "transformer"
    assert found[0]["worth_micro"] > 0
    assert found[0]["bound_hours"] > 0


def test_limits_of_a_run_that_only_watched_them_says_how_to_get_prices() -> None:
    with pytest.raises(InputError, match="--mechanism nodal"):
        limits_command(rural1_day(), None)


def test_the_report_shows_the_prices_at_the_nodes_and_their_parts() -> None:
    page = make_page(read_report(rural1_on_wires()))
    assert 'id="nodes"' in page
    assert 'id="split"' in page
    assert "The wires took back" in page
    assert "stays with the grid operator" not in page, "rent goes to the members"
    assert 'id="nodes"' not in make_page(read_report(rural1_day()))


def test_summary_and_report_say_which_gain_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    data = read_report(rural1_on_wires())
    found = headlines(data)
    same = format_money(found.same_gain_nano, "EUR")
    summary_table(Console(soft_wrap=True, highlight=False), rural1_on_wires())
    assert f"{same} on the same metered energy" in capsys.readouterr().out
    page = make_page(data)
    assert found.gain_nano < 0 < found.same_gain_nano, "the two differ, as feed-in was taken back"
    assert f"more may be fed in; on the same metered energy members gain {same}" in page
    assert "and where feed-in is taken back to keep the limits" in page
    plain = make_page(read_report(rural1_day()))
    assert "more may be fed in" not in plain
    assert "taken back" not in plain


def test_the_metered_flow_is_held_to_what_the_grid_above_allows_too() -> None:
    terms, _ = opened_terms(read_public_record(rural1_on_wires() / PUBLIC))
    assert terms.wires is not None
    fed = np.zeros(terms.members, dtype=np.int64)
    fed[0] = -5_000  # 20 kW for a quarter hour
    idle = np.zeros(terms.wires.network.buses, dtype=np.int64)
    assert limits_broken(terms, fed, idle) == []
    held = replace(terms, wires=replace(terms.wires, export_limit_w=15_000))
    (said,) = limits_broken(held, fed, idle)
    assert said.startswith("export limit exceeded by 4.")
    held = replace(terms, wires=replace(terms.wires, import_limit_w=15_000))
    (said,) = limits_broken(held, -fed, idle)
    assert said.startswith("import limit exceeded by 5.")
