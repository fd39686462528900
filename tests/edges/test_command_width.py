"""What commands print fits 80 columns, whatever is said; only a path or a hash may be longer, and no number leaves its unit."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from command_world import walras, world
from walras.commands.terminal import wrapped

COMMANDS = (
    "audit {run}",
    "bill {run} home-1",
    "bill {run} farm-1 --json {here}/bill.json",
    "consent {run} home-2 research",
    "validate {run}",
    "statistics {run}",
    "statistics {run} consumption --by hour --epsilon 0.2",
    "export {run} home-1 --out {here}/export.json",
    "report {run} --out {here}/report.html",
    "network {c} --out {here}/network.html --envelopes proportional --json {here}/envelopes.json",
    "enrol {c} home-1 --operator {here}/key.pem --key {here}/key.pem --unattested --out {here}/credentials/home-1.jwt",
    "revoke {c} home-1 --operator {here}/key.pem --status {here}/status",
    "key {here}/key.pem",
    "key secret:{here}/secret",
    "run {c} --out {run}",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_prints_fits_80_columns(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = world()
    monkeypatch.setenv("COLUMNS", "80")
    places = {"here": str(folder), "c": str(folder / "community.toml"), "run": str(folder / "run")}
    assert walras(*command.format_map(places).split()) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines
    assert [line for line in lines if len(line.rstrip()) > 80 and str(folder) not in line] == []
    assert not any(re.search(r"\d$", line) and re.match(r" +(EUR|kWh|kVA|%)", after) for line, after in pairwise(lines))


def test_a_path_is_never_broken_and_never_read_as_markup(tmp_path: Path) -> None:
    path = str(tmp_path / "a-very-long-name-[bold]" / ("x" * 90))
    assert list(wrapped(f"written: {path}", 40)) == ["written:", f"  {path}"]


def test_a_run_says_which_limits_wait_for_prices(capsys: pytest.CaptureFixture[str]) -> None:
    folder = world()
    assert walras("run", str(folder / "community.toml"), "--out", str(folder / "run")) == 0
    printed = capsys.readouterr().out
    assert "[wires] import_limit_kw, reserve_up_kw do nothing here" in printed
    assert "way out: --mechanism nodal" in printed
