"""Secrets on the command line come as files, never as arguments, which every process of the machine can read."""

from __future__ import annotations

from pathlib import Path

from walras.errors import Fault, InputError
from walras.exchange.folder import Opener
from walras.exchange.pem import read_key


def read_passphrase(path: Path | None, command: str) -> bytes | None:
    """The first line of a file; None without one, InputError for an empty line or no such file."""
    if path is None:
        return None
    lines = path.read_bytes().splitlines() if path.is_file() else []
    if not lines or not lines[0]:
        raise InputError(command, [Fault(str(path), "--passphrase", "nothing", "a file whose first line is the passphrase")])
    return lines[0]


def read_secret(path: Path, command: str, option: str = "--secret") -> bytes:
    """32 bytes as 64 hex digits, or sealed in a TPM (`walras key --seal`); InputError, naming `option`, for anything else."""
    if path.is_file() and (content := path.read_bytes()).startswith(b"{"):
        from walras.service.sealed import unseal

        return unseal(path, content)
    text = path.read_text(encoding="ascii", errors="replace").strip() if path.is_file() else ""
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        given = f"{len(text)} characters" if path.is_file() else "no file"
        raise InputError(command, [Fault(str(path), option, given, "a file with 64 hex digits")])
    return secret


def read_opener(path: Path | None, command: str) -> Opener:
    """What opens a run's folder, in the file of `--as`: a key (PEM), or the secret that the run was begun with; None without."""
    if path is None:
        return None
    if path.is_file() and path.read_bytes().startswith(b"-----BEGIN"):
        return read_key(path)
    return read_secret(path, command, "--as")
