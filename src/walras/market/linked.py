"""Welfare-optimal clearing over linked places, as a linear program: the reference entry to the solver competition.

A place is a bus, a slot, or a bus in a slot (`Orders.node`). A link carries energy from one place to another up to a
capacity, for a fee: a wire, or a store that carries it from a slot to the next. Without links every place clears alone.

    maximise    sum of side * price * fill  -  sum of fee * flow
    subject to  at every place  bought + sent = sold + received,  0 <= fill <= quantity,  0 <= flow <= capacity

The matrix is that of a network, so corner solutions are whole watt-hours and the multipliers whole prices (Hoffman and
Kruskal 1956): the solver works in floats, its corner is rounded to integers, and `certificate.verify_welfare` proves the
integers, or the clearing is refused. An order trades at the price of its place; links earn the difference of prices, which
is the operator's surplus.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import ArrayLike

from walras.errors import ClearingError, Fault, InputError
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.highs import make_solver
from walras.market.orders import BUY, Orders
from walras.market.terms import terms
from walras.units import MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH, Int64, as_int64, checked_product

FLOWS = "flow_wh"
GAP = "gap_nano"


@dataclass(frozen=True, slots=True)
class Links:
    """Directed links between places: columns of equal length.

    source, target  [L] places; energy goes from source to target (a wire used both ways is two links)
    capacity_wh     [L] >= 0
    fee_micro_per_kwh  [L] >= 0, cost of carrying
    """

    source: Int64
    target: Int64
    capacity_wh: Int64
    fee_micro_per_kwh: Int64

    @staticmethod
    def none() -> Links:
        """No links."""
        nothing = np.zeros(0, dtype=np.int64)
        return Links(nothing, nothing, nothing, nothing)

    @property
    def count(self) -> int:
        """Number of links."""
        return int(self.source.size)

    @property
    def places(self) -> int:
        """One more than the largest place that a link touches."""
        return int(max(self.source.max(), self.target.max())) + 1 if self.count else 0


def make_links(source: ArrayLike, target: ArrayLike, capacity_wh: ArrayLike, fee_micro_per_kwh: ArrayLike | None = None) -> Links:
    """Validated links; InputError with every fault."""
    start = as_int64(source, "source")
    fee = as_int64(np.zeros(start.size, dtype=np.int64) if fee_micro_per_kwh is None else fee_micro_per_kwh, "fee_micro_per_kwh")
    links = Links(start, as_int64(target, "target"), as_int64(capacity_wh, "capacity_wh"), fee)
    faults = link_faults(links)
    if faults:
        raise InputError("links", faults)
    return links


def link_faults(links: Links) -> list[Fault]:
    """Unequal columns, a place below 0, a link to itself, a capacity or fee out of range."""
    n = links.source.size
    columns = ("target", "capacity_wh", "fee_micro_per_kwh")
    faults = [
        Fault("links", name, int(getattr(links, name).size), f"{n} rows, as source has")
        for name in columns
        if getattr(links, name).size != n
    ]
    if faults:
        return faults
    checks = (
        ("source", links.source < 0, "0 or more"),
        ("target", (links.target < 0) | (links.target == links.source), "0 or more, not the source"),
        ("capacity_wh", (links.capacity_wh < 0) | (links.capacity_wh > MAX_ENERGY_WH), f"between 0 and {MAX_ENERGY_WH}"),
        (
            "fee_micro_per_kwh",
            (links.fee_micro_per_kwh < 0) | (links.fee_micro_per_kwh > MAX_PRICE_MICRO_PER_KWH),
            f"between 0 and {MAX_PRICE_MICRO_PER_KWH}",
        ),
    )
    return [
        Fault(f"link {r}", name, int(getattr(links, name)[r]), expected)
        for name, bad, expected in checks
        for r in np.flatnonzero(bad)
    ]


def clear_linked(orders: Orders, conventions: Conventions, links: Links | None = None) -> Clearing:
    """The optimal clearing with prices by place and flows. Ties at the margin fall as the solver leaves them.

    A kWh at 0.10 in place 0 is worth 0.30 in place 1; the link carries 600 Wh, so prices part and the link earns:
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([-1, 1], [1000, 1000], [100_000, 300_000], node=[0, 1])
    >>> done = clear_linked(book, Conventions(), make_links([0], [1], [600]))
    >>> done.filled_wh.tolist(), done.node_price_micro_per_kwh.tolist(), done.surplus_nano
    ([600, 600], [100000, 300000], 120000000)
    """
    links = links if links is not None else Links.none()
    book = terms(orders, conventions)
    n, m = orders.count, links.count
    places = max(int(orders.node.max()) + 1 if n else 0, links.places)
    solved = _solve(
        cost=np.concatenate([-orders.side * book.price_micro_per_kwh, links.fee_micro_per_kwh]),
        upper=np.concatenate([book.quantity_wh, links.capacity_wh]) // conventions.lot_wh,
        rows=np.concatenate([np.stack([orders.node, orders.node], axis=1), np.stack([links.source, links.target], axis=1)]),
        signs=np.concatenate([np.stack([orders.side, np.zeros_like(orders.side)], axis=1), np.tile([1, -1], (m, 1))]),
        places=places,
    )
    amounts, price = solved
    filled, flow = amounts[:n] * conventions.lot_wh, amounts[n:] * conventions.lot_wh
    charged = np.where(orders.side == BUY, price[orders.node] + conventions.grid_fee_micro_per_kwh, -price[orders.node])
    certificate: dict[str, int | Int64] = {FLOWS: flow, GAP: 0}
    return Clearing(
        "linked", filled, checked_product(filled, charged), None, node_price_micro_per_kwh=price, certificate=certificate
    )


def _solve(*, cost: Int64, upper: Int64, rows: Int64, signs: Int64, places: int) -> tuple[Int64, Int64]:
    """(amounts, prices of places) at a corner of: minimise cost * x, rows in balance, 0 <= x <= upper."""
    if places == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    entries = signs != 0
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = int(cost.size), places
    model.col_cost_ = cost.astype(np.float64)
    model.col_lower_, model.col_upper_ = np.zeros(cost.size), upper.astype(np.float64)
    model.row_lower_ = model.row_upper_ = np.zeros(places)
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.concatenate([[0], np.cumsum(entries.sum(axis=1))]).astype(np.int32)
    model.a_matrix_.index_ = rows[entries].astype(np.int32)
    model.a_matrix_.value_ = signs[entries].astype(np.float64)
    solver = make_solver()
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise ClearingError(f"the solver stopped: {solver.modelStatusToString(solver.getModelStatus())}", thing="linked")
    solution = solver.getSolution()
    amounts = np.rint(np.asarray(solution.col_value)).astype(np.int64)
    return np.clip(amounts, 0, upper), np.rint(-np.asarray(solution.row_dual)).astype(np.int64)
