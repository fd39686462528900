"""The chain's side of a run: it deploys, pays in, and settles, each slot by itself or many in a batch.

The rule: every transaction is in the journal before it is sent, with a nonce that follows from the journal. So a run that was cut
off sends the very bytes again, which a chain recognises: nothing is deployed, paid or posted twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from walras.errors import JournalError
from walras.exchange.batching import (
    BatchSlot,
    MadeBatch,
    batch_digest,
    batch_slots,
    make_run_batch,
    post_transaction,
    posted_at,
    shortfall_nano,
)
from walras.exchange.fold import BATCH_INCLUDED, BATCH_POSTED, ESCROW_MOVED, ESCROW_PAID, LEDGER_DEPLOYED
from walras.exchange.journal import Entry, Public
from walras.exchange.opening import opening_from_public
from walras.exchange.recorder import Decision, Recorder
from walras.ledger import (
    EmbeddedChain,
    LedgerAddresses,
    Receipt,
    Sender,
    SlotSettlement,
    correction_transaction,
    join_signatures,
    plan_deployment,
    read_transaction,
    recover_address,
    require_accepted,
    settlement_transaction,
)
from walras.ledger.batch_deployment import deposit_transactions, plan_batches
from walras.ledger.batches import NAME, root_of_state, roots_of
from walras.ledger.calls import Contract
from walras.ledger.deployment import NANO_PER_TOKEN_UNIT
from walras.ledger.topup import top_up_transactions
from walras.study.ground import check_same
from walras.study.ledger_rules import ESCROW_NANO, addition_terms, deployed_at, genesis_time, ledger_terms_of
from walras.study.movements import check_backed, check_payable, fetchable_nano, held_nano
from walras.study.parts import Parts
from walras.units import Int64


class Settler:
    """Money and settlement of one run. `deploy` first; then slots in their order."""

    def __init__(self, parts: Parts, recorder: Recorder) -> None:
        self._p = parts
        self._recorder = recorder
        self._operator = Sender(parts.keys.operator, 0)
        self._addresses: LedgerAddresses | None = None
        self._batches: Contract | None = None
        self._paid_in = np.zeros(parts.terms.accounts, dtype=np.int64)
        self._leaving = np.zeros(parts.terms.accounts, dtype=np.bool_)
        self._words: tuple[int, ...] = ()
        self._waiting: dict[int, BatchSlot] = {}
        self._posted = 0

    @property
    def addresses(self) -> LedgerAddresses:
        """Where the contracts of the run stand, once they are deployed."""
        assert self._addresses is not None
        return self._addresses

    def deploy(self) -> None:
        """The contracts, and the first deposit of every account; or those that stand already, as they are found."""
        p = self._p
        decide = self._plan if p.ground is None else p.ground.taken_over
        deployed = self._recorder.step(LEDGER_DEPLOYED, None, decide)
        if deployed.public["chain_id"] != p.chain.chain_id:
            raise JournalError(
                f"the run was begun on chain {deployed.public['chain_id']}, this is chain {p.chain.chain_id}",
                thing=deployed.seq,
                way_out="give the same --chain, or --fresh to begin anew",
            )
        named = {name: deployed.public[name] for name in ("chain_id", "currency", "registry", "settlement")}
        self._addresses = LedgerAddresses(**named)
        check_same(p.ground, deployed)
        if p.terms.batches is not None:
            self._batches = Contract(NAME, p.chain.chain_id, deployed.public["batches"])
        self._operator = Sender(p.keys.operator, deployed.public["operator_nonce"])
        self.send(deployed, "deployment")
        opening = opening_from_public(deployed.public)
        found = [ESCROW_NANO] * p.terms.accounts if opening is None else list(opening.balance_nano)
        self._paid(self._recorder.step(ESCROW_PAID, None, lambda: ({"nano": found, "transactions": []}, None)))
        if opening is not None:
            self._words = opening.words
            self._paid_in = np.array(opening.paid_in_nano, dtype=np.int64)

    def _plan(self) -> Decision:
        p = self._p
        admin, operator = p.chain.nonce(p.keys.admin.address), p.chain.nonce(p.keys.operator.address)
        ledger_terms = ledger_terms_of(p.community, p.terms, p.keys)
        fees = p.fees()
        plan = plan_deployment(p.keys, ledger_terms, p.chain.chain_id, admin_nonce=admin, operator_nonce=operator, fees=fees)
        a, steps = plan.addresses, plan.transactions
        public = {"chain_id": p.chain.chain_id, "currency": a.currency, "registry": a.registry, "settlement": a.settlement}

        def used(key: str) -> int:
            return [read_transaction(step.raw).sender for step in steps].count(key)

        if p.terms.batches is not None:
            nexts = admin + used(p.keys.admin.address), operator + used(p.keys.operator.address)
            units = [ESCROW_NANO // NANO_PER_TOKEN_UNIT] * p.terms.accounts
            contract, more = plan_batches(
                p.keys, a, addition_terms(p.community, p.terms), units, admin_nonce=nexts[0], operator_nonce=nexts[1], fees=fees
            )
            steps = (*steps, *more)
            public["batches"] = contract.address
        return public | {
            "operator_nonce": operator + used(p.keys.operator.address),
            "genesis_time": genesis_time(p.terms),
            "funded": [p.keys.admin.address, p.keys.operator.address],
            "transactions": [{"raw": step.raw.hex(), "time": deployed_at(p.terms)} for step in steps],
        }, None

    def send(self, entry: Entry, what: str) -> list[Receipt]:
        """Send what the entry recorded: a restart thus rebuilds the embedded chain; on a node nothing is done twice."""
        return [
            require_accepted(self._p.chain.send(bytes.fromhex(t["raw"]), timestamp=t["time"]), what)
            for t in entry.public["transactions"]
        ]

    def top_up(self, time: int, cash_nano: Int64) -> None:
        """Before an account could fall below zero by paying `cash_nano` [accounts], its owner pays in again, at `time` [Unix s]."""
        self.see_movements()
        backing = self._recorder.state.escrow_nano
        payers = np.flatnonzero(cash_nano > 0)
        if self._batches is None and self._others_act():
            backing = backing - np.minimum(fetchable_nano(self._p.chain, self.addresses, payers, backing.size), backing)
        self._pay_in(time, np.where(cash_nano > 0, np.maximum(cash_nano - backing, 0), 0))

    def _others_act(self) -> bool:
        """Whether the chain is to be looked at: the next event is decided now, and others than the run act there."""
        return self._recorder.ahead is None and not isinstance(self._p.chain, EmbeddedChain)

    def see_movements(self) -> None:
        """Record what members paid in or took out beside the run since the chain was last looked at."""
        moved = np.zeros(self._p.terms.accounts, dtype=np.int64)
        if self._others_act():
            known = self._recorder.state.escrow_nano if self._batches is None else self._paid_in
            moved = held_nano(self._p.chain, self.addresses, self._batches, known.size) - known
        if self._recorder.ahead == ESCROW_MOVED or moved.any():
            entry = self._recorder.step(ESCROW_MOVED, None, lambda: ({"nano": moved.tolist()}, None))
            self._paid(entry)
            self._leaving |= np.array(entry.public["nano"], dtype=np.int64) < 0

    def _pay_in(self, time: int, missing_nano: Int64) -> None:
        short = np.flatnonzero(missing_nano > 0)
        ahead = self._recorder.ahead
        if ahead != ESCROW_PAID and (ahead is not None or not short.size):
            return  # what the journal goes on with was decided when it was recorded
        nano = np.zeros(self._p.terms.accounts, dtype=np.int64)
        steps = np.where(self._leaving, NANO_PER_TOKEN_UNIT, ESCROW_NANO)[short]  # who takes its money out finds no more of it
        nano[short] = -(-missing_nano[short] // steps) * steps
        units = (nano[short] // NANO_PER_TOKEN_UNIT).tolist()

        def decide() -> Decision:
            operator = self._sender()
            if self._batches is None:
                raws = top_up_transactions(self.addresses, operator, short.tolist(), units)
            else:
                raws = deposit_transactions(self.addresses, self._batches, operator, short.tolist(), units)
            return {"nano": nano.tolist(), "transactions": [{"raw": raw.hex(), "time": time} for raw in raws]}, None

        entry = self._recorder.step(ESCROW_PAID, None, decide)
        self._paid(entry)
        self._spend(entry, "deposit")

    def _paid(self, entry: Entry) -> None:
        self._paid_in = self._paid_in + np.array(entry.public["nano"], dtype=np.int64)

    def _spend(self, entry: Entry, what: str) -> list[Receipt]:
        receipts = self.send(entry, what)
        if receipts:
            last = read_transaction(bytes.fromhex(entry.public["transactions"][-1]["raw"]))
            self._operator = replace(self._operator, nonce=last.transaction.nonce + 1)
        return receipts

    def _sender(self) -> Sender:
        """The operator with its next nonce, by the journal or, where its key was used beside the run, by the chain; and with the
        fees of now. All that the journal holds has been sent before."""
        nonce = max(self._operator.nonce, self._p.chain.nonce(self._operator.key.address))
        return replace(self._operator, nonce=nonce, fees=self._p.fees())

    # --- slot by slot -----------------------------------------------------------------------------------------------

    def transactions(self, settlement: Callable[[], SlotSettlement], time: int, *, correcting: bool = False) -> list[Public]:
        """What a settled or corrected slot puts into its entry: its transaction, or nothing where it waits for its batch."""
        if self._batches is not None:
            return []
        make = correction_transaction if correcting else settlement_transaction
        return [{"raw": make(self.addresses, self._sender(), settlement()).hex(), "time": time}]

    def settle(self, entry: Entry, standing: BatchSlot, what: str) -> Public:
        """Carry out what the entry of a settled or corrected slot says; what the entry after it records of that."""
        if not isinstance(self._p.chain, EmbeddedChain):
            check_payable(self._p.chain, [bytes.fromhex(t["raw"]) for t in entry.public["transactions"]], what)
        receipts = self._spend(entry, what)
        if self._batches is not None:
            self._waiting[standing.slot] = standing
            assert self._p.terms.batches is not None
            return {"batch": (standing.slot - self._p.terms.first) // self._p.terms.batches.slots}
        return _included(receipts[-1])

    # --- in batches -------------------------------------------------------------------------------------------------

    def post_until(self, time: int | None) -> None:
        """Post every whole batch that is due by `time`; None: all that waits."""
        terms = self._p.terms
        while self._batches is not None and (slots := batch_slots(terms, self._posted)):
            last_settled = self._recorder.state.last_settled
            if last_settled is None or slots[-1] > last_settled or (time is not None and posted_at(terms, self._posted) > time):
                return
            self._post(self._batches, [self._waiting.pop(slot) for slot in slots])

    def _post(self, contract: Contract, slots: list[BatchSlot]) -> None:
        terms, index, step = self._p.terms, self._posted, self._recorder.step
        time = posted_at(terms, index)
        self.see_movements()
        self._pay_in(time, shortfall_nano(make_run_batch(terms, self._words, slots, bytes(32)), self._paid_in))
        part: dict[str, Any] = {"batch": index, "first": slots[0].slot, "last": slots[-1].slot}
        made: list[MadeBatch] = []

        def decide() -> Decision:
            made.append(make_run_batch(terms, self._words, slots, bytes.fromhex(self._recorder.head)))
            signatures = self._signatures(slots, made[0], contract)
            raw = post_transaction(terms, made[0], contract, self._sender(), signatures)
            return part | _posted(made[0], signatures) | {"transactions": [{"raw": raw.hex(), "time": time}]}, None

        entry = step(BATCH_POSTED, None, decide)
        if not made:
            made.append(make_run_batch(terms, self._words, slots, bytes.fromhex(entry.public["journal_head"])))
        again = _posted(made[0], bytes.fromhex(entry.public["signatures"]))
        if again != {name: entry.public[name] for name in again}:
            raise JournalError(f"batch {index}: the settled slots do not make the batch recorded", thing=entry.seq)
        if self._others_act():
            held = held_nano(self._p.chain, self.addresses, contract, terms.accounts)
            check_backed(self._p.chain, bytes.fromhex(entry.public["transactions"][0]["raw"]), made[0], held, f"batch {index}")
        receipt = self._spend(entry, f"batch {index}")[-1]
        step(BATCH_INCLUDED, None, lambda: (part | _included(receipt), None))
        self._words, self._posted = made[0].afterwards, index + 1

    def _signatures(self, slots: list[BatchSlot], made: MadeBatch, contract: Contract) -> bytes:
        """Of all oracles that signed this batch, joined as the registry takes them."""
        terms, digest = self._p.terms, batch_digest(self._p.terms, made, contract)
        signed = self._p.path.sign_batch(slots, made, contract)
        good = {address: one for address, one in signed if recover_address(digest, one) == address and address in terms.oracles}
        return join_signatures(list(good.items()))


def _posted(made: MadeBatch, signatures: bytes) -> dict[str, Any]:
    names = ("steps_root", "state_root", "facts_root")
    roots = roots_of(made.batch, root_of_state(made.before))
    return {name: root.hex() for name, root in zip(names, roots, strict=True)} | {
        "journal_head": made.batch.journal_head.hex(),
        "signatures": signatures.hex(),
    }


def _included(receipt: Receipt) -> dict[str, Any]:
    return {"transaction": receipt.transaction_hash.hex(), "gas": receipt.gas_used, "block": receipt.block_number}
