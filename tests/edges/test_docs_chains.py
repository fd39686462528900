"""The page about chains quotes gas as it was measured, and a source for every figure of a chain."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explain" / "chains.md").read_text(encoding="utf-8")


def test_gas_on_the_page_is_gas_in_the_kept_results() -> None:
    results = json.loads((ROOT / "bench" / "results.json").read_text(encoding="utf-8"))
    kept = results["results"] if isinstance(results, dict) else results
    measured = [int(n) for one in kept if one["name"].startswith("ledger") for n in re.findall(r"\d{4,}", one["detail"])]
    table = PAGE.split("## What gas buys")[1].split("\n## ")[0]
    quoted = [int(number.replace(",", "")) for number in re.findall(r"\d{1,3}(?:,\d{3})+", table)]
    assert len(quoted) >= 14
    for gas in quoted:
        assert any(gas == pytest.approx(one, rel=0.02) for one in measured), gas


def test_every_source_is_cited_and_every_citation_has_its_source() -> None:
    text, sources = PAGE.split("## Sources")
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", text)}
    listed = {int(number) for number in re.findall(r"^(\d+)\. ", sources, re.MULTILINE)}
    assert cited == listed


def test_each_kind_of_chain_has_its_finality_throughput_and_electricity() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ")]
    table = {row[0].strip(): row[1:] for row in rows if len(row) == 5}
    for figure in ("a block every", "final", "throughput", "electricity", "stops when"):
        assert all(cell.strip() for cell in table[figure])
        assert len(table[figure]) == 4
