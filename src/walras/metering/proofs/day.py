"""The committed day: 96 consecutive readings of one meter behind one number, which the meter signs beside its Merkle root.

    commitment = Poseidon(word 0, ..., word 13, context, salt)

A word holds seven slots, a slot 36 bits: import in the low 18, export above it; the last two places are empty. 18 bits are
262,143 Wh, in a quarter hour a connection of 1 MW. `context` says which meter and which slots, so a commitment can pass for no
other day; `salt`, 248 secret random bits, keeps a day from being guessed from its commitment.

How it relates to the roots that are there already: the readings' Merkle root (SHA-256, `parcel`) is what oracles attest, and
hashing with SHA-256 inside a proof would cost some 30,000 constraints a leaf. So the meter (or the gateway that holds its
parcel) makes this second commitment of the same readings and signs both in one statement, {1: first slot, 2: Merkle root, 3:
commitment}, as COSE_Sign1 with detached content: the one signature binds them. Whoever admits the readings and gets
the salt (an oracle) checks that the two agree, `day_agrees`; whoever does not, trusts who signed.

A day is 96 places. A local day of quarter hours fills them, or, when clocks change, 92 of them and the rest is empty, or all of
one day and four of a second: `context` says how many slots there are, so an empty place cannot pass for a slot without energy.
Nothing in it says whether a value was measured or substituted: only days without gaps are committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import cbor2
import numpy as np

from walras.errors import Fault, InputError
from walras.metering.identity import PrivateKey, PublicKey, key_id, sign, verify
from walras.metering.merkle import root_of
from walras.metering.proofs.sparse_poseidon import hashed
from walras.metering.reading import read_payload
from walras.units import Int64, as_int64

DAY_SLOTS = 96
WORDS = 14
SLOTS_PER_WORD = 7
VALUE_BITS = 18
MAX_WH = (1 << VALUE_BITS) - 1
SALT_BYTES = 31
CONTEXT = b"walras committed day 1"
"""External data under the signature, and what the context's hash begins with."""


@dataclass(frozen=True, slots=True)
class Day:
    """The opening of a commitment; secret but for the context. `import_wh`, `export_wh` [96] in Wh, both 0 to MAX_WH."""

    import_wh: Int64
    export_wh: Int64
    context: int
    salt: int

    @property
    def words(self) -> tuple[int, ...]:
        """The fourteen words: seven slots each, import in the low half of a slot's 36 bits."""
        words = [0] * WORDS
        for slot, (taken, given) in enumerate(zip(self.import_wh.tolist(), self.export_wh.tolist(), strict=True)):
            at = 2 * VALUE_BITS * (slot % SLOTS_PER_WORD)
            words[slot // SLOTS_PER_WORD] |= (taken | given << VALUE_BITS) << at
        return tuple(words)

    @property
    def commitment(self) -> int:
        """A number of the field; says nothing without the salt, and fits no other day."""
        return hashed([*self.words, self.context, self.salt])


def make_day(import_wh: Sequence[int] | Int64, export_wh: Sequence[int] | Int64, context: int, salt: bytes) -> Day:
    """A day from 96 readings and 31 secret random bytes; InputError names every reading that 18 bits cannot hold."""
    columns = {"import_wh": as_int64(import_wh, "import_wh"), "export_wh": as_int64(export_wh, "export_wh")}
    faults = [
        Fault("day", name, column.size, f"{DAY_SLOTS} readings") for name, column in columns.items() if column.size != DAY_SLOTS
    ]
    faults += [
        Fault(f"slot {slot}", name, int(column[slot]), f"a whole number from 0 to {MAX_WH}")
        for name, column in columns.items()
        for slot in np.flatnonzero((column < 0) | (column > MAX_WH))
    ]
    if len(salt) != SALT_BYTES:
        faults.append(Fault("day", "salt", f"{len(salt)} bytes", f"{SALT_BYTES} fresh random bytes"))
    if faults:
        raise InputError("committed day", faults)
    return Day(columns["import_wh"], columns["export_wh"], context, int.from_bytes(salt, "big"))


EMPTY_DAY = Day(np.zeros(DAY_SLOTS, dtype=np.int64), np.zeros(DAY_SLOTS, dtype=np.int64), 0, 0)
"""A day of nothing, with a context that is no meter's and a salt that is no secret: fills the places of absent meters."""


def context_of(meter: bytes, first_slot: int, slots: int = DAY_SLOTS) -> int:
    """The context of meter `key_id` and the `slots` slots from `first_slot` on: 248 bits of SHA-256, so a number of the field."""
    count = b"" if slots == DAY_SLOTS else slots.to_bytes(8, "big")
    digest = sha256(CONTEXT + meter + first_slot.to_bytes(8, "big") + count).digest()
    return int.from_bytes(digest[:SALT_BYTES], "big")


def baseline_context(context: int) -> int:
    """The context of the baseline that was agreed for the readings of `context`; no day of readings has it."""
    return context + (1 << 8 * SALT_BYTES)


@dataclass(frozen=True, slots=True)
class DayStatement:
    """What a meter signs about a day: where it begins, the Merkle root of its 96 payloads (as `parcel`), the commitment."""

    first_slot: int
    readings_root: bytes
    commitment: int


def sign_day(key: PrivateKey, statement: DayStatement) -> bytes:
    """The meter's signature, 64 bytes, over both roots of one day."""
    return sign(key, _signed_part(key_id(key.public_key()), statement))


def day_is_signed(key: PublicKey, statement: DayStatement, signature: bytes) -> bool:
    """Whether the meter with `key` signed that the root and the commitment are of the same day."""
    return verify(key, signature, _signed_part(key_id(key), statement))


def day_of_payloads(meter: bytes, payloads: Sequence[bytes], salt: bytes) -> tuple[Day, DayStatement]:
    """A meter's 96 canonical payloads of consecutive slots as a committed day, and what the meter is to sign about it.

    InputError for another number of payloads, for one that is not canonical, and for slots that do not follow one another.
    """
    numbers = [read_payload(payload, 0) for payload in payloads]
    rows = [one[:3] for one, payload in zip(numbers, payloads, strict=True) if one is not None and one[5] == len(payload)]
    faults = []
    if len(rows) != DAY_SLOTS or len(payloads) != DAY_SLOTS:
        faults.append(Fault("day", "payloads", f"{len(rows)} canonical of {len(payloads)}", f"{DAY_SLOTS} canonical payloads"))
    first = rows[0][0] if rows else 0
    faults += [
        Fault(f"payload {at}", "slot", slot, f"{first + at}, the slot after the one before")
        for at, (slot, _, _) in enumerate(rows)
        if slot != first + at
    ]
    if faults:
        raise InputError("committed day", faults)
    day = make_day([row[1] for row in rows], [row[2] for row in rows], context_of(meter, first), salt)
    return day, DayStatement(first, root_of(payloads), day.commitment)


def day_agrees(meter: bytes, payloads: Sequence[bytes], salt: bytes, statement: DayStatement) -> bool:
    """Whether a statement is that of these readings of this meter: what an oracle checks that has admitted them and got the salt.

    InputError where the payloads are no day at all.
    """
    return day_of_payloads(meter, payloads, salt)[1] == statement


def _signed_part(kid: bytes, statement: DayStatement) -> bytes:
    protected = cbor2.dumps({1: -7, 4: kid})
    content = {1: statement.first_slot, 2: statement.readings_root, 3: statement.commitment.to_bytes(32, "big")}
    return cbor2.dumps(["Signature1", protected, CONTEXT, cbor2.dumps(content)])
