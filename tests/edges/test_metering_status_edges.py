"""Status lists and selective disclosure: revocations stick, and a presentation shows what was chosen, once, to one verifier."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from jwcrypto.jwk import JWK
from sd_jwt.verifier import SDJWTVerifier

from metering_world import KEYS, SEED, STRANGER
from walras.errors import InputError, MeteringError
from walras.metering.credential import KeyAttestation, MeterCredential
from walras.metering.disclosure import (
    CLAIMS,
    Disclosed,
    check_presentation,
    issue_disclosable,
    present,
    salts_from,
)
from walras.metering.identity import derive_key, did_of
from walras.metering.jose import CredentialRefusal, b64, open_jwt, sign_jwt, unb64
from walras.metering.status_list import (
    BITS,
    MAX_BYTES,
    StatusList,
    empty_list,
    issue_list,
    newer_list,
    read_list,
    revoked_rows,
    with_revoked,
)

ISSUER = derive_key(SEED, "meter operator")
HOLDER = derive_key(SEED, "member")
FROM, UNTIL = datetime(2016, 6, 1, tzinfo=UTC), datetime(2016, 6, 2, tzinfo=UTC)
NOW = datetime(2016, 6, 1, 12, tzinfo=UTC)
NOBODY = empty_list(FROM, UNTIL)
SOME = with_revoked(NOBODY, [0, 7, 8, BITS - 1], FROM + timedelta(hours=1), UNTIL)
CREDENTIAL = MeterCredential(
    device=did_of(KEYS[0].public_key()),
    member=3,
    node="bus-17",
    technology="pv+load",
    max_import_w=20_000,
    max_export_w=8_000,
    calibrated_until=datetime(2018, 6, 1, tzinfo=UTC),
    valid_from=datetime(2016, 1, 1, tzinfo=UTC),
    valid_until=datetime(2019, 1, 1, tzinfo=UTC),
    status_index=9,
)
SALTS = salts_from(b"the issuer's secret for salts", CREDENTIAL.device)
ISSUED = issue_disclosable(ISSUER, CREDENTIAL, HOLDER.public_key(), SALTS)


def test_a_status_list_round_trips_and_its_stream_is_plain_gzip() -> None:
    token = issue_list(ISSUER, SOME)
    assert read_list(token, ISSUER.public_key(), NOW) == SOME
    claims = open_jwt(token, ISSUER.public_key(), "vc+jwt")
    assert isinstance(claims, dict)
    encoded = claims["credentialSubject"]["encodedList"]  # type: ignore[index]
    assert gzip.decompress(unb64(encoded[1:])) == SOME.bits


def test_a_list_compressed_by_somebody_else_is_read_too() -> None:
    claims = open_jwt(issue_list(ISSUER, SOME), ISSUER.public_key(), "vc+jwt")
    assert isinstance(claims, dict)
    claims["credentialSubject"]["encodedList"] = "u" + b64(gzip.compress(SOME.bits))  # type: ignore[index]
    assert read_list(sign_jwt(ISSUER, "vc+jwt", claims), ISSUER.public_key(), NOW) == SOME


@pytest.mark.parametrize("size", [0, BITS // 8 - 1, MAX_BYTES + 1, 100 * MAX_BYTES])
def test_a_list_too_short_or_a_stream_too_long_is_malformed(size: int) -> None:
    claims = open_jwt(issue_list(ISSUER, SOME), ISSUER.public_key(), "vc+jwt")
    assert isinstance(claims, dict)
    claims["credentialSubject"]["encodedList"] = "u" + b64(gzip.compress(bytes(size)))  # type: ignore[index]
    assert read_list(sign_jwt(ISSUER, "vc+jwt", claims), ISSUER.public_key(), NOW) is CredentialRefusal.MALFORMED


def test_index_zero_is_the_left_most_bit() -> None:
    assert [index for index in range(20) if SOME.is_revoked(index)] == [0, 7, 8]
    assert SOME.bits[:2] == b"\x81\x80"
    assert SOME.is_revoked(BITS - 1)
    assert revoked_rows(SOME, [1, 8, 2, 0]) == [1, 3]


def test_an_index_beyond_the_list_is_an_error_not_a_pass() -> None:
    for index in (-1, BITS):
        with pytest.raises(InputError, match="index"):
            SOME.is_revoked(index)
        with pytest.raises(InputError, match="index"):
            with_revoked(NOBODY, [index], FROM, UNTIL)


def test_a_list_ends_so_an_old_one_cannot_hide_a_revocation_for_ever() -> None:
    token = issue_list(ISSUER, NOBODY)
    assert read_list(token, ISSUER.public_key(), UNTIL - timedelta(seconds=1)) == NOBODY
    assert read_list(token, ISSUER.public_key(), UNTIL) is CredentialRefusal.EXPIRED
    assert read_list(token, ISSUER.public_key(), FROM - timedelta(seconds=1)) is CredentialRefusal.NOT_YET_VALID
    assert read_list(token, STRANGER.public_key(), NOW) is CredentialRefusal.BAD_SIGNATURE


def test_the_newer_list_wins_in_either_order_and_none_takes_a_revocation_back() -> None:
    assert newer_list(NOBODY, SOME) is newer_list(SOME, NOBODY) is SOME
    pardon = StatusList(NOBODY.bits, FROM + timedelta(hours=2), UNTIL)
    with pytest.raises(InputError) as caught:
        newer_list(SOME, pardon)
    assert [fault.field for fault in caught.value.faults] == ["bit 0", "bit 7", "bit 8", f"bit {BITS - 1}"]


def shown(presentation: str, **other: object) -> Disclosed | CredentialRefusal:
    expected = {"audience": "aggregator", "nonce": "n-1", "now": NOW, "status": NOBODY} | other
    return check_presentation(presentation, ISSUER.public_key(), **expected)  # type: ignore[arg-type]


def presented(*disclose: str) -> str:
    return present(ISSUED, HOLDER, disclose, "aggregator", "n-1", NOW)


def test_only_what_was_chosen_is_shown() -> None:
    presentation = presented("node", "technology")
    held = shown(presentation)
    assert isinstance(held, Disclosed)
    assert held.claims == {"node": "bus-17", "technology": "pv+load"}
    assert held.holder == did_of(HOLDER.public_key())
    readable = b"".join(base64.urlsafe_b64decode(p + "==") for part in presentation.split("~") for p in part.split(".")[:2])
    assert b"bus-17" in readable
    for hidden in (CREDENTIAL.device.encode(), b"20000", b"8000", b"max_import_w"):
        assert hidden not in readable
    assert shown(presented()).claims == {}  # type: ignore[union-attr]
    assert shown(presented(*CLAIMS)).claims["device"] == CREDENTIAL.device  # type: ignore[union-attr]


def test_an_independent_verifier_reads_the_same() -> None:
    key = JWK.from_pem(_pem())
    verifier = SDJWTVerifier(presented("node", "max_export_w"), lambda issuer, header: key)
    payload = verifier.get_verified_payload()
    assert (payload["node"], payload["max_export_w"]) == ("bus-17", 8_000)
    assert "member" not in payload


def _pem() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return ISSUER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_member_shows_that_the_key_was_attested_without_showing_which_key_or_whose() -> None:
    attested = replace(CREDENTIAL, attestation=KeyAttestation("meter 1.4", bytes(range(32))))
    issued = issue_disclosable(ISSUER, attested, HOLDER.public_key(), SALTS)
    seen = shown(present(issued, HOLDER, ["attestation"], "aggregator", "n-1", NOW))
    assert seen.claims == {"attestation": {"firmware": "meter 1.4", "measurement": bytes(range(32)).hex()}}  # type: ignore[union-attr]
    assert shown(presented("attestation")).claims == {"attestation": None}  # type: ignore[union-attr]
    assert len(issued.split("~")) == len(ISSUED.split("~"))  # who does not show it does not tell either


def test_the_digest_is_that_of_the_standards_example() -> None:
    from walras.metering.disclosure import _digest

    # RFC 9901 section 4.2.3: the disclosure of family_name "Möbius" and its digest
    assert _digest("WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0") == (
        "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"
    )


@pytest.mark.parametrize(
    ("other", "refusal"),
    [
        ({"audience": "somebody else"}, CredentialRefusal.NOT_BOUND),
        ({"nonce": "n-2"}, CredentialRefusal.NOT_BOUND),
        ({"now": NOW + timedelta(seconds=300)}, None),
        ({"now": NOW + timedelta(seconds=301)}, CredentialRefusal.NOT_BOUND),
        ({"status": with_revoked(NOBODY, [9], FROM, UNTIL)}, CredentialRefusal.REVOKED),
    ],
)
def test_a_presentation_holds_for_one_verifier_one_occasion_a_short_time_and_unrevoked(
    other: dict[str, object], refusal: CredentialRefusal | None
) -> None:
    held = shown(presented("node"), **other)
    assert isinstance(held, Disclosed) if refusal is None else held is refusal


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"valid_from": NOW + timedelta(seconds=1)}, CredentialRefusal.NOT_YET_VALID),
        ({"valid_until": NOW}, CredentialRefusal.EXPIRED),
        ({"calibrated_until": NOW}, CredentialRefusal.CALIBRATION_EXPIRED),
    ],
)
def test_a_presentation_holds_within_validity_and_calibration(changed: dict[str, datetime], refusal: CredentialRefusal) -> None:
    issued = issue_disclosable(ISSUER, replace(CREDENTIAL, **changed), HOLDER.public_key(), SALTS)  # type: ignore[arg-type]
    assert shown(present(issued, HOLDER, ["node"], "aggregator", "n-1", NOW)) is refusal


def test_claims_cannot_be_added_changed_repeated_or_taken_from_another_credential() -> None:
    other = replace(CREDENTIAL, node="bus-1", max_export_w=99_000)
    salts = salts_from(b"the issuer's secret for salts", "another")
    foreign = issue_disclosable(ISSUER, other, HOLDER.public_key(), salts).split("~")[3]
    token, mine, _ = presented("node").split("~")
    invented = b64(json.dumps([b64(b"0" * 16), "node", "bus-2"]).encode())
    for disclosures in ([foreign], [invented], [mine, mine], [mine, foreign]):
        forged = present("~".join([token, *disclosures, ""]), HOLDER, CLAIMS, "aggregator", "n-1", NOW)
        assert shown(forged) is CredentialRefusal.MALFORMED


def test_nobody_but_the_holder_presents_and_the_set_shown_is_under_their_signature() -> None:
    assert shown(present(ISSUED, STRANGER, ["node"], "aggregator", "n-1", NOW)) is CredentialRefusal.NOT_BOUND
    both = presented("node", "member").split("~")
    assert shown("~".join([both[0], both[1], both[3]])) is CredentialRefusal.NOT_BOUND
    assert shown(ISSUED) is CredentialRefusal.NOT_BOUND
    for broken in ("", "~", "~~", "x~y~z", ISSUED.split("~")[0]):
        assert shown(broken) is CredentialRefusal.MALFORMED, broken


def test_salts_must_be_long_and_different() -> None:
    for salts in ({}, SALTS | {"node": b"short"}, SALTS | {"node": SALTS["member"]}):
        with pytest.raises(InputError, match="salt"):
            issue_disclosable(ISSUER, CREDENTIAL, HOLDER.public_key(), salts)
    with pytest.raises(MeteringError, match="too short"):
        salts_from(b"short", "x")


def test_unknown_claims_cannot_be_asked_for() -> None:
    with pytest.raises(InputError) as caught:
        present(ISSUED, HOLDER, ["node", "income", "age"], "aggregator", "n-1", NOW)
    assert [fault.value for fault in caught.value.faults] == ["age", "income"]


def test_a_list_for_another_purpose_is_not_a_list_of_revocations() -> None:
    claims = open_jwt(issue_list(ISSUER, SOME), ISSUER.public_key(), "vc+jwt")
    assert isinstance(claims, dict)
    claims["credentialSubject"]["statusPurpose"] = "suspension"  # type: ignore[index]
    assert read_list(sign_jwt(ISSUER, "vc+jwt", claims), ISSUER.public_key(), NOW) is CredentialRefusal.MALFORMED
