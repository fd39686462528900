"""Orders to a member's devices by somebody else: who may give them is decided by a credential, and by the member.

An owner's own strategy needs nobody's leave. Others need the operator's credential with one of two rights. With the right to
dispatch (`access.Right.DISPATCH`: an aggregator, a virtual power plant) an order may be a limit or a set-point, and the owner must
have consented to the purpose `dispatch`. With the right to limit (`Right.LIMIT`: the grid operator, whose duty it is) it may only
be a limit that leaves taking nothing and feeding in nothing possible, and needs no consent.

An order bounds the net power at one metering point over a run of slots: at least `low_w`, at most `high_w`, positive taken. It is a
signed request under that credential, made for the metering point that it names, so it cannot be sent to another or kept
for later. It is for slots that have not begun: what is over cannot be ordered. Without either bound it takes back what the same
right ordered before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from hashlib import sha256
from typing import Any

import cbor2

from walras.metering.access import AccessRefusal, Allowed, Right, open_request, sign_request
from walras.metering.identity import KEY_ID_BYTES, Key, PublicKey
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import loads_strict
from walras.slots import SlotGrid

MAX_POWER_W = 10**9
RIGHTS = (Right.DISPATCH, Right.LIMIT)


class DispatchRefusal(Enum):
    """Why an order is not handed on, beside what is wrong with its request (`AccessRefusal`)."""

    MALFORMED = "not an order"
    UNKNOWN_DEVICE = "for no metering point of this community"
    NO_CONSENT = "the owner has not consented to orders by others"
    TOO_LATE = "for a slot that has begun, or that ends before it begins"
    ONLY_LIMITS = "a set-point, or a limit that forces energy in or out: the right to limit does not go so far"
    REVOKED = "under a credential that was revoked"


@dataclass(frozen=True, slots=True)
class DispatchOrder:
    """Slots `first_slot` to `last_slot` at the metering point of `meter` (key id): net power from `low_w` to `high_w`.

    Watts, positive takes energy; None: no such bound. Feed in at most 2 kW: low_w=-2000. Take at most 4.2 kW: high_w=4200. A
    set-point has both the same.
    """

    meter: bytes
    first_slot: int
    last_slot: int
    low_w: int | None = None
    high_w: int | None = None


@dataclass(frozen=True, slots=True)
class Commanded:
    """An order that holds: who asked by which right, to which account."""

    asked: Allowed
    account: int
    order: DispatchOrder

    @property
    def holder(self) -> str:
        """DID of who ordered."""
        return self.asked.holder


def audience_of(meter: bytes) -> str:
    """The name that requests to a metering point are made for."""
    return f"metering point {meter.hex()}"


def sign_order(holder: Key, credential: str, order: DispatchOrder, now: datetime, right: Right = Right.DISPATCH) -> bytes:
    """The order for the wire, signed by the credential's holder at `now` (aware), by one of the `RIGHTS`."""
    body = cbor2.dumps([order.meter, order.first_slot, order.last_slot, order.low_w, order.high_w])
    return cbor2.dumps([order.meter, sign_request(holder, credential, right, audience_of(order.meter), body, now)])


def judge_order(
    encoded: bytes,
    issuer: PublicKey,
    accounts: Mapping[bytes, int],
    consents_to_dispatch: Callable[[int], bool],
    grid: SlotGrid,
    now: datetime,
    revoked: Collection[str] = (),
) -> Commanded | DispatchRefusal | AccessRefusal:
    """Whether an order may be handed to the devices: `accounts` by meter, `issuer` who gives credentials, `now` aware.

    `revoked` are the DIDs of holders whose credentials were revoked.
    """
    opened = open_order(encoded, issuer, now)
    if not isinstance(opened, tuple):
        return opened
    asked, order = opened
    if asked.holder in revoked:
        return DispatchRefusal.REVOKED
    if order.meter not in accounts:
        return DispatchRefusal.UNKNOWN_DEVICE
    if asked.right is Right.LIMIT and not _only_limits(order):
        return DispatchRefusal.ONLY_LIMITS
    account = accounts[order.meter]
    if asked.right is Right.DISPATCH and not consents_to_dispatch(account):
        return DispatchRefusal.NO_CONSENT
    if order.first_slot > order.last_slot or grid.start(order.first_slot) <= now:
        return DispatchRefusal.TOO_LATE
    return Commanded(asked, account, order)


def open_order(encoded: bytes, issuer: PublicKey, now: datetime) -> tuple[Allowed, DispatchOrder] | DispatchRefusal | AccessRefusal:
    """Who asks by which right for what, if encoding, credential and signature hold at `now`; whether it may be done is another
    question (`judge_order`).
    """
    value = loads_strict(encoded)
    if isinstance(value, Refusal):
        return DispatchRefusal.MALFORMED
    match value:
        case [bytes() as meter, bytes() as request] if len(meter) == KEY_ID_BYTES:
            asked = open_request(request, issuer, audience_of(meter), now)
            if isinstance(asked, AccessRefusal):
                return asked
            if asked.right not in RIGHTS:
                return AccessRefusal.NO_RIGHT
            order = _order(asked.body)
            return DispatchRefusal.MALFORMED if order is None or order.meter != meter else (asked, order)
    return DispatchRefusal.MALFORMED


def order_to_public(asked: Allowed, order: DispatchOrder, encoded: bytes) -> dict[str, Any]:
    """What the public record says of an order: its right, slots and bounds, on what it rests, and the digest of what was signed.

    Not the metering point: the record knows accounts.
    """
    return {
        "right": asked.right.name,
        "first_slot": order.first_slot,
        "last_slot": order.last_slot,
        "low_w": order.low_w,
        "high_w": order.high_w,
        "until": asked.until.isoformat(timespec="seconds"),
        "issuer": asked.issuer,
        "order": sha256(encoded).hexdigest(),
    }


def _only_limits(order: DispatchOrder) -> bool:
    """Whether nothing at all may pass the meter under the order: limits only ever bring it nearer to that."""
    return (order.low_w is None or order.low_w <= 0) and (order.high_w is None or order.high_w >= 0)


def _order(body: bytes) -> DispatchOrder | None:
    match loads_strict(body):
        case [bytes() as meter, int() as first, int() as last, (int() | None) as low_w, (int() | None) as high_w]:
            bounds = [power for power in (low_w, high_w) if power is not None]
            sound = 0 <= first < 2**31 and 0 <= last < 2**31 and all(abs(power) <= MAX_POWER_W for power in bounds)
            return DispatchOrder(meter, first, last, low_w, high_w) if sound and bounds == sorted(bounds) else None
    return None
