"""Oracles in processes of their own that lie, collude or copy, and a meter that lies about its plant: what a run makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from e2e.nodes import free_port
from e2e.runs import EXAMPLES
from walras.commands.report import report_command
from walras.commands.summary import summary_table
from walras.community import load_community
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.exchange.parts import delay_of
from walras.metering.feeder import FeederCheck
from walras.study.runner import PUBLIC, Options, Run, open_journal

LIAR = """
import sys
from walras.service import oracle_node

honest = oracle_node.OracleNode.readings_of

def readings_of(self, slot):
    readings = honest(self, slot)
    leaves = list(readings.leaves)
    leaves[0], leaves[1] = leaves[1], leaves[0]
    return oracle_node.SlotReadings(**{**{n: getattr(readings, n) for n in readings.__dataclass_fields__}, "leaves": tuple(leaves)})

oracle_node.OracleNode.readings_of = readings_of
"""

COPIER = """
import os, sqlite3, time
from walras.errors import MeteringError
from walras.metering import Vote
from walras.service import oracle_node

def receive(self, encoded):
    return self._opened(encoded).number  # acknowledged, and nothing looked at or kept

def report(self, slot):
    raise MeteringError("nothing to report", thing=slot)

def vote(self, slot, salts=None):
    with sqlite3.connect(os.environ["COPIED_STORE"]) as db:
        row = db.execute("select root, signature from vote where slot = ?", (slot,)).fetchone()
    if row is None:
        raise MeteringError("nothing to copy yet", thing=slot)
    return Vote(self._duty.number, slot, bytes(row[0]), self._sign(slot, bytes(row[0])))

oracle_node.OracleNode.receive, oracle_node.OracleNode.report, oracle_node.OracleNode.vote = receive, report, vote
"""

BALANCE_LIAR = """
import cbor2
from walras.service import oracle_node

honest = oracle_node.OracleNode.report

def report(self, slot):
    leaves, refused, _, delays = cbor2.loads(honest(self, slot))
    return cbor2.dumps([leaves, {**refused, 1: 7}, [0, 1], [3600] * len(delays) if slot % 2 else "never"])

oracle_node.OracleNode.report = report
"""

MAIN = """
import sys
exec(sys.argv.pop(1))
if sys.argv[1] == "run":
    from walras.service.remote_metering import Nodes
    Nodes.__init__.__defaults__ = (float(sys.argv.pop(2)),)
from walras.cli import main
main()
"""


def process(lie: str, *command: str, copied: Path = Path()) -> subprocess.Popen[str]:
    path = os.pathsep.join(part for part in sys.path if part)
    environment = {**os.environ, "PYTHONPATH": path, "COPIED_STORE": str(copied)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", MAIN, lie, *command], env=environment, text=True, **streams)  # type: ignore[call-overload, no-any-return]


def run_with(folder: Path, lies: dict[int, str], *, oracles: int, patience_s: float = 300.0) -> tuple[Path, int, str]:
    """A few hours of rural1 over processes, some of which lie: the run's folder, its exit code, what it said."""
    file, clock, out = folder / "hourly.toml", folder / "clock", folder / "run"
    text = (EXAMPLES / "rural1.toml").read_text().replace("slot_minutes = 15", "slot_minutes = 60")
    file.write_text(text.replace("oracles = 4\n", f"oracles = {oracles}\n"))
    ports = [free_port() for _ in range(oracles + 1)]
    where = ",".join(f"127.0.0.1:{port}" for port in ports[1:])
    nodes = []
    for n, port in enumerate(ports[1:]):
        own = ("--listen", f"127.0.0.1:{port}", "--clock", str(clock), "--store", str(folder / f"oracle-{n}.sqlite"))
        nodes.append(process(lies.get(n, ""), "oracle", str(file), str(n), *own, copied=folder / "oracle-0.sqlite"))
    own = ("--listen", f"127.0.0.1:{ports[0]}", "--clock", str(clock), "--store", str(folder / "gateway.sqlite"))
    nodes.append(process("", "gateway", str(file), "--oracles", where, *own))
    over = ("--gateway", f"127.0.0.1:{ports[0]}", "--oracles", where, "--clock", str(clock))
    stop = ("--until", "2016-06-21T03:00")
    run = process("", "run", str(patience_s), str(file), "--out", str(out), *over, *stop)
    try:
        shown, said = run.communicate(timeout=400)
    finally:
        for node in nodes:
            node.kill()
            node.communicate()
    return out, run.returncode, shown + said


def attested_by(out: Path) -> list[list[int]]:
    return [e.public["oracles"] for e in read_public_record(out / PUBLIC) if e.kind == "attested"]


@pytest.mark.nightly
def test_an_oracle_process_that_lies_alone_is_outvoted_and_the_record_names_who_attested(tmp_path: Path) -> None:
    out, code, said = run_with(tmp_path, {3: LIAR}, oracles=4)
    assert code == 0, said
    assert attested_by(out) == [[0, 1, 2]] * 3
    assert Audit(out / PUBLIC).run().checked["oracle signatures"] == 9


@pytest.mark.nightly
def test_oracle_processes_that_collude_in_a_minority_stop_nothing(tmp_path: Path) -> None:
    out, code, said = run_with(tmp_path, {1: LIAR, 4: LIAR}, oracles=5)
    assert code == 0, said
    assert attested_by(out) == [[0, 2, 3]] * 3
    assert Audit(out / PUBLIC).run().slots == 3


@pytest.mark.nightly
def test_half_of_the_oracles_in_collusion_only_stop_and_nothing_false_settles(tmp_path: Path) -> None:
    out, code, said = run_with(tmp_path, {1: LIAR, 3: LIAR}, oracles=4, patience_s=8.0)
    assert (code, "no quorum of oracles holds the same readings" in " ".join(said.split())) == (1, True), said
    assert not (out / PUBLIC).exists() or attested_by(out) == []


@pytest.mark.nightly
def test_an_oracle_process_that_copies_a_root_without_the_readings_has_no_vote(tmp_path: Path) -> None:
    out, code, said = run_with(tmp_path, {3: COPIER}, oracles=4, patience_s=8.0)
    assert code == 0, said
    assert attested_by(out) == [[0, 1, 2]] * 3


@pytest.mark.nightly
def test_an_oracle_process_that_lies_about_the_balance_is_outvoted_in_that_too(tmp_path: Path) -> None:
    out, code, said = run_with(tmp_path, {0: BALANCE_LIAR}, oracles=4)
    assert code == 0, said
    admitted = [e.public for e in read_public_record(out / PUBLIC) if e.kind == "readings_admitted"]
    assert all(public["refused"] == {} and public["balance_wh"] != [0, 1] for public in admitted)
    journal = open_journal(out)
    heard = [delay_of(e, row) for e in journal.entries() if e.kind == "readings_admitted" for row in range(13)]
    journal.close()
    assert set(heard) == {0}  # nor does it say when meters were heard


@pytest.mark.parametrize(("factor", "word"), [(0.4, "too little export"), (1.6, "too much export")])
def test_a_meter_that_lies_about_its_plant_is_caught_by_the_feeder_and_pointed_at(
    factor: float, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from walras.study.meters import Meters

    honest, liar = Meters.sign, 12

    def sign(self: Meters, slot: int, counter: int, net_wh: object) -> list[bytes]:
        told = net_wh.copy()  # type: ignore[attr-defined]
        if told[liar] < 0:
            told[liar] = round(int(told[liar]) * factor)
        return honest(self, slot, counter, told)

    monkeypatch.setattr(Meters, "sign", sign)
    file = tmp_path / "hourly.toml"
    file.write_text((EXAMPLES / "rural1.toml").read_text().replace("slot_minutes = 15", "slot_minutes = 60"))
    for _ in Run(file, tmp_path / "run", Options()):
        pass
    checks = [
        FeederCheck(*e.public["balance_wh"]) for e in read_public_record(tmp_path / "run" / PUBLIC) if e.kind == "readings_admitted"
    ]
    assert sum(not check.holds for check in checks) >= 8
    summary_table(Console(width=200), tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert f"account {liar} shows {word}" in said
    report_command(tmp_path / "run", tmp_path / "page.html", "2", "3000", 96)
    name = load_community(file).members[liar].id
    assert f"{name} shows {word}" in (tmp_path / "page.html").read_text()


def test_an_honest_day_is_not_accused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from e2e.runs import rural1_day

    summary_table(Console(width=200), rural1_day())
    assert "feeder's own meter" not in capsys.readouterr().out
    assert json.loads((rural1_day() / PUBLIC).read_text().splitlines()[0])["kind"] == "run_opened"
