"""Credentials: what the meter operator vouches for about a device, as a W3C verifiable credential in a JWT.

The form is VC Data Model 2.0 secured with JOSE (W3C "Securing Verifiable Credentials using JOSE and COSE", `typ`
"vc+jwt"), signed ES256. The subject is the device's `did:key`; the claims say whose it is, where it hangs, what stands
behind it and how much its connection carries, and until when its calibration counts. Verification needs the issuer's
public key and nothing from a network; the time comes in as an argument. A claim that is unknown or missing is refused:
nobody guesses what an issuer meant.

We sign with our own deterministic ECDSA (joserfc draws a random nonce, and a run must repeat to the byte); joserfc
verifies, and only ES256 is allowed whatever the token's header says.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey

from walras.errors import Fault, InputError, MeteringError
from walras.metering.admission import Registry, registry_of
from walras.metering.identity import PrivateKey, PublicKey, did_of, public_key_of, sign
from walras.slots import SlotGrid

_TYPES = ["VerifiableCredential", "MeterCredential"]
_CONTEXT = ["https://www.w3.org/ns/credentials/v2"]
_STATUS_TYPE = "BitstringStatusListEntry"


class CredentialRefusal(Enum):
    """Why a credential does not hold."""

    MALFORMED = "not a compact JWT with exactly the claims of a meter credential"
    WRONG_ISSUER = "issued by another key than the meter operator's"
    BAD_SIGNATURE = "not signed by the issuer, or changed since"
    NOT_YET_VALID = "its validity begins later"
    EXPIRED = "its validity has ended"
    CALIBRATION_EXPIRED = "the meter's calibration has ended"


@dataclass(frozen=True, slots=True)
class MeterCredential:
    """What the meter operator says about one device. Times are aware, UTC, whole seconds; powers in W at the connection.

    `status_index` is the credential's bit in the issuer's status list (`status_list`).
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

    def __post_init__(self) -> None:
        where = f"credential of {self.device}"
        faults = [
            Fault(where, name, getattr(self, name), "an aware datetime in UTC, whole seconds")
            for name in ("calibrated_until", "valid_from", "valid_until")
            if not _is_utc_second(getattr(self, name))
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
        if not faults and self.valid_from >= self.valid_until:
            faults.append(Fault(where, "valid_until", self.valid_until, f"after valid_from, {self.valid_from}"))
        if faults:
            raise InputError(where, faults)
        public_key_of(self.device)


def issue(issuer: PrivateKey, credential: MeterCredential) -> str:
    """The credential as a compact JWT signed by `issuer`; the same arguments give the same bytes."""
    did = did_of(issuer.public_key())
    header = {"alg": "ES256", "kid": f"{did}#{did.removeprefix('did:key:')}", "typ": "vc+jwt"}
    signing_input = f"{_b64(_json(header))}.{_b64(_json(_claims(did, credential)))}"
    return f"{signing_input}.{_b64(sign(issuer, signing_input.encode()))}"


def read_credential(token: str, issuer: PublicKey) -> MeterCredential | CredentialRefusal:
    """The credential in `token` if `issuer` signed it; validity in time is not looked at (see `check_credential`)."""
    pem = issuer.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        opened = jws.deserialize_compact(token.encode(), ECKey.import_key(pem), algorithms=["ES256"])
    except BadSignatureError:
        return CredentialRefusal.BAD_SIGNATURE
    except (JoseError, ValueError):
        return CredentialRefusal.MALFORMED
    try:
        claims = json.loads(opened.payload)
        credential = _from_claims(claims)
    except (ValueError, KeyError, TypeError, InputError, MeteringError):
        return CredentialRefusal.MALFORMED
    did = did_of(issuer)
    if claims.get("issuer") != did:
        return CredentialRefusal.WRONG_ISSUER
    if opened.headers().get("typ") != "vc+jwt" or claims != _claims(did, credential):
        return CredentialRefusal.MALFORMED
    return credential


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
    status_list = f"{issuer_did}#status"
    return {
        "@context": _CONTEXT,
        "type": _TYPES,
        "issuer": issuer_did,
        "validFrom": _stamp(credential.valid_from),
        "validUntil": _stamp(credential.valid_until),
        "credentialSubject": {
            "id": credential.device,
            "member": credential.member,
            "node": credential.node,
            "technology": credential.technology,
            "maxImportW": credential.max_import_w,
            "maxExportW": credential.max_export_w,
            "calibratedUntil": _stamp(credential.calibrated_until),
        },
        "credentialStatus": {
            "type": _STATUS_TYPE,
            "statusPurpose": "revocation",
            "statusListIndex": str(credential.status_index),
            "statusListCredential": status_list,
        },
    }


def _from_claims(claims: dict[str, object]) -> MeterCredential:
    subject, status = claims["credentialSubject"], claims["credentialStatus"]
    if not isinstance(subject, dict) or not isinstance(status, dict):
        raise TypeError("a credential's subject and status are objects")
    return MeterCredential(
        device=subject["id"],
        member=subject["member"],
        node=subject["node"],
        technology=subject["technology"],
        max_import_w=subject["maxImportW"],
        max_export_w=subject["maxExportW"],
        calibrated_until=_moment(subject["calibratedUntil"]),
        valid_from=_moment(claims["validFrom"]),
        valid_until=_moment(claims["validUntil"]),
        status_index=int(status["statusListIndex"]),
    )


def _is_utc_second(moment: object) -> bool:
    return isinstance(moment, datetime) and moment.tzinfo == UTC and moment.microsecond == 0


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(stamp: object) -> datetime:
    if not isinstance(stamp, str):
        raise TypeError("a time stamp is a text")
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
