"""Sealed bids on chain: the contract takes exactly the clearing that the market's own rule gives, and no other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ledger_planted import planted
from ledger_world import CHAINS, START, World, chain_of, stranger
from walras.errors import InputError, LedgerError
from walras.ledger import SigningKey, Transaction, artifact, next_sender, sign_transaction
from walras.ledger.auction import ChainOrders, order_commitment, orders_from_words, pack_fills, read_orders
from walras.ledger.calls import Contract, create
from walras.market.conventions import Conventions
from walras.market.orders import make_orders
from walras.market.uniform import clear

BOND = 500
HOUR = 3_600
MEMBERS = 6


class Auctions:
    """A sealed auction with bonds paid in for every member."""

    def __init__(self, world: World, k: Fraction = Fraction(1, 2)) -> None:
        self.world, self.chain, self.keys = world, world.chain, world.keys
        self.treasury = stranger()
        terms = (world.addresses.currency, world.addresses.registry, self.treasury.address, BOND, k.numerator, k.denominator)
        self.contract = create(self.chain, self.keys.admin, "SealedAuction", *terms, timestamp=world.now)
        self.conventions = Conventions(k=k, tie="time")
        for account in range(world.members):
            member = self.keys.member(account)
            world.send(self.keys.operator, "TestCurrency", "mint", member.address, 20 * BOND)
            world.send(member, "TestCurrency", "approve", self.contract.address, 20 * BOND)
            self.act(member, "payIn", 20 * BOND)

    def act(self, key: SigningKey, function: str, *arguments: object, at: int | None = None) -> object:
        moment = self.world.now if at is None else at
        return self.contract.act(self.chain, key, function, *arguments, timestamp=moment, gas_limit=5_000_000)

    def open(self, slot: int) -> None:
        now = self.world.now
        self.act(self.keys.operator, "open", slot, now + HOUR, now + 2 * HOUR)

    def salt(self, number: int) -> bytes:
        return bytes([7]) + number.to_bytes(31, "big")

    def commit(self, slot: int, number: int, account: int, quantity: int, price: int) -> None:
        commitment = order_commitment(self.contract, slot, account, quantity, price, self.salt(number))
        self.act(self.keys.member(account), "commit", slot, commitment)

    def reveal(self, slot: int, number: int, account: int, quantity: int, price: int) -> None:
        self.act(self.keys.member(account), "reveal", slot, number, quantity, price, self.salt(number))

    def hold(self, slot: int, orders: list[tuple[int, int, int]]) -> ChainOrders:
        """Commit and reveal (account, quantity, price), and go to the time of clearing."""
        self.open(slot)
        for number, order in enumerate(orders):
            self.commit(slot, number, *order)
        self.world.now += HOUR + 60
        for number, order in enumerate(orders):
            self.reveal(slot, number, *order)
        self.world.now += HOUR
        self.world.send(self.keys.operator, "TestCurrency", "mint", self.treasury.address, 1)  # a block at that time
        return read_orders(self.chain, self.contract, slot)

    def solve(self, orders: ChainOrders) -> tuple[int, list[int]]:
        book = make_orders(
            np.sign(orders.quantity_wh),
            np.abs(orders.quantity_wh),
            orders.price_micro_per_kwh,
            id=orders.number,
            time=orders.number,
            participant=orders.account,
        )
        done = clear(book, self.conventions)
        return done.price_micro_per_kwh or 0, done.filled_wh.tolist()

    def refusal(self, slot: int, price: int, orders: ChainOrders, fills: list[int]) -> str | None:
        """What would become of a submission; nothing is kept."""
        data = artifact("SealedAuction").call("submitClearing", slot, price, pack_fills(orders, fills))
        sender = next_sender(self.chain, self.keys.operator)
        transaction = Transaction(self.chain.chain_id, sender.nonce, self.contract.address, data, 8_000_000)
        found = self.chain.rehearse(sign_transaction(sender.key, transaction)).refusal
        return None if found is None else found.name


@pytest.fixture(scope="module", params=CHAINS)
def auctions(request: pytest.FixtureRequest) -> Iterator[Auctions]:
    with chain_of(request.param) as chain:
        yield Auctions(World(chain))


def refused(name: str) -> object:
    return pytest.raises(LedgerError, match=rf"refused: {name}\(")


prices = st.sampled_from([-5, 0, 1, 7, 8, 100])
order = st.tuples(st.integers(0, MEMBERS - 1), st.sampled_from([-9, -4, -1, 1, 4, 9]), prices)
TWIN = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


def compare_with_the_market(data: st.DataObject, k: Fraction) -> None:
    """Twin: `market.uniform` with ties by time. Neighbours: a Wh moved, added or taken, the price off by one."""
    with chain_of("embedded", MEMBERS) as chain:
        compare_on(Auctions(World(chain, members=MEMBERS), k), data)


def compare_on(auctions: Auctions, data: st.DataObject) -> None:
    orders = auctions.hold(0, data.draw(st.lists(order, min_size=2, max_size=7)))
    price, fills = auctions.solve(orders)
    assert auctions.refusal(0, price, orders, fills) is None
    for step in (-1, 1):
        assert auctions.refusal(0, price + step, orders, fills) is not None
    neighbours = {
        tuple(sum((fills[row], one * (row == left), other * (row == right))) for row in range(len(fills)))
        for left, right in itertools.combinations(range(len(fills)), 2)
        for one, other in ((1, 1), (-1, -1), (1, -1), (-1, 1), (1, 0))
    }
    for moved in data.draw(st.permutations(sorted(neighbours)))[:12]:
        if min(moved) >= 0:
            assert auctions.refusal(0, price, orders, list(moved)) is not None, (fills, moved)
    auctions.act(stranger(), "submitClearing", 0, price, pack_fills(orders, fills))
    assert auctions.contract.view(auctions.chain, "resultOf", 0)[:2] == (price, sum(fills) // 2)


@given(st.data(), st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(1, 3), Fraction(1)]))
@TWIN
def test_the_contract_takes_the_markets_clearing_and_no_neighbour_of_it(data: st.DataObject, k: Fraction) -> None:
    compare_with_the_market(data, k)


PLANTED = {
    "a crossing left": ("if (pass.bestOpenBid >= pass.bestOpenAsk)", "if (pass.bestOpenBid > pass.bestOpenAsk)"),
    "the last in time first": ("if (limit == pass.price) pass.bidsAtPriceShort = true;", ""),
    "an ask overfilled": ("if (filledWh > -quantityWh) revert", "if (filledWh > 1 - quantityWh) revert"),
    "any price in the interval": ("if (pass.price != expected) revert", "if (pass.bought == 0 && pass.price != expected) revert"),
}


@pytest.mark.nightly
@pytest.mark.parametrize(("correct", "wrong"), PLANTED.values(), ids=PLANTED)
def test_a_bug_planted_into_the_rule_is_found(correct: str, wrong: str) -> None:
    def hunt(data: st.DataObject) -> None:
        compare_with_the_market(data, Fraction(1, 2))

    looking = settings(TWIN, max_examples=60, database=None, derandomize=True, phases=(Phase.generate,))
    with planted("SealedAuction", correct, wrong, source="UniformPrice"), pytest.raises((AssertionError, BaseExceptionGroup)):
        looking(given(st.data())(hunt))()


def test_three_bids_two_asks_clear_at_the_middle_of_the_interval(auctions: Auctions) -> None:
    slot = 100
    orders = auctions.hold(slot, [(1, 1000, 300_000), (2, 500, 200_000), (3, 800, 140_000), (4, -900, 100_000), (5, -600, 150_000)])
    assert auctions.solve(orders) == (175_000, [1000, 500, 0, 900, 600])
    cases = [
        (175_001, [1000, 500, 0, 900, 600], "WrongPrice"),
        (175_000, [1000, 501, 0, 901, 600], "Overfilled"),
        (175_000, [1000, 499, 0, 900, 600], "NotBalanced"),
        (175_000, [1000, 400, 0, 900, 500], "CrossingLeft"),
        (175_000, [1000, 400, 100, 900, 600], "NotSupported"),
        (0, [0, 0, 0, 0, 0], "CrossingLeft"),
    ]
    for price, fills, name in cases:
        assert auctions.refusal(slot, price, orders, fills) == name
    fills = pack_fills(orders, [1000, 500, 0, 900, 600])
    auctions.act(auctions.keys.member(3), "submitClearing", slot, 175_000, fills)
    with refused("AlreadyCleared"):
        auctions.act(auctions.keys.operator, "submitClearing", slot, 175_000, fills)


def test_among_equals_the_earlier_commitment_is_served_first(auctions: Auctions) -> None:
    slot = 101
    orders = auctions.hold(slot, [(1, 10, 50), (2, 10, 50), (3, -12, 20)])
    assert auctions.refusal(slot, 50, orders, [2, 10, 12]) == "OutOfTurn"
    assert auctions.refusal(slot, 50, orders, [6, 6, 12]) == "OutOfTurn"
    assert auctions.refusal(slot, 50, orders, [10, 2, 12]) is None


def test_an_unrevealed_bid_has_no_part_and_forfeits_its_bond_once(auctions: Auctions) -> None:
    slot = 102
    auctions.open(slot)
    for number, one in enumerate([(1, 10, 50), (2, 10, 60), (3, -10, 20)]):
        auctions.commit(slot, number, *one)
    auctions.world.now += HOUR + 60
    for number, one in ((0, (1, 10, 50)), (2, (3, -10, 20))):
        auctions.reveal(slot, number, *one)
    with refused("StillRevealing"):
        auctions.act(stranger(), "forfeit", slot, [1])
    with refused("StillRevealing"):
        auctions.act(stranger(), "submitClearing", slot, 35, bytes(24))
    auctions.world.now += HOUR
    orders = read_orders(auctions.chain, auctions.contract, slot)
    assert (orders.count, orders.number.tolist()) == (3, [0, 2])
    greedy = (5).to_bytes(8, "big") * 3
    with refused("FilledUnrevealed"):
        auctions.act(stranger(), "submitClearing", slot, 35, greedy)
    with refused("WrongFillCount"):
        auctions.act(stranger(), "submitClearing", slot, 35, bytes(16))
    before = auctions.contract.view(auctions.chain, "freeOf", auctions.treasury.address)[0]
    auctions.act(stranger(), "forfeit", slot, [1])
    for again in ([1], [0], [7]):
        with refused("NotSealed"):
            auctions.act(stranger(), "forfeit", slot, again)
    assert auctions.contract.view(auctions.chain, "freeOf", auctions.treasury.address)[0] == before + BOND
    auctions.act(stranger(), "submitClearing", slot, 35, pack_fills(orders, [10, 10]))


def test_a_reveal_is_the_members_own_and_what_was_committed(auctions: Auctions) -> None:
    """Front-running: who sees a reveal on its way cannot use it; a commitment copied names the wrong member."""
    slot = 103
    auctions.open(slot)
    auctions.commit(slot, 0, 1, 10, 50)
    copied = order_commitment(auctions.contract, slot, 1, 10, 50, auctions.salt(0))
    auctions.act(auctions.keys.member(2), "commit", slot, copied)
    with refused("NotRevealing"):
        auctions.reveal(slot, 0, 1, 10, 50)
    auctions.world.now += HOUR + 60
    with refused("NotCommitting"):
        auctions.commit(slot, 2, 3, 1, 1)
    with refused("WrongOpening"):  # another member shows it as its own
        auctions.act(auctions.keys.member(2), "reveal", slot, 0, 10, 50, auctions.salt(0))
    with refused("WrongOpening"):  # the copy
        auctions.act(auctions.keys.member(2), "reveal", slot, 1, 10, 50, auctions.salt(0))
    with refused("WrongOpening"):  # another price than committed
        auctions.act(auctions.keys.member(1), "reveal", slot, 0, 10, 51, auctions.salt(0))
    with refused("NotSealed"):
        auctions.act(auctions.keys.member(1), "reveal", slot, 9, 10, 50, auctions.salt(0))
    auctions.reveal(slot, 0, 1, 10, 50)
    with refused("NotSealed"):
        auctions.reveal(slot, 0, 1, 10, 50)
    with refused("NotMember"):
        auctions.act(stranger(), "reveal", slot, 0, 10, 50, auctions.salt(0))
    auctions.world.now += HOUR
    with refused("NotRevealing"):
        auctions.act(auctions.keys.member(2), "reveal", slot, 1, 10, 50, auctions.salt(0))


def test_quantities_and_prices_beyond_the_markets_limits_are_refused(auctions: Auctions) -> None:
    slot = 104
    wild = [(0, 0, 1), (0, 10**12 + 1, 1), (0, -(10**12) - 1, 1), (0, 1, 10**9 + 1), (0, 1, -(10**9) - 1)]
    auctions.open(slot)
    for number, one in enumerate(wild):
        auctions.commit(slot, number, *one)
    auctions.commit(slot, len(wild), 0, -(10**12), -(10**9))
    auctions.world.now += HOUR + 60
    for number, one in enumerate(wild):
        with refused("OutOfRange"):
            auctions.reveal(slot, number, *one)
    auctions.reveal(slot, len(wild), 0, -(10**12), -(10**9))
    auctions.world.now += HOUR
    orders = read_orders(auctions.chain, auctions.contract, slot)
    assert (orders.quantity_wh.tolist(), orders.price_micro_per_kwh.tolist()) == ([-(10**12)], [-(10**9)])


def test_no_bond_no_bid_and_what_is_free_can_be_taken_out(auctions: Auctions) -> None:
    slot, member = 105, auctions.keys.member(5)
    tokens = auctions.world.tokens(member.address)
    free = auctions.contract.view(auctions.chain, "freeOf", member.address)[0]
    auctions.act(member, "payOut")
    assert auctions.world.tokens(member.address) == tokens + free
    auctions.open(slot)
    with refused("BondNotFree"):
        auctions.commit(slot, 0, 5, 1, 1)
    with refused("NotMember"):
        auctions.act(stranger(), "commit", slot, bytes(32))
    auctions.world.send(member, "TestCurrency", "approve", auctions.contract.address, free)
    auctions.act(member, "payIn", free)
    auctions.commit(slot, 0, 5, 1, 1)
    assert auctions.contract.view(auctions.chain, "freeOf", member.address)[0] == free - BOND


def test_auctions_are_opened_once_by_the_operator_with_times_ahead(auctions: Auctions) -> None:
    now, operator = auctions.world.now, auctions.keys.operator
    auctions.open(106)
    with refused("AlreadyOpen"):
        auctions.open(106)
    with refused("NotOperator"):
        auctions.act(stranger(), "open", 107, now + HOUR, now + 2 * HOUR)
    for commits, reveals in ((now - HOUR, now + HOUR), (now + HOUR, now + HOUR)):
        with refused("BadTimes"):
            auctions.act(operator, "open", 107, commits, reveals)
    with refused("NotCommitting"):
        auctions.commit(107, 0, 0, 1, 1)


def test_bad_terms_are_refused(auctions: Auctions) -> None:
    a = auctions.world.addresses
    for treasury, k, name in (
        ("0x" + "00" * 20, (1, 2), "NoAddress"),
        (a.registry, (1, 0), "BadShare"),
        (a.registry, (2, 1), "BadShare"),
    ):
        with refused(name):
            create(
                auctions.chain, auctions.keys.admin, "SealedAuction", a.currency, a.registry, treasury, BOND, *k, timestamp=START
            )


def test_fills_are_packed_for_every_number_given_out() -> None:
    words = [1 << 255 | 5, 1 << 128 | 2 << 112 | 9 << 64 | 8, 0, 1 << 128 | 3 << 112 | (2**48 - 9) << 64 | (2**64 - 8)]
    orders = orders_from_words(words)
    assert orders.account.tolist() == [2, 3]
    assert orders.quantity_wh.tolist() == [9, -9]
    assert orders.price_micro_per_kwh.tolist() == [8, -8]
    assert pack_fills(orders, [1, 2]) == bytes(8) + (1).to_bytes(8, "big") + bytes(8) + (2).to_bytes(8, "big")
    for wrong in ([1], [1, -1]):
        with pytest.raises(InputError):
            pack_fills(orders, wrong)
    assert isinstance(Contract("SealedAuction", 1, "0x"), Contract)
