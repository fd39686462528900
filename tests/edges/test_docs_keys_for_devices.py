"""The Python on the page about keys runs as it stands, after the page's own commands, and prints what its comments say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from walras.commands.enrol import enrol_command
from walras.community import load_community
from walras.metering import public_key_of
from walras.metering.dispatch import Commanded, judge_order
from walras.service.key_file import make_key

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "do" / "keys-for-devices.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keys").mkdir()
    for name in ("operator", "home-1", "aggregator"):
        make_key(Path(f"keys/{name}.pem"))
    rural1 = ROOT / "examples" / "rural1.toml"
    credential = Path("roll/credentials/home-1.jwt")
    enrol_command(rural1, "home-1", "keys/operator.pem", credential, "keys/home-1.pem", None, True, None)
    capsys.readouterr()
    space: dict[str, object] = {}
    assert len(BLOCKS) == 3
    for block in BLOCKS:
        exec(block, space)
    claims, rotated, multibase = capsys.readouterr().out.splitlines()
    assert (claims, rotated) == ("['max_export_w', 'node']", "True True")
    assert public_key_of(f"did:key:{multibase}") == space["another"]
    judged = judge_order(
        Path("order.bin").read_bytes(),
        space["operator"].public_key(),  # type: ignore[attr-defined]
        {space["meter"]: 1},  # type: ignore[dict-item]
        lambda account: account == 1,
        load_community(rural1).grid,
        datetime.now(UTC),
    )
    assert isinstance(judged, Commanded), judged
    assert (judged.account, judged.order.power_w) == (1, -2_000)
