"""Compact JSON Web Signatures with ES256: the one envelope of credentials, status lists and disclosures (RFC 7515, RFC 7518).

We sign with our own deterministic ECDSA (joserfc draws a random nonce, and a run must repeat to the byte); joserfc verifies,
and only ES256 is allowed whatever a token's header says. `typ` must be exactly the expected one, so a token of one kind never
passes for another (RFC 8725 section 3.11).
"""

from __future__ import annotations

import base64
import json
from enum import Enum

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey

from walras.metering.identity import Key, PublicKey, did_of, sign


class CredentialRefusal(Enum):
    """Why a credential, a status list or a disclosure does not hold."""

    MALFORMED = "not a compact token with exactly the expected claims"
    WRONG_ISSUER = "issued by another key than the expected one"
    BAD_SIGNATURE = "not signed by the expected key, or changed since"
    NOT_YET_VALID = "its validity begins later"
    EXPIRED = "its validity has ended"
    CALIBRATION_EXPIRED = "the meter's calibration has ended"
    REVOKED = "revoked by its issuer's status list"
    NOT_BOUND = "not presented by its holder, or to another verifier, or for another occasion"


def sign_jwt(key: Key, typ: str, claims: dict[str, object]) -> str:
    """The claims as a compact JWS by `key`, named in the header by its did:key; the same arguments give the same bytes."""
    did = did_of(key.public_key())
    header = {"alg": "ES256", "kid": f"{did}#{did.removeprefix('did:key:')}", "typ": typ}
    signing_input = f"{b64(json_bytes(header))}.{b64(json_bytes(claims))}"
    return f"{signing_input}.{b64(sign(key, signing_input.encode()))}"


def open_jwt(token: str, key: PublicKey, typ: str) -> dict[str, object] | CredentialRefusal:
    """The claims of a token of kind `typ` signed by `key`, or why there are none. What the claims say is not looked at."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        opened = jws.deserialize_compact(token.encode(), ECKey.import_key(pem), algorithms=["ES256"])
    except BadSignatureError:
        return CredentialRefusal.BAD_SIGNATURE
    except (JoseError, ValueError):
        return CredentialRefusal.MALFORMED
    try:
        claims = json.loads(opened.payload)
    except ValueError:
        return CredentialRefusal.MALFORMED
    if not isinstance(claims, dict) or opened.headers().get("typ") != typ:
        return CredentialRefusal.MALFORMED
    return claims


def unverified_claims(token: str) -> dict[str, object]:
    """What a token claims, before anybody has looked at its signature; empty where it is none."""
    try:
        claims = json.loads(unb64(token.split(".")[1]))
    except (ValueError, IndexError):
        return {}
    return claims if isinstance(claims, dict) else {}


def json_bytes(value: object) -> bytes:
    """Compact JSON with sorted keys."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The inverse of `b64`; ValueError for anything that `b64` does not write."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(data) != text:
        raise ValueError("not canonical base64url")
    return data
