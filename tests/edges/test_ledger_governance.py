"""Powers: an act needs a majority's signatures and happens once; what needs the admin waits in the open; gates hold at the door."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ledger_world import CHAINS, ORACLES, SEED, START, World, chain_of, pair, stranger
from walras.errors import InputError, LedgerError
from walras.ledger import Chain, LedgerKeys, LedgerTerms, artifact, deploy_ledger, next_slot, settle, signing_key
from walras.ledger.calls import Contract, create
from walras.ledger.credentials import DeviceStatus, GateList, closed_by, device_counts, device_record
from walras.ledger.governance import Proposal, accept_admin, act, act_digest, execute, next_act, propose

KEYS = LedgerKeys(SEED)
SEATS = [signing_key(SEED, f"council/{index}") for index in range(3)]
DELAY_S = 86_400


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    with chain_of(request.param) as one:
        yield one


class Governed:
    """A ledger whose admin's role was offered to the timelock of a council of three, two of whom act."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.now = chain, START
        terms = LedgerTerms(
            members=(KEYS.member(0).address, KEYS.member(1).address),
            oracles=tuple(KEYS.oracle(index).address for index in range(3)),
            threshold=2,
            deposits_nano=(0, 0),
            council=tuple(key.address for key in SEATS),
            council_threshold=2,
            timelock_s=DELAY_S,
        )
        self.addresses = deploy_ledger(chain, KEYS, terms, timestamp=START).addresses
        assert self.addresses.council is not None
        assert self.addresses.timelock is not None
        self.registry = Contract("Registry", chain.chain_id, self.addresses.registry)
        self.council = Contract("Council", chain.chain_id, self.addresses.council)
        self.timelock = Contract("Timelock", chain.chain_id, self.addresses.timelock)

    def propose(self, proposal: Proposal, signers: int = 2) -> None:
        parties = (self.council, self.timelock, SEATS[:signers], proposal, stranger())
        propose(self.chain, *parties, timestamp=self.now)

    def execute(self, proposal: Proposal) -> None:
        execute(self.chain, self.timelock, proposal, stranger(), timestamp=self.now)

    def taken_over(self) -> Governed:
        self.propose(accept_admin(self.registry.address))
        self.now += DELAY_S + 60
        self.execute(accept_admin(self.registry.address))
        return self


def test_the_admin_hands_over_to_the_timelock_and_has_no_power_afterwards(chain: Chain) -> None:
    governed = Governed(chain).taken_over()
    assert governed.registry.view(chain, "defaultAdmin")[0] == governed.timelock.address.lower()
    new = [KEYS.oracle(9).address]
    with pytest.raises(LedgerError, match="AccessControlUnauthorizedAccount"):
        governed.registry.act(chain, KEYS.admin, "setOracles", new, 1, timestamp=governed.now)
    rotation = Proposal(governed.registry.address, artifact("Registry").call("setOracles", new, 1))
    governed.propose(rotation)
    with pytest.raises(LedgerError, match="TimelockUnexpectedOperationState"):
        governed.execute(rotation)  # not yet
    governed.now += DELAY_S + 60
    governed.execute(rotation)
    assert governed.registry.view(chain, "isOracle", KEYS.oracle(9).address)[0]
    with pytest.raises(LedgerError, match="TimelockUnexpectedOperationState"):
        governed.execute(rotation)  # once


def test_the_council_dismisses_an_operator_after_the_delay(chain: Chain) -> None:
    governed = Governed(chain).taken_over()
    role = governed.registry.view(chain, "OPERATOR_ROLE")[0]
    dismissal = Proposal(governed.registry.address, artifact("Registry").call("revokeRole", role, KEYS.operator.address))
    governed.propose(dismissal)
    governed.now += DELAY_S + 60
    governed.execute(dismissal)
    with pytest.raises(LedgerError, match="NotOperator"):
        governed.registry.view(chain, "checkOperator", KEYS.operator.address)


def test_nobody_but_the_council_proposes_and_nobody_shortens_the_delay(chain: Chain) -> None:
    governed = Governed(chain).taken_over()
    proposal = Proposal(governed.registry.address, artifact("Registry").call("setGate", stranger().address))
    with pytest.raises(LedgerError, match="AccessControlUnauthorizedAccount"):
        governed.timelock.act(chain, KEYS.admin, "schedule", *proposal.as_arguments(), DELAY_S, timestamp=governed.now)
    hasty = artifact("Timelock").call("schedule", *proposal.as_arguments(), 0)
    with pytest.raises(LedgerError, match="TimelockInsufficientDelay"):
        act(chain, governed.council, SEATS[:2], governed.timelock.address, hasty, stranger(), timestamp=governed.now)
    direct = artifact("Timelock").call("updateDelay", 0)
    with pytest.raises(LedgerError, match="TimelockUnauthorizedCaller"):
        act(chain, governed.council, SEATS[:2], governed.timelock.address, direct, stranger(), timestamp=governed.now)


def test_an_act_needs_a_majority_of_seats_in_order_and_happens_once(chain: Chain) -> None:
    governed = Governed(chain)
    council, target = governed.council, governed.registry.address
    data = artifact("Registry").call("memberCount")
    with pytest.raises(LedgerError, match=r"NotEnoughSignatures\(given=1, threshold=2\)"):
        act(chain, council, SEATS[:1], target, data, stranger(), timestamp=START)
    with pytest.raises(LedgerError, match=r"NotSeated\("):
        act(chain, council, [SEATS[0], SEATS[1], stranger()], target, data, stranger(), timestamp=START)
    digest = act_digest(council, target, data, 0)
    assert council.view(chain, "actDigest", target, 0, data, 0)[0] == digest
    ordered = sorted(SEATS[:2], key=lambda key: int(key.address, 16))
    signatures = [key.sign_digest(digest) for key in ordered]
    for wrong, name in (
        (signatures[1] + signatures[0], "SignersNotSorted"),
        (signatures[0] * 2, "SignersNotSorted"),
        (signatures[0] + signatures[1][:-1], "MalformedSignatures"),
    ):
        with pytest.raises(LedgerError, match=name):
            council.act(chain, stranger(), "act", target, 0, data, wrong, timestamp=START)
    council.act(chain, stranger(), "act", target, 0, data, b"".join(signatures), timestamp=START)
    assert next_act(chain, council) == 1
    with pytest.raises(LedgerError, match=r"NotSeated|SignersNotSorted"):
        council.act(chain, stranger(), "act", target, 0, data, b"".join(signatures), timestamp=START)


def test_signatures_of_one_council_are_worth_nothing_to_another(chain: Chain) -> None:
    governed = Governed(chain)
    seats = [key.address for key in SEATS]
    other = create(chain, KEYS.admin, "Council", seats, 2, timestamp=START)
    data = artifact("Registry").call("memberCount")
    digest = act_digest(governed.council, governed.registry.address, data, 0)
    ordered = sorted(SEATS[:2], key=lambda key: int(key.address, 16))
    signatures = b"".join(key.sign_digest(digest) for key in ordered)
    with pytest.raises(LedgerError, match=r"NotSeated|SignersNotSorted"):
        other.act(chain, stranger(), "act", governed.registry.address, 0, data, signatures, timestamp=START)
    elsewhere = replace(governed.council, chain_id=chain.chain_id + 1)
    assert act_digest(elsewhere, governed.registry.address, data, 0) != digest


def test_seats_change_by_the_council_alone_and_stay_a_majority(chain: Chain) -> None:
    governed = Governed(chain)
    council = governed.council
    fresh = [SEATS[0].address, stranger().address]
    with pytest.raises(LedgerError, match="NotCouncil"):
        council.act(chain, stranger(), "setSeats", fresh, 2, timestamp=START)
    for members, threshold, name in (
        (fresh, 1, "BadThreshold"),
        (fresh, 3, "BadThreshold"),
        ([], 0, "BadThreshold"),
        (fresh[:1] * 2, 2, "BadSeat"),
        (["0x" + "00" * 20], 1, "BadSeat"),
    ):
        data = artifact("Council").call("setSeats", members, threshold)
        with pytest.raises(LedgerError, match=name):
            act(chain, council, SEATS[:2], council.address, data, stranger(), timestamp=START)
    data = artifact("Council").call("setSeats", fresh, 2)
    act(chain, council, SEATS[:2], council.address, data, stranger(), timestamp=START)
    assert list(council.view(chain, "seats")[0]) == [address.lower() for address in fresh]
    with pytest.raises(LedgerError, match="NotSeated"):
        act(chain, council, SEATS[:2], council.address, data, stranger(), timestamp=START)


def test_terms_of_a_council_are_checked_with_the_others() -> None:
    with pytest.raises(InputError) as caught:
        LedgerTerms((), tuple(KEYS.oracle(i).address for i in range(ORACLES)), 3, (), council=(stranger().address,) * 2,
                    council_threshold=1)  # fmt: skip
    assert [fault.field for fault in caught.value.faults] == ["council_threshold", "council"]


LISTS = (GateList("kyc", KEYS.admin.address), GateList("sanctions", KEYS.operator.address, denies=True))


def test_a_gate_keeps_out_whom_a_list_does_not_let_in_and_says_which(chain: Chain) -> None:
    world = World(chain, members=2)
    gate = create(chain, KEYS.admin, "ListGate", [one.as_arguments() for one in LISTS], timestamp=world.now)
    assert world.send(KEYS.admin, "Registry", "setGate", gate.address).status == 1
    new = stranger()
    reason = b"kyc".ljust(32, b"\0")
    refused = world.send(KEYS.operator, "Registry", "registerMany", [new.address])
    assert (refused.refusal.name, refused.refusal.arguments["reason"]) == ("GateClosed", reason)  # type: ignore[union-attr]
    until = world.now + 10_000
    gate.act(chain, KEYS.admin, "set", 0, [new.address], until, timestamp=world.now)
    gate.act(chain, KEYS.operator, "set", 1, [new.address], 2**63, timestamp=world.now)
    assert closed_by(chain, gate, new.address) == "sanctions"
    gate.act(chain, KEYS.operator, "set", 1, [new.address], 0, timestamp=world.now)
    assert closed_by(chain, gate, new.address) == ""
    assert world.send(KEYS.operator, "Registry", "registerMany", [new.address]).status == 1
    world.now = until + 60  # the credential has run out: no more money in, and what is in comes out
    assert world.send(KEYS.operator, "TestCurrency", "mint", KEYS.operator.address, 100).status == 1
    assert world.send(KEYS.operator, "TestCurrency", "approve", world.addresses.settlement, 100).status == 1
    refused = world.send(KEYS.operator, "Settlement", "depositMany", [2], [100])
    assert (refused.refusal.name, refused.refusal.arguments["reason"]) == ("GateClosed", reason)  # type: ignore[union-attr]
    slot = next_slot(chain, world.addresses)
    settle(chain, world.addresses, KEYS.operator, world.settlement(slot, pair(1, 2, 5_000, 1)), timestamp=world.now)
    assert world.send(new, "Settlement", "requestWithdrawal", 5_000).status == 1
    world.now += 3_700
    assert world.send(new, "Settlement", "withdraw").status == 1
    moved = world.send(new, "Registry", "transferAccount", signing_key(SEED, "elsewhere").address)
    assert moved.refusal is not None
    assert moved.refusal.name == "GateClosed"


def test_a_list_is_written_by_its_keeper_and_a_gate_by_the_admin(chain: Chain) -> None:
    world = World(chain, members=1)
    gate = create(chain, KEYS.admin, "ListGate", [one.as_arguments() for one in LISTS], timestamp=world.now)
    for number, key in ((1, KEYS.admin), (0, stranger()), (2, KEYS.admin)):
        with pytest.raises(LedgerError, match=rf"NotKeeper\(list={number}"):
            gate.act(chain, key, "set", number, [key.address], 1, timestamp=world.now)
    refused = world.send(KEYS.operator, "Registry", "setGate", gate.address)
    assert refused.refusal is not None
    assert refused.refusal.name == "AccessControlUnauthorizedAccount"
    many = [one.as_arguments() for one in LISTS] * 5
    for lists, name in (([], "BadLists"), (many, "BadLists"), ([(bytes(32), KEYS.admin.address, False)], "BadList")):
        with pytest.raises(LedgerError, match=rf"{name}\("):
            create(chain, KEYS.admin, "ListGate", lists, timestamp=world.now)


def test_a_device_counts_while_its_issuer_is_appointed_it_is_active_and_in_its_dates(chain: Chain) -> None:
    world = World(chain, members=2)
    issuer, admin, now = KEYS.member(1), KEYS.admin, world.now
    devices = create(chain, admin, "DeviceRegistry", world.addresses.registry, timestamp=now)
    key, credential = b"k" * 32, b"c" * 32
    entry = (key, 1, credential, now - 10, now + 1_000)

    def refused(name: str, by: object, function: str, *arguments: object) -> None:
        with pytest.raises(LedgerError, match=rf"refused: {name}\("):
            devices.act(chain, by, function, *arguments, timestamp=now)  # type: ignore[arg-type]

    refused("NotMeterOperator", issuer, "enter", *entry)
    refused("NotAdmin", issuer, "setMeterOperator", issuer.address, True)
    devices.act(chain, admin, "setMeterOperator", issuer.address, True, timestamp=now)
    refused("NoSuchAccount", issuer, "enter", key, 2, credential, now, now + 1_000)
    refused("BadValidity", issuer, "enter", key, 1, credential, now + 2, now + 1)
    refused("BadValidity", issuer, "enter", key, 1, credential, 1, 2)
    refused("NotEntered", issuer, "setStatus", key, DeviceStatus.REVOKED)
    assert device_record(chain, devices, key) is None
    devices.act(chain, issuer, "enter", *entry, timestamp=now)
    refused("AlreadyEntered", issuer, "enter", *entry)
    record = device_record(chain, devices, key)
    assert record is not None
    assert (record.account, record.status, record.credential_hash) == (1, DeviceStatus.ACTIVE, credential)
    edge = [device_counts(chain, devices, key, now + at) for at in (-11, -10, 1_000, 1_001)]
    assert edge == [False, True, True, False]

    def counts() -> bool:
        return device_counts(chain, devices, key, now)

    refused("NotIssuer", stranger(), "setStatus", key, DeviceStatus.SUSPENDED)
    devices.act(chain, admin, "setStatus", key, DeviceStatus.SUSPENDED, timestamp=now)
    assert not counts()
    refused("NotIssuer", admin, "setStatus", key, DeviceStatus.ACTIVE)
    refused("BadStatus", issuer, "setStatus", key, DeviceStatus.UNKNOWN)
    devices.act(chain, issuer, "setStatus", key, DeviceStatus.ACTIVE, timestamp=now)
    assert counts()
    devices.act(chain, admin, "setMeterOperator", issuer.address, False, timestamp=now)
    assert not counts()
    refused("NotIssuer", issuer, "setStatus", key, DeviceStatus.SUSPENDED)
    devices.act(chain, admin, "setMeterOperator", issuer.address, True, timestamp=now)
    devices.act(chain, issuer, "setStatus", key, DeviceStatus.REVOKED, timestamp=now)
    refused("RevokedForGood", issuer, "setStatus", key, DeviceStatus.ACTIVE)
    assert not counts()
