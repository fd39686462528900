"""The challenge that only one TPM can open, and only while it holds one key: TPM2_MakeCredential, without a TPM.

Source: TPM 2.0 Library, Part 1, section "Credential Protection", and KDFa there (SP 800-108 in counter mode with HMAC). A seed is
encrypted to the endorsement key (RSA-OAEP with SHA-256, label "IDENTITY"); from it come an AES-128 key, bound to the *name* of the
attestation key, that encrypts the secret, and an HMAC key over both. The TPM's ActivateCredential gives the secret out only
if it holds both keys and the name is right. So whoever answers with the secret has the attestation key in the TPM whose
maker signed the endorsement key's certificate.

The seed comes in as an argument; the padding of RSA-OAEP is drawn by the library, so the encrypted seed differs from call to
call.
"""

from __future__ import annotations

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from walras.errors import MeteringError

SECRET_BYTES = 32
SEED_BYTES = 32


def make_credential(endorsement: RSAPublicKey, name: bytes, secret: bytes, seed: bytes) -> tuple[bytes, bytes]:
    """The credential blob (TPM2B_ID_OBJECT's content) and the encrypted seed (TPM2B_ENCRYPTED_SECRET's content).

    `name` is the attestation key's (`structures.Public.name`), `secret` and `seed` 32 bytes each, drawn for this once.
    MeteringError for other lengths.
    """
    if len(secret) != SECRET_BYTES or len(seed) != SEED_BYTES:
        sizes = (len(secret), len(seed))
        raise MeteringError(f"secret and seed of {sizes} bytes, not of {SECRET_BYTES} each", thing="challenge")
    encrypted_seed = endorsement.encrypt(seed, OAEP(MGF1(SHA256()), SHA256(), b"IDENTITY\x00"))
    encryptor = Cipher(AES(kdfa(seed, b"STORAGE", name, 16)), CFB(bytes(16))).encryptor()
    identity = encryptor.update(_sized(secret)) + encryptor.finalize()
    mac = HMAC(kdfa(seed, b"INTEGRITY", b"", 32), SHA256())
    mac.update(identity + name)
    return _sized(mac.finalize()) + identity, encrypted_seed


def kdfa(key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """KDFa with SHA-256: `size` bytes.

    >>> kdfa(bytes(32), b"STORAGE", b"name", 16).hex()
    'a2f88c22830fdcd63c88103842de0ae3'
    """
    derive = KBKDFHMAC(SHA256(), Mode.CounterMode, size, 4, 4, CounterLocation.BeforeFixed, label, context, None)
    return derive.derive(key)


def _sized(data: bytes) -> bytes:
    """A TPM2B."""
    return len(data).to_bytes(2, "big") + data
