"""The page of adversaries names tests that exist, and every adversary that the project promises to withstand."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "explain" / "adversaries.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| adversary |")
]
PROMISED = (
    "forges a reading", "replays", "withholds", "reorders", "back-dates", "clock is fast", "clock is slow", "stolen key",
    "drops, changes or invents", "under-reports generation", "over-reports it for certificates", "copy each other", "lies alone",
    "collude in a minority", "false witness", "neighbour's readings", "SIGKILL",
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_adversary_has_an_outcome_and_a_test_that_exists(row: list[str]) -> None:
    adversary, outcome, played = row
    assert adversary
    assert outcome
    found = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", played)
    assert found, played
    assert played.strip(" |") == " ".join(f"`{file}::{test}`" for file, test in found)
    for file, test in found:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


@pytest.mark.parametrize("promise", PROMISED)
def test_every_promised_adversary_is_on_the_page(promise: str) -> None:
    assert any(promise in row[0] for row in ROWS)
