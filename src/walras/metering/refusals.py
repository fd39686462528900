"""The named reasons for which a reading is refused, in the order in which they are checked.

The order is the rule: cheap checks that need no trust come first, the signature before anything that reads the state, and
what the numbers say last. The first reason that applies is the one that is given. A refusal is a value, counted and shown.
"""

from __future__ import annotations

from enum import IntEnum


class Refusal(IntEnum):
    """Why a reading was refused. The numbers are part of the record: never reuse one."""

    # 1. the bytes alone
    TOO_LONG = 1
    """Longer than any reading can be; not looked into."""
    TRUNCATED = 2
    """The bytes end inside an item."""
    NOT_WELL_FORMED = 3
    """Not CBOR (RFC 8949 section 5.3.1)."""
    TRAILING_BYTES = 4
    """A complete item, and then more."""
    NOT_CANONICAL = 5
    """CBOR, but not its deterministic encoding (RFC 8949 section 4.2.1), or a signature with s in the upper half."""
    WRONG_SHAPE = 6
    """Canonical CBOR, but not a COSE_Sign1 of a reading."""
    WRONG_ALGORITHM = 7
    """Signed by another algorithm than ES256."""
    OUT_OF_RANGE = 8
    """A number no column can hold."""
    # 2. who
    UNKNOWN_DEVICE = 20
    """No registered device has this key."""
    REVOKED = 21
    """The device's credential has been revoked."""
    CREDENTIAL_NOT_YET_VALID = 22
    """The credential begins later."""
    CREDENTIAL_EXPIRED = 23
    """The credential, or the calibration it vouches for, has ended."""
    # 3. is it theirs
    BAD_SIGNATURE = 30
    """Not signed by the device's key, or changed since."""
    # 4. is it new
    REPLAYED = 40
    """The counter does not exceed the last one admitted from this device."""
    # 5. is it time
    EARLY = 50
    """The slot has not ended (but for the clock tolerance)."""
    LATE = 51
    """The metering deadline of the slot has passed."""
    DUPLICATE = 52
    """This device's reading for this slot was already admitted."""
    BACKDATED = 53
    """A higher counter with an earlier slot than the last one admitted."""
    # 6. can it be
    QUALITY_NOT_ALLOWED = 60
    """A quality code that a device may not claim (substitutes are made by the exchange)."""
    IMPORT_ABOVE_CAPACITY = 61
    """More energy taken than the connection can carry in a slot."""
    EXPORT_ABOVE_CAPACITY = 62
    """More energy fed in than the connection can carry in a slot."""
    BOTH_ABOVE_CAPACITY = 63
    """Import and export each possible, but not both within one slot."""
