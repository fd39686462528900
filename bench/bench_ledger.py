"""What a settlement costs: gas of a participant on a real node, and time on the embedded EVM.

The node comes with `npm ci`. Gas does not depend on the machine.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.harness import Result, at_least, at_most

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from batch_world import TIMEOUT_S, WINDOW_S, Batches
from ledger_rights import certificates_of, claims_of, deliver, issuing, move_on
from ledger_world import START, World, chain_of
from walras.ledger import Chain, NetPositions, net_positions, next_sender, pack_positions, settlement_transaction
from walras.ledger.auction import order_commitment, pack_fills, read_orders
from walras.ledger.batches import exit_now, find_fraud, make_batch, prove
from walras.ledger.calls import create
from walras.ledger.certificates import SettledRecord, issue
from walras.ledger.channels import ChannelBalance, advance, sign_balance
from walras.ledger.claims import claim_id
from walras.ledger.issuance import IssuingBody
from walras.ledger.quotes import Quote, Right, sign_quote
from walras.ledger.steps import Fact, facts_tree
from walras.ledger.transactions import MAX_TRANSACTION_GAS
from walras.market.conventions import Conventions
from walras.market.orders import make_orders
from walras.market.uniform import clear

GAS_GOAL = 6_200
"""Floor: a cold read of a word (2,100) and a write to it (2,900); the rest is calldata, checks and the loop."""

SECONDS_GOAL = 0.15


def positions(members: int, slot: int) -> NetPositions:
    """Flows between all members that sum to zero, of household size: up to 1 kWh and 0.30 a slot."""
    draw = np.random.default_rng(slot)
    energy = draw.integers(-1_000, 1_000, members)
    energy[-1] -= energy.sum()
    payment = energy * 300_000
    return net_positions(np.arange(members), payment, energy)


def settled_gas(world: World, slot: int, participants: int) -> int:
    """Gas of a whole settlement of the first `participants` members, whose words are not zero."""
    raw = settlement_transaction(
        world.addresses,
        next_sender(world.chain, world.keys.operator),
        world.settlement(slot, positions(participants, slot)),
    )
    receipt = world.chain.send(raw, timestamp=START + 900 * (slot + 1))
    assert receipt.refusal is None, receipt.refusal
    return receipt.gas_used


def gas_on_a_node() -> list[Result]:
    """Marginal gas between 50 and 100 participants, and the whole slot at 100."""
    with chain_of("anvil", 100) as chain:
        world = World(chain, members=100)
        settled_gas(world, 0, 100)  # every word written once: what a running community has
        fifty, hundred = settled_gas(world, 1, 50), settled_gas(world, 2, 100)
    marginal = (hundred - fifty) / 50
    detail = f"{marginal:.0f} gas against {GAS_GOAL}; whole slot of 100: {hundred} gas"
    return [at_most("ledger: gas of one more participant in a slot", marginal / GAS_GOAL, 1, detail)]


def time_embedded() -> list[Result]:
    """CPU seconds to settle 120 accounts on the embedded EVM, best of five: this machine, other loads left out."""
    with chain_of("embedded", 120) as chain:
        world = World(chain, members=120)
        seconds = [_settle_seconds(world, chain, slot) for slot in range(5)]
    best = min(seconds)
    detail = f"{best * 1000:.0f} ms against {SECONDS_GOAL * 1000:.0f} ms"
    return [at_most("ledger: embedded settlement of 120 accounts", best / SECONDS_GOAL, 1, detail)]


def _settle_seconds(world: World, chain: Chain, slot: int) -> float:
    operator = next_sender(chain, world.keys.operator)
    raw = settlement_transaction(world.addresses, operator, world.settlement(slot, positions(120, slot)))
    start = time.process_time()
    receipt = chain.send(raw, timestamp=START + 900 * (slot + 1))
    assert receipt.refusal is None, receipt.refusal
    return time.process_time() - start


def against_transfers() -> list[Result]:
    """A slot of 400 trades between 100 members: every trade as an ERC-20 and an ERC-1155 transfer, against one settlement.

    The transfers are measured with balances that are not zero, and without the 21,000 gas of a transaction of their own: as if
    all were batched for free. The settlement is whole, with its quorum and its record.
    """
    with chain_of("anvil", 100) as chain:
        world = World(chain, members=100)
        settled_gas(world, 0, 100)
        one_slot = settled_gas(world, 1, 100)
        per_trade = _transfers_gas(world) - 2 * 21_000
    ratio = 400 * per_trade / one_slot
    detail = f"{400 * per_trade} gas by transfers ({per_trade} a trade), {one_slot} by settlement"
    return [at_least("ledger: gas of 400 trades by transfers over settlement", ratio, 11, detail)]


def _transfers_gas(world: World) -> int:
    """Gas of one ERC-20 and one ERC-1155 transfer between two who hold both already."""
    chain, seller, buyer = world.chain, world.keys.member(1), world.keys.member(2)
    code = certificates_of(world, issuing(world))
    slot = 2
    flow = net_positions([1, 2], [0, 0], [-1_000, 1_000])
    settlement = world.settlement(slot, flow)
    world.chain.send(
        settlement_transaction(world.addresses, next_sender(chain, world.keys.operator), settlement), timestamp=START + 2_700
    )
    raw = settlement_transaction(
        world.addresses, next_sender(chain, world.keys.operator), world.settlement(slot + 4, net_positions([], [], []))
    )
    chain.send(raw, timestamp=START + 3_600)
    issue(chain, code, seller, slot, [SettledRecord(settlement.header, flow)], timestamp=START + 3_700)
    for member in (seller, buyer):
        world.send(world.keys.operator, "TestCurrency", "mint", member.address, 1_000)
    gas = 0
    for _ in range(2):  # the second time both have both
        cash = world.send(buyer, "TestCurrency", "transfer", seller.address, 10).gas_used
        arguments = (seller.address, buyer.address, slot, 10, b"")
        energy = code.act(chain, seller, "safeTransferFrom", *arguments, timestamp=START + 3_800).gas_used
        gas = cash + energy
    return gas


AUCTION_ORDERS = 200


def auction_check() -> list[Result]:
    """The check of a clearing of 200 sealed orders in one transaction, per order, against the capacity of a transaction."""
    with chain_of("anvil", 20) as chain:
        world = World(chain, members=20)
        gas, events = _auction_gas(world)
    ratio = gas / MAX_TRANSACTION_GAS
    detail = f"{gas} gas for {AUCTION_ORDERS} orders, {gas / AUCTION_ORDERS:.0f} an order; {events}"
    return [at_most("ledger: check of 200 orders in one transaction", ratio, 1, detail)]


def _auction_gas(world: World) -> tuple[int, str]:
    chain, keys, now = world.chain, world.keys, world.now
    terms = (world.addresses.currency, world.addresses.registry, keys.admin.address, 0, 1, 2)
    contract = create(chain, keys.admin, "SealedAuction", *terms, timestamp=now)
    contract.act(chain, keys.operator, "open", 0, now + 3_600, now + 7_200, timestamp=now)
    draw = np.random.default_rng(5)
    sizes = draw.integers(100, 5_000, AUCTION_ORDERS) * np.where(np.arange(AUCTION_ORDERS) % 2, 1, -1)
    limits = draw.integers(50_000, 350_000, AUCTION_ORDERS)
    orders = [(row % 20, *one) for row, one in enumerate(zip(sizes.tolist(), limits.tolist(), strict=True))]
    spent = []
    for account, quantity, price in orders:
        sealed = order_commitment(contract, 0, account, quantity, price, bytes(32))
        spent.append(contract.act(chain, keys.member(account), "commit", 0, sealed, timestamp=now).gas_used)
    for number, (account, quantity, price) in enumerate(orders):
        arguments = (0, number, quantity, price, bytes(32))
        receipt = contract.act(chain, keys.member(account), "reveal", *arguments, timestamp=now + 4_000)
        spent.append(receipt.gas_used)
    found = read_orders(chain, contract, 0)
    sides, sizes = np.sign(found.quantity_wh), np.abs(found.quantity_wh)
    done = clear(make_orders(sides, sizes, found.price_micro_per_kwh, id=found.number, time=found.number), Conventions(tie="time"))
    submission = (0, done.price_micro_per_kwh, pack_fills(found, done.filled_wh))
    gas = contract.act(
        chain, keys.operator, "submitClearing", *submission, timestamp=now + 8_000, gas_limit=MAX_TRANSACTION_GAS
    ).gas_used
    return gas, f"commit {spent[1]}, reveal {spent[-1]}"


def rights_and_channels() -> list[Result]:
    """A certificate's life and a channel's, counted in ERC-20 transfers between two who hold the token already."""
    with chain_of("anvil", 100) as chain:
        world = World(chain, members=100)
        body = issuing(world)
        certificate, channel = _certificate_gas(world, body), _channel_gas(world)
        claimed = _claim_gas(world, body)
        holders = world.keys.member(3), world.keys.member(4)
        for holder in holders:
            world.send(world.keys.operator, "TestCurrency", "mint", holder.address, 100)
        transfer = world.send(holders[0], "TestCurrency", "transfer", holders[1].address, 10).gas_used
    return [
        at_most(f"ledger: {name}, in transfers", sum(gas.values()) / transfer, 12, ", ".join(f"{k} {v}" for k, v in gas.items()))
        for name, gas in (
            ("a certificate issued and retired", certificate),
            ("a claim minted and sold by a signed quote", claimed),
            ("a channel opened and closed", channel),
        )
    ]


def _certificate_gas(world: World, body: IssuingBody) -> dict[str, int]:
    chain = world.chain
    contract = certificates_of(world, body)
    flow = positions(100, 7)
    content = world.settlement(0, flow)
    giver = int(np.flatnonzero(flow.energy_wh < 0)[0])
    member = world.keys.member(giver)
    for settlement in (content, world.settlement(4, net_positions([], [], []))):
        raw = settlement_transaction(world.addresses, next_sender(chain, world.keys.operator), settlement)
        assert chain.send(raw, timestamp=START + 900).refusal is None
    header = (content.header.readings_root, content.header.trades_root, content.header.journal_head)
    issued = contract.act(chain, member, "issue", 0, [header], [pack_positions(flow)], timestamp=START + 1_000)
    retired = contract.act(chain, member, "retire", 0, 1, "a greenhouse-gas account", timestamp=START + 1_100)
    return {"issued (100 positions as proof)": issued.gas_used, "retired": retired.gas_used}


def _claim_gas(world: World, body: IssuingBody) -> dict[str, int]:
    """A claim under a root of 100 meters, and its sale: the first fill of a quote, and a later one."""
    chain, keys, now = world.chain, world.keys, START + 10_000
    contract = claims_of(world, body)
    seller, buyer = keys.member(1), keys.member(2)
    done = deliver(world, {1: 5_000})
    move_on(world, 4)
    arguments = (done.slot, done.settled.as_arguments(), done.shown(1).as_arguments())
    minted = contract.act(chain, seller, "claim", *arguments, timestamp=now).gas_used
    quotes = create(chain, keys.admin, "SignedQuotes", world.addresses.currency, timestamp=now)
    for key in (seller, buyer):
        world.send(keys.operator, "TestCurrency", "mint", key.address, 10**9)
        world.send(key, "TestCurrency", "approve", quotes.address, 10**9)
    contract.act(chain, seller, "setApprovalForAll", quotes.address, True, timestamp=now)
    right = Right(contract.address, claim_id(world.addresses.settlement, done.slot))
    quote = Quote(seller.address, True, right, 1_000, 300_000, 1, now + 10**6)
    signature = sign_quote(quotes, quote, seller)
    fills = [quotes.act(chain, buyer, "fill", quote.as_arguments(), signature, 400, timestamp=now).gas_used for _ in range(2)]
    return {"minted (proof of 7 siblings)": minted, f"first fill (a later one {fills[1]})": fills[0]}


def _channel_gas(world: World) -> dict[str, int]:
    chain, keys, now = world.chain, world.keys, world.now
    first, second = keys.member(1), keys.member(2)
    contract = create(chain, keys.admin, "PaymentChannels", world.addresses.currency, timestamp=now)
    world.send(keys.operator, "TestCurrency", "mint", first.address, 10**6)
    world.send(first, "TestCurrency", "approve", contract.address, 10**6)
    opened = contract.act(chain, first, "open", second.address, 3_600, 10**6, timestamp=now).gas_used
    balance = advance(ChannelBalance(1), 3_600_000, 100_000)
    last = sign_balance(contract, balance, first, second, last=True)
    closed = contract.act(chain, first, "closeTogether", *last.as_arguments(), timestamp=now).gas_used
    return {"opened": opened, "closed together": closed}


BATCH_MEMBERS, BATCH_SLOTS = 100, 24


def batches_and_exits() -> list[Result]:
    """A slot in a batch against one settled by itself; a proof of fraud against a transaction's capacity; an exit in transfers."""
    with chain_of("anvil", BATCH_MEMBERS) as chain:
        world = World(chain, members=BATCH_MEMBERS)
        settled_gas(world, 0, BATCH_MEMBERS)
        direct = settled_gas(world, 1, BATCH_MEMBERS)
        batches = Batches(world, paid_in=10**9)
        posted, proof, exit_gas = _batch_gas(batches)
        transfer = world.send(world.keys.member(3), "TestCurrency", "transfer", world.keys.member(4).address, 10).gas_used
    slot = posted / BATCH_SLOTS
    detail = f"{slot:.0f} gas a slot of {BATCH_MEMBERS} in a batch of {BATCH_SLOTS}, {direct} by itself"
    capacity = f"{proof} gas to do a slot of {BATCH_MEMBERS} members again"
    return [
        at_least("ledger: gas of a slot by itself over one in a batch", direct / slot, 10, detail),
        at_most("ledger: proof of a wrong slot in one transaction", proof / MAX_TRANSACTION_GAS, 0.1, capacity),
        at_most("ledger: a forced exit, in transfers", exit_gas / transfer, 4, f"{exit_gas} gas, a transfer {transfer}"),
    ]


def _batch_gas(batches: Batches) -> tuple[int, int, int]:
    """Gas of a posted batch, of the proof that its last slot is wrong, and of an exit after a halt."""
    chain, world = batches.chain, batches.world
    batches.post_honest([{}])
    flows = [positions(BATCH_MEMBERS, slot) for slot in range(BATCH_SLOTS)]
    batch, _ = make_batch(batches.words, BATCH_MEMBERS, batches.slot, flows, bytes(range(32)), bytes(range(1, 33)))
    wrong = replace(batch, slots=(*batch.slots[:-1], (bytes(range(2, 34)), batch.slots[-1][1])))
    posted = batches.post(wrong)
    fraud = find_fraud(wrong, batches.words, BATCH_MEMBERS, {}, facts_tree([Fact(0, 0)]), lambda account: 2**100)
    assert fraud is not None
    prover = world.keys.member(3)
    proved = prove(chain, batches.contract, prover, 1, fraud, timestamp=world.now)
    world.now += TIMEOUT_S + WINDOW_S
    batches.must(prover, "halt")
    left = exit_now(chain, batches.contract, prover, batches.words, 3, timestamp=world.now)
    return posted.gas_used, proved.gas_used, left.gas_used


def results() -> list[Result]:
    """Every claim of the ledger. The node is needed: `npm ci`."""
    groups = (gas_on_a_node, against_transfers, auction_check, rights_and_channels, batches_and_exits, time_embedded)
    return [result for group in groups for result in group()]
