"""Orders to members' devices by others, as the journal has them: which hold in a slot, and what the meters then showed.

An order that was accepted is an act (`acts`), and acts are part of the fold: a run that goes on, and the audit, find the same
orders in force. An order binds the slots it names that open after it was recorded. It holds as long as its ground: not in a slot
that begins when its credential has ended, nor in one that opens after the credential was revoked or, for the right to
dispatch, after the owner withdrew consent. Of the orders by one right to one account the last counts. Where both rights speak,
the limit goes first: what is dispatched beyond it is cut down to it.

Power becomes energy of the slot towards obeying: a low bound is rounded up, a high one down to whole Wh (a set-point down).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from walras.errors import AuditError, JournalError
from walras.market.orders import BUY, SELL, Orders
from walras.slots import SlotGrid
from walras.strategies.commanded import UNBOUND, Bounds, beyond_wh, unbound
from walras.units import Int64

DISPATCH, LIMIT = "DISPATCH", "LIMIT"
ORDERED = "ordered"
"""Field of `slot_opened`: the bounds in force, where there are any."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One accepted order: entry `seq`, holder, account, right; slots, bounds in W (None: no such bound), end of its credential."""

    seq: int
    by: str
    account: int
    right: str
    first_slot: int
    last_slot: int
    low_w: int | None
    high_w: int | None
    until: datetime


@dataclass(frozen=True, slots=True)
class Commands:
    """All that was accepted so far, the holders revoked, and the accounts that consent to being dispatched."""

    accepted: tuple[Accepted, ...] = ()
    revoked: frozenset[str] = frozenset()
    consenting: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class InForce:
    """The bounds of one account in one slot, Wh of net energy (None: no such bound), and the entries that they rest on."""

    account: int
    low_wh: int | None
    high_wh: int | None
    orders: tuple[int, ...]


def after_act(commands: Commands, seq: int, public: Mapping[str, Any]) -> Commands:
    """The commands after the act of entry `seq`; JournalError for an order that is none."""
    detail, account = public["detail"], public["account"]
    match public["act"]:
        case "dispatched":
            return replace(commands, accepted=(*commands.accepted, _accepted(seq, public)))
        case "revoked" if "holder" in detail:
            return replace(commands, revoked=commands.revoked | {detail["holder"]})
        case "consent_given" if detail.get("purpose") == "dispatch":
            return replace(commands, consenting=commands.consenting | {account})
        case "consent_withdrawn" if detail.get("purpose") == "dispatch":
            return replace(commands, consenting=commands.consenting - {account})
    return commands


def _accepted(seq: int, public: Mapping[str, Any]) -> Accepted:
    try:
        d = public["detail"]
        bounds = d["low_w"], d["high_w"]
        until = datetime.fromisoformat(d["until"])
        if d["right"] not in (DISPATCH, LIMIT) or not all(x is None or type(x) is int for x in bounds) or until.utcoffset() is None:
            raise ValueError(d["right"])
        return Accepted(seq, public["by"], public["account"], d["right"], d["first_slot"], d["last_slot"], *bounds, until)
    except (KeyError, TypeError, ValueError) as cause:
        raise JournalError(f"entry {seq}: not an order to devices: {cause!r}", thing=seq) from cause


def stands(commands: Commands, order: Accepted, start: datetime) -> bool:
    """Whether the ground of an order still holds in a slot that begins at `start`."""
    consented = order.right == LIMIT or order.account in commands.consenting
    return start < order.until and order.by not in commands.revoked and consented


def in_force(commands: Commands, grid: SlotGrid, slot: int) -> tuple[InForce, ...]:
    """The bounds of `slot` by account, ascending."""
    last: dict[tuple[int, str], Accepted] = {}
    for order in commands.accepted:
        if order.first_slot <= slot <= order.last_slot and stands(commands, order, grid.start(slot)):
            last[order.account, order.right] = order
    found = []
    for account in sorted({account for account, _ in last}):
        orders = [last[key] for right in (DISPATCH, LIMIT) if (key := (account, right)) in last]
        orders = [order for order in orders if (order.low_w, order.high_w) != (None, None)]
        low, high = -UNBOUND, UNBOUND
        for order in orders:  # the limit last: it cuts down
            at_least, at_most = _energy(order, grid.minutes)
            low, high = min(max(low, at_least), at_most), max(min(high, at_most), at_least)
        if orders:
            bounds = None if low == -UNBOUND else low, None if high == UNBOUND else high
            found.append(InForce(account, *bounds, tuple(order.seq for order in orders)))
    return tuple(found)


def _energy(order: Accepted, minutes: int) -> tuple[int, int]:
    high = UNBOUND if order.high_w is None else order.high_w * minutes // 60
    low = -UNBOUND if order.low_w is None else -(-order.low_w * minutes // 60)
    return min(low, high), high


def ordered_to_public(orders: Sequence[InForce]) -> dict[str, Any]:
    """The field of `slot_opened`; nothing where nobody is bound."""
    rows = [[o.account, o.low_wh, o.high_wh, list(o.orders)] for o in orders]
    return {ORDERED: rows} if rows else {}


def ordered_from_public(opened: Mapping[str, Any]) -> tuple[InForce, ...]:
    """The inverse, from the public part of `slot_opened`."""
    return tuple(InForce(account, low, high, tuple(orders)) for account, low, high, orders in opened.get(ORDERED, ()))


def bounds_of(orders: Iterable[InForce], members: int) -> Bounds:
    """The bounds as columns [members]."""
    bounds = unbound(members)
    for o in orders:
        if o.low_wh is not None:
            bounds.low_wh[o.account] = o.low_wh
        if o.high_wh is not None:
            bounds.high_wh[o.account] = o.high_wh
    return bounds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a meter showed in a slot under orders: net energy in Wh, and by how much it is beyond (+) or short of (-) the bounds."""

    slot: int
    order: InForce
    net_wh: int
    beyond_wh: int


def outcomes(slot: int, opened: Mapping[str, Any], net_wh: Int64) -> list[Outcome]:
    """Metered against ordered, for each account bound in `slot`; `net_wh` [members] as settled."""
    orders = ordered_from_public(opened)
    beyond = beyond_wh(bounds_of(orders, net_wh.size), net_wh)
    return [Outcome(slot, o, int(net_wh[o.account]), int(beyond[o.account])) for o in orders]


def check_ordered(commands: Commands, grid: SlotGrid, slot: int, opened: Mapping[str, Any]) -> int:
    """How many accounts are bound in `slot`; AuditError where it opened under other orders than the acts before it give."""
    due, said = in_force(commands, grid, slot), ordered_from_public(opened)
    if due != said:
        raise AuditError(f"slot {slot}: it opened under the orders {list(said)}, by the acts there are {list(due)}", thing=slot)
    return len(due)


def check_book(slot: int, opened: Mapping[str, Any], book: Orders, members: int) -> None:
    """AuditError where somebody's orders in the book could take more, or feed in more, than its bounds allow."""
    bounds = bounds_of(ordered_from_public(opened), members)
    takes, gives = (
        np.bincount(book.participant[book.side == side], weights=book.quantity_wh[book.side == side], minlength=members)
        for side in (BUY, SELL)
    )
    over = np.flatnonzero((takes > np.maximum(bounds.high_wh, 0)) | (gives > np.maximum(-bounds.low_wh, 0)))
    if over.size:
        raise AuditError(f"slot {slot}: accounts {over.tolist()} offered or asked for more than was ordered of them", thing=slot)
