"""Many settled slots as one batch on the chain: what they come to, the facts behind it, and when it is due.

A batch is `slots` settled slots in a row (the last of a run may be shorter). It is posted when nothing can change them any more:
when the readings of its last slot were due or, where late readings correct a slot, when that slot's dispute window has closed. So
corrections cost no transaction of their own: what is posted is what stands.

A fact says of one account in one slot what was metered and traded and which prices apply. `other_nano` is what no price explains:
fees of a local trade, roundings of tax, and everything that supplier, grid operator, state and operator receive. A fact comes to
exactly the account's cash and energy, so the contract can be shown any position that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from walras.errors import LedgerError
from walras.exchange.accounting import SlotAccounts, settle_slot
from walras.exchange.correction import corrected_at, difference_positions, settled_at
from walras.exchange.curtailment import WiresSlot
from walras.exchange.terms import Terms
from walras.ledger.abi import artifact
from walras.ledger.batches import (
    GAS_PER_POST,
    NAME,
    Batch,
    data_digest,
    facts_digest,
    make_batch,
    post_arguments,
    post_gas,
    post_roots_arguments,
    root_of_state,
)
from walras.ledger.calls import Contract
from walras.ledger.steps import Fact, facts_tree, rows_of, running_payment
from walras.ledger.transactions import MAX_TRANSACTION_GAS, Sender, Transaction, sign_transaction
from walras.market.clearing import Clearing
from walras.market.orders import Orders
from walras.metering.merkle import MerkleTree
from walras.tariffs.bill import BillLayout
from walras.units import Int64

COMMITTEE = "committee"


@dataclass(frozen=True, slots=True)
class BatchSlot:
    """A settled slot as it stands: what it was settled from, readings [members], and what every account pays."""

    slot: int
    item_micro: Int64
    orders: Orders
    clearing: Clearing
    on_wires: WiresSlot | None
    reactive_var: Int64 | None
    import_wh: Int64
    export_wh: Int64
    accounts: SlotAccounts

    @property
    def price_micro_per_kwh(self) -> int | None:
        """The one price of the clearing, or None."""
        return self.clearing.price_micro_per_kwh


def settled_again(terms: Terms, layout: BillLayout, s: BatchSlot, import_wh: Int64, export_wh: Int64) -> BatchSlot:
    """The slot settled on other readings [members], all else as it was."""
    metered, given = (import_wh, export_wh), (s.on_wires, s.reactive_var)
    accounts = settle_slot(terms, layout, s.slot, s.item_micro, s.orders, s.clearing, *metered, *given)
    return replace(s, import_wh=import_wh, export_wh=export_wh, accounts=accounts)


class SlotSums(Protocol):
    """What a fact is made of: a settled slot, however it was come by."""

    @property
    def slot(self) -> int: ...
    @property
    def item_micro(self) -> Int64: ...
    @property
    def price_micro_per_kwh(self) -> int | None: ...
    @property
    def import_wh(self) -> Int64: ...
    @property
    def export_wh(self) -> Int64: ...
    @property
    def accounts(self) -> SlotAccounts: ...


@dataclass(frozen=True, slots=True)
class MadeBatch:
    """A batch with the state [words by account] before and after it, and the tree of its facts in their order."""

    batch: Batch
    before: tuple[int, ...]
    afterwards: tuple[int, ...]
    facts: tuple[Fact, ...]
    tree: MerkleTree


def batch_slots(terms: Terms, index: int) -> range:
    """The slots of batch `index`; empty where the run has no such batch."""
    assert terms.batches is not None
    start = terms.first + index * terms.batches.slots
    return range(start, min(start + terms.batches.slots, terms.last + 1))


def posted_at(terms: Terms, index: int) -> int:
    """Unix time at which batch `index` is posted."""
    last = batch_slots(terms, index)[-1]
    return corrected_at(terms, last) if terms.dispute_window_s else settled_at(terms, last)


def facts_of(terms: Terms, s: SlotSums) -> list[Fact]:
    """One fact for every account of the slot, members first; each comes to the account's cash and energy."""
    price = s.price_micro_per_kwh or 0
    retail = s.item_micro.sum(axis=1)[terms.contract_of].tolist()
    done = s.accounts.settled
    columns = (s.import_wh, s.export_wh, done.bought_wh, done.sold_wh)
    energies = list(zip(*(column.tolist() for column in columns), strict=True))
    feed_in = terms.feed_in_micro.tolist()
    facts = []
    for account, (cash, energy) in enumerate(zip(s.accounts.cash_nano.tolist(), s.accounts.energy_wh.tolist(), strict=True)):
        if account < terms.members:
            imported, exported, bought, sold = energies[account]
            plain = (imported, exported, bought, sold, price, price, retail[account], feed_in[account])
        else:
            plain = (max(energy, 0), max(-energy, 0), 0, 0, 0, 0, 0, 0)
        explained = Fact(s.slot, account, *plain).due()[0]
        facts.append(Fact(s.slot, account, *plain, cash - explained))
    return facts


def make_run_batch(terms: Terms, words: Sequence[int], slots: Sequence[BatchSlot], journal_head: bytes) -> MadeBatch:
    """The batch of `slots` on top of the state `words`."""
    facts = [fact for s in slots for fact in facts_of(terms, s)]
    tree = facts_tree(facts)
    positions = [difference_positions(s.accounts.cash_nano, s.accounts.energy_wh) for s in slots]
    batch, after = make_batch(words, terms.accounts, slots[0].slot, positions, tree.root, journal_head)
    return MadeBatch(batch, tuple(words), tuple(after), tuple(facts), tree)


def batch_digest(terms: Terms, made: MadeBatch, contract: Contract) -> bytes:
    """What the oracles sign: the facts, or where they are the committee that publishes, everything."""
    batch, at = made.batch, (contract.chain_id, contract.address)
    assert terms.batches is not None
    if terms.batches.publish == COMMITTEE:
        return data_digest(*at, batch, root_of_state(made.before))
    return facts_digest(*at, batch.first_slot, len(batch.slots), batch.facts_root)


def post_call(terms: Terms, made: MadeBatch, signatures: bytes) -> bytes:
    """Calldata of the transaction that posts a batch, with its data or with the committee's word for them."""
    assert terms.batches is not None
    if terms.batches.publish == COMMITTEE:
        return artifact(NAME).call("postRoots", *post_roots_arguments(made.batch, root_of_state(made.before), signatures))
    return artifact(NAME).call("post", *post_arguments(made.batch, signatures))


def post_transaction(terms: Terms, made: MadeBatch, contract: Contract, operator: Sender, signatures: bytes) -> bytes:
    """The signed bytes that post a batch. LedgerError where no transaction can hold it."""
    assert terms.batches is not None
    gas = GAS_PER_POST if terms.batches.publish == COMMITTEE else post_gas(made.batch)
    if gas > MAX_TRANSACTION_GAS:
        size = len(made.batch.slots)
        raise LedgerError(
            f"a batch of {size} slots may take {gas:,} gas, a transaction may take {MAX_TRANSACTION_GAS:,}",
            thing=size,
            way_out="give [ledger] fewer batch_slots, or let a committee publish",
        )
    data = post_call(terms, made, signatures)
    return sign_transaction(
        operator.key, Transaction(contract.chain_id, operator.nonce, contract.address, data, gas, operator.fees)
    )


def shortfall_nano(made: MadeBatch, paid_in_nano: Int64) -> Int64:
    """[accounts] nano-units that an account lacks at the step of the batch where it has paid most, given what it paid in.

    In the order of the slots an account may be lower for a while than it was in the order in which they were settled and corrected.
    """
    running = np.array([running_payment(word) for word in made.before] or [0] * paid_in_nano.size, dtype=object)
    running = np.concatenate([running, np.zeros(paid_in_nano.size - running.size, dtype=object)])
    highest = running * 0
    for _, packed in made.batch.slots:
        for account, payment, _ in rows_of(packed):
            running[account] += payment
            if payment > 0:
                highest[account] = max(highest[account], running[account])
    return np.maximum(highest - paid_in_nano, 0).astype(np.int64)
