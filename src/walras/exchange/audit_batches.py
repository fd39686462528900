"""The audit of batches: each rebuilt from the slots that the audit has settled again, and found on the chain as it was rebuilt.

The record says little of a batch: its roots, the oracles' signatures, the transaction. Everything in it follows from the slots, so
it is made again here, and the roots, the signed digest and the very call must come out the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from walras.errors import AuditError
from walras.exchange.batching import BatchSlot, MadeBatch, batch_digest, batch_slots, make_run_batch, post_call, posted_at
from walras.exchange.journal import Entry
from walras.exchange.opening import Opening
from walras.exchange.terms import Terms
from walras.ledger import Chain, read_transaction, recover_address
from walras.ledger.batches import root_of_state, roots_of
from walras.ledger.calls import Contract
from walras.ledger.keys import SIGNATURE_BYTES
from walras.ledger.steps import running_energy, running_payment
from walras.units import Int64

ROOTS = ("steps_root", "state_root", "facts_root")


class BatchAudit:
    """The slots settled so far that wait for their batch, and the state after the last batch."""

    def __init__(self, terms: Terms, contract: Contract) -> None:
        self._terms, self._contract = terms, contract
        self._waiting: dict[int, BatchSlot] = {}
        self._words: tuple[int, ...] = ()
        self._opening: Opening | None = None

    @property
    def contract(self) -> Contract:
        """Where the batches are posted."""
        return self._contract

    def begin(self, chain: Chain, opening: Opening) -> None:
        """Go on from the state of batches that others posted; AuditError where the contract had another."""
        self._opening, self._words = opening, opening.words
        if opening.batches:
            found = self._contract.view(chain, "batchOf", opening.batches - 1)[1]
            if found != root_of_state(opening.words):
                raise AuditError(f"the state before batch {opening.batches} on the chain is not the record's", thing=opening)

    def stands(self, settled: BatchSlot) -> None:
        """A slot as it was settled, or corrected."""
        self._waiting[settled.slot] = settled

    def settled(self, slot: int) -> BatchSlot:
        """The slot as it stands, before it is in a batch."""
        return self._waiting[slot]

    def check_posted(self, entry: Entry) -> MadeBatch:
        """The batch of a `batch_posted` entry, made again; AuditError with the first thing in it that does not hold."""
        terms, public, index = self._terms, entry.public, int(entry.public["batch"])
        slots = batch_slots(terms, index)
        if not slots or (public["first"], public["last"]) != (slots[0], slots[-1]):
            raise AuditError(f"batch {index}: slots {public['first']} to {public['last']}, the terms have others", thing=index)
        if public["journal_head"] != entry.prev:
            raise AuditError(f"batch {index}: it anchors another journal", thing=index)
        made = make_run_batch(terms, self._words, [self._waiting.pop(s) for s in slots], bytes.fromhex(entry.prev))
        roots = roots_of(made.batch, root_of_state(made.before))
        for name, root in zip(ROOTS, roots, strict=True):
            if public[name] != root.hex():
                raise AuditError(f"batch {index}: its {name.replace('_', ' ')} is not that of the settled slots", thing=index)
        signatures = bytes.fromhex(public["signatures"])
        self._check_signers(index, batch_digest(terms, made, self._contract), signatures)
        self._check_call(index, public, post_call(terms, made, signatures))
        self._words = made.afterwards
        return made

    def check_on_chain(self, chain: Chain, index: int, made: MadeBatch) -> None:
        """The contract holds this batch, after those that others posted before."""
        index += 0 if self._opening is None else self._opening.batches
        steps, state, facts, first, slots, *_ = self._contract.view(chain, "batchOf", index)
        roots = roots_of(made.batch, root_of_state(made.before))
        held = index < self._contract.view(chain, "batchCount")[0]
        if not held or (steps, state, facts) != roots or (first, slots) != (made.batch.first_slot, len(made.batch.slots)):
            raise AuditError(f"batch {index}: the contract holds something else than the record says", thing=index)

    def check_end(self, chain: Chain, paid_in_nano: Int64, energy_wh: Int64, escrow_nano: Int64) -> None:
        """State and deposits on the chain are the journal's; columns [accounts], `escrow_nano` what is left of what was paid in."""
        if self._waiting:
            return  # settled slots wait for their batch: a run that goes on
        if self._contract.view(chain, "stateRoot")[0] != root_of_state(self._words):
            raise AuditError("the state after the last batch on the chain is not the record's", thing=self._contract.address)
        words = self._words or (0,) * energy_wh.size
        if self._opening is not None:  # the record counts what was left of earlier deposits as paid in
            before = zip(self._opening.paid_in_nano, self._opening.balance_nano, strict=True)
            paid_in_nano = paid_in_nano + np.array([paid - left for paid, left in before], dtype=np.int64)
        era = int(self._contract.view(chain, "era")[0])
        for account, word in enumerate(words):
            paid = int(self._contract.view(chain, "collateralAt", account, era)[0])
            found = (paid, paid - running_payment(word), running_energy(word))
            stated = (int(paid_in_nano[account]), int(escrow_nano[account]), int(energy_wh[account]))
            if found != stated:
                raise AuditError(
                    f"account {account}: paid in, balance and energy on the chain are {found}, by the journal {stated}",
                    thing=account,
                )

    def _check_signers(self, index: int, digest: bytes, signatures: bytes) -> None:
        parts = [signatures[at : at + SIGNATURE_BYTES] for at in range(0, len(signatures), SIGNATURE_BYTES)]
        signers = {recover_address(digest, part) for part in parts}
        known = len(signers & set(self._terms.oracles))
        if signers - set(self._terms.oracles) or known < self._terms.quorum:
            raise AuditError(f"batch {index}: {known} oracles signed it, {self._terms.quorum} must", thing=index)

    def _check_call(self, index: int, public: Mapping[str, Any], data: bytes) -> None:
        """One transaction, at its time, to the contract, with exactly this call."""
        steps = public["transactions"]
        if [step["time"] for step in steps] != [posted_at(self._terms, index)]:
            raise AuditError(f"batch {index}: a batch is one transaction, when its last slot is past correction", thing=index)
        sent = read_transaction(bytes.fromhex(steps[0]["raw"])).transaction
        if (sent.to, sent.data) != (self._contract.address, data):
            raise AuditError(f"batch {index}: its transaction posts something else", thing=index)
