"""What meters and the balance oracle say to each other to sum a slot in secret: signed messages, and the oracle's word.

Every message is CBOR [key id, kind, body, signature], signed by the meter's own key (P-256, the one that signs its readings), so
nobody between can put one in, change one, or take a neighbour's place: a meter takes a neighbour's agreement key only under the
signature of the neighbour's meter. One message a kind, meter and slot; the first stands.

    JOIN           [agreement key]                                       once: an X25519 key for the pairwise secrets
                   [agreement key, slot]                                 of a meter hung in another's place, from that slot on
    OPENING        [slot, mask, key, hidden pairs, [[neighbour, commitment, share] ...]]
    CONTRIBUTION   [slot, masked number]
    REVEAL         [slot, [[neighbour, share] ...] of masks, [[neighbour, share] ...] of keys]

The number that is masked holds both registers: import + 2**32 * export, whole Wh; sums of a feeder's slot stay below 2**32 each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from itertools import pairwise
from typing import Any

import cbor2

from walras.errors import Fault, InputError, MeteringError
from walras.metering.admission import Registry
from walras.metering.aggregation import MODULUS, AggregationRule, Opening, Reveal
from walras.metering.identity import KEY_ID_BYTES, SIGNATURE_BYTES, Key, key_id, sign, verify
from walras.metering.refusals import Refusal
from walras.metering.secret_sharing import SHARE_BYTES
from walras.metering.strict_cbor import loads_strict

REGISTER = 2**32
MOST_NEIGHBOURS = 12
ONCE = -1
"""Instead of a slot: said once and for all slots."""

Public = Mapping[str, Any]


class Kind(IntEnum):
    """What a message is."""

    JOIN = 0
    OPENING = 1
    CONTRIBUTION = 2
    REVEAL = 3


@dataclass(frozen=True, slots=True)
class Message:
    """A message whose signature holds: the meter's row in the registry, what it is, its slot, and its fields after the slot."""

    device: int
    kind: Kind
    slot: int
    fields: tuple[Any, ...]
    encoded: bytes


def rule_for(meters: int) -> AggregationRule:
    """The rule for so many meters: up to 12 neighbours each, more than half of whom must answer, never fewer than 5 in a sum.

    >>> rule_for(13)
    AggregationRule(neighbours=12, threshold=7, minimum=5)
    """
    least = AggregationRule().minimum
    if meters < least:
        raise InputError("secure aggregation", [Fault("community", "members", meters, f"at least {least}")])
    neighbours = min(MOST_NEIGHBOURS, (meters - 1) // 2 * 2)
    return AggregationRule(neighbours, neighbours // 2 + 1, least)


def ring_seed(registry: Registry) -> bytes:
    """What draws the ring: public, and nobody's choice."""
    return sha256(b"walras ring" + b"".join(key_id(key) for key in registry.keys)).digest()


def pack(import_wh: int, export_wh: int) -> int:
    """Both registers in one number.

    >>> unpack(pack(250, 0) + pack(0, 1_000))
    (250, 1000)
    """
    return import_wh + REGISTER * export_wh


def unpack(number: int) -> tuple[int, int]:
    """Import and export of a sum of packed numbers."""
    export_wh, import_wh = divmod(number % MODULUS, REGISTER)
    return import_wh, export_wh


def join_message(key: Key, agreement: bytes, since: int | None = None) -> bytes:
    """`agreement` is the X25519 public key (32 bytes) that neighbours make their pairwise secrets with; `since` of an exchanged
    meter the slot that it is hung in."""
    return _signed(key, Kind.JOIN, [agreement] if since is None else [agreement, since])


def opening_message(key: Key, slot: int, opening: Opening) -> bytes:
    """The opening of `slot`."""
    pairs = [[other, opening.pair_commitments[other], opening.shares[other]] for other in sorted(opening.shares)]
    return _signed(key, Kind.OPENING, [slot, opening.mask_commitment, opening.key_commitment, opening.hidden_pairs, pairs])


def contribution_message(key: Key, slot: int, masked: int) -> bytes:
    """The masked number of `slot`."""
    return _signed(key, Kind.CONTRIBUTION, [slot, masked])


def reveal_message(key: Key, slot: int, given: Reveal) -> bytes:
    """The shares for one list of contributors."""
    return _signed(
        key, Kind.REVEAL, [slot, *([[n, shares[n]] for n in sorted(shares)] for shares in (given.of_masks, given.of_keys))]
    )


def _signed(key: Key, kind: Kind, fields: list[Any]) -> bytes:
    body = cbor2.dumps(fields)
    return cbor2.dumps([key_id(key.public_key()), int(kind), body, sign(key, _spoken(kind, body))])


def _spoken(kind: int, body: bytes) -> bytes:
    return b"walras masked sum" + bytes([kind]) + body


def read_message(encoded: bytes, registry: Registry) -> Message | None:
    """The message, if a registered meter signed it and its fields are of their kind; None else."""
    value = loads_strict(encoded)
    if not isinstance(value, list) or len(value) != 4:
        return None
    kid, kind, body, signature = value
    sizes = (
        isinstance(kid, bytes) and len(kid) == KEY_ID_BYTES and isinstance(signature, bytes) and len(signature) == SIGNATURE_BYTES
    )
    if not sizes or type(kind) is not int or kind not in set(Kind) or not isinstance(body, bytes):
        return None
    device = registry.index.get(kid)
    fields = loads_strict(body)
    if device is None or isinstance(fields, Refusal) or not isinstance(fields, list) or not _SHAPES[Kind(kind)](fields):
        return None
    if not verify(registry.keys[device], signature, _spoken(kind, body)):
        return None
    slot, rest = (fields[0], fields[1:]) if kind != Kind.JOIN else (fields[1] if len(fields) == 2 else ONCE, fields[:1])
    return Message(device, Kind(kind), slot, tuple(rest), encoded)


def _is_bytes(value: object, size: int) -> bool:
    return isinstance(value, bytes) and len(value) == size


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < MODULUS


def _are_rows(value: object, *sizes: int) -> bool:
    """Rows of a number and as many byte strings of these sizes, by ascending number, none twice."""
    if not isinstance(value, list) or not all(isinstance(row, list) and len(row) == 1 + len(sizes) for row in value):
        return False
    sound = all(_is_number(n) and all(map(_is_bytes, rest, sizes)) for n, *rest in value)
    return sound and all(a[0] < b[0] for a, b in pairwise(value))


_SHAPES = {
    Kind.JOIN: lambda f: len(f) in (1, 2) and _is_bytes(f[0], 32) and all(map(_is_number, f[1:])),
    Kind.OPENING: lambda f: (
        len(f) == 5
        and _is_number(f[0])
        and _is_bytes(f[1], 32)
        and _is_bytes(f[2], 32)
        and _are_rows(f[4], 32, 2 * SHARE_BYTES + 16)
        and _is_bytes(f[3], 16 * len(f[4]) + 16)
    ),
    Kind.CONTRIBUTION: lambda f: len(f) == 2 and all(map(_is_number, f)),
    Kind.REVEAL: lambda f: len(f) == 3 and _is_number(f[0]) and _are_rows(f[1], SHARE_BYTES) and _are_rows(f[2], SHARE_BYTES),
}


def opening_of(message: Message) -> Opening:
    """The opening in a message of that kind."""
    mask, key, hidden, pairs = message.fields
    commitments, shares = ({row[0]: row[at] for row in pairs} for at in (1, 2))
    return Opening(message.device, commitments, mask, key, hidden, shares)


def reveal_of(message: Message) -> Reveal:
    """The reveal in a message of that kind."""
    of_masks, of_keys = message.fields
    return Reveal(message.device, dict(of_masks), dict(of_keys))


@dataclass(frozen=True, slots=True)
class MaskedWord:
    """What the balance oracle says of a slot: who contributed, what they took and gave in all, and the feeder's balance.

    `import_wh` and `export_wh` are None where there is no sum: fewer contributors than the rule wants, or masks that are `lost`.
    `liars` committed to masks that their neighbours did not. `balance` is (residual, tolerance), where every meter contributed and
    the transformer was heard.
    """

    slot: int
    contributors: tuple[int, ...]
    lost: tuple[int, ...]
    liars: tuple[int, ...]
    import_wh: int | None
    export_wh: int | None
    transformer_wh: int | None
    balance: tuple[int, int] | None

    def digest(self, chain_id: int, contract: str) -> bytes:
        """What the oracle signs: every field, for one settlement contract."""
        fields = [getattr(self, name) for name in self.__dataclass_fields__]
        bound = chain_id.to_bytes(32, "big") + bytes.fromhex(contract.removeprefix("0x"))
        return sha256(
            b"walras masked word" + bound + cbor2.dumps([list(f) if isinstance(f, tuple) else f for f in fields])
        ).digest()

    def to_public(self) -> dict[str, Any]:
        """Plain values, without the slot."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "slot"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def word_from_public(slot: int, public: Public) -> MaskedWord:
    """The inverse of `MaskedWord.to_public`; MeteringError for what is none."""
    try:
        told, lost, liars = (tuple(int(n) for n in public[name]) for name in ("contributors", "lost", "liars"))
        imported, exported, through = (public[name] for name in ("import_wh", "export_wh", "transformer_wh"))
        balance = None if public["balance"] is None else (int(public["balance"][0]), int(public["balance"][1]))
    except (KeyError, TypeError, ValueError, IndexError) as cause:
        raise MeteringError(f"slot {slot}: not a word on a masked sum: {cause}", thing=slot) from cause
    if not all(value is None or type(value) is int for value in (imported, exported, through)):
        raise MeteringError(f"slot {slot}: not a word on a masked sum", thing=slot)
    return MaskedWord(slot, told, lost, liars, imported, exported, through, balance)


def gap_wh(word: MaskedWord, import_wh: Sequence[int], export_wh: Sequence[int]) -> tuple[int, int] | None:
    """By how much the secret sum exceeds the contributors' readings [devices], import and export; None where there is no sum."""
    if word.import_wh is None or word.export_wh is None:
        return None
    read = [sum(int(column[device]) for device in word.contributors) for column in (import_wh, export_wh)]
    return word.import_wh - read[0], word.export_wh - read[1]
