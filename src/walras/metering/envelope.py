"""A few bytes for the holder of one P-256 key: sealed to a public key, opened by its private one alone.

An agreement with a key of its own for each envelope (ECDH over P-256, SP 800-56A section 6.2.2), a key from it and both public keys
(HKDF-SHA256, RFC 5869), and ChaCha20-Poly1305 (RFC 8439) under that key, which is used once: so its nonce is zero. What the
envelope is for is authenticated with it. It says nothing of who sealed it.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from walras.errors import MeteringError
from walras.metering.identity import PrivateKey, PublicKey

_POINT_BYTES = 33
_TAG_BYTES = 16


def enclose(to: PublicKey, once: PrivateKey, purpose: bytes, data: bytes) -> bytes:
    """The envelope of `data` for the holder of `to`, 49 bytes longer; `once` is a fresh key that is forgotten afterwards."""
    point = _point(once.public_key())
    return point + _cipher(once.exchange(ec.ECDH(), to), point, _point(to)).encrypt(bytes(12), data, purpose)


def disclose(key: PrivateKey, purpose: bytes, envelope: bytes) -> bytes:
    """What is in the envelope; MeteringError where it is for another key or purpose, or was changed."""
    point, hidden = envelope[:_POINT_BYTES], envelope[_POINT_BYTES:]
    try:
        once = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        if len(hidden) < _TAG_BYTES:
            raise ValueError("too short")
        return _cipher(key.exchange(ec.ECDH(), once), point, _point(key.public_key())).decrypt(bytes(12), hidden, purpose)
    except (ValueError, InvalidTag) as cause:
        raise MeteringError("the envelope does not open: it is for another key, or was changed", thing=purpose) from cause


def _point(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def _cipher(shared: bytes, once: bytes, to: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), 32, salt=b"walras envelope 1", info=once + to).derive(shared))
