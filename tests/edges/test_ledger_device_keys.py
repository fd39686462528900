"""A P-256 key from a TPM or a file on the chain: entered by the meter operator, and its signatures found to be its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from ledger_world import CHAINS, SEED, World, chain_of, stranger
from tpm_world import emulated, need_tpm
from walras.errors import LedgerError
from walras.ledger import Chain, LedgerKeys
from walras.ledger.calls import Contract, create
from walras.ledger.credentials import DeviceStatus, device_counts, device_record, device_signed, enter_device, registry_id
from walras.ledger.identifiers import create_identifier, deploy_registry, identifier_of, point_of, resolve
from walras.metering.identity import ORDER, Key, derive_key, did_of, key_id, sign
from walras.metering.reading import sign_reading, signed_part
from walras.service.keys import open_tpm_key

KEYS = LedgerKeys(SEED)
ISSUER = KEYS.member(1)
CREDENTIAL = sha256(b"credential").digest()
PRECOMPILED_GAS, PLAIN_GAS = 50_000, 350_000
"""What a check may cost at most as a transaction of its own: by the precompile at 0x100 (Osaka), and without it."""


@pytest.fixture(scope="module")
def tpm_key() -> Iterator[Key]:
    need_tpm()
    with emulated() as tpm:
        key = open_tpm_key(tpm.place)
        yield key
        key.close()


def in_memory() -> Key:
    return derive_key(b"sixteen bytes at least", "meter")


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    with chain_of(request.param) as one:
        yield one


def registry(chain: Chain) -> tuple[World, Contract, tuple[datetime, datetime]]:
    world = World(chain, members=2)
    devices = create(chain, KEYS.admin, "DeviceRegistry", world.addresses.registry, timestamp=world.now)
    devices.act(chain, KEYS.admin, "setMeterOperator", ISSUER.address, True, timestamp=world.now)
    return world, devices, (datetime.fromtimestamp(world.now, UTC), datetime.fromtimestamp(world.now + 1_000, UTC))


def test_a_reading_signed_in_a_tpm_is_verified_by_the_contract_and_a_changed_one_is_not(chain: Chain, tpm_key: Key) -> None:
    world, devices, valid = registry(chain)
    enter_device(chain, devices, ISSUER, tpm_key.public_key(), 1, CREDENTIAL, valid, timestamp=world.now)
    record = device_record(chain, devices, registry_id(tpm_key.public_key()))
    assert record is not None
    assert (record.account, record.status, record.credential_hash) == (1, DeviceStatus.ACTIVE, CREDENTIAL)
    reading = sign_reading(tpm_key, 7, 250, 0, 1)
    digest, signature = sha256(signed_part(reading)).digest(), reading[-64:]

    def signed(over: bytes = digest, by: bytes = signature, at: int = world.now) -> bool:
        return device_signed(chain, devices, tpm_key.public_key(), over, by, at)

    assert signed()
    assert not signed(over=sha256(signed_part(sign_reading(tpm_key, 7, 251, 0, 1))).digest())
    assert not signed(by=sign(in_memory(), signed_part(reading)))
    assert not signed(by=signature[:32] + (ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big"))
    assert [signed(at=world.now + at) for at in (-1, 0, 1_000, 1_001)] == [False, True, True, False]
    devices.act(chain, ISSUER, "setStatus", registry_id(tpm_key.public_key()), DeviceStatus.REVOKED, timestamp=world.now)
    assert not signed()


def test_an_identifier_speaks_by_its_tpms_key_until_the_device_is_lost_and_another_key_takes_its_place(
    chain: Chain, tpm_key: Key
) -> None:
    world = World(chain, members=2)
    owner, lost = KEYS.member(0), world.now + 100
    identifiers = deploy_registry(chain, KEYS.admin, 86_400, timestamp=world.now)
    did = create_identifier(chain, identifiers, owner, tpm_key.public_key(), None, timestamp=world.now)
    (method,) = resolve(chain, identifiers, did).document()["verificationMethod"]
    assert f"did:key:{method['publicKeyMultibase']}" == did_of(tpm_key.public_key())
    identifier = identifier_of(identifiers, did)
    identifiers.act(chain, owner, "revokeKey", identifier, timestamp=lost)
    assert resolve(chain, identifiers, did).document()["verificationMethod"] == []
    identifiers.act(chain, owner, "rotate", identifier, *point_of(in_memory().public_key()), timestamp=lost + 50)
    found = resolve(chain, identifiers, did)
    spoke = [found.key_at(time) for time in (lost - 1, lost + 10, lost + 60)]
    assert spoke == [tpm_key.public_key(), None, in_memory().public_key()]


@pytest.mark.parametrize("kind", CHAINS)
def test_what_a_check_costs_with_the_precompile_and_without_it(kind: str, tpm_key: Key) -> None:
    limit = {"anvil": PRECOMPILED_GAS, "embedded": PLAIN_GAS}[kind]
    with chain_of(kind) as chain:
        world, devices, valid = registry(chain)
        entered = enter_device(chain, devices, ISSUER, tpm_key.public_key(), 1, CREDENTIAL, valid, timestamp=world.now)
        digest = sha256(b"root of an hour's readings").digest()
        signature = sign(tpm_key, b"root of an hour's readings")
        asked = (digest, signature[:32], signature[32:], *point_of(tpm_key.public_key()), world.now)
        checked = devices.act(chain, ISSUER, "isSigned", *asked, timestamp=world.now)
        print(f"{kind}: enter {entered.gas_used:,} gas, check {checked.gas_used:,} gas")
        assert limit / 2 < checked.gas_used < limit
        assert entered.gas_used < 200_000


def test_a_point_off_the_curve_a_stranger_and_a_key_entered_twice_are_refused(chain: Chain) -> None:
    world, devices, valid = registry(chain)
    key = in_memory().public_key()
    x, y = point_of(key)
    since, until = (int(moment.timestamp()) for moment in valid)

    def refused(name: str, by: object, px: bytes, py: bytes) -> None:
        with pytest.raises(LedgerError, match=rf"refused: {name}\("):
            devices.act(chain, by, "enterKey", px, py, 1, CREDENTIAL, since, until, timestamp=world.now)  # type: ignore[arg-type]

    refused("NotAKey", ISSUER, x, x)
    refused("NotAKey", ISSUER, bytes(32), bytes(32))
    refused("NotMeterOperator", stranger(), x, y)
    assert not device_counts(chain, devices, registry_id(key), world.now)
    enter_device(chain, devices, ISSUER, key, 1, CREDENTIAL, valid, timestamp=world.now)
    refused("AlreadyEntered", ISSUER, x, y)
    assert registry_id(key)[:16] == key_id(key)


def test_a_device_entered_by_its_name_alone_has_no_signatures_on_the_chain(chain: Chain) -> None:
    world, devices, valid = registry(chain)
    key = in_memory()
    entry = (registry_id(key.public_key()), 1, CREDENTIAL, *(int(moment.timestamp()) for moment in valid))
    devices.act(chain, ISSUER, "enter", *entry, timestamp=world.now)
    assert device_counts(chain, devices, registry_id(key.public_key()), world.now)
    assert not device_signed(chain, devices, key.public_key(), sha256(b"m").digest(), sign(key, b"m"), world.now)
