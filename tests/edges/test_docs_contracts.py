"""The pages on oracles and on adversaries of the contracts: each test that is named exists, each figure is what the rules give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from walras.ledger import LedgerTerms
from walras.ledger.oracle_bond import bribe_floor
from walras.ledger.shelf import DAY_S, AdditionTerms

ROOT = Path(__file__).parents[2]
ADVERSARIES = (ROOT / "docs" / "explain" / "adversaries-of-the-contracts.md").read_text(encoding="utf-8")
ORACLES = (ROOT / "docs" / "explain" / "oracles.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/\w+/test_\w+\.py)::(test_\w+)`", ADVERSARIES)))
QUORUMS = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", ORACLES, re.MULTILINE)


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_a_test_that_the_page_names_exists(path: str, test: str) -> None:
    assert f"\ndef {test}(" in (ROOT / path).read_text(encoding="utf-8")


def test_every_row_of_the_page_names_a_test() -> None:
    rows = [line for line in ADVERSARIES.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"\| (`tests/\w+/test_\w+\.py::test_\w+` ?)+\|$", row)] == []


def test_the_table_of_quorums_is_what_the_rules_give() -> None:
    assert len(QUORUMS) == 7
    for row in QUORUMS:
        n, m, away, lie, twice, stakes = map(int, row)
        assert n // 2 < m <= n
        assert (away, lie, twice) == (n - m, m, 2 * m - n)
        assert bribe_floor(n, m, 1) == stakes


def test_the_times_on_the_page_are_those_of_the_default_terms() -> None:
    terms = AdditionTerms()
    days = (terms.exit_timeout_s, terms.dispute_answer_s, terms.unbonding_delay_s)
    assert [seconds // DAY_S for seconds in days] == [7, 3, 45]
    assert LedgerTerms((), ("0x" + "11" * 20,), 1, ()).withdrawal_delay_s == 3_600
    assert "an hour from asking to withdrawing, seven days without a batch to the halt, three days to" in ORACLES
    assert "forty-five days" in ORACLES
    assert (bribe_floor(4, 3, 1_000_000), bribe_floor(4, 3, 1_000_000, 1_000)) == (2_000_000, 1_800_000)


def test_the_symbolic_properties_and_slithers_findings_are_counted() -> None:
    """What halmos proves is one function each; what slither finds is told row by row, a detector and the places that it names."""
    proved = (ROOT / "docs" / "explain" / "what-is-proved-of-the-contracts.md").read_text(encoding="utf-8")
    checks = [
        name for path in (ROOT / "tests" / "symbolic").glob("*.t.sol") for name in re.findall(r"function check_", path.read_text())
    ]
    assert f"There are {len(checks)} symbolic properties" in proved
    slither = (ROOT / "docs" / "decisions" / "slither.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \|", slither, re.MULTILINE)
    places = {(detector, place) for detector, where in rows for place in re.findall(r"`([^`]+)`", where)}
    assert f"The {len(places)} findings" in slither
