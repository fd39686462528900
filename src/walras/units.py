"""Whole numbers for energy, prices and money, and the one place where physical floats become integers.

Energy is whole watt-hours (Wh), prices are whole micro-units of currency per kWh, money is whole nano-units of currency:

    money_nano = energy_wh * price_micro_per_kwh            1e-3 kWh * 1e-6 /kWh = 1e-9: exact, nothing is rounded

Everything is int64. Overflow is checked where columns are built (`as_int64`, `checked_product`), not hoped for.
`round_conserving` is the only way from float64 to integers: it keeps the total (largest remainder, Hamilton's method)
and never exceeds a limit: rounding is towards less delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from walras.errors import Fault, InputError, RangeError

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

WH_PER_KWH = 1_000
MICRO = 1_000_000
NANO = 1_000_000_000
INT64_MAX = 2**63 - 1

MAX_ENERGY_WH = 10**12
"""Largest quantity on one order: 1 TWh. With MAX_PRICE the money of a million such orders cannot be silent about overflow:
`checked_product` and `checked_sum` refuse it."""

MAX_PRICE_MICRO_PER_KWH = 10**9
"""Largest absolute price: 1,000 currency units per kWh."""


def as_int64(values: ArrayLike, name: str) -> Int64:
    """A fresh contiguous read-only int64 column from whole numbers.

    Raises InputError for floats with a fraction, NaN, or anything that is not a number; RangeError beyond int64.
    >>> as_int64([1, 2], "quantity_wh").tolist()
    [1, 2]
    """
    try:
        array = np.asarray(values)
    except (OverflowError, ValueError) as cause:
        raise InputError(name, [Fault(name, "column", values, "a flat list of whole numbers")]) from cause
    if array.size == 0:
        column = np.zeros(0, dtype=np.int64)
    elif array.dtype.kind == "i":
        column = array.astype(np.int64, copy=True)
    elif array.dtype.kind == "u":
        if int(array.max()) > INT64_MAX:
            raise RangeError(f"{name}: {int(array.max())} does not fit in int64", thing=name)
        column = array.astype(np.int64)
    elif array.dtype.kind == "f":
        bad = ~np.isfinite(array) | (array != np.floor(array))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(name, [Fault(f"row {row}", name, float(array.flat[row]), "a whole number")])
        if np.abs(array).max() >= 2.0**63:
            raise RangeError(f"{name}: {float(np.abs(array).max())} does not fit in int64", thing=name)
        column = array.astype(np.int64)
    elif array.dtype.kind == "O" and all(isinstance(v, int) for v in array.flat):
        raise RangeError(f"{name}: a value does not fit in int64", thing=name)
    else:
        raise InputError(name, [Fault(name, "column", str(array.dtype), "whole numbers")])
    if column.ndim != 1:
        raise InputError(name, [Fault(name, "shape", column.shape, "one dimension")])
    column.flags.writeable = False
    return column


def checked_product(energy_wh: Int64, price_micro_per_kwh: Int64 | int, name: str = "money_nano") -> Int64:
    """Money in nano-units, element by element; RangeError where it would leave int64.

    >>> checked_product(np.array([1500]), 300_000).tolist()      # 1.5 kWh at 0.30 /kWh = 0.45
    [450000000]
    """
    energy = np.asarray(energy_wh, dtype=np.int64)
    price = np.asarray(price_micro_per_kwh, dtype=np.int64)
    if energy.size and price.size:
        largest = int(np.abs(energy).max()) * int(np.abs(price).max())
        if largest > INT64_MAX:
            worst = np.abs(energy.astype(np.float64)) * np.abs(price.astype(np.float64))
            if worst.max() >= 2.0**62:
                raise RangeError(f"{name}: an energy times a price does not fit in int64", thing=name)
    return np.asarray(energy * price, dtype=np.int64)


def checked_sum(values: Int64, name: str = "total") -> int:
    """The exact sum as a Python int; RangeError if it would leave int64."""
    array = np.asarray(values, dtype=np.int64)
    if array.size == 0:
        return 0
    if int(np.abs(array).max()) > INT64_MAX // array.size:
        total = sum(int(v) for v in array)
        if abs(total) > INT64_MAX:
            raise RangeError(f"{name}: the sum {total} does not fit in int64", thing=name)
        return total
    return int(array.sum())


def round_conserving(values: Float64, total: int | None = None, limit: Int64 | None = None) -> Int64:
    """Non-negative floats to integers with the total kept, by largest remainder, never above `limit`.

    `values` [n] in any unit, finite, >= 0. `total` is the sum to reach; by default floor(sum(values)): towards less delivery.
    `limit` [n] is an upper bound for each element (default: the ceiling of each value). Where the limits do not admit the
    total, as much as they admit is given: less, never more. Ties go to the lower index.

    >>> round_conserving(np.array([1.5, 1.5, 1.0])).tolist()
    [2, 1, 1]
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size and (not np.isfinite(array).all() or array.min() < 0):
        raise InputError("round_conserving", [Fault("values", "value", "negative or not finite", "finite values >= 0")])
    floor = np.floor(array).astype(np.int64)
    if limit is not None:
        floor = np.minimum(floor, limit)
    goal = int(np.floor(array.sum() + 1e-9)) if total is None else total
    missing = goal - int(floor.sum())
    if missing < 0:
        raise InputError("round_conserving", [Fault("total", "total", goal, f"at least {int(floor.sum())}")])
    if missing:
        order = np.lexsort((np.arange(array.size), -(array - np.floor(array))))
        room = np.ceil(array).astype(np.int64) if limit is None else np.minimum(limit, np.ceil(array).astype(np.int64))
        open_rows = order[floor[order] < room[order]][:missing]
        floor[open_rows] += 1
    return floor


def share_pro_rata(weights: Int64, total: int) -> Int64:
    """Divide a whole `total` in proportion to whole `weights` exactly, by largest remainder, no share above its weight.

    `weights` [n] >= 0 and 0 <= total <= sum(weights). Ties of remainders go to the lower index. All arithmetic is exact.

    >>> share_pro_rata(np.array([10, 10, 10]), 10).tolist()
    [4, 3, 3]
    """
    w = np.asarray(weights, dtype=np.int64)
    whole = checked_sum(w, "weights")
    if total < 0 or total > whole:
        raise InputError("share_pro_rata", [Fault("total", "total", total, f"between 0 and {whole}")])
    if total == whole:
        return w.copy()
    if total == 0:
        return np.zeros_like(w)
    largest = int(w.max())
    if largest <= INT64_MAX // total:
        product = w * total
        base, remainder = np.divmod(product, whole)
    else:  # exact beyond int64, slower
        pairs = [divmod(int(v) * total, whole) for v in w]
        base = np.array([p[0] for p in pairs], dtype=np.int64)
        remainder = np.array([p[1] for p in pairs], dtype=np.float64)
        missing = total - int(base.sum())
        ranked = sorted(range(w.size), key=lambda i: (-pairs[i][1], i))
        base[ranked[:missing]] += 1
        return base
    missing = total - int(base.sum())
    if missing:
        base[np.lexsort((np.arange(w.size), -remainder))[:missing]] += 1
    return np.asarray(base, dtype=np.int64)


def price_from_currency(value: str | int | float | Decimal) -> int:
    """Currency units per kWh to whole micro-units per kWh, exactly; InputError if finer than a micro-unit.

    >>> price_from_currency("0.3015")
    301500
    """
    micro = Decimal(str(value)) * MICRO
    whole = micro.to_integral_value(rounding=ROUND_HALF_EVEN)
    if micro != whole:
        raise InputError("price", [Fault("price", "value", str(value), "at most six decimals per kWh")])
    return int(whole)


def format_money(nano: int, currency: str = "EUR", places: int = 2) -> str:
    """Money for people: rounded half even for display only, with sign and thousands separators.

    >>> format_money(-1_234_567_890_123)
    '-1,234.57 EUR'
    """
    value = (Decimal(int(nano)) / NANO).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    return f"{value:,} {currency}"


def format_price(micro_per_kwh: int, places: int = 2) -> str:
    """A price for people, in hundredths of the currency unit per kWh ("ct/kWh").

    >>> format_price(301_500)
    '30.15 ct/kWh'
    """
    value = (Decimal(int(micro_per_kwh)) / 10_000).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    return f"{value:,} ct/kWh"


def format_energy(wh: int, places: int = 2) -> str:
    """Energy for people in kWh.

    >>> format_energy(12_345)
    '12.34 kWh'
    """
    value = (Decimal(int(wh)) / WH_PER_KWH).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    return f"{value:,} kWh"


def all_zero(columns: Sequence[Int64]) -> bool:
    """True when every column sums to exactly zero."""
    return all(checked_sum(column) == 0 for column in columns)
