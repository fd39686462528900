"""Clocks of the nodes: the wall's, or in a replay the one that the exchange moves by writing a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from walras.errors import MeteringError


def wall_clock() -> datetime:
    """Now, UTC."""
    return datetime.now(UTC)


class FileClock:
    """A moment in a file, aware and in ISO form; written whole or not at all. It only goes forward."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> datetime:
        """The moment in the file; MeteringError where there is none yet."""
        try:
            return datetime.fromisoformat(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError) as cause:
            message = f"{self._path}: no moment in it: {cause}"
            raise MeteringError(message, thing=self._path, way_out="start the exchange, which writes it") from cause

    def move(self, moment: datetime) -> None:
        """Set the clock, unless it is further on already."""
        if self._path.exists() and self() >= moment:
            return
        partial = self._path.with_suffix(".partial")
        partial.write_text(moment.isoformat(), encoding="ascii")
        partial.replace(self._path)
