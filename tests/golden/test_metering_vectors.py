"""Published vectors: RFC 6979 A.2.5, the did:key specification, the Certificate Transparency reference trees."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from multiformats import multibase, multicodec

from walras.metering import identity, merkle
from walras.metering.strict_cbor import Tagged, loads_strict

RFC6979_KEY = ec.derive_private_key(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1())
RFC6979_SHA256 = [  # RFC 6979 A.2.5, "With SHA-256"
    (
        b"sample",
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    ),
    (
        b"test",
        "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
        "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
    ),
]


@pytest.mark.parametrize(("message", "r_hex", "s_hex"), RFC6979_SHA256)
def test_the_nonce_is_that_of_rfc_6979(message: bytes, r_hex: str, s_hex: str) -> None:
    assert decode_dss_signature(RFC6979_KEY.sign(message, identity._SIGN)) == (int(r_hex, 16), int(s_hex, 16))


@pytest.mark.parametrize(("message", "r_hex", "s_hex"), RFC6979_SHA256)
def test_a_signature_is_the_rfc_6979_one_with_s_in_the_lower_half(message: bytes, r_hex: str, s_hex: str) -> None:
    signature = identity.sign(RFC6979_KEY, message)
    s = int(s_hex, 16)
    assert signature.hex().upper() == r_hex + f"{min(s, identity.ORDER - s):064X}"
    assert signature == identity.lower_s(bytes.fromhex(r_hex + s_hex))
    assert identity.verify(RFC6979_KEY.public_key(), signature, message)


def test_the_published_signature_with_high_s_is_not_canonical_and_refused() -> None:
    message, r_hex, s_hex = RFC6979_SHA256[0]
    assert not identity.verify(RFC6979_KEY.public_key(), bytes.fromhex(r_hex + s_hex), message)


DID_KEYS = [  # did:key specification (W3C CCG), section "P-256"
    (
        "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169",
        "fyNYMN0976ci7xqiSdag3buk-ZCwgXU4kz9XNkBlNUI",
        "hW2ojTNfH7Jbi8--CJUo3OCbH3y5n91g-IMA9MLMbTU",
    ),
    (
        "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv",
        "igrFmi0whuihKnj9R3Om1SoMph72wUGeFaBbzG2vzns",
        "efsX5b10x8yjyrj4ny3pGfLcY7Xby1KzgqOdqnsrJIM",
    ),
]


@pytest.mark.parametrize(("did", "x", "y"), DID_KEYS)
def test_published_did_keys_name_their_published_points(did: str, x: str, y: str) -> None:
    numbers = identity.public_key_of(did).public_numbers()
    assert numbers.x == int.from_bytes(base64.urlsafe_b64decode(x + "="), "big")
    assert numbers.y == int.from_bytes(base64.urlsafe_b64decode(y + "="), "big")
    assert identity.did_of(numbers.public_key()) == did


def test_multiformats_spells_a_did_key_as_we_do() -> None:
    key = identity.derive_key(b"sixteen bytes at least", "meter").public_key()
    wrapped = multicodec.wrap("p256-pub", identity.compressed_point(key))
    assert identity.did_of(key) == "did:key:" + multibase.encode(wrapped, "base58btc")


CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [  # the reference trees of Certificate Transparency (RFC 6962), 0 to 8 leaves
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("count", range(9))
def test_roots_are_those_of_certificate_transparency(count: int) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in CT_LEAVES[:count]]
    assert merkle.root_of(leaves).hex() == CT_ROOTS[count]


def test_keccak_is_the_one_of_the_evm() -> None:
    # keccak256("transfer(address,uint256)")[:4], the best-known selector; SHA3-256 differs
    assert merkle.keccak(b"transfer(address,uint256)")[:4].hex() == "a9059cbb"
    assert merkle.keccak(b"") != sha256(b"").digest()


@pytest.mark.parametrize(  # RFC 8949 Appendix A
    ("hexed", "value"),
    [
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1a000f4240", 1000000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("20", -1),
        ("3903e7", -1000),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("6449455446", "IETF"),
        ("83010203", [1, 2, 3]),
        ("a201020304", {1: 2, 3: 4}),
        ("c11a514b67b0", Tagged(1, 1363896240)),
    ],
)
def test_strict_cbor_reads_the_examples_of_rfc_8949(hexed: str, value: object) -> None:
    assert loads_strict(bytes.fromhex(hexed)) == value
