"""A correcting settlement: a slot settled on substitutes is settled again on late readings, and the difference is paid.

    settled (cash, energy) -- late signed readings, a new root, a quorum's word --> settled again -> again - settled

A settled slot is never changed: the correction is an entry of its own (`slot_corrected`), made until the dispute window closes,
with the new root attested as the slot's next revision, the whole of the metered energy, and by account the difference to what
was settled before. The difference sums to zero like every settlement, and together they are exactly what timely readings would
have given. Who checks it repeats all of that (`check_correction`); it sees how many readings came late, not whose they were, so
no more members' energy may change than that; of the others it sees the edits, each signed by who answers for it (`edits`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import numpy as np

from walras.errors import AuditError
from walras.exchange.accounting import SlotAccounts, settle_slot
from walras.exchange.acts import Act
from walras.exchange.curtailment import recorded_wires
from walras.exchange.edits import edited_to
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.network_charges import slot_reactive
from walras.exchange.phases import EventKind
from walras.exchange.public import clearing_from_public, column, orders_from_public
from walras.exchange.terms import Terms
from walras.exchange.trades import SettledTrades, trades_of
from walras.ledger import LedgerAddresses, NetPositions, correction_digest, net_positions, recover_address
from walras.ledger.keys import SIGNATURE_BYTES
from walras.tariffs.bill import BillLayout
from walras.units import Int64

Events = Mapping[EventKind, Entry]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a slot stands at: its events, and after `revision` corrections its readings [members] and sums [accounts].

    `admitted` of its readings are the meters' own and `edited` those that a person answers for, the others substitutes.
    """

    events: Events
    revision: int
    admitted: int
    import_wh: Int64
    export_wh: Int64
    cash_nano: Int64
    energy_wh: Int64
    edited: int = 0


def standing_of(events: Events) -> Standing:
    """A slot as it was settled."""
    public = events[EventKind.SETTLEMENT_SUBMITTED].public
    imports, exports, cash, energy = (column(public, name) for name in ("import_wh", "export_wh", "cash_nano", "energy_wh"))
    return Standing(events, 0, events[EventKind.READINGS_ADMITTED].public["admitted"], imports, exports, cash, energy)


def settled_at(terms: Terms, slot: int) -> int:
    """Unix time at which readings of `slot` were due and it was settled."""
    return int((terms.grid.end(slot) + timedelta(seconds=terms.metering_deadline_s)).timestamp())


def corrected_at(terms: Terms, slot: int) -> int:
    """Unix time at which the dispute window of `slot` closes: what came until then makes one correction."""
    return settled_at(terms, slot) + terms.dispute_window_s


def difference_positions(cash_nano: Int64, energy_wh: Int64) -> NetPositions:
    """The accounts that a correction touches: `cash_nano`, `energy_wh` [accounts] are differences."""
    rows = np.flatnonzero((cash_nano != 0) | (energy_wh != 0))
    return net_positions(rows, cash_nano[rows], energy_wh[rows])


def settle_again(
    terms: Terms, layout: BillLayout, slot: int, events: Events, import_wh: Int64, export_wh: Int64
) -> tuple[SlotAccounts, SettledTrades]:
    """The slot of `events` settled on other readings [members], orders and clearing as they were; and its trades then."""
    orders = orders_from_public(events[EventKind.ORDERS_REVEALED].public["orders"])
    clearing = clearing_from_public(events[EventKind.CLEARED].public)
    prices = np.array(events[EventKind.SLOT_OPENED].public["item_micro"], dtype=np.int64)
    wires = recorded_wires(terms, slot, events)
    reactive = slot_reactive(terms.charges, events[EventKind.DELIVERED].public)
    accounts = settle_slot(terms, layout, slot, prices, orders, clearing, import_wh, export_wh, wires, reactive)
    done = accounts.settled
    return accounts, trades_of(slot, done.bought_wh, done.sold_wh, clearing.price_micro_per_kwh)


def corrections_of(entries: Iterable[Entry]) -> dict[int, list[Entry]]:
    """The corrections by slot, in their order."""
    found: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.kind == SLOT_CORRECTED:
            found.setdefault(entry.public["slot"], []).append(entry)
    return found


def check_correction(
    terms: Terms,
    layout: BillLayout,
    addresses: LedgerAddresses,
    before: Standing,
    entry: Entry,
    edits: Mapping[int, Act] = MappingProxyType({}),
    exchanged: int = 0,
) -> Standing:
    """What the slot stands at after the correction `entry`; AuditError naming the first thing in it that does not hold.

    `edits` of the slot that were ordered in time, by the number of their entry; `exchanged` meters in it, whose late readings stand
    with what the old meters had counted, marked as edited.
    """
    public: Mapping[str, Any] = entry.public
    slot = int(public["slot"])
    if public["revision"] != before.revision + 1:
        raise AuditError(f"slot {slot}: revision {public['revision']} follows on revision {before.revision}", thing=slot)
    if not settled_at(terms, slot) < public["at"] <= corrected_at(terms, slot):
        raise AuditError(f"slot {slot}: corrected at {public['at']}, outside the dispute window", thing=slot)
    due = [public["at"]] if terms.batches is None else []  # in a batch it goes to the chain with its slot
    if [step["time"] for step in public["transactions"]] != due:
        raise AuditError(f"slot {slot}: a correction is one transaction, at the time of the correction", thing=slot)
    _check_signers(terms, addresses, public, slot)
    imports, exports = column(public, "import_wh"), column(public, "export_wh")
    edited = edited_to(public, edits)
    for account, energies in edited.items():
        if (int(imports[account]), int(exports[account])) != energies:
            raise AuditError(f"slot {slot}: account {account} was edited to {energies}, it stands otherwise", thing=slot)
    late = public["admitted"] - before.admitted + len(edited) + exchanged  # an edit may take the place of a reading
    others = (imports != before.import_wh) | (exports != before.export_wh)
    others[list(edited)] = False
    moved = int(others.sum())
    if late < (0 if edited else 1) or public["admitted"] > terms.members or moved > late:
        raise AuditError(f"slot {slot}: {late} readings came late, the energy of {moved} members changed", thing=slot)
    again, trades = settle_again(terms, layout, slot, before.events, imports, exports)
    for name, computed in (("cash_nano", again.cash_nano - before.cash_nano), ("energy_wh", again.energy_wh - before.energy_wh)):
        stated = column(public, name)
        wrong = np.flatnonzero(stated != computed) if stated.shape == computed.shape else np.array([0])
        if wrong.size:
            account = int(wrong[0])
            raise AuditError(
                f"slot {slot}: the correction's {name} of account {account} is {int(stated[account])}, "
                f"it should be {int(computed[account])}",
                thing=slot,
            )
    if trades.tree().root.hex() != public["trades_root"] or int(trades.buyer.size) != public["trades"]:
        raise AuditError(f"slot {slot}: the corrected trades do not have the Merkle root stated", thing=slot)
    if public["journal_head"] != entry.prev:
        raise AuditError(f"slot {slot}: the correction anchors another journal", thing=slot)
    sums = again.cash_nano, again.energy_wh
    return Standing(before.events, before.revision + 1, int(public["admitted"]), imports, exports, *sums, edited=len(edited))


def _check_signers(terms: Terms, addresses: LedgerAddresses, public: Mapping[str, Any], slot: int) -> None:
    root, signatures = bytes.fromhex(public["root"]), bytes.fromhex(public["signatures"])
    digest = correction_digest(addresses.chain_id, addresses.settlement, slot, public["revision"], root)
    parts = [signatures[i : i + SIGNATURE_BYTES] for i in range(0, len(signatures), SIGNATURE_BYTES)]
    signers = {recover_address(digest, part) for part in parts}
    if signers - set(terms.oracles) or len(signers) < terms.quorum:
        known = len(signers & set(terms.oracles))
        raise AuditError(f"slot {slot}: {known} oracles signed the corrected readings' root, {terms.quorum} must", thing=slot)
