"""The pictures of the mechanisms in the docs are those that the mechanisms draw today, one for each on the shelf."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from walras.market.registry import MECHANISMS

ROOT = Path(__file__).parents[2]


def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_mechanisms", ROOT / "tools" / "draw_mechanisms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", MECHANISMS)
def test_the_picture_is_up_to_date(name: str) -> None:
    drawn = drawing().picture(MECHANISMS[name])
    ElementTree.fromstring(drawn)
    kept = ROOT / "docs" / "explain" / "mechanisms" / f"{name}.svg"
    assert kept.read_text(encoding="utf-8") == drawn, "run: python tools/draw_mechanisms.py"
