"""The Python on the page about rights runs as it stands, and prints what its comments say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "do" / "rights-in-python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    assert len(BLOCKS) == 6
    for block in BLOCKS:
        exec(block, space)
        printed = capsys.readouterr().out.splitlines()
        promised = re.findall(r"^print\(.*\)\s+# (.*)$", block, re.MULTILINE)
        assert len(printed) == len(promised)
        for line, words in zip(printed, promised, strict=True):
            assert re.fullmatch(re.escape(words).replace("…", "[0-9A-Za-z ']+"), line), (line, words)
