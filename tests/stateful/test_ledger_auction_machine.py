"""Sealed auctions against a twin: commitments, openings true and false, forfeits, clearings, and money in and out at any time.

A bond is held from commitment to reveal and is lost once if that never comes; each order is opened by its member as it was
sealed; the only clearing that passes is the market's; no token is lost; and each bug planted into the contract is found.
"""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_world import START, World, funded, stranger
from walras.ledger import Genesis, SigningKey, next_sender
from walras.ledger.auction import order_commitment, orders_from_words, pack_fills
from walras.ledger.calls import Contract, create
from walras.market.conventions import Conventions
from walras.market.orders import make_orders
from walras.market.uniform import clear

MEMBERS, BOND, MONEY, PHASE = 3, 7, 100, 60
accounts = st.integers(0, MEMBERS - 1)


@dataclass
class Sealed:
    """One order as the twin knows it."""

    account: int
    quantity: int
    price: int
    state: str = "sealed"  # then "revealed" or "forfeited"


def selling_by_auction() -> tuple[World, Contract]:
    """A contract for auctions and members with money to bond."""
    world = World(machine_chain(Genesis(funded(MEMBERS), timestamp=START - 900)), members=MEMBERS)
    terms = (world.addresses.currency, world.addresses.registry, stranger().address, BOND, 1, 2)
    contract = create(world.chain, world.keys.admin, "SealedAuction", *terms, timestamp=world.now)
    for account in range(MEMBERS):
        key = world.keys.member(account)
        assert world.send(world.keys.operator, "TestCurrency", "mint", key.address, MONEY).status == 1
        assert world.send(key, "TestCurrency", "approve", contract.address, 2**200).status == 1
    return world, contract


class AuctionMachine(RuleBasedStateMachine):
    """One auction after the other; a step may come too early, too late, twice, or from the wrong member."""

    @initialize()
    def begin(self) -> None:
        self.world, self.contract = prepared(selling_by_auction)
        self.keys = [self.world.keys.member(account) for account in range(MEMBERS)]
        self.tokens, self.free, self.treasury_free = [MONEY] * MEMBERS, [0] * MEMBERS, 0
        self.slot, self.orders, self.cleared = -1, list[Sealed](), False
        self.commits_end = self.reveals_end = 0

    def attempt(self, key: SigningKey, function: str, *arguments: object) -> bool:
        raw = self.contract.transaction(next_sender(self.world.chain, key), function, *arguments)
        receipt = self.world.chain.send(raw, timestamp=self.world.now)
        self.world.now = receipt.timestamp
        return receipt.status == 1

    @rule(by=accounts, amount=st.sampled_from([BOND - 1, BOND, 2 * BOND, 3 * BOND, 0]))
    def pay_in(self, by: int, amount: int) -> None:
        done = self.attempt(self.keys[by], "payIn", amount)
        assert done == (amount <= self.tokens[by])
        if done:
            self.tokens[by] -= amount
            self.free[by] += amount

    @rule(by=accounts)
    def pay_out(self, by: int) -> None:
        assert self.attempt(self.keys[by], "payOut")
        self.tokens[by] += self.free[by]
        self.free[by] = 0

    @precondition(lambda self: self.slot < 0 or self.world.now >= self.reveals_end)
    @rule(wealth=st.sampled_from([0, 3 * BOND]))
    def open_the_next(self, wealth: int) -> None:
        now = self.world.now
        assert self.attempt(self.world.keys.operator, "open", self.slot + 1, now + PHASE, now + 2 * PHASE)
        self.slot, self.orders, self.cleared = self.slot + 1, [], False
        self.commits_end, self.reveals_end = now + PHASE, now + 2 * PHASE
        for by in range(MEMBERS):
            self.pay_in(by, min(wealth, self.tokens[by]))

    def salt(self, number: int) -> bytes:
        return number.to_bytes(32, "big")

    @precondition(lambda self: self.slot >= 0)
    @rule(by=accounts, quantity=st.sampled_from([-9, -4, 4, 9]), price=st.sampled_from([-1, 5, 6, 9]))
    def commit(self, by: int, quantity: int, price: int) -> None:
        number = len(self.orders)
        sealed = order_commitment(self.contract, self.slot, by, quantity, price, self.salt(number))
        done = self.attempt(self.keys[by], "commit", self.slot, sealed)
        assert done == (self.world.now < self.commits_end and self.free[by] >= BOND)
        if done:
            self.free[by] -= BOND
            self.orders.append(Sealed(by, quantity, price))

    @rule(wait=st.sampled_from([0, PHASE, PHASE]))
    def wait(self, wait: int) -> None:
        self.world.now += wait

    @precondition(lambda self: self.slot >= 0 and self.world.now < self.commits_end)
    @rule(by=accounts, late=st.integers(-3, 2))
    def commit_at_the_last_moment(self, by: int, late: int) -> None:
        if self.free[by] < BOND and self.tokens[by] >= BOND:
            self.pay_in(by, BOND)
        self.world.now = max(self.world.now, self.commits_end + late)
        self.commit(by, 4, 5)

    @precondition(lambda self: self.orders and self.world.now < self.reveals_end)
    @rule(data=st.data(), early=st.integers(-2, 20))
    def forfeit_at_the_first_moment(self, data: st.DataObject, early: int) -> None:
        number = data.draw(st.integers(0, len(self.orders) - 1))
        self.world.now = max(self.world.now, self.reveals_end - early)
        done = self.attempt(stranger(), "forfeit", self.slot, [number])
        assert done == (self.world.now >= self.reveals_end and self.orders[number].state == "sealed")
        if done:
            self.treasury_free += BOND
            self.orders[number].state = "forfeited"

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), by=accounts, own=st.integers(0, 3), off=st.sampled_from([0, 0, 0, 1]))
    def reveal(self, data: st.DataObject, by: int, own: int, off: int) -> None:
        number = data.draw(st.integers(0, len(self.orders) - 1))
        order = self.orders[number]
        self.open_order(number, order.account if own else by, off)

    @precondition(lambda self: self.orders and self.world.now < self.reveals_end)
    @rule(data=st.data(), at_the_end=st.booleans(), late=st.integers(-2, 20), off=st.sampled_from([0, 0, 1]))
    def reveal_at_the_first_or_last_moment(self, data: st.DataObject, at_the_end: bool, late: int, off: int) -> None:
        """Who sealed it opens it, now and then as another order than it sealed."""
        sealed = [number for number, order in enumerate(self.orders) if order.state == "sealed"]
        number = data.draw(st.sampled_from(sealed or range(len(self.orders))))
        self.world.now = max(self.world.now, (self.reveals_end if at_the_end else self.commits_end) + late)
        self.open_order(number, self.orders[number].account, off)

    def open_order(self, number: int, by: int, off: int = 0) -> None:
        order = self.orders[number]
        arguments = (self.slot, number, order.quantity, order.price + off, self.salt(number))
        done = self.attempt(self.keys[by], "reveal", *arguments)
        in_time = self.commits_end <= self.world.now < self.reveals_end
        assert done == (in_time and by == order.account and not off and order.state == "sealed")
        if done:
            order.state = "revealed"
            self.free[by] += BOND

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def forfeit(self, data: st.DataObject) -> None:
        numbers = data.draw(st.lists(st.integers(0, len(self.orders) - 1), min_size=1, max_size=2))
        done = self.attempt(stranger(), "forfeit", self.slot, numbers)
        sealed = all(self.orders[number].state == "sealed" for number in numbers)
        assert done == (self.world.now >= self.reveals_end and sealed and len(set(numbers)) == len(numbers))
        if done:
            self.treasury_free += BOND * len(numbers)
            for number in numbers:
                self.orders[number].state = "forfeited"

    @precondition(lambda self: self.slot >= 0)
    @rule(price_off=st.sampled_from([0, 0, 0, 1, -1]), fill_off=st.sampled_from([0, 0, 0, 1]), go_on=st.booleans())
    def submit(self, price_off: int, fill_off: int, go_on: bool) -> None:
        """The market's clearing of what is revealed, or its neighbour."""
        self.world.now = max(self.world.now, self.reveals_end) if go_on else self.world.now
        orders = orders_from_words(list(self.contract.view(self.world.chain, "wordsOf", self.slot)[0]))
        price, fills = 0, np.zeros(0, dtype=np.int64)
        if orders.number.size:
            sides, sizes = np.sign(orders.quantity_wh), np.abs(orders.quantity_wh)
            book = make_orders(sides, sizes, orders.price_micro_per_kwh, id=orders.number, time=orders.number)
            made = clear(book, Conventions(tie="time"))
            price, fills = made.price_micro_per_kwh or 0, made.filled_wh.copy()
        off = price_off != 0 or (fill_off and fills.size > 0)
        if fill_off and fills.size:
            fills[0] += 1
        done = self.attempt(stranger(), "submitClearing", self.slot, price + price_off, pack_fills(orders, fills))
        assert done == (self.world.now >= self.reveals_end and not self.cleared and not off)
        self.cleared = self.cleared or done

    @precondition(lambda self: self.slot < 0 or self.world.now >= self.reveals_end)
    @rule(bid=st.integers(1, 9), ask=st.integers(1, 9), fill_off=st.integers(0, 1))
    def a_whole_auction(self, bid: int, ask: int, fill_off: int) -> None:
        """Two orders that trade, sealed, opened and cleared; or the first of them filled by one watt-hour more."""
        self.open_the_next(3 * BOND)
        self.commit(0, bid, 9)
        self.commit(1, -ask, 5)
        self.world.now = max(self.world.now, self.commits_end)
        for number, order in enumerate(self.orders):
            self.open_order(number, order.account)
        self.submit(0, fill_off, True)

    @invariant()
    def every_token_is_somebodys(self) -> None:
        world, chain = self.world, self.world.chain
        assert [world.tokens(key.address) for key in self.keys] == self.tokens
        assert [self.contract.view(chain, "freeOf", key.address)[0] for key in self.keys] == self.free
        assert self.contract.view(chain, "freeOf", stranger().address)[0] == self.treasury_free
        held = self.contract.view(chain, "wordsOf", max(self.slot, 0))[0]
        states = ["sealed" if word >> 255 else "revealed" if word >> 128 else "forfeited" for word in held]
        assert states == [order.state for order in self.orders]
        bonded = world.tokens(self.contract.address) - sum(self.free) - self.treasury_free
        assert bonded % BOND == 0
        assert bonded >= BOND * states.count("sealed")  # and what earlier auctions left sealed


def test_bonds_openings_and_clearings_are_the_twins() -> None:
    run_machine(AuctionMachine, machine_settings(6, 30))


PLANTED = {
    "a bond not taken": ("SealedAuction", "freeOf[msg.sender] = free - bond;", "freeOf[msg.sender] = free;"),
    "a bond back twice": (
        "SealedAuction",
        "freeOf[msg.sender] += bond;\n        emit",
        "freeOf[msg.sender] += 2 * bond;\n        emit",
    ),
    "late to commit": (
        "SealedAuction",
        "if (block.timestamp >= auction.commitsEnd)",
        "if (block.timestamp >= auction.commitsEnd + 60)",
    ),
    "late to reveal": (
        "SealedAuction",
        "block.timestamp >= auction.revealsEnd) {",
        "block.timestamp >= auction.revealsEnd + 60) {",
    ),
    "forfeited twice": ("SealedAuction", "            delete _words[slot][orders[i]];\n", ""),
    "forfeited too early": (
        "SealedAuction",
        "if (revealsEnd == 0 || block.timestamp <",
        "if (revealsEnd == 0 || block.timestamp + 30 <",
    ),
    "another opening": ("SealedAuction", "if (word != expected) revert WrongOpening(slot, order);", ""),
    "paid out and kept": ("SealedAuction", "        delete freeOf[msg.sender];\n", ""),
    "cleared twice": ("SealedAuction", "        auction.cleared = true;\n", ""),
    "another price": ("UniformPrice", "if (pass.price != expected) revert WrongPrice(pass.price, expected);", ""),
    "bought and not sold": ("UniformPrice", "if (pass.bought != pass.sold) revert NotBalanced(pass.bought, pass.sold);", ""),
}
EVERY_TIME = ("a bond not taken",)


@pytest.mark.parametrize(
    ("source", "correct", "wrong"),
    [pytest.param(*bug, id=name, marks=() if name in EVERY_TIME else pytest.mark.nightly) for name, bug in PLANTED.items()],
)
def test_a_planted_bug_is_found(source: str, correct: str, wrong: str) -> None:
    with planted("SealedAuction", correct, wrong, source=source), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(AuctionMachine, hunting(60, 30))
