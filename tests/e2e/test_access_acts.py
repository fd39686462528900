"""Every command that reads a member's data does it for a purpose, is on record, and is refused where the purpose needs consent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.runs import EXAMPLES, copy_of, file_of, rural1_day
from walras.cli import app
from walras.commands.bill import bill_command
from walras.commands.rights import consent_command, export_command, forget_command
from walras.errors import InputError, JournalError
from walras.exchange.acts import ActKind, acts_of
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.metering.purposes import PURPOSES, Ground
from walras.service.data_protection import page_place
from walras.study.runner import JOURNAL, PUBLIC, Options, Run, open_journal

MEMBER = "home-1"


def walras(*arguments: object) -> None:
    app([str(argument) for argument in arguments], result_action="return_value")


def acts(run: Path) -> list[tuple[str, int | None, Any]]:
    return [(act.kind.name, act.account, (act.detail or {}).get("purpose")) for act in acts_of(read_public_record(run / PUBLIC))]


def test_a_bill_is_read_for_billing_and_that_is_on_record(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    bill_command(run, MEMBER, None)
    assert acts(run) == [("READ", 1, "billing")]
    assert Audit(run / PUBLIC).run().checked["acts with the record"] == 1


def test_a_proof_needs_consent_and_its_refusal_is_on_record(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    arguments = ("prove", "day_sum capacity_wh=9", "--run", run, "--member", MEMBER, "--day", "2016-06-21", "--out", tmp_path / "p")
    with pytest.raises(JournalError, match="not consented to proof"):
        walras(*arguments)
    consent_command(run, MEMBER, "proof", False, None)
    with pytest.raises(JournalError, match="committed to no day"):  # this run has none, but it may look
        walras(*arguments)
    consent_command(run, MEMBER, "proof", True, None)
    with pytest.raises(JournalError, match="not consented to proof"):
        walras(*arguments)
    kinds = [kind for kind, account, purpose in acts(run) if (account, purpose) == (1, "proof")]
    assert kinds == ["DENIED", "CONSENT_GIVEN", "READ", "CONSENT_WITHDRAWN", "DENIED"]


@pytest.mark.parametrize("purpose", sorted(PURPOSES))
def test_every_purpose_that_rests_on_consent_is_refused_without_it_and_both_ways_recorded(tmp_path: Path, purpose: str) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    if PURPOSES[purpose].ground is Ground.CONSENT:
        with pytest.raises(JournalError, match="not consented"):
            export_command(run, MEMBER, tmp_path / "out.json", purpose, False, None)
        assert acts(run) == [("DENIED", 1, purpose)]
        assert not (tmp_path / "out.json").exists()
    else:
        export_command(run, MEMBER, tmp_path / "out.json", purpose, False, None)
        assert acts(run) == [("EXPORTED", 1, purpose)]


def test_a_report_names_whom_its_purpose_may_see_and_says_so_on_record(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    consent_command(run, "home-2", "research", False, None)
    walras("report", run, "--purpose", "research", "--out", tmp_path / "research.html")
    page = (tmp_path / "research.html").read_text()
    ids = [line.split('"')[1] for line in file_of(run).read_text().splitlines() if line.startswith('id = "home-')]
    assert [name for name in ids if f">{name}<" in page] == ["home-2"]
    assert ">account-1<" in page
    last = acts_of(read_public_record(run / PUBLIC))[-1]
    assert (last.kind, last.account, dict(last.detail or {})) == (
        ActKind.READ,
        None,
        {"page": "report", "purpose": "research", "named": [3]},
    )
    walras("report", run)
    assert f">{MEMBER}<" in page_place(run).read_text()
    with pytest.raises(InputError, match="one of settlement"):
        walras("report", run, "--purpose", "gossip")


def test_a_report_after_forgetting_says_what_is_gone(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    forget_command(run, MEMBER, None, None)
    with pytest.raises(JournalError, match=r"forgotten: account 1 on 20.*behind their meters is gone") as caught:
        walras("report", run)
    assert "walras bill" in caught.value.way_out
    old = copy_of(rural1_day(), tmp_path / "old")
    forget_command(old, None, 0, None)
    with pytest.raises(JournalError, match="erased: private parts on 20"):
        walras("report", old)


def test_a_run_under_way_goes_on_behind_what_others_did_with_its_record(tmp_path: Path) -> None:
    going = Run(EXAMPLES / "rural1.toml", tmp_path, Options())
    slots = iter(going)
    next(slots)
    export_of_the_supplier(tmp_path)
    next(slots)
    consent_command(tmp_path, MEMBER, "research", False, None)
    next(slots)
    slots.close()  # type: ignore[attr-defined]
    going._journal.close()
    again = Run(EXAMPLES / "rural1.toml", tmp_path, Options())
    slots = iter(again)
    for _ in range(4):
        next(slots)
    slots.close()  # type: ignore[attr-defined]
    entries = list(again._journal.entries())
    again._journal.close()
    assert [act.kind.name for act in acts_of(entries)] == ["EXPORTED", "CONSENT_GIVEN"]
    assert sum(entry.kind == "settled" for entry in entries) == 4
    kinds = [entry.kind for entry in entries if entry.kind != "act"]
    assert kinds == [entry.kind for entry in read_public_record(rural1_day() / PUBLIC)][: len(kinds)]


def export_of_the_supplier(run: Path) -> None:
    export_command(run, MEMBER, run.parent / "mine.json", "supply", False, None)


def test_two_exchanges_on_one_journal_are_told_apart_from_acts(tmp_path: Path) -> None:
    first, second = (Run(EXAMPLES / "rural1.toml", tmp_path, Options()) for _ in range(2))
    one, other = iter(first), iter(second)
    next(one)
    with pytest.raises(JournalError, match="another exchange writes to this journal"):
        next(other)
    one.close()  # type: ignore[attr-defined]
    for run in (first, second):
        run._journal.close()


# --- a folder of another run -------------------------------------------------------------------------------------------


def begun(folder: Path) -> Path:
    """A run that was begun and left after one slot."""
    run = Run(EXAMPLES / "rural1.toml", folder, Options())
    slots = iter(run)
    next(slots)
    slots.close()  # type: ignore[attr-defined]
    run._journal.close()
    return folder


def test_a_run_with_other_options_is_told_which_and_what_differs(tmp_path: Path) -> None:
    out = begun(tmp_path / "run")
    cases = [
        (Options(days=2), r"other --start and --days \(slots: \[16508, 16603\], now \[16508, 16699\]\)"),
        (Options(mechanism="mcafee"), r"other --mechanism \(market.mechanism: uniform, now mcafee\)"),
        (Options(mechanism="nodal"), "other --mechanism nodal"),
    ]
    for options, said in cases:
        run = Run(EXAMPLES / "rural1.toml", out, options)
        with pytest.raises(JournalError, match=said) as caught:
            next(iter(run))
        assert "give the same --" in caught.value.way_out
        run._journal.close()
    other = tmp_path / "other.toml"
    text = (EXAMPLES / "rural1.toml").read_text()
    other.write_text(text.replace("metering_deadline_minutes = 15", "metering_deadline_minutes = 20"))
    run = Run(other, out, Options())
    with pytest.raises(JournalError, match=r"another community file \(gates.metering_s: 900, now 1200\)"):
        next(iter(run))
    run._journal.close()


def test_keys_that_do_not_open_name_the_secret_or_the_community(tmp_path: Path) -> None:
    out = begun(tmp_path / "run")
    with pytest.raises(JournalError, match="begun with another key or --secret"):
        Run(EXAMPLES / "rural1.toml", out, Options(secret=bytes(32)))
    with pytest.raises(JournalError, match="members' keys do not open"):
        open_journal(out, bytes(32))
    assert (out / JOURNAL).exists()


def test_an_empty_public_record_is_called_empty(tmp_path: Path) -> None:
    for name, said in (("", "it is empty"), ("{}", "the last line is cut")):
        (tmp_path / PUBLIC).write_text(name)
        (tmp_path / "HEAD").write_text("0" * 64 + "\n")
        with pytest.raises(JournalError, match=said):
            Audit(tmp_path / PUBLIC).run()


def test_the_page_on_data_protection_has_every_purpose_as_it_is() -> None:
    page = (EXAMPLES.parent / "docs" / "explain" / "data-protection.md").read_text()
    for purpose in PURPOSES.values():
        row = (purpose.name, purpose.ground.value, purpose.resolution.name.lower(), ", ".join(purpose.recipients))
        assert "| " + " | ".join((*row, f"{purpose.retention_days:,}")) + " |" in page
