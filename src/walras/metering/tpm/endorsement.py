"""Whose TPM it is: the endorsement key's certificate, up to a maker's root that the operator trusts.

Source: TCG EK Credential Profile for TPM 2.0 (the certificate: sections 3.2 "EK Certificate" and its extended key usage
2.23.133.8.1; the key's template: Annex B, L-1, RSA-2048) and RFC 5280 section 6 for the path.

Kept here: every certificate of the path is valid at the time given, signed by the next, and the next is an authority that may
sign certificates; the path ends in one of the roots, byte for byte; an extension that is critical and not known here ends it.
The leaf is for endorsement keys and holds the very key that is offered. Revocation by the maker is not looked at: nothing here
asks a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from warnings import catch_warnings, simplefilter

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DuplicateExtension,
    ExtendedKeyUsage,
    ExtensionNotFound,
    InvalidVersion,
    KeyUsage,
    ObjectIdentifier,
    SubjectAlternativeName,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
)

from walras.metering.tpm.structures import Algorithm, Attributes, Public

EK_USAGE = ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate."""

EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
"""PolicySecret(TPM_RH_ENDORSEMENT): policy A of the EK Credential Profile."""

EK_ATTRIBUTES = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.ADMIN_WITH_POLICY
    | Attributes.RESTRICTED
    | Attributes.DECRYPT
)
LONGEST_PATH = 6
_NOT_READABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidVersion,
    DuplicateExtension,
    UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
"""What cryptography's parsers raise, also late, when an extension or a key is asked for."""
_KNOWN_CRITICAL = {BasicConstraints.oid, KeyUsage.oid, ExtendedKeyUsage.oid, SubjectAlternativeName.oid}


def is_endorsement_key(public: Public) -> bool:
    """True for a key of template L-1: it decrypts what is for this TPM and nothing else, and never leaves it."""
    return (
        isinstance(public.key, RSAPublicKey)
        and public.attributes == EK_ATTRIBUTES
        and public.auth_policy == EK_POLICY
        and public.symmetric == (Algorithm.AES, 128, Algorithm.CFB)
        and public.scheme == (Algorithm.NULL, 0)
    )


def certificate_fault(leaf: bytes, between: Sequence[bytes], roots: Sequence[bytes], key: Public, now: datetime) -> str | None:
    """None where `leaf` (DER) certifies `key` under one of `roots`, through certificates of `between`; else what is wrong."""
    try:
        with catch_warnings():
            simplefilter("error", CryptographyDeprecationWarning)  # what the next version refuses is refused now
            certificate = load_der_x509_certificate(leaf)
            others = [load_der_x509_certificate(der) for der in between]
            anchors = [load_der_x509_certificate(der) for der in roots]
            return _leaf_fault(certificate, key) or _path_fault(certificate, others, anchors, now)
    except _NOT_READABLE as cause:
        return f"not a certificate: {cause}"


def _leaf_fault(leaf: Certificate, key: Public) -> str | None:
    try:
        usage = leaf.extensions.get_extension_for_class(ExtendedKeyUsage).value
    except ExtensionNotFound:
        return "the certificate names no extended key usage"
    if EK_USAGE not in usage:
        return "the certificate is not for an endorsement key"
    certified = leaf.public_key()
    if not isinstance(certified, RSAPublicKey) or not isinstance(key.key, RSAPublicKey):
        return "the endorsement key is not RSA"
    if certified.public_numbers() != key.key.public_numbers():
        return "the certificate is for another endorsement key"
    return None


def _path_fault(leaf: Certificate, between: list[Certificate], roots: list[Certificate], now: datetime) -> str | None:
    """Climb from the leaf: at each step to a root if one signed, else to a certificate of `between` that did."""
    current = leaf
    for below in range(LONGEST_PATH):
        if not current.not_valid_before_utc <= now <= current.not_valid_after_utc:
            return f"the certificate of {_subject(current)} is not valid at {now:%Y-%m-%d}"
        unknown = [e.oid.dotted_string for e in current.extensions if e.critical and e.oid not in _KNOWN_CRITICAL]
        if unknown:
            return f"the certificate of {_subject(current)} has a critical extension that is not known: {unknown[0]}"
        if current in roots:
            return None
        issuer = next((one for one in [*roots, *between] if one != current and _signed(one, current, below)), None)
        if issuer is None:
            return f"no trusted authority signed the certificate of {_subject(current)}"
        current = issuer
    return f"the path is longer than {LONGEST_PATH} certificates"


def _signed(issuer: Certificate, subject: Certificate, below: int) -> bool:
    """True when `issuer` is an authority, may stand above `below` other authorities, and signed `subject`."""
    try:
        constraints = issuer.extensions.get_extension_for_class(BasicConstraints).value
        usage = issuer.extensions.get_extension_for_class(KeyUsage).value
    except ExtensionNotFound:
        return False
    if not constraints.ca or not usage.key_cert_sign:
        return False
    if constraints.path_length is not None and constraints.path_length < below:
        return False
    try:
        subject.verify_directly_issued_by(issuer)
    except (*_NOT_READABLE, InvalidSignature):
        return False
    return True


def _subject(certificate: Certificate) -> str:
    return certificate.subject.rfc4514_string() or "no name"
