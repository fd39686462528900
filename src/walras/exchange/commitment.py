"""Sealed orders: what is published before the gate closes says nothing about an order, and binds it.

commitment = sha256("walras order 1" || salt || order), the order as seven int64, big endian: id, participant, side, quantity_wh,
price_micro_per_kwh, time, node. The salt is 32 secret bytes of the participant, opened with the order at the reveal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from walras.market.orders import ORDER_COLUMNS, Orders

_DOMAIN = b"walras order 1"


def order_bytes(orders: Orders) -> list[bytes]:
    """The canonical 56 bytes of each order."""
    table = np.stack([np.asarray(column, dtype=np.int64) for column in orders.as_columns().values()], axis=1)
    packed = table.astype(">i8").tobytes()
    width = 8 * len(ORDER_COLUMNS)
    return [packed[i : i + width] for i in range(0, len(packed), width)]


def commitments(orders: Orders, salts: Sequence[bytes]) -> list[bytes]:
    """The commitment of each order under its salt."""
    return [hashlib.sha256(_DOMAIN + salt + row).digest() for salt, row in zip(salts, order_bytes(orders), strict=True)]
