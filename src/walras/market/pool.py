"""Liquidity pools: what a pool is, its limits, its shares, swaps within a slippage limit, and the clearing of a book
against one.

A pool holds energy (whole Wh, deliverable in its slot) and money (whole nano-units) and quotes both ways from its curve.
A price in micro/kWh is exactly a price in nano/Wh, so every curve is arithmetic on whole numbers, and **every rounding is
in the pool's favour**: what a buyer pays is rounded up, what a seller gets is rounded down, deposits up, payouts down.
Therefore a pool's invariant never falls and no round trip earns. Fees are parts per million.

The book clears order by order in the sequence (time, id): an order swaps as much of its quantity as it can while the pool's
marginal price, fee included, stays within its limit. There is no common price; the pool's stock takes the difference
between what is sold and bought (`Clearing.inventory_wh`), and the surplus of the clearing is what the pool's money (and
the grid fee) gains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import numpy as np

from walras.errors import Fault, InputError
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, Orders
from walras.market.terms import terms
from walras.units import MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH, Int64, checked_product

PPM = 1_000_000
MAX_POOL_WH = MAX_ENERGY_WH
MAX_POOL_NANO = 2**62
"""Largest reserves: 1 TWh and 4.6 billion currency units. Energy times ppm then fits in 60 bits, times money in 122: one
128-bit product is enough in compiled code, and a uint256 on a chain is never near its end."""

P = TypeVar("P", bound=Any)


class Pool(Protocol):
    """What every curve offers. Quotes are None where the pool cannot (reserve used up, or beyond the limits above)."""

    @property
    def energy_wh(self) -> int:
        """Energy in stock."""

    @property
    def money_nano(self) -> int:
        """Money in stock, fees included."""

    def quote_buy(self, wh: int) -> int | None:
        """Nano-units to pay for exactly `wh` > 0, fee included, rounded up."""

    def quote_sell(self, wh: int) -> int | None:
        """Nano-units paid out for exactly `wh` > 0, fee deducted, rounded down."""

    def buy(self, wh: int) -> Pool:
        """The pool after it sold `wh` to a buyer at `quote_buy`."""

    def sell(self, wh: int) -> Pool:
        """The pool after it took `wh` from a seller at `quote_sell`."""

    def price(self) -> Fraction:
        """Marginal price without fee, micro/kWh."""

    @property
    def fee_ppm(self) -> int:
        """Parts per million of what comes in, or of what goes out to a seller."""


@dataclass(frozen=True, slots=True)
class Swap:
    """A swap that was made: the pool after it, and the money that changed hands (positive)."""

    pool: Pool
    energy_wh: int
    money_nano: int


@dataclass(frozen=True, slots=True)
class SwapRefused:
    """A swap that was not made, and why; `quote_nano` is what it would have cost or brought, None where the pool cannot."""

    reason: str
    quote_nano: int | None


def floor_div(numerator: int, denominator: int) -> int:
    """Rounded down, both >= 0: what the pool gives."""
    return numerator // denominator


def ceil_div(numerator: int, denominator: int) -> int:
    """Rounded up, both >= 0: what the pool takes.

    >>> ceil_div(7, 2), ceil_div(6, 2)
    (4, 3)
    """
    return -(-numerator // denominator)


def with_fee(cost_nano: int, fee_ppm: int) -> int:
    """What a buyer pays so that `cost_nano` is left after the fee, rounded up."""
    return ceil_div(cost_nano * PPM, PPM - fee_ppm)


def less_fee(proceeds_nano: int, fee_ppm: int) -> int:
    """What a seller gets of `proceeds_nano`, rounded down."""
    return floor_div(proceeds_nano * (PPM - fee_ppm), PPM)


def bought(pool: P, wh: int) -> P:
    """The pool after it sold `wh` to a buyer at `quote_buy`, where nothing but its reserves moves."""
    return replace(pool, energy_wh=pool.energy_wh - wh, money_nano=pool.money_nano + (pool.quote_buy(wh) or 0))


def sold(pool: P, wh: int) -> P:
    """The pool after it took `wh` from a seller at `quote_sell`, likewise."""
    return replace(pool, energy_wh=pool.energy_wh + wh, money_nano=pool.money_nano - (pool.quote_sell(wh) or 0))


def buy_at_most(pool: Pool, wh: int, at_most_nano: int) -> Swap | SwapRefused:
    """Buy exactly `wh`, or nothing if it costs more than `at_most_nano` (the slippage limit)."""
    cost = pool.quote_buy(wh)
    if cost is None:
        return SwapRefused("the pool has not that much", None)
    if cost > at_most_nano:
        return SwapRefused("dearer than the slippage limit", cost)
    return Swap(pool.buy(wh), wh, cost)


def sell_at_least(pool: Pool, wh: int, at_least_nano: int) -> Swap | SwapRefused:
    """Sell exactly `wh`, or nothing if it brings less than `at_least_nano` (the slippage limit)."""
    proceeds = pool.quote_sell(wh)
    if proceeds is None:
        return SwapRefused("the pool cannot take that much", None)
    if proceeds < at_least_nano:
        return SwapRefused("cheaper than the slippage limit", proceeds)
    return Swap(pool.sell(wh), wh, proceeds)


def impermanent_loss_nano(before: Pool, after: Pool, price_micro_per_kwh: int) -> int:
    """What the providers lost against holding `before`, both valued at the price; negative where fees outweigh it.

    The reserves must differ by swaps only, not by deposits.
    """
    held = before.energy_wh * price_micro_per_kwh + before.money_nano
    return held - (after.energy_wh * price_micro_per_kwh + after.money_nano)


def charged_price(pool: Pool, side: int) -> Fraction:
    """Marginal price with the fee: what the next little bit costs a buyer, or brings a seller."""
    return pool.price() * PPM / (PPM - pool.fee_ppm) if side == BUY else pool.price() * (PPM - pool.fee_ppm) / PPM


def swap_within_limit(pool: Pool, side: int, quantity_wh: int, limit: int, lot_wh: int) -> tuple[Pool, int, int]:
    """(pool after, energy, money) of the most whole lots, up to `quantity_wh`, that keep the marginal price within the limit.

    The price after the swap, fee included, is at most a buyer's `limit` (at least a seller's), and so is the total for each Wh.
    """

    def make(lots: int) -> tuple[Pool, int, int] | None:
        wh = lots * lot_wh
        money = pool.quote_buy(wh) if side == BUY else pool.quote_sell(wh)
        if money is None or (money - limit * wh) * side > 0:
            return None
        after = pool.buy(wh) if side == BUY else pool.sell(wh)
        return (after, wh, money) if (charged_price(after, side) - limit) * side <= 0 else None

    most = quantity_wh // lot_wh
    if not most or (charged_price(pool, side) - limit) * side > 0:
        return pool, 0, 0  # every swap moves the price further from the limit
    best = make(most)
    if best is not None:
        return best
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        made = make(middle)
        if made is None:
            high = middle
        else:
            low, best = middle, made
    return best if best is not None else (pool, 0, 0)


def clear_with_pool(name: str, pool: Pool, orders: Orders, conventions: Conventions) -> Clearing:
    """Every order against the pool in the sequence (time, id). Certificate: the pool's reserves after, and the impermanent loss
    at its marginal price then (rounded down)."""
    book = terms(orders, conventions)
    filled = np.zeros(orders.count, dtype=np.int64)
    money = np.zeros(orders.count, dtype=np.int64)
    before = pool
    for row in np.lexsort((orders.id, orders.time)).tolist():
        quantity, limit, side = int(book.quantity_wh[row]), int(book.price_micro_per_kwh[row]), int(orders.side[row])
        if quantity:
            pool, filled[row], paid = swap_within_limit(pool, side, quantity, limit, conventions.lot_wh)
            money[row] = side * paid
    fee = checked_product(np.where(orders.side == BUY, filled, 0), conventions.grid_fee_micro_per_kwh, "grid fee")
    certificate: dict[str, int | Int64] = {
        "pool_energy_wh": pool.energy_wh,
        "pool_money_nano": pool.money_nano,
        "impermanent_loss_nano": impermanent_loss_nano(before, pool, int(pool.price())),
        "netted_wh": book.netted_wh,
    }
    moved = pool.energy_wh - before.energy_wh
    return Clearing(name, filled, money + fee, None, certificate=certificate, inventory_wh=moved)


Field = tuple[int, int, str]
"""Smallest, largest, what it is."""

RESERVES: dict[str, Field] = {
    "energy_wh": (0, MAX_POOL_WH, "energy in the pool"),
    "money_nano": (0, MAX_POOL_NANO, "money in the pool"),
}
FEE: dict[str, Field] = {"fee_ppm": (0, PPM - 1, "fee in parts per million")}
PRICE: Field = (1, MAX_PRICE_MICRO_PER_KWH, "price")


def read_pool(name: str, extra: Mapping[str, object], fields: Mapping[str, Field]) -> dict[str, int]:
    """The book's part "pool" as whole numbers; InputError names every field that is missing, unknown or out of range."""
    given = extra.get("pool")
    if not isinstance(given, Mapping):
        wanted = "an object with " + ", ".join(f"{field} ({low} to {high})" for field, (low, high, _) in fields.items())
        raise InputError(f"{name} book", [Fault("book", "pool", given, wanted)])
    faults = [Fault("pool", str(field), given[field], "one of " + ", ".join(fields)) for field in given if field not in fields]
    for field, (low, high, _) in fields.items():
        value = given.get(field)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            faults.append(Fault("pool", field, value, f"a whole number from {low} to {high}"))
    if faults:
        raise InputError(f"{name} book", faults)
    return {field: given[field] for field in fields}


def report_pool(clearing: Clearing, extra: Mapping[str, object]) -> dict[str, object]:
    """The pool after the clearing, for the printed result."""
    after = {name.removeprefix("pool_"): value for name, value in clearing.certificate.items() if name.startswith("pool_")}
    return {"pool_after": after, "impermanent_loss_nano": clearing.certificate["impermanent_loss_nano"]}


def pool_mechanism(name: str, title: str, reference: str, fields: Mapping[str, Field], make: Callable[..., Pool]) -> Mechanism:
    """The mechanism of a curve: reads the book's part "pool", makes the curve by `make`, clears the orders against it."""

    def clear(
        orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object] | None = None
    ) -> Clearing:
        return clear_with_pool(name, make(**read_pool(name, extra or {}, fields)), orders, conventions)

    return Mechanism(
        name=name,
        title=title,
        reference=reference,
        clear=clear,
        claims=frozenset({Claim.INDIVIDUALLY_RATIONAL, Claim.ORDER_FREE}),
        conventions=("self_trade", "lot_wh", "grid_fee_micro_per_kwh"),
        extra=(("pool", "; ".join(f"{field}: {what}" for field, (_, _, what) in fields.items())),),
        report=report_pool,
    )
