"""Enrolment: what a meter operator checks before it vouches for a device whose key is in a TPM 2.0.

    device -> Offer       endorsement key with its maker's certificate; attestation key, meter key, counter: public areas
    operator -> Challenge a secret that only that TPM can open while it holds that attestation key; a nonce
    device -> Evidence    the secret; the attestation key's statements on the meter key, the firmware's registers, the counter

What each step proves. The certificate: the endorsement key is in a TPM of a trusted maker. The secret: the attestation key is in
the same TPM. As that key is *restricted*, it signs only what the TPM itself states, so then hold: the meter key is in this TPM,
was made there and cannot leave it (TPM2_Certify); the firmware measured at start is an allowed one (TPM2_Quote); the counter is
one that only rises (TPM2_NV_Certify). All three carry the operator's nonce: none can be of another day.

Source: TPM 2.0 Library, Part 1, sections "Credential Protection" and "Attestation"; Part 3, TPM2_ActivateCredential,
TPM2_Certify, TPM2_Quote, TPM2_NV_Certify. Pure: no TPM, no clock, no random number; each refusal is named and is the first
that applies.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from walras.errors import Fault, InputError, MeteringError
from walras.metering.identity import PublicKey, lower_s, verify
from walras.metering.tpm.challenge import make_credential
from walras.metering.tpm.endorsement import certificate_fault, is_endorsement_key
from walras.metering.tpm.structures import (
    Algorithm,
    Attest,
    Attributes,
    Certified,
    NvCertified,
    NvPublic,
    Public,
    Quoted,
    read_attest,
    read_nv_public,
    read_public,
    read_signature,
)

NONCE_BYTES = 32
_IN_THE_TPM = Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.SENSITIVE_DATA_ORIGIN


class EnrolmentRefusal(Enum):
    """Why a device is not enrolled, in the order of the checks."""

    MALFORMED = "a structure that is none of a TPM's, is cut off, or has bytes behind its end"
    NOT_ENDORSED = "the endorsement key has no certificate up to a trusted maker's root"
    NOT_AN_ENDORSEMENT_KEY = "the endorsement key is not of the standard template"
    NOT_AN_ATTESTATION_KEY = "the attestation key is not a restricted signing key that was made in its TPM and stays there"
    KEY_CAN_LEAVE = "the meter key is not a signing key that was made in its TPM and stays there"
    NOT_A_COUNTER = "the index is not a counter that only rises"
    WRONG_SECRET = "the challenge was not opened: the attestation key is not in the TPM with this endorsement key"
    NOT_ATTESTED = "a statement is not signed by the attestation key, or was changed since"
    WRONG_NONCE = "a statement was made for another occasion"
    NOT_THIS_KEY = "the statement is about another key or another counter"
    UNKNOWN_FIRMWARE = "the firmware's measurement is not on the operator's list"


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware that the operator allows, and the registers after a start with it: numbers and values (32 bytes, SHA-256 bank)."""

    name: str
    registers: tuple[tuple[int, bytes], ...]

    def __post_init__(self) -> None:
        numbers = [number for number, _ in self.registers]
        in_order = bool(numbers) and numbers == sorted(set(numbers)) and numbers[0] >= 0 and numbers[-1] < 24
        if not self.name or not in_order or any(len(value) != 32 for _, value in self.registers):
            expected = "a name, and values of 32 bytes for registers from 0 to 23, each once, ascending"
            raise InputError("firmware", [Fault(self.name or "firmware", "registers", numbers, expected)])

    @property
    def selected(self) -> tuple[int, ...]:
        """Which registers are measured."""
        return tuple(number for number, _ in self.registers)

    @property
    def measurement(self) -> bytes:
        """What a quote of a device with this firmware states: SHA-256 over the registers' values."""
        return sha256(b"".join(value for _, value in self.registers)).digest()


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator trusts: makers' roots and their intermediates (DER), and firmware, all measured in the same registers."""

    roots: tuple[bytes, ...]
    between: tuple[bytes, ...]
    firmware: tuple[Firmware, ...]

    def __post_init__(self) -> None:
        faults = [] if self.roots else [Fault("policy", "roots", 0, "at least one maker's root certificate")]
        if len({firmware.selected for firmware in self.firmware}) != 1:
            selections = [firmware.selected for firmware in self.firmware]
            faults.append(Fault("policy", "firmware", selections, "at least one, and the same registers for each"))
        if faults:
            raise InputError("enrolment policy", faults)

    @property
    def selected(self) -> tuple[int, ...]:
        """The registers that are quoted."""
        return self.firmware[0].selected


@dataclass(frozen=True, slots=True)
class Offer:
    """What a device shows first: certificate (DER), and the TPM's encodings of the public areas."""

    certificate: bytes
    endorsement: bytes
    attestation: bytes
    key: bytes
    counter: bytes


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the operator asks: `blob` and `encrypted_seed` for TPM2_ActivateCredential; the nonce for every statement."""

    blob: bytes
    encrypted_seed: bytes
    nonce: bytes
    registers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """An attestation (TPMS_ATTEST) and its signature (TPMT_SIGNATURE), as the TPM encodes them."""

    attest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the device answers."""

    secret: bytes
    certified: Statement
    quoted: Statement
    counted: Statement


@dataclass(frozen=True, slots=True)
class Offered:
    """An offer whose keys are of the right kind, under a trusted certificate. That they are in the TPM is yet to be shown."""

    endorsement: Public
    attestation: Public
    key: Public
    counter: NvPublic
    endorsement_key: RSAPublicKey
    attestation_key: PublicKey
    device_key: PublicKey


@dataclass(frozen=True, slots=True)
class Attested:
    """What the operator may vouch for: the key, the firmware (its name and measurement), and where the counter stood."""

    key: PublicKey
    firmware: str
    measurement: bytes
    counter: int


def check_offer(offer: Offer, policy: Policy, now: datetime) -> Offered | EnrolmentRefusal:
    """The offer, if endorsement, attestation and meter key are what they should be; `now` aware."""
    try:
        endorsement, attestation, key = (read_public(part) for part in (offer.endorsement, offer.attestation, offer.key))
        counter = read_nv_public(offer.counter)
    except MeteringError:
        return EnrolmentRefusal.MALFORMED
    if not is_endorsement_key(endorsement) or not isinstance(endorsement.key, RSAPublicKey):
        return EnrolmentRefusal.NOT_AN_ENDORSEMENT_KEY
    if certificate_fault(offer.certificate, policy.between, policy.roots, endorsement, now) is not None:
        return EnrolmentRefusal.NOT_ENDORSED
    if not _signs(attestation, restricted=True) or not isinstance(attestation.key, EllipticCurvePublicKey):
        return EnrolmentRefusal.NOT_AN_ATTESTATION_KEY
    if not _signs(key, restricted=False) or not isinstance(key.key, EllipticCurvePublicKey):
        return EnrolmentRefusal.KEY_CAN_LEAVE
    if not counter.is_counter:
        return EnrolmentRefusal.NOT_A_COUNTER
    return Offered(endorsement, attestation, key, counter, endorsement.key, attestation.key, key.key)


def challenge(offered: Offered, policy: Policy, secret: bytes, seed: bytes, nonce: bytes) -> Challenge:
    """The challenge to an offer. `secret`, `seed`, `nonce`: 32 bytes each, drawn for this once and kept by the operator."""
    if len(nonce) != NONCE_BYTES:
        raise MeteringError(f"a nonce of {len(nonce)} bytes, not {NONCE_BYTES}", thing="challenge")
    blob, encrypted_seed = make_credential(offered.endorsement_key, offered.attestation.name, secret, seed)
    return Challenge(blob, encrypted_seed, nonce, policy.selected)


def check_evidence(
    offered: Offered, secret: bytes, nonce: bytes, evidence: Evidence, firmware: Collection[Firmware]
) -> Attested | EnrolmentRefusal:
    """What the operator may vouch for, if the answer to its challenge (of `secret` and `nonce`) holds in every part."""
    try:
        attests = [_opened(part) for part in (evidence.certified, evidence.quoted, evidence.counted)]
    except MeteringError:
        return EnrolmentRefusal.MALFORMED
    if not hmac.compare_digest(evidence.secret, secret):
        return EnrolmentRefusal.WRONG_SECRET
    for attest, signature, signed in attests:
        if not verify(offered.attestation_key, signature, signed):
            return EnrolmentRefusal.NOT_ATTESTED
        if not hmac.compare_digest(attest.extra, nonce):
            return EnrolmentRefusal.WRONG_NONCE
    match [attest.attested for attest, _, _ in attests]:
        case [Certified() as certified, Quoted() as quoted, NvCertified() as counted]:
            return _judged(offered, certified, quoted, counted, firmware)
    return EnrolmentRefusal.MALFORMED


def _judged(
    offered: Offered, certified: Certified, quoted: Quoted, counted: NvCertified, firmware: Collection[Firmware]
) -> Attested | EnrolmentRefusal:
    if certified.name != offered.key.name:
        return EnrolmentRefusal.NOT_THIS_KEY
    if counted.name != offered.counter.name or counted.offset != 0 or len(counted.contents) != 8:
        return EnrolmentRefusal.NOT_THIS_KEY
    allowed = next((f for f in firmware if (f.selected, f.measurement) == (quoted.registers, quoted.digest)), None)
    if allowed is None:
        return EnrolmentRefusal.UNKNOWN_FIRMWARE
    return Attested(offered.device_key, allowed.name, quoted.digest, int.from_bytes(counted.contents, "big"))


def _signs(public: Public, *, restricted: bool) -> bool:
    """True for an ECDSA P-256 signing key made in its TPM that never leaves it; `restricted`: signs only the TPM's statements."""
    wanted = _IN_THE_TPM | Attributes.SIGN | (Attributes.RESTRICTED if restricted else Attributes(0))
    judged = wanted | Attributes.DECRYPT | Attributes.RESTRICTED | Attributes.ENCRYPTED_DUPLICATION
    return public.attributes & judged == wanted and public.scheme == (Algorithm.ECDSA, Algorithm.SHA256)


def _opened(statement: Statement) -> tuple[Attest, bytes, bytes]:
    """The statement's content, its signature with s in the lower half, and the signed bytes."""
    return read_attest(statement.attest), lower_s(read_signature(statement.signature)), statement.attest
