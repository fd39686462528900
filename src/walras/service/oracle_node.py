"""An oracle as a process: receives batches, admits for itself, and gives its vote on a slot once, for ever the same.

What it has admitted is on disk before a batch is acknowledged; a batch it has seen is acknowledged again and counted once; the
same number with another content is refused (two signed contents convict the gateway). A vote is written before it is given,
so an oracle that is killed and comes back cannot contradict itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from walras.errors import MeteringError, PhaseError, RefusedForGood
from walras.metering.access import Right
from walras.metering.admission import (
    NEVER,
    AdmissionState,
    Admitted,
    Refused,
    Registry,
    Rules,
    admit,
    admitted_of,
    columns_of,
    frozen,
    joined,
    revoke,
)
from walras.metering.feeder import Feeder, FeederCheck, check_feeder, split_batch, transformer_net_wh
from walras.metering.gateway import MAX_BATCH_BYTES, Batch, BatchRefusal, Taken, open_batch
from walras.metering.identity import PublicKey
from walras.metering.merkle import root_of
from walras.metering.meter_exchange import Generations, with_old_energy
from walras.metering.oracle import Signer, Vote, own_digest
from walras.metering.parcel_reading import split_item
from walras.metering.proofs.day import DAY_SLOTS
from walras.metering.proofs.day import SALT_BYTES as DAY_SALT_BYTES
from walras.metering.reading import KEY_ID
from walras.metering.refusals import Refusal
from walras.metering.slot_readings import SlotReadings, close_slot, missing_devices
from walras.metering.substitute import NO_FORECAST, SubstituteRule, like_slots, substitutes
from walras.metering.vault import SALT_BYTES
from walras.service.access_log import Guard, Heeded, judged, log_of, note
from walras.service.erasure import erased
from walras.service.exchange_book import ExchangeBook
from walras.service.frames import BATCH, EDIT, EXCHANGE, REQUEST, VOTE
from walras.service.oracle_batches import BatchDuty, batch_word
from walras.service.oracle_reports import encode_report
from walras.service.oracle_words import (
    Words,
    corrected_slot,
    correction_word,
    days_word,
    is_source,
    late_apart,
    looked_at,
    take_edit,
)
from walras.service.rate_limits import HostLimits
from walras.service.reading_store import UNKNOWN_SLOT, ReadingStore
from walras.service.serving import serve
from walras.units import Int64

MAX_FRAME = max(MAX_BATCH_BYTES, 2_000_000)
MAX_BATCH_SLOTS = 1_440
"""Fifteen days of quarter hours: as long as readings are remembered."""


@dataclass(frozen=True, slots=True)
class Duty:
    """What an oracle is appointed to: its number, the meters, the rules; the feeder to hold them against, and whom it answers.

    `book` is that of meters exchanged since; without it none is.
    `revoked` gives the ids of the keys that are revoked at a moment; MeteringError where that cannot be known.
    """

    number: int
    registry: Registry
    rules: Rules
    substitutes: SubstituteRule
    gateways: Mapping[bytes, PublicKey]
    feeder: Feeder | None = None
    guard: Guard | None = None
    revoked: Callable[[datetime], Collection[bytes]] | None = None
    words: Words | None = None
    book: ExchangeBook | None = None
    batches: BatchDuty | None = None


class OracleNode:
    """What the process holds: its duty, store, signer, clock. One per process."""

    def __init__(
        self,
        duty: Duty,
        store: ReadingStore,
        sign: Signer,
        clock: Callable[[], datetime],
        pool: Executor | None = None,
        limits: HostLimits | None = None,
    ) -> None:
        self._duty, self._store, self._sign, self._clock, self._pool = duty, store, sign, clock, pool
        self._limits = limits
        self._rules, self._devices = duty.rules, len(duty.registry.keys)
        self._revoked: frozenset[bytes] = frozenset()
        self._heeded = None if duty.revoked is None else Heeded(duty.revoked, store)
        self._seen: SlotReadings | None = None
        self._last = {kid: (counter, slot) for kid, counter, slot in store.last_readings()}

    def _state(self, registry: Registry, last: Mapping[bytes, tuple[int, int]]) -> AdmissionState:
        """Last counter and slot of each device are those of its last stored reading, by its key: both only rise.

        Whose key is revoked now is so in every registry, of homes and of the feeder.
        """
        devices = len(registry.keys)
        counters, slots = np.full(devices, NEVER, dtype=np.int64), np.full(devices, NEVER, dtype=np.int64)
        for kid, device in registry.index.items():
            counters[device], slots[device] = last.get(kid, (NEVER, NEVER))
        state = AdmissionState(frozen(counters), frozen(slots), frozen(np.zeros(devices, dtype=np.bool_)))
        return revoke(state, [registry.index[kid] for kid in self._revoked if kid in registry.index])

    @property
    def _generations(self) -> Generations | None:
        return None if self._duty.book is None else self._duty.book.generations

    def _registry(self, slot: int) -> Registry:
        return self._duty.registry if self._generations is None else self._generations.at(slot)

    def _admit(
        self, homes: Sequence[bytes], now: datetime, last: dict[bytes, tuple[int, int]]
    ) -> tuple[Admitted, list[tuple[list[bytes], Refused]]]:
        """What is admitted; and by generation of the registry, that of the slots named, what came and was refused.

        `last` counter and slot by key are brought up to date.
        """
        by_number: dict[int, list[bytes]] = {}
        if self._generations is None or not self._generations.exchanges:
            by_number[0] = list(homes)
        else:
            for one in homes:
                fields = split_item(one)
                by_number.setdefault(0 if fields is None else self._generations.number(fields[1]), []).append(one)
        admitted, refused = [], []
        for number, batch in sorted(by_number.items()):
            registry = self._duty.registry if self._generations is None else self._generations.registries[number]
            _, taken, not_taken = admit(self._state(registry, last), registry, self._rules, batch, now, self._pool)
            counted = zip(taken.encoded, taken.counter.tolist(), taken.slot.tolist(), strict=True)
            last.update({encoded[KEY_ID]: (counter, slot) for encoded, counter, slot in counted})
            admitted.append(taken)
            refused.append((batch, not_taken))
        return joined(admitted), refused

    def receive(self, encoded: bytes) -> int:
        """Admit a gateway's batch; its number, once everything admitted is on disk. RefusedForGood for what is no such batch."""
        batch = self._opened(encoded)
        known = self._store.received_root(batch.gateway, batch.number)
        if known is not None:
            if known != batch.root:
                raise RefusedForGood(f"batch {batch.number} was received with another content", thing=batch.number)
            return batch.number
        feeder, now = self._duty.feeder, self._clock()
        if self._heeded is not None:
            self._revoked = self._heeded(now)
        homes, through = (list(batch.readings), []) if feeder is None else split_batch(feeder, batch.readings)
        words = self._duty.words
        homes, late = (homes, []) if words is None else late_apart(self._rules, words.dispute, homes, now)
        came_late, refused_late = looked_at(self._registry, late, now, self._revoked)
        last = dict(self._last)
        admitted, refused = self._admit(homes, now, last)
        taken = list(zip(admitted.encoded, admitted.counter.tolist(), admitted.slot.tolist(), strict=True))
        if feeder is not None:
            _, witness, _ = admit(self._state(feeder.registry, last), feeder.registry, self._rules, through, now)
            taken += zip(witness.encoded, witness.counter.tolist(), witness.slot.tolist(), strict=True)
            last.update({one[KEY_ID]: (counter, slot) for one, counter, slot in taken[len(admitted.encoded) :]})
        signed = _signed_in_vain(refused)
        heard = [(one[KEY_ID], slot) for one, slot in zip(admitted.encoded, admitted.slot.tolist(), strict=True)]
        heard += [(fields[0], fields[1]) for fields in map(split_item, signed) if fields is not None]
        heard += [(one.key_id, one.slot) for one in came_late]
        reasons = [by_slot for came, not_taken in refused for by_slot in _refused_by_slot(came, not_taken).items()]
        with self._store.transaction():
            for reading, counter, slot in taken:
                self._store.add(Taken(reading[KEY_ID], counter, slot, reading))
            for one in came_late:
                self._store.add_late(one)
            self._store.note_arrivals(heard, int(now.timestamp()))
            for slot, counts in (*reasons, *refused_late.items()):
                self._store.count_refused(counts, slot)
            self._store.note_received(batch.gateway, batch.number, batch.root)
        self._last, self._seen = last, None
        return batch.number

    def _delays(self, slot: int) -> list[int | None]:
        """By device: seconds from the end of the slot until this oracle heard of it, None where it did not."""
        arrivals, end = self._store.arrivals(slot), int(self._rules.grid.end(slot).timestamp())
        heard = map(arrivals.get, self._registry(slot).index)
        return [None if at is None else at - end for at in heard]

    def _opened(self, encoded: bytes) -> Batch:
        for key in self._duty.gateways.values():
            opened = open_batch(encoded, key)
            if isinstance(opened, Batch):
                return opened
        raise RefusedForGood(f"{BatchRefusal.BAD_SIGNATURE.value} or {BatchRefusal.MALFORMED.value}", thing="batch")

    def readings_of(self, slot: int) -> SlotReadings:
        """The slot as this oracle sees it: its admitted readings, substitutes for the rest. The last one is remembered."""
        if self._seen is None or self._seen.slot != slot:
            self._seen = self._readings_of(slot)
        return self._seen

    def _readings_of(self, slot: int) -> SlotReadings:
        admitted = self._admitted(slot)
        readings = close_slot(self._registry(slot), slot, admitted, *self._substitutes(slot, admitted))
        return readings if self._generations is None else with_old_energy(self._generations, readings)

    def _substitutes(self, slot: int, admitted: Admitted) -> tuple[Int64, Int64, Int64]:
        """By the rule, from the measured values of like slots; these are read only where something is missing."""
        history: dict[int, SlotReadings] = {}
        none = np.full(self._devices, NO_FORECAST, dtype=np.int64)
        if missing_devices(self._registry(slot), slot, admitted).size:
            words = self._duty.words
            for earlier in like_slots(self._rules.grid, slot, self._duty.substitutes):
                zeros = substitutes(self._rules.grid, earlier, {}, none, none, self._duty.substitutes)
                then = self._registry(earlier)
                history[earlier] = close_slot(then, earlier, self._admitted(earlier), *zeros)
                if self._generations is not None:
                    history[earlier] = with_old_energy(self._generations, history[earlier])
                if words is not None and is_source(self._rules, words.dispute, earlier, slot):
                    history[earlier], _ = corrected_slot(then, self._store, history[earlier], words, self._generations)
        return substitutes(self._rules.grid, slot, history, none, none, self._duty.substitutes)

    def _admitted(self, slot: int) -> Admitted:
        rows: list[tuple[int, ...]] = []
        leaves = []
        index = self._registry(slot).index
        for taken in self._store.readings("slot = ?", (slot,)):
            if taken.key_id not in index:
                continue  # the feeder's own meter
            fields = split_item(taken.encoded)
            if fields is None:
                raise MeteringError(f"the store holds no canonical reading at counter {taken.counter}", thing=taken.key_id.hex())
            rows.append((len(rows), index[taken.key_id], *fields[1:]))
            leaves.append(taken.encoded)
        return admitted_of(columns_of(rows, 7), tuple(leaves))

    def vote(self, slot: int, salts: Sequence[bytes] | None = None) -> Vote:
        """This oracle's vote on a slot, over leaves salted by `salts` where given. PhaseError before its metering deadline.

        The first vote stands, whatever salts come later: an oracle never votes twice.
        """
        given = self._store.vote(slot)
        if given is None:
            self._check_closed(slot)
            leaves = self.readings_of(slot).leaves
            if salts is not None:
                leaves = tuple(salt + leaf for salt, leaf in zip(salts, leaves, strict=True))
            root = root_of(leaves)
            given = (root, self._sign(slot, root))
            with self._store.transaction():
                self._store.note_vote(slot, *given)
        return Vote(self._duty.number, slot, *given)

    def report(self, slot: int) -> bytes:
        """What this oracle holds of a closed slot (`oracle_reports`)."""
        self._check_closed(slot)
        readings = self.readings_of(slot)
        return encode_report(readings.leaves, self._store.refused_in(slot), self._balance(readings), self._delays(slot))

    def _balance(self, readings: SlotReadings) -> FeederCheck | None:
        """The homes' readings against the feeder's own meter; None where that was not heard."""
        feeder = self._duty.feeder
        if feeder is None:
            return None
        (kid,) = feeder.registry.index
        through = [taken.encoded for taken in self._store.readings("key_id = ? and slot = ?", (kid, readings.slot))]
        transformer = transformer_net_wh(feeder, self._rules, readings.slot, through)
        return None if transformer is None else check_feeder(feeder, self._rules.grid, readings, transformer)

    def corrected(self, slot: int, revision: int, salts: Sequence[bytes]) -> bytes:
        """The slot after what came late, and this oracle's word on it (`oracle_words`). PhaseError while more may come."""
        words = self._words(slot)
        readings, refused = self._standing(slot, words)
        word = correction_word(words, self._store, readings, revision, salts)
        return encode_report(readings.leaves, refused, self._balance(readings), self._delays(slot), *word)

    def days(self, slots: range, salts: Sequence[bytes]) -> bytes:
        """This oracle's word on the commitments to the days over `slots`. PhaseError while one of them can still change."""
        words = self._words(slots[-1])
        readings = [self._standing(slot, words)[0] for slot in slots]
        return days_word(words, self._store, self._registry(slots[-1]), readings, salts)

    def batch(self, slots: range, packed: bytes) -> bytes:
        """This oracle's word on a batch of settled slots (`oracle_batches`). PhaseError while one of them can still change."""
        words = self._words(slots[-1])
        duty = self._duty.batches
        if duty is None:
            raise MeteringError("the community settles slot by slot: there are no batches to sign", thing=slots)
        return batch_word(duty, self._store, [self._standing(slot, words)[0] for slot in slots], packed)

    def _standing(self, slot: int, words: Words) -> tuple[SlotReadings, dict[int, int]]:
        return corrected_slot(self._registry(slot), self._store, self.readings_of(slot), words, self._generations)

    def _words(self, slot: int) -> Words:
        words = self._duty.words
        if words is None:
            raise PhaseError(f"slot {slot}: this oracle says nothing of settled slots", thing=slot)
        self._check_closed(slot, words.dispute)
        return words

    def _check_closed(self, slot: int, further: timedelta = timedelta(0)) -> None:
        deadline = self._rules.grid.end(slot) + self._rules.deadline + further
        if self._clock() <= deadline:
            raise PhaseError(f"slot {slot} takes readings until {deadline.isoformat()}", thing=slot)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: batches acknowledged by their number, votes by root and signature."""
        await serve(reader, writer, self._reply, MAX_FRAME, self._limits)

    def _reply(self, kind: bytes, body: bytes) -> bytes:
        if kind == BATCH:
            return self.receive(body).to_bytes(8, "big")
        if kind == REQUEST and self._duty.guard is not None:
            return self._answer_request(self._duty.guard, body)
        self._seen = None  # what comes may change it
        if kind == EXCHANGE and self._duty.book is not None:
            self._duty.book.take(body.decode("ascii", "replace"))
            return b""
        if kind == EDIT and self._duty.words is not None:
            take_edit(self._duty.words, self._store, body)
            return b""
        if kind == VOTE and len(body) == 8 and self._duty.guard is None:
            vote = self.vote(int.from_bytes(body, "big"))
            return vote.root + vote.signature
        raise MeteringError("a batch or a signed request was expected", thing=kind)

    def _answer_request(self, guard: Guard, body: bytes) -> bytes:
        """The answer to a request that a credential allows; every one is logged, also what is refused."""
        asked = judged(guard, body, self._store, self._clock)
        if asked.right is Right.ERASE:
            note(self._store, self._clock(), asked.holder, asked.right.name, UNKNOWN_SLOT, True)
            return erased(asked.body, self)
        slot = int.from_bytes(asked.body[:8], "big")
        if asked.right is Right.BATCH:
            note(self._store, self._clock(), asked.holder, asked.right.name, slot, True)
            return self.batch(_slots_of(asked.body), asked.body[10:])
        fixed, each = _SHAPES.get(asked.right, (8, 0))
        if len(asked.body) != fixed + each * self._devices:
            raise MeteringError(f"{fixed} bytes and salts of {each} were expected", thing=asked.right)
        second = int.from_bytes(asked.body[8:fixed], "big")
        salts = [asked.body[at : at + each] for at in range(fixed, len(asked.body), each or 1)]
        note(self._store, self._clock(), asked.holder, asked.right.name, slot, True)
        if asked.right is Right.LOG:
            return log_of(self._store)
        if asked.right is Right.READ:
            return self.report(slot)
        if asked.right is Right.CORRECT:
            return self.corrected(slot, second, salts)
        if asked.right is Right.COMMIT and 1 <= second <= DAY_SLOTS:
            return self.days(range(slot, slot + second), salts)
        if asked.right is Right.VOTE:
            vote = self.vote(slot, salts)
            return vote.root + vote.signature + own_digest(vote.oracle, slot, self.readings_of(slot).leaves)
        raise MeteringError(f"an oracle has no answer to {asked.right.name}", thing=asked.right)

    def forget(self, account: int) -> int:
        """Erase what is kept of an account, in memory too."""
        self._seen = None
        return self._store.forget_member(account)

    def erase_before(self, slot: int) -> int:
        """Erase the readings of slots before `slot`, in memory too."""
        self._seen = None
        return self._store.erase_before(slot)

    async def run(self, host: str, port: int, ready: Callable[[int], None]) -> None:
        """Serve until cancelled; `ready` is told the port."""
        server = await asyncio.start_server(self.answer, host, port)
        ready(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()


def _slots_of(body: bytes) -> range:
    """First slot in 8 bytes, how many in 2; MeteringError for none or too many."""
    first, count = int.from_bytes(body[:8], "big"), int.from_bytes(body[8:10], "big")
    if len(body) <= 10 or not 1 <= count <= MAX_BATCH_SLOTS:
        raise MeteringError(f"a batch of 1 to {MAX_BATCH_SLOTS} slots was expected", thing=count)
    return range(first, first + count)


_SHAPES = {
    Right.VOTE: (8, SALT_BYTES),
    Right.READ: (8, 0),
    Right.CORRECT: (10, SALT_BYTES),
    Right.COMMIT: (10, DAY_SALT_BYTES),
}
"""Of a request's body: slot in 8 bytes, for some a second number in 2 (revision, count of slots); then a salt a device."""


def _signed_in_vain(refused: Sequence[tuple[list[bytes], Refused]]) -> list[bytes]:
    """What was refused though its meter, in good standing, had signed it."""
    return [
        batch[row]
        for batch, not_taken in refused
        for row, reason in zip(not_taken.row.tolist(), not_taken.reason.tolist(), strict=True)
        if reason >= Refusal.REPLAYED
    ]


def _refused_by_slot(batch: Sequence[bytes], refused: Refused) -> dict[int, Counter[int]]:
    """Refusals by the slot that the refused bytes name, and reason."""
    counts: dict[int, Counter[int]] = {}
    for row, reason in zip(refused.row.tolist(), refused.reason.tolist(), strict=True):
        fields = split_item(batch[row])
        counts.setdefault(UNKNOWN_SLOT if fields is None else fields[1], Counter())[reason] += 1
    return counts
