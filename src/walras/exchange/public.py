"""Stage values as the journal's public parts, and back: columns as lists of whole numbers, hashes as hex."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from walras.errors import Fault, InputError
from walras.market.clearing import Clearing
from walras.market.orders import ORDER_COLUMNS, Orders, make_orders
from walras.units import Int64, as_int64

Public = Mapping[str, Any]


def orders_to_public(orders: Orders) -> dict[str, list[int]]:
    """Column name to whole numbers."""
    return {name: column.tolist() for name, column in orders.as_columns().items()}


def orders_from_public(public: Public) -> Orders:
    """The inverse, validated as any orders are."""
    if set(public) != set(ORDER_COLUMNS):
        raise InputError("orders", [Fault("orders", "columns", sorted(public), ", ".join(ORDER_COLUMNS))])
    columns = dict(public)
    return make_orders(columns.pop("side"), columns.pop("quantity_wh"), columns.pop("price_micro_per_kwh"), **columns)


def clearing_to_public(clearing: Clearing) -> dict[str, Any]:
    """Everything that a check needs."""
    nodes = clearing.node_price_micro_per_kwh
    return {
        "mechanism": clearing.mechanism,
        "filled_wh": clearing.filled_wh.tolist(),
        "pay_nano": clearing.pay_nano.tolist(),
        "price": clearing.price_micro_per_kwh,
        "node_prices": None if nodes is None else nodes.tolist(),
        "losses_wh": clearing.losses_wh,
        "inventory_wh": clearing.inventory_wh,
        "certificate": {
            name: int(value) if isinstance(value, int | np.integer) else value.tolist()
            for name, value in clearing.certificate.items()
        },
    }


def clearing_from_public(public: Public) -> Clearing:
    """The inverse of `clearing_to_public`."""
    nodes = public["node_prices"]
    return Clearing(
        public["mechanism"],
        as_int64(public["filled_wh"], "filled_wh"),
        as_int64(public["pay_nano"], "pay_nano"),
        public["price"],
        node_price_micro_per_kwh=None if nodes is None else as_int64(nodes, "node_prices"),
        losses_wh=public["losses_wh"],
        inventory_wh=public["inventory_wh"],
        certificate={
            name: value if isinstance(value, int) else as_int64(value, name) for name, value in public["certificate"].items()
        },
    )


def column(public: Public, name: str) -> Int64:
    """One column of whole numbers."""
    return as_int64(public[name], name)
