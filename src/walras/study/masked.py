"""The members' meters in secure aggregation: what each sends of a slot, and the balance oracle's word that comes of it.

The meters are simulated, what they say is not: each holds an agreement key and secrets of its own, takes its neighbours' keys only
under their meters' signatures, masks what it measured, and gives its shares for one list of contributors a slot. `BalancePath`
leads to the oracle: `InProcessBalance` holds it in this process, `service.remote_balance` reaches one that is a process of its own.

Where the sum and the signed readings that settle differ, somebody told two values. Then every contributor's masks of that slot are
disclosed to the exchange, which has the readings anyway, and not to the balance oracle: who does not open to what its meter signed
is named (`named`).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import cbor2
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from walras.errors import MeteringError
from walras.ledger import LedgerAddresses
from walras.ledger.keys import SigningKey
from walras.metering import Registry, SlotReadings
from walras.metering.aggregation import Disclosure, Meter, contribute, disclose, open_round, opened_value, pair_secret, reveal, ring
from walras.metering.aggregation import partners_of as partners_of_openings
from walras.metering.balance_oracle import BalanceDuty, BalanceOracle, MemoryMessages
from walras.metering.identity import Key
from walras.metering.masked import (
    Kind,
    MaskedWord,
    Message,
    contribution_message,
    gap_wh,
    join_message,
    opening_message,
    opening_of,
    pack,
    read_message,
    reveal_message,
    ring_seed,
    rule_for,
)
from walras.metering.reading import MAX_DEVICE_QUALITY
from walras.units import Int64

Spoken = tuple[MaskedWord, bytes]
"""The balance oracle's word and its signature."""

Measured = Callable[[int, int, int, int], int]
"""(slot, device, import, export) -> the number that the meter masks; an honest one packs what it measured."""


@dataclass(frozen=True, slots=True)
class Hung:
    """A meter hung in another's place: from which slot on, for whom, its key and credential, and the registry from then on."""

    slot: int
    account: int
    key: Key
    credential: str
    registry: Registry

    @property
    def place(self) -> tuple[int, int]:
        """Slot and account."""
        return self.slot, self.account


class BalancePath(Protocol):
    """From the meters to the balance oracle. All calls for a slot come in this order; None where it does not answer."""

    def join(self, messages: Sequence[bytes]) -> list[bytes] | None:
        """Hand on the agreement keys; those of all meters."""

    def hang(self, record: bytes) -> list[bytes] | None:
        """Hand on credential and JOIN of a meter that was hung in another's place; the JOINs of all that were."""

    def open(self, slot: int, messages: Sequence[bytes], transformer: bytes) -> list[bytes] | None:
        """Hand on the openings and the transformer's reading; when no more are taken, the openings of all."""

    def contribute(self, slot: int, messages: Sequence[bytes]) -> tuple[int, ...] | None:
        """Hand on the contributions; when no more are taken, who contributed."""

    def reveal(self, slot: int, messages: Sequence[bytes]) -> None:
        """Hand on the reveals."""

    def word(self, slot: int, addresses: LedgerAddresses) -> Spoken | None:
        """The oracle's word, when no more reveals are taken, signed for the contract at these addresses."""

    def contributions(self, slot: int) -> list[bytes] | None:
        """The contributions of a slot as the meters signed them."""


class MaskedMeters:
    """All members' meters, as they take part in the rounds. `secrets` are the members' own."""

    def __init__(
        self,
        registry: Registry,
        keys: Sequence[Key],
        secrets: Sequence[bytes],
        path: BalancePath,
        measured: Measured = lambda slot, device, import_wh, export_wh: pack(import_wh, export_wh),
    ) -> None:
        self._registry, self._keys, self._path, self._measured = registry, list(keys), path, measured
        self._secrets, self._to_hang = secrets, list[Hung]()
        self._own = [hmac.digest(secret, b"walras masked own", "sha256") for secret in secrets]
        self._agreement = [
            X25519PrivateKey.from_private_bytes(hmac.digest(secret, b"walras masked agreement", "sha256")) for secret in secrets
        ]
        self.rule = rule_for(len(keys))
        self._ring = ring(len(keys), ring_seed(registry), self.rule)
        self._meters: list[Meter] = []
        self._theirs: dict[int, X25519PublicKey] = {}
        self._openings: dict[int, Message] = {}
        self._answered: dict[int, tuple[int, ...]] = {}

    def hang(self, hung: Hung) -> None:
        """A meter was exchanged: from its slot on the new one takes part, with an agreement key and a secret of its own."""
        self._to_hang.append(hung)

    def round(self, slot: int, import_wh: Int64, export_wh: Int64, silent: Collection[int], transformer: bytes) -> None:
        """One slot up to the reveals. The `silent` open their round and are not heard of again."""
        if not self._joined() or not self._all_hung(slot):
            return
        opened = [opening_message(key, slot, open_round(meter, slot, self.rule)) for key, meter in self._members()]
        given = self._path.open(slot, opened, transformer)
        if given is None:
            return
        self._openings = self._signed_by_others(given, Kind.OPENING, slot)
        openings = {device: opening_of(message) for device, message in self._openings.items()}
        partners = partners_of_openings(openings, self.rule)
        heard = [device for device in partners if device not in silent]
        numbers = {d: self._measured(slot, d, int(import_wh[d]), int(export_wh[d])) for d in heard}
        masked = [
            contribution_message(self._keys[d], slot, contribute(self._meters[d], slot, n, partners[d])) for d, n in numbers.items()
        ]
        told = self._path.contribute(slot, masked)
        if told is None or len(told) < self.rule.minimum or not self._answers(slot, told):
            return
        shares = [(d, reveal(self._meters[d], slot, openings, partners, told, (), self.rule)) for d in heard]
        self._path.reveal(slot, [reveal_message(self._keys[d], slot, given) for d, given in shares])

    def word(self, slot: int, addresses: LedgerAddresses) -> Spoken | None:
        """What the balance oracle says of the slot; None where it does not answer."""
        return self._path.word(slot, addresses)

    def named(self, word: MaskedWord, readings: SlotReadings) -> tuple[int, ...]:
        """Whose contribution does not open to what their meter signed; nobody where the sum is that of the readings.

        A substitute is no word of the meter's: who contributed and sent no reading in time is not accused.
        """
        slot = word.slot
        if gap_wh(word, readings.import_wh.tolist(), readings.export_wh.tolist()) in (None, (0, 0)):
            return ()
        given = self._path.contributions(slot) or []
        contributions = self._signed_by_others(given, Kind.CONTRIBUTION, slot)
        openings = {device: opening_of(message) for device, message in self._openings.items()}
        partners = partners_of_openings(openings, self.rule)
        wrong = []
        for device in (device for device in word.contributors if readings.quality[device] <= MAX_DEVICE_QUALITY):
            masks = self.disclosed(device, slot, partners[device])
            number = contributions[device].fields[0] if device in contributions else None
            value = None if number is None else opened_value(openings[device], number, partners[device], masks)
            if value != pack(int(readings.import_wh[device]), int(readings.export_wh[device])):
                wrong.append(device)
        return tuple(wrong)

    def disclosed(self, device: int, slot: int, partners: Sequence[int]) -> Disclosure:
        """A member's masks of a slot, for the exchange's eyes."""
        return disclose(self._meters[device], slot, partners)

    def _members(self) -> list[tuple[Key, Meter]]:
        return list(zip(self._keys, self._meters, strict=True))

    def _answers(self, slot: int, told: tuple[int, ...]) -> bool:
        """A meter answers for one list of contributors a slot; the same list again it may have been cut off from hearing."""
        return self._answered.setdefault(slot, told) == told

    def _joined(self) -> bool:
        """Whether every meter has its neighbours' agreement keys; agreed once."""
        if self._meters:
            return True
        raw = [key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) for key in self._agreement]
        joins = self._path.join([join_message(key, agreement) for key, agreement in zip(self._keys, raw, strict=True)])
        if joins is None:
            return False
        messages = self._signed_by_others(joins, Kind.JOIN, None)
        theirs = {device: X25519PublicKey.from_public_bytes(message.fields[0]) for device, message in messages.items()}
        self._theirs = theirs
        for device, own in enumerate(self._own):
            absent = [other for other in self._ring[device] if other not in theirs]
            if absent:
                raise MeteringError(
                    f"meters {absent} have not joined", thing=absent, way_out="start the balance oracle with its store"
                )
            pairs = {other: pair_secret(self._agreement[device], theirs[other]) for other in self._ring[device]}
            self._meters.append(Meter(device, own, pairs))
        return True

    def _all_hung(self, slot: int) -> bool:
        """Whether the meters that were hung until `slot` have joined, and their neighbours made new pairwise secrets with them."""
        while self._to_hang and self._to_hang[0].slot <= slot:
            new = self._to_hang[0]
            label = b"from slot" + new.slot.to_bytes(8, "big")
            own = hmac.digest(self._secrets[new.account], b"walras masked own" + label, "sha256")
            seed = hmac.digest(self._secrets[new.account], b"walras masked agreement" + label, "sha256")
            agreement = X25519PrivateKey.from_private_bytes(seed)
            raw = agreement.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            joins = self._path.hang(cbor2.dumps([new.credential, join_message(new.key, raw, new.slot)]))
            if joins is None:
                return False
            read = [read_message(encoded, new.registry) for encoded in joins]
            told = [one for one in read if one is not None and (one.kind, one.slot, one.device) == (Kind.JOIN, *new.place)]
            if [one.fields[0] for one in told] != [raw]:
                raise MeteringError(f"slot {slot}: the balance oracle passed on what no meter said", thing=slot)
            self._to_hang.pop(0)
            self._registry, self._keys[new.account], self._agreement[new.account] = new.registry, new.key, agreement
            self._theirs[new.account], self._own[new.account] = X25519PublicKey.from_public_bytes(told[0].fields[0]), own
            for device in (new.account, *self._ring[new.account]):
                pairs = {other: pair_secret(self._agreement[device], self._theirs[other]) for other in self._ring[device]}
                self._meters[device] = Meter(device, self._own[device], pairs)
        return True

    def _signed_by_others(self, given: Sequence[bytes], kind: Kind, slot: int | None) -> dict[int, Message]:
        """Messages by device; MeteringError where the oracle passes on what no meter signed for this slot."""
        found = {}
        for encoded in given:
            message = read_message(encoded, self._registry)
            if message is None or message.kind is not kind or slot not in (None, message.slot):
                raise MeteringError(f"slot {slot}: the balance oracle passed on what no meter said", thing=slot)
            found[message.device] = message
        return found


class InProcessBalance:
    """The balance oracle in this process, under a clock that follows the rounds."""

    def __init__(self, duty: BalanceDuty, key: SigningKey) -> None:
        self._key = key
        self._now = duty.rules.grid.origin
        self._messages = MemoryMessages()
        self._oracle = BalanceOracle(duty, self._messages, lambda: self._now)

    def join(self, messages: Sequence[bytes]) -> list[bytes]:
        """As `BalancePath.join`."""
        self._take(messages)
        return self._oracle.joins()

    def hang(self, record: bytes) -> list[bytes]:
        """As `BalancePath.hang`."""
        self._oracle.take_hung(record)
        return self._oracle.hung()

    def open(self, slot: int, messages: Sequence[bytes], transformer: bytes) -> list[bytes]:
        """As `BalancePath.open`."""
        self._messages.drop_before(slot - 1)
        self._now = self._oracle.until(slot, Kind.OPENING)
        self._take(messages)
        self._oracle.take_transformer(transformer)
        self._now = self._past(slot, Kind.OPENING)
        return self._oracle.openings(slot)

    def contribute(self, slot: int, messages: Sequence[bytes]) -> tuple[int, ...]:
        """As `BalancePath.contribute`."""
        self._take(messages)
        self._now = self._past(slot, Kind.CONTRIBUTION)
        return self._oracle.contributors(slot)

    def reveal(self, slot: int, messages: Sequence[bytes]) -> None:
        """As `BalancePath.reveal`."""
        self._take(messages)

    def word(self, slot: int, addresses: LedgerAddresses) -> Spoken:
        """As `BalancePath.word`."""
        self._now = self._past(slot, Kind.REVEAL)
        word = self._oracle.word(slot)
        return word, self._key.sign_digest(word.digest(addresses.chain_id, addresses.settlement))

    def contributions(self, slot: int) -> list[bytes]:
        """As `BalancePath.contributions`."""
        return self._oracle.contributions(slot)

    def _past(self, slot: int, kind: Kind) -> datetime:
        return self._oracle.until(slot, kind) + timedelta(seconds=1)

    def _take(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            self._oracle.take(message)
