"""A DEVELOPMENT ceremony: keys for a circuit from a seed that everybody knows. Whoever knows the seed can prove falsehoods.

Groth16 needs five secret numbers once a circuit (tau, alpha, beta, delta; gamma is 1 here as in snarkjs). In a real ceremony many
people each add a share, and one who destroys theirs is enough. Here all of them come out of `seed` by SHA-512, so the
same circuit gives the same keys, byte for byte, on any machine: keys to develop and test with, never to pay by. The seed in use
is `DEVELOPMENT_SEED`, and its name says what it is. How to replace the keys: docs/explain/zero-knowledge.md.
"""

from __future__ import annotations

from hashlib import sha512

from walras.metering.proofs.bn254 import FIELD_1, FIELD_2, GENERATOR_1, GENERATOR_2, inverses, multiples
from walras.metering.proofs.keys import ProvingKey, VerifyingKey
from walras.metering.proofs.poseidon import SCALAR_FIELD
from walras.metering.proofs.r1cs import Circuit, Terms

DEVELOPMENT_SEED = b"walras DEVELOPMENT ceremony 1: public, so proofs under these keys prove nothing to anybody"

_ROOT_OF_UNITY_ORDER = 28
_NON_RESIDUE = 5


def domain_of(circuit: Circuit) -> int:
    """The power of two that holds the constraints and a row each for 1 and the public inputs."""
    rows = len(circuit.constraints) + circuit.public + 1
    return 1 << max(1, (rows - 1).bit_length())


def root_of_unity(size: int) -> int:
    """The generator of the subgroup of `size` (a power of two up to 2^28), the one that snarkjs takes: a power of 5."""
    assert 1 <= size <= 1 << _ROOT_OF_UNITY_ORDER
    return pow(_NON_RESIDUE, (SCALAR_FIELD - 1) // size, SCALAR_FIELD)


def development_keys(circuit: Circuit, seed: bytes = DEVELOPMENT_SEED) -> ProvingKey:
    """The proving key (its verifying key inside) of `circuit` under `seed`; some seconds."""
    tau, alpha, beta, delta = (_secret(seed, circuit.name, name) for name in ("tau", "alpha", "beta", "delta"))
    domain = domain_of(circuit)
    at = _lagrange(domain, tau)
    a, b, c = [0] * circuit.wires, [0] * circuit.wires, [0] * circuit.wires
    for number, one in enumerate(circuit.constraints):
        for column, terms in ((a, one.a), (b, one.b), (c, one.c)):
            _accumulate(column, terms, at[number])
    for wire in range(circuit.public + 1):
        a[wire] = (a[wire] + at[len(circuit.constraints) + wire]) % SCALAR_FIELD
    by_delta = pow(delta, -1, SCALAR_FIELD)
    combined = [(beta * u + alpha * v + w) % SCALAR_FIELD for u, v, w in zip(a, b, c, strict=True)]
    public = circuit.public + 1
    odd = _lagrange(2 * domain, tau)[1::2]
    scalars = [
        *(alpha, beta, delta),
        *combined[:public],
        *(value * by_delta for value in combined[public:]),
        *(value * by_delta for value in odd),
        *a,
        *b,
    ]
    points = iter(multiples(FIELD_1, GENERATOR_1, scalars))

    def take(count: int) -> tuple[tuple[int, int] | None, ...]:
        return tuple(next(points) for _ in range(count))

    alpha_1, beta_1, delta_1 = take(3)
    inputs, private, quotient = take(public), take(circuit.wires - public), take(domain)
    a_1, b_1 = take(circuit.wires), take(circuit.wires)
    beta_2, delta_2, *b_2 = multiples(FIELD_2, GENERATOR_2, [beta, delta, *b])
    verifying = VerifyingKey(alpha_1, beta_2, GENERATOR_2, delta_2, inputs)
    return ProvingKey(verifying, beta_1, delta_1, domain, a_1, b_1, tuple(b_2), private, quotient)


def _accumulate(column: list[int], terms: Terms, value: int) -> None:
    for wire, coefficient in terms:
        column[wire] = (column[wire] + coefficient * value) % SCALAR_FIELD


def _lagrange(size: int, at: int) -> list[int]:
    """All Lagrange polynomials of the subgroup of `size`, at one point: (x^n - 1) / n * w^i / (x - w^i)."""
    root = root_of_unity(size)
    powers = [1]
    while len(powers) < size:
        powers.append(powers[-1] * root % SCALAR_FIELD)
    scale = (pow(at, size, SCALAR_FIELD) - 1) * pow(size, -1, SCALAR_FIELD) % SCALAR_FIELD
    below = inverses([(at - power) % SCALAR_FIELD for power in powers], SCALAR_FIELD)
    return [scale * power % SCALAR_FIELD * one % SCALAR_FIELD for power, one in zip(powers, below, strict=True)]


def _secret(seed: bytes, circuit: str, name: str) -> int:
    text = b"|".join((b"walras development ceremony", seed, circuit.encode(), name.encode()))
    return int.from_bytes(sha512(text).digest(), "big") % (SCALAR_FIELD - 1) + 1
