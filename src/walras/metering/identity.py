"""Keys of meters and their names: P-256, `did:key`, deterministic ECDSA.

The rules kept here:

- A device is named by its public key: `did:key` (W3C CCG) with multicodec `p256-pub` 0x1200 and multibase base58btc. Inside a
  reading the shorter `key_id` stands for it: the first 16 bytes of SHA-256 over the multicodec key. It only finds the key; what
  convinces is the signature.
- A signature is ECDSA with SHA-256, nonce by RFC 6979, as raw r || s of 64 bytes (RFC 9053 section 2.1), and **s is in
  the lower half** of the group's order. RFC 9053 allows both s and n - s; then anyone could turn one signed reading
  into a second, equally valid byte string with another Merkle leaf. So one is canonical; a signer whose hardware yields
  the other calls `lower_s`.
- A key may live where its scalar cannot be read: in a TPM, behind a file's own rules. `KeyStore` is all that is asked of it; every
  function that signs takes one as well as a key in memory. Such a signer draws its own nonce: its signatures differ from
  call to call, what they are over does not.
- `derive_key` makes the keys of *simulated* meters from a seed (HKDF-SHA256, RFC 5869; the scalar by FIPS 186-5 A.2.1,
  extra random bits). It stands in for the secure element, in which a real meter makes a key that never leaves it, and
  for nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from walras.errors import MeteringError

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


class KeyStore(Protocol):
    """A P-256 key that signs where it lives, and the counter that goes with it."""

    def public_key(self) -> PublicKey:
        """What others verify with."""

    def sign_digest(self, digest: bytes) -> bytes:
        """64 bytes r || s over a digest of 32 bytes, s in the lower half. MeteringError where the key cannot be reached."""

    def next_counter(self) -> int:
        """A number above every one it ever gave, also after a restart, a kill or a power cut; numbers may be left out."""


Key = PrivateKey | KeyStore
"""Whatever can sign: a key in memory or one that stays where it is."""

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""n, the order of the P-256 base point (FIPS 186-5, SP 800-186 section 3.2.1.3)."""

HALF_ORDER = ORDER // 2
HALF_ORDER_BYTES = HALF_ORDER.to_bytes(32, "big")
KEY_ID_BYTES = 16
SIGNATURE_BYTES = 64

_MULTICODEC_P256 = b"\x80\x24"  # 0x1200 as an unsigned varint
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SIGN = ec.ECDSA(SHA256(), deterministic_signing=True)
_VERIFY = ec.ECDSA(SHA256())


def derive_key(seed: bytes, label: str) -> PrivateKey:
    """The simulated meter key of `label` under `seed` (at least 16 bytes): the same arguments give the same key, for ever.

    >>> did_of(derive_key(b"sixteen bytes at least", "home-1").public_key())[:13]
    'did:key:zDnae'
    """
    if len(seed) < 16:
        raise MeteringError(f"a seed of {len(seed)} bytes is too short", thing="seed", way_out="give at least 16 bytes")
    stream = HKDF(SHA256(), 48, salt=b"walras simulated meter", info=label.encode()).derive(seed)
    return ec.derive_private_key(int.from_bytes(stream, "big") % (ORDER - 1) + 1, ec.SECP256R1())


def compressed_point(key: PublicKey) -> bytes:
    """The public key as 33 bytes (SEC 1 section 2.3.3)."""
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def key_id(key: PublicKey) -> bytes:
    """16 bytes that stand for the key in a reading: the head of SHA-256 over the multicodec key."""
    return sha256(_MULTICODEC_P256 + compressed_point(key)).digest()[:KEY_ID_BYTES]


def did_of(key: PublicKey) -> str:
    """The `did:key` of a P-256 public key: `did:key:zDn...`."""
    return _did_of_point(compressed_point(key))


@lru_cache(maxsize=1024)
def _did_of_point(point: bytes) -> str:
    return "did:key:z" + _base58_encode(_MULTICODEC_P256 + point)


@lru_cache(maxsize=1024)
def public_key_of(did: str) -> PublicKey:
    """The key in a `did:key`; MeteringError for another method, another curve, or a point that is not on the curve."""
    if not did.startswith("did:key:z"):
        raise MeteringError(f"{did!r} is not a did:key in base58btc", thing=did)
    raw = _base58_decode(did.removeprefix("did:key:z"))
    if raw[:2] != _MULTICODEC_P256 or len(raw) != 35:
        raise MeteringError(f"{did} does not hold a compressed P-256 key (multicodec 0x1200)", thing=did)
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw[2:])
    except ValueError as cause:
        raise MeteringError(f"{did} names a point that is not on P-256", thing=did) from cause
    if did_of(key) != did:
        raise MeteringError(f"{did} is not the canonical spelling of {did_of(key)}", thing=did)
    return key


def sign(key: Key, message: bytes) -> bytes:
    """ECDSA over SHA-256(message), raw r || s with s in the lower half: 64 bytes. A key in memory signs deterministically."""
    if not isinstance(key, PrivateKey):
        return key.sign_digest(sha256(message).digest())
    r, s = decode_dss_signature(key.sign(message, _SIGN))
    return r.to_bytes(32, "big") + (s if s <= HALF_ORDER else ORDER - s).to_bytes(32, "big")


def lower_s(signature: bytes) -> bytes:
    """The canonical one of the two signatures r || s and r || n - s. It needs no key; a gateway may apply it."""
    s = int.from_bytes(signature[32:], "big")
    return signature if s <= HALF_ORDER else signature[:32] + (ORDER - s).to_bytes(32, "big")


def verify(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """True when `signature` (64 bytes, low s) is by `key` over `message`."""
    if len(signature) != SIGNATURE_BYTES or signature[32:] > HALF_ORDER_BYTES:
        return False
    return verify_unchecked(key, signature, message)


def verify_unchecked(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """As `verify`, for a caller that has already checked length and low s."""
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        key.verify(der, message, _VERIFY)
    except InvalidSignature:
        return False
    return True


def _base58_encode(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    zeros = len(data) - len(data.lstrip(b"\x00"))
    return "1" * zeros + "".join(reversed(digits))


def _base58_decode(text: str) -> bytes:
    number = 0
    for letter in text:
        digit = _BASE58.find(letter)
        if digit < 0:
            raise MeteringError(f"{letter!r} is not a base58 letter", thing=text)
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
