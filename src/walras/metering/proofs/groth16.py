"""Groth16 over BN254: a proof of 256 bytes, made here in plain Python and checked with py_ecc's pairings.

Groth, "On the Size of Pairing-based Non-interactive Arguments", EUROCRYPT 2016, section 3.2. The check of one proof is

    e(A, B) = e(alpha, beta) e(inputs(x), gamma) e(C, delta)

and of many under one key one equation, their random linear combination: both sides of proof i to the power of r_i, drawn by
hashing the key, all proofs and all inputs. n + 3 pairings stand for 4n; a false proof among them passes with a chance of
2^-128. `ProofVerifier.sol` computes the same.

A proof can be changed into another proof of the same statement by anybody: it is no name and no receipt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from py_ecc.fields import optimized_bn128_FQ as FQ
from py_ecc.fields import optimized_bn128_FQ2 as FQ2
from py_ecc.fields import optimized_bn128_FQ12 as FQ12
from py_ecc.optimized_bn128 import optimized_curve as curve
from py_ecc.optimized_bn128 import optimized_pairing as pairings

from walras.errors import Fault, InputError, MeteringError
from walras.metering.proofs.bn254 import BASE_FIELD, FIELD_1, FIELD_2, G1, G2, negated_1, weighted_sum
from walras.metering.proofs.development_setup import root_of_unity
from walras.metering.proofs.keys import ProvingKey, VerifyingKey, key_as_json
from walras.metering.proofs.poseidon import SCALAR_FIELD
from walras.metering.proofs.r1cs import Circuit, value_of, violations

PROOF_BYTES = 256
_WORD = 32


@dataclass(frozen=True, slots=True)
class Proof:
    """Three points: A and C of the first group, B of the second."""

    a: G1
    b: G2
    c: G1

    def words(self) -> tuple[int, ...]:
        """Eight numbers as the EVM's precompiles take them: of B, the imaginary parts first (EIP-197); infinity is zeros."""
        a, c = self.a or (0, 0), self.c or (0, 0)
        (x0, x1), (y0, y1) = self.b or ((0, 0), (0, 0))
        return (*a, x1, x0, y1, y0, *c)

    def encode(self) -> bytes:
        """256 bytes: the eight words."""
        return b"".join(word.to_bytes(_WORD, "big") for word in self.words())


def decode_proof(data: bytes) -> Proof:
    """The proof in 256 bytes; InputError for another length or a coordinate that is not below the modulus."""
    words = [int.from_bytes(data[at : at + _WORD], "big") for at in range(0, len(data), _WORD)]
    if len(data) != PROOF_BYTES or max(words) >= BASE_FIELD:
        raise InputError("proof", [Fault("proof", "bytes", f"{len(data)} bytes", f"{PROOF_BYTES} bytes, eight numbers below q")])
    ax, ay, bx1, bx0, by1, by0, cx, cy = words
    b = ((bx0, bx1), (by0, by1)) if any(words[2:6]) else None
    return Proof((ax, ay) if ax or ay else None, b, (cx, cy) if cx or cy else None)


def prove(circuit: Circuit, key: ProvingKey, witness: Sequence[int], blinding: tuple[int, int]) -> Proof:
    """A proof that somebody knows a witness with these public inputs. `blinding`: two fresh secret random numbers below r.

    MeteringError where the witness breaks a constraint: what is false is not proven.
    """
    require_true(circuit, witness)
    return prove_unchecked(circuit, key, witness, blinding)


def require_true(circuit: Circuit, witness: Sequence[int]) -> None:
    """MeteringError, with the number of the first broken constraint, for the witness of what is not true."""
    broken = violations(circuit, witness)
    if broken:
        raise MeteringError(
            f"the witness breaks {len(broken)} of {len(circuit.constraints)} constraints of {circuit.name}, first {broken[0]}",
            thing=circuit.name,
            way_out="the statement is not true of these readings; state what is",
        )


def prove_unchecked(circuit: Circuit, key: ProvingKey, witness: Sequence[int], blinding: tuple[int, int]) -> Proof:
    """As `prove`, for a witness already checked; of a false one, a proof that does not verify."""
    r, s = blinding
    quotient = _quotient(circuit, key.domain, witness)
    verifying = key.verifying
    a = weighted_sum(FIELD_1, [*key.a, verifying.alpha, key.delta_1], [*witness, 1, r])
    b_1 = weighted_sum(FIELD_1, [*key.b_1, key.beta_1, key.delta_1], [*witness, 1, s])
    b_2 = weighted_sum(FIELD_2, [*key.b_2, verifying.beta, verifying.delta], [*witness, 1, s])
    points = [*key.private, *key.quotient, a, b_1, key.delta_1]
    c = weighted_sum(FIELD_1, points, [*witness[circuit.public + 1 :], *quotient, s, r, -r * s])
    return Proof(a, b_2, c)


def _quotient(circuit: Circuit, domain: int, witness: Sequence[int]) -> list[int]:
    """A(x) B(x) - C(x) on the odd points of the domain of twice the size, where A, B, C interpolate the constraints."""
    a = [value_of(one.a, witness) for one in circuit.constraints]
    b = [value_of(one.b, witness) for one in circuit.constraints]
    a += witness[: circuit.public + 1]
    columns = [a, b, [left * right % SCALAR_FIELD for left, right in zip(a, [*b, *[0] * (circuit.public + 1)], strict=True)]]
    root, shift = root_of_unity(domain), root_of_unity(2 * domain)
    back, count = pow(root, -1, SCALAR_FIELD), pow(domain, -1, SCALAR_FIELD)
    shifted = []
    for column in columns:
        coefficients = _transform([*column, *[0] * (domain - len(column))], back)
        power = count
        for at, value in enumerate(coefficients):
            coefficients[at] = value * power % SCALAR_FIELD
            power = power * shift % SCALAR_FIELD
        shifted.append(_transform(coefficients, root))
    return [(x * y - z) % SCALAR_FIELD for x, y, z in zip(*shifted, strict=True)]


def _transform(values: list[int], root: int) -> list[int]:
    """The values of the polynomial with these coefficients on the powers of `root` (number-theoretic transform)."""
    if len(values) == 1:
        return values
    square = root * root % SCALAR_FIELD
    even, odd = _transform(values[0::2], square), _transform(values[1::2], square)
    power, low, high = 1, [], []
    for x, y in zip(even, odd, strict=True):
        y = y * power % SCALAR_FIELD
        low.append((x + y) % SCALAR_FIELD)
        high.append((x - y) % SCALAR_FIELD)
        power = power * root % SCALAR_FIELD
    return low + high


def verify(key: VerifyingKey, proof: Proof, public: Sequence[int]) -> bool:
    """Whether the proof holds for these public inputs: False for anything else, points off the curve included."""
    return verify_batch(key, [(proof, public)])


def verify_batch(key: VerifyingKey, proofs: Sequence[tuple[Proof, Sequence[int]]]) -> bool:
    """Whether all proofs of a batch hold; True for none. One false proof makes it False and is not named: check them singly."""
    for proof, public in proofs:
        in_field = len(public) == key.public and all(0 <= value < SCALAR_FIELD for value in public)
        if not in_field or not _on_curve(proof):
            return False
    weights = _weights(key, proofs)
    inputs = [0] * (key.public + 1)
    for weight, (_, public) in zip(weights, proofs, strict=True):
        for at, value in enumerate((1, *public)):
            inputs[at] = (inputs[at] + weight * value) % SCALAR_FIELD
    pairs: list[tuple[G1, G2]] = [
        (negated_1(weighted_sum(FIELD_1, [proof.a], [weight])), proof.b) for weight, (proof, _) in zip(weights, proofs, strict=True)
    ]
    pairs += [
        (weighted_sum(FIELD_1, [key.alpha], [inputs[0]]), key.beta),
        (weighted_sum(FIELD_1, key.inputs, inputs), key.gamma),
        (weighted_sum(FIELD_1, [proof.c for proof, _ in proofs], weights), key.delta),
    ]
    product = FQ12.one()
    for left, right in pairs:
        product *= pairings.pairing(_second(right), _first(left), final_exponentiate=False)
    return bool(pairings.final_exponentiate(product) == FQ12.one())


def _weights(key: VerifyingKey, proofs: Sequence[tuple[Proof, Sequence[int]]]) -> list[int]:
    """A number of 128 bits a proof that nobody can know before all of them are fixed."""
    seed = sha256(b"walras batch of proofs" + key_as_json(key).encode())
    for proof, public in proofs:
        seed.update(proof.encode())
        seed.update(b"".join(value.to_bytes(_WORD, "big") for value in public))
    start = seed.digest()
    return [int.from_bytes(sha256(start + row.to_bytes(8, "big")).digest()[:16], "big") | 1 for row in range(len(proofs))]


def _on_curve(proof: Proof) -> bool:
    """Both points of the first group on its curve, B on the twist and in the subgroup of order r."""
    first = all(point is None or (point[1] ** 2 - point[0] ** 3 - 3) % BASE_FIELD == 0 for point in (proof.a, proof.c))
    second = _second(proof.b)
    return first and bool(curve.is_on_curve(second, curve.b2)) and bool(curve.is_inf(curve.multiply(second, SCALAR_FIELD)))


def _first(point: G1) -> Any:
    return curve.Z1 if point is None else (FQ(point[0]), FQ(point[1]), FQ.one())


def _second(point: G2) -> Any:
    return curve.Z2 if point is None else (FQ2(list(point[0])), FQ2(list(point[1])), FQ2.one())


__all__ = ["PROOF_BYTES", "Proof", "decode_proof", "prove", "prove_unchecked", "verify", "verify_batch"]
