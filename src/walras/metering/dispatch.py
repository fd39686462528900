"""Orders to a member's devices by somebody else: who may give them is decided by a credential, and by the member.

An owner's own strategy needs nobody's leave. An aggregator needs two things: the operator's credential with the right to dispatch
(`access.Right.DISPATCH`), and the owner's consent to the purpose `dispatch`. An order is a signed request under that credential,
made for the one metering point that it names, so it cannot be sent to another or kept for later. It is for slots that have not
begun: what is over cannot be ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import cbor2

from walras.metering.access import AccessRefusal, Right, open_request, sign_request
from walras.metering.identity import KEY_ID_BYTES, PrivateKey, PublicKey
from walras.metering.refusals import Refusal
from walras.metering.strict_cbor import loads_strict
from walras.slots import SlotGrid

MAX_POWER_W = 10**9


class DispatchRefusal(Enum):
    """Why an order is not handed on, beside what is wrong with its request (`AccessRefusal`)."""

    MALFORMED = "not an order"
    UNKNOWN_DEVICE = "for no metering point of this community"
    NO_CONSENT = "the owner has not consented to orders by others"
    TOO_LATE = "for a slot that has begun, or that ends before it begins"


@dataclass(frozen=True, slots=True)
class DispatchOrder:
    """Slots `first_slot` to `last_slot` at `power_w` behind the metering point of `meter` (key id); positive takes energy."""

    meter: bytes
    first_slot: int
    last_slot: int
    power_w: int


@dataclass(frozen=True, slots=True)
class Commanded:
    """An order that holds: by whom, to which account."""

    holder: str
    account: int
    order: DispatchOrder


def audience_of(meter: bytes) -> str:
    """The name that requests to a metering point are made for."""
    return f"metering point {meter.hex()}"


def sign_order(holder: PrivateKey, credential: str, order: DispatchOrder, now: datetime) -> bytes:
    """The order for the wire, signed by the credential's holder at `now` (aware)."""
    body = cbor2.dumps([order.meter, order.first_slot, order.last_slot, order.power_w])
    return cbor2.dumps([order.meter, sign_request(holder, credential, Right.DISPATCH, audience_of(order.meter), body, now)])


def judge_order(
    encoded: bytes,
    issuer: PublicKey,
    accounts: Mapping[bytes, int],
    consents_to_dispatch: Callable[[int], bool],
    grid: SlotGrid,
    now: datetime,
) -> Commanded | DispatchRefusal | AccessRefusal:
    """Whether an order may be handed to the devices: `accounts` by meter, `issuer` who gives credentials, `now` aware."""
    value = loads_strict(encoded)
    if isinstance(value, Refusal):
        return DispatchRefusal.MALFORMED
    match value:
        case [bytes() as meter, bytes() as request] if len(meter) == KEY_ID_BYTES:
            asked = open_request(request, issuer, audience_of(meter), now)
            if isinstance(asked, AccessRefusal):
                return asked
            order = _order(asked.body)
            if asked.right is not Right.DISPATCH:
                return AccessRefusal.NO_RIGHT
            if order is None or order.meter != meter:
                return DispatchRefusal.MALFORMED
            if meter not in accounts:
                return DispatchRefusal.UNKNOWN_DEVICE
            if not consents_to_dispatch(accounts[meter]):
                return DispatchRefusal.NO_CONSENT
            if order.first_slot > order.last_slot or grid.start(order.first_slot) <= now:
                return DispatchRefusal.TOO_LATE
            return Commanded(asked.holder, accounts[meter], order)
    return DispatchRefusal.MALFORMED


def _order(body: bytes) -> DispatchOrder | None:
    match loads_strict(body):
        case [bytes() as meter, int() as first, int() as last, int() as power_w]:
            sound = 0 <= first < 2**31 and 0 <= last < 2**31 and abs(power_w) <= MAX_POWER_W
            return DispatchOrder(meter, first, last, power_w) if sound else None
    return None
