"""Revocation by a status list: one bit a credential, signed by the issuer, fetched by nobody in particular.

W3C Bitstring Status List v1.0: a gzipped bitstring of at least 131,072 bits (16 kB), index 0 the left-most bit, in a signed
credential. Whoever checks one device reads the whole list, so the issuer does not learn whom they looked at.

Two rules keep an old list from hiding a revocation: it ends (`valid_until`), and `newer_list` never goes back from one that has
been seen. A bit once set stays set. The gzip stream uses stored blocks, so the bytes do not depend on a zlib version.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from walras.errors import Fault, InputError
from walras.metering.credential import VC_CONTEXT, is_utc_second, moment_of, stamp
from walras.metering.identity import Key, PublicKey, did_of
from walras.metering.jose import CredentialRefusal, b64, open_jwt, sign_jwt, unb64
from walras.units import Int64

BITS = 131_072
"""The size below which a list would tell too much about who is in it (section 6.1 of the recommendation)."""

MAX_BYTES = BITS
"""The largest list that is unpacked: 2**20 credentials."""


@dataclass(frozen=True, slots=True)
class StatusList:
    """Revocation bits of one issuer, valid in [valid_from, valid_until) (aware, UTC, whole seconds)."""

    bits: bytes
    valid_from: datetime
    valid_until: datetime

    def __post_init__(self) -> None:
        faults = []
        if len(self.bits) * 8 < BITS:
            faults.append(Fault("status list", "bits", len(self.bits) * 8, f"at least {BITS} bits"))
        if not (is_utc_second(self.valid_from) and is_utc_second(self.valid_until) and self.valid_from < self.valid_until):
            window = (self.valid_from, self.valid_until)
            faults.append(Fault("status list", "validity", window, "two moments in UTC, whole seconds, the first earlier"))
        if faults:
            raise InputError("status list", faults)

    def is_revoked(self, index: int) -> bool:
        """The bit of credential `index`; InputError beyond the list: an index nobody vouches for is not valid."""
        if not 0 <= index < len(self.bits) * 8:
            raise InputError("status list", [Fault("status list", "index", index, f"from 0 to {len(self.bits) * 8 - 1}")])
        return bool(self.bits[index >> 3] & (0x80 >> (index & 7)))


def empty_list(valid_from: datetime, valid_until: datetime) -> StatusList:
    """Nobody revoked."""
    return StatusList(bytes(BITS // 8), valid_from, valid_until)


def with_revoked(status: StatusList, indexes: Iterable[int], valid_from: datetime, valid_until: datetime) -> StatusList:
    """The next list: the bits of `status` and those of `indexes` set."""
    bits = bytearray(status.bits)
    for index in indexes:
        status.is_revoked(index)  # refuses an index beyond the list
        bits[index >> 3] |= 0x80 >> (index & 7)
    return StatusList(bytes(bits), valid_from, valid_until)


def issue_list(issuer: Key, status: StatusList) -> str:
    """The list as a signed credential (compact JWT)."""
    return sign_jwt(issuer, "vc+jwt", _claims(did_of(issuer.public_key()), status, "u" + b64(_gzip_stored(status.bits))))


def read_list(token: str, issuer: PublicKey, now: datetime) -> StatusList | CredentialRefusal:
    """The list in `token` if `issuer` signed it and it is valid at `now`. A hostile stream is cut off at MAX_BYTES."""
    status = read_list_of_any_time(token, issuer)
    if isinstance(status, CredentialRefusal):
        return status
    if now < status.valid_from:
        return CredentialRefusal.NOT_YET_VALID
    return CredentialRefusal.EXPIRED if now >= status.valid_until else status


def read_list_of_any_time(token: str, issuer: PublicKey) -> StatusList | CredentialRefusal:
    """As `read_list`, whenever it is valid: for the issuer, whose next list begins with the bits of the last."""
    claims = open_jwt(token, issuer, "vc+jwt")
    if isinstance(claims, CredentialRefusal):
        return claims
    try:
        subject = claims["credentialSubject"]
        if not isinstance(subject, dict):
            return CredentialRefusal.MALFORMED
        encoded = subject["encodedList"]
        bits = _gunzip(unb64(encoded.removeprefix("u")), limit=MAX_BYTES)
        status = StatusList(bits, moment_of(claims["validFrom"]), moment_of(claims["validUntil"]))
    except (KeyError, TypeError, ValueError, AttributeError, InputError, zlib.error):
        return CredentialRefusal.MALFORMED
    did = did_of(issuer)
    if claims.get("issuer") != did:
        return CredentialRefusal.WRONG_ISSUER
    return status if claims == _claims(did, status, encoded) else CredentialRefusal.MALFORMED


def newer_list(known: StatusList, offered: StatusList) -> StatusList:
    """The later of two lists of one issuer; InputError if it takes a revocation back."""
    later, earlier = (offered, known) if offered.valid_from >= known.valid_from else (known, offered)
    size = max(len(later.bits), len(earlier.bits))
    after = np.frombuffer(later.bits.ljust(size, b"\x00"), dtype=np.uint8)
    before = np.frombuffer(earlier.bits.ljust(size, b"\x00"), dtype=np.uint8)
    taken_back = np.flatnonzero(np.unpackbits(before & ~after))
    if taken_back.size:
        raise InputError(
            "status list", [Fault("status list", f"bit {index}", 0, "1: a revocation stays") for index in taken_back[:100]]
        )
    return later


def revoked_rows(status: StatusList, status_index: Sequence[int] | Int64) -> list[int]:
    """The rows whose credential is revoked, for `admission.revoke`."""
    return [row for row, index in enumerate(status_index) if status.is_revoked(int(index))]


def _claims(issuer_did: str, status: StatusList, encoded: str) -> dict[str, object]:
    return {
        "@context": VC_CONTEXT,
        "id": f"{issuer_did}#status",
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": issuer_did,
        "validFrom": stamp(status.valid_from),
        "validUntil": stamp(status.valid_until),
        "credentialSubject": {
            "id": f"{issuer_did}#status-list",
            "type": "BitstringStatusList",
            "statusPurpose": "revocation",
            "encodedList": encoded,
        },
    }


def _gzip_stored(data: bytes) -> bytes:
    """A gzip stream (RFC 1952) of stored blocks (RFC 1951 section 3.2.4)."""
    blocks = [data[at : at + 0xFFFF] for at in range(0, len(data), 0xFFFF)] or [b""]
    body = b"".join(struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block for block in blocks)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def _gunzip(data: bytes, limit: int) -> bytes:
    """At most `limit` bytes from one whole gzip stream; ValueError for more, for less than a stream, or for bytes behind it."""
    stream = zlib.decompressobj(wbits=31)
    out = stream.decompress(data, limit)
    if not stream.eof or stream.unused_data:
        raise ValueError("not one gzip stream within the limit")
    return out
