"""A member's statement: what it used, traded and paid in each slot, itemised, with proofs that it is what was settled.

Everything in it follows from the journal. The proofs need only what is public: for each slot, that the member's own signed reading
is under the root that the oracles attested, and that each of its trades is under the root that stands on the chain. Whoever holds
a statement can check it with `check_statement` and the public record, and without the operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from walras.errors import AuditError, JournalError
from walras.exchange.accounting import SlotAccounts, bills_without_market, settle_slot
from walras.exchange.correction import corrections_of, settle_again
from walras.exchange.curtailment import recorded_wires
from walras.exchange.fold import RUN_OPENED, SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.network_charges import slot_reactive
from walras.exchange.parts import leaves_tree, member_ids, salted_leaf, unknown_member
from walras.exchange.phases import EventKind
from walras.exchange.public import clearing_from_public, column, orders_from_public
from walras.exchange.terms import Terms, terms_from_public
from walras.exchange.trades import trades_of
from walras.metering import KECCAK_SORTED, SHA256_RFC6962, Proof, verify_inclusion
from walras.metering.slot_readings import energy_of_leaf
from walras.metering.vault import SALT_BYTES
from walras.tariffs.bill import BillLayout, Bills

ENERGY_COLUMNS = ("import_wh", "export_wh", "bought_wh", "sold_wh", "supplied_wh", "exported_wh")


@dataclass(frozen=True, slots=True)
class SettledSlot:
    """One slot as it stands, computed again: as it was settled, or as its last correction left it.

    Where it was corrected, `first` is the slot as it was settled and `correction` the last correcting entry.
    """

    slot: int
    item_micro: Any
    price_micro_per_kwh: int | None
    import_wh: Any
    export_wh: Any
    accounts: SlotAccounts
    alone: Bills
    events: Mapping[EventKind, Entry]
    first: SettledSlot | None = None
    correction: Entry | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf with its proof: `root` is public, `data` is the member's (a reading's leaf with its 16 bytes of salt before it)."""

    kind: str
    slot: int
    data: bytes
    proof: Proof
    root: bytes


@dataclass(frozen=True, slots=True)
class Statement:
    """One member over all settled slots. `items` name to nano (positive: the member pays); `alone` the same without the market.

    `slots` one row a slot as it was settled: (slot, price or None, import, export, bought, sold, pays nano, would pay without
    market nano). `corrections` one row a corrected slot in which anything changed for the member: (slot, import, export, bought,
    sold, pays nano, would pay nano), all differences. Energy, `items` and `alone` are sums over both.
    """

    member: str
    account: int
    currency: str
    contract: str
    feed_in_micro_per_kwh: int
    energy_wh: Mapping[str, int]
    items: Mapping[str, int]
    alone: Mapping[str, int]
    slots: tuple[tuple[int, int | None, int, int, int, int, int, int], ...]
    leaves: tuple[Leaf, ...]
    corrections: tuple[tuple[int, int, int, int, int, int, int], ...] = ()

    @property
    def total_nano(self) -> int:
        """What the member pays in all."""
        return sum(self.items.values())

    @property
    def alone_nano(self) -> int:
        """What the same metered energy costs on the member's own contract alone."""
        return sum(self.alone.values())


def opened_terms(entries: Iterable[Entry]) -> tuple[Terms, dict[str, int]]:
    """The terms, and the member ids by account where the private part is there (else an empty mapping)."""
    first = next(iter(entries), None)
    if first is None or first.kind != RUN_OPENED:
        raise JournalError("the journal is empty", way_out="`walras run` makes one")
    return terms_from_public(first.public), member_ids(first)


def settled_slots(terms: Terms, entries: Iterable[Entry]) -> Iterable[SettledSlot]:
    """Every settled slot as it stands, computed again from orders, fills and metered energy."""
    layout = terms.layout()
    corrected: dict[int, list[Entry]] = {}
    if terms.dispute_window_s:
        entries = list(entries)
        corrected = corrections_of(entries)
    under_way: dict[int, dict[EventKind, Entry]] = {}
    for entry in entries:
        if entry.slot is None:
            continue
        events = under_way.setdefault(entry.slot, {})
        events[EventKind(entry.kind)] = entry
        if entry.kind == EventKind.SETTLED.value:
            settled = _settled(terms, layout, entry.slot, under_way.pop(entry.slot))
            last = corrected.get(entry.slot, [None])[-1]
            yield settled if last is None else _corrected(terms, layout, settled, last)


def _settled(terms: Terms, layout: BillLayout, slot: int, events: Mapping[EventKind, Entry]) -> SettledSlot:
    public = events[EventKind.SETTLEMENT_SUBMITTED].public
    orders = orders_from_public(events[EventKind.ORDERS_REVEALED].public["orders"])
    clearing = clearing_from_public(events[EventKind.CLEARED].public)
    item_micro = np.array(events[EventKind.SLOT_OPENED].public["item_micro"], dtype=np.int64)
    imports, exports = column(public, "import_wh"), column(public, "export_wh")
    wires = recorded_wires(terms, slot, events)
    reactive = slot_reactive(terms.charges, events[EventKind.DELIVERED].public)
    accounts = settle_slot(terms, layout, slot, item_micro, orders, clearing, imports, exports, wires, reactive)
    alone = bills_without_market(terms, layout, slot, item_micro, imports, exports, reactive)
    return SettledSlot(slot, item_micro, clearing.price_micro_per_kwh, imports, exports, accounts, alone, events)


def _corrected(terms: Terms, layout: BillLayout, settled: SettledSlot, last: Entry) -> SettledSlot:
    """The slot on the readings of its last correction; orders and clearing are as they were."""
    imports, exports = column(last.public, "import_wh"), column(last.public, "export_wh")
    accounts, _ = settle_again(terms, layout, settled.slot, settled.events, imports, exports)
    reactive = slot_reactive(terms.charges, settled.events[EventKind.DELIVERED].public)
    alone = bills_without_market(terms, layout, settled.slot, settled.item_micro, imports, exports, reactive)
    return replace(settled, import_wh=imports, export_wh=exports, accounts=accounts, alone=alone, first=settled, correction=last)


def make_statement(entries: list[Entry], member: str) -> Statement:
    """The statement of `member` from a journal with its private parts; InputError names the members there are."""
    terms, members = opened_terms(entries)
    if member not in members:
        raise unknown_member(entries[0], member)
    account = members[member]
    layout = terms.layout()
    energy = dict.fromkeys(ENERGY_COLUMNS, 0)
    items = np.zeros(len(layout.items), dtype=np.int64)
    alone = np.zeros_like(items)
    rows: list[tuple[int, int | None, int, int, int, int, int, int]] = []
    corrections: list[tuple[int, int, int, int, int, int, int]] = []
    leaves = []
    for s in settled_slots(terms, entries):
        for name, amount in zip(ENERGY_COLUMNS, _energies(s, account), strict=True):
            energy[name] += amount
        items += s.accounts.bills.nano[account]
        alone += s.alone.nano[account]
        first = s.first or s
        settled = _row(first, account)
        rows.append((s.slot, s.price_micro_per_kwh, *settled))
        leaves += _leaves(first, account)
        if s.first is not None:
            taken, given, bought, sold, pays, without = (b - a for a, b in zip(settled, _row(s, account), strict=True))
            if (taken, given, bought, sold, pays, without) != (0,) * 6:
                corrections.append((s.slot, taken, given, bought, sold, pays, without))
            leaves += _leaves(s, account)
    return Statement(
        member,
        account,
        terms.currency,
        terms.contracts[int(terms.contract_of[account])],
        int(terms.feed_in_micro[account]),
        energy,
        dict(zip(layout.items, items.tolist(), strict=True)),
        dict(zip(layout.items, alone.tolist(), strict=True)),
        tuple(rows),
        tuple(leaves),
        tuple(corrections),
    )


def _energies(s: SettledSlot, account: int) -> tuple[int, ...]:
    """The account's `ENERGY_COLUMNS` in the slot."""
    done = s.accounts.settled
    seen = (s.import_wh, s.export_wh, done.bought_wh, done.sold_wh, done.supplied_wh, done.exported_wh)
    return tuple(int(values[account]) for values in seen)


def _row(s: SettledSlot, account: int) -> tuple[int, int, int, int, int, int]:
    """Import, export, bought, sold [Wh], what the account pays and would pay without the market [nano]."""
    taken, given, bought, sold = _energies(s, account)[:4]
    return taken, given, bought, sold, int(s.accounts.cash_nano[account]), int(s.alone.total_nano[account])


def _leaves(s: SettledSlot, account: int) -> list[Leaf]:
    """The account's leaves under the roots of the settlement, or of the correction where the slot is a corrected one."""
    admitted = s.correction or s.events[EventKind.READINGS_ADMITTED]
    before = "" if s.correction is None else "corrected "
    data = None if admitted.private is None else salted_leaf(admitted, account)
    found = []
    if data is not None:
        readings = leaves_tree(admitted)
        found.append(Leaf(before + "reading", s.slot, data, readings.proof(account), readings.root))
    done = s.accounts.settled
    trades = trades_of(s.slot, done.bought_wh, done.sold_wh, s.price_micro_per_kwh)
    mine = np.flatnonzero((trades.buyer == account) | (trades.seller == account)).tolist()
    if mine:
        lines, tree = trades.leaves(), trades.tree()
        found += [Leaf(before + "trade", s.slot, lines[row], tree.proof(row), tree.root) for row in mine]
    return found


def check_statement(statement: Statement, public: Iterable[Entry]) -> int:
    """Check every proof of `statement` against the roots in the public record, and its energy against its readings.

    Returns how many proofs hold; AuditError names the first that does not, or a correction that the statement keeps silent.
    """
    roots: dict[tuple[str, int], str] = {}
    for entry in public:
        if entry.kind == SLOT_CORRECTED:
            roots["corrected reading", entry.public["slot"]] = entry.public["root"]
            roots["corrected trade", entry.public["slot"]] = entry.public["trades_root"]
        if entry.slot is None:
            continue
        if entry.kind == EventKind.ATTESTED.value:
            roots["reading", entry.slot] = entry.public["root"]
        elif entry.kind == EventKind.SETTLEMENT_SUBMITTED.value:
            roots["trade", entry.slot] = entry.public["trades_root"]
    metered = {("reading", row[0]): row[2:4] for row in statement.slots}
    changes = {row[0]: row[1:3] for row in statement.corrections}
    for row in statement.slots:
        taken, given = changes.get(row[0], (0, 0))
        metered["corrected reading", row[0]] = row[2] + taken, row[3] + given
    shown = {(leaf.kind, leaf.slot) for leaf in statement.leaves}
    for kind, slot in roots:
        if kind == "corrected reading" and ("reading", slot) in shown and (kind, slot) not in shown:
            raise AuditError(f"{statement.member}, slot {slot}: it was corrected, the statement does not say so", thing=slot)
    for leaf in statement.leaves:
        is_reading = leaf.kind.endswith("reading")
        scheme = SHA256_RFC6962 if is_reading else KECCAK_SORTED
        if roots.get((leaf.kind, leaf.slot)) != leaf.root.hex() or not verify_inclusion(leaf.data, leaf.proof, leaf.root, scheme):
            raise AuditError(f"{statement.member}, slot {leaf.slot}: the {leaf.kind} is not under the public root", thing=leaf)
        if is_reading and energy_of_leaf(leaf.data[SALT_BYTES:]) != metered[leaf.kind, leaf.slot]:
            raise AuditError(f"{statement.member}, slot {leaf.slot}: billed energy is not that of the reading", thing=leaf)
    return len(statement.leaves)


def statement_to_json(statement: Statement) -> dict[str, Any]:
    """Everything, proofs included, as plain JSON values."""
    return {
        "member": statement.member,
        "account": statement.account,
        "currency": statement.currency,
        "contract": statement.contract,
        "energy_wh": dict(statement.energy_wh),
        "items_nano": dict(statement.items),
        "total_nano": statement.total_nano,
        "without_market_nano": statement.alone_nano,
        "slots": [list(row) for row in statement.slots],
        "corrections": [list(row) for row in statement.corrections],
        "proofs": [
            {
                "kind": leaf.kind,
                "slot": leaf.slot,
                "leaf": leaf.data.hex(),
                "index": leaf.proof.index,
                "count": leaf.proof.count,
                "path": [step.hex() for step in leaf.proof.siblings],
                "root": leaf.root.hex(),
            }
            for leaf in statement.leaves
        ],
    }
