"""`walras prove` and `walras check-proof`: the whole way by files, and every fault of a claim by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proofs_world import FIRST_SLOT, METER, days, golden, keys_folder, salt
from walras.cli import app
from walras.commands.prove import check_proof_command
from walras.errors import InputError, MeteringError
from walras.metering.proofs import Day, statement_record

DAY = days()[0]


def as_file(day: Day) -> dict[str, Any]:
    columns = {"import_wh": day.import_wh.tolist(), "export_wh": day.export_wh.tolist()}
    return {"meter": METER.hex(), "first_slot": FIRST_SLOT, "salt": salt(0).hex(), **columns}


def claim_file(folder: Path, claim: object, *listed: object) -> Path:
    path = folder / "claim.json"
    path.write_text(json.dumps({"days": list(listed or [as_file(DAY)]), "claim": claim}), encoding="utf-8")
    return path


def walras(*arguments: object) -> None:
    app([str(argument) for argument in arguments], result_action="return_value")


def test_a_claim_becomes_a_proof_that_shows_no_reading_and_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = int(DAY.import_wh[50]) + 1
    claim = claim_file(tmp_path, {"below_limit": {"slot": 50, "import_limit_wh": limit}})
    proof = tmp_path / "proof.json"
    walras("prove", claim, "--out", proof, "--keys", keys_folder("below_limit"))
    content = json.loads(proof.read_text(encoding="utf-8"))
    assert set(content) == {"statement", "proof", "ceremony"}
    assert content["statement"]["commitment"] == str(DAY.commitment)
    walras("check-proof", proof)
    assert "holds: BelowLimit" in capsys.readouterr().out
    content["statement"]["import_limit_wh"] = str(limit - 1)
    proof.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SystemExit, match="1"):
        walras("check-proof", proof)
    printed = capsys.readouterr().out
    assert "does not hold" in printed
    assert "DEVELOPMENT ceremony" in printed


def test_a_claim_that_is_not_true_is_not_proven(tmp_path: Path) -> None:
    claim = claim_file(tmp_path, {"below_limit": {"slot": 50, "import_limit_wh": int(DAY.import_wh[50])}})
    with pytest.raises(MeteringError, match="not true of these readings"):
        walras("prove", claim, "--out", tmp_path / "proof.json", "--keys", keys_folder("below_limit"))
    assert not (tmp_path / "proof.json").exists()


@pytest.mark.parametrize(
    ("claim", "change", "named"),
    [
        ({}, {}, "claim"),
        ({"other": {}}, {}, "claim"),
        ({"day_sum": {}}, {}, "day_sum"),
        ({"day_sum": {"capacity_wh": 1.5}}, {}, "capacity_wh"),
        ({"day_sum": {"capacity_wh": 9, "more": 1}}, {}, "day_sum"),
        ({"net_position": {"slot": 96}}, {}, "slot"),
        ({"reduction": {"first": 0, "until": 1, "reduction_wh": 0}}, {}, "days"),
        ({"day_sum": {"capacity_wh": 9}}, {"salt": "zz"}, "salt"),
        ({"day_sum": {"capacity_wh": 9}}, {"salt": "00"}, "salt"),
        ({"day_sum": {"capacity_wh": 9}}, {"meter": "00"}, "meter"),
        ({"day_sum": {"capacity_wh": 9}}, {"first_slot": -1}, "first_slot"),
        ({"day_sum": {"capacity_wh": 9}}, {"import_wh": [1]}, "import_wh"),
        ({"day_sum": {"capacity_wh": 9}}, {"extra": 1}, "fields"),
    ],
)
def test_every_fault_of_a_claim_is_named(claim: object, change: dict[str, object], named: str, tmp_path: Path) -> None:
    path = claim_file(tmp_path, claim, as_file(DAY) | change)
    with pytest.raises(InputError, match=named):
        walras("prove", path, "--out", tmp_path / "proof.json", "--keys", tmp_path)


def test_files_that_are_no_proof_are_refused(tmp_path: Path) -> None:
    statement, proof = golden("day_sum")
    good = {"statement": statement_record(statement), "proof": proof.encode().hex()}
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(good), encoding="utf-8")
    assert check_proof_command(path)
    for text in (
        "",
        "[]",
        "{}",
        json.dumps(good | {"proof": "xy"}),
        json.dumps(good | {"proof": "00"}),
        json.dumps(good | {"statement": {}}),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError):
            check_proof_command(path)
    with pytest.raises(InputError, match="No such file"):
        check_proof_command(tmp_path / "nothing")
