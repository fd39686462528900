"""What a batch settlement owes to whom, in Python integers: the twin that the contract is held against."""

from __future__ import annotations

from dataclasses import dataclass, field

from walras.ledger.batches import Batch
from walras.ledger.steps import Fact, running_energy, running_payment, running_word


@dataclass
class Posted:
    """A batch as the twin knows it."""

    batch: Batch
    facts: dict[tuple[int, int], Fact]
    before: list[int]
    after: list[int]
    era: int
    posted_at: int
    right: bool


@dataclass
class Money:
    """One account outside the state: (first era, sum so far) of what came in and what was asked back."""

    paid_in: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    taken_out: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    leaving: int = 0
    needed: int = 0
    founded: tuple[int, int] = (0, 0)
    exited: bool = False

    def backing(self, era: int) -> int:
        return at(self.paid_in, era) - at(self.taken_out, era)

    def ask(self, asked: int, era: int, founded: tuple[int, int]) -> None:
        """Instead of what was asked before; `founded` on so many batches, the last of them of that era."""
        self.release(self.leaving, era)
        self.taken_out.append((era + 1, self.taken_out[-1][1] + asked))
        self.leaving, self.needed, self.founded = asked, era, founded

    def release(self, nano: int, era: int) -> None:
        """So much is not asked for any more, and backs trades again at once."""
        if self.needed == era:
            self.taken_out.append((era + 1, self.taken_out[-1][1] - nano))
        else:
            self.paid_in.append((era, self.paid_in[-1][1] + nano))

    @property
    def now(self) -> int:
        return self.paid_in[-1][1] - self.taken_out[-1][1]

    @property
    def whole(self) -> int:
        return self.now + self.leaving


def at(history: list[tuple[int, int]], era: int) -> int:
    """The sum that counted in `era`."""
    return [value for first, value in history if first <= era][-1]


def moved(word: int, payment: int, energy: int) -> int:
    """The word after a position."""
    return running_word(running_payment(word) + payment, running_energy(word) + energy)
