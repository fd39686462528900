"""The members' meters in secure aggregation: what each sends of a slot, and the balance oracle's word that comes of it.

The meters are simulated, what they say is not: each holds an agreement key and secrets of its own, takes its neighbours' keys only
under their meters' signatures, masks what it measured, and gives its shares for one list of contributors a slot. `BalancePath`
leads to the oracle: `InProcessBalance` holds it in this process, `service.remote_balance` reaches one that is a process of its own.

Where the sum and the signed readings that settle differ, somebody told two values. Then every contributor's masks of that slot are
disclosed to the exchange, which has the readings anyway, and not to the balance oracle: who does not open to what its meter signed
is named, and so is an oracle whose sum is not that of what was opened to it (`opened`).

An oracle that passes on what no meter said stops nobody: the meters leave it out and keep its digest (`heard`). A meter of which it
passes on no agreement key, or a useless one, is missing in the sums, and its neighbours sum without it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol

import cbor2
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from walras.exchange.masked import Heard, Spoken
from walras.ledger import LedgerAddresses
from walras.ledger.keys import SigningKey
from walras.metering import Registry, SlotReadings
from walras.metering.aggregation import (
    Disclosure,
    Meter,
    contribute,
    disclose,
    liars_among,
    open_round,
    opened_value,
    pair_secret,
    reveal,
    ring,
)
from walras.metering.aggregation import partners_of as partners_of_openings
from walras.metering.balance_oracle import BalanceDuty, BalanceOracle, MemoryMessages
from walras.metering.identity import Key
from walras.metering.masked import (
    ONCE,
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
    unpack,
)
from walras.metering.reading import MAX_DEVICE_QUALITY
from walras.units import Int64

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
        self._first, self._registry, self._keys, self._path, self._measured = registry, registry, list(keys), path, measured
        self._secrets, self._to_hang, self._unheard = secrets, list[Hung](), list[Hung]()
        self._own = [hmac.digest(secret, b"walras masked own", "sha256") for secret in secrets]
        self._agreement = [
            X25519PrivateKey.from_private_bytes(hmac.digest(secret, b"walras masked agreement", "sha256")) for secret in secrets
        ]
        self.rule = rule_for(len(keys))
        self._ring = ring(len(keys), ring_seed(registry), self.rule)
        self._meters: dict[int, Meter] = {}
        self._theirs: dict[int, X25519PublicKey] = {}
        self._to_join = set(range(len(keys)))
        self._openings: dict[int, Message] = {}
        self._answered: dict[int, tuple[int, ...]] = {}
        self._told: tuple[int, ...] | None = None
        self._invented: list[str] = []

    def hang(self, hung: Hung) -> None:
        """A meter was exchanged: from its slot on the new one takes part, with an agreement key and a secret of its own."""
        self._to_hang.append(hung)

    def round(self, slot: int, import_wh: Int64, export_wh: Int64, silent: Collection[int], transformer: bytes) -> None:
        """One slot up to the reveals. The `silent` open their round and are not heard of again."""
        self._openings, self._told, self._invented = {}, None, []
        self._hung_until(slot)
        if not self._joined():
            return
        opened = [opening_message(self._keys[d], slot, open_round(meter, slot, self.rule)) for d, meter in self._meters.items()]
        given = self._path.open(slot, opened, transformer)
        if given is None:
            return
        self._openings = self._signed_by_others(given, Kind.OPENING, slot)
        openings = {device: opening_of(message) for device, message in self._openings.items()}
        partners = partners_of_openings(openings, self.rule)
        heard = [device for device in partners if device not in silent and device in self._meters]
        numbers = {d: self._measured(slot, d, int(import_wh[d]), int(export_wh[d])) for d in heard}
        masked = [
            contribution_message(self._keys[d], slot, contribute(self._meters[d], slot, n, partners[d])) for d, n in numbers.items()
        ]
        told = self._path.contribute(slot, masked)
        if told is None or list(told) != sorted(set(told) & set(partners)):
            return
        self._told = told
        if len(told) < self.rule.minimum or not self._answers(slot, told):
            return
        shares = [(d, reveal(self._meters[d], slot, openings, partners, told, (), self.rule)) for d in heard]
        self._path.reveal(slot, [reveal_message(self._keys[d], slot, given) for d, given in shares])

    def word(self, slot: int, addresses: LedgerAddresses) -> Spoken | None:
        """What the balance oracle says of the slot; None where it does not answer."""
        return self._path.word(slot, addresses)

    def heard(self, slot: int, addresses: LedgerAddresses) -> Heard:
        """The oracle's word of the slot, beside what the meters know of its round themselves."""
        spoken = self.word(slot, addresses)
        liars = liars_among({device: opening_of(message) for device, message in self._openings.items()})
        return Heard(spoken, self._told, liars, tuple(self._invented))

    def named(self, word: MaskedWord, readings: SlotReadings) -> tuple[int, ...]:
        """Whose contribution does not open to what their meter signed; see `opened`."""
        return self.opened(word, readings)[0]

    def opened(self, word: MaskedWord, readings: SlotReadings) -> tuple[tuple[int, ...], str | None]:
        """Whose contribution does not open to what their meter signed, nobody where the sum is that of the readings; and what is
        wrong with the oracle's word, if anything: "contributions", not all that it summed are shown; "sum", they open to another.

        A substitute is no word of the meter's: who contributed and sent no reading in time is not accused.
        """
        slot = word.slot
        if gap_wh(word, readings.import_wh.tolist(), readings.export_wh.tolist()) in (None, (0, 0)):
            return (), None
        given = self._path.contributions(slot) or []
        contributions = self._signed_by_others(given, Kind.CONTRIBUTION, slot)
        if not set(word.contributors) <= set(contributions):
            return (), "contributions"
        openings = {device: opening_of(message) for device, message in self._openings.items()}
        partners = partners_of_openings(openings, self.rule)
        values: list[int | None] = []
        wrong: list[int] = []
        for device in word.contributors:
            others, meter = partners[device], self._meters.get(device)
            if meter is None or not set(others) <= set(meter.pair_secrets):
                values.append(None)  # it was paired otherwise before this process was started again: nobody is accused
                continue
            masks, number = self.disclosed(device, slot, others), contributions[device].fields[0]
            value = opened_value(openings[device], number, others, masks)
            values.append(value)
            signed = readings.quality[device] <= MAX_DEVICE_QUALITY
            if signed and value != pack(int(readings.import_wh[device]), int(readings.export_wh[device])):
                wrong.append(device)
        known = [value for value in values if value is not None]
        false = len(known) == len(values) and unpack(sum(known)) != (word.import_wh, word.export_wh)
        return tuple(wrong), "sum" if false else None

    def disclosed(self, device: int, slot: int, partners: Sequence[int]) -> Disclosure:
        """A member's masks of a slot, for the exchange's eyes."""
        return disclose(self._meters[device], slot, partners)

    def _answers(self, slot: int, told: tuple[int, ...]) -> bool:
        """A meter answers for one list of contributors a slot; the same list again it may have been cut off from hearing."""
        return self._answered.setdefault(slot, told) == told

    def _joined(self) -> bool:
        """Whether any meter has as many neighbours' agreement keys as it needs; asked again until all have joined."""
        if self._to_join:
            own = {device: self._raw(device) for device in sorted(self._to_join)}
            joins = self._path.join([join_message(self._keys[device], raw) for device, raw in own.items()])
            told = self._signed_by_others(joins or [], Kind.JOIN, ONCE, self._first)
            found = self._to_join & set(told)
            self._theirs.update({device: X25519PublicKey.from_public_bytes(told[device].fields[0]) for device in found})
            self._to_join -= found
            if found:
                self._pair_up(range(len(self._keys)))
        return bool(self._meters)

    def _raw(self, device: int) -> bytes:
        return self._agreement[device].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def _pair_up(self, devices: Iterable[int]) -> None:
        """New pairwise secrets with the neighbours that have joined; who has fewer than the threshold takes no part."""
        for device in devices:
            found = {other: self._pair_with(device, other) for other in self._ring[device] if {device, other} <= set(self._theirs)}
            pairs = {other: secret for other, secret in found.items() if secret is not None}
            if len(pairs) >= self.rule.threshold:
                self._meters[device] = Meter(device, self._own[device], pairs)
            else:
                self._meters.pop(device, None)
        self._meters = dict(sorted(self._meters.items()))

    def _pair_with(self, device: int, other: int) -> bytes | None:
        """None for a key that agrees on nothing: a point of small order (RFC 7748, section 6.1)."""
        try:
            return pair_secret(self._agreement[device], self._theirs[other])
        except ValueError:
            return None

    def _hung_until(self, slot: int) -> None:
        """The meters that are hung by `slot` speak from now on, and take part as soon as their neighbours hear that they joined."""
        while self._to_hang and self._to_hang[0].slot <= slot:
            new = self._to_hang.pop(0)
            label, secret = b"from slot" + new.slot.to_bytes(8, "big"), self._secrets[new.account]
            seed = hmac.digest(secret, b"walras masked agreement" + label, "sha256")
            self._registry, self._keys[new.account] = new.registry, new.key
            self._own[new.account] = hmac.digest(secret, b"walras masked own" + label, "sha256")
            self._agreement[new.account] = X25519PrivateKey.from_private_bytes(seed)
            self._theirs.pop(new.account, None)
            self._to_join.discard(new.account)
            self._unheard = [*(one for one in self._unheard if one.account != new.account), new]
            self._pair_up((new.account, *self._ring[new.account]))
        for new in list(self._unheard):
            raw = self._raw(new.account)
            joins = self._path.hang(cbor2.dumps([new.credential, join_message(new.key, raw, new.slot)]))
            read = [read_message(encoded, new.registry) for encoded in joins or []]
            told = [one for one in read if one is not None and (one.kind, one.slot, one.device) == (Kind.JOIN, *new.place)]
            if [one.fields[0] for one in told] == [raw]:
                self._unheard.remove(new)
                self._theirs[new.account] = X25519PublicKey.from_public_bytes(raw)
                self._pair_up((new.account, *self._ring[new.account]))

    def _signed_by_others(
        self, given: Sequence[bytes], kind: Kind, slot: int, registry: Registry | None = None
    ) -> dict[int, Message]:
        """Messages by device, the first of each; what no meter signed for this slot is left out and its digest kept."""
        found: dict[int, Message] = {}
        for encoded in given:
            message = read_message(encoded, registry or self._registry)
            if message is None or message.kind is not kind or message.slot != slot:
                self._invented.append(sha256(encoded).hexdigest())
            else:
                found.setdefault(message.device, message)
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
