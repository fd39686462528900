"""A run that settles on a real node over JSON-RPC: same positions as in memory, cut off and continued, nothing done twice."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from e2e.runs import EXAMPLES, rural1_day
from ledger_world import anvil, rpc
from walras.commands.deploy import deploy_command
from walras.community import load_community
from walras.errors import AuditError, InputError, LedgerError
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.ledger import JsonRpcChain
from walras.study.meters import run_seed
from walras.study.runner import PUBLIC, Options, Run, ledger_keys


def fund(url: str) -> None:
    keys = ledger_keys(run_seed(load_community(EXAMPLES / "rural1.toml")))
    for key in (keys.admin, keys.operator):
        rpc(url, "anvil_setBalance", key.address, hex(10**21))


def test_a_run_on_a_node_cut_off_and_continued_settles_what_the_embedded_chain_settles(tmp_path: Path) -> None:
    with anvil() as url:
        fund(url)
        for _ in islice(Run(EXAMPLES / "rural1.toml", tmp_path, Options(chain_url=url)), 30):
            pass  # dropped in the middle: the journal and the node know 30 slots
        for _ in Run(EXAMPLES / "rural1.toml", tmp_path, Options(chain_url=url)):
            pass
        report = Audit(tmp_path / PUBLIC, JsonRpcChain(url)).run()
        assert report.slots == 96
        node, memory = (
            [e.public for e in read_public_record(run / PUBLIC) if e.kind == "settlement_submitted"]
            for run in (tmp_path, rural1_day())
        )
        for mine, theirs in zip(node, memory, strict=True):
            assert mine["cash_nano"] == theirs["cash_nano"]
            assert mine["trades_root"] == theirs["trades_root"]


def test_an_audit_against_a_node_that_does_not_have_the_run_says_so() -> None:
    with anvil() as url, pytest.raises((AuditError, LedgerError)):
        Audit(rural1_day() / PUBLIC, JsonRpcChain(url)).run()


def test_a_node_on_which_the_operator_has_no_money_is_a_named_error(tmp_path: Path) -> None:
    with anvil() as url, pytest.raises(LedgerError, match="fund"):
        for _ in Run(EXAMPLES / "rural1.toml", tmp_path, Options(chain_url=url)):
            pass


def test_deploying_twice_confirms_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "ledger.json"
    with anvil() as url:
        fund(url)
        deploy_command(EXAMPLES / "rural1.toml", url, manifest, "permissioned", None)
        first, block, said = manifest.read_bytes(), rpc(url, "eth_blockNumber"), capsys.readouterr().out
        deploy_command(EXAMPLES / "rural1.toml", url, manifest, "permissioned", None)
        assert manifest.read_bytes() == first
        assert rpc(url, "eth_blockNumber") == block
        assert capsys.readouterr().out == said


def test_a_deployment_with_a_bad_profile_or_secret_is_a_named_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--profile"):
        deploy_command(EXAMPLES / "rural1.toml", "http://127.0.0.1:1", tmp_path / "m.json", "moon", None)
    (tmp_path / "secret").write_text("00ff")
    with pytest.raises(InputError, match="64 hex digits"):
        deploy_command(EXAMPLES / "rural1.toml", "http://127.0.0.1:1", tmp_path / "m.json", "l2", tmp_path / "secret")
