"""Flexibility bonds against their twin in Python integers: whatever is offered, accepted, metered, shown and expired, every nano
that came in is somebody's credit or still at stake, and each bug planted into the contract is found.
"""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_world import START, World, funded, stranger
from walras.ledger import Genesis, NetPositions, SigningKey, net_positions, next_sender, pack_positions, settle
from walras.ledger.calls import Contract, create
from walras.ledger.flexibility_bond import FlexibilityTerms, baseline_tree, delivered_wh, shares_nano

WINDOW, UNIT = 2, 1_000
micro = st.sampled_from([0, 1, 333, 150_001])
energy = st.sampled_from([-500, 0, 1, 499, 500, 501, 900, 1_000])


@dataclass
class Agreement:
    """One agreement as the twin knows it."""

    terms: FlexibilityTerms
    baseline: dict[int, int]
    accepted: bool = False
    over: bool = False
    shown: tuple[int, ...] = ()


def flexibility() -> tuple[World, Contract]:
    """A settlement and the bonds beside it; buyer (the operator) and provider (member 1) with money."""
    chain = machine_chain(Genesis(funded(2), timestamp=START - 900))
    world = World(chain, members=2, window=WINDOW)
    keys = world.keys
    contract = create(chain, keys.admin, "FlexibilityBond", world.addresses.settlement, timestamp=world.now)
    for key in (keys.operator, keys.member(1)):
        assert world.send(keys.operator, "TestCurrency", "mint", key.address, 10**9).status == 1
        assert world.send(key, "TestCurrency", "approve", contract.address, 10**9).status == 1
    return world, contract


class FlexibilityMachine(RuleBasedStateMachine):
    """Account 1 provides, the operator buys."""

    @initialize()
    def deploy(self) -> None:
        self.world, self.contract = prepared(flexibility)
        self.chain = self.world.chain
        self.buyer, self.provider = self.world.keys.operator, self.world.keys.member(1)
        self.agreements: list[Agreement] = []
        self.settled: dict[int, tuple[int, NetPositions]] = {}
        self.credit = {"buyer": 0, "provider": 0}
        self.next_slot = 0

    def attempt(self, key: SigningKey, function: str, *arguments: object) -> bool:
        raw = self.contract.transaction(next_sender(self.chain, key), function, *arguments, gas_limit=2_000_000)
        receipt = self.chain.send(raw, timestamp=self.world.now)
        self.world.now = receipt.timestamp
        return receipt.status == 1

    @rule(skip=st.integers(0, 2), slots=st.integers(1, 3), wh=st.sampled_from([1, 499, 500]), reward=micro, stake=micro,
          baseline=st.lists(energy, min_size=3, max_size=3), patience=st.sampled_from([60, 600, 10_000]))  # fmt: skip
    def offer(self, skip: int, slots: int, wh: int, reward: int, stake: int, baseline: list[int], patience: int = 10_000) -> None:
        first = self.next_slot + skip
        agreed = {first + at: value for at, value in enumerate(baseline)}
        times = self.world.now + patience, self.world.now + 10_000
        terms = FlexibilityTerms(self.provider.address, first, slots, wh, reward, stake, *times, baseline_tree(agreed).root)
        assert self.attempt(self.buyer, "offer", terms.as_arguments())
        self.credit["buyer"] += -terms.reward_nano % UNIT
        self.agreements.append(Agreement(terms, agreed))

    @rule(patience=st.sampled_from([60, 600]), late=st.integers(-3, 20))
    def accept_at_the_last_moment(self, patience: int, late: int) -> None:
        self.offer(1, 1, 500, 333, 1, [0, 0, 0], patience)
        self.world.now = self.agreements[-1].terms.accept_by + late
        self.decide(len(self.agreements) - 1, accept=True)

    @precondition(lambda self: self.agreements)
    @rule(data=st.data(), accept=st.booleans())
    def accept_or_withdraw(self, data: st.DataObject, accept: bool) -> None:
        self.decide(data.draw(st.integers(0, len(self.agreements) - 1)), accept=accept)

    def decide(self, number: int, *, accept: bool) -> None:
        agreement = self.agreements[number]
        terms = agreement.terms
        done = self.attempt(self.provider if accept else self.buyer, "accept" if accept else "withdrawOffer", number + 1)
        possible = not agreement.over and not agreement.accepted
        if accept:
            possible = possible and self.world.now < terms.accept_by and terms.first_slot >= self.next_slot
        assert done == possible
        if done and accept:
            agreement.accepted = True
            self.credit["provider"] += -terms.stake_nano % UNIT
        elif done:
            agreement.over = True
            self.credit["buyer"] += terms.reward_nano

    @rule(wh=energy)
    def meter(self, wh: int) -> None:
        rows = net_positions([0, 1], [0, 0], [-wh, wh])
        content = self.world.settlement(self.next_slot, rows)
        settle(self.chain, self.world.addresses, self.world.keys.operator, content, timestamp=self.world.now)
        self.settled[self.next_slot] = (wh, rows)
        self.next_slot += 1

    @precondition(lambda self: self.agreements and self.settled)
    @rule(data=st.data(), lie=st.sampled_from([0, 0, 0, 1]))
    def show(self, data: st.DataObject, lie: int) -> None:
        number = data.draw(st.integers(0, len(self.agreements) - 1))
        self.show_slot(number, data.draw(st.sampled_from(sorted(self.settled))), lie)

    @rule(slots=st.integers(1, 3), reward=micro, stake=micro, baseline=st.lists(energy, min_size=3, max_size=3),
          metered=st.lists(energy, min_size=3 + WINDOW, max_size=3 + WINDOW), odd=st.integers(0, 3),
          late=st.booleans())  # fmt: skip
    def go_all_the_way(
        self, slots: int, reward: int, stake: int, baseline: list[int], metered: list[int], odd: int, late: bool
    ) -> None:
        """Offered, accepted (or too late), metered and shown as soon as final, and expired: what few walks of small steps reach.

        What stands in slot `odd` is also tried before it is final, and again; so is the expiry.
        """
        self.offer(0, slots, 499, reward, stake, baseline)
        number, first = len(self.agreements) - 1, self.next_slot
        if late:
            self.meter(metered[0])
        self.decide(number, accept=True)
        if late:
            return
        for at in range(slots + WINDOW):
            self.meter(metered[at])
            if odd == at + 1 - WINDOW:
                self.show_slot(number, first + odd, 0)
            if at >= WINDOW:
                for _ in range(2 if odd == at - WINDOW else 1):
                    self.show_slot(number, first + at - WINDOW, 0)
        self.world.now += 10_000
        for _ in range(2):
            self.let_expire(number)

    def show_slot(self, number: int, slot: int, lie: int) -> None:
        agreement = self.agreements[number]
        wh, rows = self.settled[slot]
        known = slot in agreement.baseline
        proof = list(baseline_tree(agreement.baseline).proof(list(agreement.baseline).index(slot)).siblings) if known else []
        baseline = agreement.baseline.get(slot, 0) + lie
        roots = self.world.roots(slot)
        done = self.attempt(stranger(), "show", number + 1, slot, baseline, proof, [roots], [pack_positions(rows)])
        terms = agreement.terms
        inside = terms.first_slot <= slot < terms.first_slot + terms.slots
        final = slot < self.next_slot - WINDOW
        assert done == (agreement.accepted and not agreement.over and inside and final and slot not in agreement.shown and not lie)
        if done:
            provider, buyer = shares_nano(terms, delivered_wh(baseline, wh, terms.promised_wh))
            self.credit["provider"] += provider
            self.credit["buyer"] += buyer
            agreement.shown += (slot,)

    @rule(seconds=st.sampled_from([600, 9_000]))
    def wait(self, seconds: int) -> None:
        self.world.now += seconds

    @precondition(lambda self: self.agreements)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        self.let_expire(data.draw(st.integers(0, len(self.agreements) - 1)))

    def let_expire(self, number: int) -> None:
        agreement = self.agreements[number]
        done = self.attempt(stranger(), "expire", number + 1)
        assert done == (agreement.accepted and not agreement.over and self.world.now >= agreement.terms.expires_at)
        if done:
            rest = (agreement.terms.slots - len(agreement.shown)) * agreement.terms.promised_wh
            self.credit["buyer"] += rest * agreement.terms.reward_micro
            self.credit["provider"] += rest * agreement.terms.stake_micro
            agreement.over = True

    @rule(who=st.sampled_from(["buyer", "provider"]))
    def collect(self, who: str) -> None:
        key = self.buyer if who == "buyer" else self.provider
        before = self.world.tokens(key.address)
        done = self.attempt(key, "collect")
        units = self.credit[who] // UNIT
        assert done == (units > 0)
        assert self.world.tokens(key.address) - before == units
        self.credit[who] %= UNIT

    @invariant()
    def every_nano_is_somebodys(self) -> None:
        for who, key in (("buyer", self.buyer), ("provider", self.provider)):
            assert self.contract.view(self.chain, "creditOf", key.address)[0] == self.credit[who]
        at_stake = 0
        for agreement in self.agreements:
            terms, left = agreement.terms, agreement.terms.slots - len(agreement.shown)
            if not agreement.over:
                each = terms.reward_micro + (terms.stake_micro if agreement.accepted else 0)
                at_stake += left * terms.promised_wh * each
        assert self.world.tokens(self.contract.address) * UNIT == sum(self.credit.values()) + at_stake


def test_flexibility_bonds_equal_their_twin() -> None:
    run_machine(FlexibilityMachine, machine_settings(10, 25))


PLANTED = {
    "a delivery shown twice": ("        _shown[number].set(slot);\n", ""),
    "more than promised": ("uint256(less) < terms.promisedWh ? uint256(less) : terms.promisedWh", "uint256(less)"),
    "a reward kept": ("creditOf[agreement.buyer] += missingWh * perKwh;", "creditOf[agreement.buyer] += 0;"),
    "a slot not final": ("if (slot >= finalBelow ||", "if (slot > finalBelow ||"),
    "an expiry twice": ("        delete _agreementOf[number];\n    }\n\n    /// @notice Fetch", "    }\n\n    /// @notice Fetch"),
    "accepted with hindsight": ("if (block.timestamp >= agreement.terms.acceptBy) revert", "if (false) revert"),
    "accepted afterwards": ("if (agreement.terms.firstSlot < next) revert", "if (agreement.terms.firstSlot + 1 < next) revert"),
}
EVERY_TIME: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("correct", "wrong"),
    [pytest.param(*bug, id=name, marks=() if name in EVERY_TIME else pytest.mark.nightly) for name, bug in PLANTED.items()],
)
def test_a_planted_bug_is_found(correct: str, wrong: str) -> None:
    hunt = hunting(120, 25)
    with planted("FlexibilityBond", correct, wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(FlexibilityMachine, hunt)
