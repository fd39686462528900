"""Checking a submitted clearing in one pass over the book, in exact integers, without clearing it again.

Two kinds of check:

`verify_uniform`  for the uniform auction, whose result the conventions fix to the last nano-unit. From the fills alone come
                  the last filled and the best unfilled bid and ask. The volume is the largest efficient one exactly when
                  no filled order is worse than an unfilled one of its side, the last filled ask is not above the last filled
                  bid, and the best unfilled bid is below the best unfilled ask. Price, payments, evidence and the tie rule
                  at the margin (a comparison of the last served with the first passed over) follow. A clearing passes
                  if and only if it is the one that the rule gives.
`verify_welfare`  for any clearing with prices by place (`linked.py`), so for an open competition of solvers: feasible,
                  paid at the stated prices, no order at a loss, and optimal within the gap it states. By weak duality no
                  clearing is better than  sum of quantity * max(0, gain at the prices)  over orders and links; the distance
                  to that bound is the most by which any other clearing could be better. Equal solutions are all accepted.

Both return findings by name (`laws.Finding`); none means accepted. `self_trade="prevent"` needs the netted book, which
`terms` gets by sorting; every other check is linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.errors import RangeError
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.laws import Finding, check_columns
from walras.market.linked import FLOWS, GAP, Links, link_faults
from walras.market.margin import NO_ASK, NO_BID, Margin
from walras.market.orders import BUY, Orders
from walras.market.terms import Terms, lot_keys, terms
from walras.market.uniform import evidence_of, uniform_price
from walras.units import INT64_MAX, Int64, checked_product, checked_sum


def verify_uniform(orders: Orders, conventions: Conventions, clearing: Clearing) -> list[Finding]:
    """Whether `clearing` is the uniform auction's result for this book, to the byte; findings say what is not.

    >>> from walras.market.orders import make_orders
    >>> from walras.market.uniform import clear
    >>> book = make_orders([1, -1], [500, 800], [300, 100])
    >>> verify_uniform(book, Conventions(), clear(book, Conventions()))
    []
    """
    findings = check_columns(orders, clearing)
    if clearing.mechanism != "uniform":
        findings.append(Finding("mechanism", f"{clearing.mechanism!r} is not 'uniform'"))
    beside = (clearing.losses_wh, clearing.inventory_wh, clearing.trades, clearing.node_price_micro_per_kwh)
    if beside != (0, 0, None, None):
        findings.append(Finding("mechanism", "a uniform clearing has no losses, stock, trades or nodal prices"))
    if findings:
        return findings
    book = terms(orders, conventions)
    findings = _quantity_findings(orders, book, clearing.filled_wh, conventions)
    if findings:
        return findings
    margin = margin_of_fills(orders, book, clearing.filled_wh)
    findings = _volume_findings(orders, margin, clearing.filled_wh)
    findings += _tie_findings(orders, book, clearing.filled_wh, margin, conventions)
    return findings + _money_findings(orders, book, margin, clearing, conventions)


def margin_of_fills(orders: Orders, book: Terms, filled_wh: Int64) -> Margin:
    """The margin that fills imply: the last filled and the best unfilled order of each side."""
    return Margin(*_margin_of_fills(orders.side, book.quantity_wh, book.price_micro_per_kwh, filled_wh))


@njit(cache=True)
def _margin_of_fills(side, quantity, price, filled):  # type: ignore[no-untyped-def]
    bid = unfilled_ask = np.int64(NO_ASK)
    ask = unfilled_bid = np.int64(NO_BID)
    volume = np.int64(0)
    for row in range(side.size):
        some, left = filled[row] > 0, filled[row] < quantity[row]
        if side[row] == 1:
            volume += filled[row]
            bid = min(bid, price[row]) if some else bid
            unfilled_bid = max(unfilled_bid, price[row]) if left else unfilled_bid
        else:
            ask = max(ask, price[row]) if some else ask
            unfilled_ask = min(unfilled_ask, price[row]) if left else unfilled_ask
    bid_take = bid_level = ask_take = ask_level = np.int64(0)
    for row in range(side.size):
        if side[row] == 1 and price[row] == bid:
            bid_take += filled[row]
            bid_level += quantity[row]
        elif side[row] != 1 and price[row] == ask:
            ask_take += filled[row]
            ask_level += quantity[row]
    return volume, bid, bid_take, bid_level, unfilled_bid, ask, ask_take, ask_level, unfilled_ask


def _quantity_findings(orders: Orders, book: Terms, filled: Int64, conventions: Conventions) -> list[Finding]:
    try:
        checked_sum(book.quantity_wh[orders.side == BUY], "quantity bid")
        checked_sum(book.quantity_wh[orders.side != BUY], "quantity asked")
    except RangeError as error:
        return [Finding("quantities", error.message)]
    bad = (filled < 0) | (filled > book.quantity_wh)
    if conventions.lot_wh > 1:
        bad |= filled % conventions.lot_wh != 0
    return [
        Finding("quantities", f"order {orders.id[r]} may trade {book.quantity_wh[r]} Wh in lots, is filled {filled[r]} Wh")
        for r in np.flatnonzero(bad)
    ]


def _volume_findings(orders: Orders, m: Margin, filled: Int64) -> list[Finding]:
    findings = []
    sold = int(filled[orders.side != BUY].sum())
    if m.volume_wh != sold:
        findings.append(Finding("energy", f"bought {m.volume_wh} is not sold {sold} Wh"))
    if m.unfilled_bid >= m.unfilled_ask:
        findings.append(Finding("volume", f"a bid at {m.unfilled_bid} and an ask at {m.unfilled_ask} could still trade"))
    if m.unfilled_bid > m.bid:
        findings.append(Finding("merit order", f"a bid at {m.bid} is filled before one at {m.unfilled_bid}"))
    if m.unfilled_ask < m.ask:
        findings.append(Finding("merit order", f"an ask at {m.ask} is filled before one at {m.unfilled_ask}"))
    if m.volume_wh and m.ask > m.bid:
        findings.append(Finding("merit order", f"a filled ask at {m.ask} is above a filled bid at {m.bid}"))
    return findings


def _tie_findings(orders: Orders, book: Terms, filled: Int64, m: Margin, conventions: Conventions) -> list[Finding]:
    findings = []
    for wanted, level, take, whole in (
        (True, m.bid, m.bid_take_wh, m.bid_level_wh),
        (False, m.ask, m.ask_take_wh, m.ask_level_wh),
    ):
        if take == whole:
            continue
        rows = np.flatnonzero((book.price_micro_per_kwh == level) & ((orders.side == BUY) == wanted) & (book.quantity_wh > 0))
        rule = _pro_rata_holds if conventions.tie == "pro_rata" else _sequence_holds
        if not rule(orders, rows, book.quantity_wh[rows], filled[rows], conventions):
            findings.append(Finding("tie", f"orders at {level} do not share {take} of {whole} Wh by {conventions.tie}"))
    return findings


def _sequence_holds(orders: Orders, rows: NDArray[np.intp], weights: Int64, got: Int64, conventions: Conventions) -> bool:
    """Served in sequence: whoever got something stands no later than whoever got less than all."""
    some, short = np.flatnonzero(got > 0), np.flatnonzero(got < weights)
    if conventions.tie == "lot":
        key = lot_keys(orders.id[rows], conventions.seed)
        return not some.size or not short.size or bool(key[some].max() <= key[short].min())
    return not some.size or not short.size or _latest(orders, rows[some]) <= _earliest(orders, rows[short])


def _pro_rata_holds(orders: Orders, rows: NDArray[np.intp], weights: Int64, got: Int64, conventions: Conventions) -> bool:
    """Each share is its exact proportion rounded down, or one lot more; the lots more are at the largest remainders."""
    lot = conventions.lot_wh
    lots, shares = weights // lot, got // lot
    whole, total = int(lots.sum()), int(shares.sum())
    if int(lots.max()) <= INT64_MAX // max(total, 1):
        base, remainder = np.divmod(lots * total, whole)
    else:  # exact beyond int64: remainders only need their order, so they may be ranked
        pairs = [divmod(w * total, whole) for w in lots.tolist()]
        base = np.array([b for b, _ in pairs], dtype=np.int64)
        remainder = np.array([r for _, r in pairs], dtype=np.int64)
    more = shares - base
    if ((more < 0) | (more > 1)).any():
        return False
    given, passed = np.flatnonzero(more == 1), np.flatnonzero(more == 0)
    if not given.size or not passed.size:
        return True
    least, most = int(remainder[given].min()), int(remainder[passed].max())
    if least != most:
        return least > most
    return _latest(orders, rows[given[remainder[given] == least]]) <= _earliest(orders, rows[passed[remainder[passed] == most]])


def _latest(orders: Orders, rows: NDArray[np.intp]) -> tuple[int, int]:
    time = int(orders.time[rows].max())
    return time, int(orders.id[rows][orders.time[rows] == time].max())


def _earliest(orders: Orders, rows: NDArray[np.intp]) -> tuple[int, int]:
    time = int(orders.time[rows].min())
    return time, int(orders.id[rows][orders.time[rows] == time].min())


def _money_findings(orders: Orders, book: Terms, margin: Margin, clearing: Clearing, conventions: Conventions) -> list[Finding]:
    findings = []
    price = uniform_price(margin, conventions) if margin.volume_wh else None
    if clearing.price_micro_per_kwh != price:
        findings.append(Finding("price", f"{clearing.price_micro_per_kwh} is not {price}, as the conventions say"))
    at = price or 0
    buyer_pays = at + conventions.grid_fee_micro_per_kwh
    if margin.volume_wh * max(abs(at), abs(buyer_pays)) > INT64_MAX:
        findings.append(Finding("money", f"{margin.volume_wh} Wh at {buyer_pays} do not fit in int64"))
    else:
        due = clearing.filled_wh * np.where(orders.side == BUY, buyer_pays, -at)
        findings += [
            Finding("money", f"order {orders.id[r]} pays {clearing.pay_nano[r]}, not {due[r]}")
            for r in np.flatnonzero(due != clearing.pay_nano)
        ]
    if dict(clearing.certificate) != evidence_of(margin, book.netted_wh, conventions):
        findings.append(Finding("certificate", f"{dict(clearing.certificate)} is not what the fills imply"))
    return findings


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a submitted clearing found. `gap_nano` is the most by which any clearing could be better."""

    findings: tuple[Finding, ...]
    welfare_nano: int = 0
    bound_nano: int = 0

    @property
    def gap_nano(self) -> int:
        return self.bound_nano - self.welfare_nano

    @property
    def accepted(self) -> bool:
        return not self.findings


def verify_welfare(orders: Orders, conventions: Conventions, clearing: Clearing, links: Links | None = None) -> Verdict:
    """Feasible, paid at its prices, nobody at a loss, and within the gap that its certificate states (0 if it states none).

    `clearing` carries `node_price_micro_per_kwh` [places] and, where there are links, their flows in certificate["flow_wh"].
    """
    links = links if links is not None else Links.none()
    findings = check_columns(orders, clearing)
    places = max(int(orders.node.max()) + 1 if orders.count else 0, links.places)
    price = clearing.node_price_micro_per_kwh
    flow = clearing.certificate.get(FLOWS, np.zeros(0, dtype=np.int64))
    stated = clearing.certificate.get(GAP, 0)
    if not isinstance(price, np.ndarray) or price.dtype != np.int64 or price.shape != (places,):
        findings.append(Finding("prices", f"there is not one whole price for each of {places} places"))
    elif price.size and (np.abs(price.astype(np.float64)) > 2.0**40).any():
        findings.append(Finding("prices", "a price is beyond any limit price"))
    if not isinstance(flow, np.ndarray) or flow.dtype != np.int64 or flow.shape != (links.count,):
        findings.append(Finding("flows", f"there is not one whole flow for each of {links.count} links"))
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 0:
        findings.append(Finding("gap", f"a stated gap of {stated!r}"))
    if (clearing.losses_wh, clearing.inventory_wh, clearing.price_micro_per_kwh, clearing.trades) != (0, 0, None, None):
        findings.append(Finding("columns", "prices are by place: no losses, stock, common price or trades"))
    findings += [Finding("links", str(fault)) for fault in link_faults(links)]
    if findings:
        return Verdict(tuple(findings))
    assert isinstance(price, np.ndarray)
    assert isinstance(flow, np.ndarray)
    assert isinstance(stated, int)
    try:
        return _weigh(orders, terms(orders, conventions), conventions, clearing, links, price, flow, stated)
    except RangeError as error:
        return Verdict((Finding("range", error.message),))


def _weigh(
    orders: Orders,
    book: Terms,
    conventions: Conventions,
    clearing: Clearing,
    links: Links,
    price: Int64,
    flow: Int64,
    stated: int,
) -> Verdict:
    filled, quantity, side = clearing.filled_wh, book.quantity_wh, orders.side.astype(np.int64)
    findings = _quantity_findings(orders, book, filled, conventions)
    bad_flow = np.flatnonzero((flow < 0) | (flow > links.capacity_wh))
    findings += [Finding("flows", f"link {r} of {links.capacity_wh[r]} Wh carries {flow[r]} Wh") for r in bad_flow]
    if findings:
        return Verdict(tuple(findings))
    checked_sum(flow, "flow_wh")
    needed = np.zeros(price.size, dtype=np.int64)
    np.add.at(needed, orders.node, side * filled)
    np.add.at(needed, links.source, flow)
    np.subtract.at(needed, links.target, flow)
    findings += [Finding("energy", f"place {p} is short of {needed[p]} Wh") for p in np.flatnonzero(needed)]
    gain = side * (book.price_micro_per_kwh - price[orders.node])
    rent = price[links.target] - price[links.source] - links.fee_micro_per_kwh
    losing = np.flatnonzero((filled > 0) & (gain < 0))
    findings += [Finding("support", f"order {orders.id[r]} is filled at a loss of {-gain[r]} micro/kWh") for r in losing]
    due = checked_product(
        filled, np.where(side == BUY, price[orders.node] + conventions.grid_fee_micro_per_kwh, -price[orders.node])
    )
    checked_sum(due, "pay_nano")
    findings += [
        Finding("money", f"order {orders.id[r]} pays {clearing.pay_nano[r]}, not {due[r]}")
        for r in np.flatnonzero(due != clearing.pay_nano)
    ]
    welfare = checked_sum(checked_product(filled, side * book.price_micro_per_kwh)) - checked_sum(
        checked_product(flow, links.fee_micro_per_kwh)
    )
    bound = checked_sum(checked_product(quantity, np.maximum(gain, 0))) + checked_sum(
        checked_product(links.capacity_wh, np.maximum(rent, 0))
    )
    if not findings and bound - welfare > stated:
        findings.append(Finding("gap", f"the prices prove the welfare to {bound - welfare} nano, {stated} is stated"))
    return Verdict(tuple(findings), welfare, bound)


def take_best(
    orders: Orders, conventions: Conventions, submissions: Sequence[Clearing], links: Links | None = None
) -> tuple[int | None, list[Verdict]]:
    """The index of the accepted clearing of most welfare (the earlier among equals; None if none), and every verdict."""
    verdicts = [verify_welfare(orders, conventions, submission, links) for submission in submissions]
    accepted = [(-verdict.welfare_nano, index) for index, verdict in enumerate(verdicts) if verdict.accepted]
    return (min(accepted)[1] if accepted else None), verdicts
