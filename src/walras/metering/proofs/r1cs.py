"""A compiled circuit: its constraints (A w) * (B w) = (C w) over the field, which wire has which name, and who satisfies it.

Read from the compiler's own formats: `.r1cs` (the iden3 binary format for rank-1 constraint systems, version 1) and `.sym` (a
line a signal: label, wire or -1, component, name). A witness is one number a wire; wire 0 is 1, then come the public inputs in
the order of their declaration. `violations` is the test that a false witness fails before anything is proven.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from walras.errors import Fault, InputError, MeteringError
from walras.metering.proofs.poseidon import SCALAR_FIELD

Terms = tuple[tuple[int, int], ...]
"""(wire, coefficient) pairs: a linear combination of wires."""

FIELD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Constraint:
    """a(w) * b(w) = c(w)."""

    a: Terms
    b: Terms
    c: Terms


@dataclass(frozen=True, slots=True)
class Circuit:
    """`wires` in all, of which 1 to `public` are public; `names` maps a signal's full name to its wire."""

    name: str
    wires: int
    public: int
    constraints: tuple[Constraint, ...]
    names: Mapping[str, int]

    @property
    def public_names(self) -> tuple[str, ...]:
        """The public inputs in their order, without the leading `main.`."""
        found = {wire: name.removeprefix("main.") for name, wire in self.names.items() if name.count(".") == 1 and wire >= 1}
        return tuple(found[wire] for wire in range(1, self.public + 1))


def read_circuit(name: str, r1cs: bytes, symbols: str) -> Circuit:
    """The circuit in the compiler's two files; MeteringError where they are not of this format or this field."""
    sections = dict(read_sections(r1cs, b"r1cs"))
    if not {1, 2} <= sections.keys():
        raise MeteringError(f"the r1cs of {name} lacks a section", thing=name)
    header = sections[1]
    size, prime = struct.unpack_from("<I", header)[0], int.from_bytes(header[4 : 4 + FIELD_BYTES], "little")
    if size != FIELD_BYTES or prime != SCALAR_FIELD:
        raise MeteringError(f"the r1cs of {name} is over another field", thing=name, way_out="compile it with --prime bn128")
    wires, outputs, inputs, _, _, count = struct.unpack_from("<IIIIQI", header, 4 + FIELD_BYTES)
    constraints = tuple(_constraints(sections[2], count))
    names = {}
    for line in symbols.splitlines():
        _, wire, _, signal = line.split(",")
        if int(wire) >= 0:
            names[signal] = int(wire)
    return Circuit(name, wires, outputs + inputs, constraints, names)


def read_sections(data: bytes, magic: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, content) of each section of an iden3 binary file; MeteringError for another kind of file."""
    if data[:4] != magic:
        raise MeteringError(f"not a {magic.decode()} file: it begins with {data[:4]!r}", thing=magic.decode())
    (sections,) = struct.unpack_from("<I", data, 8)
    at = 12
    for _ in range(sections):
        kind, size = struct.unpack_from("<IQ", data, at)
        at += 12
        if at + size > len(data):
            raise MeteringError(f"a {magic.decode()} file ends inside section {kind}", thing=magic.decode())
        yield kind, data[at : at + size]
        at += size


def _constraints(data: bytes, count: int) -> Iterator[Constraint]:
    at = 0

    def terms() -> Terms:
        nonlocal at
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        found = []
        for _ in range(size):
            (wire,) = struct.unpack_from("<I", data, at)
            found.append((wire, int.from_bytes(data[at + 4 : at + 4 + FIELD_BYTES], "little")))
            at += 4 + FIELD_BYTES
        return tuple(found)

    for _ in range(count):
        yield Constraint(terms(), terms(), terms())


def value_of(terms: Terms, witness: Sequence[int]) -> int:
    """The linear combination under a witness."""
    return sum(witness[wire] * coefficient for wire, coefficient in terms) % SCALAR_FIELD


def violations(circuit: Circuit, witness: Sequence[int]) -> list[int]:
    """The numbers of the constraints that the witness breaks; none for a true statement."""
    if len(witness) != circuit.wires or witness[0] != 1:
        expected = f"{circuit.wires} numbers, the first of them 1"
        raise InputError("witness", [Fault(circuit.name, "witness", (len(witness), witness[:1]), expected)])
    return [
        number
        for number, one in enumerate(circuit.constraints)
        if (value_of(one.a, witness) * value_of(one.b, witness) - value_of(one.c, witness)) % SCALAR_FIELD
    ]


def witness_file(witness: Sequence[int]) -> bytes:
    """The witness in the iden3 `.wtns` format (version 2): what provers of other makers read."""
    header = struct.pack("<I", FIELD_BYTES) + SCALAR_FIELD.to_bytes(FIELD_BYTES, "little") + struct.pack("<I", len(witness))
    body = b"".join(value.to_bytes(FIELD_BYTES, "little") for value in witness)
    return binary_file(b"wtns", 2, [(1, header), (2, body)])


def read_witness(data: bytes) -> list[int]:
    """The witness in a `.wtns` file; MeteringError for another field.

    >>> read_witness(witness_file([1, 5]))
    [1, 5]
    """
    sections = dict(read_sections(data, b"wtns"))
    if int.from_bytes(sections[1][4 : 4 + FIELD_BYTES], "little") != SCALAR_FIELD:
        raise MeteringError("a witness over another field", thing="wtns")
    body = sections[2]
    return [int.from_bytes(body[at : at + FIELD_BYTES], "little") for at in range(0, len(body), FIELD_BYTES)]


def binary_file(magic: bytes, version: int, sections: Sequence[tuple[int, bytes]]) -> bytes:
    """An iden3 binary file of these sections."""
    head = magic + struct.pack("<II", version, len(sections))
    return head + b"".join(struct.pack("<IQ", kind, len(body)) + body for kind, body in sections)
