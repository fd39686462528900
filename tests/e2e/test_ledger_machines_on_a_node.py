"""Every state machine runs on a real node as it is: rules, twin and invariants, each sequence from the same prepared state.

A machine draws at random what it does next, so each has a node of its own; a copy of its world is the node set back to where the
original stood. What stays unlike the embedded chain is then found by the machine's own twin.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import pytest

from e2e.test_ledger_four_nodes import STORIES
from ledger_machines import forget_prepared, hunting, run_machine
from ledger_planted import planted
from ledger_world import AnvilChain, anvil, rpc
from walras.ledger import Genesis

MACHINES = [name for name, story in STORIES.items() if story.module]
EVERY_TIME = ("channels",)


class NodeChain(AnvilChain):
    """A node of its own for each prepared world; of its copies only the latest is to be used."""

    def __init__(self, genesis: Genesis, stack: ExitStack) -> None:
        super().__init__(stack.enter_context(anvil(hardfork="prague")), genesis.funded)
        self.original: NodeChain | None = None
        self.kept: str | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> NodeChain:
        """The node as it was when the first copy was made."""
        assert self.original is None, "a copy of a copy: the original's state would be lost"
        if self.kept is not None:
            assert rpc(self.url, "evm_revert", self.kept)
        self.kept = rpc(self.url, "evm_snapshot")
        copy = NodeChain.__new__(NodeChain)
        memo[id(self)] = copy
        AnvilChain.__init__(copy, self.url, ())
        copy.original, copy.kept = self, None
        return copy


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Nodes that end with the test."""
    forget_prepared()
    with ExitStack() as made:
        yield made
    forget_prepared()


def run_on_a_node(name: str, stack: ExitStack, sequences: int, steps: int = 20) -> None:
    story = STORIES[name]
    module = importlib.import_module(f"stateful.{story.module}")
    with mock.patch.object(module, "machine_chain", lambda genesis: NodeChain(genesis, stack)):
        run_machine(getattr(module, story.machine), hunting(sequences, steps), signed=True)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in EVERY_TIME else pytest.mark.nightly) for n in MACHINES])
def test_a_machine_finds_nothing_on_a_node(name: str, stack: ExitStack) -> None:
    run_on_a_node(name, stack, 2 if name in EVERY_TIME else 8, 10 if name in EVERY_TIME else 20)


@pytest.mark.nightly
def test_a_planted_bug_is_found_on_a_node_too(stack: ExitStack) -> None:
    wrong = ("if (paymentSum != 0) revert", "if (paymentSum > 0) revert")
    with planted("Settlement", *wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_on_a_node("settlement", stack, 40, 25)
