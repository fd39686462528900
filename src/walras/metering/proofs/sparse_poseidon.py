"""The same Poseidon, some ten times faster: partial rounds with sparse matrices (appendix B of the paper).

In a partial round only the first element goes through the S-box, so whatever a matrix does to the others alone can wait. Split the
matrix M = [[m, v], [w, N]] as D S with D = [[1, 0], [0, N]] and S = [[m, v], [N^-1 w, I]]: D commutes with the next S-box and goes
into the next round's matrix, where it is split again; after the last partial round N^68 is applied once. The same for round
constants: only that of the first element has to be added before its S-box, the rest is carried through M into the next round.

What is left of a partial round are 33 multiplications in place of 289. `permutation` (`poseidon`) says what the hash is, round by
round, and makes witnesses; the tests hold the two to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from walras.metering.proofs.poseidon import FULL_ROUNDS, SCALAR_FIELD, Parameters, parameters, require_inputs

Matrix = list[list[int]]


@dataclass(frozen=True, slots=True)
class SparseRounds:
    """Partial rounds: per round the first element's constant, `rows` = v N^r and `columns` = N^-(r+1) w; `last` is N^rounds,
    and `carried` the constants of the full round behind them."""

    keys: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]
    columns: tuple[tuple[int, ...], ...]
    last: tuple[tuple[int, ...], ...]
    carried: tuple[int, ...]


def hashed(inputs: Sequence[int]) -> int:
    """The hash of 16 (or 2) numbers from 0 to below `SCALAR_FIELD`; InputError for others.

    >>> hex(hashed([1, 2]))
    '0x115cc0f5e7d690413df64c6b9662e9cf2a3617f2743245519e19607a4417189a'
    """
    require_inputs(inputs)
    given = parameters(len(inputs) + 1)
    sparse = _sparse(given.width)
    half, behind = FULL_ROUNDS // 2, FULL_ROUNDS // 2 + given.partial_rounds
    state = [0, *inputs]
    for constants in given.constants[:half]:
        state = _full(given, state, constants)
    corner = given.matrix[0][0]
    first, rest = state[0], state[1:]
    for key, row, column in zip(sparse.keys, sparse.rows, sparse.columns, strict=True):
        first = pow(first + key, 5, SCALAR_FIELD)
        before = first
        first = (corner * first + sum(map(int.__mul__, row, rest))) % SCALAR_FIELD
        rest = [(value + factor * before) % SCALAR_FIELD for value, factor in zip(rest, column, strict=True)]
    state = [first, *_times(sparse.last, rest)]
    state = _full(given, state, sparse.carried)
    for constants in given.constants[behind + 1 :]:
        state = _full(given, state, constants)
    return state[0]


def _full(given: Parameters, state: Sequence[int], constants: Sequence[int]) -> list[int]:
    return _times(given.matrix, [pow(value + constant, 5, SCALAR_FIELD) for value, constant in zip(state, constants, strict=True)])


@cache
def _sparse(width: int) -> SparseRounds:
    given = parameters(width)
    matrix = given.matrix
    inner = [list(row[1:]) for row in matrix[1:]]
    inverse = _inverse(inner)
    transposed = [list(column) for column in zip(*inner, strict=True)]
    row, column = list(matrix[0][1:]), [line[0] for line in matrix[1:]]
    rows, columns, keys = [], [], []
    power: Matrix = [[int(i == j) for j in range(width - 1)] for i in range(width - 1)]
    start = FULL_ROUNDS // 2
    carried = [0] * width
    for number in range(start, start + given.partial_rounds):
        carried = [(a + b) % SCALAR_FIELD for a, b in zip(carried, given.constants[number], strict=True)]
        keys.append(carried[0])
        carried = _times(matrix, [0, *carried[1:]])
        column = _times(inverse, column)
        rows.append(tuple(row))
        columns.append(tuple(column))
        row = _times(transposed, row)
        power = [_times(transposed, line) for line in power]
    behind = given.constants[start + given.partial_rounds]
    carried = [(a + b) % SCALAR_FIELD for a, b in zip(carried, behind, strict=True)]
    return SparseRounds(tuple(keys), tuple(rows), tuple(columns), tuple(map(tuple, power)), tuple(carried))


def _times(matrix: Sequence[Sequence[int]], vector: Sequence[int]) -> list[int]:
    return [sum(map(int.__mul__, row, vector)) % SCALAR_FIELD for row in matrix]


def _inverse(matrix: Matrix) -> Matrix:
    """By Gauss and Jordan; a Cauchy matrix and its parts are regular."""
    size = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for at in range(size):
        pivot = next(line for line in range(at, size) if rows[line][at])
        rows[at], rows[pivot] = rows[pivot], rows[at]
        scale = pow(rows[at][at], -1, SCALAR_FIELD)
        rows[at] = [value * scale % SCALAR_FIELD for value in rows[at]]
        for line in range(size):
            factor = rows[line][at]
            if line != at and factor:
                rows[line] = [(a - factor * b) % SCALAR_FIELD for a, b in zip(rows[line], rows[at], strict=True)]
    return [row[size:] for row in rows]
