"""What an oracle says of a slot after it was settled: the slot after late readings, and the commitments to days that stand.

A reading that comes after its slot's metering deadline and until the dispute window closes is kept apart, once its signature held.
When the window has closed no more can come: from then on the oracle gives its word on the corrected slot (the revision's root),
and, when the windows of all of a day's slots have closed, on the root of the days' commitments, made from its own readings.
Like a vote, each word is written before it is given, and given once.

A corrected slot is a source of substitutes for the slots that were closed after its correction, as it is for whoever settles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from walras.errors import MeteringError
from walras.metering.access import AccessRefusal
from walras.metering.admission import Registry, Rules, standing_of
from walras.metering.committed_days import commit_days
from walras.metering.correction import corrected_by_late_reading
from walras.metering.editing import EditRefusal, Ordered, edited_slot
from walras.metering.gateway import Taken, look_at
from walras.metering.identity import key_id
from walras.metering.merkle import root_of
from walras.metering.meter_exchange import Generations, with_old_energy
from walras.metering.parcel_reading import split_item
from walras.metering.refusals import Refusal
from walras.metering.slot_readings import SlotReadings
from walras.service.reading_store import ReadingStore

Signed = Callable[[int, int, bytes], bytes]
"""(slot, revision, root) or (first slot, slots, root) -> signature."""


@dataclass(frozen=True, slots=True)
class Words:
    """How long a slot's disputes are heard, how this oracle signs what it says of it afterwards, and which edits it takes."""

    dispute: timedelta
    sign_correction: Signed
    sign_days: Signed
    judge: Callable[[bytes], Ordered | EditRefusal | AccessRefusal]


def late_apart(rules: Rules, dispute: timedelta, batch: Sequence[bytes], now: datetime) -> tuple[list[bytes], list[bytes]]:
    """A batch, and of it apart what names a slot past its deadline whose disputes are still heard at `now`."""
    first, last = (_first_open(rules, now - further) for further in (dispute, timedelta(0)))
    rest: list[bytes] = []
    late: list[bytes] = []
    for encoded in batch:
        fields = split_item(encoded)
        (late if fields is not None and first <= fields[1] < last else rest).append(encoded)
    return rest, late


def _first_open(rules: Rules, now: datetime) -> int:
    """The first slot whose metering deadline is not before `now`."""
    return rules.window(now)[0]


def looked_at(
    registry: Callable[[int], Registry], late: Sequence[bytes], now: datetime, revoked: Collection[bytes] = ()
) -> tuple[list[Taken], dict[int, Counter[int]]]:
    """Late readings that a meter signed which was registered in their slot, and the others counted by slot and reason.

    Its credential has to hold `now`, and its key not to be among the `revoked`, whatever the slot: a thief says of every reading
    that it is an old one.
    """
    taken: list[Taken] = []
    refused: dict[int, Counter[int]] = {}
    for encoded in late:
        fields = split_item(encoded)
        slot = -1 if fields is None else fields[1]
        known = registry(slot)
        looked = look_at(encoded, {kid: known.keys[row] for kid, row in known.index.items()})
        if isinstance(looked, Taken):
            looked = standing_of(known, looked.key_id, int(now.timestamp()), revoked) or looked
        if isinstance(looked, Taken):
            taken.append(looked)
        else:
            refused.setdefault(slot, Counter[int]())[int(looked)] += 1
    return taken, refused


def take_edit(words: Words, store: ReadingStore, encoded: bytes) -> None:
    """Keep an edit order that holds, on disk when this returns; MeteringError for one that does not."""
    judged = words.judge(encoded)
    if not isinstance(judged, Ordered):
        raise MeteringError(f"the edit does not count: {judged.value}", thing=judged)
    with store.transaction():
        store.add_edit(judged.edit.slot, judged.edit.account, encoded)


def corrected_slot(
    registry: Registry, store: ReadingStore, readings: SlotReadings, words: Words, generations: Generations | None
) -> tuple[SlotReadings, dict[int, int]]:
    """The slot with the late readings that were kept of it, then with its edits; and refusals of readings by reason."""
    refused: Counter[int] = Counter()
    for late in store.late(readings.slot):
        after = corrected_by_late_reading(registry, readings, late.encoded)
        if isinstance(after, Refusal):
            refused[int(after)] += 1
        else:
            readings = after
    if generations is not None:
        readings = with_old_energy(generations, readings)
    judged = [words.judge(edit) for edit in store.edits(readings.slot)]
    readings = edited_slot(registry, readings, [edit for edit in judged if isinstance(edit, Ordered)])
    return readings, dict(refused)


def is_source(rules: Rules, dispute: timedelta, earlier: int, slot: int) -> bool:
    """Whether the correction of `earlier` was made before `slot` was closed: corrections follow on the slot settled before."""
    return rules.grid.end(slot - 1) >= rules.grid.end(earlier) + dispute


def correction_word(
    words: Words, store: ReadingStore, readings: SlotReadings, revision: int, salts: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Root and signature of a slot's `revision`; the first word stands."""
    root = root_of([salt + leaf for salt, leaf in zip(salts, readings.leaves, strict=True)])
    return _said_once(store, "correction", readings.slot, revision, root, words.sign_correction)


def days_word(words: Words, store: ReadingStore, registry: Registry, readings: list[SlotReadings], salts: Sequence[bytes]) -> bytes:
    """Root and signature of the commitments to the days of `readings`; the first word stands."""
    days = commit_days([key_id(key) for key in registry.keys], readings, salts)
    root, signature = _said_once(store, "days", days.slots.start, len(days.slots), days.tree.root, words.sign_days)
    return root + signature


def _said_once(store: ReadingStore, kind: str, first: int, second: int, root: bytes, sign: Signed) -> tuple[bytes, bytes]:
    said = store.word(kind, first, second)
    if said is None:
        said = root, sign(first, second, root)
        with store.transaction():
            store.note_word(kind, first, second, *said)
    return said
