"""Laws of the privacy budget: never overspent, never paid twice, each member's effect bounded, the noise exactly what
it says."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.errors import InputError
from walras.metering.privacy import Budget, Exhausted, Release, discrete_laplace, release_count, release_sum

epsilons = st.fractions(min_value=Fraction(1, 100), max_value=2, max_denominator=100)
BUDGET = Budget("2016-06-01", Fraction(1))


def steady() -> Callable[[int], int]:
    """The same chances each time, so the noise is the same and can be taken off."""
    return random.Random(7).randrange


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), epsilons), max_size=12), st.integers(0, 2**32))
def test_the_budget_is_never_overspent_and_each_refusal_is_right(asked: list[tuple[str, Fraction]], seed: int) -> None:
    chance = random.Random(seed).randrange
    budget, first = BUDGET, {}
    for name, epsilon in asked:
        if name in first and first[name] != epsilon:
            with pytest.raises(InputError, match="those of the release"):
                release_sum(budget, name, [1, 2], 10, epsilon, chance)
            continue
        before = budget
        budget, result = release_sum(budget, name, [1, 2], 10, epsilon, chance)
        assert budget.spent <= budget.epsilon
        if isinstance(result, Exhausted):
            assert (budget, result.wanted > result.left) == (before, True)
        else:
            first[name] = epsilon
    assert budget.spent == sum(first.values())


def test_asking_again_gives_the_same_answer_for_nothing() -> None:
    chance = random.Random(1).randrange
    budget, release = release_sum(BUDGET, "import", [500] * 20, 1_000, Fraction(1, 2), chance)
    for _ in range(5):
        again, same = release_sum(budget, "import", [0], 1_000, Fraction(1, 2), chance)
        assert (again, same) == (budget, release)


def test_the_last_of_the_budget_can_be_spent_and_not_a_hair_more() -> None:
    budget, _ = release_sum(BUDGET, "a", [1], 1, Fraction(2, 3), random.Random(1).randrange)
    assert isinstance(release_sum(budget, "b", [1], 1, Fraction(1, 3), random.Random(1).randrange)[1], Release)
    over = Fraction(1, 3) + Fraction(1, 10**12)
    assert isinstance(release_sum(budget, "b", [1], 1, over, random.Random(1).randrange)[1], Exhausted)


def bare(parts: list[int], cap: int) -> int:
    result = release_sum(BUDGET, "x", parts, cap, Fraction(1), steady())[1]
    assert isinstance(result, Release)
    return result.value - noise_of(cap)


def noise_of(cap: int) -> int:
    return discrete_laplace(Fraction(cap), steady())


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=8), st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_no_member_moves_the_exact_statistic_by_more_than_the_cap(parts: list[int], other: int, cap: int) -> None:
    assert abs(bare(parts, cap) - bare([other, *parts[1:]], cap)) <= cap
    assert bare(parts, cap) == sum(min(max(part, 0), cap) for part in parts)


@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(1), Fraction(7, 2), Fraction(20)])
def test_the_noise_has_the_distribution_that_the_claim_needs(scale: Fraction) -> None:
    draws = 20_000
    chance = random.Random(20160601).randrange
    seen = Counter(discrete_laplace(scale, chance) for _ in range(draws))
    q = math.exp(-1 / float(scale))
    chi_square, cells, rest = 0.0, 0, draws
    for k in range(-60, 61):
        expected = draws * (1 - q) / (1 + q) * q ** abs(k)
        if expected >= 20:
            chi_square += (seen[k] - expected) ** 2 / expected
            cells, rest = cells + 1, rest - seen[k]
    assert chi_square < cells + 5 * math.sqrt(2 * cells) + 5
    # neighbouring statistics (one apart, cap 1) are never more than e**(1/scale) apart in likelihood: the definition itself
    ratios = [q ** abs(k) / q ** abs(k + 1) for k in range(-60, 60)]
    assert max(ratios) <= math.exp(1 / float(scale)) * (1 + 1e-12)
    assert rest >= 0


def test_the_margin_holds_in_95_of_100() -> None:
    chance = random.Random(5).randrange
    budget = Budget("p", Fraction(10_000))
    inside = 0
    for number in range(1_000):
        budget_after, release = release_sum(budget, f"s{number}", [50], 100, Fraction(1, 2), chance)
        assert isinstance(release, Release)
        assert budget_after.left < budget.left
        inside += abs(release.value - 50) <= release.margin_95
    assert 930 <= inside <= 970


def test_counts_are_sums_of_ones() -> None:
    result = release_count(BUDGET, "with PV", [True, False, True], Fraction(1), steady())[1]
    assert isinstance(result, Release)
    assert result.value - noise_of(1) == 2


def test_what_makes_no_sense_is_named_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        release_sum(BUDGET, "x", [1], 0, Fraction(0), steady())
    assert [fault.field for fault in caught.value.faults] == ["epsilon", "sensitivity"]
    with pytest.raises(InputError, match="above 0"):
        Budget("p", Fraction(0))


@pytest.mark.parametrize(
    "shares", [(Fraction(1),), (Fraction(1, 2), Fraction(1, 2)), (Fraction(1, 4), Fraction(1, 4), Fraction(1, 2))]
)
def test_who_knows_everybody_else_and_asks_all_there_is_guesses_a_neighbour_no_better_than_the_budget_allows(
    shares: tuple[Fraction, ...],
) -> None:
    """A nosy member knows all others, holds a neighbour's day for one of two, and decides by likelihood over the whole budget."""
    chance, others, cap = random.Random(20160621).randrange, [700, 900, 0, 1_000], 1_000
    rounds, right = 3_000, 0
    for number in range(rounds):
        home = number % 2
        budget, evidence = BUDGET, 0.0
        for share in shares:
            budget, release = release_sum(
                budget, f"asked {share} {len(budget.released)}", [*others, cap * home], cap, share, chance
            )
            assert isinstance(release, Release)
            away = abs(release.value - sum(others))
            at_home = abs(release.value - sum(others) - cap)
            evidence += (away - at_home) / (cap / float(share))
        assert isinstance(release_sum(budget, "one more", [0], 1, Fraction(1, 1000), chance)[1], Exhausted)
        guess = int(evidence > 0) if evidence else chance(2)
        right += guess == home
    bound = math.e / (1 + math.e)  # the best that epsilon = 1 leaves anybody
    assert right / rounds <= bound + 3 * math.sqrt(bound * (1 - bound) / rounds)
    assert right / rounds > 0.55  # it is the noise that stops it, not a deaf attack
