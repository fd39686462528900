"""A run whose members pay for capacity and losses: every nano follows from the public record, and a forged one is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2e.runs import EXAMPLES, add, forge, rural1_charged, with_charges
from walras.commands.bill import TITLES
from walras.community import load_community, with_period
from walras.errors import AuditError, InputError, JournalError
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.exchange.phases import EventKind
from walras.exchange.statement import check_statement, make_statement, opened_terms, settled_slots
from walras.exchange.terms import terms_from_public, terms_to_public
from walras.grid import power_flow
from walras.study.meters import run_seed
from walras.study.replay import replay
from walras.study.report import make_page
from walras.study.report_data import read_report
from walras.study.runner import PUBLIC, ledger_keys, make_terms, open_journal
from walras.study.trading import Trading
from walras.tariffs.bill import ACCOUNTS

ITEMS = ("capacity", "capacity_excess", "network_losses")


def test_the_audit_computes_every_charge_again() -> None:
    report = Audit(rural1_charged() / PUBLIC).run()
    assert report.slots == 24
    assert report.checked["corrections computed again, and on the chain"] > 0


def test_losses_cost_what_the_flow_loses_and_capacity_what_is_subscribed() -> None:
    entries = read_public_record(rural1_charged() / PUBLIC)
    terms, _ = opened_terms(entries)
    assert terms.charges is not None
    network, bus = terms.charges.network, terms.charges.bus
    assert network is not None
    assert bus is not None
    day = np.zeros(terms.members, dtype=np.int64)
    credited = 0
    for s in settled_slots(terms, entries):
        bills, net = s.accounts.bills, s.import_wh - s.export_wh
        capacity, excess, losses = (bills.nano[:, bills.items.index(name)] for name in ITEMS)
        day += capacity
        assert excess.tolist() == (np.maximum(net - 3_000, 0) * 300_000).tolist()
        p = np.bincount(bus, weights=net / 1e3, minlength=network.buses)
        q = np.array(s.events[EventKind.DELIVERED].public["reactive_var"]) / 1e3
        flow = power_flow(network, np.stack([p, np.zeros_like(p)]), np.stack([q, q]))
        lost_wh = round(1e3 * float(flow.losses_kw[0] - flow.losses_kw[1]))
        assert int(losses.sum()) == lost_wh * 250_000
        credited += bool((losses < 0).any())
        grid_operator = bills.received_nano[ACCOUNTS.index("grid_operator")]
        others = [i for i, n in enumerate(bills.items) if n in ("network", "local_network")]
        assert grid_operator == int((capacity + excess + losses).sum()) + int(bills.nano[:, others].sum()), "it stays there"
        assert [s.alone.nano[:, bills.items.index(name)].tolist() for name in ITEMS] == [
            column.tolist() for column in (capacity, excess, losses)
        ], "due for the same energy without the market"
    assert day.tolist() == [3 * 125_000_000] * terms.members, "12.5 ct a kW and day, to the nano"
    assert credited, "who takes where power is fed in is credited"


def test_a_member_finds_the_charges_on_the_bill_and_its_proofs_hold() -> None:
    entries = list(open_journal(rural1_charged()).entries())
    statement = make_statement(entries, next(iter(opened_terms(entries)[1])))
    assert check_statement(statement, read_public_record(rural1_charged() / PUBLIC)) >= 24
    assert set(ITEMS) <= set(statement.items)
    assert set(ITEMS) <= set(TITLES)
    assert statement.items["capacity"] == statement.alone["capacity"] == 375_000_000


def test_the_report_of_such_a_run_is_made() -> None:
    data = read_report(rural1_charged())
    assert "network_losses" in data.items
    assert make_page(data)


FORGERIES = {
    "what losses cost": ("run_opened", lambda p: p["charges"].update(losses=0)),
    "how they are shared": ("run_opened", lambda p: p["charges"].update(losses_shared="shifted")),
    "a subscription": ("run_opened", lambda p: add("subscribed_w", 2, 1_000)(p["charges"])),
    "a member's bus": ("run_opened", lambda p: p["charges"]["bus"].__setitem__(0, p["charges"]["bus"][0] + 1)),
    "the price of capacity": ("run_opened", lambda p: p["charges"].update(capacity=1)),
    "the reactive power": ("delivered", lambda p: p.update(reactive_var=[90_000] * len(p["reactive_var"]))),
    "no charges": ("run_opened", lambda p: p.pop("charges")),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_charge_is_found_out(name: str, tmp_path: Path) -> None:
    kind, change = FORGERIES[name]
    with pytest.raises((AuditError, JournalError)):
        Audit(forge(rural1_charged(), tmp_path / "forged", kind, change, nth=1)).run()


@pytest.mark.parametrize("shared", ["scaled", "shifted"])
def test_a_replay_bills_the_same_charges_as_settlement_slot_by_slot(shared: str, tmp_path: Path) -> None:
    community = with_period(load_community(with_charges(tmp_path, shared)), days=1)
    trading = Trading(community)
    terms = make_terms(community, trading, ledger_keys(run_seed(community)))
    assert terms_to_public(terms_from_public(terms_to_public(terms))) == terms_to_public(terms)
    (day,) = replay(trading, terms, community.slots)
    nano = day.bills.nano
    assert int(nano[:, day.bills.items.index("capacity")].sum()) == terms.members * 375_000_000
    assert int(nano[:, day.bills.items.index("network_losses")].sum()) > 0
    assert int(day.bills.total_nano.sum()) == int(day.bills.received_nano.sum())


def test_losses_are_not_charged_twice_and_a_subscription_needs_a_price(tmp_path: Path) -> None:
    path = with_charges(tmp_path)
    community = load_community(path)
    nodal = replace(community, wires=replace(community.wires, limits="nodal"))
    with pytest.raises(InputError, match="losses_ct_per_kwh"):
        make_terms(nodal, Trading(nodal), ledger_keys(run_seed(nodal)))
    path.write_text(path.read_text().replace("[market]\n", '[wires]\nlimits = "nodal"\n\n[market]\n'))
    with pytest.raises(InputError, match=r"tariffs.grid: losses_ct_per_kwh = 25"):
        load_community(path)
    text = with_charges(tmp_path).read_text()
    path.write_text(text.replace("subscribed_kw = 3\n", "", 1))
    with pytest.raises(InputError, match="subscribed_kw = 'absent'"):
        load_community(path)
    plain = tmp_path / "plain.toml"
    plain.write_text((EXAMPLES / "rural1.toml").read_text().replace("[[member]]\n", "[[member]]\nsubscribed_kw = 3\n", 1))
    with pytest.raises(InputError, match="a price for it"):
        load_community(plain)
