"""The whole suite of the contracts on a real node: what `make test` tries on the embedded EVM, every chain being a node.

Left out is what is of the embedded chain itself (tests that make an `EmbeddedChain` by name: its adapter, its determinism), and the
state machines, which run on a node in test_ledger_machines_on_a_node.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ledger_world import ROOT, anvil_binary

TESTS = ROOT / "tests"
OWN = ("four_nodes", "machines_on_a_node", "suite_on_a_node")
MACHINES = ("test_the_pool_equals_the_markets_pool", "test_a_channel_pays_the_latest_balance_shown", "planted_bug")
FILES = sorted(
    path
    for folder in ("edges", "laws", "e2e", "stateful")
    for path in (TESTS / folder).glob("test_ledger_*.py")
    if not any(name in path.stem for name in OWN) and not path.stem.endswith(("_machine", "_quick_chain", "_planted_table"))
)


@pytest.mark.nightly
def test_the_whole_suite_passes_on_a_node() -> None:
    anvil_binary()
    chosen = ["-m", "not nightly", "-k", " and ".join(f"not {name}" for name in MACHINES)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *chosen, *map(str, FILES)]
    on_a_node = os.environ | {"WALRAS_LEDGER": "anvil", "WALRAS_NIGHTLY": "0"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=3_600, env=on_a_node)
    assert done.returncode == 0, done.stdout[-5_000:]
