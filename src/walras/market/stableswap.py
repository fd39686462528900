"""Hybrid (StableSwap) pool: nearly a fixed price while the stock is balanced, a constant product when it runs short.

Source: Egorov, "StableSwap - efficient mechanism for Stablecoin liquidity", 2019, for two coins. Energy is brought to
money by the reference price: x = energy_wh * price, y = money_nano. With amplification A and n = 2 the invariant D solves

    4 A (x + y) + D = 4 A D + D**3 / (4 x y)

`invariant` and `balance` are the paper's Newton steps in whole numbers, digit for digit as deployed (Ann = A n, division
towards zero, stop when a step moves by at most 1). In a very unbalanced pool that loop can go in circles, and a contract
reverts; here the exact value takes its place. A counts as in those contracts (their A is n times the paper's), so the
equation's 4 A is Ann = 2 A. A swap takes one nano-unit more than the solution says (the deployed "- 1") and, should a
Newton step have stopped short, as many more as keep the exact invariant from falling.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from walras.errors import Fault, InputError
from walras.market.pool import (
    FEE,
    MAX_POOL_NANO,
    MAX_POOL_WH,
    PRICE,
    RESERVES,
    Field,
    bought,
    ceil_div,
    less_fee,
    pool_mechanism,
    sold,
    with_fee,
)
from walras.market.shares import burned, minted

MAX_AMPLIFICATION = 1_000_000
FIELDS: dict[str, Field] = {
    **RESERVES,
    "price_micro_per_kwh": (*PRICE[:2], "price at which energy and money count as equal"),
    "amplification": (1, MAX_AMPLIFICATION, "A: how flat the curve is where the stock is balanced"),
    **FEE,
}
STEPS = 255
FINE = 2**32
"""The invariant grows with its reserves: scaled by this, its last whole unit is a small part of a nano-unit."""


def invariant(x: int, y: int, amplification: int) -> int:
    """D by Newton from x + y; both reserves in the same unit.

    A balanced pool has D = x + y; an unbalanced one less:
    >>> invariant(1_000_000, 1_000_000, 100), invariant(1_000_000, 100_000, 100)
    (2000000, 1089290)
    """
    total = x + y
    if total == 0:
        return 0
    if x == 0 or y == 0:
        raise InputError("stableswap pool", [Fault("pool", "reserve", 0, "both reserves above 0, or both 0")])
    ann = amplification * 2
    d = total
    for _ in range(STEPS):
        product = d * d // (x * 2) * d // (y * 2)
        before = d
        d = (ann * total + product * 2) * d // ((ann - 1) * d + 3 * product)
        if abs(d - before) <= 1:
            return d
    return exact_invariant(x, y, amplification)


def balance(x: int, d: int, amplification: int) -> int:
    """The other reserve that keeps D, given one: Newton from D."""
    ann = amplification * 2
    c = d * d // (x * 2) * d // (ann * 2)
    b = x + d // ann
    y = d
    for _ in range(STEPS):
        before = y
        y = (y * y + c) // (2 * y + b - d)
        if abs(y - before) <= 1:
            return y
    return _least_balance(x, d, amplification)


def reaches(x: int, y: int, d: int, amplification: int) -> bool:
    """True when the exact invariant of (x, y) is at least D: the sign of the equation at D, without division."""
    ann = amplification * 2
    return 4 * x * y * (ann * (x + y) + d) >= 4 * x * y * ann * d + d**3


def exact_invariant(x: int, y: int, amplification: int) -> int:
    """The largest whole D that (x, y) reaches; both reserves above 0.

    Newton on D**3 + 4 x y ((Ann - 1) D - Ann (x + y)), which is convex: from x + y it falls to the root without overshooting.
    """
    ann, four = amplification * 2, 4 * x * y
    d = x + y
    while True:
        step = (2 * d**3 + four * ann * (x + y)) // (3 * d * d + four * (ann - 1))
        if step >= d:
            break
        d = step
    while not reaches(x, y, d, amplification):
        d -= 1
    while reaches(x, y, d + 1, amplification):
        d += 1
    return d


def _least_balance(x: int, d: int, amplification: int) -> int:
    """The smallest other reserve that reaches D."""
    high = 1
    while not reaches(x, high, d, amplification):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if reaches(x, middle, d, amplification):
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True, slots=True)
class StableSwap:
    """Reserves in Wh and nano-units, reference price in micro/kWh, amplification, fee, shares."""

    energy_wh: int
    money_nano: int
    price_micro_per_kwh: int
    amplification: int
    fee_ppm: int
    shares: int

    def _money_at(self, energy_wh: int) -> int:
        """Money that a stock of `energy_wh` needs beside it: the deployed digits, then up until the invariant is surely
        kept."""
        x, a = self.energy_wh * self.price_micro_per_kwh, self.amplification
        after = energy_wh * self.price_micro_per_kwh
        money = balance(after, invariant(x, self.money_nano, a), a) + 1
        keep = exact_invariant(x * FINE, self.money_nano * FINE, a) + 1
        if reaches(after * FINE, money * FINE, keep, a):
            return money
        return ceil_div(_least_balance(after * FINE, keep, a), FINE)

    def quote_buy(self, wh: int) -> int | None:
        """See `Pool`."""
        if wh >= self.energy_wh:
            return None
        cost = with_fee(max(0, self._money_at(self.energy_wh - wh) - self.money_nano), self.fee_ppm)
        return None if self.money_nano + cost > MAX_POOL_NANO else cost

    def quote_sell(self, wh: int) -> int | None:
        """See `Pool`."""
        if self.energy_wh + wh > MAX_POOL_WH or not self.energy_wh:
            return None
        return less_fee(max(0, self.money_nano - self._money_at(self.energy_wh + wh)), self.fee_ppm)

    buy, sell = bought, sold

    def price(self) -> Fraction:
        """See `Pool`: the slope of the invariant, (2 Ann + D**3 / (2 x**2 y)) / (2 Ann + D**3 / (2 x y**2)), times the
        price."""
        x, y = self.energy_wh * self.price_micro_per_kwh, self.money_nano
        ann = self.amplification * 2
        d = exact_invariant(x, y, self.amplification)
        slope = Fraction(y * (4 * ann * x * x * y + d**3), x * (4 * ann * x * y * y + d**3))
        return slope * self.price_micro_per_kwh

    mint, burn = minted, burned


def open_stableswap(energy_wh: int, money_nano: int, price_micro_per_kwh: int, amplification: int, fee_ppm: int) -> StableSwap:
    """A pool from its first deposit; the shares are D.

    Balanced, A = 100: a tenth of the stock costs barely more than the reference price of 0.30 a kWh:
    >>> open_stableswap(10_000, 3_000_000_000, 300_000, 100, 0).quote_buy(1_000)
    300300274
    """
    faults = [
        Fault("pool", name, value, f"1 to {most}")
        for name, value, most in (("energy_wh", energy_wh, MAX_POOL_WH), ("money_nano", money_nano, MAX_POOL_NANO))
        if not 1 <= value <= most
    ]
    if faults:
        raise InputError("stableswap pool", faults)
    d = invariant(energy_wh * price_micro_per_kwh, money_nano, amplification)
    return StableSwap(energy_wh, money_nano, price_micro_per_kwh, amplification, fee_ppm, d)


STABLESWAP = pool_mechanism(
    "stableswap",
    "Hybrid (StableSwap) pool",
    "Egorov, StableSwap, 2019",
    FIELDS,
    open_stableswap,
)
