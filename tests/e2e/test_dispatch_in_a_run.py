"""An order to devices takes effect in a run under way: plan, bids and delivery keep it, and all can see whether the meter did."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from e2e.runs import EXAMPLES, copy_of, forge
from walras.commands.bill import bill_command
from walras.commands.dispatch import dispatch_command, revoke_command
from walras.commands.rights import consent_command, export_command, forget_command
from walras.commands.summary import summary_table
from walras.community import load_community
from walras.errors import AuditError, JournalError
from walras.exchange.audit import Audit
from walras.exchange.journal import Entry, read_public_record
from walras.exchange.ordered import Outcome, ordered_from_public, outcomes
from walras.metering import derive_key, did_of
from walras.metering.access import Right, issue_access
from walras.metering.dispatch import DispatchOrder, sign_order
from walras.service.appointment import access_issuer
from walras.study.meters import make_meters, run_seed
from walras.study.report import write_report
from walras.study.runner import PUBLIC, Options, Run
from walras.units import Int64


@cache
def by_the_hour() -> Path:
    """The day of rural1 in slots of an hour."""
    path = Path(mkdtemp(prefix="walras-test-")) / "rural1-hours.toml"
    path.write_text((EXAMPLES / "rural1.toml").read_text().replace("slot_minutes = 15", "slot_minutes = 60"))
    return path


COMMUNITY = load_community(by_the_hour())
GRID, FIRST, SEED = COMMUNITY.grid, COMMUNITY.slots.start, run_seed(COMMUNITY)
METERS = list(make_meters(COMMUNITY, SEED).registry.index)
IDS = [member.id for member in COMMUNITY.members]
PLANT_IDS = [m.id for m in COMMUNITY.members if m.pv and m.battery is None]
HOME = next(m.id for m in COMMUNITY.members if m.battery is None)
FARM, PLANT = "farm-1", PLANT_IDS[1]
VPP, BRIEF, GRID_OPERATOR, THIEF = (derive_key(SEED, name) for name in ("vpp", "brief", "grid operator", "thief"))


def hour(h: int) -> int:
    return FIRST + h


def given(run: Path, folder: Path, member: str, hours: tuple[int, int], watts: tuple[int | None, int | None], **by: Any) -> None:
    """Sign and give an order for `hours`, at the time that the run has come to."""
    holder, right = by.get("holder", VPP), by.get("right", Right.DISPATCH)
    now: datetime = by["now"]
    until = by.get("until", GRID.start(hour(24)))
    credential = issue_access(by.get("issuer", access_issuer(SEED)), did_of(holder.public_key()), [right], GRID.origin, until)
    order = DispatchOrder(METERS[IDS.index(member)], hour(hours[0]), hour(hours[1]) - 1, *watts)
    path = folder / "order.bin"
    path.write_bytes(sign_order(holder, credential, order, now, right))
    dispatch_command(run, path, None, now)


@cache
def ordered_day() -> Path:
    """A run stopped at 8 and at 15 o'clock, and given orders there. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    run = folder / "run"
    for _ in Run(by_the_hour(), run, Options(until=GRID.start(hour(8)))):
        pass
    now = GRID.start(hour(8)) - timedelta(minutes=15)
    for member in (FARM, HOME):
        consent_command(run, member, "dispatch", False, None)
    given(run, folder, FARM, (14, 16), (-2_000, None), now=now)
    given(run, folder, FARM, (18, 20), (-15_000, -15_000), now=now)
    given(run, folder, HOME, (19, 21), (None, 0), now=now)
    given(run, folder, PLANT, (11, 14), (-500, None), now=now, holder=GRID_OPERATOR, right=Right.LIMIT)
    with pytest.raises(JournalError, match="credential does not hold"):
        given(run, folder, FARM, (9, 22), (0, 0), now=now, issuer=THIEF)
    with pytest.raises(JournalError, match="does not go so far"):
        given(run, folder, PLANT, (9, 22), (1_000, None), now=now, holder=GRID_OPERATOR, right=Right.LIMIT)
    for _ in Run(by_the_hour(), run, Options(until=GRID.start(hour(15)))):
        pass
    now = GRID.start(hour(15)) - timedelta(minutes=15)
    given(run, folder, FARM, (16, 23), (-4_000, None), now=now, holder=BRIEF, until=GRID.start(hour(17)))
    given(run, folder, FARM, (17, 18), (-9_000, -9_000), now=now)
    given(run, folder, FARM, (21, 23), (-1_000, -1_000), now=now)
    for _ in Run(by_the_hour(), run, Options(until=GRID.start(hour(21)))):
        pass
    revoke_command(run, did_of(VPP.public_key()), None, GRID.start(hour(21)) - timedelta(minutes=15))
    for _ in Run(by_the_hour(), run, Options()):
        pass
    return run


def settled(run: Path) -> tuple[dict[int, Entry], dict[int, Int64], dict[int, Entry]]:
    """Opened entry, metered net energy, and orders revealed, by hour of the day."""
    opened, net, books = {}, {}, {}
    for entry in read_public_record(run / PUBLIC):
        if entry.kind == "slot_opened":
            opened[entry.slot - FIRST] = entry  # type: ignore[operator]
        elif entry.kind == "orders_revealed":
            books[entry.slot - FIRST] = entry  # type: ignore[operator]
        elif entry.kind == "settlement_submitted":
            net[entry.slot - FIRST] = np.array(entry.public["import_wh"]) - np.array(entry.public["export_wh"])  # type: ignore[operator]
    return opened, net, books


def shown(run: Path) -> dict[tuple[int, str], Outcome]:
    opened, net, _ = settled(run)
    found = [o for h in opened for o in outcomes(h, opened[h].public, net[h])]
    return {(o.slot, IDS[o.order.account]): o for o in found}


def test_a_limit_and_a_set_point_are_kept_by_plan_bids_and_meter() -> None:
    found = shown(ordered_day())
    assert [found[h, FARM].net_wh for h in (14, 15)] == [-2_000, -2_000]
    assert [found[h, FARM].net_wh for h in (18, 19)] == [-15_000, -15_000]
    _, _, books = settled(ordered_day())
    account = IDS.index(FARM)
    for h, most in ((14, 2_000), (15, 2_000), (18, 15_000)):
        orders = books[h].public["orders"]
        mine = [
            (side, wh)
            for who, side, wh in zip(orders["participant"], orders["side"], orders["quantity_wh"], strict=True)
            if who == account
        ]
        assert sum(wh for side, wh in mine if side < 0) <= most
        assert h != 18 or mine == [(-1, 15_000)]


def test_a_grid_operators_limit_needs_no_consent_and_what_a_member_cannot_keep_is_shown() -> None:
    found = shown(ordered_day())
    assert all(found[h, PLANT].net_wh == -500 for h in (11, 12, 13))
    home = [found[h, HOME] for h in (19, 20)]
    assert all(o.beyond_wh == o.net_wh > 0 for o in home)


def test_a_refused_order_has_no_effect_and_no_slot_names_it() -> None:
    opened, _, _ = settled(ordered_day())
    entries = {entry.seq: entry for entry in read_public_record(ordered_day() / PUBLIC)}
    rested = {seq for entry in opened.values() for o in ordered_from_public(entry.public) for seq in o.orders}
    assert all(entries[seq].public["act"] == "dispatched" for seq in rested)
    assert sum(entry.public.get("act") == "denied" for entry in entries.values()) == 2
    assert (9, FARM) not in shown(ordered_day())


def test_an_order_ends_with_its_credential_and_with_its_revocation() -> None:
    found = shown(ordered_day())
    assert found[16, FARM].net_wh >= -4_000
    assert found[17, FARM].net_wh == -9_000  # an hour on, the brief credential had ended, and the other's order held
    assert not any((h, FARM) in found for h in (20, 21, 22))  # revoked at nine, accepted before


def test_the_audit_finds_the_same_orders_and_counts_what_was_kept() -> None:
    checked = Audit(ordered_day() / PUBLIC).run().checked
    assert checked["orders to devices in force"] == 11
    assert checked["orders to devices kept"] == 9
    assert checked["orders to devices not kept by the meter"] == 2


def drop(public: dict[str, Any]) -> None:
    assert public.pop("ordered")


def loosen(public: dict[str, Any]) -> None:
    public["ordered"][0][1] = -9_000


def invent(public: dict[str, Any]) -> None:
    assert "ordered" not in public
    public["ordered"] = [[0, 0, 0, [3]]]


@pytest.mark.parametrize(("change", "slot"), [(drop, 14), (loosen, 14), (invent, 3)], ids=lambda x: getattr(x, "__name__", x))
def test_an_operator_that_leaves_out_loosens_or_invents_an_order_is_found(change: Any, slot: int, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="by the acts there are"):
        Audit(forge(ordered_day(), tmp_path / "forged", "slot_opened", change, slot)).run()


def test_an_order_that_was_taken_out_of_the_record_is_found(tmp_path: Path) -> None:
    def change(public: dict[str, Any]) -> None:
        public["detail"]["low_w"] = None

    with pytest.raises(AuditError, match="anchors another journal"):
        Audit(forge(ordered_day(), tmp_path / "forged", "act", change, 2)).run()


def spoken(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, on one line."""
    return " ".join(capsys.readouterr().out.split())


def test_bill_summary_and_report_say_what_was_ordered_and_whether_it_was_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(ordered_day(), tmp_path / "run")
    bill_command(run, FARM, None)
    text = spoken(capsys)
    for said in (f"ordered by {did_of(VPP.public_key())}", "signature and credential hold", "kept in all"):
        assert said in text
    bill_command(run, HOME, None)
    assert "not kept in 2" in spoken(capsys)
    summary_table(Console(soft_wrap=True), run)
    text = spoken(capsys)
    assert f"orders to account {IDS.index(FARM)}" in text
    assert f"orders to account {IDS.index(HOME)}" in text
    write_report(run, tmp_path / "page.html")
    assert "orders to farm-1" in (tmp_path / "page.html").read_text()


def test_a_device_that_does_not_obey_is_shown_and_nobody_elses_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, now = tmp_path / "run", GRID.start(hour(10)) - timedelta(minutes=15)
    for _ in Run(by_the_hour(), run, Options(until=GRID.start(hour(10)))):
        pass
    given(run, tmp_path, PLANT, (11, 12), (0, None), now=now, holder=GRID_OPERATOR, right=Right.LIMIT)
    monkeypatch.setattr(
        "walras.study.trading.dispatch_within",
        lambda run, alone, signals, bounds, fleet, soc, values: run(signals, fleet, soc, values),
    )
    for _ in Run(by_the_hour(), run, Options(until=GRID.start(hour(12)))):
        pass
    (outcome,) = shown(run).values()
    assert outcome.beyond_wh == outcome.net_wh < 0
    assert Audit(run / PUBLIC).run().checked["orders to devices not kept by the meter"] == 1


def test_what_the_sender_signed_is_the_members_own_and_goes_with_them(tmp_path: Path) -> None:
    run = copy_of(ordered_day(), tmp_path / "run")
    meter = METERS[IDS.index(FARM)].hex()
    export_command(run, FARM, tmp_path / "all.json", None, False, None)
    kept = json.loads((tmp_path / "all.json").read_text())["kept"]
    orders = [row["data"]["order"] for row in kept if row["kind"] == "act"]
    assert len(orders) == 5
    assert all(meter in order for order in orders)
    assert meter not in (run / PUBLIC).read_text()
    forget_command(run, FARM, None, None)
    assert Audit(run / PUBLIC).run().checked["orders to devices kept"] == 9


@pytest.mark.parametrize("limits", ['"curtailed"', '"nodal"\nrelief = "batteries"'], ids=["by an order", "by prices"])
def test_orders_hold_where_the_limits_of_the_wires_do(limits: str, tmp_path: Path) -> None:
    path, run = tmp_path / "wires.toml", tmp_path / "run"
    path.write_text(by_the_hour().read_text().replace("[market]\n", f"[wires]\nlimits = {limits}\n[market]\n"))
    for _ in Run(path, run, Options(until=GRID.start(hour(13)))):
        pass
    now = GRID.start(hour(13)) - timedelta(minutes=15)
    consent_command(run, FARM, "dispatch", False, None)
    given(run, tmp_path, FARM, (14, 15), (-3_000, -3_000), now=now)
    for _ in Run(path, run, Options(until=GRID.start(hour(15)))):
        pass
    (outcome,) = shown(run).values()
    taken = next(e for e in read_public_record(run / PUBLIC) if e.kind == "curtailed" and e.slot == hour(14))
    account = IDS.index(FARM)
    assert taken.public["net_wh"][account] == -3_000
    assert account not in taken.public.get("relief", {"member": []})["member"]
    assert -3_000 <= outcome.net_wh <= 0  # the wires may take back more, never less
    assert Audit(run / PUBLIC).run().checked["orders to devices in force"] == 1
