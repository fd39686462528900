"""A leaf under a readings root as the contracts take it, and what it says: the twin of `contracts/ReadingLeaf.sol`.

A leaf is 16 bytes of salt and the reading (`metering.vault.leaf_salt`); there are no bare leaves under a settled root, so each is
read in one way only.

The tree is `metering.merkle` with SHA256_RFC6962. A contract climbs it by a word whose bit i says that sibling i is on the left;
it does not learn at which place of how many the leaf stands, since the count is not under the root: one leaf can be shown at
several places. So nothing in a contract rests on places; a reading is named by its meter and slot.
"""

from __future__ import annotations

from dataclasses import dataclass

from walras.metering.identity import PublicKey, key_id
from walras.metering.merkle import SHA256_RFC6962, Proof
from walras.metering.reading import MAX_BYTES, Quality, read_payload, split_reading
from walras.metering.vault import SALT_BYTES

FIRST_SUBSTITUTE_QUALITY = 16

_UNSIGNED_HEAD = b"\x82\x50"
_UNSIGNED_KEY_END = 18
_EDITED_HEAD = b"\x84\x50"
_EDITED_QUALITY = int(Quality.EDITED)
MAX_EDITED_BYTES = 327
"""Head and key id 18, at most 51 of payload, a reason, 257 of name."""


@dataclass(frozen=True, slots=True)
class ShownLeaf:
    """A leaf (salt and reading), its siblings from the lowest up, and bit i of `lefts` set where sibling i is on the left."""

    leaf: bytes
    siblings: tuple[bytes, ...]
    lefts: int

    def as_arguments(self) -> tuple[bytes, list[bytes], int]:
        """As the contracts take it."""
        return self.leaf, list(self.siblings), self.lefts

    def root(self) -> bytes:
        """The root under which the siblings put the leaf."""
        digest = SHA256_RFC6962.leaf(self.leaf)
        for level, sibling in enumerate(self.siblings):
            left = self.lefts >> level & 1
            digest = SHA256_RFC6962.node(sibling, digest) if left else SHA256_RFC6962.node(digest, sibling)
        return digest


@dataclass(frozen=True, slots=True)
class LeafReading:
    """What a canonical leaf says. `is_signed`: with the meter's own signature, else of a parcel or substituted. Wh."""

    key_id: bytes
    slot: int
    import_wh: int
    export_wh: int
    quality: int
    is_signed: bool


def shown_leaf(leaf: bytes, proof: Proof) -> ShownLeaf:
    """The leaf with its inclusion proof, sides instead of places.

    >>> shown_leaf(b"c", Proof(2, 3, (bytes(32),))).lefts        # the third of three is the right child of the root
    1
    """
    lefts, level, index, last = 0, 0, proof.index, proof.count - 1
    while last:
        if index ^ 1 <= last:
            lefts |= (index & 1) << level
            level += 1
        index >>= 1
        last >>= 1
    return ShownLeaf(leaf, proof.siblings, lefts)


def reading_of(leaf: bytes) -> bytes:
    """The reading's own bytes: the leaf without its salt."""
    return leaf[SALT_BYTES:]


def read_leaf(salted: bytes) -> LeafReading | None:
    """The reading in a salted leaf, signed, unsigned, or edited by a named person; None where it is not the canonical encoding of
    one. No signature is checked, nor whether the name is well-formed text."""
    leaf = reading_of(salted)
    if leaf[:2] == _EDITED_HEAD:
        return _edited(leaf)
    signed = split_reading(leaf)
    if signed is not None:
        kid, slot, import_wh, export_wh, _, quality = signed
        return LeafReading(kid, slot, import_wh, export_wh, quality, True)
    if len(leaf) > MAX_BYTES or leaf[:2] != _UNSIGNED_HEAD or len(leaf) < _UNSIGNED_KEY_END:
        return None
    numbers = read_payload(leaf, _UNSIGNED_KEY_END)
    if numbers is None or numbers[5] != len(leaf):
        return None
    slot, import_wh, export_wh, _, quality, _ = numbers
    return LeafReading(leaf[2:_UNSIGNED_KEY_END], slot, import_wh, export_wh, quality, False)


def _edited(leaf: bytes) -> LeafReading | None:
    """[key id, payload, reason, name] as `metering.correction.encode_correction` writes it."""
    numbers = read_payload(leaf, _UNSIGNED_KEY_END) if len(leaf) <= MAX_EDITED_BYTES else None
    if numbers is None or numbers[4] != _EDITED_QUALITY:
        return None
    slot, import_wh, export_wh, _, quality, at = numbers
    if len(leaf) < at + 2 or leaf[at] > 23:
        return None
    head, body = leaf[at + 1], leaf[at + 2 :]
    if head == 0x78 and body and body[0] >= 24:
        size, body = body[0], body[1:]
    elif 0x61 <= head <= 0x77:
        size = head - 0x60
    else:
        return None
    if len(body) != size:
        return None
    return LeafReading(leaf[2:_UNSIGNED_KEY_END], slot, import_wh, export_wh, quality, False)


@dataclass(frozen=True, slots=True)
class MeterKey:
    """A meter's public key as the contracts take it: coordinates of the P-256 point, 32 bytes each, and its 16-byte name."""

    key_id: bytes
    x: bytes
    y: bytes


def meter_key(key: PublicKey) -> MeterKey:
    """The coordinates of a P-256 public key."""
    point = key.public_numbers()
    return MeterKey(key_id(key), point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big"))
