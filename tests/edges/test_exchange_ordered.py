"""Which orders to devices hold in a slot: the last by each right, the limit over what is dispatched, none without its ground."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from walras.errors import AuditError, JournalError
from walras.exchange.ordered import (
    Commands,
    InForce,
    after_act,
    bounds_of,
    check_book,
    in_force,
    ordered_from_public,
    ordered_to_public,
    outcomes,
)
from walras.market.orders import BUY, SELL, make_orders
from walras.slots import SlotGrid
from walras.strategies.commanded import UNBOUND

GRID = SlotGrid(datetime(2016, 1, 1, tzinfo=UTC), 15, "UTC")
VPP, GRID_OPERATOR = "did:key:vpp", "did:key:grid"
LATER = GRID.start(1_000).isoformat()


def act(kind: str, account: int | None = 0, by: str = VPP, **detail: Any) -> dict[str, Any]:
    return {"act": kind, "account": account, "by": by, "detail": detail}


def order(low_w: int | None, high_w: int | None, slots: tuple[int, int] = (10, 12), right: str = "DISPATCH", **more: Any) -> Any:
    words = {"right": right, "first_slot": slots[0], "last_slot": slots[1], "low_w": low_w, "high_w": high_w, "until": LATER} | more
    return act("dispatched", by=VPP if right == "DISPATCH" else GRID_OPERATOR, **words)


CONSENT, WITHDRAWN = (act(f"consent_{how}", purpose="dispatch") for how in ("given", "withdrawn"))


def after(*acts: dict[str, Any]) -> Commands:
    commands = Commands()
    for seq, public in enumerate(acts):
        commands = after_act(commands, seq, public)
    return commands


def held(*acts: dict[str, Any], slot: int = 10) -> list[tuple[int | None, int | None]]:
    return [(found.low_wh, found.high_wh) for found in in_force(after(*acts), GRID, slot)]


def test_an_order_holds_in_its_slots_and_the_last_of_a_right_counts() -> None:
    acts = CONSENT, order(-4_000, None), order(-2_000, 8_000, (11, 12))
    assert [held(*acts, slot=slot) for slot in (9, 10, 11, 12, 13)] == [[], [(-1_000, None)], [(-500, 2_000)], [(-500, 2_000)], []]
    assert held(*acts, order(None, None, (12, 12)), slot=12) == []  # taken back


@pytest.mark.parametrize(
    ("dispatched", "limit", "both"),
    [
        ((-4_000, None), (-2_000, None), (-500, None)),
        ((-2_000, None), (-4_000, None), (-500, None)),
        ((None, 4_000), (-4_000, None), (-1_000, 1_000)),
        ((-8_000, -8_000), (-4_000, None), (-1_000, -1_000)),
        ((8_000, 8_000), (None, 4_000), (1_000, 1_000)),
        ((2_000, 2_000), (-4_000, 4_000), (500, 500)),
    ],
)
def test_what_is_dispatched_beyond_a_limit_is_cut_down_to_it(dispatched: Any, limit: Any, both: Any) -> None:
    acts = order(*dispatched), order(*limit, right="LIMIT")
    assert held(CONSENT, *acts) == held(acts[1], CONSENT, acts[0]) == [both]


def test_an_order_ends_with_what_it_rests_on() -> None:
    given = CONSENT, order(-4_000, None), order(-6_000, None, right="LIMIT")
    assert held(*given, WITHDRAWN) == [(-1_500, None)]
    assert held(*given, act("revoked", None, "operator", holder=GRID_OPERATOR)) == [(-1_000, None)]
    assert held(*given, WITHDRAWN, act("revoked", None, "operator", holder=GRID_OPERATOR)) == []
    assert held(*given, WITHDRAWN, CONSENT) == held(*given)
    brief = order(-4_000, None, until=(GRID.start(11) - timedelta(seconds=1)).isoformat())
    assert [held(CONSENT, brief, slot=slot) for slot in (10, 11)] == [[(-1_000, None)], []]
    assert held(order(-4_000, None)) == []  # nobody consented


def test_power_becomes_energy_towards_obeying() -> None:
    assert held(CONSENT, order(-4_001, 4_003)) == [(-1_000, 1_000)]
    assert held(CONSENT, order(4_001, None)) == [(1_001, None)]
    assert held(CONSENT, order(4_003, 4_003)) == [(1_000, 1_000)]
    assert held(CONSENT, order(-4_003, -4_003)) == [(-1_001, -1_001)]


def test_the_record_of_a_slot_has_them_and_nothing_where_nobody_is_bound() -> None:
    found = in_force(after(CONSENT, order(-4_000, None)), GRID, 10)
    assert ordered_to_public(found) == {"ordered": [[0, -1_000, None, [1]]]}
    assert ordered_from_public(ordered_to_public(found)) == found == (InForce(0, -1_000, None, (1,)),)
    assert (ordered_to_public(()), ordered_from_public({})) == ({}, ())
    bounds = bounds_of(found, 2)
    assert (bounds.low_wh.tolist(), bounds.high_wh.tolist()) == ([-1_000, -UNBOUND], [UNBOUND, UNBOUND])
    (outcome,) = outcomes(10, ordered_to_public(found), np.array([-1_200, -5_000]))
    assert (outcome.net_wh, outcome.beyond_wh) == (-1_200, -200)


def test_a_book_beyond_a_bound_is_found_and_one_at_it_is_not() -> None:
    opened = ordered_to_public(in_force(after(CONSENT, order(-4_000, 400)), GRID, 10))
    for sold, bought, fine in ((1_000, 100, True), (1_001, 100, False), (1_000, 101, False)):
        book = make_orders([SELL, BUY, BUY], [sold, bought, 9_000], [1, 2, 3], participant=[0, 0, 1])
        if fine:
            check_book(10, opened, book, 2)
        else:
            with pytest.raises(AuditError, match="more than was ordered"):
                check_book(10, opened, book, 2)


@pytest.mark.parametrize(
    "wrong", [{"right": "READ"}, {"low_w": "2"}, {"until": "2016-01-01T00:00:00"}, {"until": "soon"}, {"low_w": 1.5}], ids=str
)
def test_an_act_that_is_no_order_is_refused_with_its_entry(wrong: dict[str, Any]) -> None:
    public = order(-4_000, None)
    public["detail"] |= wrong
    with pytest.raises(JournalError, match="entry 7: not an order"):
        after_act(Commands(), 7, public)
