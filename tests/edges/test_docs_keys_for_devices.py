"""The Python on the page about keys runs as it stands, after the page's own commands, and prints what its comments say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from walras.commands.dispatch import allow_command, order_command
from walras.commands.enrol import enrol_command
from walras.community import load_community
from walras.errors import InputError
from walras.metering import did_of, public_key_of
from walras.metering.dispatch import Commanded, judge_order
from walras.service.key_file import make_key, read_key
from walras.study.meters import make_meters, run_seed

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
    assert len(BLOCKS) == 2
    for block in BLOCKS:
        exec(block, space)
    claims, rotated, multibase = capsys.readouterr().out.splitlines()
    assert (claims, rotated) == ("['max_export_w', 'node']", "True True")
    assert public_key_of(f"did:key:{multibase}") == space["another"]


def test_an_order_is_allowed_signed_and_judged_by_the_pages_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("operator", "vpp"):
        make_key(Path(f"{name}.pem"))
    rural1, now = ROOT / "examples" / "rural1.toml", datetime.now(UTC)
    holder = did_of(read_key(Path("vpp.pem")).public_key())
    allow_command(holder, "dispatch", "operator.pem", Path("vpp.jwt"), 30, now, None)
    span = now + timedelta(hours=1), now + timedelta(hours=2)
    order_command(
        rural1, "farm-1", span, (-20_000, -20_000), ("vpp.pem", None), Path("vpp.jwt"), "dispatch", Path("o.bin"), now, None
    )
    community = load_community(rural1)
    accounts = make_meters(community, run_seed(community)).registry.index
    operator = read_key(Path("operator.pem")).public_key()
    judged = judge_order(Path("o.bin").read_bytes(), operator, accounts, lambda account: account == 0, community.grid, now)
    assert isinstance(judged, Commanded), judged
    assert (judged.account, judged.order.low_w, judged.order.high_w) == (0, -20_000, -20_000)
    assert judged.order.last_slot - judged.order.first_slot in (3, 4)
    for wrong in ("read", "DISPATCH"):
        with pytest.raises(InputError, match="dispatch or limit"):
            allow_command(holder, wrong, "operator.pem", Path("no.jwt"), 30, now, None)
    with pytest.raises(InputError, match="later than"):
        order_command(
            rural1, "farm-1", (now, now), (None, None), ("vpp.pem", None), Path("vpp.jwt"), "limit", Path("no.bin"), now, None
        )
