"""Runs that several end-to-end tests share: made once a test process, in a folder that pytest removes."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from walras.study.runner import Options, Run

EXAMPLES = Path(__file__).parents[2] / "examples"


@cache
def rural1_day() -> Path:
    """A day of rural1, undisturbed. Do not write into it: `copy_of` gives a copy."""
    folder = Path(mkdtemp(prefix="walras-test-")) / "rural1"
    for _ in Run(EXAMPLES / "rural1.toml", folder, Options()):
        pass
    return folder


def copy_of(run: Path, to: Path) -> Path:
    """A copy that a test may break."""
    shutil.copytree(run, to)
    return to
