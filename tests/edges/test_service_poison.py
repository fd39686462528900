"""What a member's own meter signs, however absurd, refuses itself: no oracle breaks at it, so it holds up no batch behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import cbor2
import pytest

from metering_nodes import GATEWAY_KEY, OPEN, ORACLE_KEY, ClockFile, gateway, oracle
from metering_world import KEYS, RULES, after, slot_batch
from walras.metering.editing import EditRefusal
from walras.metering.gateway import seal_batch
from walras.metering.identity import sign
from walras.metering.parcel import readings_of_parcel, sign_parcel
from walras.metering.parcel_reading import MAX_ITEM_BYTES
from walras.metering.reading import sign_reading
from walras.metering.refusals import Refusal
from walras.service.gateway_node import MAX_READINGS_FRAME
from walras.service.oracle_node import OracleNode
from walras.service.oracle_words import Words
from walras.service.remote_metering import CHUNK
from walras.units import INT64_MAX

SLOT = 40


def in_a_parcel(slot: int, import_wh: int, counter: int, quality: int = 0) -> bytes:
    """The last reading of a parcel of two."""
    columns = [[1, slot], [0, import_wh], [0, import_wh], [0, counter], [0, quality]]
    return readings_of_parcel(sign_parcel(KEYS[0], *columns))[1]


ABSURD = {
    "in a parcel, a slot at the end of time": in_a_parcel(INT64_MAX, 1, 1),
    "in a parcel, all the energy there is": in_a_parcel(SLOT, INT64_MAX, 1),
    "in a parcel, a quality that is none": in_a_parcel(SLOT, 1, 1, INT64_MAX),
    "in a parcel, all of it": in_a_parcel(INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX),
    "in a parcel, cut": in_a_parcel(SLOT, 1, 1)[:-70],
    "a slot at the end of time": sign_reading(KEYS[0], INT64_MAX, 1, 0, 1),
    "a slot before all": sign_reading(KEYS[0], 0, 1, 0, 1),
    "a counter at its end": sign_reading(KEYS[0], SLOT, 1, 0, INT64_MAX),
    "all the energy there is": sign_reading(KEYS[0], SLOT, INT64_MAX, INT64_MAX, 1),
    "a quality that is none": sign_reading(KEYS[0], SLOT, 1, 0, 1, INT64_MAX),
    "no reading": b"",
    "a head alone": sign_reading(KEYS[0], SLOT, 1, 0, 1)[:40],
    "all of it": sign_reading(KEYS[0], INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX),
}


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.mark.parametrize("late", [False, True], ids=["on time", "with late readings heard"])
@pytest.mark.parametrize("name", sorted(ABSURD))
def test_an_absurd_reading_is_refused_or_counts_and_the_batch_behind_it_is_taken(name: str, late: bool, tmp_path: Path) -> None:
    clock = ClockFile(tmp_path / "clock")
    clock.set(after(SLOT))
    node = oracle(tmp_path / "o.db", clock)
    if late:
        duty = replace(node._duty, words=Words(timedelta(hours=5), _unsaid, _unsaid, lambda _: EditRefusal.MALFORMED))
        node = OracleNode(duty, node._store, lambda slot, root: sign(ORACLE_KEY, root), clock)
    others = slot_batch(SLOT, 1)[1:]
    assert node.receive(seal_batch(GATEWAY_KEY, 0, [ABSURD[name], *others])) == 0
    clock.set(after(SLOT + 1))
    assert node.receive(seal_batch(GATEWAY_KEY, 1, slot_batch(SLOT + 1, 2))) == 1
    clock.set(after(SLOT, RULES.deadline.total_seconds() + 1))
    assert node.readings_of(SLOT).quality.tolist()[1:] == [0] * 4
    assert node.report(SLOT)
    assert node.vote(SLOT)
    assert sum(node._store.refused_counts().values()) == 1  # a counter at its end: its own next reading, which cannot be higher
    again = OracleNode(node._duty, node._store, lambda slot, root: sign(ORACLE_KEY, root), clock)  # comes back with what it has
    assert again.vote(SLOT) == node.vote(SLOT)


def test_as_many_readings_as_the_exchange_sends_at_once_are_a_frame_that_a_gateway_reads() -> None:
    assert (
        len(cbor2.dumps([bytes(MAX_ITEM_BYTES)] * CHUNK))
        <= MAX_READINGS_FRAME
        < len(cbor2.dumps([bytes(MAX_ITEM_BYTES)] * (CHUNK + 1)))
    )


def _unsaid(first: int, second: int, root: bytes) -> bytes:
    raise AssertionError("nothing is said of settled slots here")


@pytest.mark.parametrize("name", sorted(ABSURD))
def test_a_gateway_takes_or_names_it_and_seals_what_it_took(name: str, tmp_path: Path) -> None:
    gate = gateway(tmp_path / "g.db", [])
    codes = gate.take_readings([ABSURD[name], *slot_batch(SLOT, 2)[1:]])
    assert codes[0] in {0, *Refusal}
    assert codes[1:] == bytes(4)
    number = gate.seal_waiting()
    assert number == 0
    assert gate.batch(number)
    assert gate._store.unacknowledged("anybody") == [0]
