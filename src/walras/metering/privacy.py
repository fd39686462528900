"""Public statistics under differential privacy, with a budget that is stated, enforced and shown.

Who is protected: a member with everything they measured in one *period* (the budget's). How: of each statistic it is known
how far one member can move it at most, all its values together (the *sensitivity*; for a sum of parts clamped to [0, cap] it is
the cap), and discrete Laplace noise of scale sensitivity / epsilon is added to every value, so that nothing published is more than
e**epsilon times likelier with a member's data than with any other's (Dwork et al., "Calibrating noise to sensitivity", TCC 2006).
The noise is drawn exactly, in integers and fractions: floating-point Laplace noise leaks (Mironov, CCS 2012); the sampler is
that of Canonne, Kamath and Steinke, "The discrete Gaussian for differential privacy" (NeurIPS 2020), section 5.

Epsilons of one period add up. What would exceed the budget is refused, as a value. A statistic asked for again is answered with
what was published, for nothing: fresh noise could be averaged away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import log

from walras.errors import Fault, InputError

Chance = Callable[[int], int]
"""n -> a uniformly random whole number from 0 to n - 1; `secrets.randbelow` where it counts, seeded in a replay."""


@dataclass(frozen=True, slots=True)
class Release:
    """A published statistic: the noisy values, what they cost, and how far one member could have moved them together (L1)."""

    name: str
    values: tuple[int, ...]
    epsilon: Fraction
    sensitivity: int

    @property
    def value(self) -> int:
        """The only value of a statistic that has one; ValueError where it has more."""
        (value,) = self.values
        return value

    @property
    def margin_95(self) -> int:
        """The noise of 95 values in 100 is at most this large: scale * ln(20), rounded up."""
        return int(self.sensitivity / float(self.epsilon) * log(20)) + 1


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Not published: the budget has too little left."""

    name: str
    wanted: Fraction
    left: Fraction


@dataclass(frozen=True, slots=True)
class Budget:
    """The privacy budget of one period and what was published from it. Every release stands here for all to see."""

    period: str
    epsilon: Fraction
    released: tuple[Release, ...] = ()

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise InputError("privacy budget", [Fault(self.period, "epsilon", self.epsilon, "above 0")])

    @property
    def spent(self) -> Fraction:
        """The sum of all epsilons released (sequential composition)."""
        return sum((release.epsilon for release in self.released), Fraction(0))

    @property
    def left(self) -> Fraction:
        """What can still be spent; never negative."""
        return self.epsilon - self.spent


def release_sum(
    budget: Budget, name: str, parts: Sequence[int], cap: int, epsilon: Fraction, chance: Chance
) -> tuple[Budget, Release | Exhausted]:
    """The sum over members of their `parts` (one whole number each, clamped to [0, cap]), with noise; and the budget after it.

    InputError as `release_values`.

    >>> from random import Random
    >>> half, chance = Fraction(1, 2), Random(1).randrange
    >>> budget, release = release_sum(Budget("2016-06-01", Fraction(1)), "import", [900, 5_000], 1_000, half, chance)
    >>> release.epsilon, budget.left, release.margin_95
    (Fraction(1, 2), Fraction(1, 2), 5992)
    """
    return release_values(budget, name, [sum(min(max(part, 0), cap) for part in parts)], cap, epsilon, chance)


def release_values(
    budget: Budget, name: str, exact: Sequence[int], sensitivity: int, epsilon: Fraction, chance: Chance
) -> tuple[Budget, Release | Exhausted]:
    """`exact` values that one member moves by at most `sensitivity` in all, each with noise; and the budget after it.

    The caller vouches for the sensitivity. What was released under `name` before is given again, whatever `exact` is now.
    InputError for an epsilon or a sensitivity that is not positive, or a name that stands for another statistic already.
    """
    faults = [
        Fault(name, field, value, "above 0")
        for field, value in (("epsilon", epsilon), ("sensitivity", Fraction(sensitivity)))
        if not value > 0
    ]
    earlier = next((release for release in budget.released if release.name == name), None)
    if earlier is not None and (earlier.epsilon, earlier.sensitivity) != (epsilon, sensitivity):
        expected = f"those of the release: {earlier.epsilon}, {earlier.sensitivity}"
        faults.append(Fault(name, "epsilon and sensitivity", f"{epsilon}, {sensitivity}", expected))
    if faults:
        raise InputError("release", faults)
    if earlier is not None:
        return budget, earlier
    if epsilon > budget.left:
        return budget, Exhausted(name, epsilon, budget.left)
    scale = sensitivity / epsilon
    release = Release(name, tuple(value + discrete_laplace(scale, chance) for value in exact), epsilon, sensitivity)
    return replace(budget, released=(*budget.released, release)), release


def release_count(
    budget: Budget, name: str, members: Sequence[bool], epsilon: Fraction, chance: Chance
) -> tuple[Budget, Release | Exhausted]:
    """How many members something holds for, with noise: a sum of parts of at most one."""
    return release_sum(budget, name, [int(holds) for holds in members], 1, epsilon, chance)


def discrete_laplace(scale: Fraction, chance: Chance) -> int:
    """A whole number k with probability proportional to exp(-|k| / scale), exactly; scale above 0."""
    t, s = scale.numerator, scale.denominator
    while True:
        step = chance(t)
        if not _bernoulli_exp(Fraction(step, t), chance):
            continue
        turns = 0
        while _bernoulli_exp(Fraction(1), chance):
            turns += 1
        size = (step + t * turns) // s
        negative = chance(2) == 1
        if not (negative and size == 0):
            return -size if negative else size


def _bernoulli_exp(gamma: Fraction, chance: Chance) -> bool:
    """True with probability exp(-gamma), exactly, for gamma from 0 to 1: by its alternating series."""
    k = 1
    while chance(gamma.denominator * k) < gamma.numerator:
        k += 1
    return k % 2 == 1
