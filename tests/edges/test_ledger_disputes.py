"""Disputes: a member proves by its readings that a slot was settled wrongly; only what is true opens, and a correction closes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ledger_rights import salted
from ledger_world import CHAINS, DELAY_S, World, chain_of, pair, stranger
from walras.errors import InputError, LedgerError
from walras.ledger import (
    Chain,
    Header,
    NetPositions,
    Receipt,
    SigningKey,
    SlotSettlement,
    artifact,
    join_signatures,
    keccak256,
    net_positions,
    pack_positions,
    read,
    settle,
    sign_attestation,
)
from walras.ledger.calls import create
from walras.ledger.certificates import SettledRecord
from walras.ledger.disputes import close_dispute, device_id, open_dispute, resolution_digest
from walras.ledger.leaf_proofs import ShownLeaf, shown_leaf
from walras.metering.identity import derive_key, key_id
from walras.metering.merkle import tree_over
from walras.metering.reading import sign_reading
from walras.metering.slot_readings import encode_substitute

PENALTY = 500
ANSWER_S = DELAY_S
SLOT = 3
METERS = [derive_key(bytes(32), f"meter/{device}") for device in range(4)]
OWNERS = [1, 1, 2, 3]  # member 1 has two meters


class Court:
    """A ledger with devices of three members, one slot settled against their readings, and the disputes contract beside it."""

    def __init__(self, chain: Chain, positions: NetPositions) -> None:
        self.world, self.chain = World(chain, members=4), chain
        keys, world = self.world.keys, self.world
        self.keys = keys
        self.devices = create(chain, keys.admin, "DeviceRegistry", world.addresses.registry, timestamp=world.now)
        self.devices.act(chain, keys.admin, "setMeterOperator", keys.operator.address, True, timestamp=world.now)
        self.ids = [key_id(meter.public_key()) for meter in METERS]
        for number, owner in enumerate(OWNERS):
            entry = (device_id(self.ids[number]), owner, bytes(32), 0, 2**63)
            self.devices.act(chain, keys.operator, "enter", *entry, timestamp=world.now)
        terms = (world.addresses.settlement, self.devices.address, ANSWER_S, PENALTY)
        self.contract = create(chain, keys.admin, "Disputes", *terms, timestamp=world.now)
        # Attested: member 1 took 700 - 200 = 500, member 2 gave 300 (a substitute), member 3 gave 200.
        self.leaves = [
            salted(sign_reading(METERS[0], SLOT, 700, 0, 1)),
            salted(sign_reading(METERS[1], SLOT, 0, 200, 1)),
            salted(encode_substitute(self.ids[2], SLOT, 0, 300, 18)),
            salted(sign_reading(METERS[3], SLOT, 5, 205, 70_000)),
        ]
        self.tree = tree_over(self.leaves)
        self.header = Header(self.tree.root, bytes(32), bytes(32))
        self.record = SettledRecord(self.header, positions)
        self.settle(SLOT, self.header, positions)

    def settle(self, slot: int, header: Header, positions: NetPositions) -> None:
        """Settle under any readings root, attested as it should be."""
        settlement, chain_id = self.world.addresses.settlement, self.chain.chain_id
        oracles = [self.keys.oracle(index) for index in range(3)]
        signed = [sign_attestation(key, chain_id, settlement, slot, header.readings_root) for key in oracles]
        content = SlotSettlement(slot, header, positions, join_signatures(signed))
        settle(self.chain, self.world.addresses, self.keys.operator, content, timestamp=self.world.now)

    def show(self, member: int, slot: int, records: list[SettledRecord], readings: list[ShownLeaf]) -> Receipt:
        """Open with any proof."""
        parties = (self.chain, self.contract, self.keys.member(member), slot, records)
        return open_dispute(*parties, readings, timestamp=self.world.now)

    def attested(self, sign: object) -> bytes:
        return join_signatures([sign(self.keys.oracle(index)) for index in range(3)])  # type: ignore[operator]

    def proofs(self, *numbers: int) -> list[ShownLeaf]:
        ordered = sorted(numbers, key=lambda number: self.ids[number])
        return [shown_leaf(self.leaves[number], self.tree.proof(number)) for number in ordered]

    def open(self, member: int, *numbers: int, records: list[SettledRecord] | None = None) -> Receipt:
        return self.show(member, SLOT, [self.record] if records is None else records, self.proofs(*numbers))

    def act(self, key: SigningKey, function: str, *arguments: object) -> Receipt:
        return self.contract.act(self.chain, key, function, *arguments, timestamp=self.world.now, gas_limit=4_000_000)

    def empowered(self) -> None:
        """The admin gives the contract the operator's role."""
        role = read(self.chain, artifact("Registry"), self.world.addresses.registry, "OPERATOR_ROLE")[0]
        assert self.world.send(self.keys.admin, "Registry", "grantRole", role, self.contract.address).status == 1

    def bonded(self, units: int) -> None:
        operator = self.keys.operator
        assert self.world.send(operator, "TestCurrency", "mint", operator.address, units).status == 1
        assert self.world.send(operator, "TestCurrency", "approve", self.contract.address, units).status == 1
        self.act(operator, "addBond", units)

    def correction(self, differences: NetPositions) -> tuple[SettledRecord, tuple[object, ...]]:
        """The record of a first correction, and the arguments of `resolve` with a quorum's signatures."""
        packed = pack_positions(differences)
        digest = resolution_digest(self.contract, SLOT, 1, packed)
        over_root = self.world.correction_signatures(SLOT, 1, self.tree.root)
        over_rows = self.attested(lambda key: (key.address, key.sign_digest(digest)))
        roots = (self.header.readings_root, self.header.trades_root, self.header.journal_head)
        return SettledRecord(self.header, differences), (SLOT, roots, packed, over_root, over_rows)


WRONG = pair(1, 2, 1_000, 600)  # settled: 1 took 600, 2 gave 600; member 3 was skipped


@pytest.fixture(params=CHAINS)
def court(request: pytest.FixtureRequest) -> Iterator[Court]:
    with chain_of(request.param) as chain:
        yield Court(chain, WRONG)


@pytest.fixture
def embedded() -> Iterator[Court]:
    with chain_of("embedded") as chain:
        yield Court(chain, WRONG)


def test_members_prove_what_their_meters_say_against_what_was_settled(court: Court) -> None:
    expected = {1: ((0, 1), 500, 600), 2: ((2,), -300, -600), 3: ((3,), -200, 0)}  # the last was skipped
    for member, (numbers, proved, settled) in expected.items():
        receipt = court.open(member, *numbers)
        _, content = court.contract.events(receipt)[0]
        assert (content["account"], content["provedWh"], content["settledWh"]) == (member, proved, settled)
        with pytest.raises(LedgerError, match=r"AlreadyOpen\("):
            court.open(member, *numbers)
    assert court.contract.view(court.chain, "openDisputes")[0] == 3


def test_what_was_settled_rightly_cannot_be_disputed() -> None:
    with chain_of("embedded") as chain:
        right = Court(chain, net_positions([1, 2, 3], [100, -60, -40], [500, -300, -200]))
        for member, numbers, energy in ((1, (0, 1), 500), (2, (2,), -300), (3, (3,), -200)):
            with pytest.raises(LedgerError, match=rf"NothingWrong\(energyWh={energy}\)"):
                right.open(member, *numbers)


def test_a_proof_must_be_whole_attested_ones_own_and_of_that_slot(embedded: Court) -> None:
    court = embedded

    def refused(name: str, member: int, proofs: list[ShownLeaf], record: SettledRecord | None = None) -> None:
        with pytest.raises(LedgerError, match=rf"refused: {name}\("):
            court.show(member, SLOT, [record or court.record], proofs)

    both = court.proofs(0, 1)
    refused("DevicesMissing", 1, both[:1])
    refused("DevicesMissing", 1, [])
    refused("DevicesNotSorted", 1, both[::-1])
    refused("DevicesNotSorted", 1, both[:1] * 2)
    refused("WrongReading", 3, court.proofs(2))
    (mine,) = court.proofs(3)
    refused("NotAttested", 3, [replace(mine, leaf=salted(sign_reading(METERS[3], SLOT, 0, 999, 1)))])
    refused("NotAttested", 3, [replace(mine, leaf=bytes(16) + mine.leaf[16:])])  # the reading with another salt
    refused("NotAttested", 3, [replace(mine, lefts=mine.lefts ^ 1)])
    refused("NotAttested", 3, [replace(mine, siblings=(*mine.siblings, bytes(32)))])
    refused("NotAttested", 3, [replace(mine, siblings=mine.siblings[:1])])
    refused("NotWhatWasSettled", 3, court.proofs(3), SettledRecord(court.header, pair(1, 2, 1_000, 601)))
    refused("NotMember", 5, court.proofs(3))
    with pytest.raises(LedgerError, match=r"WrongRevisions\(given=0, needed=1\)"):
        court.open(3, 3, records=[])


def test_a_leaf_that_is_no_reading_is_refused_whatever_its_root(embedded: Court) -> None:
    court = embedded
    cases = (b"", bytes(16) + b"\x82\x50" + bytes(16), court.leaves[0][:46], court.leaves[3][:47], court.leaves[3][16:])
    for slot, junk in enumerate(cases, SLOT + 1):  # the last one is a reading without its salt
        header = Header(tree_over([junk]).root, bytes(32), bytes(32))
        court.settle(slot, header, WRONG)
        with pytest.raises(LedgerError, match=r"NotAReading\("):
            court.show(3, slot, [SettledRecord(header, WRONG)], [ShownLeaf(junk, (), 0)])


def test_a_salt_that_begins_like_a_reading_changes_nothing(embedded: Court) -> None:
    court = embedded
    for slot, salt in enumerate((bytes(16), b"\x82\x50" + bytes(14), bytes.fromhex("d28455a201260450") + bytes(8)), SLOT + 1):
        leaf = salt + encode_substitute(court.ids[3], slot, 7, 90_000, 18)
        header = Header(tree_over([leaf]).root, bytes(32), bytes(32))
        court.settle(slot, header, WRONG)
        receipt = court.show(3, slot, [SettledRecord(header, WRONG)], [ShownLeaf(leaf, (), 0)])
        assert court.contract.events(receipt)[0][1]["provedWh"] == 7 - 90_000


def test_a_reading_of_another_slot_proves_nothing(embedded: Court) -> None:
    court = embedded
    court.settle(SLOT + 1, court.header, WRONG)
    with pytest.raises(LedgerError, match=r"WrongReading\(proof=0"):
        court.show(3, SLOT + 1, [court.record], court.proofs(3))


def test_a_quorum_corrects_without_the_operator_and_then_the_dispute_closes(court: Court) -> None:
    court.open(3, 3)
    court.empowered()
    differences = net_positions([1, 2, 3], [-50, 100, -50], [-100, 300, -200])
    record, arguments = court.correction(differences)
    with pytest.raises(LedgerError, match=r"NotCorrected\(settledWh=0, provedWh=-200\)"):
        close_dispute(court.chain, court.contract, stranger(), SLOT, 3, [court.record], timestamp=court.world.now)
    before = court.world.balances()
    court.act(stranger(), "resolve", *arguments)
    after = court.world.balances()
    assert [new - old for new, old in zip(after, before, strict=True)] == [0, 50, -100, 50]
    with pytest.raises(LedgerError, match=r"NotOracle|SignersNotSorted"):
        court.act(stranger(), "resolve", *arguments)  # the next revision needs its own signatures
    records = [court.record, record]
    close_dispute(court.chain, court.contract, stranger(), SLOT, 3, records, timestamp=court.world.now)
    assert court.contract.view(court.chain, "openDisputes")[0] == 0
    with pytest.raises(LedgerError, match=r"NothingWrong\(energyWh=-200\)"):
        court.open(3, 3, records=records)
    with pytest.raises(LedgerError, match=r"NotOpen\("):
        close_dispute(court.chain, court.contract, stranger(), SLOT, 3, records, timestamp=court.world.now)


def test_a_resolution_takes_signatures_over_the_very_differences(embedded: Court) -> None:
    court = embedded
    court.empowered()
    _, (slot, roots, _, over_root, over_rows) = court.correction(pair(1, 3, -50, 0))
    theft = pack_positions(net_positions([0, 1], [10**9, -(10**9)], [0, 0]))
    with pytest.raises(LedgerError, match=r"NotOracle|SignersNotSorted"):
        court.act(stranger(), "resolve", slot, roots, theft, over_root, over_rows)
    with pytest.raises(LedgerError, match=r"NotOracle|SignersNotSorted"):
        court.act(stranger(), "resolve", slot, roots, theft, over_root, over_root)
    packed = pack_positions(pair(1, 3, -50, 0))
    expected = resolution_digest(court.contract, SLOT, 1, packed)
    assert court.contract.view(court.chain, "resolutionDigest", SLOT, 1, keccak256(packed))[0] == expected


def test_a_dispute_nobody_answers_costs_the_operator_its_penalty(court: Court) -> None:
    court.bonded(PENALTY + 100)
    court.open(2, 2)
    court.open(3, 3)
    for account in (2, 3):
        with pytest.raises(LedgerError, match=r"AnswerOpen\("):
            court.act(stranger(), "punish", SLOT, account)
    court.world.now += ANSWER_S + 60
    before = [court.world.tokens(court.keys.member(account).address) for account in (2, 3)]
    for account in (2, 3):
        court.act(stranger(), "punish", SLOT, account)
        with pytest.raises(LedgerError, match=r"NotOpen\("):
            court.act(stranger(), "punish", SLOT, account)
        court.act(court.keys.member(account), "collect")
        with pytest.raises(LedgerError, match=r"NothingToCollect\("):
            court.act(court.keys.member(account), "collect")
    after = [court.world.tokens(court.keys.member(account).address) for account in (2, 3)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [PENALTY, 100]  # as far as the bond goes
    assert court.contract.view(court.chain, "bond")[0] == 0


def test_the_operators_bond_leaves_after_notice_and_not_past_an_open_dispute(court: Court) -> None:
    operator = court.keys.operator
    court.bonded(PENALTY)
    with pytest.raises(LedgerError, match=r"BondBusy\("):
        court.act(operator, "withdrawBond")
    with pytest.raises(LedgerError, match=r"NotOperator\("):
        court.act(stranger(), "announceWithdrawal")
    court.act(operator, "announceWithdrawal")
    court.open(3, 3)
    court.world.now += 2 * ANSWER_S + 60
    with pytest.raises(LedgerError, match=r"BondBusy\(openDisputes=1"):
        court.act(operator, "withdrawBond")
    court.act(stranger(), "punish", SLOT, 3)
    court.act(operator, "withdrawBond")
    court.act(court.keys.member(3), "collect")
    assert court.world.tokens(court.contract.address) == 0


def test_a_notice_given_once_lets_no_bond_out_while_slots_go_on(court: Court) -> None:
    """An operator announces, trades on, settles wrongly and would be off with the bond before anybody opens a dispute."""
    operator, world = court.keys.operator, court.world
    court.bonded(PENALTY)
    court.act(operator, "announceWithdrawal")
    world.now += 2 * ANSWER_S + 60
    court.settle(SLOT + 1, Header(bytes([9]) * 32, bytes(32), bytes(32)), WRONG)
    with pytest.raises(LedgerError, match=rf"SettledSince\(slotAtNotice={SLOT + 1}, nextSlot={SLOT + 2}\)"):
        court.act(operator, "withdrawBond")
    court.act(operator, "announceWithdrawal")
    world.now += 2 * ANSWER_S + 60
    court.act(operator, "withdrawBond")
    assert world.tokens(court.contract.address) == 0


def test_a_slot_beyond_the_window_is_final_and_the_last_inside_it_is_not(embedded: Court) -> None:
    court, world = embedded, embedded.world
    window = 4  # of the world's settlement
    for slot in range(SLOT + 1, SLOT + window):
        settle(court.chain, world.addresses, court.keys.operator, world.settlement(slot, WRONG), timestamp=world.now)
    court.open(3, 3)
    settle(court.chain, world.addresses, court.keys.operator, world.settlement(SLOT + window, WRONG), timestamp=world.now)
    with pytest.raises(LedgerError, match=rf"DisputeFinal\(slot={SLOT}, oldest={SLOT + 1}\)"):
        court.open(2, 2)


def test_a_device_id_is_sixteen_bytes() -> None:
    with pytest.raises(InputError, match="16 bytes"):
        device_id(b"short")


def test_a_revoked_meter_proves_nothing(embedded: Court) -> None:
    court = embedded
    court.devices.act(court.chain, court.keys.operator, "setStatus", device_id(court.ids[3]), 3, timestamp=court.world.now)
    with pytest.raises(LedgerError, match=r"DevicesMissing\(given=1, needed=0\)"):
        court.open(3, 3)
