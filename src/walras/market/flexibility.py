"""Flexibility procurement: requirements by slot against offers with power, energy, notice and rebound; pay as bid.

Bids are the requirement: so much energy in a slot, wanted up to the bid's price. Asks are offers with technical limits
(`flexibility_book.py`). Procured is what has the largest welfare: value of the requirement served less cost of what is called.

Balance   in every slot with a requirement: delivered = served + taken back there, rounded up to whole lots. What an offer
          takes back in a slot with a requirement has to be procured again; elsewhere it is outside the product.
Optimum   one slot: cheapest offers for the dearest bids, exact. Several slots: a linear program over offer and slot (HiGHS).
          Without a rebound into the requirement its corners are whole lots. With one, fractions are made whole slot by slot
          (`flexibility_rounding.py`) at a loss of some lots; `bound_nano` says what no procurement can exceed. Every limit is
          then checked in whole numbers.
Money     each offer gets its own price for all it delivers. The cost of a slot is shared by what causes it: the bids served there
          and the deliveries of earlier slots whose rebound falls there, in proportion to energy, by largest remainder; what
          falls to an earlier slot is part of that slot's cost, and so back to the first. So every cost ends at a bid that is
          served, and payments sum to the grid fee on it exactly.
Limit     nobody pays above its bid. At the optimum of the linear program that follows by itself: what a slot's energy costs on
          average, rebounds included, is at most its marginal cost, and no served bid is below that. Making it whole can break
          it by a lot; the bid that would lose most is then left out and the rest is procured anew.

With one slot and no technical limits this is the pay-as-bid reverse auction. Equal offers are called by (time, id).

Energy: bought + `losses_wh` = sold; the losses are what is taken back and procured again. The certificate lists what each
offer delivers in each slot, and by slot what is wanted, served, taken back and spent; `bound_nano`, and how many bids were
left out.

Source: pay-as-bid reverse auctions of local flexibility platforms; Jin, Wu and Jia, "Local flexibility markets: literature
review on concepts, models and clearing methods", Applied Energy 261 (2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from walras.errors import ClearingError, RangeError
from walras.market.clearing import Clearing, empty_clearing
from walras.market.conventions import Conventions
from walras.market.flexibility_book import CALLED_AT, Requirements, read_requirements
from walras.market.flexibility_rounding import round_plan
from walras.market.mechanism import IDS, Claim, Mechanism
from walras.market.milp import LinearModel
from walras.market.orders import Orders
from walras.market.queue import take_in_sequence
from walras.units import INT64_MAX, Int64, share_pro_rata


@dataclass(frozen=True, slots=True)
class Plan:
    """What is procured, in lots: `called` [k, t] of each offer in each slot, `served` [b] of each bid, `back` [t] taken back;
    and `bound`, the welfare that no plan exceeds (micro/kWh times lots)."""

    called: Int64
    served: Int64
    back: Int64
    bound: int


def clear(
    orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object] | None = None
) -> Clearing:
    """Procure. `network` is not used. InputError with every fault, RangeError where money leaves int64, ClearingError if the
    solver fails.

    900 Wh are wanted; the cheap offer can give 600 in a slot, the dear one fills up, each at its own price:
    >>> from walras.market.mechanism import ORDER_EXTRA
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, -1, -1], [900, 2000, 2000], [400_000, 100_000, 250_000])
    >>> done = clear(book, Conventions(), extra={ORDER_EXTRA: {"power_wh": [None, 600, None]}})
    >>> done.filled_wh.tolist(), done.pay_nano.tolist()
    ([900, 600, 300], [135000000, -60000000, -75000000])
    """
    book = read_requirements(orders, conventions, extra or {})
    if not book.bid_row.size or not book.offer_row.size:
        return empty_clearing("flexibility", orders, {"bound_nano": 0, "left_out": 0})
    plan = procure(book)
    bound, left_out = plan.bound * conventions.lot_wh, 0
    while True:
        cost = share_cost(book, plan, conventions.lot_wh)
        loses = [paid - int(book.bid_price[b]) * int(plan.served[b]) * conventions.lot_wh for b, paid in enumerate(cost.by_bid)]
        worst = max(range(len(loses)), key=lambda b: (loses[b], b))
        if loses[worst] <= 0:
            evidence: dict[str, int | Int64] = {"bound_nano": bound, "left_out": left_out}
            return _clearing(orders, conventions, book, plan, cost, evidence)
        book, left_out = book.without(worst), left_out + 1
        plan = procure(book)


def procure(book: Requirements) -> Plan:
    """The plan of the largest welfare, checked against every limit in whole numbers."""
    plan = _procure_one(book) if book.slot.size == 1 else _procure_many(book)
    wrong = _broken_limits(book, plan)
    if wrong:
        raise ClearingError(f"flexibility: the solver's plan breaks {', '.join(wrong)}", thing=tuple(wrong))
    return plan


def taken_back(book: Requirements, called: Int64) -> Int64:
    """[t] whole lots that offers take back in each slot, given what is called: each slot's sum rounded up."""
    hundredths = np.zeros(book.slot.size, dtype=np.int64)
    k, t = np.nonzero(book.back_at >= 0)
    np.add.at(hundredths, book.back_at[k, t], called[k, t] * book.percent[k])
    return np.asarray(-(-hundredths // 100), dtype=np.int64)


def _procure_one(book: Requirements) -> Plan:
    limit = np.minimum(book.power_lots[:, 0], book.offer_lots)
    taker, offer, lots = take_in_sequence(book.bid_price, book.bid_lots, book.offer_price, limit)
    called, served = np.zeros((book.offer_row.size, 1), dtype=np.int64), np.zeros(book.bid_row.size, dtype=np.int64)
    np.add.at(called[:, 0], offer, lots)
    np.add.at(served, taker, lots)
    worth = _dot(book.bid_price, served) - _dot(book.offer_price, called[:, 0])
    return Plan(called, served, np.zeros(1, dtype=np.int64), worth)


def _procure_many(book: Requirements) -> Plan:
    """By HiGHS: columns are offer and slot where it can be called, then bids, then lots taken back by slot."""
    offers, slots = book.power_lots.shape
    bids = book.bid_row.size
    k, t = np.nonzero(book.power_lots)
    pairs = k.size
    column = np.full((offers, slots), -1, dtype=np.int64)
    column[k, t] = np.arange(pairs)
    causes = (book.back_at >= 0) & (column >= 0)
    model = LinearModel(pairs + bids + slots)
    # Equals are told apart by rank, by less than whole prices differ; what is worth just its price is served.
    model.cost[:pairs] = book.offer_price[k] + k * (0.25 / offers)
    model.cost[pairs : pairs + bids] = -(book.bid_price + 0.75 - np.arange(bids) * (0.25 / bids))
    model.upper[:pairs] = book.power_lots[k, t]
    model.upper[pairs : pairs + bids] = book.bid_lots
    falls = np.zeros(slots, dtype=np.bool_)
    falls[book.back_at[causes]] = True
    model.upper[pairs + bids :] = np.where(falls, np.inf, 0.0)
    for offer in range(offers):
        mine = column[offer][column[offer] >= 0]
        if int(book.power_lots[offer].sum()) > int(book.offer_lots[offer]):
            model.add_row(mine, np.ones(mine.size), 0.0, float(book.offer_lots[offer]))
    for at in range(slots):
        here, wanted = column[:, at][column[:, at] >= 0], pairs + np.flatnonzero(book.bid_at == at)
        places = [*here, *wanted, pairs + bids + at]
        model.add_row(places, [1.0] * here.size + [-1.0] * (wanted.size + 1), 0.0, 0.0)
        if falls[at]:  # hundredths of what is taken back
            who, when = np.nonzero(causes & (book.back_at == at))
            model.add_row([pairs + bids + at, *column[who, when]], [100.0, *(-book.percent[who])], 0.0, 0.0)
    found = model.solve()
    if found is None or found.x is None:
        raise ClearingError("flexibility: the solver found no plan, though procuring nothing is one", thing="flexibility")
    share = np.zeros((offers, slots))
    share[k, t] = found.x[:pairs]
    called, served = round_plan(book, share, found.x[pairs : pairs + bids])
    worth = float(book.bid_price @ found.x[pairs : pairs + bids] - book.offer_price @ share.sum(axis=1))
    return Plan(called, served, taken_back(book, called), math.ceil(worth + 1e-9 * abs(worth)))


def _dot(price: Int64, lots: Int64) -> int:
    return sum(p * n for p, n in zip(price.tolist(), lots.tolist(), strict=True))


def _broken_limits(book: Requirements, plan: Plan) -> list[str]:
    served = np.zeros(book.slot.size, dtype=np.int64)
    np.add.at(served, book.bid_at, plan.served)
    checks = (
        ("power", ((plan.called < 0) | (plan.called > book.power_lots)).any()),
        ("energy", (plan.called.sum(axis=1) > book.offer_lots).any()),
        ("the requirement", ((plan.served < 0) | (plan.served > book.bid_lots)).any()),
        ("the balance of a slot", (plan.called.sum(axis=0) != served + plan.back).any()),
        ("the rebound", (plan.back != taken_back(book, plan.called)).any()),
    )
    return [name for name, broken in checks if broken]


@dataclass(frozen=True, slots=True)
class Cost:
    """Money in nano-units: what each bid bears, and what each slot costs with the rebounds that it causes later."""

    by_bid: list[int]
    by_slot: list[int]


def share_cost(book: Requirements, plan: Plan, lot_wh: int) -> Cost:
    """Every slot's cost shared by what causes it, from the last slot back to the first; exact at any size."""
    by_slot = [lot_wh * _dot(book.offer_price, column) for column in plan.called.T]
    by_bid = [0] * book.bid_row.size
    for at in range(book.slot.size - 1, -1, -1):
        bids = np.flatnonzero((book.bid_at == at) & (plan.served > 0)).tolist()
        hundredths = np.where(book.back_at == at, plan.called * book.percent[:, None], 0).sum(axis=0)
        earlier = np.flatnonzero(hundredths).tolist()
        unit = 100 if earlier else 1
        weights = [*(plan.served[bids] * unit).tolist(), *hundredths[earlier].tolist()]
        shares = share_among(by_slot[at], weights)
        for bid, share in zip(bids, shares, strict=False):
            by_bid[bid] = share
        for source, share in zip(earlier, shares[len(bids) :], strict=True):
            by_slot[source] += share
    return Cost(by_bid, by_slot)


def share_among(total: int, weights: list[int]) -> list[int]:
    """A whole `total` of either sign in proportion to whole weights, exactly, by largest remainder; equals to the earlier.

    >>> share_among(10, [100, 100, 100]), share_among(-10, [100, 200])
    ([4, 3, 3], [-3, -7])
    """
    if not weights:
        return []
    each, rest = divmod(total, sum(weights))
    more = share_pro_rata(np.array(weights, dtype=np.int64), rest).tolist()
    return [each * weight + extra for weight, extra in zip(weights, more, strict=True)]


def _clearing(
    orders: Orders, conventions: Conventions, book: Requirements, plan: Plan, cost: Cost, evidence: dict[str, int | Int64]
) -> Clearing:
    lot, fee = conventions.lot_wh, conventions.grid_fee_micro_per_kwh
    sold = plan.called.sum(axis=1) * lot
    filled, pay = np.zeros((2, orders.count), dtype=np.int64)
    filled[book.bid_row], filled[book.offer_row] = plan.served * lot, sold
    paid = [bears + fee * wh for bears, wh in zip(cost.by_bid, filled[book.bid_row].tolist(), strict=True)]
    got = [-price * wh for price, wh in zip(book.offer_price.tolist(), sold.tolist(), strict=True)]
    if sum(map(abs, paid)) + sum(map(abs, got)) + sum(map(abs, cost.by_slot)) > INT64_MAX:
        raise RangeError("flexibility: the payments together do not fit in int64", thing="pay_nano")
    pay[book.bid_row], pay[book.offer_row] = paid, got
    wanted, served = np.zeros((2, book.slot.size), dtype=np.int64)
    np.add.at(wanted, book.bid_at, orders.quantity_wh[book.bid_row])
    np.add.at(served, book.bid_at, plan.served * lot)
    certificate = evidence | {
        "slot": book.slot,
        "wanted_wh": wanted,
        "served_wh": served,
        "taken_back_wh": plan.back * lot,
        "cost_nano": np.array(cost.by_slot, dtype=np.int64),
        "offer_row": book.offer_row,
        "delivered_wh": (plan.called * lot).ravel(),
    }
    return Clearing("flexibility", filled, pay, None, losses_wh=int(plan.back.sum()) * lot, certificate=certificate)


def report(clearing: Clearing, extra: Mapping[str, object]) -> dict[str, object]:
    """By slot what is wanted, served, taken back and spent (with the later cost of rebounds), and who delivers what when."""
    c = {name: np.atleast_1d(np.asarray(value)).tolist() for name, value in clearing.certificate.items()}
    slots, rows = c.get("slot", []), c.get("offer_row", [])
    ids = extra.get(IDS)
    names = ids if isinstance(ids, list) else list(range(clearing.filled_wh.size))
    fields = ("slot", "wanted_wh", "served_wh", "taken_back_wh", "cost_nano")
    table = np.array(c.get("delivered_wh", []), dtype=np.int64).reshape(len(rows), len(slots))
    return {
        "slots": [{name: c[name][at] for name in fields} for at in range(len(slots))],
        "deliveries": [
            {"id": names[rows[k]], "slot": slots[at], "wh": int(table[k, at])}
            for at, k in sorted(zip(*(places.tolist() for places in np.nonzero(table.T)), strict=True))
        ],
        "taken_back_wh": clearing.losses_wh,
        "bound_nano": c["bound_nano"][0],
        "left_out": c["left_out"][0],
    }


FLEXIBILITY = Mechanism(
    name="flexibility",
    title="Pay-as-bid procurement of flexibility (reverse auction)",
    reference="Jin, Wu and Jia, Applied Energy 261 (2020)",
    clear=clear,
    claims=frozenset({Claim.WEAK_BUDGET_BALANCE, Claim.STRONG_BUDGET_BALANCE, Claim.INDIVIDUALLY_RATIONAL, Claim.ORDER_FREE}),
    conventions=("lot_wh", "grid_fee_micro_per_kwh"),
    extra=((CALLED_AT, "slot in which the call is made: offers need their notice from then on"),),
    order_extra=(
        ("slot", "requirement: the slot in which the energy is wanted, 0 where not given"),
        ("power_wh", "offer: most Wh in any one slot"),
        ("from_slot", "offer: first slot"),
        ("to_slot", "offer: last slot"),
        ("notice_slots", "offer: slots between the call and delivery"),
        ("rebound_percent", "offer: share of its energy that it takes back later"),
        ("rebound_after_slots", "offer: how many slots later, 1 where not given"),
    ),
    report=report,
)
