"""Request for quotes: each buyer asks a few sellers for a price and takes the best.

Rule: buyers come by (time, id), or drawn by the seed if `tie` is "lot". Each asks `quotes` different sellers (default 3,
or all there are), drawn from `seed` and its own id. A seller with energy left answers with its ask and all it has left;
one that is sold out has been asked in vain. The buyer takes the quotes within its limit (net of the grid fee) from the
best on, by (price, time, id), at the price quoted, until it has what it wants. What it does not get it does not ask again
for.

The number of quotes is the cost of search: with one it is a random meeting, with all it is a posted-offer market. Sellers
quote their limits here: the rule does not model what competition among them would do.

Source: Stigler, "The economics of information", Journal of Political Economy 69 (1961) (search among sellers); Duffie,
Garleanu and Pedersen, "Over-the-counter markets", Econometrica 73 (2005).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from walras.errors import Fault, InputError
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.draws import draw
from walras.market.mechanism import Claim, Mechanism, read_part
from walras.market.orders import BUY, Orders
from walras.market.settle import as_trades, settle_trades
from walras.market.terms import lot_keys, priority, terms

DEFAULT_QUOTES = 3


def clear(
    orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object] | None = None
) -> Clearing:
    """Serve the buyers. Raises InputError for a bad part "rfq", RangeError where the money does not fit in int64.

    With both sellers asked, the cheaper one is taken first:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([-1, -1, 1], [500, 500, 800], [250, 100, 300])
    >>> clear(book, Conventions(), extra={"rfq": {"quotes": 2}}).trades.price_micro_per_kwh.tolist()
    [100, 250]
    """
    quotes = _read_quotes(extra)
    book = terms(orders, conventions)
    live = np.flatnonzero(book.quantity_wh > 0)
    bids = priority(orders, live[orders.side[live] == BUY], conventions)
    asks = live[orders.side[live] != BUY]
    asks = asks[np.argsort(orders.id[asks])]
    keys = lot_keys(orders.id[bids], conventions.seed)
    left = book.quantity_wh.tolist()
    price, time, id = book.price_micro_per_kwh.tolist(), orders.time.tolist(), orders.id.tolist()
    rows: list[tuple[int, int, int, int]] = []
    for bid, key in zip(bids.tolist(), keys, strict=True):
        asked = [int(asks[place]) for place in sample(key, asks.size, quotes)]
        answers = [ask for ask in asked if left[ask] and price[ask] <= price[bid]]
        for ask in sorted(answers, key=lambda ask: (price[ask], time[ask], id[ask])):
            energy = min(left[bid], left[ask])
            if energy:
                left[bid] -= energy
                left[ask] -= energy
                rows.append((bid, ask, energy, price[ask]))
    certificate = {"netted_wh": book.netted_wh, "seed": conventions.seed, "quotes": quotes}
    return settle_trades("rfq", orders, as_trades(rows), conventions.grid_fee_micro_per_kwh, certificate=certificate)


def sample(key: np.uint64, size: int, wanted: int) -> list[int]:
    """Up to `wanted` different numbers below `size` from the stream `key`: the first cards of a Fisher-Yates shuffle.

    >>> sorted(sample(np.uint64(5), 4, 9))
    [0, 1, 2, 3]
    """
    moved: dict[int, int] = {}
    cards = []
    for taken in range(min(wanted, size)):
        place = taken + int(draw(key, taken, size - taken))
        cards.append(moved.get(place, place))
        moved[place] = moved.get(taken, taken)
    return cards


def _read_quotes(extra: Mapping[str, object] | None) -> int:
    given, faults = read_part("rfq", "rfq", extra, ("quotes",))
    quotes = given.get("quotes", DEFAULT_QUOTES)
    if isinstance(quotes, bool) or not isinstance(quotes, int) or quotes < 1:
        faults.append(Fault("rfq", "quotes", quotes, "a whole number of 1 or more"))
    if faults:
        raise InputError("rfq book", faults)
    return int(quotes)


RFQ = Mechanism(
    name="rfq",
    title="Request for quotes",
    reference="Duffie, Garleanu and Pedersen, Over-the-counter markets, 2005",
    clear=clear,
    claims=frozenset({Claim.WEAK_BUDGET_BALANCE, Claim.STRONG_BUDGET_BALANCE, Claim.INDIVIDUALLY_RATIONAL, Claim.ORDER_FREE}),
    conventions=("tie", "seed", "self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
    extra=(("rfq", 'optional: {"quotes": how many sellers a buyer asks}, 3'),),
)
