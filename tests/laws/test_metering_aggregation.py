"""Laws of secure aggregation: the sum is exact whoever drops out, no meter gives both secrets away, lies are found or
refused."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.errors import InputError, MeteringError
from walras.metering.aggregation import (
    AggregationRule,
    Meter,
    Opening,
    Reveal,
    Total,
    Unrecovered,
    _secret,
    _stretch,
    contribute,
    open_round,
    pair_secret,
    partners_of,
    reveal,
    ring,
    total,
)
from walras.metering.secret_sharing import SHARE_BYTES, commitment, recover, split_secret

RULE = AggregationRule(neighbours=6, threshold=4, minimum=3)
COUNT = 16
SLOT = 77
RING = ring(COUNT, b"public seed", RULE)
AGREEMENT = [X25519PrivateKey.from_private_bytes(sha256(bytes([n])).digest()) for n in range(COUNT)]
METERS = [
    Meter(
        n,
        sha256(b"own" + bytes([n])).digest(),
        {other: pair_secret(AGREEMENT[n], AGREEMENT[other].public_key()) for other in RING[n]},
    )
    for n in range(COUNT)
]
OPENINGS = {n: open_round(METERS[n], SLOT, RULE) for n in range(COUNT)}
values_lists = st.lists(st.integers(-(2**40), 2**40), min_size=COUNT, max_size=COUNT)
sparse = st.sets(st.integers(0, COUNT - 1), max_size=3)


def run(
    values: list[int], never_opened: set[int], dropped: set[int], silent: set[int], openings: dict[int, Opening] | None = None
) -> Total | Unrecovered:
    opened = {n: o for n, o in (openings or OPENINGS).items() if n not in never_opened}
    partners = partners_of(opened, RULE)
    contributors = [n for n in partners if n not in dropped]
    sums = {n: contribute(METERS[n], SLOT, values[n], partners[n]) for n in contributors}
    answers = [reveal(METERS[n], SLOT, opened, partners, sums, (), RULE) for n in contributors if n not in silent]
    return total(opened, partners, sums, answers, RULE)


@settings(max_examples=25, deadline=None)
@given(values_lists)
def test_the_total_is_the_sum(values: list[int]) -> None:
    assert run(values, set(), set(), set()) == Total(sum(values), tuple(range(COUNT)), ())


@settings(max_examples=40, deadline=None)
@given(values_lists, sparse, sparse, sparse)
def test_the_total_is_the_sum_of_who_contributed_or_names_whose_masks_are_lost(
    values: list[int], never_opened: set[int], dropped: set[int], silent: set[int]
) -> None:
    result = run(values, never_opened, dropped, silent)
    opened = {n: o for n, o in OPENINGS.items() if n not in never_opened}
    contributors = [n for n in partners_of(opened, RULE) if n not in dropped]
    if isinstance(result, Total):
        assert result == Total(sum(values[n] for n in contributors), tuple(contributors), ())
    else:
        answering = set(contributors) - silent
        for number in result.meters:
            assert len(answering & set(RING[number])) < RULE.threshold


@settings(max_examples=40, deadline=None)
@given(values_lists, st.sets(st.integers(0, COUNT - 1), max_size=1), st.sets(st.integers(0, COUNT - 1), max_size=1))
def test_one_dropout_and_one_that_falls_silent_afterwards_never_lose_the_total(
    values: list[int], dropped: set[int], silent: set[int]
) -> None:
    assert isinstance(run(values, set(), dropped, silent), Total)


def test_no_meter_gives_away_both_secrets_of_a_neighbour() -> None:
    partners = partners_of(OPENINGS, RULE)
    for meter in METERS:
        given_away = reveal(meter, SLOT, OPENINGS, partners, range(10), (), RULE)
        assert not set(given_away.of_masks) & set(given_away.of_keys)
        assert set(given_away.of_masks) | set(given_away.of_keys) == set(RING[meter.number])


def test_a_second_list_for_a_slot_and_a_sum_of_too_few_are_refused() -> None:
    partners = partners_of(OPENINGS, RULE)
    with pytest.raises(MeteringError, match="first answer stands"):
        reveal(METERS[0], SLOT, OPENINGS, partners, range(10), {SLOT}, RULE)
    with pytest.raises(MeteringError, match="too much of each"):
        reveal(METERS[0], SLOT, OPENINGS, partners, range(2), (), RULE)


def test_a_contribution_alone_says_nothing_and_neither_do_all_without_the_reveals() -> None:
    partners = partners_of(OPENINGS, RULE)
    masked = [contribute(METERS[0], slot, 250, partners[0]) for slot in range(2_000)]
    assert len(set(masked)) == 2_000
    assert abs(sum(number >= 2**63 for number in masked) - 1_000) < 150  # 6.7 standard deviations
    everything = {n: contribute(METERS[n], SLOT, 250, partners[n]) for n in range(COUNT)}
    assert sum(everything.values()) % 2**64 != 250 * COUNT
    assert isinstance(total(OPENINGS, partners, everything, [], RULE), Unrecovered)


def test_the_oracle_alone_opens_no_share() -> None:
    sealed = OPENINGS[0].shares[RING[0][0]]
    stranger = Meter(RING[0][0], b"x" * 32, {0: b"y" * 32})
    assert reveal(stranger, SLOT, OPENINGS, partners_of(OPENINGS, RULE), range(10), (), RULE) == Reveal(RING[0][0], {}, {})
    assert len(sealed) == 2 * SHARE_BYTES + 16


def test_a_meter_that_lies_about_its_masks_is_left_out_of_the_pairs_and_named() -> None:
    lying = replace(OPENINGS[3], pair_commitments={other: bytes(32) for other in RING[3]})
    values = list(range(100, 100 + COUNT))
    result = run(values, set(), set(), set(), OPENINGS | {3: lying})
    others = [n for n in range(COUNT) if n != 3]
    assert result == Total(sum(values[n] for n in others), tuple(others), (3,))


def test_a_meter_left_with_too_few_partners_does_not_take_part() -> None:
    few = {n: o for n, o in OPENINGS.items() if n == 0 or n in RING[0][: RULE.threshold - 1]}
    assert 0 not in partners_of(few, RULE)
    assert all(len(others) >= RULE.threshold for others in partners_of(OPENINGS, RULE).values())


def test_a_contribution_of_a_meter_that_does_not_take_part_is_left_out() -> None:
    lying = OPENINGS | {3: replace(OPENINGS[3], pair_commitments={other: bytes(32) for other in RING[3]})}
    partners = partners_of(lying, RULE)
    sums = {n: contribute(METERS[n], SLOT, 5, partners[n]) for n in partners} | {3: 12345}
    answers = [reveal(METERS[n], SLOT, lying, partners, sums, (), RULE) for n in partners]
    assert total(lying, partners, sums, answers, RULE) == Total(5 * (COUNT - 1), tuple(sorted(partners)), (3,))


def test_a_few_lying_shares_are_overruled_by_the_true_ones() -> None:
    partners = partners_of(OPENINGS, RULE)
    values = dict.fromkeys(range(COUNT), 7)
    sums = {n: contribute(METERS[n], SLOT, values[n], partners[n]) for n in values}
    answers = [reveal(METERS[n], SLOT, OPENINGS, partners, sums, (), RULE) for n in values]
    for liar in (2, 9):
        answers[liar] = replace(answers[liar], of_masks=dict.fromkeys(answers[liar].of_masks, b"\x01" * SHARE_BYTES))
    assert total(OPENINGS, partners, sums, answers, RULE) == Total(7 * COUNT, tuple(range(COUNT)), ())


def test_a_dropout_whose_opening_was_a_lie_is_named_and_no_wrong_total_is_given() -> None:
    key = _secret(METERS[3], SLOT, b"key")
    false_seeds = ChaCha20Poly1305(_stretch(key)).encrypt(bytes(12), bytes(16 * RULE.neighbours), None)
    lies = ({"hidden_pairs": bytes(112)}, {"key_commitment": bytes(32)}, {"hidden_pairs": false_seeds})
    for lie in lies:
        lying = replace(OPENINGS[3], **lie)
        assert run([1] * COUNT, set(), {3}, set(), OPENINGS | {3: lying}) == Unrecovered((3,))
        assert isinstance(run([1] * COUNT, set(), set(), set(), OPENINGS | {3: lying}), Total)


def test_the_ring_is_symmetric_regular_and_drawn_by_its_seed() -> None:
    for meter, neighbours in enumerate(RING):
        assert len(set(neighbours)) == RULE.neighbours
        assert meter not in neighbours
        assert all(meter in RING[other] for other in neighbours)
    assert ring(COUNT, b"another seed", RULE) != RING
    assert pair_secret(AGREEMENT[0], AGREEMENT[1].public_key()) == pair_secret(AGREEMENT[1], AGREEMENT[0].public_key())
    with pytest.raises(InputError, match="more than the 6"):
        ring(6, b"", RULE)


def test_rules_that_protect_nobody_are_refused_with_all_faults() -> None:
    with pytest.raises(InputError) as caught:
        AggregationRule(neighbours=7, threshold=3, minimum=1)
    assert len(caught.value.faults) == 3


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), st.integers(1, 8), st.data())
def test_enough_shares_give_the_secret_and_fewer_do_not(secret: bytes, chance: bytes, count: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, count))
    shares = dict(enumerate(split_secret(secret, chance, count, threshold), start=1))
    chosen = data.draw(st.sets(st.integers(1, count), min_size=0, max_size=count))
    recovered = recover({at: shares[at] for at in chosen}, threshold, commitment(secret))
    assert recovered == (secret if len(chosen) >= threshold else None)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_fewer_shares_than_needed_fit_any_secret(secret: bytes, other: bytes) -> None:
    shares = split_secret(secret, bytes(32), 3, 3)
    two = {at: int.from_bytes(shares[at - 1], "big") for at in (1, 2)}
    prime = 2**130 - 5
    # the quadratic through both shares and `other` at zero exists, so the two shares exclude no secret
    ahead = (3 * two[2] - 3 * two[1] + int.from_bytes(other, "big")) % prime
    forged = {1: shares[0], 2: shares[1], 3: ahead.to_bytes(SHARE_BYTES, "big")}
    assert recover(forged, 3, commitment(other)) == other


def test_secrets_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="16 bytes"):
        split_secret(b"short", bytes(32), 3, 2)
    with pytest.raises(InputError, match="threshold"):
        split_secret(bytes(16), bytes(32), 3, 4)
