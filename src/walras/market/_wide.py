"""128-bit whole numbers as pairs of 64-bit words, compiled, and the bulk swap of the constant product pool on top of them.

Product by four 32-bit halves; quotient of 128 by 64 bits by two steps of 64 by 32 bits (Knuth, "The Art of Computer
Programming", vol. 2, 4.3.1, algorithm D). Everything is uint64: mixing in an int64 would silently become a float.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_BASE = np.uint64(1 << 32)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_PPM = np.uint64(1_000_000)


@njit(cache=True)
def multiply_wide(a, b):  # type: ignore[no-untyped-def]
    """(high, low) word of a * b."""
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    low, left, right = a0 * b0, a1 * b0, a0 * b1
    middle = (low >> _HALF) + (left & _LOW) + (right & _LOW)
    return a1 * b1 + (left >> _HALF) + (right >> _HALF) + (middle >> _HALF), (middle << _HALF) | (low & _LOW)


@njit(cache=True)
def divide_wide(high, low, divisor):  # type: ignore[no-untyped-def]
    """(quotient, remainder) of the pair by `divisor`; needs high < divisor, so that the quotient fits in a word."""
    if high == _ZERO:
        return low // divisor, low % divisor
    shift = _ZERO
    while divisor < np.uint64(1 << 63):
        divisor <<= _ONE
        shift += _ONE
    if shift > _ZERO:
        high = (high << shift) | (low >> (np.uint64(64) - shift))
        low <<= shift
    d1, d0 = divisor >> _HALF, divisor & _LOW
    n1, n0 = low >> _HALF, low & _LOW
    q1 = high // d1
    rest = high - q1 * d1
    while q1 >= _BASE or q1 * d0 > (rest << _HALF) + n1:
        q1 -= _ONE
        rest += d1
        if rest >= _BASE:
            break
    middle = (high << _HALF) + n1 - q1 * divisor
    q0 = middle // d1
    rest = middle - q0 * d1
    while q0 >= _BASE or q0 * d0 > (rest << _HALF) + n0:
        q0 -= _ONE
        rest += d1
        if rest >= _BASE:
            break
    remainder = (middle << _HALF) + n0 - q0 * divisor
    return (q1 << _HALF) + q0, remainder >> shift


@njit(cache=True)
def swap_constant_product(state, fee, buys, quantity, money, most_energy, most_money):  # type: ignore[no-untyped-def]
    """Rows in sequence against (energy, money) in `state`, exact to the digit; rows the pool cannot serve leave money at 0.

    Bounds: energy < 2**40, money <= 2**62, so energy * ppm < 2**60 and each product is one multiply_wide.
    """
    keep = _PPM - fee
    for row in range(quantity.size):
        wh = np.uint64(quantity[row])
        energy, nano = state[0], state[1]
        if wh == _ZERO:
            continue
        if buys[row]:
            if wh >= energy:
                continue
            high, low = multiply_wide(nano, wh * _PPM)
            divisor = (energy - wh) * keep
            if high >= divisor:
                continue
            cost, remainder = divide_wide(high, low, divisor)
            if remainder > _ZERO:
                cost += _ONE
            if cost > most_money or nano + cost > most_money:
                continue
            state[0], state[1] = energy - wh, nano + cost
            money[row] = np.int64(cost)
        else:
            if energy + wh > most_energy or nano == _ZERO:
                continue
            high, low = multiply_wide(wh * keep, nano)
            proceeds, remainder = divide_wide(high, low, energy * _PPM + wh * keep)
            state[0], state[1] = energy + wh, nano - proceeds
            money[row] = -np.int64(proceeds)
