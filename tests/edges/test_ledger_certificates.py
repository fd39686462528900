"""Certificates: issued once, from final and paid positions only; what is retired is gone and has a receipt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from eth_abi.abi import decode
from eth_utils import keccak

from ledger_rights import certificates_of, issuing
from ledger_world import CHAINS, World, chain_of, pair, stranger
from walras.errors import LedgerError
from walras.ledger import SlotSettlement, commitment_of, correction_transaction, net_positions, next_sender, next_slot, settle
from walras.ledger.certificates import SettledRecord, check_receipt, citation, held_wh, issue, retire, retire_for

WINDOW = 4


class Certificates:
    """A ledger with certificates beside it."""

    def __init__(self, world: World) -> None:
        self.world, self.chain, self.keys = world, world.chain, world.keys
        self.body = issuing(world)
        self.contract = certificates_of(world, self.body)

    def settled(self, energy_wh: int, *, giver: int = 2, taker: int = 1) -> tuple[int, SettledRecord]:
        slot = next_slot(self.chain, self.world.addresses)
        positions = pair(taker, giver, 5, energy_wh)
        content = self.world.settlement(slot, positions)
        settle(self.chain, self.world.addresses, self.keys.operator, content, timestamp=self.world.now)
        return slot, SettledRecord(content.header, positions)

    def finish(self, slot: int) -> None:
        """Settle an empty slot far enough ahead that `slot` is final."""
        empty = self.world.settlement(slot + WINDOW, net_positions([], [], []))
        settle(self.chain, self.world.addresses, self.keys.operator, empty, timestamp=self.world.now)

    def issue(self, account: int, slot: int, *records: SettledRecord) -> int:
        return issue(self.chain, self.contract, self.keys.member(account), slot, records, timestamp=self.world.now)

    def held(self, address: str, slot: int) -> int:
        return held_wh(self.chain, self.contract, address, slot)


@pytest.fixture(scope="module", params=CHAINS)
def certificates(request: pytest.FixtureRequest) -> Iterator[Certificates]:
    with chain_of(request.param) as chain:
        yield Certificates(World(chain, window=WINDOW))


def refused(name: str) -> object:
    return pytest.raises(LedgerError, match=rf"refused: {name}\(")


def test_a_giver_gets_its_watt_hours_once_and_only_when_the_slot_is_final(certificates: Certificates) -> None:
    slot, record = certificates.settled(1_500)
    with refused("NotFinal"):
        certificates.issue(2, slot, record)
    certificates.finish(slot)
    with refused("NoSurplus"):
        certificates.issue(1, slot, record)  # it took
    with refused("NoSurplus"):
        certificates.issue(3, slot, record)  # it had no part
    assert certificates.issue(2, slot, record) == 1_500
    assert certificates.held(certificates.keys.member(2).address, slot) == 1_500
    with refused("AlreadyIssued"):
        certificates.issue(2, slot, record)
    view = certificates.contract.view
    assert (view(certificates.chain, "issued", slot, 2)[0], view(certificates.chain, "issued", slot, 1)[0]) == (True, False)


def test_only_what_was_settled_proves_anything(certificates: Certificates) -> None:
    slot, record = certificates.settled(700)
    other_slot, other = certificates.settled(9_000)
    certificates.finish(other_slot)
    forged = SettledRecord(record.header, pair(1, 2, 5, 70_000))
    for wrong in (other, forged, SettledRecord(other.header, record.positions)):
        with refused("NotWhatWasSettled"):
            certificates.issue(2, slot, wrong)
    with refused("WrongRevisions"):
        certificates.issue(2, slot)
    with refused("WrongRevisions"):
        certificates.issue(2, slot, record, record)
    certificates.finish(other_slot + WINDOW)
    with refused("NotWhatWasSettled"):  # a final slot that was never settled
        certificates.issue(2, other_slot + 1, record)
    with refused("NotMember"):
        issue(certificates.chain, certificates.contract, stranger(), slot, [record], timestamp=certificates.world.now)


def test_a_corrected_slot_gives_what_was_right_in_the_end(certificates: Certificates) -> None:
    slot, record = certificates.settled(1_000)
    world = certificates.world
    header = world.header(slot)
    differences = pair(1, 2, 1, -400)
    signatures = world.correction_signatures(slot, 1, header.readings_root)
    content = SlotSettlement(slot, header, differences, signatures)
    raw = correction_transaction(world.addresses, next_sender(world.chain, world.keys.operator), content)
    assert world.chain.send(raw, timestamp=world.now).status == 1
    certificates.finish(slot)
    with refused("WrongRevisions"):
        certificates.issue(2, slot, record)
    assert certificates.issue(2, slot, record, SettledRecord(header, differences)) == 600


def test_certificates_are_split_transferred_and_retired_with_a_receipt(certificates: Certificates) -> None:
    slot, record = certificates.settled(1_000)
    certificates.finish(slot)
    certificates.issue(2, slot, record)
    seller, buyer = certificates.keys.member(2), certificates.keys.member(4)
    chain, contract, now = certificates.chain, certificates.contract, certificates.world.now
    contract.act(chain, seller, "safeTransferFrom", seller.address, buyer.address, slot, 300, b"", timestamp=now)
    receipt = retire(chain, contract, buyer, slot, 200, "a greenhouse-gas account", timestamp=now)
    assert [certificates.held(one.address, slot) for one in (seller, buyer)] == [700, 100]
    stored = contract.view(chain, "receiptOf", receipt.number)
    assert stored == (buyer.address.lower(), slot, 200, keccak(text="a greenhouse-gas account"))
    assert contract.view(chain, "claimedBalanceOf", buyer.address, slot)[0] == 200
    assert [contract.view(chain, name, slot)[0] for name in ("issuedOf", "retiredOf")] == [1_000, 200]
    with refused("ERC1155InsufficientBalance"):
        retire(chain, contract, buyer, slot, 101, "twice", timestamp=now)
    with refused("NothingToRetire"):
        retire(chain, contract, buyer, slot, 0, "nothing", timestamp=now)
    with refused("ERC1155MissingApprovalForAll"):
        contract.act(chain, stranger(), "safeTransferFrom", seller.address, stranger().address, slot, 1, b"", timestamp=now)
    assert retire(chain, contract, buyer, slot, 100, "the rest", timestamp=now).number == receipt.number + 1


def test_each_row_of_a_long_list_of_positions_is_found(certificates: Certificates) -> None:
    """The bisection, on every place and with a member missing in the middle."""
    slot = next_slot(certificates.chain, certificates.world.addresses)
    positions = net_positions([0, 1, 2, 4, 5], [0, 0, 0, 0, 0], [-1, -2, -3, -4, 10])
    content = certificates.world.settlement(slot, positions)
    settle(certificates.chain, certificates.world.addresses, certificates.keys.operator, content, timestamp=certificates.world.now)
    certificates.finish(slot)
    record = SettledRecord(content.header, positions)
    assert [certificates.issue(account, slot, record) for account in (0, 1, 2, 4)] == [1, 2, 3, 4]
    for account in (3, 5):
        with refused("NoSurplus"):
            certificates.issue(account, slot, record)


def test_a_receipt_can_be_cited_and_checked_by_anybody(certificates: Certificates) -> None:
    slot, record = certificates.settled(500)
    certificates.finish(slot)
    certificates.issue(2, slot, record)
    chain, contract, now = certificates.chain, certificates.contract, certificates.world.now
    receipt = retire(chain, contract, certificates.keys.member(2), slot, 200, "scope 2 of Mill Lane 4", timestamp=now)
    check_receipt(chain, contract, receipt)
    assert f"receipt {receipt.number} of {contract.address}" in citation(contract, receipt)
    for wrong in (
        replace(receipt, energy_wh=201),
        replace(receipt, beneficiary="another"),
        replace(receipt, holder=stranger().address),
        replace(receipt, slot=slot + 1),
        replace(receipt, number=receipt.number + 1),
    ):
        with pytest.raises(LedgerError, match="is not: Walras local energy"):
            check_receipt(chain, contract, wrong)


def test_what_erc_1888_asks_for_is_there(certificates: Certificates) -> None:
    """Issuance and claim events, the certificate's payload with a call that says whether it holds, and retiring for another."""
    slot, record = certificates.settled(500)
    chain, contract, now = certificates.chain, certificates.contract, certificates.world.now
    certificates.finish(slot)
    issuer, topic, validity, payload = contract.view(chain, "getCertificate", slot)
    settlement, vintage, commitment, revision = decode(["address", "uint64", "bytes32", "uint64"], payload)
    assert (issuer, topic) == (contract.address.lower(), 1)
    assert (settlement, vintage, revision) == (certificates.world.addresses.settlement.lower(), slot, 0)
    assert commitment == commitment_of(chain, certificates.world.addresses, slot)
    assert int.from_bytes(chain.call(contract.address, validity), "big") == 0  # nothing is issued yet
    certificates.issue(2, slot, record)
    assert int.from_bytes(chain.call(contract.address, validity), "big") == 1
    owner, holder = certificates.keys.member(2), certificates.keys.member(4).address
    receipt = retire_for(chain, contract, owner, holder, slot, 500, "for a neighbour", timestamp=now)
    check_receipt(chain, contract, receipt)
    assert int.from_bytes(chain.call(contract.address, validity), "big") == 0  # all is retired
    owners = [holder, owner.address]
    assert list(contract.view(chain, "claimedBalanceOfBatch", owners, [slot, slot])[0]) == [500, 0]
    with refused("NothingToRetire"):
        retire_for(chain, contract, owner, holder, slot, 0, "", timestamp=now)
    arguments = (owner.address, holder, slot, 1, b"", b"")
    with refused("ERC1155MissingApprovalForAll"):
        contract.act(chain, stranger(), "safeTransferAndClaimFrom", *arguments, timestamp=now)
    with refused("ERC1155InvalidReceiver"):
        contract.act(chain, owner, "safeTransferAndClaimFrom", owner.address, "0x" + "00" * 20, slot, 1, b"", b"", timestamp=now)
    with refused("NotSettled"):  # an id beyond the slots is not cut down to one
        contract.act(chain, owner, "safeTransferAndClaimFrom", owner.address, holder, slot + 2**64, 1, b"", b"", timestamp=now)
    for unknown in (10**6, slot + 2**64):
        with refused("NotSettled"):
            contract.view(chain, "getCertificate", unknown)
    with refused("LengthMismatch"):
        contract.view(chain, "claimedBalanceOfBatch", owners, [slot])
