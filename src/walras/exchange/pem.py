"""A P-256 private key in a file (PEM, PKCS #8) that its owner alone can read, or it is not read.

With a passphrase it is encrypted, by the library's best.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from walras.errors import Fault, InputError
from walras.metering.identity import PrivateKey

EXPECTED = "a P-256 private key in PEM"


def write_new_key(path: Path, passphrase: bytes | None = None) -> None:
    """A new key in a new file, whole or not there at all; InputError where the file is there already."""
    encryption: KeySerializationEncryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    private = ec.generate_private_key(ec.SECP256R1())
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as stream:
        stream.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(partial, path)
    except FileExistsError as cause:
        raise InputError(
            "key file", [Fault(str(path), "file", "exists", "a path where nothing is: keys are not written over")]
        ) from cause
    finally:
        partial.unlink()


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
