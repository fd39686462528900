"""BN254 (alt_bn128 of EIP-196 and EIP-197): many multiples of the generators at once, in plain Python.

Affine points as tuples, the point at infinity as None. Python's integers are slow one by one; inversion is what affine
addition costs, and a list of inversions costs one (Montgomery's trick), so everything here works on columns of points. Over the
second group the same formulas run on pairs c0 + c1 u with u^2 = -1.

Nothing here is constant-time: these functions make and check proofs on a machine whose owner knows the secrets anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from walras.metering.proofs.poseidon import SCALAR_FIELD

BASE_FIELD = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""q: the coordinates' modulus (EIP-196)."""

Fp2 = tuple[int, int]
G1 = tuple[int, int] | None
G2 = tuple[Fp2, Fp2] | None

GENERATOR_1: G1 = (1, 2)
GENERATOR_2: G2 = (
    (
        10857046999023057135944570762232829481370756359578518086990519993285655852781,
        11559732032986387107991004021392285783925812861821192530917403151452391805634,
    ),
    (
        8495653923123431417604973247489272438418190587263600148770280649306958101930,
        4082367875863433681332203403145435568316851327593401208105741076214120093531,
    ),
)
"""Real part first (EIP-197 writes the imaginary part first)."""

F = TypeVar("F")
Point = tuple[F, F] | None


@dataclass(frozen=True, slots=True)
class Field(Generic[F]):
    """What addition of points needs to know of the coordinates' field."""

    zero: F
    one: F
    add: Callable[[F, F], F]
    subtract: Callable[[F, F], F]
    multiply: Callable[[F, F], F]
    invert: Callable[[F], F]


def _multiply_2(a: Fp2, b: Fp2) -> Fp2:
    low, high = a[0] * b[0], a[1] * b[1]
    return (low - high) % BASE_FIELD, ((a[0] + a[1]) * (b[0] + b[1]) - low - high) % BASE_FIELD


def _invert_2(a: Fp2) -> Fp2:
    norm = pow(a[0] * a[0] + a[1] * a[1], -1, BASE_FIELD)
    return a[0] * norm % BASE_FIELD, -a[1] * norm % BASE_FIELD


FIELD_1: Field[int] = Field(
    0,
    1,
    lambda a, b: (a + b) % BASE_FIELD,
    lambda a, b: (a - b) % BASE_FIELD,
    lambda a, b: a * b % BASE_FIELD,
    lambda a: pow(a, -1, BASE_FIELD),
)
FIELD_2: Field[Fp2] = Field(
    (0, 0),
    (1, 0),
    lambda a, b: ((a[0] + b[0]) % BASE_FIELD, (a[1] + b[1]) % BASE_FIELD),
    lambda a, b: ((a[0] - b[0]) % BASE_FIELD, (a[1] - b[1]) % BASE_FIELD),
    _multiply_2,
    _invert_2,
)


def inverses(values: Sequence[int], modulus: int) -> list[int]:
    """1 / value of each (none zero), for one inversion and three products each.

    >>> inverses([2, 4], 7)
    [4, 2]
    """
    products, running = [], 1
    for value in values:
        products.append(running)
        running = running * value % modulus
    inverse = pow(running, -1, modulus)
    result = [0] * len(values)
    for at in range(len(values) - 1, -1, -1):
        result[at] = inverse * products[at] % modulus
        inverse = inverse * values[at] % modulus
    return result


def _inverses_in(field: Field[F], values: Sequence[F]) -> list[F]:
    multiply = field.multiply
    products, running = [], field.one
    for value in values:
        products.append(running)
        running = multiply(running, value)
    inverse = field.invert(running)
    result = list(values)
    for at in range(len(values) - 1, -1, -1):
        result[at] = multiply(inverse, products[at])
        inverse = multiply(inverse, values[at])
    return result


def add_all(field: Field[F], left: Sequence[Point[F]], right: Sequence[Point[F]]) -> list[Point[F]]:
    """left[i] + right[i] for all i, complete: infinity, doubling and opposite points included."""
    add, subtract, multiply = field.add, field.subtract, field.multiply
    rows: list[int] = []
    tops: list[F] = []
    bottoms: list[F] = []
    result: list[Point[F]] = list(left)
    for row, (p, q) in enumerate(zip(left, right, strict=True)):
        if q is None:
            continue
        if p is None:
            result[row] = q
            continue
        bottom = subtract(q[0], p[0])
        if bottom != field.zero:
            top = subtract(q[1], p[1])
        elif p[1] == q[1] and p[1] != field.zero:
            square = multiply(p[0], p[0])
            top, bottom = add(add(square, square), square), add(p[1], p[1])
        else:
            result[row] = None
            continue
        rows.append(row)
        tops.append(top)
        bottoms.append(bottom)
    for row, top, inverse in zip(rows, tops, _inverses_in(field, bottoms), strict=True):
        p, q = left[row], right[row]
        assert p is not None
        assert q is not None
        slope = multiply(top, inverse)
        x = subtract(subtract(multiply(slope, slope), p[0]), q[0])
        result[row] = (x, subtract(multiply(slope, subtract(p[0], x)), p[1]))
    return result


def negated_1(point: G1) -> G1:
    """-P."""
    return None if point is None else (point[0], -point[1] % BASE_FIELD)


_WINDOW = 8


def multiples(field: Field[F], generator: Point[F], scalars: Sequence[int]) -> list[Point[F]]:
    """scalar * generator of each scalar modulo the group's order, by tables of eight bits.

    >>> multiples(FIELD_1, GENERATOR_1, [1, 0, SCALAR_FIELD - 1]) == [(1, 2), None, (1, BASE_FIELD - 2)]
    True
    """
    bases: list[Point[F]] = []
    base = generator
    for _ in range(0, 256, _WINDOW):
        bases.append(base)
        for _ in range(_WINDOW):
            base = add_all(field, [base], [base])[0]
    table: list[list[Point[F]]] = [[None] * len(bases), bases]
    while len(table) < 1 << _WINDOW:
        table.append(add_all(field, table[-1], bases))
    sums: list[Point[F]] = [None] * len(scalars)
    reduced = [scalar % SCALAR_FIELD for scalar in scalars]
    for window in range(len(bases)):
        shift = window * _WINDOW
        sums = add_all(field, sums, [table[scalar >> shift & 255][window] for scalar in reduced])
    return sums


def weighted_sum(field: Field[F], points: Sequence[Point[F]], scalars: Sequence[int]) -> Point[F]:
    """The sum of scalar * point over all: by windows of c bits into buckets (Pippenger), every round of additions one batch."""
    pairs = [(p, s % SCALAR_FIELD) for p, s in zip(points, scalars, strict=True)]
    live = [(p, s) for p, s in pairs if p is not None and s]
    ones = [p for p, s in live if s == 1]
    rest = [(p, s) for p, s in live if s != 1]
    size = 4 if len(rest) < 256 else 8 if len(rest) < 16_384 else 10
    windows = -(-254 // size)
    buckets: list[list[Point[F]]] = [[] for _ in range(windows << size)]
    for point, scalar in rest:
        for window in range(windows):
            digit = scalar >> (window * size) & ((1 << size) - 1)
            if digit:
                buckets[window << size | digit].append(point)
    sums = _sum_lists(field, [*buckets, list(ones)])
    total, ones_sum = None, sums.pop()
    # Per window: the sum of digit * bucket, as a sum of running sums; all windows in step.
    running: list[Point[F]] = [None] * windows
    weighted: list[Point[F]] = [None] * windows
    for digit in range((1 << size) - 1, 0, -1):
        running = add_all(field, running, [sums[window << size | digit] for window in range(windows)])
        weighted = add_all(field, weighted, running)
    for part in reversed(weighted):
        for _ in range(size):
            total = add_all(field, [total], [total])[0]
        total = add_all(field, [total], [part])[0]
    return add_all(field, [total], [ones_sum])[0]


def _sum_lists(field: Field[F], lists: list[list[Point[F]]]) -> list[Point[F]]:
    """The sum of every list, by halving all of them together."""
    lists = [*lists]
    long = [number for number, one in enumerate(lists) if len(one) > 1]
    while long:
        left: list[Point[F]] = []
        right: list[Point[F]] = []
        for number in long:
            one = lists[number]
            half = len(one) // 2
            left += one[:half]
            right += one[half : 2 * half]
        sums = add_all(field, left, right)
        at = 0
        for number in long:
            one = lists[number]
            half = len(one) // 2
            lists[number] = sums[at : at + half] + one[2 * half :]
            at += half
        long = [number for number in long if len(lists[number]) > 1]
    return [one[0] if one else None for one in lists]
