"""Identifiers on the chain: who controls, which key spoke when, what a thief can do before and after a key is revoked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ledger_world import CHAINS, START, chain_of, stranger
from metering_world import RULES, SEED
from walras.errors import InputError, LedgerError
from walras.ledger import Chain, LedgerKeys
from walras.ledger.calls import Contract
from walras.ledger.identifiers import create_identifier, deploy_registry, identifier_of, point_of, resolve
from walras.metering import Refusal, admit, derive_key, did_of, initial_state, public_key_of, registry_of, sign_reading
from walras.slots import SlotGrid

KEYS = LedgerKeys(bytes(range(32)))
OWNER, OTHER, GUARDIAN = KEYS.member(0), KEYS.member(1), KEYS.member(2)
DELAY = 86_400
FIRST, SECOND = derive_key(SEED, "did/first"), derive_key(SEED, "did/second")
NOW = START + 1_000


class Ids:
    def __init__(self, chain: Chain, recovery: str | None = None) -> None:
        self.chain = chain
        self.contract: Contract = deploy_registry(self.chain, KEYS.admin, DELAY, timestamp=START)
        self.did = create_identifier(self.chain, self.contract, OWNER, FIRST.public_key(), recovery, timestamp=NOW)
        self.id = identifier_of(self.contract, self.did)

    def act(self, key, function: str, *arguments, at: int):  # type: ignore[no-untyped-def]
        return self.contract.act(self.chain, key, function, self.id, *arguments, timestamp=at)

    def now(self):  # type: ignore[no-untyped-def]
        return resolve(self.chain, self.contract, self.did)


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    with chain_of(request.param) as one:
        yield one


def test_a_new_identifier_resolves_to_its_document_with_its_key(chain: Chain) -> None:
    ids = Ids(chain)
    found = ids.now()
    assert (found.controller, found.recovery, found.deactivated) == (OWNER.address, None, False)
    (method,) = found.document()["verificationMethod"]
    assert f"did:key:{method['publicKeyMultibase']}" == did_of(FIRST.public_key())
    assert public_key_of(f"did:key:{method['publicKeyMultibase']}") == FIRST.public_key()
    assert found.document()["authentication"] == [f"{ids.did}#key"]
    with pytest.raises(LedgerError, match="AlreadyCreated"):
        create_identifier(ids.chain, ids.contract, OWNER, FIRST.public_key(), None, timestamp=NOW + 1)
    other = create_identifier(ids.chain, ids.contract, OTHER, FIRST.public_key(), None, timestamp=NOW + 2)
    assert other != ids.did  # who knows a public key takes nobody's identifier with it
    assert ids.now().controller == OWNER.address


def test_a_rotated_key_speaks_for_its_own_time_to_the_second(chain: Chain) -> None:
    ids = Ids(chain)
    ids.act(OWNER, "rotate", *point_of(SECOND.public_key()), at=NOW + 100)
    found = ids.now()
    assert [found.key_at(time) for time in (NOW - 1, NOW, NOW + 99, NOW + 100, 2**40)] == [
        None,
        FIRST.public_key(),
        FIRST.public_key(),
        SECOND.public_key(),
        SECOND.public_key(),
    ]
    for time in (NOW - 1, NOW, NOW + 99, NOW + 100):
        on_chain = ids.contract.view(ids.chain, "keyAt", ids.id, time)
        expected = found.key_at(time)
        assert tuple(on_chain) == ((bytes(32), bytes(32)) if expected is None else point_of(expected))


def test_a_stolen_key_speaks_until_it_is_revoked_and_never_after(chain: Chain) -> None:
    ids = Ids(chain)
    grid = SlotGrid(datetime.fromtimestamp(START - START % 900, UTC), 15, "UTC")
    rules = type(RULES)(grid, deadline=RULES.deadline)
    slot = grid.slot_at(datetime.fromtimestamp(NOW, UTC)) + 1
    stolen = sign_reading(FIRST, slot, 0, 1_000, 7)

    def refused(at_slot: int, reading: bytes) -> dict[Refusal, int]:
        """Admission with the registry built from what the chain says at the end of the slot."""
        moment = grid.end(at_slot)
        key = ids.now().key_at(int(moment.timestamp()))
        keys = [] if key is None else [key]
        one = [0] * len(keys), [2**40] * len(keys), [5_000] * len(keys)
        registry = registry_of(keys, range(len(keys)), one[0], one[1], one[2], one[2])
        return admit(initial_state(len(keys)), registry, rules, [reading], moment)[2].counts()

    assert refused(slot, stolen) == {}  # nobody knows yet
    ids.act(OWNER, "revokeKey", at=int(grid.end(slot).timestamp()) + 1)
    later = sign_reading(FIRST, slot + 1, 0, 1_000, 8)
    assert refused(slot + 1, later) == {Refusal.UNKNOWN_DEVICE: 1}
    assert refused(slot, stolen) == {}  # what was signed in its time stays as it was
    ids.act(OWNER, "rotate", *point_of(SECOND.public_key()), at=int(grid.end(slot + 1).timestamp()))
    assert refused(slot + 2, sign_reading(FIRST, slot + 2, 0, 1_000, 9)) == {Refusal.UNKNOWN_DEVICE: 1}
    assert refused(slot + 2, sign_reading(SECOND, slot + 2, 0, 1_000, 1)) == {}
    assert ids.now().key_at(int(grid.end(slot + 1).timestamp()) - 1) is None  # between revocation and the new key nobody spoke


def test_a_lost_controller_is_recovered_after_the_delay_to_the_second_and_can_object(chain: Chain) -> None:
    ids = Ids(chain, GUARDIAN.address)
    for nobody in (OWNER, OTHER, stranger()):
        with pytest.raises(LedgerError, match="NotRecovery"):
            ids.act(nobody, "startRecovery", OTHER.address, at=NOW + 10)
    ids.act(GUARDIAN, "startRecovery", OTHER.address, at=NOW + 20)
    with pytest.raises(LedgerError, match="TooEarly"):
        ids.act(GUARDIAN, "finishRecovery", at=NOW + 20 + DELAY - 1)
    ids.act(OWNER, "stopRecovery", at=NOW + 20 + DELAY)
    with pytest.raises(LedgerError, match="NoRecoveryUnderWay"):
        ids.act(GUARDIAN, "finishRecovery", at=NOW + 21 + DELAY)
    ids.act(GUARDIAN, "startRecovery", OTHER.address, at=NOW + 30 + DELAY)
    ids.act(stranger(), "finishRecovery", at=NOW + 30 + 2 * DELAY)
    assert ids.now().controller == OTHER.address
    with pytest.raises(LedgerError, match="NotController"):
        ids.act(OWNER, "revokeKey", at=NOW + 40 + 2 * DELAY)
    ids.act(OTHER, "rotate", *point_of(SECOND.public_key()), at=NOW + 50 + 2 * DELAY)


def test_control_changes_when_the_other_side_accepts_and_only_then(chain: Chain) -> None:
    ids = Ids(chain)
    with pytest.raises(LedgerError, match="NotOffered"):
        ids.act(OTHER, "acceptControl", at=NOW + 10)
    ids.act(OWNER, "offerControl", OTHER.address, at=NOW + 20)
    assert ids.now().controller == OWNER.address
    with pytest.raises(LedgerError, match="NotOffered"):
        ids.act(stranger(), "acceptControl", at=NOW + 30)
    ids.act(OTHER, "acceptControl", at=NOW + 40)
    assert ids.now().controller == OTHER.address
    with pytest.raises(LedgerError, match="NotOffered"):
        ids.act(OTHER, "acceptControl", at=NOW + 50)


def test_a_recovery_address_ends_with_the_tenure_of_the_controller_that_named_it(chain: Chain) -> None:
    """Who sold a device and kept its guardian cannot take it back: neither begun before the handover nor after it."""
    ids = Ids(chain, GUARDIAN.address)
    ids.act(OWNER, "offerControl", OTHER.address, at=NOW + 10)
    ids.act(GUARDIAN, "startRecovery", OWNER.address, at=NOW + 20)
    ids.act(OTHER, "acceptControl", at=NOW + 30)
    assert (ids.now().controller, ids.now().recovery) == (OTHER.address, None)
    with pytest.raises(LedgerError, match="NoRecoveryUnderWay"):
        ids.act(GUARDIAN, "finishRecovery", at=NOW + 20 + DELAY)
    with pytest.raises(LedgerError, match="NotRecovery"):
        ids.act(GUARDIAN, "startRecovery", OWNER.address, at=NOW + 30 + DELAY)
    ids.act(OTHER, "setRecovery", OWNER.address, at=NOW + 40 + DELAY)  # the new controller's own choice
    ids.act(OWNER, "startRecovery", GUARDIAN.address, at=NOW + 50 + DELAY)
    ids.act(stranger(), "finishRecovery", at=NOW + 50 + 2 * DELAY)
    assert (ids.now().controller, ids.now().recovery) == (GUARDIAN.address, None)


@pytest.mark.parametrize("function", ["rotate", "revokeKey", "offerControl", "setRecovery", "stopRecovery", "deactivate"])
def test_only_the_controller_acts_and_nobody_once_it_is_deactivated(chain: Chain, function: str) -> None:
    ids = Ids(chain, GUARDIAN.address)
    arguments = {"rotate": point_of(SECOND.public_key()), "offerControl": (OTHER.address,), "setRecovery": (OTHER.address,)}
    with pytest.raises(LedgerError, match="NotController"):
        ids.act(OTHER, function, *arguments.get(function, ()), at=NOW + 10)
    ids.act(OWNER, "deactivate", at=NOW + 20)
    with pytest.raises(LedgerError, match="IsDeactivated"):
        ids.act(OWNER, function, *arguments.get(function, ()), at=NOW + 30)
    with pytest.raises(LedgerError, match="IsDeactivated"):
        ids.act(GUARDIAN, "startRecovery", OTHER.address, at=NOW + 40)
    found = ids.now()
    assert (found.deactivated, found.document()["verificationMethod"]) == (True, [])
    assert found.key_at(NOW + 19) == FIRST.public_key()
    assert found.key_at(NOW + 20) is None


def test_names_of_other_registries_and_identifiers_that_are_not_there_are_refused(chain: Chain) -> None:
    ids = Ids(chain)
    for wrong in ("did:key:zDn", ids.did.upper(), ids.did.replace("31337", "1"), ids.did[:-1], f"{ids.did}0"):
        with pytest.raises(InputError):
            resolve(ids.chain, ids.contract, wrong)
    with pytest.raises(LedgerError, match="no such identifier"):
        resolve(ids.chain, ids.contract, ids.did[:-64] + "0" * 64)
    with pytest.raises(LedgerError, match="NoSuchDid"):
        ids.contract.act(ids.chain, OWNER, "revokeKey", bytes(32), timestamp=NOW + 10)
    with pytest.raises(LedgerError, match="NoKey"):
        ids.act(OWNER, "rotate", bytes(32), bytes(32), at=NOW + 10)
    ids.act(OWNER, "rotate", bytes(32), bytes(31) + b"\x01", at=NOW + 20)
    with pytest.raises(LedgerError, match="not on P-256"):
        ids.now()
