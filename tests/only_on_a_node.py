"""A pytest plugin for a run on a node (`-p only_on_a_node`): a test that makes an embedded chain fails, so none passes beside it.

The chain's own tests are left out of such a run by name (tests/e2e/test_ledger_suite_on_a_node.py).
"""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from walras.ledger import EmbeddedChain


def pytest_configure(config: pytest.Config) -> None:
    """From here on there is no other chain than the node's."""

    def refuse(self: EmbeddedChain, *arguments: Any, **named: Any) -> NoReturn:
        raise AssertionError("an embedded chain in a run on a node; way out: `chain_of` of ledger_world gives the run's chain")

    EmbeddedChain.__init__ = refuse  # type: ignore[method-assign]
