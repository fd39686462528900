"""`walras network --envelopes`: on a real feeder any use within the envelopes is safe, and a little more is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from e2e.runs import EXAMPLES
from walras import cli
from walras.community import load_community
from walras.community.series import member_bus, member_series, network
from walras.grid import find_violations, power_flow
from walras.study.envelopes import connections


@pytest.mark.parametrize("fairness", ["equal", "proportional", "welfare"])
def test_any_use_of_a_day_within_the_envelopes_keeps_every_limit_and_a_tenth_more_does_not(
    fairness: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = tmp_path / "rural1.toml"
    coarse.write_text((EXAMPLES / "rural1.toml").read_text().replace("slot_minutes = 15", "slot_minutes = 60"))
    out = tmp_path / "envelopes.json"
    monkeypatch.setattr(
        cli, "app", lambda real=cli.app: real(["network", str(coarse), "--envelopes", fairness, "--json", str(out)])
    )
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert "may feed in" in capsys.readouterr().out
    community = load_community(coarse)
    said = json.loads(out.read_text())
    members = [said["members"][m.id] for m in community.members]
    most_in, most_out = (np.array([m[name] for m in members]).T / 1e3 for name in ("import_w", "export_w"))
    caps = connections(community)
    assert (most_in <= caps[0]).all()
    assert (most_out <= caps[1]).all()
    wires, bus = network(community), member_bus(community)
    reactive = member_series(community, community.slots).reactive_kvar
    rng = np.random.default_rng(7)
    broken_beyond = 0
    for row in range(0, len(community.slots), 4):
        corners = rng.random((200, bus.size)) < rng.random((200, 1))
        within = rng.random((200, bus.size)) ** rng.choice([0.0, 1.0], (200, 1))
        uses = np.where(corners, most_in[row], -most_out[row]) * within
        extremes = np.vstack([uses, most_in[row], -most_out[row]])
        q = np.tile(np.bincount(bus, weights=reactive[row], minlength=wires.buses), (202, 1))
        for factor in (1.0, 1.1):
            p = np.zeros((202, wires.buses))
            np.add.at(p.T, bus, factor * extremes.T)
            found = find_violations(wires, power_flow(wires, p, q))
            if factor == 1.0:
                assert len(found) == 0, found.describe(wires, 0)
            broken_beyond += factor > 1.0 and len(found) > 0
    assert broken_beyond == len(range(0, len(community.slots), 4)), "the envelopes reach the limits"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--envelopes", "fair"], "--envelopes"),
        (["--envelopes", "equal", "--day", "yesterday"], "--day"),
        (["--day", "2016-06-21"], "--envelopes = None: expected a value beside --day"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "app", lambda real=cli.app: real(["network", str(EXAMPLES / "rural1.toml"), *words]))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert named in capsys.readouterr().err
