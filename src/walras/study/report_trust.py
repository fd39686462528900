"""What a report says of trust: counts over a run's record, taken as its entries go by, of what was signed, attested, sent and paid.

Nothing is believed twice: the counts are of the record alone, which `walras audit` checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from walras.exchange.fold import BATCH_INCLUDED, ESCROW_MOVED, ESCROW_PAID, LEDGER_DEPLOYED, RUN_CLOSED
from walras.exchange.journal import Entry
from walras.exchange.ordered import Outcome
from walras.exchange.phases import EventKind
from walras.exchange.settled_positions import SettledPositions
from walras.ledger.keys import SIGNATURE_BYTES
from walras.metering.privacy import Budget
from walras.study.balance_lines import FeederBalance
from walras.study.correction_lines import Corrections
from walras.study.masked_lines import MaskedSums
from walras.study.ordered_lines import holders_of


@dataclass
class Trust:
    """Counts over the record: what was signed, attested, sent and paid for."""

    head: str = ""
    entries: int = 0
    closed: bool = False
    commitments: int = 0
    readings: int = 0
    admitted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    attestations: int = 0
    trades: int = 0
    corrections: Corrections = field(default_factory=Corrections)
    transactions: int = 0
    chain_id: int = 0
    contract: str = ""
    deposits_nano: int = 0
    gas: list[int] = field(default_factory=list)
    batch_gas: list[int] = field(default_factory=list)
    batched: int = 0
    settled: int = 0
    balance: FeederBalance = field(default_factory=FeederBalance)
    ordered: list[Outcome] = field(default_factory=list)
    holders: dict[int, str] = field(default_factory=dict)
    positions: SettledPositions = field(default_factory=SettledPositions)
    masked: MaskedSums = field(default_factory=MaskedSums)
    budgets: tuple[Budget, ...] = ()


def tally(entries: Iterator[Entry], trust: Trust) -> Iterator[Entry]:
    """Pass on `entries`, counting them into `trust`."""
    trust.entries = 1
    for entry in entries:
        p = entry.public
        trust.entries, trust.head = trust.entries + 1, entry.hash
        trust.transactions += len(p.get("transactions", ()))
        trust.holders |= holders_of([entry])
        trust.positions.add(entry)
        if entry.kind == LEDGER_DEPLOYED:
            trust.chain_id, trust.contract = p["chain_id"], p.get("batches", p["settlement"])
        elif entry.kind in (ESCROW_PAID, ESCROW_MOVED):
            trust.deposits_nano += sum(p["nano"])
        elif entry.kind == RUN_CLOSED:
            trust.closed = True
        elif entry.kind == EventKind.ORDERS_COMMITTED.value:
            trust.commitments += len(p["commitments"])
        elif entry.kind == EventKind.READINGS_ADMITTED.value:
            _add_readings(trust, p)
        elif entry.kind == EventKind.ATTESTED.value:
            trust.attestations += len(p["signatures"]) // (2 * SIGNATURE_BYTES)
        elif entry.kind == EventKind.SETTLEMENT_SUBMITTED.value:
            trust.trades += p["trades"]
        elif entry.kind == EventKind.SETTLED.value:
            trust.settled += 1
            trust.gas += [p["gas"]] if "gas" in p else []
        elif entry.kind == BATCH_INCLUDED:
            trust.batch_gas.append(p["gas"])
            trust.batched += p["last"] - p["first"] + 1
        yield entry


def _add_readings(trust: Trust, public: Mapping[str, Any]) -> None:
    """What admission let in and refused in a slot, and the masked sum beside it where there is one."""
    trust.readings += public["devices"]
    trust.admitted += public["admitted"]
    for reason, count in public["refused"].items():
        trust.refused[reason] = trust.refused.get(reason, 0) + count
    trust.masked.add(public)
