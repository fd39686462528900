"""The market room: orders, conventions, clearings, the laws they keep, and one mechanism a file.

Everything here is pure: values in, values out. Start at `make_orders`, `Conventions`, `mechanism_named` and `run`.
"""

from walras.market.book import clear_book, describe_mechanisms, parse_book, read_book
from walras.market.clearing import Clearing, Trades, volume_wh, welfare_nano
from walras.market.conventions import Conventions, read_conventions
from walras.market.laws import Finding, assert_laws, check_laws
from walras.market.mechanism import Claim, Mechanism, run
from walras.market.orders import BUY, SELL, Orders, make_orders
from walras.market.registry import MECHANISMS, mechanism_named

__all__ = [
    "BUY",
    "MECHANISMS",
    "SELL",
    "Claim",
    "Clearing",
    "Conventions",
    "Finding",
    "Mechanism",
    "Orders",
    "Trades",
    "assert_laws",
    "check_laws",
    "clear_book",
    "describe_mechanisms",
    "make_orders",
    "mechanism_named",
    "parse_book",
    "read_book",
    "read_conventions",
    "run",
    "volume_wh",
    "welfare_nano",
]
