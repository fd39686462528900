"""The settlement contract against its twin in Python integers, under random sequences of everything anybody can do.

Money and energy are conserved, only the operator settles, nothing settles without quorum or twice, nobody withdraws more than
is theirs; and each bug planted into the contract is found.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_world import COIN, DELAY_S, START, World, funded, row, stranger
from walras.ledger import Genesis, Receipt, balances

MEMBERS = 4
UNIT = 1_000  # nano in a token unit
WINDOW = 4  # slots in which a settled one can be corrected
accounts = st.integers(0, MEMBERS - 1)
payments = st.one_of(st.integers(-2 * COIN, 2 * COIN), st.integers(-2_000, 2_000))


@dataclass
class Twin:
    """The contract in a few lines of Python: whole numbers, no bytes."""

    balance: list[int]
    energy: list[int]
    next_slot: int = 0
    paused: bool = False
    revisions: dict[int, int] = field(default_factory=dict)
    requests: dict[int, tuple[int, int]] = field(default_factory=dict)

    def settle(self, slot: int, rows: list[tuple[int, int, int]]) -> bool:
        if self.paused or slot < self.next_slot or not self.apply(rows):
            return False
        self.next_slot = slot + 1
        self.revisions[slot] = 0
        return True

    def correct(self, slot: int, revision: int, rows: list[tuple[int, int, int]]) -> bool:
        if self.paused or slot not in self.revisions or slot < self.next_slot - WINDOW:
            return False
        if revision != self.revisions[slot] + 1 or not self.apply(rows):
            return False
        self.revisions[slot] = revision
        return True

    def apply(self, rows: list[tuple[int, int, int]]) -> bool:
        names = [account for account, _, _ in rows]
        if names != sorted(set(names)):
            return False
        if sum(pay for _, pay, _ in rows) or sum(wh for _, _, wh in rows):
            return False
        if any(account >= len(self.balance) or self.balance[account] < pay for account, pay, _ in rows):
            return False
        for account, pay, wh in rows:
            self.balance[account] -= pay
            self.energy[account] += wh
        return True

    def withdraw(self, account: int, now: int) -> int | None:
        asked, available_at = self.requests.get(account, (0, 0))
        units = min(asked, self.balance[account]) // UNIT
        if units == 0 or now < available_at:
            return None
        del self.requests[account]
        self.balance[account] -= units * UNIT
        return units


def settling() -> World:
    """A coin inside."""
    return settling_with(COIN)


def settling_with(start: int) -> World:
    """A ledger with `start` nano on every account, and money outside that the contract may take."""
    chain = machine_chain(Genesis(funded(MEMBERS), timestamp=START - 900))
    world = World(chain, members=MEMBERS, deposit_nano=start, window=WINDOW)
    for account in range(MEMBERS):
        owner = world.keys.member(account)
        assert world.send(world.keys.operator, "TestCurrency", "mint", owner.address, 10 * COIN).status == 1
        assert world.send(owner, "TestCurrency", "approve", world.addresses.settlement, 2**200).status == 1
    return world


def penniless() -> World:
    """Nothing inside."""
    return settling_with(0)


def with_one_unit() -> World:
    """One token unit inside."""
    return settling_with(UNIT)


def with_five_units() -> World:
    """Five token units inside."""
    return settling_with(5 * UNIT)


STARTS = {0: penniless, UNIT: with_one_unit, 5 * UNIT: with_five_units, COIN: settling}


class SettlementMachine(RuleBasedStateMachine):
    """Every rule does the same thing to the contract and to the twin; the invariant compares all they hold."""

    @initialize(start=st.sampled_from(list(STARTS)))
    def deploy(self, start: int) -> None:
        self.world = prepared(STARTS[start])
        self.twin = Twin([start] * MEMBERS, [0] * MEMBERS)
        self.donated = 0
        self.outside = [10 * COIN] * MEMBERS

    def moment(self, receipt: Receipt) -> int:
        self.world.now = receipt.timestamp
        return receipt.timestamp

    @rule(payer=accounts, account=accounts, units=st.integers(0, 3_000))
    def deposit(self, payer: int, account: int, units: int) -> None:
        receipt = self.world.send(self.world.keys.member(payer), "Settlement", "depositMany", [account], [units])
        self.moment(receipt)
        accepted = units > 0 and not self.twin.paused
        assert receipt.status == int(accepted)
        if accepted:
            self.twin.balance[account] += units * UNIT
            self.outside[payer] -= units

    @rule(payer=accounts, units=st.integers(1, 50))
    def give_tokens_without_deposit(self, payer: int, units: int) -> None:
        """Tokens sent to the contract by mistake or malice must not become anybody's balance."""
        to = self.world.addresses.settlement
        receipt = self.world.send(self.world.keys.member(payer), "TestCurrency", "transfer", to, units)
        assert receipt.status == 1
        self.moment(receipt)
        self.outside[payer] -= units
        self.donated += units

    @rule(data=st.data(), skip=st.integers(0, 3), oracles=st.sampled_from([(0, 1, 2), (1, 2, 3), (0, 1, 2, 3)]))
    def settle_pairs(self, data: st.DataObject, skip: int, oracles: tuple[int, ...]) -> None:
        """Positions that balance: flows between members, some beyond what an account has."""
        chosen = sorted(data.draw(st.sets(accounts, min_size=2, max_size=MEMBERS)))
        pay, energy = dict.fromkeys(chosen, 0), dict.fromkeys(chosen, 0)
        for left, right in itertools.pairwise(chosen):
            amount = data.draw(st.one_of(payments, st.just(self.twin.balance[left]), st.just(self.twin.balance[left] + 1)))
            watt_hours = data.draw(st.integers(-5_000, 5_000))
            pay[left] += amount
            pay[right] -= amount
            energy[left] += watt_hours
            energy[right] -= watt_hours
        rows = [(account, pay[account], energy[account]) for account in chosen]
        self.compare_settlement(self.twin.next_slot + skip, rows, oracles)

    @rule(
        flow=st.tuples(accounts, accounts, st.integers(-9, 9), st.integers(-9, 9)),
        fault=st.sampled_from(["payment", "payment", "energy", "repeat", "order", "stranger", "slot again", "slot before", "none"]),
        by=st.sampled_from([-1, 1]),
    )
    def settle_with_one_fault(self, flow: tuple[int, int, int, int], fault: str, by: int) -> None:
        """Good positions with one thing wrong: the smallest step from what is accepted to what must not be."""
        one, other, pay, energy = flow
        if one == other:
            other = (one + 1) % MEMBERS
        rows = sorted([(one, pay, energy), (other, -pay, -energy)])
        (first, first_pay, first_energy), second = rows
        faulty = {
            "payment": [(first, first_pay + by, first_energy), second],
            "energy": [(first, first_pay, first_energy + by), second],
            "repeat": [(first, first_pay - by, first_energy), (first, by, 0), second],
            "order": rows[::-1],
            "stranger": [(first, first_pay, first_energy), (MEMBERS, *second[1:])],
        }
        slot = self.twin.next_slot - {"slot again": 1, "slot before": 2}.get(fault, 0)
        self.compare_settlement(max(slot, 0), faulty.get(fault, rows), (0, 1, 2))

    def compare_settlement(self, slot: int, rows: list[tuple[int, int, int]], oracles: tuple[int, ...]) -> None:
        packed = b"".join(row(*one) for one in rows)
        receipt = self.world.settle_raw(slot, packed, self.world.signatures(slot, oracles))
        self.moment(receipt)
        assert receipt.status == int(self.twin.settle(slot, rows)), receipt.refusal

    @rule(
        back=st.sampled_from([0, 0, 0, 1, -1, WINDOW - 1, WINDOW]),
        ahead=st.sampled_from([1, 1, 1, 0, 2]),
        amount=st.integers(-9, 9),
        watt_hours=st.integers(-9, 9),
    )
    def correct(self, back: int, ahead: int, amount: int, watt_hours: int) -> None:
        """Differences for slots settled, never settled and final; with the next revision, or one out of turn."""
        slot = max(0, self.twin.next_slot - 1 - back)
        revision = self.twin.revisions.get(slot, 0) + ahead
        rows = [(0, amount, watt_hours), (1, -amount, -watt_hours)]
        signatures = self.world.correction_signatures(slot, revision, self.world.header(slot).readings_root)
        for _ in range(2):  # the second time it is a replay, which must never pass
            receipt = self.world.correct_raw(slot, b"".join(row(*one) for one in rows), signatures)
            self.moment(receipt)
            assert receipt.status == int(self.twin.correct(slot, revision, rows)), receipt.refusal

    @rule(back=st.sampled_from([WINDOW - 1, WINDOW]), amount=st.integers(-1, 1))
    def let_slots_pass_and_correct(self, back: int, amount: int) -> None:
        """The last slot that can still be corrected, and the one before it."""
        for _ in range(WINDOW + 1):
            self.compare_settlement(self.twin.next_slot, [], (0, 1, 2))
        self.correct(back, 1, amount, amount)

    @rule(oracles=st.sampled_from([(), (0,), (0, 1), (2, 3)]), foreign=st.booleans())
    def settle_without_quorum(self, oracles: tuple[int, ...], foreign: bool) -> None:
        """Too few oracles, or enough who signed for another slot."""
        slot = self.twin.next_slot
        signatures = self.world.signatures(slot + 1, (0, 1, 2)) if foreign else self.world.signatures(slot, oracles)
        receipt = self.world.settle_raw(slot, row(0, 0, 0), signatures)
        self.moment(receipt)
        assert receipt.status == 0

    @rule()
    def settle_as_stranger(self) -> None:
        slot = self.twin.next_slot
        receipt = self.world.settle_raw(slot, b"", self.world.signatures(slot), stranger())
        self.moment(receipt)
        assert receipt.status == 0

    @rule(account=accounts, asked=st.one_of(st.integers(0, 5 * COIN), st.integers(0, 3 * UNIT)))
    def request_withdrawal(self, account: int, asked: int) -> None:
        receipt = self.world.send(self.world.keys.member(account), "Settlement", "requestWithdrawal", asked)
        assert receipt.status == 1
        self.twin.requests[account] = (asked, self.moment(receipt) + DELAY_S)

    @precondition(lambda self: self.twin.requests)
    @rule(data=st.data(), wait=st.sampled_from([0, DELAY_S // 2, DELAY_S, 2 * DELAY_S]))
    def withdraw(self, data: st.DataObject, wait: int) -> None:
        self.fetch(data.draw(st.sampled_from(sorted(self.twin.requests))), wait)

    @rule(account=accounts, units=st.integers(1, 3), wait=st.sampled_from([0, DELAY_S // 2, DELAY_S]))
    def ask_wait_and_fetch_twice(self, account: int, units: int, wait: int) -> None:
        self.request_withdrawal(account, units * UNIT)
        self.fetch(account, wait)
        self.fetch(account, 0)

    def fetch(self, account: int, wait: int) -> None:
        self.world.now += wait
        receipt = self.world.send(self.world.keys.member(account), "Settlement", "withdraw")
        units = self.twin.withdraw(account, self.moment(receipt))
        assert receipt.status == int(units is not None), receipt.refusal
        self.outside[account] += units or 0

    @rule()
    def toggle_pause(self) -> None:
        receipt = self.world.send(self.world.keys.operator, "Settlement", "unpause" if self.twin.paused else "pause")
        assert receipt.status == 1
        self.moment(receipt)
        self.twin.paused = not self.twin.paused

    @invariant()
    def everything_agrees(self) -> None:
        world = self.world
        held_nano, held_wh = balances(world.chain, world.addresses, range(MEMBERS))
        assert (held_nano.tolist(), held_wh.tolist()) == (self.twin.balance, self.twin.energy)
        assert sum(self.twin.energy) == 0
        held = world.tokens(world.addresses.settlement)
        assert held * UNIT == sum(self.twin.balance) + self.donated * UNIT
        assert [world.tokens(world.keys.member(account).address) for account in range(MEMBERS)] == self.outside


def test_the_contract_equals_its_twin() -> None:
    run_machine(SettlementMachine, machine_settings(12, 25))


PLANTED = {
    "money from nothing": ("if (paymentSum != 0) revert", "if (paymentSum > 0) revert"),
    "an account twice": ("if (account < lowestFree) revert", "if (account + 1 < lowestFree) revert"),
    "a nano below zero": ("if (int256(balance) < paymentNano) revert", "if (int256(balance) + 1 < paymentNano) revert"),
    "a correction twice": ("        revisionOf[slot] = revision;", "        revisionOf[slot] = revision - 1;"),
    "a slot twice": ("        nextSlot = slot + 1;", "        nextSlot = slot;"),
    "energy from nothing": ("if (energySum != 0) revert", "if (energySum > 1) revert"),
    "a stranger's account": (
        "if (lowestFree > registry.memberCount()) revert",
        "if (lowestFree > registry.memberCount() + 1) revert",
    ),
    "a correction of what is final": ("if (slot < oldest) revert", "if (slot + 1 < oldest) revert"),
    "without a quorum": ("        registry.checkQuorum(attestationDigest(slot, header.readingsRoot), signatures);\n", ""),
    "anybody settles": (
        "        onlyOperator\n        whenNotPaused\n    {\n        if (slot < nextSlot",
        "        whenNotPaused\n    {\n        if (slot < nextSlot",
    ),
    "settled while paused": (
        "        onlyOperator\n        whenNotPaused\n    {\n        if (slot < nextSlot",
        "        onlyOperator\n    {\n        if (slot < nextSlot",
    ),
    "paid before the delay": ("if (block.timestamp < request.availableAt) revert", "if (false) revert"),
    "a withdrawal nearly free": (
        "_words[account] = word - tokenUnits * nanoPerTokenUnit;",
        "_words[account] = word - tokenUnits;",
    ),
}
EVERY_TIME = ("money from nothing", "an account twice")


@pytest.mark.parametrize(
    ("correct", "wrong"),
    [pytest.param(*bug, id=name, marks=() if name in EVERY_TIME else pytest.mark.nightly) for name, bug in PLANTED.items()],
)
def test_a_planted_bug_is_found(correct: str, wrong: str) -> None:
    with planted("Settlement", correct, wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(SettlementMachine, hunting(60, 25))
