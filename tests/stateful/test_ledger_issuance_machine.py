"""Certificates and claims against a twin of dictionaries, under everything anybody can do with either.

No watt-hour is issued twice, by whichever contract; nothing is issued before its slot is final, nor to another than who gave it;
what is retired, used or expired is gone; and each bug planted into a contract is found.
"""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_rights import Delivered, certificates_of, claims_of, deliver, issuing, move_on
from ledger_world import START, World, funded
from walras.ledger import Genesis, net_positions, next_sender
from walras.ledger.calls import Contract
from walras.ledger.claims import CLAIM_GAS, claim_id
from walras.ledger.encoding import pack_positions

MEMBERS, WINDOW, LIFE = 3, 1, 3
accounts = st.integers(0, MEMBERS - 1)


def issuers() -> tuple[World, Contract, list[Contract], list[Contract]]:
    """A ledger with two contracts of certificates and two of claims under one issuing body."""
    world = World(machine_chain(Genesis(funded(MEMBERS), timestamp=START - 900)), members=MEMBERS, window=WINDOW)
    body = issuing(world)
    certificates = [certificates_of(world, body) for _ in range(2)]
    return world, body.issuance, certificates, [claims_of(world, body, LIFE) for _ in range(2)]


class IssuanceMachine(RuleBasedStateMachine):
    """Two claims contracts and two of certificates under one issuing body; the twin knows who was issued what."""

    @initialize()
    def begin(self) -> None:
        self.world, self.issuance, self.certificates, self.claims = prepared(issuers)
        self.slots: list[Delivered] = []
        self.exports: list[dict[int, int]] = []
        self.next = 0
        self.whole: set[tuple[int, int]] = set()
        self.parts: set[tuple[int, int]] = set()
        self.held: Counter[tuple[str, int, int, int]] = Counter()  # (kind, contract, slot, account)
        self.retired: Counter[tuple[int, int]] = Counter()
        self.claimed_for: Counter[tuple[int, int, int]] = Counter()  # (contract, slot, account)
        self.minted: Counter[tuple[str, int, int]] = Counter()

    def attempt(self, contract: Contract, account: int, function: str, *arguments: object) -> bool:
        key = self.world.keys.member(account)
        raw = contract.transaction(next_sender(self.world.chain, key), function, *arguments, gas_limit=CLAIM_GAS)
        return self.world.chain.send(raw, timestamp=self.world.now).status == 1

    @rule(fed=st.lists(st.integers(0, 50), min_size=MEMBERS, max_size=MEMBERS), sold=st.integers(-40, 40))
    def deliver_a_slot(self, fed: list[int], sold: int) -> None:
        exports = dict(enumerate(fed))
        positions = net_positions([0, 1], [0, 0], [sold, -sold])
        self.slots.append(deliver(self.world, exports, positions))
        self.exports.append({**exports, -1: sold})
        self.next = self.slots[-1].slot + 1

    @rule()
    def move_on(self) -> None:
        move_on(self.world, 1)
        self.next += 1

    def is_final(self, slot: int) -> bool:
        return slot < self.next - WINDOW

    def has_expired(self, slot: int) -> bool:
        return self.next > slot + LIFE

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), which=st.integers(0, 1), by=accounts, of=accounts, own=st.booleans())
    def claim(self, data: st.DataObject, which: int, by: int, of: int, own: bool) -> None:
        self.claim_one(data.draw(st.integers(0, len(self.slots) - 1)), which, of if own else by, of)

    def claim_one(self, row: int, which: int, by: int, of: int) -> None:
        done, wh = self.slots[row], self.exports[row][of]
        arguments = (done.slot, done.settled.as_arguments(), done.shown(of).as_arguments())
        passed = self.attempt(self.claims[which], by, "claim", *arguments)
        slot = done.slot
        free = (slot, of) not in self.whole | self.parts
        assert passed == (by == of and wh > 0 and self.is_final(slot) and not self.has_expired(slot) and free)
        if passed:
            self.parts.add((slot, of))
            self.held["claim", which, slot, by] += wh
            self.minted["claim", which, slot] += wh

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), which=st.integers(0, 1), by=accounts)
    def issue(self, data: st.DataObject, which: int, by: int) -> None:
        self.issue_one(data.draw(st.integers(0, len(self.slots) - 1)), which, by)

    def issue_one(self, row: int, which: int, by: int) -> None:
        done, sold = self.slots[row], self.exports[row][-1]
        wh = {0: -sold, 1: sold}.get(by, 0)
        header = done.settled.as_arguments()[0]
        passed = self.attempt(self.certificates[which], by, "issue", done.slot, [header], [pack_positions(done.positions)])
        free = (done.slot, by) not in self.whole | self.parts
        assert passed == (wh > 0 and self.is_final(done.slot) and free)
        if passed:
            self.whole.add((done.slot, by))
            self.held["certificate", which, done.slot, by] += wh
            self.minted["certificate", which, done.slot] += wh

    @rule(
        fed=st.lists(st.integers(0, 50), min_size=MEMBERS, max_size=MEMBERS),
        sold=st.integers(-40, 40),
        slots=st.integers(WINDOW - 1, WINDOW + 1),
        which=st.integers(0, 1),
        by=accounts,
        kinds=st.sampled_from([["claim"], ["certificate"], ["claim", "certificate"], ["certificate", "claim"]]),
    )
    def deliver_wait_and_take(self, fed: list[int], sold: int, slots: int, which: int, by: int, kinds: list[str]) -> None:
        """The whole way of a watt-hour: delivered, final or just not, and taken as one kind of token or tried as both."""
        self.deliver_a_slot(fed, sold)
        for _ in range(slots):
            self.move_on()
        for kind in kinds:
            if kind == "claim":
                self.claim_one(len(self.slots) - 1, which, by, by)
            else:
                self.issue_one(len(self.slots) - 1, which, by)

    @precondition(lambda self: self.whole | self.parts)
    @rule(data=st.data())
    def issue_again_what_is_issued(self, data: st.DataObject) -> None:
        """By every contract there is, the one that issued it included."""
        slot, account = data.draw(st.sampled_from(sorted(self.whole | self.parts)))
        done = next(one for one in self.slots if one.slot == slot)
        header = done.settled.as_arguments()[0]
        for which in (0, 1):
            arguments = (slot, done.settled.as_arguments(), done.shown(account).as_arguments())
            assert not self.attempt(self.claims[which], account, "claim", *arguments)
            assert not self.attempt(self.certificates[which], account, "issue", slot, [header], [pack_positions(done.positions)])

    def contract_of(self, kind: str, which: int) -> Contract:
        return (self.claims if kind == "claim" else self.certificates)[which]

    def token(self, kind: str, slot: int) -> int:
        return claim_id(self.world.addresses.settlement, slot) if kind == "claim" else slot

    def stack(self, data: st.DataObject) -> tuple[str, int, int, int]:
        return data.draw(st.sampled_from(sorted(self.held)))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), to=accounts, amount=st.integers(0, 60))
    def transfer(self, data: st.DataObject, to: int, amount: int) -> None:
        kind, which, slot, account = self.stack(data)
        sender, receiver = (self.world.keys.member(one).address for one in (account, to))
        arguments = (sender, receiver, self.token(kind, slot), amount, b"")
        passed = self.attempt(self.contract_of(kind, which), account, "safeTransferFrom", *arguments)
        assert passed == (amount <= self.held[kind, which, slot, account] and not (kind == "claim" and self.has_expired(slot)))
        if passed:
            self.held[kind, which, slot, account] -= amount
            self.held[kind, which, slot, to] += amount

    @precondition(lambda self: self.held)
    @rule(data=st.data(), amount=st.integers(0, 60))
    def retire_or_use(self, data: st.DataObject, amount: int) -> None:
        kind, which, slot, account = self.stack(data)
        function = "use" if kind == "claim" else "retire"
        passed = self.attempt(self.contract_of(kind, which), account, function, slot, amount, "for good")
        alive = not (kind == "claim" and self.has_expired(slot))
        assert passed == (0 < amount <= self.held[kind, which, slot, account] and alive)
        if passed:
            self.held[kind, which, slot, account] -= amount
            self.retired[which, slot] += amount if kind == "certificate" else 0
            self.claimed_for[which, slot, account] += amount if kind == "certificate" else 0

    @precondition(lambda self: any(kind == "certificate" for kind, *_ in self.held))
    @rule(data=st.data(), by=accounts, to=accounts, amount=st.sampled_from([0, 1, 1, 2, 60]), own=st.booleans())
    def retire_for_another(self, data: st.DataObject, by: int, to: int, amount: int, own: bool) -> None:
        _, which, slot, account = data.draw(st.sampled_from(sorted(one for one in self.held if one[0] == "certificate")))
        by = account if own else by
        holder, other = (self.world.keys.member(one).address for one in (account, to))
        passed = self.attempt(self.certificates[which], by, "safeTransferAndClaimFrom", holder, other, slot, amount, b"", b"")
        assert passed == (by == account and 0 < amount <= self.held["certificate", which, slot, account])
        if passed:
            self.held["certificate", which, slot, account] -= amount
            self.retired[which, slot] += amount
            self.claimed_for[which, slot, to] += amount

    @rule(by=accounts)
    def issue_past_the_issuers(self, by: int) -> None:
        """A member takes an account's slot itself, or appoints itself to."""
        assert not self.attempt(self.issuance, by, "takeAccount", 0, by)
        member = self.world.keys.member(by).address
        assert not self.attempt(self.issuance, by, "appoint", member, self.world.addresses.settlement)

    @precondition(lambda self: any(kind == "claim" for kind, *_ in self.held))
    @rule(data=st.data(), by=accounts)
    def sweep(self, data: st.DataObject, by: int) -> None:
        _, which, slot, account = data.draw(st.sampled_from(sorted(one for one in self.held if one[0] == "claim")))
        holder = self.world.keys.member(account).address
        passed = self.attempt(self.claims[which], by, "sweep", slot, holder)
        assert passed == (self.has_expired(slot) and self.held["claim", which, slot, account] > 0)
        if passed:
            self.held["claim", which, slot, account] = 0

    @invariant()
    def every_watt_hour_is_issued_once_and_known(self) -> None:
        chain = self.world.chain
        for (kind, which, slot, account), wh in self.held.items():
            holder = self.world.keys.member(account).address
            found = self.contract_of(kind, which).view(chain, "balanceOf", holder, self.token(kind, slot))[0]
            assert found == wh, (kind, which, slot, account)
        for (kind, which, slot), wh in self.minted.items():
            name = "mintedOf" if kind == "claim" else "issuedOf"
            assert self.contract_of(kind, which).view(chain, name, self.token(kind, slot))[0] == wh
        for (which, slot), wh in self.retired.items():
            assert self.certificates[which].view(chain, "retiredOf", slot)[0] == wh
        for (which, slot, account), wh in self.claimed_for.items():
            holder = self.world.keys.member(account).address
            assert self.certificates[which].view(chain, "claimedBalanceOf", holder, slot)[0] == wh
        for row, done in enumerate(self.slots):
            claimed = sum(wh for (kind, _, slot), wh in self.minted.items() if (kind, slot) == ("claim", done.slot))
            assert claimed <= sum(wh for account, wh in self.exports[row].items() if account >= 0)


def test_no_watt_hour_becomes_two_tokens() -> None:
    run_machine(IssuanceMachine, machine_settings(8, 25))


PLANTED = {
    "a reading twice": ("Issuance", "        _readings[keyId].set(slot);\n", ""),
    "a claim after a certificate": ("Issuance", "if (_whole[registry][account].get(slot)) revert", "if (false) revert"),
    "a certificate after a claim": ("Issuance", "        _inParts[registry][account].set(slot);\n", ""),
    "a certificate twice": ("Issuance", "        _whole[registry][account].set(slot);\n", ""),
    "anybody's reading": (
        "EnergyClaims",
        "if (registry.ownerOf(account) != msg.sender) revert NotOwner(account, msg.sender);",
        "",
    ),
    "a claim before its slot is final": ("EnergyClaims", "if (slot >= finalBelow) revert", "if (slot > finalBelow) revert"),
    "a claim alive too long": (
        "EnergyClaims",
        "settlement.nextSlot() > uint256(slot) + lifeSlots",
        "settlement.nextSlot() > uint256(slot) + lifeSlots + 1",
    ),
    "a certificate before its slot is final": ("EnergyCertificates", "if (slot >= finalBelow)", "if (slot > finalBelow)"),
    "a certificate for who took": ("EnergyCertificates", "energyWh = uint256(-net);", "energyWh = uint256(-net) + 1;"),
    "anybody retires": (
        "EnergyCertificates",
        "if (from != msg.sender && !isApprovedForAll(from, msg.sender)) {",
        "if (from == address(0)) {",
    ),
    "retired in another's name": ("EnergyCertificates", "claimedBalanceOf[holder][slot] +=", "claimedBalanceOf[from][slot] +="),
    "anybody appoints": ("Issuance", "settlement) external onlyOwner {", "settlement) external {"),
    "retired and kept": ("EnergyCertificates", "        _burn(from, slot, energyWh);\n", ""),
}
EVERY_TIME = ("a certificate twice",)


@pytest.mark.parametrize(
    ("contract", "correct", "wrong"),
    [pytest.param(*bug, id=name, marks=() if name in EVERY_TIME else pytest.mark.nightly) for name, bug in PLANTED.items()],
)
def test_a_planted_bug_is_found(contract: str, correct: str, wrong: str) -> None:
    with planted(contract, correct, wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(IssuanceMachine, hunting(120, 25))
