"""Record, then apply: the one way by which anything happens in a run.

`step` is asked for an event by kind and slot. If the journal already holds it (a run that goes on after a kill), it is taken from
there, and nothing is decided anew; if not, it is decided, recorded durably, and only then applied. So a run killed at any
instruction and started again makes the same journal, byte for byte, as one that was left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from walras.errors import JournalError
from walras.exchange.acts import Act, act_to_public
from walras.exchange.fold import ACT, ExchangeState, Public, apply
from walras.exchange.journal import Entry, Journal
from walras.exchange.sealed import Private

Decision = tuple[Public, Private | None]
"""The public part and, where something is kept from the public, the private part."""


class Recorder:
    """A journal and what it adds up to. One writer."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._recorded: Iterator[Entry] | None = journal.entries()
        self._ahead: Entry | None = None
        self._state = ExchangeState()
        self.replayed = 0
        self.acts: list[tuple[int | None, Entry]] = []
        """The acts so far, each with the last slot that was settled before it."""
        self._look_ahead()

    @property
    def state(self) -> ExchangeState:
        """The fold over everything so far."""
        return self._state

    @property
    def head(self) -> str:
        """Hash of the last entry of the journal."""
        return self._journal.head

    @property
    def replaying(self) -> bool:
        """True while the next event is still in the journal."""
        return self._ahead is not None

    @property
    def ahead(self) -> str | None:
        """Kind of the next event that is still in the journal; None where the next is decided now."""
        return None if self._ahead is None else self._ahead.kind

    @property
    def next_recorded(self) -> Entry | None:
        """The next event that is still in the journal; None where the next is decided now."""
        return self._ahead

    def step(self, kind: str, slot: int | None, decide: Callable[[], Decision]) -> Entry:
        """The event `kind` of `slot`: from the journal, or decided now. JournalError if the journal holds another event here."""
        entry = self._ahead
        if entry is None:
            with self._journal.alone() as acts:
                self._pass_over(acts)
                public, private = decide()
                entry = self._journal.append(kind, slot, public, private)
        elif (entry.kind, entry.slot) != (kind, slot):
            raise JournalError(
                f"entry {entry.seq} is {entry.kind} of slot {entry.slot}, this run comes to {kind} of slot {slot}: "
                "the journal belongs to another run",
                thing=entry.seq,
                way_out="give another --out folder, or --fresh to begin anew",
            )
        else:
            self.replayed += 1
            self._state = apply(self._state, entry)
            self._look_ahead()
            return entry
        self._state = apply(self._state, entry)
        return entry

    def note_act(self, act: Act) -> None:
        """Record what the exchange itself did with the record; where the journal has it already, nothing."""
        public = act_to_public(act)
        if self.replaying or any(seen.public == public for _, seen in self.acts):
            return
        with self._journal.alone() as acts:
            self._pass_over(acts)
            entry = self._journal.append(ACT, None, public)
        self._see(entry)

    def _look_ahead(self) -> None:
        """The next recorded event; acts (`acts`) are passed over, in their place."""
        assert self._recorded is not None
        self._ahead = next(self._recorded, None)
        while self._ahead is not None and self._ahead.kind == ACT:
            self._see(self._ahead)
            self.replayed += 1
            self._ahead = next(self._recorded, None)

    def _pass_over(self, acts: list[Entry]) -> None:
        """What other programs did with the record meanwhile; JournalError where it is more than acts: there is one exchange."""
        for entry in acts:
            if entry.kind != ACT:
                raise JournalError(
                    f"another exchange writes to this journal: entry {entry.seq} ({entry.kind}) is not of this run",
                    thing=entry.seq,
                    way_out="let one of them go on",
                )
            self._see(entry)

    def _see(self, act: Entry) -> None:
        self.acts.append((self._state.last_settled, act))
        self._state = apply(self._state, act)
