"""Secrets on the command line come as files, never as arguments, which every process of the machine can read."""

from __future__ import annotations

from pathlib import Path

from walras.errors import Fault, InputError


def read_secret(path: Path, command: str) -> bytes:
    """32 bytes as 64 hex digits; InputError for anything else."""
    text = path.read_text(encoding="ascii", errors="replace").strip() if path.is_file() else ""
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise InputError(command, [Fault(str(path), "--secret", f"{len(text)} characters", "a file with 64 hex digits")])
    return secret
