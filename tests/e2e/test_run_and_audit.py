"""A day of a real feeder, end to end: repeatable to the byte, killed and continued, audited, and tampered with."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.runs import EXAMPLES, add, copy_of, forge, rural1_day
from walras.errors import AuditError, InputError, JournalError, WalrasError
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.exchange.parts import member_ids
from walras.exchange.statement import check_statement, make_statement
from walras.study.runner import JOURNAL, PUBLIC, Options, Run, open_journal

GOLDEN = Path(__file__).parents[1] / "golden" / "journal_heads.json"

KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from walras.exchange.journal import Journal
from walras.ledger import EmbeddedChain
from walras.study.runner import Options, Run

community, out, where, count = sys.argv[1:]
left = int(count)

def deadly(function, after):
    def wrapped(*arguments, **named):
        global left
        left -= 1
        if left == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped

run = Run(Path(community), Path(out), Options())
if where == "send":
    EmbeddedChain.send = deadly(EmbeddedChain.send, False)
else:
    Journal.append = deadly(Journal.append, where == "after")
for _ in run:
    pass
"""


def test_the_journal_of_a_day_is_the_same_on_every_machine_and_python() -> None:
    head = (rural1_day() / "HEAD").read_text().strip()
    assert head == json.loads(GOLDEN.read_text())["rural1, one day"], (
        "the journal's head changed: if the change of the record is meant, note it in the CHANGELOG and run tools/golden_heads.py"
    )


def test_a_run_killed_at_any_moment_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    out = tmp_path / "killed"
    for where, count in (("before", 3), ("after", 40), ("send", 20), ("before", 301), ("after", 77), ("send", 1)):
        done = subprocess.run(
            [sys.executable, "-c", KILLED_RUN, str(EXAMPLES / "rural1.toml"), str(out), where, str(count)],
            check=False,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    for _ in Run(EXAMPLES / "rural1.toml", out, Options()):
        pass
    for name in (PUBLIC, "HEAD"):
        assert (out / name).read_bytes() == (rural1_day() / name).read_bytes()


def test_a_finished_run_started_again_changes_nothing(tmp_path: Path) -> None:
    out = copy_of(rural1_day(), tmp_path / "again")
    before = (out / PUBLIC).read_bytes()
    for _ in Run(EXAMPLES / "rural1.toml", out, Options()):
        pass
    assert (out / PUBLIC).read_bytes() == before


def test_another_community_file_does_not_continue_the_run(tmp_path: Path) -> None:
    out = copy_of(rural1_day(), tmp_path / "other")
    with pytest.raises(JournalError, match="another"):
        for _ in Run(EXAMPLES / "rural1.toml", out, Options(days=2)):
            pass


def test_the_audit_holds_and_counts_what_it_checked() -> None:
    report = Audit(rural1_day() / PUBLIC).run()
    assert report.slots == 96
    assert report.checked["clearings against their rule"] == 96
    assert report.checked["oracle signatures"] >= 3 * 96
    assert report.checked["settlements on the chain"] == 96
    assert report.checked["accounts on the chain"] == 18


def test_all_accounts_sum_to_zero_in_every_slot_on_the_journal() -> None:
    settled = [e for e in read_public_record(rural1_day() / PUBLIC) if e.kind == "settlement_submitted"]
    assert len(settled) == 96
    for entry in settled:
        assert sum(entry.public["cash_nano"]) == 0
        assert sum(entry.public["energy_wh"]) == 0


def _move_price(public: dict) -> None:  # type: ignore[type-arg]
    """Another price that every law allows: one micro-unit up, all payments with it."""
    public["price"] += 1
    for row, wh in enumerate(public["filled_wh"]):
        public["pay_nano"][row] += wh if public["pay_nano"][row] > 0 else -wh


FORGERIES = {
    "a fill": ("cleared", add("filled_wh", 0, 1)),
    "a payment": ("cleared", add("pay_nano", 0, 1)),
    "two payments that still sum": ("cleared", lambda p: (add("pay_nano", 0, 7)(p), add("pay_nano", 1, -7)(p))),
    "a price elsewhere in the interval": ("cleared", lambda p: _move_price(p)),
    "the price": ("cleared", lambda p: p.update(price=(p["price"] or 0) + 1)),
    "the mechanism": ("cleared", lambda p: p.update(mechanism="pay_as_bid")),
    "an order's price": ("orders_revealed", lambda p: add("price_micro_per_kwh", 0, 1)(p["orders"])),
    "an order's owner": ("orders_revealed", lambda p: add("participant", 0, 1)(p["orders"])),
    "a salt": ("orders_revealed", lambda p: p["salts"].reverse()),
    "a commitment": ("orders_committed", lambda p: p["commitments"].reverse()),
    "a tariff": ("slot_opened", lambda p: p["item_micro"][0].__setitem__(0, p["item_micro"][0][0] + 1)),
    "a member's cash": ("settlement_submitted", lambda p: (add("cash_nano", 0, 5)(p), add("cash_nano", 1, -5)(p))),
    "a member's energy": ("settlement_submitted", lambda p: (add("energy_wh", 0, 5)(p), add("energy_wh", 1, -5)(p))),
    "a metered import": ("settlement_submitted", add("import_wh", 0, 1)),
    "the trades' root": ("settlement_submitted", lambda p: p.update(trades_root="00" * 32)),
    "the anchored head": ("settlement_submitted", lambda p: p.update(journal_head="00" * 32)),
    "the readings' root": ("readings_admitted", lambda p: p.update(root="00" * 32)),
    "the attested root": ("attested", lambda p: p.update(root="00" * 32)),
    "a signature": ("attested", lambda p: p.update(signatures="11" * 65 + p["signatures"][130:])),
    "too few signatures": ("attested", lambda p: p.update(signatures=p["signatures"][: 2 * 130])),
    "the gas": ("settled", lambda p: p.update(gas=p["gas"] - 1)),
    "a transaction": ("settlement_submitted", lambda p: p["transactions"][0].update(raw="02" + p["transactions"][0]["raw"][4:])),
    "a deposit": ("escrow_paid", lambda p: add("nano", 0, 10**9)(p)),
    "the rules": ("run_opened", lambda p: p["settlement"].update(rule="firm")),
    "a feed-in rate": ("run_opened", lambda p: p["accounts"][1].__setitem__(1, 999_999)),
    "the final state": ("run_closed", lambda p: p.update(state_root="00" * 32)),
    "a missing column": ("cleared", lambda p: p.pop("filled_wh")),
    "a column of another kind": ("cleared", lambda p: p.update(filled_wh="all")),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_record_with_a_whole_hash_chain_is_found_out(name: str, tmp_path: Path) -> None:
    kind, change = FORGERIES[name]
    record = forge(rural1_day(), tmp_path / "forged", kind, change)
    with pytest.raises((AuditError, JournalError)) as found:
        Audit(record).run()
    assert "slot" in str(found.value) or "entry" in str(found.value) or "account" in str(found.value) or "chain" in str(found.value)


def test_any_one_byte_of_the_public_record_is_noticed(tmp_path: Path) -> None:
    draw = random.Random(7)
    original = (rural1_day() / PUBLIC).read_bytes()
    (tmp_path / "HEAD").write_bytes((rural1_day() / "HEAD").read_bytes())
    for _ in range(25):
        data = bytearray(original)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (tmp_path / PUBLIC).write_bytes(data)
        with pytest.raises(WalrasError):
            Audit(tmp_path / PUBLIC).run()


def test_every_member_has_a_statement_whose_proofs_hold_and_all_statements_sum_with_the_record() -> None:
    run = rural1_day()
    entries = list(open_journal(run).entries())
    public = read_public_record(run / PUBLIC)
    members = member_ids(entries[0])
    totals = {}
    for member in members:
        statement = make_statement(entries, member)
        assert check_statement(statement, public) >= 96
        totals[members[member]] = statement.total_nano
    settled = [e.public["cash_nano"] for e in public if e.kind == "settlement_submitted"]
    assert totals == {account: sum(cash[account] for cash in settled) for account in totals}


def test_a_statement_with_a_changed_reading_does_not_check() -> None:
    from dataclasses import replace

    run = rural1_day()
    statement = make_statement(list(open_journal(run).entries()), "home-1")
    leaf = statement.leaves[0]
    broken = replace(statement, leaves=(replace(leaf, data=leaf.data[:-1] + bytes([leaf.data[-1] ^ 1])), *statement.leaves[1:]))
    with pytest.raises(AuditError, match="home-1, slot"):
        check_statement(broken, read_public_record(run / PUBLIC))


def test_a_bill_for_a_stranger_names_the_members() -> None:
    with pytest.raises(InputError, match="one of"):
        make_statement(list(open_journal(rural1_day()).entries()), "nobody")


def test_fresh_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(JournalError, match="nothing is removed"):
        Run(EXAMPLES / "rural1.toml", tmp_path, Options(fresh=True))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / JOURNAL).exists()
