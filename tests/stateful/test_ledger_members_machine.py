"""Registry, meter register and timelock against their twins: members, keys, gates, roles, oracles and what a quorum is.

A person is one account and an account one person; nobody comes in past the gate; only a majority of the oracles of today makes a
quorum, each counted once; a meter stands behind one account for good; what the timelock does was announced for as long as it says,
by the one who may; and each bug planted into a contract is found.
"""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_rights import meter
from ledger_world import ORACLES, START, THRESHOLD, World, funded
from walras.errors import LedgerError
from walras.ledger import Genesis, SigningKey, artifact, next_sender
from walras.ledger.calls import Contract, create
from walras.ledger.credentials import GateList
from walras.ledger.leaf_proofs import meter_key

PEOPLE, FIRST, POOL, DELAY = 5, 2, 5, 600
EVER = 2**62
people = st.integers(0, PEOPLE - 1)
by = st.sampled_from(["admin", "admin", "operator", "operator", "member"])
some = st.lists(st.integers(0, POOL - 1), unique=True, max_size=POOL)
ADMIN_ROLE = bytes(32)


def powers() -> tuple[World, dict[str, Contract]]:
    """A ledger of two members, a gate kept by the admin, a meter register of its, and a timelock that keeps a gate of its own."""
    world = World(machine_chain(Genesis(funded(PEOPLE), timestamp=START - 900)), members=FIRST)
    chain, admin, now = world.chain, world.keys.admin, world.now

    def made(name: str, *arguments: object) -> Contract:
        return create(chain, admin, name, *arguments, timestamp=now)

    lock = made("Timelock", DELAY, world.keys.member(0).address)
    return world, {
        "Registry": Contract("Registry", chain.chain_id, world.addresses.registry),
        "gate": made("ListGate", [GateList("kyc", admin.address).as_arguments()]),
        "MeterRegister": made("MeterRegister", admin.address),
        "Timelock": lock,
        "kept": made("ListGate", [GateList("kept", lock.address).as_arguments()]),
    }


class MembersMachine(RuleBasedStateMachine):
    """Five people, two of them members at the start; five oracles, four of them appointed."""

    @initialize(admitted=st.booleans())
    def begin(self, admitted: bool) -> None:
        self.world, self.contracts = prepared(powers)
        self.chain, keys = self.world.chain, self.world.keys
        self.people = [keys.member(one) for one in range(PEOPLE)]
        self.actors = {"admin": keys.admin, "operator": keys.operator, "member": keys.member(0)}
        self.oracles = sorted((keys.oracle(index) for index in range(POOL)), key=lambda key: int(key.address, 16))
        first = {keys.oracle(index).address for index in range(ORACLES)}
        self.appointed = {index for index, key in enumerate(self.oracles) if key.address in first}
        self.threshold, self.owners, self.operators = THRESHOLD, list(range(FIRST)), {"operator"}
        self.gated, self.listed, self.admitted = False, set[int](), False
        self.meters: dict[int, int] = {}
        self.ready: dict[int, int] = {}  # announced and waiting: salt to the time from which it may be done
        self.done: set[int] = set()
        if admitted:
            self.admit("admin")

    def attempt(self, contract: str, key: SigningKey, function: str, *arguments: object) -> bool:
        raw = self.contracts[contract].transaction(next_sender(self.chain, key), function, *arguments, gas_limit=3_000_000)
        receipt = self.chain.send(raw, timestamp=self.world.now)
        self.world.now = receipt.timestamp
        return receipt.status == 1

    def view(self, contract: str, function: str, *arguments: object) -> object:
        return self.contracts[contract].view(self.chain, function, *arguments)[0]

    def is_member(self, who: int) -> bool:
        try:
            self.view("Registry", "accountOf", self.people[who].address)
        except LedgerError as refused:
            if "NotMember" not in str(refused):
                raise
            return False
        return True

    def comes_in(self, who: int) -> bool:
        return who not in self.owners and (not self.gated or who in self.listed)

    @rule(who=st.lists(people, max_size=2), actor=by)
    def register(self, who: list[int], actor: str) -> None:
        addresses = [self.people[one].address for one in who]
        done = self.attempt("Registry", self.actors[actor], "registerMany", addresses)
        assert done == (actor in self.operators and len(set(who)) == len(who) and all(self.comes_in(one) for one in who))
        self.owners += who if done else []

    @rule(one=people, to=people)
    def hand_on_the_account(self, one: int, to: int) -> None:
        done = self.attempt("Registry", self.people[one], "transferAccount", self.people[to].address)
        free = self.comes_in(to) or (to == one and (not self.gated or one in self.listed))
        assert done == (one in self.owners and free)
        if done:
            self.owners[self.owners.index(one)] = to

    @rule(at=st.integers(0, 9), heirs=st.tuples(people, people))
    def hand_on_the_account_and_once_more(self, at: int, heirs: tuple[int, int]) -> None:
        """Whoever has one gives it away, and tries to give it away again."""
        one = self.owners[at % len(self.owners)]
        for heir in heirs:
            self.hand_on_the_account(one, heir)

    @rule(gated=st.booleans(), actor=by)
    def set_gate(self, gated: bool, actor: str) -> None:
        address = self.contracts["gate"].address if gated else "0x" + "00" * 20
        assert self.attempt("Registry", self.actors[actor], "setGate", address) == (actor == "admin")
        self.gated = gated if actor == "admin" else self.gated

    @rule(one=people, listed=st.booleans())
    def let_in(self, one: int, listed: bool) -> None:
        assert self.attempt("gate", self.actors["admin"], "set", 0, [self.people[one].address], EVER if listed else 0)
        self.listed = self.listed | {one} if listed else self.listed - {one}

    @rule(one=people, listed=st.booleans())
    def come_to_the_gate(self, one: int, listed: bool) -> None:
        self.set_gate(True, "admin")
        self.let_in(one, listed)
        self.register([one], "operator")

    @rule(whom=st.sampled_from(["operator", "member"]), granted=st.booleans(), actor=by)
    def name_an_operator(self, whom: str, granted: bool, actor: str) -> None:
        role = self.view("Registry", "OPERATOR_ROLE")
        function = "grantRole" if granted else "revokeRole"
        done = self.attempt("Registry", self.actors[actor], function, role, self.actors[whom].address)
        assert done == (actor == "admin")
        if done:
            self.operators = self.operators | {whom} if granted else self.operators - {whom}

    @rule(chosen=some, threshold=st.integers(0, 5), twice=st.sampled_from([False, False, True]), actor=by)
    def appoint(self, chosen: list[int], threshold: int, twice: bool, actor: str) -> None:
        addresses = [self.oracles[index].address for index in chosen]
        addresses += addresses[:1] if twice else []
        done = self.attempt("Registry", self.actors[actor], "setOracles", addresses, threshold)
        majority = threshold <= len(addresses) < 2 * threshold
        assert done == (actor == "admin" and majority and len(set(addresses)) == len(addresses))
        if done:
            self.appointed, self.threshold = set(chosen), threshold

    @rule(signers=some, order=st.sampled_from(["sorted", "sorted", "sorted", "twice", "reversed", "cut"]), exact=st.booleans())
    def ask_for_a_quorum(self, signers: list[int], order: str, exact: bool) -> None:
        """Of any signers in any order; often of as many of today's as it takes, or one fewer."""
        present = sorted(self.appointed)
        self.check_quorum(present[: self.threshold - len(signers) % 2] if exact else sorted(signers), order)

    @rule(chosen=some, threshold=st.integers(1, 3))
    def rotate_and_ask_those_of_before(self, chosen: list[int], threshold: int) -> None:
        """As many as it takes now, of the oracles that were appointed until now."""
        before = sorted(self.appointed)
        self.appoint(chosen, threshold, False, "admin")
        self.check_quorum(before[: self.threshold], "sorted")

    def check_quorum(self, signers: list[int], order: str) -> None:
        digest = bytes([7]) * 32
        signed = [self.oracles[index].sign_digest(digest) for index in signers]
        signed = {"twice": signed[:1] + signed, "reversed": signed[::-1]}.get(order, signed)
        joined = b"".join(signed)[: -1 if order == "cut" else None]
        good = order == "sorted" or (order == "reversed" and len(signers) < 2) or not signers
        good = good and len(signers) >= self.threshold and set(signers) <= self.appointed
        try:
            self.contracts["Registry"].view(self.chain, "checkQuorum", digest, joined)
        except LedgerError:
            assert not good
        else:
            assert good

    @rule(actor=by)
    def admit(self, actor: str) -> None:
        done = self.attempt("MeterRegister", self.actors[actor], "admit", self.contracts["Registry"].address)
        assert done == (actor == "admin")
        self.admitted = self.admitted or done

    @rule(number=st.integers(0, 2), accounts=st.tuples(st.integers(0, 2), st.integers(0, 2)))
    def enter_a_meter_for_one_and_another(self, number: int, accounts: tuple[int, int]) -> None:
        for account in accounts:
            self.enter_a_meter(number, account, "operator", True)

    @rule(number=st.integers(0, 2), account=st.integers(0, 1))
    def enter_what_is_no_key(self, number: int, account: int) -> None:
        """By who may, of a community that is admitted, for an account that is there."""
        if not self.admitted:
            self.admit("admin")
        self.enter_a_meter(number, account, "operator", False)

    @rule(number=st.integers(0, 2), account=st.integers(0, 3), actor=by, good=st.sampled_from([True, True, True, False]))
    def enter_a_meter(self, number: int, account: int, actor: str, good: bool) -> None:
        key = meter_key(meter(number).public_key())  # type: ignore[attr-defined]
        registry = self.contracts["Registry"].address
        done = self.attempt("MeterRegister", self.actors[actor], "register", registry, account, key.x, key.y if good else key.x)
        free = number not in self.meters and account < len(self.owners)
        assert done == (self.admitted and actor in self.operators and free and good)
        if done:
            self.meters[number] = account

    def act_of(self, salt: int) -> tuple[str, int, bytes, bytes, bytes]:
        """Put person `salt` on the list that the timelock keeps."""
        data = artifact("ListGate").call("set", 0, [self.people[salt].address], EVER)
        return self.contracts["kept"].address, 0, data, bytes(32), salt.to_bytes(32, "big")

    @rule(salt=people, delay=st.sampled_from([0, DELAY - 1, DELAY, DELAY]), actor=by)
    def announce(self, salt: int, delay: int, actor: str) -> None:
        done = self.attempt("Timelock", self.actors[actor], "schedule", *self.act_of(salt), delay)
        assert done == (actor == "member" and delay >= DELAY and salt not in self.ready and salt not in self.done)
        if done:
            self.ready[salt] = self.world.now + delay

    @rule(salt=people, wait=st.sampled_from([0, DELAY - 5, DELAY]), actor=by)
    def carry_out(self, salt: int, wait: int, actor: str) -> None:
        self.world.now += wait
        salt = min(self.ready, default=salt)
        done = self.attempt("Timelock", self.actors[actor], "execute", *self.act_of(salt))
        assert done == (salt in self.ready and self.world.now >= self.ready[salt])
        if done:
            del self.ready[salt]
            self.done.add(salt)

    @rule(salt=people, short=st.integers(0, 1), actor=by)
    def announce_and_carry_out(self, salt: int, short: int, actor: str) -> None:
        """By whoever likes, once the delay is over; or a little before."""
        self.announce(salt, DELAY, "member")
        self.carry_out(salt, DELAY - 5 * short, actor)

    @rule(salt=people, actor=by)
    def call_off(self, salt: int, actor: str) -> None:
        number = self.view("Timelock", "hashOperation", *self.act_of(salt))
        done = self.attempt("Timelock", self.actors[actor], "cancel", number)
        assert done == (actor == "member" and salt in self.ready)
        if done:
            del self.ready[salt]

    @invariant()
    def everybody_is_who_the_twins_say(self) -> None:
        assert self.view("Registry", "memberCount") == len(self.owners)
        for account, owner in enumerate(self.owners):
            assert self.view("Registry", "ownerOf", account) == self.people[owner].address.lower()
            assert self.view("Registry", "accountOf", self.people[owner].address) == account
        assert {one for one in range(PEOPLE) if self.is_member(one)} == set(self.owners)
        found = {index for index in range(POOL) if self.view("Registry", "isOracle", self.oracles[index].address)}
        assert found == self.appointed
        role = self.view("Registry", "OPERATOR_ROLE")
        holders = {name for name, key in self.actors.items() if self.view("Registry", "hasRole", role, key.address)}
        assert holders == self.operators
        for number, account in self.meters.items():
            key_id = meter_key(meter(number).public_key()).key_id  # type: ignore[attr-defined]
            assert self.contracts["MeterRegister"].view(self.chain, "meterOf", key_id)[1] == account
        registry = self.contracts["Registry"].address
        for account in range(len(self.owners)):
            entered = list(self.meters.values()).count(account)
            assert self.view("MeterRegister", "metersOf", registry, account) == entered
        assert {one for one in range(PEOPLE) if self.view("kept", "until", 0, self.people[one].address)} == self.done
        assert not any(self.view("Timelock", "hasRole", ADMIN_ROLE, key.address) for key in self.actors.values())


def test_members_oracles_meters_and_the_timelock_equal_their_twins() -> None:
    run_machine(MembersMachine, machine_settings(4, 30))


PLANTED = {
    "an oracle counted twice": ("Registry", "if (signer <= previous) revert", "if (signer < previous) revert"),
    "one too few": ("Registry", "given < set.threshold ||", "given + 1 < set.threshold ||"),
    "an oracle of yesterday": ("Registry", "_oracleEpoch[signer] != set.epoch", "_oracleEpoch[signer] == 0"),
    "half is no majority": ("Registry", "2 * threshold <= oracles.length", "2 * threshold < oracles.length"),
    "appointed twice": ("Registry", "if (_oracleEpoch[oracles[i]] == epoch) revert OracleTwice(oracles[i]);", ""),
    "anybody appoints": ("Registry", "threshold) external onlyRole(DEFAULT_ADMIN_ROLE) {", "threshold) external {"),
    "a member twice": ("Registry", "if (_accountPlusOne[owner] != 0) revert", "if (_accountPlusOne[owner] > 99) revert"),
    "handed on and kept": ("Registry", "        delete _accountPlusOne[msg.sender];\n", ""),
    "past the gate": ("Registry", "        checkGate(owner);\n        if (_accountPlusOne", "        if (_accountPlusOne"),
    "anybody sets the gate": ("Registry", "gate_) external onlyRole(DEFAULT_ADMIN_ROLE) {", "gate_) external {"),
    "anybody registers": (
        "Registry",
        "external onlyRole(OPERATOR_ROLE) returns (uint256 first)",
        "external returns (uint256 first)",
    ),
    "a meter twice": ("MeterRegister", "if (address(meter.registry) != address(0)) revert", "if (meter.account > 9) revert"),
    "anybody's meters": ("MeterRegister", "        registry.checkOperator(msg.sender);\n", ""),
    "not admitted": ("MeterRegister", "if (!admitted[registry]) revert NotAdmitted(registry);", ""),
    "no point of the curve": ("MeterRegister", "if (!P256.isValidPublicKey(x, y)) revert NotAKey(x, y);", ""),
    "without delay": ("Timelock", "TimelockController(minDelay,", "TimelockController(0,"),
    "only the proposer executes": ("Timelock", "_only(address(0)), address(0))", "_only(proposer), address(0))"),
    "an admin besides": ("Timelock", "_only(address(0)), address(0))", "_only(address(0)), proposer)"),
}


@pytest.mark.nightly
@pytest.mark.parametrize(("contract", "correct", "wrong"), PLANTED.values(), ids=PLANTED)
def test_a_planted_bug_is_found(contract: str, correct: str, wrong: str) -> None:
    with planted(contract, correct, wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(MembersMachine, hunting(120, 40))
