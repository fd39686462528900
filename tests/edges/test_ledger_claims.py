"""Claims: minted from attested generation alone, once in all, alive for their interval; no watt-hour becomes two tokens."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace

import pytest

from ledger_rights import (
    LIFE,
    Delivered,
    certificates_of,
    claims_of,
    deliver,
    issuing,
    meter,
    move_on,
    reading,
    salted,
    settle_leaves,
)
from ledger_world import CHAINS, THRESHOLD, World, chain_of, funded, pair, stranger
from walras.errors import LedgerError
from walras.ledger import (
    Header,
    LedgerKeys,
    LedgerTerms,
    SlotSettlement,
    correction_transaction,
    deploy_ledger,
    keccak256,
    net_positions,
    next_sender,
    next_slot,
)
from walras.ledger.calls import Contract, create
from walras.ledger.certificates import issue
from walras.ledger.claims import ClaimRefusal, claim, claim_id, claimable_wh, held_wh, settled_root, use
from walras.ledger.issuance import admit_community, appoint_issuer, is_taken, register_meter
from walras.ledger.leaf_proofs import ShownLeaf, meter_key
from walras.metering import derive_key, tree_over
from walras.metering.slot_readings import encode_substitute

WINDOW = 4


class Claims:
    """A ledger with claims and certificates under one issuing body."""

    def __init__(self, world: World) -> None:
        self.world, self.chain, self.keys = world, world.chain, world.keys
        self.body = issuing(world)
        self.contract, self.certificates = claims_of(world, self.body), certificates_of(world, self.body)

    def claim(self, account: int, done: Delivered, *, leaf_of: int | None = None, contract: Contract | None = None) -> int:
        shown = done.shown(account if leaf_of is None else leaf_of)
        key = self.keys.member(account)
        return claim(self.chain, contract or self.contract, key, done.slot, done.settled, shown, timestamp=self.world.now)

    def show(self, done: Delivered, shown: ShownLeaf, account: int = 2) -> None:
        claim(self.chain, self.contract, self.keys.member(account), done.slot, done.settled, shown, timestamp=self.world.now)

    def act(self, account: int, function: str, *arguments: object) -> None:
        self.contract.act(self.chain, self.keys.member(account), function, *arguments, timestamp=self.world.now)

    def held(self, account: int, slot: int) -> int:
        return held_wh(self.chain, self.contract, self.keys.member(account).address, slot)


@pytest.fixture(scope="module", params=CHAINS)
def claims(request: pytest.FixtureRequest) -> Iterator[Claims]:
    with chain_of(request.param) as chain:
        yield Claims(World(chain, window=WINDOW))


def refused(name: str) -> object:
    return pytest.raises(LedgerError, match=rf"refused: {name}\(")


def test_generation_is_claimed_once_by_the_meters_owner_when_the_slot_is_final(claims: Claims) -> None:
    done = deliver(claims.world, {2: 1_500, 3: 700})
    with refused("NotFinal"):
        claims.claim(2, done)
    move_on(claims.world, WINDOW - 1)
    with refused("NotFinal"):
        claims.claim(2, done)
    move_on(claims.world, 1)
    with refused("NotOwner"):
        claims.claim(3, done, leaf_of=2)
    assert claims.claim(2, done) == 1_500
    assert (claims.held(2, done.slot), claims.held(3, done.slot)) == (1_500, 0)
    with refused("AlreadyClaimed"):
        claims.claim(2, done)
    assert claims.claim(3, done) == 700
    number = claim_id(claims.world.addresses.settlement, done.slot)
    assert claims.contract.view(claims.chain, "idOf", done.slot)[0] == number
    assert claims.contract.view(claims.chain, "mintedOf", number)[0] == 2_200


def test_only_a_measured_reading_of_that_slot_under_that_root_gives_a_claim(claims: Claims) -> None:
    """Twin: `claimable_wh` refuses by the same names."""
    world = claims.world
    earlier = deliver(world, {2: 5})
    slot = earlier.slot + 1
    substitute = salted(encode_substitute(meter_key(meter(1).public_key()).key_id, slot, 0, 400, 16))
    leaves = (reading(0, slot, 0), substitute, reading(2, slot - 1, 5), b"no reading", reading(4, slot, 90, quality=15))
    done = settle_leaves(world, slot, leaves, net_positions([], [], []))
    move_on(world, WINDOW)
    foreign = earlier.shown(2)
    cases = {
        ClaimRefusal.NOTHING_GENERATED: done.shown(0),
        ClaimRefusal.NOT_MEASURED: done.shown(1),
        ClaimRefusal.WRONG_SLOT: done.shown(2),
        ClaimRefusal.NOT_A_READING: done.shown(3),
        ClaimRefusal.NOT_UNDER_ROOT: foreign,
    }
    assert set(cases) == set(ClaimRefusal)
    for refusal, shown in cases.items():
        assert claimable_wh(slot, done.settled, shown) is refusal
        with refused(refusal.value):
            claims.show(done, shown)
    assert claimable_wh(slot, done.settled, done.shown(4)) == 90 == claims.claim(4, done)


def test_a_claim_needs_what_was_settled_and_settled_last(claims: Claims) -> None:
    world = claims.world
    done = deliver(world, {2: 900})
    for wrong in (
        replace(done, header=replace(done.header, journal_head=bytes(32))),
        replace(done, positions=pair(1, 2, 1, 1)),
    ):
        with refused("NotFinal"):
            claims.claim(2, wrong)
    leaves = tuple(reading(account, done.slot, 600 if account == 2 else 0) for account in range(world.members))
    header = Header(tree_over(leaves).root, bytes(32), bytes(32))
    empty = net_positions([], [], [])
    content = SlotSettlement(done.slot, header, empty, world.correction_signatures(done.slot, 1, header.readings_root))
    raw = correction_transaction(world.addresses, next_sender(world.chain, world.keys.operator), content)
    assert world.chain.send(raw, timestamp=world.now).status == 1
    move_on(world, WINDOW)
    corrected = Delivered(done.slot, leaves, header, empty)
    for wrong in (done, replace(corrected, positions=pair(1, 2, 1, 1))):
        with refused("NotWhatWasSettled"):
            claims.claim(2, wrong)
    assert claims.claim(2, corrected) == 600


def test_a_watt_hour_becomes_a_claim_or_a_certificate_never_both(claims: Claims) -> None:
    world = claims.world
    done = deliver(world, {2: 800, 3: 500}, net_positions([1, 2, 3], [8, -5, -3], [1_300, -800, -500]))
    move_on(world, WINDOW)
    key = claims.keys.member
    arguments = (done.slot, [done.record])
    assert claims.claim(2, done) == 800
    with refused("AlreadyIssued"):
        issue(claims.chain, claims.certificates, key(2), *arguments, timestamp=world.now)
    assert issue(claims.chain, claims.certificates, key(3), *arguments, timestamp=world.now) == 500
    with refused("AlreadyIssued"):
        claims.claim(3, done)
    settlement = world.addresses.settlement
    assert [is_taken(claims.chain, claims.body, settlement, done.slot, account) for account in (1, 2, 3)] == [False, True, True]


def test_a_second_issuer_knows_what_the_first_issued_and_one_not_appointed_issues_nothing(claims: Claims) -> None:
    world, admin = claims.world, claims.keys.admin
    done = deliver(world, {2: 800, 3: 500}, net_positions([1, 2, 3], [8, -5, -3], [1_300, -800, -500]))
    move_on(world, WINDOW)
    assert claims.claim(2, done) == 800
    with refused("AlreadyClaimed"):
        claims.claim(2, done, contract=claims_of(world, claims.body))
    second = certificates_of(world, claims.body)
    issue(claims.chain, claims.certificates, claims.keys.member(3), done.slot, [done.record], timestamp=world.now)
    for account in (2, 3):
        with refused("AlreadyIssued"):
            issue(claims.chain, second, claims.keys.member(account), done.slot, [done.record], timestamp=world.now)
    terms = (world.addresses.settlement, claims.body.issuance.address, LIFE, "")
    upstart = create(claims.chain, admin, "EnergyClaims", *terms, timestamp=world.now)
    with refused("NotIssuer"):
        claims.claim(2, done, contract=upstart)
    with refused("OwnableUnauthorizedAccount"):
        appoint_issuer(claims.chain, claims.body, claims.keys.operator, upstart, world.addresses, timestamp=world.now)
    with refused("AlreadyIssuer"):
        appoint_issuer(claims.chain, claims.body, admin, second, world.addresses, timestamp=world.now)


def test_a_watt_hour_settled_in_two_contracts_of_one_community_is_issued_once(claims: Claims) -> None:
    """An operator with two settlement contracts over one registry has the same readings attested and settled in both."""
    world, key = claims.world, claims.keys.member
    terms = (world.addresses.currency, world.addresses.registry, 0, WINDOW)
    second = create(claims.chain, claims.keys.admin, "Settlement", *terms, timestamp=world.now)
    shadow = copy(world)
    shadow.addresses = replace(world.addresses, settlement=second.address)
    certificates, elsewhere = certificates_of(shadow, claims.body), claims_of(shadow, claims.body)
    slot = next_slot(claims.chain, world.addresses)
    leaves = tuple(reading(account, slot, wh) for account, wh in enumerate((0, 0, 800, 500)))
    positions = net_positions([1, 2, 3], [0, 0, 0], [1_300, -800, -500])
    done, again = (settle_leaves(one, slot, leaves, positions) for one in (world, shadow))
    for one in (world, shadow):
        move_on(one, WINDOW)
    assert claims.claim(2, done) == 800
    with refused("AlreadyClaimed"):
        claims.claim(2, again, contract=elsewhere)
    with refused("AlreadyIssued"):
        issue(claims.chain, certificates, key(2), slot, [again.record], timestamp=world.now)
    assert issue(claims.chain, certificates, key(3), slot, [again.record], timestamp=world.now) == 500
    with refused("AlreadyIssued"):
        claims.claim(3, done)
    with refused("AlreadyIssued"):
        issue(claims.chain, claims.certificates, key(3), slot, [done.record], timestamp=world.now)
    for settlement in (world.addresses.settlement, second.address):
        assert [is_taken(claims.chain, claims.body, settlement, slot, account) for account in (1, 2, 3)] == [False, True, True]


def test_claims_are_used_in_their_interval_and_then_move_no_more(claims: Claims) -> None:
    world = claims.world
    done = deliver(world, {2: 1_000})
    late = deliver(world, {2: 50})
    move_on(world, WINDOW)
    claims.claim(2, done)
    seller, buyer = (claims.keys.member(account).address for account in (2, 4))
    number = claim_id(world.addresses.settlement, done.slot)
    claims.act(2, "safeTransferFrom", seller, buyer, number, 300, b"")
    use(claims.chain, claims.contract, claims.keys.member(4), done.slot, 100, "heat pump", timestamp=world.now)
    with refused("ERC1155InsufficientBalance"):
        claims.act(4, "use", done.slot, 201, "more than there is")
    with refused("NothingToUse"):
        claims.act(4, "use", done.slot, 0, "")
    with refused("NotExpired"):
        claims.act(5, "sweep", done.slot, buyer)
    assert next_slot(world.chain, world.addresses) == done.slot + LIFE  # the newest settled is the last in which it lives
    claims.act(2, "safeTransferFrom", seller, buyer, number, 1, b"")
    move_on(world, 1)
    with refused("HasExpired"):
        claims.act(2, "safeTransferFrom", seller, buyer, number, 1, b"")
    with refused("HasExpired"):
        claims.act(2, "use", done.slot, 1, "")
    claims.act(5, "sweep", done.slot, buyer)
    assert (claims.held(2, done.slot), claims.held(4, done.slot)) == (699, 0)
    with refused("NothingToUse"):
        claims.act(5, "sweep", done.slot, buyer)
    counts = [claims.contract.view(claims.chain, name, number)[0] for name in ("mintedOf", "usedOf", "expiredOf")]
    assert counts == [1_000, 100, 201]
    move_on(world, 1)
    with refused("HasExpired"):
        claims.claim(2, late)


def test_a_meter_stands_behind_one_account_of_one_community(claims: Claims) -> None:
    world, body, operator = claims.world, claims.body, claims.keys.operator
    registry = world.addresses.registry

    def enter(account: int, label: str, *, by: object = operator, at: str = registry) -> None:
        key = meter_key(derive_key(bytes(32), label).public_key())
        register_meter(claims.chain, body, by, at, account, key, timestamp=world.now)  # type: ignore[arg-type]

    enter(1, "second meter")
    assert body.meters.view(claims.chain, "metersOf", registry, 1)[0] == 2
    with refused("AlreadyRegistered"):
        enter(2, "second meter")
    with refused("NotOperator"):
        enter(2, "third meter", by=stranger())
    with refused("NoSuchAccount"):
        enter(world.members, "third meter")
    key = meter_key(meter(0).public_key())
    for wrong in (replace(key, y=key.x), replace(key, x=bytes(32), y=bytes(32))):
        with refused("NotAKey"):
            register_meter(claims.chain, body, operator, registry, 1, wrong, timestamp=world.now)
    terms = LedgerTerms((claims.keys.member(0).address,), tuple(claims.keys.oracle(i).address for i in range(4)), THRESHOLD, (0,))
    other = deploy_ledger(claims.chain, claims.keys, terms, timestamp=world.now).addresses
    with refused("NotAdmitted"):
        enter(0, "third meter", at=other.registry)
    with refused("OwnableUnauthorizedAccount"):
        admit_community(claims.chain, body, operator, other, timestamp=world.now)
    admit_community(claims.chain, body, claims.keys.admin, other, timestamp=world.now)
    with refused("AlreadyRegistered"):  # in another community
        enter(0, "second meter", at=other.registry)
    enter(0, "third meter", at=other.registry)


def test_a_reading_of_another_communitys_meter_gives_nothing_here(claims: Claims) -> None:
    """The same reading under two communities' roots: the meter is one community's, and only there it counts."""
    world = claims.world
    terms = LedgerTerms(
        tuple(claims.keys.member(account).address for account in range(3)),
        tuple(claims.keys.oracle(index).address for index in range(4)),
        THRESHOLD,
        (0, 0, 0),
        correction_window_slots=WINDOW,
    )
    other = World.__new__(World)
    other.chain, other.keys, other.members, other.now = claims.chain, claims.keys, 3, world.now
    other.deployment = deploy_ledger(claims.chain, claims.keys, terms, timestamp=world.now)
    other.addresses = other.deployment.addresses
    there = claims_of(other, claims.body)
    done = deliver(other, {2: 444})
    move_on(other, WINDOW)
    with refused("NotOurMeter"):
        claims.claim(2, done, contract=there)


def test_an_account_without_a_meter_gets_no_certificate() -> None:
    with chain_of("embedded") as chain:
        world = World(chain, window=WINDOW, members=3)
        body = issuing(world)
        newcomer = LedgerKeys(bytes(32)).member(0)
        assert world.send(world.keys.operator, "Registry", "registerMany", [newcomer.address]).status == 1
        contract = certificates_of(world, body)
        done = deliver(world, {}, net_positions([1, 3], [0, 0], [5, -5]))
        move_on(world, WINDOW)
        with refused("NoMeter"):
            issue(chain, contract, newcomer, done.slot, [done.record], timestamp=world.now)
        assert newcomer.address in funded()


def test_a_life_within_the_correction_window_is_refused(claims: Claims) -> None:
    for life in (0, WINDOW):
        terms = (claims.world.addresses.settlement, claims.body.issuance.address, life, "")
        with refused("LifeTooShort"):
            create(claims.chain, claims.keys.admin, "EnergyClaims", *terms, timestamp=claims.world.now)


def test_what_is_settled_is_named_by_header_and_positions() -> None:
    header = Header(b"\1" * 32, b"\2" * 32, b"\3" * 32)
    assert settled_root(header, net_positions([], [], [])).positions_hash == keccak256(b"")
