"""Flexibility procurement: a buyer's requirement per slot against offers with power, energy, notice and rebound; pay as bid.

Bids (`side` buy) are the requirement: so many Wh in `slot`, wanted up to the bid's price (the cap). Asks are offers: at most
`power_wh` in any slot, at most the order's quantity in all, only in `from_slot` .. `to_slot`, and not before `called_at` +
`notice` where the book says when the call is made. An offer that delivers E in slot t takes back `rebound_percent` of E in
slot t + `rebound_after` (a battery that must be refilled, a cold store that must catch up): that energy has to be procured
again where it falls into a slot with a requirement, and falls outside the product where it does not.

Chosen is the procurement of the largest welfare, value of what is served less cost of what is called, by a linear program
over offer and slot (HiGHS), rounded to whole Wh towards less. Every offer is paid its own price for all it delivers; the
buyer of a slot pays exactly what is called for it. With one slot and no technical limits this is the reverse auction:
cheapest first, each at its own price. Equal offers are served by time, then id.

Energy: served + taken back inside required slots = delivered; what is taken back is `losses_wh`. The certificate lists what
each offer delivers in each slot, and what one more Wh would be worth in each.

Source: pay-as-bid reverse auctions of local flexibility platforms; see Jin, Wu and Jia, "Local flexibility markets:
literature review on concepts, models and clearing methods", Applied Energy 261 (2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from walras.errors import ClearingError, Fault, InputError
from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import ORDER_EXTRA, Claim, Mechanism
from walras.market.milp import LinearModel
from walras.market.orders import BUY, Orders
from walras.units import Int64, checked_product

FIELDS = ("slot", "power_wh", "from_slot", "to_slot", "notice", "rebound_percent", "rebound_after")
MAX_SLOTS = 2_000
CALLED_AT = "called_at"


@dataclass(frozen=True, slots=True)
class Product:
    """The book as columns.

    Bids, by slot, dearest first: `bid_row`, `bid_slot`. Offers, cheapest first: `offer_row`, `power_wh`, the first slot that the
    notice leaves and the last, `rebound_percent`, `rebound_after`.
    """

    slots: int
    bid_row: Int64
    bid_slot: Int64
    offer_row: Int64
    power_wh: Int64
    first: Int64
    last: Int64
    rebound_percent: Int64
    rebound_after: Int64


def clear(
    orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object] | None = None
) -> Clearing:
    """Procure. `network` is not used. InputError with every fault, ClearingError if the solver gives up.

    900 Wh are wanted in one slot; the cheap offer can give 600 in a slot, the dear one fills up, each at its own price:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, -1, -1], [900, 2000, 2000], [400_000, 100_000, 250_000])
    >>> done = clear(book, Conventions(), extra={ORDER_EXTRA: {"power_wh": [None, 600, None]}})
    >>> done.filled_wh.tolist(), done.pay_nano.tolist()
    ([900, 600, 300], [135000000, -60000000, -75000000])
    """
    given = extra or {}
    product = read_product(orders, given)
    if not product.bid_row.size or not product.offer_row.size:
        return empty_clearing("flexibility", orders)
    delivered, value = _procure(orders, product)
    return _settle(orders, product, delivered, value)


def read_product(orders: Orders, extra: Mapping[str, object]) -> Product:
    """The technical part of the book, checked; InputError lists every fault with its row."""
    given = extra.get(ORDER_EXTRA, {})
    assert isinstance(given, Mapping)
    columns = {name: list(given.get(name, [None] * orders.count)) for name in FIELDS}
    called = extra.get(CALLED_AT)
    faults = _faults(orders, columns, called)
    if faults:
        raise InputError("flexibility", faults)
    buys = orders.side == BUY
    slot_of = np.array([0 if v is None else v for v in columns["slot"]], dtype=np.int64)
    ends = [v for name in ("slot", "to_slot") for v in columns[name] if v is not None]
    slots = max([0, *ends]) + 1
    offers = np.flatnonzero(~buys)
    wanted = np.flatnonzero(buys)
    wanted = wanted[np.lexsort((orders.id[wanted], orders.time[wanted], -orders.price_micro_per_kwh[wanted], slot_of[wanted]))]
    ranked = offers[np.lexsort((orders.id[offers], orders.time[offers], orders.price_micro_per_kwh[offers]))]
    quantity = orders.quantity_wh

    def column(name: str, default: Int64 | int) -> Int64:
        fallback = np.broadcast_to(np.asarray(default, dtype=np.int64), (ranked.size,)).tolist()
        return np.array(
            [fallback[k] if columns[name][r] is None else columns[name][r] for k, r in enumerate(ranked)], dtype=np.int64
        )

    earliest = np.zeros(ranked.size, dtype=np.int64) if called is None else int(called) + column("notice", 0)  # type: ignore[call-overload]
    return Product(
        slots,
        wanted.astype(np.int64),
        slot_of[wanted],
        ranked.astype(np.int64),
        np.minimum(column("power_wh", quantity[ranked]), quantity[ranked]),
        np.maximum(column("from_slot", 0), earliest),
        column("to_slot", slots - 1),
        column("rebound_percent", 0),
        column("rebound_after", 1),
    )


def _faults(orders: Orders, columns: Mapping[str, list[object]], called: object) -> list[Fault]:
    bounds = {"rebound_percent": (0, 100), "rebound_after": (1, MAX_SLOTS), "power_wh": (0, 10**12)}
    faults = []
    if called is not None and (not _is_whole(called) or not 0 <= called <= MAX_SLOTS):  # type: ignore[operator]
        faults.append(Fault("book", CALLED_AT, called, f"a slot from 0 to {MAX_SLOTS}"))
    for row in range(orders.count):
        buy = orders.side[row] == BUY
        where = f"order row {row}"
        for name in FIELDS:
            value = columns[name][row]
            if value is None:
                continue
            low, high = bounds.get(name, (0, MAX_SLOTS))
            if (name == "slot") != buy:
                faults.append(
                    Fault(where, name, value, "only on a requirement (buy)" if name == "slot" else "only on an offer (sell)")
                )
            elif not _is_whole(value) or not low <= value <= high:  # type: ignore[operator]
                faults.append(Fault(where, name, value, f"a whole number from {low} to {high}"))
        first, last = columns["from_slot"][row], columns["to_slot"][row]
        if _is_whole(first) and _is_whole(last) and last < first:  # type: ignore[operator]
            faults.append(Fault(where, "to_slot", last, f"at least from_slot, {first}"))
    return faults


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _procure(orders: Orders, p: Product) -> tuple[Int64, Int64]:
    """What each offer delivers, [offers, slots] whole Wh, and by slot what one more Wh is worth: the best unserved bid."""
    offers, bids = p.offer_row.size, p.bid_row.size
    model = LinearModel(offers * p.slots + bids)
    price, value = orders.price_micro_per_kwh[p.offer_row], orders.price_micro_per_kwh[p.bid_row]
    # Ties are broken by rank, by far less than whole prices differ; what is worth exactly its price is served.
    rank_cost = np.arange(offers) * (0.25 / max(offers, 1))
    rank_value = 0.75 - np.arange(bids) * (0.25 / max(bids, 1))
    model.cost[: offers * p.slots] = np.repeat(price + rank_cost, p.slots)
    model.cost[offers * p.slots :] = -(value + rank_value)
    upper = np.zeros((offers, p.slots))
    for k in range(offers):
        upper[k, p.first[k] : p.last[k] + 1] = p.power_wh[k]
    model.upper[: offers * p.slots] = upper.ravel()
    model.upper[offers * p.slots :] = orders.quantity_wh[p.bid_row]
    required = np.zeros(p.slots, dtype=np.bool_)
    required[p.bid_slot] = True
    for k in range(offers):
        model.add_row(range(k * p.slots, (k + 1) * p.slots), np.ones(p.slots), 0.0, float(orders.quantity_wh[p.offer_row[k]]))
    for t in range(p.slots):
        if not required[t]:
            model.upper[np.arange(offers) * p.slots + t] = 0.0
            continue
        back = [(k, t - int(p.rebound_after[k])) for k in range(offers) if p.rebound_percent[k] and t >= p.rebound_after[k]]
        places = [*(k * p.slots + t for k in range(offers)), *(k * p.slots + s for k, s in back)]
        sizes = [*([1.0] * offers), *(-p.rebound_percent[k] / 100 for k, _ in back)]
        here = np.flatnonzero(p.bid_slot == t).tolist()
        model.add_row([*places, *(offers * p.slots + b for b in here)], [*sizes, *([-1.0] * len(here))], 0.0, 0.0)
    found = model.solve()
    if found is None:
        raise ClearingError("flexibility: the solver found no procurement", thing="flexibility")
    x = np.floor(found.x[: offers * p.slots].reshape(offers, p.slots) + 1e-6).astype(np.int64)
    served = found.x[offers * p.slots :]
    unserved = np.zeros(p.slots, dtype=np.int64)
    for b in np.flatnonzero(served < orders.quantity_wh[p.bid_row] - 1e-6).tolist():
        unserved[p.bid_slot[b]] = max(unserved[p.bid_slot[b]], int(value[b]))
    return x, unserved


def _settle(orders: Orders, p: Product, delivered: Int64, value: Int64) -> Clearing:
    """Whole fills and payments: towards less, every sum exact."""
    back = np.zeros_like(delivered)
    for k in range(p.offer_row.size):
        after = int(p.rebound_after[k])
        taken = -(-delivered[k] * int(p.rebound_percent[k]) // 100)
        if after < p.slots:
            back[k, after:] = taken[: p.slots - after]
    required = np.isin(np.arange(p.slots), p.bid_slot)
    back[:, ~required] = 0
    net = delivered.sum(axis=0) - back.sum(axis=0)
    while (net < 0).any():  # rounding left a slot short of its rebound by less than a Wh an offer: call less earlier
        t = int(np.flatnonzero(net < 0)[0])
        k = int(np.argmax(back[:, t]))
        delivered[k, t - int(p.rebound_after[k])] -= 1
        return _settle(orders, p, delivered, value)
    filled, pay = np.zeros(orders.count, dtype=np.int64), np.zeros(orders.count, dtype=np.int64)
    offers_pay = checked_product(delivered.sum(axis=1), orders.price_micro_per_kwh[p.offer_row], "pay_nano")
    filled[p.offer_row], pay[p.offer_row] = delivered.sum(axis=1), -offers_pay
    cost = (delivered * orders.price_micro_per_kwh[p.offer_row][:, None]).sum(axis=0)
    ranked = np.lexsort((orders.id[p.bid_row], orders.time[p.bid_row], -orders.price_micro_per_kwh[p.bid_row]))
    spare = 0
    for t in range(p.slots):
        here = [int(p.bid_row[b]) for b in ranked if p.bid_slot[b] == t]
        left, owed = int(net[t]), int(cost[t])
        total = left
        for row in here:
            filled[row] = min(left, int(orders.quantity_wh[row]))
            left -= int(filled[row])
            pay[row] = int(cost[t]) * int(filled[row]) // total if total else 0
            owed -= int(pay[row])
        if here:
            pay[here[0]] += owed
        spare += left
    certificate: dict[str, int | Int64] = {
        "delivered_wh": delivered.ravel(),
        "offer_row": p.offer_row,
        "slots": p.slots,
        "shortfall_value_micro_per_kwh": value,
    }
    return Clearing("flexibility", filled, pay, None, losses_wh=int(back.sum()) + spare, certificate=certificate)


def report(clearing: Clearing, extra: Mapping[str, object]) -> dict[str, object]:
    """What each offer delivers by slot, in the sequence of the book's orders, and the value of one more Wh where it is short."""
    c = clearing.certificate
    if "slots" not in c:
        return {"delivered_wh": [], "shortfall_value_micro_per_kwh": []}
    slots, rows = c["slots"], c["offer_row"]
    table = np.asarray(c["delivered_wh"]).reshape(-1, int(slots))
    by_row = {int(row): table[k].tolist() for k, row in enumerate(np.asarray(rows))}
    return {
        "delivered_wh": [by_row.get(row) for row in range(clearing.filled_wh.size)],
        "rebound_wh": clearing.losses_wh,
        "shortfall_value_micro_per_kwh": np.asarray(c["shortfall_value_micro_per_kwh"]).tolist(),
    }


FLEXIBILITY = Mechanism(
    name="flexibility",
    title="Pay-as-bid procurement of flexibility (reverse auction)",
    reference="Jin, Wu and Jia, Applied Energy 261 (2020)",
    clear=clear,
    claims=frozenset({Claim.WEAK_BUDGET_BALANCE, Claim.STRONG_BUDGET_BALANCE, Claim.ORDER_FREE}),
    conventions=(),
    extra=((CALLED_AT, "slot in which the call is made; offers need their notice from then on"),),
    order_extra=(
        ("slot", "requirement: the slot in which the energy is wanted, 0 where not given"),
        ("power_wh", "offer: most Wh in any one slot"),
        ("from_slot", "offer: first slot"),
        ("to_slot", "offer: last slot"),
        ("notice", "offer: slots between call and delivery"),
        ("rebound_percent", "offer: share of the energy taken back later"),
        ("rebound_after", "offer: how many slots later"),
    ),
    report=report,
)
