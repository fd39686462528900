"""The door of the command line: what cannot be read, written or understood ends in a message and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from walras import cli

BOOK = Path(__file__).parents[2] / "docs" / "learn" / "book.json"
RURAL1 = Path(__file__).parents[2] / "examples" / "rural1.toml"


def code_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `walras WORDS`."""
    real = cli.app
    monkeypatch.setattr(cli, "app", lambda: real(words))
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_a_folder_where_a_file_is_to_be_written_is_said_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(monkeypatch, "network", str(RURAL1), "--out", str(tmp_path)) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: Is a directory\n  way out: ")


def test_a_book_that_is_no_text_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.json").write_bytes(b"\xff\xfe\x00")
    assert code_of(monkeypatch, "clear", str(tmp_path / "book.json")) == 2
    assert "not text in UTF-8" in capsys.readouterr().err


def test_a_secret_that_is_no_text_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe\x00")
    assert code_of(monkeypatch, "run", str(RURAL1), "--out", str(tmp_path / "run"), "--secret", str(tmp_path / "key")) == 2
    assert "a file with 64 hex digits" in capsys.readouterr().err


def test_an_unknown_mechanism_is_wrong_input_and_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(monkeypatch, "run", str(RURAL1), "--out", str(tmp_path / "run"), "--mechanism", "unifrom") == 2
    assert "nodal" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_nothing_to_compare_is_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(monkeypatch, "compare", str(RURAL1), "--mechanisms", "") == 2


def test_fewer_than_no_tries_are_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(monkeypatch, "game", str(BOOK), "--tries", "-1") == 2


def test_ctrl_c_has_the_exit_code_of_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("walras.commands.clear.clear_command", stopped)
    assert code_of(monkeypatch, "clear", str(BOOK)) == 130


def test_a_comparison_fits_80_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    coarse = tmp_path / "rural1.toml"
    coarse.write_text(RURAL1.read_text(encoding="utf-8").replace("slot_minutes = 15", "slot_minutes = 60"), encoding="utf-8")
    assert code_of(monkeypatch, "compare", str(coarse), "--mechanisms", "uniform,nodal", "--lies", "1") == 0
    printed = capsys.readouterr().out
    assert "over limits" in printed
    assert printed.count("uniform ") >= 3
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 80


@pytest.mark.parametrize(("held", "given"), [(None, "no file"), ("abc", "3 characters")])
def test_a_key_that_cannot_be_used_is_named_by_the_option_that_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], held: str | None, given: str
) -> None:
    key = tmp_path / "key.hex"
    if held is not None:
        key.write_text(held)
    words = ("watchtower", str(tmp_path), "--chain", "http://127.0.0.1:1", "--key", str(key), "--once")
    assert code_of(monkeypatch, *words) == 2
    assert f"--key = '{given}'" in capsys.readouterr().err
