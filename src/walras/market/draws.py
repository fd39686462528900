"""Draws that anyone can repeat: whole numbers from a seed, an id and a count, by an integer hash; no generator, no state.

The hash is the finalizer of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014), the same as in `terms.lot_keys`, and gives the same bits on every machine. A draw below a bound is the hash modulo
the bound; its bias is less than bound / 2**64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


@njit(cache=True)
def draw(key, count, bound):  # type: ignore[no-untyped-def]
    """The `count`-th number from 0 to bound - 1 of the stream `key` (uint64, as from `terms.lot_keys`).

    >>> [int(draw(np.uint64(7), k, 10)) for k in range(5)]
    [7, 4, 6, 3, 4]
    """
    z = np.uint64(key) + _STEP * np.uint64(count + 1)
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    z = z ^ (z >> np.uint64(31))
    return np.int64(z % np.uint64(bound))
