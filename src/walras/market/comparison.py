"""The same books under several mechanisms, side by side: what each gets out of them, and for whom.

The reports are taken as the truth, so welfare and gains are those of truthful participants; `largest_lie_nano` says how
much that assumption is worth under each rule. Money and energy are exact; shares, means and the Gini coefficient are floats
for reading. Time is measured by the clock handed in, around clearing alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from walras.market.clearing import Clearing, volume_wh
from walras.market.conventions import Conventions
from walras.market.game import FALSE_NAMES, OWN_NAME, best_misreport
from walras.market.laws import best_welfare_nano
from walras.market.mechanism import IDS, ORDER_EXTRA, Mechanism, run
from walras.market.opening import POOL_NAMES, opening_pool
from walras.market.orders import BUY, Orders
from walras.market.terms import terms

ExtraOf = Callable[[Mechanism, Orders], Mapping[str, object]]
"""What else the book carries for a mechanism, such as a pool's opening state."""


def opening_extras(stock_wh: int, feed_in_micro_per_kwh: int, retail_micro_per_kwh: int) -> ExtraOf:
    """The parts that a plain book lacks: for pools an opening state of equal means (`opening.py`), for the others nothing.

    Each book meets a fresh pool, so that books are independent of each other and of their sequence.
    """

    def extra_of(mechanism: Mechanism, orders: Orders) -> Mapping[str, object]:
        extra: dict[str, object] = {}
        if mechanism.name in POOL_NAMES:
            extra["pool"] = opening_pool(mechanism.name, stock_wh, feed_in_micro_per_kwh, retail_micro_per_kwh)
        if mechanism.extra or mechanism.order_extra:
            extra[IDS] = orders.id.tolist()
            extra[ORDER_EXTRA] = {name: [None] * orders.count for name, _ in mechanism.order_extra}
        return extra

    return extra_of


@dataclass(frozen=True, slots=True)
class Score:
    """One mechanism over all books.

    welfare_nano      reported value bought less reported cost sold, plus the worth of what a pool's stock took in; of
                      `best_welfare_nano` attainable among the orders (with a stock to draw on, more can be reached)
    inventory_wh      what pools took into their stock (negative: gave out)
    efficiency        their ratio (1 where nothing could be gained)
    price_*           price per kWh over filled orders: mean by energy, standard deviation, least and largest (micro/kWh)
    surplus_nano      what the operator keeps; deficit_nano: the sum of the books on which it pays
    buyer_gain_nano   limit less payment, summed over bids; seller_gain_nano: over asks
    gini              of the participants' gains over all books, losses counted as 0 (0: all alike, towards 1: one has all)
    largest_lie_nano  the largest gain by a misreport of prices or quantities under the own name, found in the books searched
                      (None: not searched); `largest_false_name_nano` by splitting an order over several identities, against
                      which truthfulness is not claimed (Yokoo, Sakurai and Matsubara, "The effect of false-name bids in
                      combinatorial auctions", Games and Economic Behavior 46, 2004)
    seconds           clearing time in all
    """

    mechanism: str
    books: int
    orders: int
    volume_wh: int
    inventory_wh: int
    welfare_nano: int
    best_welfare_nano: int
    efficiency: float
    price_mean: float | None
    price_deviation: float | None
    price_least: float | None
    price_largest: float | None
    surplus_nano: int
    deficit_nano: int
    buyer_gain_nano: int
    seller_gain_nano: int
    gini: float
    largest_lie_nano: int | None
    largest_false_name_nano: int | None
    seconds: float

    def as_row(self) -> dict[str, object]:
        """Name to value, for tables and JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Tally:
    """Sums while the books pass by."""

    books: int = 0
    orders: int = 0
    volume: int = 0
    inventory: int = 0
    welfare: int = 0
    best: int = 0
    surplus: int = 0
    deficit: int = 0
    buyers: int = 0
    sellers: int = 0
    lies: list[int] = field(default_factory=list)
    false_names: list[int] = field(default_factory=list)
    seconds: float = 0.0
    gains: dict[int, int] = field(default_factory=dict)
    prices: list[tuple[float, int]] = field(default_factory=list)


def compare(
    mechanisms: Sequence[Mechanism],
    books: Iterable[Orders],
    conventions: Conventions,
    *,
    clock: Callable[[], float],
    extra_of: ExtraOf | None = None,
    stock_price_micro_per_kwh: int = 0,
    lies_in: int = 0,
    tries: int = 60,
) -> list[Score]:
    """Clear every book under every mechanism. The misreport search runs in the first `lies_in` books that trade, `tries` a
    participant. `clock` gives seconds, such as time.perf_counter. `stock_price_micro_per_kwh` is what a kWh in a pool's stock is
    worth afterwards (0: it expires).

    >>> from walras.market.orders import make_orders
    >>> from walras.market.registry import mechanism_named
    >>> book = make_orders([1, 1, -1], [500, 500, 500], [300, 200, 100])
    >>> score, = compare([mechanism_named("uniform")], [book], Conventions(), clock=lambda: 0.0)
    >>> score.efficiency, score.buyer_gain_nano, score.seller_gain_nano
    (1.0, 25000, 75000)
    """
    tallies = {mechanism.name: _Tally() for mechanism in mechanisms}
    searched = 0
    for orders in books:
        net = terms(orders, conventions)
        best = best_welfare_nano(orders.side.tolist(), net.price_micro_per_kwh.tolist(), net.quantity_wh.tolist())
        search = searched < lies_in and best > 0
        searched += search
        for mechanism in mechanisms:
            extra = extra_of(mechanism, orders) if extra_of is not None else None
            tally = tallies[mechanism.name]
            started = clock()
            clearing = run(mechanism, orders, conventions, None, extra)
            tally.seconds += clock() - started
            tally.best += best
            tally.inventory += clearing.inventory_wh
            tally.welfare += clearing.inventory_wh * stock_price_micro_per_kwh
            _count(tally, orders, clearing, net.price_micro_per_kwh.tolist())
            if search:
                for ways, largest in ((OWN_NAME, tally.lies), (FALSE_NAMES, tally.false_names)):
                    largest.append(_largest_lie(mechanism, orders, conventions, extra, tries, ways))
    return [_score(mechanism.name, tallies[mechanism.name]) for mechanism in mechanisms]


def gini(values: Sequence[int]) -> float:
    """Gini coefficient of non-negative values; negative ones count as 0. 0 for none, or when all are 0.

    >>> gini([1, 1, 1]), gini([0, 0, 3])
    (0.0, 0.6666666666666666)
    """
    ordered = sorted(max(value, 0) for value in values)
    total, n = sum(ordered), len(ordered)
    if total == 0:
        return 0.0
    return float(2 * sum(rank * value for rank, value in enumerate(ordered, 1)) - (n + 1) * total) / (n * total)


def _count(tally: _Tally, orders: Orders, clearing: Clearing, net_price: list[int]) -> None:
    tally.books += 1
    tally.orders += orders.count
    tally.volume += volume_wh(orders, clearing)
    surplus = clearing.surplus_nano
    tally.surplus += surplus
    tally.deficit += max(-surplus, 0)
    columns = (orders.participant, orders.side, orders.price_micro_per_kwh, clearing.filled_wh, clearing.pay_nano)
    for (who, side, limit, filled, pay), net in zip(zip(*(c.tolist() for c in columns), strict=True), net_price, strict=True):
        gain = side * limit * filled - pay
        tally.gains[who] = tally.gains.get(who, 0) + gain
        if filled:
            tally.welfare += side * net * filled
            tally.prices.append((side * pay / filled, filled))
            if side == BUY:
                tally.buyers += gain
            else:
                tally.sellers += gain


def _largest_lie(
    mechanism: Mechanism,
    orders: Orders,
    conventions: Conventions,
    extra: Mapping[str, object] | None,
    tries: int,
    ways: tuple[str, ...],
) -> int:
    return max(
        best_misreport(mechanism, orders, conventions, who, extra=extra, tries=tries, ways=ways).gain_nano
        for who in sorted(set(orders.participant.tolist()))
    )


def _score(name: str, t: _Tally) -> Score:
    mean = deviation = least = largest = None
    if t.prices:
        price, weight = np.array([p for p, _ in t.prices]), np.array([w for _, w in t.prices], dtype=np.float64)
        mean = float(np.average(price, weights=weight))
        deviation = math.sqrt(float(np.average((price - mean) ** 2, weights=weight)))
        least, largest = float(price.min()), float(price.max())
    return Score(
        mechanism=name,
        books=t.books,
        orders=t.orders,
        volume_wh=t.volume,
        inventory_wh=t.inventory,
        welfare_nano=t.welfare,
        best_welfare_nano=t.best,
        efficiency=t.welfare / t.best if t.best else 1.0,
        price_mean=mean,
        price_deviation=deviation,
        price_least=least,
        price_largest=largest,
        surplus_nano=t.surplus,
        deficit_nano=t.deficit,
        buyer_gain_nano=t.buyers,
        seller_gain_nano=t.sellers,
        gini=gini(list(t.gains.values())),
        largest_lie_nano=max(t.lies, default=None),
        largest_false_name_nano=max(t.false_names, default=None),
        seconds=t.seconds,
    )
