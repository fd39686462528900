"""Laws of the oracles: honest ones agree in any order of arrival; no two roots are ever attested; liars convict themselves."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_world import GRID, KEYS, RULES, SEED, after, registry, slot_batch
from walras.errors import InputError
from walras.metering.identity import derive_key, sign, verify
from walras.metering.merkle import KECCAK_SORTED, verify_inclusion
from walras.metering.oracle import (
    Attestation,
    Disagreement,
    Equivocation,
    Vote,
    cast_vote,
    close,
    initial_oracle,
    proves_equivocation,
    quorum,
    receive,
)
from walras.metering.reading import Quality, sign_reading
from walras.metering.slot_readings import close_slot, encode_substitute
from walras.metering.strict_cbor import loads_strict
from walras.metering.substitute import NO_FORECAST, SubstituteRule, substitutes

REGISTRY = registry()
SLOT = 700
APPOINTED = range(4)
ORACLE_KEYS = [derive_key(SEED, f"oracle-{row}") for row in APPOINTED]
ROOTS = [bytes([number]) * 32 for number in range(3)]


def message(slot: int, root: bytes) -> bytes:
    return b"vote" + slot.to_bytes(8, "big") + root


def vote(oracle: int, root: bytes, slot: int = SLOT) -> Vote:
    return cast_vote(oracle, slot, root, lambda s, r: sign(ORACLE_KEYS[oracle], message(s, r)))


def holds(given_vote: Vote) -> bool:
    key = ORACLE_KEYS[given_vote.oracle].public_key()
    return verify(key, given_vote.signature, message(given_vote.slot, given_vote.root))


ALL_VOTES = {(oracle, root): vote(oracle, root) for oracle in APPOINTED for root in ROOTS}
votes_lists = st.lists(st.sampled_from(sorted(ALL_VOTES)).map(ALL_VOTES.__getitem__), max_size=10)
NONE = (np.full(5, NO_FORECAST), np.full(5, NO_FORECAST))


@settings(max_examples=60, deadline=None)
@given(votes_lists, st.randoms(use_true_random=False))
def test_the_verdict_does_not_depend_on_the_order_or_repetition_of_votes(votes: list[Vote], chance: random.Random) -> None:
    shuffled = votes * 2
    chance.shuffle(shuffled)
    assert quorum(votes, SLOT, APPOINTED, 3, holds) == quorum(shuffled, SLOT, APPOINTED, 3, holds)


@settings(max_examples=60, deadline=None)
@given(votes_lists)
def test_a_root_is_attested_exactly_when_three_of_four_gave_it_and_it_alone(votes: list[Vote]) -> None:
    given_by = {oracle: {v.root for v in votes if v.oracle == oracle} for oracle in APPOINTED}
    count = {root: sum(given_by[oracle] == {root} for oracle in APPOINTED) for root in ROOTS}
    verdict = quorum(votes, SLOT, APPOINTED, 3, holds)
    if isinstance(verdict, Attestation):
        assert count[verdict.root] >= 3
        assert len({v.oracle for v in verdict.votes}) == len(verdict.votes) >= 3
    else:
        assert max(count.values()) < 3
    assert {e.oracle for e in verdict.equivocations} == {o for o in APPOINTED if len(given_by[o]) > 1}
    assert all(proves_equivocation(evidence, holds) for evidence in verdict.equivocations)


def test_a_lone_liar_changes_nothing_and_a_minority_in_collusion_neither() -> None:
    honest = [vote(oracle, ROOTS[0]) for oracle in (0, 1, 2)]
    verdict = quorum([*honest, vote(3, ROOTS[1])], SLOT, APPOINTED, 3, holds)
    assert isinstance(verdict, Attestation)
    assert verdict.root == ROOTS[0]
    torn = quorum([vote(0, ROOTS[0]), vote(1, ROOTS[0]), vote(2, ROOTS[1]), vote(3, ROOTS[1])], SLOT, APPOINTED, 3, holds)
    assert torn == Disagreement(SLOT, ((ROOTS[0], (0, 1)), (ROOTS[1], (2, 3))), (), ())


def test_votes_forged_for_another_slot_or_by_a_stranger_are_discarded_by_name() -> None:
    forged = Vote(2, SLOT, ROOTS[0], vote(1, ROOTS[0]).signature)
    other_slot = vote(3, ROOTS[0], SLOT + 1)
    stranger = Vote(9, SLOT, ROOTS[0], vote(1, ROOTS[0]).signature)
    verdict = quorum([vote(0, ROOTS[0]), vote(1, ROOTS[0]), forged, other_slot, stranger], SLOT, APPOINTED, 3, holds)
    assert isinstance(verdict, Disagreement)
    assert set(verdict.discarded) == {forged, other_slot, stranger}


def test_evidence_of_equivocation_convicts_only_the_guilty() -> None:
    first, second = vote(1, ROOTS[0]), vote(1, ROOTS[1])
    assert proves_equivocation(Equivocation(1, SLOT, first, second), holds)
    assert not proves_equivocation(Equivocation(1, SLOT, first, first), holds)
    assert not proves_equivocation(Equivocation(0, SLOT, first, second), holds)
    assert not proves_equivocation(Equivocation(1, SLOT, first, vote(1, ROOTS[1], SLOT + 1)), holds)
    assert not proves_equivocation(Equivocation(1, SLOT, first, Vote(1, SLOT, ROOTS[1], first.signature)), holds)


@pytest.mark.parametrize("threshold", [0, 2, 5])
def test_a_threshold_that_two_roots_could_both_reach_is_refused(threshold: int) -> None:
    with pytest.raises(InputError, match="more than half"):
        quorum([], SLOT, APPOINTED, threshold, holds)


def substitutes_of(slot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return substitutes(GRID, slot, {}, *NONE, SubstituteRule())


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.sets(st.integers(0, 4)), st.integers(1, 3))
def test_honest_oracles_find_the_same_root_whatever_the_order_and_the_parcels(
    chance: random.Random, lost: set[int], parcels: int
) -> None:
    batch = [encoded for row, encoded in enumerate(slot_batch(SLOT, 1)) if row not in lost]
    roots = set()
    for _ in range(2):
        arrived = list(batch)
        chance.shuffle(arrived)
        oracle = initial_oracle(REGISTRY)
        for parcel in range(parcels):
            oracle, refused = receive(oracle, REGISTRY, RULES, arrived[parcel::parcels], after(SLOT))
            assert refused.row.size == 0
        oracle, readings = close(oracle, REGISTRY, SLOT, substitutes_of(SLOT))
        roots.add(readings.tree().root)
        assert oracle.pending.row.size == 0
        assert (readings.quality >= 16).nonzero()[0].tolist() == sorted(lost)
    assert len(roots) == 1


def test_readings_of_other_slots_wait_for_their_own_close() -> None:
    oracle = initial_oracle(REGISTRY)
    oracle, _ = receive(oracle, REGISTRY, RULES, slot_batch(SLOT, 1) + slot_batch(SLOT + 1, 2), after(SLOT + 1))
    oracle, first = close(oracle, REGISTRY, SLOT, substitutes_of(SLOT))
    oracle, second = close(oracle, REGISTRY, SLOT + 1, substitutes_of(SLOT + 1))
    assert first.leaves == tuple(slot_batch(SLOT, 1))
    assert second.leaves == tuple(slot_batch(SLOT + 1, 2))


def test_each_member_can_be_shown_the_leaf_they_are_billed_by() -> None:
    oracle, _ = receive(initial_oracle(REGISTRY), REGISTRY, RULES, slot_batch(SLOT, 1)[:4], after(SLOT))
    _, readings = close(oracle, REGISTRY, SLOT, substitutes_of(SLOT))
    for scheme_tree in (readings.tree(), readings.tree(KECCAK_SORTED)):
        for device, leaf in enumerate(readings.leaves):
            assert verify_inclusion(leaf, scheme_tree.proof(device), scheme_tree.root, scheme_tree.scheme)
    body = loads_strict(readings.leaves[4])
    assert isinstance(body, list)
    assert body[1] == {1: SLOT, 2: 0, 3: 0, 4: 0, 5: int(Quality.SUBSTITUTE_ZERO)}
    assert readings.net_wh.tolist() == [300, 300, 300, 300, 0]


def test_a_substitute_leaf_can_never_be_a_signed_reading() -> None:
    substitute = encode_substitute(b"k" * 16, SLOT, 1, 2, 16)
    assert substitute[0] != sign_reading(KEYS[0], SLOT, 1, 2, 1)[0]
    assert loads_strict(substitute) == [b"k" * 16, {1: SLOT, 2: 1, 3: 2, 4: 0, 5: 16}]


def test_unmarked_substitutes_are_refused_with_all_faults() -> None:
    oracle, _ = receive(initial_oracle(REGISTRY), REGISTRY, RULES, slot_batch(SLOT, 1)[:3], after(SLOT))
    zero = np.zeros(5, dtype=np.int64)
    with pytest.raises(InputError) as caught:
        close_slot(REGISTRY, SLOT, oracle.pending, zero, zero, zero)
    assert [fault.where for fault in caught.value.faults] == ["device 3", "device 4"]


def test_closing_a_slot_takes_that_slots_readings_alone() -> None:
    oracle, _ = receive(initial_oracle(REGISTRY), REGISTRY, RULES, slot_batch(SLOT, 1, import_wh=7), after(SLOT))
    oracle, _ = receive(oracle, REGISTRY, RULES, slot_batch(SLOT + 1, 2, devices=2, import_wh=9), after(SLOT + 1))
    later = close_slot(REGISTRY, SLOT + 1, oracle.pending, *substitutes_of(SLOT + 1))
    assert later.import_wh.tolist() == [9, 9, 0, 0, 0]
    assert later.quality.tolist() == [0, 0, 18, 18, 18]
    assert all(leaf[:2] == b"\x82\x50" for leaf in later.leaves[2:])
