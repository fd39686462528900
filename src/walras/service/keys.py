"""Where a key is, in one line of text: the path of a file, or `tpm:TCTI`, with `#NUMBER` for a TPM's further keys.

    keys/home-1.pem
    tpm:device:/dev/tpmrm0
    tpm:swtpm:host=127.0.0.1,port=2321#3

A TPM is connected to once, however many of its keys are opened: an emulated one serves a single connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from walras.errors import Fault, InputError
from walras.metering.identity import KeyStore
from walras.service.key_file import FileKey
from walras.service.tpm_device import Tpm, TpmKey

PREFIX = "tpm:"


def open_keys(places: Sequence[str], passphrase: bytes | None = None) -> list[KeyStore]:
    """The keys at `places`, in their order; encrypted files share a passphrase. InputError or MeteringError says what is wrong."""
    tpms: dict[str, Tpm] = {}
    return [_open(place, tpms, passphrase) for place in places]


def open_key(place: str, passphrase: bytes | None = None) -> KeyStore:
    """The key at one place."""
    return open_keys([place], passphrase)[0]


def open_tpm_key(place: str) -> TpmKey:
    """The key at a place in a TPM; InputError for a file."""
    if not place.startswith(PREFIX):
        raise InputError("TPM key", [Fault("key", "place", place, "tpm:TCTI, such as tpm:device:/dev/tpmrm0")])
    return _in_tpm(place, {})


def _open(place: str, tpms: dict[str, Tpm], passphrase: bytes | None) -> KeyStore:
    if place.startswith(PREFIX):
        return _in_tpm(place, tpms)
    return FileKey(Path(place), passphrase)


def _in_tpm(place: str, tpms: dict[str, Tpm]) -> TpmKey:
    tcti, _, number = place.removeprefix(PREFIX).partition("#")
    if not tcti or (number and not number.isdecimal()):
        expected = "tpm:TCTI or tpm:TCTI#NUMBER, such as tpm:device:/dev/tpmrm0#1"
        raise InputError("TPM key", [Fault("key", "place", place, expected)])
    if tcti not in tpms:
        tpms[tcti] = Tpm(tcti)
    return TpmKey(tpms[tcti], int(number or 0))
