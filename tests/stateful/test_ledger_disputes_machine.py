"""Disputes against their twin: what is opened is true, what is punished was open and late, and the bond is counted to the unit;
each bug planted into the contract is found.
"""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_rights import salted
from ledger_world import START, World, funded, stranger
from walras.ledger import (
    Genesis,
    Header,
    NetPositions,
    SigningKey,
    artifact,
    join_signatures,
    net_positions,
    next_sender,
    pack_positions,
    read,
    sign_attestation,
)
from walras.ledger.calls import Contract, create
from walras.ledger.disputes import device_id, resolution_digest
from walras.ledger.leaf_proofs import shown_leaf
from walras.metering.merkle import MerkleTree, tree_over
from walras.metering.slot_readings import encode_substitute

WINDOW, ANSWER_S, PENALTY = 2, 2_000, 300
IDS = [bytes([1 + device]) * 16 for device in range(3)]  # of accounts 1, 1 and 2
energy = st.sampled_from([-300, -1, 0, 1, 23, 24, 300, 70_000])
accounts = st.sampled_from([1, 2])


def court() -> tuple[World, Contract]:
    """A ledger with the meters entered, and the disputes beside it."""
    chain = machine_chain(Genesis(funded(3), timestamp=START - 900))
    world = World(chain, members=3, window=WINDOW)
    keys, now = world.keys, world.now
    devices = create(chain, keys.admin, "DeviceRegistry", world.addresses.registry, timestamp=now)
    devices.act(chain, keys.admin, "setMeterOperator", keys.operator.address, True, timestamp=now)
    for key, owner in zip(IDS, (1, 1, 2), strict=True):
        devices.act(chain, keys.operator, "enter", device_id(key), owner, bytes(32), 0, 2**63, timestamp=now)
    terms = (world.addresses.settlement, devices.address, ANSWER_S, PENALTY)
    contract = create(chain, keys.admin, "Disputes", *terms, timestamp=now)
    role = read(chain, artifact("Registry"), world.addresses.registry, "OPERATOR_ROLE")[0]
    assert world.send(keys.admin, "Registry", "grantRole", role, contract.address).status == 1
    assert world.send(keys.operator, "TestCurrency", "mint", keys.operator.address, 10**6).status == 1
    assert world.send(keys.operator, "TestCurrency", "approve", contract.address, 10**6).status == 1
    return world, contract


class DisputesMachine(RuleBasedStateMachine):
    """Accounts 1 and 2 have meters; account 0 closes the sums."""

    @initialize()
    def deploy(self) -> None:
        self.world, self.contract = prepared(court)
        self.chain = self.world.chain
        self.truth: dict[int, dict[int, int]] = {}
        self.leaves: dict[int, list[bytes]] = {}
        self.records: dict[int, list[tuple[Header, NetPositions]]] = {}
        self.open_by: dict[tuple[int, int], tuple[int, int]] = {}
        self.bond, self.credit, self.paid = 0, {1: 0, 2: 0}, {1: 0, 2: 0}
        self.next_slot, self.bond_free_at, self.slot_at_notice = 0, 0, 0

    def attempt(self, key: SigningKey, function: str, *arguments: object) -> bool:
        raw = self.contract.transaction(next_sender(self.chain, key), function, *arguments, gas_limit=4_000_000)
        receipt = self.chain.send(raw, timestamp=self.world.now)
        self.world.now = receipt.timestamp
        return receipt.status == 1

    def tree(self, slot: int) -> MerkleTree:
        return tree_over(self.leaves[slot])

    def rows(self, first: int, second: int) -> NetPositions:
        return net_positions([0, 1, 2], [0, 0, 0], [-first - second, first, second])

    def settled(self, slot: int, account: int) -> int:
        return sum(int(rows.energy_wh[account]) for _, rows in self.records[slot])

    @rule(first=energy, other=energy, second=energy, wrong=st.sampled_from([0, 0, 1, -5]))
    def settle(self, first: int, other: int, second: int, wrong: int) -> None:
        slot = self.next_slot
        readings = [(max(wh, 0), max(-wh, 0)) for wh in (first, other, second)]
        self.leaves[slot] = [salted(encode_substitute(key, slot, *one, 18)) for key, one in zip(IDS, readings, strict=True)]
        self.truth[slot] = {1: first + other, 2: second}
        header, rows = Header(self.tree(slot).root, bytes(32), bytes(32)), self.rows(first + other + wrong, second)
        keys = [self.world.keys.oracle(index) for index in range(3)]
        where = (self.chain.chain_id, self.world.addresses.settlement, slot, header.readings_root)
        signatures = join_signatures([sign_attestation(key, *where) for key in keys])
        roots = (header.readings_root, header.trades_root, header.journal_head)
        arguments = (slot, roots, pack_positions(rows), signatures)
        receipt = self.world.send(self.world.keys.operator, "Settlement", "settleSlot", *arguments)
        assert receipt.refusal is None, receipt.refusal
        self.world.now = receipt.timestamp
        self.records[slot] = [(header, rows)]
        self.next_slot += 1

    @precondition(lambda self: self.records)
    @rule(data=st.data(), back=st.integers(0, 2), right=st.booleans())
    def correct(self, data: st.DataObject, back: int, right: bool) -> None:
        slot = max(0, self.next_slot - 1 - back)
        self.correct_slot(slot, None if right else self.rows(data.draw(st.integers(-2, 2)), 0))

    def correct_slot(self, slot: int, wrong: NetPositions | None) -> None:
        """By `wrong` differences, or else to the truth."""
        gaps = [self.truth[slot][account] - self.settled(slot, account) for account in (1, 2)]
        rows = self.rows(*gaps) if wrong is None else wrong
        header, revision = self.records[slot][0][0], len(self.records[slot])
        roots = (header.readings_root, header.trades_root, header.journal_head)
        signatures = self.world.correction_signatures(slot, revision, header.readings_root)
        receipt = self.world.send(
            self.world.keys.operator, "Settlement", "correctSlot", slot, roots, pack_positions(rows), signatures
        )
        assert receipt.status == int(slot + WINDOW >= self.next_slot), receipt.refusal
        self.world.now = receipt.timestamp
        if receipt.status:
            self.records[slot].append((header, rows))

    @precondition(lambda self: self.records)
    @rule(back=st.integers(0, 2), right=st.booleans(), signed=st.sampled_from(["these", "these", "these", "others", "one too few"]))
    def resolve(self, back: int, right: bool, signed: str) -> None:
        """Without the operator: a quorum signs the root and the very differences, or other ones, or it is no quorum."""
        slot = max(0, self.next_slot - 1 - back)
        gaps = [self.truth[slot][account] - self.settled(slot, account) for account in (1, 2)]
        rows = self.rows(*gaps) if right else self.rows(1, 0)
        header, revision = self.records[slot][0][0], len(self.records[slot])
        said = pack_positions(self.rows(7, 7) if signed == "others" else rows)
        digest = resolution_digest(self.contract, slot, revision, said)
        oracles = [self.world.keys.oracle(index) for index in range(2 if signed == "one too few" else 3)]
        over_rows = join_signatures([(key.address, key.sign_digest(digest)) for key in oracles])
        over_root = self.world.correction_signatures(slot, revision, header.readings_root)
        roots = (header.readings_root, header.trades_root, header.journal_head)
        done = self.attempt(stranger(), "resolve", slot, roots, pack_positions(rows), over_root, over_rows)
        assert done == (signed == "these" and slot + WINDOW >= self.next_slot)
        if done:
            self.records[slot].append((header, rows))

    def shown(self, slot: int) -> tuple[list[tuple[bytes, bytes, bytes]], list[bytes]]:
        headers = [(h.readings_root, h.trades_root, h.journal_head) for h, _ in self.records[slot]]
        return headers, [pack_positions(rows) for _, rows in self.records[slot]]

    @precondition(lambda self: self.records)
    @rule(account=accounts, back=st.integers(0, 3), whole=st.sampled_from([True, True, False]))
    def open(self, account: int, back: int, whole: bool) -> None:
        slot = max(0, self.next_slot - 1 - back)
        numbers = (0, 1)[: 2 if whole else 1] if account == 1 else (2,)
        proofs = [shown_leaf(self.leaves[slot][number], self.tree(slot).proof(number)).as_arguments() for number in numbers]
        done = self.attempt(self.world.keys.member(account), "open", slot, *self.shown(slot), proofs)
        true = self.truth[slot][account] != self.settled(slot, account)
        complete = account == 2 or whole
        assert done == (true and complete and slot + WINDOW >= self.next_slot and (slot, account) not in self.open_by)
        if done:
            self.open_by[slot, account] = (self.truth[slot][account], self.world.now + ANSWER_S)

    @precondition(lambda self: self.records)
    @rule(account=accounts, back=st.integers(0, 3))
    def close(self, account: int, back: int) -> None:
        slot = max(0, self.next_slot - 1 - back)
        done = self.attempt(stranger(), "close", slot, account, *self.shown(slot))
        known = self.open_by.get((slot, account))
        assert done == (known is not None and self.settled(slot, account) == known[0])
        if done:
            del self.open_by[slot, account]

    @precondition(lambda self: self.records)
    @rule(account=accounts, back=st.integers(0, 3))
    def punish(self, account: int, back: int) -> None:
        slot = max(0, self.next_slot - 1 - back)
        done = self.attempt(stranger(), "punish", slot, account)
        known = self.open_by.get((slot, account))
        assert done == (known is not None and self.world.now >= known[1])
        if done:
            del self.open_by[slot, account]
            amount = min(PENALTY, self.bond)
            self.bond -= amount
            self.credit[account] += amount

    @rule(account=accounts)
    def collect(self, account: int) -> None:
        done = self.attempt(self.world.keys.member(account), "collect")
        assert done == (self.credit[account] > 0)
        self.paid[account] += self.credit[account]
        self.credit[account] = 0

    @rule(first=energy, other=energy, whole=st.booleans(), way=st.sampled_from(["punished", "corrected", "too old"]))
    def dispute_to_the_end(self, first: int, other: int, whole: bool, way: str) -> None:
        """One wrong slot disputed all the way, each step also tried too early, too late or twice."""
        self.settle(first, other, 1, 1)
        slot = self.next_slot - 1
        if way == "too old":
            for _ in range(WINDOW):
                self.settle(1, 1, 1, 0)
            self.open(1, WINDOW, True)
            return
        self.open(1, 0, whole)
        if way == "punished":
            self.settle(first, other, 1, 1)
            self.open(1, 0, True)  # beside the first, so that their count hides nothing
            self.punish(1, 1)
            self.wait(ANSWER_S)
            self.punish(1, 1)
            self.punish(1, 1)
        else:
            self.close(1, 0)
            self.correct_slot(slot, None)
            self.close(1, 0)
            self.open(1, 0, True)

    @rule(units=st.sampled_from([1, 250, 1_000]))
    def add_bond(self, units: int) -> None:
        assert self.attempt(self.world.keys.operator, "addBond", units)
        self.bond += units

    @rule(by_operator=st.sampled_from([True, True, False]))
    def announce(self, by_operator: bool) -> None:
        done = self.attempt(self.world.keys.operator if by_operator else stranger(), "announceWithdrawal")
        assert done == by_operator
        if done:
            self.bond_free_at, self.slot_at_notice = self.world.now + 2 * ANSWER_S, self.next_slot

    @rule(by_operator=st.sampled_from([True, True, False]))
    def withdraw_bond(self, by_operator: bool) -> None:
        done = self.attempt(self.world.keys.operator if by_operator else stranger(), "withdrawBond")
        free = self.bond_free_at > 0 and self.world.now >= self.bond_free_at and not self.open_by
        assert done == (by_operator and free and self.slot_at_notice == self.next_slot)
        if done:
            self.bond = self.bond_free_at = 0

    @rule(
        disputed=st.booleans(),
        announced=st.sampled_from([True, True, False]),
        settled=st.sampled_from([False, False, True]),
        waited=st.sampled_from([ANSWER_S, 2 * ANSWER_S]),
    )
    def take_the_bond_out(self, disputed: bool, announced: bool, settled: bool, waited: int) -> None:
        """With notice or without, too early or not, beside a dispute, having settled on: a stranger tries before the operator."""
        self.add_bond(250)
        if disputed:
            self.settle(1, 1, 1, 1)
            self.open(1, 0, True)
        if announced:
            self.announce(True)
        if settled:
            self.settle(1, 1, 1, 0)
        self.wait(waited)
        self.withdraw_bond(False)
        self.withdraw_bond(True)

    @rule(seconds=st.sampled_from([900, ANSWER_S]))
    def wait(self, seconds: int) -> None:
        self.world.now += seconds

    @invariant()
    def the_bond_is_counted(self) -> None:
        assert self.contract.view(self.chain, "bond")[0] == self.bond
        assert self.world.tokens(self.contract.address) == self.bond + sum(self.credit.values())
        assert self.contract.view(self.chain, "openDisputes")[0] == len(self.open_by)
        for account, paid in self.paid.items():
            member = self.world.keys.member(account).address
            assert self.world.tokens(member) == paid
            assert self.contract.view(self.chain, "creditOf", member)[0] == self.credit[account]


def test_disputes_equal_their_twin() -> None:
    run_machine(DisputesMachine, machine_settings(6, 25))


PLANTED = {
    "a dispute over nothing": ("Disputes", "if (settledWh == provedWh) revert", "if (false) revert"),
    "a meter left out": ("Disputes", "readings.length != devices.devicesOf(account) ||", "readings.length > 9 ||"),
    "punished too early": ("Disputes", "if (block.timestamp < dispute.answerBy) revert", "if (false) revert"),
    "punished twice": ("Disputes", "        delete disputeOf[slot][account];\n", ""),
    "closed without correction": ("Disputes", "if (settledWh != dispute.provedWh) revert", "if (false) revert"),
    "past the window": ("Disputes", "if (slot + window < next) revert", "if (slot + window + 1 < next) revert"),
    "the bond out beside a dispute": ("Disputes", "if (openDisputes > 0 || bondFreeAt == 0", "if (bondFreeAt == 0"),
    "the bond out without notice": (
        "Disputes",
        "bondFreeAt == 0 || block.timestamp < bondFreeAt) revert",
        "block.timestamp < bondFreeAt) revert",
    ),
    "the bond out at once": (
        "Disputes",
        "bondFreeAt == 0 || block.timestamp < bondFreeAt) revert",
        "bondFreeAt == 0) revert",
    ),
    "anybody takes the bond": (
        "Disputes",
        "        registry.checkOperator(msg.sender);\n        if (openDisputes",
        "        if (openDisputes",
    ),
    "the bond out while slots go on": ("Disputes", "if (settlement.nextSlot() != slotAtNotice) revert", "if (false) revert"),
    "a penalty collected twice": ("Disputes", "        delete creditOf[msg.sender];\n", ""),
    "nobody signed the differences": ("Disputes", "        registry.checkQuorum(digest, resolutionSignatures);\n", ""),
    "a correction forgotten": ("SettledEnergy", "energyWh += part;", "energyWh = part;"),
}
EVERY_TIME = ("a dispute over nothing",)


@pytest.mark.parametrize(
    ("source", "correct", "wrong"),
    [pytest.param(*bug, id=name, marks=() if name in EVERY_TIME else pytest.mark.nightly) for name, bug in PLANTED.items()],
)
def test_a_planted_bug_is_found(source: str, correct: str, wrong: str) -> None:
    hunt = hunting(120, 25)
    with planted("Disputes", correct, wrong, source=source), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(DisputesMachine, hunt)
