"""The balance oracle as a process: takes the meters' masked messages, tells them each other's, and gives its word to the exchange.

Meters need no credential: what they send is signed, and what they are told is for them. The word on a slot and the contributions
that a dispute is about are for who may ask (`access`); every such request is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime

import cbor2

from walras.errors import MeteringError
from walras.metering.access import Right
from walras.metering.balance_oracle import BalanceOracle, handed_on
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import loads_strict
from walras.service.access_log import Guard, Heeded, judged, log_of, note
from walras.service.erasure import erased
from walras.service.frames import HUNG, MASKED, READINGS, REQUEST, TOLD
from walras.service.message_store import MessageStore
from walras.service.rate_limits import HostLimits
from walras.service.reading_store import UNKNOWN_SLOT
from walras.service.serving import serve

MAX_MASKED_FRAME = 2_000_000
JOINS, OPENINGS, CONTRIBUTORS = 0, 1, 2
"""What a meter may ask to be told."""

Spoken = Callable[[bytes], bytes]
"""Digest -> signature of the oracle."""


class BalanceNode:
    """What the process holds: the oracle over its store, whom it answers, its signature. `bound`: chain id and contract."""

    def __init__(
        self,
        oracle: BalanceOracle,
        store: MessageStore,
        guard: Guard,
        sign: Spoken,
        bound: tuple[int, str],
        clock: Callable[[], datetime],
        limits: HostLimits | None = None,
        revoked: Callable[[datetime], Collection[bytes]] | None = None,
    ) -> None:
        """`revoked` gives the ids of the keys that are revoked at a moment; MeteringError where that cannot be known."""
        self._limits = limits
        self._heeded = None if revoked is None else Heeded(revoked, store)
        self._oracle, self._store, self._guard, self._sign, self._bound, self._clock = oracle, store, guard, sign, bound, clock

    def reply(self, kind: bytes, body: bytes) -> bytes:
        """The answer to one frame; MeteringError or PhaseError says why there is none."""
        if kind == REQUEST:
            return self._answer_request(body)
        if kind == HUNG:
            return self._hung(body)
        value = loads_strict(body)
        if isinstance(value, Refusal) or not isinstance(value, list):
            raise MeteringError("a list was expected", thing=kind)
        if kind in (MASKED, READINGS) and all(isinstance(one, bytes) for one in value):
            if self._heeded is not None:
                self._oracle.heed(self._heeded(self._clock()))
            with self._store.transaction():
                return handed_on(self._oracle, value) if kind == MASKED else self._through(value)
        if kind == TOLD:
            return self._told(value)
        raise MeteringError("messages of meters or a signed request were expected", thing=kind)

    def _hung(self, record: bytes) -> bytes:
        with self._store.transaction():
            stands = self._oracle.take_hung(record)
        if not stands:
            raise MeteringError("no meter that the operator vouches for, or one that spoke before", thing=HUNG)
        return cbor2.dumps(self._oracle.hung())

    def _through(self, readings: list[bytes]) -> bytes:
        return bytes(not self._oracle.take_transformer(reading) for reading in readings)

    def _told(self, value: list[object]) -> bytes:
        match value:
            case [int() as what, int() as slot] if what == JOINS:
                return cbor2.dumps(self._oracle.joins())
            case [int() as what, int() as slot] if what == OPENINGS:
                return cbor2.dumps(self._oracle.openings(slot))
            case [int() as what, int() as slot] if what == CONTRIBUTORS:
                return cbor2.dumps(list(self._oracle.contributors(slot)))
        raise MeteringError("what and of which slot were expected", thing=TOLD)

    def _answer_request(self, body: bytes) -> bytes:
        """VOTE: the word and its signature; READ: the signed contributions; LOG: who asked; ERASE. Logged before it is answered."""
        asked = judged(self._guard, body, self._store, self._clock)
        if asked.right is Right.ERASE:
            note(self._store, self._clock(), asked.holder, asked.right.name, UNKNOWN_SLOT, True)
            return erased(asked.body, self._store)
        slot = int.from_bytes(asked.body[:8], "big")
        known = asked.right in (Right.VOTE, Right.READ, Right.LOG) and len(asked.body) == 8
        note(self._store, self._clock(), asked.holder, asked.right.name, slot, known)
        if not known:
            raise MeteringError(f"a balance oracle has no answer to {asked.right.name}", thing=asked.right)
        if asked.right is Right.LOG:
            return log_of(self._store)
        if asked.right is Right.READ:
            return cbor2.dumps(self._oracle.contributions(slot))
        word = self._oracle.word(slot)
        return cbor2.dumps([word.to_public(), self._sign(word.digest(*self._bound))], canonical=True)

    def erase_before(self, slot: int) -> int:
        """Erase what meters said in slots before `slot`."""
        return self._store.erase_before(slot)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        await serve(reader, writer, self.reply, MAX_MASKED_FRAME, self._limits)

    async def run(self, host: str, port: int, ready: Callable[[int], None]) -> None:
        """Serve until cancelled; `ready` is told the port."""
        server = await asyncio.start_server(self.answer, host, port)
        ready(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()
