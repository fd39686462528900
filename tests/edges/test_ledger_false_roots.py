"""Provably false roots: whoever proves one gets the liar's stake slashed, and no proof can be made against an honest root."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ledger_rights import issuing, meter, reading, salted
from ledger_world import CHAINS, World, chain_of, stranger
from walras.errors import LedgerError
from walras.ledger import attestation_digest, correction_digest
from walras.ledger.calls import Contract, create
from walras.ledger.false_roots import Falsehood, Forged, MeterTwice, WrongSlot, find_falsehood, prove_false
from walras.ledger.leaf_proofs import ShownLeaf, meter_key, shown_leaf
from walras.ledger.oracle_bond import SignedRoot, stake_of
from walras.metering import sign_reading, tree_over
from walras.metering.correction import Correction, Reason, encode_correction
from walras.metering.slot_readings import encode_substitute

STAKE, SHARE_BP, SLOT = 1_000_000, 1_000, 9
KEYS = {meter_key(meter(account).public_key()).key_id: meter(account).public_key() for account in range(4)}
P256_PRIME = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF


class Oracles:
    """Four staked oracles, and the meters' register by which forgeries are judged."""

    def __init__(self, world: World) -> None:
        self.world, self.chain, self.keys = world, world.chain, world.keys
        body, now, operator = issuing(world), world.now, world.keys.operator
        terms = (world.addresses.settlement, body.meters.address, stranger().address, STAKE, 86_400, SHARE_BP)
        self.bond = create(self.chain, self.keys.admin, "OracleBond", *terms, timestamp=now)
        world.send(operator, "TestCurrency", "mint", operator.address, 9 * STAKE)
        world.send(operator, "TestCurrency", "approve", self.bond.address, 9 * STAKE)
        for index in range(4):
            self.bond.act(self.chain, operator, "bond", self.keys.oracle(index).address, STAKE, timestamp=now)
        self.registry = Contract("Registry", self.chain.chain_id, world.addresses.registry)
        self.registry.act(self.chain, self.keys.admin, "setOracleBond", self.bond.address, timestamp=now)

    def signed(self, oracle: int, leaves: tuple[bytes, ...], slot: int = SLOT) -> SignedRoot:
        root = tree_over(leaves).root
        digest = attestation_digest(self.chain.chain_id, self.world.addresses.settlement, slot, root)
        return SignedRoot(slot, root, self.keys.oracle(oracle).sign_digest(digest))

    def prove(self, oracle: int, leaves: tuple[bytes, ...], falsehood: Falsehood) -> None:
        signed = self.signed(oracle, leaves)
        prove_false(self.chain, self.bond, self.keys.member(1), signed, falsehood, timestamp=self.world.now)

    def stake(self, oracle: int) -> int:
        return stake_of(self.chain, self.bond, self.keys.oracle(oracle).address)


@pytest.fixture(scope="module", params=CHAINS)
def oracles(request: pytest.FixtureRequest) -> Iterator[Oracles]:
    with chain_of(request.param) as chain:
        yield Oracles(World(chain, members=4))


def edited(account: int, slot: int) -> bytes:
    """A value that a person answers for, in the place of what the meter of `account` measured."""
    kid = meter_key(meter(account).public_key()).key_id
    return salted(encode_correction(kid, slot, Correction(account, (0, 0), (0, 7), Reason.METER_FAULT, "A. Clerk")))


def refused(name: str) -> object:
    return pytest.raises(LedgerError, match=rf"refused: {name}\(")


def forged(leaf: bytes) -> bytes:
    """The same reading with another low-s signature: canonical, and nobody's."""
    return leaf[:-1] + bytes([leaf[-1] ^ 1])


HONEST = (
    *(reading(account, SLOT, 100 * account) for account in range(3)),
    salted(encode_substitute(meter_key(meter(3).public_key()).key_id, SLOT, 7, 0, 16)),
)


BARE = sign_reading(meter(0), SLOT - 1, 0, 5, SLOT)  # of another slot, but without a salt it is no leaf


def test_each_kind_of_false_root_is_found_and_costs_stake_and_seat(oracles: Oracles) -> None:
    cases: list[tuple[type, tuple[bytes, ...]]] = [
        (WrongSlot, (*HONEST[:2], reading(2, SLOT - 1, 5), HONEST[3])),
        (Forged, (HONEST[0], forged(HONEST[1]), *HONEST[2:])),
        (MeterTwice, (*HONEST, edited(0, SLOT))),
    ]
    for oracle, (kind, leaves) in enumerate(cases):
        found = find_falsehood(SLOT, leaves, KEYS)
        assert isinstance(found, kind)
        before = oracles.world.tokens(oracles.keys.member(1).address)
        oracles.prove(oracle, leaves, found)
        reward = oracles.world.tokens(oracles.keys.member(1).address) - before
        assert (reward, oracles.stake(oracle)) == (STAKE * SHARE_BP // 10_000, 0)
        assert not oracles.registry.view(oracles.chain, "isOracle", oracles.keys.oracle(oracle).address)[0]
    assert oracles.stake(3) == STAKE


def test_no_proof_can_be_made_against_an_honest_root(oracles: Oracles) -> None:
    """Everything that looks like one: true leaves, a leaf of elsewhere, another key, a point off the curve."""
    assert find_falsehood(SLOT, HONEST, KEYS) is None
    tree = tree_over(HONEST)
    shown = [shown_leaf(leaf, tree.proof(index)) for index, leaf in enumerate(HONEST)]
    keys = [meter_key(meter(account).public_key()) for account in range(4)]
    off_curve = replace(keys[0], y=((int.from_bytes(keys[0].y, "big") + 2) % P256_PRIME).to_bytes(32, "big"))
    mirrored = replace(keys[0], y=(P256_PRIME - int.from_bytes(keys[0].y, "big")).to_bytes(32, "big"))
    elsewhere = reading(0, SLOT + 1, 1)
    attempts: list[tuple[str, Falsehood]] = [
        ("SlotIsRight", WrongSlot(shown[0])),
        ("SlotIsRight", WrongSlot(shown[3])),
        ("NotUnderRoot", WrongSlot(replace(shown[0], leaf=elsewhere))),
        ("NotUnderRoot", WrongSlot(replace(shown[0], lefts=1))),
        ("NotAReading", WrongSlot(ShownLeaf(BARE, (), 0))),
        ("SignatureHolds", Forged(shown[0], keys[0])),
        ("NotItsKey", Forged(shown[0], keys[1])),
        ("NotItsKey", Forged(shown[0], off_curve)),
        ("NotItsKey", Forged(shown[0], mirrored)),
        ("NotSigned", Forged(shown[3], keys[3])),
        ("NotUnderRoot", Forged(replace(shown[0], leaf=forged(HONEST[0])), keys[0])),
        ("SameLeaf", MeterTwice(shown[0], shown[0])),
        ("DifferentMeters", MeterTwice(shown[0], shown[1])),
        ("NotUnderRoot", MeterTwice(shown[0], replace(shown[1], leaf=reading(0, SLOT, 9)))),
    ]
    for name, falsehood in attempts:
        leaves = (BARE,) if name == "NotAReading" else HONEST
        with refused(name):
            oracles.prove(3, leaves, falsehood)
    assert oracles.stake(3) == STAKE


def test_a_leaf_shown_at_two_places_is_still_one_leaf(oracles: Oracles) -> None:
    """The last of three leaves has the same siblings as the last of two: places prove nothing, so two of them convict nobody."""
    leaves = HONEST[:3]
    tree = tree_over(leaves)
    last = shown_leaf(leaves[2], tree.proof(2))
    assert last.siblings == (tree.levels[1][0],)
    with refused("SameLeaf"):
        oracles.prove(3, leaves, MeterTwice(last, replace(last)))


def test_the_root_must_be_the_oracles_own_word_for_that_slot(oracles: Oracles) -> None:
    leaves = (*HONEST[:2], reading(2, SLOT - 1, 5), HONEST[3])
    found = find_falsehood(SLOT, leaves, KEYS)
    assert found is not None
    signed = oracles.signed(3, leaves, slot=SLOT + 1)
    with refused("NothingToSlash"):  # signed for another slot: here it is nobody's signature
        prove_false(oracles.chain, oracles.bond, stranger(), replace(signed, slot=SLOT), found, timestamp=oracles.world.now)
    assert oracles.stake(3) == STAKE


def test_a_false_root_of_a_correction_convicts_too_and_only_as_that_correction(oracles: Oracles) -> None:
    leaves = (*HONEST[:2], reading(2, SLOT - 1, 5), HONEST[3])
    found = find_falsehood(SLOT, leaves, KEYS)
    assert found is not None
    root = tree_over(leaves).root
    digest = correction_digest(oracles.chain.chain_id, oracles.world.addresses.settlement, SLOT, 2, root)
    signed = SignedRoot(SLOT, root, oracles.keys.oracle(3).sign_digest(digest), 2)
    for revision in (0, 1, 3):
        with refused("NothingToSlash"):
            shown = replace(signed, revision=revision)
            prove_false(oracles.chain, oracles.bond, stranger(), shown, found, timestamp=oracles.world.now)
    assert oracles.stake(3) == STAKE
    prove_false(oracles.chain, oracles.bond, stranger(), signed, found, timestamp=oracles.world.now)
    assert oracles.stake(3) == 0


def test_a_forgery_of_a_meter_that_is_not_registered_cannot_be_shown() -> None:
    leaves = (forged(HONEST[0]),)
    assert find_falsehood(SLOT, leaves, {}) is None
    assert isinstance(find_falsehood(SLOT, leaves, KEYS), Forged)
