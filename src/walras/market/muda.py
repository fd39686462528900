"""MUDA: a truthful double auction for traders of many units: each half of the market trades at the price of the other.

Halving  each participant goes, with all its orders, to the left or the right half by one hashed bit of its number and the seed
         (`draw.py`: the same bits everywhere; the seed is published in the certificate).
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

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from walras.errors import RangeError
from walras.market.clarke import sum_exact
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.draw import seed_start
from walras.market.margin import NO_ASK, NO_BID, find_margin
from walras.market.mechanism import Claim, Mechanism
from walras.market.muda_half import Half, trade_curves
from walras.market.muda_single import draw_halves, keys_of, split_halves, trade_single
from walras.market.orders import Orders
from walras.market.pivot import one_order_each
from walras.market.terms import Terms, terms
from walras.units import INT64_MAX, Int64

LEFT, RIGHT = 0, 1


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book by MUDA with the lottery. `network` is not used: one bus. RangeError where money leaves int64.

    With seed 0 three orders form the right half: two trade at 0.25, the price of the left. In the left, at 0.13, three bids
    want what one ask offers, and the lot serves the third:
    >>> from walras.market.orders import make_orders
    >>> bids, asks = [300_000, 280_000, 260_000, 240_000], [100_000, 120_000, 140_000, 200_000]
    >>> done = clear(make_orders([1] * 4 + [-1] * 4, [1] * 8, bids + asks), Conventions(seed=0))
    >>> done.pay_nano.tolist(), done.surplus_nano
    ([0, 250000, 130000, 0, -130000, -250000, 0, 0], 0)
    """
    return _clear("muda", orders, conventions)


def clear_vickrey(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book by MUDA with a Vickrey auction on the long side. `network` is not used. RangeError as for `clear`.

    The book of `clear`: the ask of the left half goes to the dearest bid, who pays the next one's limit:
    >>> from walras.market.orders import make_orders
    >>> bids, asks = [300_000, 280_000, 260_000, 240_000], [100_000, 120_000, 140_000, 200_000]
    >>> done = clear_vickrey(make_orders([1] * 4 + [-1] * 4, [1] * 8, bids + asks), Conventions(seed=0))
    >>> done.pay_nano.tolist(), done.surplus_nano
    ([260000, 250000, 0, 0, -130000, -140000, 0, 0], 240000)
    """
    return _clear("muda_vickrey", orders, conventions)


def _clear(name: str, orders: Orders, conventions: Conventions, *, curves: bool | None = None) -> Clearing:
    """`curves` chooses the engine; by default the general one only where a participant has several orders."""
    # own orders form one curve, so they are not netted beforehand: netting at a price other than the market's is not truthful
    book = terms(orders, replace(conventions, self_trade="allow"))
    _refuse_overflow(name, book)
    start = seed_start(conventions.seed)
    half = np.empty(orders.count, np.int8)
    draw_halves(orders.participant, start, half)
    space = np.empty((3, orders.count), np.int64)
    own = _own_prices(orders, book, half, conventions, space)
    posted = own[RIGHT], own[LEFT]
    certificate: dict[str, int | Int64] = {"seed": conventions.seed}
    for number, side in enumerate(("left", "right")):
        certificate[f"{side}_orders"] = int(np.count_nonzero(half == number))
        if (price := posted[number]) is not None:
            certificate[f"posted_{side}_micro_per_kwh"] = price
    by_lottery = name == "muda"
    if curves is None:
        curves = not one_order_each(orders.participant, book.quantity_wh)
    if curves:
        filled, pay = np.zeros((2, orders.count), np.int64)
        for number, price in enumerate(posted):
            if price is not None:
                rows = np.flatnonzero(half == number)
                part = Half(
                    orders.id[rows],
                    orders.participant[rows],
                    orders.side[rows],
                    book.quantity_wh[rows],
                    book.price_micro_per_kwh[rows],
                    keys_of(orders.participant[rows], start),
                )
                filled[rows], pay[rows] = trade_curves(part, price, by_lottery=by_lottery)
    else:
        filled, pay = trade_single(orders, book, half, posted, start, space[:2], by_lottery=by_lottery)
    if conventions.grid_fee_micro_per_kwh:
        buys = orders.side == 1
        pay[buys] += filled[buys] * conventions.grid_fee_micro_per_kwh
    return Clearing(name, filled, pay, None, certificate=certificate)


def _refuse_overflow(name: str, book: Terms) -> None:
    price = book.price_micro_per_kwh
    if price.size and sum_exact(book.quantity_wh) * max(int(price.max()), -int(price.min())) > INT64_MAX:
        raise RangeError(f"{name}: the value of all quantities together does not fit in int64", thing="pay_nano")


def _own_prices(
    orders: Orders, book: Terms, half: NDArray[np.int8], conventions: Conventions, space: Int64
) -> tuple[int | None, int | None]:
    """The competitive price of either half: k between the ends of the supporting interval, or its one end; None if empty."""
    side = np.empty(orders.count, np.int8)
    left = int(split_halves(half, orders.side, book.quantity_wh, book.price_micro_per_kwh, side, space[0], space[1]))
    prices: list[int | None] = []
    for part in (slice(None, left), slice(left, None)):
        margin = find_margin(side[part], space[0][part], space[1][part], scratch=space[2])
        low, high = margin.unfilled_bid, margin.unfilled_ask
        if margin.volume_wh:
            low, high = max(low, margin.ask), min(high, margin.bid)
        if low == NO_BID or high == NO_ASK:
            prices.append(None if low == NO_BID and high == NO_ASK else (high if low == NO_BID else low))
        else:
            prices.append(low + (high - low) * conventions.k.numerator // conventions.k.denominator)
    return prices[LEFT], prices[RIGHT]


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
