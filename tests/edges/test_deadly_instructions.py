"""Every instruction at which a night's test kills a process exists: a renamed method would leave that death untested."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

FILES = (
    "test_nodes_kill",
    "test_nodes_late",
    "test_nodes_batches",
    "test_nodes_batch_refused",
    "test_masked_run",
    "test_meter_exchange_over_processes",
)
DEADLY = re.compile(r"(walras(?:\.\w+)+)\|(?:before|after)\|\d+")


def strings(value: Any) -> Iterator[str]:
    """All strings in what a test is parametrized with."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from strings(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from strings(one)


def instructions(file: str) -> set[str]:
    """Those in a module's own tables and in what its tests are parametrized with."""
    given = list(vars(importlib.import_module(f"e2e.{file}")).values())
    marks = [mark for one in given for mark in getattr(one, "pytestmark", []) if mark.name == "parametrize"]
    texts = strings([*(one for one in given if isinstance(one, dict | list | tuple)), *(mark.args[1] for mark in marks)])
    return {found for text in texts for found in DEADLY.findall(text)}


@pytest.mark.parametrize("file", FILES)
def test_a_deadly_instruction_is_a_method_that_there_is(file: str) -> None:
    named = instructions(file)
    assert named
    for where in named:
        module, owner, method = where.rsplit(".", 2)
        assert callable(getattr(getattr(importlib.import_module(module), owner), method)), where
