"""The metering path over the network: readings to a gateway, votes and closed slots from oracles in processes of their own.

The exchange holds no reading before the oracles do: it hands the meters' bytes to the gateway, waits until every oracle has
acknowledged them (or its patience ends and a quorum has to do), and asks each oracle what it closed the slot with. What a quorum
of them holds, leaf by leaf, are the readings. Everything can be repeated: a gateway takes a reading once, an oracle votes once.
So the exchange may be killed anywhere here and ask again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, sleep

from walras.errors import MeteringError
from walras.exchange.acts import Act
from walras.exchange.batching import BatchSlot, MadeBatch, batch_digest
from walras.ledger import LedgerAddresses
from walras.ledger.calls import Contract
from walras.ledger.keys import SIGNATURE_BYTES
from walras.metering import SlotReadings, Vote
from walras.metering.access import Right, sign_request
from walras.metering.oracle import own_digest
from walras.metering.parcel_reading import MAX_ITEM_BYTES
from walras.metering.vault import leaf_salt
from walras.service.access_log import act_of
from walras.service.appointment import GATEWAY, Appointment
from walras.service.clocks import FileClock
from walras.service.frames import EDIT, EXCHANGE, REQUEST, WAITING, ask
from walras.service.gateway_node import MAX_READINGS_FRAME, PATIENCE_S, RATE_LIMITED, Peer, send_readings
from walras.service.oracle_batches import batch_body
from walras.service.oracle_reports import agreed, read_report
from walras.study.oracles import Closed, Corrected

PAUSE_S = 0.05
PAST = timedelta(microseconds=1)
"""From the last moment at which something may come to the first at which it may not."""

CHUNK = (MAX_READINGS_FRAME - 3) // (MAX_ITEM_BYTES + 3)
"""Readings in one frame to the gateway: as many of the longest as it reads at once."""

DAY_PATIENCE_S = 60.0
"""For an answer that takes an oracle through all readings of a day."""

MAX_REPORT = 50_000_000
UNREACHABLE = (OSError, TimeoutError, MeteringError)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Where the gateway and the oracles are; oracle i is `oracles[i]`."""

    gateway: Peer
    oracles: tuple[Peer, ...]
    patience_s: float = 120.0


class RemoteMetering:
    """`study.oracles.MeteringPath` over sockets. In a replay it moves the clock that the nodes read."""

    def __init__(
        self,
        appointment: Appointment,
        nodes: Nodes,
        secrets: Sequence[bytes],
        clock: FileClock,
        further: Callable[[datetime], list[Act]] | None = None,
    ) -> None:
        """`further`: acts of nodes beside the path, for the record when the run is over."""
        self._further = further
        self._a, self._nodes, self._secrets, self._clock = appointment, nodes, secrets, clock
        self._credential = appointment.exchange_credential
        self._leaves: tuple[int, tuple[bytes, ...]] = (-1, ())

    def take(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> Closed:
        """As `MeteringPath.take`: sent as the clock comes to it, acknowledged by the oracles, closed by their deadline."""
        end = self._a.community.grid.end(slot)
        for delay in sorted(set(after_s)):
            self._clock.move(end + timedelta(seconds=delay))
            self._hand_on(slot, [one for one, its in zip(batch, after_s, strict=True) if its == delay])
        self._clock.move(end + timedelta(seconds=self._a.terms.metering_deadline_s) + PAST)
        reports = [read_report(answer, self._a.terms.members) for _, answer in self._ask_all(Right.READ, slot.to_bytes(8, "big"))]
        closed = agreed(slot, [report for report in reports if report is not None], self._a.terms.quorum)
        self._leaves = slot, closed[0].leaves
        return closed

    def _hand_on(self, slot: int, batch: Sequence[bytes]) -> None:
        for at in range(0, len(batch), CHUNK):
            self._send(slot, list(batch[at : at + CHUNK]))
        self._wait_for_oracles(slot)

    def taken_before(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int], readings: SlotReadings) -> None:
        """The nodes keep their own memory."""
        self._leaves = slot, readings.leaves

    def votes(self, slot: int, root: bytes, addresses: LedgerAddresses) -> list[Vote]:
        """The votes of all oracles, or of those that answer in time; of none that cannot show that it holds the readings.

        Beside its vote an oracle gives its own digest of them, which nobody makes from a root or from another's digest.
        """
        salts = b"".join(leaf_salt(secret, device, slot) for device, secret in enumerate(self._secrets))
        answers = self._ask_all(Right.VOTE, slot.to_bytes(8, "big") + salts)
        held, leaves = self._leaves
        own = [own_digest(n, slot, leaves) if held == slot else b"" for n in self._numbers]
        return [Vote(n, slot, a[:32], a[32:-32]) for n, a in answers if len(a) == 64 + SIGNATURE_BYTES and a[-32:] == own[n]]

    def sign_batch(self, slots: Sequence[BatchSlot], made: MadeBatch, contract: Contract) -> list[tuple[str, bytes]]:
        """Each oracle settles the slots again on its own readings; its word counts where it comes to the same batch."""
        self._clock.move(self._standing_from(slots[-1].slot))
        digest = batch_digest(self._a.terms, made, contract)
        answers = self._ask_all(Right.BATCH, batch_body(slots, made))
        return [(self._a.terms.oracles[n], a[32:]) for n, a in answers if a[:32] == digest and len(a) == 32 + SIGNATURE_BYTES]

    def late(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> None:
        """As `MeteringPath.late`: sent, and acknowledged by the oracles while they still hear disputes of the slot."""
        self._hand_on(slot, batch)

    def late_before(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> None:
        """The nodes keep their own memory."""

    def corrected_before(self, slot: int, leaves: Sequence[bytes]) -> None:
        """The nodes keep their own memory."""

    def correct(self, slot: int, revision: int, addresses: LedgerAddresses, edits: Sequence[bytes]) -> Corrected:
        """The slot that a quorum holds after what came late, and the words of those oracles that answer on this revision.

        Every oracle is handed the edits first, and keeps them; then it is asked.
        """
        for edit in edits:
            self._until_all_answer(slot, lambda n, edit=edit: self._hand_over(n, edit))  # type: ignore[misc]
        self._clock.move(self._standing_from(slot))
        salts = b"".join(leaf_salt(secret, device, slot) for device, secret in enumerate(self._secrets))
        answers = self._ask_all(Right.CORRECT, slot.to_bytes(8, "big") + revision.to_bytes(2, "big") + salts)
        said = {n: read_report(answer, self._a.terms.members, parts=6) for n, answer in answers}
        reports = {n: report for n, report in said.items() if report is not None}
        readings, refused, check, delays = agreed(slot, list(reports.values()), self._a.terms.quorum)
        votes = [Vote(n, slot, *report.word) for n, report in reports.items() if report.word is not None]
        return readings, refused, votes, delays, check

    def day_votes(
        self, readings: Sequence[SlotReadings], salts: Sequence[bytes], root: bytes, addresses: LedgerAddresses
    ) -> list[Vote]:
        """Each oracle commits to the days of its own readings; `root` is for the quorum to meet."""
        first, last = readings[0].slot, readings[-1].slot
        self._clock.move(self._standing_from(last))
        body = first.to_bytes(8, "big") + len(readings).to_bytes(2, "big") + b"".join(salts)
        answers = self._ask_all(Right.COMMIT, body)
        return [Vote(n, first, a[:32], a[32:]) for n, a in answers if len(a) == 32 + SIGNATURE_BYTES]

    def exchange(self, statement: str) -> None:
        """Gateway and oracles are told; all keep it before anything is sent that the new meter signed."""
        told = statement.encode("ascii")
        for _ in self._tries("the gateway is not told of a meter's exchange"):
            try:
                asyncio.run(self._tell(self._nodes.gateway, told))
                break
            except (OSError, TimeoutError):
                continue
        self._until_all_answer(0, lambda n: self._tell(self._nodes.oracles[n], told))

    async def _tell(self, peer: Peer, statement: bytes) -> bytes:
        return await ask(peer.host, peer.port, EXCHANGE, statement, 64, PATIENCE_S)

    def acts(self) -> list[Act]:
        """One act a node with its log of requests; a node that does not answer, or with what is no log, has one that says so."""
        at, body = self._clock(), bytes(8)
        logs = dict(self._ask_those_who_answer(Right.LOG, body))
        done = [act_of(f"oracle {n}", logs.get(n), at) for n in self._numbers]
        request = sign_request(self._a.exchange_key, self._credential, Right.LOG, GATEWAY, body, at)
        gateway = self._nodes.gateway
        log = asyncio.run(_or_none(ask(gateway.host, gateway.port, REQUEST, request, MAX_REPORT, PATIENCE_S)))
        done.append(act_of(GATEWAY, log, at))
        return done if self._further is None else [*done, *self._further(at)]

    @property
    def _numbers(self) -> range:
        return range(len(self._nodes.oracles))

    def _ask_those_who_answer(self, right: Right, body: bytes) -> dict[int, bytes]:
        return asyncio.run(self._asked(self._numbers, lambda n: self._ask_one(n, right, body)))

    def _standing_from(self, slot: int) -> datetime:
        """The first moment at which nothing more can come of a slot."""
        terms = self._a.terms
        return self._a.community.grid.end(slot) + timedelta(seconds=terms.metering_deadline_s + terms.dispute_window_s) + PAST

    def _send(self, slot: int, readings: list[bytes]) -> None:
        """Until every reading is on the gateway's disk, or refused for good; again where the gateway is away or told to wait."""
        for _ in self._tries(f"slot {slot}: the gateway does not take the readings"):
            try:
                codes = asyncio.run(send_readings(self._nodes.gateway.host, self._nodes.gateway.port, readings))
            except UNREACHABLE:
                continue
            readings = [r for r, code in zip(readings, codes, strict=True) if code == RATE_LIMITED]
            if not readings:
                return

    def _wait_for_oracles(self, slot: int) -> None:
        """Until all oracles have every batch; after the patience a quorum is enough."""
        gateway = self._nodes.gateway
        waiting = b""
        try:
            for _ in self._tries(f"slot {slot}: not all oracles have the readings"):
                try:
                    waiting = asyncio.run(ask(gateway.host, gateway.port, WAITING, b"", 1_000, PATIENCE_S))
                except UNREACHABLE:
                    continue
                if not any(waiting):
                    return
        except MeteringError:
            done = sum(not any(waiting[at : at + 2]) for at in range(0, len(waiting), 2))
            if done < self._a.terms.quorum:
                raise

    def _ask_all(self, right: Right, body: bytes) -> list[tuple[int, bytes]]:
        """Number and answer of every oracle; of those that answer within the patience, if they are a quorum."""
        return self._until_all_answer(int.from_bytes(body[:8], "big"), lambda n: self._ask_one(n, right, body))

    async def _hand_over(self, number: int, edit: bytes) -> bytes:
        peer = self._nodes.oracles[number]
        return await ask(peer.host, peer.port, EDIT, edit, 64, PATIENCE_S)

    def _until_all_answer(self, slot: int, question: Callable[[int], Awaitable[bytes]]) -> list[tuple[int, bytes]]:
        answers: dict[int, bytes] = {}
        try:
            for _ in self._tries(f"slot {slot}: not all oracles answer"):
                missing = [n for n in self._numbers if n not in answers]
                answers.update(asyncio.run(self._asked(missing, question)))
                if len(answers) == len(self._nodes.oracles):
                    break
        except MeteringError:
            if len(answers) < self._a.terms.quorum:
                raise
        return sorted(answers.items())

    async def _asked(self, numbers: Sequence[int], question: Callable[[int], Awaitable[bytes]]) -> dict[int, bytes]:
        given = await asyncio.gather(*(_or_none(question(n)) for n in numbers))
        return {n: answer for n, answer in zip(numbers, given, strict=True) if answer is not None}

    async def _ask_one(self, number: int, right: Right, body: bytes) -> bytes:
        peer = self._nodes.oracles[number]
        name = self._a.terms.oracles[number]
        request = sign_request(self._a.exchange_key, self._credential, right, name, body, self._clock())
        patience = DAY_PATIENCE_S if right in (Right.COMMIT, Right.BATCH) else PATIENCE_S
        return await ask(peer.host, peer.port, REQUEST, request, MAX_REPORT, patience)

    def _tries(self, what: str) -> Iterator[None]:
        """Try after try, with a pause between, until the patience ends: then MeteringError."""
        end = monotonic() + self._nodes.patience_s
        while monotonic() < end:
            yield
            sleep(PAUSE_S)
        raise MeteringError(what, thing=self._nodes, way_out="start the nodes that are missing, then run again: it goes on here")


async def _or_none(question: Awaitable[bytes]) -> bytes | None:
    """The answer, or None where the peer is away or refuses."""
    try:
        return await question
    except UNREACHABLE:
        return None
