"""Concentrated liquidity: a constant product curve that is stocked only between two prices.

Source: Adams, Zinsmeister, Salem, Keefer and Robinson, "Uniswap v3 Core", 2021, one range. The state is the liquidity L and the
root of the price, s = sqrt(nano per Wh) * 2**96; the range is [s_low, s_high]. Between two roots a < b the curve holds

    energy  L 2**96 (b - a) / (a b)          money  L (b - a) / 2**96

Selling d Wh moves the root to ceil(L 2**96 s / (L 2**96 + d s)), buying to ceil(L 2**96 s / (L 2**96 - d s)): rounded up both
ways, which gives less and takes more; amounts taken are rounded up, amounts given down. Fees are a part of the money that
moves, are not put on the curve, and belong to the shares. Outside its range the pool does not trade: all energy is sold
at the high end, all money is spent at the low end. A share is one unit of L.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import isqrt

from walras.errors import Fault, InputError
from walras.market.pool import (
    FEE,
    MAX_POOL_NANO,
    MAX_POOL_WH,
    PRICE,
    Field,
    ceil_div,
    floor_div,
    less_fee,
    pool_mechanism,
    with_fee,
)
from walras.market.shares import payout, top_up

Q = 2**96
FIELDS: dict[str, Field] = {
    "depth_wh": (1, MAX_POOL_WH, "stock that an unconcentrated pool of the same depth would hold at the price"),
    "price_micro_per_kwh": (*PRICE[:2], "marginal price at the start"),
    "low_price_micro_per_kwh": (*PRICE[:2], "low end of the range"),
    "high_price_micro_per_kwh": (*PRICE[:2], "high end of the range"),
    **FEE,
}


def root_of(price_micro_per_kwh: int) -> int:
    """sqrt(price) * 2**96, rounded down.

    >>> root_of(90_000) == 300 * 2**96
    True
    """
    return isqrt(price_micro_per_kwh << 192)


def energy_between(low: int, high: int, liquidity: int, *, up: bool) -> int:
    """Wh that the curve holds between two roots."""
    numerator, denominator = liquidity * Q * (high - low), low * high
    return ceil_div(numerator, denominator) if up else floor_div(numerator, denominator)


def money_between(low: int, high: int, liquidity: int, *, up: bool) -> int:
    """Nano-units that the curve holds between two roots."""
    return ceil_div(liquidity * (high - low), Q) if up else floor_div(liquidity * (high - low), Q)


@dataclass(frozen=True, slots=True)
class Concentrated:
    """Reserves in Wh and nano-units (fees and dust included), the root of the price and its range, liquidity, fee.

    energy_wh >= what the curve holds above `root`, money_nano >= what it holds below; the difference is fees and dust.
    """

    energy_wh: int
    money_nano: int
    root: int
    low_root: int
    high_root: int
    liquidity: int
    fee_ppm: int

    @property
    def shares(self) -> int:
        """A share is a unit of liquidity."""
        return self.liquidity

    def _root_after(self, change_wh: int) -> int:
        """The root when the curve's stock has changed by this many Wh; more than the high root where it cannot."""
        base = self.liquidity * Q
        left = base + change_wh * self.root
        return ceil_div(base * self.root, left) if left > 0 else self.high_root + 1

    def quote_buy(self, wh: int) -> int | None:
        """See `Pool`."""
        root = self._root_after(-wh)
        if root > self.high_root or wh > self.energy_wh:
            return None
        cost = with_fee(money_between(self.root, root, self.liquidity, up=True), self.fee_ppm)
        return None if self.money_nano + cost > MAX_POOL_NANO else cost

    def quote_sell(self, wh: int) -> int | None:
        """See `Pool`."""
        root = self._root_after(wh)
        if root < self.low_root or self.energy_wh + wh > MAX_POOL_WH:
            return None
        return less_fee(money_between(root, self.root, self.liquidity, up=False), self.fee_ppm)

    def buy(self, wh: int) -> Concentrated:
        """See `Pool`."""
        money = self.money_nano + (self.quote_buy(wh) or 0)
        return replace(self, energy_wh=self.energy_wh - wh, money_nano=money, root=self._root_after(-wh))

    def sell(self, wh: int) -> Concentrated:
        """See `Pool`."""
        money = self.money_nano - (self.quote_sell(wh) or 0)
        return replace(self, energy_wh=self.energy_wh + wh, money_nano=money, root=self._root_after(wh))

    def price(self) -> Fraction:
        """See `Pool`."""
        return Fraction(self.root * self.root, Q * Q)

    def curve_energy_wh(self) -> int:
        """What the curve needs in stock, rounded up."""
        return energy_between(self.root, self.high_root, self.liquidity, up=True)

    def curve_money_nano(self) -> int:
        """What the curve needs in money, rounded up."""
        return money_between(self.low_root, self.root, self.liquidity, up=True)

    def mint(self, shares: int) -> tuple[Concentrated, int, int]:
        """(pool, Wh, nano-units to deposit) for new shares: their part of everything, and at least what the curve then
        needs."""
        after = replace(self, liquidity=self.liquidity + shares)
        wh = max(top_up(self.energy_wh, shares, self.liquidity), after.curve_energy_wh() - self.energy_wh)
        nano = max(top_up(self.money_nano, shares, self.liquidity), after.curve_money_nano() - self.money_nano)
        return replace(after, energy_wh=self.energy_wh + wh, money_nano=self.money_nano + nano), wh, nano

    def burn(self, shares: int) -> tuple[Concentrated, int, int]:
        """(pool, Wh, nano-units paid out) for shares given back: their part of everything, less what the curve still needs."""
        after = replace(self, liquidity=self.liquidity - shares)
        wh = min(payout(self.energy_wh, shares, self.liquidity), self.energy_wh - after.curve_energy_wh())
        nano = min(payout(self.money_nano, shares, self.liquidity), self.money_nano - after.curve_money_nano())
        return replace(after, energy_wh=self.energy_wh - wh, money_nano=self.money_nano - nano), wh, nano


def open_concentrated(
    depth_wh: int, price_micro_per_kwh: int, low_price_micro_per_kwh: int, high_price_micro_per_kwh: int, fee_ppm: int
) -> Concentrated:
    """A pool from its first deposit, which is what the curve needs, rounded up.

    10 kWh deep at 0.09 a kWh between 0.04 and 0.16: roots 200, 300, 400, so it holds a quarter of the depth in energy and
    a third of its worth in money, and one kWh costs 0.09 / 0.9 as in an unconcentrated pool of that depth (and a
    nano-unit for the root, rounded up):
    >>> pool = open_concentrated(10_000, 90_000, 40_000, 160_000, 0)
    >>> pool.energy_wh, pool.money_nano, pool.quote_buy(1_000)
    (2500, 300000000, 100000001)
    """
    low, price, high = low_price_micro_per_kwh, price_micro_per_kwh, high_price_micro_per_kwh
    if not low <= price <= high or low == high:
        fault = Fault("pool", "price_micro_per_kwh", price, f"between low {low} and high {high}, which differ")
        raise InputError("concentrated pool", [fault])
    empty = Concentrated(0, 0, root_of(price), root_of(low), root_of(high), isqrt(depth_wh * depth_wh * price), fee_ppm)
    return replace(empty, energy_wh=empty.curve_energy_wh(), money_nano=empty.curve_money_nano())


CONCENTRATED = pool_mechanism(
    "concentrated",
    "Concentrated-liquidity pool (one range)",
    "Adams, Zinsmeister, Salem, Keefer and Robinson, Uniswap v3 Core, 2021",
    FIELDS,
    open_concentrated,
)
