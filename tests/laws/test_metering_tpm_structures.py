"""A recorded enrolment is judged without any TPM; whatever is cut off, longer or changed in one bit is refused, and by name."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.errors import InputError, MeteringError
from walras.metering.identity import did_of, verify
from walras.metering.tpm import (
    Attested,
    EnrolmentRefusal,
    Evidence,
    Firmware,
    Offer,
    Offered,
    Policy,
    Statement,
    check_evidence,
    check_offer,
    read_attest,
    read_nv_public,
    read_public,
    read_signature,
)
from walras.metering.tpm.challenge import kdfa, make_credential

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECRET, NONCE = b"\x01" * 32, b"\x03" * 32
FIRMWARE = Firmware("as started", tuple((register, bytes(32)) for register in (0, 4, 7)))
STATEMENTS = ("certified", "quoted", "counted")


@cache
def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "tpm_enrolment.json").read_text())
    return found


def policy() -> Policy:
    return Policy((bytes.fromhex(recorded()["root"]),), (bytes.fromhex(recorded()["intermediate"]),), (FIRMWARE,))


def offer() -> Offer:
    return Offer(**{name: bytes.fromhex(value) for name, value in recorded()["offer"].items()})


def evidence() -> Evidence:
    kept = recorded()["evidence"]
    statements = {name: Statement(*(bytes.fromhex(kept[name][part]) for part in ("attest", "signature"))) for name in STATEMENTS}
    return Evidence(secret=bytes.fromhex(kept["secret"]), **statements)


def judged(shown: Offer, answer: Evidence) -> Attested | EnrolmentRefusal:
    checked = check_offer(shown, policy(), NOW)
    return checked if isinstance(checked, EnrolmentRefusal) else check_evidence(checked, SECRET, NONCE, answer, (FIRMWARE,))


def test_a_recorded_enrolment_is_attested() -> None:
    attested = judged(offer(), evidence())
    assert isinstance(attested, Attested)
    assert (attested.firmware, attested.measurement, attested.counter) == (
        "as started",
        FIRMWARE.measurement,
        recorded()["counter"],
    )
    assert did_of(attested.key).startswith("did:key:zDn")


READERS = {
    "endorsement": (read_public, lambda: offer().endorsement),
    "attestation": (read_public, lambda: offer().attestation),
    "key": (read_public, lambda: offer().key),
    "counter": (read_nv_public, lambda: offer().counter),
    "certified": (read_attest, lambda: evidence().certified.attest),
    "quoted": (read_attest, lambda: evidence().quoted.attest),
    "counted": (read_attest, lambda: evidence().counted.attest),
    "signature": (read_signature, lambda: evidence().quoted.signature),
}


@pytest.mark.parametrize("name", READERS)
def test_a_structure_is_read_to_its_last_byte_and_not_one_further(name: str) -> None:
    read, recording = READERS[name]
    whole = recording()
    read(whole)
    for end in range(len(whole)):
        with pytest.raises(MeteringError, match=r"ends at byte|, not 0x|type 0x|handle 0x"):
            read(whole[:end])
    with pytest.raises(MeteringError, match="1 bytes behind the end"):
        read(whole + b"\x00")
    with pytest.raises(MeteringError, match="at most 2048"):
        read(whole + bytes(2048))


@pytest.mark.parametrize("name", READERS)
@given(noise=st.data())
@settings(max_examples=60, deadline=None)
def test_noise_is_refused_with_an_error_of_ours_or_read(name: str, noise: st.DataObject) -> None:
    read, recording = READERS[name]
    changed = bytearray(recording())
    for _ in range(noise.draw(st.integers(1, 4))):
        changed[noise.draw(st.integers(0, len(changed) - 1))] = noise.draw(st.integers(0, 255))
    at = noise.draw(st.integers(0, len(changed)))
    data = bytes(changed[:at]) + noise.draw(st.binary(max_size=8)) + bytes(changed[at:])
    try:
        found = read(data)  # type: ignore[operator]
    except MeteringError:
        return
    assert read(data) == found  # type: ignore[operator]
    assert (found == read(recording())) is (data == recording())  # type: ignore[operator]
    with pytest.raises(MeteringError):
        read(data[:-1])  # type: ignore[operator]
    with pytest.raises(MeteringError):
        read(data + b"\x00")  # type: ignore[operator]


@given(part=st.sampled_from([field.name for field in fields(Offer)]), bit=st.integers(0, 2**20))
@settings(max_examples=150, deadline=None)
def test_no_bit_of_an_offer_can_be_changed(part: str, bit: int) -> None:
    """Refused; or the attestation key is called otherwise, and then its TPM does not open the challenge."""
    whole = bytearray(getattr(offer(), part))
    bit %= 8 * len(whole)
    whole[bit >> 3] ^= 1 << (bit & 7)
    changed = replace(offer(), **{part: bytes(whole)})
    if not isinstance(judged(changed, evidence()), EnrolmentRefusal):
        assert read_public(changed.attestation).name != read_public(offer().attestation).name


@given(name=st.sampled_from(STATEMENTS), part=st.sampled_from(["attest", "signature"]), bit=st.integers(0, 2**20))
@settings(max_examples=150, deadline=None)
def test_no_bit_of_a_statement_can_be_changed(name: str, part: str, bit: int) -> None:
    statement = getattr(evidence(), name)
    whole = bytearray(getattr(statement, part))
    bit %= 8 * len(whole)
    whole[bit >> 3] ^= 1 << (bit & 7)
    changed = replace(statement, **{part: bytes(whole)})
    refusal = judged(offer(), replace(evidence(), **{name: changed}))
    assert refusal in (EnrolmentRefusal.MALFORMED, EnrolmentRefusal.NOT_ATTESTED)


def test_of_the_two_signatures_of_a_statement_either_is_taken_and_a_reading_knows_one() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    quoted = evidence().quoted
    signature = read_signature(quoted.signature)
    other = signature[:32] + (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    flipped = Statement(quoted.attest, quoted.signature[:4] + b"\x00\x20" + other[:32] + b"\x00\x20" + other[32:])
    assert isinstance(judged(offer(), replace(evidence(), quoted=flipped)), Attested)
    checked = check_offer(offer(), policy(), NOW)
    assert isinstance(checked, Offered)
    canonical = [verify(checked.attestation_key, one, quoted.attest) for one in (signature, other)]
    assert sorted(canonical) == [False, True]


def opened(key: rsa.RSAPrivateKey, blob: bytes, encrypted_seed: bytes, name: bytes) -> bytes | None:
    """What a TPM does with a challenge, after Part 1: a slow twin of ActivateCredential with the cipher written out."""
    import hmac

    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    seed = key.decrypt(encrypted_seed, OAEP(MGF1(SHA256()), SHA256(), b"IDENTITY\x00"))
    mac, identity = blob[2:34], blob[34:]
    fixed = b"INTEGRITY\x00" + (256).to_bytes(4, "big")
    integrity = hmac.digest(seed, (1).to_bytes(4, "big") + fixed, "sha256")
    if not hmac.compare_digest(mac, hmac.digest(integrity, identity + name, "sha256")):
        return None
    fixed = b"STORAGE\x00" + name + (128).to_bytes(4, "big")
    cipher = Cipher(AES(hmac.digest(seed, (1).to_bytes(4, "big") + fixed, "sha256")[:16]), ECB()).encryptor()
    plain, before = b"", bytes(16)
    for at in range(0, len(identity), 16):
        block = identity[at : at + 16]
        plain += bytes(a ^ b for a, b in zip(block, cipher.update(before), strict=False))
        before = block
    return plain[2:]


def test_a_challenge_opens_for_the_key_it_names_and_for_no_other() -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = read_public(offer().attestation).name
    blob, encrypted_seed = make_credential(key.public_key(), name, SECRET, b"\x02" * 32)
    assert opened(key, blob, encrypted_seed, name) == SECRET
    assert opened(key, blob, encrypted_seed, read_public(offer().key).name) is None
    with pytest.raises(MeteringError, match="32 each"):
        make_credential(key.public_key(), name, SECRET[:-1], b"\x02" * 32)
    assert len(kdfa(bytes(32), b"STORAGE", name, 16)) == 16


def test_a_policy_without_roots_or_with_two_selections_of_registers_is_refused_with_both_faults() -> None:
    other = Firmware("other", ((1, bytes(32)),))
    with pytest.raises(InputError, match="2 faults"):
        Policy((), (), (FIRMWARE, other))
    for registers in ((), ((4, bytes(32)), (0, bytes(32))), ((24, bytes(32)),), ((0, bytes(31)),)):
        with pytest.raises(InputError, match="ascending"):
            Firmware("bad", registers)
