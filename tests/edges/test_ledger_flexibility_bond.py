"""Flexibility bonds: what was delivered is paid, what was missing is slashed, pro rata and to the last nano-unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from eth_abi.abi import encode

from ledger_world import CHAINS, World, chain_of, stranger
from walras.errors import LedgerError
from walras.ledger import Chain, NetPositions, Receipt, SigningKey, net_positions, settle
from walras.ledger.calls import create
from walras.ledger.certificates import SettledRecord
from walras.ledger.flexibility_bond import FlexibilityTerms, accept_offer, baseline_tree, delivered_wh, shares_nano, show_delivery
from walras.metering.merkle import KECCAK_SORTED, tree_over

FIRST, SLOTS, PROMISED, REWARD, STAKE = 2, 3, 400, 150_001, 90_007
BASELINE = {FIRST: 1_000, FIRST + 1: 500, FIRST + 2: -50}
WINDOW = 4
BEGIN_S, EXPIRY_S = 20_000, 50_000


class Flexibility:
    """A buyer (the operator) and a provider (member 1) with money, beside a settlement."""

    def __init__(self, chain: Chain) -> None:
        self.world, self.chain = World(chain, members=3, window=WINDOW), chain
        self.buyer, self.provider = self.world.keys.operator, self.world.keys.member(1)
        self.contract = create(chain, self.world.keys.admin, "FlexibilityBond", self.world.addresses.settlement, timestamp=self.now)
        for key in (self.buyer, self.provider):
            assert self.world.send(self.buyer, "TestCurrency", "mint", key.address, 10**9).status == 1
            assert self.world.send(key, "TestCurrency", "approve", self.contract.address, 10**9).status == 1
        times = self.now + BEGIN_S, self.now + EXPIRY_S
        self.terms = FlexibilityTerms(
            self.provider.address, FIRST, SLOTS, PROMISED, REWARD, STAKE, *times, baseline_tree(BASELINE).root
        )
        self.settled: dict[int, NetPositions] = {}

    @property
    def now(self) -> int:
        return self.world.now

    def act(self, key: SigningKey, function: str, *arguments: object) -> Receipt:
        return self.contract.act(self.chain, key, function, *arguments, timestamp=self.now)

    def agreed(self) -> None:
        self.act(self.buyer, "offer", self.terms.as_arguments())
        accept_offer(self.chain, self.contract, self.provider, 1, BASELINE, timestamp=self.now)

    def meter(self, slot: int, wh: int) -> None:
        """Settle `slot` with so much taken by the provider."""
        self.settled[slot] = net_positions([0, 1], [0, 0], [-wh, wh])
        content = self.world.settlement(slot, self.settled[slot])
        settle(self.chain, self.world.addresses, self.world.keys.operator, content, timestamp=self.now)

    def finish(self) -> None:
        """Slots enough that those of the agreement are final."""
        empty = self.world.settlement(FIRST + SLOTS + WINDOW, net_positions([], [], []))
        settle(self.chain, self.world.addresses, self.world.keys.operator, empty, timestamp=self.now)

    def show(self, slot: int, baseline: dict[int, int] | None = None) -> Receipt:
        records = [SettledRecord(self.world.header(slot), self.settled[slot])]
        parties = (self.chain, self.contract, stranger(), 1, slot, baseline or BASELINE, records)
        return show_delivery(*parties, timestamp=self.now)

    def credits(self) -> tuple[int, int]:
        """(provider, buyer) nano-units."""
        return tuple(self.contract.view(self.chain, "creditOf", key.address)[0] for key in (self.provider, self.buyer))  # type: ignore[return-value]


@pytest.fixture(params=CHAINS)
def flexibility(request: pytest.FixtureRequest) -> Iterator[Flexibility]:
    with chain_of(request.param) as chain:
        yield Flexibility(chain)


@pytest.fixture
def embedded() -> Iterator[Flexibility]:
    with chain_of("embedded") as chain:
        yield Flexibility(chain)


def refused(name: str) -> pytest.RaisesExc[LedgerError]:
    return pytest.raises(LedgerError, match=rf"refused: {name}\(")


def test_delivery_is_paid_and_what_is_missing_slashed_pro_rata(flexibility: Flexibility) -> None:
    flexibility.agreed()
    over = flexibility.credits()  # what the whole token units were more than the nano-units
    metered = {FIRST: 700, FIRST + 1: 600, FIRST + 2: -900}  # 300 of 400, nothing, and more than promised
    for slot, wh in metered.items():
        flexibility.meter(slot, wh)
    flexibility.finish()
    expected = list(over)
    for slot, wh in metered.items():
        _, content = flexibility.contract.events(flexibility.show(slot))[0]
        delivered = delivered_wh(BASELINE[slot], wh, PROMISED)
        assert (content["deliveredWh"], content["missingWh"]) == (delivered, PROMISED - delivered)
        provider, buyer = shares_nano(flexibility.terms, delivered)
        expected = [expected[0] + provider, expected[1] + buyer]
        assert flexibility.credits() == tuple(expected)
        with refused("AlreadyShown"):
            flexibility.show(slot)
    assert [delivered_wh(BASELINE[slot], wh, PROMISED) for slot, wh in metered.items()] == [300, 0, 400]
    held = flexibility.world.tokens(flexibility.contract.address)
    assert held * 1_000 == sum(expected)  # the whole reward and the whole stake, and nothing else
    for key, credit in zip((flexibility.provider, flexibility.buyer), expected, strict=True):
        before = flexibility.world.tokens(key.address)
        flexibility.act(key, "collect")
        assert flexibility.world.tokens(key.address) - before == credit // 1_000
        with refused("NothingToCollect"):
            flexibility.act(key, "collect")


def test_what_nobody_shows_goes_back_to_where_it_came_from(flexibility: Flexibility) -> None:
    flexibility.agreed()
    over = flexibility.credits()
    flexibility.meter(FIRST, 700)
    flexibility.finish()
    flexibility.show(FIRST)
    with refused("NotExpired"):
        flexibility.act(stranger(), "expire", 1)
    flexibility.world.now += EXPIRY_S
    flexibility.act(stranger(), "expire", 1)
    provider, buyer = shares_nano(flexibility.terms, 300)
    rest = (SLOTS - 1) * PROMISED
    assert flexibility.credits() == (over[0] + provider + rest * STAKE, over[1] + buyer + rest * REWARD)
    with refused("NotOffered"):
        flexibility.act(stranger(), "expire", 1)


def test_a_delivery_is_shown_of_a_final_slot_of_the_agreement_with_its_own_baseline(embedded: Flexibility) -> None:
    embedded.agreed()
    embedded.meter(FIRST, 700)
    with refused("NotFinal"):
        embedded.show(FIRST)
    embedded.finish()
    with refused("NotFinal"):
        embedded.settled[FIRST + 1] = embedded.settled[FIRST]
        embedded.show(FIRST + 1)  # never settled
    with refused("NotTheBaseline"):
        embedded.show(FIRST, {**BASELINE, FIRST: 9_999})
    with refused("NotInAgreement"):
        embedded.settled[FIRST + SLOTS] = embedded.settled[FIRST]
        embedded.show(FIRST + SLOTS, {**BASELINE, FIRST + SLOTS: 1})
    embedded.settled[FIRST] = net_positions([0, 1], [0, 0], [100, -100])
    with refused("NotWhatWasSettled"):
        embedded.show(FIRST)


def test_an_offer_is_checked_withdrawn_and_accepted_by_the_right_party_in_time(embedded: Flexibility) -> None:
    terms = embedded.terms
    bad = [
        replace(terms, provider="0x" + "00" * 20),
        replace(terms, slots=0),
        replace(terms, slots=35_041),
        replace(terms, promised_wh=0),
        replace(terms, accept_by=1),
        replace(terms, expires_at=terms.accept_by - 1),
        replace(terms, first_slot=2**64 - 1),
    ]
    for one in bad:
        with refused("BadTerms"):
            embedded.act(embedded.buyer, "offer", one.as_arguments())
    with refused("NotOffered"):
        embedded.act(embedded.provider, "accept", 1)
    embedded.act(embedded.buyer, "offer", terms.as_arguments())
    with refused("NotParty"):
        embedded.act(embedded.buyer, "accept", 1)
    with refused("NotParty"):
        embedded.act(embedded.provider, "withdrawOffer", 1)
    with refused("NotAccepted"):
        embedded.act(stranger(), "expire", 1)
    embedded.act(embedded.buyer, "withdrawOffer", 1)
    units = -(-terms.reward_nano // 1_000)
    assert embedded.credits() == (0, units * 1_000)
    embedded.act(embedded.buyer, "offer", terms.as_arguments())
    embedded.act(embedded.provider, "accept", 2)
    with refused("AlreadyAccepted"):
        embedded.act(embedded.provider, "accept", 2)
    with refused("AlreadyAccepted"):
        embedded.act(embedded.buyer, "withdrawOffer", 2)
    embedded.act(embedded.buyer, "offer", terms.as_arguments())
    embedded.meter(FIRST, 700)
    with refused("TooLate"):
        embedded.act(embedded.provider, "accept", 3)  # it knows already what it metered
    embedded.act(embedded.buyer, "offer", replace(terms, first_slot=99).as_arguments())
    embedded.world.now += EXPIRY_S
    with refused("OfferOver"):
        embedded.act(embedded.provider, "accept", 4)


def test_a_provider_that_waits_for_its_meter_before_it_accepts_is_too_late(embedded: Flexibility) -> None:
    """The slot is over and not yet settled: `acceptBy` stands between the two, to the second."""
    for number in (1, 2):
        embedded.act(embedded.buyer, "offer", embedded.terms.as_arguments())
        embedded.world.now = embedded.terms.accept_by - 2 + number
        if number == 1:
            embedded.act(embedded.provider, "accept", 1)
            embedded.terms = replace(embedded.terms, accept_by=embedded.now + 10)
    embedded.world.now = embedded.terms.accept_by
    with refused("OfferOver"):
        embedded.act(embedded.provider, "accept", 2)
    embedded.act(embedded.buyer, "withdrawOffer", 2)


def test_a_buyer_with_two_baselines_for_one_slot_finds_no_provider_that_accepts(embedded: Flexibility) -> None:
    """Both leaves are under the root: with the lower one the buyer would show that nothing was delivered, and take the stake."""
    leaves = [encode(["uint64", "int256"], [slot, wh]) for slot, wh in [*BASELINE.items(), (FIRST, -(10**6))]]
    root = tree_over(leaves, KECCAK_SORTED).root
    embedded.act(embedded.buyer, "offer", replace(embedded.terms, baseline_root=root).as_arguments())
    embedded.act(embedded.buyer, "offer", embedded.terms.as_arguments())
    for number, baseline in ((1, BASELINE), (2, {FIRST: 1_000}), (2, {**BASELINE, FIRST: 1_001})):
        with pytest.raises(LedgerError, match="another baseline"):
            accept_offer(embedded.chain, embedded.contract, embedded.provider, number, baseline, timestamp=embedded.now)
    accept_offer(embedded.chain, embedded.contract, embedded.provider, 2, BASELINE, timestamp=embedded.now)


def test_a_provider_must_be_a_member(embedded: Flexibility) -> None:
    embedded.act(embedded.buyer, "offer", replace(embedded.terms, provider=stranger().address).as_arguments())
    with refused("NotMember"):
        embedded.act(stranger(), "accept", 1)
