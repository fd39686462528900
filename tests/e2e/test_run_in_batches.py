"""A run whose slots go to the chain many at a time: the same money to the last nano, audited, and continued after a kill."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from io import StringIO
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from rich.console import Console

from e2e.runs import EXAMPLES, forge, rural1_day, rural1_late, with_late_readings
from ledger_world import anvil, rpc
from walras.commands.bill import bill_command
from walras.commands.report import report_command
from walras.commands.summary import summary_table
from walras.community import load_community
from walras.errors import AuditError, InputError, JournalError
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.exchange.settled_positions import settled_positions
from walras.exchange.statement import opened_terms, settled_slots
from walras.ledger import JsonRpcChain
from walras.ledger.batches import read_post
from walras.ledger.calls import Contract
from walras.ledger.costs import CostTerms, direct_gas, settlement_costs
from walras.study.meters import run_seed
from walras.study.report import write_report
from walras.study.runner import PUBLIC, Options, Run, ledger_keys

PUBLISH = ["calldata", pytest.param("committee", marks=pytest.mark.nightly)]


def batched(to: Path, rules: str = "", base: Path = EXAMPLES / "rural1.toml") -> Path:
    """A community file like `base` that settles in batches of 20 slots: four whole ones and a rest of 16 a day."""
    to.mkdir(parents=True, exist_ok=True)
    path = to / "batched.toml"
    path.write_text(base.read_text() + f'\n[ledger]\nsettle = "batches"\nbatch_slots = 20\n{rules}\n')
    return path


@cache
def in_batches(publish: str = "calldata") -> Path:
    """A day of rural1 in batches. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    for _ in Run(batched(folder, f'publish = "{publish}"'), folder / "run", Options()):
        pass
    return folder / "run"


@cache
def late_in_batches() -> Path:
    """The same with a fifth of the readings late."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    for _ in Run(batched(folder, base=with_late_readings(folder, 20)), folder / "run", Options()):
        pass
    return folder / "run"


def entries(run: Path, kind: str) -> list[dict[str, Any]]:
    return [dict(e.public) for e in read_public_record(run / PUBLIC) if e.kind == kind]


def bills(run: Path) -> list[Any]:
    """What every account pays in every slot as it stands, itemised."""
    record = read_public_record(run / PUBLIC)
    terms, _ = opened_terms(record)
    return [(s.slot, s.accounts.cash_nano.tolist(), s.accounts.bills.nano.tolist()) for s in settled_slots(terms, record)]


@pytest.mark.parametrize("publish", PUBLISH)
def test_money_comes_out_as_the_direct_way_to_the_last_nano(publish: str) -> None:
    run = in_batches(publish)
    assert bills(run) == bills(rural1_day())
    posted = entries(run, "batch_posted")
    assert [(p["first"], p["last"]) for p in posted][-1][1] - posted[0]["first"] == 95
    assert [p["last"] - p["first"] + 1 for p in posted] == [20, 20, 20, 20, 16]


@pytest.mark.nightly
def test_late_readings_are_corrected_before_their_batch_and_cost_no_transaction() -> None:
    run = late_in_batches()
    assert bills(run) == bills(rural1_late())
    corrected = entries(run, "slot_corrected")
    assert corrected
    assert all(entry["transactions"] == [] for entry in corrected)
    assert Audit(run / PUBLIC).run().checked["corrections computed again"] == len(corrected)


@pytest.mark.parametrize("publish", PUBLISH)
def test_the_audit_makes_every_batch_again_and_finds_it_on_the_chain(publish: str) -> None:
    report = Audit(in_batches(publish) / PUBLIC).run()
    assert report.slots == 96
    assert report.checked["batches made again, and on the chain"] == 5
    assert report.checked["accounts on the chain"] > 0


def test_the_posted_calldata_alone_give_everybodys_positions() -> None:
    """A stranger who has the transactions, and nothing else, has every position."""
    run = in_batches()
    posted = entries(run, "batch_posted")
    batches = [read_post(bytes.fromhex(p["transactions"][0]["raw"])) for p in posted]
    assert sum(len(batch.slots) for batch in batches) == 96
    assert [batch.slots[-1][0].hex() for batch in batches] == [p["state_root"] for p in posted]


def swap(public: dict[str, Any]) -> None:
    public["state_root"] = public["facts_root"]


def silent(public: dict[str, Any]) -> None:
    public["signatures"] = public["signatures"][: 2 * 130]


def later(public: dict[str, Any]) -> None:
    public["transactions"][0]["time"] += 1


@pytest.mark.parametrize(
    ("kind", "change", "what"),
    [
        ("batch_posted", swap, "its state root is not that of the settled slots"),
        ("batch_posted", silent, "2 oracles signed it, 3 must"),
        ("batch_posted", later, "when its last slot is past correction"),
        ("batch_included", lambda public: public.update(gas=1), "the receipt is"),
        ("settled", lambda public: public.update(batch=7), "the receipt is"),
    ],
)
def test_a_forged_batch_is_found(tmp_path: Path, kind: str, change: Callable[[dict[str, Any]], object], what: str) -> None:
    with pytest.raises((AuditError, JournalError), match=what):
        Audit(forge(in_batches(), tmp_path / "forged", kind, change, nth=1)).run()


def test_a_batch_left_out_is_found(tmp_path: Path) -> None:
    from e2e.runs import rechain

    lines = (in_batches() / PUBLIC).read_bytes().splitlines()
    kept = [line for line in lines if json.loads(line)["kind"] not in ("batch_posted", "batch_included")]
    for seq, line in enumerate(kept):
        record = json.loads(line)
        record["seq"] = seq
        kept[seq] = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    data, head = rechain(kept)
    (tmp_path / PUBLIC).write_bytes(data)
    (tmp_path / "HEAD").write_text(head + "\n")
    with pytest.raises((AuditError, JournalError)):
        Audit(tmp_path / PUBLIC).run()


KILLED = """
import os, signal, sys
from pathlib import Path
from walras.exchange.journal import Journal
from walras.ledger import EmbeddedChain
from walras.study.runner import Options, Run

append, send, due, when = Journal.append, EmbeddedChain.send, [], sys.argv[3]

def noted(self, kind, *rest):
    entry = append(self, kind, *rest)
    if kind == "batch_posted":
        due.append(entry)
        if when == "recorded" and len(due) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    return entry

def deadly(self, raw, *, timestamp):
    receipt = send(self, raw, timestamp=timestamp)
    if when == "sent" and len(due) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return receipt

Journal.append, EmbeddedChain.send = noted, deadly
for _ in Run(Path(sys.argv[1]), Path(sys.argv[2]), Options()):
    pass
"""


@pytest.mark.parametrize("when", [pytest.param("recorded", marks=pytest.mark.nightly), "sent"])
def test_a_run_killed_at_a_batch_goes_on_and_posts_none_twice(tmp_path: Path, when: str) -> None:
    file = batched(tmp_path, 'publish = "calldata"')
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(file), str(tmp_path / "run"), when], check=False, capture_output=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    run = Run(file, tmp_path / "run", Options())
    for _ in run:
        pass
    assert run.resumed > 0
    assert (tmp_path / "run" / PUBLIC).read_bytes() == (in_batches() / PUBLIC).read_bytes()


@pytest.mark.nightly
def test_on_a_node_a_run_cut_off_and_continued_posts_every_batch_once(tmp_path: Path) -> None:
    file = batched(tmp_path, 'publish = "committee"')
    keys = ledger_keys(run_seed(load_community(file)))
    with anvil() as url:
        for key in (keys.admin, keys.operator):
            rpc(url, "anvil_setBalance", key.address, hex(10**21))
        for _ in islice(Run(file, tmp_path / "run", Options(chain_url=url)), 45):
            pass
        for _ in Run(file, tmp_path / "run", Options(chain_url=url)):
            pass
        report = Audit(tmp_path / "run" / PUBLIC, JsonRpcChain(url)).run()
        deployed = entries(tmp_path / "run", "ledger_deployed")[0]
        contract = Contract("BatchSettlement", deployed["chain_id"], deployed["batches"])
        assert contract.view(JsonRpcChain(url), "batchCount")[0] == contract.view(JsonRpcChain(url), "era")[0] == 5
    assert report.checked["batches made again, and on the chain"] == 5
    assert bills(tmp_path / "run") == bills(rural1_day())


def test_batches_that_outlast_the_members_patience_are_refused(tmp_path: Path) -> None:
    file = batched(tmp_path, "exit_timeout_minutes = 120\nfraud_window_minutes = 60")
    with pytest.raises(InputError, match="batch_slots"):
        Run(file, tmp_path / "run", Options())


def test_a_bill_and_its_proofs_hold_in_a_batched_run(capsys: pytest.CaptureFixture[str]) -> None:
    member = load_community(EXAMPLES / "rural1.toml").members[0].id
    texts = []
    for run in (in_batches(), rural1_day()):
        bill_command(run, member, None)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


def test_a_run_would_have_cost_the_other_way_what_it_then_does() -> None:
    """The same day both ways: each way's estimate, from the other's record, against its receipts."""
    direct, many = (settled_positions(read_public_record(run / PUBLIC)).slots(96) for run in (rural1_day(), in_batches()))
    assert direct == many
    alone, posted = settlement_costs(direct, CostTerms(batch_slots=20))
    receipts = {
        kind: [entry.public["gas"] for entry in read_public_record(run / PUBLIC) if entry.kind == kind]
        for run, kind in ((rural1_day(), "settled"), (in_batches(), "batch_included"))
    }
    assert alone.gas == pytest.approx(sum(receipts["settled"]), rel=0.01)
    assert posted.gas == pytest.approx(sum(receipts["batch_included"]), rel=0.01)
    assert settlement_costs(direct, CostTerms(batch_slots=20), receipts["settled"])[0].gas == sum(receipts["settled"])


def test_a_correction_is_a_transaction_where_slots_are_settled_each_by_itself() -> None:
    late = settled_positions(read_public_record(rural1_late() / PUBLIC)).slots(96)
    sent = [e for e in read_public_record(rural1_late() / PUBLIC) if e.kind == "slot_corrected"]
    assert len(late.corrections) == len(sent) > 0
    alone, _ = settlement_costs(late, CostTerms())
    assert alone.transactions == 96 + len(sent)
    assert alone.gas == direct_gas(late.settled, 4) + direct_gas(late.corrections, 4)


def alone_gas(run: Path, slots: int) -> int:
    """Gas of the first slots of a run, each settled by itself, as it is estimated."""
    found = settled_positions(read_public_record(run / PUBLIC)).slots(slots)
    return direct_gas(found.settled, found.signatures)


def test_the_report_counts_the_receipts_of_the_batches_and_the_slots_beside_them(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report_command(in_batches(), page, "2", "3000", 96, None)
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.S))
    gas = [entry["gas"] for entry in entries(in_batches(), "batch_included")]
    slot_by_slot = alone_gas(in_batches(), 96)
    assert "96 slots in 5 batches settled" in text
    assert "in batches of 20 slots, as in this run" in text
    assert re.search(rf"as in this run\s+5\s+{sum(gas):,}\s", text)
    assert re.search(rf"slot by slot\s+96\s+{slot_by_slot:,}\s", text)
    assert f"{sum(gas) // 5:,} on average, {min(gas[1:]):,} to {max(gas):,}" in text
    assert f"{sum(gas) * 2 * 3000 / 1e9:.2f} EUR" in text
    assert f"takes {slot_by_slot / sum(gas):.1f} times the gas of batches" in text


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        (5, ["5 slots, 0 of them in 0 batches, settled", "No batch is on the chain yet", "none yet: no batch is full"]),
        (30, ["30 slots, 20 of them in 1 batch, settled", "for the 20 slots posted so far", "slot by slot</td><td>20"]),
    ],
)
def test_a_report_in_the_middle_compares_the_slots_that_are_on_the_chain(tmp_path: Path, slots: int, said: list[str]) -> None:
    for _ in islice(Run(batched(tmp_path), tmp_path / "run", Options()), slots):
        pass
    write_report(tmp_path / "run", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [words for words in said if words not in text] == []


def test_the_summary_says_what_a_batch_used_and_what_slots_would_have() -> None:
    with_width = Console(width=200, record=True, file=StringIO())
    summary_table(with_width, in_batches())
    used = sum(entry["gas"] for entry in entries(in_batches(), "batch_included"))
    assert f"{used:,} for 5 batches of 96 slots; slot by slot it would be about" in with_width.export_text()
