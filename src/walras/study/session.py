"""One run of a community through the exchange: from orders to payment, slot by slot, every event in the journal.

The neighbourhood is simulated (`trading`: who wants what, what the devices then do); everything after the devices is the real path:
sealed orders, the clearing, signed readings, admission by every oracle for itself, their quorum, the settlement contract. The
driver is a straight line; `Recorder.step` makes it one that can be killed anywhere and go on.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np

from walras.errors import JournalError
from walras.exchange.accounting import settle_slot
from walras.exchange.batching import BatchSlot, settled_again
from walras.exchange.commitment import commitments
from walras.exchange.correction import corrected_at, difference_positions, settled_at
from walras.exchange.curtailment import WiresSlot, wires_slot_from_public, wires_slot_to_public
from walras.exchange.edits import edits_in_time, order_of, standing_edits
from walras.exchange.extras import extra_for
from walras.exchange.fold import RUN_CLOSED, RUN_OPENED, SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.masked import masked_to_public, refusal_of
from walras.exchange.network_charges import slot_reactive
from walras.exchange.ordered import bounds_of, in_force, ordered_from_public, ordered_to_public
from walras.exchange.parts import (
    admitted_private,
    closed_readings,
    corrected_leaves,
    delays_of,
    delivered_from,
    delivered_private,
    exchange_statement,
    opened_private,
    sent_batch,
)
from walras.exchange.phases import EventKind
from walras.exchange.public import clearing_from_public, clearing_to_public, orders_from_public, orders_to_public
from walras.exchange.recorder import Decision, Recorder
from walras.exchange.settlement import positions_of
from walras.exchange.terms import begun_otherwise, terms_to_public
from walras.exchange.trades import trades_of
from walras.ledger import (
    Header,
    SlotSettlement,
    attestation_digest,
    correction_digest,
    net_positions,
    recover_address,
)
from walras.market.clearing import Clearing
from walras.market.mechanism import Mechanism
from walras.market.mechanism import run as run_mechanism
from walras.market.orders import Orders
from walras.market.registry import mechanism_named
from walras.metering import SlotReadings, Vote
from walras.metering.feeder import Feeder, FeederCheck
from walras.metering.reading import MAX_DEVICE_QUALITY
from walras.strategies.commanded import unbound
from walras.study.days import Days
from walras.study.hanging import HangingMeters
from walras.study.late import Sent, Waiting, late_devices, sent_in
from walras.study.masked import MaskedMeters
from walras.study.oracles import usual_delay_s
from walras.study.parts import Parts
from walras.study.physics import Felt, flow_to_public
from walras.study.settler import Settler
from walras.study.votes import attested
from walras.study.watch import DayWatch
from walras.units import Int64

At = Callable[[EventKind, Callable[[], Decision]], Entry]
"""Records one event of a slot: its kind, and what decides it where the journal does not have it yet."""


class Session:
    """The run of `parts` recorded by `recorder`. `run` yields each slot as it is settled."""

    def __init__(self, parts: Parts, recorder: Recorder) -> None:
        self._p = parts
        self._recorder = recorder
        self._layout = parts.terms.layout()
        self._soc = parts.trading.initial_soc
        self._settler = Settler(parts, recorder)
        self._heard = -1
        self._watch = DayWatch(parts.terms)
        self._bounds = unbound(parts.terms.members)
        self._waiting: list[Waiting] = []
        self._meters = HangingMeters(parts.meters, parts.community, parts.exchanged_key)
        self._days = Days(parts.terms, parts.leaf_secrets, self._meters.key_ids)

    def run(self) -> Iterator[int]:
        """Open, deploy, trade every slot, close. Yields each slot's index when it is settled."""
        self._open()
        for slot in range(self._p.terms.first, self._p.terms.last + 1):
            self._slot(slot)
            self._correct_until(settled_at(self._p.terms, slot))
            self._commit_days(settled_at(self._p.terms, slot))
            self._settler.post_until(settled_at(self._p.terms, slot))
            self._watch.validate_until(settled_at(self._p.terms, slot), self._recorder)
            yield slot
        self._correct_until(None)
        self._commit_days(None)
        self._watch.validate_until(None, self._recorder)
        self._settler.post_until(None)
        self._settler.see_movements()
        self._recorder.step(RUN_CLOSED, None, self._closing)

    def _commit_days(self, time: int | None) -> None:
        self._days.commit_until(time, self._recorder, self._p.path, self._settler.addresses)

    def _closing(self) -> Decision:
        head = self._p.chain.head()
        return {"slots": self._recorder.state.settled, "block": head.number, "state_root": head.state_root.hex()}, None

    def _open(self) -> None:
        p = self._p
        private = opened_private([m.id for m in p.community.members], p.meters.credentials)
        opened = self._recorder.step(RUN_OPENED, None, lambda: (terms_to_public(p.terms), private))
        if opened.public != terms_to_public(p.terms):
            raise begun_otherwise(opened.public, terms_to_public(p.terms))
        self._settler.deploy()

    def _agreed(self, slot: int, at: At) -> tuple[Int64, Orders, Clearing]:
        """From the opening of a slot to its clearing: the prices, the orders that were sealed, and what they clear to."""
        p, grid = self._p, self._p.community.grid

        def begin() -> Decision:
            ordered = ordered_to_public(in_force(self._recorder.state.commands, grid, slot))
            return {"start": grid.start(slot).isoformat(), "item_micro": p.trading.item_micro(slot).tolist()} | ordered, None

        opened = at(EventKind.SLOT_OPENED, begin).public
        item_micro = np.array(opened["item_micro"], dtype=np.int64)
        self._bounds = bounds_of(ordered_from_public(opened), p.terms.members)
        sealed: list[tuple[Orders, list[bytes]]] = []

        def seal() -> tuple[Orders, list[bytes]]:
            if not sealed:
                orders = p.trading.orders(slot, self._soc, self._bounds)
                sealed.append(
                    (orders, [self._salt(slot, *row) for row in zip(orders.id.tolist(), orders.participant.tolist(), strict=True)])
                )
            return sealed[0]

        at(EventKind.ORDERS_COMMITTED, lambda: ({"commitments": [c.hex() for c in commitments(*seal())]}, None))
        closes = grid.start(slot) - timedelta(seconds=p.terms.gate_closure_s)
        at(EventKind.GATE_CLOSED, lambda: ({"at": closes.isoformat()}, None))
        revealed = at(
            EventKind.ORDERS_REVEALED,
            lambda: ({"orders": orders_to_public(seal()[0]), "salts": [s.hex() for s in seal()[1]]}, None),
        )
        orders = orders_from_public(revealed.public["orders"])
        mechanism = mechanism_named(p.terms.mechanism)
        cleared = at(
            EventKind.CLEARED,
            lambda: (clearing_to_public(self._clear(mechanism, orders)), None),
        )
        return item_micro, orders, clearing_from_public(cleared.public)

    def _slot(self, slot: int) -> None:
        p, step = self._p, self._recorder.step

        def at(kind: EventKind, decide: Callable[[], Decision]) -> Entry:
            return step(kind.value, slot, decide)

        item_micro, orders, clearing = self._agreed(slot, at)
        wires = self._limits(slot, orders, clearing, at)

        def deliver() -> Decision:
            done = self._dispatched(slot, orders, clearing)
            if wires is not None:
                done = p.trading.after_wires(self._soc, done, wires)
            kept = delivered_private(done.metered_wh, done.soc_uwh, p.trading.fleet.member)
            return flow_to_public(p.trading.flow(done), p.trading.network) | p.trading.losses_to_public(p.terms, done), kept

        delivered = at(EventKind.DELIVERED, deliver)
        net_wh, self._soc = delivered_from(delivered, p.trading.fleet.member)
        readings, word, late = self._meter(slot, net_wh, delivered.public["import_w"], at)
        metered, reactive = (readings.import_wh, readings.export_wh), slot_reactive(p.terms.charges, delivered.public)
        accounts = settle_slot(p.terms, self._layout, slot, item_micro, orders, clearing, *metered, wires, reactive)
        self._settler.top_up(int(p.community.grid.end(slot).timestamp()), accounts.cash_nano)
        trades = trades_of(slot, accounts.settled.bought_wh, accounts.settled.sold_wh, clearing.price_micro_per_kwh)
        self._days.note(readings)
        root = bytes.fromhex(word.public["root"])
        header = Header(root, trades.tree().root, bytes.fromhex(word.hash))
        time, transactions = settled_at(p.terms, slot), self._settler.transactions

        def submit() -> Decision:
            positions = net_positions(np.arange(p.terms.accounts), accounts.cash_nano, accounts.energy_wh)
            signatures = bytes.fromhex(word.public["signatures"])
            return {
                "import_wh": readings.import_wh.tolist(),
                "export_wh": readings.export_wh.tolist(),
                "cash_nano": accounts.cash_nano.tolist(),
                "energy_wh": accounts.energy_wh.tolist(),
                "trades": int(trades.buyer.size),
                "trades_root": header.trades_root.hex(),
                "journal_head": header.journal_head.hex(),
                "transactions": transactions(lambda: SlotSettlement(slot, header, positions, signatures), time),
            }, None

        submitted = at(EventKind.SETTLEMENT_SUBMITTED, submit)
        standing = BatchSlot(slot, item_micro, orders, clearing, wires, reactive, *metered, accounts)
        included = self._settler.settle(submitted, standing, f"settlement of slot {slot}")
        at(EventKind.SETTLED, lambda: (included, None))
        if p.terms.dispute_window_s:
            self._waiting.append(Waiting(late, readings, standing, corrected_at(p.terms, slot)))

    def _correct_until(self, time: int | None) -> None:
        """Correct every slot whose dispute window has closed by `time`; None: all that wait."""
        while self._waiting and (time is None or self._waiting[0].at <= time):
            self._correct(self._waiting.pop(0))

    def _correct(self, w: Waiting) -> None:
        """Settle the slot again on its late readings and edits, and pay the difference in an entry of its own."""
        p, was, slot = self._p, w.settled, w.settled.slot
        addresses, oracles = self._settler.addresses, p.terms.oracles
        edits, registry = edits_in_time(p.terms, self._recorder.acts, slot), self._meters.registry(slot)
        if not w.late and not edits:
            return
        revision = self._recorder.state.revisions.get(slot, 0) + 1
        orders = [order_of(act) for act in edits.values()]
        recorded = self._recorder.next_recorded
        if recorded is not None:
            p.path.corrected_before(slot, corrected_leaves(recorded, slot, p.terms.members))
        readings, refused, votes, delays, check = p.path.correct(slot, revision, addresses, orders)
        if readings.leaves == w.readings.leaves:
            return  # nothing that may correct came: the slot stands on its substitutes
        standing = settled_again(p.terms, self._layout, was, readings.import_wh, readings.export_wh)
        again = standing.accounts
        trades = trades_of(slot, again.settled.bought_wh, again.settled.sold_wh, was.price_micro_per_kwh)
        cash, energy = again.cash_nano - was.accounts.cash_nano, again.energy_wh - was.accounts.energy_wh
        self._settler.top_up(w.at, cash)
        root = readings.salted_tree(p.leaf_secrets).root

        def holds(vote: Vote) -> bool:
            digest = correction_digest(addresses.chain_id, addresses.settlement, vote.slot, revision, vote.root)
            return recover_address(digest, vote.signature) == oracles[vote.oracle]

        def decide() -> Decision:
            word = attested(slot, root, oracles, p.terms.quorum, votes, holds, w.at)
            header = Header(root, trades.tree().root, bytes.fromhex(self._recorder.head))
            signatures = bytes.fromhex(word["signatures"])
            difference = SlotSettlement(slot, header, difference_positions(cash, energy), signatures)
            edited = standing_edits(readings, self._meters.key_ids(slot), edits)
            return {
                **word,
                **({"edits": edited} if edited else {}),
                "slot": slot,
                "revision": revision,
                "admitted": int((readings.quality <= MAX_DEVICE_QUALITY).sum()),
                "refused": {reason.name.lower(): count for reason, count in refused.items()},
                "balance_wh": _balance_to_public(check),
                "import_wh": readings.import_wh.tolist(),
                "export_wh": readings.export_wh.tolist(),
                "cash_nano": cash.tolist(),
                "energy_wh": energy.tolist(),
                "trades": int(trades.buyer.size),
                "trades_root": header.trades_root.hex(),
                "journal_head": header.journal_head.hex(),
                "transactions": self._settler.transactions(lambda: difference, w.at, correcting=True),
            }, admitted_private(w.late, registry, readings, p.leaf_secrets, delays_of(registry, w.late, delays))

        corrected = self._recorder.step(SLOT_CORRECTED, None, decide)
        if (corrected.public["slot"], corrected.public["root"]) != (slot, root.hex()):
            raise JournalError(f"slot {slot}: the late readings do not have the root recorded", thing=corrected.seq)
        self._days.note(readings)
        self._watch.note(slot, corrected)
        self._settler.settle(corrected, standing, f"correction of slot {slot}")

    def _dispatched(self, slot: int, orders: Orders, clearing: Clearing) -> Felt:
        positions = positions_of(orders, clearing, self._p.terms.members)
        return self._p.trading.dispatched(slot, self._soc, positions, self._bounds)

    def _limits(self, slot: int, orders: Orders, clearing: Clearing, at: At) -> WiresSlot | None:
        """Clear what members are about to do on the wires, where the terms have any."""
        p = self._p
        if p.terms.wires is None:
            return None

        def decide() -> Decision:
            done = self._dispatched(slot, orders, clearing)
            return wires_slot_to_public(p.trading.on_wires(p.terms, slot, self._soc, done, orders, clearing, self._bounds)), None

        sold = positions_of(orders, clearing, p.terms.members).sold_wh
        public = at(EventKind.CURTAILED, decide).public
        return wires_slot_from_public(p.terms, public, sold, clearing, orders, p.trading.item_micro(slot))

    def _clear(self, mechanism: Mechanism, orders: Orders) -> Clearing:
        extra = extra_for(mechanism, orders)
        return run_mechanism(mechanism, orders, self._p.terms.conventions, self._p.trading.network, extra)

    def _meter(self, slot: int, net_wh: Int64, transformer_w: int, at: At) -> tuple[SlotReadings, Entry, tuple[bytes, ...]]:
        """Sign, admit by each oracle, close the slot, vote; the readings of the slot, the attestation, and what came too late."""
        p = self._p
        counter, devices = slot - p.terms.first + 1, p.terms.members
        delayed = late_devices(p.seed, slot, devices, p.community.metering.late_percent)
        batch: list[Sent] = []

        def signed() -> list[Sent]:
            if not batch:
                sent = self._meters.sign(slot, counter, net_wh)
                batch.extend(sent_in(p.community, self._meters.registry(slot), sent, delayed))
            return batch

        due = p.community.grid.end(slot) + timedelta(seconds=p.terms.metering_deadline_s)
        outcome: list[SlotReadings] = []

        def gather() -> Decision:
            self._hear_of_exchanges()
            on_time = [one for one in signed() if one.after_s <= p.terms.metering_deadline_s and not one.held_up]
            feeder = p.meters.sign_feeder(slot, counter, round(transformer_w * p.community.grid.hours))
            if p.masked is not None:
                silent = {*delayed, *self._meters.exchanged_in(slot)}  # neither meter has measured the whole slot
                p.masked.round(slot, np.maximum(net_wh, 0), np.maximum(-net_wh, 0), silent, feeder)
            sent = [*(one.encoded for one in on_time), feeder]
            arrivals = [*(one.after_s for one in on_time), usual_delay_s(p.community)]
            readings, refused, check, delays = p.path.take(slot, sent, arrivals)
            outcome.append(readings)
            public: dict[str, Any] = {
                "root": readings.salted_tree(p.leaf_secrets).root.hex(),
                "devices": devices,
                "admitted": devices - int((readings.quality > MAX_DEVICE_QUALITY).sum()),
                "refused": {reason.name.lower(): count for reason, count in refused.items()},
                "feeder": feeder.hex(),
                "balance_wh": _balance_to_public(check),
            }
            if p.masked is not None:
                public["masked"] = self._masked_sum(p.masked, slot, readings, feeder)
            return public, admitted_private(sent, self._meters.registry(slot), readings, p.leaf_secrets, delays)

        admitted = at(EventKind.READINGS_ADMITTED, gather)
        if not outcome:
            self._hear_of_exchanges(admitted.seq)
            outcome.append(closed_readings(slot, admitted))
            sent, after_s = sent_batch(admitted)
            feeder = bytes.fromhex(admitted.public["feeder"])
            p.path.taken_before(slot, [*sent, feeder], [*after_s, usual_delay_s(p.community)], outcome[0])
        self._watch.note(slot, admitted)
        root = outcome[0].salted_tree(p.leaf_secrets).root
        if root.hex() != admitted.public["root"]:
            raise JournalError(f"slot {slot}: the readings kept do not have the root recorded", thing=admitted.seq)
        chain_id, contract = self._settler.addresses.chain_id, self._settler.addresses.settlement
        addresses = p.terms.oracles

        def holds(vote: Vote) -> bool:
            digest = attestation_digest(chain_id, contract, vote.slot, vote.root)
            return recover_address(digest, vote.signature) == addresses[vote.oracle]

        def attest() -> Decision:
            votes = p.path.votes(slot, root, self._settler.addresses)
            return attested(slot, root, addresses, p.terms.quorum, votes, holds, int(due.timestamp())), None

        heard_until = p.terms.metering_deadline_s + p.terms.dispute_window_s
        late = [one for one in signed() if one.held_up or p.terms.metering_deadline_s < one.after_s <= heard_until]
        word = at(EventKind.ATTESTED, attest)
        encoded = tuple(one.encoded for one in late)
        if late:
            hand_on = p.path.late_before if self._recorder.replaying else p.path.late
            hand_on(slot, encoded, [one.after_s for one in late])
        return outcome[0], word, encoded

    def _hear_of_exchanges(self, before: int | None = None) -> None:
        """Meters' exchanges that were recorded before an entry (None: so far) are told to everybody, once."""
        for _, act in self._recorder.acts:
            if act.seq > self._heard and (before is None or act.seq < before):
                self._heard = act.seq
                statement = exchange_statement(act)
                if statement is not None:
                    hung = self._meters.hear(statement)
                    self._p.path.exchange(statement)
                    if hung is not None and self._p.masked is not None:
                        self._p.masked.hang(hung)

    def _masked_sum(self, masked: MaskedMeters, slot: int, readings: SlotReadings, feeder: bytes) -> dict[str, Any] | None:
        """The balance oracle's word on the slot, beside the readings that settle; what is no word is refused, and kept."""
        heard, terms, addresses = masked.heard(slot, self._settler.addresses), self._p.terms, self._settler.addresses
        behind = Feeder(self._p.meters.feeder, self._p.trading.network, self._p.trading.bus)
        why = refusal_of(terms, addresses, heard, feeder, behind)
        named, wrong = ((), None) if why or heard.spoken is None else masked.opened(heard.spoken[0], readings)
        return masked_to_public(heard, (readings.import_wh, readings.export_wh), named, why or wrong)

    def _salt(self, slot: int, order: int, participant: int) -> bytes:
        """From the participant's own secret: what the seed gave, whoever guesses it could draw before the gate closes."""
        place = b"walras order salt 1" + slot.to_bytes(8, "big") + order.to_bytes(8, "big")
        return hmac.digest(self._p.leaf_secrets[participant], place, "sha256")


def _balance_to_public(check: FeederCheck | None) -> list[int] | None:
    return None if check is None else [check.residual_wh, check.tolerance_wh]
