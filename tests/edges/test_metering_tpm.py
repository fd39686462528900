"""Enrolment of a device with a TPM: what holds is vouched for, and each way to cheat has its refusal. On emulated TPMs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from metering_world import RULES
from tpm_world import FIRMWARE, Emulated, emulated, maker, need_tpm
from walras.commands.enrol import seal_command
from walras.commands.secrets import read_secret
from walras.errors import InputError, MeteringError
from walras.metering import (
    Refusal,
    admit,
    admit_parcels,
    evidence_holds,
    evidence_of,
    initial_state,
    registry_of,
    sign_parcel,
    sign_reading,
)
from walras.metering.identity import derive_key, did_of, key_id, lower_s, sign, verify
from walras.metering.tpm import (
    Attested,
    EnrolmentRefusal,
    Evidence,
    Firmware,
    Offer,
    Offered,
    Statement,
    challenge,
    check_evidence,
    check_offer,
    read_public,
    read_signature,
)
from walras.service.keys import open_keys, open_tpm_key
from walras.service.tpm_device import ATTESTATION_KEY, FIRST_COUNTER, Tpm, TpmKey

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECRET, SEED, NONCE = (bytes([fill]) * 32 for fill in (1, 2, 3))
SOFTWARE = derive_key(b"a key that was made outside", "attacker")


@pytest.fixture(scope="module")
def tpm() -> Iterator[Emulated]:
    need_tpm()
    with emulated() as one:
        yield one


@pytest.fixture
def device(tpm: Emulated) -> Iterator[TpmKey]:
    key = open_tpm_key(tpm.place)
    yield key
    key.close()


def offered(offer: Offer) -> Offered:
    checked = check_offer(offer, maker().policy(), NOW)
    assert isinstance(checked, Offered), checked
    return checked


def answered(device: TpmKey, nonce: bytes = NONCE) -> tuple[Offered, Evidence]:
    checked = offered(device.offer())
    return checked, device.answer(challenge(checked, maker().policy(), SECRET, SEED, nonce))


def judged(offer: Offered, evidence: Evidence, *firmware: Firmware, secret: bytes = SECRET) -> Attested | EnrolmentRefusal:
    return check_evidence(offer, secret, NONCE, evidence, firmware or (FIRMWARE,))


def outside(public: bytes) -> bytes:
    """The public area of a key in software that claims to have been made in a TPM."""
    numbers = SOFTWARE.public_key().public_numbers()
    return public[:-68] + b"\x00\x20" + numbers.x.to_bytes(32, "big") + b"\x00\x20" + numbers.y.to_bytes(32, "big")


def by_software(statement: Statement) -> Statement:
    """The statement signed by the key in software."""
    signature = sign(SOFTWARE, statement.attest)
    return Statement(statement.attest, b"\x00\x18\x00\x0b\x00\x20" + signature[:32] + b"\x00\x20" + signature[32:])


def test_a_device_with_its_key_in_a_tpm_and_a_known_firmware_is_attested(device: TpmKey) -> None:
    offer, evidence = answered(device)
    before = device.next_counter()
    assert judged(offer, evidence) == Attested(device.public_key(), FIRMWARE.name, FIRMWARE.measurement, before - 1)


def test_a_signature_of_the_tpm_is_canonical_and_that_of_its_key(device: TpmKey) -> None:
    signatures = [sign(device, b"reading") for _ in range(8)]
    assert all(verify(device.public_key(), signature, b"reading") for signature in signatures)
    assert not verify(device.public_key(), signatures[0], b"readinh")


def test_key_and_counter_are_found_again_after_a_power_cut_and_the_counter_goes_on_above() -> None:
    need_tpm()
    with emulated() as tpm:
        device = open_tpm_key(tpm.place)
        did, last = did_of(device.public_key()), device.next_counter()
        for _ in range(40):  # more often than the TPM's lockout allows guesses
            tpm.kill()
            tpm.start()
            following = device.next_counter()  # over a connection that was lost
            assert following > last
            assert verify(device.public_key(), sign(device, b"between two cuts"), b"between two cuts")
            last = following
        assert verify(device.public_key(), sign(device, b"after"), b"after")
        device.close()
        again = open_tpm_key(tpm.place)
        assert did_of(again.public_key()) == did
        assert again.next_counter() > last
        again.close()


def test_the_keys_of_one_tpm_have_each_their_own_counter(tpm: Emulated) -> None:
    keys = [key for key in open_keys([f"{tpm.place}#{number}" for number in (5, 6)]) if isinstance(key, TpmKey)]
    first, second = keys
    assert did_of(first.public_key()) != did_of(second.public_key())
    counts = [first.next_counter() for _ in range(3)]
    assert counts == list(range(counts[0], counts[0] + 3))
    assert second.next_counter() > 0
    first.close()


def test_an_attestation_key_outside_the_tpm_cannot_open_the_challenge(device: TpmKey) -> None:
    claimed = replace(device.offer(), attestation=outside(device.offer().attestation))
    asked = challenge(offered(claimed), maker().policy(), SECRET, SEED, NONCE)
    with pytest.raises(MeteringError, match="integrity"):
        device.answer(asked)
    _, evidence = answered(device)
    forged = Evidence(bytes(32), *(by_software(part) for part in (evidence.certified, evidence.quoted, evidence.counted)))
    assert judged(offered(claimed), forged) is EnrolmentRefusal.WRONG_SECRET


def test_a_meter_key_made_outside_the_tpm_is_not_certified_by_it(device: TpmKey) -> None:
    offer, evidence = answered(device)
    claimed = replace(device.offer(), key=outside(device.offer().key))
    assert judged(offered(claimed), evidence) is EnrolmentRefusal.NOT_THIS_KEY
    name = read_public(claimed.key).name
    attest = evidence.certified.attest.replace(offer.key.name, name)
    assert (
        judged(offered(claimed), replace(evidence, certified=by_software(Statement(attest, b"")))) is EnrolmentRefusal.NOT_ATTESTED
    )


def test_another_tpm_cannot_open_the_challenge_nor_quote_in_place_of_the_first(device: TpmKey) -> None:
    offer, evidence = answered(device)
    asked = challenge(offer, maker().policy(), SECRET, SEED, NONCE)
    with emulated(maker().make_another()) as other:
        healthy = open_tpm_key(other.place)
        healthy.offer()
        with pytest.raises(MeteringError):
            healthy.answer(asked)
        its_offer = offered(healthy.offer())
        quoted = healthy.answer(challenge(its_offer, maker().policy(), SECRET, SEED, NONCE)).quoted
        healthy.close()
    assert judged(offer, replace(evidence, quoted=quoted)) is EnrolmentRefusal.NOT_ATTESTED


def test_a_quote_of_other_firmware_is_refused() -> None:
    need_tpm()
    with emulated() as tpm:
        device = open_tpm_key(tpm.place)
        offer, healthy = answered(device)
        lib = device._lib
        measured = lib.TPML_DIGEST_VALUES([lib.TPMT_HA(hashAlg=lib.TPM2_ALG.SHA256, digest=lib.TPMU_HA(sha256=b"\x66" * 32))])
        device._tpm.do(lambda esys: esys.pcr_extend(lib.ESYS_TR.PCR4, measured))
        _, evidence = answered(device)
        assert judged(offer, evidence) is EnrolmentRefusal.UNKNOWN_FIRMWARE
        assert isinstance(judged(offer, healthy), Attested)  # as of then: what the nonce is for
        other = Firmware("other registers", tuple((number, bytes(32)) for number in (1, 4, 7)))
        assert judged(offer, healthy, other) is EnrolmentRefusal.UNKNOWN_FIRMWARE
        device.close()


def test_evidence_of_an_earlier_occasion_is_refused(device: TpmKey) -> None:
    offer, old = answered(device, nonce=b"\x09" * 32)
    assert judged(offer, old) is EnrolmentRefusal.WRONG_NONCE
    assert judged(offer, old, secret=b"\x07" * 32) is EnrolmentRefusal.WRONG_SECRET
    _, fresh = answered(device)
    for part in ("certified", "quoted", "counted"):
        assert judged(offer, replace(fresh, **{part: getattr(old, part)})) is EnrolmentRefusal.WRONG_NONCE


def test_one_statement_does_not_stand_for_another(device: TpmKey) -> None:
    offer, evidence = answered(device)
    assert judged(offer, replace(evidence, quoted=evidence.certified)) is EnrolmentRefusal.MALFORMED
    assert judged(offer, replace(evidence, counted=evidence.quoted)) is EnrolmentRefusal.MALFORMED


def made(device: TpmKey, scheme: str, attributes: str) -> bytes:
    """The public area of another key that the device's TPM made."""
    lib = device._lib

    def primary(esys: Any) -> bytes:
        handle, public, *_ = esys.create_primary(
            lib.TPM2B_SENSITIVE_CREATE(), lib.TPM2B_PUBLIC.parse(scheme, attributes), lib.ESYS_TR.OWNER
        )
        esys.flush_context(handle)
        return bytes(public.publicArea.marshal())

    return device._tpm.do(primary)


@pytest.mark.parametrize(
    ("scheme", "attributes"),
    [
        ("ecc256:ecdsa-sha256:null", "fixedparent|sensitivedataorigin|userwithauth|sign"),
        ("ecc256:ecdsa-sha256:null", "sensitivedataorigin|userwithauth|sign"),
        ("ecc256:ecdsa-sha256:null", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|restricted"),
        ("ecc256:null:null", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"),
        ("ecc256:ecdh:null", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|decrypt"),
    ],
)
def test_a_key_that_can_leave_the_tpm_or_does_not_sign_readings_is_refused(device: TpmKey, scheme: str, attributes: str) -> None:
    area = bytearray(device.offer().key)
    try:
        area = bytearray(made(device, scheme, attributes))
    except MeteringError:  # the TPM itself does not make it: claim it was
        value = int(device._lib.TPMA_OBJECT.parse(attributes))
        area[4:8] = value.to_bytes(4, "big")
    refusal = check_offer(replace(device.offer(), key=bytes(area)), maker().policy(), NOW)
    assert refusal in (EnrolmentRefusal.KEY_CAN_LEAVE, EnrolmentRefusal.MALFORMED)


def test_an_attestation_key_that_signs_anything_is_refused(device: TpmKey) -> None:
    offer = device.offer()
    assert check_offer(replace(offer, attestation=offer.key), maker().policy(), NOW) is EnrolmentRefusal.NOT_AN_ATTESTATION_KEY
    assert check_offer(replace(offer, endorsement=offer.key), maker().policy(), NOW) is EnrolmentRefusal.NOT_AN_ENDORSEMENT_KEY


def test_only_a_trusted_makers_certificate_of_this_very_key_endorses(device: TpmKey) -> None:
    offer, policy = device.offer(), maker().policy()
    strangers = maker("stranger").policy()
    assert check_offer(offer, strangers, NOW) is EnrolmentRefusal.NOT_ENDORSED
    assert check_offer(offer, replace(policy, between=()), NOW) is EnrolmentRefusal.NOT_ENDORSED
    assert check_offer(offer, replace(policy, roots=strangers.roots, between=policy.between), NOW) is EnrolmentRefusal.NOT_ENDORSED
    assert check_offer(offer, policy, datetime(2001, 1, 1, tzinfo=UTC)) is EnrolmentRefusal.NOT_ENDORSED
    assert check_offer(replace(offer, certificate=policy.between[0]), policy, NOW) is EnrolmentRefusal.NOT_ENDORSED
    assert check_offer(replace(offer, certificate=offer.certificate[:-9]), policy, NOW) is EnrolmentRefusal.NOT_ENDORSED
    with emulated(maker().make_another()) as other:
        its = open_tpm_key(other.place)
        certificate = its.offer().certificate
        its.close()
    assert check_offer(replace(offer, certificate=certificate), policy, NOW) is EnrolmentRefusal.NOT_ENDORSED


def test_an_index_that_anyone_can_set_is_no_counter(device: TpmKey) -> None:
    offer = device.offer()
    plain = bytearray(offer.counter)
    plain[9] &= 0x0F  # TPMA_NV: the type's four bits
    assert check_offer(replace(offer, counter=bytes(plain)), maker().policy(), NOW) is EnrolmentRefusal.NOT_A_COUNTER
    other = bytearray(offer.counter)
    other[3] ^= 1
    _, evidence = answered(device)
    assert judged(offered(replace(offer, counter=bytes(other))), evidence) is EnrolmentRefusal.NOT_THIS_KEY


def test_a_counter_made_anew_goes_on_above_the_old_one_and_a_rolled_back_tpm_is_refused_as_replay(tmp_path: Path) -> None:
    need_tpm()
    with emulated() as tpm:
        device = open_tpm_key(tpm.place)
        registry = registry_of([device.public_key()], [0], [0], [2**40], [10_000], [10_000])
        state, grid = initial_state(1), RULES.grid

        def sent(slot: int) -> list[Refusal]:
            nonlocal state
            reading = sign_reading(device, slot, 100, 0, device.next_counter())
            state, _, refused = admit(state, registry, RULES, [reading], grid.end(slot))
            return list(refused.counts())

        assert sent(0) == []
        tpm.kill()
        shutil.copytree(tpm.state, tmp_path / "kept")
        tpm.start()
        assert sent(1) == []
        last = device.next_counter()
        device._tpm.do(lambda esys: esys.nv_undefine_space(device._tpm.handle(FIRST_COUNTER)))
        device.close()
        device = open_tpm_key(tpm.place)
        assert device.next_counter() > last
        assert sent(2) == []
        device.close()
        tpm.kill()
        shutil.rmtree(tpm.state)
        shutil.copytree(tmp_path / "kept", tpm.state)  # what a thief of the whole TPM's memory would do
        tpm.start()
        device = open_tpm_key(tpm.place)
        assert key_id(device.public_key()) in registry.index
        assert sent(3) == [Refusal.REPLAYED]
        device.close()


def test_an_hour_under_one_signature_of_the_tpm_is_admitted_and_each_reading_shown_by_its_proof(device: TpmKey) -> None:
    registry = registry_of([device.public_key()], [0], [0], [2**40], [10_000], [10_000])
    counters = [device.next_counter() for _ in range(4)]
    parcel = sign_parcel(device, range(4), [100, 200, 300, 400], [0] * 4, counters, [0] * 4)
    state, admitted, refused = admit_parcels(initial_state(1), registry, RULES, [parcel], RULES.grid.end(3))
    assert (admitted.import_wh.tolist(), refused.counts()) == ([100, 200, 300, 400], {})
    assert evidence_holds(evidence_of(parcel, 2), device.public_key())
    assert admit_parcels(state, registry, RULES, [parcel], RULES.grid.end(3))[2].counts() == {Refusal.REPLAYED: 4}


def test_what_cannot_be_reached_says_so_and_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    need_tpm()
    with pytest.raises(MeteringError, match="cannot be reached"):
        Tpm("swtpm:host=127.0.0.1,port=1")
    with pytest.raises(MeteringError, match="cannot be reached"):
        Tpm("nonsense")
    monkeypatch.setitem(__import__("sys").modules, "tpm2_pytss", None)
    with pytest.raises(MeteringError, match=r"walras\[tpm\]"):
        Tpm("swtpm:host=127.0.0.1,port=1")


def test_a_sealed_secret_is_given_out_by_that_tpm_under_that_firmware_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_tpm()
    secret, sealed = tmp_path / "secret", tmp_path / "sealed"
    secret.write_text("5a" * 32)
    with emulated() as tpm:
        seal_command(f"secret:{secret}", tpm.place, "0,4,7", sealed)
        tpm.kill()
        tpm.start()
        assert read_secret(sealed, "test") == b"\x5a" * 32
        assert b"\x5a" * 8 not in sealed.read_bytes()
        assert b"5a5a" not in sealed.read_bytes()
        with emulated(maker().make_another()) as other:
            moved = tmp_path / "moved"
            moved.write_bytes(sealed.read_bytes().replace(str(tpm.port).encode(), str(other.port).encode()))
            with pytest.raises(MeteringError, match="does not give the secret out"):
                read_secret(moved, "test")
        device = open_tpm_key(tpm.place)
        lib = device._lib
        measured = lib.TPML_DIGEST_VALUES([lib.TPMT_HA(hashAlg=lib.TPM2_ALG.SHA256, digest=lib.TPMU_HA(sha256=b"\x66" * 32))])
        device._tpm.do(lambda esys: esys.pcr_extend(lib.ESYS_TR.PCR4, measured))
        device.close()
        with pytest.raises(MeteringError, match="other firmware"):
            read_secret(sealed, "test")
    sealed.write_text("{}")
    with pytest.raises(InputError, match="walras key --seal"):
        read_secret(sealed, "test")
    with pytest.raises(InputError, match="3 faults"):
        seal_command("key.pem", "here", None, tmp_path / "other")


def test_a_tpm_without_a_makers_certificate_can_sign_but_is_not_enrolled(tmp_path: Path) -> None:
    need_tpm()
    (tmp_path / "blank").mkdir()
    with emulated(tmp_path / "blank") as tpm:
        device = open_tpm_key(tpm.place)
        assert verify(device.public_key(), sign(device, b"x"), b"x")
        with pytest.raises(MeteringError, match="no certificate"):
            device.offer()
        device.close()


def test_the_attestation_key_signs_nothing_that_looks_like_a_statement_of_the_tpm(device: TpmKey) -> None:
    _, evidence = answered(device)
    lib = device._lib

    def misuse(esys: Any) -> object:
        ticket = lib.TPMT_TK_HASHCHECK(tag=lib.TPM2_ST.HASHCHECK, hierarchy=lib.TPM2_RH.NULL)
        scheme = lib.TPMT_SIG_SCHEME(scheme=lib.TPM2_ALG.NULL)
        return esys.sign(device._tpm.handle(ATTESTATION_KEY), lib.TPM2B_DIGEST(os.urandom(32)), scheme, ticket)

    with pytest.raises(MeteringError):
        device._tpm.do(misuse)
    assert evidence.quoted.attest.startswith(b"\xffTCG")


def test_what_the_attestation_key_does_sign_from_outside_is_no_statement_of_the_tpm(device: TpmKey) -> None:
    offer, evidence = answered(device)
    lib = device._lib

    def signed(attest: bytes) -> Statement:
        """A restricted key signs a digest that its TPM made, of anything that does not begin as the TPM's own statements do."""

        def by_ticket(esys: Any) -> Statement:
            digest, ticket = esys.hash(attest, lib.TPM2_ALG.SHA256, lib.ESYS_TR.OWNER)
            scheme = lib.TPMT_SIG_SCHEME(scheme=lib.TPM2_ALG.NULL)
            made = esys.sign(device._tpm.handle(ATTESTATION_KEY), digest, scheme, ticket)
            return Statement(attest, bytes(made.marshal()))

        return device._tpm.do(by_ticket)

    with pytest.raises(MeteringError):
        signed(evidence.quoted.attest)
    forged = signed(b"\xffTCH" + evidence.quoted.attest[4:])
    assert verify(offer.attestation_key, lower_s(read_signature(forged.signature)), forged.attest)
    assert judged(offer, replace(evidence, quoted=forged)) is EnrolmentRefusal.MALFORMED
