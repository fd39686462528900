"""Constant product pool: energy * money never falls.

The curve of Uniswap v2 (Adams, Zinsmeister and Robinson, 2020), here between watt-hours and nano-units. The fee is taken
from what comes in. With reserves `in` and `out` of the two sides, f the fee in ppm and M = 1,000,000:

    amount_out(a) = floor( a (M - f) out / (in M + a (M - f)) )          exact input
    amount_in(b)  = ceil ( in b M / ((out - b) (M - f)) )                exact output, b < out

Every factor is below 2**62 and every product below 2**144, so the same lines in uint256 cannot overflow: a contract that
computes `ceil(p / q)` as `(p + q - 1) / q` has the same digits. Shares: the first deposit mints isqrt(energy * money);
later ones in proportion, deposits rounded up, payouts down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import isqrt

import numpy as np

from walras.errors import Fault, InputError
from walras.market._wide import swap_constant_product
from walras.market.orders import BUY
from walras.market.pool import (
    FEE,
    MAX_POOL_NANO,
    MAX_POOL_WH,
    PPM,
    RESERVES,
    Field,
    bought,
    ceil_div,
    pool_mechanism,
    sold,
)
from walras.market.shares import burned, minted
from walras.units import Int64

FIELDS: dict[str, Field] = {**RESERVES, **FEE}


def amount_out(amount_in_: int, reserve_in: int, reserve_out: int, fee_ppm: int) -> int:
    """What comes out for an exact input, rounded down.

    1,000 in against 1,000,000 : 1,000,000 with 0.3 %: 997 / (1,000,000 + 997) of the reserve.
    >>> amount_out(1_000, 1_000_000, 1_000_000, 3_000)
    996
    """
    net = amount_in_ * (PPM - fee_ppm)
    return net * reserve_out // (reserve_in * PPM + net)


def amount_in(amount_out_: int, reserve_in: int, reserve_out: int, fee_ppm: int) -> int | None:
    """What must come in for an exact output, rounded up; None where the output is not less than the reserve.

    >>> amount_in(996, 1_000_000, 1_000_000, 3_000), amount_in(997, 1_000_000, 1_000_000, 3_000)
    (1000, 1001)
    """
    if amount_out_ >= reserve_out:
        return None
    return ceil_div(reserve_in * amount_out_ * PPM, (reserve_out - amount_out_) * (PPM - fee_ppm))


@dataclass(frozen=True, slots=True)
class ConstantProduct:
    """Reserves in Wh and nano-units, the fee, and the liquidity shares outstanding."""

    energy_wh: int
    money_nano: int
    fee_ppm: int
    shares: int

    def quote_buy(self, wh: int) -> int | None:
        """See `Pool`."""
        cost = amount_in(wh, self.money_nano, self.energy_wh, self.fee_ppm)
        return None if cost is None or self.money_nano + cost > MAX_POOL_NANO else cost

    def quote_sell(self, wh: int) -> int | None:
        """See `Pool`."""
        if self.energy_wh + wh > MAX_POOL_WH or not self.money_nano:
            return None
        return amount_out(wh, self.energy_wh, self.money_nano, self.fee_ppm)

    buy, sell = bought, sold

    def price(self) -> Fraction:
        """See `Pool`."""
        return Fraction(self.money_nano, self.energy_wh)

    mint, burn = minted, burned


def open_constant_product(energy_wh: int, money_nano: int, fee_ppm: int) -> ConstantProduct:
    """A pool from its first deposit; the shares are isqrt(energy * money).

    10 kWh against 3.00: 0.30 a kWh. One kWh costs 3.00 / 9 and the 0.3 % fee, rounded up:
    >>> open_constant_product(10_000, 3_000_000_000, 3_000).quote_buy(1_000)
    334336343
    """
    faults = [
        Fault("pool", name, value, f"1 to {most}")
        for name, value, most in (("energy_wh", energy_wh, MAX_POOL_WH), ("money_nano", money_nano, MAX_POOL_NANO))
        if not 1 <= value <= most
    ]
    if not 0 <= fee_ppm < PPM:
        faults.append(Fault("pool", "fee_ppm", fee_ppm, f"0 to {PPM - 1}"))
    if faults:
        raise InputError("constant product pool", faults)
    return ConstantProduct(energy_wh, money_nano, fee_ppm, isqrt(energy_wh * money_nano))


def swap_many(pool: ConstantProduct, side: Int64, quantity_wh: Int64) -> tuple[ConstantProduct, Int64]:
    """Swap every row in sequence, without limits: side [n] +1 buys, -1 sells exactly `quantity_wh` [n] Wh.

    Returns the pool after and money [n]: positive paid, negative received, 0 where the pool could not (row skipped). The
    digits are those of `quote_buy` and `quote_sell`, in compiled 128-bit arithmetic.
    """
    quantity = np.ascontiguousarray(quantity_wh, dtype=np.int64)
    if quantity.size and (int(quantity.min()) < 0 or int(quantity.max()) > MAX_POOL_WH):
        raise InputError("swaps", [Fault("swaps", "quantity_wh", int(np.abs(quantity).max()), f"0 to {MAX_POOL_WH}")])
    buys = np.ascontiguousarray(np.asarray(side) == BUY)
    money = np.zeros(quantity.size, dtype=np.int64)
    state = np.array([pool.energy_wh, pool.money_nano], dtype=np.uint64)
    limits = (np.uint64(MAX_POOL_WH), np.uint64(MAX_POOL_NANO))
    swap_constant_product(state, np.uint64(pool.fee_ppm), buys, quantity, money, *limits)
    return replace(pool, energy_wh=int(state[0]), money_nano=int(state[1])), money


CONSTANT_PRODUCT = pool_mechanism(
    "constant_product",
    "Constant product pool",
    "Adams, Zinsmeister and Robinson, Uniswap v2 Core, 2020",
    FIELDS,
    open_constant_product,
)
