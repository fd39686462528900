"""Orders as columns: one row an order, whole numbers, validated once where the columns are built.

A quantity is positive and has a side; the price is a limit: the most a buyer pays, the least a seller takes, per kWh.
The identity of an order is its `id`, never its row: a clearing must not depend on the sequence of rows. Among equal
prices the written total order is (time, id).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from walras.errors import Fault, InputError
from walras.units import MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH, Int64, as_int64

BUY = 1
SELL = -1

Side = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders of one book, columns of equal length n (all read-only).

    id                   [n] int64, unique
    participant          [n] int64, who answers for the order
    side                 [n] int8, +1 buy, -1 sell
    quantity_wh          [n] int64, >= 0
    price_micro_per_kwh  [n] int64, limit price, may be negative
    time                 [n] int64, time priority: smaller came earlier (any unit)
    node                 [n] int64, index of the bus in the network, 0 where there is none
    """

    id: Int64
    participant: Int64
    side: Side
    quantity_wh: Int64
    price_micro_per_kwh: Int64
    time: Int64
    node: Int64

    @property
    def count(self) -> int:
        """Number of orders."""
        return int(self.id.size)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Orders:
        """The chosen rows, in the chosen sequence."""
        return Orders(
            self.id[rows],
            self.participant[rows],
            self.side[rows],
            self.quantity_wh[rows],
            self.price_micro_per_kwh[rows],
            self.time[rows],
            self.node[rows],
        )

    def as_columns(self) -> dict[str, NDArray[np.int64] | Side]:
        """Name to column, in the order of the fields: the journal's record and the frame a user sees."""
        return {name: getattr(self, name) for name in ORDER_COLUMNS}


ORDER_COLUMNS = ("id", "participant", "side", "quantity_wh", "price_micro_per_kwh", "time", "node")


def make_orders(
    side: ArrayLike,
    quantity_wh: ArrayLike,
    price_micro_per_kwh: ArrayLike,
    *,
    participant: ArrayLike | None = None,
    id: ArrayLike | None = None,
    time: ArrayLike | None = None,
    node: ArrayLike | None = None,
) -> Orders:
    """Validated columns. Missing `id`, `participant` and `time` are the row number, a missing `node` is 0.

    Raises InputError with every fault (unequal lengths, a side other than +1/-1, negative or oversized quantity, a price
    beyond MAX_PRICE_MICRO_PER_KWH, a duplicate id), RangeError beyond int64.

    >>> make_orders([1, -1], [1000, 500], [300_000, 100_000]).count
    2
    """
    quantity = as_int64(quantity_wh, "quantity_wh")
    n = quantity.size
    row = as_int64(np.arange(n, dtype=np.int64), "row")
    columns: dict[str, Int64] = {
        "id": row if id is None else as_int64(id, "id"),
        "participant": row if participant is None else as_int64(participant, "participant"),
        "side": as_int64(side, "side"),
        "quantity_wh": quantity,
        "price_micro_per_kwh": as_int64(price_micro_per_kwh, "price_micro_per_kwh"),
        "time": row if time is None else as_int64(time, "time"),
        "node": as_int64(np.zeros(n, dtype=np.int64), "node") if node is None else as_int64(node, "node"),
    }
    faults = list(_find_faults(columns, n, unique_ids=id is not None))
    if faults:
        raise InputError("orders", faults)
    side8 = columns["side"].astype(np.int8)
    side8.flags.writeable = False
    return Orders(
        columns["id"],
        columns["participant"],
        side8,
        columns["quantity_wh"],
        columns["price_micro_per_kwh"],
        columns["time"],
        columns["node"],
    )


def _find_faults(columns: Mapping[str, Int64], n: int, *, unique_ids: bool) -> list[Fault]:
    faults = [
        Fault("orders", name, int(column.size), f"{n} rows, as quantity_wh has")
        for name, column in columns.items()
        if column.size != n
    ]
    if faults or n == 0:
        return faults
    checks = (
        ("side", np.abs(columns["side"]) != 1, "+1 (buy) or -1 (sell)"),
        (
            "quantity_wh",
            (columns["quantity_wh"] < 0) | (columns["quantity_wh"] > MAX_ENERGY_WH),
            f"between 0 and {MAX_ENERGY_WH}",
        ),
        (
            "price_micro_per_kwh",
            (columns["price_micro_per_kwh"] > MAX_PRICE_MICRO_PER_KWH)
            | (columns["price_micro_per_kwh"] < -MAX_PRICE_MICRO_PER_KWH),
            f"between -{MAX_PRICE_MICRO_PER_KWH} and {MAX_PRICE_MICRO_PER_KWH}",
        ),
        ("node", columns["node"] < 0, "0 or more"),
    )
    for name, bad, expected in checks:
        faults += [Fault(f"order row {r}", name, int(columns[name][r]), expected) for r in np.flatnonzero(bad)]
    if unique_ids:
        values, counts = np.unique(columns["id"], return_counts=True)
        faults += [Fault("orders", "id", int(v), "a unique id") for v in values[counts > 1]]
    return faults
