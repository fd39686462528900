"""Selective disclosure: a member shows of a meter's credential what a verifier needs, and nothing else.

SD-JWT (RFC 9901) with key binding. The issuer signs the digests of salted claims; the holder hands over the disclosures of the
claims they choose, and signs the presentation for one verifier (`audience`) and one occasion (`nonce`). The device's identity,
its node, owner, technology, powers and attestation are all behind digests. What always shows is the issuer, the validity, the
calibration's end, the holder's key and the credential's place in the status list: by these, two presentations of one credential are
known to be of one meter. Under a roll the place is drawn at random (`service.status_bits`): it is no account number.

Salts come in as an argument (16 bytes or more each, secret to issuer and holder, never used twice): `salts_from` derives them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from walras.errors import Fault, InputError, MeteringError
from walras.metering.credential import MeterCredential, moment_of, stamp, status_entry
from walras.metering.identity import Key, PublicKey, did_of, public_key_of
from walras.metering.jose import CredentialRefusal, b64, json_bytes, open_jwt, sign_jwt, unb64
from walras.metering.status_list import StatusList

TYPE = "dc+sd-jwt"
BINDING_TYPE = "kb+jwt"
CLAIMS = ("device", "member", "node", "technology", "max_import_w", "max_export_w", "attestation")
"""What can be disclosed one by one. `attestation` is null for a key that was not attested: its digest is there all the same."""

BINDING_MAX_AGE_S = 300


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What a presentation showed: the issuer's word on the disclosed claims, and what always shows."""

    issuer: str
    holder: str
    calibrated_until: datetime
    claims: Mapping[str, object]


def salts_from(secret: bytes, device: str) -> dict[str, bytes]:
    """One salt of 16 bytes a claim from the issuer's secret (at least 16 bytes) by HKDF-SHA256."""
    if len(secret) < 16:
        raise MeteringError(f"a secret of {len(secret)} bytes is too short", thing="salt secret", way_out="give 16 or more")
    return {name: _derived(secret, f"{device}/{name}") for name in CLAIMS}


def _derived(secret: bytes, info: str) -> bytes:
    return HKDF(SHA256(), 16, salt=b"walras disclosure", info=info.encode()).derive(secret)


def issue_disclosable(issuer: Key, credential: MeterCredential, holder: PublicKey, salts: Mapping[str, bytes]) -> str:
    """The credential as an SD-JWT with all its disclosures, for the holder: `<jwt>~<disclosure>~...~`."""
    short = [name for name in CLAIMS if len(salts.get(name, b"")) < 16]
    if short or len({salts[name] for name in CLAIMS}) != len(CLAIMS):
        raise InputError("disclosure", [Fault("salts", "names", short, "a different salt of 16 bytes or more for each claim")])
    disclosures = [b64(json_bytes([b64(salts[name]), name, _value(credential, name)])) for name in CLAIMS]
    did = did_of(issuer.public_key())
    claims: dict[str, object] = {
        "iss": did,
        "vct": "https://www.w3.org/ns/credentials/v2#MeterCredential",
        "nbf": int(credential.valid_from.timestamp()),
        "exp": int(credential.valid_until.timestamp()),
        "calibratedUntil": stamp(credential.calibrated_until),
        "credentialStatus": status_entry(did, credential.status_index),
        "cnf": {"kid": did_of(holder)},
        "_sd_alg": "sha-256",
        "_sd": sorted(_digest(disclosure) for disclosure in disclosures),
    }
    return "~".join([sign_jwt(issuer, TYPE, claims), *disclosures, ""])


def _value(credential: MeterCredential, name: str) -> object:
    attested = credential.attestation
    if name != "attestation":
        return getattr(credential, name)
    return None if attested is None else {"firmware": attested.firmware, "measurement": attested.measurement.hex()}


def present(issued: str, holder: Key, disclose: Collection[str], audience: str, nonce: str, now: datetime) -> str:
    """The presentation of the claims in `disclose` to `audience` for the occasion `nonce`, signed by the holder at `now`."""
    unknown = sorted(set(disclose) - set(CLAIMS))
    if unknown:
        raise InputError("presentation", [Fault("disclose", "claim", name, f"one of {CLAIMS}") for name in unknown])
    token, *disclosures, end = issued.split("~")
    if end:
        raise MeteringError("the SD-JWT already carries a key binding", thing="presentation")
    shown = [disclosure for disclosure in disclosures if json.loads(unb64(disclosure))[1] in disclose]
    head = "~".join([token, *shown, ""])
    binding = {"aud": audience, "iat": int(now.timestamp()), "nonce": nonce, "sd_hash": _digest(head)}
    return head + sign_jwt(holder, BINDING_TYPE, binding)


def check_presentation(
    presentation: str, issuer: PublicKey, audience: str, nonce: str, now: datetime, status: StatusList
) -> Disclosed | CredentialRefusal:
    """What the presentation shows, if issuer, validity, calibration, status, binding, audience and nonce all hold at `now`."""
    if "~" not in presentation:
        return CredentialRefusal.MALFORMED
    token, *disclosures, binding = presentation.split("~")
    claims = open_jwt(token, issuer, TYPE)
    if isinstance(claims, CredentialRefusal):
        return claims
    try:
        shown = _shown(claims, disclosures)
        holder = claims["cnf"]["kid"]  # type: ignore[index]
        holder_key = public_key_of(holder)
        index = int(claims["credentialStatus"]["statusListIndex"])  # type: ignore[index]
        valid_from, valid_until = int(claims["nbf"]), int(claims["exp"])  # type: ignore[call-overload]
        disclosed = Disclosed(str(claims["iss"]), holder, moment_of(claims["calibratedUntil"]), shown)
        revoked = status.is_revoked(index)
    except (KeyError, TypeError, ValueError, AttributeError, InputError, MeteringError):
        return CredentialRefusal.MALFORMED
    if disclosed.issuer != did_of(issuer):
        return CredentialRefusal.WRONG_ISSUER
    bound = open_jwt(binding, holder_key, BINDING_TYPE)
    if isinstance(bound, CredentialRefusal) or not _is_bound(bound, presentation, audience, nonce, now):
        return CredentialRefusal.NOT_BOUND
    return _standing(now, valid_from, valid_until, disclosed.calibrated_until, revoked) or disclosed


def _standing(
    now: datetime, valid_from: int, valid_until: int, calibrated_until: datetime, revoked: bool
) -> CredentialRefusal | None:
    if revoked:
        return CredentialRefusal.REVOKED
    if now < datetime.fromtimestamp(valid_from, UTC):
        return CredentialRefusal.NOT_YET_VALID
    if now >= datetime.fromtimestamp(valid_until, UTC):
        return CredentialRefusal.EXPIRED
    return CredentialRefusal.CALIBRATION_EXPIRED if now >= calibrated_until else None


def _shown(claims: Mapping[str, object], disclosures: list[str]) -> dict[str, object]:
    """Claims by name; ValueError for a disclosure the issuer did not sign, shown twice, or not a known claim (RFC 9901 7.1)."""
    digests = claims["_sd"]
    if claims["_sd_alg"] != "sha-256" or not isinstance(digests, list):
        raise ValueError("digests are not a list of sha-256")
    shown: dict[str, object] = {}
    for disclosure in disclosures:
        if digests.count(_digest(disclosure)) != 1:
            raise ValueError("a disclosure without exactly one digest")
        _, name, value = json.loads(unb64(disclosure))
        if name not in CLAIMS or name in shown:
            raise ValueError("a claim that is unknown or shown twice")
        shown[name] = value
    return shown


def _is_bound(bound: Mapping[str, object], presentation: str, audience: str, nonce: str, now: datetime) -> bool:
    head = presentation[: presentation.rindex("~") + 1]
    issued_at = bound.get("iat")
    return (
        bound.get("sd_hash") == _digest(head)
        and bound.get("aud") == audience
        and bound.get("nonce") == nonce
        and type(issued_at) is int
        and abs(now.timestamp() - issued_at) <= BINDING_MAX_AGE_S
    )


def _digest(text: str) -> str:
    return b64(sha256(text.encode("ascii")).digest())
