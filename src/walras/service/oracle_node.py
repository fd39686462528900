"""An oracle as a process: receives batches, admits for itself, and gives its vote on a slot once, for ever the same.

What it has admitted is on disk before a batch is acknowledged; a batch it has seen is acknowledged again and counted once; the
same number with another content is refused (two signed contents convict the gateway). A vote is written before it is given,
so an oracle that is killed and comes back cannot contradict itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime

import numpy as np

from walras.errors import MeteringError, PhaseError
from walras.metering.admission import (
    NEVER,
    AdmissionState,
    Admitted,
    Registry,
    Rules,
    admit,
    admitted_of,
    columns_of,
    frozen,
    revoke,
)
from walras.metering.gateway import MAX_BATCH_BYTES, Batch, BatchRefusal, Taken, open_batch
from walras.metering.identity import PublicKey
from walras.metering.oracle import Signer, Vote
from walras.metering.reading import split_reading
from walras.metering.slot_readings import SlotReadings, close_slot, missing_devices
from walras.metering.substitute import NO_FORECAST, SubstituteRule, like_slots, substitutes
from walras.service.frames import ANSWER, BATCH, SORRY, VOTE, read_frame, write_frame
from walras.service.reading_store import ReadingStore
from walras.units import Int64


class OracleNode:
    """What the process holds: number, registry, rules, gateways' keys, store, signer. One per process."""

    def __init__(
        self,
        number: int,
        registry: Registry,
        rules: Rules,
        substitute_rule: SubstituteRule,
        gateways: Mapping[bytes, PublicKey],
        store: ReadingStore,
        sign: Signer,
        clock: Callable[[], datetime],
        pool: Executor | None = None,
    ) -> None:
        self._number, self._registry, self._rules, self._substitute_rule = number, registry, rules, substitute_rule
        self._gateways, self._store, self._sign, self._clock, self._pool = gateways, store, sign, clock, pool
        self._state = self._state_from_store()

    def _state_from_store(self) -> AdmissionState:
        """Last counter and slot of each device are those of its last stored reading: both only rise."""
        devices = len(self._registry.keys)
        counters, slots = np.full(devices, NEVER, dtype=np.int64), np.full(devices, NEVER, dtype=np.int64)
        for kid, counter, slot in self._store.last_readings():
            device = self._registry.index.get(kid, NEVER)
            if device >= 0:
                counters[device], slots[device] = counter, slot
        return AdmissionState(frozen(counters), frozen(slots), frozen(np.zeros(devices, dtype=np.bool_)))

    def revoke_devices(self, devices: Sequence[int]) -> None:
        """Refuse these devices from now on (the status list is fetched again at every start)."""
        self._state = revoke(self._state, devices)

    def receive(self, encoded: bytes) -> int:
        """Admit a gateway's batch; its number, once everything admitted is on disk. MeteringError for what is no such batch."""
        batch = self._opened(encoded)
        known = self._store.received_root(batch.gateway, batch.number)
        if known is not None:
            if known != batch.root:
                raise MeteringError(f"batch {batch.number} was received with another content", thing=batch.number)
            return batch.number
        state, admitted, refused = admit(self._state, self._registry, self._rules, batch.readings, self._clock(), self._pool)
        with self._store.transaction():
            for encoded_reading, counter, slot in zip(admitted.encoded, admitted.counter, admitted.slot, strict=True):
                self._store.add(Taken(encoded_reading[8:24], int(counter), int(slot), encoded_reading))
            self._store.count_refused({int(reason): count for reason, count in refused.counts().items()})
            self._store.note_received(batch.gateway, batch.number, batch.root)
        self._state = state
        return batch.number

    def _opened(self, encoded: bytes) -> Batch:
        for key in self._gateways.values():
            opened = open_batch(encoded, key)
            if isinstance(opened, Batch):
                return opened
        raise MeteringError(f"{BatchRefusal.BAD_SIGNATURE.value} or {BatchRefusal.MALFORMED.value}", thing="batch")

    def readings_of(self, slot: int) -> SlotReadings:
        """The slot as this oracle sees it: its admitted readings, substitutes for the rest."""
        admitted = self._admitted(slot)
        return close_slot(self._registry, slot, admitted, *self._substitutes(slot, admitted))

    def _substitutes(self, slot: int, admitted: Admitted) -> tuple[Int64, Int64, Int64]:
        """By the rule, from the measured values of like slots; these are read only where something is missing."""
        history: dict[int, SlotReadings] = {}
        none = np.full(len(self._registry.keys), NO_FORECAST, dtype=np.int64)
        if missing_devices(self._registry, slot, admitted).size:
            for earlier in like_slots(self._rules.grid, slot, self._substitute_rule):
                zeros = substitutes(self._rules.grid, earlier, {}, none, none, self._substitute_rule)
                history[earlier] = close_slot(self._registry, earlier, self._admitted(earlier), *zeros)
        return substitutes(self._rules.grid, slot, history, none, none, self._substitute_rule)

    def _admitted(self, slot: int) -> Admitted:
        rows: list[tuple[int, ...]] = []
        leaves = []
        for taken in self._store.readings("slot = ?", (slot,)):
            fields = split_reading(taken.encoded)
            if fields is None:
                raise MeteringError(f"the store holds no canonical reading at counter {taken.counter}", thing=taken.key_id.hex())
            rows.append((len(rows), self._registry.index[taken.key_id], *fields[1:]))
            leaves.append(taken.encoded)
        return admitted_of(columns_of(rows, 7), tuple(leaves))

    def vote(self, slot: int) -> Vote:
        """This oracle's vote on a slot. PhaseError before its metering deadline: until then readings may still come."""
        given = self._store.vote(slot)
        if given is None:
            deadline = self._rules.grid.end(slot) + self._rules.deadline
            if self._clock() <= deadline:
                raise PhaseError(f"slot {slot} takes readings until {deadline.isoformat()}", thing=slot)
            root = self.readings_of(slot).tree().root
            given = (root, self._sign(slot, root))
            with self._store.transaction():
                self._store.note_vote(slot, *given)
        return Vote(self._number, slot, *given)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: batches acknowledged by their number, votes by root and signature."""
        try:
            while (frame := await read_frame(reader, MAX_BATCH_BYTES)) is not None:
                try:
                    answer = self._reply(*frame)
                except (MeteringError, PhaseError) as why:
                    await write_frame(writer, SORRY, why.message.encode())
                    continue
                await write_frame(writer, ANSWER, answer)
        except (MeteringError, ConnectionError):
            writer.transport.abort()  # a stream that is cut or too long has no one to answer to
        finally:
            writer.close()

    def _reply(self, kind: bytes, body: bytes) -> bytes:
        if kind == BATCH:
            return self.receive(body).to_bytes(8, "big")
        if kind == VOTE and len(body) == 8:
            vote = self.vote(int.from_bytes(body, "big"))
            return vote.root + vote.signature
        raise MeteringError("a batch or the question for a vote was expected", thing=kind)

    async def run(self, host: str, port: int, ready: Callable[[int], None]) -> None:
        """Serve until cancelled; `ready` is told the port."""
        server = await asyncio.start_server(self.answer, host, port)
        ready(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()
