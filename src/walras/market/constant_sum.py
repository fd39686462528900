"""Constant sum pool: energy * price + money never falls; one price until a side is used up.

Without slippage and, beyond the stock, without liquidity: it is a shop with a fixed price and a fee. Neighbours of
constant product and the limit of the hybrid curve for an endless amplification (Egorov, "StableSwap", 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from walras.market.pool import (
    FEE,
    MAX_POOL_NANO,
    MAX_POOL_WH,
    PPM,
    PRICE,
    RESERVES,
    Field,
    bought,
    ceil_div,
    floor_div,
    pool_mechanism,
    sold,
)
from walras.market.shares import burned, minted

FIELDS: dict[str, Field] = {**RESERVES, "price_micro_per_kwh": PRICE, **FEE}


@dataclass(frozen=True, slots=True)
class ConstantSum:
    """Reserves in Wh and nano-units, the one price in micro/kWh, the fee, the shares."""

    energy_wh: int
    money_nano: int
    price_micro_per_kwh: int
    fee_ppm: int
    shares: int

    def quote_buy(self, wh: int) -> int | None:
        """See `Pool`. One rounding, of price and fee together."""
        cost = ceil_div(wh * self.price_micro_per_kwh * PPM, PPM - self.fee_ppm)
        return None if wh > self.energy_wh or self.money_nano + cost > MAX_POOL_NANO else cost

    def quote_sell(self, wh: int) -> int | None:
        """See `Pool`."""
        proceeds = floor_div(wh * self.price_micro_per_kwh * (PPM - self.fee_ppm), PPM)
        return None if proceeds > self.money_nano or self.energy_wh + wh > MAX_POOL_WH else proceeds

    buy, sell = bought, sold

    def price(self) -> Fraction:
        """See `Pool`."""
        return Fraction(self.price_micro_per_kwh)

    mint, burn = minted, burned


def open_constant_sum(energy_wh: int, money_nano: int, price_micro_per_kwh: int, fee_ppm: int) -> ConstantSum:
    """A pool from its first deposit; a share is a nano-unit of its value.

    >>> open_constant_sum(10_000, 0, 300_000, 2_000).quote_buy(1_000)       # 0.30 / 0.998, rounded up
    300601203
    """
    shares = max(1, energy_wh * price_micro_per_kwh + money_nano)
    return ConstantSum(energy_wh, money_nano, price_micro_per_kwh, fee_ppm, shares)


CONSTANT_SUM = pool_mechanism(
    "constant_sum",
    "Constant sum pool",
    "Egorov, StableSwap, 2019 (the limit of endless amplification)",
    FIELDS,
    open_constant_sum,
)
