"""Access: who may ask a node for what is decided by a credential, and every request is signed by its holder.

An access credential is a verifiable credential (as `credential`): the operator's word that the holder of a key has certain rights
for some time. A request names the node it is for, the right it uses, when it was made, and the digest of what it asks; the holder
signs it. So a request cannot be sent to another node, used for another question, or kept for later; what a node answers is the
same however often one is repeated within its few minutes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import sha256

import cbor2

from walras.errors import Fault, InputError, MeteringError
from walras.metering.credential import VC_CONTEXT, is_utc_second, moment_of, stamp
from walras.metering.identity import Key, PublicKey, did_of, public_key_of
from walras.metering.jose import CredentialRefusal, open_jwt, sign_jwt, unverified_claims
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import loads_strict

MAX_AGE = timedelta(minutes=5)
_REQUEST_TYPE = "walras-request+jwt"


class Right(Enum):
    """What a node can be asked for by those who may."""

    VOTE = "ask for the vote on a slot"
    READ = "read the readings of a slot"
    CORRECT = "ask for a settled slot after its late readings, and the word on it"
    COMMIT = "ask for the word on the commitments to days"
    BATCH = "ask for the word on a batch of settled slots"
    LOG = "read who asked for what"
    DISPATCH = "order what a member's devices do"
    EDIT = "say that a value of a settled slot is wrong, and what it should be"
    LIMIT = "limit what passes a member's meter, as the grid operator"
    OPERATE = "read what a run's folder keeps of its members, and record what is done with it"
    EXPORT = "hand out what a run's folder keeps of a member"
    ERASE = "erase a member's personal data"
    OWN = "have what a run's folder keeps of oneself, and say what it may be used for"


class AccessRefusal(Enum):
    """Why a request is not answered."""

    MALFORMED = "not a request"
    CREDENTIAL = "the credential does not hold: not by this issuer, changed, or not valid now"
    NOT_SIGNED = "not signed by the credential's holder, or changed since"
    NOT_FOR_THIS = "made for another node, another question, or another time"
    NO_RIGHT = "the credential does not give this right"


@dataclass(frozen=True, slots=True)
class Allowed:
    """A request that holds: who asks, by which right, for what; `until` the credential ends, `issuer` (DID) gave it."""

    holder: str
    right: Right
    body: bytes
    until: datetime
    issuer: str


def issue_access(issuer: Key, holder: str, rights: Collection[Right], valid_from: datetime, valid_until: datetime) -> str:
    """The operator's word that `holder` (did:key) has `rights` from and until (UTC, whole seconds); InputError for bad times."""
    faults = [
        Fault("access credential", name, moment, "UTC, whole seconds, in order")
        for name, moment in (("valid_from", valid_from), ("valid_until", valid_until))
        if not is_utc_second(moment) or valid_from >= valid_until
    ]
    if faults:
        raise InputError("access credential", faults)
    return sign_jwt(issuer, "vc+jwt", _claims(did_of(issuer.public_key()), holder, rights, valid_from, valid_until))


def sign_request(holder: Key, credential: str, right: Right, audience: str, body: bytes, now: datetime) -> bytes:
    """The request of `holder` to the node named `audience`, for the wire."""
    claims: dict[str, object] = {
        "aud": audience,
        "iat": int(now.timestamp()),
        "right": right.name,
        "body": sha256(body).hexdigest(),
    }
    return cbor2.dumps([credential, sign_jwt(holder, _REQUEST_TYPE, claims), body])


def open_request(encoded: bytes, issuer: PublicKey, audience: str, now: datetime) -> Allowed | AccessRefusal:
    """The request, if credential, signature, audience, time and right all hold at `now` (aware)."""
    value = loads_strict(encoded)
    if isinstance(value, Refusal):
        return AccessRefusal.MALFORMED
    match value:
        case [str() as credential, str() as request, bytes() as body]:
            held = _read_credential(credential, issuer, now)
            if held is None:
                return AccessRefusal.CREDENTIAL
            holder, rights, until = held
            claims = open_jwt(request, public_key_of(holder), _REQUEST_TYPE)
            if isinstance(claims, CredentialRefusal):
                return AccessRefusal.NOT_SIGNED
            if not _is_for(claims, audience, body, now):
                return AccessRefusal.NOT_FOR_THIS
            asked = next((right for right in Right if right.name == claims.get("right")), None)
            if asked is None or asked not in rights:
                return AccessRefusal.NO_RIGHT
            return Allowed(holder, asked, body, until, did_of(issuer))
    return AccessRefusal.MALFORMED


def issuer_named(encoded: bytes) -> PublicKey | None:
    """The key that a request's credential says it was issued by; whether it was is for `open_request` to say."""
    match loads_strict(encoded):
        case [str() as credential, str(), bytes()]:
            try:
                return public_key_of(str(unverified_claims(credential).get("issuer")))
            except MeteringError:
                return None
    return None


def open_kept(encoded: bytes, issuer: PublicKey, audience: str) -> tuple[Allowed, datetime] | AccessRefusal:
    """A request that is kept: judged as of the moment that its holder signed it at, which comes with it."""
    value = loads_strict(encoded)
    match value:
        case [str(), str() as request, bytes()]:
            made = unverified_claims(request).get("iat")
            if type(made) is not int or not 0 <= made < 2**33:
                return AccessRefusal.MALFORMED
            moment = datetime.fromtimestamp(made, UTC)
            asked = open_request(encoded, issuer, audience, moment)
            return asked if isinstance(asked, AccessRefusal) else (asked, moment)
    return AccessRefusal.MALFORMED


def _is_for(claims: dict[str, object], audience: str, body: bytes, now: datetime) -> bool:
    made = claims.get("iat")
    fresh = type(made) is int and abs(now.timestamp() - made) <= MAX_AGE.total_seconds()
    return fresh and claims.get("aud") == audience and claims.get("body") == sha256(body).hexdigest()


def _read_credential(token: str, issuer: PublicKey, now: datetime) -> tuple[str, frozenset[Right], datetime] | None:
    """Holder, rights and end, or None for anything but a credential of this issuer that is valid at `now`."""
    claims = open_jwt(token, issuer, "vc+jwt")
    if isinstance(claims, CredentialRefusal):
        return None
    try:
        subject = claims["credentialSubject"]
        holder, names = subject["id"], subject["rights"]  # type: ignore[index]
        public_key_of(holder)
        rights = frozenset(Right[name] for name in names)
        since, until = moment_of(claims["validFrom"]), moment_of(claims["validUntil"])
    except (KeyError, TypeError, ValueError, AttributeError, MeteringError):
        return None
    if claims != _claims(did_of(issuer), holder, rights, since, until) or not since <= now < until:
        return None
    return holder, rights, until


def _claims(issuer: str, holder: str, rights: Collection[Right], since: datetime, until: datetime) -> dict[str, object]:
    return {
        "@context": VC_CONTEXT,
        "type": ["VerifiableCredential", "AccessCredential"],
        "issuer": issuer,
        "validFrom": stamp(since),
        "validUntil": stamp(until),
        "credentialSubject": {"id": holder, "rights": sorted(right.name for right in rights)},
    }
