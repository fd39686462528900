"""What a mechanism is: a named pure function `clear(orders, conventions, network=None) -> Clearing`, and what it claims.

The claims are the laws that the one suite (`laws.py`) checks it against. A mechanism with memory (an order book, a pool)
is a value too: `step(state, orders) -> (state, Clearing)`, and offers `clear` as one step from its opening state.

A mechanism whose book carries more than orders declares it: `extra` names further top-level parts of the book ("pool",
"blocks"), `order_extra` further fields of each order ("slot", "kind"). Such a mechanism, and no other, is called as
`clear(orders, conventions, network, extra=...)` with a mapping that has exactly the declared parts present in the book, as
parsed JSON; the fields of the orders come under ORDER_EXTRA as {field: list with one value (or None) per row}.
Ids are whole numbers in `Orders`; under IDS the mapping has the list of the ids as written in the book, by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from walras.errors import Fault, InputError
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.orders import Orders

ClearFunction = Callable[..., Clearing]
"""`clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing`, and `extra=` where declared."""

ORDER_EXTRA = "order_extra"
IDS = "ids"


def read_part(
    name: str, part: str, extra: Mapping[str, object] | None, known: Sequence[str]
) -> tuple[Mapping[str, Any], list[Fault]]:
    """What the book of mechanism `name` says in a `part` that may be left out, and a fault for each field not in `known`.

    InputError where the part is no object.
    >>> given, faults = read_part("rfq", "rfq", {"rfq": {"quotes": 2, "quote": 3}}, ("quotes",))
    >>> given["quotes"], str(faults[0])
    (2, 'rfq: quote = 3: expected one of quotes')
    """
    given = (extra or {}).get(part, {})
    if not isinstance(given, Mapping):
        raise InputError(f"{name} book", [Fault("book", part, given, "an object with " + ", ".join(known))])
    return given, [Fault(part, str(field), given[field], "one of " + ", ".join(known)) for field in given if field not in known]


class Claim(Enum):
    """What a mechanism may promise; each is a law in `laws.py`. The laws on balance, quantities and limits bind every one."""

    WEAK_BUDGET_BALANCE = "the operator's surplus is never negative"
    STRONG_BUDGET_BALANCE = "the operator's surplus is exactly zero (grid fees apart)"
    INDIVIDUALLY_RATIONAL = "no buyer pays above its bid, no seller gets below its ask"
    EFFICIENT = "the welfare of an exact solver is reached"
    NO_CROSSING_LEFT = "no unfilled bid is above an unfilled ask"
    ONE_PRICE = "every filled order trades at the one price"
    TRUTHFUL = "no participant gains by any unilateral misreport"
    PRICE_TRUTHFUL = "no participant with a single order gains by misreporting its price, or by staying out"
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
    extra        what else its book carries (name, one-line description), such as ("pool", "reserves and fee")
    order_extra  what else each order carries (name, one-line description), such as ("slot", "index of the slot")
    report       further parts of the printed result, from the clearing and the extra parts of the book
    """

    name: str
    title: str
    reference: str
    clear: ClearFunction
    claims: frozenset[Claim]
    conventions: tuple[str, ...]
    extra: tuple[tuple[str, str], ...] = ()
    order_extra: tuple[tuple[str, str], ...] = ()
    report: Callable[[Clearing, Mapping[str, object]], Mapping[str, object]] | None = None


def run(
    mechanism: Mechanism,
    orders: Orders,
    conventions: Conventions,
    network: object | None = None,
    extra: Mapping[str, object] | None = None,
) -> Clearing:
    """Clear `orders` under `mechanism`, handing it the extra parts of the book only if it declares any."""
    if mechanism.extra or mechanism.order_extra:
        return mechanism.clear(orders, conventions, network, extra=extra or {})
    return mechanism.clear(orders, conventions, network)
