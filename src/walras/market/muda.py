"""MUDA: a truthful double auction for traders of many units: each half of the market trades at the price of the other.

Halving  each participant goes, with all its orders, to the left or the right half by one hashed bit of its number and the seed
         (`draw.py`: the same bits everywhere; the draw is published in the certificate).
Prices   the left half's own competitive price (k between the ends of the supporting interval, as in `uniform`) is posted in
         the right half, and the right's in the left. A half without orders has no price, and the other stands still.
Trade    at the posted price p a participant takes the net position that is best for it. The shorter side of a half is served
         in full at p. What the longer side gets is shared

           muda          by lottery: participants are served in a drawn sequence, at p. Nothing is left to the operator.
           muda_vickrey  by value: the units go to those who gain most by them, who pay what that costs the others of the long
                         side (`clarke.py`, with p as the reserve). The operator keeps what is paid beyond p.

No price depends on those who trade at it, so truth is dominant for any number of orders a participant, in prices and in
quantities, whatever the draw. A participant's orders on both sides are one curve of net positions: what it does not get from
(or bring to) the market it still uses in the best way between its own bids and asks. Each of its orders trades at a price
that its own curve supports and its balance with the market is refunded per Wh, so no single order is made worse off either.

Source: Segal-Halevi, Hassidim and Aumann, "MUDA: a truthful multi-unit double-auction mechanism", AAAI 2018. Participants on
both sides are this file's own addition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.errors import RangeError
from walras.market.clarke import sum_exact
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.draw import mix64, seed_start
from walras.market.margin import NO_ASK, NO_BID, find_margin
from walras.market.mechanism import Claim, Mechanism
from walras.market.muda_half import Half, gather, scatter, trade_curves, trade_single
from walras.market.orders import Orders
from walras.market.terms import terms
from walras.units import INT64_MAX, Int64

LEFT, RIGHT = 0, 1


@dataclass(frozen=True, slots=True)
class _Draw:
    """Rows of each half, and the key of each row's participant that orders the lottery."""

    rows: tuple[Int64, Int64]
    key: NDArray[np.uint64]


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book by MUDA with the lottery. `network` is not used: one bus. RangeError where money leaves int64.

    With seed 1 participants 1, 3, 4 and 5 form one half and 0 and 2 the other, which posts its price, 0.25, to them:
    >>> from walras.market.orders import make_orders
    >>> bids, asks = [300_000, 280_000, 260_000], [100_000, 120_000, 200_000]
    >>> done = clear(make_orders([1, 1, 1, -1, -1, -1], [1000] * 6, bids + asks), Conventions(seed=1))
    >>> int(done.filled_wh.sum()) >= 0, done.surplus_nano
    (True, 0)
    """
    return _clear("muda", orders, conventions)


def clear_vickrey(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book by MUDA with a Vickrey auction on the long side. `network` is not used. RangeError as for `clear`."""
    return _clear("muda_vickrey", orders, conventions)


def _clear(name: str, orders: Orders, conventions: Conventions) -> Clearing:
    # own orders form one curve, so they are not netted beforehand: netting at a price other than the market's is not truthful
    book = terms(orders, replace(conventions, self_trade="allow"))
    draw = _halve(orders.participant, conventions.seed)
    halves = []
    for rows in draw.rows:
        side, quantity, price = gather(rows, orders.side, book.quantity_wh, book.price_micro_per_kwh)
        halves.append(Half(rows, side, quantity, price, orders, draw.key))
    prices = [_own_price(half, conventions) for half in halves]
    filled, pay = np.zeros(orders.count, np.int64), np.zeros(orders.count, np.int64)
    certificate: dict[str, int | Int64] = {"seed": conventions.seed}
    trade = trade_single if _single(orders.participant, book.quantity_wh) else trade_curves
    for half, posted, name_of_half in ((halves[LEFT], prices[RIGHT], "left"), (halves[RIGHT], prices[LEFT], "right")):
        certificate[f"{name_of_half}_orders"] = int(half.rows.size)
        if posted is None:
            continue
        certificate[f"posted_{name_of_half}_micro_per_kwh"] = posted
        _refuse_overflow(name, half, posted)
        scatter(half.rows, *trade(half, posted, by_lottery=name == "muda"), filled, pay)
    if conventions.grid_fee_micro_per_kwh:
        buys = orders.side == 1
        pay[buys] += filled[buys] * conventions.grid_fee_micro_per_kwh
    return Clearing(name, filled, pay, None, certificate=certificate)


def _refuse_overflow(name: str, half: Half, posted: int) -> None:
    largest = max(int(np.abs(half.price).max(initial=0)), abs(posted))
    if sum_exact(half.quantity) * largest > INT64_MAX:
        raise RangeError(f"{name}: the value of all quantities of a half does not fit in int64", thing="pay_nano")


def _halve(participant: Int64, seed: int) -> _Draw:
    """Left and right rows by the first bit of the participant's key; the lottery goes by the other 63."""
    key = np.empty(participant.size, np.uint64)
    left, right = _halve_rows(participant, seed_start(seed), key)
    return _Draw((left, right), key)


@njit(cache=True)
def _halve_rows(participant, start, key):  # type: ignore[no-untyped-def]
    n = participant.size
    for i in range(n):
        key[i] = mix64(np.uint64(participant[i]) ^ start)
    rows = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    a = b = np.int64(0)
    for i in range(n):
        bit = np.int64(key[i] >> np.uint64(63))
        rows[0][a] = i
        rows[1][b] = i
        a += 1 - bit
        b += bit
    return rows[0][:a], rows[1][:b]


def _own_price(half: Half, conventions: Conventions) -> int | None:
    """The competitive price of one half: k between the ends of the supporting interval, or its one end; None if empty."""
    margin = find_margin(half.side, half.quantity, half.price)
    low, high = margin.unfilled_bid, margin.unfilled_ask
    if margin.volume_wh:
        low, high = max(low, margin.ask), min(high, margin.bid)
    if low == NO_BID or high == NO_ASK:
        return None if low == NO_BID and high == NO_ASK else (high if low == NO_BID else low)
    return low + (high - low) * conventions.k.numerator // conventions.k.denominator


def _single(participant: Int64, quantity: Int64) -> bool:
    """Whether no participant has two orders with quantity."""
    if participant.size == 0:
        return True
    low, high = int(participant.min()), int(participant.max())
    if high - low < 4 * participant.size:
        return bool(_all_differ(participant, quantity, low, high - low + 1))
    live = participant[quantity > 0]
    return bool(np.unique(live).size == live.size)


@njit(cache=True)
def _all_differ(participant, quantity, low, span):  # type: ignore[no-untyped-def]
    seen = np.zeros(span, np.uint8)
    for i in range(participant.size):
        if quantity[i] > 0:
            if seen[participant[i] - low]:
                return False
            seen[participant[i] - low] = 1
    return True


_CONVENTIONS = ("k", "seed", "lot_wh", "grid_fee_micro_per_kwh")
_CLAIMS = frozenset({Claim.WEAK_BUDGET_BALANCE, Claim.INDIVIDUALLY_RATIONAL, Claim.TRUTHFUL, Claim.ORDER_FREE})

MUDA = Mechanism(
    name="muda",
    title="MUDA, long side by lottery",
    reference="Segal-Halevi, Hassidim and Aumann, AAAI 2018",
    clear=clear,
    claims=_CLAIMS | {Claim.STRONG_BUDGET_BALANCE},
    conventions=_CONVENTIONS,
)

MUDA_VICKREY = Mechanism(
    name="muda_vickrey",
    title="MUDA, long side by Vickrey auction",
    reference="Segal-Halevi, Hassidim and Aumann, AAAI 2018",
    clear=clear_vickrey,
    claims=_CLAIMS,
    conventions=_CONVENTIONS,
)
