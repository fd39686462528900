"""The page on what is proved of the contracts names them all, and counts each machine's planted bugs and symbolic properties."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from types import ModuleType

import pytest

from ledger_world import ROOT

PAGE = (ROOT / "docs" / "explain" / "what-is-proved-of-the-contracts.md").read_text(encoding="utf-8")
SOURCES = ROOT / "src" / "walras" / "ledger" / "contracts"
SYMBOLIC = ROOT / "tests" / "symbolic"
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
INTERFACES = {"IGate"}


def module_of(machine: str) -> ModuleType:
    for name in (f"test_ledger_{machine}_machine", f"test_ledger_{machine}"):
        if (ROOT / "tests" / "stateful" / f"{name}.py").exists():
            return importlib.import_module(f"stateful.{name}")
    raise AssertionError(machine)


def planted_in(machine: str) -> int:
    """How many variants of a contract the machine must find wrong."""
    test = module_of(machine).test_a_planted_bug_is_found
    return sum(len(list(mark.args[1])) for mark in test.pytestmark if mark.name == "parametrize")


def test_every_contract_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {path.stem for path in SOURCES.glob("*.sol")} - INTERFACES <= named


@pytest.mark.parametrize("machine", sorted({row[2].strip("`") for row in ROWS if row[3]}))
def test_the_page_counts_the_planted_bugs(machine: str) -> None:
    said = sum((Counter({row[2].strip("`"): int(row[3])}) for row in ROWS if row[3]), Counter[str]())
    assert said[machine] == planted_in(machine)


def test_a_row_has_symbolic_properties_where_there_are_some() -> None:
    proved = {path.name.removesuffix(".t.sol") for path in SYMBOLIC.glob("*.t.sol")}
    told = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[0]) if row[4]}
    assert proved <= told
    assert all(set(re.findall(r"`(\w+)`", row[0])) & proved for row in ROWS if row[4])
