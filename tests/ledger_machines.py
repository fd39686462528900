"""How the ledger's state machines run: two hundred sequences of each in a test run, thousands where WALRAS_NIGHTLY=1, each from a
copy of one prepared world (a chain here is plain data, so a copy takes milliseconds where a deployment takes a hundred).

They run on revm (`QuickChain`, 12 to 36 ms a sequence) where pyrevm is installed, 10,000 of each machine at night. Where it is
not, each machine runs the dozen its test asks for on the embedded chain, at a third of a second each, and 1,000 at night.
WALRAS_EVM (revm, embedded) and WALRAS_SEQUENCES say otherwise. That both chains do the same is tested on every machine
(`test_ledger_quick_chain.py`).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from ledger_memo import remembering
from quick_chain import QuickChain, pyrevm
from walras.ledger import Chain, EmbeddedChain, Genesis

NIGHTLY = os.environ.get("WALRAS_NIGHTLY") == "1"
EVM = os.environ.get("WALRAS_EVM", "embedded" if pyrevm is None else "revm")
PER_MACHINE = {("revm", False): 200, ("revm", True): 10_000, ("embedded", True): 1_000}
SEQUENCES = int(os.environ.get("WALRAS_SEQUENCES", PER_MACHINE.get((EVM, NIGHTLY), 0)))  # 0: what the test asks for

T = TypeVar("T")
_PREPARED: dict[str, Any] = {}


def machine_chain(genesis: Genesis) -> Chain:
    """A fresh chain for a machine, of the kind that this run uses."""
    return QuickChain(genesis) if EVM == "revm" else EmbeddedChain(genesis)


def prepared(build: Callable[[], T]) -> T:
    """A copy of what `build` makes; it is called once, and again after `forget_prepared`."""
    key = f"{build.__module__}.{build.__qualname__}"
    if key not in _PREPARED:
        _PREPARED[key] = build()
    made: T = copy.deepcopy(_PREPARED[key])
    return made


def forget_prepared() -> None:
    """Whoever changes a contract's code says so here."""
    _PREPARED.clear()


def machine_settings(examples: int = 8, steps: int = 20) -> settings:
    """`examples` sequences on the embedded chain, `SEQUENCES` elsewhere; without shrinking at night: told as it was found."""
    return settings(
        max_examples=SEQUENCES or examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate) if NIGHTLY else (Phase.explicit, Phase.generate, Phase.shrink),
    )


def run_machine(machine: type[RuleBasedStateMachine], how: settings, *, signed: bool = EVM != "revm") -> None:
    """`run_state_machine_as_test`, with what is pure remembered; `signed` where the transactions are to be real ones."""
    with remembering(unsigned=not signed):
        run_state_machine_as_test(machine, settings=how)


def hunting(examples: int = 60, steps: int = 20) -> settings:
    """To look for a planted bug: the same sequences every time, none remembered."""
    alike = settings(machine_settings(), phases=(Phase.generate,), database=None, derandomize=True)
    return settings(alike, max_examples=examples, stateful_step_count=steps)
