"""Runs in which feed-in is taken back by a written order: limits kept, no more taken than needed, paid as said, audited."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from e2e.runs import add, forge, rural1_curtailed, with_wires
from walras.commands.limits import limits_command
from walras.commands.summary import summary_table
from walras.community import load_community
from walras.errors import AuditError, InputError, JournalError
from walras.exchange.audit import Audit
from walras.exchange.curtailment import recorded_wires
from walras.exchange.journal import read_public_record
from walras.exchange.phases import EventKind
from walras.exchange.statement import opened_terms, settled_slots
from walras.study.report import make_page
from walras.study.report_data import read_report
from walras.study.runner import PUBLIC
from walras.tariffs.bill import ACCOUNTS

ORDERS = {"pro_rata": 100, "last_in_first_out": 50, "cheapest": 100}
BY_DAY = ["pro_rata", "last_in_first_out", pytest.param("cheapest", marks=pytest.mark.nightly)]


@pytest.mark.parametrize("order", BY_DAY)
def test_the_limits_hold_and_no_more_is_taken_than_they_need(order: str) -> None:
    run = rural1_curtailed(order, ORDERS[order])
    report = Audit(run / PUBLIC).run()
    assert report.checked["slots within the limits of the wires"] == 24
    entries = read_public_record(run / PUBLIC)
    terms, _ = opened_terms(entries)
    hit = 0
    for s in settled_slots(terms, entries):
        loading = s.events[EventKind.DELIVERED].public["loading_ppm"][1]
        wires = recorded_wires(terms, s.slot, s.events)
        assert wires is not None
        assert loading <= 1_000_000
        if wires.curtailed_wh.any():
            hit += 1
            assert loading > 999_900
    assert hit >= 4


@pytest.mark.parametrize("order", BY_DAY)
def test_the_order_is_kept_and_the_grid_operator_pays_what_it_says(order: str) -> None:
    entries = read_public_record(rural1_curtailed(order, ORDERS[order]) / PUBLIC)
    terms, _ = opened_terms(entries)
    assert terms.wires is not None
    paid, years = 0, terms.wires.connected
    for s in settled_slots(terms, entries):
        wires = recorded_wires(terms, s.slot, s.events)
        assert wires is not None
        taken, fed = wires.curtailed_wh, np.maximum(-wires.intended.net_wh, 0)
        bills = s.accounts.bills
        pay = bills.nano[:, bills.items.index("curtailment")]
        paid -= int(pay.sum())
        assert (pay <= 0).all()
        assert not pay[taken == 0].any()
        network = int(bills.nano[:, [bills.items.index("network"), bills.items.index("local_network")]].sum())
        assert bills.received_nano[ACCOUNTS.index("grid_operator")] == network + int(pay.sum())
        if not taken.any():
            continue
        if order == "pro_rata":
            share = taken[fed > 1_000] / fed[fed > 1_000]
            assert np.ptp(share) < 0.005
        elif order == "last_in_first_out":
            assert years[(taken > 0) & (taken < fed)].size <= 1, "all of it from the newest, the last in part"
            assert years[taken > 0].min() >= years[(fed > 0) & (taken == 0)].max(initial=0)
        else:
            unsold = np.maximum(fed - wires.intended.sold_wh, 0)
            kept = np.flatnonzero((unsold > 0) & (taken <= 2))  # an exact optimum rounds away a Wh or two
            if kept.size:
                assert terms.feed_in_micro[taken > 2].max() <= 1.05 * terms.feed_in_micro[kept].min()
    assert paid > 0


def test_half_the_loss_is_half_the_payment() -> None:
    entries = read_public_record(rural1_curtailed("last_in_first_out", 50) / PUBLIC)
    terms, _ = opened_terms(entries)
    for s in settled_slots(terms, entries):
        wires = recorded_wires(terms, s.slot, s.events)
        assert wires is not None
        only = np.flatnonzero((wires.curtailed_wh > 0) & (wires.intended.sold_wh == 0))
        pay = s.accounts.bills.nano[:, s.accounts.bills.items.index("curtailment")]
        expected = -(wires.curtailed_wh * terms.feed_in_micro // 100 * 50)
        assert pay[only].tolist() == expected[only].tolist()


FORGERIES = {
    "a curtailment": ("curtailed", lambda p: add("filled_wh", 0, -50)(p["clearing"])),
    "a payment": ("curtailed", lambda p: add("pay_nano", 0, -(10**9))(p["clearing"])),
    "a limit said to be broken": (
        "curtailed",
        lambda p: p["clearing"]["certificate"].update(
            limit_kind=[1], limit_index=[0], limit_price_micro_per_hour=[0], limit_short_ppm=[500_000]
        ),
    ),
    "the order": ("run_opened", lambda p: p["wires"].update(order="cheapest")),
    "the share paid": ("run_opened", lambda p: p["wires"].update(paid_percent=0)),
    "a plant's year": ("run_opened", lambda p: p["wires"].update(connected=[2016 - y for y in p["wires"]["connected"]])),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_order_is_found_out(name: str, tmp_path: Path) -> None:
    kind, change = FORGERIES[name]
    with pytest.raises((AuditError, JournalError)):
        Audit(forge(rural1_curtailed("last_in_first_out", 50), tmp_path / "forged", kind, change, nth=12)).run()


def test_summary_report_and_limits_say_that_an_order_and_no_price_decided(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    run = rural1_curtailed("last_in_first_out", 50)
    summary_table(Console(soft_wrap=True, highlight=False), run)
    printed = capsys.readouterr().out
    assert "last in first out" in printed
    assert "50 % of what owners lose" in printed
    page = make_page(read_report(run))
    assert "What the wires cannot carry is taken back last in first out" in page
    assert "Node prices" not in page
    assert '<a href="#nodal">Curtailment</a>' in page
    with pytest.raises(InputError, match="so none has a price"):
        limits_command(run, None)


def test_what_needs_prices_is_refused_beside_an_order(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 faults") as caught:
        load_community(with_wires(tmp_path, 'limits = "curtailed"\nrelief = "batteries"\nreserve_up_kw = 2'))
    assert {fault.field for fault in caught.value.faults} == {"relief", "reserve_up_kw"}


@pytest.mark.parametrize("limits", ["nodal", "watched"])
def test_an_order_without_curtailment_is_refused(limits: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 faults") as caught:
        load_community(with_wires(tmp_path, f'limits = "{limits}"\ncurtailment = "cheapest"\ncurtailment_paid_percent = 90'))
    assert {fault.field for fault in caught.value.faults} == {"curtailment", "curtailment_paid_percent"}
