"""Lots: rights to deliver at a node, never more than the node can take; split, given back, over when their slots are settled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger_rights import move_on
from ledger_world import CHAINS, World, chain_of, stranger
from walras.errors import LedgerError
from walras.ledger import SigningKey, next_slot
from walras.ledger.calls import create
from walras.ledger.lots import Lot, grant, headroom_wh, lot_of, split

NODE = 7
CAPACITY = 1_000


class Lots:
    """A ledger with lots at one node."""

    def __init__(self, world: World) -> None:
        self.world, self.chain, self.keys = world, world.chain, world.keys
        self.contract = create(self.chain, self.keys.admin, "DeliveryLots", world.addresses.settlement, timestamp=world.now)
        self.act(self.keys.operator, "setCapacity", NODE, CAPACITY)

    def act(self, key: SigningKey, function: str, *arguments: object) -> None:
        self.contract.act(self.chain, key, function, *arguments, timestamp=self.world.now, gas_limit=1_000_000)

    def grant(self, account: int, lot: Lot, by: SigningKey | None = None) -> int:
        to = self.keys.member(account).address
        return grant(self.chain, self.contract, by or self.keys.operator, to, lot, timestamp=self.world.now)

    def granted(self, slot: int) -> int:
        return int(self.contract.view(self.chain, "grantedOf", NODE, slot)[0])

    @property
    def next(self) -> int:
        return next_slot(self.chain, self.world.addresses)


@pytest.fixture(params=CHAINS)
def lots(request: pytest.FixtureRequest) -> Iterator[Lots]:
    with chain_of(request.param) as chain:
        yield Lots(World(chain))


def refused(name: str) -> object:
    return pytest.raises(LedgerError, match=rf"refused: {name}\(")


def test_lots_fill_a_node_to_its_capacity_and_not_a_watt_hour_beyond(lots: Lots) -> None:
    living = [Lot(NODE, 10, 4, 600), Lot(NODE, 12, 4, 300)]
    for lot in living:
        lots.grant(1, lot)
    assert [lots.granted(slot) for slot in (9, 10, 12, 14, 16)] == [0, 600, 900, 300, 0]
    room = headroom_wh(CAPACITY, living, NODE, 13, 5)
    assert room == 100
    with refused("BeyondCapacity"):
        lots.grant(2, Lot(NODE, 13, 5, room + 1))
    lots.grant(2, Lot(NODE, 13, 5, room))
    with refused("BeyondCapacity"):
        lots.grant(2, Lot(NODE, 13, 1, 1))
    with refused("BeyondCapacity"):  # no capacity is known there
        lots.grant(2, Lot(NODE + 1, 13, 1, 1))


def test_a_lot_is_split_and_its_parts_are_the_whole(lots: Lots) -> None:
    number = lots.grant(1, Lot(NODE, 10, 2, 500))
    for part in (0, 500, 501):
        with refused("BadPart"):
            split(lots.chain, lots.contract, lots.keys.member(1), number, part, timestamp=lots.world.now)
    with refused("ERC721InsufficientApproval"):
        split(lots.chain, lots.contract, lots.keys.member(2), number, 1, timestamp=lots.world.now)
    rest, part = split(lots.chain, lots.contract, lots.keys.member(1), number, 200, timestamp=lots.world.now)
    assert [lot_of(lots.chain, lots.contract, one) for one in (rest, part)] == [Lot(NODE, 10, 2, 300), Lot(NODE, 10, 2, 200)]
    assert lots.granted(10) == 500
    owners = [lots.contract.view(lots.chain, "ownerOf", one)[0] for one in (rest, part)]
    assert owners == [lots.keys.member(1).address.lower()] * 2
    assert lot_of(lots.chain, lots.contract, number) == Lot(0, 0, 0, 0)
    with refused("ERC721NonexistentToken"):
        lots.act(lots.keys.member(1), "giveBack", number)


def test_what_is_given_back_can_be_granted_again_but_for_slots_that_are_past(lots: Lots) -> None:
    number = lots.grant(1, Lot(NODE, lots.next, 4, CAPACITY))
    first = lots.next
    move_on(lots.world, 2)
    with refused("ERC721InsufficientApproval"):
        lots.act(lots.keys.member(2), "giveBack", number)
    lots.act(lots.keys.member(1), "giveBack", number)
    assert [lots.granted(first + k) for k in range(5)] == [CAPACITY, CAPACITY, 0, 0, 0]
    assert lot_of(lots.chain, lots.contract, number) == Lot(0, 0, 0, 0)
    lots.grant(2, Lot(NODE, first + 2, 2, CAPACITY))
    with refused("ERC721NonexistentToken"):
        lots.act(lots.keys.member(1), "giveBack", number)


def test_a_lot_whose_slots_are_settled_is_history(lots: Lots) -> None:
    number = lots.grant(1, Lot(NODE, lots.next, 2, 10))
    owner, other = lots.keys.member(1), lots.keys.member(2)
    lots.act(owner, "transferFrom", owner.address, other.address, number)
    move_on(lots.world, 1)
    with refused("NotOver"):
        lots.act(stranger(), "sweep", number)
    lots.act(other, "transferFrom", other.address, owner.address, number)
    move_on(lots.world, 1)
    with refused("IsOver"):
        lots.act(owner, "transferFrom", owner.address, other.address, number)
    with refused("IsOver"):
        lots.act(owner, "giveBack", number)
    lots.act(stranger(), "sweep", number)
    with refused("ERC721NonexistentToken"):
        lots.act(stranger(), "sweep", number)


def test_only_the_operator_grants_and_only_what_is_ahead(lots: Lots) -> None:
    with refused("NotOperator"):
        lots.grant(1, Lot(NODE, 10, 1, 1), by=lots.keys.member(1))
    with refused("NotOperator"):
        lots.act(stranger(), "setCapacity", NODE, 2)
    move_on(lots.world, 3)
    for first, count in ((lots.next - 1, 1), (10, 0), (10, 673), (2**64 - 1, 1)):
        with refused("BadSlots"):
            lots.grant(1, Lot(NODE, first, count, 1))
    with refused("NothingGranted"):
        lots.grant(1, Lot(NODE, 10, 1, 0))
    lots.grant(1, Lot(NODE, lots.next, 1, 1))


def test_a_lowered_capacity_stops_new_lots_and_takes_none_away(lots: Lots) -> None:
    number = lots.grant(1, Lot(NODE, 10, 1, 800))
    lots.act(lots.keys.operator, "setCapacity", NODE, 500)
    assert headroom_wh(500, [Lot(NODE, 10, 1, 800)], NODE, 10, 1) == 0
    with refused("BeyondCapacity"):
        lots.grant(2, Lot(NODE, 10, 1, 1))
    assert lot_of(lots.chain, lots.contract, number).energy_wh == 800


def test_the_longest_lot_fits_into_a_transaction(lots: Lots) -> None:
    lots.grant(1, Lot(NODE, lots.next, 672, 1))
