"""The balance oracle: it learns what a feeder's homes took and gave in a slot together, and of no home what it measured.

It holds the meters' signed messages (`masked`) and the transformer's signed reading, and at the end of a slot says one word on it:
the sum, and whether it meets what the transformer gave. A slot's round has four times, before its readings are due:

    openings  |  contributions  |  reveals  |  word
            due - 2w          due - w      due

Openings are given out only when no more are taken, contributors told only when no more contribute, and the word follows from
what was taken in time. So a message sent again changes nothing, an oracle that is killed comes back where it was, and a meter that
falls silent is a dropout whose masks its neighbours' shares take off.

A meter that is hung in another's place joins under a credential of its own, for a slot and those after it; what the registers
showed then is not told here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from walras.errors import MeteringError, PhaseError
from walras.metering.admission import Registry, Rules
from walras.metering.aggregation import Opening, Total, Unrecovered, partners_of, ring, total
from walras.metering.credential import MeterCredential, read_credential
from walras.metering.feeder import Feeder, check_masked, transformer_net_wh
from walras.metering.identity import PublicKey, key_id, public_key_of
from walras.metering.masked import (
    ONCE,
    Kind,
    MaskedWord,
    Message,
    opening_of,
    read_message,
    reveal_of,
    ring_seed,
    rule_for,
    unpack,
)
from walras.metering.meter_exchange import with_row
from walras.metering.parcel_reading import split_item
from walras.metering.strict_cbor import loads_strict

LONGEST_WINDOW = timedelta(seconds=60)
EARLIEST = timedelta(days=1)


class Messages(Protocol):
    """Where messages are kept. What `add` returns from is durable."""

    def add(self, slot: int, kind: int, device: int, encoded: bytes) -> bytes:
        """Keep the message unless there is one; the one that is kept."""

    def of(self, slot: int, kind: int) -> dict[int, bytes]:
        """The messages of a slot and kind by device."""

    def hung(self) -> list[bytes]:
        """All messages of the kind HUNG, by slot."""


TRANSFORMER, HUNG = len(Kind), len(Kind) + 1
"""Where a kind could stand: the transformer's signed reading; the credential and the JOIN of an exchanged meter."""


@dataclass(frozen=True, slots=True)
class BalanceDuty:
    """What the balance oracle knows of a community: the meters' keys, the rules of time, the feeder behind the transformer; the
    operator, who vouches for meters that are hung in others' places (None: no meter is)."""

    registry: Registry
    rules: Rules
    feeder: Feeder
    operator: PublicKey | None = None


def window(rules: Rules) -> timedelta:
    """How long openings, contributions and reveals are each waited for: a minute, or a third of the time to the deadline."""
    return min(LONGEST_WINDOW, rules.deadline / 3)


def taken_until(rules: Rules, slot: int, kind: int) -> datetime:
    """Until when messages of `kind` are taken of a slot."""
    return rules.grid.end(slot) + rules.deadline - window(rules) * (Kind.REVEAL - kind)


class BalanceOracle:
    """One oracle over its store of messages. `clock` says what is still taken and what may be told."""

    def __init__(self, duty: BalanceDuty, messages: Messages, clock: Callable[[], datetime]) -> None:
        self._duty, self._messages, self._clock = duty, messages, clock
        self.rule = rule_for(len(duty.registry.keys))
        self._ring = ring(len(duty.registry.keys), ring_seed(duty.registry), self.rule)
        self._revoked: frozenset[bytes] = frozenset()
        self._registries = [(ONCE, duty.registry)]
        for record in messages.hung():
            after = self._after(record)
            if after is not None:
                self._registries.append(after[1:])

    def heed(self, revoked: frozenset[bytes]) -> None:
        """The ids of the keys that are revoked: what they sign is refused from now on; what was taken before stands."""
        self._revoked = revoked

    def registries(self) -> list[Registry]:
        """As meters were exchanged, the first one first."""
        return [registry for _, registry in self._registries]

    def credentials(self) -> list[str]:
        """The operator's credentials for the meters that were hung since."""
        return [told[0] for record in self._messages.hung() if (told := _hung(record)) is not None]

    def take_hung(self, record: bytes) -> bool:
        """A meter was hung in another's place: CBOR of the operator's credential for it and its JOIN. False where that fails."""
        told = _hung(record)
        said = None if told is None else self._message(told[1])
        if said is not None and said.slot != ONCE:
            kept = self._messages.of(said.slot, HUNG).get(said.device)
            earlier = None if kept is None else _hung(kept)
            return earlier is not None and self._same(earlier[1], said)
        after = self._after(record)
        if after is None:
            return False
        message, since, registry = after
        self._messages.add(since, HUNG, message.device, record)
        self._registries.append((since, registry))
        return True

    def hung(self) -> list[bytes]:
        """The JOIN of every meter that was hung since, by slot, for its neighbours."""
        return [told[1] for record in self._messages.hung() if (told := _hung(record)) is not None]

    def _after(self, record: bytes) -> tuple[Message, int, Registry] | None:
        """The JOIN, its slot, and the registry from then on: of a meter that the operator vouches for and that never spoke here."""
        told = _hung(record)
        if told is None or self._duty.operator is None:
            return None
        new, (last, now) = read_credential(told[0], self._duty.operator), self._registries[-1]
        if not isinstance(new, MeterCredential) or new.member >= len(now.keys):
            return None
        kid = key_id(public_key_of(new.device))
        registry = with_row(now, new.member, new, self._duty.rules.grid)
        message = read_message(told[1], registry)
        spoke = any(kid in one.index for _, one in self._registries)
        if message is None or spoke or message.kind is not Kind.JOIN or message.device != new.member:
            return None
        return None if message.slot < max(last, 0) else (message, message.slot, registry)

    def _registry(self, slot: int) -> Registry:
        """Whose key speaks for whom in a slot."""
        return next(registry for since, registry in reversed(self._registries) if since <= slot)

    def _message(self, encoded: bytes) -> Message | None:
        """The message, of a meter that speaks in its slot."""
        for _, registry in reversed(self._registries):
            message = read_message(encoded, registry)
            if message is not None:
                kid = key_id(registry.keys[message.device])
                return message if self._registry(message.slot).index.get(kid) == message.device else None
        return None

    def take(self, encoded: bytes) -> bool:
        """Keep a message: True where it stands, False where it is refused: no meter's, a revoked key's, out of its time, or another
        than before."""
        message = self._message(encoded)
        if message is None or not self._fits(message):
            return False
        if key_id(self._registry(message.slot).keys[message.device]) in self._revoked:
            return False
        kept = self._messages.of(message.slot, message.kind).get(message.device)
        if kept is None and self._is_due(message.slot, message.kind):
            kept = self._messages.add(message.slot, message.kind, message.device, encoded)
        return kept is not None and (kept == encoded or self._same(kept, message))

    def take_transformer(self, encoded: bytes) -> bool:
        """Keep the transformer's signed reading of a slot; False for anything else."""
        fields = split_item(encoded)
        if fields is None or fields[0] not in self._duty.feeder.registry.index or fields[0] in self._revoked:
            return False
        slot = fields[1]
        if transformer_net_wh(self._duty.feeder, self._duty.rules, slot, [encoded]) is None:
            return False
        kept = self._messages.of(slot, TRANSFORMER).get(0)
        if kept is None and self._is_due(slot, Kind.REVEAL):
            kept = self._messages.add(slot, TRANSFORMER, 0, encoded)
        return kept == encoded

    def joins(self) -> list[bytes]:
        """Every meter's agreement key under its signature, by device."""
        return [encoded for _, encoded in sorted(self._messages.of(ONCE, Kind.JOIN).items())]

    def openings(self, slot: int) -> list[bytes]:
        """All openings of a slot, for the meters. PhaseError while more are taken."""
        self._check_past(slot, Kind.OPENING)
        return [encoded for _, encoded in sorted(self._messages.of(slot, Kind.OPENING).items())]

    def contributors(self, slot: int) -> tuple[int, ...]:
        """Who contributed, in order: the list that meters reveal for. PhaseError while somebody still may."""
        self._check_past(slot, Kind.CONTRIBUTION)
        partners = partners_of(self._openings(slot), self.rule)
        return tuple(sorted(device for device in self._messages.of(slot, Kind.CONTRIBUTION) if device in partners))

    def contributions(self, slot: int) -> list[bytes]:
        """The signed contributions of a slot, as they came: what a dispute is about."""
        self._check_past(slot, Kind.CONTRIBUTION)
        return [encoded for _, encoded in sorted(self._messages.of(slot, Kind.CONTRIBUTION).items())]

    def word(self, slot: int) -> MaskedWord:
        """What the slot sums to. PhaseError while shares may still come."""
        self._check_past(slot, Kind.REVEAL)
        openings = self._openings(slot)
        partners = partners_of(openings, self.rule)
        told = self.contributors(slot)
        numbers = {d: m.fields[0] for d, m in self._read(slot, Kind.CONTRIBUTION).items() if d in told}
        reveals = [reveal_of(message) for message in self._read(slot, Kind.REVEAL).values()]
        through = list(self._messages.of(slot, TRANSFORMER).values())
        transformer = transformer_net_wh(self._duty.feeder, self._duty.rules, slot, through)
        if len(told) < self.rule.minimum:
            return MaskedWord(slot, told, (), (), None, None, transformer, None)
        result = total(openings, partners, numbers, reveals, self.rule)
        if isinstance(result, Unrecovered):
            return MaskedWord(slot, told, result.meters, (), None, None, transformer, None)
        return self._summed(slot, result, transformer)

    def _summed(self, slot: int, result: Total, transformer: int | None) -> MaskedWord:
        import_wh, export_wh = unpack(result.value)
        balance = None
        if transformer is not None and len(result.contributors) == len(self._duty.registry.keys):
            check = check_masked(self._duty.feeder, self._duty.rules.grid, import_wh, export_wh, transformer)
            balance = check.residual_wh, check.tolerance_wh
        return MaskedWord(slot, result.contributors, (), result.liars, import_wh, export_wh, transformer, balance)

    def _openings(self, slot: int) -> dict[int, Opening]:
        return {device: opening_of(message) for device, message in self._read(slot, Kind.OPENING).items()}

    def _read(self, slot: int, kind: Kind) -> dict[int, Message]:
        """Messages of its own store, whose signatures were checked when they were taken."""
        found = {}
        for device, encoded in self._messages.of(slot, kind).items():
            message = self._message(encoded)
            if message is None:
                raise MeteringError(f"slot {slot}: the store holds no message of device {device}", thing=device)
            found[device] = message
        return found

    def _same(self, kept: bytes, message: Message) -> bool:
        """A signature may be another each time (a TPM's); what it is over may not."""
        earlier = self._message(kept)
        return earlier is not None and earlier.fields == message.fields

    def _fits(self, message: Message) -> bool:
        """Pairs and shares are of the meter's neighbours on the ring, and of nobody else; of as many as its secrets need."""
        neighbours = set(self._ring[message.device])
        if message.kind is Kind.OPENING:
            named = {row[0] for row in message.fields[3]}
            return named <= neighbours and len(named) >= self.rule.threshold
        if message.kind is Kind.REVEAL:
            return {row[0] for rows in message.fields for row in rows} <= neighbours
        return message.kind is not Kind.JOIN or message.slot == ONCE

    def _is_due(self, slot: int, kind: int) -> bool:
        """Not after its time, and not so long before that a meter could fill the store with slots to come."""
        if kind == Kind.JOIN:
            return True
        now = self._clock()
        return self._duty.rules.grid.start(slot) - EARLIEST <= now <= self.until(slot, kind)

    def until(self, slot: int, kind: int) -> datetime:
        """Until when messages of `kind` are taken of a slot."""
        return taken_until(self._duty.rules, slot, kind)

    def _check_past(self, slot: int, kind: Kind) -> None:
        until = self.until(slot, kind)
        if self._clock() <= until:
            raise PhaseError(f"slot {slot} takes {kind.name.lower()} messages until {until.isoformat()}", thing=slot)


def _hung(record: bytes) -> tuple[str, bytes] | None:
    """Credential and JOIN of a meter that was hung; None for anything else."""
    match loads_strict(record):
        case [str() as credential, bytes() as join]:
            return credential, join
    return None


class MemoryMessages:
    """`Messages` of this process alone, for replays: nothing outlives it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], dict[int, bytes]] = {}

    def add(self, slot: int, kind: int, device: int, encoded: bytes) -> bytes:
        """As `Messages.add`."""
        return self._kept.setdefault((slot, kind), {}).setdefault(device, encoded)

    def of(self, slot: int, kind: int) -> dict[int, bytes]:
        """As `Messages.of`."""
        return dict(self._kept.get((slot, kind), {}))

    def hung(self) -> list[bytes]:
        """As `Messages.hung`."""
        return [one for key, kept in sorted(self._kept.items()) if key[1] == HUNG for one in kept.values()]

    def drop_before(self, slot: int) -> None:
        """Forget the messages of earlier slots."""
        for key in [key for key in self._kept if ONCE < key[0] < slot and key[1] != HUNG]:
            del self._kept[key]


def handed_on(oracle: BalanceOracle, encoded: Sequence[bytes]) -> bytes:
    """One byte a message: 0 where it stands, 1 where it was refused."""
    return bytes(not oracle.take(one) for one in encoded)
