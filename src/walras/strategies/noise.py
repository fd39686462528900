"""Noise from a counter: the same whole number for the same (seed, stream, member, slot), everywhere and in any order.

Only 64-bit whole-number arithmetic is used (no exponential, no generator with state), so values are the same bits with every
version of Python and numpy and on every processor. The mixing function is the finaliser of splitmix64 (Steele, Lea, Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014).

`normal_q16` is close to a standard normal variable in units of 1/65536: the sum of twelve 16-bit uniform numbers less its mean
(Irwin-Hall; standard deviation 1 to 1e-9, tails end at 6).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.errors import Fault, InputError

Q16 = 65_536
"""One, in the fixed point of this file."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_S16, _S32, _S48 = np.uint64(16), np.uint64(32), np.uint64(48)
_LOW16 = np.uint64(0xFFFF)
_TWELVE_MEANS = 393_210


def seed_word(seed: int) -> int:
    """A seed of 0..2**64 - 1 as the signed 64-bit whole number of the same bits, as compiled functions take it.

    >>> seed_word(2**64 - 1)
    -1
    """
    if not 0 <= seed < 2**64:
        raise InputError("noise", [Fault("noise", "seed", seed, "a whole number from 0 to 2**64 - 1")])
    return seed - 2**64 if seed >= 2**63 else seed


@njit(cache=True)
def mix(x: np.uint64) -> np.uint64:
    """The splitmix64 finaliser of x + golden gamma: a bijection of 64-bit words."""
    z = x + _GOLDEN
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@njit(cache=True)
def key(seed: int, stream: int, member: int) -> np.uint64:
    """The 64-bit key of one member's stream; whole numbers are taken modulo 2**64."""
    return mix(mix(mix(np.uint64(seed)) ^ np.uint64(stream)) ^ np.uint64(member))


@njit(cache=True)
def word(stream_key: np.uint64, slot: int, draw: int) -> np.uint64:
    """64 bits of a member's stream at a slot; `draw` numbers the words taken there."""
    return mix(mix(stream_key ^ np.uint64(slot)) ^ np.uint64(draw))


@njit(cache=True)
def below(stream_key: np.uint64, slot: int, draw: int, bound: int) -> np.int64:
    """A whole number from 0 to bound - 1 (1 <= bound < 2**31), uniform to within bound / 2**32: the high 32 bits, scaled."""
    high = np.int64(word(stream_key, slot, draw) >> _S32)
    return np.int64((high * bound) >> 32)


@njit(cache=True)
def normal_q16(stream_key: np.uint64, slot: int) -> np.int64:
    """Nearly standard normal, in 1/65536."""
    total = np.int64(0)
    for draw in range(3):
        bits = word(stream_key, slot, draw)
        total += np.int64(bits & _LOW16) + np.int64((bits >> _S16) & _LOW16)
        total += np.int64((bits >> _S32) & _LOW16) + np.int64(bits >> _S48)
    return np.int64(total - _TWELVE_MEANS)
