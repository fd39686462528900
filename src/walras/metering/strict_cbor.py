"""A strict reader of canonical CBOR: it accepts exactly one encoding of each value, and names what is wrong with any other.

Deterministic encoding by RFC 8949 section 4.2.1: shortest heads, definite lengths, map keys ascending by their bytes. Only what
COSE needs is understood: integers, byte and text strings, arrays, maps, tags, null. Floats and other simple values are
well-formed but never part of a reading (WRONG_SHAPE). Nothing is built beyond plain Python values, so no tag of a
hostile sender can start work.
"""

from __future__ import annotations

from dataclasses import dataclass

from walras.metering.refusals import Refusal

_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Tagged:
    """A CBOR tag and what it holds."""

    tag: int
    value: object


class RefusedBytes(Exception):
    """Carries the Refusal up from the depth of the bytes; `loads_strict` turns it into a value, so it never leaves this
    file."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.name)


def loads_strict(data: bytes) -> object | Refusal:
    """The one value that `data` encodes canonically, or why there is none.

    >>> loads_strict(bytes.fromhex("a10126")), loads_strict(bytes.fromhex("a1180126")).name
    ({1: -7}, 'NOT_CANONICAL')
    """
    try:
        value, end, canonical, known = _item(data, 0, 0)
    except RefusedBytes as refused:
        return refused.refusal
    if end != len(data):
        return Refusal.TRAILING_BYTES
    if not canonical:
        return Refusal.NOT_CANONICAL
    return value if known else Refusal.WRONG_SHAPE


def sequence_strict(data: bytes) -> list[object] | Refusal:
    """The values of a CBOR sequence (RFC 8742), each encoded canonically, or why there are none.

    >>> sequence_strict(b"\x01\x02"), sequence_strict(b"")
    ([1, 2], [])
    """
    values: list[object] = []
    at, canonical, known = 0, True, True
    while at < len(data):
        try:
            value, at, inner, understood = _item(data, at, 0)
        except RefusedBytes as refused:
            return refused.refusal
        values.append(value)
        canonical, known = canonical and inner, known and understood
    if not canonical:
        return Refusal.NOT_CANONICAL
    return values if known else Refusal.WRONG_SHAPE


Item = tuple[object, int, bool, bool]
"""value, position behind it, canonical so far, understood so far."""


def _head(data: bytes, at: int) -> tuple[int, int, int, bool]:
    """Major type, argument (-1 for an indefinite length), position behind the head, shortest form."""
    if at >= len(data):
        raise RefusedBytes(Refusal.TRUNCATED)
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        return major, info, at, True
    if info == 31 and major in (2, 3, 4, 5):
        return major, -1, at, False
    if info > 27:
        raise RefusedBytes(Refusal.NOT_WELL_FORMED)
    size = 1 << (info - 24)
    if at + size > len(data):
        raise RefusedBytes(Refusal.TRUNCATED)
    argument = int.from_bytes(data[at : at + size], "big")
    shortest = argument >= (24 if size == 1 else 1 << (4 * size))
    if major == 7:
        if size == 1 and argument < 32:
            raise RefusedBytes(Refusal.NOT_WELL_FORMED)
        shortest = True
    return major, argument, at + size, shortest


def _item(data: bytes, at: int, depth: int) -> Item:
    if depth > _MAX_DEPTH:
        raise RefusedBytes(Refusal.WRONG_SHAPE)
    start = at
    major, argument, at, canonical = _head(data, at)
    if argument < 0:
        return _indefinite(data, major, at, depth)
    if major == 0:
        return argument, at, canonical, True
    if major == 1:
        return -1 - argument, at, canonical, True
    if major in (2, 3):
        return _string(data, major, at, argument, canonical)
    if major == 4:
        values = []
        understood = True
        for _ in range(argument):
            value, at, inner, known = _item(data, at, depth + 1)
            values.append(value)
            canonical, understood = canonical and inner, understood and known
        return values, at, canonical, understood
    if major == 5:
        return _map(data, at, argument, depth, canonical)
    if major == 6:
        value, at, inner, known = _item(data, at, depth + 1)
        return Tagged(argument, value), at, canonical and inner, known
    return None, at, canonical, data[start] == 0xF6  # null; not a float or another simple value


def _string(data: bytes, major: int, at: int, length: int, canonical: bool) -> Item:
    if at + length > len(data):
        raise RefusedBytes(Refusal.TRUNCATED)
    raw = data[at : at + length]
    if major == 2:
        return raw, at + length, canonical, True
    try:
        return raw.decode(), at + length, canonical, True
    except UnicodeDecodeError:
        raise RefusedBytes(Refusal.NOT_WELL_FORMED) from None


def _map(data: bytes, at: int, pairs: int, depth: int, canonical: bool) -> Item:
    values: dict[object, object] = {}
    understood = True
    last_key = b""
    for _ in range(pairs):
        start = at
        key, at, inner, known = _item(data, at, depth + 1)
        raw_key = data[start:at]
        canonical = canonical and inner and raw_key > last_key  # equal: a duplicate key
        last_key = raw_key
        value, at, inner, known_value = _item(data, at, depth + 1)
        canonical = canonical and inner
        understood = understood and known and known_value and isinstance(key, int | str | bytes)
        if understood:
            values[key] = value
    return values, at, canonical, understood


def _indefinite(data: bytes, major: int, at: int, depth: int) -> Item:
    """Walk over an indefinite-length item: well-formed or not, it is not canonical."""
    count = 0
    while True:
        if at >= len(data):
            raise RefusedBytes(Refusal.TRUNCATED)
        if data[at] == 0xFF:
            if major == 5 and count % 2:
                raise RefusedBytes(Refusal.NOT_WELL_FORMED)
            return None, at + 1, False, True
        if major in (2, 3) and (data[at] >> 5 != major or data[at] & 31 == 31):
            raise RefusedBytes(Refusal.NOT_WELL_FORMED)
        _, at, _, _ = _item(data, at, depth + 1)
        count += 1
