"""The seeded draw, for compiled loops: a whole-number hash that gives the same bits on every machine.

`key = mix64(id ^ seed_start(seed))` is the splitmix64 finalizer of Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014, as in `terms.lot_keys`: one-to-one in the id for a given seed, so keys never tie and do not
depend on the sequence of the rows. Nothing here calls a random generator; the seed comes in with the conventions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

GOLDEN = 0x9E3779B97F4A7C15


@njit(cache=True, inline="always")
def mix64(value):  # type: ignore[no-untyped-def]
    """The finalizer: a bijection on 64-bit words that scatters every bit."""
    z = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def seed_start(seed: int) -> np.uint64:
    """What ids are combined with before mixing.

    >>> from walras.market.terms import lot_keys
    >>> int(lot_keys(np.array([5]), 7)[0]) == int(mix64(np.uint64(5) ^ seed_start(7)))
    True
    """
    return np.uint64(mix64(np.uint64((seed + GOLDEN) % 2**64)))
