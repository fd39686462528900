"""A credential shown in part, by command: what was chosen is seen, anything else that does not hold is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.runs import EXAMPLES
from walras import cli
from walras.commands.enrol import enrol_command, revoke_command
from walras.community import load_community
from walras.errors import InputError, MeteringError
from walras.metering import did_of
from walras.service.clocks import FileClock
from walras.service.key_file import make_key, read_key

COMMUNITY = EXAMPLES / "rural1.toml"


def test_a_member_shows_two_claims_to_one_verifier_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("operator", "home-1", "member", "thief"):
        make_key(Path(f"{name}.pem"))
    operator, member = (did_of(read_key(Path(f"{name}.pem")).public_key()) for name in ("operator", "member"))
    grid = load_community(COMMUNITY).grid
    FileClock(Path("clock")).move(grid.start(10))
    begin = f"{grid.origin:%Y-%m-%dT%H:%M:%SZ}"
    enrol_command(COMMUNITY, "home-1", "operator.pem", Path("home-1.jwt"), "home-1.pem", None, True, None)
    revoke_command(COMMUNITY, "", "operator.pem", Path("status.jwt"), begin, 400, None)
    capsys.readouterr()

    def walras(*words: str) -> str:
        cli.app(["disclose", *words], exit_on_error=False, print_error=False, result_action="return_value")
        return capsys.readouterr().out

    walras("issue", "home-1.jwt", "--operator", "operator.pem", "--holder", member, "--out", "whole.sd")
    show = ["--claims", "node,max_export_w", "--audience", "aggregator", "--nonce", "4711", "--clock", "clock"]
    walras("show", "whole.sd", "--key", "member.pem", *show, "--out", "shown.sd")
    check = ["--operator", operator, "--audience", "aggregator", "--nonce", "4711", "--status", "status.jwt", "--clock", "clock"]
    seen = json.loads(walras("check", "shown.sd", *check))
    assert sorted(seen["claims"]) == ["max_export_w", "node"]
    assert (seen["issuer"], seen["holder"]) == (operator, member)
    walras("show", "whole.sd", "--key", "thief.pem", *show, "--out", "stolen.sd")
    for file, words in (("stolen.sd", check), ("shown.sd", [*check[:4], "--nonce", "4712", *check[6:]])):
        with pytest.raises(MeteringError, match=r"not bound|another|holder"):
            walras("check", file, *words)
    with pytest.raises(InputError, match="one of"):
        walras("show", "whole.sd", "--key", "member.pem", "--claims", "secrets", *show[2:], "--out", "no.sd")
    revoke_command(COMMUNITY, "home-1", "operator.pem", Path("status.jwt"), begin, 400, None, Path())
    with pytest.raises(MeteringError, match="revoked"):
        walras("check", "shown.sd", *check)
