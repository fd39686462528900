"""Oracles: each checks the readings for itself and votes on their root; a quorum of equal votes attests it.

`receive` and `close` are one oracle's work on a slot: its own admission of the batches, its own root. A vote is the
root under the oracle's signature; how that is made and checked comes in as functions (on the chain it is an EIP-712
signature over chain id, contract, slot and root; `ledger` has it), so the rule here is pure:

- a vote counts if its signature holds and its oracle is one of the appointed; the same vote twice counts once;
- an oracle with valid votes for two different roots of one slot has equivocated: it counts for neither, and the two votes are
  proof enough against it, for anyone, for ever;
- `threshold` votes for one root attest it. The threshold is more than half of the appointed, so no two roots can both have it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from walras.errors import Fault, InputError
from walras.metering.admission import (
    AdmissionState,
    Admitted,
    Refused,
    Registry,
    Rules,
    admit,
    initial_state,
    joined,
)
from walras.metering.slot_readings import SlotReadings, close_slot
from walras.units import Int64

Signer = Callable[[int, bytes], bytes]
"""(slot, root) -> signature of one oracle."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One oracle's word that the readings of `slot` have this root."""

    oracle: int
    slot: int
    root: bytes
    signature: bytes


Checker = Callable[[Vote], bool]
"""True when the vote's signature is by the vote's oracle over its slot and root."""


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two votes of one oracle for different roots of one slot."""

    oracle: int
    slot: int
    first: Vote
    second: Vote


@dataclass(frozen=True, slots=True)
class Attestation:
    """A root with the votes that attest it, ascending by oracle; at least `threshold` of them."""

    slot: int
    root: bytes
    votes: tuple[Vote, ...]
    equivocations: tuple[Equivocation, ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """No root has the threshold: who voted for which, whose votes did not count, who equivocated."""

    slot: int
    tally: tuple[tuple[bytes, tuple[int, ...]], ...]
    discarded: tuple[Vote, ...]
    equivocations: tuple[Equivocation, ...]


@dataclass(frozen=True, slots=True)
class OracleState:
    """What one oracle remembers: its own admission, and the admitted readings of slots that are not closed yet."""

    admission: AdmissionState
    pending: Admitted


def initial_oracle(registry: Registry) -> OracleState:
    """An oracle that has seen nothing."""
    return OracleState(initial_state(len(registry.keys)), joined([]))


def receive(
    state: OracleState,
    registry: Registry,
    rules: Rules,
    batch: Sequence[bytes],
    now: datetime,
    pool: Executor | None = None,
) -> tuple[OracleState, Refused]:
    """The oracle's own admission of a batch, every signature verified; `pool` (threads) spreads the verification."""
    admission, admitted, refused = admit(state.admission, registry, rules, batch, now, pool)
    return OracleState(admission, joined([state.pending, admitted])), refused


def close(
    state: OracleState, registry: Registry, slot: int, substitutes: tuple[Int64, Int64, Int64]
) -> tuple[OracleState, SlotReadings]:
    """At the metering deadline of `slot`: its readings, missing ones by `substitutes` (import, export, quality [devices])."""
    of_slot = state.pending.slot == slot
    readings = close_slot(registry, slot, state.pending.where(of_slot), *substitutes)
    return OracleState(state.admission, state.pending.where(~of_slot)), readings


def own_digest(oracle: int, slot: int, leaves: Sequence[bytes]) -> bytes:
    """What an oracle publishes beside its vote to show that it holds the readings, and not only another oracle's root.

    SHA-256 over the oracle's number, the slot and every leaf with its length. Any honest oracle can check it; nobody
    can make it, for their own number, from a root or from another's digest. It shows possession, not that the
    signatures were verified.
    """
    digest = sha256(b"walras own digest" + oracle.to_bytes(8, "big") + slot.to_bytes(8, "big"))
    for leaf in leaves:
        digest.update(len(leaf).to_bytes(8, "big") + leaf)
    return digest.digest()


def cast_vote(oracle: int, slot: int, root: bytes, sign: Signer) -> Vote:
    """The vote of `oracle` for `root`, signed."""
    return Vote(oracle, slot, root, sign(slot, root))


def quorum(
    votes: Sequence[Vote], slot: int, appointed: Collection[int], threshold: int, holds: Checker
) -> Attestation | Disagreement:
    """Whether `threshold` of the `appointed` oracles attest one root of `slot`. The order of the votes does not matter.

    InputError if the threshold is not more than half of the appointed and at most all.
    """
    if not len(appointed) < 2 * threshold <= 2 * len(appointed):
        expected = f"more than half of {len(appointed)} oracles and at most all"
        raise InputError("oracle quorum", [Fault(f"slot {slot}", "threshold", threshold, expected)])
    counted: dict[int, list[Vote]] = {}
    discarded = []
    for vote in sorted(votes, key=lambda v: (v.oracle, v.slot, v.root, v.signature)):
        if vote.slot != slot or vote.oracle not in appointed or not holds(vote):
            discarded.append(vote)
        elif all(vote.root != other.root for other in counted.setdefault(vote.oracle, [])):
            counted[vote.oracle].append(vote)
    equivocations = tuple(Equivocation(oracle, slot, given[0], given[1]) for oracle, given in counted.items() if len(given) > 1)
    by_root: dict[bytes, list[Vote]] = {}
    for given in counted.values():
        if len(given) == 1:
            by_root.setdefault(given[0].root, []).append(given[0])
    for root, agreeing in by_root.items():
        if len(agreeing) >= threshold:
            return Attestation(slot, root, tuple(agreeing), equivocations)
    tally = tuple((root, tuple(vote.oracle for vote in by_root[root])) for root in sorted(by_root))
    return Disagreement(slot, tally, tuple(discarded), equivocations)


def proves_equivocation(evidence: Equivocation, holds: Checker) -> bool:
    """True when the evidence convicts: same oracle, same slot, different roots, both signatures hold."""
    first, second = evidence.first, evidence.second
    return (
        first.oracle == second.oracle == evidence.oracle
        and first.slot == second.slot == evidence.slot
        and first.root != second.root
        and holds(first)
        and holds(second)
    )
