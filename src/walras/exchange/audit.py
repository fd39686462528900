"""The audit: everything that can be re-checked from the public record and the chain, without trusting whoever ran the market.

Nothing is taken over from the run: the hash chain is hashed again, the order of events folded again, commitments opened,
each clearing checked against the laws that its mechanism claims and to be the very one that the rule gives,
what counts and every bill computed again from orders, fills and attested energy, sums added up, Merkle roots rebuilt, oracle
signatures recovered, and every transaction executed again; the contract's accounts must then be the journal's.

What it cannot see is whether a reading is true: that is the oracles' word, and each member's, whose bill has the proof that
its own readings are under the attested root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from walras.errors import AuditError, JournalError, WalrasError
from walras.exchange.accounting import settle_slot
from walras.exchange.acts import ActKind, act_from_public
from walras.exchange.audit_accounts import AccountsAudit, check_opening, receipt_of
from walras.exchange.audit_batches import BatchAudit
from walras.exchange.audit_wires import check_cleared, check_held
from walras.exchange.batching import BatchSlot, settled_again
from walras.exchange.commitment import commitments
from walras.exchange.correction import Standing, check_correction, difference_positions, standing_of
from walras.exchange.curtailment import recorded_wires
from walras.exchange.days import check_all_committed, check_days
from walras.exchange.edits import SeenAct, check_edit_act, edits_in_time, final_with
from walras.exchange.extras import extra_for
from walras.exchange.fold import (
    ACT,
    BATCH_INCLUDED,
    BATCH_POSTED,
    DAYS_COMMITTED,
    ESCROW_MOVED,
    ESCROW_PAID,
    LEDGER_DEPLOYED,
    RUN_CLOSED,
    RUN_OPENED,
    SLOT_CORRECTED,
    ExchangeState,
    apply,
)
from walras.exchange.journal import Entry, read_public_record
from walras.exchange.masked import check_masked
from walras.exchange.network_charges import slot_reactive
from walras.exchange.opening import check_node, opening_from_public
from walras.exchange.ordered import check_book, check_ordered, outcomes
from walras.exchange.phases import EventKind
from walras.exchange.public import clearing_from_public, column, orders_from_public
from walras.exchange.publishing import check_published
from walras.exchange.terms import Terms, terms_from_public
from walras.exchange.trades import trades_of
from walras.ledger import (
    ArchiveChain,
    EmbeddedChain,
    Genesis,
    Header,
    LedgerAddresses,
    ReadableChain,
    attestation_digest,
    commitment_of,
    correction_of,
    net_positions,
    pack_positions,
    recover_address,
    revision_of,
    slot_commitment,
)
from walras.ledger.batches import NAME
from walras.ledger.calls import Contract
from walras.ledger.keys import SIGNATURE_BYTES
from walras.market.recheck import recheck
from walras.market.registry import mechanism_named
from walras.tariffs.bill import BillLayout

Public = Mapping[str, Any]
Events = Mapping[EventKind, Entry]


@dataclass
class AuditReport:
    """What was checked (name of the check to how often), and what the record says of itself."""

    checked: dict[str, int] = field(default_factory=dict)
    head: str = ""
    slots: int = 0
    transactions: int = 0
    gas: int = 0

    def count(self, check: str, times: int = 1) -> None:
        """Note that `check` held."""
        self.checked[check] = self.checked.get(check, 0) + times


class Audit:
    """One audit of one public record. `run` raises AuditError at the first thing that does not hold, naming it."""

    def __init__(self, record: Path, chain: ArchiveChain | None = None) -> None:
        """`chain` is the real chain the run settled on; without it the transactions are executed again in memory."""
        self._record = record
        self._given_chain = chain
        self.report = AuditReport()

    def run(self, progress: Callable[[int, int], None] | None = None) -> AuditReport:
        """Check everything; `progress(done, entries)` is called now and then."""
        entries = read_public_record(self._record)
        self.report.count("hash chain", len(entries))
        self.report.head = entries[-1].hash
        if not entries or entries[0].kind != RUN_OPENED:
            raise AuditError(f"{self._record}: the record does not begin with {RUN_OPENED}", thing=self._record)
        terms = terms_from_public(entries[0].public)
        self._terms, self._layout = terms, terms.layout()
        state = ExchangeState()
        under_way: dict[int, dict[EventKind, Entry]] = {}
        self._substituted: dict[int, Standing] = {}
        self._acts: list[SeenAct] = []
        self._exchanged: list[int] = []
        for done, entry in enumerate(entries):
            where = f"entry {entry.seq} ({entry.kind}" + (f", slot {entry.slot})" if entry.slot is not None else ")")
            try:
                self._check(entry, state, under_way)
                state = apply(state, entry)
            except (AuditError, JournalError):
                raise
            except (WalrasError, KeyError, ValueError, TypeError, IndexError, AssertionError) as cause:
                raise AuditError(f"{where}: {cause}", thing=entry.seq) from cause
            self.report.count("order of events")
            if progress is not None and done % 50 == 0:
                progress(done, len(entries))
        self._check_end(state, entries)
        if published := check_published(terms, entries):
            self.report.count("statistics within the privacy budget", published)
        return self.report

    def _check(self, entry: Entry, state: ExchangeState, under_way: dict[int, dict[EventKind, Entry]]) -> None:
        if entry.slot is None:
            if entry.kind == LEDGER_DEPLOYED:
                self._connect(entry.public)
            if entry.kind == ACT:
                self._check_act(entry, state)
            if entry.kind in (LEDGER_DEPLOYED, ESCROW_PAID):
                self._execute(entry)
            if entry.kind == LEDGER_DEPLOYED:
                self._check_opening(entry)
            if entry.kind == SLOT_CORRECTED:
                self._check_correction(entry, state)
            if entry.kind == BATCH_POSTED:
                self._check_batch(entry)
            if entry.kind == BATCH_INCLUDED:
                self._check_included(entry)
            if entry.kind == DAYS_COMMITTED:
                signers = check_days(self._terms, self._addresses, state, entry)
                self.report.count("oracle signatures on committed days", signers)
            if entry.kind == RUN_CLOSED:
                check_all_committed(self._terms, state)
            return
        events = under_way.setdefault(entry.slot, {})
        kind = EventKind(entry.kind)
        events[kind] = entry
        if kind is EventKind.SLOT_OPENED:
            self._check_ordered(entry.slot, entry.public, state)
        check = _SLOT_CHECKS.get(kind)
        if check is not None:
            check(self, entry.slot, events)
        if kind is EventKind.SETTLED:
            del under_way[entry.slot]
            if self._terms.dispute_window_s:
                self._standing_until_final(entry.slot, events)
            self.report.slots += 1

    def _standing_until_final(self, slot: int, events: Events) -> None:
        """What a slot stands at: kept while it can change, and where it stands on a substitute."""
        self._substituted[slot] = standing_of(events)
        done = [s for s in self._substituted if s < slot and final_with(self._terms, s) < slot]
        for old in done:
            if self._substituted[old].admitted == self._terms.members:
                del self._substituted[old]

    def _check_act(self, entry: Entry, state: ExchangeState) -> None:
        act = act_from_public(entry)
        self.report.count("acts with the record")
        if act.kind is ActKind.EDITED:
            check_edit_act(entry, self._addresses.settlement, self._terms.members)
            self._acts.append((state.last_settled, entry))
            self.report.count("edits under their signature")
        if act.kind is ActKind.METER_EXCHANGED:
            self._exchanged.append(int((act.detail or {})["slot"]))

    def _connect(self, deployed: Public) -> None:
        self._addresses = LedgerAddresses(**{k: deployed[k] for k in ("chain_id", "currency", "registry", "settlement")})
        if self._terms.batches is not None:
            self._batches = BatchAudit(self._terms, Contract(NAME, deployed["chain_id"], deployed["batches"]))
        if self._given_chain is not None:
            self._chain: ReadableChain = self._given_chain
            check_node(self._chain, deployed)
            return
        free = deployed.get("free_gas", False)
        genesis = Genesis(tuple(deployed["funded"]), deployed["genesis_time"], deployed["chain_id"], free_gas=free)
        self._chain = EmbeddedChain(genesis)

    def _check_opening(self, deployed: Entry) -> None:
        opening = opening_from_public(deployed.public)
        if opening is not None:
            check_opening(self._chain, self._addresses, self._batches, opening, alone=self._given_chain is None)
            self.report.count("accounts at the beginning", self._terms.accounts)

    def _execute(self, entry: Entry) -> None:
        for transaction in entry.public["transactions"]:
            receipt = receipt_of(self._chain, transaction, alone=self._given_chain is None)
            if receipt is None:
                raise AuditError(f"entry {entry.seq} ({entry.kind}): its transaction is not on the chain", thing=entry.seq)
            if receipt.refusal is not None:
                raise AuditError(f"entry {entry.seq} ({entry.kind}): the contract refuses: {receipt.refusal}", thing=entry.seq)
            self._receipt = receipt
            self.report.transactions += 1
            self.report.gas += receipt.gas_used
            self.report.count("transactions executed again" if self._given_chain is None else "transactions on the chain")

    def _check_ordered(self, slot: int, opened: Public, state: ExchangeState) -> None:
        """The orders to devices that hold are those that the acts before it give, no more and no fewer."""
        due = check_ordered(state.commands, self._terms.grid, slot, opened)
        if due:
            self.report.count("orders to devices in force", due)

    def _check_commitments(self, slot: int, events: Events) -> None:
        revealed = events[EventKind.ORDERS_REVEALED].public
        orders = orders_from_public(revealed["orders"])
        opened = [c.hex() for c in commitments(orders, [bytes.fromhex(s) for s in revealed["salts"]])]
        sealed = events[EventKind.ORDERS_COMMITTED].public["commitments"]
        for row, (seen, promised) in enumerate(zip(opened, sealed, strict=True)):
            if seen != promised:
                raise AuditError(f"slot {slot}: order {int(orders.id[row])} is not the one that was sealed", thing=slot)
        self.report.count("sealed orders opened", len(sealed))
        check_book(slot, events[EventKind.SLOT_OPENED].public, orders, self._terms.members)

    def _check_clearing(self, slot: int, events: Events) -> None:
        orders = orders_from_public(events[EventKind.ORDERS_REVEALED].public["orders"])
        clearing = clearing_from_public(events[EventKind.CLEARED].public)
        if clearing.mechanism != self._terms.mechanism:
            raise AuditError(f"slot {slot}: cleared by {clearing.mechanism}, the terms say {self._terms.mechanism}", thing=slot)
        mechanism = mechanism_named(clearing.mechanism)
        extra = extra_for(mechanism, orders)
        findings = recheck(mechanism, orders, self._terms.conventions, clearing, extra=extra)
        if findings:
            raise AuditError(f"slot {slot}: the clearing breaks its rule: " + "; ".join(map(str, findings)), thing=slot)
        self.report.count("clearings against their rule")

    def _check_curtailment(self, slot: int, events: Events) -> None:
        check_cleared(self._terms, slot, events)
        self.report.count("clearings on the wires")

    def _check_attestation(self, slot: int, events: Events) -> None:
        attested = events[EventKind.ATTESTED].public
        if attested["root"] != events[EventKind.READINGS_ADMITTED].public["root"]:
            raise AuditError(f"slot {slot}: the attested root is not the root of the readings", thing=slot)
        root, signatures = bytes.fromhex(attested["root"]), bytes.fromhex(attested["signatures"])
        digest = attestation_digest(self._addresses.chain_id, self._addresses.settlement, slot, root)
        parts = [signatures[i : i + SIGNATURE_BYTES] for i in range(0, len(signatures), SIGNATURE_BYTES)]
        signers = {recover_address(digest, part) for part in parts}
        strangers = signers - set(self._terms.oracles)
        if strangers or len(signers) < self._terms.quorum:
            raise AuditError(
                f"slot {slot}: {len(signers) - len(strangers)} oracles signed the readings' root, {self._terms.quorum} must",
                thing=slot,
            )
        self.report.count("oracle signatures", len(signers))

    def _check_settlement(self, slot: int, events: Events) -> None:
        submitted = events[EventKind.SETTLEMENT_SUBMITTED]
        public = submitted.public
        orders = orders_from_public(events[EventKind.ORDERS_REVEALED].public["orders"])
        clearing = clearing_from_public(events[EventKind.CLEARED].public)
        prices = np.array(events[EventKind.SLOT_OPENED].public["item_micro"], dtype=np.int64)
        imports, exports = column(public, "import_wh"), column(public, "export_wh")
        if self._terms.balance_oracle is not None:
            admitted = events[EventKind.READINGS_ADMITTED].public
            self.report.count(check_masked(self._terms, self._addresses, slot, admitted, imports, exports))
        wires = recorded_wires(self._terms, slot, events)
        reactive = slot_reactive(self._terms.charges, events[EventKind.DELIVERED].public)
        again = settle_slot(self._terms, self._layout, slot, prices, orders, clearing, imports, exports, wires, reactive)
        for outcome in outcomes(slot, events[EventKind.SLOT_OPENED].public, imports - exports):
            self.report.count("orders to devices not kept by the meter" if outcome.beyond_wh else "orders to devices kept")
        if wires is not None and _complete(events[EventKind.READINGS_ADMITTED].public):
            check_held(self._terms, slot, wires, imports, exports)
            self.report.count("slots within the limits of the wires")
        elif wires is not None:
            self.report.count("slots with substitutes, their limits not checked")
        for name, computed in (("cash_nano", again.cash_nano), ("energy_wh", again.energy_wh)):
            stated = column(public, name)
            wrong = np.flatnonzero(stated != computed) if stated.shape == computed.shape else np.array([0])
            if wrong.size:
                account = int(wrong[0])
                raise AuditError(
                    f"slot {slot}: {name} of account {account} is {int(stated[account])}, it should be {int(computed[account])}",
                    thing=slot,
                )
        self.report.count("bills computed again", self._terms.members)
        trades = trades_of(slot, again.settled.bought_wh, again.settled.sold_wh, clearing.price_micro_per_kwh)
        if trades.tree().root.hex() != public["trades_root"] or int(trades.buyer.size) != public["trades"]:
            raise AuditError(f"slot {slot}: the trades do not have the Merkle root stated", thing=slot)
        self.report.count("Merkle roots of trades")
        attested = events[EventKind.ATTESTED]
        if public["journal_head"] != attested.hash:
            raise AuditError(f"slot {slot}: the settlement anchors another journal", thing=slot)
        self._execute(submitted)
        if self._batches is None:
            self._check_commitment(slot, again.cash_nano, again.energy_wh, attested, public)
        else:
            self._batches.stands(BatchSlot(slot, prices, orders, clearing, wires, reactive, imports, exports, again))

    def _check_commitment(self, slot: int, cash: Any, energy: Any, attested: Entry, public: Public) -> None:
        header = Header(
            bytes.fromhex(attested.public["root"]), bytes.fromhex(public["trades_root"]), bytes.fromhex(public["journal_head"])
        )
        packed = pack_positions(net_positions(np.arange(self._terms.accounts), cash, energy))
        if commitment_of(self._chain, self._addresses, slot) != slot_commitment(slot, header, packed):
            raise AuditError(f"slot {slot}: the contract settled something else than the record says", thing=slot)
        self.report.count("settlements on the chain")

    def _check_correction(self, entry: Entry, state: ExchangeState) -> None:
        """The slot settled again on its late readings, the difference to the last nano, and the contract's own revision of it."""
        public, slot = entry.public, entry.public["slot"]
        before = self._substituted.get(slot)
        if before is None:
            raise AuditError(f"slot {slot}: there is no settled substitute to correct", thing=slot)
        if state.committed is not None and slot <= state.committed:
            raise AuditError(f"slot {slot}: corrected after its day was committed to", thing=slot)
        edits = edits_in_time(self._terms, self._acts, slot)
        hung = self._exchanged.count(slot)
        after = check_correction(self._terms, self._layout, self._addresses, before, entry, edits, hung)
        self._substituted[slot] = after
        wires = recorded_wires(self._terms, slot, after.events)
        if wires is not None and after.admitted == self._terms.members:
            check_held(self._terms, slot, wires, after.import_wh, after.export_wh)
            self.report.count("slots within the limits of the wires")
        self._execute(entry)
        if self._batches is not None:
            was = self._batches.settled(slot)
            self._batches.stands(settled_again(self._terms, self._layout, was, after.import_wh, after.export_wh))
            self.report.count("corrections computed again")
            return
        header = Header(*(bytes.fromhex(public[name]) for name in ("root", "trades_root", "journal_head")))
        packed = pack_positions(difference_positions(column(public, "cash_nano"), column(public, "energy_wh")))
        if correction_of(self._chain, self._addresses, slot, after.revision) != slot_commitment(slot, header, packed):
            raise AuditError(f"slot {slot}: the contract corrected something else than the record says", thing=slot)
        if revision_of(self._chain, self._addresses, slot) < after.revision:
            raise AuditError(f"slot {slot}: the contract has no revision {after.revision} of it", thing=slot)
        self.report.count("corrections computed again, and on the chain")

    def _check_receipt(self, slot: int, events: Events) -> None:
        stated = events[EventKind.SETTLED].public
        if self._terms.batches is not None:
            seen: Public = {"batch": (slot - self._terms.first) // self._terms.batches.slots}
        else:
            seen = self._included()
        if stated != seen:
            raise AuditError(f"slot {slot}: the receipt is {seen}, the record says {dict(stated)}", thing=slot)

    def _included(self) -> Public:
        """What the record should say of the transaction executed last."""
        receipt = self._receipt
        return {"transaction": receipt.transaction_hash.hex(), "gas": receipt.gas_used, "block": receipt.block_number}

    def _check_batch(self, entry: Entry) -> None:
        assert self._batches is not None
        made = self._batches.check_posted(entry)
        self._execute(entry)
        self._batches.check_on_chain(self._chain, entry.public["batch"], made)
        self.report.count("batches made again, and on the chain")

    def _check_included(self, entry: Entry) -> None:
        stated = {name: entry.public[name] for name in ("transaction", "gas", "block")}
        if stated != self._included():
            raise AuditError(f"batch {entry.public['batch']}: the receipt is {self._included()}, the record says {stated}")

    def _check_end(self, state: ExchangeState, entries: list[Entry]) -> None:
        if state.closed:
            last = next(entry.public for entry in reversed(entries) if entry.kind == RUN_CLOSED)
            root = self._chain.head().state_root.hex()
            if self._given_chain is None and last["state_root"] != root:
                raise AuditError(f"the chain ends in state {root[:16]}…, the record says {last['state_root'][:16]}…")
            if last["slots"] != state.settled:
                raise AuditError(f"the record says {last['slots']} slots, {state.settled} were settled")
        standing = sum(s.admitted + s.edited < self._terms.members for s in self._substituted.values())
        if standing:
            self.report.count("slots that stand on substitutes", standing)
        if state.deployed is None:
            return
        paid = [column(entry.public, "nano") for entry in entries if entry.kind in (ESCROW_PAID, ESCROW_MOVED)]
        check = AccountsAudit(self._addresses, self._batches, state, np.sum(paid, axis=0))
        try:
            check.check(self._chain)
        except AuditError:
            if self._given_chain is None or not state.closed:
                raise
            # others may have acted since: members who leave, the next run; what counts is the state in which this one closed
            check.check(self._given_chain.as_of(last["block"]))
        self.report.count("accounts on the chain", self._terms.accounts)

    _batches: BatchAudit | None = None
    _substituted: dict[int, Standing]
    _terms: Terms
    _layout: BillLayout


def _complete(admitted: Public) -> bool:
    return bool(admitted["admitted"] == admitted["devices"])


_SLOT_CHECKS: dict[EventKind, Callable[[Audit, int, Events], None]] = {
    EventKind.ORDERS_REVEALED: Audit._check_commitments,
    EventKind.CLEARED: Audit._check_clearing,
    EventKind.CURTAILED: Audit._check_curtailment,
    EventKind.ATTESTED: Audit._check_attestation,
    EventKind.SETTLEMENT_SUBMITTED: Audit._check_settlement,
    EventKind.SETTLED: Audit._check_receipt,
}
