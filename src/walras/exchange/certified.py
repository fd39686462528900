"""What a public record proves to the contract of certificates: for each slot its settlement, then its corrections, as sent.

An account's certificates of a slot are the watt-hours that it gave to the others, after all corrections: its net energy where
that is negative.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from walras.exchange.correction import difference_positions
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.phases import EventKind
from walras.exchange.public import column
from walras.ledger import Header, net_positions
from walras.ledger.certificates import SettledRecord


def settled_records(record: Iterable[Entry]) -> dict[int, list[SettledRecord]]:
    """By slot: the settlement and each correction, in order."""
    roots: dict[int, str] = {}
    found: dict[int, list[SettledRecord]] = {}
    for entry in record:
        public = entry.public
        if entry.kind == EventKind.ATTESTED.value and entry.slot is not None:
            roots[entry.slot] = public["root"]
        elif entry.kind == EventKind.SETTLEMENT_SUBMITTED.value and entry.slot is not None:
            cash, energy = column(public, "cash_nano"), column(public, "energy_wh")
            header = _header(roots[entry.slot], public["trades_root"], public["journal_head"])
            found[entry.slot] = [SettledRecord(header, net_positions(np.arange(cash.size), cash, energy))]
        elif entry.kind == SLOT_CORRECTED:
            rows = difference_positions(column(public, "cash_nano"), column(public, "energy_wh"))
            header = _header(public["root"], public["trades_root"], public["journal_head"])
            found[public["slot"]].append(SettledRecord(header, rows))
    return found


def given_wh(records: Iterable[SettledRecord], account: int) -> int:
    """Watt-hours that `account` gave in a slot, corrections included; 0 where it took."""
    net = sum(int(r.positions.energy_wh[r.positions.account == account].sum()) for r in records)
    return max(-net, 0)


def _header(*roots: str) -> Header:
    return Header(*(bytes.fromhex(root) for root in roots))
