"""What the record says of masked sums: of how many slots there is one, whether it is what settled, and who was named where not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any


class MaskedSums:
    """The balance oracle's words, slot by slot: add each, then ask for the row."""

    def __init__(self) -> None:
        self._slots = self._sums = self._gaps = self._off = self._invented = 0
        self._named: Counter[int] = Counter()
        self._refused: Counter[str] = Counter()

    def add(self, admitted: Mapping[str, Any]) -> None:
        """The public part of a slot's `readings_admitted`; without a word on a masked sum it counts as a slot without a sum."""
        word = admitted.get("masked") or {}
        refused = word.get("refused")
        gap, balance = word.get("gap_wh"), None if refused else word.get("balance")
        self._slots += 1
        self._refused.update([refused] if refused else [])
        self._invented += len(word.get("invented", []))
        self._sums += gap is not None
        self._gaps += gap not in (None, [0, 0])
        self._off += balance is not None and abs(balance[0]) > balance[1]
        self._named.update(word.get("named", []))

    def rows(self, name: Callable[[int], str]) -> list[tuple[str, str]]:
        """One row; a second where the balance oracle said what does not hold."""
        if not self._sums:
            return [("masked sums of the feeder", f"none of {self._slots:,} slots"), *self._doubts()]
        met = f"{self._gaps:,} of them not what settled" if self._gaps else "each what its contributors' readings come to"
        text = f"{self._sums:,} of {self._slots:,} slots, {met}"
        if self._off:
            text += f"; {self._off:,} off the feeder's own meter"
        if self._named:
            text += "; did not open to what the meter signed: "
            text += ", ".join(f"{name(account)} in {count:,}" for account, count in sorted(self._named.items()))
        return [("masked sums of the feeder", text), *self._doubts()]

    def _doubts(self) -> list[tuple[str, str]]:
        """What the balance oracle said that does not hold; nothing where all does."""
        told = [f"{count:,} refused ({why})" for why, count in sorted(self._refused.items())]
        told += [f"{self._invented:,} messages that no meter said"] if self._invented else []
        return [("words of the balance oracle", ", ".join(told))] if told else []
