"""The adversaries, by name: what each of them tries on the way from the meter to the attested root, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import numpy as np

from metering_world import GRID, KEYS, RULES, SEED, STRANGER, after, registry, slot_batch
from walras.metering import (
    NO_FORECAST,
    Attestation,
    Disagreement,
    OracleState,
    Quality,
    Refusal,
    SubstituteRule,
    Vote,
    admit,
    cast_vote,
    close,
    derive_key,
    empty_list,
    initial_oracle,
    initial_state,
    own_digest,
    proves_equivocation,
    quorum,
    receive,
    revoke,
    revoked_rows,
    sign_reading,
    substitutes,
    with_revoked,
)
from walras.metering.gateway import proves_two_contents, seal_batch
from walras.metering.identity import sign, verify
from walras.metering.slot_readings import SlotReadings

REGISTRY = registry()
SLOT = 700
ORACLES = [derive_key(SEED, f"oracle-{row}") for row in range(4)]


def vote_of(oracle: int, root: bytes) -> Vote:
    return cast_vote(oracle, SLOT, root, lambda slot, r: sign(ORACLES[oracle], slot.to_bytes(8, "big") + r))


def holds(vote: Vote) -> bool:
    key = ORACLES[vote.oracle].public_key()
    return verify(key, vote.signature, vote.slot.to_bytes(8, "big") + vote.root)


def seen_by(batch: list[bytes], state: OracleState | None = None) -> tuple[SlotReadings, dict[Refusal, int]]:
    start = initial_oracle(REGISTRY) if state is None else state
    oracle, refused = receive(start, REGISTRY, RULES, batch, after(SLOT))
    none = np.full(5, NO_FORECAST)
    return close(oracle, REGISTRY, SLOT, substitutes(GRID, SLOT, {}, none, none, SubstituteRule()))[1], refused.counts()


def test_a_withheld_reading_is_substituted_marked_and_cannot_be_slipped_in_later() -> None:
    readings, _ = seen_by(slot_batch(SLOT, 1)[1:])
    assert readings.quality.tolist() == [Quality.SUBSTITUTE_ZERO, 0, 0, 0, 0]
    held_back = slot_batch(SLOT, 1)[0]
    too_late = GRID.end(SLOT) + RULES.deadline + timedelta(seconds=1)
    _, admitted, refused = admit(initial_state(5), REGISTRY, RULES, [held_back], too_late)
    assert (admitted.row.size, refused.counts()) == (0, {Refusal.LATE: 1})


def test_a_backdated_reading_does_not_replace_an_earlier_one() -> None:
    before, _ = seen_by(slot_batch(SLOT, 1))
    wishful = sign_reading(KEYS[0], SLOT, 0, 2_000, 3)
    now, counts = seen_by([*slot_batch(SLOT, 1), sign_reading(KEYS[0], SLOT - 1, 0, 0, 2), wishful])
    assert now.leaves == before.leaves
    assert counts == {Refusal.BACKDATED: 1, Refusal.DUPLICATE: 1}


def test_a_meter_whose_clock_is_fast_is_refused_until_its_slot_has_really_ended() -> None:
    fast = sign_reading(KEYS[0], SLOT + 1, 300, 0, 2)
    assert seen_by([fast])[1] == {Refusal.EARLY: 1}
    ended = GRID.end(SLOT + 1) - RULES.clock_tolerance
    for moment, admitted in ((ended - timedelta(seconds=1), 0), (ended, 1)):
        state, taken, _ = admit(initial_state(5), REGISTRY, RULES, [fast], moment)
        assert (taken.row.size, int(state.last_counter[0])) == ((1, 2) if admitted else (0, -1))


def test_a_stolen_key_speaks_until_the_status_list_names_it_and_never_after() -> None:
    thief = [sign_reading(KEYS[0], SLOT, 0, 2_000, 1)]
    _, admitted, _ = admit(initial_state(5), REGISTRY, RULES, thief, after(SLOT))
    assert admitted.row.size == 1
    day, week = datetime(2016, 1, 8, tzinfo=UTC), datetime(2016, 1, 15, tzinfo=UTC)
    status = with_revoked(empty_list(day, week), [100], day, week)
    state = revoke(initial_state(5), revoked_rows(status, [100, 101, 102, 103, 104]))
    _, admitted, refused = admit(state, REGISTRY, RULES, [*thief, *slot_batch(SLOT, 1)[1:]], after(SLOT))
    assert admitted.device.tolist() == [1, 2, 3, 4]
    assert refused.counts() == {Refusal.REVOKED: 1}


def test_a_gateway_that_drops_for_one_oracle_only_shows_in_the_tally() -> None:
    whole, _ = seen_by(slot_batch(SLOT, 1))
    robbed, _ = seen_by(slot_batch(SLOT, 1)[1:])
    votes = [vote_of(oracle, whole.tree().root) for oracle in range(3)] + [vote_of(3, robbed.tree().root)]
    verdict = quorum(votes, SLOT, range(4), 3, holds)
    assert isinstance(verdict, Attestation)
    assert verdict.root == whole.tree().root
    assert [vote.oracle for vote in verdict.votes] == [0, 1, 2]


def test_a_gateway_that_changes_or_invents_readings_changes_no_root() -> None:
    honest = slot_batch(SLOT, 1)
    changed = honest[0][:30] + bytes([honest[0][30] ^ 1]) + honest[0][31:]
    readings, counts = seen_by([changed, sign_reading(STRANGER, SLOT, 0, 2_000, 1), *honest])
    assert readings.leaves == tuple(honest)
    assert sum(counts.values()) == 2


def test_colluding_oracles_in_a_minority_stop_nothing_and_at_half_they_only_stop() -> None:
    honest, false = seen_by(slot_batch(SLOT, 1))[0].tree().root, bytes(32)
    one_liar = [vote_of(0, honest), vote_of(1, honest), vote_of(2, honest), vote_of(3, false)]
    assert isinstance(quorum(one_liar, SLOT, range(4), 3, holds), Attestation)
    two_liars = [vote_of(0, honest), vote_of(1, honest), vote_of(2, false), vote_of(3, false)]
    assert isinstance(quorum(two_liars, SLOT, range(4), 3, holds), Disagreement)


def test_an_oracle_that_copies_a_vote_cannot_show_that_it_holds_the_readings() -> None:
    readings, _ = seen_by(slot_batch(SLOT, 1))
    honest = {oracle: own_digest(oracle, SLOT, readings.leaves) for oracle in range(4)}
    assert len(set(honest.values())) == 4
    copier = vote_of(3, readings.tree().root)
    assert holds(copier)  # the vote itself says nothing about who did the work
    from_public = {honest[0], own_digest(3, SLOT, [readings.tree().root]), own_digest(3, SLOT, [])}
    assert honest[3] not in from_public
    stolen = replace(vote_of(0, readings.tree().root), oracle=3)  # another's signature under its own number
    verdict = quorum([*(vote_of(n, copier.root) for n in range(3)), stolen], SLOT, range(4), 3, holds)
    assert isinstance(verdict, Attestation)
    assert [vote.oracle for vote in verdict.votes] == [0, 1, 2]
    assert own_digest(3, SLOT, [b"ab", b"c"]) != own_digest(3, SLOT, [b"a", b"bc"])


def test_the_root_is_the_same_in_whatever_order_a_slots_readings_come() -> None:
    batch = slot_batch(SLOT, 5)
    roots = {seen_by(list(order))[0].tree().root for order in permutations(batch)}
    assert len(roots) == 1


def test_a_reading_that_comes_after_its_meters_next_one_is_refused_and_substituted_not_taken_for_another_slots() -> None:
    earlier, later = sign_reading(KEYS[0], SLOT - 1, 40, 0, 1), sign_reading(KEYS[0], SLOT, 50, 0, 2)
    in_order, swapped = seen_by([earlier, later]), seen_by([later, earlier])
    assert in_order[0].leaves == swapped[0].leaves
    assert (in_order[1], swapped[1]) == ({}, {Refusal.REPLAYED: 1})


def test_forged_replayed_and_reordered_readings_change_nothing_and_are_named() -> None:
    honest, counts = seen_by(slot_batch(SLOT, 5))
    assert counts == {}
    forged = slot_batch(SLOT, 5)[0][:-64] + slot_batch(SLOT, 6)[0][-64:]
    replayed = slot_batch(SLOT, 5)[1]
    older = sign_reading(KEYS[2], SLOT, 9, 0, 4)
    readings, counts = seen_by([forged, *slot_batch(SLOT, 5), replayed, older])
    assert readings.leaves == honest.leaves
    assert counts == {Refusal.BAD_SIGNATURE: 1, Refusal.REPLAYED: 2}


def test_a_meter_whose_clock_is_slow_speaks_of_slots_that_are_over_and_is_refused_by_name() -> None:
    hours_behind = 5
    slow = sign_reading(KEYS[0], SLOT - 4 * hours_behind, 300, 0, 2)
    assert seen_by([slow])[1] == {Refusal.LATE: 1}
    after_others = sign_reading(KEYS[0], SLOT - 1, 300, 0, 3)
    assert seen_by([*slot_batch(SLOT, 2), after_others])[1] == {Refusal.BACKDATED: 1}


def test_an_oracle_that_lies_alone_is_outvoted_and_one_that_says_two_things_convicts_itself() -> None:
    root = seen_by(slot_batch(SLOT, 1))[0].tree().root
    honest, false = [vote_of(oracle, root) for oracle in range(3)], vote_of(3, bytes(32))
    alone = quorum([*honest, false], SLOT, range(4), 3, holds)
    assert isinstance(alone, Attestation)
    assert [vote.oracle for vote in alone.votes] == [0, 1, 2]
    two_faced = quorum([*honest, false, vote_of(3, root)], SLOT, range(4), 3, holds)
    assert isinstance(two_faced, Attestation)
    assert [vote.oracle for vote in two_faced.votes] == [0, 1, 2]  # it counts for neither
    (evidence,) = two_faced.equivocations
    assert proves_equivocation(evidence, holds)
    assert not proves_equivocation(replace(evidence, second=evidence.first), holds)
    assert not proves_equivocation(replace(evidence, oracle=2), holds)


def test_a_gateway_that_sends_a_number_twice_with_other_content_has_signed_the_proof_against_itself() -> None:
    key = derive_key(SEED, "gateway")
    one, other = (seal_batch(key, 7, slot_batch(SLOT, counter)) for counter in (1, 2))
    assert proves_two_contents(one, other, key.public_key())
    assert not proves_two_contents(one, one, key.public_key())
    assert not proves_two_contents(one, seal_batch(STRANGER, 7, slot_batch(SLOT, 2)), key.public_key())
