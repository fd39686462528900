"""A watchtower for batches: it makes every posted batch again from public data, and hands in the proof where one is wrong.

It needs the run's public record (what was metered, cleared and attested), the chain (what was posted), and a key that pays gas; the
proof's reward is half of the operator's bond. It asks nobody and believes nobody: positions come from the calldata, or, where a
committee publishes, from the record as far as they have the root that was posted; facts are computed from the record, and count as
far as they have the root that the oracles attested.

Nothing is remembered that matters: each look begins with the chain, so a watchtower that was stopped goes on by being started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from walras.errors import LedgerError
from walras.exchange.batching import facts_of
from walras.exchange.correction import corrections_of, difference_positions
from walras.exchange.fold import LEDGER_DEPLOYED
from walras.exchange.journal import Entry
from walras.exchange.opening import opening_from_public, posts_of, rebuilt
from walras.exchange.phases import EventKind
from walras.exchange.public import column
from walras.exchange.statement import opened_terms, settled_slots
from walras.exchange.terms import Terms
from walras.ledger import ReadableChain, SigningKey, pack_positions
from walras.ledger.batches import NAME, Batch, find_fraud, prove, root_of_state, state_after
from walras.ledger.calls import Contract
from walras.ledger.steps import Fact, facts_tree

PROVED, UNPROVABLE, RIGHT, FINAL = "proved", "cannot be proved", "right", "final, and wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look came to for one batch: `outcome` is one of the names above; `transaction` the proof's, where one was sent."""

    batch: int
    outcome: str
    what: str
    transaction: bytes | None = None


class BatchWatch:
    """The batches of one run's contract. `key` pays for proofs and receives their reward."""

    def __init__(self, record: Sequence[Entry], chain: ReadableChain, key: SigningKey) -> None:
        """`record` are the entries of a run's public record; LedgerError where the run has no batches, or is of another chain."""
        self._terms, _ = opened_terms(record)
        deployed = next((entry.public for entry in record if entry.kind == LEDGER_DEPLOYED), {})
        if "batches" not in deployed:
            raise LedgerError("the run of this record settles every slot by itself: there are no batches to watch")
        if deployed["chain_id"] != chain.chain_id:
            raise LedgerError(f"the run is on chain {deployed['chain_id']}, the node is of chain {chain.chain_id}")
        self._record, self._chain, self._key = record, chain, key
        self.contract = Contract(NAME, chain.chain_id, deployed["batches"])
        self._opening = opening_from_public(deployed)
        self._facts = _facts(self._terms, record)
        self._stated = stated_positions(record)

    def look(self, now: int) -> list[Finding]:
        """Every batch that stands, in order, up to the first wrong one: proving that takes back all after it. `now` [Unix s] dates
        the proof where the chain makes its own blocks."""
        opening = self._opening
        words, begun = ([], 0) if opening is None else (list(opening.words), opening.batches)
        findings: list[Finding] = []
        count = int(self.contract.view(self._chain, "batchCount")[0])
        if count and begun and count >= begun:
            assert opening is not None
            if self.contract.view(self._chain, "batchOf", begun - 1)[1] != root_of_state(words):
                return [Finding(begun - 1, UNPROVABLE, "the record begins with another state than the contract had then")]
        for index, calldata in list(enumerate(posts_of(self._chain, self.contract, count)))[begun:]:
            posted = self.contract.view(self._chain, "batchOf", index)
            batch = rebuilt(posted, calldata, words, self._stated)
            if batch is None:
                findings.append(Finding(index, UNPROVABLE, "the record has no positions with the root that was posted"))
                return findings
            finding = self._judge(index, posted, batch, words, now)
            findings.append(finding)
            if finding.outcome in (PROVED, FINAL):
                return findings
            words = state_after(batch, words, posted[5])
        return findings

    def _judge(self, index: int, posted: tuple[object, ...], batch: Batch, words: list[int], now: int) -> Finding:
        """One batch against the rules, the facts and the deposits; the proof is sent where it is wrong and still open."""
        slots = range(batch.first_slot, batch.first_slot + len(batch.slots))
        facts = {key: fact for key, fact in self._facts.items() if key[0] in slots}
        tree = facts_tree(list(facts.values()))
        attested = tree.root == posted[2]
        members, era = int(posted[5]), int(posted[6])  # type: ignore[call-overload]

        @cache
        def collateral(account: int) -> int:
            return int(self.contract.view(self._chain, "collateralAt", account, era)[0])

        fraud = find_fraud(batch, words, members, facts if attested else {}, tree, collateral)
        if fraud is None and attested:
            return Finding(index, RIGHT, f"slots {slots[0]} to {slots[-1]}")
        if fraud is None:
            what = "the oracles attested other facts than the record's"
            return Finding(index, UNPROVABLE, what if facts else f"slots {slots[0]} to {slots[-1]} are not in the record")
        if self.contract.view(self._chain, "isFinal", index)[0]:
            return Finding(index, FINAL, fraud.what)
        receipt = prove(self._chain, self.contract, self._key, index, fraud, timestamp=now)
        return Finding(index, PROVED, fraud.what, receipt.transaction_hash)


def _facts(terms: Terms, record: Sequence[Entry]) -> dict[tuple[int, int], Fact]:
    """By slot and account, of every settled slot as it stands."""
    return {(fact.slot, fact.account): fact for s in settled_slots(terms, record) for fact in facts_of(terms, s)}


def stated_positions(record: Sequence[Entry]) -> dict[int, bytes]:
    """The positions that the record itself states, by slot: as settled, with all corrections."""
    corrections = corrections_of(record)
    stated = {}
    for entry in record:
        if entry.kind == EventKind.SETTLEMENT_SUBMITTED.value and entry.slot is not None:
            parts = [entry.public, *(one.public for one in corrections.get(entry.slot, []))]
            cash, energy = (np.sum([column(part, name) for part in parts], axis=0) for name in ("cash_nano", "energy_wh"))
            stated[entry.slot] = pack_positions(difference_positions(cash, energy))
    return stated
