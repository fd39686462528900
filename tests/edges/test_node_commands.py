"""What a gateway and an oracle want under a roll is named before anything is opened, all of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from walras.cli import app

ROLL = ["--roll", "roll.toml", "--store", "store.sqlite", "--listen", "127.0.0.1:1"]


@pytest.mark.parametrize("node", [["oracle", "c.toml", "0"], ["gateway", "c.toml", "--oracles", "127.0.0.1:1"]], ids=lambda n: n[0])
def test_under_a_roll_a_node_has_key_and_secret_of_its_own(node: list[str], tmp_path: Path) -> None:
    for own, missing in (([], ["--key", "--secret"]), (["--key", "k"], ["--secret"]), (["--secret", "s"], ["--key"])):
        with pytest.raises(Exception, match="fault") as caught:
            app([*node, *ROLL, *own], exit_on_error=False, result_action="return_value")
        assert [fault.field for fault in caught.value.faults] == missing  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


def test_a_balance_oracle_under_a_roll_has_a_key_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="fault") as caught:
        app(["balance", "c.toml", *ROLL], exit_on_error=False, result_action="return_value")
    assert [fault.field for fault in caught.value.faults] == ["--key"]  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())
