"""A P-256 key in a file, and its counter in another beside it: the key store of a device or node without a TPM.

Kept here: the key's file is readable by its owner alone, or it is not read; with a passphrase it is encrypted (PKCS #8, the
library's best). The counter is on disk before it is given, under a lock, so that a kill at any instruction leaves out a
number and never gives one twice. Who copies both files has the key and can turn the counter back: only a TPM keeps these.
"""

from __future__ import annotations

import fcntl
import os
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from walras.errors import Fault, InputError, MeteringError
from walras.metering.identity import PrivateKey, PublicKey, lower_s

EXPECTED = "a P-256 private key in PEM"
_SIGN_DIGEST = ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)


class FileKey:
    """`identity.KeyStore` over the key in `path` and the counter in `path` with `.counter` behind."""

    def __init__(self, path: Path, passphrase: bytes | None = None) -> None:
        """Read the key; InputError for a file that is missing, open to others, encrypted otherwise, or no P-256 key."""
        self.private = read_key(path, passphrase)
        self._counter = path.with_name(f"{path.name}.counter")

    def public_key(self) -> PublicKey:
        """As `KeyStore.public_key`."""
        return self.private.public_key()

    def sign_digest(self, digest: bytes) -> bytes:
        """As `KeyStore.sign_digest`; deterministic (RFC 6979)."""
        r, s = decode_dss_signature(self.private.sign(digest, _SIGN_DIGEST))
        return lower_s(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    def next_counter(self) -> int:
        """As `KeyStore.next_counter`: on disk before it is given."""
        lock = os.open(self._counter.with_name(f"{self._counter.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            number = self._last() + 1
            _write_durably(self._counter, b"%d %s\n" % (number, _check(number)))
        finally:
            os.close(lock)
        return number

    def _last(self) -> int:
        """The last number given, 0 for none; MeteringError for a damaged file: to begin again would be a replay."""
        if not self._counter.exists():
            return 0
        parts = self._counter.read_bytes().split()
        if len(parts) != 2 or not parts[0].isdigit() or parts[1] != _check(int(parts[0])):
            raise MeteringError(
                f"{self._counter}: damaged",
                thing=self._counter,
                way_out="give the device a new key: its old counter is not known any more",
            )
        return int(parts[0])


def make_key(path: Path, passphrase: bytes | None = None) -> FileKey:
    """A new key in a new file that its owner alone can read; InputError where the file is there already."""
    encryption: KeySerializationEncryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    private = ec.generate_private_key(ec.SECP256R1())
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError as cause:
        raise InputError(
            "key file", [Fault(str(path), "file", "exists", "a path where nothing is: keys are not written over")]
        ) from cause
    with os.fdopen(file, "wb") as stream:
        stream.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        stream.flush()
        os.fsync(stream.fileno())
    return FileKey(path, passphrase)


def read_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """The key in a PEM file; InputError, with the way out, for every way in which it is not fit for use."""
    try:
        mode = path.stat().st_mode
        pem = path.read_bytes()
    except OSError as cause:
        raise InputError("key file", [Fault(str(path), "file", cause.strerror, EXPECTED)]) from cause
    if mode & 0o077:
        fault = Fault(str(path), "permissions", f"{mode & 0o777:o}", "a file that its owner alone can read")
        raise InputError("key file", [fault], way_out=f"chmod 600 {path}")
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError as cause:  # encrypted and no passphrase, or the other way round
        way_out = "give the passphrase's file" if passphrase is None else "leave the passphrase out: the key is not encrypted"
        raise InputError("key file", [Fault(str(path), "passphrase", str(cause), EXPECTED)], way_out=way_out) from cause
    except ValueError as cause:
        expected = EXPECTED if passphrase is None else f"{EXPECTED}, and its passphrase"
        raise InputError("key file", [Fault(str(path), "content", "not readable", expected)]) from cause
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise InputError("key file", [Fault(str(path), "key", type(key).__name__, EXPECTED)])
    return key


def _check(number: int) -> bytes:
    """Tells a torn or edited counter from a whole one."""
    return sha256(b"walras counter %d" % number).hexdigest()[:16].encode()


def _write_durably(path: Path, content: bytes) -> None:
    """Replace the file's content, whole or not at all, and on disk when this returns."""
    partial = path.with_name(f"{path.name}.partial")
    with open(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
