"""Structures of a TPM 2.0, read strictly: public areas, attestations, signatures. Bytes in, frozen records out.

Source: Trusted Platform Module Library, Part 2: Structures (TCG, revision 1.59): TPMT_PUBLIC (section 12.2.4), TPMA_OBJECT (8.3),
TPMS_ATTEST (10.12), TPMT_SIGNATURE (11.3), TPMS_NV_PUBLIC and TPMA_NV (13). All numbers are big-endian; a TPM2B is two bytes
of size and that many bytes.

The rule kept here: a structure is read to its last byte and not one further, and only in the forms that enrolment uses. An
unknown algorithm, a size beyond the end, a byte behind the end is a MeteringError; nobody guesses. What the fields must
say is judged by `enrolment`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from walras.errors import MeteringError
from walras.metering.identity import PublicKey

GENERATED = 0xFF544347
"""TPM_GENERATED: no structure made outside a TPM is signed by a restricted key if it begins with this."""

MAX_BYTES = 2048
"""The longest structure that is looked into."""


class Algorithm(IntEnum):
    """TPM_ALG_ID, as far as it is used."""

    RSA = 0x0001
    AES = 0x0006
    SHA256 = 0x000B
    NULL = 0x0010
    ECDSA = 0x0018
    ECC = 0x0023
    CFB = 0x0043


NIST_P256 = 0x0003
DEFAULT_EXPONENT = 65537


class AttestType(IntEnum):
    """TPMI_ST_ATTEST, as far as it is used."""

    NV = 0x8014
    CERTIFY = 0x8017
    QUOTE = 0x8018


class Attributes(IntFlag):
    """TPMA_OBJECT."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


@dataclass(frozen=True, slots=True)
class Public:
    """A key's public area (TPMT_PUBLIC): `encoded` is all of it, `name` what the TPM calls it (Part 1, "Names")."""

    encoded: bytes
    attributes: Attributes
    auth_policy: bytes
    symmetric: tuple[int, int, int]
    scheme: tuple[int, int]
    key: PublicKey | rsa.RSAPublicKey

    @property
    def name(self) -> bytes:
        """The hash algorithm's number and the hash of the public area: 34 bytes."""
        return Algorithm.SHA256.to_bytes(2, "big") + sha256(self.encoded).digest()


@dataclass(frozen=True, slots=True)
class Certified:
    """What TPM2_Certify states: an object of this name is in the TPM."""

    name: bytes
    qualified_name: bytes


@dataclass(frozen=True, slots=True)
class Quoted:
    """What TPM2_Quote states: SHA-256 over the selected registers of the SHA-256 bank, in ascending order."""

    registers: tuple[int, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class NvCertified:
    """What TPM2_NV_Certify states: the index of this name holds these bytes from `offset`."""

    name: bytes
    offset: int
    contents: bytes


@dataclass(frozen=True, slots=True)
class Attest:
    """TPMS_ATTEST. `extra` is the caller's nonce; counts of resets and restarts tell whether the TPM was started since."""

    kind: AttestType
    signer: bytes
    extra: bytes
    clock_ms: int
    resets: int
    restarts: int
    safe: bool
    firmware: int
    attested: Certified | Quoted | NvCertified


def read_public(encoded: bytes) -> Public:
    """The public area of an ECC P-256 or RSA-2048 key named by SHA-256; MeteringError for anything else."""
    cursor = _Cursor(encoded, "public area")
    kind = cursor.number(2)
    if kind not in (Algorithm.RSA, Algorithm.ECC):
        raise cursor.wrong(f"key type 0x{kind:04x}")
    cursor.expect(2, Algorithm.SHA256, "name algorithm")
    raw_attributes = cursor.number(4)
    if raw_attributes & ~_KNOWN_ATTRIBUTES:
        raise cursor.wrong(f"reserved attributes 0x{raw_attributes:08x}")
    policy = cursor.sized(32)
    symmetric = _symmetric(cursor)
    scheme = _scheme(cursor)
    key = _ecc_key(cursor) if kind == Algorithm.ECC else _rsa_key(cursor)
    cursor.end()
    return Public(encoded, Attributes(raw_attributes), policy, symmetric, scheme, key)


def read_attest(encoded: bytes) -> Attest:
    """A statement of the TPM about a key, its registers or an NV index; MeteringError for anything else."""
    cursor = _Cursor(encoded, "attestation")
    cursor.expect(4, GENERATED, "TPM_GENERATED")
    kind = cursor.number(2)
    if kind not in tuple(AttestType):
        raise cursor.wrong(f"attestation type 0x{kind:04x}")
    signer, extra = cursor.sized(68), cursor.sized(66)
    clock, resets, restarts = cursor.number(8), cursor.number(4), cursor.number(4)
    safe = cursor.number(1)
    if safe > 1:
        raise cursor.wrong("TPMI_YES_NO")
    firmware = cursor.number(8)
    body: Certified | Quoted | NvCertified
    if kind == AttestType.CERTIFY:
        body = Certified(cursor.sized(68), cursor.sized(68))
    elif kind == AttestType.QUOTE:
        body = Quoted(_selection(cursor), cursor.sized(64))
    else:
        body = NvCertified(cursor.sized(68), cursor.number(2), cursor.sized(1024))
    cursor.end()
    return Attest(AttestType(kind), signer, extra, clock, resets, restarts, bool(safe), firmware, body)


def read_signature(encoded: bytes) -> bytes:
    """r || s, 64 bytes, of a TPMT_SIGNATURE by ECDSA with SHA-256 on P-256 (s in either half); MeteringError otherwise."""
    cursor = _Cursor(encoded, "signature")
    cursor.expect(2, Algorithm.ECDSA, "algorithm")
    cursor.expect(2, Algorithm.SHA256, "hash")
    r, s = cursor.sized(32), cursor.sized(32)
    cursor.end()
    return r.rjust(32, b"\x00") + s.rjust(32, b"\x00")


@dataclass(frozen=True, slots=True)
class NvPublic:
    """An NV index (TPMS_NV_PUBLIC): its handle, attributes (TPMA_NV) and size; `written` is an attribute of its own."""

    encoded: bytes
    index: int
    attributes: int
    size: int

    @property
    def name(self) -> bytes:
        """As a key's name: what an attestation calls the index."""
        return Algorithm.SHA256.to_bytes(2, "big") + sha256(self.encoded).digest()

    @property
    def is_counter(self) -> bool:
        """A written counter of eight bytes: the TPM only ever adds to it."""
        return self.attributes >> 4 & 0xF == _NT_COUNTER and bool(self.attributes & _NV_WRITTEN) and self.size == 8


def read_nv_public(encoded: bytes) -> NvPublic:
    """The public area of an NV index named by SHA-256; MeteringError for anything else."""
    cursor = _Cursor(encoded, "NV index")
    index = cursor.number(4)
    if index >> 24 != 0x01:
        raise cursor.wrong(f"handle 0x{index:08x}")
    cursor.expect(2, Algorithm.SHA256, "name algorithm")
    attributes = cursor.number(4)
    cursor.sized(32)
    size = cursor.number(2)
    cursor.end()
    return NvPublic(encoded, index, attributes, size)


_NT_COUNTER = 0x1
_NV_WRITTEN = 1 << 29
_KNOWN_ATTRIBUTES = sum(Attributes)


def _symmetric(cursor: _Cursor) -> tuple[int, int, int]:
    """TPMT_SYM_DEF_OBJECT: AES in CFB with its bits, or none."""
    algorithm = cursor.number(2)
    if algorithm == Algorithm.NULL:
        return (Algorithm.NULL, 0, 0)
    if algorithm != Algorithm.AES:
        raise cursor.wrong(f"symmetric algorithm 0x{algorithm:04x}")
    return (algorithm, cursor.number(2), cursor.number(2))


def _scheme(cursor: _Cursor) -> tuple[int, int]:
    """TPMT_ECC_SCHEME or TPMT_RSA_SCHEME: ECDSA with its hash, or none."""
    algorithm = cursor.number(2)
    if algorithm == Algorithm.NULL:
        return (Algorithm.NULL, 0)
    if algorithm != Algorithm.ECDSA:
        raise cursor.wrong(f"scheme 0x{algorithm:04x}")
    return (algorithm, cursor.number(2))


def _ecc_key(cursor: _Cursor) -> PublicKey:
    cursor.expect(2, NIST_P256, "curve")
    cursor.expect(2, Algorithm.NULL, "key derivation")
    x, y = (int.from_bytes(cursor.sized(32), "big") for _ in range(2))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as cause:
        raise cursor.wrong("point, which is not on P-256") from cause


def _rsa_key(cursor: _Cursor) -> rsa.RSAPublicKey:
    cursor.expect(2, 2048, "key bits")
    exponent = cursor.number(4)
    if exponent not in (0, DEFAULT_EXPONENT):
        raise cursor.wrong(f"exponent {exponent}")
    modulus = int.from_bytes(cursor.sized(256), "big")
    if modulus.bit_length() != 2048 or not modulus & 1:
        raise cursor.wrong("modulus")
    return rsa.RSAPublicNumbers(DEFAULT_EXPONENT, modulus).public_key()


def _selection(cursor: _Cursor) -> tuple[int, ...]:
    """TPML_PCR_SELECTION of one bank, SHA-256: the selected registers, ascending."""
    cursor.expect(4, 1, "number of banks")
    cursor.expect(2, Algorithm.SHA256, "bank")
    size = cursor.number(1)
    if not 1 <= size <= 4:
        raise cursor.wrong(f"selection of {size} bytes")
    bits = int.from_bytes(cursor.take(size), "little")
    return tuple(register for register in range(8 * size) if bits >> register & 1)


class _Cursor:
    """Reads on; MeteringError naming structure and place where that does not go."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._what, self._at = data, what, 0
        if len(data) > MAX_BYTES:
            raise MeteringError(f"{what}: {len(data)} bytes, at most {MAX_BYTES} are read", thing=what)

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise MeteringError(f"{self._what}: ends at byte {len(self._data)} within a field of {size} bytes", thing=self._what)
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self, longest: int) -> bytes:
        """A TPM2B."""
        size = self.number(2)
        if size > longest:
            raise self.wrong(f"size {size}, at most {longest}")
        return self.take(size)

    def expect(self, size: int, value: int, name: str) -> None:
        seen = self.number(size)
        if seen != value:
            raise self.wrong(f"{name} 0x{seen:x}, not 0x{value:x}")

    def end(self) -> None:
        if self._at != len(self._data):
            raise MeteringError(f"{self._what}: {len(self._data) - self._at} bytes behind the end", thing=self._what)

    def wrong(self, what: str) -> MeteringError:
        return MeteringError(f"{self._what}: {what} (before byte {self._at})", thing=self._what)
