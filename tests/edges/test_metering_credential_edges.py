"""Credentials hold only as the meter operator issued them, only in their time, and are read without a network."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey

from metering_world import GRID, KEYS, SEED, STRANGER
from walras.errors import InputError, MeteringError
from walras.metering.credential import (
    CredentialRefusal,
    MeterCredential,
    check_credential,
    issue,
    read_credential,
    registry_of_credentials,
)
from walras.metering.identity import derive_key, did_of, public_key_of, sign

ISSUER = derive_key(SEED, "meter operator")
ISSUER_PUBLIC = ISSUER.public_key()
CREDENTIAL = MeterCredential(
    device=did_of(KEYS[0].public_key()),
    member=3,
    node="bus-17",
    technology="pv+load",
    max_import_w=20_001,
    max_export_w=8_000,
    calibrated_until=datetime(2018, 6, 1, tzinfo=UTC),
    valid_from=datetime(2016, 1, 1, tzinfo=UTC),
    valid_until=datetime(2019, 1, 1, tzinfo=UTC),
    status_index=7,
)
TOKEN = issue(ISSUER, CREDENTIAL)


def unpack(part: str) -> dict[str, object]:
    loaded = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert isinstance(loaded, dict)
    return loaded


def pack(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def resigned(header: object, claims: object) -> str:
    """Any header and claims under the true issuer's signature."""
    signing_input = f"{pack(header)}.{pack(claims)}"
    signature = base64.urlsafe_b64encode(sign(ISSUER, signing_input.encode())).rstrip(b"=").decode()
    return f"{signing_input}.{signature}"


def test_a_credential_round_trips_and_repeats_to_the_byte() -> None:
    assert read_credential(TOKEN, ISSUER_PUBLIC) == CREDENTIAL
    assert issue(ISSUER, CREDENTIAL) == TOKEN


def test_the_token_says_what_the_w3c_form_asks() -> None:
    header, claims, _ = TOKEN.split(".")
    assert unpack(header)["alg"] == "ES256"
    assert unpack(header)["typ"] == "vc+jwt"
    assert unpack(claims)["validUntil"] == "2019-01-01T00:00:00Z"
    assert unpack(claims)["issuer"] == did_of(ISSUER_PUBLIC)


@pytest.mark.parametrize(
    ("now", "held"),
    [
        (CREDENTIAL.valid_from - timedelta(seconds=1), CredentialRefusal.NOT_YET_VALID),
        (CREDENTIAL.valid_from, CREDENTIAL),
        (CREDENTIAL.calibrated_until - timedelta(seconds=1), CREDENTIAL),
        (CREDENTIAL.calibrated_until, CredentialRefusal.CALIBRATION_EXPIRED),
        (CREDENTIAL.valid_until, CredentialRefusal.EXPIRED),
    ],
)
def test_it_holds_from_its_first_moment_to_before_its_last(now: datetime, held: object) -> None:
    assert check_credential(TOKEN, ISSUER_PUBLIC, now) == held


def test_a_stranger_cannot_issue() -> None:
    assert read_credential(issue(STRANGER, CREDENTIAL), ISSUER_PUBLIC) is CredentialRefusal.BAD_SIGNATURE
    header, claims, _ = TOKEN.split(".")
    other = unpack(claims) | {"issuer": did_of(STRANGER.public_key())}
    assert read_credential(resigned(unpack(header), other), ISSUER_PUBLIC) is CredentialRefusal.WRONG_ISSUER
    assert check_credential(issue(STRANGER, CREDENTIAL), ISSUER_PUBLIC, GRID.origin) is CredentialRefusal.BAD_SIGNATURE


def test_changing_any_character_of_the_token_is_refused() -> None:
    for at in range(0, len(TOKEN), 7):
        other = "A" if TOKEN[at] != "A" else "B"
        assert isinstance(read_credential(TOKEN[:at] + other + TOKEN[at + 1 :], ISSUER_PUBLIC), CredentialRefusal), at
        assert isinstance(read_credential(TOKEN[:at], ISSUER_PUBLIC), CredentialRefusal), at


def test_no_other_algorithm_is_accepted_whatever_the_header_says() -> None:
    claims = json.dumps(unpack(TOKEN.split(".")[1])).encode()
    shared = jws.serialize_compact({"alg": "HS256", "typ": "vc+jwt"}, claims, OctKey.import_key(b"k" * 32))
    assert isinstance(read_credential(shared, ISSUER_PUBLIC), CredentialRefusal)
    unsigned = f"{pack({'alg': 'none', 'typ': 'vc+jwt'})}.{TOKEN.split('.')[1]}."
    assert isinstance(read_credential(unsigned, ISSUER_PUBLIC), CredentialRefusal)


@pytest.mark.parametrize("change", ["extra", "subject", "type", "missing", "typ", "text", "negative", "time"])
def test_anything_but_exactly_the_known_claims_is_malformed_even_when_signed(change: str) -> None:
    header, claims = unpack(TOKEN.split(".")[0]), unpack(TOKEN.split(".")[1])
    subject = claims["credentialSubject"]
    assert isinstance(subject, dict)
    match change:
        case "extra":
            claims["admin"] = True
        case "subject":
            subject["bonus"] = 1
        case "type":
            claims["type"] = ["VerifiableCredential"]
        case "missing":
            del subject["node"]
        case "typ":
            header["typ"] = "JWT"
        case "text":
            subject["member"] = "3"
        case "negative":
            subject["maxImportW"] = -1
        case "time":
            claims["validFrom"] = "2016-01-01"
    assert read_credential(resigned(header, claims), ISSUER_PUBLIC) is CredentialRefusal.MALFORMED


def test_joserfc_signs_what_we_read() -> None:
    header, claims, _ = TOKEN.split(".")
    pem_key = ECKey.import_key(
        {
            "kty": "EC",
            "crv": "P-256",
            "x": _number(ISSUER_PUBLIC.public_numbers().x),
            "y": _number(ISSUER_PUBLIC.public_numbers().y),
            "d": _number(ISSUER.private_numbers().private_value),
        }
    )
    foreign = jws.serialize_compact(unpack(header), json.dumps(unpack(claims)).encode(), pem_key)
    assert read_credential(foreign, ISSUER_PUBLIC) == CREDENTIAL


def _number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()


def test_a_credential_names_all_its_faults_at_once() -> None:
    with pytest.raises(InputError) as caught:
        replace(CREDENTIAL, member=-1, node="", valid_from=datetime(2016, 1, 1))
    assert {fault.field for fault in caught.value.faults} == {"member", "node", "valid_from"}
    with pytest.raises(InputError, match="after valid_from"):
        replace(CREDENTIAL, valid_until=CREDENTIAL.valid_from)


@pytest.mark.parametrize(
    "did",
    [
        "did:web:example.org",
        "did:key:z",
        "did:key:zDn0",
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "did:key:z1" + CREDENTIAL.device.removeprefix("did:key:z"),
        CREDENTIAL.device[:-2] + "11",
    ],
)
def test_a_did_that_names_no_p256_key_is_an_error(did: str) -> None:
    with pytest.raises(MeteringError):
        public_key_of(did)


def test_a_registry_from_credentials_takes_the_shorter_time_and_whole_wh() -> None:
    registry = registry_of_credentials([TOKEN], ISSUER_PUBLIC, GRID)
    assert registry.max_import_wh.tolist() == [5_000]  # 20,001 W for a quarter of an hour, rounded down
    assert registry.max_export_wh.tolist() == [2_000]
    assert registry.valid_until_s.tolist() == [int(CREDENTIAL.calibrated_until.timestamp())]
    assert registry.member.tolist() == [3]


def test_a_registry_names_every_credential_that_does_not_hold() -> None:
    with pytest.raises(InputError) as caught:
        registry_of_credentials([TOKEN, issue(STRANGER, CREDENTIAL), "x"], ISSUER_PUBLIC, GRID)
    assert [(fault.where, fault.value) for fault in caught.value.faults] == [
        ("credential 1", "BAD_SIGNATURE"),
        ("credential 2", "MALFORMED"),
    ]


def test_a_seed_too_short_to_be_secret_is_refused() -> None:
    with pytest.raises(MeteringError, match="too short"):
        derive_key(b"short", "meter")
