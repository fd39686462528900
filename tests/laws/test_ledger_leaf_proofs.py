"""Leaves and their way to the root: the contract's library, its twin in Python, and the metering that makes them agree."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger_foreign import Foreign, foreign
from ledger_rights import salted
from ledger_world import SEED, START, chain_of
from walras.ledger import Chain, LedgerKeys
from walras.ledger.leaf_proofs import FIRST_SUBSTITUTE_QUALITY, MAX_EDITED_BYTES, LeafReading, meter_key, read_leaf, shown_leaf
from walras.metering import derive_key, sign_reading, tree_over
from walras.metering.correction import Correction, Reason, encode_correction
from walras.metering.reading import MAX_DEVICE_QUALITY, Quality, encode_payload, signed_part, unsigned_leaf
from walras.metering.slot_readings import encode_substitute

KEY = derive_key(SEED, "meter/0")
EDITED = int(Quality.EDITED)
KID = meter_key(KEY.public_key()).key_id
number = st.one_of(st.integers(0, 300), st.sampled_from([2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**63 - 1]), st.integers(0, 2**63 - 1))
salts = st.one_of(st.binary(min_size=16, max_size=16), st.just(b"\x82\x50" + KID[:14]))  # a salt may look like a reading
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def library() -> Iterator[tuple[Chain, Foreign]]:
    with chain_of("embedded") as chain:
        yield chain, foreign(chain, LedgerKeys(SEED).admin, "ReadingLeafHarness", timestamp=START)


NAMES = ("x", "A. Meter-Reader", "y" * 23, "z" * 24, "ü" * 60, "n" * 255)


def edited(slot: int, import_wh: int, export_wh: int, name: str) -> bytes:
    """The leaf of a value that `name` answers for."""
    return encode_correction(KID, slot, Correction(0, (0, 0), (import_wh, export_wh), Reason.METER_FAULT, name))


def on_chain(library: tuple[Chain, Foreign], leaf: bytes) -> LeafReading | None:
    canonical, signed, kid, slot, import_wh, export_wh, quality = library[1].view(library[0], "parse", leaf)
    return LeafReading(kid, slot, import_wh, export_wh, quality, signed) if canonical else None


@st.composite
def leaves(draw: st.DrawFn) -> bytes:
    """A salted leaf: a reading signed, unsigned or edited, or one of them with a byte changed, added, or taken away; or bare."""
    numbers = [draw(number) for _ in range(4)] + [draw(st.integers(0, 300))]
    match draw(st.sampled_from(["signed", "unsigned", "edited"])):
        case "signed":
            bare = sign_reading(KEY, *numbers)
        case "unsigned":
            bare = unsigned_leaf(KID, encode_payload(*numbers))
        case _:
            bare = edited(numbers[0], numbers[1], numbers[2], draw(st.sampled_from(NAMES)))
    salt = draw(salts)
    leaf = salt + bare
    where = draw(st.integers(0, len(leaf) - 1))
    match draw(st.sampled_from(["whole", "whole", "changed", "cut", "longer", "without one", "a wider number", "bare"])):
        case "changed":
            return leaf[:where] + bytes([draw(st.integers(0, 255))]) + leaf[where + 1 :]
        case "cut":
            return leaf[:where]
        case "longer":
            return leaf + bytes([draw(st.integers(0, 255))])
        case "without one":
            return leaf[:where] + leaf[where + 1 :]
        case "a wider number":
            return salt + unsigned_leaf(KID, b"\xa5\x01\x18\x05" + encode_payload(*numbers)[3:])
        case "bare":
            return bare
    return leaf


@given(leaves())
@FEW
def test_the_contract_reads_what_metering_reads_and_nothing_else(library: tuple[Chain, Foreign], leaf: bytes) -> None:
    assert on_chain(library, leaf) == read_leaf(leaf)


@given(st.one_of(st.binary(max_size=350), st.binary(max_size=330).map(lambda tail: bytes(16) + b"\x84\x50" + tail)))
@FEW
def test_whatever_is_given_the_contract_does_not_fail(library: tuple[Chain, Foreign], leaf: bytes) -> None:
    assert on_chain(library, leaf) == read_leaf(leaf)


def test_a_substitute_is_read_with_its_quality(library: tuple[Chain, Foreign]) -> None:
    leaf = salted(encode_substitute(KID, 95, 0, 250, 17))
    assert on_chain(library, leaf) == read_leaf(leaf) == LeafReading(KID, 95, 0, 250, 17, False)
    assert MAX_DEVICE_QUALITY + 1 == FIRST_SUBSTITUTE_QUALITY


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_a_named_person_answers_for_is_read_with_its_quality(library: tuple[Chain, Foreign], name: str) -> None:
    bare = edited(95, 2**63 - 1, 250, name)
    assert on_chain(library, salted(bare)) == read_leaf(salted(bare)) == LeafReading(KID, 95, 2**63 - 1, 250, EDITED, False)
    assert len(bare) <= MAX_EDITED_BYTES
    for wrong in (
        bare + b"x",
        bare[:-1],
        bare.replace(b"\x05\x18\x20", b"\x05\x18\x21"),
        bare.replace(b"\x05\x18\x20", b"\x05\x00"),
    ):
        assert on_chain(library, salted(wrong)) is read_leaf(salted(wrong)) is None


def test_an_edit_without_a_name_or_with_a_longer_head_than_it_needs_is_none(library: tuple[Chain, Foreign]) -> None:
    head = edited(95, 1, 2, "x")[:-2]
    for name in (b"\x60", b"\x78\x01x", b"\x78\x17" + b"x" * 23, b"\x78", b"\x79\x01\x00" + b"x" * 256, b"\x41x", b""):
        assert on_chain(library, salted(head + name)) is read_leaf(salted(head + name)) is None
    assert read_leaf(salted(head + b"\x61x")) is not None
    late = head[:-1] + b"\x18\x61x"  # a reason of two bytes
    assert on_chain(library, salted(late)) is read_leaf(salted(late)) is None


@given(st.integers(1, 9), st.data())
@FEW
def test_every_leaf_climbs_to_the_root_on_the_chain_as_off_it(
    library: tuple[Chain, Foreign], count: int, data: st.DataObject
) -> None:
    content = tuple(bytes([row]) * row for row in range(count))
    tree = tree_over(content)
    index = data.draw(st.integers(0, count - 1))
    shown = shown_leaf(content[index], tree.proof(index))
    assert shown.root() == tree.root == library[1].view(library[0], "rootOf", shown.as_arguments())[0]


def test_a_node_does_not_pass_as_a_leaf(library: tuple[Chain, Foreign]) -> None:
    tree = tree_over((b"a", b"b", b"c"))
    node = b"".join(tree.levels[0][:2])
    forged = library[1].view(library[0], "rootOf", (node, [tree.levels[0][2]], 0))[0]
    assert forged != tree.root


def test_the_hash_under_the_meters_signature_is_meterings(library: tuple[Chain, Foreign]) -> None:
    for size in (0, 2**62):
        leaf = sign_reading(KEY, 7, size, size, 9)
        assert library[1].view(library[0], "signedHash", salted(leaf))[0] == sha256(signed_part(leaf)).digest()
