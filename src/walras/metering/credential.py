"""Credentials: what the meter operator vouches for about a device, as a W3C verifiable credential in a JWT.

The form is VC Data Model 2.0 secured with JOSE (W3C "Securing Verifiable Credentials using JOSE and COSE", `typ`
"vc+jwt"), signed ES256. The subject is the device's `did:key`; the claims say whose it is, where it hangs, what stands
behind it and how much its connection carries, and until when its calibration counts; and, where the operator saw to it at enrolment
(`tpm`), that the key lives in a TPM, and which firmware was measured there. Verification needs the issuer's
public key and nothing from a network; the time comes in as an argument. A claim that is unknown or missing is refused:
nobody guesses what an issuer meant.

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from walras.errors import Fault, InputError, MeteringError
from walras.metering.admission import Registry, registry_of
from walras.metering.identity import Key, PublicKey, did_of, public_key_of
from walras.metering.jose import CredentialRefusal, open_jwt, sign_jwt
from walras.slots import SlotGrid

_ATTESTED = "TPM 2.0"
_TYPES = ["VerifiableCredential", "MeterCredential"]
VC_CONTEXT = ["https://www.w3.org/ns/credentials/v2"]


@dataclass(frozen=True, slots=True)
class KeyAttestation:
    """What enrolment showed of a device's key: it was made in a TPM 2.0 and cannot leave it, and the firmware measured there.

    `measurement` is SHA-256 over the firmware's registers (`tpm.Firmware`).
    """

    firmware: str
    measurement: bytes


@dataclass(frozen=True, slots=True)
class MeterCredential:
    """What the meter operator says about one device. Times are aware, UTC, whole seconds; powers in W at the connection.

    `status_index` is the credential's bit in the issuer's status list (`status_list`); `attestation` is None for a key that
    may be anywhere.
    """

    device: str
    member: int
    node: str
    technology: str
    max_import_w: int
    max_export_w: int
    calibrated_until: datetime
    valid_from: datetime
    valid_until: datetime
    status_index: int
    attestation: KeyAttestation | None = None

    def __post_init__(self) -> None:
        where = f"credential of {self.device}"
        faults = [
            Fault(where, name, getattr(self, name), "an aware datetime in UTC, whole seconds")
            for name in ("calibrated_until", "valid_from", "valid_until")
            if not is_utc_second(getattr(self, name))
        ]
        faults += [
            Fault(where, name, getattr(self, name), "a whole number >= 0")
            for name in ("member", "max_import_w", "max_export_w", "status_index")
            if type(getattr(self, name)) is not int or getattr(self, name) < 0
        ]
        faults += [
            Fault(where, name, getattr(self, name), "a text that is not empty")
            for name in ("device", "node", "technology")
            if not isinstance(getattr(self, name), str) or not getattr(self, name)
        ]
        if self.attestation is not None and not (self.attestation.firmware and len(self.attestation.measurement) == 32):
            faults.append(Fault(where, "attestation", self.attestation, "a firmware's name and a measurement of 32 bytes"))
        if not faults and self.valid_from >= self.valid_until:
            faults.append(Fault(where, "valid_until", self.valid_until, f"after valid_from, {self.valid_from}"))
        if faults:
            raise InputError(where, faults)
        public_key_of(self.device)


def issue(issuer: Key, credential: MeterCredential) -> str:
    """The credential as a compact JWT signed by `issuer`; the same arguments give the same bytes."""
    return sign_jwt(issuer, "vc+jwt", _claims(did_of(issuer.public_key()), credential))


def read_credential(token: str, issuer: PublicKey) -> MeterCredential | CredentialRefusal:
    """The credential in `token` if `issuer` signed it; validity in time is not looked at (see `check_credential`)."""
    claims = open_jwt(token, issuer, "vc+jwt")
    if isinstance(claims, CredentialRefusal):
        return claims
    try:
        credential = _from_claims(claims)
    except (ValueError, KeyError, TypeError, InputError, MeteringError):
        return CredentialRefusal.MALFORMED
    did = did_of(issuer)
    if claims.get("issuer") != did:
        return CredentialRefusal.WRONG_ISSUER
    return credential if claims == _claims(did, credential) else CredentialRefusal.MALFORMED


def check_credential(token: str, issuer: PublicKey, now: datetime) -> MeterCredential | CredentialRefusal:
    """As `read_credential`, and valid at `now` (aware): valid_from <= now < valid_until and now < calibrated_until."""
    credential = read_credential(token, issuer)
    if isinstance(credential, CredentialRefusal):
        return credential
    if now < credential.valid_from:
        return CredentialRefusal.NOT_YET_VALID
    if now >= credential.valid_until:
        return CredentialRefusal.EXPIRED
    return CredentialRefusal.CALIBRATION_EXPIRED if now >= credential.calibrated_until else credential


def registry_of_credentials(tokens: Sequence[str], issuer: PublicKey, grid: SlotGrid) -> Registry:
    """The admission's registry, device i from `tokens[i]`; InputError naming every token that does not hold.

    The window of a device is [valid_from, min(valid_until, calibrated_until)); powers become whole Wh per slot, rounded down.
    """
    read = [read_credential(token, issuer) for token in tokens]
    faults = [
        Fault(f"credential {row}", "token", held.name, "a credential signed by the meter operator")
        for row, held in enumerate(read)
        if isinstance(held, CredentialRefusal)
    ]
    if faults:
        raise InputError("credentials", faults)
    held = [credential for credential in read if isinstance(credential, MeterCredential)]
    return registry_of(
        keys=[public_key_of(c.device) for c in held],
        member=[c.member for c in held],
        valid_from_s=[int(c.valid_from.timestamp()) for c in held],
        valid_until_s=[int(min(c.valid_until, c.calibrated_until).timestamp()) for c in held],
        max_import_wh=[c.max_import_w * grid.minutes // 60 for c in held],
        max_export_wh=[c.max_export_w * grid.minutes // 60 for c in held],
    )


def _claims(issuer_did: str, credential: MeterCredential) -> dict[str, object]:
    return {
        "@context": VC_CONTEXT,
        "type": _TYPES,
        "issuer": issuer_did,
        "validFrom": stamp(credential.valid_from),
        "validUntil": stamp(credential.valid_until),
        "credentialSubject": {
            "id": credential.device,
            "member": credential.member,
            "node": credential.node,
            "technology": credential.technology,
            "maxImportW": credential.max_import_w,
            "maxExportW": credential.max_export_w,
            "calibratedUntil": stamp(credential.calibrated_until),
            **_attestation_claims(credential.attestation),
        },
        "credentialStatus": status_entry(issuer_did, credential.status_index),
    }


def _attestation_claims(attestation: KeyAttestation | None) -> dict[str, object]:
    """Nothing for a key that was not attested: then nothing is said of where it is."""
    if attestation is None:
        return {}
    measured = {"type": _ATTESTED, "firmware": attestation.firmware, "measurement": attestation.measurement.hex()}
    return {"keyAttestation": measured}


def status_entry(issuer_did: str, status_index: int) -> dict[str, object]:
    """Where the credential's revocation bit stands (Bitstring Status List, section 2.1)."""
    return {
        "type": "BitstringStatusListEntry",
        "statusPurpose": "revocation",
        "statusListIndex": str(status_index),
        "statusListCredential": f"{issuer_did}#status",
    }


def _from_claims(claims: dict[str, object]) -> MeterCredential:
    subject, status = claims["credentialSubject"], claims["credentialStatus"]
    if not isinstance(subject, dict) or not isinstance(status, dict):
        raise TypeError("a credential's subject and status are objects")
    attested = subject.get("keyAttestation")
    return MeterCredential(
        device=subject["id"],
        member=subject["member"],
        node=subject["node"],
        technology=subject["technology"],
        max_import_w=subject["maxImportW"],
        max_export_w=subject["maxExportW"],
        calibrated_until=moment_of(subject["calibratedUntil"]),
        valid_from=moment_of(claims["validFrom"]),
        valid_until=moment_of(claims["validUntil"]),
        status_index=int(status["statusListIndex"]),
        attestation=None if attested is None else KeyAttestation(attested["firmware"], bytes.fromhex(attested["measurement"])),
    )


def is_utc_second(moment: object) -> bool:
    """True for an aware datetime in UTC without a fraction of a second."""
    return isinstance(moment, datetime) and moment.tzinfo == UTC and moment.microsecond == 0


def stamp(moment: datetime) -> str:
    """A UTC moment as credentials write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: object) -> datetime:
    """The moment of a `stamp`; TypeError or ValueError for anything else."""
    if not isinstance(text, str):
        raise TypeError("a time stamp is a text")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
