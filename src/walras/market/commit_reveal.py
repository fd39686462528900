"""Commit-reveal around any sealed-bid mechanism: nobody, the operator included, sees an order before all are fixed.

    open       a participant commits: the hash of its order and a secret salt, with a deposit
    sealed     after `commit_until` it reveals order and salt; what does not match the hash is refused
    closed     after `reveal_until` the revealed orders are the book; unrevealed deposits are forfeit, the others go back

The hash is SHA-256 over a fixed-width encoding that names the round and the participant, so a commitment copied from
someone else or from another round cannot be revealed. A salt of 16 bytes or more keeps a short list of likely orders from
being tried out. Time priority is the sequence of commitments, which was fixed when nobody knew any price.

The book that cleared is published as the root of a Merkle tree (hashing as in RFC 6962) with one leaf a commitment, revealed
or not, in sequence: `prove_inclusion` gives each participant the proof that its order was in that book, at its place.

A round is a value: each function gives a new one and an answer. An order refused is an answer, not an exception.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace
from typing import Literal

from walras.errors import Fault, InputError, PhaseError
from walras.market.orders import BUY, SELL, Orders, make_orders
from walras.units import INT64_MAX, MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH

MIN_SALT_BYTES = 16
_ORDER = struct.Struct(">q b q q q")

Answer = Literal[
    "accepted",
    "too late",
    "too early",
    "deposit too small",
    "not a hash",
    "hash already committed",
    "nothing committed",
    "does not match",
    "salt too short",
    "order out of range",
    "already revealed",
]
"""Why a commitment or a reveal was taken or not."""


@dataclass(frozen=True, slots=True)
class SealedOrder:
    """What a commitment hides. side +1 buy, -1 sell; quantity in Wh; price in micro/kWh; node as in Orders."""

    side: int
    quantity_wh: int
    price_micro_per_kwh: int
    node: int = 0


@dataclass(frozen=True, slots=True)
class Commitment:
    """One commitment, by its place in the sequence; `order` once revealed."""

    participant: int
    digest: bytes
    deposit_nano: int
    order: SealedOrder | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One sealed batch. Moments are whole numbers in any unit; `now` is always handed in.

    Committing is open while now < commit_until, revealing from then on while now < reveal_until.
    """

    name: bytes
    deposit_nano: int
    commit_until: int
    reveal_until: int
    commitments: tuple[Commitment, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A closed round: the book, who gets what deposit back, what is forfeit, and the root that proofs lead to.

    place           [n] the commitment behind each row of the book
    refund_nano     participant to deposits returned
    forfeit_nano    participant to deposits lost
    """

    orders: Orders
    place: tuple[int, ...]
    refund_nano: dict[int, int]
    forfeit_nano: dict[int, int]
    root: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """That a leaf stands at `place` of `count` in the tree: the hashes beside the way to the root, from the leaf up."""

    place: int
    count: int
    beside: tuple[bytes, ...]


def open_round(name: bytes, deposit_nano: int, commit_until: int, reveal_until: int) -> Round:
    """A round without commitments; InputError with every fault."""
    faults = []
    if not 1 <= len(name) <= 255:
        faults.append(Fault("round", "name", name, "1 to 255 bytes"))
    if deposit_nano < 0:
        faults.append(Fault("round", "deposit_nano", deposit_nano, "0 or more"))
    if reveal_until <= commit_until:
        faults.append(Fault("round", "reveal_until", reveal_until, f"after commit_until = {commit_until}"))
    if faults:
        raise InputError("round", faults)
    return Round(name, deposit_nano, commit_until, reveal_until)


def seal(name: bytes, participant: int, order: SealedOrder, salt: bytes) -> bytes:
    """The hash that commits `participant` to `order` in the round called `name`.

    >>> seal(b"slot 7", 3, SealedOrder(1, 500, 300_000), bytes(16)).hex()[:16]
    '1f49012ed4f26c50'
    """
    body = _ORDER.pack(participant, order.side, order.quantity_wh, order.price_micro_per_kwh, order.node)
    parts = (b"walras sealed order 1", struct.pack(">B", len(name)), name, body, salt)
    return hashlib.sha256(b"".join(parts)).digest()


def commit(round_: Round, participant: int, digest: bytes, deposit_nano: int, now: int) -> tuple[Round, Answer]:
    """Take a commitment. A refused one leaves the round as it was, and its deposit with the participant."""
    if now >= round_.commit_until:
        return round_, "too late"
    if len(digest) != hashlib.sha256().digest_size:
        return round_, "not a hash"
    if deposit_nano < round_.deposit_nano:
        return round_, "deposit too small"
    if any(c.digest == digest for c in round_.commitments):
        return round_, "hash already committed"
    entry = Commitment(participant, digest, deposit_nano)
    return replace(round_, commitments=(*round_.commitments, entry)), "accepted"


def reveal(round_: Round, participant: int, order: SealedOrder, salt: bytes, now: int) -> tuple[Round, Answer]:
    """Open a commitment. Only its own participant can, once, in time, and with the very order that was sealed."""
    if now < round_.commit_until:
        return round_, "too early"
    if now >= round_.reveal_until:
        return round_, "too late"
    if len(salt) < MIN_SALT_BYTES:
        return round_, "salt too short"
    if not _in_range(order):
        return round_, "order out of range"
    own = [place for place, c in enumerate(round_.commitments) if c.participant == participant]
    if not own:
        return round_, "nothing committed"
    digest = seal(round_.name, participant, order, salt)
    for place in own:
        if round_.commitments[place].digest == digest:
            if round_.commitments[place].order is not None:
                return round_, "already revealed"
            opened = replace(round_.commitments[place], order=order)
            return replace(round_, commitments=(*round_.commitments[:place], opened, *round_.commitments[place + 1 :])), "accepted"
    return round_, "does not match"


def close(round_: Round, now: int) -> Outcome:
    """The book of the revealed orders (id and time: the place of the commitment), deposits and root. PhaseError too early."""
    if now < round_.reveal_until:
        raise PhaseError(
            f"round {round_.name!r}: revealing runs until {round_.reveal_until}, it is {now}",
            thing=round_.name,
            way_out="close it at the reveal deadline",
        )
    revealed = [(place, c.participant, c.order) for place, c in enumerate(round_.commitments) if c.order is not None]
    refund: dict[int, int] = {}
    forfeit: dict[int, int] = {}
    for entry in round_.commitments:
        account = forfeit if entry.order is None else refund
        account[entry.participant] = account.get(entry.participant, 0) + entry.deposit_nano
    places = [place for place, _, _ in revealed]
    book = make_orders(
        [order.side for _, _, order in revealed],
        [order.quantity_wh for _, _, order in revealed],
        [order.price_micro_per_kwh for _, _, order in revealed],
        participant=[participant for _, participant, _ in revealed],
        id=places,
        time=places,
        node=[order.node for _, _, order in revealed],
    )
    return Outcome(book, tuple(places), refund, forfeit, _root([_leaf(c) for c in round_.commitments]))


def prove_inclusion(round_: Round, place: int) -> Proof:
    """The proof for the commitment at `place` of a round."""
    count = len(round_.commitments)
    if not 0 <= place < count:
        raise InputError("proof", [Fault("proof", "place", place, f"0 to {count - 1}")])
    return Proof(place, count, tuple(_path([_leaf(c) for c in round_.commitments], place)))


def verify_inclusion(root: bytes, entry: Commitment, proof: Proof) -> bool:
    """Whether `entry` (with its order, if revealed) stands at its place in the book under `root`."""
    if not 0 <= proof.place < proof.count:
        return False
    reached, used = _climb(_leaf(entry), proof.place, proof.count, proof.beside)
    return used == len(proof.beside) and reached == root


def as_of_book(orders: Orders) -> list[SealedOrder]:
    """The rows of a book as orders to seal."""
    columns = (orders.side.tolist(), orders.quantity_wh.tolist(), orders.price_micro_per_kwh.tolist(), orders.node.tolist())
    return [SealedOrder(*row) for row in zip(*columns, strict=True)]


def _in_range(order: SealedOrder) -> bool:
    return (
        order.side in (BUY, SELL)
        and 0 <= order.quantity_wh <= MAX_ENERGY_WH
        and abs(order.price_micro_per_kwh) <= MAX_PRICE_MICRO_PER_KWH
        and 0 <= order.node <= INT64_MAX
    )


def _leaf(entry: Commitment) -> bytes:
    """Participant, commitment, deposit, and the order if it was revealed."""
    body = struct.pack(">q 32s q", entry.participant, entry.digest, entry.deposit_nano)
    if entry.order is not None:
        o = entry.order
        body += b"\x01" + _ORDER.pack(entry.participant, o.side, o.quantity_wh, o.price_micro_per_kwh, o.node)
    return hashlib.sha256(b"\x00" + body).digest()


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _half(count: int) -> int:
    """The largest power of two below `count`: leaves of the left subtree."""
    return 1 << (count - 1).bit_length() - 1


def _root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = _half(len(leaves))
    return _join(_root(leaves[:middle]), _root(leaves[middle:]))


def _path(leaves: list[bytes], place: int) -> list[bytes]:
    if len(leaves) <= 1:
        return []
    middle = _half(len(leaves))
    if place < middle:
        return [*_path(leaves[:middle], place), _root(leaves[middle:])]
    return [*_path(leaves[middle:], place - middle), _root(leaves[:middle])]


def _climb(leaf: bytes, place: int, count: int, beside: tuple[bytes, ...]) -> tuple[bytes, int]:
    """(root reached, hashes used); too short a list reaches nothing."""
    if count == 1:
        return leaf, 0
    middle = _half(count)
    left = place < middle
    below, used = _climb(leaf, place if left else place - middle, middle if left else count - middle, beside)
    if used >= len(beside):
        return b"", used
    other = beside[used]
    return (_join(below, other) if left else _join(other, below)), used + 1
