"""The page of a community on a chain: every command on it, in its order, on a real node whose gas is free."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from e2e.test_run_on_a_manifest import by_the_hour
from ledger_world import ROOT, anvil, rpc
from walras import cli
from walras.ledger import JsonRpcChain

PAGE = (ROOT / "docs" / "do" / "your-community-on-a-chain.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (walras .*)$", PAGE, re.MULTILINE)
NODE = "http://127.0.0.1:8545"
FREE = ("--base-fee", "0", "--gas-price", "0")
HOUR, WEEK = 3_601, 8 * 86_400


def walras(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """One command; a failure is the test's."""
    real = cli.app
    with monkeypatch.context() as patch:
        patch.setattr(cli, "app", lambda: real(words))
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert not end.value.code, words


def test_every_command_of_the_page_does_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    by_the_hour(tmp_path, "\n[ledger]\ncorrection_window_slots = 24\n").rename("community.toml")
    by_the_hour(tmp_path, '\n[ledger]\nsettle = "batches"\nbatch_slots = 12\n').rename("batches.toml")
    Path("watcher.hex").write_text("11" * 32)
    said: dict[str, list[str]] = {}
    with anvil(options=FREE) as url:
        for command in COMMANDS:
            assert NODE in command or "--chain" not in command
            words = shlex.split(command.replace(NODE, url))[1:]
            walras(monkeypatch, words)
            said.setdefault(words[0], []).append(" ".join(capsys.readouterr().out.split()))
            if words[0] == "exit":
                rpc(url, "evm_increaseTime", WEEK if "batched" in command else HOUR)
                rpc(url, "evm_mine")
                walras(monkeypatch, words)
                said["exit"].append(" ".join(capsys.readouterr().out.split()))
        node = JsonRpcChain(url)
        assert node.suggested_fees().max_fee_per_gas == 0
    assert [len(said[name]) for name in ("deploy", "run", "audit", "certificate", "watchtower", "exit")] == [2, 4, 2, 3, 1, 4]
    assert all("24 slots hold" in text for text in said["audit"])
    assert re.search(r"issued [1-9][\d.]* kWh of", said["certificate"][0])
    assert "'Mill Lane 4'" in said["certificate"][1]
    assert re.search(r"[1-9]\d* receipts hold", said["certificate"][2])
    assert "batch 1: right" in said["watchtower"][0]
    asked, fetched, waits, left = said["exit"]
    assert "asked for" in asked
    assert re.search(r"fetched paid [1-9][\d.]* EUR", fetched)
    assert "asked for" in waits
    assert re.search(r"the operator was silent: halted, and left .* paid [1-9][\d.]* EUR", left)


def test_the_errors_of_the_page_are_those_of_the_product() -> None:
    """Each first column is found in the source, up to its numbers."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "walras").rglob("*.py"))
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert len(rows) >= 8
    for row in rows:
        pieces = [piece.strip() for piece in re.split(r"…|\d+|terms\.threshold.*|mainnet", row) if len(piece.strip()) > 6]
        assert pieces, row
        assert [piece for piece in pieces if piece.strip(" :,") not in source] == [], row
