"""The settlement contract: each refusal by its name, each effect to the last unit, the same on both chains."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger_world import CHAINS, COIN, DELAY_S, World, chain_of, pair, row, stranger
from walras.errors import LedgerError
from walras.ledger import (
    Receipt,
    SlotSettlement,
    balances,
    commitment_of,
    correction_transaction,
    join_signatures,
    net_positions,
    next_sender,
    next_slot,
    pack_positions,
    request_withdrawal,
    require_accepted,
    revision_of,
    settle,
    settled_slot,
    sign_attestation,
    slot_commitment,
    withdraw,
)


@pytest.fixture(scope="module", params=CHAINS)
def shared(request: pytest.FixtureRequest) -> Iterator[World]:
    """One ledger for a chain; tests take slots that grow and leave no pause behind."""
    with chain_of(request.param) as chain:
        yield World(chain)


@pytest.fixture
def world(shared: World) -> World:
    shared.now += 900
    return shared


def refusal(receipt: Receipt) -> str:
    assert receipt.status == 0
    return str(receipt.refusal)


def test_a_settled_slot_moves_money_and_energy_and_leaves_its_record(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    money, energy = world.balances(), world.energies()
    positions = pair(1, 2, 300_000_001, 1_000)
    receipt = settle(world.chain, world.addresses, world.keys.operator, world.settlement(slot, positions), timestamp=world.now)
    money[1] -= 300_000_001
    money[2] += 300_000_001
    energy[1] += 1_000
    energy[2] -= 1_000
    assert (world.balances(), world.energies()) == (money, energy)
    record = settled_slot(receipt, world.addresses)
    assert record is not None
    assert (record.slot, record.header, record.participants) == (slot, world.header(slot), 2)
    expected = slot_commitment(slot, world.header(slot), pack_positions(positions))
    assert commitment_of(world.chain, world.addresses, slot) == expected
    assert next_slot(world.chain, world.addresses) == slot + 1


def test_a_refusal_reaches_the_caller_by_name_with_its_numbers(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    too_much = pair(3, 4, 10**15, 1)
    with pytest.raises(
        LedgerError, match=r"AccountBelowZero\(account=3, balanceNano=\d+, paymentNano=1000000000000000\)"
    ) as caught:
        settle(world.chain, world.addresses, world.keys.operator, world.settlement(slot, too_much), timestamp=world.now)
    assert caught.value.thing.arguments["account"] == 3


def test_an_account_may_be_drawn_to_zero_and_not_one_nano_further(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    everything = world.balances()[5]
    beyond = world.settle_raw(slot, row(4, -everything - 1, 0) + row(5, everything + 1, 0), world.signatures(slot))
    assert refusal(beyond).startswith("AccountBelowZero(account=5")
    exact = world.settlement(slot, pair(5, 4, everything, 0))
    settle(world.chain, world.addresses, world.keys.operator, exact, timestamp=world.now)
    assert world.balances()[5] == 0
    back = world.settlement(slot + 1, pair(4, 5, everything, 0))
    settle(world.chain, world.addresses, world.keys.operator, back, timestamp=world.now)


def test_only_the_operator_settles(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    for key in (stranger(), world.keys.admin, world.keys.member(1)):
        receipt = world.settle_raw(slot, b"", world.signatures(slot), key)
        assert refusal(receipt) == f"NotOperator(caller={key.address.lower()})"


def test_a_slot_is_settled_once_and_none_before_it(world: World) -> None:
    slot = next_slot(world.chain, world.addresses) + 5
    done = world.settlement(slot, pair(1, 2, 5, 5))
    settle(world.chain, world.addresses, world.keys.operator, done, timestamp=world.now)
    for again in (slot, slot - 1):
        assert refusal(world.settle_raw(again, b"", world.signatures(again))) == f"SlotNotNext(slot={again}, nextSlot={slot + 1})"


def test_the_last_slot_of_all_is_refused_rather_than_wrapped(world: World) -> None:
    last = 2**64 - 1
    assert refusal(world.settle_raw(last, b"", world.signatures(last))).startswith(f"SlotNotNext(slot={last}")


def test_payments_and_energy_must_each_sum_to_exactly_zero(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    signatures = world.signatures(slot)
    unbalanced = [
        (row(1, 100, 10) + row(2, -99, -10), "PaymentsNotBalanced(sumNano=1)"),
        (row(1, 100, 10) + row(2, -100, -11), "EnergyNotBalanced(sumWh=-1)"),
        (row(1, -(2**63), 0) + row(2, 0, 0), f"PaymentsNotBalanced(sumNano={-(2**63)})"),
        (row(1, 0, -(2**47)), f"EnergyNotBalanced(sumWh={-(2**47)})"),
    ]
    before = world.balances()
    for packed, name in unbalanced:
        assert refusal(world.settle_raw(slot, packed, signatures)) == name
    assert world.balances() == before


def test_accounts_come_in_strictly_increasing_order_so_nobody_comes_twice(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    signatures = world.signatures(slot)
    twice = row(1, 100, 0) + row(2, -50, 0) + row(2, -50, 0)
    assert refusal(world.settle_raw(slot, twice, signatures)) == "AccountsNotSorted(account=2)"
    falling = row(2, 100, 0) + row(1, -100, 0)
    assert refusal(world.settle_raw(slot, falling, signatures)) == "AccountsNotSorted(account=1)"


def test_nobody_but_a_member_has_a_position(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    packed = row(1, 100, 0) + row(world.members, -100, 0)
    assert refusal(world.settle_raw(slot, packed, world.signatures(slot))) == f"NoSuchAccount(account={world.members})"


def test_half_a_position_is_refused(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    assert refusal(world.settle_raw(slot, row(1, 0, 0)[:-1], world.signatures(slot))) == "MalformedPositions(length=15)"


def test_a_slot_without_participants_still_leaves_its_record(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    empty = world.settlement(slot, net_positions([], [], []), oracles=(0, 1, 2, 3))
    settle(world.chain, world.addresses, world.keys.operator, empty, timestamp=world.now)
    assert commitment_of(world.chain, world.addresses, slot) == slot_commitment(slot, world.header(slot), b"")


def test_a_quorum_is_the_threshold_of_different_registered_oracles_in_order(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    single = {index: world.signatures(slot, (index,)) for index in range(4)}
    order = sorted(single, key=lambda index: int(world.keys.oracle(index).address, 16))
    first, second, third, _ = (single[index] for index in order)
    root = world.header(slot).readings_root
    alien = world.keys.member(2)
    with_alien = join_signatures(
        [
            sign_attestation(key, world.chain.chain_id, world.addresses.settlement, slot, root)
            for key in (world.keys.oracle(0), world.keys.oracle(1), alien)
        ]
    )
    cases = [
        (first + second, "QuorumNotReached(given=2, threshold=3)"),
        (b"", "QuorumNotReached(given=0, threshold=3)"),
        (first + second + second, f"SignersNotSorted(signer={world.keys.oracle(order[1]).address.lower()})"),
        (second + first + third, f"SignersNotSorted(signer={world.keys.oracle(order[0]).address.lower()})"),
        (first + second + third[:-1], "MalformedSignatures(length=194)"),
        (with_alien, f"NotOracle(signer={alien.address.lower()})"),
        (first + second + bytes(64) + b"\x1b", "ECDSAInvalidSignature()"),
    ]
    for signatures, name in cases:
        assert refusal(world.settle_raw(slot, b"", signatures)) == name


def test_an_attestation_holds_for_its_own_slot_root_contract_and_chain_only(world: World) -> None:
    slot = next_slot(world.chain, world.addresses)
    chain_id, contract, root = world.chain.chain_id, world.addresses.settlement, world.header(slot).readings_root
    foreign = [
        (chain_id, contract, slot + 1, root),
        (chain_id, contract, slot, bytes(32)),
        (chain_id, world.addresses.registry, slot, root),
        (chain_id + 1, contract, slot, root),
    ]
    for terms in foreign:
        signatures = join_signatures([sign_attestation(world.keys.oracle(index), *terms) for index in range(3)])
        assert refusal(world.settle_raw(slot, b"", signatures)).startswith(("NotOracle", "SignersNotSorted"))


def test_replaced_oracles_no_longer_count(world: World) -> None:
    new = [world.keys.oracle(index).address for index in (0, 1, 9)]
    slot = next_slot(world.chain, world.addresses)
    assert world.send(world.keys.admin, "Registry", "setOracles", new, 2).status == 1
    old = world.settle_raw(slot, b"", world.signatures(slot, (0, 1, 2)))
    assert refusal(old) == f"NotOracle(signer={world.keys.oracle(2).address.lower()})"
    assert world.settle_raw(slot, b"", world.signatures(slot, (1, 9))).status == 1
    original = [world.keys.oracle(index).address for index in range(4)]
    assert world.send(world.keys.admin, "Registry", "setOracles", original, 3).status == 1


def test_an_oracle_set_needs_a_majority_different_oracles_and_the_admin(world: World) -> None:
    oracles = [world.keys.oracle(index).address for index in range(4)]
    admin = world.keys.admin
    cases = [
        (admin, oracles, 2, "ThresholdNotMajority(threshold=2, count=4)"),
        (admin, oracles, 5, "ThresholdNotMajority(threshold=5, count=4)"),
        (admin, [], 0, "ThresholdNotMajority(threshold=0, count=0)"),
        (admin, oracles[:1] * 2, 2, f"OracleTwice(oracle={oracles[0].lower()})"),
        (admin, ["0x" + "00" * 20], 1, "NoAddress()"),
        (admin, oracles * 9, 30, "TooManyOracles(wanted=36, maximum=32)"),
    ]
    for key, addresses, threshold, name in cases:
        assert refusal(world.send(key, "Registry", "setOracles", addresses, threshold)) == name
    by_operator = world.send(world.keys.operator, "Registry", "setOracles", oracles, 3)
    assert refusal(by_operator).startswith("AccessControlUnauthorizedAccount(")


def test_members_are_registered_once_by_the_operator(world: World) -> None:
    known = world.keys.member(1).address
    operator = world.keys.operator
    assert refusal(world.send(operator, "Registry", "registerMany", [known])) == f"AlreadyMember(owner={known.lower()}, account=1)"
    assert refusal(world.send(operator, "Registry", "registerMany", ["0x" + "00" * 20])) == "NoAddress()"
    refused = world.send(stranger(), "Registry", "registerMany", [stranger().address])
    assert refusal(refused).startswith("AccessControlUnauthorizedAccount(")


def test_an_account_moves_to_a_new_key_with_all_that_is_on_it(world: World) -> None:
    old, new = world.keys.member(3), stranger()
    assert refusal(world.send(old, "Registry", "transferAccount", world.keys.member(1).address)).startswith("AlreadyMember(")
    assert world.send(old, "Registry", "transferAccount", new.address).status == 1
    request = world.send(old, "Settlement", "requestWithdrawal", COIN)
    assert refusal(request) == f"NotMember(owner={old.address.lower()})"
    assert world.send(new, "Settlement", "requestWithdrawal", 0).status == 1
    assert world.send(new, "Registry", "transferAccount", old.address).status == 1


def test_a_withdrawal_waits_its_delay_and_leaves_the_remainder_of_a_token_unit(world: World) -> None:
    member = world.keys.member(2)
    slot = next_slot(world.chain, world.addresses)
    dust = world.settlement(slot, pair(1, 2, 777, 0))
    settle(world.chain, world.addresses, world.keys.operator, dust, timestamp=world.now)
    before, tokens = world.balances()[2], world.tokens(member.address)
    request_withdrawal(world.chain, world.addresses, member, 5_999, timestamp=world.now)
    with pytest.raises(LedgerError, match=r"WithdrawalNotYet\(account=2"):
        withdraw(world.chain, world.addresses, member, timestamp=world.now + DELAY_S // 2)
    world.now += DELAY_S + 60
    assert withdraw(world.chain, world.addresses, member, timestamp=world.now) == 5
    assert world.tokens(member.address) == tokens + 5
    assert world.balances()[2] == before - 5_000
    with pytest.raises(LedgerError, match=r"NothingToWithdraw\(account=2\)"):
        withdraw(world.chain, world.addresses, member, timestamp=world.now)


def test_money_asked_back_still_pays_for_what_was_traded_before(world: World) -> None:
    """A withdrawal in mid-slot cannot stop the settlement of that slot: it gets what is left."""
    member = world.keys.member(4)
    whole = world.balances()[4]
    request_withdrawal(world.chain, world.addresses, member, whole, timestamp=world.now)
    slot = next_slot(world.chain, world.addresses)
    bill = world.settlement(slot, pair(4, 0, COIN, 3_000))
    settle(world.chain, world.addresses, world.keys.operator, bill, timestamp=world.now)
    world.now += DELAY_S + 60
    assert withdraw(world.chain, world.addresses, member, timestamp=world.now) == (whole - COIN) // 1_000
    assert world.balances()[4] == (whole - COIN) % 1_000


def test_a_pause_stops_settling_and_deposits_but_never_a_withdrawal(world: World) -> None:
    member = world.keys.member(1)
    request_withdrawal(world.chain, world.addresses, member, COIN, timestamp=world.now)
    assert refusal(world.send(stranger(), "Settlement", "pause")).startswith("NotOperator(")
    assert world.send(world.keys.operator, "Settlement", "pause").status == 1
    slot = next_slot(world.chain, world.addresses)
    assert refusal(world.settle_raw(slot, b"", world.signatures(slot))) == "EnforcedPause()"
    assert refusal(world.send(member, "Settlement", "depositMany", [1], [1])) == "EnforcedPause()"
    world.now += DELAY_S + 60
    assert withdraw(world.chain, world.addresses, member, timestamp=world.now) == COIN // 1_000
    assert world.send(world.keys.operator, "Settlement", "unpause").status == 1


def test_deposits_name_members_and_bring_the_tokens(world: World) -> None:
    payer = world.keys.member(1)
    settlement = world.addresses.settlement
    cases = [
        (([1, 2], [5]), "LengthMismatch(accounts=2, amounts=1)"),
        (([world.members], [5]), f"NoSuchAccount(account={world.members})"),
        (([1], [0]), "NothingToDeposit()"),
        (([], []), "NothingToDeposit()"),
        (([1], [2**127]), "DepositTooLarge("),
        (([1], [2**255]), "Panic(code=17)"),
        (([1], [10**15]), "ERC20InsufficientAllowance("),
    ]
    before = world.balances()
    for arguments, name in cases:
        assert refusal(world.send(payer, "Settlement", "depositMany", *arguments)).startswith(name)
    assert world.balances() == before
    minted = world.send(world.keys.operator, "TestCurrency", "mint", payer.address, 30)
    assert minted.status == 1
    assert world.send(payer, "TestCurrency", "approve", settlement, 30).status == 1
    assert world.send(payer, "Settlement", "depositMany", [2, 0, 2], [10, 15, 5]).status == 1
    expected = [before[0] + 15_000, before[1], before[2] + 15_000, *before[3:]]
    assert balances(world.chain, world.addresses, range(world.members))[0].tolist() == expected


def test_only_the_owner_mints(world: World) -> None:
    receipt = world.send(stranger(), "TestCurrency", "mint", stranger().address, 1)
    assert refusal(receipt).startswith("OwnableUnauthorizedAccount(")


def test_a_withdrawal_request_beyond_128_bits_is_refused(world: World) -> None:
    assert refusal(world.send(world.keys.member(1), "Settlement", "requestWithdrawal", 2**128)).startswith("AmountTooLarge(")


def test_a_settled_slot_is_corrected_by_differences_under_a_new_quorum(world: World) -> None:
    chain, addresses, operator = world.chain, world.addresses, world.keys.operator
    slot = next_slot(chain, addresses)
    settle(chain, addresses, operator, world.settlement(slot, pair(1, 2, 500, 10)), timestamp=world.now)
    settled_as, money = commitment_of(chain, addresses, slot), world.balances()
    for revision in (1, 2):
        signatures = world.correction_signatures(slot, revision, world.header(slot).readings_root)
        content = SlotSettlement(slot, world.header(slot), pair(2, 1, 200, 4), signatures)
        raw = correction_transaction(addresses, next_sender(chain, operator), content)
        assert require_accepted(chain.send(raw, timestamp=world.now), "correction").status == 1
        assert revision_of(chain, addresses, slot) == revision
    assert world.balances() == [money[0], money[1] + 400, money[2] - 400, *money[3:]]
    assert commitment_of(chain, addresses, slot) == settled_as


def test_a_correction_needs_its_own_attestation_a_settled_slot_and_the_open_window(world: World) -> None:
    chain, addresses, operator = world.chain, world.addresses, world.keys.operator
    slot = next_slot(chain, addresses)
    root = world.header(slot).readings_root
    packed = row(1, 5, 0) + row(2, -5, 0)
    unsettled = world.correct_raw(slot, packed, world.correction_signatures(slot, 1, root))
    assert refusal(unsettled) == f"SlotNotSettled(slot={slot})"
    settle(chain, addresses, operator, world.settlement(slot, pair(1, 2, 500, 10)), timestamp=world.now)
    before = world.balances()
    good = world.correction_signatures(slot, 1, root)
    wrong = [world.signatures(slot), world.correction_signatures(slot, 2, root), world.correction_signatures(slot + 1, 1, root)]
    for signatures in wrong:
        assert refusal(world.correct_raw(slot, packed, signatures)).startswith(("NotOracle(", "SignersNotSorted("))
    assert refusal(world.correct_raw(slot, packed, good, stranger())).startswith("NotOperator(")
    assert refusal(world.correct_raw(slot, row(1, 5, 0), good)) == "PaymentsNotBalanced(sumNano=5)"
    later = slot + 3  # the window of this ledger is four slots: slot, and three after it
    settle(chain, addresses, operator, world.settlement(later, net_positions([], [], [])), timestamp=world.now)
    assert world.balances() == before
    assert world.correct_raw(slot, packed, good).status == 1
    settle(chain, addresses, operator, world.settlement(later + 1, net_positions([], [], [])), timestamp=world.now)
    too_late = world.correct_raw(slot, packed, world.correction_signatures(slot, 2, root))
    assert refusal(too_late) == f"SlotFinal(slot={slot}, oldestCorrectable={slot + 1})"
