"""Proving in another process: true statements come back proven, false ones never get there, and no wrong proof gets past."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from proofs_world import cases, days, golden, keys_folder
from walras.errors import InputError, MeteringError
from walras.metering.proofs import CIRCUITS, verify, verifying_key
from walras.service.prover import ENGINES, available_engines, key_file, make_development_keys, prove_apart

NAME = "below_limit at 50"


@pytest.fixture
def keys() -> Path:
    return keys_folder("below_limit")


def needs(engine: str) -> None:
    """Skips where an optional engine is absent; fails in CI, which has it."""
    if engine not in available_engines():
        reason = f"{engine} is not installed; way out: pip install walras[prover]"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def answering(text: str) -> list[str]:
    """A program that takes the request and prints `text`."""
    return [sys.executable, "-c", f"import sys; sys.stdin.read(); print({text!r})"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_true_statement_comes_back_proven(engine: str, keys: Path) -> None:
    needs(engine)
    statement, openings = cases()[NAME]
    first = prove_apart(statement, openings, keys, engine=engine)
    assert verify(verifying_key("below_limit"), first, statement.public)
    assert first != golden(NAME)[1]  # fresh blinding


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ENGINES)
def test_every_circuit_is_proven_by_every_engine(engine: str) -> None:
    needs(engine)
    for name in CIRCUITS:
        statement, openings = cases()[NAME if name == "below_limit" else name]
        assert verify(verifying_key(name), prove_apart(statement, openings, keys_folder(name), engine=engine), statement.public)


def test_a_false_statement_never_reaches_the_prover(keys: Path, tmp_path: Path) -> None:
    statement, openings = cases()[NAME]
    trace = tmp_path / "started"
    program = [sys.executable, "-c", f"open({str(trace)!r}, 'w')"]
    with pytest.raises(MeteringError, match="not true of these readings"):
        prove_apart(replace(statement, import_limit_wh=statement.public[3] - 1), openings, keys, program=program)
    assert not trace.exists()
    with pytest.raises(MeteringError, match="no proof"):
        prove_apart(statement, openings, keys, program=program)
    assert trace.exists()


def test_a_prover_that_hands_back_another_statements_proof_is_found_out(keys: Path) -> None:
    statement, openings = cases()[NAME]
    foreign = golden("below_limit at 0")[1].encode().hex()
    with pytest.raises(MeteringError, match="does not hold, though the statement is true"):
        prove_apart(statement, openings, keys, program=answering(f'{{"proof": "{foreign}"}}'))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"proof": 5}', '{"proof": "00"}', '{"proof": "' + "ff" * 256 + '"}'])
def test_an_answer_that_is_no_proof_is_refused(text: str, keys: Path) -> None:
    statement, openings = cases()[NAME]
    with pytest.raises(MeteringError, match="answered with no proof"):
        prove_apart(statement, openings, keys, program=answering(text))


def test_a_prover_that_fails_hangs_or_is_not_there_is_named(keys: Path, tmp_path: Path) -> None:
    statement, openings = cases()[NAME]
    with pytest.raises(MeteringError, match="ended with 3: broken"):
        prove_apart(
            statement, openings, keys, program=[sys.executable, "-c", "import sys; print('broken', file=sys.stderr); sys.exit(3)"]
        )
    with pytest.raises(MeteringError, match=r"longer than 0\.2 s"):
        prove_apart(statement, openings, keys, program=[sys.executable, "-c", "import signal; signal.pause()"], timeout_s=0.2)
    with pytest.raises(MeteringError, match="did not start"):
        prove_apart(statement, openings, keys, program=[str(tmp_path / "nothing")])
    with pytest.raises(MeteringError, match="there is no proving key"):
        prove_apart(statement, openings, tmp_path)
    with pytest.raises(InputError, match="engine"):
        prove_apart(statement, openings, keys, engine="other")


def test_a_key_of_another_ceremony_makes_no_proof(keys: Path, tmp_path: Path) -> None:
    """One bit of the key turned: the program refuses it, since it is not the key to the shipped verifying key."""
    content = bytearray(key_file(keys, "below_limit").read_bytes())
    content[600] ^= 1
    key_file(tmp_path, "below_limit").write_bytes(content)
    statement, openings = cases()[NAME]
    with pytest.raises(MeteringError, match="not the one to the verifying key"):
        prove_apart(statement, openings, tmp_path)


def test_openings_of_the_wrong_number_are_refused_before_anything_starts(keys: Path) -> None:
    statement, openings = cases()[NAME]
    with pytest.raises(InputError, match="1 openings"):
        prove_apart(statement, [*openings, days()[1]], keys)


def test_the_key_files_say_that_they_are_for_development_and_are_the_same_everywhere(keys: Path, tmp_path: Path) -> None:
    make_development_keys(tmp_path, ["below_limit"])
    assert [path.name for path in tmp_path.iterdir()] == ["below_limit.DEVELOPMENT.zkey"]
    made = key_file(tmp_path, "below_limit")
    assert made.read_bytes() == key_file(keys, "below_limit").read_bytes()
    before = made.stat().st_mtime_ns
    make_development_keys(tmp_path, ["below_limit"])
    assert made.stat().st_mtime_ns == before
