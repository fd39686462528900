"""What a mechanism is: a named pure function `clear(orders, conventions, network=None) -> Clearing`, and what it claims.

The claims are the laws that the one suite (`laws.py`) checks it against. A mechanism with memory (an order book, a pool)
is a value too: `step(state, orders) -> (state, Clearing)`, and offers `clear` as one step from its opening state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.orders import Orders

ClearFunction = Callable[..., Clearing]
"""`clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing`"""


class Claim(Enum):
    """What a mechanism may promise; each is a law in `laws.py`. The laws on balance, quantities and limits bind every one."""

    WEAK_BUDGET_BALANCE = "the operator's surplus is never negative"
    STRONG_BUDGET_BALANCE = "the operator's surplus is exactly zero (grid fees apart)"
    INDIVIDUALLY_RATIONAL = "no buyer pays above its bid, no seller gets below its ask"
    EFFICIENT = "the welfare of an exact solver is reached"
    NO_CROSSING_LEFT = "no unfilled bid is above an unfilled ask"
    ONE_PRICE = "every filled order trades at the one price"
    TRUTHFUL = "no participant gains by any unilateral misreport"
    ORDER_FREE = "the sequence of the rows does not matter"


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A rule on the shelf.

    name         as on the command line and in community files
    title        the literature's name, one line
    reference    paper or textbook
    clear        the rule
    claims       what it promises
    conventions  names of the fields of `Conventions` it heeds
    extra        what else its book carries (name to one-line description), such as "pool" or "blocks"
    """

    name: str
    title: str
    reference: str
    clear: ClearFunction
    claims: frozenset[Claim]
    conventions: tuple[str, ...]
    extra: tuple[tuple[str, str], ...] = ()


def run(mechanism: Mechanism, orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear `orders` under `mechanism`."""
    return mechanism.clear(orders, conventions, network)
