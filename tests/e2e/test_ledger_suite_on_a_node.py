"""The whole suite of the contracts on a real node: what the tests try on the embedded EVM, every chain being a node.

Left out by name is what is of the embedded chain itself (its replay, its equality with a node), and the state machines with their
planted bugs, which run on a node in test_ledger_machines_on_a_node. In what is left no embedded chain can be made
(`only_on_a_node`), so that a test passes on the node or not at all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger_world import ROOT, anvil_binary

TESTS = ROOT / "tests"
OWN = ("four_nodes", "machines_on_a_node", "suite_on_a_node")
MACHINES = ("test_the_pool_equals_the_markets_pool", "test_a_channel_pays_the_latest_balance_shown", "test_a_planted_bug_is_found")
OF_THE_EMBEDDED_CHAIN = (
    "test_replaying_the_journal_gives_the_same_state_root_and_block_hash",
    "test_the_same_journal_gives_both_chains_the_same_accounts_and_the_same_gas",
    "test_a_genesis_without_money_is_refused",
    "test_four_nodes_fed_the_same_blocks_have_equal_roots_and_hashes",
    "test_four_embedded_chains_fed_the_same_transactions_have_equal_blocks",
)
FILES = sorted(
    path
    for folder in ("edges", "laws", "e2e", "stateful")
    for path in (TESTS / folder).glob("test_ledger_*.py")
    if not any(name in path.stem for name in OWN) and not path.stem.endswith(("_machine", "_quick_chain", "_planted_table"))
)


def on_a_node(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Tests in a process of their own, in which the only chain is a node."""
    alone = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "only_on_a_node"]
    command = [sys.executable, "-m", "pytest", "-q", *alone, *map(str, arguments)]
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    kind = os.environ | {"WALRAS_LEDGER": "anvil", "WALRAS_NIGHTLY": "0", "PYTHONPATH": path, "COLUMNS": "130"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1_800, env=kind)


@pytest.mark.nightly
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_whole_suite_passes_on_a_node(path: Path) -> None:
    anvil_binary()
    done = on_a_node("-k", " and ".join(f"not {name}" for name in MACHINES + OF_THE_EMBEDDED_CHAIN), path)
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]


@pytest.mark.nightly
def test_a_test_that_leaves_the_node_fails() -> None:
    anvil_binary()
    done = on_a_node("-k", OF_THE_EMBEDDED_CHAIN[0], TESTS / "e2e" / "test_ledger_chains.py")
    assert done.returncode == 1
    assert "an embedded chain in a run on a node" in done.stdout
