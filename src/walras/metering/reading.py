"""A meter reading and its one canonical encoding: deterministic CBOR inside COSE_Sign1.

    18([ << {1: -7, 4: kid} >>, {}, << {1: slot, 2: import_wh, 3: export_wh, 4: counter, 5: quality} >>, signature ])

COSE_Sign1 by RFC 9052 section 4.2, ES256 by RFC 9053 section 2.1, CBOR by RFC 8949 section 4.2.1 (deterministic). `kid` is the
`identity.key_id` of the meter. The external data under the signature is `CONTEXT`, so a signature over a reading can pass for
nothing else. There is exactly one byte string for a reading under a signature: any other spelling is refused, so a Merkle leaf,
a journal entry and a replay guard all speak of the same thing.

The layout is fixed but for the widths of five whole numbers, so encoding and decoding are a few slices; `strict_cbor`
names what is wrong where that fails, and the tests hold both to cbor2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from walras.errors import Fault, InputError
from walras.metering.identity import HALF_ORDER_BYTES, KEY_ID_BYTES, Key, key_id, sign
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import Tagged, loads_strict
from walras.units import INT64_MAX

CONTEXT = b"walras reading 1"
"""External data under every reading's signature (RFC 9052 section 4.4)."""

MAX_BYTES = 144
"""The longest reading: 25 bytes of head, 2 + 51 of payload (five numbers of 8 bytes), 2 + 64 of signature."""


class Quality(IntEnum):
    """What a value rests on. A device may claim the codes below 16; the others are given by the exchange."""

    MEASURED = 0
    """Measured over the whole slot by a calibrated meter with a synchronised clock."""
    CLOCK_UNCERTAIN = 1
    """Measured, but the meter's clock was not synchronised."""
    INTERRUPTED = 2
    """Measured, but the meter was without supply for part of the slot."""
    SUBSTITUTE_SAME_SLOT = 16
    """Missing: the value of the same slot on the last day of the same type."""
    SUBSTITUTE_FORECAST = 17
    """Missing: the forecast."""
    SUBSTITUTE_ZERO = 18
    """Missing and nothing known: zero."""
    SUBSTITUTE_INTERPOLATED = 19
    """Missing for a short while: in equal parts from the registers before and after."""
    EDITED = 32
    """Corrected afterwards by a named person; settled by a correction."""


MAX_DEVICE_QUALITY = 15


@dataclass(frozen=True, slots=True)
class Reading:
    """What one meter measured in one slot: register deltas in whole Wh, both >= 0.

    `import_wh` is taken from the grid, `export_wh` fed into it; the net position is import - export (positive takes).
    `counter` rises with every reading the device ever signs.
    """

    key_id: bytes
    slot: int
    import_wh: int
    export_wh: int
    counter: int
    quality: int = Quality.MEASURED

    @property
    def net_wh(self) -> int:
        """Positive when taken from the grid."""
        return self.import_wh - self.export_wh


_HEAD = b"\xd2\x84\x55\xa2\x01\x26\x04\x50"  # tag 18, array of 4, bstr of 21: {1: -7, 4: bstr of 16 ...
_KID_END = len(_HEAD) + KEY_ID_BYTES
_PAYLOAD_AT = _KID_END + 1
_SIGNATURE_HEAD = b"\x58\x40"
_TAIL = 66
_SIGN_HEAD = b"\x84\x6aSignature1"
_CONTEXT_BSTR = bytes([0x40 + len(CONTEXT)]) + CONTEXT

KEY_ID = slice(8, _KID_END)
"""Where a canonical reading has its meter's key id."""

Fields = tuple[bytes, int, int, int, int, int]
"""key_id, slot, import_wh, export_wh, counter, quality."""


def encode_payload(slot: int, import_wh: int, export_wh: int, counter: int, quality: int) -> bytes:
    """The five numbers (0 to int64's maximum) as a deterministic CBOR map.

    >>> encode_payload(95, 250, 0, 96, 0).hex()
    'a501185f0218fa03000418600500'
    """
    return b"".join(
        (
            b"\xa5\x01",
            _uint(slot),
            b"\x02",
            _uint(import_wh),
            b"\x03",
            _uint(export_wh),
            b"\x04",
            _uint(counter),
            b"\x05",
            _uint(quality),
        )
    )


def unsigned_leaf(device_key_id: bytes, payload: bytes) -> bytes:
    """A payload under its device's name and no signature of its own: canonical CBOR [key_id, payload].

    The leaf of a reading whose proof stands elsewhere (`parcel`), or that nobody signed (a substitute).
    """
    return b"\x82\x50" + device_key_id + payload


def _uint(value: int) -> bytes:
    if value < 24:
        return value.to_bytes(1, "big")
    if value < 1 << 8:
        return b"\x18" + value.to_bytes(1, "big")
    if value < 1 << 16:
        return b"\x19" + value.to_bytes(2, "big")
    if value < 1 << 32:
        return b"\x1a" + value.to_bytes(4, "big")
    return b"\x1b" + value.to_bytes(8, "big")


def _bstr(data: bytes) -> bytes:
    size = len(data)
    return (bytes((0x40 + size,)) if size < 24 else bytes((0x58, size))) + data


def sign_reading(key: Key, slot: int, import_wh: int, export_wh: int, counter: int, quality: int = 0) -> bytes:
    """The signed canonical bytes of one reading; InputError for a number that is negative or beyond int64."""
    return sign_readings([key], [0], [slot], [import_wh], [export_wh], [counter], [quality])[0]


def sign_readings(
    keys: Sequence[Key],
    device: Iterable[int],
    slot: Iterable[int],
    import_wh: Iterable[int],
    export_wh: Iterable[int],
    counter: Iterable[int],
    quality: Iterable[int],
) -> list[bytes]:
    """Signed canonical bytes, one row of the columns a reading; row i is signed by `keys[device[i]]`.

    Numpy columns or lists of equal length. InputError names every row with a number below 0 or beyond int64.
    """
    names = ("device", "slot", "import_wh", "export_wh", "counter", "quality")
    columns = [[int(value) for value in column] for column in (device, slot, import_wh, export_wh, counter, quality)]
    sizes = {len(column) for column in columns}
    if len(sizes) != 1:
        raise InputError("readings", [Fault("columns", "length", sorted(sizes), "one length for all columns")])
    faults = [
        Fault(f"row {row}", name, value, f"a whole number from 0 to {INT64_MAX}")
        for name, column in zip(names, columns, strict=True)
        for row, value in enumerate(column)
        if not 0 <= value <= INT64_MAX
    ]
    if faults:
        raise InputError("readings", faults)
    used = sorted(set(columns[0]))
    if used and used[-1] >= len(keys):
        raise InputError("readings", [Fault("readings", "device", used[-1], f"below {len(keys)}, the number of keys")])
    signers = {index: signer(keys[index]) for index in used}
    return [signers[row[0]](encode_payload(*row[1:])) for row in zip(*columns, strict=True)]


def signer(key: Key) -> Callable[[bytes], bytes]:
    """A function from a payload of `encode_payload` to the signed reading, with the device's head made once."""
    head = _HEAD + key_id(key.public_key())
    sign_head = _SIGN_HEAD + head[2:] + _CONTEXT_BSTR
    head += b"\xa0"

    def signed(payload: bytes) -> bytes:
        wrapped = _bstr(payload)
        return head + wrapped + _SIGNATURE_HEAD + sign(key, sign_head + wrapped)

    return signed


def signed_part(encoded: bytes) -> bytes:
    """What the signature of a well-formed reading is over: its Sig_structure (RFC 9052 section 4.4)."""
    return _SIGN_HEAD + encoded[2:_KID_END] + _CONTEXT_BSTR + encoded[_PAYLOAD_AT:-_TAIL]


def split_reading(encoded: bytes) -> Fields | None:
    """The fields of a canonical reading, or None where `encoded` is anything else. Signature not checked, but low s is."""
    size = len(encoded)
    if size > MAX_BYTES or encoded[:8] != _HEAD or size < _PAYLOAD_AT + 12 + _TAIL or encoded[_KID_END] != 0xA0:
        return None
    end = size - _TAIL
    at = _PAYLOAD_AT + 1
    length = encoded[_PAYLOAD_AT] - 0x40
    if length == 24:  # one length byte follows
        length = encoded[at]
        at += 1
        if length < 24:
            return None
    elif length > 23:
        return None
    if encoded[end : end + 2] != _SIGNATURE_HEAD or encoded[end + 34 :] > HALF_ORDER_BYTES:
        return None
    numbers = read_payload(encoded, at) if at + length == end else None
    if numbers is None or numbers[5] != end:
        return None
    slot, import_wh, export_wh, counter, quality, _ = numbers
    return encoded[8:_KID_END], slot, import_wh, export_wh, counter, quality


def read_payload(data: bytes, at: int) -> tuple[int, int, int, int, int, int] | None:
    """The five numbers of the canonical payload at `at`, and the position behind it; None where there is none.

    >>> read_payload(encode_payload(95, 250, 0, 96, 0), 0)
    (95, 250, 0, 96, 0, 14)
    """
    last = len(data) - 1
    if at >= last or data[at] != 0xA5:
        return None
    at += 1
    numbers = []
    for name in (1, 2, 3, 4, 5):
        if at >= last or data[at] != name:
            return None
        value = data[at + 1]
        at += 2
        if value > 23:
            if value > 27:
                return None
            width = 1 << (value - 24)
            value = int.from_bytes(data[at : at + width], "big")
            at += width
            if at > last + 1 or value < (24 if width == 1 else 1 << (width << 2)) or value > INT64_MAX:
                return None
        numbers.append(value)
    slot, import_wh, export_wh, counter, quality = numbers
    return slot, import_wh, export_wh, counter, quality, at


def decode_reading(encoded: bytes) -> Reading | Refusal:
    """The reading in `encoded`, or the named reason why it is not the canonical encoding of one. No signature is checked."""
    fields = split_reading(encoded)
    return diagnose(encoded) if fields is None else Reading(*fields)


def diagnose(encoded: bytes) -> Refusal:
    """Why `split_reading` gave None."""
    if len(encoded) > MAX_BYTES:
        return Refusal.TOO_LONG
    outer = loads_strict(encoded)
    if isinstance(outer, Refusal):
        return outer
    if not (isinstance(outer, Tagged) and outer.tag == 18 and isinstance(outer.value, list) and len(outer.value) == 4):
        return Refusal.WRONG_SHAPE
    protected, unprotected, payload, signature = outer.value
    if not (isinstance(protected, bytes) and unprotected == {} and isinstance(payload, bytes) and isinstance(signature, bytes)):
        return Refusal.WRONG_SHAPE
    header, body = loads_strict(protected), loads_strict(payload)
    for part in (header, body):
        if isinstance(part, Refusal):
            return part
    if not isinstance(header, dict) or not isinstance(body, dict) or set(header) != {1, 4} or set(body) != {1, 2, 3, 4, 5}:
        return Refusal.WRONG_SHAPE
    if header[1] != -7:
        return Refusal.WRONG_ALGORITHM
    if not isinstance(header[4], bytes) or len(header[4]) != KEY_ID_BYTES or len(signature) != 64:
        return Refusal.WRONG_SHAPE
    if not all(isinstance(value, int) for value in body.values()):
        return Refusal.WRONG_SHAPE
    if not all(0 <= value <= INT64_MAX for value in body.values()):
        return Refusal.OUT_OF_RANGE
    if signature[32:] > HALF_ORDER_BYTES:
        return Refusal.NOT_CANONICAL
    raise AssertionError(f"a canonical reading was not split: {encoded.hex()}")  # pragma: no cover - held by a law
