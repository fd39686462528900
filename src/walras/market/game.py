"""Playing against a mechanism: what a participant could gain by not telling the truth.

The limit prices and quantities of a book are taken as the true values. A participant's utility is the value of its net
position to itself (`value_nano`) less what it pays. `best_misreport` tries unilateral misreports, everyone else's orders
unchanged, and returns the best one found:

price      an order at each limit price of the book, and one micro-unit to either side of it
quantity   less (down to withholding the order altogether) and more than is there; selling what one does not have is ruled out
split      one order as several identities, each with its own participant and id, at the same or at different prices

The search is bounded by `tries` and draws from `seed` when there are more candidates. A gain found is a proof that the
mechanism can be gamed; no gain found is evidence, not a proof. Gains are exact, in nano-units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from walras.errors import Fault, InputError, RangeError
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import IDS, ORDER_EXTRA, Mechanism, run
from walras.market.orders import BUY, SELL, Orders
from walras.units import INT64_MAX, MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH, Int64

OWN_NAME, FALSE_NAMES = ("price", "quantity"), ("split",)
WAYS = (*OWN_NAME, *FALSE_NAMES)
"""Ways of lying: under one's own name, and under several."""


@dataclass(frozen=True, slots=True)
class Misreport:
    """The best lie found for one participant: what truth gives, what the lie adds (0: none found), and the lie in words."""

    participant: int
    honest_nano: int
    gain_nano: int
    how: str
    tried: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """One order as reported in place of a true one: the row it stands for, what it says, and under which identity."""

    row: int
    quantity_wh: int
    price_micro_per_kwh: int
    identity: int


_Lie = tuple[str, tuple[_Piece, ...]]
"""In words, and the pieces that stand for one order."""


def value_nano(side: list[int], price: list[int], quantity: list[int], net_wh: int) -> int | None:
    """What a net purchase of `net_wh` (negative: a sale) is worth to someone with these true orders; None if out of reach.

    The position is divided among the orders, and between own asks and own bids, to its owner's best advantage.

    >>> value_nano([1, 1], [300, 200], [10, 10], 15), value_nano([-1], [100], [10], -10), value_nano([-1], [100], [10], -11)
    (4000, -1000, None)
    """
    bids = sorted(((p, q) for s, p, q in zip(side, price, quantity, strict=True) if s == BUY), reverse=True)
    asks = sorted((p, q) for s, p, q in zip(side, price, quantity, strict=True) if s == SELL)
    endless = 2 * MAX_PRICE_MICRO_PER_KWH + 1
    must_use, must_make = max(net_wh, 0), max(-net_wh, 0)
    uses = [(endless, must_make), *bids]
    sources = [(-endless, must_use), *asks]
    worth = i = j = 0
    use_left, source_left = uses[0][1], sources[0][1]
    while i < len(uses) and j < len(sources):
        if use_left == 0 or source_left == 0:
            if use_left == 0:
                i += 1
                use_left = uses[i][1] if i < len(uses) else 0
            else:
                j += 1
                source_left = sources[j][1] if j < len(sources) else 0
            continue
        if uses[i][0] <= sources[j][0]:
            break
        energy = min(use_left, source_left)
        worth += energy * ((uses[i][0] if i else 0) - (sources[j][0] if j else 0))
        use_left -= energy
        source_left -= energy
    made = must_make if i else must_make - use_left
    used = must_use if j else must_use - source_left
    return worth if (made, used) == (must_make, must_use) else None


def utility_nano(truth: Orders, participant: int, reported: Orders, clearing: Clearing, identities: frozenset[int]) -> int | None:
    """Utility of `participant`, whose true orders are in `truth`, from what all its `identities` got in `clearing`."""
    own = truth.participant == participant
    mine = np.isin(reported.participant, np.array(sorted(identities), dtype=np.int64))
    net = sum((reported.side[mine].astype(np.int64) * clearing.filled_wh[mine]).tolist())
    worth = value_nano(truth.side[own].tolist(), truth.price_micro_per_kwh[own].tolist(), truth.quantity_wh[own].tolist(), net)
    return None if worth is None else worth - sum(clearing.pay_nano[mine].tolist())


def best_misreport(
    mechanism: Mechanism,
    orders: Orders,
    conventions: Conventions,
    participant: int,
    *,
    network: object | None = None,
    extra: Mapping[str, object] | None = None,
    ways: tuple[str, ...] = WAYS,
    tries: int = 200,
    seed: int = 0,
    names: Sequence[object] | None = None,
) -> Misreport:
    """The most profitable unilateral misreport of `participant` among at most `tries`.

    Where there are more candidates, half of the tries go to the prices nearest the clearing price (a lie that pays moves
    the price or crosses it), the rest is drawn. `names` [n] are the ids to speak of (default: those in the book).

    A price-taking rule pays the seller its own ask, so asking more pays:
    >>> from walras.market.orders import make_orders
    >>> from walras.market.registry import mechanism_named
    >>> book = make_orders([1, -1], [1000, 1000], [300_000, 100_000])
    >>> best_misreport(mechanism_named("uniform"), book, Conventions(), 1).gain_nano
    100000000
    """
    unknown = [way for way in ways if way not in WAYS]
    if unknown:
        raise InputError("misreport", [Fault("misreport", "ways", way, "one of " + ", ".join(WAYS)) for way in unknown])
    truth = run(mechanism, orders, conventions, network, extra)
    honest = utility_nano(orders, participant, orders, truth, frozenset({participant}))
    if honest is None:
        raise InputError("misreport", [Fault("misreport", "participant", participant, "a position its own orders allow")])
    labels = [str(name) for name in (orders.id.tolist() if names is None else names)]
    candidates = _choose(list(_candidates(orders, participant, ways, labels)), _focus(orders, truth), tries, seed)
    best, how = 0, "none found"
    for words, pieces in candidates:
        reported, moved_extra = _report(orders, extra, pieces)
        identities = frozenset({participant, *(int(p) for p in reported.participant[orders.count :])})
        try:
            clearing = run(mechanism, reported, conventions, network, moved_extra)
        except RangeError:
            continue  # the exchange refuses such a book, so this lie is not open to anyone
        utility = utility_nano(orders, participant, reported, clearing, identities)
        if utility is not None and utility - honest > best:
            best, how = utility - honest, words
    return Misreport(participant, honest, best, how, len(candidates))


def _focus(orders: Orders, truth: Clearing) -> int:
    """The price where lies matter: the common price, or the middle of the limit prices that were filled."""
    if truth.price_micro_per_kwh is not None:
        return truth.price_micro_per_kwh
    filled = orders.price_micro_per_kwh[truth.filled_wh > 0]
    everyone = filled if filled.size else orders.price_micro_per_kwh
    return int(np.median(everyone)) if everyone.size else 0


def _choose(candidates: list[_Lie], focus: int, tries: int, seed: int) -> list[_Lie]:
    if len(candidates) <= tries:
        return candidates
    by_distance = sorted(range(len(candidates)), key=lambda c: abs(candidates[c][1][0].price_micro_per_kwh - focus))
    near, rest = by_distance[: tries // 2], by_distance[tries // 2 :]
    drawn = np.random.default_rng(seed).choice(len(rest), size=tries - len(near), replace=False)
    return [candidates[c] for c in sorted([*near, *(rest[d] for d in drawn.tolist())])]


def _candidates(orders: Orders, participant: int, ways: tuple[str, ...], labels: list[str]) -> Iterator[_Lie]:
    limits = sorted({p + d for p in orders.price_micro_per_kwh.tolist() for d in (-1, 0, 1)})
    limits = [p for p in limits if abs(p) <= MAX_PRICE_MICRO_PER_KWH]
    others = sorted(set(orders.quantity_wh[orders.participant != participant].tolist()))
    for row in np.flatnonzero(orders.participant == participant).tolist():
        quantity, price, name = int(orders.quantity_wh[row]), int(orders.price_micro_per_kwh[row]), labels[row]
        if quantity == 0:
            continue
        amounts = {0, 1, quantity // 2, quantity - 1, *(quantity - q for q in others), *(q for q in others if q < quantity)}
        if orders.side[row] == BUY:
            amounts |= {quantity + 1, 2 * quantity}
        amounts = {q for q in amounts if 0 <= q <= MAX_ENERGY_WH and q != quantity}
        if "price" in ways:
            for p in limits:
                if p != price:
                    yield f"order {name} at {p} instead of {price}", (_Piece(row, quantity, p, 0),)
        if "quantity" in ways:
            for q in sorted(amounts):
                yield f"order {name} for {q} instead of {quantity} Wh", (_Piece(row, q, price, 0),)
        if "price" in ways and "quantity" in ways:
            for q in sorted({0, quantity // 2, quantity - 1} & amounts - {0}):
                for p in limits:
                    yield f"order {name} for {q} Wh at {p}", (_Piece(row, q, p, 0),)
        if "split" in ways and quantity >= 2:
            yield from _splits(row, quantity, price, name, limits)


def _splits(row: int, quantity: int, price: int, name: str, limits: list[int]) -> Iterator[_Lie]:
    for parts in (2, 3, 5):
        share, rest = divmod(quantity, parts)
        if share:
            same = tuple(_Piece(row, share + (part < rest), price, part) for part in range(parts))
            yield f"order {name} as {parts} identities", same
    half = quantity // 2
    for p in limits:
        yield f"order {name} as two identities, one at {p}", (_Piece(row, half, p, 1), _Piece(row, quantity - half, price, 0))


def _report(
    orders: Orders, extra: Mapping[str, object] | None, pieces: tuple[_Piece, ...]
) -> tuple[Orders, Mapping[str, object] | None]:
    """The book with one order replaced by `pieces`: identity 0 keeps row, id and participant, others are appended."""
    columns = {name: column.copy() for name, column in orders.as_columns().items()}
    added = [piece for piece in pieces if piece.identity]
    for piece in pieces:
        if piece.identity == 0:
            columns["quantity_wh"][piece.row] = piece.quantity_wh
            columns["price_micro_per_kwh"][piece.row] = piece.price_micro_per_kwh
    if not added:
        return Orders(**columns), extra  # type: ignore[arg-type]
    rows = np.array([piece.row for piece in added])
    tail = {name: column[rows] for name, column in columns.items()}
    tail["quantity_wh"] = np.array([piece.quantity_wh for piece in added], dtype=np.int64)
    tail["price_micro_per_kwh"] = np.array([piece.price_micro_per_kwh for piece in added], dtype=np.int64)
    tail["id"] = _fresh(orders.id, len(added))
    tail["participant"] = _fresh(orders.participant, len(added))
    reported = Orders(**{name: np.concatenate([columns[name], tail[name]]) for name in columns})
    return reported, _extend(extra, rows.tolist())


def _fresh(taken: Int64, count: int) -> Int64:
    """`count` numbers that are not in `taken`."""
    first = int(taken.max()) + 1
    if first + count <= INT64_MAX:
        return np.arange(first, first + count, dtype=np.int64)
    free = np.setdiff1d(np.arange(taken.size + count, dtype=np.int64), taken)
    return free[:count]


def _extend(extra: Mapping[str, object] | None, rows: list[int]) -> Mapping[str, object] | None:
    if not extra:
        return extra
    longer = dict(extra)
    ids = longer.get(IDS)
    if isinstance(ids, list):
        longer[IDS] = ids + [f"{ids[row]}~{number}" for number, row in enumerate(rows, 1)]
    fields = longer.get(ORDER_EXTRA)
    if isinstance(fields, Mapping):
        longer[ORDER_EXTRA] = {name: [*values, *(values[row] for row in rows)] for name, values in fields.items()}
    return longer
