"""The exchange is a fold over its journal: `state' = apply(state, entry)`, pure, from the public parts alone.

The operator's engine, a restart after a crash and anybody's audit run this same function. It keeps the phase of each slot under
way with its stage values, and of everything settled only the running balances: whole nano-units and Wh by account.
It checks what belongs to the order of events (phases, slots settled in sequence, sums of exactly zero); whether a stage value
is *right* (a clearing, a signature) is the audit's question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from walras.errors import JournalError
from walras.exchange.journal import Entry
from walras.exchange.ordered import Commands, after_act
from walras.exchange.phases import EventKind, Phase, next_phase
from walras.units import Int64, checked_sum

RUN_OPENED = "run_opened"
LEDGER_DEPLOYED = "ledger_deployed"
ESCROW_PAID = "escrow_paid"
ESCROW_MOVED = "escrow_moved"
SLOT_CORRECTED = "slot_corrected"
BATCH_POSTED = "batch_posted"
BATCH_INCLUDED = "batch_included"
DAYS_COMMITTED = "days_committed"
RUN_CLOSED = "run_closed"
ACT = "act"
ACT_FIELDS = {"act", "at", "by", "account", "detail"}

Public = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot under way: its phase, and the public part of each event so far."""

    phase: Phase
    events: Mapping[EventKind, Public] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExchangeState:
    """What the journal adds up to.

    opened        public part of `run_opened`: the community's rules, accounts and tariffs
    deployed      public part of `ledger_deployed`
    slots         slots under way, by index
    escrow_nano   [accounts] int64, money in escrow: deposits less payments and what was fetched
    energy_wh     [accounts] int64, running energy taken from the grid
    settled       number of slots settled; `last_settled` the index of the last
    revisions     how often a settled slot was corrected, by index; none where it never was
    posted        batches posted, `included` of them seen on the chain; `posted_until` the last slot in them
    committed     last slot of the last days committed to (`days`)
    commands      orders to members' devices, and what they rest on (`ordered`)
    closed        True after `run_closed`
    """

    opened: Public | None = None
    deployed: Public | None = None
    slots: Mapping[int, SlotState] = field(default_factory=dict)
    escrow_nano: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    energy_wh: Int64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    settled: int = 0
    last_settled: int | None = None
    revisions: Mapping[int, int] = field(default_factory=dict)
    posted: int = 0
    included: int = 0
    posted_until: int | None = None
    committed: int | None = None
    commands: Commands = field(default_factory=Commands)
    closed: bool = False


def apply(state: ExchangeState, entry: Entry) -> ExchangeState:
    """The state after `entry`; PhaseError or JournalError (naming the entry) where it cannot follow."""
    if entry.slot is not None:
        return _apply_to_slot(state, entry, entry.slot)
    if entry.kind == ACT and state.opened is not None and set(entry.public) == ACT_FIELDS:
        return replace(state, commands=after_act(state.commands, entry.seq, entry.public))
    if entry.kind == RUN_OPENED and state.opened is None:
        accounts = len(entry.public["accounts"])
        nothing = np.zeros(accounts, dtype=np.int64)
        return replace(state, opened=entry.public, escrow_nano=nothing, energy_wh=nothing.copy())
    if state.opened is not None and not state.closed:
        if entry.kind == LEDGER_DEPLOYED and state.deployed is None:
            return replace(state, deployed=entry.public, energy_wh=_opening_energy(entry, state))
        if entry.kind == ESCROW_PAID and state.deployed is not None:
            paid = _column(entry, "nano", state)
            if (paid < 0).any():
                raise JournalError(f"entry {entry.seq} ({entry.kind}): a deposit is negative", thing=entry.seq)
            return replace(state, escrow_nano=state.escrow_nano + paid)
        if entry.kind == ESCROW_MOVED and state.deployed is not None:  # by members, beside the run: the chain's end holds it
            return replace(state, escrow_nano=state.escrow_nano + _column(entry, "nano", state))
        if entry.kind == SLOT_CORRECTED and state.last_settled is not None:
            return _correct(state, entry)
        if entry.kind in (BATCH_POSTED, BATCH_INCLUDED) and "batches" in state.opened:
            return _batch(state, entry)
        if entry.kind == DAYS_COMMITTED and state.last_settled is not None:
            return _commit_days(state, entry, state.last_settled)
        if entry.kind == RUN_CLOSED and not state.slots:
            _check_all_posted(state, entry)
            return replace(state, closed=True)
    raise JournalError(f"entry {entry.seq}: {entry.kind} does not belong here", thing=entry.seq)


def _apply_to_slot(state: ExchangeState, entry: Entry, slot: int) -> ExchangeState:
    if state.deployed is None or state.closed:
        raise JournalError(f"entry {entry.seq} ({entry.kind}): the run is not open", thing=entry.seq)
    try:
        kind = EventKind(entry.kind)
    except ValueError as cause:
        raise JournalError(f"entry {entry.seq}: no such event of a slot: {entry.kind}", thing=entry.seq) from cause
    before = state.slots.get(slot)
    if before is None and state.last_settled is not None and slot <= state.last_settled:
        raise JournalError(f"entry {entry.seq} ({entry.kind}): slot {slot} was settled before", thing=entry.seq)
    phase = next_phase(slot, before.phase if before else None, kind)
    events = {**(before.events if before else {}), kind: entry.public}
    slots = dict(state.slots)
    if phase is not Phase.SETTLED:
        slots[slot] = SlotState(phase, events)
        return replace(state, slots=slots)
    return _settle(replace(state, slots={s: v for s, v in slots.items() if s != slot}), entry, slot, events)


def _settle(state: ExchangeState, entry: Entry, slot: int, events: Mapping[EventKind, Public]) -> ExchangeState:
    if EventKind.SETTLEMENT_SUBMITTED not in events:
        raise JournalError(f"entry {entry.seq} ({entry.kind}): slot {slot} has no submitted settlement", thing=entry.seq)
    submitted = events[EventKind.SETTLEMENT_SUBMITTED]
    escrow, energy = _after_payment(state, entry, submitted, slot)
    return replace(state, escrow_nano=escrow, energy_wh=energy, settled=state.settled + 1, last_settled=slot)


def _batch(state: ExchangeState, entry: Entry) -> ExchangeState:
    """Settled slots go to the chain in their order, each in one batch, one batch at a time."""
    index, first, last = entry.public["batch"], entry.public["first"], entry.public["last"]
    if entry.kind == BATCH_INCLUDED:
        if not (index == state.included == state.posted - 1 and last == state.posted_until):
            raise JournalError(f"entry {entry.seq} ({entry.kind}): batch {index} was not posted before", thing=entry.seq)
        return replace(state, included=index + 1)
    assert state.opened is not None
    due = state.opened["slots"][0] if state.posted_until is None else state.posted_until + 1
    if index != state.posted or state.included != state.posted or first != due:
        raise JournalError(f"entry {entry.seq} ({entry.kind}): batch {index} from slot {first} is not the next", thing=entry.seq)
    if last < first or state.last_settled is None or last > state.last_settled:
        raise JournalError(f"entry {entry.seq} ({entry.kind}): slot {last} is not settled yet", thing=entry.seq)
    return replace(state, posted=index + 1, posted_until=last)


def _check_all_posted(state: ExchangeState, entry: Entry) -> None:
    assert state.opened is not None
    if "batches" in state.opened and (state.posted_until != state.last_settled or state.included != state.posted):
        raise JournalError(f"entry {entry.seq} ({entry.kind}): settled slots were not posted", thing=entry.seq)


def _correct(state: ExchangeState, entry: Entry) -> ExchangeState:
    """A settled slot's difference is paid: what was settled stays, the correction is counted."""
    slot, revision = entry.public["slot"], entry.public["revision"]
    if state.last_settled is None or slot > state.last_settled:
        raise JournalError(f"entry {entry.seq} ({entry.kind}): slot {slot} is not settled yet", thing=entry.seq)
    if state.posted_until is not None and slot <= state.posted_until:
        raise JournalError(f"entry {entry.seq} ({entry.kind}): slot {slot} is in a batch already", thing=entry.seq)
    if revision != state.revisions.get(slot, 0) + 1:
        raise JournalError(
            f"entry {entry.seq} ({entry.kind}): revision {revision} of slot {slot} follows on {state.revisions.get(slot, 0)}",
            thing=entry.seq,
        )
    escrow, energy = _after_payment(state, entry, entry.public, slot)
    return replace(state, escrow_nano=escrow, energy_wh=energy, revisions={**state.revisions, slot: revision})


def _commit_days(state: ExchangeState, entry: Entry, last_settled: int) -> ExchangeState:
    """Settled slots, in their order, each once."""
    first, last = entry.public["first_slot"], entry.public["last_slot"]
    if first > last or last > last_settled or (state.committed is not None and first != state.committed + 1):
        raise JournalError(f"entry {entry.seq} ({entry.kind}): slots {first} to {last} do not belong here", thing=entry.seq)
    return replace(state, committed=last)


def _after_payment(state: ExchangeState, entry: Entry, submitted: Public, slot: int) -> tuple[Int64, Int64]:
    """Escrow and running energy [accounts] after the `submitted` columns; JournalError where a sum is not zero or one is short."""
    where = f"entry {entry.seq} ({entry.kind}) of slot {slot}"
    cash = np.asarray(submitted["cash_nano"], dtype=np.int64)
    energy = np.asarray(submitted["energy_wh"], dtype=np.int64)
    for name, column in (("cash_nano", cash), ("energy_wh", energy)):
        if column.shape != state.escrow_nano.shape:
            raise JournalError(f"{where}: {name} has {column.size} rows, not one for each account", thing=entry.seq)
        if checked_sum(column) != 0:
            raise JournalError(f"{where}: {name} sums to {checked_sum(column)}, not to zero", thing=entry.seq)
    escrow = state.escrow_nano - cash
    below = (escrow < 0) & (cash > 0)
    if below.any():
        account = int(np.flatnonzero(below)[0])
        raise JournalError(f"{where}: account {account} would fall to {int(escrow[account])} nano", thing=entry.seq)
    return escrow, state.energy_wh + energy


def _opening_energy(entry: Entry, state: ExchangeState) -> Int64:
    """Running energy [accounts] that the contracts had already when the run came to them; zero on new ones (`opening`)."""
    opening = entry.public.get("opening")
    return state.energy_wh if opening is None else _column_of(entry, opening, "energy_wh", state)


def _column(entry: Entry, name: str, state: ExchangeState) -> Int64:
    return _column_of(entry, entry.public, name, state)


def _column_of(entry: Entry, public: Public, name: str, state: ExchangeState) -> Int64:
    column = np.asarray(public[name], dtype=np.int64)
    if column.shape != state.escrow_nano.shape:
        raise JournalError(f"entry {entry.seq} ({entry.kind}): {name} is not one for each account", thing=entry.seq)
    return column
