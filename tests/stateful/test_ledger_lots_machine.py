"""Lots and the market against their twins: granted, split, given back, swept, put up for sale, bought in parts and taken back.

In no slot to come do the living lots of a node exceed what it could take when they were granted; what is put up is delivered
against its price or comes back; nothing is lost or made; and each bug planted into a contract is found.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_foreign import Foreign, foreign
from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_rights import move_on
from ledger_world import START, World, funded
from walras.ledger import Genesis, SigningKey, next_sender
from walras.ledger.calls import Contract, create
from walras.ledger.quotes import ANYBODY, price_units

MEMBERS, MONEY, CLAIMS, UNIT, NODE, MARKET = 3, 300, 50, 1_000, 7, -1
accounts = st.integers(0, MEMBERS - 1)
amounts = st.one_of(st.integers(0, 5), st.integers(0, 60))


@dataclass
class Lot:
    """A lot as the twin knows it; `owner` is an account, or the market."""

    owner: int
    first: int
    count: int
    wh: int


@dataclass
class Offer:
    """An offer of a lot (`lot` its number) or, where that is 0, of claims."""

    seller: int
    lot: int
    amount: int
    price: int
    sold: int = 0
    open: bool = True


def selling() -> tuple[World, Contract, Contract, Foreign]:
    """Lots and a market, and members with money and claims, whom both may take from."""
    world = World(machine_chain(Genesis(funded(MEMBERS), timestamp=START - 900)), members=MEMBERS)
    chain, admin, now = world.chain, world.keys.admin, world.now
    lots = create(chain, admin, "DeliveryLots", world.addresses.settlement, timestamp=now)
    market = create(chain, admin, "RightsMarket", world.addresses.currency, timestamp=now)
    token = foreign(chain, admin, "HostileRight", timestamp=now)
    token.act(chain, admin, "behave", True, ANYBODY, b"", timestamp=now)  # honest: it only carries the amounts
    for key in (world.keys.member(account) for account in range(MEMBERS)):
        token.act(chain, admin, "give", key.address, 1, CLAIMS, timestamp=now)
        lots.act(chain, key, "setApprovalForAll", market.address, True, timestamp=now)
        assert world.send(world.keys.operator, "TestCurrency", "mint", key.address, MONEY).status == 1
        assert world.send(key, "TestCurrency", "approve", market.address, 2**200).status == 1
    return world, lots, market, token


class LotsMachine(RuleBasedStateMachine):
    """One node, three members; the operator grants."""

    @initialize(capacity=st.sampled_from([0, 10, 100]))
    def begin(self, capacity: int) -> None:
        self.world, self.contract, self.market, self.token = prepared(selling)
        self.keys = [self.world.keys.member(account) for account in range(MEMBERS)]
        self.money, self.claims = [MONEY] * MEMBERS, [CLAIMS] * MEMBERS
        self.lots: dict[int, Lot] = {}
        self.granted: Counter[int] = Counter()
        self.offers: list[Offer] = []
        self.next = self.made = self.capacity = 0
        self.set_capacity(capacity, True)

    def attempt(self, contract: Contract, key: SigningKey, function: str, *arguments: object) -> bool:
        raw = contract.transaction(next_sender(self.world.chain, key), function, *arguments)
        receipt = self.world.chain.send(raw, timestamp=self.world.now)
        self.world.now = receipt.timestamp
        return receipt.status == 1

    def operator(self, really: bool) -> SigningKey:
        return self.world.keys.operator if really else self.keys[0]

    def over(self, lot: Lot) -> bool:
        return self.next >= lot.first + lot.count

    @rule()
    def a_slot_passes(self) -> None:
        move_on(self.world, 1)
        self.next += 1

    @rule(wh=st.sampled_from([0, 10, 20, 100]), really=st.sampled_from([True, True, False]))
    def set_capacity(self, wh: int, really: bool) -> None:
        assert self.attempt(self.contract, self.operator(really), "setCapacity", NODE, wh) == really
        self.capacity = wh if really else self.capacity

    @rule(
        to=accounts,
        ahead=st.integers(-1, 3),
        count=st.integers(0, 3),
        wh=st.sampled_from([0, 1, 9, 10, 11]),
        to_the_brim=st.booleans(),
        really=st.sampled_from([True, True, True, False]),
    )
    def grant(self, to: int, ahead: int, count: int, wh: int, to_the_brim: bool, really: bool) -> None:
        first = max(0, self.next + ahead)
        slots = range(first, first + count)
        room = self.capacity - max((self.granted[slot] for slot in slots), default=0)
        wh = max(0, room) + wh % 2 if to_the_brim else wh
        done = self.attempt(self.contract, self.operator(really), "grant", self.keys[to].address, NODE, first, count, wh)
        assert done == (really and count > 0 and first >= self.next and 0 < wh <= room)
        if done:
            self.made += 1
            self.lots[self.made] = Lot(to, first, count, wh)
            self.granted.update(dict.fromkeys(slots, wh))

    @precondition(lambda self: self.lots)
    @rule(data=st.data(), by=accounts, own=st.booleans(), part=st.integers(0, 11))
    def split(self, data: st.DataObject, by: int, own: bool, part: int) -> None:
        self.take_part(*self.pick(data, by, own), part)

    def take_part(self, number: int, by: int, part: int) -> None:
        lot = self.lots[number]
        done = self.attempt(self.contract, self.keys[by], "split", number, part)
        assert done == (by == lot.owner and 0 < part < lot.wh)
        if done:
            del self.lots[number]  # a number stands for one thing: both parts have new ones
            for wh in (lot.wh - part, part):
                self.made += 1
                self.lots[self.made] = Lot(by, lot.first, lot.count, wh)

    def pick(self, data: st.DataObject, by: int, own: bool) -> tuple[int, int]:
        number = data.draw(st.sampled_from(sorted(self.lots)))
        owner = self.lots[number].owner
        return number, owner if own and owner != MARKET else by

    @rule(
        to=accounts,
        count=st.integers(1, 3),
        passed=st.integers(0, 3),
        then=st.sampled_from(["give back", "sweep", "hand on", "offer", "split"]),
    )
    def hold_a_lot_for_a_while(self, to: int, count: int, passed: int, then: str) -> None:
        """A lot is granted, some or all of its slots pass, and its owner or another does something with it: few walks get there."""
        known = self.made
        self.grant(to, 0, count, 2, False, True)
        for _ in range(passed):
            self.a_slot_passes()
        if self.made == known:
            return
        if then == "hand on":
            self.move(self.made, to, (to + 1) % MEMBERS)
        elif then == "offer":
            self.put_up(self.made, to, 2, 1)  # there is one of it
        elif then == "sweep":
            self.remove(self.made, to)
        elif then == "split":
            self.take_part(self.made, (to + passed) % MEMBERS, 1)
        else:
            self.return_lot(self.made, to)

    @precondition(lambda self: self.lots)
    @rule(data=st.data(), by=accounts, own=st.booleans())
    def give_back(self, data: st.DataObject, by: int, own: bool) -> None:
        self.return_lot(*self.pick(data, by, own))

    def return_lot(self, number: int, by: int) -> None:
        lot = self.lots[number]
        done = self.attempt(self.contract, self.keys[by], "giveBack", number)
        assert done == (by == lot.owner and not self.over(lot))
        if done:
            for slot in range(max(lot.first, self.next), lot.first + lot.count):
                self.granted[slot] -= lot.wh
            del self.lots[number]

    @precondition(lambda self: self.lots)
    @rule(data=st.data(), by=accounts)
    def sweep(self, data: st.DataObject, by: int) -> None:
        self.remove(self.pick(data, by, False)[0], by)

    def remove(self, number: int, by: int) -> None:
        done = self.attempt(self.contract, self.keys[by], "sweep", number)
        assert done == self.over(self.lots[number])
        if done:
            del self.lots[number]

    @precondition(lambda self: self.lots)
    @rule(data=st.data(), by=accounts, own=st.booleans(), to=accounts)
    def hand_on(self, data: st.DataObject, by: int, own: bool, to: int) -> None:
        self.move(*self.pick(data, by, own), to)

    def move(self, number: int, by: int, to: int) -> None:
        lot = self.lots[number]
        addresses = (self.keys[by].address, self.keys[to].address)
        done = self.attempt(self.contract, self.keys[by], "transferFrom", *addresses, number)
        assert done == (by == lot.owner and not self.over(lot))
        lot.owner = to if done else lot.owner

    @precondition(lambda self: self.lots)
    @rule(data=st.data(), by=accounts, own=st.booleans(), amount=st.sampled_from([1, 1, 1, 0, 2]), price=st.integers(0, 90_000))
    def offer_a_lot(self, data: st.DataObject, by: int, own: bool, amount: int, price: int) -> None:
        self.put_up(*self.pick(data, by, own), amount, price)

    def put_up(self, number: int, by: int, amount: int, price: int) -> None:
        lot = self.lots[number]
        right = (self.contract.address, number, True)
        done = self.attempt(self.market, self.keys[by], "offer", right, amount, price)
        assert done == (amount == 1 and by == lot.owner and not self.over(lot))
        if done:
            lot.owner = MARKET
            self.offers.append(Offer(by, number, 1, price))

    @rule(by=accounts, amount=amounts, price=st.one_of(st.integers(0, 9_000), st.sampled_from([1, 999, 1_001])))
    def offer_claims(self, by: int, amount: int, price: int) -> None:
        done = self.attempt(self.market, self.keys[by], "offer", (self.token.address, 1, False), amount, price)
        assert done == (0 < amount <= self.claims[by])
        if done:
            self.claims[by] -= amount
            self.offers.append(Offer(by, 0, amount, price))

    @precondition(lambda self: self.offers)
    @rule(data=st.data(), by=accounts, amount=amounts, rest=st.sampled_from([-1, 0, 0, 1]), slack=st.sampled_from([-1, 0, 9]))
    def buy(self, data: st.DataObject, by: int, amount: int, rest: int, slack: int) -> None:
        number = data.draw(st.integers(0, len(self.offers) - 1))
        offer = self.offers[number]
        self.purchase(number, by, max(0, offer.amount - offer.sold + rest) if rest >= 0 else amount, slack)

    @rule(
        seller=accounts, other=st.integers(1, 2), amount=st.integers(2, 20), price=st.integers(1, 5_000), beyond=st.integers(0, 1)
    )
    def sell_in_parts(self, seller: int, other: int, amount: int, price: int, beyond: int) -> None:
        """Half of an offer, first for too little, then the rest or one more than that, and what is left is taken back, twice."""
        known = len(self.offers)
        self.offer_claims(seller, amount, price)
        if len(self.offers) == known:
            return
        buyer = (seller + other) % MEMBERS
        for slack in (-1, 0):
            self.purchase(known, buyer, amount // 2, slack)
        self.purchase(known, buyer, amount - amount // 2 + beyond, 0)
        for _ in range(2):
            self.reclaim(known, seller)

    def purchase(self, number: int, by: int, amount: int, slack: int) -> None:
        offer = self.offers[number]
        units = price_units(offer.sold, amount, offer.price, UNIT, up=True)
        limit = max(0, units + slack)
        done = self.attempt(self.market, self.keys[by], "buy", number + 1, amount, limit)
        good = offer.open and 0 < amount <= offer.amount - offer.sold and (amount == 1 or not offer.lot)
        good = good and by != offer.seller and units <= limit and units <= self.money[by]
        lot = self.lots.get(offer.lot)
        assert done == (good and (not offer.lot or (lot is not None and not self.over(lot))))
        if done:
            self.money[by] -= units
            self.money[offer.seller] += units
            offer.sold += amount
            offer.open = offer.sold < offer.amount
            if lot is not None:
                lot.owner = by
            else:
                self.claims[by] += amount

    @precondition(lambda self: self.offers)
    @rule(data=st.data(), by=accounts, own=st.booleans())
    def take_back(self, data: st.DataObject, by: int, own: bool) -> None:
        number = data.draw(st.integers(0, len(self.offers) - 1))
        self.reclaim(number, self.offers[number].seller if own else by)

    def reclaim(self, number: int, by: int) -> None:
        offer = self.offers[number]
        lot = self.lots.get(offer.lot)
        done = self.attempt(self.market, self.keys[by], "takeBack", number + 1)
        alive = not offer.lot or (lot is not None and not self.over(lot))
        assert done == (offer.open and by == offer.seller and alive)
        if done:
            offer.open = False
            if lot is not None:
                lot.owner = by
            else:
                self.claims[by] += offer.amount - offer.sold

    @invariant()
    def lots_escrow_and_money_are_the_twins(self) -> None:
        chain, world = self.world.chain, self.world
        owners = {**{a: key.address for a, key in enumerate(self.keys)}, MARKET: self.market.address}
        for number, lot in self.lots.items():
            assert self.contract.view(chain, "ownerOf", number)[0] == owners[lot.owner].lower()
            assert self.contract.view(chain, "lotOf", number) == (NODE, lot.first, lot.count, lot.wh)
        assert self.contract.view(chain, "lots")[0] == self.made
        living = Counter(lot.owner for lot in self.lots.values())
        assert [self.contract.view(chain, "balanceOf", owners[a])[0] for a in owners] == [living[a] for a in owners]
        for slot in range(max(0, self.next - 2), self.next + 6):
            allowed = sum(lot.wh for lot in self.lots.values() if lot.first <= slot < lot.first + lot.count)
            assert slot < self.next or allowed == self.granted[slot]
            assert self.contract.view(chain, "grantedOf", NODE, slot)[0] == self.granted[slot]
        held = [self.token.view(chain, "balanceOf", address, 1)[0] for address in owners.values()]
        escrow = sum(offer.amount - offer.sold for offer in self.offers if offer.open and not offer.lot)
        assert held == [*self.claims, escrow]
        assert [world.tokens(key.address) for key in self.keys] == self.money
        assert sum(self.money) == MONEY * MEMBERS


def test_lots_and_the_market_equal_their_twins() -> None:
    run_machine(LotsMachine, machine_settings(5, 25))


PLANTED = {
    "beyond capacity": ("DeliveryLots", "DeliveryLots", "if (wanted > capacity)", "if (wanted > uint256(capacity) + 1)"),
    "a split that makes": ("DeliveryLots", "DeliveryLots", "lot.count, lot.energyWh - partWh);", "lot.count, lot.energyWh);"),
    "a lot that shrinks under its number": (
        "DeliveryLots",
        "DeliveryLots",
        "        _burn(id);\n        _mint(owner, rest);\n",
        "        _mint(owner, rest);\n",
    ),
    "given back and counted": ("DeliveryLots", "DeliveryLots", "granted[slot] -= lot.energyWh;", "granted[slot] -= 0;"),
    "the past given back": ("DeliveryLots", "DeliveryLots", "lot.first > next ? lot.first : next", "lot.first"),
    "swept alive": ("DeliveryLots", "DeliveryLots", "if (!isOver(id)) revert NotOver(id);", ""),
    "over and still moving": ("DeliveryLots", "DeliveryLots", "&& isOver(id)) revert", "&& false) revert"),
    "anybody splits": (
        "DeliveryLots",
        "DeliveryLots",
        "        _checkAuthorized(owner, msg.sender, id);\n        Lot memory lot",
        "        Lot memory lot",
    ),
    "anybody grants": (
        "DeliveryLots",
        "DeliveryLots",
        "        onlyOperator\n        returns (uint256 id)",
        "        returns (uint256 id)",
    ),
    "sold and not counted": ("RightsMarket", "RightsMarket", "        made.sold = sold + amount;\n", ""),
    "taken back by anybody": (
        "RightsMarket",
        "RightsMarket",
        "if (made.seller != msg.sender) revert NotSeller(number, msg.sender);",
        "",
    ),
    "taken back twice": (
        "RightsMarket",
        "RightsMarket",
        "        made.open = false;\n        emit TakenBack",
        "        emit TakenBack",
    ),
    "at any price": ("RightsMarket", "RightsMarket", "if (tokenUnits > limit) revert TooDear(tokenUnits, limit);", ""),
    "more than is left": ("RightsMarket", "RightsMarket", "if (amount > left) revert", "if (amount > left + 1) revert"),
    "a price rounded down": ("RightsMarket", "AtomicDelivery", "nano + nanoPerTokenUnit - 1", "nano"),
    "a lot in two": ("RightsMarket", "AtomicDelivery", "if (isLot && amount != 1) revert NotDivisible(amount);", ""),
}


@pytest.mark.nightly
@pytest.mark.parametrize(("contract", "source", "correct", "wrong"), PLANTED.values(), ids=PLANTED)
def test_a_planted_bug_is_found(contract: str, source: str, correct: str, wrong: str) -> None:
    with planted(contract, correct, wrong, source=source), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(LotsMachine, hunting(300, 30))
