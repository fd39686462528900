"""The gateway as a process: takes readings from meters, stores them, and hands them to every oracle in signed batches.

Acknowledged to the meter means committed to disk here; dropped from the queue to an oracle means committed to disk
there. Batches are numbered in the store before they are sent and rebuilt from it to the same bytes when they are sent
again, so a kill at any instruction loses nothing, and repeats only what the oracles know by its number.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import cbor2

from walras.errors import MeteringError, RefusedForGood
from walras.metering.access import Right
from walras.metering.flow_control import (
    Breaker,
    BreakerRule,
    RateRule,
    failed,
    full_bucket,
    may_try,
    succeeded,
    take,
)
from walras.metering.gateway import MAX_BATCH, look_at, seal_batch
from walras.metering.identity import Key, PublicKey
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import loads_strict
from walras.service.access_log import Guard, judged, log_of, note
from walras.service.erasure import erased
from walras.service.exchange_book import ExchangeBook
from walras.service.frames import BATCH, EXCHANGE, READINGS, REQUEST, WAITING, ask
from walras.service.reading_store import UNKNOWN_SLOT, ReadingStore
from walras.service.serving import serve

TAKEN, RATE_LIMITED = 0, 255
"""Codes in an answer beside the numbers of `Refusal`: on disk; come back later."""

MAX_READINGS_FRAME = 200_000
MAX_REASON = 200
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Peer:
    """An oracle that gets every batch."""

    name: str
    host: str
    port: int


class GatewayNode:
    """What the process holds: key, known devices, store, rate and breakers. One per process."""

    def __init__(
        self,
        key: Key,
        devices: Mapping[bytes, PublicKey],
        store: ReadingStore,
        peers: Sequence[Peer],
        rate: RateRule,
        clock_ms: Callable[[], int],
        guarded: tuple[Guard, Callable[[], datetime]] | None = None,
        book: ExchangeBook | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """`guarded`: who may ask for the log of requests, and the clock that says when; without it nobody may.

        `book` of exchanged meters; without it none is. `say` is told in words of what an oracle refuses for good.
        """
        self._key, self._store, self._peers, self._book, self._say = key, store, peers, book, say
        self._devices = {**devices, **({} if book is None else book.devices())}
        self._rate, self._clock_ms = rate, clock_ms
        self._guarded = guarded
        self._bucket = full_bucket(rate, clock_ms())
        self._breakers = {peer.name: Breaker() for peer in peers}

    def take_readings(self, encoded: Sequence[bytes]) -> bytes:
        """One code a reading; whatever is TAKEN is on disk when this returns.

        The same bytes again are TAKEN again: the meter may not have heard the first answer.
        """
        codes = bytearray()
        with self._store.transaction():
            for reading in encoded:
                self._bucket, admitted = take(self._bucket, self._rate, self._clock_ms())
                codes.append(self._take_one(reading) if admitted else RATE_LIMITED)
            self._store.count_refused(Counter(code for code in codes if code != TAKEN))
        return bytes(codes)

    def _take_one(self, reading: bytes) -> int:
        looked = look_at(reading, self._devices)
        if isinstance(looked, Refusal):
            return looked
        return TAKEN if self._store.add(looked) or self._store.holds(reading) else Refusal.REPLAYED

    def seal_waiting(self) -> int | None:
        """Put what waits into the next batch; its number, or None where nothing waits."""
        if not self._store.anything_unsealed():
            return None
        with self._store.transaction():
            number = self._store.next_batch_number()
            self._store.put_in_batch(number, MAX_BATCH)
        return number

    def waiting(self) -> bytes:
        """Two bytes a peer, in their order: how many batches it has yet to acknowledge; what is not sealed yet is one more."""
        unsealed = self._store.anything_unsealed()
        counts = [len(self._store.unacknowledged(peer.name)) + unsealed for peer in self._peers]
        return b"".join(min(count, 0xFFFF).to_bytes(2, "big") for count in counts)

    def batch(self, number: int) -> bytes:
        """A sealed batch: the same readings under the same number and root on every call (a TPM's signature differs)."""
        return seal_batch(self._key, number, self._store.batch_readings(number))

    async def hand_on(self) -> None:
        """Seal, then send every peer what it has not acknowledged. A peer that fails is left alone for a while.

        What a peer refuses for good is set aside, with its reason, and the next batch goes.
        """
        self.seal_waiting()
        await asyncio.gather(*(self._serve_peer(peer) for peer in self._peers))

    async def _serve_peer(self, peer: Peer) -> None:
        for number in self._store.unacknowledged(peer.name):
            if not may_try(self._breakers[peer.name], self._clock_ms()):
                return
            try:
                answer = await ask(peer.host, peer.port, BATCH, self.batch(number), 1_000, PATIENCE_S)
                if answer != number.to_bytes(8, "big"):
                    raise MeteringError(f"{peer.name} acknowledged another batch than {number}", thing=peer.name)
            except RefusedForGood as refused:
                self._breakers[peer.name] = succeeded()
                self._set_aside(number, peer, refused.message)
                continue
            except (OSError, TimeoutError, MeteringError):
                self._breakers[peer.name] = failed(self._breakers[peer.name], BreakerRule(), self._clock_ms())
                return
            self._breakers[peer.name] = succeeded()
            with self._store.transaction():
                self._store.acknowledge(number, peer.name)

    def _set_aside(self, number: int, peer: Peer, why: str) -> None:
        reason = "".join(letter if letter.isprintable() else "?" for letter in why)[:MAX_REASON]
        with self._store.transaction():
            self._store.set_aside(number, peer.name, reason)
        if self._say is not None:
            self._say(f"{peer.name} refuses batch {number} for good: {reason}; set aside, its readings are kept")

    def answer_request(self, body: bytes) -> bytes:
        """The log of requests, or members erased, for who may ask that; every request is in the log. MeteringError else."""
        if self._guarded is None:
            raise MeteringError("this gateway answers no requests", thing="gateway")
        guard, clock = self._guarded
        asked = judged(guard, body, self._store, clock)
        allowed = asked.right in (Right.LOG, Right.ERASE)
        note(self._store, clock(), asked.holder, asked.right.name, UNKNOWN_SLOT, allowed)
        if not allowed:
            raise MeteringError(f"a gateway has no answer to {asked.right.name}", thing=asked.right)
        return erased(asked.body, self) if asked.right is Right.ERASE else log_of(self._store, self._store.aside())

    def forget(self, account: int) -> int:
        """Erase what is kept of an account; MeteringError while some of it is on its way to an oracle."""
        return self._store.forget_member(account, [peer.name for peer in self._peers])

    def erase_before(self, slot: int) -> int:
        """Erase the readings of slots before `slot`; MeteringError while some of them are on their way to an oracle."""
        return self._store.erase_before(slot, [peer.name for peer in self._peers])

    def take_exchange(self, statement: bytes) -> bytes:
        """A meter was exchanged: the new one is taken from now on. MeteringError where the statement does not follow."""
        if self._book is None:
            raise MeteringError("this gateway knows of no meter exchanges", thing="gateway")
        self._book.take(statement.decode("ascii", "replace"))
        self._devices.update(self._book.devices())
        return b""

    def reply(self, kind: bytes, body: bytes) -> bytes:
        """The answer to one frame; MeteringError says why there is none."""
        if kind == WAITING:
            return self.waiting()
        if kind == REQUEST:
            return self.answer_request(body)
        if kind == EXCHANGE:
            return self.take_exchange(body)
        readings = loads_strict(body) if kind == READINGS else Refusal.WRONG_SHAPE
        if not isinstance(readings, list) or not all(isinstance(item, bytes) for item in readings):
            raise MeteringError("a list of readings was expected", thing=kind)
        return self.take_readings(readings)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one meter's connection: frames of readings, answered by their codes."""
        await serve(reader, writer, self.reply, MAX_READINGS_FRAME)

    async def run(self, host: str, port: int, every_s: float, ready: Callable[[int], None]) -> None:
        """Serve meters and oracles until cancelled; `ready` is told the port."""
        server = await asyncio.start_server(self.answer, host, port)
        ready(server.sockets[0].getsockname()[1])
        async with server:
            while True:
                await self.hand_on()
                await asyncio.sleep(every_s)


async def send_readings(host: str, port: int, readings: Sequence[bytes]) -> bytes:
    """What a meter does: hand readings to a gateway; one code a reading."""
    return await ask(host, port, READINGS, cbor2.dumps(list(readings)), MAX_READINGS_FRAME, PATIENCE_S)
