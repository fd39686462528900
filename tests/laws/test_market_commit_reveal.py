"""Commit-reveal: orders stay sealed until all are fixed, deposits are conserved, and everyone can prove their place."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import books, conventions, unit_books
from walras.errors import InputError, PhaseError
from walras.market.batches import clear_in_batches
from walras.market.commit_reveal import (
    Commitment,
    Proof,
    Round,
    SealedOrder,
    as_of_book,
    close,
    commit,
    open_round,
    prove_inclusion,
    reveal,
    seal,
    verify_inclusion,
)
from walras.market.conventions import Conventions
from walras.market.laws import clearing_bytes
from walras.market.orders import Orders, make_orders
from walras.market.pay_as_bid import PAY_AS_BID
from walras.market.uniform import UNIFORM, clear

SALT = bytes(range(16))
BUY_500 = SealedOrder(1, 500, 300_000)


def opened(deposit: int = 10) -> Round:
    return open_round(b"slot 7", deposit, commit_until=100, reveal_until=200)


def salt_of(place: int) -> bytes:
    return hashlib.sha256(place.to_bytes(8, "big")).digest()


def committed(orders: list[SealedOrder], deposit: int = 10) -> Round:
    """A round in which participant `p` committed to the p-th order."""
    state = opened(deposit)
    for participant, order in enumerate(orders):
        state, answer = commit(state, participant, seal(state.name, participant, order, salt_of(participant)), deposit, 50)
        assert answer == "accepted"
    return state


ORDERS = st.lists(
    st.builds(SealedOrder, st.sampled_from([1, -1]), st.integers(0, 50), st.integers(-5, 30)), min_size=1, max_size=20
)


@settings(max_examples=80, deadline=None)
@given(ORDERS, st.data())
def test_every_commitment_is_proved_at_its_place_and_nowhere_else(orders: list[SealedOrder], data: st.DataObject) -> None:
    state = committed(orders)
    shown = data.draw(st.sets(st.integers(0, len(orders) - 1)))
    for place in shown:
        state, answer = reveal(state, place, orders[place], salt_of(place), 150)
        assert answer == "accepted"
    outcome = close(state, 200)
    for place, entry in enumerate(state.commitments):
        proof = prove_inclusion(state, place)
        assert verify_inclusion(outcome.root, entry, proof)
        assert not verify_inclusion(outcome.root, replace(entry, participant=entry.participant + 1), proof)
        assert not verify_inclusion(outcome.root, replace(entry, order=SealedOrder(1, 51, 0)), proof)
        assert not verify_inclusion(outcome.root, entry, replace(proof, beside=(*proof.beside, outcome.root)))
        if len(orders) > 1:
            moved = replace(proof, place=(place + 1) % len(orders))
            assert not verify_inclusion(outcome.root, entry, moved)
            assert not verify_inclusion(outcome.root, entry, replace(proof, beside=proof.beside[:-1]))
    assert sum(outcome.refund_nano.values()) + sum(outcome.forfeit_nano.values()) == 10 * len(orders)
    assert set(outcome.forfeit_nano) == set(range(len(orders))) - shown
    assert outcome.place == tuple(sorted(shown))


@settings(max_examples=60, deadline=None)
@given(unit_books(12), conventions())
def test_a_sealed_round_clears_as_the_open_book_does(book: Orders, chosen: Conventions) -> None:
    orders = as_of_book(book)
    state = committed(orders)
    for place in reversed(range(len(orders))):  # the sequence of reveals does not matter
        state, _ = reveal(state, place, orders[place], salt_of(place), 199)
    sealed = close(state, 200).orders
    rows = range(len(orders))
    plain = make_orders(
        book.side, book.quantity_wh, book.price_micro_per_kwh, participant=list(rows), id=list(rows), time=list(rows)
    )
    assert clearing_bytes(clear(sealed, chosen)) == clearing_bytes(clear(plain, chosen))


def test_each_way_to_commit_wrongly_is_answered_by_name() -> None:
    digest = seal(b"slot 7", 1, BUY_500, SALT)
    state, _ = commit(opened(), 1, digest, 10, 0)
    assert commit(opened(), 1, digest, 10, 99)[1] == "accepted"
    assert commit(opened(), 1, digest, 10, 100)[1] == "too late"
    assert commit(opened(), 1, digest, 9, 0)[1] == "deposit too small"
    assert commit(opened(), 1, digest[:-1], 10, 0)[1] == "not a hash"
    assert commit(state, 2, digest, 10, 0) == (state, "hash already committed")


def test_each_way_to_reveal_wrongly_is_answered_by_name() -> None:
    state, _ = commit(opened(), 1, seal(b"slot 7", 1, BUY_500, SALT), 10, 0)
    assert reveal(state, 1, BUY_500, SALT, 99)[1] == "too early"
    assert reveal(state, 1, BUY_500, SALT, 200)[1] == "too late"
    assert reveal(state, 1, BUY_500, SALT[:15], 150)[1] == "salt too short"
    assert reveal(state, 1, replace(BUY_500, side=0), SALT, 150)[1] == "order out of range"
    assert reveal(state, 1, replace(BUY_500, quantity_wh=10**12 + 1), SALT, 150)[1] == "order out of range"
    assert reveal(state, 1, replace(BUY_500, price_micro_per_kwh=299_999), SALT, 150)[1] == "does not match"
    assert reveal(state, 1, BUY_500, SALT + b"x", 150)[1] == "does not match"
    assert reveal(state, 2, BUY_500, SALT, 150)[1] == "nothing committed"
    after, answer = reveal(state, 1, BUY_500, SALT, 150)
    assert answer == "accepted"
    assert reveal(after, 1, BUY_500, SALT, 150) == (after, "already revealed")


def test_a_copied_commitment_cannot_be_revealed_by_the_copier() -> None:
    other_round = replace(opened(), name=b"slot 8")
    digest = seal(b"slot 7", 1, BUY_500, SALT)
    copied, _ = commit(opened(), 2, digest, 10, 0)
    replayed, _ = commit(other_round, 1, digest, 10, 0)
    assert reveal(copied, 2, BUY_500, SALT, 150)[1] == "does not match"
    assert reveal(replayed, 1, BUY_500, SALT, 150)[1] == "does not match"


def test_a_round_is_closed_at_its_deadline_not_before() -> None:
    with pytest.raises(PhaseError, match="slot 7"):
        close(opened(), 199)
    empty = close(opened(), 200)
    assert empty.orders.count == 0
    assert empty.root == hashlib.sha256(b"").digest()


def test_a_bad_round_or_place_names_its_faults() -> None:
    with pytest.raises(InputError) as caught:
        open_round(b"", -1, 5, 5)
    assert [fault.field for fault in caught.value.faults] == ["name", "deposit_nano", "reveal_until"]
    with pytest.raises(InputError):
        prove_inclusion(opened(), 0)
    entry = Commitment(1, bytes(32), 10)
    assert not verify_inclusion(bytes(32), entry, Proof(-1, 1, ()))
    assert not verify_inclusion(bytes(32), entry, Proof(1, 1, ()))


@settings(max_examples=80, deadline=None)
@given(books(max_orders=20), conventions(), st.integers(1, 3), st.integers(0, 2), st.sampled_from([UNIFORM, PAY_AS_BID]))
def test_batches_never_fill_beyond_an_order_and_balance(
    orders: Orders, chosen: Conventions, length: int, lives: int, mechanism: object
) -> None:
    rule = mechanism
    assert rule in (UNIFORM, PAY_AS_BID)
    done = clear_in_batches(rule, orders, chosen, first=0, length=length, count=5, lives=lives)  # type: ignore[arg-type]
    assert (done.filled_wh <= orders.quantity_wh).all()
    assert done.filled_wh[orders.side == 1].sum() == done.filled_wh[orders.side == -1].sum()
    assert done.surplus_nano == chosen.grid_fee_micro_per_kwh * int(done.filled_wh[orders.side == 1].sum())
    for number, batch in enumerate(done.batches):
        arrived = orders.time[batch.rows] // length
        assert (arrived <= number).all()
        assert not lives or (number - arrived < lives).all()


def test_batches_name_their_faults() -> None:
    book = make_orders([1], [1], [1], time=[-4])
    with pytest.raises(InputError) as caught:
        clear_in_batches(UNIFORM, book, Conventions(), first=0, length=0, count=0, lives=-1)
    assert [fault.field for fault in caught.value.faults] == ["length", "count", "lives", "time"]
