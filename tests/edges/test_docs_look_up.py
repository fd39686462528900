"""The look-up pages name what there is: every command and its options, every convention."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from walras.cli import app, imports
from walras.market.conventions import Conventions
from walras.market.registry import MECHANISMS

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = (DOCS / "look-up" / "commands.md").read_text(encoding="utf-8")


def names(of: object) -> list[str]:
    return [name for name in of if not name.startswith("-")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", names(app))
def test_every_command_is_on_the_page(command: str) -> None:
    assert f"`walras {command} " in COMMANDS


def test_every_importer_is_on_the_page() -> None:
    for name in names(imports):
        assert f"walras import {name}" in COMMANDS


def test_every_convention_is_on_the_page() -> None:
    for field in dataclasses.fields(Conventions):
        assert f"`{field.name}`" in COMMANDS


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_mechanism_has_a_page(name: str) -> None:
    page = DOCS / "explain" / "mechanisms" / f"{name}.md"
    assert page.is_file(), f"docs/explain/mechanisms/{name}.md is missing"
    assert len(page.read_text(encoding="utf-8")) > 400
