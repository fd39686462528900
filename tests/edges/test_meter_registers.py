"""A device that shows registers sends differences, turns at the last digit, and never a register that ran backwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from walras.commands import meter
from walras.errors import InputError, MeteringError
from walras.metering import did_of
from walras.metering.reading import split_reading
from walras.service.gateway_node import TAKEN
from walras.service.key_file import make_key


def test_a_fall_by_a_tenth_of_the_register_at_most_is_a_turn_and_any_other_ran_backwards() -> None:
    assert meter.of_registers("-", [(1, 950, 0), (2, 49, 0)], 3) == ([(2, 99, 0)], [])
    assert meter.of_registers("-", [(1, 950, 0), (2, 50, 0)], 3) == ([(2, 100, 0)], [])
    assert meter.of_registers("-", [(1, 950, 0), (2, 51, 0)], 3) == ([], [2])
    assert meter.of_registers("-", [(1, 10, 9), (2, 20, 8), (3, 25, 8)], 3) == ([(3, 5, 0)], [2])


@pytest.mark.parametrize(("rows", "digits"), [([(1, 0, 0), (3, 5, 0)], 6), ([(2, 0, 0), (1, 5, 0)], 6), ([(1, 0, 0)], 0)])
def test_registers_are_read_at_the_end_of_every_slot(rows: list[tuple[int, int, int]], digits: int) -> None:
    with pytest.raises(InputError):
        meter.of_registers("-", rows, digits)


def test_what_ran_backwards_is_not_sent_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[bytes] = []

    def take(_host: str, _port: int, readings: list[bytes]) -> list[int]:
        sent.extend(readings)
        return [TAKEN] * len(readings)

    monkeypatch.setattr(meter, "_handed_on", take)
    key = make_key(tmp_path / "meter.pem", None)
    shown = tmp_path / "registers"
    shown.write_text("4 999990 7\n5 15 7\n6 3 9\n7 8 9\n")
    with pytest.raises(MeteringError, match=r"ran backwards in slots \[6\]"):
        meter.meter_command(shown, str(tmp_path / "meter.pem"), "127.0.0.1:1", None, 6)
    readings = [split_reading(reading) for reading in sent]
    assert [(fields[1], fields[2], fields[3]) for fields in readings if fields is not None] == [(5, 25, 0), (7, 5, 0)]
    printed = capsys.readouterr().out
    assert "slot 6: a register ran backwards: nothing is sent" in printed
    assert did_of(key.public_key()) in printed
