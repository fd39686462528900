"""Keys of Groth16 (Groth, "On the Size of Pairing-based Non-interactive Arguments", EUROCRYPT 2016): records and files.

A proving key is read and written in the `.zkey` format of snarkjs, so that the keys of a ceremony held with it are used as they
are, and other provers read ours. In it the quotient's points are in Lagrange form: H_i = L_{2i+1}(tau) / delta over the domain
of twice the size, since (A B - C) vanishes on the even points and is known by its values on the odd ones.
A verifying key is JSON in snarkjs' shape, points in affine coordinates.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from walras.errors import MeteringError
from walras.metering.proofs.bn254 import BASE_FIELD, G1, G2
from walras.metering.proofs.poseidon import SCALAR_FIELD
from walras.metering.proofs.r1cs import Circuit, binary_file, read_sections

_WORD = 32
_SHIFT = 1 << 256
_TO_FILE = _SHIFT % BASE_FIELD
_FROM_FILE = pow(_SHIFT, -1, BASE_FIELD)
_COEFFICIENT = _SHIFT * _SHIFT % SCALAR_FIELD


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """What checks proofs of one circuit: four fixed points, and one point a public input after the first, `inputs[0]`."""

    alpha: G1
    beta: G2
    gamma: G2
    delta: G2
    inputs: tuple[G1, ...]

    @property
    def public(self) -> int:
        """Number of public inputs."""
        return len(self.inputs) - 1


@dataclass(frozen=True, slots=True)
class ProvingKey:
    """What makes proofs of one circuit. Columns by wire, `private` by wire after the public ones, `quotient` by odd point."""

    verifying: VerifyingKey
    beta_1: G1
    delta_1: G1
    domain: int
    a: tuple[G1, ...]
    b_1: tuple[G1, ...]
    b_2: tuple[G2, ...]
    private: tuple[G1, ...]
    quotient: tuple[G1, ...]


def key_as_json(key: VerifyingKey) -> str:
    """The verifying key in the shape of snarkjs' `verification_key.json`."""
    content = {
        "protocol": "groth16",
        "curve": "bn128",
        "nPublic": key.public,
        "vk_alpha_1": _texts_1(key.alpha),
        "vk_beta_2": _texts_2(key.beta),
        "vk_gamma_2": _texts_2(key.gamma),
        "vk_delta_2": _texts_2(key.delta),
        "IC": [_texts_1(point) for point in key.inputs],
    }
    return json.dumps(content, indent=1) + "\n"


def key_from_json(text: str) -> VerifyingKey:
    """The verifying key in a `verification_key.json`; MeteringError for another protocol, curve or shape."""
    try:
        content = json.loads(text)
        if (content["protocol"], content["curve"]) != ("groth16", "bn128"):
            raise MeteringError(f"a key of {content['protocol']} over {content['curve']}", thing="verifying key")
        inputs = tuple(_point_1(point) for point in content["IC"])
        fixed = [_point_2(content[name]) for name in ("vk_beta_2", "vk_gamma_2", "vk_delta_2")]
        key = VerifyingKey(_point_1(content["vk_alpha_1"]), fixed[0], fixed[1], fixed[2], inputs)
    except (KeyError, TypeError, ValueError) as cause:
        raise MeteringError("not a verifying key in the shape of snarkjs", thing="verifying key") from cause
    if len(inputs) != content["nPublic"] + 1:
        raise MeteringError(f"{len(inputs)} points for {content['nPublic']} public inputs", thing="verifying key")
    return key


def _texts_1(point: G1) -> list[str]:
    return ["0", "1", "0"] if point is None else [str(point[0]), str(point[1]), "1"]


def _texts_2(point: G2) -> list[list[str]]:
    if point is None:
        return [["0", "0"], ["1", "0"], ["0", "0"]]
    return [[str(part) for part in point[0]], [str(part) for part in point[1]], ["1", "0"]]


def _point_1(texts: Any) -> G1:
    x, y, z = (int(text) for text in texts)
    return (x, y) if z else None


def _point_2(texts: Any) -> G2:
    (x0, x1), (y0, y1), (z0, _) = ((int(low), int(high)) for low, high in texts)
    return ((x0, x1), (y0, y1)) if z0 else None


def write_zkey(key: ProvingKey, circuit: Circuit) -> bytes:
    """The `.zkey` bytes of a key, with the circuit's coefficients and no contributions on record."""
    verifying = key.verifying
    header = (
        struct.pack("<I", _WORD)
        + BASE_FIELD.to_bytes(_WORD, "little")
        + struct.pack("<I", _WORD)
        + SCALAR_FIELD.to_bytes(_WORD, "little")
        + struct.pack("<III", circuit.wires, circuit.public, key.domain)
        + _bytes_1((verifying.alpha, key.beta_1))
        + _bytes_2((verifying.beta, verifying.gamma))
        + _bytes_1((key.delta_1,))
        + _bytes_2((verifying.delta,))
    )
    sections = [
        (1, struct.pack("<I", 1)),
        (2, header),
        (3, _bytes_1(verifying.inputs)),
        (4, _coefficients(circuit)),
        (5, _bytes_1(key.a)),
        (6, _bytes_1(key.b_1)),
        (7, _bytes_2(key.b_2)),
        (8, _bytes_1(key.private)),
        (9, _bytes_1(key.quotient)),
        (10, bytes(64) + struct.pack("<I", 0)),
    ]
    return binary_file(b"zkey", 1, sections)


def read_zkey(data: bytes) -> ProvingKey:
    """The proving key in a `.zkey`, of a ceremony or of `write_zkey`; MeteringError for another protocol or curve."""
    sections = dict(read_sections(data, b"zkey"))
    if not set(range(1, 10)) <= sections.keys() or sections[1] != struct.pack("<I", 1):
        raise MeteringError("not a zkey of Groth16", thing="zkey")
    header = sections[2]
    moduli = (int.from_bytes(header[4:36], "little"), int.from_bytes(header[40:72], "little"))
    if moduli != (BASE_FIELD, SCALAR_FIELD):
        raise MeteringError("a zkey over another curve", thing="zkey", way_out="hold the ceremony over bn128")
    domain = struct.unpack_from("<III", header, 72)[2]
    alpha, beta_1 = _points_1(header[84:212])
    beta, gamma = _points_2(header[212:468])
    (delta_1,), (delta,) = _points_1(header[468:532]), _points_2(header[532:660])
    verifying = VerifyingKey(alpha, beta, gamma, delta, _points_1(sections[3]))
    columns = _points_1(sections[5]), _points_1(sections[6]), _points_2(sections[7])
    return ProvingKey(verifying, beta_1, delta_1, domain, *columns, _points_1(sections[8]), _points_1(sections[9]))


def _coefficients(circuit: Circuit) -> bytes:
    """Coefficients of A and B as (matrix, constraint, wire, value); a row more a public input keeps those independent."""
    rows = [
        (matrix, number, wire, value)
        for number, one in enumerate(circuit.constraints)
        for matrix, terms in ((0, one.a), (1, one.b))
        for wire, value in terms
    ]
    rows += [(0, len(circuit.constraints) + wire, wire, 1) for wire in range(circuit.public + 1)]
    body = b"".join(
        struct.pack("<III", matrix, number, wire) + (value * _COEFFICIENT % SCALAR_FIELD).to_bytes(_WORD, "little")
        for matrix, number, wire, value in rows
    )
    return struct.pack("<I", len(rows)) + body


def _bytes_1(points: tuple[G1, ...]) -> bytes:
    return b"".join(bytes(2 * _WORD) if p is None else b"".join(map(_stored, p)) for p in points)


def _bytes_2(points: tuple[G2, ...]) -> bytes:
    return b"".join(bytes(4 * _WORD) if p is None else b"".join(map(_stored, (*p[0], *p[1]))) for p in points)


def _stored(value: int) -> bytes:
    return (value * _TO_FILE % BASE_FIELD).to_bytes(_WORD, "little")


def _loaded(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + _WORD], "little") * _FROM_FILE % BASE_FIELD for at in range(0, len(data), _WORD)]


def _points_1(data: bytes) -> tuple[G1, ...]:
    numbers = _loaded(data)
    return tuple((x, y) if x or y else None for x, y in zip(numbers[0::2], numbers[1::2], strict=True))


def _points_2(data: bytes) -> tuple[G2, ...]:
    n = _loaded(data)
    quads = zip(n[0::4], n[1::4], n[2::4], n[3::4], strict=True)
    return tuple(((x0, x1), (y0, y1)) if x0 or x1 or y0 or y1 else None for x0, x1, y0, y1 in quads)
