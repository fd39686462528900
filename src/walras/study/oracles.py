"""The way of a slot's readings from the meters to the oracles' votes: what a run needs of it, and the one inside this process.

Whatever the way is, oracles admit for themselves and vote for themselves; the run takes what a quorum closed. `InProcess` holds all
oracles in this process, for replays; `service.remote_metering` reaches a gateway and oracles that are processes of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from walras.community.model import Community
from walras.errors import MeteringError
from walras.exchange.acts import Act
from walras.exchange.batching import BatchSlot, MadeBatch, batch_digest, make_run_batch, settled_again
from walras.exchange.parts import Delays
from walras.exchange.terms import Terms
from walras.ledger import LedgerAddresses, LedgerKeys, correction_digest, days_digest, sign_attestation
from walras.ledger.calls import Contract
from walras.metering import (
    NO_FORECAST,
    OracleState,
    Refusal,
    Registry,
    Rules,
    SlotReadings,
    SubstituteRule,
    Vote,
    cast_vote,
    close,
    corrected_by_late_reading,
    initial_oracle,
    receive,
    substitutes,
)
from walras.metering.admission import AdmissionState, Refused, forget_devices, revoke, standing_of, truly_signed
from walras.metering.editing import Ordered, edited_slot, judge_edit
from walras.metering.feeder import Feeder, FeederCheck, check_feeder, split_batch, transformer_net_wh
from walras.metering.identity import PublicKey
from walras.metering.meter_exchange import Generations, changed_rows, with_old_energy
from walras.metering.parcel_reading import leaf_of, split_item
from walras.metering.reading import KEY_ID, MAX_DEVICE_QUALITY, Quality
from walras.study.chain_identifiers import ChainIdentifiers

KEPT_DAYS = 15
"""How long closed readings are remembered as a source of substitutes."""

Counts = dict[Refusal, int]
Closed = tuple[SlotReadings, Counts, FeederCheck | None, Delays]
"""A slot as a quorum of oracles closed it, refusals by reason, the feeder's balance where its meter spoke; when each was heard."""

Corrected = tuple[SlotReadings, Counts, list[Vote], Delays, FeederCheck | None]
"""A slot after its late readings, refusals by reason, the oracles' votes on the new root; when each was heard; the balance then."""


def usual_delay_s(community: Community) -> int:
    """Seconds after the end of a slot at which a replay hands on what meters with a true clock sent.

    A replay goes slot by slot: a reading comes when its slot has ended and the slot before has been closed.
    """
    return max(0, 60 * (community.gates.metering_deadline_minutes - community.grid.minutes))


def added(counts: Counts, more: Counts) -> Counts:
    """Both together, in the order of the checks."""
    return {reason: counts.get(reason, 0) + more.get(reason, 0) for reason in sorted({*counts, *more})}


class MeteringPath(Protocol):
    """From the meters of a slot to the votes on its root. All calls for a slot come in this order, slots ascending."""

    def take(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> Closed:
        """Hand the meters' readings on, each so long after the end of the slot, the transformer's among them.

        MeteringError where no quorum of oracles agrees.
        """

    def taken_before(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int], readings: SlotReadings) -> None:
        """Instead of `take` where the journal has the slot already: nothing is handed on, only remembered."""

    def votes(self, slot: int, root: bytes, addresses: LedgerAddresses) -> list[Vote]:
        """The oracles' votes on the slot, for whatever root each holds right."""

    def sign_batch(self, slots: Sequence[BatchSlot], made: MadeBatch, contract: Contract) -> list[tuple[str, bytes]]:
        """The oracles' signatures, by address, that a batch of settled slots may be posted with: over its facts, or over all of it
        where they answer for the data."""

    def day_votes(
        self, readings: Sequence[SlotReadings], salts: Sequence[bytes], root: bytes, addresses: LedgerAddresses
    ) -> list[Vote]:
        """The oracles' votes on the commitments to the days of `readings`, slots ascending; `salts` [members], `root` the run's."""

    def late(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> None:
        """Hand on what comes of a slot after its deadline, while disputes of it are heard."""

    def late_before(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> None:
        """Instead of `late` where the journal goes on behind it: nothing is handed on, only remembered."""

    def corrected_before(self, slot: int, leaves: Sequence[bytes]) -> None:
        """Where the journal goes on behind a slot's correction: the leaves that it recorded; none where it was not corrected."""

    def correct(self, slot: int, revision: int, addresses: LedgerAddresses, edits: Sequence[bytes]) -> Corrected:
        """When disputes are over: the slot after what came late, then after its edits; and the oracles' votes on that revision."""

    def exchange(self, statement: str) -> None:
        """A meter was exchanged, by the operator's statement. MeteringError where it does not follow."""

    def acts(self) -> list[Act]:
        """What others asked of the nodes on the way, for the record, when the run is over."""


class InProcess:
    """All oracles in this process: each has its own state, verifies every signature, and signs with its own key."""

    def __init__(
        self,
        community: Community,
        terms: Terms,
        generations: Generations,
        feeder: Feeder,
        keys: LedgerKeys,
        secrets: Sequence[bytes],
        operator: PublicKey,
        pool: Executor | None = None,
        identifiers: ChainIdentifiers | None = None,
    ) -> None:
        """`operator` issues the credentials of who may edit; `identifiers` say whose key speaks."""
        self._terms, self._generations, self._feeder = terms, generations, feeder
        self._keys, self._secrets, self._operator, self._pool = keys, secrets, operator, pool
        self._identifiers, self._revoked = identifiers, frozenset[bytes]()
        self._rules = Rules(community.grid, deadline=timedelta(seconds=terms.metering_deadline_s))
        self._oracles: list[OracleState] = [initial_oracle(generations.at(0)) for _ in terms.oracles]
        self._history: dict[int, SlotReadings] = {}
        self._late: dict[int, tuple[tuple[bytes, int], ...]] = {}
        self._late_refused: dict[int, Counts] = {}
        self._unjudged: set[int] = set()
        self._heard: dict[tuple[int, int], int] = {}
        self._through: dict[int, int] = {}

    def take(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> Closed:
        """As `MeteringPath.take`."""
        self._revoked = self._silent()
        return self._take(slot, batch, after_s)

    def _take(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> Closed:
        homes, transformer = split_batch(self._feeder, batch)
        grid = self._rules.grid
        after = dict(zip(batch, after_s, strict=True))
        arrivals = [(delay, [one for one in homes if after[one] == delay]) for delay in sorted({after[one] for one in homes})]
        registry = self._registry_in(slot)
        none = np.full(self._terms.members, NO_FORECAST, dtype=np.int64)
        fill = substitutes(grid, slot, self._history, none, none, SubstituteRule())
        states, closed = [], []
        counts: Counts = {}
        for oracle in self._oracles:
            state, counts = replace(oracle, admission=self._standing(oracle.admission, registry)), {}
            for delay, arrived in arrivals:
                now = grid.end(slot) + timedelta(seconds=delay)
                state, refused = receive(state, registry, self._rules, arrived, now, self._pool)
                counts = added(counts, refused.counts())
                self._note_heard(registry, arrived, refused, now)
            state, readings = close(state, registry, slot, fill)
            states.append(state)
            closed.append(with_old_energy(self._generations, readings))
        self._oracles = states
        if len({readings.salted_tree(self._secrets).root for readings in closed}) != 1:
            raise MeteringError(f"slot {slot}: the oracles disagree on the readings", thing=slot)
        self._history[slot] = closed[0]
        for kept in (self._history, self._through):
            kept.pop(slot - KEPT_DAYS * 24 * 60 // grid.minutes, None)
        through = transformer_net_wh(self._feeder, self._rules, slot, transformer)
        if through is not None:
            self._through[slot] = through
        return closed[0], counts, self._balance(closed[0]), self._delays(slot)

    def _balance(self, readings: SlotReadings) -> FeederCheck | None:
        through = self._through.get(readings.slot)
        return None if through is None else check_feeder(self._feeder, self._rules.grid, readings, through)

    def exchange(self, statement: str) -> None:
        """The oracles hear of it together."""
        self._generations = self._generations.after(statement)

    def _registry_in(self, slot: int) -> Registry:
        """The registry of the slot that is taken now; of a meter hung in it nothing was admitted yet."""
        registry = self._generations.at(slot)
        new = changed_rows(self._generations.at(slot - 1), registry)
        if new:
            self._oracles = [replace(o, admission=forget_devices(o.admission, new)) for o in self._oracles]
        return registry

    def _silent(self) -> frozenset[bytes]:
        """The keys that do not speak for their identifiers now."""
        return frozenset(() if self._identifiers is None else self._identifiers.silent(self._generations.registries))

    def _standing(self, admission: AdmissionState, registry: Registry) -> AdmissionState:
        """Who is revoked now, and nobody else."""
        none = replace(admission, revoked=np.zeros_like(admission.revoked))
        return revoke(none, [registry.index[kid] for kid in self._revoked if kid in registry.index])

    def _note_heard(self, registry: Registry, arrived: Sequence[bytes], refused: Refused, now: datetime) -> None:
        """When each device was first heard of a slot, by what it truly signed."""
        for row in truly_signed(len(arrived), refused):
            fields = split_item(arrived[row])
            assert fields is not None
            end = self._rules.grid.end(fields[1])
            self._heard.setdefault((fields[1], registry.index[fields[0]]), round((now - end).total_seconds()))

    def _delays(self, slot: int) -> Delays:
        return [self._heard.pop((slot, device), None) for device in range(self._terms.members)]

    def taken_before(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int], readings: SlotReadings) -> None:
        """The oracles admit it again, so that they are where they were: who was not heard of the slot then is not heard now."""
        if self._identifiers is not None:
            marked = [MAX_DEVICE_QUALITY < quality < Quality.EDITED for quality in readings.quality.tolist()]
            self._revoked = frozenset(kid for kid, row in self._generations.at(slot).index.items() if marked[row])
        again, _, _, _ = self._take(slot, batch, after_s)
        if again.leaves != readings.leaves:
            raise MeteringError(f"slot {slot}: the readings kept do not close to what was recorded", thing=slot)

    def votes(self, slot: int, root: bytes, addresses: LedgerAddresses) -> list[Vote]:
        """Every oracle has seen the same readings, so all votes are for `root`."""

        def vote(oracle: int) -> Vote:
            key = self._keys.oracle(oracle)
            return cast_vote(
                oracle,
                slot,
                root,
                lambda s, r: sign_attestation(key, addresses.chain_id, addresses.settlement, s, r)[1],
            )

        return [vote(oracle) for oracle in range(len(self._terms.oracles))]

    def sign_batch(self, slots: Sequence[BatchSlot], made: MadeBatch, contract: Contract) -> list[tuple[str, bytes]]:
        """Every slot settled again on the readings that the oracles hold: they sign what that comes to, and nothing else."""
        layout = self._terms.layout()
        held = [self._history[s.slot] for s in slots]
        again = [settled_again(self._terms, layout, s, h.import_wh, h.export_wh) for s, h in zip(slots, held, strict=True)]
        own = make_run_batch(self._terms, made.before, again, made.batch.journal_head)
        if own.batch != made.batch:
            raise MeteringError(f"batch from slot {made.batch.first_slot}: the oracles come to another one", thing=made.batch)
        digest = batch_digest(self._terms, own, contract)
        keys = [self._keys.oracle(oracle) for oracle in range(len(self._terms.oracles))]
        return [(key.address, key.sign_digest(digest)) for key in keys]

    def day_votes(
        self, readings: Sequence[SlotReadings], salts: Sequence[bytes], root: bytes, addresses: LedgerAddresses
    ) -> list[Vote]:
        """All oracles hold the same readings: that the given ones are those is checked, `root` was made of them in this process."""
        other = [given.slot for given in readings if self._history[given.slot].leaves != given.leaves]
        if other:
            raise MeteringError(f"slots {other}: the oracles hold other readings than the days to commit to", thing=other)
        first, chain_id, contract = readings[0].slot, addresses.chain_id, addresses.settlement
        digest = days_digest(chain_id, contract, first, len(readings), root)
        return [Vote(n, first, root, self._keys.oracle(n).sign_digest(digest)) for n in range(len(self._terms.oracles))]

    def acts(self) -> list[Act]:
        """Nobody else can ask these oracles for anything."""
        return []

    def late(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> None:
        """Kept until disputes are over, but what a key says late that does not count when it comes."""
        gone, registry, end_s = self._silent(), self._generations.at(slot), int(self._rules.grid.end(slot).timestamp())
        kept: list[tuple[bytes, int]] = []
        refused: Counts = {}
        for encoded, delay in zip(batch, after_s, strict=True):
            why = standing_of(registry, encoded[KEY_ID], end_s + delay, gone)
            if why is None:
                kept.append((encoded, delay))
            else:
                refused = added(refused, {why: 1})
        self._late[slot], self._late_refused[slot] = tuple(kept), refused

    def late_before(self, slot: int, batch: Sequence[bytes], after_s: Sequence[int]) -> None:
        """All of it: what counted is in the record of the correction (`corrected_before`), or is judged when that is due."""
        self._late[slot] = tuple(zip(batch, after_s, strict=True))
        self._unjudged.add(slot)

    def corrected_before(self, slot: int, leaves: Sequence[bytes]) -> None:
        """Of what came late, what is recorded to have counted; whose key spoke then does not change by what it does now."""
        if self._identifiers is not None and slot in self._unjudged:
            self._unjudged.discard(slot)
            self._late[slot] = tuple(one for one in self._late[slot] if leaf_of(one[0]) in leaves)

    def correct(self, slot: int, revision: int, addresses: LedgerAddresses, edits: Sequence[bytes]) -> Corrected:
        """Every oracle verifies each late reading and edit for itself; what replaces a substitute is a source of later ones."""
        if slot in self._unjudged:
            self._unjudged.discard(slot)
            self.late(slot, *zip(*self._late[slot], strict=True))
        late, registry = self._late.pop(slot, ()), self._generations.at(slot)
        votes, closed = [], []
        came_to_nothing = self._late_refused.pop(slot, {})
        counts: Counts = {}
        for oracle in range(len(self._terms.oracles)):
            readings, counts = self._history[slot], dict(came_to_nothing)
            for encoded, _ in late:
                after = corrected_by_late_reading(registry, readings, encoded)
                if isinstance(after, Refusal):
                    counts[after] = counts.get(after, 0) + 1
                else:
                    readings = after
            judged = [judge_edit(edit, self._operator, addresses.settlement, self._terms.members) for edit in edits]
            readings = with_old_energy(self._generations, readings)
            readings = edited_slot(registry, readings, [edit for edit in judged if isinstance(edit, Ordered)])
            closed.append(readings)
            votes.append(self._vote_on_correction(oracle, slot, revision, readings, addresses))
        self._history[slot] = closed[0]
        fields = [(split_item(encoded), delay) for encoded, delay in late]
        heard = {registry.index.get(one[0]): delay for one, delay in fields if one is not None}
        return closed[0], counts, votes, [heard.get(device) for device in range(self._terms.members)], self._balance(closed[0])

    def _vote_on_correction(
        self, oracle: int, slot: int, revision: int, readings: SlotReadings, addresses: LedgerAddresses
    ) -> Vote:
        key, chain_id, contract = self._keys.oracle(oracle), addresses.chain_id, addresses.settlement
        root = readings.salted_tree(self._secrets).root
        return cast_vote(oracle, slot, root, lambda s, r: key.sign_digest(correction_digest(chain_id, contract, s, revision, r)))
