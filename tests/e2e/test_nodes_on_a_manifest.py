"""Oracles as processes sign for contracts that stand on a real node: their votes reach them, directly and in batches."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from e2e.nodes import child, free_port
from e2e.runs import EXAMPLES
from ledger_world import anvil, rpc
from walras.commands.deploy import deploy_command
from walras.community import load_community
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.exchange.statement import opened_terms, settled_slots
from walras.ledger import JsonRpcChain
from walras.ledger.standing import read_standing
from walras.study.meters import run_seed
from walras.study.runner import PUBLIC, Options, Run, ledger_keys

RULES = {"direct": "", "batches": '\n[ledger]\nsettle = "batches"\nbatch_slots = 12\n'}


def paid(run: Path) -> list[tuple[int, list[int]]]:
    record = read_public_record(run / PUBLIC)
    terms, _ = opened_terms(record)
    return [(s.slot, s.accounts.cash_nano.tolist()) for s in settled_slots(terms, record)]


@pytest.mark.nightly
@pytest.mark.parametrize("settle", RULES)
def test_votes_of_oracle_processes_reach_the_contract_on_a_node_and_pay_as_in_one_process(settle: str, tmp_path: Path) -> None:
    file, manifest, out, clock = (tmp_path / name for name in ("hourly.toml", "ledger.json", "run", "clock"))
    text = (EXAMPLES / "rural1.toml").read_text().replace("slot_minutes = 15", "slot_minutes = 60")
    file.write_text(text + RULES[settle])
    keys = ledger_keys(run_seed(load_community(file)))
    ports = [free_port() for _ in range(5)]
    oracles = ",".join(f"127.0.0.1:{port}" for port in ports[1:])
    running: list[subprocess.Popen[str]] = []
    with anvil() as url:
        for address in (keys.admin.address, keys.operator.address):
            rpc(url, "anvil_setBalance", address, hex(10**21))
        deploy_command(file, url, manifest, "permissioned", None)
        try:
            for n, port in enumerate(ports[1:]):
                own = ["--listen", f"127.0.0.1:{port}", "--clock", str(clock), "--store", str(tmp_path / f"oracle-{n}.sqlite")]
                running.append(child("", 0, ["oracle", str(file), str(n), *own, "--manifest", str(manifest)]))
            own = ["--listen", f"127.0.0.1:{ports[0]}", "--clock", str(clock), "--store", str(tmp_path / "gateway.sqlite")]
            running.append(child("", 0, ["gateway", str(file), "--oracles", oracles, *own]))
            where = ["--gateway", f"127.0.0.1:{ports[0]}", "--oracles", oracles, "--clock", str(clock)]
            run = child("", 0, ["run", str(file), "--out", str(out), "--chain", url, "--manifest", str(manifest), *where])
            shown = run.communicate(timeout=500)[0]
            assert run.returncode == 0, shown
        finally:
            for process in running:
                process.kill()
                process.communicate()
        report = Audit(out / PUBLIC, JsonRpcChain(url)).run()
        assert report.slots == 24
        assert report.checked["oracle signatures"] == 96
    opened = next(e.public for e in read_public_record(out / PUBLIC) if e.kind == "ledger_deployed")
    assert opened["settlement"] == read_standing(manifest).addresses.settlement
    assert re.search(r"journal: [0-9a-f]{64}$", shown.strip())
    for _ in Run(file, tmp_path / "alone", Options()):
        pass
    assert paid(out) == paid(tmp_path / "alone")
