"""Staked oracles: two roots for one slot cost the stake and the seat; nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest

from ledger_world import CHAINS, World, chain_of, stranger
from walras.errors import LedgerError
from walras.ledger import Transaction, attestation_digest, correction_digest, net_positions, next_slot, settle, sign_transaction
from walras.ledger.calls import Contract, create
from walras.ledger.oracle_bond import SignedRoot, bonded, bribe_floor, slash, stake_of

STAKE = 1_000_000
SHARE_BP = 1_000
UNBONDING_S = 86_400
NOBODY = "0x" + "00" * 20
ROOT_A, ROOT_B = b"\xaa" * 32, b"\xbb" * 32


class Bonds:
    """A ledger whose oracles are staked; funds come from the operator."""

    def __init__(self, world: World) -> None:
        self.world, self.chain, self.keys = world, world.chain, world.keys
        self.treasury = stranger().address
        settlement = world.addresses.settlement
        self.contract = self.made(settlement, NOBODY, self.treasury, STAKE, UNBONDING_S, SHARE_BP)
        self.registry = Contract("Registry", self.chain.chain_id, world.addresses.registry)
        assert world.send(self.keys.operator, "TestCurrency", "mint", self.keys.operator.address, 100 * STAKE).status == 1
        assert world.send(self.keys.operator, "TestCurrency", "approve", self.contract.address, 100 * STAKE).status == 1
        for index in range(4):
            self.bond(index, STAKE)
        self.registry.act(self.chain, self.keys.admin, "setOracleBond", self.contract.address, timestamp=world.now)

    def made(self, *arguments: object) -> Contract:
        return create(self.chain, self.keys.admin, "OracleBond", *arguments, timestamp=self.world.now)

    def bond(self, oracle: int, amount: int) -> None:
        address = self.keys.oracle(oracle).address
        self.contract.act(self.chain, self.keys.operator, "bond", address, amount, timestamp=self.world.now)

    def signed(self, oracle: int, slot: int, root: bytes) -> SignedRoot:
        digest = attestation_digest(self.chain.chain_id, self.world.addresses.settlement, slot, root)
        return SignedRoot(slot, root, self.keys.oracle(oracle).sign_digest(digest))

    def convict(self, oracle: int, slot: int = 9) -> None:
        first, second = self.signed(oracle, slot, ROOT_A), self.signed(oracle, slot, ROOT_B)
        slash(self.chain, self.contract, self.keys.member(1), first, second, timestamp=self.world.now)

    def refused(self, name: str) -> object:
        return pytest.raises(LedgerError, match=rf"refused: {name}\(")


@pytest.fixture(params=CHAINS)
def bonds(request: pytest.FixtureRequest) -> Iterator[Bonds]:
    with chain_of(request.param) as chain:
        yield Bonds(World(chain))


def test_one_lying_oracle_of_four_loses_stake_and_seat_and_the_slot_settles_without_it(bonds: Bonds) -> None:
    world, liar = bonds.world, bonds.keys.oracle(0).address
    reporter = bonds.keys.member(1).address
    bonds.convict(0)
    reward = STAKE * SHARE_BP // 10_000
    assert (world.tokens(reporter), world.tokens(bonds.treasury)) == (reward, 0)
    bonds.contract.act(bonds.chain, stranger(), "payTreasury", timestamp=world.now)
    assert world.tokens(bonds.treasury) == STAKE - reward
    with bonds.refused("NothingDue"):
        bonds.contract.act(bonds.chain, stranger(), "payTreasury", timestamp=world.now)
    assert stake_of(bonds.chain, bonds.contract, liar) == 0
    assert not bonded(bonds.chain, bonds.contract, liar)
    assert not bonds.registry.view(bonds.chain, "isOracle", liar)[0]
    slot = next_slot(bonds.chain, world.addresses)
    with_liar = world.settle_raw(slot, b"", world.signatures(slot, (0, 1, 2)))
    assert str(with_liar.refusal) == f"NotOracle(signer={liar.lower()})"
    empty = world.settlement(slot, net_positions([], [], []), oracles=(1, 2, 3))
    settle(bonds.chain, world.addresses, bonds.keys.operator, empty, timestamp=world.now)


def test_two_lying_oracles_of_four_stop_settlement_until_new_ones_are_appointed(bonds: Bonds) -> None:
    world = bonds.world
    bonds.convict(0)
    bonds.convict(1)
    slot = next_slot(bonds.chain, world.addresses)
    too_few = world.settle_raw(slot, b"", world.signatures(slot, (2, 3)))
    assert str(too_few.refusal) == "QuorumNotReached(given=2, threshold=3)"
    new = [bonds.keys.oracle(index).address for index in (2, 3, 4)]
    with bonds.refused("NotBonded"):
        bonds.registry.act(bonds.chain, bonds.keys.admin, "setOracles", new, 2, timestamp=world.now)
    bonds.bond(4, STAKE)
    bonds.registry.act(bonds.chain, bonds.keys.admin, "setOracles", new, 2, timestamp=world.now)
    assert world.settle_raw(slot, b"", world.signatures(slot, (2, 4))).status == 1


def test_a_convicted_oracle_never_comes_back(bonds: Bonds) -> None:
    bonds.convict(0)
    with bonds.refused("Convicted"):
        bonds.bond(0, STAKE)
    every = [bonds.keys.oracle(index).address for index in range(4)]
    with bonds.refused("NotBonded"):
        bonds.registry.act(bonds.chain, bonds.keys.admin, "setOracles", every, 3, timestamp=bonds.world.now)
    with bonds.refused("NothingToSlash"):
        bonds.convict(0, slot=10)


def test_only_two_roots_of_one_oracle_for_one_slot_convict(bonds: Bonds) -> None:
    now, reporter = bonds.world.now, bonds.keys.member(1)

    def attempt(first: SignedRoot, second: SignedRoot) -> None:
        slash(bonds.chain, bonds.contract, reporter, first, second, timestamp=now)

    own = bonds.signed(0, 5, ROOT_A)
    with bonds.refused("SameRoot"):
        attempt(own, own)
    with bonds.refused("DifferentSigners"):
        attempt(own, bonds.signed(1, 5, ROOT_B))
    with bonds.refused("DifferentSigners"):  # the second was signed for another slot
        attempt(own, bonds.signed(0, 6, ROOT_B))
    foreign = attestation_digest(bonds.chain.chain_id, bonds.world.addresses.registry, 5, ROOT_B)
    with bonds.refused("DifferentSigners"):  # ... or for another contract
        attempt(own, SignedRoot(5, ROOT_B, bonds.keys.oracle(0).sign_digest(foreign)))
    with bonds.refused("ECDSAInvalidSignatureLength"):
        attempt(own, SignedRoot(5, ROOT_B, b""))
    assert all(stake_of(bonds.chain, bonds.contract, bonds.keys.oracle(index).address) == STAKE for index in range(4))


def test_two_roots_for_one_correction_convict_as_well(bonds: Bonds) -> None:
    settlement = bonds.world.addresses.settlement

    def signature(revision: int, root: bytes) -> bytes:
        digest = correction_digest(bonds.chain.chain_id, settlement, 5, revision, root)
        return bonds.keys.oracle(2).sign_digest(digest)

    def attempt(second_revision: int) -> None:
        arguments = (5, 1, ROOT_A, signature(1, ROOT_A), ROOT_B, signature(second_revision, ROOT_B))
        bonds.contract.act(bonds.chain, bonds.keys.member(1), "slashCorrection", *arguments, timestamp=bonds.world.now)

    with bonds.refused("DifferentSigners"):  # a later correction may well have another root
        attempt(2)
    attempt(1)
    assert not bonds.registry.view(bonds.chain, "isOracle", bonds.keys.oracle(2).address)[0]


def test_a_stake_leaves_only_after_rotation_and_delay_and_is_at_stake_till_then(bonds: Bonds) -> None:
    world, admin = bonds.world, bonds.keys.admin
    oracles = [bonds.keys.oracle(index) for index in range(4)]
    for oracle in oracles:
        gift = Transaction(bonds.chain.chain_id, bonds.chain.nonce(admin.address), oracle.address, b"", 21_000, value=10**18)
        bonds.chain.send(sign_transaction(admin, gift), timestamp=world.now)

    def act(oracle: int, function: str) -> None:
        bonds.contract.act(bonds.chain, oracles[oracle], function, timestamp=world.now)

    with bonds.refused("StillAppointed"):
        act(3, "requestLeave")
    with bonds.refused("NotYet"):
        act(3, "withdrawStake")
    rest = [oracle.address for oracle in oracles[:2]]
    bonds.registry.act(bonds.chain, admin, "setOracles", rest, 2, timestamp=world.now)
    act(3, "requestLeave")
    act(2, "requestLeave")
    with bonds.refused("IsLeaving"):
        act(3, "requestLeave")
    with bonds.refused("IsLeaving"):
        bonds.bond(3, 1)
    world.now += UNBONDING_S // 2
    with bonds.refused("NotYet"):
        act(3, "withdrawStake")
    bonds.convict(2)  # long rotated out, and still answerable
    world.now += UNBONDING_S
    act(3, "withdrawStake")
    assert world.tokens(oracles[3].address) == STAKE
    for oracle in (2, 3):
        with bonds.refused("NothingBonded"):
            act(oracle, "withdrawStake")
    with bonds.refused("NothingBonded"):
        act(3, "requestLeave")


def test_turning_the_registry_to_another_bond_saves_no_liar(bonds: Bonds) -> None:
    bonds.registry.act(bonds.chain, bonds.keys.admin, "setOracleBond", NOBODY, timestamp=bonds.world.now)
    bonds.convict(0)
    assert bonds.contract.view(bonds.chain, "treasuryDue")[0] == STAKE - STAKE * SHARE_BP // 10_000


def test_only_the_bond_ejects_and_only_the_admin_names_it(bonds: Bonds) -> None:
    victim = bonds.keys.oracle(0).address
    for key in (bonds.keys.admin, bonds.keys.operator, stranger()):
        with bonds.refused("NotOracleBond"):
            bonds.registry.act(bonds.chain, key, "ejectOracle", victim, timestamp=bonds.world.now)
    with bonds.refused("AccessControlUnauthorizedAccount"):
        bonds.registry.act(bonds.chain, bonds.keys.operator, "setOracleBond", victim, timestamp=bonds.world.now)


def test_terms_that_would_pay_an_oracle_to_convict_itself_are_refused(bonds: Bonds) -> None:
    settlement = bonds.world.addresses.settlement
    with bonds.refused("ShareTooLarge"):
        bonds.made(settlement, NOBODY, bonds.treasury, STAKE, UNBONDING_S, 5_001)
    with bonds.refused("NoAddress"):
        bonds.made(settlement, NOBODY, NOBODY, STAKE, UNBONDING_S, 5_000)


def test_a_bribe_for_two_roots_must_burn_more_than_the_shared_oracles_stakes() -> None:
    """Every pair of quorums of size m among n shares at least 2m - n oracles, who then hold both signatures."""
    for n in range(1, 8):
        for m in range(n // 2 + 1, n + 1):
            quorums = [set(chosen) for chosen in combinations(range(n), m)]
            shared = min(len(one & other) for one in quorums for other in quorums)
            assert bribe_floor(n, m, STAKE) == shared * STAKE > 0
