"""The committed days of a run: collects the readings that slots stand at, and has each day committed to when it stands for good.

A day can change until the dispute window of its last slot has closed; then every oracle is asked for its word on the root of the
commitments (`exchange.days`). Where the terms commit to no days this does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from walras.exchange.correction import corrected_at
from walras.exchange.days import days_private, days_public
from walras.exchange.fold import DAYS_COMMITTED
from walras.exchange.recorder import Decision, Recorder
from walras.exchange.terms import Terms
from walras.ledger import LedgerAddresses, days_digest, recover_address
from walras.metering import SlotReadings, Vote
from walras.metering.committed_days import commit_days, day_salt, pieces
from walras.study.oracles import MeteringPath
from walras.study.votes import attested


class Days:
    """What waits to be committed to. `secrets` [members] of their salts, `meters` their key ids in a slot."""

    def __init__(self, terms: Terms, secrets: tuple[bytes, ...], meters: Callable[[int], list[bytes]]) -> None:
        self._terms, self._secrets, self._meters = terms, secrets, meters
        self._pieces = pieces(terms.grid, terms.first, terms.last) if terms.commits_days else []
        self._readings: dict[int, SlotReadings] = {}

    def note(self, readings: SlotReadings) -> None:
        """A slot as it was closed, and again as it was corrected."""
        if self._pieces:
            self._readings[readings.slot] = readings

    def commit_until(self, time: int | None, recorder: Recorder, path: MeteringPath, addresses: LedgerAddresses) -> None:
        """Record every day that can change no more at the Unix `time`; None: all that are left."""
        while self._pieces and (time is None or corrected_at(self._terms, self._pieces[0][-1]) <= time):
            slots = self._pieces.pop(0)
            readings = [self._readings.pop(slot) for slot in slots]
            recorder.step(DAYS_COMMITTED, None, lambda s=slots, r=readings: self._decide(s, r, path, addresses))  # type: ignore[misc]

    def _decide(self, slots: range, readings: list[SlotReadings], path: MeteringPath, addresses: LedgerAddresses) -> Decision:
        terms = self._terms
        salts = [day_salt(secret, slots.start) for secret in self._secrets]
        meters = self._meters(slots[-1])  # where one was exchanged within the day, the one that hangs there at its end
        days = commit_days(meters, readings, salts)
        root = days.tree.root
        chain_id, contract = addresses.chain_id, addresses.settlement

        def holds(vote: Vote) -> bool:
            digest = days_digest(chain_id, contract, vote.slot, len(slots), vote.root)
            return recover_address(digest, vote.signature) == terms.oracles[vote.oracle]

        votes = path.day_votes(readings, salts, root, addresses)
        at = corrected_at(terms, slots[-1])
        word = attested(slots.start, root, terms.oracles, terms.quorum, votes, holds, at)
        return days_public(days, word), days_private(days, meters, salts)
