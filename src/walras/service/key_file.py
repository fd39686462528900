"""A P-256 key in a file, and its counter in another beside it: the key store of a device or node without a TPM.

The key is as in `exchange.pem`. The counter is on disk before it is given, under a lock, so that a kill at any instruction leaves
out a number and never gives one twice. Who copies both files has the key and can turn the counter back: only a TPM keeps these.
"""

from __future__ import annotations

import fcntl
import os
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from walras.errors import MeteringError
from walras.exchange.pem import read_key, write_new_key
from walras.metering.identity import PublicKey, lower_s

__all__ = ["FileKey", "make_key", "read_key"]

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
    write_new_key(path, passphrase)
    return FileKey(path, passphrase)


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
