"""Which bit of the operator's status list is whose: each credential has one of its own, drawn at random, and nobody's twice.

A bit says of no credential whose it is, since it shows wherever one is presented; and a bit once set stays set, so the device that
comes in place of a revoked one has another. What bit a credential has, the credential says.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from pathlib import Path

from walras.metering import MeterCredential, key_id, public_key_of, read_credential
from walras.metering.identity import PublicKey
from walras.metering.status_list import BITS


def status_bits(tokens: Iterable[str], operator: PublicKey) -> dict[bytes, int]:
    """Each device's index in the status list, by the id of its key: of all `tokens` that the operator signed."""
    read = [read_credential(token, operator) for token in tokens]
    return {key_id(public_key_of(one.device)): one.status_index for one in read if isinstance(one, MeterCredential)}


def unused_bit(used: Collection[int]) -> int:
    """An index that none of `used` has, from the operating system's random numbers."""
    while (bit := secrets.randbelow(BITS)) in used:
        pass
    return bit


def bits_in_folder(folder: Path, operator: PublicKey) -> dict[str, int]:
    """The index of every credential of the operator's in a folder, by the name of its file without `.jwt`."""
    bits = {}
    for path in sorted(folder.glob("*.jwt")):
        read = read_credential(path.read_text(encoding="ascii", errors="replace").strip(), operator)
        if isinstance(read, MeterCredential):
            bits[path.stem] = read.status_index
    return bits
