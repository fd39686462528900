"""One run of a community through the exchange: from orders to payment, slot by slot, every event in the journal.

The neighbourhood is simulated (`trading`: who wants what, what the devices then do); everything after the devices is the real path:
sealed orders, the clearing, signed readings, admission by every oracle for itself, their quorum, the settlement contract. The
driver is a straight line; `Recorder.step` makes it one that can be killed anywhere and go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from walras.community.model import Community
from walras.errors import JournalError
from walras.exchange.accounting import settle_slot
from walras.exchange.commitment import commitments
from walras.exchange.correction import corrected_at, difference_positions, settled_at
from walras.exchange.curtailment import WiresSlot, wires_slot_from_public, wires_slot_to_public
from walras.exchange.extras import extra_for
from walras.exchange.fold import ESCROW_PAID, LEDGER_DEPLOYED, RUN_CLOSED, RUN_OPENED, SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.parts import (
    admitted_private,
    closed_readings,
    delivered_from,
    delivered_private,
    opened_private,
    sent_batch,
)
from walras.exchange.phases import EventKind
from walras.exchange.public import clearing_from_public, clearing_to_public, orders_from_public, orders_to_public
from walras.exchange.recorder import Decision, Recorder
from walras.exchange.settlement import positions_of
from walras.exchange.terms import Terms, terms_to_public
from walras.exchange.trades import trades_of
from walras.ledger import (
    Chain,
    Header,
    LedgerAddresses,
    LedgerKeys,
    LedgerTerms,
    Receipt,
    Sender,
    SlotSettlement,
    attestation_digest,
    correction_digest,
    correction_transaction,
    net_positions,
    plan_deployment,
    read_transaction,
    recover_address,
    require_accepted,
    settlement_transaction,
)
from walras.ledger.deployment import NANO_PER_TOKEN_UNIT
from walras.ledger.topup import top_up_transactions
from walras.market.clearing import Clearing
from walras.market.mechanism import Mechanism
from walras.market.mechanism import run as run_mechanism
from walras.market.orders import Orders
from walras.market.registry import mechanism_named
from walras.metering import SlotReadings, Vote, key_id
from walras.metering.reading import MAX_DEVICE_QUALITY
from walras.study.days import Days
from walras.study.late import Waiting, late_devices
from walras.study.meters import Meters
from walras.study.oracles import MeteringPath
from walras.study.physics import Felt, flow_to_public
from walras.study.trading import Trading
from walras.study.votes import attested
from walras.units import Int64

ESCROW_NANO = 200 * 10**9
"""First deposit of every account, and what it is topped up by before it could run dry: 200 currency units."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of."""

    community: Community
    terms: Terms
    meters: Meters
    keys: LedgerKeys
    trading: Trading
    chain: Chain
    seed: bytes
    leaf_secrets: tuple[bytes, ...]
    path: MeteringPath


def genesis_time(terms: Terms) -> int:
    """Unix time of the embedded chain's first block: two days before the first slot; contracts are deployed a day later."""
    return int(terms.grid.start(terms.first).timestamp()) - 2 * 86_400


def ledger_terms_of(terms: Terms, keys: LedgerKeys) -> LedgerTerms:
    """The terms of the run's contracts."""
    members = tuple(keys.member_address(account) for account in range(terms.accounts))
    return LedgerTerms(members, terms.oracles, terms.quorum, (ESCROW_NANO,) * terms.accounts)


class Session:
    """The run of `parts` recorded by `recorder`. `run` yields each slot as it is settled."""

    def __init__(self, parts: Parts, recorder: Recorder) -> None:
        self._p = parts
        self._recorder = recorder
        self._layout = parts.terms.layout()
        self._soc = parts.trading.initial_soc
        self._operator = Sender(parts.keys.operator, 0)
        self._addresses: LedgerAddresses | None = None
        self._waiting: list[Waiting] = []
        meters = tuple(key_id(key.public_key()) for key in parts.meters.keys)
        self._days = Days(parts.terms, parts.leaf_secrets, meters)

    def run(self) -> Iterator[int]:
        """Open, deploy, trade every slot, close. Yields each slot's index when it is settled."""
        self._open()
        for slot in range(self._p.terms.first, self._p.terms.last + 1):
            self._slot(slot)
            self._correct_until(settled_at(self._p.terms, slot))
            self._commit_days(settled_at(self._p.terms, slot))
            yield slot
        self._correct_until(None)
        self._commit_days(None)
        self._recorder.step(RUN_CLOSED, None, self._closing)

    def _commit_days(self, time: int | None) -> None:
        assert self._addresses is not None
        self._days.commit_until(time, self._recorder, self._p.path, self._addresses)

    def _closing(self) -> Decision:
        head = self._p.chain.head()
        return {"slots": self._recorder.state.settled, "block": head.number, "state_root": head.state_root.hex()}, None

    def _open(self) -> None:
        p = self._p
        private = opened_private([m.id for m in p.community.members], p.meters.credentials)
        opened = self._recorder.step(RUN_OPENED, None, lambda: (terms_to_public(p.terms), private))
        if opened.public != terms_to_public(p.terms):
            raise JournalError(
                "the journal was begun with another community file",
                thing=opened.seq,
                way_out="give another --out folder, or --fresh to begin anew",
            )
        accounts = p.terms.accounts
        ledger_terms = ledger_terms_of(p.terms, p.keys)
        time = genesis_time(p.terms) + 86_400

        def deployment() -> Decision:
            admin, operator = p.chain.nonce(p.keys.admin.address), p.chain.nonce(p.keys.operator.address)
            plan = plan_deployment(p.keys, ledger_terms, p.chain.chain_id, admin_nonce=admin, operator_nonce=operator)
            a = plan.addresses
            senders = [read_transaction(step.raw).sender for step in plan.transactions]
            return {
                "chain_id": p.chain.chain_id,
                "currency": a.currency,
                "registry": a.registry,
                "settlement": a.settlement,
                "operator_nonce": operator + senders.count(p.keys.operator.address),
                "genesis_time": genesis_time(p.terms),
                "funded": [p.keys.admin.address, p.keys.operator.address],
                "transactions": [{"raw": step.raw.hex(), "time": time} for step in plan.transactions],
            }, None

        deployed = self._recorder.step(LEDGER_DEPLOYED, None, deployment)
        if deployed.public["chain_id"] != p.chain.chain_id:
            raise JournalError(
                f"the run was begun on chain {deployed.public['chain_id']}, this is chain {p.chain.chain_id}",
                thing=deployed.seq,
                way_out="give the same --chain, or --fresh to begin anew",
            )
        self._addresses = LedgerAddresses(
            **{name: deployed.public[name] for name in ("chain_id", "currency", "registry", "settlement")}
        )
        self._operator = Sender(p.keys.operator, deployed.public["operator_nonce"])
        self._send(deployed, "deployment")
        first = {"nano": [ESCROW_NANO] * accounts, "transactions": []}
        self._recorder.step(ESCROW_PAID, None, lambda: (first, None))

    def _slot(self, slot: int) -> None:
        p, step = self._p, self._recorder.step
        grid = p.community.grid

        def at(kind: EventKind, decide: Callable[[], Decision]) -> Entry:
            return step(kind.value, slot, decide)

        prices = at(
            EventKind.SLOT_OPENED,
            lambda: ({"start": grid.start(slot).isoformat(), "item_micro": p.trading.item_micro(slot).tolist()}, None),
        )
        item_micro = np.array(prices.public["item_micro"], dtype=np.int64)
        sealed: list[tuple[Orders, list[bytes]]] = []

        def seal() -> tuple[Orders, list[bytes]]:
            if not sealed:
                orders = p.trading.orders(slot, self._soc)
                sealed.append((orders, [self._salt(slot, i) for i in orders.id.tolist()]))
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
        clearing = clearing_from_public(cleared.public)

        wires = self._limits(slot, orders, clearing, at)

        def deliver() -> Decision:
            done = self._dispatched(slot, orders, clearing)
            if wires is not None:
                done = p.trading.after_wires(self._soc, done, wires)
            kept = delivered_private(done.metered_wh, done.soc_uwh, p.trading.fleet.member)
            return flow_to_public(p.trading.flow(done), p.trading.network), kept

        delivered = at(EventKind.DELIVERED, deliver)
        net_wh, self._soc = delivered_from(delivered, p.trading.fleet.member)
        readings, word, late = self._meter(slot, net_wh, delivered.public["import_w"], at)
        metered = readings.import_wh, readings.export_wh
        accounts = settle_slot(p.terms, self._layout, slot, item_micro, orders, clearing, *metered, wires)
        self._top_up(int(grid.end(slot).timestamp()), accounts.cash_nano)
        trades = trades_of(slot, accounts.settled.bought_wh, accounts.settled.sold_wh, clearing.price_micro_per_kwh)
        self._days.note(readings)
        root = bytes.fromhex(word.public["root"])
        header = Header(root, trades.tree().root, bytes.fromhex(word.hash))
        time = settled_at(p.terms, slot)

        def submit() -> Decision:
            positions = net_positions(np.arange(p.terms.accounts), accounts.cash_nano, accounts.energy_wh)
            signatures = bytes.fromhex(word.public["signatures"])
            assert self._addresses is not None
            raw = settlement_transaction(self._addresses, self._operator, SlotSettlement(slot, header, positions, signatures))
            return {
                "import_wh": readings.import_wh.tolist(),
                "export_wh": readings.export_wh.tolist(),
                "cash_nano": accounts.cash_nano.tolist(),
                "energy_wh": accounts.energy_wh.tolist(),
                "trades": int(trades.buyer.size),
                "trades_root": header.trades_root.hex(),
                "journal_head": header.journal_head.hex(),
                "transactions": [{"raw": raw.hex(), "time": time}],
            }, None

        submitted = at(EventKind.SETTLEMENT_SUBMITTED, submit)
        receipt = self._send(submitted, f"settlement of slot {slot}")[-1]
        self._operator = replace(self._operator, nonce=self._operator.nonce + 1)
        at(
            EventKind.SETTLED,
            lambda: (
                {"transaction": receipt.transaction_hash.hex(), "gas": receipt.gas_used, "block": receipt.block_number},
                None,
            ),
        )
        if late:
            at_last = corrected_at(p.terms, slot)
            self._waiting.append(Waiting(slot, late, item_micro, orders, clearing, wires, accounts, at_last))

    def _correct_until(self, time: int | None) -> None:
        """Correct every slot whose dispute window has closed by `time`; None: all that wait."""
        while self._waiting and (time is None or self._waiting[0].at <= time):
            self._correct(self._waiting.pop(0))

    def _correct(self, w: Waiting) -> None:
        """Settle the slot again on its late readings, and pay the difference in an entry of its own."""
        p = self._p
        assert self._addresses is not None
        addresses, oracles = self._addresses, p.terms.oracles
        revision = self._recorder.state.revisions.get(w.slot, 0) + 1
        readings, refused, votes = p.path.correct(w.slot, revision, addresses)
        if sum(refused.values()) == len(w.late):
            return  # nothing that may correct came: the slot stands on its substitutes
        metered = readings.import_wh, readings.export_wh
        again = settle_slot(p.terms, self._layout, w.slot, w.item_micro, w.orders, w.clearing, *metered, w.on_wires)
        trades = trades_of(w.slot, again.settled.bought_wh, again.settled.sold_wh, w.clearing.price_micro_per_kwh)
        cash, energy = again.cash_nano - w.settled.cash_nano, again.energy_wh - w.settled.energy_wh
        self._top_up(w.at, cash)
        root = readings.salted_tree(p.leaf_secrets).root

        def holds(vote: Vote) -> bool:
            digest = correction_digest(addresses.chain_id, addresses.settlement, vote.slot, revision, vote.root)
            return recover_address(digest, vote.signature) == oracles[vote.oracle]

        def decide() -> Decision:
            word = attested(w.slot, root, oracles, p.terms.quorum, votes, holds, w.at)
            header = Header(root, trades.tree().root, bytes.fromhex(self._recorder.head))
            signatures = bytes.fromhex(word["signatures"])
            difference = SlotSettlement(w.slot, header, difference_positions(cash, energy), signatures)
            return {
                **word,
                "slot": w.slot,
                "revision": revision,
                "admitted": int((readings.quality <= MAX_DEVICE_QUALITY).sum()),
                "refused": {reason.name.lower(): count for reason, count in refused.items()},
                "import_wh": readings.import_wh.tolist(),
                "export_wh": readings.export_wh.tolist(),
                "cash_nano": cash.tolist(),
                "energy_wh": energy.tolist(),
                "trades": int(trades.buyer.size),
                "trades_root": header.trades_root.hex(),
                "journal_head": header.journal_head.hex(),
                "transactions": [{"raw": correction_transaction(addresses, self._operator, difference).hex(), "time": w.at}],
            }, admitted_private(w.late, p.meters.registry, readings, p.leaf_secrets)

        corrected = self._recorder.step(SLOT_CORRECTED, None, decide)
        if (corrected.public["slot"], corrected.public["root"]) != (w.slot, root.hex()):
            raise JournalError(f"slot {w.slot}: the late readings do not have the root recorded", thing=corrected.seq)
        self._days.note(readings)
        self._send(corrected, f"correction of slot {w.slot}")
        self._operator = replace(self._operator, nonce=self._operator.nonce + 1)

    def _dispatched(self, slot: int, orders: Orders, clearing: Clearing) -> Felt:
        return self._p.trading.dispatched(slot, self._soc, positions_of(orders, clearing, self._p.terms.members))

    def _limits(
        self, slot: int, orders: Orders, clearing: Clearing, at: Callable[[EventKind, Callable[[], Decision]], Entry]
    ) -> WiresSlot | None:
        """Clear what members are about to do on the wires, where the terms have any."""
        p = self._p
        if p.terms.wires is None:
            return None

        def decide() -> Decision:
            done = self._dispatched(slot, orders, clearing)
            return wires_slot_to_public(p.trading.on_wires(p.terms, slot, self._soc, done, orders, clearing)), None

        sold = positions_of(orders, clearing, p.terms.members).sold_wh
        public = at(EventKind.CURTAILED, decide).public
        return wires_slot_from_public(p.terms, public, sold, clearing, orders, p.trading.item_micro(slot))

    def _clear(self, mechanism: Mechanism, orders: Orders) -> Clearing:
        extra = extra_for(mechanism, orders)
        return run_mechanism(mechanism, orders, self._p.terms.conventions, self._p.trading.network, extra)

    def _meter(
        self, slot: int, net_wh: Int64, transformer_w: int, at: Callable[[EventKind, Callable[[], Decision]], Entry]
    ) -> tuple[SlotReadings, Entry, tuple[bytes, ...]]:
        """Sign, admit by each oracle, close the slot, vote; the readings of the slot, the attestation, and what came too late."""
        p = self._p
        counter, devices = slot - p.terms.first + 1, p.terms.members
        delayed = late_devices(p.seed, slot, devices, p.community.metering.late_percent)
        batch: list[bytes] = []

        def signed() -> list[bytes]:
            if not batch:
                batch.extend(p.meters.sign(slot, counter, net_wh))
            return batch

        due = p.community.grid.end(slot) + timedelta(seconds=p.terms.metering_deadline_s)
        outcome: list[SlotReadings] = []

        def gather() -> Decision:
            on_time = [encoded for device, encoded in enumerate(signed()) if device not in delayed]
            feeder = p.meters.sign_feeder(slot, counter, round(transformer_w * p.community.grid.hours))
            readings, refused, check = p.path.take(slot, [*on_time, feeder])
            outcome.append(readings)
            public = {
                "root": readings.salted_tree(p.leaf_secrets).root.hex(),
                "devices": devices,
                "admitted": devices - int((readings.quality > MAX_DEVICE_QUALITY).sum()),
                "refused": {reason.name.lower(): count for reason, count in refused.items()},
                "feeder": feeder.hex(),
                "balance_wh": None if check is None else [check.residual_wh, check.tolerance_wh],
            }
            return public, admitted_private(on_time, p.meters.registry, readings, p.leaf_secrets)

        admitted = at(EventKind.READINGS_ADMITTED, gather)
        if not outcome:
            outcome.append(closed_readings(slot, admitted))
            p.path.taken_before(slot, sent_batch(admitted), outcome[0])
        root = outcome[0].salted_tree(p.leaf_secrets).root
        if root.hex() != admitted.public["root"]:
            raise JournalError(f"slot {slot}: the readings kept do not have the root recorded", thing=admitted.seq)
        assert self._addresses is not None
        chain_id, contract = self._addresses.chain_id, self._addresses.settlement
        addresses = p.terms.oracles

        def holds(vote: Vote) -> bool:
            digest = attestation_digest(chain_id, contract, vote.slot, vote.root)
            return recover_address(digest, vote.signature) == addresses[vote.oracle]

        def attest() -> Decision:
            assert self._addresses is not None
            votes = p.path.votes(slot, root, self._addresses)
            return attested(slot, root, addresses, p.terms.quorum, votes, holds, int(due.timestamp())), None

        late = tuple(signed()[device] for device in sorted(delayed))
        word = at(EventKind.ATTESTED, attest)
        if late:
            (p.path.late_before if self._recorder.replaying else p.path.late)(slot, late)
        return outcome[0], word, late

    def _top_up(self, time: int, cash_nano: Int64) -> None:
        """Before an account could fall below zero, its owner pays in again, at the Unix time `time`."""
        p = self._p
        short = np.flatnonzero(self._recorder.state.escrow_nano - cash_nano < 0)
        if not short.size:
            return
        nano = np.zeros(p.terms.accounts, dtype=np.int64)
        missing = cash_nano[short] - self._recorder.state.escrow_nano[short]
        nano[short] = -(-missing // ESCROW_NANO) * ESCROW_NANO
        assert self._addresses is not None
        units = (nano[short] // NANO_PER_TOKEN_UNIT).tolist()
        raws = top_up_transactions(self._addresses, self._operator, short.tolist(), units)
        public = {"nano": nano.tolist(), "transactions": [{"raw": raw.hex(), "time": time} for raw in raws]}
        self._send(self._recorder.step(ESCROW_PAID, None, lambda: (public, None)), "deposit")
        self._operator = replace(self._operator, nonce=self._operator.nonce + len(raws))

    def _send(self, entry: Entry, what: str) -> list[Receipt]:
        """Send what the entry recorded: a restart thus rebuilds the embedded chain; on a node nothing is done twice."""
        return [
            require_accepted(self._p.chain.send(bytes.fromhex(t["raw"]), timestamp=t["time"]), what)
            for t in entry.public["transactions"]
        ]

    def _salt(self, slot: int, order: int) -> bytes:
        return hashlib.sha256(b"order salt" + self._p.seed + slot.to_bytes(8, "big") + order.to_bytes(8, "big")).digest()
