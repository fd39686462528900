"""What the retailer, the grid and the state charge: whole prices of every slot, and bills whose items sum to zero."""

from __future__ import annotations

from walras.tariffs.bill import ACCOUNTS, BillLayout, Bills, bill_balance, bill_layout, make_bills
from walras.tariffs.prices import (
    PriceTable,
    gross_limit,
    limit_price,
    local_charges,
    local_cost_nano,
    local_fees,
    net_limit,
    price_table,
)
from walras.tariffs.records import Contract, FeedIn, LocalTariff, PriceItem, TimeWindow, feed_in_rate

__all__ = [
    "ACCOUNTS",
    "BillLayout",
    "Bills",
    "Contract",
    "FeedIn",
    "LocalTariff",
    "PriceItem",
    "PriceTable",
    "TimeWindow",
    "bill_balance",
    "bill_layout",
    "feed_in_rate",
    "gross_limit",
    "limit_price",
    "local_charges",
    "local_cost_nano",
    "local_fees",
    "make_bills",
    "net_limit",
    "price_table",
]
