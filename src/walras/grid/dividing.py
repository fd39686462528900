"""Dividing a whole sum of money by whole weights, so that the parts add up to it exactly.

The rule: each part is total * weight / sum of weights rounded down, and what is missing goes, one nano each, to the largest
remainders (Hamilton's method), of equal ones to the lower row. All arithmetic is on whole numbers of any size. A negative total and
negative weights are allowed (a credit is a negative charge), as long as the weights do not add up to zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from walras.errors import Fault, InputError
from walras.units import Int64, as_int64


def divide_exactly(total: int, weights: ArrayLike, what: str = "weights") -> Int64:
    """Parts of `total` [n] int64 that add up to it. InputError where the weights add up to zero and `total` does not.

    >>> divide_exactly(100, [1, 1, 1]).tolist()
    [34, 33, 33]
    >>> divide_exactly(-7, [3, 0, 4]).tolist()
    [-3, 0, -4]
    >>> divide_exactly(10, [8, -3]).tolist()            # who relieves is credited
    [16, -6]
    """
    column = [int(weight) for weight in as_int64(weights, what)]
    whole = sum(column)
    if total == 0:
        return np.zeros(len(column), dtype=np.int64)
    if whole == 0:
        raise InputError(what, [Fault(what, "sum", 0, f"weights that do not add up to zero, to divide {total} by")])
    if whole < 0:
        whole, column = -whole, [-weight for weight in column]
    sign = 1 if total > 0 else -1
    parts = [divmod(abs(total) * weight, whole) for weight in column]
    missing = abs(total) - sum(part for part, _ in parts)
    ranked = sorted((row for row, (_, rest) in enumerate(parts) if rest), key=lambda row: (-parts[row][1], row))
    more = set(ranked[:missing])
    return as_int64([sign * (part + (row in more)) for row, (part, _) in enumerate(parts)], what)
