"""Readings at rest: every member's records under the member's own key, so that erasing the key erases the data.

ChaCha20-Poly1305 (RFC 8439) with a fresh 12-byte nonce a record; the record's place (member, kind, slot) is
authenticated with it, so a record copied elsewhere does not open; its length is filled up, so that it does not tell how
large a number is in it. Member keys are kept wrapped under the store's master
key (AES key wrap, RFC 3394). `forget` drops the wrapped key: what was encrypted under it is noise from then on, in
every copy and backup, whoever has the master key. Keys and nonces come in as arguments, from the operating system's
generator in the service.

What is public about a member after that are digests. A digest of a reading can be guessed where the reading can: few
bits. So leaves that get published are salted (`leaf_salt`) by a secret that is erased with the key: what remains says
nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from walras.errors import Fault, InputError, MeteringError

KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 16
_UNFILLED, _VERSION = b"\x01", b"\x02"
"""Records of stores that were begun before lengths were hidden, and those written now."""

_BLOCK, _END = 32, b"\x80"
"""ISO/IEC 7816-4: one byte after the data, then zeros to a whole block."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record belongs. It is authenticated, not hidden."""

    member: int
    kind: str
    slot: int

    def encode(self) -> bytes:
        """One byte string a place."""
        name = self.kind.encode()
        where = self.member.to_bytes(8, "big") + self.slot.to_bytes(8, "big") + len(name).to_bytes(8, "big")
        return b"walras record 1" + where + name


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Members' keys, wrapped. The value may be stored as it is; without the master key it opens nothing."""

    wrapped: Mapping[int, bytes]


EMPTY_RING = KeyRing(MappingProxyType({}))


def add_member(ring: KeyRing, master: bytes, member: int, key: bytes) -> KeyRing:
    """The ring with a key of 32 fresh random bytes for `member`. InputError if the member has one: it would orphan records."""
    faults = []
    if len(key) != KEY_BYTES or len(master) != KEY_BYTES:
        faults.append(Fault(f"member {member}", "key", f"{len(key)} and {len(master)} bytes", f"{KEY_BYTES} bytes each"))
    if member in ring.wrapped:
        faults.append(Fault(f"member {member}", "member", member, "one without a key; forget the member first"))
    if faults:
        raise InputError("key ring", faults)
    return KeyRing(MappingProxyType({**ring.wrapped, member: aes_key_wrap(master, key)}))


def forget(ring: KeyRing, member: int) -> KeyRing:
    """The ring without the member's key; InputError if there is none. The caller destroys the old ring."""
    if member not in ring.wrapped:
        raise InputError("key ring", [Fault("key ring", "member", member, "a member with a key")])
    return KeyRing(MappingProxyType({held: key for held, key in ring.wrapped.items() if held != member}))


def member_key(ring: KeyRing, master: bytes, member: int) -> bytes:
    """The member's key; MeteringError where it was forgotten, never given, or the master key is another."""
    if member not in ring.wrapped:
        raise MeteringError(f"member {member} has no key: never added, or forgotten", thing=member)
    try:
        return aes_key_unwrap(master, ring.wrapped[member])
    except (InvalidUnwrap, ValueError) as cause:
        raise MeteringError(
            f"the key of member {member} does not open", thing=member, way_out="use the master key that it was added under"
        ) from cause


def seal(key: bytes, nonce: bytes, place: Place, data: bytes, least: int = 0) -> bytes:
    """The record of `data` at `place`: version, nonce, ciphertext and tag. A nonce is used once per key.

    What is sealed is filled up to a multiple of 32 bytes, and to at least `least`: how long it was does not show.

    >>> [len(seal(bytes(32), bytes(12), Place(0, "soc", 7), data)) for data in (b"", b"0", b"146699289280", bytes(31), bytes(32))]
    [61, 61, 61, 61, 93]
    """
    return seal_by(ChaCha20Poly1305(key), nonce, place, data, least)


def seal_by(cipher: ChaCha20Poly1305, nonce: bytes, place: Place, data: bytes, least: int = 0) -> bytes:
    """As `seal`, by the cipher of a key: for who seals many records under one."""
    if len(nonce) != NONCE_BYTES:
        raise InputError("record", [Fault("record", "nonce", f"{len(nonce)} bytes", f"{NONCE_BYTES} fresh random bytes")])
    filled = data + _END
    filled += bytes(-max(len(filled), least) % _BLOCK + max(least - len(filled), 0))
    return _VERSION + nonce + cipher.encrypt(nonce, filled, _VERSION + place.encode())


def unseal(key: bytes, place: Place, record: bytes) -> bytes:
    """The data of a record; MeteringError if it was changed, moved from another place, or sealed under another key."""
    return unseal_by(ChaCha20Poly1305(key), place, record)


def unseal_by(cipher: ChaCha20Poly1305, place: Place, record: bytes) -> bytes:
    """As `unseal`, by the cipher of a key."""
    version, nonce, hidden = record[:1], record[1 : 1 + NONCE_BYTES], record[1 + NONCE_BYTES :]
    if version not in (_VERSION, _UNFILLED) or len(hidden) < 16:
        raise MeteringError(f"no record at {place}", thing=place)
    try:
        if version == _UNFILLED:
            return cipher.decrypt(nonce, hidden, place.encode())
        return cipher.decrypt(nonce, hidden, _VERSION + place.encode()).rstrip(b"\0").removesuffix(_END)
    except InvalidTag as cause:
        raise MeteringError(f"the record at {place} does not open: changed, moved, or under another key", thing=place) from cause


def salt_secret(key: bytes) -> bytes:
    """The secret of a member's leaf salts, from the member's key: erased with it."""
    return HKDF(SHA256(), 32, salt=b"walras leaf salts", info=b"").derive(key)


def leaf_salt(secret: bytes, device: int, slot: int) -> bytes:
    """The 16 bytes before a published leaf. Shown with the leaf it opens; says nothing about any other."""
    place = device.to_bytes(8, "big") + slot.to_bytes(8, "big")
    return hmac.digest(secret, place, "sha256")[:SALT_BYTES]
