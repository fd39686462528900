"""Poseidon: a hash that is cheap inside a proof, over the scalar field of BN254, with its constants made here from their rule.

Grassi, Khovratovich, Rechberger, Roy, Schofnegger: "Poseidon: A New Hash Function for Zero-Knowledge Proof Systems", USENIX
Security 2021. S-box x^5; width t = 17: sixteen inputs and one capacity element that starts at zero and is the output; 8 full rounds
and 68 partial ones, what the paper's section 5.5 asks for 128 bits with its margin at this width. Nothing about the constants
is chosen: the self-shrinking Grain LFSR of the paper's appendix E gives the round constants (numbers not below the modulus are
drawn again), then 2t numbers x, y; the matrix is Cauchy's, 1 / (x_i + y_j).

This is the instance that circomlib and the usual libraries call Poseidon of 16 inputs; the tests hold it to their published
values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count

from walras.errors import Fault, InputError

SCALAR_FIELD = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""r: the order of BN254's groups (EIP-196), modulus of everything inside a circuit. A prime of 254 bits."""

INPUTS = 16
FULL_ROUNDS = 8
PARTIAL_ROUNDS = {3: 57, INPUTS + 1: 68}
"""By width t = inputs + 1; 3 is there for the published test value only."""

_FIELD_BITS = 254
_COUNTING = ["".join(str(byte >> at + 1 & 1) for at in range(0, 8, 2) if byte >> at & 1) for byte in range(256)]
"""The bits that count among the four pairs of a byte, the oldest bit lowest."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Width, rounds, and per round t constants; `matrix` is [t][t]."""

    width: int
    partial_rounds: int
    constants: tuple[tuple[int, ...], ...]
    matrix: tuple[tuple[int, ...], ...]

    @property
    def rounds(self) -> int:
        """All rounds; the partial ones stand between two halves of the full ones."""
        return FULL_ROUNDS + self.partial_rounds

    def is_full(self, number: int) -> bool:
        """Whether round `number` puts every element through the S-box, or the first alone."""
        return number < FULL_ROUNDS // 2 or number >= FULL_ROUNDS // 2 + self.partial_rounds


@dataclass(frozen=True, slots=True)
class SBox:
    """One S-box of a run of the permutation: what came in; the square, the fourth and the fifth power are constraints."""

    number: int
    lane: int
    value: int


@cache
def parameters(width: int = INPUTS + 1) -> Parameters:
    """The constants of the instance with `width` elements; some 1.3 million steps of the LFSR, once."""
    partial = PARTIAL_ROUNDS[width]
    numbers = _grain(width, partial)
    rounds = FULL_ROUNDS + partial
    constants = tuple(tuple(_below_modulus(numbers) for _ in range(width)) for _ in range(rounds))
    xs = [next(numbers) % SCALAR_FIELD for _ in range(width)]
    ys = [next(numbers) % SCALAR_FIELD for _ in range(width)]
    matrix = tuple(tuple(pow(x + y, -1, SCALAR_FIELD) for y in ys) for x in xs)
    return Parameters(width, partial, constants, matrix)


def poseidon(inputs: Sequence[int]) -> int:
    """The hash of 16 (or, for the test value, 2) numbers from 0 to below `SCALAR_FIELD`; InputError for others.

    >>> hex(poseidon([1, 2]))
    '0x115cc0f5e7d690413df64c6b9662e9cf2a3617f2743245519e19607a4417189a'
    """
    return permutation(inputs)[0]


def require_inputs(inputs: Sequence[int]) -> None:
    """InputError where there are not 16 (or 2) of them, each from 0 to below `SCALAR_FIELD`."""
    if len(inputs) + 1 not in PARTIAL_ROUNDS:
        raise InputError("poseidon", [Fault("inputs", "length", len(inputs), "16, or 2")])
    faults = [
        Fault(f"input {row}", "value", value, "from 0 to below the field's order")
        for row, value in enumerate(inputs)
        if not 0 <= value < SCALAR_FIELD
    ]
    if faults:
        raise InputError("poseidon", faults)


def permutation(inputs: Sequence[int]) -> tuple[int, tuple[SBox, ...]]:
    """The hash, and what went into every S-box on the way, by round and lane: the witness of a circuit that hashes."""
    require_inputs(inputs)
    given = parameters(len(inputs) + 1)
    state = [0, *inputs]
    boxes: list[SBox] = []
    for number, constants in enumerate(given.constants):
        state = [(value + constant) % SCALAR_FIELD for value, constant in zip(state, constants, strict=True)]
        for lane in range(given.width if given.is_full(number) else 1):
            boxes.append(SBox(number, lane, state[lane]))
            state[lane] = pow(state[lane], 5, SCALAR_FIELD)
        state = [sum(map(int.__mul__, row, state)) % SCALAR_FIELD for row in given.matrix]
    return state[0], tuple(boxes)


def _grain(width: int, partial: int) -> Iterator[int]:
    """Numbers of 254 bits from the self-shrinking Grain LFSR, seeded with what the instance is (appendix E): of two bits, the first
    decides whether the second counts. No tap lies among the 18 newest bits, so 16 steps are taken as one."""
    fields = ((1, 2), (0, 4), (_FIELD_BITS, 12), (width, 12), (FULL_ROUNDS, 10), (partial, 10), ((1 << 30) - 1, 30))
    state = int("".join(f"{value:0{size}b}" for value, size in fields)[::-1], 2)  # the oldest bit lowest
    waiting = ""
    for step in count():
        new = (state >> 62 ^ state >> 51 ^ state >> 38 ^ state >> 23 ^ state >> 13 ^ state) & 0xFFFF
        state = state >> 16 | new << 64
        if step < 160 // 16:
            continue
        waiting += _COUNTING[new & 0xFF] + _COUNTING[new >> 8]
        if len(waiting) >= _FIELD_BITS:
            yield int(waiting[:_FIELD_BITS], 2)
            waiting = waiting[_FIELD_BITS:]


def _below_modulus(numbers: Iterator[int]) -> int:
    return next(number for number in numbers if number < SCALAR_FIELD)


def circom_constants() -> str:
    """The constants as source for the circuits' `poseidon_constants.circom`."""
    given = parameters()
    tables = [
        ("POSEIDON_CONSTANTS", given.constants),
        ("POSEIDON_MATRIX", given.matrix),
    ]
    functions = [f"function {name}() {{\n    return [{_rows(table)}];\n}}\n" for name, table in tables]
    return "\n".join(["// Written by poseidon.py from the rule of the paper.\npragma circom 2.2.0;\n", *functions])


def _rows(table: tuple[tuple[int, ...], ...]) -> str:
    return ",\n".join("[" + ", ".join(map(str, row)) + "]" for row in table)
