"""The path of an endorsement certificate: each link a true authority, in its time and depth, or the path is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from walras.metering.tpm.endorsement import EK_USAGE, certificate_fault
from walras.metering.tpm.structures import Public, read_public

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")


@cache
def endorsement() -> tuple[rsa.RSAPrivateKey, Public]:
    """An RSA key, and its public area by the standard template."""
    key = rsa.generate_private_key(65537, 2048)
    recorded = json.loads((Path(__file__).parents[1] / "golden" / "tpm_enrolment.json").read_text())["offer"]["endorsement"]
    area = bytes.fromhex(recorded)[:-256] + key.public_key().public_numbers().n.to_bytes(256, "big")
    return key, read_public(area)


@dataclass(frozen=True)
class Authority:
    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def certificate(
    subject: str,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer: str,
    by: ec.EllipticCurvePrivateKey,
    *extensions: tuple[x509.ExtensionType, bool],
    ends: datetime = NOW + 10 * DAY,
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = x509.CertificateBuilder(name(issuer), name(subject), key, 7, NOW - 10 * DAY, ends)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(by, SHA256())


def usage(*, signs: bool) -> tuple[x509.KeyUsage, bool]:
    return x509.KeyUsage(**dict.fromkeys(USAGES, False), key_cert_sign=signs, encipher_only=False, decipher_only=False), True


def authority(
    name: str,
    by: Authority | None = None,
    *,
    ca: bool = True,
    depth: int | None = None,
    signs: bool = True,
    ends: datetime = NOW + 10 * DAY,
) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, signing = (name, key) if by is None else (by.name, by.key)
    constraints = x509.BasicConstraints(ca=ca, path_length=depth if ca else None), True
    made = certificate(name, key.public_key(), issuer, signing, constraints, usage(signs=signs), ends=ends)
    return Authority(name, key, made)


def leaf(by: Authority, *more: tuple[x509.ExtensionType, bool], purpose: x509.ObjectIdentifier = EK_USAGE) -> bytes:
    extensions = ((x509.BasicConstraints(ca=False, path_length=None), True), (x509.ExtendedKeyUsage([purpose]), False), *more)
    made = certificate("tpm", endorsement()[0].public_key(), by.name, by.key, *extensions)
    return made.public_bytes(Encoding.DER)


def fault(certificate: bytes, between: list[Authority], root: Authority, now: datetime = NOW) -> str:
    return certificate_fault(certificate, [one.der for one in between], [root.der], endorsement()[1], now) or "none"


def test_a_path_of_authorities_holds_in_any_order_and_a_pinned_certificate_needs_none() -> None:
    root = authority("root", depth=1)
    upper = authority("upper", root, depth=0)
    assert fault(leaf(upper), [upper], root) == "none"
    assert fault(leaf(upper), [authority("stray"), root, upper], root) == "none"
    assert fault(leaf(root), [], root) == "none"
    pinned = leaf(authority("unknown"))
    assert certificate_fault(pinned, [], [pinned], endorsement()[1], NOW) is None


def test_a_certificate_that_is_no_authoritys_signs_no_other() -> None:
    root = authority("root")
    for impostor in (authority("upper", root, ca=False), authority("upper", root, signs=False)):
        assert "no trusted authority" in fault(leaf(impostor), [impostor], root)


def test_an_authority_stands_above_no_more_than_it_may() -> None:
    root = authority("root", depth=0)
    upper = authority("upper", root)
    assert "no trusted authority" in fault(leaf(upper), [upper], root)
    assert fault(leaf(root), [], root) == "none"
    chain = [authority("0")]
    for number in range(1, 8):
        chain.append(authority(str(number), chain[-1]))
    assert fault(leaf(chain[4]), chain[1:5], chain[0]) == "none"
    assert "longer than 6" in fault(leaf(chain[7]), chain[1:], chain[0])


def test_every_link_is_in_its_time() -> None:
    root = authority("root")
    upper = authority("upper", root, ends=NOW + DAY)
    token = leaf(upper)
    assert fault(token, [upper], root, NOW + DAY) == "none"
    assert "CN=upper is not valid" in fault(token, [upper], root, NOW + DAY + timedelta(seconds=1))
    assert "CN=tpm is not valid" in fault(token, [upper], root, NOW - 11 * DAY)


def test_a_name_alone_is_no_authority_and_what_is_critical_and_unknown_ends_the_path() -> None:
    root, namesake = authority("root"), authority("root")
    assert "no trusted authority" in fault(leaf(namesake), [], root)
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert "critical extension that is not known: 1.2.3.4" in fault(leaf(root, (unknown, True)), [], root)
    assert fault(leaf(root, (unknown, False)), [], root) == "none"


def test_the_leaf_is_for_an_endorsement_key_and_for_this_one() -> None:
    root = authority("root")
    assert "not for an endorsement key" in fault(leaf(root, purpose=x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")), [], root)
    other = rsa.generate_private_key(65537, 2048).public_key()
    purpose = (x509.ExtendedKeyUsage([EK_USAGE]), False)
    stranger = certificate("tpm", other, root.name, root.key, purpose).public_bytes(Encoding.DER)
    assert "another endorsement key" in fault(stranger, [], root)
    bare = certificate("tpm", endorsement()[0].public_key(), root.name, root.key).public_bytes(Encoding.DER)
    assert "no extended key usage" in fault(bare, [], root)
    assert "not RSA" in fault(
        certificate("tpm", root.key.public_key(), "root", root.key, purpose).public_bytes(Encoding.DER), [], root
    )


@pytest.mark.parametrize("bad", [b"", b"\x30\x03\x02\x01", bytes(100)])
def test_what_is_no_certificate_says_so(bad: bytes) -> None:
    assert "not a certificate" in fault(bad, [], authority("root"))
